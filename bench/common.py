"""What the benchmarks share: the table with its bounds, clocks of others, what a process costs."""

import json
import os
import platform
import statistics
import struct
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/e2e"))
from gpuward import BIN, Gpuward, alive, end, wait_for  # noqa: E402, F401

HELPERS = ROOT / "build/release/tests/helpers"
FIRST = str(HELPERS / "first_instruction")
LAST = str(HELPERS / "last_instruction")
# A tree of 6 that prints "up" six times; argument `deaf`: it ignores TERM.
TREE = "import os, signal, sys\n" \
       "if sys.argv[1] == 'deaf': signal.signal(15, signal.SIG_IGN)\n" \
       "for n in range(5):\n" \
       "    if os.fork() == 0: break\n" \
       "os.write(1, b'up\\n')\n" \
       "while True: signal.pause()\n"


class Table:
    """Rows of median and bound; ends a benchmark with its exit code."""

    def __init__(self, command: str):
        self.command = command
        self.machine = f"{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}"
        self.rows = []
        print(f"{'':58}{'median':>10}  {'bound':<28} ({self.machine})", flush=True)

    def row(self, what: str, value, unit: str = "", bound: str = "", held: bool = True):
        value = round(value, 3) if isinstance(value, float) else value
        self.rows.append({"what": what, "median": value, "unit": unit, "bound": bound, "held": bool(held)})
        verdict = "" if not bound or bound == "floor" else "held" if held else "MISSED"
        print(f"{what:58}{value!s:>10} {unit:4} {bound:<28} {verdict}", flush=True)

    def finish(self, file: str | None = None, **more) -> int:
        if file:
            Path(file).parent.mkdir(parents=True, exist_ok=True)
            content = {"command": self.command, "machine": self.machine, "rows": self.rows, **more}
            Path(file).write_text(json.dumps(content, indent=1) + "\n")
            print(f"written: {file}")
        return 0 if all(r["held"] for r in self.rows) else 1


def median_of(times: int, measure) -> float:
    return statistics.median(measure(n) for n in range(times))


def pause(seconds: float):
    """For what is measured over a while: idle processors, wake-ups."""
    began = time.monotonic()
    wait_for(lambda: time.monotonic() - began > seconds, seconds + 5)


def pss_kib(pid: int) -> int:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(next(line.split()[1] for line in text.splitlines() if line.startswith("Pss:")))


def wakeups(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return sum(int(line.split()[1]) for line in text.splitlines() if "ctxt_switches" in line)


def cpu_ns(pid: int) -> int:
    """Of all its threads that live."""
    return sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir())


def fields(data: bytes) -> dict[int, bytes]:
    """One level of the encoding of src/control/wire.h: tag u16, length u32, payload."""
    found, at = {}, 0
    while at < len(data):
        tag, length = struct.unpack_from("<HI", data, at)
        found[tag] = data[at + 6:at + 6 + length]
        at += 6 + length
    return found


def stop_of_tree(gw: Gpuward, n: int, kind: str, grace_ms: int) -> float:
    """The anchor's own clock: from the order to the proof that nothing is left, less the grace."""
    name = f"{kind}{n}"
    gw.configure(f'[service.{name}]\ncommand = ["python3", "-c", {json.dumps(TREE)}, "{kind}"]\n'
                 f'stop = {{ grace = "{grace_ms}ms" }}\n', f"{name}.toml")
    assert gw("up").returncode == 0
    wait_for(lambda: gw.log(name).count("up") == 6)
    receipt = json.loads(gw("stop", "--json", name).stdout)["receipts"][0]
    assert receipt["processes_ended"] == 6 and not receipt["survivors"], receipt
    gw("down")
    (gw.home / "etc" / f"{name}.toml").unlink()
    return receipt["duration_seconds"] * 1e3 - (grace_ms if kind == "deaf" else 0)
