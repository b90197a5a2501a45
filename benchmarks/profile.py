#!/usr/bin/env python3
"""Where the processor time of whole exports goes, library by library, as `perf` samples it.

    benchmarks/profile.py COMMAND TREE...

COMMAND is shiplap, optimised; the TREEs of benchmarks/run.sh stay in ${TMPDIR:-/tmp}/shiplap-bench/whole. Each export
goes into an empty layout; prints a table for the README: processor seconds, and the share of each part.
Needs perf (Debian's linux-perf) and the right to use it.
"""

import argparse
import collections
import pathlib
import resource
import subprocess
import tempfile

JOBS = {"uncompressed": "uncompressed", "gzip": "gzip", "gzip fast": "gzip,compression-variant=isal", "zstd": "zstd",
        "estargz": "estargz", "estargz fast": "estargz,compression-variant=isal"}
PARTS = {"codec": ("libdeflate", "libisal", "libzstd"), "zlib": ("libz.so",), "SHA": ("libcrypto++",), "kernel": ("[kernel", "[unknown"),
         "C library": ("libc.so", "libstdc++", "ld-linux", "libm.so", "[vdso")}
OWN = "shiplap"


def part_of(library):
    return next((part for part, names in PARTS.items() if library.startswith(names)), OWN if library == OWN else "others")


def profile(command, tree, codec, work):
    """Processor seconds, and the share of each part."""
    samples = pathlib.Path(work, "samples")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([command, "--progress", "none", "-o", f"type=oci,tar=false,dest={work}/plain,compression={codec}", f"dir:{tree}"],
                   check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(["perf", "record", "--quiet", "--freq", "2000", "--output", samples, "--", command, "--progress", "none",
                    "-o", f"type=oci,tar=false,dest={work}/layout,compression={codec}", f"dir:{tree}"], check=True, stdout=subprocess.DEVNULL)
    report = subprocess.run(["perf", "report", "--input", samples, "--no-children", "--sort", "dso", "--field-separator", "|", "--percent-limit", "0"],
                            check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
    shares = collections.Counter()
    for line in report.splitlines():
        if line.strip() and not line.startswith("#"):
            share, library = line.split("|")[:2]
            shares[part_of(library.strip())] += float(share.strip().rstrip("%"))
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, shares


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command")
    parser.add_argument("tree", nargs="+")
    arguments = parser.parse_args()
    parts = [*PARTS, OWN, "others"]
    print(f"| job | CPU s | {' | '.join(parts)} |")
    print("|---" + "|---:" * (len(parts) + 1) + "|")
    for tree in arguments.tree:
        for job, codec in JOBS.items():
            with tempfile.TemporaryDirectory() as work:
                cpu, shares = profile(arguments.command, tree, codec, work)
            print(f"| {pathlib.Path(tree).name}/{job} | {cpu:.2f} | " + " | ".join(f"{shares[part]:.0f} %" for part in parts) + " |", flush=True)


if __name__ == "__main__":
    main()
