#!/usr/bin/python3
"""progress.py COMMAND [WORD...]: bars on a terminal of any width, lines elsewhere, JSON where asked for."""

import fcntl
import functools
import json
import os
import pty
import re
import socket
import struct
import subprocess
import termios
import time

from common import COMMAND, Table, environment, expect, expect_equal, expect_in, member, random_file, run, small_tree

table = Table()
ERASE = re.compile(rb"\x1b\[(\d+)A\x1b\[J")
EXPORT = ["-o", "type=oci,dest=image.tar"]


def on_terminal(work, columns, *arguments, rows=24):
    """Runs the command with standard error on a terminal: exit code, standard output, what the terminal was sent."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    process = subprocess.Popen([COMMAND, *map(str, arguments)], cwd=work, env=environment(work),
                               stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    sent = b""
    try:
        while piece := os.read(ours, 65536):
            sent += piece
    except OSError:  # the other side is closed
        pass
    os.close(ours)
    out, _ = process.communicate(timeout=60)
    return process.returncode, out.decode(), sent.replace(b"\r\n", b"\n")


def screen_after(sent):
    """The lines that remain; every erasure must hit lines that are there."""
    lines = [b""]
    while sent:
        erase = ERASE.match(sent)
        if erase:
            count = int(erase[1])
            expect_equal(lines[-1], b"", "the line that the cursor is in")
            expect(count < len(lines), f"erases {count} of {len(lines) - 1} lines")
            lines = [*lines[:-1 - count], b""]
            sent = sent[erase.end():]
        elif sent[:1] == b"\n":
            lines.append(b"")
            sent = sent[1:]
        else:
            lines[-1] += sent[:1]
            sent = sent[1:]
    return [line.decode() for line in lines[:-1]]


def terminal(columns, work):
    tree = work / ("a tree with a very long name " + "\N{SNOWMAN}" * 40)
    tree.mkdir()
    random_file(tree / "data", 24 << 20)
    code, out, sent = on_terminal(work, columns, *EXPORT, "--jobs", 1, tree.name)
    expect_equal(code, 0, "exit code")
    expect(re.fullmatch(r"sha256:[0-9a-f]{64}\n", out), f"standard output is {out!r}")
    for line in ERASE.sub(b"", sent).decode().split("\n"):  # which also shows that no character was cut
        expect(len(line) < columns or columns < 30, f"{len(line)} columns of {columns}: {line!r}")
        expect("\x1b" not in line, f"an unknown escape sequence: {line!r}")
    remains = screen_after(sent)
    expect_equal([line.split()[0] for line in remains], ["pack", "copy", "copy", "copy"], "what remains on the screen")
    for line in remains:
        expect("#" not in line and ("[" not in line), f"a bar remains: {line!r}")
    expect(len(ERASE.findall(sent)) >= 4, "nothing was drawn again")
    if columns >= 60:
        expect_in(b"24.", sent, "sizes")
        expect(re.search(rb"\[#*\.*\] +\d+%", sent), "there is no bar")
        expect(re.search(rb"\d+\.\d [KMG]iB/s", sent), "there is no rate")
        expect_equal("..." in remains[0], columns < 180, "the name is cut")


for columns in [200, 80, 60, 40, 20, 5, 1]:
    table.add(f"terminal of {columns} columns", functools.partial(terminal, columns))


@table.row
def terminal_of_unknown_size(work):
    small_tree(work)
    code, _, sent = on_terminal(work, 0, *EXPORT, "tree", rows=0)
    expect_equal(code, 0, "exit code")
    expect_equal(len(screen_after(sent)), 4, "lines that remain")


@table.row
def terminal_with_a_time_to_go(work):
    (work / "tree").mkdir()
    random_file(work / "tree/data", 96 << 20)
    slowly = "type=oci,dest=image.tar,compression=gzip,compression-level=9"
    _, _, sent = on_terminal(work, 100, "-o", slowly, "--jobs", 1, "tree")
    expect(re.search(rb"ETA \d+\.\ds", sent), "there is no ETA")


@table.row
def terminal_with_warnings_and_errors(work):
    tree = small_tree(work)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tree / "socket"))
    (work / "short.tar").write_bytes(member("file", size=1000))
    code, out, sent = on_terminal(work, 80, *EXPORT, "tree", "short.tar")
    expect_equal((code, out), (1, ""), "exit code and output")
    remains = screen_after(sent)
    expect_in("warning:", remains[0], "first line")
    expect_in("pack dir:tree: ", remains[1], "what was done")
    expect_in("pack tar:short.tar [", remains[2], "what was under way")
    expect_in("shiplap: ", remains[3], "the error below")


def no_terminal(style, work):
    tree = small_tree(work)
    random_file(tree / "data", 4 << 20)
    code, _, err = run(work, *EXPORT, "tree", progress=style)
    expect_equal(code, 0, err)
    expect("\x1b" not in err and "\r" not in err, f"control characters: {err!r}")
    lines = err.splitlines()
    expect_equal([line.split()[0] for line in lines], ["pack", "copy", "copy", "copy"], "lines")
    expect(re.fullmatch(r"pack dir:tree: 4\.0 MiB in \d+\.\ds", lines[0]), f"first line {lines[0]!r}")


for style in ["auto", "plain", None]:
    table.add(f"no terminal, --progress {style}", functools.partial(no_terminal, style))


@table.row
def bars_in_a_file_on_demand(work):
    small_tree(work)
    _, _, err = run(work, *EXPORT, "tree", progress="tty")
    expect_equal(len(screen_after(err.encode())), 4, "lines that remain")


@table.row
def plain_lines_while_it_takes_long(work):
    """Bytes come in over 6 seconds: at least one line before the end."""
    small_tree(work)
    process = subprocess.Popen([COMMAND, *EXPORT, "--progress", "plain", "tar:-"], cwd=work, env=environment(work),
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdin.write(member("file", size=6 << 20))
    for _ in range(6):
        process.stdin.write(bytes(1 << 20))
        process.stdin.flush()
        time.sleep(1)
    _, err = process.communicate(bytes(1024), timeout=60)
    lines = err.decode().splitlines()
    expect_equal(process.returncode, 0, err)
    expect(re.fullmatch(r"pack tar:standard input: \d\.\d MiB, \d+\.\d [KM]iB/s", lines[0]), f"first line {lines[0]!r}")


@table.row
def json_lines(work):
    tree = small_tree(work, "tr\udcffee\n")
    random_file(tree / "data", 8 << 20)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tree / "socket").encode("utf-8", "surrogateescape"))
    code, out, err = run(work, *EXPORT, tree.name, progress="json")
    expect_equal(code, 0, err)
    events = [json.loads(line) for line in err.splitlines()]
    warnings = [event for event in events if event["event"] == "warning"]
    expect_equal(len(warnings), 1, "warnings")
    expect_in("socket", warnings[0]["text"], "warning")
    work_done = {}
    for event in events:
        if event["event"] != "warning":
            work_done.setdefault(event["id"], []).append(event)
    expect_equal([one[0]["activity"] for one in work_done.values()], ["pack", "copy", "copy", "copy"], "activities")
    for one in work_done.values():
        kinds = [event["event"] for event in one]
        expect_equal((kinds[0], kinds[-1], set(kinds[1:-1]) <= {"advanced"}), ("started", "finished", True),
                     f"order of {kinds}")
        counts = [event["bytes"] for event in one]
        expect_equal(counts, sorted(counts), "bytes")
        expect(one[-1]["bytes"] <= one[-1]["total"] * 1.01, f"more than the total: {one[-1]}")
        expect(all(event["subject"] == one[0]["subject"] for event in one), "the subject changes")
    expect_equal(work_done[1][0]["subject"], "dir:tr\\xffee\\x0a", "subject")


@table.row
def json_errors_stay_text(work):
    code, out, err = run(work, *EXPORT, "none", progress="json")
    expect_equal((code, out), (1, b""), "exit code and output")
    expect_in("shiplap: read input 'none'", err, "standard error")


@table.row
def contents_that_are_there_are_called_so(work):
    small_tree(work)
    for expected in [False, True]:
        run(work, *EXPORT, "tree")
        _, _, err = run(work, "copy", "oci-archive:image.tar", "oci-layout:layout", progress="plain")
        expect_equal("already there" in err, expected, "'already there'")


table.run()
