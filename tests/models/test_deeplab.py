"""DeepLab against its files' layer lists: counts, sizes, fields, branches and interpolation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fcn_tutorial import export, geometry
from fcn_tutorial.models import Card, DeepLab, inference
from fcn_tutorial.models.deeplab import VARIANTS
from tests.surgery.caffe_files import write_caffemodel
from tests.versions import exports

CARD = Card.of("abc", [(0, 0, 0), (9, 9, 9), (90, 0, 0)])
Blobs = dict[str, list[np.ndarray]]  # type: ignore[type-arg]
# The layers of the authors' VGG16 nets, in their order, up to the last pooling.
_VGG16 = """
    conv1_1 conv1_2 pool/2 conv2_1 conv2_2 pool/2 conv3_1 conv3_2 conv3_3 pool/2
    conv4_1 conv4_2 conv4_3 pool/1 conv5_1 conv5_2 conv5_3 pool/1
"""


def small(variant: Any, classes: int = 3, **settings: Any) -> DeepLab:
    torch.manual_seed(0)
    width = 1 / 8 if variant == "aspp-tiny" else 1 / 64
    network = DeepLab(variant, classes, width=width, **settings).double().eval()
    for branch in network.branches:
        nn.init.normal_(branch.get_submodule("fc8").weight, std=0.5)  # type: ignore[arg-type]
    return network


@pytest.mark.parametrize(
    ("variant", "count", "field"),
    [
        ("largefov", 20_505_429, 419),
        ("aspp-vgg16", 37_877_652, 611),
        ("aspp-resnet101", 44_048_532, 1411),
    ],
)
def test_it_has_the_published_parameters_and_field(variant: Any, count: int, field: int) -> None:
    with torch.device("meta"):
        network = DeepLab(variant)
    assert sum(p.numel() for p in network.parameters()) == count
    assert geometry.receptive_field(network.layers()) == (field, 8, 0)


def test_the_net_of_2015_averages_behind_its_last_pooling() -> None:
    with torch.device("meta"):
        network = DeepLab("largefov", average=True)
    assert geometry.receptive_field(network.layers()).size == 435
    assert sum(p.numel() for p in network.parameters()) == 20_505_429


@pytest.mark.parametrize("variant", VARIANTS)
def test_sides_of_8k_plus_1_have_a_score_at_every_eighth_pixel(variant: Any) -> None:
    with torch.device("meta"):
        network = DeepLab(variant, 3, width=1 / 16).eval()
        for n, count in ((321, 41), (41, 6), (40, 6), (8, 2), (1, 1)):
            scores = network.training_scores(torch.empty(1, 3, n, n))
            assert scores.shape == (1, 3, count, count)
            labels = network.supervised(torch.zeros(1, n, n))
            assert labels.shape[-1] == (count if n % 8 == 1 else count - 1)
    assert network.placement() == (1, 0, "replicate")


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_field_is_that_of_its_gradients(variant: Any) -> None:
    network = small(variant)
    for parameter in network.parameters():
        parameter.data.abs_()  # no path cancels another
    field = geometry.receptive_field(network.layers()).size
    image = torch.rand(16, 3, 33, 8 * (field // 8) + 17, dtype=torch.float64, requires_grad=True)
    scores = network.training_scores(image)
    middle = scores.shape[-1] // 2
    scores[..., middle].sum().backward()
    assert image.grad is not None
    seen = image.grad.abs().sum((0, 1, 2)).nonzero()[:, 0]
    assert int(seen[-1] - seen[0]) + 1 == field
    assert int(seen[0] + seen[-1]) == 2 * 8 * middle  # centred on pixel 8i
    assert network.margin() == (field - 1) // 2 + 8


def released(variant: str, classes: int = 3, seed: int = 0) -> Blobs:
    """A file's blobs, as narrow as `small`."""
    random = np.random.default_rng(seed)
    blobs: Blobs = {}
    for name, layer in small(variant, classes).caffe_layers().items():
        shape = tuple(layer.weight.shape)  # type: ignore[union-attr, arg-type]
        if isinstance(layer, nn.Conv2d):
            blobs[name] = [random.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape)]
            if layer.bias is not None:
                blobs[name].append(random.normal(0, 0.1, shape[0]))
            continue
        factor = np.array([4.0])  # what Caffe keeps of its averages: sums, and their weight
        blobs[name] = [random.normal(0, 1, shape), random.uniform(2, 6, shape), factor]
        scale = name.replace("bn", "scale", 1)
        blobs[scale] = [random.uniform(0.5, 1.5, shape), random.normal(0, 0.1, shape)]
    return {n: [b.astype(np.float32).astype(float) for b in v] for n, v in blobs.items()}


def conv(blobs: Blobs, name: str, x: Tensor, **settings: int) -> Tensor:
    weight, *bias = (torch.from_numpy(b) for b in blobs[name])
    return F.conv2d(x, weight, *bias, **settings)


def vgg16(blobs: Blobs, images: Tensor, branches: dict[str, int]) -> Tensor:
    """The authors' train.prototxt line by line, its branches {suffix: dilation of fc6}."""
    x = images
    for name in _VGG16.split():
        if name.startswith("pool"):
            x = F.max_pool2d(x, 3, int(name[-1]), 1, ceil_mode=True)
        else:
            rate = 2 if name.startswith("conv5") else 1
            x = F.relu(conv(blobs, name, x, padding=rate, dilation=rate))
    total = torch.zeros(())
    for suffix, rate in branches.items():
        y = F.relu(conv(blobs, f"fc6{suffix}", x, padding=rate, dilation=rate))
        y = F.relu(conv(blobs, f"fc7{suffix}", y))
        total = total + conv(blobs, f"fc8_voc12{suffix}", y)
    return total


def resnet101(blobs: Blobs, images: Tensor) -> Tensor:
    """The same of its ResNet-101: res2a … res5c, dilations 2 and 4, strides in the first 1×1."""

    def normed(name: str, norm: str, x: Tensor, **settings: int) -> Tensor:
        x = conv(blobs, name, x, **settings)
        mean, variance, factor = (torch.from_numpy(b) for b in blobs[norm])
        scale, shift = (torch.from_numpy(b) for b in blobs[norm.replace("bn", "scale", 1)])
        return F.batch_norm(x, mean / factor, variance / factor, scale, shift, eps=1e-5)

    x = F.relu(normed("conv1", "bn_conv1", images, stride=2, padding=3))
    x = F.max_pool2d(x, 3, 2, 1, ceil_mode=True)
    letters = {2: "abc", 3: ["a", "b1", "b2", "b3"], 4: ["a"] + [f"b{i}" for i in range(1, 23)]}
    for stage, rate in ((2, 1), (3, 1), (4, 2), (5, 4)):
        for letter in letters.get(stage, "abc"):
            at, stride = f"{stage}{letter}_branch", 2 if (stage, letter) == (3, "a") else 1
            y = F.relu(normed(f"res{at}2a", f"bn{at}2a", x, stride=stride))
            y = F.relu(normed(f"res{at}2b", f"bn{at}2b", y, padding=rate, dilation=rate))
            y = normed(f"res{at}2c", f"bn{at}2c", y)
            if letter == "a":
                x = normed(f"res{at}1", f"bn{at}1", x, stride=stride)
            x = F.relu(x + y)
    scores = [
        conv(blobs, f"fc1_voc12_c{i}", x, padding=rate, dilation=rate)
        for i, rate in enumerate((6, 12, 18, 24))
    ]
    return torch.stack(scores).sum(0)


@pytest.mark.parametrize(
    ("variant", "size"),
    [
        ("largefov", (1, 1)), ("largefov", (41, 57)), ("largefov", (50, 32)),
        ("aspp-vgg16", (41, 57)), ("aspp-resnet101", (25, 20)),
    ],
)  # fmt: skip
def test_a_released_file_gives_the_released_network(
    variant: str, size: tuple[int, int], tmp_path: Path
) -> None:
    blobs = released(variant)
    path = write_caffemodel(tmp_path / "deeplab.caffemodel", blobs)
    network = DeepLab.from_config(small(variant).config, path).double().eval()
    images = 255 * torch.rand(1, 3, *size, dtype=torch.float64)
    bgr = images.flip(1)
    with torch.no_grad():
        scores = network.training_scores(images)
        if variant == "aspp-resnet101":
            expected = resnet101(blobs, bgr)
        else:
            four = {f"_{i}": rate for i, rate in enumerate((6, 12, 18, 24), 1)}
            expected = vgg16(blobs, bgr, {"": 12} if variant == "largefov" else four)
    # Statistics are stored in float32: the quotient by their factor is rounded to it.
    close = 1e-5 if variant == "aspp-resnet101" else 1e-9
    assert torch.allclose(scores, expected, rtol=0, atol=close * float(expected.abs().max()))


def test_four_branches_are_four_nets_whose_scores_are_added() -> None:
    network = small("aspp-vgg16")
    images = torch.randn(1, 3, 57, 57, dtype=torch.float64)
    with torch.no_grad():
        total = network.training_scores(images)
        alone = []
        for i, branch in enumerate(network.branches):
            one = small("largefov")
            one.features.load_state_dict(network.features.state_dict())
            one.branches[0].load_state_dict(branch.state_dict())
            rate = (6, 12, 18, 24)[i]
            fc6: Any = one.branches[0].get_submodule("fc6")
            fc6.dilation = fc6.padding = (rate, rate)
            alone.append(one.training_scores(images))
    assert torch.allclose(total, torch.stack(alone).sum(0), atol=1e-12 * float(total.abs().max()))


def test_scores_are_interpolated_from_every_eighth_pixel() -> None:
    """Caffe's Interp layer with zoom_factor 8, which is bilinear with corners on corners."""
    network = small("largefov")
    images = torch.randn(1, 3, 65, 81, dtype=torch.float64)
    with torch.no_grad():
        coarse = network.training_scores(images)
        fine: Any = network(images)
    expected = F.interpolate(coarse, (65, 81), mode="bilinear", align_corners=True)
    assert torch.allclose(fine, expected, atol=1e-12)
    assert torch.allclose(fine[..., ::8, ::8], coarse, atol=1e-12)


@pytest.mark.parametrize("variant", ["largefov", "aspp-tiny"])
def test_tiles_give_what_the_whole_image_gives(variant: Any) -> None:
    network = small(variant)
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (3, 40, 620), generator=generator, dtype=torch.uint8)
    whole, tiled = (inference.scores(network, image, tile=tile) for tile in (0, 60))
    assert isinstance(whole, Tensor) and isinstance(tiled, Tensor)
    assert torch.allclose(tiled, whole, atol=1e-10)


def test_fc6_and_fc7_of_vgg16_are_decimated(tmp_path: Path) -> None:
    """Every third row and column and every fourth channel (ICLR 2015, §3.1 and §4.3)."""
    random = np.random.default_rng(0)
    blobs = {n: b for n, b in released("aspp-vgg16").items() if n.startswith("conv")}
    fc6, fc7 = random.normal(size=(64, 8 * 49)), random.normal(size=(64, 64))
    blobs |= {"fc6": [fc6, random.normal(size=64)], "fc7": [fc7, random.normal(size=64)]}
    path = write_caffemodel(tmp_path / "vgg16.caffemodel", blobs)
    for variant in ("largefov", "aspp-vgg16"):
        network = DeepLab.from_config(small(variant).config, path)
        for branch in network.branches:
            layers: dict[str, Any] = dict(branch.named_children())
            wanted = torch.from_numpy(fc6).view(64, 8, 7, 7)[::4, :, ::3, ::3].float()
            assert torch.equal(layers["fc6"].weight, wanted)
            wanted = torch.from_numpy(fc7).view(64, 64, 1, 1)[::4, ::4].float()
            assert torch.equal(layers["fc7"].weight, wanted)
            bias = torch.from_numpy(blobs["fc7"][1])[::4].float()
            assert torch.equal(layers["fc7"].bias, bias)


def test_torchvisions_vgg16_is_taken_and_its_resnet_is_not(tmp_path: Path) -> None:
    trained = small("largefov").float()
    state = {f"features.{n}": t for n, t in trained.features.state_dict().items()}
    state |= {"classifier.0.weight": torch.randn(64, 8 * 49), "classifier.0.bias": torch.randn(64)}
    state |= {"classifier.3.weight": torch.randn(64, 64), "classifier.3.bias": torch.randn(64)}
    torch.save(state, tmp_path / "vgg16.pth")
    network = DeepLab.from_config(trained.config, tmp_path / "vgg16.pth")
    for name, tensor in trained.features.state_dict().items():
        assert torch.equal(network.features.state_dict()[name], tensor)
    fc6: Any = network.branches[0].get_submodule("fc6")
    assert torch.equal(fc6.bias, state["classifier.0.bias"][::4])
    with pytest.raises(ValueError, match="strides in its 3×3"):
        DeepLab.from_config(small("aspp-resnet101").config, tmp_path / "vgg16.pth")
    with pytest.raises(ValueError, match="has no published weights"):
        DeepLab.from_config(small("aspp-tiny").config, tmp_path / "vgg16.pth")
    del state["features.5.weight"]
    torch.save(state, tmp_path / "vgg16.pth")
    with pytest.raises(ValueError, match="no layer 'conv2_1'"):
        DeepLab.from_config(trained.config, tmp_path / "vgg16.pth")


def test_the_scores_alone_start_from_nothing() -> None:
    network = small("aspp-vgg16")
    fresh = {n for n, _ in network.named_parameters()} - network.trunk()
    assert fresh == {f"branches.{i}.fc8.{part}" for i in range(4) for part in ("weight", "bias")}
    held = {id(p) for p in network.freezable(1)}
    names = {n for n, p in network.named_parameters() if id(p) in held}
    assert names == {f"features.{i}.{part}" for i in (0, 2) for part in ("weight", "bias")}


@exports
def test_it_reaches_onnx(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model = small("aspp-tiny").float()
    done = export.export(model, CARD, tmp_path / "net.onnx", "onnx", (41, 50))
    assert done.error <= export.TOLERANCE * max(1, done.largest)


def test_settings_that_are_not_offered_are_named() -> None:
    with pytest.raises(ValueError, match="variant='largefow' is not known; did you mean"):
        DeepLab("largefow")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="average=True is for variant='largefov'"):
        DeepLab("aspp-vgg16", average=True)
