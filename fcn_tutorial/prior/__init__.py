"""Semantic segmentation before fully convolutional networks.

Each method is called alike, `fit(dataset)` and then `predict(image)`, and `methods` names them all.
"""

from collections.abc import Callable

from fcn_tutorial.prior import features, graphcut
from fcn_tutorial.prior.baselines import ColourForest, MajorityClass
from fcn_tutorial.prior.method import Baseline, Method, evaluate
from fcn_tutorial.prior.pixels import PixelForest, PixelSVM
from fcn_tutorial.prior.refined import Refined, forest_with_crf, forest_with_cut

__all__ = [
    "Baseline",
    "ColourForest",
    "MajorityClass",
    "Method",
    "PixelForest",
    "PixelSVM",
    "Refined",
    "evaluate",
    "features",
    "graphcut",
    "methods",
]


def methods() -> dict[str, Callable[..., Baseline]]:
    """Every method by its name, with what makes one.

    Each is called with `num_classes` and takes `ignore_index`, and all but the first `pixels`,
    `images` and `seed` (see `Method`).
    """
    return {
        "majority": MajorityClass,
        "colour-forest": ColourForest,
        "pixel-svm": PixelSVM,
        "pixel-forest": PixelForest,
        "forest-cut": forest_with_cut,
        "forest-crf": forest_with_crf,
    }
