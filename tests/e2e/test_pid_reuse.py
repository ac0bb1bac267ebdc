"""Somebody else has got the number of a process of ours that died: it is never signalled and never shown as ours."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from gpuward import BIN, Gpuward, alive, wait_for

INNOCENT = BIN.parent / "tests/helpers/innocent"


class Innocents:
    """Processes that have exactly the numbers of others that died."""

    def __init__(self, log: Path, pids: list[int]):
        self.log = log
        self.pids = pids
        self.parent = subprocess.Popen([INNOCENT, log, *map(str, pids)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                       text=True)
        if self.parent.stdout.readline() != "born\n":
            code = self.parent.wait(timeout=10)
            if code == 77:
                pytest.skip("no right to choose the number of a process (CAP_CHECKPOINT_RESTORE)")
            pytest.fail(f"the innocents were not born: {code}")

    def unharmed(self, after: str):
        assert self.log.read_text() == "", f"{after}: {self.log.read_text()}"
        for pid in self.pids:
            assert alive(pid), f"{after}: {pid} was ended"
            assert Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "tT", f"{after}: {pid} was stopped"

    def end(self):
        self.parent.stdin.close()
        self.parent.wait(timeout=10)


@pytest.fixture
def reborn(tmp_path):
    made = []

    def make(*pids: int) -> Innocents:
        made.append(Innocents(tmp_path / f"signals{len(made)}", list(pids)))
        return made[-1]

    yield make
    for innocents in made:
        innocents.end()


def kill(*pids: int):
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    for pid in pids:
        wait_for(lambda: not alive(pid), why=f"{pid} is gone")


def install(tmp_path, mask: str) -> Gpuward:
    gw = Gpuward(tmp_path / "home", GPUWARD_KERNEL_MASK=mask)
    gw.configure(f"""
[service.sleeper]
command = ["sleep", "1000"]
pid_file = "{tmp_path}/main.pid"
stop = {{ grace = "300ms" }}
""")
    assert gw("up").returncode == 0
    return gw


def claimed(gw: Gpuward) -> set:
    """Every number that status says is ours."""
    report = gw.status()
    pids = {report["warden"]["pid"]} if report["warden"] else set()
    for service in report["services"]:
        for replica in service["replicas"]:
            pids |= {replica["anchor_pid"], replica["main_pid"], *(p["pid"] for p in replica["tree"])}
    return pids - {None}


MASKS = ["", "no_cgroup", "no_pidfd", "no_cgroup,no_pidfd,no_proc_children"]


@pytest.mark.parametrize("mask, first", [("", "stop"), ("", "run"), *((mask, "status") for mask in MASKS)])
def test_the_numbers_of_all_that_died_are_nobody_s(tmp_path, reborn, mask, first):
    gw = install(tmp_path, mask)
    warden = gw.status()["warden"]["pid"]
    replica = gw.service("sleeper")["replicas"][0]
    dead = [warden, replica["anchor_pid"], replica["main_pid"]]
    kill(*dead)
    assert int((tmp_path / "main.pid").read_text()) == replica["main_pid"], "the file names the innocent now"
    innocents = reborn(*dead)
    if first == "stop":
        stop = gw("stop", "sleeper")
        assert stop.returncode == 0 and "was not running" in stop.stdout, stop
    if first == "run":
        run = gw("run", "--name", "sleeper", "--", "true")
        assert run.returncode == 0, run
    innocents.unharmed(first)
    assert not claimed(gw) & set(dead)
    assert gw("down").returncode == 0, "nothing is left to end"
    innocents.unharmed("down without a warden")
    assert gw("up").returncode == 0
    innocents.unharmed("up")
    assert not claimed(gw) & set(dead)
    assert gw.service("sleeper")["verdict"] == "HEALTHY"
    assert gw("restart", "sleeper").returncode == 0
    innocents.unharmed("restart")
    assert gw("down").returncode == 0
    innocents.unharmed("down")


@pytest.mark.parametrize("mask, warden", [("", False), *((mask, True) for mask in MASKS)])
def test_the_number_of_a_dead_anchor_keeps_nobody_from_its_tree(tmp_path, reborn, mask, warden):
    gw = install(tmp_path, mask)
    before = gw.service("sleeper")["replicas"][0]
    kill(gw.status()["warden"]["pid"], before["anchor_pid"])
    innocents = reborn(before["anchor_pid"])
    assert before["anchor_pid"] not in claimed(gw)
    if warden:
        assert gw("up").returncode == 0
        assert gw.service("sleeper")["replicas"][0]["main_pid"] == before["main_pid"], "taken over, not doubled"
    stop = gw("stop", "--json", "sleeper")
    assert stop.returncode == (4 if "no_cgroup" in mask else 0), stop
    assert json.loads(stop.stdout)["receipts"][0]["processes_ended"] == 1, stop
    assert not alive(before["main_pid"])
    innocents.unharmed("stop")
    gw("down")
    innocents.unharmed("down")


@pytest.mark.parametrize("mask", MASKS)
def test_the_number_of_a_dead_main_under_a_new_anchor(tmp_path, reborn, mask):
    """Main and anchor died while one more process of the tree lives: it is taken over, main's number is not. It has a
    session of its own: the kernel gives the number of a session that lives to nobody."""
    gw = Gpuward(tmp_path / "home", GPUWARD_KERNEL_MASK=mask)
    gw.configure(f"""
[service.pair]
command = ["sh", "-c", "setsid sleep 1000 & echo $! > {tmp_path}/other; wait"]
stop = {{ grace = "300ms" }}
restart = "never"
""")
    assert gw("up").returncode == 0
    other = int((tmp_path / "other").read_text())
    replica = gw.service("pair")["replicas"][0]
    wait_for(lambda: gw.service("pair")["replicas"][0]["processes"] == 2)
    kill(gw.status()["warden"]["pid"], replica["anchor_pid"], replica["main_pid"])
    innocents = reborn(replica["main_pid"])
    assert alive(other)
    gw("up")
    wait_for(lambda: not alive(other), why="what main left goes as when main ends")
    innocents.unharmed("up")
    assert replica["main_pid"] not in claimed(gw)
    stop = gw("stop", "pair")
    assert stop.returncode == (4 if "no_cgroup" in mask else 0), stop
    gw("down")
    innocents.unharmed("down")


def test_the_number_of_a_dead_member_without_a_cgroup(tmp_path, reborn):
    gw = Gpuward(tmp_path / "home", GPUWARD_KERNEL_MASK="no_cgroup")
    gw.configure(f"""
[service.pair]
command = ["sh", "-c", "sleep 1000 & echo $! > {tmp_path}/other; wait; exec sleep 1000"]
stop = {{ grace = "300ms" }}
""")
    assert gw("up").returncode == 0
    other = int((tmp_path / "other").read_text())
    replica = gw.service("pair")["replicas"][0]
    record = gw.home / "run/anchors/pair.0/record"
    wait_for(lambda: other.to_bytes(4, "little") in record.read_bytes(), why="it stands in the record")
    kill(gw.status()["warden"]["pid"], replica["anchor_pid"], other)
    innocents = reborn(other)
    assert other not in claimed(gw)
    assert gw("up").returncode == 0
    assert other not in claimed(gw)
    assert gw("stop", "pair").returncode == 4, "it was taken over without a cgroup"
    innocents.unharmed("stop")
    gw("down")
    innocents.unharmed("down")
