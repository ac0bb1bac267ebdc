"""The ledger: everything that was meant and done, by whom and why; kept through every death; nothing that is secret."""

import json
import os
import signal
import sqlite3

import pytest

from gpuward import end, wait_for

SLEEPER = """
[service.sleeper]
command = ["sleep", "1000"]
autostart = false
"""


def events(gw, *words: str) -> list[dict]:
    """All so far; none while the ledger is just being made or set aside."""
    done = gw("events", "--json", "-n", "10000", *words)
    if "nothing is recorded here yet" in done.stderr or "file is not a database" in done.stderr:
        return []
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def names(entries: list[dict]) -> list[str]:
    return [entry["event"] for entry in entries]


def find(entries: list[dict], event: str) -> dict:
    return next(entry for entry in entries if entry["event"] == event)


def database(gw) -> sqlite3.Connection:
    return sqlite3.connect(gw.home / "state/ledger.db")


def begin(gw, text: str = SLEEPER):
    gw.configure(text)
    assert gw("up").returncode == 0


def test_an_order_is_on_record_before_it_is_done_with_who_gave_it_and_what_came_of_it(gw):
    begin(gw)
    assert gw("start", "sleeper").returncode == 0
    assert gw("stop", "sleeper").returncode == 0
    found = wait_for(lambda: (e := events(gw, "sleeper")) and e[-1]["event"] == "order-done" and e)
    assert [e["generation"] for e in found if e["event"] in ("starting", "ended")] == [1, 1]
    assert names(found) == ["start-ordered", "begun", "starting", "ready", "order-done", "stop-ordered", "stop-asked",
                            "ending", "ended", "stopped", "order-done"]
    order, done = found[5], found[-1]
    assert order["actor"]["uid"] == os.getuid()
    assert order["actor"]["command"].startswith("gpuward < ")
    assert done["of"] == order["number"] and done["outcome"].startswith("exit 0")
    assert found[8]["evidence"].startswith("ended 1 process")
    times = [entry["at_unix_ms"] for entry in found]
    assert times == sorted(times)
    assert gw("audit", "verify").returncode == 0


def test_a_failure_names_its_reason_and_the_next_try(gw):
    begin(gw, """
[service.crasher]
command = ["sh", "-c", "sleep 0.3; exit 3"]
restart = "on-failure"
backoff = { first = "50ms" }
""")
    found = wait_for(lambda: (e := events(gw, "crasher")) and "backing-off" in names(e) and e)
    assert find(found, "ending")["why"] == "exited with code 3"
    assert find(found, "backing-off")["evidence"] == "failure 1 in a row"


def test_without_a_warden_the_anchors_note_it_and_it_is_told(gw):
    assert gw("run", "--detach", "--name", "lone", "--", "sleep", "1000").returncode == 0
    assert gw("stop", "lone").returncode == 0
    found = events(gw, "lone")
    assert names(found) == ["begun", "starting", "ready", "stop-asked", "ending", "ended", "stopped"]
    assert find(found, "stop-asked")["actor"]["command"].startswith("gpuward < ")
    assert names(events(gw, "lone")) == names(found), "reading it again takes nothing over twice"


def test_a_run_in_front_is_recorded_though_its_folder_is_gone(gw):
    assert gw("run", "--name", "short", "--", "sh", "-c", "exit 3").returncode == 3
    assert not (gw.home / "run/anchors/short.0").exists()
    assert names(events(gw, "short"))[-2:] == ["ended", "failed"]


def test_what_happened_while_no_warden_lived_comes_in_with_its_own_times(gw):
    begin(gw)
    assert gw("start", "sleeper").returncode == 0
    warden = gw.status()["warden"]["pid"]
    end(warden)
    wait_for(lambda: gw.status()["warden"] is None)
    main = gw.service("sleeper")["replicas"][0]["main_pid"]
    os.kill(main, signal.SIGKILL)
    wait_for(lambda: gw.service("sleeper")["replicas"][0]["main_pid"] not in (None, main))
    assert gw("up").returncode == 0
    found = wait_for(lambda: (e := events(gw)) and names(e).count("starting") == 2 and e)
    killed = find(found, "ending")
    began = [entry for entry in found if entry["event"] == "warden-began"][1]
    assert killed["why"] == "ended by signal 9 (killed)"
    assert killed["number"] > began["number"], "it came in after the new warden had begun"
    assert killed["at_unix_ms"] < began["at_unix_ms"], "and keeps its own time"


def test_a_dead_anchor_and_its_successor_are_on_record(gw):
    begin(gw)
    assert gw("start", "sleeper").returncode == 0
    anchor = gw.service("sleeper")["replicas"][0]["anchor_pid"]
    end(anchor)
    found = wait_for(lambda: (e := events(gw, "sleeper")) and "adopted" in names(e) and e)
    assert find(found, "adoption")["why"] == f"its anchor, pid {anchor}, has died and its tree lives"


def test_neither_secrets_nor_the_words_of_a_log_come_into_it(gw):
    marker = "Zq7-patient-Smith"
    (gw.home / "secrets.env").write_text(f"TOKEN={marker}\n")
    begin(gw, f"""
[service.talker]
command = ["sh", "-c", "echo 'CUDA out of memory: {marker}'; echo 'Traceback (most recent call last)'; sleep 0.4; exit 1", "{marker}"]
env = {{ KEY = "{marker}" }}
env_file = "{gw.home}/secrets.env"
backoff = {{ first = "50ms" }}
log = {{ times = true }}
""")
    found = wait_for(lambda: (e := events(gw, "talker")) and names(e).count("starting") > 1 and e)
    alarm = find(found, "alarm")
    assert alarm["evidence"].startswith("CUDA out of memory: log bytes ")
    begin_at, end_at = (int(alarm["evidence"].split()[i].rstrip(",")) for i in (6, 8))
    assert gw.log("talker")[begin_at:end_at] == f"CUDA out of memory: {marker}"
    assert gw("run", "--name", "other", "--", "sh", "-c", f": {marker}").returncode == 0
    assert gw("down").returncode == 0
    for path in (gw.home / "state").rglob("*"):
        assert marker.encode() not in path.read_bytes(), path
    for words in (("events",), ("audit",), ("events", "--json")):
        assert marker not in gw(*words).stdout


def test_what_a_broken_file_holds_does_not_come_into_it(gw):
    begin(gw)
    marker = "hf_Zq7secret"
    gw.configure(SLEEPER + f'env = {{ TOKEN = "{marker}", PORT = 1 }}')
    broken = gw("reload")
    assert broken.returncode == 1 and marker in broken.stderr, "who asks is shown the line"
    found = wait_for(lambda: (e := events(gw)) and e[-1]["event"] == "order-done" and e)
    assert found[-1]["outcome"] == "exit 1: there are mistakes in the files; nothing was changed"
    for path in (gw.home / "state").rglob("*"):
        assert marker.encode() not in path.read_bytes(), path


def test_following_without_a_warden_sleeps_and_takes_over_what_anchors_note(gw):
    assert gw("run", "--detach", "--name", "lone", "--", "sleep", "1000").returncode == 0
    follower = gw.popen("events", "-f", "--json", "lone")
    try:
        seen = []
        while "ready" not in seen:
            seen.append(json.loads(follower.stdout.readline())["event"])
        assert gw("stop", "lone").returncode == 0
        while "stopped" not in seen:
            seen.append(json.loads(follower.stdout.readline())["event"])
        ticks = sum(int(word) for word in open(f"/proc/{follower.pid}/stat").read().rsplit(")", 1)[1].split()[11:13])
        assert ticks <= 20, "it waits; it does not look again and again"
    finally:
        follower.kill()
        follower.communicate()


def test_following_shows_what_happens(gw):
    begin(gw)
    follower = gw.popen("events", "-f", "--json", "sleeper")
    try:
        assert gw("start", "sleeper").returncode == 0
        seen = []
        while "ready" not in seen:
            seen.append(json.loads(follower.stdout.readline())["event"])
        assert seen[0] == "start-ordered"
    finally:
        follower.kill()
        follower.communicate()


def test_one_changed_word_is_found(gw):
    begin(gw)
    assert gw("start", "sleeper").returncode == 0
    assert gw("down").returncode == 0
    done = gw("audit", "verify")
    assert done.returncode == 0 and "the ledger holds" in done.stdout
    head = json.loads(gw("audit", "verify", "--json").stdout)["head"]["hash"]
    assert gw("audit", "verify", "--head", head).returncode == 0
    assert gw("audit", "verify", "--head", "1" * 64).returncode == 1
    assert gw("audit", "verify", "--head", "abc").returncode == 2
    with database(gw) as db:
        db.execute("UPDATE entries SET outcome = 'exit 0: never' WHERE number = 3")
    done = gw("audit", "verify")
    assert done.returncode == 1
    assert "entry 3 is not as it was written" in done.stderr
    assert json.loads(gw("audit", "verify", "--json").stdout)["broken_at"] == 3


def test_a_ledger_that_cannot_be_written_is_said_and_stops_nothing(gw):
    blocked = gw.home / "state/ledger.db"
    blocked.mkdir(parents=True)
    begin(gw)
    assert gw("start", "sleeper").returncode == 0
    wait_for(lambda: gw.status()["warden"]["ledger_trouble"])
    assert "the ledger cannot be written" in gw("status").stdout
    assert gw("stop", "sleeper").returncode == 0
    blocked.rmdir()
    wait_for(lambda: gw.status()["warden"]["ledger_trouble"] is None, why="it is tried again")
    assert "stop-ordered" in names(events(gw, "sleeper")), "what waited was written"


def test_a_damaged_ledger_is_kept_aside_and_said(gw):
    begin(gw)
    assert gw("down").returncode == 0
    (gw.home / "state/ledger.db").write_bytes(b"no database " * 1000)
    assert gw("up").returncode == 0
    found = wait_for(lambda: (e := events(gw)) and "warden-began" in names(e) and e)
    assert found[0]["event"] == "set-aside"
    aside = found[0]["evidence"].removeprefix("kept as ")
    assert open(aside, "rb").read().startswith(b"no database")
    assert gw("audit", "verify").returncode == 0


def test_down_returns_when_the_end_is_written(gw):
    begin(gw)
    assert gw("down").returncode == 0
    assert names(events(gw))[-1] == "warden-ended"


def test_where_nothing_was_ever_done_nothing_is_made(gw):
    for words in (("events",), ("audit",), ("audit", "verify")):
        done = gw(*words)
        assert done.returncode == 1
        assert "nothing is recorded here yet" in done.stderr
    assert not (gw.home / "state").exists()


@pytest.mark.parametrize("words", [("--since", "soon"), ("-n", "0"), ("-n", "x"), ("no/name",)])
def test_bad_words_are_usage_errors(gw, words):
    done = gw("events", *words)
    assert done.returncode == 2, done.stderr


def test_since_and_lines_choose(gw):
    begin(gw)
    assert gw("start", "sleeper").returncode == 0
    assert len(gw("events", "-n", "2", "--json").stdout.splitlines()) == 2
    assert len(gw("events", "--since", "1h", "--json").stdout.splitlines()) > 3
    assert gw("events", "--since", "1h", "nobody").stdout == "no such entries\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make a folder another user's")
def test_a_state_folder_of_another_user_is_refused(gw):
    (gw.home / "state").mkdir()
    os.chown(gw.home / "state", 65534, 65534)
    done = gw("run", "--", "true")
    assert done.returncode == 125
    assert "must belong to this user" in done.stderr
    os.chown(gw.home / "state", 0, 0)
    (gw.home / "state").chmod(0o770)
    assert gw("run", "--", "true").returncode == 125
    (gw.home / "state").chmod(0o700)


def test_wardens_killed_while_they_write_leave_a_chain_that_holds(gw):
    """Writers are killed at any moment; what is there afterwards follows from its beginning."""
    begin(gw)
    for _ in range(8):
        starting = gw.popen("start", "sleeper")
        warden = gw.status()["warden"]
        if warden:
            end(warden["pid"])
        starting.communicate(timeout=30)
        assert gw("up").returncode == 0
    wait_for(lambda: events(gw), why="a warden that lived long enough has written")
    done = gw("audit", "verify")
    assert done.returncode == 0, done.stderr
