#!/usr/bin/env python3
"""Checks that a mistake is told in the right words.

    twins.py COMPILER INCLUDE_DIR FILE.cpp

The file must compile as it is, and must fail with each -DREJECT=N that it announces in a line

    // reject N: WORD...

where the compiler's first error, with the notes that belong to it, must contain every WORD: the concept, the
expression that is missing, the type that lacks it.
"""

import os
import re
import subprocess
import sys


def compile_(compiler, include_dir, path, *options):
    # No excerpts of the source: its own names must not count as the compiler's words.
    excerpts = "-fno-caret-diagnostics" if "clang" in compiler else "-fno-diagnostics-show-caret"
    command = [compiler, "-std=c++20", "-fsyntax-only", "-Wall", "-Wextra", "-Werror",
               "-fdiagnostics-color=never", excerpts, "-I", include_dir, *options, path]
    result = subprocess.run(command, text=True, capture_output=True, env={**os.environ, "LC_ALL": "C"})
    # Nor may the names of its files.
    return result.returncode == 0, re.sub(r"^(?:In file included from )?\S*/", "", result.stderr.replace(path, "twin"),
                                          flags=re.MULTILINE)


def first_error(messages):
    """The first error with the notes that follow it."""
    parts = re.split(r"^(?=.*?: (?:fatal )?error: )", messages, flags=re.MULTILINE)
    return parts[1] if len(parts) > 1 else ""


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    compiler, include_dir, path = sys.argv[1:]
    with open(path) as file:
        announced = re.findall(r"^// reject (\d+): (.+)$", file.read(), re.MULTILINE)
    if not announced:
        sys.exit(f"{path}: announces no rejection")

    findings = []
    good, messages = compile_(compiler, include_dir, path, "-DREJECT=0")
    if not good:
        findings.append(f"does not compile as it is:\n{messages}")
    for number, words in announced:
        good, messages = compile_(compiler, include_dir, path, f"-DREJECT={number}")
        if good:
            findings.append(f"REJECT={number} compiles")
            continue
        error = first_error(messages)
        missing = [word for word in words.split() if word not in error]
        if missing:
            findings.append(f"REJECT={number}: the first error does not say {', '.join(missing)}:\n{error or messages}")
        else:
            print(f"REJECT={number}: {error.splitlines()[0]}")
    if findings:
        sys.exit("\n".join(findings))


if __name__ == "__main__":
    main()
