"""SegNet and SegNet-Basic against the released layer lists, unpooling against its definition."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fcn_tutorial import export, geometry
from fcn_tutorial.models import Card, SegNet, SegNetBasic, inference, segnet
from fcn_tutorial.models.segnet import Unpooling, unpool
from tests.surgery.caffe_files import write_caffemodel
from tests.versions import exports

BOTH = [SegNet, SegNetBasic]
CARD = Card.of("abc", [(0, 0, 0), (9, 9, 9), (90, 0, 0)])
# The layers of SegNet-Tutorial's prototxt files, in their order: convolutions by name (each but the
# last with a norm), ReLU where there is one, poolings and unpoolings by number.
_SEGNET = """
    conv1_1 relu conv1_2 relu pool1 conv2_1 relu conv2_2 relu pool2
    conv3_1 relu conv3_2 relu conv3_3 relu pool3 conv4_1 relu conv4_2 relu conv4_3 relu pool4
    conv5_1 relu conv5_2 relu conv5_3 relu pool5
    upsample5 conv5_3_D relu conv5_2_D relu conv5_1_D relu
    upsample4 conv4_3_D relu conv4_2_D relu conv4_1_D relu
    upsample3 conv3_3_D relu conv3_2_D relu conv3_1_D relu
    upsample2 conv2_2_D relu conv2_1_D relu upsample1 conv1_2_D relu conv1_1_D
"""
_BASIC = """
    norm conv1 relu pool1 conv2 relu pool2 conv3 relu pool3 conv4 relu pool4
    upsample4 conv_decode4 upsample3 conv_decode3 upsample2 conv_decode2 upsample1 conv_decode1
    conv_classifier
"""
LISTS = {SegNet: _SEGNET.split(), SegNetBasic: _BASIC.split()}
Blobs = dict[str, list[np.ndarray]]  # type: ignore[type-arg]


def small(kind: type[Unpooling], classes: int = 3) -> Unpooling:
    torch.manual_seed(0)
    network: Unpooling = kind(classes, width=1 / 32)  # type: ignore[call-arg]
    return network


@pytest.mark.parametrize(("kind", "count"), [(SegNet, 29_449_355), (SegNetBasic, 1_416_587)])
def test_it_has_the_published_number_of_parameters(kind: type[Unpooling], count: int) -> None:
    with torch.device("meta"):
        network = kind(11)  # type: ignore[call-arg]
    assert sum(p.numel() for p in network.parameters()) == count


def test_sizes_halve_rounded_up_and_come_back() -> None:
    with torch.device("meta"):
        network = SegNet(11).eval()
        sizes = [(360, 480)]
        for block in (*network.encoders, *network.decoders):
            block.register_forward_hook(lambda m, given, out: sizes.append(tuple(out.shape[-2:])))
        network(torch.empty(1, 3, 360, 480))
    coarse = [(360, 480), (180, 240), (90, 120), (45, 60), (23, 30)]
    assert sizes == [(360, 480), *coarse, *coarse[::-1]]


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (45, 61), (16, 33)])
def test_unpooling_puts_each_value_where_its_maximum_was(size: tuple[int, int]) -> None:
    maps = torch.randn(2, 3, *size, dtype=torch.float64)
    pooled, places = F.max_pool2d(maps, 2, ceil_mode=True, return_indices=True)
    values = torch.randn_like(pooled)
    expected = torch.zeros_like(maps)
    for n, c, i, j in np.ndindex(*values.shape):
        window = maps[n, c, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
        row, column = divmod(int(window.argmax()), window.shape[1])
        expected[n, c, 2 * i + row, 2 * j + column] = values[n, c, i, j]
    assert torch.equal(unpool(values, places, size), expected)
    assert torch.equal(F.max_unpool2d(values, places, 2, output_size=list(size)), expected)


def test_unpooling_is_the_adjoint_of_pooling_and_undone_by_it() -> None:
    maps = torch.rand(2, 3, 23, 30, dtype=torch.float64)
    pooled, places = F.max_pool2d(maps, 2, ceil_mode=True, return_indices=True)
    values = torch.randn_like(pooled)
    picked = maps.flatten(2).gather(2, places.flatten(2)).view_as(pooled)
    there, back = (unpool(values, places, (23, 30)) * maps).sum(), (values * picked).sum()
    assert torch.allclose(there, back, rtol=1e-13)  # sums in another order
    assert torch.equal(F.max_pool2d(unpool(pooled, places, (23, 30)), 2, ceil_mode=True), pooled)


def by_chance(maps: Tensor, kernel: int, **settings: bool) -> tuple[Tensor, Tensor]:
    """Pooling with the value of any pixel of a window, and the place of any: on all of them both
    depend. (Of one maximum both are the same pixel's, so that gradients alone see less.)
    """
    pairs = [F.max_pool2d(torch.rand_like(maps), kernel, **settings)[1] for _ in range(2)]
    return maps.flatten(2).gather(2, pairs[0].flatten(2)).view_as(pairs[0]), pairs[1]


@pytest.mark.parametrize(("kind", "field", "least"), [(SegNet, 404, 372), (SegNetBasic, 202, 186)])
def test_the_field_is_that_of_its_gradients(
    kind: type[Unpooling], field: int, least: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segnet, "max_pool2d", by_chance)
    network = small(kind).double().eval()
    for parameter in network.parameters():
        parameter.data.abs_()  # no path cancels another
    assert geometry.receptive_field(network.layers()).size == field
    grid, spans, reaches = network.grid(), [], []
    for phase in (0, grid // 2 - 5, 2 * grid // 3):
        y = field // 2 // grid * grid + grid + phase
        images = torch.rand(8, 3, 32, field + 3 * grid, dtype=torch.float64, requires_grad=True)
        scores: Any = network(images)
        scores[..., y].sum().backward()
        assert images.grad is not None
        seen = images.grad.abs().sum((0, 1, 2)).nonzero()[:, 0] - y
        spans.append(int(seen[-1] - seen[0]) + 1)
        reaches += [-int(seen[0]), int(seen[-1])]
    assert (max(spans), min(spans)) == (field, least) and max(reaches) <= network.margin()


@pytest.mark.parametrize("kind", BOTH)
def test_tiles_give_what_the_whole_image_gives(kind: type[Unpooling]) -> None:
    network = small(kind).double().eval()
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (3, 40, 530), generator=generator, dtype=torch.uint8)
    whole, tiled = (inference.scores(network, image, tile=tile) for tile in (0, 60))
    assert isinstance(whole, Tensor) and isinstance(tiled, Tensor)
    assert torch.allclose(tiled, whole, atol=1e-12)


def released(kind: type[Unpooling], classes: int = 3, seed: int = 0) -> Blobs:
    """A file's blobs, as narrow as `small`, in the layer order of the prototxt."""
    random = np.random.default_rng(seed)
    shapes = {name: module for name, module in small(kind, classes).caffe_layers().items()}
    blobs: Blobs = {}
    for name in (name for name in LISTS[kind] if name.startswith("conv")):
        shape = tuple(shapes[name].weight.shape)  # type: ignore[union-attr, arg-type]
        spread = (2 / np.prod(shape[1:])) ** 0.5
        blobs[name] = [random.normal(0, spread, shape), random.normal(0, 0.1, shape[0])]
        if name not in (LISTS[kind][-1],):
            one = (1, shape[0], 1, 1)
            blobs[f"{name}_bn"] = [random.uniform(0.5, 1.5, one), random.normal(0, 0.1, one)]
    return blobs


def run(layers: list[str], blobs: Blobs, images: Tensor) -> Tensor:
    """The prototxt, line by line."""
    pooled: dict[str, tuple[Tensor, list[int]]] = {}
    x = images
    for name in layers:
        if name == "norm":
            x = F.local_response_norm(x, 5, 1e-4, 0.75, 1.0)
        elif name == "relu":
            x = F.relu(x)
        elif name.startswith("pool"):
            size = list(x.shape[-2:])
            x, places = F.max_pool2d(x, 2, 2, ceil_mode=True, return_indices=True)
            pooled[name[-1]] = places, size
        elif name.startswith("upsample"):
            x = F.max_unpool2d(x, pooled[name[-1]][0], 2, 2, output_size=pooled[name[-1]][1])
        else:
            weight, bias = (torch.from_numpy(b) for b in blobs[name])
            x = F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)
            if f"{name}_bn" in blobs:
                scale, shift = (torch.from_numpy(b) for b in blobs[f"{name}_bn"])
                x = x * scale + shift
    return x


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("size", [(1, 1), (45, 61), (64, 96)])
def test_a_released_file_gives_the_released_network(
    kind: type[Unpooling], size: tuple[int, int], tmp_path: Path
) -> None:
    blobs = {n: [b.astype(np.float32).astype(float) for b in v] for n, v in released(kind).items()}
    path = write_caffemodel(tmp_path / "segnet.caffemodel", blobs)
    network = kind.from_config(small(kind).config, path).double().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.fill_(1 - module.eps)  # type: ignore[union-attr]  # not rounded to float32
    images = 255 * torch.rand(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        scores, expected = network(images), run(LISTS[kind], blobs, images.flip(1))  # BGR
    assert torch.allclose(scores, expected, rtol=1e-9, atol=1e-9 * float(expected.abs().max()))


def test_a_file_of_vgg16_fills_the_encoder_and_nothing_else(tmp_path: Path) -> None:
    blobs = {n: b for n, b in released(SegNet).items() if n.startswith("conv") and n[-1].isdigit()}
    path = write_caffemodel(tmp_path / "vgg.caffemodel", {**blobs, "fc6": [np.zeros((4, 9))]})
    network = SegNet.from_config(small(SegNet).config, path)
    first = torch.from_numpy(blobs["conv1_1"][0]).flip(1).float()
    assert torch.equal(network.caffe_layers()["conv1_1"].weight, first)  # type: ignore[arg-type]
    lacking = {name: b for name, b in blobs.items() if name != "conv3_2"}
    with pytest.raises(ValueError, match="no layer 'conv3_2'"):
        SegNet.from_config(network.config, write_caffemodel(path, lacking))
    lacking["conv3_2"] = [np.zeros((2, 1, 3, 3))]
    with pytest.raises(ValueError, match="conv3_2 has weights"):
        SegNet.from_config(network.config, write_caffemodel(path, lacking))


def test_torchvisions_vgg16_with_norms_fills_the_encoder(tmp_path: Path) -> None:
    torch.manual_seed(1)
    trained = small(SegNet)
    layers = [m for block in trained.encoders for m in [*block.children(), nn.MaxPool2d(2)]]
    state = nn.ModuleDict({"features": nn.Sequential(*layers)}).state_dict()
    assert "features.40.weight" in state and "features.43.weight" not in state  # conv5_3, as there
    state = {name: t for name, t in state.items() if "tracked" not in name}  # as files of 2017
    torch.save(state, tmp_path / "vgg16_bn.pth")
    network = SegNet.from_config(trained.config, tmp_path / "vgg16_bn.pth")
    for name in network.trunk():
        assert torch.equal(network.get_parameter(name), trained.get_parameter(name))


def test_freezing_holds_the_first_encoders() -> None:
    network = small(SegNet)
    held = {id(p) for p in network.freezable(2)}
    names = {n for n, p in network.named_parameters() if id(p) in held}
    assert names == {
        n for n, _ in network.named_parameters() if n[:11] in ("encoders.0.", "encoders.1.")
    }


def test_half_of_the_deeper_values_are_dropped_in_training_alone() -> None:
    network = SegNet(3, 1 / 32, dropout=0.5)
    dropping = [
        block
        for block in (*network.encoders, *network.decoders)
        if "drop" in dict(block.named_children())
    ]
    assert dropping == [*network.encoders[2:], *network.decoders[:3]]
    images = torch.rand(1, 3, 64, 64)
    network.eval()
    assert torch.equal(network(images), network(images))  # type: ignore[arg-type]


@exports
def test_unpooling_reaches_onnx_at_every_size(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    done = export.export(small(SegNetBasic).eval(), CARD, tmp_path / "net.onnx", "onnx")
    assert done.error <= export.TOLERANCE * max(1, done.largest) and len(done.sizes) == 3
