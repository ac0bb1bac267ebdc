"""A container engine and its client as far as gpuward sees them: an HTTP service on a Unix socket whose containers are
processes in a cgroup called docker/ID, and a program `docker` that starts one, waits for it and passes TERM on."""

import json
import os
import re
import secrets
import signal
import socket
import socketserver
import subprocess
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path

CLIENT = r'''#!/usr/bin/python3
import http.client, os, signal, socket, sys

class Engine(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(os.environ["FAKE_ENGINE"])

def ask(method, path, body=None):
    engine = Engine("engine")
    engine.request(method, path, body)
    return engine.getresponse().read().decode()

words = sys.argv[sys.argv.index("run") + 1:]
cidfile = detached = None
while words and words[0].startswith("-"):
    word = words.pop(0)
    if word.startswith("--cidfile="):
        cidfile = word.split("=", 1)[1]
    elif word == "--cidfile":
        cidfile = words.pop(0)
    detached = detached or word == "-d"
if cidfile and os.path.exists(cidfile):
    sys.exit("docker: container ID file found, make sure the other container isn't running or delete " + cidfile) or 125
identity = ask("POST", "/fake/create", "\0".join(words))
if os.environ.get("FAKE_KILLS_ANCHOR") and not os.path.exists(os.environ["FAKE_KILLS_ANCHOR"]):
    open(os.environ["FAKE_KILLS_ANCHOR"], "w").close()
    os.kill(os.getppid(), signal.SIGKILL)
if cidfile:
    with open(cidfile, "x") as file:
        file.write(identity)
signal.signal(signal.SIGTERM, lambda *_: ask("POST", f"/containers/{identity}/kill?signal=SIGTERM&by=client"))
ask("POST", f"/fake/start/{identity}")
if detached:
    print(identity)
    sys.exit(0)
if os.environ.get("FAKE_DIES"):
    os.kill(os.getpid(), signal.SIGKILL)
code = ask("GET", f"/fake/wait/{identity}")
sys.exit(int(code) if code else 125)
'''


def cgroup2_mount() -> Path | None:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if " - cgroup2 " in line:
            return Path(line.split()[4])
    return None


class Container:
    def __init__(self, image: str, command: list[str]):
        self.id = secrets.token_hex(32)
        self.image = image
        self.command = command
        self.process: subprocess.Popen | None = None
        self.signals: list[str] = []
        self.ended = threading.Event()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process is not None and not self.ended.is_set()


class FakeEngine:
    """@hidden: its containers are in no group of their own, as if they ran on another machine."""

    def __init__(self, folder: Path, hidden: bool = False):
        self.folder = folder
        self.hidden = hidden
        self.socket = folder / "engine.sock"
        self.containers: list[Container] = []
        self.overlapped = False
        self.hangs = threading.Event()  # on every request to kill
        self.goes_on = threading.Event()
        self.environment = dict(os.environ)
        self.connections: list[socket.socket] = []
        self.group = cgroup2_mount() / f"docker-{secrets.token_hex(4)}"
        if not hidden:
            self.group.mkdir()
        self.bin = folder / "bin"
        self.bin.mkdir()
        (self.bin / "docker").write_text(CLIENT)
        (self.bin / "docker").chmod(0o755)
        self.server = self._serve()

    def env(self, path: str) -> dict:
        return {"PATH": f"{self.bin}:{path}", "DOCKER_HOST": f"unix://{self.socket}", "FAKE_ENGINE": str(self.socket)}

    def _serve(self):
        engine = self

        class Handler(BaseHTTPRequestHandler):
            def setup(self):
                super().setup()
                engine.connections.append(self.request)

            def log_message(self, *_):
                pass

            def address_string(self):
                return "client"

            def reply(self, status: int, text: str = ""):
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def do_POST(self):
                self.reply(*engine._post(self.path, self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()))

            def do_GET(self):
                self.reply(*engine._get(self.path))

        class Server(socketserver.ThreadingUnixStreamServer):
            daemon_threads = True
            request_queue_size = 16

            def handle_error(self, *_):
                pass  # a client that is gone

        server = Server(str(self.socket), Handler)
        self.socket.chmod(0o666)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return server

    def find(self, path: str) -> Container | None:
        return next((c for c in self.containers if c.id in path), None)

    def _post(self, path: str, body: str) -> tuple:
        if path == "/fake/create":
            image, *command = body.split("\0")
            self.containers.append(Container(image, command))
            return 200, self.containers[-1].id
        container = self.find(path)
        if path.startswith("/fake/start/"):
            self.overlapped |= any(c.running for c in self.containers)
            self._start(container)
            return 204,
        if self.hangs.is_set() and "by=client" not in path:
            self.goes_on.wait(60)
        if container is None:
            return 404,
        if not container.running:
            return 409,
        name = re.search(r"signal=(\w+)", path).group(1)
        container.signals.append(name + (" by client" if "by=client" in path else ""))
        container.process.send_signal(getattr(signal, name))
        if name == "SIGKILL":
            container.ended.wait(10)
        return 204,

    def _get(self, path: str) -> tuple:
        container = self.find(path)
        if container is None:
            return 404,
        if path.startswith("/fake/wait/"):
            container.ended.wait(600)
            code = container.process.returncode
            return 200, str(128 - code if code < 0 else code)
        labels = {"com.docker.compose.project": "clinic", "com.docker.compose.service": "xray"}
        return 200, json.dumps({"Id": container.id, "Config": {"Image": container.image, "Labels": labels}})

    def _start(self, container: Container):
        group = self.group / container.id
        if not self.hidden:
            group.mkdir()

        def enter():
            if not self.hidden:
                (group / "cgroup.procs").write_text("0")

        container.process = subprocess.Popen(container.command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                             stderr=subprocess.DEVNULL, start_new_session=True, preexec_fn=enter,
                                             env=self.environment)

        def watch():
            container.process.wait()
            # The first process of a PID namespace takes the others with it.
            if not self.hidden:
                (group / "cgroup.kill").write_text("1")
                for _ in range(1000):
                    try:
                        group.rmdir()
                        break
                    except OSError:
                        container.ended.wait(0.01)
            container.ended.set()

        threading.Thread(target=watch, daemon=True).start()

    def die(self):
        """As a daemon that was killed: its socket file stays, nobody answers, and its clients see the end."""
        self.server.shutdown()
        self.server.server_close()
        for connection in self.connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # ended before

    def clean(self):
        self.goes_on.set()
        for container in self.containers:
            if container.running:
                container.process.kill()
                container.ended.wait(10)
        self.die()
        if not self.hidden:
            self.group.rmdir()
