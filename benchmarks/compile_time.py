#!/usr/bin/env python3
"""How much compile time shiplap adds to that of the libraries it stands on.

    benchmarks/compile_time.py [COMPILER [RUNS]]      default: g++ 5

Compares one translation unit that includes the umbrella and exports a folder with one that includes nothing but
the headers of other libraries, as a ratio of medians, the runs interleaved. Exit status 1 if it is above 1.6.
"""

import pathlib
import re
import resource
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
LIMIT = 1.6


def compile_(compiler, source):
    """Seconds of processor time, which other programs on the machine disturb less than the clock."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([compiler, "-std=c++20", "-c", source, "-o", "/dev/null", f"-I{ROOT}/include"], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(compiler="g++", runs="5"):
    libraries = sorted({line for path in (ROOT / "include").rglob("*.hpp")
                        for line in re.findall(r"^#include <(?:nlohmann|range|cryptopp|zlib|zstd).*>$", path.read_text(),
                                               re.MULTILINE)})
    with tempfile.TemporaryDirectory() as folder:
        baseline = pathlib.Path(folder) / "baseline.cpp"
        baseline.write_text("\n".join(libraries) + "\nint main() {}\n")
        exports = ROOT / "tests/consume/main.cpp"
        times = [(compile_(compiler, baseline), compile_(compiler, exports)) for _ in range(int(runs))]
    without, with_ = (statistics.median(column) for column in zip(*times))
    ratio = with_ / without
    print(f"{compiler}: other libraries alone {without:.2f} s, shiplap and an export {with_:.2f} s, "
          f"ratio {ratio:.2f} (limit {LIMIT})")
    return 0 if ratio <= LIMIT else 1


if __name__ == "__main__":
    if sys.argv[1:] in (["-h"], ["--help"]) or len(sys.argv) > 3:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
