"""Picture files in, label files out: whole or not at all, at the size of the picture."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

from fcn_tutorial import models, predict
from fcn_tutorial.cli import main
from fcn_tutorial.crf import DenseCRF
from fcn_tutorial.files import replacing
from fcn_tutorial.models import Card
from fcn_tutorial.predict import Predictor, find_images, write_predictions
from fcn_tutorial.training.records.card import model_card
from tests.models.networks import fcn
from tests.versions import exports

PATHS = ("TMP/precious", "../precious", "a/b", "a\\\\b", "..", ".", "", "C:precious", "a\0b")
RECORD = Path(__file__).parents[1] / "data" / "results" / "scenes" / "scenes-fcn8s-seed0.json"
COLOURS = ((10, 20, 30), (200, 0, 0), (0, 0, 200))


def saved(path: Path, **options: object) -> Path:
    """The file of a small network with random score layers."""
    torch.manual_seed(1)
    tasks = options.pop("tasks", 3)
    model = fcn("tiny", tasks, width=0.25, **options).eval()  # type: ignore[arg-type]
    torch.nn.init.normal_(model.score_fr.weight)
    count = model.num_classes
    card = Card.of([f"class{i}" for i in range(count)], (COLOURS * 3)[:count], "test", "none")
    models.save(model, card, path)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, size in (("a.png", (40, 60)), ("b.jpg", (33, 35)), ("c.bmp", (64, 48))):
        Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(folder / name)
    (folder / "notes.txt").write_text("not a picture")
    (folder / ".hidden.png").write_bytes(b"not looked at")
    (folder / "deeper").mkdir()
    shutil.copy(folder / "a.png", folder / "deeper" / "d.png")
    return folder


def test_files_folders_and_patterns_are_found_once_each(photos: Path) -> None:
    assert [p.name for p in find_images([photos])] == ["a.png", "b.jpg", "c.bmp"]
    assert [p.name for p in find_images([photos / "*.png"])] == ["a.png"]
    assert [p.name for p in find_images([photos / "**" / "*.png"])] == ["a.png", "d.png"]
    twice = find_images([photos / "c.bmp", photos, photos / "?.png"])
    assert [p.name for p in twice] == ["c.bmp", "a.png", "b.jpg"]


def test_what_is_not_there_is_named(photos: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.png not found"):
        find_images([photos / "gone.png"])
    (photos / "empty").mkdir()
    for path in (photos / "empty", photos / "*.webp"):
        with pytest.raises(ValueError, match="holds no pictures"):
            find_images([path])


def test_label_files_hold_what_the_network_says(photos: Path, tmp_path: Path) -> None:
    predictor = Predictor.load(saved(tmp_path / "net.safetensors"))
    images = find_images([photos])
    outcomes = [*write_predictions(predictor, images, tmp_path / "out", probabilities=True)]
    assert [outcome.image for outcome in outcomes] == images
    for image, outcome in zip(images, outcomes, strict=True):
        pixels = predict.read_image(image)
        wanted = predictor.label(pixels)
        assert isinstance(wanted, torch.Tensor)
        labels = Image.open(tmp_path / "out" / f"{image.stem}.png")
        assert labels.mode == "P" and labels.getpalette()[:9] == [v for c in COLOURS for v in c]
        assert np.array_equal(np.asarray(labels), wanted.numpy())
        shown = Image.open(tmp_path / "out" / f"{image.stem}-overlay.png")
        assert shown.size == Image.open(image).size and shown.mode == "RGB"
        archive = np.load(tmp_path / "out" / f"{image.stem}.npz")
        assert archive["probabilities"].dtype == np.float16
        assert archive["probabilities"].shape == (3, *wanted.shape)
        assert np.allclose(archive["probabilities"].astype(float).sum(0), 1, atol=2e-3)
        assert [*archive["classes"]] == ["class0", "class1", "class2"]
        assert all(file.is_file() for file in outcome.files)
    assert len([*(tmp_path / "out").iterdir()]) == 9


def test_tiles_change_nothing_in_the_files(photos: Path, tmp_path: Path) -> None:
    predictor = Predictor.load(saved(tmp_path / "net.safetensors"))
    for out, tile in (("whole", 0), ("tiled", 25)):
        settings = predictor.with_settings(tile=tile)
        assert all(
            o.error is None for o in write_predictions(settings, [photos / "a.png"], tmp_path / out)
        )
    one, other = (np.asarray(Image.open(tmp_path / o / "a.png")) for o in ("whole", "tiled"))
    assert (one != other).mean() < 1e-3  # ties broken by rounding at most


def test_tasks_have_files_of_their_own(photos: Path, tmp_path: Path) -> None:
    weights = saved(tmp_path / "net.safetensors", tasks={"semantic": 4, "geometric": 3})
    assert (
        main(
            [
                "predict",
                str(weights),
                str(photos / "a.png"),
                "--out",
                str(tmp_path / "o"),
                "--probabilities",
            ]
        )
        == 0
    )
    names = {path.name for path in (tmp_path / "o").iterdir()}
    assert names == {
        "a-semantic.png", "a-semantic-overlay.png", "a-geometric.png", "a-geometric-overlay.png",
        "a.npz",
    }  # fmt: skip
    archive = np.load(tmp_path / "o" / "a.npz")
    assert set(archive) == {"semantic", "semantic_classes", "geometric", "geometric_classes"}


def test_a_picture_that_cannot_be_read_is_named_and_the_others_go_on(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "b.jpg").write_bytes((photos / "b.jpg").read_bytes()[:200])
    weights = saved(tmp_path / "net.safetensors")
    assert main(["predict", str(weights), str(photos), "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr()
    assert "b.jpg" in said.err and "2 images labelled" in said.out
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"a.png", "a-overlay.png", "c.png", "c-overlay.png"}


def test_a_picture_that_has_gone_is_named_and_the_others_go_on(
    photos: Path, tmp_path: Path
) -> None:
    predictor = Predictor.load(saved(tmp_path / "net.safetensors"))
    gone = photos / "gone.png"
    there, missing = write_predictions(predictor, [photos / "a.png", gone], tmp_path / "out")
    assert there.error is None and len(there.files) == 2
    assert isinstance(missing.error, FileNotFoundError) and str(gone) in str(missing.error)


def test_pictures_of_one_name_and_written_over_inputs_are_refused(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = str(saved(tmp_path / "net.safetensors"))
    shutil.copy(photos / "a.png", photos / "deeper" / "a.png")
    pattern = str(photos / "**" / "*.png")
    assert main(["predict", weights, pattern, "--out", str(tmp_path / "out")]) == 1
    assert "two images are called 'a'" in capsys.readouterr().err
    before = (photos / "a.png").read_bytes()
    assert main(["predict", weights, str(photos / "a.png"), "--out", str(photos)]) == 1
    assert "is one of the images to label" in capsys.readouterr().err
    assert (photos / "a.png").read_bytes() == before and not (tmp_path / "out").exists()


def test_a_network_of_depth_does_not_label_photos(photos: Path, tmp_path: Path) -> None:
    weights = saved(tmp_path / "net.safetensors", extra_channels=1, preprocessing="nyud-rgbd")
    predictor = Predictor.load(weights)
    with pytest.raises(ValueError, match="an image file has colour only"):
        next(write_predictions(predictor, [photos / "a.png"], tmp_path / "out"))


def test_more_classes_than_a_label_picture_has_numbers_are_refused(
    photos: Path, tmp_path: Path
) -> None:
    for classes in (255, 256):
        torch.manual_seed(0)
        model = fcn("tiny", classes, width=0.25).eval()
        card = Card.of([f"class{i}" for i in range(classes)], [(1, 2, 3)] * classes)
        model.score_fr.bias.data[-1] = 1e3
        written = write_predictions(Predictor(model, card), [photos / "a.png"], tmp_path / "out")
        if classes == 255:
            next(written)
            with Image.open(tmp_path / "out" / "a.png") as labels:
                assert labels.getextrema() == (254, 254)
        else:
            with pytest.raises(
                ValueError, match="256 classes, and a label picture has numbers for"
            ):
                next(written)


@pytest.mark.skipif(sys.platform == "win32", reason="files are not held there")
def test_what_a_killed_command_left_is_removed_and_nothing_else(
    photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    code = (
        "import os, sys; from pathlib import Path; from fcn_tutorial.files import replacing\n"
        "with replacing(Path(sys.argv[1])) as p: p.write_text('half'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, out / "a.png"], check=False)
    (left,) = out.iterdir()
    others = {".partial.png", ".x.partial.png", ".0123456789abcdef.part", "a.partial.png"}
    for name in others:
        (out / name).write_text("mine")
    predictor = Predictor.load(saved(tmp_path / "net.safetensors"))
    with replacing(out / "b.png") as writing:  # as another process does
        assert len([*write_predictions(predictor, [photos / "a.png"], out)]) == 1
        assert writing.exists() and not left.exists()
    assert {path.name for path in out.iterdir()} == {*others, "a.png", "a-overlay.png"} | {"b.png"}


def test_an_interrupted_archive_leaves_no_half_file(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = Predictor.load(saved(tmp_path / "net.safetensors"))

    def fails(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(predict.zipfile.ZipFile, "open", fails)
    with pytest.raises(OSError, match=r"a\.npz: cannot be written .No space left"):
        next(write_predictions(predictor, [photos / "a.png"], tmp_path / "out", True))
    assert [*(tmp_path / "out").iterdir()] == []


@pytest.mark.parametrize("name", PATHS)
def test_a_weights_file_whose_task_is_a_path_is_refused(
    name: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = saved(tmp_path / "net.safetensors", tasks={"semantic": 4, "geometric": 3})
    with safe_open(weights, "pt") as file:
        told = file.metadata()
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    name = name.replace("TMP", str(tmp_path))
    described = json.loads(told["model"])
    described["num_classes"] = {name: 4, "geometric": 3}
    save_file(tensors, weights, {**told, "model": json.dumps(described)})
    precious = tmp_path / "precious.npy"
    precious.write_bytes(b"mine")
    out = tmp_path / "out"
    arguments = ["predict", weights, photos / "a.png", "--out", out, "--probabilities"]
    assert main([*map(str, arguments)]) == 1
    said = capsys.readouterr().err
    assert str(weights) in said and "is no plain name" in said and said.count("\n") == 1
    assert precious.read_bytes() == b"mine" and not out.exists()


def test_tasks_that_would_overwrite_each_other_in_the_archive_are_refused(
    photos: Path, tmp_path: Path
) -> None:
    weights = saved(tmp_path / "net.safetensors", tasks={"a": 4, "a_classes": 3})
    with pytest.raises(ValueError, match="would overwrite each other"):
        next(write_predictions(Predictor.load(weights), [photos / "a.png"], tmp_path / "o", True))
    assert not [*(tmp_path / "o").iterdir()]


@contextmanager
def full_after(limit: int) -> Iterator[None]:
    """No file may grow beyond so many bytes: the system says so as it says that a disk is full."""
    import resource  # not on Windows

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on the size of a file")
@pytest.mark.parametrize(
    ("verb", "limit"),
    [
        *[("predict", 5_000), ("predict", 90_000)],
        *[pytest.param(to, 60_000, marks=exports) for to in ("torch", "onnx")],
    ],
)
def test_a_full_disk_is_one_clear_error_and_leaves_nothing(
    verb: str, limit: int, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights, out = saved(tmp_path / "net.safetensors"), tmp_path / "out"
    out.mkdir()
    if verb == "predict":
        # 5 kB stop the arrays, 90 kB (of 3 × 400 × 600 × 2 bytes) what lies beside them.
        Image.new("RGB", (600, 400)).save(photos / "large.png")
        rest = ["predict", weights, photos / "large.png", "--out", out, "--probabilities"]
        name = out / "large.npz"
    else:
        if verb == "onnx":
            pytest.importorskip("onnxscript")
        name = out / ("net.onnx" if verb == "onnx" else "net.pt2")
        rest = ["export", weights, "--to", verb, "--size", "64x64", "--out", name]
    with full_after(limit):
        assert main([*map(str, rest)]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"fcn-tutorial: {name}: cannot be written (")
    assert said.count("\n") == 1 and not [*out.iterdir()]


def test_an_image_is_taken_in_every_form_that_images_come_in(photos: Path, tmp_path: Path) -> None:
    predictor = Predictor.load(str(saved(tmp_path / "net.safetensors")))
    path = photos / "a.png"
    wanted = predictor.label(predict.read_image(path))
    opened = Image.open(path)
    for form in (path, str(path), opened, opened.convert("RGBA"), np.asarray(opened)):
        labels = predictor.label(form)
        assert isinstance(labels, torch.Tensor) and torch.equal(labels, wanted)
    grey = opened.convert("L")
    levels = np.asarray(grey)
    assert torch.equal(predict.as_image(grey), predict.as_image(levels))
    assert torch.equal(predict.as_image(torch.from_numpy(levels.copy())), predict.as_image(levels))
    exif = Image.Exif()
    exif[0x0112] = 6
    opened.rotate(90, expand=True).save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as turned:
        assert torch.equal(predict.as_image(turned), predict.as_image(opened))


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), r"\(2, 3, 8, 8\).*a tensor \(3, H, W\)"),
        (torch.zeros(3, 8, 8), r"float32: expected a tensor \(3, H, W\) of uint8"),
        (np.zeros((3, 8, 8), np.uint8), r"expected an array \(H, W, 3\)"),
        (np.zeros((8, 8, 4), np.uint8), r"\(8, 8, 4\) of uint8: expected an array"),
        (Image.new("I;16", (8, 8)), "mode I;16: give one of 8 bits a channel"),
        ([1, 2], "type list: give a tensor, a NumPy array, a PIL image or the path"),
    ],
)
def test_what_is_no_image_is_said_in_one_sentence(image: Any, said: str, tmp_path: Path) -> None:
    predictor = Predictor.load(saved(tmp_path / "net.safetensors"))
    with pytest.raises(ValueError, match=said):
        predictor.label(image)
    if isinstance(image, torch.Tensor) and image.ndim == 4:
        with pytest.raises(ValueError, match=r"expected one image \(3, H, W\)"):
            predictor.model.predict(image)


@pytest.mark.parametrize("verb", ["predict", "evaluate", "export"])
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("last.pt", "last.pt: is a checkpoint that training goes on from"),
        ("trunk.pth", "trunk.pth: holds weights of a trunk and no network"),
        ("net.onnx", "net.onnx: is an exported network; give the best.safetensors"),
    ],
)
def test_another_file_of_a_network_is_told_from_it(
    verb: str, name: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / name
    torch.save({"model": {}}, path)
    rest = {
        "predict": [str(tmp_path), "--out", str(tmp_path / "out")],
        "evaluate": [],
        "export": ["--to", "torch", "--out", str(tmp_path / "net.pt2")],
    }[verb]
    assert main([verb, str(path), *rest]) == 1
    assert said in capsys.readouterr().err


def test_a_weights_file_has_the_mode_of_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "neighbour").touch()
    path = saved(tmp_path / "net.safetensors")
    assert path.stat().st_mode == (tmp_path / "neighbour").stat().st_mode


def test_the_snippet_of_the_model_card_runs(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = model_card(json.loads(RECORD.read_text(encoding="utf-8")))
    (snippet,) = re.findall(r"```python\n(.*?)```", card, re.S)
    saved(tmp_path / "best.safetensors")
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {"image": predict.read_image(photos / "a.png")}
    exec(snippet, found)
    assert found["labels"].shape == (40, 60) and found["labels"].dtype == torch.int64


def test_a_crf_refines_what_every_door_gives(photos: Path, tmp_path: Path) -> None:
    """The files hold the CRF of the network's own probabilities, and `label` agrees with them."""
    weights = saved(tmp_path / "net.safetensors")
    command = ["predict", str(weights), str(photos / "a.png"), "--crf", "--probabilities"]
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    plain = Predictor.load(weights)
    image = predict.read_image(photos / "a.png")
    ((_, before),) = plain.probabilities(image)
    expected = DenseCRF()(before.numpy(), image.numpy())
    with np.load(tmp_path / "out" / "a.npz") as stored:
        np.testing.assert_allclose(stored["probabilities"], expected, atol=1e-3)  # float16
    labels = np.asarray(Image.open(tmp_path / "out" / "a.png"))
    np.testing.assert_array_equal(labels, expected.argmax(0))
    refined = plain.with_settings(crf=DenseCRF())
    np.testing.assert_array_equal(np.asarray(refined.label(image)), labels)
    assert np.abs(expected - before.numpy()).max() > 0.05


def test_a_crf_sees_a_shrunk_picture_as_the_network_does(tmp_path: Path) -> None:
    refined = Predictor.load(saved(tmp_path / "net.safetensors")).with_settings(crf=DenseCRF())
    refined.model.longest_side = 40
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 60, 80), np.uint8))
    labels = refined.label(image)
    found = torch.empty(3, 60, 80)
    for part, values in refined.probabilities(image):
        found[part.slices] = values
    assert isinstance(labels, torch.Tensor) and torch.equal(found.argmax(0), labels)


def test_a_picture_too_large_for_a_crf_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fcn_tutorial.models.inference.LARGE", 40 * 40)
    refined = Predictor.load(saved(tmp_path / "net.safetensors")).with_settings(crf=DenseCRF())
    with pytest.raises(ValueError, match="40×48 pixels: the CRF takes 1600 at most"):
        refined.label(torch.zeros(3, 40, 48, dtype=torch.uint8))
