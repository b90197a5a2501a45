#!/usr/bin/python3
"""platforms.py COMMAND: images of several platforms, with annotations and attestations, read by skopeo and by umoci.

Every index and manifest is checked against the schemas of image-spec, every statement against the image that it is about.
"""

import itertools
import json
import sys

from common import Report, Shiplap, Workplace, expect, expect_equal, has, run, skopeo_copy, umoci_unpack
from images import INDEX_TYPE, OCI, Layout, digest_of, parse, validate, why_no_schemas

EMPTY = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
PLATFORMS = ["linux/amd64", "linux/arm64", "linux/arm/v7"]
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"


class Trees:
    def __init__(self, work):
        self.work, self.base = work, work.place("base")
        (self.base / "etc").mkdir(parents=True)
        (self.base / "etc/name").write_text("name\n")
        self.of = {}
        for platform in PLATFORMS:
            self.of[platform] = work.place("tree")
            (self.of[platform] / "bin").mkdir(parents=True)
            (self.of[platform] / "bin/app").write_text(platform)
        self.sbom, self.made = work.place("sbom.json"), work.place("made.json")
        self.sbom.write_text(json.dumps({"spdxVersion": "SPDX-2.3", "name": "<é&>"}, ensure_ascii=False, indent=1))
        self.made.write_text('{"buildDefinition": {"externalParameters": {"http_proxy": "a", "HTTP_PROXY": "b"}}}')

    def words(self, platforms, attested):
        out = [self.base]
        for platform in platforms:
            out += ["--platform", platform, self.of[platform]]
            if platform in attested:
                out += ["--attest", f"type=sbom,file={self.sbom}", "--attest", f"type=provenance,file={self.made}"]
        return out


def platform_text(platform):
    return "/".join(platform[key] for key in ("os", "architecture", "variant") if key in platform)


def go_text(document):
    """As Go writes it, two spaces deep."""
    text = json.dumps(document, indent=2, ensure_ascii=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode()


def check_statement(text, layer, entry, image, name):
    statement = parse(text, "statement")
    expect_equal(list(statement), ["_type", "predicateType", "subject", "predicate"], "members of the statement")
    expect_equal(statement["_type"], "https://in-toto.io/Statement/v1", "type of the statement")
    expect_equal(layer["annotations"], {"in-toto.io/predicate-type": statement["predicateType"]}, "annotations")
    algorithm, encoded = image["digest"].split(":")
    where = platform_text(image["platform"]).replace("/", "%2F")
    wanted = [{"name": f"pkg:docker/{name.replace(':', '@')}?platform={where}", "digest": {algorithm: encoded}}]
    expect_equal(statement["subject"], wanted, "subject")
    expect_equal(entry["annotations"]["vnd.docker.reference.digest"], image["digest"], "the image it is about")


def check_attestations(layout, entry, images, form, name):
    manifest = parse(layout.blob(entry), "attestation manifest")
    validate(manifest, "image-manifest-schema.json")
    expect_equal(entry["mediaType"], OCI + "manifest.v1+json", "media type of an attestation manifest")
    image = next(one for one in images if one["digest"] == entry["annotations"]["vnd.docker.reference.digest"])
    config = layout.blob(manifest["config"])
    digests = [layer["digest"] for layer in manifest["layers"]]
    if form == "artifact":
        expect_equal(manifest["artifactType"], "application/vnd.docker.attestation.manifest.v1+json", "artifactType")
        expect_equal(manifest["subject"], {key: image[key] for key in ("mediaType", "digest", "size")}, "subject")
        expect_equal((config, manifest["config"]["digest"], manifest["config"]["data"]), (b"{}", EMPTY, "e30="), "config")
    else:
        expect("artifactType" not in manifest and "subject" not in manifest, "an image that says it is an artifact")
        validate(parse(config, "configuration"), "config-schema.json")
        expect_equal(parse(config, "configuration"), {"architecture": "unknown", "os": "unknown", "config": {}, "rootfs": {
            "type": "layers", "diff_ids": digests}}, "configuration")
    for layer in manifest["layers"]:
        expect_equal(layer["mediaType"], "application/vnd.in-toto+json", "media type of a statement")
        check_statement(layout.blob(layer), layer, entry, image, name)


def check_image(layout, entry, number_of_layers):
    manifest = parse(layout.blob(entry), "manifest")
    validate(manifest, "image-manifest-schema.json")
    config = parse(layout.blob(manifest["config"]), "configuration")
    validate(config, "config-schema.json")
    expect_equal({key: config.get(key) for key in entry["platform"]}, entry["platform"], "platform")
    expect_equal(len(manifest["layers"]), number_of_layers, "number of layers")
    for layer in manifest["layers"]:
        layout.blob(layer)


def export(command, trees, work, platforms, attested, options, form, flavour):
    where = work.place("layout")
    kind = "type=image" if flavour == "docker" else "type=oci,tar=false"
    target = ["--store", where] if flavour == "docker" else []
    spec = kind + ("" if flavour == "docker" else f",dest={where}") + options
    printed = command("-o", spec, "-t", "r.io/team/app:1", *target, *trees.words(platforms, attested))

    layout = Layout(where)
    root, = layout.entries
    expect_equal(printed, [root["digest"]], "digest on standard output")
    expect_equal(root["mediaType"], DOCKER_LIST if flavour == "docker" else INDEX_TYPE, "media type of the root")
    text = layout.blob(root)
    index = parse(text, "index")
    validate(index, "image-index-schema.json")
    expect_equal(go_text(index), text, "layout of the index's text")
    images = [entry for entry in index["manifests"] if entry["platform"]["os"] != "unknown"]
    expect_equal([platform_text(entry["platform"]) for entry in images], platforms, "platforms, in their order")
    expect_equal(index["manifests"][:len(images)], images, "images before attestations")
    for entry in images:
        check_image(layout, entry, 2)
    for entry in index["manifests"][len(images):]:
        check_attestations(layout, entry, images, form, "r.io/team/app:1")
    about = [entry["annotations"]["vnd.docker.reference.digest"] for entry in index["manifests"][len(images):]]
    expect_equal(about, [entry["digest"] for entry in images if platform_text(entry["platform"]) in attested], "order")
    layout.expect_nothing_else()
    return where, index


def read_by_skopeo(where, index, work):
    again = work.place("again")
    skopeo_copy(f"oci:{where}:1", f"oci:{again}:1", "--all")
    there, = json.loads((again / "index.json").read_text())["manifests"]

    def blob(descriptor):
        content = (again / "blobs" / descriptor["digest"].replace(":", "/")).read_bytes()
        expect_equal(digest_of("sha256", content), descriptor["digest"], "digest")
        return content

    expect_equal(parse(blob(there), "index"), index, "the index that skopeo copied")
    for entry in index["manifests"]:
        manifest = parse(blob(entry), "manifest")
        for content in [manifest["config"], *manifest["layers"]]:
            blob(content)
    run("skopeo", "inspect", "--override-os", "linux", "--override-arch", "arm64", f"oci:{where}:1")


def read_by_umoci(where, work):
    """umoci 0.4.7 takes no index with several images: skopeo picks one."""
    one = work.place("one")
    run("skopeo", "--insecure-policy", "--override-os", "linux", "--override-arch", "arm64", "copy", "--quiet",
        f"oci:{where}:1", f"oci:{one}:1")
    rootfs = umoci_unpack(one, "1", work.place("bundle"))
    expect_equal((rootfs / "bin/app").read_text(), "linux/arm64", "the application")


def check_same_bytes(command, trees, work):
    """Archive, layout and store hold the same image, whatever the number of threads."""
    words = trees.words(PLATFORMS, PLATFORMS[:1])
    found = {tuple(command("-o", f"type=oci,{form}", "--jobs", jobs, "-t", "r.io/app:1", *words))
             for jobs, form in (("1", f"dest={work.place('a.tar')}"), ("4", f"tar=false,dest={work.place('layout')}"))}
    expect_equal(len(found), 1, "number of different images")


def main(path):
    report, command = Report(), Shiplap(path)
    if why_no_schemas():
        report.skip("schemas of image-spec", why_no_schemas())
    with Workplace() as work:
        trees = Trees(work)
        rows = [(PLATFORMS[:count], PLATFORMS[:attested], codec, form)
                for count, attested, codec, form in itertools.product((2, 3), (0, 1, 2), ("gzip", "estargz", "zstd"),
                                                                      ("image", "artifact"))
                if attested or form == "image"]
        rows += [(PLATFORMS, PLATFORMS, "uncompressed", "artifact")]
        for platforms, attested, codec, form in rows:
            name = f"{len(platforms)} platforms, {len(attested)} attested as {form}, {codec}"
            options = f",compression={codec}" + (",oci-artifact=true" if form == "artifact" else "")
            done = report.check(name, export, command, trees, work, platforms, attested, options, form, "oci")
            if done and has("skopeo") and codec != "uncompressed":  # which skopeo would compress
                report.check(f"{name}: skopeo copies all of it", read_by_skopeo, *done, work)
            if done and has("skopeo") and has("umoci") and codec == "gzip":
                report.check(f"{name}: umoci unpacks one of it", read_by_umoci, done[0], work)
        report.check("a manifest list with Docker's types", export, command, trees, work, PLATFORMS, [], "", "image",
                     "docker")
        report.check("the same bytes everywhere", check_same_bytes, command, trees, work)
    report.exit()


main(sys.argv[1])
