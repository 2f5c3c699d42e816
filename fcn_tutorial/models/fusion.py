"""Late fusion: two or more networks, each on its own input, that vote with their scores.

Source: Long, Shelhamer, Darrell, CVPR 2015, §5.2 (RGB-HHA); reference nyud-fcn32s-color-hha.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from fcn_tutorial.models.fcn import FCN, FCNConfig
from fcn_tutorial.models.network import Network, Placement

#: What a data set that is fused late gives each stream, in this order, and how it is prepared.
HALVES = {"rgb": "nyud-rgb", "hha": "nyud-hha"}


@dataclass(frozen=True)
class LateFusionConfig:
    """What is fused, and how.

    Attributes:
        streams: the configs of the FCNs; mappings of their fields will do.
        shares: what the scores of each count.

    Raises:
        ValueError: for shares that are no finite numbers, and as `FCNConfig`.
    """

    streams: tuple[FCNConfig, ...]
    shares: tuple[float, ...]

    def __post_init__(self) -> None:
        streams = (s if isinstance(s, FCNConfig) else FCNConfig(**s) for s in self.streams)
        object.__setattr__(self, "streams", tuple(streams))
        object.__setattr__(self, "shares", tuple(self.shares))
        if not all(
            isinstance(share, int | float) and math.isfinite(share) for share in self.shares
        ):
            raise ValueError(f"shares={self.shares}: expected numbers")


class LateFusion(Network):
    """The weighted sum of the scores of several FCNs, one a modality.

    Upsampling is linear, so scores are summed before it, as in the reference.

    Args:
        streams: FCNs of equal stride, alignment and classes; each reads its own channels.
        shares: what each stream's scores count, equal shares that sum to one by default
            (the reference's 0.5 · colour + 0.5 · HHA).

    Raises:
        ValueError: for fewer than two streams, for streams that differ, and for shares that do not
            match them.

    Two networks on three channels each::

        >>> fused = LateFusion([FCN("tiny", num_classes=5, width=1 / 16) for _ in range(2)])
        >>> fused.in_channels, fused.config.shares, fused(torch.zeros(1, 6, 32, 40)).shape
        (6, (0.5, 0.5), torch.Size([1, 5, 32, 40]))
    """

    Config = LateFusionConfig
    config: LateFusionConfig

    def __init__(self, streams: Sequence[FCN], shares: Sequence[float] | None = None) -> None:
        if len(streams) < 2:
            raise ValueError(f"streams: at least two networks are fused, got {len(streams)}")
        first = streams[0]
        for i, other in enumerate(streams[1:], 1):
            for name in ("stride", "counts", "border"):
                a, b = getattr(first, name), getattr(other, name)
                if a != b:
                    raise ValueError(f"streams[{i}] has {name}={b!r}, streams[0] has {a!r}")
            if first.placement() != other.placement():
                raise ValueError(f"streams[{i}] lies elsewhere on the image than streams[0]")
        shares = [1 / len(streams)] * len(streams) if shares is None else shares
        if len(shares) != len(streams):
            raise ValueError(f"shares: {len(streams)} expected, got {len(shares)}")
        config = LateFusionConfig(tuple(stream.config for stream in streams), tuple(shares))
        names = (name for stream in streams for name in stream.preprocess.names)
        super().__init__(config, first.counts, *names)
        self.in_channels = sum(stream.in_channels for stream in streams)
        self.streams = nn.ModuleList(streams)

    @classmethod
    def from_config(
        cls,
        config: LateFusionConfig,
        weights: Path | str | None = None,
        backbone: nn.Module | None = None,
    ) -> Self:
        """See `Network.from_config`; weights: of every stream's trunk.

        Raises:
            ValueError: for a module of one's own, and as the class and `FCN.from_config`.
        """
        if backbone is not None:
            raise ValueError("a module of one's own is the backbone of one FCN, not of a fusion")
        streams = [FCN.from_config(stream, weights) for stream in config.streams]
        return cls(streams, config.shares)

    @classmethod
    def configured(
        cls,
        options: Mapping[str, Any],
        num_classes: int | Mapping[str, int],
        inputs: Sequence[str] = ("rgb",),
    ) -> LateFusionConfig:
        """See `Network.configured`; the options are those of every stream.

        Raises:
            ValueError: for inputs that are not rgb and hha, and as `FCN.configured`.
        """
        if tuple(inputs) != tuple(HALVES):
            raise ValueError(f"late fusion reads rgb and hha, the data set has {', '.join(inputs)}")
        stream = FCN.configured(options, num_classes)
        streams = tuple(replace(stream, preprocessing=name) for name in HALVES.values())
        return LateFusionConfig(streams, (1 / len(streams),) * len(streams))

    @classmethod
    def from_trained(cls, config: LateFusionConfig, trained: Sequence[Network]) -> Self:
        """See `Network.from_trained`; one trained fusion, or a trained FCN for each stream.

        Raises:
            ValueError: for another number of networks, and as `FCN.from_trained`.
        """
        plain = [one.plain for one in trained]
        if len(plain) == 1 and isinstance(plain[0], LateFusion):
            plain = [*plain[0]._all()]
        if len(plain) != len(config.streams):
            raise ValueError(
                "late fusion starts from one network for each stream, or from one of both"
            )
        pairs = zip(config.streams, plain, strict=True)
        return cls([FCN.from_trained(own, [other]) for own, other in pairs], config.shares)

    # ---- What it is ------------------------------------------------------------------------------

    @property
    def shares(self) -> list[float]:
        """What each stream's scores count."""
        return list(self.config.shares)

    @property
    def title(self) -> str:
        """As in "late fusion of 2 nets, FCN-8s on vgg16"."""
        return f"late fusion of {len(self.streams)} nets, {self._first().title}"

    def trunk(self) -> frozenset[str]:
        """See `Network.trunk`."""
        found = enumerate(stream.trunk() for stream in self._all())
        return frozenset(f"streams.{i}.{name}" for i, names in found for name in names)

    def freezable(self, stride: int) -> Iterator[nn.Parameter]:
        """See `Network.freezable`; of every stream."""
        for stream in self._all():
            yield from stream.freezable(stride)

    def placement(self) -> Placement:
        """See `Network.placement`."""
        return self._first().placement()

    def margin(self) -> int | None:
        """See `Network.margin`."""
        margins = [margin for stream in self._all() if (margin := stream.margin()) is not None]
        return max(margins) if len(margins) == len(self._all()) else None

    def grid(self) -> int:
        """See `Network.grid`."""
        return self._first().grid()

    # ---- Scores ----------------------------------------------------------------------------------

    def training_scores(self, images: Tensor) -> Tensor:
        """Images (N, ΣC_i, H, W), the streams' channels one after the other → the shared scores
        before the last upsampling.
        """
        streams = self._all()
        parts = images.split([stream.in_channels for stream in streams], 1)
        scores = [
            share * stream.fused_scores(part)
            for stream, part, share in zip(streams, parts, self.shares, strict=True)
        ]
        return torch.stack(scores).sum(0)

    def _all(self) -> list[FCN]:
        return [cast(FCN, stream) for stream in self.streams]

    def _first(self) -> FCN:
        return self._all()[0]
