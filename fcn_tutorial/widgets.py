"""Interactive figures that need no kernel: a slider over frames drawn beforehand.

A `SliderFigure` is one HTML element with everything inside it, so that it moves in the rendered
book (also from a file, offline), in Jupyter and in Colab. `live` is its twin at a running kernel,
where the slider may stop at any value.
"""

from __future__ import annotations

import hashlib
import html
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from PIL import Image

from fcn_tutorial import visualize

__all__ = ["BATCH", "LIMIT", "SliderFigure", "interact", "live", "slider"]

LIMIT = 700_000  # bytes of HTML in one element; a page holds several and is read on phones
BATCH = "FCN_TUTORIAL_BATCH"  # environment variable set while a program executes a notebook

Frame: TypeAlias = Figure | Image.Image | ArrayLike

# The rules hold for every slider on a page, so repeating them is harmless. Track and thumb are
# drawn here because browsers' own are too faint in dark pages that do not declare themselves dark.
_CSS = """
.fcn-slider{margin:1em 0;padding:0;max-width:100%;color:inherit}
.fcn-slider .frames{line-height:0}
.fcn-slider .control{display:flex;flex-wrap:wrap;align-items:center;gap:0 .75em;max-width:100%}
.fcn-slider label{display:flex;flex:1 1 14em;align-items:center;gap:.75em;margin:0;font-weight:600}
.fcn-slider output{min-width:5em;font-variant-numeric:tabular-nums}
.fcn-slider input{appearance:none;-webkit-appearance:none;flex:1 1 8em;min-width:6em;height:44px;
margin:0;background:none;cursor:pointer;border-radius:6px}
.fcn-slider input::-webkit-slider-runnable-track{height:6px;border-radius:3px;background:#757575}
.fcn-slider input::-moz-range-track{height:6px;border-radius:3px;background:#757575}
.fcn-slider input::-webkit-slider-thumb{-webkit-appearance:none;width:24px;height:24px;
margin-top:-9px;border-radius:50%;background:#0072b2;border:2px solid currentColor}
.fcn-slider input::-moz-range-thumb{width:20px;height:20px;border-radius:50%;background:#0072b2;
border:2px solid currentColor}
.fcn-slider input:focus-visible{outline:2px solid currentColor;outline-offset:-2px}
figure.fcn-slider figcaption{color:inherit;font:inherit;text-align:left;margin:.25em 0 0;padding:0}
@media (forced-colors:active){.fcn-slider input{appearance:auto;-webkit-appearance:auto}}
""".strip().replace("\n", "")

# An event attribute, like a label around its input, needs no identifier and no set-up, so it works
# for any number of sliders, for copies of one, and for elements a notebook takes out and puts back.
_SCRIPT = (
    "const f=this.closest('figure'),i=+this.value;"
    "const m=f.querySelectorAll('.frames img'),t=m[i].dataset.label;"
    "m.forEach((e,k)=>{e.style.display=k===i?'':'none'});"
    "f.querySelector('output').value=t;this.setAttribute('aria-valuetext',t)"
)
# JupyterLab would take these keys for moving between cells.
_KEEP_KEYS = "if(/^(Arrow|Home|End|Page)/.test(event.key))event.stopPropagation()"


@dataclass(frozen=True)
class SliderFigure:
    """Frames of one pixel size under a labelled range input; made by `slider` or `interact`.

    Without scripts the frame `start` stands still.

    Attributes:
        frames: two or more.
        labels: what stands beside the slider at each frame.
        name: of the slider.
        start: the number of the frame shown first.
        caption: text below, or "".

    ::

        >>> import numpy as np
        >>> frames = [np.full((8, 8, 3), grey, np.uint8) for grey in (0, 255)]
        >>> figure = slider(frames, ["black", "white"], name="Grey", alt="A square.", start=1)
        >>> figure.labels[figure.start]
        'white'
        >>> figure._repr_html_().count("<img")
        2
    """

    frames: tuple[visualize.Picture, ...]
    labels: tuple[str, ...]
    name: str
    start: int
    caption: str

    def _repr_html_(self) -> str:
        """The element. Equal figures give equal text, and the id is a hash of what is shown."""
        images = "".join(
            frame.img(
                f'data-label="{html.escape(text)}"',
                # as a style, because JupyterLab strips the attribute `hidden` before one has run it
                "" if index == self.start else "display:none",
            )
            for index, (frame, text) in enumerate(zip(self.frames, self.labels, strict=True))
        )
        digest = hashlib.sha256(f"{self.name}{images}{self.caption}".encode()).hexdigest()
        key = f"fcn-slider-{digest[:12]}"
        label = html.escape(self.labels[self.start])
        caption = f"<figcaption>{html.escape(self.caption)}</figcaption>" if self.caption else ""
        return (
            f'<figure class="fcn-slider" id="{key}">'
            f'<style>{_CSS}</style><div class="frames">{images}</div>'
            f'<div class="control" style="width:{self.frames[0].width}px">'
            f"<label><span>{html.escape(self.name)}</span>"
            f'<input type="range" min="0" max="{len(self.frames) - 1}" step="1" '
            f'value="{self.start}" aria-valuetext="{label}" autocomplete="off" '
            f'oninput="{_SCRIPT}" onkeydown="{_KEEP_KEYS}"></label>'
            f'<output aria-live="off">{label}</output></div>'
            f"{caption}</figure>"
        )

    def __repr__(self) -> str:
        return f"Slider over {self.name}: {', '.join(self.labels)}"


def slider(
    frames: Sequence[Frame],
    labels: Sequence[object],
    *,
    name: str,
    alt: str | Sequence[str],
    start: int = 0,
    width: int | None = None,
    caption: str = "",
) -> SliderFigure:
    """A slider that shows one of several frames and its label.

    Args:
        frames: matplotlib figures (closed afterwards), PIL images or (H, W, 3 or 4) uint8 arrays,
            of one pixel size.
        labels: one for each frame, written as `str` writes it.
        name: stands before the slider.
        alt: one text a frame, or one text for all, to which name and label are added.
        start: the number of the frame shown first.
        width: of the frames, in CSS pixels; by default as `visualize.figure`.
        caption: text below.

    Returns:
        What a notebook shows where it is last in a cell.

    Raises:
        ValueError: where the numbers of frames, labels and texts differ, a frame has another size,
            `start` has no frame, or the element exceeds `LIMIT` bytes.

    ::

        >>> import numpy as np
        >>> frames = [np.full((8, 8, 3), grey, np.uint8) for grey in (0, 128, 255)]
        >>> figure = slider(frames, [0, 128, 255], name="Grey", alt="A square.")
        >>> figure
        Slider over Grey: 0, 128, 255
        >>> figure.frames[1].alt
        'A square. Grey: 128.'
    """
    texts = [str(label) for label in labels]
    alts = [f"{alt} {name}: {t}." for t in texts] if isinstance(alt, str) else list(alt)
    if len(frames) < 2 or {len(texts), len(alts)} != {len(frames)}:
        raise ValueError(
            f"{len(frames)} frames, {len(texts)} labels and {len(alts)} alt texts; "
            "pass two frames or more, and a label for each"
        )
    if not 0 <= start < len(frames):
        raise ValueError(f"start is {start}; pass a frame number from 0 to {len(frames) - 1}")
    pictures = tuple(
        visualize.figure(frame, alt=text, width=width)
        for frame, text in zip(frames, alts, strict=True)
    )
    for index, picture in enumerate(pictures):
        if picture.pixels != pictures[0].pixels:
            raise ValueError(
                f"frame {index} ({texts[index]}) is {picture.pixels} pixels but frame 0 is "
                f"{pictures[0].pixels}; draw all frames at one size"
            )
    element = SliderFigure(pictures, tuple(texts), name, start, caption)
    size = len(element._repr_html_())
    if size > LIMIT:
        raise ValueError(
            f"the slider {name!r} takes {size} bytes with {len(frames)} frames, over {LIMIT}; "
            "draw fewer or smaller frames"
        )
    return element


def interact(
    render: Callable[[Any], Frame],
    values: Sequence[Any],
    *,
    name: str,
    alt: str | Sequence[str],
    labels: Sequence[object] | None = None,
    start: int = 0,
    width: int | None = None,
    caption: str = "",
) -> SliderFigure:
    """A slider over `render(value)` for each of `values`, drawn now.

    Its twin for a running kernel is `live(render, minimum, maximum, name=…, alt=…)`, in a cell of
    its own.

    Args:
        render: draws the frame of a value: a matplotlib figure, a PIL image or a uint8 array.
        values: two or more.
        name, alt, start, width, caption: as `slider`.
        labels: one for each value; where None, the values themselves.

    Returns:
        As `slider`.

    Raises:
        ValueError: as `slider`.

    ::

        >>> import numpy as np
        >>> def square(side):
        ...     picture = np.full((8, 8, 3), 255, np.uint8)
        ...     picture[:side, :side] = 0
        ...     return picture
        >>> interact(square, range(2, 9, 2), name="Side", alt="A black square on white.")
        Slider over Side: 2, 4, 6, 8
    """
    frames = [render(value) for value in values]
    texts = values if labels is None else labels
    return slider(frames, texts, name=name, alt=alt, start=start, width=width, caption=caption)


def live(
    render: Callable[[Any], Frame],
    minimum: float,
    maximum: float,
    *,
    name: str,
    alt: str,
    step: float | None = None,
    start: float | None = None,
) -> None:
    """Show an ipywidgets slider that draws `render(value)` at each stop.

    Works with ipywidgets 7 and 8. Where nobody is at the slider, prints one line instead: outside a
    Jupyter kernel, and where the environment variable FCN_TUTORIAL_BATCH is set to anything but ""
    or "0", as the programs that execute or check notebooks do. So no widget state is stored in a
    page, where it would be dead, and a stored output equals a repeated one.

    Args:
        render: draws the frame of a value: a matplotlib figure, a PIL image or a uint8 array.
        minimum, maximum: the ends of the slider; where both are integers, and `step` is, its stops
            are.
        name: stands before the slider.
        alt: what is seen; name and value are added.
        step: between stops; by default 1 for integers, else a hundredth of the way.
        start: the value shown first; `minimum` by default.

    Outside a kernel::

        >>> import numpy as np
        >>> def grey(level):
        ...     return np.full((8, 8, 3), level, np.uint8)
        >>> live(grey, 0, 255, name="Level", alt="A grey square.")
        Run this cell with a kernel to move the slider to any value.
    """
    if not _attended():
        print("Run this cell with a kernel to move the slider to any value.")
        return
    import ipywidgets  # type: ignore[import-untyped,unused-ignore]

    whole = all(isinstance(n, int) for n in (minimum, maximum, step or 1))
    kind = ipywidgets.IntSlider if whole else ipywidgets.FloatSlider
    control = kind(
        value=minimum if start is None else start,
        min=minimum,
        max=maximum,
        step=(1 if whole else (maximum - minimum) / 100) if step is None else step,
        description=name,
        style={"description_width": "initial"},
        continuous_update=False,  # one drawing for each stop, not for each pixel of the way
    )

    def show(value: float) -> visualize.Picture:
        return visualize.figure(render(value), alt=f"{alt} {name}: {value}.")

    ipywidgets.interact(show, value=control)


def _attended() -> bool:
    """Whether a person may be at a Jupyter kernel."""
    if os.environ.get(BATCH, "") not in ("", "0"):
        return False
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    return getattr(get_ipython(), "kernel", None) is not None
