"""`after` and `requires`: who starts when, who is not started, and what stops first."""

import json
import os
import signal
import time

from gpuward import wait_for

# Each says when it began and when it was told to end; ready when the file of its name is there.
SERVICE = """
[service.{name}]
command = ["sh", "-c", "echo begin {name} >> {home}/story; trap 'echo end {name} >> {home}/story; exit' TERM; while [ ! -e {home}/{name}.go ]; do sleep 0.02; done; echo go; while :; do sleep 0.02; done"]
ready = {{ log = "go", within = "20s" }}
stop = {{ grace = "5s" }}
backoff = {{ first = "30ms", max = "30ms" }}
{keys}
"""
BROKEN = """
[service.{name}]
command = ["sh", "-c", "echo broken >&2; exit 7"]
ready = {{ log = "never" }}
{keys}
"""


class Stage:
    """Services whose readiness the test decides, and the story of what began and ended."""

    def __init__(self, gw):
        self.gw = gw

    def write(self, **services: str):
        text = ""
        for name, keys in services.items():
            broken = keys.startswith("BROKEN")
            text += (BROKEN if broken else SERVICE).format(name=name, home=self.gw.home, keys=keys.removeprefix("BROKEN"))
        self.gw.configure(text)

    def let(self, *names: str):
        for name in names:
            (self.gw.home / f"{name}.go").touch()

    def story(self) -> list[str]:
        path = self.gw.home / "story"
        return path.read_text().splitlines() if path.exists() else []

    def main(self, name: str) -> int:
        return self.gw.service(name)["replicas"][0]["main_pid"]


def test_up_starts_each_when_those_before_it_are_ready(gw):
    stage = Stage(gw)
    stage.write(api='requires = ["db"]', db="", web='after = ["api"]')
    up = gw.popen("up")
    wait_for(lambda: stage.story() == ["begin db"])
    wait_for(lambda: gw.service("api")["sentence"] == "waits for db")
    assert gw.service("api")["verdict"] == "STARTING" and gw.service("web")["sentence"] == "waits for api"
    stage.let("db")
    wait_for(lambda: stage.story() == ["begin db", "begin api"])
    assert gw.service("web")["sentence"] == "waits for api"
    stage.let("api", "web")
    out, err = up.communicate(timeout=30)
    assert up.returncode == 0, err
    assert out.count(": ready") == 3
    assert stage.story() == ["begin db", "begin api", "begin web"]
    assert gw("down").returncode == 0
    assert stage.story()[3:] == ["end web", "end api", "end db"], "each stops before what it builds on"


def test_start_takes_along_what_is_required_and_leaves_what_only_comes_before(gw):
    stage = Stage(gw)
    off = "autostart = false\n"
    stage.write(api=off + 'requires = ["db"]\nafter = ["cache"]', db=off, cache=off)
    stage.let("api", "db", "cache")
    assert gw("up").returncode == 0
    started = gw("start", "api")
    assert started.returncode == 0, started.stderr
    assert "db: ready" in started.stdout and "cache" not in started.stdout
    assert stage.story() == ["begin db", "begin api"]
    again = gw("start", "api")
    assert "db" not in again.stdout, "what runs already is not told of"
    assert gw.service("cache")["verdict"] == "STOPPED"


def test_what_requires_a_failed_one_is_not_started_and_says_why(gw):
    stage = Stage(gw)
    stage.write(api='requires = ["db"]', db="BROKEN", web='after = ["db"]', top='requires = ["api"]')
    stage.let("api", "web", "top")
    up = gw("up")
    assert up.returncode == 1
    assert "api: not started: it requires 'db', which failed: " in up.stderr and "code 7" in up.stderr
    assert "top: not started: it requires 'api', which failed" in up.stderr
    assert "web: ready" in up.stdout, "`after` goes on when the one before has failed"
    assert stage.story() == ["begin web"]
    api = gw.service("api")
    assert api["verdict"] == "FAILED" and api["sentence"].startswith("not started: it requires 'db'")
    # Once it can, one order starts all of it.
    stage.write(api='requires = ["db"]', db="", web='after = ["db"]', top='requires = ["api"]')
    stage.let("db")
    assert gw("reload").returncode == 0
    top = gw("start", "top")
    assert top.returncode == 0, top.stderr
    assert stage.story() == ["begin web", "begin db", "begin api", "begin top"]


def test_the_deadline_is_of_the_whole_and_says_what_was_waited_for(gw):
    stage = Stage(gw)
    stage.write(api='requires = ["db"]\nautostart = false', db="autostart = false")
    assert gw("up").returncode == 0
    late = gw("start", "api", "--timeout", "300ms")
    assert late.returncode == 3
    assert "api: not started within the time given: it waits for db" in late.stderr
    stage.let("db", "api")
    wait_for(lambda: gw.service("db")["verdict"] == "HEALTHY")
    assert gw.service("api")["verdict"] == "STOPPED", "nothing starts later by surprise"
    assert stage.story() == ["begin db"]


def test_up_does_not_wait_for_what_is_tried_again_but_it_starts_in_the_end(gw):
    stage = Stage(gw)
    flag = gw.home / "db.may"
    text = SERVICE.format(name="api", home=gw.home, keys='requires = ["db"]')
    gw.configure(text + f"""
[service.db]
command = ["sh", "-c", "[ -e {flag} ] || exit 3; echo go; exec sleep 1000"]
ready = {{ log = "go" }}
restart = "always"
backoff = {{ first = "300ms", max = "300ms" }}
""")
    stage.let("api")
    up = gw("up", timeout=20)
    assert up.returncode == 1
    assert "api: not started yet: it waits for db, which failed and is tried again" in up.stderr
    flag.touch()
    wait_for(lambda: gw.service("api")["verdict"] == "HEALTHY", why="it starts when db is ready at last")


def test_stop_orders_a_held_start_off(gw):
    stage = Stage(gw)
    stage.write(api='requires = ["db"]', db="")
    up = gw.popen("up")
    wait_for(lambda: stage.story() == ["begin db"])
    wait_for(lambda: gw.service("api")["sentence"] == "waits for db")
    assert gw("stop", "api").returncode == 0
    assert gw.service("api")["verdict"] == "STOPPED"
    stage.let("db", "api")
    wait_for(lambda: gw.service("db")["verdict"] == "HEALTHY")
    os.kill(stage.main("db"), 0)
    assert gw("status").returncode == 0
    assert stage.story() == ["begin db"]
    up.kill()
    up.communicate()


def test_nothing_is_stopped_from_under_what_requires_it(gw):
    stage = Stage(gw)
    stage.write(api='requires = ["db"]', db="", web='requires = ["api"]', batch='after = ["db"]')
    stage.let("api", "db", "web", "batch")
    assert gw("up").returncode == 0
    refused = gw("stop", "db")
    assert refused.returncode == 1
    assert refused.stderr.strip() == ("gpuward: db: not stopped: required by api, web, which run; to stop all of them: "
                                      "gpuward stop api db web")
    assert gw.service("db")["verdict"] == "HEALTHY"
    before = len(stage.story())
    stopped = gw("stop", "--json", "db", "web", "api")
    assert stopped.returncode == 0, stopped.stderr
    assert len(json.loads(stopped.stdout)["receipts"]) == 3
    assert stage.story()[before:] == ["end web", "end api", "end db"]
    assert gw.service("batch")["verdict"] == "HEALTHY"


def test_a_restart_of_several_goes_in_the_order_of_their_start(gw):
    stage = Stage(gw)
    stage.write(api='requires = ["db"]', db="")
    stage.let("api", "db")
    assert gw("up").returncode == 0
    assert gw("restart", "api", "db").returncode == 0
    assert stage.story() == ["begin db", "begin api", "end db", "begin db", "end api", "begin api"]
    main = stage.main("api")
    assert gw("restart", "db").returncode == 0
    assert stage.main("api") == main, "who requires it runs on"
    # What is required and does not run is started with it; the rest is not touched.
    assert gw("stop", "api", "db").returncode == 0
    begun = len(stage.story())
    restarted = gw("restart", "api")
    assert restarted.returncode == 0, restarted.stderr
    assert stage.story()[begun:] == ["begin db", "begin api"]


def test_a_crash_of_the_required_one_touches_nobody_else(gw):
    stage = Stage(gw)
    stage.write(api='requires = ["db"]', db="")
    stage.let("api", "db")
    assert gw("up").returncode == 0
    api, db = stage.main("api"), stage.main("db")
    os.kill(db, signal.SIGKILL)
    wait_for(lambda: gw.service("db")["replicas"] and gw.service("db")["replicas"][0]["generation"] == 2)
    wait_for(lambda: gw.service("db")["verdict"] == "HEALTHY")
    assert stage.main("api") == api and gw.service("api")["replicas"][0]["generation"] == 1


def test_a_new_warden_touches_nothing_that_runs(gw):
    stage = Stage(gw)
    stage.write(api='requires = ["db"]', db="")
    stage.let("api", "db")
    assert gw("up").returncode == 0
    api = stage.main("api")
    os.kill(stage.main("db"), signal.SIGKILL)
    os.kill(gw.status()["warden"]["pid"], signal.SIGKILL)
    wait_for(lambda: gw.status()["warden"] is None)
    assert "api: ready" in gw("up").stdout
    wait_for(lambda: gw.service("db")["verdict"] == "HEALTHY")
    assert stage.main("api") == api and gw.service("api")["replicas"][0]["generation"] == 1


def test_without_a_warden_the_records_know_the_order(gw):
    stage = Stage(gw)
    stage.write(api='requires = ["db"]', db="")
    stage.let("api", "db")
    assert gw("up").returncode == 0
    os.kill(gw.status()["warden"]["pid"], signal.SIGKILL)
    wait_for(lambda: gw.status()["warden"] is None)
    refused = gw("stop", "db")
    assert refused.returncode == 1 and "required by api, which runs" in refused.stderr
    begun = len(stage.story())
    down = gw("down")
    assert down.returncode == 0, down.stderr
    assert stage.story()[begun:] == ["end api", "end db"]


def test_plan_reload_and_explain_show_it(gw):
    stage = Stage(gw)
    stage.write(api='requires = ["db"]', db="", cache="")
    stage.let("api", "db", "cache")
    assert gw("up").returncode == 0
    api = stage.main("api")
    stage.write(api='requires = ["db"]\nafter = ["cache"]', db="", cache="")
    done = gw("reload", "--json")
    fields = json.loads(done.stdout)["changes"][0]["fields"]
    assert fields == [{"field": "after", "from": "none", "to": "cache", "effect": "live"}]
    assert stage.main("api") == api
    shown = json.loads(gw("explain", "api", "--json").stdout)["changes"]
    order = [change for change in shown if change["what"] == "started after"]
    assert [change["why"] for change in order] == ["'requires'"], "as it was started"
    assert gw("stop", "api").returncode == 0 and gw("start", "api").returncode == 0
    shown = json.loads(gw("explain", "api", "--json").stdout)["changes"]
    assert [c["value"].split(":")[0] for c in shown if c["what"] == "started after"] == ["db", "cache"]


def test_reload_starts_what_is_new_in_order_too(gw):
    stage = Stage(gw)
    stage.write(alone="")
    stage.let("alone")
    assert gw("up").returncode == 0
    stage.write(alone="", api='requires = ["db"]', db="")
    stage.let("api")
    assert gw("reload").returncode == 0
    wait_for(lambda: stage.story() == ["begin alone", "begin db"])
    assert gw.service("api")["sentence"] == "waits for db"
    stage.let("db")
    wait_for(lambda: gw.service("api")["verdict"] == "HEALTHY")
    assert stage.story() == ["begin alone", "begin db", "begin api"]


def test_check_names_the_circle_across_files(gw):
    gw.configure('[service.a]\ncommand = ["sleep", "9"]\nafter = ["b"]\n', "1.toml")
    gw.configure('[service.b]\ncommand = ["sleep", "9"]\nrequires = ["a"]\n', "2.toml")
    check = gw("check")
    etc = gw.home / "etc"
    assert check.returncode == 1
    assert f"services wait for each other: a -> b ({etc}/1.toml:3:10) -> a ({etc}/2.toml:3:13)" in check.stdout + check.stderr
    assert gw("up").returncode == 1


def test_a_long_chain_is_no_slower_than_its_links(gw):
    text = ""
    for i in range(40):
        text += f'[service.s{i:02}]\ncommand = ["sh", "-c", "echo go; exec sleep 1000"]\nready = {{ log = "go" }}\n'
        text += f'requires = ["s{i - 1:02}"]\n' if i else ""
    gw.configure(text)
    begun = time.monotonic()
    up = gw("up")
    assert up.returncode == 0, up.stderr
    assert time.monotonic() - begun < 20
    down = gw("down")
    assert down.returncode == 0, down.stderr
