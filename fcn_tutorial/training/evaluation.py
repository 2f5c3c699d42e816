"""Scoring a network on whole images: one confusion matrix over the whole set."""

from __future__ import annotations

from typing import Any

from tqdm import tqdm

from fcn_tutorial.metrics import ConfusionMatrix
from fcn_tutorial.models import FCN


def evaluate(model: FCN, dataset: Any, progress: str = "") -> ConfusionMatrix:
    """The confusion matrix of a network over a data set, every image at its own size.

    Args:
        model: put into evaluation mode here, and back afterwards.
        dataset: items (image (3, H, W) uint8, mask (H, W) integer); names its `ignore_index`.
        progress: label of the progress bar; empty for none.
    """
    was_training = model.training
    confusion = ConfusionMatrix(model.num_classes, dataset.ignore_index)
    model.eval()
    try:
        # disable=None: no bar where the terminal is a file.
        disable = None if progress else True
        for i in tqdm(range(len(dataset)), progress, leave=False, disable=disable, unit="img"):
            image, target = dataset[i]
            prediction = model.predict(image)
            confusion.update(prediction, target.to(prediction.device))
    finally:
        model.train(was_training)
    return confusion
