#!/usr/bin/env python3
"""Times gpuward's own share of a service's life beside the bare floor, in one run: `make bench-core`.

Prints medians with their number, and the bound of each; exits 1 when a bound is missed.
"""

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import (BIN, FIRST, LAST, Gpuward, Table, alive, cpu_ns, fields, median_of, pause, pss_kib,
                    stop_of_tree, wait_for, wakeups)

ROUNDS = 15


def bare_start() -> float:
    before = time.monotonic_ns()
    process = subprocess.Popen([FIRST], stdout=subprocess.PIPE, text=True)
    at = int(process.stdout.readline())
    process.kill()
    process.wait()
    return (at - before) / 1e6


def owned_start(gw: Gpuward, n: int) -> float:
    name = f"first{n}"
    before = time.monotonic_ns()
    gw("run", "--detach", "--name", name, "--", FIRST)
    at = int(wait_for(lambda: gw.log(name)).split()[0])
    gw("stop", name)
    return (at - before) / 1e6


def main_end_seen_ns(gw: Gpuward, name: str, after_ns: int) -> int:
    """When the anchor's state left `ready`, by its own CLOCK_MONOTONIC stamp in its record; 0: not yet."""
    record = (gw.home / f"run/anchors/{name}.0/record").read_bytes()
    state = fields(fields(record[8:])[3])
    since = int.from_bytes(state[12], "little")
    since = (since >> 1) ^ -(since & 1)
    return since if since > after_ns else 0


def exit_seen(gw: Gpuward, n: int) -> float:
    """From main's own clock reading just before _exit (so its write and the kernel's teardown count too) to the
    anchor's stamp of the change that the exit made."""
    name = f"last{n}"
    gw("run", "--detach", "--name", name, "--", LAST)
    child = int(wait_for(lambda: gw.log(name)).split()[0])
    os.kill(gw.service(name)["replicas"][0]["main_pid"], signal.SIGUSR1)
    at = int(wait_for(lambda: gw.log(name).split()[1:2])[0])
    seen = wait_for(lambda: main_end_seen_ns(gw, name, at))
    os.kill(child, signal.SIGKILL)
    gw("stop", name)
    return (seen - at) / 1e6


def exit_proven(gw: Gpuward, n: int) -> float:
    """From the kill of main to the exit of `gpuward run`, proof and all."""
    name = f"exit{n}"
    run = gw.popen("run", "--name", name, "--", FIRST)
    wait_for(lambda: gw.log(name))
    main = gw.service(name)["replicas"][0]["main_pid"]
    before = time.monotonic_ns()
    os.kill(main, 9)
    run.wait()
    return (time.monotonic_ns() - before) / 1e6


def sentinel_share(folder: Path) -> float:
    """Percent of a core that the warden's sentinel takes to look at 8 simulated cards once a second, after its start."""
    env = {"GPUSIM_STATE": str(folder / "cards"), "LD_LIBRARY_PATH": str(BIN / "sim")}
    gpusim = [BIN / "gpusim"]
    subprocess.run([*gpusim, "create", "--gpus", "8", "--memory", "80GiB"], env={**os.environ, **env}, check=True,
                   capture_output=True)
    gw = Gpuward(folder / "cards-home", **env)
    assert gw("up").returncode == 0
    wait_for(lambda: len(gw.status()["gpus"]) == 8)
    warden = gw.status()["warden"]["pid"]
    children = Path(f"/proc/{warden}/task/{warden}/children").read_text().split()
    sentinel, = (pid for pid in children if b"gpuward-sentinel" in Path(f"/proc/{pid}/cmdline").read_bytes())
    before, began = cpu_ns(int(sentinel)), time.monotonic_ns()
    pause(10)
    share = 100 * (cpu_ns(int(sentinel)) - before) / (time.monotonic_ns() - began)
    gw("down")
    subprocess.run([*gpusim, "destroy"], env={**os.environ, **env}, check=True, capture_output=True)
    return share


def main() -> int:
    table = Table("make bench-core")
    row = table.row
    with tempfile.TemporaryDirectory() as folder:
        gw = Gpuward(Path(folder) / "home")
        gw("run", "--", "true")
        pairs = [(bare_start(), owned_start(gw, n)) for n in range(ROUNDS)]
        floor = statistics.median(a for a, _ in pairs)
        start = statistics.median(b for _, b in pairs)
        row("bare fork + exec to first instruction", floor, "ms", "floor", True)
        row("gpuward run to first instruction", start, "ms", "floor + 5", start <= floor + 5)
        polite = median_of(ROUNDS // 3, lambda n: stop_of_tree(gw, n, "polite", 2000))
        row("polite tree of 6, order to proof", polite, "ms", "5", polite <= 5)
        deaf = median_of(ROUNDS // 3, lambda n: stop_of_tree(gw, n, "deaf", 300))
        row("TERM-deaf tree of 6, beyond its grace", deaf, "ms", "10", deaf <= 10)
        seen = median_of(ROUNDS, lambda n: exit_seen(gw, n))
        row("exit of main seen", seen, "ms", "1", seen <= 1)
        proven = median_of(ROUNDS // 3, lambda n: exit_proven(gw, n))
        row("main killed to `gpuward run` gone, with proof", proven, "ms", "", True)

        gw.configure('[service.one]\ncommand = ["sleep", "1000"]\n')
        assert gw("up").returncode == 0
        anchor = gw.service("one")["replicas"][0]["anchor_pid"]
        warden = gw.status()["warden"]["pid"]
        times = []
        for _ in range(ROUNDS):
            before = time.monotonic_ns()
            gw("status", "--json")
            times.append((time.monotonic_ns() - before) / 1e6)
        bare = []
        for _ in range(ROUNDS):
            before = time.monotonic_ns()
            subprocess.run(["/bin/true"], capture_output=True)
            bare.append((time.monotonic_ns() - before) / 1e6)
        row("start and end of /bin/true, as measured here", statistics.median(bare), "ms", "floor", True)
        row("gpuward status", statistics.median(times), "ms", "5", statistics.median(times) <= 5)
        before = wakeups(anchor)
        pause(3)
        idle = wakeups(anchor) - before
        row("wake-ups of an idle anchor in 3 s", idle, "", "0", idle == 0)
        row("one anchor, PSS", pss_kib(anchor), "KiB", "1024", pss_kib(anchor) <= 1024)
        row("warden, PSS", pss_kib(warden), "KiB", "10240", pss_kib(warden) <= 10240)
        gw("down")
        wait_for(lambda: not alive(anchor))
        share = sentinel_share(Path(folder))
        row("sentinel, 8 simulated cards at 1 Hz", share, "%", "0.2 of a core", share <= 0.2)

    return table.finish(*sys.argv[1:2])


if __name__ == "__main__":
    sys.exit(main())
