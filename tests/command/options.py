#!/usr/bin/python3
"""options.py COMMAND [WORD...]: every option of the command does what it says, as read back from what it made."""

import functools
import json
import os
import shutil
import subprocess
import tarfile

from common import (COMMAND, Table, environment, expect, expect_equal, expect_in, inspect, member, run, sha256,
                    small_tree, succeed, survey, tar_of, write_layout)

table = Table()
OCI, DOCKER = "application/vnd.oci.image.", "application/vnd.docker."


def export(work, *options, spec="type=oci,tar=false,dest=image", inputs=("tree",), **more):
    """Exports a small tree; returns the digest that was printed."""
    if not (work / "tree").exists():
        small_tree(work)
    return succeed(work, "-o", spec, *options, *inputs, **more)


def exported(work, *options, **more):
    """The same; returns what inspect says of the image."""
    export(work, *options, **more)
    return inspect(work, "oci-layout:image")


def part(of, *path):
    for step in path:
        of = of[step]
    return of


# --- options that set one thing: options, where it is in what inspect says, what is there ----------------------

CONFIG = ("manifests", 0, "configuration", "config")
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SETTINGS = [
    (["--label", "a=b", "--label", "c=d=e", "--label", "a=x"], (*CONFIG, "Labels"), {"a": "x", "c": "d=e"}),
    (["--env", "A=1", "--env", "B=", "--env", "A=2"], (*CONFIG, "Env"), [PATH, "A=2", "B="]),
    (["--entrypoint", "/bin/app"], (*CONFIG, "Entrypoint"), ["/bin/app"]),
    (["--entrypoint", '["/bin/app","-v","a b"]'], (*CONFIG, "Entrypoint"), ["/bin/app", "-v", "a b"]),
    (["--cmd", "-x"], (*CONFIG, "Cmd"), ["-x"]),
    (["--cmd", '["a","[b]"]'], (*CONFIG, "Cmd"), ["a", "[b]"]),
    (["--workdir", "/srv"], (*CONFIG, "WorkingDir"), "/srv"),
    (["--user", "1000:1000"], (*CONFIG, "User"), "1000:1000"),
    (["--expose", "80", "--expose", "53/udp"], (*CONFIG, "ExposedPorts"), {"53/udp": {}, "80/tcp": {}}),
    (["--platform", "linux/arm64"], ("manifests", 0, "configuration", "architecture"), "arm64"),
    (["--platform", "linux/arm/v7"], ("manifests", 0, "platform"), "linux/arm/v7"),
    (["--annotation", "A.b=c=d"], ("manifests", 0, "annotations"), {"A.b": "c=d"}),
    (["--annotation", "manifest:a=b"], ("manifests", 0, "annotations"), {"a": "b"}),
    (["--annotation", "manifest-descriptor:A.b=c"], ("root", "annotations", "A.b"), "c"),
    (["--annotation", "manifest,manifest-descriptor:k=v:w"], ("root", "annotations", "k"), "v:w"),
    (["--annotation", "manifest,manifest-descriptor:k=v:w"], ("manifests", 0, "annotations"), {"k": "v:w"}),
    (["-t", "app"], ("root", "annotations", "io.containerd.image.name"), "docker.io/library/app:latest"),
    (["-t", "example.com/app:1"], ("root", "annotations", "org.opencontainers.image.ref.name"), "1"),
    (["--digest", "sha512"], ("manifests", 0, "configuration", "rootfs", "diff_ids", 0, slice(0, 7)), "sha512:"),
    (["--jobs", "4"], ("manifests", 0, "layers", 0, "mediaType"), OCI + "layer.v1.tar+gzip"),
]


def setting(options, path, wanted, work):
    expect_equal(part(exported(work, *options), *path), wanted, " ".join(options))


for options, path, wanted in SETTINGS:
    table.add("setting " + " ".join(options), functools.partial(setting, options, path, wanted))

# --- keys of --output ------------------------------------------------------------------------------------

KEYS = [
    ("compression=uncompressed", ("manifests", 0, "layers", 0, "mediaType"), OCI + "layer.v1.tar"),
    ("compression=zstd,compression-level=19", ("manifests", 0, "layers", 0, "mediaType"), OCI + "layer.v1.tar+zstd"),
    ("compression=estargz", ("manifests", 0, "layers", 0, "annotations", "io.containers.estargz.uncompressed-size"),
     None),
    ("name=a,\"name=b:1,c:2\"", ("root", "annotations", "org.opencontainers.image.ref.name"), "1"),
    ("annotation.Some.Key=v", ("manifests", 0, "annotations"), {"Some.Key": "v"}),
    ("source-date-epoch=0", ("manifests", 0, "configuration", "created"), "1970-01-01T00:00:00Z"),
]


def key(text, path, wanted, work):
    export(work, spec=f"type=oci,tar=false,dest=image,{text}")
    image = "oci-layout:image:b:1" if "name=" in text else "oci-layout:image"
    found = part(inspect(work, image), *path)
    expect(found == wanted or wanted is None, f"{text}: found {found!r}, not {wanted!r}")


for text, path, wanted in KEYS:
    table.add("key " + text, functools.partial(key, text, path, wanted))


@table.row
def docker_media_types_by_default_for_docker_only(work):
    for kind, wanted in [("docker", DOCKER + "distribution.manifest.v2+json"), ("oci", OCI + "manifest.v1+json")]:
        export(work, spec=f"type={kind},tar=false,dest={kind}")
        expect_equal(inspect(work, f"oci-layout:{kind}")["root"]["mediaType"], wanted, kind)


@table.row
def variants_of_deflate(work):
    def packed(attributes):
        return export(work, spec=f"type=oci,dest=image.tar,{attributes}")

    for codec in "gzip", "estargz":
        by_variant = {variant: packed(f"compression={codec},compression-variant={variant}")
                      for variant in ("zlib", "libdeflate", "isal")}
        expect_equal(len(set(by_variant.values())), 3, f"number of different digests with {codec}")
        expect_equal(packed(f"compression={codec}"), by_variant["libdeflate"], f"{codec} without a variant")
        expect_equal(packed(f"compression-variant=isal,compression={codec}"), by_variant["isal"], f"{codec}, other order")


@table.row
def a_variant_that_means_nothing_is_named(work):
    for codec in "zstd", "uncompressed":
        spec = f"type=oci,dest=image.tar,compression={codec}"
        wanted = export(work, spec=spec)
        code, out, err = run(work, "-o", f"{spec},compression-variant=isal", "tree")
        expect_equal((code, out.decode().strip()), (0, wanted), f"exit code and digest with {codec}")
        expect_in("compression-variant has no effect", err, codec)


# --- types of output -----------------------------------------------------------------------------------------


def names_in_tar(path):
    with tarfile.open(path) as archive:
        return archive.getnames()


@table.row
def type_oci_archive(work):
    digest = export(work, spec="type=oci,dest=image.tar")
    expect_equal(inspect(work, "oci-archive:image.tar")["root"]["digest"], digest, "printed digest")
    expect("manifest.json" not in names_in_tar(work / "image.tar"), "an OCI archive has no manifest.json")


@table.row
def type_docker_archive(work):
    digest = export(work, "-t", "app:1", spec="type=docker,dest=image.tar")
    expect_equal(inspect(work, "docker-archive:image.tar:app:1")["root"]["digest"], digest, "printed digest")
    expect("manifest.json" in names_in_tar(work / "image.tar"), "a docker archive has a manifest.json")


@table.row
def type_local(work):
    export(work, spec="type=local,dest=out")
    expect_equal(survey(work / "out"), survey(work / "tree"), "the files")


@table.row
def type_tar(work):
    export(work, spec="type=tar,dest=files.tar")
    expect_equal(sorted(names_in_tar(work / "files.tar")), sorted(survey(work / "tree")), "the files")


def image_store(choose, where, work):
    options, variables = choose(work)
    digest = export(work, *options, spec="type=image,name=app:1", **variables)
    expect((work / where / "index.json").is_file(), f"no image store in {where}")
    found = inspect(work, "store:app:1", "--store", str(work / where))
    expect_equal(found["root"]["digest"], digest, "printed digest")


for name, choose, where in [
    ("--store", lambda work: (["--store", "st"], {"SHIPLAP_STORE": str(work / "no")}), "st"),
    ("SHIPLAP_STORE", lambda work: ([], {"SHIPLAP_STORE": str(work / "st"), "XDG_DATA_HOME": str(work / "no")}), "st"),
    ("XDG_DATA_HOME", lambda work: ([], {"XDG_DATA_HOME": str(work / "xdg")}), "xdg/shiplap"),
    ("HOME", lambda work: ([], {}), "home/.local/share/shiplap"),
]:
    table.add("image store by " + name, functools.partial(image_store, choose, where))


def stored(work, *options):
    return {image["name"]: image for image in json.loads(succeed(work, "store", "ls", "--json", "--store", "st", *options))}


@table.row
def store_ls_rm_and_gc(work):
    digest = export(work, "--store", "st", spec="type=image,name=app:1")
    (work / "tree/more").write_text("more")
    export(work, "--store", "st", spec="type=image,name=app:2")
    app = "docker.io/library/app:"
    images = stored(work)
    expect_equal(sorted(images), [app + "1", app + "2"], "names")
    expect_equal(images[app + "1"]["digest"], digest, "digest")
    expect_equal(images[app + "1"]["size"], inspect(work, "store:app:1", "--store", "st")["manifests"][0]["totalSize"],
                 "size")
    expect_in(digest, succeed(work, "store", "ls", "--store", "st"), "the list")
    code, _, err = run(work, "store", "rm", "--store", "st", "app:1", "app:3")
    expect_equal(code, 1, "exit code for an unknown name")
    expect_in(app + "2", err, "message")
    expect_equal(succeed(work, "store", "rm", "--store", "st", "app:1"), app + "1", "names removed")
    before = survey(work / "st")
    planned = succeed(work, "store", "gc", "--dry-run", "--store", "st").splitlines()
    expect_equal(survey(work / "st"), before, "the store after --dry-run")
    done = succeed(work, "store", "gc", "--store", "st").splitlines()
    expect_equal(done[:-1], planned[:-1], "what is removed")
    expect_equal(len(before) - len(survey(work / "st")), 3, "blobs removed")
    expect_equal(inspect(work, "store:app:2", "--store", "st")["root"]["digest"], stored(work)[app + "2"]["digest"], "app:2")


@table.row
def an_empty_store(work):
    expect_equal(succeed(work, "store", "ls", "--store", "st"), "", "the list")
    expect_equal(stored(work), {}, "the JSON list")
    expect_in("freed", succeed(work, "store", "gc", "--store", "st"), "gc")
    expect_equal(run(work, "store", "rm", "--store", "st", "app")[0], 1, "exit code of rm")
    expect(not (work / "st").exists(), "the store was made")


@table.row
def unpack_below_the_store(work):
    export(work, "--store", "st", spec="type=image,name=app:1,unpack=true")
    export(work, "--store", "st", spec="type=image,name=app:2,unpack=true,compression=zstd")
    images = stored(work)
    [tree] = {image["platforms"][0]["unpacked"] for image in images.values()}
    expect_equal({path: facts[1] for path, facts in survey(work / tree).items()},
                 {path: facts[1] for path, facts in survey(work / "tree").items()}, "the tree")
    succeed(work, "store", "rm", "--store", "st", "app:1", "app:2")
    expect_in("1 unpacked tree", succeed(work, "store", "gc", "--store", "st"), "gc")
    expect(not (work / tree).exists(), "the tree is still there")
    other = "s390x" if os.uname().machine != "s390x" else "amd64"
    export(work, "--store", "st", "--platform", f"linux/{other}", spec="type=image,name=app:1,unpack=true")
    [image] = stored(work).values()
    expect("unpacked" not in image["platforms"][0], "an image for another machine was unpacked")


@table.row
def exports_while_garbage_is_collected(work):
    small_tree(work)
    words = [COMMAND, "--progress", "none", "--store", "st", "--jobs", "1"]
    for turn in range(4):
        exports = [subprocess.Popen([*words, "-o", f"type=image,name={name}:{turn}", "tree"], cwd=work,
                                    env=environment(work), stdout=subprocess.DEVNULL) for name in ("a", "b")]
        while any(one.poll() is None for one in exports):
            succeed(work, "store", "gc", "--store", "st")
        expect_equal([one.returncode for one in exports], [0, 0], "exit codes of the exports")
        if turn < 3:  # the next exports find blobs that no image needs
            succeed(work, "store", "rm", "--store", "st", f"a:{turn}", f"b:{turn}")
    for name in stored(work):
        inspect(work, f"store:{name}", "--store", "st")
        succeed(work, "copy", f"store:{name}", "rootfs:out-" + name.rpartition("/")[2], "--store", "st")


@table.row
def several_outputs_and_names(work):
    printed = export(work, "-o", "type=docker,dest=b.tar", "-o", "type=local,dest=out", "-t", "a:1", "-t", "b:2",
                     spec="type=oci,dest=a.tar").split()
    expect_equal(len(printed), 3, "digests printed")
    for image in ["oci-archive:a.tar:a:1", "oci-archive:a.tar:b:2", "docker-archive:b.tar:b:2"]:
        expect(inspect(work, image)["root"]["digest"] in printed[:2], f"{image} is not among {printed}")
    expect((work / "out/bin/app").is_file(), "no files in out")


# --- inputs ----------------------------------------------------------------------------------------------


def layer_of(work, *inputs, **more):
    """diff_id of the one layer that an input makes."""
    succeed(work, "-o", "type=oci,dest=image.tar", *inputs, **more)
    return inspect(work, "oci-archive:image.tar")["manifests"][0]["configuration"]["rootfs"]["diff_ids"]


@table.row
def inputs_in_all_forms(work):
    tree = small_tree(work)
    of_tree = layer_of(work, "tree")
    expect_equal(layer_of(work, "dir:tree"), of_tree, "dir:tree")
    succeed(work, "-o", "type=tar,dest=plain.tar", tree)
    plain = (work / "plain.tar").read_bytes()
    for program, suffix in [(["gzip", "-n"], "gz"), (["zstd", "-q"], "zst")]:
        if not shutil.which(program[0]):
            continue
        with open(work / f"plain.tar.{suffix}", "wb") as packed:
            subprocess.run([*program, "-c", "plain.tar"], cwd=work, stdout=packed, check=True)
    for packed in sorted(work.glob("plain.tar*")):
        expect_equal(layer_of(work, packed.name), [sha256(plain)], packed.name)
        expect_equal(layer_of(work, f"tar:{packed.name}"), [sha256(plain)], f"tar:{packed.name}")
        with open(packed, "rb") as stream:
            expect_equal(layer_of(work, "tar:-", stdin=stream), [sha256(plain)], f"tar:- < {packed.name}")
    expect_equal(layer_of(work, "tar:-", stdin=plain), [sha256(plain)], "tar:- from a pipe")
    expect_equal(layer_of(work, "plain.tar", "tree"), [sha256(plain), *of_tree], "bottom layer first")


@table.row
def several_outputs_share_one_reading(work):
    plain = tar_of(member("a", b"content"))
    outputs = ["type=oci,dest=a.tar", "type=oci,tar=false,dest=b,compression=zstd", "type=docker,dest=c.tar",
               "type=local,dest=d", "type=tar,dest=e.tar", "type=image,name=app,compression=estargz"]
    words = [word for output in outputs for word in ("-o", output)]
    digests = succeed(work, *words, "--metadata-file", "facts.json", "tar:-", stdin=plain).split()
    expect_equal(len(digests), len(outputs), "digests printed")
    for output, digest in zip(outputs, digests):  # each as if it were alone
        (work / "plain.tar").write_bytes(plain)
        alone = output.replace("dest=", "dest=alone-")
        expect_equal(succeed(work, "-o", alone, "plain.tar").strip(), digest, output)
    expect_equal((work / "d/a").read_bytes(), b"content", "type=local")
    expect_equal(json.loads((work / "facts.json").read_text())["containerimage.digest"], digests[-1], "the last one's")


@table.row
def a_named_pipe_is_a_tar(work):
    plain = tar_of(member("a", b"content"))
    os.mkfifo(work / "pipe")
    writer = subprocess.Popen(["sh", "-c", "cat > pipe"], cwd=work, stdin=subprocess.PIPE)
    try:
        writer.stdin.write(plain)
        writer.stdin.close()
        expect_equal(layer_of(work, "pipe"), [sha256(plain)], "diff_id")
    finally:
        writer.kill()
        writer.wait()


@table.row
def a_difference_of_two_trees(work):
    small_tree(work, "lower")
    upper = small_tree(work, "upper")
    subprocess.run(["touch", "-r", "lower/bin/app", "upper/bin/app"], cwd=work, check=True)
    (upper / "etc/app.conf").unlink()
    (upper / "etc/new").write_text("new\n")
    succeed(work, "-o", "type=oci,tar=false,dest=image,compression=uncompressed", "diff:lower:upper")
    layer = inspect(work, "oci-layout:image")["manifests"][0]["layers"][0]["digest"].removeprefix("sha256:")
    names = names_in_tar(work / "image/blobs/sha256" / layer)
    expect("etc/.wh.app.conf" in names and "etc/new" in names, f"changes are missing: {names}")
    expect("bin/app" not in names, f"unchanged files are there: {names}")


@table.row
def no_subcommand_takes_a_directory_of_its_name(work):
    small_tree(work, "copy")
    wanted = layer_of(work, "dir:copy")
    for words in [["./copy"], ["--", "copy"]]:
        expect_equal(layer_of(work, *words), wanted, " ".join(words))


@table.row
def options_do_not_take_inputs_for_values(work):
    small_tree(work, "a")
    small_tree(work, "b")
    succeed(work, "a", "-o", "type=oci,dest=image.tar", "b", "--env", "K=V", "a", "-t", "n", "b", "--label", "l=m", "a",
            "--annotation", "k=v", "b", "--expose", "1", "a")
    expect_equal(len(inspect(work, "oci-archive:image.tar")["manifests"][0]["layers"]), 7, "layers")


# --- base images -----------------------------------------------------------------------------------------


def base_and_top(work, base, *options, spec="type=oci,tar=false,dest=image"):
    """An image of the small tree below, one of another tree above; what inspect says of both."""
    kind = base.split(":")[0]
    form = {"oci-layout": "type=oci,tar=false,dest=base", "oci-archive": "type=oci,dest=base.tar",
            "docker-archive": "type=docker,dest=base.tar", "store": "type=image"}[kind]
    export(work, "-t", "base:1", "--env", "A=1", "--cmd", "old", spec=form)
    (work / "top").mkdir()
    (work / "top/new").write_text("new")
    succeed(work, "--from", base, "-o", spec, *options, "top")
    return inspect(work, base), inspect(work, "oci-layout:image")


def on_top_of(base, work):
    below, above = (image["manifests"][0] for image in base_and_top(work, base, "--env", "B=2", "-t", "app:1"))
    expect_equal([layer["digest"] for layer in above["layers"][:-1]],
                 [layer["digest"] for layer in below["layers"]], "layers of the base")
    expect_equal(above["layers"][0]["mediaType"], OCI + "layer.v1.tar+gzip", "media type")
    old, new = below["configuration"], above["configuration"]
    expect_equal(new["config"]["Env"], [*old["config"]["Env"], "B=2"], "environment")
    expect_equal(new["config"]["Cmd"], ["old"], "command")
    expect_equal(new["history"][:-1], old["history"], "history")
    expect_equal(new["rootfs"]["diff_ids"][:-1], old["rootfs"]["diff_ids"], "diff_ids")
    succeed(work, "copy", "oci-layout:image", "rootfs:files")
    expect_equal(sorted(survey(work / "files")), sorted([*survey(work / "tree"), "new"]), "files")


for base in ["oci-layout:base:base:1", "oci-archive:base.tar", "docker-archive:base.tar:base:1", "store:base:1"]:
    table.add("from " + base, functools.partial(on_top_of, base))


@table.row
def from_an_image_and_no_input_is_that_image_again(work):
    export(work, "-t", "base:1", spec="type=docker,dest=base.tar")
    before = inspect(work, "docker-archive:base.tar")["manifests"][0]
    succeed(work, "--from", "docker-archive:base.tar", "-o", "type=oci,tar=false,dest=image", "-t", "again:2")
    after = inspect(work, "oci-layout:image:again:2")["manifests"][0]
    expect_equal(after["config"]["digest"], before["config"]["digest"], "configuration")
    expect_equal([layer["digest"] for layer in after["layers"]], [layer["digest"] for layer in before["layers"]],
                 "layers")
    expect_equal((before["mediaType"], after["mediaType"]),
                 (DOCKER + "distribution.manifest.v2+json", OCI + "manifest.v1+json"), "family")

    succeed(work, "--from", "oci-layout:image", "-o",
            "type=oci,tar=false,dest=packed,compression=zstd,force-compression=true")
    packed = inspect(work, "oci-layout:packed")["manifests"][0]
    expect_equal(packed["layers"][0]["mediaType"], OCI + "layer.v1.tar+zstd", "media type")
    expect_equal(packed["config"]["digest"], before["config"]["digest"], "configuration, packed anew")

    digest = succeed(work, "--from", "oci-layout:image:again:2", "-o", "type=oci,tar=false,dest=image", "-t", "three:3")
    expect_equal(inspect(work, "oci-layout:image:three:3")["root"]["digest"], digest, "into its own layout")


@table.row
def from_an_image_an_epoch_leaves_the_base_alone(work):
    below, above = base_and_top(work, "oci-layout:base",
                                spec="type=oci,tar=false,dest=image,source-date-epoch=60,rewrite-timestamp=true")
    old, new = (image["manifests"][0] for image in (below, above))
    expect_equal(new["layers"][0]["digest"], old["layers"][0]["digest"], "layer of the base")
    history = new["configuration"]["history"]
    expect_equal(history[0], old["configuration"]["history"][0], "history of the base")
    expect_equal((history[1]["created"], new["configuration"]["created"]), ("1970-01-01T00:01:00Z",) * 2, "times")


@table.row
def from_an_image_and_no_input_an_epoch_counts_for_all(work):
    export(work, "--annotation", "k=v", spec="type=oci,tar=false,dest=base,source-date-epoch=100")
    for epoch, year in [("60", "1970-01-01T00:01:00Z"), ("2000000000", None)]:
        digest = succeed(work, "--from", "oci-layout:base", "-o",
                         f"type=oci,tar=false,dest=at{epoch},source-date-epoch={epoch}")
        before, after = (inspect(work, f"oci-layout:{image}")["manifests"][0] for image in ("base", "at" + epoch))
        expect_equal(after["annotations"], {"k": "v"}, "annotations")
        if year:
            times = [after["configuration"]["created"], after["configuration"]["history"][0]["created"]]
            expect_equal(times, [year] * 2, "times")
        else:
            expect_equal(after["digest"], before["digest"], "the image with an epoch that is later")
            expect_equal(digest.strip(), before["digest"], "what is printed")


@table.row
def an_image_moves_to_another_base_and_back(work):
    small_tree(work)
    for name, env, words in [("old", "A=1", ["tree/bin"]), ("new", "A=2", ["tree/bin", "tree/etc"])]:
        succeed(work, "-o", f"type=oci,tar=false,dest={name}", "--env", env, *words)
    succeed(work, "--from", "oci-layout:old", "-o", "type=oci,tar=false,dest=app,name=app:1", "--cmd", "run",
            "--annotation", "k=v", "tree")
    moved = "type=oci,tar=false,name=*,dest="
    succeed(work, "--from", "oci-layout:app", "--rebase", "oci-layout:old", "oci-layout:new", "-o", moved + "moved",
            "--platform", inspect(work, "oci-layout:app")["manifests"][0]["platform"])
    succeed(work, "--from", "oci-layout:moved:app:1", "--rebase", "oci-layout:new", "oci-layout:old", "-o",
            moved + "back")
    app, new, there, back = (inspect(work, "oci-layout:" + one)["manifests"][0] for one in
                             ("app", "new", "moved", "back"))
    expect_equal([layer["digest"] for layer in there["layers"]],
                 [layer["digest"] for layer in new["layers"] + app["layers"][1:]], "layers")
    expect_equal(there["configuration"]["history"],
                 new["configuration"]["history"] + app["configuration"]["history"][1:], "history")
    expect_equal(there["configuration"]["config"]["Env"], new["configuration"]["config"]["Env"], "environment")
    expect_equal(there["configuration"]["config"]["Cmd"], ["run"], "command")
    expect_equal(back["digest"], app["digest"], "moved back")


@table.row
def what_is_not_built_upon_a_base_does_not_leave_it(work):
    small_tree(work)
    for name in ["bin", "etc"]:
        succeed(work, "-o", f"type=oci,tar=false,dest={name}", f"tree/{name}")
    code, _, err = run(work, "--from", "oci-layout:bin", "--rebase", "oci-layout:etc", "oci-layout:bin", "-o",
                       "type=oci,dest=out.tar")
    expect_equal(code, 1, "exit code")
    expect_in("layer 1", err, "message")
    expect_in("0 of the 1 layers", err, "message")


@table.row
def from_an_image_for_a_platform(work):
    small_tree(work)
    for machine in ["s390x", "arm64"]:
        succeed(work, "-o", "type=oci,tar=false,dest=base", "--platform", f"linux/{machine}", "-t", machine, "tree")
    entries = json.loads((work / "base/index.json").read_text())["manifests"]
    for entry in entries:
        entry.pop("annotations")
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI + "index.v1+json", "manifests": entries}).encode()
    (work / "base/blobs/sha256" / sha256(index).removeprefix("sha256:")).write_bytes(index)
    (work / "base/index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [
        {"mediaType": OCI + "index.v1+json", "digest": sha256(index), "size": len(index)}]}))
    words = ["--from", "oci-layout:base", "-o", "type=oci,tar=false,dest=image", "tree"]
    succeed(work, *words, "--platform", "linux/arm64")
    expect_equal(inspect(work, "oci-layout:image")["manifests"][0]["configuration"]["architecture"], "arm64", "platform")
    for options in [["--platform", "linux/mips64le"], []]:
        code, _, err = run(work, *words, *options)
        expect_equal(code, 1, "exit code")
        expect_in("choose one of these: linux/s390x, linux/arm64", err, "message")


@table.row
def from_what_is_no_base(work):
    small_tree(work)
    write_layout(work / "short", [tar_of(member("a", b"1")), tar_of(member("b", b"2"))],
                 plain=[tar_of(member("a", b"1"))])
    write_layout(work / "bare", [tar_of(member("a", b"1"))], config={"rootfs": None})
    write_layout(work / "lie", [tar_of(member("a", b"1"))], suffix="+gzip")
    for base, code, fragment in [("oci-layout:short", 1, "has 2 layers"), ("oci-layout:bare", 1, "rootfs"),
                                 ("oci-layout:lie", 1, "packed with gzip"), ("oci-layout:none", 1, "none"),
                                 ("tree", 2, "--from"), ("rootfs:tree", 2, "dir:tree")]:
        before = survey(work)
        found, _, err = run(work, "--from", base, "-o", "type=oci,tar=false,dest=image", "--platform", "linux/amd64",
                            "tree")
        expect_equal(found, code, f"{base}: exit code: {err}")
        expect_in(fragment, err, base)
        expect_equal(survey(work), before, f"{base}: what is there")


# --- squashing -------------------------------------------------------------------------------------------


def squashed(work, *options, spec="type=oci,tar=false,dest=image", inputs=("upper", "top.tar"), **more):
    """A base of two layers, of which the new ones remove a file; what inspect says of the squashed image."""
    if not (work / "base").exists():
        small_tree(work)
        small_tree(work, "upper")
        (work / "more").mkdir()
        (work / "more/more").write_text("more")
        (work / "top.tar").write_bytes(tar_of(member("new", b"new", mtime=1), member("etc/.wh.app.conf")))
        succeed(work, "-o", "type=oci,tar=false,dest=base", "--env", "A=1", "tree", "more")
    succeed(work, "--from", "oci-layout:base", *options, "-o", spec, *inputs, **more)
    return inspect(work, "oci-layout:image")["manifests"][0]


def squashing(option, inputs, layers, history, work):
    image = squashed(work, option, "--env", "B=2", inputs=inputs)
    expect_equal(len(image["layers"]), layers, "layers")
    expect_equal(["empty_layer" in step for step in image["configuration"]["history"]], history, "empty layers")
    expect_equal(image["configuration"]["config"]["Env"][-2:], ["A=1", "B=2"], "environment")
    succeed(work, "copy", "oci-layout:image", "rootfs:files")
    wanted = survey(work / "tree") | survey(work / "more")
    if inputs:
        del wanted["etc/app.conf"]
    expect_equal(sorted(survey(work / "files")), sorted([*wanted, *(["new"] if inputs else [])]), "files")


NEW = ("upper", "top.tar")
SQUASHES = [
    ("--squash", NEW, 3, [False] * 3),
    ("--squash", (*NEW, "top.tar"), 3, [False] * 3),
    ("--squash=all", NEW, 1, [True, True, False]),
    ("--squash", (), 1, [True, True, False]),
]
for option, inputs, layers, history in SQUASHES:
    table.add(f"squash {option} {' '.join(inputs)}", functools.partial(squashing, option, inputs, layers, history))


@table.row
def squash_standard_input(work):
    image = squashed(work, "--squash", inputs=("tar:-", "upper"), stdin=tar_of(member("streamed", b"1")))
    expect_equal(len(image["layers"]), 3, "layers")


@table.row
def squash_once_for_several_outputs(work):
    words = ["-o", "type=oci,dest=image.tar,compression=zstd", "-o", "type=tar,dest=files.tar"]
    squashed(work, "--squash", *words)
    first = (work / "image.tar").read_bytes()
    expect_in("etc/.wh.app.conf", names_in_layer(work, inspect(work, "oci-layout:image")), "the layer")
    expect("etc/.wh.app.conf" not in names_in_tar(work / "files.tar"), "a root file system has no whiteouts")
    squashed(work, "--squash", *words, "--jobs", "1")
    expect_equal((work / "image.tar").read_bytes(), first, "the same again")


def names_in_layer(work, found):
    last = found["manifests"][0]["layers"][-1]["digest"].removeprefix("sha256:")
    return names_in_tar(work / "image/blobs/sha256" / last)


@table.row
def squash_heeds_the_epoch(work):
    image = squashed(work, "--squash=all",
                     spec="type=oci,tar=false,dest=image,source-date-epoch=60,rewrite-timestamp=true")
    layer = image["layers"][0]["digest"].removeprefix("sha256:")
    with tarfile.open(work / "image/blobs/sha256" / layer) as tar:
        expect_equal({entry.mtime for entry in tar}, {1, 60}, "times")
    expect_equal({step["created"] for step in image["configuration"]["history"]}, {"1970-01-01T00:01:00Z"}, "history")


@table.row
def squash_for_several_platforms(work):
    small_tree(work)
    succeed(work, "-o", "type=oci,tar=false,dest=image", "--squash", "tar:-", "--platform", "linux/amd64", "tree",
            "--platform", "linux/arm64", stdin=tar_of(member("streamed", b"1")))
    found = inspect(work, "oci-layout:image")["manifests"]
    expect_equal([len(image["layers"]) for image in found], [1, 1], "layers")
# --- names that what is exported brings, and whole images converted ---------------------------------------------


def names_in_layout(work, layout):
    return [entry.get("annotations", {}).get("io.containerd.image.name")
            for entry in json.loads((work / layout / "index.json").read_text())["manifests"]]


@table.row
def a_star_stands_for_the_names_of_the_build(work):
    small_tree(work)
    code, _, err = run(work, "-o", "type=oci,tar=false,dest=base,name=*", "-t", "r.io/a:1", "-t", "r.io/b:2", "tree")
    expect_equal((code, "--tag" in err), (0, False), err)
    expect_equal(names_in_layout(work, "base"), ["r.io/a:1", "r.io/b:2"], "of --tag")
    for words, wanted in [(["--from", "oci-layout:base"], ["r.io/a:1", "r.io/b:2"]),
                          (["--from", "oci-layout:base:r.io/b:2"], ["r.io/b:2"]),
                          (["--from", "oci-layout:base", "-t", "r.io/c:3"], ["r.io/c:3"]),
                          (["copy", "oci-layout:base"], ["r.io/a:1", "r.io/b:2"])]:
        succeed(work, *words, "-o", "type=oci,tar=false,dest=named,name=*")
        expect_equal(names_in_layout(work, "named"), wanted, " ".join(words))
        shutil.rmtree(work / "named")
    succeed(work, "copy", "oci-layout:base", "-o", "type=oci,tar=false,dest=nameless")
    for words in [["tree"], ["--from", "oci-layout:base", "tree"], ["--from", "oci-layout:nameless"],
                  ["copy", "oci-layout:nameless"]]:
        code, out, err = run(work, *words, "-o", "type=oci,tar=false,dest=none,name=*")
        expect_equal((code, out, (work / "none").exists()), (2, b"", False), err)
        expect_in("it brings none", err, " ".join(words))


def attested_platforms(work):
    """Of two platforms, with attestations and annotations; the index's entry, and the index."""
    return multi(work, "--platform", "linux/arm64", "a", "--platform", "linux/amd64", "b", "--attest",
                 "type=sbom,file=sbom.json", "--annotation", "manifest,manifest-descriptor,index:k=v",
                 spec="type=oci,tar=false,dest=image,name=r.io/app:1")


@table.row
def a_whole_image_through_an_output_stays_as_it_is(work):
    entry, _ = attested_platforms(work)
    for source in ["oci-layout:image", "oci-layout:image:r.io/app:1"]:
        digest = succeed(work, "copy", "--output", "type=oci,dest=copy.tar,name=*", source).strip()
        expect_equal(digest, entry["digest"], "digest")
    expect_equal(inspect(work, "oci-archive:copy.tar")["root"]["digest"], entry["digest"], "the copy")
    succeed(work, "copy", "oci-archive:-", "-o", "type=oci,dest=again.tar,name=*",
            stdin=(work / "copy.tar").read_bytes())


@table.row
def a_conversion_writes_its_metadata(work):
    export(work)
    digest = succeed(work, "copy", "oci-layout:image", "-o", "type=oci,dest=copy.tar,name=app", "--metadata-file", "m.json")
    facts = json.loads((work / "m.json").read_text())
    expect_equal(facts["containerimage.digest"], digest.strip(), "digest")
    expect_equal(facts["image.name"], "docker.io/library/app:latest", "name")
    expect(run(work, "copy", "oci-layout:image", "oci-archive:b.tar", "--metadata-file", "n.json")[0] == 2, "with DST")


@table.row
def all_platforms_of_an_image_are_converted(work):
    old_entry, old = attested_platforms(work)
    (work / "image").rename(work / "old")
    out = succeed(work, "copy", "oci-layout:old", "-o",
                  "type=oci,tar=false,dest=image,name=r.io/new:2,compression=zstd,force-compression=true", "-o",
                  "type=image,annotation-index.k=w", "--store", "store")
    entry, = json.loads((work / "image/index.json").read_text())["manifests"]
    index = blob(work, entry)
    expect_equal(out.split()[0], entry["digest"], "what is printed")
    expect(entry["digest"] != old_entry["digest"], "nothing was converted")
    expect_equal(index["annotations"], {"k": "v"}, "annotations of the index")
    for now, before in zip(index["manifests"][:2], old["manifests"][:2]):
        expect_equal((now["platform"], now["annotations"]), (before["platform"], {"k": "v"}), "entry")
        manifest, manifest_before = blob(work, now), blob(work, before, "old")
        expect_equal(manifest["config"], manifest_before["config"], "configuration")
        expect_equal(manifest["annotations"], {"k": "v"}, "annotations")
        expect_equal([layer["mediaType"] for layer in manifest["layers"]], [OCI + "layer.v1.tar+zstd"], "layers")
    about = index["manifests"][2]
    expect_equal(about["annotations"]["vnd.docker.reference.digest"], index["manifests"][1]["digest"], "attested image")
    statement = blob(work, blob(work, about)["layers"][0])
    expect_equal(statement["subject"], [{"name": "pkg:docker/r.io/new@2?platform=linux%2Famd64",
                                         "digest": {"sha256": index["manifests"][1]["digest"][7:]}}], "subject")
    expect_equal(statement["predicate"], {"spdxVersion": "SPDX-2.3"}, "predicate")
    kept, = json.loads((work / "store/index.json").read_text())["manifests"]
    expect_equal(blob(work, kept, "store")["annotations"], {"k": "w"}, "annotations of the other output")


@table.row
def an_epoch_of_the_environment_counts_for_a_conversion(work):
    export(work, spec="type=oci,tar=false,dest=image,source-date-epoch=100")
    succeed(work, "copy", "oci-layout:image", "-o", "type=oci,tar=false,dest=early", SOURCE_DATE_EPOCH="60")
    expect_equal(inspect(work, "oci-layout:early")["manifests"][0]["configuration"]["created"], "1970-01-01T00:01:00Z",
                 "time")


@table.row
def one_image_becomes_a_tar_of_its_files(work):
    multi(work, "a", "b", *BOTH[:2], "--annotation", "index:k=v")  # an index, because of the attestation
    code, _, err = run(work, "copy", "oci-layout:image", "-o", "type=tar,dest=files.tar")
    expect_equal(code, 0, err)
    expect_in("attestations have no place", err, "standard error")
    expect_equal(sorted(name for name in names_in_tar(work / "files.tar") if name != "."), ["a", "b"], "files")


# --- what is printed, and where ------------------------------------------------------------------------------


@table.row
def an_archive_on_standard_output_is_alone_there(work):
    small_tree(work)
    code, out, err = run(work, "-o", "type=oci,dest=-", "-o", "type=local,dest=files", "tree", progress="plain")
    expect_equal(code, 0, err)
    (work / "image.tar").write_bytes(out)
    digest = inspect(work, "oci-archive:image.tar")["root"]["digest"]
    expect_in(digest, err, "standard error")
    code, copied, err = run(work, "copy", "oci-archive:-", "oci-archive:-", stdin=out)
    expect_equal((code, copied, err.strip()), (0, out, digest), "a copy from pipe to pipe")


@table.row
def the_result_on_standard_output_progress_on_standard_error(work):
    small_tree(work)
    for style in ["auto", "plain", "json", "none"]:
        code, out, err = run(work, "-o", "type=oci,dest=image.tar", "tree", progress=style)
        digest = inspect(work, "oci-archive:image.tar")["root"]["digest"]
        expect_equal((code, out.decode()), (0, digest + "\n"), style)
        expect_equal(err == "", style == "none", f"{style}: standard error is empty")


@table.row
def metadata_file(work):
    digest = export(work, "--metadata-file", "facts.json", "-t", "app:1", "-t", "b", spec="type=image",
                    SHIPLAP_STORE="st")
    facts = json.loads((work / "facts.json").read_text())
    image = inspect(work, "store:app:1", SHIPLAP_STORE="st")
    expect_equal(facts["containerimage.digest"], digest, "digest")
    expect_equal(facts["containerimage.config.digest"], image["manifests"][0]["config"]["digest"], "config digest")
    expect_equal(facts["containerimage.descriptor"]["size"], image["root"]["size"], "size in the descriptor")
    expect_equal(facts["image.name"], "docker.io/library/app:1,docker.io/library/b:latest", "names")


@table.row
def config_to_start_from(work):
    (work / "config.json").write_text(json.dumps({
        "architecture": "s390x", "os": "linux",
        "config": {"Env": ["A=1", "B=2"], "Cmd": ["old"], "StopSignal": "SIGINT"},
        "rootfs": {"type": "layers", "diff_ids": []}}))
    found = exported(work, "--config", "config.json", "--env", "A=3", "--entrypoint", "new")
    config = found["manifests"][0]["configuration"]
    expect_equal(config["architecture"], "s390x", "architecture")
    expect_equal(config["config"]["StopSignal"], "SIGINT", "stop signal")
    expect_equal(config["config"]["Env"], ["A=3", "B=2"], "environment")
    expect_equal((config["config"]["Entrypoint"], config["config"].get("Cmd")), (["new"], None),
                 "an entrypoint drops the command")


@table.row
def source_date_epoch(work):
    path = ("manifests", 0, "configuration", "created")
    found = exported(work, SOURCE_DATE_EPOCH="86400")
    expect_equal(part(found, *path), "1970-01-02T00:00:00Z", "from the environment")
    found = exported(work, spec="type=oci,tar=false,dest=image,source-date-epoch=60", SOURCE_DATE_EPOCH="86400")
    expect_equal(part(found, *path), "1970-01-01T00:01:00Z", "from the option")


@table.row
def the_number_of_jobs_does_not_matter(work):
    for codec in ["gzip", "zstd", "estargz"]:
        digests = {export(work, "--jobs", jobs, spec=f"type=oci,dest=image.tar,compression={codec}") for jobs in "1234"}
        expect_equal(len(digests), 1, f"different digests with {codec}")


# --- copy and inspect ------------------------------------------------------------------------------------------

TRANSPORTS = ["oci-layout:copy.d", "oci-archive:copy.tar", "docker-archive:copy.tar", "store:example.com/copy:2"]


def copy_between(source, destination, work):
    digest = export(work, "-t", "example.com/app:1", spec="type=oci,dest=start.tar")
    first = source.replace("copy.", "first.")
    expect_equal(succeed(work, "copy", "oci-archive:start.tar", first), digest, "digest of the first copy")
    expect_equal(succeed(work, "copy", first, destination), digest, "digest of the second copy")
    found = inspect(work, destination)
    expect_equal(found["root"]["digest"], digest, "digest of what was copied")
    wanted = "example.com/copy:2" if "store:" in source + destination else "example.com/app:1"
    expect_equal(found["root"]["annotations"]["io.containerd.image.name"], wanted, "name")


for source in TRANSPORTS:
    for destination in TRANSPORTS:
        table.add(f"copy {source.split(':')[0]} to {destination.split(':')[0]}",
                  functools.partial(copy_between, source, destination))


@table.row
def copy_extracts(work):
    export(work, spec="type=oci,dest=image.tar")
    succeed(work, "copy", "oci-archive:image.tar", "rootfs:out")
    expect_equal(survey(work / "out"), survey(work / "tree"), "the files")


@table.row
def copy_keeps_or_changes_names(work):
    export(work, "-t", "a:1", "-t", "b:2", spec="type=oci,dest=image.tar")

    def names(layout):
        entries = json.loads((work / layout / "index.json").read_text())["manifests"]
        return sorted(entry.get("annotations", {}).get("org.opencontainers.image.ref.name", "") for entry in entries)

    for source, destination, wanted in [("", "all", ["1", "2"]), (":b:2", "one", ["2"]), ("", "new:v9", ["v9"])]:
        succeed(work, "copy", f"oci-archive:image.tar{source}", f"oci-layout:{destination}")
        expect_equal(names(destination.split(":")[0]), wanted, f"names in {destination}")


@table.row
def inspect_as_text_and_json(work):
    digest = export(work, "-t", "app:1", "--cmd", "hello", "--annotation", "k=v", "--env", "E=\x1b[31m",
                    spec="type=oci,dest=image.tar")
    text = succeed(work, "inspect", "oci-archive:image.tar")
    image = inspect(work, "oci-archive:image.tar")
    layer, config = image["manifests"][0]["layers"][0], image["manifests"][0]["configuration"]
    for fragment in [digest, layer["digest"], layer["mediaType"], config["rootfs"]["diff_ids"][0],
                     "docker.io/library/app:1", "hello", "k=v", "linux/"]:
        expect_in(fragment, text, "inspect")
    expect("\x1b" not in text, "control characters reach the terminal")


# --- several platforms, attestations ---------------------------------------------------------------------------


def blob(work, descriptor, layout="image"):
    return json.loads((work / layout / "blobs" / descriptor["digest"].replace(":", "/")).read_bytes())


def multi(work, *words, spec="type=oci,tar=false,dest=image"):
    """Exports, with trees a, b, c and predicates to name; returns index.json's entry and the index."""
    for name in "abc":
        if not (work / name).exists():
            (work / name).mkdir()
            (work / name / name).write_text(name)
    (work / "sbom.json").write_text('{"spdxVersion": "SPDX-2.3"}')
    (work / "made.json").write_text('{"buildDefinition": {}}')
    succeed(work, "-o", spec, *words)
    entry, = json.loads((work / "image/index.json").read_text())["manifests"]
    return entry, blob(work, entry)


def layers_of(work, index):
    return [[layer["digest"] for layer in blob(work, entry)["layers"]] for entry in index["manifests"]]


def platforms_of(index):
    return ["/".join(filter(None, (entry["platform"].get(key) for key in ("os", "architecture", "variant"))))
            for entry in index["manifests"]]


@table.row
def platforms_group_what_follows_them(work):
    entry, index = multi(work, "a", "--platform", "linux/arm64/v8", "b", "--env", "K=V", "--platform", "linux/amd64",
                         "c", "b")
    expect_equal(entry["mediaType"], OCI + "index.v1+json", "root")
    expect_equal(platforms_of(index), ["linux/arm64", "linux/amd64"], "platforms")
    arm, amd = layers_of(work, index)
    expect_equal((len(arm), len(amd)), (2, 3), "number of layers")
    expect_equal((amd[0], amd[2]), (arm[0], arm[1]), "layers in common")
    for one in index["manifests"]:
        expect_in("K=V", blob(work, blob(work, one)["config"])["config"]["Env"], "environment")


@table.row
def one_platform_stands_anywhere(work):
    wanted = multi(work, "--platform", "linux/arm64", "a", "b")[0]
    expect_equal(wanted["mediaType"], OCI + "manifest.v1+json", "root")
    for words in (["a", "--platform", "linux/arm64", "b"], ["a", "b", "--platform=linux/arm64"]):
        shutil.rmtree(work / "image")
        expect_equal(multi(work, *words)[0], wanted, " ".join(words))


@table.row
def standard_input_below_all_platforms(work):
    (work / "image").mkdir()
    plain = tar_of(member("a", b"content"))
    succeed(work, "-o", "type=oci,tar=false,dest=image", "tar:-", "--platform", "linux/amd64", "--platform",
            "linux/arm64", stdin=plain)
    found = inspect(work, "oci-layout:image")["manifests"]
    expect_equal([one["configuration"]["rootfs"]["diff_ids"] for one in found], [[sha256(plain)]] * 2, "diff_ids")


@table.row
def each_platform_has_its_configuration(work):
    for name in ("amd64", "arm64"):
        (work / f"{name}.json").write_text(json.dumps({"os": "linux", "architecture": name, "author": "of " + name}))
    _, index = multi(work, "a", "--platform", "linux/arm64", "--config", "arm64.json", "--platform", "linux/amd64",
                     "--config", "amd64.json")
    authors = [blob(work, blob(work, one)["config"])["author"] for one in index["manifests"]]
    expect_equal(authors, ["of arm64", "of amd64"], "authors")
    code, _, err = run(work, "-o", "type=oci,dest=x.tar", "--config", "arm64.json", "a", "--platform", "linux/amd64",
                       "--platform", "linux/arm64")
    expect_equal(code, 2, "exit code of a configuration for another platform")
    expect_in("is for the platform linux/arm64", err, "standard error")


@table.row
def each_platform_gets_its_base(work):
    _, below = multi(work, "--platform", "linux/amd64", "a", "--platform", "linux/arm64", "b")
    (work / "image").rename(work / "base")
    _, above = multi(work, "--from", "oci-layout:base", "c", "--platform", "linux/arm64", "--platform", "linux/amd64")
    lower = [[layer["digest"] for layer in blob(work, one, "base")["layers"]] for one in below["manifests"]]
    expect_equal([layers[:1] for layers in layers_of(work, above)], lower[::-1], "base layers")


@table.row
def annotations_of_platforms_and_of_the_index(work):
    entry, index = multi(work, "a", "--platform", "linux/amd64", "--platform", "linux/arm64",
                         "--annotation", "manifest,index,manifest-descriptor,index-descriptor:All.Keys=1",
                         "--annotation", "manifest[linux/arm64/v8],manifest-descriptor[linux/aarch64]:All.Keys=2")
    expect_equal(entry["annotations"]["All.Keys"], "1", "on the index's descriptor")
    expect_equal(index["annotations"], {"All.Keys": "1"}, "on the index")
    expect_equal([one["annotations"] for one in index["manifests"]], [{"All.Keys": "1"}, {"All.Keys": "2"}],
                 "on the descriptors")
    expect_equal([blob(work, one)["annotations"] for one in index["manifests"]], [{"All.Keys": "1"}, {"All.Keys": "2"}],
                 "on the manifests")


def attested(work, words, spec, form):
    entry, index = multi(work, *words, spec="type=oci,tar=false,dest=image,name=r.io/app:1" + spec)
    first, about = index["manifests"][0], index["manifests"][-1]
    expect_equal(about["platform"], {"architecture": "unknown", "os": "unknown"}, "platform of attestations")
    expect_equal(about["annotations"], {"vnd.docker.reference.digest": first["digest"],
                                        "vnd.docker.reference.type": "attestation-manifest"}, "annotations")
    manifest = blob(work, about)
    expect_equal("artifactType" in manifest, form == "artifact", "artifactType")
    statements = [blob(work, layer) for layer in manifest["layers"]]
    expect_equal([one["predicateType"] for one in statements],
                 ["https://slsa.dev/provenance/v1", "https://spdx.dev/Document"], "predicate types")
    expect_equal(statements[0]["subject"], [{"name": "pkg:docker/r.io/app@1?platform=linux%2Farm64",
                                             "digest": {"sha256": first["digest"][7:]}}], "subject")
    found = inspect(work, "oci-layout:image")
    expect_equal([one["about"] for one in found["attestations"]], [first["digest"]], "what inspect says")
    expect_in("https://spdx.dev/Document", succeed(work, "inspect", "oci-layout:image"), "inspect")
    succeed(work, "copy", "oci-layout:image", "oci-archive:copy.tar")
    expect_equal(inspect(work, "oci-archive:copy.tar")["attestations"], found["attestations"], "the copy")
    succeed(work, "copy", "oci-layout:image", "rootfs:files")
    expect((work / "files/a").is_file(), "the image's files are not there")


BOTH = ["--attest", "type=provenance,file=made.json", "--attest", "type=sbom,file=sbom.json"]
for name, words, spec, form in [
    ("one platform", ["--platform", "linux/arm64", "a", *BOTH], "", "image"),
    ("as an artifact", ["--platform", "linux/arm64", "a", *BOTH], ",oci-artifact=true", "artifact"),
    ("version 30", ["--platform", "linux/arm64", "a", *BOTH], ",compatibility-version=30", "artifact"),
    ("of one of two", ["a", "--platform", "linux/arm64", *BOTH, "--platform", "linux/amd64"], "", "image"),
    ("of all and of one", ["a", *BOTH[:2], "--platform", "linux/arm64", *BOTH[2:]], "", "image"),
]:
    table.add("attestations, " + name, functools.partial(attested, words=words, spec=spec, form=form))


@table.row
def attestations_that_are_inline_only(work):
    words = ["a", "--attest", "type=sbom,file=sbom.json,inline-only=true"]
    expect_equal(multi(work, *words)[0]["mediaType"], OCI + "manifest.v1+json", "type=oci")
    shutil.rmtree(work / "image")
    entry, _ = multi(work, *words, spec="type=oci,tar=false,dest=image,attestation-inline=true")
    expect_equal(entry["mediaType"], OCI + "index.v1+json", "attestation-inline=true")


@table.row
def statements_as_they_are(work):
    statement = {"_type": "https://in-toto.io/Statement/v1", "predicateType": "urn:x", "subject": [
        {"name": "file", "digest": {"sha1": "ab"}}], "predicate": {"b": 1, "a": 2}}
    (work / "bundle").mkdir()
    (work / "bundle/1").write_text(json.dumps(statement, indent=4))
    _, index = multi(work, "a", "--attest", "file=bundle")
    layer, = blob(work, index["manifests"][1])["layers"]
    expect_equal(layer["annotations"], {"in-toto.io/predicate-type": "urn:x"}, "annotations")
    expect_equal(json.dumps(blob(work, layer)), json.dumps(statement), "the statement")


@table.row
def metadata_of_an_index(work):
    entry, _ = multi(work, "a", "--platform", "linux/amd64", "--platform", "linux/arm64", "-t", "app", "--metadata-file",
                     "facts.json")
    facts = json.loads((work / "facts.json").read_text())
    expect_equal(sorted(facts), ["containerimage.descriptor", "containerimage.digest", "image.name"], "members")
    expect_equal(facts["containerimage.descriptor"]["digest"], entry["digest"], "digest")


@table.row
def inspect_shows_an_image_of_unknown_kind(work):
    def as_artifact(manifest):
        manifest["artifactType"] = "application/vnd.example"
        manifest["config"]["mediaType"] = "application/vnd.oci.empty.v1+json"

    write_layout(work / "image", [b"anything"], manifest=as_artifact)
    found = inspect(work, "oci-layout:image")["manifests"][0]
    expect("configuration" not in found, "what is no configuration was parsed")
    succeed(work, "inspect", "oci-layout:image")


@table.row
def help_and_version(work):
    for words in [["--help"], ["-h"], ["copy", "--help"], ["inspect", "--help"], ["--version"]]:
        code, out, err = run(work, *words, progress=None)
        expect_equal((code, err), (0, ""), " ".join(words))
        expect_in("shiplap", out.decode(), " ".join(words))
    code, out, _ = run(work, "--help", progress=None)
    for option in ["--from", "--rebase", "--output", "--tag", "--platform", "--annotation", "--label", "--env", "--entrypoint", "--cmd",
                   "--workdir", "--user", "--expose", "--config", "--metadata-file", "--progress", "--store",
                   "--digest", "--jobs", "--squash", "copy", "inspect"]:
        expect_in(option, out.decode(), "--help")


@table.row
def closed_standard_streams_do_no_harm(work):
    small_tree(work)
    for closed in ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"]:
        subprocess.run(["sh", "-c", f'"$0" -o type=oci,dest=image.tar tree {closed}', COMMAND], cwd=work,
                       env=environment(work),
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        inspect(work, "oci-archive:image.tar")
        (work / "image.tar").unlink()


table.run()
