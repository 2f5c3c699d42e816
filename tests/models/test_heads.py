"""A trained network for other classes keeps what it knows of them by name."""

from typing import Any

import pytest
import torch

from fcn_tutorial import models
from fcn_tutorial.models import Network
from fcn_tutorial.models.heads import with_classes

KNOWN = ("ground", "cat", "dog")
KINDS: dict[str, Any] = {
    "fcn": lambda: models.FCN("tiny", 3, stride=8, width=0.25),
    "learned deconvolution": lambda: models.FCN(
        "tiny", 3, stride=16, width=0.25, deconvolution="learned"
    ),
    "magnified": lambda: models.Magnified(models.FCN("tiny", 3, stride=32, width=0.25), 1.5),
    "u-net": lambda: models.UNet(3, in_channels=3, padding="same", width=0.0625),
}


def trained(kind: str) -> Network:
    torch.manual_seed(0)
    network: Network = KINDS[kind]().eval()
    with torch.no_grad():
        for name, tensor in network.named_parameters():
            if "upscore" in name:
                continue  # whose weights between two classes are 0 as they begin
            tensor.add_(torch.randn_like(tensor) * 0.1)
    return network


@pytest.mark.parametrize("kind", KINDS)
def test_scores_of_known_classes_stay_and_those_of_new_ones_are_fresh(kind: str) -> None:
    network = trained(kind)
    made = with_classes(network, KNOWN, ("cow", "dog", "ground", "horse")).eval()
    assert type(made) is type(network) and made.num_classes == 4
    images = torch.randn(1, 3, 32, 48)
    with torch.no_grad():
        before, after = network.full_scores(images), made.full_scores(images)
        again = with_classes(network, KNOWN, ("ground", "cow")).eval().full_scores(images)
    assert before.abs().max() > 1e-3
    assert torch.allclose(after[:, 1], before[:, 2], atol=1e-5)
    assert torch.allclose(after[:, 2], before[:, 0], atol=1e-5)
    assert torch.allclose(again[:, 0], before[:, 0], atol=1e-5)
    if kind != "u-net":  # an FCN's score layers begin at zero
        assert not after[:, [0, 3]].any() and not again[:, 1].any()


def test_what_has_several_tasks_or_other_names_is_refused() -> None:
    several = models.FCN("tiny", {"a": 2, "b": 3}, stride=32, width=0.25)
    with pytest.raises(ValueError, match="where it has one task"):
        with_classes(several, ["1", "2", "3", "4", "5"], ["1"])
    with pytest.raises(ValueError, match="and 2 names"):
        with_classes(trained("fcn"), ["ground", "cat"], ["ground"])
