"""The methods of the bench, and the data sets that it is held on.

On both data sets the methods are the same, and so are their settings, but for what the size of the
pictures and the budget decide: how many pixels, images and steps they learn from, and what a length
in pixels is. The networks are those of the recipes on scenes, trained from nothing by these recipes
on either data set; the recipes `camvid-*` start from weights that others have trained, or are of a
width of which a core does a few steps in the budget.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from benchmarks.cost import Meter, learned
from fcn_tutorial import models, prior, training
from fcn_tutorial.datasets import sources
from fcn_tutorial.prior import patchcnn
from fcn_tutorial.surgery import macs
from fcn_tutorial.training.recipes.recipe import Data
from fcn_tutorial.training.run import RunFolder

BASE = "scenes-fcn8s"  # whose scenes all see

Items = Sequence[tuple[Any, Any]]


class Sets(NamedTuple):
    """What is learned from and what is scored, read once; for a recipe, where it reads the same."""

    train: Items
    test: Items
    classes: Sequence[str]
    data: Data
    folder: Path | None


class Fitted(NamedTuple):
    """What came of learning: labels of an image, a count of what was learned, and its cost.

    meter: runs since learning began.
    """

    predict: Callable[[Tensor], Any]
    seconds: float
    parameters: int
    macs: int | None
    meter: Meter


@dataclass(frozen=True)
class Entry:
    """A line of the table.

    family: before FCN, FCN, or after it. settings: what decides its run, for the record; `small`
    replaces some of them in a smoke run. random: whether another seed gives another result.
    """

    name: str
    family: str
    fit: Callable[[Entry, Sets, int, Mapping[str, Any]], Fitted]
    settings: Mapping[str, Any]
    small: Mapping[str, Any]
    random: bool = True

    def chosen(self, smoke: bool) -> dict[str, Any]:
        """The settings of a run."""
        return {**self.settings, **(self.small if smoke else {})}


@dataclass(frozen=True)
class Bench:
    """A data set with what each method takes of it.

    Args:
        name: of the folder of its runs and, with the device, of its record.
        data: what of it is read to learn from and to score.
        test: how many images are scored, spread evenly over the test split.
        budget: seconds of one core for each to learn.
        seeds: of a whole record.
        entries: in the order of the table.
    """

    name: str
    data: Data
    test: int
    budget: float
    seeds: tuple[int, ...]
    entries: tuple[Entry, ...]

    def sets(self, smoke: bool, folder: Path | None = None) -> Sets:
        """The images; of a smoke run, four and two.

        Raises FileNotFoundError and ValueError as the reader of the data set.
        """
        source = sources.get(self.data.name)
        data = source.small(self.data) if smoke else self.data
        train, test = (source.open(data, split, folder) for split in ("train", "test"))
        spread = np.linspace(0, len(test) - 1, min(self.test, len(test))).astype(int)
        return Sets(train, [test[int(i)] for i in spread], train.classes, self.data, folder)


# ---- How they learn ------------------------------------------------------------------------------


def _before(entry: Entry, sets: Sets, seed: int, settings: Mapping[str, Any]) -> Fitted:
    """A method of `prior`."""
    seeded = {"seed": seed} if entry.random else {}
    method = prior.methods()[entry.name](len(sets.classes), **settings, **seeded)
    meter = Meter()
    method.fit(sets.train)
    # Of the others nobody counts multiplications: trees have none, filters are a library's.
    size = tuple(sets.test[0][1].shape)
    patches = isinstance(method, patchcnn.PatchCNN)
    passes = patchcnn.cost(len(sets.classes), size).one_pass if patches else None
    return Fitted(method.predict, meter.seconds(), learned(method), passes, meter)


def _network(entry: Entry, sets: Sets, seed: int, settings: Mapping[str, Any]) -> Fitted:
    """A recipe from nothing, for a number of steps; the meter runs from the first one on."""
    recipe = on_data(settings, sets.data)
    meters: list[Meter] = []

    def stop() -> bool:  # asked before each step
        if not meters:
            meters.append(Meter())
        return False

    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        training.train(recipe, folder, data=sets.folder, seed=seed, stop=stop)
        (meter,) = meters
        seconds = meter.seconds()
        network, _ = models.load(RunFolder(folder).best)
    size = tuple(sets.test[0][1].shape)
    return Fitted(network.predict, seconds, learned(network), macs(network, size), meter)


def on_data(settings: Mapping[str, Any], data: Data) -> training.Recipe:
    """The recipe of a network's run: eight images to validate on, and none of the stages."""
    changes = [f"{key}={value}" for key, value in settings.items() if key not in ("recipe", "tiny")]
    recipe = dataclasses.replace(
        training.get(settings["recipe"]),
        data=dataclasses.replace(data, test_images=8),
        coarser="",
        baselines=False,
    )
    recipe, _ = training.override(recipe, changes)
    return training.smoke(recipe) if settings.get("tiny") else recipe


# ---- On scenes -----------------------------------------------------------------------------------


def _prior(name: str, small: Mapping[str, Any] | None = None, **settings: Any) -> Entry:
    few = {"pixels": 400, "images": 4, **(small or {})}
    return Entry(name, "before", _before, settings, few)


def _net(name: str, family: str, recipe: str, iterations: int, **settings: Any) -> Entry:
    every = {"recipe": recipe, "iterations": iterations, **settings}
    return Entry(name, family, _network, every, {"tiny": True})


#: Pixels and steps are what the budget holds on one core of the machine that made the record.
SCENES = Bench(
    name="methods",
    data=dataclasses.replace(training.get(BASE).data, test_images=100),
    test=100,  # the slowest label three in a second
    budget=70.0,
    seeds=(0, 1, 2),
    entries=(
        Entry("majority", "before", _before, {}, {}, random=False),
        _prior("colour-forest", {"trees": 2}),
        _prior("pixel-svm", pixels=50_000),
        _prior("pixel-forest", {"trees": 2}),
        _prior("textons", {"words": 4}),
        _prior("texton-forest", {"trees": 1, "depth": 2}),
        _prior("slic"),
        _prior("felzenszwalb"),
        _prior("patch-cnn", {"epochs": 1}),
        _prior("regions", {"patches": 64}),
        _prior("forest-cut"),
        _prior("forest-crf"),
        _net("fcn-32s", "fcn", BASE, 175, **{"model.stride": 32}),
        _net("fcn-16s", "fcn", BASE, 175, **{"model.stride": 16}),
        _net("fcn-8s", "fcn", BASE, 175),
        _net("segnet", "after", "scenes-segnet", 104),
        _net("segnet-basic", "after", "scenes-segnet-basic", 110),
        _net("unet", "after", "scenes-unet", 108),
        _net("deeplab", "after", "scenes-deeplab", 145),
        _net("dilated8", "after", "scenes-dilated8", 200),
        _net("vit", "after", "scenes-vit", 380),
    ),
)


# ---- On CamVid -----------------------------------------------------------------------------------

_FRAME = 360 * 480  # pixels


def _steps(iterations: int, **settings: Any) -> dict[str, Any]:
    """A network's: half as many crops a step, each of more than twice the pixels."""
    return {"iterations": iterations, "batch": 8, **settings}


#: What is otherwise than on scenes. Features of a frame take ten times as long, so fewer frames are
#: looked at. A texton forest holds more than 200 MB for each frame that it learns from: it has
#: eight. A pass over all frames that recomputes SegNet's norms would take half of the budget.
_FRAMES: dict[str, dict[str, Any]] = {
    "pixel-svm": {"images": 100},
    "pixel-forest": {"images": 100},
    "textons": {"images": 25},
    "texton-forest": {"images": 8},
    "slic": {"pixels": 30 * _FRAME},
    "felzenszwalb": {"pixels": 30 * _FRAME},
    "regions": {"pixels": 10 * _FRAME},
    "forest-cut": {"images": 100},
    "forest-crf": {"images": 100},
    "fcn-32s": _steps(200),
    "fcn-16s": _steps(200),
    "fcn-8s": _steps(200),
    "segnet": _steps(85, recompute_norms=False),
    "segnet-basic": _steps(120, recompute_norms=False),
    "unet": _steps(85),
    "deeplab": _steps(140),
    "dilated8": _steps(200, batch=2),
    "vit": _steps(300),
}

CAMVID = Bench(
    name="methods-camvid",
    data=Data("camvid", (180, 240), jitter=0.2),
    test=24,  # some label for seconds
    budget=80.0,
    seeds=(0,),
    entries=tuple(
        dataclasses.replace(entry, settings={**entry.settings, **_FRAMES.get(entry.name, {})})
        for entry in SCENES.entries
    ),
)
