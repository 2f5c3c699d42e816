"""What every network must do, whatever it is made of: one test a claim, every network in each."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from fcn_tutorial import models
from fcn_tutorial.models import Card
from fcn_tutorial.models.network import ONLY
from tests.models.networks import NETWORKS, OwnTrunk, joined, make
from tests.versions import compiles_fractions


@pytest.fixture(autouse=True)
def _forget_compiled() -> None:
    torch.compiler.reset()  # or the limit of recompilations of one function counts every network


every_network = pytest.mark.parametrize("name", NETWORKS)


@every_network
@pytest.mark.parametrize("size", [(64, 64), (97, 70), (33, 130)])
def test_scores_have_the_size_of_the_image(name: str, size: tuple[int, int]) -> None:
    network = make(name).eval()
    with torch.no_grad():
        scores = network(torch.randn(1, network.in_channels, *size))
    assert joined(scores).shape == (1, network.num_classes, *size)
    by_task = scores if isinstance(scores, dict) else {ONLY: scores}
    assert {task: s.shape[1] for task, s in by_task.items()} == network.tasks


@every_network
def test_a_batch_is_its_images_one_by_one(name: str) -> None:
    network = make(name).double().eval()
    images = torch.randn(3, network.in_channels, 70, 53, dtype=torch.float64)
    with torch.no_grad():
        together = joined(network(images))
        alone = torch.cat([joined(network(image[None])) for image in images])
    assert torch.allclose(together, alone, rtol=1e-10, atol=1e-12)


@compiles_fractions
@every_network
def test_channels_last_compiled_and_exported_give_the_same_scores(name: str) -> None:
    network = make(name).eval()
    images = torch.randn(2, network.in_channels, 64, 96)
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    exported = torch.export.export(network, (images,)).module()
    with torch.no_grad():
        scores = joined(network(images))
        others = [joined(compiled(images)), joined(exported(images))]
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        others.append(joined(network(images.contiguous(memory_format=torch.channels_last))))
    for other in others:
        assert torch.allclose(other, scores, rtol=1e-4, atol=1e-5)


@every_network
def test_gradients_reach_every_parameter_under_autocast(name: str) -> None:
    network = make(name).train()
    images = torch.randn(4, network.in_channels, 128, 128)
    with torch.autocast("cpu", torch.bfloat16):
        scores = joined(network(images))
    (scores.float() * torch.randn_like(scores.float())).sum().backward()
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), key
        assert parameter.grad.any(), key


@every_network
def test_autocast_changes_scores_by_rounding_only(name: str) -> None:
    network = make(name).eval()
    images = torch.randn(2, network.in_channels, 64, 64)
    with torch.no_grad():
        scores = joined(network(images))
        with torch.autocast("cpu", torch.bfloat16):
            half = joined(network(images)).float()
    spread = scores.std()
    # bfloat16 has 8 bits; which of two near values is the larger, they tell as they fall.
    share = 0.2 if name.startswith("segnet") else 0.05
    assert (half - scores).abs().mean() < share * spread


@every_network
def test_a_state_dict_carries_everything_into_a_fresh_network(name: str) -> None:
    network, fresh = make(name).eval(), make(name, seed=1).eval()
    images = torch.randn(1, network.in_channels, 64, 64)
    fresh.load_state_dict(network.state_dict())
    with torch.no_grad():
        assert torch.equal(joined(fresh(images)), joined(network(images)))


@every_network
def test_a_weights_file_gives_the_network_back(name: str, tmp_path: Path) -> None:
    network = make(name).eval()
    card = Card.of("abcde", [(i, i, i) for i in range(5)], "some-recipe", details={"seed": 3})
    models.save(network, card, tmp_path / "net.safetensors")
    own = OwnTrunk() if name == "own-trunk" else None
    again, stored = models.load(tmp_path / "net.safetensors", backbone=own)
    images = torch.randn(1, network.in_channels, 50, 70)
    with torch.no_grad():
        assert torch.equal(joined(again(images)), joined(network(images)))
    assert stored == card and again.config == network.config
    assert torch.equal(again.preprocess.mean, network.preprocess.mean)
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.slow
@compiles_fractions
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
def test_the_default_compiler_gives_the_same_scores() -> None:
    network = make("tiny").eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        compiled = torch.compile(network, fullgraph=True)(images)
        assert torch.allclose(compiled, network(images), rtol=1e-4, atol=1e-5)


def test_a_module_of_ones_own_is_read_at_its_taps() -> None:
    trunk = OwnTrunk().eval()
    backbone = models.backbones.tap(trunk)
    images = torch.randn(1, 3, 96, 64)
    with torch.no_grad():
        taps = backbone.eval()(images)
        second = trunk.second(torch.relu(trunk.first(images)))
    assert torch.equal(taps[8], second)
    assert {s: t.shape[-2:] for s, t in taps.items()} == {8: (12, 8), 16: (6, 4), 32: (3, 2)}
    assert backbone.channels == {8: 8, 16: 12, 32: 12}


class _Nameless(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images


def test_wrong_taps_are_named() -> None:
    with pytest.raises(ValueError, match="names no taps"):
        models.FCN(_Nameless())
    with pytest.raises(ValueError, match="32 always"):
        models.backbones.tap(OwnTrunk(), {8: "second"})
    with pytest.raises(ValueError, match="one at 16 lies at stride 8"):
        models.backbones.tap(OwnTrunk(), {16: "second", 32: "end"})
    with pytest.raises(ValueError, match="cannot read nowhere"):
        models.backbones.tap(OwnTrunk(), {32: "nowhere"})
    with pytest.raises(ValueError, match="stride=8 needs a tap"):
        models.FCN(models.backbones.tap(OwnTrunk(), {32: "end"}))
    with pytest.raises(ValueError, match="for a backbone by name"):
        models.FCN(OwnTrunk(), width=0.5)
