#!/usr/bin/python3
"""convert.py COMMAND: layers that are packed already, packed anew or left alone, seen without the library.

Each codec from each, and back; eStargz as plain writers make it; layers that are to be fetched from elsewhere.
"""

import gzip
import hashlib
import io
import json
import os
import sys
import tarfile

import trees
from common import Report, Shiplap, Workplace, expect, expect_equal, has, run
from images import DOCKER, OCI, TOC_DIGEST, TYPES, Layout, check_estargz, gunzip_members, parse, unpack

CODECS = ["uncompressed", "gzip", "estargz", "zstd"]
FOREIGN = OCI + "layer.nondistributable.v1.tar+gzip"
ELSEWHERE = "https://example.com/layer"


class Conversion:
    def __init__(self, command, work):
        self.command, self.work = command, work
        self.tree = work.place("tree")
        trees.odd(self.tree, text_only=True)
        self.direct = {codec: self.export(f"compression={codec}", self.tree) for codec in CODECS}
        self.tar = self.layer(self.direct["uncompressed"])[1]

    def export(self, options, *inputs, kind="oci"):
        layout = self.work.place("layout")
        self.command("-o", f"type={kind},tar=false,dest={layout}" + (options and "," + options), *inputs)
        return layout

    def convert(self, layout, options, **how):
        return self.export(options, "--from", f"oci-layout:{layout}", **how)

    def layer(self, layout):
        """Descriptor and bytes of the only layer, and the diff_id."""
        found = Layout(layout)
        manifest = parse(found.blob(found.entries[0]), "manifest")
        config = parse(found.blob(manifest["config"]), "configuration")
        return manifest["layers"][0], found.blob(manifest["layers"][0]), config["rootfs"]["diff_ids"][0]

    def expect_layer(self, found, wanted, what="layer"):
        for one, other in zip(self.layer(found), self.layer(wanted)):
            expect(one == other, what + (f": found {one}, wanted {other}" if type(one) != bytes else " has other bytes"))

    def from_to(self, start, target):
        """The bytes are those of a direct export, and so are they after the way back."""
        there = self.convert(self.direct[start], f"compression={target},force-compression=true")
        back = self.convert(there, f"compression={start},force-compression=true")
        self.expect_layer(there, self.direct[target])
        self.expect_layer(back, self.direct[start], "layer, after the way back")
        descriptor, packed, diff_id = self.layer(there)
        expect_equal(descriptor["mediaType"], TYPES["oci"][target], "media type")
        if target == "estargz":
            check_estargz(packed, descriptor["annotations"])
            plain = b"".join(content for _, content in gunzip_members(packed))
            expect(plain.startswith(self.tar), "the layer does not begin with the original tar")
        else:
            plain = unpack(packed, target)
            expect(plain == self.tar, "the tar is another one")
        expect_equal(diff_id, "sha256:" + hashlib.sha256(plain).hexdigest(), "diff_id")

    # --- layers that others made ---------------------------------------------------------------------------

    def layout_of(self, blob, diff_id, **descriptor):
        """An image with this one layer; `blob` None: it is not there."""
        layout = self.convert(self.direct["gzip"], "")
        found = Layout(layout)
        manifest = parse(found.blob(found.entries[0]), "manifest")
        config = parse(found.blob(manifest["config"]), "configuration")
        (layout / "blobs/sha256" / manifest["layers"][0]["digest"][7:]).unlink()

        def put(content):
            name = hashlib.sha256(content).hexdigest()
            (layout / "blobs/sha256" / name).write_bytes(content)
            return {"digest": "sha256:" + name, "size": len(content)}

        config["rootfs"]["diff_ids"] = [diff_id]
        place = put(blob) if blob is not None else {"digest": "sha256:" + "0" * 64, "size": 9}
        manifest["layers"] = [{"mediaType": TYPES["oci"]["gzip"], **place, **descriptor}]
        manifest["config"].update(put(json.dumps(config).encode()))
        found.index["manifests"][0].update(put(json.dumps(manifest).encode()))
        (layout / "index.json").write_text(json.dumps(found.index))
        return layout

    def plain_estargz(self, is_annotated):
        """The archive has no end before the table of contents, as plain writers leave it; it gets one."""
        toc_tar = io.BytesIO()
        with tarfile.open(fileobj=toc_tar, mode="w", format=tarfile.USTAR_FORMAT) as out:
            text = b'{"version":1,"entries":[]}'
            entry = tarfile.TarInfo("stargz.index.json")
            entry.size = len(text)
            out.addfile(entry, io.BytesIO(text))
        expect_equal(self.tar[-1024:], bytes(1024), "end of the tar")
        members = [self.tar[:-1024], toc_tar.getvalue()]
        packed = [gzip.compress(member, mtime=0) for member in members]
        footer = (b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x1a\0SG\x16\0" + b"%016xSTARGZ" % len(packed[0]) +
                  b"\x01\0\0\xff\xff" + bytes(8))
        diff_id = "sha256:" + hashlib.sha256(b"".join(members)).hexdigest()
        annotations = {TOC_DIGEST: "sha256:" + hashlib.sha256(text).hexdigest()} if is_annotated else {}
        base = self.layout_of(b"".join(packed) + footer, diff_id, annotations=annotations)
        made = self.convert(base, "compression=zstd,force-compression=true")
        self.expect_layer(made, self.direct["zstd"])
        lying = self.layout_of(b"".join(packed) + footer.replace(b"STARGZ", b"STARGY"), diff_id, annotations=annotations)
        message = self.command.error("--from", f"oci-layout:{lying}", "-o",
                                     "type=oci,dest=/dev/null,compression=zstd,force-compression=true")
        expect("eStargz" in message, message)

    def wrong_diff_id(self, target):
        """Wherever it is packed anew."""
        base = self.layout_of(self.layer(self.direct["gzip"])[1], "sha256:" + "1" * 64)
        message = self.command.error("--from", f"oci-layout:{base}", "-o",
                                     f"type=oci,dest=/dev/null,compression={target},force-compression=true")
        expect("sha256:" + "1" * 64 in message, message)

    def foreign(self):
        """Distributable unless that is not wanted; one that is not here stays as it is."""
        _, blob, diff_id = self.layer(self.direct["gzip"])
        here = self.layout_of(blob, diff_id, mediaType=FOREIGN, urls=[ELSEWHERE])
        descriptor = self.layer(self.convert(here, ""))[0]
        expect_equal((descriptor["mediaType"], descriptor.get("urls")), (TYPES["oci"]["gzip"], None), "distributable")
        descriptor = self.layer(self.convert(here, "prefer-nondist-layers=true"))[0]
        expect_equal((descriptor["mediaType"], descriptor.get("urls")), (FOREIGN, [ELSEWHERE]), "non-distributable")
        docker = self.layer(self.convert(here, "prefer-nondist-layers=true", kind="docker"))[0]
        expect_equal(docker["mediaType"], DOCKER + "image.rootfs.foreign.diff.tar.gzip", "Docker's media type")
        packed = self.convert(here, "prefer-nondist-layers=true,compression=zstd,force-compression=true")
        self.expect_layer(packed, self.direct["zstd"], "layer, packed anew")

        away = self.layout_of(None, diff_id, mediaType=FOREIGN, urls=[ELSEWHERE])
        layout = self.work.place("layout")
        told = self.command.run("--from", f"oci-layout:{away}", "-o", f"type=oci,tar=false,dest={layout}").stderr.decode()
        expect("sha256:" + "0" * 64 in told and "URLs" in told, f"no warning: {told}")
        found = Layout(layout)
        layer = parse(found.blob(found.entries[0]), "manifest")["layers"][0]
        expect_equal((layer["mediaType"], layer["urls"]), (FOREIGN, [ELSEWHERE]), "layer that is not here")

    def other_times(self, epoch):
        """A tar gets the times that its tree would have got."""
        file = self.work.place("tree.tar")
        file.write_bytes(self.tar)
        options = f"compression=uncompressed,rewrite-timestamp=true,source-date-epoch={epoch}"
        self.expect_layer(self.export(options, f"tar:{file}"), self.export(options, self.tree))

    def other_times_of_gnu_tar(self, form):
        """Nothing but times changes in what another program wrote."""
        tree, file, epoch = self.work.place("late"), self.work.place("gnu.tar"), 1_600_000_000
        long = {"v7": 50, "ustar": 120, "oldgnu": 200}.get(form, 300)
        for number in range(6):
            path = tree / ("d" * (long // 2)) / f"{number}{'f' * (long // 2 - 9)}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("content" * number)
            modified = 1_000_000_000_500_000_000 if number == 5 else 1_700_000_000_123_456_789
            os.utime(path, ns=(2 * 10**18, modified))
        run("tar", "--create", f"--format={form}", "--sort=name", "--file", file,
            "--directory", tree, ".")
        made = self.layer(self.export(f"compression=uncompressed,rewrite-timestamp=true,source-date-epoch={epoch}",
                                      f"tar:{file}"))[1]

        def facts(content, late):
            with tarfile.open(fileobj=io.BytesIO(content), errors="surrogateescape") as archive:
                for entry in archive:
                    times = {key: late(float(entry.pax_headers.pop(key, 0))) for key in ("atime", "ctime")}
                    entry.pax_headers.pop("mtime", None)
                    info = {key: value for key, value in entry.get_info().items() if key not in ("chksum", "mtime")}
                    data = archive.extractfile(entry).read() if entry.isfile() else None
                    yield info, late(entry.mtime), times, entry.pax_headers, data

        wanted = list(facts(file.read_bytes(), lambda time: min(time, epoch)))
        expect(wanted == list(facts(made, lambda time: time)), "the entries differ")
        expect(len(wanted) > 5, "there are no entries")
        expect(len(made) < file.stat().st_size, "padding at the end is kept")

    def without_effect(self):
        told = self.command.run("--from", f"oci-layout:{self.direct['gzip']}", "-o",
                                f"type=oci,dest={self.work.place('x')},compression=zstd").stderr.decode()
        expect("add force-compression=true" in told, f"no warning: {told}")


def main(path):
    report, command = Report(), Shiplap(path)
    with Workplace() as work:
        conversion = Conversion(command, work)
        for start in CODECS:
            for target in CODECS:
                if "zstd" in (start, target) and not has("zstd"):
                    report.skip("conversion from and to zstd", "zstd is not installed")
                    continue
                report.check(f"{start} to {target} and back", conversion.from_to, start, target)
        for is_annotated in True, False:
            report.check(f"eStargz of a plain writer, {'annotated' if is_annotated else 'by its bytes'}",
                         conversion.plain_estargz, is_annotated)
        for target in "zstd", "estargz":
            report.check(f"a wrong diff_id, on the way to {target}", conversion.wrong_diff_id, target)
        for epoch in 0, 1_000_000_000, 1_600_000_000:
            report.check(f"a tar with times up to {epoch}", conversion.other_times, epoch)
        for form in "v7", "ustar", "oldgnu", "gnu", "posix":
            report.check(f"other times in a tar of GNU tar, {form}", conversion.other_times_of_gnu_tar, form)
        report.check("layers to be fetched from elsewhere", conversion.foreign)
        report.check("a compression without effect", conversion.without_effect)
    report.exit()


main(sys.argv[1])
