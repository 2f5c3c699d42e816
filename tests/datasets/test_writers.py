"""Generated scenes in the official layouts, read back by the readers of the real data sets."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
from PIL import Image
from scipy import ndimage

from fcn_tutorial.datasets import (
    SBD,
    CamVid,
    NYUDv2,
    Scenes,
    SIFTFlow,
    VOCPlusSBD,
    VOCSegmentation,
    checking,
    leakage,
    sources,
    writers,
)
from fcn_tutorial.datasets.rooms import Rooms, render_room
from fcn_tutorial.datasets.scenes import Scene, render_scene
from fcn_tutorial.datasets.writers import _common, nyud

# isort: split
from fcn_tutorial.vision import datasets as reference

#: As the registry has them; `voc` writes three of the others together.
WRITERS = {s.name: s.writer for s in sources.SOURCES.values() if s.writer and s.name != "voc"}
N, SIZE, SEED = 5, (96, 128), 3
OBJECTS = {"car": "car", "person": "person", "tree": "potted plant", "sign": "tv/monitor"}
VOC = dict.fromkeys(Scenes.classes, "background") | OBJECTS
CAMVID = {c: c for c in Scenes.classes} | {"grass": "tree", "person": "pedestrian", "water": None}
SIFT_FLOW = {c: c for c in Scenes.classes} | {"pavement": "sidewalk", "water": "river"}
GEOMETRIC = dict.fromkeys(Scenes.classes, "vertical") | {
    "sky": "sky", "road": "horizontal", "pavement": "horizontal", "grass": "horizontal",
    "water": "horizontal",
}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every data set, as FCN_DATA has them."""
    root = tmp_path_factory.mktemp("data")
    for write in WRITERS.values():
        write(root, n=N, size=SIZE, seed=SEED)
    return root


def checked(name: str, folder: Path) -> checking.Report:
    source = sources.get(name)
    return checking.check(source, source.settings(), folder)


def scene(split: str, number: int) -> Scene:
    return render_scene(SEED, split, number, SIZE)


def expected(
    labels: np.ndarray, names: dict[str, Any], classes: tuple[str, ...], border: bool = True
) -> np.ndarray:
    """Labels by name; void, one pixel wide, where two names meet, in the class listed first.

    `names` has the rendered classes in their order, each with its name among `classes`.
    """
    named = np.array([255 if name is None else classes.index(name) for name in names.values()])
    mask = named[labels]
    if border:
        last = {name: i for i, name in enumerate(names.values())}
        rank = np.array([last[name] for name in names.values()])[labels]
        cross = ndimage.generate_binary_structure(2, 1)
        mask[ndimage.maximum_filter(rank, footprint=cross, mode="nearest") > rank] = 255
    return mask


def pixels(item: Any) -> np.ndarray:
    return np.asarray(item).transpose(1, 2, 0)


def is_jpeg_of(file: Path, image: Any, rendered: np.ndarray) -> bool:
    """The reader's pixels are exactly Pillow's, and the picture is the rendered one."""
    stored = Image.open(file)
    decoded = np.array(stored)
    lost = np.abs(decoded.astype(int) - rendered).mean()
    return stored.format == "JPEG" and np.array_equal(decoded, pixels(image)) and lost < 12


@pytest.mark.parametrize("year", ["2011", "2012"])
@pytest.mark.parametrize("split", ["train", "val"])
def test_voc_is_read_back_pixel_for_pixel(root: Path, year: str, split: str) -> None:
    data = VOCSegmentation(root, split, year)
    assert len(data) == N
    for number, ((image, mask), (file, label)) in enumerate(zip(data, data.files, strict=True)):
        rendered = scene(split, number)
        want = expected(rendered.labels, VOC, VOCSegmentation.classes)
        np.testing.assert_array_equal(np.asarray(mask), want)
        assert is_jpeg_of(file, image, rendered.pixels)
        stored = Image.open(label)
        assert stored.mode == "P"
        colours = np.array(stored.getpalette()).reshape(-1, 3)
        assert tuple(map(tuple, colours[:21])) == VOCSegmentation.palette
        assert tuple(colours[255]) == (224, 224, 192)  # VOC's cream
    trainval = VOCSegmentation(root, "trainval", year)
    assert len(trainval) == 2 * N and set(data.files) < set(trainval.files)


def test_torchvision_reads_voc_and_sbd_alike(root: Path) -> None:
    theirs = reference.VOCSegmentation(str(root), "2012", "val")
    ours = VOCSegmentation(root, "val", "2012")
    for (image, mask), (photo, label) in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(pixels(image), np.array(photo))
        np.testing.assert_array_equal(np.asarray(mask), np.array(label))
    theirs = reference.SBDataset(str(root / "SBD"), "train", "segmentation")
    for (image, mask), (photo, label) in zip(SBD(root / "SBD"), theirs, strict=True):
        np.testing.assert_array_equal(pixels(image), np.array(photo))
        np.testing.assert_array_equal(np.asarray(mask), np.array(label))


def test_sbd_is_read_back_pixel_for_pixel_and_has_no_void(root: Path) -> None:
    seen = 0
    splits = {"2007": "train", "2008": "val", "2009": "test"}
    for split, count in (("train", 2 * N), ("val", N)):
        data = SBD(root / "SBD", split)
        assert len(data) == count
        for (image, mask), (file, _) in zip(data, data.files, strict=True):
            year, number = file.stem.split("_")
            rendered = scene(splits[year], int(number))
            want = expected(rendered.labels, VOC, SBD.classes, border=False)
            np.testing.assert_array_equal(np.asarray(mask), want)
            assert is_jpeg_of(file, image, rendered.pixels)
            seen += 1
    assert seen == 3 * N


def test_sbd_draws_the_boundaries_of_each_class(root: Path) -> None:
    data = reference.SBDataset(str(root / "SBD"), "val", "boundaries")
    segmentations = SBD(root / "SBD", "val")
    for (_, drawn), (_, mask) in zip(data, segmentations, strict=True):
        assert drawn.shape == (20, *SIZE)
        for number in range(1, 21):
            inside = np.asarray(mask) == number
            inner = ndimage.binary_erosion(inside, border_value=1)
            np.testing.assert_array_equal(drawn[number - 1] > 0, inside & ~inner)
    assert sum(drawn.any() for _, drawn in data) > 2


def test_sbd_trains_on_images_of_voc_val_as_in_reality(root: Path) -> None:
    """One of each three: scene 1 and 4 of the five."""
    trained, scored = SBD(root / "SBD", "train"), VOCSegmentation(root, "val", "2011")
    found = leakage.report(trained, scored)
    assert [o.evaluation.stem for o in found.overlaps] == ["2008_000001", "2008_000004"]
    assert all(o.tests == ("name", "pixels", "likeness") for o in found.overlaps)
    clean = VOCSegmentation(root, "seg11valid", "2011")
    assert [f.stem for f, _ in clean.files] == ["2008_000000", "2008_000002", "2008_000003"]
    leakage.report(trained, clean).assert_disjoint()
    assert len(VOCPlusSBD(root, "train")) == 2 * N and len(VOCPlusSBD(root, "val")) == 3
    augmented = VOCPlusSBD(root, "trainaug")
    assert len(augmented) == 2 * N  # train, and what VOC does not label
    leakage.report(augmented, VOCSegmentation(root, "val")).assert_disjoint()


def test_one_picture_is_the_same_file_in_voc_of_both_years_and_in_sbd(root: Path) -> None:
    name = "2008_000001.jpg"
    years = [(root / f"VOCdevkit/VOC{year}/JPEGImages" / name) for year in ("2011", "2012")]
    assert len({path.read_bytes() for path in [*years, root / "SBD" / "img" / name]}) == 1


@pytest.mark.parametrize("split", CamVid.counts)
def test_camvid_is_read_back_pixel_for_pixel(root: Path, split: str) -> None:
    data = CamVid(root / "CamVid", split)
    assert len(data) == N
    for number, (image, mask) in enumerate(data):
        rendered = scene(split, number)
        np.testing.assert_array_equal(pixels(image), rendered.pixels)
        want = expected(rendered.labels, CAMVID, CamVid.classes)
        np.testing.assert_array_equal(np.asarray(mask), want)
        stored = np.array(Image.open(data.files[number][1]))
        np.testing.assert_array_equal(stored, np.where(want == 255, 11, want))
    assert (root / "CamVid" / f"{split}.txt").read_text().startswith(f"/SegNet/CamVid/{split}/")


@pytest.mark.parametrize(("split", "origin"), [("trainval", "train"), ("test", "test")])
def test_sift_flow_is_read_back_pixel_for_pixel(root: Path, split: str, origin: str) -> None:
    folder = root / "SiftFlowDataset"
    data = SIFTFlow(folder, split, "both")
    assert data.names == [f"street_{origin}{number}" for number in range(N)]
    photos = next((folder / "Images").iterdir())
    for number, (image, masks) in enumerate(data):
        rendered = scene(origin, number)
        for task, names in (("semantic", SIFT_FLOW), ("geometric", GEOMETRIC)):
            want = expected(rendered.labels, names, data.classes[task])
            np.testing.assert_array_equal(np.asarray(masks[task]), want)
        assert is_jpeg_of(photos / f"{data.names[number]}.jpg", image, rendered.pixels)


def test_sift_flow_has_the_two_photos_without_labels(root: Path) -> None:
    folder = root / "SiftFlowDataset"
    assert len(list(folder.glob("Images/*/*.jpg"))) == 2 * N + 2
    for name in SIFTFlow.unannotated:
        (semantic,) = folder.glob(f"SemanticLabels/*/{name}.mat")
        (geometric,) = folder.glob(f"GeoLabels/*/{name}.mat")
        semantic, geometric = (scipy.io.loadmat(file)["S"] for file in (semantic, geometric))
        assert semantic.dtype == np.uint8 and (semantic == 0).all()
        assert geometric.dtype == np.int16 and (geometric == -1).all()


FIRST = {"train": 0, "val": 1, "test": 2}


@pytest.mark.parametrize("split", FIRST)
def test_nyud_is_read_back_pixel_for_pixel(root: Path, split: str) -> None:
    data = NYUDv2(root / "nyud", split, "rgbd")
    assert data.frames == [3 * number + FIRST[split] for number in range(N)]
    camera = NYUDv2.camera.scaled(SIZE[0] / 480, SIZE[1] / 640)
    for number, (parts, mask) in enumerate(data):
        rendered = render_room(SEED, split, number, SIZE, camera)
        np.testing.assert_array_equal(pixels(parts["rgb"]), rendered.pixels)
        want = expected(rendered.labels, {c: c for c in Rooms.classes}, NYUDv2.classes)
        np.testing.assert_array_equal(np.asarray(mask), want)
        np.testing.assert_array_equal(np.asarray(parts["depth"])[0], rendered.depth)


def test_the_large_file_of_nyud_is_as_matlab_writes_it(root: Path) -> None:
    path = root / "nyud" / "nyu_depth_v2_labeled.mat"
    with pytest.raises(NotImplementedError, match="HDF"):  # SciPy knows it for MATLAB 7.3
        scipy.io.loadmat(path)
    with h5py.File(path) as file:
        assert file["images"].shape == (3 * N, 3, *SIZE[::-1])
        labels, raw, depths = (file[name][()] for name in ("labels", "rawDepths", "depths"))
    assert labels.dtype == np.uint16 and len(np.unique(labels)) > 40 and labels.max() <= 894
    classes = scipy.io.loadmat(root / "nyud" / "classMapping40.mat")["mapClass"]
    assert classes.shape == (1, 894) and set(classes.ravel()) == set(range(1, 41))
    assert (raw[raw > 0] == depths[raw > 0]).all() and (depths > 0).all()
    assert 0.01 < (raw == 0).mean() < 0.3


def test_nyud_without_lists_has_the_splits_of_splits_mat(root: Path, tmp_path: Path) -> None:
    for name in ("nyu_depth_v2_labeled.mat", "splits.mat", "classMapping40.mat"):
        (tmp_path / name).symlink_to(root / "nyud" / name)
    frames = {split: NYUDv2(tmp_path, split).frames for split in ("train", "test")}
    assert frames["train"] == [f for f in range(3 * N) if f % 3 < 2]
    assert frames["test"] == [f for f in range(3 * N) if f % 3 == 2]


def test_hha_of_generated_nyud_finds_the_floor(tmp_path: Path) -> None:
    """With the reader's own camera and its own estimate of gravity, which may be a degree off."""
    heights, angles = [], []
    for parts, mask in NYUDv2(writers.write_nyud(tmp_path, 4, (192, 256)), "test", "rgb-hha"):
        floor = np.asarray(mask) == NYUDv2.classes.index("floor")
        _, height, angle = (np.asarray(channel)[floor] for channel in parts["hha"])
        heights.append(np.median(height))  # centimetres
        angles.append(np.median(angle) - 38.0)  # degrees
    assert len(heights) == 4 and max(heights) < 20 and max(angles) <= 2


# --- Folders ------------------------------------------------------------------------------------


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("name", WRITERS)
def test_the_same_arguments_give_the_same_bytes_on_another_day(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = WRITERS[name]
    for folder in ("a", "b"):
        write(tmp_path / folder, n=1, size=(48, 64), seed=1)
        monkeypatch.setattr("time.asctime", lambda *when: "Mon Jun  8 09:00:00 2015")
    write(tmp_path / "c", n=1, size=(48, 64), seed=2)
    first, second, other = (contents(tmp_path / folder) for folder in "abc")
    assert first == second and len(first) > 4
    assert first.keys() == other.keys() and first != other


@pytest.mark.parametrize("name", [*WRITERS, "voc"])
def test_the_check_accepts_what_is_generated_and_says_so(root: Path, name: str) -> None:
    report = checked(name, root)
    assert report.problems == ()
    assert any(writers.MARKER in note for note in report.notes)
    assert all(split.images for split in report.splits.values())


def test_without_its_marker_a_folder_must_have_the_published_counts(tmp_path: Path) -> None:
    folder = writers.write_camvid(tmp_path, 1, (32, 32))
    assert "not photographs" in (folder / writers.MARKER).read_text()
    (folder / writers.MARKER).unlink()
    problems = checked("camvid", tmp_path).problems
    assert problems[0] == "train: 1 image, published are 367" and len(problems) == 3


TARGETS = {
    "voc2011": "VOCdevkit/VOC2011",
    "voc2012": "VOCdevkit/VOC2012",
    "sbd": "SBD",
    "nyud": "nyud",
    "siftflow": "SiftFlowDataset",
    "camvid": "CamVid",
    "isbi-em": "ISBI-EM",
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_folder_that_is_not_empty_is_left_alone(name: str, tmp_path: Path) -> None:
    write: Callable[..., Path] = WRITERS[name]
    target = tmp_path / TARGETS[name]
    target.mkdir(parents=True)
    assert write(tmp_path, n=1, size=(48, 64)) == target  # empty: filled
    (target / "mine.txt").write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(FileExistsError, match=f"{target.name} is there already; name another"):
        write(tmp_path, n=1, size=(48, 64))
    assert contents(tmp_path) == before and [p.name for p in tmp_path.glob(".*")] == []


@pytest.mark.parametrize("name", WRITERS)
def test_a_writer_that_fails_leaves_nothing_behind(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def failing(render: Callable[..., Any]) -> Callable[..., Any]:
        def fail(*arguments: Any, **options: Any) -> Any:
            calls.append(arguments)
            if len(calls) > 2:
                raise OSError("disk full")
            return render(*arguments, **options)

        return fail

    monkeypatch.setattr(_common, "render_scene", failing(render_scene))
    monkeypatch.setattr(nyud, "render_room", failing(render_room))
    with pytest.raises(OSError, match="disk full"):
        WRITERS[name](tmp_path, n=3, size=(48, 64))
    assert len(calls) == 3 and list(tmp_path.rglob("*")) == []


def test_voc_with_sbd_is_written_together_or_not_at_all(tmp_path: Path) -> None:
    assert writers.write_voc(tmp_path / "a", 2, (32, 32), year="2011").name == "VOC2011"
    assert len(VOCSegmentation(tmp_path / "a", "seg11valid", "2011")) == 1
    (tmp_path / "b" / "SBD").mkdir(parents=True)
    (tmp_path / "b" / "SBD" / "train.txt").write_text("x")
    with pytest.raises(FileExistsError, match="SBD is there already"):
        writers.write_voc(tmp_path / "b", 2, (32, 32))
    assert not (tmp_path / "b" / "VOCdevkit").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "n=0: ask for at least one scene"),
        ({"size": (12, 16)}, r"size=\(12, 16\): give \(height, width\), both at least 32"),
        ({"seed": -1}, "seed=-1: use an integer from 0"),
    ],
)
@pytest.mark.parametrize("name", WRITERS)
def test_a_wrong_argument_is_named(
    name: str, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        WRITERS[name](tmp_path / "new", **options)
    assert list(tmp_path.rglob("*")) == []


def test_what_only_one_layout_refuses(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"size=\(96, 96\): NYUDv2's frames are 3:4"):
        writers.write_nyud(tmp_path, 1, (96, 96))
    with pytest.raises(ValueError, match="year='2010' is not one of 2011, 2012"):
        writers.write_voc(tmp_path, 1, (96, 96), year="2010")
