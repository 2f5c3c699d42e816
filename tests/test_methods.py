"""Every method on one bench: the same scenes for all, what is counted, and what is kept."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.svm import LinearSVC
from torch import nn

from benchmarks import methods
from fcn_tutorial import prior, training
from fcn_tutorial.datasets import Scenes
from fcn_tutorial.metrics import ConfusionMatrix, boundary_iu, score

C = len(Scenes.classes)
BY_NAME = {entry.name: entry for entry in methods.ENTRIES}


def test_every_method_before_fcn_is_on_the_bench_and_networks_of_both_kinds_are() -> None:
    names = {e.family: [x.name for x in methods.ENTRIES if x.family == e.family]
             for e in methods.ENTRIES}  # fmt: skip
    assert set(names["before"]) == set(prior.methods())
    assert set(names) == {"before", "fcn", "after"}
    assert len(BY_NAME) == len(methods.ENTRIES)


def test_all_networks_see_the_scenes_of_the_bench() -> None:
    seen = training.get(methods.BASE).data
    for entry in methods.ENTRIES:
        if entry.family != "before":
            recipe = methods._recipe(entry.settings)
            assert (recipe.data.train_images, recipe.data.crop) == (seen.train_images, seen.crop)
            assert recipe.batch == training.get(methods.BASE).batch
            assert recipe.iterations == entry.settings["iterations"] and not recipe.coarser
    assert methods._recipe(BY_NAME["fcn-16s"].settings).model.stride == 16


def test_learned_numbers_are_counted_as_one_would_by_hand() -> None:
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(60, 5)), rng.integers(0, 3, 60)
    assert methods.learned(LinearSVC().fit(features, labels)) == 3 * (5 + 1)
    assert methods.learned(nn.Conv2d(3, 4, 3)) == 4 * (27 + 1)
    apart = np.array([[0.0], [0.1], [5.0], [5.1]])
    stumps = RandomForestClassifier(7, bootstrap=False).fit(apart, [0, 0, 1, 1])
    assert methods.learned(stumps) == 7 * (2 + 2 * 2)  # a feature and a threshold, two leaves of 2
    scene = [Scenes(n=1, size=(32, 32))[0]]
    texton = prior.SemanticTextonForest(C, pixels=200, images=1, trees=1, depth=1).fit(scene)
    assert methods.learned(texton) == 2 * (2 + 2 * C)  # two forests of one split
    assert methods.learned(prior.MajorityClass(C).fit(scene)) == 1


def test_a_smoke_run_keeps_each_run_and_goes_on_with_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    only = [part for name in ("majority", "slic", "unet") for part in ("--only", name)]
    file = tmp_path / "all.json"
    arguments = ["--smoke", *only, "--seeds", "0", "1", "--out", str(tmp_path / "runs")]
    assert methods.main([*arguments, "--json", str(file)]) == 0
    record = json.loads(file.read_text())
    done = [(run["method"], run["seed"]) for run in record["runs"]]
    assert done == [("majority", 0), ("slic", 0), ("slic", 1), ("unet", 0), ("unet", 1)]
    assert record["smoke"] and record["size"] == [64, 64] and record["test"] == 2
    first = capsys.readouterr().out
    assert "5 of 5 runs to make" in first

    sets = methods.scenes(smoke=True)
    majority = prior.MajorityClass(C).fit(sets.train)
    confusion = ConfusionMatrix(C, 255)
    for image, truth in sets.test:
        confusion.update(majority.predict(image), torch.as_tensor(truth))
    expected = confusion.compute()
    one = record["runs"][0]
    assert one["mean_iu"] == pytest.approx(expected.mean_iu)
    assert np.array_equal(one["confusion"], expected.matrix)
    pairs = [(majority.predict(image), torch.as_tensor(truth)) for image, truth in sets.test]
    assert one["boundary_iu"] == pytest.approx(boundary_iu(pairs, C, methods.BAND))

    other = tmp_path / "runs" / "smoke" / "slic-seed1.json"
    other.write_text(other.read_text().replace('"pixels": 400', '"pixels": 401'))
    (other.parent / "majority-seed0.json").unlink()
    assert methods.main(arguments) == 0
    again = capsys.readouterr().out
    assert "2 of 5 runs to make" in again  # one is gone, one was made with other settings
    assert [line.split()[:3] for line in again.splitlines()[-3:]] == [
        line.split()[:3] for line in first.splitlines()[-4:-1]
    ]


def committed() -> list[dict[str, Any]]:
    path = methods.RESULTS / "methods-cpu.json"
    if not path.is_file():
        pytest.skip("the long run is not committed")
    record = json.loads(path.read_text(encoding="utf-8"))
    assert record["schema"] == methods.SCHEMA and not record["smoke"]
    assert record["budget_seconds"] == methods.BUDGET
    found: list[dict[str, Any]] = record["runs"]
    return found


def test_the_committed_record_is_of_today_s_settings_and_says_what_its_matrices_say() -> None:
    runs = committed()
    assert {run["method"] for run in runs} == set(BY_NAME)
    for run in runs:
        assert run["settings"] == dict(BY_NAME[run["method"]].settings)
        assert run["fit_seconds"] <= methods.BUDGET
        assert run["mean_iu"] == pytest.approx(score(run["confusion"], run["absent"]).mean_iu)
