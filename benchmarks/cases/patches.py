"""A whole image at once against its windows one batch after the other.

Long, Shelhamer, Darrell 2015, section 3.1: a 10×10 grid of outputs of a 500×500 image, more than
five times faster than the naïve way. torchvision's nets read 224 pixels at stride 32, so here the
10×10 windows are those of a 512×512 image.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.rows import Line
from benchmarks.timing import Settings, against, alternate
from fcn_tutorial.surgery import convolutionalize
from fcn_tutorial.vision import models as vision

CASE = "patches"
WINDOW, STRIDE = 224, 32
BATCH = 20  # windows at a time: larger ones are no faster on a CPU
TARGET = 5.0


def lines(settings: Settings) -> list[Line]:
    """AlexNet and VGG16 with random weights, forward only."""
    grid, classes = (2, 10) if settings.smoke else (10, 1000)
    side = WINDOW + STRIDE * (grid - 1)
    image = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    found: list[Line] = []
    for name, build in (("AlexNet", vision.alexnet), ("VGG16", vision.vgg16)):
        if settings.smoke and name == "VGG16":
            continue  # its 138 million weights alone take seconds to draw
        settings.say(f"building {name}")
        classifier = build(weights=None, num_classes=classes)
        classifier = classifier.eval().to(settings.device)
        network = convolutionalize(classifier, WINDOW)
        found += _rows(name, classifier, network, image.to(settings.device), grid, settings)
        del classifier, network
    return found


def _rows(
    name: str,
    classifier: nn.Module,
    network: nn.Module,
    image: Tensor,
    grid: int,
    settings: Settings,
) -> list[Line]:
    patches = f"patch by patch, batches of {BATCH}"
    with torch.inference_mode():
        shapes = {by_patches(classifier, image).shape, network(image).shape}
        if len(shapes) != 1 or shapes.pop()[2:] != (grid, grid):
            raise RuntimeError(f"patches: {name} does not give a {grid}×{grid} grid both ways")
        measured = alternate(
            {"ours": partial(network, image), patches: partial(by_patches, classifier, image)},
            settings,
        )
    what = f"{name}, {grid}×{grid} outputs of {image.shape[2]}×{image.shape[3]}"
    return [*against(CASE, what, measured, {patches: TARGET})]


def by_patches(classifier: nn.Module, image: Tensor) -> Tensor:
    """Image (1, 3, H, W) → scores (1, C, H', W') of every window, one stride apart."""
    windows = image[0].unfold(1, WINDOW, STRIDE).unfold(2, WINDOW, STRIDE)  # (3, H', W', 224, 224)
    rows, columns = windows.shape[1:3]
    every = windows.permute(1, 2, 0, 3, 4).reshape(rows * columns, 3, WINDOW, WINDOW)
    scores = torch.cat([classifier(batch) for batch in every.split(BATCH)])
    return scores.T.reshape(1, -1, rows, columns)
