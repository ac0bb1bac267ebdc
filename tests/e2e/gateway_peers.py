"""Who stands around a gateway in its tests: a service that does as it is told, clients that send bytes as they are, and
whoever asks the gateway how it does."""

import hashlib
import json
import os
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

from gpuward import BIN, end, wait_for


class Exchange:
    """One request at the service, as it came; the service answers as the test says."""

    def __init__(self, connection: socket.socket, method: str, target: str, headers: list[tuple[str, str]]):
        self.connection, self.method, self.target, self.headers = connection, method, target, headers
        self.body = b""
        self.gone_at = None  # when the gateway closed the connection while we had not answered
        self.answered = threading.Event()

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def send(self, data: bytes):
        self.connection.sendall(data)

    def answer(self, body: bytes = b"", status: str = "200 OK", headers: str = ""):
        self.send(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + (b"" if self.method == "HEAD" else body))
        self.answered.set()

    def close(self):
        self.connection.shutdown(socket.SHUT_RDWR)
        self.answered.set()


class Upstream:
    """A service behind the gateway. Each request goes to `answers[path]`, or is echoed; a path that begins with /hold waits
    for `release`, and sees when the gateway leaves."""

    def __init__(self, address=("127.0.0.1", 0)):
        self.answers = {}
        self.seen: list[Exchange] = []
        self.connections = 0
        self.open = []
        self.at_once = 0
        self.most_at_once = 0
        self.released = threading.Event()
        self.lock = threading.Lock()
        self.listener = socket.create_server(address, backlog=1024)
        self.address = self.listener.getsockname()
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self):
        self.released.set()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in self.open:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def exchange(self, target: str, within: float = 10) -> Exchange:
        return wait_for(lambda: next((e for e in self.seen if e.target == target), None), within, f"{target} reaches the service")

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            self.open.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket):
        stream = connection.makefile("rb")
        try:
            while self._one(connection, stream):
                pass
        except (OSError, ValueError):
            pass
        finally:
            connection.close()

    def _one(self, connection, stream) -> bool:
        first = stream.readline()
        if not first:
            return False
        method, target, _ = first.decode().split(" ", 2)
        headers = []
        while (line := stream.readline()) not in (b"\r\n", b""):
            key, _, value = line.decode().partition(":")
            headers.append((key, value.strip()))
        exchange = Exchange(connection, method, target, headers)
        if exchange.header("Transfer-Encoding"):
            while size := int(stream.readline().split(b";")[0], 16):
                exchange.body += stream.read(size)
                stream.readline()
            while stream.readline() not in (b"\r\n", b""):
                pass
        elif length := int(exchange.header("Content-Length") or 0):
            exchange.body = stream.read(length)
            if len(exchange.body) < length:
                return False
        with self.lock:
            self.seen.append(exchange)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            self._answer(exchange)
        finally:
            with self.lock:
                self.at_once -= 1
        return True

    def _answer(self, exchange: Exchange):
        path = exchange.target.split("?")[0]
        if answer := self.answers.get(path):
            answer(exchange)
        elif path.startswith("/hold"):
            self._hold(exchange)
        else:
            told = {"method": exchange.method, "target": exchange.target, "headers": exchange.headers,
                    "length": len(exchange.body), "sha256": hashlib.sha256(exchange.body).hexdigest()}
            exchange.answer(json.dumps(told).encode())

    def _hold(self, exchange: Exchange):
        """Answers when it is released, or sees the gateway leave."""
        exchange.connection.settimeout(0.002)
        while not self.released.is_set() and not exchange.answered.is_set():
            try:
                if exchange.connection.recv(1, socket.MSG_PEEK) == b"":
                    exchange.gone_at = time.monotonic()
                    raise ValueError("the gateway has left")
            except TimeoutError:
                continue
            except ConnectionResetError:
                exchange.gone_at = time.monotonic()
                raise
        exchange.connection.settimeout(None)
        if not exchange.answered.is_set():
            exchange.answer(b"held\n")


# The wire of src/control/wire.h, as much of it as these tests speak.
KIND_REQUEST, KIND_ANSWER = 10, 11
DOORS, REMOVE, JOBS, CANCEL, STATUS, SAMPLES, DRAIN = range(1, 8)
DOWN, READY, DRAINING = range(3)
CLASSES = ("emergency", "interactive", "batch")


def _payload(value) -> bytes:
    if isinstance(value, bool):
        return b"\x01" if value else b""
    if isinstance(value, int):
        return value.to_bytes(8, "little").rstrip(b"\0")
    if isinstance(value, str):
        return value.encode()
    return b"".join(_field(tag, item) for tag, item in value)


def _field(tag: int, value) -> bytes:
    data = _payload(value)
    return struct.pack("<HI", tag, len(data)) + data


def milliseconds(count: int) -> int:
    """A duration: signed numbers are zigzag."""
    return count << 1


def _read(data: bytes) -> dict[int, list[bytes]]:
    fields: dict[int, list[bytes]] = {}
    while data:
        tag, length = struct.unpack("<HI", data[:6])
        fields.setdefault(tag, []).append(data[6:6 + length])
        data = data[6 + length:]
    return fields


def _number(fields, tag: int) -> int:
    return int.from_bytes(fields.get(tag, [b""])[0], "little")


class Gateway:
    """`gpuward-gateway` in front of one or more services, with sockets from us as its anchor would hand them."""

    def __init__(self, folder: Path, replicas: list, model: list | None = None, name: str = "svc", options: tuple = (),
                 host: str = "127.0.0.1"):
        self.folder, self.name = folder, name
        self.model, self.replicas = model or [], replicas
        self.spill = folder / "spill"
        self.spill.mkdir(exist_ok=True)
        self.listener = socket.create_server((host, 0), backlog=1024)
        self.address = self.listener.getsockname()
        self.control_path = folder / "control"
        self.control = socket.socket(socket.AF_UNIX)
        self.control.bind(str(self.control_path))
        self.control.listen()
        self.log = open(folder / "gateway.log", "w+")
        self.options = options
        self.start()

    def start(self):
        held = [os.dup(self.listener.fileno()), os.dup(self.control.fileno())]

        def hand_over():
            # Above where they will stand, so that neither is closed by the other's move.
            for n, fd in enumerate([os.dup(fd) for fd in held]):
                os.dup2(fd, 100 + n)
            for n in range(len(held)):
                os.dup2(100 + n, 3 + n)
                os.close(100 + n)
            os.closerange(3 + len(held), 64)
            os.putenv("LISTEN_PID", str(os.getpid()))

        os.environ.update(LISTEN_FDS="2", LISTEN_FDNAMES=f"{self.name}:control")
        try:
            self.process = subprocess.Popen([BIN / "gpuward-gateway", "--spill", str(self.spill), *self.options], close_fds=False,
                                            preexec_fn=hand_over, stderr=self.log, stdin=subprocess.DEVNULL)
        finally:
            del os.environ["LISTEN_FDS"], os.environ["LISTEN_FDNAMES"]
            for fd in held:
                os.close(fd)
        self.tell(*self.replicas)

    def door(self, replicas) -> list:
        rows = []
        for index, (address, state) in enumerate(replicas):
            rows.append((3, [(1, index), (2, f"{address[0]}:{address[1]}"), (3, state)]))
        return [(1, self.name), (2, [(1, 1), (2, f"{self.address[0]}:{self.address[1]}"), *self.model]), *rows]

    def ask(self, what: int, *fields) -> dict[int, list[bytes]]:
        data = struct.pack("<2sBB", b"gw", 1, KIND_REQUEST) + _payload([(1, what), *fields])
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(10)
            peer.connect(str(self.control_path))
            peer.sendall(struct.pack("<I", len(data)) + data)
            stream = peer.makefile("rb")
            length = struct.unpack("<I", stream.read(4))[0]
            body = stream.read(length)
        assert body[:4] == struct.pack("<2sBB", b"gw", 1, KIND_ANSWER), body[:4]
        return _read(body[4:])

    def tell(self, *replicas):
        """Each an address and a state."""
        answer = self.ask(DOORS, (2, self.door(replicas)))
        assert _number(answer, 1) == 0, answer.get(2)

    def jobs(self) -> list[dict]:
        rows = []
        for data in self.ask(JOBS).get(3, []):
            row = _read(data)
            rows.append({"id": _number(row, 2), "class": CLASSES[_number(row, 3)], "waiting": bool(_number(row, 4)),
                         "client_gone": bool(_number(row, 5)), "rank": _number(row, 8), "size": _number(row, 10)})
        return rows

    def cancel(self, job: int) -> int:
        return _number(self.ask(CANCEL, (4, job)), 1)

    def status(self) -> dict:
        row = _read(self.ask(STATUS)[4][0])
        names = ("waiting", "in_flight", "clients", "done", "failed", "refused", "cancelled", "empty_answers", "cut_off_answers")
        told = {name: _number(row, 2 + n) for n, name in enumerate(names)}
        told["replicas"] = [{"state": _number(_read(data), 2), "in_flight": _number(_read(data), 3), "limit": _number(_read(data), 4)}
                            for data in row.get(11, [])]
        return told

    def idle(self):
        """Nothing is held any more."""
        wait_for(lambda: (lambda s: s["waiting"] == s["in_flight"] == 0)(self.status()), 10, "every counter is back at 0")

    def memory(self) -> int:
        """PSS in bytes."""
        rollup = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        return 1024 * int(next(line.split()[1] for line in rollup.splitlines() if line.startswith("Pss:")))

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def nameless(self) -> list[Path]:
        """Files in the spill folder that it has open."""
        return [fd for fd in Path(f"/proc/{self.process.pid}/fd").iterdir() if os.readlink(fd).startswith(str(self.spill))]

    def stop(self):
        end(self.process.pid)
        self.process.wait(10)
        self.listener.close()
        self.control.close()
        self.log.close()


class Client:
    """One connection, and the bytes that go over it."""

    def __init__(self, address):
        self.socket = socket.create_connection(address, timeout=15)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stream = self.socket.makefile("rb")

    def send(self, data: bytes):
        self.socket.sendall(data)

    def get(self, target: str, headers: str = "", method: str = "GET"):
        self.send(f"{method} {target} HTTP/1.1\r\nHost: svc\r\nUser-Agent: test\r\n{headers}\r\n".encode())

    def post(self, target: str, body: bytes, headers: str = ""):
        self.get(target, f"Content-Length: {len(body)}\r\n{headers}", "POST")
        self.send(body)

    def head(self) -> tuple[int, dict[str, str]]:
        line = self.stream.readline()
        assert line.startswith(b"HTTP/1.1 "), line
        headers = {}
        while (field := self.stream.readline()) not in (b"\r\n", b""):
            key, _, value = field.decode().partition(":")
            headers[key.lower()] = value.strip()
        return int(line.split()[1]), headers

    def answer(self, head_only: bool = False) -> tuple[int, dict[str, str], bytes]:
        status, headers = self.head()
        if head_only or status in (204, 304) or status < 200:
            return status, headers, b""
        if "content-length" in headers:
            return status, headers, self.stream.read(int(headers["content-length"]))
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(self.stream.readline() or b"", 16):
                piece = self.stream.read(size)
                if len(piece) < size or self.stream.readline() != b"\r\n":
                    raise ConnectionResetError("cut off in a chunk")
                body += piece
            assert self.stream.readline() == b"\r\n"
            return status, headers, body
        return status, headers, self.stream.read()

    def ended(self) -> str:
        """How the connection ends: "end" or "reset"."""
        try:
            while self.stream.read(65536):
                pass
            return "end"
        except ConnectionResetError:
            return "reset"

    def close(self):
        self.stream.close()
        self.socket.close()

    def reset(self):
        """The way a killed process leaves whose peer still sends."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()
