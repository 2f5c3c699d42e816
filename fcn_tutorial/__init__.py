"""Fully convolutional networks for semantic segmentation, from the arithmetic to the training run.

Train one on generated street scenes, score it on others and label a picture; paste this into a
notebook, a file or, without its margin, a prompt::

    import torch
    from fcn_tutorial import datasets, losses, metrics, models

    train = datasets.Scenes(n=16, size=(64, 64))
    test = datasets.Scenes(n=4, size=(64, 64), split="test")
    model = models.FCN("tiny", num_classes=len(train.classes), stride=8)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)

    for image, target in train:  # uint8 (3, H, W) and (H, W), void 255
        scores = model(model.preprocess(image[None]))  # (1, 12, H, W)
        loss = losses.pixel_cross_entropy(scores, target[None])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    model.eval()
    confusion = metrics.ConfusionMatrix(len(train.classes))
    for image, target in test:
        confusion.update(model.predict(image), target)

    print(f"mean IU {confusion.compute().mean_iu:.3f} after {len(train)} steps")

One line of a shell trains it to the end (`fcn-tutorial train scenes-fcn8s`), another says what is
installed and what to do next (`fcn-tutorial doctor`).

- `datasets`: readers of published data sets, of your own folder, and generated scenes;
- `models`: FCN-32s, -16s and -8s on any trunk, and SegNet, U-Net, DeepLab and others after it;
- `surgery`: make a classifier convolutional, list a network's layers, read Caffe's weights;
- `losses`, `upsampling`, `transforms`, `metrics`, `crf`: what they are called;
- `training`, `predict`: recipes, the loop, run folders; label pictures of any size;
- `geometry`, `scratch`: sizes, fields and offsets in exact fractions; each operation in NumPy;
- `visualize`, `widgets`, `playground`: figures, those with a slider, and things to move in a page;
- `prior`: the methods before; `assets`: small files that travel.

Modules are imported when they are first used, so `import fcn_tutorial` alone stays without torch.
"""

import importlib
import sys
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType

__all__ = [
    "assets",
    "crf",
    "datasets",
    "geometry",
    "losses",
    "metrics",
    "models",
    "playground",
    "predict",
    "prior",
    "scratch",
    "surgery",
    "training",
    "transforms",
    "upsampling",
    "visualize",
    "widgets",
]

try:
    __version__ = version("fcn-tutorial")
except PackageNotFoundError:  # used from a source tree that was never installed
    __version__ = "0+unknown"


def __getattr__(name: str) -> ModuleType:
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    # With its object Python names the nearest of `dir`.
    raise AttributeError(
        f"module {__name__!r} has no attribute {name!r}", name=name, obj=sys.modules[__name__]
    )


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
