"""Verdicts on a living service: ghosts are found, idle ones and hung drivers alarm nobody. The card is simulated."""

import json
import os
import subprocess

import pytest
from film_load import Load
from gpuward import BIN, Gpuward, wait_for

XRAY = f"""
[service.xray]
command = ["{BIN}/gpuward-xray", "--listen", "127.0.0.1:{{port}}", "--model-memory", "1GiB", "--kernels", "5"]
ready = {{ http = "/health", within = "20s" }}
"""


@pytest.fixture
def ward(tmp_path):
    env = {"GPUSIM_STATE": str(tmp_path / "cards"), "LD_LIBRARY_PATH": str(BIN / "sim"),
           "GPUWARD_KMSG": str(tmp_path / "kmsg")}
    (tmp_path / "kmsg").touch()
    subprocess.run([BIN / "gpusim", "create", "--gpus", "1", "--memory", "8GiB"], env={**os.environ, **env},
                   check=True, capture_output=True)
    install = Gpuward(tmp_path / "home", **env)
    install.configure(XRAY)
    assert install("up").returncode == 0
    wait_for(lambda: evidence(install, "context"), why="the warden has seen its context")
    yield install
    subprocess.run([BIN / "gpusim", "heal"], env=install.env, capture_output=True)
    install("down")
    wait_for(lambda: not install.anchors(), why="the anchors have gone")


def gpusim(ward, *words):
    subprocess.run([BIN / "gpusim", *words], env=ward.env, check=True, capture_output=True)


def evidence(ward, what):
    return [fact for fact in ward.service("xray")["evidence"] if fact["what"] == what]


def verdict(ward):
    return ward.service("xray")["verdict"]


def named(ward, sickness):
    """The service, while it has that verdict and all that it stands on holds."""
    service = ward.service("xray")
    return service["verdict"] == sickness and service["action"] != "watch" and service


def main_of(ward):
    return ward.service("xray")["replicas"][0]["main_pid"]


def changes(ward):
    events = [json.loads(line) for line in ward("events", "--json").stdout.splitlines()]
    return [event for event in events if event["event"] == "verdict-changed"]


def test_the_ghost_of_the_article_is_named_with_its_evidence_and_a_restart_heals_it(ward):
    with Load(ward):
        gpusim(ward, "fault", "lost-context", "--pid", str(main_of(ward)))
        # On a busy machine a look may come late, and then it says "watch" until the next.
        ghost = wait_for(lambda: named(ward, "GHOST_NOCTX"), 30, "the ghost is named")
        assert ghost["sentence"] == "it lives, but its GPU context has gone: its log told of a CUDA error"
        assert ghost["action"] == "restart" and ghost["witnesses"] >= 2
        assert {"context", "log", "readiness"} <= {fact["what"] for fact in ghost["evidence"]}
    shown = ward("status", "xray").stdout
    assert "its log told of a CUDA error [GHOST_NOCTX]" in shown and "to do: restart it" in shown
    told = wait_for(lambda: changes(ward), why="the ledger tells of it")[0]
    assert told["why"].startswith("HEALTHY to GHOST_NOCTX") and "context: its context has gone" in told["evidence"]
    assert "cuCtx" not in str(told) and "failed:" not in str(told), "text of the log in the ledger"
    assert ward("restart", "xray").returncode == 0
    wait_for(lambda: verdict(ward) == "HEALTHY" and evidence(ward, "context"), why="it works again")
    with Load(ward):
        pass


def test_an_error_of_long_ago_hides_no_ghost(ward):
    command = XRAY.split("\n")[2].removeprefix("command = ")
    words = " ".join(json.loads(command))
    ward.configure(XRAY.replace(command, json.dumps(["sh", "-c", f"echo 'CUDA error: tried again'; exec {words}"])))
    assert ward("reload").returncode == 0 and ward("restart", "xray").returncode == 0
    wait_for(lambda: evidence(ward, "context"), why="the warden has seen its context")
    wait_for(lambda: evidence(ward, "log")[0]["age_seconds"] > 3, why="the first error is an old one")
    with Load(ward):
        assert verdict(ward) == "HEALTHY"
        gpusim(ward, "fault", "lost-context", "--pid", str(main_of(ward)))
        wait_for(lambda: verdict(ward) == "GHOST_NOCTX", 20, "the ghost is named")
        assert evidence(ward, "log")[0]["age_seconds"] < 3, "the error of now is what speaks against it"


def test_an_idle_service_whose_context_went_is_told_of_and_not_alarmed_for(ward):
    gpusim(ward, "fault", "lost-context", "--pid", str(main_of(ward)))
    gone = wait_for(lambda: [fact for fact in evidence(ward, "context") if "has gone" in fact["value"]],
                    why="its context is missed")
    assert gone
    wait_for(lambda: evidence(ward, "context")[0]["age_seconds"] > 8, why="time goes by")
    assert verdict(ward) == "HEALTHY" and changes(ward) == []


def test_an_idle_service_with_a_context_is_healthy_and_stays_so(ward):
    wait_for(lambda: ward.service("xray")["verdict_age_seconds"] > 8, why="time goes by")
    service = ward.service("xray")
    assert service["verdict"] == "HEALTHY" and service["action"] == "none" and service["witnesses"] == 0
    assert changes(ward) == []


def test_a_driver_that_hangs_makes_no_service_dead(ward):
    with Load(ward):
        gpusim(ward, "fault", "hang", "nvml*")
        blind = wait_for(lambda: [fact for fact in evidence(ward, "GPU") if "cannot be seen" in fact["value"]],
                         why="the warden says that it cannot see")
        assert blind and verdict(ward) == "HEALTHY"
        gpusim(ward, "fault", "lost-context", "--pid", str(main_of(ward)))
        wait_for(lambda: evidence(ward, "log"), why="its log tells of CUDA errors")
        assert verdict(ward) == "HEALTHY", "one witness, and no sight"
    assert changes(ward) == []


def test_a_poisoned_context_that_stays_listed_is_found_by_its_xid(ward):
    pid = str(main_of(ward))
    gpusim(ward, "fault", "lost-context", "--pid", pid, "--keep-row")
    gpusim(ward, "fault", "xid", "31", "--pid", pid, "--kmsg", ward.env["GPUWARD_KMSG"])
    wait_for(lambda: verdict(ward) == "GHOST_STICKY", 10, "the ghost is named")
    ghost = ward.service("xray")
    assert "the kernel told of Xid 31 for pid " + pid in ghost["sentence"] and ghost["action"] == "restart"
    assert ward("restart", "xray").returncode == 0
    wait_for(lambda: verdict(ward) == "HEALTHY", why="it works again")
