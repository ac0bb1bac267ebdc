"""hooks: a command per event. Storm-proof, nobody waits for one, no log text unless asked for."""

import json
import os
import signal
import time
from pathlib import Path

from gpuward import alive, wait_for


def told(folder: Path, name="told"):
    path = folder / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def recorder(folder: Path, name="told") -> str:
    """A hook that writes its whole environment down, one JSON line a run."""
    script = folder / f"{name}.py"
    script.write_text(f"#!/usr/bin/env python3\nimport json, os\nopen({str(folder / name)!r}, 'a').write(json.dumps(dict(os.environ)) + '\\n')\n")
    script.chmod(0o755)
    return str(script)


def events(gw, *kinds):
    lines = [json.loads(line) for line in gw("events", "--json", "-n", "100000").stdout.splitlines()]
    return [line for line in lines if line["event"] in kinds]


def test_a_hook_is_told_what_happened_and_no_secret(gw, tmp_path):
    gw.env["WARDEN_SECRET"] = "SECRET-OF-THE-WARDEN"
    gw.configure(f"""
[service.a]
command = ["sh", "-c", "echo PATIENT-NAME; exit 3"]
env = {{ TOKEN = "SECRET-OF-THE-SERVICE" }}
hooks = {{ failed = ["{recorder(tmp_path)}"], FAILED = ["{recorder(tmp_path, 'verdict')}"] }}
""")
    assert gw("up").returncode == 1
    env, = wait_for(lambda: told(tmp_path), why="the hook has run")
    assert env["GPUWARD_EVENT"] == "failed" and env["GPUWARD_SERVICE"] == "a" and env["GPUWARD_COUNTED"] == "0"
    assert "code 3" in env["GPUWARD_SENTENCE"], env
    verdict, = wait_for(lambda: told(tmp_path, "verdict"), why="the verdict's hook has run")
    assert verdict["GPUWARD_EVENT"] == verdict["GPUWARD_VERDICT"] == "FAILED"
    assert "PATIENT" not in str([env, verdict]) and "SECRET" not in str([env, verdict]) and "GPUWARD_LOG" not in env
    wait_for(lambda: len(events(gw, "hook-done")) == 2, why="how they ended is on record")
    intents = {entry["number"]: entry for entry in events(gw, "hook")}
    for done in events(gw, "hook-done"):
        assert done["outcome"].startswith("exit 0") and intents[done["of"]]["why"] == done["why"]


def test_the_log_is_told_where_it_is_asked_for(gw, tmp_path):
    gw.configure(f"""
[service.a]
command = ["sh", "-c", "seq 1 9; exit 3"]
hooks = {{ failed = ["{recorder(tmp_path)}"], log_lines = 2 }}
""")
    assert gw("up").returncode == 1
    env, = wait_for(lambda: told(tmp_path), why="the hook has run")
    assert env["GPUWARD_LOG"] == "8\n9\n"


def test_a_thousand_events_are_one_hook_a_minute(gw, tmp_path):
    gw.configure(f"""
[service.a]
command = ["sleep", "1000"]
hooks = {{ "start-ordered" = ["{recorder(tmp_path)}"] }}
""")
    began = time.monotonic()
    assert gw("up").returncode == 0
    assert gw("start", *["a"] * 1000).returncode == 0
    wait_for(lambda: events(gw, "hook-done"), why="the hook has run")
    assert len(events(gw, "start-ordered")) == 1000
    assert time.monotonic() - began < 60 and len(told(tmp_path)) == 1
    assert gw.service("a")["verdict"] == "HEALTHY"


def test_a_hook_that_hangs_holds_nobody_up_and_is_killed_with_all_it_started(gw, tmp_path):
    pids = tmp_path / "pids"
    hang = tmp_path / "hang.sh"
    hang.write_text(f"#!/bin/sh\nsetsid sleep 1000 & echo $$ $! >> {pids}\nsleep 1000\n")
    hang.chmod(0o755)
    gw.configure(f"""
[service.a]
command = ["sleep", "1000"]
hooks = {{ starting = ["{hang}"], ended = ["{recorder(tmp_path)}"] }}
""")
    began = time.monotonic()
    assert gw("up").returncode == 0
    assert gw("restart", "a").returncode == 0
    assert time.monotonic() - began < 8, "nobody waits for a hook"
    leader, child = map(int, wait_for(lambda: pids.exists() and pids.read_text().split(), why="it hangs"))
    assert alive(leader) and told(tmp_path) == [], "one at a time"
    done = wait_for(lambda: events(gw, "hook-done"), 15, "its deadline has passed")
    assert "killed: it did not end within 10.0 s" in done[0]["outcome"]
    assert not alive(leader)
    wait_for(lambda: not alive(child), why="what has left its session has ended too")
    wait_for(lambda: told(tmp_path), why="the next one runs")


def test_a_hook_that_cannot_be_executed_is_said(gw, tmp_path):
    gw.configure('[service.a]\ncommand = ["sleep", "1000"]\nhooks = { ready = ["no-such-program-here"] }\n')
    assert gw("up").returncode == 0
    done, = wait_for(lambda: events(gw, "hook-done"), why="it has ended")
    assert done["outcome"].startswith("exit 127: it could not be found")


def test_hooks_change_live(gw, tmp_path):
    gw.configure('[service.a]\ncommand = ["sleep", "1000"]\n')
    assert gw("up").returncode == 0
    gw.configure(f'[service.a]\ncommand = ["sleep", "1000"]\nhooks = {{ ended = ["{recorder(tmp_path)}"] }}\n')
    reload = gw("reload")
    assert reload.returncode == 0 and "hooks.ended" in reload.stdout, reload
    main = gw.service("a")["replicas"][0]["main_pid"]
    os.kill(main, signal.SIGKILL)
    wait_for(lambda: told(tmp_path), why="the new hook has run")


def test_a_new_warden_tells_nothing_twice(gw, tmp_path):
    gw.configure(f'[service.a]\ncommand = ["sleep", "1000"]\nhooks = {{ ready = ["{recorder(tmp_path)}"] }}\n')
    assert gw("up").returncode == 0
    wait_for(lambda: told(tmp_path), why="the hook has run")
    wait_for(lambda: events(gw, "hook-done"), why="it has ended")
    os.kill(gw.status()["warden"]["pid"], signal.SIGKILL)
    wait_for(lambda: gw.status()["warden"] is None, why="it has gone")
    assert gw("up").returncode == 0
    assert gw("restart", "a").returncode == 0
    wait_for(lambda: len(told(tmp_path)) == 2, why="what happens from now on is told")
    assert len(events(gw, "hook")) == 2
