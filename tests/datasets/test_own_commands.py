"""`data check`, `data fix` and the report before training, on folders as strangers have them."""

import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fcn_tutorial import training
from fcn_tutorial.cli import main
from fcn_tutorial.datasets import Folder
from fcn_tutorial.datasets.sources.folder import FOLDER
from fcn_tutorial.files import number_of
from tests.datasets.test_own_masks import PAINT, discs, through_jpeg


def lay(root: Path, masks: list[Image.Image], ending: str = ".png") -> Path:
    generator = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for i, mask in enumerate(masks):
        pixels = generator.integers(0, 256, (mask.height, mask.width, 3), np.uint8)
        Image.fromarray(pixels).save(root / "images" / f"{i:02}.jpg")
        mask.save(root / "masks" / f"{i:02}{ending}")
    return root


def painted(count: int) -> list[Image.Image]:
    """RGBA as LabelMe's like write it: nothing is painted where alpha is 0."""
    masks = []
    for mask in discs((0, 1, 2, 3), count):
        labels = np.array(mask)
        masks.append(
            Image.fromarray(np.dstack([PAINT[labels], np.where(labels, 255, 0)]).astype(np.uint8))
        )
    return masks


@pytest.fixture(scope="module")
def paint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lay(tmp_path_factory.mktemp("paint") / "own", painted(12))


def test_check_counts_the_colours_and_writes_a_map_to_fill_in(
    paint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "own"
    shutil.copytree(paint, own)
    began = time.process_time()
    assert main(["data", "check", "folder", str(own)]) == 1
    assert (
        time.process_time() - began < 5
    )  # of it the import of torch, where this test is the first
    said = capsys.readouterr().out
    assert "(255, 0, 0)" in said and "holds colours" in said and "--set data.colours=FILE" in said
    assert f"written: {own / 'colours.csv'}" in said
    head, *rows = (own / "colours.csv").read_text().splitlines()
    assert head == "name,r,g,b,percent of pixels,masks"
    files = [np.array(Image.open(path).convert("RGB")) for path in (own / "masks").iterdir()]
    for row in rows:
        name, *rgb, share, masks = row.split(",")
        found = [(mask == np.array(rgb, int)).all(-1) for mask in files]
        assert name == "" and int(masks) == sum(bool(f.any()) for f in found)
        assert float(share) == pytest.approx(100 * np.mean(found), abs=6e-4)
    assert len(rows) == 4
    # Unfinished, it is told what is missing, and kept.
    assert main(["data", "check", "folder", str(own)]) == 1
    assert "line 2: 0,0,0 has no name yet" in capsys.readouterr().err
    names = iter(("ground", "cat", "dog", "void"))
    (own / "colours.csv").write_text("\n".join([head, *(f"{next(names)}{row}" for row in rows)]))
    assert main(["data", "check", "folder", str(own)]) == 0
    said = capsys.readouterr().out
    assert "no problems found" in said and "taken for" in said
    # It checks what train would draw: 70, 15 and 15 of a hundred.
    recipe, _ = training.override(training.get("folder"), [])
    for split in ("train", "val", "test"):
        count = number_of(len(FOLDER.read(recipe.data, split, own)), "image")
        assert f"{split}: {count}" in said


def test_what_an_eraser_left_is_not_painted_and_the_report_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A stroke in a class's colour under alpha 0, in RGBA masks among palette ones."""
    labels = [np.array(mask) for mask in discs((0, 1, 2), 12)]
    masks = []
    for i, plain in enumerate(labels):
        pixels = np.dstack([PAINT[plain], np.where(plain, 255, 0)]).astype(np.uint8)
        pixels[:9, :9] = (*PAINT[1], 0)
        plain[:9, :9] = 0
        masks.append(Image.fromarray(pixels if i % 2 else PAINT[plain]))
    own = lay(tmp_path / "own", masks)
    names = ",".join(f"{n}=#{''.join(f'{v:02x}' for v in PAINT[i])}"
                     for i, n in enumerate(("ground", "cat", "dog")))  # fmt: skip
    assert main(["data", "check", "folder", str(own), "--colours", names]) == 0
    said = capsys.readouterr().out
    clear = np.sum([plain == 0 for plain in labels[1::2]]) / np.size(labels)
    assert f"{100 * clear:.3f}% are transparent: they are read as (0, 0, 0)" in said
    found = Folder(own / "images", own / "masks", colours=names)
    for i, plain in enumerate(labels):
        assert np.array_equal(found[i][1].numpy(), plain)
    new = tmp_path / "new"
    assert main(["data", "fix", "folder", str(own), "--colours", names, "--out", str(new)]) == 0
    assert np.array_equal(np.array(Image.open(new / "masks" / "01.png")), labels[1])


def test_masks_that_are_transparent_everywhere_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    masks = [Image.fromarray(np.dstack([PAINT[np.array(m)], 0 * np.array(m)]).astype(np.uint8))
             for m in discs((0, 1, 2), 4)]  # fmt: skip
    assert main(["data", "check", "folder", str(lay(tmp_path / "own", masks))]) == 1
    assert "every pixel of every mask is transparent (alpha 0)" in "".join(capsys.readouterr())


def test_names_for_numbers_from_one_are_told_of_the_zero(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The remedy is a name for 0, not one for 3."""
    own = lay(tmp_path / "own", discs((1, 2, 3), 12))
    assert main(["data", "check", "folder", str(own), "--classes", "ground,cat,dog"]) == 1
    assert "seem to count from 1, and 0 never occurs: put 'void' first" in capsys.readouterr().out


def test_one_mask_resized_smoothly_opens_no_classes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bicubic steps between 1 and 7, and beyond them, in one mask of many."""
    (drawn,) = discs((0, 1, 7), 1)
    size = (3 * drawn.width // 2, 3 * drawn.height // 2)
    smooth = drawn.resize(size, Image.Resampling.BICUBIC)
    own = lay(tmp_path / "own", [*discs((0, 1), 11), smooth])
    assert main(["data", "check", "folder", str(own)]) == 1
    assert "nowhere fill 3×3 pixels, as what JPEG or smooth" in capsys.readouterr().err


def test_each_value_is_reported_with_its_class_share_and_masks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = discs((0, 1, 2, 255), 12)
    own = lay(tmp_path / "own", drawn)
    classes = ["--classes", "ground,cat,don't care,dog"]
    assert main(["data", "check", "folder", str(own), *classes]) == 0
    table = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    arrays = [np.array(mask) for mask in drawn]
    for value, name in ((0, "ground"), (1, "cat"), (2, "void (don't care)"), (255, "void")):
        line = table[str(value)]
        assert name in line and line.split()[-1] == str(
            sum(bool((a == value).any()) for a in arrays)
        )
        share = float(line.split("%")[0].split()[-1])
        assert share == pytest.approx(100 * np.mean([a == value for a in arrays]), abs=6e-4)
    assert table["without"].strip() == "without a pixel: dog"


def test_training_says_the_same_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = lay(tmp_path / "own", discs((0, 1), 12))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(training, "train", lambda *_, **__: pytest.fail("training"))
    with pytest.raises(pytest.fail.Exception, match="training"):
        main(["train", "folder-tiny", "--data", str(own), "--set", "data.classes=ground,cat"])
    before = capsys.readouterr().out
    assert main(["data", "check", "folder", str(own), "--classes", "ground,cat"]) == 0
    said = capsys.readouterr().out
    lines = [line for line in before.splitlines() if line.startswith(("what", "  "))]
    assert len(lines) == 4 and "\n".join(lines) in said


def test_training_refuses_what_check_finds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One mask resized smoothly among twenty, whose false values are all classes."""
    stripes = np.tile(np.repeat(np.array([0, 1, 2, 1], np.uint8), [8, 1, 8, 1]), (60, 6))
    stripes[:20] = 1
    own = lay(tmp_path / "own", [*discs((0, 1, 2), 20), Image.fromarray(stripes)])
    names = "ground,edge,disc"
    monkeypatch.chdir(tmp_path)
    for arguments in (["data", "check", "folder", str(own), "--classes", names],
                      ["train", "folder-tiny", "--data", str(own), "--set",
                       f"data.classes={names}"]):  # fmt: skip
        assert main(arguments) == 1
        streams = capsys.readouterr()
        assert "1 mask is blurred, as by JPEG or by smooth resizing: 20.png" in "".join(streams)
    assert not list((tmp_path / "runs").rglob("*.pt"))
    recipe, _ = training.override(training.get("folder-tiny"), ["data.classes=" + names])
    with pytest.raises(ValueError, match="1 mask is blurred"):
        FOLDER.open(recipe.data, "train", own)


def test_painted_masks_of_every_kind_are_mended_once_their_colours_have_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """JPEG, palettes and RGBA in one folder: `fix` writes the map to fill in, and then copies."""
    labels = [np.array(mask) for mask in discs((0, 1, 2), 9)]
    own = lay(tmp_path / "own", [Image.fromarray(PAINT[plain]) for plain in labels])
    for i, plain in enumerate(labels):
        path = own / "masks" / f"{i:02}.png"
        if i % 3 == 0:
            Image.fromarray(PAINT[plain]).save(path.with_suffix(".jpg"), quality=90)
            path.unlink()
        elif i % 3 == 1:
            palette = Image.fromarray(plain)
            palette.putpalette(PAINT.ravel().tolist())
            palette.save(path)
    new = tmp_path / "new"
    arguments = ["data", "fix", "folder", str(own), "--out", str(new)]
    assert main(["data", "check", "folder", str(own)]) == 1
    assert "let `fcn-tutorial data fix folder` write copies" in capsys.readouterr().err
    assert main(arguments) == 1 and not new.exists()
    streams = capsys.readouterr()
    assert "which colour is which class? Give each a name, then fix again" in streams.err
    assert f"written: {own / 'colours.csv'}" in streams.out
    head, *rows = (own / "colours.csv").read_text().splitlines()
    found = {tuple(int(v) for v in row.split(",")[1:4]): row for row in rows}
    assert {*found} == {tuple(PAINT[i]) for i in range(3)}
    named = [f"{name}{found[tuple(PAINT[i])]}" for i, name in enumerate(("ground", "cat", "dog"))]
    (own / "colours.csv").write_text("\n".join([head, *named]))
    assert main(arguments) == 0
    for i, plain in enumerate(labels):
        mended = np.array(Image.open(new / "masks" / f"{i:02}.png"))
        assert np.mean(mended == plain) > (0.99 if i % 3 == 0 else 0.9999)
    assert main(["data", "check", "folder", str(new)]) == 0


def test_palettes_among_painted_masks_count_with_their_colours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    masks = painted(8)
    masks[3] = masks[3].convert("RGB").quantize()
    own = lay(tmp_path / "own", masks)
    assert main(["data", "check", "folder", str(own)]) == 1
    rows = (own / "colours.csv").read_text().splitlines()[1:]
    colours = {tuple(int(v) for v in row.split(",")[1:4]) for row in rows}
    assert colours == {tuple(PAINT[i]) for i in range(4)}


def test_photos_in_a_format_that_is_not_read_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = lay(tmp_path / "own", discs((0, 1), 3))
    (own / "images" / "01.jpg").rename(own / "images" / "01.heic")
    assert main(["data", "check", "folder", str(own)]) == 1
    assert "1 of 3 masks has no image: 01.png. 01.heic cannot be read: convert" in (
        capsys.readouterr().err
    )


def test_fix_writes_a_folder_that_check_accepts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = lay(tmp_path / "own", [through_jpeg(mask, 80) for mask in discs(count=12)])
    assert main(["data", "check", "folder", str(own)]) == 1
    assert "at 0 and 255: 2 labels" in capsys.readouterr().err
    new = tmp_path / "new"
    arguments = [str(own), "--classes", "ground,disc", "--out", str(new)]
    assert main(["data", "fix", "folder", *arguments]) == 0
    said = capsys.readouterr().out
    assert "12 masks with the classes ground, disc" in said and "no label's value" in said
    assert f"`fcn-tutorial data check folder {new}` reads it" in said
    assert main(["data", "check", "folder", str(new)]) == 0
    assert main(["data", "fix", "folder", *arguments]) == 1
    assert "is not empty; name a new folder" in capsys.readouterr().err
    assert main(["data", "fix", "camvid", "--out", str(tmp_path / "x")]) == 1
    assert "camvid: is read as it was published" in capsys.readouterr().err


@pytest.mark.parametrize("second", ["val", "test"])
def test_lists_that_overlap_are_refused(
    second: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = lay(tmp_path / "own", discs((0, 1), 12))
    parts = {"train": range(8), "val": range(8, 10), "test": range(10, 12)}
    parts[second] = range(6, 9) if second == "val" else range(12)
    for part, numbers in parts.items():
        (tmp_path / f"{part}.txt").write_text("\n".join(f"images/{i:02}.jpg" for i in numbers))
    given = [f"data.{part}_list={tmp_path / part}.txt" for part in parts]
    options = [option for setting in given for option in ("--set", setting)]
    assert main(["train", "folder-tiny", "--data", str(own), "--out", str(tmp_path / "run"),
                 *options]) == 1  # fmt: skip
    counts = {"val": "2 of 3 photos", "test": "8 of 12 photos"}[second]
    wanted = f"data.train_list and data.{second}_list: {counts} of the latter are in both: 0"
    assert wanted in capsys.readouterr().err
    assert main(["data", "check", "folder", str(own), *options]) == 1
    shared = {"val": "train and val share 2 images", "test": "train and test share 8 images"}[
        second
    ]
    assert shared in capsys.readouterr().out


def test_photos_that_are_alike_are_counted_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Twelve photos cannot share twenty: each of val is counted, not each pair."""
    own = lay(tmp_path / "own", discs((0, 1), 12))
    one = (own / "images" / "00.jpg").read_bytes()
    for path in (own / "images").iterdir():
        path.write_bytes(one)
    (tmp_path / "train.txt").write_text("\n".join(f"{i:02}" for i in range(8)))
    (tmp_path / "val.txt").write_text("08\n09\n10\n11")
    lists = [o for part in ("train", "val")
             for o in ("--set", f"data.{part}_list={tmp_path / part}.txt")]  # fmt: skip
    assert main(["data", "check", "folder", str(own), *lists]) == 1
    assert "train and val share 4 images" in capsys.readouterr().out


def test_published_suffixes_are_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = lay(tmp_path / "own", discs((0, 1), 12))
    for folder, suffix in (("images", "_leftImg8bit"), ("masks", "_gtFine_labelIds")):
        for path in sorted((own / folder).iterdir()):
            path.rename(path.with_stem(path.stem + suffix))
    assert main(["data", "check", "folder", str(own)]) == 1
    advice = "--set data.image_suffix=_leftImg8bit --set data.mask_suffix=_gtFine_labelIds"
    assert f"give {advice}" in capsys.readouterr().err
    assert main(["data", "check", "folder", str(own), *advice.split()]) == 0


def test_check_takes_a_file_of_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lay(tmp_path / "own", painted(12))
    (tmp_path / "my.yaml").write_text(
        "data:\n  images: own/images\n  masks: own/masks\n  val_fraction: 0.4\n"
        "  colours: {ground: [0, 0, 0], cat: [255, 0, 0], dog: [0, 128, 255], egg: [255, 255, 0]}\n"
    )
    assert main(["data", "check", "folder", "--config", str(tmp_path / "my.yaml")]) == 0
    recipe, _ = training.override(training.get("folder"), ["data.val_fraction=0.4",
                                                           "data.colours=a=0,b=1"])  # fmt: skip
    assert "val: " in capsys.readouterr().out and recipe.data.name == "folder"


def test_one_small_photo_at_a_time_is_told_what_helps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A batch norm at stride 32 has one value of 32×32 pixels, whose variance is nothing."""
    masks = [Image.fromarray(np.kron(np.eye(4, dtype=np.uint8), np.ones((8, 8), np.uint8)))] * 10
    own = lay(tmp_path / "own", masks)
    short = ["epochs=1", "data.epoch_images=4", "data.classes=a,b", "baselines=false"]
    options = [option for setting in short for option in ("--set", setting)]
    command = ["train", "folder-tiny", "--data", str(own), "--device", "cpu", *options]
    assert main([*command, "--set", "batch=1", "--out", str(tmp_path / "one")]) == 1
    said = capsys.readouterr().err
    assert "1 image of 32×32 leaves batch norm one value a channel" in said
    assert "set batch=2 (now 1, in accumulate=1 parts), a larger data.crop, or model.norms" in said
    for number, remedy in enumerate(("batch=2", "model.norms=folded")):
        out = str(tmp_path / f"run{number}")
        assert main([*command, "--set", "batch=1", "--set", remedy, "--out", out]) == 0


def test_one_check_names_all_that_is_wrong_with_the_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Partners, formats, sizes and damage, before anybody has said what the colours mean."""
    own = lay(tmp_path / "own", [mask.convert("RGB") for mask in painted(12)])
    masks, images = own / "masks", own / "images"
    (masks / "03.png").unlink()
    (images / "04.jpg").unlink()
    Image.open(masks / "05.png").save(masks / "05.jpg")
    (masks / "05.png").unlink()
    Image.open(masks / "06.png").resize((8, 9)).save(masks / "06.png")
    (images / "07.jpg").write_bytes((images / "07.jpg").read_bytes()[:900])
    assert main(["data", "check", "folder", str(own)]) == 1
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("problem:")]
    for number, words in (
        ("03.jpg", "1 of 11 images has no mask"),
        ("04.png", "1 of 11 masks has no image"),
        ("05.jpg", "masks must not be JPEG or WebP"),
        ("06.png", "is 8×9, but"),
        ("07.jpg", "not a readable image"),
    ):
        assert [number in line for line in said if words in line] == [True], words
    assert len(said) == 5
    # Names by which nothing fits together are told once, not of photos and masks.
    for path in sorted(masks.iterdir()):
        path.rename(path.with_stem(f"{path.stem}_gt"))
    assert main(["data", "check", "folder", str(own)]) == 1
    said = capsys.readouterr()
    assert "--set data.mask_suffix=_gt" in said.out + said.err
    assert "have no image" not in said.out + said.err


def test_lists_may_leave_files_without_partners_where_something_else_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = lay(tmp_path / "own", painted(12))
    (own / "masks" / "11.png").unlink()
    (tmp_path / "train.txt").write_text("\n".join(f"{i:02}" for i in range(6)))
    (tmp_path / "val.txt").write_text("06\n07\n")
    lists = [o for part in ("train", "val")
             for o in ("--set", f"data.{part}_list={tmp_path / part}.txt")]  # fmt: skip
    assert main(["data", "check", "folder", str(own), *lists]) == 1
    said = "".join(capsys.readouterr())
    assert "holds colours" in said and "has no mask" not in said
