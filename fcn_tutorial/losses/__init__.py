"""Pixelwise cross-entropy with void, what surrounds it, and the losses that are used beside it.

The loss of fully convolutional training is the cross-entropy of every pixel that is not void,
summed over them (the reference code of Long, Shelhamer, Darrell 2015) or averaged (most others).
`translate` turns the settings that go with one into those that go with the other.

- `pixel_cross_entropy`, and `upsample_cross_entropy` without the full-resolution scores;
- `focal_loss`, `dice_loss` and `lovasz_softmax`; `upsample_loss`, made of `Terms` as a recipe asks;
- `multitask_loss`, the sum of that over several heads, which training minimises;
- `border_weights` between regions that almost touch, and `weighted_cross_entropy`;
- `sample_pixels`, training on a random part of the pixels;
- `translate` and `match_momentum`, between conventions;
- `median_frequency_weights` and `frequency_weights`, against classes that are rare.
"""

from fcn_tutorial.losses._common import Reduction
from fcn_tutorial.losses.banded import upsample_cross_entropy
from fcn_tutorial.losses.border import border_weights, weighted_cross_entropy
from fcn_tutorial.losses.class_weights import (
    WeightRule,
    frequency_weights,
    median_frequency_weights,
)
from fcn_tutorial.losses.conventions import Rates, match_momentum, translate
from fcn_tutorial.losses.cross_entropy import pixel_cross_entropy
from fcn_tutorial.losses.focal import focal_loss
from fcn_tutorial.losses.region import Region, dice_loss, lovasz_softmax
from fcn_tutorial.losses.sampling import sample_pixels
from fcn_tutorial.losses.tasks import TaskLosses, multitask_loss
from fcn_tutorial.losses.terms import Terms, upsample_loss

__all__ = [
    "Rates",
    "Reduction",
    "Region",
    "TaskLosses",
    "Terms",
    "WeightRule",
    "border_weights",
    "dice_loss",
    "focal_loss",
    "frequency_weights",
    "lovasz_softmax",
    "match_momentum",
    "median_frequency_weights",
    "multitask_loss",
    "pixel_cross_entropy",
    "sample_pixels",
    "translate",
    "upsample_cross_entropy",
    "upsample_loss",
    "weighted_cross_entropy",
]
