"""What a method costs: processor time, memory, and how many numbers it learns."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from torch import nn

from benchmarks.resident import forget_peak, resident
from fcn_tutorial.prior.texton_forest import Tree

#: What methods import only where they need it: a part of none's memory, and of none's time.
_LAZY = ("matplotlib.pyplot", "scipy.ndimage", "scipy.sparse.csgraph", "skimage.segmentation",
         "sklearn.cluster", "sklearn.ensemble", "sklearn.svm")  # fmt: skip


def spent() -> float:
    """Processor seconds of this process and of those of its children that have ended."""
    import resource

    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


class Meter:
    """Processor time and resident memory that are taken from here on."""

    def __init__(self) -> None:
        forget_peak()
        self._held, self._began = resident("VmRSS"), spent()

    def seconds(self) -> float:
        """Processor seconds so far, those of children that have ended included."""
        return spent() - self._began

    def mebibytes(self) -> float:
        """The most that this process has held so far beyond what it held at first; no child's."""
        return max(0.0, resident("VmHWM") - self._held)


def loaded() -> None:
    """Import what methods import late, before a meter runs."""
    for name in _LAZY:
        importlib.import_module(name)


#: Where a method keeps what it has learned.
_PARTS = ("label", "forest", "classifier", "learner", "method", "network", "trunk", "centres",
          "first", "second")  # fmt: skip


def learned(part: Any) -> int:
    """How many numbers learning chose: weights; two for each split of a tree, C for each leaf."""
    if isinstance(part, int | np.integer):
        return 1
    if isinstance(part, nn.Module):
        return sum(parameter.numel() for parameter in part.parameters())
    if isinstance(part, np.ndarray):
        return int(part.size)
    if isinstance(part, list):
        return sum(map(learned, part))
    if isinstance(part, Tree):
        splits = int((~np.isnan(part.thresholds)).sum())
        return int(splits * 2 + (splits + 1) * part.shares.shape[1])
    if hasattr(part, "estimators_"):  # a random forest of scikit-learn
        trees = [one.tree_ for one in part.estimators_]
        splits = int(sum(t.node_count - t.n_leaves for t in trees))
        return int(splits * 2 + (splits + len(trees)) * len(part.classes_))
    if hasattr(part, "coef_"):  # a linear machine of scikit-learn
        return int(part.coef_.size + part.intercept_.size)
    return sum(learned(getattr(part, name)) for name in _PARTS if hasattr(part, name))
