"""Recipes: everything that decides a training run, as frozen data with its reasons beside it.

A recipe is a value: `dataclasses.replace` (or `override`, from text) makes a variant of it, and the
record of a run holds it whole. Published scores travel with the recipe they belong to.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from fcn_tutorial.models.backbones import Norms
from fcn_tutorial.models.trunks import Alignment


@dataclass(frozen=True)
class Model:
    """Arguments of `models.FCN`."""

    backbone: Annotated[str, "trunk"]
    stride: Annotated[int, "of the finest fused map: 32, 16 or 8"] = 8
    alignment: Annotated[Alignment, "padded layers, or the published layout"] = "same"
    at_once: Annotated[bool, "the published tap scales of all-at-once training"] = False
    norms: Annotated[Norms, "batch, or folded into the convolutions"] = "batch"
    width: Annotated[float, "multiplies the trunk's channels"] = 1.0
    dropout: Annotated[float, "share of channels dropped before each score layer"] = 0.0


@dataclass(frozen=True)
class Data:
    """What is read, and what augmentation shows the network of it."""

    name: Annotated[Literal["scenes", "camvid", "folder"], "data set"]
    crop: Annotated[tuple[int, int], "rows, columns of a training window; scenes are rendered so"]
    scale: Annotated[tuple[float, float], "range of the random magnification"] = (1.0, 1.0)
    flip: Annotated[bool, "mirror half the images"] = True
    jitter: Annotated[float, "largest change of brightness, contrast, saturation"] = 0.0
    train_images: Annotated[int, "the first so many; 0: all there are"] = 0
    test_images: Annotated[int, "the same for val and for test"] = 0


@dataclass(frozen=True)
class FolderData(Data):
    """A folder of one's own, as `datasets.Folder` reads it; paths start where the command runs."""

    images: Annotated[str, "folder of photos; by default `images` in --data DIR"] = ""
    masks: Annotated[str, "folder of masks; by default `masks` in --data DIR"] = ""
    classes: Annotated[str, "names with commas, or a file with one a line"] = ""
    colours: Annotated[str, "for painted masks: a CSV file of name,r,g,b, or YAML"] = ""
    mask_suffix: Annotated[str, "what masks' names have more than photos', such as _mask"] = ""
    val_fraction: Annotated[float, "share of the photos that chooses the weights"] = 0.15
    test_fraction: Annotated[float, "share that is scored once, at the end; 0: none"] = 0.15
    split_seed: Annotated[int, "of the drawn shares; --seed leaves them alone"] = 0
    train_list: Annotated[str, "instead of shares: a file of names, one a line"] = ""
    val_list: Annotated[str, "likewise"] = ""
    test_list: Annotated[str, "likewise; none: no test"] = ""
    longest_side: Annotated[int, "pixels; larger photos are shrunk to it; 0: never"] = 480
    epoch_images: Annotated[int, "fewer photos are shown again until an epoch has so many"] = 160


@dataclass(frozen=True)
class Optimiser:
    """AdamW or SGD under a polynomial decay with a linear warm-up."""

    name: Annotated[Literal["adamw", "sgd"], "method"]
    lr: Annotated[float, "peak learning rate of the score layers"]
    trunk_lr: Annotated[float, "the trunk's rate as a multiple of lr"] = 1.0
    weight_decay: Annotated[float, "of weights; biases and norms have none"] = 0.0
    momentum: Annotated[float, "SGD's, or AdamW's first beta"] = 0.9
    warmup: Annotated[float, "share of the steps in which the rate rises"] = 0.0
    power: Annotated[float, "lr · (1 − progress)^power; 0 keeps it fixed"] = 0.9
    clip: Annotated[float, "largest gradient norm; 0: as it is"] = 0.0


@dataclass(frozen=True)
class Published:
    """A score somebody published, with where to find it."""

    score: str
    value: float  # fraction of one
    of: str
    source: str


@dataclass(frozen=True)
class Recipe:
    """One training run, up to its data folder, its seed and its device."""

    name: str
    summary: str
    source: str
    model: Model
    data: Data
    optimiser: Optimiser
    batch: Annotated[int, "images a step"]
    epochs: Annotated[int, "passes over the training images"]
    class_weights: Annotated[
        Literal["none", "log", "inverse_sqrt", "inverse"], "how the loss favours rare classes"
    ] = "none"
    frozen_stride: Annotated[int, "trunk layers up to this stride keep their weights"] = 1
    ema: Annotated[float, "decay a step of the averaged weights; 0: none"] = 0.0
    precision: Annotated[
        Literal["float32", "bfloat16", "auto"], "auto: bfloat16 where the hardware has it"
    ] = "float32"
    validate_every: Annotated[int, "epochs"] = 1
    baselines: Annotated[bool, "score majority class and pixel colour too"] = False
    published: tuple[Published, ...] = ()


_JEGOU = "Jégou et al., CVPR Workshops 2017, Table 1 (quoted there from earlier work)"

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="scenes-fcn8s",
            summary="FCN-8s on a small trunk and generated scenes; needs no data and no weights",
            source="this project",
            model=Model("tiny"),
            data=Data("scenes", (128, 128), jitter=0.2, train_images=600, test_images=200),
            optimiser=Optimiser("adamw", lr=4e-3, weight_decay=1e-4, warmup=0.05),
            batch=16,
            epochs=14,
            class_weights="inverse_sqrt",
            validate_every=7,
            baselines=True,
        ),
        Recipe(
            name="camvid-fcn8s",
            summary="FCN-8s on MobileNetV2 and CamVid, 11 classes at 480×360",
            source="this project: a present-day schedule around the paper's network",
            model=Model("mobilenet_v2", norms="folded", dropout=0.1),
            data=Data("camvid", (320, 416), scale=(0.6, 2.0), jitter=0.4),
            optimiser=Optimiser(
                "adamw", lr=3e-3, trunk_lr=0.25, weight_decay=1e-2, warmup=0.05, clip=5.0
            ),
            batch=8,
            epochs=50,
            class_weights="inverse_sqrt",
            frozen_stride=2,
            ema=0.995,
            precision="auto",
            validate_every=5,
            published=(
                Published("mean_iu", 0.570, "FCN-8s VGG16", _JEGOU),
                Published("pixel_accuracy", 0.880, "FCN-8s VGG16", _JEGOU),
                Published("mean_iu", 0.669, "FC-DenseNet103", _JEGOU),
                Published("pixel_accuracy", 0.915, "FC-DenseNet103", _JEGOU),
            ),
        ),
        Recipe(
            name="folder",
            summary="your own photos: --set data.images=DIR --set data.masks=DIR",
            source="this project: 600 steps for up to 160 photos, minutes on a CPU",
            model=Model("tiny"),
            data=FolderData("folder", (192, 192), scale=(0.5, 1.5), jitter=0.3),
            optimiser=Optimiser("adamw", lr=4e-3, weight_decay=1e-4, warmup=0.05, clip=5.0),
            batch=8,
            epochs=30,
            class_weights="inverse_sqrt",
            validate_every=3,
            baselines=True,
        ),
    )
}


def get(name: str) -> Recipe:
    """The recipe of that name. Raises ValueError with the nearest names."""
    if name in RECIPES:
        return RECIPES[name]
    raise ValueError(f"no recipe {name!r}{_did_you_mean(name, RECIPES)}")


def override(recipe: Recipe, settings: Sequence[str]) -> tuple[Recipe, dict[str, Any]]:
    """Apply "key=value" texts, dotted for nested fields ("optimiser.lr=1e-3").

    Returns the variant and {key: value} of what was set. Values are read as the field's type:
    numbers, true/false, "320,416" for pairs. Raises ValueError naming the setting otherwise.
    """
    done: dict[str, Any] = {}
    for text in settings:
        key, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"--set {text!r}: expected key=value")
        _check_known(recipe, key)
        recipe, done[key] = _replace(recipe, key, key.split("."), value)
    for key in ("batch", "epochs", "validate_every"):
        if getattr(recipe, key) < 1:
            raise ValueError(f"--set {key}={getattr(recipe, key)}: expected 1 or more")
    return recipe, done


def smoke(recipe: Recipe) -> Recipe:
    """The same code path in seconds: width/16, 64 px, batch 2, two steps."""
    data = dataclasses.replace(recipe.data, crop=(64, 64), train_images=4, test_images=2)
    if isinstance(data, FolderData):
        data = dataclasses.replace(data, epoch_images=4)  # four, where there are fewer
    return dataclasses.replace(
        recipe,
        model=dataclasses.replace(recipe.model, width=recipe.model.width / 16),
        data=data,
        batch=2,
        epochs=1,
        validate_every=1,
    )


def explain(recipe: Recipe) -> Iterator[tuple[str, str, str]]:
    """(setting, value, what it means) of every setting, as `--set` names them."""
    yield from _explain(recipe, "")


def _explain(node: Any, prefix: str) -> Iterator[tuple[str, str, str]]:
    for name, hint in get_type_hints(type(node), include_extras=True).items():
        value = getattr(node, name)
        if dataclasses.is_dataclass(value):
            yield from _explain(value, f"{prefix}{name}.")
        elif get_origin(hint) is Annotated:
            shown = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            yield f"{prefix}{name}", shown, hint.__metadata__[0]


def as_dict(recipe: Recipe) -> dict[str, Any]:
    """Plain JSON types, nested as the dataclasses are."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(recipe)))
    return plain


def from_dict(fields: Mapping[str, Any]) -> Recipe:
    """The inverse of `as_dict`. Raises ValueError for what is not a recipe."""
    try:
        rest = dict(fields)
        rest["model"] = Model(**rest["model"])
        kind = FolderData if rest["data"].get("name") == "folder" else Data
        rest["data"] = kind(**{k: _tuple(v) for k, v in rest["data"].items()})
        rest["optimiser"] = Optimiser(**rest["optimiser"])
        rest["published"] = tuple(Published(**p) for p in rest["published"])
        return Recipe(**rest)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a recipe: {error}") from error


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _check_known(recipe: Recipe, key: str) -> None:
    """Raise ValueError for the bare name of a setting that is inside a group."""
    if key not in get_type_hints(Recipe):
        for known, _, _ in explain(recipe):
            if known.split(".")[1:] == [key]:
                raise ValueError(f"--set {key}: no setting {key!r}; did you mean {known}?")


def _replace(node: Any, key: str, path: list[str], value: str) -> tuple[Any, Any]:
    hints = get_type_hints(type(node))
    name = path[0]
    if name not in hints:
        raise ValueError(f"--set {key}: no setting {name!r}{_did_you_mean(name, hints)}")
    old = getattr(node, name)
    if dataclasses.is_dataclass(old):
        if len(path) == 1:
            inner = ", ".join(f"{key}.{f.name}" for f in dataclasses.fields(old))
            raise ValueError(f"--set {key}: is a group; set one of {inner}")
        new, parsed = _replace(old, key, path[1:], value)
    elif len(path) > 1 or name in ("name", "published"):
        raise ValueError(f"--set {key}: cannot be set")
    else:
        new = parsed = _parse(key, hints[name], value)
    return dataclasses.replace(node, **{name: new}), parsed


def _parse(key: str, hint: Any, value: str) -> Any:
    """A value as a field's type; the error names the setting."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        if value not in arguments:
            raise ValueError(f"--set {key}={value}: expected one of {', '.join(arguments)}")
        return value
    if origin is tuple:
        parts = value.strip("()[] ").replace("x", ",").split(",")
        if len(parts) != len(arguments):
            raise ValueError(f"--set {key}={value}: expected {len(arguments)} numbers, as in 1,2")
        return tuple(_parse(key, kind, part) for kind, part in zip(arguments, parts, strict=True))
    if hint is bool:
        if value.lower() not in ("true", "false"):
            raise ValueError(f"--set {key}={value}: expected true or false")
        return value.lower() == "true"
    try:
        return hint(value)
    except ValueError:
        raise ValueError(f"--set {key}={value}: expected {hint.__name__}") from None


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name.lower(), list(known), n=3)
    return f"; did you mean {' or '.join(close)}?" if close else f"; known: {', '.join(known)}"
