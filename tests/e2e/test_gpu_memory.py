"""GPU memory of a tree: seen while it lives, proven back when it is gone. The card is simulated."""

import json
import os
import signal
import subprocess

import pytest
from gpuward import BIN, Gpuward, alive, wait_for

XRAY = f"""
[service.xray]
command = ["{BIN}/gpuward-xray", "--listen", "127.0.0.1:{{port}}", "--model-memory", "1GiB"]
ready = {{ http = "/health", within = "20s" }}
"""


@pytest.fixture
def card(tmp_path):
    env = {"GPUSIM_STATE": str(tmp_path / "cards"), "LD_LIBRARY_PATH": str(BIN / "sim")}
    subprocess.run([BIN / "gpusim", "create", "--gpus", "1", "--memory", "8GiB"], env={**os.environ, **env},
                   check=True, capture_output=True)
    install = Gpuward(tmp_path / "home", **env)
    yield install
    install("down")
    wait_for(lambda: not install.anchors(), why="the anchors have gone")


def held(gw):
    replicas = gw.service("xray")["replicas"]
    return replicas and (replicas[0]["gpu_memory_bytes"] or 0) >= 1 << 30


def test_the_warden_proves_that_memory_is_back(card):
    card.configure(XRAY)
    assert card("up").returncode == 0
    wait_for(lambda: held(card), why="the warden has seen the card")
    # Who began in the tick of the first look is known from the next on.
    rows = wait_for(lambda: (now := json.loads(card("ps", "--json").stdout)) and
                    all(row["owner"] for row in now["processes"]) and now, why="whose they are is known")
    assert [row["owner"]["service"] for row in rows["processes"]] == ["xray"] and rows["visible"]
    stop = card("stop", "--json", "xray")
    assert stop.returncode == 0, stop.stderr
    receipt = json.loads(stop.stdout)["receipts"][0]
    assert receipt["memory_proof"] == "returned"
    assert receipt["gpu_bytes_returned"] >= 1 << 30
    assert receipt["duration_seconds"] < 2
    assert json.loads(card("ps", "--json").stdout)["processes"] == []


def test_without_a_warden_stop_takes_its_own_looks(card):
    run = card("run", "--detach", "--name", "xray", "--", str(BIN / "gpuward-xray"), "--listen", "127.0.0.1:0")
    assert run.returncode == 0, run.stderr
    wait_for(lambda: json.loads(card("ps", "--json").stdout)["processes"], why="it holds the card")
    stop = card("stop", "--json", "xray")
    assert stop.returncode == 0, stop.stderr
    receipt = json.loads(stop.stdout)["receipts"][0]
    assert receipt["memory_proof"] == "returned" and receipt["gpu_bytes_returned"] > 0


def test_a_restart_whose_old_memory_is_not_back_is_not_called_proven(card):
    card.configure(XRAY)
    assert card("up").returncode == 0
    wait_for(lambda: held(card), why="the warden has seen the card")
    subprocess.run([BIN / "gpusim", "fault", "return-delay", "60s"], env=card.env, check=True, capture_output=True)
    restart = card("restart", "xray")
    assert restart.returncode == 4 and "its GPU memory was not back in time" in restart.stderr, restart
    assert card.service("xray")["verdict"] == "HEALTHY"


def test_a_sentinel_that_says_nothing_any_more_is_replaced(card):
    card.configure(XRAY)
    assert card("up").returncode == 0
    wait_for(lambda: held(card), why="the warden has seen the card")
    warden = card.status()["warden"]["pid"]
    children = open(f"/proc/{warden}/task/{warden}/children").read().split()
    sentinel, = (int(pid) for pid in children if b"gpuward-sentinel" in open(f"/proc/{pid}/cmdline", "rb").read())
    os.kill(sentinel, signal.SIGSTOP)
    wait_for(lambda: not alive(sentinel), why="it was ended")
    wait_for(lambda: card.status()["gpus"] and held(card), why="another one looks")
    assert card("stop", "xray").returncode == 0


def test_the_same_where_the_restart_brings_another_version(card):
    card.configure(XRAY)
    assert card("up").returncode == 0
    wait_for(lambda: held(card), why="the warden has seen the card")
    card.configure(XRAY.replace("1GiB", "2GiB"))
    assert card("reload").returncode == 0
    subprocess.run([BIN / "gpusim", "fault", "return-delay", "60s"], env=card.env, check=True, capture_output=True)
    restart = card("restart", "xray")
    assert restart.returncode == 4 and "its GPU memory was not back in time" in restart.stderr, restart
