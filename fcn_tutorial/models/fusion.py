"""Late fusion: two or more networks, each on its own input, that vote with their scores.

Source: Long, Shelhamer, Darrell, CVPR 2015, §5.2 (RGB-HHA); reference nyud-fcn32s-color-hha.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, cast

import torch
from torch import Tensor, nn

from fcn_tutorial.models.fcn import FCN, predict
from fcn_tutorial.upsampling import Border


class LateFusion(nn.Module):
    """The weighted sum of the scores of several FCNs, one a modality.

    Args:
        streams: FCNs of equal stride, alignment and classes; each reads its own channels.
        shares: what each stream's scores count, equal shares that sum to one by default
            (the reference's 0.5 · colour + 0.5 · HHA).

    Raises ValueError for fewer than two streams, for streams that differ, and for shares that do
    not match them. Upsampling is linear, so scores are summed before it, as in the reference.
    """

    def __init__(self, streams: Sequence[FCN], shares: Sequence[float] | None = None) -> None:
        super().__init__()
        if len(streams) < 2:
            raise ValueError(f"streams: at least two networks are fused, got {len(streams)}")
        first = streams[0]
        for i, other in enumerate(streams[1:], 1):
            for name in ("stride", "tasks", "num_classes", "border"):
                a, b = getattr(first, name), getattr(other, name)
                if a != b:
                    raise ValueError(f"streams[{i}] has {name}={b!r}, streams[0] has {a!r}")
            if first.placement(first.stride) != other.placement(other.stride):
                raise ValueError(f"streams[{i}] lies elsewhere on the image than streams[0]")
        self.shares = [1 / len(streams)] * len(streams) if shares is None else list(shares)
        if len(self.shares) != len(streams):
            raise ValueError(f"shares: {len(streams)} expected, got {len(self.shares)}")
        self.streams = nn.ModuleList(streams)
        self.in_channels = sum(stream.in_channels for stream in streams)
        self.stride, self.tasks, self.num_classes = first.stride, first.tasks, first.num_classes
        #: The arguments that build this network again (its weights aside), fit for JSON.
        self.config: dict[str, Any] = {
            "streams": [stream.config for stream in streams],
            "shares": self.shares,
        }

    def forward(self, images: Tensor) -> Tensor | dict[str, Tensor]:
        """Images (N, ΣC_i, H, W), the streams' channels one after the other → as `FCN`."""
        scores = self.enlarge(self.fused_scores(images), images.shape[-2:])
        return self._first().by_task(scores)

    def fused_scores(self, images: Tensor) -> Tensor:
        """The shared scores before the last upsampling, (N, C, h, w) at `self.stride`."""
        streams = self._all()
        parts = images.split([stream.in_channels for stream in streams], 1)
        scores = [
            share * stream.fused_scores(part)
            for stream, part, share in zip(streams, parts, self.shares, strict=True)
        ]
        return torch.stack(scores).sum(0)

    def enlarge(self, scores: Tensor, size: torch.Size | tuple[int, int]) -> Tensor:
        """The last upsampling: `fused_scores` brought to the (H, W) of the image."""
        return self._first().enlarge(scores, size)

    @property
    def border(self) -> Border:
        """As `FCN.border`."""
        return self._first().border

    def placement(self, stride: int, finer: int | None = None) -> tuple[int, Fraction]:
        """As `FCN.placement`."""
        return self._first().placement(stride, finer)

    def preprocess(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """The parts of an item or a batch as each stream expects them, (…, ΣC_i, H, W) float32.

        Raises ValueError for a part that is missing, and as `transforms.Preprocess`.
        """
        wanted = [[part.name for part in s.preprocess.parts] for s in self._all()]
        if missing := {name for names in wanted for name in names} - set(inputs):
            raise ValueError(f"inputs lack {', '.join(sorted(missing))}, which a stream reads")
        return torch.cat(
            [
                stream.preprocess({name: inputs[name] for name in names})
                for stream, names in zip(self._all(), wanted, strict=True)
            ],
            -3,
        )

    def predict(self, inputs: Tensor | Mapping[str, Tensor]) -> Tensor | dict[str, Tensor]:
        """As `FCN.predict`, for items that are dicts of what the streams read."""
        return predict(self, inputs)

    @classmethod
    def from_coarser(cls, coarser: LateFusion) -> LateFusion:
        """As `FCN.from_coarser`, stream by stream."""
        return cls([FCN.from_coarser(stream) for stream in coarser._all()], coarser.shares)

    def _all(self) -> list[FCN]:
        return [cast(FCN, stream) for stream in self.streams]

    def _first(self) -> FCN:
        return self._all()[0]
