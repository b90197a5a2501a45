#!/usr/bin/env python3
"""What each stage costs on top of the bare calls that it is built on.

    benchmarks/stages.py PROGRAM [--runs N] [--seconds S] [--only REGEX]

PROGRAM is shiplap_benchmarks, in benchmarks/ of a build folder (best of the preset `default`: others do not optimise).
It has pairs `stage/x` and `baseline/x` that do the same. Prints of each pair the median time of the stage and its rate
(bytes, or where there are none items, by the clock), the ratio of both medians by the clock and in processor time of all threads,
and how far the runs lie apart: half of what is between the first and third quartile, in percent of the median, of
the worse of the two. The order of runs is random, so that whatever else the machine does disturbs all alike.
"""

import argparse
import collections
import json
import re
import statistics
import subprocess
import sys


def measured(program, runs, seconds, only):
    """name -> kind ("stage" or "baseline") -> list of runs."""
    done = subprocess.run([program, f"--benchmark_repetitions={runs}", f"--benchmark_min_time={seconds}",
                           "--benchmark_enable_random_interleaving=true", "--benchmark_format=json",
                           f"--benchmark_filter=^(stage|baseline)/.*({only})"],
                          stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"{program} has failed with status {done.returncode}")
    found = collections.defaultdict(lambda: collections.defaultdict(list))
    rows = json.loads(done.stdout)["benchmarks"] if done.stdout.strip() else []
    for row in sorted(rows, key=lambda row: row["family_index"]):  # as they stand in the sources
        if row.get("error_occurred"):
            sys.exit(f"{row['name']}: {row['error_message']}")
        if row["run_type"] == "iteration":
            kind, name = row["run_name"].removesuffix("/process_time/real_time").split("/", 1)
            found[name][kind].append(row)
    return found


def median(rows, column):
    return statistics.median(row[column] for row in rows)


def spread(rows):
    """Half of the distance of the quartiles, in percent of the median."""
    if len(rows) < 2:
        return 0.0
    first, middle, third = statistics.quantiles([row["real_time"] for row in rows], n=4, method="inclusive")
    return 50 * (third - first) / middle


def rate(rows):
    if "bytes_per_second" in rows[0]:
        return f"{median(rows, 'bytes_per_second') / 1e6:10,.0f} MB/s"
    return f"{median(rows, 'items_per_second') / 1e3:10,.0f} k/s "


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("program")
    arguments.add_argument("--runs", type=int, default=5, help="of each (default: 5)")
    arguments.add_argument("--seconds", type=float, default=0.1, help="that a run takes at least (default: 0.1)")
    arguments.add_argument("--only", default="", metavar="REGEX", help="pairs whose name has this in it")
    given = arguments.parse_args()
    try:
        re.compile(given.only)
        pairs = measured(given.program, given.runs, given.seconds, given.only)
    except re.error as problem:
        sys.exit(f"--only: '{given.only}' is no regular expression: {problem}")
    except OSError as problem:
        sys.exit(f"cannot run {given.program}: {problem.strerror}. It is built where libbenchmark-dev is installed: "
                 "cmake --preset default && cmake --build --preset default --target shiplap_benchmarks")
    if not pairs:
        sys.exit(f"no pair has a name with '{given.only}' in it")

    width = max(map(len, pairs))
    print(f"{'':{width}}  {'stage':>10}  {'':15}  to baseline:")
    print(f"{'':{width}}  {'ms':>10}  {'rate':>15}  {'clock':>7} {'processor':>9}  {'spread':>7}")
    for name, pair in pairs.items():
        stage, baseline = pair["stage"], pair["baseline"]
        clock, processor = (median(stage, column) / median(baseline, column) for column in ("real_time", "cpu_time"))
        print(f"{name:{width}}  {median(stage, 'real_time'):10.2f}  {rate(stage)}  {clock:7.2f} {processor:9.2f}"
              f"  {max(spread(stage), spread(baseline)):5.1f} %")


if __name__ == "__main__":
    main()
