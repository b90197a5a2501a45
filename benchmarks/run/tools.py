"""Who is measured: the command lines of shiplap and of everybody else, for each codec.

A command runs in an empty folder of its own and leaves an OCI layout or a file called `out`, or nothing. What it
builds upon but is not its export (an image built by a daemon, a working container filled) is in `prepare`, and timed apart.
"""
import dataclasses, functools, os, pathlib, platform, re, shlex, shutil, subprocess

CHOOSY, BUILDKIT = "umoci insert --compress", "a client and a daemon"  # as programs that may be missing
CODECS = ("uncompressed", "gzip", "zstd", "estargz")


@dataclasses.dataclass
class Tool:
    name: str
    command: str
    output: str = "out"
    prepare: str = ""
    needs: tuple = ()  # programs
    kind: str = "exporter"  # or "ours", "shell"
    limit: tuple = ()  # what limits.cpp is asked to pack: backend, level, blocks or payloads
    few: bool = False  # a further point of the chart: two runs are enough
    full: bool = False  # only with --full

    def missing(self):
        return [program for program in self.needs if not there(program)]


@functools.cache
def succeeds(*command):
    try:
        return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, timeout=20).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


@functools.cache
def output_of(*command):
    try:
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, timeout=20)
        return result.stdout if result.returncode == 0 else ""
    except (OSError, subprocess.TimeoutExpired):
        return ""


def there(program):
    """A program on the PATH; of those that need a daemon: one that answers."""
    if program == BUILDKIT:
        return succeeds("buildctl", "debug", "workers") or (succeeds("docker", "buildx", "version") and succeeds("docker", "info"))
    if program == CHOOSY:
        return "--compress" in output_of("umoci", "insert", "--help")
    return shutil.which(program) is not None


def shiplap(command, corpus, codec):
    def tool(name, options, **more):
        spec = f"type=oci,tar=false,dest=out,name=bench:1,compression={options}"
        return Tool(name, f"{shlex.quote(command)} --progress none -o {spec} {tree}", kind="ours", **more)

    tree = shlex.quote(corpus["tree"])
    if codec == "uncompressed":
        return [tool("shiplap", codec)]
    if codec == "zstd":
        return [tool("shiplap", codec, limit=("zstd", "3", "blocks"))]
    members = "blocks" if codec == "gzip" else "payloads"
    found = [tool("shiplap", codec, limit=("libdeflate", "-1", members)),  # the command's default
             tool("shiplap fast", codec + ",compression-variant=isal", limit=("isal", "3", members))]
    if codec == "gzip":
        found += [tool(f"shiplap level {level}", f"{codec},compression-level={level}", few=True) for level in (1, 6, 9)]
        found += [tool("shiplap zlib 6", codec + ",compression-variant=zlib,compression-level=6", few=True, full=True)]
    return found


def shell(corpus, codec):
    tar = f"tar -C {shlex.quote(corpus['tree'])} -cf"
    def tool(name, command, *needs):
        return Tool(name, command, kind="shell", needs=("tar", *needs))
    return {"uncompressed": [Tool("tar | cat, nothing written", f"{tar} - . | cat > /dev/null", output="", kind="shell", needs=("tar",)),
                             tool("tar to a file", f"{tar} out .")],
            "gzip": [tool("tar | gzip -6", f"{tar} - . | gzip -6 > out", "gzip"), tool("tar | pigz -6", f"{tar} - . | pigz -6 > out", "pigz")],
            "zstd": [tool("tar | zstd -3 -T0", f"{tar} - . | zstd -q -3 -T0 > out", "zstd")]}.get(codec, [])


def skopeo(corpus, codec):
    how = {"uncompressed": "--dest-oci-accept-uncompressed-layers", "gzip": "--dest-compress-format gzip",
           "zstd": "--dest-compress-format zstd"}.get(codec)
    return [Tool("skopeo, from a tar", f"skopeo --insecure-policy copy -q {how} tarball:{shlex.quote(corpus['tar'])} oci:out:1",
                 needs=("skopeo",))] if how else []


def umoci(corpus, codec):
    if codec == "estargz":
        return []
    can_choose = there(CHOOSY)
    how = "--compress=" + {"uncompressed": "none"}.get(codec, codec) if can_choose else ""
    rootless = "" if os.geteuid() == 0 else "--rootless"
    return [Tool("umoci", f"umoci init --layout out && umoci new --image out:1 && umoci insert {rootless} {how} --image out:1 {shlex.quote(corpus['tree'])} /",
                 needs=("umoci",) if codec == "gzip" or not there("umoci") else (CHOOSY,))]


def buildah(corpus, codec):
    """The filling of the container is prepared; the export alone is measured. Its commit knows gzip, its push zstd."""
    if codec == "estargz":
        return []
    b = "buildah --root $PWD/root --runroot $PWD/runroot --storage-driver vfs"
    fill = f"c=$({b} from --name c scratch) && {b} add -q c {shlex.quote(corpus['tree'])} / > log"
    if codec == "zstd":
        return [Tool("buildah push", f"{b} push -q --compression-format zstd image oci:out:1", prepare=f"{fill} && {b} commit -q c image", needs=("buildah",))]
    return [Tool("buildah commit", f"{b} commit -q --disable-compression={str(codec == 'uncompressed').lower()} c oci:out:1",
                 prepare=fill, needs=("buildah",))]


def buildkit(corpus, codec):
    """Everything is built anew without an output; then the same with one, which has the build in its cache."""
    tree = shlex.quote(corpus["tree"])
    dockerfile = "printf 'FROM scratch\\nCOPY . /\\n' > Dockerfile"
    output = f"--output type=oci,tar=false,dest=out,compression={codec},force-compression=true"
    if succeeds("buildctl", "debug", "workers"):
        build, prune = f"buildctl build --progress plain --frontend dockerfile.v0 --local context={tree} --local dockerfile=.", "buildctl prune --all"
    else:
        build, prune = f"docker buildx build --progress plain --provenance=false -f Dockerfile {tree}", "docker buildx prune --all --force"
    return [Tool("BuildKit", f"{build} {output}", prepare=f"{prune} && {dockerfile} && {build}", needs=(BUILDKIT,))]


def all_of(command, corpus, codec, full):
    found = shiplap(command, corpus, codec)
    for others in (shell, skopeo, umoci, buildah, buildkit):
        found += others(corpus, codec)
    return [tool for tool in found if full or not tool.full]


# --- where ---


def first_match(pattern, text, otherwise="unknown"):
    found = re.search(pattern, text, re.MULTILINE)
    return found[1].strip() if found else otherwise


def machine(place, command):
    """Facts for the reader of a table, in the order in which to print them."""
    asked = {"tar": ["--version"], "gzip": ["--version"], "pigz": ["--version"], "zstd": ["--version"], "skopeo": ["--version"],
             "umoci": ["--version"], "buildah": ["--version"], "buildctl": ["--version"], "crane": ["version"], "curl": ["--version"],
             "docker-registry": ["--version"]}
    versions = {program: first_match(r"v?(\d+\.\d+(?:\.\d+)*)", output_of(program, *how)) for program, how in asked.items() if there(program)}
    memory = int(first_match(r"MemTotal: *(\d+)", pathlib.Path("/proc/meminfo").read_text(), "0"))
    return {"processor": first_match(r"model name\s*: *(.*)", pathlib.Path("/proc/cpuinfo").read_text()),
            "cores": len(os.sched_getaffinity(0)),
            "memory": f"{memory / 1e6:.0f} GB",
            "kernel": platform.release(),
            "file system": output_of("findmnt", "-n", "-o", "FSTYPE", "-T", place).strip(),
            "load at the start": f"{os.getloadavg()[0]:.2f}",
            "shiplap": first_match(r"(\d\S*)", output_of(command, "--version")),
            **versions}
