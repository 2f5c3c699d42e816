"""Knowing a data set again: a digest of what it holds."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from torch import Tensor

#: Items that are looked at where a data set is read from its files: enough to tell other data, and
#: a second or so of reading.
LOOKED_AT = 16


def fingerprint(dataset: Any, whole: bool) -> str:
    """SHA-256 of a data set: its classes, how many items it has, and images and labels.

    Args:
        dataset: items (input, target) of tensors (…, H, W), or of dicts of them.
        whole: read all items, which changes wherever a pixel does; otherwise `LOOKED_AT` of them,
            spread over the set, which tells other data, but not a corrected label in some image.
    """
    images = len(dataset)
    looked = images if whole else min(LOOKED_AT, images)
    digest = hashlib.sha256(f"{images} {dataset.classes!r}".encode())
    for i in range(looked):
        for part in dataset[i * images // looked]:
            _add(digest, part)
    return digest.hexdigest()


def _add(digest: Any, part: Tensor | Mapping[str, Tensor]) -> None:
    if isinstance(part, Mapping):
        for name, value in part.items():
            digest.update(name.encode())
            _add(digest, value)
        return
    values = part.contiguous().numpy()
    digest.update(f"{values.shape} {values.dtype}".encode())
    digest.update(values.data)
