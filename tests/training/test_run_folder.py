"""A run folder keeps what a run has learned, whatever happens to its files and its writers."""

import io
import json
import multiprocessing
import os
import random
import stat
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from fcn_tutorial.files import locked, replacing, write_atomically
from fcn_tutorial.training import run
from fcn_tutorial.training.run import RunFolder

STATE = {"step": 3, "tensor": torch.arange(5000.0), "nested": {"list": [1, 2.5, "x", None]}}
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="Linux's links, modes and locks")


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    found = RunFolder(tmp_path / "run")
    found.path.mkdir()
    return found


# --- Checkpoints --------------------------------------------------------------------------------


def test_every_single_flipped_bit_of_a_checkpoint_is_refused(folder: RunFolder) -> None:
    folder.write_state(STATE)
    content, rng = folder.last.read_bytes(), random.Random(0)
    places = [rng.randrange(8 * len(content)) for _ in range(200)]
    places += range(8 * (len(content) - 130), 8 * len(content), 3)  # the digest itself and around
    for place in places:
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << place % 8
        folder.last.write_bytes(flipped)
        with pytest.raises(ValueError, match=r"last\.pt: damaged or not a checkpoint"):
            folder.read_state()
    folder.last.write_bytes(content)
    assert torch.equal(folder.read_state()["tensor"], STATE["tensor"])


@pytest.mark.parametrize("length", [0, 1, 100, -1, -64, -100])
def test_a_cut_checkpoint_is_refused(folder: RunFolder, length: int) -> None:
    folder.write_state(STATE)
    folder.last.write_bytes(folder.last.read_bytes()[:length])
    with pytest.raises(ValueError, match=r"last\.pt: damaged"):
        folder.read_state()


def test_what_is_no_checkpoint_is_refused_by_name(folder: RunFolder) -> None:
    torch.save([1, 2], folder.last)
    with pytest.raises(ValueError, match=r"last\.pt: damaged .*holds list"):
        folder.read_state()
    folder.write_state({})  # whole by its digest; taken for one, the run would begin anew
    with pytest.raises(ValueError, match=r"last\.pt: damaged .*holds nothing"):
        folder.read_state()
    buffer = io.BytesIO()
    torch.save({"zeros": torch.zeros(1 << 20)}, buffer)
    with (
        zipfile.ZipFile(buffer) as stored,
        zipfile.ZipFile(folder.last, "w", zipfile.ZIP_DEFLATED) as small,
    ):
        for part in stored.infolist():
            small.writestr(part.filename, stored.read(part), zipfile.ZIP_DEFLATED)
    assert folder.last.stat().st_size < 100_000  # and would unfold to four megabytes
    with pytest.raises(ValueError, match="compressed"):
        folder.read_state()


def test_a_checkpoint_of_before_is_read_and_its_damage_is_seen(folder: RunFolder) -> None:
    """Until checkpoints knew their digest: the archive's own sums stand for it."""
    torch.save(STATE, folder.last)
    assert folder.read_state()["step"] == 3
    content = bytearray(folder.last.read_bytes())
    with zipfile.ZipFile(folder.last) as archive:
        largest = max(archive.infolist(), key=lambda part: part.file_size)
    content[largest.header_offset + 1000] ^= 1
    folder.last.write_bytes(content)
    with pytest.raises(ValueError, match=r"last\.pt: damaged"):
        folder.read_state()


def test_the_last_two_checkpoints_are_kept_and_the_older_serves_where_the_newer_fails(
    folder: RunFolder,
) -> None:
    for step in range(3):
        folder.write_state({**STATE, "step": step})
    assert run._read_state(folder.previous)["step"] == 1
    assert folder.newest_state(needed=True)[0]["step"] == 2
    folder.last.write_bytes(folder.last.read_bytes()[:-9])
    state, damage = folder.newest_state(needed=True)
    assert state["step"] == 1
    assert "last.pt: damaged" in damage and "last-1.pt, the checkpoint before it" in damage
    # The damaged one does not take the place of the one that served.
    folder.write_state({**STATE, "step": 9})
    assert folder.newest_state(needed=True)[0]["step"] == 9
    assert run._read_state(folder.previous)["step"] == 1
    folder.last.unlink()
    assert folder.begun and folder.newest_state(needed=True)[0]["step"] == 1
    folder.previous.write_bytes(b"")
    with pytest.raises(ValueError, match=r"last-1\.pt: damaged"):
        folder.newest_state(needed=True)


@LINUX
def test_a_failed_write_keeps_both_checkpoints(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for step in range(2):
        folder.write_state({**STATE, "step": step})
    kept = [path.read_bytes() for path in (folder.last, folder.previous)]

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match=r"last\.pt: cannot be written \(No space left on device\)"):
        folder.write_state({**STATE, "step": 2})
    assert [path.read_bytes() for path in (folder.last, folder.previous)] == kept
    assert sorted(p.name for p in folder.path.iterdir()) == ["last-1.pt", "last.pt"]


# --- One writer ---------------------------------------------------------------------------------

HOLD = """
import sys, time
from pathlib import Path
from fcn_tutorial.training.run import RunFolder
with RunFolder(Path(sys.argv[1])).claimed():
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_writer_is_told_of_the_first_until_that_one_ends(folder: RunFolder) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder.path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match=f"process {holder.pid} on .* writes there; wait"):
            folder.claimed().__enter__()
    finally:
        holder.kill()  # however it ends, its lock ends with it
        holder.wait()
    left = folder.path / ".0123456789abcdef.partial.pt"
    left.write_bytes(b"half")
    with folder.claimed():
        assert not left.exists()
        with pytest.raises(ValueError, match="this process itself writes there"):
            folder.claimed().__enter__()
    assert list(folder.path.iterdir()) == []


def _sleep(ready: Any, end: Any) -> None:
    ready.set()
    end.wait(30)


@LINUX
def test_a_lock_is_not_passed_on_to_the_processes_that_prepare_batches(tmp_path: Path) -> None:
    """They outlive a killed run by some seconds, in which it may be started again."""
    context = multiprocessing.get_context("fork")
    ready, end = context.Event(), context.Event()
    with locked(tmp_path / "lock"):
        child = context.Process(target=_sleep, args=(ready, end))
        child.start()
        assert ready.wait(30)
    try:
        code = (
            "from fcn_tutorial.files import locked; from pathlib import Path\n"
            f"with locked(Path({str(tmp_path / 'lock')!r})): pass"
        )
        subprocess.run([sys.executable, "-c", code], check=True)
    finally:
        end.set()
        child.join()


# --- Files --------------------------------------------------------------------------------------


@LINUX
def test_an_unfinished_file_is_nobody_elses_and_no_link_is_followed(tmp_path: Path) -> None:
    precious, target = tmp_path / "precious", tmp_path / "a.png"
    precious.write_text("mine")
    (tmp_path / "a.partial.png").write_text("also mine")
    target.symlink_to(precious)
    names = []
    for content in (b"one", b"two"):
        with replacing(target) as partial:
            names.append(partial.name)
            partial.write_bytes(content)
    assert len(set(names)) == 2 and all(name.endswith(".partial.png") for name in names)
    assert precious.read_text() == "mine"
    assert (tmp_path / "a.partial.png").read_text() == "also mine"
    assert not target.is_symlink() and target.read_bytes() == b"two"


@LINUX
def test_a_file_has_the_mode_that_the_umask_gives(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "file", b"content")
        with replacing(tmp_path / "other") as partial:  # as a writer with a file of its own does
            partial.unlink()
            os.close(os.open(partial, os.O_CREAT | os.O_WRONLY, 0o600))
    finally:
        os.umask(before)
    for name in ("file", "other"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o640


# --- Where the code is from ---------------------------------------------------------------------


def test_the_commit_is_of_this_packages_checkout_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(tmp_path)]
    place = tmp_path / "env" / "site-packages" / "fcn_tutorial" / "training" / "run.py"
    place.parent.mkdir(parents=True)
    place.touch()
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "theirs"]):
        subprocess.run([*git, *arguments], check=True)
    monkeypatch.setattr(run, "__file__", str(place))
    assert run._git_state() == ""  # in an environment inside somebody's repository
    vendored = tmp_path / "fcn_tutorial" / "training" / "run.py"
    vendored.parent.mkdir(parents=True)
    vendored.touch()
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "theirs"\n')
    monkeypatch.setattr(run, "__file__", str(vendored))
    assert run._git_state() == ""  # copied into it
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "fcn-tutorial"\n')
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    monkeypatch.setenv("GIT_DIR", "/nowhere")  # as a hook of another repository would have it
    assert run._git_state() == head.stdout.strip()
    monkeypatch.delenv("GIT_DIR")
    subprocess.run([*git, "add", "fcn_tutorial"], check=True)
    vendored.write_text("edited")
    assert run._git_state() == f"{head.stdout.strip()}+changes"


def test_a_record_holds_no_number_that_json_does_not_have(folder: RunFolder) -> None:
    folder.record.write_text(json.dumps({"old": 1}))
    with pytest.raises(ValueError, match="JSON compliant"):
        folder.write_record({"schema": 1, "val": {"mean_iu": float("nan")}})
    assert json.loads(folder.record.read_text()) == {"old": 1}
