"""A trained network as one file: safetensors whose metadata rebuilds and explains it.

Loading runs no code from the file: tensors come from safetensors, the rest is JSON.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from fcn_tutorial.models.fcn import FCN
from fcn_tutorial.models.fusion import LateFusion

FORMAT = "fcn_tutorial/1"


@dataclass(frozen=True)
class Card:
    """What a weights file says of itself: classes, their colours, and how it was made."""

    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    recipe: str = ""
    dataset: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def of(
        classes: Sequence[str],
        palette: Sequence[Sequence[int]],
        recipe: str = "",
        dataset: str = "",
        details: dict[str, Any] | None = None,
    ) -> Card:
        """A card from sequences of any kind (lists and arrays included)."""
        colours = tuple((int(r), int(g), int(b)) for r, g, b in palette)
        return Card(tuple(classes), colours, recipe, dataset, details or {})


def save(model: FCN | LateFusion, card: Card, path: Path) -> None:
    """Write the weights and the card; the file appears whole or not at all."""
    tensors = {k: v.detach().contiguous().cpu() for k, v in model.state_dict().items()}
    metadata = {
        "format": FORMAT,
        "model": json.dumps(model.config),
        "card": json.dumps(asdict(card)),
    }
    partial = path.with_name(path.name + ".partial")
    save_file(tensors, partial, metadata)
    os.replace(partial, path)


def load(
    path: Path, device: torch.device | str = "cpu", backbone: nn.Module | None = None
) -> tuple[Any, Card]:
    """The network of a weights file (an FCN or a LateFusion), in evaluation mode, and its card.

    backbone: a fresh module like the one the network was built on, where that was one's own.

    Raises FileNotFoundError, or ValueError naming a file that is damaged or not one of ours.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} not found")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: not a readable safetensors file ({error})") from error
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path}: not a network saved by fcn_tutorial (no {FORMAT!r} metadata)")
    try:
        model = _build(json.loads(metadata["model"]), backbone)
        model.load_state_dict(tensors)
        fields = json.loads(metadata["card"])
        card = Card.of(**fields)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path}: its metadata does not match its tensors ({error})") from error
    return model.to(device).eval(), card


def _build(config: dict[str, Any], backbone: nn.Module | None = None) -> FCN | LateFusion:
    if "streams" in config:
        return LateFusion([FCN(**stream) for stream in config["streams"]], config["shares"])
    return FCN(**(config if backbone is None else {**config, "backbone": backbone}))
