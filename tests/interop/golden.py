#!/usr/bin/python3
"""golden.py COMMAND: the digests that BuildKit gives for two trees, to the letter.

golden.tsv was made with BuildKit 0.32.2 (overlayfs snapshotter): `FROM scratch`, `COPY . /` of a tree of
tests/support/golden_tree.py, and the option string below.
"""

import pathlib
import sys

from common import IS_ROOT, Report, Shiplap, Workplace, expect_equal, run
from images import TYPES, Layout, parse

HERE = pathlib.Path(__file__).resolve().parent
CONFIG = ('{"architecture":"amd64","os":"linux","author":"me","config":{"Entrypoint":["/bin/app"],"Env":["A=b<>&"],'
          '"WorkingDir":"/w","Labels":{"z":"1","a":"2"}},"history":[{"created":"2001-01-01T00:00:00Z","created_by":'
          '"ENV A=b","empty_layer":true},{"created":"2019-01-01T00:00:00.5Z","created_by":"COPY . /","comment":"by hand"}'
          '],"rootfs":{"type":"layers","diff_ids":[]},"x-unknown":{"b":1,"a":2}}')
OPTIONS = ("type=docker,dest={dest},name=example.com/a/b:1,compression=uncompressed,force-compression=true,"
           "oci-mediatypes={oci},source-date-epoch=1500000000,rewrite-timestamp={rewrite},annotation.k1=v1,{config}")


def export(command, tree, work, oci, rewrite):
    """The digests of layer, configuration and manifest."""
    file, folder = work.place("g.tar"), work.place("g")
    field = "containerimage.config=" + CONFIG
    printed = command("-o", OPTIONS.format(dest=file, oci=oci, rewrite=rewrite,
                                           config='"' + field.replace('"', '""') + '"'), tree)
    folder.mkdir()
    run("tar", "--extract", "--file", file, "--directory", folder)
    layout = Layout(folder)
    manifest = parse(layout.blob(layout.entries[0]), "manifest")
    expect_equal(manifest["mediaType"], TYPES["oci" if oci == "true" else "docker"]["manifest"], "media type")
    expect_equal(printed, [layout.entries[0]["digest"]], "digest on standard output")
    diff_ids = parse(layout.blob(manifest["config"]), "configuration")["rootfs"]["diff_ids"]
    expect_equal(diff_ids, [layer["digest"] for layer in manifest["layers"]], "diff_ids")
    return manifest["layers"][0]["digest"], manifest["config"]["digest"], printed[0]


def check(command, tree, work, oci, rewrite, wanted):
    found = export(command, tree, work, oci, rewrite)
    for what, digest, golden in zip(("layer", "configuration", "manifest"), found, wanted):
        expect_equal(digest, golden, what)


def main(path):
    report, command = Report(), Shiplap(path)
    if not IS_ROOT:
        report.skip("BuildKit's digests", "the trees belong to root; only root can make them")
        report.exit()
    rows = [line.split("\t") for line in (HERE / "golden.tsv").read_text().splitlines() if not line.startswith("#")]
    with Workplace() as work:
        trees = {}
        for name in sorted({row[0] for row in rows}):
            trees[name] = work.place(name)
            run(sys.executable, HERE.parent / "support/golden_tree.py", trees[name], name)
        for name, oci, rewrite, *wanted in rows:
            report.check(f"{name}, oci-mediatypes={oci}, rewrite-timestamp={rewrite}: layer, configuration, manifest",
                         check, command, trees[name], work, oci, rewrite, wanted)
    report.exit()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
