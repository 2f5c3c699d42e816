"""A YAML file of settings: what it says reaches the recipe, what it cannot say is named."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fcn_tutorial import training
from fcn_tutorial.cli import main
from fcn_tutorial.training.recipes.config import read_config


def write(tmp_path: Path, text: str) -> Path:
    (tmp_path / "my.yaml").write_text(text)
    return tmp_path / "my.yaml"


def test_a_file_says_what_the_command_line_would(tmp_path: Path) -> None:
    config = read_config(write(tmp_path, """
recipe: folder
out: runs/cats
seed: 3
device: cpu
weights: trunk.safetensors
data:
  images: photos
  masks: drawn
  colours: {ground: [0, 0, 0], cat: [255, 0, 0]}
  crop: [96, 128]
  scale: [0.5, 1.5]
  flip: false
epochs: 7
optimiser: {lr: 2e-3, clip: 1}
model:
  width: 0.5
"""))  # fmt: skip
    assert (config.recipe, config.seed, config.device) == ("folder", 3, "cpu")
    assert config.out == tmp_path / "runs/cats"
    assert config.weights == tmp_path / "trunk.safetensors" and config.data is None
    recipe, _ = config.override(training.get(config.recipe))
    same, _ = training.override(
        training.get("folder"),
        [f"data.images={tmp_path / 'photos'}", f"data.masks={tmp_path / 'drawn'}",
         "data.colours=ground=0,cat=#ff0000", "data.crop=96,128", "data.scale=0.5,1.5",
         "data.flip=false", "epochs=7", "optimiser.lr=0.002", "optimiser.clip=1",
         "model.width=0.5"],
    )  # fmt: skip
    assert recipe == same


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("classes: [ground, cat]", "ground,cat"),
        ("classes: ground, cat", "ground, cat"),
        ("classes: {0: ground, 1: cat}", "0: ground,1: cat"),
        ("classes: names.txt", "{}/names.txt"),
    ],
)
def test_classes_may_be_written_out(text: str, classes: str, tmp_path: Path) -> None:
    config = read_config(write(tmp_path, f"data:\n  {text}\n"))
    assert config.settings == (f"data.classes={classes.format(tmp_path)}",)


def test_the_folder_may_be_named_as_data(tmp_path: Path) -> None:
    config = read_config(write(tmp_path, "data: own\n"))
    assert config.data == tmp_path / "own" and config.settings == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("epoch: 3", "my.yaml: epoch: no setting 'epoch'; did you mean epochs"),
        ("data: {imags: x}", "my.yaml: data.imags: no setting 'imags'; did you mean images"),
        ("epochs: many", "my.yaml: epochs=many: expected int"),
        ("epochs: 0", "my.yaml: epochs=0: expected 1 or more"),
        ("epochs: [1, [2]]", "my.yaml: epochs=[1, [2]]: expected a number, a text or a list"),
        ("epochs: 3\nepochs: 4", "'epochs' is given twice"),
        ("optimiser: adamw", "my.yaml: optimiser: is a group"),
        ("optimiser: {lr: {a: 1}}", "my.yaml: optimiser.lr={'a': 1}: expected a value"),
        ("seed: one", "my.yaml: seed='one': expected a whole number"),
        ("out: 3", "my.yaml: out=3: expected text"),
        ("3: 4", "my.yaml: 3 is no setting"),
        ("data: {classes: [cat]}", "expected two names or more"),
        ("data: {colours: 3}", "expected a map or a file"),
        ("data: {colours: {a: [0, 0], b: [1, 1, 1]}}", "give three whole numbers"),
        ("x: !!python/object/apply:os.getcwd []", "not a readable YAML file"),
        ("x: !!bool x", "not a readable YAML file"),
        ("- 3", "expected lines 'setting: value'"),
        ("", "expected lines 'setting: value'"),
        ("x: " + "y" * (1 << 20), "larger than 1048576 bytes"),
    ],
)
def test_a_wrong_file_is_told_what_is_wrong(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError) as caught:
        config = read_config(write(tmp_path, text))
        config.override(training.get(config.recipe))
    assert said in str(caught.value) and len(str(caught.value)) < 500


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no\.yaml not found"):
        read_config(tmp_path / "no.yaml")


def test_the_page_of_the_format_is_an_example(tmp_path: Path) -> None:
    import fcn_tutorial.training.recipes.config as module

    text = str(module.__doc__).split("```yaml\n")[1].split("```")[0]
    config = read_config(write(tmp_path, text))
    recipe, _ = config.override(training.get(config.recipe))
    assert recipe.epochs == 40 and recipe.optimiser.lr == 2e-3


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Ten photos, whose masks have numbers, and a file of settings for a run of two steps."""
    generator = np.random.default_rng(0)
    for i in range(10):
        for folder, content in (
            ("photos", generator.integers(0, 256, (64, 64, 3), np.uint8)),
            ("drawn", np.kron(np.eye(8, dtype=np.uint8), np.ones((8, 8), np.uint8))),
        ):
            (tmp_path / "set" / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(content).save(tmp_path / "set" / folder / f"{i}.png")
    (tmp_path / "my.yaml").write_text(
        "recipe: folder\nout: run\nseed: 4\ndevice: cpu\nepochs: 1\nbaselines: false\nbatch: 2\n"
        "data: {images: set/photos, masks: set/drawn, classes: [ground, line], epoch_images: 2,\n"
        "  crop: [32, 32], train_images: 2, test_images: 2}\n"
        "model: {backbone: tiny, width: 0.0625, weights: ''}\n"
    )
    return tmp_path


def test_every_verb_of_a_run_takes_the_file_from_anywhere(
    own: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (own / "elsewhere").mkdir()
    monkeypatch.chdir(own / "elsewhere")
    file = ["--config", str(own / "my.yaml")]
    assert main(["train", *file]) == 0
    record = json.loads((own / "run" / "record.json").read_text())
    assert record["seed"] == 4 and record["train"]["steps"] == 1
    assert record["overrides"]["epochs"] == 1
    capsys.readouterr()
    assert main(["evaluate", *file, "--split", "train"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["images"] == 2
    assert main(["predict", *file, str(own / "set" / "photos" / "3.png"), "--out", "labels"]) == 0
    assert (own / "elsewhere" / "labels" / "3.png").is_file()
    assert main(["train", *file, "--resume"]) in (0, 1)  # a finished run may be refused
    assert main(["train", *file, "--set", "epochs=2", "--out", str(own / "other")]) == 0
    assert json.loads((own / "other" / "record.json").read_text())["train"]["steps"] == 2


def test_a_verb_without_a_run_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["train"], ["evaluate"], ["export", "--to", "onnx", "--out", "x"],
                      ["predict", "--out", "x"]):  # fmt: skip
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 2 and "--config FILE" in capsys.readouterr().err


def test_a_wrong_setting_is_told_with_the_file(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (own / "my.yaml").read_text().replace("epochs", "epoch")
    (own / "my.yaml").write_text(text)
    assert main(["train", "--config", str(own / "my.yaml")]) == 1
    assert "my.yaml: epoch: no setting 'epoch'; did you mean epochs" in capsys.readouterr().err
