#!/usr/bin/env python3
"""push.py SHIPLAP [--runs N] [--megabytes M] [--large M] [--only WORD]... [--json FILE]

Pushes to Debian's docker-registry on loopback, beside a bare `curl -T` of the same bytes, `skopeo copy` and `crane push`.
Runs are interleaved; each starts with an empty registry and an empty store, so that nothing is there already, and
ratios are of medians to shiplap's. The registry's storage and the images are in /dev/shm if that has room, so that no
disk is measured. What is not installed is left out and named. Server and client share the processors: figures of a
single run on a busy machine are noisy, look at the spread.

Debian's registry hashes without the processor's SHA instructions and so limits everybody. Therefore one group has a
server that hashes as fast as OpenSSL can and keeps nothing. Memory is the peak of resident memory, as the kernel tells
it: it cannot show less than what this script has itself when it starts a command (see start-up).
"""
import argparse, hashlib, json, os, re, shutil, socket, statistics, subprocess, sys, tempfile, threading, time, urllib.parse, urllib.request

MIB = 1 << 20
OCI = "application/vnd.oci.image."


# --- servers ---


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Registry:
    """Debian's docker-registry, with an access log."""

    def __init__(self, work):
        self.port, self.root, self.log = free_port(), os.path.join(work, "registry"), os.path.join(work, "registry.log")
        config = os.path.join(work, "registry.yml")
        with open(config, "w") as f:
            f.write("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s}}\n"
                    "http: {addr: '127.0.0.1:%d'}\n" % (self.root, self.port))
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(["docker-registry", "serve", config], stdout=log, stderr=log)
        self.host = "127.0.0.1:%d" % self.port
        for _ in range(100):
            try:
                return urllib.request.urlopen("http://%s/v2/" % self.host).close()
            except OSError:
                time.sleep(0.1)
        raise RuntimeError("docker-registry does not start: " + open(self.log).read())

    def clear(self):
        shutil.rmtree(os.path.join(self.root, "docker"), ignore_errors=True)

    def requests(self):
        """The lines of its log that are requests, so far."""
        with open(self.log) as f:
            return [line for line in f if re.search(r'"[A-Z]+ /v2/\S* HTTP/1\.1" \d+', line)]

    def stop(self):
        self.process.terminate()
        self.process.wait()


class HashingServer:
    """In a process of its own: says yes to every upload, hashes it and forgets it."""

    def __init__(self):
        self.port = free_port()
        self.host = "127.0.0.1:%d" % self.port
        self.process = subprocess.Popen([sys.executable, os.path.abspath(__file__), "--hashing-server", str(self.port)])
        while True:
            try:
                return socket.create_connection(("127.0.0.1", self.port)).close()
            except OSError:
                time.sleep(0.1)

    def clear(self):
        pass

    def stop(self):
        self.process.terminate()
        self.process.wait()

    @staticmethod
    def serve(port):
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", port))
        listening.listen(64)
        while True:
            threading.Thread(target=HashingServer.talk, args=(listening.accept()[0],), daemon=True).start()

    @staticmethod
    def talk(connection):
        space, pending = memoryview(bytearray(MIB)), b""
        while True:
            while b"\r\n\r\n" not in pending:
                got = connection.recv(65536)
                if not got:
                    return
                pending += got
            head, _, pending = pending.partition(b"\r\n\r\n")
            length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
            left = int(length[1]) if length else 0
            if re.search(rb"(?i)\r\nexpect:", head):
                connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            body, pending = pending[:left], pending[left:]
            left -= len(body)
            hashing = hashlib.sha256(body)
            while left:
                n = connection.recv_into(space, min(left, MIB))
                if n == 0:
                    return
                left -= n
                hashing.update(space[:n])
            answer = {b"POST": "202 Accepted\r\nLocation: /v2/x/blobs/uploads/1", b"HEAD": "404 Not Found",
                      b"GET": "200 OK"}.get(head.split()[0], "201 Created")
            connection.sendall(("HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n" % answer).encode())


# --- images ---


def make_layout(folder, sizes):
    """An OCI layout, tagged 1, with layers of random bytes. Returns the digests of the layers."""
    blobs = os.path.join(folder, "blobs", "sha256")
    os.makedirs(blobs)

    def put(kind, document):
        text = json.dumps(document).encode()
        name = hashlib.sha256(text).hexdigest()
        with open(os.path.join(blobs, name), "wb") as f:
            f.write(text)
        return {"mediaType": OCI + kind, "digest": "sha256:" + name, "size": len(text)}

    layers = []
    for size in sizes:
        hashing, path = hashlib.sha256(), os.path.join(blobs, "new")
        with open(path, "wb") as f:
            for at in range(0, size, MIB):
                block = os.urandom(min(MIB, size - at))
                hashing.update(block)
                f.write(block)
        os.rename(path, os.path.join(blobs, hashing.hexdigest()))
        layers.append({"mediaType": OCI + "layer.v1.tar", "digest": "sha256:" + hashing.hexdigest(), "size": size})
    digests = [layer["digest"] for layer in layers]
    config = put("config.v1+json", {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": digests}})
    manifest = put("manifest.v1+json", {"schemaVersion": 2, "mediaType": OCI + "manifest.v1+json", "config": config, "layers": layers})
    manifest["annotations"] = {"org.opencontainers.image.ref.name": "1"}
    for name, document in (("index.json", {"schemaVersion": 2, "manifests": [manifest]}), ("oci-layout", {"imageLayoutVersion": "1.0.0"})):
        with open(os.path.join(folder, name), "w") as f:
            json.dump(document, f)
    return digests


# --- measuring ---


def measure(command):
    """Seconds, CPU seconds of the command and its peak MiB."""
    start = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    errors = child.stderr.read()
    _, status, used = os.wait4(child.pid, 0)
    seconds = time.monotonic() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise RuntimeError("%s\n%s" % (" ".join(command), errors.decode(errors="replace")))
    return seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


RESULTS = []  # of every group, for --json


def compare(title, rows, runs, before=lambda: None):
    """`rows`: name, and a function that returns what measure() does; None for what is not installed."""
    print("\n" + title)
    missing, rows = [name for name, run in rows if run is None], [row for row in rows if row[1]]
    results = {name: [] for name, _ in rows}
    for number in range(runs + 1):  # the first one only warms up
        for name, run in rows:
            before()
            result = run()
            if number:
                results[name].append(result)
    base = statistics.median(seconds for seconds, _, _ in results[rows[0][0]])
    for name, _ in rows:
        seconds, cpu, memory = zip(*results[name])
        print("  %-44s %7.3f s  (%.3f to %.3f)  cpu %6.3f s  %4d MiB  %5.2f x" % (
            name, statistics.median(seconds), min(seconds), max(seconds), statistics.median(cpu), max(memory), statistics.median(seconds) / base))
    for name in missing:
        print("  %-44s not installed" % name)
    RESULTS.append({"title": title, "missing": missing, "rows": [
        {"name": name, "runs": [dict(zip(("seconds", "cpu", "memory"), run)) for run in results[name]]} for name, _ in rows]})
    sys.stdout.flush()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shiplap")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--megabytes", type=int, default=400, help="of the images whose time is measured")
    parser.add_argument("--large", type=int, default=2048, help="MiB of the blob whose memory is measured")
    groups = ("blob", "layers", "hashing", "nothing", "memory", "overlap", "start")
    parser.add_argument("--only", action="append", choices=groups, help="a group of measurements; all by default")
    parser.add_argument("--json", help="a file for the raw figures")
    arguments = parser.parse_args()
    ship, size, runs = os.path.abspath(arguments.shiplap), arguments.megabytes * MIB, arguments.runs
    wanted = lambda group: group in (arguments.only or groups)
    if not shutil.which("docker-registry"):
        sys.exit("needs docker-registry (Debian package docker-registry)")
    has = {program: shutil.which(program) is not None for program in ("skopeo", "crane", "curl", "strace")}
    shared = "/dev/shm" if os.path.isdir("/dev/shm") and shutil.disk_usage("/dev/shm").free > 3 * max(size, arguments.large * MIB * wanted("memory")) else None
    work = tempfile.mkdtemp(prefix="shiplap-bench-", dir=shared)
    print("storage in", work, "" if shared else "(no room in /dev/shm)")
    servers, count = [], iter(range(10**6))
    try:
        def store():  # fresh, so that no earlier push is remembered
            return os.path.join(work, "stores", str(next(count)))

        def copy(layout, to, *options):
            return lambda: measure([ship, "copy", "--progress", "none", "--store", store(), *options,
                                    "oci-layout:" + layout, "docker://%s/a%d:1" % (to.host, next(count))])

        def skopeo(layout, to):
            return has["skopeo"] and (lambda: measure(
                ["skopeo", "--insecure-policy", "copy", "-q", "--dest-tls-verify=false", "oci:%s:1" % layout, "docker://%s/a%d:1" % (to.host, next(count))])) or None

        def crane(layout, to):
            return has["crane"] and (lambda: measure(["crane", "push", "--insecure", layout, "%s/a%d:1" % (to.host, next(count))])) or None

        def curl(layout, digests, to):  # one layer after the other; the sessions are opened outside the measurement
            def run():
                total = [0, 0, 0]
                for digest in digests:
                    name = "http://%s/v2/a%d/blobs/uploads/" % (to.host, next(count))
                    with urllib.request.urlopen(urllib.request.Request(name, method="POST")) as answer:
                        session = urllib.parse.urljoin(name, answer.headers["Location"])
                    session += ("&" if "?" in session else "?") + "digest=" + digest
                    one = measure(["curl", "-sf", "-o", os.path.join(work, "answer"), "-T", os.path.join(layout, "blobs", *digest.split(":")), session])
                    total = [total[0] + one[0], total[1] + one[1], max(total[2], one[2])]
                return tuple(total)
            return has["curl"] and run or None

        registry = Registry(work)
        servers.append(registry)

        def fresh():
            registry.clear()
            shutil.rmtree(os.path.join(work, "stores"), ignore_errors=True)

        one = os.path.join(work, "one")
        digests = make_layout(one, [size]) if wanted("blob") or wanted("hashing") else []
        if wanted("blob"):
            compare(f"one blob of {arguments.megabytes} MiB, {runs} runs each", [
                ("shiplap copy", copy(one, registry)), ("curl -T", curl(one, digests, registry)),
                ("skopeo copy", skopeo(one, registry)), ("crane push", crane(one, registry))], runs, fresh)
        if wanted("hashing"):
            hashing = HashingServer()
            servers.append(hashing)
            compare("the same to a server that hashes and keeps nothing", [
                ("shiplap copy", copy(one, hashing)), ("curl -T", curl(one, digests, hashing))], runs, fresh)
        shutil.rmtree(one, ignore_errors=True)

        if wanted("layers"):
            many = os.path.join(work, "many")
            digests = make_layout(many, [size // 8] * 8)
            compare(f"8 layers of {arguments.megabytes // 8} MiB", [
                ("shiplap copy", copy(many, registry)), ("shiplap copy --transfers 1", copy(many, registry, "--transfers", "1")),
                ("curl -T, one after the other", curl(many, digests, registry)), ("skopeo copy", skopeo(many, registry))], runs, fresh)
            shutil.rmtree(many)

        if wanted("nothing"):
            hundred = os.path.join(work, "hundred")
            digests = make_layout(hundred, [100 * 1024] * 100)
            target = "docker://%s/hundred:1" % registry.host
            again = [ship, "copy", "--progress", "none", "--store", store(), "oci-layout:" + hundred, target]
            fresh()
            measure(again)
            # Nothing that this machine remembers: the registry is asked for everything.
            asked = lambda command: (lambda before: (measure(command), len(registry.requests()) - before)[1])(len(registry.requests()))
            theirs = ["skopeo", "--insecure-policy", "copy", "-q", "--dest-tls-verify=false", "oci:%s:1" % hundred, target]
            def anew():
                shutil.rmtree(os.path.join(work, "stores"), ignore_errors=True)
            compare("no-op push of 100 layers", [
                ("shiplap copy", lambda: measure(again)),
                ("skopeo copy", has["skopeo"] and (lambda: measure(theirs)) or None)], runs, anew)
            anew()
            print("  requests: shiplap copy", asked(again), *(["skopeo copy", asked(theirs)] if has["skopeo"] else []))
            if has["strace"]:  # -y: with the paths of descriptors
                anew()
                trace = os.path.join(work, "trace")
                measure(["strace", "-f", "-y", "-s", "0", "-e", "trace=read,readv,pread64,preadv,mmap,sendfile,splice,copy_file_range", "-o", trace, *again])
                text = open(trace).read()
                print("  reads of layers:", sum(text.count(digest.split(":")[1]) for digest in digests))

        if wanted("memory"):
            for megabytes in (64, arguments.large):
                layout = os.path.join(work, "large")
                make_layout(layout, [megabytes * MIB])
                compare(f"memory: one blob of {megabytes} MiB", [
                    ("shiplap copy", copy(layout, registry)), ("skopeo copy", skopeo(layout, registry))], 1, fresh)
                shutil.rmtree(layout)
            fresh()

        if wanted("overlap"):
            folders = [os.path.join(work, "tree", str(i)) for i in range(4)]
            for folder in folders:
                os.makedirs(folder)
                with open(os.path.join(folder, "file"), "wb") as f:
                    for _ in range(arguments.megabytes // 4):
                        f.write(os.urandom(MIB // 2) + bytes(MIB // 2))
            for packing in ("compression=uncompressed", "compression=gzip,compression-level=1"):
                packed = os.path.join(work, "packed")
                shutil.rmtree(packed, ignore_errors=True)
                export = lambda spec: measure([ship, "--progress", "none", "--store", store(), "--insecure", "--jobs", "1",
                                               "-o", spec + "," + packing, *folders])
                measure([ship, "--progress", "none", "-o", f"type=oci,tar=false,dest={packed},name=x:1,{packing}", *folders])
                def pack():
                    return export("type=oci,tar=false,name=x:1,dest=" + store())
                compare(f"4 folders of {arguments.megabytes // 4} MiB, --jobs 1, {packing}: the first against the sum of the others", [
                    ("packed and pushed at once", lambda: export("type=registry,name=%s/a%d:1" % (registry.host, next(count)))),
                    ("packed into a layout", pack), ("the layout pushed", copy(packed, registry))], runs, fresh)

        if wanted("start"):
            compare("start-up", [("shiplap --version", lambda: measure([ship, "--version"])),
                                 ("curl --version", has["curl"] and (lambda: measure(["curl", "--version"])) or None),
                                 ("skopeo --version", has["skopeo"] and (lambda: measure(["skopeo", "--version"])) or None)], 3 * runs)
    finally:
        for server in servers:
            server.stop()
        if arguments.json:
            with open(arguments.json, "w") as file:
                json.dump(RESULTS, file)
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--hashing-server"]:
        HashingServer.serve(int(sys.argv[2]))
    sys.exit(main())
