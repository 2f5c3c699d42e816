"""The command line, run as a person runs it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fcn_tutorial.cli import main
from fcn_tutorial.datasets import Scenes


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "smoke"
    assert main(["train", "scenes-fcn8s", "--smoke", "--out", str(out), "--device", "cpu"]) == 0
    return out


def test_the_module_is_the_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fcn_tutorial", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout.startswith("usage: fcn-tutorial")


def test_help_loads_no_torch() -> None:
    code = (
        "import sys\nfrom fcn_tutorial.cli import main\n"
        "try:\n main(['--help'])\nexcept SystemExit:\n assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_recipes_are_listed_and_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes"]) == 0
    assert "camvid-fcn8s" in capsys.readouterr().out
    assert main(["recipes", "camvid-fcn8s"]) == 0
    text = capsys.readouterr().out
    assert "optimiser.lr" in text and "published mean_iu 57.0: FCN-8s VGG16" in text


def test_smoke_training_prints_the_baselines_beside_the_network(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = json.loads((run / "record.json").read_text())
    assert record["train"]["steps"] == 2 and record["overrides"] == {"smoke": True}
    card = (run / "model_card.md").read_text()
    means = [f"{100 * part['mean_iu']:.1f}" for part in record["baselines"].values()]
    assert "| | majority | colour |" in card and f"| **mean IU** | {' | '.join(means)} |" in card
    assert set(record["baselines"]) == {"majority", "colour"}
    assert list(record["test"]["iu"]) == list(Scenes.classes)


def test_evaluate_repeats_the_record(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = json.loads((run / "record.json").read_text())
    for source in (run, run / "best.safetensors"):
        for split in ("val", "test"):
            assert main(["evaluate", str(source), "--split", split, "--device", "cpu"]) == 0
            printed = capsys.readouterr().out.strip().splitlines()[-1]
            assert json.loads(printed) == record[split]


def test_predict_writes_labels_and_overlays(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    scene = Scenes(n=1, size=(50, 71))[0][0].permute(1, 2, 0).numpy()
    Image.fromarray(scene).save(pictures / "a.png")
    Image.fromarray(scene).convert("L").save(tmp_path / "b.jpg")
    out = tmp_path / "out"
    status = main(["predict", str(run), str(pictures), str(tmp_path / "b.jpg"), "--out", str(out)])
    assert status == 0
    names = sorted(p.name for p in out.iterdir())
    assert names == ["a-overlay.png", "a.png", "b-overlay.png", "b.png"]
    labels = Image.open(out / "a.png")
    assert labels.mode == "P" and labels.size == (71, 50)
    assert np.array(labels).max() < len(Scenes.classes)
    palette = np.array(labels.getpalette()[:36]).reshape(12, 3)
    assert np.array_equal(palette, np.array(Scenes.palette))
    assert Image.open(out / "b-overlay.png").mode == "RGB"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "scene-fcn8s"], "did you mean scenes-fcn8s"),
        (["train", "scenes-fcn8s", "--set", "epoch=3"], "did you mean epochs"),
        (["train", "scenes-fcn8s", "--device", "cuda:99"], "--device cuda:99"),
        (["train", "camvid-fcn8s", "--data", "/nowhere"], "/nowhere: no such folder"),
        (["evaluate", "/nowhere"], "/nowhere not found"),
        (["predict", "/nowhere", "x.png", "--out", "y"], "/nowhere not found"),
        (["recipes", "nothing"], "no recipe 'nothing'"),
    ],
)
def test_an_error_is_one_clear_line_and_status_one(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("fcn-tutorial: ") and message in error


def test_predict_names_what_it_cannot_read(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.png").write_text("not a picture")
    out = str(tmp_path / "out")
    for path, message in (
        (tmp_path / "notes.png", "notes.png: not a readable image"),
        (tmp_path / "none", "none not found"),
    ):
        assert main(["predict", str(run), str(path), "--out", out]) == 1
        assert message in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert main(["predict", str(run), str(tmp_path / "empty"), "--out", out]) == 1
    assert "holds no pictures" in capsys.readouterr().err


def test_wrong_usage_exits_with_two() -> None:
    with pytest.raises(SystemExit) as stop:
        main(["train"])
    assert stop.value.code == 2
