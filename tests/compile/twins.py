#!/usr/bin/env python3
"""Checks that a mistake is told in the right words.

    twins.py COMPILER INCLUDE_DIR FILE.cpp

The file must compile as it is, and must fail with each -DREJECT=N that it announces in a line

    // reject N: WORD...

where the compiler's first error, with the notes that belong to it, must contain every WORD: the concept, the
expression that is missing, the type that lacks it. What the file includes is parsed once for all of them.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile


class Compiler:
    def __init__(self, program, include_dir, path, folder):
        # No excerpts of the source: its own names must not count as the compiler's words.
        excerpts = "-fno-caret-diagnostics" if "clang" in program else "-fno-diagnostics-show-caret"
        self.command = [program, "-std=c++20", "-Wall", "-Wextra", "-Werror", "-fdiagnostics-color=never", excerpts,
                        "-I", include_dir]
        self.path = path
        header = pathlib.Path(folder) / "included.hpp"
        header.write_text("".join(re.findall(r"^#include <.*\n", pathlib.Path(path).read_text(), re.MULTILINE)))
        precompiled = f"{header}.pch" if "clang" in program else f"{header}.gch"
        good, messages = self.run("-x", "c++-header", header, "-o", precompiled)
        if not good:
            sys.exit(f"what it includes does not compile:\n{messages}")
        self.included = ["-Winvalid-pch", "-include", header]

    def run(self, *options):
        result = subprocess.run([*self.command, *options], text=True, capture_output=True,
                                env={**os.environ, "LC_ALL": "C"})
        return result.returncode == 0, result.stderr

    def __call__(self, number):
        """Whether it compiles with that mistake, and the messages."""
        good, messages = self.run("-fsyntax-only", *self.included, f"-DREJECT={number}", self.path)
        # Nor may the names of files count.
        return good, re.sub(r"^(?:In file included from )?\S*/", "", messages.replace(self.path, "twin"),
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

    with tempfile.TemporaryDirectory() as folder:
        check(Compiler(compiler, include_dir, path, folder), announced)


def check(compile_, announced):
    findings = []
    good, messages = compile_(0)
    if not good:
        findings.append(f"does not compile as it is:\n{messages}")
    for number, words in announced:
        good, messages = compile_(number)
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
