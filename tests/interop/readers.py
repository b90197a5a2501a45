#!/usr/bin/python3
"""readers.py COMMAND [WORD...]: images of many options, read and run by skopeo, umoci, buildah, podman and containerd.

Each row of exports.py is exported, and its documents are validated against the schemas of image-spec; what each reader
makes of it is compared with the source; and containers of it must report what is in the image. What type=local,
type=tar and unpack=true leave is run with chroot and with runc. With WORDs only the rows that have one of them in their
name.
"""

import concurrent.futures
import contextlib
import copy
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import registry_server
from common import (IS_ROOT, Failure, Report, Shiplap, Workplace, expect, expect_equal, expect_same_tree, has, run,
                    skopeo_copy, survey, umoci_unpack)
from exports import BUSYBOX, HOST, ROWS, Exporting, plain_exports
from images import digest_of, why_no_schemas

# --- the readers -----------------------------------------------------------------------------------------


def tool(*words, **options):
    try:
        return run(*words, timeout=100, stdin=subprocess.DEVNULL, **options)
    except subprocess.TimeoutExpired as problem:
        raise Failure(str(problem)) from None


def end_of(problem):
    """The last line of a message, which tends to say why."""
    return str(problem).splitlines()[-1][-300:]


def text_of(*words, **options):
    return tool(*words, **options).stdout.decode()


class Reader:
    """open(export) is a context with the root file system that it made, and what runs a container; each may be None.

    cannot, cannot_run: why it is not asked, found out with an image that is not ours.
    """
    programs, needs_root = (), True
    images = True  # or it takes root file systems
    unpacks = runs = True  # what open() gives

    def __init__(self, work):
        self.work, self.cannot, self.cannot_run = work, None, None

    @property
    def name(self):
        return type(self).__name__.lower()

    def takes(self, export):
        return export.kind not in ("local", "tar")

    def prepare(self, plain):
        missing = [program for program in self.programs if not has(program)]
        if missing:
            self.cannot = f"{' and '.join(missing)} not installed"
        elif self.needs_root and not IS_ROOT:
            self.cannot = "only root can make it unpack owners and start containers"
        else:
            try:
                self.start()
                self.check(plain, run=False)
            except Failure as problem:
                self.cannot = f"it cannot read what is made by hand either: {end_of(problem)}"
        if not self.cannot and not self.cannot_run:
            try:
                self.check(plain)
            except Failure as problem:
                self.cannot_run = f"it cannot run what is made by hand either: {end_of(problem)}"

    def start(self):
        pass

    def notices(self, plain):
        """Its check fails if the tree is not that of the image, or the container tells something else."""
        for member, value, able in (("tree", {}, self.unpacks), ("clamped", 0, self.runs and not self.cannot_run)):
            wrong = copy.copy(plain)
            setattr(wrong, member, value)
            try:
                self.check(wrong)
            except Failure:
                continue
            expect(not able, f"a wrong {member} was not noticed")

    def check(self, export, run=True):
        with self.open(export) as (root, execute):
            if self.unpacks:
                expect_same_tree(survey(root), export.tree)
            if run and self.runs and not self.cannot_run and export.arch == HOST:
                for _ in range(5):
                    found = execute()
                    if found == export.told or not export.told.startswith(found):
                        break  # else ctr 1.6 and buildah 1.28 lost its end, as they do at times on a busy machine
                expect_equal(found, export.told, "what the container tells")


class Skopeo(Reader):
    programs, needs_root = ("skopeo",), False
    unpacks = runs = False

    @contextlib.contextmanager
    def open(self, export):
        tool("skopeo", "--insecure-policy", "--override-arch", export.arch, "inspect", "--no-tags",
             "--tls-verify=false", export.source)
        folder = self.work.place("skopeo")
        skopeo_copy(export.source, f"dir:{folder}", "--all", "--src-tls-verify=false")
        if export.kind != "docker":  # of which skopeo makes another manifest
            found = digest_of("sha256", (folder / "manifest.json").read_bytes())
            expect_equal(found, export.digest, "digest of skopeo's manifest")
        yield None, None


class Umoci(Reader):
    programs, needs_root = ("umoci", "skopeo"), False
    runs = False

    @contextlib.contextmanager
    def open(self, export):
        layout, tag = export.folder, export.tag
        if export.is_index or export.types != "oci" or not tag or export.kind == "registry":
            layout, tag = self.work.place("one"), "1"  # skopeo picks one image of several, and makes OCI of Docker's
            run("skopeo", "--insecure-policy", "--override-arch", export.arch, "copy", "--quiet",
                "--src-tls-verify=false", export.source, f"oci:{layout}:{tag}")
        yield umoci_unpack(layout, tag, self.work.place("bundle")), None


class Containers(Reader):
    """What buildah and podman have in common."""

    def start(self):
        root, settings = self.work.place("c"), self.work.place("conf")  # podman takes no long paths
        settings.write_text('[engine]\nlock_type = "file"\nevents_logger = "none"\ncgroup_manager = "cgroupfs"\n'
                            f'runtime = "runc"\ntmp_dir = "{root}-tmp"\n'
                            '[containers]\nnetns = "host"\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n')
        self.environment = {"CONTAINERS_CONF": str(settings), "TMPDIR": str(self.work.folder)}
        self.words = [self.name, "--root", root, "--runroot", f"{root}-run", "--storage-driver", "vfs"]

    def __call__(self, *words):
        return text_of(*self.words, *words, env=self.environment)


class Buildah(Containers):
    programs = ("buildah",)

    @contextlib.contextmanager
    def open(self, export):
        arch = ["--arch", export.arch] if export.arch != HOST else []
        container = self("from", "--quiet", "--pull-never=false", "--tls-verify=false", *arch, export.source).strip()
        yield (pathlib.Path(self("mount", container).strip()),
               lambda: self("run", "--isolation", "chroot", container, "--", "/bin/sh", "/report"))


class Podman(Containers):
    """Reads with the same code as buildah, so it runs one image of each kind."""
    programs = ("podman", "runc")
    unpacks = False

    def __init__(self, work):
        super().__init__(work)
        self.seen = set()

    def takes(self, export):
        kind = (export.kind, export.types, export.is_index)
        new = super().takes(export) and export.arch == HOST and kind not in self.seen
        self.seen |= {kind} if new else set()
        return new

    @contextlib.contextmanager
    def open(self, export):
        yield None, lambda: self("run", "--quiet", "--rm", "--tls-verify=false", "--cgroup-parent",
                                 f"/{self.work.folder.name}", export.source)


class Containerd(Reader):
    programs = ("containerd", "ctr", "runc")

    def start(self):
        folder = self.work.place("containerd")
        folder.mkdir()
        self.folder, self.socket, self.snapshotter = folder, folder / "socket", "overlayfs"
        (folder / "config.toml").write_text(
            f'version = 2\nroot = "{folder}/root"\nstate = "{folder}/state"\n'
            'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
            f'[grpc]\naddress = "{self.socket}"\n[plugins."io.containerd.internal.v1.opt"]\npath = "{folder}/opt"\n')
        with open(folder / "log", "wb") as log:
            self.process = subprocess.Popen(["containerd", "--config", folder / "config.toml"], stdout=log, stderr=log,
                                            stdin=subprocess.DEVNULL, start_new_session=True)
        for _ in range(200):
            with contextlib.suppress(Failure):
                return self("version")
            expect(self.process.poll() is None, "containerd ended: " + (folder / "log").read_text()[-500:])
            time.sleep(0.05)
        raise Failure("containerd does not answer: " + (folder / "log").read_text()[-500:])

    def prepare(self, plain):
        super().prepare(plain)
        if self.cannot and hasattr(self, "process"):  # overlayfs wants a file system that can be below it
            self.cannot, self.snapshotter, self.start = None, "native", lambda: None
            super().prepare(plain)

    def __call__(self, *words):
        return text_of("ctr", "--address", self.socket, *words)

    def execute(self, export, name):
        identity = f"{self.work.folder.name}-{export.variant}"  # of the cgroup as well, which all on this machine share
        return self("run", "--rm", "--snapshotter", self.snapshotter, "--cgroup", "",
                    "--fifo-dir", self.folder / "fifo", "--runc-root", self.folder / "runc", name, identity)

    @contextlib.contextmanager
    def open(self, export):
        if export.kind == "registry":
            name = export.names[0]
            if export.is_index:  # with all its platforms, of which a pull unpacks one
                self("content", "fetch", "--plain-http", "--all-platforms", name)
            self("image", "pull", "--plain-http", "--platform", f"linux/{export.arch}",
                 "--snapshotter", self.snapshotter, name)
        else:
            name = self.imported(export)
        snapshots = ["--snapshotter", self.snapshotter]
        root = self.work.place("mounted")
        root.mkdir()
        self("image", "mount", *snapshots, "--platform", f"linux/{export.arch}", name, root)
        try:
            yield root, lambda: self.execute(export, name)
        finally:
            self("image", "unmount", "--rm", *snapshots, root)

    def imported(self, export):
        file = export.place
        if export.kind in ("layout", "store"):
            file = self.work.place("layout.tar")
            run("tar", "--create", "--file", file, "--directory", export.folder, "blobs", "index.json", "oci-layout")
        base = f"example.com/nameless/{export.variant}"
        nameless = [] if export.names else ["--digests", "--base-name", base]
        self("image", "import", "--all-platforms", "--no-unpack", *nameless, file)
        names = self("image", "ls", "--quiet").split()
        missing = [name for name in export.names if name not in names]
        expect(not missing, f"containerd knows nothing of {missing}, but of {names}")
        return export.names[0] if export.names else next(name for name in names if name.startswith(base + "@"))

    def stop(self):
        if hasattr(self, "process"):
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Trees(Reader):
    """What runs a root file system that we unpacked."""
    images = False

    def takes(self, export):
        return export.kind in ("local", "tar") or hasattr(export, "unpacked")

    def root_of(self, export):
        if export.kind == "tar":
            folder = self.work.place("extracted")
            folder.mkdir()
            run("tar", "--extract", "--preserve-permissions", "--xattrs", "--xattrs-include=*", "--numeric-owner",
                "--file", export.place, "--directory", folder)
            return folder
        return export.place if export.kind == "local" else export.unpacked


class Chroot(Trees):
    programs = ("chroot",)

    @contextlib.contextmanager
    def open(self, export):
        root = self.root_of(export)
        yield root, lambda: text_of("chroot", root, "/bin/sh", "-c", "cd /srv && PATH=/bin exec /bin/sh /report",
                                    env={"SHIP": "lap"})


class Runc(Trees):
    """A bundle around the root file system, which it may only read."""
    programs = ("runc",)

    @contextlib.contextmanager
    def open(self, export):
        root, bundle = self.root_of(export), self.work.place("bundle")
        bundle.mkdir()
        tool("runc", "spec", "--bundle", bundle)
        spec = json.loads((bundle / "config.json").read_text())
        spec["root"] = {"path": str(root), "readonly": True}
        spec["process"] |= {"terminal": False, "args": ["/bin/sh", "/report"], "cwd": "/srv", "env": ["SHIP=lap"]}
        (bundle / "config.json").write_text(json.dumps(spec))
        before = survey(root)
        yield root, lambda: text_of("runc", "--root", self.work.folder / "runc", "run", "--bundle", bundle,
                                    f"{self.work.folder.name}-{bundle.name}")
        expect_same_tree(survey(root), before)


# --- what runs -------------------------------------------------------------------------------------------


def processes_of(folder):
    """Processes that have the folder in their command line, and still live."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if os.fsencode(folder) in path.read_bytes() and int(path.parent.name) != os.getpid():
                found.append(int(path.parent.name))
    return found


def mounts_in(folder):
    """Innermost first."""
    places = [line.split()[4] for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines()]
    return sorted((place for place in places if place.startswith(f"{folder}/")), reverse=True)


def clean_up(folder):
    """Ends what still runs, unmounts what is still mounted. Returns what that was."""
    for _ in range(100):  # what podman starts at the end of a container ends by itself
        left = processes_of(folder)
        if not left:
            break
        time.sleep(0.05)
    for process in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    mounts = mounts_in(folder)
    for place in mounts:
        run("umount", "--lazy", place)
    for group in pathlib.Path("/sys/fs/cgroup").glob(f"**/{folder.name}"):  # podman leaves the parent of its groups
        for path, _, _ in os.walk(group, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(path)
    return left + mounts


def check_row(report, exporting, readers, number, row, unread):
    """Adds to `unread` what a reader is not asked to read: (reader, reason) -> names of rows."""
    export = report.check(f"{row.name}: documents", exporting, number, row)
    for reader in readers if export else ():
        if reader.name in row.without:
            unread.setdefault((reader.name, row.without[reader.name]), []).append(row.name)
        elif not reader.cannot and reader.takes(export):
            report.check(f"{row.name}: {reader.name}", reader.check, export)


def check_rows(report, exporting, readers, words):
    unread, waiting = {}, []
    pool = concurrent.futures.ThreadPoolExecutor(2)  # readers wait a lot
    try:
        for number, row in enumerate(ROWS):
            if words and not any(word in row.name for word in words):
                continue
            if row.kind == "registry" and not exporting.registry:
                report.skip("type=registry", f"{registry_server.PROGRAM} is not installed")
                continue
            waiting.append(pool.submit(check_row, report, exporting, readers, number, row, unread))
        for done in waiting:
            done.result()
    finally:
        pool.shutdown(cancel_futures=True)
    for (reader, reason), rows in unread.items():
        report.skip(f"{reader} of {'; '.join(sorted(rows))}", reason)


def main(command, *words):
    report = Report()
    outputs = {row.output for row in ROWS}
    report.check(f"{len(ROWS)} rows, {len(outputs)} different options", expect, len(outputs) >= 40, "that is too few")
    if why_no_schemas():
        report.skip("validation against the schemas of image-spec", why_no_schemas())
    if not has("zstd"):
        report.skip("diff_ids of zstd layers", "zstd is not installed")
    with contextlib.ExitStack() as stack:
        work = stack.enter_context(Workplace())
        left = []
        stack.callback(lambda: left.extend(clean_up(work.folder)))
        registry = None
        if registry_server.is_there():
            registry = stack.enter_context(registry_server.Registry(work.place("registry")))
        readers = [kind(work) for kind in (Skopeo, Umoci, Buildah, Podman, Containerd, Chroot, Runc)]
        stack.callback(next(reader for reader in readers if reader.name == "containerd").stop)
        image, tree = plain_exports(work)
        for reader in readers:
            if not BUSYBOX.exists():
                reader.cannot_run = f"no {BUSYBOX} to run: busybox-static is not installed"
            reader.prepare(image if reader.images else tree)
            if reader.cannot or reader.cannot_run and reader.runs:
                report.skip(reader.name if reader.cannot else f"running with {reader.name}",
                            reader.cannot or reader.cannot_run)
            if not reader.cannot:
                report.check(f"{reader.name} can fail", reader.notices, image if reader.images else tree)
        check_rows(report, Exporting(Shiplap(command), work, registry), readers, words)
    report.check("no process and no mount is left behind", expect_equal, left, [], "left behind")
    report.exit()


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(*sys.argv[1:])
