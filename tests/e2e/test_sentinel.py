"""gpuward-sentinel against the simulated driver: what it sees, and what it says when it sees nothing."""

import json
import os
import select
import socket
import struct
import subprocess
import time

import pytest

from gpuward import BIN

SENTINEL = BIN / "gpuward-sentinel"


class Cards:
    """Simulated cards of the test's own."""

    def __init__(self, folder):
        self.env = {**os.environ, "GPUSIM_STATE": str(folder / "cards"), "LD_LIBRARY_PATH": str(BIN / "sim")}
        self.env.pop("GPUWARD_NVML", None)

    def gpusim(self, *words):
        subprocess.run([BIN / "gpusim", *words], env=self.env, check=True, capture_output=True, timeout=20)

    def run(self, *words, **options):
        return subprocess.run([SENTINEL, *words], env=self.env, capture_output=True, text=True, timeout=20,
                              stdin=subprocess.DEVNULL, **options)

    def look(self, exit_code=0):
        done = self.run("--once", "--json")
        assert done.returncode == exit_code, done
        return json.loads(done.stdout)


@pytest.fixture
def cards(tmp_path):
    made = Cards(tmp_path)
    made.gpusim("create", "--gpus", "2", "--name", "H200", "--memory", "141GiB")
    yield made
    made.gpusim("destroy")


def number(payload):
    return int.from_bytes(payload, "little")


def fields(body):
    """The fields of one struct (control/wire.h): tag -> payloads."""
    found = {}
    while body:
        tag, length = struct.unpack_from("<HI", body)
        found.setdefault(tag, []).append(body[6:6 + length])
        body = body[6 + length:]
    return found


def snapshot_of(frame_body):
    assert frame_body[:4] == b"gw\x01\x08"
    return fields(fields(frame_body[4:])[1][0])


VISIBLE, HUNG = 1, 8


def initial(kind, number):
    return os.stat(f"/proc/self/ns/{kind}").st_ino == number


OURS = initial("pid", 0xEFFFFFFC)
# As gpuward-sentinel tells: a container can lose its devices while the machine keeps them.
CONTAINED = (not OURS or not initial("cgroup", 0xEFFFFFFB) or os.path.exists("/.dockerenv")
             or os.path.exists("/run/.containerenv"))


class Served:
    """A sentinel that serves this test: snapshots come in, questions go out."""

    def __init__(self, env):
        self.socket, other = socket.socketpair()
        number_ = other.fileno()
        # The shell only moves the socket to descriptor 3.
        self.process = subprocess.Popen(["/bin/bash", "-c", f"exec \"$0\" --serve 3<&{number_}", SENTINEL],
                                        env=env, pass_fds=[number_], stderr=subprocess.PIPE, text=True)
        other.close()

    def read(self, count, deadline):
        data = b""
        while len(data) < count:
            left = deadline - time.monotonic()
            assert left > 0 and select.select([self.socket], [], [], left)[0], "no snapshot in time"
            more = self.socket.recv(count - len(data))
            assert more, "the sentinel has gone"
            data += more
        return data

    def next(self, within=10.0):
        deadline = time.monotonic() + within
        return snapshot_of(self.read(struct.unpack("<I", self.read(4, deadline))[0], deadline))

    def until(self, sight, within=15.0):
        deadline = time.monotonic() + within
        while True:
            snapshot = self.next(deadline - time.monotonic())
            if number(snapshot[1][0]) == sight:
                return snapshot

    def end(self):
        self.socket.close()
        code = self.process.wait(10)
        self.process.stderr.close()
        return code


@pytest.fixture
def served(cards):
    one = Served(cards.env)
    yield one
    if one.process.poll() is None:
        one.process.kill()
        one.process.wait(10)
    one.socket.close()
    one.process.stderr.close()


def test_once_shows_the_cards(cards):
    done = cards.run("--once")
    assert done.returncode == 0, done
    assert "driver 570.86.10" in done.stdout
    assert done.stdout.count("Simulated H200") == 2
    assert "0 B of 141 GiB" in done.stdout


def test_json_has_every_card(cards):
    seen = cards.look()
    assert seen["sight"] == "visible" and seen["sentence"] == ""
    assert [d["index"] for d in seen["devices"]] == [0, 1]
    assert all(d["name"] == "Simulated H200" and d["state"] == "ok" for d in seen["devices"])
    assert all(d["memory_total_bytes"] == 141 << 30 for d in seen["devices"])
    assert seen["devices"][0]["uuid"] != seen["devices"][1]["uuid"]
    assert all(d["processes_visible"] and d["processes"] == [] for d in seen["devices"])


def test_without_the_library_it_says_so(tmp_path):
    env = {**os.environ, "GPUWARD_NVML": str(tmp_path / "libnvidia-ml.so.1")}
    done = subprocess.run([SENTINEL, "--once"], env=env, capture_output=True, text=True, timeout=20)
    assert done.returncode == 1
    assert "no GPU driver library here (" in done.stdout
    assert str(tmp_path / "libnvidia-ml.so.1") in done.stdout


@pytest.mark.parametrize("stride", ["16", "24", "32"])
def test_rows_of_every_stride(cards, stride):
    cards.gpusim("fault", "stride", stride)
    cards.gpusim("fault", "foreign-row", "--pid", "4242", "--count", "100", "--memory", "1GiB", "--gpu", "0")
    first, second = cards.look()["devices"]
    assert first["processes_visible"]
    assert [p["pid"] for p in first["processes"]] == list(range(4242, 4342))
    assert all(p["memory_used_bytes"] == 1 << 30 for p in first["processes"])
    assert second["processes"] == []


def test_rows_of_v2_where_v3_is_missing(cards):
    cards.gpusim("fault", "stride", "32")  # and with it no detail list
    cards.gpusim("fault", "no-v3")
    cards.gpusim("fault", "foreign-row", "--pid", "77", "--count", "2", "--memory", "2GiB")
    assert [p["pid"] for p in cards.look()["devices"][0]["processes"]] == [77, 78]


def test_rows_that_cannot_be_are_rejected_and_told(cards):
    cards.gpusim("fault", "foreign-row", "--pid", "77", "--memory", "1GiB", "--gpu", "0")
    cards.gpusim("fault", "foreign-row", "--pid", str((4 << 20) + 1), "--memory", "1GiB", "--gpu", "0")
    first, second = cards.look()["devices"]
    assert [p["pid"] for p in first["processes"]] == [77]
    assert not first["processes_visible"] and second["processes_visible"]


def test_start_times_are_of_our_own_pids_only(cards):
    cards.gpusim("fault", "foreign-row", "--pid", str(os.getpid()), "--memory", "1GiB", "--gpu", "0")
    seen = cards.look()
    [row] = seen["devices"][0]["processes"]
    # A number that collides with a local process must not get that process's start time (harm of an
    # innocent), unless numbers mean the same to the driver and to us.
    assert seen["pids_are_ours"] == OURS
    assert (row["start_ticks"] != 0) == OURS
    assert row["pairing"] == ("paired" if OURS else "foreign")


@pytest.mark.parametrize("fault, state", [(["off-the-bus"], "lost"),
                                          (["code", "nvmlDeviceGetMemoryInfo_v2", "16"], "reset_required"),
                                          (["code", "nvmlDeviceGetHandleByIndex_v2", "17"],
                                           "cut_off" if CONTAINED else "unreadable"),
                                          (["code", "nvmlDeviceGetMemoryInfo_v2", "999"],
                                           "cut_off" if CONTAINED else "unreadable"),
                                          (["code", "nvmlDeviceGetMemoryInfo_v2", "20"], "unreadable")])
def test_one_broken_card_does_not_hide_the_other(cards, fault, state):
    cards.gpusim("fault", *fault, "--gpu", "1")
    seen = cards.look()
    assert [d["state"] for d in seen["devices"]] == ["ok", state]
    assert not seen["devices"][1]["processes_visible"]


def test_driver_mismatch_is_named(cards):
    cards.gpusim("fault", "driver-mismatch")
    seen = cards.look(exit_code=1)
    assert seen["sight"] == "mismatch"
    assert "the driver was changed underneath" in seen["sentence"] and "code 18" in seen["sentence"]


@pytest.mark.parametrize("code, sight", [("9", "no_driver"), ("4", "no_permission"), ("20", "failed"),
                                         ("999", "cut_off" if CONTAINED else "failed")])
def test_init_codes(cards, code, sight):
    cards.gpusim("fault", "code", "nvmlInit_v2", code)
    assert cards.look(exit_code=1)["sight"] == sight


def test_a_hung_call_is_named_within_its_deadline(cards):
    cards.gpusim("fault", "hang", "nvmlDeviceGetMemoryInfo_v2", "--gpu", "1")
    begun = time.monotonic()
    seen = cards.look(exit_code=1)
    assert time.monotonic() - begun < 5
    assert seen["sight"] == "hung"
    assert "nvmlDeviceGetMemoryInfo_v2 of GPU 1" in seen["sentence"]


def test_a_look_that_is_late_while_a_card_wakes_is_unknown_and_lets_it_wake(cards):
    cards.gpusim("fault", "hang", "nvmlInit_v2")
    with subprocess.Popen([SENTINEL, "--once", "--json", "--within", "300ms"], env=cards.env, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as looking:
        seen = json.loads(looking.stdout.readline())
        assert seen["sight"] == "unknown" and "still waking: nvmlInit_v2" in seen["sentence"], seen
        assert not any(card["state"] == "suspect" for card in seen["devices"])
        assert looking.poll() is None, "the call goes on"
        cards.gpusim("heal")
        assert looking.wait(4) == 1, "it ends with the look"


def test_wire_is_one_frame(cards):
    done = subprocess.run([SENTINEL, "--once", "--wire"], env=cards.env, capture_output=True, timeout=20)
    assert done.returncode == 0
    length, = struct.unpack_from("<I", done.stdout)
    assert len(done.stdout) == 4 + length
    snapshot = snapshot_of(done.stdout[4:])
    assert number(snapshot[1][0]) == VISIBLE
    assert [fields(d)[2] for d in snapshot[4]] == [[b"Simulated H200"]] * 2


def test_serve_tells_each_second_and_when_asked(served):
    first = served.next()
    assert number(first[1][0]) == VISIBLE
    begun = time.monotonic()
    served.next()
    assert time.monotonic() - begun > 0.5, "unasked, a look is due each second"
    # Each answer is to the question before it; the steady looks may only add to them.
    begun = time.monotonic()
    for _ in range(20):
        served.socket.send(b"?")
        served.next()
    assert time.monotonic() - begun < 10
    assert served.end() == 0


def test_serve_reports_a_hang_with_the_last_good_cards_and_recovers(cards, served):
    good = served.until(VISIBLE)
    read_at = [number(fields(d)[10][0]) for d in good[4]]
    cards.gpusim("fault", "hang", "nvmlDeviceGetMemoryInfo_v2", "--gpu", "1")
    served.socket.send(b"?")
    hung = served.until(HUNG)
    devices = [fields(d) for d in hung[4]]
    assert [d[2] for d in devices] == [[b"Simulated H200"]] * 2
    assert b"nvmlDeviceGetMemoryInfo_v2 of GPU 1" in hung[2][0]
    assert number(devices[1][4][0]) == 3, "the card it hangs in is suspect"
    assert number(devices[1][10][0]) < number(hung[5][0]), "what is shown of it is old"
    assert number(devices[1][10][0]) >= read_at[1]
    served.socket.send(b"?")
    assert number(served.next(5)[1][0]) == HUNG, "asked while it hangs, it answers at once"
    cards.gpusim("heal")
    served.until(VISIBLE)
    assert served.end() == 0


def test_serve_ends_with_its_peer_even_while_a_call_hangs(cards, served):
    served.until(VISIBLE)
    cards.gpusim("fault", "hang", "nvml*")
    served.until(HUNG)
    assert served.end() == 0


def test_serve_without_a_socket_is_a_usage_error(cards):
    done = subprocess.run(["/bin/sh", "-c", f"exec {SENTINEL} --serve 3<&-"], env=cards.env,
                          capture_output=True, text=True, timeout=20)
    assert done.returncode == 2 and "gpuward-sentinel: " in done.stderr


@pytest.mark.parametrize("words", [[], ["--once", "--serve"], ["--ounce"], ["--once", "--within", "2"]])
def test_usage(words):
    done = subprocess.run([SENTINEL, *words], capture_output=True, text=True, timeout=20)
    assert done.returncode == 2 and "--once" in done.stderr


# The warden's sentinels: one hangs, another serves the rest.

@pytest.fixture
def ward(cards, tmp_path):
    from gpuward import Gpuward, wait_for
    if not (BIN / "gpuwardd").exists():
        pytest.skip("only the sentinel is built here, for ThreadSanitizer")
    install = Gpuward(tmp_path / "home", **{k: cards.env[k] for k in ("GPUSIM_STATE", "LD_LIBRARY_PATH")})
    yield install
    cards.gpusim("heal")
    install("down")
    wait_for(lambda: not install.anchors(), why="the anchors have gone")


def states(ward):
    return [gpu["state"] for gpu in ward.status()["gpus"]]


def test_the_warden_sees_a_hung_card_within_two_seconds_and_the_others_all_the_while(cards, ward):
    from gpuward import wait_for
    assert ward("up").returncode == 0
    wait_for(lambda: states(ward) == ["ok", "ok"], why="the first look")
    cards.gpusim("fault", "hang", "nvmlDeviceGetMemoryInfo_v2", "--gpu", "1")
    begun = time.monotonic()
    wait_for(lambda: states(ward) == ["ok", "suspect"], why="the card is suspect")
    took = time.monotonic() - begun
    assert took < 2.3, took  # 2 s, and what a loaded machine takes to answer
    # A second sentinel serves the other card: its numbers are young, those of the suspect get old.
    def fresh():
        well, suspect = ward.status()["gpus"]
        return well["age_seconds"] < 1.5 and suspect["age_seconds"] > 3
    wait_for(fresh, why="young numbers beside old ones")
    status = ward.status()
    assert status["gpus_note"] is None, "the cards as a whole are visible"
    assert "nvmlDeviceGetMemoryInfo_v2 of GPU 1" in status["gpus"][1]["detail"]
    shown = ward("status").stdout
    assert "GPU 1: Simulated H200" in shown and "SUSPECT" in shown and " old" in shown
    by_itself = ward("ps").stdout  # a look of its own, which hangs first and leaves the card out then
    assert "GPU 0: Simulated H200, 0 B of 141 GiB" in by_itself and "GPU 1: " in by_itself
    assert "SUSPECT: nvmlDeviceGetMemoryInfo_v2 of GPU 1 after" in by_itself
    cards.gpusim("heal")
    wait_for(lambda: states(ward) == ["ok", "ok"], within=40, why="it is tried again and is well")


def test_a_card_that_hangs_from_the_start_is_left_out_and_tried_again(cards, ward):
    from gpuward import wait_for
    cards.gpusim("fault", "hang", "nvmlDeviceGetUUID", "--gpu", "0")
    assert ward("up").returncode == 0
    wait_for(lambda: states(ward) == ["suspect", "ok"], why="the other card is seen")
    assert ward.status()["gpus"][0]["age_seconds"] is None
    cards.gpusim("heal")
    wait_for(lambda: states(ward) == ["ok", "ok"], within=40, why="it is tried again and is well")


def test_a_driver_that_hangs_as_a_whole_is_told_and_comes_back(cards, ward):
    from gpuward import wait_for
    assert ward("up").returncode == 0
    wait_for(lambda: states(ward) == ["ok", "ok"], why="the first look")
    cards.gpusim("fault", "hang", "nvmlDeviceGetCount_v2")
    wait_for(lambda: states(ward) == ["suspect", "suspect"], why="all are suspect")
    assert "does not answer" in ward.status()["gpus_note"]
    cards.gpusim("heal")
    wait_for(lambda: states(ward) == ["ok", "ok"], within=40, why="a new sentinel sees them")


def test_a_driver_changed_underneath_blocks_restarts_of_what_holds_a_card(cards, ward):
    from gpuward import wait_for
    ward.configure(f"""
[service.xray]
command = ["{BIN}/gpuward-xray", "--listen", "127.0.0.1:{{port}}", "--model-memory", "1GiB"]
ready = {{ http = "/health", within = "20s" }}
[service.plain]
command = ["sleep", "1000"]
""")
    assert ward("up").returncode == 0
    if not OURS:
        pytest.skip("whose memory it is can be seen in the machine's own PID namespace only")
    wait_for(lambda: (ward.service("xray")["replicas"][0]["gpu_memory_bytes"] or 0) > 0, why="it holds the card")
    main = ward.service("xray")["replicas"][0]["main_pid"]
    assert ward.status()["restarts_blocked"] is None
    cards.gpusim("fault", "driver-mismatch")
    wait_for(lambda: ward.status()["restarts_blocked"], within=45, why="a probe has found it")
    assert states(ward) == ["ok", "ok"], "who has the driver open goes on seeing the cards"
    assert "restarts are blocked: the GPU driver was changed underneath" in ward("status").stdout
    refused = ward("restart", "xray")
    assert refused.returncode == 1
    assert "the GPU driver was changed underneath" in refused.stdout + refused.stderr
    assert ward.service("xray")["replicas"][0]["main_pid"] == main
    assert ward("restart", "plain").returncode == 0, "what holds no card would come back"
    cards.gpusim("heal")
    wait_for(lambda: not ward.status()["restarts_blocked"], within=45, why="a probe finds it well again")
    assert ward("restart", "xray").returncode == 0


def test_an_event_of_the_driver_arrives_at_once_and_once(cards, served):
    served.until(VISIBLE)
    served.until(VISIBLE)  # by now the events are listened to, or will be soon
    deadline = time.monotonic() + 15
    events = []
    while not events:
        assert time.monotonic() < deadline
        cards.gpusim("fault", "xid", "79", "--gpu", "1")
        sent = time.monotonic()
        snapshot = served.next()
        events = [fields(e) for e in snapshot.get(8, [])]
    assert {(number(e[1][0]), number(e[2][0]), number(e[3][0])) for e in events} == {(1, 3, 79)}
    assert time.monotonic() - sent < 1
    assert 8 not in served.next(), "told once"


def test_skip_and_only_make_no_call_about_the_others(cards):
    cards.gpusim("fault", "hang", "nvmlDeviceGetHandleByIndex_v2", "--gpu", "1")
    seen = json.loads(cards.run("--once", "--json", "--skip", "1").stdout)
    assert [d["index"] for d in seen["devices"]] == [0] and seen["sight"] == "visible"
    seen = json.loads(cards.run("--once", "--json", "--only", "0").stdout)
    assert [d["index"] for d in seen["devices"]] == [0] and seen["sight"] == "visible"


def test_what_is_not_supported_says_so(cards):
    readings = cards.look()["devices"][0]["readings"]
    assert readings["temperature_celsius"]["answer"] == "known"
    for code, answer in [("3", "not_supported"), ("4", "no_permission"), ("999", "failed")]:
        cards.gpusim("heal")
        cards.gpusim("fault", "code", "nvmlDeviceGetTemperature", code)
        reading = cards.look()["devices"][0]["readings"]["temperature_celsius"]
        assert (reading["value"], reading["answer"]) == (None, answer) and reading["read_ns"] > 0
