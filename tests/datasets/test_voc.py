"""VOC, and VOC with SBD, on files the test writes; torchvision's reader is the oracle."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fcn_tutorial.datasets import SBD, VOCPlusSBD, VOCSegmentation
from fcn_tutorial.vision import datasets as reference
from tests.datasets.official import KNOWN_COLOURS, labels, write_sbd, write_voc

TRAIN_11, VAL_11 = ["a1", "a2", "a3"], ["b1", "b2", "b3", "b4"]
TRAIN_12, VAL_12 = [*TRAIN_11, "c1"], [*VAL_11, "d1"]
SBD_TRAIN, SBD_VAL = ["a1", "b2", "b4", "e1", "d1"], ["a2", "b1", "e1", "e2", "c1"]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("FCN_DATA", raising=False)
    for year, train, val in (("2011", TRAIN_11, VAL_11), ("2012", TRAIN_12, VAL_12)):
        write_voc(tmp_path, year, {"train": train, "val": val, "trainval": sorted(train + val)})
    write_sbd(tmp_path, {"train": SBD_TRAIN, "val": SBD_VAL})
    return tmp_path


def _stems(dataset: VOCSegmentation | VOCPlusSBD) -> list[str]:
    return [image.stem for image, _ in dataset.files]


@pytest.mark.parametrize("split", ["train", "val", "trainval"])
def test_items_are_those_of_torchvision(data: Path, split: str) -> None:
    dataset = VOCSegmentation(data, split)
    expected = reference.VOCSegmentation(data, "2012", split)
    assert len(dataset) == len(expected) > 0
    for (image, mask), (picture, labelled) in zip(
        (dataset[i] for i in range(len(dataset))), expected, strict=True
    ):
        assert np.array_equal(image.permute(1, 2, 0).numpy(), np.array(picture))
        assert np.array_equal(mask.numpy(), np.array(labelled))


def test_labels_are_what_was_written_void_included(data: Path) -> None:
    dataset = VOCSegmentation(data, "val", "2011")
    for i, name in enumerate(VAL_11):
        assert np.array_equal(dataset[i][1].numpy(), labels(name))
    assert (dataset[0][1] == dataset.ignore_index).any()


def test_palette_is_the_development_kits() -> None:
    assert VOCSegmentation.palette[:10] == tuple(KNOWN_COLOURS)
    assert len(set(VOCSegmentation.palette)) == len(VOCSegmentation.classes) == 21
    assert VOCSegmentation.palette[20] == (0, 64, 128)  # tv/monitor


def test_seg11valid_is_voc_2011_val_without_sbd_train(data: Path) -> None:
    assert _stems(VOCSegmentation(data, "seg11valid", "2011")) == ["b1", "b3"]
    assert _stems(VOCPlusSBD(data, "val")) == ["b1", "b3"]
    with pytest.raises(ValueError, match=r"year='2012': it is a part of VOC 2011"):
        VOCSegmentation(data, "seg11valid")


def test_the_papers_training_images_are_sbds(data: Path) -> None:
    train = VOCPlusSBD(data, "train")
    assert train.files == SBD(data / "SBD").files
    assert not set(_stems(train)) & set(_stems(VOCPlusSBD(data, "val")))


def test_trainaug_is_everything_but_voc_2012_val_with_vocs_labels_first(data: Path) -> None:
    dataset = VOCPlusSBD(data, "trainaug")
    assert _stems(dataset) == [*TRAIN_12, "e1", "e2"]
    endings = {image.stem: mask.suffix for image, mask in dataset.files}
    assert endings == dict.fromkeys(TRAIN_12, ".png") | {"e1": ".mat", "e2": ".mat"}
    for i, name in enumerate(_stems(dataset)):
        assert np.array_equal(dataset[i][1].numpy(), labels(name, void=name in TRAIN_12))


def test_root_is_any_of_the_natural_folders(data: Path) -> None:
    archive = data / "elsewhere" / "TrainVal"
    write_voc(archive, "2011", {"train": ["z1"]})
    for root, year, first in [
        (data, "2012", "a1"),
        (data / "VOCdevkit", "2011", "a1"),
        (data / "VOCdevkit" / "VOC2012", "2012", "a1"),
        (data / "VOCdevkit" / "VOC2012", "2011", "a1"),  # the one beside it
        (data / "elsewhere", "2011", "z1"),
    ]:
        dataset = VOCSegmentation(root, "train", year)
        assert _stems(dataset)[0] == first and dataset.root.name == f"VOC{year}"
    with pytest.raises(FileNotFoundError, match="no VOC 2012 data"):
        VOCSegmentation(data / "elsewhere", "train", "2012")


def test_sbd_is_found_beside_given_or_in_fcn_data(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = data / "far"
    (data / "SBD").rename(data / "kept")
    with pytest.raises(FileNotFoundError, match="give sbd_root"):
        VOCSegmentation(data, "seg11valid", "2011")
    given = VOCSegmentation(data, "seg11valid", "2011", sbd_root=data / "kept")
    assert _stems(given) == ["b1", "b3"]
    far.mkdir()
    (data / "kept").rename(far / "SBD")
    monkeypatch.setenv("FCN_DATA", str(far))
    assert _stems(VOCSegmentation(data, "seg11valid", "2011")) == ["b1", "b3"]


def test_transforms_see_image_and_mask_together_and_workers_can_take_the_data_set(
    data: Path,
) -> None:
    halve = VOCSegmentation(data, "train", transforms=_halve)
    image, mask = pickle.loads(pickle.dumps(halve))[0]
    assert image.shape == (3, 12, 32) and mask.shape == (12, 32)


def _halve(image: object, mask: object) -> tuple[object, object]:
    return image[:, ::2], mask[::2]  # type: ignore[index]


@pytest.mark.parametrize(
    "line",
    [
        "{}.jpg", "JPEGImages/{}.jpg", r"D:\VOC2012\JPEGImages\{}.jpg",
        "/JPEGImages/{}.jpg /SegmentationClassAug/{}.png",
        r"D:\VOC 2012\JPEGImages\{}.jpg D:\VOC 2012\SegmentationClassAug\{}.png",
    ],
)  # fmt: skip
def test_lists_with_folders_and_deeplabs_pairs_are_read(data: Path, line: str) -> None:
    voc = data / "VOCdevkit/VOC2012"
    listed = voc / "ImageSets/Segmentation/train.txt"
    names = listed.read_text().split()
    (voc / "SegmentationClassAug").mkdir()
    for name in names:  # other labels, to see which are read
        path = voc / "SegmentationClassAug" / f"{name}.png"
        Image.fromarray(np.full((24, 32), 3, np.uint8)).save(path)
    listed.write_text("\r\n".join(line.format(name, name) for name in names))
    dataset = VOCSegmentation(data, "train")
    assert _stems(dataset) == names
    assert bool((dataset[0][1] == 3).all()) == ("Aug" in line)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a1\n../../../secret\n", r"train\.txt: '../../../secret.jpg' is no path below"),
        (b"/etc/passwd\n", "is no path below"),
        (b"C:\\secret\n", "is no path below"),
        (b"a1\n\na1\n", r"train\.txt, line 3: a1 is on line 1 already"),
        (b"\n \n", r"train\.txt names no images"),
        (b"\xff\xfe\x00", r"train\.txt: not a readable UTF-8 list"),
        (b"a\x001\n", "is no path below"),
    ],
)
def test_wrong_lists_are_refused_by_name(data: Path, content: bytes, message: str) -> None:
    (data / "VOCdevkit/VOC2012/ImageSets/Segmentation/train.txt").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        VOCSegmentation(data, "train")


def test_missing_files_are_named_with_their_list(data: Path) -> None:
    voc = data / "VOCdevkit" / "VOC2012"
    (voc / "SegmentationClass" / "a2.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"a2\.png not found; .*train\.txt names it"):
        VOCSegmentation(data, "train")
    (voc / "ImageSets" / "Segmentation" / "val.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"val\.txt not found"):
        VOCSegmentation(data, "val")
    with pytest.raises(ValueError, match="split='test' is not one of train, val, trainval"):
        VOCSegmentation(data, "test")
    with pytest.raises(ValueError, match="year='2007' is not one of 2011, 2012"):
        VOCSegmentation(data, "train", "2007")


def test_a_label_no_class_has_is_refused(data: Path) -> None:
    path = data / "VOCdevkit/VOC2012/SegmentationClass/a1.png"
    Image.fromarray(np.full((24, 32), 21, np.uint8)).save(path)
    with pytest.raises(ValueError, match=r"a1\.png: label 21, expected 0–20 or 255"):
        VOCSegmentation(data, "train")[0]
    Image.fromarray(np.zeros((24, 31), np.uint8)).save(path)
    with pytest.raises(ValueError, match=r"a1\.png: \(24, 31\) labels for \(24, 32\) pixels of"):
        VOCSegmentation(data, "train")[0]
    Image.fromarray(np.zeros((24, 32, 3), np.uint8)).save(path)
    with pytest.raises(ValueError, match=r"a1\.png: .*mode RGB, expected a palette"):
        VOCSegmentation(data, "train")[0]
