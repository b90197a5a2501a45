"""What readers.py exports: the trees, the table of options, and what must be true of an export whoever reads it.

A row of ROWS is one export; Exporting makes it, checks its documents, and returns an Export, which readers are given.
"""

import csv
import dataclasses
import gzip
import hashlib
import json
import os
import pathlib
import platform
import random
import time

import registry_server
import trees
from common import IS_ROOT, expect, expect_equal, has, run, survey
from images import INDEX_TYPE, OCI, TYPES, Layout, digest_of, open_archive, parse, validate

HOST = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
OTHER = "arm64" if HOST == "amd64" else "amd64"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
BUSYBOX = pathlib.Path("/bin/busybox")
NEW = 1_600_000_000  # the time of all files
EPOCH = 1_500_000_000

# --- what is in the images -------------------------------------------------------------------------------

# Run in a container, it tells what only the whole image can know.
SCRIPT = """#!/bin/sh
cat /etc/variant
stat -c '%n %a %u:%g %h %Y' /bin/busybox /usr/bin/raise /srv/owned
readlink /etc/pointer
echo $SHIP in $PWD
"""
CONFIG = ["--env", "SHIP=lap", "--workdir", "/srv", "--entrypoint", '["/bin/sh", "/report"]']


def told(variant, time):
    return (f"{variant}\n/bin/busybox 755 0:0 2 {time}\n/usr/bin/raise 4755 0:50 1 {time}\n"
            f"/srv/owned 640 1000:1001 1 {time}\n../srv/owned\nlap in /srv\n")


def root_file_system(folder, variant, without=()):
    """One that runs SCRIPT. `variant` makes it differ from all others: readers skip what they already have."""
    make = trees.Maker(folder)
    for name in b"bin", b"dev", b"etc", b"proc", b"srv", b"sys", b"tmp", b"usr/bin":
        make.folder(name, 0o1777 if name == b"tmp" else 0o755)
    make.file(b"bin/busybox", BUSYBOX.read_bytes() if BUSYBOX.exists() else b"none", 0o755)
    make.hard_link(b"bin/sh", b"bin/busybox")
    for name in b"cat", b"stat", b"readlink":
        make.symlink(b"bin/" + name, b"busybox")
    make.file(b"report", SCRIPT.encode(), 0o755)
    make.file(b"etc/variant", variant.encode() + b"\n")
    make.symlink(b"etc/pointer", b"../srv/owned")
    make.file(b"usr/bin/raise", b"set-id", 0o4755, owner=(0, 50))
    make.file(b"srv/owned", b"not root's", 0o640, owner=(1000, 1001))
    make.file("srv/ä ☃".encode())
    make.file(b"srv/" + b"long" * 40)
    if IS_ROOT:
        make.file(b"usr/bin/able", b"program", 0o755)
        os.setxattr(make.path(b"usr/bin/able"), "security.capability", trees.CAP_NET_RAW)
        os.utime(make.path(b"usr/bin/able"), (NEW, NEW))
    for name in without:
        os.unlink(make.path(name))
    make.finish()
    return folder


def small_tree(folder, files):
    """Folders are as in root_file_system()."""
    make = trees.Maker(folder)
    for name, content in files.items():
        if not os.path.isdir(make.path(os.path.dirname(name))):
            make.folder(os.path.dirname(name))
        make.file(name, content)
    make.finish()
    return folder


def tar_of(folder, file, *options):
    run("tar", "--create", "--format=pax", "--pax-option=delete=atime,delete=ctime", "--xattrs", "--xattrs-include=*",
        "--numeric-owner", "--sort=name", *options, "--file", file, "--directory", folder, ".")
    return file


def plain_image(tree, folder, arch=HOST):
    """An image layout that nothing of ours has made, with one gzip layer. Returns its only manifest's descriptor."""
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)

    def put(kind, content):
        (blobs / hashlib.sha256(content).hexdigest()).write_bytes(content)
        return {"mediaType": OCI + kind, "digest": digest_of("sha256", content), "size": len(content)}

    layer = tar_of(tree, folder / "layer").read_bytes()
    (folder / "layer").unlink()
    config = {"architecture": arch, "os": "linux", "created": "2020-01-01T00:00:00Z",
              "config": {"Env": ["SHIP=lap"], "WorkingDir": "/srv", "Entrypoint": ["/bin/sh", "/report"]},
              "rootfs": {"type": "layers", "diff_ids": [digest_of("sha256", layer)]},
              "history": [{"created": "2020-01-01T00:00:00Z", "created_by": "by hand"}]}
    manifest = {"schemaVersion": 2, "mediaType": OCI + "manifest.v1+json",
                "config": put("config.v1+json", json.dumps(config).encode()),
                "layers": [put("layer.v1.tar+gzip", gzip.compress(layer, mtime=0))]}
    entry = put("manifest.v1+json", json.dumps(manifest).encode())
    entry["annotations"] = {"org.opencontainers.image.ref.name": "1", "io.containerd.image.name": "example.com/plain:1"}
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [entry]}))
    return entry


class Inputs:
    """Makes what a row exports. Each way returns the words of the command, and the tree that the image must hold."""

    def __init__(self, command, work):
        self.command, self.work, self.registry = command, work, None
        self.sbom, self.made, self.statement = (work.place(name) for name in ("sbom", "made", "statement"))
        self.sbom.write_text('{"spdxVersion": "SPDX-2.3"}')
        self.made.write_text('{"buildDefinition": {"buildType": "by hand"}}')
        self.statement.write_text(json.dumps({"_type": "https://in-toto.io/Statement/v0.1", "subject": [],
                                              "predicateType": "https://example.com/checked", "predicate": {"ok": 1}}))

    def tree(self, variant, without=()):
        return root_file_system(self.work.place("tree"), variant, without)

    def one(self, variant):
        tree = self.tree(variant)
        return [tree], survey(tree)

    def attested(self, variant):
        words, wanted = self.one(variant)
        return words + ["--attest", f"type=sbom,file={self.sbom}", "--attest", f"type=provenance,file={self.made}",
                        "--attest", f"file={self.statement}"], wanted

    def attested_inline(self, variant):
        words, wanted = self.one(variant)
        return words + ["--attest", f"type=sbom,file={self.sbom},inline-only=true"], wanted

    def foreign(self, variant):
        words, wanted = self.one(variant)
        return ["--platform", f"linux/{OTHER}", *words], wanted

    def tars(self, variant):
        """Layers that GNU tar made, one with gzip."""
        tree = self.tree(variant)
        packed = tar_of(tree, self.work.place("layer.tar.gz"), "--gzip")
        more = small_tree(self.work.place("more"), {b"srv/more": variant.encode()})
        tar = tar_of(more, self.work.place("more.tar"))
        return [packed, f"tar:{tar}"], survey(tree) | survey(more)

    def filling_blocks(self, variant):
        """Layers that are as long as a whole number of blocks, and of frames; some of it cannot be compressed."""
        tree = self.tree(variant)
        more = small_tree(self.work.place("more"), {b"srv/more": random.Random(variant).randbytes(9 << 20)})
        return [tar_of(tree, self.work.place("blocks.tar"), "--blocking-factor=2048"),
                tar_of(more, self.work.place("frames.tar"), "--blocking-factor=16384")], survey(tree) | survey(more)

    def changed(self, variant):
        """A tree, then what was deleted and replaced in it."""
        before, after = self.tree("before " + variant), self.tree(variant, ["srv/ä ☃".encode()])
        return [before, f"diff:{before}:{after}"], survey(after)

    def base_layout(self, variant):
        tree, layout = self.tree(variant), self.work.place("base")
        plain_image(tree, layout)
        return tree, layout

    def on_base(self, variant):
        tree, base = self.base_layout(variant)
        more = small_tree(self.work.place("more"), {b"srv/more": variant.encode()})
        return ["--from", f"oci-layout:{base}", more], survey(tree) | survey(more)

    def base_alone(self, variant):
        tree, base = self.base_layout(variant)
        return ["--from", f"oci-layout:{base}"], survey(tree)

    def changed_base(self, variant):
        before, base = self.base_layout("before " + variant)
        after = self.tree(variant, [b"srv/" + b"long" * 40])
        return ["--from", f"oci-layout:{base}", f"diff:{before}:{after}"], survey(after)

    def base_in_registry(self, variant):
        tree, name = self.tree(variant), f"{self.registry.host}/base-{variant}:1"
        self.command("-o", f"type=registry,name={name}", "--store", self.work.place("store"), tree)
        more = small_tree(self.work.place("more"), {b"srv/more": variant.encode()})
        return ["--from", f"docker://{name}", more], survey(tree) | survey(more)

    def platforms(self, variant):
        tree = self.tree(variant)
        other = small_tree(self.work.place("other"), {b"srv/other": variant.encode()})
        return ["--platform", f"linux/{HOST}", tree, "--platform", f"linux/{OTHER}", other], survey(tree)

    def platforms_attested(self, variant):
        words, wanted = self.platforms(variant)
        said = ["--attest", f"type=sbom,file={self.sbom}"]
        return words[:3] + said + words[3:] + said, wanted

    def platforms_on_base(self, variant):
        words, wanted = self.platforms(variant)
        base = self.work.place("base")
        self.command("-o", f"type=oci,dest={base},tar=false", *words)
        more = small_tree(self.work.place("more"), {b"srv/more": variant.encode()})
        return ["--from", f"oci-layout:{base}", more, *(word for word in words if "linux/" in str(word) or
                word == "--platform")], wanted | survey(more)


# --- the table -------------------------------------------------------------------------------------------

VARIANTS = {"zlib": 9, "libdeflate": 12, "isal": 3}  # and the level of the smallest output
NO_ZSTD = "umoci 0.4.7 knows no zstd"
NO_DOCKER_ZSTD = "it does not know Docker's media type for zstd"
LAYOUT_IS_OCI = "it wants OCI manifests in a layout; the archives and the registry cover Docker's"
SHA256_ALONE = "it computes sha256 alone"
IN_LAYOUT = dict.fromkeys(("skopeo", "umoci", "buildah", "podman"), LAYOUT_IS_OCI)
SHA512 = dict.fromkeys(("skopeo", "umoci", "buildah", "podman", "containerd"), SHA256_ALONE)
NAMED = ("-t", "{name}")
SAID = {"a.b": "1", "Mixed.Case": "ü <&>"}


@dataclasses.dataclass(frozen=True)
class Row:
    """One export.

    {dest}, {store}, {name}, {second}, {repository} in `output` and `words` stand for places and names of the row's own.
    `without`: reader -> why it cannot read this.
    `layers`: codecs of the layers, bottom first, if these are not all that of `output`.
    `annotations`: where -> what must be there. `attested`: number of attestation manifests, and their form.
    """
    name: str
    output: str
    inputs: object = Inputs.one
    words: tuple = NAMED
    types: str = "oci"
    without: dict = dataclasses.field(default_factory=dict)
    layers: tuple = None
    names: tuple = ("{name}",)
    annotations: dict = dataclasses.field(default_factory=dict)
    attested: tuple = (0, None)
    platforms: tuple = (HOST,)
    epoch: int = None
    clamped: int = NEW  # time of the files

    @property
    def options(self):
        return dict(part.partition("=")[::2] for part in next(csv.reader([self.output])))

    @property
    def codec(self):
        return self.options.get("compression", "gzip")

    @property
    def kind(self):
        """Where it goes: layout, archive, docker (archive), store, registry, local, tar."""
        options = self.options
        if options.get("tar") == "false":
            return "layout"
        if options.get("push") == "true":
            return "registry"
        return {"image": "store", "oci": "archive"}.get(options["type"], options["type"])


def layouts():
    oci = "type=oci,tar=false,dest={dest}"
    yield Row("layout", oci)
    for level in 0, 1, 9:
        yield Row(f"layout, gzip {level}", f"{oci},compression=gzip,compression-level={level}")
    yield Row("layout, uncompressed", f"{oci},compression=uncompressed")
    for level in 1, 19:
        yield Row(f"layout, zstd {level}", f"{oci},compression=zstd,compression-level={level}",
                  without={"umoci": NO_ZSTD})
    for codec in "gzip", "estargz":
        for variant, smallest in VARIANTS.items():
            yield Row(f"layout, {codec} of {variant}", f"{oci},compression={codec},compression-variant={variant}")
    for variant, smallest in VARIANTS.items():
        yield Row(f"layout, gzip of {variant}, {smallest}, filling blocks",
                  f"{oci},compression-variant={variant},compression-level={smallest}", Inputs.filling_blocks)
    yield Row("layout, zstd, filling frames", f"{oci},compression=zstd", Inputs.filling_blocks,
              without={"umoci": NO_ZSTD})
    yield Row("layout, eStargz", f"{oci},compression=estargz")
    yield Row("layout, eStargz 9", f"{oci},compression=estargz,compression-level=9")
    yield Row("layout of Docker's types", "type=docker,tar=false,dest={dest}", types="docker", without=IN_LAYOUT)
    yield Row("layout of type=docker, OCI, eStargz",
              "type=docker,tar=false,dest={dest},oci-mediatypes=true,compression=estargz")


def archives():
    oci = "type=oci,dest={dest}"
    yield Row("OCI archive", oci)
    yield Row("OCI archive, tar=true, uncompressed", f"{oci},tar=true,compression=uncompressed")
    yield Row("OCI archive, zstd", f"{oci},compression=zstd", without={"umoci": NO_ZSTD})
    yield Row("OCI archive, eStargz 1", f"{oci},compression=estargz,compression-level=1")
    yield Row("OCI archive without a name", f"{oci},compression=gzip", words=(), names=())
    yield Row("OCI archive, name list", f'{oci},"name={{name}},{{second}}"', words=(), names=("{name}", "{second}"))
    yield Row("OCI archive, sha512", f"{oci},compression-level=5", words=(*NAMED, "--digest", "sha512"), without=SHA512)
    yield Row("OCI archive, compatibility 30", f"{oci},compatibility-version=30")
    yield Row("OCI archive for another platform", f"{oci},compatibility-version=20", Inputs.foreign, platforms=(OTHER,))

    docker = "type=docker,dest={dest}"
    yield Row("docker archive", docker, types="docker")
    yield Row("docker archive, uncompressed", f"{docker},compression=uncompressed", types="docker")
    yield Row("docker archive, gzip 1", f"{docker},compression-level=1", types="docker")
    yield Row("docker archive, OCI types", f"{docker},oci-mediatypes=true")
    yield Row("docker archive, zstd", f"{docker},compression=zstd", without={"umoci": NO_ZSTD})
    yield Row("docker archive, zstd in Docker's types", f"{docker},compression=zstd,oci-mediatypes=false",
              types="docker", without={"containerd": NO_DOCKER_ZSTD, "umoci": NO_ZSTD})
    yield Row("docker archive, eStargz", f"{docker},compression=estargz")
    yield Row("docker archive, name list", f'{docker},"name={{name}},{{second}}"', words=(), types="docker",
              names=("{name}", "{second}"))
    yield Row("docker archive, compatibility 10", f"{docker},compatibility-version=10", types="docker")


def stores():
    yield Row("store", "type=image", types="docker", without=IN_LAYOUT)
    yield Row("store, OCI types", "type=image,oci-mediatypes=true")
    yield Row("store, zstd", "type=image,compression=zstd", without={"umoci": NO_ZSTD})
    yield Row("store, canonical name", "type=image,oci-mediatypes=true,name-canonical=true",
              names=("{name}", "{name}@{digest}"))
    yield Row("store, dangling name", "type=image,oci-mediatypes=true,dangling-name-prefix={repository}", words=(),
              names=("{repository}@{digest}",))
    yield Row("store, dangling name beside another", "type=image,compatibility-version=30,"
              "dangling-name-prefix={repository}", names=("{name}", "{repository}@{digest}"))
    yield Row("store, dangling name only if empty", "type=image,oci-mediatypes=true,dangling-name-empty-only=true,"
              "dangling-name-prefix={repository}")
    yield Row("unpacked", "type=image,unpack=true,oci-mediatypes=true")
    yield Row("unpacked, zstd", "type=image,unpack=true,compression=zstd", Inputs.changed, without={"umoci": NO_ZSTD})
    yield Row("unpacked, of two platforms", "type=image,unpack=true,compression=estargz", Inputs.platforms,
              platforms=(HOST, OTHER))
    yield Row("unpacked, on a base", "type=image,unpack=true,compatibility-version=30,compression=uncompressed",
              Inputs.on_base, layers=("gzip", "uncompressed"))


def pushes():
    yield Row("registry", "type=registry", types="docker")
    yield Row("registry, OCI types", "type=registry,oci-mediatypes=true")
    yield Row("registry, zstd", "type=registry,compression=zstd", without={"umoci": NO_ZSTD})
    yield Row("registry, eStargz", "type=registry,compression=estargz,store=false")
    yield Row("registry, uncompressed", "type=registry,compression=uncompressed", types="docker")
    yield Row("registry, name list", 'type=registry,"name={name},{second}"', words=(), types="docker",
              names=("{name}", "{second}"))
    yield Row("pushed by digest", "type=image,push=true,push-by-digest=true,name={repository}", words=(),
              types="docker", names=("{repository}@{digest}",))
    yield Row("pushed, dangling name", "type=image,push=true,dangling-name-prefix={repository}", words=(),
              types="docker", names=("{repository}@{digest}",))
    yield Row("registry, insecure", "type=registry,registry.insecure=true,oci-mediatypes=true", Inputs.changed)
    yield Row("registry, two platforms", "type=registry", Inputs.platforms, types="docker", platforms=(HOST, OTHER))
    yield Row("registry, two platforms with artifacts", "type=registry,oci-artifact=true,compression=zstd",
              Inputs.platforms_attested, platforms=(HOST, OTHER), attested=(2, "artifact"),
              without={"umoci": NO_ZSTD})
    yield Row("registry, unpacked", "type=registry,unpack=true,compression=uncompressed,oci-mediatypes=true")
    yield Row("registry, on a base there", "type=registry,oci-mediatypes=true,compression=estargz",
              Inputs.base_in_registry, layers=("gzip", "estargz"))


def told_more():
    """Annotations, attestations, platforms."""
    oci = "type=oci,dest={dest}"
    yield Row("annotated", f'{oci},annotation.a.b=1,"annotation.Mixed.Case=ü <&>"', annotations={"manifest": SAID})
    yield Row("annotated manifest and descriptor",
              "type=docker,dest={dest},annotation-manifest.a=1,annotation-manifest-descriptor.b=2",
              annotations={"manifest": {"a": "1"}, "manifest-descriptor": {"b": "2"}})
    yield Row("annotated by words", f"{oci},tar=true",
              words=(*NAMED, "--annotation", "manifest,manifest-descriptor:a=b=c"),
              annotations={"manifest": {"a": "b=c"}, "manifest-descriptor": {"a": "b=c"}})
    yield Row("annotated at every place", f"{oci},annotation-index.a=1,annotation-index-descriptor.b=2,"
              f"annotation-manifest[linux/{HOST}].c=3,annotation-manifest-descriptor[linux/{HOST}].d=4",
              Inputs.platforms, platforms=(HOST, OTHER),
              annotations={"index": {"a": "1"}, "index-descriptor": {"b": "2"}, "manifest": {"c": "3"},
                           "manifest-descriptor": {"d": "4"}})
    yield Row("annotated, pushed", "type=registry,annotation.a=1,annotation-index.b=2", Inputs.attested,
              annotations={"manifest": {"a": "1"}, "index": {"b": "2"}}, attested=(1, "image"))
    yield Row("annotated, in the store, attested", "type=image,annotation-index.a=1,attestation-inline=true",
              Inputs.attested, annotations={"index": {"a": "1"}}, attested=(1, "image"))
    yield Row("attested", f"{oci},oci-artifact=false", Inputs.attested, attested=(1, "image"))
    yield Row("attested, layout", "type=oci,tar=false,dest={dest},compression=estargz,oci-artifact=false",
              Inputs.attested, attested=(1, "image"))
    yield Row("attested by artifact", f"{oci},oci-artifact=true", Inputs.attested, attested=(1, "artifact"))
    yield Row("attested by artifact of old", f"{oci},compatibility-version=30,compression=zstd", Inputs.attested,
              attested=(1, "artifact"), without={"umoci": NO_ZSTD})
    yield Row("attested inline", f"{oci},attestation-inline=true", Inputs.attested_inline, attested=(1, "image"))
    yield Row("attested inline, not wanted", f"{oci},attestation-inline=false", Inputs.attested_inline)
    yield Row("two platforms", f"{oci},compression=estargz", Inputs.platforms, platforms=(HOST, OTHER))
    yield Row("two platforms, layout", "type=oci,tar=false,dest={dest},compression=zstd", Inputs.platforms,
              platforms=(HOST, OTHER), without={"umoci": NO_ZSTD})
    yield Row("two platforms, store, Docker's types", "type=image,compression=uncompressed", Inputs.platforms,
              types="docker", platforms=(HOST, OTHER), without=IN_LAYOUT)
    yield Row("two platforms, attested", f"{oci},oci-artifact=false,compression-level=9", Inputs.platforms_attested,
              platforms=(HOST, OTHER), attested=(2, "image"))
    yield Row("two platforms, attested by artifacts", "type=oci,tar=false,dest={dest},oci-artifact=true",
              Inputs.platforms_attested, platforms=(HOST, OTHER), attested=(2, "artifact"))


def built_on():
    """Several layers, base images, times, configurations."""
    oci, docker = "type=oci,dest={dest}", "type=docker,dest={dest}"
    yield Row("tars", f"{oci},compression=zstd,compression-level=0", Inputs.tars, without={"umoci": NO_ZSTD})
    yield Row("tars, force-compression", f"{oci},compression=uncompressed,force-compression=true", Inputs.tars)
    yield Row("deletions", f"{oci},compression-level=2", Inputs.changed)
    yield Row("deletions, docker archive", f"{docker},compression-level=2", Inputs.changed, types="docker")
    yield Row("on a base", f"{oci},compression=estargz,compression-level=0", Inputs.on_base, layers=("gzip", "estargz"))
    yield Row("on a base, docker archive", f"{docker},compression-level=3", Inputs.on_base, types="docker")
    yield Row("on a base, packed anew", f"{oci},compression=zstd,force-compression=true", Inputs.on_base,
              without={"umoci": NO_ZSTD})
    yield Row("on a base, packed anew in the store", "type=image,compression=estargz,force-compression=true",
              Inputs.on_base)
    yield Row("a base again", f"{docker},compression=uncompressed,force-compression=true", Inputs.base_alone,
              types="docker")
    yield Row("deletions from a base", f"{oci},compression-level=3", Inputs.changed_base)
    yield Row("two platforms on a base", f"{oci},compression-level=4", Inputs.platforms_on_base,
              platforms=(HOST, OTHER))
    yield Row("epoch", f"{oci},source-date-epoch={EPOCH}", epoch=EPOCH)
    yield Row("epoch, times rewritten", f"{oci},source-date-epoch={EPOCH},rewrite-timestamp=true", epoch=EPOCH,
              clamped=EPOCH)
    yield Row("epoch, times rewritten, pushed", f"type=registry,source-date-epoch={EPOCH},rewrite-timestamp=true,"
              "compression=zstd", Inputs.changed, epoch=EPOCH, clamped=EPOCH, without={"umoci": NO_ZSTD})
    yield Row("configured", f'{oci},"containerimage.config={{""architecture"":""{HOST}"",""os"":""linux"","'
              f'"config"":{{""Labels"":{{""a"":""b""}}}}}}"')


def root_file_systems():
    yield Row("directory", "type=local,dest={dest}", Inputs.changed, words=())
    yield Row("directory on a base", "type=local,dest={dest}", Inputs.changed_base, words=())
    yield Row("tar", "type=tar,dest={dest}", words=())
    yield Row("tar, times rewritten", f"type=tar,dest={{dest}},source-date-epoch={EPOCH},rewrite-timestamp=true",
              words=(), clamped=EPOCH)


ROWS = [*layouts(), *archives(), *stores(), *pushes(), *told_more(), *built_on(), *root_file_systems()]

# --- exports, and what must be true of them whoever reads them -------------------------------------------


class Export:
    """A row that was exported. Readers need no more of it than these members."""

    def __init__(self, kind, tree, variant, arch=HOST, clamped=NEW, names=(), place=None, folder=None, tag=None):
        self.kind, self.tree, self.variant, self.arch, self.clamped = kind, tree, variant, arch, clamped
        self.names, self.place = names, place
        self.folder = folder  # the layout as a directory, also of an archive
        self.tag = tag        # in that layout
        self.types, self.is_index, self.digest = "oci", False, None

    @property
    def told(self):
        return told(self.variant, self.clamped)

    @property
    def source(self):
        """As skopeo, buildah and podman write it."""
        tag = f":{self.tag}" if self.tag else ""
        return {"layout": f"oci:{self.folder}{tag}", "store": f"oci:{self.folder}{tag}",
                "archive": f"oci-archive:{self.place}{tag}",
                "docker": f"docker-archive:{self.place}" + (f":{self.names[0]}" if self.names else ""),
                "registry": f"docker://{self.names[0]}" if self.names else ""}[self.kind]


class Exporting:
    def __init__(self, command, work, registry):
        self.command, self.work, self.registry = command, work, registry
        self.inputs = Inputs(command, work)
        self.inputs.registry = registry

    def __call__(self, number, row):
        """Exports the row, and checks the documents."""
        variant, kind = f"row-{number}", row.kind
        host = self.registry.host if kind == "registry" else "example.com"
        place, store = self.work.place(kind), self.work.place("store")
        known = {"{dest}": str(place), "{repository}": f"{host}/{variant}", "{name}": f"{host}/{variant}:1",
                 "{second}": f"{host}/second-{variant}:2"}

        def filled(text):
            for name, value in known.items():
                text = text.replace(name, value) if isinstance(text, str) else text
            return text

        words, tree = row.inputs(self.inputs, variant)
        clamped = {path: facts._replace(mtime=min(facts.mtime, row.clamped)) for path, facts in tree.items()}
        printed = self.command("-o", filled(row.output), "--store", store, *CONFIG, *map(filled, row.words), *words)
        if kind in ("local", "tar"):
            return Export(kind, clamped, variant, clamped=row.clamped, place=place)

        digest, = printed
        known["{digest}"] = digest
        names = [filled(name) for name in row.names]
        export = Export(kind, clamped, variant, row.platforms[0], row.clamped, names, place)
        export.digest = digest
        if kind == "registry":
            root, blob = self.in_registry(names, digest)
        else:
            export.folder = {"layout": place, "store": store}.get(kind) or self.work.place("opened")
            if kind in ("archive", "docker"):
                open_archive(place, export.folder)
            root, blob, layout = self.in_layout(export, names, digest)
        documents = Documents(root, blob)
        documents.check(row)
        if kind in ("layout", "archive", "docker"):
            layout.expect_nothing_else()
        export.types, export.is_index = row.types, documents.index is not None
        if row.options.get("unpack") == "true":
            export.unpacked, = (store / ".shiplap-unpacked/sha256").iterdir()
        return export

    @staticmethod
    def in_layout(export, names, digest):
        layout = Layout(export.folder)
        expect_equal({entry["digest"] for entry in layout.entries}, {digest}, "digests in index.json")
        marks = [entry.get("annotations", {}) for entry in layout.entries]
        found = [mark.get("io.containerd.image.name") for mark in marks]
        expect_equal(found, list(names) or [None], "names in index.json")
        export.tag = marks[0].get("org.opencontainers.image.ref.name")
        return layout.entries[0], layout.blob, layout

    def in_registry(self, names, digest):
        for name in names:
            repository, _, tag = name.partition("/")[2].partition("@" if "@" in name else ":")
            expect_equal(self.registry.digest_of(repository, tag), digest, f"digest of {name} in the registry")

        def blob(descriptor):
            kind, digest = descriptor["mediaType"], descriptor["digest"]
            place = "manifests" if "manifest" in kind or "index" in kind else "blobs"
            answer = self.registry.ask(f"/v2/{repository}/{place}/{digest}", Accept=kind)
            expect_equal(answer.status, 200, f"answer to {digest}")
            expect_equal(digest_of("sha256", answer.body), digest, "digest of what the registry has")
            expect_equal(len(answer.body), descriptor["size"], f"size of {digest}")
            return answer.body

        answer = self.registry.ask(f"/v2/{repository}/manifests/{digest}", Accept=registry_server.MANIFESTS)
        return {"mediaType": answer.headers["Content-Type"], "digest": digest, "size": len(answer.body)}, blob


class Documents:
    """All that a root leads to, read with blob(descriptor) and validated."""

    def __init__(self, root, blob):
        self.root, self.blob, self.index = root, blob, None
        self.images, self.attestations = [], []  # (descriptor, manifest)
        entries = [root]
        if root["mediaType"] in (INDEX_TYPE, DOCKER_LIST):
            self.index = self.read(root, "image-index-schema.json")
            entries = self.index["manifests"]
        for entry in entries:
            said = "vnd.docker.reference.digest" in entry.get("annotations", {})
            (self.attestations if said else self.images).append((entry, self.read(entry, "image-manifest-schema.json")))

    def read(self, descriptor, schema):
        document = parse(self.blob(descriptor), descriptor["mediaType"])
        validate(document, schema)
        return document

    def check(self, row):
        """Whether the options of the row had their effect."""
        types = TYPES[row.types]
        found = [config["architecture"] for config in map(self.check_image, self.images, [row] * len(self.images))]
        expect_equal(found, list(row.platforms), "platforms")
        several = len(row.platforms) > 1 or row.attested[0]
        expect_equal(self.root["mediaType"], (INDEX_TYPE if row.types == "oci" else DOCKER_LIST) if several
                     else types["manifest"], "media type of the root")
        expect_equal(len(self.attestations), row.attested[0], "attestation manifests")
        for entry, manifest in self.attestations:
            self.check_attestation(entry, manifest, row.attested[1])
        entry, manifest = self.images[0]
        for place, holder in {"manifest": manifest, "manifest-descriptor": entry, "index": self.index or {},
                              "index-descriptor": self.root}.items():
            wanted, there = row.annotations.get(place, {}), holder.get("annotations", {})
            expect_equal({key: there.get(key) for key in wanted}, wanted, f"annotations of the {place}")

    def check_image(self, image, row):
        entry, manifest = image
        types = TYPES[row.types]
        config = self.read(manifest["config"], "config-schema.json")
        expect_equal((entry["mediaType"], manifest["mediaType"], manifest["config"]["mediaType"]),
                     (types["manifest"], types["manifest"], types["config"]), "media types")
        layers, codecs = manifest["layers"], row.layers or (row.codec,) * len(manifest["layers"])
        expect_equal([layer["mediaType"] for layer in layers], [types[codec] for codec in codecs], "layers")
        expect_equal(len(config["rootfs"]["diff_ids"]), len(layers), "number of diff_ids")
        for layer, diff_id in zip(layers, config["rootfs"]["diff_ids"]):
            plain = self.plain(layer)
            expect(plain is None or digest_of(layer["digest"].split(":")[0], plain) == diff_id, f"{diff_id} is wrong")
        lazy = ["containerd.io/snapshot/stargz/toc.digest" in layer.get("annotations", {}) for layer in layers]
        expect_equal(lazy, [codec == "estargz" for codec in codecs], "layers with a table of contents")
        if row.epoch:
            expect_equal(config["created"], time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(row.epoch)), "created")
        return config

    def check_attestation(self, entry, manifest, form):
        images = {image["digest"]: image for image, _ in self.images}
        image = images.get(entry["annotations"]["vnd.docker.reference.digest"])
        expect(image, "an attestation is about no image that is there")
        config = self.blob(manifest["config"])
        if form == "artifact":
            expect_equal(manifest["subject"]["digest"], image["digest"], "subject")
            expect_equal(config, b"{}", "configuration")
        else:
            expect("subject" not in manifest, "an image with a subject")
            validate(parse(config, "configuration"), "config-schema.json")
        for layer in manifest["layers"]:
            statement = parse(self.blob(layer), "statement")
            subjects = {subject["digest"]["sha256"] for subject in statement["subject"]}
            expect_equal(subjects, {image["digest"].split(":")[1]}, "subjects of a statement")

    def plain(self, layer):
        """The layer's tar; None if it takes zstd, which is not installed."""
        packed = self.blob(layer)
        if layer["mediaType"].endswith("gzip"):
            return gzip.decompress(packed)
        if layer["mediaType"].endswith("zstd"):
            return run("zstd", "-dcq", input=packed).stdout if has("zstd") else None
        return packed


def plain_exports(work):
    """An image, and a root file system, that are not ours."""
    tree, layout = root_file_system(work.place("plain"), "plain"), work.place("plain-image")
    entry = plain_image(tree, layout)
    image = Export("layout", survey(tree), "plain", names=["example.com/plain:1"], place=layout, folder=layout, tag="1")
    image.digest = entry["digest"]
    return image, Export("local", survey(tree), "plain", place=tree)
