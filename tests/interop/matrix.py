#!/usr/bin/python3
"""matrix.py COMMAND: every codec x flavour x digest x sink that makes sense, on a tree with everything odd in it.

Each image is checked by images.py, then read by skopeo and umoci, and what they unpack is compared with the source.
"""

import pathlib
import sys
import tarfile

import trees
from common import (DEVICES, IS_ROOT, Failure, Report, Shiplap, Workplace, expect, expect_equal, expect_same_tree, has,
                    run, skopeo_copy, survey, umoci_unpack, without, without_devices)
from images import (Layout, check_docker_manifest, check_layout, expect_tar_is_tree, open_archive, why_no_schemas)

TAG = "example.com/odd:1"
CODECS = ["uncompressed", "gzip", "estargz", "zstd"]


def is_text(path):
    try:
        return path.decode() is not None
    except UnicodeDecodeError:
        return False


class Matrix:
    def __init__(self, command, work, report):
        self.command, self.work, self.report = command, work, report
        self.odd, self.readable = work.place("odd"), work.place("readable")
        trees.odd(self.odd)
        trees.odd(self.readable, text_only=True)  # for estargz, whose table of contents is JSON
        self.layers = {}  # (codec, digest) -> digest of the layer: the same whatever the flavour and the sink

    def tree(self, codec):
        return self.readable if codec == "estargz" else self.odd

    # --- the sinks: each returns the image's layout, as a folder, and the checked image

    def export(self, spec, codec, digest, *options):
        return self.command("--digest", digest, "-o", spec, "-t", TAG, *options, self.tree(codec))

    def layout(self, codec, flavour, digest):
        where = self.work.place("layout")
        kind = "oci" if flavour == "oci" else "docker"
        printed = self.export(f"type={kind},tar=false,dest={where},compression={codec}"
                              + (",oci-mediatypes=false" if flavour == "docker" else ""), codec, digest)
        return where, self.checked(where, codec, flavour, digest, printed)

    def archive(self, codec, flavour, digest):
        file, where = self.work.place("archive.tar"), self.work.place("archive")
        printed = self.export(f"type=oci,dest={file},compression={codec}", codec, digest)
        open_archive(file, where)
        expect(not (where / "manifest.json").exists(), "an OCI archive has no manifest.json")
        return where, self.checked(where, codec, flavour, digest, printed)

    def docker_archive(self, codec, flavour, digest):
        file, where = self.work.place("docker.tar"), self.work.place("docker")
        types = "true" if flavour == "oci" else "false"
        printed = self.export(f"type=docker,dest={file},compression={codec},oci-mediatypes={types}", codec, digest)
        open_archive(file, where)
        image = self.checked(where, codec, flavour, digest, printed)
        check_docker_manifest(where, image, [TAG])
        return file, image

    def store(self, codec, flavour, digest):
        where = self.work.place("store")
        types = "true" if flavour == "oci" else "false"
        printed = self.export(f"type=image,compression={codec},oci-mediatypes={types}", codec, digest, "--store", where)
        return where, self.checked(where, codec, flavour, digest, printed)

    def checked(self, where, codec, flavour, digest, printed):
        image = check_layout(where, codec, flavour, digest)
        expect_equal(printed, [image.root["digest"]], "the root digest on standard output")
        layer = image.manifest["layers"][0]["digest"]
        expect_equal(layer, self.layers.setdefault((codec, digest), layer), "layer digest, which other sinks have too")
        if codec == "estargz":
            expect(image.chunks >= 2, f"only {image.chunks} further chunks: the tree should have a larger file")
        elif image.plain:
            expect_tar_is_tree(image.plain[0], self.odd)
        return image

    # --- the readers

    def read_by_skopeo(self, source):
        out = self.work.place("skopeo")
        skopeo_copy(source, f"dir:{out}")

    def read_by_umoci(self, layout, tag, codec):
        rootfs = umoci_unpack(layout, tag, self.work.place("bundle"))
        expect_same_tree(survey(rootfs), survey(self.tree(codec)))

    def read_layout(self, codec, flavour, digest, layout):
        name = f"{codec}, {flavour}, {digest}"
        if digest != "sha256":
            self.report.skip(f"layout of {digest} by skopeo and umoci",
                             "skopeo 1.9 and umoci 0.4.7 compute sha256 alone; own extraction reads it instead")
        elif flavour != "oci":
            self.report.skip("layout with Docker's media types by skopeo and umoci",
                             "both want an OCI manifest in a layout; the docker archive covers these types")
        else:
            if has("skopeo"):
                self.report.check(f"{name}: skopeo copies the layout", self.read_by_skopeo, f"oci:{layout}:1")
            if has("umoci") and codec != "zstd":
                self.report.check(f"{name}: umoci unpacks it to the source", self.read_by_umoci, layout, "1", codec)
            elif has("umoci") and has("skopeo"):
                self.report.check(f"{name}: skopeo makes gzip of it, which umoci unpacks to the source",
                                  self.read_recompressed, f"oci:{layout}:1", codec)

    def read_recompressed(self, source, codec):
        layout = self.work.place("recompressed")
        skopeo_copy(source, f"oci:{layout}:1", "--dest-compress-format", "gzip")
        self.read_by_umoci(layout, "1", codec)

    def read_docker_archive(self, codec, flavour, digest, file):
        name = f"{codec}, {flavour}, {digest}: docker archive"
        if not has("skopeo"):
            return
        self.report.check(f"{name}: skopeo inspects it", run, "skopeo", "inspect", f"docker-archive:{file}")
        if digest != "sha256":
            return
        self.report.check(f"{name}: skopeo copies it", self.read_by_skopeo, f"docker-archive:{file}:{TAG}")
        if has("umoci"):
            self.report.check(f"{name}: skopeo makes OCI of it, which umoci unpacks to the source",
                              self.read_recompressed, f"docker-archive:{file}:{TAG}", codec)

    def read_by_us(self, layout, codec):
        """Our own extraction. It leaves device nodes out, with a warning that names them."""
        rootfs = self.work.place("rootfs")
        done = self.command.run("copy", f"oci-layout:{layout}:1", f"rootfs:{rootfs}")
        self.expect_extracted(rootfs, done.stderr, codec)

    def expect_extracted(self, rootfs, warnings, codec):
        source = survey(self.tree(codec))
        expect_same_tree(survey(rootfs), without_devices(source))
        for path, facts in source.items():
            if facts.kind in DEVICES:
                expect(path in warnings, f"no warning names the device {path!r}: {warnings!r}")

    # --- what runs

    def everything(self):
        sinks = {"layout": self.layout, "OCI archive": self.archive, "docker archive": self.docker_archive,
                 "local store": self.store}
        for digest in "sha256", "sha512":
            for codec in CODECS:
                for flavour in "oci", "docker":
                    if (codec, flavour) == ("estargz", "docker"):
                        continue
                    for sink, export in sinks.items():
                        if (sink, flavour) != ("OCI archive", "docker"):
                            self.one(codec, flavour, digest, sink, export)

    def one(self, codec, flavour, digest, sink, export):
        done = self.report.check(f"{codec}, {flavour}, {digest}: {sink}", export, codec, flavour, digest)
        if done is None:
            return
        where, _ = done
        if sink == "layout":
            self.read_layout(codec, flavour, digest, where)
            self.report.check(f"{codec}, {flavour}, {digest}: own extraction gives the source", self.read_by_us, where,
                              codec)
        if sink == "docker archive":
            self.read_docker_archive(codec, flavour, digest, where)

    def estargz_refuses(self):
        file = self.work.place("refused.tar")
        message = self.command.error("-o", f"type=docker,dest={file},compression=estargz,oci-mediatypes=false",
                                     self.readable)
        expect('"compression=estargz" conflicts with "oci-mediatypes=false"' in message, message)
        message = self.command.error("-o", f"type=oci,dest={file},compression=estargz", self.odd)
        first = next(path for path, facts in sorted(survey(self.odd).items(), key=lambda item: item[0].split(b"/"))
                     if not is_text(path) or not is_text(facts.target or b""))
        expect("UTF-8" in message and f"'{first.decode()}'" in message, f"does not name {first!r}: {message}")
        expect(not file.exists() and not list(file.parent.glob(".*")), "something is left of a refused export")

    def input_that_is_no_text(self):
        """The path of an input goes into progress lines, which are JSON; it does not go into the image."""
        tree = bytes(self.work.place("tree")) + b"-\xff-\xed\xa0\x80-\n"
        trees.random_tree(tree, "no text")
        layout = self.work.place("layout")
        run(self.command.path, "--progress", "json", "-o", f"type=oci,tar=false,dest={layout}", "-t", TAG, tree)
        image = check_layout(layout, "gzip", "oci", "sha256")
        expect_tar_is_tree(image.plain[0], tree)
        made_by = image.config["history"][0]["created_by"]
        expect(made_by == "created by shiplap", f"created_by is {made_by!r}")

    def root_file_systems(self):
        """type=local and type=tar, of one layer: the source, and the layer's own tar."""
        rootfs, tar = self.work.place("local"), self.work.place("rootfs.tar")
        done = self.command.run("-o", f"type=local,dest={rootfs}", "-o", f"type=tar,dest={tar}", self.odd)
        self.expect_extracted(rootfs, done.stderr, "gzip")
        layout = self.work.place("layout")
        self.command("-o", f"type=oci,tar=false,dest={layout},compression=uncompressed", "-t", TAG, self.odd)
        image = check_layout(layout, "uncompressed", "oci", "sha256")
        expect(tar.read_bytes() == image.plain[0], "type=tar of a single layer is not that layer's tar")

    def late_times(self, folder):
        """A file system that holds times after 2446, which ext4 does not."""
        with Workplace(folder) as elsewhere:
            tree, rootfs, layout = (elsewhere.place(name) for name in ("late", "rootfs", "layout"))
            trees.odd(tree, latest=300_000_000_000)  # the year 11476: five digits
            expect(survey(tree)[b"times/latest"].mtime == 300_000_000_000, "could not set the time")
            self.command("-o", f"type=local,dest={rootfs}",
                         "-o", f"type=oci,tar=false,dest={layout},compression=uncompressed", "-t", TAG, tree)
            expect_same_tree(survey(rootfs), without_devices(survey(tree)))
            expect_tar_is_tree(check_layout(layout, "uncompressed", "oci", "sha256").plain[0], tree)

    def several_layers(self):
        """A tree, what was done to it, and a tar on top: as one tree, one tar, and by umoci."""
        lower, upper = self.work.place("lower"), self.work.place("upper")
        for tree in lower, upper:
            trees.odd(tree)
        trees.mutate(upper, "several")
        (upper / "modes/closed").chmod(0o700)
        for name in ("names", "links/m\xfc", "modes/closed", "owners", "lengths", "sizes/1", "nodes/fifo"):
            run("rm", "-rf", upper / name)
        (upper / "sizes/1").mkdir()  # a folder where there was a file
        (upper / "modes/closed").write_text("a file where there was a folder")
        on_top = self.work.place("top.tar")
        with tarfile.open(on_top, "w") as tar:
            for name in "deep/.wh.0", "sizes/1/new", "times/.wh..wh..opq", "times/again":
                tar.addfile(tarfile.TarInfo(name))
        wanted = without(survey(upper), lambda path, _: path in (b"deep/0", b"sizes/1") or path.startswith(b"times/"))
        inputs = [f"dir:{lower}", f"diff:{lower}:{upper}", f"tar:{on_top}"]

        layout, rootfs, tar = self.work.place("layout"), self.work.place("rootfs"), self.work.place("rootfs.tar")
        self.command("-o", f"type=oci,tar=false,dest={layout}", "-o", f"type=local,dest={rootfs}",
                     "-o", f"type=tar,dest={tar}", "-t", TAG, *inputs)
        image = check_layout(layout, "gzip", "oci", "sha256")
        expect_equal(len(image.plain), 3, "number of layers")
        found = survey(rootfs)
        brought = {b"sizes/1", b"sizes/1/new", b"times/again"}
        expect(brought <= found.keys(), f"what the tar brings is missing: {brought - found.keys()}")
        # umoci and tar agree on the folders that the last layer touched without an entry of its own only in content
        expect_same_tree(without(found, lambda path, _: path in brought), without_devices(wanted))

        unpacked = self.work.place("tar")
        unpacked.mkdir()
        # Layers follow each other in this tar: a folder may get more files long after its entry.
        run("tar", "--extract", "--preserve-permissions", "--delay-directory-restore", "--xattrs", "--xattrs-include=*",
            "--file", tar, "--directory", unpacked)
        expect_same_tree(without_devices(survey(unpacked)), found)
        if has("umoci"):
            rest = umoci_unpack(layout, "1", self.work.place("bundle"))
            alone = lambda tree: {path: facts._replace(links=()) if facts.kind in DEVICES else facts
                                  for path, facts in tree.items()}  # tar makes two devices of two names
            expect_same_tree(alone(survey(unpacked)), alone(survey(rest)))

    def checks_can_fail(self):
        """A byte changed anywhere in a layout is found."""
        layout = self.work.place("layout")
        self.command("-o", f"type=oci,tar=false,dest={layout},compression=estargz", "-t", TAG, self.readable)
        check_layout(layout, "estargz", "oci", "sha256")
        for file in sorted(path for path in layout.rglob("*") if path.is_file()):
            content = file.read_bytes()
            file.write_bytes(content[:-20] + b"!" + content[-19:])
            try:
                check_layout(layout, "estargz", "oci", "sha256")
            except Failure:
                file.write_bytes(content)
                continue
            raise Failure(f"a changed {file} was not found")


def main(command):
    report = Report()
    if not IS_ROOT:
        report.skip("owners, device nodes, capabilities", "only root can make them")
    for tool in "skopeo", "umoci", "zstd":
        if not has(tool):
            report.skip(f"reading with {tool}", "it is not installed")
    if why_no_schemas():
        report.skip("validation against the schemas of image-spec", why_no_schemas())
    with Workplace() as work:
        matrix = Matrix(Shiplap(command), work, report)
        report.check("a changed byte is found", matrix.checks_can_fail)
        matrix.everything()
        report.check("estargz refuses Docker's types, and names that are not UTF-8", matrix.estargz_refuses)
        report.check("an input whose path is no text", matrix.input_that_is_no_text)
        report.check("type=local and type=tar of one layer", matrix.root_file_systems)
        report.check("several layers: type=local, type=tar and umoci agree", matrix.several_layers)
        shm = pathlib.Path("/dev/shm")
        if shm.is_dir() and run("stat", "--file-system", "--format=%T", shm).stdout == b"tmpfs\n":
            report.check("times after 2446", matrix.late_times, shm)
        else:
            report.skip("times after 2446", "no tmpfs at /dev/shm")
    report.exit()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
