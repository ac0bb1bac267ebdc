"""gpuward run: one anchor and one tree, without a warden."""

import json
import os
import select
import signal
import struct

import pytest
from gpuward import Gpuward, alive, end, wait_for


def pids_in(text: str) -> list[int]:
    return [int(line.split()[1]) for line in text.splitlines() if line.startswith("pid ")]


def test_passes_output_and_exit_code_through(gw):
    done = gw("run", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert done.returncode == 7
    assert "out\n" in done.stdout and "err\n" in done.stdout
    assert not list((gw.home / "run/anchors").iterdir())


@pytest.mark.parametrize("command, code, text", [
    (["/nonexistent"], 127, "could not execute '/nonexistent': No such file or directory"),
    (["/etc/passwd"], 126, "could not execute '/etc/passwd': Permission denied"),
    (["sh", "-c", "kill -9 $$"], 137, ""),
    (["true"], 0, ""),
])
def test_exit_codes(gw, command, code, text):
    done = gw("run", "--", *command)
    assert done.returncode == code
    assert text in done.stdout + done.stderr


def test_usage_error_is_2(gw):
    assert gw("run").returncode == 2
    unknown = gw("statsu")
    assert unknown.returncode == 2
    assert "unknown command 'statsu'; did you mean 'status'?" in unknown.stderr
    assert gw("--help").returncode == 0


LEFTOVERS = """
import os, sys, signal
def say(text): os.write(1, (text + "\\n").encode())  # one write: lines of two processes never mix
def child(deaf):
    if os.fork() == 0:
        os.setsid()
        if deaf: signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if os.fork() == 0:
            if deaf: signal.signal(signal.SIGTERM, signal.SIG_IGN)
            say("pid %d" % os.getpid())
            while True: signal.pause()
        say("pid %d" % os.getpid())
        while True: signal.pause()
for n in range(3): child(False)
say("started")
"""


def test_children_that_left_session_and_parent_go_with_main(gw):
    done = gw("run", "--name", "left", "--", "python3", "-c", LEFTOVERS + "sys.exit(3)")
    assert done.returncode == 3
    pids = pids_in(done.stdout)
    assert len(pids) == 6
    assert not [pid for pid in pids if alive(pid)]
    assert "left: ended 7 processes" in done.stderr, "what main left behind is told, though nobody asked to stop"


def test_a_detached_tree_is_seen_stopped_and_proven_without_a_warden(gw):
    pid_file = gw.home / "main.pid"
    done = gw("run", "--detach", "--name", "tree", "--pid-file", str(pid_file), "--", "python3", "-c",
              LEFTOVERS + "signal.pause()")
    assert done.returncode == 0, done.stderr
    wait_for(lambda: len(pids_in(gw.log("tree"))) == 6 and "started" in gw.log("tree"), why=gw.log("tree"))
    report = gw.service("tree")
    assert report["verdict"] == "HEALTHY"
    assert report["replicas"][0]["processes"] == 7
    main = report["replicas"][0]["main_pid"]
    assert int(pid_file.read_text()) == main
    stopped = gw("stop", "--json", "tree")
    assert stopped.returncode == 0, stopped.stderr
    receipt = json.loads(stopped.stdout)["receipts"][0]
    assert receipt["processes_ended"] == 7 and receipt["survivors"] == [] and not receipt["forced"]
    assert not [pid for pid in pids_in(gw.log("tree")) if alive(pid)]
    assert not pid_file.exists()


def test_control_c_ends_the_tree_and_twice_ends_it_at_once(gw):
    run = gw.popen("run", "--name", "deaf", "--", "python3", "-c",
                   "import signal; signal.signal(15, signal.SIG_IGN); print('up', flush=True)\nwhile True: signal.pause()")
    wait_for(lambda: "up" in gw.log("deaf"), why="the service printed")
    main = gw.service("deaf")["replicas"][0]["main_pid"]
    run.send_signal(signal.SIGINT)
    wait_for(lambda: gw.service("deaf")["verdict"] == "DRAINING", why="the stop began")
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=10)
    assert run.returncode == 137, err
    assert "KILL was needed" in err
    assert not alive(main)


def test_a_kill_of_the_front_leaves_the_service_alive(gw):
    run = gw.popen("run", "--name", "orphan", "--", "sleep", "1000")
    wait_for(lambda: gw.status()["services"], why="the anchor is seen")
    main = gw.service("orphan")["replicas"][0]["main_pid"]
    run.kill()
    run.communicate()
    assert alive(main)
    assert gw("stop", "orphan").returncode == 0
    assert not alive(main)


def test_twelve_at_once_get_a_name_and_a_folder_each(gw):
    runs = [gw.popen("run", "--", "sh", "-c", f"exit {n}") for n in range(12)]
    ends = [(run.communicate(timeout=60), run.returncode) for run in runs]
    assert [code for _, code in ends] == list(range(12)), [said for said in ends if any(said[0])]
    assert not list((gw.home / "run/anchors").iterdir())


def test_a_name_that_somebody_else_was_quicker_to_take_is_left_to_it(gw):
    """As between the choice and the start: it looks free, and is not."""
    assert gw("run", "--detach", "--", "sleep", "1000").returncode == 0
    first = gw.service("sleep")["replicas"][0]
    lock = gw.home / "run/anchors/sleep.0/lock"
    lock.unlink()
    lock.touch(mode=0o600)
    try:
        second = gw("run", "--", "sleep", "0")
        assert second.returncode == 0, second.stderr
        assert alive(first["main_pid"]) and alive(first["anchor_pid"])
        named = gw("run", "--name", "sleep", "--", "sleep", "0")
        assert named.returncode == 125 and "its anchor lives" in named.stderr, "who names it wants no other"
        assert [f.name for f in (gw.home / "run/anchors").iterdir()] == ["sleep.0"]
    finally:
        end(first["anchor_pid"])
        end(first["main_pid"])
        wait_for(lambda: not alive(first["anchor_pid"]) and not alive(first["main_pid"]))


def test_an_environment_that_does_not_fit_the_record_is_refused(gw):
    gw.env["BIG"] = "x" * 60_000
    refused = gw("run", "--detach", "--name", "big", "--", "sleep", "1000")
    assert refused.returncode == 125
    assert "command and environment take more than 54 KiB" in refused.stderr and "most of them in BIG" in refused.stderr
    rest = sum(len(name) + len(value) + 2 for name, value in gw.env.items() if name != "BIG")
    gw.env["BIG"] = "x" * (52_000 - rest)
    assert gw("run", "--detach", "--name", "big", "--", "sleep", "1000").returncode == 0
    assert gw.service("big")["verdict"] == "HEALTHY"
    assert gw("stop", "big").returncode == 0


def test_the_pid_file_goes_with_main_and_a_fifo_in_its_place_harms_nobody(gw, tmp_path):
    pid_file = tmp_path / "main.pid"
    gw.configure(f"""
[service.flaky]
command = ["sh", "-c", "echo up; read line < {tmp_path}/gate; exit 3"]
pid_file = "{pid_file}"
backoff = {{ first = "1h", max = "1h" }}
""")
    os.mkfifo(tmp_path / "gate")
    assert gw("up").returncode == 0
    assert int(pid_file.read_text()) == gw.service("flaky")["replicas"][0]["main_pid"]
    (tmp_path / "gate").write_text("go\n")
    wait_for(lambda: gw.service("flaky")["verdict"] == "BACKING_OFF")
    assert not pid_file.exists(), "a number that may be somebody else's"
    assert gw("start", "flaky").returncode == 0
    pid_file.unlink()
    os.mkfifo(pid_file)
    assert gw("stop", "flaky").returncode == 0


def test_a_name_is_taken_once(gw):
    assert gw("run", "--detach", "--name", "one", "--", "sleep", "1000").returncode == 0
    again = gw("run", "--detach", "--name", "one", "--", "sleep", "1000")
    assert again.returncode == 125
    assert "'one' runs already" in again.stderr
    assert gw("run", "--name", "no/slash", "--", "true").returncode == 125


def test_nothing_is_lost_between_many_lines(gw):
    done = gw("run", "--name", "chatty", "--", "sh", "-c", "seq 1 200000")
    assert done.returncode == 0
    assert done.stdout == "".join(f"{n}\n" for n in range(1, 200001))


def may_make_cgroups(tmp_path) -> bool:
    """What this machine gives without a mask: otherwise a mask would hide nothing."""
    gw = Gpuward(tmp_path / "unmasked")
    assert gw("run", "--detach", "--name", "probe", "--", "sleep", "1000").returncode == 0
    level = gw.service("probe")["containment"]
    assert gw("stop", "probe").returncode == 0
    return level == "cgroup"


@pytest.mark.parametrize("mask", ["no_cgroup", "no_cgroup2", "no_pidfd", "no_cgroup_kill,no_cgroup_freeze",
                                  "no_clone_into_cgroup", "no_cgroup,no_pidfd,no_proc_children"])
def test_every_fall_back_says_its_level(tmp_path, mask):
    gw = Gpuward(tmp_path / "home", GPUWARD_KERNEL_MASK=mask)
    assert gw("run", "--detach", "--name", "tree", "--", "sleep", "1000").returncode == 0
    level = gw.service("tree")["containment"]
    said = [e["value"] for e in gw.service("tree")["evidence"] if e["what"] == "containment"]
    assert len(said) == (level == "subreaper"), said
    assert level == ("subreaper" if "no_cgroup," in mask + "," or not may_make_cgroups(tmp_path) else "cgroup")
    assert gw("stop", "tree").returncode == 0


def test_asking_again_makes_no_grace_longer(gw):
    hostile = LEFTOVERS.replace("child(False)", "child(True)") + "signal.pause()"
    gw.configure(f"[service.tree]\ncommand = ['python3', '-c', '''{hostile}''']\nstop = {{ grace = '2s' }}\n")
    assert gw("up").returncode == 0
    wait_for(lambda: len(pids_in(gw.log("tree"))) == 6 and "started" in gw.log("tree"), why="the tree is up")
    process = gw.popen("stop", "--json", "tree")
    wait_for(lambda: gw.service("tree")["verdict"] == "DRAINING", why="the stop began")
    for anchor in gw.anchors():
        os.kill(anchor, signal.SIGTERM)  # the same grace again
    out, err = process.communicate(timeout=40)
    assert process.returncode == 0, err
    receipt = json.loads(out)["receipts"][0]
    assert receipt["forced"] and 2 <= receipt["duration_seconds"] < 3.5, receipt
    assert not [pid for pid in pids_in(gw.log("tree")) if alive(pid)]


def in_record(gw, name: str, pid: int) -> bool:
    """Does the record of NAME list PID as a member: pid and start time, packed?"""
    stat = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    record = gw.home / f"run/anchors/{name}.0/record"
    return struct.pack("<IQ", pid, int(stat[19])) in record.read_bytes()


# Main forks a child whose parent ends at once; when told to, one that stays its own. DEAF: they do not hear TERM.
STRAYS = """
import os, signal
def say(text): os.write(1, (text + "\\n").encode())
def own(*ignored):
    if os.fork() == 0: live()
def live():
    os.setsid()
    if "DEAF" in os.environ: signal.signal(signal.SIGTERM, signal.SIG_IGN)
    say("pid %d" % os.getpid())
    while True: signal.pause()
signal.signal(signal.SIGUSR1, own)
if os.fork() == 0:
    if os.fork() == 0: live()
    os._exit(0)
os.wait()
while True: signal.pause()
"""


@pytest.mark.parametrize("mask", ["no_cgroup", "no_cgroup,no_pidfd", "no_cgroup,no_proc_children"])
def test_a_tree_without_a_cgroup_is_taken_over_as_far_as_it_was_seen(tmp_path, mask):
    gw = Gpuward(tmp_path / "home", GPUWARD_KERNEL_MASK=mask)
    assert gw("run", "--detach", "--name", "strays", "--", "python3", "-c", STRAYS).returncode == 0
    wait_for(lambda: len(pids_in(gw.log("strays"))) == 1, why="the stray lives")
    stray = pids_in(gw.log("strays"))[0]
    wait_for(lambda: in_record(gw, "strays", stray), why="the stray is on record")
    replica = gw.service("strays")["replicas"][0]
    os.kill(replica["anchor_pid"], signal.SIGKILL)
    wait_for(lambda: not gw.anchors(), why="the anchor is gone")
    assert {p["pid"] for p in gw.service("strays")["replicas"][0]["tree"]} == {replica["main_pid"], stray}
    os.kill(replica["main_pid"], signal.SIGKILL)  # what is left has no main and no parent of ours
    assert gw("run", "--name", "strays", "--", "true").returncode == 125, "no second copy beside it"
    stop = gw("stop", "strays")
    assert stop.returncode == 4 and "what left its parent unseen is not known" in stop.stderr, stop
    assert "none left of those seen" in stop.stdout
    assert not alive(stray)


@pytest.mark.parametrize("warden", [True, False])
def test_an_end_without_cgroup_and_first_anchor_is_never_called_proven(tmp_path, warden):
    gw = Gpuward(tmp_path / "home", GPUWARD_KERNEL_MASK="no_cgroup")
    assert gw("run", "--detach", "--name", "strays", "--", "python3", "-c", STRAYS).returncode == 0
    wait_for(lambda: pids_in(gw.log("strays")), why="the stray lives")
    wait_for(lambda: in_record(gw, "strays", pids_in(gw.log("strays"))[0]), why="the stray is on record")
    if warden:
        assert gw("up").returncode == 0
    os.kill(gw.service("strays")["replicas"][0]["anchor_pid"], signal.SIGKILL)
    stop = gw("stop", "--json", "strays")
    receipt = json.loads(stop.stdout)["receipts"][0]
    assert stop.returncode == 4 and receipt["only_seen"] is True and receipt["survivors"] == [], stop
    wait_for(lambda: not gw.anchors(), why="the anchor has gone")
    again = gw("stop", "strays")
    assert again.returncode == 4 and "was not running; of its last end" in again.stderr, "asking again proves nothing"
    gw("down")


def test_a_service_without_a_cgroup_is_drained_and_started_again_by_its_second_anchor(tmp_path):
    gw = Gpuward(tmp_path / "home", GPUWARD_KERNEL_MASK="no_cgroup")
    (tmp_path / "strays.py").write_text(STRAYS)
    gw.configure(f"""
[service.strays]
command = ["python3", "{tmp_path}/strays.py"]
env = {{ DEAF = "1" }}
stop = {{ grace = "200ms" }}
backoff = {{ first = "10ms", max = "1s" }}
""")
    assert gw("up").returncode == 0
    wait_for(lambda: len(pids_in(gw.log("strays"))) == 1, why="the stray lives")
    first = pids_in(gw.log("strays"))[0]
    wait_for(lambda: in_record(gw, "strays", first), why="the stray is on record")
    before = gw.service("strays")["replicas"][0]
    os.kill(before["anchor_pid"], signal.SIGKILL)
    wait_for(lambda: gw.service("strays")["replicas"][0]["anchor_pid"] not in (None, before["anchor_pid"]),
             why="a new anchor leads it")
    os.kill(before["main_pid"], signal.SIGUSR1)
    wait_for(lambda: len(pids_in(gw.log("strays"))) == 2, why="one more, born under the new anchor")
    second = pids_in(gw.log("strays"))[1]
    wait_for(lambda: in_record(gw, "strays", second), why="it is on record")
    os.kill(before["main_pid"], signal.SIGKILL)
    wait_for(lambda: gw.service("strays")["replicas"][0]["generation"] == 2, why=gw.log("strays"))
    assert not alive(first) and not alive(second), "the old generation is drained before the new one starts"
    down = gw("down")
    assert down.returncode == 4 and "not known" in down.stderr, "the doubt outlives the generation"
    assert gw.status()["warden"] is None, "nothing lives, so it could go"


def test_a_deep_home_is_no_trouble_for_sockets(tmp_path):
    gw = Gpuward(tmp_path / ("x" * 100) / ("y" * 100))
    assert gw("run", "--", "true").returncode == 0


def test_a_card_cannot_be_asked_for_yet(gw):
    assert gw("run", "--gpu", "none", "--", "true").returncode == 0
    auto = gw("run", "--gpu", "auto", "--", "true")
    assert auto.returncode == 2 and "'auto' is not supported yet" in auto.stderr


LATE_STRAY = """
import os, subprocess, sys, time
while not os.path.exists(sys.argv[1]): time.sleep(0.01)
print(subprocess.Popen(["sleep", "1000"], start_new_session=True).pid, flush=True)
time.sleep(1000)
"""


def test_a_stop_finds_who_was_born_after_the_last_look_of_a_dead_anchor(tmp_path):
    gw = Gpuward(tmp_path / "home", GPUWARD_KERNEL_MASK="no_cgroup")
    trigger = tmp_path / "now"
    assert gw("run", "--detach", "--name", "late", "--", "python3", "-c", LATE_STRAY, str(trigger)).returncode == 0
    replica = gw.service("late")["replicas"][0]
    os.kill(replica["anchor_pid"], signal.SIGSTOP)  # it looks no more
    fifo = os.open(gw.home / "run/anchors/late.0/out", os.O_RDONLY | os.O_NONBLOCK)
    trigger.touch()
    wait_for(lambda: select.select([fifo], [], [], 0)[0], why="the stray lives")
    stray = int(os.read(fifo, 100))
    os.close(fifo)
    for pid in (replica["anchor_pid"], replica["main_pid"]):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not gw.anchors(), why="the anchor is gone")
    stop = gw("stop", "late")
    assert not alive(stray), stop
    assert stop.returncode == 4, "held without a cgroup and taken over: what was not seen may live on"


def test_what_still_lives_of_the_last_generation_is_named(tmp_path):
    gw = Gpuward(tmp_path / "home", GPUWARD_KERNEL_MASK="no_cgroup")
    assert gw("run", "--detach", "--name", "strays", "--", "python3", "-c", STRAYS).returncode == 0
    wait_for(lambda: pids_in(gw.log("strays")), why="the stray lives")
    stray = pids_in(gw.log("strays"))[0]
    replica = gw.service("strays")["replicas"][0]
    for pid in (replica["anchor_pid"], replica["main_pid"]):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not gw.anchors(), why="the anchor is gone")
    again = gw("run", "--name", "strays", "--", "true")
    assert again.returncode == 125 and f"there still live {stray} (python3)" in again.stderr, again.stderr
    stop = gw("stop", "strays")
    assert not alive(stray), (stop, gw("events").stdout)
