#!/usr/bin/python3
"""reproducible.py COMMAND: the same input and options give the same bytes, whatever else differs.

Where $SHIPLAP_OTHER names a second command, built by another compiler, its bytes are compared as well.
"""

import hashlib
import os
import pathlib
import random
import shutil
import subprocess
import sys
import time

import trees
from common import (IS_ROOT, Report, Shiplap, Workplace, expect, expect_equal, expect_same_tree, has, run, sha256_of,
                    survey)

CODECS = ["uncompressed", "gzip", "estargz", "zstd"]


EPOCH = 1_000_000_000
FORMS = {"image": "false", "artifact": "true"}  # of attestations, and what oci-artifact is for them


def outputs(place):
    """Option strings by what they are called here."""
    wanted = {"tar": f"type=tar,dest={place}-tar"}
    for codec in CODECS:
        for kind in "oci", "docker":
            name = f"{kind}-{codec}"
            wanted[name] = f"type={kind},dest={place}-{name},compression={codec}"
    return wanted


def dated_outputs(place):
    """What SOURCE_DATE_EPOCH is for: nothing of today is in these."""
    said = "annotation.a=b,annotation-index.c=d,annotation-index-descriptor.e=f,annotation-manifest-descriptor.g=h"
    return {f"{codec}-{form}": f"type=oci,dest={place}-{codec}-{form},compression={codec},oci-artifact={value},{said},"
            f"source-date-epoch={EPOCH},rewrite-timestamp=true" for codec in CODECS for form, value in FORMS.items()}


class Exports:
    """Exports one input to every kind of archive, or to what `outputs` names."""

    def __init__(self, command, work, outputs=outputs):
        self.command, self.work, self.outputs = command, work, outputs

    def __call__(self, *inputs, command=None, before=(), options=(), **how):
        """name of the output -> root digest, digest of the file."""
        place = self.work.place("out")
        wanted = self.outputs(place)
        specs = [word for spec in wanted.values() for word in ("-o", spec)]
        words = [*before, (command or self.command).path, "--progress", "none", "-t", "example.com/same:1"]
        digests = run(*words, *options, *specs, *inputs, **how).stdout.decode().split()
        expect_equal(len(digests), len(wanted), "number of digests")
        found = {}
        for name, digest in zip(wanted, digests):
            file = pathlib.Path(f"{place}-{name}")
            found[name] = (digest, sha256_of(file))
            file.unlink()
        return found


def expect_same(found, wanted):
    different = [name for name in wanted if found[name] != wanted[name]]
    expect(not different, f"other bytes for: {', '.join(different)}")


def larger(root):
    """A tree with files of several blocks, for the codecs that compress blocks in parallel."""
    trees.odd(root, text_only=True)
    dice = random.Random("larger")
    make = trees.Maker.__new__(trees.Maker)
    make.root = os.fsencode(root)
    words = [dice.randbytes(9) for _ in range(500)]
    for number in range(4):
        make.file(b"large%d" % number, b" ".join(dice.choice(words) for _ in range(300_000 // (number + 1))))
    if IS_ROOT:
        os.unlink(make.path(b"nodes/null-again"))  # tar, which copies this tree below, makes two devices of two names
    for folder in root, make.path(b"nodes"):
        os.utime(folder, (1_600_000_000, 1_600_000_000))


def copied(tree, work, order):
    """A copy of a tree whose files were made in another order."""
    copy = work.place("copy")
    copy.mkdir()
    names = run("find", ".", "-not", "-type", "s", "-print0", cwd=tree).stdout.split(b"\0")[:-1]
    common = ["tar", "--warning=no-timestamp", "--xattrs", "--xattrs-include=*"]
    packed = run(*common, "--create", "--format=pax", "--no-recursion", "--null", "--verbatim-files-from",
                 "--files-from=-", cwd=tree, input=b"".join(name + b"\0" for name in sorted(names, key=order))).stdout
    run(*common, "--extract", "--preserve-permissions", "--delay-directory-restore", cwd=copy, input=packed)
    return copy


class Dated:
    """Two platforms on a base of two, attested and annotated, under an epoch: the same on every day, for everybody."""

    def __init__(self, command, work):
        self.work, self.folder = work, work.place("dated")
        self.folder.mkdir()
        for name in "common", "amd64", "arm64":
            trees.random_tree(self.folder / name, name)
        (self.folder / "sbom.json").write_text('{"spdxVersion": "SPDX-2.3"}')
        (self.folder / "made.json").write_text('{"buildDefinition": {}}')
        command("-o", "type=oci,tar=false,dest=base", "--platform", "linux/amd64", "common",
                "--platform", "linux/arm64", "common", cwd=self.folder)
        run("chmod", "-R", "a+rX", self.folder)
        self.command = work.folder / "dated-command"  # where everybody can run it
        shutil.copy(command.path, self.command)
        self.command.chmod(0o755)
        self.out = work.place("everybody")
        self.out.mkdir()
        self.out.chmod(0o1777)
        self.count = 0
        self.wanted = self.export()

    def export(self, folder=None, **how):
        self.count += 1
        place = self.out / str(self.count)
        place.mkdir(mode=0o777)
        place.chmod(0o777)
        sbom, made = ["--attest", "type=sbom,file=sbom.json"], ["--attest", "type=provenance,file=made.json"]
        return Exports(Shiplap(self.command), Inside(place), dated_outputs)(
            "--from", "oci-layout:base", "common", *made, "--platform", "linux/amd64", "amd64", *sbom,
            "--platform", "linux/arm64", "arm64", *sbom, cwd=folder or self.folder, **how)

    def same(self, **how):
        expect_same(self.export(**how), self.wanted)

    def another_day(self, **how):
        """A copy whose files were made and read at other times, after the epoch as before."""
        copy = self.work.place("copy")
        run("cp", "--archive", self.folder, copy)
        for path in copy.rglob("*"):
            modified = path.lstat().st_mtime_ns
            if modified // 10**9 > EPOCH:
                modified += 10**9 * (100_000 + len(path.name))
            os.utime(path, ns=(EPOCH, modified), follow_symlinks=False)
        expect(survey(copy) != survey(self.folder), "no time was changed")
        self.same(folder=copy, **how)

    def check(self, report):
        for mask in 0o000, 0o077:
            report.check(f"epoch: umask {mask:03o}", lambda: self.same(umask=mask))
        for zone in "Pacific/Kiritimati", "America/St_Johns":
            report.check(f"epoch: TZ={zone}", lambda: self.same(env={"TZ": zone}))
        report.check("epoch: files of other times", self.another_day)
        if has("faketime"):
            for day in "1999-12-31 23:59:59", "2031-05-06 07:08:09":
                report.check(f"epoch: on {day}", lambda: self.another_day(
                    before=["faketime", day], env={"NO_FAKE_STAT": "1"}))  # the clock; the files have their own times
        else:
            report.skip("epoch: on another day", "faketime is not installed")
        if IS_ROOT:
            nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
            mine = self.work.place("mine")  # TMPDIR
            mine.mkdir()
            os.chown(mine, 65534, 65534)
            theirs = {"TMPDIR": str(mine), "HOME": "/"}
            report.check("epoch: as another user", lambda: self.same(before=nobody, env=theirs))
        else:
            report.skip("epoch: as another user", "only root can become one")


def main(path):
    report, command = Report(), Shiplap(path)
    with Workplace() as work:
        work.folder.chmod(0o755)
        tree = work.folder / "tree"
        larger(tree)
        export = Exports(command, work)
        wanted = export(tree, options=["--jobs", "1"])
        packed_at = time.monotonic()

        def same(*inputs, **how):
            expect_same(export(*(inputs or (tree,)), **how), wanted)

        for jobs in 2, 8:
            report.check(f"--jobs {jobs}", lambda: same(options=["--jobs", str(jobs)]))
        for mask in 0o000, 0o022, 0o077:
            report.check(f"umask {mask:03o}", lambda: same(umask=mask))
        for zone in "Pacific/Kiritimati", "America/St_Johns", "right/UTC":
            report.check(f"TZ={zone}", lambda: same(env={"TZ": zone}))
        present = run("locale", "-a").stdout.decode().split()
        for locale in "C", "C.utf8", "tr_TR.utf8", "de_DE.utf8":
            if locale in present:
                report.check(f"LC_ALL={locale}", lambda: same(env={"LC_ALL": locale}))
            else:
                report.skip(f"LC_ALL={locale}", "this locale is not installed")

        report.check("from another folder", lambda: same(tree, cwd="/"))
        report.check("without an environment and standard input",
                     lambda: same(before=["env", "-i"], stdin=subprocess.DEVNULL))
        for name, order in {"descending": lambda name: [-byte for byte in name],
                            "shuffled": lambda name: hashlib.sha256(name).digest()}.items():
            report.check(f"files made in {name} order", other_order, tree, work, order, export)
        report.check("layers do not depend on how the path is written", layers_by_path, tree, work, command)
        if IS_ROOT:
            report.check("as another user, of what that one can read", as_nobody, work, export)
        else:
            report.skip("as another user", "only root can become one")
        Dated(command, work).check(report)
        time.sleep(max(0.0, 1.1 - (time.monotonic() - packed_at)))
        report.check("at another time", same)

        if other := os.environ.get("SHIPLAP_OTHER"):
            report.check("by another compiler", lambda: same(command=Shiplap(other)))
        else:
            report.skip("by another compiler", "SHIPLAP_OTHER names no second command")
    report.exit()


def other_order(tree, work, order, export):
    copy = copied(tree, work, order)
    expect_same_tree(survey(copy), survey(tree))
    # Under the same name, which the history mentions.
    here, there = work.place("here"), work.place("there")
    for place, content in (here, tree), (there, copy):
        place.mkdir()
        (place / "tree").symlink_to(content)
    expect_same(export("tree", cwd=there), export("tree", cwd=here))


def layers_by_path(tree, work, command):
    """What a history says of a layer may depend on the path; the layer may not."""
    link = work.place("link")
    link.symlink_to(tree)
    layers = set()
    for written, where in ("tree", tree.parent), ("./tree/", tree.parent), (".", tree), (str(tree) + "//", "/"), (link, "/"):
        layout = work.place("layout")
        command("-o", f"type=oci,tar=false,dest={layout}", "-t", "x:1", f"dir:{written}", cwd=where)
        layers |= {blob.name for blob in (layout / "blobs/sha256").iterdir() if blob.stat().st_size > 10_000}
        shutil.rmtree(layout)
    expect_equal(len(layers), 1, "number of different layers")


def as_nobody(work, export):
    tree, command = work.folder / "public", work.folder / "command"
    trees.random_tree(tree, "public")
    run("chmod", "-R", "a+rX", tree)
    shutil.copy(export.command.path, command)  # where nobody can reach it
    command.chmod(0o755)
    out = work.folder / "nobody"
    out.mkdir()
    out.chmod(0o777)
    before = export(tree)
    elsewhere = Exports(Shiplap(command), work)
    elsewhere.work = Inside(out)
    become = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    expect_same(elsewhere(tree, before=become), before)


class Inside:
    """A Workplace in a folder that exists."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    def place(self, name):
        return self.folder / name


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
