#!/usr/bin/env python3
"""Checks of the source as text: check.py include-order | umbrella | mirror | format CLANG_FORMAT |
self-contained COMPILER

Exit status: 0 fine, 1 findings (printed), 77 could not be checked here.
"""

import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
HEADERS = ROOT / "include"
LIBRARY = HEADERS / "shiplap"

# Each folder may include itself and those before it.
FOLDERS = ["bytes", "digest", "tar", "codec", "image", "store", "layer", "sink", "registry", "export"]
# Root headers that everybody may include; the others sit on top of all folders.
FOUNDATION = {"error.hpp", "version.hpp"}
# Folders that the umbrella leaves out, because they need a library beyond the core, and the header that has them all;
# and single headers of that kind.
EXTRA_COMPONENTS = {"registry": "curl.hpp"}
EXTRA_HEADERS = {"codec/libdeflate_backend.hpp", "codec/isal_backend.hpp"}


def headers():
    return sorted(LIBRARY.rglob("*.hpp"))


def includes(path, pattern=r"<(shiplap/[^>]+)>"):
    text = path.read_text()
    return re.findall(rf"^[ \t]*#[ \t]*include[ \t]*{pattern}", text, re.MULTILINE)


def height(header):
    """Position of a header, given relative to include/shiplap, in the order of folders."""
    folder = header.split("/")[0] if "/" in header else None
    if folder is None:
        return -1 if header in FOUNDATION else len(FOLDERS)
    return FOLDERS.index(folder) if folder in FOLDERS else None


def include_order():
    findings = []
    for path in headers():
        name = path.relative_to(LIBRARY).as_posix()
        if height(name) is None:
            findings.append(f"{name}: folder is not in the order {' <- '.join(FOLDERS)}")
            continue
        for quoted in includes(path, r'"([^"]+)"'):
            findings.append(f'{name}: write <shiplap/...> instead of "{quoted}"')
        for included in includes(path):
            other = included.removeprefix("shiplap/")
            if not (HEADERS / included).exists():
                findings.append(f"{name}: includes {included}, which does not exist")
            elif height(other) is None or height(other) > height(name):
                findings.append(f"{name}: must not include {other}, which lies above it")
    return findings


def gathers(gatherer, wanted):
    """Whether `gatherer` includes each of `wanted`, once; the umbrella nothing else of ours."""
    name = gatherer.relative_to(LIBRARY)
    wanted = {path.relative_to(HEADERS).as_posix() for path in wanted if path != gatherer}
    found = includes(gatherer)
    findings = [f"{name} lacks #include <{header}>" for header in sorted(wanted - set(found))]
    findings += [f"{name} should not include {header}" for header in sorted(set(found) - wanted)
                 if gatherer.parent == LIBRARY]
    findings += [f"{name} includes {header} twice" for header in sorted(set(found)) if found.count(header) > 1]
    return findings


def umbrella():
    core = [path for path in headers() if path.relative_to(LIBRARY).parts[0] not in EXTRA_COMPONENTS and
            path.relative_to(LIBRARY).as_posix() not in EXTRA_HEADERS]
    findings = gathers(LIBRARY / "shiplap.hpp", core)
    for folder, gatherer in EXTRA_COMPONENTS.items():
        findings += gathers(LIBRARY / folder / gatherer, sorted((LIBRARY / folder).glob("*.hpp")))
    return findings


def mirror():
    findings = []
    for path in headers():
        name = path.relative_to(LIBRARY)
        test = ROOT / "tests" / name.with_suffix(".cpp")
        if not test.exists():
            findings.append(f"{name}: has no {test.relative_to(ROOT)}")
            continue
        if f"shiplap/{name.as_posix()}" not in includes(test):
            findings.append(f"{test.relative_to(ROOT)}: should include <shiplap/{name.as_posix()}>")
    return findings


def format_(tool="clang-format-14"):
    files = [path for folder in ("include", "tests", "examples", "benchmarks")
             for path in sorted((ROOT / folder).rglob("*")) if path.suffix in (".hpp", ".cpp")]
    try:
        result = subprocess.run([tool, "--dry-run", "-Werror", *files], cwd=ROOT, text=True, capture_output=True)
    except FileNotFoundError:
        print("not checked: clang-format-14 is not installed")
        sys.exit(77)
    wrong = dict.fromkeys(re.findall(r"^(.+?):\d+:\d+: error: code should be clang-formatted", result.stderr,
                                     re.MULTILINE))
    if not wrong:
        return [result.stderr] if result.returncode else []
    return [f"{pathlib.Path(path).relative_to(ROOT)}: run {tool} -i on it" for path in wrong]


def chains():
    """All headers, in as few sequences as there can be in which each header includes, if not directly, the one before."""
    below = {}

    def closure(header):
        if header not in below:
            own = [name for name in includes(HEADERS / header) if (HEADERS / name).exists()]
            below[header] = set(own).union(*map(closure, own))
        return below[header]

    names = [path.relative_to(HEADERS).as_posix() for path in headers()]
    before = {}  # header -> the one before it

    def follows(header, tried):
        """Finds a header to put behind this one; those that stand elsewhere by now may have to move."""
        for other in names:
            if header in closure(other) and other not in tried:
                tried.add(other)
                if other not in before or follows(before[other], tried):
                    before[other] = header
                    return True
        return False

    for name in names:
        follows(name, set())
    after = {first: second for second, first in before.items()}
    for name in names:
        if name not in before:
            chain = [name]
            while chain[-1] in after:
                chain.append(after[chain[-1]])
            yield chain


def self_contained(compiler):
    """Every header compiles alone, without anything included before it.

    What a header includes itself may come first, so one run of the compiler checks a chain of them.
    """
    def complaints(chain):
        result = subprocess.run([compiler, "-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-Wpedantic",
                                 "-Wconversion", "-Wshadow", "-Werror", "-I", HEADERS, "-x", "c++", "-"],
                                input="".join(f"#include <{name}>\n" for name in chain), text=True,
                                capture_output=True)
        return [f"{' then '.join(chain)}: {result.stderr}"] if result.returncode else []

    with concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return [complaint for found in pool.map(complaints, chains()) for complaint in found]


CHECKS = {"self-contained": self_contained, "include-order": include_order, "umbrella": umbrella, "mirror": mirror, "format": format_}

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in CHECKS:
        sys.exit(__doc__)
    problems = CHECKS[sys.argv[1]](*sys.argv[2:])
    print("\n".join(problems) if problems else f"{sys.argv[1]}: fine, {len(headers())} headers")
    sys.exit(1 if problems else 0)
