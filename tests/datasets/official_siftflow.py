"""Writes a small SiftFlowDataset folder as the official zip unpacks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image

SUBFOLDER = "spatial_envelope_256x256_static_8outdoorcategories"


def write_official(
    root: Path,
    semantic: dict[str, np.ndarray],
    geometric: dict[str, np.ndarray],
    test: list[str],
) -> Path:
    """Labels (H, W) by name of image: 0 void and 1–33; −1 void and 1–3. One flat grey per photo."""
    for folder in ("Images", "SemanticLabels", "GeoLabels"):
        (root / folder / SUBFOLDER).mkdir(parents=True, exist_ok=True)
    for number, (name, labels) in enumerate(semantic.items()):
        photo = Image.fromarray(np.full((*labels.shape, 3), 40 + number, np.uint8))
        photo.save(root / "Images" / SUBFOLDER / f"{name}.jpg", quality=95)
        for folder, values in (
            ("SemanticLabels", labels.astype(np.uint8)),
            ("GeoLabels", geometric[name].astype(np.int16)),
        ):
            content = {"S": values, "names": np.array(["one", "two"], object)}
            path = root / folder / SUBFOLDER / f"{name}.mat"
            scipy.io.savemat(path, content, do_compression=True)
    lines = [f"{SUBFOLDER}\\{name}.jpg" for name in test]
    (root / "TestSet1.txt").write_text("\r\n".join(lines) + "\r\n")
    return root
