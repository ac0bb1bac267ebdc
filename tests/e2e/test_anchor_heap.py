"""The anchor allocates nothing after start (design: it must not fail, or grow, when memory is short)."""

import json
import os
import shutil
import signal
import subprocess

import pytest
from gpuward import BIN, ROOT, Gpuward, alive, end, wait_for

SEALED = ROOT / "build/release/tests/helpers/gpuward-anchor-sealed"

SERVICES = """
[service.web]
command = ["sh", "-c", "setsid sleep 1000 & echo up; exec python3 -m http.server {port} --bind 127.0.0.1"]
ready = { http = "/", within = "20s" }
backoff = { first = "50ms", max = "1s" }
pid_file = "PID_FILE"
cpu_weight = 50
private_tmp = { max_age = "1s" }
LIMIT

[service.deaf]
command = ["sh", "-c", "trap '' TERM; echo up; echo trouble >&2; while :; do sleep 1000 & wait; done"]
stop = { grace = "100ms" }
CONTAINMENT

[service.parent]
command = ["sh", "-c", "setsid sleep 1007 & sleep 1008 & exec sleep 1009"]
release = ["sleep 1007", "* keep-me *"]

[service.given]
command = ["sh", "-c", "sleep 1006 & exec sleep 1005"]

[service.absent]
command = ["/nowhere/program"]
autostart = false

[service.slow]
command = ["sleep", "1000"]
ready = { tcp = "127.0.0.1:1", within = "200ms" }
autostart = false
"""


@pytest.fixture
def sealed(tmp_path):
    """An install whose anchor ends itself, and says where, when it allocates after start."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("gpuward", "gpuwardd", "gpuward-sentinel"):
        shutil.copy(BIN / name, programs / name)
    shutil.copy(SEALED, programs / "gpuward-anchor")
    install = Gpuward(tmp_path / "home", programs, SEALED_HEAP_REPORT=str(tmp_path / "allocated"))
    yield install, tmp_path / "allocated"
    install("down", timeout=60)
    for pid in install.anchors():
        end(pid)


def may_make_pid_namespaces() -> bool:
    prefix = ["unshare", "-pf"] if os.geteuid() == 0 else ["unshare", "-Urpf"]
    return subprocess.run([*prefix, "true"], capture_output=True).returncode == 0


def allocated_at(report) -> str:
    if not report.exists():
        return ""
    return subprocess.run(["addr2line", "-fCe", SEALED, *report.read_text().split()], capture_output=True, text=True,
                          check=True).stdout


@pytest.mark.parametrize("mask", ["", "no_cgroup", "no_cgroup_kill,no_clone_into_cgroup,no_pidfd"])
def test_a_whole_life_allocates_nothing(sealed, tmp_path, mask):
    gw, report = sealed
    gw.env["GPUWARD_KERNEL_MASK"] = mask
    limit = "" if "no_cgroup" in mask.split(",") else 'memory_max = "1GiB"'
    inside = "no_pidfd" not in mask and may_make_pid_namespaces()
    gw.configure(SERVICES.replace("PID_FILE", str(tmp_path / "web.pid")).replace("LIMIT", limit)
                 .replace("CONTAINMENT", 'containment = "pidns"' if inside else ""))
    up = gw("up")
    assert up.returncode == 0, allocated_at(report) + up.stderr
    gw("start", "absent", "slow")
    wait_for(lambda: "trouble" in gw.log("deaf"))
    web = gw.service("web")["replicas"][0]
    for n in range(3000):  # more than one turn empties, so that they are laid aside
        (gw.home / f"state-tmp/web.0/{n}").touch()
    wait_for(lambda: "temp-aged" in gw("events").stdout, why=allocated_at(report))
    for n in range(3000):
        (gw.home / f"state-tmp/web.0/new{n}").touch()
    os.kill(web["main_pid"], signal.SIGKILL)
    wait_for(lambda: gw.service("web")["verdict"] == "HEALTHY" and gw.service("web")["replicas"][0]["generation"] == 2,
             why=gw.log("web") + allocated_at(report))
    if not mask:
        os.kill(gw.service("web")["replicas"][0]["anchor_pid"], signal.SIGKILL)  # its successor adopts
        wait_for(lambda: gw.service("web")["replicas"][0]["anchor_pid"] != web["anchor_pid"] and gw.anchors())
    assert gw("restart", "deaf").returncode == 0, allocated_at(report)
    restart = json.loads(gw("restart", "parent", "--json").stdout)["receipts"][0]
    given = json.loads(gw("release", "given", "--json").stdout)["receipts"][0]
    assert len(restart["released"]) == 1 and len(given["released"]) == 2, allocated_at(report)
    stop = json.loads(gw("stop", "parent", "--json").stdout)["receipts"][0]
    for process in [*restart["released"], *given["released"], *stop["released"]]:
        assert alive(process["pid"]), allocated_at(report)
        end(process["pid"])
    down = gw("down")
    assert down.returncode == 0, down.stderr + allocated_at(report)
    assert not report.exists(), allocated_at(report)
    wait_for(lambda: not alive(web["anchor_pid"]))  # its socket closes a moment before it is gone


def test_the_sealed_heap_tells(sealed):
    gw, report = sealed
    gw.env["SEALED_HEAP_TRY"] = "1"
    assert gw("run", "--name", "caught", "--", "true").returncode == 125
    assert "__wrap_" in allocated_at(report)
