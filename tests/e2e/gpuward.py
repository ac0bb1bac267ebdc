"""Drives the built programs: a home of its own per test, a deadline on every wait, nothing left behind."""

import json
import os
import select
import signal
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(os.environ.get("GPUWARD_BIN", ROOT / "build/release/bin"))


class Gpuward:
    """One install: GPUWARD_HOME in a folder of the test's own."""

    def __init__(self, home: Path, programs: Path = BIN, prefix: tuple = (), **env: str):
        self.home = home
        self.programs = programs
        self.prefix = prefix  # the words that start it elsewhere: as another user, in another namespace
        self.env = {**os.environ, "GPUWARD_HOME": str(home), **env}
        (home / "etc").mkdir(parents=True, exist_ok=True)

    def configure(self, text: str, name: str = "services.toml") -> Path:
        path = self.home / "etc" / name
        path.write_text(text)
        return path

    def __call__(self, *words: str, timeout: float = 60, **options) -> subprocess.CompletedProcess:
        return subprocess.run([*self.prefix, self.programs / "gpuward", *words], env=self.env, text=True, capture_output=True,
                              timeout=timeout, stdin=subprocess.DEVNULL, **options)

    def popen(self, *words: str, **options) -> subprocess.Popen:
        return subprocess.Popen([*self.prefix, self.programs / "gpuward", *words], env=self.env, text=True, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)

    def status(self, *services: str) -> dict:
        done = self("status", "--json", *services)
        assert done.stdout, (done.returncode, done.stderr)
        return json.loads(done.stdout)

    def service(self, name: str) -> dict:
        return next(s for s in self.status()["services"] if s["name"] == name)

    def log(self, name: str) -> str:
        path = self.home / "log" / f"{name}.log"
        return path.read_text() if path.exists() else ""

    def groups(self) -> list[Path]:
        """The cgroups made for services of this install, by the identity of its run folder in their names."""
        if not (self.home / "run").exists():
            return []
        run = (self.home / "run").stat()
        end = f".{run.st_dev}-{run.st_ino}"
        # Not glob: it fails when somebody else's group goes while it looks.
        return [Path(top, name) for top, names, _ in os.walk("/sys/fs/cgroup") for name in names
                if name.startswith("gpuward.") and name.endswith(end)]

    def anchors(self) -> list[int]:
        """Pids of the anchors that hold a folder here, by the folder in their command line."""
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
                parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
            if words[0].endswith(b"gpuward-anchor") and words[-2].startswith(str(self.home).encode()):
                found[int(entry.name)] = parent
        # A main that has not been executed yet still looks like its anchor.
        return [pid for pid, parent in found.items() if parent not in found]


def wait_for(what, within: float = 20, why: str = ""):
    """Asks again until `what()` is true; fails with `why` at the deadline."""
    deadline = time.monotonic() + within
    while True:
        value = what()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {within} s: {why or what}"
        select.select([], [], [], 0.01)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def end(pid: int):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
