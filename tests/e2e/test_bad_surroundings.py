"""What a machine can have wrong with it: folders that cannot be read, a disk that is full."""

import os
import re
import shutil
import signal
import subprocess

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
        wait_for(lambda: any(fact["what"] == "log" and "bytes could not be written" in fact["value"]
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
