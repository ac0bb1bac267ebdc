"""`gpuward demo`: what it claims holds, and it leaves nothing, however it ends."""

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

from gpuward import BIN, wait_for


def processes_of(folder: Path) -> list[str]:
    """Command lines of processes that were started for this folder, by their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and str(folder).encode() in (entry / "environ").read_bytes():
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def demo(tmp_path, program=BIN / "gpuward", **options):
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    return subprocess.Popen([program, "demo", "--simulated"], env=env, text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, **options)


def test_all_that_it_claims_holds_within_its_time(tmp_path):
    process = demo(tmp_path)
    out, err = process.communicate(timeout=150)
    assert process.returncode == 0, out + err
    assert "DOES NOT HOLD" not in out
    assert "3 are idle and hold 4.0 GiB" in out
    assert "12 of 12 films have their report" in out
    assert re.search(r"xray: ended \d+ processes .* none left; GPU memory back: 6\.\d GiB", out)
    assert re.search(r"It left [3-9] processes", out)
    assert "(The GPU was simulated.)" in out
    assert list(tmp_path.iterdir()) == []
    assert processes_of(tmp_path) == []


def test_ctrl_c_ends_all_that_it_started(tmp_path):
    process = demo(tmp_path, start_new_session=True)
    wait_for(lambda: len([c for c in processes_of(tmp_path) if "--stage infer" in c]) >= 3, 40,
             "the incident is under way")
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=40)
    assert process.returncode == 130, err
    assert list(tmp_path.iterdir()) == []
    assert processes_of(tmp_path) == []


def test_a_missing_part_is_named_and_nothing_is_left(tmp_path):
    lonely = tmp_path / "bin" / "gpuward"
    lonely.parent.mkdir()
    shutil.copy(BIN / "gpuward", lonely)
    work = tmp_path / "work"
    work.mkdir()
    process = demo(work, lonely)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "gpuward-xray" in err
    assert list(work.iterdir()) == []
