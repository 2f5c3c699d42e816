"""`evaluate` scores what it is told to score, and classes meet by name.

The masks are the network's own labels, so a right score is 100.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import interpolate

from fcn_tutorial import models, training
from fcn_tutorial.cli import main
from fcn_tutorial.predict import Predictor, read_image
from fcn_tutorial.training.matching import Matched

NAMES = ("ground", "cat", "dog")
Evaluate = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network, and a folder `own` of photos with its labels of them."""
    root = tmp_path_factory.mktemp("scored")
    for folder in ("images", "masks"):
        (root / "own" / folder).mkdir(parents=True)
    generator = np.random.default_rng(0)
    photos = []
    for i in range(12):
        coarse = Image.fromarray(generator.integers(0, 256, (5, 6, 3), np.uint8))
        coarse.resize((60, 50), Image.Resampling.BICUBIC).save(root / "own" / "images" / f"{i}.png")
        photos.append(read_image(root / "own" / "images" / f"{i}.png"))
    torch.manual_seed(4)
    network = models.FCN("tiny", 3, stride=8)
    torch.nn.init.normal_(network.score_fr.weight)
    with torch.no_grad():  # so that no class wins everywhere
        scores = network.eval()(network.preprocess(torch.stack(photos)))
        network.score_fr.bias -= scores.mean((0, 2, 3))
    save(root / "run", network, data={})
    for i, photo in enumerate(photos):
        write(root / "own" / "masks" / f"{i}.png", network.predict(photo).numpy())
    (root / "own" / "classes.txt").write_text("\n".join(NAMES))
    seen = [np.unique(np.array(Image.open(p))) for p in (root / "own" / "masks").iterdir()]
    assert set(np.concatenate(seen)) == {0, 1, 2}
    return root


def save(folder: Path, network: models.Network, data: dict[str, Any]) -> None:
    recipe = training.as_dict(training.get("folder-tiny"))
    recipe["data"] |= data
    folder.mkdir(parents=True, exist_ok=True)
    palette = [(0, 0, 0), (255, 0, 0), (0, 255, 0)]
    card = models.Card.of(NAMES, palette, "folder-tiny", "folder", {"recipe": recipe})
    models.save(network, card, folder / "best.safetensors")


def write(path: Path, labels: np.ndarray[Any, Any]) -> None:
    Image.fromarray(labels.astype(np.uint8)).save(path)


def copy_of(own: Path, new: Path, labels: list[int], names: str) -> Path:
    """The folder with other numbers in its masks, and another list of names."""
    shutil.copytree(own, new)
    for path in (new / "masks").iterdir():
        write(path, np.array(labels, np.uint8)[np.array(Image.open(path))])
    (new / "classes.txt").write_text(names)
    return new


@pytest.fixture
def evaluate(root: Path, capsys: pytest.CaptureFixture[str]) -> Evaluate:
    def call(*arguments: object) -> tuple[int, dict[str, Any], str]:
        capsys.readouterr()
        done = main(["evaluate", *map(str, arguments)])
        out, err = capsys.readouterr()
        return done, json.loads(out.splitlines()[-1]) if done == 0 else {}, err

    return call


def test_all_parts_and_lists_of_ones_own_are_scored(
    root: Path, tmp_path: Path, evaluate: Evaluate
) -> None:
    list_of_two = tmp_path / "two.txt"
    list_of_two.write_text("images/3.png masks/3.png\nC:\\photos\\images\\7.png\n")
    for split, images in (("all", 12), (list_of_two, 2)):
        done, scored, _ = evaluate(root / "run", "--data", root / "own", "--split", split)
        assert done == 0 and scored["images"] == images and scored["mean_iu"] == 1
    done, _, said = evaluate(root / "run", "--data", root / "own", "--split", "nosuch")
    assert done == 1 and "no split 'nosuch': name train, val, test, all, or a text file" in said


@pytest.mark.parametrize("named", [{}, {"images": "own/images", "masks": "own/masks"}])
def test_the_folder_that_is_named_is_the_one_that_is_scored(
    named: dict[str, str], root: Path, tmp_path: Path, evaluate: Evaluate,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Whatever folders the run was trained on, and wherever the command is given."""
    monkeypatch.chdir(root)
    save(root / "named", models.load(root / "run" / "best.safetensors")[0], named)
    other = copy_of(root / "own", tmp_path / "new", [2, 1, 0], "\n".join(NAMES))
    done, scored, _ = evaluate("named", "--data", other, "--split", "all")
    assert done == 0 and scored["pixel_accuracy"] < 0.9
    for options in (["--data", "own"], ["--set", "data.images=own/images", "--set",
                                        "data.masks=own/masks"]):  # fmt: skip
        assert evaluate("named", *options, "--split", "all")[1]["mean_iu"] == 1
    assert evaluate("named", "--data", "nosuch")[0] == 1
    monkeypatch.chdir(tmp_path)
    assert evaluate(root / "named", "--data", "new")[1]["pixel_accuracy"] < 0.9
    (tmp_path / "new" / "masks").rename(tmp_path / "new" / "labels")
    assert evaluate(root / "named", "--data", "new")[0] == 1
    assert evaluate(root / "named", "--data", "new", "--set", "data.masks=labels")[0] == 0
    elsewhere = ["--set", "data.images=other/a", "--set", "data.masks=other/b"]
    done, _, said = evaluate(root / "named", "--data", "new", *elsewhere)
    assert done == 1 and "new: nothing in it is read, because data.images=other/a" in said
    done, _, said = evaluate(root / "named", "--set", "epochs=3")
    assert done == 1 and "set data.… only" in said


def test_a_file_of_settings_gives_way_to_the_folder_of_the_command(
    root: Path, tmp_path: Path, evaluate: Evaluate
) -> None:
    (root / "my.yaml").write_text("out: run\ndata:\n  images: own/images\n  masks: own/masks\n")
    other = copy_of(root / "own", tmp_path / "new", [2, 1, 0], "\n".join(NAMES))
    config = ("--config", root / "my.yaml", "--split", "all")
    assert evaluate(*config)[1]["mean_iu"] == 1
    assert evaluate(*config, "--data", other)[1]["pixel_accuracy"] < 0.9


def test_classes_in_another_order_are_mapped_by_name(
    root: Path, tmp_path: Path, evaluate: Evaluate
) -> None:
    """Number 0 is dog there, 1 ground, 2 void, 3 cat."""
    new = copy_of(root / "own", tmp_path / "new", [1, 3, 0], "dog\nground\nvoid\ncat\n")
    done, scored, _ = evaluate(root / "run", "--data", new, "--split", "all")
    assert done == 0 and list(scored["iu"]) == [*NAMES] and set(scored["iu"].values()) == {1.0}
    (new / "classes.txt").write_text("cat\nground\nvoid\ndog\n")
    assert evaluate(root / "run", "--data", new, "--split", "all")[1]["mean_iu"] < 0.9


def test_a_class_that_the_data_lack_is_no_error_and_one_that_the_network_lacks_is(
    root: Path, tmp_path: Path, evaluate: Evaluate
) -> None:
    new = copy_of(root / "own", tmp_path / "new", [0, 1, 255], "ground\ncat\n")
    done, scored, _ = evaluate(root / "run", "--data", new, "--split", "all")
    assert done == 0 and scored["iu"] == {"ground": 1.0, "cat": 1.0, "dog": None}
    (new / "classes.txt").write_text("ground\ncow\n")
    done, _, said = evaluate(root / "run", "--data", new, "--split", "all")
    assert done == 1 and "a class that the network does not know: cow" in said
    assert "--set data.classes=ground,void" in said
    (new / "classes.txt").unlink()
    done, _, said = evaluate(root / "run", "--data", new, "--split", "all")
    assert done == 1 and "class 0, class 1" in said and "data.classes=ground,cat,dog" in said
    names = "data.classes=ground,cat,dog"
    done, scored, _ = evaluate(root / "run", "--data", new, "--split", "all", "--set", names)
    assert done == 0 and scored["iu"]["ground"] == 1


def test_a_score_of_drawn_photos_says_how_all_are_scored(
    root: Path, evaluate: Evaluate, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder that was never trained on has nothing to keep apart, and its owner wants it all."""
    for split, drawn in (("test", True), ("val", True), ("all", False)):
        assert (
            main(["evaluate", str(root / "run"), "--data", str(root / "own"), "--split", split])
            == 0
        )
        said = capsys.readouterr().out
        assert ("--split all scores every one" in said.splitlines()[0]) == drawn


def test_what_the_recipe_in_a_file_asks_for_in_vain_is_told_with_the_file(
    root: Path, evaluate: Evaluate
) -> None:
    save(root / "small", models.load(root / "run" / "best.safetensors")[0], {"longest_side": 40})
    for split in ("nowhere.txt", "../secret"):
        done, _, said = evaluate(root / "small", "--data", root / "own", "--split", split)
        assert done == 1 and str(root / "small") in said and split in said


def test_scores_of_shrunk_photos_say_so(root: Path, evaluate: Evaluate) -> None:
    save(root / "small", models.load(root / "run" / "best.safetensors")[0], {"longest_side": 40})
    _, scored, _ = evaluate(root / "small", "--data", root / "own", "--split", "all")
    assert scored["note"] == "photos above 40 pixels were shrunk to it, and scored at that size"
    assert np.sum(scored["confusion"]) == 12 * 40 * round(50 * 40 / 60)
    own_size = ("--set", "data.longest_side=0")
    _, scored, _ = evaluate(root / "small", "--data", root / "own", "--split", "all", *own_size)
    assert scored["note"] == "photos were scored at their own size"
    assert np.sum(scored["confusion"]) == 12 * 60 * 50
    # The same labels as `predict` gives at that size.
    predictor = Predictor.load(root / "small")
    right = [np.array(Image.open(p)) == predictor.label(read_image(root / "own/images" / p.name))
             .numpy() for p in (root / "own" / "masks").iterdir()]  # fmt: skip
    assert scored["pixel_accuracy"] == pytest.approx(np.mean(right))


def test_tasks_are_matched_by_name_too() -> None:
    class Two:
        classes = {"what": ("tree", "sky"), "how": ("up", "down")}  # noqa: RUF012
        ignore_index = 255

        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> tuple[Any, Any]:
            labels = torch.tensor([[0, 1, 255]], dtype=torch.uint8)
            return torch.zeros(3, 1, 3), {"what": labels, "how": labels}

    matched = Matched(Two(), {"what": ("sky", "tree"), "how": ("up", "down", "left")})
    _, target = matched[0]
    assert target["what"].tolist() == [[1, 0, 255]] and target["how"].tolist() == [[0, 1, 255]]
    with pytest.raises(ValueError, match="trained for one task, the data have the tasks what, how"):
        Matched(Two(), {"labels": ("sky", "tree")})


def test_the_record_of_a_run_says_it_too_and_so_does_its_card(
    root: Path, tmp_path: Path, evaluate: Evaluate, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--data", str(root / "own"), "--out", str(tmp_path / "run"), "--device", "cpu"]
    settings = ["--set", "data.longest_side=40", "--set", "baselines=false", "--smoke"]
    weights = ["--weights", str(root / "run" / "best.safetensors")]
    capsys.readouterr()
    assert main(["train", "folder-tiny", *arguments, *settings, *weights]) == 0
    assert "has no place for --weights; they are left aside" in capsys.readouterr().err
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    said = "photos above 40 pixels were shrunk to it, and scored at that size"
    assert record["val"]["note"] == record["test"]["note"] == said
    assert f"P{said[1:]}." in (tmp_path / "run" / "model_card.md").read_text()
    assert evaluate(tmp_path / "run", "--data", root / "own")[1] == record["test"]


def test_training_goes_on_from_a_network_of_other_classes_and_says_what_it_kept(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = copy_of(root / "own", tmp_path / "new", [0, 1, 2], "dog\ncow\nground\n")
    capsys.readouterr()
    settings = ["baselines=false", "epochs=1", "data.epoch_images=8", "data.crop=32,32"]
    assert main(["train", "folder-tiny", "--data", str(new), "--out", str(tmp_path / "run"),
                 "--weights", str(root / "run"), "--device", "cpu",
                 *(part for text in settings for part in ("--set", text))]) == 0  # fmt: skip
    said = "was trained on other classes. Their scores: kept: dog, ground; new: cow; gone: cat"
    assert said in capsys.readouterr().out
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert any(said in note for note in record["notes"])
    assert record["train"]["weights"]["kind"] == "network"


def test_the_largest_score_of_several_sizes_labels_in_evaluate_and_in_predict(
    root: Path, evaluate: Evaluate, tmp_path: Path
) -> None:
    """Against the sizes' scores, brought to the picture's size and compared by hand."""
    network, _ = models.load(root / "run" / "best.safetensors")
    photo = root / "own" / "images" / "3.png"

    def by_hand(path: Path) -> torch.Tensor:
        found = []
        for size in ((50, 60), (25, 30)):
            pixels = network.preprocess(read_image(path)[None])
            seen = interpolate(pixels, size, mode="bilinear", antialias=True)
            found.append(interpolate(network(seen), (50, 60), mode="bilinear", antialias=True)[0])
        return torch.maximum(*found).argmax(0)

    given = ["--scales", "1,0.5", "--combine", "max"]
    with torch.no_grad():
        labels = {path: by_hand(path) for path in (root / "own" / "images").iterdir()}
    right = [
        labels[path].numpy() == np.array(Image.open(root / "own" / "masks" / path.name))
        for path in labels
    ]
    data = ["--data", root / "own", "--split", "all"]
    code, found, _ = evaluate(root / "run", *data, *given)
    assert code == 0 and found["tta"] == {"scales": [1.0, 0.5], "flip": False, "combine": "max"}
    assert found["pixel_accuracy"] == pytest.approx(np.mean(right), abs=1e-3)  # ties by rounding
    _, mean, _ = evaluate(root / "run", *data, *given[:2])
    assert mean["tta"]["combine"] == "mean"
    assert abs(mean["pixel_accuracy"] - found["pixel_accuracy"]) > 2e-3

    assert main(["predict", str(root / "run"), str(photo), "--out", str(tmp_path), *given]) == 0
    written = np.array(Image.open(tmp_path / "3.png"))
    assert (written == labels[photo].numpy()).mean() > 0.999
