"""What the tests of the command share: a place to work in, a way to run it, and rows that are checked one by one."""

import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import time
import traceback

COMMAND = str(pathlib.Path(sys.argv[1]).resolve())
IS_ROOT = os.geteuid() == 0
NOBODY = 65534
TIMEOUT = 60


class Failure(Exception):
    pass


def expect(condition, message):
    if not condition:
        raise Failure(message)


def expect_equal(found, wanted, what):
    expect(found == wanted, f"{what}: found {found!r}, not {wanted!r}")


def expect_in(fragment, text, what):
    expect(fragment in text, f"{what}: no {fragment!r} in {text!r}")


def environment(work, **changes):
    """Nothing of the user's: no store, no epoch, no temporary folder elsewhere."""
    kept = {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C"}
    return {**kept, "HOME": f"{work}/home", "TMPDIR": f"{work}/tmp", **changes}


def become_nobody():
    """For preexec_fn: root may read and write everything."""
    if IS_ROOT:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def run(work, *arguments, stdin=b"", preexec=None, progress="none", **changes):
    """Runs the command in the folder `work`; returns its exit code, standard output and standard error."""
    words = [COMMAND, *(["--progress", progress] if progress else []), *map(str, arguments)]
    source = {"stdin": stdin} if hasattr(stdin, "fileno") else {"input": stdin}
    if os.environ.get("SHOW"):
        print("$", *words[3:] if progress else words[1:])
    done = subprocess.run(words, cwd=work, env=environment(work, **changes), preexec_fn=preexec, timeout=TIMEOUT,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, **source)
    if os.environ.get("SHOW"):
        print(done.stderr.decode("utf-8", "backslashreplace"), end="")
    return done.returncode, done.stdout, done.stderr.decode("utf-8", "backslashreplace")


def succeed(work, *arguments, **more):
    """Standard output, as text, of a run that must succeed."""
    code, out, err = run(work, *arguments, **more)
    expect(code == 0, f"{' '.join(map(str, arguments))}: exit code {code}: {err}")
    return out.decode("utf-8", "backslashreplace").strip()


class Stopped:
    """A run of the command that waits, before it prints its first line on standard error: a pipe that is full."""

    def __init__(self, work, *arguments, preexec=None):
        self.reader, writer = os.pipe()
        os.set_blocking(writer, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writer, bytes(4096))
        os.set_blocking(writer, True)
        words = [COMMAND, "--progress", "none", *map(str, arguments)]
        self.process = subprocess.Popen(words, cwd=work, env=environment(work), preexec_fn=preexec,
                                        stderr=writer, stdout=subprocess.PIPE)
        os.close(writer)
        waiting = 0
        for _ in range(1000):
            waiting = waiting + 1 if self.is_waiting() else 0
            if waiting == 10:
                return
            time.sleep(0.01)
        self.process.kill()
        raise RuntimeError("the command did not stop at its warning")

    def is_waiting(self):
        return pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"

    def go_on(self):
        text = b""
        while piece := os.read(self.reader, 65536):
            text += piece
        os.close(self.reader)
        out, _ = self.process.communicate(timeout=TIMEOUT)
        return self.process.returncode, out, text.lstrip(b"\0").decode()


def inspect(work, image, *options, **more):
    return json.loads(succeed(work, "inspect", "--json", image, *options, **more))


def survey(folder):
    """Everything below a folder, hidden names included: kind, mode and content by path."""
    found = {}
    for directory, names, files in os.walk(folder):
        for name in names + files:
            path = os.path.join(directory, name)
            facts = os.lstat(path)
            content = None
            if stat.S_ISLNK(facts.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(facts.st_mode):
                with contextlib.suppress(PermissionError), open(path, "rb") as file:
                    content = hashlib.file_digest(file, "sha256").hexdigest()
            found[os.path.relpath(path, folder)] = (stat.filemode(facts.st_mode), content)
    return found


def expect_untouched(before, after):
    for path in sorted(before.keys() | after.keys()):
        if path not in before:
            raise Failure(f"'{path}' was left behind: {after[path]}")
        if path not in after:
            raise Failure(f"'{path}' is gone")
        expect_equal(after[path], before[path], f"'{path}' has changed")


@contextlib.contextmanager
def workplace():
    work = pathlib.Path(tempfile.mkdtemp(prefix="shiplap-command-"))
    try:
        work.chmod(0o755)  # for nobody
        (work / "home").mkdir()
        (work / "tmp").mkdir(mode=0o777)
        (work / "tmp").chmod(0o1777)
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def small_tree(work, name="tree"):
    tree = work / name
    (tree / "bin").mkdir(parents=True)
    (tree / "bin/app").write_text("#!/bin/sh\n")
    (tree / "bin/app").chmod(0o755)
    (tree / "etc").mkdir()
    (tree / "etc/app.conf").write_text("answer=42\n")
    (tree / "etc/link").symlink_to("app.conf")
    return tree


def random_file(path, size, seed=0):
    """Bytes that no codec makes smaller, the same every time."""
    block = b"".join(hashlib.sha256(b"%d.%d" % (seed, i)).digest() for i in range(32768))  # 1 MiB
    with open(path, "wb") as file:
        for start in range(0, size, len(block)):
            file.write(start.to_bytes(8, "big") + block[8:])
        file.truncate(size)


# --- archives and images by hand -------------------------------------------------------------------------


def member(name, data=b"", kind=tarfile.REGTYPE, link="", mode=0o644, size=None, format=tarfile.USTAR_FORMAT, **more):
    """One tar entry as bytes; a `size` other than that of the data is a lie."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, mode
    info.size = len(data) if size is None else size
    for key, value in more.items():
        setattr(info, key, value)
    return info.tobuf(format) + data + bytes(-len(data) % 512)


END = bytes(1024)


def tar_of(*members):
    return b"".join(members) + END


def sha256(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def write_layout(folder, layers, suffix="", plain=None, config=None, manifest=None):
    """An OCI layout with one image. `layers` are the bytes of its layers; `plain` what they unpack to."""
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)

    def put(data, media_type):
        (blobs / hashlib.sha256(data).hexdigest()).write_bytes(data)
        return {"mediaType": f"application/vnd.oci.image.{media_type}", "digest": sha256(data), "size": len(data)}

    diff_ids = [sha256(data) for data in (plain or layers)]
    settings = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    settings.update(config or {})
    body = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": put(json.dumps(settings).encode(), "config.v1+json"),
            "layers": [put(data, "layer.v1.tar" + suffix) for data in layers]}
    if manifest:
        manifest(body)
    index = {"schemaVersion": 2, "manifests": [put(json.dumps(body).encode(), "manifest.v1+json")]}
    (folder / "index.json").write_text(json.dumps(index))
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    return folder


# --- rows ------------------------------------------------------------------------------------------------


class Table:
    """Checks, each a function of a fresh folder, run and reported one by one."""

    def __init__(self):
        self.rows = []

    def add(self, name, check):
        self.rows.append((name, check))

    def row(self, check):
        """As a decorator: the name of the function is that of the row."""
        self.add(check.__name__.replace("_", " "), check)
        return check

    def run(self):
        chosen = [row for row in self.rows if not sys.argv[2:] or any(word in row[0] for word in sys.argv[2:])]
        failed = 0
        for name, check in chosen:
            try:
                with workplace() as work:
                    check(work)
            except Failure as problem:
                failed += 1
                print(f"FAILED {name}: {problem}")
            except Exception:  # a broken test fails like a broken command, and the others still run
                failed += 1
                print(f"FAILED {name}:\n{traceback.format_exc()}")
        print(f"{len(chosen) - failed} of {len(chosen)} rows passed")
        sys.exit(1 if failed or not chosen else 0)
