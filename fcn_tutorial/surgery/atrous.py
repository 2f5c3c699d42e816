"""Scores at every pixel without learning anything new: the à trous algorithm and shift-and-stitch.

A network of stride f scores every f-th pixel. Two constructions fill in the rest with the same
weights. `shift_and_stitch` runs the network on f² shifted images and interlaces what it gives;
`atrous` takes the strides out and spreads the taps of all later layers as far apart as the rows
that the strides would have dropped. Source: Long, Shelhamer, Darrell 2015, section 3.2.
"""

import copy
import inspect
import operator
from collections.abc import Callable, Sequence
from math import gcd
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from fcn_tutorial.geometry import Layer, output_size, receptive_field
from fcn_tutorial.surgery.layout import MAP
from fcn_tutorial.surgery.reading import (
    FUNCTIONS,
    JOINS,
    POINTWISE,
    is_pointwise_module,
    operator_name,
    works_per_pixel,
)
from fcn_tutorial.surgery.tracing import describe, follow, take_modes, trace

# Layers with a stride, by the name of their function.
_STRIDED: dict[str, type[nn.Module]] = {
    "conv2d": nn.Conv2d,
    "max_pool2d": nn.MaxPool2d,
    "avg_pool2d": nn.AvgPool2d,
}


def atrous(model: nn.Module, stride: int = 1) -> nn.Module:
    """A copy of a fully convolutional `model` with output stride `stride`: images -> scores.

    With f the stride of `model` and step = f // stride, for images (N, C, H, W) of any size ::

        atrous(model, stride)(images)[..., ::step, ::step] == model(images)
        atrous(model)(images)[..., ::stride, ::stride] == atrous(model, stride)(images)

    up to rounding, borders included. The first strides stay until they make `stride`, the rest go.
    A layer behind removed strides of product d has its dilation and padding multiplied by d, so
    that it reads the rows it read before. A pooling that rounds its size up (`ceil_mode`) becomes
    one with d·min(stride − 1, extent − 1 − padding) more rows at the end, as many at every image
    size. Between the rows of `model` lie the scores of the shifted image: see `shift_and_stitch`.

    Cost grows with the square of `step` in the layers behind.

    Args:
        model: is not changed. What torch.fx can follow, of square convolutions and poolings and of
            what works pixel by pixel.
        stride: of the scores that are wanted, a divisor of f; by default one at every pixel.

    Returns:
        A module that shares no memory with `model`. Parameter names and weights stay; auxiliary
        heads that only training uses are left out, and functional dropout stays off. Poolings
        become function calls.

    Raises:
        ValueError: naming the node, where `stride` does not divide f, where branches that join
            disagree in stride or in size, for layers that are not square, for transposed
            convolutions, adaptive pooling and linear layers (`convolutionalize` first) and other
            operators that it cannot dilate, and where torch.fx cannot follow the model.

    ::

        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(1, 5, 3))
        >>> images = torch.rand(1, 1, 8, 8)
        >>> model(images).shape, atrous(model)(images).shape
        (torch.Size([1, 5, 2, 2]), torch.Size([1, 5, 3, 3]))
        >>> torch.allclose(atrous(model)(images)[..., ::2, ::2], model(images), atol=1e-5)
        True
    """
    if not isinstance(stride, int) or stride < 1:
        raise ValueError(f"stride must be an integer of at least 1, got {stride!r}")
    graph_module = follow(copy.deepcopy(model).eval())
    _Dilation(graph_module, stride).run()
    return take_modes(graph_module, model)


def shift_and_stitch(model: nn.Module, images: Tensor) -> Tensor:
    """Dense scores of images by f² runs of `model` of stride f, each on a shifted image.

    Shift (r, c), 0 ≤ r, c < f, drops the first r rows and c columns; score (o, p) of what remains
    becomes dense score (f·o + r, f·p + c). So dense score (i, j) is centred on pixel (i + q, j + q)
    where q is the centre of output 0 of `model`. (The paper moves the image the other way, which
    needs made-up pixels and visits the same windows.)

    Without padding this equals `atrous(model)(images)`. With padding, each run meets the zeros
    where its own image begins: the two agree from row and column f·⌈P/f⌉ on, to the very end,
    P = (size − 1)/2 − q being how far output 0 reaches out of the image, with size and q from
    `receptive_field(trace(model, …))`. The sizes agree too, except for an image of fewer than f
    rows that padding gives more outputs than rows: the result then ends after H rows (likewise
    columns), for there is no shift that would show the others.

    Args:
        model: fully convolutional, and in evaluation mode. Squeeze-and-excite blocks, which
            `atrous` refuses, see each shifted image by itself.
        images: (N, C₀, H, W), preprocessed as `model` expects.

    Returns:
        (N, C, H', W'); without padding and ceil mode H' = H − size + 1 for a field of
        `size` pixels.

    Raises:
        ValueError: as `trace` does, where `model` upsamples, and where the image is too small for
            any score.

    ::

        >>> import torch
        >>> from torch import nn
        >>> shift_and_stitch(nn.MaxPool2d(2), torch.arange(9.0).view(1, 1, 3, 3))
        tensor([[[[4., 5.],
                  [7., 8.]]]])
    """
    layers = trace(model, cast(tuple[int, int], tuple(images.shape[-2:])))
    if any(layer.kind == "deconv" for layer in layers):
        raise ValueError("model has a transposed convolution; pass the part of it before that one")
    factor = int(receptive_field(layers).stride)
    height, width = (_dense_size(layers, factor, n) for n in images.shape[-2:])
    dense: Tensor | None = None
    for r in range(min(factor, height)):
        for c in range(min(factor, width)):
            scores = model(images[..., r:, c:])
            if dense is None:
                dense = scores.new_empty(*scores.shape[:2], height, width)
            slots = dense[..., r::factor, c::factor]
            slots.copy_(scores[..., : slots.shape[-2], : slots.shape[-1]])
    assert dense is not None
    return dense


def _dense_size(layers: Sequence[Layer], factor: int, n: int) -> int:
    """Outputs of all shifts of `n` pixels together, up to the first that no shift gives."""
    sizes = [output_size(layers, n)]
    while len(sizes) < min(factor, n):
        try:
            sizes.append(output_size(layers, n - len(sizes)))
        except ValueError:  # nothing is left of the image: as many outputs as shifts so far
            break
    return sum(sizes) if len(sizes) == factor else len(sizes)


# ---- the graph ----------------------------------------------------------------------------------


class _Grid(NamedTuple):
    """Where the rows of a map lie in the network without strides.

    Attributes:
        stride: input pixels from row to row in the network as it is.
        gain: rows that the map without strides has more than the image, whatever its size.
        axes: of the tensor, the last two being the rows and columns.
    """

    stride: int = 1
    gain: int = 0
    axes: int = 4


class _Dilation:
    """Rewrites a graph in place, node by node, keeping at most `stride` of its strides.

    Of a product of strides T in the network as it is, gcd(T, stride) stay; the rest is dilation.
    """

    def __init__(self, graph_module: fx.GraphModule, stride: int) -> None:
        self.root, self.graph, self.stride = graph_module, graph_module.graph, stride
        self.grids: dict[fx.Node, _Grid] = {}
        self.sizes: dict[fx.Node, _Grid] = {}  # numbers of rows or columns of a map
        self.convolutions: dict[str, tuple[Layer, Layer]] = {}  # by name: as it was, as it is

    def run(self) -> None:
        self.graph.eliminate_dead_code()
        for node in list(self.graph.nodes):
            try:
                self._rewrite(node)
            except ValueError as error:
                raise ValueError(f"{describe(node)}: {error}") from error
        self.graph.lint()
        self.root.delete_all_unused_submodules()
        self.root.recompile()

    def _rewrite(self, node: fx.Node) -> None:
        sources = [s for s in node.all_input_nodes if s in self.grids]
        if node.op == "placeholder" and not node.args:
            self.grids[node] = _Grid()
        elif node.op == "output":
            self._check_output(node)
        elif any(s in self.sizes for s in node.all_input_nodes):
            self._rescale_comparison(node)
        elif sources:
            name, grid = operator_name(node), self.grids[sources[0]]
            if name == "size":
                self.sizes[node] = grid
            elif node.op == "call_module":
                self._rewrite_module(node, grid)
            elif name in _STRIDED:
                self._dilate(node, name, _bound_settings(node), grid)
            else:
                self.grids[node] = self._pointwise_grid(node, name, sources)

    def _rewrite_module(self, node: fx.Node, grid: _Grid) -> None:
        module = self.root.get_submodule(cast(str, node.target))
        name = next((n for n, kind in _STRIDED.items() if isinstance(module, kind)), None)
        if is_pointwise_module(module) or works_per_pixel(module, (), 4, MAP):
            self.grids[node] = grid
        elif name is not None:
            settings = {key: getattr(module, key) for key in _parameters(name)}
            self._dilate(node, name, settings, grid)
        else:
            raise ValueError(f"{type(module).__name__} cannot be dilated; {_REMEDY}")

    def _pointwise_grid(self, node: fx.Node, name: str, sources: list[fx.Node]) -> _Grid:
        """The grid of what an operator makes that moves no rows and columns."""
        grids = {self.grids[s] for s in sources}
        grid = self.grids[sources[0]]
        argument = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
        if len(grids) > 1:
            found = ", ".join(
                f"stride {g.stride} with {g.gain:+} rows of the image's" for g in sorted(grids)
            )
            raise ValueError(f"the branches that join here disagree once dense: {found}")
        if name in POINTWISE:
            self._check_constants(node, name)
            return grid
        if name in JOINS or name in ("softmax", "log_softmax"):
            if argument not in (1, -3) or grid.axes != 4:
                raise ValueError(f"works along dim={argument}, which is not the channels")
            return grid
        if name == "unsqueeze" and argument in (0, 1):
            return grid._replace(axes=grid.axes + 1)
        if name == "getitem":
            keys = argument if isinstance(argument, tuple) else (argument,)
            if len(keys) <= grid.axes - 2 and all(isinstance(k, int | slice) for k in keys):
                return grid._replace(axes=grid.axes - sum(isinstance(k, int) for k in keys))
        raise ValueError(f"cannot be dilated; {_REMEDY}")

    def _check_constants(self, node: fx.Node, name: str) -> None:
        constants = [self._constant(n) for n in node.all_input_nodes if n not in self.grids]
        wide = any(max(constant.shape[-2:], default=1) > 1 for constant in constants)
        if wide and name not in ("batch_norm", "prelu"):
            raise ValueError("combines the map with a tensor that fits one input size only")

    def _constant(self, node: object) -> Tensor:
        if not (isinstance(node, fx.Node) and node.op == "get_attr"):
            raise ValueError("reads a tensor computed on the way; store it as a parameter")
        return cast(Tensor, operator.attrgetter(cast(str, node.target))(self.root))

    def _check_output(self, node: fx.Node) -> None:
        scores = node.args[0]
        if not (isinstance(scores, fx.Node) and scores in self.grids):
            raise ValueError("the model must return one tensor of scores, read from the image")
        if (factor := self.grids[scores].stride) % self.stride:
            raise ValueError(f"stride={self.stride} must divide the stride of the model, {factor}")

    def _rescale_comparison(self, node: fx.Node) -> None:
        """`rows >= least` asks for as many rows of the network as it was."""
        rows, least = node.all_input_nodes[0], node.args[-1]
        if operator_name(node) != "ge" or not isinstance(least, int):
            raise ValueError(f"depends on the size of a map; {_REMEDY}")
        node.args = (rows, self._rate(self.sizes[rows]) * (least - 1) + 1)

    def _rate(self, grid: _Grid) -> int:
        """Rows of the rewritten map from one row of the network as it was to the next."""
        return grid.stride // gcd(grid.stride, self.stride)

    def _dilate(self, node: fx.Node, name: str, settings: dict[str, Any], grid: _Grid) -> None:
        if grid.axes != 4:
            raise ValueError("reads part of a map")
        if settings.get("return_indices"):
            raise ValueError("returns indices, which mean other rows once dense")
        target = str(node.target) if node.op == "call_module" else node.name
        read = dict(settings)
        if name == "conv2d" and node.op != "call_module":
            read["weight"] = self._constant(settings["weight"])
        layer = cast(Layer, FUNCTIONS[name](cast(Tensor, None), **read))
        layer, former = self.convolutions.get(target, (layer, None))
        extra = min(layer.stride - 1, layer.extent - 1 - layer.padding) if layer.ceil else 0
        rows = 2 * layer.padding - (layer.extent - 1) + extra
        after = _Grid(grid.stride * layer.stride, grid.gain + grid.stride * rows)
        self.grids[node] = after
        rate = self._rate(grid)
        kept = gcd(after.stride, self.stride) // gcd(grid.stride, self.stride)
        dense = Layer(layer.kernel, kept, rate * layer.padding, rate * layer.dilation)
        if name == "conv2d":
            if former not in (None, dense):
                raise ValueError("is used at different strides; give each use a module of its own")
            self.convolutions[target] = layer, dense
        if (rate, kept) != (1, layer.stride):
            self._write(node, name, settings, dense, rate * extra)

    def _write(
        self, node: fx.Node, name: str, settings: dict[str, Any], dense: Layer, extra: int
    ) -> None:
        """Let the node work as `dense` says, a pooling with `extra` rows at the end."""
        source = node.all_input_nodes[0]
        numbers = {"stride": dense.stride, "padding": dense.padding, "dilation": dense.dilation}
        if name == "conv2d" and node.op == "call_module":
            module = cast(nn.Conv2d, self.root.get_submodule(cast(str, node.target)))
            if module.padding_mode != "zeros" and dense.padding:
                raise ValueError(f"padding_mode={module.padding_mode!r} has no dense form")
            for key, value in numbers.items():
                setattr(module, key, (value, value))
        elif name == "conv2d":
            weight, bias = settings["weight"], settings["bias"]
            node.args = (source, weight, bias)
            node.kwargs = {**numbers, "groups": settings["groups"]}
        else:
            pool, extras = _POOLS[name]
            node.op, node.target, node.args = "call_function", pool, (source, dense.kernel)
            node.kwargs = {**numbers, "extra": extra, **{key: settings[key] for key in extras}}


_REMEDY = (
    "pass the part of the model before it, or convolutionalize a classifier first (squeeze-and-"
    "excite blocks average over other pixels once the map is dense, and stay out)"
)


def _parameters(name: str) -> list[str]:
    """What the torch function of that name takes besides its input; its module has them, too."""
    return list(inspect.signature(FUNCTIONS[name]).parameters)[1:]


def _bound_settings(node: fx.Node) -> dict[str, Any]:
    """The settings of a call, by name and with the defaults."""
    kwargs = {("x" if key == "input" else key): value for key, value in node.kwargs.items()}
    bound = inspect.signature(FUNCTIONS[operator_name(node)]).bind(*node.args, **kwargs)
    bound.apply_defaults()
    return {key: value for key, value in bound.arguments.items() if key != "x"}


# ---- dilated pooling, which torch has in part or not at all -------------------------------------


def _max_pool2d(
    x: Tensor, kernel: int, stride: int, padding: int, dilation: int, extra: int
) -> Tensor:
    """Max pooling with any padding, and `extra` rows and columns more of it at the end."""
    if padding or extra:
        end = padding + extra
        x = F.pad(x, (padding, end, padding, end), value=-torch.inf)
    return F.max_pool2d(x, kernel, stride, 0, dilation)


def _avg_pool2d(
    x: Tensor,
    kernel: int,
    stride: int,
    padding: int,
    dilation: int,
    extra: int,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Tensor:
    """Dilated average pooling; `extra` rows and columns at the end never count."""
    channels = x.shape[1]
    ones = torch.ones(1, 1, kernel, kernel, dtype=x.dtype, device=x.device)
    window = ones.expand(channels, 1, kernel, kernel)
    longer = F.pad(x, (0, extra, 0, extra)) if extra else x
    total = F.conv2d(longer, window, None, stride, padding, dilation, channels)
    if divisor_override is not None:
        return total / divisor_override
    if not extra and (count_include_pad or not padding):
        return total / kernel**2
    inside = F.pad(torch.ones_like(x[:1, :1]), (padding,) * 4, value=float(count_include_pad))
    inside = F.pad(inside, (0, extra, 0, extra))
    return total / F.conv2d(inside, ones, None, stride, 0, dilation)


_POOLS: dict[str, tuple[Callable[..., Tensor], tuple[str, ...]]] = {
    "max_pool2d": (_max_pool2d, ()),
    "avg_pool2d": (_avg_pool2d, ("count_include_pad", "divisor_override")),
}
