"""A run survives what machines do to it: kills, full disks, folders that cannot be written."""

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from fcn_tutorial import training
from fcn_tutorial.cli import main
from tests.training.killing import command, differences, kill_and_resume

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="Linux's signals and limits")


@LINUX
def test_killed_five_times_a_run_ends_with_the_same_bits(tmp_path: Path) -> None:
    subprocess.run(command(tmp_path / "calm"), check=True, capture_output=True)
    assert kill_and_resume(tmp_path / "cut", 5) >= 1
    assert differences(tmp_path / "calm", tmp_path / "cut") == []


@LINUX
def test_a_full_disk_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    """No file may grow beyond 60 kB, less than a checkpoint: what a full disk does to a write."""
    short = ["--set", "epochs=2", "--set", "validate_every=1"]
    assert main(command(tmp_path, *short)[3:]) == 0
    last, best = ((tmp_path / name).read_bytes() for name in ("last.pt", "best.safetensors"))
    (tmp_path / "record.json").unlink()

    def full() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))

    cut = subprocess.run(
        [*command(tmp_path / "new", *short)], preexec_fn=full, capture_output=True, text=True
    )
    assert cut.returncode == 1
    assert "cannot be written" in cut.stderr and str(tmp_path / "new") in cut.stderr
    assert "Traceback" not in cut.stderr
    assert not list((tmp_path / "new").glob("*.partial*"))
    again = training.override(training.get("scenes-fcn8s"), [])  # the finished run stays readable
    assert again and (tmp_path / "last.pt").read_bytes() == last
    assert (tmp_path / "best.safetensors").read_bytes() == best


@LINUX
def test_a_checkpoint_that_cannot_be_replaced_stays(tmp_path: Path) -> None:
    short = ["--set", "epochs=1", "--set", "save_every=1000"]
    assert main(command(tmp_path, *short)[3:]) == 0
    state = training.RunFolder(tmp_path).read_state()
    kept = (tmp_path / "last.pt").read_bytes()

    def full() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))

    code = (
        "from pathlib import Path; from fcn_tutorial.training import RunFolder; "
        f"f = RunFolder(Path({str(tmp_path)!r})); f.write_state(f.read_state())"
    )
    cut = subprocess.run(
        [sys.executable, "-c", code], preexec_fn=full, capture_output=True, text=True
    )
    assert "last.pt: cannot be written (File too large); what was there is kept" in cut.stderr
    assert (tmp_path / "last.pt").read_bytes() == kept
    assert training.RunFolder(tmp_path).read_state()["progress"] == state["progress"]


@LINUX
def test_a_folder_that_cannot_be_written_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(Path("/proc/run"))[3:]) == 1
    assert "--out /proc/run: cannot be written" in capsys.readouterr().err
