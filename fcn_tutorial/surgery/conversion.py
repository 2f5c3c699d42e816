"""Classifier -> fully convolutional network: `convolutionalize`."""

import copy
import operator
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from fcn_tutorial.surgery.layout import CHANNELS_LAST, MAP, RESHAPES, Axes, moved
from fcn_tutorial.surgery.reading import (
    ATTENTION,
    FUNCTIONS,
    JOINS,
    PATCH_MERGING,
    adaptive_window,
    is_pointwise_function,
    is_pointwise_module,
    is_spatial_mean,
    operator_name,
    pools_image,
    positional,
    works_per_pixel,
)
from fcn_tutorial.surgery.tracing import (
    ShapeRunner,
    describe,
    follow,
    holds_tensor,
    meta_copy,
    replace_module,
    take_modes,
)


def convolutionalize(model: nn.Module, input_size: int | tuple[int, int] = (224, 224)) -> nn.Module:
    """A fully convolutional copy of a classifier, which scores images of any size.

    A linear layer that reads a flattened (c, h, w) map becomes an h×w convolution with the same
    weights, and global pooling becomes pooling over a window of the map's size at stride 1. On
    images of `input_size` the scores are those of the classifier; on larger ones each score is that
    of a window, one network stride apart, up to what the padding of the trunk adds. What the
    classifier draws from its whole image it draws from the whole of a larger one: the factors of
    squeeze-and-excite blocks, and the windows of attention, which start at the first row and
    column. Source: Long, Shelhamer, Darrell 2015, section 3.1.

    Args:
        model: the classifier, images (N, 3, H, W) -> scores (N, C); it is not changed.
        input_size: side in pixels of the images that it takes, or (H, W).

    Returns:
        A module, images (N, 3, H, W) -> scores (N, C, H', W'), that shares no memory with `model`;
        H' = W' = 1 at `input_size`. It raises AssertionError for an image too small for it.
        Parameter names stay. Dropout stays element-wise, and stochastic depth off. Auxiliary heads
        that only training uses are left out.

    Raises:
        ValueError: where adaptive pooling is neither global nor the identity at `input_size`, where
            an operator cannot be read as one that works at every size, and where torch.fx cannot
            follow the model.

    ::

        >>> import torch
        >>> classifier = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 6 * 6, 10))
        >>> convolutionalize(classifier, input_size=8)(torch.zeros(1, 3, 12, 9)).shape
        torch.Size([1, 10, 5, 2])
    """
    graph_module = follow(copy.deepcopy(model).eval())
    runner = ShapeRunner(cast(fx.GraphModule, meta_copy(graph_module)), input_size).run_on_image()
    values = {node.name: value for node, value in runner.env.items()}
    _Conversion(graph_module, values, runner.size).run()
    return take_modes(graph_module, model)


class _Conversion:
    """Rewrites the graph of a classifier in place, node by node.

    `shapes` holds the shape that each node has in the classifier, `maps` the (c, h, w) of the map
    that stands for it in the rewritten network: the same for a map, and for a flattened vector
    the map it was flattened from. `axes` tells where maps on their way from one form to another,
    such as (N, H, W, C), have rows and columns. `factors` are values of the whole image that a map
    is multiplied by. `stands_for` sends the nodes that vanish to what replaces them.
    """

    def __init__(
        self, graph_module: fx.GraphModule, values: dict[str, Any], size: tuple[int, ...]
    ) -> None:
        self.root, self.graph = graph_module, graph_module.graph
        self.values, self.size = values, size
        self.shapes: dict[fx.Node, tuple[int, ...]] = {}
        self.maps: dict[fx.Node, tuple[int, ...]] = {}
        self.axes: dict[fx.Node, Axes] = {}
        self.factors: set[fx.Node] = set()
        self.seen: set[fx.Node] = set()  # tensors that depend on the image
        self.stands_for: dict[fx.Node, fx.Node] = {}
        for node in self.graph.nodes:
            value = values[node.name]
            if isinstance(value, Tensor):
                self.shapes[node] = tuple(value.shape)
            of_image = node.op == "placeholder" or self.seen & {*node.all_input_nodes}
            if of_image and holds_tensor(value):
                self.seen.add(node)

    def run(self) -> None:
        for node in list(self.graph.nodes):
            try:
                self._convert(node)
            except ValueError as error:
                raise ValueError(f"{describe(node)}: {error}") from error
        for node, stand_in in reversed(self.stands_for.items()):
            node.replace_all_uses_with(stand_in)
            self.graph.erase_node(node)
        self.graph.eliminate_dead_code()
        self.graph.lint()
        self.root.delete_all_unused_submodules()
        self.root.recompile()

    def _convert(self, node: fx.Node) -> None:
        sources = [s for s in node.all_input_nodes if self._axes_of(s) or s in self.maps]
        if node.op == "output":
            self._check_output(node)
        elif node.op == "placeholder":
            self._keep(node, MAP)
        elif not holds_tensor(self.values[node.name]):
            pass  # numbers, such as sizes
        elif self._is_factor(node, sources) or self._scales_a_map(node, sources):
            self.factors.add(node)
        elif not sources:
            pass  # parameters, and what is made of them
        elif node.op == "call_module":
            module = self.root.get_submodule(cast(str, node.target))
            self._convert_module(node, module, sources[0])
        else:
            self._convert_function(node, operator_name(node), sources)

    def _convert_module(self, node: fx.Node, module: nn.Module, source: fx.Node) -> None:
        axes = self._axes_of(source)
        pointwise = is_pointwise_module(module, axes or MAP)
        if pointwise and not isinstance(module, nn.BatchNorm1d):
            self._keep_like(node, source)
            return
        if axes and works_per_pixel(module, (), len(self.shapes[source]), axes):
            self._keep(node, axes)
            return
        if source in self.axes:
            raise ValueError(f"{type(module).__name__} takes other axes for rows and columns")
        match module:
            case nn.Flatten() | nn.Unflatten():
                self._skip_reshape(node, source)
            case nn.Linear():
                self._convert_linear(node, module, source)
            case nn.AdaptiveAvgPool2d() | nn.AdaptiveMaxPool2d() if axes:
                pool = nn.AvgPool2d if isinstance(module, nn.AdaptiveAvgPool2d) else nn.MaxPool2d
                window = adaptive_window(self._tensor(source), module.output_size)
                self._slide(node, source, pool, window)
            case nn.Softmax() | nn.LogSoftmax():
                self._check_channel_axis(source, module.dim)
                module.dim = 1
                self.maps[node] = self.maps[source]
            case nn.BatchNorm1d():
                if self.maps[source][1:] != (1, 1):
                    raise ValueError("BatchNorm1d on a flattened map norms each pixel differently")
                self._replace_module(node, _norm_of_maps(module))
                self.maps[node] = self.maps[source]
            case _ if axes and _works_at_every_size(module):
                self._keep(node, MAP)
            case _:
                raise ValueError(
                    f"{type(module).__name__} on a tensor of shape (N, "
                    f"{str(self.shapes[source][1:])[1:-1].rstrip(',')}) has no form that works at "
                    "every input size"
                )

    def _convert_function(self, node: fx.Node, name: str, sources: list[fx.Node]) -> None:
        source, axes = sources[0], self._axes_of(sources[0])
        if name in JOINS:
            self._convert_join(node, sources)
        elif name == "dropout":
            probability = _setting(node, "p", self.values)
            self._call(node, source, nn.Dropout(0.5 if probability is None else probability))
            self._keep_like(node, source)
        elif is_pointwise_function(name, axes or MAP):
            self._check_operands(node, name, sources)
            self._keep_like(node, source)
        elif name in RESHAPES and self.shapes[node] == self.shapes[source]:
            self._vanish(node, source)
        elif axes and (after := self._moved(node, name, axes)):
            self._keep(node, after)
        elif axes and self._works_per_pixel(node, name, axes):
            self._keep(node, axes)
        elif source in self.axes:
            raise ValueError("has no form that works at every input size")
        elif node not in self.shapes:
            raise ValueError("gives several tensors, which has no reading as one map")
        elif name in RESHAPES:
            self._skip_reshape(node, source)
        elif name in ("softmax", "log_softmax"):
            self._check_channel_axis(source, _setting(node, "dim", self.values))
            node.args = (source,)
            node.kwargs = {**node.kwargs, "dim": 1}
            self.maps[node] = self.maps[source]
        elif name in FUNCTIONS and axes:
            self._convert_spatial_function(node, name, source)
        else:
            raise ValueError("has no form that works at every input size")

    def _moved(self, node: fx.Node, name: str, axes: Axes) -> Axes | None:
        """Where rows and columns are after a call that only rearranges axes; None for others."""
        after = moved(name, self._arguments(node), self.values[node.name], axes)
        if after and name in ("view", "reshape"):
            given = node.args[1:] if len(node.args) != 2 else node.args[1]
            numbers = given if isinstance(given, tuple | list) else (given,) * 5
            if any(isinstance(numbers[a], int) and numbers[a] != -1 for a in after):
                raise ValueError(f"asks for {numbers}, which fits one input size only")
        return after

    def _works_per_pixel(self, node: fx.Node, name: str, axes: Axes) -> bool:
        x, *settings = self._arguments(node)
        if not isinstance(x, Tensor):
            return False
        windows = (*ATTENTION, PATCH_MERGING)
        return works_per_pixel(name, settings, x.dim(), axes) or (
            name in windows and axes == CHANNELS_LAST
        )

    def _is_factor(self, node: fx.Node, sources: list[fx.Node]) -> bool:
        """Whether a node is made of factors alone, or repeats them at every pixel of a map."""
        inputs = [n for n in node.all_input_nodes if n in self.factors]
        repeats = operator_name(node) in ("expand", "expand_as")
        return bool(inputs) and (not sources or (repeats and inputs[0] is node.args[0]))

    def _scales_a_map(self, node: fx.Node, sources: list[fx.Node]) -> bool:
        """Whether a node pools the whole image for factors that a map is multiplied by."""
        if not sources or not (axes := self._axes_of(sources[0])):
            return False
        called: nn.Module | str = operator_name(node)
        if node.op == "call_module":
            called = self.root.get_submodule(cast(str, node.target))
        x, *settings = self._arguments(node)
        if not pools_image(called, settings, x, axes):
            return False
        made_of_it = {node}
        for later in self.graph.nodes:
            if not made_of_it & {*later.all_input_nodes}:
                continue
            others = {*later.all_input_nodes} & self.seen - made_of_it
            if others and operator_name(later) in ("mul", "imul"):
                return True
            if not others or operator_name(later) == "expand_as":
                made_of_it.add(later)
        return False

    def _convert_spatial_function(self, node: fx.Node, name: str, source: fx.Node) -> None:
        before = self._tensor(source)
        pool = nn.MaxPool2d if "max" in name else nn.AvgPool2d
        if name.startswith("adaptive"):
            size = _setting(node, "output_size", self.values)
            self._slide(node, source, pool, adaptive_window(before, size))
        elif name == "mean":
            if not is_spatial_mean(before, axes := _setting(node, "dim", self.values)):
                raise ValueError(f"mean over dim={axes} is not global average pooling")
            self._slide(node, source, pool, tuple(before.shape[2:]))
        elif "pool" in name and node.all_input_nodes != [source]:  # e.g. avg_pool2d(x, x.shape[2:])
            window = _setting(node, "kernel_size", self.values)
            window = (window, window) if isinstance(window, int) else tuple(window)
            if window != before.shape[2:]:
                raise ValueError(f"its window, {window} here, depends on the input size")
            self._slide(node, source, pool, window)
        else:
            self._keep(node, MAP)

    def _keep(self, node: fx.Node, axes: Axes) -> None:
        """The node stays as it is; its output is the map it already was."""
        if axes == MAP and len(self.shapes.get(node, ())) == 4:
            self.maps[node] = self.shapes[node][1:]
        else:
            self.axes[node] = axes

    def _keep_like(self, node: fx.Node, source: fx.Node) -> None:
        """The node stays and works on what stands for `source`, value by value."""
        if source in self.axes:
            self.axes[node] = self.axes[source]
        else:
            self.maps[node] = self.maps[source]

    def _is_map(self, node: fx.Node) -> bool:
        """Whether the classifier, too, has an (N, c, h, w) map here, rather than a vector."""
        return node in self.maps and self.shapes[node][1:] == self.maps[node]

    def _axes_of(self, node: fx.Node) -> Axes | None:
        """Where the classifier has rows and columns here; None for a vector."""
        return MAP if self._is_map(node) else self.axes.get(node)

    def _arguments(self, node: fx.Node) -> list[Any]:
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: self.values[n.name])
        return positional(args, kwargs)

    def _tensor(self, node: fx.Node) -> Tensor:
        return cast(Tensor, self.values[node.name])

    def _skip_reshape(self, node: fx.Node, source: fx.Node) -> None:
        if self.shapes[node][0] != self.shapes[source][0]:
            raise ValueError("mixes the images of a batch")
        self._vanish(node, source)

    def _vanish(self, node: fx.Node, source: fx.Node) -> None:
        self._keep_like(node, source)
        self.stands_for[node] = source

    def _convert_linear(self, node: fx.Node, linear: nn.Linear, source: fx.Node) -> None:
        c, h, w = self.maps[source]
        if len(self.shapes[source]) != 2:
            raise ValueError(
                f"Linear reads the last axis of {len(self.shapes[source])}; it equals a "
                "convolution only on a flattened map, (N, c·h·w)"
            )
        self._require_size(node, source, (h, w))
        self._replace_module(node, _as_convolution(linear, (c, h, w)))
        self.maps[node] = (linear.out_features, 1, 1)

    def _slide(
        self,
        node: fx.Node,
        source: fx.Node,
        pool: type[nn.AvgPool2d] | type[nn.MaxPool2d],
        window: tuple[int, ...] | None,
    ) -> None:
        """Global pooling over `window` becomes pooling at stride 1; no window, no pooling."""
        if window is None:
            self._vanish(node, source)
            return
        self._require_size(node, source, window)
        h, w = window
        self._call(node, source, pool((h, w), stride=1))
        self.maps[node] = (self.maps[source][0], 1, 1)

    def _convert_join(self, node: fx.Node, sources: list[fx.Node]) -> None:
        """Concatenation of channels, or of vectors flattened from maps of one size."""
        parts = cast(list[fx.Node], node.args[0] if node.args else node.kwargs["tensors"])
        if all(part in self.axes for part in parts):
            self._join_on_the_way(node, parts)
            return
        if any(part not in self.maps for part in parts):
            raise ValueError("joins a map with a tensor that is not one")
        c = sum(self.maps[part][0] for part in parts)
        size = self.maps[sources[0]][1:]
        whole = all(self._is_map(part) for part in parts)
        expected = (c, *size) if whole else (c * size[0] * size[1],)
        if {self.maps[p][1:] for p in parts} != {size} or self.shapes[node][1:] != expected:
            raise ValueError("joins maps of different sizes, or along an axis other than channels")
        node.args, node.kwargs = (parts,), {"dim": 1}
        self.maps[node] = (c, *size)

    def _join_on_the_way(self, node: fx.Node, parts: list[fx.Node]) -> None:
        axes = {self.axes[part] for part in parts}
        dim = int(_setting(node, "dim", self.values) or 0) % len(self.shapes[node])
        if len(axes) > 1 or {dim} & {*self.axes[parts[0]]}:
            raise ValueError("joins maps along their rows or columns")
        self.axes[node] = self.axes[parts[0]]

    def _check_operands(self, node: fx.Node, name: str, sources: list[fx.Node]) -> None:
        """Elementwise operations must mean the same on the map as on what it stands for."""
        if len({(self.maps.get(s), self._axes_of(s)) for s in sources}) > 1:
            raise ValueError("combines maps of different sizes, which holds at one input size only")
        factors = [n for n in node.all_input_nodes if n in self.factors]
        if factors and name not in ("mul", "imul"):
            raise ValueError("combines the map with values of the whole image")
        axes = self._axes_of(sources[0])
        if axes == MAP and name in ("batch_norm", "prelu"):
            return
        known = {*sources, *factors}
        constants = [n for n in node.all_input_nodes if n in self.shapes and n not in known]
        dims = len(self.shapes[sources[0]])
        fixed = [a - dims for a in axes] if axes else [-1]  # counted from the end, as they meet
        for shape in (self.shapes[n] for n in constants):
            if any(shape[a] > 1 for a in fixed if -a <= len(shape)):
                raise ValueError("combines the map with a tensor that fits one input size only")

    def _check_channel_axis(self, source: fx.Node, dim: object) -> None:
        channel_axes = (1, -3, None) if self._is_map(source) else (1, -1, None)
        if dim not in channel_axes or not (self._is_map(source) or self.maps[source][1:] == (1, 1)):
            raise ValueError(f"normalises over dim={dim}, which is not the channels")

    def _check_output(self, node: fx.Node) -> None:
        scores = node.args[0]
        if not (isinstance(scores, fx.Node) and scores in self.maps):
            raise ValueError("the model must return one tensor of scores, read from the image")
        if not self._is_map(scores) and self.maps[scores][1:] != (1, 1):
            raise ValueError("the model ends in a flattened map that no linear layer reads")

    def _require_size(self, node: fx.Node, source: fx.Node, window: tuple[int, ...]) -> None:
        """Say what is wrong, with the remedy, where the map is smaller than the window."""
        if max(window) == 1:
            return
        message = (
            f"the image is too small: the map that enters {describe(node)} must be at least "
            f"{window[0]}×{window[1]}, as it is for an image of {self.size[0]}×{self.size[1]}"
        )
        with self.graph.inserting_before(node):
            for axis, least in zip((2, 3), window, strict=True):
                side = self.graph.call_method("size", (source, axis))
                enough = self.graph.call_function(operator.ge, (side, least))
                self.graph.call_function(torch._assert, (enough, message))

    def _replace_module(self, node: fx.Node, module: nn.Module) -> None:
        target = cast(str, node.target)
        if sum(n.op == "call_module" and n.target == target for n in self.graph.nodes) > 1:
            raise ValueError("is used more than once; give each use a module of its own")
        replace_module(self.root, target, module)

    def _call(self, node: fx.Node, source: fx.Node, module: nn.Module) -> None:
        """Let the node call `module` on `source`."""
        if node.op == "call_module":
            self._replace_module(node, module)
            return
        name = node.name
        while hasattr(self.root, name):
            name += "_"
        self.root.add_module(name, module)
        node.op, node.target, node.args, node.kwargs = "call_module", name, (source,), {}


def _setting(node: fx.Node, name: str, values: dict[str, Any]) -> Any:
    """What follows the input in a call, by place or by name: window, size, axes or probability."""
    given = node.args[1] if len(node.args) > 1 else node.kwargs.get(name)
    return fx.node.map_arg(given, lambda n: values[n.name])


def _as_convolution(linear: nn.Linear, shape: tuple[int, ...]) -> nn.Conv2d:
    """The convolution that reads a whole (c, h, w) map as `linear` reads it flattened."""
    c, h, w = shape
    # On "meta" nothing is allocated or initialised: fc6 of VGG16 holds 103 million weights.
    conv = nn.Conv2d(c, linear.out_features, (h, w), bias=linear.bias is not None, device="meta")
    weight = linear.weight.detach().view(linear.out_features, c, h, w)
    conv.weight = nn.Parameter(weight, linear.weight.requires_grad)
    conv.bias = linear.bias
    return conv


def _norm_of_maps(norm: nn.BatchNorm1d) -> nn.BatchNorm2d:
    """The norm of a map whose pixels are the vectors that `norm` reads."""
    maps = nn.BatchNorm2d(
        norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats, "meta"
    )
    maps.weight, maps.bias = norm.weight, norm.bias
    maps.running_mean, maps.running_var = norm.running_mean, norm.running_var
    maps.num_batches_tracked = norm.num_batches_tracked
    return maps


def _works_at_every_size(module: nn.Module) -> bool:
    files = ("conv", "pooling", "padding", "pixelshuffle", "channelshuffle", "instancenorm")
    known = type(module).__module__ in {f"torch.nn.modules.{file}" for file in files}
    return known or isinstance(module, nn.GroupNorm)
