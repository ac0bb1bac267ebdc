"""gpuward doctor: on this machine as it is, on machines made of files, and with simulated cards and their faults."""

import json
import os
import signal
import subprocess
import time

import pytest
from gpuward import BIN, Gpuward, wait_for
from test_sentinel import Cards, cards  # noqa: F401  (a fixture)

FAULTLESS = {"check", "grade", "found", "cost", "mend"}


@pytest.fixture
def machine(tmp_path):
    """The root of a machine that has nothing but what a test puts there."""
    root = tmp_path / "machine"

    def put(path, text="", link=None):
        file = root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        if link is not None:
            file.symlink_to(link)
        else:
            file.write_text(text)
        return file

    root.mkdir()
    put.root = root
    return put


def findings(gw, machine=None, env=None):
    if machine:
        gw.env["GPUWARD_DOCTOR_ROOT"] = str(machine.root)
    gw.env.update(env or {})
    done = gw("doctor", "--json", timeout=30)
    assert done.stderr == "", done
    told = json.loads(done.stdout)
    assert all(set(f) == FAULTLESS for f in told["findings"])
    assert {"OK": 0, "WARN": 1, "FAIL": 2}[told["worst"]] == done.returncode
    for finding in told["findings"]:
        assert finding["grade"] in ("OK", "UNSEEN", "WARN", "FAIL") and finding["found"], finding
        if finding["grade"] in ("WARN", "FAIL"):
            assert finding["cost"] and finding["mend"], finding
    grades = [f["grade"] for f in told["findings"]]
    assert told["worst"] == next((g for g in ("FAIL", "WARN") if g in grades), "OK")
    return {f["check"]: f for f in told["findings"]}


def grade(found, check):
    return found[check]["grade"]


def test_it_needs_nothing_and_leaves_nothing(tmp_path):
    """No configuration, no warden, no folders, and none afterwards."""
    gw = Gpuward(tmp_path / "home")
    (tmp_path / "home" / "etc").rmdir()
    before = sorted(os.listdir("/sys/fs/cgroup"))
    begun = time.monotonic()
    done = gw("doctor")
    assert time.monotonic() - begun < 10
    assert done.returncode in (0, 1, 2) and done.stderr == ""
    assert "kernel: Linux " in done.stdout and "not to be seen from here" in done.stdout
    assert sorted(os.listdir(tmp_path / "home")) == []
    assert sorted(os.listdir("/sys/fs/cgroup")) == before


def test_without_root_it_says_what_it_cannot_see(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs root, to be somebody else")
    home = tmp_path / "home"
    gw = Gpuward(home, prefix=("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"))
    found = findings(gw)
    assert found["containment"]["grade"] in ("OK", "WARN")
    assert grade(found, "kernel log") == "WARN" or os.access("/dev/kmsg", os.R_OK)


def test_a_bare_machine_has_no_trouble_of_its_files(gw, machine):
    found = findings(gw, machine)
    assert grade(found, "swap") == "UNSEEN"
    assert grade(found, "core dumps") == "UNSEEN"
    assert grade(found, "driver upgrades") == "OK"
    assert grade(found, "container toolkit") == "UNSEEN"
    assert grade(found, "systemd unit") == "UNSEEN"
    assert grade(found, "warden") == "UNSEEN"
    assert grade(found, "anchors") == "OK"


def test_a_machine_with_every_pitfall_is_told_of_each(gw, machine):
    machine("/proc/swaps", "Filename Type Size Used Priority\n/dev/sda2 partition 8388604 1024 -2\n")
    machine("/proc/sys/kernel/core_pattern", "|/usr/share/apport/apport %p\n")
    machine("/run/systemd/system/x")
    machine("/etc/systemd/system/gpuward.service", "[Service]\nExecStart=/opt/gpuward/gpuward up --foreground\n")
    machine("/usr/bin/nvidia-ctk")
    machine("/usr/bin/unattended-upgrade")
    machine("/etc/apt/apt.conf.d/20auto-upgrades", 'APT::Periodic::Unattended-Upgrade "1";\n')
    machine("/etc/apt/apt.conf.d/50unattended-upgrades", 'Unattended-Upgrade::Package-Blacklist {\n// "nvidia-";\n};\n')
    machine("/etc/apt/apt.conf.d/50unattended-upgrades.dpkg-old", 'APT::Periodic::Unattended-Upgrade "0";\n')
    machine("/var/lib/dpkg/status", "Package: nvidia-driver-570\nStatus: install ok installed\n\n")
    machine("/sys/bus/pci/devices/0000:61:00.0/vendor", "0x10de\n")
    machine("/sys/bus/pci/devices/0000:61:00.0/class", "0x030200\n")
    machine("/sys/bus/pci/devices/0000:61:00.0/numa_node", "-1\n")
    machine("/sys/bus/pci/devices/0000:61:00.1/vendor", "0x10de\n")
    machine("/sys/bus/pci/devices/0000:61:00.1/class", "0x040300\n")
    for node in ("node0", "node1"):
        machine(f"/sys/devices/system/node/{node}/cpulist")
    found = findings(gw, machine)
    for check in ("swap", "core dumps", "systemd unit", "container toolkit", "driver upgrades", "numa", "kernel log"):
        assert grade(found, check) == "WARN", found[check]
    assert found["numa"]["found"] == "0000:61:00.0 at no known node; 2 nodes"
    assert "8.0 GiB on /dev/sda2" in found["swap"]["found"] or "8 GiB on /dev/sda2" in found["swap"]["found"]
    assert "nvidia-driver-570" in found["driver upgrades"]["found"]
    assert grade(found, "driver") == "FAIL", "a card without a driver"


def test_a_machine_that_was_looked_after_is_well(gw, machine):
    machine("/proc/swaps", "Filename Type Size Used Priority\n/dev/zram0 partition 8388604 1024 -2\n")
    machine("/proc/sys/kernel/core_pattern", "|/usr/lib/systemd/systemd-coredump %P\n")
    machine("/dev/kmsg")
    machine("/dev/char/195:0", link="../nvidia0")
    machine("/run/systemd/system/x")
    machine("/usr/bin/nvidia-ctk")
    machine("/usr/bin/unattended-upgrade")
    machine("/etc/apt/apt.conf.d/20auto-upgrades", 'APT::Periodic::Unattended-Upgrade "1";\n')
    machine("/etc/apt/apt.conf.d/50unattended-upgrades", 'Unattended-Upgrade::Package-Blacklist { "nvidia-"; };\n')
    machine("/var/lib/dpkg/status", "Package: nvidia-driver-570\nStatus: install ok installed\n\n")
    unit = (BIN.parents[2] / "packaging/gpuward.service").read_text()
    machine("/etc/systemd/system/gpuward.service", unit)
    machine("/opt/gpuward/gpuward").chmod(0o755)
    gw.prefix = ("prlimit", "--core=0:0")
    found = findings(gw, machine)
    for check in ("swap", "core dumps", "systemd unit", "container toolkit", "driver upgrades", "kernel log"):
        assert grade(found, check) == "OK", found[check]


@pytest.mark.parametrize("timers, files, wanted", [
    (["dnf-automatic-install.timer"], {}, "WARN"),
    (["dnf-automatic.timer"], {"/etc/dnf/automatic.conf": "[commands]\napply_updates = no\n"}, "OK"),
    (["dnf-automatic.timer"], {"/etc/dnf/automatic.conf": "[commands]\napply_updates = yes\n"}, "WARN"),
    (["dnf-automatic-install.timer"], {"/etc/dnf/dnf.conf": "[main]\nexclude=*nvidia*\n"}, "OK"),
    ([], {"/etc/dnf/automatic.conf": "[commands]\napply_updates = yes\n"}, "OK")])
def test_dnf_automatic(gw, machine, timers, files, wanted):
    machine("/sys/module/nvidia/version", "570.86.10\n")
    for timer in timers:
        machine(f"/etc/systemd/system/timers.target.wants/{timer}", link=f"/usr/lib/systemd/system/{timer}")
    for path, text in files.items():
        machine(path, text)
    assert grade(findings(gw, machine), "driver upgrades") == wanted


def test_the_warden_its_ledger_and_its_trees(gw):
    gw.configure('[service.web]\ncommand = ["sleep", "1000"]\n')
    assert gw("up").returncode == 0
    found = findings(gw)
    assert grade(found, "warden") == grade(found, "ledger") == grade(found, "anchors") == "OK"
    assert found["anchors"]["found"] == "1 tree held"
    anchor = gw.service("web")["replicas"][0]["anchor_pid"]
    warden = gw.status()["warden"]["pid"]
    os.kill(warden, signal.SIGSTOP)
    try:
        begun = time.monotonic()
        found = findings(gw)
        assert time.monotonic() - begun < 10
        assert grade(found, "warden") == "FAIL" and "does not answer" in found["warden"]["found"]
        os.kill(anchor, signal.SIGKILL)
        wait_for(lambda: not gw.anchors(), 10, "the anchor has died")
        found = findings(gw)
        assert grade(found, "anchors") == "FAIL" and "without its anchor" in found["anchors"]["found"]
    finally:
        os.kill(warden, signal.SIGCONT)


def test_temp_folders_show_what_lies_there(gw):
    folder = gw.home / "state-tmp" / "x.ray.0"
    (folder / "deep").mkdir(parents=True)
    film = folder / "deep" / "film"
    film.write_bytes(b"x" * 4096)
    (folder / "out").symlink_to("/usr")
    found = findings(gw)
    assert grade(found, "temp folders") == "OK"
    assert found["temp folders"]["found"].startswith("x.ray.0 holds 4 KiB in 1 file, the oldest of ")
    os.utime(film, (time.time() - 3 * 86400,) * 2)
    found = findings(gw)
    assert grade(found, "temp folders") == "WARN"
    assert found["temp folders"]["mend"].startswith("gpuward restart x.ray ")


def test_folders_that_others_may_write_to(gw):
    (gw.home / "state").mkdir()
    (gw.home / "state").chmod(0o777)
    found = findings(gw)
    assert grade(found, "folders") == "FAIL" and str(gw.home / "state") in found["folders"]["found"]


@pytest.fixture
def simulated(gw, cards):  # noqa: F811
    gw.env.update({key: cards.env[key] for key in ("GPUSIM_STATE", "LD_LIBRARY_PATH")})
    gw.env.pop("GPUWARD_NVML", None)
    gw.cards = cards
    return gw


def test_simulated_cards_are_named_so(simulated, machine):
    found = findings(simulated, machine)
    assert grade(found, "driver") == "OK" and "2 cards" in found["driver"]["found"]
    assert "Simulated H200" in found["GPU 0"]["found"] and grade(found, "GPU 1") == "OK"
    assert grade(found, "list of GPU 0") == "OK"
    assert grade(found, "self-test stride") == "UNSEEN", "no row to measure by"


@pytest.mark.parametrize("stride", ["16", "24", "32"])
def test_the_stride_is_proven_where_there_are_rows(simulated, machine, stride):
    simulated.cards.gpusim("fault", "stride", stride)
    simulated.cards.gpusim("fault", "foreign-row", "--pid", "4242", "--count", "3", "--memory", "1GiB", "--gpu", "0")
    found = findings(simulated, machine)
    assert grade(found, "self-test stride") == "OK"
    assert f"GPU 0: 3 rows of {stride} bytes" in found["self-test stride"]["found"]


@pytest.mark.parametrize("fault, check, wanted", [
    (["driver-mismatch"], "driver", "changed underneath"),
    (["hang", "nvmlDeviceGetCount_v2"], "driver", "nvmlDeviceGetCount_v2"),
    (["off-the-bus", "--gpu", "1"], "GPU 1", "fallen off the bus"),
    (["code", "nvmlDeviceGetMemoryInfo_v2", "16", "--gpu", "1"], "GPU 1", "wants a reset")])
def test_faults_are_failures(simulated, machine, fault, check, wanted):
    simulated.cards.gpusim("fault", *fault)
    begun = time.monotonic()
    found = findings(simulated, machine)
    assert time.monotonic() - begun < 12
    assert grade(found, check) == "FAIL" and wanted in found[check]["found"], found[check]


def test_self_tests_that_hang_are_let_go(simulated, machine):
    simulated.cards.gpusim("fault", "hang", "nvmlDeviceGetComputeRunningProcesses_v3")
    begun = time.monotonic()
    found = findings(simulated, machine)
    assert time.monotonic() - begun < 15
    # Whether the look before them needed that call is the driver's age; either way it is told.
    assert "FAIL" in (grade(found, "driver"), found.get("GPU 0", {}).get("grade")) or grade(found, "self-test") == "WARN"


def test_the_sentinel_prints_self_tests(cards):  # noqa: F811
    cards.gpusim("fault", "foreign-row", "--pid", "4242", "--memory", "1GiB", "--gpu", "1")
    done = cards.run("--self-test")
    assert done.returncode == 0
    assert "unseen stride GPU 0: no process to measure by\n" in done.stdout
    assert "ok stride GPU 1: 1 rows of 24 bytes" in done.stdout
    assert subprocess.run([BIN / "gpuward-sentinel", "--self-test", "--once"], capture_output=True,
                          timeout=20).returncode == 2
