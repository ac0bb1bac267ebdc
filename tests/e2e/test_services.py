"""The warden: services from TOML, from start to proof."""

import json
import os
import resource
import select
import signal
import socket
import subprocess
import uuid

import pytest
from gpuward import BIN, alive, end, wait_for

WEB = """
[service.web]
command = ["python3", "-m", "http.server", "{port}", "--bind", "127.0.0.1"]
ready = { http = "/", within = "20s" }
"""
SLEEPER = """
[service.sleeper]
command = ["sleep", "1000"]
"""


def test_a_service_from_start_to_proof(gw):
    gw.configure(WEB)
    up = gw("up")
    assert up.returncode == 0, up.stderr
    assert "web: ready" in up.stdout
    web = gw.service("web")
    assert web["verdict"] == "HEALTHY"
    assert {"readiness", "main"} <= {fact["what"] for fact in web["evidence"]}
    port = int(web["replicas"][0]["endpoint"].rsplit(":", 1)[1])
    assert gw("start", "web").returncode == 0  # idempotent
    assert gw.service("web")["replicas"][0]["main_pid"] == web["replicas"][0]["main_pid"]
    stopped = gw("stop", "--json", "web")
    assert stopped.returncode == 0, stopped.stderr
    receipt = json.loads(stopped.stdout)["receipts"][0]
    assert receipt["ports_freed"] == [port]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=2)
    assert gw.service("web")["verdict"] == "STOPPED"
    assert gw("down").returncode == 0
    assert gw.status()["warden"] is None


def test_up_is_idempotent_and_down_ends_all(gw):
    gw.configure(WEB)
    assert gw("up").returncode == 0
    pid = gw.status()["warden"]["pid"]
    assert gw("up").returncode == 0
    assert gw.status()["warden"]["pid"] == pid
    assert gw("down").returncode == 0
    assert gw("start", "web").returncode == 5


def test_services_survive_the_warden_and_are_adopted(gw):
    gw.configure(WEB)
    assert gw("up").returncode == 0
    before = gw.service("web")["replicas"][0]
    warden = gw.status()["warden"]["pid"]
    os.kill(warden, signal.SIGKILL)
    wait_for(lambda: gw.status()["warden"] is None, why="the warden is gone")
    assert gw.service("web")["verdict"] == "HEALTHY"
    assert gw("up").returncode == 0
    after = gw.service("web")["replicas"][0]
    assert (after["main_pid"], after["anchor_pid"]) == (before["main_pid"], before["anchor_pid"])


def replica_of(gw, name: str) -> dict:
    return (gw.service(name)["replicas"] or [{"generation": 0, "anchor_pid": None, "main_pid": None}])[0]


def test_a_restart_is_not_judged_by_the_life_before_it(gw):
    gw.configure(SLEEPER + 'backoff = { first = "1h", max = "1h" }')
    assert gw("up").returncode == 0
    for word in ("restart", "start"):  # whoever asks does not wait for the next try either
        before = replica_of(gw, "sleeper")
        os.kill(before["main_pid"], signal.SIGKILL)
        done = gw(word, "sleeper")
        assert done.returncode == 0, done.stderr
        after = gw.service("sleeper")
        assert after["verdict"] == "HEALTHY" and after["replicas"][0]["main_pid"] != before["main_pid"]
        os.kill(after["replicas"][0]["main_pid"], signal.SIGKILL)
        wait_for(lambda: gw.service("sleeper")["verdict"] == "BACKING_OFF")
        done = gw(word, "sleeper")
        assert done.returncode == 0, done.stderr


def test_a_start_during_a_stop_begins_when_that_has_ended(gw):
    gw.configure("""
[service.deaf]
command = ["sh", "-c", "trap '' TERM; echo up; while :; do sleep 1000 & wait; done"]
stop = { grace = "500ms" }
""")
    assert gw("up").returncode == 0
    wait_for(lambda: "up" in gw.log("deaf"))
    before = replica_of(gw, "deaf")
    stop = gw.popen("stop", "deaf")
    wait_for(lambda: gw.service("deaf")["verdict"] == "DRAINING", why="the stop is under way")
    start = gw("start", "deaf")
    assert start.returncode == 0, start.stderr
    assert stop.wait(20) == 0
    assert not alive(before["main_pid"]) and alive(replica_of(gw, "deaf")["main_pid"])


def test_up_beside_a_warden_that_is_just_dying(gw):
    gw.configure(SLEEPER)
    assert gw("up").returncode == 0
    for _ in range(20):
        os.kill(gw.status()["warden"]["pid"], signal.SIGKILL)
        up = gw("up")
        assert up.returncode == 0, up.stderr
        assert gw.status()["warden"] is not None


def test_what_processes_call_themselves_is_valid_utf8_and_harmless(gw):
    nasty = b"\xff\x1b[2J\xe2\x80\xaeend"
    run = subprocess.run([BIN / "gpuward", "run", "--detach", "--name", "nasty", "--", "sh", "-c", "sleep 1000; :", nasty],
                         env=gw.env, capture_output=True, check=False)
    assert run.returncode == 0, run.stderr
    for words in (["status", "nasty"], ["status", "--json"]):
        seen = subprocess.run([BIN / "gpuward", *words], env=gw.env, capture_output=True, check=True).stdout
        assert "\x1b" not in seen.decode()
        assert "end" in seen.decode()
    refused = gw("status", "a\x1b[2J")
    assert refused.returncode == 2
    assert "'a?[2J' cannot be the name of a service" in refused.stderr


def test_a_detached_run_is_found_by_a_later_up(gw):
    assert gw("run", "--detach", "--name", "mine", "--", "sleep", "1000").returncode == 0
    assert gw("up").returncode == 0
    assert gw.service("mine")["verdict"] == "HEALTHY"
    assert gw("stop", "mine").returncode == 0


def test_a_running_warden_sees_what_is_run_beside_it(gw):
    gw.configure(SLEEPER + "autostart = false")
    assert gw("up").returncode == 0
    pids = []
    for name in ("guest", "sleeper"):  # a name of its own, and one that the warden knows as not running
        assert gw("run", "--detach", "--name", name, "--", "sleep", "1000").returncode == 0
        assert gw.service(name)["verdict"] == "HEALTHY"
        pids.append(replica_of(gw, name)["main_pid"])
    start = gw("start", "sleeper")
    assert start.returncode == 0 and replica_of(gw, "sleeper")["main_pid"] == pids[1]  # no second copy
    stop = gw("stop", "guest")
    assert stop.returncode == 0 and "ended 1 process" in stop.stdout, stop.stderr
    assert not alive(pids[0])
    assert gw("run", "--detach", "--name", "guest", "--", "sleep", "1000").returncode == 0  # once more
    down = gw("down")
    assert down.returncode == 0 and down.stdout.count("ended 1 process") == 2, down.stdout + down.stderr
    assert not alive(pids[1]) and not gw.anchors()


def test_a_crash_is_restarted_with_back_off_from_an_empty_tree(gw):
    gw.configure("""
[service.phoenix]
command = ["sh", "-c", "sleep 1000 & echo generation $$; wait"]
backoff = { first = "50ms", max = "1s" }
""")
    assert gw("up").returncode == 0
    first = gw.service("phoenix")["replicas"][0]
    old = [process["pid"] for process in first["tree"]]
    os.kill(first["main_pid"], signal.SIGKILL)
    wait_for(lambda: gw.service("phoenix")["replicas"] and gw.service("phoenix")["replicas"][0]["generation"] == 2
             and gw.service("phoenix")["verdict"] == "HEALTHY", why=gw.log("phoenix"))
    assert not [pid for pid in old if alive(pid)]


def test_a_service_that_ends_at_once_fails_with_its_reason(gw):
    gw.configure("""
[service.broken]
command = ["sh", "-c", "echo no model here; exit 3"]
ready = { tcp = "127.0.0.1:1", within = "5s" }
autostart = false
""")
    assert gw("up").returncode == 0
    start = gw("start", "broken")
    assert start.returncode == 1
    assert "exited with code 3" in start.stderr
    assert gw.service("broken")["verdict"] == "FAILED"
    wait_for(lambda: not gw.anchors(), why="the anchor is gone")


def test_not_ready_in_time_is_said_and_leaves_nothing(gw):
    gw.configure("""
[service.slow]
command = ["sleep", "1000"]
ready = { tcp = "127.0.0.1:1", within = "300ms" }
autostart = false
""")
    assert gw("up").returncode == 0
    start = gw("start", "slow")
    assert start.returncode == 1
    assert "not ready within 300 ms" in start.stderr
    wait_for(lambda: not gw.anchors(), why="the anchor is gone")


def test_a_taken_port_names_its_holder(gw):
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        gw.configure(f"""
[service.late]
command = ["sleep", "1000"]
ready = {{ tcp = "127.0.0.1:{port}" }}
""")
        up = gw("up")
        assert up.returncode == 1
        assert f"port {port} is taken by pid {os.getpid()}" in up.stderr
        assert not gw.anchors()
        down = gw("down")
        assert down.returncode == 0, down.stderr  # what never started is no doubt about what is left


def test_a_wrong_directory_names_the_step(gw):
    gw.configure("""
[service.lost]
command = ["true"]
directory = "/nonexistent/folder"
""")
    up = gw("up")
    assert up.returncode == 1
    assert "could not change to its directory '/nonexistent/folder': No such file or directory" in up.stderr


def test_check_prints_every_problem_with_its_place(gw):
    gw.configure("""[service.a]
comand = ["true"]
stop = { grace = "10" }
""")
    check = gw("check")
    assert check.returncode == 1
    assert "services.toml:2:1" in check.stderr and "did you mean 'command'" in check.stderr
    assert "services.toml:3:" in check.stderr and "^" in check.stderr
    for _ in range(20):  # the warden may have ended before its starter looks at it
        up = gw("up")
        assert up.returncode == 1 and "services.toml:2:1" in up.stderr, up.stderr
    assert gw.status()["warden"] is None


def test_a_service_that_needed_kill_lives_in_its_next_generation(gw):
    """The kernel (6.14 and later) kills what clone3 puts into a cgroup after cgroup.kill was used on it."""
    gw.configure("""
[service.deaf]
command = ["sh", "-c", "trap '' TERM; echo generation $$; while :; do sleep 1000; done"]
stop = { grace = "100ms" }
restart = "never"
""")
    assert gw("up").returncode == 0
    for generation in (2, 3):
        restart = gw("restart", "deaf")
        assert restart.returncode == 0, restart.stderr
        assert "KILL was needed" in restart.stdout
        wait_for(lambda: gw.log("deaf").count("generation") == generation, why=gw.log("deaf"))
        service = gw.service("deaf")
        assert (service["verdict"], service["replicas"][0]["generation"]) == ("HEALTHY", generation)


def test_restart_gives_a_new_generation_and_a_receipt(gw):
    gw.configure(WEB)
    assert gw("up").returncode == 0
    old = gw.service("web")["replicas"][0]["main_pid"]
    restart = gw("restart", "web")
    assert restart.returncode == 0, restart.stderr
    assert "ended 1 process" in restart.stdout
    new = gw.service("web")["replicas"][0]
    assert new["main_pid"] != old and new["generation"] == 2


def test_logs_show_the_last_lines(gw):
    gw.configure("""
[service.talk]
command = ["sh", "-c", "seq 1 100; exec sleep 1000"]
""")
    assert gw("up").returncode == 0
    wait_for(lambda: "100\n" in gw.log("talk"), why="it printed")
    assert gw("logs", "-n", "3", "talk").stdout == "98\n99\n100\n"
    missing = gw("logs", "nobody")
    assert missing.returncode == 1 and "nobody: has printed nothing yet, or is no service" in missing.stderr


def test_an_idle_anchor_does_not_wake_up(gw):
    gw.configure(WEB)
    assert gw("up").returncode == 0
    anchor = gw.service("web")["replicas"][0]["anchor_pid"]

    def switches():
        text = open(f"/proc/{anchor}/status").read()
        return sum(int(line.split()[1]) for line in text.splitlines() if "ctxt_switches" in line)

    def quiet():
        before = switches()
        select.select([], [], [], 0.5)  # the thing measured is half a second without an event
        return switches() == before

    wait_for(quiet, 10, "half a second without a wake-up")


def test_containers_are_never_called_proven(gw, tmp_path):
    fake = tmp_path / "podman"
    fake.write_text("#!/bin/sh\nexec sleep 1000\n")
    fake.chmod(0o755)
    assert gw("run", "--detach", "--name", "box", "--", str(fake)).returncode == 0
    stop = gw("stop", "box")
    assert stop.returncode == 4
    assert "not proven" in stop.stderr


@pytest.mark.parametrize("order", ["stop", "start", "restart"])
def test_a_name_given_twice_is_one_order(gw, order):
    gw.configure(SLEEPER)
    assert gw("up").returncode == 0
    done = gw(order, "sleeper", "sleeper", timeout=20)
    assert done.returncode == 0, done.stderr


def test_a_warden_that_ran_out_of_descriptors_answers_again(gw):
    gw.configure(SLEEPER)
    assert gw("up").returncode == 0
    warden = gw.status()["warden"]["pid"]
    before = resource.prlimit(warden, resource.RLIMIT_NOFILE)
    used = set(map(int, os.listdir(f"/proc/{warden}/fd")))
    resource.prlimit(warden, resource.RLIMIT_NOFILE, (min(set(range(1000)) - used), before[1]))
    waiting = gw.popen("status", "--json")
    wait_for(lambda: "could not be accepted" in (gw.home / "log/gpuwardd.log").read_text(), why="it says so")
    resource.prlimit(warden, resource.RLIMIT_NOFILE, before)
    out, err = waiting.communicate(timeout=20)
    assert json.loads(out)["warden"]["pid"] == warden, err
    assert gw("stop", "sleeper").returncode == 0


def test_a_warden_that_answers_nobody_is_not_waited_for_for_ever(gw):
    gw.configure(SLEEPER)
    assert gw("up").returncode == 0
    warden = gw.status()["warden"]["pid"]
    os.kill(warden, signal.SIGSTOP)
    try:
        stop = gw("stop", "sleeper", timeout=30)
    finally:
        os.kill(warden, signal.SIGCONT)
    assert stop.returncode == 5 and "the warden answers nobody" in stop.stderr, stop


def test_up_starts_again_what_was_stopped(gw):
    gw.configure(SLEEPER)
    assert gw("up").returncode == 0
    assert gw("stop", "sleeper").returncode == 0
    again = gw("up")
    assert again.returncode == 0, again.stderr
    assert gw.service("sleeper")["verdict"] == "HEALTHY"


def test_the_files_of_up_c_are_remembered_until_down(gw, tmp_path):
    other = tmp_path / "other.toml"
    other.write_text(SLEEPER.replace("service.sleeper", "service.other"))
    gw.configure(SLEEPER)
    assert gw("up", "-c", "other.toml", cwd=tmp_path).returncode == 0
    os.kill(gw.status()["warden"]["pid"], signal.SIGKILL)
    wait_for(lambda: gw.status()["warden"] is None, why="the warden is gone")
    assert gw("up").returncode == 0
    assert [s["name"] for s in gw.status()["services"]] == ["other"]
    assert gw("restart", "other").returncode == 0, "it is still configured"
    assert gw("down").returncode == 0
    assert gw("up").returncode == 0
    assert gw.service("sleeper")["verdict"] == "HEALTHY"


def test_a_mistake_in_the_files_of_up_c_is_not_remembered(gw, tmp_path):
    gw.configure(SLEEPER)
    broken = tmp_path / "broken.toml"
    broken.write_text("colour = ")
    assert gw("up", "-c", str(broken)).returncode == 1
    assert gw("up").returncode == 0
    assert gw.service("sleeper")["verdict"] == "HEALTHY"
    other = gw("up", "-c", str(broken))
    assert other.returncode == 1 and "keeps its files" in other.stderr


def test_a_service_has_the_umask_of_whoever_said_up(gw):
    gw.configure("""
[service.mask]
command = ["sh", "-c", "umask; exec sleep 1000"]
""")
    assert gw("up", umask=0o027).returncode == 0
    wait_for(lambda: gw.log("mask"))
    assert gw.log("mask").split() == ["0027"]


def test_after_a_reboot_what_ran_is_stopped_and_its_pids_are_nobody_s(gw):
    gw.configure(SLEEPER.replace("[service.sleeper]", "[service.sleeper]\nautostart = false"))
    assert gw("up").returncode == 0 and gw("start", "sleeper").returncode == 0
    replica = gw.service("sleeper")["replicas"][0]
    for pid in (gw.status()["warden"]["pid"], replica["anchor_pid"]):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: gw.status()["warden"] is None and not gw.anchors(), why="all of gpuward is gone")
    record = gw.home / "run/anchors/sleeper.0/record"
    boot = open("/proc/sys/kernel/random/boot_id").read().strip()
    record.write_bytes(record.read_bytes().replace(boot.encode(), str(uuid.uuid4()).encode()))
    try:
        for _ in range(2):  # without a warden, then with one
            sleeper = gw.service("sleeper")
            assert (sleeper["verdict"], sleeper["sentence"]) == ("STOPPED", "stopped; by a reboot")
            assert sleeper["replicas"] == []
            assert gw("up").returncode == 0
        assert alive(replica["main_pid"]), "a number of another boot is no claim on a process of this one"
    finally:
        end(replica["main_pid"])
        wait_for(lambda: not alive(replica["main_pid"]))
        for group in gw.groups():  # no reboot would have left it
            group.rmdir()


def test_two_that_wait_for_one_end_both_see_the_new_beginning(gw):
    deaf = gw.home / "deaf.sh"
    deaf.write_text("trap '' TERM; echo up; while :; do sleep 1000 & wait; done")
    gw.configure(f"""
[service.deaf]
command = ["sh", "{deaf}"]
stop = {{ grace = "1s" }}
""")
    assert gw("up").returncode == 0
    wait_for(lambda: "up" in gw.log("deaf"))
    stop = gw.popen("stop", "deaf")
    wait_for(lambda: gw.service("deaf")["verdict"] == "DRAINING", why="the stop is under way")
    waiting = [gw.popen(order, "deaf") for order in ("start", "restart", "start")]
    for process in [stop, *waiting]:
        out, err = process.communicate(timeout=20)
        assert process.returncode == 0, (process.args, out, err)
    assert gw.service("deaf")["verdict"] == "HEALTHY"


def test_the_last_of_many_orders_wins(gw):
    deaf = gw.home / "deaf.sh"
    deaf.write_text("trap '' TERM; echo up; while :; do sleep 1000 & wait; done")
    gw.configure(f"""
[service.deaf]
command = ["sh", "{deaf}"]
stop = {{ grace = "500ms" }}
""")
    assert gw("up").returncode == 0
    wait_for(lambda: "up" in gw.log("deaf"))
    orders = []
    for order in ("stop", "start", "stop", "start"):
        orders.append(gw.popen(order, "deaf"))
        wait_for(lambda: gw.service("deaf")["verdict"] == "DRAINING", why="each comes while the first end is under way")
    for process in orders:
        out, err = process.communicate(timeout=20)
        assert process.returncode == 0, (process.args, out, err)
    assert gw.service("deaf")["verdict"] == "HEALTHY"
