"""gpuward metrics: what Prometheus' own checker says of it, what it tells, and how it bears its clients."""

import http.client
import os
import re
import select
import shutil
import signal
import socket
import stat
import subprocess
import threading

import pytest
from gpuward import ROOT, wait_for
from test_sentinel import Cards, cards  # noqa: F401  (a fixture)

CONFIG = '[service.web]\ncommand = ["sh", "-c", "echo patient Smith; sleep 1000"]\n'


def promtool():
    found = shutil.which("promtool") or shutil.which(ROOT / "build/tools/promtool")
    if found is None:
        assert os.environ.get("GPUWARD_REQUIRE_ALL") != "1", "promtool is missing (scripts/setup --promtool)"
        pytest.skip("promtool is missing (scripts/setup --promtool)")
    return found


def check(text):
    done = subprocess.run([promtool(), "check", "metrics"], input=text, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), done


def samples(text):
    """Every sample: 'name{labels}' -> value."""
    found = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            assert name not in found, f"{name} is there twice"
            found[name] = float(value)
    return found


@pytest.fixture
def simulated(gw, cards):  # noqa: F811
    gw.env.update({key: cards.env[key] for key in ("GPUSIM_STATE", "LD_LIBRARY_PATH")})
    gw.env.pop("GPUWARD_NVML", None)
    gw.cards = cards
    return gw


@pytest.fixture
def served(gw):
    """Starts `metrics --listen`; ends it."""
    running = []

    def start(where):
        process = gw.popen("metrics", "--listen", where)
        running.append(process)
        assert select.select([process.stdout], [], [], 20)[0], "it does not listen"
        line = process.stdout.readline()
        assert line == f"metrics: GET /metrics on {where}\n", (line, process.poll())
        return process

    yield start
    for process in running:
        process.kill()
        process.wait(10)
        process.stdout.close()
        process.stderr.close()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(port, method="GET", path="/metrics"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer, answer.read().decode()
    finally:
        connection.close()


def test_without_anything_it_is_sound(gw):
    done = gw("metrics")
    assert (done.returncode, done.stderr) == (0, "")
    check(done.stdout)
    found = samples(done.stdout)
    assert found["gpuward_warden_up"] == 0 and found["gpuward_anchors"] == 0


def test_cards_are_told_without_a_warden(simulated):
    simulated.cards.gpusim("fault", "foreign-row", "--pid", "4242", "--memory", "1GiB", "--gpu", "0")
    done = simulated("metrics")
    check(done.stdout)
    found = samples(done.stdout)
    assert found['gpuward_gpu_sight{sight="visible"}'] == 1
    totals = [v for name, v in found.items() if name.startswith("gpuward_gpu_memory_total_bytes{")]
    assert totals == [141 << 30] * 2
    assert all('name="Simulated H200"' in name for name in found if "{gpu=" in name)
    assert sum(v for name, v in found.items() if name.startswith("gpuward_gpu_processes{")) == 1


def test_services_are_told_in_numbers_only(simulated):
    simulated.configure(CONFIG)
    assert simulated("up").returncode == 0
    wait_for(lambda: "Smith" in simulated.log("web"), 10, "it has printed")
    text = simulated("metrics").stdout
    check(text)
    found = samples(text)
    assert found["gpuward_warden_up"] == found["gpuward_ledger_writable"] == found["gpuward_anchors"] == 1
    verdicts = {n: v for n, v in found.items() if n.startswith('gpuward_service_verdict{service="web"')}
    assert verdicts['gpuward_service_verdict{service="web",verdict="HEALTHY"}'] == 1 == sum(verdicts.values())
    assert found['gpuward_replica_processes{service="web",replica="0"}'] == 2
    assert found['gpuward_service_restarts_total{service="web"}'] == 0
    assert "Smith" not in text and "sleep" not in text


@pytest.mark.parametrize("fault, state", [(["off-the-bus", "--gpu", "1"], "lost"),
                                          (["code", "nvmlDeviceGetMemoryInfo_v2", "16", "--gpu", "1"], "reset_required")])
def test_a_broken_card_is_told(simulated, fault, state):
    simulated.cards.gpusim("fault", *fault)
    text = simulated("metrics").stdout
    check(text)
    told = [name for name, v in samples(text).items() if name.startswith("gpuward_gpu_state{") and v == 1]
    assert sorted(re.search('state="([a-z_]+)"', name)[1] for name in told) == sorted(["ok", state])


def test_it_is_served_to_this_machine(gw, served):
    port = free_port()
    served(f"127.0.0.1:{port}")
    answer, text = ask(port)
    assert answer.status == 200 and answer.version == 11
    assert answer.getheader("Content-Type") == "text/plain; version=0.0.4; charset=utf-8"
    check(text)
    assert samples(text)["gpuward_warden_up"] == 0
    head, body = ask(port, "HEAD")
    assert head.status == 200 and body == "" and int(head.getheader("Content-Length")) > 0
    assert ask(port, path="/")[0].status == 404
    refused = ask(port, "POST")[0]
    assert refused.status == 405 and refused.getheader("Allow") == "GET, HEAD"


def test_numbers_are_made_anew(gw, served):
    port = free_port()
    served(f"127.0.0.1:{port}")
    assert samples(ask(port)[1])["gpuward_warden_up"] == 0
    assert gw("up").returncode == 0
    wait_for(lambda: samples(ask(port)[1])["gpuward_warden_up"] == 1, 10, "the warden is told of")


def test_a_unix_socket_is_its_owners_alone(gw, served, tmp_path):
    path = tmp_path / "metrics.sock"
    served(f"unix:{path}")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    done = subprocess.run(["curl", "-sS", "--unix-socket", path, "http://x/metrics"], capture_output=True, text=True,
                          timeout=20)
    assert done.returncode == 0 and "gpuward_warden_up 0\n" in done.stdout


@pytest.mark.parametrize("where, why", [("0.0.0.0:9477", "only this machine may read it"),
                                        ("10.0.0.1:9477", "only this machine may read it"),
                                        ("[::]:9477", "only this machine may read it"),
                                        ("localhost:9477", "write it as 127.0.0.1:9477"),
                                        ("9477", "write it as 127.0.0.1:9477"),
                                        ("unix:/no/such/folder/x", "/no/such/folder"),
                                        ("unix:", "unix:")])
def test_no_other_place_is_listened_to(gw, where, why):
    done = gw("metrics", "--listen", where)
    assert done.returncode == 1 and why in done.stderr, done


def test_a_taken_port_is_named(gw):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        where = f"127.0.0.1:{other.getsockname()[1]}"
        done = gw("metrics", "--listen", where)
    assert done.returncode == 1 and where in done.stderr and "in use" in done.stderr


def read_all(client):
    text = b""
    while part := client.recv(65536):
        text += part
    return text


def test_clients_that_misbehave_do_not_stop_it(gw, served):
    port = free_port()
    process = served(f"127.0.0.1:{port}")
    # 16 are served, the others wait in the kernel's queue.
    clients = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(30)]
    try:
        clients[0].sendall(b"x" * 8192)
        assert read_all(clients[0]).startswith(b"HTTP/1.1 431 ")
        clients[1].sendall(b"nonsense\r\n\r\n")
        assert read_all(clients[1]).startswith(b"HTTP/1.1 400 ")
        clients[2].sendall(b"GET /metr")
        clients[3].close()
        # The silent ones are let go when their time is up; then those behind them are served.
        clients[29].sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        assert read_all(clients[29]).startswith(b"HTTP/1.1 200 ")
        clients[2].settimeout(30)
        assert read_all(clients[2]) == b"", "a request that never ends gets no answer"
    finally:
        for client in clients:
            client.close()
    assert process.poll() is None
    # What one waits for costs no more than one: 30 at once.
    results = []
    threads = [threading.Thread(target=lambda: results.append(ask(port)[0].status)) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert results == [200] * 30
    fds = len(os.listdir(f"/proc/{process.pid}/fd"))
    assert fds < 10, f"{fds} files are open still"


def test_it_waits_without_waking(gw, served):
    port = free_port()
    process = served(f"127.0.0.1:{port}")
    ask(port)

    def wakeups():
        text = open(f"/proc/{process.pid}/status").read()
        return int(re.search(r"^voluntary_ctxt_switches:\s*(\d+)", text, re.MULTILINE).group(1))

    def sleeps():
        before = wakeups()
        select.select([], [], [], 0.5)
        return wakeups() == before

    wait_for(sleeps, within=10, why="it sleeps once it has answered")
    assert sleeps()


def test_a_warden_that_hangs_is_told_as_none(gw, served):
    assert gw("up").returncode == 0
    warden = gw.status()["warden"]["pid"]
    os.kill(warden, signal.SIGSTOP)
    try:
        done = gw("metrics", timeout=30)
    finally:
        os.kill(warden, signal.SIGCONT)
    assert done.returncode == 0 and samples(done.stdout)["gpuward_warden_up"] == 0


def curl(*words):
    return subprocess.run(["curl", "-sS", *words], capture_output=True, text=True, timeout=20)


def test_up_holds_them_under_an_anchor_of_their_own(gw):
    port = free_port()
    gw.configure(CONFIG + f'[host]\nmetrics = "127.0.0.1:{port}"\n')
    up = gw("up")
    assert up.returncode == 0 and "@metrics: ready" in up.stdout, up
    done = curl(f"http://127.0.0.1:{port}/metrics")
    assert done.returncode == 0, done
    check(done.stdout)
    found = samples(done.stdout)
    assert found["gpuward_warden_up"] == 1 and found["gpuward_anchors"] == 2
    assert found['gpuward_service_verdict{service="@metrics",verdict="HEALTHY"}'] == 1
    first = gw.service("@metrics")["replicas"][0]
    os.kill(first["main_pid"], signal.SIGKILL)
    wait_for(lambda: gw.service("@metrics")["verdict"] == "HEALTHY"
             and gw.service("@metrics")["replicas"][0]["generation"] == 2, 60, "its anchor starts it again")
    os.kill(gw.status()["warden"]["pid"], signal.SIGKILL)
    wait_for(lambda: gw.status()["warden"] is None, why="the warden has gone")
    wait_for(lambda: samples(curl(f"http://127.0.0.1:{port}/metrics").stdout).get("gpuward_warden_up") == 0, 60,
             "they are served on without it")
    assert gw("up").returncode == 0
    assert gw.service("@metrics")["replicas"][0]["generation"] == 2, "taken over, not started"
    assert gw("stop", "@metrics").returncode == 0
    assert curl(f"http://127.0.0.1:{port}/metrics").returncode == 7


def test_a_socket_of_theirs_comes_and_goes_with_the_file(gw):
    path = gw.home / "m.sock"
    gw.configure(CONFIG)
    assert gw("up").returncode == 0
    assert [s["name"] for s in gw.status()["services"]] == ["web"], "off unless asked for"
    gw.configure(CONFIG + f'[host]\nmetrics = "unix:{path}"\n')
    assert gw("reload").returncode == 0
    wait_for(path.exists, 60, "it listens")
    assert curl("--unix-socket", str(path), "http://x/metrics").stdout.count("gpuward_warden_up 1\n") == 1
    gw.configure('[service."@metrics"]\ncommand = ["true"]\n')
    check_names = gw("check")
    assert check_names.returncode == 1 and "bad service name '@metrics'" in check_names.stderr


def test_what_is_missing_in_a_log_is_counted(gw):
    gw.configure("""
[service.loud]
command = ["sh", "-c", "seq 1 20000; sleep 1000"]
log = { rate = "1KiB/s" }
""")
    assert gw("up").returncode == 0

    def lost():
        return samples(gw("metrics").stdout).get('gpuward_replica_log_lost_bytes_total{service="loud",replica="0"}', 0)

    wait_for(lambda: lost() > 0, 60, "what is beyond the rate is counted")
    assert gw.service("loud")["replicas"][0]["log_lost_bytes"] > 0
