#!/usr/bin/python3
"""base.py COMMAND: layers on top of images that other tools made, also moved to another base, read by those tools.

What umoci unpacks of such an image, and skopeo passes on, is the base with the new layers applied.
"""

import json
import sys

import trees
from common import (Report, Shiplap, Workplace, expect_equal, expect_same_tree, has, run, skopeo_copy, survey,
                    umoci_unpack, without_devices)
from images import OCI, Layout

NAME = "example.com/above:1"


class Building:
    def __init__(self, command, work):
        self.command, self.work = command, work
        self.lower, self.upper = work.place("lower"), work.place("upper")
        trees.random_tree(self.lower, "base")
        run("cp", "-a", self.lower, self.upper)
        for path in sorted(self.upper.rglob("*"))[::7]:  # some deleted, one new
            if path.is_symlink() or path.is_file():
                path.unlink()
        (self.upper / "new file").write_text("new")

    def base_of_umoci(self):
        layout, bundle = self.work.place("umoci"), self.work.place("bundle")
        run("umoci", "init", "--layout", layout)
        run("umoci", "new", "--image", f"{layout}:1")
        rootfs = umoci_unpack(layout, "1", bundle)
        run("cp", "-a", f"{self.lower}/.", rootfs)
        run("umoci", "repack", "--image", f"{layout}:1", bundle)
        run("umoci", "config", "--image", f"{layout}:1", "--config.env", "A=b", "--config.user", "1:2")
        return f"oci-layout:{layout}:1"

    def base_of_skopeo(self):
        """A docker archive of the same, which has layers without compression and other media types."""
        archive = self.work.place("skopeo.tar")
        skopeo_copy(self.base_of_umoci().replace("oci-layout:", "oci:"), f"docker-archive:{archive}:{NAME}")
        return f"docker-archive:{archive}:{NAME}"

    def above(self, make_base, codec="gzip"):
        """Only what changed goes on top; what umoci and skopeo make of the result."""
        base, layout = make_base(), self.work.place("above")
        below = self.inspect(base)
        self.command("--from", base, "-t", NAME, "--env", "C=d", "-o",
                     f"type=oci,tar=false,dest={layout},compression={codec}",
                     f"diff:{self.lower}:{self.upper}")
        found = self.inspect(f"oci-layout:{layout}")
        expect_equal([layer["digest"] for layer in found["layers"][:-1]],
                     [layer["digest"] for layer in below["layers"]], "layers of the base")
        expect_equal(found["configuration"]["history"][:-1], below["configuration"]["history"], "history of the base")
        expect_equal(found["configuration"]["config"]["Env"][-2:], ["A=b", "C=d"], "environment")
        expect_equal(found["configuration"]["config"]["User"], "1:2", "user")
        Layout(layout)
        self.expect_upper(umoci_unpack(layout, "1", self.work.place("bundle")))
        docker, back = self.work.place("docker.tar"), self.work.place("back")
        skopeo_copy(f"oci:{layout}:1", f"docker-archive:{docker}:{NAME}")
        skopeo_copy(f"docker-archive:{docker}:{NAME}", f"oci:{back}:1")
        self.expect_upper(umoci_unpack(back, "1", self.work.place("bundle")))
        ours = self.work.place("rootfs")
        self.command("--from", f"oci-layout:{layout}", "-o", f"type=local,dest={ours}")
        self.expect_upper(ours)

    def moved(self):
        """From umoci's base to one that has a file more, all of it without compression; what umoci makes of that."""
        old, new, above = self.base_of_umoci(), self.work.place("new"), self.work.place("above")
        patched = self.work.place("patched")
        for tree, source in [(patched, self.upper), (self.work.place("lower"), self.lower)]:
            run("cp", "-a", source, tree)
            (tree / "patch").write_text("patch")
        self.command("-o", f"type=oci,tar=false,dest={new}", "--env", "A=c", tree)
        self.command("--from", old, "-t", NAME, "-o", f"type=oci,tar=false,dest={above}",
                     f"diff:{self.lower}:{self.upper}")
        moved, plain = self.work.place("moved"), self.work.place("plain")
        self.command("--from", f"oci-layout:{above}", "--rebase", old, f"oci-layout:{new}", "-o",
                     f"type=oci,tar=false,dest={moved},name=*")
        self.command("copy", f"oci-layout:{moved}", "-o", "type=oci,tar=false,name=*,compression=uncompressed,"
                     f"force-compression=true,dest={plain}")
        found = self.inspect(f"oci-layout:{plain}")
        expect_equal({layer["mediaType"] for layer in found["layers"]}, {OCI + "layer.v1.tar"}, "media types")
        expect_equal(found["config"]["digest"], self.inspect(f"oci-layout:{moved}")["config"]["digest"], "configuration")
        expect_equal(found["configuration"]["config"]["Env"][-1], "A=c", "environment")
        expect_equal("User" in found["configuration"]["config"], False, "a user that was the old base's")
        Layout(plain)
        for layout in (moved, plain):
            self.expect_upper(umoci_unpack(layout, "1", self.work.place("bundle")), patched)

    def expect_upper(self, root, upper=None):
        # A directory of which only the time changed is no difference.
        expect_same_tree(without_devices(survey(root)), without_devices(survey(upper or self.upper)),
                         ignore={"mtime", "links"})

    def inspect(self, image):
        return json.loads(self.command.run("inspect", "--json", image).stdout)["manifests"][0]


def main(path):
    report, command = Report(), Shiplap(path)
    if not has("umoci") or not has("skopeo"):
        report.skip("images on top of others", "umoci and skopeo are not both installed")
        report.exit()
    with Workplace() as work:
        building = Building(command, work)
        report.check("on top of umoci's layout", building.above, building.base_of_umoci)
        report.check("on top of skopeo's docker archive", building.above, building.base_of_skopeo)
        report.check("from umoci's layout to another base", building.moved)
        report.check("plain, on top of umoci's layout", building.above, building.base_of_umoci, "uncompressed")
    report.exit()


main(sys.argv[1])
