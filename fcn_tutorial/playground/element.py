"""One HTML element with its data and its script inside, alive without a kernel."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

#: Bytes of HTML in one element.
LIMIT = 900_000


@dataclass(frozen=True)
class Element:
    """A thing to move in the page; a notebook shows it.

    Attributes:
        kind: the script of that name in this folder, a function of the element and its data.
        data: what the script starts from, as JSON.
        alt: what is seen before the reader does anything.
        still: HTML of class "still" that stands there without scripts, such as a `still_picture`.

    Raises:
        ValueError: where it takes more than `LIMIT` bytes, and where `alt` is empty.

    ::

        >>> alt = "Two by two white cells."
        >>> element = Element("deconvolution", {"size": 2}, alt, f'<p class="still">{alt}</p>')
        >>> element
        To play with: Two by two white cells.
        >>> '<p class="still">Two by two white cells.</p>' in element._repr_html_()
        True
    """

    kind: str
    data: Mapping[str, Any]
    alt: str
    still: str

    def __post_init__(self) -> None:
        if not self.alt.strip():
            raise ValueError("alt is empty; say in a sentence what is seen")
        if (size := len(self._repr_html_())) > LIMIT:
            raise ValueError(f"the element takes {size} bytes, over {LIMIT}; show less in it")

    def _repr_html_(self) -> str:
        """The element. Equal data give equal text, and the id is a hash of them."""
        data = json.dumps(self.data, separators=(",", ":"), sort_keys=True)
        key = hashlib.sha256(f"{self.kind}{data}".encode()).hexdigest()[:12]
        here = files("fcn_tutorial.playground")
        common, own = (
            here.joinpath(f"{name}.js").read_text(encoding="utf-8").strip().rstrip(";")
            for name in ("common", self.kind)
        )
        inside = data.replace("</", "<\\/")  # no end of the script element within it
        return (
            f'<figure class="fcn-playground" id="fcn-playground-{key}">'
            f"{self.still}"
            f'<script type="application/json">{inside}</script>'
            f'<script>({common})("fcn-playground-{key}",{own});</script></figure>'
        )

    def __repr__(self) -> str:
        return f"To play with: {self.alt}"


def still_picture(pixels: NDArray[np.uint8], alt: str) -> str:
    """An image with `alt` as what stands there without scripts; pixels as `png` takes them."""
    return f'<img class="still" alt="{html.escape(alt)}" src="{png(pixels)}">'


def png(pixels: NDArray[np.uint8]) -> str:
    """The address, with the picture in it, of (H, W), (H, W, 3) or (H, W, 4) uint8."""
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def rgb(palette: Sequence[Sequence[int]]) -> list[list[int]]:
    """Colours as lists of whole numbers, which JSON knows."""
    return [[int(level) for level in colour] for colour in palette]
