"""Generated scenes: the same everywhere, well formed, and not given away by their colours."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.utils.data import DataLoader

import fcn_tutorial._torchvision  # noqa: F401
from fcn_tutorial.datasets import Scenes
from fcn_tutorial.datasets.scenes import render, void_borders

# isort: split
from torchvision import tv_tensors
from torchvision.transforms import v2

CLASSES = len(Scenes.classes)
GROUND = ("road", "pavement", "grass", "water")


def digest(item):
    return hashlib.sha256(b"".join(np.asarray(part).tobytes() for part in item)).hexdigest()


@pytest.fixture(scope="module")
def many():
    """Masks (240, 64, 64) and images (240, 3, 64, 64) of the training split."""
    scenes = Scenes(n=240, size=(64, 64))
    images, masks = zip(*(scenes[i] for i in range(240)), strict=True)
    return np.stack([np.asarray(m) for m in masks]), np.stack([np.asarray(i) for i in images])


def test_an_item_is_an_image_and_a_mask_of_the_stated_types():
    image, mask = Scenes(n=3, size=(48, 80))[1]
    assert isinstance(image, tv_tensors.Image) and isinstance(mask, tv_tensors.Mask)
    assert image.dtype == mask.dtype == torch.uint8
    assert image.shape == (3, 48, 80) and mask.shape == (48, 80)
    assert image.is_contiguous() and mask.is_contiguous()


def test_class_attributes_agree():
    assert len(set(Scenes.classes)) == CLASSES == len(Scenes.palette) == 12
    assert Scenes.ignore_index == 255
    assert {"sky", "road", "building", "tree", "car", "person", "pole", "sign"} <= set(
        Scenes.classes
    )


def test_palette_colours_are_told_apart():
    colours = np.array(Scenes.palette, float)
    gaps = np.abs(colours[:, None] - colours[None]).sum(-1) + 1000 * np.eye(CLASSES)
    assert gaps.min() > 60


def test_a_scene_does_not_depend_on_the_order_or_on_the_number_of_scenes():
    forwards = [digest(item) for item in Scenes(n=6, size=(40, 40))]
    longer = Scenes(n=50, size=(40, 40))
    backwards = [digest(longer[i]) for i in reversed(range(6))]
    assert forwards == backwards[::-1]
    assert len(set(forwards)) == 6


def test_a_scene_is_the_same_in_another_process_and_in_workers():
    scenes = Scenes(n=4, split="val", size=(40, 56), seed=3)
    here = [digest(item) for item in scenes]
    program = (
        "import hashlib, numpy as np\n"
        "from fcn_tutorial.datasets import Scenes\n"
        "for item in Scenes(n=4, split='val', size=(40, 56), seed=3):\n"
        "    print(hashlib.sha256(b''.join(np.asarray(p).tobytes() for p in item)).hexdigest())\n"
    )
    there = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert there.stdout.decode().split() == here
    loader = DataLoader(scenes, batch_size=None, num_workers=2)
    assert [digest(item) for item in loader] == here


def test_no_scene_is_in_two_splits_or_two_seeds():
    seen = [
        digest(item)
        for split in ("train", "val", "test")
        for seed in (0, 1)
        for item in Scenes(n=15, split=split, size=(32, 32), seed=seed)
    ]
    assert len(set(seen)) == len(seen)


def test_iteration_ends_and_negative_indices_count_from_the_end():
    scenes = Scenes(n=3, size=(32, 32))
    assert len(list(scenes)) == len(scenes) == 3
    assert digest(scenes[-1]) == digest(scenes[2])
    for index in (3, -4):
        with pytest.raises(IndexError, match=f"index {index} is outside the 3 scenes"):
            scenes[index]


@pytest.mark.parametrize(
    "size", [(32, 32), (33, 47), (32, 300), (300, 32), (96, 128), (180, 240), (256, 128)]
)
def test_any_size_from_32_pixels_up(size):
    for index in range(4):
        image, mask = Scenes(n=4, size=size)[index]
        assert image.shape[1:] == mask.shape == size
        labels = np.unique(mask)
        assert set(labels.tolist()) <= {*range(CLASSES), 255}
        assert np.asarray(image).std() > 5


def test_the_size_changes_the_resolution_and_not_the_scene():
    for index in range(8):
        small = render(0, "val", index, (96, 96))[1]
        large = render(0, "val", index, (192, 192))[1]
        # What differs is foliage, borders, and posts, which are drawn at least 2 pixels wide.
        assert (large[::2, ::2] == small).mean() > 0.9


@pytest.mark.filterwarnings("error")
def test_rendering_divides_by_nothing_and_overflows_nowhere():
    for index in range(60):
        render(7, "train", index, (48, 64))


@pytest.mark.parametrize(
    ("wrong", "remedy"),
    [
        ({"split": "training"}, "split='training': use one of 'train'"),
        ({"size": (16, 128)}, r"size=\(16, 128\): give \(height, width\), both at least 32"),
        ({"seed": -1}, "seed=-1: use an integer from 0"),
        ({"n": 0}, "n=0: ask for at least one scene"),
        ({"task": "depth"}, "task='depth': use 'semantic' or 'geometric'"),
    ],
)
def test_a_wrong_argument_is_named_with_its_remedy(wrong, remedy):
    with pytest.raises(ValueError, match=remedy):
        Scenes(**wrong)


def test_transforms_see_image_and_mask_together():
    plain = Scenes(n=2, size=(32, 48))[1]
    flipped = Scenes(n=2, size=(32, 48), transforms=v2.RandomHorizontalFlip(p=1.0))[1]
    assert torch.equal(flipped[0], plain[0].flip(-1))
    assert torch.equal(flipped[1], plain[1].flip(-1))


def test_geometric_labels_coarsen_the_semantic_ones():
    semantic, geometric = (Scenes(n=9, size=(64, 96), task=t) for t in ("semantic", "geometric"))
    assert geometric.classes == ("sky", "horizontal", "vertical") == Scenes.geometric_classes
    assert len(geometric.palette) == 3 and len(semantic.classes) == 12
    kind = [0 if c == "sky" else 1 if c in GROUND else 2 for c in Scenes.classes]
    for (image, fine), (same, coarse) in zip(semantic, geometric, strict=True):
        assert torch.equal(image, same)
        fine, coarse = np.asarray(fine), np.asarray(coarse)
        both = (fine != 255) & (coarse != 255)
        np.testing.assert_array_equal(np.array(kind)[fine[both]], coarse[both])
        # Kerbs and the like are no border between surfaces, so there is less void.
        assert (coarse == 255).sum() <= (fine == 255).sum()


def test_every_class_occurs_often_enough(many):
    masks, _ = many
    counts = np.bincount(masks.ravel(), minlength=256)
    share = counts / counts.sum()
    scenes = np.array([(masks == c).any(axis=(1, 2)).mean() for c in range(CLASSES)])
    for name, pixels, present in zip(Scenes.classes, share, scenes, strict=False):
        assert pixels > 0.003, f"{name} has {pixels:.2%} of the pixels"
        assert present > 0.2, f"{name} is in {present:.0%} of the scenes"
    thin = [Scenes.classes.index(name) for name in ("person", "pole", "sign")]
    assert share[thin].max() < 0.03, "the thin classes are meant to be rare"
    assert 0.02 < share[255] < 0.15


def test_void_is_a_band_of_one_pixel_where_two_classes_meet():
    """From the rendered labels: void touches another class, and every border has some."""
    for index in range(12):
        labels = render(0, "test", index, (96, 128))[1].astype(int)
        mask = void_borders(labels.astype(np.uint8))
        cross = ndimage.generate_binary_structure(2, 1)
        high = ndimage.maximum_filter(labels, footprint=cross, mode="nearest")
        np.testing.assert_array_equal(mask == 255, high > labels)
        np.testing.assert_array_equal(mask[mask != 255], labels[mask != 255])
        # No two neighbours with different classes are both scored.
        for a, b in ((mask[1:], mask[:-1]), (mask[:, 1:], mask[:, :-1])):
            assert not ((a != b) & (a != 255) & (b != 255)).any()


@pytest.mark.parametrize(("side", "width"), [(32, 1), (128, 1), (256, 2), (500, 4)])
def test_the_void_band_grows_with_the_image(side, width):
    labels = np.zeros((side, side), np.uint8)
    labels[:, side // 2 :] = 3
    mask = void_borders(labels)
    assert ((mask == 255).sum(axis=1) == width).all()
    assert (mask[:, side // 2 :] == 3).all(), "the class in front keeps its pixels"


def test_thin_things_keep_their_pixels():
    """Void never falls on a pole beside anything but a sign, however thin the pole."""
    pole, sign = Scenes.classes.index("pole"), Scenes.classes.index("sign")
    kept = total = 0
    for index in range(40):
        labels = render(0, "train", index, (128, 128))[1]
        mask = void_borders(labels)
        total += (labels == pole).sum()
        kept += ((labels == pole) & (mask == pole)).sum()
        lost = (labels == pole) & (mask == 255)
        assert not (lost & ~ndimage.binary_dilation(labels == sign)).any()
        widths = [(run == pole).sum() for run in mask if (run == pole).any()]
        assert not widths or max(widths) < 64
    assert kept > 0.9 * total > 0


def test_poles_are_at_least_two_pixels_wide():
    """Along image rows: narrower runs are the rare ones with something in front."""
    pole = Scenes.classes.index("pole")
    runs = []
    for index in range(40):
        labels = render(0, "train", index, (128, 128))[1]
        for row in labels[60:]:
            edges = np.flatnonzero(np.diff(np.concatenate([[0], row == pole, [0]])))
            runs += list(edges[1::2] - edges[::2])
    assert 2 <= np.median(runs) <= 5
    assert np.mean(np.array(runs) < 2) < 0.1


def test_sky_lies_above_the_ground():
    for index in range(30):
        labels = render(0, "train", index, (64, 64))[1]
        ground = np.isin(labels, [Scenes.classes.index(name) for name in GROUND])
        assert not ground[:20].any()  # the horizon is at 36 % or lower
        assert not (labels[40:] == 0).any()  # and at 54 % or higher


def test_things_shrink_with_distance():
    """People whose feet are lower in the image, hence nearer, are taller."""
    person = Scenes.classes.index("person")
    feet, heights = [], []
    for index in range(80):
        labels = render(0, "train", index, (128, 128))[1]
        parts, _ = ndimage.label(labels == person)
        for box in ndimage.find_objects(parts):
            if box[0].stop < 127:
                feet.append(box[0].stop)
                heights.append(box[0].stop - box[0].start)
    assert len(feet) > 50
    assert np.corrcoef(feet, heights)[0, 1] > 0.6


def test_mean_colours_of_the_greys_and_of_the_greens_overlap(many):
    """Between these classes, mean colours differ by less than they spread from scene to scene."""
    masks, images = many
    for pair in (("road", "pavement"), ("road", "building"), ("grass", "tree"), ("car", "pole")):
        means = []
        for name in pair:
            here = masks == Scenes.classes.index(name)
            means.append(
                np.array(
                    [i[:, h].mean(1) for i, h in zip(images, here, strict=True) if h.sum() > 9]
                )
            )
        gap = np.abs(means[0].mean(0) - means[1].mean(0))
        spread = (means[0].std(0) + means[1].std(0)) / 2
        assert (gap < 1.5 * spread).all(), (pair, gap, spread)
