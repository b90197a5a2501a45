"""Debian's docker-registry on 127.0.0.1 as the tests want it, a token service for it, and a relay that counts bytes."""

import base64
import collections
import contextlib
import hashlib
import http.client
import http.server
import json
import os
import pathlib
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
import urllib.parse

PROGRAM = "docker-registry"

Request = collections.namedtuple("Request", "method path status")
Answer = collections.namedtuple("Answer", "status headers body")

MANIFESTS = ", ".join(["application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json",
                       "application/vnd.docker.distribution.manifest.list.v2+json",
                       "application/vnd.docker.distribution.manifest.v2+json"])


def is_there():
    return shutil.which(PROGRAM) is not None


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def openssl(*arguments, **options):
    return subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, **options).stdout


class Authority:
    """A certificate authority, and what it signs."""

    def __init__(self, folder, name="test"):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir()
        self.certificate, self.key = self.folder / "ca.crt", self.folder / "ca.key"
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name} authority",
                "-keyout", self.key, "-out", self.certificate)

    def issue(self, name, *hosts):
        """A certificate and its key, as two paths."""
        certificate, key, request, more = (self.folder / f"{name}.{end}" for end in ("cert", "key", "csr", "ext"))
        kinds = ["IP:" + host if re.fullmatch(r"[0-9.]+", host) else "DNS:" + host for host in hosts]
        more.write_text("extendedKeyUsage=serverAuth,clientAuth\n" +
                        (f"subjectAltName={','.join(kinds)}\n" if kinds else ""))
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key, "-CAcreateserial",
                "-days", "2", "-extfile", more, "-out", certificate)
        return certificate, key


def htpasswd(path, **users):
    """The registry takes bcrypt alone; cost 4 is enough for a test."""
    path.write_text("")
    for user, password in users.items():
        subprocess.run(["htpasswd", "-i", "-B", "-C", "4", path, user], input=password.encode(), check=True,
                       capture_output=True)
    return path


class Registry:
    """One that runs while the context is open.

    passwords: a file of htpasswd(); tokens: a TokenService; tls: certificate and key; clients: the certificate of who
    signs those of clients, without which none is let in.
    """

    def __init__(self, folder, passwords=None, tokens=None, tls=None, clients=None, read_only=False):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir()
        self.tls, self.clients, self.marks = tls, clients, 0
        self.storage = self.folder / "storage"
        self.settings = {"version": 0.1, "log": {"level": "error"},
                         "storage": {"filesystem": {"rootdirectory": str(self.storage)},
                                     "cache": {"blobdescriptor": "inmemory"}, "delete": {"enabled": True},
                                     "maintenance": {"readonly": {"enabled": read_only}}}}
        if passwords:
            self.settings["auth"] = {"htpasswd": {"realm": "test", "path": str(passwords)}}
        if tokens:
            self.settings["auth"] = {"token": {
                "realm": tokens.realm, "service": tokens.service, "issuer": tokens.issuer,
                "rootcertbundle": str(tokens.authority.certificate)}}

    def __enter__(self):
        for _ in range(5):  # somebody else may take the port before we do
            self.port = free_port()
            if self.start():
                return self
        raise RuntimeError(f"{PROGRAM} does not start: " + (self.folder / "errors").read_text())

    def start(self):
        self.settings["http"] = {"addr": f"127.0.0.1:{self.port}", "secret": "of no importance"}
        if self.tls:
            self.settings["http"]["tls"] = {"certificate": str(self.tls[0]), "key": str(self.tls[1])}
            if self.clients:
                self.settings["http"]["tls"]["clientcas"] = [str(self.clients)]
        configuration = self.folder / "config.yml"
        configuration.write_text(json.dumps(self.settings))  # which is YAML, too
        with open(self.folder / "access", "wb") as access, open(self.folder / "errors", "wb") as errors:
            self.process = subprocess.Popen([PROGRAM, "serve", configuration], stdin=subprocess.DEVNULL, stdout=access,
                                            stderr=errors, env={"PATH": os.environ["PATH"]})
        for _ in range(1000):
            if self.process.poll() is not None:
                return False
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return True
            time.sleep(0.01)
        self.stop()
        return False

    def stop(self):
        self.process.kill()
        self.process.wait()

    def __exit__(self, *_):
        self.stop()

    @property
    def host(self):
        return f"127.0.0.1:{self.port}"

    # --- what it has ---

    def ask(self, path, method="GET", **headers):
        if self.tls:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=30)
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())

    def digest_of(self, repository, name):
        """What a tag or digest stands for; None if there is nothing."""
        answer = self.ask(f"/v2/{repository}/manifests/{name}", Accept=MANIFESTS)
        return answer.headers["Docker-Content-Digest"] if answer.status == 200 else None

    def tags(self, repository):
        answer = self.ask(f"/v2/{repository}/tags/list")
        return sorted(json.loads(answer.body)["tags"] or []) if answer.status == 200 else []

    # --- what it was asked ---

    def requests(self):
        """All requests so far, without our own."""
        self.marks += 1
        mark = f"/v2/?mark={self.marks}"
        self.ask(mark)
        for _ in range(500):  # an answer is logged after it was sent
            text = (self.folder / "access").read_text()
            if mark + " " in text:
                break
            time.sleep(0.005)
        found = []
        for line in text.splitlines():
            words = line.split('"')
            method, path, _ = words[1].split(" ", 2)
            if words[5:6] != [""] and "mark=" not in path:  # we do not say who we are
                found.append(Request(method, path, int(words[2].split()[0])))
        return found

    @contextlib.contextmanager
    def watch(self):
        """A list that has, in the end, the requests that were made within the context."""
        before, seen = len(self.requests()), []
        yield seen
        seen += self.requests()[before:]


class TokenService:
    """Gives out tokens as the registry wants them.

    users: their passwords; denied: repositories for which nobody gets anything; life: seconds until a token is
    refused; told: seconds that it is said to live, if that is another number.
    """
    issuer, service = "test issuer", "test service"
    LEEWAY = 60  # seconds that the registry accepts a token for after its end

    def __init__(self, folder, users, denied=(), life=300, told=None):
        self.authority = Authority(folder, "token")
        self.users, self.denied, self.life, self.told = users, denied, life, told
        self.asked = []  # scopes and user of each request
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                service.answer(self)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self.server.server_port}"
        self.realm = f"http://{self.host}/token"

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def answer(self, request):
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(request.path).query)
        kind, _, login = request.headers.get("Authorization", "").partition(" ")
        user, _, password = base64.b64decode(login).decode().partition(":") if kind == "Basic" else ("", "", "")
        self.asked.append((query.get("scope", []), user))
        if user and self.users.get(user) != password:
            return self.reply(request, 401, {"errors": [{"code": "UNAUTHORIZED", "message": "wrong login"}]})
        access = []
        for scope in " ".join(query.get("scope", [])).split():
            kind, name, actions = scope.split(":")
            granted = [] if name in self.denied else actions.split(",") if user else ["pull"]
            access.append({"type": kind, "name": name, "actions": granted})
        told = self.life if self.told is None else self.told
        return self.reply(request, 200, {"token": self.token(user, access), "expires_in": told})

    def token(self, user, access):
        def encoded(data):
            return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

        now = int(time.time())
        certificate = self.authority.certificate.read_text()
        head = {"typ": "JWT", "alg": "RS256", "x5c": ["".join(certificate.split("-----")[2].split())]}
        claims = {"iss": self.issuer, "sub": user, "aud": self.service, "iat": now - 100, "nbf": now - 100,
                  "exp": now + self.life - self.LEEWAY, "jti": os.urandom(8).hex(), "access": access}
        text = ".".join(encoded(json.dumps(part).encode()) for part in (head, claims))
        return text + "." + encoded(openssl("dgst", "-sha256", "-sign", self.authority.key, input=text.encode()))

    @staticmethod
    def reply(request, status, document):
        body = json.dumps(document).encode()
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)


class Relay:
    """In front of a registry: counts what clients send, and does something when it is so much.

    slow: seconds between two reads of what a client sends.
    """

    def __init__(self, registry, slow=0):
        self.registry, self.slow = registry, slow
        self.sent, self.alarm, self.connections, self.lock = 0, None, 0, threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self.listener.getsockname()[1]}"

    def __enter__(self):
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def when(self, sent, action):
        """Calls action() once, as soon as so many bytes more have come."""
        with self.lock:
            self.alarm = (self.sent + sent, action)

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self.registry.port))
                except OSError:  # it is down, for the moment
                    client.close()
                    continue
                with self.lock:
                    self.connections += 1
                threading.Thread(target=self.serve, args=(client, server), daemon=True).start()
                del client, server

    def wait(self):
        """Until all connections are closed: what a program has sent may still be on its way when it is gone."""
        while self.connections:
            time.sleep(0.01)

    def serve(self, client, server):
        with client, server:  # what is closed with bytes in it is reset, as by a program that dies
            answers = threading.Thread(target=self.pass_on, args=(server, client, False), daemon=True)
            answers.start()
            self.pass_on(client, server, True)
            answers.join()
        with self.lock:
            self.connections -= 1

    def pass_on(self, source, destination, counts):
        piece = bytearray(1 << 18)
        with contextlib.suppress(OSError):
            while size := source.recv_into(piece):
                if counts:
                    self.count(size)
                    time.sleep(self.slow)
                destination.sendall(memoryview(piece)[:size])
        for end in source, destination:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def count(self, size):
        action = None
        with self.lock:
            self.sent += size
            if self.alarm and self.sent >= self.alarm[0]:
                (_, action), self.alarm = self.alarm, None
        if action:
            action()


def sha256(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()
