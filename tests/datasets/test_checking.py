"""What `data check` finds, on data sets the test writes and damages."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fcn_tutorial.datasets import CamVid, Folder
from fcn_tutorial.datasets.checking import Report, check_splits
from fcn_tutorial.datasets.checking import check as check_source
from fcn_tutorial.datasets.sources import get

COUNTS = {"train": 4, "val": 2, "test": 3}


@pytest.fixture
def camvid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small CamVid, and a catalogue that expects it."""
    generator = np.random.default_rng(0)
    root = tmp_path / "data" / "CamVid"
    for split, count in COUNTS.items():
        lines = []
        for folder in (split, f"{split}annot"):
            (root / folder).mkdir(parents=True)
        for i in range(count):
            pixels = generator.integers(0, 256, (24, 32, 3), np.uint8)
            labels = generator.integers(0, 12, (24, 32), np.uint8)
            if split == "val":
                labels[labels == 4] = 3
            Image.fromarray(pixels).save(root / split / f"{split}{i}.png")
            Image.fromarray(labels).save(root / f"{split}annot" / f"{split}{i}.png")
            lines.append(f"/X/{split}/{split}{i}.png /X/{split}annot/{split}{i}.png\n")
        (root / f"{split}.txt").write_text("".join(lines))
    monkeypatch.setattr(CamVid, "counts", COUNTS)
    return root


def check(name: str, folder: Path) -> Report:
    source = get(name)
    return check_source(source, source.settings(), folder)


def found(camvid: Path) -> Report:
    return check("camvid", camvid.parent)


def test_a_whole_copy_has_no_problems(camvid: Path) -> None:
    report = found(camvid)
    assert report.problems == ()
    assert {name: split.images for name, split in report.splits.items()} == COUNTS
    assert report.notes == ("val has no pixel of pavement",)
    assert "train: 4 of 4 images" in str(report) and "no problems found" in str(report)
    assert str(check("camvid", camvid)) == str(report)  # either folder may be named


def test_the_histogram_is_that_of_the_files(camvid: Path) -> None:
    report = found(camvid)
    for split in COUNTS:
        files = sorted((camvid / f"{split}annot").iterdir())
        stored = np.concatenate([np.array(Image.open(file)).ravel() for file in files])
        pixels = report.splits[split].pixels
        assert pixels is not None
        assert pixels[:11].tolist() == [int((stored == i).sum()) for i in range(11)]
        assert pixels[255] == (stored == 11).sum() and pixels.sum() == stored.size
    share = 100 * (stored == 2).sum() / (stored != 11).sum()
    (line,) = (line for line in str(report).splitlines() if line.startswith("pole"))
    assert float(line.split()[-1]) == pytest.approx(share, abs=6e-4)


def test_a_short_list_is_a_problem(camvid: Path) -> None:
    lines = (camvid / "train.txt").read_text().splitlines()
    (camvid / "train.txt").write_text("\n".join(lines[1:]))
    assert found(camvid).problems == ("train: 3 images, published are 4",)


def test_every_unreadable_file_is_named_and_the_rest_is_read(camvid: Path) -> None:
    for name in ("train/train1.png", "testannot/test2.png"):
        (camvid / name).write_bytes((camvid / name).read_bytes()[:80])
    report = found(camvid)
    assert len(report.problems) == 2
    assert "train1.png" in report.problems[0] and "test2.png" in report.problems[1]
    pixels = report.splits["train"].pixels
    assert pixels is not None and pixels.sum() == 3 * 24 * 32


def test_a_split_that_cannot_be_opened_is_a_problem(camvid: Path) -> None:
    (camvid / "val" / "val0.png").unlink()
    (problem,) = found(camvid).problems
    assert problem.startswith("val cannot be opened") and "val0.png" in problem


def test_an_image_in_two_splits_is_a_leak_even_when_saved_again(camvid: Path) -> None:
    smooth = np.linspace(0, 255, 24 * 32 * 3).reshape(24, 32, 3).astype(np.uint8)
    Image.fromarray(smooth).save(camvid / "train" / "train2.png")
    Image.fromarray(smooth).save(camvid / "test" / "test0.png", format="JPEG", quality=90)
    shutil.copy(camvid / "train" / "train0.png", camvid / "val" / "val1.png")
    problems = found(camvid).problems
    assert len(problems) == 2
    for problem, ours, theirs in zip(
        problems, ("train0", "train2"), ("val1", "test0"), strict=True
    ):
        assert "share 1 image:" in problem and f"{ours}.png" in problem and theirs in problem


class Listless:
    """A data set that names no files, as one in a single .mat."""

    classes = ("a", "b")

    def __init__(self, images: list[np.ndarray]) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self.images[index], np.zeros((2, 2), np.uint8)


def test_data_sets_without_files_are_compared_by_their_pixels() -> None:
    images = [np.full((3, 2, 2), i, np.uint8) for i in range(5)]
    sets = {"train": Listless(images[:3]), "test": Listless([images[4], images[1]])}
    report = check_splits(sets, ["train", "test"])
    assert report.leaks == ("train and test share 1 image: item 1 = item 1",)
    assert check_splits({"train": sets["train"], "test": Listless(images[3:])}, []).leaks == ()


def test_a_split_that_needs_another_data_set_is_only_noted(tmp_path: Path) -> None:
    voc = tmp_path / "VOCdevkit" / "VOC2011"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (voc / folder).mkdir(parents=True)
    generator = np.random.default_rng(0)
    for name in ("a", "b"):
        pixels = generator.integers(0, 256, (8, 9, 3), np.uint8)
        Image.fromarray(pixels).save(voc / "JPEGImages" / f"{name}.jpg")
        Image.fromarray(np.eye(8, 9, dtype=np.uint8)).save(voc / f"SegmentationClass/{name}.png")
    for split, names in {"train": "a", "val": "b", "trainval": "a\nb"}.items():
        (voc / "ImageSets" / "Segmentation" / f"{split}.txt").write_text(names)
    report = check("voc2011", tmp_path)
    assert [s.images for s in report.splits.values()] == [1, 1, 2]
    assert all("published are" in problem for problem in report.problems)
    assert any(note.startswith("seg11valid cannot be opened") for note in report.notes)


def test_ones_own_splits_are_compared_too(tmp_path: Path) -> None:
    images, masks = tmp_path / "images", tmp_path / "masks"
    images.mkdir()
    masks.mkdir()
    generator = np.random.default_rng(0)
    for i in range(8):
        pixels = generator.integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(images / f"{i}.png")
        Image.fromarray(np.eye(8, dtype=np.uint8)).save(masks / f"{i}.png")

    def report() -> Report:
        parts = {split: Folder(images, masks, split=split) for split in ("train", "val")}
        return check_splits(parts, list(parts))

    assert report().problems == ()
    train, val = (Folder(images, masks, split=split).files[0][0] for split in ("train", "val"))
    shutil.copy(train, val)
    (problem,) = report().problems
    assert problem == f"train and val share 1 image: {train} = {val}"


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such folder"):
        check("camvid", tmp_path / "nowhere")
