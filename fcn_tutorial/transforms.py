"""From items of uint8 images and masks to what a network trains on: augmentation, preprocessing.

All are `torchvision.transforms.v2` transforms over `tv_tensors`, so all parts of an item always
move together, and masks are never interpolated. What is added here is the little v2 lacks: types
for depth and HHA, nearest pixels that lie exactly where the image's do, a random scale whose crop
is padded with void, and preprocessing as a named choice tied to the weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from fcn_tutorial.files import did_you_mean
from fcn_tutorial.vision import functional as F
from fcn_tutorial.vision import tv_tensors, v2
from fcn_tutorial.void import Void, writable_void

# --- Kinds of tensor ----------------------------------------------------------------------------


class Depth(tv_tensors.Mask):  # type: ignore[misc]  # torchvision is untyped
    """Depth (1, H, W) float32 in metres, 0 where unknown.

    A `Mask` to transforms.v2: it moves with the picture but takes the nearest pixel, because the
    mean of a near and a far surface is neither; colour transforms leave it alone. A magnified view
    keeps its metres.

    ::

        >>> depth = Depth(torch.tensor([[[1.0, 9.0]]]))
        >>> resize_nearest(depth, (1, 4)).tolist()  # nothing between 1 m and 9 m
        [[[1.0, 1.0, 9.0, 9.0]]]
    """


class HHA(tv_tensors.Image):  # type: ignore[misc]
    """HHA (3, H, W) uint8; channels as `fcn_tutorial.datasets.hha.encode`.

    An `Image` to the geometric transforms.v2; those of colour leave it alone, because its channels
    are measurements.

    ::

        >>> from torchvision.transforms.v2 import functional
        >>> pixel = torch.tensor([10, 20, 30], dtype=torch.uint8).view(3, 1, 1)
        >>> [functional.invert(kind(pixel)).flatten().tolist() for kind in (tv_tensors.Image, HHA)]
        [[245, 235, 225], [10, 20, 30]]
    """


def _unchanged(image: Tensor, *settings: Any, **named: Any) -> Tensor:
    return image


for _functional in (
    F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue, F.adjust_gamma,
    F.autocontrast, F.equalize, F.invert, F.posterize, F.solarize, F.permute_channels,
    F.rgb_to_grayscale,
):  # fmt: skip
    F.register_kernel(_functional, HHA)(_unchanged)


def map_sample(function: Callable[[Tensor], Any], sample: Any) -> Any:
    """`function` of a tensor, or of every tensor of a dict.

    Args:
        function: from tensor to anything.
        sample: a tensor, or {name: tensor}.

    Returns:
        What `function` makes of the tensor, or a dict of that by the same names.

    Raises:
        TypeError: for anything else.

    ::

        >>> sample = {"rgb": torch.zeros(3, 4, 5), "depth": torch.zeros(1, 4, 5)}
        >>> map_sample(len, sample), map_sample(len, sample["rgb"])
        ({'rgb': 3, 'depth': 1}, 3)
    """
    if isinstance(sample, Tensor):
        return function(sample)
    if isinstance(sample, Mapping):
        return {name: map_sample(function, part) for name, part in sample.items()}
    raise TypeError(f"{type(sample).__name__}: samples are tensors, or dicts of tensors")


def mean_colour(image: Tensor) -> list[float]:
    """The mean of each channel of (C, H, W), what an image is padded with.

    ::

        >>> mean_colour(torch.tensor([[[0, 100]], [[7, 7]], [[1, 2]]], dtype=torch.uint8))
        [50.0, 7.0, 1.5]
    """
    return [float(c) for c in image.float().mean((-2, -1))]


# --- Nearest pixels -----------------------------------------------------------------------------


def resize_nearest(
    part: Tensor, size: tuple[int, int], window: tuple[int, int, int, int] | None = None
) -> Any:
    """A window of `part` (…, H, W) at another size, each pixel that of the nearest centre.

    It lies where the averaged image lies (`antialias=True`, half-pixel centres) at every size.
    torchvision's NEAREST takes the pixel at each centre's upper left instead, which moves labels
    by up to half a pixel, and some versions do so for a `Mask` that is asked for NEAREST_EXACT.

    Args:
        part: labels or depth, of any dtype.
        size: (H', W') of the result, in pixels.
        window: (top, left, height, width), in pixels of `part`; all of it without one.

    Returns:
        (…, H', W') of the type of `part`.

    Raises:
        ValueError: for a window that is empty or reaches beyond `part`.

    ::

        >>> labels = torch.tensor([[1, 2, 3, 4, 5, 6]])
        >>> resize_nearest(labels, (1, 2)), resize_nearest(labels, (1, 4), window=(0, 0, 1, 2))
        (tensor([[2, 5]]), tensor([[1, 1, 2, 2]]))
    """
    rows, columns = part.shape[-2:]
    top, left, height, width = window or (0, 0, rows, columns)
    inside = 0 <= top < top + height <= rows and 0 <= left < left + width <= columns
    if not inside:
        raise ValueError(f"window={window} is empty or not inside of {rows}×{columns} pixels")
    plain = part.as_subclass(Tensor)[..., top : top + height, left : left + width]
    for dim, want in ((-2, size[0]), (-1, size[1])):
        nearest = _nearest(plain.shape[dim], want).to(plain.device)
        plain = plain.index_select(dim, nearest)
    return tv_tensors.wrap(plain, like=part) if isinstance(part, tv_tensors.TVTensor) else plain


def _nearest(have: int, want: int) -> Tensor:
    """For each of `want` pixels along a side, which of `have` its centre falls into."""
    pixels = torch.arange(want)
    doubled = (2 * pixels + 1) * have
    centre = doubled // (2 * want)
    # Between two pixels, as every centre is at half the size, always taking the same side would
    # shift the whole by a quarter of a pixel. Multiples of the golden ratio choose either half the
    # time, in step with no regular pattern in the picture.
    tie = (doubled % (2 * want) == 0) & (pixels * 0.6180339887498949 % 1 < 0.5)
    return centre - tie.long()


# --- Preprocessing ------------------------------------------------------------------------------


class Part(NamedTuple):
    """One part of an input, (value · scale − mean) / std in each channel.

    Attributes:
        name: "rgb" or "hha", values 0–255; or "depth", whose value is ln(depth in mm), and the mean
            where depth is missing.
        scale: what values are multiplied by.
        mean: of each channel, after that.
        std: likewise.

    ::

        >>> (part,) = PREPROCESSING["centred"]
        >>> [round((value * part.scale - part.mean[0]) / part.std[0], 3) for value in (0, 51, 255)]
        [-1.0, -0.6, 1.0]
    """

    name: str
    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]


_ONES = (1.0, 1.0, 1.0)
_NYUD_RGB = Part("rgb", 1.0, (92.318, 97.203, 116.190), _ONES)
_NYUD_DEPTH = Part("depth", 1.0, (7.844,), (1.0,))
# Not turned round: the authors' data layer reads the PNG's channels in their order.
_NYUD_HHA = Part("hha", 1.0, (132.431, 94.076, 118.477), _ONES)

#: The parts that a named preprocessing takes, in the order of the channels it makes. Colour is RGB
#: everywhere: the authors' nets read BGR and their lists of means are BGR, but
#: `surgery.load_caffemodel` turns a net's first layer round, so the means are turned round too.
PREPROCESSING: dict[str, tuple[Part, ...]] = {
    # torchvision.models weights, and the ONNX Model Zoo's.
    "imagenet": (Part("rgb", 1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),),
    # The authors' nets: 0–255, mean subtracted (reference voc_layers.py).
    "caffe": (Part("rgb", 1.0, (122.67892, 116.66877, 104.00699), _ONES),),
    # For nets trained from nothing: [-1, 1].
    "centred": (Part("rgb", 1 / 255, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),),
    # The same for nets on grey pictures: the mean of the three.
    "grey": (Part("rgb", 1 / 255, (0.5,), (0.5,)),),
    # SegNet: 0–255 as they are (SegNet-Tutorial, Models/segnet_train.prototxt: no mean).
    "raw": (Part("rgb", 1.0, (0.0, 0.0, 0.0), _ONES),),
    # The authors' nets for other data have that data's means (reference siftflow_layers.py,
    # nyud_layers.py); those of NYUDv2 are named by `NYUDv2.modalities`.
    "siftflow": (Part("rgb", 1.0, (108.353, 115.294, 114.578), _ONES),),
    "nyud-rgb": (_NYUD_RGB,),
    "nyud-depth": (_NYUD_DEPTH,),
    "nyud-hha": (_NYUD_HHA,),
    "nyud-rgbd": (_NYUD_RGB, _NYUD_DEPTH),
    "nyud-rgb-hha": (_NYUD_RGB, _NYUD_HHA),
    # Ours: depth spans as many units as colour does; the authors' spans a hundredth of them.
    "even-rgbd": (_NYUD_RGB, _NYUD_DEPTH._replace(std=(0.01,))),
}


class Preprocess(nn.Module):
    """RGB uint8 (…, 3, H, W) → normalised float32 of the same shape.

    A dict of its parts is taken whatever the name.

    Args:
        names: of `PREPROCESSING`: "imagenet", "caffe" (0–255 minus the mean), "centred"
            ([-1, 1]); "grey" (their mean, one channel); "raw" (0–255); "siftflow" and "nyud-rgb"
            (as "caffe", with that data's means); "nyud-depth" (metres (…, 1, H, W) → ln mm minus
            its mean, 0 where missing), "nyud-hha"; "nyud-rgbd" and "nyud-rgb-hha", which take a
            dict of both parts, as items have them, and stack their channels: 4 for early fusion, 6
            of which the two streams of late fusion take three. Several names stack their channels
            likewise, one after the other.

    Raises:
        ValueError: for another name, for parts that are not those of the name, and for channels
            that are not those of the part.
        TypeError: for images that are not uint8 and depth that is not floating point.

    ::

        >>> black = torch.zeros(3, 1, 1, dtype=torch.uint8)
        >>> Preprocess("caffe")(black).flatten()  # minus the mean, in RGB
        tensor([-122.6789, -116.6688, -104.0070])
        >>> Preprocess("centred")(black).flatten()
        tensor([-1., -1., -1.])
    """

    def __init__(self, *names: str) -> None:
        super().__init__()
        for name in names:
            if name not in PREPROCESSING:
                raise ValueError(
                    f"preprocessing={name!r} is not known{did_you_mean(name, PREPROCESSING)}"
                )
        self.names, self.name = names, " and ".join(names)
        self.parts = tuple(part for name in names for part in PREPROCESSING[name])
        self.mean: Tensor
        self.std: Tensor
        for statistic in ("mean", "std"):
            values = [value for part in self.parts for value in getattr(part, statistic)]
            self.register_buffer(statistic, torch.tensor(values).view(-1, 1, 1), persistent=False)

    def forward(self, images: Tensor | Mapping[str, Tensor]) -> Tensor:
        """Normalise; see the class.

        Raises:
            ValueError, TypeError: for what the class does not take.
        """
        names = [part.name for part in self.parts]
        given = images if isinstance(images, Mapping) else {names[0]: images}
        if set(given) != set(names):
            got = sorted(given) if isinstance(images, Mapping) else "one tensor"
            raise ValueError(f"preprocessing {self.name!r} takes {' and '.join(names)}, got {got}")
        values = [_values(part, given[part.name]) for part in self.parts]
        stacked = values[0] if len(values) == 1 else torch.cat(values, -3)
        return stacked.sub_(self.mean).div_(self.std)


def _values(part: Part, tensor: Tensor) -> Tensor:
    """What the mean is subtracted from: a new float32 tensor of the part's shape."""
    channels = 3 if part.name == "rgb" else len(part.mean)
    if tensor.ndim < 3 or tensor.shape[-3] != channels:
        raise ValueError(
            f"{part.name} of shape {tuple(tensor.shape)}: expected (…, {channels}, H, W)"
        )
    plain = tensor.as_subclass(torch.Tensor)
    if part.name == "depth":
        if not plain.is_floating_point():
            raise TypeError(f"depth of dtype {plain.dtype}: preprocessing starts from metres")
        millimetres = plain.float() * 1000
        return torch.where(millimetres > 0, millimetres.log(), part.mean[0])
    if plain.dtype != torch.uint8:
        raise TypeError(f"images of dtype {plain.dtype}: preprocessing starts from uint8")
    values = plain * part.scale
    return values.mean(-3, keepdim=True) if len(part.mean) < channels else values


# --- Augmentation -------------------------------------------------------------------------------


class RandomScaleCrop(nn.Module):
    """Magnify by a random factor and cut a random window of fixed size from the result.

    All parts of an item are cut alike, each as what it is: an `Image` is resampled and padded with
    its own mean colour; a `Mask` takes the nearest pixel and is padded with void, so padding is
    never scored; `Depth` takes the nearest pixel and is padded with 0, unknown. Only the part that
    the window shows is resampled. (A plain module, so that it runs under torchvision 0.19 as well,
    whose v2.Transform had other hooks.)

    Args:
        size: (H, W) of the window, in pixels.
        scale: the factor is drawn log-uniformly from this range; (1, 1) crops only.
        ignore_index: the void label; of several, the first is written.

    Raises:
        ValueError: for a scale that is no range of positive numbers.

    ::

        >>> image = tv_tensors.Image(torch.zeros(3, 2, 2, dtype=torch.uint8))
        >>> mask = tv_tensors.Mask(torch.zeros(2, 2, dtype=torch.uint8))
        >>> image, mask = RandomScaleCrop(size=(4, 4), scale=(1, 1))(image, mask)
        >>> tuple(image.shape), int((mask == 255).sum())  # 4 of 16 pixels were there
        ((3, 4, 4), 12)
    """

    def __init__(
        self,
        size: tuple[int, int],
        scale: tuple[float, float] = (0.5, 2.0),
        ignore_index: Void = 255,
    ) -> None:
        super().__init__()
        if not 0 < scale[0] <= scale[1]:
            raise ValueError(f"scale={scale!r}: expected 0 < smallest <= largest")
        self.size = size
        self.scale = scale
        self.ignore_index = ignore_index

    def forward(self, image: Any, mask: Any) -> tuple[Any, Any]:
        """Input and target, each a tensor (…, H, W) or a dict of such, cut alike to `size`.

        Raises:
            TypeError: for a tensor that is no `tv_tensors.Image` or `Mask`.
            ValueError: where sizes differ and where a mask's dtype cannot hold the void label.
        """
        sizes = {tuple(part.shape[-2:]) for part in (*_parts(image), *_parts(mask))}
        if len(sizes) != 1:
            raise ValueError(f"parts of sizes {sorted(sizes)} in one item: all must be alike")
        low, high = (math.log(s) for s in self.scale)
        factor = math.exp(low + (high - low) * float(torch.rand(())))
        windows = [_window(*pair, factor) for pair in zip(sizes.pop(), self.size, strict=True)]
        (top, height, shown_h, above), (left, width, shown_w, before) = windows
        padding = [before, above, self.size[1] - shown_w - before, self.size[0] - shown_h - above]
        cut, size = (top, left, height, width), (shown_h, shown_w)

        def window(part: Tensor) -> Any:
            if isinstance(part, tv_tensors.Image):
                shown = F.resized_crop(part, *cut, list(size), antialias=True)
                return F.pad(shown, padding, fill=mean_colour(shown)) if any(padding) else shown
            depth = isinstance(part, Depth)
            void = 0 if depth else writable_void(part.dtype, self.ignore_index, "mask")
            shown = resize_nearest(part, size, cut)
            return F.pad(shown, padding, fill=void) if any(padding) else shown

        return map_sample(window, image), map_sample(window, mask)


def _parts(sample: Any) -> list[Tensor]:
    """Every tensor of an input or a target."""
    if isinstance(sample, Mapping):
        return [tensor for part in sample.values() for tensor in _parts(part)]
    if not isinstance(sample, tv_tensors.Image | tv_tensors.Mask):
        raise TypeError(
            f"a part of an item is a {type(sample).__name__}: make it a tv_tensors.Image or "
            "tv_tensors.Mask, so that it is clear what it is"
        )
    return [sample]


def _window(have: int, want: int, factor: float) -> tuple[int, int, int, int]:
    """Along one side: (first source pixel, source pixels, pixels shown, padding before them)."""
    source = min(have, max(1, round(want / factor)))
    shown = want if source < have else min(want, max(1, round(have * factor)))
    first = int(torch.randint(have - source + 1, ()))
    before = int(torch.randint(want - shown + 1, ()))
    return first, source, shown, before


class ElasticDeformation(nn.Module):
    """Move the pixels of image and mask by a smooth random field.

    Displacements on a grid of 3×3 points, corners on corners, are drawn from a normal distribution
    and interpolated bicubically. The image is resampled bilinearly and filled with its mean colour
    where the field leads out of it; a `Mask` takes the nearest pixel and is filled with void,
    `Depth` with 0. Source: Ronneberger, Fischer, Brox, MICCAI 2015, §3.1.

    Args:
        sigma: standard deviation of a displacement along each axis, in pixels.
        points: of the grid along each axis.
        ignore_index: the void label; of several, the first is written.

    Raises:
        ValueError: for a sigma below 0 and fewer than two points.

    ::

        >>> mask = tv_tensors.Mask(torch.tensor([0, 2]).repeat_interleave(32).expand(64, 64))
        >>> image = tv_tensors.Image(torch.zeros(3, 64, 64, dtype=torch.uint8))
        >>> _, moved = ElasticDeformation(sigma=10)(image, mask)
        >>> set(moved.flatten().tolist()) <= {0, 2, 255}  # labels never mix
        True
    """

    def __init__(self, sigma: float = 10.0, points: int = 3, ignore_index: Void = 255) -> None:
        super().__init__()
        if not sigma >= 0 or points < 2:
            raise ValueError(f"sigma={sigma}, points={points}: expected at least 0 and 2")
        self.sigma, self.points, self.ignore_index = sigma, points, ignore_index

    def forward(self, image: Any, mask: Any) -> tuple[Any, Any]:
        """Input and target, each a tensor (…, H, W) or a dict of such, moved alike."""
        height, width = _parts(image)[0].shape[-2:]
        field = torch.randn(1, 2, self.points, self.points) * self.sigma
        shifts = interpolate(field, (height, width), mode="bicubic", align_corners=True)[0]
        # As `functional.elastic` takes them: (1, H, W, 2), columns first, sides from -1 to 1.
        scaled = torch.stack([2 * shifts[0] / width, 2 * shifts[1] / height], -1)[None]

        def moved(part: Tensor) -> Any:
            if isinstance(part, tv_tensors.Image):
                fill: Any = mean_colour(part)
                return F.elastic(part, scaled, F.InterpolationMode.BILINEAR, fill)
            depth = isinstance(part, Depth)
            fill = 0 if depth else writable_void(part.dtype, self.ignore_index, "mask")
            return F.elastic(part, scaled, F.InterpolationMode.NEAREST, fill)

        return map_sample(moved, image), map_sample(moved, mask)


class LimitSide(nn.Module):
    """Shrink image and mask until the longer side has `longest` pixels; smaller ones stay.

    The image is averaged over the pixels that become one, the mask keeps the label of the nearest.

    Args:
        longest: side, in pixels.

    Raises:
        ValueError: for fewer than one pixel.

    ::

        >>> image, mask = torch.zeros(3, 20, 40, dtype=torch.uint8), torch.zeros(20, 40)
        >>> [tuple(part.shape) for part in LimitSide(10)(image, mask)]
        [(3, 5, 10), (5, 10)]
    """

    def __init__(self, longest: int) -> None:
        super().__init__()
        if longest < 1:
            raise ValueError(f"longest={longest}: at least one pixel")
        self.longest = longest

    def forward(self, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Image (3, H, W) and mask (H, W), of one new size."""
        size = limited_size(image.shape[-2:], self.longest)
        if size == tuple(image.shape[-2:]):
            return image, mask
        return shrunk(image, self.longest), resize_nearest(mask, size)


def shrunk(image: Tensor, longest: int) -> Tensor:
    """An image with at most `longest` pixels on its longer side.

    Each pixel is rounded once, from float32: resizing uint8 itself rounds after rows and after
    columns, and not alike on all processors, so that no exported graph could follow it.

    Args:
        image: uint8 (3, H, W).
        longest: side, in pixels.

    Returns:
        uint8 (3, H', W'), averaged, of `limited_size`; the image itself where it is small enough.

    ::

        >>> image = torch.full((3, 20, 40), 7, dtype=torch.uint8)
        >>> found = shrunk(image, longest=10)
        >>> tuple(found.shape), found.unique().tolist()
        ((3, 5, 10), [7])
    """
    size = limited_size(image.shape[-2:], longest)
    if size == tuple(image.shape[-2:]):
        return image
    plain = image.as_subclass(Tensor)[None].float()
    found = interpolate(plain, size, mode="bilinear", antialias=True)[0].round().to(image.dtype)
    return tv_tensors.wrap(found, like=image) if isinstance(image, tv_tensors.TVTensor) else found


def limited_size(size: Sequence[int], longest: int) -> tuple[int, int]:
    """A size with the longer side shrunk to `longest` pixels and the other one by as much.

    To whole pixels, halves up, and in whole numbers only, which the graphs of exporters can follow.

    Args:
        size: (H, W), in pixels.
        longest: side, in pixels.

    Returns:
        (H', W'), at least 1 each; `size` where it is small enough.

    ::

        >>> limited_size((375, 500), 250), limited_size((375, 500), 600)
        ((188, 250), (375, 500))
    """
    largest = max(size)
    if largest <= longest:
        return size[0], size[1]
    height, width = (max(1, (2 * n * longest + largest) // (2 * largest)) for n in size)
    return height, width


def holding_pixel(want: int, have: int) -> Tensor:
    """For each of `want` pixels along a side, which of `have` larger ones its centre lies in.

    Returns:
        (want,) int64.

    ::

        >>> holding_pixel(6, 3)
        tensor([0, 0, 1, 1, 2, 2])
    """
    return (2 * torch.arange(want) + 1) * have // (2 * want)


def augmentation(
    crop: tuple[int, int],
    scale: tuple[float, float] = (1.0, 1.0),
    flip: bool = True,
    jitter: float = 0.0,
    elastic: float = 0.0,
    ignore_index: Void = 255,
) -> nn.Module:
    """The joint training transform: deform, scale and crop, mirror, change the light.

    Args:
        crop: (H, W) of what comes out, in pixels.
        scale: range of the random factor, log-uniform.
        flip: mirror left and right half the time.
        jitter: largest relative change of brightness, contrast and saturation (colours only: not
            of masks, depth and HHA); the hue turns by a tenth of it.
        elastic: standard deviation in pixels of a smooth deformation (see `ElasticDeformation`).
        ignore_index: the label of void pixels; of several, the first is written.

    Returns:
        A module that takes and gives (input, target), as `RandomScaleCrop` does.

    ::

        >>> labels = torch.arange(64, dtype=torch.uint8).view(8, 8)
        >>> image, mask = tv_tensors.Image(labels.expand(3, 8, 8)), tv_tensors.Mask(labels)
        >>> image, mask = augmentation(crop=(4, 4))(image, mask)
        >>> tuple(mask.shape), bool((image == mask).all())  # cut and mirrored alike
        ((4, 4), True)
    """
    steps: list[nn.Module] = [RandomScaleCrop(crop, scale, ignore_index)]
    if elastic:
        steps.insert(0, ElasticDeformation(elastic, ignore_index=ignore_index))
    if flip:
        steps.append(v2.RandomHorizontalFlip())
    if jitter:
        steps.append(v2.ColorJitter(jitter, jitter, jitter, jitter / 10))
    joint: nn.Module = v2.Compose(steps)
    return joint
