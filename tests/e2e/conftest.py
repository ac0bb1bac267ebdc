import pytest

from gpuward import Gpuward, end, wait_for


@pytest.fixture
def gw(tmp_path, request):
    """A fresh install whose anchors are ended, whatever the test did; the logs stay in tmp_path."""
    install = Gpuward(tmp_path / "home")
    yield install
    install("down", timeout=60)
    wait_for(lambda: not install.anchors(), 15, "the anchors have gone")
    for pid in install.anchors():
        end(pid)
