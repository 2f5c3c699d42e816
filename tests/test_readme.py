"""README states what was measured, and nothing that has since changed."""

import json
import statistics
from pathlib import Path

import pytest

from fcn_tutorial.training import recipes
from fcn_tutorial.training.recipes import settings
from tools import gpu_table, readme


def test_readme_is_in_step_with_records_and_chapters() -> None:
    text = readme.README.read_text(encoding="utf-8")
    assert readme.stamped(text) == text, "run `python -m tools.readme`"


def test_the_front_page_of_the_book_lists_the_chapters() -> None:
    text = readme.INTRO.read_text(encoding="utf-8")
    assert readme.stamped_intro(text) == text, "run `python -m tools.readme`"


def test_every_committed_record_has_its_schema_and_is_in_the_readme() -> None:
    paths = sorted((readme.ROOT / "data" / "results").glob("*/*.json"))
    assert paths
    text = readme.README.read_text(encoding="utf-8")
    for path in paths:
        record = json.loads(path.read_text(encoding="utf-8"))
        assert record["schema"] == 1
        assert path.name == f"{record['recipe']}-seed{record['seed']}.json"
        assert path.parent.name == record["settings"]["data"]["name"]
        recipe = recipes.get(record["recipe"])
        assert record["overrides"] == {} and settings.changed(record["settings"], recipe) == [], (
            f"{path.name} is of another recipe than the one that now has its name"
        )
        assert f"| `{record['recipe']}` | " in text


def test_rows_are_means_over_seeds_with_their_spread() -> None:
    found = readme.records(readme.ROOT, "scenes")
    values = [100 * r["test"]["mean_iu"] for r in found if r["recipe"] == "scenes-fcn8s"]
    mean, spread = statistics.fmean(values), statistics.stdev(values)
    row = f"| `scenes-fcn8s` | {len(values)} | **{mean:.1f} ± {spread:.1f}** |"
    assert row in readme.README.read_text(encoding="utf-8")


def test_a_record_that_says_otherwise_than_its_recipe_is_found() -> None:
    recipe = recipes.get("scenes-fcn8s")
    stored = settings.as_dict(recipe)
    assert settings.changed(stored, recipe) == []
    del stored["model"]["weights"]  # came later
    stored["summary"] = "other words"
    stored["optimiser"]["lr"] = 1.0
    stored["batch"] = 3
    assert settings.changed(stored, recipe) == ["optimiser.lr", "batch"]


def test_the_network_leads_the_colour_baseline_by_fifteen_points() -> None:
    seen = []
    for record in readme.records(readme.ROOT, "scenes"):
        if "baselines" not in record:
            continue
        lead = record["test"]["mean_iu"] - record["baselines"]["colour"]["mean_iu"]
        assert lead >= 0.15, f"seed {record['seed']}: {100 * lead:.1f} points"
        seen.append(record["seed"])
    assert sorted(seen) == [0, 1, 2]


def test_a_missing_marker_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="lacks the markers <!-- scores"):
        readme.stamped("# nothing here\n")


def test_what_a_gpu_was_asked_for_is_told_from_records_or_not_measured_yet(tmp_path: Path) -> None:
    rows = gpu_table.block(tmp_path).splitlines()[2:]
    assert len(rows) == len(gpu_table.ROWS) and all("not measured yet" in row for row in rows)
    run = {"device": "a GPU", "created": "2027-01-02T03:04:05+00:00"}
    records = {
        "correct": {"tests": [{"outcome": "passed"}] * 2 + [{"outcome": "failed"}]},
        "ceiling": {"step": {
            "images_per_second": 812.4, "precision": "bfloat16", "batch": 16, "tflops": 395.2,
            "share": 0.52, "ratio": 26.04,
        }},
        "core": {
            "checks": [{"case": "determinism", "ours": "equal bits", "theirs": "differs"}],
            "rows": [{
                "work": "×8 and loss, 500×500, batch 1", "ratio": 4.26,
                "theirs": {"name": "dense deconvolution + cross-entropy"},
            }],
        },
        "camvid-vgg16": {"runs": [
            {**run, "settings": {"model": {"alignment": "same"}}, "test": {"mean_iu": 0.6012}}
        ]},
        "camvid-after": {"runs": [
            {**run, "settings": {"model": {"network": name}}, "test": {"mean_iu": iu}}
            for name, iu in (("unet", 0.5), ("segnet-basic", 0.4567))
        ]},
    }  # fmt: skip
    folder = tmp_path / "benchmarks" / "results"
    folder.mkdir(parents=True)
    for name, record in records.items():
        (folder / f"{name}-cuda.json").write_text(json.dumps({**run, **record}))
    text = gpu_table.block(tmp_path)
    for told in (
        "| 1 failed, 2 passed | a GPU, 2027-01-02 |",
        "| 812 images/s in bfloat16 at batch 16, 395 TFLOP/s, 52% of a plain product's rate; "
        "26.0 times the published form in float32 at batch 1 |",
        "| 4.3 times less than dense deconvolution + cross-entropy |",
        "| ours: equal bits; F.interpolate: differs |",
        "| mean IU 60.1 with borders as same | a GPU, 2027-01-02 |",
        "| mean IU 50.0 (unet), 45.7 (segnet-basic) | a GPU, 2027-01-02 |",
    ):
        assert told in text
    assert text.count("not measured yet") == 3  # ResNet-50, memory, scenes


def test_runs_on_different_devices_are_told_apart() -> None:
    runs = [
        {"device": "a CPU", "train": {"seconds": 1200.0}},
        {"device": "a GPU", "train": {"seconds": 50.0, "runs_together": 3, "frames": "recoded"}},
        {"device": "a GPU", "train": {"seconds": 70.0, "runs_together": 3, "frames": "recoded"}},
    ]
    assert readme._times(runs) == "20 min on a CPU; 60 s on a GPU, 3 runs at a time (recoded)"
