"""The table of published figures: from the recipes, the file and the records, each once."""

import json
import re

import pytest

from fcn_tutorial import assets
from fcn_tutorial.training.recipes import RECIPES, settings
from fcn_tutorial.training.records import results
from fcn_tutorial.training.records.literature import BY, Figure, figures

FIGURES = figures()


def test_every_score_that_a_recipe_carries_is_in_the_table_once() -> None:
    table = [(f.measure, f.value, f.source.split(",")[0]) for f in FIGURES if f.by != "ours"]
    for recipe in RECIPES.values():
        for entry in recipe.published:
            key = (entry.score, round(100 * entry.value, 8), entry.source.split(",")[0])
            assert key in table, (recipe.name, entry)
    assert len(set(FIGURES)) == len(FIGURES)


def test_nothing_in_the_file_repeats_what_a_recipe_carries() -> None:
    places = [(f.images, f.method, f.measure, f.source) for f in FIGURES]
    assert len(set(places)) == len(places)


def test_ours_are_means_over_seeds_of_the_records_themselves() -> None:
    ours = [f for f in FIGURES if f.by == "ours" and f.source == "record of scenes-fcn8s"]
    by_hand = []
    for seed in (0, 1, 2):
        path = assets.path(f"results/scenes/scenes-fcn8s-seed{seed}.json")
        by_hand.append(100 * json.loads(path.read_text(encoding="utf-8"))["test"]["mean_iu"])
    (found,) = [f for f in ours if f.measure == "mean_iu"]
    mean = sum(by_hand) / 3
    spread = (sum((x - mean) ** 2 for x in by_hand) / 2) ** 0.5
    assert found.value == pytest.approx(mean) and found.spread == pytest.approx(spread)
    assert found.seeds == (0, 1, 2) and found.text == f"{mean:.1f} ± {spread:.1f}"


@pytest.mark.parametrize(
    ("recipe", "split", "images", "on"),
    [
        ("voc-fcn8s", "val", 736, "VOC 2011 seg11valid"),
        ("nyud-fcn32s-rgb-hha", "test", 654, "NYUDv2 test"),
        ("siftflow-fcn8s", "test", 200, "SIFT Flow test"),
        ("camvid-fcn8s", "test", 233, "CamVid test, 360×480"),
    ],
)
def test_a_run_of_ours_stands_under_the_images_that_its_recipe_publishes(
    recipe: str, split: str, images: int, on: str
) -> None:
    path = assets.path("results/camvid/camvid-fcn8s-seed0.json")
    record = json.loads(path.read_text(encoding="utf-8"))
    scores = {**record["test"], "images": images}
    record |= {"recipe": recipe, "test": None, split: scores}
    record["settings"] = settings.as_dict(RECIPES[recipe])
    found = [f for f in figures([record]) if f.source == f"record of {recipe}"]
    assert found and {f.images for f in found} == {on}
    assert any(f.images == on and f.by != "ours" for f in FIGURES)
    fewer = {**record, split: {**scores, "images": images - 1}}  # is another set
    assert not any(f.images == on for f in figures([fewer]) if f.by == "ours")


def test_every_figure_says_where_it_stands_and_on_which_images() -> None:
    for figure in FIGURES:
        assert figure.images and figure.method and figure.source and figure.by in BY
        if figure.measure != "milliseconds":
            assert 0 < figure.value <= 100


def test_values_are_shown_as_their_sources_print_them() -> None:
    shown = {(f.method, f.title): f.text for f in FIGURES if f.by != "ours"}
    assert shown["SDS", "ms an image"] == "50,000"
    assert shown["AlexNet, one window in a batch", "ms an image"] == "1.2"
    assert shown["FCN-8s at once VGG16 (reference port)", "mean IU"] == "64.74"
    assert shown["U-Net, mean of 7 rotations", "warping error"] == "0.0353"
    assert shown["FCN-VGG16", "ms an image"] == "210"
    assert all(re.fullmatch(r"[\d,]+(\.\d+)?", text) for text in shown.values())


def test_without_records_none_stands_as_one() -> None:
    without = [f for f in figures([]) if f.source.startswith("record of")]
    assert not without
    assert figures([]) == [f for f in FIGURES if not f.source.startswith("record of")]
    assert len(results.find()) > 0


def test_a_measure_that_nobody_knows_is_refused(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "literature.json"  # type: ignore[operator]
    row = {"images": "a", "method": "b", "by": "others", "source": "c", "scores": {"mean_ui": 1}}
    file.write_text(json.dumps({"rows": [row]}), encoding="utf-8")
    monkeypatch.setattr(assets, "path", lambda name: file)
    with pytest.raises(ValueError, match="mean_ui is no measure"):
        figures([])


def test_a_figure_of_ours_without_several_seeds_has_no_deviation() -> None:
    assert Figure("i", "m", "mean_iu", 61.234, "ours", "s").text == "61.2"
