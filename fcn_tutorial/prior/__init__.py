"""Semantic segmentation before fully convolutional networks.

Each method is called alike, `fit(dataset)` and then `predict(image)`, and `methods` names them all.
"""

from collections.abc import Callable
from functools import partial

from fcn_tutorial.prior import features, graphcut, superpixels
from fcn_tutorial.prior.baselines import ColourForest, MajorityClass
from fcn_tutorial.prior.method import Baseline, Method, evaluate
from fcn_tutorial.prior.patchcnn import PatchCNN
from fcn_tutorial.prior.pixels import PixelForest, PixelSVM
from fcn_tutorial.prior.proposals import selective_search
from fcn_tutorial.prior.refined import Refined, forest_with_crf, forest_with_cut
from fcn_tutorial.prior.regions import Regions
from fcn_tutorial.prior.superpixels import Superpixels
from fcn_tutorial.prior.texton_forest import SemanticTextonForest
from fcn_tutorial.prior.textons import Textons

__all__ = [
    "Baseline",
    "ColourForest",
    "MajorityClass",
    "Method",
    "PatchCNN",
    "PixelForest",
    "PixelSVM",
    "Refined",
    "Regions",
    "SemanticTextonForest",
    "Superpixels",
    "Textons",
    "evaluate",
    "features",
    "graphcut",
    "methods",
    "selective_search",
    "superpixels",
]


def methods() -> dict[str, Callable[..., Baseline]]:
    """Every method by its name, with what makes one.

    Each is called with `num_classes` and takes `ignore_index`, and all but the first `pixels`,
    `images` and `seed` (see `Method`).

    Returns:
        A class or a function for each name.

    ::

        >>> list(methods())[:3]
        ['majority', 'colour-forest', 'pixel-svm']
        >>> methods()["slic"](num_classes=12).kind
        'slic'
    """
    return {
        "majority": MajorityClass,
        "colour-forest": ColourForest,
        "pixel-svm": PixelSVM,
        "pixel-forest": PixelForest,
        "textons": Textons,
        "texton-forest": SemanticTextonForest,
        "slic": Superpixels,
        "felzenszwalb": partial(Superpixels, kind="felzenszwalb"),
        "patch-cnn": PatchCNN,
        "regions": Regions,
        "forest-cut": forest_with_cut,
        "forest-crf": forest_with_crf,
    }
