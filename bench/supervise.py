#!/usr/bin/env python3
"""Times how gpuward owns trees, alone and by the thousand, and what its peers do with the same trees: `make bench-supervise`.

usage: supervise.py [--only trees,anchors,fleet,peers] [--services N] [FILE.json]

Prints medians beside their bounds; the bound of a kill is the bare floor of the same tree in the same run. Exits 1 when a
bound is missed. Peers are looked for in build/peers (`scripts/setup --comparisons` puts them there, unstarted) and then
in PATH; one that is not there is said in its row.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import peers
from common import (BIN, FIRST, ROOT, Gpuward, Table, alive, cpu_ns, end, median_of, pause, pss_kib, stop_of_tree,
                    wait_for, wakeups)

FLOOR = str(ROOT / "build/release/bench/kill_floor")
DEAF = 2000
ROUNDS = 5


def killed_to_first_instruction(gw: Gpuward, rounds: int) -> float:
    """From kill -9 of main to the clock reading that is the new main's first act; no back-off, no GPU memory held."""
    gw.configure(f'[service.again]\ncommand = ["{FIRST}"]\nrestart = "always"\n'
                 'backoff = { first = "0s", max = "0s", reset = "1ms" }\n', "again.toml")
    assert gw("up").returncode == 0
    times = []
    for n in range(rounds):
        service = wait_for(lambda: (s := gw.service("again"))["verdict"] == "HEALTHY" and s)
        main = service["replicas"][0]["main_pid"]
        lives = len(gw.log("again").split())
        before = time.monotonic_ns()
        os.kill(main, 9)
        at = int(wait_for(lambda: gw.log("again").split()[lives:lives + 1])[0])
        times.append((at - before) / 1e6)
    gw("down")
    (gw.home / "etc/again.toml").unlink()
    return statistics.median(times)


def floor_of_kill(group: str) -> float:
    done = subprocess.run([FLOOR, "end", str(DEAF), group], capture_output=True, text=True, check=True)
    return int(done.stdout) / 1e6


def owned_kill(gw: Gpuward, n: int, grace_ms: int) -> float:
    name = f"many{n}"
    gw("run", "--detach", "--name", name, "--", FLOOR, "tree", str(DEAF))
    wait_for(lambda: "up" in gw.log(name))
    done = gw("stop", "--json", name, timeout=120)
    receipt = json.loads(done.stdout)["receipts"][0]
    assert receipt["processes_ended"] == DEAF + 1 and not receipt["survivors"], receipt
    return receipt["duration_seconds"] * 1e3 - grace_ms


def trees(table: Table, folder: Path):
    gw = Gpuward(folder / "trees")
    polite = median_of(ROUNDS, lambda n: stop_of_tree(gw, n, "polite", 2000))
    table.row("polite tree of 6, order to proof", polite, "ms", "5", polite <= 5)
    deaf = median_of(ROUNDS, lambda n: stop_of_tree(gw, n, "deaf", 300))
    table.row("TERM-deaf tree of 6, beyond its grace", deaf, "ms", "10", deaf <= 10)
    again = killed_to_first_instruction(gw, 3 * ROUNDS)
    table.row("kill -9 of main to the new main's first instruction", again, "ms", "5", again <= 5)
    where = cgroup2()
    if not where:
        return table.row(f"{DEAF} TERM-deaf in {DEAF} sessions", "skipped: no cgroup2 with the right to make groups")
    # By turns, so that both meet the same noise.
    gw.configure("")
    floors, ours = [], []
    for n in range(ROUNDS):
        floors.append(floor_of_kill(f"{where}/gpuward-bench-{os.getpid()}"))
        ours.append(owned_kill(gw, n, 10_000))
    floor, own = statistics.median(floors), statistics.median(ours)
    table.row(f"{DEAF} TERM-deaf in {DEAF} sessions: freeze, kill, reap, proof", floor, "ms", "floor")
    table.row("the same by gpuward, beyond its grace", own, "ms", f"{1.3 * floor:.0f} (1.3 x floor)", own <= 1.3 * floor)
    table.row("    ratio", own / floor)


def cgroup2() -> str | None:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        head, tail = line.split(" - ")
        if tail.startswith("cgroup2 ") and os.access(head.split()[4], os.W_OK):
            return head.split()[4]
    return None


def anchors(table: Table, folder: Path):
    gw = Gpuward(folder / "anchors")
    gw("run", "--detach", "--name", "one", "--", FIRST)
    wait_for(lambda: gw.log("one"))
    one, = gw.anchors()
    pause(1)  # until it sleeps
    table.row("one anchor alone, PSS", pss_kib(one), "KiB", "1024", pss_kib(one) <= 1024)
    gw("stop", "one")
    gw.configure("".join(service(n) for n in range(100)))
    assert gw("up").returncode == 0
    pids = gw.anchors()
    pause(6)  # the last of the looks that a tree's first output starts
    mean = sum(map(pss_kib, pids)) / len(pids)
    table.row(f"mean of {len(pids)} anchors, PSS", round(mean, 1), "KiB", "128", len(pids) == 100 and mean <= 128)
    before = {pid: wakeups(pid) for pid in pids}
    pause(10)
    woken = sum(wakeups(pid) - before[pid] for pid in pids)
    table.row("wake-ups of 100 idle anchors in 10 s", woken, "", "0", woken == 0)
    gw("down")


def service(n: int) -> str:
    return f'[service.s{n:04}]\ncommand = ["/bin/sleep", "100000"]\n'


def timed(gw: Gpuward, *words: str) -> float:
    before = time.monotonic()
    done = gw(*words, timeout=120)
    took = time.monotonic() - before
    assert done.returncode == 0, (words, done.returncode, done.stderr[-500:])
    return took


def fleet(table: Table, folder: Path, count: int):
    gw = Gpuward(folder / "fleet")
    gw.configure("".join(service(n) for n in range(count)))
    took = timed(gw, "up")
    table.row(f"{count} services: `up`", took, "s", "5", took <= 5)
    status = gw.status()
    well = [s for s in status["services"] if s["verdict"] == "HEALTHY"]
    assert len(well) == count, f"{len(well)} of {count} are healthy"
    mains = {s["name"]: s["replicas"][0]["main_pid"] for s in well}
    shown = statistics.median(timed(gw, "status") for _ in range(ROUNDS)) * 1e3
    table.row(f"{count} services: `status`", shown, "ms", "50", shown <= 50)
    warden = status["warden"]["pid"]
    before, began = cpu_ns(warden), time.monotonic_ns()
    pause(10)
    share = 100 * (cpu_ns(warden) - before) / (time.monotonic_ns() - began)
    table.row(f"{count} services: idle warden", share, "%", "0.5 of a core", share <= 0.5)
    fresh = pss_kib(warden) / 1024
    takes = []
    for _ in range(3):
        os.kill(warden, 9)
        takes.append(timed(gw, "up"))
        warden = gw.status()["warden"]["pid"]
    took = statistics.median(takes)
    table.row(f"{count} services: adopted after kill -9 of the warden", took, "s", "1", took <= 1)
    size = max(fresh, pss_kib(warden) / 1024)
    table.row(f"{count} services: warden, PSS", size, "MiB", "40", size <= 40)
    kept = {s["name"]: s["replicas"][0]["main_pid"] for s in gw.status()["services"]}
    table.row(f"{count} services: the same mains after that", sum(mains[n] == kept.get(n) for n in mains), "",
              str(count), mains == kept)
    took = timed(gw, "down")
    table.row(f"{count} services: `down`, each end proven", took, "s")
    left = [pid for pid in mains.values() if alive(pid)]
    table.row(f"{count} services: mains left after that", len(left), "", "0", not left)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="trees,anchors,fleet,peers")
    parser.add_argument("--services", type=int, default=1000)
    parser.add_argument("file", nargs="?")
    asked = parser.parse_args()
    parts = asked.only.split(",")
    assert BIN.exists(), "build first: make build"
    table = Table("make bench-supervise")
    more = {}
    with tempfile.TemporaryDirectory(prefix="gpuward-bench-") as name:
        folder = Path(name)
        try:
            if "trees" in parts:
                trees(table, folder)
            if "anchors" in parts:
                anchors(table, folder)
            if "fleet" in parts:
                fleet(table, folder, asked.services)
            if "peers" in parts:
                more["peers"] = peers.compare(folder)
        finally:
            for home in ("trees", "anchors", "fleet"):
                if (folder / home).exists():
                    gw = Gpuward(folder / home)
                    gw("down", timeout=120)
                    for pid in gw.anchors():
                        end(pid)
    return table.finish(asked.file, **more)


if __name__ == "__main__":
    sys.exit(main())
