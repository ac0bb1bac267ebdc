"""How a service tells that it is ready and that it lives: sd_notify, its log, questions; and what its end is put down to."""

import os
import signal
import socket

import pytest
from gpuward import wait_for

NOTIFY = """
import os, signal, socket, sys, time
def say(text):
    address = os.environ["NOTIFY_SOCKET"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
        door.sendto(text.encode(), "\\0" + address[1:])
"""


def script(gw, text: str) -> str:
    path = gw.home / "service.py"
    path.write_text(text)
    return f'command = ["python3", "{path}"]'


def test_ready_when_it_says_so(gw):
    os.mkfifo(gw.home / "gate")
    gw.configure(f"""
[service.told]
{script(gw, NOTIFY + f"open('{gw.home}/gate').read(); say('STATUS=warm' + chr(10) + 'READY=1'); signal.pause()")}
ready = {{ notify = true, within = "20s" }}
""")
    up = gw.popen("up")
    wait_for(lambda: any(s["verdict"] == "STARTING" and s["replicas"] for s in gw.status()["services"]))
    (gw.home / "gate").write_text("go")
    out, err = up.communicate(timeout=20)
    assert up.returncode == 0, err
    assert {"what": "readiness", "value": "it said READY=1"}.items() <= gw.service("told")["evidence"][0].items()


def test_a_stranger_s_word_does_not_count(gw):
    gw.configure(f"""
[service.told]
{script(gw, NOTIFY + "print(os.environ['NOTIFY_SOCKET'], flush=True); signal.pause()")}
ready = {{ notify = true, within = "1s" }}
stop = {{ grace = "1s" }}
""")
    up = gw.popen("up")
    address = wait_for(lambda: gw.log("told").split()[:1])[0]

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
        door.sendto(b"READY=1", "\0" + address[1:])
    out, err = up.communicate(timeout=20)
    assert up.returncode == 1 and "not ready within 1000 ms" in err


def test_ready_when_its_log_says_so(gw):
    gw.configure(f"""
[service.gradio]
{script(gw, "import os, time, signal" + chr(10) + "os.write(1, b'Running on lo'); time.sleep(0.1); os.write(1, b'cal URL: x' + bytes([10])); signal.pause()")}
ready = {{ log = "Running on local URL", within = "20s" }}
""")
    up = gw("up")
    assert up.returncode == 0, up.stderr
    assert "it printed the text of 'ready.log'" in str(gw.service("gradio")["evidence"])


def test_a_service_that_stops_answering_is_started_again(gw):
    gw.configure(f"""
[service.web]
command = ["python3", "-m", "http.server", "{{port}}", "--bind", "127.0.0.1"]
ready = {{ http = "/", within = "20s" }}
live = {{ http = "/", every = "100ms", failures = 2 }}
stop = {{ grace = "500ms" }}
backoff = {{ first = "10ms", max = "1s" }}
""")
    assert gw("up").returncode == 0
    before = gw.service("web")["replicas"][0]
    wait_for(lambda: gw.log("web").count("GET / ") > 3, why="it is asked again and again")
    assert gw.service("web")["replicas"][0]["main_pid"] == before["main_pid"]
    os.kill(before["main_pid"], signal.SIGSTOP)  # the port stays open: only an answer counts
    wait_for(lambda: gw.service("web")["replicas"] and gw.service("web")["replicas"][0]["generation"] == 2
             and gw.service("web")["verdict"] == "HEALTHY", 30, gw.log("web"))


def test_a_watchdog_that_falls_silent_ends_the_tree(gw):
    beat = "while not os.path.exists(sys.argv[0] + '.hang'): say('WATCHDOG=1'); time.sleep(0.05)"
    gw.configure(f"""
[service.told]
{script(gw, NOTIFY + "print(os.environ['WATCHDOG_USEC'], flush=True); say('READY=1')" + chr(10) + beat + chr(10) + "signal.pause()")}
ready = {{ notify = true }}
live = {{ notify = true, every = "500ms" }}
restart = "never"
stop = {{ grace = "1s" }}
""")
    assert gw("up").returncode == 0
    assert gw.log("told").split() == ["500000"]
    generation = gw.service("told")["replicas"][0]["generation"]
    (gw.home / "service.py.hang").write_text("")
    wait_for(lambda: gw.service("told")["verdict"] == "FAILED")
    assert gw.service("told")["sentence"] == "no WATCHDOG=1 for 500 ms" and generation == 1


@pytest.mark.parametrize("line, told", [
    ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", "CUDA out of memory"),
    ("RuntimeError: CUDA error: an illegal memory access was encountered", "a CUDA error"),
    ("Traceback (most recent call last):", "a Python traceback"),
])
def test_what_the_log_tells_of_stands_beside_the_end_without_its_text(gw, line, told):
    gw.configure(f"""
[service.torch]
{script(gw, f"import sys; print('patient 4711: ' + {line!r}); sys.exit(3)")}
restart = "never"
""")
    gw("up")
    wait_for(lambda: gw.service("torch")["verdict"] == "FAILED")
    assert gw.service("torch")["sentence"] == f"exited with code 3; its log tells of {told}"
    assert "4711" not in gw("status", "torch", "--json").stdout


def test_a_crash_loop_is_given_up_and_started_again_by_hand(gw):
    gw.configure(f"""
[service.loop]
command = ["sh", "-c", "echo life; exit 7"]
restart = "always"
backoff = {{ first = "10ms", max = "10ms" }}
""")
    gw("up")
    wait_for(lambda: gw.service("loop")["verdict"] == "FAILED")
    assert gw.service("loop")["sentence"] == "failed 10 times in a row, the last time: exited with code 7"
    assert gw.log("loop").count("life") == 10
    assert not gw.anchors()
    start = gw("start", "loop")
    assert start.returncode in (0, 1)
    wait_for(lambda: gw.log("loop").count("life") > 10, why="it is tried again")
    wait_for(lambda: gw.service("loop")["verdict"] == "FAILED")


def test_a_text_printed_at_once_is_never_overlooked(gw):
    gw.configure("""
[service.quick]
command = ["sh", "-c", "echo ready-now; exec sleep 1000"]
ready = { log = "ready-now", within = "3s" }
restart = "never"
autostart = false
""")
    assert gw("up").returncode == 0
    for _ in range(12):
        assert gw("start", "quick").returncode == 0
        assert gw("stop", "quick").returncode == 0


def test_a_helper_that_is_gone_by_then_may_say_it(gw):
    gw.configure(f"""
[service.told]
command = ["sh", "-c", "python3 {gw.home}/service.py; exec sleep 1000"]
ready = {{ notify = true, within = "20s" }}
""")
    (gw.home / "service.py").write_text(NOTIFY + "say('READY=1')")
    assert gw("up").returncode == 0


def test_who_sits_on_the_name_keeps_nobody_from_taking_the_tree_over(gw):
    gw.configure(f"""
[service.told]
{script(gw, NOTIFY + "print(os.environ['NOTIFY_SOCKET'], flush=True); say('READY=1'); signal.pause()")}
ready = {{ notify = true, within = "20s" }}
live = {{ notify = true, every = "500ms" }}
""")
    (gw.home / "service.py").write_text((gw.home / "service.py").read_text().replace(
        "signal.pause()", "\nwhile True:\n    say('WATCHDOG=1')\n    time.sleep(0.1)"))
    assert gw("up").returncode == 0
    name = gw.log("told").split()[0]
    before = gw.service("told")["replicas"][0]
    warden = gw.status()["warden"]["pid"]
    os.kill(warden, signal.SIGKILL)
    os.kill(before["anchor_pid"], signal.SIGKILL)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as squatter:
        wait_for(lambda: bound(squatter, "\0" + name[1:]))
        assert gw("up").returncode == 0
        after = gw.service("told")
        assert after["verdict"] == "HEALTHY" and after["replicas"][0]["main_pid"] == before["main_pid"]
    assert gw("stop", "told").returncode == 0


def bound(door: socket.socket, address: str) -> bool:
    try:
        door.bind(address)
        return True
    except OSError:
        return False


def test_what_was_said_while_nobody_listened_ends_nothing(gw):
    os.mkfifo(gw.home / "gate")
    gw.configure(f"""
[service.told]
{script(gw, f"import signal; open('{gw.home}/gate').read(); signal.pause()")}
ready = {{ notify = true, within = "2s" }}
""")
    up = gw.popen("up")
    def begun():
        return next((r for s in gw.status()["services"] for r in s["replicas"] if r["anchor_pid"] and r["main_pid"]), None)
    replica = wait_for(begun)
    up.kill()
    up.communicate()
    for pid in (gw.status()["warden"]["pid"], replica["anchor_pid"]):
        os.kill(pid, signal.SIGKILL)
    again = gw("up")
    assert again.returncode == 0, again.stderr
    told = gw.service("told")
    assert told["replicas"][0]["main_pid"] == replica["main_pid"] and "may have said READY=1" in str(told["evidence"])


def test_a_question_does_not_cut_a_server_off_in_its_answer(gw):
    (gw.home / "page").write_bytes(b"x" * 300_000)
    gw.configure(f"""
[service.web]
command = ["python3", "-m", "http.server", "{{port}}", "--bind", "127.0.0.1"]
directory = "{gw.home}"
ready = {{ http = "/page", within = "20s" }}
live = {{ http = "/page", every = "100ms" }}
""")
    assert gw("up").returncode == 0
    wait_for(lambda: gw.log("web").count("GET /page") > 20)
    assert "BrokenPipe" not in gw.log("web") and "reset" not in gw.log("web").lower()


def test_why_it_is_not_ready_says_what_it_answered(gw):
    gw.configure(f"""
[service.web]
command = ["python3", "-m", "http.server", "{{port}}", "--bind", "127.0.0.1"]
directory = "{gw.home}"
ready = {{ http = "/absent", within = "1s" }}
stop = {{ grace = "1s" }}
""")
    up = gw("up")
    assert up.returncode == 1 and "not ready within 1000 ms; it last answered 404" in up.stderr, up.stderr


def test_status_tells_of_restarts_and_why(gw):
    gw.configure("""
[service.sleeper]
command = ["sleep", "1000"]
backoff = { first = "10ms", max = "10ms" }
""")
    assert gw("up").returncode == 0
    os.kill(gw.service("sleeper")["replicas"][0]["main_pid"], signal.SIGKILL)
    wait_for(lambda: gw.service("sleeper")["verdict"] == "HEALTHY" and gw.service("sleeper")["restarts"] == 1)
    sleeper = gw.service("sleeper")
    assert sleeper["sentence"].endswith(", started again 1 time")
    assert "started again 1 time; before that: ended by signal 9 (killed)" in str(sleeper["evidence"])


def test_a_run_that_has_ended_is_not_told_of_for_ever(gw):
    assert gw("run", "--detach", "--name", "short", "--", "sleep", "1000").returncode == 0
    assert gw("stop", "short").returncode == 0
    assert gw.service("short")["verdict"] == "STOPPED"
    assert gw("up").returncode == 0
    assert gw.status()["services"] == []
