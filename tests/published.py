"""The authors' networks as they published them, layer by layer: the oracle for `models.FCN`.

A transcription of the reference's net.py files (voc-fcn32s, -fcn16s, -fcn8s, -fcn8s-atonce and
voc-fcn-alexnet) with every number typed in: 100 pixels of padding, ceil-rounded pooling, dense
deconvolutions, crops 19 / 5, 27 / 5, 9, 31 / 18. Nothing here is derived and nothing is shared with
the package. Parameters carry the names of Caffe's layers.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# (name, output channels, kernel, padding) of VGG16's convolutions; None is a 2×2 pooling.
_VGG16 = [
    ("conv1_1", 64, 3, 100), ("conv1_2", 64, 3, 1), None,
    ("conv2_1", 128, 3, 1), ("conv2_2", 128, 3, 1), None,
    ("conv3_1", 256, 3, 1), ("conv3_2", 256, 3, 1), ("conv3_3", 256, 3, 1), None,
    ("conv4_1", 512, 3, 1), ("conv4_2", 512, 3, 1), ("conv4_3", 512, 3, 1), None,
    ("conv5_1", 512, 3, 1), ("conv5_2", 512, 3, 1), ("conv5_3", 512, 3, 1), None,
    ("fc6", 4096, 7, 0), ("fc7", 4096, 1, 0),
]  # fmt: skip

NETS = ("voc-fcn32s", "voc-fcn16s", "voc-fcn8s", "voc-fcn8s-atonce", "voc-fcn-alexnet")


def bilinear_weight(classes: int, kernel: int) -> Tensor:
    """(C, C, k, k) float64: a tent for each class with itself, zero between classes."""
    half = (kernel + 1) // 2
    centre = half - 1 if kernel % 2 else half - 0.5
    line = 1 - (torch.arange(kernel, dtype=torch.float64) - centre).abs() / half
    weight = torch.zeros(classes, classes, kernel, kernel, dtype=torch.float64)
    weight[range(classes), range(classes)] = torch.outer(line, line)
    return weight


def crop(scores: Tensor, offset: int, like: Tensor) -> Tensor:
    """Rows and columns from `offset` on, as many as `like` has."""
    height, width = like.shape[-2:]
    return scores[..., offset : offset + height, offset : offset + width]


class Published(nn.Module):
    """One of `NETS` with random weights; `width` thins it, for quick comparisons in float64."""

    upscore_weight: Tensor
    upscore2_weight: Tensor
    upscore_pool4_weight: Tensor
    upscore8_weight: Tensor
    upscore16_weight: Tensor

    def __init__(self, net: str = "voc-fcn8s", num_classes: int = 21, width: float = 1.0) -> None:
        super().__init__()
        self.net = net
        self.classes = num_classes
        if net == "voc-fcn-alexnet":
            a, b, c, hidden = (round(n * width) for n in (96, 256, 384, 4096))
            self.conv1 = nn.Conv2d(3, a, 11, stride=4, padding=100)
            self.conv2 = nn.Conv2d(a, b, 5, padding=2, groups=2)
            self.conv3 = nn.Conv2d(b, c, 3, padding=1)
            self.conv4 = nn.Conv2d(c, c, 3, padding=1, groups=2)
            self.conv5 = nn.Conv2d(c, b, 3, padding=1, groups=2)
            self.fc6, self.fc7 = nn.Conv2d(b, hidden, 6), nn.Conv2d(hidden, hidden, 1)
            self.score_fr = nn.Conv2d(hidden, num_classes, 1)
            self._deconvolution("upscore", 63)
            return
        channels, after_pool = 3, []
        for layer in _VGG16:
            if layer is None:
                after_pool.append(channels)
                continue
            name, wide, kernel, padding = layer
            out = round(wide * width)
            self.add_module(name, nn.Conv2d(channels, out, kernel, padding=padding))
            channels = out
        self.score_fr = nn.Conv2d(channels, num_classes, 1)
        if net == "voc-fcn32s":
            self._deconvolution("upscore", 64)
            return
        self._deconvolution("upscore2", 4)
        self.score_pool4 = nn.Conv2d(after_pool[3], num_classes, 1)
        if net == "voc-fcn16s":
            self._deconvolution("upscore16", 32)
            return
        self._deconvolution("upscore_pool4", 4)
        self.score_pool3 = nn.Conv2d(after_pool[2], num_classes, 1)
        self._deconvolution("upscore8", 16)

    def _deconvolution(self, name: str, kernel: int) -> None:
        weight = bilinear_weight(self.classes, kernel).to(torch.get_default_dtype())
        self.register_buffer(f"{name}_weight", weight)  # fixed: lr_mult 0

    def randomise(self, seed: int) -> Published:
        """Weights that keep the scores of order one, and no zeros to hide behind."""
        generator = torch.Generator().manual_seed(seed)
        for layer in self.children():
            assert isinstance(layer, nn.Conv2d) and layer.bias is not None
            nn.init.kaiming_normal_(layer.weight, generator=generator)
            nn.init.normal_(layer.bias, std=0.1, generator=generator)
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W), scores (N, C, H, W)."""
        if self.net == "voc-fcn-alexnet":
            return self._alexnet(images)
        pools, x = [], images
        for layer in _VGG16:
            if layer is None:
                x = F.max_pool2d(x, 2, 2, ceil_mode=True)
                pools.append(x)
            else:
                x = F.relu(getattr(self, layer[0])(x))
        score_fr = self.score_fr(x)
        if self.net == "voc-fcn32s":
            return crop(F.conv_transpose2d(score_fr, self.upscore_weight, stride=32), 19, images)
        upscore2 = F.conv_transpose2d(score_fr, self.upscore2_weight, stride=2)
        at_once = self.net == "voc-fcn8s-atonce"
        pool4 = pools[3] * 0.01 if at_once else pools[3]
        fuse_pool4 = upscore2 + crop(self.score_pool4(pool4), 5, upscore2)
        if self.net == "voc-fcn16s":
            return crop(
                F.conv_transpose2d(fuse_pool4, self.upscore16_weight, stride=16), 27, images
            )
        upscore_pool4 = F.conv_transpose2d(fuse_pool4, self.upscore_pool4_weight, stride=2)
        pool3 = pools[2] * 0.0001 if at_once else pools[2]
        fuse_pool3 = upscore_pool4 + crop(self.score_pool3(pool3), 9, upscore_pool4)
        return crop(F.conv_transpose2d(fuse_pool3, self.upscore8_weight, stride=8), 31, images)

    def _alexnet(self, images: Tensor) -> Tensor:
        x = F.relu(self.conv1(images))
        x = F.local_response_norm(F.max_pool2d(x, 3, 2, ceil_mode=True), 5, 1e-4, 0.75)
        x = F.relu(self.conv2(x))
        x = F.local_response_norm(F.max_pool2d(x, 3, 2, ceil_mode=True), 5, 1e-4, 0.75)
        x = F.relu(self.conv5(F.relu(self.conv4(F.relu(self.conv3(x))))))
        x = F.max_pool2d(x, 3, 2, ceil_mode=True)
        x = F.relu(self.fc7(F.relu(self.fc6(x))))
        return crop(
            F.conv_transpose2d(self.score_fr(x), self.upscore_weight, stride=32), 18, images
        )
