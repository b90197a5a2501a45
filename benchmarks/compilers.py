"""What compile_time.py and binary_size.py share: which compilers there are, and runs of them side by side."""

import concurrent.futures
import functools
import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]

# How it is called in tables -> where it is looked for, and who has it.
KNOWN = {"g++": (["g++-12", "g++"], "g++"), "clang++": (["clang++-14", "clang++"], "clang-14")}


def present(wanted):
    """Name -> path of the compilers that are here, of a comma-separated list of names; says which are not."""
    found = {}
    for name in wanted.split(","):
        if name not in KNOWN:
            sys.exit(f"there is no compiler '{name}' here, only {' and '.join(KNOWN)}")
        candidates, package = KNOWN[name]
        path = next(filter(None, map(shutil.which, candidates)), None)
        if path:
            found[name] = path
        else:
            print(f"{name} is left out: it is not installed (Debian package {package})", file=sys.stderr)
    if not found:
        sys.exit("there is no compiler to measure")
    return found


class Failed(Exception):
    """A compiler found fault; its first complaint."""


def run(command):
    """Runs a compiler; returns its processor time in seconds, which other programs disturb less than the clock."""
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    complaint = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise Failed(next((line for line in complaint.splitlines() if "error" in line), complaint[:500]))
    return used.ru_utime + used.ru_stime


def each(function, things, what):
    """List of function(thing), several at a time; counts on a terminal."""
    shown = sys.stderr.isatty()
    things = list(things)
    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        results = []
        for result in pool.map(function, things):
            results.append(result)
            if shown:
                print(f"\r{what}: {len(results)} of {len(things)} ", end="", file=sys.stderr, flush=True)
    if shown:
        print("\r\033[K", end="", file=sys.stderr)
    return results


@functools.cache
def has_library(compiler, name):
    """Whether lib<name>.so or .a is where the compiler looks for it."""
    for suffix in "so", "a":
        file = f"lib{name}.{suffix}"
        if subprocess.run([compiler, f"-print-file-name={file}"], stdout=subprocess.PIPE, text=True).stdout.strip() != file:
            return True
    return False
