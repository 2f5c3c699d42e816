"""A network of one's own: one class and one registry line, and it is saved, tiled, exported."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from fcn_tutorial import export, models
from fcn_tutorial.losses import upsample_cross_entropy
from fcn_tutorial.models import NETWORKS, Card, Magnified, Network, inference
from fcn_tutorial.models.network import ONLY, describe, from_description
from fcn_tutorial.predict import Predictor
from tests.versions import exports

CARD = Card.of("abc", [(0, 0, 0), (9, 9, 9), (90, 0, 0)], "test", "none")


@dataclasses.dataclass(frozen=True)
class ToyConfig:
    num_classes: int | Mapping[str, int] = 3
    channels: int = 4


class Sharp(Network):
    """Scores at the full resolution of its input."""

    Config = ToyConfig

    def __init__(self, num_classes: int | Mapping[str, int] = 3, channels: int = 4) -> None:
        super().__init__(ToyConfig(num_classes, channels), num_classes, "centred")
        self.layers = nn.Sequential(
            nn.Conv2d(3, channels, 3, padding=1), nn.ReLU(),
            nn.Conv2d(channels, self.num_classes, 3, padding=1),
        )  # fmt: skip

    def training_scores(self, images: Tensor) -> Tensor:
        return self.layers(images)  # type: ignore[no-any-return]

    def margin(self) -> int:
        return 2


class Valid(Network):
    """Its convolutions pad nothing, so that scores are three pixels smaller at every side."""

    Config = ToyConfig
    lost = 3

    def __init__(self, num_classes: int | Mapping[str, int] = 3, channels: int = 4) -> None:
        super().__init__(ToyConfig(num_classes, channels), num_classes, "centred")
        self.layers = nn.Sequential(
            nn.Conv2d(3, channels, 5), nn.ReLU(), nn.Conv2d(channels, self.num_classes, 3)
        )

    def training_scores(self, images: Tensor) -> Tensor:
        return self.layers(images)  # type: ignore[no-any-return]

    def supervised(self, target: Tensor) -> Tensor:
        return target[..., self.lost : -self.lost, self.lost : -self.lost]

    def full_scores(self, images: Tensor) -> Tensor:
        return self.training_scores(pad(images, [self.lost] * 4, mode="reflect"))

    def margin(self) -> int:
        return self.lost


@pytest.fixture(params=[Sharp, Valid])
def toy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Network:
    monkeypatch.setitem(NETWORKS, "toy", request.param)
    torch.manual_seed(0)
    network: Network = request.param().eval()
    return network


def picture(height: int = 40, width: int = 53) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)


def test_it_is_saved_and_loaded_as_it_is(toy: Network, tmp_path: Path) -> None:
    models.save(toy, CARD, tmp_path / "toy.safetensors")
    again, card = models.load(tmp_path / "toy.safetensors")
    assert type(again) is type(toy) and again.config == toy.config and card == CARD
    assert torch.equal(again.predict(picture()), toy.predict(picture()))
    assert toy.predict(picture()).shape == (40, 53)  # type: ignore[union-attr]


def test_tiles_and_magnification_are_those_of_any_network(toy: Network) -> None:
    for network in (toy, Magnified(toy, 1.5).eval()):
        whole, tiled = (inference.scores(network, picture(), tile=tile) for tile in (0, 17))
        assert isinstance(whole, Tensor) and isinstance(tiled, Tensor)
        assert torch.allclose(tiled, whole, atol=1e-5)  # float32 sums in another order
        assert torch.equal(whole.argmax(0), Predictor(network, CARD).label(picture()))


def test_its_loss_sees_the_labels_that_its_scores_lie_on(toy: Network) -> None:
    images, labels = torch.randn(2, 3, 20, 30), torch.randint(0, 3, (2, 20, 30))
    scores, target = toy.training_scores(images), toy.supervised(labels)
    factor, offset, border = toy.placement()
    loss = upsample_cross_entropy(scores, target, factor, offset, border=border)
    inner = labels if isinstance(toy, Sharp) else labels[:, 3:-3, 3:-3]
    assert torch.allclose(loss, nn.functional.cross_entropy(scores, inner))


@exports
def test_it_is_exported(toy: Network, tmp_path: Path) -> None:
    done = export.export(toy, CARD, tmp_path / "toy.pt2", "torch")
    assert done.error < 1e-5 and "any size" in done.inputs


def test_a_recipes_options_make_its_config(toy: Network) -> None:
    config = type(toy).configured({"channels": 6}, {"a": 2, "b": 1})
    network = type(toy).from_config(config)
    assert network.tasks == {"a": 2, "b": 1} and network.layers[0].out_channels == 6  # type: ignore[index, union-attr]
    with pytest.raises(ValueError, match="has no setting 'depth'; it has channels, num_classes"):
        type(toy).configured({"depth": 2}, 3)
    with pytest.raises(ValueError, match="reads rgb, the data set has rgb, depth"):
        type(toy).configured({}, 3, ("rgb", "depth"))


def test_it_starts_from_a_trained_one_of_its_shape(toy: Network) -> None:
    fresh = type(toy).from_trained(toy.config, [toy]).eval()
    assert torch.equal(fresh.predict(picture()), toy.predict(picture()))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="starts from one"):
        type(toy).from_trained(ToyConfig(3, 5), [toy])


def test_a_description_builds_every_kind_again(toy: Network) -> None:
    network: Any = Magnified(toy, 0.5)
    again = from_description(describe(network))
    assert describe(again) == describe(network) and again.magnification == 0.5
    assert toy.tasks == {ONLY: 3} and again.tasks == {ONLY: 3}
    with pytest.raises(ValueError, match="magnified already"):
        Magnified(network, 2)
    with pytest.raises(ValueError, match="factor|magnification=0"):
        Magnified(toy, 0)
    with pytest.raises(ValueError, match="network='unheard' is not known"):
        from_description({"network": "unheard"})


def test_a_class_without_a_registry_line_cannot_be_saved(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Sharp cannot be described: add it"):
        models.save(Sharp(), CARD, tmp_path / "toy.safetensors")


@pytest.mark.parametrize("factor", [0.0, -1.0, 0.05, 8.5, 1e9, float("inf"), float("nan")])
def test_a_magnification_that_no_memory_holds_is_refused(factor: float) -> None:
    with pytest.raises(ValueError, match=rf"magnification={factor}: expected 0.0625 to 8"):
        models.Magnified(models.FCN("tiny", 2, width=0.25), factor)


@pytest.mark.parametrize("share", [float("nan"), float("inf"), "1", None])
def test_shares_of_a_fusion_are_numbers(share: object) -> None:
    streams = [models.FCN("tiny", 2, width=0.25) for _ in range(2)]
    with pytest.raises(ValueError, match=r"shares=.*expected numbers"):
        models.LateFusion(streams, [0.5, share])  # type: ignore[list-item]
