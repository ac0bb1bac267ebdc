"""The canary: a question that gpuward asks a service itself, and what is made of its answer. Nothing is restarted for it."""

import json
import os
import subprocess
import urllib.request

import pytest
from gpuward import BIN, ROOT, Gpuward, wait_for
from test_verdicts import Load

SERVICE = ROOT / "tests/e2e/canary_service.py"
FILM = ROOT / "tests/films/nih_00000003_000.png"
KNOWN = '{"measures": {"heart": 0.41}, "report": "normal", "ok": true, "job": 0}\n'
GOLDEN = 'answer = "known.json", ignore = ["/job"]'


class Ward:
    """One service that answers as it is told to, under heal = "act"."""

    def __init__(self, gw, canary):
        self.gw, self.folder = gw, gw.home / "service"
        self.folder.mkdir()
        (self.folder / "film").write_bytes(b"film of a known patient")
        (self.folder / "known.json").write_text(KNOWN)
        self.answer("right")
        self.configure(canary)

    def configure(self, canary):
        self.gw.configure(f"""
[service.app]
command = ["python3", "{SERVICE}", "{{port}}", "{self.folder}"]
directory = "{self.folder}"
ready = {{ http = "/health", within = "60s" }}
heal = "act"
canary = {{ http = "/analyze", body = "film", type = "image/png", every = "1s", {canary} }}
""")

    def answer(self, mode):
        (self.folder / "new").write_text(mode)
        (self.folder / "new").rename(self.folder / "mode")

    def up(self):
        assert self.gw("up").returncode == 0
        self.wait(lambda canary: canary["result"] == "right", "it is asked and answers as it should")
        return self

    def canary(self):
        return self.gw.service("app")["canary"]

    def wait(self, what, why):
        return wait_for(lambda: what(self.canary()), 60, f"{why}; at first: {self.canary()}")

    def verdict(self):
        return self.gw.service("app")["verdict"]

    def asked(self):
        return (self.folder / "asked").stat().st_size

    def events(self, kind):
        lines = [json.loads(line) for line in self.gw("events", "--json", "-n", "10000").stdout.splitlines()]
        return [line for line in lines if line["event"] == kind]

    def untouched(self):
        replica = self.gw.service("app")["replicas"][0]
        assert replica["generation"] == 1 and replica["main_pid"]
        assert not self.events("healing") and not self.events("would-restart")
        assert (self.folder / "most").stat().st_size == 0, "two questions at once"


@pytest.fixture
def golden(gw):
    return Ward(gw, GOLDEN)


@pytest.fixture
def plain(gw):
    return Ward(gw, 'within = "500ms"')


def evidence(ward, what="canary"):
    return [fact["value"] for fact in ward.gw.service("app")["evidence"] if fact["what"] == what]


def test_another_answer_twice_is_a_verdict_of_its_own_and_restarts_nothing(golden):
    golden.up()
    told = golden.canary()
    assert told["golden"] and told["detail"] == "answered as known (200)" and told["age_seconds"] >= 0
    golden.answer("wrong")
    wait_for(lambda: golden.verdict() == "ANSWERS_CHANGED", 60, "it is found")
    service = golden.gw.service("app")
    assert service["action"] == "check_answers" and service["witnesses"] == 1
    assert "may be wrong" in service["sentence"]
    assert any(fact.startswith("another answer than the known one, ") and fact.endswith("first difference at /measures/heart")
               for fact in evidence(golden)), evidence(golden)
    entry, = wait_for(lambda: golden.events("canary"), why="the ledger tells of it")
    assert entry["why"] == "right to changed: it gave another answer than the known one"
    golden.wait(lambda canary: canary["changed_in_a_row"] >= 4, "it goes on")
    assert len(golden.events("canary")) == 1, "one line for one change"
    explained = golden.gw("explain", "app").stdout
    assert "POST 127.0.0.1:" in explained and "first difference at /measures/heart" in explained
    golden.untouched()
    golden.answer("right")
    wait_for(lambda: golden.verdict() == "HEALTHY", 60, "a right answer makes it good")
    assert [entry["why"] for entry in golden.events("canary")][-1:] == ["changed to right: it answered as known (200)"] or \
        golden.events("canary")[0]["why"].startswith("changed to right")
    golden.untouched()


# harm.md 11: an answer may hold the name of a patient.
def test_nothing_of_an_answer_leaves_the_warden(golden):
    golden.up().answer("wrong")
    wait_for(lambda: golden.verdict() == "ANSWERS_CHANGED", 60, "it is found")
    said = [golden.gw(*words).stdout for words in
            (["status", "app"], ["status", "--json"], ["explain", "app"], ["explain", "app", "--json"], ["events", "--json"],
             ["audit", "--json"], ["metrics"])]
    assert "ANSWERS_CHANGED" in said[0] and "gpuward_service_canary_changed" in said[-1]
    assert not any("Doe, John" in text or "593176" in text for text in said)
    for path in golden.gw.home.rglob("*"):
        if path.is_file():
            assert b"Doe, John" not in path.read_bytes(), path


def test_a_film_is_sent_whole_and_comes_back_whole(gw):
    ward = Ward(gw, 'answer = "film"')
    (ward.folder / "film").write_bytes(os.urandom(900_000))
    ward.answer("echo")
    ward.up().untouched()


def test_what_comes_before_an_answer_is_none(golden):
    golden.answer("hints")
    golden.up().untouched()


def test_a_saturated_service_is_asked_once_and_never_sick(plain):
    plain.up().answer("silent")
    plain.wait(lambda canary: canary["silent_in_a_row"] >= 1, "the deadline passes")
    asked = plain.asked()  # it may have come to the deadline before the service has read the question
    plain.wait(lambda canary: canary["silent_in_a_row"] >= 5, "and again")
    assert plain.asked() <= asked + 1, "asked again while a question was open"
    assert plain.verdict() == "HEALTHY" and not plain.events("canary")
    assert any("no answer in time" in fact for fact in evidence(plain))
    plain.answer("right")
    plain.wait(lambda canary: canary["result"] == "right", "the late answer counts")
    plain.untouched()


def test_a_service_that_says_that_it_is_busy_has_not_failed(plain):
    plain.up().answer("503")
    plain.wait(lambda canary: canary["result"] == "busy", "it says so")
    seen = plain.canary()["ended"]
    plain.wait(lambda canary: canary["ended"] >= seen + 3, "again and again")
    assert plain.canary()["failed_in_a_row"] == 0 and plain.verdict() == "HEALTHY" and not plain.events("canary")
    plain.untouched()


def test_an_answer_that_drips_does_not_hold_up_the_deadline(golden):
    golden.configure(GOLDEN + ', within = "500ms"')
    golden.up().answer("drip")
    golden.wait(lambda canary: canary["result"] == "late" and canary["silent_in_a_row"] == 0, "the deadline passes, something moves")
    assert golden.verdict() == "HEALTHY"
    golden.answer("right")
    golden.wait(lambda canary: canary["result"] == "right", "it is asked again")
    golden.untouched()


@pytest.mark.parametrize("mode", ["huge", "huge-chunked"])
def test_an_answer_of_a_hundred_mib_is_not_read(golden, mode):
    golden.up()
    pid = golden.gw.status()["warden"]["pid"]
    golden.answer(mode)
    golden.wait(lambda canary: canary["detail"] == "its answer is longer than 1 MiB", "it is cut off")
    peak = next(line for line in open(f"/proc/{pid}/status") if line.startswith("VmHWM"))
    assert int(peak.split()[1]) < 64 << 10, peak
    golden.untouched()


@pytest.mark.parametrize("mode, detail", [
    ("garbage", "answered what is no HTTP"), ("endless-header", "answered what is no HTTP"),
    ("closed", "closed the connection before its answer was whole"), ("interim", "closed the connection before its answer was whole"),
    ("half", "closed the connection before its answer was whole"),
    ("deaf", "refused the connection"), ("500", "answered 500")])
def test_what_is_no_answer_is_told_of_and_restarts_nothing(golden, mode, detail):
    golden.up().answer(mode)
    golden.wait(lambda canary: canary["failed_in_a_row"] >= 3, "it has failed")
    assert golden.canary()["detail"] == detail and golden.verdict() == "HEALTHY"
    assert any(fact.startswith("failed ") for fact in evidence(golden))
    assert [entry["why"] for entry in golden.events("canary")] == [f"right to failed: it {detail}"]
    golden.untouched()


def test_another_status_is_told_of_and_is_no_fact_where_no_answer_is_known(plain):
    plain.up().answer("404")
    plain.wait(lambda canary: canary["result"] == "unexpected", "it is told of")
    assert "answered 404, not 200 to 399" in evidence(plain) and plain.verdict() == "HEALTHY"
    plain.untouched()


def test_a_film_that_was_deleted_is_a_problem_at_the_next_load_and_no_sooner(golden):
    golden.up()
    (golden.folder / "film").unlink()
    seen = golden.canary()["ended"]
    golden.wait(lambda canary: canary["ended"] >= seen + 2 and canary["result"] == "right", "it was read when it was loaded")
    checked = golden.gw("check")
    assert checked.returncode == 1 and "cannot read 'canary.body': No such file or directory" in checked.stderr
    assert golden.gw("reload").returncode == 0
    told = golden.wait(lambda canary: canary["trouble"] and canary, "it is not asked")
    assert told["trouble"] == "cannot read 'canary.body': No such file or directory"
    assert evidence(golden) == ["not asked: " + told["trouble"]] and golden.verdict() == "HEALTHY"
    assert "not asked: " in golden.gw("explain", "app").stdout
    (golden.folder / "film").write_bytes(b"another")
    assert golden.gw("reload").returncode == 0
    seen = golden.canary()["ended"]
    golden.wait(lambda canary: not canary["trouble"] and canary["ended"] > seen, "it is asked again")
    golden.untouched()


def test_a_canary_comes_and_goes_with_a_reload_and_touches_no_process(golden):
    golden.up()
    main = golden.gw.service("app")["replicas"][0]["main_pid"]
    text = (golden.gw.home / "etc/services.toml").read_text()
    golden.gw.configure("\n".join(line for line in text.splitlines() if not line.startswith("canary")))
    assert "canary" in golden.gw("plan").stdout
    assert golden.gw("reload").returncode == 0
    assert golden.canary() is None
    golden.gw.configure(text)
    assert golden.gw("reload").returncode == 0
    golden.wait(lambda canary: canary and canary["result"] == "right", "it is asked again")
    assert golden.gw.service("app")["replicas"][0]["main_pid"] == main


def test_a_service_that_is_stopped_is_not_asked_and_one_that_starts_anew_is(golden):
    golden.up()
    assert golden.gw("stop", "app").returncode == 0
    asked = golden.asked()
    assert golden.gw("start", "app").returncode == 0
    wait_for(lambda: golden.asked() > asked, 60, "it is asked again")
    golden.wait(lambda canary: canary["ended"] >= 1 and canary["failed_in_a_row"] == 0, "no failure from before")


@pytest.fixture
def card(tmp_path):
    """An install with a simulated card."""
    env = {"GPUSIM_STATE": str(tmp_path / "cards"), "LD_LIBRARY_PATH": str(BIN / "sim"), "GPUWARD_KMSG": str(tmp_path / "kmsg")}
    (tmp_path / "kmsg").touch()
    subprocess.run([BIN / "gpusim", "create", "--gpus", "1", "--memory", "8GiB"], env={**os.environ, **env}, check=True,
                   capture_output=True)
    install = Gpuward(tmp_path / "home", **env)
    yield install
    install("down")
    wait_for(lambda: not install.anchors(), why="the anchors have gone")


def learn(gw, name, path, known):
    """What the service answers now is what is known of it."""
    endpoint = gw.service(name)["replicas"][0]["endpoint"]
    with urllib.request.urlopen(f"http://{endpoint}{path}", FILM.read_bytes(), timeout=60) as answer:
        known.write_bytes(answer.read())


def test_the_bundled_service_answers_a_known_film_as_it_always_does(card, tmp_path):
    text = f"""
[service.xray]
command = ["{BIN}/gpuward-xray", "--listen", "127.0.0.1:{{port}}", "--model-memory", "1GiB", "--kernels", "5"]
ready = {{ http = "/health", within = "60s" }}
"""
    card.configure(text)
    assert card("up").returncode == 0
    learn(card, "xray", "/analyze", tmp_path / "known.json")
    card.configure(text + f'canary = {{ http = "/analyze", body = "{FILM}", type = "image/png", every = "1s", '
                          f'answer = "{tmp_path}/known.json", ignore = ["/results/0/job", "/results/0/timing"] }}')
    checked = card("check")
    assert checked.returncode == 0, checked.stderr
    assert card("reload").returncode == 0
    wait_for(lambda: (card.service("xray")["canary"] or {}).get("ended", 0) >= 3, 60, "it is asked")
    service = card.service("xray")
    assert service["canary"]["result"] == "right" and service["verdict"] == "HEALTHY", service


def test_a_service_whose_card_is_saturated_is_never_sick(card):
    card.configure(f"""
[service.xray]
command = ["{BIN}/gpuward-xray", "--listen", "127.0.0.1:{{port}}", "--model-memory", "1GiB", "--kernels", "2500"]
ready = {{ http = "/health", within = "60s" }}
heal = "act"
canary = {{ http = "/analyze", body = "{FILM}", every = "1s", within = "100ms" }}
""")
    assert card("up").returncode == 0
    with Load(card):
        def overdue():
            service = card.service("xray")
            assert service["verdict"] == "HEALTHY", service
            return service["canary"]["silent_in_a_row"] >= 2
        wait_for(overdue, 60, "its answers come too late")
        wait_for(lambda: card.service("xray")["canary"]["result"] == "right", 60, "and come")
    assert card.service("xray")["replicas"][0]["generation"] == 1
    kinds = {json.loads(line)["event"] for line in card("events", "--json", "-n", "10000").stdout.splitlines()}
    assert not kinds & {"verdict-changed", "healing", "heal-refused", "would-restart", "canary"}, kinds


def test_a_card_that_errs_in_silence_is_found(card, tmp_path):
    text = f"""
[service.sum]
command = ["python3", "{ROOT}/tests/e2e/canary_gpu_service.py", "{{port}}"]
ready = {{ http = "/health", within = "60s" }}
heal = "act"
"""
    card.configure(text)
    assert card("up").returncode == 0
    learn(card, "sum", "/sum", tmp_path / "known.json")
    card.configure(text + f'canary = {{ http = "/sum", body = "{FILM}", every = "1s", answer = "{tmp_path}/known.json" }}')
    assert card("reload").returncode == 0
    wait_for(lambda: (card.service("sum")["canary"] or {}).get("result") == "right", 60, "it is asked")
    main = card.service("sum")["replicas"][0]["main_pid"]
    subprocess.run([BIN / "gpusim", "fault", "corrupt", "--pid", str(main)], env=card.env, check=True, capture_output=True)
    wait_for(lambda: card.service("sum")["verdict"] == "ANSWERS_CHANGED", 60, "it is found")
    assert "at /sum" in card.service("sum")["canary"]["detail"]
    with urllib.request.urlopen(f"http://{card.service('sum')['replicas'][0]['endpoint']}/health", timeout=60) as health:
        assert health.status == 200, "/health knows nothing of it"
    subprocess.run([BIN / "gpusim", "heal"], env=card.env, check=True, capture_output=True)
    wait_for(lambda: card.service("sum")["verdict"] == "HEALTHY", 60, "it is right again")
    assert card.service("sum")["replicas"][0]["main_pid"] == main, "nothing was restarted"
