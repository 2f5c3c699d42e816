"""Leakage between training and evaluation, in the layouts where it happens."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import ConcatDataset, Subset

from fcn_tutorial.datasets import SBD, Scenes, VOCPlusSBD, VOCSegmentation, leakage
from tests.datasets.official import picture, write_sbd, write_voc

VAL = ["2007_1", "2007_2", "2008_3"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_voc(tmp_path, "2011", {"train": ["2009_8"], "val": VAL})
    write_voc(tmp_path, "2012", {"train": ["2009_8"], "val": VAL})
    write_sbd(tmp_path, {"train": ["2008_3", "2009_8", "2010_9"], "val": ["2007_1", "2010_5"]})
    return tmp_path


def test_voc_val_leaks_into_sbd_train(data: Path) -> None:
    train, val = SBD(data / "SBD"), VOCSegmentation(data, "val", "2011")
    found = leakage.report(train, val)
    assert found and (found.train, found.evaluation) == (3, 3)
    assert [(o.train, o.evaluation) for o in found.overlaps] == [
        (train.files[0][0], val.files[2][0])
    ]
    assert found.overlaps[0].tests == ("name", "pixels", "likeness")
    with pytest.raises(ValueError, match=r"1 of the latter are trained on\n.*2008_3\.jpg = "):
        found.assert_disjoint()


def test_the_splits_of_the_paper_and_trainaug_do_not_leak(data: Path) -> None:
    for train, evaluation in [
        (VOCPlusSBD(data, "train"), VOCPlusSBD(data, "val")),
        (VOCPlusSBD(data, "trainaug"), VOCSegmentation(data, "val")),
    ]:
        found = leakage.report(train, evaluation)
        assert not found, found
        found.assert_disjoint()
        assert str(found).endswith("have none in common by name, pixels, likeness")


def _save(path: Path, pixels: np.ndarray, **options: int) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


@pytest.mark.parametrize("copy", ["renamed", "as png", "jpeg 60", "halved", "doubled"])
def test_renamed_copies_are_found_by_content(tmp_path: Path, copy: str) -> None:
    (tmp_path / "train").mkdir()
    for i in range(12):
        _save(tmp_path / "train" / f"{i}.jpg", picture(f"p{i}", (96, 128)), quality=95)
    original = tmp_path / "train" / "7.jpg"
    image = Image.open(original)
    if copy == "renamed":
        stolen = tmp_path / "photo.jpg"
        stolen.write_bytes(original.read_bytes())
    elif copy == "as png":
        stolen = _save(tmp_path / "photo.png", np.array(image))
    elif copy == "jpeg 60":
        stolen = _save(tmp_path / "photo.jpg", np.array(image), quality=60)
    else:
        size = (64, 48) if copy == "halved" else (256, 192)
        stolen = _save(tmp_path / "photo.png", np.array(image.resize(size)))
    found = leakage.report(
        sorted((tmp_path / "train").iterdir()), [stolen, _save(tmp_path / "q.png", picture("q"))]
    )
    assert [(o.train.name, o.evaluation) for o in found.overlaps] == [("7.jpg", stolen)]
    exact = copy in ("renamed", "as png")
    assert found.overlaps[0].tests == (("pixels", "likeness") if exact else ("likeness",))


def test_files_numbered_anew_in_each_split_are_told_apart_on_request(tmp_path: Path) -> None:
    sides = []
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        sides.append([_save(tmp_path / split / "0001.png", picture(split))])
    assert leakage.report(*sides).overlaps[0].tests == ("name",)
    assert not leakage.report(*sides, tests=("pixels", "likeness"))


def test_pictures_of_one_colour_are_compared_by_pixels_only(tmp_path: Path) -> None:
    grey = [
        _save(tmp_path / f"{level}.png", np.full((8, 8, 3), level, np.uint8))
        for level in (100, 101)
    ]
    larger = _save(tmp_path / "larger.png", np.full((9, 9, 3), 100, np.uint8))
    assert not leakage.report(grey[:1], [grey[1], larger])
    assert leakage.report(grey[:1], [_save(tmp_path / "again.png", np.full((8, 8, 3), 100, "u1"))])


def test_more_pictures_than_one_block_are_all_compared() -> None:
    rng = np.random.default_rng(0)
    ours = rng.uniform(0, 255, (1200, 768))
    theirs = np.stack([ours[3], rng.uniform(0, 255, 768), ours[700], ours[1199]])
    assert list(leakage._alike(ours, theirs)) == [(3, 0), (700, 2), (1199, 3)]


def test_names_alone_need_no_files() -> None:
    found = leakage.report(["x/A.jpg", "x/b.jpg"], ["y/a.PNG"], tests=("name",))
    assert [o.tests for o in found.overlaps] == [("name",)]


def test_parts_of_data_sets_list_their_own_files(data: Path) -> None:
    train = SBD(data / "SBD")
    joined = ConcatDataset([Subset(train, [2]), VOCSegmentation(data, "train")])
    assert [path.stem for path in leakage.image_files(joined)] == ["2010_9", "2009_8"]


def test_what_cannot_be_compared_is_refused(data: Path, tmp_path: Path) -> None:
    some = ["a.png"]
    with pytest.raises(TypeError, match="Scenes has no `files`"):
        leakage.report(Scenes(n=1), some)
    with pytest.raises(TypeError, match="list yields Tensor, not paths"):
        leakage.report([torch.zeros(1)], some)
    with pytest.raises(TypeError, match="str has no `files`"):
        leakage.report("a.png", some)
    with pytest.raises(ValueError, match="'hash' is not one of name, pixels, likeness"):
        leakage.report(some, some, tests=("hash",))
    with pytest.raises(ValueError, match="0 training and 1 evaluation image "):
        leakage.report([], some)
    with pytest.raises(FileNotFoundError, match=r"gone\.png not found"):
        leakage.report([tmp_path / "gone.png"], some)
    damaged = tmp_path / "damaged.jpg"
    stream = io.BytesIO()
    Image.fromarray(picture("d")).save(stream, "JPEG")
    damaged.write_bytes(stream.getvalue()[:300])
    with pytest.raises(ValueError, match=r"damaged\.jpg: not a readable image"):
        leakage.report([damaged], some)
