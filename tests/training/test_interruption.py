"""A run survives what machines do to it: kills, full disks, folders that cannot be written."""

import resource
import sys
from pathlib import Path

import pytest

from fcn_tutorial import training
from fcn_tutorial.cli import main
from tests.training.killing import SETTINGS, arguments, command, differences, story, warm

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="Linux's signals and limits")


@LINUX
def test_whatever_ends_a_run_it_ends_with_the_same_bits(tmp_path: Path) -> None:
    """A slice of `make kills`; SIGTERM before there is anything to save is part of it."""
    found, while_writing = story(tmp_path, seed=1, kills=4, terms=2, others=1)
    assert found == [] and while_writing >= 1


@LINUX
def test_a_full_disk_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    """No file may grow beyond 60 kB, less than a checkpoint: what a full disk does to a write."""
    short = ["--set", "epochs=4", "--set", "validate_every=4"]
    assert main(command(tmp_path / "calm", *short)[3:]) == 0
    recipe, _ = training.override(training.get("scenes-fcn8s"), [*SETTINGS, *short[1::2]])
    asked = iter(range(9))
    with pytest.raises(training.Interrupted):
        training.train(recipe, tmp_path / "cut", stop=lambda: next(asked) == 5)
    folder = training.RunFolder(tmp_path / "cut")
    kept = [path.read_bytes() for path in (folder.last, folder.previous)]

    for _ in range(2):  # a second attempt finds what the first one found
        given = arguments(tmp_path / "cut", *short, "--resume")
        status, said = warm(given, 60_000).finish()
        assert status == 1 and "Traceback" not in said
        assert "last.pt: cannot be written (File too large); what was there is" in said
        assert [path.read_bytes() for path in (folder.last, folder.previous)] == kept
        assert not list(folder.path.glob("*.partial*"))
    assert main(command(tmp_path / "cut", *short, "--resume")[3:]) == 0
    assert differences(tmp_path / "calm", tmp_path / "cut") == []


@LINUX
def test_a_checkpoint_that_cannot_be_replaced_stays(tmp_path: Path) -> None:
    short = ["--set", "epochs=1", "--set", "save_every=1000"]
    assert main(command(tmp_path, *short)[3:]) == 0
    state = training.RunFolder(tmp_path).read_state()
    kept = (tmp_path / "last.pt").read_bytes()

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, before[1]))
    try:
        said = r"last\.pt: cannot be written \(File too large\); what was there is kept"
        with pytest.raises(OSError, match=said):
            training.RunFolder(tmp_path).write_state(state)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (tmp_path / "last.pt").read_bytes() == kept
    assert training.RunFolder(tmp_path).read_state()["progress"] == state["progress"]


@LINUX
def test_a_folder_that_cannot_be_written_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(Path("/proc/run"))[3:]) == 1
    assert "--out /proc/run: cannot be written" in capsys.readouterr().err
