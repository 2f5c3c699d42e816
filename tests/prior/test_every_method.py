"""What every method before FCN must do: one base test, which a new one is added to by a row."""

import re
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from fcn_tutorial.crf import DenseCRF
from fcn_tutorial.datasets import Scenes
from fcn_tutorial.prior import Baseline, MajorityClass, Method, evaluate, methods

CLASSES = 12
VOID = 255
SIDE = 64


class Case(NamedTuple):
    """How a method is made small enough for a test, and without what it is about.

    `ablated` has the same arguments but for the idea of the method; `score` is what the idea is
    for, and `gain` how much it must bring on the test's scenes, below what was measured.
    """

    small: dict[str, Any]
    ablated: Callable[..., Baseline]
    gain: float = 0.02
    score: str = "mean_iu"


def made(name: str, **changed: Any) -> Callable[..., Baseline]:
    """A method with some arguments of its own, called with the others."""
    return lambda *args, **kwargs: methods()[name](*args, **{**kwargs, **changed})


CASES = {
    "majority": Case({}, lambda *args, **kwargs: Constant(*args), gain=0.0, score="pixel_accuracy"),
    "colour-forest": Case(dict(pixels=5000, trees=5), lambda n, **kwargs: MajorityClass(n)),
    "pixel-svm": Case(dict(pixels=2000), made("pixel-svm", features=("colour",)), gain=0.1),
    "pixel-forest": Case(
        dict(pixels=4000, trees=10), made("pixel-forest", features=("colour",)), gain=0.08
    ),
    "textons": Case(dict(pixels=2500, words=24), made("textons", windows=(1,)), gain=0.03),
    "texton-forest": Case(
        dict(pixels=3000, images=12, trees=3, depth=6), made("texton-forest", stages=1), gain=0.01
    ),
    "slic": Case(dict(pixels=60_000), made("slic", features=("colour",)), gain=0.06),
    "felzenszwalb": Case(
        dict(pixels=60_000), made("felzenszwalb", features=("colour",)), gain=0.08
    ),
    "patch-cnn": Case(dict(pixels=1000), made("patch-cnn", pixels=64, epochs=1), gain=0.03),
    "regions": Case(
        # Without the region alone, R-CNN's "full". That features come from the network is no idea
        # to leave out: nothing would be left to describe regions by.
        dict(pixels=60_000, patches=400),
        made("regions", views=("full",)),
        gain=0.03,
    ),
    "forest-cut": Case(
        dict(pixels=4000), made("forest-cut", strength=0.0), gain=0.01, score="pixel_accuracy"
    ),
    "forest-crf": Case(
        dict(pixels=4000),
        made("forest-crf", crf=DenseCRF(steps=0)),
        gain=0.01,
        score="pixel_accuracy",
    ),
}


class Constant(MajorityClass):
    """The first class everywhere, whatever the data."""

    def fit(self, dataset: Any) -> "Constant":
        self.label = 0
        return self


@cache
def scenes(split: str, n: int) -> list[tuple[Any, Any]]:
    return list(Scenes(n=n, split=split, size=(SIDE, SIDE)))


def small(name: str, num_classes: int = CLASSES, **changed: Any) -> Baseline:
    return methods()[name](num_classes, **{**CASES[name].small, **changed})


@cache
def fitted(name: str) -> Baseline:
    return small(name).fit(scenes("train", 30))


def score(method: Baseline, name: str) -> float:
    return float(getattr(evaluate(method, scenes("val", 6)).compute(), name))


def two_halves(height: int = 24, width: int = 24, classes: tuple[int, int] = (1, 2)) -> Any:
    """A dark, smooth half above a bright, striped one, and what they are."""
    image = np.full((3, height, width), 60, np.uint8)
    image[:, height // 2 :] = 180 + 30 * (np.arange(width) % 2).astype(np.uint8)
    mask = np.full((height, width), classes[0], np.uint8)
    mask[height // 2 :] = classes[1]
    return image, mask


EVERY = pytest.mark.parametrize("name", methods())


def test_every_method_has_its_row() -> None:
    assert set(CASES) == set(methods())


@EVERY
def test_labels_have_the_image_s_size_and_are_classes(name: str) -> None:
    image, _ = scenes("val", 6)[0]
    labels = fitted(name).predict(image)
    assert labels.dtype == np.uint8 and labels.shape == (SIDE, SIDE)
    assert labels.max() < CLASSES
    np.testing.assert_array_equal(fitted(name).predict(np.asarray(image)), labels)


@EVERY
def test_it_beats_the_majority_and_its_own_ablated_form(name: str) -> None:
    case = CASES[name]
    ablated = case.ablated(CLASSES, **case.small).fit(scenes("train", 30))
    assert score(fitted(name), case.score) >= score(ablated, case.score) + case.gain
    if name != "majority":
        assert score(fitted(name), "mean_iu") > score(fitted("majority"), "mean_iu") + 0.03


@EVERY
def test_the_same_seed_gives_the_same_labels(name: str) -> None:
    again = small(name).fit(scenes("train", 30))
    for image, _ in scenes("val", 6)[:2]:
        np.testing.assert_array_equal(again.predict(image), fitted(name).predict(image))


@EVERY
def test_probabilities_sum_to_one_and_lead_to_the_labels(name: str) -> None:
    method = fitted(name)
    if isinstance(method, Method):
        image, _ = scenes("val", 6)[0]
        found = method.probabilities(image)
        assert found.shape == (CLASSES, SIDE, SIDE) and found.dtype == np.float32
        assert found.min() >= 0
        np.testing.assert_allclose(found.sum(0), 1, atol=1e-5)  # float32
        np.testing.assert_array_equal(found.argmax(0), method.predict(image))


@EVERY
def test_void_teaches_nothing(name: str) -> None:
    """What lies under void may be anything, and the first rows of classes decide."""
    image, mask = two_halves()
    mask[:, :4] = VOID
    strange = image.copy()
    strange[:, :, :2] = 255 - strange[:, :, :2]
    labels = small(name, 3).fit([(image, mask)]).predict(image)
    assert set(np.unique(labels)) <= {1, 2}


@EVERY
def test_classes_that_were_not_seen_are_never_given(name: str) -> None:
    """Of twenty classes, two occur: the labels are among these, by their own indices."""
    image, mask = two_halves(classes=(3, 17))
    method = small(name, 20).fit([(image, mask)] * 2)
    labels = method.predict(image)
    assert set(np.unique(labels)) <= {3, 17}
    if name != "majority":
        assert (labels == mask).mean() > 0.8


@EVERY
def test_one_class_is_given_everywhere(name: str) -> None:
    image, mask = two_halves(classes=(4, 4))
    labels = small(name, 6).fit([(image, mask)]).predict(image[:, ::-1])
    assert (labels == 4).all()


@EVERY
@pytest.mark.parametrize("size", [(1, 1), (2, 5), (9, 3)])
def test_a_picture_smaller_than_a_filter_is_labelled(name: str, size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (3, *size), np.uint8)
    assert fitted(name).predict(image).shape == size


@EVERY
def test_it_learns_from_pictures_smaller_than_a_filter(name: str) -> None:
    image, mask = two_halves(6, 4)
    labels = small(name, 3).fit([(image, mask)]).predict(image)
    assert set(np.unique(labels)) <= {1, 2}


@EVERY
def test_errors_say_what_to_do(name: str) -> None:
    image, mask = two_halves()
    with pytest.raises(RuntimeError, match=r"call fit\(dataset\) first"):
        small(name, 3).predict(image)
    with pytest.raises(ValueError, match="none of the 2 items has a pixel that is not void"):
        small(name, 3).fit([(image, np.full_like(mask, VOID))] * 2)
    void = image, np.full_like(mask, VOID)
    some = small(name, 3)
    looking = getattr(some, "method", some)
    if hasattr(looking, "images"):  # a method that may look at a part of what it is given
        looking.images = 2
        with pytest.raises(ValueError, match=r"none of the 2 items that were looked at, of 3, has"):
            some.fit([void, (image, mask), void])
    with pytest.raises(ValueError, match="none of the 0 items"):
        small(name, 3).fit([])
    with pytest.raises(ValueError, match="labels 1 to 2 beside void 255, but num_classes=2"):
        small(name, 2).fit([(image, mask)])
    with pytest.raises(ValueError, match="num_classes=256"):
        small(name, 256)
    with pytest.raises(ValueError, match=re.escape("float32 (3, 24, 24): give uint8 (3, H, W)")):
        fitted(name).predict(torch.from_numpy(image).float())
    if name != "majority":
        with pytest.raises(ValueError, match="images=0: at least 1"):
            small(name, 3, images=0)
        with pytest.raises(ValueError, match="item 0: an image of"):
            small(name, 3).fit([(image, mask[:-1])])
