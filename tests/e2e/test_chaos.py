"""kill -9 of warden, anchors and mains at random: nothing second, nothing left, nobody else, no line lost."""

import os
import random

import pytest
from gpuward import end, wait_for
from invariants import Chaos, Ward, holders

ROUNDS = 100


def test_random_deaths_of_everything_of_ours(tmp_path):
    seed = int(os.environ.get("GPUWARD_CHAOS_SEED", random.randrange(1 << 32)))
    print(f"GPUWARD_CHAOS_SEED={seed}")  # shown when it fails
    chaos = Chaos(tmp_path, seed)
    try:
        chaos.run(ROUNDS)
    except AssertionError as error:
        raise AssertionError(f"GPUWARD_CHAOS_SEED={seed}, round {len(chaos.steps)}, killed {chaos.steps[-3:]}: {error}") from None
    finally:
        chaos.ward.clean()
    assert chaos.ward.lines["chatty"].total > 100


def test_the_checker_sees_what_it_looks_for(tmp_path):
    """Each check fails on what it is there for."""
    ward = Ward(tmp_path, ("chatty",), innocents=1)
    try:
        ward.up()
        ward.check_all()
        with pytest.raises(AssertionError, match="survivors"):
            ward.check_gone()
        log = ward.gw.home / "log/chatty.log"
        with open(log, "a") as file:
            file.write(f"<{holders(tmp_path, 'chatty')[0]}.99999999>\n")
        with pytest.raises(AssertionError, match="are lost"):
            ward.check_lines()
        end(holders(ward.elsewhere, "innocent0")[3])
        wait_for(lambda: len(holders(ward.elsewhere, "innocent0")) == 3)
        with pytest.raises(AssertionError, match="3 of 4"):
            ward.check_innocents()
        assert ward.gw("down").returncode == 0
        ward.innocents[0].kill()
        (tmp_path / "second-copy").write_text("chatty\n")
        with pytest.raises(AssertionError, match="second copy"):
            ward.check_single()
    finally:
        ward.clean()
