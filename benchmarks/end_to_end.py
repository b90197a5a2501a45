#!/usr/bin/env python3
"""end_to_end.py SHIPLAP [--runs N] [--megabytes M]

Compares whole commands on the same tree, interleaved in one run, as ratios of medians to shiplap's. What is not
installed is left out and named. Figures of a single run on a shared machine are noisy: look at the spread.
"""
import argparse, os, random, resource, shutil, statistics, subprocess, sys, tempfile, time


def make_tree(root, megabytes):
    """A big file, many small ones, half of it compressible."""
    rng = random.Random(1)
    words = [b"%06d some words of text\n" % rng.randrange(10**6) for _ in range(4096)]

    def block(size):
        text = b"".join(rng.choice(words) for _ in range(size // 60 + 1))[: size // 2]
        return text + rng.randbytes(size - len(text))

    os.makedirs(root)
    with open(os.path.join(root, "large"), "wb") as f:
        for _ in range(megabytes // 2):
            f.write(block(1 << 20))
    for i in range(megabytes * 8):
        folder = os.path.join(root, "d%03d" % (i % 100))
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, "f%06d" % i), "wb") as f:
            f.write(block(rng.randrange(1 << 17)))


def measure(command, cwd):
    """Seconds, CPU seconds and peak MiB of one run."""
    shutil.rmtree(cwd, ignore_errors=True)
    os.makedirs(cwd)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    child = subprocess.Popen(["bash", "-o", "pipefail", "-c", command], cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    _, errors = child.communicate()
    seconds = time.monotonic() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if child.returncode != 0:
        raise RuntimeError("%s\n%s" % (command, errors.decode(errors="replace")))
    return seconds, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shiplap")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=256)
    arguments = parser.parse_args()
    ship = os.path.abspath(arguments.shiplap)
    work = tempfile.mkdtemp(prefix="shiplap-bench-")
    try:
        tree = os.path.join(work, "tree")
        make_tree(tree, arguments.megabytes)
        has = shutil.which
        ours = lambda options: f"{ship} --progress none -o type=oci,tar=false,dest=out,name=bench:1,{options} {tree}"
        groups = {
            "uncompressed": [
                ("shiplap", ours("compression=uncompressed"), True),
                ("tar | sha256sum (reads and hashes, writes nothing)", f"tar -C {tree} -cf - . | sha256sum", True),
                ("tar to a file", f"tar -C {tree} -cf out.tar .", True),
            ],
            "gzip": [
                ("shiplap", ours("compression=gzip"), True),
                ("shiplap --jobs 1", ours("compression=gzip").replace("--progress", "--jobs 1 --progress"), True),
                ("tar | gzip", f"tar -C {tree} -cf - . | gzip > out.tgz", has("gzip")),
                ("umoci insert", f"umoci init --layout l && umoci new --image l:1 && umoci insert --image l:1 {tree} /", has("umoci")),
                ("buildah from scratch, add, push", f"c=$(buildah --root r --runroot rr --storage-driver vfs from scratch) && "
                 f"buildah --root r --runroot rr --storage-driver vfs add -q $c {tree} / && "
                 f"buildah --root r --runroot rr --storage-driver vfs commit -q --disable-compression=false $c oci:l:1", has("buildah")),
            ],
            "zstd": [
                ("shiplap", ours("compression=zstd"), True),
                ("tar | zstd -T2", f"tar -C {tree} -cf - . | zstd -q -T2 > out.tzst", has("zstd")),
                ("tar | zstd", f"tar -C {tree} -cf - . | zstd -q > out.tzst", has("zstd")),
            ],
        }
        stored = os.path.join(work, "stored")
        subprocess.run([ship, "--progress", "none", "-o", f"type=oci,tar=false,dest={stored},name=bench:1", tree], check=True, stdout=subprocess.DEVNULL)
        groups["copy of a stored image"] = [
            ("shiplap copy", f"{ship} copy --progress none oci-layout:{stored} oci-layout:out", True),
            ("skopeo copy", f"skopeo copy -q oci:{stored}:1 oci:out:1", has("skopeo")),
        ]
        for title, rows in groups.items():
            print(f"\n{title}, {arguments.megabytes} MiB of large and about as much of small files, {arguments.runs} runs each")
            missing = [name for name, _, there in rows if not there]
            rows = [(name, command) for name, command, there in rows if there]
            times = {name: [] for name, _ in rows}
            cpu = {name: [] for name, _ in rows}
            for run in range(arguments.runs + 1):  # the first one only warms up
                for name, command in rows:
                    seconds, busy = measure(command, os.path.join(work, "run"))
                    if run:
                        times[name].append(seconds)
                        cpu[name].append(busy)
            base = statistics.median(times[rows[0][0]])
            for name, _ in rows:
                median = statistics.median(times[name])
                print("  %-52s %6.2f s  (%.2f to %.2f)  cpu %6.2f s  %5.2f x" %
                      (name, median, min(times[name]), max(times[name]), statistics.median(cpu[name]), median / base))
            for name in missing:
                print("  %-52s not installed" % name)
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
