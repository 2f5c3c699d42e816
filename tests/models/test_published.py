"""alignment="caffe" against a literal transcription of the published nets (reference net.py)."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fcn_tutorial.models import FCN
from fcn_tutorial.upsampling import bilinear_kernel


def _deconvolve(scores: Tensor, factor: int) -> Tensor:
    """The dense bilinear deconvolution of the reference: C × C kernels, zero off the diagonal."""
    classes, kernel = scores.shape[1], bilinear_kernel(factor)
    weight = torch.zeros(classes, classes, *kernel.shape, dtype=scores.dtype)
    weight[range(classes), range(classes)] = kernel.to(scores.dtype)
    return F.conv_transpose2d(scores, weight, stride=factor)


def _crop(scores: Tensor, offset: int, size: torch.Size) -> Tensor:
    return scores[..., offset : offset + size[0], offset : offset + size[1]]


def published(model: FCN, images: Tensor) -> Tensor:
    """pad 100, ceil pooling, fc6 without padding, crops 19 / 5, 27 / 5, 9, 31 typed in."""
    trunk = model.backbone
    convolutions = [m for m in trunk.modules() if isinstance(m, nn.Conv2d)]
    taps, x, used = {}, images, 0
    for stage, count in enumerate((2, 2, 3, 3, 3), 1):
        for layer in convolutions[used : used + count]:
            padding = 100 if layer is convolutions[0] else 1
            x = F.relu(F.conv2d(x, layer.weight, layer.bias, padding=padding))
        used += count
        x = F.max_pool2d(x, 2, 2, ceil_mode=True)
        taps[stage] = x
    for layer in convolutions[used:]:  # fc6, fc7
        x = F.relu(F.conv2d(x, layer.weight, layer.bias))
    size = images.shape[-2:]
    fr = model.score_fr(x)
    if model.stride == 32:
        return _crop(_deconvolve(fr, 32), 19, size)
    up = _deconvolve(fr, 2)
    fused = up + _crop(model.score_pool4(taps[4]), 5, up.shape[-2:])  # type: ignore[operator]
    if model.stride == 16:
        return _crop(_deconvolve(fused, 16), 27, size)
    up = _deconvolve(fused, 2)
    fused = up + _crop(model.score_pool3(taps[3]), 9, up.shape[-2:])  # type: ignore[operator]
    return _crop(_deconvolve(fused, 8), 31, size)


@pytest.mark.parametrize("stride", [32, 16, 8])
@pytest.mark.parametrize("size", [(1, 1), (33, 47), (64, 96), (97, 130), (150, 101)])
def test_caffe_alignment_equals_the_published_net(stride: int, size: tuple[int, int]) -> None:
    torch.manual_seed(stride)
    model = FCN("vgg16", 4, stride, "caffe", width=1 / 32).double().eval()
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):  # scores of order one, none of them zero
            nn.init.kaiming_normal_(layer.weight)
            nn.init.normal_(layer.bias, std=0.1)  # type: ignore[arg-type]
    images = torch.randn(1, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        expected, scores = published(model, images), model(images)
    assert scores.shape == expected.shape == (1, 4, *size)
    assert torch.allclose(scores, expected, rtol=1e-10, atol=1e-10 * float(expected.abs().max()))
