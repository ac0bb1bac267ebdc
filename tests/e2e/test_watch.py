"""`status --watch`: for people at a terminal, for programs, and until nobody reads it."""

import json
import os
import pty
import select
import signal
import subprocess
import time

from gpuward import BIN


def read_until(stream, words: str, within: float = 20) -> str:
    """What comes from a pipe up to and with `words`; fails at the deadline."""
    text = ""
    deadline = time.monotonic() + within
    while words not in text:
        left = deadline - time.monotonic()
        assert left > 0 and select.select([stream], [], [], left)[0], f"no {words!r} in {text!r}"
        part = os.read(stream.fileno(), 65536).decode()
        assert part, f"ended before {words!r}: {text!r}"
        text += part
    return text


def test_watch_prints_a_block_each_second_until_ctrl_c(gw):
    watch = gw.popen("status", "--watch")
    began = time.monotonic()
    text = read_until(watch.stdout, "no services")
    assert text.startswith("warden: none\n") and "\x1b" not in text
    read_until(watch.stdout, "no services")
    assert time.monotonic() - began > 0.9
    gw.configure('[service.one]\ncommand = ["sleep", "1000"]\n')
    assert gw("up").returncode == 0
    read_until(watch.stdout, "one")
    watch.send_signal(signal.SIGINT)
    assert watch.wait(5) == 0


def test_watch_for_programs_is_one_object_a_line(gw):
    watch = gw.popen("status", "--watch", "--json")
    two = read_until(watch.stdout, "\n") + read_until(watch.stdout, "\n")
    assert [json.loads(line)["warden"] for line in two.splitlines()] == [None, None]
    watch.send_signal(signal.SIGINT)
    assert watch.wait(5) == 0


def test_watch_redraws_a_terminal(gw):
    ours, theirs = pty.openpty()
    watch = subprocess.Popen([BIN / "gpuward", "status", "--watch"], env=gw.env, stdin=subprocess.DEVNULL, stdout=theirs)
    os.close(theirs)
    with open(ours, "rb", buffering=0) as screen:
        clear = "\x1b[H\x1b[2J"
        read_until(screen, clear + "warden: none")
        read_until(screen, clear + "warden: none")
        watch.send_signal(signal.SIGINT)
        assert watch.wait(5) == 0


def test_watch_ends_with_its_reader_and_for_an_unknown_service(gw):
    watch = gw.popen("status", "--watch")
    read_until(watch.stdout, "no services")
    watch.stdout.close()
    assert watch.wait(5) == 0
    unknown = gw("status", "--watch", "nobody", timeout=10)
    assert unknown.returncode == 1
    assert "nobody: no such service" in unknown.stderr
