"""Regions: what they teach, what is said of them, and that the surest is pasted last."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from fcn_tutorial.datasets import Scenes
from fcn_tutorial.models import backbones
from fcn_tutorial.prior import Regions
from fcn_tutorial.prior.regions import in_box, in_region, pasted, trunk_maps
from fcn_tutorial.transforms import Preprocess

PARTS = np.array([[0, 0, 1, 1], [0, 2, 2, 1], [3, 3, 3, 3]])
MEMBERS = np.array([[1, 0, 0, 0], [0, 0, 1, 0], [1, 0, 1, 0], [0, 1, 0, 1]], bool)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([[0.6, 0.3, 0.1], [0.1, 0.7, 0.2], [0.1, 0.25, 0.65]], [2, 1]),
        ([[0.6, 0.3, 0.1], [0.1, 0.7, 0.2], [0.0, 0.1, 0.9]], [2, 2]),
        ([[0.6, 0.3, 0.1], [0.1, 0.7, 0.2], [0.2, 0.3, 0.5]], [0, 1]),
    ],
)
def test_the_surest_region_lies_on_top(scores, expected):
    """Two superpixels and their union."""
    members = np.array([[True, False], [False, True], [True, True]])
    assert pasted(np.array(scores), members).tolist() == expected


def test_a_region_is_described_by_its_own_pixels_and_by_those_in_its_box():
    maps = np.random.default_rng(0).normal(size=(3, 4, 5))
    boxes = [slice(0, 2), slice(0, 2)], [slice(1, 2), slice(1, 3)], [slice(0, 2), slice(0, 3)]
    for number, box in enumerate(boxes):
        inside = maps[tuple(box)].reshape(-1, 5)
        expected = [*inside.mean(0), *inside.std(0)]
        np.testing.assert_allclose(in_box(maps, PARTS, MEMBERS)[number], expected, atol=1e-7)
        inside = maps[MEMBERS[number][PARTS]]
        expected = [*inside.mean(0), *inside.std(0)]
        np.testing.assert_allclose(in_region(maps, PARTS, MEMBERS)[number], expected, atol=1e-7)


def test_a_mixed_region_is_a_negative_of_every_class_and_a_mixed_superpixel_is_not():
    counts = np.array([[6, 4], [19, 0], [0, 0], [0, 2]])  # pixels of two classes, by superpixel
    members = np.vstack([np.eye(4, dtype=bool), [[1, 1, 0, 0], [0, 1, 0, 1], [0, 1, 1, 0]]])
    taught = Regions(2)._taught(counts, members.astype(bool))
    # 25 of 29 are too few, 19 of 21 are enough
    assert taught.tolist() == [0, 0, -1, 1, 2, 0, 0]


def test_a_trunk_describes_pixels_by_the_features_around_them():
    """Against SciPy's linear interpolation at the places that the trunk's layers give."""
    torch.manual_seed(0)
    network = backbones.make("mobilenet_v2", width=0.25).eval()
    image = np.random.default_rng(0).integers(0, 256, (3, 70, 90), np.uint8)
    taps = network(Preprocess(network.preprocessing)(torch.from_numpy(image)[None]))
    expected = []
    for stride in (8, 16):
        scale, centre = network.coordinate_map(stride)
        rows, columns = ((np.arange(n) - float(centre)) / float(scale) for n in (70, 90))
        places = np.meshgrid(rows, columns, indexing="ij")
        for tap in taps[stride][0].detach().double().numpy():
            expected.append(ndimage.map_coordinates(tap, places, order=1, mode="nearest"))
    np.testing.assert_allclose(trunk_maps(network, image), np.dstack(expected), atol=1e-5)


def test_regions_of_a_trunk_learn_and_leave_it_alone():
    pytest.importorskip("skimage")
    scenes = Scenes(n=2, size=(32, 48))
    torch.manual_seed(0)
    network = backbones.make("tiny", width=0.25)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    labels = [
        Regions(len(Scenes.classes), images=2, network=network).fit(scenes).predict(scenes[0][0])
        for _ in range(2)
    ]
    assert np.array_equal(*labels) and not network.training
    truth = np.asarray(scenes[0][1])
    commonest = np.bincount(truth[truth != 255]).max() / (truth != 255).sum()
    assert (labels[0] == truth)[truth != 255].mean() > commonest + 0.2
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match="view='mask' is not one of full, fg"):
        Regions(3, views=("mask",))
    with pytest.raises(ValueError, match=r"views=\(\): name at least one"):
        Regions(3, views=())
    with pytest.raises(ValueError, match="patches=0"):
        Regions(3, patches=0)
