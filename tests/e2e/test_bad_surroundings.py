"""What a machine can have wrong with it: folders that cannot be read, a disk that is full."""

import os
import subprocess

import pytest

from gpuward import BIN, Gpuward, alive, wait_for

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
