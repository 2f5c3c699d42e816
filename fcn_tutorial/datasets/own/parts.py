"""How a folder's images are parted into train, val and test where no list says so."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fcn_tutorial.datasets.own.pairing import SPLITS, Files


@dataclass(frozen=True)
class Shares:
    """Shares of the images that are drawn for `val` and `test`; the others are trained on.

    Raises:
        ValueError: for a share below 0, and where they leave no image to train on.
    """

    val: float = 0.2
    test: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, share in (("val_fraction", self.val), ("test_fraction", self.test)):
            if not 0 <= share < 1 or self.val + self.test >= 1:
                raise ValueError(
                    f"{name}={share}: both fractions are at least 0, their sum below 1"
                )


def part(files: Files, split: str, shares: Shares) -> list[str]:
    """The keys of a split, in alphabetical order.

    Folders called train, val and test decide where all images lie in such; a part that has no
    folder is drawn from train's. A key's part depends on the key and the seed alone, so that files
    added later move no other; of very few pairs, each part gets one where it can.

    Raises:
        ValueError: where the part is empty.
    """
    keys = list(files.images)
    if not files.parted:
        return _draw(keys, split, shares)
    by_folder = {s: [key for key in keys if files.part(key) == s] for s in SPLITS}
    if split != "train" and by_folder[split]:
        return sorted(by_folder[split])
    left = Shares(
        0 if by_folder["val"] else shares.val, 0 if by_folder["test"] else shares.test, shares.seed
    )
    return _draw(by_folder["train"], split, left)


def _draw(keys: Sequence[str], split: str, shares: Shares) -> list[str]:
    place = {key: _place(key, shares.seed) for key in keys}
    order = sorted(keys, key=lambda key: (place[key], key))
    limits = np.cumsum([shares.test, shares.val])
    test, both = (sum(place[key] < limit for key in order) for limit in limits)
    # A few pairs may all fall on one side; every part that is wanted gets one where it can.
    val_wanted = int(shares.val > 0)
    test = max(0, min(max(test, int(shares.test > 0)), len(keys) - 1 - val_wanted))
    both = max(0, min(max(both, test + val_wanted), len(keys) - 1))
    chosen = {"test": order[:test], "val": order[test:both], "train": order[both:]}[split]
    if not chosen:
        raise ValueError(
            f"split={split!r} of {len(keys)} pairs is empty with val_fraction={shares.val} and "
            f"test_fraction={shares.test}; change the fractions, or name the files in a list"
        )
    return sorted(chosen)


def _place(key: str, seed: int) -> float:
    """A number in [0, 1) that depends on the key and the seed alone."""
    digest = hashlib.sha256(f"{seed}/{key}".encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48
