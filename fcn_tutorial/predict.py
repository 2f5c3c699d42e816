"""From image files to label files: palette PNGs and overlays, at the size of the image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from fcn_tutorial import models, visualize
from fcn_tutorial.models import FCN, Card

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm")


@dataclass(frozen=True)
class Predictor:
    """A trained network and what it says of itself; `predictor.model.predict(image)` labels."""

    model: FCN
    card: Card

    @classmethod
    def load(cls, source: Path, device: torch.device | str = "cpu") -> Predictor:
        """From a run folder or a weights file. Raises FileNotFoundError or ValueError naming it."""
        path = source / "best.safetensors" if source.is_dir() else source
        model, card = models.load(path, device)
        return cls(model.to(memory_format=torch.channels_last), card)


def read_image(path: Path) -> Tensor:
    """A picture file as RGB uint8 (3, H, W), turned upright as its EXIF says.

    Raises ValueError naming a file that cannot be read.
    """
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image).convert("RGB")
            return torch.from_numpy(np.array(upright)).permute(2, 0, 1)
    except FileNotFoundError:
        raise FileNotFoundError(f"{path} not found") from None
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
        raise ValueError(f"{path}: not a readable image ({error})") from error


def find_images(paths: Iterable[Path]) -> list[Path]:
    """Files as given, and the pictures directly inside each folder.

    Raises FileNotFoundError for a path that is not there, ValueError for a folder without pictures.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"{path} not found")
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
            if not inside:
                raise ValueError(f"{path} holds no pictures ({', '.join(SUFFIXES)})")
            found += inside
        else:
            found.append(path)
    return found


def write_predictions(
    predictor: Predictor, images: Iterable[Path], out: Path
) -> Iterator[tuple[Path, Path, Path]]:
    """Write STEM.png (palette, values are labels) and STEM-overlay.png for each image, one by one.

    Yields (image, labels, overlay) as they are done. Raises ValueError before writing anything
    where two images would write the same file.
    """
    images = list(images)
    stems = [path.stem for path in images]
    twice = sorted({stem for stem in stems if stems.count(stem) > 1})
    if twice:
        raise ValueError(f"two images are called {twice[0]!r}; predict their folders one by one")
    out.mkdir(parents=True, exist_ok=True)
    palette = predictor.card.palette
    for path in images:
        image = read_image(path)
        labels = predictor.model.predict(image)
        files = out / f"{path.stem}.png", out / f"{path.stem}-overlay.png"
        visualize.save_mask(labels, palette, files[0])
        Image.fromarray(visualize.overlay(image, labels, palette)).save(files[1])
        yield (path, *files)
