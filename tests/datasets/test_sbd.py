"""SBD on files the test writes with SciPy; torchvision's reader is the oracle."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from fcn_tutorial.datasets import SBD
from fcn_tutorial.vision import datasets as reference
from tests.datasets.official import labels, write_sbd


@pytest.fixture
def sbd(tmp_path: Path) -> Path:
    return write_sbd(tmp_path, {"train": ["2008_1", "2008_2"], "val": ["2009_1"]})


@pytest.mark.parametrize("split", ["train", "val"])
def test_items_are_those_of_torchvision(sbd: Path, split: str) -> None:
    dataset = SBD(sbd, split)
    expected = reference.SBDataset(sbd, split, "segmentation")
    assert len(dataset) == len(expected) > 0
    for i, (picture, labelled) in enumerate(expected[j] for j in range(len(expected))):
        image, mask = dataset[i]
        assert np.array_equal(image.permute(1, 2, 0).numpy(), np.array(picture))
        assert np.array_equal(mask.numpy(), np.array(labelled))
        assert np.array_equal(mask.numpy(), labels(dataset.files[i][0].stem, void=False))


def test_root_is_any_of_the_natural_folders(sbd: Path) -> None:
    for root in (sbd, sbd.parent, sbd.parent.parent):
        assert SBD(root).root == sbd
    with pytest.raises(FileNotFoundError, match=r"no SBD data: train\.txt found in none of"):
        SBD(sbd / "img")


def test_damaged_and_missing_files_are_named(sbd: Path) -> None:
    (sbd / "img" / "2009_1.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"2009_1\.jpg not found; .*val\.txt names it"):
        SBD(sbd, "val")
    label = sbd / "cls" / "2008_1.mat"
    label.write_bytes(label.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"2008_1\.mat: not a readable \.mat file"):
        SBD(sbd)[0]


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"other": 1}, "no struct GTcls"),
        ({"GTcls": np.zeros((4, 4))}, "no struct GTcls"),
        ({"GTcls": {"Boundaries": 1}}, "GTcls has no Segmentation, but Boundaries"),
        ({"GTcls": {"Segmentation": "text"}}, "is no .H, W. array of uint8"),
        ({"GTcls": {"Segmentation": np.zeros((4, 4))}}, "is no .H, W. array of uint8"),
        ({"GTcls": {"Segmentation": {"a": 1}}}, "is no .H, W. array of uint8"),
        ({"GTcls": {"Segmentation": np.full((24, 32), 21, np.uint8)}}, "label 21, expected 0–20"),
        ({"GTcls": {"Segmentation": np.zeros((4, 4), np.uint8)}}, r"\(4, 4\) labels for"),
    ],
)
def test_a_mat_file_of_something_else_is_refused(
    sbd: Path, variables: dict[str, Any], message: str
) -> None:
    scipy.io.savemat(sbd / "cls" / "2008_1.mat", variables)
    with pytest.raises(ValueError, match=rf"2008_1\.mat: .*{message}"):
        SBD(sbd)[0]
