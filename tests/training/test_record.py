"""Every score that is shown comes from the confusion matrix of the record, by one table of rows."""

import copy
import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, precision_score, recall_score

from benchmarks import camvid
from fcn_tutorial import assets, metrics
from fcn_tutorial.cli import main
from fcn_tutorial.metrics import ConfusionMatrix, Measure
from fcn_tutorial.training.records import record as records
from fcn_tutorial.training.records import results
from fcn_tutorial.training.records.card import model_card
from tools import readme

OLD = "results/camvid/camvid-fcn8s-seed0.json"  # from before confusion matrices were kept
CLASSES = ("sky", "road", "pole", "car")


@pytest.fixture
def old() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(assets.path(OLD).read_text())
    assert "confusion" not in found["test"]
    return found


def labels(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Prediction and truth of four classes, of which `car` is in neither; 255 is void."""
    rng = np.random.default_rng(seed)
    truth = rng.choice([0, 1, 2, 255], (40, 50), p=[0.3, 0.5, 0.1, 0.1]).astype(np.uint8)
    wrong = rng.integers(0, 3, truth.shape)
    return np.where((rng.random(truth.shape) < 0.7) & (truth < 255), truth, wrong), truth


def described(seed: int = 0) -> dict[str, Any]:
    confusion = ConfusionMatrix(4).update(*labels(seed))
    return records.describe(confusion, CLASSES, "test", 1)


def test_dice_precision_and_recall_are_scikit_learns() -> None:
    found = described()
    guess, truth = labels(0)
    valid = truth != 255
    pair = truth[valid], guess[valid]
    options: dict[str, Any] = {"labels": [0, 1, 2], "average": None}
    for key, theirs in (("precision", precision_score), ("recall", recall_score)):
        assert [found[key][name] for name in CLASSES[:3]] == pytest.approx(theirs(*pair, **options))
        assert found[key]["car"] is None
    assert found["mean_dice"] == pytest.approx(f1_score(*pair, **options).mean())


def test_a_record_is_scored_from_its_matrix_whatever_stands_beside_it() -> None:
    found = described()
    assert found["confusion"] == ConfusionMatrix(4).update(*labels(0)).matrix.tolist()
    expected = records.scored(found)
    assert {key: found[key] for key in metrics.MEASURES} == expected
    falsified = {**found, "mean_iu": 0.99, "iu": dict.fromkeys(CLASSES, 1.0)}
    assert records.scored(falsified) == expected
    assert records.scored({**found, "absent": "truth_only"})["mean_iu"] == expected["mean_iu"]


def test_a_class_that_was_predicted_but_absent_follows_the_records_convention() -> None:
    """IU ½ of the class that is there; the absent one counts as 0 or not at all."""
    truth, guess = torch.tensor([0, 0]), torch.tensor([0, 1])
    found = records.describe(ConfusionMatrix(2).update(guess, truth), ("a", "b"), "val", 1)
    assert found["mean_iu"] == 0.25 and found["mean_dice"] == pytest.approx(1 / 3)
    only = records.scored({**found, "absent": "truth_only"})
    assert only["mean_iu"] == 0.5 and only["mean_dice"] == pytest.approx(2 / 3)
    assert only["iu"] == {"a": 0.5, "b": None}


def test_what_cannot_be_scored_is_null_in_json() -> None:
    """A wholly void split has no scores; NaN is no JSON."""
    found = records.describe(ConfusionMatrix(4), CLASSES, "val", 3)
    text = records.dumps(found)
    assert "NaN" not in text and json.loads(text) == found
    assert found["mean_iu"] is None and set(found["recall"].values()) == {None}
    with pytest.raises(ValueError, match="not JSON compliant"):
        records.dumps({"loss": float("nan")})


def test_a_matrix_is_written_a_row_on_a_line_and_read_back_as_it_was() -> None:
    found = {"test": described(), "scales": [0.75, 1.0, -2], "names": ["a, [1, 2]", "b"], "no": []}
    text = records.dumps(found)
    assert json.loads(text) == found
    rows = [line for line in text.splitlines() if line.strip().startswith("[")]
    assert [json.loads(row.strip().rstrip(",")) for row in rows] == found["test"]["confusion"]


def test_old_records_say_what_they_cannot_give(old: dict[str, Any]) -> None:
    assert records.scored(old["test"])["mean_iu"] == old["test"]["mean_iu"]
    about_masks, missing = records.remarks(old, "results")
    assert "half a pixel" in about_masks and missing.endswith("without mean Dice")
    text = results.text(results.collect([old]))
    assert f"note: {missing}" in text and f"note: {about_masks}" in text
    card = model_card(old)
    assert about_masks in card and "without mean Dice, precision, recall." in card
    table = records.table({"old": old["test"]}, "evaluate")
    assert "–" in table and f"{100 * old['test']['mean_iu']:.1f}" in table
    old["settings"]["data"]["scale"] = [1.0, 1.0]
    assert records.remarks(old, "readme") == []  # which shows nothing that is missing
    new = {**old, "val": {**described(), "split": "val"}}
    new["settings"]["data"]["scale"] = [0.5, 2.0]
    assert records.remarks(new, "results") == []


def test_the_tables_of_readme_name_the_records_with_remarks(old: dict[str, Any]) -> None:
    (about_masks,) = records.remarks(old, "readme")
    for block, name in ((readme.scores_block(), old["recipe"]), (readme.kept_block(), OLD)):
        (line,) = (row for row in block.splitlines() if about_masks in row)
        assert f"`{name}`" in line and "scenes-" not in line


def test_a_file_that_is_no_record_is_named(old: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "record.json"

    def written(change: Any) -> Path:
        broken = copy.deepcopy(old)
        change(broken)
        path.write_text(json.dumps(broken))
        return path

    for change in (
        lambda r: r.pop("val"),
        lambda r: r["val"].pop("iu"),
        lambda r: r["val"].update(mean_iu="high"),
        lambda r: r["val"].update(confusion=[[1, 2], [3, 4]]),  # of two classes, not eleven
        lambda r: r["test"].update(confusion=[[1, 2], [3]]),
        lambda r: r["test"].update(confusion="none"),
        lambda r: r.update(test=[1]),
        lambda r: r["settings"].update(data=None),
        lambda r: r.update(settings=7),
    ):
        with pytest.raises(ValueError, match=r"record\.json: not the record of a run"):
            records.read(written(change))
    assert records.read(written(lambda r: r.update(test=None)))["test"] is None


@pytest.fixture
def kappa(monkeypatch: pytest.MonkeyPatch) -> Measure:
    """Cohen's kappa, which the package does not have, for as long as a test."""

    def of(scores: metrics.Scores) -> float:
        share = scores.matrix / scores.matrix.sum()
        chance = float(share.sum(0) @ share.sum(1))
        return (float(np.trace(share)) - chance) / (1 - chance)

    everywhere = ("log", "curve", "train", "evaluate", "results", "card", "readme")
    row = Measure("kappa", "Cohen's kappa", of, everywhere, percent=False)
    monkeypatch.setitem(metrics.MEASURES, "kappa", row)
    return row


def test_a_new_measure_is_one_row(
    kappa: Measure, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Trained, logged, evaluated, kept, tabulated and put into README, with nothing edited."""
    out = tmp_path / "data" / "results" / "scenes" / "one"
    smoke = ["train", "scenes-fcn32s", "--smoke", "--set", "baselines=true", "--out", str(out)]
    assert main(smoke) == 0
    record = records.read(out / "record.json")
    matrix = np.array(record["test"]["confusion"])
    chance = matrix.sum(0) @ matrix.sum(1) / matrix.sum() ** 2
    expected = (np.trace(matrix) / matrix.sum() - chance) / (1 - chance)
    assert record["test"]["kappa"] == pytest.approx(expected)
    assert record["baselines"]["colour"]["kappa"] is not None
    shown = f"{record['test']['kappa']:.3f}"
    assert "Cohen's kappa" in capsys.readouterr().out
    (*_, last) = csv.DictReader((out / "log.csv").open())
    assert float(last["val_kappa"]) == pytest.approx(record["val"]["kappa"])
    assert f"| **Cohen's kappa** | {record['val']['kappa']:.3f} | {shown} |" in (
        (out / "model_card.md").read_text()
    )
    assert main(["evaluate", str(out)]) == 0
    assert capsys.readouterr().out.rpartition("\nCohen's kappa")[2].split()[0] == shown
    assert main(["results", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "Cohen's kappa" in printed and shown in printed
    (out / "record.json").rename(out.parent / "scenes-fcn32s-seed0.json")
    page = readme.scores_block(tmp_path)
    assert "| mean IU | pixel accuracy | Cohen's kappa | training |" in page and shown in page
    (tmp_path / "runs").mkdir()
    run = camvid.Run("one", "scenes-fcn32s", "here")
    run.folder(tmp_path, 0).mkdir(parents=True)
    (run.folder(tmp_path, 0) / "record.json").write_text(records.dumps(record))
    assert f"| {shown} |" in camvid.table([run], tmp_path, [0])


def test_training_with_a_measure_per_class_prints_it_beside_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts = Measure("support", "pixels", lambda s: s.support.astype(float), ("train",), True)
    row = dataclasses.replace(counts, percent=False)
    monkeypatch.setitem(metrics.MEASURES, "support", row)
    table = records.table({"net": described()}, "train")
    head, sky, *_ = table.splitlines()
    assert head.split() == ["net", "IU", "net", "pixels"]
    assert float(sky.split()[2]) == sum(described()["confusion"][0])


def test_training_is_shown_as_percent_with_one_decimal() -> None:
    found = described()
    table = records.table({"net": found, "other": described(1)}, "train")
    rows = {line.split()[0]: line.split()[1:] for line in table.splitlines() if line.split()}
    for name in CLASSES:
        assert rows[name][0] == ("–" if name == "car" else f"{100 * found['iu'][name]:.1f}")
    assert f"{100 * found['mean_dice']:.1f}" in table
