"""Limits of a whole tree, kept by the kernel: memory_max, cpu_weight, and what it says of whom it killed."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from gpuward import BIN, Gpuward, alive, end, wait_for

EATER = """
import os, sys, time
signal_file, mebibytes = sys.argv[1], int(sys.argv[2])
print("up", flush=True)
while not os.path.exists(signal_file):
    time.sleep(0.02)
if len(sys.argv) > 3 and os.fork() == 0:  # a child eats, and main tells of it by its own code
    eaten = b"x" * (mebibytes << 20)
    os._exit(0)
if len(sys.argv) > 3:
    print("child ended with", os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
    if sys.argv[3] != "stay":
        sys.exit(int(sys.argv[3]))
    while True:
        time.sleep(1000)
eaten = b"x" * (mebibytes << 20)
print("has eaten", flush=True)
while True:
    time.sleep(1000)
"""


def folder_of(controller: str) -> Path | None:
    """Our own group in the v1 hierarchy of a controller; none where it is not there or not ours to write."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            mounts = [m.split() for m in Path("/proc/self/mountinfo").read_text().splitlines()]
            for mount in mounts:
                if mount[-3] == "cgroup" and controller in mount[-1].split(",") and os.access(mount[4], os.W_OK):
                    return Path(mount[4] + path.rstrip("/"))
    return None


def v2_offers(controller: str) -> bool:
    """Cgroup2 hands the controller to groups below our own: it is the root's, or nobody is in ours."""
    for mount in (m.split() for m in Path("/proc/self/mountinfo").read_text().splitlines()):
        if mount[-3] == "cgroup2":
            return controller in Path(mount[4], "cgroup.controllers").read_text().split() and os.access(mount[4], os.W_OK)
    return False


pytestmark = pytest.mark.skipif(
    not all(folder_of(c) or v2_offers(c) for c in ("memory", "cpu")),
    reason="no memory and cpu controller that this user may use, neither on cgroup2 nor in a v1 hierarchy")


def limit_file(gw: Gpuward, *names: str) -> Path:
    """The file of the limit in whatever group of this install has it."""
    found = [group / name for group in gw.groups() for name in names if (group / name).exists()]
    assert len(found) == 1, found
    return found[0]


def memory_max(gw: Gpuward) -> int:
    return int(limit_file(gw, "memory.max", "memory.limit_in_bytes").read_text())


def cpu_weight(gw: Gpuward) -> int:
    path = limit_file(gw, "cpu.weight", "cpu.shares")
    return int(path.read_text()) * (100 if path.name == "cpu.shares" else 1024) // 1024


def eater(gw: Gpuward, keys: str, *words: str) -> Path:
    script = gw.home / "eater.py"
    script.write_text(EATER)
    go = gw.home / "go"
    command = ", ".join(f'"{w}"' for w in ("/usr/bin/python3", str(script), str(go), *words))
    gw.configure(f"[service.eater]\ncommand = [{command}]\n{keys}\n")
    return go


def start(gw: Gpuward) -> dict:
    up = gw("up")
    assert up.returncode == 0, up.stderr
    wait_for(lambda: "up" in gw.log("eater"))
    return gw.service("eater")


def evidence(service: dict, what: str) -> str:
    return next((e["value"] for e in service["evidence"] if e["what"] == what), "")


def test_both_hold_before_the_first_instruction_and_go_with_the_tree(gw):
    eater(gw, 'memory_max = "64MiB"\ncpu_weight = 50', "1")
    main = start(gw)["replicas"][0]["main_pid"]
    assert memory_max(gw) == 64 << 20
    assert cpu_weight(gw) == 50
    for path in (limit_file(gw, "memory.max", "memory.limit_in_bytes"), limit_file(gw, "cpu.weight", "cpu.shares")):
        assert str(main) in (path.parent / "cgroup.procs").read_text().split()
    explained = gw("explain", "eater").stdout
    assert "64 MiB" in explained and "'cpu_weight'" in explained
    assert gw("stop", "eater").returncode == 0
    assert not gw.groups()


def test_the_first_instruction_is_already_inside(gw):
    gw.configure("""
[service.first]
command = ["/bin/sh", "-c", "cat /proc/self/cgroup; exec sleep 1000"]
memory_max = "64MiB"
cpu_weight = 50
""")
    assert gw("up").returncode == 0
    wait_for(lambda: "0::" in gw.log("first"))
    lines = gw.log("first").splitlines()
    wanted = [c for c in ("memory", "cpu") if not v2_offers(c)] or [""]
    for controller in wanted:
        line = next(x for x in lines if controller in x.split(":")[1].split(","))
        assert "/gpuward.first.0." in line


@pytest.mark.parametrize("mask", ["", "no_cgroup2"])
def test_a_service_that_eats_too_much_is_said_to_have_been_killed_for_memory(tmp_path, mask):
    gw = Gpuward(tmp_path / "home", GPUWARD_KERNEL_MASK=mask)
    try:
        go = eater(gw, 'memory_max = "64MiB"\nrestart = "never"', "200")
        start(gw)
        go.touch()
        wait_for(lambda: gw.service("eater")["verdict"] == "FAILED")
        assert gw.service("eater")["sentence"] == (
            "ended by signal 9 (killed); the kernel killed 1 of its processes for memory (memory_max 64 MiB)")
    finally:
        down = gw("down")
    assert down.returncode == 0 and not gw.groups(), down.stderr


def test_a_child_that_is_killed_for_memory_is_in_the_reason_of_main_and_the_next_one_starts_at_zero(gw):
    go = eater(gw, 'memory_max = "64MiB"\nbackoff = { first = "50ms", max = "1m" }', "200", "3")
    start(gw)
    go.touch()
    backing_off = wait_for(lambda: next((s for s in [gw.service("eater")] if s["restarts"] > 0 or
                                         s["verdict"] == "BACKING_OFF"), None))
    text = backing_off["sentence"] + evidence(backing_off, "restarts")
    assert "exited with code 3; the kernel killed 1 of its processes for memory (memory_max 64 MiB)" in text
    go.unlink(missing_ok=True)
    wait_for(lambda: [s["verdict"] == "HEALTHY" and not evidence(s, "memory") for s in [gw.service("eater")]] == [True])
    assert "the kernel killed 1 of its processes for memory" in gw("events").stdout


def test_a_child_that_is_killed_for_memory_is_told_while_main_lives_on(gw):
    go = eater(gw, 'memory_max = "64MiB"', "200", "stay")
    start(gw)
    go.touch()
    wait_for(lambda: "child ended with -9" in gw.log("eater"))
    told = wait_for(lambda: evidence(gw.service("eater"), "memory"))
    assert told == "the kernel killed 1 of its processes for memory (memory_max 64 MiB)"
    assert gw.service("eater")["verdict"] == "HEALTHY"


def test_one_who_ends_by_itself_was_not_killed_for_memory(gw):
    eater(gw, 'memory_max = "64MiB"\nrestart = "never"', "1")
    main = start(gw)["replicas"][0]["main_pid"]
    os.kill(main, signal.SIGKILL)
    wait_for(lambda: gw.service("eater")["verdict"] == "FAILED")
    assert gw.service("eater")["sentence"] == "ended by signal 9 (killed)"


def test_reload_changes_both_and_touches_no_process(gw):
    eater(gw, 'memory_max = "64MiB"\ncpu_weight = 50', "1")
    main = start(gw)["replicas"][0]["main_pid"]
    eater(gw, 'memory_max = "96MiB"\ncpu_weight = 200', "1")
    reload = gw("reload")
    assert reload.returncode == 0 and reload.stdout.count("holds at once") == 2, reload.stdout
    wait_for(lambda: memory_max(gw) == 96 << 20 and cpu_weight(gw) == 200)
    service = gw.service("eater")
    assert service["replicas"][0]["main_pid"] == main and service["verdict"] == "HEALTHY"
    eater(gw, "", "1")
    plan = gw("plan")
    assert plan.stdout.count("needs a new process") == 2, plan.stdout


def test_less_than_is_held_is_said_and_holds_from_the_next_start(gw):
    go = eater(gw, 'memory_max = "256MiB"\nrestart = "always"\nbackoff = { first = "10ms" }', "100")
    go.touch()
    first = start(gw)["replicas"][0]
    wait_for(lambda: "has eaten" in gw.log("eater"))
    eater(gw, 'memory_max = "64MiB"\nrestart = "always"\nbackoff = { first = "10ms" }', "100")
    assert gw("reload").returncode == 0
    trouble = wait_for(lambda: evidence(gw.service("eater"), "memory_max"))
    assert trouble.startswith("not in force: ")
    assert alive(first["main_pid"]) and memory_max(gw) == 256 << 20
    go.unlink()
    os.kill(first["main_pid"], signal.SIGKILL)
    wait_for(lambda: gw.service("eater")["verdict"] == "HEALTHY" and gw.service("eater")["replicas"][0]["generation"] == 2)
    assert memory_max(gw) == 64 << 20
    assert not evidence(gw.service("eater"), "memory_max")


def test_groups_are_gone_after_everything_was_killed_and_taken_over(gw):
    eater(gw, 'memory_max = "64MiB"\ncpu_weight = 50', "1")
    replica = start(gw)["replicas"][0]
    end(gw.status()["warden"]["pid"])
    end(replica["anchor_pid"])
    wait_for(lambda: not gw.anchors())
    assert alive(replica["main_pid"])
    assert gw("up").returncode == 0
    wait_for(lambda: gw.service("eater")["verdict"] == "HEALTHY")
    assert gw.service("eater")["replicas"][0]["main_pid"] == replica["main_pid"]
    assert memory_max(gw) == 64 << 20
    assert gw("down").returncode == 0
    assert not gw.groups()


def test_groups_are_gone_after_everything_was_killed_and_the_tree_too(gw):
    eater(gw, 'memory_max = "64MiB"\ncpu_weight = 50\nautostart = false', "1")
    assert gw("up").returncode == 0 and gw("start", "eater").returncode == 0
    replica = gw.service("eater")["replicas"][0]
    for pid in (gw.status()["warden"]["pid"], replica["anchor_pid"], replica["main_pid"]):
        end(pid)
    wait_for(lambda: not gw.anchors() and not alive(replica["main_pid"]))
    assert gw.groups()
    assert gw("up").returncode == 0
    wait_for(lambda: not gw.groups())


def test_without_cgroups_a_memory_max_is_not_dropped_silently(tmp_path):
    gw = Gpuward(tmp_path / "home", GPUWARD_KERNEL_MASK="no_cgroup")
    try:
        eater(gw, 'memory_max = "64MiB"', "1")
        check = gw("check")
        assert check.returncode == 1 and "'memory_max' cannot hold here: cgroups are masked" in check.stderr
        up = gw("up")
        assert up.returncode == 1 and "apply 'memory_max': cgroups are masked" in up.stderr, up.stderr
        wait_for(lambda: not gw.anchors())
    finally:
        gw("down")


@pytest.mark.skipif(os.geteuid() != 0 or v2_offers("memory"), reason="needs root, to be somebody else, and v1")
def test_check_knows_that_a_user_has_no_right_to_v1_groups(gw):
    eater(gw, 'memory_max = "64MiB"', "1")
    for folder in [gw.home, *list(gw.home.parents)[:3]]:
        folder.chmod(folder.stat().st_mode | 0o755)
    check = gw("check", user=65534, group=65534, extra_groups=[])
    assert check.returncode == 1 and "'memory_max' cannot hold here: no right to make groups in '" in check.stderr, check.stderr


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root and unshare")
def test_on_read_only_mounts_it_is_refused_and_check_knows(gw):
    eater(gw, 'memory_max = "64MiB"', "1")
    mounts = [m.split()[4] for m in Path("/proc/self/mountinfo").read_text().splitlines() if " - cgroup" in m]
    words = ["unshare", "-m", "sh", "-c", "".join(f"mount -o remount,bind,ro {m} && " for m in mounts) + 'exec "$0" "$1"']
    check = subprocess.run([*words, BIN / "gpuward", "check"], env=gw.env, capture_output=True, text=True, timeout=60)
    assert check.returncode == 1 and "'memory_max' cannot hold here: '" in check.stderr, check.stderr
    assert "is mounted read-only" in check.stderr
    up = subprocess.run([*words, BIN / "gpuward", "up"], env=gw.env, capture_output=True, text=True, timeout=60)
    assert up.returncode == 1 and "apply 'memory_max': " in up.stderr and "Read-only file system" in up.stderr, up.stderr
    wait_for(lambda: not gw.anchors())


@pytest.mark.skipif(v2_offers("memory"), reason="cgroup2 has the memory controller here: nothing is missing without v1")
def test_what_was_tried_for_a_memory_max_is_said(tmp_path):
    gw = Gpuward(tmp_path / "home", GPUWARD_KERNEL_MASK="no_cgroup1")
    try:
        eater(gw, 'memory_max = "64MiB"', "1")
        up = gw("up")
        assert up.returncode == 1 and "apply 'memory_max': no memory controller in cgroup2 '" in up.stderr, up.stderr
        assert "; no memory controller in cgroup v1" in up.stderr
        assert not gw.groups()
    finally:
        gw("down")


def test_without_cgroups_a_service_runs_without_its_cpu_weight_and_says_so(tmp_path):
    gw = Gpuward(tmp_path / "home", GPUWARD_KERNEL_MASK="no_cgroup")
    try:
        eater(gw, "cpu_weight = 50", "1")
        check = gw("check")
        assert check.returncode == 0 and "'cpu_weight' cannot hold here: cgroups are masked" in check.stderr, check.stderr
        service = start(gw)
        assert service["verdict"] == "HEALTHY"
        assert evidence(service, "cpu_weight") == "not in force: cgroups are masked"
        assert "not in force: cgroups are masked" in gw("explain", "eater").stdout
    finally:
        down = gw("down")
    assert down.returncode == 0, down.stderr
