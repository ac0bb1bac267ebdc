"""plan and reload: what has changed in the files, field by field, and no process touched."""

import json
import os
import signal
import socket

from gpuward import wait_for

SERVICES = """
[service.first]
command = ["sh", "-c", "echo one; exec sleep 1000"]
stop = { grace = "2s" }
backoff = { first = "1h", max = "1h" }

[service.gone]
command = ["sleep", "1000"]
"""


def changes(gw, what: str) -> dict:
    done = gw(what, "--json")
    assert done.returncode == 0, done.stderr
    return {change["service"]: change for change in json.loads(done.stdout)["changes"]}


def test_nothing_changed_is_said(gw):
    gw.configure(SERVICES)
    assert gw("up").returncode == 0
    assert "nothing has changed" in gw("plan").stdout
    assert "nothing has changed" in gw("reload").stdout


def test_what_can_holds_at_once_and_the_process_lives_on(gw):
    gw.configure(SERVICES)
    assert gw("up").returncode == 0
    before = gw.service("first")["replicas"][0]
    gw.configure(SERVICES.replace('first = "1h"', 'first = "10ms"'))
    planned = changes(gw, "plan")
    assert planned["first"]["fields"] == [{"field": "backoff.first", "from": "1 h", "to": "10.0 ms", "effect": "live"}]
    assert changes(gw, "plan") == planned, "a plan changes nothing"
    changes(gw, "reload")
    assert changes(gw, "plan") == {}
    assert gw.service("first")["replicas"][0] == before
    os.kill(before["main_pid"], signal.SIGKILL)
    wait_for(lambda: gw.service("first")["replicas"] and gw.service("first")["replicas"][0]["generation"] == 2,
             why="it comes back after 10 ms, not an hour")


def test_the_new_settings_outlive_a_crash_of_everything(gw):
    gw.configure(SERVICES)
    assert gw("up").returncode == 0
    gw.configure(SERVICES.replace('first = "1h"', 'first = "10ms"'))
    changes(gw, "reload")
    wait_for(lambda: changes(gw, "plan") == {})
    main = gw.service("first")["replicas"][0]["main_pid"]
    for pid in [gw.status()["warden"]["pid"], *gw.anchors()]:
        os.kill(pid, signal.SIGKILL)
    assert gw("up").returncode == 0
    os.kill(main, signal.SIGKILL)
    wait_for(lambda: gw.service("first")["replicas"] and gw.service("first")["replicas"][0]["generation"] == 2)


def test_what_needs_a_new_process_waits_for_a_restart_by_hand(gw):
    gw.configure(SERVICES)
    assert gw("up").returncode == 0
    before = gw.service("first")["replicas"][0]
    gw.configure(SERVICES.replace("echo one", "echo two").replace("[service.gone]", "[service.gone]\nenv = { TOKEN = \"geheim\" }"))
    text = gw("plan").stdout
    assert "needs a new process" in text and "geheim" not in text
    done = changes(gw, "reload")
    assert done["first"]["waits_for_restart"] and done["gone"]["fields"][0]["field"] == "env.TOKEN"
    assert gw.service("first")["replicas"][0]["main_pid"] == before["main_pid"]
    assert changes(gw, "plan")["first"] == {"service": "first", "kind": "changed", "runs": True,
                                            "waits_for_restart": True, "fields": []}
    restart = gw("restart", "first")
    assert restart.returncode == 0, restart.stderr
    wait_for(lambda: "two" in gw.log("first"))
    assert "first" not in changes(gw, "plan")


def test_an_older_version_is_known_after_the_warden_was_killed_too(gw):
    gw.configure(SERVICES)
    assert gw("up").returncode == 0
    os.kill(gw.status()["warden"]["pid"], signal.SIGKILL)
    wait_for(lambda: gw.status()["warden"] is None)
    gw.configure(SERVICES.replace("echo one", "echo two"))
    assert gw("up").returncode == 0
    assert changes(gw, "plan")["first"]["waits_for_restart"]
    assert gw("restart", "first").returncode == 0
    wait_for(lambda: "two" in gw.log("first"))


def test_added_ones_start_and_removed_ones_run_on(gw):
    gw.configure(SERVICES)
    assert gw("up").returncode == 0
    gone = gw.service("gone")["replicas"][0]["main_pid"]
    gw.configure(SERVICES.replace("service.gone", "service.fresh"))
    done = changes(gw, "reload")
    assert done["fresh"]["kind"] == "added" and done["gone"]["kind"] == "removed" and done["gone"]["runs"]
    wait_for(lambda: gw.service("fresh")["verdict"] == "HEALTHY")
    assert gw.service("gone")["replicas"][0]["main_pid"] == gone
    assert gw("stop", "gone").returncode == 0
    again = gw("start", "gone")
    assert again.returncode == 1 and "no configuration file" in again.stderr


def test_one_mistake_and_nothing_changes(gw):
    gw.configure(SERVICES)
    assert gw("up").returncode == 0
    gw.configure(SERVICES.replace("echo one", "echo two") + "colour = 1\n")
    for what in ("plan", "reload"):
        refused = gw(what)
        assert refused.returncode == 1
        assert "unknown key 'colour'" in refused.stderr and "nothing was changed" in refused.stderr
    gw.configure(SERVICES)
    assert changes(gw, "plan") == {}


def test_without_a_warden_it_is_5(gw):
    gw.configure(SERVICES)
    assert gw("plan").returncode == 5 and gw("reload").returncode == 5


def test_a_name_that_there_is_not_says_what_may_be_meant(gw):
    gw.configure(SERVICES)
    assert gw("up").returncode == 0
    near = gw("start", "frist")
    assert near.returncode == 1 and "did you mean 'first'?" in near.stderr
    far = gw("start", "newcomer")
    assert far.returncode == 1 and "gpuward reload" in far.stderr
    status = gw("status", "frist")
    assert status.returncode == 1 and status.stdout == "" and "no such service" in status.stderr


def test_many_that_are_added_at_once_keep_nobody_waiting(gw):
    """Each is started in a turn of its own: whoever asks for something else is answered in between."""
    count = 150
    gw.configure(SERVICES)
    assert gw("up").returncode == 0
    gw.configure(SERVICES + "".join(f'[service.n{n:03}]\ncommand = ["sleep", "1000"]\n' for n in range(count)))
    reload = gw.popen("reload")
    waited = 0
    while reload.poll() is None:
        waited += gw("status").stdout.count("waits for its turn")
    out, err = reload.communicate()
    assert reload.returncode == 0, err
    assert out.count(": added") == count
    assert waited, "nobody was answered in between"
    wait_for(lambda: [s["verdict"] for s in gw.status()["services"]] == ["HEALTHY"] * (count + 2), 60)


def test_what_cannot_be_begun_is_said_when_its_turn_has_come(gw):
    gw.configure(SERVICES)
    assert gw("up").returncode == 0
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        gw.configure(SERVICES + "".join(f'[service.n{n:02}]\ncommand = ["sleep", "1000"]\n' for n in range(30))
                     + f'[service.z]\ncommand = ["sleep", "1000"]\nready = {{ tcp = "127.0.0.1:{port}" }}\n')
        reload = gw("reload")
    assert reload.returncode == 1 and f"port {port} is taken" in reload.stderr, reload.stderr
    assert gw.service("z")["verdict"] == "FAILED"
