"""A temp folder of the service's own: closed to others, emptied when its tree is proven gone, and no sooner."""

import json
import os
import signal
from pathlib import Path

import pytest
from gpuward import alive, end, wait_for

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

TELL = """
import os, tempfile, time
folder = tempfile.gettempdir()
print(folder, oct(os.stat(folder).st_mode), os.stat(folder).st_uid, len(os.listdir(folder)), flush=True)
os.makedirs(os.path.join(folder, "a", "b"), exist_ok=True)
open(os.path.join(folder, "a", "b", "film"), "w").write("a film")
print("up", flush=True)
while True:
    time.sleep(1000)
"""


def configure(gw, keys: str = ""):
    (gw.home / "tell.py").write_text(TELL)
    for folder in [gw.home, *list(gw.home.parents)[:3]]:
        folder.chmod(folder.stat().st_mode | 0o755)
    gw.configure(f"""
[service.app]
command = ["/usr/bin/python3", "{gw.home}/tell.py"]
private_tmp = true
backoff = {{ first = "10ms" }}
{keys}
""")


def start(gw, keys: str = "") -> dict:
    configure(gw, keys)
    up = gw("up")
    assert up.returncode == 0, up.stderr
    wait_for(lambda: "up" in gw.log("app"), why=gw.log("app"))
    return gw.service("app")["replicas"][0]


def start_by_hand(gw) -> dict:
    configure(gw, "autostart = false")
    assert gw("up").returncode == 0
    started = gw("start", "app")
    assert started.returncode == 0, started.stderr
    wait_for(lambda: "up" in gw.log("app"))
    return gw.service("app")["replicas"][0]


def folder(gw) -> Path:
    return gw.home / "state-tmp" / "app.0"


def test_it_is_closed_to_others_and_removed_at_the_end(gw):
    start(gw)
    assert gw.log("app").splitlines()[0] == f"{folder(gw)} 0o40700 {os.geteuid()} 0"
    assert (folder(gw) / "a/b/film").exists()
    assert str(folder(gw)) in gw("explain", "--json", "app").stdout
    assert gw("stop", "app").returncode == 0
    assert not folder(gw).exists()


@as_root
def test_it_belongs_to_the_user_of_the_service(gw):
    start(gw, 'user = "65534:65534"')
    assert gw.log("app").splitlines()[0] == f"{folder(gw)} 0o40700 65534 0"
    # And nobody else's user may look in, nor list whose folders there are.
    other = os.fork()
    if other == 0:
        os.setresuid(4242, 4242, 4242)
        seen = 0
        for path in (folder(gw), folder(gw).parent):
            try:
                os.listdir(path)
                seen += 1
            except PermissionError:
                pass
        os._exit(seen)
    assert os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]) == 0


def test_the_next_generation_finds_it_empty(gw):
    main = start(gw, 'restart = "always"')["main_pid"]
    os.kill(main, signal.SIGKILL)
    wait_for(lambda: gw.log("app").count("up") == 2)
    told = [line for line in gw.log("app").splitlines() if line.startswith("/")]
    assert [line.split()[-1] for line in told] == ["0", "0"]


def test_a_crash_of_gpuward_leaves_it_to_the_living_tree(gw):
    replica = start(gw)
    end(gw.status()["warden"]["pid"])
    end(replica["anchor_pid"])
    wait_for(lambda: not gw.anchors())
    assert gw("up").returncode == 0
    wait_for(lambda: gw.service("app")["verdict"] == "HEALTHY")
    assert alive(replica["main_pid"]) and (folder(gw) / "a/b/film").exists()
    assert gw("down").returncode == 0
    assert not folder(gw).exists()


def test_a_crash_of_everything_leaves_no_film_behind(gw):
    replica = start_by_hand(gw)
    if not gw.groups():
        pytest.skip("without a cgroup nothing proves that the tree has ended")
    for pid in (gw.status()["warden"]["pid"], replica["anchor_pid"], replica["main_pid"]):
        end(pid)
    wait_for(lambda: not gw.anchors() and not alive(replica["main_pid"]))
    assert (folder(gw) / "a/b/film").exists()
    assert gw("up").returncode == 0
    wait_for(lambda: not folder(gw).exists())


# Holds one file open, maps another, and has closed what it will not use again.
HOARDER = """
import mmap, os, tempfile, time
folder = tempfile.gettempdir()
os.mkdir(os.path.join(folder, "inner"))
for name in ("film", "inner/film", "held", "mapped"):
    with open(os.path.join(folder, name), "w") as file:
        file.write("a film" * 100)
held = open(os.path.join(folder, "held"))
with open(os.path.join(folder, "mapped")) as file:
    mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
os.mkfifo(os.path.join(folder, "fifo"))
os.symlink("/etc/passwd", os.path.join(folder, "link"))
print("up", flush=True)
time.sleep(100000)
"""


def hoard(gw, value: str) -> dict:
    (gw.home / "hoard.py").write_text(HOARDER)
    gw.configure(f"""
[service.app]
command = ["/usr/bin/python3", "{gw.home}/hoard.py"]
private_tmp = {value}
""")


def aged(gw) -> list[dict]:
    found = gw("events", "--json")
    return [e for e in map(json.loads, found.stdout.splitlines()) if e["event"] == "temp-aged"]


def test_what_nobody_has_used_is_removed_while_the_service_runs(gw):
    hoard(gw, '{ max_age = "1s" }')
    assert gw("up").returncode == 0
    wait_for(lambda: "up" in gw.log("app"))
    main = gw.service("app")["replicas"][0]["main_pid"]
    wait_for(lambda: not (folder(gw) / "film").exists() and not (folder(gw) / "inner/film").exists(), 30)
    assert sorted(os.listdir(folder(gw))) == ["fifo", "held", "inner", "link", "mapped"]
    wait_for(lambda: sum(int(e["evidence"].split()[0]) for e in aged(gw)) == 2, 30, "it is said")
    assert all("unused for more than 1 s" in e["evidence"] for e in aged(gw))
    assert "files unused for 1.0 s are removed" in gw("explain", "--json", "app").stdout
    assert gw.service("app")["replicas"][0]["main_pid"] == main


def test_its_age_limit_changes_without_a_restart(gw):
    hoard(gw, '{ max_age = "off" }')
    assert gw("up").returncode == 0
    wait_for(lambda: "up" in gw.log("app"))
    main = gw.service("app")["replicas"][0]["main_pid"]
    hoard(gw, '{ max_age = "1s" }')
    change, = json.loads(gw("plan", "--json").stdout)["changes"]
    assert [(f["field"], f["from"], f["effect"]) for f in change["fields"]] == [("private_tmp.max_age", "off", "live")]
    assert (folder(gw) / "film").exists()
    assert gw("reload").returncode == 0
    wait_for(lambda: not (folder(gw) / "film").exists(), 30)
    assert gw.service("app")["replicas"][0]["main_pid"] == main


def test_a_folder_of_many_files_is_laid_aside_and_emptied_beside_the_next_generation(gw):
    count = 20_000
    main = start(gw, 'restart = "always"')["main_pid"]
    for n in range(count):
        (folder(gw) / str(n)).touch()
    os.kill(main, signal.SIGKILL)
    wait_for(lambda: gw.log("app").count("up") == 2)
    told = [line for line in gw.log("app").splitlines() if line.startswith("/")]
    assert [line.split()[-1] for line in told] == ["0", "0"], "it finds its own empty"
    assert (folder(gw) / "a/b/film").exists()
    wait_for(lambda: not (gw.home / "state-tmp/app.0.old").exists(), 60, gw.log("app"))
    assert (folder(gw) / "a/b/film").exists(), "the new one's is its own"
    assert gw("stop", "app").returncode == 0
    assert list((gw.home / "state-tmp").iterdir()) == []


def test_what_a_dead_anchor_had_laid_aside_is_emptied_by_the_next(gw):
    replica = start(gw)
    aside = gw.home / "state-tmp/app.0.old"
    (aside / "1/2").mkdir(parents=True)
    (aside / "1/2/film").write_text("a film")
    os.kill(replica["anchor_pid"], signal.SIGKILL)
    wait_for(lambda: not aside.exists(), 30)
    assert alive(replica["main_pid"]) and (folder(gw) / "a/b/film").exists()


# Leaves a keeper to nobody that `release` names and that has a film in the folder.
WITH_KEEPER = """
import os, sys, tempfile, time
folder = tempfile.gettempdir()
print("found", sorted(os.listdir(folder)), flush=True)
if len(sys.argv) > 1:
    open(os.path.join(folder, "its"), "w").write(str(os.getpid()))
    print("up", os.getpid(), flush=True)
elif os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execvp(sys.executable, [sys.executable, sys.argv[0], "keep-me"])
    os._exit(0)
else:
    os.wait()
while True:
    time.sleep(1000)
"""


class Kept:
    def __init__(self, gw, keys: str):
        self.gw = gw
        (gw.home / "kept.py").write_text(WITH_KEEPER)
        gw.configure(f"""
[service.app]
command = ["/usr/bin/python3", "{gw.home}/kept.py"]
private_tmp = true
autostart = false
{keys}
""")
        assert gw("up").returncode == 0
        self.start()
        self.pids = [int(line.split()[1]) for line in gw.log("app").splitlines() if line.startswith("up ")]

    def start(self):
        before = self.gw.log("app").count("up ")
        assert self.gw("start", "app").returncode == 0
        wait_for(lambda: self.gw.log("app").count("up ") > before)

    def found(self) -> list[str]:
        return [line for line in self.gw.log("app").splitlines() if line.startswith("found ")]

    def forget(self):
        for line in self.gw.log("app").splitlines():
            if line.startswith("up ") and alive(int(line.split()[1])):
                end(int(line.split()[1]))


@pytest.mark.parametrize("order", ["stop", "release"])
def test_a_start_leaves_it_to_what_an_earlier_anchor_handed_over(gw, order):
    kept = Kept(gw, 'release = ["* keep-me"]' if order == "stop" else "")
    try:
        replica = gw.service("app")["replicas"][0]
        assert gw(order, "app").returncode == 0
        assert alive(kept.pids[0])
        kept.start()
        assert (folder(gw) / "its").exists()
        assert "found ['its']" in kept.found(), "the second main did not find it empty"
        assert "its temp folder is not emptied" in gw.log("app")
        assert gw("stop", "app").returncode in (0, 4)
        assert (folder(gw) / "its").exists(), "and the end of another tree removes it neither"
        if order == "release":
            end(replica["main_pid"])
    finally:
        kept.forget()


def test_a_start_leaves_it_to_what_may_live_unseen(gw):
    gw.env["GPUWARD_KERNEL_MASK"] = "no_cgroup"
    configure(gw, "autostart = false")
    assert gw("up").returncode == 0 and gw("start", "app").returncode == 0
    wait_for(lambda: "up" in gw.log("app"))
    replica = gw.service("app")["replicas"][0]
    if gw.service("app")["containment"] != "subreaper":
        pytest.skip("the mask holds nothing here")
    (folder(gw) / "unseen").write_text("its")
    os.kill(replica["anchor_pid"], signal.SIGKILL)
    wait_for(lambda: gw.service("app")["replicas"] and gw.anchors() not in ([], [replica["anchor_pid"]]))
    assert gw("stop", "app").returncode == 4, "what it had started and nobody saw may live"
    assert gw("start", "app").returncode == 0
    assert (folder(gw) / "unseen").exists()


def test_its_own_words_stay(gw):
    (gw.home / "mine").mkdir()
    start(gw, f'env = {{ TMPDIR = "{gw.home}/mine" }}')
    assert gw.log("app").splitlines()[0].startswith(f"{gw.home}/mine ")


@as_root
def test_a_folder_that_its_user_cannot_reach_is_a_failure_of_that_step(gw):
    """Else tempfile would quietly take /tmp."""
    configure(gw, 'user = "65534:65534"')
    gw.home.chmod(0o700)
    up = gw("up")
    assert up.returncode == 1 and "could not reach its temp folder: Permission denied" in up.stderr, up.stderr


def test_a_link_that_lies_in_its_place_is_refused(gw, tmp_path):
    innocent = tmp_path / "innocent"
    innocent.mkdir()
    (innocent / "file").write_text("keep")
    configure(gw)
    (gw.home / "state-tmp").mkdir(mode=0o711)
    folder(gw).symlink_to(innocent)
    up = gw("up")
    assert up.returncode == 1 and "state-tmp/app.0" in up.stderr, up.stderr
    assert (innocent / "file").exists()
    folder(gw).unlink()
