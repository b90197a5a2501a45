#!/usr/bin/python3
"""registry.py COMMAND [WORD...]: the command and Debian's docker-registry, with skopeo and umoci as further witnesses.

Everything runs on loopback. With WORDs only what has one of them in its label.
"""

import base64
import contextlib
import io
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
import traceback

import registry_server
import trees
from common import (Failure, Report, Shiplap, Workplace, expect, expect_equal, expect_same_tree, has, run, skopeo_copy,
                    survey, umoci_unpack, without_devices)
from registry_server import Authority, Registry, Relay, TokenService, htpasswd, sha256

CODECS = ["uncompressed", "gzip", "estargz", "zstd"]
USER, PASSWORD = "somebody", "pass: w0rd+of/the~day"
SECRETS = [PASSWORD, base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode(), "eyJ"]  # the last begins a token
MIB = 1 << 20
NAME = "registry.localhost"  # on loopback, though a registry of this name is taken for one on the network


class Bench:
    """What all cases share."""

    def __init__(self, command, work):
        self.command, self.work = command, work
        self.tree = work.place("tree")
        trees.odd(self.tree, text_only=True)
        self.small = work.place("small")
        self.small.mkdir()
        (self.small / "file").write_text("content\n")

    def fresh(self):
        """The environment of somebody who never was here: the store has what the command remembers of registries."""
        return {"SHIPLAP_STORE": str(self.work.place("store"))}

    def push(self, name, *words, more="", inputs=None, env=None):
        """Packs and pushes; returns the digest."""
        return self.command("-o", "type=image,push=true" + (f",name={name}" if name else "") + more, *words,
                            *([self.tree] if inputs is None else inputs), env=env or self.fresh())[0]

    def copy(self, *words, env=None):
        return self.command("copy", *words, env=env or self.fresh())[0]

    def inspect(self, image, *words, env=None):
        return json.loads(self.command.run("inspect", "--json", image, *words, env=env or self.fresh()).stdout)

    def refused(self, *words, says, code=1, within=10, env=None):
        """It must fail soon, with one sentence that has these fragments."""
        start = time.monotonic()
        done = self.command.run(*words, fails=True, env=env or self.fresh())
        took, message = time.monotonic() - start, done.stderr.decode()
        expect_equal(done.returncode, code, f"exit status with {message!r}")
        expect(took < within, f"it took {took:.1f} s: {message}")
        expect_equal(len(message.strip().splitlines()), 1, f"lines of {message!r}")
        for fragment in says:
            expect(fragment in message, f"no {fragment!r} in {message!r}")
        without_secrets(done)

    def layers(self, count, seed):
        """Small tars, each of other content."""
        folder = self.work.place("layers")
        folder.mkdir()
        for number in range(count):
            with tarfile.open(folder / f"{number:03}.tar", "w") as archive:
                content = random.Random(f"{seed}.{number}").randbytes(500)
                member = tarfile.TarInfo(f"file-{number}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        return sorted(folder.iterdir())


def without_secrets(done):
    for secret in SECRETS:
        expect(secret.encode() not in done.stdout + done.stderr, f"the output has {secret!r}: {done.stderr!r}")
    return done


def blobs_of(image):
    manifest = image["manifests"][0]
    return [manifest["config"]["digest"], *(layer["digest"] for layer in manifest["layers"])]


def layers_of(image):
    return blobs_of(image)[1:]


def uploads(requests):
    """Those that carry blobs."""
    return [r for r in requests if r.method in ("PUT", "PATCH") and "/blobs/uploads/" in r.path]


def mounts(requests):
    return [r for r in requests if r.method == "POST" and "mount=" in r.path and r.status == 201]


def changes(requests):
    return [r for r in requests if r.method not in ("GET", "HEAD")]


def fetched(requests, digests):
    return [r for r in requests if r.method == "GET" and any(f"/blobs/{digest}" in r.path for digest in digests)]


# --- no login, no TLS ------------------------------------------------------------------------------------


class Plain:
    def __init__(self, bench, registry):
        self.bench, self.work, self.registry, self.count = bench, bench.work, registry, 0

    def repository(self, name="app"):
        self.count += 1
        return f"test-{self.count}/{name}"

    def name(self, repository, tag="1"):
        return f"{self.registry.host}/{repository}:{tag}"

    def round_trip(self, codec, flavour):
        """The digest is the same for us, the registry and skopeo, and what comes back is what was packed."""
        bench, repository = self.bench, self.repository()
        name = self.name(repository)
        digest = bench.push(name, more=f",compression={codec},oci-mediatypes={'true' if flavour == 'oci' else 'false'}")
        expect_equal(self.registry.digest_of(repository, "1"), digest, "digest in the registry")
        layout, rootfs = self.work.place("layout"), self.work.place("rootfs")
        expect_equal(bench.copy(f"docker://{name}", f"oci-layout:{layout}:{name}"), digest, "digest of the copy")
        image = bench.inspect(f"oci-layout:{layout}:{name}")
        expect_equal(bench.inspect(f"docker://{name}")["manifests"], image["manifests"], "the image in the registry")
        bench.copy(f"docker://{name}", f"rootfs:{rootfs}")
        expect_same_tree(survey(rootfs), without_devices(survey(bench.tree)))
        if has("skopeo") and (codec, flavour) != ("zstd", "docker"):  # a media type that skopeo does not know
            seen = json.loads(run("skopeo", "inspect", "--tls-verify=false", f"docker://{name}").stdout)
            expect_equal((seen["Digest"], seen["Layers"]), (digest, layers_of(image)), "what skopeo sees")
            folder = self.work.place("dir")
            skopeo_copy(f"docker://{name}", f"dir:{folder}", "--src-tls-verify=false")
            expect_equal(sha256((folder / "manifest.json").read_bytes()), digest, "manifest in skopeo's copy")
            for blob in blobs_of(image):
                expect_equal(sha256((folder / blob.split(":")[1]).read_bytes()), blob, "blob in skopeo's copy")

    def of_skopeo(self):
        """What skopeo pushed is read."""
        bench, repository = self.bench, self.repository()
        layout = self.work.place("layout")
        digest = bench.command("-o", f"type=oci,tar=false,dest={layout}", "-t", "a:1", bench.tree)[0]
        skopeo_copy(f"oci:{layout}:1", f"docker://{self.name(repository)}", "--dest-tls-verify=false")
        expect_equal(self.registry.digest_of(repository, "1"), digest, "digest of what skopeo pushed")
        expect_equal(blobs_of(bench.inspect(f"docker://{self.name(repository)}")),
                     blobs_of(bench.inspect(f"oci-layout:{layout}")), "blobs")

    def names(self):
        bench, first, second = self.bench, self.repository(), self.repository()
        digest = bench.push("", "-t", self.name(first), "-t", self.name(first, "latest"), "-t", self.name(second, "x"))
        for repository, tags in (first, ["1", "latest"]), (second, ["x"]):
            expect_equal(self.registry.tags(repository), tags, f"tags of {repository}")
            for tag in tags:
                expect_equal(self.registry.digest_of(repository, tag), digest, f"digest of {repository}:{tag}")

    def by_digest(self):
        bench, repository = self.bench, self.repository()
        digest = bench.push(f"{self.registry.host}/{repository}", more=",push-by-digest=true")
        expect_equal(self.registry.digest_of(repository, digest), digest, "digest")
        expect_equal(self.registry.tags(repository), [], "tags")
        expect_equal(bench.inspect(f"docker://{self.registry.host}/{repository}@{digest}")["root"]["digest"], digest,
                     "image")
        bench.refused("-o", f"type=image,push=true,push-by-digest=true,name={self.name(repository)}", bench.small,
                      says=["can't push tagged ref"], code=2)

    def dangling(self):
        bench, env, prefix = self.bench, self.bench.fresh(), f"{self.registry.host}/{self.repository()}"
        digest = bench.push("", more=f",dangling-name-prefix={prefix}", env=env)
        expect_equal(self.registry.digest_of(prefix.partition("/")[2], digest), digest, "digest")
        expect_equal(self.registry.tags(prefix.partition("/")[2]), [], "tags")
        expect_equal(bench.inspect(f"store:{prefix}@{digest}", env=env)["root"]["digest"], digest, "image in the store")

    def canonical(self):
        bench, env, name = self.bench, self.bench.fresh(), self.name(self.repository())
        digest = bench.push(name, more=",name-canonical=true", env=env)
        for image in f"store:{name}", f"store:{name}@{digest}":
            expect_equal(bench.inspect(image, env=env)["root"]["digest"], digest, image)

    def travels(self, flavour):
        """To every other place and back."""
        bench, origin = self.bench, self.name(self.repository())
        bench.push(origin, more=f",oci-mediatypes={'true' if flavour == 'oci' else 'false'}")
        wanted = bench.inspect(f"docker://{origin}")
        env = bench.fresh()
        for kind in "oci-layout", "oci-archive", "docker-archive", "store":
            there = f"store:{origin}" if kind == "store" else f"{kind}:{self.work.place(kind)}:{origin}"
            back = f"docker://{self.name(self.repository())}"
            bench.copy(f"docker://{origin}", there, env=env)
            expect_equal(bench.inspect(there, env=env)["manifests"], wanted["manifests"], f"image in {kind}")
            bench.copy(there, back, env=env)
            expect_equal(bench.inspect(back)["root"]["digest"], wanted["root"]["digest"], f"image from {kind}")
            expect_equal(bench.inspect(back)["manifests"], wanted["manifests"], f"image from {kind}")

    def second_run(self):
        """Nothing moves that is there; neither is anything asked twice."""
        bench, name, env = self.bench, self.name(self.repository()), self.bench.fresh()
        layout = self.work.place("layout")
        digest = bench.push(name, env=env)
        bench.copy(f"docker://{name}", f"oci-layout:{layout}:{name}")
        layers = layers_of(bench.inspect(f"docker://{name}"))
        steps = {"the same push": lambda: bench.push(name, env=env),
                 "the same push by somebody else": lambda: bench.push(name),
                 "a copy of it": lambda: bench.copy(f"oci-layout:{layout}:{name}", f"docker://{name}"),
                 "a copy to itself": lambda: bench.copy(f"docker://{name}", f"docker://{name}")}
        for label, step in steps.items():
            with self.registry.watch() as seen:
                expect_equal(step(), digest, f"digest of {label}")
            expect_equal(changes(seen), [], label)
            expect_equal(fetched(seen, layers), [], f"layers fetched by {label}")
            if label == "the same push":
                expect_equal(len(seen), 3, f"requests of {label}")  # the tag, the layer and the configuration

    def mounted(self):
        bench, env = self.bench, self.bench.fresh()
        first, second, third, fourth = (self.repository() for _ in range(4))
        digest = bench.push(self.name(first), env=env)
        with self.registry.watch() as seen:
            bench.push(self.name(second), env=env)
        expect_equal((uploads(seen), len(mounts(seen))), ([], 2), "a push to another repository")
        with self.registry.watch() as seen:  # by somebody who was never here
            bench.copy(f"docker://{self.name(first)}", f"docker://{self.name(third)}")
        expect_equal((uploads(seen), len(mounts(seen))), ([], 2), "a copy to another repository")
        expect_equal(fetched(seen, layers_of(bench.inspect(f"docker://{self.name(first)}"))), [], "layers fetched")
        for repository in second, third:
            expect_equal(self.registry.digest_of(repository, "1"), digest, f"digest in {repository}")
        # What is remembered need not be true any more.
        for blob in blobs_of(bench.inspect(f"docker://{self.name(first)}")):
            for repository in first, second:
                self.registry.ask(f"/v2/{repository}/blobs/{blob}", "DELETE")
        expect_equal(bench.push(self.name(fourth), env=env), digest, "digest after the others are gone")
        expect_equal(self.registry.digest_of(fourth, "1"), digest, "digest in the fourth")

    # --- on top of an image in a registry ---

    def base(self):
        name = self.name(self.repository("base"))
        self.bench.push(name, "--env", "A=b", inputs=[self.bench.tree])
        return name, layers_of(self.bench.inspect(f"docker://{name}"))

    def above_in_the_same_registry(self):
        bench, (base, below), repository = self.bench, self.base(), self.repository("above")
        env = bench.fresh()
        with self.registry.watch() as seen:
            digest = bench.push(self.name(repository), "--from", f"docker://{base}", inputs=[bench.small], env=env)
        expect_equal(self.registry.digest_of(repository, "1"), digest, "digest")
        expect_equal(fetched(seen, below), [], "blobs of the base that were fetched")
        expect_equal((len(mounts(seen)), len(uploads(seen))), (1, 2), "mounts and uploads")
        image = bench.inspect(f"docker://{self.name(repository)}")
        expect_equal(layers_of(image)[:-1], below, "layers of the base")
        if has("skopeo"):
            skopeo_copy(f"docker://{self.name(repository)}", f"dir:{self.work.place('dir')}", "--src-tls-verify=false")
        expect(not (pathlib.Path(env["SHIPLAP_STORE"]) / "index.json").exists(), "there is an image in the store")

    def above_with_store(self):
        bench, (base, below), env = self.bench, self.base(), self.bench.fresh()
        name = self.name(self.repository("above"))
        with self.registry.watch() as seen:
            digest = bench.push(name, "--from", f"docker://{base}", more=",store=true", inputs=[bench.small], env=env)
        expect_equal(len(fetched(seen, below)), len(below), "blobs of the base that were fetched")
        expect_equal(bench.inspect(f"store:{name}", env=env)["root"]["digest"], digest, "image in the store")
        rootfs = self.work.place("rootfs")
        bench.copy(f"store:{name}", f"rootfs:{rootfs}", env=env)
        expect((rootfs / "file").read_text() == "content\n", "the upper layer is missing")

    def above_in_an_archive(self):
        bench, (base, below) = self.bench, self.base()
        archive, layout = self.work.place("above.tar"), self.work.place("layout")
        bench.command("--from", f"docker://{base}", "-o", f"type=oci,dest={archive}", "-t", "above:1", bench.small,
                      env=bench.fresh())
        expect_equal(layers_of(bench.inspect(f"oci-archive:{archive}"))[:-1], below, "layers of the base")
        wanted = {**without_devices(survey(bench.tree)), **survey(bench.small)}
        if has("skopeo") and has("umoci"):
            skopeo_copy(f"oci-archive:{archive}:1", f"oci:{layout}:1")
            rootfs = umoci_unpack(layout, "1", self.work.place("bundle"))
            expect_equal(sorted(without_devices(survey(rootfs))), sorted(wanted), "what umoci unpacks")

    # --- indexes ---

    def machine(self, repository, platform):
        return self.bench.push(f"{self.registry.host}/{repository}", "--platform", platform, "--env", f"P={platform}",
                               more=",push-by-digest=true", inputs=[self.bench.small])

    def index(self):
        """Of images that two machines pushed: as it is published, and what may not happen to it."""
        bench, repository, elsewhere = self.bench, self.repository(), self.repository()
        amd, arm = self.machine(repository, "linux/amd64"), self.machine(repository, "linux/arm64/v8")
        place, name = f"{self.registry.host}/{repository}", self.name(repository)
        digest = bench.command("index", "create", name, f"{place}@{amd}", f"{place}@{arm}",
                               "--annotation", "index:a=b", "--annotation", "manifest-descriptor[linux/amd64]:c=d",
                               env=bench.fresh())[0]
        expect_equal(self.registry.digest_of(repository, "1"), digest, "digest of the index")
        answer = self.registry.ask(f"/v2/{repository}/manifests/1", Accept=registry_server.MANIFESTS)
        index = json.loads(answer.body)
        expect_equal([(entry["digest"], entry["platform"]["architecture"], entry.get("annotations"))
                      for entry in index["manifests"]],
                     [(amd, "amd64", {"c": "d"}), (arm, "arm64", None)], "entries")
        expect_equal((index["annotations"], self.registry.tags(repository)), ({"a": "b"}, ["1"]), "annotations, tags")
        if has("skopeo"):
            skopeo_copy(f"docker://{name}", f"dir:{self.work.place('dir')}", "--src-tls-verify=false", "--all")
        # One that is not there
        bench.refused("index", "create", name, f"{place}@{amd}", f"{place}@sha256:{'0' * 64}", says=["0000"])
        expect_equal(self.registry.digest_of(repository, "1"), digest, "what the tag stands for")
        # Into another repository
        with self.registry.watch() as seen:
            bench.command("index", "create", self.name(elsewhere), f"{place}@{amd}", f"{place}@{arm}",
                          env=bench.fresh())
        expect_equal((uploads(seen), len(mounts(seen))), ([], 3), "uploads and mounts")  # two configurations, one layer
        found = bench.inspect(f"docker://{self.name(elsewhere)}")
        expect_equal([one["digest"] for one in found["manifests"]], [amd, arm], "images elsewhere")
        # Pulled as a whole, and as base for one of its platforms
        layout = self.work.place("layout")
        expect_equal(bench.copy(f"docker://{name}", f"oci-layout:{layout}:{name}"), digest, "digest of the copy")
        expect_equal(len(bench.inspect(f"oci-layout:{layout}:{name}")["manifests"]), 2, "images in the copy")
        bench.push(self.name(elsewhere, "above"), "--from", f"docker://{name}", "--platform", "linux/arm64",
                   inputs=bench.layers(1, "above"))
        above = bench.inspect(f"docker://{self.name(elsewhere, 'above')}")["manifests"][0]["configuration"]
        expect("P=linux/arm64/v8" in above["config"]["Env"], f"another image of the index is the base: {above}")

    def two_registries(self):
        """To both at once, from one to the other, and an index over images of both."""
        bench, first, second = self.bench, self.repository(), self.repository()
        with Registry(self.work.place("registry")) as other:
            names = [self.name(first), f"{other.host}/{first}:1"]
            digest = bench.push("", "-t", names[0], "-t", names[1], "--platform", "linux/amd64", inputs=[bench.small])
            for registry in self.registry, other:
                expect_equal(registry.digest_of(first, "1"), digest, "digest in both")
            with other.watch() as seen:
                bench.copy(f"docker://{names[1]}", f"docker://{self.name(second, 'copied')}")
            expect_equal(changes(seen), [], "changes in the registry that is read")
            expect_equal(self.registry.digest_of(second, "copied"), digest, "digest of the copy")
            arm = bench.push(f"{other.host}/{second}", "--platform", "linux/arm64", more=",push-by-digest=true",
                             inputs=[bench.small])
            bench.command("index", "create", self.name(second), names[0], f"{other.host}/{second}@{arm}",
                          env=bench.fresh())
        found = bench.inspect(f"docker://{self.name(second)}")
        expect_equal([one["digest"] for one in found["manifests"]], [digest, arm], "images in the index")
        if has("skopeo"):
            skopeo_copy(f"docker://{self.name(second)}", f"dir:{self.work.place('dir')}", "--src-tls-verify=false",
                        "--all")

    def platforms(self):
        """An index with attestations: everything is there, a second push moves nothing, no tag but the one asked for."""
        bench, repository, env = self.bench, self.repository(), self.bench.fresh()
        name, facts = self.name(repository), self.work.place("facts.json")
        facts.write_text('{"spdxVersion": "SPDX-2.3"}')
        words = [bench.small, "--platform", "linux/amd64", bench.tree, "--attest", f"type=sbom,file={facts}",
                 "--platform", "linux/arm64", bench.tree]
        digest = bench.push(name, inputs=words, env=env)
        expect_equal((self.registry.digest_of(repository, "1"), self.registry.tags(repository)), (digest, ["1"]), "tag")
        with self.registry.watch() as seen:
            expect_equal(bench.push(name, inputs=words, env=bench.fresh()), digest, "digest of the second push")
        expect_equal(changes(seen), [], "what the second push changed")
        straight = self.repository()
        unkept = bench.push(self.name(straight), inputs=words, more=",store=false")
        expect_equal(self.registry.digest_of(straight, "1"), unkept, "digest in the registry, without a store")
        found = bench.inspect(f"docker://{name}")
        expect_equal((len(found["manifests"]), len(found["attestations"])), (2, 1), "images and attestations")
        if has("skopeo"):
            skopeo_copy(f"docker://{name}", f"dir:{self.work.place('dir')}", "--src-tls-verify=false", "--all")
        layout = self.work.place("layout")
        expect_equal(bench.copy(f"docker://{name}", f"oci-layout:{layout}"), digest, "digest of the copy")

    # --- how many requests ---

    def hundred_layers(self):
        bench, name, env = self.bench, self.name(self.repository()), self.bench.fresh()
        inputs = bench.layers(100, "hundred")
        digest = bench.push(name, inputs=inputs, env=env)
        for label, who in ("", env), (" by somebody else", bench.fresh()):
            with self.registry.watch() as seen:
                expect_equal(bench.push(name, inputs=inputs, env=who), digest, "digest")
            expect(len(seen) <= 102, f"{len(seen)} requests{label}")
            expect_equal(changes(seen), [], f"changes{label}")

    # --- other names of it ---

    def insecure(self):
        """Plain HTTP by a name that is taken for one on the network."""
        bench, repository = self.bench, self.repository()
        name = f"{NAME}:{self.registry.port}/{repository}:1"
        bench.refused("-o", f"type=image,push=true,name={name}", bench.small,
                      says=["speaks plain HTTP", "registry.insecure=true"])
        bench.refused("inspect", f"docker://{name}", says=["speaks plain HTTP"])
        digest = bench.push(name, more=",registry.insecure=true")
        for host in NAME, "localhost", "127.0.0.1":
            words = ["--insecure"] if host == NAME else []
            image = bench.inspect(f"docker://{host}:{self.registry.port}/{repository}:1", *words)
            expect_equal(image["root"]["digest"], digest, f"by {host}")
        bench.copy(f"docker://{name}", f"oci-layout:{self.work.place('layout')}", "--insecure")
        bench.command("index", "create", "--insecure", name.replace(":1", ":2"), name, env=bench.fresh())
        bench.push(name.replace(":1", ":3"), "--from", f"docker://{name}", "--insecure", more=",registry.insecure=true",
                   inputs=[bench.small])
        expect_equal(self.registry.tags(repository), ["1", "2", "3"], "tags")

    def nobody_there(self):
        bench, port = self.bench, registry_server.free_port()
        for name, says in ((f"127.0.0.1:{port}", "refuses connections"), (f"{NAME}:{port}", "refuses connections"),
                           ("nobody.invalid", "is not known")):
            for words in (["inspect", f"docker://{name}/app:1"], ["copy", f"docker://{name}/app:1", "oci-layout:x"],
                          ["-o", f"type=image,push=true,name={name}/app:1", bench.small],
                          ["index", "create", f"{name}/app:1", f"{name}/app:2"],
                          ["--from", f"docker://{name}/app:1", "-o", "type=oci,dest=x"]):
                bench.refused(*words, "--retry-time", "0", says=[says, name], code=75)
        start = time.monotonic()
        bench.refused("inspect", f"docker://127.0.0.1:{port}/app:1", "--retry-time", "1", says=["refuses"], code=75)
        expect(time.monotonic() - start > 0.2, "it did not try again")

    def not_there(self):
        bench, place = self.bench, f"{self.registry.host}/{self.repository()}"
        for name in f"{place}:1", f"{place}@sha256:{'1' * 64}":
            for words in (["inspect", f"docker://{name}"], ["copy", f"docker://{name}", "oci-layout:nothing"],
                          ["index", "create", f"{place}:2", name]):
                bench.refused(*words, says=[name])

    def other_digest(self):
        """docker-registry 2.8 takes manifests by sha256 alone; it says so, and nothing gets a name."""
        bench, repository = self.bench, self.repository()
        bench.refused("--digest", "sha512", "-o", f"type=image,push=true,name={self.name(repository)}", bench.small,
                      says=["sha512:", "DIGEST_INVALID"])
        expect_equal(self.registry.tags(repository), [], "tags")

    def damaged(self):
        """A blob whose bytes changed in the registry is no part of an image any more."""
        bench, name = self.bench, self.name(self.repository())
        bench.push(name, inputs=bench.layers(1, "damaged"))
        layer = layers_of(bench.inspect(f"docker://{name}"))[0]
        path = next(self.registry.storage.rglob(layer.split(":")[1] + "/data"))
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        for kind in "oci-layout", "oci-archive", "rootfs":
            there = self.work.place(kind)
            bench.refused("copy", f"docker://{name}", f"{kind}:{there}" + ("" if kind == "rootfs" else ":a:1"),
                          says=[layer])
            expect(not (there / "index.json").exists() if kind == "oci-layout" else not there.exists(),
                   f"{kind}: something is there")

    def together(self):
        """Several at the same time, with the same image and the same memory."""
        bench, repository, env = self.bench, self.repository(), self.bench.fresh()
        words = ["-o", f"type=image,push=true,name={self.name(repository)}", *bench.layers(10, "together")]
        pushes = [subprocess.Popen([bench.command.path, "--progress", "none", *words], env={**os.environ, **env},
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(4)]
        ends = [push.communicate(timeout=60) for push in pushes]
        digest = self.registry.digest_of(repository, "1")  # while one moves the tag, others may see none
        for push, (printed, message) in zip(pushes, ends):
            expect_equal((push.returncode, printed.decode().strip()), (0, digest), f"exit status and digest: {message}")

    # --- what is cut off ---

    def big(self, size):
        """Two folders: one with a file of 8 MiB, one with a file of this size, of random bytes."""
        for number, length in enumerate([8 * MIB, size]):
            folder = self.work.place("random")
            folder.mkdir()
            with open(folder / f"random-{number}", "wb") as file, open("/dev/urandom", "rb") as source:
                for _ in range(length // MIB):
                    file.write(source.read(MIB))
            yield folder

    def killed(self):
        """At several points; after each the tag is not there, and at last the push succeeds."""
        bench, size = self.bench, 200 * MIB
        folders, layout = list(self.big(size)), self.work.place("layout")
        digest = bench.command("-o", f"type=oci,tar=false,dest={layout},compression=uncompressed", "-t", "big:1",
                               *folders)[0]
        for folder in folders:
            shutil.rmtree(folder)
        repository, env, numbers = self.repository("big"), bench.fresh(), []
        with Relay(self.registry) as relay:
            words = [bench.command.path, "--progress", "none", "copy", f"oci-layout:{layout}:big:1",
                     f"docker://{relay.host}/{repository}:1"]
            for point in 0, MIB, 100 * MIB, 180 * MIB:
                before = relay.sent
                process = subprocess.Popen(words, env={**os.environ, **env}, stdout=subprocess.DEVNULL)
                relay.when(point or 1, process.kill)
                expect_equal(process.wait(60), -signal.SIGKILL, f"status when killed at {point // MIB} MiB")
                expect_equal(self.registry.tags(repository), [], f"tags when killed at {point // MIB} MiB")
                relay.wait()
                numbers.append((relay.sent - before) // MIB)
            before = relay.sent
            with self.registry.watch() as seen:
                expect_equal(run(*words, env=env).stdout.decode().strip(), digest, "digest")
            last = relay.sent - before
        expect_equal(self.registry.digest_of(repository, "1"), digest, "digest in the registry")
        expect(last < size + MIB, f"{last} bytes were sent at last: the small layer was sent again")
        below = layers_of(bench.inspect(f"oci-layout:{layout}"))[0]
        expect(not any(below.split(":")[1] in r.path for r in uploads(seen)), "the small layer was sent again")
        left = [path for path in pathlib.Path(env["SHIPLAP_STORE"]).rglob("uploads/*")]
        expect_equal(left, [], "records of uploads")
        print(f"         a layer of {size // MIB} MiB; MiB sent until killed: {numbers}; after that: {last // MIB}")

    def interrupted(self):
        """Ctrl-C, in a copy and in an export."""
        bench, (lower, upper) = self.bench, self.big(64 * MIB)
        layout = self.work.place("layout")
        bench.command("-o", f"type=oci,tar=false,dest={layout},compression=uncompressed", "-t", "big:1", lower, upper)
        with Relay(self.registry, slow=0.02) as relay:
            for kind in "copy", "export":
                repository, env, temporary = self.repository("cut"), bench.fresh(), self.work.place("tmp")
                temporary.mkdir()
                name = f"{relay.host}/{repository}:1"
                words = {"copy": ["copy", f"oci-layout:{layout}:big:1", f"docker://{name}"],
                         "export": ["-o", f"type=image,push=true,compression=uncompressed,name={name}", lower, upper]}
                process = subprocess.Popen([bench.command.path, "--progress", "none", *words[kind]],
                                           env={**os.environ, **env, "TMPDIR": str(temporary)}, stderr=subprocess.PIPE)
                reached = threading.Event()
                relay.when(20 * MIB, reached.set)
                expect(reached.wait(30), "nothing is sent")
                process.send_signal(signal.SIGINT)
                start = time.monotonic()
                _, message = process.communicate(timeout=30)
                took = time.monotonic() - start
                expect_equal(process.returncode, 130, f"exit status of the {kind}: {message}")
                expect(took < 2, f"the {kind} took {took:.1f} s to end")
                expect_equal(self.registry.tags(repository), [], f"tags after the {kind}")
                expect_equal(os.listdir(temporary), [], f"temporary files of the {kind}")
                store = pathlib.Path(env["SHIPLAP_STORE"])
                left = [str(path.relative_to(store)) for path in store.rglob("*") if path.is_file()]
                odd = [path for path in left if not re.match(r"\.shiplap-registries/|blobs/sha256/[0-9a-f]{64}$|"
                                                             r"index\.json$|oci-layout$", path)]
                expect_equal(odd, [], f"files that the {kind} left behind")
                if kind == "copy":
                    expect_equal([path for path in left if not path.startswith(".")], [], "files of the copy")
                # And again, to its end
                done = run(bench.command.path, "--progress", "none",
                           *(str(word).replace(relay.host, self.registry.host) for word in words[kind]), env=env)
                expect_equal(self.registry.digest_of(repository, "1"), done.stdout.decode().strip(), "digest at last")


class Outages:
    """A registry that goes away in the middle of a push."""

    def __init__(self, bench):
        self.bench, self.work = bench, bench.work

    def push(self, back_after, *words, fails=False):
        """Returns what the push printed, and the registry's view of it."""
        bench, (lower, upper) = self.bench, Plain(self.bench, None).big(48 * MIB)
        with Registry(self.work.place("registry")) as registry, Relay(registry, slow=0.005) as relay:
            restarted = threading.Event()

            def go_away():
                registry.stop()
                if back_after is not None:
                    threading.Timer(back_after, lambda: registry.start() and restarted.set()).start()

            relay.when(20 * MIB, go_away)
            done = bench.command.run("-o", f"type=image,push=true,compression=uncompressed,name={relay.host}/app:1",
                                     *words, lower, upper, fails=fails, env=bench.fresh())
            if back_after is None:
                registry.start()
            else:
                expect(restarted.wait(10), "the registry did not come back")
            return done, registry.digest_of("app", "1")

    def short(self):
        done, digest = self.push(1)
        expect_equal(done.stdout.decode().strip(), digest, "digest")

    def long(self):
        start = time.monotonic()
        done, digest = self.push(None, "--retry-time", "2", fails=True)
        expect_equal((done.returncode, digest), (75, None), f"exit status and digest: {done.stderr}")
        expect("gave up" in done.stderr.decode(), f"the message does not say that it gave up: {done.stderr}")
        expect(time.monotonic() - start < 8, f"it took {time.monotonic() - start:.1f} s")


# --- logins ----------------------------------------------------------------------------------------------


class Logins:
    def __init__(self, bench):
        self.bench, self.work = bench, bench.work

    def login(self, host, password=PASSWORD, file="DOCKER_CONFIG"):
        """An environment with this login, and a store that nobody used before."""
        folder = self.work.place("login")
        folder.mkdir()
        login = base64.b64encode(f"{USER}:{password}".encode()).decode()
        (folder / "config.json").write_text(json.dumps({"auths": {host: {"auth": login}}}))
        return {**self.bench.fresh(), file: str(folder / "config.json" if file == "REGISTRY_AUTH_FILE" else folder)}

    def helper(self, host):
        """The same, from a program."""
        folder = self.work.place("helper")
        folder.mkdir()
        program = folder / "docker-credential-test"
        answer = json.dumps({"ServerURL": host, "Username": USER, "Secret": PASSWORD})
        program.write_text(f"#!/bin/sh\n[ \"$1 $(cat)\" = 'get {host}' ] && echo '{answer}'\n")
        program.chmod(0o755)
        (folder / "config.json").write_text(json.dumps({"credHelpers": {host: "test"}}))
        return {**self.bench.fresh(), "DOCKER_CONFIG": str(folder), "PATH": f"{folder}:{os.environ['PATH']}"}

    def jobs(self, place, layout):
        """One of each kind that needs the login."""
        name = f"{place}:1"
        return {"push": ["-o", f"type=image,push=true,name={name}", self.bench.small],
                "inspect": ["inspect", f"docker://{name}"],
                "pull": ["copy", f"docker://{name}", f"oci-layout:{layout}:a:1"],
                "index": ["index", "create", f"{place}:2", name],
                "base": ["--from", f"docker://{name}", "-o", f"type=image,push=true,name={place}:3", self.bench.small]}

    def password(self):
        bench = self.bench
        passwords = htpasswd(self.work.place("htpasswd"), **{USER: PASSWORD, "other": "x"})
        with Registry(self.work.place("registry"), passwords=passwords) as registry:
            place = f"{registry.host}/app"
            for words in self.jobs(place, self.work.place("layout")).values():
                bench.refused(*words, says=["docker login " + registry.host, "there is none"])
                bench.refused(*words, says=["docker login " + registry.host, USER, "check the password"],
                              env=self.login(registry.host, "wrong " + PASSWORD))
                bench.refused(*words, says=["there is none"], env=self.login("other.example.com"))
            for env in (self.login(registry.host), self.login(registry.host, file="REGISTRY_AUTH_FILE"),
                        self.helper(registry.host)):
                for style in "none", "plain", "json":
                    for words in self.jobs(place, self.work.place("layout")).values():
                        without_secrets(run(bench.command.path, "--progress", style, *words, env=env))
            if has("skopeo"):
                run("skopeo", "inspect", "--tls-verify=false", "--creds", f"{USER}:{PASSWORD}", f"docker://{place}:3")
            # How often the password was asked for is how often it would count as an attempt.
            with registry.watch() as seen:
                bench.refused("inspect", f"docker://{place}:1", says=["check the password"],
                              env=self.login(registry.host, "wrong"))
            expect(len(seen) <= 2, f"a wrong password was sent more than once: {seen}")

    @contextlib.contextmanager
    def with_tokens(self, **options):
        with TokenService(self.work.place("tokens"), {USER: PASSWORD}, **options) as tokens, \
                Registry(self.work.place("registry"), tokens=tokens) as registry:
            yield tokens, registry

    def token(self):
        bench = self.bench
        with self.with_tokens(denied=["denied/app"]) as (tokens, registry):
            place, trust = f"{registry.host}/app", ["--trust-realm", tokens.host]
            env = self.login(registry.host)
            bench.refused("inspect", f"docker://{place}:1", says=["--trust-realm " + tokens.host], env=env)
            expect_equal(tokens.asked, [], "what the token service was asked without trust")
            jobs = self.jobs(place, self.work.place("layout"))
            bench.refused(*jobs["push"], *trust, says=["docker login " + registry.host])
            expect_equal({user for _, user in tokens.asked}, {""}, "users")
            for words in jobs.values():
                bench.refused(*words, *trust, says=["check the password", USER], env=self.login(registry.host, "wrong"))
            for style in "none", "json":
                for words in jobs.values():
                    without_secrets(run(bench.command.path, "--progress", style, *words, *trust, env=env))
            expect(bench.inspect(f"docker://{place}:1", *trust)["manifests"], "no image for who has no login")
            expect_equal({user for _, user in tokens.asked}, {"", USER}, "users")

            del tokens.asked[:]
            with registry.watch() as seen:
                done = without_secrets(run(bench.command.path, "copy", f"docker://{place}:1",
                                           f"docker://{registry.host}/other:1", *trust, env=self.login(registry.host)))
            expect_equal((uploads(seen), len(mounts(seen))), ([], 2), "uploads and mounts")
            expect(any("repository:app:pull" in " ".join(scopes) and "repository:other:" in " ".join(scopes)
                       for scopes, _ in tokens.asked), f"no token was for both repositories: {tokens.asked}")
            expect(done.stdout, "no digest is printed")

            bench.refused("-o", f"type=image,push=true,name={registry.host}/denied/app:1", bench.small, *trust,
                          says=["denied", USER], env=env)
            bench.refused("inspect", f"docker://{registry.host}/denied/app:1", *trust, says=["denied", USER], env=env)
            # The source of a mount may be closed to us, now: then it is an upload.
            tokens.denied = ["app"]
            bench.push(f"{registry.host}/third:1", *trust, inputs=[bench.small], env=env)

    def expiring(self, label, life, told):
        """Tokens that end in the middle of a push, be it as they said or before."""
        bench = self.bench
        with self.with_tokens(life=life, told=told) as (tokens, registry), Relay(registry, slow=0.06) as relay:
            env = self.login(relay.host)
            start = time.monotonic()
            done = without_secrets(bench.command.run(
                "-o", f"type=image,push=true,name={relay.host}/app:1", "--transfers", "2", "--trust-realm", tokens.host,
                *bench.layers(24, label), env=env))
            took = time.monotonic() - start
            asked = sum("push" in " ".join(scopes) for scopes, _ in tokens.asked)
            answer = registry.ask("/v2/app/manifests/1", Accept=registry_server.MANIFESTS,
                                  Authorization="Bearer " + tokens.token(USER, [{"type": "repository", "name": "app",
                                                                                 "actions": ["pull"]}]))
            expect_equal(answer.headers["Docker-Content-Digest"], done.stdout.decode().strip(), "digest")
        print(f"         {took:.1f} s, {asked} tokens to push with")
        expect(took > 1.5 * life and asked >= 2, f"the push took {took:.1f} s: no token had time to end")


# --- certificates ----------------------------------------------------------------------------------------


class Certificates:
    def __init__(self, bench):
        self.bench, self.work = bench, bench.work
        self.ours, self.other = (Authority(self.work.place(name), name) for name in ("ours", "other"))
        self.server = self.ours.issue("server", NAME, "127.0.0.1")

    def home(self, host, **files):
        """An environment whose home has these files for the registry."""
        home = self.work.place("home")
        folder = home / ".config/containers/certs.d" / host
        folder.mkdir(parents=True)
        for name, source in files.items():
            shutil.copy(source, folder / name.replace("_", "."))
        return {**self.bench.fresh(), "HOME": str(home)}

    def authority(self):
        bench = self.bench
        with Registry(self.work.place("registry"), tls=self.server) as registry:
            host = f"{NAME}:{registry.port}"
            words = ["-o", f"type=image,push=true,name={host}/app:1", bench.small]
            advice = ["is not trusted", f"certs.d/{host}/ca.crt", "registry.insecure=true"]
            bench.refused(*words, says=advice)
            bench.refused("inspect", f"docker://{host}/app:1", says=advice)
            bench.refused(*words, says=advice, env=self.home(host, ca_crt=self.other.certificate))
            trusting = self.home(host, ca_crt=self.ours.certificate)
            digest = bench.command(*words, env=trusting)[0]
            expect_equal(registry.digest_of("app", "1"), digest, "digest")
            expect_equal(bench.inspect(f"docker://{host}/app:1", env=trusting)["root"]["digest"], digest, "digest")
            both = self.home(host, a_crt=self.other.certificate, b_crt=self.ours.certificate)
            bench.copy(f"docker://{host}/app:1", f"docker://{host}/other:1", env=both)
            # Without a look at the certificate
            bench.push(f"{host}/app:2", more=",registry.insecure=true", inputs=[bench.small])
            bench.push(f"127.0.0.1:{registry.port}/app:3", more=",registry.insecure=true", inputs=[bench.small])
            bench.inspect(f"docker://{host}/app:2", "--insecure")
            expect_equal(registry.tags("app"), ["1", "2", "3"], "tags")
            if has("skopeo"):
                folder = pathlib.Path(both["HOME"]) / ".config/containers/certs.d" / host
                run("skopeo", "inspect", "--cert-dir", folder, f"docker://127.0.0.1:{registry.port}/app:1")
            # By a name on loopback it would be plain HTTP
            bench.refused("inspect", f"docker://127.0.0.1:{registry.port}/app:1", says=["HTTPS"])

    def wrong_host(self):
        bench = self.bench
        with Registry(self.work.place("registry"), tls=self.ours.issue("elsewhere", "elsewhere.example")) as registry:
            host = f"{NAME}:{registry.port}"
            bench.refused("inspect", f"docker://{host}/app:1", says=["is not good for it"],
                          env=self.home(host, ca_crt=self.ours.certificate))

    def client(self):
        bench = self.bench
        with Registry(self.work.place("registry"), tls=self.server, clients=self.other.certificate) as registry:
            host = f"{NAME}:{registry.port}"
            words = ["-o", f"type=image,push=true,name={host}/app:1", bench.small]
            ca, mine, stranger = self.ours.certificate, self.other.issue("client"), self.ours.issue("stranger")
            bench.refused(*words, "--retry-time", "1", says=["client certificate", f"certs.d/{host}"],
                          env=self.home(host, ca_crt=ca))
            bench.refused(*words, says=["client.key"], env=self.home(host, ca_crt=ca, client_cert=mine[0]))
            bench.refused(*words, "--retry-time", "1", says=["certificate"],
                          env=self.home(host, ca_crt=ca, client_cert=stranger[0], client_key=stranger[1]))
            env = self.home(host, ca_crt=ca, client_cert=mine[0], client_key=mine[1])
            digest = bench.command(*words, env=env)[0]
            expect_equal(bench.inspect(f"docker://{host}/app:1", env=env)["root"]["digest"], digest, "digest")
            without_authority = self.home(host, client_cert=mine[0], client_key=mine[1])
            bench.push(f"{host}/app:2", more=",registry.insecure=true", inputs=[bench.small], env=without_authority)


def read_only(bench):
    with Registry(bench.work.place("registry"), read_only=True) as registry:
        name = f"{registry.host}/app:1"
        layout = bench.work.place("layout")
        bench.command("-o", f"type=oci,tar=false,dest={layout}", "-t", "a:1", bench.small)
        for words in (["-o", f"type=image,push=true,name={name}", bench.small],
                      ["copy", f"oci-layout:{layout}:a:1", f"docker://{name}"]):
            bench.refused(*words, says=["405", "read-only"])
        bench.refused("inspect", f"docker://{name}", says=[name])


# --- all of it -------------------------------------------------------------------------------------------


def without_user_settings():
    """Neither logins nor proxies nor folders of whoever runs this."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.startswith(("XDG_", "DOCKER_", "REGISTRY_", "SHIPLAP_")):
            del os.environ[name]


def main(path, words):
    report, command = Report(), Shiplap(path)
    if not registry_server.is_there():
        report.skip("pushes and pulls", f"{registry_server.PROGRAM} is not installed")
        report.exit()
    for tool in "skopeo", "umoci":
        if not has(tool):
            report.skip(f"what {tool} makes of it", "it is not installed")
    report.skip("a tag that cannot be moved", f"{registry_server.PROGRAM} has no such tags")

    def whatever_happens(function, *arguments):
        try:
            function(*arguments)
        except Failure:
            raise
        except Exception as problem:  # the others still run
            raise Failure(traceback.format_exc()) from problem

    def check(label, function, *arguments):
        if not words or any(word in label for word in words):
            start = time.monotonic()
            report.check(label, whatever_happens, function, *arguments)
            if os.environ.get("TIMES"):
                print(f"         {time.monotonic() - start:.1f} s")

    without_user_settings()
    with Workplace() as work:
        os.environ["HOME"] = str(work.place("home"))
        os.chdir(work.folder)
        bench = Bench(command, work)
        with Registry(work.place("registry")) as registry:
            plain = Plain(bench, registry)
            for flavour in "oci", "docker":
                for codec in CODECS:
                    if (codec, flavour) != ("estargz", "docker"):
                        check(f"{codec}, {flavour}: pushed, looked at and pulled", plain.round_trip, codec, flavour)
                check(f"{flavour}: from the registry to everywhere and back", plain.travels, flavour)
            if has("skopeo"):
                check("an image that skopeo pushed", plain.of_skopeo)
            for label, case in {"several names": plain.names,
                                "push-by-digest": plain.by_digest,
                                "dangling-name-prefix": plain.dangling,
                                "name-canonical": plain.canonical,
                                "a second run moves nothing": plain.second_run,
                                "another repository gets mounts": plain.mounted,
                                "a base in the same registry is not fetched": plain.above_in_the_same_registry,
                                "a base is fetched with store=true": plain.above_with_store,
                                "a base is fetched for an archive": plain.above_in_an_archive,
                                "index create": plain.index,
                                "several platforms with attestations": plain.platforms,
                                "two registries": plain.two_registries,
                                "several pushes at the same time": plain.together,
                                "100 layers that are there: at most 102 requests": plain.hundred_layers,
                                "plain HTTP and registry.insecure": plain.insecure,
                                "a registry that is not there": plain.nobody_there,
                                "an image that is not there": plain.not_there,
                                "digests by sha512 are refused": plain.other_digest,
                                "a blob that was damaged in the registry": plain.damaged,
                                "killed in the middle of a push": plain.killed,
                                "interrupted in the middle of a push": plain.interrupted}.items():
                check(label, case)
        check("a registry that is read-only", read_only, bench)
        outages = Outages(bench)
        check("a registry that is away for a second", outages.short)
        check("a registry that does not come back", outages.long)
        logins = Logins(bench)
        if has("htpasswd"):
            check("login with a password", logins.password)
        else:
            report.skip("login with a password", "htpasswd is not installed")
        if not has("openssl"):
            report.skip("tokens and certificates", "openssl is not installed")
            report.exit()
        check("login with tokens", logins.token)
        check("tokens that end during a push", logins.expiring, "told", 2, 2)
        check("tokens that end before they said", logins.expiring, "untold", 2, 300)
        certificates = Certificates(bench)
        check("certificate of an authority that is known, or not", certificates.authority)
        check("certificate of another host", certificates.wrong_host)
        check("client certificate", certificates.client)
    report.exit()


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(os.path.abspath(sys.argv[1]), sys.argv[2:])
