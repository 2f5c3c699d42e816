"""From (uint8 image, mask) to what a network trains on: joint augmentation, then preprocessing.

All are `torchvision.transforms.v2` transforms over `tv_tensors`, so image and mask always move
together, and masks are never interpolated. What is added here is the little v2 lacks: a random
scale whose crop is padded with void, and preprocessing as a named choice tied to the weights.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

import fcn_tutorial._torchvision  # noqa: F401

from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

#: name → (scale, mean, standard deviation), in RGB order; applied to RGB uint8 images.
PREPROCESSING: dict[str, tuple[float, tuple[float, ...], tuple[float, ...]]] = {
    # torchvision.models weights, and the ONNX Model Zoo's.
    "imagenet": (1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    # The authors' nets: 0–255, mean subtracted (reference voc_layers.py). Their files read BGR;
    # `surgery.load_caffemodel` turns the first layer round, so that everything here is RGB.
    "caffe": (1.0, (122.67892, 116.66877, 104.00699), (1.0, 1.0, 1.0)),
    # For nets trained from nothing: [-1, 1].
    "centred": (1 / 255, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}


class Preprocess(nn.Module):
    """RGB uint8 (…, 3, H, W) → normalised float32 of the same shape.

    Args:
        name: "imagenet", "caffe" (0–255 minus the mean) or "centred" ([-1, 1]).

    Raises ValueError for another name, TypeError for images that are not uint8.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        if name not in PREPROCESSING:
            raise ValueError(
                f"preprocessing={name!r} is not known; choose one of {', '.join(PREPROCESSING)}"
            )
        self.scale, mean, std = PREPROCESSING[name]
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Normalise; see the class."""
        if images.dtype != torch.uint8:
            raise TypeError(f"images of dtype {images.dtype}: preprocessing starts from uint8")
        images = images.as_subclass(torch.Tensor)
        return (images * self.scale - self.mean) / self.std


class RandomScaleCrop(nn.Module):
    """Magnify by a random factor and cut a random window of fixed size from the result.

    Only the part of the image that the window shows is resampled. Where the rescaled image is
    smaller than the window it is padded: the image with its own mean colour, the mask with void,
    so padding is never scored. (A plain module, so that it runs under torchvision 0.19 as well,
    whose v2.Transform had other hooks.)

    Args:
        size: (H, W) of the window, in pixels.
        scale: the factor is drawn log-uniformly from this range; (1, 1) crops only.
        ignore_index: the void label.
    """

    def __init__(
        self,
        size: tuple[int, int],
        scale: tuple[float, float] = (0.5, 2.0),
        ignore_index: int = 255,
    ) -> None:
        super().__init__()
        if not 0 < scale[0] <= scale[1]:
            raise ValueError(f"scale={scale!r}: expected 0 < smallest <= largest")
        self.size = size
        self.scale = scale
        self.ignore_index = ignore_index

    def forward(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Image (3, H, W) and mask (H, W), cut alike to `size`."""
        low, high = (math.log(s) for s in self.scale)
        factor = math.exp(low + (high - low) * float(torch.rand(())))
        windows = [_window(*pair, factor) for pair in zip(image.shape[-2:], self.size, strict=True)]
        (top, height, shown_h, above), (left, width, shown_w, before) = windows
        padding = [before, above, self.size[1] - shown_w - before, self.size[0] - shown_h - above]
        cut = (top, left, height, width, [shown_h, shown_w])
        image = F.resized_crop(image, *cut, antialias=True)
        mask = F.resized_crop(mask, *cut, interpolation=v2.InterpolationMode.NEAREST)
        if any(padding):
            image = F.pad(image, padding, fill=_mean_colour(image))
            mask = F.pad(mask, padding, fill=self.ignore_index)
        return image, mask


def _window(have: int, want: int, factor: float) -> tuple[int, int, int, int]:
    """Along one side: (first source pixel, source pixels, pixels shown, padding before them)."""
    source = min(have, max(1, round(want / factor)))
    shown = want if source < have else min(want, max(1, round(have * factor)))
    first = int(torch.randint(have - source + 1, ()))
    before = int(torch.randint(want - shown + 1, ()))
    return first, source, shown, before


def _mean_colour(image: Tensor) -> list[float]:
    return [float(c) for c in image.float().mean((-2, -1))]


def augmentation(
    crop: tuple[int, int],
    scale: tuple[float, float] = (1.0, 1.0),
    flip: bool = True,
    jitter: float = 0.0,
    ignore_index: int = 255,
) -> nn.Module:
    """The joint training transform: scale and crop, mirror, change the light.

    Args:
        crop: (H, W) of what comes out, in pixels.
        scale: range of the random factor, log-uniform.
        flip: mirror left and right half the time.
        jitter: largest relative change of brightness, contrast and saturation (image only); the
            hue turns by a tenth of it.
    """
    steps: list[nn.Module] = [RandomScaleCrop(crop, scale, ignore_index)]
    if flip:
        steps.append(v2.RandomHorizontalFlip())
    if jitter:
        steps.append(v2.ColorJitter(jitter, jitter, jitter, jitter / 10))
    joint: nn.Module = v2.Compose(steps)
    return joint
