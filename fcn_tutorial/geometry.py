"""The arithmetic of a stack of layers, in exact fractions: sizes, receptive field, alignment.

A network is a list of `Layer`, the first being the one that reads the image. Everything here is
along one axis; square layers make the other axis the same. Nothing is rounded, so that two maps
either coincide or do not, and torch is not needed.

The rule behind every function: output index `out` of a layer with kernel k, stride s, padding p
and dilation d is centred on input index ::

    in = s·out + d·(k − 1)/2 − p,

and a deconvolution (transposed convolution) with the same numbers is the inverse map.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from math import ceil, prod
from typing import Literal, NamedTuple

__all__ = [
    "Layer",
    "ReceptiveField",
    "coordinate_map",
    "crop_offset",
    "macs",
    "minimum_padding",
    "output_size",
    "reach",
    "receptive_field",
]


@dataclass(frozen=True)
class Layer:
    """One convolution, pooling or deconvolution along one axis, in pixels of its input.

    Zero padding alone is `Layer(1, padding=p)`.

    Attributes:
        kernel: how many taps, k.
        stride: pixels from one window to the next; of a deconvolution, in its output.
        padding: pixels added at either end; a deconvolution drops them from its output instead.
        dilation: pixels from one tap to the next.
        kind: "conv" for whatever multiplies and adds, "pool", or "deconv".
        ceil: whether a pooling's output size is rounded up, as Caffe does always and PyTorch with
            `ceil_mode`.

    Raises:
        ValueError: where a number cannot describe a layer.

    ::

        >>> Layer(3, dilation=2).extent  # taps on pixels 0, 2 and 4
        5
        >>> [output_size([Layer(3, stride=2, kind="pool", ceil=up)], 6) for up in (False, True)]
        [2, 3]
    """

    kernel: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    kind: Literal["conv", "pool", "deconv"] = "conv"
    ceil: bool = False

    def __post_init__(self) -> None:
        for name, least in (("kernel", 1), ("stride", 1), ("padding", 0), ("dilation", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")
        if self.kind not in ("conv", "pool", "deconv"):
            raise ValueError(f"kind must be 'conv', 'pool' or 'deconv', got {self.kind!r}")
        if self.ceil and self.kind != "pool":
            raise ValueError(f"ceil=True is for kind='pool' only, got kind={self.kind!r}")
        if self.kind == "pool" and self.padding >= self.extent:
            raise ValueError(
                f"padding={self.padding} lets a pool of extent {self.extent} see padding only; "
                f"it must be at most {self.extent - 1}"
            )

    @property
    def extent(self) -> int:
        """Pixels from the first to the last one the kernel touches, d·(k − 1) + 1."""
        return self.dilation * (self.kernel - 1) + 1

    def __repr__(self) -> str:
        # Only what differs from the default: long lists of layers stay readable.
        changed = [
            f"{f.name}={getattr(self, f.name)!r}"
            for f in fields(self)[1:]
            if getattr(self, f.name) != f.default
        ]
        return f"Layer({', '.join([str(self.kernel), *changed])})"


class ReceptiveField(NamedTuple):
    """What one output pixel sees of the input, border clipping aside.

    Attributes:
        size: input pixels from the first to the last one seen (the most, where a deconvolution
            makes it differ between outputs).
        stride: input pixels between neighbouring outputs, an int where it is whole.
        centre: input coordinate on which output 0 is centred.

    ::

        >>> size, stride, centre = receptive_field([Layer(3), Layer(3)])  # 0 sees pixels 0 to 4
        >>> print(size, stride, centre)
        5 1 2
    """

    size: int
    stride: int | Fraction
    centre: Fraction


def output_size(layers: Sequence[Layer], n: int) -> int:
    """Length of the output for an input of `n` pixels.

    Args:
        layers: in the order of the data; none at all leave the length as it is.
        n: length of the input, in pixels.

    Returns:
        In pixels of the last layer's output, at least 1.

    Raises:
        ValueError: if `n` < 1, and, naming the layer, where nothing would be left.

    ::

        >>> output_size([Layer(3, stride=2, padding=1), Layer(2, stride=2, kind="pool")], 224)
        56
    """
    if n < 1:
        raise ValueError(f"n must be at least 1 pixel, got {n}")
    for index, layer in enumerate(layers):
        before, n = n, _layer_output_size(layer, n)
        if n < 1:
            raise ValueError(
                f"layers[{index}] = {layer} turns {before} pixels into {n}; "
                "give a larger input or more padding"
            )
    return n


def _layer_output_size(layer: Layer, n: int) -> int:
    if layer.kind == "deconv":
        return (n - 1) * layer.stride - 2 * layer.padding + layer.extent
    room = n + 2 * layer.padding - layer.extent
    if not layer.ceil:
        return room // layer.stride + 1
    out = -(-room // layer.stride) + 1
    # PyTorch's and Caffe's rule: the last window starts inside the input or the left padding.
    return out - 1 if (out - 1) * layer.stride >= n + layer.padding else out


def coordinate_map(layers: Sequence[Layer]) -> tuple[Fraction, Fraction]:
    """Scale and offset of in = scale·out + offset, from output to input pixel coordinates.

    Args:
        layers: in the order of the data.

    Returns:
        (scale, offset), in input pixels.

    ::

        >>> coordinate_map([Layer(3, padding=1), Layer(2, stride=2, kind="pool")])
        (Fraction(2, 1), Fraction(1, 2))
    """
    scale, offset = Fraction(1), Fraction(0)
    for layer in layers:
        centre = Fraction(layer.extent - 1, 2) - layer.padding
        if layer.kind == "deconv":
            offset -= scale * centre / layer.stride
            scale /= layer.stride
        else:
            offset += scale * centre
            scale *= layer.stride
    return scale, offset


def receptive_field(layers: Sequence[Layer]) -> ReceptiveField:
    """Size, stride and centre of what one output pixel sees of the input.

    Through a deconvolution, the outputs of one period see different numbers of input pixels; the
    largest counts.

    Args:
        layers: in the order of the data.

    Returns:
        `ReceptiveField(size, stride, centre)`, in input pixels.

    ::

        >>> receptive_field([Layer(3, padding=1), Layer(2, stride=2, kind="pool"), Layer(3)])
        ReceptiveField(size=8, stride=2, centre=Fraction(5, 2))
    """
    scale, offset = coordinate_map(layers)
    kinds = [layer.kind for layer in layers]
    first = kinds.index("deconv") if "deconv" in kinds else len(layers)
    period = prod(layer.stride for layer in layers if layer.kind == "deconv")
    size = max(_span(layers[first:], output) for output in range(period))
    for layer in reversed(layers[:first]):
        size = (size - 1) * layer.stride + layer.extent if size else 0
    return ReceptiveField(size, int(scale) if scale.denominator == 1 else scale, offset)


def reach(layers: Sequence[Layer]) -> int:
    """Input pixels on either side, at most, from the place of an output pixel to one that it reads.

    Half a receptive field, and more where a deconvolution lets the outputs of one period look
    further to one side than to the other. What lies further away never matters to that output.

    Args:
        layers: in the order of the data.

    Returns:
        In input pixels, rounded up.

    ::

        >>> reach([Layer(3), Layer(3)])  # 5 pixels seen: the middle one and 2 on either side
        2
    """
    scale, offset = coordinate_map(layers)
    period = prod(layer.stride for layer in layers if layer.kind == "deconv")
    farthest = Fraction(0)
    for output in range(period):
        place = scale * output + offset
        seen = _seen(layers, output)
        if seen:
            farthest = max(farthest, abs(min(seen) - place), abs(max(seen) - place))
    return ceil(farthest)


def _span(layers: Sequence[Layer], output: int) -> int:
    """Input pixels from the first to the last that one output reads; 0 where it reads none."""
    seen = _seen(layers, output)
    return max(seen) - min(seen) + 1 if seen else 0


def _seen(layers: Sequence[Layer], output: int) -> set[int]:
    """The input pixels that one output reads.

    Pixel by pixel, because a deconvolution with a kernel below its stride leaves gaps.
    """
    seen = {output}
    for layer in reversed(layers):
        s = layer.stride
        taps = [layer.dilation * j - layer.padding for j in range(layer.kernel)]
        if layer.kind == "deconv":  # tap j of input i lands on output s·i + d·j − p
            seen = {(o - tap) // s for o in seen for tap in taps if (o - tap) % s == 0}
        else:
            seen = {s * o + tap for o in seen for tap in taps}
    return seen


def crop_offset(path: Sequence[Layer], reference: Sequence[Layer] = ()) -> int:
    """Rows to drop from the output of `path` so that its pixel 0 meets pixel 0 of `reference`.

    Args:
        path: the layers from the input to the map that is cropped.
        reference: the layers from the same input to the map that it shall meet; by default none at
            all, which stand for the image itself.

    Returns:
        Rows; a negative number asks for that many rows of padding instead.

    Raises:
        ValueError: where the two maps have different scales, or lie a fraction of a pixel apart.

    ::

        >>> crop_offset([Layer(2, stride=2, kind="pool"), Layer(4, stride=2, kind="deconv")])
        1
    """
    scale, offset = coordinate_map(path)
    target_scale, target_offset = coordinate_map(reference)
    if scale != target_scale:
        raise ValueError(
            f"path has {scale} input pixels an output pixel and reference {target_scale}: "
            "no crop aligns them; bring both to one scale first"
        )
    rows = (target_offset - offset) / scale
    if rows.denominator != 1:
        raise ValueError(
            f"path and reference lie {rows} pixels apart, which is not whole: no crop aligns "
            "them; change a padding, or a kernel between odd and even"
        )
    return int(rows)


def minimum_padding(
    crops: Iterable[tuple[Sequence[Layer], Sequence[Layer]]], sizes: Iterable[int]
) -> int:
    """The least padding of the first layer with which every crop can be cut, at every size.

    With this padding every offset is at least 0 and every cropped map is as long as its reference.
    A little more padding can be too little again at some size: it is a row more to crop, and not
    always a score more.

    Args:
        crops: pairs (path, reference), as `crop_offset` takes them; what is left of `path` must
            cover `reference`. A network without skips is the one pair (its layers, ()), the image
            being the reference. One with skips adds, for each skip, the pair of the map that is
            cropped and the map that it is added to. All begin with the layer whose padding is
            sought; the one it has is not read.
        sizes: lengths of the input, in pixels.

    Returns:
        Pixels at either end of the input.

    Raises:
        ValueError: for sizes below 1, where paths begin with different layers or not with a
            convolution, where an offset is not whole, and where no padding is enough.

    ::

        >>> halve, double = Layer(2, stride=2, kind="pool"), Layer(4, stride=2, kind="deconv")
        >>> network = [Layer(3), halve, double]  # 8 → 6 → 3 → 8 pixels, but 9 → 7 → 3 → 8
        >>> [minimum_padding([(network, ())], sizes) for sizes in ([8], [8, 9])]
        [0, 1]
    """
    pairs, lengths = list(crops), sorted(set(sizes))
    if not lengths or lengths[0] < 1:
        raise ValueError(f"sizes must be lengths of at least 1 pixel, got {lengths[:1] or 'none'}")
    first = _first_layer([path for path, _ in pairs] + [ref for _, ref in pairs if ref])
    # Padded by its whole field, a path reaches past both ends of the image. From there on one
    # stride more of padding only adds whole pixels, so that nothing new can come.
    field = max(receptive_field(path).size for path, _ in pairs)
    stride = max(coordinate_map(path[:i])[0] for path, _ in pairs for i in range(len(path) + 1))
    for padding in range(field + int(stride)):
        padded = [(_padded(path, padding), _padded(ref, padding)) for path, ref in pairs]
        if all(_covers(path, ref, lengths) for path, ref in padded):
            return padding
    raise ValueError(
        f"no padding of {first} lets every crop be cut: where an offset stays negative, swap path "
        "and reference"
    )


def _first_layer(paths: Sequence[Sequence[Layer]]) -> Layer:
    starts = [replace(path[0], padding=0) if path else None for path in paths]
    if not starts or starts[0] is None or starts[0].kind != "conv" or len(set(starts)) > 1:
        raise ValueError(f"crops must be paths that begin with one convolution, got {starts}")
    return starts[0]


def _padded(path: Sequence[Layer], padding: int) -> list[Layer]:
    return [replace(path[0], padding=padding), *path[1:]] if path else []


def _covers(path: Sequence[Layer], reference: Sequence[Layer], sizes: Iterable[int]) -> bool:
    """Whether `path`, cropped, has a pixel for each one of `reference`."""
    offset = crop_offset(path, reference)
    if offset < 0:
        return False
    try:
        return all(output_size(path, n) - offset >= output_size(reference, n) for n in sizes)
    except ValueError:  # nothing is left of a map
        return False


def macs(
    layers: Sequence[Layer],
    channels: Sequence[int],
    size: int | tuple[int, int],
    groups: Sequence[int] | None = None,
) -> int:
    """Multiply-accumulates of a chain of square layers on one image.

    A convolution takes k²·C_in·C_out / groups of them for each pixel of its output, a deconvolution
    as many for each pixel of its input; the products with padding count. Pools take none, and
    biases are not counted. One multiply-accumulate is two floating-point operations.

    Args:
        layers: in the order of the data, each the same along both axes.
        channels: of the image and of the output of each layer, one entry more than `layers`.
        size: (H, W) of the image in pixels, or its side.
        groups: of each layer, 1 by default.

    Returns:
        Their number, exactly.

    Raises:
        ValueError: for lengths that differ, groups that do not divide the channels, a pool that
            changes them, and as `output_size` does.

    ::

        >>> macs([Layer(3, padding=1)], channels=[3, 8], size=(4, 5))  # 3² · 3 · 8 · (4 · 5)
        4320
    """
    groups = [1] * len(layers) if groups is None else groups
    if len(channels) != len(layers) + 1 or len(groups) != len(layers):
        raise ValueError(
            f"{len(layers)} layers need {len(layers) + 1} channels and {len(layers)} groups, "
            f"got {len(channels)} and {len(groups)}"
        )
    height, width = (size, size) if isinstance(size, int) else size
    total = 0
    for index, (layer, group) in enumerate(zip(layers, groups, strict=True)):
        read, written = channels[index : index + 2]
        if group < 1 or read % group or written % group:
            raise ValueError(f"layers[{index}]: {group} groups do not divide {read} and {written}")
        if layer.kind == "pool" and read != written:
            raise ValueError(
                f"layers[{index}] is a pool, which cannot turn {read} channels into "
                f"{written}: repeat the number"
            )
        before = height * width
        height, width = output_size([layer], height), output_size([layer], width)
        if layer.kind != "pool":
            pixels = before if layer.kind == "deconv" else height * width
            total += pixels * layer.kernel**2 * read * written // group
    return total
