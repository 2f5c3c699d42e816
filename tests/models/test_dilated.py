"""Dilated8 against its released layer list and its paper's Table 1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fcn_tutorial import geometry, surgery
from fcn_tutorial.losses import upsample_cross_entropy
from fcn_tutorial.models import Dilated8, inference
from tests.surgery.caffe_files import write_caffemodel

# Convolutions of dilation8_pascal_voc_deploy.prototxt, in its order: name, padding, dilation.
_CONTEXT = [
    ("ct_conv1_1", 33, 1), ("ct_conv1_2", 0, 1), ("ct_conv2_1", 0, 2), ("ct_conv3_1", 0, 4),
    ("ct_conv4_1", 0, 8), ("ct_conv5_1", 0, 16), ("ct_fc1", 0, 1), ("ct_final", 0, 1),
]  # fmt: skip
_FRONT = """
    conv1_1 conv1_2 pool conv2_1 conv2_2 pool conv3_1 conv3_2 conv3_3 pool conv4_1 conv4_2 conv4_3
"""


def small(context: Any = "large", classes: int = 2) -> Dilated8:
    torch.manual_seed(0)
    return Dilated8(classes, context, width=1 / 64).double().eval()


@pytest.mark.parametrize(
    ("context", "count", "field"),
    [("none", 134_346_581, 380), ("large", 141_149_720, 908), ("basic", None, 908)],
)
def test_it_has_the_released_parameters_and_field(context: Any, count: Any, field: int) -> None:
    with torch.device("meta"):
        network = Dilated8(21, context).eval()
        seen = network.head(network.features(torch.empty(1, 3, 900, 900)))
        assert seen.shape[-2:] == (66, 66)
        assert network.training_scores(torch.empty(1, 3, 528, 20)).shape == (1, 21, 66, 3)
    assert network.border == 186
    found = geometry.receptive_field(network.layers())
    # Score i stands in the middle of pixels 8i … 8i + 7, 186 of the border before them.
    assert (found.size, found.stride, float(found.centre) - 186) == (field, 8, 3.5)
    front = sum(p.numel() for p in [*network.features.parameters(), *network.head.parameters()])
    assert front == 134_346_581
    if count is None:
        count = front + 64 * 21**2 + 8 * 21  # 64 C² weights, and a bias a channel of eight layers
    assert sum(p.numel() for p in network.parameters()) == count


def test_the_context_grows_as_in_table_1() -> None:
    fields = [3, 5, 9, 17, 33, 65, 67, 67]
    for kind in ("basic", "large"):
        context = small(kind).context
        layers = surgery.trace(context, 64)
        assert [geometry.receptive_field(layers[: i + 1]).size for i in range(8)] == fields
        scores = torch.rand(1, 2, 11, 30, dtype=torch.float64)
        assert context(scores).shape == scores.shape


@pytest.mark.parametrize(("context", "field"), [("none", 380), ("basic", 908), ("large", 908)])
def test_the_field_is_that_of_its_gradients(context: Any, field: int) -> None:
    network = small(context)
    for i, layer in enumerate(network.features):
        if isinstance(layer, nn.MaxPool2d):
            network.features[i] = nn.AvgPool2d(2)  # the same window, every pixel counts
    for parameter in network.parameters():
        nn.init.uniform_(parameter, 0.1, 1)  # no path cancels another, and none starts at zero
    image = torch.rand(1, 3, 8, 8 * (field // 8) + 24, dtype=torch.float64, requires_grad=True)
    scores = network.training_scores(image)
    middle = scores.shape[-1] // 2
    (scores[..., middle] / scores.detach()[..., middle]).sum().backward()
    assert image.grad is not None
    seen = image.grad.abs().sum((0, 1, 2)).nonzero()[:, 0]
    assert int(seen[-1] - seen[0]) + 1 == field
    assert int(seen[0] + seen[-1]) == 2 * 8 * middle + 7  # centred between pixels 8i + 3 and 8i + 4


@pytest.mark.parametrize("classes", [1, 2, 5])
def test_the_context_starts_as_the_identity(classes: int) -> None:
    """Of what is not negative: its ReLUs cut off the rest."""
    scores = torch.rand(1, classes, 20, 24, dtype=torch.float64)
    with torch.no_grad():
        assert torch.equal(small("basic", classes).context(scores), scores)
        large = small("large", classes).context
        assert torch.allclose(large(scores), scores, atol=0.02)  # equation 5 has noise
        for layer in large.children():
            if isinstance(layer, nn.Conv2d):
                layer.weight[layer.weight.abs() < 0.02] = 0
        assert torch.allclose(large(scores), scores, atol=1e-7)  # shares were float32


def literal(blobs: dict[str, Any], images: Tensor) -> Tensor:
    """The prototxt line by line, on images with their border."""

    def conv(name: str, x: Tensor, **settings: int) -> Tensor:
        weight, bias = (torch.from_numpy(b) for b in blobs[name])
        return F.conv2d(x, weight, bias, **settings)

    x = images
    for name in _FRONT.split():
        x = F.max_pool2d(x, 2, 2) if name == "pool" else F.relu(conv(name, x))
    for name in ("conv5_1", "conv5_2", "conv5_3"):
        x = F.relu(conv(name, x, dilation=2))
    x = F.relu(conv("fc7", F.relu(conv("fc6", x, dilation=4))))
    x = conv("fc-final", x)
    for name, padding, dilation in _CONTEXT:
        x = conv(name, x, padding=padding, dilation=dilation)
        x = x if name == "ct_final" else F.relu(x)
    return x


@pytest.mark.parametrize("size", [(24, 16), (1, 1), (13, 40)])
def test_a_released_file_gives_the_released_network(size: tuple[int, int], tmp_path: Path) -> None:
    random, blobs = np.random.default_rng(0), {}
    for name, layer in small().caffe_layers().items():
        shape = tuple(layer.weight.shape)  # type: ignore[union-attr, arg-type]
        values = [
            random.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape),
            random.normal(size=shape[0]),
        ]
        blobs[name] = [value.astype(np.float32).astype(float) for value in values]
    path = write_caffemodel(tmp_path / "dilation8.caffemodel", blobs)
    network = Dilated8.from_config(small().config, path).double().eval()
    images = 255 * torch.rand(1, 3, *size, dtype=torch.float64)
    ends = [186 + -n % 8 for n in size]
    borders = [(0, 0), (0, 0), (186, ends[0]), (186, ends[1])]
    wide = torch.from_numpy(np.pad(images.numpy(), borders, mode="reflect"))
    with torch.no_grad():
        scores, expected = network.training_scores(images), literal(blobs, wide.flip(1))  # BGR
    assert torch.allclose(scores, expected, rtol=0, atol=1e-9 * float(expected.abs().max()))
    del blobs["conv4_2"]
    with pytest.raises(ValueError, match="no layer 'conv4_2'"):
        Dilated8.from_config(network.config, write_caffemodel(path, blobs))


def test_scores_are_interpolated_and_compared_in_the_middle_of_eight_pixels() -> None:
    network = small()
    images = torch.randn(1, 3, 40, 24, dtype=torch.float64)
    labels = torch.randint(0, 2, (1, 40, 24))
    factor, offset, border = network.placement()
    with torch.no_grad():
        coarse = network.training_scores(images)
        fine: Any = network(images)
        loss = upsample_cross_entropy(coarse, labels, factor, offset, border=border)
    expected = F.interpolate(coarse, scale_factor=8, mode="bilinear", align_corners=False)
    assert torch.allclose(fine, expected, atol=1e-12)
    assert torch.allclose(loss, F.cross_entropy(expected, labels), atol=1e-12)


def test_tiles_give_what_the_whole_image_gives() -> None:
    network = small("basic")
    for layer in network.context.children():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=0.3)
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (3, 20, 1000), generator=generator, dtype=torch.uint8)
    whole, tiled = (inference.scores(network, image, tile=tile) for tile in (0, 130))
    assert isinstance(whole, Tensor) and isinstance(tiled, Tensor)
    assert torch.allclose(tiled, whole, atol=1e-10)


def test_an_unknown_context_is_named() -> None:
    with pytest.raises(
        ValueError, match="context='huge' is not known; choose none, basic or large"
    ):
        Dilated8(2, "huge")  # type: ignore[arg-type]
