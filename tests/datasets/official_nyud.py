"""Writes small NYUDv2 folders: the official labelled .mat, and the FCN authors' own layout."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import scipy.io
from PIL import Image


class Frames(NamedTuple):
    images: np.ndarray  # (N, H, W, 3) uint8
    depths: np.ndarray  # (N, H, W) float32, metres
    raw: np.ndarray  # the same with holes
    labels: np.ndarray  # (N, H, W) uint16, 0–894


def mapping() -> np.ndarray:
    """Class 1–40 of each of 894 names; any will do."""
    return (np.arange(894) * 7 % 40 + 1).astype(np.float64)


def frames(count: int = 6, size: tuple[int, int] = (24, 32), seed: int = 0) -> Frames:
    rng = np.random.default_rng(seed)
    depths = rng.uniform(0.7, 6, (count, *size)).astype(np.float32)
    raw = np.where(rng.random(depths.shape) < 0.2, 0, depths).astype(np.float32)
    images = rng.integers(0, 256, (count, *size, 3), np.uint8)
    return Frames(images, depths, raw, rng.integers(0, 895, depths.shape, np.uint16))


def write_official(root: Path, given: Frames, train: list[int], test: list[int]) -> Path:
    """MATLAB stores arrays last index first: (3, W, H) an image. `train`, `test` count from 1."""
    root.mkdir(parents=True, exist_ok=True)
    with h5py.File(root / "nyu_depth_v2_labeled.mat", "w", userblock_size=512) as file:
        for name, values in (
            ("images", given.images.transpose(0, 3, 2, 1)),
            ("depths", given.depths.transpose(0, 2, 1)),
            ("rawDepths", given.raw.transpose(0, 2, 1)),
            ("labels", given.labels.transpose(0, 2, 1)),
        ):
            file.create_dataset(name, data=values, chunks=(1, *values.shape[1:]), compression=3)
        file["accelData"] = np.zeros((4, len(given.images)), np.float32)
    scipy.io.savemat(root / "classMapping40.mat", {"mapClass": mapping()[None]})
    columns = {"trainNdxs": np.array(train)[:, None], "testNdxs": np.array(test)[:, None]}
    scipy.io.savemat(root / "splits.mat", columns)
    return root


def write_prepared(root: Path, given: Frames, hha: np.ndarray) -> Path:
    """As in nyud.tar.gz: labels 0–40, depth in whole millimetres. Lists are left to the test."""
    for folder in ("segmentation", "data/images", "data/depth", "data/hha"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    classes = np.concatenate([[0], mapping()])
    for i, (image, depth, label) in enumerate(
        zip(given.images, given.depths, given.labels, strict=True)
    ):
        name = f"img_{5001 + i}"
        label40 = classes[label].astype(np.uint8)
        scipy.io.savemat(root / "segmentation" / f"{name}.mat", {"segmentation": label40})
        Image.fromarray(image).save(root / "data/images" / f"{name}.png")
        millimetres = np.rint(depth * 1000).astype(np.uint16)
        Image.fromarray(millimetres).save(root / "data/depth" / f"{name}.png")
        Image.fromarray(hha[i]).save(root / "data/hha" / f"{name}.png")
    return root
