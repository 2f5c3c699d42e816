"""alignment="caffe" against the published networks, and the authors' files in ours."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from fcn_tutorial.models import FCN, LateFusion, load_published
from fcn_tutorial.transforms import Preprocess
from tests.models.networks import fcn
from tests.published import NETS, Published
from tests.surgery.caffe_files import write_caffemodel

SIZES = [
    (1, 1), (2, 31), (17, 32), (33, 47), (40, 65),
    (64, 96), (75, 100), (97, 130), (128, 99), (150, 101),
]  # fmt: skip


def ours(net: str, classes: int = 4, width: float = 1.0) -> FCN:
    if net == "voc-fcn-alexnet":
        return FCN("caffenet", classes, 32, "caffe", width=width)
    at_once = net.endswith("atonce")
    stride = int(net.removeprefix("voc-fcn").removesuffix("-atonce").removesuffix("s"))
    return FCN("vgg16", classes, stride, "caffe", at_once, width=width)


def give(published: Published, model: FCN) -> None:
    """Copy the oracle's weights, layer by layer in the order of the network."""
    source = {name: layer for name, layer in published.named_children()}
    scorers = [name for name in source if name.startswith("score")]
    trunk = [layer for name, layer in source.items() if name not in scorers]
    own = [layer for layer in model.backbone.modules() if isinstance(layer, nn.Conv2d)]
    pairs = list(zip(trunk, own, strict=True))
    pairs += [(source[name], model.get_submodule(name)) for name in scorers]  # type: ignore[misc]
    for theirs, mine in pairs:
        mine.load_state_dict(theirs.state_dict())


@pytest.mark.identity
@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("size", SIZES)
def test_caffe_alignment_equals_the_published_net(net: str, size: tuple[int, int]) -> None:
    width = 1 / 16 if net == "voc-fcn-alexnet" else 1 / 32
    published = Published(net, 4, width).randomise(sum(size)).double().eval()
    model = ours(net, width=width).double().eval()
    give(published, model)
    images = torch.randn(1, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        expected, scores = published(images), model(images)
    assert scores.shape == expected.shape == (1, 4, *size)
    assert torch.allclose(scores, expected, rtol=1e-10, atol=1e-10 * float(expected.abs().max()))


@pytest.mark.identity
@pytest.mark.parametrize("net", ["voc-fcn8s", "voc-fcn-alexnet"])
def test_full_width_equals_the_published_net(net: str) -> None:
    """Once at 134 (57) million weights, in float32: 4096 × 25 088 terms round to about 1e-6."""
    published = Published(net, 21).randomise(0).eval()
    model = ours(net, 21).eval()
    give(published, model)
    images = torch.randn(1, 3, 45, 61)
    with torch.no_grad():
        expected, scores = published(images), model(images)
    assert torch.allclose(scores, expected, atol=2e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("net", NETS)
def test_a_loss_has_the_published_gradients(net: str) -> None:
    published = Published(net, 3, 1 / 16).randomise(1).double().eval()
    model = ours(net, 3, width=1 / 16).double().eval()
    give(published, model)
    images = torch.randn(1, 3, 40, 33, dtype=torch.float64)
    coefficients = torch.randn(1, 3, 40, 33, dtype=torch.float64)
    (published(images) * coefficients).sum().backward()
    (model(images) * coefficients).sum().backward()
    first = next(layer for layer in published.children() if isinstance(layer, nn.Conv2d))
    own = next(layer for layer in model.backbone.modules() if isinstance(layer, nn.Conv2d))
    for theirs, mine in ((first, own), (published.score_fr, model.score_fr)):
        for a, b in zip(theirs.parameters(), mine.parameters(), strict=True):
            assert a.grad is not None and b.grad is not None
            assert torch.allclose(a.grad, b.grad, rtol=1e-9, atol=1e-10 * float(a.grad.abs().max()))


def test_fcn_32s_has_as_many_weights_as_the_published_one() -> None:
    with torch.device("meta"):
        model = FCN("vgg16", 21, 32, "caffe")
    learned = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert learned == 134_346_581
    assert learned == sum(p.numel() for p in Published("voc-fcn32s").parameters())


# ---- the authors' files --------------------------------------------------------------------------


def caffe_layers(published: Published, suffix: str = "") -> dict[str, list[Tensor]]:
    """The blobs as Caffe stores them: the first layer reads BGR, unless it reads HHA."""
    layers: dict[str, list[Tensor]] = {}
    for name, layer in published.named_children():
        assert isinstance(layer, nn.Conv2d) and layer.bias is not None
        weight = layer.weight.detach()
        if name in ("conv1_1", "conv1") and suffix != "hha":
            weight = weight.flip(1)
        layers[name + suffix] = [weight, layer.bias.detach()]
    for name, buffer in published.named_buffers():
        layers[name.removesuffix("_weight")] = [buffer]
    return layers


def write(path: Path, layers: dict[str, list[Tensor]]) -> Path:
    write_caffemodel(path, {name: [b.numpy() for b in blobs] for name, blobs in layers.items()})
    return path


@pytest.mark.parametrize("net", NETS)
def test_a_published_file_gives_the_published_scores(net: str, tmp_path: Path) -> None:
    published = Published(net, 4, 1 / 16).randomise(2).eval()
    path = write(tmp_path / "net.caffemodel", caffe_layers(published))
    model = ours(net, width=1 / 16).eval()
    report = load_published(model, path)
    images = torch.randn(1, 3, 50, 70)
    with torch.no_grad():
        assert torch.allclose(model(images), published(images), rtol=1e-4, atol=1e-4)
    assert not report.missing and not report.unused and not report.skipped
    assert torch.equal(model.preprocess.mean, Preprocess("caffe").mean)
    assert model.config.preprocessing == "caffe"


def test_a_classifiers_file_fills_the_trunk_and_leaves_the_scores_at_zero(tmp_path: Path) -> None:
    """VGG_ILSVRC_16_layers.caffemodel: fc6 and fc7 are fully connected, fc8 is not ours."""
    published = Published("voc-fcn32s", 4, 1 / 16).randomise(3)
    layers = caffe_layers(published)
    layers = {k: v for k, v in layers.items() if not k.startswith(("score", "up"))}
    for name in ("fc6", "fc7"):
        layers[name][0] = layers[name][0].flatten(1)
    layers["fc8"] = [torch.randn(1000, 256), torch.zeros(1000)]
    model = FCN("vgg16", 4, 8, width=1 / 16)
    report = load_published(model, write(tmp_path / "vgg.caffemodel", layers))
    fc6 = [m for m in model.backbone.modules() if isinstance(m, nn.Conv2d)][-2]
    assert torch.equal(fc6.weight, published.fc6.weight)  # type: ignore[union-attr]
    assert not model.score_fr.weight.any()
    assert {name.partition(".")[0] for name in report.missing} == {
        "score_fr", "score_pool4", "score_pool3",
    }  # fmt: skip
    assert set(report.unused) == {"fc8.weight", "fc8.bias"}


def test_depth_starts_as_the_mean_of_rgb_and_a_four_channel_file_fills_it(tmp_path: Path) -> None:
    published = Published("voc-fcn32s", 4, 1 / 16).randomise(4)
    layers = caffe_layers(published)
    path = write(tmp_path / "rgb.caffemodel", layers)
    model = fcn("vgg16", 4, stride=32, width=1 / 16, extra_channels=1)
    load_published(model, path)
    first = next(m for m in model.backbone.modules() if isinstance(m, nn.Conv2d))
    rgb = published.conv1_1.weight  # type: ignore[union-attr]
    assert torch.equal(first.weight[:, :3], rgb)
    assert torch.allclose(first.weight[:, 3], rgb.mean(1), atol=1e-6)

    depth = torch.randn(rgb.shape[0], 1, 3, 3)
    weight, bias = layers.pop("conv1_1")
    layers = {"conv1_1_bgrd": [torch.cat([weight, depth], 1), bias], **layers}
    load_published(model, write(tmp_path / "bgrd.caffemodel", layers))
    assert torch.equal(first.weight[:, :3], rgb) and torch.equal(first.weight[:, 3:], depth)


def test_two_tasks_are_read_under_their_suffixes(tmp_path: Path) -> None:
    published = Published("voc-fcn16s", 7, 1 / 16).randomise(5)
    layers = caffe_layers(published)
    for name in ("score_fr", "score_pool4"):
        weight, bias = layers.pop(name)
        layers[f"{name}_sem"] = [weight[:4], bias[:4]]
        layers[f"{name}_geo"] = [weight[4:], bias[4:]]
    model = FCN("vgg16", {"semantic": 4, "geometric": 3}, 16, "caffe", width=1 / 16)
    report = load_published(model, write(tmp_path / "sift.caffemodel", layers))
    assert torch.equal(model.score_fr.weight, published.score_fr.weight)
    assert not report.missing and not report.unused


def test_late_fusion_reads_each_stream_under_its_suffix(tmp_path: Path) -> None:
    streams = [Published("voc-fcn32s", 4, 1 / 32).randomise(seed).eval() for seed in (6, 7)]
    layers = caffe_layers(streams[0], "color") | caffe_layers(streams[1], "hha")
    path = write(tmp_path / "late.caffemodel", layers)
    parts = [FCN("vgg16", 4, 32, "caffe", width=1 / 32) for _ in streams]
    for part, suffix in zip(parts, ("color", "hha"), strict=True):
        load_published(part, path, suffix)
    model = LateFusion(parts).eval()
    images = torch.randn(1, 6, 60, 45)
    with torch.no_grad():
        expected = 0.5 * streams[0](images[:, :3]) + 0.5 * streams[1](images[:, 3:])
        assert torch.allclose(model(images), expected, rtol=1e-4, atol=1e-4)


def test_files_that_do_not_fit_are_named(tmp_path: Path) -> None:
    published = Published("voc-fcn32s", 4, 1 / 16).randomise(8)
    layers = caffe_layers(published)
    path = write(tmp_path / "net.caffemodel", layers)
    with pytest.raises(ValueError, match="backbone='tiny' has no published"):
        load_published(FCN("tiny"), path)
    with pytest.raises(ValueError, match=r"net\.caffemodel: no layer 'conv1'; it holds conv1_1"):
        load_published(FCN("caffenet", width=1 / 16), path)
    before = FCN("vgg16", 4, 32, width=1 / 32)
    state = {key: value.clone() for key, value in before.state_dict().items()}
    with pytest.raises(
        ValueError, match=r"conv1_1 has weights \(4, 3, 3, 3\), this trunk needs \(2"
    ):
        load_published(before, path)
    assert all(torch.equal(state[k], v) for k, v in before.state_dict().items())
    report = load_published(FCN("vgg16", 9, 32, width=1 / 16), path)
    assert report.skipped["score_fr.weight"] == ((4, 256, 1, 1), (9, 256, 1, 1))
