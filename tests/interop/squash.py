#!/usr/bin/python3
"""squash.py COMMAND [SEED...]: squashed images are what they were before, for umoci, buildah and ourselves.

Each is a base and three differences, in which directories go and come back, and files and directories change places.
"""

import json
import shutil
import sys

import trees
from common import (IS_ROOT, Report, Shiplap, Workplace, expect_equal, expect_same_tree, has, run, survey,
                    umoci_unpack, without_devices)

SEEDS = range(3)
NAME = "example.com/squashed:1"


PLACES = {  # what is there at each step: a file, a directory, or nothing
    "goes": "d...", "goes later": "ddd.", "comes back": "d.dd", "comes and goes": ".dd.", "comes": "..fd",
    "becomes a file": "ddff", "becomes a directory": "fdfd",
}


def remove(path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def change(tree, step):
    """What a layer can do to those below it."""
    for name, kinds in PLACES.items():
        path = tree / name
        remove(path)
        if kinds[step] == "f":
            path.write_text(f"file of step {step}")
        elif kinds[step] == "d":
            (path / "inner").mkdir(parents=True)
            (path / f"of step {step}").write_text("new")
            (path / "inner/same name").write_text(f"{step}")
    (tree / f"content{step}").write_text("shared")
    (tree / f"link{step}").hardlink_to(tree / f"content{step}")
    if step:
        remove(tree / f"content{step - 1}")


class Squashing:
    def __init__(self, command, work, seed):
        self.command, self.work = command, work
        self.steps = [work.place("step0")]
        trees.random_tree(self.steps[0], seed)
        change(self.steps[0], 0)
        for step in range(1, 4):
            self.steps.append(work.place(f"step{step}"))
            run("cp", "--archive", self.steps[-2], self.steps[-1])
            trees.mutate(self.steps[-1], 10 * seed + step)
            change(self.steps[-1], step)
        self.base = work.place("base")
        command("-o", f"type=oci,tar=false,dest={self.base}", "-t", NAME, "--env", "A=b", f"dir:{self.steps[0]}")
        differences = [f"diff:{lower}:{upper}" for lower, upper in zip(self.steps, self.steps[1:])]
        self.images = {option: self.export(differences, option) for option in [None, "--squash", "--squash=all"]}

    def export(self, inputs, option):
        layout = self.work.place("layout")
        self.command("--from", f"oci-layout:{self.base}", "-o", f"type=oci,tar=false,dest={layout}", "-t", NAME,
                     *([option] if option else []), *inputs)
        return layout

    def layers(self):
        for option, wanted in [(None, 4), ("--squash", 2), ("--squash=all", 1)]:
            found = json.loads(self.command.run("inspect", "--json", f"oci-layout:{self.images[option]}").stdout)
            image = found["manifests"][0]
            expect_equal(len(image["layers"]), wanted, f"{option}: layers")
            history = image["configuration"]["history"]
            expect_equal(len([step for step in history if not step.get("empty_layer")]), wanted, f"{option}: history")
            expect_equal(image["configuration"]["config"]["Env"][-1], "A=b", f"{option}: environment")

    def same_for(self, unpack):
        wanted = without_devices(survey(unpack(self.images[None])))
        for option in ["--squash", "--squash=all"]:
            try:
                expect_same_tree(without_devices(survey(unpack(self.images[option]))), wanted)
            except Exception as problem:
                problem.args = (f"{option}: {problem}",)
                raise

    def ourselves(self, layout):
        root = self.work.place("rootfs")
        self.command("--from", f"oci-layout:{layout}", "-o", f"type=local,dest={root}")
        return root

    def umoci(self, layout):
        return umoci_unpack(layout, "1", self.work.place("bundle"))

    def buildah(self, driver, layout):
        """A copy of what a container would see; layers become directories of their own with `overlay`."""
        program = ["buildah", "--root", self.work.place("buildah"), "--runroot", self.work.place("run"),
                   "--storage-driver", driver]
        container = run(*program, "from", f"oci:{layout}:1").stdout.decode().strip()
        try:
            seen = run(*program, "mount", container).stdout.decode().strip()
            root = self.work.place("rootfs")
            run("cp", "--archive", seen, root)
            return root
        finally:
            run(*program, "umount", container)
            run(*program, "rm", container)
            run(*program, "rmi", "--all", "--force")


def check_buildah(report, label, squashing):
    if not has("buildah") or not IS_ROOT:
        report.skip("squashed images in buildah", "it is not installed" if IS_ROOT else "it needs root here")
        return
    try:
        squashing.buildah("overlay", squashing.images[None])
        driver = "overlay"
    except Exception as problem:
        report.skip("squashed images in an overlay file system", str(problem).splitlines()[-1])
        driver = "vfs"
    report.check(f"{label}: the same in buildah, {driver}", squashing.same_for,
                 lambda layout: squashing.buildah(driver, layout))


def main(path, seeds):
    report, command = Report(), Shiplap(path)
    for seed in seeds:
        with Workplace() as work:
            squashing, label = Squashing(command, work, seed), f"seed {seed}"
            report.check(f"{label}: layers and history", squashing.layers)
            report.check(f"{label}: the same for ourselves", squashing.same_for, squashing.ourselves)
            if has("umoci"):
                report.check(f"{label}: the same for umoci", squashing.same_for, squashing.umoci)
            else:
                report.skip("squashed images in umoci", "it is not installed")
            if seed == seeds[0]:
                check_buildah(report, label, squashing)
    report.exit()


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1], [int(seed) for seed in sys.argv[2:]] or list(SEEDS))
