"""Each data set is a source in the registry, and one that is added there works everywhere."""

import dataclasses
import importlib
import json
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fcn_tutorial import training
from fcn_tutorial.cli import main
from fcn_tutorial.datasets import checking, sources
from fcn_tutorial.datasets.source import Source
from fcn_tutorial.datasets.sources.folder import FolderData
from fcn_tutorial.training.records.card import model_card

TESTS = Path(__file__).parent
FROM_FILES = [source for source in sources.SOURCES.values() if source.folder]


@pytest.mark.parametrize("source", FROM_FILES, ids=lambda source: source.name)
def test_what_reads_files_has_a_writer_and_a_test_of_its_official_layout(
    source: Source, tmp_path: Path
) -> None:
    reader = source.reader.__module__.rpartition(".")[2]
    assert (TESTS / f"test_{reader}.py").is_file(), "tests of the layout are named after the reader"
    assert source.writer is not None
    source.writer(tmp_path, n=2, size=(48, 64), seed=0)
    report = checking.check(source, source.settings(), tmp_path)
    assert report.problems == () and set(source.parts) <= report.splits.keys()
    spec = source.settings(train_split=source.parts[0], val_split=source.parts[-1])
    image, mask = source.open(spec, "train", tmp_path)[0]
    assert image.shape == (3, 48, 64) and mask.shape == (48, 64)
    whole = source.open(spec, "all", tmp_path)
    assert len(whole) == sum(report.splits[part].images for part in source.parts)


@pytest.mark.parametrize("source", sources.SOURCES.values(), ids=list(sources.SOURCES))
def test_settings_survive_a_record(source: Source) -> None:
    recipe = dataclasses.replace(training.get("scenes-fcn8s"), data=source.settings(jitter=0.5))
    again = training.from_dict(json.loads(json.dumps(training.as_dict(recipe))))
    assert again.data == recipe.data and type(again.data) is source.spec_type


def test_a_data_set_that_nobody_knows_is_named_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="no data set 'camvit'; did you mean camvid"):
        sources.get("camvit")
    with pytest.raises(ValueError, match="camvid has no setting masks"):
        sources.get("camvid").settings(masks="x")
    assert isinstance(sources.get("folder").settings(masks="x"), FolderData)


# --- A new one ----------------------------------------------------------------------------------

STRIPES = '''
"""Stripes in NumPy files, a data set of one's own making: this file and a line in the registry."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch

from fcn_tutorial.datasets.readers.reader import Reader
from fcn_tutorial.datasets.source import Source
from fcn_tutorial.datasets.spec import Data
from fcn_tutorial.files import require
from fcn_tutorial.vision import tv_tensors


class Stripes(Reader):
    classes = ("dark", "light")
    palette = ((0, 0, 0), (255, 255, 255))
    splits = ("fit", "held-out")
    counts = {"fit": 6, "held-out": 3}
    folder, source = "stripes", "a test"
    citation, licence = "nobody", "free to use"

    def __init__(self, root, split="fit", transforms=None, shade=200):
        super().__init__(root, split, transforms)
        self.labels = np.load(require(self.root / f"{split}.npy"))
        self.shade = shade

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        labels = torch.from_numpy(self.labels[index])
        image = tv_tensors.Image((labels * self.shade).expand(3, -1, -1).contiguous())
        item = image, tv_tensors.Mask(labels)
        return item if self.transforms is None else self.transforms(*item)


@dataclass(frozen=True)
class StripesData(Data):
    shade: Annotated[int, "of the light stripes"] = 200


class _Stripes(Source):
    spec_type = StripesData

    def read(self, spec, split, data):
        return Stripes(self.root(data), split, shade=spec.shade)


def write(root, n=6, size=(64, 64), seed=0):
    folder = Path(root) / Stripes.folder
    folder.mkdir(parents=True)
    generator = np.random.default_rng(seed)
    for split, count in Stripes.counts.items():
        edges = generator.random((count, 1, size[1])) < 0.5
        np.save(folder / f"{split}.npy", np.repeat(edges, size[0], 1).astype(np.uint8))
    return folder


STRIPES = _Stripes("stripes", "stripes in arrays", Stripes, parts=("fit", "held-out"), writer=write)
'''


@pytest.fixture
def stripes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with such data, and a recipe that trains on them."""
    package = tmp_path / "package"
    package.mkdir()
    (package / "stripes_data.py").write_text(textwrap.dedent(STRIPES))
    monkeypatch.syspath_prepend(str(package))
    source = importlib.import_module("stripes_data").STRIPES
    monkeypatch.setitem(sources.SOURCES, "stripes", source)  # the one line
    recipe = dataclasses.replace(
        training.get("scenes-fcn8s"),
        name="stripes-fcn8s",
        data=source.settings(crop=(64, 64), train_split="fit", val_split="held-out", test_split=""),
        baselines=False,
    )
    monkeypatch.setitem(training.RECIPES, recipe.name, recipe)
    monkeypatch.setenv("FCN_DATA", str(tmp_path / "data"))
    yield tmp_path
    del sys.modules["stripes_data"]


def test_a_new_data_set_is_listed_made_checked_and_shown(
    stripes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "list"]) == 0
    assert "stripes" in (shown := capsys.readouterr().out) and "free to use" in shown
    assert main(["data", "list", "stripes"]) == 0
    assert "images: fit 6, held-out 3" in capsys.readouterr().out
    assert main(["data", "make", "stripes", "--size", "64x64"]) == 0
    assert main(["data", "check", "stripes"]) == 0
    assert "no problems found" in capsys.readouterr().out
    sheet = stripes / "sheet.png"
    assert main(["data", "preview", "stripes", "--out", str(sheet), "--count", "2"]) == 0
    assert sheet.is_file()
    assert main(["data", "download", "stripes"]) == 1
    assert "stripes: nothing to download" in capsys.readouterr().err


def test_a_new_data_set_is_trained_resumed_evaluated_and_told_of(
    stripes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "make", "stripes", "--size", "64x64"]) == 0
    out = stripes / "run"
    train = ["train", "stripes-fcn8s", "--smoke", "--set", "data.shade=180", "--out", str(out)]
    assert main(train) == 0
    record: dict[str, Any] = json.loads((out / "record.json").read_text())
    assert record["settings"]["data"]["shade"] == 180
    assert set(record["val"]["iu"]) == {"dark", "light"} and record["test"] is None
    assert "stripes in arrays: 4 images" in model_card(record)
    assert "free to use" in model_card(record)
    capsys.readouterr()
    assert main(["recipes", "stripes-fcn8s"]) == 0
    assert "of the light stripes" in capsys.readouterr().out
    assert main([*train, "--resume"]) == 0
    for split, images in (("val", 2), ("all", 9)):
        capsys.readouterr()
        assert main(["evaluate", str(out), "--split", split]) == 0
        scored = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert scored["images"] == images
    assert main(["results", str(out)]) == 0
    assert "stripes-fcn8s" in capsys.readouterr().out
    arrays = np.load(stripes / "data" / "stripes" / "held-out.npy")
    opened = training.open_split(training.from_dict(record["settings"]), "val", None)
    image, mask = opened[0]
    assert torch.equal(image[0], 180 * mask) and np.array_equal(mask, arrays[0])
