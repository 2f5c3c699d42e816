"""A module of one's own as a network: whatever scores every pixel can be trained and scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from torch import Tensor, nn

from fcn_tutorial.models.network import Network


@dataclass(frozen=True)
class OwnConfig:
    """What is known of a module that others have written: its name, and what it tells apart."""

    name: str
    num_classes: int | Mapping[str, int]
    preprocessing: str = "imagenet"


class Own(Network):
    """A module that turns images (N, C, H, W) into scores (N, ΣC, H, W), the tasks' one by one.

    Its weights file does not hold its code: `models.load` takes a fresh module as `backbone`.

    Args:
        module: what is learned. Where it enlarges its scores itself, any module will do; a network
            whose scores are coarser or cropped is a subclass of `Network`, which says where they
            lie.
        num_classes: how many classes, or {task: how many}.
        preprocessing: what the module expects, a name of `transforms.PREPROCESSING`.

    ::

        >>> import torch
        >>> model = Own(nn.Conv2d(3, 5, kernel_size=1), num_classes=5).eval()
        >>> model.title, model.predict(torch.zeros(3, 32, 40, dtype=torch.uint8)).shape
        ('Conv2d', torch.Size([32, 40]))
    """

    Config = OwnConfig
    config: OwnConfig

    def __init__(
        self,
        module: nn.Module,
        num_classes: int | Mapping[str, int],
        preprocessing: str = "imagenet",
    ) -> None:
        config = OwnConfig(type(module).__name__, num_classes, preprocessing)
        super().__init__(config, num_classes, preprocessing)
        self.module = module

    @classmethod
    def from_config(
        cls,
        config: OwnConfig,
        weights: Path | str | None = None,
        backbone: nn.Module | None = None,
    ) -> Self:
        """See `Network.from_config`.

        Raises:
            ValueError: without a fresh module as `backbone`, and for weights.
        """
        if backbone is None or weights is not None:
            raise ValueError(
                f"it was made of a module of one's own, {config.name}: give a fresh one as "
                "models.load(path, backbone=…)"
            )
        return cls(backbone, config.num_classes, config.preprocessing)

    @property
    def title(self) -> str:
        """The name of its class."""
        return self.config.name

    def training_scores(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W), preprocessed → scores (N, ΣC, H, W).

        Raises:
            ValueError: where the module gives something else.
        """
        scores: Any = self.module(images)
        wanted = (images.shape[0], self.num_classes, *images.shape[-2:])
        if not isinstance(scores, Tensor) or tuple(scores.shape) != wanted:
            got = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
            raise ValueError(
                f"{self.title}: expected scores {wanted} of images {tuple(images.shape)}, got {got}"
            )
        return scores


def as_network(
    model: nn.Module, num_classes: int | Mapping[str, int], preprocessing: str
) -> Network:
    """The model where it is a `Network`, else `Own` made of it with the rest."""
    return model if isinstance(model, Network) else Own(model, num_classes, preprocessing)
