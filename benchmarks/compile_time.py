#!/usr/bin/env python3
"""What a translation unit costs to compile that includes shiplap, beside the headers of the libraries it stands on.

    benchmarks/compile_time.py [RUNS [FLAG...]]       default: 5 -O0

Four sources: the headers of the other libraries alone; the barest program that uses them to export a folder into an
OCI layout, without shiplap (compile_time/barest_export.cpp); the umbrella alone; the umbrella and such an export
(tests/consume/main.cpp). For g++ and clang++, where they are installed, prints the median of the
processor time of each, how far the runs lie apart, and the ratio to the first. Runs are interleaved, so that whatever
else the machine does disturbs all alike.
"""

import pathlib
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
LIBRARIES = r"^#include <(?:nlohmann|range|cryptopp|zlib|zstd)[^>]*>$"


def seconds(compiler, flags, source):
    """Processor time of one compilation, which other programs disturb less than they do the clock."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([compiler, "-std=c++20", *flags, "-c", source, "-o", "/dev/null", f"-I{ROOT}/include"], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(runs="5", *flags):
    flags = flags or ("-O0",)
    libraries = sorted({line for path in (ROOT / "include").rglob("*.hpp")
                        for line in re.findall(LIBRARIES, path.read_text(), re.MULTILINE)})
    with tempfile.TemporaryDirectory() as folder:
        alone, umbrella = pathlib.Path(folder) / "alone.cpp", pathlib.Path(folder) / "umbrella.cpp"
        alone.write_text("\n".join(libraries) + "\n")
        umbrella.write_text("#include <shiplap/shiplap.hpp>\n")
        sources = {"other libraries alone": alone,
                   "used without shiplap": ROOT / "benchmarks/compile_time/barest_export.cpp",
                   "umbrella": umbrella, "umbrella and an export": ROOT / "tests/consume/main.cpp"}
        for compiler in filter(shutil.which, ("g++", "clang++")):
            runs_of = [[seconds(compiler, flags, source) for source in sources.values()] for _ in range(int(runs))]
            medians = [statistics.median(column) for column in zip(*runs_of)]
            print(f"{compiler} {' '.join(flags)}")
            for name, median, column in zip(sources, medians, zip(*runs_of)):
                print(f"  {name:24}{median:6.2f} s  ({min(column):.2f} to {max(column):.2f})"
                      f"  {median / medians[0]:5.2f} times")


if __name__ == "__main__":
    if sys.argv[1:] in (["-h"], ["--help"]) or not "".join(sys.argv[1:2]).isdigit() and len(sys.argv) > 1:
        sys.exit(__doc__)
    main(*sys.argv[1:])
