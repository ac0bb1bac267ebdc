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


def own_pages_kib(pid: int, cards: Path) -> int:
    """Private pages, but for those of the file that is the simulated cards: with a driver they are the driver's."""
    total, counted = 0, True
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if "-" in line.split(" ")[0]:
            counted = not line.endswith(str(cards))
        elif counted and line.startswith(("Private_Clean:", "Private_Dirty:")):
            total += int(line.split()[1])
    return total


def cost(table: Table, folder: Path):
    for cards, processes, bound in ((8, 200, 0.2), (64, 2000, 3.0)):
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
            size = own_pages_kib(sentinel, folder / f"cost{cards}/cards") / 1024
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


def xray(more: str = "") -> str:
    return (f'[service.xray]\ncommand = ["{BIN}/gpuward-xray", "--listen", "127.0.0.1:{{port}}", "--kernels", "20"]\n'
            'ready = { http = "/health" }\nrestart = "always"\nbackoff = { first = "0s", max = "0s" }\n' + more)


def healthy(gw: Cards) -> dict:
    """The service's one replica, once it is well and its memory has been seen."""
    def look():
        service = gw.service("xray")
        replica = service["replicas"][0] if service["replicas"] else None
        return service["verdict"] == "HEALTHY" and (replica["gpu_memory_bytes"] or 0) >= 1 << 30 and replica
    return wait_for(look, 60, "the service is well")


def until_shown(gw: Cards, fault: tuple, shown, within: float = 20) -> float:
    began = time.monotonic()
    gw.gpusim("fault", *fault)
    wait_for(lambda: shown(gw.status()), within, f"{fault} is shown")
    return time.monotonic() - began


def verdict_of(status: dict) -> str:
    return next(s["verdict"] for s in status["services"] if s["name"] == "xray")


def verdicts(table: Table, folder: Path, times: int):
    gw = Cards(folder / "verdicts", "--gpus", "2", "--memory", "40GiB")
    try:
        gw.configure(xray())
        assert gw("up").returncode == 0
        lost, xids, hung, held = [], [], [], []
        for _ in range(times):
            replica = healthy(gw)
            films = Films(f"http://{replica['endpoint']}/analyze")
            try:
                lost.append(until_shown(gw, ("lost-context", "--pid", str(replica["main_pid"])),
                                        lambda status: verdict_of(status).startswith("GHOST")))
            finally:
                films.end()
            gw("restart", "xray")
            main = str(healthy(gw)["main_pid"])
            xids.append(until_shown(gw, ("xid", "31", "--pid", main, "--kmsg", str(gw.kernel_log)),
                                    lambda status: verdict_of(status) == "GHOST_STICKY"))
            gw("restart", "xray")
            healthy(gw)
            hung.append(until_shown(gw, ("hang", "nvmlDeviceGetMemoryInfo_v2", "--gpu", "1"),
                                    lambda status: status["gpus"][1]["state"] == "suspect"))
            gw.gpusim("heal")
            wait_for(lambda: gw.status()["gpus"][1]["state"] == "ok", 60, "the card is well again")
            held.append(dead_with_memory(gw))
        for what, took, bound in (("lost context under requests -> GHOST", lost, 2.0), ("Xid 31 with its pid -> GHOST_STICKY", xids, 0.2),
                                  ("a call that hangs -> GPU suspect", hung, 2.0), ("dead process, memory held -> PHANTOM", held, 1.5)):
            median = statistics.median(took)
            table.row(f"{what}, median of {times}", median, "s", f"{bound:g}", median <= bound)
    finally:
        gw.over()


def dead_with_memory(gw: Cards) -> float:
    """A process that was killed and whose memory does not come back: until `ps` tells of bytes that nobody holds."""
    gw.gpusim("fault", "return-delay", "never")
    crowd = subprocess.Popen([CLIENT, "hold", str(2 << 30)], env=gw.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert crowd.stdout.readline() == "ready\n"
    wait_for(lambda: any(row["pid"] == crowd.pid for row in json.loads(gw("ps", "--json").stdout)["processes"]))
    began = time.monotonic()
    crowd.kill()
    crowd.wait()
    wait_for(lambda: any(size >= 1 << 30 for size in json.loads(gw("ps", "--json").stdout)["phantom_bytes"].values()))
    took = time.monotonic() - began
    gw.gpusim("heal")
    wait_for(lambda: all(size < 1 << 30 for size in json.loads(gw("ps", "--json").stdout)["phantom_bytes"].values()), 60)
    return took


def heal(table: Table, folder: Path, times: int):
    """From the lost context to a new main that is ready, under `heal = "act"`: beside a restart by hand in the same run.

    Each time in an install of its own: whoever is sick again after a restart is made to wait on purpose.
    """
    by_hand, healed = [], []
    for number in range(times):
        gw = Cards(folder / f"heal{number}", "--gpus", "1", "--memory", "40GiB")
        try:
            gw.configure(xray('heal = "act"\n'))
            assert gw("up").returncode == 0
            healthy(gw)
            began = time.monotonic()
            assert gw("restart", "xray").returncode == 0
            replica = healthy(gw)
            by_hand.append(time.monotonic() - began)
            healed.append(until_healed(gw, replica))
        finally:
            gw.over()
    restart, took = statistics.median(by_hand), statistics.median(healed)
    table.row(f"restart by hand to HEALTHY, median of {times}", restart, "s")
    table.row(f"lost context to HEALTHY under heal = \"act\", median of {times}", took, "s",
              f"{restart + 3:.2f} (restart + 3)", took <= restart + 3)


def until_healed(gw: Cards, replica: dict) -> float:
    films = Films(f"http://{replica['endpoint']}/analyze")
    try:
        began = time.monotonic()
        gw.gpusim("fault", "lost-context", "--pid", str(replica["main_pid"]))
        wait_for(lambda: healthy(gw)["main_pid"] != replica["main_pid"], 60, "it was healed")
        return time.monotonic() - began
    finally:
        films.end()


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
        if "verdicts" in parts:
            verdicts(table, folder, asked.times)
        if "heal" in parts:
            heal(table, folder, asked.times)
    return table.finish(asked.file, simulated=True)


if __name__ == "__main__":
    sys.exit(main())
