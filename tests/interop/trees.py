#!/usr/bin/python3
"""trees.py FOLDER odd | random SEED: makes a tree for the interop tests.

Root gets what only root can make as well: owners, device nodes, capabilities.
"""

import os
import random
import socket
import stat
import struct
import sys

from common import IS_ROOT

SECOND = 10**9

# VFS_CAP_REVISION_2 with the effective bit; permitted: cap_net_raw. See linux/capability.h.
CAP_NET_RAW = struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0)


class Maker:
    """Makes files below `root`; names are bytes. Times of folders are set by finish(), when nothing moves any more."""

    def __init__(self, root):
        self.root = os.fsencode(root)
        self.folder_times = {}
        os.makedirs(self.root)

    def path(self, name):
        return os.path.join(self.root, name)

    def file(self, name, content=b"content\n", mode=0o644, time=1_600_000_000 * SECOND, owner=None):
        with open(self.path(name), "wb") as file:
            file.write(content)
        self.dress(name, mode, time, owner)

    def dress(self, name, mode, time, owner=None):
        """Owner before mode: a change of owner clears set-id bits. The time is in nanoseconds."""
        if owner and IS_ROOT:
            os.chown(self.path(name), *owner)
        os.chmod(self.path(name), mode)
        os.utime(self.path(name), ns=(time, time))

    def folder(self, name, mode=0o755, time=1_600_000_000 * SECOND, owner=None):
        os.makedirs(self.path(name))
        if owner and IS_ROOT:
            os.chown(self.path(name), *owner)
        self.folder_times[name] = (mode, time)

    def symlink(self, name, target, time=1_600_000_000 * SECOND, owner=None):
        os.symlink(target, self.path(name))
        if owner and IS_ROOT:
            os.chown(self.path(name), *owner, follow_symlinks=False)
        os.utime(self.path(name), ns=(time, time), follow_symlinks=False)

    def hard_link(self, name, of):
        os.link(self.path(of), self.path(name), follow_symlinks=False)

    def node(self, name, kind, mode=0o600, device=0, time=1_600_000_000 * SECOND):
        os.mknod(self.path(name), kind | mode, device)
        self.dress(name, mode, time)

    def finish(self):
        for name in sorted(self.folder_times, reverse=True):
            mode, time = self.folder_times[name]
            self.dress(name, mode, time)
        for folder, folders, files in os.walk(self.root, topdown=False):
            for name in (os.path.join(folder, n) for n in folders):
                if os.path.relpath(name, self.root) not in self.folder_times and not os.path.islink(name):
                    os.utime(name, (1_600_000_000, 1_600_000_000))
        os.utime(self.root, (1_600_000_000, 1_600_000_000))


def odd(root, text_only=False, latest=None):
    """Everything that a tree may hold and that is easy to get wrong.

    text_only leaves out names that are not UTF-8; `latest` is one more time, in seconds, for a file.
    """
    make = Maker(root)

    make.folder(b"names")
    names = [b"new\nline", b"tab\there", b"back\\slash", b"quote\"s'", b"percent%41", b"\x01control\x7f", b" lead",
             b"trail ", b"-dash", b"star*?[]", b"=equals", b"caf\xc3\xa9", b"cafe\xcc\x81", "☃ 雪人".encode(),
             "🚢".encode(), b"<&>", b"...", b".hidden", b"a", b"a b", b"a-b", b"a.b", b"B"]
    if not text_only:
        names += [b"\xff\xfe", b"latin\xe9", b"cut\xc3", b"\xed\xa0\x80", b"\xc0\xaf"]
    for name in names:
        make.file(b"names/" + name, name)
    make.folder(b"names/a+b")  # "a", "a b", "a+b/x", "a-b": the order of a walk is not the order of whole paths
    make.file(b"names/a+b/x")

    # Path lengths around what a ustar header holds, and components as long as they may be.
    make.folder(b"lengths")
    for length in (98, 99, 100, 101, 154, 155, 156, 255, 256, 257, 300):
        path = b"lengths/" + b"p%d" % length
        if length - len(path) > 240:
            path += b"-" + b"d" * 100
            make.folder(path)
            path += b"/"
        make.file(path + b"x" * (length - len(path)))
    make.folder(b"lengths/" + b"c" * 255)
    make.file(b"lengths/" + b"c" * 255 + b"/" + "é".encode() * 127)
    deep = b"deep"
    for level in range(200):
        make.folder(deep)
        deep += b"/%d" % (level % 10)
    make.file(deep, b"at the bottom\n")

    make.folder(b"links")
    make.file(b"links/z-first-by-inode", b"hard" * 1000)
    for name in b"links/a-first-by-name", b"links/m\xc3\xbc", b"second-of-hard", b"links/" + b"h" * 120:
        make.hard_link(name, b"links/z-first-by-inode")
    make.symlink(b"links/self", b"self")
    make.symlink(b"links/ping", b"pong")
    make.symlink(b"links/pong", b"ping")
    make.symlink(b"links/up", b"../../../../../../etc/passwd")
    make.symlink(b"links/absolute", b"/names/a", owner=(1, 2))
    make.symlink(b"links/to-folder", b"../names")
    make.symlink(b"links/long", b"t" * 300)
    make.symlink(b"links/hundred", b"t" * 100)
    make.symlink(b"links/odd", "nowhere/ü".encode() if text_only else b"nowhere/\xff\n")
    make.symlink(b"links/dated", b"self", time=123_456_789 * SECOND + 987_654_321)
    make.hard_link(b"links/self-again", b"links/self")

    make.folder(b"modes", mode=0o1777)
    for mode in (0o000, 0o444, 0o755, 0o4755, 0o2755, 0o1644, 0o6711, 0o7777):
        if not IS_ROOT and not mode & 0o400:
            continue  # nobody else could read it
        # set-id bits on somebody else's files: a wrong order of chown and chmod loses them
        make.file(b"modes/%04o" % mode, mode=mode, owner=(1000, 1000))
    make.folder(b"modes/setgid", mode=0o2750, owner=(0, 50))
    make.folder(b"modes/closed", mode=0o500)
    make.file(b"modes/closed/inside")

    make.folder(b"times", time=-77 * SECOND)
    times = {"epoch": 0, "one": SECOND, "below": 123 * SECOND + 999_999_999, "tiny": 123 * SECOND + 1,
             "before": -SECOND, "half-before": -SECOND // 2, "long-before": -2_000_000_000 * SECOND,
             "after-2038": 2**31 * SECOND, "octal-end": (2**33 - 1) * SECOND, "after-octal": 2**33 * SECOND + 5}
    if latest is not None:
        times["latest"] = latest * SECOND
    for name, time in times.items():
        make.file(b"times/" + name.encode(), time=time)
        make.symlink(b"times/link-" + name.encode(), name.encode(), time=time)

    make.folder(b"sizes")
    for size in (0, 1, 511, 512, 513, 1024, 65535):
        make.file(b"sizes/%d" % size, bytes(i * 7 % 256 for i in range(size)))
    # A hole, data, a hole: more than two chunks of an eStargz layer, more than one block of parallel codecs.
    with open(make.path(b"sizes/sparse"), "wb") as file:
        file.seek(5_000_000)
        file.write(random.Random("sparse").randbytes(100_000))
        file.truncate(9_000_001)
    make.dress(b"sizes/sparse", 0o644, 5 * SECOND)
    make.folder(b"sizes/empty-folder")

    make.folder(b"nodes")
    make.node(b"nodes/fifo", stat.S_IFIFO, 0o640)
    with socket.socket(socket.AF_UNIX) as listener:  # skipped: tar has no type for it
        here = os.open(make.path(b"nodes"), os.O_PATH)
        listener.bind(f"/proc/self/fd/{here}/socket")
        os.close(here)
    if IS_ROOT:
        make.node(b"nodes/null", stat.S_IFCHR, 0o666, os.makedev(1, 3))
        make.node(b"nodes/large-numbers", stat.S_IFCHR, 0o600, os.makedev(4000, 1_000_000))
        make.node(b"nodes/loop", stat.S_IFBLK, 0o660, os.makedev(7, 0))
        make.hard_link(b"nodes/null-again", b"nodes/null")

        make.folder(b"owners", owner=(65534, 65533))
        for number in (1, 65536, 2_097_151, 2_097_152, 2**31, 2**32 - 2):  # the third is the last that fits octal
            make.file(b"owners/%d" % number, owner=(number, 2**32 - 1 - number))
        make.folder(b"capabilities")
        make.file(b"capabilities/ping", b"program", mode=0o755)
        os.setxattr(make.path(b"capabilities/ping"), "security.capability", CAP_NET_RAW)
        make.hard_link(b"capabilities/ping-again", b"capabilities/ping")
        os.utime(make.path(b"capabilities/ping"), (99, 99))
    make.finish()


WORDS = [b"a", b"b", b"a.b", b"a-b", b"lib", b"bin", b"x" * 90, "é".encode(), b"z z", b"A"]


def random_file(make, dice, name):
    """One thing that is no folder, under a new name."""
    time = dice.choice([dice.randrange(10**9, 2 * 10**9) * SECOND, dice.randrange(-10**18, 5 * 10**18)])
    owner = (dice.choice([0, 0, 1000, 3_000_000]), dice.choice([0, 0, 1000]))
    match dice.randrange(9):
        case 0:
            make.symlink(name, dice.choice([b"a", b"../b", b"/lib", b"nowhere" * 20]), time, owner)
        case 1:
            make.node(name, stat.S_IFIFO, 0o600, time=time)
        case 2 if IS_ROOT:
            make.node(name, stat.S_IFCHR, 0o600, os.makedev(1, dice.randrange(3, 9)), time)
        case _:
            content = dice.randbytes(dice.choice([0, 1, 100, 512, 5000])) * dice.choice([1, 1, 20])
            make.file(name, content, dice.choice([0o644, 0o755, 0o600, 0o4755]), time, owner)
            if IS_ROOT and dice.random() < 0.1:
                os.setxattr(make.path(name), "security.capability", CAP_NET_RAW)
                os.utime(make.path(name), ns=(time, time))


def populate(make, dice, folder, budget, depth=0):
    files = []
    for word in dice.sample(WORDS, dice.randrange(1, len(WORDS))):
        name = os.path.join(folder, word)
        if os.path.lexists(make.path(name)):
            continue
        if depth < 4 and dice.random() < 0.35:
            make.folder(name, dice.choice([0o755, 0o700, 0o1777]), dice.randrange(2 * 10**9) * SECOND)
            budget = populate(make, dice, name, budget, depth + 1)
        elif files and dice.random() < 0.15:
            make.hard_link(name, dice.choice(files))
        else:
            random_file(make, dice, name)
            files.append(name)
        budget -= 1
        if budget <= 0:
            break
    return budget


def random_tree(root, seed):
    """Up to 60 things, the same ones for the same seed."""
    make = Maker(root)
    populate(make, random.Random(f"tree {seed}"), b"", 60)
    make.finish()


def mutate(root, seed):
    """Changes a tree as somebody at work would: adds, removes, replaces, renames, touches, chmods, chowns, links."""
    dice = random.Random(f"change {seed}")
    make = Maker.__new__(Maker)
    make.root, make.folder_times = os.fsencode(root), {}

    def everything():
        return sorted(os.path.relpath(os.path.join(folder, name), make.root)
                      for folder, folders, files in os.walk(make.root) for name in folders + files)

    def remove(name):
        path = make.path(name)
        if os.path.isdir(path) and not os.path.islink(path):
            for child in os.listdir(path):
                remove(os.path.join(name, child))
            os.rmdir(path)
        else:
            os.unlink(path)

    def is_folder(name):
        return os.path.isdir(make.path(name)) and not os.path.islink(make.path(name))

    for step in range(dice.randrange(1, 15)):
        present = everything()
        if not present:
            break
        name = dice.choice(present)
        match dice.randrange(9):
            case 0:
                remove(name)
            case 1:  # of another kind, perhaps
                remove(name)
                random_file(make, dice, name)
            case 2:
                remove(name)
                make.folder(name)
                populate(make, dice, name, 5, depth=3)
            case 3:
                folder = name if is_folder(name) else os.path.dirname(name)
                new = os.path.join(folder, b"new%d" % step)
                random_file(make, dice, new)
            case 4 if not os.path.islink(make.path(name)):
                os.chmod(make.path(name), dice.choice([0o711, 0o640, 0o6755]))
            case 5:
                time = dice.randrange(10**9) * SECOND + dice.randrange(SECOND)
                os.utime(make.path(name), ns=(time, time), follow_symlinks=False)
            case 6 if IS_ROOT:
                os.chown(make.path(name), dice.randrange(5000), dice.randrange(5000), follow_symlinks=False)
            case 7 if not is_folder(name):
                make.hard_link(os.path.join(os.path.dirname(name), b"same%d" % step), name)
            case 8:
                os.rename(make.path(name), make.path(b"moved%d" % step))
    for name in make.folder_times:
        if is_folder(name):
            os.utime(make.path(name), (1_650_000_000, 1_650_000_000))


if __name__ == "__main__":
    match sys.argv[1:]:
        case [folder, "odd"]:
            odd(folder)
        case [folder, "random", seed]:
            random_tree(folder, seed)
        case _:
            sys.exit(__doc__)
