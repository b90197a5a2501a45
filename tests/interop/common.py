"""What the interop scripts share: running programs, comparing trees, and counting what was checked or skipped."""

import collections
import hashlib
import itertools
import os
import pathlib
import secrets
import shutil
import stat
import subprocess
import sys
import tempfile
import threading

IS_ROOT = os.geteuid() == 0
SKIPPED = 77  # SKIP_RETURN_CODE of these tests


class Failure(Exception):
    """Something is not as it should be."""


class Report:
    """Prints each check in one line and decides on the exit status. check() may be called by several threads."""

    def __init__(self):
        self.checks, self.skips, self.failures = 0, [], 0
        self.lock = threading.Lock()

    def check(self, label, function, *arguments):
        """Runs function(*arguments): a Failure is reported and does not stop the script. Returns what it returns."""
        try:
            result = function(*arguments)
        except Failure as problem:
            with self.lock:
                self.failures += 1
                print(f"FAILED   {label}\n         " + str(problem).replace("\n", "\n         "), flush=True)
            return None
        with self.lock:
            self.checks += 1
            print(f"ok       {label}", flush=True)
        return result

    def skip(self, label, reason):
        if (label, reason) not in self.skips:
            self.skips.append((label, reason))
            print(f"SKIPPED  {label}: {reason}", flush=True)

    def exit(self):
        print(f"{self.checks} checks passed, {self.failures} failed, {len(self.skips)} skipped")
        for label, reason in self.skips:
            print(f"  NOT CHECKED: {label}: {reason}")
        if self.failures:
            sys.exit(1)
        sys.exit(0 if self.checks else SKIPPED)


def expect(condition, message):
    if not condition:
        raise Failure(message)


def expect_equal(found, wanted, what):
    if found != wanted:
        raise Failure(f"{what}: found {found!r}, wanted {wanted!r}")


def run(*command, fails=False, env=None, **options):
    """Runs a program to its end and returns it. Raises Failure if its exit status is not 0 (or is, with `fails`)."""
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "", **(env or {})}
    if not environment["SOURCE_DATE_EPOCH"]:
        del environment["SOURCE_DATE_EPOCH"]
    done = subprocess.run([os.fspath(word) for word in command], capture_output=True, env=environment, **options)
    if (done.returncode != 0) != fails:
        words = " ".join(os.fsdecode(word) for word in command)
        raise Failure(f"{words}\nexit status {done.returncode}: {done.stderr.decode(errors='replace').strip()}")
    return done


class Shiplap:
    """The command under test. Calls return the words on its standard output: root digests, one per output."""

    def __init__(self, path):
        self.path = os.path.abspath(path)

    def __call__(self, *arguments, **options):
        return self.run(*arguments, **options).stdout.decode().split()

    def run(self, *arguments, **options):
        return run(self.path, "--progress", "none", *arguments, **options)

    def error(self, *arguments, **options):
        """What it prints when it fails, as it must."""
        return self.run(*arguments, fails=True, **options).stderr.decode(errors="replace")


def has(program):
    return shutil.which(program) is not None


class Workplace:
    """A temporary folder, in which place("name") is a path that does not exist yet."""

    def __init__(self, parent=None):
        # buildah makes a reference of the path, in which mkdtemp's underscores may not stand everywhere.
        self.folder = pathlib.Path(parent or tempfile.gettempdir()) / f"shiplap-interop-{secrets.token_hex(4)}"
        self.folder.mkdir(mode=0o700)
        self.count = itertools.count(1)  # which several threads may use

    def __enter__(self):
        return self

    def __exit__(self, *_):
        run("chmod", "-R", "u+rwX", self.folder)
        shutil.rmtree(os.fsencode(self.folder))  # as bytes: some names are no text

    def place(self, name):
        return self.folder / f"{next(self.count)}-{name}"


# --- trees -----------------------------------------------------------------------------------------------

# What a layer keeps of a file. `links`: all names of the same inode.
Facts = collections.namedtuple("Facts", "kind mode uid gid mtime size content target device capability links")

KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link", stat.S_IFIFO: "fifo",
         stat.S_IFCHR: "character device", stat.S_IFBLK: "block device"}
DEVICES = ("character device", "block device")


def capability_of(path):
    try:
        return os.getxattr(path, "security.capability", follow_symlinks=False) or None
    except OSError:
        return None


def sha256_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def survey(root):
    """path below root, as bytes -> Facts. Sockets, which tar cannot hold, are left out, and the root itself."""
    found, names = {}, collections.defaultdict(list)
    root = os.fsencode(root)

    def visit(folder):
        with os.scandir(os.path.join(root, folder)) as entries:
            for name in sorted(entry.name for entry in entries):
                path = os.path.join(folder, name)
                facts = os.lstat(os.path.join(root, path))
                if kind := KINDS.get(stat.S_IFMT(facts.st_mode)):
                    found[path] = (kind, facts)
                    names[facts.st_dev, facts.st_ino].append(path)
                if kind == "folder":
                    visit(path)

    visit(b"")
    tree = {}
    for path, (kind, facts) in found.items():
        full = os.path.join(root, path)
        tree[path] = Facts(
            kind=kind,
            mode=stat.S_IMODE(facts.st_mode),
            uid=facts.st_uid,
            gid=facts.st_gid,
            mtime=facts.st_mtime_ns // 10**9,  # the whole second before it, also below 1970
            size=facts.st_size if kind == "file" else 0,
            content=sha256_of(full) if kind == "file" else None,
            target=os.readlink(full) if kind == "link" else None,
            device=(os.major(facts.st_rdev), os.minor(facts.st_rdev)) if kind in DEVICES else None,
            capability=capability_of(full),
            links=tuple(names[facts.st_dev, facts.st_ino]) if kind != "folder" else ())
    return tree


def without(tree, unwanted):
    """The tree without the paths for which unwanted(path, facts), and without what lies below them."""
    gone = {path for path, facts in tree.items() if unwanted(path, facts)}

    def stays(path):
        parts = path.split(b"/")
        return not any(b"/".join(parts[:n]) in gone for n in range(1, len(parts) + 1))

    return {path: facts._replace(links=tuple(filter(stays, facts.links)))
            for path, facts in tree.items() if stays(path)}


def without_devices(tree):
    return without(tree, lambda _, facts: facts.kind in DEVICES)


def expect_same_tree(found, wanted, ignore=()):
    """Compares two surveys; only root can restore owners, so they count for root alone."""
    ignore = set(ignore) | (set() if IS_ROOT else {"uid", "gid", "capability"})
    differences = [f"missing: {path!r}" for path in wanted.keys() - found.keys()]
    differences += [f"unexpected: {path!r}" for path in found.keys() - wanted.keys()]
    for path in sorted(found.keys() & wanted.keys()):
        for field in Facts._fields:
            a, b = getattr(found[path], field), getattr(wanted[path], field)
            if field not in ignore and a != b:
                differences.append(f"{path!r}: {field} is {a!r}, wanted {b!r}")
    if differences:
        rest = f"\nand {len(differences) - 12} more" if len(differences) > 12 else ""
        raise Failure("trees differ:\n" + "\n".join(differences[:12]) + rest)


# --- other people's tools --------------------------------------------------------------------------------

def skopeo_copy(source, destination, *options):
    run("skopeo", "--insecure-policy", "copy", "--quiet", *options, source, destination)


def umoci_unpack(layout, tag, bundle):
    """The root folder of what umoci makes of an image."""
    run("umoci", "unpack", *([] if IS_ROOT else ["--rootless"]), "--image", f"{layout}:{tag}", bundle)
    return pathlib.Path(bundle) / "rootfs"
