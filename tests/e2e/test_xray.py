"""The built chest-film service over HTTP. Needs build/release; GPU tests need the simulated card.

Run: /usr/bin/python3 -m pytest tests/e2e/test_xray.py
"""

import concurrent.futures
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import zlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("GPUWARD_BIN", ROOT / "build/release/bin"))
SIM = pathlib.Path(os.environ.get("GPUWARD_SIM_BIN", BIN))
FILMS = sorted(p for p in (ROOT / "tests/films").iterdir() if p.suffix in (".png", ".jpg", ".dcm"))
FILM = ROOT / "tests/films/nih_00000003_000.png"
WAIT = 20  # seconds, for anything that should take far less
QUICK = ["--kernels", "5"]

needs_sim = pytest.mark.skipif(
    not (SIM / "sim/libcuda.so.1").exists(), reason="the simulated card is not built"
)
pytestmark = pytest.mark.skipif(
    not (BIN / "gpuward-xray").exists(), reason="gpuward-xray is not built"
)


def until(condition, what):
    """The first true value of condition(); fails with `what` after WAIT seconds."""
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        select_pause()
    pytest.fail(f"not within {WAIT} s: {what}")


def select_pause():
    """Lets other processes run for a moment between two looks at /proc."""
    signal.sigtimedwait([], 0.01)


def children_of(pid):
    """Living processes whose parent is pid, as {pid: command line}; zombies count as "<zombie>"."""
    found = {}
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            if int(fields[1]) != pid:
                continue
            words = (entry / "cmdline").read_bytes().split(b"\0")
            found[int(entry.name)] = (
                "<zombie>" if fields[0] == "Z" else b" ".join(words).decode().strip()
            )
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def cpu_ticks(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


class Service:
    """One gpuward-xray on a free port; ended, with all it left behind, when the test is over."""

    def __init__(self, folder, *options, gpu=False, env=None):
        self.log_path = folder / f"xray-{time.monotonic_ns()}.log"
        command = [str(BIN / "gpuward-xray"), "--port", "0", *options]
        if not gpu:
            command.append("--no-gpu")
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=self.log_path.open("wb"),
            env={**os.environ, **(env or {})},
        )
        line = self.process.stdout.readline().decode()
        assert line.startswith("listening on http://127.0.0.1:"), f"{line!r} {self.log()}"
        self.port = int(line.rsplit(":", 1)[1])
        self.strays = set()

    @property
    def pid(self):
        return self.process.pid

    def log(self):
        return self.log_path.read_text()

    def children(self):
        found = children_of(self.pid)
        self.strays.update(found)
        return found

    def request(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            text = answer.read()
            return answer.status, dict(answer.getheaders()), text
        finally:
            connection.close()

    def analyze(self, body, **headers):
        status, _, text = self.request(
            "POST", "/analyze", body, {k.replace("_", "-"): v for k, v in headers.items()}
        )
        return status, json.loads(text)

    def half_sent(self, body):
        """A socket on which a whole film has been sent and no answer was read."""
        client = socket.create_connection(("127.0.0.1", self.port), timeout=WAIT)
        client.sendall(
            b"POST /analyze HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        return client

    def health(self):
        return json.loads(self.request("GET", "/health")[2])

    def close(self):
        self.children()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(WAIT)
        for pid in self.strays:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


@pytest.fixture
def start(tmp_path):
    running = []

    def make(*options, **more):
        running.append(Service(tmp_path, *options, **more))
        return running[-1]

    yield make
    for service in running:
        service.close()


@pytest.fixture
def card(tmp_path):
    """A simulated card: (environment of its users, a function that reads it)."""
    env = {
        "GPUSIM_STATE": str(tmp_path / "gpusim"),
        "LD_LIBRARY_PATH": str(SIM / "sim"),
    }
    tool = str(SIM / "gpusim")

    def run(*words):
        return subprocess.run(
            [tool, *words], env={**os.environ, **env}, check=True, capture_output=True, text=True
        ).stdout

    run("create", "--gpus", "1", "--memory", "8GiB", "--return-delay", "0s")
    yield env, lambda: json.loads(run("show", "--json"))["gpus"][0]


def multipart(films, nonces=()):
    parts = [
        b'--XX\r\nContent-Disposition: form-data; name="nonce"\r\n\r\n' + nonce.encode()
        for nonce in nonces
    ]
    parts += [
        b'--XX\r\nContent-Disposition: form-data; name="film"; filename="f"\r\n\r\n' + film
        for film in films
    ]
    return b"\r\n".join(parts) + b"\r\n--XX--\r\n", "multipart/form-data; boundary=XX"


def png(width, height, rows):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def medical(report):
    """The parts of a result that may depend on nothing but the film."""
    return report["film"], report["measures"], report["report"]


# --- reports


def test_all_films_raw_and_in_one_request_in_both_worker_modes(start):
    inline = start(*QUICK)
    process = start(*QUICK, "--workers", "process", "--concurrency", "3")
    single = []
    for film in FILMS:
        status, answer = inline.analyze(film.read_bytes(), Accept_Language="zh-CN")
        assert status == 200, (film.name, answer)
        single.append(answer["results"][0])
    assert [s["title"] for s in single[0]["report"]["sections"]] == [
        "胸廓结构", "肺部表现", "膈肌状态", "心影", "纵隔",
    ]
    body, kind = multipart([film.read_bytes() for film in FILMS])
    for service in (inline, process):
        status, answer = service.analyze(body, Content_Type=kind, Accept_Language="zh-CN")
        assert status == 200
        assert [medical(r) for r in answer["results"]] == [medical(r) for r in single]
        assert [r["index"] for r in answer["results"]] == list(range(len(FILMS)))
    assert process.children() == {}


def test_language_follows_the_request(start):
    service = start(*QUICK)
    film = FILM.read_bytes()
    for wish, tag, word in (
        ("en-US,zh;q=0.5", "en", "no diagnosis"),
        ("zh;q=0.9,en;q=0.8", "zh-CN", "不是诊断"),
        ("", "zh-CN", "不是诊断"),
    ):
        status, headers, text = service.request(
            "POST", "/analyze", film, {"Accept-Language": wish} if wish else {}
        )
        answer = json.loads(text)
        assert (status, answer["language"], headers["Content-Language"]) == (200, tag, tag)
        assert word in answer["results"][0]["report"]["summary"]
        assert word in answer["notice"]


@pytest.mark.parametrize("workers", ["inline", "process"])
def test_every_film_gets_its_own_nonce_back(start, workers):
    service = start(*QUICK, "--workers", workers, "--concurrency", "3")
    films = [film.read_bytes() for film in FILMS if film.stat().st_size < 500_000][:4]

    def one(number):
        _, answer = service.analyze(films[number % len(films)], X_Film_Nonce=f"n-{number}")
        return answer["results"][0]["nonce"]

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        assert list(pool.map(one, range(24))) == [f"n-{i}" for i in range(24)]
    body, kind = multipart(films, [f"m-{i}" for i in range(len(films))])
    _, answer = service.analyze(body, Content_Type=kind)
    assert [r["nonce"] for r in answer["results"]] == [f"m-{i}" for i in range(len(films))]


def test_the_log_holds_no_nonce_and_no_file_name(start):
    service = start(*QUICK)
    body, kind = multipart([FILM.read_bytes()], ["marker-1"])
    service.analyze(body.replace(b'filename="f"', b'filename="marker-2.png"'), Content_Type=kind)
    service.analyze(b"marker-3 is no film", X_Film_Nonce="marker-4")
    until(lambda: service.log().count("job=") == 2, "two lines in the log")
    assert "marker" not in service.log()


# --- HTTP


def test_small_pages_and_wrong_addresses(start):
    service = start()
    status, headers, text = service.request("GET", "/", headers={"Accept-Language": "en"})
    assert status == 200 and "text/html" in headers["Content-Type"] and b"no diagnosis" in text
    status, _, text = service.request("GET", "/config")
    assert status == 200 and json.loads(text)["kernels"] == 300
    assert service.health()["status"] == "ok"
    assert service.request("HEAD", "/health")[::2] == (200, b"")
    status, headers, _ = service.request("GET", "/analyze")
    assert (status, headers["Allow"]) == (405, "POST")
    assert service.request("POST", "/health", b"x")[0] == 405
    assert service.request("GET", "/nothing")[0] == 404


def test_connections_are_kept_and_closed_as_asked(start):
    service = start(*QUICK)
    film = FILM.read_bytes()
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=WAIT)
    for _ in range(3):
        connection.request("POST", "/analyze", film)
        answer = connection.getresponse()
        assert answer.status == 200 and not answer.will_close
        answer.read()
    connection.request("GET", "/health", headers={"Connection": "close"})
    answer = connection.getresponse()
    assert answer.will_close
    answer.read()
    connection.close()


def test_expect_continue_is_answered_at_once(start):
    service = start(*QUICK)
    film = FILM.read_bytes()
    client = socket.create_connection(("127.0.0.1", service.port), timeout=WAIT)
    client.sendall(
        b"POST /analyze HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
        b"Content-Length: %d\r\n\r\n" % len(film)
    )
    assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.sendall(film)
    assert client.recv(1000).startswith(b"HTTP/1.1 200")
    client.close()


def test_bad_requests_do_not_stop_the_service(start):
    service = start()
    for rubbish in (b"\x16\x03\x01\x02\x00", b"GET / HTTP/9\r\n\r\n", b"POST /analyze HTTP/1.1\r\n"):
        client = socket.create_connection(("127.0.0.1", service.port), timeout=WAIT)
        client.sendall(rubbish)
        client.shutdown(socket.SHUT_WR)
        while client.recv(1000):
            pass
        client.close()
    assert service.health()["status"] == "ok"


# --- bad films


@pytest.mark.parametrize("workers", ["inline", "process"])
def test_bad_films_get_a_clear_answer_and_leave_nothing(start, workers):
    service = start(*QUICK, "--workers", workers)
    dicom = next(f for f in FILMS if f.suffix == ".dcm").read_bytes()
    bomb = png(10000, 10000, bytes(10001 * 10000))
    assert len(bomb) < 200_000
    cases = [
        (b"this is no picture", 415, "not_a_film"),
        (b"", 400, "no_film"),
        (dicom[: len(dicom) // 2], 422, "damaged_film"),
        (dicom[:200], 422, "damaged_film"),
        (FILM.read_bytes()[:-5000], 422, "damaged_film"),
        (bomb, 413, "too_many_pixels"),
    ]
    for body, status, code in cases:
        got, answer = service.analyze(body)
        assert (got, answer["error"]["code"]) == (status, code), answer
        assert answer["error"]["reason"]
    error = service.analyze(bomb)[1]["error"]
    assert (error["pixels"], error["limit_pixels"]) == (100_000_000, 64_000_000)
    assert service.children() == {}
    assert service.analyze(FILM.read_bytes())[0] == 200


def test_one_bad_film_does_not_spoil_the_others(start):
    service = start(*QUICK)
    body, kind = multipart([FILM.read_bytes(), b"no film", FILM.read_bytes()])
    status, answer = service.analyze(body, Content_Type=kind)
    assert status == 200
    assert [r["ok"] for r in answer["results"]] == [True, False, True]
    assert answer["results"][1]["error"]["status"] == 415


def test_requests_that_are_no_form_or_too_large(start):
    service = start("--max-upload", "1MiB")
    status, answer = service.analyze(b"--XX\r\n", Content_Type="multipart/form-data; boundary=XX")
    assert (status, answer["error"]["code"]) == (400, "bad_multipart")
    status, answer = service.analyze(FILM.read_bytes(), X_Film_Nonce="x" * 200)
    assert (status, answer["error"]["code"]) == (400, "bad_nonce")
    status, answer = service.analyze(bytes(3 << 20))
    assert (status, answer["error"]["limit_bytes"]) == (413, 1 << 20)


def test_a_full_queue_is_refused_at_once(start):
    service = start("--queue", "0", "--kernels", "100000")
    client = service.half_sent(FILM.read_bytes())
    until(lambda: service.health()["running"] == 1, "the first film runs")
    status, headers, text = service.request("POST", "/analyze", FILM.read_bytes())
    assert (status, json.loads(text)["error"]["code"]) == (503, "queue_full")
    assert int(headers["Retry-After"]) > 0
    client.close()


def test_without_its_plug_in_only_dicom_is_refused(start, tmp_path, monkeypatch):
    shutil.copy(BIN / "gpuward-xray", tmp_path)
    monkeypatch.setattr(sys.modules[__name__], "BIN", tmp_path)
    service = start(*QUICK)
    status, answer = service.analyze(next(f for f in FILMS if f.suffix == ".dcm").read_bytes())
    assert (status, answer["error"]["code"]) == (503, "no_dicom")
    assert service.analyze(FILM.read_bytes())[0] == 200


# --- clients that leave, signals


@pytest.mark.parametrize("workers", ["inline", "process"])
def test_a_client_that_leaves_frees_its_slot(start, workers):
    service = start("--kernels", "100000", "--workers", workers)
    body, kind = multipart([FILM.read_bytes()] * 5)
    client = socket.create_connection(("127.0.0.1", service.port), timeout=WAIT)
    head = f"POST /analyze HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\n"
    client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    until(lambda: service.health()["running"] == 1, "the film runs")
    client.close()
    until(lambda: service.health()["running"] == 0, "the slot is free")
    assert service.health()["failed"] == 1, "the other four films were not begun"
    until(lambda: service.children() == {}, "no child is left")


@pytest.mark.parametrize("workers", ["inline", "process"])
def test_term_ends_it_in_the_middle_of_a_film(start, workers):
    service = start("--kernels", "100000", "--workers", workers)
    client = service.half_sent(FILM.read_bytes())
    until(lambda: service.health()["running"] == 1, "the film runs")
    if workers == "process":
        until(lambda: any("infer" in c for c in service.children().values()), "the infer child")
    service.process.send_signal(signal.SIGTERM)
    assert service.process.wait(WAIT) == 0
    for pid in service.strays:
        until(lambda pid=pid: not pathlib.Path(f"/proc/{pid}").exists(), f"{pid} ended")
    client.close()


def test_mistakes_on_the_command_line_are_named():
    for words, text in (
        (["--fault", "hung:1"], "unknown fault 'hung'"),
        (["--fault", "linger:1"], "linger needs --workers process"),
        (["--kernel-time", "5"], "wants a time with a unit"),
        (["--model-memory", "5"], "wants a size with a unit"),
        (["--listen", "localhost"], "wants ADDRESS:PORT"),
    ):
        done = subprocess.run(
            [str(BIN / "gpuward-xray"), *words], capture_output=True, text=True, timeout=WAIT
        )
        assert done.returncode == 2 and text in done.stderr, (words, done)


def test_a_taken_port_and_a_missing_driver_are_named(start, tmp_path):
    service = start()
    command = [str(BIN / "gpuward-xray"), "--port", str(service.port)]
    taken = subprocess.run([*command, "--no-gpu"], capture_output=True, text=True, timeout=WAIT)
    assert taken.returncode == 1 and "Address already in use" in taken.stderr
    # A folder with a broken libcuda.so.1 comes before any driver of this machine.
    (tmp_path / "libcuda.so.1").write_bytes(b"no library")
    missing = subprocess.run(
        command, capture_output=True, text=True, timeout=WAIT,
        env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path)},
    )
    assert missing.returncode == 1 and "libcuda.so.1 cannot be loaded" in missing.stderr


# --- faults


def test_crash_inline_ends_the_service(start):
    service = start(*QUICK, "--fault", "crash:1")
    client = service.half_sent(FILM.read_bytes())
    assert service.process.wait(WAIT) == -signal.SIGSEGV
    client.close()


def test_crash_of_a_child_is_an_answer(start):
    service = start(*QUICK, "--workers", "process", "--fault", "crash:1")
    status, answer = service.analyze(FILM.read_bytes())
    assert (status, answer["error"]["code"]) == (500, "stage_crashed")
    assert answer["error"]["reason"] == "stage infer was ended by signal 11"
    assert service.children() == {}


def test_faults_on_request_strike_only_those_who_ask(start):
    service = start(*QUICK, "--workers", "process", "--fault", "crash:1", "--fault-on-request")
    assert service.analyze(FILM.read_bytes())[0] == 200
    assert service.analyze(FILM.read_bytes(), X_Film_Fault="yes")[0] == 500
    assert service.analyze(FILM.read_bytes(), X_Film_Fault="no")[0] == 200


def test_hang_burns_cpu_and_outlives_its_client(start):
    service = start(*QUICK, "--workers", "process", "--fault", "hang:1")
    client = service.half_sent(FILM.read_bytes())
    hung = until(
        lambda: [p for p, c in service.children().items() if "--stage infer" in c], "infer child"
    )[0]
    client.close()
    until(lambda: service.health()["running"] == 0, "the slot is free")
    before = cpu_ticks(hung)
    until(lambda: cpu_ticks(hung) > before + 20, "the child burns CPU")
    service.process.terminate()
    assert service.process.wait(WAIT) == 0
    assert pathlib.Path(f"/proc/{hung}").exists(), "the child outlives even the service"


def test_job_timeout_answers_504(start):
    service = start(*QUICK, "--workers", "process", "--fault", "hang:1", "--job-timeout", "300ms")
    status, answer = service.analyze(FILM.read_bytes())
    assert (status, answer["error"]["code"]) == (504, "timed_out")
    assert len(service.children()) == 1


def test_linger_answers_and_stays_idle(start):
    service = start(*QUICK, "--workers", "process", "--fault", "linger:1")
    assert service.analyze(FILM.read_bytes())[0] == 200
    (child, command), = service.children().items()
    assert "--stage infer --job 1" in command
    assert pathlib.Path(f"/proc/{child}/wchan").exists()
    assert service.analyze(FILM.read_bytes())[0] == 200
    assert len(service.children()) == 2


def test_stubborn_takes_no_notice_of_term(start):
    service = start("--kernels", "100000", "--workers", "process", "--fault", "stubborn:1")
    client = service.half_sent(FILM.read_bytes())
    child = until(
        lambda: [p for p, c in service.children().items() if "--stage infer" in c], "infer child"
    )[0]
    until(lambda: os.getsid(child) == child, "the child made a session of its own")
    os.kill(child, signal.SIGTERM)
    service.process.send_signal(signal.SIGTERM)
    assert service.health()["status"] == "ok"
    assert child in service.children()
    client.close()


# --- the card


def memory(look):
    return look()["memory_used_bytes"]


@needs_sim
def test_memory_on_the_card_comes_and_goes(start, card):
    env, look = card
    empty = memory(look)
    service = start(*QUICK, "--model-memory", "1GiB", gpu=True, env=env)
    loaded = memory(look)
    assert loaded - empty >= 1 << 30
    assert service.analyze(FILM.read_bytes())[0] == 200
    assert memory(look) == loaded
    assert service.health()["gpu"].startswith("Simulated ")
    service.process.terminate()
    assert service.process.wait(WAIT) == 0
    until(lambda: memory(look) == empty, "the memory is back")


@needs_sim
@pytest.mark.parametrize("workers", ["inline", "process"])
def test_out_of_memory_is_told_with_numbers(start, card, workers):
    env, _ = card
    service = start(
        *QUICK, "--workers", workers, "--request-memory-per-megapixel", "16GiB", gpu=True, env=env
    )
    status, headers, text = service.request("POST", "/analyze", FILM.read_bytes())
    error = json.loads(text)["error"]
    assert (status, error["reason"]) == (503, "CUDA out of memory")
    assert error["tried_bytes"] > error["free_bytes"] > 0
    assert "Retry-After" in headers
    assert "CUDA out of memory. Tried to allocate" in service.log()
    status, _ = service.analyze(b"still there")
    assert status == 415


@needs_sim
def test_kernels_take_their_time_on_the_card(start, card):
    env, look = card
    service = start("--kernels", "100", "--kernel-time", "1ms", gpu=True, env=env)
    before = look()["busy_ns"]
    assert service.analyze(FILM.read_bytes())[0] == 200
    assert look()["busy_ns"] - before == 100_000_000


@needs_sim
def test_leak_keeps_the_memory_of_each_film(start, card):
    env, look = card
    service = start(*QUICK, "--fault", "leak:1", "--model-memory", "0B", gpu=True, env=env)
    before = memory(look)
    for _ in range(3):
        assert service.analyze(FILM.read_bytes())[0] == 200
    assert memory(look) - before >= 3 * 64 << 20


@needs_sim
def test_ghost_looks_healthy_and_is_not(start, card):
    env, look = card
    service = start(*QUICK, "--fault", "ghost:1", gpu=True, env=env)
    loaded = memory(look)
    status, answer = service.analyze(FILM.read_bytes())
    assert (status, answer["error"]["code"]) == (500, "cuda_error")
    assert service.request("GET", "/health")[0] == 200
    assert memory(look) < loaded - (1 << 30) + 1


@needs_sim
def test_a_ghost_may_also_hang(start, card):
    env, _ = card
    service = start(*QUICK, "--fault", "ghost:1", "--ghost-answer", "hang", gpu=True, env=env)
    client = service.half_sent(FILM.read_bytes())
    until(lambda: service.health()["running"] == 1, "the film hangs")
    client.close()
    until(lambda: service.health()["running"] == 0, "the slot is free")


@needs_sim
def test_seven_leftovers_as_in_the_article(start, card):
    """Seed 28 makes four of the first twelve jobs hang and three linger, whatever their order."""
    env, look = card
    service = start(
        *QUICK, "--workers", "process", "--concurrency", "3", "--job-timeout", "4s",
        "--fault", "hang:0.3,linger:0.3", "--seed", "28", "--linger-memory", "1109MiB",
        "--model-memory", "1GiB", gpu=True, env=env,
    )
    film = FILM.read_bytes()
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        statuses = list(pool.map(lambda _: service.analyze(film)[0], range(12)))
    assert sorted(statuses) == [200] * 8 + [504] * 4
    left = service.children()
    assert len(left) == 7 and all("--stage infer" in c for c in left.values())
    rows = {c["pid"]: c["memory_bytes"] for c in look()["contexts"]}
    large = [p for p in left if rows[p] > 1 << 30]
    assert len(large) == 3
    assert abs(sum(rows[p] for p in large) - (4 << 30)) < 16 << 20
    before = {p: cpu_ticks(p) for p in left}
    burning = [p for p in left if p not in large]
    until(lambda: all(cpu_ticks(p) > before[p] + 3 for p in burning), "four children burn CPU")
    assert all(cpu_ticks(p) <= before[p] + 1 for p in large), "three are idle"
