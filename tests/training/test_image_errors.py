"""Errors of single images, as ISBI's, from the network to every place that shows a record."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.measure import label
from skimage.metrics import adapted_rand_error

from fcn_tutorial import metrics, models
from fcn_tutorial.cli import main
from fcn_tutorial.datasets import ISBIEM, writers
from fcn_tutorial.training.evaluation import ImageErrors
from fcn_tutorial.training.records import record as records

KEYS = ("pixel_error", "rand_error", "warping_error")


def cells(truth: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    """scikit-image's regions of class 1, over edges."""
    return np.asarray(label(truth == 1, connectivity=1))


def test_a_run_on_isbi_keeps_its_errors_and_every_place_shows_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stack = writers.write_isbi_em(tmp_path / "stack", n=2, size=(64, 64))
    out = tmp_path / "run"
    given = ["--data", str(stack), "--set", "data.crop=64,64", "--set", "epochs=1"]
    narrow = ["--set", "model.width=0.05", "--out", str(out)]
    assert main(["train", "isbi-unet-narrow", *given, *narrow]) == 0
    printed = capsys.readouterr().out
    test = records.read(out / "record.json")["test"]

    network, _ = models.load(out / "best.safetensors")
    network.to(memory_format=torch.channels_last)  # as in training: no other last digits
    expected: dict[str, list[float]] = {key: [] for key in KEYS}
    for image, mask in (ISBIEM(stack, "test")[i] for i in range(2)):
        truth, found = mask.numpy(), network.predict(image).numpy()
        expected["pixel_error"].append((truth != found).mean())
        expected["rand_error"].append(adapted_rand_error(cells(truth), cells(found))[0])
        expected["warping_error"].append(metrics.warping_error(truth == 1, found == 1))
    for key, values in expected.items():
        assert test[key] == pytest.approx(np.mean(values)), key
    assert test["pixel_error"] == pytest.approx(1 - test["pixel_accuracy"])

    shown = f"{100 * test['rand_error']:.2f}"
    assert printed.partition("Rand error")[2].split()[0] == shown
    assert "published warping_error 0.0353" in printed  # in percent, where one decimal says 0.0
    card = (out / "model_card.md").read_text().partition("| **Rand error** |")[2]
    assert card.splitlines()[0].endswith(f" {shown} |")
    assert main(["evaluate", str(out), "--data", str(stack)]) == 0
    printed = capsys.readouterr().out
    again = json.loads(printed.splitlines()[-1])
    # Scores are rounded otherwise here, and after five steps some pixels are near a tie.
    assert [again[key] for key in KEYS] == pytest.approx([test[key] for key in KEYS], abs=0.02)
    assert printed.partition("Rand error")[2].split()[0] == f"{100 * again['rand_error']:.2f}"
    assert main(["results", str(out)]) == 0
    assert shown in capsys.readouterr().out.partition("ours, test, 2 images")[2].splitlines()[0]


def test_errors_are_means_over_the_images_that_have_them() -> None:
    errors = ImageErrors(KEYS, torch.device("cpu"))
    parted = torch.ones(6, 8, dtype=torch.int64)
    parted[:, 4] = 0
    for truth in (parted, torch.zeros_like(parted)):  # the second has no cell to be parted
        errors({"": truth}, {"": parted})
    found = errors.means()
    assert found["rand_error"] == 0
    assert found["pixel_error"] == pytest.approx((7 / 8) / 2)
    none = ImageErrors(KEYS, torch.device("cpu"))
    assert set(none.means().values()) == {None}


def test_other_data_sets_have_none_of_them() -> None:
    confusion = metrics.ConfusionMatrix(2).update(np.eye(2, dtype=int), np.eye(2, dtype=int))
    plain = records.describe(confusion, ("a", "b"), "test", 1)
    assert not metrics.of_images([records.scored(plain)])
    assert "Rand" not in records.table({"x": plain}, "evaluate")
    assert "Rand error" in records.table({"x": {**plain, "rand_error": 0.1}}, "evaluate")
