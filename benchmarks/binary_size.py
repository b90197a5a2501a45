#!/usr/bin/env python3
"""How large programs get that use shiplap, and what one more codec, sink or digest adds.

    benchmarks/binary_size.py [--only WORD] [--compilers LIST] [--flags LIST] [--command] [--list]

Each program is compiled and linked with shared libraries, for each compiler and each of the flags, and stripped. Printed are
KiB of text (code and constants) and data, as size(1) counts, and of the stripped file; then how much text programs with
one more exporter<...> have than the one with a single exporter<gzip, ...>. The command is left out without --command,
as it takes as long again. One compiler with one of the flags takes two minutes on two processors, so all four eight.
"""

import argparse
import itertools
import pathlib
import shutil
import subprocess
import tempfile

import compilers
from compilers import ROOT

LIBRARIES = "curl", "z", "zstd", "cryptopp", "deflate", "isal"  # the linker leaves out those that are not used

START = """#include <shiplap/shiplap.hpp>
using namespace shiplap;
static build_result const input{.layers = {directory_layer{"app"}}};
"""
EXPORTERS = {  # name -> codec, media types, digest, sink
    "uncompressed, oci, sha256, layout": ("uncompressed", "oci", "sha256", "layout"),
    "gzip, oci, sha256, layout": ("gzip", "oci", "sha256", "layout"),
    "+ codec uncompressed": ("uncompressed", "oci", "sha256", "layout"),
    "+ codec estargz": ("estargz", "oci", "sha256", "layout"),
    "+ codec zstd": ("zstd", "oci", "sha256", "layout"),
    "+ digest sha512": ("gzip", "oci", "sha512", "layout"),
    "+ media types of docker": ("gzip", "docker", "sha256", "layout"),
    "+ sink oci archive": ("gzip", "oci", "sha256", "oci_archive"),
    "+ sink docker archive": ("gzip", "docker", "sha256", "docker_archive"),
    "+ sink file system": ("gzip", "oci", "sha256", "filesystem"),
    "+ sink registry": ("gzip", "oci", "sha256", "registry"),
}
BASE = "gzip, oci, sha256, layout"
ALL_AXES = tuple(itertools.product(("uncompressed", "gzip", "estargz"), ("oci", "docker"), ("sha256", "sha512"),
                                   ("layout", "oci_archive", "filesystem", "registry")))


def program(*policies):
    """Source text of a program with one exporter for each (codec, media types, digest, sink)."""
    text = START
    if any(sink == "registry" for *_, sink in policies):
        text = "#include <shiplap/registry/curl.hpp>\n" + text
    calls = ""
    for codec, types, digest, sink in policies:
        place = ('curl_registries{}.sink({reference::parse("r.example/app:1")})' if sink == "registry"
                 else f'{sink}_sink{{"out"}}')
        calls += f"    (void)exporter{{{codec}{{}}, {types}_media_types{{}}, {digest}{{}}, {place}}}(input);\n"
    return f"{text}int main() {{\n{calls}}}\n"


def programs():
    """Name -> source text."""
    made = {"empty main": "int main() {}\n"}
    for name, policies in EXPORTERS.items():
        made[name] = program(EXPORTERS[BASE], policies) if name.startswith("+") else program(policies)
    made[f"all axes: {len(ALL_AXES)} exporters"] = program(*ALL_AXES)
    made["chosen at run time, without registry"] = START + """int main(int, char** words) {
    (void)export_image(export_spec::from(parse_attributes(words[1])), input);
}
"""
    return made


def commands_sources():
    return sorted((ROOT / "examples/shiplap").glob("*.cpp"))


class Build:
    """All programs, compiled with one compiler and one set of flags."""

    def __init__(self, name, compiler, flags, folder):
        self.title, self.compiler, self.flags = f"{name} {flags}", compiler, flags.split()
        self.folder = pathlib.Path(folder) / f"{name}{flags}".replace(" ", "")
        self.folder.mkdir()

    def object_of(self, source):
        return self.folder / f"{source.parent.name}-{source.stem}.o"

    def compile(self, source):
        """The complaint, if there is one."""
        try:
            compilers.run([self.compiler, "-std=c++20", *self.flags, "-DNDEBUG", f"-I{ROOT}/include", "-c", source, "-o",
                           self.object_of(source)])
        except compilers.Failed as problem:
            return problem
        return None

    def measure(self, sources):
        """KiB of text, data and the stripped file."""
        output = self.folder / "program"
        libraries = [f"-l{name}" for name in LIBRARIES if compilers.has_library(self.compiler, name)]
        compilers.run([self.compiler, *self.flags, *map(self.object_of, sources), "-o", output, "-s", "-pthread",
                       "-Wl,--as-needed", *libraries])
        text, data = subprocess.run(["size", output], check=True, stdout=subprocess.PIPE,
                                    text=True).stdout.splitlines()[1].split()[:2]
        return tuple(size / 1024 for size in (int(text), int(data), output.stat().st_size))


def tables(names, builds, sizes):
    width = max(map(len, names))
    print(f"{'KiB':{width}}" + "".join(f"  {build.title:>24}" for build in builds))
    print(f"{'':{width}}" + "  {:>8}{:>8}{:>8}".format("text", "data", "file") * len(builds))
    for name in names:
        cells = (sizes.get((build, name)) for build in builds)
        print(f"{name:{width}}" + "".join("  {:8.1f}{:8.1f}{:8.1f}".format(*cell) if cell else f"  {'failed':>24}"
                                          for cell in cells))
    added = [name for name in names if name.startswith("+") and all((build, name) in sizes for build in builds)]
    if not added or not all((build, BASE) in sizes for build in builds):
        return
    print(f"\n{'text more than ' + BASE:{width}}" + "".join(f"  {build.title:>14}" for build in builds))
    for name in added:
        print(f"{name:{width}}" + "".join(f"  {sizes[build, name][0] - sizes[build, BASE][0]:14.1f}" for build in builds))


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--only", default="", metavar="WORD", help="programs whose name has this in it")
    arguments.add_argument("--compilers", default=",".join(compilers.KNOWN))
    arguments.add_argument("--flags", default="-O2,-Os", help="comma-separated (default: -O2,-Os; use --flags=...)")
    arguments.add_argument("--command", action="store_true", help="also the command shiplap")
    arguments.add_argument("--list", action="store_true", help="names of the programs, nothing else")
    given = arguments.parse_args()
    texts = {name: text for name, text in programs().items() if given.only in name or name == BASE}
    if given.list:
        print("\n".join(texts))
        return None
    if not shutil.which("size"):
        return "size is needed (Debian package binutils)"

    with tempfile.TemporaryDirectory() as folder:
        sources = {}
        for number, (name, text) in enumerate(texts.items()):
            sources[name] = [pathlib.Path(folder) / f"{number}.cpp"]
            sources[name][0].write_text(text)
        if given.command:
            sources["the command shiplap"] = commands_sources()
        builds = [Build(name, path, flags, folder) for name, path in compilers.present(given.compilers).items()
                  for flags in given.flags.split(",")]

        jobs = [(build, source) for build in builds for some in sources.values() for source in some]
        complaints = dict(zip(jobs, compilers.each(lambda job: job[0].compile(job[1]), jobs, "objects")))
        sizes, failures = {}, []
        for build, (name, some) in itertools.product(builds, sources.items()):
            problem = next(filter(None, (complaints[build, source] for source in some)), None)
            try:
                if problem:
                    raise problem
                sizes[build, name] = build.measure(some)
            except compilers.Failed as failure:
                failures.append(f"{name}, {build.title}: {failure}")
        tables(list(sources), builds, sizes)
    return "\n" + "\n".join(failures) if failures else None


if __name__ == "__main__":
    raise SystemExit(main())
