"""What notebooks show of networks, matrices, recipes and runs."""

import html
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fcn_tutorial import display, geometry, metrics, models, surgery, training
from fcn_tutorial.geometry import Layer, output_size, receptive_field

ROOT = Path(__file__).parents[1]


class Shown(HTMLParser):
    """The cells of a table, row by row, and every tag that there is."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()
        self.open: list[str] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


TAGS = {"table", "caption", "thead", "tbody", "tr", "th", "td"}
HOSTILE = "<script>alert('x')</script>&"


def test_a_table_shows_what_it_is_given_and_runs_nothing_of_it() -> None:
    source = display.table((HOSTILE, "b"), [(HOSTILE, 1)], HOSTILE)
    shown = Shown(source)
    assert shown.tags == TAGS and shown.open == []
    assert shown.rows == [[HOSTILE, "b"], [HOSTILE, "1"]]
    assert html.escape(HOSTILE) in source


def test_a_table_takes_its_letters_and_its_ground_from_the_page() -> None:
    """So it is as readable in a dark page as in a light one."""
    source = display.table(("a", "b"), [("c", 1)], shades=[(0.0, 1.0)])
    assert "color: inherit" in source
    assert set(re.findall(r"(?<![-\w])color: ([^;\"]+)", source)) == {"inherit"}
    grounds = re.findall(r"background: rgba\(.*?, ([\d.]+)\)", source)
    assert grounds == ["0.50"]  # what is behind shines through


def test_a_matrix_shows_its_counts_and_the_iu_of_each_class() -> None:
    matrix = metrics.ConfusionMatrix(3)
    matrix.update(torch.tensor([[0, 1, 1, 1]]), torch.tensor([[0, 0, 1, 1]]))
    shown = Shown(matrix._repr_html_())
    assert shown.rows[1:] == [
        ["0", "1", "1", "0", "50.0"], ["1", "0", "2", "0", "66.7"], ["2", "0", "0", "0", "–"],
    ]  # fmt: skip
    assert "mean IU 58.3, pixel accuracy 75.0" in matrix._repr_html_()


def test_a_large_matrix_says_what_it_leaves_out() -> None:
    shown = Shown(metrics.ConfusionMatrix(300)._repr_html_())
    assert len(shown.rows) == 41 and len(shown.rows[0]) == 42
    assert "the first 40 classes" in metrics.ConfusionMatrix(300)._repr_html_()


def test_a_recipe_shows_every_setting() -> None:
    recipe = training.get("camvid-fcn8s")
    shown = Shown(recipe._repr_html_())
    assert [row[:3] for row in shown.rows[1:]] == [list(part) for part in training.explain(recipe)]


def test_a_run_folder_shows_its_record(tmp_path: Path) -> None:
    folder = training.RunFolder(tmp_path / "run")
    assert "no run has ended here" in folder._repr_html_()
    folder.path.mkdir()
    shutil.copy(ROOT / "data/results/scenes/scenes-fcn8s-seed0.json", folder.record)
    rows = Shown(folder._repr_html_()).rows
    assert rows[0] == ["percent", "val", "test"]
    record = training.records.record.read(folder.record)
    wanted = [f"{100 * record[split]['mean_iu']:.1f}" for split in ("val", "test")]
    assert ["mean IU", *wanted] in rows and len(rows) == 1 + 5 + len(record["val"]["iu"])
    folder.record.write_text("{}")
    assert "not the record of a run" in folder._repr_html_()


def test_the_layers_of_a_network_are_those_that_trace_reads() -> None:
    """The rows up to each layer are a path, whose sizes and fields geometry computes."""
    module = nn.Sequential(
        nn.Conv2d(3, 4, 7, 2, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
        nn.Conv2d(4, 6, 3, dilation=2), nn.ConvTranspose2d(6, 2, 4, 2, 1),
    )  # fmt: skip
    table = surgery.layer_table(module, (61, 64))
    path = surgery.trace(module, (61, 64))
    assert [row.layer for row in table.rows] == path
    for number, row in enumerate(table.rows, 1):
        assert row.field == receptive_field(path[:number])
        assert row.output[1:] == tuple(output_size(path[:number], n) for n in (61, 64))
    own = [sum(p.numel() for p in module[i].parameters()) for i in (0, 3, 4, 5)]
    assert [row.parameters for row in table.rows] == own
    assert table.parameters == sum(own) + 8


def test_a_field_is_that_of_the_widest_branch_and_unknown_where_none_can_be_followed() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 5, padding=2)
            self.after = nn.Conv2d(6, 1, 1)
            self.lost = nn.Conv2d(1, 1, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            joined = torch.cat([self.one(x), self.other(x)], 1)
            return self.lost(self.after(joined).flip(2))

    rows = {row.name: row.field for row in surgery.layer_table(Branches(), 16).rows}
    assert rows["after"] is not None and rows["after"].size == 5
    assert rows["lost"] is None


def test_every_score_layer_of_an_fcn_is_listed_with_its_field() -> None:
    model = models.FCN("vgg16", 5, alignment="caffe", width=1 / 16)
    rows = {row.name: row for row in surgery.layer_table(model, 224).rows}
    fields = {name: rows[name].field for name in ("score_fr", "score_pool4", "score_pool3")}
    assert fields == {
        name: geometry.receptive_field(model.backbone.layers(stride))
        for name, stride in (("score_fr", 32), ("score_pool4", 16), ("score_pool3", 8))
    }
    shown = Shown(model._repr_html_())
    assert shown.rows[-1][0] == "score_pool3" and shown.rows[-1][-1] == "44"


def test_a_network_that_reads_no_such_image_shows_its_modules() -> None:
    class Picky(models.Network):
        def __init__(self) -> None:
            super().__init__(None, 2, "raw")

        def training_scores(self, images: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("not this size")

    assert Picky()._repr_html_() == "<pre>Picky(\n  (preprocess): Preprocess()\n)</pre>"


@pytest.mark.parametrize("size", [0, (3, 4, 5)])
def test_a_size_that_is_none_is_refused(size: object) -> None:
    with pytest.raises(ValueError, match="input_size"):
        surgery.layer_table(nn.Conv2d(3, 3, 3), size)  # type: ignore[arg-type]


def test_a_layer_table_prints_its_columns_one_below_the_other() -> None:
    lines = str(surgery.layer_table(nn.Conv2d(3, 8, 3), 32)).splitlines()
    assert lines[0] == "Conv2d on 3×32×32, 224 parameters"
    assert len({len(line) for line in lines[1:]}) == 1
    assert np.array_equal(Layer(3), surgery.layer_table(nn.Conv2d(3, 8, 3), 32).rows[0].layer)


@pytest.mark.parametrize(
    "images", [torch.zeros(1, 3, 9, 9, dtype=torch.uint8), torch.zeros(3, 9, 9)]
)
def test_a_network_says_what_it_reads(images: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="FCN-8s on tiny: got .*`preprocess`.*`predict`"):
        models.FCN("tiny", 2)(images)


def test_a_module_that_is_mistyped_is_guessed() -> None:
    code = "import fcn_tutorial; fcn_tutorial.modles"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "Did you mean: 'models'?" in done.stderr
