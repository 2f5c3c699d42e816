"""What hand-made features, pieces and a dense CRF do on photographs: CamVid, without a network.

    python -m benchmarks.photographs --data CamVid/ [--only PART]… [--json FILE] [--smoke]

Parts: `features`, a random forest on colour, on the bank of filters, and on each with place, of 120
training frames at half their size, with three seeds; `crf`, the forest on filters and place before
and after a dense CRF with DeepLab's weights, which nobody tuned for such frames; `pieces`, SLIC's
pieces scored as if each had its commonest label, on frames at full size. Scored are test frames,
spread evenly over the split: no setting was chosen by these scores. A complete run that is
not a smoke run writes `benchmarks/results/photographs-cpu.json`; others write where `--json` says.
Exit status: 0 done; 1 the folder is not CamVid's. About ten minutes on a core.

The file, after what every record begins with:

    "settings": {"train": 120, "test": 24, "size": [180, 240], "seeds": [0, 1, 2], …},
    "features": [{"features": ["colour"], "numbers": a pixel, "mean_iu": [a seed each], …}, …],
    "crf": {"before": {"mean_iu": […], "pixel_accuracy": […]}, "after": {…}},
    "pieces": [{"pixels": of a piece, asked for, "pieces": mean of a frame, "mean_iu": …, …}, …]
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d

from benchmarks import command
from fcn_tutorial.crf import DenseCRF
from fcn_tutorial.datasets import CamVid
from fcn_tutorial.metrics import ConfusionMatrix, Scores
from fcn_tutorial.prior import superpixels
from fcn_tutorial.prior.features import described
from fcn_tutorial.prior.pixels import PixelForest

SCHEMA = 1
SEEDS = (0, 1, 2)
#: What the forest is told, and with the last of them the CRF is tried.
TOLD = (("colour",), ("filters",), ("colour", "position"), ("filters", "position"))
#: Pixels that a piece of SLIC is asked to have, of 172,800 in a frame.
PIECES = (1728, 432, 108)  # 100, 400 and 1,600 of them
CLASSES = len(CamVid.classes)

Item = tuple[Tensor, NDArray[np.uint8]]


class Frames(NamedTuple):
    """Frames of the two splits at half their size, some of test at full size, and the seeds."""

    train: list[Item]
    test: list[Item]
    full: list[Item]
    seeds: Sequence[int]
    pixels: int


def halved(image: Tensor, mask: NDArray[np.uint8]) -> Item:
    """Half as many rows and columns: four pixels' mean, and the label of the first of them."""
    mean = avg_pool2d(image[None].float(), 2)[0].round().to(torch.uint8)
    return mean, mask[: 2 * mean.shape[1] : 2, : 2 * mean.shape[2] : 2]


def prepared(data: Path, smoke: bool) -> Frames:
    """Raises FileNotFoundError and ValueError as `CamVid`."""

    def spread(split: str, images: int) -> Iterator[Item]:
        dataset = CamVid(data, split)
        for i in np.linspace(0, len(dataset) - 1, min(images, len(dataset))).astype(int):
            image, mask = dataset[i]
            yield image.as_subclass(Tensor), np.asarray(mask)

    train, test, full = (3, 2, 1) if smoke else (120, 24, 12)
    return Frames(
        [halved(*item) for item in spread("train", train)],
        [halved(*item) for item in spread("test", test)],
        list(spread("test", full)),
        SEEDS[:1] if smoke else SEEDS,
        400 if smoke else 60_000,
    )


def scored(predict: Callable[[Tensor], Any], items: Sequence[Item]) -> Scores:
    """Of the labels that are predicted."""
    confusion = ConfusionMatrix(CLASSES, ignore_index=255)
    for image, mask in items:
        confusion.update(predict(image), torch.as_tensor(mask))
    return confusion.compute()


def fitted(frames: Frames, told: Sequence[str], seed: int) -> PixelForest:
    """The forest that has learned from the training frames."""
    forest = PixelForest(CLASSES, 255, frames.pixels, len(frames.train), seed, told)
    forest.fit(frames.train)
    return forest


def _said(found: Sequence[Scores]) -> dict[str, list[float]]:
    return {
        key: [float(getattr(scores, key)) for scores in found]
        for key in ("mean_iu", "pixel_accuracy")
    }


def features(frames: Frames) -> list[dict[str, Any]]:
    """What each kind of description buys."""
    rows = []
    for told in TOLD:
        found = [scored(fitted(frames, told, seed).predict, frames.test) for seed in frames.seeds]
        numbers = described(frames.test[0][0], told).shape[-1]
        rows.append({"features": list(told), "numbers": numbers, **_said(found)})
        print(f"  {', '.join(told)}: {100 * np.mean(rows[-1]['mean_iu']):.1f}", flush=True)
    return rows


def crf(frames: Frames) -> dict[str, Any]:
    """The forest's own labels, and those that the CRF makes of its probabilities."""
    refine = DenseCRF()

    def refined(forest: PixelForest, image: Tensor) -> Any:
        return refine(forest.probabilities(image), image.numpy()).argmax(0)

    forests = [fitted(frames, TOLD[-1], seed) for seed in frames.seeds]
    return {
        "before": _said([scored(forest.predict, frames.test) for forest in forests]),
        "after": _said([scored(partial(refined, forest), frames.test) for forest in forests]),
    }


def pieces(frames: Frames) -> list[dict[str, Any]]:
    """What SLIC's pieces allow, large and small."""
    rows = []
    for pixels in PIECES:
        counts = [superpixels.segments(image, "slic", pixels).max() + 1 for image, _ in frames.full]
        best = superpixels.ceiling(frames.full, CLASSES, "slic", pixels)
        rows.append(
            {"pixels": pixels, "pieces": float(np.mean(counts)), "frames": len(frames.full),
             "mean_iu": float(best.mean_iu), "pixel_accuracy": float(best.pixel_accuracy)}
        )  # fmt: skip
    return rows


PARTS: dict[str, Callable[[Frames], Any]] = {"features": features, "crf": crf, "pieces": pieces}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = command.parser("photographs", __doc__, PARTS)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="CamVid's folder")
    args = parser.parse_args(arguments)
    if args.device != "cpu":
        parser.error("nothing here runs on another device than the CPU")
    planned = command.plan(args, "photographs", PARTS)
    if planned is None:
        return 1
    try:
        frames = prepared(args.data, args.smoke)
    except (FileNotFoundError, ValueError) as error:
        print(f"--data {args.data}: {error}", file=sys.stderr)
        return 1
    settings = {
        "train": len(frames.train),
        "test": len(frames.test),
        "size": list(frames.test[0][1].shape),
        "seeds": list(frames.seeds),
        "pixels": frames.pixels,
    }
    record = {**command.head(SCHEMA, planned.device, args.smoke), "settings": settings}
    for part in planned.chosen:
        print(part, flush=True)
        record[part] = PARTS[part](frames)
    command.keep(record, planned.path)  # whole: a part of it would take the place of a whole one
    command.tell(planned.path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
