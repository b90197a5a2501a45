#!/usr/bin/python3
"""structures.py COMMAND [WORD...]: every codec, variant and level, on contents that fill blocks in awkward ways.

Whatever the number of threads, the bytes are the same; and others read them: gzip, pigz, Python's zlib, zstd, bsdtar,
and the gzip and zstd of Go, in skopeo. With WORDs only the outputs and contents that have one of them in their name.
"""

import functools
import hashlib
import json
import random
import sys
import zlib

import trees
from common import Failure, Report, Shiplap, Workplace, expect, expect_equal, has, run, skopeo_copy

MIB = 1 << 20
LEVELS = {"zlib": (0, 1, 9), "libdeflate": (0, 1, 12), "isal": (0, 1, 3)}


def outputs():
    """Attributes that choose a codec -> the codec."""
    yield "compression=uncompressed", "uncompressed"
    for codec in "gzip", "estargz":
        yield f"compression={codec}", codec
        for variant, levels in LEVELS.items():
            yield f"compression={codec},compression-variant={variant}", codec
            for level in levels:
                yield f"compression={codec},compression-variant={variant},compression-level={level}", codec
    yield "compression=zstd", "zstd"
    for level in 1, 19:
        yield f"compression=zstd,compression-level={level}", "zstd"


CODECS = dict(outputs())
LARGE = 4 * MIB  # what is larger is packed at the default levels alone: structures depend on no level

# --- the same bytes --------------------------------------------------------------------------------------

JOBS = 1, 2, 3, 8, 64


def words(dice, size):
    known = [dice.randbytes(9) for _ in range(500)]
    return b" ".join(dice.choices(known, k=size // 10))


def several_blocks(root):
    """More than 20 MiB: many small files, some of several blocks, a sparse one."""
    dice, make = random.Random("several blocks"), trees.Maker(root)
    for folder in range(20):
        make.folder(b"small/%d" % folder)
        for number in range(40):
            make.file(b"small/%d/%d" % (folder, number), words(dice, dice.choice([0, 40, 500, 4000])))
    make.file(b"text", words(dice, 3 * MIB))
    make.file(b"random", dice.randbytes(3 * MIB + 5))
    make.file(b"sparse", b"begin")
    with open(make.path(b"sparse"), "r+b") as file:
        file.seek(13 * MIB)
        file.write(b"middle")
        file.truncate(14 * MIB)
    make.finish()
    return root


def digests(command, work, tree, wanted, jobs):
    """Root digests of one run with all these outputs."""
    place = work.place("out")
    place.mkdir()
    specs = [word for number, spec in enumerate(wanted) for word in ("-o", f"type=oci,dest={place}/{number},{spec}")]
    found = command("--jobs", str(jobs), *specs, tree)
    expect_equal(len(found), len(wanted), "number of digests")
    run("rm", "-r", place)
    return dict(zip(wanted, found))


def check_jobs(report, command, work, chosen):
    tree = several_blocks(work.place("several"))
    wanted = [spec for spec in chosen if not spec.endswith(("=9", "=12", "=19"))]  # which take too long
    by_jobs = {jobs: digests(command, work, tree, wanted, jobs) for jobs in JOBS}
    for spec in wanted:
        found = {jobs: by_jobs[jobs][spec] for jobs in JOBS}
        report.check(f"--jobs {', '.join(map(str, JOBS))}: {spec}", expect, len(set(found.values())) == 1,
                     f"different digests: {found}")


# --- read by others --------------------------------------------------------------------------------------


def tar_of(work, name, files, *options):
    """A tar by GNU tar; options may say how it is padded."""
    folder, file = work.place(name), work.place(f"{name}.tar")
    make = trees.Maker(folder)
    for path, content in files.items():
        make.file(path, content)
    make.finish()
    run("tar", "--create", "--format=ustar", "--sort=name", *options, "--file", file, "--directory", folder, *files)
    return file


def filled(work, name, size, content):
    """A tar of exactly that size, with no byte to spare: header, content, end."""
    file = tar_of(work, name, {b"file": content(size - 512 - 1024)}, "--blocking-factor=1")
    expect_equal(file.stat().st_size, size, f"size of {name}")
    return file


def contents(work):
    """name -> tar."""
    dice = random.Random("contents")
    text = functools.partial(words, dice)

    def exactly(size):
        return text(size).ljust(size)

    empty = work.place("empty.tar")
    empty.write_bytes(bytes(1024))
    yield "nothing", empty
    yield "an empty file", tar_of(work, "empty-file", {b"empty": b""})
    yield "incompressible", tar_of(work, "random", {b"random": dice.randbytes(3 * MIB + 1), b"z": dice.randbytes(MIB)})
    for size in MIB, 3 * MIB, 8 * MIB, 16 * MIB:
        yield f"exactly {size // MIB} MiB", filled(work, f"full-{size}", size, exactly)
    yield "a block and 512 bytes", filled(work, "more", MIB + 512, exactly)
    yield "exactly 1 MiB, incompressible", filled(work, "full-random", MIB, dice.randbytes)
    yield "exactly 8 MiB and 512, incompressible", filled(work, "more-random", 8 * MIB + 512, dice.randbytes)


def python_gunzip(packed):
    """As a reader has to do it that knows zlib alone: one member after the other."""
    plain = bytearray()
    while packed:
        member = zlib.decompressobj(31)
        plain += member.decompress(packed)
        expect(member.eof, "a member ends too early")
        packed = member.unused_data
    return bytes(plain)


def piped(*words, packed):
    return run(*words, input=packed).stdout


# What reads which encoding: each gets the blob's bytes and returns what it holds.
READERS = {
    "gzip": {
        "gzip": ("gzip", lambda packed: piped("gzip", "-dc", packed=packed)),
        "gzip -t": ("gzip", lambda packed: run("gzip", "-t", input=packed) and None),
        "pigz": ("pigz", lambda packed: piped("pigz", "-dc", packed=packed)),
        "pigz -t": ("pigz", lambda packed: run("pigz", "-t", input=packed) and None),
        "bsdtar": ("bsdtar", lambda packed: run("bsdtar", "-tf", "-", input=packed) and None),
        "zlib": (sys.executable, python_gunzip)},
    "zstd": {
        "zstd": ("zstd", lambda packed: piped("zstd", "-dcq", packed=packed)),
        "zstd -t": ("zstd", lambda packed: run("zstd", "-tq", input=packed) and None),
        "bsdtar": ("bsdtar", lambda packed: run("bsdtar", "-tf", "-", input=packed) and None)},
    "uncompressed": {}}


def layer_of(layout):
    """The only layer of a layout: its blob, and the digest of what is in it."""
    def blob(descriptor):
        return (layout / "blobs" / descriptor["digest"].replace(":", "/")).read_bytes()

    entry, = json.loads((layout / "index.json").read_text())["manifests"]
    manifest = json.loads(blob(entry))
    layer, = manifest["layers"]
    diff_id, = json.loads(blob(manifest["config"]))["rootfs"]["diff_ids"]
    return blob(layer), diff_id


def digest_of(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


def check_readers(spec, layout, tar):
    """Compares what each reader finds in the layer with the tar; eStargz puts its table of contents behind that."""
    codec = CODECS[spec]
    packed, diff_id = layer_of(layout)
    plain = tar.read_bytes()
    if codec == "estargz":
        content = python_gunzip(packed)
        expect(names_in(content)[:-1] == names_in(plain), "other files than in the tar")
        expect_equal(names_in(content)[-1:], ["stargz.index.json"], "the last file")
        plain = content
    expect_equal(digest_of(plain), diff_id, "diff_id")
    for name, (program, read) in READERS["gzip" if codec == "estargz" else codec].items():
        if has(program):
            try:
                found = read(packed)
            except (Failure, zlib.error) as problem:
                raise Failure(f"{name}: {problem}") from None
            expect(found is None or found == plain, f"{name} finds something else")


def names_in(tar):
    """Also what stands behind an end, as the table of contents of an eStargz of nothing does."""
    return run("tar", "--list", "--ignore-zeros", "--file", "-", input=tar).stdout.decode().splitlines()


def check_skopeo(work, layout):
    """Go's gzip and zstd: skopeo unpacks the layer, and calls it by its digest."""
    folder = work.place("unpacked")
    skopeo_copy(f"oci:{layout}:1", f"dir:{folder}", "--dest-decompress")
    manifest = json.loads((folder / "manifest.json").read_text())
    layer, = manifest["layers"]
    _, diff_id = layer_of(layout)
    expect_equal(layer["digest"], diff_id, "digest of the layer that skopeo unpacked")
    expect_equal(digest_of((folder / diff_id.partition(":")[2]).read_bytes()), diff_id, "digest of its file")
    run("rm", "-r", folder)


def check_content(report, command, work, name, tar, chosen):
    if tar.stat().st_size > LARGE:
        chosen = [spec for spec in chosen if "compression-level" not in spec]
    place = work.place("layouts")
    place.mkdir()
    specs = [word for number, spec in enumerate(chosen)
             for word in ("-o", f"type=oci,tar=false,dest={place}/{number},{spec}")]
    report.check(f"{name}: export", command.run, *specs, "-t", "example.com/x:1", f"tar:{tar}")
    for number, spec in enumerate(chosen):
        report.check(f"{name}: {spec}", check_readers, spec, place / str(number), tar)
        if has("skopeo") and "compression-level" not in spec and CODECS[spec] != "uncompressed":
            report.check(f"{name}: {spec}, skopeo", check_skopeo, work, place / str(number))
    run("rm", "-r", place)


def main(path, *given):
    report, command = Report(), Shiplap(path)
    for program in sorted({program for known in READERS.values() for program, _ in known.values()} | {"skopeo"}):
        if not has(program):
            report.skip(f"reading with {program}", "it is not installed")

    def wanted(name):
        return not given or any(word in name for word in given)

    chosen = [spec for spec in CODECS if wanted(spec)] or list(CODECS)
    with Workplace() as work:
        check_jobs(report, command, work, chosen)
        for name, tar in contents(work):
            if chosen != list(CODECS) or wanted(name):
                check_content(report, command, work, name, tar, chosen)
    report.exit()


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(*sys.argv[1:])
