"""The warden as systemd runs it: told when it is ready and that it lives, and its end is not its services' end."""

import os
import shutil
import signal
import socket
import subprocess

import pytest
from gpuward import BIN, ROOT, alive, wait_for

SLEEPER = """
[service.sleeper]
command = ["sh", "-c", "env; exec sleep 1000"]
"""


@pytest.fixture
def manager(gw):
    """Systemd's side of sd_notify, and the warden in front as the unit's main process."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
        path = gw.home / "notify"
        door.bind(str(path))
        door.settimeout(20)
        gw.configure(SLEEPER)
        warden = subprocess.Popen([BIN / "gpuward", "up", "--foreground"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL,
                                  env={**gw.env, "NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "400000"})
        yield door, warden
        if warden.poll() is None:
            warden.terminate()
        warden.wait(timeout=20)


def test_it_says_ready_and_feeds_the_watchdog_and_says_when_it_stops(gw, manager):
    door, warden = manager
    assert door.recv(100) == b"READY=1"
    assert [door.recv(100) for _ in range(4)] == [b"WATCHDOG=1"] * 4
    main = wait_for(lambda: gw.service("sleeper")["replicas"])[0]["main_pid"]
    assert not any(line.startswith(("NOTIFY_SOCKET", "WATCHDOG")) for line in gw.log("sleeper").splitlines())
    warden.terminate()
    while door.recv(100) != b"STOPPING=1":
        pass
    assert warden.wait(timeout=20) == 0
    assert alive(main), "only the warden was asked to stop"


def test_a_warden_that_hangs_is_silent(manager):
    door, warden = manager
    assert door.recv(100) == b"READY=1"
    os.kill(warden.pid, signal.SIGSTOP)
    door.settimeout(1.5)
    try:
        with pytest.raises(TimeoutError):
            for _ in range(20):
                door.recv(100)
    finally:
        os.kill(warden.pid, signal.SIGCONT)


def test_a_kill_of_the_main_process_leaves_the_services_alive_and_the_next_one_has_them(gw, manager):
    door, warden = manager
    assert door.recv(100) == b"READY=1"
    wait_for(lambda: gw.service("sleeper")["verdict"] == "HEALTHY")
    before = gw.service("sleeper")["replicas"][0]
    warden.kill()  # what Restart=always answers with a new one; KillMode=process touches nothing else
    warden.wait(timeout=20)
    assert alive(before["main_pid"]) and alive(before["anchor_pid"])
    assert gw("up").returncode == 0
    after = gw.service("sleeper")["replicas"][0]
    assert (after["main_pid"], after["anchor_pid"]) == (before["main_pid"], before["anchor_pid"])


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")
def test_the_unit_is_sound(tmp_path):
    text = (ROOT / "packaging/gpuward.service").read_text()
    for line in ("Type=notify", "WatchdogSec=", "Delegate=yes", "KillMode=process", "Restart=always"):
        assert f"\n{line}" in text
    unit = tmp_path / "gpuward.service"
    unit.write_text(text.replace("=/opt/gpuward/gpuward ", "=/bin/true "))
    verify = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True, timeout=60)
    assert verify.returncode == 0, verify.stderr
