"""Programs written elsewhere read a simulated card, unmodified: gpustat, nvitop, pynvml.

They live in build/venv (scripts/test-venv). Without a package index the tests are skipped, unless
GPUWARD_REQUIRE_ALL=1.
"""

import json
import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("GPUWARD_BIN", ROOT / "build/release/bin"))
CLIENT = BIN.parent / "tests/helpers/sim_client"
VENV = ROOT / "build/venv/bin"
DEADLINE = 30  # seconds, for every wait


@pytest.fixture(scope="module")
def venv():
    made = subprocess.run([ROOT / "scripts/test-venv"], capture_output=True, text=True, timeout=300)
    if made.returncode == 0:
        return VENV
    if made.returncode == 3 and os.environ.get("GPUWARD_REQUIRE_ALL") != "1":
        pytest.skip("gpustat and nvitop cannot be installed here: " + made.stderr.strip()[-300:])
    pytest.fail(made.stderr)


class World:
    """Two cards of 40 GiB, and one client that holds 1 GiB of the first."""

    def __init__(self, folder):
        self.env = dict(
            os.environ,
            GPUSIM_STATE=str(folder / "state"),
            LD_LIBRARY_PATH=str(BIN / "sim"),
            LANG="C.UTF-8",
        )
        self.gpusim("create", "--gpus", "2", "--memory", "40GiB", "--context-memory", "0B")
        self.client = subprocess.Popen(
            [CLIENT, "hold", str(1 << 30)],
            env=self.env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.client.stdout.readline() == "ready\n"

    def run(self, *command):
        return subprocess.run(
            [str(word) for word in command],
            env=self.env,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
        )

    def gpusim(self, *arguments):
        done = self.run(BIN / "gpusim", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def command(self, line):
        self.client.stdin.write(line + "\n")
        self.client.stdin.flush()
        return self.client.stdout.readline()

    def close(self):
        self.client.kill()
        self.client.communicate()


@pytest.fixture
def world():
    # On tmpfs, where there is one: write-back of dirty pages would add stalls.
    import tempfile

    base = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(prefix="gpusim-e2e-", dir=base) as folder:
        made = World(pathlib.Path(folder))
        yield made
        made.close()


def gpustat(venv, world):
    done = world.run(venv / "gpustat", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["gpus"]


def test_gpustat_sees_cards_memory_and_the_process(venv, world):
    first, second = gpustat(venv, world)
    assert first["name"] == second["name"] == "Simulated H200"
    assert first["memory.total"] == 40960
    assert first["memory.used"] == 1024
    assert [row["pid"] for row in first["processes"]] == [world.client.pid]
    assert second["processes"] == []
    text = world.run(venv / "gpustat", "--no-color")
    assert text.returncode == 0 and "Simulated H200" in text.stdout


def test_nvitop_shows_the_process_without_a_traceback(venv, world):
    done = world.run(venv / "nvitop", "--once", "--ascii")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert "Simulated H200" in done.stdout
    assert str(world.client.pid) in done.stdout
    assert "1024MiB" in done.stdout


def test_nvitop_api_reads_utilisation_that_follows_from_work(venv, world):
    assert world.command("launch 2000000000").startswith("code 0")
    script = """
import time
from nvitop import Device, libcuda
device = Device(0)
deadline = time.monotonic() + 10
while device.gpu_utilization() != 100 and time.monotonic() < deadline:
    pass
row, = device.processes().values()
print(device.gpu_utilization(), row.pid, row.gpu_sm_utilization() > 0, libcuda.cuInit())
"""
    done = world.run(venv / "python", "-c", script)
    assert done.stdout.split()[:3] == ["100", str(world.client.pid), "True"], done.stderr


def test_readers_survive_a_lost_card_and_odd_rows(venv, world):
    world.gpusim("fault", "foreign-row", "--pid", "4000000", "--memory", "1GiB", "--gpu", "0")
    first, _ = gpustat(venv, world)
    assert [row["pid"] for row in first["processes"]] == [world.client.pid], "the stranger is hidden"
    assert "No Such Process" in world.run(venv / "nvitop", "--once").stdout
    world.gpusim("fault", "off-the-bus", "--gpu", "1")
    assert world.run(venv / "gpustat").returncode == 0
    assert world.run(venv / "nvitop", "--once").returncode == 0
    world.gpusim("heal")
    assert len(gpustat(venv, world)) == 2


def test_a_killed_process_leaves_no_row(venv, world):
    world.client.kill()
    world.client.wait(DEADLINE)
    first, _ = gpustat(venv, world)
    assert first["processes"] == []
