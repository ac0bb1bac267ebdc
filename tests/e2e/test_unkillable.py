"""What KILL cannot end is named, for ever kept trying, and never called stopped. The version 1 freezer holds a process in
state D in which not even KILL reaches it: as a driver call that hangs does."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from gpuward import BIN, alive, wait_for

FREEZER = Path("/sys/fs/cgroup/freezer")


@pytest.fixture
def freeze(request):
    """Freezes a process by its pid; thawed at the end, whatever happened."""
    if os.geteuid() != 0 or not (FREEZER / "cgroup.procs").exists():
        pytest.skip("needs root and the version 1 freezer: nothing else holds a process against KILL")
    group = FREEZER / f"gpuward-test-{os.getpid()}"
    group.mkdir()

    def act(pid: int):
        (group / "cgroup.procs").write_text(str(pid))
        (group / "freezer.state").write_text("FROZEN")
        wait_for(lambda: (group / "freezer.state").read_text() == "FROZEN\n")

    act.thaw = lambda: (group / "freezer.state").write_text("THAWED")
    yield act
    act.thaw()
    wait_for(lambda: not (group / "cgroup.procs").read_text(), why="the frozen process has ended")
    group.rmdir()


def test_a_process_that_kill_does_not_end_is_named_and_never_called_stopped(gw, freeze):
    gw.configure("""
[service.stuck]
command = ["sleep", "1000"]
stop = { grace = "100ms" }
""")
    assert gw("up").returncode == 0
    main = gw.service("stuck")["replicas"][0]["main_pid"]
    freeze(main)
    stop = gw("stop", "stuck", "--json")
    assert stop.returncode == 4, stop.stderr
    survivor = json.loads(stop.stdout)["receipts"][0]["survivors"][0]
    assert survivor["pid"] == main and survivor["state"] == "D"
    assert survivor["killed_for_seconds"] >= 4.5  # of the ladder's 5, which begin a moment earlier
    assert gw.service("stuck")["verdict"] == "UNKILLABLE"
    again = gw("stop", "stuck", timeout=60)
    assert again.returncode == 4
    assert f"pid {main} (sleep), state D" in again.stderr and "KILL was sent " in again.stderr
    assert gw("start", "stuck", "--timeout", "1s").returncode != 0, "no second copy beside what lives"
    assert alive(main)
    freeze.thaw()
    wait_for(lambda: not alive(main))
    wait_for(lambda: gw.service("stuck")["verdict"] == "STOPPED", why="it leaves the state by becoming empty")
    assert gw("start", "stuck").returncode == 0


def test_a_sentinel_that_kill_does_not_end_is_replaced(gw, freeze, tmp_path):
    """The same for gpuward-sentinel, which a hung driver call holds: another one is started beside it."""
    gw.env |= {"GPUSIM_STATE": str(tmp_path / "cards"), "LD_LIBRARY_PATH": str(BIN / "sim")}
    subprocess.run([BIN / "gpusim", "create", "--gpus", "1"], env=gw.env, check=True, capture_output=True)
    gw.configure("")
    assert gw("up").returncode == 0
    warden = gw.status()["warden"]["pid"]

    def sentinels():
        names = {}
        for child in Path(f"/proc/{warden}/task/{warden}/children").read_text().split():
            try:
                words = Path(f"/proc/{child}/cmdline").read_bytes()
            except OSError:
                continue
            if b"--serve" in words:
                names[int(child)] = words
        return names

    def young():
        gpus = gw.status()["gpus"]
        return gpus and gpus[0]["state"] == "ok" and gpus[0]["age_seconds"] < 2

    wait_for(young, why="the first look")
    [stuck] = sentinels()
    freeze(stuck)
    wait_for(lambda: len(sentinels()) == 2, why="it was killed in vain, and another was started")
    wait_for(young, why="the other one looks")
    assert alive(stuck)
    freeze.thaw()
    wait_for(lambda: not alive(stuck), why="KILL ends it now")
