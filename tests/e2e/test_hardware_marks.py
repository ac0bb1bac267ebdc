"""The marks for a GPU box run, and hold on the simulated card: what they call a difference is one of the hardware."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(os.environ.get("GPUWARD_BIN", ROOT / "build/release/bin"))
RUN = ROOT / "tests/hardware/run.py"


def run(env: dict, *words: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, RUN, "--bin", BIN, *words], env=env, capture_output=True, text=True, timeout=240)


def test_every_mark_holds_on_the_simulated_card_or_says_why_it_is_skipped(tmp_path):
    env = {**os.environ, "GPUSIM_STATE": str(tmp_path / "cards"), "LD_LIBRARY_PATH": str(BIN / "sim"),
           "GPUWARD_HOME": str(tmp_path / "home"), "GPUWARD_HARDWARE": "1"}
    subprocess.run([BIN / "gpusim", "create", "--gpus", "1", "--memory", "24GiB"], env=env, check=True, capture_output=True)
    done = run(env, "--json", str(tmp_path / "marks.json"))
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads((tmp_path / "marks.json").read_text())
    assert told["simulated"] and "SIMULATED GPU" in done.stdout.splitlines()[0]
    outcomes = {mark["outcome"] for mark in told["marks"]}
    assert outcomes == {"as said", "skipped"}, done.stdout
    assert sum(mark["outcome"] == "as said" for mark in told["marks"]) >= 15, done.stdout
    assert all(mark["measured"] for mark in told["marks"])


def test_a_card_that_behaves_otherwise_is_said(tmp_path):
    env = {**os.environ, "GPUSIM_STATE": str(tmp_path / "cards"), "LD_LIBRARY_PATH": str(BIN / "sim"),
           "GPUWARD_HOME": str(tmp_path / "home"), "GPUWARD_HARDWARE": "1"}
    subprocess.run([BIN / "gpusim", "create", "--gpus", "1", "--return-delay", "4s"], env=env, check=True, capture_output=True)
    done = run(env, "--only", "gives it back")
    assert done.returncode == 1 and "OTHERWISE" in done.stdout, done.stdout + done.stderr


def test_without_consent_or_card_nothing_is_touched(tmp_path):
    env = {name: value for name, value in os.environ.items() if name not in ("GPUWARD_HARDWARE", "LD_LIBRARY_PATH")}
    asked = run(env)
    assert asked.returncode == 77 and "GPUWARD_HARDWARE=1" in asked.stdout
    blind = run({**env, "GPUWARD_HARDWARE": "1", "GPUWARD_NVML": str(tmp_path / "none.so")})
    assert blind.returncode == 77 and "no driver library" in blind.stdout
