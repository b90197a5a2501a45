#!/usr/bin/env python3
"""Makes single_include/shiplap/*.hpp out of include/: a pure function of those files.

    shiplap.hpp               the umbrella
    shiplap_curl.hpp          what needs libcurl, on top of it
    shiplap_libdeflate.hpp    what needs libdeflate, on top of it
    shiplap_isal.hpp          what needs ISA-L, on top of it

    amalgamate.py            writes them
    amalgamate.py --check    compares; exit status 1 and a diff if it is out of date

Headers follow each other so that each stands behind those it includes. Includes of other libraries are
gathered at the top, sorted, once each; those inside an #if stay where they are.
"""

import difflib
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
HEADERS = ROOT / "include"
OUTPUT = ROOT / "single_include/shiplap"

INCLUDE = re.compile(r'\s*#\s*include\s*([<"])([^>"]+)[>"]')
CONDITION = re.compile(r"\s*#\s*(if|ifdef|ifndef|endif)\b")
DEFINE = re.compile(r"\s*#\s*(define|undef)\b")


class Amalgamation:
    def __init__(self, seen=(), external=()):
        self.seen = set(seen)  # headers that stand elsewhere already
        self.external = set(external)
        self.body = []

    def add(self, name):
        if name in self.seen:
            return
        self.seen.add(name)
        lines = []
        depth, defined = 0, False
        for number, line in enumerate((HEADERS / name).read_text().splitlines(), 1):
            if line.strip() == "#pragma once":
                continue
            if condition := CONDITION.match(line):
                depth += -1 if condition[1] == "endif" else 1
            elif DEFINE.match(line):
                defined = True
            elif include := INCLUDE.match(line):
                style, target = include.groups()
                ours = target.startswith("shiplap/")
                problem = (
                    "write <...>" if style == '"'
                    else "an #if around it cannot be kept" if ours and depth
                    else "no such header" if ours and not (HEADERS / target).exists()
                    else "a #define above it would lose its effect" if defined and not depth
                    else None
                )
                if problem:
                    sys.exit(f"{name}:{number}: {line.strip()}: {problem}")
                if ours:
                    self.add(target)
                    continue
                if not depth:
                    self.external.add(f"#include <{target}>")
                    continue
            lines.append(line)
        text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")
        self.body.append(f"// === {name} ===\n\n{text}\n")

    def text(self, about, more=()):
        external = sorted(self.external, key=lambda line: ("/" not in line and ".h" not in line, line))
        return "\n".join([
            "#pragma once",
            f"// {about} Made from include/ by single_include/amalgamate.py; edit there, not here.",
            "",
            *more,
            *external,
            "",
            *self.body,
        ])


# One for each library beyond the core: what it brings, and the header that has it all.
COMPONENTS = {
    "curl": ("What shiplap has for registries, which needs libcurl, in one header.", "registry/curl.hpp"),
    "libdeflate": ("Deflate by libdeflate.", "codec/libdeflate_backend.hpp"),
    "isal": ("Deflate by ISA-L.", "codec/isal_backend.hpp"),
}


def made():
    core = Amalgamation()
    core.add("shiplap/shiplap.hpp")
    files = {"shiplap.hpp": core.text("All of shiplap in one header.")}
    for name, (purpose, header) in COMPONENTS.items():
        extra = Amalgamation(core.seen)
        extra.add("shiplap/" + header)
        extra.external -= core.external
        files[f"shiplap_{name}.hpp"] = extra.text(purpose, ["#include <shiplap/shiplap.hpp>", ""])
    return files


def main():
    if sys.argv[1:] not in ([], ["--check"]):
        sys.exit(__doc__)
    OUTPUT.mkdir(exist_ok=True)
    stale = False
    for name, new in made().items():
        path = OUTPUT / name
        old = path.read_text() if path.exists() else ""
        if not sys.argv[1:]:
            path.write_text(new)
        elif old != new:
            diff = difflib.unified_diff(old.splitlines(), new.splitlines(), "as it is", "as it should be", lineterm="",
                                        n=1)
            print("\n".join(list(diff)[:40]))
            stale = True
            print(f"{path.relative_to(ROOT)} is out of date. Run: single_include/amalgamate.py")
        else:
            print(f"{path.relative_to(ROOT)} is up to date")
    sys.exit(1 if stale else 0)


if __name__ == "__main__":
    main()
