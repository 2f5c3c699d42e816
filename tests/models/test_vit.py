"""A vision transformer is an FCN-16s without skips: each half of that sentence by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from fcn_tutorial.models import ViT
from fcn_tutorial.vision import models as vision

from torchvision.models.vision_transformer import VisionTransformer, interpolate_embeddings


def small(learned_on: int = 64, classes: int = 3) -> ViT:
    torch.manual_seed(0)
    network = ViT(classes, depth=2, width=1 / 12, learned_on=learned_on).double().eval()
    torch.nn.init.normal_(network.score_fr.weight, std=0.3)
    return network


def test_its_trunk_is_torchvisions_base_model() -> None:
    with torch.device("meta"):
        network, theirs = ViT(21), vision.vit_b_16()
    theirs.heads = torch.nn.Identity()
    own = {n: tuple(p.shape) for n, p in network.backbone.named_parameters()}
    assert own == {n: tuple(p.shape) for n, p in theirs.named_parameters()}
    count = (
        86_567_656 - 769_000 + 21 * 769
    )  # torchvision's table, its head of 1000 classes left out
    assert sum(p.numel() for p in network.parameters()) == count


def test_the_patch_embedding_is_a_strided_convolution() -> None:
    """Cut 16×16 patches, flatten each, one linear layer: the same as kernel and stride 16."""
    network, images = small(), torch.randn(2, 3, 48, 80, dtype=torch.float64)
    projection = network.backbone.conv_proj
    assert projection.kernel_size == projection.stride == (16, 16) and projection.padding == (0, 0)
    patches = images.unfold(2, 16, 16).unfold(3, 16, 16)  # N, C, rows, columns, 16, 16
    flat = patches.permute(0, 2, 3, 1, 4, 5).flatten(3)
    linear = F.linear(flat, projection.weight.flatten(1), projection.bias)
    assert torch.allclose(projection(images), linear.permute(0, 3, 1, 2), atol=1e-12)


def test_the_head_is_a_score_layer() -> None:
    """One linear head on every token: the same as a 1×1 convolution on their grid."""
    network, images = small(), torch.randn(2, 3, 48, 80, dtype=torch.float64)
    with torch.no_grad():
        features = network.features(images)
        tokens = features.flatten(2).transpose(1, 2)
        weight = network.score_fr.weight.flatten(1)
        linear = F.linear(tokens, weight, network.score_fr.bias)
        scores = network.training_scores(images)
    assert torch.allclose(scores.flatten(2).transpose(1, 2), linear, atol=1e-12)


@pytest.mark.parametrize("side", [64, 96, 32])
def test_tokens_are_those_of_torchvisions_model_of_that_size(side: int) -> None:
    network, images = small(), torch.randn(1, 3, side, side, dtype=torch.float64)
    state = interpolate_embeddings(side, 16, network.backbone.state_dict())  # type: ignore[arg-type]
    theirs = VisionTransformer(side, 16, 2, 1, 64, 256, num_classes=3).double().eval()
    theirs.heads = torch.nn.Identity()
    theirs.load_state_dict(state)
    seen: list[Any] = []
    theirs.encoder.register_forward_hook(lambda module, given, tokens: seen.append(tokens))
    with torch.no_grad():
        theirs(images)
        ours = network.features(images).flatten(2).transpose(1, 2)
    assert torch.allclose(ours, seen[0][:, 1:], atol=1e-10)


def test_positions_of_the_grid_they_were_learned_on_stay() -> None:
    network = small()
    assert torch.allclose(
        network.positions(4, 4), network.backbone.encoder.pos_embedding, atol=1e-12
    )
    assert network.positions(2, 7).shape == (1, 15, 64)


@pytest.mark.parametrize("size", [(1, 1), (16, 17), (50, 33)])
def test_scores_are_interpolated_from_the_middle_of_patches(size: tuple[int, int]) -> None:
    network, images = small(), torch.randn(1, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        coarse = network.training_scores(images)
        fine: Any = network(images)
        filled = F.pad(images, (0, -size[1] % 16, 0, -size[0] % 16))
        assert torch.equal(network.training_scores(filled), coarse)
    assert coarse.shape[-2:] == tuple(-(-n // 16) for n in size)
    expected = F.interpolate(coarse, scale_factor=16, mode="bilinear", align_corners=False)
    assert torch.allclose(fine, expected[..., : size[0], : size[1]], atol=1e-12)


def test_every_score_depends_on_all_of_the_image() -> None:
    network = small()
    image = torch.randn(1, 3, 64, 96, dtype=torch.float64, requires_grad=True)
    network.training_scores(image)[0, 0, 0, 0].backward()
    assert image.grad is not None and bool((image.grad.abs().amax((0, 1)) > 0).all())
    assert network.margin() is None


def test_torchvisions_weights_are_taken(tmp_path: Path) -> None:
    theirs = VisionTransformer(64, 16, 2, 1, 64, 256, num_classes=1000)
    torch.save(theirs.state_dict(), tmp_path / "vit.pth")
    network = ViT.from_config(small().config, tmp_path / "vit.pth")
    assert torch.equal(network.backbone.encoder.ln.weight, theirs.encoder.ln.weight)
    assert torch.equal(network.backbone.conv_proj.weight, theirs.conv_proj.weight)
    with pytest.raises(ValueError, match=r"'encoder.pos_embedding' has shape \(1, 17, 64\)"):
        ViT.from_config(small(96).config, tmp_path / "vit.pth")
    held = {id(p) for p in network.freezable(16)}
    assert held == {id(network.get_parameter(name)) for name in network.trunk()}
    assert not [*network.freezable(8)]


def test_settings_out_of_range_are_named() -> None:
    with pytest.raises(ValueError, match="learned_on=100: expected a multiple of 16"):
        ViT(2, learned_on=100)
    with pytest.raises(ValueError, match="depth=0"):
        ViT(2, depth=0)
