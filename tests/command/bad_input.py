#!/usr/bin/python3
"""bad_input.py COMMAND [WORD...]: what is wrong is answered with the right exit code and a message that names it.

It also leaves everything as it was: after each row its folder holds what it held before, hidden files included.
"""

import contextlib
import functools
import gzip
import io
import json
import os
import resource
import socket
import subprocess
import tarfile
import threading

from common import (COMMAND, END, IS_ROOT, Stopped, Table, become_nobody, environment, expect, expect_equal, expect_in,
                    expect_untouched, member, random_file, run, sha256, small_tree, survey, tar_of, write_layout)

FAILED, WRONG_USAGE = 1, 2
TO_ARCHIVE = ["-o", "type=oci,dest=out.tar"]
TWO_PLATFORMS = ["--platform", "linux/amd64", "tree", "--platform", "linux/arm64", "tree"]
table = Table()


def refused(work, arguments, code, *fragments, **more):
    """Runs the command, which must fail with this code, say these things and change nothing."""
    before = survey(work)
    found, out, err = run(work, *arguments, **more)
    expect(found == code, f"exit code {found}, not {code}; standard error: {err}")
    for fragment in fragments:
        expect_in(fragment, err, "standard error")
    expect_equal(out, b"", "standard output")
    expect_untouched(before, survey(work))


def add(name, arguments, code, *fragments, prepare=None, **more):
    def check(work):
        small_tree(work)
        if prepare:
            prepare(work)
        refused(work, arguments, code, *fragments, **more)

    table.add(name, check)


# --- options -------------------------------------------------------------------------------------------------

OUTPUTS = [  # what follows type=oci, or else stands alone; fragments of the message
    (",compression=lz4", "unsupported compression type lz4", "uncompressed, gzip, estargz, zstd"),
    (",compression-level=13", "compression-level", "gzip", "12"),
    (",compression-variant=libdeflate,compression-level=13", "compression-level", "12"),
    (",compression-variant=isal,compression-level=4", "compression-level", "3"),
    (",compression=estargz,compression-variant=zlib,compression-level=10", "compression-level", "estargz", "9"),
    (",compression-variant=pigz", "compression-variant", "pigz", "libdeflate", "zlib", "isal"),
    (",compression=zstd,compression-level=23", "compression-level", "22"),
    (",compression-level=-2", "compression-level"),
    (",compression-level=high", "non-integer value high"),
    (",force-compression=maybe", "non-bool value maybe"),
    (",tar=2", "non-bool value", "'2'"),
    (",tar=false", "dest=<directory>"),
    (",rewrite-timestamp=", "non-bool value"),
    (",prefer-nondist-layers=", "non-bool value"),
    (",rewrite-timestamp=true", "source-date-epoch"),
    (",source-date-epoch=soon", "invalid source-date-epoch soon"),
    (",oci-mediatypes=yes", "non-bool value"),
    (",compatibility-version=15", "unsupported compatibility-version 15", "10, 20, 30"),
    (",compresion=gzip", "unknown option at position 10", "nearest known one is 'compression'"),
    (",name=UPPER/Case", "UPPER/Case"),
    (",name=a b", "a b"),
    (",dest=", "is empty"),
    (',"name=a', "position 10", "never closed"),
    (',na"me=a', "position 12", "quote"),
    (',"name=a"b,tar=true', "position 18", "comma"),
    (",dest", "position 10", "key=value"),
    (",=x", "position 10", "no key"),
    (",annotation-foo.k=v", "unrecognized annotation type foo"),
    (",annotation-index.k=v", "index annotations not supported"),
    ("type=docker,compression=estargz,oci-mediatypes=false", 'conflicts with "oci-mediatypes=false"'),
    ("type=image,dest=x", "dest"),
    ("type=local,compression=gzip,dest=x", "compression", "no meaning for this type"),
    ("type=local", "dest=<directory>"),
    ("type=elsewhere", '"elsewhere" could not be found', "image, registry, oci, docker, local, tar"),
    ("compression=gzip", "requires type=<type>"),
    ("", "empty"),
]
for text, *fragments in OUTPUTS:
    spec = "type=oci" + text if text.startswith(",") else text
    add(f"output {spec}", ["-o", spec, "tree"], WRONG_USAGE, *fragments)

USAGE = [
    ("nothing at all", [], "--output"),
    ("no output", ["tree"], "--output"),
    ("no input", TO_ARCHIVE, "INPUT"),
    ("empty input", [*TO_ARCHIVE, ""], "INPUT"),
    ("unknown option", [*TO_ARCHIVE, "--bogus", "tree"], "--bogus", "--help"),
    ("option without value", ["tree", "-o"], "--output"),
    ("two archives on standard output", ["-o", "type=oci", "-o", "type=docker", "tree"], "only one output"),
    ("a bad second output", [*TO_ARCHIVE, "-o", "type=tar,dest=b.tar,push=true", "tree"], "push", "no meaning"),
    ("half a difference", [*TO_ARCHIVE, "diff:tree"], "diff:LOWER:UPPER"),
    ("no threads", [*TO_ARCHIVE, "--jobs", "0", "tree"], "--jobs"),
    ("not a number of threads", [*TO_ARCHIVE, "--jobs", "two", "tree"], "--jobs"),
    ("squash something else", [*TO_ARCHIVE, "--squash=base", "tree"], "--squash", "'base'", "--squash=all"),
    ("squash while copying", ["--squash", "copy", "oci-archive:a", "oci-archive:b"], "--squash", "dir:copy"),
    ("unknown digest", [*TO_ARCHIVE, "--digest", "md5", "tree"], "md5", "sha256, sha512"),
    ("unknown progress", [*TO_ARCHIVE, "--progress", "loud", "tree"], "'loud'", "plain"),
    ("platform", [*TO_ARCHIVE, "--platform", "linux/", "tree"], "linux/"),
    ("label", [*TO_ARCHIVE, "--label", "novalue", "tree"], "--label", "KEY=VALUE"),
    ("environment", [*TO_ARCHIVE, "--env", "=x", "tree"], "KEY=VALUE"),
    ("port", [*TO_ARCHIVE, "--expose", "99999", "tree"], "99999"),
    ("working directory", [*TO_ARCHIVE, "--workdir", "relative", "tree"], "relative"),
    ("entrypoint", [*TO_ARCHIVE, "--entrypoint", '["a",1]', "tree"], "--entrypoint", "JSON array"),
    ("command", [*TO_ARCHIVE, "--cmd", '["a"', "tree"], "--cmd", "JSON array"),
    ("annotation without value", [*TO_ARCHIVE, "--annotation", "novalue", "tree"], "--annotation", "KEY=VALUE"),
    ("annotation of odd type", [*TO_ARCHIVE, "--annotation", "X Y:k=v", "tree"], "--annotation", "TYPE"),
    ("annotation of no platform", [*TO_ARCHIVE, "--annotation", "manifest[toaster]:k=v", "tree"], "toaster"),
    ("annotation of an index that is none", [*TO_ARCHIVE, "--annotation", "index-descriptor:k=v", "tree"],
     "index annotations not supported for single platform export"),
    ("annotation of a platform that is not there",
     [*TO_ARCHIVE, *TWO_PLATFORMS, "--annotation", "manifest[linux/arm]:k=v"],
     "invalid annotation: no platform linux/arm/v7 found in source"),
    ("annotation of an index with Docker's types",
     ["-o", "type=image,oci-mediatypes=false,annotation-index.k=v", *TWO_PLATFORMS],
     'cannot export annotations with "oci-mediatypes=false"'),
    ("several platforms in a docker archive", ["-o", "type=docker,dest=out.tar", *TWO_PLATFORMS],
     "docker exporter does not currently support exporting manifest lists"),
    ("several platforms, the second output wrong", [*TO_ARCHIVE, "-o", "type=docker,dest=b.tar", *TWO_PLATFORMS],
     "docker exporter does not currently support exporting manifest lists"),
    ("several platforms in one directory", ["-o", "type=local,dest=out", *TWO_PLATFORMS], "each platform on its own"),
    ("a platform without input", [*TO_ARCHIVE, "--platform", "linux/amd64", "--platform", "linux/arm64", "tree"],
     "missing for the platform linux/amd64"),
    ("attestation of odd type", [*TO_ARCHIVE, "--attest", "type=spdx,file=facts.json", "tree"],
     'unknown attestation type "spdx"'),
    ("attestation without type", [*TO_ARCHIVE, "--attest", "file=facts.json", "tree"], "type of its predicate"),
    ("attestation without file", [*TO_ARCHIVE, "--attest", "type=sbom", "tree"], "--attest", "file=FILE"),
    ("attestation with an odd key", [*TO_ARCHIVE, "--attest", "type=sbom,path=x", "tree"], "'path'", "inline-only"),
    ("attestation with Docker's types",
     ["-o", "type=docker,oci-mediatypes=false,dest=out.tar", "--attest", "type=sbom,file=facts.json", "tree"],
     'cannot export attestations with "oci-mediatypes=false"'),
    ("empty tag", [*TO_ARCHIVE, "-t", "", "tree"], "--tag"),
    ("bad tag", [*TO_ARCHIVE, "-t", "a:b:c", "tree"], "a:b:c"),
    ("a directory called copy", [*TO_ARCHIVE, "copy"], "--output", "dir:copy"),
    ("a directory called inspect", [*TO_ARCHIVE, "tree", "inspect"], "dir:inspect"),
    ("copy to nowhere", ["copy", "oci-archive:a"], "DST"),
    ("copy to two places", ["copy", "oci-archive:a", "oci-archive:b", *TO_ARCHIVE], "--output", "DST 'oci-archive:b'"),
    ("copy to a wrong output", ["copy", "oci-archive:a", "-o", "type=oci,dst=b"], "'dest'"),
    ("rebase of nothing", [*TO_ARCHIVE, "--rebase", "oci-archive:a", "oci-archive:b"], "--rebase", "--from IMAGE"),
    ("rebase with one base", [*TO_ARCHIVE, "--from", "oci-archive:a", "--rebase", "oci-archive:b"], "--rebase", "2"),
    ("rebase with an input",
     [*TO_ARCHIVE, "--from", "oci-archive:a", "--rebase", "oci-archive:b", "oci-archive:c", "tree"],
     "--rebase", "does not go with an INPUT"),
    ("rebase on what is no image", [*TO_ARCHIVE, "--from", "oci-archive:a", "--rebase", "oci-archive:b", "tree"],
     "--rebase", "'tree' names no image"),
    ("rebase of two images on standard input",
     [*TO_ARCHIVE, "--from", "oci-archive:-", "--rebase", "oci-archive:-", "oci-archive:b"], "only one image"),
    ("a star among names", ["-o", 'type=oci,dest=out.tar,"name=a,*"', "tree"], "failed to parse *", "invalid reference format"),
    ("a star without names", ["-o", "type=oci,dest=out.tar,name=*", "tree"], "it brings none", "--tag"),
    ("copy with too much", ["copy", "oci-archive:a", "oci-archive:b", "c"], "c"),
    ("copy from nowhere", ["copy", "tree", "oci-archive:a"], "SRC", "oci-layout:PATH"),
    ("copy by an unknown way", ["copy", "oci-archive:a", "ftp://a"], "DST", "ftp://a"),
    ("copy to half a registry", ["copy", "oci-archive:a", "docker:a"], "DST", "docker://r.io/app:1"),
    ("a misspelt subcommand", ["cpoy", "oci-archive:a", "oci-archive:b"], "cpoy", "did you mean 'copy'"),
    ("inspect a registry", ["inspect", "docker://r.io"], "without a repository", "docker://r.io/REPOSITORY"),
    ("index of what is in no registry", ["index", "create", "r.io/app:1", "oci-layout:a"], "in no registry", "copy"),
    ("index of nothing", ["index", "create", "r.io/app:1"], "IMAGE"),
    ("index with a digest for a name", ["index", "create", "r.io/app@sha256:" + "0" * 64, "a"], "NAME", "give a tag"),
    ("index without an action", ["index"], "'index'", "create"),
    ("a misspelt action of index", ["index", "creat", "r.io/app:1", "a"], "'index'", "create"),
    ("store without an action", ["store"], "'store'", "ls, rm or gc"),
    ("copy from a root file system", ["copy", "rootfs:tree", "oci-archive:a"], "SRC"),
    ("inspect nothing", ["inspect"], "IMAGE"),
    ("inspect an empty path", ["inspect", "oci-layout:"], "IMAGE"),
]
for option in ["--env", "--label", "--entrypoint", "--cmd", "--workdir", "--user", "--annotation"]:
    USAGE.append((f"{option} that is no text", [*TO_ARCHIVE, option, "/K=\udcff", "tree"], "/K=\\xff", "UTF-8"))
for name, arguments, *fragments in USAGE:
    add(name, arguments, WRONG_USAGE, *fragments, prepare=lambda work: (work / "facts.json").write_text("{}"))


def large_file(work):
    with open(work / "large.json", "wb") as file:
        file.truncate((40 << 20) + 1)


SBOM = [*TO_ARCHIVE, "tree", "--attest"]
add("attestation is missing", [*SBOM, "type=sbom,file=none.json"], FAILED, "none.json", "no such file")
add("attestation is no JSON", [*SBOM, "type=sbom,file=tree/bin/app"], FAILED, "tree/bin/app", "parse JSON")
add("attestation is a device", [*SBOM, "type=sbom,file=/dev/null"], FAILED, "/dev/null", "not a regular file")
add("attestation is too large", [*SBOM, "type=sbom,file=large.json"], FAILED, "exceeds 41943040 bytes",
    prepare=large_file)
add("bundle of other things", [*SBOM, "file=tree/etc"], FAILED, "tree/etc/app.conf", "parse JSON")

add("epoch of the environment", [*TO_ARCHIVE, "tree"], WRONG_USAGE, "source-date-epoch", SOURCE_DATE_EPOCH="now")
add("no config file", [*TO_ARCHIVE, "--config", "none.json", "tree"], FAILED, "none.json")
add("config is no JSON", [*TO_ARCHIVE, "--config", "tree/bin/app", "tree"], FAILED, "config")
add("metadata file in no folder", [*TO_ARCHIVE, "--metadata-file", "none/facts", "tree"], FAILED, "none")
add("metadata file is a directory", [*TO_ARCHIVE, "--metadata-file", "tree", "tree"], FAILED, "tree", "directory")

# --- inputs --------------------------------------------------------------------------------------------------

MISSING = "No such file"
add("input is missing", [*TO_ARCHIVE, "none"], FAILED, "'none'", "no such file")
add("directory is missing", [*TO_ARCHIVE, "dir:none"], FAILED, "'none'", MISSING)
add("directory is a file", [*TO_ARCHIVE, "dir:tree/bin/app"], FAILED, "tree/bin/app", "Not a directory")
add("tar is missing", [*TO_ARCHIVE, "tar:none"], FAILED, "none", MISSING)
add("tar is a directory", [*TO_ARCHIVE, "tar:tree"], FAILED, "tree", "Is a directory")
add("input is a device", [*TO_ARCHIVE, "/dev/null"], FAILED, "/dev/null", "neither a directory nor a tar")
add("lower is missing", [*TO_ARCHIVE, "diff:none:tree"], FAILED, "none", MISSING)
add("upper is a file", [*TO_ARCHIVE, "diff:tree:tree/bin/app"], FAILED, "tree/bin/app", "Not a directory")
add("second layer is missing", [*TO_ARCHIVE, "tree", "dir:none"], FAILED, "layer 2", "none", MISSING)
add("a name with control characters", [*TO_ARCHIVE, "no\x1b[31mne"], FAILED, "no\\x1b[31mne")
add("reserved name in the source", [*TO_ARCHIVE, "tree"], FAILED, "tree/etc/.wh.x", "deletion",
    prepare=lambda work: (work / "tree/etc/.wh.x").touch())

SOURCES = [("directory", [*TO_ARCHIVE, "tree"]), ("layout", ["-o", "type=oci,tar=false,dest=out", "tree"]),
           ("files", ["-o", "type=local,dest=out", "tree"])]


def unreadable(path, mode, arguments, work):
    tree = small_tree(work)
    (tree / path).chmod(mode)
    work.chmod(0o777)
    refused(work, arguments, FAILED, f"tree/{path}", "Permission denied", preexec=become_nobody)


for name, arguments in SOURCES:
    table.add(f"unreadable file: {name}", functools.partial(unreadable, "etc/app.conf", 0o000, arguments))
    table.add(f"unreadable folder: {name}", functools.partial(unreadable, "etc", 0o000, arguments))


@table.row
def unreadable_tar(work):
    (work / "in.tar").write_bytes(tar_of(member("a")))
    (work / "in.tar").chmod(0o000)
    work.chmod(0o777)
    refused(work, [*TO_ARCHIVE, "in.tar"], FAILED, "in.tar", "Permission denied", preexec=become_nobody)


def vanishes(change, fragments, arguments, work):
    """The tree changes while the command is busy in the middle of it: it warns of a socket there, and waits."""
    tree = small_tree(work)
    (tree / "etc/folder").mkdir()
    (tree / "etc/folder/file").touch()
    with socket.socket(socket.AF_UNIX) as listener, contextlib.chdir(tree / "etc"):
        listener.bind("a-socket")  # its name comes before all others there
    stopped = Stopped(work, *arguments)
    change(tree)
    staging = ".shiplap-"  # the command's own area, which has to go as well
    before = {path: facts for path, facts in survey(work).items() if not path.startswith(staging)}
    code, out, err = stopped.go_on()
    expect_equal((code, out), (FAILED, b""), f"exit code and output; standard error: {err}")
    for fragment in ["a-socket", *fragments]:
        expect_in(fragment, err, "standard error")
    expect_untouched(before, survey(work))


def remove_folder(tree):
    (tree / "etc/folder/file").unlink()
    (tree / "etc/folder").rmdir()


CHANGES = [("file vanishes", lambda tree: (tree / "etc/app.conf").unlink(), ["tree/etc/app.conf", MISSING]),
           ("folder vanishes", remove_folder, ["tree/etc/folder", MISSING])]
for name, arguments in SOURCES:
    for what, change, fragments in CHANGES:
        table.add(f"{what}: {name}", functools.partial(vanishes, change, fragments, arguments))


def changes_while_read(change, name, arguments, work):
    (work / "tree").mkdir()
    if name == "in.tar":
        (work / name).write_bytes(member("zeros", size=64 << 20))
    with open(work / name, "ab") as file:
        file.truncate((64 << 20) + 512 + 1024)
        stop = threading.Event()

        def keep_changing():
            while not stop.is_set():
                change(file)

        thread = threading.Thread(target=keep_changing)
        thread.start()
        try:
            code, out, err = run(work, *arguments)
        finally:
            stop.set()
            thread.join()
    expect_equal((code, out), (FAILED, b""), f"exit code and output; standard error: {err}")
    expect_in(name, err, "standard error")
    expect_in("changed while it was read", err, "standard error")
    expect_equal(sorted(survey(work)), sorted({"home", "tmp", "tree", name}), "what is there")


for name, change in [("touched", lambda file: os.utime(file.fileno())),
                     ("growing", lambda file: os.write(file.fileno(), b"x"))]:
    table.add(f"file {name} while it is read",
              functools.partial(changes_while_read, change, "tree/big", [*TO_ARCHIVE, "tree"]))
table.add("tar touched while it is read",
          functools.partial(changes_while_read, lambda file: os.utime(file.fileno()), "in.tar",
                            [*TO_ARCHIVE, "in.tar"]))

# --- tars as inputs: plain, packed, broken ---------------------------------------------------------------------

GOOD = tar_of(member("first", b"x" * 5000), member("second", bytes(range(256)) * 400))
PACKED = gzip.compress(GOOD, mtime=0)


def zstd_frame(*blocks):
    """A zstd frame (RFC 8878) of raw blocks (bytes) and of repeated bytes ((byte, count))."""
    out = b"\x28\xb5\x2f\xfd" + b"\x00\x58"  # no content size, no checksum, a window of 2 MiB
    for index, block in enumerate(blocks):
        last = index == len(blocks) - 1
        raw = isinstance(block, bytes)
        kind, size, content = (0, len(block), block) if raw else (1, block[1], bytes([block[0]]))
        out += (last | kind << 1 | size << 3).to_bytes(3, "little") + content
    return out


ZSTD = zstd_frame(GOOD)
TARS = [
    ("empty", b"", "in.tar", "truncated"),
    ("text", b"hello, world\n" * 100, "in.tar", "offset 0"),
    ("truncated in a header", GOOD[:300], "in.tar", "truncated"),
    ("truncated in a file", GOOD[:4000], "in.tar", "truncated"),
    ("without its end", GOOD[:-1024], "in.tar", "truncated"),
    ("with a damaged header", GOOD[:100] + b"\xff" + GOOD[101:], "in.tar", "checksum"),
    ("truncated gzip", PACKED[:-100], "in.tar", "gzip"),
    ("gzip without its checksum", PACKED[:-4], "in.tar", "gzip"),
    ("damaged gzip", PACKED[:60] + bytes([PACKED[60] ^ 255]) + PACKED[61:], "in.tar", "gzip"),
    ("gzip with a wrong checksum", PACKED[:-8] + b"\0\0\0\0" + PACKED[-4:], "in.tar", "gzip"),
    ("gzip of text", gzip.compress(b"hello, world\n" * 100), "in.tar", "offset 0"),
    ("truncated zstd", ZSTD[:-100], "in.tar", "zstd"),
    ("damaged zstd", ZSTD[:6] + b"\xff\xff\xff" + ZSTD[9:], "in.tar", "zstd"),
    ("xz", b"\xfd7zXZ\0\0\0" + bytes(100), "in.tar", "xz", "gzip or zstd"),
    ("bzip2", b"BZh91AY&SY" + bytes(100), "in.tar", "bzip2"),
]


def broken_tar(data, fragments, through, work):
    stream = through == "stream"
    if not stream:
        (work / "in.tar").write_bytes(data)
    fragments = ["standard input" if stream and fragment == "in.tar" else fragment for fragment in fragments]
    for arguments in [TO_ARCHIVE, ["-o", "type=docker,tar=false,dest=out"], ["-o", "type=local,dest=out"]]:
        refused(work, [*arguments, "tar:-" if stream else "in.tar"], FAILED, *fragments, stdin=data if stream else b"")


for name, data, *fragments in TARS:
    for through in ["file", "stream"]:
        table.add(f"tar, {name}, as {through}", functools.partial(broken_tar, data, fragments, through))

# --- destinations --------------------------------------------------------------------------------------------


def old_content(work):
    """What is at the destinations already."""
    (work / "old.tar").write_bytes(b"old content")
    write_layout(work / "layout", [tar_of(member("old"))])
    (work / "other").mkdir()
    (work / "other/file").write_text("not an image")


DESTINATIONS = [
    ("archive in no folder", "type=oci,dest=none/out.tar", FAILED, "none"),
    ("archive is a directory", "type=oci,dest=tree", FAILED, "tree", "directory"),
    ("docker archive is a directory", "type=docker,dest=tree", FAILED, "tree", "directory"),
    ("layout is a file", "type=oci,tar=false,dest=old.tar", FAILED, "old.tar", "Not a directory"),
    ("layout is something else", "type=oci,tar=false,dest=other", FAILED, "other", "not an OCI image layout"),
    ("layout below a file", "type=oci,tar=false,dest=old.tar/x", FAILED, "old.tar", "Not a directory"),
    ("directory is a file", "type=local,dest=old.tar", WRONG_USAGE, "old.tar", "not a directory"),
    ("directory is not empty", "type=local,dest=other", WRONG_USAGE, "other", "not empty"),
    ("tar in no folder", "type=tar,dest=none/out.tar", FAILED, "none"),
]
for name, spec, code, *fragments in DESTINATIONS:
    add(name, ["-o", spec, "tree"], code, *fragments, prepare=old_content)

NEW = {"archive": ["-o", "type=oci,dest=place/old.tar"], "docker archive": ["-o", "type=docker,dest=place/old.tar"],
       "new archive": ["-o", "type=oci,dest=place/new.tar"], "layout": ["-o", "type=oci,tar=false,dest=place/layout"],
       "new layout": ["-o", "type=oci,tar=false,dest=place/deep/new"],
       "store": ["-o", "type=image", "--store", "place/layout", "-t", "a"],
       "directory": ["-o", "type=local,dest=place/out"], "tar": ["-o", "type=tar,dest=place/old.tar"]}


def not_writable(arguments, work):
    place = work / "place"
    place.mkdir()
    old_content(place)
    random_file(small_tree(work) / "data", 3 << 20)
    for path in [place, *place.rglob("*")]:
        path.chmod(path.stat().st_mode & ~0o222)
    refused(work, [*arguments, "tree"], FAILED, "place", "Permission denied", preexec=become_nobody)


def limit_file_size():
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))


def file_too_large(arguments, work):
    place = work / "place"
    place.mkdir()
    old_content(place)
    random_file(small_tree(work) / "data", 3 << 20)
    refused(work, [*arguments, "tree"], FAILED, "File too large", preexec=limit_file_size)


def disk_full(arguments, work):
    place = work / "place"
    place.mkdir()
    if not IS_ROOT or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place],
                                     stderr=subprocess.DEVNULL).returncode:
        return print("disk full: cannot mount a small file system here; only the limit on file sizes was tested")
    try:
        old_content(place)
        random_file(small_tree(work) / "data", 3 << 20)
        refused(work, [*arguments, "tree"], FAILED, "No space left")
        used = os.statvfs(place)
        expect(used.f_bavail > 200, f"what was removed still takes room: {used}")
    finally:
        subprocess.run(["umount", place], check=True)


for name, arguments in NEW.items():
    table.add(f"not writable: {name}", functools.partial(not_writable, arguments))
    table.add(f"file too large: {name}", functools.partial(file_too_large, arguments))
    table.add(f"disk full: {name}", functools.partial(disk_full, arguments))


@table.row
def standard_output_is_full(work):
    small_tree(work)
    for words in [["-o", "type=oci", "tree"], ["--help"]]:
        done = subprocess.run(["sh", "-c", '"$0" "$@" > /dev/full', COMMAND, *words], cwd=work, env=environment(work),
                              stderr=subprocess.PIPE, check=False)
        if words != ["--help"]:
            expect_equal(done.returncode, FAILED, "exit code")
            expect_in(b"No space left", done.stderr, "standard error")


# --- images --------------------------------------------------------------------------------------------------

LAYER = tar_of(member("file", b"content"))


def edit(path, change):
    path.chmod(0o644)
    path.write_bytes(change(path.read_bytes()))


def blob(layout, data):
    return layout / "blobs/sha256" / sha256(data).removeprefix("sha256:")


def larger(manifest):
    manifest["layers"][0]["size"] += 1


def huge_layer(manifest):
    manifest["layers"][0]["size"] = 1 << 62


def other_config(manifest):
    manifest["config"]["size"] -= 1


IMAGES = [
    ("no layout", lambda layout: None, ["none"], "none"),
    ("a layer is missing", lambda layout: blob(layout, LAYER).unlink(), [], sha256(LAYER)),
    ("a layer is damaged", lambda layout: edit(blob(layout, LAYER), lambda data: data[:-1] + b"x"), [], sha256(LAYER)),
    ("a layer is truncated", lambda layout: edit(blob(layout, LAYER), lambda data: data[:-1]), [], sha256(LAYER)),
    ("a layer is longer", lambda layout: edit(blob(layout, LAYER), lambda data: data + b"x"), [], sha256(LAYER)),
    ("index.json is no JSON", lambda layout: edit(layout / "index.json", lambda data: data[:-1]), [], "index.json"),
    ("index.json repeats a member",
     lambda layout: edit(layout / "index.json", lambda data: b'{"schemaVersion":2,' + data[1:]), [],
     "index.json", "schemaVersion"),
    ("unknown version of layout", lambda layout: (layout / "oci-layout").write_text('{"imageLayoutVersion":"9"}'), [],
     "1.0.0"),
]


def broken_image(damage, named, fragments, work):
    damage(write_layout(work / "image", [LAYER]))
    source = f"oci-layout:{named[0] if named else 'image'}"
    for destination in ["rootfs:out", "oci-archive:out.tar", "oci-layout:out", "docker-archive:out.tar"]:
        refused(work, ["copy", source, destination], FAILED, *fragments)
    small_tree(work)  # and as a base
    for output in ["type=oci,dest=out.tar", "type=image,name=app", "type=local,dest=out"]:
        refused(work, ["--from", source, "--platform", "linux/amd64", "--store", "kept", "-o", output, "tree"], FAILED,
                *fragments)


for name, damage, named, *fragments in IMAGES:
    table.add(f"image: {name}", functools.partial(broken_image, damage, named, fragments))


def nested_index(work, depth):
    """A layout whose image lies below so many indexes."""
    layout = write_layout(work / "image", [LAYER])
    for _ in range(depth):
        body = (layout / "index.json").read_bytes()
        what = {"mediaType": "application/vnd.oci.image.index.v1+json", "digest": sha256(body), "size": len(body)}
        (layout / "blobs/sha256" / what["digest"].partition(":")[2]).write_bytes(body)
        (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [what]}))


@table.row
def indexes_inside_each_other(work):
    nested_index(work, 50)
    small_tree(work)
    for arguments in [["copy", "oci-layout:image", "oci-archive:out.tar"], ["copy", "oci-layout:image", "rootfs:out"],
                      ["inspect", "oci-layout:image"],
                      ["--from", "oci-layout:image", "-o", "type=oci,dest=out.tar", "tree"]]:
        refused(work, arguments, FAILED, "more than 8 indexes inside each other")


def lying_manifest(change, fragments, work):
    write_layout(work / "image", [LAYER], manifest=change)
    for destination in ["rootfs:out", "oci-archive:out.tar", "oci-layout:out", "docker-archive:out.tar"]:
        refused(work, ["copy", "oci-layout:image", destination], FAILED, *fragments)


for name, change, *fragments in [("size too large", larger, sha256(LAYER)), ("huge size", huge_layer, ""),
                                 ("size of the configuration", other_config, "")]:
    table.add(f"manifest lies: {name}", functools.partial(lying_manifest, change, fragments))


@table.row
def image_not_found(work):
    write_layout(work / "image", [LAYER])
    refused(work, ["inspect", "oci-layout:image:nobody"], FAILED, "nobody")
    refused(work, ["copy", "oci-layout:image:nobody", "rootfs:out"], FAILED, "nobody")
    refused(work, ["inspect", "store:nobody", "--store", "none"], FAILED, "none")


@table.row
def not_an_archive(work):
    (work / "a.tar").write_bytes(b"hello, world\n" * 100)
    (work / "b.tar").write_bytes(tar_of(member("file")))
    for transport in ["oci-archive", "docker-archive"]:
        refused(work, ["inspect", f"{transport}:a.tar"], FAILED, "a.tar")
        refused(work, ["inspect", f"{transport}:b.tar"], FAILED, "b.tar")
        refused(work, ["inspect", f"{transport}:none.tar"], FAILED, "none.tar", MISSING)


# --- hostile archives ------------------------------------------------------------------------------------------

LINK, HARD, DIRECTORY = tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE


def pax(records, *after):
    """An extended header with exactly these bytes, and what it is about."""
    return member("PaxHeader", records, kind=tarfile.XHDTYPE) + b"".join(after)


def with_size(field):
    """The header of an entry with these bytes as its size, and the right checksum."""
    header = bytearray(member("liar"))
    header[124:136] = field
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header[:512])
    return bytes(header)


HOSTILE = [  # name, the tar's members, fragments of the message
    ("leads up", [member("../canary", b"evil")], "../canary"),
    ("leads up from below", [member("a/../../canary", b"evil")], "a/../../canary"),
    ("leads up far", [member("a/" + "../" * 40 + "etc/evil", b"evil")], "etc/evil"),
    ("symbolic link, then through it", [member("d", kind=LINK, link="../outside"), member("d/canary", b"evil")],
     "d/canary"),
    ("absolute link, then through it", [member("d", kind=LINK, link="OUTSIDE"), member("d/canary", b"evil")],
     "d/canary"),
    ("loop of links", [member("a", kind=LINK, link="b"), member("b", kind=LINK, link="a"), member("a/x", b"evil")],
     "a/x"),
    ("directory through a link", [member("d", kind=LINK, link="OUTSIDE"), member("d/new/", kind=DIRECTORY)], "d/new"),
    ("hard link to outside", [member("h", kind=HARD, link="../outside/canary"), member("h", b"evil")], "'h'",
     "../outside/canary"),
    ("hard link to an absolute path", [member("h", kind=HARD, link="OUTSIDE/canary")], "'h'"),
    ("hard link through a link",
     [member("d", kind=LINK, link="OUTSIDE"), member("h", kind=HARD, link="d/canary"), member("h", b"evil")], "'h'"),
    ("hard link to nothing", [member("h", kind=HARD, link="none")], "'h'", "none"),
    ("bare whiteout", [member("d/.wh.")], "d/.wh."),
    ("whiteout of itself", [member("d/.wh..")], "d/.wh.."),
    ("whiteout of the parent", [member("d/.wh...")], "d/.wh..."),
    ("whiteout that leads up", [member("../.wh.canary")], "../.wh.canary"),
    ("empty name", [member("")], ""),
    ("file below a file", [member("f", b"x"), member("f/x", b"x")], "f/x"),
    ("size larger than the archive", [member("liar", b"x" * 600, size=1 << 30)], "liar"),
    ("negative size", [with_size(b"\xff" * 12)], "liar", "size"),
    ("size beyond 64 bits", [with_size(b"\x80" + b"\xff" * 11)], "liar", "size"),
    ("size that is no number", [with_size(b"12x\0\0\0\0\0\0\0\0\0")], "liar", "size"),
    ("PAX size larger than the archive", [pax(b"19 size=1073741824\n", member("liar", b"x"))], "liar"),
    ("PAX record too long", [pax(b"99 path=x\n", member("liar", b"x"))], "PAX"),
    ("PAX record too short", [pax(b"5 path=x\n", member("liar", b"x"))], "PAX"),
    ("PAX record without number", [pax(b"path=x\n", member("liar", b"x"))], "PAX"),
    ("PAX size that is none", [pax(b"12 size=-1x\n", member("liar", b"x"))], "size"),
    ("PAX path that leads up", [pax(b"18 path=../canary\n", member("innocent", b"evil"))], "../canary"),
    ("PAX header of 100 MiB", [member("PaxHeader", kind=tarfile.XHDTYPE, size=100 << 20), bytes(4096)], "1048576"),
    ("long name of 1 GiB", [member("././@LongLink", kind=tarfile.GNUTYPE_LONGNAME, size=1 << 30), bytes(4096)],
     "65536"),
    ("unknown kind of entry", [member("odd", kind=b"Z")], "odd"),
]


def hostile(members, fragments, work):
    outside = work / "outside"
    outside.mkdir()
    (outside / "canary").write_text("alive")
    (work / "canary").write_text("alive")
    absolute = str(outside).encode()
    data = b"".join(members) + END
    if b"OUTSIDE" in data:
        data = b"".join(renamed(piece, absolute) for piece in members) + END
    (work / "evil.tar").write_bytes(data)
    write_layout(work / "plain", [data])
    write_layout(work / "packed", [gzip.compress(data, mtime=0)], "+gzip", [data])
    write_layout(work / "above", [LAYER, data])
    for image in ["plain", "packed", "above"]:
        refused(work, ["copy", f"oci-layout:{image}", "rootfs:out"], FAILED, *fragments)
    refused(work, ["-o", "type=local,dest=out", "evil.tar"], FAILED, *fragments)
    refused(work, ["-o", "type=local,dest=deep/out", "evil.tar"], FAILED, *fragments)


def renamed(piece, outside):
    """The same entry with the path of a folder that is outside for "OUTSIDE" in its link."""
    info = tarfile.TarInfo.frombuf(piece[:512], "utf-8", "strict")
    info.linkname = info.linkname.replace("OUTSIDE", outside.decode())
    return info.tobuf(tarfile.USTAR_FORMAT) + piece[512:]


for name, members, *fragments in HOSTILE:
    table.add(f"hostile: {name}", functools.partial(hostile, members, fragments))


@table.row
def hostile_absolute_name(work):
    """Which is refused or stays inside, whatever the archive means by it."""
    (work / "canary").write_text("alive")
    data = tar_of(member(str(work / "canary")[:99], b"evil"))
    write_layout(work / "image", [data])
    (work / "evil.tar").write_bytes(data)
    refused(work, ["copy", "oci-layout:image", "rootfs:out"], FAILED, "canary")
    refused(work, ["-o", "type=local,dest=out", "evil.tar"], FAILED, "canary")


@table.row
def hostile_links_upwards_end_at_the_root(work):
    """As they would in the container: ".." of the root is the root."""
    (work / "outside").mkdir()
    (work / "outside/canary").write_text("alive")
    data = tar_of(member("a", kind=LINK, link=".."), member("b", kind=LINK, link="a/.."),
                  member("b/outside/canary", b"inside"),
                  member("c", kind=LINK, link="/"), member("c/outside/other", b"inside"))
    write_layout(work / "image", [data])
    before = survey(work)
    code, _, err = run(work, "copy", "oci-layout:image", "rootfs:out")
    expect_equal(code, 0, err)
    expect_equal(sorted(os.listdir(work / "out/outside")), ["canary", "other"], "what came out")
    expect_untouched(before, {path: facts for path, facts in survey(work).items() if path.split("/")[0] != "out"})


@table.row
def hostile_device_nodes_are_left_out(work):
    data = tar_of(member("dev/sda", kind=tarfile.BLKTYPE, devmajor=8),
                  member("dev/mem", kind=tarfile.CHRTYPE, devmajor=1, devminor=1))
    write_layout(work / "image", [data])
    code, _, err = run(work, "copy", "oci-layout:image", "rootfs:out")
    expect_equal(code, 0, err)
    expect_in("dev/sda", err, "standard error")
    expect_equal(os.listdir(work / "out/dev"), [], "device nodes")


ZEROS = 1 << 30
BOMB = member("bomb", size=ZEROS)


def gzip_bomb():
    out = io.BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=9, mtime=0) as packed:
        packed.write(BOMB)
        for _ in range(128):
            packed.write(bytes(1 << 20))
    return out.getvalue()


@table.row
def hostile_gzip_bomb(work):
    write_layout(work / "image", [gzip_bomb()], "+gzip", [b""])
    refused(work, ["copy", "oci-layout:image", "rootfs:out"], FAILED, "bomb", "1000 times")


@table.row
def hostile_zstd_bomb(work):
    data = zstd_frame(BOMB, *[(0, 128 << 10)] * (ZEROS >> 17))
    write_layout(work / "image", [data], "+zstd", [b""])
    refused(work, ["copy", "oci-layout:image", "rootfs:out"], FAILED, "bomb", "1000 times")


@table.row
def hostile_layer_is_not_what_the_configuration_says(work):
    write_layout(work / "image", [gzip.compress(LAYER, mtime=0)], "+gzip", [b"something else"])
    refused(work, ["copy", "oci-layout:image", "rootfs:out"], FAILED, "layer 1", sha256(LAYER))


@table.row
def what_fails_while_squashing(work):
    small_tree(work)
    (work / "broken.tar").write_bytes(tar_of(member("a", b"1"))[:600])
    refused(work, [*TO_ARCHIVE, "--squash", "broken.tar", "tree"], FAILED, "layer 1 (tar:broken.tar)", "truncated")
    kept = member("link", kind=tarfile.LNKTYPE, link="target")
    (work / "lower.tar").write_bytes(tar_of(kept))
    (work / "upper.tar").write_bytes(tar_of(member(".wh.target")))
    refused(work, [*TO_ARCHIVE, "--squash", "lower.tar", "upper.tar"], FAILED, "'link'", "hard link to 'target'")


@table.row
def hostile_layer_is_packed_otherwise(work):
    write_layout(work / "image", [LAYER], "+gzip")
    refused(work, ["copy", "oci-layout:image", "rootfs:out"], FAILED, "layer 1", "gzip")


table.run()
