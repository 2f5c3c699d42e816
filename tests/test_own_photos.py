"""README's section on one's own photos, done as it stands there: from painted masks to a model."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fcn_tutorial import models, training
from fcn_tutorial.cli import main
from fcn_tutorial.datasets import Scenes
from fcn_tutorial.datasets.sources.folder import FolderData
from fcn_tutorial.predict import read_image
from fcn_tutorial.training.recipes.config import read_config
from tests.versions import exports
from tools.readme import README

#: A run of seconds: README's has its recipe's windows and epochs.
SHORT = ["--set", "epochs=1", "--set", "data.epoch_images=48", "--set", "data.crop=48,48",
         "--set", "baselines=false"]  # fmt: skip

#: Width and height of further photos, one of them larger than training lets them be.
SIZES = {"native": (64, 48), "odd": (101, 75), "larger": (640, 480)}


def section() -> str:
    text = README.read_text(encoding="utf-8")
    return text.split("**Your own photos.**")[1].split("**Use.**")[0]


def paint(root: Path, count: int) -> dict[tuple[int, ...], str]:
    """Photos and RGBA masks, transparent where nothing is painted; the names of the colours."""
    scenes = Scenes(n=count, size=(48, 64), seed=3)
    colours = np.array(
        [*scenes.palette, *[(255, 255, 255)] * (256 - len(scenes.palette))], np.uint8
    )
    colours[0] = 0
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for i in range(count):
        image, mask = scenes[i]
        labels = mask.numpy()
        alpha = np.where(labels == 0, 0, 255).astype(np.uint8)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(root / "images" / f"IMG_{i:03}.jpg")
        painted = Image.fromarray(np.dstack([colours[labels], alpha]))
        painted.save(root / "masks" / f"IMG_{i:03}.png")
    named = zip(colours.tolist(), scenes.classes, strict=False)
    return {**{tuple(rgb): name for rgb, name in named}, (255, 255, 255): "void"}


@exports
def test_the_commands_of_readme_lead_from_painted_masks_to_a_checked_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", _no_network)
    names = paint(tmp_path / "my", 100)
    (tmp_path / "new-photos").mkdir()
    photo = tmp_path / "my" / "images" / "IMG_000.jpg"
    (tmp_path / "new-photos" / "IMG_000.jpg").write_bytes(photo.read_bytes())
    block = section().split("```bash\n")[1].split("```")[0]
    check, train, *others = (shlex.split(line)[1:] for line in block.splitlines())
    assert main(check) == 1  # the colours have no names yet
    form = tmp_path / "my" / "colours.csv"
    head, *rows = form.read_text().splitlines()
    filled = [f"{names[tuple(int(v) for v in row.split(',')[1:4])]}{row}" for row in rows]
    form.write_text("\n".join([head, *filled]))
    assert main(check) == 0
    assert "no problems found" in capsys.readouterr().out
    assert main([*train, *SHORT, "--device", "cpu"]) == 0
    assert "folder-tiny is trained instead" in capsys.readouterr().err
    record = json.loads((tmp_path / "runs/my/record.json").read_text())
    parts = [record[split]["images"] for split in ("train", "val", "test")]
    assert sum(parts) == 100 and set(record["test"]["iu"]) == set(names.values()) - {"void"}
    for command in others:
        assert main(command) == 0, command
    # The exported file labels photos of every size and side as `predict` does.
    for name, size in SIZES.items():
        Image.open(photo).resize(size).save(tmp_path / "new-photos" / f"{name}.png")
    assert main(next(command for command in others if command[0] == "predict")) == 0
    session = pytest.importorskip("onnxruntime").InferenceSession(str(tmp_path / "my.onnx"))
    network, card = models.load(tmp_path / "runs" / "my" / "best.safetensors")
    assert max(max(size) for size in SIZES.values()) > network.longest_side > 0
    for path in sorted((tmp_path / "new-photos").iterdir()):
        images = network.preprocess(read_image(path)[None])
        (scores,) = session.run(None, {"images": images.numpy()})
        labels = np.array(Image.open(tmp_path / "labels" / f"{path.stem}.png"))
        assert labels.shape == images.shape[-2:] and len(np.unique(labels)) > 1
        assert np.mean(scores[0].argmax(0) == labels) > 0.999, path
    (entry,) = pytest.importorskip("onnx").load(tmp_path / "my.onnx").metadata_props
    assert json.loads(entry.value)["classes"] == list(card.classes) == list(record["test"]["iu"])


def _no_network(*_: object) -> None:
    raise OSError("no network")


def test_the_file_of_settings_in_readme_is_one(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text(section().split("```yaml\n")[1].split("```")[0])
    config = read_config(tmp_path / "my.yaml")
    recipe, _ = config.override(training.get("folder"))
    assert recipe.epochs == 30 and config.out == tmp_path / "runs/my"


def test_the_shares_and_sizes_that_readme_states_are_those_of_the_recipe() -> None:
    spec = training.get("folder").data
    assert isinstance(spec, FolderData)
    shares = [int(share) for share in re.findall(r"(\d+)%", section())]
    assert shares == [100 * spec.val_fraction, 100 * spec.test_fraction]
    assert f"above {spec.longest_side} pixels" in section()
