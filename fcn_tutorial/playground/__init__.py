"""Things to move in a page without a kernel: the reader drags, paints, edits, and numbers answer.

Each function makes an `Element`, HTML with its data and a plain script inside, that works in a
rendered page (also from a file, offline), in Jupyter and in Colab.
"""

from fcn_tutorial.playground.element import LIMIT, Element
from fcn_tutorial.playground.network import cut_out, network
from fcn_tutorial.playground.operations import (
    KERNELS,
    absent,
    alignment,
    confusion,
    convolution,
    crops,
    deconvolution,
    fields,
)
from fcn_tutorial.playground.table import table

__all__ = [
    "KERNELS", "LIMIT", "Element", "absent", "alignment", "confusion", "convolution", "crops",
    "cut_out", "deconvolution", "fields", "network", "table",
]  # fmt: skip
