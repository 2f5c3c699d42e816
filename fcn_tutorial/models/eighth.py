"""What DeepLab and Dilated8 share: VGG16 or another trunk that stops halving at stride 8."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from fcn_tutorial import geometry
from fcn_tutorial.models import backbones
from fcn_tutorial.models.network import Network

STRIDE = 8


class Eighth(Network):
    """A network whose scores lie eight pixels apart. A subclass makes the two attributes.

    Attributes:
        features: the trunk, in a row.
        path: the layers from image to scores, through the widest branch.
    """

    features: nn.Sequential
    path: list[geometry.Layer]

    def layers(self) -> list[geometry.Layer]:
        """The layers from what the trunk sees to scores at stride 8, through the widest branch."""
        return list(self.path)

    def freezable(self, stride: int) -> Iterator[nn.Parameter]:
        """See `Network.freezable`; of the trunk's layers."""
        return backbones.parameters_within(self.features, stride)

    def margin(self) -> int:
        """See `Network.margin`; half a field, and the reach of the interpolation."""
        return STRIDE + geometry.reach(self.path)

    def grid(self) -> int:
        """See `Network.grid`."""
        return STRIDE
