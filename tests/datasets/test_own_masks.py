"""Masks that are no label images are refused with the remedy, those that are stay accepted."""

import io
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from fcn_tutorial.datasets import Folder, Scenes
from fcn_tutorial.datasets.own.doubt import doubt
from fcn_tutorial.datasets.own.repair import repair
from fcn_tutorial.datasets.own.survey import coded, survey, survey_numbers

SIZE = (120, 160)
PAINT = np.array([[0, 0, 0], [255, 0, 0], [0, 128, 255], [255, 255, 0]], np.uint8)


def discs(values: tuple[int, ...] = (0, 255), count: int = 6) -> list[Image.Image]:
    """Masks of one disc for each value but the first, which is the ground."""
    generator = np.random.default_rng(0)
    masks = []
    for _ in range(count):
        mask = Image.new("L", SIZE[::-1], values[0])
        for value in values[1:]:
            x, y, r = (int(generator.integers(*span)) for span in ((20, 140), (20, 100), (8, 30)))
            ImageDraw.Draw(mask).ellipse([x - r, y - r, x + r, y + r], fill=value)
        masks.append(mask)
    return masks


def through_jpeg(mask: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    mask.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


def resized(mask: Image.Image, scale: float, how: str = "BILINEAR") -> Image.Image:
    size = (round(mask.width * scale), round(mask.height * scale))
    return mask.resize(size, getattr(Image.Resampling, how))


def painted(values: tuple[int, ...] = (0, 1, 2, 3)) -> list[Image.Image]:
    return [Image.fromarray(PAINT[np.array(mask)]) for mask in discs(values)]


def lay(root: Path, masks: list[Image.Image]) -> Path:
    for folder in ("images", "masks"):
        (root / folder).mkdir()
    for i, mask in enumerate(masks):
        Image.new("RGB", mask.size, (i, i, i)).save(root / "images" / f"{i}.jpg")
        mask.save(root / "masks" / f"{i}.png")
    return root


BLURRED = {
    **{f"jpeg {q}": [through_jpeg(m, q) for m in discs()] for q in (30, 75, 95)},
    **{
        f"{scale} {how}": [resized(m, scale, how) for m in discs()]
        for scale in (0.37, 0.5, 1.5, 2)
        for how in ("BILINEAR", "BICUBIC", "LANCZOS")
    },
    "halved by boxes": [m.reduce(2) for m in discs()],
}


@pytest.mark.parametrize("kind", BLURRED)
@pytest.mark.parametrize("classes", [None, ["ground", "disc"]])
def test_noisy_black_and_white_masks_are_refused_by_their_two_values(
    kind: str, classes: list[str] | None, tmp_path: Path
) -> None:
    root = lay(tmp_path, BLURRED[kind])
    with pytest.raises(ValueError, match="at 0 and 255: 2 labels whose borders JPEG") as caught:
        Folder(root / "images", root / "masks", classes)
    assert "`fcn-tutorial data fix folder`" in str(caught.value) and "PNG" in str(caught.value)


def test_numbers_too_close_for_their_blur_are_not_promised_a_repair(tmp_path: Path) -> None:
    """Twelve classes and void, numbered 0–11 and 255, that went through JPEG."""
    masks = [through_jpeg(mask, 40) for mask in discs((*range(12), 255), count=12)]
    (tmp_path / "own").mkdir()
    root = lay(tmp_path / "own", masks)
    images, labels, clean = root / "images", root / "masks", tmp_path / "clean"
    for act in (lambda: Folder(images, labels), lambda: repair(images, labels, clean)):
        with pytest.raises(ValueError, match="too close for .* save the masks again") as caught:
            act()
        assert "data fix" not in str(caught.value)
    assert not clean.exists()


@pytest.mark.parametrize("kind", ["jpeg 75", "0.5 BILINEAR"])
def test_one_noisy_mask_among_clean_ones_is_refused_when_it_is_read(
    kind: str, tmp_path: Path
) -> None:
    root = lay(tmp_path, [*discs((0, 1), 20), BLURRED[kind][0]])
    dataset = Folder(root / "images", root / "masks", ["ground", "disc"])
    index = next(i for i, (image, _) in enumerate(dataset.files) if image.stem == "20")
    with pytest.raises(ValueError, match=r"20\.png: .* at 0 and 255: 2 labels"):
        dataset[index]


@pytest.mark.parametrize(
    "masks",
    [
        [resized(m, 0.75) for m in discs((0, 60, 120, 180, 240))],
        [through_jpeg(m, 80) for m in discs((0, 60, 120, 180, 240))],
    ],
    ids=["resized", "jpeg"],
)
def test_blurred_levels_of_grey_are_named_all(masks: list[Image.Image], tmp_path: Path) -> None:
    root = lay(tmp_path, masks)
    with pytest.raises(ValueError, match="at 0, 60, 120, 180, 240: 5 labels"):
        Folder(root / "images", root / "masks")


def test_forty_clean_levels_of_grey_are_told_to_name_each_level(tmp_path: Path) -> None:
    root = lay(tmp_path, discs(tuple(range(0, 240, 6)), 12))
    for classes in (None, ["ground", "disc"]):
        with pytest.raises(ValueError, match="look like levels of grey: give colours="):
            Folder(root / "images", root / "masks", classes)[0]


def test_numbers_between_two_labels_on_their_borders_are_refused(tmp_path: Path) -> None:
    """Resized smoothly, a border from 0 to 2 becomes a line of 1, which is a class."""
    ring = discs((0, 1, 2))
    root = lay(tmp_path, [resized(m, 0.75) for m in ring])
    with pytest.raises(ValueError, match="single pixels of 1 line the borders"):
        Folder(root / "images", root / "masks", ["ground", "disc", "ball"])
    shrunk = [resized(m, 0.75, "NEAREST") for m in ring]
    for i, mask in enumerate(shrunk):
        mask.save(root / "masks" / f"{i}.png")
    assert Folder(root / "images", root / "masks").classes == ("class 0", "class 1", "class 2")


def test_a_drawn_outline_is_a_class(tmp_path: Path) -> None:
    masks = []
    for mask in discs((0, 2)):
        labels = np.array(mask)
        edge = (labels == 2) & (np.roll(labels, 1, 0) != 2) | (labels == 2) & (
            np.roll(labels, 1, 1) != 2
        )
        labels[edge | np.roll(edge, -1, 1)] = 1
        masks.append(Image.fromarray(labels))
    root = lay(tmp_path, masks)
    assert len(Folder(root / "images", root / "masks")) == 6


@pytest.mark.parametrize("size", [(48, 64), (64, 64), (128, 128)])
def test_masks_of_scenes_are_not_doubted(size: tuple[int, int]) -> None:
    scenes = Scenes(n=6, size=size)
    for i in range(6):
        labels = scenes[i][1].numpy()
        assert doubt(survey_numbers(labels, Path("x"))) == ""
        assert not survey_numbers(labels, Path("x")).blurred


def test_masks_of_noise_are_not_called_blurred() -> None:
    """Tests and toys have them; that a number has no class is said elsewhere."""
    generator = np.random.default_rng(0)
    for classes in (3, 12, 40):
        labels = generator.integers(0, classes, (24, 32), np.uint8)
        assert doubt(survey_numbers(labels, Path("x"))) == ""


def test_a_photograph_in_place_of_a_mask_is_called_one(tmp_path: Path) -> None:
    scenes = Scenes(n=3, size=SIZE)
    photos = [Image.fromarray(scenes[i][0].permute(1, 2, 0).numpy()) for i in range(3)]
    noise = np.random.default_rng(0).normal(0, 6, (*SIZE, 3))
    photos = [Image.fromarray((np.array(p) + noise).clip(0, 255).astype(np.uint8)) for p in photos]
    for grey in (False, True):
        (tmp_path / str(grey)).mkdir()
        root = lay(tmp_path / str(grey), [p.convert("L") if grey else p for p in photos])
        with pytest.raises(ValueError, match="look like photographs or depth maps"):
            Folder(root / "images", root / "masks")


@pytest.mark.parametrize("blur", ["jpeg", "resized"])
def test_blurred_paint_is_refused_by_its_colours(blur: str, tmp_path: Path) -> None:
    masks = [through_jpeg(m, 75) if blur == "jpeg" else resized(m, 0.75) for m in painted()]
    root = lay(tmp_path, masks)
    with pytest.raises(ValueError, match=r"colours in the masks, but .* at \(0, 0, 0\), \(") as why:
        Folder(root / "images", root / "masks")
    assert ": 4 labels whose borders" in str(why.value)


# What is counted


@pytest.mark.parametrize("mode", ["L", "P", "RGB of greys", "RGB", "RGBA"])
def test_every_value_is_counted_exactly(mode: str, tmp_path: Path) -> None:
    masks = discs((0, 1, 2, 3))
    if mode == "P":
        for mask in masks:
            mask.putpalette(PAINT.ravel().tolist())
    elif mode == "RGB of greys":
        masks = [mask.convert("RGB") for mask in masks]
    elif mode.startswith("RGB"):
        masks = [mask.convert(mode) for mask in painted()]
    root = lay(tmp_path, masks)
    files = sorted((root / "masks").iterdir())
    found = survey(files)
    assert found.coloured == (mode in ("RGB", "RGBA")) and found.read == 6
    arrays = [np.array(m.convert("RGB") if found.coloured else m) for m in masks]
    values = [coded(a) if found.coloured else a.reshape(*SIZE, -1)[..., 0] for a in arrays]
    for value in np.unique(values):
        assert found.pixels[int(value)] == sum(int((v == value).sum()) for v in values)
        assert found.masks[int(value)] == sum(bool((v == value).any()) for v in values)


def test_an_all_black_mask_among_painted_ones_is_black(tmp_path: Path) -> None:
    root = lay(tmp_path, [*painted((0, 1)), Image.new("RGB", SIZE[::-1])])
    found = survey(sorted((root / "masks").iterdir()))
    assert found.coloured and found.masks == {0: 7, 0xFF0000: 6}


def test_large_masks_are_counted_in_seconds(tmp_path: Path) -> None:
    """Twelve megapixels of RGBA take a third of a second, so a thousand smaller ones seconds."""
    labels = np.kron(np.arange(12).reshape(3, 4) % 4, np.ones((1000, 1000), np.uint8))
    Image.fromarray(np.dstack([PAINT[labels], labels * 0 + 255]).astype(np.uint8)).save(
        tmp_path / "a.png", compress_level=1
    )
    began = time.process_time()
    found = survey([tmp_path / "a.png"])
    assert found.total == 12_000_000 and time.process_time() - began < 5  # 0.5 s when written


def test_masks_that_cannot_be_read_are_listed(tmp_path: Path) -> None:
    root = lay(tmp_path, discs())
    (root / "masks" / "3.png").write_bytes(b"no picture")
    through_jpeg(discs()[0], 90).save(root / "masks" / "4.png", "JPEG")
    found = survey(sorted((root / "masks").iterdir()))
    assert found.read == 4 and [path.stem for path, _ in found.faults] == ["3", "4"]
    assert "JPEG mask, whatever its name" in found.faults[1][1]
