#!/usr/bin/python3
"""roundtrip.py COMMAND: images travel through every local transport and stay what they are.

Among shiplap's own transports all digests are kept; images that skopeo, umoci and buildah made are read and kept too.
"""

import json
import os
import sys

import trees
from common import (IS_ROOT, Report, Shiplap, Workplace, expect, expect_equal, expect_same_tree, has, run, skopeo_copy,
                    survey, umoci_unpack, without_devices)
from images import Layout

NAME = "example.com/travel:1"
CODECS = ["uncompressed", "gzip", "estargz", "zstd"]


class Journey:
    def __init__(self, command, work):
        self.command, self.work = command, work
        self.tree = work.place("tree")
        trees.odd(self.tree, text_only=True)
        self.store = work.place("store")

    def stations(self):
        """A fresh place of each transport, as source and destination write it."""
        return {"oci-layout": f"oci-layout:{self.work.place('layout')}:{NAME}",
                "oci-archive": f"oci-archive:{self.work.place('archive')}:{NAME}",
                "docker-archive": f"docker-archive:{self.work.place('docker')}:{NAME}",
                "store": f"store:{NAME}"}

    def copy(self, source, destination):
        self.command("copy", source, destination, "--store", self.store)

    def inspect(self, image):
        facts = json.loads(self.command.run("inspect", "--json", image, "--store", self.store).stdout)
        expect(self.command.run("inspect", image, "--store", self.store).stdout, "inspect prints nothing")
        return facts["root"]["digest"], facts["manifests"]

    def export(self, codec, flavour, digest):
        layout = self.work.place("export")
        types = "true" if flavour == "oci" else "false"
        printed = self.command("--digest", digest, "-t", NAME, "-o",
                               f"type=docker,tar=false,dest={layout},compression={codec},oci-mediatypes={types}", self.tree)
        return f"oci-layout:{layout}:{NAME}", printed[0]

    def everywhere(self, codec, flavour, digest):
        """From each transport to each."""
        origin, root = self.export(codec, flavour, digest)
        wanted = self.inspect(origin)
        expect_equal(wanted[0], root, "digest of the export")
        for first in self.stations():
            here = self.stations()[first]
            self.copy(origin, here)
            expect_equal(self.inspect(here), wanted, f"image in {first}")
            for second in self.stations():
                there = self.stations()[second]
                if there != here:
                    self.copy(here, there)
                    expect_equal(self.inspect(there), wanted, f"image from {first} in {second}")

    def many_in_one(self):
        """A layout, and the store, hold several images, and the same one under several names."""
        layout = self.work.place("many")
        roots = {}
        for codec in CODECS:
            origin, roots[codec] = self.export(codec, "oci", "sha256")
            for kind in f"oci-layout:{layout}", "store":
                self.copy(origin, f"{kind}:example.com/many:{codec}")
        self.copy(f"oci-layout:{layout}:example.com/many:zstd", f"oci-layout:{layout}:example.com/other:2")
        for codec in CODECS:
            for kind in f"oci-layout:{layout}", "store":
                expect_equal(self.inspect(f"{kind}:example.com/many:{codec}")[0], roots[codec], f"{codec} in {kind}")
        expect_equal(self.inspect(f"oci-layout:{layout}:example.com/other:2")[0], roots["zstd"], "under another name")
        expect_equal(len(Layout(layout).entries), len(CODECS) + 1, "entries of the layout")

    def by_skopeo(self, codec):
        """skopeo makes a docker archive, an OCI archive and a layout of ours; we read them."""
        origin, _ = self.export(codec, "oci", "sha256")
        layout = origin.split(":")[1]
        wanted = self.inspect(origin)[1][0]
        source = f"oci:{layout}:1"
        made, archive = self.work.place("skopeo"), self.work.place("skopeo.tar")
        skopeo_copy(source, f"oci:{made}:1")
        skopeo_copy(source, f"oci-archive:{archive}:1")
        for image in f"oci-layout:{made}:1", f"oci-archive:{archive}:1":
            found = self.inspect(image)[1][0]
            # skopeo compresses what is not compressed
            for member in "config", "configuration", *(["layers"] if codec != "uncompressed" else []):
                expect_equal(found[member], wanted[member], f"{member} of skopeo's {image}")
            self.expect_content(image)
        if codec != "zstd":  # which skopeo 1.9 cannot put into a docker archive
            docker = self.work.place("skopeo-docker.tar")
            skopeo_copy(source, f"docker-archive:{docker}:{NAME}")
            found = self.inspect(f"docker-archive:{docker}")[1][0]
            expect_equal(found["configuration"]["rootfs"], wanted["configuration"]["rootfs"], "rootfs of skopeo's archive")
            self.expect_content(f"docker-archive:{docker}:{NAME}")

    def expect_content(self, image):
        rootfs = self.work.place("rootfs")
        self.copy(image, f"rootfs:{rootfs}")
        expect_same_tree(survey(rootfs), without_devices(survey(self.tree)))

    def by_umoci(self):
        """An image that umoci made from a bundle, changed and packed again."""
        layout, bundle = self.work.place("umoci"), self.work.place("bundle")
        run("umoci", "init", "--layout", layout)
        run("umoci", "new", "--image", f"{layout}:1")
        rootfs = umoci_unpack(layout, "1", bundle)
        for step in "first", "second":
            (rootfs / step).mkdir()
            (rootfs / step / "file").write_text(step * 1000)
            if step == "second":
                (rootfs / "first/file").unlink()
            for path in rootfs.rglob("*"):
                os.utime(path, (1_600_000_000, 1_600_000_000))  # umoci rounds parts of a second
            run("umoci", "repack", "--refresh-bundle", "--image", f"{layout}:1", bundle)
        run("umoci", "config", "--image", f"{layout}:1", "--config.entrypoint", "/first")
        found = self.inspect(f"oci-layout:{layout}:1")[1][0]
        expect_equal(len(found["layers"]), 2, "layers")
        expect_equal(found["configuration"]["config"]["Entrypoint"], ["/first"], "entrypoint")
        ours = self.work.place("rootfs")
        self.copy(f"oci-layout:{layout}:1", f"rootfs:{ours}")
        expect_same_tree(survey(ours), survey(rootfs))
        archive = self.work.place("of-umoci.tar")
        self.copy(f"oci-layout:{layout}:1", f"docker-archive:{archive}:{NAME}")
        expect_equal(self.inspect(f"docker-archive:{archive}:{NAME}")[1], [found], "in a docker archive")

    def by_buildah(self):
        """An image that buildah committed, as layout and as docker archive."""
        root, runroot = self.work.place("buildah"), self.work.place("run")
        buildah = ["buildah", "--root", root, "--runroot", runroot, "--storage-driver", "vfs"]
        container = run(*buildah, "from", "scratch").stdout.decode().strip()
        try:
            source = self.work.place("source")
            trees.random_tree(source, "buildah")
            run(*buildah, "copy", container, source, "/here")
            run(*buildah, "config", "--env", "A=b", container)
            layout, docker = self.work.place("layout"), self.work.place("docker.tar")
            run(*buildah, "commit", "--quiet", "--timestamp", "1600000000", container, f"oci:{layout}:1")
            run(*buildah, "commit", "--quiet", "--timestamp", "1600000000", "--format", "docker", container,
                f"docker-archive:{docker}:{NAME}")
        finally:
            run(*buildah, "rm", container)
        for image in f"oci-layout:{layout}:1", f"docker-archive:{docker}:{NAME}":
            found = self.inspect(image)[1][0]
            expect("A=b" in found["configuration"]["config"]["Env"], f"environment of {image}")
            rootfs = self.work.place("rootfs")
            self.copy(image, f"rootfs:{rootfs}")
            wanted = {b"here/" + path: facts for path, facts in without_devices(survey(source)).items()}
            here = {path: facts for path, facts in survey(rootfs).items() if path != b"here"}
            expect_same_tree(here, wanted, ignore={"mtime", "links", "uid", "gid", "capability"})
        there = self.work.place("there")
        self.copy(f"oci-layout:{layout}:1", f"oci-layout:{there}:2")
        expect_equal(self.inspect(f"oci-layout:{there}:2")[1], self.inspect(f"oci-layout:{layout}:1")[1], "the copy")

    def by_streams(self):
        """Through pipes, as in `shiplap ... | skopeo ...`."""
        done = self.command.run("-o", "type=docker,dest=-", "-t", NAME, self.tree)
        archive = self.work.place("piped.tar")
        archive.write_bytes(done.stdout)
        expect_equal(done.stderr.decode().split()[-1], self.inspect(f"docker-archive:{archive}:{NAME}")[0],
                     "digest on standard error")
        tar = self.command.run("-o", "type=tar,dest=-", self.tree).stdout
        layouts = {}
        for how, inputs, options in ("tree", [f"dir:{self.tree}"], {}), ("tar", ["tar:-"], {"input": tar}):
            layouts[how] = self.work.place(how)
            self.command("-o", f"type=oci,tar=false,dest={layouts[how]}", "-t", NAME, *inputs, **options)
        layers = {how: self.inspect(f"oci-layout:{layout}:{NAME}")[1][0]["layers"] for how, layout in layouts.items()}
        expect_equal(layers["tar"], layers["tree"], "layers from a tree and from its tar")

    def refuses_what_is_broken(self):
        """A blob with one changed byte is no image any more; nothing of a copy stays."""
        origin, _ = self.export("gzip", "oci", "sha256")
        layout = Layout(origin.split(":")[1])
        largest = max((layout.folder / "blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
        content = bytearray(largest.read_bytes())
        content[len(content) // 2] ^= 1
        largest.chmod(0o644)
        largest.write_bytes(content)
        for kind, place in (("oci-archive", "a.tar"), ("docker-archive", "d.tar"), ("rootfs", "r"), ("oci-layout", "l")):
            where = self.work.place(place)
            name = "" if kind == "rootfs" else f":{NAME}"
            message = self.command.error("copy", origin, f"{kind}:{where}{name}")
            expect(largest.name in message, f"{kind}: the message does not name the blob: {message}")
            if kind == "oci-layout":
                expect(not where.exists() or not Layout(where).entries, "a broken image has a name")
            else:
                expect(not where.exists(), f"{kind}: {where} is there")


def main(path):
    report, command = Report(), Shiplap(path)
    with Workplace() as work:
        journey = Journey(command, work)
        for digest in "sha256", "sha512":
            for flavour in "oci", "docker":
                for codec in CODECS if digest == "sha256" else ["gzip"]:
                    if (codec, flavour) != ("estargz", "docker"):
                        report.check(f"{codec}, {flavour}, {digest}: from every transport to every other",
                                     journey.everywhere, codec, flavour, digest)
        report.check("many images in one place", journey.many_in_one)
        report.check("through pipes", journey.by_streams)
        report.check("a changed byte is refused", journey.refuses_what_is_broken)
        if has("skopeo"):
            for codec in CODECS:
                report.check(f"{codec}: skopeo's copies are read", journey.by_skopeo, codec)
        else:
            report.skip("images that skopeo made", "it is not installed")
        if has("umoci"):
            report.check("umoci's images are read", journey.by_umoci)
        else:
            report.skip("images that umoci made", "it is not installed")
        if not has("buildah"):
            report.skip("images that buildah made", "it is not installed")
        elif not IS_ROOT:
            report.skip("images that buildah made", "it needs root here")
        else:
            report.check("buildah's images are read", journey.by_buildah)
    report.exit()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
