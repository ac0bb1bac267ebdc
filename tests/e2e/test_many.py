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


@pytest.mark.parametrize("warden_too", [False, True])
def test_who_is_known_by_its_mark_alone_is_found_for_many_trees_at_once(gw, warden_too):
    """The keeper of each tree came to nobody after its anchor had died, so no record names it."""
    count = 12
    gw.env["GPUWARD_KERNEL_MASK"] = "no_cgroup"
    gate = gw.home / "gate"
    gw.configure("".join(f"""
[service.s{n:02}]
command = ["sh", "-c", "while ! test -e {gate}; do sleep 0.02; done; (setsid sleep {5000 + n} &); exec sleep 100000"]
""" for n in range(count)))
    assert gw("up").returncode == 0
    services = gw.status()["services"]
    if services[0]["containment"] != "subreaper":
        pytest.skip("the mask holds nothing here")
    anchors = gw.anchors()
    die = anchors + [gw.status()["warden"]["pid"]] * warden_too
    for pid in die:
        os.kill(pid, signal.SIGSTOP)  # nobody sees what is started from here on
    gate.touch()

    def keepers() -> list[int]:
        found = []
        for entry in Path("/proc").iterdir():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                environment = (entry / "environ").read_bytes()
            except OSError:
                continue
            if words[0] == b"sleep" and words[1].startswith(b"50") and str(gw.home).encode() in environment:
                found.append(int(entry.name))
        return found

    wait_for(lambda: len(keepers()) == count)
    for pid in die:
        os.kill(pid, signal.SIGKILL)
    if warden_too:
        assert gw("up").returncode == 0
    wait_for(lambda: len(gw.anchors()) == count and not set(gw.anchors()) & set(anchors), 60)
    before = {s["name"]: s["replicas"][0]["main_pid"] for s in services}
    wait_for(lambda: {s["name"]: s["replicas"][0]["main_pid"] for s in gw.status()["services"] if s["replicas"]} == before, 60)
    gw("down")
    wait_for(lambda: not keepers(), why="what carried the marks was ended with its trees")


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
