"""Recipes from and to text: overrides that are checked, explanations, plain JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from fcn_tutorial.datasets import sources
from fcn_tutorial.datasets.formats.images import MAX_PIXELS
from fcn_tutorial.datasets.formats.plain_yaml import short
from fcn_tutorial.datasets.spec import Data
from fcn_tutorial.files import did_you_mean
from fcn_tutorial.training.recipes.recipe import AnyModel, Optimiser, Published, Recipe, model_type

#: What a run that goes on may be given anew, if it is named: it changes no layer and no data.
LATER = (
    "epochs", "iterations", "optimiser.lr", "optimiser.clip", "validate_every", "save_every",
    "compile",
)  # fmt: skip
#: What makes a recipe another one: its name, its data set, and what was published of it.
_FIXED = ("name", "data.name", "published", "sources")
#: Types of a dataclass's fields, which stand there as text: read once a class.
_hints: Callable[..., dict[str, Any]] = cache(get_type_hints)
_LARGEST = 1e18  # of numbers in a stored recipe; int64 ends a little beyond


def override(recipe: Recipe, settings: Sequence[str]) -> tuple[Recipe, dict[str, Any]]:
    """Apply "key=value" texts, dotted for nested fields ("optimiser.lr=1e-3").

    Args:
        recipe: is not changed.
        settings: texts, applied in their order. Values are read as the field's type: numbers,
            true/false, "320,416" for pairs.

    Returns:
        The variant, and what was set as a dict, values by keys.

    Raises:
        ValueError: naming a setting that is unknown or has another value, and as `check`.

    ::

        >>> from fcn_tutorial.training import RECIPES
        >>> variant, done = override(RECIPES["scenes-fcn8s"], ["epochs=3", "optimiser.lr=1e-3"])
        >>> variant.optimiser.lr, done
        (0.001, {'epochs': 3, 'optimiser.lr': 0.001})
    """
    done: dict[str, Any] = {}
    for text in settings:
        key, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"--set {text!r}: expected key=value")
        _check_known(recipe, key)
        recipe, done[key] = _replace(recipe, key, key.split("."), value)
    check(recipe)
    return recipe, done


def check(recipe: Recipe) -> None:
    """Check that the numbers make a run.

    Raises:
        ValueError: naming a setting with which they make none.
    """
    for key in ("batch", "epochs", "validate_every", "accumulate", "save_every"):
        if getattr(recipe, key) < 1:
            raise ValueError(f"--set {key}={getattr(recipe, key)}: expected 1 or more")
    if recipe.recompute_norms and recipe.frozen_norms:
        raise ValueError("recompute_norms=true: norms with frozen_norms=true keep their statistics")
    if not 0 < recipe.border_sigma < math.inf:
        raise ValueError(f"--set border_sigma={recipe.border_sigma}: expected more than 0")
    for key in ("focal", "region_weight", "border_weight"):
        if not 0 <= getattr(recipe, key) < math.inf:
            raise ValueError(f"--set {key}={getattr(recipe, key)}: expected 0 or more")
    _check_data(recipe.data)
    if recipe.baselines and recipe.data.task == "both":
        raise ValueError("data.task=both: baselines answer one task; set baselines=false too")
    if recipe.batch % recipe.accumulate:
        raise ValueError(
            f"accumulate={recipe.accumulate} does not divide batch={recipe.batch} into equal parts"
        )
    if recipe.loss == "image_mean" and recipe.batch != recipe.accumulate:
        raise ValueError(
            f"loss=image_mean takes images one by one: set accumulate={recipe.batch}, as batch is"
        )
    fused_late = getattr(recipe.model, "late_fusion", False)
    if fused_late and recipe.data.modality != "rgb-hha":
        raise ValueError(
            f"model.late_fusion=true with data.modality={recipe.data.modality}: late fusion reads "
            "rgb-hha"
        )


def explain(recipe: Recipe) -> Iterator[tuple[str, str, str]]:
    """Every setting of a recipe that can be set, and what it means.

    Args:
        recipe: any.

    Returns:
        (setting, value, meaning) of each, all texts; settings dotted, as `override` takes them.

    ::

        >>> from fcn_tutorial.training import get
        >>> [setting for setting in explain(get("scenes-fcn8s")) if setting[0] == "batch"]
        [('batch', '16', 'images a step, in each process')]
    """
    for name, hint, value in _fields(recipe, ""):
        if get_origin(hint) is Annotated:
            shown = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            yield name, shown, hint.__metadata__[0]


def as_dict(recipe: Recipe) -> dict[str, Any]:
    """A recipe in plain JSON types, as a run's record holds it.

    Args:
        recipe: any.

    Returns:
        Nested as the dataclasses are, tuples as lists; without the sources of the settings.

    ::

        >>> from fcn_tutorial.training import get
        >>> fields = as_dict(get("scenes-fcn8s"))
        >>> fields["batch"], fields["model"]["stride"], fields["data"]["crop"]
        (16, 8, [128, 128])
    """
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(recipe)))
    del plain["sources"]
    return plain


def from_dict(fields: Mapping[str, Any]) -> Recipe:
    """The inverse of `as_dict`.

    Args:
        fields: what `as_dict` gave; what is not there has its default, as in records of older
            versions.

    Returns:
        The recipe, its sources aside.

    Raises:
        ValueError: for what is not a recipe, and as `check`.

    ::

        >>> from fcn_tutorial.training import get
        >>> fields = as_dict(get("scenes-fcn8s"))
        >>> del fields["precision"]
        >>> from_dict(fields).precision, from_dict(fields) == get("scenes-fcn8s")
        ('float32', True)
    """
    try:
        rest = dict(fields)
        model = {key: _tuple(value) for key, value in rest["model"].items()}
        rest["model"] = model_type(model.get("network", AnyModel.network))(**model)
        kind = sources.get(rest["data"]["name"]).spec_type
        rest["data"] = kind(**{k: _tuple(v) for k, v in rest["data"].items()})
        rest["optimiser"] = Optimiser(**rest["optimiser"])
        rest["published"] = tuple(Published(**p) for p in rest["published"])
        recipe = Recipe(**{key: _tuple(value) for key, value in rest.items()})
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a recipe: {error}") from error
    for name, hint, value in _fields(recipe, ""):
        if not _fits(hint, value):
            raise ValueError(f"not a recipe: {name}={short(value)}")
    check(recipe)
    return recipe


def _fields(node: Any, prefix: str) -> Iterator[tuple[str, Any, Any]]:
    """(dotted name, type with what is said beside it, value) of every field."""
    for name, hint in _hints(type(node), include_extras=True).items():
        value = getattr(node, name)
        if dataclasses.is_dataclass(value):
            yield from _fields(value, f"{prefix}{name}.")
        yield f"{prefix}{name}", hint, value


def _fits(hint: Any, value: Any) -> bool:
    """Whether a value is of a field's type, and a number one that can be counted with."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _fits(arguments[0], value)
    if origin is Literal:
        return value in arguments
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            arguments = (arguments[0],) * len(value) if isinstance(value, tuple) else ()
        return (
            isinstance(value, tuple)
            and len(value) == len(arguments)
            and all(map(_fits, arguments, value))
        )
    if hint in (int, float):
        return (
            isinstance(value, (int, hint))
            and not isinstance(value, bool)
            and -_LARGEST <= value <= _LARGEST  # not so for NaN
        )
    return isinstance(value, hint)


def _check_data(spec: Data) -> None:
    """Raise ValueError, naming the setting, for sizes and counts that no data have."""
    for key, least, most in (
        ("multiple", 1, 1 << 12), ("train_images", 0, 1 << 32), ("test_images", 0, 1 << 32),
    ):  # fmt: skip
        if not least <= (value := getattr(spec, key)) <= most:
            raise ValueError(f"--set data.{key}={value}: expected {least} to {most}")
    if min(spec.crop) < 0 or math.prod(spec.crop) > MAX_PIXELS:
        raise ValueError(
            f"--set data.crop={','.join(map(str, spec.crop))}: expected 0 or more, and at most "
            f"{MAX_PIXELS:,} pixels"
        )
    if not 0 < min(spec.scale) <= max(spec.scale) < math.inf:
        raise ValueError(
            f"--set data.scale={','.join(map(str, spec.scale))}: expected numbers above 0"
        )


def lookup(fields: Mapping[str, Any], name: str) -> Any:
    """The value of a dotted setting in what `as_dict` gave."""
    for key in name.split("."):
        fields = fields[key]
    return fields


def agree(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two records' settings are the same where both state them; words aside."""

    def same(a: Any, b: Any) -> bool:
        return agree(a, b) if isinstance(a, Mapping) and isinstance(b, Mapping) else bool(a == b)

    return all(same(one[key], other[key]) for key in one.keys() & other.keys() - {*_WORDS})


#: What a recipe says that decides nothing.
_WORDS = ("summary", "source", "published")


def changed(stored: Mapping[str, Any], recipe: Recipe) -> list[str]:
    """Settings, dotted, that a record's `stored` has otherwise than `recipe` has them.

    What the record does not state came later and is passed over, and so are words and quotations.
    """
    return _changed(stored, as_dict(recipe), "")


def _changed(stored: Mapping[str, Any], now: Mapping[str, Any], prefix: str) -> list[str]:
    found: list[str] = []
    for key, value in stored.items():
        if isinstance(value, Mapping) and isinstance(now.get(key), Mapping):
            found += _changed(value, now[key], f"{key}.")
        elif key not in _WORDS and now.get(key) != value:
            found.append(f"{prefix}{key}")
    return found


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _check_known(recipe: Recipe, key: str) -> None:
    """Raise ValueError for the bare name of a setting that is inside a group."""
    if key not in _hints(Recipe):
        for known, _, _ in explain(recipe):
            if known.split(".")[1:] == [key]:
                raise ValueError(f"--set {key}: no setting {key!r}; did you mean {known}?")


def _replace(node: Any, key: str, path: list[str], value: str) -> tuple[Any, Any]:
    hints = _hints(type(node))
    name = path[0]
    if name not in hints:
        raise ValueError(f"--set {key}: no setting {name!r}{did_you_mean(name, hints)}")
    if isinstance(node, AnyModel) and name == "network":
        return node if value == node.network else _other_network(key, value), value
    old = getattr(node, name)
    if dataclasses.is_dataclass(old):
        if len(path) == 1:
            inner = [f"{key}.{f.name}" for f in dataclasses.fields(old)]
            known = ", ".join(name for name in inner if name not in _FIXED)
            raise ValueError(f"--set {key}: is a group; set one of {known}")
        new, parsed = _replace(old, key, path[1:], value)
    elif len(path) > 1 or key in _FIXED:
        raise ValueError(f"--set {key}: cannot be set")
    else:
        new = parsed = _parse(key, hints[name], value)
    return dataclasses.replace(node, **{name: new}), parsed


def _other_network(key: str, kind: str) -> AnyModel:
    """A network of another kind with the settings that it has by default."""
    try:
        model: AnyModel = model_type(kind)(network=kind)
    except TypeError as error:
        raise ValueError(f"--set {key}={kind}: needs a recipe of its own ({error})") from error
    return model


def _parse(key: str, hint: Any, value: str) -> Any:
    """A value as a field's type; the error names the setting."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        if value not in arguments:
            raise ValueError(f"--set {key}={value}: expected one of {', '.join(arguments)}")
        return value
    if origin is tuple:
        parts = [part for part in value.strip("()[] ").replace("x", ",").split(",") if part]
        if arguments[-1] is Ellipsis:
            arguments = (arguments[0],) * len(parts)
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
