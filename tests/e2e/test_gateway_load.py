"""The gateway under many clients at once: nobody gets another's answer, nothing is done twice, nothing stays behind; and
the clients and servers that people use."""

import asyncio
import contextlib
import http.client
import os
import random
import shutil
import subprocess
import threading
import time

import pytest

from gateway_peers import Client, Gateway, Upstream, milliseconds
from gpuward import wait_for

SEED = random.randrange(1 << 30)


def start(tmp_path, *upstreams, model=None) -> Gateway:
    return Gateway(tmp_path, [(u.address, 1) for u in upstreams], model)


class Film:
    """The service's answer to a film carries its nonce; some die before they are answered, some in the middle."""

    def __init__(self):
        self.done: dict[str, int] = {}
        self.lock = threading.Lock()
        self.random = random.Random(SEED)

    def __call__(self, exchange):
        nonce = exchange.body.decode()
        with self.lock:
            self.done[nonce] = self.done.get(nonce, 0) + 1
            fate = self.random.random()
        report = b"report on " + exchange.body
        if fate < 0.01:
            return exchange.close()
        if fate < 0.02:
            exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(report), report[:5]))
            return exchange.close()
        if fate < 0.3:
            exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(report), report))
            return exchange.answered.set()
        exchange.answer(report)


def films(address, name: int, count: int, told: dict):
    """One client: sends films one after the other, leaves at random, and holds every answer against what it asked."""
    chance = random.Random(SEED + name)
    client = None
    for n in range(count):
        client = client or Client(address)
        nonce = f"{name}-{n}-{chance.getrandbits(64):016x}"
        body = nonce.encode()
        try:
            client.post("/film", body)
            if chance.random() < 0.05:  # the browser is closed
                client.close() if chance.random() < 0.5 else client.reset()
                client = None
                told["left"] += 1
                continue
            status, _, answer = client.answer()
            if status == 200:
                if answer == b"report on " + body:
                    told["answered"] += 1
                elif (b"report on " + body).startswith(answer):
                    told["cut"] += 1
                    client.close()
                    client = None
                else:
                    told["swapped"] += 1
            else:
                told["refused"] += 1
        except (ConnectionError, AssertionError, ValueError):
            told["cut"] += 1
            client = None
    if client:
        client.close()


def test_ten_thousand_films_come_back_to_who_sent_them(tmp_path):
    upstreams = [Upstream(), Upstream()]
    film = Film()
    for upstream in upstreams:
        upstream.answers["/film"] = film
    gateway = start(tmp_path, *upstreams, model=[(3, [(5, 0), (6, 16), (2, [(1, 200), (2, 1 << 30), (3, milliseconds(600_000))])])])
    told = [dict.fromkeys(("answered", "refused", "left", "cut", "swapped"), 0) for _ in range(20)]
    clients = [threading.Thread(target=films, args=(gateway.address, n, 500, told[n])) for n in range(20)]
    try:
        for client in clients:
            client.start()
        for client in clients:
            client.join(120)
            assert not client.is_alive()
        total = {key: sum(one[key] for one in told) for key in told[0]}
        assert total["swapped"] == 0, (SEED, total)
        assert sum(total.values()) == 10_000 and total["answered"] > 8_500, (SEED, total)
        assert max(film.done.values()) == 1, f"seed {SEED}: a film was worked on twice"
        gateway.idle()
        wait_for(lambda: gateway.status()["clients"] == 0, 10, "all have left")
    finally:
        gateway.stop()
        for upstream in upstreams:
            upstream.stop()


def test_two_thousand_clients_that_leave_at_random_leave_nothing(tmp_path):
    upstream = Upstream()
    gateway = start(tmp_path, upstream, model=[(3, [(5, 0), (6, 16)])])
    chance = random.Random(SEED)
    try:
        before = gateway.descriptors()
        clients = []
        for n in range(2000):
            client = Client(gateway.address)
            shape = chance.random()
            if shape < 0.3:
                client.send(b"GET /part HTTP/1.1\r\nHo")
            elif shape < 0.6:
                client.get(f"/x{n}")
            else:
                client.get("/up", f"Content-Length: {chance.randrange(1, 200_000)}\r\n", "POST")
                client.send(b"x" * chance.randrange(1, 1000))
            clients.append(client)
            if len(clients) > 100:
                leaving = clients.pop(chance.randrange(len(clients)))
                leaving.close() if chance.random() < 0.5 else leaving.reset()
        for client in clients:
            client.close()
        wait_for(lambda: gateway.status()["clients"] == 0, 20, f"all have left (seed {SEED})")
        gateway.idle()
        wait_for(lambda: gateway.descriptors() <= before + 1, 10, "only a connection to the service may be kept")
        assert not gateway.nameless()
    finally:
        gateway.stop()
        upstream.stop()


@pytest.mark.skipif(not shutil.which("slowhttptest") and os.environ.get("GPUWARD_REQUIRE_ALL") != "1", reason="slowhttptest is not installed")
@pytest.mark.parametrize("attack", [["-H"], ["-B"], ["-X", "-w", "10", "-y", "20", "-z", "5", "-n", "5"]], ids=["heads", "bodies", "readers"])
def test_slow_clients_keep_nobody_out(tmp_path, attack):
    upstream = Upstream()
    upstream.answers["/big"] = lambda exchange: exchange.answer(b"x" * (1 << 20))
    gateway = start(tmp_path, upstream, model=[(11, milliseconds(5000)), (4, [(1, "/big"), (3, True)])])
    url = f"http://127.0.0.1:{gateway.address[1]}/{'big' if '-X' in attack else 'x'}"
    slow = subprocess.Popen(["slowhttptest", *attack, "-c", "200", "-r", "200", "-i", "10", "-l", "6", "-u", url, "-t", "POST" if "-B" in attack else "GET"],
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: gateway.status()["clients"] > 150, 10, "they are here")
        for _ in range(20):
            client = Client(gateway.address)
            began = time.monotonic()
            client.get("/quick")
            assert client.answer()[0] == 200
            assert time.monotonic() - began < 5, "it waited until they were let go"
            client.close()
        slow.wait(30)
        wait_for(lambda: gateway.status()["clients"] == 0, 20, "they are let go")
        gateway.idle()
    finally:
        if slow.poll() is None:
            slow.kill()
            slow.wait()
        gateway.stop()
        upstream.stop()


def test_curl_uploads_and_keeps_its_connection(tmp_path):
    upstream = Upstream()
    gateway = start(tmp_path, upstream)
    film = tmp_path / "film"
    film.write_bytes(random.Random(1).randbytes(3 << 20))
    url = f"http://127.0.0.1:{gateway.address[1]}/film"
    try:
        done = subprocess.run(["curl", "-sS", "--fail", "-H", "Expect: 100-continue", "-T", film, url, "--next", "-sS", "--fail", "-F", f"f=@{film}", url,
                               "--next", "-sS", "--fail", "-H", "Transfer-Encoding: chunked", "--data-binary", f"@{film}", url],
                              capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr
        sizes = [len(exchange.body) for exchange in upstream.seen]
        assert sizes[0] == sizes[2] == film.stat().st_size and sizes[1] > sizes[0]
        assert upstream.seen[0].body == film.read_bytes() == upstream.seen[2].body
    finally:
        gateway.stop()
        upstream.stop()


def test_pythons_websockets_talk_through_it(tmp_path):
    websockets = pytest.importorskip("websockets")

    async def talk():
        async def echo(socket, *_):
            with contextlib.suppress(websockets.ConnectionClosed):
                async for message in socket:
                    await socket.send(message)

        async with websockets.serve(echo, "127.0.0.1", 0) as server:
            address = server.sockets[0].getsockname()
            gateway = await asyncio.to_thread(Gateway, tmp_path, [(address, 1)], [(4, [(1, "/ws"), (3, True)])])
            try:
                async with websockets.connect(f"ws://127.0.0.1:{gateway.address[1]}/ws") as client:
                    for size in (1, 1000, 300_000):
                        await client.send("x" * size)
                        assert await asyncio.wait_for(client.recv(), 10) == "x" * size
                await asyncio.to_thread(wait_for, lambda: gateway.status()["clients"] == 0, 10, "both ends are closed")
            finally:
                await asyncio.to_thread(gateway.stop)

    asyncio.run(talk())


def test_pythons_http_client_reads_an_answer_without_length(tmp_path):
    upstream = Upstream()

    def until_close(exchange):
        exchange.send(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n" + b"line\n" * 1000)
        exchange.close()

    upstream.answers["/x"] = until_close
    gateway = start(tmp_path, upstream)
    try:
        connection = http.client.HTTPConnection(*gateway.address, timeout=10)
        connection.request("GET", "/x")
        answer = connection.getresponse()
        assert answer.status == 200 and answer.read() == b"line\n" * 1000
    finally:
        gateway.stop()
        upstream.stop()


@pytest.fixture
def cable():
    """A network namespace at the other end of a link; `cable.unplug()` takes the link down: no FIN, no RST."""

    class Cable:
        near = "10.213.7.1"
        space = f"gwcut{random.randrange(1 << 20)}"
        link = f"gw{random.randrange(1 << 20)}"

        @staticmethod
        def run(*words):
            subprocess.run(words, check=True, capture_output=True, timeout=10)

        def plug(self):
            inside = ("ip", "-n", self.space)
            self.run("ip", "netns", "add", self.space)
            self.run("ip", "link", "add", self.link, "type", "veth", "peer", "name", "far", "netns", self.space)
            self.run("ip", "addr", "add", f"{self.near}/30", "dev", self.link)
            self.run("ip", "link", "set", self.link, "up")
            self.run(*inside, "addr", "add", "10.213.7.2/30", "dev", "far")
            self.run(*inside, "link", "set", "far", "up")

        def unplug(self):
            self.run("ip", "link", "set", self.link, "down")

        def away(self):
            for words in (("netns", "del", self.space), ("link", "del", self.link)):
                subprocess.run(("ip", *words), capture_output=True)

    it = Cable()
    try:
        it.plug()
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        it.away()
        pytest.skip(f"no network namespaces with a link here: {error}")
    yield it
    it.away()


def test_a_client_whose_network_is_cut_is_found(tmp_path, cable):
    upstream = Upstream()
    gateway = Gateway(tmp_path, [(upstream.address, 1)], [(8, milliseconds(3000))], host=cable.near)
    far = subprocess.Popen(["ip", "netns", "exec", cable.space, "/usr/bin/python3", "-c",
                            "import socket,sys; s=socket.create_connection((sys.argv[1], int(sys.argv[2])));"
                            "s.sendall(b'GET /hold HTTP/1.1\\r\\nHost: s\\r\\nUser-Agent: x\\r\\n\\r\\n'); s.recv(1)",
                            cable.near, str(gateway.address[1])])
    try:
        exchange = upstream.exchange("/hold")
        cable.unplug()
        wait_for(lambda: exchange.gone_at, 15, "the service is left")
        gateway.idle()
    finally:
        far.kill()
        far.wait()
        gateway.stop()
        upstream.stop()
