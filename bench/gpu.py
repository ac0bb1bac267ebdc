#!/usr/bin/env python3
"""Times what gpuward says of GPUs, and what looking costs: `make bench-gpu`. Every card is simulated.

usage: gpu.py [--only cost,ps,verdicts,heal] [--times N] [FILE.json]

From a fault to its verdict counts from the moment before `gpusim fault` is started to the moment after the `status` that
shows it: the medians hold what both programs take. Exits 1 when a bound is missed.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

from common import BIN, HELPERS, ROOT, Gpuward, Table, cpu_ns, pause, wait_for

CLIENT = str(HELPERS / "sim_client")
FILM = (ROOT / "tests/films/nih_00000003_000.png").read_bytes()
WATCHED = 10  # seconds


class Cards(Gpuward):
    """An install with simulated cards of its own."""

    def __init__(self, folder: Path, *create: str):
        folder.mkdir()
        self.kernel_log = folder / "kmsg"
        self.kernel_log.touch()
        super().__init__(folder / "home", GPUSIM_STATE=str(folder / "cards"), LD_LIBRARY_PATH=str(BIN / "sim"),
                         GPUWARD_KMSG=str(self.kernel_log))
        self.gpusim("create", *create)
        self.crowds = []

    def gpusim(self, *words: str):
        subprocess.run([BIN / "gpusim", *words], env=self.env, check=True, capture_output=True, timeout=30)

    def crowd(self, count: int, cards: int):
        crowd = subprocess.Popen([CLIENT, "crowd", str(count), str(64 << 20), str(cards)], env=self.env, text=True,
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert crowd.stdout.readline() == "ready\n"
        self.crowds.append(crowd)

    def over(self):
        self("down", timeout=120)
        for crowd in self.crowds:
            crowd.stdin.close()
            crowd.wait()
        self.gpusim("destroy")

    def sentinels(self) -> list[int]:
        warden = self.status()["warden"]["pid"]
        children = Path(f"/proc/{warden}/task/{warden}/children").read_text().split()
        return [int(pid) for pid in children if b"gpuward-sentinel" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def own_pages_kib(pid: int) -> int:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith(("Private_Clean:", "Private_Dirty:")))


def cost(table: Table, folder: Path):
    for cards, processes, bound in ((8, 200, 0.2), (64, 1000, 3.0)):
        gw = Cards(folder / f"cost{cards}", "--gpus", str(cards), "--memory", "80GiB")
        try:
            gw.crowd(processes, cards)
            gw.configure("")
            assert gw("up").returncode == 0
            wait_for(lambda: len(gw.status()["gpus"]) == cards)
            pause(2)
            sentinel, = gw.sentinels()
            warden = gw.status()["warden"]["pid"]
            before, began = (cpu_ns(sentinel), cpu_ns(warden)), time.monotonic_ns()
            pause(WATCHED)
            took = time.monotonic_ns() - began
            looks, judges = ((cpu_ns(pid) - b) * 100 / took for pid, b in zip((sentinel, warden), before))
            what = f"{cards} cards, {processes} processes, 1 Hz: "
            table.row(what + "sentinel", looks, "%", f"{bound:g} of a core", looks <= bound)
            table.row(what + "warden", judges, "%")
            size = own_pages_kib(sentinel) / 1024
            table.row(what + "sentinel's own pages", size, "MiB", "6", size <= 6)
        finally:
            gw.over()


def ps(table: Table, folder: Path, times: int):
    gw = Cards(folder / "ps", "--gpus", "8", "--memory", "80GiB")
    try:
        gw.crowd(200, 8)
        gw.configure("")
        assert gw("up").returncode == 0
        wait_for(lambda: len(json.loads(gw("ps", "--json").stdout)["processes"]) == 200)
        took = []
        for _ in range(times):
            began = time.monotonic()
            assert gw("ps").returncode == 0
            took.append((time.monotonic() - began) * 1e3)
        median = statistics.median(took)
        table.row("`ps` of 200 processes on 8 cards, with a warden", median, "ms", "10", median <= 10)
    finally:
        gw.over()


class Films:
    """Requests without end, one after the other on each of two threads, whatever they are answered."""

    def __init__(self, url: str):
        self.url = url
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.send) for _ in range(2)]
        for thread in self.threads:
            thread.start()

    def send(self):
        while not self.over.is_set():
            try:
                urllib.request.urlopen(urllib.request.Request(self.url, FILM), timeout=5).read()
            except (urllib.error.URLError, OSError):
                self.over.wait(0.02)

    def end(self):
        self.over.set()
        for thread in self.threads:
            thread.join()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="cost,ps,verdicts,heal")
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("file", nargs="?")
    asked = parser.parse_args()
    assert BIN.exists(), "build first: make build"
    os.environ.pop("GPUWARD_NVML", None)
    parts = asked.only.split(",")
    table = Table("make bench-gpu")
    with tempfile.TemporaryDirectory(prefix="gpuward-bench-") as name:
        folder = Path(name)
        if "cost" in parts:
            cost(table, folder)
        if "ps" in parts:
            ps(table, folder, asked.times)
    return table.finish(asked.file, simulated=True)


if __name__ == "__main__":
    sys.exit(main())
