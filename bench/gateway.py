#!/usr/bin/env python3
"""What the gateway costs, beside haproxy and nginx in the same run: `make bench-gateway`.

usage: gateway.py [--only small,large,events,close,idle] [--streams N] [FILE.json]

nginx is the service behind all of them, on one processor with the clients; each proxy has the other one to itself. CPU per
request is the figure to trust: the rest depends on how noisy the machine is. Rounds go round the proxies; medians count.
Exits 1 when a bound is missed. haproxy, nginx and wrk are looked for in build/peers (`scripts/setup --comparisons` puts
them there, unstarted) and then in PATH.
"""

import argparse
import contextlib
import multiprocessing
import os
import re
import resource
import selectors
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import BIN, ROOT, Table, cpu_ns, end, pause, pss_kib, wait_for

HERE, THERE = ("0", "1") if (os.cpu_count() or 1) > 1 else ("0", "0")
ROUNDS = 5
SECONDS = 2
SMALL = 112
DESCRIPTORS = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
MOST_STREAMS = DESCRIPTORS // 2 - 250  # each takes two, in a proxy and in us


def find(name: str) -> str | None:
    folders = f"{ROOT}/build/peers/usr/sbin:{ROOT}/build/peers/usr/bin:/usr/sbin:{os.environ['PATH']}"
    return shutil.which(name, path=folders)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


STARTED: list["Proxy"] = []


class Proxy:
    """A program that is started for the benchmark and ended with it. `pid` is the process that does the work."""

    def __init__(self, name: str, words: list, port: int, cpu: str = THERE):
        self.name, self.port = name, port
        self.process = subprocess.Popen(["taskset", "-c", cpu, *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        STARTED.append(self)
        wait_for(self.answers, 10, f"{name} listens at {port}")
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        self.pid = int(children[0]) if children else self.process.pid

    def answers(self) -> bool:
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self):
        STARTED.remove(self)
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            end(self.process.pid)
            self.process.wait()


NGINX = """daemon off; master_process off; worker_processes 1; pid {folder}/{name}.pid; error_log /dev/null;
events {{ worker_connections 20000; }}
http {{ access_log off; keepalive_requests 1000000000; sendfile on; tcp_nopush off; tcp_nodelay on;
  client_body_temp_path {folder}/{name}.1; proxy_temp_path {folder}/{name}.2; fastcgi_temp_path {folder}/{name}.3;
  uwsgi_temp_path {folder}/{name}.4; scgi_temp_path {folder}/{name}.5;
  {rest} }}"""


def nginx(folder: Path, name: str, rest: str, port: int, cpu: str) -> Proxy:
    conf = folder / f"{name}.conf"
    conf.write_text(NGINX.format(folder=folder, name=name, rest=rest))
    return Proxy(name, [find("nginx"), "-c", str(conf), "-e", "/dev/null"], port, cpu)


def service(folder: Path) -> Proxy:
    port = free_port()
    (folder / "large").write_bytes(os.urandom(4 << 20))
    return nginx(folder, "service", f"""server {{ listen 127.0.0.1:{port} backlog=4096; root {folder};
      location /small {{ return 200 '{'x' * SMALL}'; }} }}""", port, HERE)


def proxies(folder: Path, to: int) -> list[Proxy]:
    made = []
    port = free_port()
    made.append(Proxy("gpuward", [BIN / "gpuward-gateway", "--listen", f"127.0.0.1:{port}", "--to", f"127.0.0.1:{to}",
                                  "--per-caller", "0", "--pass", "/stream"], port))
    if find("haproxy"):
        for name, option in (("haproxy", ""), ("haproxy splice-auto", "option splice-auto"), ("haproxy no-delay", "option http-no-delay")):
            port = free_port()
            conf = folder / f"{name.replace(' ', '-')}.cfg"
            conf.write_text(f"global\n maxconn {4000 if 'splice' in name else MOST_STREAMS}\n nbthread 1\ndefaults\n mode http\n {option}\n timeout connect 5s\n timeout client 60s\n"
                            f" timeout server 60s\nfrontend f\n bind 127.0.0.1:{port}\n default_backend b\nbackend b\n server s 127.0.0.1:{to}\n")
            made.append(Proxy(name, [find("haproxy"), "-db", "-f", str(conf)], port))
    port = free_port()
    made.append(nginx(folder, "nginx", f"""upstream u {{ server 127.0.0.1:{to}; keepalive 256; }} server {{ listen 127.0.0.1:{port} backlog=4096;
      proxy_http_version 1.1; proxy_set_header Connection ''; proxy_buffering off; location / {{ proxy_pass http://u; }} }}""", port, THERE))
    return made


def wrk(port: int, path: str, connections: int) -> tuple[float, int]:
    """Requests per second, and how many in all."""
    done = subprocess.run(["taskset", "-c", HERE, find("wrk"), "-t1", f"-c{connections}", f"-d{SECONDS}s", f"http://127.0.0.1:{port}{path}"],
                          capture_output=True, text=True, check=True)
    assert "Non-2xx" not in done.stdout, done.stdout
    requests = int(re.search(r"(\d+) requests in", done.stdout)[1])
    return float(re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)[1]), requests


def cpu_per_request(table: Table, who: list[Proxy], path: str, connections: int, what: str, bound: float, against: str):
    cost: dict[str, list[float]] = {p.name: [] for p in who}
    rate: dict[str, list[float]] = {p.name: [] for p in who}
    for _ in range(ROUNDS):
        for proxy in who:
            before = cpu_ns(proxy.pid)
            per_second, requests = wrk(proxy.port, path, connections)
            cost[proxy.name].append((cpu_ns(proxy.pid) - before) / 1e3 / max(requests, 1))
            rate[proxy.name].append(per_second)
    middle = {name: statistics.median(values) for name, values in cost.items()}
    for name in middle:
        table.row(f"{what}: CPU per request, {name}", middle[name], "us")
        table.row(f"{what}: requests per second, {name}", statistics.median(rate[name]))
    if against in middle:
        ratio = middle["gpuward"] / middle[against]
        table.row(f"{what}: CPU per request / {against}", ratio, "x", f"<= {bound} x {against}", ratio <= bound)


class Events:
    """A service of event streams: each gets a stamp every 10 ms, or nothing."""

    def __init__(self, every: float | None):
        self.every = every
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.port = self.listener.getsockname()[1]
        self.streams: list[socket.socket] = []
        self.closed, self._tell_closed = multiprocessing.Pipe(duplex=False)
        self.process = multiprocessing.get_context("fork").Process(target=self._run, daemon=True)
        self.process.start()

    def stop(self):
        self.process.terminate()
        self.process.join()
        self.listener.close()

    def closed_at(self, path: str) -> float:
        """When the connection was closed on which it was asked for."""
        while self.closed.poll(1):
            which, when = self.closed.recv()
            if which == path:
                return when
        raise TimeoutError(path)

    def _run(self):
        selector = selectors.DefaultSelector()
        self.listener.setblocking(False)
        selector.register(self.listener, selectors.EVENT_READ)
        due = time.monotonic()
        asked: dict[socket.socket, bytes] = {}
        while True:
            wait = None if self.every is None else max(due - time.monotonic(), 0)
            for key, _ in selector.select(wait):
                if key.fileobj is self.listener:
                    stream, _ = self.listener.accept()
                    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    selector.register(stream, selectors.EVENT_READ)
                    continue
                stream = key.fileobj
                try:
                    data = stream.recv(4096)
                except ConnectionError:
                    data = b""
                if not data:
                    if asked.get(stream, b"").startswith(b"/hold"):
                        self._tell_closed.send((asked[stream].decode(), time.monotonic()))
                    selector.unregister(stream)
                    if stream in self.streams:
                        self.streams.remove(stream)
                    stream.close()
                    continue
                asked[stream] = data.split(b" ")[1]
                if not asked[stream].startswith(b"/hold"):
                    stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
                    self.streams.append(stream)
            if self.every is not None and time.monotonic() >= due:
                for stream in self.streams:
                    text = b"data: %020d\n\n" % time.monotonic_ns()
                    with contextlib.suppress(OSError):  # it has left: told by its descriptor
                        stream.send(b"%x\r\n%s\r\n" % (len(text), text))
                due = max(due + self.every, time.monotonic())


def open_streams(port: int, count: int) -> list[socket.socket]:
    streams = []
    for n in range(count):
        s = socket.create_connection(("127.0.0.1", port), timeout=30)
        s.sendall(b"GET /stream/%d HTTP/1.1\r\nHost: s\r\n\r\n" % n)
        streams.append(s)
    for s in streams:
        head = b""
        while b"\r\n\r\n" not in head:
            piece = s.recv(4096)
            assert piece, head
            head += piece
    return streams


STAMP = re.compile(rb"data: (\d{20})\n")


def delays(port: int, count: int, seconds: float) -> list[float]:
    """In ms, from the service's stamp to the client."""
    streams = open_streams(port, count)
    selector = selectors.DefaultSelector()
    for s in streams:
        s.setblocking(False)
        selector.register(s, selectors.EVENT_READ)
    found: list[float] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for key, _ in selector.select(0.1):
            data = key.fileobj.recv(65536)
            now = time.monotonic_ns()
            found += [(now - int(stamp)) / 1e6 for stamp in STAMP.findall(data)]
    for s in streams:
        s.close()
    return found[len(found) // 10:]


def events(table: Table, folder: Path):
    """200 streams, 100 events a second each."""
    source = Events(0.01)
    who = proxies(folder, source.port)
    direct, through = [], {p.name: [] for p in who}
    cost: dict[str, list[float]] = {p.name: [] for p in who}
    for _ in range(3):
        direct.append(delays(source.port, 200, SECONDS))
        for proxy in who:
            before = cpu_ns(proxy.pid)
            through[proxy.name].append(delays(proxy.port, 200, SECONDS))
            cost[proxy.name].append((cpu_ns(proxy.pid) - before) / 1e3 / max(len(through[proxy.name][-1]), 1))

    def at(runs: list[list[float]], share: float) -> float:
        return statistics.median(sorted(run)[int(len(run) * share)] for run in runs)

    for name, runs in through.items():
        for label, share, bound in (("p50", 0.5, 0.5), ("p99", 0.99, 5)):
            added = at(runs, share) - at(direct, share)
            ours = name == "gpuward"
            table.row(f"200 streams x 100/s: added {label}, {name}", added, "ms", f"<= {bound} ms" if ours else "", not ours or added <= bound)
        table.row(f"200 streams x 100/s: CPU per event, {name}", statistics.median(cost[name]), "us")
    for proxy in who:
        proxy.stop()
    source.stop()


def close_seen(table: Table, folder: Path):
    """From a client's close to the service's, while it works."""
    source = Events(None)
    who = proxies(folder, source.port)
    for proxy in who:
        times = []
        for n in range(20):
            path = f"/hold/{n}"
            s = socket.create_connection(("127.0.0.1", proxy.port))
            s.sendall(b"GET %s HTTP/1.1\r\nHost: s\r\nUser-Agent: bench\r\n\r\n" % path.encode())
            pause(0.02)
            left = time.monotonic()
            s.close()
            try:
                times.append((source.closed_at(path) - left) * 1e3)
            except TimeoutError:
                times.append(1000.0)
                break
        middle = statistics.median(times)
        ours = proxy.name == "gpuward"
        table.row(f"client's close to the service's, {proxy.name}", middle if middle < 1000 else "never in 1 s", "ms", "<= 5 ms" if ours else "", not ours or middle <= 5)
    for proxy in who:
        proxy.stop()
    source.stop()


def idle(table: Table, folder: Path, count: int):
    """Streams that say nothing."""
    source = Events(None)
    for proxy in proxies(folder, source.port):
        if proxy.name in ("gpuward", "haproxy", "nginx"):
            before = pss_kib(proxy.pid)
            try:
                streams = open_streams(proxy.port, count)
            except OSError as error:
                table.row(f"{count} idle streams: PSS each, {proxy.name}", "failed", "", str(error), proxy.name != "gpuward")
                proxy.stop()
                continue
            each = (pss_kib(proxy.pid) - before) / count
            ours = proxy.name == "gpuward"
            table.row(f"{count} idle streams: PSS each, {proxy.name}", each, "KiB", "<= 6 KiB" if ours else "", not ours or each <= 6)
            for s in streams:
                s.close()
        proxy.stop()
    source.stop()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="small,large,events,close,idle")
    parser.add_argument("--streams", type=int, default=10_000)
    parser.add_argument("file", nargs="?")
    options = parser.parse_args()
    for tool in ("nginx", "wrk"):
        if not find(tool):
            print(f"bench-gateway: {tool} is not here; run: scripts/setup --comparisons", file=sys.stderr)
            return 1
    parts = options.only.split(",")
    os.sched_setaffinity(0, {int(HERE)})  # services and clients; each proxy has the other one
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    table = Table("make bench-gateway")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if {"small", "large"} & set(parts):
            behind = service(folder)
            who = proxies(folder, behind.port)
            if "small" in parts:
                cpu_per_request(table, [p for p in who if p.name != "haproxy no-delay"], "/small", 64, f"{SMALL} B, 64 clients", 1.0, "haproxy")
            if "large" in parts:
                cpu_per_request(table, [p for p in who if p.name != "haproxy no-delay"], "/large", 8, "4 MiB, 8 clients", 1.0, "haproxy splice-auto")
            for proxy in [*who, behind]:
                proxy.stop()
        if "events" in parts:
            events(table, folder)
        if "close" in parts:
            close_seen(table, folder)
        if "idle" in parts:
            idle(table, folder, min(options.streams, MOST_STREAMS))
    return table.finish(options.file)


if __name__ == "__main__":
    try:
        sys.exit(main())
    finally:
        for proxy in list(STARTED):
            proxy.stop()
