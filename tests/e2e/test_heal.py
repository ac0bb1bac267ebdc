"""heal: what gpuward does by itself about a sick service. The card is simulated."""

import json
import os
import signal
import subprocess

import pytest
from film_load import Load
from gpuward import BIN, Gpuward, alive, wait_for
from test_hooks import recorder, told


def xray(name="xray", keys=""):
    return f"""
[service.{name}]
command = ["{BIN}/gpuward-xray", "--listen", "127.0.0.1:{{port}}", "--model-memory", "1GiB", "--kernels", "5"]
ready = {{ http = "/health", within = "20s" }}
{keys}
"""


@pytest.fixture
def ward(tmp_path):
    env = {"GPUSIM_STATE": str(tmp_path / "cards"), "LD_LIBRARY_PATH": str(BIN / "sim"),
           "GPUWARD_KMSG": str(tmp_path / "kmsg")}
    (tmp_path / "kmsg").touch()
    subprocess.run([BIN / "gpusim", "create", "--gpus", "1", "--memory", "8GiB"], env={**os.environ, **env},
                   check=True, capture_output=True)
    install = Gpuward(tmp_path / "home", **env)
    yield install
    subprocess.run([BIN / "gpusim", "heal"], env=install.env, capture_output=True)
    install("down")
    wait_for(lambda: not install.anchors(), why="the anchors have gone")


def gpusim(ward, *words):
    subprocess.run([BIN / "gpusim", *words], env=ward.env, check=True, capture_output=True)


def up(ward, text):
    ward.configure(text)
    assert ward("up").returncode == 0
    wait_for(lambda: all(has_context(ward, s["name"]) for s in ward.status()["services"]), why="the contexts are seen")


def has_context(ward, name):
    return any(f["what"] == "context" and "gone" not in f["value"] for f in ward.service(name)["evidence"])


def main_of(ward, name="xray"):
    return ward.service(name)["replicas"][0]["main_pid"]


def generation(ward, name="xray"):
    return ward.service(name)["replicas"][0]["generation"]


def entries(ward, *kinds):
    lines = [json.loads(line) for line in ward("events", "--json", "-n", "10000").stdout.splitlines()]
    return [line for line in lines if line["event"] in kinds]


def wait_for_generation(ward, number, name="xray"):
    """The warden decides within 2 s, and writes what it intends to the disk first, which may be slow."""
    try:
        wait_for(lambda: generation(ward, name) == number, 60, "it was restarted")
    except AssertionError:
        print(json.dumps(ward.service(name), indent=1), ward("events", "-n", "30").stdout)
        raise


def make_ghost(ward, name="xray"):
    gpusim(ward, "fault", "lost-context", "--pid", str(main_of(ward, name)))


def test_under_act_a_ghost_is_restarted_once_and_is_healthy_again(ward):
    up(ward, xray(keys='heal = "act"'))
    before = main_of(ward)
    with Load(ward):
        make_ghost(ward)
        wait_for_generation(ward, 2)
        wait_for(lambda: ward.service("xray")["verdict"] == "HEALTHY" and has_context(ward, "xray"), why="it works again")
    assert not alive(before)
    healing, = entries(ward, "healing")
    assert healing["service"] == "xray" and healing["actor"] is None and "GHOST_NOCTX" in healing["why"]
    assert "context" in healing["evidence"] and "log" in healing["evidence"], healing
    done = wait_for(lambda: [e for e in entries(ward, "order-done") if e["of"] == healing["number"]], why="its outcome")
    assert done[0]["outcome"].startswith("HEALTHY")
    with Load(ward):
        pass
    assert len(entries(ward, "healing")) == 1 and generation(ward) == 2


def test_a_hook_is_told_what_is_wrong_with_a_ghost(ward, tmp_path):
    up(ward, xray(keys=f'hooks = {{ GHOST_NOCTX = ["{recorder(tmp_path)}"] }}'))
    with Load(ward):
        make_ghost(ward)
        env, = wait_for(lambda: told(tmp_path), 60, "the hook has run")
    assert env["GPUWARD_VERDICT"] == "GHOST_NOCTX"
    assert env["GPUWARD_SENTENCE"] == "it lives, but its GPU context has gone: its log told of a CUDA error"


def test_observe_is_the_default_and_touches_nothing(ward):
    up(ward, xray())
    before = main_of(ward)
    with Load(ward):
        make_ghost(ward)
        would, = wait_for(lambda: entries(ward, "would-restart"), 60, "it says what it would have done")
        wait_for(lambda: ward.service("xray")["verdict_age_seconds"] > 5, why="time goes by")
    assert "with 'heal = \"act\"' it would be restarted" in would["why"] and "gpuward restart xray" in would["why"]
    assert main_of(ward) == before and generation(ward) == 1
    assert len(entries(ward, "would-restart")) == 1 and entries(ward, "healing", "heal-refused") == []


def test_a_spent_budget_leaves_advice_also_to_a_new_warden(ward):
    up(ward, xray(keys='heal = "act"\nheal_budget = 1'))
    with Load(ward):
        make_ghost(ward)
        wait_for_generation(ward, 2)
    wait_for(lambda: ward.service("xray")["verdict"] == "HEALTHY" and has_context(ward, "xray"), why="it works again")
    os.kill(ward.status()["warden"]["pid"], signal.SIGKILL)
    wait_for(lambda: ward.status()["warden"] is None, why="the warden has gone")
    assert ward("up").returncode == 0
    wait_for(lambda: has_context(ward, "xray"), why="the new warden has seen its context")
    with Load(ward):
        make_ghost(ward)
        refused, = wait_for(lambda: entries(ward, "heal-refused"), 60, "it says why not")
    assert "its budget of 1 a day is spent; by hand: gpuward restart xray" in refused["why"]
    assert generation(ward) == 2 and len(entries(ward, "healing")) == 1
    assert ward("restart", "xray").returncode == 0, "a person may always"


def test_a_contained_error_hits_only_its_victim(ward):
    up(ward, xray("one", 'heal = "act"') + xray("two", 'heal = "act"'))
    other = main_of(ward, "two")
    with Load(ward, "one"):
        pid = str(main_of(ward, "one"))
        gpusim(ward, "fault", "lost-context", "--pid", pid, "--keep-row")
        gpusim(ward, "fault", "xid", "94", "--pid", pid, "--kmsg", ward.env["GPUWARD_KMSG"])
        wait_for_generation(ward, 2, "one")
    assert main_of(ward, "two") == other and generation(ward, "two") == 1
    assert {entry["service"] for entry in entries(ward, "healing")} == {"one"}


def test_an_xid_of_the_card_quarantines_it_and_restarts_nobody(ward):
    up(ward, xray("one", 'heal = "act"') + xray("two", 'heal = "act"'))
    mains = main_of(ward, "one"), main_of(ward, "two")
    gpusim(ward, "fault", "xid", "95", "--kmsg", ward.env["GPUWARD_KMSG"])
    card = wait_for(lambda: [c for c in ward.status()["gpus"] if c["quarantined"]], why="it is taken out of use")[0]
    assert "Xid 95" in card["reason"] and "nvidia-smi --gpu-reset -i 0" in card["advice"]
    quarantined, = wait_for(lambda: entries(ward, "quarantined"), why="the ledger tells of it")
    assert "gpuward drain --gpu 0" in quarantined["outcome"]
    assert (main_of(ward, "one"), main_of(ward, "two")) == mains and entries(ward, "healing") == []
    drained = ward("drain", "--gpu", "0")
    assert drained.returncode == 0, drained
    assert ward("start", "one").returncode == 1
    assert ward("uncordon", "0").returncode == 0
    assert ward("start", "one", "two").returncode == 0
    assert not ward.status()["gpus"][0]["quarantined"]
