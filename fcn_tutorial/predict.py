"""From image files to label files: palette PNGs and overlays, at the size of the image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

import fcn_tutorial._torchvision  # noqa: F401
from fcn_tutorial import models, visualize
from fcn_tutorial.datasets.folder import read_upright
from fcn_tutorial.models import FCN, Card
from fcn_tutorial.transforms import LimitSide

from torchvision import tv_tensors

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm")


@dataclass(frozen=True)
class Predictor:
    """A trained network and what it says of itself; `predictor.label(image)` labels."""

    model: FCN
    card: Card
    longest_side: int = 0  # pixels that larger images are shrunk to; 0: never

    @classmethod
    def load(cls, source: Path, device: torch.device | str = "cpu") -> Predictor:
        """From a run folder or a weights file. Raises FileNotFoundError or ValueError naming it.

        A network whose recipe shrank its photos gets images shrunk alike.
        """
        path = source / "best.safetensors" if source.is_dir() else source
        model, card = models.load(path, device)
        try:
            recipe = card.details.get("recipe") or {"data": {}}
            longest = int(recipe["data"].get("longest_side", 0))
        except (AttributeError, LookupError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"{path}: the recipe in it is damaged ({error})") from error
        return cls(model.to(memory_format=torch.channels_last), card, longest)

    def label(self, image: Tensor) -> Tensor:
        """Class indices (H, W) of an image uint8 (3, H, W), at its own size."""
        if not self.longest_side:
            return self.model.predict(image)
        limit = LimitSide(self.longest_side)
        shrunk, _ = limit(tv_tensors.Image(image), tv_tensors.Mask(image[0]))
        labels = self.model.predict(shrunk.as_subclass(Tensor))
        rows, columns = (
            ((torch.arange(n, device=labels.device) + 0.5) * (m / n)).long()
            for n, m in zip(image.shape[-2:], labels.shape, strict=True)
        )
        return labels[rows[:, None], columns]


def read_image(path: Path) -> Tensor:
    """A picture file as RGB uint8 (3, H, W), turned upright as its EXIF says.

    Raises FileNotFoundError, and ValueError naming a file that cannot be read.
    """
    return torch.from_numpy(read_upright(path)).permute(2, 0, 1)


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
        labels = predictor.label(image)
        files = out / f"{path.stem}.png", out / f"{path.stem}-overlay.png"
        visualize.save_mask(labels, palette, files[0])
        Image.fromarray(visualize.overlay(image, labels, palette)).save(files[1])
        yield (path, *files)
