"""The archive of CamVid that travels to a GPU is the data set, its frames recoded."""

import zipfile
from pathlib import Path

import pytest
import torch

from fcn_tutorial.datasets import CamVid
from fcn_tutorial.datasets.writers import write_camvid
from tools import carry_camvid


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The data set, and what the tool has made of it, unpacked."""
    root = tmp_path_factory.mktemp("carried")
    data = write_camvid(root / "raw", 2, (60, 80))
    (root / "weights").write_bytes(b"some weights")
    arguments = ["--data", str(data), "--weights", str(root / "weights"), "--to", str(root / "to")]
    assert carry_camvid.main(arguments) == 0
    names = {path.name for path in (root / "to").iterdir()}
    assert names == {"camvid.zip", "mobilenet_v2.safetensors", "commit.txt"}
    with zipfile.ZipFile(root / "to" / "camvid.zip") as file:
        file.extractall(root)
    return data, root / "CamVid"


@pytest.mark.parametrize("split", CamVid.counts)
def test_labels_are_the_same_and_frames_nearly(split: str, folders: tuple[Path, Path]) -> None:
    raw, carried = (CamVid(folder, split) for folder in folders)
    assert len(raw) == len(carried) == 2
    # Generated frames have grain, which JPEG drops; those of the test keep more of it.
    most = 4.0 if split == "test" else 8.0
    for (image, mask), (recoded, same) in zip(raw, carried, strict=True):
        assert torch.equal(mask, same) and image.shape == recoded.shape
        assert (image.float() - recoded.float()).abs().mean() < most


def test_what_was_done_to_the_frames_is_said(folders: tuple[Path, Path]) -> None:
    text = (folders[1] / "frames.txt").read_text()
    assert text.startswith("train and val recoded as JPEG") and "test as JPEG" in text


def test_a_folder_that_is_no_camvid_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert carry_camvid.main(["--data", str(tmp_path), "--to", str(tmp_path / "to")]) == 1
    assert "train.txt" in capsys.readouterr().err
    assert not list((tmp_path / "to").glob("camvid.zip"))
