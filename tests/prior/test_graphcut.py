"""Graph cuts against brute force over every labelling of a small grid."""

import itertools

import numpy as np
import pytest

from fcn_tutorial.prior.graphcut import (
    Cut,
    Weights,
    contrast_weights,
    energy,
    expand,
    grab_cut,
    min_cut,
)


def problem(rng, labels, height=3, width=3, strength=1.0):
    """Energies in whole thousandths, which a cut is exact for."""

    def draw(*shape):
        return rng.integers(0, 1000, shape) / 1000

    down, across = draw(height - 1, width), draw(height, width - 1)
    return draw(labels, height, width), Weights(strength * down, strength * across)


def least(unary, weights):
    """The least energy of all labellings, each summed by hand."""
    labels, height, width = unary.shape
    best = np.inf
    for flat in itertools.product(range(labels), repeat=height * width):
        x = np.array(flat).reshape(height, width)
        total = sum(unary[x[i], *i] for i in np.ndindex(height, width))
        total += (weights.down * (x[1:] != x[:-1])).sum()
        total += (weights.across * (x[:, 1:] != x[:, :-1])).sum()
        best = min(best, total)
    return best


@pytest.mark.parametrize("seed", range(12))
def test_a_cut_of_two_labels_is_the_least_of_all(seed):
    unary, weights = problem(np.random.default_rng(seed), 2, 3, 3)
    assert energy(min_cut(unary, weights), unary, weights) == pytest.approx(least(unary, weights))


def test_a_cut_of_three_thousand_pixels_is_as_low_as_another_librarys():
    """The minimum is from PyMaxflow 1.3.2 (Boykov and Kolmogorov), which is GPL and no dependency.

    Its graph: `add_grid_nodes((48, 64))`, a `tedge` a pixel, an edge both ways a pair.
    """
    y, x = np.mgrid[0:48, 0:64]
    unary = np.stack([(7 * y * x + 3 * x + 11 * y) % 1009, (5 * y * y + 13 * x) % 997]) / 1000
    down, across = (31 * y + 17 * x) % 503, (19 * y + 43 * x) % 499
    weights = Weights(down[:-1] / 1000, across[:, :-1] / 1000)
    labels = min_cut(unary, weights)
    assert energy(labels, unary, weights) == pytest.approx(1338.441, abs=1e-6)
    assert energy(unary.argmin(0), unary, weights) > 1400  # each pixel for itself
    assert min(energy(np.full_like(labels, one), unary, weights) for one in (0, 1)) > 1400


@pytest.mark.parametrize("seed", range(2))
def test_expansion_finds_the_least_of_three_labels_on_small_grids(seed):
    unary, weights = problem(np.random.default_rng(seed), 3)
    found = energy(expand(unary, weights), unary, weights)
    assert found == pytest.approx(least(unary, weights))


def test_expansion_stays_within_twice_the_least_and_is_stable():
    """Strong weights are its hardest case: from any start, at most twice the optimum."""
    rng = np.random.default_rng(1)
    for strength in (1.0, 3.0):
        unary, weights = problem(rng, 3, 2, 3, strength)
        optimum = least(unary, weights)
        for label in range(3):
            labels = expand(unary, weights, start=np.full((2, 3), label))
            assert optimum - 1e-9 <= energy(labels, unary, weights) <= 2 * optimum
            np.testing.assert_array_equal(expand(unary, weights, start=labels), labels)


def test_expansion_of_two_labels_is_the_cut():
    unary, weights = problem(np.random.default_rng(5), 2, 20, 30)
    by_cut = energy(min_cut(unary, weights), unary, weights)
    assert energy(expand(unary, weights), unary, weights) == pytest.approx(by_cut)
    assert by_cut < energy(unary.argmin(0), unary, weights)


def test_without_weights_each_pixel_decides_and_with_many_all_are_one():
    unary, weights = problem(np.random.default_rng(3), 4, 6, 5)
    none, many = (Weights(f * weights.down, f * weights.across) for f in (0, 1000))
    np.testing.assert_array_equal(expand(unary, none), unary.argmin(0))
    together = expand(unary, Weights(many.down + 1000, many.across + 1000))
    assert len(np.unique(together)) == 1


def test_neighbours_pay_less_across_an_edge():
    image = np.zeros((3, 4, 6), np.uint8)
    image[:, :, 3:] = 200
    down, across = contrast_weights(image, strength=2.0, floor=0.25)
    assert down.shape == (3, 6) and across.shape == (4, 5)
    assert (down == 2).all() and (across[:, [0, 1, 3, 4]] == 2).all()
    squares = 3 * 200.0**2
    mean = squares * 4 / (18 + 20)
    expected = 2 * (0.25 + 0.75 * np.exp(-squares / (2 * mean)))
    np.testing.assert_allclose(across[:, 2], expected)
    plain = contrast_weights(image, 2.0, floor=1.0)
    assert (plain.across == 2).all()
    assert (contrast_weights(image[:, :1, :1], 1.0).down.size) == 0


def test_a_cut_of_probabilities_removes_a_speck_and_keeps_an_edge():
    image = np.zeros((3, 8, 8), np.uint8)
    image[:, :, 4:] = 200
    truth = np.repeat([0, 0, 0, 0, 2, 2, 2, 2], 8).reshape(8, 8).T
    probabilities = np.zeros((4, 8, 8), np.float32)
    speckled = truth.copy()
    speckled[2, 2], speckled[5, 6] = 2, 0
    for c in (0, 2):
        probabilities[c] = np.where(speckled == c, 0.8, 0.2)
    found = Cut(strength=1.0)(probabilities, image)
    np.testing.assert_array_equal(found.argmax(0), truth)
    assert set(np.unique(found)) == {0, 1} and (found.sum(0) == 1).all()


@pytest.mark.parametrize("strokes", [True, False], ids=["strokes", "box"])
def test_a_marked_thing_is_cut_out(strokes):
    rng = np.random.default_rng(0)
    image = rng.integers(40, 80, (3, 32, 40), np.uint8)
    truth = np.hypot(*(np.indices((32, 40)) - np.array([[[15]], [[20]]]))) < 9
    image[0][truth] += 120
    if strokes:
        marks = np.full((32, 40), 255)
        marks[14:16, 16:24], marks[2, 2:38] = 1, 0
    else:
        marks = np.zeros((32, 40), int)
        marks[3:28, 8:33] = 255
    found = grab_cut(image, marks)
    np.testing.assert_array_equal(found, truth)
    np.testing.assert_array_equal(grab_cut(image, marks), found)


def test_marks_are_kept_whatever_the_colours_say():
    image = np.random.default_rng(0).integers(0, 256, (3, 12, 12), np.uint8)
    marks = np.full((12, 12), 255)
    marks[0], marks[5, 5:8] = 0, 1
    found = grab_cut(image, marks, strength=100.0)
    assert (found[marks == 0] == 0).all() and (found[marks == 1] == 1).all()


def test_errors_say_what_is_wrong():
    unary, weights = problem(np.random.default_rng(0), 3)
    with pytest.raises(ValueError, match=r"\(3, 3, 3\): give \(2, H, W\)"):
        min_cut(unary, weights)
    with pytest.raises(ValueError, match="do not fit a unary of 2×3 pixels"):
        expand(unary[:, :2], weights)
    with pytest.raises(ValueError, match="at least 0"):
        expand(unary, Weights(-weights.down, weights.across))
    with pytest.raises(ValueError, match="finite"):
        expand(unary * np.inf, weights)
    with pytest.raises(ValueError, match="at most 2147483 can be cut"):
        min_cut(unary[:2] * 1e8, weights)
    with pytest.raises(ValueError, match="strength=-1"):
        contrast_weights(np.zeros((3, 2, 2), np.uint8), -1)
    image = np.zeros((3, 4, 4), np.uint8)
    with pytest.raises(ValueError, match="nothing is marked as rest"):
        grab_cut(image, np.full((4, 4), 255))
    with pytest.raises(ValueError, match="of 0, 1 and 255"):
        grab_cut(image, np.full((4, 4), 7))
