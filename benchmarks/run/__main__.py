"""benchmarks/run.sh [packages] [--quick] [--full] [--runs N] [--only JOB]... [--place DIR] [--results DIR] [--command FILE]

Whole exports by shiplap and by everybody else who can, on the same two trees, alternating, with warm caches: `usr`
and `small` (see run/corpora.py) in each codec, and pushes to a registry on loopback. Writes table.md, a chart of each tree
and all raw figures. A JOB is usr, small, a codec, one of each as in usr/gzip, or push.

Every command gets an empty folder; before it starts, the disk is synced, so that nobody pays for what another one left
to be written. What a tool syncs itself, it pays for. Tools that are not installed are named and left out.
"""
import argparse, json, os, pathlib, re, shutil, statistics, subprocess, sys, time
from concurrent.futures import ProcessPoolExecutor

import chart, corpora, table, tools

HERE = pathlib.Path(__file__).resolve().parent
JOBS = [f"{corpus}/{codec}" for corpus in corpora.MAKERS for codec in tools.CODECS]


class Failure(Exception):
    pass


# --- one run ---


def timed(command, folder):
    """Seconds, CPU seconds, and the peak MiB of the largest process of one shell command."""
    began = time.monotonic()
    with open(os.path.join(folder, "..", "errors"), "w+") as errors:
        child = subprocess.Popen(["bash", "-o", "pipefail", "-c", command], cwd=folder, stdin=subprocess.DEVNULL,
                                 stdout=subprocess.DEVNULL, stderr=errors)
        _, status, used = os.wait4(child.pid, 0)
        seconds = time.monotonic() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            errors.seek(0)
            raise Failure(f"exit code {child.returncode}: {errors.read()[-1500:].strip()}")
    return {"seconds": seconds, "cpu": used.ru_utime + used.ru_stime, "memory": used.ru_maxrss / 1024}


def empty(folder):
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)


def run_once(tool, folder):
    empty(folder)
    os.sync()
    result = {"prepared": 0.0}
    if tool.prepare:
        result["prepared"] = timed(tool.prepare, folder)["seconds"]
        os.sync()
    result |= timed(tool.command, folder)
    result["bytes"] = sum(map(os.path.getsize, layers(folder, tool.output))) if tool.output else None
    return result


def layers(folder, output):
    """The files that hold the layers of a layout, or the one file that a shell wrote."""
    path = os.path.join(folder, output)
    if os.path.isfile(path):
        return [path]

    def blob(descriptor):
        return os.path.join(path, "blobs", *descriptor["digest"].split(":"))

    def document(at):
        with open(at) as file:
            return json.load(file)

    found = document(os.path.join(path, "index.json"))
    while "manifests" in found:
        found = document(blob(found["manifests"][-1]))
    if not found["layers"]:
        raise Failure(f"{path}: an image without layers")
    return [blob(layer) for layer in found["layers"]]


def check(tool, folder, corpus):
    """What was written unpacks, and to as much as the tree has: a tool that skips something is no peer."""
    plain = 0
    for path in layers(folder, tool.output):
        with open(path, "rb") as file:
            magic = file.read(4)
        unpack = (["pigz" if shutil.which("pigz") else "gzip", "-dc"] if magic[:2] == b"\x1f\x8b" else
                  ["zstd", "-qdc"] if magic == b"\x28\xb5\x2f\xfd" else ["cat"])
        with open(path, "rb") as file, subprocess.Popen(unpack, stdin=file, stdout=subprocess.PIPE) as child:
            while block := child.stdout.read(1 << 20):
                plain += len(block)
        if child.returncode:
            raise Failure(f"{unpack[0]} does not read the layer")
    if not corpus["bytes"] + 512 * corpus["files"] <= plain <= 1.3 * corpus["tar_bytes"]:
        raise Failure(f"its layer unpacks to {plain} bytes, but the tree is a tar of {corpus['tar_bytes']}")
    return plain


def syncs(tool, folder):
    """How often it asks the system to write to the disk, in an export of three files; also warms the program up."""
    if not shutil.which("strace"):
        run_once(tool, folder)
        return None
    empty(folder)
    if tool.prepare:
        timed(tool.prepare, folder)
    trace = os.path.join(folder, "..", "trace")
    with open(trace + ".sh", "w") as file:
        file.write(tool.command)
    timed(f"strace -f -qq -e trace=fsync,fdatasync,sync,syncfs,sync_file_range -o {trace} bash -o pipefail {trace}.sh", folder)
    return len(re.findall(r"^\d+ +\w*sync\w*\(", pathlib.Path(trace).read_text(), re.MULTILINE))


# --- one job ---


def enough(tool, first, runs):
    """A run of a slow tool tells as much as several of a quick one."""
    took = first["seconds"] + first["prepared"]
    return min(runs, 2 if tool.few or took > 30 else 3 if took > 12 else runs)


def measure(job, found, trials, corpus, runs, work):
    """All runs of a job, round by round. `trials`: the same tools with a tiny tree, for what is not timed."""
    folder = os.path.join(work, "run")
    rows = {tool.name: {"name": tool.name, "kind": tool.kind, "runs": []} for tool in found if not tool.missing()}
    failures = {}
    print(f"\n{job}", flush=True)

    def attempt(tool, work):
        if tool.name not in rows:
            return
        try:
            work(rows[tool.name])
        except Failure as problem:
            failures[tool.name] = f"$ {tool.command}\n{problem}"
            del rows[tool.name]
            print(f"  {tool.name}: FAILED\n{failures[tool.name]}", flush=True)

    def another_run(tool, row):
        if row["runs"] and len(row["runs"]) >= enough(tool, row["runs"][0], runs):
            return
        row["runs"].append(run_once(tool, folder))
        if tool.output and "plain" not in row:
            row["plain"] = check(tool, folder, corpus)

    for tool, trial in zip(found, trials):
        attempt(tool, lambda row: row.update(syncs=syncs(trial, folder)))
    for _ in range(runs):
        for tool in found:
            attempt(tool, lambda row: another_run(tool, row))
    empty(folder)
    for row in rows.values():
        last = row["runs"][-1]["bytes"]
        print(f"  {row['name']:28}{statistics.median(run['seconds'] for run in row['runs']):8.2f} s"
              f"{last / 1e6 if last else 0:9.1f} MB", flush=True)
    return {"job": job, "rows": list(rows.values()), "failures": failures,
            "missing": {tool.name: tool.missing() for tool in found if tool.missing()}}


# --- what a job must cost at least ---


def limits_of(program, corpus, found, work):
    """CPU seconds on one thread of reading, hashing, compressing; of each tool that says what it compresses with."""
    def ask(*words):
        answers = [json.loads(subprocess.run([program, *words], check=True, stdout=subprocess.PIPE, text=True).stdout) for _ in range(2)]
        return {key: min(answer[key] for answer in answers) for key in answers[0]}

    copy = os.path.join(work, "run", "copy")
    common = {"read": ask("read", corpus["tree"])["read"]}
    result = {}
    for tool in found:
        if tool.limit:
            result[tool.name] = common | ask("pack", *tool.limit, corpus["tar"]) | {"how": " ".join(tool.limit)}
        elif tool.name == "shiplap":
            hashed = ask("pack", "isal", "0", "blocks", corpus["tar"])["hash_in"]
            result[tool.name] = common | {"hash_in": hashed, **ask("write", corpus["tar"], copy), "how": "uncompressed"}
            os.remove(copy)
    return result


# --- everything ---


def make_tiny(place):
    """Three files, and the tar of them."""
    tree = os.path.join(place, "tiny")
    empty(tree)
    for name in ("one", "two", "three"):
        pathlib.Path(tree, name).write_text(name * 1000)
    corpora.tar_of(tree, tree + ".tar")
    return {"tree": tree, "tar": tree + ".tar"}


def push(command, quick, runs, place):
    """The groups of push.py that are rows of the table; None, with a reason printed, where it cannot run."""
    to = os.path.join(place, "push.json")
    size = "37" if quick else "370"  # 388 million bytes
    result = subprocess.run([sys.executable, HERE.parent / "push.py", command, "--runs", str(runs), "--megabytes", size, "--json", to,
                             *(word for group in ("blob", "nothing", "overlap", "start") for word in ("--only", group))])
    if result.returncode:
        return None
    return json.loads(pathlib.Path(to).read_text())


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    temporary = os.path.join(os.environ.get("TMPDIR", "/tmp"), "shiplap-bench")
    parser.add_argument("--quick", action="store_true", help="trees of a sixteenth, two runs: to see that all works")
    parser.add_argument("--full", action="store_true", help="with the slowest settings too")
    parser.add_argument("--runs", type=int)
    parser.add_argument("--only", action="append", help=f"of {', '.join(JOBS)}, push; or one half of such a name")
    parser.add_argument("--place", default=temporary, help="for trees, tars and outputs; kept for the next time")
    parser.add_argument("--results", help="a folder for what comes out")
    parser.add_argument("--command", required=True, help="what to measure (run.sh builds it otherwise)")
    parser.add_argument("--limits", help="limits.cpp, built")
    arguments = parser.parse_args()
    chosen = [job for job in [*JOBS, "push"] if not arguments.only or {job, *job.split("/")} & set(arguments.only)]
    known = {part for job in [*JOBS, "push"] for part in (job, *job.split("/"))}
    if unknown := set(arguments.only or ()) - known:
        sys.exit(f"no job {', '.join(sorted(unknown))}: choose from {', '.join(sorted(known))}")
    place = os.path.abspath(os.path.join(arguments.place, "quick" if arguments.quick else "whole"))
    results = pathlib.Path(arguments.results or (place + "-results" if arguments.quick else HERE.parent / "results"))
    runs, command = arguments.runs or (2 if arguments.quick else 5), os.path.abspath(arguments.command)
    os.makedirs(place, exist_ok=True)
    os.environ.update(LC_ALL="C", SHIPLAP_STORE=os.path.join(place, "store"))

    report = {"machine": tools.machine(place, command), "quick": arguments.quick, "runs": runs, "corpora": {}, "jobs": [], "limits": {}}
    for fact, value in report["machine"].items():
        print(f"{fact}: {value}")
    tiny = make_tiny(place)
    work = os.path.join(place, "work")
    empty(os.path.join(work, "run"))
    try:
        for job in chosen:
            if job == "push":
                report["push"] = push(command, arguments.quick, runs, place)
                continue
            name, codec = job.split("/")
            if name not in report["corpora"]:
                with ProcessPoolExecutor(1) as apart:  # since the memory of a command cannot be told from less than ours
                    report["corpora"][name] = apart.submit(corpora.prepare, place, name, arguments.quick).result()
            corpus = report["corpora"][name]
            found = tools.all_of(command, corpus, codec, arguments.full)
            report["jobs"].append(measure(job, found, tools.all_of(command, tiny, codec, arguments.full), corpus, runs, work))
            if arguments.limits:
                report["limits"][job] = limits_of(arguments.limits, corpus, found, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)

    results.mkdir(parents=True, exist_ok=True)
    (results / "results.json").write_text(json.dumps(report, indent=1) + "\n")
    (results / "table.md").write_text(table.markdown(report))
    for name in report["corpora"]:
        (results / f"chart-{name}.svg").write_text(chart.svg(report, name))
    print(f"\nwritten: {results}/table.md, results.json, chart-*.svg")


if __name__ == "__main__":
    main()
