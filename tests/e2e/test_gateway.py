"""The gateway between real sockets: who waits, who goes in, who has left."""

import hashlib
import json
import socket
import subprocess
import time

import pytest

from gateway_peers import DOWN, DRAIN, READY, Client, Gateway, Upstream, milliseconds
from gpuward import BIN, wait_for

PASS, EMERGENCY = (3, True), (2, 0)


@pytest.fixture
def upstream():
    service = Upstream()
    yield service
    service.stop()


@pytest.fixture
def make(tmp_path):
    """Starts gateways; each must hold nothing at the end."""
    made = []

    def one(*upstreams, model=None, **how):
        replicas = [(u.address, READY) if isinstance(u, Upstream) else u for u in upstreams]
        made.append(Gateway(tmp_path, replicas, model, **how))
        return made[-1]

    yield one
    for gateway in made:
        gateway.stop()


def route(prefix: str, *what) -> tuple:
    return (4, [(1, prefix), *what])


def told(client: Client) -> dict:
    status, _, body = client.answer()
    assert status == 200, (status, body)
    return json.loads(body)


def test_passes_requests_and_answers_over_kept_connections(make, upstream):
    gateway = make(upstream)
    client = Client(gateway.address)
    client.get("/a?b=c", "X-Forwarded-For: 6.6.6.6\r\nConnection: x-hop\r\nX-Hop: 1\r\ntraceparent: 00-1-2-01\r\n")
    seen = told(client)
    headers = {k.lower(): v for k, v in seen["headers"]}
    assert seen["target"] == "/a?b=c"
    assert headers["x-forwarded-for"] == "127.0.0.1", "a client cannot say who it is"
    assert headers["traceparent"] == "00-1-2-01"
    assert "x-hop" not in headers
    client.post("/b", b"film" * 10)
    assert told(client)["sha256"] == hashlib.sha256(b"film" * 10).hexdigest()
    client.get("/c", method="HEAD")
    status, headers, _ = client.answer(head_only=True)
    assert status == 200 and int(headers["content-length"]) > 0
    client.send(b"POST /d HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    assert told(client)["length"] == 5
    assert upstream.connections == 1, "the connection to the service is used again"
    gateway.idle()


def test_a_request_keeps_the_id_it_brought_and_gets_one_otherwise(make, upstream):
    gateway = make(upstream)
    client = Client(gateway.address)
    client.get("/a", "X-Request-Id: ward-7.42\r\n")
    status, headers, body = client.answer()
    assert headers["x-request-id"] == "ward-7.42" and ["X-Request-Id", "ward-7.42"] in json.loads(body)["headers"]
    client.get("/b", "X-Request-Id: <script>\r\n")
    _, headers, _ = client.answer()
    assert len(headers["x-request-id"]) == 16 and headers["x-request-id"].isalnum()


def test_requests_sent_together_are_answered_in_their_order(make, upstream):
    client = Client(make(upstream).address)
    client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: s\r\n\r\n" % n for n in range(50)))
    assert [told(client)["target"] for _ in range(50)] == [f"/{n}" for n in range(50)]


def test_an_upload_of_gigabytes_size_waits_encrypted_and_at_flat_memory(make, upstream):
    gateway = make(upstream)
    before = gateway.memory()
    marker = b"PATIENT-0815-MARKER-" * 3277  # 64 KiB, again and again
    hold = Client(gateway.address)
    hold.get("/hold")
    upstream.exchange("/hold")
    client = Client(gateway.address)
    size = 256 * len(marker)
    client.get("/upload", f"Content-Length: {size}\r\n", "POST")
    for _ in range(256):
        client.send(marker)
    wait_for(lambda: any(job["size"] == size for job in gateway.jobs()), 20, "the upload waits")
    assert gateway.memory() - before < 4 << 20, "what waits is not in memory"
    assert not list(gateway.spill.iterdir()), "no name leads to it"
    kept = gateway.nameless()
    assert len(kept) == 1
    with open(kept[0], "rb") as file:
        on_disk = file.read(4 << 20)
    assert len(on_disk) > 1 << 20 and b"PATIENT" not in on_disk
    upstream.released.set()
    seen = told(client)
    assert seen["length"] == size and seen["sha256"] == hashlib.sha256(marker * 256).hexdigest()
    assert not gateway.nameless()


def test_a_slow_upload_takes_no_place(make, upstream):
    gateway = make(upstream)
    slow = Client(gateway.address)
    slow.get("/slow", "Content-Length: 100\r\n", "POST")
    slow.send(b"x")
    client = Client(gateway.address)
    client.get("/quick")
    assert told(client)["target"] == "/quick"
    assert gateway.status()["in_flight"] == 0
    slow.send(b"x" * 99)
    assert told(slow)["length"] == 100


def test_a_client_that_expects_100_is_told_to_go_on(make, upstream):
    client = Client(make(upstream).address)
    client.get("/up", "Content-Length: 3\r\nExpect: 100-continue\r\n", "POST")
    assert client.head()[0] == 100
    client.send(b"abc")
    seen = told(client)
    assert seen["length"] == 3 and "expect" not in {k.lower() for k, _ in seen["headers"]}


def test_one_at_a_time_until_more_has_proved_good(make, upstream):
    gateway = make(upstream)
    first, second = Client(gateway.address), Client(gateway.address)
    first.get("/hold1")
    upstream.exchange("/hold1")
    second.get("/hold2")
    wait_for(lambda: any(j["waiting"] and j["rank"] == 1 for j in gateway.jobs()), 5, "the second waits")
    assert [e.target for e in upstream.seen] == ["/hold1"]
    upstream.released.set()
    assert first.answer()[2] == second.answer()[2] == b"held\n"
    assert upstream.most_at_once == 1


@pytest.mark.parametrize("leave", ["close", "reset"])
def test_who_leaves_while_waiting_is_forgotten(make, upstream, leave):
    gateway = make(upstream)
    first, second = Client(gateway.address), Client(gateway.address)
    first.get("/hold1")
    upstream.exchange("/hold1")
    second.post("/left", b"x" * 200_000)
    wait_for(lambda: gateway.status()["waiting"] == 1, 5, "the second waits")
    getattr(second, leave)()
    wait_for(lambda: gateway.status()["waiting"] == 0, 2, "it is forgotten")
    upstream.released.set()
    first.answer()
    third = Client(gateway.address)
    third.get("/third")
    told(third)
    assert [e.target for e in upstream.seen] == ["/hold1", "/third"], "the service never hears of it"
    assert gateway.status()["cancelled"] == 1


@pytest.mark.parametrize("leave", ["close", "reset"])
def test_who_leaves_while_the_service_works_is_left_at_once(make, upstream, leave):
    gateway = make(upstream)
    client = Client(gateway.address)
    client.get("/hold")
    exchange = upstream.exchange("/hold")
    left = time.monotonic()
    getattr(client, leave)()
    wait_for(lambda: exchange.gone_at, 5, "the service sees the close")
    assert exchange.gone_at - left < 0.1
    gateway.idle()


def test_a_job_that_is_drained_keeps_its_place_to_its_end(make, upstream):
    gateway = make(upstream, model=[(6, 2)])
    client, second = Client(gateway.address), Client(gateway.address)
    client.get("/hold")
    exchange = upstream.exchange("/hold")
    client.close()
    wait_for(lambda: any(job["client_gone"] for job in gateway.jobs()), 5, "it runs on without its client")
    second.get("/next")
    wait_for(lambda: gateway.status()["waiting"] == 1, 5, "its place is taken still")
    assert exchange.gone_at is None
    upstream.released.set()
    assert told(second)["target"] == "/next"
    gateway.idle()


def test_closing_the_sending_side_is_leaving_for_a_browser_and_not_for_a_script(make, upstream):
    gateway = make(upstream)
    script = Client(gateway.address)
    script.send(b"GET /hold HTTP/1.1\r\nHost: s\r\n\r\n")
    script.socket.shutdown(socket.SHUT_WR)
    upstream.exchange("/hold")
    upstream.released.set()
    assert script.answer()[2] == b"held\n"
    upstream.released.clear()
    browser = Client(gateway.address)
    browser.get("/hold-browser")
    exchange = upstream.exchange("/hold-browser")
    browser.socket.shutdown(socket.SHUT_WR)
    wait_for(lambda: exchange.gone_at, 5, "it has left")
    gateway.idle()


def test_with_half_close_a_browser_gets_its_answer_too(make, upstream):
    gateway = make(upstream, model=[(7, True)])
    client = Client(gateway.address)
    client.get("/hold")
    client.socket.shutdown(socket.SHUT_WR)
    upstream.exchange("/hold")
    upstream.released.set()
    assert client.answer()[2] == b"held\n"


def dies(exchange):
    exchange.close()


def in_the_middle(exchange):
    exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
    exchange.close()


def in_a_chunk(exchange):
    exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nhalf")
    exchange.close()


def in_the_head(exchange):
    exchange.send(b"HTTP/1.1 200 OK\r\nContent-Le")
    exchange.close()


def garbage(exchange):
    exchange.send(b"\x00\x01this is no HTTP\r\n\r\n")


@pytest.mark.parametrize("how, status, reason", [(dies, 502, "replica_lost"), (in_the_head, 502, "bad_answer"),
                                                 (garbage, 502, "bad_answer")])
def test_a_service_that_fails_before_its_answer_is_said_so(make, upstream, how, status, reason):
    gateway = make(upstream)
    upstream.answers["/x"] = how
    client = Client(gateway.address)
    client.get("/x")
    got, headers, body = client.answer()
    assert got == status and json.loads(body)["error"]["reason"] == reason
    client.get("/after")
    assert told(client)["target"] == "/after", "the client's connection goes on"
    gateway.idle()
    assert gateway.status()["failed"] == 1


@pytest.mark.parametrize("how", [in_the_middle, in_a_chunk])
def test_an_answer_that_is_cut_off_is_never_ended_cleanly(make, upstream, how):
    gateway = make(upstream)
    upstream.answers["/x"] = how
    client = Client(gateway.address)
    client.get("/x")
    assert client.head()[0] == 200
    assert client.ended() == "reset"
    gateway.idle()
    assert gateway.status()["cut_off_answers"] == 1


def test_an_empty_answer_is_counted(make, upstream):
    gateway = make(upstream)
    upstream.answers["/x"] = lambda exchange: exchange.answer()
    client = Client(gateway.address)
    client.get("/x")
    assert client.answer()[0] == 200
    gateway.idle()
    assert gateway.status()["empty_answers"] == 1


@pytest.mark.parametrize("end, cut", [(b"data: [DONE]\n\n", 0), (b"", 1)])
def test_a_stream_of_tokens_that_ends_without_saying_so_is_counted(make, upstream, end, cut):
    gateway = make(upstream, model=[(1, 2)])

    def tokens(exchange):
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in (b'data: {"token": 1}\n\n', end):
            if piece:
                exchange.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        exchange.send(b"0\r\n\r\n")

    upstream.answers["/v1/chat/completions"] = tokens
    client = Client(gateway.address)
    client.post("/v1/chat/completions", b'{"stream": true}')
    assert client.answer()[2].endswith(end)
    gateway.idle()
    assert gateway.status()["cut_off_answers"] == cut
    assert gateway.status()["done"] == 1 - cut


def test_an_event_is_passed_on_when_it_comes(make, upstream):
    gateway = make(upstream)
    go = []

    def stream(exchange):
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for n in range(3):
            wait_for(lambda: len(go) > n, 10, "the client has the last one")
            exchange.send(b"9\r\ndata: %d\n\n\r\n" % n)
        exchange.send(b"0\r\n\r\n")

    upstream.answers["/x"] = stream
    client = Client(gateway.address)
    client.get("/x")
    assert client.head()[0] == 200
    for n in range(3):
        go.append(n)
        if n > 0:  # the line end behind a chunk may come with the next one: nobody needs it to read this one
            assert client.stream.readline() == b"\r\n"
        assert client.stream.readline() == b"9\r\n"
        assert client.stream.readline() == b"data: %d\n" % n
        assert client.stream.readline() == b"\n"
    assert client.stream.read(7) == b"\r\n0\r\n\r\n"
    gateway.idle()


def test_a_websocket_is_a_tunnel_both_ways(make, upstream):
    gateway = make(upstream)

    def tunnel(exchange):
        assert exchange.header("Upgrade") == "websocket"
        exchange.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhello")
        while data := exchange.connection.recv(100):
            exchange.send(data.upper())

    upstream.answers["/ws"] = tunnel
    client = Client(gateway.address)
    client.get("/ws", "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: eA==\r\nSec-WebSocket-Version: 13\r\n")
    client.send(b"early")
    assert client.head()[0] == 101
    assert client.stream.read(10) == b"helloEARLY"
    client.send(b"later")
    assert client.stream.read(5) == b"LATER"
    client.close()
    gateway.idle()


def test_who_comes_while_the_service_starts_waits_for_it(make, upstream):
    gateway = make((upstream.address, DOWN))
    client, browser = Client(gateway.address), Client(gateway.address)
    client.get("/x")
    wait_for(lambda: gateway.status()["waiting"] == 1, 5, "it waits")
    browser.get("/", "Accept: text/html\r\n")
    status, headers, page = browser.answer()
    assert status == 503 and int(headers["retry-after"]) > 0 and b"is starting" in page and b"refresh" in page
    gateway.tell((upstream.address, READY))
    assert told(client)["target"] == "/x"


def test_where_nobody_listens_a_job_waits_until_somebody_does(make):
    spare = socket.create_server(("127.0.0.1", 0))
    address = spare.getsockname()
    spare.close()
    gateway = make((address, READY))
    client = Client(gateway.address)
    client.get("/x")
    wait_for(lambda: gateway.status()["replicas"][0]["state"] == DOWN, 5, "it is left out")
    service = Upstream(address)
    try:
        assert told(client)["target"] == "/x"
    finally:
        service.stop()


def test_a_drained_replica_finishes_and_gets_no_more(make, upstream):
    other = Upstream()
    try:
        gateway = make(upstream)
        client, second = Client(gateway.address), Client(gateway.address)
        client.get("/hold")
        upstream.exchange("/hold")
        gateway.ask(DRAIN, (3, "svc"), (5, 0))
        second.get("/next")
        wait_for(lambda: gateway.status()["waiting"] == 1, 5, "it waits")
        gateway.tell((upstream.address, READY), (other.address, READY))
        assert told(second)["target"] == "/next" and [e.target for e in other.seen] == ["/next"]
        upstream.released.set()
        assert client.answer()[2] == b"held\n"
    finally:
        other.stop()


def test_full_queues_say_when_to_come_again(make, upstream):
    gateway = make(upstream, model=[(3, [(2, [(1, 2), (2, 1 << 30), (3, milliseconds(600_000))]), (5, 0), (6, 16)])])
    clients = [Client(gateway.address) for _ in range(4)]
    for n, client in enumerate(clients):
        client.get(f"/hold{n}")
        wait_for(lambda: (lambda s: s["waiting"] + s["in_flight"] == min(n + 1, 3))(gateway.status()), 5, "it is in")
    status, headers, body = clients[3].answer()
    assert status == 503 and json.loads(body)["error"]["reason"] == "queue_full" and int(headers["retry-after"]) >= 1
    upstream.released.set()
    assert [client.answer()[0] for client in clients[:3]] == [200] * 3


def test_one_caller_cannot_have_every_place(make, upstream):
    gateway = make(upstream, model=[(3, [(5, 1), (6, 16), (2, [(1, 200), (2, 1 << 30), (3, milliseconds(600_000))])])])
    clients = [Client(gateway.address) for _ in range(3)]
    for n, client in enumerate(clients[:2]):
        client.get(f"/hold{n}")
        wait_for(lambda: (lambda s: s["waiting"] + s["in_flight"] == n + 1)(gateway.status()), 5, "it is in")
    clients[2].get("/more")
    status, headers, body = clients[2].answer()
    assert status == 429 and json.loads(body)["error"]["reason"] == "over_quota"
    upstream.released.set()
    assert [client.answer()[0] for client in clients[:2]] == [200] * 2


def test_an_emergency_goes_first_and_what_passes_is_no_job(make, upstream):
    gateway = make(upstream, model=[route("/urgent", EMERGENCY), route("/health", PASS)])
    hold, calm, urgent, health = (Client(gateway.address) for _ in range(4))
    hold.get("/hold")
    upstream.exchange("/hold")
    calm.get("/calm")
    wait_for(lambda: gateway.status()["waiting"] == 1, 5, "one waits")
    urgent.get("/urgent/film")
    wait_for(lambda: gateway.status()["waiting"] == 2, 5, "two wait")
    health.get("/health")
    assert told(health)["target"] == "/health"
    upstream.released.set()
    told(urgent), told(calm)
    assert [e.target for e in upstream.seen] == ["/hold", "/health", "/urgent/film", "/calm"]


def test_a_job_can_be_cancelled_by_hand(make, upstream):
    gateway = make(upstream)
    first, second = Client(gateway.address), Client(gateway.address)
    first.get("/hold1")
    exchange = upstream.exchange("/hold1")
    second.get("/hold2")
    wait_for(lambda: gateway.status()["waiting"] == 1, 5, "the second waits")
    for waiting in (True, False):
        job = next(job for job in gateway.jobs() if job["waiting"] == waiting)
        assert gateway.cancel(job["id"]) == 0
        client = second if waiting else first
        status, _, body = client.answer()
        assert status == 503 and json.loads(body)["error"]["reason"] == "cancelled"
    wait_for(lambda: exchange.gone_at, 5, "the service sees the close")
    assert gateway.cancel(12345) == 1, "there is no such job"
    gateway.idle()


def test_a_job_that_takes_too_long_is_given_up(make, upstream):
    gateway = make(upstream, model=[(9, milliseconds(300))])
    client = Client(gateway.address)
    client.get("/hold")
    exchange = upstream.exchange("/hold")
    began = time.monotonic()
    status, _, body = client.answer()
    assert time.monotonic() - began < 3
    assert status == 504 and json.loads(body)["error"]["reason"] == "job_limit"
    wait_for(lambda: exchange.gone_at, 5, "the service sees the close")
    gateway.idle()


SMUGGLED = {
    "two lengths": b"POST / HTTP/1.1\r\nHost: s\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "a length and chunks": b"POST / HTTP/1.1\r\nHost: s\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a folded line": b"GET / HTTP/1.1\r\nHost: s\r\nX: a\r\n b\r\n\r\n",
    "a bare LF": b"GET / HTTP/1.1\nHost: s\n\n",
    "a NUL": b"GET / HTTP/1.1\r\nHost: s\r\nX: a\0b\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "an unknown coding": b"POST / HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: gzip\r\n\r\n",
    "a space before the colon": b"GET / HTTP/1.1\r\nHost : s\r\n\r\n",
    "a bad chunk": b"POST / HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a giant head": b"GET / HTTP/1.1\r\nHost: s\r\nX: " + b"a" * 70_000 + b"\r\n\r\n",
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00",
}


@pytest.mark.parametrize("shape", SMUGGLED)
def test_a_request_in_doubt_reaches_nobody(make, upstream, shape):
    gateway = make(upstream)
    client = Client(gateway.address)
    client.send(SMUGGLED[shape])
    status, headers, _ = client.answer()
    assert 400 <= status < 600 and headers["connection"] == "close", "what follows it is not read"
    assert client.ended() in ("end", "reset")
    assert not upstream.seen
    gateway.idle()


def test_who_is_too_slow_is_let_go(make, upstream):
    gateway = make(upstream, model=[(11, milliseconds(1000))])
    head, body, reader = (Client(gateway.address) for _ in range(3))
    head.send(b"GET / HTTP/1.1\r\nHos")
    body.get("/up", "Content-Length: 100000\r\n", "POST")
    body.send(b"x")
    upstream.answers["/big"] = lambda exchange: exchange.answer(b"x" * (32 << 20))
    reader.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    reader.get("/big")
    assert json.loads(head.answer()[2])["error"]["reason"] == "slow_head"
    assert json.loads(body.answer()[2])["error"]["reason"] == "slow_body"
    gateway.idle()
    assert reader.ended() == "reset"


def test_term_finishes_what_is_under_way(make, upstream):
    gateway = make(upstream)
    client, waiting = Client(gateway.address), Client(gateway.address)
    client.get("/hold")
    upstream.exchange("/hold")
    waiting.get("/waits")
    wait_for(lambda: gateway.status()["waiting"] == 1, 5, "one waits")
    gateway.process.terminate()
    status, _, body = waiting.answer()
    assert status == 503 and json.loads(body)["error"]["reason"] == "shutting_down"
    upstream.released.set()
    assert client.answer()[2] == b"held\n"
    assert gateway.process.wait(10) == 0


def test_after_a_kill_new_connections_wait_in_the_socket(make, upstream):
    gateway = make(upstream)
    gateway.process.kill()
    gateway.process.wait()
    client = Client(gateway.address)
    client.get("/x")
    gateway.start()
    assert told(client)["target"] == "/x"


def test_nothing_stays_open_after_a_thousand_clients(make, upstream):
    gateway = make(upstream)
    client = Client(gateway.address)
    client.get("/first")
    told(client)
    client.close()
    wait_for(lambda: gateway.status()["clients"] == 0, 5, "it has left")
    before = gateway.descriptors()
    for n in range(1000):
        client = Client(gateway.address)
        if n % 3 == 0:
            client.get("/x")
            told(client)
        elif n % 3 == 1:
            client.send(b"GET / HT")
        client.close()
    wait_for(lambda: gateway.status()["clients"] == 0, 10, "all have left")
    wait_for(lambda: gateway.descriptors() <= before, 10, "nothing is open")
    gateway.idle()


@pytest.mark.parametrize("words, said", [
    (["--listen", "nowhere"], "a numeric address"), (["--listen", "127.0.0.1:1"], "belong together"),
    (["--to", "127.0.0.1:1"], "belong together"), (["--bogus", "1"], "no such option"), (["--drain"], "a value"),
    (["--protocol", "gopher"], "http"), (["--job-limit", "5"], "a time")])
def test_wrong_usage_is_exit_2_and_says_what(words, said):
    done = subprocess.run([BIN / "gpuward-gateway", *words], capture_output=True, text=True, timeout=10)
    assert done.returncode == 2 and said in done.stderr, done.stderr
