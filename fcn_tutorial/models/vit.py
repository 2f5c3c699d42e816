"""A vision transformer as the trunk of an FCN-16s without skips.

Its patch embedding is a convolution of kernel and stride 16, its blocks keep the grid of patches,
and a 1×1 score layer on that grid is the same linear map as a head that is applied to each token.
What is added to torchvision's model is the resampling of the position embeddings to the grid of an
image of any size, and the upsampling of the scores.

Source: Dosovitskiy et al., ICLR 2021 (ViT, §3.2 for the embeddings); Strudel et al., ICCV 2021
(Segmenter, "linear" decoder).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from fcn_tutorial import geometry
from fcn_tutorial.files import number_of
from fcn_tutorial.models import backbones
from fcn_tutorial.models.network import Network, Placement, score_layer
from fcn_tutorial.upsampling import default_kernel_size
from fcn_tutorial.vision import models as vision

PATCH = 16
#: ViT-B: channels of a head, and heads.
_HEAD_CHANNELS, _HEADS = 64, 12


@dataclass(frozen=True)
class ViTConfig:
    """What decides a `ViT`; the attributes are its arguments.

    Raises:
        ValueError: for a `learned_on` that is no multiple of 16, and for fewer than one block.
    """

    num_classes: int | Mapping[str, int] = 21
    depth: Annotated[int, "encoder blocks"] = 12
    width: Annotated[float, "multiplies the twelve heads of 64 channels"] = 1.0
    learned_on: Annotated[int, "side in pixels of the images that the positions are for"] = 224
    dropout: Annotated[float, "share of values dropped inside the blocks in training"] = 0.0
    preprocessing: Annotated[str, "of transforms.Preprocess"] = "imagenet"

    def __post_init__(self) -> None:
        if self.learned_on < PATCH or self.learned_on % PATCH:
            raise ValueError(f"learned_on={self.learned_on}: expected a multiple of {PATCH}")
        if self.depth < 1:
            raise ValueError(f"depth={self.depth}: at least one block is needed")


class ViT(Network):
    """torchvision's ViT-B/16 with a 1×1 score layer on its grid of patches.

    `from_config` takes torchvision's vit_b_16 as weights. The score layer starts at zero.

    Args:
        num_classes: how many classes, or {task: how many}.
        depth: encoder blocks.
        width: multiplies the number of heads, and with it the channels; below 1 for narrow ones.
        learned_on: side of the images that the position embeddings are for.
        dropout: share of values that training drops inside the blocks.
        preprocessing: a name of `transforms.PREPROCESSING`.

    Raises:
        ValueError: for arguments out of their range.

    A score a patch::

        >>> model = ViT(num_classes=5, depth=1, width=1 / 12, learned_on=32)
        >>> images = torch.zeros(1, 3, 64, 96)
        >>> model.training_scores(images).shape, model(images).shape
        (torch.Size([1, 5, 4, 6]), torch.Size([1, 5, 64, 96]))
    """

    Config = ViTConfig
    config: ViTConfig

    def __init__(
        self,
        num_classes: int | Mapping[str, int] = 21,
        depth: int = 12,
        width: float = 1.0,
        learned_on: int = 224,
        dropout: float = 0.0,
        preprocessing: str = "imagenet",
    ) -> None:
        config = ViTConfig(num_classes, depth, width, learned_on, dropout, preprocessing)
        super().__init__(config, num_classes, preprocessing)
        heads = max(1, round(width * _HEADS))
        channels = heads * _HEAD_CHANNELS
        self.backbone = vision.VisionTransformer(
            learned_on, PATCH, depth, heads, channels, 4 * channels, dropout, num_classes=1
        )
        self.backbone.heads = nn.Identity()
        self.score_fr = score_layer(channels, self.num_classes)

    def start_from(self, weights: Path | str) -> None:
        """Take torchvision's weights, of images of side `learned_on`, in place."""
        backbones.load_trunk(self.backbone, weights)

    # ---- What it is ------------------------------------------------------------------------------

    @property
    def title(self) -> str:
        """As in "ViT, 12 blocks, FCN-16s without skips"."""
        return f"ViT, {number_of(self.config.depth, 'block')}, FCN-16s without skips"

    def trunk(self) -> frozenset[str]:
        """See `Network.trunk`."""
        return frozenset(n for n, _ in self.named_parameters() if n.startswith("backbone."))

    def freezable(self, stride: int) -> Iterator[nn.Parameter]:
        """See `Network.freezable`; all of it works at stride 16."""
        if stride >= PATCH:
            yield from self.backbone.parameters()

    def grid(self) -> int:
        """See `Network.grid`."""
        return PATCH

    # ---- Scores ----------------------------------------------------------------------------------

    def features(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W) → the tokens of their patches, (N, channels, ⌈H/16⌉, ⌈W/16⌉).

        Images are filled up to whole patches with zeros, the mean colour.
        """
        rest = [(PATCH - n % PATCH) % PATCH for n in images.shape[-2:]]
        patches = self.backbone.conv_proj(pad(images, (0, rest[1], 0, rest[0])))
        rows, columns = patches.shape[-2:]
        tokens = patches.flatten(2).transpose(1, 2)
        first = self.backbone.class_token.expand(tokens.shape[0], -1, -1)
        tokens = torch.cat([first, tokens], 1) + self.positions(rows, columns).to(tokens.dtype)
        encoder = self.backbone.encoder
        tokens = encoder.ln(encoder.layers(encoder.dropout(tokens)))
        found: Tensor = tokens[:, 1:].transpose(1, 2).unflatten(2, (rows, columns))
        return found

    def positions(self, rows: int, columns: int) -> Tensor:
        """The position embeddings of a grid, (1, 1 + rows · columns, channels).

        Bicubic, corners on corners, as torchvision's `interpolate_embeddings` does it; the class
        token keeps its own.
        """
        learned = self.backbone.encoder.pos_embedding
        side = self.config.learned_on // PATCH
        grid = learned[:, 1:].transpose(1, 2).unflatten(2, (side, side))
        size = (rows, columns)
        # autocast leaves it in the type of the weights: positions are added, not multiplied.
        there = interpolate(grid, size, mode="bicubic", align_corners=True)
        return torch.cat([learned[:, :1], there.flatten(2).transpose(1, 2)], 1)

    def training_scores(self, images: Tensor) -> Tensor:
        """See `Network.training_scores`: (N, ΣC, ⌈H/16⌉, ⌈W/16⌉)."""
        scores: Tensor = self.score_fr(self.features(images))
        return scores

    def placement(self) -> Placement:
        """See `Network.placement`: a score lies in the middle of its patch."""
        _, centre = geometry.coordinate_map([geometry.Layer(PATCH, PATCH)])
        offset = Fraction(default_kernel_size(PATCH) - 1, 2) - centre
        return Placement(PATCH, offset, "replicate")
