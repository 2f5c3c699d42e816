"""Selective search: a tree of regions, whose order of merging is recomputed pixel by pixel."""

import numpy as np
import pytest
from scipy import ndimage

from fcn_tutorial.datasets import Scenes
from fcn_tutorial.prior import selective_search
from fcn_tutorial.prior.features import colour, patterns

pytest.importorskip("skimage")


@pytest.fixture(scope="module")
def scene():
    return np.asarray(Scenes(n=1, size=(48, 48))[0][0])


def test_every_region_is_two_neighbours_merged_and_the_last_is_the_picture(scene):
    parts, members = selective_search(scene)
    count = parts.max() + 1
    assert count > 10 and members.shape == (2 * count - 1, count)
    np.testing.assert_array_equal(members[:count], np.eye(count, dtype=bool))
    assert members[-1].all()
    free = list(members[:count])
    for merged in members[count:]:
        halves = [region for region in free if (region & merged).any()]
        assert len(halves) == 2 and not (halves[0] & halves[1]).any()
        np.testing.assert_array_equal(halves[0] | halves[1], merged)
        eight = np.ones((3, 3))  # Felzenszwalb's superpixels hold together by corners too
        assert ndimage.label(merged[parts], eight)[1] == 1
        free = [region for region in free if not (region & merged).any()] + [merged]


def test_the_two_that_are_merged_are_most_alike_of_all_neighbours(scene):
    """Every likeness anew at every step, from pixels."""
    lab, texture = colour(scene), patterns(scene)
    parts, members = selective_search(scene, 200)
    count, free = parts.max() + 1, [row[parts] for row in members[: parts.max() + 1]]

    def histograms(region):
        bins = ((0, 100), (-100, 100), (-100, 100))
        counts = [
            np.histogram(lab[region][:, c], 25, limits)[0] / (3 * region.sum())
            for c, limits in enumerate(bins)
        ]
        return np.concatenate(counts), texture[region].mean(0)

    def likeness(one, other):
        both = one | other
        shared = sum(
            np.minimum(a, b).sum() for a, b in zip(histograms(one), histograms(other), strict=True)
        )
        rows, columns = np.nonzero(both)
        box = (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
        return shared + 1 - both.sum() / both.size + 1 - (box - both.sum()) / both.size

    for merged in members[count:, :][:, parts]:
        halves = [region for region in free if (region & merged).any()]
        values = [
            likeness(a, b)
            for i, a in enumerate(free)
            for b in free[:i]
            if (ndimage.binary_dilation(a) & b).any()
        ]
        assert likeness(*halves) == pytest.approx(max(values), abs=1e-6)  # features are float32
        free = [region for region in free if not (region & merged).any()] + [merged]


def test_regions_of_many_sizes_fit_things_that_superpixels_break():
    """How well the best region fits each piece of a class, by intersection over union."""
    alone, merged = [], []
    for image, mask in Scenes(n=4, size=(64, 64)):
        parts, members = selective_search(image)
        regions = members[:, parts]
        for label in np.unique(mask):
            pieces, n = ndimage.label(np.asarray(mask) == label)
            for piece in (pieces == k + 1 for k in range(n)):
                if piece.sum() >= 30:
                    iu = (regions & piece).sum((1, 2)) / (regions | piece).sum((1, 2))
                    alone.append(iu[: parts.max() + 1].max())
                    merged.append(iu.max())
    assert np.mean(merged) > np.mean(alone) + 0.05


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (9, 3)])
def test_a_picture_of_one_superpixel_is_one_region(size):
    parts, members = selective_search(np.full((3, *size), 7, np.uint8))
    assert parts.shape == size and members.tolist() == [[True]]
