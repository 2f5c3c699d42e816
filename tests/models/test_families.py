"""Every family of torchvision's classifiers: a trunk of an FCN, or one sentence why not."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import cast

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from fcn_tutorial import models
from fcn_tutorial.geometry import receptive_field
from fcn_tutorial.models import FCN, Card, LateFusion, backbones, inference
from fcn_tutorial.vision import feature_extraction
from fcn_tutorial.vision import models as vision
from tests.models.families import REFUSED, SEE_ALL, TRUNKS, make

#: What acts on single pixels, or multiplies them by values of the whole image.
LEFT_OUT = (vision.mobilenetv3.SElayer, nn.LayerNorm)
LEFT_OUT += (nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU, nn.Hardswish)

every_family = pytest.mark.parametrize("name", TRUNKS)


def network(name: str, seed: int = 0) -> FCN:
    """An FCN-8s on the family, its score layers not zero."""
    model = FCN(backbones.tap(make(name, seed), TRUNKS[name][1]), 5)
    for key, layer in model.named_modules():
        if key.startswith("score_") and isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=0.1)
    return model


@every_family
def test_it_trains_predicts_at_odd_sizes_and_comes_back_from_its_file(
    name: str, tmp_path: Path
) -> None:
    model = network(name).train()
    scores = model(torch.randn(2, 3, 70, 97))
    assert scores.shape == (2, 5, 70, 97)
    (scores * torch.randn_like(scores)).sum().backward()
    dead = [
        key
        for key, parameter in model.named_parameters()
        if key.startswith("score_") and (parameter.grad is None or not parameter.grad.any())
    ]
    assert not dead
    trunk = [p.grad for key, p in model.named_parameters() if key.startswith("backbone.")]
    assert sum(grad is not None and bool(grad.any()) for grad in trunk) > len(trunk) / 2

    model.eval()
    image = torch.randint(0, 256, (3, 75, 101), dtype=torch.uint8)
    card = Card.of("abcde", [(i, i, i) for i in range(5)])
    models.save(model, card, tmp_path / "net.safetensors")
    fresh = backbones.tap(make(name, seed=1), TRUNKS[name][1])
    again, _ = models.load(tmp_path / "net.safetensors", backbone=fresh)
    labels = model.predict(image)
    assert isinstance(labels, Tensor) and labels.shape == (75, 101)
    assert torch.equal(again.predict(image), labels)


def as_sums(net: nn.Module) -> None:
    """Make what a network computes a sum with positive weights over its windows, in place.

    What acts on single pixels is left out, factors of the whole image are one and attention adds
    nothing: what a feature then depends on is the path of convolutions and poolings to it.
    """
    for parent in list(net.modules()):
        for child_name, child in list(parent.named_children()):
            if isinstance(child, LEFT_OUT):
                setattr(parent, child_name, nn.Identity())
            elif isinstance(child, nn.MaxPool2d):
                smooth = nn.AvgPool2d(child.kernel_size, child.stride, child.padding)
                setattr(parent, child_name, smooth)
            elif isinstance(child, nn.BatchNorm2d):
                child.reset_running_stats()
            elif isinstance(child, nn.Conv2d | nn.Linear):
                nn.init.constant_(child.weight, 1 / child.weight[0].numel())
                if child.bias is not None:
                    nn.init.zeros_(child.bias)
            elif isinstance(child, vision.convnext.CNBlock):
                nn.init.ones_(child.layer_scale)
        if isinstance(parent, vision.swin_transformer.ShiftedWindowAttention):
            nn.init.zeros_(parent.proj.weight)


@every_family
def test_features_lie_where_the_gradient_says(name: str) -> None:
    """Stride and centre of each tap, and the field where there is one, from the support."""
    taps = TRUNKS[name][1]
    traced = backbones.tap(make(name), taps)
    net = make(name)
    as_sums(net)
    names = {name: str(stride) for stride, name in taps.items()}
    net = feature_extraction.create_feature_extractor(net, names).double().eval()
    for stride in taps:
        found = traced._found[stride]
        if found.attends:
            with pytest.raises(ValueError, match="uses attention"):
                traced.layers(stride)
        else:
            assert traced.layers(stride) == list(found.layers)
        scale, offset = traced.coordinate_map(stride)
        half = (receptive_field(found.layers).size - 1) / 2
        first = -(-int(half - float(offset) + 1) // stride)  # the first one whose field is inside
        height = int(stride * (first + 1) + float(offset) + half) + 33
        image = torch.ones(1, 3, height, 40, dtype=torch.float64, requires_grad=True)
        features = net(image)[str(stride)]
        for index in (first, first + 1):
            total = features.select(found.axes[0], index).sum()
            (gradient,) = torch.autograd.grad(total, image, retain_graph=True)
            seen = gradient.sum((0, 1, 3)).nonzero().flatten()
            centre = float(scale * index + offset)
            assert (seen[0].item(), seen[-1].item()) == (centre - half, centre + half)


@every_family
def test_a_feature_moves_with_the_image(name: str) -> None:
    """A whole number of strides and windows further on, an image has the features it had."""
    net = backbones.tap(make(name), TRUNKS[name][1]).double().eval()
    assert net.sees_all == (name in SEE_ALL)
    step = 32 * 6  # Swin's windows are 3 features wide and shift by one
    content = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    places = torch.zeros(2, 3, 64, 4 * step, dtype=torch.float64)
    places[:1, ..., step : step + 64] = content
    places[1:, ..., 2 * step : 2 * step + 64] = content
    with torch.no_grad():
        found = net(places)
    for stride, features in found.items():
        move = step // stride
        inside = features[0, ..., move : 2 * move - 16 // stride]
        moved = features[1, ..., 2 * move : 3 * move - 16 // stride]
        # Not zero: fields of hundreds of pixels reach the borders, where the two images differ.
        assert (inside - moved).abs().max() < 1e-4 * inside.std()


@pytest.mark.parametrize("name", sorted(SEE_ALL))
def test_no_tiles_where_all_of_the_image_counts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Part of an image has other scores than the whole one has there: tiles would change labels."""
    model = network(name).eval()
    assert model.margin() is None
    image = torch.randint(0, 256, (3, 64, 160), dtype=torch.uint8)
    monkeypatch.setattr(inference, "LARGE", 64 * 64)
    monkeypatch.setattr(inference, "TILE", 64)
    for tile in (None, 64):
        assert len([*inference.probabilities(model, image, tile=tile)]) == 1
    found = inference.scores(model, image, tile=64)
    assert isinstance(found, Tensor) and torch.equal(found.argmax(0), model.predict(image))


def test_networks_that_are_added_see_all_where_one_does() -> None:
    one, other = network("resnext").eval(), network("efficientnet").eval()
    assert one.margin() is not None
    with_factors = LateFusion([one, other])
    assert with_factors.margin() is None
    assert LateFusion([one, network("regnet_x")]).margin() is not None


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_trunk_says_why(name: str) -> None:
    _, taps, sentence = REFUSED[name]
    with pytest.raises(ValueError, match=sentence):
        backbones.tap(make(name), taps)


def test_a_copy_is_in_the_mode_of_each_part_and_shares_nothing() -> None:
    trunk = vision.resnet18()
    taps = {32: "layer4", 16: "layer3", 8: "layer2"}
    backbone = backbones.tap(trunk.eval(), taps)
    images = torch.randn(2, 3, 64, 64)
    copied = copy.deepcopy(backbone)
    for stride, features in backbone(images).items():
        assert torch.equal(copied(images)[stride], features)
    assert not {id(p) for p in backbone.parameters()} & {id(p) for p in copied.parameters()}
    assert [*copied.state_dict()] == [*backbone.state_dict()]
    backbone.train().get_submodule("extractor.bn1").eval()  # as a norm that is frozen
    modes = {name: module.training for name, module in copy.deepcopy(backbone).named_modules()}
    assert modes.pop("extractor.bn1") is False and set(modes.values()) == {True}


def test_one_name_at_two_strides_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'layer3'.*one name at two strides"):
        backbones.tap(make("resnext"), {16: "layer3", 32: "layer3"})


@pytest.mark.parametrize("name", ["mobilenet_v3_large", "efficientnet_b0", "convnext_tiny"])
def test_a_named_trunk_is_the_one_of_its_weights_file(name: str, tmp_path: Path) -> None:
    """Cut inside blocks or between them, the stages end to end are torchvision's features."""
    torch.manual_seed(0)
    whole = vision.get_model(name).eval()
    for module in whole.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(cast(Tensor, module.running_mean), -0.1, 0.1)
        if isinstance(module, vision.convnext.CNBlock):
            nn.init.uniform_(module.layer_scale)
    save_file(whole.state_dict(), tmp_path / "trunk.safetensors")
    trunk = backbones.make(name, weights=tmp_path / "trunk.safetensors").eval()
    images = torch.randn(1, 3, 75, 96)
    with torch.no_grad():
        assert torch.allclose(trunk(images)[32], whole.features(images), atol=1e-5, rtol=1e-4)
    norm = vision.get_model_weights(name).DEFAULT.transforms()
    preprocess = FCN(name, width=1 / 16).preprocess
    assert preprocess.mean.flatten().tolist() == pytest.approx(norm.mean)
    assert preprocess.std.flatten().tolist() == pytest.approx(norm.std)
