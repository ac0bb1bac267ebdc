"""explain: everything that is done to a service from outside; nothing of it a secret."""

import json


def test_every_change_has_its_reason_and_no_secret_is_shown(gw):
    (gw.home / ".env").write_text("DATABASE_URL=postgres://geheim\n")
    gw.configure(f"""
[service.web]
command = ["python3", "-m", "http.server", "{{port}}", "--bind", "127.0.0.1"]
directory = "{gw.home}"
env = {{ HF_TOKEN = "hf_geheim" }}
env_file = ".env"
ready = {{ http = "/", within = "20s" }}
live = {{ http = "/", every = "30s" }}
umask = "0027"
pid_file = "web.pid"
""")
    assert gw("explain", "web").returncode == 1
    assert gw("up").returncode == 0
    port = gw.service("web")["replicas"][0]["endpoint"].rsplit(":", 1)[1]
    text = gw("explain", "web")
    told = gw("explain", "web", "--json")
    assert text.returncode == 0 and told.returncode == 0
    assert "geheim" not in text.stdout + told.stdout
    changes = {change["what"]: change for change in json.loads(told.stdout)["changes"]}
    assert changes["PORT, {port}"]["value"] == port
    assert changes["umask"]["value"] == "0027" and changes["PID file"]["value"] == str(gw.home / "web.pid")
    assert changes["limit core"]["value"].startswith("0")
    assert {"cgroup", "session", "standard input", "output", "GPUWARD_TREE", "when it stops"} <= set(changes)
    assert all(change["why"] and change["undo"] and change["may_change_results"] in ("no", "yes", "unknown")
               for change in changes.values())
