"""One update of a confusion matrix: ours against scikit-learn, torchmetrics and NumPy."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import confusion_matrix
from torch import Tensor

import fcn_tutorial.vision  # noqa: F401  torchmetrics imports torchvision
from benchmarks.rows import Line, Skipped
from benchmarks.timing import Settings, against, alternate
from fcn_tutorial.metrics import ConfusionMatrix

CASE = "metrics"
CLASSES = 21
VOID = 255
SKLEARN = "scikit-learn, confusion_matrix"
NUMPY = "NumPy, bincount of valid pixels"
CONFUSION = "torchmetrics, confusion matrix"
UNCHECKED = "torchmetrics, validate_args=False"
JACCARD = "torchmetrics, Jaccard index"
TARGETS = {SKLEARN: 10.0, CONFUSION: 2.0, JACCARD: 2.0}


def lines(settings: Settings) -> list[Line]:
    """21 classes, 500 × 500, batch 8, labels as bytes and as int64; void is 255.

    Contestants that work on the host copy from the device first, as a training loop would have to.
    """
    side, batch = (40, 2) if settings.smoke else (500, 8)
    found: list[Line] = []
    for dtype in (torch.uint8, torch.int64):
        prediction, target = (x.to(settings.device, dtype) for x in make_labels(batch, side))
        contestants: dict[str, Callable[[], object]] = {
            "ours": partial(ConfusionMatrix(CLASSES, VOID).update, prediction, target),
            SKLEARN: partial(by_sklearn, prediction, target),
            NUMPY: partial(by_numpy, prediction, target),
        }
        what = f"update, {batch}×{side}×{side}, {str(dtype).removeprefix('torch.')}"
        try:
            peers = _torchmetrics(settings.device)
        except ImportError:
            why = "not installed: pip install torchmetrics"
            found.append(Skipped(CASE, what, "torchmetrics", why))
            peers = {}
        for name, metric in peers.items():
            contestants[name] = partial(metric.update, prediction, target)
        _check_agreement(prediction, target, peers)
        found += against(CASE, what, alternate(contestants, settings), TARGETS)
    return found


def make_labels(batch: int, side: int) -> tuple[Tensor, Tensor]:
    """(N, side, side) prediction and truth: blocks of 20 pixels, one in ten predicted wrongly.

    Runs of one label, as in real label maps, are the slow case of counting: each addition waits
    for the one before. 5 % of the truth is void.
    """
    generator = torch.Generator().manual_seed(0)
    blocks = torch.randint(CLASSES, (batch, -(-side // 20), -(-side // 20)), generator=generator)
    truth = blocks.repeat_interleave(20, 1).repeat_interleave(20, 2)[:, :side, :side].contiguous()
    other = torch.randint(CLASSES, truth.shape, generator=generator)
    wrong, void = torch.rand(2, *truth.shape, generator=generator)
    prediction = torch.where(wrong < 0.1, other, truth)
    return prediction, truth.masked_fill(void < 0.05, VOID)


def by_sklearn(prediction: Tensor, target: Tensor) -> npt.NDArray[np.int64]:
    """Void is not among `labels`, so it is left out."""
    truth, predicted = target.cpu().numpy().ravel(), prediction.cpu().numpy().ravel()
    counts: npt.NDArray[np.int64] = confusion_matrix(truth, predicted, labels=range(CLASSES))
    return counts


def by_numpy(prediction: Tensor, target: Tensor) -> npt.NDArray[np.int64]:
    """The usual few lines: keep the pixels whose truth is a class, count joint indices."""
    truth, predicted = target.cpu().numpy().ravel(), prediction.cpu().numpy().ravel()
    valid = truth < CLASSES
    joint = CLASSES * truth[valid].astype(np.int64) + predicted[valid]
    return np.bincount(joint, minlength=CLASSES**2).reshape(CLASSES, CLASSES)


def _torchmetrics(device: torch.device) -> dict[str, Any]:
    from torchmetrics.classification import MulticlassConfusionMatrix, MulticlassJaccardIndex

    metrics = {
        CONFUSION: MulticlassConfusionMatrix(CLASSES, ignore_index=VOID),
        JACCARD: MulticlassJaccardIndex(CLASSES, ignore_index=VOID),
        UNCHECKED: MulticlassConfusionMatrix(CLASSES, ignore_index=VOID, validate_args=False),
    }
    return {name: metric.to(device) for name, metric in metrics.items()}


def _check_agreement(prediction: Tensor, target: Tensor, peers: dict[str, Any]) -> None:
    """Raise RuntimeError unless all count alike; also leaves the peers' own counts at zero."""
    ours = ConfusionMatrix(CLASSES, VOID).update(prediction, target).matrix.cpu()
    counts = {
        SKLEARN: torch.from_numpy(by_sklearn(prediction, target)),
        NUMPY: torch.from_numpy(by_numpy(prediction, target)),
    }
    for name, metric in peers.items():
        metric.update(prediction, target)
        counts[name] = metric.confmat.cpu()
        metric.reset()
    for name, count in counts.items():
        if not torch.equal(count.to(ours.dtype), ours):
            raise RuntimeError(f"metrics: {name} counts otherwise than ours")
