"""What a service prints: rotated, kept within bounds, and followed through all of it."""

import os
import shutil
import subprocess

import pytest

from gpuward import BIN, wait_for

LINES = """
import os, signal
for n in range(20000): os.write(1, b"line %d\\n" % n)
os.write(1, b"last\\n")
signal.pause()
"""


def configured(gw, keys: str):
    (gw.home / "lines.py").write_text(LINES)
    gw.configure(f"""
[service.talker]
command = ["python3", "{gw.home}/lines.py"]
autostart = false
{keys}
""")
    assert gw("up").returncode == 0


def files(gw) -> list:
    return sorted((gw.home / "log").glob("talker.log*"), key=lambda path: int(path.suffix[1:]) if path.suffix != ".log" else 0)


def test_a_rotated_log_holds_every_line_in_order(gw):
    configured(gw, 'log = { size = "16KiB", total = "10MiB" }')
    assert gw("start", "talker").returncode == 0
    wait_for(lambda: "last" in gw.log("talker"))
    parts = files(gw)
    assert len(parts) > 5
    assert all(16 << 10 <= part.stat().st_size <= 36 << 10 for part in parts[1:])
    text = "".join(part.read_text() for part in reversed(parts))
    assert text == "".join(f"line {n}\n" for n in range(20000)) + "last\n"


@pytest.mark.parametrize("size", ["16KiB", "4KiB"])
def test_a_follower_misses_nothing_while_the_log_is_rotated(gw, size):
    configured(gw, f'log = {{ size = "{size}", total = "10MiB" }}')
    (gw.home / "log/talker.log").touch()
    follower = subprocess.Popen([BIN / "gpuward", "logs", "-f", "-n", "0", "talker"], env=gw.env, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: any("inotify" in os.readlink(f"/proc/{follower.pid}/fd/{fd}")
                             for fd in os.listdir(f"/proc/{follower.pid}/fd")), why="it follows")
        assert gw("start", "talker").returncode == 0
        lines = []
        while not lines or lines[-1] != "last\n":
            lines.append(follower.stdout.readline())
        assert lines == [f"line {n}\n" for n in range(20000)] + ["last\n"]
    finally:
        follower.terminate()
        follower.communicate(timeout=20)


def test_the_last_lines_begin_in_the_file_before(gw):
    configured(gw, 'log = { size = "4KiB", total = "10MiB" }')
    assert gw("start", "talker").returncode == 0
    wait_for(lambda: "last" in gw.log("talker"))
    own = len(gw.log("talker").splitlines())
    shown = gw("logs", "-n", str(own + 50), "talker").stdout.splitlines()
    assert len(shown) == own + 50
    assert shown[-1] == "last" and shown[-2] == "line 19999"
    first = int(shown[0].split()[1])
    assert shown[:-1] == [f"line {n}" for n in range(first, 20000)]


def test_the_total_is_kept(gw):
    configured(gw, 'log = { size = "8KiB", total = "32KiB" }')
    assert gw("start", "talker").returncode == 0
    wait_for(lambda: "last" in gw.log("talker"))
    sizes = [part.stat().st_size for part in files(gw)]
    assert 2 <= len(sizes) and sum(sizes[1:]) + (8 << 10) <= 32 << 10 and gw.log("talker").endswith("last\n")


def test_a_deleted_log_is_begun_anew(gw):
    gw.configure(f"""
[service.beat]
command = ["sh", "-c", "while :; do echo beat; sleep 0.1; done"]
""")
    assert gw("up").returncode == 0
    wait_for(lambda: "beat" in gw.log("beat"))
    os.unlink(gw.home / "log/beat.log")
    wait_for(lambda: "beat" in gw.log("beat"), why="a new file takes what comes")


def test_more_than_the_rate_is_counted_and_never_holds_the_service_up(gw):
    configured(gw, 'log = { rate = "1KiB/s" }')
    assert gw("start", "talker").returncode == 0
    wait_for(lambda: any(e["what"] == "log" for e in gw.service("talker")["evidence"]), why="the loss is said")
    assert gw.log("talker").startswith("line 0\nline 1\n")
    assert len(gw.log("talker")) < 80_000
    assert gw("stop", "talker").returncode == 0


def test_a_log_folder_that_was_made_again_takes_what_comes(gw):
    gw.configure("""
[service.beat]
command = ["sh", "-c", "while :; do echo beat; sleep 0.1; done"]
""")
    assert gw("up").returncode == 0
    wait_for(lambda: "beat" in gw.log("beat"))
    shutil.rmtree(gw.home / "log")
    (gw.home / "log").mkdir()
    wait_for(lambda: "beat" in gw.log("beat"), why="the new folder has it")


def test_two_streams_never_meet_within_a_line(gw):
    (gw.home / "both.py").write_text("""
import os, signal
for n in range(40000): os.write(1 + n % 2, b"line %d %s\\n" % (n, b"x" * 60))
os.write(1, b"last\\n")
signal.pause()
""")
    gw.configure(f"""
[service.both]
command = ["python3", "{gw.home}/both.py"]
""")
    assert gw("up").returncode == 0
    wait_for(lambda: "last" in gw.log("both"))
    wait_for(lambda: gw.log("both").count("\n") == 40001)
    whole = {f"line {n} {'x' * 60}" for n in range(40000)} | {"last"}
    assert set(gw.log("both").splitlines()) == whole
