"""Published and measured scores stand beside each other; a card says what a record says."""

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from fcn_tutorial import assets, training
from fcn_tutorial.cli import main
from fcn_tutorial.training import recipes
from fcn_tutorial.training.loop import finished
from fcn_tutorial.training.records import results
from fcn_tutorial.training.records.card import model_card


@pytest.fixture
def record() -> dict[str, Any]:
    path = assets.path("results/camvid/camvid-fcn8s-seed0.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def block(tables: dict[str, list[results.Block]], recipe: str) -> results.Block:
    (found,) = (b for blocks in tables.values() for b in blocks if b.recipe == recipe)
    return found


def test_seeds_are_averaged_and_runs_that_differ_are_not(record: dict[str, Any]) -> None:
    def run(seed: int, iu: float, lr: float = 3e-3) -> dict[str, Any]:
        other = copy.deepcopy(record)
        other["seed"], other["test"]["mean_iu"] = seed, iu
        other["settings"]["optimiser"]["lr"] = lr
        other["overrides"] = {} if lr == 3e-3 else {"optimiser.lr": lr}
        return other

    runs = [run(0, 0.60), run(1, 0.64), run(2, 0.62), run(0, 0.5, 1e-3)]
    *published, ours, changed = block(results.collect(runs), "camvid-fcn8s").rows
    assert [row.source != "" for row in published] == [True] * len(published)
    assert ours.scores["mean_iu"] == (pytest.approx(0.62), pytest.approx(0.02))
    assert ours.seeds == (0, 1, 2)
    assert changed.scores["mean_iu"] == (0.5, None) and "optimiser.lr=0.001" in changed.label


def test_a_record_from_before_a_setting_is_averaged_with_those_after_it(
    record: dict[str, Any],
) -> None:
    later = copy.deepcopy(record) | {"seed": 1}
    later["settings"]["focal"] = 0.0  # as nobody could change it then
    later["settings"]["summary"] = "the same in other words"
    earlier = copy.deepcopy(record)
    earlier["settings"].pop("focal", None)
    other = copy.deepcopy(later) | {"seed": 2, "overrides": {"focal": 2.0}}
    other["settings"]["focal"] = 2.0
    rows = block(results.collect([earlier, later, other]), "camvid-fcn8s").rows
    assert [row.seeds for row in rows if not row.source] == [(0, 1), (2,)]


def test_a_run_without_scores_on_test_has_a_row_of_its_own(record: dict[str, Any]) -> None:
    other = copy.deepcopy(record) | {"seed": 1, "test": None}
    for runs in ([record, other], [other, record], [{**other, "seed": record["seed"]}, record]):
        rows = block(results.collect(runs), "camvid-fcn8s").rows
        by_split = {row.label.split(", ")[1]: row for row in rows if not row.source}
        assert sorted(by_split) == ["test", "val"]
        assert by_split["test"].scores["mean_iu"][0] == record["test"]["mean_iu"]
        assert by_split["val"].seeds == (runs[0]["seed"] if runs[0]["test"] is None else 1,)


def test_every_published_score_has_its_line() -> None:
    tables = results.collect([])
    shown = {
        (b.recipe, row.label, row.source, key, value)
        for blocks in tables.values()
        for b in blocks
        for row in b.rows
        for key, (value, _) in row.scores.items()
    }
    wanted = {
        (name, p.of, p.source, p.score, p.value)
        for name, recipe in recipes.RECIPES.items()
        for p in recipe.published
    }
    assert shown == wanted and len(wanted) > 50
    assert any("reference port" in label for _, label, *_ in shown)


def test_a_record_of_other_settings_says_so(record: dict[str, Any]) -> None:
    record["settings"]["epochs"] = 7
    row = block(results.collect([record]), "camvid-fcn8s").rows[-1]
    assert "settings before today's" in row.label


def test_a_recipe_that_only_a_record_knows_is_shown(record: dict[str, Any]) -> None:
    record["recipe"] = record["settings"]["name"] = "somebody-elses"
    assert block(results.collect([record]), "somebody-elses").rows[-1].seeds == (0,)


def test_the_command_line_prints_the_tables_and_the_same_as_json(
    record: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs" / "one").mkdir(parents=True)
    (tmp_path / "runs" / "one" / "record.json").write_text(json.dumps(record))
    assert main(["results", str(tmp_path / "runs")]) == 0
    text = capsys.readouterr().out
    assert f"{100 * record['test']['mean_iu']:.1f}" in text and "FC-DenseNet103" in text
    assert main(["results", "--json", str(tmp_path / "runs" / "one")]) == 0
    parsed = json.loads(capsys.readouterr().out)
    (ours,) = (b for b in parsed["camvid"] if b["recipe"] == "camvid-fcn8s")
    assert ours["rows"][-1]["scores"]["mean_iu"]["value"] == record["test"]["mean_iu"]


def test_what_is_no_record_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["results", str(tmp_path / "gone")]) == 1
    assert "gone not found" in capsys.readouterr().err
    assert main(["results", str(tmp_path)]) == 1
    assert "holds no record.json" in capsys.readouterr().err
    for text in ("{", "[]", '{"schema": 1}', '{"schema": 9, "settings": {}}'):
        (tmp_path / "record.json").write_text(text)
        assert main(["results", str(tmp_path)]) == 1
        assert "record.json: " in capsys.readouterr().err


def test_one_bad_record_is_named_and_the_others_are_shown(
    record: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = json.dumps(record)
    bad = [
        "[" * 100_000,
        "nonsense",
        "null",
        good.replace('"mean_iu": 0.', '"mean_iu": 1e400, "x": 0.'),
    ]
    for key, value in (("settings", {"data": {"name": []}, "model": 1}), ("overrides", 3),
                       ("seed", "0"), ("val", None), ("recipe", ["a"]), ("recipe", "unknown"),
                       ("test", {"images": -1})):  # fmt: skip
        bad.append(json.dumps({**record, key: value}))
    for i, text in enumerate([good, *bad]):
        (tmp_path / str(i)).mkdir()
        (tmp_path / str(i) / "record.json").write_text(text)
    assert main(["results", str(tmp_path)]) == 1
    said = capsys.readouterr()
    lines = [line for line in said.err.splitlines() if line.startswith("fcn-tutorial: ")]
    # An unknown recipe is shown by its own settings.
    named = {int(line.split("/record.json")[0].rpartition("/")[2]) for line in lines}
    assert named == set(range(1, len(bad) + 1)) - {10}
    assert f"{100 * record['test']['mean_iu']:.1f}" in said.out
    smoke = training.smoke(training.get("scenes-fcn8s"))
    for i in (1, 2, 3, 4, 7):
        with pytest.raises(ValueError, match=f"{i}/record.json: not the record"):
            finished(smoke, 0, training.RunFolder(tmp_path / str(i)))


def test_the_card_states_every_score_of_the_record(record: dict[str, Any]) -> None:
    card = model_card(record)
    for split in ("val", "test"):
        for key in ("mean_iu", "pixel_accuracy", "mean_accuracy", "fw_iu"):
            assert f"{100 * record[split][key]:.1f}" in card
        for name, iu in record[split]["iu"].items():
            assert name in card and f"{100 * iu:.1f}" in card
    assert record["created"] in card and record["git"] in card and "CC BY-NC 4.0" in card
    assert all(entry["source"] in card for entry in record["published"])


def test_a_run_leaves_a_card_in_step_with_its_record(tmp_path: Path) -> None:
    smoke = training.smoke(training.get("scenes-fcn8s"))
    smoke = dataclasses.replace(smoke, baselines=False)
    training.train(smoke, tmp_path)
    folder = training.RunFolder(tmp_path)
    assert folder.card.read_text() == model_card(json.loads(folder.record.read_text()))
