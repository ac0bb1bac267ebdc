"""`listen` in a service's file: the gateway on its anchor, and what becomes of clients whatever ends."""

import http.client
import json
import os
import signal
import socket
import threading
import time

import pytest

from gateway_peers import Client
from gpuward import alive, wait_for

SERVICE = r"""
import http.server, json, os, sys, time
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path.startswith("/hold"):
            deadline = time.monotonic() + 20
            while not os.path.exists(sys.argv[2]) and time.monotonic() < deadline:
                time.sleep(0.01)
        body = json.dumps({"pid": os.getpid(), "path": self.path}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), H).serve_forever()
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


@pytest.fixture
def door(gw, tmp_path):
    """A service behind the gateway; `door.get(path)` asks it through it."""

    class Door:
        port = free_port()
        released = tmp_path / "released"

        def configure(self, more: str = ""):
            (tmp_path / "service.py").write_text(SERVICE)
            gw.configure(f'[service.web]\ncommand = ["/usr/bin/python3", "{tmp_path}/service.py", "{{port}}", "{self.released}"]\n'
                         f'ready = {{ http = "/" }}\nlisten = "127.0.0.1:{self.port}"\n{more}')

        def get(self, path: str = "/x", timeout: float = 20) -> dict:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
            assert answer.status == 200, (answer.status, body)
            connection.close()
            return json.loads(body)

        def gateway(self) -> dict:
            return gw.service("@gateway")["replicas"][0]

        def jobs(self) -> list:
            done = gw("jobs", "web", "--json")
            assert done.returncode == 0, done.stderr
            return json.loads(done.stdout)["jobs"]

    it = Door()
    it.configure()
    up = gw("up")
    assert up.returncode == 0, up.stdout + up.stderr
    return it


def test_a_service_that_says_listen_is_reached_through_the_gateway(gw, door):
    assert door.get("/film")["pid"] == gw.service("web")["replicas"][0]["main_pid"]
    status = gw.status()
    assert next(s for s in status["services"] if s["name"] == "web")["listen"] == f"127.0.0.1:{door.port}"
    assert next(s for s in status["services"] if s["name"] == "@gateway")["verdict"] == "HEALTHY"
    assert door.jobs() == []
    table = gw("jobs", "web").stdout
    assert "no job of web" in table and "replica 0: ready, 0 of 1 at a time (start)" in table and "1 done" in table
    told = json.loads(gw("jobs", "web", "--json").stdout)["door"]
    assert told["done"] == 1 and told["replicas"][0]["limit"] == 1 and told["replicas"][0]["why"] == "start"


def test_jobs_are_shown_and_cancelled_by_hand(gw, door):
    client, second = (Client(("127.0.0.1", door.port)) for _ in range(2))
    client.get("/hold")
    wait_for(lambda: len(door.jobs()) == 1, 10, "one is in")
    second.get("/secret-name")
    wait_for(lambda: len(door.jobs()) == 2, 10, "one waits")
    table = gw("jobs", "web").stdout
    assert "1 in line" in table and "replica 0" in table and "secret" not in table
    waiting = next(job for job in door.jobs() if job["waiting"])
    assert gw("cancel", str(waiting["id"])).returncode == 0
    assert second.answer()[0] == 503
    assert gw("cancel", str(waiting["id"])).returncode == 1
    door.released.touch()
    assert client.answer()[0] == 200


def test_without_a_gateway_jobs_is_exit_5(gw):
    done = gw("jobs", "web")
    assert done.returncode == 5 and "no gateway" in done.stderr
    assert gw("cancel", "1").returncode == 5


def test_nobody_is_refused_while_the_gateway_starts_again(gw, door):
    refused, answered, over = [], [], threading.Event()

    def ask():
        while not over.is_set():
            try:
                answered.append(door.get())
            except ConnectionRefusedError as error:
                refused.append(error)
            except (http.client.HTTPException, ConnectionError):
                pass  # it was inside the gateway that ended

    clients = [threading.Thread(target=ask) for _ in range(3)]
    for client in clients:
        client.start()
    for _ in range(3):
        main = door.gateway()["main_pid"]
        before = len(answered)
        os.kill(main, signal.SIGKILL)
        wait_for(lambda: door.gateway()["main_pid"] not in (main, 0, None), 20, "it is started again")
        wait_for(lambda: len(answered) > before + 5, 20, "it answers again")
    over.set()
    for client in clients:
        client.join(20)
    assert not refused and len(answered) > 15


def test_the_sockets_outlive_the_anchor_that_held_them(gw, door):
    before = door.gateway()
    os.kill(before["anchor_pid"], signal.SIGKILL)
    wait_for(lambda: door.gateway()["anchor_pid"] not in (before["anchor_pid"], None, 0), 20, "it is adopted")
    assert door.gateway()["main_pid"] == before["main_pid"]
    assert door.get()["path"] == "/x"
    os.kill(before["main_pid"], signal.SIGKILL)
    wait_for(lambda: not alive(before["main_pid"]), 10)
    assert door.get()["path"] == "/x", "the new anchor holds them too"


def test_the_gateway_goes_on_without_a_warden(gw, door):
    warden = gw.status()["warden"]["pid"]
    os.kill(warden, signal.SIGKILL)
    wait_for(lambda: not alive(warden), 10)
    main = door.gateway()["main_pid"]
    assert door.get()["path"] == "/x"
    os.kill(main, signal.SIGKILL)
    wait_for(lambda: not alive(main), 10)
    assert door.get()["path"] == "/x", "a new one begins with the plan that was written"
    assert door.jobs() == []


def test_who_comes_while_the_service_restarts_waits_for_it(gw, door):
    first = door.get()["pid"]
    restart = gw.popen("restart", "web")
    answers = [door.get() for _ in range(20)]
    assert restart.wait(60) == 0, restart.stderr.read()
    wait_for(lambda: door.get()["pid"] != first, 20, "the new process answers")
    assert all(answer["path"] == "/x" for answer in answers)


def test_a_restart_finishes_what_is_in_and_loses_no_job(gw, door):
    lost, pids, over = [], set(), threading.Event()

    def ask():
        while not over.is_set():
            try:
                pids.add(door.get()["pid"])
            except (OSError, http.client.HTTPException, AssertionError) as error:
                lost.append(error)

    clients = [threading.Thread(target=ask) for _ in range(4)]
    for client in clients:
        client.start()
    slow = Client(("127.0.0.1", door.port))
    slow.get("/hold")
    wait_for(lambda: any(not job["waiting"] for job in door.jobs()), 10, "it is in")
    restart = gw.popen("restart", "web")
    wait_for(lambda: any(job["waiting"] for job in door.jobs()), 20, "new ones wait")
    assert restart.poll() is None, "it is not ended under the job that runs"
    door.released.touch()
    assert slow.answer()[0] == 200, "the job was finished"
    assert restart.wait(60) == 0, restart.stderr.read()
    wait_for(lambda: len(pids) >= 2, 20, "the new process answers")
    over.set()
    for client in clients:
        client.join(20)
    assert not lost


def test_a_stop_waits_for_its_jobs_no_longer_than_it_may(gw, door):
    door.configure('stop = { drain = "1s", grace = "1s" }\n')
    assert gw("reload").returncode == 0
    client = Client(("127.0.0.1", door.port))
    client.get("/hold")
    wait_for(lambda: len(door.jobs()) == 1, 10, "it is in")
    began = time.monotonic()
    done = gw("stop", "web")
    assert done.returncode == 0, done.stdout + done.stderr
    assert 1 <= time.monotonic() - began < 10
    assert client.answer()[0] == 502
    client.close()


def test_what_changes_in_the_file_reaches_the_gateway(gw, door):
    door.configure('queue = { classes = { "/hold" = "pass" } }\n')
    assert gw("reload").returncode == 0
    client = Client(("127.0.0.1", door.port))
    client.get("/hold")
    assert door.get()["path"] == "/x"
    assert door.jobs() == [], "what passes is no job"
    door.released.touch()
    assert client.answer()[0] == 200


def test_it_can_do_nothing_that_it_does_not_need(gw, door):
    if os.geteuid() != 0:
        pytest.skip("only root has anything to lose")
    status = dict(line.split(":\t", 1) for line in open(f"/proc/{door.gateway()['main_pid']}/status").read().splitlines() if ":\t" in line)
    assert int(status["CapEff"], 16) == 0 and int(status["CapBnd"], 16) == 0 and status["NoNewPrivs"] == "1"


def test_two_services_cannot_listen_at_one_place(gw, tmp_path):
    gw.configure('[service.a]\ncommand = ["x", "{port}"]\nlisten = "127.0.0.1:7001"\n'
                 '[service.b]\ncommand = ["x", "{port}"]\nlisten = "127.0.0.1:7001"\n')
    done = gw("check")
    assert done.returncode == 1 and "'listen' names '127.0.0.1:7001' as service 'a' does" in done.stdout + done.stderr
