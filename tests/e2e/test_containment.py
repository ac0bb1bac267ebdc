"""The keys 'containment' and 'on_anchor_death': what is wished for is had, or refused; what is to die with its anchor
does."""

import json
import os
import select
import signal
import subprocess
import time
from pathlib import Path

import pytest
from gpuward import BIN, Gpuward, alive, wait_for

ROOT = os.geteuid() == 0


def level_here(tmp_path) -> str:
    gw = Gpuward(tmp_path / "probe")
    assert gw("run", "--detach", "--name", "probe", "--", "sleep", "1000").returncode == 0
    level = gw.service("probe")["containment"]
    assert gw("stop", "probe").returncode == 0
    return level


def skip_without_pid_namespaces():
    prefix = ["unshare", "-pf"] if ROOT else ["unshare", "-Urpf"]
    if (trial := subprocess.run([*prefix, "true"], capture_output=True, text=True)).returncode != 0:
        pytest.skip(f"no PID namespaces here: {trial.stderr.strip()}")


def test_a_cgroup_that_cannot_be_had_refuses_the_start(tmp_path):
    gw = Gpuward(tmp_path / "home", GPUWARD_KERNEL_MASK="no_cgroup")
    run = gw("run", "--containment", "cgroup", "--", "true")
    assert run.returncode == 125 and 'containment = "cgroup" cannot be had here: masked' in run.stderr, run
    gw.configure('[service.a]\ncommand = ["sleep", "1000"]\ncontainment = "cgroup"\n')
    up = gw("up")
    assert up.returncode == 1 and 'containment = "cgroup" cannot be had here: masked' in up.stderr, up
    assert not [r for r in gw.service("a")["replicas"] if r["main_pid"]] and not gw.anchors()
    gw("down")


def test_a_pid_namespace_that_cannot_be_had_refuses_the_start(tmp_path):
    gw = Gpuward(tmp_path / "home", GPUWARD_KERNEL_MASK="no_pid_namespace")
    run = gw("run", "--containment", "pidns", "--", "true")
    assert run.returncode == 125 and 'containment = "pidns" cannot be had here' in run.stderr, run
    assert gw("run", "--containment", "podns", "--", "true").returncode == 2


def test_a_cgroup_is_used_where_one_is_wished_for(gw, tmp_path):
    if level_here(tmp_path) != "cgroup":
        pytest.skip("no right to make cgroups here")
    assert gw("run", "--detach", "--name", "a", "--containment", "cgroup", "--", "sleep", "1000").returncode == 0
    assert gw.service("a")["containment"] == "cgroup"
    assert gw("stop", "a").returncode == 0


def test_no_cgroup_is_used_where_none_is_wished_for(gw):
    gw.configure('[service.a]\ncommand = ["sleep", "1000"]\ncontainment = "subreaper"\n')
    assert gw("up").returncode == 0
    service = gw.service("a")
    assert service["containment"] == "subreaper" and not gw.groups()
    assert {"no cgroup: 'containment' wants none"} == {e["value"] for e in service["evidence"]
                                                       if e["what"] == "containment"}
    assert gw("stop", "a").returncode == 0


FAMILY = """
import os, signal, sys
def own(signal_number):
    if os.fork() == 0:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if os.fork() == 0: signal.pause()
        os.write(1, b"inside %d\\n" % os.getpid())
        signal.pause()
own(0)
while True: signal.pause()
"""


def namespace_of(pid: int) -> str:
    return os.readlink(f"/proc/{pid}/ns/pid")


@pytest.mark.parametrize("mask", ["", "no_cgroup"])
@pytest.mark.parametrize("user", ["ourselves", "nobody"])
def test_a_tree_in_a_pid_namespace_of_its_own(tmp_path, mask, user):
    skip_without_pid_namespaces()
    prefix = ()
    if user == "nobody":
        prefix = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
        if not ROOT or subprocess.run([*prefix, BIN / "gpuward", "--version"], capture_output=True).returncode != 0:
            pytest.skip("needs root to become somebody else, and programs that everybody can reach")
        trial = subprocess.run([*prefix, "unshare", "-Urpf", "true"], capture_output=True, text=True)
        if trial.returncode != 0:
            pytest.skip(f"no user namespaces here: {trial.stderr}")
        for folder in [tmp_path, *list(tmp_path.parents)[:2]]:
            folder.chmod(folder.stat().st_mode | 0o011)
    gw = Gpuward(tmp_path / "home", prefix=prefix, GPUWARD_KERNEL_MASK=mask)
    script = gw.home / "family.py"
    script.write_text(FAMILY)
    gw.configure(f"""
[service.family]
command = ["/usr/bin/python3", "{script}"]
containment = "pidns"
pid_file = "{gw.home}/main.pid"
stop = {{ grace = "200ms" }}
""")
    if user == "nobody":
        for path in [gw.home, *gw.home.rglob("*")]:
            os.chown(path, 65534, 65534)
    up = gw("up")
    assert up.returncode == 0, up
    wait_for(lambda: "inside" in gw.log("family"), why=gw.log("family"))
    assert int(gw.log("family").split()[1]) < 20, "the number it has inside"
    service = gw.service("family")
    replica = service["replicas"][0]
    main = replica["main_pid"]
    assert service["containment"] == "pidns"
    assert service["verdict"] == "HEALTHY" and replica["processes"] == 3, service
    assert int((gw.home / "main.pid").read_text()) == main, "the number of the host"
    assert namespace_of(main) != namespace_of(os.getpid())
    pids = [p["pid"] for p in replica["tree"]]
    told = gw("status", "family").stdout
    assert "mean others outside its namespace" in told, told
    assert "process numbers" in gw("explain", "family").stdout
    stop = gw("stop", "--json", "family")
    assert stop.returncode == 0, stop
    receipt = json.loads(stop.stdout)["receipts"][0]
    assert receipt["processes_ended"] == 3 and receipt["forced"] and receipt["survivors"] == [], receipt
    assert not [pid for pid in pids if alive(pid)]
    start = gw("start", "family")
    assert start.returncode == 0, start
    assert gw("restart", "family").returncode == 0
    down = gw("down")
    assert down.returncode == 0, down
    assert not gw.anchors()


def test_exit_codes_come_out_of_a_pid_namespace(gw):
    skip_without_pid_namespaces()
    for command, code in ([["sh", "-c", "exit 7"], 7], [["sh", "-c", "kill -9 $$"], 137], [["/nonexistent"], 127]):
        done = gw("run", "--containment", "pidns", "--", *command)
        assert done.returncode == code, (command, done)
    assert not gw.anchors()


@pytest.mark.parametrize("mask", ["", "no_cgroup"])
def test_a_namespace_outlives_its_anchor_and_proves_its_end(tmp_path, mask):
    skip_without_pid_namespaces()
    gw = Gpuward(tmp_path / "home", GPUWARD_KERNEL_MASK=mask)
    script = gw.home / "family.py"
    script.write_text(FAMILY)
    gw.configure(f'[service.family]\ncommand = ["/usr/bin/python3", "{script}"]\ncontainment = "pidns"\n'
                 f'stop = {{ grace = "200ms" }}\n')
    assert gw("up").returncode == 0
    wait_for(lambda: "inside" in gw.log("family"))
    before = gw.service("family")["replicas"][0]
    pids = [p["pid"] for p in before["tree"]]
    for pid in (gw.status()["warden"]["pid"], before["anchor_pid"]):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not gw.anchors(), why="the anchor is gone")
    assert {p["pid"] for p in gw.service("family")["replicas"][0]["tree"]} == set(pids)
    os.kill(before["main_pid"], signal.SIGKILL)  # now nobody but the namespace knows the others
    wait_for(lambda: not alive(before["main_pid"]))
    assert gw("run", "--name", "family", "--", "true").returncode == 125, "no second copy beside it"
    stop = gw("stop", "family")
    assert stop.returncode == 0 and "none left" in stop.stdout, stop
    assert not [pid for pid in pids if alive(pid)]
    gw("down")


KILLED = """
[service.family]
command = ["/usr/bin/python3", "{script}"]
on_anchor_death = "kill"
containment = "{containment}"
restart = "{restart}"
stop = {{ grace = "200ms" }}
backoff = {{ first = "10ms", max = "1s" }}
"""


def gone_after(gw: Gpuward, pids: list[int]) -> float:
    """Milliseconds from the kill of the anchor until the last of these has ended."""
    anchor = gw.service("family")["replicas"][0]["anchor_pid"]
    held = [os.pidfd_open(pid) for pid in pids]
    begun = time.monotonic()
    os.kill(anchor, signal.SIGKILL)
    for fd in held:
        ended = select.poll()
        ended.register(fd, select.POLLIN)
        assert ended.poll(5000), "it was to die with its anchor"
    took = (time.monotonic() - begun) * 1000
    for fd in held:
        os.close(fd)
    return took


@pytest.mark.parametrize("containment, warden", [("auto", True), ("subreaper", True), ("pidns", True),
                                                 ("pidns", False)])
def test_a_tree_that_is_to_die_with_its_anchor_does(gw, containment, warden):
    if containment == "pidns":
        skip_without_pid_namespaces()
    script = gw.home / "family.py"
    script.write_text(FAMILY)
    gw.configure(KILLED.format(script=script, containment=containment, restart="always"))
    assert gw("up").returncode == 0
    took = []
    for _ in range(5 if warden else 1):
        wait_for(lambda: gw.service("family")["verdict"] == "HEALTHY"
                 and gw.service("family")["replicas"][0]["processes"] == 3, why="it is up")
        if not warden:
            os.kill(gw.status()["warden"]["pid"], signal.SIGKILL)
            wait_for(lambda: gw.status()["warden"] is None)
        took.append(gone_after(gw, [p["pid"] for p in gw.service("family")["replicas"][0]["tree"]]))
    took.sort()
    print(f"anchor killed to tree gone, ms: {took}")
    # The promise is 5 ms; the machine that runs this may be busy with others.
    assert took[len(took) // 2] < 20, took
    if not warden:
        assert gw.service("family")["verdict"] == "FAILED"
        gw("up")  # it may be backing off for a moment
    wait_for(lambda: gw.service("family")["verdict"] == "HEALTHY", why="'restart' says that it starts again")
    stop = gw("stop", "family")
    # Whoever was found still dying is ended by the next anchor, which cannot know who got lost without a cgroup.
    assert stop.returncode in ((0, 4) if containment == "subreaper" else (0,)), stop


@pytest.mark.parametrize("containment", ["auto", "subreaper"])
def test_never_restarted_means_that_it_stays_dead(gw, containment):
    script = gw.home / "family.py"
    script.write_text(FAMILY)
    gw.configure(KILLED.format(script=script, containment=containment, restart="never"))
    assert gw("up").returncode == 0
    wait_for(lambda: gw.service("family")["replicas"][0]["processes"] == 3)
    gone_after(gw, [p["pid"] for p in gw.service("family")["replicas"][0]["tree"]])
    service = wait_for(lambda: gw.service("family")["verdict"] == "FAILED" and gw.service("family"))
    assert "its anchor died" in service["sentence"], service
    events = gw("events").stdout
    assert "tree-killed" in events, events


def test_a_tree_that_was_to_die_is_ended_by_whoever_finds_it(gw):
    script = gw.home / "family.py"
    script.write_text(FAMILY)
    gw.configure(KILLED.format(script=script, containment="subreaper", restart="never"))
    assert gw("up").returncode == 0
    wait_for(lambda: gw.service("family")["replicas"][0]["processes"] == 3)
    replica = gw.service("family")["replicas"][0]
    for pid in (gw.status()["warden"]["pid"], replica["anchor_pid"]):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not gw.anchors())
    assert alive(replica["main_pid"]), "nobody was there to end it: that is what check warns of"
    gw("up")
    wait_for(lambda: not [p["pid"] for p in replica["tree"] if alive(p["pid"])], why="found, it is ended")
    service = wait_for(lambda: gw.service("family")["verdict"] == "FAILED" and gw.service("family"))
    assert "its anchor died" in service["sentence"], service


def test_check_says_where_a_death_is_not_promised(gw):
    gw.configure(KILLED.format(script="/x", containment="auto", restart="never"))
    check = gw("check")
    assert check.returncode == 0 and "only while the warden lives" in check.stdout, check
    gw.configure(KILLED.format(script="/x", containment="pidns", restart="never"))
    assert "only while the warden lives" not in gw("check").stdout
