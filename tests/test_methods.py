"""Every method on one bench: the same images for all, what is counted, and what is kept."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.ensemble import RandomForestClassifier
from sklearn.svm import LinearSVC
from torch import nn

from benchmarks import cost, entries, methods
from fcn_tutorial import prior
from fcn_tutorial.datasets import CamVid, Scenes
from fcn_tutorial.datasets.writers import write_camvid
from fcn_tutorial.metrics import ConfusionMatrix, boundary_iu, score

C = len(Scenes.classes)
BENCHES = (entries.SCENES, entries.CAMVID)
each_bench = pytest.mark.parametrize("bench", BENCHES, ids=lambda bench: bench.name)


@each_bench
def test_every_method_before_fcn_is_on_the_bench_and_networks_of_both_kinds_are(
    bench: entries.Bench,
) -> None:
    names = {e.family: [x.name for x in bench.entries if x.family == e.family]
             for e in bench.entries}  # fmt: skip
    assert set(names["before"]) == set(prior.methods())
    assert set(names) == {"before", "fcn", "after"}
    assert sum(map(len, names.values())) == len(set().union(*names.values()))


@each_bench
def test_networks_see_the_images_of_the_bench_and_but_for_one_as_many_pixels_a_step(
    bench: entries.Bench,
) -> None:
    networks = [e for e in bench.entries if e.family != "before"]
    recipes = {e.name: entries.on_data(e.settings, bench.data) for e in networks}
    batches = {name: recipe.batch for name, recipe in recipes.items()}
    assert batches.pop("dilated8") * 4 == batches["fcn-8s"]  # mirrored, its images are 15 times it
    assert len({*batches.values()}) == 1
    for entry in networks:
        recipe = recipes[entry.name]
        assert (recipe.data.name, recipe.data.crop) == (bench.data.name, bench.data.crop)
        assert recipe.data.train_images == bench.data.train_images
        assert recipe.iterations == entry.settings["iterations"] and not recipe.coarser
        assert not recipe.model.weights
    assert [getattr(recipes[f"fcn-{s}s"].model, "stride", 0) for s in (32, 16, 8)] == [32, 16, 8]


def test_methods_are_the_same_on_both_data_sets() -> None:
    for one, other in zip(*(bench.entries for bench in BENCHES), strict=True):
        assert (one.name, one.family, one.fit) == (other.name, other.family, other.fit)
        assert one.settings.get("recipe") == other.settings.get("recipe")


def test_learned_numbers_are_counted_as_one_would_by_hand() -> None:
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(60, 5)), rng.integers(0, 3, 60)
    assert cost.learned(LinearSVC().fit(features, labels)) == 3 * (5 + 1)
    assert cost.learned(nn.Conv2d(3, 4, 3)) == 4 * (27 + 1)
    apart = np.array([[0.0], [0.1], [5.0], [5.1]])
    stumps = RandomForestClassifier(7, bootstrap=False).fit(apart, [0, 0, 1, 1])
    assert cost.learned(stumps) == 7 * (2 + 2 * 2)  # a feature and a threshold, two leaves of 2
    scene = [Scenes(n=1, size=(32, 32))[0]]
    texton = prior.SemanticTextonForest(C, pixels=200, images=1, trees=1, depth=1).fit(scene)
    assert cost.learned(texton) == 2 * (2 + 2 * C)  # two forests of one split
    assert cost.learned(prior.MajorityClass(C).fit(scene)) == 1


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

    sets = entries.SCENES.sets(smoke=True)
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


def test_every_method_of_the_bench_runs_small(tmp_path: Path) -> None:
    file = tmp_path / "all.json"
    arguments = ["--smoke", "--seeds", "0", "--out", str(tmp_path / "runs"), "--json", str(file)]
    assert methods.main(arguments) == 0
    runs = json.loads(file.read_text(encoding="utf-8"))["runs"]
    assert [run["method"] for run in runs] == [entry.name for entry in entries.SCENES.entries]
    for run in runs:
        total = np.sum(run["confusion"])
        assert total > 0 and run["parameters"] > 0
        assert (run["macs"] is None) == (run["family"] == "before" and run["method"] != "patch-cnn")
        assert run["pixel_accuracy"] == pytest.approx(np.trace(run["confusion"]) / total)


def test_camvid_is_learned_from_and_scored_where_its_folder_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_camvid(tmp_path, n=4, size=(72, 96))
    only = [part for name in ("majority", "pixel-svm", "fcn-8s") for part in ("--only", name)]
    file = tmp_path / "all.json"
    arguments = ["--data", str(folder), "--smoke", *only, "--out", str(tmp_path / "runs")]
    assert methods.main([*arguments, "--json", str(file)]) == 0
    record = json.loads(file.read_text())
    assert [record[key] for key in ("data", "size", "train", "test")] == ["camvid", [72, 96], 4, 2]
    assert [run["method"] for run in record["runs"]] == ["majority", "pixel-svm", "fcn-8s"]
    truths = [mask for _, mask in (CamVid(folder, "test")[i] for i in (0, 1))]
    known = sum(int((truth != 255).sum()) for truth in truths)  # void is not scored
    for run in record["runs"]:
        assert np.asarray(run["confusion"]).shape == (11, 11)
        assert np.sum(run["confusion"]) == known < sum(truth.numel() for truth in truths)
        assert run["memory_mib"] >= 0
    assert record["runs"][2]["macs"] > 0

    assert methods.main(["--data", str(tmp_path / "nowhere"), "--smoke"]) == 1
    assert "nowhere" in capsys.readouterr().err


def test_memory_is_the_most_that_was_held_beyond_what_was_there_before() -> None:
    before = np.ones(40 * 2**20, np.uint8)
    meter = cost.Meter()
    np.ones(64 * 2**20, np.uint8)  # given back at once: the peak remembers it
    found = meter.mebibytes()
    # Not less than was asked for, but for a page or two; an allocator takes a little more.
    assert 63 <= found < 80
    assert before.all()


def test_runs_without_a_measured_memory_are_shown_with_a_dash() -> None:
    keys = ("mean_iu", "pixel_accuracy", "boundary_iu", "thin_iu", "parameters", "fit_seconds",
            "predict_seconds")  # fmt: skip
    run = {"method": "a", "seed": 0, **dict.fromkeys(keys, 0.5)}
    assert methods.table([run]).endswith("–")
    assert methods.table([run, {**run, "seed": 1, "memory_mib": 12.0}]).endswith("12")


def committed(bench: entries.Bench) -> list[dict[str, Any]]:
    path = methods.RESULTS / f"{bench.name}-cpu.json"
    if not path.is_file():
        pytest.skip("the long run is not committed")
    record = json.loads(path.read_text(encoding="utf-8"))
    assert record["schema"] == methods.SCHEMA and not record["smoke"]
    assert (record["budget_seconds"], record["data"]) == (bench.budget, bench.data.name)
    assert {run["seed"] for run in record["runs"]} == set(bench.seeds)
    found: list[dict[str, Any]] = record["runs"]
    return found


@each_bench
def test_the_committed_record_is_of_today_s_settings_and_says_what_its_matrices_say(
    bench: entries.Bench,
) -> None:
    runs, settings = committed(bench), {e.name: dict(e.settings) for e in bench.entries}
    assert {run["method"] for run in runs} == set(settings)
    for run in runs:
        assert run["settings"] == settings[run["method"]]
        assert run["fit_seconds"] <= bench.budget
        assert run["mean_iu"] == pytest.approx(score(run["confusion"], run["absent"]).mean_iu)
