#!/usr/bin/env python3
"""golden_tree.py FOLDER plain|links: makes a tree whose layer has one right digest, known from BuildKit. Needs root.

Nothing is left to the clock, the umask or the user: the content comes from Python's Mersenne Twister, seeded with the
name of the tree, and every owner, mode and time is set.
"""

import os
import random
import sys

BASE_TIME = 1_600_000_000


def write(path, content, mode=0o644, seconds=BASE_TIME):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)
    os.chmod(path, mode)
    os.utime(path, (seconds, seconds))


def plain(root):
    """Forty files of random size, content, mode and time in seven folders; an empty file; empty folders."""
    dice = random.Random("plain")
    for i in range(40):
        content = dice.randbytes(dice.randrange(0, 9000))
        mode = dice.choice([0o644, 0o755, 0o600])
        write(f"{root}/d{i % 7:02}/f{i:02}.txt", content, mode, BASE_TIME + dice.randrange(10**7))
    write(f"{root}/empty", b"")
    os.makedirs(f"{root}/emptydir/sub")


def links(root):
    """One file with three names, and symbolic links: relative, to itself, long, absolute."""
    write(f"{root}/b/orig", b"data" * 1000)
    os.mkdir(f"{root}/a")
    for name in "a/hard", "c":
        os.link(f"{root}/b/orig", f"{root}/{name}")
    for name, target in ("a/sym", "../b/orig"), ("loop", "loop"), ("longtarget", "x" * 150), ("z", "/abs/olute"):
        os.symlink(target, f"{root}/{name}")


def settle(root):
    """Gives folders and links the base time, those at the bottom first."""
    for folder, folders, files in os.walk(root, topdown=False):
        for path in (os.path.join(folder, name) for name in folders + files):
            if os.path.islink(path) or os.path.isdir(path):
                os.utime(path, (BASE_TIME, BASE_TIME), follow_symlinks=False)
    os.utime(root, (BASE_TIME, BASE_TIME))


if __name__ == "__main__":
    trees = {"plain": plain, "links": links}
    if len(sys.argv) != 3 or sys.argv[2] not in trees:
        sys.exit(__doc__)
    os.umask(0o022)
    os.makedirs(sys.argv[1])
    trees[sys.argv[2]](sys.argv[1])
    settle(sys.argv[1])
