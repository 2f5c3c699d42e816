"""The page on the cost of training says what the benchmarks' files say."""

import json

import pytest
import torch

from fcn_tutorial import surgery
from fcn_tutorial.models import FCN
from fcn_tutorial.training import recipes
from tools import costs


def vgg16() -> FCN:
    with torch.device("meta"):  # sizes only
        return FCN("vgg16", 21, 8)


def test_the_page_is_in_step_with_the_files_of_the_benchmarks() -> None:
    text = costs.PAGE.read_text(encoding="utf-8")
    assert costs.stamped(text) == text, "run `python -m tools.costs`"
    assert costs.PICTURE.is_file()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (7.4e-6, "7.40 µs"), (0.0123, "12.3 ms"), (0.5, "500 ms"), (4.56, "4.56 s"),
        (90, "1.50 min"), (5400, "1.50 h"), (129_600, "1.50 days"),
    ],
)  # fmt: skip
def test_a_time_is_told_in_a_unit_that_fits(seconds: float, text: str) -> None:
    assert costs.duration(seconds) == text.replace(" ", "\N{NO-BREAK SPACE}")


def test_the_file_is_of_a_whole_run_with_every_sweep() -> None:
    record = json.loads((costs.RESULTS / "training-cpu.json").read_text(encoding="utf-8"))
    assert not record["smoke"]
    assert [*record["sweeps"]] == ["pixels", "images", "classes", "dense classes", "processes"]


def test_what_the_page_says_in_words_holds_for_its_numbers() -> None:
    sweeps = costs.read("training-cpu.json")["sweeps"]
    for name in ("pixels", "images"):
        assert sweeps[name]["line"]["misfit"] < 0.2  # "a line"
        assert sweeps[name]["line"]["intercept"] > 0  # "something that is paid once"

    def growth(name: str) -> float:
        points = sweeps[name]["points"]
        return points[-1]["median"] / points[0]["median"]

    assert growth("classes") < 2 < 5 < growth("dense classes")  # "nearly flat", "steeply"


def test_the_exchange_on_paper_follows_the_equation_of_the_page() -> None:
    row = next(line for line in costs.exchange_table().splitlines() if "`vgg16`" in line)
    weights = sum(p.numel() for p in vgg16().parameters())
    ring = 2 * 7 / 8 * 4 * weights / (10e9 / 8)
    assert f"| {costs.duration(ring)} |" in row and f"| {weights / 1e6:.1f} M |" in row


def test_the_schedule_on_paper_is_three_forward_passes_a_step() -> None:
    text = costs.schedule_table(costs.read("core-cpu.json"))
    operations = 6 * surgery.macs(vgg16(), (375, 500))
    steps = recipes.get("voc-fcn8s").iterations
    assert f"| {costs.duration(steps * operations / 1e13)} | 10 TFLOP/s |" in text
