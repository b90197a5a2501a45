#!/usr/bin/env python3
"""What it costs to compile against shiplap: seconds and instantiations.

    benchmarks/compile_time.py [--runs N] [--header-runs N] [--only WORD] [--parts LIST] [--compilers LIST] [FLAG...]

Three parts, or those that --parts names:

    programs   The headers of the other libraries alone; the barest program that uses them to export a folder into an
               OCI layout, without shiplap (compile_time/barest_export.cpp); the umbrella alone; the umbrella and such
               an export (tests/consume/main.cpp). Median of N runs, and the ratio to the first
    headers    Each public header alone: processor time, and of it what is left when the headers of the other libraries
               that it includes, compiled alone, are taken off ("own": shiplap and the standard library). Instantiations
               are those that clang does, again less those of the other libraries' headers. --only restricts them to
               headers whose path has WORD in it
    trace      Where clang spends the time of the umbrella and an export: by whose headers, the costliest ones of shiplap,
               and the templates that are instantiated most

FLAGs go to the compiler, default: -O0. All three parts take six minutes on two processors that are idle.
"""

import argparse
import collections
import functools
import json
import pathlib
import re
import statistics
import tempfile

import compilers
from compilers import ROOT

INCLUDE = ROOT / "include"
LIBRARIES = {"nlohmann": "nlohmann/", "range-v3": "range/v3/", "Crypto++": "cryptopp/", "zlib": "zlib", "zstd": "zstd",
             "curl": "curl/", "libdeflate": "libdeflate", "ISA-L": "isa-l"}
IS_LIBRARY = re.compile("(?:" + "|".join(LIBRARIES.values()) + r")[^>]*")
EXPORT = ROOT / "tests/consume/main.cpp"


@functools.cache
def libraries_of(header):
    """The other libraries' headers that a header of ours, given relative to include/, includes by itself or through others."""
    found = set()
    for name in re.findall(r"^#include <([^>]+)>", (INCLUDE / header).read_text(), re.MULTILINE):
        if name.startswith("shiplap/"):
            found |= libraries_of(name)
        elif IS_LIBRARY.fullmatch(name):
            found.add(name)
    return frozenset(found)


def public_headers(word=""):
    """The umbrella first, then folder by folder."""
    names = [path.relative_to(INCLUDE).as_posix() for path in INCLUDE.rglob("*.hpp")]
    return sorted((name for name in names if word in name), key=lambda name: (name.count("/") > 1, name))


class Sources:
    """Translation units that include some headers and nothing else, in a folder of their own."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)

    @functools.cache
    def including(self, headers):
        path = self.folder / f"{hash(headers) & 0xffffffffffff:x}.cpp"
        path.write_text("".join(f"#include <{header}>\n" for header in sorted(headers)))
        return path


def seconds(compiler, flags, source):
    return compilers.run([compiler, "-std=c++20", *flags, "-c", source, "-o", "/dev/null", f"-I{INCLUDE}"])


def trace(clang, source, folder):
    """What clang has to say about one compilation: its events."""
    with tempfile.TemporaryDirectory(dir=folder) as mine:
        name = pathlib.Path(mine) / "trace.o"
        compilers.run([clang, "-std=c++20", "-O0", "-ftime-trace", "-ftime-trace-granularity=0", "-c", source, "-o", name,
                       f"-I{INCLUDE}"])
        return json.loads(name.with_suffix(".json").read_text())["traceEvents"]


def instantiations(clang, source, folder):
    """(classes, functions)"""
    names = collections.Counter(event["name"] for event in trace(clang, source, folder))
    return names["InstantiateClass"], names["InstantiateFunction"]


# --- the three parts ---


def programs(given, found, sources):
    umbrella = frozenset({"shiplap/shiplap.hpp"})
    units = {"other libraries alone": sources.including(libraries_of("shiplap/shiplap.hpp")),
             "used without shiplap": ROOT / "benchmarks/compile_time/barest_export.cpp",
             "umbrella": sources.including(umbrella), "umbrella and an export": EXPORT}
    for name, compiler in found.items():
        # Interleaved, so that whatever else the machine does disturbs all alike.
        runs = [[seconds(compiler, given.flags, unit) for unit in units.values()] for _ in range(given.runs)]
        print(f"\n{name} {' '.join(given.flags)}")
        medians = [statistics.median(column) for column in zip(*runs)]
        for unit, median, column in zip(units, medians, zip(*runs)):
            print(f"  {unit:24}{median:6.2f} s  ({min(column):.2f} to {max(column):.2f})  {median / medians[0]:5.2f} times")


def headers(given, found, sources):
    wanted = public_headers(given.only)
    if not wanted:
        raise SystemExit(f"no header has '{given.only}' in its path")
    units = {name: frozenset({name}) for name in wanted}
    everything = list({*units.values(), *map(libraries_of, wanted)})
    failures = {}

    def measured(unit):
        source, result = sources.including(unit), {}
        try:
            for name, compiler in found.items():
                result[name] = statistics.median(seconds(compiler, given.flags, source) for _ in range(given.header_runs))
            if "clang++" in found:
                result["classes"], result["functions"] = instantiations(found["clang++"], source, sources.folder)
        except compilers.Failed as problem:
            failures[unit] = problem
        return result

    costs = dict(zip(everything, compilers.each(measured, everything, "headers")))
    columns = [*found, *(["classes", "functions"] if "clang++" in found else [])]
    rows = []
    for name, unit in units.items():
        base = libraries_of(name)
        if unit not in failures and base not in failures:
            rows.append((name, costs[unit], {column: costs[unit][column] - costs[base][column] for column in columns}))

    def line(name, cost, own):
        cells = [f"{cost[column]:8.2f}{own[column]:7.2f}" if column in found else f"{cost[column]:10}{own[column]:8}"
                 for column in columns]
        return f"{name.removeprefix('shiplap/'):36}" + " ".join(cells)

    title = f"{'':36}" + " ".join(f"{column:>{8 if column in found else 10}}{'own':>{7 if column in found else 8}}"
                                  for column in columns)
    print(f"\neach header alone, {' '.join(given.flags)}: seconds; instantiations of classes and functions\n{title}")
    for row in rows:
        print(line(*row))
    if len(rows) > 15:
        print(f"\nthe ones with most time of their own\n{title}")
        for row in sorted(rows, key=lambda row: -sum(row[2][name] for name in found))[:15]:
            print(line(*row))
    for unit, problem in failures.items():
        print(f"could not be compiled: {' '.join(sorted(unit))}: {problem}")
    return bool(failures)


def owner(path):
    """Whose a source file is."""
    if str(INCLUDE) in path:
        return "shiplap"
    for name, start in LIBRARIES.items():
        if f"/include/{start}" in path:
            return name
    return "C++ standard library" if "/c++/" in path else "C library and others"


def own_times(events):
    """Path -> seconds spent in a file, without those that it includes."""
    times, open_ones = collections.Counter(), []
    sources = [event for event in events if event["name"] == "Source"]
    for event in sorted(sources, key=lambda event: (event["ts"], -event["dur"])):
        while open_ones and open_ones[-1]["ts"] + open_ones[-1]["dur"] <= event["ts"]:
            open_ones.pop()
        if open_ones:
            times[open_ones[-1]["args"]["detail"]] -= event["dur"] / 1e6
        times[event["args"]["detail"]] += event["dur"] / 1e6
        open_ones.append(event)
    return times


def show_trace(given, found, sources):
    if "clang++" not in found:
        print("\nno trace: only clang++ writes one")
        return
    events = trace(found["clang++"], EXPORT, sources.folder)
    times, whose = own_times(events), collections.Counter()
    for path, time in times.items():
        whose[owner(path)] += time
    for event in events:  # what is done after the last line of the source was read
        if event["name"] in ("PerformPendingInstantiations", "Backend"):
            whose[{"Backend": "code generation"}.get(event["name"], "functions instantiated at the end")] += event["dur"] / 1e6
    print("\nthe umbrella and an export, clang++ -O0 (tracing takes time, too)")
    for name, time in whose.most_common():
        print(f"  {time:6.2f} s  {name}")

    print("\nfiles of shiplap, without what they include")
    for path, time in [item for item in times.most_common() if owner(item[0]) == "shiplap"][:15]:
        print(f"  {time:6.3f} s  {pathlib.Path(path).relative_to(INCLUDE)}")
    print("\nother files, without what they include")
    for path, time in [item for item in times.most_common() if owner(item[0]) != "shiplap"][:15]:
        print(f"  {time:6.3f} s  {path.rsplit('/include/', 1)[-1]}")

    for kind, what in ("InstantiateClass", "class"), ("InstantiateFunction", "function"):
        count, time = collections.Counter(), collections.Counter()
        for event in events:
            if event["name"] == kind:
                template = re.split(r"[<(]", event["args"]["detail"], maxsplit=1)[0]
                count[template] += 1
                time[template] += event["dur"] / 1e6
        print(f"\n{what} templates by instantiations, {count.total()} in all (seconds: nested ones count again)")
        for template, number in count.most_common(15):
            print(f"  {number:6}  {time[template]:6.3f} s  {template}")


PARTS = {"programs": programs, "headers": headers, "trace": show_trace}


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--runs", type=int, default=3, help="of each program (default: 3)")
    arguments.add_argument("--header-runs", type=int, default=1, help="of each header (default: 1)")
    arguments.add_argument("--only", default="", metavar="WORD", help="headers whose path has this in it")
    arguments.add_argument("--parts", default=",".join(PARTS))
    arguments.add_argument("--compilers", default=",".join(compilers.KNOWN))
    given, given.flags = arguments.parse_known_args()
    given.flags = given.flags or ["-O0"]
    unknown = [part for part in given.parts.split(",") if part not in PARTS]
    if unknown:
        arguments.error(f"there is no part '{unknown[0]}', only {', '.join(PARTS)}")
    if min(given.runs, given.header_runs) < 1:
        arguments.error("a median needs a run")
    found = compilers.present(given.compilers)
    try:
        with tempfile.TemporaryDirectory() as folder:
            sources = Sources(folder)
            return any([PARTS[part](given, found, sources) for part in given.parts.split(",")])
    except compilers.Failed as problem:
        return f"could not be compiled: {problem}"


if __name__ == "__main__":
    raise SystemExit(main())
