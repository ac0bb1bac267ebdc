"""Anchors that die: whoever was led by one is taken over, and what was ordered holds."""

import fcntl
import os
import signal
import subprocess

import pytest
from gpuward import alive, wait_for
from test_services import SLEEPER, WEB, replica_of


def test_a_stop_goes_on_when_its_anchor_is_killed(gw):
    gw.configure("""
[service.deaf]
command = ["sh", "-c", "trap '' TERM; echo up; while :; do sleep 1000 & wait; done"]
stop = { grace = "2s" }
""")
    assert gw("up").returncode == 0
    wait_for(lambda: "up" in gw.log("deaf"))
    replica = gw.service("deaf")["replicas"][0]
    stop = gw.popen("stop", "deaf")
    wait_for(lambda: gw.service("deaf")["verdict"] == "DRAINING", why="the stop is under way")
    os.kill(replica["anchor_pid"], signal.SIGKILL)
    wait_for(lambda: not alive(replica["main_pid"]), 20, "the new anchor goes on with the stop")
    wait_for(lambda: gw.service("deaf")["verdict"] == "STOPPED", 20, "and says so")
    stop.communicate(timeout=20)
    assert gw.service("deaf")["verdict"] == "STOPPED"
    wait_for(lambda: not gw.anchors(), why="the anchor is gone")


def test_a_killed_anchor_is_replaced_and_the_service_lives_on(gw):
    gw.configure(WEB.replace("[service.web]", "[service.web]\nbackoff = { first = \"50ms\", max = \"1s\" }"))
    assert gw("up").returncode == 0
    before = gw.service("web")["replicas"][0]
    os.kill(before["anchor_pid"], signal.SIGKILL)
    wait_for(lambda: gw.service("web")["replicas"] and gw.service("web")["replicas"][0]["anchor_pid"]
             not in (None, before["anchor_pid"]), why="a new anchor leads it")
    after = gw.service("web")["replicas"][0]
    assert after["main_pid"] == before["main_pid"] and alive(before["main_pid"])
    os.kill(before["main_pid"], signal.SIGKILL)  # the end of an adopted main is seen, and it is started again
    wait_for(lambda: gw.service("web")["verdict"] == "HEALTHY" and gw.service("web")["replicas"][0]["generation"] == 2,
             why=gw.log("web"))
    assert gw("stop", "web").returncode == 0
    wait_for(lambda: not gw.anchors(), why="the anchor is gone")


@pytest.mark.parametrize("doomed", ["anchor between two lives", "anchor and main at once"])
def test_a_service_lives_again_although_its_anchor_died(gw, doomed):
    long = doomed == "anchor between two lives"
    gw.configure(SLEEPER + f'backoff = {{ first = "{"1h" if long else "20ms"}", max = "1h" }}')
    assert gw("up").returncode == 0
    before = replica_of(gw, "sleeper")
    if long:
        os.kill(before["main_pid"], signal.SIGKILL)
        wait_for(lambda: gw.service("sleeper")["verdict"] == "BACKING_OFF")
        os.kill(before["anchor_pid"], signal.SIGKILL)
    else:
        os.kill(before["anchor_pid"], signal.SIGKILL)
        os.kill(before["main_pid"], signal.SIGKILL)
    wait_for(lambda: gw.service("sleeper")["verdict"] == "HEALTHY"
             and replica_of(gw, "sleeper")["main_pid"] != before["main_pid"], 5, "it lives again")
    assert gw.service("sleeper")["memory_proof"] != "held"  # nobody saw memory that could be held


def test_what_was_told_to_stop_is_not_started_again_because_its_anchor_died(gw):
    gw.configure(SLEEPER)
    for _ in range(12):
        assert gw("up").returncode == 0
        doomed = replica_of(gw, "sleeper")
        os.kill(doomed["anchor_pid"], signal.SIGKILL)
        os.kill(doomed["main_pid"], signal.SIGKILL)
        assert gw("down").returncode == 0
        # One that came to take the tree over may just be finding that there is none.
        wait_for(lambda: not gw.anchors(), 5, "it stays stopped")


def test_an_order_that_its_anchor_never_read_is_given_to_the_next(gw):
    gw.configure(SLEEPER)
    assert gw("up").returncode == 0
    before = replica_of(gw, "sleeper")
    os.kill(before["anchor_pid"], signal.SIGSTOP)  # it will not read what is sent to it
    stop = gw.popen("stop", "sleeper")
    wait_for(lambda: stop.poll() is not None or unread_by(before["anchor_pid"]), why="the order is in its socket")
    os.kill(before["anchor_pid"], signal.SIGKILL)
    assert stop.wait(20) == 0, stop.stderr.read()
    assert not alive(before["main_pid"])


def unread_by(anchor: int) -> bool:
    """Has the warden written what the stopped anchor has not read? ss(8) shows it as Recv-Q."""
    inodes = {os.readlink(f"/proc/{anchor}/fd/{fd}")[8:-1] for fd in os.listdir(f"/proc/{anchor}/fd")
              if os.readlink(f"/proc/{anchor}/fd/{fd}").startswith("socket:")}
    rows = subprocess.run(["ss", "-xnH"], capture_output=True, text=True, check=True).stdout.splitlines()
    return any(row.split()[2] != "0" and inodes & set(row.split()) for row in rows)


def test_up_beside_an_anchor_that_is_just_dying(gw):
    """Its lock is still held, its socket answers no more: the tree is taken over once the lock is free."""
    gw.configure(SLEEPER)
    assert gw("up").returncode == 0
    replica = gw.service("sleeper")["replicas"][0]
    os.kill(gw.status()["warden"]["pid"], signal.SIGKILL)
    wait_for(lambda: gw.status()["warden"] is None, why="the warden is gone")
    os.kill(replica["anchor_pid"], signal.SIGKILL)
    wait_for(lambda: not gw.anchors(), why="the anchor is gone")
    with next(gw.home.glob("**/sleeper.0/lock")).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        gw("up")
    wait_for(lambda: gw.service("sleeper")["verdict"] == "HEALTHY" and gw.anchors(), why="it is taken over")
    assert gw.service("sleeper")["replicas"][0]["main_pid"] == replica["main_pid"]


def test_stop_takes_over_what_a_killed_anchor_left_when_no_warden_runs(gw):
    assert gw("run", "--detach", "--name", "left", "--", "sh", "-c", "setsid sleep 1000 & sleep 1000").returncode == 0
    wait_for(lambda: gw.service("left")["replicas"][0]["processes"] == 3, why="the tree is up")
    replica = gw.service("left")["replicas"][0]
    os.kill(replica["anchor_pid"], signal.SIGKILL)
    wait_for(lambda: not gw.anchors(), why="the anchor is gone")
    stop = gw("stop", "left")
    assert stop.returncode == 0, stop.stderr
    assert "ended 3 processes" in stop.stdout
    assert not [p["pid"] for p in replica["tree"] if alive(p["pid"])]


def test_the_end_that_the_first_anchor_saw_is_not_forgotten_by_the_second(gw):
    job = gw.home / "job.sh"
    os.mkfifo(gw.home / "gate")
    job.write_text(f"(trap '' TERM; echo deaf; while :; do sleep 1000; done) & read go < {gw.home}/gate; exit 0")
    gw.configure(f"""
[service.job]
command = ["sh", "{job}"]
stop = {{ grace = "2s" }}
""")
    assert gw("up").returncode == 0
    (gw.home / "gate").write_text("go\n")
    wait_for(lambda: gw.service("job")["verdict"] == "DRAINING", why="main has ended, its child has not")
    os.kill(gw.service("job")["replicas"][0]["anchor_pid"], signal.SIGKILL)
    wait_for(lambda: gw.service("job")["verdict"] == "STOPPED", why="a job that ended well is not run again")
    assert gw.log("job").count("deaf") == 1
