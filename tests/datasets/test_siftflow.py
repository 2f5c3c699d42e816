"""SIFT Flow, on files the test writes as the official zip has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image

from fcn_tutorial.datasets import SIFTFlow
from fcn_tutorial.vision import tv_tensors, v2
from tests.datasets import official_siftflow as official

NAMES = ["coast_art1", "forest_for2", "highway_bost181", "street_par3", "tallbuilding_sky4"]
TEST = ["tallbuilding_sky4", "forest_for2"]
RNG = np.random.default_rng(0)
SEMANTIC = {name: RNG.integers(0, 34, (16, 20)) for name in NAMES}
SEMANTIC["street_par3"] = np.zeros((16, 20), int)  # nobody annotated it
GEOMETRIC = {name: RNG.choice([-1, 1, 2, 3], (16, 20)) for name in NAMES}


@pytest.fixture
def siftflow(tmp_path: Path) -> Path:
    return official.write_official(tmp_path / "sift", SEMANTIC, GEOMETRIC, TEST)


def label_file(root: Path, folder: str, name: str) -> Path:
    return root / folder / official.SUBFOLDER / f"{name}.mat"


def test_items_are_the_files_with_classes_from_zero_and_void_255(siftflow: Path) -> None:
    for task, stored in (("semantic", SEMANTIC), ("geometric", GEOMETRIC)):
        dataset = SIFTFlow(siftflow, "test", task)
        assert len(dataset) == 2
        for i, name in enumerate(TEST):
            image, mask = dataset[i]
            assert type(image) is tv_tensors.Image and type(mask) is tv_tensors.Mask
            assert image.dtype == mask.dtype == torch.uint8
            assert image.shape == (3, 16, 20) and (image == 40 + NAMES.index(name)).all()
            for at, label in np.ndenumerate(stored[name]):
                assert mask[at] == (255 if label <= 0 else label - 1)


def test_both_gives_the_two_masks_under_the_keys_of_a_two_headed_net(siftflow: Path) -> None:
    dataset = SIFTFlow(siftflow, "test", "both", v2.RandomHorizontalFlip(1.0))
    image, masks = dataset[1]
    assert list(masks) == ["semantic", "geometric"] == list(dataset.classes)
    for task, mask in masks.items():
        alone = SIFTFlow(siftflow, "test", task)
        assert torch.equal(mask, alone[1][1].flip(-1))
        assert dataset.classes[task] == alone.classes and dataset.palette[task] == alone.palette
    assert torch.equal(image, SIFTFlow(siftflow, "test")[1][0].flip(-1))


def test_trainval_is_what_is_annotated_and_not_in_the_test_list(siftflow: Path) -> None:
    # highway_bost181 has labels here, but the official file has none: it is left out by name.
    assert SIFTFlow(siftflow, "trainval").names == ["coast_art1"]
    for task in SIFTFlow.tasks:
        assert len(SIFTFlow(siftflow, "trainval", task)) == 1


def test_the_authors_lists_come_first(siftflow: Path) -> None:
    (siftflow / "trainval.txt").write_text("forest_for2\nstreet_par3\n")
    (siftflow / "test.txt").write_text("coast_art1\n")
    dataset = SIFTFlow(siftflow, "trainval")
    assert dataset.names == ["forest_for2", "street_par3"]
    assert (dataset[1][1] == 255).all()
    assert SIFTFlow(siftflow, "test").names == ["coast_art1"]


def test_classes_are_33_and_3_with_a_colour_each() -> None:
    assert len(SIFTFlow.classes) == len(set(SIFTFlow.palette)) == 33
    assert list(SIFTFlow.classes) == sorted(SIFTFlow.classes)  # as in the files
    assert SIFTFlow.geometric_classes == ("sky", "horizontal", "vertical")
    assert len(set(SIFTFlow.geometric_palette)) == 3
    assert set(SIFTFlow.absent_in_test) < set(SIFTFlow.classes)
    assert SIFTFlow.counts["trainval"] + SIFTFlow.counts["test"] + 2 == 2688


def test_a_geometric_data_set_shows_its_own_classes_and_leaves_the_others_alone(
    siftflow: Path,
) -> None:
    assert SIFTFlow(siftflow, "test", "geometric").classes == SIFTFlow.geometric_classes
    assert len(SIFTFlow(siftflow, "test").classes) == 33 == len(SIFTFlow.classes)


def test_errors_say_what_is_wrong(siftflow: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'val' is not one of trainval, test"):
        SIFTFlow(siftflow, "val")
    with pytest.raises(ValueError, match="'depth' is not one of semantic, geometric, both"):
        SIFTFlow(siftflow, "test", "depth")
    with pytest.raises(FileNotFoundError, match=r"TestSet1\.txt not found; .*SiftFlowDataset"):
        SIFTFlow(tmp_path)
    broken = label_file(siftflow, "GeoLabels", TEST[0])
    scipy.io.savemat(broken, {"S": np.full((16, 20), 4)})
    with pytest.raises(ValueError, match=r"sky4\.mat: labels 4 to 4, expected .* -1 to 3"):
        SIFTFlow(siftflow, "test", "both")[0]
    scipy.io.savemat(broken, {"S": np.full((16, 21), 3)})
    with pytest.raises(ValueError, match=r"sky4\.mat: \(16, 21\) labels for \(16, 20\) pixels"):
        SIFTFlow(siftflow, "test", "both")[0]
    scipy.io.savemat(broken, {"T": np.full((16, 20), 3)})
    with pytest.raises(ValueError, match=r"sky4\.mat: no label image in the variable S"):
        SIFTFlow(siftflow, "test", "geometric")[0]
    broken.unlink()
    with pytest.raises(FileNotFoundError, match=r"sky4\.mat not found"):
        SIFTFlow(siftflow, "test", "geometric")[0]
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(
        siftflow / "Images" / official.SUBFOLDER / "forest_for9.jpg"
    )
    with pytest.raises(FileNotFoundError, match=r"forest_for9\.mat not found"):
        SIFTFlow(siftflow, "trainval")
    (siftflow / "test.txt").write_text("forest_for2\nforest_for7\n")
    with pytest.raises(FileNotFoundError, match=r"forest_for7\.jpg not found; .*test\.txt, line 2"):
        SIFTFlow(siftflow, "test")
    for line in ("../../secret", "/etc/secret", "C:\\secret", "a/../../../secret"):
        (siftflow / "test.txt").write_text(f"forest_for2\n{line}\n")
        with pytest.raises(ValueError, match=r"test\.txt, line 2"):
            SIFTFlow(siftflow, "test")


@pytest.mark.parametrize("kind", ["Images", "SemanticLabels", "GeoLabels", "TestSet1.txt"])
def test_damaged_files_give_the_documented_errors(siftflow: Path, kind: str) -> None:
    path = siftflow / kind
    if path.is_dir():
        suffix = ".jpg" if kind == "Images" else ".mat"
        path = path / official.SUBFOLDER / f"{TEST[0]}{suffix}"
    whole, refused = path.read_bytes(), 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        data = bytearray(whole)
        for at in rng.integers(0, len(data), rng.integers(1, 6)):
            data[at] = int(rng.integers(256))
        path.write_bytes(data[: int(rng.integers(len(data)))] if seed % 4 == 0 else data)
        try:
            image, masks = SIFTFlow(siftflow, "test", "both")[0]
            assert image.shape[1:] == masks["semantic"].shape == masks["geometric"].shape
        except (ValueError, FileNotFoundError) as error:
            assert path.name in str(error)
            refused += 1
    assert refused >= 10
