"""Many services at once: each gets its turn, nobody is taken for silent because others are slow."""

import os
import resource
import signal
from pathlib import Path

import pytest
from gpuward import alive, wait_for

COUNT = 150


def few_files():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))


def configure(gw, count):
    gw.configure("".join(f'[service.s{n:03}]\ncommand = ["/bin/sleep", "100000"]\n' for n in range(count)))


def test_more_services_than_the_soft_limit_of_open_files(gw):
    if 0 <= resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 4 * COUNT:
        pytest.skip(f"needs a hard limit of open files of {4 * COUNT}")
    configure(gw, COUNT)
    up = gw("up", preexec_fn=few_files)
    assert up.returncode == 0, up.stderr
    services = gw.status()["services"]
    assert [s["verdict"] for s in services] == ["HEALTHY"] * COUNT
    main = services[0]["replicas"][0]["main_pid"]
    assert resource.prlimit(main, resource.RLIMIT_NOFILE)[0] == 64  # not what the warden took for itself
    before = {s["name"]: s["replicas"][0]["main_pid"] for s in services}
    os.kill(gw.status()["warden"]["pid"], signal.SIGKILL)
    again = gw("up", preexec_fn=few_files)
    assert again.returncode == 0, again.stderr
    assert {s["name"]: s["replicas"][0]["main_pid"] for s in gw.status()["services"]} == before


def test_the_death_of_every_anchor_at_once_is_made_good(gw):
    configure(gw, 40)
    assert gw("up").returncode == 0
    before = {s["name"]: s["replicas"][0]["main_pid"] for s in gw.status()["services"]}
    for pid in gw.anchors():
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: len(gw.anchors()) == 40, 30, "each tree has a new anchor")
    wait_for(lambda: all(s["verdict"] == "HEALTHY" for s in gw.status()["services"]), 30)
    assert {s["name"]: s["replicas"][0]["main_pid"] for s in gw.status()["services"]} == before
    assert gw("down").returncode == 0
    assert not [pid for pid in before.values() if alive(pid)]


def test_a_service_that_waits_for_its_turn_can_be_stopped(gw):
    """`down` in the middle of a start of many: what has not begun never does."""
    configure(gw, 100)
    up = gw.popen("up")
    wait_for(lambda: len(list(Path(gw.home / "run/anchors").glob("*/record"))) > 5, 30)
    down = gw("down")
    assert down.returncode == 0, down.stderr
    up.communicate(timeout=30)
    wait_for(lambda: not gw.anchors())
    assert gw.status()["warden"] is None
