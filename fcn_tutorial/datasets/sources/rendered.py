"""What data sets without files have in common: they are rendered from a seed, and kept."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fcn_tutorial.datasets.source import Source
from fcn_tutorial.datasets.spec import Data

_MOST_PIXELS = 1 << 27  # of a split, which stays in memory: 8,192 scenes of 128×128
_LEAST_PIXELS = 1 << 14  # that a scene counts: smaller ones take as long to render
_LARGEST = 1 << 22  # pixels of a scene


@dataclass(frozen=True)
class Rendered(Source):
    """A data set that is rendered, of images of the recipe's `crop`.

    Args:
        shown: settings for looking at it.
    """

    shown: tuple[tuple[str, Any], ...] = ()

    def read(self, spec: Data, split: str, data: Path | None) -> Any:
        """See `Source.read`.

        Raises:
            ValueError: for more than is worth rendering and keeping.
        """
        n = spec.train_images if split == "train" else spec.test_images
        pixels = math.prod(spec.crop)
        if pixels > _LARGEST or n * max(pixels, _LEAST_PIXELS) > _MOST_PIXELS:
            height, width = spec.crop
            raise ValueError(
                f"{n:,} {self.name} of {height}×{width} are too many to render and keep; lower "
                "data.train_images, data.test_images or data.crop"
            )
        return self.rendered(spec, split, n)

    @abstractmethod
    def rendered(self, spec: Data, split: str, n: int) -> Any:
        """The first `n` images of a split."""

    def seen(self, spec: Data) -> str:
        """See `Source.seen`: their size as well, which is the recipe's."""
        height, width = spec.crop
        return f" of {height}×{width}{super().seen(spec)}"

    def settings(self, **changes: Any) -> Data:
        """See `Source.settings`."""
        return super().settings(**{**dict(self.shown), **changes})

    def checked(self, spec: Data) -> tuple[str, ...]:
        """There is nothing to check.

        Raises:
            ValueError: saying so.
        """
        raise ValueError(f"{self.name} are rendered from a seed: there are no files to check")
