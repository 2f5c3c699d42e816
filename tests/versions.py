"""What an older torch cannot do, and tests leave out there."""

import pytest
import torch

#: Files that take images of any size, and ONNX files.
exports = pytest.mark.skipif(torch.__version__ < "2.9", reason="torch 2.9 exports for any size")
#: Graphs in which a kernel's size or a number of groups is read from a shape.
follows_shapes = pytest.mark.skipif(
    torch.__version__ < "2.9", reason="older versions of torch.fx do not follow it"
)
#: Graphs in which fractions are reckoned with.
compiles_fractions = pytest.mark.skipif(
    torch.__version__ < "2.9", reason="older versions of torch.compile do not follow them"
)
