"""A new gpuward beside what an older one left: records and anchors that speak version 1 of the wire and no later field.
The bytes are made here, by this file's own rules, and not by the code under test."""

import fcntl
import os
import signal
import socket
import struct
import subprocess
import threading
from pathlib import Path

import pytest
from gpuward import Gpuward, alive, wait_for

# The tags of version 1, by the tag of the struct that holds them; 0 is the record itself.
VERSION_1 = {0: set(range(1, 6)), 2: set(range(1, 14)) | set(range(16, 20)), 3: set(range(1, 33))}
UNKNOWN = struct.pack("<HI", 60000, 3) + b"new"


def fields(data: bytes) -> list[tuple[int, bytes]]:
    found = []
    while data:
        tag, size = struct.unpack_from("<HI", data)
        found.append((tag, data[6:6 + size]))
        data = data[6 + size:]
    return found


def field(tag: int, payload: bytes) -> bytes:
    return struct.pack("<HI", tag, len(payload)) + payload


def number(tag: int, value: int) -> bytes:
    return field(tag, value.to_bytes(8, "little").rstrip(b"\0"))


def signed(tag: int, value: int) -> bytes:
    return number(tag, value * 2 if value >= 0 else -value * 2 - 1)


def text(tag: int, words: str) -> bytes:
    return field(tag, words.encode())


def process(tag: int, pid: int) -> bytes:
    start = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19])
    return field(tag, number(1, pid) + number(2, start))


def frame(kind: int, body: bytes) -> bytes:
    body = b"gw" + bytes([1, kind]) + body
    return struct.pack("<I", len(body)) + body


def only_version_1(data: bytes, struct_tag: int = 0, later: bytes = b"") -> bytes:
    """The same without any newer field, and with `later` around each field that is left."""
    out = later
    for tag, payload in fields(data):
        if tag not in VERSION_1[struct_tag]:
            continue
        if struct_tag == 0 and tag in VERSION_1:
            payload = only_version_1(payload, tag, later)
        out += field(tag, payload) + later
    return out


@pytest.mark.parametrize("later", [b"", UNKNOWN], ids=["version 1", "fields of a later version"])
@pytest.mark.parametrize("mask", ["", "no_cgroup"])
def test_a_tree_is_taken_over_by_the_record_of_another_version(tmp_path, mask, later):
    gw = Gpuward(tmp_path / "home", GPUWARD_KERNEL_MASK=mask)
    gw.configure("""
[service.old]
command = ["sh", "-c", "echo up; sleep 1000 & wait"]
stop = { grace = "300ms" }
""")
    assert gw("up").returncode == 0
    before = gw.service("old")["replicas"][0]
    wait_for(lambda: gw.service("old")["replicas"][0]["processes"] == 2)
    for pid in (gw.status()["warden"]["pid"], before["anchor_pid"]):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not gw.anchors(), why="the anchor is gone")
    record = gw.home / "run/anchors/old.0/record"
    body = record.read_bytes()[8:]
    assert (UNKNOWN in only_version_1(body, later=later)) == bool(later)
    record.write_bytes(frame(1, only_version_1(body, later=later)))
    assert gw("up").returncode == 0
    after = gw.service("old")
    assert after["verdict"] == "HEALTHY" and after["replicas"][0]["main_pid"] == before["main_pid"]
    assert after["replicas"][0]["processes"] == 2
    assert gw("stop", "old").returncode == (4 if mask else 0)
    assert not alive(before["main_pid"])
    gw("down")


class OldAnchor(threading.Thread):
    """Speaks version 1 as an anchor: holds its folder, tells its state to who asks, and obeys `stop`."""

    def __init__(self, gw: Gpuward):
        super().__init__(daemon=True)
        self.folder = gw.home / "run/anchors/old.0"
        self.folder.mkdir(parents=True, mode=0o700)
        (gw.home / "run").chmod(0o700)
        self.lock = open(self.folder / "lock", "w")
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        self.main = subprocess.Popen(["sleep", "1000"], start_new_session=True)
        self.main_field = process(3, self.main.pid)
        self.asked = []
        self.listener = socket.socket(socket.AF_UNIX)
        here = os.open(self.folder, os.O_PATH)
        self.listener.bind(f"/proc/self/fd/{here}/control")
        os.close(here)
        self.listener.listen()
        self.write_record(self.state(2))

    def state(self, phase: int, more: bytes = b"") -> bytes:
        main = self.main_field if phase == 2 else b""
        return (number(1, phase) + process(2, os.getpid()) + main + number(4, 1) + number(6, 1)
                + text(14, "it runs; no readiness check is set") + more)

    def write_record(self, state: bytes):
        plan = (text(1, "old") + text(3, "sleep") + text(3, "1000") + text(5, "/") + signed(8, 300)
                + text(12, str(self.folder / "log")))
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        (self.folder / "record").write_bytes(frame(1, text(1, boot) + field(2, plan) + field(3, state)))

    def run(self):
        listening = True
        while listening:
            connection, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection: socket.socket):
        while len(head := connection.recv(4, socket.MSG_WAITALL)) == 4:
            body = connection.recv(struct.unpack("<I", head)[0], socket.MSG_WAITALL)
            assert body[:4] == b"gw\x01\x04", body
            what = next((int.from_bytes(value, "little") for tag, value in fields(body[4:]) if tag == 1), 0)
            self.asked.append(what)
            if what == 0:
                connection.sendall(frame(3, field(1, self.state(2))))
            if what == 1:
                self.main.kill()
                self.main.wait()
                receipt = number(1, 1) + number(2, 1) + signed(4, 1500) + number(8, 0) + signed(10, 1)
                over = self.state(6, field(20, receipt) + number(23, 1))
                self.write_record(over)
                connection.sendall(frame(3, field(1, over)))
                os.unlink(self.folder / "control")
                self.lock.close()
                connection.close()
                return


@pytest.mark.parametrize("warden", [True, False], ids=["warden", "no warden"])
def test_an_anchor_of_version_1_is_understood_and_obeys(gw, warden):
    old = OldAnchor(gw)
    old.start()
    try:
        if warden:
            assert gw("up").returncode == 0
        service = gw.service("old")
        assert service["verdict"] == "HEALTHY" and service["containment"] == "subreaper"
        assert service["replicas"][0]["main_pid"] == old.main.pid
        stop = gw("stop", "old", timeout=20)
        assert stop.returncode == 0, stop
        assert "ended 1 process in 1.5 ms, none left" in stop.stdout, stop
        assert old.asked[0] == 0 and old.asked[-1] == 1, old.asked
        wait_for(lambda: gw.service("old")["verdict"] == "STOPPED", why="its last record says so")
    finally:
        old.main.kill()
