"""Hostile trees (tests/helpers/zoo.cc) at every level of containment and in every surrounding: none survives, or it is
said. Who lives is counted by the locks that the kernel takes back at death, never by name, parent or number."""

import errno
import fcntl
import json
import os
import shutil
import signal
import struct
import subprocess
from pathlib import Path

import pytest
from gpuward import BIN, Gpuward, end, wait_for

ZOO = BIN.parent / "tests/helpers/zoo"
NOBODY = 65534
ROOT = os.geteuid() == 0

# How many locks each holds once all of it is up.
ANIMALS = {"leaver": 3, "nester": 3, "leaderless": 2, "headless": 1, "tracer": 3, "subreaper": 4, "namespaces": 4,
           "forkchain": 4, "vforks": 3, "daemons": 4, "elastic": 5, "resurrectors": 3, "stopped": 3, "deaf": 2,
           "walled": 2, "masked": 2, "scrubbed": 2}


def locks(register: Path) -> int:
    """How many bytes of the file somebody holds."""
    count = 0
    with open(register, "rb") as file:
        for byte in range(64):
            asked = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
            try:
                told = struct.unpack("hhqqi4x", fcntl.fcntl(file, fcntl.F_OFD_GETLK, asked))
            except OSError as error:
                assert error.errno != errno.EINVAL, "the kernel knows no locks of open files"
                raise
            count += told[0] != fcntl.F_UNLCK
    return count


def holders(register: Path) -> list[int]:
    """Who holds them, by what it has mapped or open. For cleaning up."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (str(register) in (entry / "maps").read_text() or any(
                    os.readlink(fd) == str(register) for fd in (entry / "fd").iterdir())):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


class Zoo:
    """One install whose services are animals."""

    def __init__(self, gw: Gpuward, folder: Path, animals=tuple(ANIMALS), grace: str = "200ms", keys: str = ""):
        self.gw = gw
        self.animals = animals
        self.registers = {}
        text = ""
        for name in animals:
            self.registers[name] = folder / f"{name}.locks"
            self.registers[name].touch()
            self.registers[name].chmod(0o666)
            text += (f'[service.{name}]\ncommand = ["{gw.programs / "zoo"}", "{name}", "{self.registers[name]}"]\n'
                     f'stop = {{ grace = "{grace}" }}\nrestart = "never"\n{keys}\n')
        gw.configure(text)

    def up(self):
        done = self.gw("up")
        assert done.returncode == 0, done.stderr
        for name in self.animals:
            wait_for(lambda: self.alive(name) == ANIMALS[name], 10,
                     f"{name} is up: {self.alive(name)} of {ANIMALS[name]}; {self.gw.log(name)}")

    def alive(self, name: str) -> int:
        return locks(self.registers[name])

    def survivors(self) -> dict:
        """What lives although it was told to be gone. The lock of one that is just dying may come a moment later."""
        try:
            wait_for(lambda: not any(self.alive(name) for name in self.animals), 2)
        except AssertionError:
            pass
        return {name: self.alive(name) for name in self.animals if self.alive(name)}

    def levels(self) -> set:
        return {service["containment"] for service in self.gw.status()["services"]}


@pytest.fixture
def programs(tmp_path):
    """The programs where everybody can reach them."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("gpuward", "gpuwardd", "gpuward-anchor", "gpuward-sentinel"):
        if (BIN / name).exists():
            shutil.copy2(BIN / name, folder / name)
    shutil.copy2(ZOO, folder / "zoo")
    tmp_path.chmod(0o755)
    for parent in list(tmp_path.parents)[:2]:
        parent.chmod(parent.stat().st_mode | 0o011)
    return folder


@pytest.fixture
def zoo(programs, tmp_path):
    """Makes a zoo; whatever the test did, nothing of it is left."""
    made = []

    def make(prefix=(), owner=None, **options) -> Zoo:
        env = {key: options.pop(key) for key in ("GPUWARD_KERNEL_MASK",) if key in options}
        gw = Gpuward(tmp_path / "home", programs, prefix, **env)
        one = Zoo(gw, tmp_path, **options)
        if owner is not None:
            for folder, _, files in os.walk(gw.home):
                for path in [folder, *(os.path.join(folder, name) for name in files)]:
                    os.chown(path, owner, owner)
        made.append(one)
        return one

    yield make
    for one in made:
        one.gw("down", timeout=60)
        left = one.survivors()
        for name in left:  # so that no later test meets them
            for pid in holders(one.registers[name]):
                end(pid)
        assert not one.gw.anchors() and not left


def stop_all(one: Zoo) -> dict:
    stop = one.gw("stop", "--json", *one.animals)
    assert stop.stdout, stop
    told = json.loads(stop.stdout)
    return {"code": stop.returncode, "stderr": stop.stderr, **told}


def test_no_animal_survives(zoo):
    one = zoo()
    one.up()
    stop = stop_all(one)
    assert not one.survivors(), stop
    assert stop["code"] == 0, stop


@pytest.mark.parametrize("mask", ["no_cgroup2", "no_cgroup", "no_pidfd", "no_cgroup_kill", "no_cgroup_freeze",
                                  "no_cgroup_kill,no_cgroup_freeze", "no_clone_into_cgroup",
                                  "no_cgroup,no_proc_children", "no_cgroup,no_pidfd,no_proc_children"])
def test_no_animal_survives_a_fall_back(zoo, mask):
    # Without lists of children each look reads every process of the machine: who forks faster than that is ended when
    # it rests, and that is the time of its forks, not of ours.
    animals = tuple(name for name in tuple(ANIMALS) if name not in ("forkchain", "vforks") or "no_proc_children" not in mask)
    one = zoo(animals=animals, GPUWARD_KERNEL_MASK=mask)
    one.up()
    stop = stop_all(one)
    assert not one.survivors(), stop
    assert stop["code"] == 0, stop


def as_nobody() -> tuple:
    return ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")


def skip_unless_works(prefix):
    trial = subprocess.run([*prefix, "true"], capture_output=True, text=True)
    if trial.returncode != 0:
        pytest.skip(f"not possible here: {' '.join(map(str, prefix))}: {trial.stderr.strip()}")


def mounts(kind: str) -> list[str]:
    return [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines() if line.split()[2] == kind]


def test_no_animal_survives_without_any_right(zoo):
    if not ROOT:
        pytest.skip("needs root to become somebody else")
    skip_unless_works(as_nobody())
    one = zoo(as_nobody(), NOBODY)
    one.up()
    assert one.levels() == {"subreaper"}
    stop = stop_all(one)
    assert not one.survivors(), stop
    assert stop["code"] == 0, stop


@pytest.fixture
def delegated():
    """A subtree of cgroup2 that belongs to NOBODY, and the words that run something inside it as NOBODY."""
    if not ROOT or not mounts("cgroup2"):
        pytest.skip("needs root and cgroup2 to hand a subtree over")
    own = next(line.split("::")[1] for line in Path("/proc/self/cgroup").read_text().splitlines() if "0::" in line)
    group = Path(mounts("cgroup2")[0] + own) / f"zoo.{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no right to make cgroups here: {error}")
    inner = group / "gpuward"
    inner.mkdir()
    for path in [group, *group.iterdir(), *inner.iterdir()]:
        if path.name in ("cgroup.procs", "cgroup.threads", "cgroup.subtree_control") or path.is_dir():
            os.chown(path, NOBODY, NOBODY)
    yield ("sh", "-c", f'echo $$ > {inner}/cgroup.procs && exec "$@"', "sh", *as_nobody())
    wait_for(lambda: not (inner / "cgroup.procs").read_text(), 5, "the subtree is empty")
    for path in (inner, group):
        path.rmdir()


def test_no_animal_survives_in_a_delegated_subtree(delegated, zoo):
    one = zoo(delegated, NOBODY)
    one.up()
    assert one.levels() == {"cgroup"}
    stop = stop_all(one)
    assert not one.survivors(), stop
    assert stop["code"] == 0, stop


def test_no_animal_survives_below_read_only_cgroups(zoo):
    paths = mounts("cgroup2") + [path for path in mounts("cgroup") if "freezer" in path]
    if not paths:
        pytest.skip("no cgroups are mounted here")
    remount = " && ".join(f"mount -o remount,bind,ro {path}" for path in paths)
    inside = ("unshare", "-m", "--propagation", "private", "sh", "-c", f'{remount} && exec "$@"', "sh")
    skip_unless_works(inside)
    one = zoo(inside)
    one.up()
    assert one.levels() == {"subreaper"}
    said = [e["value"] for s in one.gw.status()["services"] for e in s["evidence"] if e["what"] == "containment"]
    assert len(said) == len(one.animals) and "Read-only file system" in said[0], said
    stop = stop_all(one)
    assert not one.survivors(), stop
    assert stop["code"] == 0, stop


@pytest.mark.parametrize("user", ["root", "nobody"])
def test_no_animal_survives_inside_a_user_namespace(zoo, user):
    if user == "nobody" and not ROOT:
        pytest.skip("needs root to become somebody else")
    prefix = (*(as_nobody() if user == "nobody" else ()), "unshare", "-Ur")
    skip_unless_works(prefix)
    one = zoo(prefix, NOBODY if user == "nobody" else None)
    one.up()
    stop = stop_all(one)
    assert not one.survivors(), stop
    assert stop["code"] == 0, stop


def kill_all_of_us(gw: Gpuward):
    warden = gw.status()["warden"]["pid"]
    for pid in [warden, *gw.anchors()]:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not gw.anchors() and gw.status()["warden"] is None, why="warden and anchors are gone")


# Without a cgroup a tree that was taken over is known as far as it was seen.
@pytest.mark.parametrize("mask", ["", "no_cgroup2", "no_cgroup_kill,no_cgroup_freeze"])
def test_no_animal_survives_a_crash_of_everything(zoo, mask):
    one = zoo(GPUWARD_KERNEL_MASK=mask)
    one.up()
    if one.levels() != {"cgroup"}:
        pytest.skip("no right to make cgroups here")
    kill_all_of_us(one.gw)
    assert one.gw("up").returncode == 0
    for name in one.animals:
        assert one.alive(name) == ANIMALS[name], f"{name} was touched by being taken over"
    stop = stop_all(one)
    # Two have left their cgroup: whom they lost while there was no anchor is not known, and that is said.
    assert {r["service"] for r in stop["receipts"] if r["only_seen"]} == ({"leaver", "forkchain"} if ROOT else set())
    assert stop["code"] == (4 if ROOT else 0), stop
    assert set(one.survivors()) <= {"forkchain"}, stop
    end_lost(one, {"forkchain"})


def end_lost(one: Zoo, names: set):
    """Those that are made to get lost, once they stand still after their last fork."""
    def ended() -> bool:
        for pid in [pid for name in names for pid in holders(one.registers[name])]:
            end(pid)
        return not any(one.alive(name) for name in names)
    wait_for(ended, why="they stand still after their last fork")


def test_after_a_crash_without_cgroups_no_end_is_called_proven(zoo):
    one = zoo(GPUWARD_KERNEL_MASK="no_cgroup")
    one.up()
    kill_all_of_us(one.gw)
    one.gw("up")
    stop = stop_all(one)
    assert stop["code"] == 4, stop
    for name in one.animals:
        assert f"{name}: not proven" in stop["stderr"], (name, stop["stderr"])
    # What these start comes to nobody, and they are gone before they are looked at.
    assert set(one.survivors()) <= {"forkchain", "vforks"}, stop
    end_lost(one, {"forkchain", "vforks"})


def skip_without_pid_namespaces():
    skip_unless_works(("unshare", "-pf") if ROOT else ("unshare", "-Urpf"))


@pytest.mark.parametrize("mask", ["", "no_cgroup"])
@pytest.mark.parametrize("crash", [False, True], ids=["", "crash of everything"])
def test_no_animal_leaves_its_pid_namespace(zoo, mask, crash):
    skip_without_pid_namespaces()
    one = zoo(keys='containment = "pidns"', GPUWARD_KERNEL_MASK=mask)
    one.up()
    assert one.levels() == {"pidns"}
    if crash:
        kill_all_of_us(one.gw)
        assert one.gw("up").returncode == 0
        for name in one.animals:
            assert one.alive(name) == ANIMALS[name], f"{name} was touched by being taken over"
    stop = stop_all(one)
    assert not one.survivors(), stop
    assert stop["code"] == 0, stop


def test_no_animal_leaves_its_pid_namespace_although_nobody_has_a_right(zoo):
    if not ROOT:
        pytest.skip("needs root to become somebody else")
    skip_unless_works((*as_nobody(), "unshare", "-Urpf"))
    one = zoo(as_nobody(), NOBODY, keys='containment = "pidns"')
    one.up()
    assert one.levels() == {"pidns"}
    stop = stop_all(one)
    assert not one.survivors(), stop
    assert stop["code"] == 0, stop


# When main ends the rest ends with it, whatever the rest is.
@pytest.mark.parametrize("mask", ["", "no_cgroup"])
def test_no_animal_outlives_its_main(zoo, tmp_path, mask):
    animals = tuple(name for name in tuple(ANIMALS) if name not in ("headless", "elastic"))
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    one = zoo(animals=animals, keys=f'env = {{ ZOO_GATE = "{gate}" }}', GPUWARD_KERNEL_MASK=mask)
    one.up()
    opened = os.open(gate, os.O_RDWR)
    os.write(opened, b"x" * len(animals))
    for name in animals:
        wait_for(lambda: not one.alive(name), 10, f"{name} has gone with its main")
    os.close(opened)
    for name in animals:
        report = wait_for(lambda: one.gw.service(name)["verdict"] == "FAILED" and one.gw.service(name))
        assert "exited with code 3" in report["sentence"], report


@pytest.mark.parametrize("mask", ["", "no_cgroup"])
@pytest.mark.parametrize("animal", ["leaver", "forkchain", "resurrectors", "walled"])
def test_control_c_twice_ends_an_animal_at_once(zoo, animal, mask):
    one = zoo(animals=(animal,), GPUWARD_KERNEL_MASK=mask)
    run = one.gw.popen("run", "--name", "run", "--", one.gw.programs / "zoo", animal, one.registers[animal])
    wait_for(lambda: one.alive(animal) == ANIMALS[animal], why="it is up")
    run.send_signal(signal.SIGINT)
    wait_for(lambda: one.gw.service("run")["verdict"] == "DRAINING", why="the stop began")
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=10)
    assert run.returncode == (143 if animal == "leaver" else 137) and not one.survivors(), err
