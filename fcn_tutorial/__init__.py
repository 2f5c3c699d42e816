"""Fully convolutional networks for semantic segmentation, from the arithmetic to the training run.

The package is imported a module at a time (`from fcn_tutorial import geometry`); attribute access
loads a module when it is first used, so `import fcn_tutorial` alone stays without torch.
"""

import importlib
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
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
