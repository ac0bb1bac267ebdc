"""As whom a service runs and what it may do."""

import json
import os

import pytest
from gpuward import wait_for

TELL = """
import json, os, resource, signal, sys
status = dict(line.rstrip("\\n").split(":\\t", 1) for line in open("/proc/self/status") if ":\\t" in line)
print(json.dumps({
    "uid": os.getresuid(), "gid": os.getresgid(), "groups": sorted(os.getgroups()),
    "umask": os.umask(0o22), "home": os.environ.get("HOME"), "user": os.environ.get("USER"),
    "core": resource.getrlimit(resource.RLIMIT_CORE), "nofile": resource.getrlimit(resource.RLIMIT_NOFILE),
    "nice": os.nice(0), "oom": int(open("/proc/self/oom_score_adj").read()), "cwd": os.getcwd(),
    "effective": int(status["CapEff"], 16), "bounding": int(status["CapBnd"], 16), "ambient": int(status["CapAmb"], 16),
    "no_new_privs": status["NoNewPrivs"],
}), flush=True)
open("/dev/stdout", "w").write("again\\n")
signal.pause()
"""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def told(gw, keys: str) -> dict:
    script = gw.home / "tell.py"
    script.write_text(TELL)
    for folder in [gw.home, *list(gw.home.parents)[:3]]:
        folder.chmod(folder.stat().st_mode | 0o755)
    gw.configure(f"""
[service.who]
command = ["/usr/bin/python3", "{script}"]
{keys}
""")
    up = gw("up")
    assert up.returncode == 0, up.stderr
    wait_for(lambda: "again" in gw.log("who"), why=gw.log("who"))
    return json.loads(gw.log("who").splitlines()[0])


def test_without_a_word_it_is_the_warden_s_but_for_cores(gw):
    who = told(gw, "")
    assert who["uid"] == [os.getuid()] * 3 and who["core"] == [0, 0]
    assert who["nice"] == os.nice(0) and who["no_new_privs"] == "0"


@as_root
def test_another_user_by_name_with_its_groups_and_home(gw):
    who = told(gw, 'user = "nobody"\ngroups = ["daemon", "4242"]\numask = "0027"')
    assert who["uid"] == [65534] * 3 and who["gid"] == [65534] * 3
    assert who["groups"] == sorted({1, 4242, 65534})
    assert who["umask"] == 0o27 and who["user"] == "nobody" and who["home"] == "/nonexistent"
    assert who["effective"] == 0


@as_root
def test_another_user_by_numbers_alone(gw):
    who = told(gw, 'user = "12345:23456"')
    assert who["uid"] == [12345] * 3 and who["gid"] == [23456] * 3 and who["groups"] == []


@as_root
def test_limits_priority_and_capabilities(gw):
    who = told(gw, """
user = "65534:65534"
limits = { nofile = 4242, core = "1MiB" }
nice = 3
oom_score_adj = 321
caps = ["net_bind_service", "CAP_IPC_LOCK"]
no_new_privs = true
""")
    assert who["nofile"] == [4242, 4242] and who["core"] == [1 << 20] * 2
    assert who["nice"] == 3 and who["oom"] == 321 and who["no_new_privs"] == "1"
    kept = 1 << 10 | 1 << 14
    assert who["effective"] == kept and who["bounding"] == kept and who["ambient"] == kept


@as_root
def test_root_without_any_capability(gw):
    who = told(gw, "caps = []")
    assert who["uid"] == [0] * 3 and who["effective"] == 0 and who["bounding"] == 0


@as_root
def test_a_service_of_another_user_is_stopped_with_proof(gw):
    told(gw, 'user = "65534:65534"')
    stop = gw("stop", "who")
    assert stop.returncode == 0, stop.stderr


def test_nobody_of_that_name_is_said(gw):
    gw.configure("""
[service.who]
command = ["sleep", "1000"]
user = "nobody-of-that-name"
""")
    up = gw("up")
    assert up.returncode == 1 and "find the user 'nobody-of-that-name'" in up.stderr, up.stderr
    assert not gw.anchors()


@as_root
def test_a_folder_closed_to_the_user_is_a_failure_of_that_step(gw, tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    gw.configure(f"""
[service.who]
command = ["sleep", "1000"]
user = "65534:65534"
directory = "{closed}"
""")
    up = gw("up")
    assert up.returncode == 1 and f"could not change to its directory '{closed}': Permission denied" in up.stderr


@as_root
def test_a_limit_beyond_the_hard_one_needs_a_right(gw):
    gw.configure("""
[service.who]
command = ["sleep", "1000"]
limits = { nofile = 99999999999 }
""")
    up = gw("up")
    assert up.returncode == 1 and "could not set its limits: Operation not permitted" in up.stderr, up.stderr
