"""The drop-in scripts, and the article's own, which they replace."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from gpuward import BIN, ROOT, alive, wait_for

APP = """
import http.server, os, subprocess
subprocess.Popen(["sleep", "1000"], start_new_session=True)
http.server.HTTPServer(("127.0.0.1", int(os.environ["GRADIO_SERVER_PORT"])),
                       http.server.SimpleHTTPRequestHandler).serve_forever()
"""


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Scripts:
    def __init__(self, gw, folder: Path):
        folder.mkdir()
        (folder / "gradio_app.py").write_text(APP)
        self.folder, self.port = folder, free_port()
        self.pid_file = folder / "gradio_app.pid"
        self.env = {**gw.env, "GPUWARD": str(BIN / "gpuward"), "APP_DIR": str(folder), "PYTHON": sys.executable,
                    "HOST": "127.0.0.1", "PORT": str(self.port)}

    def __call__(self, name: str, **env: str) -> subprocess.CompletedProcess:
        return subprocess.run([ROOT / "compat" / f"{name}_gradio.sh"], env={**self.env, **env}, text=True,
                              capture_output=True, timeout=60, stdin=subprocess.DEVNULL)


@pytest.fixture
def scripts(gw, tmp_path):
    return Scripts(gw, tmp_path / "app with a blank")


def test_start_status_stop_keep_their_words_and_leave_nothing(gw, scripts):
    start = scripts("start")
    assert start.returncode == 0, start.stderr
    pid = int(scripts.pid_file.read_text())
    assert "Started successfully" in start.stdout and f"http://127.0.0.1:{scripts.port}" in start.stdout
    log = scripts.folder / "logs/gradio_app.log"
    assert f"Started with session PID: {pid}" in log.read_text()
    tree = [p["pid"] for p in gw.service("gradio_app")["replicas"][0]["tree"]]
    assert len(tree) == 2 and pid in tree

    again = scripts("start")
    assert again.returncode == 0 and f"Already running with PID {pid}" in again.stdout

    status = scripts("status")
    assert f"RUNNING (PID {pid})" in status.stdout and "Processes in its tree: 2" in status.stdout

    stop = scripts("stop")
    assert stop.returncode == 0, stop.stderr
    assert "ended 2 processes" in stop.stdout and f"Session {pid} stopped" in log.read_text()
    assert not scripts.pid_file.exists() and not [p for p in tree if alive(p)]
    assert "NOT RUNNING" in scripts("status").stdout
    assert "No PID file found" in scripts("stop").stdout


def test_the_description_is_written_once(gw, scripts):
    assert scripts("start").returncode == 0
    assert scripts("stop").returncode == 0
    toml = gw.home / "etc/gradio_app.toml"
    toml.write_text(toml.read_text() + "# mine\n")
    assert scripts("start", PORT="1").returncode == 0
    assert toml.read_text().endswith("# mine\n")


@pytest.mark.parametrize("env, words", [
    ({"PYTHON": "/no/python"}, "the interpreter is not there: /no/python"),
    ({"APP_FILE": "/no/app.py"}, "the program file is not there: /no/app.py"),
    ({"READY_WITHIN": "soon"}, "these settings make no service"),
    ({"APP_FILE": "{dir}/a\nb.py"}, "control character"),
])
def test_what_cannot_start_is_told_and_nothing_is_left(gw, scripts, env, words):
    (scripts.folder / "a\nb.py").touch()
    start = scripts("start", **{k: v.replace("{dir}", str(scripts.folder)) for k, v in env.items()})
    assert start.returncode == 1
    assert words in start.stderr
    assert list((gw.home / "etc").iterdir()) == [] and not scripts.pid_file.exists()


def test_a_taken_port_names_its_holder(gw, scripts):
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", scripts.port))
        holder.listen()
        start = scripts("start")
    assert start.returncode == 1
    assert str(os.getpid()) in start.stderr and str(scripts.port) in start.stderr


def test_a_stale_pid_file_is_told_and_hurts_nobody(scripts):
    innocent = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    scripts.pid_file.write_text(f"{innocent.pid}\n")
    assert "ZOMBIE" in scripts("status").stdout
    assert scripts("stop").returncode == 0
    assert innocent.poll() is None and not scripts.pid_file.exists()
    innocent.kill()
    innocent.wait()


def test_the_one_line_form_fits_any_script(gw, tmp_path):
    pid_file = tmp_path / "any.pid"
    run = gw("run", "--detach", "--name", "any", "--pid-file", str(pid_file), "--", "sleep", "1000")
    assert run.returncode == 0, run.stderr
    pid = int(pid_file.read_text())
    assert os.getsid(pid) == pid
    assert gw("stop", "any").returncode == 0
    assert not alive(pid)


def test_the_articles_stop_leaves_what_made_a_session_of_its_own(gw, tmp_path):
    """The opponent: its waits are shortened, its steps are not."""
    ask, tell = tmp_path / "ask", tmp_path / "tell"
    os.mkfifo(ask)
    os.mkfifo(tell)
    told = os.open(tell, os.O_RDWR)
    asks = os.open(ask, os.O_RDWR)
    gw.env.update(TERM_WAIT="0.1", KILL_WAIT="0.1")
    run = gw("run", "--detach", "--name", "article", "--", str(ROOT / "bench/article/leave-behind.sh"),
             str(tmp_path / "app"), str(ask), str(tell), "sh", "-c", "setsid sleep 1000 & echo up; exec sleep 1000")
    assert run.returncode == 0, run.stderr
    assert os.read(told, 100) == b"started\n"
    log = tmp_path / "app/logs/gradio_app.log"
    wait_for(lambda: "up" in log.read_text(), 10, "the app runs")
    os.write(asks, b"stop\n")
    assert os.read(told, 100) == b"stopped\n"
    left = gw.service("article")["replicas"][0]
    assert left["processes"] == 2 and "sleep 1000" in left["tree"][1]["command"]
    stop = gw("stop", "article")
    assert stop.returncode == 0 and "ended 2 processes" in stop.stdout
