#!/usr/bin/env python3
"""Random lives of services under random deaths of everything, for a while. usage: soak.py [--minutes M] [--seed N]

Each round does one thing at random: start, stop, restart, kill -9 of a main, an anchor, the warden, all of gpuward at
once, or the command itself in the middle of its work. What must hold is looked at after each:

  * no second copy: every process of a generation holds one lock, which the next generation must find free;
  * a stop that returns 0 leaves no process of that service alive (each carries a mark in its environment);
  * after a crash, `up` brings back what shall run, with no process unowned;
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
from gpuward import Gpuward, alive, end, wait_for  # noqa: E402

# A service of four processes: two children of its own, one orphan in a session of its own.
MEMBER = """
import fcntl, os, signal, socket, sys, time
name, kind = sys.argv[1:3]
lock = open(f"{name}.lock", "w")
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    open("second-copy", "a").write(name + "\\n")
if kind == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        signal.pause()
    os._exit(0)
for _ in range(2):
    if os.fork() == 0:
        signal.pause()
        os._exit(0)
print("up", flush=True)
if kind == "chatty":
    while True:
        print("x" * 200, flush=True)
        time.sleep(0.05)
if kind == "flaky":
    time.sleep(1.5)
    os._exit(3)
server = socket.create_server(("127.0.0.1", int(sys.argv[3])))
while True:
    client, _ = server.accept()
    client.close()
"""

SERVICES = {"plain": 'ready = { tcp = "127.0.0.1:{port}", within = "30s" }', "deaf": 'stop = { grace = "100ms" }',
            "chatty": "", "flaky": 'restart = "always"'}


def marked(mark: str) -> dict[int, str]:
    """Living processes that carry @p mark in their environment: pid -> service."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        for word in words:
            if word.startswith(mark.encode() + b"="):
                found[int(entry.name)] = word.split(b"=", 1)[1].decode()
    return {pid: service for pid, service in found.items() if alive(pid)}


class Soak:
    def __init__(self, folder: Path, seed: int):
        self.folder = folder
        self.random = random.Random(seed)
        self.mark = f"GPUWARD_SOAK_{os.getpid()}"
        self.gw = Gpuward(folder / "home")
        self.steps: deque[str] = deque(maxlen=30)
        self.counts: Counter[str] = Counter()
        (folder / "member.py").write_text(MEMBER)
        text = ""
        for name, more in SERVICES.items():
            text += (f'[service.{name}]\ncommand = ["/usr/bin/python3", "-ISE", "{folder}/member.py", "{name}", "{name}", "{{port}}"]\n'
                     f'directory = "{folder}"\nenv = {{ {self.mark} = "{name}" }}\n'
                     f'backoff = {{ first = "50ms", max = "500ms", reset = "1s" }}\n{more}\n')
        self.gw.configure(text)

    def need(self, held: bool, what: str, *more):
        if not held:
            raise AssertionError(" ".join([what, *(str(m) for m in more)]))

    def warden(self) -> int | None:
        warden = self.gw.status()["warden"]
        return warden["pid"] if warden else None

    def up(self):
        done = self.gw("up", timeout=120)
        # `flaky` may be seen between two lives: 1 is an honest answer for it.
        others = [line for line in (done.stdout + done.stderr).splitlines()
                  if line.startswith(tuple(SERVICES)) and not line.startswith("flaky") and "ready" not in line]
        self.need(done.returncode in (0, 1) and not others, "up:", done.returncode, done.stdout, done.stderr)

    def start(self):
        name = self.random.choice(list(SERVICES))
        done = self.gw("start", name, timeout=60)
        self.need(done.returncode == 0 or name == "flaky", "start", name, done.returncode, done.stderr)

    def stop(self):
        name = self.random.choice(list(SERVICES))
        done = self.gw("stop", name, timeout=60)
        self.need(done.returncode == 0, "stop", name, done.returncode, done.stdout, done.stderr)
        left = [pid for pid, service in marked(self.mark).items() if service == name]
        self.need(not left, "stop said 0, but these live:", name, left, done.stdout)

    def restart(self):
        name = self.random.choice(list(SERVICES))
        done = self.gw("restart", name, timeout=60)
        self.need(done.returncode == 0 or name == "flaky", "restart", name, done.returncode, done.stdout, done.stderr)

    def kill_main(self):
        pids = [replica["main_pid"] for service in self.gw.status()["services"] for replica in service["replicas"]
                if replica["main_pid"]]
        if pids:
            end(self.random.choice(pids))

    def kill_anchor(self):
        anchors = self.gw.anchors()
        if anchors:
            end(self.random.choice(anchors))

    def kill_warden(self):
        end(self.warden())
        self.up()

    def kill_all(self):
        for pid in [self.warden(), *self.gw.anchors()]:
            end(pid)
        self.up()

    def kill_command(self):
        words = self.random.choice([("start",), ("stop",), ("restart",)]) + (self.random.choice(list(SERVICES)),)
        command = self.gw.popen(*words)
        time.sleep(self.random.uniform(0, 0.05))  # chance, not a wait: the point is to die at any moment
        command.send_signal(signal.SIGKILL)
        command.communicate()

    def check_owned(self):
        """Every process with our mark stands in the tree that status shows."""
        def strays():
            owned = {process["pid"] for service in self.gw.status()["services"]
                     for replica in service["replicas"] for process in replica["tree"]}
            return {pid: name for pid, name in marked(self.mark).items() if pid not in owned}
        last = {}

        def settled():
            nonlocal last
            last = strays()
            return not last
        try:
            wait_for(settled, 30)
        except AssertionError:
            raise AssertionError(f"processes that nobody owns: {last}") from None

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
            self.check_owned()
            second = self.folder / "second-copy"
            self.need(not second.exists(), "a second copy was started:", second.exists() and second.read_text())
            if act == self.kill_warden or first is None:  # a fresh warden: its size is measured from here
                first = self.size_of_warden()
            files, kib = self.size_of_warden()
            self.need(files <= first[0] + 20 and kib <= first[1] + 8192, "the warden has grown:", first, (files, kib))
        down = self.gw("down", timeout=120)
        self.need(down.returncode == 0, "down:", down.stdout, down.stderr)
        wait_for(lambda: not self.gw.anchors(), 30, "the anchors have gone")
        self.need(not marked(self.mark), "left alive:", marked(self.mark))
        self.need(not self.gw.groups(), "cgroups are left:", self.gw.groups())

    def size_of_warden(self) -> tuple[int, int]:
        pid = self.warden()
        resident = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
        return len(os.listdir(f"/proc/{pid}/fd")), int(resident.split()[1])

    def clean(self):
        self.gw("down", timeout=120)
        for pid in self.gw.anchors():
            end(pid)
        for pid in marked(self.mark):
            end(pid)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    asked = parser.parse_args()
    began = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("soak: asked to end"))
    with tempfile.TemporaryDirectory(prefix="gpuward-soak-") as folder:
        soak = Soak(Path(folder), asked.seed)
        try:
            soak.run(began + asked.minutes * 60)
        except Exception as error:  # whatever it was: tell it with the seed, then clean up
            for name in SERVICES:
                print(f"--- {name}.log\n" + "\n".join(l for l in soak.gw.log(name).splitlines()[-60:] if "xxxx" not in l)[-1000:])
            print(json.dumps(soak.gw.status())[:6000])
            print("soak: last steps:", " ".join(soak.steps))
            print(f"soak: FAILED with --seed {asked.seed} after {time.monotonic() - began:.0f} s: {error}")
            return 1
        finally:
            soak.clean()
    done = ", ".join(f"{n} x {name}" for name, n in soak.counts.most_common())
    print(f"soak: {sum(soak.counts.values())} rounds in {asked.minutes:g} min, all held (seed {asked.seed}): {done}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
