"""Textons: nearest centres and their shares of a window; forests against loops over their tests."""

import numpy as np
import pytest

from fcn_tutorial.datasets import Scenes
from fcn_tutorial.prior.features import colour, filters
from fcn_tutorial.prior.texton_forest import BagTests, PatchTests, SemanticTextonForest, grow
from fcn_tutorial.prior.textons import Textons


@pytest.fixture(scope="module")
def scenes():
    return list(Scenes(n=3, size=(32, 40)))


def test_a_texton_is_the_nearest_centre_and_a_histogram_its_share_of_a_window(scenes):
    method = Textons(12, pixels=600, words=8, windows=(1, 5)).fit(scenes)
    image = np.asarray(scenes[0][0])
    textons, responses = method.texton_map(image), filters(image) / method.scale
    for y, x in ((0, 0), (13, 20), (31, 39)):
        away = [np.linalg.norm(responses[y, x] - centre) for centre in method.centres]
        assert away[textons[y, x]] == pytest.approx(min(away), rel=1e-5)
    histograms = method.histograms(image)
    own, around = histograms[13, 20, :8], histograms[13, 20, 8:]
    np.testing.assert_array_equal(own, np.arange(8) == textons[13, 20])
    shares = [(textons[11:16, 18:23] == word).mean() for word in range(8)]
    np.testing.assert_allclose(around**2, shares, atol=1e-6)


def test_patch_tests_read_the_two_values_that_they_name(scenes):
    picture = colour(np.asarray(scenes[0][0]))
    place = (np.zeros(1, int), np.array([12]), np.array([15]))
    where = [13, 8, 0, 4, 19, 2]  # rows and columns from the patch's corner, ten before its centre
    a, b = picture[12 + 3, 15 - 2, 0], picture[12 - 6, 15 + 9, 2]
    for kind, expected in enumerate((a, a + b, a - b, abs(a - b))):
        found = PatchTests([picture])(np.array([[kind, *where]]), place)
        assert found == pytest.approx(expected)


def test_bag_tests_are_means_over_what_of_the_rectangle_lies_in_the_picture():
    maps = np.random.default_rng(0).random((12, 9, 3)).astype(np.float32)
    tests = BagTests([maps])
    place = (np.zeros(1, int), np.array([4]), np.array([7]))
    inside = tests(np.array([[-2, 1, -3, 0, 1]]), place)
    assert inside == pytest.approx(maps[2:6, 4:8, 1].mean(), rel=1e-4)  # float32 sums
    cut = tests(np.array([[-20, -3, 1, 9, 2]]), place)
    assert cut == pytest.approx(maps[:2, 8:, 2].mean(), rel=1e-4)
    assert tests(np.array([[0, 3, 5, 9, 2]]), place) == 0


def test_several_pictures_are_read_each_in_its_place(scenes):
    pictures = [colour(np.asarray(image)) for image, _ in scenes]
    rng = np.random.default_rng(0)
    together = PatchTests(pictures)
    drawn = together.draw(rng, 6)
    index, row, column = rng.integers(0, 3, 20), rng.integers(0, 32, 20), rng.integers(0, 40, 20)
    found = together(drawn[None], (index[:, None], row[:, None], column[:, None]))
    for n in range(20):
        alone = PatchTests([pictures[index[n]]])
        place = (np.zeros(6, int), np.full(6, row[n]), np.full(6, column[n]))
        np.testing.assert_allclose(found[n], alone(drawn, place))


def test_a_tree_tells_apart_what_one_of_its_tests_tells_apart():
    """Bright left and dark right half: one split is enough, and its two leaves are sure."""
    picture = np.zeros((30, 40, 3), np.float32)
    picture[:, :20] = 80
    row, column = np.indices((30, 40)).reshape(2, -1)
    labels = (column >= 20).astype(int)
    places = (np.zeros_like(row), row, column)
    tests = PatchTests([picture])
    tree = grow(tests, places, labels, np.ones(2), 4, 200, np.random.default_rng(0))
    nodes = tree.nodes(tests, places, 4)
    assert (tree.shares[nodes].argmax(1) == labels).mean() > 0.97
    for node in np.unique(nodes):  # what reached a leaf is what it says
        assert tree.shares[node, 1] == pytest.approx(labels[nodes == node].mean(), abs=1e-6)
    right = tree.nodes(tests, places, 1) == 2  # the best of the tried is near a perfect one
    assert abs(labels[right].mean() - labels[~right].mean()) > 0.9


def test_a_pure_or_tiny_node_is_a_leaf():
    picture = np.random.default_rng(0).random((10, 10, 3)).astype(np.float32)
    places = (np.zeros(5, int), np.arange(5), np.arange(5))
    rng = np.random.default_rng(0)
    pure = grow(PatchTests([picture]), places, np.ones(5, int), np.ones(3), 3, 10, rng)
    assert np.isnan(pure.thresholds).all() and pure.shares[0].tolist() == [0, 1, 0]


def test_stages_other_than_one_or_two_are_told():
    with pytest.raises(ValueError, match="stages=3: 1 or 2"):
        SemanticTextonForest(3, stages=3)
