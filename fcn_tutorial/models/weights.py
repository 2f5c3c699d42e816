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

from fcn_tutorial.models.fcn import FCN

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


def save(model: FCN, card: Card, path: Path) -> None:
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


def load(path: Path, device: torch.device | str = "cpu") -> tuple[FCN, Card]:
    """The network of a weights file, in evaluation mode, and its card.

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
        model = FCN(**json.loads(metadata["model"]))
        model.load_state_dict(tensors)
        fields = json.loads(metadata["card"])
        card = Card.of(**fields)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path}: its metadata does not match its tensors ({error})") from error
    return model.to(device).eval(), card
