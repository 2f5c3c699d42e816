"""torchvision, also beside a torch that it was not compiled for; imported from here everywhere.

torchvision's wheels register two custom operators from a compiled extension. Beside a CPU-only
torch that extension does not load, and `import torchvision` then stops with "operator
torchvision::nms does not exist", although nothing in this package uses either operator. Declaring
the two schemas first is enough for models, transforms and tv_tensors; calling the operators
themselves (and `torchvision.io`) still fails, so images are read with Pillow.
"""

import sys

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


# Kept alive for the life of the process: a Library object undoes its definitions when collected.
_library: torch.library.Library | None = None

if "torchvision" not in sys.modules:
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        # Forget the half-made import, so that the next `import torchvision` starts afresh.
        for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        _library = torch.library.Library("torchvision", "DEF")
        for schema in _SCHEMAS:
            _library.define(schema)

from torchvision import datasets, models, tv_tensors  # noqa: E402
from torchvision.models import feature_extraction  # noqa: E402
from torchvision.models.convnext import CNBlock  # noqa: E402
from torchvision.transforms import v2  # noqa: E402
from torchvision.transforms.v2 import functional  # noqa: E402

__all__ = [
    "CNBlock",
    "datasets",
    "feature_extraction",
    "functional",
    "models",
    "tv_tensors",
    "v2",
]
