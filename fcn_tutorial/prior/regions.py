"""Regions first: propose, describe each by a network, classify, paste the surest last.

Selective search proposes regions of every size. As in SDS (Hariharan et al., ECCV 2014), features
of the box around a region and of the region alone go to linear SVMs, and regions are pasted in
ascending order of their score. Three things differ. SDS warps each box and runs a network that knew
ImageNet; here the maps of any trunk, or of a small network fitted first, are computed once for the
picture and pooled, as in Dai, He and Sun, CVPR 2015. SDS takes MCG's regions, whose code is not at
hand. And SDS detects things, so that a region must overlap a whole one; here a part of the sky is
sky, so that it must be pure. (R-CNN's own segmentation, Girshick et al., CVPR 2014, used CPMC's
regions, not those of selective search.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from fcn_tutorial.files import one_of
from fcn_tutorial.models.backbones import Backbone
from fcn_tutorial.prior.classifiers import Classifier, linear_svm
from fcn_tutorial.prior.method import Items, Method, at_least_one, whole_images
from fcn_tutorial.prior.patchcnn import PatchCNN
from fcn_tutorial.prior.proposals import boxes, selective_search
from fcn_tutorial.prior.superpixels import counted, spread, summed
from fcn_tutorial.transforms import Preprocess
from fcn_tutorial.upsampling import default_kernel_size, upsample

View = Literal["full", "fg"]

_PURE = 0.9  # share of its commonest class from which on a merged region teaches that class
_COST = 0.001  # of a mistake, as in R-CNN; with 0.1 the SVMs learn their regions by heart


@dataclass(eq=False)
class Regions(Method):
    """Selective search, features of a network, linear SVMs, pasting.

    A superpixel teaches the class that most of its pixels have; a merged region too if it holds
    hardly anything else, and if not, it is a negative of every class. Probabilities are 1 for the
    label that lies on top and 0 for the others. `fit` and `predict` raise ImportError without
    scikit-image.

    Args:
        pixels: those of whole images whose regions teach the SVMs.
        network: the trunk whose maps describe a region, such as `models.backbones.make` gives with
            weights, or an FCN's `backbone`. It keeps its weights, and is put into evaluation mode.
            None: a `PatchCNN` is fitted first, on the same data set.
        patches: those that teach this `PatchCNN`.
        views: what is described, by R-CNN's names: "full", all that is in the box around the
            region, and "fg", the foreground, the region alone.

    The others are those of `Method`.

    Raises:
        ValueError: for another view or none, and for values out of their range.

    Dark left of light, described by the trunk of a network that travels with the package::

        >>> import numpy as np
        >>> from fcn_tutorial import assets, models
        >>> trunk = models.load(assets.path("weights/scene-fcn8s.safetensors"))[0].backbone
        >>> picture = np.zeros((3, 32, 32), np.uint8)
        >>> picture[:, :, 16:] = 200
        >>> method = Regions(num_classes=2, network=trunk).fit([(picture, picture[0] // 200)])
        >>> method.predict(picture)[0, ::4].tolist()
        [0, 0, 0, 0, 1, 1, 1, 1]
    """

    pixels: int = 1_000_000
    patches: int = 2000
    views: Sequence[View] = get_args(View)
    network: Backbone | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least_one(patches=self.patches)
        if not self.views:
            raise ValueError("views=(): name at least one")
        for view in self.views:
            one_of("view", view, get_args(View))

    def _learn(self, dataset: Items) -> None:
        if self.network is None:
            small = PatchCNN(
                self.num_classes, self.ignore_index, self.patches, self.images, self.seed
            )
            self.trunk = small.fit(dataset)
        else:
            self.network.eval()
        features, labels = [], []
        for image, mask in whole_images(dataset, self):
            parts, members = selective_search(image)
            taught = self._taught(
                counted(mask, parts, self.num_classes, self.ignore_index), members
            )
            known = taught >= 0
            features.append(self._described(image, parts, members[known]))
            labels.append(taught[known])
        self.classifier = Classifier(linear_svm(self.seed, _COST), self.num_classes + 1)
        self.classifier.fit(np.concatenate(features), np.concatenate(labels))

    def _taught(self, counts: NDArray[np.int64], members: NDArray[np.bool_]) -> NDArray[np.intp]:
        """What each region teaches, (n,): its class, C for none of them, −1 where all is void."""
        inside = members @ counts
        mixed = inside.max(1) < _PURE * inside.sum(1)
        mixed[: len(counts)] = False  # nothing lies below a superpixel
        labels = np.where(mixed, self.num_classes, inside.argmax(1))
        return np.where(inside.any(1), labels, -1)

    def _described(
        self, image: NDArray[np.uint8], parts: NDArray[np.intp], members: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        maps = self.trunk.maps(image) if self.network is None else trunk_maps(self.network, image)
        return np.hstack([_POOLED[view](maps, parts, members) for view in self.views])

    def _probabilities(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        parts, members = selective_search(image)
        features = self._described(image, parts, members)
        scores = self.classifier.probabilities(features)[:, : self.num_classes]
        labels = pasted(scores, members)[parts]
        return np.asarray(labels == np.arange(self.num_classes)[:, None, None], np.float32)


def trunk_maps(network: Backbone, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What a trunk says around each pixel of an image (3, H, W): (H, W, channels).

    Its two finest taps, each enlarged so that a feature lies where its window is centred; beyond
    the outermost features they are repeated.
    """
    batch = Preprocess(network.preprocessing)(torch.from_numpy(image)[None])
    found = []
    with torch.no_grad():
        taps = network(batch)
        for stride in sorted(taps)[:2]:
            _, centre = network.coordinate_map(stride)
            offset = Fraction(default_kernel_size(stride) - 1, 2) - centre
            size = (image.shape[1], image.shape[2])
            found.append(upsample(taps[stride], stride, size, offset, border="replicate"))
    maps: NDArray[np.float32] = torch.cat(found, 1)[0].permute(1, 2, 0).numpy()
    return maps


def pasted(scores: NDArray[np.floating], members: NDArray[np.bool_]) -> NDArray[np.intp]:
    """The label of each superpixel, (parts,): that of the surest region which it is in.

    Args:
        scores: of each region for each class, (n, C).
        members: the superpixels of each region, (n, parts); each is in one at least.
    """
    labels = np.zeros(members.shape[1], np.intp)
    for region in np.argsort(scores.max(1), kind="stable"):
        labels[members[region]] = scores[region].argmax()
    return labels


def in_box(
    maps: NDArray[np.floating], parts: NDArray[np.intp], members: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Mean and standard deviation of maps (H, W, D) in the box around each region: (n, 2·D)."""
    powers = np.concatenate([maps, maps**2], axis=2, dtype=np.float64)
    above = np.pad(powers.cumsum(0).cumsum(1), ((1, 0), (1, 0), (0, 0)))  # sums above and left
    own = boxes(parts)
    top, left = (np.where(members, first, parts.size).min(1) for first in own.T[:2])
    bottom, right = (np.where(members, end, 0).max(1) for end in own.T[2:])
    sums = above[bottom, right] - above[top, right] - above[bottom, left] + above[top, left]
    return spread(sums, (bottom - top) * (right - left))


def in_region(
    maps: NDArray[np.floating], parts: NDArray[np.intp], members: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Mean and standard deviation of maps (H, W, D) in each region alone: (n, 2·D)."""
    powers = np.concatenate([maps, maps**2], axis=2, dtype=np.float64)
    sums = summed(powers.reshape(-1, powers.shape[2]), parts)
    return spread(members.astype(np.float64) @ sums, members @ np.bincount(parts.ravel()))


_POOLED = {"full": in_box, "fg": in_region}
