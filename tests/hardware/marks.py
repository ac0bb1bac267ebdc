"""What gpuward's documents say of a GPU without having seen one, each as a question to the machine.

A mark returns (agrees, what was measured), or raises Skip with the reason why this machine cannot show it. `agrees` is
about the words of the mark, which are also what the simulation does.
"""

import ctypes
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Callable

from box import Box, Event, Skip, Utilization, now_us, until

MIB, GIB = 1 << 20, 1 << 30


@dataclass(frozen=True)
class Mark:
    about: str
    claim: str
    look: Callable[[Box], tuple[bool, str]]


MARKS: list[Mark] = []


def mark(about: str, claim: str):
    def keep(look):
        MARKS.append(Mark(about, claim, look))
        return look
    return keep


def settled(box: Box) -> int:
    """Bytes in use once the memory of the mark before has come back: the same for half a second."""
    used, since = box.nvml.memory().used, time.monotonic()
    end = since + 10
    while time.monotonic() < min(since + 0.5, end):
        time.sleep(0.02)
        if (now := box.nvml.memory().used) != used:
            used, since = now, time.monotonic()
    return used


def ms(seconds: float) -> str:
    return f"{1e3 * seconds:.3g} ms"


# --- what the driver's calls cost and say


@mark("calls", "every call of a look takes at most a few ms")
def cost_of_calls(box: Box):
    n = box.nvml
    util = Utilization()
    calls = {
        "memory": lambda: n.memory(),
        "utilization": lambda: n.ask("nvmlDeviceGetUtilizationRates", ctypes.byref(util)),
        "samples": lambda: n.samples(now_us() - 1_000_000),
        "process utilization": lambda: n.process_samples(now_us() - 1_000_000),
        "temperature": lambda: n.number("nvmlDeviceGetTemperature", 0),
        "power": lambda: n.number("nvmlDeviceGetPowerUsage"),
    }
    worst, said = 0.0, []
    for name, call in calls.items():
        times = []
        for _ in range(20):
            began = time.monotonic()
            call()
            times.append(time.monotonic() - began)
        worst = max(worst, statistics.median(times))
        said.append(f"{name} {ms(statistics.median(times))}")
    return worst <= 0.005, ", ".join(said)


@mark("calls", "nvmlDeviceGetPcieThroughput blocks for about 20 ms")
def pcie_throughput_blocks(box: Box):
    began = time.monotonic()
    code, _ = box.nvml.number("nvmlDeviceGetPcieThroughput", 0)
    took = time.monotonic() - began
    if code != 0:
        raise Skip(f"nvmlDeviceGetPcieThroughput: code {code}")
    return 0.01 <= took <= 0.04, ms(took)


@mark("calls", "with persistence mode, or while somebody holds the driver open, opening a card is quick")
def opening_is_quick(box: Box):
    code, mode = box.nvml.number("nvmlDeviceGetPersistenceMode")
    program = ("import sys; sys.path.insert(0, sys.argv[1]); from box import Nvml; print(Nvml().opened_in)")
    done = subprocess.run([sys.executable, "-c", program, os.path.dirname(__file__)], capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        raise Skip(done.stderr.strip().splitlines()[-1])
    took = float(done.stdout)
    return took < 0.5, f"{ms(took)}; persistence mode {mode if code == 0 else f'code {code}'}"


@mark("memory", "memory v1 counts the driver's reserve as used, v2 does not")
def reserve_is_apart(box: Box):
    for _ in range(5):  # others may allocate between two calls
        old, new = box.nvml.memory(), box.nvml.memory_v2()
        if old.used == new.used + new.reserved:
            return True, f"reserved {new.reserved / MIB:.0f} MiB"
    return False, f"v1 {old.used}, v2 {new.used}, reserved {new.reserved}"


@mark("rows", "a new context is a row of its process with its memory, and gpuward shows it within a second")
def context_is_a_row(box: Box):
    worker = box.worker()
    worker.ask(f"alloc {256 * MIB}")
    row, took = until(lambda: box.rows().get(worker.pid), 5)
    if row is None:
        return False, f"pid {worker.pid} is not in {sorted(box.rows())}"
    held = row["gpu_memory_bytes"]
    if held is None:
        return False, "the driver does not say how much it holds"
    return held >= 256 * MIB and took < 1.5, f"{held / MIB:.0f} MiB after {ms(took)}; 256 MiB were asked for, the rest is its context"


@mark("rows", "a process that is killed while it holds memory gives it back within 2 s")
def memory_comes_back(box: Box):
    said, slowest = [], 0.0
    free = box.nvml.memory().free
    for size in (1, 10, 40, 80):
        if size * GIB > free - 2 * GIB:
            break
        before = settled(box)
        worker = box.worker()
        worker.ask(f"alloc {size * GIB}")
        worker.signal(signal.SIGKILL)
        _, took = until(lambda: box.nvml.memory().used <= before + 16 * MIB, 20)
        slowest = max(slowest, took)
        said.append(f"{size} GiB {ms(took)}")
    if not said:
        raise Skip("less than 3 GiB are free")
    return slowest <= 2, ", ".join(said)


@mark("rows", "a forked child that lives on keeps its parent's memory, and no row says so")
def fork_keeps_memory(box: Box):
    before = settled(box)
    worker = box.worker()
    worker.ask(f"alloc {512 * MIB}")
    child = worker.ask("fork")["child"]
    try:
        worker.signal(signal.SIGKILL)
        worker.process.wait()
        gone, _ = until(lambda: worker.pid not in box.rows(), 5)
        left = box.nvml.memory().used - before
        return bool(gone) and left >= 400 * MIB, f"{left / MIB:.0f} MiB held without a row"
    finally:
        os.kill(child, signal.SIGKILL)


@mark("utilization", "while nobody works, nvmlDeviceGetProcessUtilization returns 6, or only samples of 0 %")
def nobody_works(box: Box):
    since = now_us()
    time.sleep(1.5)
    code, samples = box.nvml.process_samples(since)
    busy = [s.sm for s in samples if s.sm > 0]
    return code == 6 or (code == 0 and not busy), f"code {code}, {len(samples)} samples, busy {busy}"


@mark("utilization", "the buffered samples are finer than the rate call's window of 1/6 to 1 s")
def samples_are_fine(box: Box):
    worker = box.worker()
    since = now_us()
    for _ in range(4):
        worker.ask("run 250 1000000")
        time.sleep(0.25)
    samples = box.nvml.samples(since)
    if len(samples) < 2:
        return False, f"{len(samples)} samples in 2 s"
    gaps = [b[0] - a[0] for a, b in zip(samples, samples[1:])]
    mean = statistics.mean(value for _, value in samples)
    return statistics.median(gaps) <= 200_000, \
        f"{len(samples)} samples, one each {statistics.median(gaps) / 1e3:.0f} ms, mean {mean:.0f} % of about 50 % busy"


# --- time on the card


@mark("slicing", "contexts of two processes take turns: together they take the sum, each as long as the other")
def contexts_take_turns(box: Box):
    workers = [box.worker(), box.worker()]
    alone = workers[0].ask("run 340 1000000")["seconds"]
    for worker in workers:
        worker.tell("run 340 1000000")
    took = [worker.answer()["seconds"] for worker in workers]
    ratio = max(took) / alone
    return 1.8 <= ratio <= 2.3 and min(took) > 0.8 * max(took), f"alone {ms(alone)}, together {ms(took[0])} and {ms(took[1])}: x {ratio:.2f}"


@mark("waiting", "a context that is opened with CU_CTX_SCHED_BLOCKING_SYNC waits without burning a core")
def blocking_wait_is_cheap(box: Box):
    share = cpu_share_of_wait(box, 4)
    return share < 0.2, f"{100 * share:.0f} % of a core"


@mark("waiting", "CU_CTX_SCHED_AUTO spins while there are no more contexts than cores")
def automatic_wait_spins(box: Box):
    if box.simulated:
        raise Skip("`gpusim create --auto-sync` says what the simulation does")
    share = cpu_share_of_wait(box, 0)
    return share > 0.8, f"{100 * share:.0f} % of a core"


def cpu_share_of_wait(box: Box, flags: int) -> float:
    worker = box.worker(open_flags=flags)
    worker.ask("run 10 1000000")
    took = worker.ask("run 1000 1000000")
    waited = took["seconds"] - took["launch_seconds"]
    if waited < 0.2:
        raise Skip("launching blocked: nothing was left to wait for")
    return took["cpu_seconds"] / took["seconds"]


@mark("pause", "a process that is stopped launches no more: the card drains within half a second and is another's alone")
def stopped_process_drains(box: Box):
    batch, film = box.worker(), box.worker()
    alone = film.ask("run 100 1000000")["seconds"]
    batch.tell("loop 1000000")
    time.sleep(0.3)
    beside = film.ask("run 100 1000000")["seconds"]
    batch.signal(signal.SIGSTOP)
    began, after = time.monotonic(), 99.0
    while after > 1.2 * alone and time.monotonic() - began < 30:
        after = film.ask("run 100 1000000")["seconds"]
    drained = time.monotonic() - began - after
    return drained < 0.5 and after < 1.2 * alone, \
        f"a film alone {ms(alone)}, beside the batch {ms(beside)}, after the stop {ms(after)}; drained within {ms(drained)}"


CHECKPOINT = """
import ctypes, sys, time, json
lib = ctypes.CDLL("libcuda.so.1"); lib.cuInit(0)
pid = ctypes.c_int(int(sys.argv[1])); out = {}
def call(name, args=None):
    if not hasattr(lib, name): print(json.dumps({"missing": name})); sys.exit()
    began = time.monotonic(); code = getattr(lib, name)(pid, args); out[name] = (code, time.monotonic() - began); return code
lock = (ctypes.c_uint32 * 16)(5000)
for step in sys.argv[2:]:
    if call("cuCheckpointProcess" + step, ctypes.byref(lock) if step == "Lock" else None): break
print(json.dumps(out))
"""


def checkpoint(pid: int, *steps: str) -> dict:
    done = subprocess.run([sys.executable, "-c", CHECKPOINT, str(pid), *steps], capture_output=True, text=True, timeout=180)
    if done.returncode != 0 or not done.stdout:
        raise Skip(f"the helper ended with {done.returncode}: {done.stderr.strip()[-200:]}")
    out = json.loads(done.stdout)
    if "missing" in out:
        raise Skip(f"the driver has no {out['missing']}")
    return out


def told(out: dict) -> str:
    return ", ".join(f"{name.removeprefix('cuCheckpointProcess')} {'' if code == 0 else f'code {code} '}{ms(took)}"
                     for name, (code, took) in out.items())


@mark("pause", "the driver locks a process within its kernels' length and unlocks it at once")
def lock_is_quick(box: Box):
    worker = box.worker()
    worker.ask("run 10 1000000")
    out = checkpoint(worker.pid, "Lock", "Unlock")
    well = all(code == 0 for code, _ in out.values()) and len(out) == 2
    return well and max(took for _, took in out.values()) < 0.5 and worker.ask("run 10 1000000")["code"] == 0, told(out)


@mark("park", "a locked process is checkpointed, its memory is the card's again, and it is restored")
def park_and_back(box: Box):
    worker = box.worker()
    before = settled(box)
    size = min(8 * GIB, box.nvml.memory().free // 2)
    worker.ask(f"alloc {size}")
    out = checkpoint(worker.pid, "Lock", "Checkpoint")
    if any(code != 0 for code, _ in out.values()):
        return False, told(out)
    parked = box.nvml.memory().used - before
    back = checkpoint(worker.pid, "Restore", "Unlock")
    well = worker.ask("run 10 1000000")["code"] == 0
    # It was restored: before it ends, it is locked and checkpointed again, or the machine may hang.
    again = checkpoint(worker.pid, "Lock", "Checkpoint")
    return well and parked < size // 2, f"{size / GIB:.1f} GiB: {told(out)}; {parked / MIB:.0f} MiB left on the card; {told(back)}; " \
        f"before its end {told(again)}"


# --- what goes wrong


@mark("sick", "a context that has faulted never gets well within its process")
def fault_is_sticky(box: Box):
    worker = box.worker()
    if box.simulated:
        box.gpusim("fault", "lost-context", "--pid", str(worker.pid), "--code", "700", "--keep-row")
    out = worker.ask("fault")
    codes = [out["code"], *out["again"], out["alloc"]]
    return all(code != 0 for code in codes), f"codes {codes}"


@mark("sick", "the row of a context that has faulted stays while its process lives")
def faulted_row_stays(box: Box):
    worker = box.worker()
    if box.simulated:
        box.gpusim("fault", "lost-context", "--pid", str(worker.pid), "--code", "700", "--keep-row")
    worker.ask("fault")
    time.sleep(1.0)
    listed = worker.pid in box.rows()
    return listed, "it is listed" if listed else "it is gone"


@mark("sick", "an illegal address is an Xid event (13 or 31) within 0.2 s")
def xid_event(box: Box):
    n = box.nvml
    events = ctypes.c_void_p()
    if n.lib.nvmlEventSetCreate(ctypes.byref(events)) != 0:
        raise Skip("nvmlEventSetCreate failed")
    if (code := n.ask("nvmlDeviceRegisterEvents", ctypes.c_uint64(8), events)) != 0:
        raise Skip(f"nvmlDeviceRegisterEvents: code {code}")
    worker = box.worker()
    if box.simulated:
        box.gpusim("fault", "xid", "31", "--pid", str(worker.pid))
    else:
        worker.ask("fault")
    began = time.monotonic()
    event = Event()
    code = n.lib.nvmlEventSetWait_v2(events, ctypes.byref(event), 5000)
    took = time.monotonic() - began
    n.lib.nvmlEventSetFree(events)
    if code != 0:
        return False, f"code {code} after {ms(took)}"
    return event.data in (13, 31) and took <= 0.2, f"Xid {event.data} after {ms(took)}"


# --- names and variables


@mark("names", "CUDA_VISIBLE_DEVICES takes a card's UUID, and a unique beginning of it")
def visible_by_uuid(box: Box):
    program = ("import ctypes; lib = ctypes.CDLL('libcuda.so.1'); n = ctypes.c_int(); lib.cuInit(0); "
               "lib.cuDeviceGetCount(ctypes.byref(n)); print(n.value)")
    counts = []
    for value in (box.uuid, box.uuid[:12], "GPU-00000000-0000-0000-0000-000000000000"):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60,
                              env={**os.environ, "CUDA_VISIBLE_DEVICES": value})
        counts.append(int(done.stdout or -1))
    return counts == [1, 1, 0], f"whole {counts[0]}, beginning {counts[1]}, unknown {counts[2]} cards"


@mark("fields", "field 230, the driver's own advice, is answered; unknown fields fail alone")
def field_batch(box: Box):
    room = (ctypes.c_uint8 * (40 * 2))()
    words = ctypes.cast(room, ctypes.POINTER(ctypes.c_uint32))
    words[0], words[10] = 230, 60000
    if (code := box.nvml.ask("nvmlDeviceGetFieldValues", 2, room)) != 0:
        return False, f"the whole batch: code {code}"
    codes, value = (words[7], words[17]), words[8]
    return codes[0] == 0 and codes[1] != 0, f"230: code {codes[0]}, value {value}; 60000: code {codes[1]}"


@mark("gpm", "nvmlGpmMetricsGet reads no more of the array than the number of metrics that was asked for")
def short_gpm_array(box: Box):
    n = box.nvml
    support = (ctypes.c_uint32 * 2)(1, 0)
    if n.ask("nvmlGpmQueryDeviceSupport", support) != 0 or not support[1]:
        raise Skip("this card has no GPM")
    first, second = ctypes.c_void_p(), ctypes.c_void_p()
    for sample in (first, second):
        if n.lib.nvmlGpmSampleAlloc(ctypes.byref(sample)) != 0 or n.ask("nvmlGpmSampleGet", sample) != 0:
            raise Skip("no GPM sample could be taken")
        time.sleep(0.15)
    room = (ctypes.c_uint8 * (24 + 2 * 40 + 4096))(*([0xA5] * (24 + 2 * 40 + 4096)))
    words = ctypes.cast(room, ctypes.POINTER(ctypes.c_uint32))
    words[0], words[1] = 1, 1
    ctypes.cast(ctypes.byref(room, 8), ctypes.POINTER(ctypes.c_void_p))[0] = first
    ctypes.cast(ctypes.byref(room, 16), ctypes.POINTER(ctypes.c_void_p))[0] = second
    words[6], words[7] = 2, 0
    code = n.lib.nvmlGpmMetricsGet(room)
    value = ctypes.cast(ctypes.byref(room, 32), ctypes.POINTER(ctypes.c_double))[0]
    untouched = all(byte == 0xA5 for byte in room[24 + 40:])
    return code == 0 and untouched, f"code {code}, SM busy {value:.1f} %, {'nothing' if untouched else 'something'} beyond the first metric was touched"


# --- PyTorch, where it is


def torch_says(program: str, **variables: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=180,
                          env={**os.environ, **variables})
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
        raise Skip(f"PyTorch: {last[:160]}")
    return done.stdout.strip()


CONTEXT = ("import torch; torch.zeros(1, device='cuda'); torch.cuda.synchronize(); f, t = torch.cuda.mem_get_info(); print(t - f)")


@mark("torch", "CUDA_MODULE_LOADING=LAZY is the default: EAGER makes the context larger")
def lazy_modules(box: Box):
    free = box.nvml.memory().used
    by = {how: int(torch_says(CONTEXT, CUDA_MODULE_LOADING=how)) - free for how in ("LAZY", "EAGER", "DEFAULT")}
    return by["EAGER"] > by["LAZY"] and abs(by["DEFAULT"] - by["LAZY"]) < 64 * MIB, \
        ", ".join(f"{how} {size / MIB:.0f} MiB" for how, size in by.items())


MATMUL = ("import torch; torch.manual_seed(1); a = torch.randn(512, 512, device='cuda', dtype=torch.{0}); print((a @ a).double().sum().item())")


@mark("torch", "TF32 by TORCH_ALLOW_TF32_CUBLAS_OVERRIDE=1 changes fp32 products and not bf16 ones")
def tf32_changes(box: Box):
    same = {}
    for kind in ("float32", "bfloat16"):
        program = MATMUL.format(kind)
        same[kind] = torch_says(program, TORCH_ALLOW_TF32_CUBLAS_OVERRIDE="0") == torch_says(program, TORCH_ALLOW_TF32_CUBLAS_OVERRIDE="1")
    return not same["float32"] and same["bfloat16"], ", ".join(f"{kind}: {'the same' if is_same else 'other'} bits" for kind, is_same in same.items())


@mark("torch", "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True is taken by this PyTorch")
def expandable_segments(box: Box):
    program = "import torch; x = torch.zeros(1 << 20, device='cuda'); print(torch.cuda.memory_reserved())"
    kept = int(torch_says(program, PYTORCH_CUDA_ALLOC_CONF="expandable_segments:True"))
    return kept > 0, f"{kept / MIB:.0f} MiB kept for 4 MiB"
