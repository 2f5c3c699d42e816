"""What runs leave and start from: sound files, damage that knows their form, and their readers.

Trunks in `.pth` files, cards that `evaluate` believes, records that `results` shows, checkpoints
from which a run goes on.
"""

import contextlib
import io
import json
import pickle
import random
import struct
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fcn_tutorial import models, training
from fcn_tutorial.cli import main
from fcn_tutorial.datasets.sources import SOURCES
from fcn_tutorial.training import Recipe, RunFolder
from fcn_tutorial.training.run import _read_state
from tests.datasets.mutation import EVIL, edit_json

RECORD = Path(__file__).parents[2] / "data" / "results" / "scenes" / "scenes-fcn8s-seed0.json"
SMALL = (
    "model.width=0.125", "data.crop=32,32", "data.train_images=4", "data.test_images=2", "batch=2",
    "epochs=4", "validate_every=4", "save_every=1", "ema=0.9", "baselines=false",
)  # fmt: skip


def _command(*arguments: str) -> None:
    """Raises ValueError of what a command says when it fails."""
    said = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
        status = main(arguments)
    if status:
        raise ValueError(said.getvalue())


# Trunks -------------------------------------------------------------------------------------------


def lay_trunks(folder: Path) -> None:
    """The same weights in torch's file format of today, and of before it was a zip archive."""
    folder.mkdir(parents=True)
    weights = models.backbones.trunks.build(models.backbones.trunks.PLANS["tiny"], 0.25, "same")
    torch.save(weights.state_dict(), folder / "new.pth")
    torch.save(weights.state_dict(), folder / "old.pth", _use_new_zipfile_serialization=False)


def read_trunk(folder: Path, name: str) -> None:
    """A network that starts from it."""
    model = models.FCN("tiny", 3, width=0.25, weights=folder / name)
    assert all(bool(tensor.isfinite().all()) for tensor in model.state_dict().values())


def odd_tensors(data: bytes, rng: random.Random, folder: Path) -> bytes:
    """One tensor of another form or type, or something else in its place."""
    state = torch.load(io.BytesIO(data), weights_only=True)
    name = rng.choice(sorted(state))
    tensor: Tensor = state[name]
    odd: list[Any] = [
        tensor.to_sparse(), tensor.to(torch.complex64), tensor.double(), tensor.bool(),
        tensor.to("meta"), tensor * torch.nan, tensor[None], tensor.flatten(),
        tensor.double() * 1e39,
        torch.zeros(()).expand(1 << 20, 1 << 20), torch.nested.nested_tensor([torch.zeros(2)]),
        torch.empty(0), tensor.numpy(), {"a": tensor}, *EVIL,
    ]  # fmt: skip
    state[name] = rng.choice(odd)
    whole = rng.choice([state] * 6 + [[state], state[name], {1: tensor}, {"state_dict": state}])
    stream = io.BytesIO()
    torch.save(whole, stream)
    return stream.getvalue()


class _Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return Path.touch, (self.path,)  # type: ignore[return-value]


def odd_pickle(data: bytes, rng: random.Random, folder: Path) -> bytes:
    """A file that would write another one, if its code were run."""
    stream, touch = io.BytesIO(), {"a": _Touch(folder.parent / "touched")}
    if rng.random() < 0.5:
        return pickle.dumps(touch)
    torch.save(touch, stream)
    return stream.getvalue()


# Cards --------------------------------------------------------------------------------------------


def lay_cards(folder: Path) -> None:
    """A network for each of three kinds of data, and the data."""
    folder.mkdir(parents=True)
    write = SOURCES["camvid"].writer
    assert write is not None
    write(folder, n=2, size=(32, 32), seed=0)
    rng = np.random.default_rng(0)
    for part in ("images", "masks"):
        (folder / part).mkdir()
    for i in range(8):
        pixels = rng.integers(0, 256, (20, 20, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{i}.png")
        Image.fromarray((pixels[..., 0] > 99).astype(np.uint8)).save(folder / "masks" / f"{i}.png")
    for name, settings in (
        ("scenes-fcn8s", SMALL),
        ("camvid-fcn8s", ()),
        ("folder", ("data.classes=dark,light", "model.backbone=tiny", "model.weights=")),
    ):
        recipe, _ = training.override(training.get(name), settings)
        dataset = training.open_split(recipe, "test", folder)
        model: models.Network = models.FCN("tiny", len(dataset.classes), width=0.125)
        if name == "folder":
            model = models.Magnified(model, 1.5)
        details = {"recipe": training.as_dict(recipe)}
        card = models.Card.of(dataset.classes, dataset.palette, name, recipe.data.name, details)
        models.save(model, card, folder / f"{name}.safetensors")


def evaluate(folder: Path, name: str) -> None:
    """What the command makes of a network and its card."""
    _command("evaluate", str(folder / name), "--data", str(folder), "--device", "cpu")


def edited_card(data: bytes, rng: random.Random, folder: Path) -> bytes:
    """A weights file that says something else of itself in one place, mostly of its recipe."""
    end = 8 + struct.unpack_from("<Q", data)[0]
    header = json.loads(data[8:end])
    told = header["__metadata__"]
    if rng.random() < 0.2:
        told["model"] = edit_json(told["model"], rng, folder)
    else:
        card = json.loads(told["card"])
        group = rng.choice([card["details"], card["details"]["recipe"]] + [card] * 2)
        part = rng.choice([key for key in group if key not in ("optimiser", "published")])
        group[part] = edit_json(group[part], rng, folder)
        told["card"] = json.dumps(card)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[end:]


# Records ------------------------------------------------------------------------------------------


def lay_records(folder: Path) -> None:
    """A record of a run, in the folder of the run."""
    for run in ("one", "two"):
        (folder / run).mkdir(parents=True)
        (folder / run / "record.json").write_bytes(RECORD.read_bytes())


def read_records(folder: Path, name: str) -> None:
    """The tables of all of them."""
    _command("results", str(folder))
    _command("results", str(folder), "--json")


def edited_record(data: bytes, rng: random.Random, folder: Path) -> bytes:
    """A record with something else in one place."""
    return json.dumps(edit_json(json.loads(data), rng, folder)).encode()


# Runs that go on ----------------------------------------------------------------------------------

#: Of each folder: its files, and the weights that an undisturbed run has a step after each of them.
_SOUND: dict[Path, tuple[dict[str, bytes], list[dict[str, Tensor]]]] = {}


def recipe() -> Recipe:
    """Eight steps on four scenes."""
    return training.override(training.get("scenes-fcn8s"), SMALL)[0]


def _after(folder: Path, steps: int, resume: bool) -> dict[str, Any]:
    """Train for so many steps; the state then."""
    asked = iter(range(steps + 1))
    with (
        mock.patch("os.cpu_count", return_value=1),  # so batches are prepared in this process
        mock.patch("fcn_tutorial.training.run._git_state", return_value=""),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        contextlib.suppress(training.Interrupted),
    ):
        training.train(recipe(), folder, resume=resume, stop=lambda: next(asked) == steps)
    return RunFolder(folder).read_state()


def lay_run(folder: Path) -> None:
    """A run that was cut after its third step, with its last two checkpoints."""
    calm = [_after(folder, 3, False)["model"]]
    kept = {path.name: path.read_bytes() for path in folder.iterdir()}
    calm.append(_after(folder, 1, True)["model"])
    for name, content in kept.items():
        (folder / name).write_bytes(content)
    _SOUND[folder] = kept, calm


def go_on(folder: Path, name: str) -> None:
    """One step more: from sound checkpoints the very same, from an edited one a finite one."""
    kept, calm = _SOUND[folder]
    edited = (folder / name).read_bytes() != kept[name] and _is_whole(folder / name)
    state = _after(folder, 1, True)
    assert all(bool(tensor.isfinite().all()) for tensor in state["model"].values())
    assert edited or any(_equal(state["model"], weights) for weights in calm), "another state"


def _is_whole(path: Path) -> bool:
    with contextlib.suppress(ValueError):
        return bool(_read_state(path))
    return False


def _equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def edited_state(data: bytes, rng: random.Random, folder: Path) -> bytes:
    """A checkpoint with something else in one place, and a digest that fits."""
    state = _edited(torch.load(io.BytesIO(data), weights_only=True), rng)
    if not isinstance(state, dict):
        state = {"model": state}
    with TemporaryDirectory(dir=folder.parent) as beside:
        RunFolder(beside).write_state(state)
        return RunFolder(beside).last.read_bytes()


def _edited(value: Any, rng: random.Random) -> Any:
    if isinstance(value, Tensor):
        return rng.choice(
            [value * 0, value[..., None], value.double() * 1e300, value.bool(), *EVIL]
        )
    if isinstance(value, dict) and value and rng.random() < 0.95:
        name = rng.choice(list(value))
        if rng.random() < 0.1:
            return {key: part for key, part in value.items() if key != name}
        return value | {name: _edited(value[name], rng)}
    if isinstance(value, list) and value and rng.random() < 0.8:
        at = rng.randrange(len(value))
        return [*value[:at], _edited(value[at], rng), *value[at + 1 :]]
    return rng.choice(EVIL)
