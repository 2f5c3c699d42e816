"""What a run starts from: random, pretrained or coarser weights, by name or as files."""

from __future__ import annotations

import dataclasses
import hashlib
import socket
import urllib.error
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from fcn_tutorial import models, vision
from fcn_tutorial.datasets.spec import PARTS
from fcn_tutorial.files import fcn_data, first_few
from fcn_tutorial.models import NETWORKS, Network
from fcn_tutorial.models.heads import with_classes
from fcn_tutorial.models.magnified import magnified
from fcn_tutorial.models.network import describe, named
from fcn_tutorial.models.own import as_network
from fcn_tutorial.models.weights import FORMAT, rebuilt
from fcn_tutorial.training.recipes import recipe as schema

#: Where the Caffe files that recipes name are published; theirs are not ours to fetch.
CAFFE_SOURCES = {
    "VGG_ILSVRC_16_layers.caffemodel": "www.robots.ox.ac.uk/~vgg/research/very_deep",
    "bvlc_reference_caffenet.caffemodel": "dl.caffe.berkeleyvision.org",
}
_PATIENCE = 20  # seconds without an answer after which a server is given up


#: The file or files, or run folders, that a network starts from.
Files: TypeAlias = Path | str | Sequence[Path | str] | None


@dataclass(frozen=True)
class Origin:
    """What the weights of a run's first step are: for its record, and for what looks at them."""

    kind: str  # "random", "trunk", "caffe" or "network"
    files: tuple[Path, ...] = ()  # read by this process; none where a run goes on
    digests: tuple[Mapping[str, str], ...] = ()  # their names and SHA-256 sums
    notes: tuple[str, ...] = ()  # what was made of them

    @staticmethod
    def of(kind: str, files: Sequence[Path] = (), notes: Sequence[str] = ()) -> Origin:
        """The origin in files that are here."""
        return Origin(kind, tuple(files), tuple(_named(path) for path in files), tuple(notes))

    def as_dict(self) -> dict[str, Any]:
        """Names and SHA-256 sums, without the folders of one machine."""
        return {"kind": self.kind, "files": list(self.digests)}


def build(
    recipe: schema.Recipe,
    classes: Any,
    weights: Files = None,
    stored: Mapping[str, Any] | None = None,
    model: nn.Module | None = None,
) -> tuple[Network, Origin]:
    """The network of a recipe, on the CPU, and where its weights are from.

    Args:
        classes: names, or {task: names}.
        weights: a trunk in torchvision's key names (.safetensors, .pth), a `.caffemodel`, or
            networks of ours (a run folder or its best.safetensors) of the same or the next coarser
            stride; without, what the recipe names.
        stored: the checkpoint of a run that goes on: it describes the network, whose weights are
            loaded later, and where they were from; `weights` may be left out.
        model: a network, or a module of one's own (see `models.Own`), instead of the recipe's.

    Raises:
        FileNotFoundError: saying what to fetch, from where and to where.
        ValueError: for files that do not fit.
    """
    given = [weights] if isinstance(weights, Path | str) else weights or ()
    named_files = [Path(file) for file in given]
    if model is not None:
        if named_files:
            raise ValueError("weights: load them into the model that is given")
        return _given(model, recipe, classes), Origin("given")
    if stored and "network" in stored:
        return _again(stored, named_files)
    spec = recipe.model
    if not named_files and recipe.coarser:
        raise FileNotFoundError(
            f"{recipe.name} starts from the trained {recipe.coarser.replace(',', ' and ')}: "
            "--staged trains what it needs first, or give --weights RUN_FOLDER"
        )
    files = [_best(path) for path in named_files] or (
        [resolve(spec.weights)] if spec.weights else []
    )
    kinds = {_kind(path) for path in files}
    if "network" in kinds:
        if len(kinds) > 1:
            raise ValueError(f"--weights: {', '.join(map(str, files))} are of different kinds")
        model, notes = _from_networks(recipe, classes, files)
        return model, Origin.of("network", files, notes)
    if len(files) > 1:
        raise ValueError("--weights: give one file of pretrained weights")
    kind = kinds.pop() if kinds else "random"
    network, config = _plan(recipe, classes)
    model = network.from_config(config, files[0] if files else None)
    return magnified(model, recipe.model.magnification), Origin.of(kind, files)


class Damaged(ValueError):
    """A checkpoint that no network can be made from; the run's folder knows its name."""


def _given(model: nn.Module, recipe: schema.Recipe, classes: Any) -> Network:
    """A model as a network of these classes.

    Raises:
        ValueError: where it tells others apart.
    """
    counts = _counts(classes)
    network = as_network(model, counts, getattr(recipe.model, "preprocessing", "") or "imagenet")
    if network.counts != counts:
        raise ValueError(
            f"model: {network.title} tells {network.counts} classes apart, {recipe.data.name} has "
            f"{counts}"
        )
    describe(network)  # without a description nothing could be saved
    return network


def _again(stored: Mapping[str, Any], weights: Sequence[Path]) -> tuple[Network, Origin]:
    given = [_named(_best(path))["sha256"] for path in weights]
    try:
        network = rebuilt(stored["network"], stored["model"])
        began = Origin(stored["weights"]["kind"], (), tuple(stored["weights"]["files"]))
        digests = [file["sha256"] for file in began.digests]
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise Damaged(f"damaged, it describes no network ({error})") from error
    if given and given != digests:
        names = ", ".join(file["name"] for file in began.digests) or f"{began.kind} weights"
        raise ValueError(
            f"--weights {', '.join(map(str, weights))}: the run began with {names}, and what "
            "it has learned since is in its checkpoint; leave --weights out"
        )
    return network, began


def _plan(recipe: schema.Recipe, classes: Any) -> tuple[type[Network], Any]:
    """The kind of network that a recipe names, and its config for these classes."""
    spec = recipe.model
    counts = _counts(classes)
    options = dataclasses.asdict(spec)
    fused_late = options.pop("late_fusion", False)
    for field in dataclasses.fields(schema.AnyModel):
        del options[field.name]
    network = NETWORKS["late-fusion" if fused_late else spec.network]
    parts = PARTS[recipe.data.modality]
    inputs = parts if len(parts) > 1 else ("rgb",)  # one part alone is read as colour is
    return network, network.configured(options, counts, inputs)


def _counts(classes: Any) -> int | dict[str, int]:
    if isinstance(classes, Mapping):
        return {task: len(names) for task, names in classes.items()}
    return len(classes)


def _from_networks(
    recipe: schema.Recipe, classes: Any, files: Sequence[Path]
) -> tuple[Network, list[str]]:
    """The network, and what was changed of those in the files."""
    names = [n for part in named(classes).values() for n in part]
    loaded, notes = [], []
    for path in files:
        model, card = models.load(path)
        if list(card.classes) != names:
            if isinstance(classes, Mapping) or isinstance(model.counts, Mapping):
                raise ValueError(
                    f"{path}: was trained on other classes ({', '.join(card.classes[:4])} …) than "
                    f"{recipe.data.name} has ({', '.join(names[:4])} …)"
                )
            model = with_classes(model, card.classes, names)
            notes.append(_exchanged(path, card.classes, names))
        loaded.append(model)
    network, config = _plan(recipe, classes)
    try:
        made = magnified(network.from_trained(config, loaded), recipe.model.magnification)
        return made, notes
    except ValueError as error:
        raise ValueError(
            f"{', '.join(map(str, files))}: {recipe.name} cannot start from this: {error}"
        ) from error


def _exchanged(path: Path, known: Sequence[str], wanted: Sequence[str]) -> str:
    kept = [name for name in wanted if name in known]
    fresh = [name for name in wanted if name not in known]
    gone = [name for name in known if name not in wanted]
    parts = [
        f"{what}: {first_few(names)}"
        for what, names in (("kept", kept), ("new", fresh), ("gone", gone))
        if names
    ]
    return f"{path.name} was trained on other classes. Their scores: {'; '.join(parts)}"


# --- Files --------------------------------------------------------------------------------------


def resolve(name: str) -> Path:
    """The file behind a recipe's `model.weights`.

    "torchvision:ENUM.NAME" is fetched into torch's hub folder, unless it is there;
    "caffe:FILE" is looked for in that folder, and in `weights/` in the folder that FCN_DATA names.

    Raises:
        FileNotFoundError: saying which file to fetch and where to put it.
        ValueError: for another name.
    """
    kind, _, wanted = name.partition(":")
    hub = Path(torch.hub.get_dir()) / "checkpoints"
    if kind == "torchvision":
        enum, _, member = wanted.partition(".")
        try:
            weights = vision.models.get_weight(f"{enum}.{member}")
        except (ValueError, AttributeError) as error:
            raise ValueError(f"model.weights={name}: torchvision has no such weights") from error
        file = hub / Path(weights.url).name
        if not file.is_file():
            hub.mkdir(parents=True, exist_ok=True)
            digest = file.stem.rpartition("-")[2]  # torchvision names files so
            try:
                torch.hub.download_url_to_file(weights.url, str(file), digest)
            except (urllib.error.URLError, OSError, RuntimeError) as error:
                raise FileNotFoundError(
                    f"model.weights={name} cannot be fetched ({error}). Fetch {weights.url} "
                    f"elsewhere and put it at {file}, or name a file with --weights; "
                    '--set model.weights="" starts from random weights'
                ) from error
        return file
    if kind == "caffe" and wanted:
        places = [hub / wanted]
        if data := fcn_data():
            places.insert(0, data / "weights" / wanted)
        for place in places:
            if place.is_file():
                return place
        source = CAFFE_SOURCES.get(wanted, "its authors")
        raise FileNotFoundError(
            f"model.weights={name} is not here. Fetch {wanted} from {source} and put it at "
            f"{' or '.join(map(str, places))}, or name a file with --weights; "
            '--set model.weights="" starts from random weights'
        )
    raise ValueError(f"model.weights={name}: expected torchvision:ENUM.NAME or caffe:FILE")


def missing(name: str) -> str:
    """Why the weights that `model.weights` names cannot be had; "" where they are here now."""
    patience = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_PATIENCE)
    try:
        resolve(name)
    except FileNotFoundError as error:
        cause = error.__cause__ or error
        return f"{name} cannot be fetched ({getattr(cause, 'reason', cause)})"
    finally:
        socket.setdefaulttimeout(patience)
    return ""


def _best(path: Path) -> Path:
    path = path / "best.safetensors" if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"--weights {path} not found")
    return path


def _kind(path: Path) -> str:
    if path.suffix == ".caffemodel":
        return "caffe"
    try:
        with safe_open(path, "pt") as file:
            return "network" if (file.metadata() or {}).get("format") == FORMAT else "trunk"
    except (SafetensorError, OSError):
        return "trunk"  # whose reader says what is wrong


def _named(path: Path) -> dict[str, str]:
    with path.open("rb") as file:
        return {"name": path.name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
