"""What the shells offer: commands, options, services."""

import shutil
import subprocess

import pytest
from gpuward import BIN


def offered(gw, *words) -> list[str]:
    done = gw("__complete", *words)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


def test_commands_options_and_services_are_offered(gw):
    gw.configure('[service.web]\ncommand = ["sleep", "1000"]\n[service.worker]\ncommand = ["sleep", "1000"]\n')
    assert offered(gw, "st") == ["start", "status", "stop"]
    assert "__complete" not in offered(gw, "")
    assert offered(gw, "status", "--") == ["--help", "--json", "--watch"]
    assert offered(gw, "stop", "") == []
    assert gw("up").returncode == 0
    assert offered(gw, "stop", "") == ["web", "worker"]
    assert offered(gw, "logs", "wo") == ["worker"]
    assert offered(gw, "stop", "web", "w") == ["web", "worker"]


def test_the_command_line_of_somebody_else_is_left_alone(gw):
    assert offered(gw, "run", "--", "ls", "-") == []
    assert offered(gw, "bogus", "") == []


@pytest.mark.parametrize("shell, ask", [
    ("bash", 'COMP_WORDS=("$0" sta); COMP_CWORD=1; _gpuward; echo "${COMPREPLY[@]}"'),
    ("zsh", 'words=("$0" sta); CURRENT=2; compadd() { echo "${@:2}"; }; _gpuward'),
])
def test_the_script_of_a_shell_asks_and_takes_the_answer(gw, shell, ask):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    script = gw("completion", shell).stdout
    before = "autoload -U compinit; compinit -D -u\n" if shell == "zsh" else ""
    done = subprocess.run([shell, "-c", before + script + ask, BIN / "gpuward"], env=gw.env, capture_output=True,
                          text=True, check=False)
    assert (done.stdout.split(), done.stderr) == (["start", "status"], "")


def test_another_shell_is_a_usage_error(gw):
    assert gw("completion", "tcsh").returncode == 2
