"""The dense CRF: its filter against the sum over all pairs, its steps against the formula."""

import numpy as np
import pytest

from fcn_tutorial.crf import DenseCRF, Filter
from fcn_tutorial.datasets import Scenes

CRF = DenseCRF(weight=2.0, xy=12.0, rgb=20.0, smooth_weight=1.0, smooth_xy=3.0, steps=3)


def scene(height=32, width=40):
    image, mask = Scenes(n=1, size=(height, width))[0]
    labels = np.asarray(mask)
    rng = np.random.default_rng(0)
    noise = rng.dirichlet(np.ones(12), labels.size).T.reshape(12, height, width)
    known = np.where(labels == 255, 0, labels)
    sure = np.eye(12)[known].transpose(2, 0, 1)
    return np.asarray(image), (0.5 * sure + 0.5 * noise).astype(np.float32), labels


def exact(points, values):
    """The kernel's average as the sum over every pair."""
    kernel = np.exp(-((points[:, None] - points[None]) ** 2).sum(2) / 2)
    return kernel @ values / kernel.sum(1, keepdims=True)


def places_and_colours(image, xy, rgb):
    _, height, width = image.shape
    y, x = np.divmod(np.arange(height * width), width)
    return np.stack([y / xy, x / xy, *(image.reshape(3, -1) / rgb)], axis=1)


def test_the_filter_is_the_sum_over_all_pairs():
    """To 0.004 of probabilities, root mean square: what linear shares on a lattice lose."""
    image, probabilities, _ = scene()
    values = probabilities.reshape(12, -1).T
    bilateral = places_and_colours(image, 12, 20)
    for points in (bilateral, places_and_colours(image, 3, 1)[:, :2]):
        expected = exact(points, values)
        error = np.sqrt(((Filter(points)(values) - expected) ** 2).mean())
        assert error < 0.005 and expected.std() > 10 * error


@pytest.mark.parametrize("d", [1, 2, 3, 5])
def test_the_shares_of_a_point_hold_it_and_constants_stay(d):
    """Shares are not negative and sum to one; a constant is its own average."""
    points = np.random.default_rng(d).normal(size=(200, d)) * 2
    lattice = Filter(points)
    np.testing.assert_allclose(lattice._slice.sum(1), 1)
    assert lattice._slice.data.min() > -1e-9
    np.testing.assert_allclose(lattice(np.full((200, 1), 3.0)), 3)


def test_points_a_constant_apart_are_filtered_alike():
    points = np.random.default_rng(0).normal(size=(300, 2))
    values = np.cos(points)
    moved = Filter(points + np.array([12.0, -7.5]))(values)
    # the lattice lies elsewhere under them: rounding to its corners differs, by a twentieth
    assert np.abs(moved - Filter(points)(values)).mean() < 0.05


def test_far_points_do_not_meet():
    values = np.array([[1.0], [2.0], [5.0]])
    np.testing.assert_allclose(Filter(np.array([[0.0], [50.0], [100.0]]))(values), values)


def test_a_step_is_the_formula_on_the_exact_sums():
    image, probabilities, _ = scene(32, 32)
    P = probabilities.reshape(12, -1).T.astype(float)
    bilateral, near = places_and_colours(image, 12, 20), places_and_colours(image, 3, 1)[:, :2]
    Q = P
    for _ in range(CRF.steps):
        powers = P * np.exp(2.0 * exact(bilateral, Q) + 1.0 * exact(near, Q))
        Q = powers / powers.sum(1, keepdims=True)
    found = CRF(probabilities, image).reshape(12, -1).T
    assert np.sqrt(((found - Q) ** 2).mean()) < 0.01  # the filter's error, three times over
    assert np.sqrt(((P - Q) ** 2).mean()) > 0.05
    assert (found.argmax(1) == Q.argmax(1)).mean() > 0.97


def test_noise_is_cleaned_and_nothing_happens_without_steps():
    image, probabilities, labels = scene()
    valid = labels != 255
    before = (probabilities.argmax(0) == labels)[valid].mean()
    noisy = probabilities.copy()
    noisy[:, ::3, ::3] = noisy[::-1, ::3, ::3]
    refined = CRF(noisy, image)
    assert refined.dtype == np.float32 and refined.shape == probabilities.shape
    np.testing.assert_allclose(refined.sum(0), 1, atol=1e-5)
    assert (refined.argmax(0) == labels)[valid].mean() > (noisy.argmax(0) == labels)[valid].mean()
    assert before > 0.9
    still = DenseCRF(steps=0)(probabilities, image)
    np.testing.assert_allclose(still, probabilities, atol=1e-6)
    np.testing.assert_array_equal(CRF(noisy, image), refined)


def test_a_class_that_is_excluded_stays_out():
    image, probabilities, _ = scene()
    probabilities[3] = 0
    assert CRF(probabilities / probabilities.sum(0), image)[3].max() < 1e-4


def test_bad_settings_and_sizes_are_told():
    image, probabilities, _ = scene()
    with pytest.raises(ValueError, match="xy=0: expected a number above 0"):
        DenseCRF(xy=0)
    with pytest.raises(ValueError, match="weight=-1: expected a number of at least 0"):
        DenseCRF(weight=-1)
    with pytest.raises(ValueError, match=r"\(12, 32, 40\) and an image of \(3, 32, 39\)"):
        CRF(probabilities, image[:, :, :-1])
    with pytest.raises(ValueError, match="an image of float32: give uint8"):
        CRF(probabilities, image.astype(np.float32))
    with pytest.raises(ValueError, match="widen the kernel"):
        Filter(np.array([[0.0] * 5, [1e6] * 5]))
    assert DenseCRF().scaled(0.5) == DenseCRF(xy=24.5)
