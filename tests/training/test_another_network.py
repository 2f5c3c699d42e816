"""A network of another kind: one class and one registry line, and every command knows it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import pad

from fcn_tutorial import training
from fcn_tutorial.cli import main
from fcn_tutorial.models import NETWORKS, Network
from fcn_tutorial.training.recipes import recipe

LOST = 2  # pixels that valid convolutions take from every side


@dataclasses.dataclass(frozen=True)
class SmallConfig:
    num_classes: int | Mapping[str, int] = 2
    channels: int = 8


class Small(Network):
    """Its convolutions pad nothing: scores are smaller than the image, and so is what is scored."""

    Config = SmallConfig

    def __init__(self, num_classes: int | Mapping[str, int] = 2, channels: int = 8) -> None:
        super().__init__(SmallConfig(num_classes, channels), num_classes, "centred")
        self.first = nn.Conv2d(3, channels, 3)
        self.score = nn.Conv2d(channels, self.num_classes, 3)

    def training_scores(self, images: Tensor) -> Tensor:
        scores: Tensor = self.score(self.first(images).relu())
        return scores

    def supervised(self, target: Tensor) -> Tensor:
        return target[..., LOST:-LOST, LOST:-LOST]

    def full_scores(self, images: Tensor) -> Tensor:
        return self.training_scores(pad(images, [LOST] * 4, mode="reflect"))

    def margin(self) -> int:
        return LOST


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETWORKS, "small", Small)  # the registry line
    recipe.model_type.cache_clear()


@pytest.mark.usefixtures("small")
def test_another_network_trains_and_is_used_by_every_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    train = ["train", "scenes-fcn8s", "--smoke", "--set", "model.network=small"]
    train += ["--set", "model.channels=4", "--out", str(run), "--device", "cpu"]
    assert main(train) == 0, capsys.readouterr().err
    assert main([*train, "--resume", "--set", "epochs=1"]) == 0, capsys.readouterr().err
    record = json.loads((run / "record.json").read_text())
    assert record["settings"]["model"] == {
        "network": "small", "magnification": 1.0, "weights": "", "channels": 4
    }  # fmt: skip
    assert training.from_dict(record["settings"]).model.network == "small"

    capsys.readouterr()
    assert main(["evaluate", str(run)]) == 0
    scored = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert scored["confusion"] == record["test"]["confusion"]

    photo = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 53, 3), np.uint8)).save(photo)
    assert main(["predict", str(run), str(photo), "--out", str(tmp_path / "labels")]) == 0
    with Image.open(tmp_path / "labels" / "a.png") as labels:
        assert labels.size == (53, 40)
    refused = int(torch.__version__ < "2.9")  # by name: older ones cannot export for any size
    onnx = str(tmp_path / "a.onnx")
    assert main(["export", str(run), "--to", "onnx", "--out", onnx]) == refused
    assert main(["results", str(run)]) == 0
    assert "scenes-fcn8s" in capsys.readouterr().out
    assert "Small" in (run / "model_card.md").read_text()


@pytest.mark.usefixtures("small")
def test_its_settings_are_explained_and_checked(capsys: pytest.CaptureFixture[str]) -> None:
    toy, _ = training.override(training.get("scenes-fcn8s"), ["model.network=small"])
    shown = {key: value for key, value, _ in training.explain(toy)}
    assert shown["model.network"] == "small" and shown["model.channels"] == "8"
    assert "model.backbone" not in shown and "model.num_classes" not in shown
    with pytest.raises(ValueError, match=r"no setting 'stride'"):
        training.override(toy, ["model.stride=8"])
    with pytest.raises(ValueError, match=r"model\.network='hourglass' is not one of"):
        training.override(toy, ["model.network=hourglass"])
