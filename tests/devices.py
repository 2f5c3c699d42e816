"""Devices that a test runs on: the CPU, and CUDA, under the marker `cuda`, where there is one.

`python -m benchmarks.gpu` runs the tests with that marker, in the files that import this one.
"""

import pytest
import torch

needs_cuda = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
CUDA = pytest.param("cuda", marks=needs_cuda)
DEVICES = ["cpu", CUDA]
on_every_device = pytest.mark.parametrize("device", DEVICES)
on_cuda = pytest.mark.parametrize("device", [CUDA])
