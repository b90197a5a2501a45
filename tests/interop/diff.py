#!/usr/bin/python3
"""diff.py COMMAND [SEED...]: random pairs of trees; lower + diff:LOWER:UPPER, unpacked, is upper again.

umoci unpacks it, and our own extraction. A failure names the seed that repeats it.
"""

import sys

import trees
from common import (IS_ROOT, Report, Shiplap, Workplace, expect, expect_same_tree, has, run, survey,
                    umoci_unpack, without_devices)
from images import check_layout

SEEDS = [*range(15), 148]  # in the last a folder has a new time and nothing else


def pair(work, seed):
    """A tree, and what became of it; every fourth time an unrelated one."""
    lower, upper = work.place("lower"), work.place("upper")
    trees.random_tree(lower, seed)
    if seed % 4 == 3:
        trees.random_tree(upper, seed + 1000)
    else:
        run("cp", "--archive", lower, upper)
        trees.mutate(upper, seed)
    return lower, upper


def expect_upper(found, lower, upper):
    """Compares what was unpacked with upper, but for two things that such layers do not tell, by BuildKit's rules:

    the time of a folder that is all that changed about it and below it; and which names share an inode, unless the
    layer holds them all.
    """
    plain = lambda facts: facts and facts._replace(links=())
    timeless = lambda facts: facts and facts._replace(links=(), mtime=0 if facts.kind == "folder" else facts.mtime)

    def only_time_changed(path, facts):
        before = lower.get(path)
        if facts.kind != "folder" or timeless(before) != timeless(facts):
            return False
        below = [name for name in lower.keys() | upper.keys() if name.startswith(path + b"/")]
        return all(timeless(lower.get(name)) == timeless(upper.get(name)) for name in below)

    wanted = {}
    for path, facts in upper.items():
        wanted[path] = plain(facts)
        if only_time_changed(path, facts) and path in found and found[path].mtime == lower[path].mtime:
            wanted[path] = plain(lower[path])
    expect_same_tree({path: plain(facts) for path, facts in found.items()}, wanted)


def upper_comes_back(command, work, lower, upper):
    layout, rootfs = work.place("layout"), work.place("rootfs")
    command("-o", f"type=oci,tar=false,dest={layout}", "-t", "x:1", f"dir:{lower}", f"diff:{lower}:{upper}")
    check_layout(layout, "gzip", "oci", "sha256")
    before, wanted = survey(lower), survey(upper)
    command("copy", f"oci-layout:{layout}:1", f"rootfs:{rootfs}")
    expect_upper(survey(rootfs), without_devices(before), without_devices(wanted))
    if has("umoci"):
        expect_upper(survey(umoci_unpack(layout, "1", work.place("bundle"))), before, wanted)


def nothing_changed(command, work, lower):
    """The difference of a tree and its copy is an empty layer: two blocks of zeros."""
    copy, layout = work.place("copy"), work.place("layout")
    run("cp", "--archive", lower, copy)
    command("-o", f"type=oci,tar=false,dest={layout}", "-t", "x:1", f"diff:{lower}:{copy}")
    expect(check_layout(layout, "gzip", "oci", "sha256").plain == [bytes(1024)], "the layer is not empty")


def main(path, seeds):
    report, command = Report(), Shiplap(path)
    if not has("umoci"):
        report.skip("unpacking with umoci", "it is not installed")
    if not IS_ROOT:
        report.skip("owners, device nodes, capabilities", "only root can make them")
    for seed in seeds:
        with Workplace() as work:
            lower, upper = pair(work, seed)
            report.check(f"seed {seed}: lower and difference give upper", upper_comes_back, command, work, lower, upper)
            report.check(f"seed {seed}: the other way round", upper_comes_back, command, work, upper, lower)
            report.check(f"seed {seed}: no difference, no entries", nothing_changed, command, work, lower)
    report.exit()


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1], [int(seed) for seed in sys.argv[2:]] or SEEDS)
