"""Hand-over on purpose: what `release` names lives on when its service ends, and `gpuward release` gives a whole tree up."""

import contextlib
import json
import os
import signal
import sys
from pathlib import Path

import pytest
from gpuward import Gpuward, alive, end, wait_for

# main: a child of its own, and a keeper that left by double fork and setsid. The keeper forks on and prints; USR1 makes it
# leave a process to nobody, in its session.
MAIN = """
import os, sys, time
folder = sys.argv[1]
def put(name, pid):
    with open(f"{folder}/{name}.new", "w") as f: f.write(str(pid))
    os.rename(f"{folder}/{name}.new", f"{folder}/{name}")
if os.path.exists(f"{folder}/nokeeper"): pass
elif os.fork() == 0:
    if SESSION: os.setsid()
    if os.fork() == 0:
        os.execvp(sys.executable, [sys.executable, f"{folder}/keeper.py", "keep-me", folder])
    os._exit(0)
else: os.wait()
child = os.spawnvp(os.P_NOWAIT, "sleep", ["sleep", "1000"])
put("child", child)
time.sleep(1000)
"""
KEEPER = """
import os, signal, subprocess, sys, time
folder = sys.argv[2]
def put(name, pid):
    with open(f"{folder}/{name}.new", "w") as f: f.write(str(pid))
    os.rename(f"{folder}/{name}.new", f"{folder}/{name}")
def leave(*_):
    if os.fork() == 0:
        pid = os.fork()
        if pid == 0:
            os.execvp("sleep", ["sleep", "1001"])
        put("orphan", pid)
        os._exit(0)
    os.wait()
signal.signal(signal.SIGUSR1, leave)
signal.signal(signal.SIGTERM, lambda *_: put("termed", 1))
put("keeper", os.getpid())
n = 0
while True:
    c = subprocess.Popen(["sleep", "0.02"])
    put("now", c.pid)
    c.wait()
    n += 1
    print("tick", n, flush=True)
"""
SERVICE = """
[service.app]
command = ["PYTHON", "FOLDER/main.py", "FOLDER"]
release = ["* keep-me *", "nothing like this"]
stop = { grace = "2s" }
"""


class App:
    def __init__(self, gw: Gpuward, folder: Path, session: bool = True, more: str = ""):
        self.gw, self.folder = gw, folder
        folder.mkdir(exist_ok=True)
        (folder / "main.py").write_text(MAIN.replace("SESSION", str(session)))
        (folder / "keeper.py").write_text(KEEPER)
        gw.configure(SERVICE.replace("PYTHON", sys.executable).replace("FOLDER", str(folder)) + more)

    def pid(self, name: str) -> int:
        return int(wait_for(lambda: (self.folder / name).exists() and (self.folder / name).read_text(), why=name))

    def up(self):
        done = self.gw("up")
        assert done.returncode == 0, done.stderr
        self.keeper, self.child = self.pid("keeper"), self.pid("child")
        wait_for(lambda: (self.folder / "now").exists())

    def leave_an_orphan(self) -> int:
        (self.folder / "orphan").unlink(missing_ok=True)
        os.kill(self.keeper, signal.SIGUSR1)
        orphan = self.pid("orphan")
        wait_for(lambda: parent_of(orphan) != self.keeper and not b"python" in command_of(orphan), why="it is nobody's")
        return orphan

    def forks_on(self):
        before = (self.folder / "now").read_text()
        wait_for(lambda: (self.folder / "now").read_text() != before, why="the keeper forks on")

    def prints_on(self):
        size = len(self.gw.log("app"))
        wait_for(lambda: "tick" in self.gw.log("app")[size:], why="what the keeper prints still comes into the log")

    def anchor(self) -> int:
        return self.gw.service("app")["replicas"][0]["anchor_pid"]

    def untouched(self) -> bool:
        return alive(self.keeper) and not (self.folder / "termed").exists()

    def clean(self):
        for name in ("keeper", "orphan", "child"):
            if (self.folder / name).exists():
                end(int((self.folder / name).read_text()))


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def readers() -> list[int]:
    return [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and command_of(int(p.name)).startswith(b"gpuward-reader\0")]


@pytest.fixture
def app(gw, tmp_path):
    before = readers()
    made = []

    def make(mask: str = "", **options) -> App:
        if mask:
            gw.env["GPUWARD_KERNEL_MASK"] = mask
        made.append(App(gw, tmp_path / "app", **options))
        return made[-1]

    yield make
    for one in made:
        one.clean()
    wait_for(lambda: set(readers()) <= set(before), why="a reader goes with the last of its writers")


MASKS = ["", "no_cgroup2", "no_cgroup", "no_cgroup,no_pidfd,no_proc_children"]


@pytest.mark.parametrize("mask", MASKS)
def test_what_matches_lives_on_when_its_service_is_stopped(app, mask):
    one = app(mask)
    one.up()
    stop = one.gw("stop", "app", "--json")
    assert stop.returncode == 0, stop.stderr
    receipt = json.loads(stop.stdout)["receipts"][0]
    assert one.keeper in [p["pid"] for p in receipt["released"]] and receipt["survivors"] == []
    assert receipt["release_trouble"] is None and not receipt["released_all"]
    assert receipt["processes_ended"] == 2, "main and its own child"
    assert one.untouched() and not alive(one.child)
    one.forks_on()
    one.prints_on()
    assert not one.gw.groups(), "its cgroups are gone"
    assert one.gw.service("app")["verdict"] == "STOPPED"
    events = [json.loads(line) for line in one.gw("events", "--json").stdout.splitlines()]
    told = next(e for e in events if e["event"] == "released")
    assert f"pid {one.keeper} (" in told["evidence"] and "keep-me" not in json.dumps(events)
    (one.folder / "nokeeper").touch()
    again = one.gw("start", "app")
    assert again.returncode == 0, again.stderr
    tree = [p["pid"] for p in one.gw.status("app")["services"][0]["replicas"][0]["tree"]]
    assert one.keeper not in tree and len(tree) == 2
    assert one.gw("stop", "app").returncode == 0
    assert one.untouched(), "it is nothing of the later tree's"


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("session", [True, False])
def test_a_restart_and_a_stop_leave_it_alone(app, mask, session):
    one = app(mask, session=session)
    one.up()
    (one.folder / "nokeeper").touch()
    restart = one.gw("restart", "app")
    assert restart.returncode == 0, restart.stderr
    assert f"; handed over: pid {one.keeper} (" in restart.stdout
    assert one.untouched() and not alive(one.child)
    replica = one.gw.status("app")["services"][0]["replicas"][0]
    assert one.keeper not in [p["pid"] for p in replica["tree"]] and replica["processes"] == 2
    orphan = one.leave_an_orphan()
    one.prints_on()
    again = one.gw("restart", "app")
    assert again.returncode == 0 and "handed over" not in again.stdout, again
    stop = one.gw("stop", "app")
    assert stop.returncode == 0 and "handed over" not in stop.stdout, stop
    assert one.untouched() and alive(orphan)
    one.forks_on()
    assert not one.gw.groups()


@pytest.mark.parametrize("mask", ["", "no_cgroup2", "no_cgroup"])
def test_a_crash_of_the_anchor_between_changes_nothing(app, mask):
    one = app(mask)
    one.up()
    (one.folder / "nokeeper").touch()
    assert one.gw("restart", "app").returncode == 0
    orphan = one.leave_an_orphan()
    if mask == "no_cgroup":  # there its anchor has to have seen it
        anchor = one.anchor()
        wait_for(lambda: parent_of(orphan) == anchor)
        one.prints_on()
    before = one.anchor()
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: one.gw.service("app")["replicas"] and one.anchor() != before and one.anchor() is not None)
    assert one.keeper not in [p["pid"] for p in one.gw.status("app")["services"][0]["replicas"][0]["tree"]]
    late = one.leave_an_orphan()
    stop = one.gw("stop", "app")
    assert stop.returncode == (4 if mask == "no_cgroup" else 0), stop
    for pid in (orphan, late):
        assert alive(pid)
        end(pid)
    assert one.untouched()
    one.forks_on()
    one.prints_on()
    assert one.gw("start", "app").returncode == 0
    assert one.untouched()


def test_a_crash_in_the_middle_of_an_end_keeps_the_promise(app):
    one = app()
    one.gw.configure((one.gw.home / "etc/services.toml").read_text().replace("2s", "1h"))
    main = one.folder / "main.py"
    main.write_text("import signal; signal.signal(signal.SIGTERM, lambda *_: None)\n" + main.read_text())
    one.up()
    if one.gw.service("app")["containment"] != "cgroup":
        pytest.skip("no right to make cgroups here")
    anchor = one.anchor()
    stop = one.gw.popen("stop", "app", "--json")
    wait_for(lambda: "released" in one.gw("events").stdout)
    os.kill(anchor, signal.SIGKILL)
    wait_for(lambda: one.gw.anchors() and anchor not in one.gw.anchors())
    wait_for(lambda: not alive(one.child))
    for pid in [p["pid"] for p in one.gw.status("app")["services"][0]["replicas"][0]["tree"]]:
        assert pid != one.keeper
        end(pid)
    out, err = stop.communicate(timeout=30)
    assert stop.returncode == 0, err
    assert one.keeper in [p["pid"] for p in json.loads(out)["receipts"][0]["released"]]
    assert one.untouched()


def test_who_cannot_be_moved_lives_and_the_end_is_not_called_proven(app):
    one = app()
    one.up()
    if one.gw.service("app")["containment"] != "cgroup":
        pytest.skip("no right to make cgroups here")
    for group in one.gw.groups():
        if ".released." in group.name:
            group.rmdir()
    stop = one.gw("stop", "app")
    assert stop.returncode == 4, stop
    assert "NOT as promised: pid " in stop.stdout and "what was to be handed over could not be kept apart" in stop.stderr
    assert one.untouched() and not alive(one.child)
    one.forks_on()
    assert one.gw("status").returncode == 0 and one.gw("up").returncode in (0, 1)
    one.forks_on()
    assert one.untouched(), "and nobody who comes later ends it"
    one.clean()


def test_limits_of_the_service_do_not_go_along(app):
    one = app()
    path = one.gw.home / "etc/services.toml"
    path.write_text(path.read_text() + 'memory_max = "1GiB"\ncpu_weight = 50\n')
    up = one.gw("up")
    if "memory_max" in up.stderr:
        pytest.skip(f"no memory controller here: {up.stderr}")
    one.up()
    before = Path(f"/proc/{one.keeper}/cgroup").read_text()
    assert "gpuward.app.0." in before
    (one.folder / "nokeeper").touch()
    assert one.gw("restart", "app").returncode == 0
    lines = Path(f"/proc/{one.keeper}/cgroup").read_text().splitlines()
    assert [line for line in lines if "gpuward.app.0." in line and ".released." not in line] == []
    assert one.gw("stop", "app").returncode == 0
    assert one.untouched() and not one.gw.groups()
    assert "gpuward." not in Path(f"/proc/{one.keeper}/cgroup").read_text()


def test_main_itself_is_never_handed_over(gw):
    gw.configure('[service.app]\ncommand = ["sleep", "1002"]\nrelease = ["sleep *"]\n')
    assert gw("up").returncode == 0
    main = gw.service("app")["replicas"][0]["main_pid"]
    stop = gw("stop", "app")
    assert stop.returncode == 0 and "handed over" not in stop.stdout and not alive(main)


def test_it_changes_with_a_restart_and_is_explained(app):
    one = app()
    one.up()
    assert "* keep-me *" in one.gw("explain", "app").stdout
    path = one.gw.home / "etc/services.toml"
    path.write_text(path.read_text().replace("nothing like this", "something else"))
    change = json.loads(one.gw("plan", "--json").stdout)["changes"][0]
    assert change["fields"][0]["field"] == "release" and change["fields"][0]["effect"] == "restart"
    path.write_text(path.read_text().replace("something else", "*"))
    check = one.gw("check")
    assert check.returncode == 1 and "a pattern of 'release' would hand over every process" in check.stderr + check.stdout


@pytest.mark.parametrize("mask", ["", "no_cgroup2", "no_cgroup"])
@pytest.mark.parametrize("warden", [True, False])
def test_a_whole_tree_is_given_up(app, mask, warden):
    one = app(mask)
    pid_file = one.folder / "app.pid"
    path = one.gw.home / "etc/services.toml"
    path.write_text(path.read_text() + f'pid_file = "{pid_file}"\nrestart = "always"\n')
    one.up()
    main = one.gw.service("app")["replicas"][0]["main_pid"]
    anchor = one.anchor()
    if not warden:
        pid = one.gw.status()["warden"]["pid"]
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: one.gw.status()["warden"] is None)
    done = one.gw("release", "app", "--json")
    assert done.returncode == 0, done.stderr
    receipt = json.loads(done.stdout)["receipts"][0]
    assert receipt["released_all"] and {main, one.keeper, one.child} <= {p["pid"] for p in receipt["released"]}
    assert receipt["release_trouble"] is None and receipt["processes_ended"] == 0
    try:
        wait_for(lambda: not alive(anchor) and not one.gw.anchors())
        service = one.gw.service("app")
        assert service["verdict"] == "STOPPED" and "handed over" in service["sentence"] and service["replicas"] == []
        assert not one.gw.groups()
        assert pid_file.read_text().strip() == str(main), "who reads it still finds it"
        one.prints_on()
        stop = one.gw("stop", "app")
        assert stop.returncode == 0 and "was not running" in stop.stdout
        assert one.gw("release", "app").returncode == 1
        if warden:
            (one.folder / "nokeeper").touch()
            start = one.gw("start", "app")
            assert start.returncode == 0, start.stderr
            assert one.gw.service("app")["replicas"][0]["main_pid"] != main
            assert one.gw("stop", "app").returncode == 0
        assert alive(main) and one.untouched()
        assert "release-asked" in one.gw("audit").stdout
    finally:
        for pid in (main, one.child):
            end(pid)


def test_a_service_that_was_given_up_and_prints_much_does_not_wait(app, gw, tmp_path):
    gw.configure(f'[service.loud]\ncommand = ["sh", "-c", "until [ -e {tmp_path}/go ]; do sleep 0.05; done; head -c 3000000 /dev/zero '
                 f'| tr \'\\\\0\' x; echo; touch {tmp_path}/done; exec sleep 1000"]\n')
    assert gw("up").returncode == 0
    main = gw.service("loud")["replicas"][0]["main_pid"]
    assert gw("release", "loud").returncode == 0
    try:
        wait_for(lambda: not gw.anchors())
        (tmp_path / "go").touch()
        wait_for(lambda: (tmp_path / "done").exists(), why="it could print 3 MB")
        wait_for(lambda: gw.log("loud").count("x") == 3_000_000)
    finally:
        end(main)


def is_empty(group) -> bool:
    """Or removed by whoever leads it."""
    try:
        return "populated 0" in (group / "cgroup.events").read_text()
    except FileNotFoundError:
        return True


def test_a_kill_of_the_anchor_while_it_gives_up_leaves_a_reader(gw, tmp_path):
    """At whatever moment: the record says that it is over, or somebody takes the tree over."""
    for n in range(8):
        name, go, done = f"loud{n}", tmp_path / f"go{n}", tmp_path / f"done{n}"
        gw("run", "--detach", "--name", name, "--", "sh", "-c", f"until [ -e {go} ]; do sleep 0.05; done; head -c 3000000 /dev/zero "
           f"| tr '\\0' x; echo; touch {done}; exec sleep 1000")
        replica = wait_for(lambda: gw.service(name)["replicas"])[0]
        record, = (gw.home / "run/anchors").glob(f"{name}.*/record")
        before = record.stat().st_ino
        asked = gw.popen("release", name)
        while record.stat().st_ino == before:
            pass
        end(replica["anchor_pid"])
        asked.communicate(timeout=30)
        try:
            assert gw("up").returncode in (0, 1)
            go.touch()
            wait_for(done.exists, why="it could print 3 MB")
            wait_for(lambda: gw.log(name).count("x") == 3_000_000)
        finally:
            end(replica["main_pid"])
            for group in gw.groups():  # of an anchor that was killed before it moved them out
                wait_for(lambda g=group: is_empty(g))
                with contextlib.suppress(FileNotFoundError):
                    group.rmdir()


MONITOR = """
import subprocess, sys, time
child = subprocess.Popen(["sleep", "1004"])
open(sys.argv[2] + "/inside", "w").write(str(child.pid))
time.sleep(1000)
"""


def test_what_runs_in_a_container_stays_in_its_groups_when_its_monitor_is_handed_over(gw, tmp_path):
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    roots = [Path(m[1]) for m in mounts if m[2] == "cgroup2" or (m[2] == "cgroup" and "memory" in m[3].split(","))]
    groups = [root / ("c0" * 32) for root in roots]
    try:
        for group in groups:
            group.mkdir()
    except OSError as error:
        pytest.skip(f"no right to make cgroups here: {error}")
    (tmp_path / "monitor.py").write_text(MONITOR)
    (tmp_path / "main.py").write_text("import subprocess, sys, time\n"
                                      f"subprocess.Popen([sys.executable, '{tmp_path}/monitor.py', 'conmon-like', '{tmp_path}'])\n"
                                      "time.sleep(1000)\n")
    gw.configure(f'[service.app]\ncommand = ["{sys.executable}", "{tmp_path}/main.py"]\nrelease = ["* conmon-like *"]\n'
                 'memory_max = "1GiB"\n')
    up = gw("up")
    if "memory_max" in up.stderr:
        pytest.skip(f"no memory controller here: {up.stderr}")
    inside = int(wait_for(lambda: (tmp_path / "inside").exists() and (tmp_path / "inside").read_text()))
    monitor = parent_of(inside)
    try:
        for group in groups:
            (group / "cgroup.procs").write_text(str(inside))
        before = [line for line in Path(f"/proc/{inside}/cgroup").read_text().splitlines() if "c0c0" in line]
        assert len(before) == len(groups)
        assert gw("stop", "app").returncode in (0, 4)
        assert alive(monitor) and alive(inside)
        assert [line for line in Path(f"/proc/{inside}/cgroup").read_text().splitlines() if "c0c0" in line] == before
    finally:
        for pid in (inside, monitor):
            end(pid)
        for group in groups:
            wait_for(lambda g=group: (g / "cgroup.procs").read_text() == "")
            group.rmdir()


def test_what_does_not_run_is_not_given_up(gw):
    gw.configure('[service.app]\ncommand = ["sleep", "1003"]\nautostart = false\n')
    assert gw("up").returncode == 0
    done = gw("release", "app")
    assert done.returncode == 1 and "nothing was given up" in done.stderr
    assert "release" in gw("__complete", "rel").stdout and "app" in gw("__complete", "release", "").stdout
