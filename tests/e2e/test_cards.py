"""cordon, uncordon, drain: whether a card may be used. The cards are simulated."""

import json
import os
import signal
import subprocess

import pytest
from gpuward import BIN, Gpuward, alive, end, wait_for

XRAY = f"""
[service.xray]
command = ["{BIN}/gpuward-xray", "--listen", "127.0.0.1:{{port}}", "--model-memory", "1GiB"]
ready = {{ http = "/health", within = "20s" }}

[service.other]
command = ["sleep", "1000"]
"""


@pytest.fixture
def gw(tmp_path):
    env = {"GPUSIM_STATE": str(tmp_path / "cards"), "LD_LIBRARY_PATH": str(BIN / "sim")}
    subprocess.run([BIN / "gpusim", "create", "--gpus", "2", "--memory", "8GiB"], env={**os.environ, **env},
                   check=True, capture_output=True)
    install = Gpuward(tmp_path / "home", **env)
    install.configure(XRAY)
    yield install
    install("down")
    wait_for(lambda: not install.anchors(), why="the anchors have gone")


def holds(gw):
    replicas = gw.service("xray")["replicas"]
    return replicas and (replicas[0]["gpu_memory_bytes"] or 0) >= 1 << 30


def up(gw):
    assert gw("up").returncode == 0
    wait_for(lambda: holds(gw), why="the warden has seen the card")


def card(gw, index=0):
    return gw.status()["gpus"][index]


def events(gw, kind):
    lines = [json.loads(line) for line in gw("events", "--json", "-n", "1000").stdout.splitlines()]
    return [line for line in lines if line["event"] == kind]


def test_a_cordon_touches_nothing_that_runs_and_starts_nothing_there_again(gw):
    up(gw)
    main = gw.service("xray")["replicas"][0]["main_pid"]
    done = gw("cordon", "0", "--why", "driver update")
    assert done.returncode == 0 and "cordoned" in done.stdout, done
    assert alive(main) and gw.service("xray")["verdict"] == "HEALTHY"
    assert card(gw)["cordoned"] and "driver update" in card(gw)["reason"] and not card(gw, 1)["cordoned"]
    told = json.loads(gw("ps", "--json").stdout)["gpus"]
    assert [(gpu["cordoned"], gpu["quarantined"]) for gpu in told] == [(True, False), (False, False)]
    assert "driver update" in told[0]["reason"] and told[1]["reason"] is None
    assert "cordoned by uid" in gw("status").stdout and "driver update" in gw("ps").stdout

    restart = gw("restart", "xray")
    assert restart.returncode == 1 and "not restarted: it was on GPU 0" in restart.stderr, restart
    assert alive(main), "a refused restart touches nothing"
    assert gw("stop", "xray").returncode == 0
    start = gw("start", "xray", "other")
    assert start.returncode == 1 and "gpuward uncordon 0" in start.stderr and "other: ready" in start.stdout, start

    assert gw("uncordon", card(gw)["uuid"][:12]).returncode == 0
    assert gw("start", "xray").returncode == 0
    assert card(gw)["cordoned"] is False and card(gw)["reason"] is None
    ordered = events(gw, "cordon-ordered")
    assert len(ordered) == 1 and ordered[0]["evidence"] == "driver update" and ordered[0]["actor"]["uid"] == os.getuid()


def test_a_cordon_outlives_the_warden_and_holds_its_autostart(gw):
    up(gw)
    assert gw("cordon", "0").returncode == 0
    assert gw("down").returncode == 0
    up_again = gw("up")
    assert up_again.returncode == 1 and "not started: it was on GPU 0" in up_again.stderr, up_again
    wait_for(lambda: gw.status()["gpus"], why="the warden has looked")
    assert card(gw)["cordoned"]
    anyway = gw("start", "--anyway", "xray")
    assert anyway.returncode == 0, anyway
    assert events(gw, "start-ordered")[-1]["why"].startswith("--anyway")


def test_one_that_may_choose_another_card_now_is_started(gw):
    up(gw)
    assert gw("cordon", "0").returncode == 0
    assert gw("stop", "xray").returncode == 0
    gw.configure(XRAY.replace('"1GiB"]', '"1GiB"]\nenv = { CUDA_VISIBLE_DEVICES = "1" }'))
    assert gw("reload").returncode == 0
    assert gw("start", "xray").returncode == 0


def test_a_drain_ends_what_is_on_the_card_and_says_what_may_be_done_now(gw):
    up(gw)
    plan = json.loads(gw("drain", "--gpu", "0", "--dry-run", "--json").stdout)
    assert {holder["service"] for holder in plan["holders"]} == {"xray"} and not plan["gpu"]["cordoned"]
    main = gw.service("xray")["replicas"][0]["main_pid"]
    done = gw("drain", "--gpu", "0")
    assert done.returncode == 0, done
    assert "nvidia-smi --gpu-reset -i 0" in done.stdout and "gpuward uncordon 0, then gpuward start xray" in done.stdout
    assert not alive(main) and gw.service("other")["verdict"] == "HEALTHY"
    assert gw("start", "xray").returncode == 1
    drained = events(gw, "drain-ordered")
    assert [entry["of"] for entry in events(gw, "order-done")].count(drained[0]["number"]) == 1
    assert gw("uncordon", "0").returncode == 0 and gw("start", "xray").returncode == 0


def test_a_drain_names_strangers_and_never_ends_them(gw):
    up(gw)
    stranger = subprocess.Popen([BIN / "gpuward-xray", "--listen", "127.0.0.1:0", "--model-memory", "1GiB"], env=gw.env,
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: stranger.pid in [row["pid"] for row in json.loads(gw("ps", "--json").stdout)["processes"]],
                 why="the stranger is on the card")
        wait_for(lambda: len(json.loads(gw("drain", "--gpu", "0", "--dry-run", "--json").stdout)["holders"]) == 2,
                 why="the warden has seen both")
        done = gw("drain", "--gpu", "0", "--json")
        assert done.returncode == 4, done
        answer = json.loads(done.stdout)
        assert [(h["pid"], h["service"]) for h in answer["holders"]] == [(stranger.pid, None)]
        assert answer["receipts"][0]["service"] == "xray" and answer["gpu"]["cordoned"]
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_card_that_is_not_there_is_said(gw):
    up(gw)
    for words in (("cordon", "7"), ("uncordon", "GPU-nothing"), ("drain", "--gpu", "0000:99:00.0")):
        done = gw(*words)
        assert done.returncode == 1 and "is seen; there are 0 (GPU-" in done.stderr, done


def test_without_a_warden_there_is_nobody_to_ask(gw):
    for words in (("cordon", "0"), ("uncordon", "0"), ("drain", "--gpu", "0")):
        done = gw(*words)
        assert done.returncode == 5 and "gpuward up" in done.stderr, done


def test_a_damaged_book_is_set_aside_and_said(gw):
    up(gw)
    assert gw("cordon", "1").returncode == 0
    assert gw("down").returncode == 0
    book = gw.home / "state" / "cards"
    book.write_bytes(b"\xff" * 40)
    up(gw)
    assert (gw.home / "state" / "cards.damaged").read_bytes() == b"\xff" * 40
    said = [entry for entry in events(gw, "set-aside") if "cards" in entry["why"]]
    assert said and "cards.damaged" in said[0]["evidence"]
    assert not card(gw, 1)["cordoned"]


def test_a_lost_card_is_quarantined_and_holds_back_only_who_says_act(gw):
    gw.configure(XRAY.replace("[service.other]", 'heal = "act"\n\n[service.other]'))
    up(gw)
    subprocess.run([BIN / "gpusim", "fault", "off-the-bus", "--gpu", "0"], env=gw.env, check=True, capture_output=True)
    wait_for(lambda: card(gw)["quarantined"], why="the driver has said so for 3 s")
    assert "fell off the bus" in card(gw)["reason"] and "reboot" in card(gw)["advice"]
    assert len(wait_for(lambda: events(gw, "quarantined"), why="the ledger tells of it")) == 1
    main = gw.service("xray")["replicas"][0]["main_pid"]
    assert alive(main), "a quarantine ends nobody"
    assert gw("restart", "xray").returncode == 1 and alive(main)
    gw.configure(XRAY)
    assert gw("reload").returncode == 0
    restart = gw("restart", "xray")
    assert "quarantined" not in restart.stderr, "it observes: nothing is held back"
    subprocess.run([BIN / "gpusim", "heal"], env=gw.env, check=True, capture_output=True)
    assert gw("uncordon", "0").returncode == 0 and not card(gw)["quarantined"]
