"""Checks an OCI image layout with nothing but the standard library and, if they are there, the schemas of image-spec.

Every digest, size and diff_id is computed again; nothing here comes from the library under test.
"""

import functools
import hashlib
import io
import json
import pathlib
import re
import struct
import subprocess
import tarfile
import zlib

from common import Failure, expect, expect_equal, has, survey

try:
    import jsonschema
except ImportError:
    jsonschema = None

SCHEMAS = pathlib.Path(__file__).resolve().parents[3] / "shared/reference/schema"

OCI, DOCKER = "application/vnd.oci.image.", "application/vnd.docker."
INDEX_TYPE = OCI + "index.v1+json"
TYPES = {
    "oci": {"manifest": OCI + "manifest.v1+json", "config": OCI + "config.v1+json",
            "uncompressed": OCI + "layer.v1.tar", "gzip": OCI + "layer.v1.tar+gzip",
            "estargz": OCI + "layer.v1.tar+gzip", "zstd": OCI + "layer.v1.tar+zstd"},
    "docker": {"manifest": DOCKER + "distribution.manifest.v2+json", "config": DOCKER + "container.image.v1+json",
               "uncompressed": DOCKER + "image.rootfs.diff.tar", "gzip": DOCKER + "image.rootfs.diff.tar.gzip",
               "zstd": DOCKER + "image.rootfs.diff.tar.zstd"},
}
TOC_DIGEST = "containerd.io/snapshot/stargz/toc.digest"
PLAIN_SIZE = "io.containers.estargz.uncompressed-size"


def why_no_schemas():
    if not SCHEMAS.is_dir():
        return f"no folder {SCHEMAS}"
    return None if jsonschema else "python3-jsonschema is not installed"


@functools.cache
def validator(name):
    # Some parts have an id of their own, below which no file name resolves: without ids, all are neighbours.
    def without_ids(part):
        if isinstance(part, dict):
            return {key: without_ids(value) for key, value in part.items() if key != "id" or isinstance(value, dict)}
        return [without_ids(item) for item in part] if isinstance(part, list) else part

    store = {"file:///" + path.name: without_ids(json.loads(path.read_text())) for path in SCHEMAS.glob("*.json")}
    resolver = jsonschema.RefResolver("file:///" + name, store["file:///" + name], store=store)
    return jsonschema.Draft4Validator(store["file:///" + name], resolver=resolver)


def validate(document, schema):
    if why_no_schemas() is None:
        problems = [f"{'/'.join(map(str, e.path))}: {e.message}" for e in validator(schema).iter_errors(document)]
        expect(not problems, f"{schema}: " + "; ".join(problems))


def parse(content, what):
    """Strict JSON: UTF-8, no member twice."""
    def members(pairs):
        names = [name for name, _ in pairs]
        expect(len(names) == len(set(names)), f"{what}: a member is there twice among {names}")
        return dict(pairs)
    try:
        return json.loads(content.decode("utf-8"), object_pairs_hook=members)
    except ValueError as problem:
        raise Failure(f"{what} is no JSON: {problem}") from None


def digest_of(algorithm, content):
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


# --- encodings -------------------------------------------------------------------------------------------

def gunzip_members(packed):
    """Offset and plain bytes of each member of a gzip file, each of which must be as neutral as it can be."""
    members, at = [], 0
    while at < len(packed):
        expect(packed[at:at + 3] == b"\x1f\x8b\x08", f"no gzip member at {at}")
        flags, time, extra, system = struct.unpack_from("<BIBB", packed, at + 3)
        expect(time == 0 and system == 255 and flags in (0, 4), f"gzip member at {at} has a time, a system or a name")
        decoder = zlib.decompressobj(31)
        plain = decoder.decompress(packed[at:])
        expect(decoder.eof, f"gzip member at {at} is cut short")
        members.append((at, plain))
        at = len(packed) - len(decoder.unused_data)
    return members


def unpack(packed, codec):
    if codec == "uncompressed":
        return packed
    if codec == "zstd":
        expect(packed[:4] == b"\x28\xb5\x2f\xfd", "not a zstd frame")
        expect(packed[4] & 4, "the zstd frame has no content checksum")
        done = subprocess.run(["zstd", "-dcq"], input=packed, capture_output=True)
        expect(done.returncode == 0, f"zstd refuses the layer: {done.stderr}")
        return done.stdout
    return b"".join(plain for _, plain in gunzip_members(packed))


def check_estargz(packed, annotations):
    """Table of contents against chunks against the tar. See stargz-snapshotter, docs/estargz.md."""
    members = gunzip_members(packed)
    starts = dict(members)
    plain = b"".join(content for _, content in members)
    footer = packed[-51:]
    expect(footer[:16] == b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x1a\0SG\x16\0" and footer[32:38] == b"STARGZ",
           f"footer is {footer!r}")
    toc_at = int(footer[16:32], 16)
    expect(toc_at in starts, "the footer does not point at a gzip member")
    with tarfile.open(fileobj=io.BytesIO(starts[toc_at])) as toc_tar:
        expect_equal(toc_tar.getnames(), ["stargz.index.json"], "members of the TOC tar")
        text = toc_tar.extractfile("stargz.index.json").read()
    expect_equal(annotations.get(TOC_DIGEST), digest_of("sha256", text), TOC_DIGEST)
    expect_equal(annotations.get(PLAIN_SIZE), str(len(plain)), PLAIN_SIZE)

    toc = parse(text, "TOC")
    expect_equal(toc["version"], 1, "TOC version")
    with tarfile.open(fileobj=io.BytesIO(plain), errors="surrogateescape") as layer:
        wanted = {entry.name + "/" * entry.isdir(): entry for entry in layer}
    contents, current = {}, None
    for entry in toc["entries"]:
        if entry["type"] == "chunk":
            expect_equal(entry["name"], current, "name of a chunk")
        else:
            current = entry["name"]
            expect(current not in contents, f"TOC has {current!r} twice")
            contents[current] = b""
        if entry["type"] not in ("reg", "chunk") or not wanted[current].size:
            continue
        expect(entry["offset"] in starts, f"{current!r}: no gzip member at {entry['offset']}")
        left = wanted[current].size - entry.get("chunkOffset", 0)
        chunk = starts[entry["offset"]][:entry.get("chunkSize") or left]
        expect_equal(digest_of("sha256", chunk), entry["chunkDigest"], f"chunk digest of {current!r}")
        expect_equal(len(contents[current]), entry.get("chunkOffset", 0), f"chunk offset of {current!r}")
        contents[current] += chunk
        if entry["type"] == "reg":
            whole = entry["digest"]
        if len(contents[current]) == wanted[current].size:
            expect_equal(digest_of("sha256", contents[current]), whole, f"digest of {current!r}")
    expect_equal(sorted(contents), sorted(wanted), "names in the TOC")
    for name, entry in wanted.items():
        if entry.isreg():
            expect_equal(len(contents[name]), entry.size, f"bytes in the chunks of {name!r}")
    return sum(entry["type"] == "chunk" for entry in toc["entries"])


# --- layers ----------------------------------------------------------------------------------------------

def expect_tar_is_tree(plain, root):
    """An uncompressed layer against the tree that it was made from, by the rules of BuildKit's layers."""
    tree = survey(root)
    expect_equal(plain[-1024:], bytes(1024), "end of the archive")
    kinds = {tarfile.REGTYPE: "file", tarfile.DIRTYPE: "folder", tarfile.SYMTYPE: "link", tarfile.FIFOTYPE: "fifo",
             tarfile.CHRTYPE: "character device", tarfile.BLKTYPE: "block device"}
    order, first_names = [], {}
    raw = {"encoding": "utf-8", "errors": "surrogateescape"}
    with tarfile.open(fileobj=io.BytesIO(plain), **raw) as layer:
        end = 0
        for entry in layer:
            name, target = entry.name.encode(**raw), entry.linkname.encode(**raw)
            expect(name in tree, f"{name!r} is in the layer and not in the tree")
            facts = tree[name]
            order.append(name)
            expect_equal((entry.uname, entry.gname), ("", ""), f"{name!r}: names of the owner")
            expect_equal((entry.mode, entry.uid, entry.gid, entry.mtime),
                         (facts.mode, facts.uid, facts.gid, facts.mtime), f"{name!r}: mode, owner, time")
            capability = entry.pax_headers.get("SCHILY.xattr.security.capability", "").encode(**raw) or None
            expect_equal(capability, facts.capability, f"{name!r}: capability")
            unusual = set(entry.pax_headers) - {"path", "linkpath", "uid", "gid", "mtime",
                                                "SCHILY.xattr.security.capability"}
            expect(not unusual, f"{name!r}: has {unusual}")
            if entry.islnk():
                expect_equal(target, first_names.get(facts.links), f"{name!r}: first name of the file")
                expect_equal(entry.size, 0, f"{name!r}: size of a hard link")
                continue
            expect_equal(kinds.get(entry.type), facts.kind, f"{name!r}: type")
            expect(facts.links not in first_names or not facts.links, f"{name!r}: is another name of a file")
            first_names[facts.links] = name
            if entry.isfile():
                content = layer.extractfile(entry).read()
                expect_equal((entry.size, hashlib.sha256(content).hexdigest()), (facts.size, facts.content),
                             f"{name!r}: size and content")
            if entry.issym():
                expect_equal(target, facts.target, f"{name!r}: target")
            if facts.device:
                expect_equal((entry.devmajor, entry.devminor), facts.device, f"{name!r}: device numbers")
            end = entry.offset_data + (entry.size + 511) // 512 * 512
        end = max(end, layer.offset - 512)
    expect_equal(order, sorted(tree, key=lambda path: path.split(b"/")), "order of the entries")
    return len(order)


# --- layouts ---------------------------------------------------------------------------------------------

class Layout:
    """An image layout. Construction reads index.json and checks what does not depend on the image."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        marker = parse((self.folder / "oci-layout").read_bytes(), "oci-layout")
        validate(marker, "image-layout-schema.json")
        expect_equal(marker, {"imageLayoutVersion": "1.0.0"}, "oci-layout")
        self.index = parse((self.folder / "index.json").read_bytes(), "index.json")
        validate(self.index, "image-index-schema.json")
        expect_equal(self.index["schemaVersion"], 2, "schemaVersion of index.json")
        expect_equal(self.index.get("mediaType"), INDEX_TYPE, "mediaType of index.json")
        self.reached = set()

    @property
    def entries(self):
        return self.index["manifests"]

    def blob(self, descriptor):
        """The bytes that a descriptor names. Raises Failure if they are not those."""
        algorithm, encoded = descriptor["digest"].split(":")
        path = self.folder / "blobs" / algorithm / encoded
        expect(path.is_file(), f"{descriptor['mediaType']} {descriptor['digest']} is not in the layout")
        content = path.read_bytes()
        expect_equal(len(content), descriptor["size"], f"size of {descriptor['digest']}")
        expect_equal(digest_of(algorithm, content), descriptor["digest"], f"digest of {path}")
        self.reached.add(path)
        return content

    def expect_nothing_else(self):
        blobs = {path for path in (self.folder / "blobs").rglob("*") if path.is_file()}
        expect(blobs == self.reached, f"blobs that nothing refers to: {sorted(map(str, blobs - self.reached))}")
        others = {path.name for path in self.folder.iterdir()} - {"blobs", "index.json", "oci-layout", "manifest.json"}
        expect(not others, f"files that do not belong into a layout: {others}")


class Image:
    """One image of a layout, checked through and through. `plain`: the uncompressed layers."""

    def __init__(self, layout, root, codec, flavour, algorithm):
        types = TYPES[flavour]
        self.root = root
        expect_equal(root["mediaType"], types["manifest"], "media type of the root")
        expect(re.fullmatch(algorithm + ":[0-9a-f]+", root["digest"]), f"root is {root['digest']}, not {algorithm}")
        text = layout.blob(root)
        self.manifest = manifest = parse(text, "manifest")
        validate(manifest, "image-manifest-schema.json")
        expect_equal(json.dumps(manifest, indent=2, ensure_ascii=False).encode(), text, "layout of the manifest's text")
        expect_equal(list(manifest)[:4], ["schemaVersion", "mediaType", "config", "layers"], "members of the manifest")
        expect_equal((manifest["schemaVersion"], manifest["mediaType"]), (2, types["manifest"]), "manifest")

        expect_equal(manifest["config"]["mediaType"], types["config"], "media type of the configuration")
        self.config = config = parse(layout.blob(manifest["config"]), "configuration")
        validate(config, "config-schema.json")
        expect_equal(list(config), sorted(config), "order of members in the configuration")
        platform = {key: config[key] for key in ("architecture", "os", "variant") if key in config}
        expect_equal(root.get("platform"), platform, "platform of the root")
        diff_ids = config["rootfs"]["diff_ids"]
        filled = [entry for entry in config["history"] if not entry.get("empty_layer")]
        expect_equal((len(diff_ids), len(filled)), (len(manifest["layers"]),) * 2, "number of diff_ids, history entries")
        for entry in config["history"] + [config]:
            expect(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,8}[1-9])?Z", entry["created"]),
                   f"time {entry['created']!r}")

        self.plain = []
        for layer, diff_id in zip(manifest["layers"], diff_ids):
            expect(layer["digest"].startswith(algorithm + ":"), f"layer is {layer['digest']}")
            expect_equal(layer["mediaType"], types[codec], "media type of a layer")
            packed = layout.blob(layer)
            if codec == "zstd" and not has("zstd"):
                continue
            plain = unpack(packed, codec)
            expect_equal(digest_of(diff_id.split(":")[0], plain), diff_id, "diff_id")
            expect_equal(diff_id.split(":")[0], algorithm, "algorithm of the diff_id")
            annotations = layer.get("annotations", {})
            if codec == "estargz":
                self.chunks = check_estargz(packed, annotations)
            else:
                expect(not {TOC_DIGEST, PLAIN_SIZE} & annotations.keys(), f"annotations of a {codec} layer")
            self.plain.append(plain)


def check_layout(folder, codec, flavour, algorithm, tags=("1",)):
    """A layout with one image under `tags`. Returns the Image."""
    layout = Layout(folder)
    names = [entry.get("annotations", {}).get("org.opencontainers.image.ref.name") for entry in layout.entries]
    expect_equal(names, list(tags), "names in index.json")
    images = [Image(layout, entry, codec, flavour, algorithm) for entry in layout.entries]
    layout.expect_nothing_else()
    return images[0]


def open_archive(file, into):
    """Takes an archive apart as a reader would, and checks what type=oci and type=docker promise of it."""
    content = pathlib.Path(file).read_bytes()
    expect(content.endswith(bytes(1024)), "no end of archive")
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        names = [member.name + "/" * member.isdir() for member in archive]
        expect_equal(names, sorted(names), "order of members")
        expect_equal(len(names), len(set(names)), "number of members")
        for member in archive:
            expect_equal((member.uid, member.gid, member.mtime, member.uname, member.gname), (0, 0, 0, "", ""),
                         f"{member.name}: owner, time and names")
            mode = 0o755 if member.isdir() else 0o644 if member.name in ("index.json", "manifest.json") else 0o444
            expect_equal(member.mode, mode, f"{member.name}: mode")
        archive.extractall(into)


def check_docker_manifest(folder, image, tags):
    """manifest.json, for those who know no OCI layout."""
    manifests = parse((pathlib.Path(folder) / "manifest.json").read_bytes(), "manifest.json")
    path = lambda descriptor: "blobs/" + descriptor["digest"].replace(":", "/")
    wanted = [{"Config": path(image.manifest["config"]), "RepoTags": list(tags),
               "Layers": [path(layer) for layer in image.manifest["layers"]]}]
    expect_equal(manifests, wanted, "manifest.json")
