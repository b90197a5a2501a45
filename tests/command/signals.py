#!/usr/bin/python3
"""signals.py COMMAND [WORD...]: a signal ends the command within a second or so, with 128 plus its number.

Nothing that was unfinished stays; what was there before is as it was.
"""

import functools
import gzip
import os
import pathlib
import signal
import socket
import subprocess
import tarfile
import time

from common import (COMMAND, Stopped, Table, environment, expect, expect_equal, expect_in, expect_untouched, member,
                    random_file, small_tree, survey, tar_of, write_layout)

table = Table()
SOON = 5  # seconds, on a busy machine
OUTPUTS = {"archive": "type=oci,dest=out/old.tar", "docker archive": "type=docker,dest=out/new.tar",
           "layout": "type=oci,tar=false,dest=out/layout", "new layout": "type=oci,tar=false,dest=out/deep/new",
           "store": "type=image,name=a", "files": "type=local,dest=out/files",
           "tar": "type=tar,dest=out/old.tar", "pipe": "type=oci,dest=-"}


def places(work):
    """Somewhere to export to, where something is already."""
    (work / "out").mkdir()
    (work / "out/old.tar").write_text("old content")
    write_layout(work / "out/layout", [tar_of(member("old"))])


def tree_with_a_socket(work):
    """The command warns of it, which is where it can be stopped; then come enough files to be interrupted between."""
    tree = small_tree(work)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tree / "a-socket"))
    for number in range(100):
        (tree / f"file-{number}").write_text("content")


def layer_with_a_device():
    """The same for an extraction: device nodes are left out with a warning."""
    return tar_of(member("a-device", kind=tarfile.CHRTYPE),
                  *(member(f"file-{n}", os.urandom(3000)) for n in range(100)))


def interrupt(stopped, number):
    stopped.process.send_signal(number)
    start = time.monotonic()
    code, out, err = stopped.go_on()
    expect_equal((code, out), (128 + number, b""), f"exit code and output; standard error: {err}")
    expect_in("interrupted", err, "standard error")
    expect(time.monotonic() - start < SOON, f"took {time.monotonic() - start:.1f} s")


def while_packing(spec, number, work):
    places(work)
    tree_with_a_socket(work)
    before = survey(work)
    interrupt(Stopped(work, "-o", spec, "tree"), number)
    expect_untouched(before, survey(work))


for name, spec in OUTPUTS.items():
    for number in [signal.SIGINT, signal.SIGTERM] + ([signal.SIGHUP] if name == "files" else []):
        table.add(f"{number.name} while packing: {name}", functools.partial(while_packing, spec, number))


def while_extracting(pack, arguments, number, work):
    places(work)
    plain = layer_with_a_device()
    (work / "in.tar").write_bytes(plain)
    write_layout(work / "image", [gzip.compress(plain, 1) if pack else plain], "+gzip" if pack else "", [plain])
    before = survey(work)
    interrupt(Stopped(work, *arguments), number)
    expect_untouched(before, survey(work))


for name, pack, arguments in [("copy", False, ["copy", "oci-layout:image", "rootfs:out/files"]),
                              ("copy of gzip", True, ["copy", "oci-layout:image", "rootfs:out/files"]),
                              ("into a new folder", False, ["copy", "oci-layout:image", "rootfs:out/deep/files"]),
                              ("export", False, ["-o", "type=local,dest=out/files", "in.tar"])]:
    table.add(f"while extracting: {name}", functools.partial(while_extracting, pack, arguments, signal.SIGINT))


def await_handler(process, number):
    """Until the command has taken over this signal: under a sanitizer, on a busy machine, that may take a while."""
    for _ in range(1000):
        status = dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines())
        if int(status["SigCgt"], 16) >> (number - 1) & 1:
            return
        time.sleep(0.01)
    raise RuntimeError(f"the command does not handle {number.name}")


def interrupt_soon(work, process, number):
    await_handler(process, number)
    time.sleep(0.3)  # until it waits, or is in the middle of its work: either must end
    expect_equal(process.poll(), None, "exit code before the signal")
    process.send_signal(number)
    start = time.monotonic()
    process.wait(60)
    expect_equal(process.returncode, 128 + number, "exit code")
    expect(time.monotonic() - start < SOON, f"took {time.monotonic() - start:.1f} s")


def while_it_works(prepare, arguments, work):
    places(work)
    prepare(work)
    before = survey(work / "out")
    with subprocess.Popen([COMMAND, "--progress", "none", *arguments], cwd=work, env=environment(work),
                          stdin=subprocess.PIPE,
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        interrupt_soon(work, process, signal.SIGTERM)
    expect_untouched(before, survey(work / "out"))
    expect_equal(os.listdir(work / "tmp"), [], "temporary files")


def huge_file(work):
    (work / "tree").mkdir()
    with open(work / "tree/zeros", "wb") as file:
        file.truncate(64 << 30)


ARCHIVE = ["-o", "type=oci,dest=out/old.tar"]
for name, prepare, arguments in [
    ("waits for standard input", lambda work: None, [*ARCHIVE, "tar:-"]),
    ("waits for standard input, to files", lambda work: None, ["-o", "type=local,dest=out/files", "tar:-"]),
    ("waits for a named pipe", lambda work: os.mkfifo(work / "pipe"), [*ARCHIVE, "pipe"]),
    ("waits for an archive", lambda work: None, ["copy", "oci-archive:-", "rootfs:out/files"]),
    ("packs a huge file", huge_file, [*ARCHIVE, "tree"]),
    ("packs a huge file on two threads", huge_file,
     ["-o", "type=oci,tar=false,dest=out/layout,compression=zstd", "--jobs", "2", "tree"]),
    ("packs a huge file slowly", huge_file, ["-o", "type=local,dest=out/files", "--jobs", "1", "tree"]),
]:
    table.add(f"SIGTERM while it {name}", functools.partial(while_it_works, prepare, arguments))


@table.row
def the_second_signal_ends_at_once(work):
    """Where the first cannot be noticed: nobody reads what is written."""
    random_file(small_tree(work) / "data", 4 << 20)
    with subprocess.Popen([COMMAND, "--progress", "none", "-o", "type=oci", "tree"], cwd=work, env=environment(work),
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        await_handler(process, signal.SIGTERM)
        time.sleep(1)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        expect_equal(process.poll(), None, "exit code after the first signal")
        process.send_signal(signal.SIGTERM)
        process.wait(SOON)
        expect_equal(process.returncode, -signal.SIGTERM, "exit code")
    expect_equal(os.listdir(work / "tmp"), [], "temporary files")


@table.row
def an_ignored_signal_stays_ignored(work):
    """As nohup and shells want it for what runs in the background."""
    tree_with_a_socket(work)
    stopped = Stopped(work, "-o", "type=oci,dest=out.tar", "tree",
                      preexec=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    stopped.process.send_signal(signal.SIGINT)
    code, _, err = stopped.go_on()
    expect_equal(code, 0, err)


@table.row
def a_closed_pipe_is_an_error(work):
    random_file(small_tree(work) / "data", 1 << 20)
    with subprocess.Popen([COMMAND, "-o", "type=oci", "--progress", "none", "tree"], cwd=work, env=environment(work),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        err = process.stderr.read().decode()
    expect_equal(process.returncode, 1, "exit code")
    expect_in("Broken pipe", err, "standard error")


def can_hide_files(folder):
    """Whether files without a name are known here."""
    try:
        os.close(os.open(folder, os.O_TMPFILE | os.O_RDWR))
    except OSError:
        return False
    return True


def killed(arguments, may_stay, prepare, work):
    places(work)
    prepare(work)
    before = survey(work)
    stopped = Stopped(work, *arguments)
    stopped.process.kill()
    stopped.go_on()
    after = survey(work)
    left = [path for path in after if path not in before]
    expect_untouched(before, {path: facts for path, facts in after.items() if path in before})
    for path in left:
        hidden = any(part.startswith(".shiplap-") for part in path.split("/"))
        expect(hidden and (may_stay or not can_hide_files(work)), f"'{path}' was left behind")


def image_with_a_device(work):
    write_layout(work / "image", [layer_with_a_device()])


for name, spec in OUTPUTS.items():
    table.add(f"killed while packing: {name}",
              functools.partial(killed, ["-o", spec, "tree"], name == "files", tree_with_a_socket))
table.add("killed while extracting",
          functools.partial(killed, ["copy", "oci-layout:image", "rootfs:out/files"], True, image_with_a_device))

table.run()
