"""What the driver says in the kernel's log: known at once, with its card and the service it hit; no word of a line is kept.
The cards are simulated, and so is the kernel: a file or a FIFO named by GPUWARD_KMSG."""

import json
import os
import shutil
import statistics
import subprocess
import time

import pytest
from gpuward import BIN, Gpuward, wait_for

APP = """
[service.app]
command = ["sh", "-c", "sleep 1000 & wait"]
stop = { grace = "500ms" }
"""
STUBBORN = """
[service.app]
command = ["sh", "-c", "trap '' TERM; sleep 1000 & while :; do wait; done"]
stop = { grace = "3s" }
"""
PCI = "0000:61:00"
OFF_BUS = """NVRM: The NVIDIA GPU 0000:61:00.0
NVRM: (PCI ID: 10de:26b5) installed in this system has
NVRM: fallen off the bus and is not responding to commands.
"""


class Machine(Gpuward):
    """An install with one simulated card, and a kernel whose log is a file."""

    def __init__(self, folder, **env):
        self.kmsg = folder / "kmsg"
        super().__init__(folder / "home", GPUSIM_STATE=str(folder / "cards"), LD_LIBRARY_PATH=str(BIN / "sim"),
                         GPUWARD_KMSG=str(self.kmsg), **env)
        self.gpusim("create", "--gpus", "1", "--memory", "8GiB")

    def gpusim(self, *words):
        subprocess.run([BIN / "gpusim", *words], env=self.env, check=True, capture_output=True, timeout=20)

    def fault(self, xid, pid):
        self.gpusim("fault", "xid", str(xid), "--pid", str(pid), "--kmsg", str(self.kmsg))

    def say(self, text):
        with open(self.kmsg, "ab") as file:
            file.write(text if isinstance(text, bytes) else text.encode())

    def incidents(self):
        status = self.status()
        return [one for card in status["gpus"] for one in card["incidents"]] + status["incidents_elsewhere"]

    def incident(self, xid, **fields):
        """The newest of that number, once there is one."""
        def look():
            return next((i for i in self.incidents() if i["xid"] == xid and
                         all(i[name] == value for name, value in fields.items())), None)
        return wait_for(look, why=f"Xid {xid} {fields} is known")

    def events(self, *kinds):
        done = self("events", "--json", "-n", "10000")
        found = [json.loads(line) for line in done.stdout.splitlines()]
        return [e for e in found if e["event"] in kinds]

    def event(self, kind):
        return wait_for(lambda: self.events(kind), why=f"{kind} is on record")[-1]

    def pid(self):
        """Of the child of main."""
        def look():
            tree = [p["pid"] for r in self.service("app")["replicas"] for p in r["tree"] if p["depth"] == 1]
            return tree and tree[0]
        return wait_for(look, why="the service has its child")


@pytest.fixture
def machine(tmp_path):
    made = Machine(tmp_path)
    yield made
    made("down")
    wait_for(lambda: not made.anchors(), why="the anchors have gone")


@pytest.fixture
def up(machine):
    machine.say("")
    machine.configure(APP)
    assert machine("up").returncode == 0
    wait_for(lambda: machine.status()["gpus"], why="the warden has seen the card")
    return machine


def test_an_xid_is_its_cards_and_the_services_it_hit(up):
    pid = up.pid()
    up.fault(13, pid)
    seen = up.incident(13)
    assert (seen["pid"], seen["process"], seen["service"]) == (pid, "sleep", "app")
    assert (seen["class"], seen["action"], seen["consequence"]) == ("app", "restart-service", "none")
    assert seen["times"] == 1 and not seen["in_words"] and 0 <= seen["age_seconds"] < 20
    assert len(up.status()["gpus"][0]["incidents"]) == 1
    noted = up.event("xid")
    assert noted["service"] == "app" and noted["generation"] == 1
    assert noted["why"] == (f"Xid 13, an exception in a kernel, of sleep (pid {pid}) of 'app': its context on the card is "
                            "lost; restart the service")
    assert seen["pci"] in noted["evidence"] and "restart-service" in noted["evidence"]
    assert "Ch 0000" not in up("events", "--json").stdout, "no other word of the line"
    for words in (["status"], ["ps"]):
        assert f"GPU 0: Xid 13, an exception in a kernel, of sleep (pid {pid})" in up(*words).stdout, words
    log = up.status()["kernel_log"]
    assert log == {"path": str(up.kmsg), "state": "read", "note": None, "lost_records": 0}


def test_it_is_known_within_a_fifth_of_a_second(up):
    pid = up.pid()
    took = []
    for xid in [8, 11, 25, 32, 39, 40, 41, 60, 68, 69, 70, 71, 72, 75, 76, 77, 80, 82, 83, 84]:
        begun = time.monotonic()
        up.say(f"NVRM: Xid (PCI:{PCI}): {xid}, pid={pid}, name=sleep, Ch 1\n")
        up.incident(xid, service="app")
        took.append(time.monotonic() - begun)
    print(f"from the line to the answer of status: median {statistics.median(took) * 1000:.0f} ms, "
          f"longest {max(took) * 1000:.0f} ms of {len(took)} (simulated)")
    assert statistics.median(took) <= 0.2


def test_what_was_started_by_hand_since_is_known_too(up):
    pid_file = up.home / "hand.pid"
    run = up("run", "--detach", "--name", "hand", "--pid-file", str(pid_file), "--", "sleep", "1000")
    assert run.returncode == 0, run.stderr
    up.fault(13, wait_for(lambda: pid_file.exists() and pid_file.read_text().strip()))  # nobody has asked the warden yet
    assert up.incident(13)["service"] == "hand"
    assert up("stop", "hand").returncode == 0


def test_a_stranger_is_named_and_nobody_is_restarted(up):
    up.fault(31, os.getpid())
    seen = up.incident(31)
    assert seen["service"] is None and seen["action"] == "report-stranger"
    assert up.service("app")["restarts"] == 0


def test_words_without_a_number_in_three_lines(up):
    up.say(OFF_BUS)
    seen = up.incident(79)
    assert seen["in_words"] and seen["pci"] == PCI and seen["consequence"] == "quarantine"
    assert seen["action"] == "reboot-host" and seen["pid"] is None
    assert up.event("gpu-off-bus")["service"] is None
    up.say("NVRM: GPU 0000:61:00.0: GPU has fallen off the bus.\n")
    assert up.incident(79, times=2)


def test_words_without_an_address_are_of_the_only_card_until_a_person_says_that_it_is_well(up):
    def marked():
        return up.status()["gpus"][0]["quarantined"]
    up.say("NVRM: fallen off the bus and is not responding to commands.\n")
    wait_for(marked, why="there is no other card")
    assert up("uncordon", "0").returncode == 0 and not marked()
    ages = [0]
    wait_for(lambda: ages.append(up.status()["gpus"][0]["age_seconds"]) or ages[-1] < ages[-2], why="it was looked at again")
    up.event("quarantined")
    assert not marked() and len(up.events("quarantined")) == 1


def test_an_address_that_nobody_knows_is_told_apart_from_the_card(up):
    up.say("NVRM: GPU at PCI:0000:61:00: GPU-95d4eaef-812a-5157-fec0-7d64667313dc\n"
           "NVRM: Xid (PCI:0000:61:00): 48, pid='<unknown>', name=<unknown>, DBE\n"
           "NVRM: Xid (PCI:0000:62:00): 63, pid='<unknown>', name=<unknown>, Row\n")
    up.incident(63)
    elsewhere = up.status()["incidents_elsewhere"]
    assert {i["pci"] for i in elsewhere} == {"0000:61:00", "0000:62:00"}, "neither is the simulated card"


def test_garbage_is_passed_over(up):
    up.say(os.urandom(70_000) + b"\n" + b"NVRM: Xid (" * 2000 + b"\n\n\0\n")
    up.say("12,1,2,-;NVRM: Xid (PCI:0000:61:00): 79, said by a program that may write there\n"
           "process '/tmp/NVRM: Xid (PCI:0000:61:00): 79' started with executable stack\n"
           "4,2,3,-;NVRM: Xid (PCI:0000:61:00): 63, pid='<unknown>', name=<unknown>, Row\n")
    assert up.incident(63)["action"] == "reset-when-idle"
    assert [i["xid"] for i in up.incidents()] == [63]
    log = up.status()["kernel_log"]
    assert log["state"] == "read" and log["lost_records"] >= 1 and "an Xid may be missing" in log["note"]
    assert "could be read" in up.event("kernel-log-lost")["why"]


def test_a_log_that_is_rotated_or_cut_is_followed(up):
    up.say(f"NVRM: Xid (PCI:{PCI}): 8, first\n")
    up.incident(8)
    os.rename(up.kmsg, str(up.kmsg) + ".1")
    up.say(f"NVRM: Xid (PCI:{PCI}): 11, second\n")
    up.incident(11)
    os.truncate(up.kmsg, 0)
    up.say(f"NVRM: Xid (PCI:{PCI}): 25, third\n")
    up.incident(25)


def test_a_fifo(machine):
    os.mkfifo(machine.kmsg)
    machine.configure(APP)
    assert machine("up").returncode == 0
    for xid in (8, 11):
        machine.fault(xid, machine.pid())
        assert machine.incident(xid)["service"] == "app"


def test_the_echo_of_a_stop_is_noise(machine):
    machine.say("")
    machine.configure(STUBBORN)
    assert machine("up").returncode == 0
    pid = machine.pid()
    stop = machine.popen("stop", "app")
    wait_for(lambda: machine.service("app")["verdict"] == "DRAINING", why="it is being stopped")
    machine.fault(45, pid)
    noted = machine.event("xid")
    assert noted["service"] == "app"
    assert noted["why"].endswith("it was just ended, the driver cleans up; nothing to be done")
    assert machine.incidents() == []
    stop.communicate(timeout=30)


def test_an_xid_and_its_echo(up):
    pid = up.pid()
    up.fault(31, pid)
    up.fault(43, pid)
    up.incident(31)
    echo = wait_for(lambda: [e for e in up.events("xid") if "Xid 43" in e["why"]])[0]
    assert ", after Xid 31: what that one asks for holds" in echo["why"]


def test_a_storm_is_folded(up):
    up.say("".join(f"NVRM: Xid (PCI:{PCI}): 45, pid={3_000_000 + n}, name=job, Ch 1\n" for n in range(5000)))
    up.fault(13, up.pid())
    up.incident(13)
    wait_for(lambda: up.events("xid"), why="some of it is on record")
    assert len(up.events("xid")) < 100
    up.say(f"NVRM: Xid (PCI:{PCI}): 79, GPU has fallen off the bus.\n")
    up.incident(79)
    assert wait_for(lambda: [e for e in up.events("xid") if "Xid 79" in e["why"]]), "what matters is never folded"


def test_where_there_is_none_it_is_awaited(machine):
    machine.configure(APP)
    assert machine("up").returncode == 0
    log = machine.status()["kernel_log"]
    assert log["state"] == "absent" and "there is no kernel log here" in log["note"]
    assert machine.event("kernel-log-unreadable")["service"] is None
    machine.say(f"NVRM: Xid (PCI:{PCI}): 8, first\n")
    machine.incident(8)
    assert machine.status()["kernel_log"]["state"] == "read"
    machine.event("kernel-log-read")


def test_no_right_to_it_is_said_and_no_alarm(tmp_path):
    if os.getuid() != 0:
        pytest.skip("needs root, to become somebody without rights")
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    if not shutil.which("setpriv") or subprocess.run([*nobody, BIN / "gpuward", "--version"], capture_output=True).returncode != 0:
        pytest.skip("needs programs that user 65534 can execute")
    folder = tmp_path / "nobody"
    folder.mkdir()
    for path in (folder, *folder.parents):
        if str(path).startswith("/tmp/"):
            path.chmod(path.stat().st_mode | 0o111)
    kmsg = folder / "kmsg"
    kmsg.write_text("")
    kmsg.chmod(0o600)
    gw = Gpuward(folder / "home", prefix=nobody, GPUWARD_KMSG=str(kmsg))
    gw.configure(APP)
    for path in (folder, folder / "home", folder / "home/etc"):
        os.chown(path, 65534, 65534)
    try:
        up = gw("up")
        assert up.returncode == 0, up.stderr
        status = gw.status()
        assert status["kernel_log"]["state"] == "no-permission"
        assert "no permission to read the kernel's log" in status["kernel_log"]["note"]
        assert status["services"][0]["verdict"] == "HEALTHY" and status["incidents_elsewhere"] == []
    finally:
        gw("down")
        wait_for(lambda: not gw.anchors(), why="the anchors have gone")


def test_the_path_is_configured_and_holds_at_reload(machine):
    del machine.env["GPUWARD_KMSG"]
    machine.configure(APP + "[host]\nkernel_log = false\n")
    assert machine("up").returncode == 0
    assert machine.status()["kernel_log"]["state"] == "off"
    machine.say("")
    machine.configure(APP + f'[host]\nkernel_log = "{machine.kmsg}"\n')
    assert machine("reload").returncode == 0
    assert machine.status()["kernel_log"]["state"] == "read"
    machine.fault(13, machine.pid())
    assert machine.incident(13)["service"] == "app"


def test_where_it_is_not_read_the_drivers_own_events_tell_of_an_xid(machine):
    del machine.env["GPUWARD_KMSG"]
    machine.configure(APP + "[host]\nkernel_log = false\n")
    assert machine("up").returncode == 0
    machine.gpusim("fault", "xid", "48")
    told = machine.incident(48)
    assert told["pid"] is None and told["service"] is None and told["times"] == 1
    assert "Xid 48" in machine.event("xid")["why"]


def test_where_it_is_read_the_same_xid_is_not_counted_twice(up):
    up.fault(48, up.pid())
    assert up.incident(48)["service"] == "app"
    ages = [0.0]

    def looked_again():
        ages.append(up.status()["gpus"][0]["age_seconds"])
        return ages[-1] < ages[-2]

    for _ in range(2):
        wait_for(looked_again, why="the sentinel has looked since")
    assert [i["times"] for i in up.incidents() if i["xid"] == 48] == [1]


def test_a_card_that_the_log_makes_suspect_is_shown_as_one_until_a_person_calls_it_well(up):
    assert up.status()["gpus"][0]["standing"] == "none"
    up.fault(200, up.pid())
    up.incident(200, consequence="suspect")
    for told in (up.status()["gpus"], json.loads(up("ps", "--json").stdout)["gpus"]):
        assert told[0]["standing"] == "suspect" and "suspect: Xid 200" in told[0]["reason"], told
        assert not told[0]["quarantined"], "it is used on"
    for words in (["status"], ["ps"]):
        assert "suspect: Xid 200" in up(*words).stdout, words
    assert up("uncordon", "0").returncode == 0
    assert up.status()["gpus"][0]["standing"] == "none"
