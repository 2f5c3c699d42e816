"""NYUDv2, on files the test writes in the two layouts it comes in."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image

from fcn_tutorial.datasets import NYUDv2
from fcn_tutorial.datasets.hha import Camera, hha
from fcn_tutorial.transforms import HHA, Depth
from fcn_tutorial.vision import tv_tensors, v2
from tests.datasets import official_nyud as official

FRAMES = official.frames()
TRAIN, TEST = [2, 5, 6, 1], [3, 4]  # from 1, as in splits.mat
LABELLED = "nyu_depth_v2_labeled.mat"


@pytest.fixture
def nyud(tmp_path: Path) -> Path:
    root = official.write_official(tmp_path / "nyud", FRAMES, TRAIN, TEST)
    (root / "train.txt").write_text("5006\n5002\n")
    (root / "val.txt").write_text("5005\nimg_5001\n")
    return root


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    pictures = np.random.default_rng(3).integers(0, 256, FRAMES.images.shape, np.uint8)
    root = official.write_prepared(tmp_path / "prepared", FRAMES, pictures)
    (root / "trainval.txt").write_text("5006\n5002\n5005\n5001\n")
    (root / "test.txt").write_text("5003\n5004\n")
    return root


def expected_mask(frame: int) -> np.ndarray:
    """Label by label: 0 is void, and class c of the mapping file is c − 1."""
    table = official.mapping()
    mask = np.empty(FRAMES.labels.shape[1:], np.uint8)
    for at, label in np.ndenumerate(FRAMES.labels[frame]):
        mask[at] = 255 if label == 0 else table[label - 1] - 1
    return mask


def test_items_are_the_frames_turned_upright_with_forty_classes(nyud: Path) -> None:
    dataset = NYUDv2(nyud, "test")
    assert len(dataset) == 2
    for item, frame in enumerate((2, 3)):
        image, mask = dataset[item]
        assert type(image) is tv_tensors.Image and type(mask) is tv_tensors.Mask
        assert image.dtype == mask.dtype == torch.uint8
        assert np.array_equal(image.permute(1, 2, 0).numpy(), FRAMES.images[frame])
        assert np.array_equal(mask.numpy(), expected_mask(frame))


def test_the_two_layouts_give_the_same_items(nyud: Path, prepared: Path) -> None:
    for modality in ("rgb", "depth"):
        one, other = NYUDv2(nyud, "test", modality), NYUDv2(prepared, "test", modality)
        for (a, mask_a), (b, mask_b) in zip(one, other, strict=True):
            assert type(a) is type(b) and torch.equal(mask_a, mask_b)
            # whole millimetres in the one
            torch.testing.assert_close(a.as_subclass(torch.Tensor), b.as_subclass(torch.Tensor),
                                       atol=0.00051, rtol=0)  # fmt: skip


def test_prepared_hha_is_the_stored_picture(prepared: Path) -> None:
    picture, _ = NYUDv2(prepared, "test", "hha")[1]
    stored = np.array(Image.open(prepared / "data/hha/img_5004.png"))
    assert type(picture) is HHA
    assert np.array_equal(picture.permute(1, 2, 0).numpy(), stored)


def test_modalities_have_the_types_channels_and_units_documented(nyud: Path) -> None:
    depth, _ = NYUDv2(nyud, "test", "depth")[0]
    assert type(depth) is Depth and depth.dtype == torch.float32 and depth.shape == (1, 24, 32)
    assert np.array_equal(depth[0].numpy(), FRAMES.depths[2])
    both, _ = NYUDv2(nyud, "test", "rgbd")[0]
    assert list(both) == ["rgb", "depth"] and torch.equal(both["depth"], depth)
    late, _ = NYUDv2(nyud, "test", "rgb-hha")[0]
    assert list(late) == ["rgb", "hha"] and type(late["hha"]) is HHA
    assert late["hha"].dtype == torch.uint8 and late["hha"].shape == (3, 24, 32)


def test_hha_uses_the_kinect_scaled_to_the_frame_and_the_raw_holes(nyud: Path) -> None:
    picture, _ = NYUDv2(nyud, "test", "hha")[0]
    s = 24 / 480
    camera = Camera(518.857901 * s, 519.469611 * s, 325.082449 * s - 0.5, 253.236166 * s - 0.5)
    expected = hha(FRAMES.depths[2], camera, FRAMES.raw[2] == 0)
    assert np.array_equal(picture.permute(1, 2, 0).numpy(), expected)
    other, _ = NYUDv2(nyud, "test", "hha", camera=Camera(20, 20, 3, 4))[0]
    expected = hha(FRAMES.depths[2], Camera(20, 20, 3, 4), FRAMES.raw[2] == 0)
    assert np.array_equal(other.permute(1, 2, 0).numpy(), expected)


def test_the_valid_region_is_425_by_560_of_the_official_frame(tmp_path: Path) -> None:
    given = official.frames(1, (480, 640))
    rows, columns = np.mgrid[:480, :640]
    ramp = (1.5 + rows / 480 + columns / 1280).astype(np.float32)
    given = given._replace(depths=ramp[None], raw=ramp[None])
    root = official.write_official(tmp_path, given, [1], [1])
    region = NYUDv2.valid_region
    image, mask = NYUDv2(root, "test", crop=region)[0]
    # MATLAB's I(46:470, 41:600), as public code of Gupta et al. and its users has it
    assert np.array_equal(image.permute(1, 2, 0).numpy(), given.images[0][45:470, 40:600])
    assert mask.shape == (425, 560)
    picture, _ = NYUDv2(root, "test", "hha", crop=region)[0]
    camera = Camera(518.857901, 519.469611, 284.582449, 207.736166)  # the centre moves by 40, 45
    expected = hha(ramp[45:470, 40:600], camera)
    assert np.array_equal(picture.permute(1, 2, 0).numpy(), expected)


def test_splits_are_those_of_the_files(nyud: Path) -> None:
    frames = {split: NYUDv2(nyud, split).frames for split in NYUDv2.splits}
    assert frames == {"train": [5, 1], "val": [4, 0], "trainval": [5, 1, 4, 0], "test": [2, 3]}
    (nyud / "train.txt").unlink()
    assert NYUDv2(nyud, "train").frames == [1, 5]  # trainNdxs without val.txt
    assert NYUDv2(nyud, "trainval").frames == [1, 4, 5, 0]
    (nyud / "val.txt").unlink()
    assert NYUDv2(nyud, "train").frames == [1, 4, 5, 0]
    with pytest.raises(FileNotFoundError, match=r"val\.txt not found; the 414 frames"):
        NYUDv2(nyud, "val")
    (nyud / "splits.mat").unlink()
    with pytest.raises(FileNotFoundError, match=r"splits\.mat not found; it, or test\.txt"):
        NYUDv2(nyud, "test")


def test_the_documented_splits_add_up() -> None:
    counts = NYUDv2.counts
    assert counts["train"] + counts["val"] == counts["trainval"] == 795
    assert counts["trainval"] + counts["test"] == 1449


def test_there_are_forty_classes_of_forty_colours() -> None:
    assert len(NYUDv2.classes) == len(set(NYUDv2.classes)) == 40
    assert len(NYUDv2.palette) == len(set(NYUDv2.palette)) == 40
    # three of the VOC colours, as its development kit prints them
    assert [NYUDv2.palette[i] for i in (0, 4, 14)] == [(128, 0, 0), (128, 0, 128), (192, 128, 128)]


def test_transforms_move_depth_and_hha_and_change_the_colour_of_rgb_only(nyud: Path) -> None:
    torch.manual_seed(0)
    jitter = v2.Compose([v2.RandomHorizontalFlip(1.0), v2.RandomPhotometricDistort(p=1.0)])
    for modality, name in (("rgbd", "depth"), ("rgb-hha", "hha")):
        plain, mask = NYUDv2(nyud, "test", modality)[0]
        item, moved = NYUDv2(nyud, "test", modality, jitter)[0]
        assert torch.equal(moved, mask.flip(-1))
        assert type(item[name]) is type(plain[name])
        assert torch.equal(item[name], plain[name].flip(-1))
        assert not torch.equal(item["rgb"], plain["rgb"].flip(-1))
    alone, _ = NYUDv2(nyud, "test", "hha", v2.ColorJitter(0.9, 0.9, 0.9, 0.5))[0]
    assert torch.equal(alone, NYUDv2(nyud, "test", "hha")[0][0])


def test_depth_is_never_interpolated_and_hha_is(nyud: Path) -> None:
    resize = v2.Resize((50, 70), antialias=True)
    both, _ = NYUDv2(nyud, "test", "rgbd", resize)[0]
    assert both["depth"].shape == (1, 50, 70) and both["rgb"].shape == (3, 50, 70)
    assert set(both["depth"].unique().tolist()) <= set(FRAMES.depths[2].ravel().tolist())
    picture, _ = NYUDv2(nyud, "test", "hha", resize)[0]
    assert type(picture) is HHA and picture.shape == (3, 50, 70)


def test_workers_read_what_the_parent_reads(nyud: Path) -> None:
    dataset = NYUDv2(nyud, "trainval")
    here = [dataset[i] for i in range(4)]  # before the fork, so that a shared handle would show
    loader = torch.utils.data.DataLoader(dataset, batch_size=None, num_workers=2)
    for (image, mask), (other, other_mask) in zip(here, loader, strict=True):
        assert torch.equal(image, other) and torch.equal(mask, other_mask)


def test_errors_say_what_is_wrong(nyud: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'all' is not one of train, val, trainval, test"):
        NYUDv2(nyud, "all")
    with pytest.raises(ValueError, match="'xyz' is not one of rgb, depth, hha, rgbd, rgb-hha"):
        NYUDv2(nyud, "test", "xyz")
    with pytest.raises(FileNotFoundError, match=f"{LABELLED} not found, nor the folder segm"):
        NYUDv2(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match=r"crop=\(0, 0, 25, 32\) does not fit frames of \(24, 32"):
        NYUDv2(nyud, "test", crop=(0, 0, 25, 32))[0]
    with pytest.raises(ValueError, match=r"crop=\(0, -1, 2, 2\): expected \(top"):
        NYUDv2(nyud, "test", crop=(0, -1, 2, 2))
    (nyud / "test.txt").write_text("5003\n\n../../x\n")
    with pytest.raises(ValueError, match=r"test\.txt, line 3: '../../x', expected a number"):
        NYUDv2(nyud, "test")
    (nyud / "test.txt").write_text("5007\n")
    with pytest.raises(ValueError, match="6 frames, and the split asks for frame 7"):
        NYUDv2(nyud, "test")
    (nyud / "test.txt").unlink()
    scipy.io.savemat(nyud / "splits.mat", {"trainNdxs": [[1]], "testNdxs": [[0.5]]})
    with pytest.raises(ValueError, match=r"splits\.mat: testNdxs is no list of frames"):
        NYUDv2(nyud, "test")
    scipy.io.savemat(nyud / "splits.mat", {"x": [[1]]})
    with pytest.raises(ValueError, match=r"splits\.mat: no variable testNdxs"):
        NYUDv2(nyud, "test")
    scipy.io.savemat(nyud / "classMapping40.mat", {"mapClass": official.mapping()[None, :500]})
    with pytest.raises(
        ValueError, match=r"labels \d+ to 89\d, and classMapping40\.mat knows 0 to 500"
    ):
        NYUDv2(nyud, "val")[0]
    (nyud / "classMapping40.mat").unlink()
    with pytest.raises(FileNotFoundError, match=r"classMapping40\.mat not found; it maps"):
        NYUDv2(nyud, "val")


def test_errors_of_the_prepared_folder_name_the_file(prepared: Path) -> None:
    label = prepared / "segmentation/img_5003.mat"
    scipy.io.savemat(label, {"segmentation": np.full((24, 32), 41, np.uint8)})
    with pytest.raises(ValueError, match=r"img_5003\.mat: a label other than 0 to 40"):
        NYUDv2(prepared, "test")[0]
    scipy.io.savemat(label, {"segmentation": np.ones((24, 31), np.uint8)})
    with pytest.raises(ValueError, match=r"img_5003\.mat: frame 2 has \(24, 31\) labels"):
        NYUDv2(prepared, "test")[0]
    (prepared / "data/depth/img_5004.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"img_5004\.png: not a readable image"):
        NYUDv2(prepared, "test", "depth")[1]
    (prepared / "data/images/img_5004.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"images.img_5004\.png not found; the split"):
        NYUDv2(prepared, "test")


@pytest.mark.parametrize("trick", ["external link", "external data", "virtual", "chunk", "group"])
def test_arrays_that_lead_elsewhere_or_are_huge_are_refused(nyud: Path, trick: str) -> None:
    path, secret = nyud / LABELLED, nyud.parent / "secret.h5"
    shape = FRAMES.labels.transpose(0, 2, 1).shape
    shutil.copy(path, secret)
    with h5py.File(path, "r+") as file:
        del file["labels"]
        if trick == "external link":
            file["labels"] = h5py.ExternalLink(str(secret), "labels")
        elif trick == "external data":
            file.create_dataset("labels", shape, "u2", external=[(str(secret), 0, 100_000)])
        elif trick == "virtual":
            layout = h5py.VirtualLayout(shape, "u2")
            layout[:] = h5py.VirtualSource(str(secret), "labels", shape)
            file.create_virtual_dataset("labels", layout)
        elif trick == "chunk":
            file.create_dataset(
                "labels", shape, "u2", chunks=(6, 10_000, 10_000), maxshape=(None,) * 3
            )
        else:
            file.create_group("labels")
    with pytest.raises(ValueError, match=f"{LABELLED}: not readable .*labels"):
        NYUDv2(nyud, "test")
