"""The machine that the hardware marks look at: its driver, its cards, processes that use them, and gpuward's own programs."""

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
VERSION_2 = 2 << 24


class Skip(Exception):
    """A mark that this machine cannot show, and why."""


class Memory(ctypes.Structure):
    _fields_ = [("total", ctypes.c_uint64), ("free", ctypes.c_uint64), ("used", ctypes.c_uint64)]


class MemoryV2(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("total", ctypes.c_uint64), ("reserved", ctypes.c_uint64),
                ("free", ctypes.c_uint64), ("used", ctypes.c_uint64)]


class Utilization(ctypes.Structure):
    _fields_ = [("gpu", ctypes.c_uint32), ("memory", ctypes.c_uint32)]


class Sample(ctypes.Structure):
    _fields_ = [("at_us", ctypes.c_uint64), ("value", ctypes.c_uint64)]


class ProcessSample(ctypes.Structure):
    _fields_ = [("pid", ctypes.c_uint32), ("at_us", ctypes.c_uint64), ("sm", ctypes.c_uint32), ("mem", ctypes.c_uint32),
                ("enc", ctypes.c_uint32), ("dec", ctypes.c_uint32)]


class Event(ctypes.Structure):
    _fields_ = [("device", ctypes.c_void_p), ("kind", ctypes.c_uint64), ("data", ctypes.c_uint64),
                ("gpu_instance", ctypes.c_uint32), ("compute_instance", ctypes.c_uint32)]


class Nvml:
    """The first card by the driver's library; every call returns (code, value)."""

    def __init__(self):
        try:
            self.lib = ctypes.CDLL(os.environ.get("GPUWARD_NVML", "libnvidia-ml.so.1"))
        except OSError as problem:
            raise Skip(f"no driver library: {problem}") from problem
        began = time.monotonic()
        code = self.lib.nvmlInit_v2()
        if code != 0:
            raise Skip(f"nvmlInit_v2: code {code}")
        self.device = ctypes.c_void_p()
        code = self.lib.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(self.device))
        if code != 0:
            raise Skip(f"nvmlDeviceGetHandleByIndex_v2: code {code}")
        self.opened_in = time.monotonic() - began

    def has(self, name: str) -> bool:
        return hasattr(self.lib, name)

    def ask(self, name: str, *words) -> int:
        if not self.has(name):
            raise Skip(f"the driver has no {name}")
        return getattr(self.lib, name)(self.device, *words)

    def number(self, name: str, *before, kind=ctypes.c_uint32) -> tuple[int, int]:
        out = kind()
        return self.ask(name, *before, ctypes.byref(out)), out.value

    def text(self, name: str) -> str:
        out = ctypes.create_string_buffer(96)
        return out.value.decode() if self.ask(name, out, 96) == 0 else "?"

    def memory(self) -> Memory:
        out = Memory()
        if (code := self.ask("nvmlDeviceGetMemoryInfo", ctypes.byref(out))) != 0:
            raise Skip(f"nvmlDeviceGetMemoryInfo: code {code}")
        return out

    def memory_v2(self) -> MemoryV2:
        out = MemoryV2(version=ctypes.sizeof(MemoryV2) | VERSION_2)
        if (code := self.ask("nvmlDeviceGetMemoryInfo_v2", ctypes.byref(out))) != 0:
            raise Skip(f"nvmlDeviceGetMemoryInfo_v2: code {code}")
        return out

    def samples(self, since_us: int) -> list[tuple[int, int]]:
        """Of GPU utilisation, since a time of the wall clock in us: (when, percent)."""
        kind, count = ctypes.c_int(), ctypes.c_uint32(4096)
        room = (Sample * count.value)()
        code = self.ask("nvmlDeviceGetSamples", 1, ctypes.c_uint64(since_us), ctypes.byref(kind), ctypes.byref(count), room)
        if code not in (0, 6):
            raise Skip(f"nvmlDeviceGetSamples: code {code}")
        return [(s.at_us, s.value & 0xFFFFFFFF) for s in room[:count.value]] if code == 0 else []

    def process_samples(self, since_us: int) -> tuple[int, list[ProcessSample]]:
        count = ctypes.c_uint32(256)
        room = (ProcessSample * count.value)()
        code = self.ask("nvmlDeviceGetProcessUtilization", room, ctypes.byref(count), ctypes.c_uint64(since_us))
        return code, list(room[:count.value]) if code == 0 else []


class Worker:
    """cuda_worker.py as a process of our own."""

    def __init__(self, *, open_flags: int = 0):
        self.process = subprocess.Popen([sys.executable, HERE / "cuda_worker.py"], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, bufsize=1)
        self.pid = self.process.pid
        self.opened_in = self.ask(f"open {open_flags}")["seconds"]

    def tell(self, line: str):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def answer(self, within: float = 60) -> dict:
        if not select.select([self.process.stdout], [], [], within)[0]:
            raise Skip(f"the worker did not answer within {within:g} s")
        line = self.process.stdout.readline()
        if not line:
            raise Skip("the worker has ended")
        answer = json.loads(line)
        if "error" in answer:
            raise Skip(answer["error"])
        return answer

    def ask(self, line: str, within: float = 60) -> dict:
        self.tell(line)
        return self.answer(within)

    def signal(self, number: int):
        os.kill(self.pid, number)

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


class Box:
    def __init__(self, bin_folder: Path):
        self.bin = bin_folder
        self.nvml = Nvml()
        self.name = self.nvml.text("nvmlDeviceGetName")
        self.uuid = self.nvml.text("nvmlDeviceGetUUID")
        self.simulated = self.name.startswith("Simulated")
        self.workers: list[Worker] = []

    def worker(self, **how) -> Worker:
        worker = Worker(**how)
        self.workers.append(worker)
        return worker

    def end_workers(self):
        for worker in self.workers:
            worker.end()
        self.workers.clear()

    def gpuward(self, *words: str, timeout: float = 30) -> subprocess.CompletedProcess:
        return subprocess.run([self.bin / "gpuward", *words], capture_output=True, text=True, timeout=timeout, check=False)

    def gpusim(self, *words: str):
        subprocess.run([self.bin / "gpusim", *words], check=True, capture_output=True)

    def rows(self) -> dict[int, dict]:
        """gpuward's own view of who holds the first card, by pid."""
        shown = json.loads(self.gpuward("ps", "--json").stdout)
        return {row["pid"]: row for row in shown["processes"] if row["gpu_uuid"] == self.uuid}


def until(condition, within: float, pause: float = 0.002):
    """What @condition says once it says something, with the seconds that took; None and the time when it never does."""
    began = time.monotonic()
    while True:
        said = condition()
        took = time.monotonic() - began
        if said or took > within:
            return (said or None), took
        time.sleep(pause)


def now_us() -> int:
    return time.time_ns() // 1000
