"""U-Net: a contracting and an expanding path, joined by crops that are concatenated.

With valid convolutions, as published, scores cover the inner part of what is seen: 572 pixels give
388. At the border of an image the missing context is mirrored, so that every pixel has a score
("overlap-tile strategy"). Crops and borders follow from the layers (`geometry`).

Source: Ronneberger, Fischer, Brox, MICCAI 2015. (The released phseg_v5 has one layer that differs
from the article's figure; here it is the article's.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import Annotated, Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from fcn_tutorial import geometry
from fcn_tutorial.geometry import Layer
from fcn_tutorial.models.network import Network

Padding = Literal["valid", "same"]

#: Channels of the contracting path; the expanding one has them in reverse.
_CHANNELS = (64, 128, 256, 512, 1024)


@dataclass(frozen=True)
class UNetConfig:
    """What decides a `UNet`; the attributes are its arguments.

    Raises:
        ValueError: for channels and a padding that are not offered.
    """

    num_classes: int | Mapping[str, int] = 2
    in_channels: Annotated[int, "3: colour; 1: grey, their mean"] = 3
    padding: Annotated[Padding, "of convolutions: valid, as published, or same"] = "valid"
    width: Annotated[float, "multiplies the channels"] = 1.0
    dropout: Annotated[float, "share of values dropped at the end of the contracting path"] = 0.5

    def __post_init__(self) -> None:
        if self.in_channels not in (1, 3):
            raise ValueError(f"in_channels={self.in_channels}: expected 3 (colour) or 1 (grey)")
        if self.padding not in ("valid", "same"):
            raise ValueError(f"padding={self.padding!r} is not known; choose 'valid' or 'same'")


class UNet(Network):
    """U-Net on colour or grey images in [-1, 1].

    Valid convolutions see sides of n ≡ 12 (mod 16) pixels, 188 at least, and score n − 184 of them;
    of an image for training the rest, at most 15 rows and columns, is left out.

    Args:
        num_classes: how many classes, or {task: how many}.
        in_channels: 3, or 1 for the mean of the three.
        padding: "valid" as published; "same" pads by one, and scores have the size of the image.
        width: multiplies the channels, 64 to 1024; below 1 for narrow ones.
        dropout: share of values that training drops behind the fourth and the fifth pair of
            convolutions (where the authors' files have it; the article gives no number).

    Raises:
        ValueError: for arguments that are not offered.

    188 pixels have 4 scores, 204 have 20; what is lost at the border is mirrored elsewhere::

        >>> model = UNet(num_classes=5, width=1 / 16)
        >>> model.training_scores(torch.zeros(1, 3, 188, 204)).shape
        torch.Size([1, 5, 4, 20])
        >>> model(torch.zeros(1, 3, 32, 40)).shape
        torch.Size([1, 5, 32, 40])
    """

    Config = UNetConfig
    config: UNetConfig

    def __init__(
        self,
        num_classes: int | Mapping[str, int] = 2,
        in_channels: int = 3,
        padding: Padding = "valid",
        width: float = 1.0,
        dropout: float = 0.5,
    ) -> None:
        config = UNetConfig(num_classes, in_channels, padding, width, dropout)
        super().__init__(config, num_classes, "centred" if in_channels == 3 else "grey")
        channels = [max(1, round(width * c)) for c in _CHANNELS]
        pad = 1 if padding == "same" else 0
        ins = [in_channels, *channels[:-1]]
        pairs = zip(ins, channels, strict=True)
        self.down = nn.ModuleList(_Pair(fan_in, out, pad) for fan_in, out in pairs)
        self.up = nn.ModuleList()
        self.merge = nn.ModuleList()
        for coarse, fine in zip(channels[:0:-1], channels[-2::-1], strict=True):
            self.up.append(nn.ConvTranspose2d(coarse, fine, 2, 2))
            self.merge.append(_Pair(2 * fine, fine, pad))
        self.drop = nn.Dropout(dropout)
        self.score = nn.Conv2d(channels[0], self.num_classes, 1)
        _initialise(self)
        #: Rows cut from every side of each skip, coarsest first: 4, 16, 40 and 88 of the valid.
        self.crops = [self._crop(i) for i in range(len(self.up))]
        #: Rows at every side of an image that have no scores: 92 of the valid.
        self.lost = geometry.crop_offset((), self.layers())
        self._least = _shortest(self.layers(), self._pair(), len(self.up)) if self.lost else 1

    # ---- Where things lie ------------------------------------------------------------------------

    def layers(self) -> list[Layer]:
        """The widest path from image to scores, through the deepest pair of convolutions."""
        return [*self._contracting(len(self.down)), *self._expanding(len(self.up)), Layer(1)]

    def _contracting(self, blocks: int) -> list[Layer]:
        pair, pool = self._pair(), Layer(2, 2, kind="pool", ceil=self.config.padding == "same")
        found = [*pair]
        for _ in range(blocks - 1):
            found += [pool, *pair]
        return found

    def _expanding(self, blocks: int) -> list[Layer]:
        return [Layer(2, 2, kind="deconv"), *self._pair()] * blocks

    def _pair(self) -> list[Layer]:
        return [Layer(3, padding=int(self.config.padding == "same"))] * 2

    def _crop(self, step: int) -> int:
        """Rows to cut from the skip that the expanding path meets at a step."""
        skip = self._contracting(len(self.up) - step)
        deep = [*self._contracting(len(self.down)), *self._expanding(step)]
        return geometry.crop_offset(skip, [*deep, Layer(2, 2, kind="deconv")])

    def margin(self) -> int:
        """See `Network.margin`."""
        return geometry.reach(self.layers())

    def grid(self) -> int:
        """See `Network.grid`; the stride of the coarsest map."""
        return 1 << len(self.up)

    # ---- Scores ----------------------------------------------------------------------------------

    def training_scores(self, images: Tensor) -> Tensor:
        """See `Network.training_scores`: (N, ΣC, h, w) of the inner part of the images.

        Raises:
            ValueError: for images too small for valid convolutions.
        """
        rows, columns = (self._seen(n) for n in images.shape[-2:])
        return self._scores(images[..., :rows, :columns])

    def _scores(self, x: Tensor) -> Tensor:
        skips = []
        for i, pair in enumerate(self.down):
            x = pair(x)
            if i >= len(self.down) - 2:
                x = self.drop(x)
            if i < len(self.down) - 1:
                skips.append(x)
                x = max_pool2d(x, 2, ceil_mode=self.config.padding == "same")
        for up, merge, crop in zip(self.up, self.merge, self.crops, strict=True):
            skip, x = skips.pop(), up(x)
            # Poolings of padded maps round up: the row that came of it is cut off again.
            height, width = (n - 2 * crop for n in skip.shape[-2:])
            skip = skip[..., crop : crop + height, crop : crop + width]
            x = merge(torch.cat([skip, x[..., :height, :width]], 1))
        scores: Tensor = self.score(x)
        return scores

    def supervised(self, target: Tensor) -> Tensor:
        """See `Network.supervised`: the part of labels (N, H, W) that has scores."""
        lost = self.lost
        rows, columns = (self._seen(n) for n in target.shape[-2:])
        return target[..., lost : rows - lost, lost : columns - lost]

    def full_scores(self, images: Tensor) -> Tensor:
        """See `Network.full_scores`; what valid convolutions miss at the border is mirrored."""
        if not self.lost:
            return self._scores(images)
        size = images.shape[-2:]
        for axis, n in zip((-2, -1), size, strict=True):
            # The next valid size above the image with its borders.
            beyond = (n + 2 * self.lost - self._least) % self.grid()
            rest = (self.grid() - beyond) % self.grid()
            images = mirrored(images, axis, self.lost, self.lost + rest)
        return self._scores(images)[..., : size[0], : size[1]]

    def _seen(self, n: Any) -> Any:
        """The pixels of `n` along a side that the layers see.

        Raises:
            ValueError: where none are.
        """
        if not self.lost:
            return n
        if isinstance(n, int) and n < self._least:
            raise ValueError(
                f"valid convolutions need sides of {self._least} pixels at least, got {n}: give a "
                "larger data.crop, or model.padding=same"
            )
        return n - (n - self._least) % self.grid()


class _Pair(nn.Sequential):
    """Two 3×3 convolutions, each with a ReLU."""

    def __init__(self, fan_in: int, out: int, padding: int) -> None:
        first, second = (nn.Conv2d(n, out, 3, padding=padding) for n in (fan_in, out))
        super().__init__(first, nn.ReLU(inplace=True), second, nn.ReLU(inplace=True))


def _initialise(network: nn.Module) -> None:
    """He et al.'s weights, √(2/N) for the N values that a result is the sum of; biases zero."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            meets = 1 if isinstance(module, nn.ConvTranspose2d) else module.weight[0, 0].numel()
            nn.init.normal_(module.weight, std=(2 / (module.in_channels * meets)) ** 0.5)
            nn.init.zeros_(cast(Tensor, module.bias))


def _shortest(layers: Sequence[Layer], pair: Sequence[Layer], halvings: int) -> int:
    """The shortest side that halves without rest down to the deepest map and leaves a score."""
    lost = sum(layer.extent - 1 for layer in pair)
    for deepest in count(1):
        side = deepest + lost
        for _ in range(halvings):
            side = 2 * side + lost
        with suppress(ValueError):  # nothing would be left
            geometry.output_size(layers, side)
            break
    return side


def mirrored(images: Tensor, axis: int, before: int, after: Any) -> Tensor:
    """Images with so many pixels more along an axis, mirrored at its ends as often as needed.

    The pixel at the border is not repeated. One row is all that can be seen in a mirror at it.
    """
    n = images.shape[axis]
    period = torch.sym_max(1, 2 * (n - 1))
    places = (torch.arange(n + before + after, device=images.device) - before).abs()
    places = places - places // period * period  # exporters know no remainder of a size
    return images.index_select(axis, torch.minimum(places, period - places))
