"""start --take-over: what an old script left on the port is shown, ended by the ladder, and proven gone."""

import contextlib
import json
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import time

import pytest
from gpuward import alive, end, wait_for

# Holds the port with a child that shares the socket and one that left for a session of its own.
STRANGER = """
import os, signal, socket, sys, time
deaf, port = sys.argv[1] == "deaf", int(sys.argv[2])
if deaf:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind((sys.argv[3], port)); s.listen()
log = open("app.log", "a")
open("app.pid", "w").write(str(os.getpid()) + "\\n")
pids = [os.getpid()]
r, w = os.pipe()
for lives in ("shares", "session"):
    if os.fork() == 0:
        if lives == "session":
            os.setsid(); s.close()
        os.write(w, (str(os.getpid()) + " ").encode())
        time.sleep(1000)
        os._exit(0)
while len(pids) < 3:
    pids += [int(p) for p in os.read(r, 100).split()]
print(*pids, flush=True)
time.sleep(1000)
"""
SERVICE = """
[service.web]
command = ["python3", "-m", "http.server", "{port}", "--bind", "127.0.0.1"]
ready = {{ tcp = "127.0.0.1:{port}", within = "20s" }}
stop = {{ grace = "{grace}" }}
autostart = false
"""


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Strangers:
    def __init__(self, folder):
        self.folder = folder
        self.children = []

    def begin(self, port: int, kind="polite", host="127.0.0.1", **options) -> list[int]:
        """@return its pids, the first is main's."""
        child = subprocess.Popen([sys.executable, "-c", STRANGER, kind, str(port), host], cwd=self.folder,
                                 stdout=subprocess.PIPE, text=True, **options)
        pids = [int(word) for word in child.stdout.readline().split()]
        self.children.append((child, pids))
        return pids


@pytest.fixture
def strangers(tmp_path):
    (tmp_path / "old").mkdir()
    begun = Strangers(tmp_path / "old")
    yield begun
    for child, pids in begun.children:
        if child.poll() is None:
            for pid in pids:
                end(pid)
        child.wait()
        child.stdout.close()


@pytest.fixture
def port(gw):
    number = free_port()
    gw.configure(SERVICE.format(port=number, grace="2s"))
    assert gw("up").returncode == 0
    return number


def gone(*pids: int) -> bool:
    return not any(alive(pid) for pid in pids)


def test_what_holds_the_port_is_shown_ended_and_the_service_starts(gw, port, strangers):
    pids = strangers.begin(port, start_new_session=True)
    refused = gw("start", "web")
    assert refused.returncode == 1 and f"pid {pids[0]}" in refused.stderr
    done = gw("start", "web", "--take-over", "--yes")
    assert done.returncode == 0, done.stderr
    for pid in pids:
        assert f"  {pid}  " in done.stderr
    old = strangers.folder
    for shown in (f"in {old}", f"file {old}/app.log", f"file {old}/app.pid", f"started by pid {os.getpid()} "):
        assert shown in done.stderr
    assert "web: ended 3 processes in " in done.stdout and f"port {port} free" in done.stdout and "web: ready" in done.stdout
    assert "KILL" not in done.stdout
    assert gone(*pids)
    assert gw.service("web")["verdict"] == "HEALTHY"
    told = gw("events", "--json").stdout
    entries = [json.loads(line) for line in told.splitlines()]
    intent = next(entry for entry in entries if entry["event"] == "take-over")
    assert intent["service"] == "web" and all(str(pid) in intent["evidence"] for pid in pids)
    outcome = next(entry for entry in entries if entry["of"] == intent["number"])
    assert outcome["outcome"] == "exit 0: ended 3, port free" and "import os" not in told
    again = gw("start", "web", "--take-over", "--yes")
    assert again.returncode == 0 and "ended" not in again.stdout, "what is ours is not taken over"


def test_without_a_word_nobody_is_ended(gw, port, strangers):
    pids = strangers.begin(port)
    refused = gw("start", "web", "--take-over")
    assert refused.returncode == 1
    assert "nothing was ended" in refused.stderr and "--take-over --yes" in refused.stderr
    assert all(alive(pid) for pid in pids)
    shown = gw("start", "web", "--take-over", "--json")
    assert shown.returncode == 1
    item = json.loads(shown.stdout)["taken_over"][0]
    assert [p["pid"] for p in item["processes"]][0] == pids[0] and item["receipt"] is None
    assert all(alive(pid) for pid in pids)
    assert gw("start", "web", "--yes").returncode == 2


class Question:
    """start --take-over on a terminal, up to the question that it puts there."""

    def __init__(self, gw):
        self.terminal, child = pty.openpty()
        self.asked = subprocess.Popen([gw.programs / "gpuward", "start", "web", "--take-over"], env=gw.env, stdin=child,
                                      stdout=subprocess.PIPE, stderr=child)
        os.close(child)
        self.text = ""
        while "[y/N]" not in self.text:
            self.read()

    def read(self):
        assert select.select([self.terminal], [], [], 20)[0], self.text
        self.text += os.read(self.terminal, 4096).decode()

    def answer(self, words: str) -> int:
        """@return the exit code; what was said is in text."""
        os.write(self.terminal, words.encode())
        self.asked.communicate(timeout=30)
        with contextlib.suppress(OSError):  # the other end of the terminal is closed
            while True:
                self.read()
        os.close(self.terminal)
        return self.asked.returncode


@pytest.mark.parametrize("answer, code", [("y\n", 0), ("\n", 1), ("no\n", 1)])
def test_on_a_terminal_it_is_asked(gw, port, strangers, answer, code):
    pids = strangers.begin(port)
    question = Question(gw)
    assert "end these 3 processes" in question.text and all(alive(pid) for pid in pids)
    assert question.answer(answer) == code
    assert gone(*pids) == (code == 0)


def test_who_took_the_port_while_the_question_stood_is_not_ended(gw, port, strangers):
    shown = strangers.begin(port)
    question = Question(gw)
    for pid in shown:
        end(pid)
    wait_for(lambda: gone(*shown))
    other = strangers.begin(port)
    assert question.answer("y\n") == 1
    assert "is not held by those that were shown any more" in question.text
    assert all(alive(pid) for pid in other)


def test_a_port_that_became_free_while_the_question_stood_ends_nobody(gw, port, strangers):
    shown = strangers.begin(port)
    question = Question(gw)
    for pid in shown[:2]:  # both that hold it
        end(pid)
    wait_for(lambda: gone(*shown[:2]))
    assert question.answer("y\n") == 0
    assert "is free by now: nothing was ended" in question.text
    assert alive(shown[2]) and gw.service("web")["verdict"] == "HEALTHY"


# Deaf to TERM but for one thing: it starts a child that nobody may end, known by its name.
STARTS_A_MANAGER = """
import ctypes, os, signal, socket, sys, time
def again(*_):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(15, b"systemd", 0, 0, 0)
    if os.fork() == 0:
        s.close()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        name = b"systemd" if os.fork() else b"below"
        ctypes.CDLL(None).prctl(15, name, 0, 0, 0)
        os.write(1, b"%s %d\\n" % (name, os.getpid()))  # in one piece: the other one writes, too
        while True: time.sleep(1000)
    ctypes.CDLL(None).prctl(15, b"main", 0, 0, 0)
signal.signal(signal.SIGTERM, again)
s = socket.socket(); s.bind(("127.0.0.1", int(sys.argv[1]))); s.listen()
print(os.getpid(), flush=True)
while True: time.sleep(1000)
"""


def test_who_is_found_on_the_way_is_ended_by_the_rules_of_what_was_shown(gw, strangers):
    port = free_port()
    gw.configure(SERVICE.format(port=port, grace="3s"))  # time to start its children on a busy machine
    assert gw("up").returncode == 0
    main = subprocess.Popen([sys.executable, "-c", STARTS_A_MANAGER, str(port)], stdout=subprocess.PIPE, text=True,
                            start_new_session=True)
    strangers.children.append((main, [main.pid]))
    assert int(main.stdout.readline()) == main.pid
    done = gw("start", "web", "--take-over", "--yes")
    lines = [main.stdout.readline() for _ in range(2)]
    assert all(lines), (done.returncode, done.stderr)
    started = {name: int(pid) for name, pid in (line.split() for line in lines)}
    try:
        assert done.returncode == 4, done.stderr
        assert done.stderr.count("left alone: pid") == 1
        assert f"left alone: pid {started['systemd']} (" in done.stderr and "is a service manager" in done.stderr
        assert gone(main.pid) and all(alive(pid) for pid in started.values())
    finally:
        for pid in started.values():
            end(pid)


def test_a_deaf_tree_is_killed_after_the_grace_and_the_receipt_says_so(gw, strangers):
    port = free_port()
    gw.configure(SERVICE.format(port=port, grace="300ms"))
    assert gw("up").returncode == 0
    pids = strangers.begin(port, "deaf")
    os.kill(pids[1], signal.SIGSTOP)
    begun = time.monotonic()
    done = gw("start", "web", "--take-over", "--yes", "--json")
    assert done.returncode == 0, done.stderr
    assert 0.3 <= time.monotonic() - begun < 10
    item = json.loads(done.stdout)["taken_over"][0]
    assert item["service"] == "web" and item["address"] == f"127.0.0.1:{port}" and item["refused"] is None
    assert {p["pid"] for p in item["processes"]} == set(pids)
    assert item["processes"][0]["directory"] == str(strangers.folder)
    receipt = item["receipt"]
    assert receipt["forced"] and receipt["port_free"] and receipt["survivors"] == [] and receipt["processes_ended"] == 3
    assert gone(*pids)


def test_an_orphan_in_its_session_belongs_to_it_and_others_of_init_do_not(gw, port, strangers):
    begin = """
import os, socket, sys, time
s = socket.socket(); s.bind(("127.0.0.1", int(sys.argv[1]))); s.listen()
r, w = os.pipe()
for own_session in (False, True):
    if os.fork() == 0:
        if own_session:
            os.setsid()
        if os.fork() == 0:
            s.close()
            os.write(w, f"{os.getpid()} ".encode())
            time.sleep(1000)
        os._exit(0)
    os.wait()
    got = b""
    while not got.endswith(b" "):
        got += os.read(r, 100)
    print(got.decode(), end="")
print(flush=True)
time.sleep(1000)
"""
    main = subprocess.Popen([sys.executable, "-c", begin, str(port)], stdout=subprocess.PIPE, text=True,
                            start_new_session=True)
    orphan, stranger = (int(word) for word in main.stdout.readline().split())
    strangers.children.append((main, [main.pid, orphan, stranger]))
    try:
        done = gw("start", "web", "--take-over", "--yes")
        assert done.returncode == 0, done.stderr
        assert gone(main.pid, orphan)
        assert alive(stranger), "nothing but its name would have told that it is of the same origin"
    finally:
        end(stranger)


def test_another_address_of_the_same_port_is_an_innocent(gw, port, strangers):
    other = strangers.begin(port, host="127.0.0.2")
    pids = strangers.begin(port)
    done = gw("start", "web", "--take-over", "--yes")
    assert done.returncode == 0, done.stderr
    assert gone(*pids) and all(alive(pid) for pid in other)


def test_a_wildcard_holder_is_found_too(gw, port, strangers):
    pids = strangers.begin(port, host="0.0.0.0")
    assert gw("start", "web", "--take-over", "--yes").returncode == 0
    assert gone(*pids)


def test_a_brother_of_the_same_name_lives_on(gw, port, strangers):
    brother = strangers.begin(free_port())
    pids = strangers.begin(port)
    assert gw("start", "web", "--take-over", "--yes").returncode == 0
    assert gone(*pids) and all(alive(pid) for pid in brother)


def test_an_ancestor_of_the_caller_is_refused(gw, port):
    with socket.socket() as held:
        held.bind(("127.0.0.1", port))
        held.listen()
        refused = gw("start", "web", "--take-over", "--yes")
    assert refused.returncode == 1
    assert f"nothing was ended: pid {os.getpid()} (" in refused.stderr
    assert "is what this command was started from" in refused.stderr


def test_a_service_of_ours_is_refused(gw, strangers):
    port = free_port()
    gw.configure(SERVICE.format(port=port, grace="2s") + f"""
[service.other]
command = ["python3", "-m", "http.server", "{port}", "--bind", "127.0.0.1"]
ready = {{ log = "Serving" }}
env = {{ PYTHONUNBUFFERED = "1" }}
""")
    assert gw("up").returncode == 0
    wait_for(lambda: gw.service("other")["verdict"] == "HEALTHY")
    main = gw.service("other")["replicas"][0]["main_pid"]
    refused = gw("start", "web", "--take-over", "--yes")
    assert refused.returncode == 1
    assert "belongs to service 'other' of gpuward" in refused.stderr and alive(main)


def test_who_is_started_again_by_another_is_named(gw, port, tmp_path):
    loop = tmp_path / "loop.sh"
    listens = (f"import signal,socket; s=socket.socket(); s.setsockopt(1, 2, 1); s.bind(('127.0.0.1', {port})); s.listen(); "
               "signal.pause()")
    loop.write_text(f'while :; do {sys.executable} -S -E -c "{listens}"; done\n')
    shell = subprocess.Popen(["sh", str(loop)], start_new_session=True)
    try:
        wait_for(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0)
        done = gw("start", "web", "--take-over", "--yes")
        assert done.returncode == 4, done.stderr
        assert f"not proven: 127.0.0.1:{port} is held by pid " in done.stderr
        assert done.stderr.rstrip().endswith(f"started by pid {shell.pid} (sh {loop})")
        assert "ready" not in done.stdout
        assert alive(shell.pid), "it does not hold the port"
    finally:
        os.killpg(shell.pid, signal.SIGKILL)
        shell.wait()


def test_another_pid_namespace_is_refused(gw, port):
    probe = subprocess.run(["unshare", "--pid", "--fork", "true"], capture_output=True)
    if probe.returncode != 0:
        pytest.skip("no right to make a PID namespace")
    inside = subprocess.Popen(["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-m", "http.server", str(port),
                               "--bind", "127.0.0.1"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0)
        refused = gw("start", "web", "--take-over", "--yes")
        assert refused.returncode == 1 and "another PID namespace" in refused.stderr
        assert inside.poll() is None
    finally:
        inside.kill()
        inside.wait()


def test_another_user_s_is_refused(gw, port, strangers, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs root to be two users")
    pids = strangers.begin(port)
    home = tmp_path / "theirs"
    home.mkdir()
    subprocess.run(["chown", "65534", str(home)], check=True)
    for folder in [tmp_path, *tmp_path.parents][:3]:
        folder.chmod(folder.stat().st_mode | 0o055)
    theirs = type(gw)(home)
    (home / "etc" / "a.toml").write_text(SERVICE.format(port=port, grace="2s"))
    subprocess.run(["chown", "-R", "65534", str(home)], check=True)
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]

    def call(*words):
        return subprocess.run([*as_nobody, str(theirs.programs / "gpuward"), *words], env=theirs.env, text=True,
                              capture_output=True, timeout=60, stdin=subprocess.DEVNULL, cwd="/")
    up = call("up")
    if up.returncode == 126:
        pytest.skip(f"the programs cannot be executed by another user: {up.stderr}")
    try:
        assert up.returncode == 0, up.stderr
        refused = call("start", "web", "--take-over", "--yes")
        assert refused.returncode == 1
        assert "cannot be seen from here" in refused.stderr and "try as root" in refused.stderr
        assert all(alive(pid) for pid in pids)
    finally:
        call("down")


def test_a_changed_file_is_taken_over_first(gw, port, strangers):
    pids = strangers.begin(port)
    gw.configure(SERVICE.format(port=free_port(), grace="2s"))
    refused = gw("start", "web", "--take-over", "--yes")
    assert refused.returncode == 1 and "gpuward reload" in refused.stderr
    assert all(alive(pid) for pid in pids)


def test_without_a_warden_nothing_is_ended(gw, strangers):
    port = free_port()
    gw.configure(SERVICE.format(port=port, grace="2s"))
    pids = strangers.begin(port)
    assert gw("start", "web", "--take-over", "--yes").returncode == 5
    assert all(alive(pid) for pid in pids)


def test_a_port_that_is_picked_has_nothing_to_take_over(gw):
    gw.configure('[service.web]\ncommand = ["python3", "-m", "http.server", "{port}", "--bind", "127.0.0.1"]\n'
                 'ready = { tcp = true }\nautostart = false\n')
    assert gw("up").returncode == 0
    done = gw("start", "web", "--take-over")
    assert done.returncode == 0 and "no fixed port" in done.stderr


def test_it_is_completed(gw):
    offered = gw("__complete", "start", "--").stdout.split()
    assert {"--take-over", "--yes"} <= set(offered)
