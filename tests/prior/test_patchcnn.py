"""The patch classifier: sliding it and passing once are the same answer at different costs."""

import numpy as np
import pytest
import torch

from fcn_tutorial.datasets import Scenes
from fcn_tutorial.prior import PatchCNN
from fcn_tutorial.prior.patchcnn import cost


@pytest.fixture(scope="module")
def fitted():
    return PatchCNN(12, pixels=300, epochs=1).fit(list(Scenes(n=3, size=(32, 40))))


def test_one_pass_gives_what_sliding_windows_give(fitted):
    image = np.asarray(Scenes(n=1, split="val", size=(32, 40))[0][0])[:, :20, :26]
    np.testing.assert_allclose(fitted.probabilities(image), fitted.by_windows(image), atol=1e-5)


def test_a_window_is_the_patch_around_its_pixel(fitted):
    """Cut by hand from the middle of a large picture: rows 17 to 62 around row 40."""
    image = np.random.default_rng(0).integers(0, 256, (3, 80, 80), np.uint8)
    patch = torch.from_numpy(image[:, 40 - 23 : 40 + 23, 44 - 23 : 44 + 23])
    with torch.no_grad():
        expected = fitted.network(fitted.preprocess(patch[None]))[0].softmax(0)
    np.testing.assert_allclose(fitted.probabilities(image)[:, 40, 44], expected, atol=1e-5)


def test_maps_are_the_convolutions_answers_where_their_windows_lie(fitted):
    """Cut by hand: 3×3 pixels for the first, and for the second, with its pooling, 8×8."""
    image = np.random.default_rng(0).integers(0, 256, (3, 40, 30), np.uint8)
    found = fitted.maps(image)
    assert found.shape == (40, 30, 72) and found.dtype == np.float32
    for layers, before, side, channels in ((2, 1, 3, slice(24)), (5, 4, 8, slice(24, 72))):
        rows, columns = (
            slice(17 - before, 17 - before + side),
            slice(11 - before, 11 - before + side),
        )
        cut = fitted.preprocess(torch.from_numpy(image[:, rows, columns].copy())[None])
        with torch.no_grad():
            expected = fitted.network.features[:layers](cut)[0, :, 0, 0]
        np.testing.assert_allclose(found[17, 11, channels], expected, atol=1e-5)  # float32


def test_sliding_costs_every_window_and_one_pass_a_small_part_of_that():
    """A window's products, layer by layer by hand; one pass reads each pixel's once."""
    window = 44**2 * 3 * 9 * 24 + 20**2 * 24 * 9 * 48 + 8**2 * 48 * 9 * 48 + 768 * 96 + 96 * 12
    found = cost(12, (64, 64))
    assert found.windows == 64 * 64 * window
    pixel = 3 * 9 * 24 + 24 * 9 * 48 + 48 * 9 * 48 + 768 * 96 + 96 * 12
    assert 64 * 64 * pixel <= found.one_pass < 2 * 64 * 64 * pixel
    assert found.windows > 30 * found.one_pass


def test_training_leaves_the_world_s_random_numbers_alone():
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    PatchCNN(12, pixels=64, epochs=1).fit(list(Scenes(n=1, size=(32, 32))))
    assert torch.equal(torch.rand(1), expected)
