"""The same photo gets the same labels by every door: command, library, exports, validation."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from fcn_tutorial import export, models, training
from fcn_tutorial.cli import main
from fcn_tutorial.datasets import Scenes
from fcn_tutorial.models import Card
from fcn_tutorial.predict import Predictor, read_image
from fcn_tutorial.transforms import LimitSide
from fcn_tutorial.vision import tv_tensors
from tests.versions import exports

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
pytestmark = exports

WEIGHTS = Path(__file__).resolve().parents[1] / "data" / "weights" / "scene-fcn32s.safetensors"
LONGEST = 96
#: Where a shrunk pixel lies between two grey levels, the last bit of a sum decides, in an exported
#: graph otherwise than in the library; a level moves a border by less than this share of pixels.
MOST_DIFFERENT = 1e-3


@pytest.fixture(scope="module")
def folder(trained: Path) -> Path:
    """The same with its exports."""
    network, card = models.load(trained / "best.safetensors")
    export.export(network, card, trained / "float.onnx", "onnx")
    export.export(network, card, trained / "uint8.onnx", "onnx", uint8=True)
    export.export(network, card, trained / "float.pt2", "torch")
    return trained


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained network that shrinks photos, and a folder of photos."""
    root = tmp_path_factory.mktemp("doors")
    network, card = models.load(WEIGHTS)
    recipe = training.as_dict(training.get("folder-tiny"))
    recipe["data"]["longest_side"] = LONGEST
    details = {"recipe": recipe}
    card = Card.of(card.classes, card.palette, "folder", "folder", details)
    models.save(network, card, root / "best.safetensors")
    photos = root / "photos"
    photos.mkdir()
    image, _ = Scenes(n=1, split="test", size=(144, 192))[0]
    scene = Image.fromarray(image.permute(1, 2, 0).numpy())
    scene.resize((80, 64)).save(photos / "small.png")
    scene.save(photos / "larger.png")
    scene.crop((3, 5, 190, 136)).save(photos / "odd.png")
    scene.convert("L").save(photos / "grey.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    scene.rotate(90, expand=True).save(photos / "turned.jpg", quality=95, exif=exif)
    scene.resize((4000, 3000), Image.Resampling.BICUBIC).save(photos / "large.jpg", quality=90)
    scene.resize((400, 40)).save(photos / "wide.png")
    return root


def _command(folder: Path, photo: Path) -> Tensor:
    out = folder / "labels"
    assert main(["predict", str(folder / "best.safetensors"), str(photo), "--out", str(out)]) == 0
    return torch.from_numpy(np.array(Image.open(out / f"{photo.stem}.png"))).long()


def _loaded(folder: Path, photo: Path) -> Tensor:
    network, _ = models.load(folder / "best.safetensors")
    return cast(Tensor, network.predict(read_image(photo)))


@cache
def _session(path: Path) -> Any:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@cache
def _module(path: Path) -> torch.nn.Module:
    return torch.export.load(path).module()


def _run_onnx(path: Path, images: Tensor) -> Tensor:
    (scores,) = _session(path).run(None, {"images": images.numpy()})
    return torch.from_numpy(scores[0].argmax(0))


def _onnx(folder: Path, photo: Path) -> Tensor:
    network, _ = models.load(folder / "best.safetensors")
    return _run_onnx(folder / "float.onnx", network.preprocess(read_image(photo)[None]))


def _onnx_uint8(folder: Path, photo: Path) -> Tensor:
    return _run_onnx(folder / "uint8.onnx", read_image(photo)[None])


def _pt2(folder: Path, photo: Path) -> Tensor:
    network, _ = models.load(folder / "best.safetensors")
    scores = _module(folder / "float.pt2")(network.preprocess(read_image(photo)[None]))
    return cast(Tensor, scores[0].argmax(0))


def _validation(folder: Path, photo: Path) -> Tensor:
    """As a run scores its val images: shrunk with their masks, by the network as it is."""
    network, _ = models.load(WEIGHTS)
    image = tv_tensors.Image(read_image(photo))
    small, _ = LimitSide(LONGEST)(image, tv_tensors.Mask(torch.zeros(image.shape[-2:])))
    labels = network.predict(small.as_subclass(Tensor)).double()
    # The library's own nearest pixels, whose centres are those of `holding_pixel`.
    enlarged = torch.nn.functional.interpolate(
        labels[None, None], image.shape[-2:], mode="nearest-exact"
    )
    return enlarged[0, 0].long()


@cache
def _wanted(folder: Path, photo: Path) -> Tensor:
    return cast(Tensor, Predictor.load(folder).label(photo))


DOORS: dict[str, Callable[[Path, Path], Tensor]] = {
    "command": _command,
    "models.load": _loaded,
    "onnx": _onnx,
    "onnx uint8": _onnx_uint8,
    "pt2": _pt2,
    "validation": _validation,
}
PHOTOS = ["small.png", "larger.png", "odd.png", "grey.png", "turned.jpg", "large.jpg", "wide.png"]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", PHOTOS)
def test_every_door_gives_the_labels_of_predict(name: str, door: str, folder: Path) -> None:
    if (name, door) == ("large.jpg", "onnx"):
        pytest.skip("the uint8 file holds the same graph, and 12 megapixels take ten seconds")
    photo = folder / "photos" / name
    wanted = _wanted(folder, photo)
    assert wanted.unique().numel() > 1 or name == "wide.png"  # a strip of one class
    if door == "pt2" and max(wanted.shape) > LONGEST:
        with pytest.raises((AssertionError, RuntimeError), match=f"<= {LONGEST}"):
            DOORS[door](folder, photo)
        return
    labels = DOORS[door](folder, photo)
    assert labels.shape == wanted.shape == read_image(photo).shape[-2:]
    assert float((labels != wanted).double().mean()) < MOST_DIFFERENT
    if "onnx" not in door:
        assert torch.equal(labels, wanted)


@pytest.mark.parametrize("own_size", [[], ["--set", "data.longest_side=0"]])
def test_evaluate_scores_the_labels_of_predict(
    own_size: list[str], trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Masks that are those labels score 100, at the size of training and at the photos' own."""
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for name in set(PHOTOS) - {"large.jpg"}:  # nothing more is shown by 12 megapixels
        photo = trained / "photos" / name
        (tmp_path / "images" / name).symlink_to(photo)
        labels = _wanted(trained, photo).numpy().astype(np.uint8)
        Image.fromarray(labels).save(tmp_path / "masks" / f"{photo.stem}.png")
    (tmp_path / "classes.txt").write_text("\n".join(Scenes.classes))
    arguments = ["--data", str(tmp_path), "--split", "all", *own_size]
    assert main(["evaluate", str(trained / "best.safetensors"), *arguments]) == 0
    scored = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert scored["images"] == len(PHOTOS) - 1 and scored["pixel_accuracy"] == 1


def test_class_names_and_the_longest_side_travel_in_every_file(folder: Path) -> None:
    card = models.load(folder / "best.safetensors")[1]
    extra = {"fcn_tutorial.json": ""}
    torch.export.load(folder / "float.pt2", extra_files=extra)
    told: list[dict[str, Any]] = [json.loads(extra["fcn_tutorial.json"])]
    for name in ("float.onnx", "uint8.onnx"):
        (entry,) = onnx.load(folder / name).metadata_props
        told.append(json.loads(entry.value))
    for said in told:
        assert said["classes"] == list(card.classes) == list(Scenes.classes)
        assert said["palette"] == [list(colour) for colour in Scenes.palette]
        assert said["input"]["longest_side"] == LONGEST == card.longest_side
    assert [said["input"]["largest"] for said in told] == [[LONGEST, LONGEST], None, None]
