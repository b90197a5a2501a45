"""The results as Markdown."""
import statistics


def median(row, what="seconds"):
    return statistics.median(run[what] for run in row["runs"])


def megabytes(row):
    return row["runs"][-1]["bytes"] / 1e6 if row["runs"][-1]["bytes"] else None


def row_named(job, name):
    return next((row for row in job["rows"] if row["name"] == name), None)


def lines_of(heads, rows):
    """A table; numbers to the right."""
    return ["| " + " | ".join(heads) + " |", "|---|" + "---:|" * (len(heads) - 1), *("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows), ""]


def without_empty(heads, rows):
    """Less the columns in which no row has anything."""
    kept = [column for column in range(len(heads)) if column == 0 or any(row[column] for row in rows)]
    return [heads[column] for column in kept], [[row[column] for column in kept] for row in rows]


def number(value, digits=2):
    return "" if value is None else f"{value:.{digits}f}"


def spread(seconds):
    return f"{min(seconds):.2f} to {max(seconds):.2f}"


def described(row):
    if row is None:
        return ""
    size = megabytes(row)
    return f"{median(row):.2f} s" + (f", {size:.1f} MB" if size else "")


def summary(report):
    """The outcome of each job in one line."""
    rows = []
    for job in report["jobs"]:
        ours, fast = row_named(job, "shiplap"), row_named(job, "shiplap fast")
        best = lambda kind: min((row for row in job["rows"] if row["kind"] == kind and megabytes(row)), key=median, default=None)
        peer, shell = best("exporter"), best("shell")
        named = lambda row: f"{row['name']}: {described(row)}" if row else "none"
        times = lambda row, than: number(row and than and median(row) / median(than))
        buildkit = row_named(job, "BuildKit")
        rows.append([job["job"], described(ours), described(fast), named(peer), times(peer, ours), times(peer, fast),
                     described(buildkit), times(buildkit, ours), times(buildkit, fast), named(shell)])
    heads = ["job", "shiplap", "fast variant", "fastest other exporter", "× shiplap", "× fast", "BuildKit", "× shiplap", "× fast", "fastest pipeline"]
    return lines_of(*without_empty(heads, rows))


def job_table(job):
    ours, fast = row_named(job, "shiplap"), row_named(job, "shiplap fast")
    rows = []
    for row in sorted(job["rows"], key=lambda row: (row["kind"] != "ours", median(row))):
        against = lambda other: number(median(row) / median(other)) if other else ""
        known = row["name"] != "BuildKit"  # of what a daemon does, its client knows neither processor time nor memory
        cpu, memory = (number(median(row, "cpu")), number(max(run["memory"] for run in row["runs"]), 0)) if known else ("", "")
        prepared = median(row, "prepared")
        rows.append([row["name"], number(median(row)), spread([run["seconds"] for run in row["runs"]]), str(len(row["runs"])), against(ours), *([against(fast)] if fast else []),
                     cpu, memory, number(megabytes(row), 1), str(row["syncs"]) if known and row["syncs"] is not None else "", number(prepared) if prepared else ""])
    heads = ["tool", "seconds", "spread", "runs", "× shiplap", *(["× fast"] if fast else []), "CPU s", "MiB", "MB out", "syncs", "before, s"]
    found = [f"### {job['job']}", "", *lines_of(*without_empty(heads, rows))]
    if job["missing"]:
        found += ["Left out, since not there: " + "; ".join(f"{name} ({', '.join(needs)})" for name, needs in job["missing"].items()) + ".", ""]
    for name, problem in job["failures"].items():
        found += [f"**{name} failed:**", "", "```", problem, "```", ""]
    return found


def limit_rows(report):
    """Yields job, tool, what its parts cost, the limit, and its own time."""
    cores = report["machine"]["cores"]
    for job in report["jobs"]:
        for name, parts in report["limits"].get(job["job"], {}).items():
            row = row_named(job, name)
            total = sum(parts.get(part, 0) for part in ("read", "hash_in", "codec", "hash_out", "write"))
            yield job, name, parts, total / (cores if "codec" in parts else 1), row


def limit_tables(report):
    rows, doubts = [], []
    for job, name, parts, limit, row in limit_rows(report):
        rows.append([job["job"], name, parts["how"], *(number(parts.get(part)) for part in ("read", "hash_in", "codec", "hash_out", "write")), number(limit),
                     number(row and median(row)), number(row and median(row) / limit)])
        if row and "codec" in parts and abs(megabytes(row) * 1e6 / parts["bytes_out"] - 1) > 0.03 and "payloads" not in parts["how"]:
            doubts.append(f"{job['job']}, {name}: {parts['how']} alone makes {parts['bytes_out'] / 1e6:.1f} MB, the export {megabytes(row):.1f} MB; "
                          "is that the codec that it has?")
    found = lines_of(["job", "tool", "codec alone", "read s", "hash in", "codec", "hash out", "write", "limit", "seconds", "× limit"], rows)
    small = next((job for job in report["jobs"] if job["job"] == "small/uncompressed"), None)
    ours, shell = (small and row_named(small, name) for name in ("shiplap", "tar | cat, nothing written"))
    if ours and shell:
        found += [f"Small files: an uncompressed export, written to a file, takes {median(ours) / median(shell):.2f} times `tar -cf - . | cat > /dev/null` by the clock, "
                  f"{median(ours, 'cpu') / median(shell, 'cpu'):.2f} times its processor time.", ""]
    return found + [line for doubt in doubts for line in (f"**Doubtful:** {doubt}", "")]


def push_tables(report):
    found = []
    for group in report["push"]:
        base = statistics.median(run["seconds"] for run in group["rows"][0]["runs"])
        rows = []
        for row in group["rows"]:
            seconds = [run["seconds"] for run in row["runs"]]
            rows.append([row["name"], number(statistics.median(seconds), 3), f"{min(seconds):.3f} to {max(seconds):.3f}", number(statistics.median(seconds) / base),
                         number(median(row, "cpu"), 3), number(max(run["memory"] for run in row["runs"]), 0)])
        found += [f"### {group['title']}", "", *lines_of(["tool", "seconds", "spread", "× the first", "CPU s", "MiB"], rows)]
        if group["missing"]:
            found += [f"Not installed: {', '.join(group['missing'])}.", ""]
    return found


HOW = """Medians of the clock; all tools in turn, one run of each in every round; trees and programs are in memory; every command
begins with an empty folder and a synced disk. A tool whose first run takes more than 12 s has three runs, one of more than 30 s
and the further levels of shiplap two. `CPU s` is of all processes, `MiB` the peak of the largest of them (at
least that of the script that starts them, about 28), `MB out` the layer. `syncs` counts fsync and its like in an
export of three files: shiplap puts a blob on the disk before it gives it its name, and pays for that in these
figures; a tool with 0 leaves it to the system, after the clock has stopped. `before, s` is not in `seconds`: for
buildah to copy the tree into a working container (and, for zstd, to commit it), for BuildKit the build without an output. skopeo starts from a tar that is there. Each layer was unpacked, not
timed, and holds at least the bytes of the tree."""

LIMITS = """CPU seconds of the parts, each alone on one thread without any code of shiplap's (`run/limits.cpp`). The limit is their
sum, divided by the cores; for uncompressed it is one read, one SHA-256 and one write, not divided. In an eStargz each
content is hashed twice, for the layer and for itself."""


def markdown(report):
    """The whole page."""
    machine = report["machine"]
    found = ["# Measured by benchmarks/run.sh", ""]
    if report["quick"]:
        found += ["**Scaled down with --quick: it shows that all works, the figures say nothing.**", ""]
    found += [*(f"- {name}: {value}" for name, value in machine.items()), ""]
    found += [f"- `{corpus['name']}`: {corpus['files']} files, {corpus['bytes'] / 1e6:.1f} MB, as a tar {corpus['tar_bytes'] / 1e6:.1f} MB with SHA-256 "
              f"`{corpus['digest']}`" for corpus in report["corpora"].values()]
    if report["jobs"]:
        found += ["", "## Exports", "", *summary(report), HOW, ""]
        for job in report["jobs"]:
            found += job_table(job)
    if report["limits"]:
        found += ["## Limits", "", LIMITS, "", *limit_tables(report)]
    if report.get("push"):
        found += ["## Pushes to docker-registry on loopback, all in memory", "", *push_tables(report)]
    elif "push" in report:
        found += ["## Pushes", "", "Failed, or left out because docker-registry is not installed; see what push.py said.", ""]
    return "\n".join(found).rstrip() + "\n"
