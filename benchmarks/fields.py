"""What a larger receptive field is worth: networks that differ in nothing else.

    python -m benchmarks.fields [--only alone|placed]… [--json FILE] [--smoke] [--threads N]

Each network is a 2×2 convolution of stride 2, four 3×3 convolutions, a 1×1 score layer and a
bilinear enlargement by two; only the dilations of the four differ, one network a row of `PATTERNS`.
So all have the same weights, multiplications, depth and stride, and each field is covered without
gaps. All learn the same batches of generated scenes for as many steps. `alone`: they see the
picture. `placed`: two more channels tell each pixel its row and column, which a network may else
guess from the zeros that pad the border, the more of them the larger its field. (`alone` has these
channels too, filled with zeros.) A complete run that is not a smoke run writes
`benchmarks/results/fields-cpu.json` (twenty minutes on a CPU core); others write where `--json`
says. Exit status as `benchmarks.core`.

The file, after `created`, `git`, `versions`, `device`, `device_kind`, `threads`, `smoke`:

    "settings": {"size": …, "images": …, "test": …, "batch": …, "steps": …, "lr": …, "width": …,
                 "parameters": …, "macs": an image},
    "alone": [{"dilations": [1, 1, 1, 1], "field": 18, "seed": 0, "loss": mean of the last tenth of
               the steps, "confusion": [[…], …] of the test scenes}, …],
    "placed": …
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks import command
from benchmarks.curves import Images, shuffled
from fcn_tutorial import geometry
from fcn_tutorial.datasets import Scenes
from fcn_tutorial.losses import pixel_cross_entropy
from fcn_tutorial.metrics import ConfusionMatrix
from fcn_tutorial.surgery import macs, trace
from fcn_tutorial.training.evaluation import judging
from fcn_tutorial.transforms import Preprocess

SCHEMA = 1
CLASSES = len(Scenes.classes)
#: Dilations of the four layers. None is larger than the field so far, in cells: no gaps.
PATTERNS = ((1, 1, 1, 1), (1, 1, 2, 3), (1, 2, 4, 8), (1, 3, 7, 12), (1, 3, 9, 18))
SEEDS = (0, 1, 2)
BATCH, LR = 4, 5e-3

Found = dict[str, Any]


class Settings(NamedTuple):
    """How much is learned, of how much, by how wide a network."""

    size: int = 128
    images: int = 400
    test: int = 100
    steps: int = 700
    width: int = 16
    patterns: tuple[tuple[int, ...], ...] = PATTERNS
    seeds: tuple[int, ...] = SEEDS


SMOKE = Settings(32, BATCH, 2, 2, 4, PATTERNS[:2], SEEDS[:1])


class Dilated(nn.Module):
    """Pictures and place (N, 5, H, W) → scores (N, C, H, W); H and W even.

    Args:
        dilations: of its 3×3 convolutions, each padded to keep the size.
        width: channels of its maps.
    """

    def __init__(self, dilations: Sequence[int], width: int) -> None:
        super().__init__()
        layers = [nn.Conv2d(5, width, 2, 2), nn.BatchNorm2d(width), nn.ReLU()]
        for d in dilations:
            conv = nn.Conv2d(width, width, 3, padding=d, dilation=d, bias=False)
            layers += [conv, nn.BatchNorm2d(width), nn.ReLU()]
        self.maps = nn.Sequential(*layers, nn.Conv2d(width, CLASSES, 1))

    def forward(self, pictures: Tensor) -> Tensor:
        """Scores, enlarged to the size of the pictures."""
        coarse: Tensor = self.maps(pictures)
        return functional.interpolate(coarse, scale_factor=2, mode="bilinear")


def rendered(split: str, n: int, size: int) -> Images:
    """Scenes as a network takes them, with two channels of zeros behind the colours; labels."""
    scenes = Scenes(n=n, split=split, size=(size, size))
    images, labels = zip(*(scenes[i] for i in range(n)), strict=True)
    pictures = Preprocess("centred")(torch.stack(images).as_subclass(Tensor))
    return functional.pad(pictures, (0, 0, 0, 0, 0, 2)), torch.stack(labels).as_subclass(Tensor)


def with_place(data: Images) -> Images:
    """The same with row and column, from -1 to 1, in the last two channels."""
    pictures, labels = data[0].clone(), data[1]
    line = torch.linspace(-1, 1, pictures.shape[-1])
    pictures[:, 3] = line[:, None]
    pictures[:, 4] = line
    return pictures, labels


class Material(NamedTuple):
    """What is learned from, and what is scored."""

    settings: Settings
    train: Images
    test: Images

    @classmethod
    def rendered(cls, settings: Settings) -> Material:
        """The scenes that the settings ask for."""
        return cls(
            settings,
            rendered("train", settings.images, settings.size),
            rendered("test", settings.test, settings.size),
        )


def field(network: Dilated, size: int) -> int:
    """Side of what a score sees, in pixels."""
    return geometry.receptive_field(trace(network.maps, size)).size


def described(settings: Settings) -> Found:
    """The settings, and what each network costs."""
    network = Dilated(settings.patterns[0], settings.width)
    return {
        **{name: value for name, value in settings._asdict().items() if isinstance(value, int)},
        "batch": BATCH,
        "lr": LR,
        "parameters": sum(p.numel() for p in network.parameters()),
        "macs": macs(network.maps, settings.size, channels=5),
    }


def learned(network: nn.Module, data: Images, steps: int, seed: int) -> float:
    """Train; returns the mean loss of the last tenth of the steps."""
    optimiser = torch.optim.AdamW(network.parameters(), LR)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LR, total_steps=steps)
    losses = []
    for _, (pictures, labels) in zip(range(steps), shuffled(data, BATCH, seed), strict=False):
        loss = pixel_cross_entropy(network(pictures), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
    return sum(losses[-(steps // 10 or 1) :]) / (steps // 10 or 1)


def confusion(network: nn.Module, data: Images) -> list[list[int]]:
    """True class by predicted class, over the scenes."""
    matrix = ConfusionMatrix(CLASSES)
    with judging(network), torch.no_grad():
        for pictures, labels in zip(*(part.split(BATCH) for part in data), strict=True):
            matrix.update(network(pictures).argmax(1), labels)
    return matrix.matrix.tolist()


def run(material: Material, placed: bool) -> list[Found]:
    """Each pattern with each seed, trained and scored."""
    settings = material.settings
    train, test = (with_place(part) if placed else part for part in material[1:])
    rows = []
    for dilations in settings.patterns:
        for seed in settings.seeds:
            torch.manual_seed(seed)
            network = Dilated(dilations, settings.width)
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            loss = learned(network, train, settings.steps, seed)
            rows.append({
                "dilations": list(dilations),
                "field": field(network, settings.size),
                "seed": seed,
                "loss": round(loss, 4),
                "confusion": confusion(network, test),
            })  # fmt: skip
            print(f"  {rows[-1]['field']} pixels, seed {seed}: loss {loss:.3f}", flush=True)
    return rows


PARTS: dict[str, Callable[[Material], list[Found]]] = {
    "alone": partial(run, placed=False),
    "placed": partial(run, placed=True),
}


def prepared(smoke: bool) -> tuple[Material, Mapping[str, Any]]:
    """The scenes, and what the record tells of the settings."""
    material = Material.rendered(SMOKE if smoke else Settings())
    return material, described(material.settings)


def main(arguments: Sequence[str] | None = None) -> int:
    return command.in_parts("fields", __doc__, SCHEMA, PARTS, prepared, arguments)


if __name__ == "__main__":
    sys.exit(main())
