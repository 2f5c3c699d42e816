"""Any network on enlarged images: finer maps of the scene, for so many times squared the work."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from torch import Tensor, nn
from torch.nn.functional import interpolate

from fcn_tutorial.models.network import Network, Placement, describe, from_description

#: The smallest and the largest factor: an image of k times the sides takes k² times the memory.
FACTORS = (1 / 16, 8.0)


@dataclass(frozen=True)
class MagnifiedConfig:
    """What is magnified, and by how much.

    Attributes:
        of: the description of the network (see `network.describe`).
        factor: what its images are enlarged by.

    Raises:
        ValueError: for a factor beyond `FACTORS`.
    """

    of: Mapping[str, Any]
    factor: float

    def __post_init__(self) -> None:
        least, most = FACTORS
        if not least <= self.factor <= most:  # not so for NaN
            raise ValueError(f"magnification={self.factor}: expected {least:g} to {most:g}")


class Magnified(Network):
    """A network on images enlarged bilinearly, its scores brought back to their size.

    `training_scores` are those of the network as it is, of images that are enlarged already: what
    is cut for training is cut from the enlarged image.

    Args:
        network: any that is not magnified; it is held, not copied.
        factor: what the sides of images are multiplied by, 1/16 to 8. Work grows with its square.

    Raises:
        ValueError: for a factor beyond `FACTORS`, and for a network that is magnified already.

    ::

        >>> import torch
        >>> from fcn_tutorial.models import FCN
        >>> model = Magnified(FCN("tiny", num_classes=5, width=1 / 16), factor=1.5)
        >>> model.title, model(torch.zeros(1, 3, 32, 40)).shape
        ('FCN-8s on tiny, images ×1.5', torch.Size([1, 5, 32, 40]))
    """

    Config = MagnifiedConfig
    config: MagnifiedConfig

    def __init__(self, network: Network, factor: float) -> None:
        if network.magnification != 1:
            raise ValueError(f"{network.title} is magnified already")
        config = MagnifiedConfig(describe(network), factor)
        super().__init__(config, network.counts, *network.preprocess.names)
        self.network = network
        self.in_channels = network.in_channels
        self.magnification = factor

    @classmethod
    def from_config(
        cls,
        config: MagnifiedConfig,
        weights: Path | str | None = None,
        backbone: nn.Module | None = None,
    ) -> Self:
        """See `Network.from_config`."""
        return cls(from_description(config.of, weights, backbone), config.factor)

    @property
    def title(self) -> str:
        """As in "FCN-8s on vgg16, images ×1.5"."""
        return f"{self.network.title}, images ×{self.magnification:g}"

    @property
    def plain(self) -> Network:
        """The network without its glasses."""
        return self.network

    def training_scores(self, images: Tensor) -> Tensor:
        """See the class."""
        return self.network.training_scores(images)

    def supervised(self, target: Tensor) -> Tensor:
        """See `Network.supervised`."""
        return self.network.supervised(target)

    def placement(self) -> Placement:
        """See `Network.placement`."""
        return self.network.placement()

    def trunk(self) -> frozenset[str]:
        """See `Network.trunk`."""
        return frozenset(f"network.{name}" for name in self.network.trunk())

    def freezable(self, stride: int) -> Iterable[nn.Parameter]:
        """See `Network.freezable`; strides of the enlarged image."""
        return self.network.freezable(stride)

    def full_scores(self, images: Tensor) -> Tensor:
        """See `Network.full_scores`."""
        size = images.shape[-2:]
        larger = [max(1, round(n * self.magnification)) for n in size]
        images = interpolate(images, larger, mode="bilinear", antialias=True)
        scores = self.network.full_scores(images).to(images)
        return interpolate(scores, list(size), mode="bilinear", antialias=True)


def magnified(network: Network, factor: float) -> Network:
    """The network on images enlarged by `factor`; as it is for a factor of 1."""
    return network if factor == 1 else Magnified(network, factor)
