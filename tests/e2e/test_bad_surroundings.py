"""What a machine can have wrong with it: folders that cannot be read, a disk that is full."""

import contextlib
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
from pathlib import Path

import pytest

from gpuward import BIN, Gpuward, alive, end, wait_for

NOBODY = 65534


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_a_folder_that_cannot_be_read_is_named(tmp_path):
    tmp_path.chmod(0o755)
    for folder in list(tmp_path.parents)[:2]:
        folder.chmod(folder.stat().st_mode | 0o011)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    gw = Gpuward(tmp_path / "home")
    config = gw.configure(f"""
[service.app]
command = ["sleep", "1000"]
directory = "{closed}"
""")
    for path in (gw.home, gw.home / "etc", config):
        os.chown(path, NOBODY, NOBODY)
    as_nobody = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", BIN / "gpuward"]

    def run(*words):
        return subprocess.run([*as_nobody, *words], env=gw.env, text=True, capture_output=True, timeout=60)

    reachable = subprocess.run([*as_nobody, "--version"], capture_output=True)
    if reachable.returncode != 0:
        pytest.skip("the programs lie where nobody else can reach them")
    check = run("check")
    assert check.returncode == 1
    assert str(closed) in check.stderr and "services.toml:4:" in check.stderr
    up = run("up")
    assert up.returncode == 1
    assert str(closed) in up.stderr
    assert run("down").returncode == 0
    assert gw.anchors() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small file system")
def test_a_full_disk_under_the_log_costs_counted_bytes_never_the_service(gw):
    log = gw.home / "log"
    log.mkdir()
    small = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", log], capture_output=True, text=True)
    if small.returncode != 0:
        pytest.skip(f"no right to mount: {small.stderr}")
    try:
        gw.configure("""
[service.chatty]
command = ["sh", "-c", "seq 1 50000; exec sleep 1000"]
""")
        assert gw("up").returncode == 0
        main = gw.service("chatty")["replicas"][0]["main_pid"]
        wait_for(lambda: any(fact["what"] == "log" and "bytes are missing in it" in fact["value"]
                             for fact in gw.service("chatty")["evidence"]), why="the loss is told")
        assert alive(main) and gw.service("chatty")["verdict"] == "HEALTHY"
        stop = gw("stop", "chatty")
        assert stop.returncode == 0, stop.stderr
    finally:
        gw("down")
        subprocess.run(["umount", log], check=True)


def left_without_a_record(gw, spoil) -> int:
    """A service whose warden and anchor were killed and whose record `spoil` has spoilt: the pid of its main."""
    gw.configure('[service.lost]\ncommand = ["sleep", "1000"]\n')
    assert gw("up").returncode == 0
    service = gw.service("lost")
    if service["containment"] != "cgroup":
        pytest.skip("no right to make cgroups: without its record such a tree has no name")
    replica = service["replicas"][0]
    os.kill(gw.status()["warden"]["pid"], signal.SIGKILL)
    wait_for(lambda: gw.status()["warden"] is None, why="the warden is gone")
    os.kill(replica["anchor_pid"], signal.SIGKILL)
    wait_for(lambda: not gw.anchors(), why="the anchor is gone")
    spoil(next(gw.home.glob("**/lost.0/record")))
    return replica["main_pid"]


def replaced_by_a_fifo(record):
    record.unlink()
    os.mkfifo(record)


def replaced_by_a_link(record):
    record.rename(record.with_name("moved"))
    record.symlink_to("moved")


@pytest.mark.parametrize("spoil", [
    lambda record: record.unlink(),
    lambda record: record.write_bytes(b""),
    lambda record: record.write_bytes(os.urandom(500)),
    lambda record: shutil.rmtree(record.parent),
    replaced_by_a_fifo,
    replaced_by_a_link,
], ids=["removed", "empty", "noise", "whole folder removed", "a FIFO", "a link"])
@pytest.mark.parametrize("warden", [True, False], ids=["warden", "no warden"])
def test_a_tree_whose_record_is_lost_is_named_and_never_doubled(gw, spoil, warden):
    main = left_without_a_record(gw, spoil)
    try:
        if warden:
            up = gw("up", timeout=20)
            assert up.returncode == 1 and f"{main} (sleep 1000)" in up.stderr, up.stderr
            start = gw("start", "lost")
            assert start.returncode == 1 and f"{main} (sleep 1000)" in start.stderr
            assert gw.service("lost")["verdict"] == "FAILED"
        stop = gw("stop", "lost", timeout=20)
        assert stop.returncode == 4 and f"{main} (sleep 1000)" in stop.stderr, stop.stderr
        assert alive(main) and not gw.anchors()  # neither ended by guess nor started a second time
    finally:
        end(main)
    wait_for(lambda: not alive(main), why="it was ended by hand")
    if next(gw.home.glob("**/lost.0/record"), None):
        stop = gw("stop", "lost")
        assert stop.returncode == 4 and (told := re.search(r"once none does, remove (\S+)", stop.stderr)), stop.stderr
        shutil.rmtree(told[1])
    down = gw("down")
    assert down.returncode == 0, down.stderr  # the way out that was told is one
    for group in gw.groups():  # empty, and taken over by the next start: nothing but its record knew it
        group.rmdir()


SLEEPER = """
[service.sleeper]
command = ["sleep", "1000"]
stop = { grace = "300ms" }
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small file system")
@pytest.mark.parametrize("mask", ["", "no_cgroup"])
def test_nothing_runs_without_a_record(tmp_path, mask):
    gw = Gpuward(tmp_path / "home", GPUWARD_KERNEL_MASK=mask)
    run = gw.home / "run"
    run.mkdir(mode=0o700)
    small = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", run], capture_output=True, text=True)
    if small.returncode != 0:
        pytest.skip(f"no right to mount: {small.stderr}")
    run.chmod(0o700)
    try:
        gw.configure(SLEEPER.replace("[service.sleeper]", "[service.sleeper]\nautostart = false"))
        assert gw("up").returncode == 0
        filler = run / "filler"
        number = os.open(filler, os.O_WRONLY | os.O_CREAT)
        with contextlib.suppress(OSError):
            while os.write(number, bytes(1024)):
                pass
        os.close(number)
        start = gw("start", "sleeper")
        assert start.returncode == 1 and "No space left on device" in start.stderr, start
        wait_for(lambda: gw.service("sleeper")["replicas"] == [], why="its anchor told the reason, and ends")
        filler.unlink()
        assert gw("start", "sleeper").returncode == 0
        assert gw("down").returncode == 0
    finally:
        subprocess.run(["umount", "-l", run], check=True)


@pytest.mark.parametrize("name", ["lock", "journal"])
def test_a_fifo_laid_in_an_anchor_s_folder_keeps_nobody_waiting(gw, name):
    gw.configure(SLEEPER)
    assert gw("up").returncode == 0
    path = gw.home / "run/anchors/sleeper.0" / name
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    status = gw("status", timeout=20)
    assert status.returncode == 0 and "HEALTHY" in status.stdout
    assert gw("stop", "sleeper", timeout=20).returncode == 0


def test_a_fifo_in_place_of_the_log_is_refused(gw):
    (gw.home / "log").mkdir()
    os.mkfifo(gw.home / "log/sleeper.log")
    gw.configure(SLEEPER)
    up = gw("up", timeout=20)
    assert up.returncode == 1 and "sleeper.log" in up.stderr, up


@pytest.mark.parametrize("warden", [True, False])
def test_a_removed_lock_makes_no_second_anchor(gw, warden):
    gw.configure(SLEEPER)
    assert gw("up").returncode == 0
    before = gw.service("sleeper")["replicas"][0]
    os.kill(gw.status()["warden"]["pid"], signal.SIGKILL)
    (gw.home / "run/anchors/sleeper.0/lock").unlink()
    if warden:
        assert gw("up").returncode == 0
    assert gw.anchors() == [before["anchor_pid"]]
    assert gw("stop", "sleeper").returncode == 0
    wait_for(lambda: not gw.anchors(), why="the one anchor is gone")


def test_a_cgroup_that_somebody_removed_is_made_anew(gw):
    os.mkfifo(gw.home / "gate")
    gw.configure(f"""
[service.flaky]
command = ["sh", "-c", "echo up; read go < {gw.home}/gate; exit 1"]
restart = "always"
backoff = {{ first = "1s", max = "1s" }}
""")
    assert gw("up").returncode == 0
    if not gw.groups():
        pytest.skip("no right to make cgroups here")
    (gw.home / "gate").write_text("go\n")
    wait_for(lambda: gw.service("flaky")["verdict"] == "BACKING_OFF")
    gw.groups()[0].rmdir()
    wait_for(lambda: gw.log("flaky").count("up") == 2, why="the next generation lives")
    assert gw.groups(), "in a group of its own again"
    anchor = gw.anchors()[0]
    used = sum(map(int, Path(f"/proc/{anchor}/stat").read_text().rsplit(")", 1)[1].split()[11:13]))
    assert used < 50, f"{used} ticks of CPU: it must not spin on the old group"
    assert gw("stop", "flaky").returncode == 0


def test_silent_connections_lock_nobody_out(gw):
    assert gw("run", "--detach", "--name", "x", "--", "sleep", "1000").returncode == 0
    silent = []
    for _ in range(40):
        folder = os.open(gw.home / "run/anchors/x.0", os.O_PATH)
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(f"/proc/self/fd/{folder}/control")
        os.close(folder)
        silent.append(connection)
    assert gw("stop", "x", timeout=20).returncode == 0
    for connection in silent:
        connection.close()


def test_what_the_caller_had_open_is_not_inherited(gw, tmp_path):
    gw.configure(SLEEPER)
    with open(tmp_path / "held", "w") as held:
        os.set_inheritable(held.fileno(), True)
        assert gw("up", close_fds=False).returncode == 0
        number = held.fileno()
    replica = gw.service("sleeper")["replicas"][0]
    for pid in (gw.status()["warden"]["pid"], replica["anchor_pid"], replica["main_pid"]):
        holds = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        assert str(tmp_path / "held") not in holds, (pid, number)


def test_several_ups_at_once_are_one(gw):
    gw.configure(SLEEPER)
    ups = [gw.popen("up") for _ in range(6)]
    for up in ups:
        out, err = up.communicate(timeout=30)
        assert up.returncode == 0, (out, err)
    assert len(gw.anchors()) == 1


def test_an_anchor_that_does_not_answer_is_said(gw):
    gw.configure(SLEEPER)
    assert gw("up").returncode == 0
    anchor = gw.anchors()[0]
    os.kill(anchor, signal.SIGSTOP)
    try:
        os.kill(gw.status()["warden"]["pid"], signal.SIGKILL)
        wait_for(lambda: gw.status()["warden"] is None, why="the warden is gone")
        silent = gw.service("sleeper")
        assert silent["verdict"] == "FAILED" and f"its anchor (pid {anchor}) does not answer" in silent["sentence"]
        up = gw("up", timeout=30)
        assert up.returncode == 1 and "its anchor does not answer" in up.stderr, up.stderr
        said = gw.service("sleeper")
        assert said["verdict"] == "FAILED" and f"its anchor (pid {anchor}) does not answer" in said["sentence"]
    finally:
        os.kill(anchor, signal.SIGCONT)
    wait_for(lambda: gw.service("sleeper")["verdict"] == "HEALTHY")


def test_output_that_cannot_be_written_is_an_error(gw):
    with open("/dev/full", "w") as full:
        done = subprocess.run([BIN / "gpuward", "status", "--json"], env=gw.env, stdout=full, stderr=subprocess.PIPE,
                              text=True, timeout=20)
    assert done.returncode == 1 and "could not be written" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can leave its cgroup")
@pytest.mark.parametrize("daemon", [True, False])
def test_who_left_its_cgroup_is_ended_even_after_a_crash_of_the_anchor(gw, daemon):
    assert gw("run", "--detach", "--name", "probe", "--", "sleep", "1000").returncode == 0
    groups = gw.groups()
    if not groups or not (outside := groups[0].parent / "cgroup.procs").exists():
        pytest.skip("no cgroups here")
    assert gw("stop", "probe").returncode == 0
    escape = f"""
import os, signal
if os.fork() == 0:
    if {daemon} and os.fork() != 0: os._exit(0)
    open("{outside}", "w").write(str(os.getpid()))
    os.write(1, b"pid %d\\n" % os.getpid())
    while True: signal.pause()
while True: signal.pause()
"""
    assert gw("run", "--detach", "--name", "leaver", "--", "python3", "-c", escape).returncode == 0
    wait_for(lambda: "pid" in gw.log("leaver"))
    leaver = int(gw.log("leaver").split()[1])
    wait_for(lambda: leaver in {p["pid"] for p in gw.service("leaver")["replicas"][0]["tree"]})
    if daemon:
        record = gw.home / "run/anchors/leaver.0/record"
        wait_for(lambda: struct.pack("<I", leaver) in record.read_bytes(), why="it stands in the record")
    os.kill(gw.anchors()[0], signal.SIGKILL)
    wait_for(lambda: not gw.anchors(), why="the anchor is gone")
    stop = gw("stop", "leaver")
    assert stop.returncode == 4 and "none left of those seen" in stop.stdout, "who leaves can have lost others"
    assert not alive(leaver)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can leave its cgroup")
@pytest.mark.parametrize("mask", ["", "no_cgroup", "no_cgroup2"])
def test_who_left_in_silence_is_found_by_its_environment(tmp_path, mask):
    gw = Gpuward(tmp_path / "home", GPUWARD_KERNEL_MASK=mask)
    assert gw("run", "--detach", "--name", "probe", "--", "sleep", "1000").returncode == 0
    outside = [group.parent / "cgroup.procs" for group in gw.groups()]
    assert gw("stop", "probe").returncode == 0
    leave = "".join(f'open("{path}", "w").write(str(os.getpid()))\n' for path in outside)
    os.mkfifo(tmp_path / "gate")
    silent = f"""
import os, signal
if os.fork() == 0:
    open("{tmp_path}/gate").read()
    os.setsid()
    {leave.rstrip()}
    if os.fork() != 0: os._exit(0)
    open("{tmp_path}/pid", "w").write(str(os.getpid()))
    while True: signal.pause()
while True: signal.pause()
"""
    assert gw("run", "--detach", "--name", "silent", "--", "python3", "-c", silent).returncode == 0
    wait_for(lambda: gw.service("silent")["verdict"] == "HEALTHY")
    (tmp_path / "gate").write_text("go")  # it is past its beginning: what it does now wakes nobody
    wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    pid = int((tmp_path / "pid").read_text())
    os.kill(gw.anchors()[0], signal.SIGKILL)
    wait_for(lambda: not gw.anchors(), why="the anchor is gone")
    stop = gw("stop", "silent")
    assert stop.returncode == 4, stop
    assert not alive(pid)
    gw("down")
