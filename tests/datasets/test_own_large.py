"""Large painted masks are looked at band by band, and nothing depends on where a band ends."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fcn_tutorial.datasets.own import labelling


def test_strange_colours_are_counted_over_all_bands_in_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labelling, "_BAND", 1 << 19)
    pixels = np.zeros((2048, 1024, 3), np.uint8)
    pixels[::2, :, 0] = 9
    pixels[1::2, :300, 1] = 7
    Image.fromarray(pixels).save(tmp_path / "a.png")
    code = labelling.ColourCode(("sky",), (("sky", (0, 0, 0)),))
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"1,355,776 pixels .*\(9, 0, 0\) on 1,048,576 .*307,200"):
        code.read(tmp_path / "a.png")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # Two tables of 2^24 counts and a passing sum, and of each pixel its colour and its label.
    assert peak < 3.2 * 8 * 2**24 + 8 * pixels.size


def test_no_more_of_a_mask_is_looked_at_than_shows_that_it_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Millions of colours are not counted: the second band is not looked at."""
    monkeypatch.setattr(labelling, "_BAND", 1 << 16)
    pixels = np.random.default_rng(0).integers(1, 256, (512, 256, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    code = labelling.ColourCode(("sky",), (("sky", (0, 0, 0)),))
    with pytest.raises(ValueError, match=r"at least 65,536 pixels have colours .*more colours"):
        code.read(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"more than 4,096 colours in the masks, and hardly two"):
        labelling.read_numbers(tmp_path / "a.png")
