"""A classifier of patches at every pixel: deep, but not fully convolutional.

A small network learns what is at the centre of a patch; the picture is labelled by sliding it over
every pixel. Neighbouring patches share nearly all of their pixels, so nearly all of that work is
done again and again. After Ning et al., IEEE TIP 2005; Cireşan et al., NIPS 2012; Farabet et al.,
PAMI 2013.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fcn_tutorial.models import CropClassifier
from fcn_tutorial.models.classifier import CROP
from fcn_tutorial.prior.method import Image, Items, Method, at_least_one, pixels_of, places, sampled
from fcn_tutorial.surgery import atrous, convolutionalize, macs
from fcn_tutorial.transforms import Preprocess

_BEFORE = CROP // 2  # pixels of a patch above and left of its centre
_MAPS = ((2, 3), (5, 8))  # layers up to the first and the second convolution's, and their windows


class Cost(NamedTuple):
    """Multiply-accumulates of one picture: patch by patch, and in one pass over the whole."""

    windows: int
    one_pass: int


@dataclass(eq=False)
class PatchCNN(Method):
    """A `models.CropClassifier` trained on 46×46 patches around single pixels.

    Beyond the edge a picture goes on as its outermost pixels. `probabilities` computes in one pass
    what `by_windows` computes patch by patch: the same numbers, to rounding.

    Args:
        pixels: training patches, each seen once an epoch.
        epochs: passes over them.

    The others are those of `Method`.

    ::

        >>> import numpy as np
        >>> picture = np.zeros((3, 8, 8), np.uint8)
        >>> picture[:, :, 4:] = 200
        >>> data = [(picture, picture[0] // 200)]  # 0 where it is dark, 1 where it is light
        >>> method = PatchCNN(num_classes=2, pixels=64, epochs=1).fit(data)
        >>> one_pass, windows = method.probabilities(picture), method.by_windows(picture)
        >>> one_pass.shape, np.allclose(one_pass, windows, atol=1e-4)
        ((2, 8, 8), True)
    """

    pixels: int = 20_000
    epochs: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least_one(epochs=self.epochs)
        self.preprocess = Preprocess(CropClassifier.preprocessing)

    def _learn(self, dataset: Items) -> None:
        samples = list(sampled(dataset, self))
        padded = [_padded(sample.image) for sample in samples]
        index, row, column = places(samples)
        labels = torch.from_numpy(
            np.concatenate([sample.labels for sample in samples]).astype(np.int64)
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.network = CropClassifier(self.num_classes)
            batches = [
                batch for _ in range(self.epochs) for batch in torch.randperm(len(labels)).split(64)
            ]
        counts = torch.bincount(labels, minlength=self.num_classes)
        weight = torch.where(counts > 0, (counts / len(labels)).clamp(min=1e-9) ** -0.5, 0)
        loss = nn.CrossEntropyLoss(weight)
        optimiser = torch.optim.Adam(self.network.parameters(), 2e-3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, len(batches))
        for batch in batches:
            cuts = (padded[index[i]][:, row[i] :, column[i] :][:, :CROP, :CROP] for i in batch)
            patches = self.preprocess(torch.stack(list(cuts)))
            optimiser.zero_grad()
            loss(self.network(patches), labels[batch]).backward()
            optimiser.step()
            schedule.step()
        unseen = counts == 0
        with torch.no_grad():  # no class without a patch is ever answered
            last = self.network.classifier[-1]
            assert isinstance(last, nn.Linear), "a classifier ends in its scores"
            last.bias[unseen] = -1e4
        self.network.eval()

    def _probabilities(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        everywhere = atrous(convolutionalize(self.network, CROP))
        with torch.no_grad():
            scores = everywhere(self.preprocess(_padded(image)[None]))[0]
        found: NDArray[np.float32] = scores.softmax(0).numpy()
        return found

    def maps(self, image: Image) -> NDArray[np.float32]:
        """What its first two convolutions answer around each pixel, (H, W, 72).

        Arguments and errors as those of `predict`.
        """
        pixels = self.checked(image)
        height, width = pixels.shape[1:]
        batch, found = self.preprocess(_padded(pixels)[None]), []
        for layers, window in _MAPS:
            with torch.no_grad():
                answers = atrous(self.network.features[:layers])(batch)[0]
            start = _BEFORE - window // 2
            found.append(answers[:, start : start + height, start : start + width])
        return np.asarray(torch.cat(found).permute(1, 2, 0).numpy())

    def by_windows(self, image: Image, batch: int = 1024) -> NDArray[np.float32]:
        """`probabilities` as the early networks computed them: patch after patch, (C, H, W)."""
        pixels = pixels_of(image)
        height, width = pixels.shape[1:]
        windows = _padded(pixels).unfold(1, CROP, 1).unfold(2, CROP, 1)[:, :height, :width]
        spots = torch.arange(height * width).split(batch)
        with torch.no_grad():
            scores = torch.cat(
                [
                    self.network(self.preprocess(windows[:, s // width, s % width].transpose(0, 1)))
                    for s in spots
                ]
            )
        found: NDArray[np.float32] = scores.softmax(1).numpy()
        return found.T.reshape(self.num_classes, height, width)


def cost(num_classes: int, size: tuple[int, int]) -> Cost:
    """What labelling every pixel of a picture costs, both ways.

    Args:
        num_classes: how many there are.
        size: height and width of the picture.

    Returns:
        Multiply-accumulates patch by patch, and in one pass over the whole picture.

    ::

        >>> windows, one_pass = cost(num_classes=12, size=(64, 64))
        >>> windows > 10 * one_pass
        True
    """
    network = CropClassifier(num_classes)
    padded = (size[0] + CROP - 1, size[1] + CROP - 1)
    one_pass = macs(atrous(convolutionalize(network, CROP)), padded)
    return Cost(size[0] * size[1] * macs(network, CROP), one_pass)


def _padded(image: NDArray[np.uint8]) -> Tensor:
    """The picture (3, H, W) with what patches need around it: (3, H + 45, W + 45)."""
    around = (_BEFORE, CROP - 1 - _BEFORE)
    return torch.from_numpy(np.pad(image, ((0, 0), around, around), mode="edge"))
