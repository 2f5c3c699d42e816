"""Superpixels: whole regions, pooled as a loop pools them, and what they can score at best."""

import sys

import numpy as np
import pytest

from fcn_tutorial.datasets import Scenes
from fcn_tutorial.prior.superpixels import ceiling, counted, pooled, segments

pytest.importorskip("skimage")


@pytest.fixture(scope="module")
def scenes():
    return list(Scenes(n=3, size=(48, 64)))


@pytest.mark.parametrize("kind", ["slic", "felzenszwalb"])
def test_every_pixel_is_in_one_of_the_numbered_parts(kind, scenes):
    for image, _ in scenes:
        parts = segments(image, kind, 60)
        assert parts.shape == (48, 64)
        np.testing.assert_array_equal(np.unique(parts), np.arange(parts.max() + 1))
        assert 10 < parts.max() + 1 < 120  # 51 are asked of "slic"
    assert segments(np.zeros((3, 2, 9), np.uint8), kind).tolist() == [[0] * 9] * 2


def test_pooling_and_counting_are_loops_over_parts():
    rng = np.random.default_rng(0)
    values, parts = rng.normal(size=(9, 11, 4)), rng.integers(0, 5, (9, 11))
    labels = rng.choice([0, 1, 2, 255], (9, 11))
    for part in range(5):
        mine = values[parts == part]
        np.testing.assert_allclose(pooled(values, parts)[part], [*mine.mean(0), *mine.std(0)])
        expected = [(labels[parts == part] == c).sum() for c in range(3)]
        assert counted(labels, parts, 3, 255)[part].tolist() == expected


@pytest.mark.parametrize("kind", ["slic", "felzenszwalb"])
def test_the_ceiling_is_that_of_the_best_label_of_each_part_and_rises_as_they_shrink(kind, scenes):
    hits = total = 0
    for image, mask in scenes:
        labels, parts = np.asarray(mask), segments(image, kind, 60)
        for part in np.unique(parts):
            mine = labels[(parts == part) & (labels != 255)]
            hits += max((mine == c).sum() for c in range(12))
            total += mine.size
    at_60 = ceiling(scenes, 12, kind, 60)
    assert at_60.pixel_accuracy == pytest.approx(hits / total)
    assert at_60.mean_iu < ceiling(scenes, 12, kind, 8).mean_iu < 1
    if kind == "slic":
        assert ceiling(scenes, 12, kind, 600).mean_iu < at_60.mean_iu


def test_errors_say_what_to_do(monkeypatch):
    image = np.zeros((3, 8, 8), np.uint8)
    with pytest.raises(ValueError, match="kind='grid' is not one of slic, felzenszwalb"):
        segments(image, "grid")
    with pytest.raises(ValueError, match="pixels=0"):
        segments(image, pixels=0)
    monkeypatch.setitem(sys.modules, "skimage", None)
    with pytest.raises(ImportError, match=r"pip install 'fcn-tutorial\[prior\]'"):
        segments(image)
