"""Containers: owned by id through their engine, proven empty by the kernel, or said to be not proven (harm.md 17)."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest
from fake_engine import FakeEngine, cgroup2_mount
from gpuward import BIN, ROOT, Gpuward, alive, end, wait_for

POLITE = "exec sleep 1000"
DEAF = "trap '' TERM; while :; do sleep 1000 & wait; done"


def service(script: str, more: str = "", options: str = "--rm", name: str = "box") -> str:
    words = ["docker", "run", *options.split(), "image:1", "sh", "-c", script]
    return f"[service.{name}]\ncommand = {json.dumps(words)}\n{more}\n"


def make_engine(tmp_path, **options):
    mount = cgroup2_mount()
    if os.geteuid() != 0 or mount is None or not os.access(mount, os.W_OK):
        pytest.skip("needs root and a writable cgroup2 to make containers")
    return FakeEngine(tmp_path, **options)


@pytest.fixture
def engine(tmp_path):
    engine = make_engine(tmp_path)
    yield engine
    engine.clean()


@pytest.fixture
def box(gw, engine):
    """An install whose `docker` is the fake one."""
    gw.env.update(engine.env(gw.env["PATH"]))
    return gw


def running(engine, count: int = 1):
    """The container of the generation `count`, once it runs."""
    wait_for(lambda: len(engine.containers) >= count and engine.containers[count - 1].running, why="the container runs")
    return engine.containers[count - 1]


def held(gw, container, name: str = "box"):
    def seen():
        evidence = {e["what"]: e["value"] for e in gw.service(name)["evidence"]}
        return evidence.get("container") == f"{container.id[:12]} is held by its id"

    wait_for(seen, why=f"{container.id[:12]} is held")


def receipt_of(stop: subprocess.CompletedProcess) -> dict:
    receipt, = json.loads(stop.stdout)["receipts"]
    return receipt


def test_a_container_is_stopped_by_its_client_and_proven_empty(box, engine):
    box.configure(service(POLITE))
    assert box("up").returncode == 0
    container = running(engine)
    held(box, container)
    tree = box.service("box")["replicas"][0]["tree"]
    assert container.pid in [process["pid"] for process in tree]
    told = {change["what"]: change for change in json.loads(box("explain", "box", "--json").stdout)["changes"]}
    assert told["command"]["value"].startswith("--cidfile=") and told["command"]["undo"]
    stop = box("stop", "--json", "box")
    assert stop.returncode == 0, stop.stderr
    receipt = receipt_of(stop)
    assert receipt["container"] == container.id[:12] and receipt["container_proof"] == "empty"
    assert not receipt["forced"] and receipt["processes_ended"] == 2, receipt
    assert container.signals == ["SIGTERM by client"]
    assert not container.running and not list((box.home / "run").glob("**/cid"))


def test_a_container_that_ignores_term_is_killed_through_its_engine(box, engine):
    box.configure(service(DEAF, 'stop = { grace = "100ms" }'))
    assert box("up").returncode == 0
    container = running(engine)
    held(box, container)
    stop = box("stop", "--json", "box")
    assert stop.returncode == 0, stop.stderr
    receipt = receipt_of(stop)
    assert receipt["forced"] and receipt["container_proof"] == "empty"
    assert container.signals == ["SIGTERM by client", "SIGKILL"]


@pytest.mark.parametrize("engine_does", ["die", "hang"])
def test_a_container_whose_engine_does_nothing_is_killed_all_the_same(box, engine, engine_does):
    box.configure(service(DEAF, 'stop = { grace = "100ms" }'))
    assert box("up").returncode == 0
    container = running(engine)
    held(box, container)
    if engine_does == "die":
        engine.die()
    else:
        engine.hangs.set()
    stop = box("stop", "--json", "box")
    assert stop.returncode == 0, stop.stderr
    assert receipt_of(stop)["container_proof"] == "empty" and receipt_of(stop)["duration_seconds"] < 4
    assert container.signals in ([], ["SIGTERM by client"]) and not alive(container.pid)


def test_a_container_that_outlives_its_client_is_drained_before_the_next_one(box, engine):
    box.configure(service(POLITE, 'restart = "on-failure"\nbackoff = { first = "10ms", max = "1s" }'))
    assert box("up").returncode == 0
    first = running(engine)
    held(box, first)
    os.kill(box.service("box")["replicas"][0]["main_pid"], signal.SIGKILL)
    second = running(engine, 2)
    assert first.signals == ["SIGTERM"], "its client was gone, so gpuward passed TERM on"
    assert not first.running and not engine.overlapped
    held(box, second)
    assert box("stop", "box").returncode == 0
    assert not second.running


def test_a_restart_waits_for_the_container_and_its_id_file(box, engine):
    box.configure(service(DEAF, 'stop = { grace = "100ms" }'))
    assert box("up").returncode == 0
    held(box, running(engine))
    assert box("restart", "box").returncode == 0
    second = running(engine, 2)
    assert not engine.overlapped and not engine.containers[0].running
    held(box, second)
    assert box("stop", "box").returncode == 0


@pytest.mark.parametrize("client_too", [False, True])
def test_a_later_anchor_holds_the_container_of_a_dead_one(box, engine, client_too):
    box.configure(service(POLITE))
    assert box("up").returncode == 0
    container = running(engine)
    held(box, container)
    replica = box.service("box")["replicas"][0]
    # The anchor is stopped first, so that it is not the one to see its main end.
    os.kill(replica["anchor_pid"], signal.SIGSTOP)
    if client_too:
        os.kill(replica["main_pid"], signal.SIGKILL)
    os.kill(replica["anchor_pid"], signal.SIGKILL)
    if client_too:  # a main that is gone means that the rest ends
        wait_for(lambda: not container.running, why="the container was ended")
        assert container.signals == ["SIGTERM"]
    else:
        wait_for(lambda: (box.service("box")["replicas"] or [replica])[0]["anchor_pid"] not in (replica["anchor_pid"], None))
        assert container.running
    stop = box("stop", "box")
    assert not container.running
    assert client_too or (stop.returncode == 0 and container.signals == ["SIGTERM by client"]), stop


def test_an_anchor_that_dies_before_the_id_is_written_loses_nothing(box, engine, tmp_path):
    box.env["FAKE_KILLS_ANCHOR"] = str(tmp_path / "killed")
    box.configure(service(POLITE))
    box("up")
    container = running(engine)
    wait_for(lambda: box.anchors(), why="it is adopted")
    held(box, container)
    stop = box("stop", "--json", "box")
    assert stop.returncode == 0, stop.stderr
    assert receipt_of(stop)["container"] == container.id[:12] and not container.running


def test_a_container_whose_anchor_and_client_died_before_the_id_was_read_is_found(box, engine, tmp_path):
    box.env.update(FAKE_KILLS_ANCHOR=str(tmp_path / "killed"), FAKE_DIES="1")
    box("run", "--detach", "--name", "box", "--", "docker", "run", "image:1", "sh", "-c", POLITE)
    container = running(engine)
    wait_for(lambda: not box.anchors(), why="nobody leads it")
    box("up")  # takes over what is left of it: main is gone, so it ends
    wait_for(lambda: not container.running, why="the container was ended")
    assert container.signals == ["SIGTERM"]


def test_the_users_own_id_file_is_used_and_never_believed_when_it_is_old(box, engine, tmp_path):
    innocent = subprocess.Popen(["sleep", "1000"])
    other = "ab" * 32
    group = engine.group / other
    group.mkdir()
    (group / "cgroup.procs").write_text(str(innocent.pid))
    try:
        mine = tmp_path / "my.cid"
        mine.write_text(other)
        box.configure(service(POLITE, options=f"--rm --cidfile {mine}"))
        assert box("up").returncode != 0
        assert "container ID file found" in box.log("box")
        assert box("stop", "box").returncode == 0
        assert innocent.poll() is None and mine.read_text() == other
        mine.unlink()
        assert box("start", "box").returncode == 0
        container = running(engine)
        held(box, container)
        assert mine.read_text() == container.id
        assert box("restart", "box").returncode == 0  # its file would refuse a second start
        running(engine, 2)
        assert box("stop", "box").returncode == 0
        assert not mine.exists() and innocent.poll() is None
    finally:
        innocent.kill()
        innocent.wait()
        wait_for(lambda: "populated 0" in (group / "cgroup.events").read_text())
        group.rmdir()


def test_a_detached_client_ends_its_container_and_check_says_so(box, engine):
    path = box.configure(service(POLITE, options="-d --rm"))
    check = box("check", str(path))
    assert check.returncode != 0 and "without -d" in check.stdout + check.stderr, check
    box("up")
    wait_for(lambda: engine.containers and engine.containers[0].process and not engine.containers[0].running)
    stop = box("stop", "box")
    assert stop.returncode == 0, stop.stderr


def test_a_container_that_ran_too_briefly_to_be_seen_is_asked_after(box, engine):
    done = box("run", "--", "docker", "run", "--rm", "image:1", "sh", "-c", "exit 3")
    assert done.returncode == 3, done.stderr


def test_what_runs_elsewhere_is_not_proven(tmp_path, gw):
    engine = make_engine(tmp_path, hidden=True)
    try:
        gw.env.update(engine.env(gw.env["PATH"]), DOCKER_HOST="ssh://far.example")
        gw.configure(service(POLITE))
        assert gw("up").returncode == 0
        container = running(engine)
        stop = gw("stop", "box")
        assert stop.returncode == 4 and "was ever seen on this machine" in stop.stderr, stop
        assert container.signals == ["SIGTERM by client"]
    finally:
        engine.clean()


@pytest.mark.parametrize("words", [["docker", "compose", "up"], ["docker", "start", "-a", "box"],
                                   ["sh", "-c", "docker run image:1"]])
def test_what_leaves_no_id_is_not_proven_and_says_why(gw, tmp_path, words):
    fake = tmp_path / "bin" / "docker"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\nexec sleep 1000\n")
    fake.chmod(0o755)
    gw.env["PATH"] = f"{fake.parent}:{gw.env['PATH']}"
    assert gw("run", "--detach", "--name", "box", "--", *words).returncode == 0
    stop = gw("stop", "box")
    assert stop.returncode == 4
    assert "leaves no id" in stop.stderr or "within another command" in stop.stderr, stop.stderr


@pytest.fixture
def open_folder():
    """One that every user can reach: pytest closes those above tmp_path."""
    with tempfile.TemporaryDirectory(prefix="gpuward-", ignore_cleanup_errors=True) as name:
        os.chmod(name, 0o711)
        yield Path(name)


def test_a_container_that_cannot_be_killed_is_named(open_folder):
    engine = make_engine(open_folder)
    home = open_folder / "theirs"
    home.mkdir()
    os.chown(home, 65534, 65534)
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "env")
    probe = subprocess.run([*nobody[:-1], BIN / "gpuward", "--version"], capture_output=True)
    if probe.returncode != 0:
        engine.clean()
        pytest.skip("needs programs that user 65534 can execute")
    (home / "etc").mkdir()
    os.chown(home / "etc", 65534, 65534)
    gw = Gpuward(home, prefix=nobody, HOME=str(home), **engine.env(os.environ["PATH"]))
    gw.configure(service(DEAF, 'stop = { grace = "100ms" }'))
    assert gw("up").returncode == 0
    try:
        container = running(engine)
        held(gw, container)
        engine.die()
        stop = gw("stop", "box")
        assert stop.returncode == 4
        assert f"pid {container.pid} (sh) in its container" in stop.stderr, stop.stderr
        container.process.kill()  # and then it is over
        wait_for(lambda: gw.service("box")["verdict"] == "STOPPED", why="the container is empty")
    finally:
        gw("down")
        engine.clean()


def test_an_anchor_with_a_container_allocates_nothing(engine, tmp_path):
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("gpuward", "gpuwardd", "gpuward-sentinel"):
        shutil.copy(BIN / name, programs / name)
    shutil.copy(ROOT / "build/release/tests/helpers/gpuward-anchor-sealed", programs / "gpuward-anchor")
    report = tmp_path / "allocated"
    gw = Gpuward(tmp_path / "home", programs, SEALED_HEAP_REPORT=str(report), **engine.env(os.environ["PATH"]))
    try:
        gw.configure(service(DEAF, 'stop = { grace = "100ms" }'))
        assert gw("up").returncode == 0
        held(gw, running(engine))
        assert gw("restart", "box").returncode == 0
        held(gw, running(engine, 2))
        os.kill(gw.service("box")["replicas"][0]["anchor_pid"], signal.SIGKILL)
        wait_for(lambda: gw.anchors(), why="adopted")
        engine.hangs.set()
        assert gw("stop", "box").returncode == 0
        assert not report.exists(), report.read_text()
    finally:
        gw("down")
        for pid in gw.anchors():
            end(pid)


def test_ps_names_container_image_and_project(box, engine, tmp_path):
    box.env.update(GPUSIM_STATE=str(tmp_path / "cards"), LD_LIBRARY_PATH=str(BIN / "sim"))
    engine.environment.update(GPUSIM_STATE=str(tmp_path / "cards"), LD_LIBRARY_PATH=str(BIN / "sim"))
    subprocess.run([BIN / "gpusim", "create", "--gpus", "1", "--memory", "8GiB"], env=box.env, check=True, capture_output=True)
    words = ["docker", "run", "clinic/xray:2", str(BIN / "gpuward-xray"), "--listen", "127.0.0.1:0"]
    box.configure(f"[service.box]\ncommand = {json.dumps(words)}\n")
    assert box("up").returncode == 0
    container = running(engine)
    rows = wait_for(lambda: json.loads(box("ps", "--json").stdout)["processes"], why="it holds the card")
    assert rows[0]["container"] == container.id[:12] and rows[0]["image"] == "clinic/xray:2"
    assert rows[0]["compose_project"] == "clinic" and rows[0]["compose_service"] == "xray"
    wait_for(lambda: json.loads(box("ps", "--json").stdout)["processes"][0]["owner"], why="it is the service's")
    assert f"[container {container.id[:12]} of clinic/xray:2, clinic/xray]" in box("ps").stdout
    stop = box("stop", "--json", "box")
    assert stop.returncode == 0 and receipt_of(stop)["container_proof"] == "empty", stop
    assert alive(container.pid) is False
