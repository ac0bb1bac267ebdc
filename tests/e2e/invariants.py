"""What must hold of services whatever dies: looked at from outside, by what the kernel takes back at a death.

tests/helpers/member.cc is the service. Each of its processes holds a record lock of its own, so who lives is asked of the
kernel and not of names, parents or gpuward. Used by test_chaos.py and by tests/soak/soak.py.
"""

import fcntl
import os
import random
import re
import struct
import subprocess
from pathlib import Path

from gpuward import ROOT, Gpuward, alive, end, wait_for

MEMBER = ROOT / "build/release/tests/helpers/member"
MEMBERS = 4
KINDS = {"plain": 'ready = { tcp = "127.0.0.1:{port}", within = "30s" }\nrestart = "always"',
         "deaf": 'stop = { grace = "100ms" }\nrestart = "always"',
         "chatty": 'restart = "always"', "flaky": 'restart = "always"'}
FLOCK = "hhqqi4x"  # struct flock: l_type, l_whence, l_start, l_len, l_pid


class Ward:
    """One install with a service of each kind, and innocents: the same command, started by somebody else."""

    def __init__(self, folder: Path, kinds=tuple(KINDS), innocents: int = 2):
        self.folder = folder
        self.kinds = kinds
        self.gw = Gpuward(folder / "home")
        self.lines: dict[str, Lines] = {name: Lines(self.gw, folder, name) for name in kinds if name == "chatty"}
        self.gw.configure("".join(
            f'[service.{name}]\ncommand = ["{MEMBER}", "{name}", "{name}", "{{port}}"]\ndirectory = "{folder}"\n'
            f'backoff = {{ first = "10ms", max = "500ms", reset = "1ms" }}\n{KINDS[name]}\n' for name in kinds))
        self.elsewhere = folder / "elsewhere"
        self.elsewhere.mkdir()
        self.innocents = [subprocess.Popen([MEMBER, f"innocent{n}", "deaf"], cwd=self.elsewhere, start_new_session=True,
                                           stdout=subprocess.DEVNULL) for n in range(innocents)]
        for n in range(innocents):
            wait_for(lambda n=n: len(holders(self.elsewhere, f"innocent{n}")) == MEMBERS)

    def living(self) -> dict[int, str]:
        """pid -> service, of every process that holds a lock."""
        return {pid: name for name in self.kinds for pid in holders(self.folder, name)}

    def check_single(self):
        """Nobody ever found an older copy beside itself."""
        for folder in (self.folder, self.elsewhere):
            second = folder / "second-copy"
            assert not second.exists(), f"a second copy was started: {second.read_text().split()}"

    def check_innocents(self):
        for n, process in enumerate(self.innocents):
            assert process.poll() is None, f"innocent {n} was ended: {process.returncode}"
            left = holders(self.elsewhere, f"innocent{n}")
            assert len(left) == MEMBERS, f"of innocent {n} only {len(left)} of {MEMBERS} processes live"

    def check_owned(self, within: float = 30):
        """Every process that lives stands in the tree that status shows."""
        last = {}

        def settled():
            nonlocal last
            owned = {process["pid"] for service in self.gw.status()["services"]
                     for replica in service["replicas"] for process in replica["tree"]}
            last = {pid: name for pid, name in self.living().items() if pid not in owned}
            return not last
        try:
            wait_for(settled, within)
        except AssertionError:
            raise AssertionError(f"processes that nobody owns: {last}") from None

    def check_lines(self):
        for lines in self.lines.values():
            lines.check()

    def check_gone(self, *names: str):
        """What a stop said it has ended: at once, without waiting."""
        left = {pid: name for pid, name in self.living().items() if name in (names or self.kinds)}
        assert not left, f"survivors: {left}"

    def check_all(self):
        self.check_single()
        self.check_innocents()
        self.check_owned()
        self.check_lines()

    def warden(self) -> int | None:
        warden = self.gw.status()["warden"]
        return warden["pid"] if warden else None

    def mains(self) -> dict[int, str]:
        return {replica["main_pid"]: service["name"] for service in self.gw.status()["services"] for replica in service["replicas"]
                if replica["main_pid"]}

    def up(self, killed: dict[int, str] | None = None):
        """`up`, and then all are healthy. A service whose main was killed, pid -> service, may be seen between two
        lives: 1 is an honest answer for it, and it comes up with another main soon."""
        flaky = set((killed or {}).values())
        done = self.gw("up", timeout=120)
        said = [line.removeprefix("gpuward: ") for line in (done.stdout + done.stderr).splitlines()]
        bad = [line for line in said if line.startswith(tuple(f"{k}: " for k in self.kinds if k not in flaky))
               and ": ready" not in line]
        honest = (0, 1) if flaky else (0,)
        assert done.returncode in honest and not bad, f"up: {done.returncode} {done.stdout} {done.stderr}"

        def well():
            services = self.gw.status()["services"]
            mains = {s["name"]: s["replicas"][0]["main_pid"] for s in services if s["verdict"] == "HEALTHY"}
            return set(self.kinds) <= set(mains) and not set(mains.values()) & {None, *(killed or {})}
        wait_for(well, 30, f"all are healthy after `up`: {done.stdout} {done.stderr}")

    def clean(self):
        self.gw("down", timeout=120)
        for process in self.innocents:
            left = holders(self.elsewhere, f"innocent{self.innocents.index(process)}")
            for pid in left:
                end(pid)
            process.kill()
            process.wait()
        for pid in (*self.gw.anchors(), *self.living()):
            end(pid)


class Lines:
    """The numbered lines of a chatty service: of each of its lives, none is missing; one may come twice."""

    def __init__(self, gw: Gpuward, folder: Path, name: str):
        self.gw = gw
        self.name = name
        self.count = folder / f"{name}.count"
        self.read = 0  # bytes of the log
        self.rest = ""
        self.seen: dict[int, int] = {}  # pid -> the last line without a gap before it
        self.total = 0

    def check(self):
        if not self.count.exists():  # it has not printed anything yet
            return
        pid, said = struct.unpack("QQ", self.count.read_bytes())
        wait_for(lambda: self.take(pid) >= said, 20, f"line {said} of {self.name} (pid {pid}) is in its log")

    def take(self, pid: int) -> int:
        with open(self.gw.home / "log" / f"{self.name}.log") as log:
            log.seek(self.read)
            fresh = log.read()
            self.read = log.tell()
        text, _, self.rest = (self.rest + fresh).rpartition("\n")
        # What was cut off by a death of the anchor in the middle of a line stands before the line come twice.
        for life, number in re.findall(r"<(\d+)\.(\d+)>", text):
            life, number = int(life), int(number)
            last = self.seen.get(life, 0)
            assert number <= last + 1, f"{self.name}: lines {last + 1} to {number - 1} of pid {life} are lost"
            self.total += number > last
            self.seen[life] = max(last, number)
        return self.seen.get(pid, 0)


class Chaos:
    """Rounds of random kill -9 and `up`; run(n) raises at the first thing that does not hold."""

    def __init__(self, folder: Path, seed: int):
        self.random = random.Random(seed)
        self.ward = Ward(folder, ("plain", "deaf", "chatty"))
        self.steps: list[str] = []

    def victims(self, mains: dict[int, str]) -> list[int]:
        """One of seven: the warden, some or all anchors, both, a main, a main and its anchor, everything of ours."""
        ward, pick = self.ward, self.random
        warden, anchors = [ward.warden()], ward.gw.anchors()
        some = pick.sample(anchors, pick.randint(1, len(anchors)))
        one = pick.choice(list(mains))
        return pick.choice([warden, some, anchors, warden + some, warden + anchors, [one], [one, *anchors, *warden]])

    def round(self):
        mains = self.ward.mains()
        victims = self.victims(mains)
        self.random.shuffle(victims)
        self.steps.append(" ".join(mains.get(pid, str(pid)) for pid in victims))
        for pid in victims:
            end(pid)
        self.ward.up({pid: mains[pid] for pid in victims if pid in mains})
        self.ward.check_all()

    def run(self, rounds: int):
        self.ward.up()
        self.ward.check_all()
        for _ in range(rounds):
            self.round()
        done = self.ward.gw("down", timeout=120)
        assert done.returncode == 0, f"down: {done.returncode} {done.stdout} {done.stderr}"
        self.ward.check_gone()
        self.ward.check_innocents()
        wait_for(lambda: not self.ward.gw.anchors(), 30, "the anchors have gone")
        assert not self.ward.gw.groups(), f"cgroups are left: {self.ward.gw.groups()}"


def holders(folder: Path, name: str) -> list[int]:
    """Pids that hold a record lock on NAME.locks, by the kernel's word (F_GETLK)."""
    path = folder / f"{name}.locks"
    if not path.exists():
        return []
    found = []
    with open(path, "rb+") as file:
        for at in range(MEMBERS):
            asked = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, at, 1, 0)
            kind, _, _, _, pid = struct.unpack(FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, asked))
            if kind != fcntl.F_UNLCK:
                found.append(pid)
    return [pid for pid in found if pid <= 0 or alive(pid)]
