"""GPU memory of a tree: seen while it lives, proven back when it is gone. The card is simulated."""

import json
import os
import subprocess

import pytest
from gpuward import BIN, Gpuward, wait_for

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
    rows = json.loads(card("ps", "--json").stdout)
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
