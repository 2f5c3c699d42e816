"""What can be said of a pixel without learning: colour, filter responses, patterns, edges, place.

Each feature takes an image uint8 (3, H, W) of any size and gives (H, W, D) float32. Beyond the edge
an image is taken to go on as its mirror image (filters) or as its outermost pixels (the others), so
that a picture smaller than a filter has features too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fcn_tutorial.files import one_of
from fcn_tutorial.prior.method import Image, pixels_of
from fcn_tutorial.visualize import WIDE

Floats = NDArray[np.float32]

#: From linear sRGB to CIE XYZ, and the white of daylight D65 (IEC 61966-2-1).
_XYZ = np.array(
    [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
)
_WHITE = np.array([0.95047, 1.0, 1.08883])
_ORIENTATIONS = 9
_CELL = 8  # pixels: side of the window in which oriented gradients are averaged
_WINDOW = 9  # pixels: side of the window in which binary patterns are counted


class Feature(NamedTuple):
    """Names of the channels of a feature, and what computes them.

    Attributes:
        channels: D names.
        compute: of an image uint8 (3, H, W), float32 (H, W, D).

    ::

        >>> FEATURES["position"].channels
        ('row', 'column')
    """

    channels: tuple[str, ...]
    compute: Callable[[NDArray[np.uint8]], Floats]


def described(image: Image, features: Sequence[str] | None = None) -> Floats:
    """Several features of an image side by side.

    Args:
        image: uint8 (3, H, W).
        features: names in `FEATURES`; None for all of them.

    Returns:
        (H, W, ΣD) float32.

    Raises:
        ValueError: for an unknown name and another kind of image.

    Three channels of colour and two of place::

        >>> import numpy as np
        >>> described(np.zeros((3, 4, 6), np.uint8), ["colour", "position"]).shape
        (4, 6, 5)
    """
    pixels = pixels_of(image)
    parts = [
        _feature(name).compute(pixels) for name in (FEATURES if features is None else features)
    ]
    if not parts:
        raise ValueError("features=(): name at least one")
    return np.concatenate(parts, axis=2)


def draw(image: Image, feature: str, columns: int = 5) -> Figure:
    """The image and every channel of a feature as grey values, black the least, white the most.

    Args:
        image: uint8 (3, H, W).
        feature: a name in `FEATURES`.
        columns: pictures in a row of the figure.

    Returns:
        The figure; give it alt text with `visualize.figure`.

    Raises:
        ValueError: as `described`.

    ::

        >>> import numpy as np
        >>> fig = draw(np.zeros((3, 4, 6), np.uint8), "position", columns=3)
        >>> [ax.get_title() for ax in fig.axes]
        ['image', 'row', 'column']
    """
    pixels, (channels, compute) = pixels_of(image), _feature(feature)
    height, width = pixels.shape[1:]
    rows = -(-(len(channels) + 1) // columns)
    inches = WIDE / columns * height / width + 0.25
    fig = Figure(figsize=(WIDE, rows * inches), layout="constrained")
    axes = fig.subplots(rows, columns, squeeze=False).ravel()
    axes[0].imshow(pixels.transpose(1, 2, 0))
    axes[0].set_title("image")
    maps = compute(pixels).transpose(2, 0, 1)
    for ax, name, values in zip(axes[1:], channels, maps, strict=False):  # some stay empty
        ax.imshow(values, cmap="gray")
        ax.set_title(name)
    for ax in axes:
        ax.set_axis_off()
    return fig


def _feature(name: str) -> Feature:
    return FEATURES[one_of("feature", name, FEATURES)]


# ---- The features --------------------------------------------------------------------------------


def colour(image: NDArray[np.uint8]) -> Floats:
    """CIE Lab of daylight: lightness from 0 to 100, green to red, blue to yellow.

    Args:
        image: uint8 (3, H, W).

    Returns:
        (H, W, 3) float32.

    White, and a middle grey that is as light as half of it::

        >>> import numpy as np
        >>> pixels = np.array([[[255, 119]]] * 3, np.uint8)
        >>> np.abs(colour(pixels)).round().tolist()
        [[[100.0, 0.0, 0.0], [50.0, 0.0, 0.0]]]
    """
    values = np.arange(256) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    xyz = np.tensordot(linear[image], _XYZ, axes=(0, 1)) / _WHITE
    root = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = np.moveaxis(root, 2, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=2).astype(np.float32)


def filters(image: NDArray[np.uint8]) -> Floats:
    """The 17 filters of TextonBoost on Lab.

    Gaussians of σ = 1, 2, 4 pixels on all three channels; on lightness, derivatives of Gaussians
    along x and along y of σ = 2, 4, and Laplacians of Gaussians of σ = 1, 2, 4, 8. Source: Shotton,
    Winn, Rother, Criminisi, IJCV 2009, section 3.2; σ as in Krähenbühl's code.

    Args:
        image: uint8 (3, H, W).

    Returns:
        (H, W, 17) float32.

    On an even ground the derivatives answer nothing::

        >>> import numpy as np
        >>> white = np.full((3, 4, 4), 255, np.uint8)
        >>> np.abs(filters(white)[0, 0]).round().astype(int).tolist()
        [100, 0, 0, 100, 0, 0, 100, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    """
    from scipy import ndimage

    lab = colour(image).transpose(2, 0, 1)
    found = [ndimage.gaussian_filter(channel, sigma) for sigma in (1, 2, 4) for channel in lab]
    for sigma in (2, 4):
        found += [ndimage.gaussian_filter(lab[0], sigma, order) for order in ((0, 1), (1, 0))]
    found += [ndimage.gaussian_laplace(lab[0], sigma) for sigma in (1, 2, 4, 8)]
    return np.stack(found, axis=2)


def patterns(image: NDArray[np.uint8]) -> Floats:
    """How often each local binary pattern occurs in the 9×9 pixels around.

    A pattern says which of the eight neighbours are at least as light as the pixel. Those with two
    changes at most on the way round are told apart by how many are (0 to 8), the rest are one kind.
    Source: Ojala, Pietikäinen, Mäenpää, PAMI 2002, its "riu2" on the square of neighbours.

    Args:
        image: uint8 (3, H, W).

    Returns:
        (H, W, 10) float32, summing to one.

    On an even ground all eight are::

        >>> import numpy as np
        >>> patterns(np.zeros((3, 4, 4), np.uint8))[0, 0].round(3).tolist()
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    """
    light = colour(image)[..., 0]
    height, width = light.shape
    around = np.pad(light, 1, mode="edge")
    circle = ((0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0))
    bits = np.stack([around[y : y + height, x : x + width] >= light for y, x in circle])
    uniform = (bits != np.roll(bits, 1, axis=0)).sum(0) <= 2
    kind = np.where(uniform, bits.sum(0), 9)
    occurs = (kind[..., None] == np.arange(10)).astype(np.float32)
    return _averaged(occurs, _WINDOW)


def gradients(image: NDArray[np.uint8]) -> Floats:
    """How strong edges of each orientation are in the 8×8 pixels around.

    The gradient of lightness is shared between the two nearest of nine orientations over half a
    turn, averaged, and divided by the length of the nine, plus one. After Dalal and Triggs, CVPR
    2005, at every pixel and with the cell as its own block.

    Args:
        image: uint8 (3, H, W).

    Returns:
        (H, W, 9) float32.

    Light grows from left to right, which is the first orientation::

        >>> import numpy as np
        >>> picture = np.zeros((3, 8, 8), np.uint8)
        >>> picture[:, :, 4:] = 200
        >>> (gradients(picture)[4, 4] > 0.1).astype(int).tolist()
        [1, 0, 0, 0, 0, 0, 0, 0, 0]
    """
    from scipy import ndimage

    light = colour(image)[..., 0]
    dy, dx = (ndimage.correlate1d(light, [-1, 0, 1], axis, mode="nearest") for axis in (0, 1))
    place = np.arctan2(dy, dx) % np.pi / np.pi * _ORIENTATIONS
    lower = np.floor(place).astype(int)
    found = np.zeros((*light.shape, _ORIENTATIONS), np.float32)
    rows, columns = np.indices(light.shape)
    for orientation, share in ((lower, 1 - (place - lower)), (lower + 1, place - lower)):
        found[rows, columns, orientation % _ORIENTATIONS] += np.hypot(dx, dy) * share
    mean = _averaged(found, _CELL)
    mean /= np.linalg.norm(mean, axis=2, keepdims=True) + 1
    return mean


def position(image: NDArray[np.uint8]) -> Floats:
    """Row and column of the pixel's centre, as fractions of height and width.

    Args:
        image: uint8 (3, H, W).

    Returns:
        (H, W, 2) float32.

    ::

        >>> import numpy as np
        >>> position(np.zeros((3, 2, 4), np.uint8))[0].tolist()
        [[0.25, 0.125], [0.25, 0.375], [0.25, 0.625], [0.25, 0.875]]
    """
    _, height, width = image.shape
    places = np.indices((height, width), np.float32) + np.float32(0.5)
    return np.stack([places[0] / height, places[1] / width], axis=2)


def _averaged(values: Floats, side: int) -> Floats:
    from scipy import ndimage

    found: Floats = ndimage.uniform_filter(values, (side, side, 1), mode="nearest")
    return found


FEATURES: dict[str, Feature] = {
    "colour": Feature(("L", "a", "b"), colour),
    "filters": Feature(
        (
            *(f"Gauss {sigma} {c}" for sigma in (1, 2, 4) for c in "Lab"),
            *(f"∂{axis} {sigma}" for sigma in (2, 4) for axis in "xy"),
            *(f"LoG {sigma}" for sigma in (1, 2, 4, 8)),
        ),
        filters,
    ),
    "patterns": Feature((*(f"LBP {n}" for n in range(9)), "LBP other"), patterns),
    "gradients": Feature(
        tuple(f"edge {180 * n // _ORIENTATIONS}°" for n in range(_ORIENTATIONS)), gradients
    ),
    "position": Feature(("row", "column"), position),
}
