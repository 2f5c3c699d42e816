"""Somebody's own photos and masks: one command trains on them, or says what to do about them."""

import json
import shutil
import urllib.error
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from fcn_tutorial import models, training
from fcn_tutorial.cli import main
from fcn_tutorial.datasets import Scenes
from fcn_tutorial.datasets.loading import Augmented
from fcn_tutorial.datasets.sources.folder import FOLDER
from fcn_tutorial.predict import Predictor
from fcn_tutorial.training.recipes.recipe import FolderData
from fcn_tutorial.training.stream import EpochSampler

VOID_COLOUR = (255, 255, 255)
#: A network and windows fit for photos of 64 pixels: a few dozen steps in seconds.
SMALL = ["model.width=0.5", "data.crop=48,48", "data.scale=1,1", "data.jitter=0", "epochs=2"]


def write_photos(root: Path, count: int, size: tuple[int, int] = (64, 64)) -> Path:
    """`photos` and painted `masks` of generated scenes, and the map of the colours."""
    scenes = Scenes(n=count, size=size, seed=7)
    table = np.full((256, 3), VOID_COLOUR, np.uint8)
    table[: len(scenes.palette)] = scenes.palette
    for folder in ("photos", "masks"):
        (root / folder).mkdir(parents=True)
    for i in range(count):
        image, mask = scenes[i]
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(root / "photos" / f"{i:02}.png")
        Image.fromarray(table[mask.numpy()]).save(root / "masks" / f"{i:02}.png")
    named = [*zip(scenes.classes, scenes.palette, strict=True), ("void", VOID_COLOUR)]
    lines = [f"{name},{r},{g},{b}\n" for name, (r, g, b) in named]
    (root / "colours.csv").write_text("".join(lines))
    return root


def command(root: Path, *settings: str, images: str = "photos", masks: str = "masks") -> list[str]:
    given = [f"data.images={root / images}", f"data.masks={root / masks}"]
    if (root / "colours.csv").exists():
        given.append(f"data.colours={root / 'colours.csv'}")
    options = [part for setting in (*given, *settings) for part in ("--set", setting)]
    return ["train", "folder-tiny", "--out", str(root / "run"), "--device", "cpu", *options]


@pytest.fixture(scope="module")
def fifty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("fifty"), 50)


@pytest.fixture(scope="module")
def run(fifty: Path) -> Path:
    assert main(command(fifty, *SMALL)) == 0
    return fifty / "run"


@pytest.fixture
def few(tmp_path: Path) -> Path:
    return write_photos(tmp_path, 10)


# What one command does


def test_fifty_photos_train_with_one_command_and_it_learns(run: Path) -> None:
    record = json.loads((run / "record.json").read_text())
    counts = record["train"]["images"], record["val"]["images"], record["test"]["images"]
    assert sum(counts) == 50 and 25 <= counts[0] < 45 and min(counts) >= 2
    # 160 images an epoch, rounded up to whole passes, in batches of 8
    assert record["train"]["steps"] == 2 * (counts[0] * -(-160 // counts[0]) // 8)
    majority = record["baselines"]["majority"]["mean_iu"]
    assert record["test"]["mean_iu"] > majority + 0.05  # 0.15 and 0.02 when written


def test_the_record_and_the_weights_have_the_names_of_the_classes(run: Path) -> None:
    record = json.loads((run / "record.json").read_text())
    assert tuple(record["test"]["iu"]) == Scenes.classes
    _, card = models.load(run / "best.safetensors")
    assert card.classes == Scenes.classes and card.palette == Scenes.palette
    assert card.dataset == "folder" and record["recipe"] == "folder-tiny"


def test_the_run_evaluates_and_predicts(
    run: Path, fifty: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = json.loads((run / "record.json").read_text())
    assert main(["evaluate", str(run), "--device", "cpu"]) == 0
    assert json.loads(capsys.readouterr().out.strip().splitlines()[-1]) == record["test"]
    photo = str(fifty / "photos" / "00.png")
    assert main(["predict", str(run), photo, "--out", str(tmp_path), "--device", "cpu"]) == 0
    labels = np.array(Image.open(tmp_path / "00.png"))
    assert labels.shape == (64, 64) and labels.max() < 12


def test_smoke_takes_the_same_path_in_two_steps(few: Path) -> None:
    assert main([*command(few), "--smoke"]) == 0
    record = json.loads((few / "run" / "record.json").read_text())
    assert record["train"]["steps"] == 2 and record["settings"]["data"]["epoch_images"] == 4


def test_ten_photos_without_a_test_part_train_and_the_record_says_so(
    few: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [*SMALL, "model.width=0.125", "epochs=1", "data.test_fraction=0", "data.crop=80,48"]
    assert main(command(few, *settings)) == 0
    record = json.loads((few / "run" / "record.json").read_text())
    assert record["test"] is None and record["train"]["images"] + record["val"]["images"] == 10
    assert record["train"]["steps"] >= 20
    assert record["notes"][0].startswith("no test split")
    assert "data.crop=80,48 is larger than the photos: 64,48 was used" in record["notes"]
    assert record["baselines"]["majority"]["split"] == "val"
    assert "note: no test split" in capsys.readouterr().out
    assert main(["evaluate", str(few / "run")]) == 1
    assert "there is no split 'test', only train and val" in capsys.readouterr().err
    assert main(["evaluate", str(few / "run"), "--split", "val"]) == 0


def test_one_folder_of_images_and_masks_is_named_once(few: Path) -> None:
    (few / "photos").rename(few / "images")
    arguments = ["train", "folder", "--smoke", "--data", str(few), "--out", str(few / "run")]
    assert main([*arguments, "--set", f"data.colours={few / 'colours.csv'}"]) == 0


def test_pretrained_weights_are_fine_tuned(few: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    trunk = models.backbones.trunks.build(models.backbones.trunks.PLANS["mobilenet_v2"], 1, "same")
    save_file(trunk.state_dict(), tmp_path / "trunk.safetensors")
    settings = ["model.backbone=mobilenet_v2", "data.crop=32,32", "data.epoch_images=2", "epochs=1",
                "data.train_images=2", "data.test_images=1", "batch=2", "optimiser.trunk_lr=0",
                "baselines=false"]  # fmt: skip
    assert main([*command(few, *settings), "--weights", str(tmp_path / "trunk.safetensors")]) == 0
    tuned, _ = models.load(few / "run" / "best.safetensors")
    kernels = next(tuned.backbone.parameters())  # the trunk's rate was 0
    assert torch.equal(kernels, next(trunk.parameters()))


@pytest.mark.parametrize("there", [False, True])
def test_the_trunk_is_pretrained_where_its_weights_can_be_had(
    there: bool,
    few: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(*_: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    if there:
        torch.manual_seed(1)
        plans = models.backbones.trunks
        trunk = plans.build(plans.PLANS["mobilenet_v2"], 1, "same").state_dict()
        (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
        torch.save(trunk, tmp_path / "hub" / "checkpoints" / "mobilenet_v2-b0353104.pth")
    small = ["data.crop=32,32", "data.epoch_images=2", "epochs=1", "data.train_images=2",
             "data.test_images=1", "batch=2", "baselines=false"]  # fmt: skip
    _, _, *options = command(few, *small)
    assert main(["train", "folder", *options]) == 0
    record = json.loads((few / "run" / "record.json").read_text())
    assert record["recipe"] == ("folder" if there else "folder-tiny")
    assert record["train"]["weights"]["kind"] == ("trunk" if there else "random")
    said = capsys.readouterr().err
    assert ("cannot be fetched (no network); folder-tiny is trained instead" in said) != there


# How photos are parted, shrunk and repeated


def test_lists_part_the_folder(few: Path) -> None:
    parts = {"train": ["00", "03", "05"], "val": ["01.png"], "test": ["09"]}
    for split, names in parts.items():
        (few / f"{split}.txt").write_text("\n".join(names))
    settings = [f"data.{split}_list={few / split}.txt" for split in parts]
    recipe, _ = training.override(training.get("folder-tiny"), [*_settings(few), *settings])
    assert [len(training.open_split(recipe, split, None)) for split in parts] == [3, 1, 1]
    photo, _ = training.open_split(recipe, "test", None)[0]
    stored = np.array(Image.open(few / "photos" / "09.png"))
    assert np.array_equal(photo.permute(1, 2, 0).numpy(), stored)
    without, _ = training.override(training.get("folder-tiny"), [*_settings(few), *settings[:2]])
    assert FOLDER.splits(without.data) == ("train", "val")


def test_the_parts_do_not_depend_on_the_seed_of_the_run(few: Path) -> None:
    recipe, _ = training.override(training.get("folder-tiny"), _settings(few))
    drawn = [FOLDER.read(recipe.data, "val", None).files for _ in range(2)]
    other, _ = training.override(recipe, ["data.split_seed=5", "data.val_fraction=0.4"])
    assert drawn[0] == drawn[1] != FOLDER.read(other.data, "val", None).files


def test_photos_that_two_splits_share_are_noted(few: Path) -> None:
    recipe, _ = training.override(training.get("folder-tiny"), _settings(few))
    opened = {s: training.open_split(recipe, s, None) for s in ("train", "val", "test")}
    assert not any("share" in note for note in FOLDER.notes(recipe.data, opened))
    opened["val"] = opened["train"]
    found = FOLDER.notes(recipe.data, opened)
    assert f"train and val share {len(opened['train'])} photos" in " ".join(found)


def test_large_photos_are_shrunk_for_training_and_labels_come_back_at_their_size(
    tmp_path: Path,
) -> None:
    root = write_photos(tmp_path, 4, size=(60, 90))
    recipe, _ = training.override(training.get("folder-tiny"), [*_settings(root), *SHRUNK])
    dataset = training.open_split(recipe, "train", None)
    image, mask = dataset[0]
    assert image.shape == (3, 30, 45) and mask.shape == (30, 45)
    model = models.FCN("tiny", 12, width=0.25).eval()
    torch.manual_seed(0)
    for layer in (model.score_fr, model.score_pool4, model.score_pool3):
        torch.nn.init.normal_(layer.weight)
    card = models.Card.of(
        Scenes.classes, Scenes.palette, details={"recipe": {"data": {"longest_side": 45}}}
    )
    path, _ = FOLDER.read(recipe.data, "train", None).files[0]
    photo = torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)
    models.save(model, card, tmp_path / "net.safetensors")
    labels = Predictor.load(tmp_path / "net.safetensors").label(photo)
    small = model.predict(image.as_subclass(torch.Tensor))
    assert labels.shape == (60, 90) and small.unique().numel() > 1
    assert torch.equal(labels, small.repeat_interleave(2, 0).repeat_interleave(2, 1))
    assert torch.equal(Predictor(model, card).label(photo), model.predict(photo))


SHRUNK = ["data.longest_side=45", "data.val_fraction=0.25", "data.test_fraction=0"]


@pytest.mark.parametrize(("images", "expected"), [(7, 161), (40, 160), (159, 318), (160, 160),
                                                  (500, 500), (1, 160)])  # fmt: skip
def test_few_photos_are_shown_again_in_whole_passes(images: int, expected: int) -> None:
    spec = FolderData("folder", (8, 8))
    assert FOLDER.epoch_images(spec, images) == expected
    sampler = EpochSampler(expected, 8, seed=0)
    shown = [index % images for batch in sampler for _, index in batch]
    counts = np.bincount(shown, minlength=images)
    assert counts.max() - counts.min() <= (1 if images > 8 or expected % 8 == 0 else 8)


def test_a_photo_shown_again_is_augmented_anew() -> None:
    items = [(torch.full((3, 4, 4), i, dtype=torch.uint8), torch.zeros(4, 4)) for i in range(3)]
    augmented = Augmented(items, lambda image, mask: (image + torch.rand(()), mask), seed=0)
    first, again = augmented[0, 1][0], augmented[0, 4][0]
    assert first.floor().unique().tolist() == again.floor().unique().tolist() == [1]
    assert not torch.equal(first, again)


def _settings(root: Path) -> list[str]:
    return [f"data.images={root / 'photos'}", f"data.masks={root / 'masks'}",
            f"data.colours={root / 'colours.csv'}"]  # fmt: skip


# Wrong folders, and what the command says of them


def _no_photos(root: Path) -> list[str]:
    shutil.rmtree(root / "photos")
    return command(root)


def _no_masks_for_some(root: Path) -> list[str]:
    for stem in ("03", "04"):
        (root / "masks" / f"{stem}.png").unlink()
    return command(root)


def _other_names(root: Path) -> list[str]:
    for mask in sorted((root / "masks").iterdir()):
        mask.rename(mask.with_stem(mask.stem + "_mask"))
    return command(root)


def _other_sizes(root: Path) -> list[str]:
    mask = root / "masks" / "04.png"
    Image.open(mask).resize((32, 32), Image.Resampling.NEAREST).save(mask)
    return command(root)


def _unknown_colour(root: Path) -> list[str]:
    text = (root / "colours.csv").read_text().splitlines()
    (root / "colours.csv").write_text("\n".join(text[1:]))  # without the sky
    return command(root)


def _no_colour_map(root: Path) -> list[str]:
    (root / "colours.csv").unlink()
    return command(root)


def _jpeg_masks(root: Path) -> list[str]:
    for mask in sorted((root / "masks").iterdir()):
        Image.open(mask).save(mask.with_suffix(".jpg"))
        mask.unlink()
    return command(root)


def _black_and_white(root: Path) -> list[str]:
    (root / "colours.csv").unlink()
    for mask in (root / "masks").iterdir():
        Image.fromarray(255 * np.eye(64, dtype=np.uint8)).save(mask)
    return command(root)


def _labels_outside(root: Path) -> list[str]:
    (root / "colours.csv").unlink()
    for mask in (root / "masks").iterdir():
        Image.fromarray(np.diag(np.arange(64, dtype=np.uint8) % 5)).save(mask)
    return command(root, "data.classes=ground,tree,house")


def _one_class(root: Path) -> list[str]:
    (root / "colours.csv").unlink()
    for mask in (root / "masks").iterdir():
        Image.fromarray(255 * np.eye(64, dtype=np.uint8)).save(mask)
    (root / "names.txt").write_text("cat\n")
    return command(root, f"data.classes={root / 'names.txt'}")


def _truncated(root: Path) -> list[str]:
    photo = root / "photos" / "05.png"
    photo.write_bytes(photo.read_bytes()[:2000])
    return command(root)


def _one_photo(root: Path) -> list[str]:
    for i in range(1, 10):
        (root / "photos" / f"{i:02}.png").unlink()
        (root / "masks" / f"{i:02}.png").unlink()
    return command(root)


def _nothing_named(root: Path) -> list[str]:
    return ["train", "folder-tiny", "--out", str(root / "run")]


def _half_a_list(root: Path) -> list[str]:
    (root / "train.txt").write_text("00\n01\n")
    return command(root, f"data.train_list={root / 'train.txt'}")


def _void_throughout(root: Path) -> list[str]:
    for mask in (root / "masks").iterdir():
        Image.new("RGB", (64, 64), VOID_COLOUR).save(mask)
    return command(root)


def _bare_setting(root: Path) -> list[str]:
    return command(root, "mask_suffix=_mask")


WRONG: list[tuple[Callable[[Path], list[str]], str, str]] = [
    (_no_photos, "photos: no such folder", ""),
    (_no_masks_for_some, "2 of 10 images have no mask", "add what is missing"),
    (_other_names, "The masks' names end in '_mask'", "give --set data.mask_suffix=_mask"),
    (_other_sizes, "04.png is 32×32, but", "export the mask at the image's size"),
    (_unknown_colour, "have colours that the map lacks", "Add them to colours"),
    (_no_colour_map, "holds colours", "a CSV file of lines name,r,g,b"),
    (_jpeg_masks, "masks must not be JPEG", "Export them again as PNG"),
    (_black_and_white, "the masks hold only 0 and 255", "give --set data.colours="),
    (_labels_outside, "labels 3, 4 on", "Name the missing classes"),
    (_one_class, "'cat' is the only class", "--set data.classes=background,cat"),
    (_truncated, "05.png: not a readable image", ""),
    (_one_photo, "of 1 pairs is empty", "change the fractions"),
    (_nothing_named, "needs your photos and their masks", "--set data.images=DIR"),
    (_half_a_list, "lists go together", "give one of photos to train on"),
    (_void_throughout, "has a labelled pixel", "check that they are the label images"),
    (_bare_setting, "no setting 'mask_suffix'", "did you mean data.mask_suffix"),
]


@pytest.fixture(scope="module")
def ten(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("ten") / "own", 10)


@pytest.mark.parametrize(
    ("build", "wrong", "remedy"), WRONG, ids=[b.__name__[1:] for b, *_ in WRONG]
)
def test_a_wrong_folder_gets_one_message_that_says_what_to_do(
    build: Callable[[Path], list[str]],
    wrong: str,
    remedy: str,
    ten: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(ten, tmp_path / "own")
    monkeypatch.setattr(training.loop, "start", lambda *_: pytest.fail("training began"))
    assert main(build(tmp_path / "own")) == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 1 and said[0].startswith("fcn-tutorial: "), said
    assert wrong in said[0] and remedy in said[0], said[0]
    assert not list((tmp_path / "own").glob("run/*"))
