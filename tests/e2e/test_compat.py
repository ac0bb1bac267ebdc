"""The drop-in scripts of compat/ over gpuward, and the article's own scripts inside `gpuward run`."""

import os
import socket
import subprocess
import tomllib
from pathlib import Path

import pytest
from gpuward import BIN, ROOT, Gpuward, alive, end, wait_for

ARTICLE = ROOT / "bench/article"

# Serves HTTP; with the word LEAVE in its folder it first starts a child in a session of its own and writes its pid down.
APP = """
import http.server, os, pathlib, subprocess, sys
here = pathlib.Path(__file__).parent
if (here / "LEAVE").exists():
    child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    (here / "child.part").write_text(str(child.pid))
    (here / "child.part").rename(here / "child.pid")
print("the app speaks", sys.argv[1:], flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["GRADIO_SERVER_PORT"])),
                                http.server.SimpleHTTPRequestHandler).serve_forever()
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


class Scripts:
    """compat/ with an app in a folder of its own, and a private gpuward."""

    def __init__(self, folder: Path, **env: str):
        self.app = folder / 'an "app" \\ folder'
        self.app.mkdir()
        (self.app / "gradio_app.py").write_text(APP)
        self.port = free_port()
        self.gw = Gpuward(folder / "home", **env)
        self.env = {**self.gw.env, "GPUWARD": str(BIN / "gpuward"), "APP_DIR": str(self.app), "HOST": "127.0.0.1",
                    "PYTHON": "/usr/bin/python3", "PORT": str(self.port), "READY_WITHIN": "20s"}
        self.pid_file = self.app / "gradio_app.pid"
        self.toml = self.gw.home / "etc/gradio_app.toml"

    def __call__(self, verb: str, **env: str) -> subprocess.CompletedProcess:
        return subprocess.run([ROOT / f"compat/{verb}_gradio.sh"], env={**self.env, **env}, text=True,
                              capture_output=True, timeout=60, stdin=subprocess.DEVNULL)

    def log(self) -> str:
        return (self.app / "logs/gradio_app.log").read_text()

    def pid(self) -> int:
        return int(self.pid_file.read_text())


def with_end(scripts):
    yield scripts
    scripts.gw("down")
    wait_for(lambda: not scripts.gw.anchors(), why="the anchors have gone")


@pytest.fixture
def old(tmp_path):
    yield from with_end(Scripts(tmp_path))


@pytest.fixture
def old_with_card(tmp_path):
    env = {"GPUSIM_STATE": str(tmp_path / "cards"), "LD_LIBRARY_PATH": str(BIN / "sim")}
    subprocess.run([BIN / "gpusim", "create", "--gpus", "1", "--memory", "8GiB"], env={**os.environ, **env},
                   check=True, capture_output=True)
    yield from with_end(Scripts(tmp_path, **env))


def test_from_start_to_stop(old):
    start = old("start")
    assert start.returncode == 0, start.stderr
    pid = old.pid()
    assert alive(pid)
    assert f"Started successfully with session PID: {pid}" in start.stdout
    assert f"Address: http://127.0.0.1:{old.port}" in start.stdout
    assert f"PID saved to: {old.pid_file}" in start.stdout
    assert old.log() == f"Started with session PID: {pid}\n"
    assert "'--server-port', '%d', '--server-name', '127.0.0.1'" % old.port in old.gw.log("gradio_app")

    status = old("status")
    assert status.returncode == 0
    assert f"Status: RUNNING (PID: {pid})" in status.stdout
    assert "Process tree depth: 1, processes: 1" in status.stdout
    assert "Quick Commands:" in status.stdout

    again = old("start")
    assert again.returncode == 0
    assert f"already running with session PID: {pid} [HEALTHY]; not started" in again.stderr
    assert old.pid() == pid and alive(pid)

    stop = old("stop")
    assert stop.returncode == 0, stop.stderr
    assert f"Stopping session {pid}" in stop.stdout
    assert "gradio_app: ended 1 process" in stop.stdout and f"port {old.port} free" in stop.stdout
    assert not alive(pid) and not old.pid_file.exists()
    assert old.log().endswith(f": Session {pid} stopped\n")
    assert "Status: NOT RUNNING" in old("status").stdout

    assert old("start").returncode == 0  # with the file written before
    assert old.pid() != pid
    assert old("stop").returncode == 0


def test_two_starts_at_once_start_one(old):
    starts = [subprocess.Popen([ROOT / "compat/start_gradio.sh"], env=old.env, text=True, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(3)]
    for start in starts:
        said, _ = start.communicate(timeout=60)
        assert start.returncode == 0, said
        assert f"session PID: {old.pid()}" in said
    assert old.gw.service("gradio_app")["replicas"][0]["processes"] == 1


def test_stop_leaves_nothing_of_an_app_that_leaves_a_session(old):
    (old.app / "LEAVE").touch()
    assert old("start").returncode == 0
    child = int((old.app / "child.pid").read_text())
    assert "Process tree depth: 2, processes: 2" in old("status").stdout
    stop = old("stop")
    assert stop.returncode == 0, stop.stderr
    assert "ended 2 processes" in stop.stdout
    assert not alive(child)


def test_the_articles_stop_leaves_it_and_gpuward_run_counts_and_ends_it(old):
    (old.app / "LEAVE").touch()
    child = old.app / "child.pid"
    env = {"TERM_WAIT": "0.2", "KILL_WAIT": "0.2", "GRADIO_SERVER_PORT": str(old.port), "CHILD": str(child)}
    old.gw.env.update(env)
    command = [str(ARTICLE / "leave-behind.sh"), "--until", 'test -e "$CHILD"', "--", "/usr/bin/python3",
               str(old.app / "gradio_app.py")]
    run = old.gw("run", "--", *command)
    assert run.returncode == 0, run.stderr
    assert "Sending TERM to session" in run.stdout
    assert f"left: pid {child.read_text()}: sleep 1000" in run.stdout
    assert "left behind: 1 process\n" in run.stdout
    assert not alive(int(child.read_text()))

    child.unlink()
    assert old.gw("run", "--detach", "--name", "held", "--", command[0], "--hold", *command[1:]).returncode == 0
    wait_for(lambda: "left behind: 1 process\n" in old.gw.log("held"), why=old.gw.log("held"))
    left = int(child.read_text())
    assert alive(left)
    stop = old.gw("stop", "held")
    assert "held: ended 2 processes" in stop.stdout, stop.stderr  # it and leave-behind.sh
    assert not alive(left)


def test_the_bundled_services_stubborn_child_outlives_the_articles_stop(old):
    """Its lingering children stay in its session and end with it; only a stubborn one has left."""
    film = ROOT / "tests/films/nih_00000003_000.png"
    old.gw.env.update({"TERM_WAIT": "0.2", "KILL_WAIT": "0.2"})
    for fault, left in (("linger:1", "left behind: 0 processes\n"), ("linger:1,stubborn:1", "left behind: 1 process\n")):
        port = free_port()
        run = old.gw("run", "--", str(ARTICLE / "leave-behind.sh"), "--until",
                     f"curl -sf -o /dev/null --data-binary @'{film}' http://127.0.0.1:{port}/analyze", "--",
                     str(BIN / "gpuward-xray"), "--no-gpu", "--port", str(port), "--workers", "process",
                     "--kernels", "5", "--fault", fault)
        assert run.returncode == 0, run.stderr
        assert left in run.stdout


def test_leave_behind_refuses_to_run_outside_a_run(old):
    done = subprocess.run([ARTICLE / "leave-behind.sh", "--", "true"], text=True, capture_output=True, timeout=20)
    assert done.returncode == 2
    assert "not inside 'gpuward run'" in done.stderr


@pytest.mark.parametrize("text", ["", "0", "1", "-1", "abc", "{other}", "{member}"])
def test_the_articles_stop_signals_nothing_but_a_session_it_started(old, text):
    leader = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    member = subprocess.Popen(["sleep", "1000"])
    try:
        old.pid_file.write_text(text.format(other=leader.pid, member=member.pid))
        os.utime(old.pid_file, (0, 0))  # older than both: a stale file
        stop = subprocess.run([ARTICLE / "stop_gradio.sh"], text=True, capture_output=True, timeout=20,
                              env={**old.env, "LOG_FILE": str(old.app / "log")})
        assert "Sending" not in stop.stdout
        assert alive(leader.pid) and alive(member.pid)
        assert not old.pid_file.exists()
    finally:
        for process in (leader, member):
            end(process.pid)
            process.wait()


def test_a_taken_port_names_its_holder(old):
    with socket.create_server(("127.0.0.1", old.port)):
        start = old("start")
    assert start.returncode == 1
    assert f"port {old.port} is taken by pid {os.getpid()}" in start.stderr
    assert f"port {old.port}: address already in use" in start.stderr
    assert not old.pid_file.exists() and not old.gw.anchors()


def test_what_is_missing_is_named_before_anything_starts(old):
    start = old("start", PYTHON="/nonexistent/python")
    assert start.returncode == 1 and "Python interpreter not found: /nonexistent/python" in start.stderr
    start = old("start", APP_FILE="nobody.py")
    assert start.returncode == 1 and f"application file not found: {old.app}/nobody.py" in start.stderr
    start = old("start", GPUWARD="/nonexistent/gpuward")
    assert start.returncode == 1 and "set GPUWARD" in start.stderr
    start = old("start", PORT="78x")
    assert start.returncode == 1 and "PORT '78x' is no port" in start.stderr
    assert not old.toml.exists() and old.gw.status()["warden"] is None


def test_an_app_that_ends_at_once_fails_with_its_reason(old):
    (old.app / "gradio_app.py").write_text("raise SystemExit('no model here')")
    start = old("start")
    assert start.returncode == 1
    assert "exited with code 1" in start.stderr and "gpuward logs gradio_app" in start.stderr
    assert not old.pid_file.exists()
    assert "Status: NOT RUNNING" in old("status").stdout


def test_stop_without_anything_says_so(old):
    stop = old("stop")
    assert stop.returncode == 0
    assert "No PID file found" in stop.stdout


def test_a_stale_pid_file_is_a_zombie_and_stop_removes_it(old):
    gone = subprocess.Popen(["true"])
    gone.wait()
    old.pid_file.write_text(f"{gone.pid}\n")
    assert f"Status: ZOMBIE (PID file exists, but no process {gone.pid})" in old("status").stdout
    stop = old("stop")
    assert stop.returncode == 0 and "stale PID file" in stop.stdout
    assert not old.pid_file.exists()


def test_a_process_of_somebody_else_is_never_signalled(old):
    other = subprocess.Popen(["sleep", "1000"])
    try:
        old.pid_file.write_text(f"{other.pid}\n")
        assert f"RUNNING (PID: {other.pid}), but not held by gpuward" in old("status").stdout
        stop = old("stop")
        assert stop.returncode == 1 and "left alone" in stop.stderr
        assert other.poll() is None and old.pid_file.exists()
    finally:
        end(other.pid)
        other.wait()


def test_the_configuration_is_written_once_and_holds_the_values(old):
    assert old("start").returncode == 0
    service = tomllib.loads(old.toml.read_text())["service"]["gradio_app"]
    assert service["directory"] == str(old.app)  # with its quotes, blanks and backslash
    assert service["pid_file"] == str(old.pid_file)
    assert service["command"][:2] == ["/usr/bin/python3", str(old.app / "gradio_app.py")]
    assert old("stop").returncode == 0
    edited = old.toml.read_text().replace('"5s"', '"3s"')
    old.toml.write_text(edited)
    start = old("start")
    assert start.returncode == 0, start.stderr
    assert "differs" in start.stdout and old.toml.read_text() == edited


@pytest.mark.parametrize("values, text", [
    ({"CUDA_VISIBLE_DEVICES": "0\n[service.b]"}, "a control character in '0?[service.b]'"),
    ({"PID_FILE": "x\x7f.pid"}, "a control character"),
    ({"APP_ARGS": "--a \x01"}, "a control character"),
    ({"PID_FILE": "{port}.pid"}, "has a meaning in gpuward's configuration"),
    ({"PID_FILE": "x\udcff.pid"}, "not TOML"),  # not UTF-8
    ({"READY_WITHIN": "fast"}, "gradio_app.toml:"),  # as gpuward check says it
    ({"SERVICE": "a b"}, "letters, digits"),
])
def test_values_that_cannot_be_written_are_refused(old, values, text):
    start = old("start", **values)
    assert start.returncode == 1
    assert text in start.stderr
    assert not list((old.gw.home / "etc").iterdir())


def test_two_services_of_one_port_are_refused_before_they_break_the_configuration(old):
    assert old("start").returncode == 0
    start = old("start", SERVICE="second")
    assert start.returncode == 1
    assert "expected one of its own" in start.stderr and "second.toml was not written" in start.stderr
    assert [path.name for path in (old.gw.home / "etc").iterdir()] == ["gradio_app.toml"]


def test_a_gpuward_that_has_not_read_the_new_file_is_said(old):
    assert old.gw("up").returncode == 0
    start = old("start")
    assert start.returncode == 1
    assert "gpuward down && gpuward up" in start.stderr
    assert old.gw("down").returncode == 0
    assert old("start").returncode == 0


def test_status_knows_who_holds_the_card(old_with_card):
    old = old_with_card
    (old.app / "xray.sh").write_text(f'exec "{BIN}/gpuward-xray" --port "$GRADIO_SERVER_PORT"\n')
    start = old("start", PYTHON="/bin/sh", APP_FILE="xray.sh", READY_PATH="/health")
    assert start.returncode == 0, start.stderr
    wait_for(lambda: f"GPU context: HEALTHY (PID {old.pid()} holds the GPU)" in old("status").stdout,
             why=old("status").stdout)
    assert old("stop").returncode == 0


def test_status_says_that_the_context_is_lost(old_with_card):
    old = old_with_card
    assert old("start").returncode == 0
    wait_for(lambda: "GPU context: WARNING (context lost" in old("status").stdout, why=old("status").stdout)


def test_the_one_line_form_keeps_a_pid_file_while_it_runs(gw, tmp_path):
    pid_file = tmp_path / "one.pid"
    run = gw("run", "--detach", "--pid-file", str(pid_file), "--name", "one", "--", "sleep", "1000")
    assert run.returncode == 0, run.stderr
    main = gw.service("one")["replicas"][0]["main_pid"]
    assert pid_file.read_text() == f"{main}\n" and alive(main)
    assert gw("stop", "one").returncode == 0
    assert not pid_file.exists() and not alive(main)
