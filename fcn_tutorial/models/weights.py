"""A trained network as one file: safetensors whose metadata rebuilds and explains it.

Loading runs no code from the file: tensors come from safetensors, the rest is JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from fcn_tutorial.files import replacing
from fcn_tutorial.models.network import Network, describe, from_description
from fcn_tutorial.surgery.tracing import meta_copy

FORMAT = "fcn_tutorial/1"
_INSIDE = ": it is a folder; give the best.safetensors inside"
#: What files that lie about near a network's, or in its place, are, by suffix.
_OTHERS = {
    ".pt": "is a checkpoint that training goes on from (--resume); the network is in the same run "
    "folder, best.safetensors",
    ".pth": "holds weights of a trunk and no network; train one from it with --weights",
    ".caffemodel": "is read by models.load_published, or by train --weights",
    ".onnx": "is an exported network; give the best.safetensors it was made from",
    ".pt2": "is an exported network; give the best.safetensors it was made from",
}


@dataclass(frozen=True)
class Card:
    """What a weights file says of itself: classes, their colours, and how it was made.

    `Card.of` makes one from sequences of any kind.

    Attributes:
        classes: names of labels 0, 1, ….
        palette: their colours, (red, green, blue) from 0 to 255.
        recipe: the name of the one that it was trained by; "" for none.
        dataset: likewise.
        details: what else is known, in JSON types; "recipe" holds all settings.

    ::

        >>> card = Card.of(["sky", "road"], [[135, 206, 235], [90, 90, 100]])
        >>> card.classes, card.palette[1]
        (('sky', 'road'), (90, 90, 100))
    """

    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    recipe: str = ""
    dataset: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def longest_side(self) -> int:
        """Pixels that photos were shrunk to for training; 0: never.

        Raises:
            ValueError: where the recipe in the card is damaged.
        """
        try:
            recipe = self.details.get("recipe") or {"data": {}}
            longest = int(recipe["data"].get("longest_side", 0))
        except (AttributeError, LookupError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"the recipe in it is damaged ({error})") from error
        if longest < 0:
            raise ValueError(f"the recipe in it is damaged (longest_side={longest})")
        return longest

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


def save(model: Network, card: Card, path: Path | str) -> None:
    """Write the weights and the card; the file appears whole or not at all.

    Equal weights and cards give equal bytes.

    Args:
        model: on any device.
        card: what `load` gives back with it.
        path: of the file, a .safetensors; one that is there is replaced.

    Raises:
        OSError: naming the file where it cannot be written.
        ValueError: where a weight is not finite.

    The file is read by other programs too::

        >>> import tempfile
        >>> from fcn_tutorial.models import FCN
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(FCN("tiny", 5, width=1 / 16), Card((), ()), f"{folder}/best.safetensors")
        ...     with safe_open(f"{folder}/best.safetensors", "pt") as file:
        ...         sorted(file.metadata()), file.get_tensor("score_fr.bias").shape
        (['card', 'format', 'model'], torch.Size([5]))
    """
    path = Path(path)
    tensors = {k: v.detach().contiguous().cpu() for k, v in model.state_dict().items()}
    _check_finite(tensors, path)
    metadata = {
        "format": FORMAT,
        "model": json.dumps(describe(model)),
        "card": json.dumps(asdict(card)),
    }
    with replacing(path) as partial:
        try:
            save_file(tensors, partial, metadata)
        except SafetensorError as error:
            raise OSError(str(error)) from error
        _sort_metadata(partial)


def _sort_metadata(path: Path) -> None:
    """Bring a file's metadata into one order: it is written in that of a hash table."""
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        if len(text) <= size:  # as it is, unless another writer leaves out what JSON does not need
            file.seek(8)
            file.write(text.ljust(size))


def _check_finite(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Raise ValueError for a weight that is no number: every pixel would get the first class."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise ValueError(f"{path}: {name} holds values that are not finite")


def load(
    path: Path | str, device: torch.device | str = "cpu", backbone: nn.Module | None = None
) -> tuple[Any, Card]:
    """The network of a weights file, and its card.

    Args:
        path: of a file that `save` wrote, such as a run folder's best.safetensors.
        device: where the network goes.
        backbone: a fresh module like the one the network was built on, where that was one's own.

    Returns:
        A `Network` in evaluation mode, and a `Card`.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: naming a file that is damaged or not one of ours.

    ::

        >>> import tempfile
        >>> from fcn_tutorial.models import FCN
        >>> card = Card.of(["sky", "road"], [(135, 206, 235), (90, 90, 100)])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(FCN("tiny", 2, width=1 / 16), card, f"{folder}/best.safetensors")
        ...     network, found = load(f"{folder}/best.safetensors")
        >>> network.title, found == card
        ('FCN-8s on tiny', True)
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} not found" + (_INSIDE if path.is_dir() else ""))
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        what = _OTHERS.get(path.suffix, f"not a readable safetensors file ({error})")
        raise ValueError(f"{path}: {what}") from error
    if metadata.get("format") != FORMAT:
        raise ValueError(f"{path}: not a network saved by fcn_tutorial (no {FORMAT!r} metadata)")
    try:
        description, tensors = _today(json.loads(metadata["model"]), tensors)
        model = rebuilt(description, tensors, backbone)
        model.load_state_dict(tensors)
        card = _checked(Card.of(**json.loads(metadata["card"])))
        model.longest_side = card.longest_side
    except (
        ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RuntimeError
    ) as error:  # fmt: skip
        raise ValueError(f"{path}: its metadata does not match its tensors ({error})") from error
    _check_finite(model.state_dict(), path)  # not the file's: a double may exceed a float
    return model.to(device).eval(), card


def rebuilt(
    description: Mapping[str, Any], tensors: Mapping[str, Tensor], backbone: nn.Module | None = None
) -> Network:
    """The network of a description, its weights not yet those of `tensors`, which fit it.

    Raises:
        ValueError: where names or shapes differ, and as `from_description`.
        TypeError: as `from_description`.
    """
    # First without memory: a file of a few bytes may describe a network of terabytes.
    with torch.device("meta"):
        bare = None if backbone is None else meta_copy(backbone)
        plan = from_description(description, backbone=bare)
    _compare(plan.state_dict(), tensors)
    return from_description(description, backbone=backbone)


def _today(
    stored: dict[str, Any], tensors: dict[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Description and tensors as they are written today; older files name no kind of network."""
    if "network" in stored:
        return stored, tensors
    if "streams" in stored:
        streams = [_without_magnification(stream)[0] for stream in stored["streams"]]
        return {**stored, "network": "late-fusion", "streams": streams}, tensors
    plain, factor = _without_magnification({**stored, "network": "fcn"})
    if factor == 1:
        return plain, tensors
    inside = {f"network.{name}": tensor for name, tensor in tensors.items()}
    return {"network": "magnified", "of": plain, "factor": factor}, inside


def _without_magnification(stored: dict[str, Any]) -> tuple[dict[str, Any], float]:
    rest = dict(stored)
    return rest, rest.pop("magnification", 1.0)


def _compare(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """Raise ValueError unless names and shapes are the same."""
    if names := sorted(wanted.keys() ^ found.keys()):
        where = "lacks" if names[0] in wanted else "has no place for"
        raise ValueError(f"{len(names)} tensors differ; it {where} {names[0]!r}")
    for name, tensor in wanted.items():
        if tensor.shape != found[name].shape:
            raise ValueError(
                f"{name!r} has shape {tuple(found[name].shape)}, expected {tuple(tensor.shape)}"
            )


def _checked(card: Card) -> Card:
    """The card; ValueError where what others look up in it is not of its type."""
    if not isinstance(card.details, dict) or not all(isinstance(n, str) for n in card.classes):
        raise ValueError("the card's classes are no names, or its details no table")
    if len(card.palette) != len(card.classes):
        raise ValueError(f"{len(card.palette)} colours for {len(card.classes)} classes")
    if not all(0 <= level <= 255 for colour in card.palette for level in colour):
        raise ValueError("a colour of the card is not of levels from 0 to 255")
    return card
