"""Pictures: label maps in colour, predictions beside the truth, and figures with alt text.

Masks are (H, W) integers with void 255; palettes are (C, 3) uint8, row c the colour of class c.
Images are (H, W, 3) arrays or (3, H, W) tensors, uint8 or floats in [0, 1]. Tensors are accepted
everywhere and copied to the host; torch itself is not imported.
"""

from __future__ import annotations

import base64
import html
import io
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import IO, Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

__all__ = [
    "GREY", "NARROW", "OKABE_ITO", "VOID_COLOUR", "WIDE", "Picture", "colourise", "error_map",
    "figure", "heat_map", "matrix_with_numbers", "overlay", "prediction_sheet", "save_mask",
    "show_segmentation", "training_curve", "use_style",
]  # fmt: skip

NARROW = 4.6  # inches; 442 CSS pixels, still legible when a phone shrinks it
WIDE = 7.2  # inches; 691 CSS pixels, the book's column in a window 1280 pixels wide
CSS_DPI = 96  # CSS pixels to the inch, by definition
PIXEL_DPI = 192  # two image pixels to a CSS pixel, for dense screens

OKABE_ITO: dict[str, str] = {  # Okabe and Ito 2008, "Color Universal Design"
    "blue": "#0072B2",
    "vermillion": "#D55E00",
    "green": "#009E73",
    "purple": "#CC79A7",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "yellow": "#F0E442",
    "black": "#000000",
}
GREY = "#757575"  # text and axes: contrast of at least 4.5 with white and with black (WCAG 1.4.3)
VOID_COLOUR = (224, 224, 192)  # the cream of the VOC palette's entry 255
WRONG_COLOUR = (213, 94, 0)  # Okabe-Ito vermillion
UNSCORED_COLOUR = (150, 150, 150)

_VOID_INDEX = 255
_STYLE = resources.files("fcn_tutorial") / "styles" / "book.mplstyle"


def use_style() -> None:
    """Draw every later matplotlib figure in the book's style.

    In a notebook, figures shown without `figure` become PNGs of two image pixels to a CSS pixel,
    with their transparent ground kept.

    ::

        >>> import matplotlib
        >>> with matplotlib.rc_context():  # for these lines alone
        ...     use_style()
        ...     matplotlib.rcParams["figure.figsize"]
        [4.6, 2.9]
    """
    import matplotlib.style

    with resources.as_file(_STYLE) as path:
        matplotlib.style.use(path)
    if "IPython" in sys.modules and sys.modules["IPython"].get_ipython() is not None:
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats("retina", facecolor="none")  # type: ignore[no-untyped-call]


# Arrays in, arrays out


def _array(value: Any) -> NDArray[Any]:
    """The value as a NumPy array; tensors are detached and copied to the host."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    return np.asarray(value)


def _labels(mask: Any, num_classes: int, ignore_index: int, name: str = "mask") -> NDArray[Any]:
    """(H, W) uint8 labels with void 255.

    Raises:
        ValueError: for a label that has no class.
    """
    labels = _array(mask)
    if labels.ndim != 2 or labels.dtype.kind not in "iub":
        raise ValueError(
            f"{name} has shape {labels.shape} and dtype {labels.dtype}; pass (H, W) integer labels"
        )
    void = labels == ignore_index
    wrong = np.unique(labels[~void & ((labels < 0) | (labels >= num_classes))])
    if wrong.size:
        raise ValueError(
            f"{name} holds label {wrong[0]}, but the palette has {num_classes} colours and "
            f"ignore_index is {ignore_index}; pass the palette of this data set"
        )
    return np.where(void, _VOID_INDEX, labels).astype(np.uint8)


def _lookup(palette: Any) -> NDArray[np.uint8]:
    """(256, 3) uint8: the palette, black where no class is, void's cream at 255."""
    colours = _array(palette)
    if colours.ndim != 2 or colours.shape[1] != 3 or not 1 <= len(colours) <= _VOID_INDEX:
        raise ValueError(f"palette has shape {colours.shape}; pass (C, 3) with 1 to 255 classes")
    if colours.min() < 0 or colours.max() > 255 or colours.dtype.kind not in "iu":
        raise ValueError(f"palette holds {colours.dtype} values; pass integers from 0 to 255")
    table = np.zeros((256, 3), np.uint8)
    table[: len(colours)] = colours
    table[_VOID_INDEX] = VOID_COLOUR
    return table


def _rgb(image: Any) -> NDArray[np.uint8]:
    """An image of either layout as (H, W, 3) uint8."""
    channels_first = hasattr(image, "detach")
    pixels = _array(image)
    if pixels.ndim == 3 and pixels.shape[0] == 3 and (channels_first or pixels.shape[2] != 3):
        pixels = np.moveaxis(pixels, 0, 2)
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"image has shape {pixels.shape}; pass (H, W, 3), or (3, H, W)")
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype.kind != "f" or not (pixels.min() >= 0 and pixels.max() <= 1):
        raise ValueError(
            f"image holds {pixels.dtype} values from {pixels.min()} to {pixels.max()}; pass uint8, "
            "or floats in [0, 1] (undo a normalisation first)"
        )
    scaled: NDArray[np.uint8] = np.rint(pixels * 255).astype(np.uint8)
    return scaled


def _same_size(image: NDArray[Any], mask: NDArray[Any], name: str) -> None:
    if image.shape[:2] != mask.shape:
        raise ValueError(
            f"{name} is {mask.shape} but the image is {image.shape[:2]}; bring them to one size"
        )


def colourise(mask: Any, palette: Any, ignore_index: int = 255) -> NDArray[np.uint8]:
    """Labels in the colours of a palette.

    Args:
        mask: (H, W) integers.
        palette: (C, 3), the colour of each class.
        ignore_index: the label of void, which is drawn in cream.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: for a label outside the palette that is not `ignore_index`.

    ::

        >>> import numpy as np
        >>> colourise(np.array([[0, 1, 255]]), [[0, 0, 0], [128, 0, 0]]).tolist()
        [[[0, 0, 0], [128, 0, 0], [224, 224, 192]]]
    """
    colours: NDArray[np.uint8] = _lookup(palette)[_labels(mask, len(palette), ignore_index)]
    return colours


def save_mask(mask: Any, palette: Any, path: str | Path, ignore_index: int = 255) -> None:
    """Write labels as an 8-bit palette PNG, the format of VOC's own masks.

    The pixel values are the labels and void is 255, so reading the file gives the labels back; a
    viewer shows the colours.

    Args:
        mask: (H, W) integers.
        palette: (C, 3), the colour of each class.
        path: of the file, a PNG whatever its name ends in.
        ignore_index: the label of void in `mask`.

    Raises:
        ValueError: as `colourise` does.

    ::

        >>> import tempfile
        >>> import numpy as np
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_mask(np.array([[0, 1, 255]]), [[0, 0, 0], [128, 0, 0]], f"{folder}/mask.png")
        ...     np.asarray(Image.open(f"{folder}/mask.png")).tolist()
        [[0, 1, 255]]
    """
    picture = Image.fromarray(_labels(mask, len(palette), ignore_index))
    picture.putpalette(_lookup(palette).tobytes())
    picture.save(path, format="PNG")


def overlay(
    image: Any, mask: Any, palette: Any, alpha: float = 0.5, ignore_index: int = 255
) -> NDArray[np.uint8]:
    """An image with the colours of its classes laid over it; void shows through.

    Args:
        image: (H, W, 3) or (3, H, W).
        mask: (H, W) integers.
        palette: (C, 3), the colour of each class.
        alpha: opacity of the colours, from 0 to 1.
        ignore_index: the label of void.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: where `alpha` is outside [0, 1] or sizes differ.

    ::

        >>> import numpy as np
        >>> grey = np.full((1, 2, 3), 100, np.uint8)
        >>> overlay(grey, np.array([[1, 255]]), [[0, 0, 0], [200, 0, 0]]).tolist()
        [[[150, 50, 50], [100, 100, 100]]]
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha is {alpha}; pass an opacity from 0 to 1")
    pixels, labels = _rgb(image), _labels(mask, len(palette), ignore_index)
    _same_size(pixels, labels, "mask")
    mixed: NDArray[np.uint8] = np.rint(
        (1 - alpha) * pixels + alpha * _lookup(palette)[labels]
    ).astype(np.uint8)
    mixed[labels == _VOID_INDEX] = pixels[labels == _VOID_INDEX]
    return mixed


def error_map(
    image: Any, target: Any, prediction: Any, ignore_index: int = 255
) -> NDArray[np.uint8]:
    """Where a prediction is wrong: vermillion; void grey; elsewhere the image, dark and colourless.

    Args:
        image: (H, W, 3) or (3, H, W).
        target, prediction: (H, W) integers.
        ignore_index: the label of void in `target`.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: where sizes differ.

    A right pixel, a wrong one and a void one of a black image::

        >>> import numpy as np
        >>> black = np.zeros((1, 3, 3), np.uint8)
        >>> error_map(black, np.array([[1, 1, 255]]), np.array([[1, 0, 0]])).tolist()
        [[[0, 0, 0], [213, 94, 0], [150, 150, 150]]]
    """
    pixels, truth, guess = _rgb(image), _array(target), _array(prediction)
    _same_size(pixels, truth, "target")
    _same_size(pixels, guess, "prediction")
    luma = pixels @ np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
    shown = np.repeat((0.4 * luma).astype(np.uint8)[..., None], 3, axis=2)
    shown[truth != guess] = WRONG_COLOUR
    shown[truth == ignore_index] = UNSCORED_COLOUR
    return shown


# Figures with alt text


@dataclass(frozen=True)
class Picture:
    """A WebP image, its alt text, and the width at which it is shown; `figure` makes them.

    Shown the same by Jupyter, Colab and the rendered book: an `<img>` that shrinks with the page.

    Attributes:
        webp: the file's bytes.
        pixels: width and height.
        width: in CSS pixels.
        alt: what is seen.

    ::

        >>> import numpy as np
        >>> picture = figure(np.zeros((2, 3, 3), np.uint8), alt="A black block.", width=30)
        >>> 'alt="A black block." width="30" height="20"' in picture.img()
        True
    """

    webp: bytes
    pixels: tuple[int, int]  # width, height
    width: int
    alt: str

    def img(self, attributes: str = "", css: str = "") -> str:
        """The `<img>` element; `attributes` and the declarations `css` are added as they stand."""
        # The theme puts a white card behind images in dark mode; these grounds are transparent.
        style = (
            "max-width:100%;height:auto;background:var(--fcn-ground,none)!important;padding:0!important;"
            "filter:none!important"
        )
        if self.width > self.pixels[0]:
            style += ";image-rendering:pixelated"  # an enlarged array keeps its squares
        style += css and f";{css}"
        source = base64.b64encode(self.webp).decode()
        height = round(self.width * self.pixels[1] / self.pixels[0])
        return (
            f'<img class="fcn-figure" src="data:image/webp;base64,{source}" '
            f'alt="{html.escape(self.alt)}" width="{self.width}" height="{height}" '
            f'style="{style}"{attributes and " " + attributes}>'
        )

    def __repr__(self) -> str:
        return f"Picture: {self.alt}"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/html": self.img(), "text/plain": repr(self)}


def figure(fig: Figure | Image.Image | ArrayLike, *, alt: str, width: int | None = None) -> Picture:
    """Turn a figure, an image or an array into a `Picture`, which a notebook shows with alt text.

    Args:
        fig: a matplotlib figure, which is closed, so that a notebook does not show it a second
            time; a PIL image; or an (H, W, 3 or 4) uint8 array.
        alt: what is seen, in a sentence.
        width: in CSS pixels; where None, a figure's own width at 96 to the inch, or an array's own
            pixels.

    Returns:
        What a notebook shows where it is last in a cell.

    Raises:
        ValueError: where `alt` is empty or the array has another form.

    ::

        >>> import numpy as np
        >>> picture = figure(np.zeros((2, 3, 3), np.uint8), alt="A black block.")
        >>> picture
        Picture: A black block.
        >>> picture.pixels, picture.width
        ((3, 2), 3)
    """
    if not alt.strip():
        raise ValueError("alt is empty; say in a sentence what the figure shows")
    if isinstance(fig, Figure):
        picture, natural = _draw(fig), round(fig.get_figwidth() * CSS_DPI)
    else:
        picture = fig if isinstance(fig, Image.Image) else _from_array(fig)
        natural = picture.width
    shown = width or natural
    data = _webp(picture, exact=shown > picture.width)
    return Picture(data, picture.size, shown, " ".join(alt.split()))


def _draw(fig: Figure) -> Image.Image:
    """Rasterise a figure and take it out of pyplot's list."""
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=PIXEL_DPI, transparent=True, bbox_inches=None)
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close(fig)
    return Image.open(buffer).convert("RGBA")


def _from_array(value: ArrayLike) -> Image.Image:
    pixels = _array(value)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (3, 4):
        raise ValueError(
            f"the picture is an array {pixels.shape} of {pixels.dtype}; pass (H, W, 3 or 4) uint8, "
            "a PIL image or a matplotlib figure"
        )
    return Image.fromarray(pixels)


def _webp(picture: Image.Image, exact: bool) -> bytes:
    """Lossless, as line drawings and enlarged arrays want it.

    Where `exact` is false: lossy if that takes less than half, as it does for photographs.
    """
    if picture.mode not in ("RGB", "RGBA"):
        picture = picture.convert("RGBA")
    lossless, lossy = io.BytesIO(), io.BytesIO()
    picture.save(lossless, "WEBP", lossless=True, quality=60, method=4)
    if exact:
        return lossless.getvalue()
    picture.save(lossy, "WEBP", quality=85, method=4)
    return (lossy if 2 * lossy.tell() < lossless.tell() else lossless).getvalue()


# Drawing on axes


def matrix_with_numbers(
    ax: Axes,
    array: Any,
    *,
    fmt: str = "g",
    highlight: Any = None,
    shade: bool = False,
    row_label: str = "row",
    column_label: str = "column",
) -> None:
    """Draw a small array as a grid with every number in its cell.

    Args:
        ax: where it is drawn.
        array: (rows, columns).
        fmt: format specification of the numbers, such as ".2f".
        highlight: booleans (rows, columns); where they hold, a cell gets a vermillion frame.
        shade: whether cells are coloured by value, in viridis.
        row_label, column_label: names of the axes.

    Raises:
        ValueError: for an array of other dimensions, and for one of more than 400 cells.

    ::

        >>> from matplotlib.figure import Figure
        >>> ax = Figure().subplots()
        >>> matrix_with_numbers(ax, [[0.25, -1], [0, 2]], fmt=".2f")
        >>> [text.get_text() for text in ax.texts]
        ['0.25', '−1.00', '0.00', '2.00']
    """
    values = _array(array)
    if values.ndim != 2 or values.size > 400:
        raise ValueError(f"array has shape {values.shape}; pass two dimensions, 400 cells at most")
    rows, columns = values.shape
    shades = _shades(values) if shade else np.zeros((rows, columns, 4))
    # White on relative luminance below 0.18, where black and white contrast alike (WCAG).
    dark = shades[..., :3] ** 2.2 @ np.array([0.2126, 0.7152, 0.0722]) < 0.18
    marked = np.zeros(values.shape, bool) if highlight is None else _array(highlight)
    ax.imshow(shades, aspect="equal")
    for (row, column), value in np.ndenumerate(values):
        ink = ("white" if dark[row, column] else "black") if shade else GREY
        number = format(value, fmt).replace("-", "−")  # as the axes write it
        ax.text(column, row, number, ha="center", va="center", color=ink)
    ax.set_xticks(range(columns))
    ax.set_yticks(range(rows))
    ax.set_xticks(np.arange(columns + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(rows + 1) - 0.5, minor=True)
    ax.grid(which="minor", alpha=0.6)
    ax.tick_params(which="both", length=0)
    ax.set(xlabel=column_label, ylabel=row_label)
    for row, column in np.argwhere(marked):
        corner, edge = (column - 0.5, row - 0.5), OKABE_ITO["vermillion"]
        ax.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=edge, linewidth=2.5, zorder=3))


def _shades(values: NDArray[Any]) -> NDArray[np.float64]:
    """(H, W, 4) viridis colours of the values, lowest to highest."""
    low, high = np.nanmin(values), np.nanmax(values)
    scaled = (values - low) / (high - low) if high > low else np.zeros(values.shape)
    return np.asarray(matplotlib.colormaps["viridis"](scaled))


def heat_map(
    ax: Axes,
    array: Any,
    *,
    label: str,
    vmin: float | None = None,
    vmax: float | None = None,
    extent: tuple[float, float, float, float] | None = None,
) -> AxesImage:
    """Draw an array in viridis, which keeps its order for every kind of colour vision and in print.

    Args:
        ax: where it is drawn; a colour bar is set beside it.
        array: (H, W).
        label: the name of the colour bar.
        vmin, vmax: the values of the darkest and the lightest colour; the array's own by default.
        extent: as for matplotlib's imshow: left, right, bottom, top; by default axes count cells.

    Returns:
        The image as matplotlib draws it.

    ::

        >>> from matplotlib.figure import Figure
        >>> image = heat_map(Figure().subplots(), [[0.0, 1.0], [2.0, 5.0]], label="weight", vmax=3)
        >>> image.get_clim()
        (0.0, 3.0)
        >>> image.colorbar.ax.get_ylabel()
        'weight'
    """
    values = _array(array)
    image = ax.imshow(values, cmap="viridis", vmin=vmin, vmax=vmax, extent=extent)
    if extent is None:  # the ticks count cells
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    parent = ax.get_figure()
    assert parent is not None, "axes always have a figure"
    parent.colorbar(image, ax=ax, label=label)
    return image


def show_segmentation(
    images: Sequence[Any],
    targets: Sequence[Any],
    predictions: Sequence[Any] | None = None,
    *,
    classes: Sequence[str],
    palette: Any,
    ignore_index: int = 255,
) -> Figure:
    """One row for each image: the image, the truth and, where given, the prediction and its errors.

    A legend below names the classes that occur.

    Args:
        images: (H, W, 3) or (3, H, W) each.
        targets: (H, W) integers each.
        predictions: likewise; None: images and truth alone.
        classes: the name of each class.
        palette: (C, 3), the colour of each class.
        ignore_index: the label of void in the targets.

    Returns:
        The matplotlib figure; give it alt text with `figure`.

    Raises:
        ValueError: where the sequences differ in length.

    ::

        >>> import numpy as np
        >>> image, truth = np.zeros((32, 32, 3), np.uint8), np.eye(32, dtype=int)
        >>> classes, palette = ["ground", "line", "sky"], [[0, 0, 0], [255, 0, 0], [0, 0, 255]]
        >>> fig = show_segmentation([image], [truth], classes=classes, palette=palette)
        >>> [ax.get_title() for ax in fig.axes]
        ['image', 'truth']
        >>> [text.get_text() for text in fig.legends[0].get_texts()]
        ['ground', 'line']
    """
    guesses = [None] * len(images) if predictions is None else list(predictions)
    if not len(images) or {len(targets), len(guesses)} != {len(images)}:
        raise ValueError(
            f"{len(images)} images, {len(targets)} targets and {len(guesses)} predictions; "
            "pass one of each for every image, and at least one image"
        )
    headings = ["image", "truth"] + ([] if predictions is None else ["prediction", "errors"])
    inches = NARROW if predictions is None else WIDE
    shown = [*targets, *(predictions if predictions is not None else [])]
    height, width = _rgb(images[0]).shape[:2]
    rows_high = len(images) * inches / len(headings) * height / width
    fig = Figure(figsize=(inches, rows_high + 0.3), layout="constrained")
    grid = fig.subplots(len(images), len(headings), squeeze=False)
    for row, image, target, guess in zip(grid, images, targets, guesses, strict=True):
        panels = _panels(image, target, guess, palette, ignore_index)
        for ax, panel in zip(row, panels, strict=True):
            ax.imshow(panel)
            ax.set_axis_off()
    for ax, heading in zip(grid[0], headings, strict=True):
        ax.set_title(heading)
    class_legend(fig, shown, classes, palette, ignore_index)
    return fig


#: Inches that matplotlib's constrained layout keeps free above and below a legend, together.
_LEGEND_GAP = 0.12


def class_legend(
    fig: Figure, masks: Iterable[Any], classes: Sequence[str], palette: Any, ignore_index: int = 255
) -> None:
    """Name the colours of the classes that occur in masks, below a figure, in place.

    Args:
        fig: with constrained layout, as `use_style` sets it; it becomes higher by the legend.
        masks: the labels that it shows, as `colourise` takes them.
        classes, palette, ignore_index: as `colourise` and `show_segmentation` take them.

    Raises:
        ValueError: for a figure of another layout, and for a label without a name.

    ::

        >>> import numpy as np
        >>> from matplotlib.figure import Figure
        >>> fig, masks = Figure(layout="constrained"), [np.array([[0, 0], [0, 255]])]
        >>> class_legend(fig, masks, ["ground", "sky"], [[0, 0, 0], [0, 0, 255]])
        >>> [text.get_text() for text in fig.legends[0].get_texts()]
        ['ground', 'void']
    """
    if not isinstance(fig.get_layout_engine(), ConstrainedLayoutEngine):
        raise ValueError(
            "fig has no constrained layout, so the legend would lie on its axes; make it with "
            'layout="constrained", or call use_style before'
        )
    table = _lookup(palette) / 255
    occurring = _occurring(masks, classes, ignore_index)
    # An edge shows the patches of which the colour is the page's.
    handles = [
        Patch(facecolor=table[label], edgecolor=GREY, label=name) for label, name in occurring
    ]
    if not handles:
        return
    for columns in range(3 if fig.get_figwidth() <= NARROW else 5, 0, -1):
        legend = fig.legend(handles=handles, loc="outside lower center", ncols=columns)
        fig.draw_without_rendering()
        extent = legend.get_window_extent()
        if extent.width <= fig.get_figwidth() * fig.dpi or columns == 1:
            break
        legend.remove()  # long names
    fig.set_figheight(fig.get_figheight() + extent.height / fig.dpi + _LEGEND_GAP)


def _panels(
    image: Any, target: Any, prediction: Any, palette: Any, ignore_index: int
) -> list[NDArray[np.uint8]]:
    """Image and truth, then prediction and errors where there is a prediction."""
    panels = [_rgb(image), colourise(target, palette, ignore_index)]
    if prediction is not None:
        panels.append(colourise(prediction, palette, ignore_index))
        panels.append(error_map(image, target, prediction, ignore_index))
    return panels


def _occurring(
    masks: Iterable[Any], classes: Sequence[str], ignore_index: int
) -> list[tuple[int, str]]:
    """(label, name) of every class in the masks, in the order of the classes, void last."""
    present = {int(label) for mask in masks for label in np.unique(_array(mask))}
    if nameless := sorted(c for c in present - {ignore_index} if not 0 <= c < len(classes)):
        raise ValueError(
            f"a mask holds label {nameless[0]}, but {len(classes)} classes have names; pass the "
            "classes of this data set"
        )
    named = [(label, classes[label]) for label in sorted(present - {ignore_index})]
    return named + ([(_VOID_INDEX, "void")] if ignore_index in present else [])


# Files in a run folder


def prediction_sheet(
    samples: Iterable[tuple[Any, Any, Any]],
    classes: Sequence[str],
    palette: Any,
    path: str | Path | IO[bytes],
    *,
    ignore_index: int = 255,
    cell_width: int = 240,
    transparent: bool = False,
) -> None:
    """Write a PNG with a row for each sample: image, truth, prediction and errors.

    Errors are vermillion and void is grey; a legend names the classes that occur. The ground is
    white, which any viewer shows alike.

    Args:
        samples: (image, target, prediction) each, as `show_segmentation` takes them, of any sizes.
        classes: the name of each class.
        palette: (C, 3), the colour of each class.
        path: of the PNG, or an open binary file.
        ignore_index: the label of void in the targets.
        cell_width: of each of the four pictures in a row, in pixels.
        transparent: leave the ground out and make words grey, for pages that may be light or dark.

    Raises:
        ValueError: where there is no sample.

    Four cells of 240 pixels and five gaps of 8 make the width::

        >>> import io
        >>> import numpy as np
        >>> from PIL import Image
        >>> image, truth = np.zeros((32, 32, 3), np.uint8), np.eye(32, dtype=int)
        >>> palette, file = [[0, 0, 0], [255, 0, 0]], io.BytesIO()
        >>> prediction_sheet([(image, truth, truth)], ["ground", "line"], palette, file)
        >>> Image.open(file).width
        1000
    """
    rows, masks = [], []
    for image, target, prediction in samples:
        panels = _panels(image, target, prediction, palette, ignore_index)
        rows.append([_resized(panel, cell_width, index > 0) for index, panel in enumerate(panels)])
        masks += [target, prediction]
    if not rows:
        raise ValueError("samples is empty; pass at least one (image, target, prediction)")
    gap, line = 8, 24
    legend = _legend_lines(_occurring(masks, classes, ignore_index), 4 * (cell_width + gap) - gap)
    height = line + sum(row[0].height + gap for row in rows) + line * len(legend) + gap
    size = (4 * (cell_width + gap) + gap, height)
    sheet = Image.new("RGBA", size) if transparent else Image.new("RGB", size, "white")
    ink = GREY if transparent else "black"
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for column, heading in enumerate(("image", "truth", "prediction", "errors")):
        draw.text((gap + column * (cell_width + gap), 4), heading, fill=ink, font=font)
    top = line
    for row in rows:
        for column, cell in enumerate(row):
            sheet.paste(cell, (gap + column * (cell_width + gap), top))
        top += row[0].height + gap
    table = _lookup(palette)
    for entries in legend:
        for left, label, name in entries:
            box = (gap + left, top + 5, gap + left + 14, top + 19)
            draw.rectangle(box, fill=tuple(table[label].tolist()), outline="grey")
            draw.text((gap + left + 20, top + 3), name, fill=ink, font=font)
        top += line
    sheet.save(path, format="PNG")


def _resized(panel: NDArray[np.uint8], width: int, nearest: bool) -> Image.Image:
    """The panel `width` pixels wide; label colours are never mixed."""
    picture = Image.fromarray(panel)
    height = max(1, round(picture.height * width / picture.width))
    how = Image.Resampling.NEAREST if nearest else Image.Resampling.BICUBIC
    return picture.resize((width, height), how)


def _legend_lines(
    occurring: Sequence[tuple[int, str]], width: int
) -> list[list[tuple[int, int, str]]]:
    """Break the legend into lines of (left edge, label, name) that fit `width` pixels."""
    font, lines, left = ImageFont.load_default(14), [[]], 0  # type: ignore[var-annotated]
    for label, name in occurring:
        needed = 20 + math.ceil(font.getlength(name)) + 18
        if left and left + needed > width:
            lines.append([])
            left = 0
        lines[-1].append((left, label, name))
        left += needed
    return lines


#: What `training_curve` draws below the loss: {column of the log: (name, factor)}.
_VALIDATION: Mapping[str, tuple[str, float]] = {"val_mean_iu": ("validation mean IU (%)", 100)}


def training_curve(
    rows: Sequence[Mapping[str, Any]],
    path: str | Path,
    scores: Mapping[str, tuple[str, float]] = _VALIDATION,
) -> None:
    """Write a PNG of the loss and, where there are any, the validation scores, against the step.

    Uses neither pyplot nor a display, and leaves matplotlib's settings as they were.

    Args:
        rows: those of a run's `log.csv`, mappings with `step`, `loss` and the columns of `scores`,
            as numbers or as text; absent and empty values are left out.
        path: of the picture.
        scores: {column: (what the axis is called, what values are multiplied by)}, a panel each.

    Two panels of 7.2 by 2.6 inches with 110 pixels to the inch, one above the other::

        >>> import tempfile
        >>> from matplotlib.image import imread
        >>> rows = [{"step": 0, "loss": 2.5}, {"step": 10, "loss": 1.0, "val_mean_iu": 0.4}]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     training_curve(rows, f"{folder}/curve.png")
        ...     imread(f"{folder}/curve.png").shape
        (572, 792, 4)
    """
    loss = _series(rows, "loss")
    found = [
        (name, _series(rows, key) * np.array([1, factor])) for key, (name, factor) in scores.items()
    ]
    series = [(name, score) for name, score in found if len(score)]
    count = 1 + len(series)
    with resources.as_file(_STYLE) as style, matplotlib.rc_context(fname=style):
        fig = Figure(figsize=(WIDE, 2.6 * count))
        axes = fig.subplots(count, 1, sharex=True, squeeze=False)[:, 0]
        axes[0].plot(*loss.T, color=OKABE_ITO["blue"], alpha=0.35 if len(loss) > 100 else 1.0)
        if len(loss) > 100:
            axes[0].plot(*_running_mean(loss).T, color=OKABE_ITO["blue"])
        axes[0].set(ylabel="loss")
        for ax, (name, score) in zip(axes[1:], series, strict=True):
            ax.plot(*score.T, color=OKABE_ITO["vermillion"], marker="o", clip_on=False)
            ax.set(ylabel=name, ylim=(0, None))
        for ax in axes:
            ax.grid(True)
        axes[-1].set(xlabel="step")
        # White, because a picture viewer puts any ground behind a transparent file.
        fig.savefig(path, format="png", dpi=110, facecolor="white", transparent=False)


def _series(rows: Sequence[Mapping[str, Any]], key: str) -> NDArray[np.float64]:
    """(n, 2) finite pairs of step (or row number, where there is none) and value."""
    pairs = [
        (_number(row.get("step"), index), _number(row.get(key), math.nan))
        for index, row in enumerate(rows)
    ]
    return np.array([pair for pair in pairs if math.isfinite(pair[1])]).reshape(-1, 2)


def _number(value: Any, absent: float) -> float:
    return absent if value is None or value == "" else float(value)


def _running_mean(series: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means of windows of a fiftieth of the points, at the windows' centres."""
    window = max(2, len(series) // 50)
    sums = np.cumsum(np.vstack([np.zeros(2), series]), axis=0)
    means: NDArray[np.float64] = (sums[window:] - sums[:-window]) / window
    return means
