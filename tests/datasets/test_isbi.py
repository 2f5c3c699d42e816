"""The ISBI 2012 stack in the layout of its mirror, on files the test writes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fcn_tutorial.datasets import ISBIEM, writers


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    for part in ("image", "label"):
        (tmp_path / part).mkdir()
    for i in range(30):
        levels = 255 * generator.integers(0, 2, (8, 9), np.uint8)
        Image.fromarray(np.full((8, 9), i, np.uint8)).save(tmp_path / "image" / f"{i}.png")
        Image.fromarray(levels).save(tmp_path / "label" / f"{i}.png")
    return tmp_path


def test_the_stack_is_split_in_the_order_of_its_numbers(stack: Path) -> None:
    """As numbers: 10.png comes after 9.png."""
    for split, frames in (("train", range(20)), ("val", range(20, 25)), ("test", range(25, 30))):
        data = ISBIEM(stack, split)
        assert len(data) == ISBIEM.counts[split] == len(frames)
        for (image, mask), i in zip((data[k] for k in range(len(data))), frames, strict=True):
            stored = np.array(Image.open(stack / "label" / f"{i}.png"))
            assert image.shape == (3, 8, 9) and bool((image == i).all())
            assert np.array_equal(mask.numpy(), stored == 255)


def test_errors_name_what_is_wrong(stack: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'all' is not one of train, val, test"):
        ISBIEM(stack, "all")
    with pytest.raises(FileNotFoundError, match=r"0\.png not found; .* must hold image/0\.png"):
        ISBIEM(tmp_path / "elsewhere")
    Image.fromarray(np.full((8, 9), 128, np.uint8)).save(stack / "label" / "3.png")
    with pytest.raises(ValueError, match=r"3\.png: level 128, expected 0 or 255"):
        ISBIEM(stack)[3]
    (stack / "label" / "29.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"29\.png"):
        ISBIEM(stack)
    (stack / "image" / "29.png").rename(stack / "image" / "last.png")
    with pytest.raises(ValueError, match=r"last\.png: frames are named by numbers"):
        ISBIEM(stack)
    for i in range(5, 29):
        (stack / "image" / f"{i}.png").unlink()
    (stack / "image" / "last.png").unlink()
    with pytest.raises(ValueError, match="5 frames, at least 6 are split"):
        ISBIEM(stack)


def test_generated_frames_have_dark_membranes_between_cells(tmp_path: Path) -> None:
    folder = writers.write_isbi_em(tmp_path, n=1, size=(48, 64))
    assert [len(ISBIEM(folder, split)) for split in ISBIEM.splits] == [4, 1, 1]
    image, mask = ISBIEM(folder)[0]
    assert bool((image[0] == image[2]).all())
    assert float(image[0][mask == 0].float().mean()) < float(image[0][mask == 1].float().mean())
    assert 0.02 < float((mask == 0).float().mean()) < 0.6
