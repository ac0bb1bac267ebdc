import os

import pytest

from gpuward import Gpuward, end, wait_for

# With it a line of a script leaves it in pieces, between which another process may write.
os.environ.pop("PYTHONUNBUFFERED", None)


@pytest.fixture
def gw(tmp_path, request):
    """A fresh install. Whatever the test did, `down` must end its anchors and its warden; the logs stay in tmp_path."""
    install = Gpuward(tmp_path / "home")
    yield install
    down = install("down", timeout=60)
    try:
        wait_for(lambda: not install.anchors(), 15, "the anchors have gone")
        assert install.status()["warden"] is None, f"down left the warden: exit {down.returncode}, {down.stderr}"
        assert not install.groups(), f"down left cgroups: exit {down.returncode}, {down.stderr}"
    finally:
        warden = install.status()["warden"]
        for pid in install.anchors() + ([warden["pid"]] if warden else []):
            end(pid)
