"""The ISBI challenge's errors, against counting pairs, scikit-image, and topology by itself."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy import ndimage

from fcn_tutorial.metrics import cells, rand_error, warping_error


@pytest.mark.parametrize("seed", range(3))
def test_rand_error_counts_pairs(seed: int) -> None:
    random = np.random.default_rng(seed)
    truth, found = random.integers(0, 4, (6, 7)), random.integers(0, 3, (6, 7))
    pixels = [(int(t), int(p)) for t, p in zip(truth.flat, found.flat, strict=True) if t]
    pairs = [(a[0] == b[0], a[1] == b[1]) for a, b in combinations(pixels, 2)]
    both = sum(t and p for t, p in pairs)
    precision, recall = both / sum(p for _, p in pairs), both / sum(t for t, _ in pairs)
    wanted = 1 - 2 * precision * recall / (precision + recall)
    assert rand_error(truth, found) == pytest.approx(wanted)
    assert rand_error(truth, truth) == 0


def test_rand_error_is_that_of_scikit_image() -> None:
    metrics = pytest.importorskip("skimage.metrics")
    random = np.random.default_rng(0)
    truth, found = random.integers(0, 9, (40, 50)), random.integers(0, 12, (40, 50))
    expected, _, _ = metrics.adapted_rand_error(truth, found)
    assert rand_error(truth, found) == pytest.approx(expected)


def two_cells() -> np.ndarray:  # type: ignore[type-arg]
    """A membrane, three pixels wide, between two cells."""
    picture = np.ones((20, 30), bool)
    picture[:, 14:17] = False
    return picture


def test_a_gap_in_a_membrane_costs_much_where_pixels_notice_little() -> None:
    truth, found = two_cells(), two_cells()
    found[10, :] = True
    assert (truth != found).mean() == 0.005
    assert rand_error(cells(truth), cells(found)) > 0.3
    assert warping_error(truth, found) == pytest.approx(1 / truth.size)  # the last pixel joins them


def test_bent_borders_cost_nothing_and_new_regions_do() -> None:
    truth = two_cells()
    bent = np.ones_like(truth)
    for row in range(20):
        shift = round(3 * np.sin(row / 3))
        bent[row, 14 + shift : 17 + shift] = False
    assert (truth != bent).mean() > 0.05 and warping_error(truth, bent) == 0
    dotted = truth.copy()
    dotted[5, 5] = dotted[12, 25] = False  # two holes in cells
    assert warping_error(truth, dotted) == pytest.approx(2 / truth.size)
    assert warping_error(truth, truth) == 0


@pytest.mark.parametrize("seed", range(3))
def test_each_cell_too_many_or_too_few_costs_a_pixel_at_least(seed: int) -> None:
    """Bending borders makes and removes no cell; and it never adds a difference."""
    random = np.random.default_rng(seed)
    truth = ndimage.gaussian_filter(random.normal(size=(30, 30)), 2) > 0
    found = ndimage.gaussian_filter(random.normal(size=(30, 30)), 2) > 0
    error = warping_error(truth, found)
    assert 0 <= error <= (truth != found).mean()
    number = [ndimage.label(picture)[1] for picture in (truth, found)]
    assert error * truth.size >= abs(number[0] - number[1]) - 1e-9


def test_what_cannot_be_compared_is_named() -> None:
    with pytest.raises(ValueError, match="both must be"):
        rand_error(np.ones((2, 3), int), np.ones((3, 2), int))
    with pytest.raises(ValueError, match="no two pixels"):
        rand_error(np.zeros((2, 3), int), np.ones((2, 3), int))
