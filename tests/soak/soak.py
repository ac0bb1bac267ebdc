#!/usr/bin/env python3
"""Random lives of services under random deaths of everything, for a while.

usage: soak.py [--minutes M] [--seed N] [--chaos ROUNDS]      ROUNDS of the chaos of tests/e2e/invariants.py come first

Each round does one thing at random: start, stop, restart, kill -9 of a main, an anchor, the warden, all of gpuward at
once, or the command itself in the middle of its work. What must hold is looked at after each:

  * no second copy: every process of a generation holds a lock, which the next generation must find free;
  * a stop that returns 0 leaves no process of that service alive: none of its locks is held;
  * after a crash, `up` brings back what shall run, with no process unowned;
  * innocents that run the same command live on, and no line of a chatty service is lost;
  * at the end: no process, no anchor, no cgroup of ours, and the warden has not grown.

Ends 0 only if all held; else prints the seed, the last steps and what was found.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter, deque
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))
from gpuward import end, wait_for  # noqa: E402
from invariants import Chaos, Ward  # noqa: E402


class Soak:
    def __init__(self, folder: Path, seed: int):
        self.random = random.Random(seed)
        self.ward = Ward(folder)
        self.gw = self.ward.gw
        self.steps: deque[str] = deque(maxlen=30)
        self.counts: Counter[str] = Counter()

    def need(self, held: bool, what: str, *more):
        if not held:
            raise AssertionError(" ".join([what, *(str(m) for m in more)]))

    def up(self):
        done = self.gw("up", timeout=120)
        # A service may be seen between two lives, or in a stop whose command was killed: 1 is an honest answer.
        self.need(done.returncode in (0, 1), "up:", done.returncode, done.stdout, done.stderr)

    def start(self):
        name = self.random.choice(self.ward.kinds)
        done = self.gw("start", name, timeout=60)
        self.need(done.returncode == 0 or name == "flaky", "start", name, done.returncode, done.stderr)

    def stop(self):
        name = self.random.choice(self.ward.kinds)
        done = self.gw("stop", name, timeout=60)
        self.need(done.returncode == 0, "stop", name, done.returncode, done.stdout, done.stderr)
        self.ward.check_gone(name)

    def restart(self):
        name = self.random.choice(self.ward.kinds)
        done = self.gw("restart", name, timeout=60)
        self.need(done.returncode == 0 or name == "flaky", "restart", name, done.returncode, done.stdout, done.stderr)

    def kill_main(self):
        mains = list(self.ward.mains())
        if mains:
            end(self.random.choice(mains))

    def kill_anchor(self):
        anchors = self.gw.anchors()
        if anchors:
            end(self.random.choice(anchors))

    def kill_warden(self):
        end(self.ward.warden())
        self.up()

    def kill_all(self):
        for pid in [self.ward.warden(), *self.gw.anchors()]:
            end(pid)
        self.up()

    def kill_command(self):
        words = self.random.choice([("start",), ("stop",), ("restart",)]) + (self.random.choice(self.ward.kinds),)
        command = self.gw.popen(*words)
        time.sleep(self.random.uniform(0, 0.05))  # chance, not a wait: the point is to die at any moment
        command.send_signal(signal.SIGKILL)
        command.communicate()

    def run(self, until: float):
        acts = {self.start: 3, self.stop: 3, self.restart: 3, self.kill_main: 3, self.kill_anchor: 2,
                self.kill_warden: 1, self.kill_all: 1, self.kill_command: 2}
        self.up()
        first = None
        while time.monotonic() < until:
            act = self.random.choices(list(acts), list(acts.values()))[0]
            self.steps.append(act.__name__)
            self.counts[act.__name__] += 1
            act()
            self.ward.check_all()
            if act == self.kill_warden or first is None:  # a fresh warden: its size is measured from here
                first = self.size_of_warden()
            files, kib = self.size_of_warden()
            self.need(files <= first[0] + 20 and kib <= first[1] + 8192, "the warden has grown:", first, (files, kib))
        down = self.gw("down", timeout=120)
        self.need(down.returncode == 0, "down:", down.stdout, down.stderr)
        wait_for(lambda: not self.gw.anchors(), 30, "the anchors have gone")
        self.ward.check_gone()
        self.ward.check_innocents()
        self.need(not self.gw.groups(), "cgroups are left:", self.gw.groups())

    def size_of_warden(self) -> tuple[int, int]:
        pid = self.ward.warden()
        resident = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
        return len(os.listdir(f"/proc/{pid}/fd")), int(resident.split()[1])


def chaos(rounds: int, seed: int) -> bool:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="gpuward-chaos-") as folder:
        chaos = Chaos(Path(folder), seed)
        try:
            chaos.run(rounds)
        except Exception as error:  # whatever it was: tell it with the seed, then clean up
            print(f"soak: chaos FAILED with --seed {seed} in round {len(chaos.steps)}, killed {chaos.steps[-3:]}: {error}")
            return False
        finally:
            chaos.ward.clean()
        print(f"soak: {rounds} rounds of chaos in {time.monotonic() - began:.0f} s, all held (seed {seed}): 0 survivors, 0 "
              f"innocents harmed, 0 second copies, 0 of {chaos.ward.lines['chatty'].total} log lines lost", flush=True)
    return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--chaos", type=int, default=0)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    asked = parser.parse_args()
    if asked.chaos and not chaos(asked.chaos, asked.seed):
        return 1
    began = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("soak: asked to end"))
    with tempfile.TemporaryDirectory(prefix="gpuward-soak-") as folder:
        soak = Soak(Path(folder), asked.seed)
        try:
            soak.run(began + asked.minutes * 60)
        except Exception as error:  # whatever it was: tell it with the seed, then clean up
            for name in soak.ward.kinds:
                print(f"--- {name}.log\n" + "\n".join(l for l in soak.gw.log(name).splitlines()[-60:] if not l.startswith("<"))[-1000:])
            print(json.dumps(soak.gw.status())[:6000])
            print("soak: last steps:", " ".join(soak.steps))
            print(f"soak: FAILED with --seed {asked.seed} after {time.monotonic() - began:.0f} s: {error}")
            return 1
        finally:
            soak.ward.clean()
    done = ", ".join(f"{n} x {name}" for name, n in soak.counts.most_common())
    print(f"soak: {sum(soak.counts.values())} rounds in {asked.minutes:g} min, all held (seed {asked.seed}): {done}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
