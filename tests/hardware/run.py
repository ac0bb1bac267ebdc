#!/usr/bin/env python3
"""Asks a GPU box whether what gpuward's documents say of GPUs is so: GPUWARD_HARDWARE=1 tests/hardware/run.py

usage: run.py [--bin FOLDER] [--json FILE] [--only WORD] [--within SECONDS]

Needs Python 3.10, a driver, the programs of `make dist` beside it (or --bin), and two GiB free on the first card; nothing is
installed, no setting of the card is changed, and only processes that were started here are ended. Each mark is printed with
what was measured: "as said", "OTHERWISE" (correct the document and the simulation), or skipped with the reason. Exit: 0 all as
said or skipped, 1 something is otherwise, 2 usage, 77 no GPU. It also runs on the simulated GPU, and says so.
"""

import argparse
import ctypes
import json
import os
import platform
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from box import Box, Skip  # noqa: E402
from marks import MARKS, Mark  # noqa: E402

HERE = Path(__file__).resolve().parent


def folder_of_programs() -> Path:
    """The root of an unpacked archive, else what was built last."""
    for folder in (HERE.parent.parent, HERE.parent.parent / "build/release/bin"):
        if (folder / "gpuward-sentinel").exists():
            return folder
    return HERE.parent.parent


def look(box: Box, mark: Mark) -> dict:
    began = time.monotonic()
    try:
        agrees, measured = mark.look(box)
        outcome = "as said" if agrees else "otherwise"
    except Skip as why:
        outcome, measured = "skipped", str(why)
    except Exception as problem:  # noqa: BLE001: one mark that breaks must not hide the others
        outcome, measured = "broken", f"{type(problem).__name__}: {problem}"
    finally:
        box.end_workers()
        if box.simulated:
            box.gpusim("heal")
    return {"about": mark.about, "claim": mark.claim, "outcome": outcome, "measured": measured,
            "seconds": round(time.monotonic() - began, 3)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, default=folder_of_programs())
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", default="", help="marks whose subject or claim holds this word")
    parser.add_argument("--within", type=float, default=420, help="no new mark is begun after so many seconds")
    asked = parser.parse_args()
    if os.environ.get("GPUWARD_HARDWARE") != "1":
        print("hardware marks: skipped, they use the first GPU of this machine: set GPUWARD_HARDWARE=1")
        return 77
    if not (asked.bin / "gpuward-sentinel").exists():
        print(f"hardware marks: no gpuward-sentinel in '{asked.bin}': name its folder with --bin", file=sys.stderr)
        return 2
    try:
        box = Box(asked.bin)
    except Skip as why:
        print(f"hardware marks: skipped, {why}")
        return 77
    end, results = time.monotonic() + asked.within, []
    print(f"{box.name} ({box.uuid}), {platform.machine()}, Linux {platform.release()}, "
          f"{'SIMULATED GPU: this says nothing about a real one' if box.simulated else 'driver ' + driver(box)}")
    for mark in MARKS:
        if asked.only not in mark.about and asked.only not in mark.claim:
            continue
        if time.monotonic() < end:
            result = look(box, mark)
        else:
            result = {"about": mark.about, "claim": mark.claim, "outcome": "skipped", "measured": "out of time", "seconds": 0}
        results.append(result)
        word = {"as said": "as said  ", "otherwise": "OTHERWISE", "broken": "BROKEN   ", "skipped": "skipped  "}[result["outcome"]]
        print(f"{word}  {result['about']}: {result['claim']}\n           {result['measured']}", flush=True)
    if asked.json:
        asked.json.write_text(json.dumps({
            "gpu": box.name, "simulated": box.simulated, "machine": platform.machine(), "kernel": platform.release(),
            "driver": driver(box), "marks": results}, indent=1) + "\n")
    count = {name: sum(r["outcome"] == name for r in results) for name in ("as said", "otherwise", "broken", "skipped")}
    print(f"{count['as said']} as said, {count['otherwise']} otherwise, {count['skipped']} skipped, {count['broken']} broken")
    return 1 if count["otherwise"] or count["broken"] else 0


def driver(box: Box) -> str:
    room = ctypes.create_string_buffer(80)
    return room.value.decode() if box.nvml.lib.nvmlSystemGetDriverVersion(room, 80) == 0 else "unknown"


if __name__ == "__main__":
    sys.exit(main())
