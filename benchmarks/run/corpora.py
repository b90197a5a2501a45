"""The two trees that everything is measured on, made anew from a fixed seed, and the tar of each.

usr     programs, libraries and documentation of this machine's /usr, chosen by a seeded shuffle: 980 MB
small   50,000 files like source, 146 MB, made of nothing but the seed: modules of C, Python and JavaScript, sizes
        distributed log-normally, names by Zipf's law, much repeated within a module and little beyond it
"""
import glob, hashlib, itertools, json, os, random, re, shutil, subprocess
from concurrent.futures import ProcessPoolExecutor

SEED = 5
ROOTS = ("bin", "sbin", "lib/*-linux-gnu", "share/doc", "share/man", "share/locale", "include", "lib/python3*",
         "share/perl", "libexec", "lib/gcc")
EPOCH = 1_700_000_000


# --- usr ---


def make_usr(root, size):
    files = sorted({os.path.join(folder, name)
                    for start in ROOTS for place in glob.glob("/usr/" + start)
                    for folder, _, names in os.walk(place) for name in names})
    random.Random(SEED).shuffle(files)
    left = size
    for path in files:
        if os.path.islink(path) or not os.path.isfile(path) or os.path.getsize(path) > left:
            continue
        to = root + path
        os.makedirs(os.path.dirname(to), exist_ok=True)
        shutil.copy2(path, to)
        left -= os.path.getsize(path)
    if left > size // 10:
        print(f"  /usr holds only {(size - left) / 1e6:.0f} of {size / 1e6:.0f} MB: less is measured")


# --- small ---

LICENCE = """Copyright (c) {year} The {project} Authors. All rights reserved.

Licensed under the terms of the {project} licence, version {version}; you may not use
this file except in compliance with it. A copy is in the file LICENCE at the top of
this tree. Unless required by applicable law or agreed to in writing, software
distributed under it is distributed on an "as is" basis, without warranties or
conditions of any kind, either express or implied, of {author} or others."""

# Lines of source: @ is a name, $ a number, ~ a word; + and - in front say how the indentation goes on.
C = r"""
+static int @(struct @ *@, size_t @) {
+if (@ == NULL || @->@ < $) {
+for (size_t i = 0; i < @; i++) {
+switch (@->@) {
-}
-}
-}
-}
 @->@ = @(@, @);
 struct @ *@ = @(sizeof *@);
 return -E@;
 @[i] = @[i + $] ^ 0x$;
 /* ~ ~ ~ ~ */
 #include "@/@.h"
 #define @_@ $
 @(@, "~ ~ ~\n", @);
 case @_@: return @(@);
 goto out;
 const char *@;
 extern int @(const struct @ *, unsigned @);
 /* ~ ~ ~ ~ ~ ~ ~\n * ~ ~ ~ ~ ~ */
 memcpy(@->@, @, sizeof @->@);

"""
PYTHON = r"""
+def @(self, @, @=None):
+class @(@):
+if @ is None:
+for @ in @.@():
+with @(@) as @:
-
-
-
-
-return self.@(@)
 self.@ = @
 # ~ ~ ~ ~ ~
 from @.@ import @
 @ = @.@(@, @=$)
 raise @("~ ~ ~ %s" % @)
 '''~ ~ ~ ~ ~'''
 assert @ == $
 @ = [@.@ for @ in @ if @]
 '@': @,
 self.assertEqual(@.@(@), $)
 @.append((@, '@', $))
"""
SCRIPT = r"""
+export function @(@, @) {
+if (!@.@) {
+describe('~ ~ ~', () => {
+it('~ ~ ~ ~', async () => {
-}
-};
-});
-});
 const @ = require('./@/@');
 return this.@.@(@);
 // ~ ~ ~ ~ ~
 let @ = @.@(@ => @.@);
 throw new @(`~ ~ ~`);
 expect(@.@).toBe($);
 this.@ = @ || $;
 @: '~ ~',
 @: @,
 var @ = @[$];
 /** ~ ~ ~ ~ ~ ~ */
 await @.@(@, { @: $ });
 import { @ } from '@';

"""
LANGUAGES = {".c": (C, "\t", "/*", " * ", " */"), ".h": (C, "\t", "/*", " * ", " */"),
             ".py": (PYTHON, "    ", "", "# ", ""), ".js": (SCRIPT, "  ", "/**", " * ", " */")}


def patterns_of(text):
    """Each line as its step of indentation, a %-pattern, and the marks that it takes."""
    lines = [(line[:1], line[1:].replace("%", "%%").replace("\\n * ", "\n * ")) for line in text.split("\n")[1:-1]]
    return [({"+": 1, "-": -1}.get(step, 0), re.sub("[@$~]", "%s", line), re.findall("[@$~]", line)) for step, line in lines]


PATTERNS = {ending: patterns_of(language[0]) for ending, language in LANGUAGES.items()}


def syllables(rng, count):
    """Words that can be pronounced, the frequent ones first and shorter."""
    parts = ["".join(pair) for pair in itertools.product("bcdfghklmnprstvw", "aeiou")] + ["st", "er", "in", "con", "ing", "al"]
    words = {"".join(rng.choices(parts, k=1 + (i > 60) + (i > 1000) + rng.randrange(2))): None for i in range(count * 2)}
    return list(words)[:count]


def by_rank(count, exponent):
    return list(itertools.accumulate(1 / (rank + 2) ** exponent for rank in range(count)))


def make_module(root, number, sizes):
    """One module: its own directories and names, one licence, mostly one language."""
    shared = random.Random(SEED)  # words that all modules have
    words = syllables(shared, 4000)
    rng = random.Random(SEED * 1_000_000 + number)
    picked = [rng.choice(words) for _ in range(700)]
    names = [rng.choice((str, str, str.upper, str.capitalize))(
                 rng.choice(("", "", "_")).join(itertools.islice(itertools.cycle(rng.sample(picked, 3)), rng.choice((1, 2, 2, 3)))))
             for _ in range(800)]
    licence = LICENCE.format(year=rng.randrange(1995, 2024), project=rng.choice(words).capitalize(), version=rng.randrange(1, 4),
                             author=" ".join(rng.sample(words, 2)).title()).split("\n")
    name_ranks, word_ranks, local_ranks = by_rank(len(names), 1.1), by_rank(len(words), 1.05), by_rank(45, 0.9)
    main = rng.choice(list(LANGUAGES))

    folders = [f"{rng.choice(('lib', 'src', 'pkg', 'third_party'))}/{rng.choice(words)}{number}"]
    for _ in range(len(sizes) // 10):
        parent = rng.choice(folders[-12:] if rng.random() < 0.3 else folders)
        if parent.count("/") < 7:
            folders.append(f"{parent}/{rng.choice(picked)}")
    for index, size in enumerate(sizes):
        ending = main if rng.random() < 0.8 else rng.choice(list(LANGUAGES))
        _, unit, opening, bar, closing = LANGUAGES[ending]
        lines = [opening, *(bar + line for line in licence), closing, ""] if rng.random() < 0.6 and size > 1500 else []
        head, length = len(lines), sum(len(line) + 1 for line in lines)
        local = rng.choices(names, cum_weights=name_ranks, k=45)  # what this file is about
        count = size // 12 + 40
        sources = {"@": iter(rng.choices(local, cum_weights=local_ranks, k=count)), "$": map(str, iter(lambda: rng.randrange(1 << rng.randrange(1, 9)), None)),
                   "~": iter(rng.choices(words, cum_weights=word_ranks, k=count))}
        depth = 0
        for step, pattern, marks in iter(lambda: rng.choice(PATTERNS[ending]), None):
            if length > size:
                break
            line = unit * (depth - (step < 0)) + pattern % tuple([next(sources[mark]) for mark in marks])
            depth = min(max(depth + step, 0), 5)
            if rng.random() < 0.1:
                line = lines[rng.randrange(head, len(lines))] if len(lines) > head else line  # copied by whoever wrote it
            lines.append(line)
            length += len(line) + 1
        folder = os.path.join(root, rng.choice(folders))
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, f"{rng.choice(picked)}_{index}{ending}")
        with open(path, "w") as file:
            file.write("\n".join(lines)[: size - 1] + "\n")
        os.chmod(path, 0o755 if rng.random() < 0.02 else 0o644)
        when = EPOCH - rng.randrange(10 ** 8)
        os.utime(path, (when, when))


def make_small(root, count, size):
    rng = random.Random(SEED)
    drawn = [min(max(rng.lognormvariate(0, 1.2), 0.03), 150) for _ in range(count)]
    scale = (size - 40 * count) / sum(drawn)
    sizes = [40 + int(one * scale) for one in drawn]
    sizes[0] += size - sum(sizes)
    modules = max(count // 250, 2)
    with ProcessPoolExecutor() as pool:
        jobs = [pool.submit(make_module, root, number, sizes[number::modules]) for number in range(modules)]
        for job in jobs:
            job.result()


# --- both ---


MAKERS = {"usr": (make_usr, {"size": 980_000_000}, {"size": 60_000_000}),
          "small": (make_small, {"count": 50_000, "size": 146_000_000}, {"count": 3_000, "size": 8_760_000})}


def tar_of(tree, to):
    """The tree as a tar whose bytes do not depend on the order or the owner of files here; its SHA-256."""
    hashing = hashlib.sha256()
    with subprocess.Popen(["tar", "-C", tree, "--sort=name", "--format=gnu", "--owner=0", "--group=0", "--numeric-owner",
                           "-cf", "-", "."], stdout=subprocess.PIPE) as tar, open(to, "wb") as file:
        while block := tar.stdout.read(1 << 20):
            hashing.update(block)
            file.write(block)
    if tar.returncode:
        raise RuntimeError("tar failed on " + tree)
    return hashing.hexdigest()


def prepare(place, name, quick):
    """Makes the corpus, unless it is there from an earlier run. Reads all of it, so that it is in memory."""
    make, whole, scaled = MAKERS[name]
    size = scaled if quick else whole
    tree, tar, recorded = (os.path.join(place, name + end) for end in ("", ".tar", ".json"))
    if not os.path.exists(recorded):
        print(f"making the corpus {name}", flush=True)
        shutil.rmtree(tree, ignore_errors=True)
        os.makedirs(tree)
        make(tree, **size)
        for folder, _, _ in os.walk(tree, topdown=False):
            os.chmod(folder, 0o755)
            os.utime(folder, (EPOCH, EPOCH))
    digest = tar_of(tree, tar)
    files = [os.path.join(folder, file) for folder, _, names in os.walk(tree) for file in names]
    facts = {"name": name, "tree": tree, "tar": tar, "digest": digest, "files": len(files),
             "bytes": sum(map(os.path.getsize, files)), "tar_bytes": os.path.getsize(tar)}
    if os.path.exists(recorded) and json.load(open(recorded))["digest"] != digest:
        raise RuntimeError(f"{tree} is no longer what was made here; remove {place}")
    with open(recorded, "w") as file:
        json.dump(facts, file)
    print(f"corpus {name}: {facts['files']} files, {facts['bytes'] / 1e6:.1f} MB, digest of its tar {digest[:16]}", flush=True)
    return facts
