"""The archive: what is in it, what runs from it, and what it refuses to hold."""

import subprocess
import tarfile

import pytest

from gpuward import ROOT

PROGRAMS = {"gpuward", "gpuwardd", "gpuward-anchor", "gpuward-sentinel", "gpuward-gateway", "gpuward-xray", "gpusim",
            "libgpuward-xray-dicom.so", "sim/libnvidia-ml.so.1", "sim/libcuda.so.1", "sim/libgpusim.so.1",
            "README.md", "LICENSE", "films/README.md", "article/leave-behind.sh", "docs/configuration.md",
            "tests/hardware/run.py"}


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    out = tmp_path_factory.mktemp("dist")
    done = subprocess.run([ROOT / "scripts/dist", out], text=True, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    archive, = out.iterdir()
    assert archive.stat().st_size <= 40 << 20
    with tarfile.open(archive) as tar:
        tar.extractall(out)
    return next(path for path in out.iterdir() if path.is_dir())


def test_it_holds_every_part(unpacked):
    assert {name for name in PROGRAMS if not (unpacked / name).exists()} == set()
    assert len([film for film in (unpacked / "films").iterdir() if film.suffix != ".md"]) == 12


def test_its_programs_run_where_they_lie(unpacked, tmp_path):
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    run = subprocess.run([unpacked / "gpuward", "run", "--", "sh", "-c", "exit 7"], env=env, timeout=30)
    assert run.returncode == 7
    ps = subprocess.run([unpacked / "gpuward", "ps"], env=env, timeout=30, text=True, capture_output=True)
    assert ps.returncode == 0, ps.stderr
    needs = subprocess.run(["ldd", unpacked / "libgpuward-xray-dicom.so"], text=True, capture_output=True)
    gdcm = [line for line in needs.stdout.splitlines() if "libgdcm" in line]
    assert gdcm and all(str(unpacked / "lib") in line for line in gdcm), needs.stdout


def test_a_file_that_needs_a_newer_glibc_is_refused(tmp_path):
    source = tmp_path / "new.c"
    source.write_text("extern unsigned arc4random(void); int main(void) { return arc4random() & 1; }\n")
    built = subprocess.run(["gcc", "-o", tmp_path / "new", source], capture_output=True, text=True)
    if built.returncode != 0:
        pytest.skip("this machine's glibc is older than 2.36")
    check = subprocess.run([ROOT / "scripts/dist", "--check-glibc", tmp_path / "new"], text=True, capture_output=True)
    assert check.returncode == 1
    assert "needs glibc 2.36" in check.stderr and "arc4random" in check.stderr
