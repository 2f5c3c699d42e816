"""`data fix`: masks are brought back to what was drawn, photos and originals stay as they are."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fcn_tutorial.datasets import Folder
from fcn_tutorial.datasets.own.labelling import Unnamed
from fcn_tutorial.datasets.own.pairing import Names
from fcn_tutorial.datasets.own.repair import repair
from fcn_tutorial.datasets.own.report import unnamed_report
from tests.datasets.test_own_masks import PAINT, discs, resized, through_jpeg

COLOURS = "ground=0,one=#ff0000,two=#0080ff,three=#ffff00"


def lay(root: Path, masks: list[Image.Image], ending: str = ".png") -> Path:
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for i, mask in enumerate(masks):
        Image.new("RGB", mask.size, (i, i, i)).save(root / "images" / f"{i}.jpg")
        mask.save(root / "masks" / f"{i}{ending}", **({"quality": 75} if ending == ".jpg" else {}))
    return root


def labels(root: Path) -> list[np.ndarray]:
    dataset = Folder(root / "images", root / "masks")
    return [dataset[i][1].numpy() for i in range(len(dataset))]


def error(found: list[np.ndarray], truth: list[np.ndarray]) -> float:
    return float(np.mean([(a != b).mean() for a, b in zip(found, truth, strict=True)]))


@pytest.mark.parametrize("quality", [30, 75, 95])
@pytest.mark.parametrize("ending", [".png", ".jpg"])
def test_black_and_white_is_what_was_drawn_again(quality: int, ending: str, tmp_path: Path) -> None:
    drawn = discs()
    masks = [through_jpeg(m, quality) for m in drawn] if ending == ".png" else drawn
    root = lay(tmp_path / "own", masks, ending)
    before = {path: path.read_bytes() for path in root.rglob("*.*")}
    done = repair(root / "images", root / "masks", tmp_path / "new")
    assert done.masks == 6 and done.classes == ("class 0", "class 1") and done.moved[0] == 6
    truth = [np.array(m) // 255 for m in drawn]
    assert error(labels(tmp_path / "new"), truth) < 1e-3  # a few pixels of borders at quality 30
    assert {path: path.read_bytes() for path in root.rglob("*.*")} == before
    for i in range(6):
        copied = (tmp_path / "new" / "images" / f"{i}.jpg").read_bytes()
        assert copied == (root / "images" / f"{i}.jpg").read_bytes()


def test_names_go_to_the_levels_in_ascending_order(tmp_path: Path) -> None:
    drawn = discs((0, 60, 120, 180, 240))
    root = lay(tmp_path / "own", [through_jpeg(m, 80) for m in drawn])
    names = ["ground", "a", "b", "c", "d"]
    assert repair(root / "images", root / "masks", tmp_path / "new", names).classes == tuple(names)
    truth = [np.array(m) // 60 for m in drawn]
    assert error(labels(tmp_path / "new"), truth) < 0.01
    with pytest.raises(ValueError, match="cluster at 0, 60, 120, 180, 240, which are 5, but there"):
        repair(root / "images", root / "masks", tmp_path / "x", ["ground", "a"])


@pytest.mark.parametrize("blur", ["jpeg", "resized"])
def test_paint_is_brought_back_to_its_colours(blur: str, tmp_path: Path) -> None:
    drawn = discs((0, 1, 2, 3))
    painted = [Image.fromarray(PAINT[np.array(m)]) for m in drawn]
    masks = [through_jpeg(m, 75) if blur == "jpeg" else resized(m, 0.75) for m in painted]
    root = lay(tmp_path / "own", masks)
    done = repair(root / "images", root / "masks", tmp_path / "new", colours=COLOURS)
    assert done.classes == ("ground", "one", "two", "three")
    truth = [np.array(m if blur == "jpeg" else resized(m, 0.75, "NEAREST")) for m in drawn]
    # Chroma is halved by JPEG, and a border is a pixel wide: about a pixel along each border.
    assert error(labels(tmp_path / "new"), truth) < 0.02


def test_a_border_does_not_become_a_third_class(tmp_path: Path) -> None:
    """Half red and half blue is the purple of another class, which is nowhere near."""
    colours = {"red": (255, 0, 0), "blue": (0, 0, 255), "purple": (128, 0, 128)}
    drawn = np.zeros((40, 40), np.uint8)
    drawn[:, 21:], drawn[30:, :8] = 1, 2
    paint = Image.fromarray(np.array(list(colours.values()), np.uint8)[drawn])
    blurred = resized(paint, 0.6)
    border = np.array(blurred)[8, :, 0].astype(int)
    # Nearer to purple than to red and to blue:
    assert ((abs(border - 128) < 60) & (border != 128)).any()
    root = lay(tmp_path / "own", [blurred])
    repair(root / "images", root / "masks", tmp_path / "new", colours=colours)
    (found,) = labels(tmp_path / "new")
    assert set(np.unique(found[:15, 8:])) == {0, 1}


def test_paint_without_names_is_not_guessed(tmp_path: Path) -> None:
    root = lay(tmp_path / "own", [Image.fromarray(PAINT[np.array(m)]) for m in discs((0, 1))])
    with pytest.raises(Unnamed, match="holds colours"):
        repair(root / "images", root / "masks", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_clean_numbers_are_copied_and_void_stays_void(tmp_path: Path) -> None:
    drawn = [np.array(m) for m in discs((0, 1, 2))]
    for mask in drawn:
        mask[:4] = 255
    root = lay(tmp_path / "own", [Image.fromarray(m) for m in drawn])
    done = repair(root / "images", root / "masks", tmp_path / "new", ["ground", "ignored", "ball"])
    assert done.classes == ("ground", "ball") and done.moved == (0, 0)
    table = np.array([0, 255, 1, *[255] * 253], np.uint8)
    assert error(labels(tmp_path / "new"), [table[m] for m in drawn]) == 0


def test_names_are_those_of_the_photos(tmp_path: Path) -> None:
    for stem in ("x/a", "y/b"):
        for folder, name in (("images", f"{stem}_photo.jpg"), ("masks", f"{stem}_gt.png")):
            path = tmp_path / "own" / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.eye(9, 12, dtype=np.uint8)).save(path)
    names = Names(image_suffix="_photo", mask_suffix="_gt")
    repair(
        tmp_path / "own/images", tmp_path / "own/masks", tmp_path / "new", ["a", "b"], None, names
    )
    pairs = Folder(tmp_path / "new", tmp_path / "new").files
    assert [(i.stem, m.stem) for i, m in pairs] == [("a_photo", "a_photo"), ("b_photo", "b_photo")]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_masks_drawn_on_the_pixels_of_a_turned_photo_are_turned(
    orientation: int, tmp_path: Path
) -> None:
    root = lay(tmp_path / "own", [Image.fromarray(np.eye(9, 12, dtype=np.uint8))])
    pixels = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(root / "images" / "0.jpg", exif=exif)
    done = repair(root / "images", root / "masks", tmp_path / "new", ["a", "b"])
    image, mask = Folder(tmp_path / "new", tmp_path / "new")[0]
    assert image.shape[1:] == mask.shape
    assert done.turned == (orientation > 4)
    if orientation > 4:  # below, the sizes do not tell on which of the two it was drawn
        stored = Image.fromarray(np.eye(9, 12, dtype=np.uint8))
        turned = {5: 5, 6: 4, 7: 6, 8: 2}[orientation]  # Pillow's transpositions
        assert np.array_equal(mask.numpy(), np.array(stored.transpose(Image.Transpose(turned))))


def test_masks_of_half_the_size_are_brought_to_the_photos(tmp_path: Path) -> None:
    root = lay(tmp_path / "own", discs((0, 1)))
    for path in (root / "images").iterdir():
        Image.new("RGB", (320, 240)).save(path)
    assert repair(root / "images", root / "masks", tmp_path / "new").resized == 6
    assert labels(tmp_path / "new")[0].shape == (240, 320)
    Image.new("RGB", (320, 320)).save(root / "images" / "0.jpg")
    with pytest.raises(ValueError, match="of another shape"):
        repair(root / "images", root / "masks", tmp_path / "newer")


@pytest.mark.parametrize("place", ["own/masks", "own/images/new", "full"])
def test_nothing_is_written_in_place(place: str, tmp_path: Path) -> None:
    root = lay(tmp_path / "own", discs((0, 1)))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").write_text("mine")
    with pytest.raises(ValueError, match="--out"):
        repair(root / "images", root / "masks", tmp_path / place)
    assert sorted(p.name for p in (root / "images").iterdir()) == [f"{i}.jpg" for i in range(6)]


def blurred_paint(strange: tuple[int, ...]) -> list[Image.Image]:
    """Painted masks, one of them through JPEG, and a block of another colour in the last."""
    masks = [np.dstack([PAINT[np.array(m)], 255 + 0 * np.array(m)]) for m in discs((0, 1, 2, 3))]
    masks[-1][10:18, 10:18] = strange
    painted = [Image.fromarray(m.astype(np.uint8)) for m in masks]
    return [through_jpeg(painted[0].convert("RGB"), 75), *painted[1:]]


@pytest.mark.parametrize(
    ("strange", "said"),
    [
        ((255, 0, 255, 255), r"\(255, 0, 255\): painted, not blurred, in a colour that colours"),
        ((255, 0, 0, 0), r"64 pixels are transparent, which counts as black"),
    ],
)
def test_what_was_painted_without_a_name_is_no_blur(
    strange: tuple[int, ...], said: str, tmp_path: Path
) -> None:
    """The nearest label would be a guess: the user names it, or calls it void."""
    root = lay(tmp_path / "own", blurred_paint(strange))
    # Here the ground is grey, so that nothing else is black.
    names = "ground=0,one=#ff0000,two=#0080ff,three=#ffff00"
    if strange[3] == 0:
        for path in (root / "masks").iterdir():
            pixels = np.array(Image.open(path).convert("RGBA"))
            ground = (pixels[..., :3] == 0).all(-1) & (pixels[..., 3] > 0)
            pixels[ground] = (128, 128, 128, 255)
            Image.fromarray(pixels).save(path)
        names = names.replace("ground=0", "ground=#808080")
    with pytest.raises(Unnamed) as asked:
        repair(root / "images", root / "masks", tmp_path / "new")
    colour = (0, 0, 0) if strange[3] == 0 else strange[:3]
    form = unnamed_report(asked.value).form
    assert form is not None and f"\n,{','.join(map(str, colour))}," in form[1]
    with pytest.raises(ValueError, match=said):
        repair(root / "images", root / "masks", tmp_path / "new", colours=names)
    names += ",void=#" + "".join(f"{level:02x}" for level in colour)
    repair(root / "images", root / "masks", tmp_path / "new", colours=names)
    found = labels(tmp_path / "new")[-1]
    assert (found[10:18, 10:18] == 255).all() and (found != 255).sum() == found.size - 64


def test_clean_numbers_without_names_stay_the_numbers_that_they_are(tmp_path: Path) -> None:
    """0 to 11, as CamVid has them: neighbours, of which none is the blur of another."""
    drawn = [np.array(m) for m in discs(tuple(range(12)))]
    assert set(np.unique(drawn)) == set(range(12))
    root = lay(tmp_path / "own", [Image.fromarray(m) for m in drawn])
    done = repair(root / "images", root / "masks", tmp_path / "new")
    assert done.classes == Folder(root / "images", root / "masks").classes
    assert done.classes == tuple(f"class {i}" for i in range(12)) and done.moved == (0, 0)
    assert error(labels(tmp_path / "new"), drawn) == 0


@pytest.mark.parametrize(
    ("values", "said"),
    [((1, 2, 3), "seem to count from 1"), ((0, 1, 30), "look like levels of grey")],
)
def test_numbers_that_the_check_refuses_are_not_guessed(
    values: tuple[int, ...], said: str, tmp_path: Path
) -> None:
    root = lay(tmp_path / "own", discs(values))
    with pytest.raises(ValueError, match=said):
        repair(root / "images", root / "masks", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_numbers_blurred_beyond_telling_are_refused(tmp_path: Path) -> None:
    root = lay(tmp_path / "own", [resized(m, 0.75) for m in discs(tuple(range(12)))])
    with pytest.raises(ValueError, match="too close for a label to be told from the blur"):
        repair(root / "images", root / "masks", tmp_path / "new")
