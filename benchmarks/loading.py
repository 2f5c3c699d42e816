"""Loading beside torchvision's and Pillow's: images a second from files in the layout of VOC.

    python -m benchmarks.loading [--json FILE] [--images N] [--threads N] [--smoke]

The files are written first: photo-like JPEG of 500×375, some upright or flatter, and palette PNG.
Everything runs in one process and one thread, as in a worker of a DataLoader, and the system holds
all files in memory: what is compared is decoding and transforming, not the disk.

    reading            an image and its labels, as uint8
    training samples   windows of 480×480 from a random scale and mirror, normalised, in batches of
                       8: the steps of torchvision's reference for segmentation

Contestants take turns; the table shows medians with quartiles in brackets and the ratio
theirs / ours. A run that is not a smoke run writes `loading-cpu.json` beside the core results, or
where `--json` says: the schema of `benchmarks.core`, and
"images_per_second": {work: {contestant: …}}.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import default_collate

from benchmarks.command import RESULTS, keep, positive, tell
from benchmarks.core import as_record
from benchmarks.rows import Measured, Row, table
from benchmarks.timing import Settings, against, alternate
from fcn_tutorial.datasets import VOCSegmentation
from fcn_tutorial.datasets.loading import collate
from fcn_tutorial.transforms import Preprocess, augmentation
from fcn_tutorial.vision import datasets as peers
from fcn_tutorial.vision import functional as F
from fcn_tutorial.vision import v2

CASE = "loading"
BATCH, WINDOW = 8, 480
SHORTER = (260, 1040)  # torchvision references/segmentation: base size 520, times 0.5 to 2
TORCHVISION, PILLOW = "torchvision", "plain Pillow"
TORCHVISION_STEPS = "torchvision, reference transforms"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def main(arguments: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(arguments)
    torch.set_num_threads(args.threads)
    count = 8 if args.smoke else args.images
    path = args.json or (None if args.smoke else RESULTS / "loading-cpu.json")
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="loading-") as folder:
        write_voc(Path(folder), count, 0.2 if args.smoke else 1.0)
        rows = compare(Path(folder), count, Settings(torch.device("cpu"), args.smoke))
    seconds = round(time.perf_counter() - began, 1)

    print(table(rows))
    rates: dict[str, dict[str, float]] = {}
    for row in rows:
        for side in (row.ours, row.theirs):
            rates.setdefault(row.work, {})[side.name] = round(1 / side.median, 1)
    for work, found in rates.items():
        shown = ", ".join(f"{name} {rate:.0f}" for name, rate in found.items())
        print(f"\n{work}: {shown} images/s", end="")
    print()
    record = as_record(list(rows), torch.device("cpu"), args.smoke, [CASE], seconds)
    record |= {"images": count, "images_per_second": rates}
    print(f"\n{record['device']}, {seconds:.0f} s; medians [quartiles]; ratio is theirs / ours")
    keep(record, path)
    tell(path)
    return 0


def compare(root: Path, count: int, settings: Settings) -> list[Row]:
    """Rows of the two pieces of work on the files at `root`."""
    source = VOCSegmentation(root, "train")
    theirs = peers.VOCSegmentation(str(root), "2012", "train")
    files = [(str(image), str(mask)) for image, mask in source.files]
    _check_agreement(source, theirs, files)

    def measure(work: str, contestants: dict[str, Callable[[], object]]) -> list[Row]:
        settings.say(work)
        per_call = dict.fromkeys(contestants, count)
        measured: dict[str, Measured] = alternate(contestants, settings, "s/image", per_call)
        return against(CASE, work, measured, {})

    indices = range(count)
    rows = measure(
        "reading",
        {
            "ours": lambda: exhaust(source[i] for i in indices),
            TORCHVISION: lambda: exhaust(read_by_torchvision(theirs, i) for i in indices),
            PILLOW: lambda: exhaust(read_by_pillow(*pair) for pair in files),
        },
    )
    rows += measure(
        f"training samples {WINDOW}×{WINDOW}",
        {
            "ours": lambda: our_samples(source),
            TORCHVISION_STEPS: lambda: torchvision_samples(theirs),
            PILLOW: lambda: pillow_samples(files),
        },
    )
    return rows


def exhaust(items: Iterator[object]) -> None:
    """Make the items, and drop each before the next, as an epoch does."""
    for _ in items:
        pass


def _check_agreement(ours: VOCSegmentation, theirs: Any, files: list[tuple[str, str]]) -> None:
    """Raise RuntimeError unless all read the same pixels and labels."""
    for i, pair in enumerate(files):
        image, mask = ours[i]
        for other, labels in (read_by_torchvision(theirs, i), read_by_pillow(*pair)):
            if not (torch.equal(image, other) and torch.equal(mask, labels)):
                raise RuntimeError(f"loading: contestants read {pair[0]} differently")


# --- Reading ------------------------------------------------------------------------------------


def read_by_torchvision(dataset: Any, index: int) -> tuple[Tensor, Tensor]:
    """(3, H, W) and (H, W), uint8."""
    image, mask = dataset[index]
    return F.pil_to_tensor(image), F.pil_to_tensor(mask)[0]


def read_by_pillow(image: str, mask: str) -> tuple[Tensor, Tensor]:
    """The same without torchvision."""
    pixels = np.array(Image.open(image).convert("RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1), torch.from_numpy(np.array(Image.open(mask)))


# --- Training samples ---------------------------------------------------------------------------


def our_samples(dataset: VOCSegmentation) -> None:
    """Our augmentation of uint8, normalised a batch at a time."""
    scale = (SHORTER[0] / 375, SHORTER[1] / 375)
    transform, preprocess = augmentation((WINDOW, WINDOW), scale), Preprocess("imagenet")
    for start in range(0, len(dataset), BATCH):
        chosen = range(start, min(start + BATCH, len(dataset)))
        images, _ = collate([transform(*dataset[i]) for i in chosen])
        preprocess(images)


def torchvision_samples(dataset: Any) -> None:
    """The steps of the reference's training preset on PIL images, one after the other."""
    for start in range(0, len(dataset), BATCH):
        chosen = range(start, min(start + BATCH, len(dataset)))
        default_collate([_reference_steps(*dataset[i]) for i in chosen])


def _reference_steps(image: Any, mask: Any) -> tuple[Tensor, Tensor]:
    shorter = random.randint(*SHORTER)
    image = F.resize(image, [shorter], antialias=True)
    mask = F.resize(mask, [shorter], interpolation=v2.InterpolationMode.NEAREST)
    if random.random() < 0.5:
        image, mask = F.horizontal_flip(image), F.horizontal_flip(mask)
    right, below = (max(0, WINDOW - side) for side in image.size)
    image = F.pad(image, [0, 0, right, below], fill=0)
    mask = F.pad(mask, [0, 0, right, below], fill=255)
    left = random.randint(0, image.size[0] - WINDOW)
    top = random.randint(0, image.size[1] - WINDOW)
    image = F.crop(image, top, left, WINDOW, WINDOW)
    mask = F.crop(mask, top, left, WINDOW, WINDOW)
    pixels = F.to_dtype(F.pil_to_tensor(image), torch.float32, scale=True)
    labels = F.pil_to_tensor(mask)[0].to(torch.int64)
    return F.normalize(pixels, list(MEAN), list(STD)), labels


def pillow_samples(files: list[tuple[str, str]]) -> None:
    """Pillow and NumPy alone; as ours, it resamples what the window shows and no more."""
    for start in range(0, len(files), BATCH):
        samples = [_pillow_steps(*pair) for pair in files[start : start + BATCH]]
        np.stack([image for image, _ in samples]), np.stack([mask for _, mask in samples])


def _pillow_steps(image_file: str, mask_file: str) -> tuple[Any, Any]:
    image, mask = Image.open(image_file).convert("RGB"), Image.open(mask_file)
    factor = random.randint(*SHORTER) / min(image.size)
    box, shown, at = [0, 0, 0, 0], [0, 0], [0, 0]
    for axis, side in enumerate(image.size):
        source = min(side, round(WINDOW / factor))
        shown[axis] = min(WINDOW, round(side * factor))
        box[axis] = random.randint(0, side - source)
        box[axis + 2] = box[axis] + source
        at[axis] = random.randint(0, WINDOW - shown[axis])
    size, part = (shown[0], shown[1]), (box[0], box[1], box[2], box[3])
    pixels = np.zeros((WINDOW, WINDOW, 3), np.uint8)
    labels = np.full((WINDOW, WINDOW), 255, np.uint8)
    inside = slice(at[1], at[1] + size[1]), slice(at[0], at[0] + size[0])
    pixels[inside] = np.asarray(image.resize(size, Image.Resampling.BILINEAR, part))
    labels[inside] = np.asarray(mask.resize(size, Image.Resampling.NEAREST, part))
    if random.random() < 0.5:
        pixels, labels = pixels[:, ::-1], labels[:, ::-1]
    mean, std = np.array(MEAN, np.float32), np.array(STD, np.float32)
    values = (pixels.astype(np.float32) / 255 - mean) / std
    return np.ascontiguousarray(values.transpose(2, 0, 1)), np.ascontiguousarray(labels)


# --- Files --------------------------------------------------------------------------------------


def write_voc(root: Path, count: int, scale: float = 1.0) -> None:
    """`root/VOCdevkit/VOC2012` with `count` images: smooth shapes, edges and grain, some 100 kB."""
    voc = root / "VOCdevkit" / "VOC2012"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (voc / folder).mkdir(parents=True)
    rng = np.random.default_rng(0)
    names = [f"2012_{number:06d}" for number in range(count)]
    (voc / "ImageSets" / "Segmentation" / "train.txt").write_text("\n".join(names) + "\n")
    palette = rng.integers(0, 256, 768, np.uint8).tobytes()
    for number, name in enumerate(names):
        sides = [(500, 375), (500, 375), (500, 375), (375, 500), (500, 333)][number % 5]
        width, height = (round(side * scale) for side in sides)
        coarse = rng.integers(0, 256, (9, 12, 3), np.uint8)
        picture = np.array(
            Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        )
        blobs = Image.fromarray(rng.integers(0, 21, (5, 6), np.uint8))
        labels = np.array(blobs.resize((width, height), Image.Resampling.NEAREST))
        edges = labels != np.roll(labels, 2, (0, 1))
        picture = picture + 6 * labels[..., None] + rng.normal(0, 7, picture.shape)
        photo = Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))
        photo.save(voc / "JPEGImages" / f"{name}.jpg", quality=90)
        mask = Image.fromarray(np.where(edges, np.uint8(255), labels))
        mask.putpalette(palette)
        mask.save(voc / "SegmentationClass" / f"{name}.png")


def _parser() -> argparse.ArgumentParser:
    summary, *_ = (__doc__ or "").splitlines()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loading", description=summary)
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the results")
    parser.add_argument("--images", type=positive, default=60, metavar="N", help="files [60]")
    parser.add_argument(
        "--threads", type=positive, default=1, metavar="N", help="of torch [1, as a worker has]"
    )
    parser.add_argument(
        "--smoke", action="store_true", help="a few small files: times mean nothing"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
