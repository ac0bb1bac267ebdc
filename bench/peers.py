"""gpuward and its peers with the same tree of six, one after the other in one run: part of `make bench-supervise`.

The last death is what the kernel says: the end of a FIFO that all six hold. Each peer is told to end whole groups where it
can be told. What it leaves alive is counted, then ended here.
"""

import os
import select
import shutil
import signal
import statistics
import subprocess
import time
from pathlib import Path

from common import ROOT, Gpuward, alive, end, pause, pss_kib, wait_for, wakeups

TREE = ROOT / "build/release/bench/peer_tree"
DEBS = ROOT / "build/peers"
COLUMNS = ("start ms", "polite: last death ms", "polite: command ms", "deaf, grace 1 s: last death ms",
           "kill -9 of main to new main ms", "idle PSS KiB", "wake-ups/s", "after kill -9 of the supervisor and its restart")
ENV = {**os.environ, "PATH": f"{DEBS}/usr/bin:{DEBS}/sbin:{DEBS}/usr/sbin:{os.environ['PATH']}",
       "LD_LIBRARY_PATH": f"{DEBS}/lib/x86_64-linux-gnu:{DEBS}/usr/lib/x86_64-linux-gnu",
       "PYTHONPATH": f"{DEBS}/usr/lib/python3/dist-packages"}
GIVE_UP = 4  # seconds after a stop: what lives then is left


class Peer:
    """A supervisor that leads one service, `x`; its folder holds what it writes and what the tree writes."""

    name = needs = ""
    restarts = True

    def __init__(self, folder: Path, kind: str):
        self.folder = folder
        self.kind = kind
        folder.mkdir()
        os.mkfifo(folder / "alive")
        self.alive = os.open(folder / "alive", os.O_RDONLY | os.O_NONBLOCK)
        self.command = [str(TREE), kind, str(folder)]
        self.process: subprocess.Popen | None = None

    def begin(self): ...
    def start(self): ...
    def stop(self): ...

    def spawn(self, *words: str):
        self.process = subprocess.Popen(words, env=ENV, cwd=self.folder, stdin=subprocess.DEVNULL, start_new_session=True,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def run(self, *words: str, timeout: float = 15):
        try:
            return subprocess.run(words, env=ENV, cwd=self.folder, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                  timeout=timeout)
        except subprocess.TimeoutExpired:
            return None

    def supervisors(self) -> list[int]:
        """Every process that stays to lead the service."""
        return with_children(self.process.pid, lambda pid: "peer_tree" not in command_of(pid)) if self.process else []

    def kill_supervisors(self):
        for pid in self.supervisors():
            end(pid)
        if self.process:
            self.process.wait()

    def lives(self, what: str | None = None) -> list[int]:
        """Pids of the tree's processes, of all its generations, that live."""
        began = self.folder / "began"
        lines = [line.split() for line in began.read_text().splitlines()] if began.exists() else []
        return [int(pid) for kind, pid, _ in lines
                if what in (None, kind) and alive(int(pid)) and str(self.folder) in command_of(int(pid))]

    def mains(self) -> list[int]:
        """CLOCK_MONOTONIC of each main's first instruction."""
        began = self.folder / "began"
        return [int(line.split()[2]) for line in began.read_text().splitlines() if line.startswith("main")] \
            if began.exists() else []

    def comes_up(self, before: int) -> int:
        wait_for(lambda: len(self.mains()) > before and len(self.lives()) >= 6, 15, f"{self.name}: a tree of six")
        return self.mains()[before]

    def last_death(self) -> int | None:
        """When the last writer of the FIFO went; none within the time given."""
        poll = select.poll()
        poll.register(self.alive, select.POLLIN)
        ready = poll.poll(GIVE_UP * 1000)
        return time.monotonic_ns() if ready and ready[0][1] & select.POLLHUP else None

    def end_all(self):
        self.kill_supervisors()
        for pid in self.lives():
            end(pid)
        os.close(self.alive)


class Us(Peer):
    name, needs = "gpuward", "gpuward"

    def begin(self):
        if not hasattr(self, "gw"):
            self.gw = Gpuward(self.folder / "home")
            words = ", ".join(f'"{word}"' for word in self.command)
            self.gw.configure(f'[service.x]\ncommand = [{words}]\nstop = {{ grace = "1s" }}\nrestart = "always"\n'
                              'autostart = false\nbackoff = { first = "0s", max = "0s", reset = "1ms" }\n')
        self.gw("up")

    def start(self):
        self.gw("start", "x")

    def stop(self):
        self.gw("stop", "x")

    def supervisors(self):
        warden = self.gw.status()["warden"]
        return self.gw.anchors() + ([warden["pid"]] + with_children(warden["pid"], lambda pid: "sentinel" in command_of(pid))
                                    if warden else [])

    def end_all(self):
        self.gw("down")
        super().end_all()


class Supervisord(Peer):
    name, needs = "supervisord", "supervisord"

    def begin(self):
        (self.folder / "s.conf").write_text(
            f"[unix_http_server]\nfile={self.folder}/s\n[supervisord]\nnodaemon=true\nlogfile={self.folder}/log\n"
            f"pidfile={self.folder}/pid\n[rpcinterface:supervisor]\n"
            "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n"
            f"[supervisorctl]\nserverurl=unix://{self.folder}/s\n[program:x]\ncommand={' '.join(self.command)}\n"
            f"autostart={'true' if self.mains() else 'false'}\nautorestart=true\nstartsecs=0\nstopwaitsecs=1\n"
            "stopasgroup=true\nkillasgroup=true\n")
        self.spawn("/usr/bin/python3", found(self.needs), "-c", f"{self.folder}/s.conf")
        wait_for(lambda: self.ctl("status").returncode in (0, 3), 15)

    def ctl(self, *words: str):
        return self.run("/usr/bin/python3", found("supervisorctl"), "-c", f"{self.folder}/s.conf", *words)

    def start(self):
        self.ctl("start", "x")

    def stop(self):
        self.ctl("stop", "x")


class S6(Peer):
    name, needs = "s6", "s6-supervise"

    def begin(self):
        service = self.folder / "x"
        if service.exists():
            (service / "down").unlink()  # it was up when its supervisor died
        else:
            service.mkdir()
            (service / "run").write_text("#!/bin/sh\nexec " + " ".join(self.command) + "\n")
            (service / "run").chmod(0o755)
            (service / "down").touch()
            (service / "timeout-kill").write_text("1000\n")
        self.spawn(found(self.needs), str(service))
        wait_for(lambda: self.run(found("s6-svok"), str(service)).returncode == 0)

    def start(self):
        self.run(found("s6-svc"), "-u", str(self.folder / "x"))

    # Its own `-wD` calls a program by an absolute path, where an unpacked package does not have it.
    def stop(self):
        self.run(found("s6-svc"), "-d", str(self.folder / "x"))
        wait_for(lambda: self.run(found("s6-svstat"), "-o", "up", str(self.folder / "x")).stdout == "false\n", 10)


class Runit(Peer):
    name, needs = "runit", "runsv"

    def begin(self):
        service = self.folder / "x"
        if service.exists():
            (service / "down").unlink()
        else:
            service.mkdir()
            (service / "run").write_text("#!/bin/sh\nexec " + " ".join(self.command) + "\n")
            (service / "run").chmod(0o755)
            (service / "down").touch()
        self.spawn(found(self.needs), str(service))
        wait_for(lambda: self.run(found("sv"), "status", str(service)).returncode == 0)

    def start(self):
        self.run(found("sv"), "up", str(self.folder / "x"))

    def stop(self):
        self.run(found("sv"), "-w", "1", "force-stop", str(self.folder / "x"))


class Monit(Peer):
    name, needs = "monit", "monit"

    def begin(self):
        rc = self.folder / "monitrc"
        pid = self.folder / "x.pid"
        (self.folder / "go").write_text(f"#!/bin/sh\nsetsid {' '.join(self.command)} >/dev/null 2>&1 &\necho $! >{pid}\n")
        (self.folder / "end").write_text(f"#!/bin/sh\nkill -TERM -$(cat {pid})\nsleep 1\nkill -KILL -$(cat {pid})\nrm {pid}\n")
        for script in ("go", "end"):
            (self.folder / script).chmod(0o755)
        rc.write_text(f"set daemon 1\nset idfile {self.folder}/id\nset statefile {self.folder}/state\nset pidfile {self.folder}/m.pid\n"
                      f"set httpd unixsocket {self.folder}/s allow admin:monit\ncheck process x with pidfile {pid}\n"
                      f"  start program = \"{self.folder}/go\"\n  stop program = \"{self.folder}/end\"\n"
                      + ("" if self.mains() else "  onreboot nostart\n"))
        rc.chmod(0o700)
        self.spawn(found(self.needs), "-I", "-c", str(rc))
        # Before its first look an order would be lost in it.
        wait_for(lambda: "Initializing" not in self.run(found(self.needs), "-c", str(rc), "status", "x").stdout, 15)

    def ctl(self, word: str):
        self.run(found(self.needs), "-c", str(self.folder / "monitrc"), word, "x")

    def start(self):
        self.ctl("start")

    def stop(self):
        self.ctl("stop")


class Article(Peer):
    name, needs, restarts = "the article's scripts", "", False

    def script(self, name: str, *words: str):
        env = {**ENV, "APP_DIR": str(self.folder), "TERM_WAIT": "1", "KILL_WAIT": "1"}
        subprocess.run([ROOT / "bench/article" / name, *words], env=env, capture_output=True, timeout=30)

    def start(self):
        self.script("start_gradio.sh", *self.command)

    def stop(self):
        self.script("stop_gradio.sh")


def found(program: str) -> str | None:
    return shutil.which(program, path=ENV["PATH"])


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def with_children(pid: int, wanted) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return ([pid] if wanted(pid) else []) + [p for child in children for p in with_children(int(child), wanted)]


def start_ms(peer: Peer) -> float:
    count, before = len(peer.mains()), time.monotonic_ns()
    peer.start()
    return (peer.comes_up(count) - before) / 1e6


def stop_ms(peer: Peer) -> tuple[float | str, float]:
    """When the last process died, or how many live on; when the command returned."""
    returned = []
    before = time.monotonic_ns()
    command = os.fork()
    if command == 0:
        try:
            peer.stop()
        finally:
            os._exit(0)
    told = os.pidfd_open(command)
    last = None
    poll = select.poll()
    poll.register(told, select.POLLIN)
    poll.register(peer.alive, select.POLLIN)
    while (not returned or last is None) and time.monotonic_ns() - before < (GIVE_UP + 8) * 1e9:
        for fd, event in poll.poll(100):
            if fd == told:
                returned.append(time.monotonic_ns())
                poll.unregister(told)
            elif event & select.POLLHUP:
                last = time.monotonic_ns()
                poll.unregister(peer.alive)
        if returned and last is None and time.monotonic_ns() - returned[0] > GIVE_UP * 1e9:
            break
    if not returned:
        end(command)
    os.waitpid(command, 0)
    os.close(told)
    left = peer.lives()
    for pid in left:
        end(pid)
    wait_for(lambda: not peer.lives())
    death = (last - before) / 1e6 if last else f"never: {len(left)} left"
    return death, (returned[0] - before) / 1e6 if returned else float("nan")


def again_ms(peer: Peer) -> float:
    count = len(peer.mains())
    main, = peer.lives("main")
    old = peer.lives("child")
    before = time.monotonic_ns()
    os.kill(main, signal.SIGKILL)
    wait_for(lambda: len(peer.mains()) > count, 15)
    at = peer.mains()[count]
    living = peer.lives("child")
    peer.beside = max(getattr(peer, "beside", 0), sum(pid in living for pid in old))
    pause(0.3)  # what is ready by having run for a while is
    return (at - before) / 1e6


def after_crash(peer: Peer) -> str:
    """kill -9 of all that leads, then its own start; what runs a while later."""
    before = set(peer.lives())
    peer.kill_supervisors()
    died = before - set(peer.lives())
    peer.begin()
    pause(3)
    mains = peer.lives("main")
    said = "second copy beside the first" if len(mains) > 1 else "adopted" if mains and mains[0] in before else \
        "a new one, the first is gone" if mains else "nothing runs"
    return said + (f", {len(died)} died with it" if died else "")


def measure(cls: type[Peer], folder: Path) -> dict:
    row: dict = {"peer": cls.name}
    if cls.needs and cls.needs != "gpuward" and not found(cls.needs):
        return row | {"missing": f"{cls.needs} is not installed: scripts/setup --comparisons"}
    peer = cls(folder / f"{cls.needs or 'article'}-polite", "polite")
    deaf = None
    try:
        peer.begin()
        starts, stops = [], []
        for _ in range(3):
            starts.append(start_ms(peer))
            pause(0.3)
            stops.append(stop_ms(peer))
        row["start ms"] = statistics.median(starts)
        row["polite: last death ms"] = middle([s[0] for s in stops])
        row["polite: command ms"] = statistics.median(s[1] for s in stops)
        if cls.restarts:
            start_ms(peer)
            pause(1)
            row["kill -9 of main to new main ms"] = statistics.median(again_ms(peer) for _ in range(3))
            if peer.beside > 0:
                row["kill -9 of main to new main ms"] = f"{row['kill -9 of main to new main ms']:.1f}, beside {peer.beside} of the old"
            pids = peer.supervisors()
            row["idle PSS KiB"] = sum(map(pss_kib, pids))
            before = sum(map(wakeups, pids))
            pause(5)
            row["wake-ups/s"] = (sum(map(wakeups, pids)) - before) / 5
            row["after kill -9 of the supervisor and its restart"] = after_crash(peer)
        deaf = cls(folder / f"{cls.needs or 'article'}-deaf", "deaf")
        deaf.begin()
        start_ms(deaf)
        pause(0.3)
        row["deaf, grace 1 s: last death ms"] = stop_ms(deaf)[0]
    except (AssertionError, OSError, subprocess.SubprocessError, ValueError) as error:
        row["trouble"] = f"{type(error).__name__}: {error}"[:200]
    finally:
        for one in (peer, deaf):
            if one:
                one.end_all()
    return row


def middle(values: list):
    odd = [v for v in values if isinstance(v, str)]
    return odd[0] if odd else statistics.median(values)


def compare(folder: Path) -> list[dict]:
    rows = []
    for cls in (Us, Supervisord, S6, Runit, Monit, Article):
        row = measure(cls, folder)
        rows.append(row)
        print(f"{row['peer']}: {row.get('missing', '')}{row.get('trouble', '')}")
        for column in COLUMNS:
            value = row.get(column, "-")
            if "missing" not in row:
                print(f"    {column:50} {value if isinstance(value, str) else f'{value:.1f}'}", flush=True)
    return rows
