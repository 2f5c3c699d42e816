"""Read the layers of a torch module off its graph, as `geometry` understands them.

The module is copied without its weights (tensors on the "meta" device have shapes and no values),
followed with torch.fx, and run node by node. Each value on the way carries its route: the layers
between the image and it, and what they see. Public through `surgery.trace`.
"""

import copy
import operator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, fx, nn

from fcn_tutorial.geometry import Layer, ReceptiveField, receptive_field
from fcn_tutorial.surgery.layout import CHANNELS_LAST, MAP, Axes, moved, size
from fcn_tutorial.surgery.reading import (
    ATTENTION,
    FUNCTIONS,
    IMAGE_NORMS,
    JOINS,
    PATCH_LAYER,
    PATCH_MERGING,
    is_pointwise_function,
    is_pointwise_module,
    operator_name,
    pools_image,
    positional,
    read_module,
    works_per_pixel,
)

BATCH = 2  # of the input that carries the shapes: two, so that no squeeze takes it for a pixel

# ---- following the graph ------------------------------------------------------------------------


def meta_copy(module: nn.Module) -> nn.Module:
    """A copy of `module` in evaluation mode whose tensors have shapes but take no memory."""
    bare: dict[int, Any] = {
        id(p): nn.Parameter(p.detach().to("meta"), p.requires_grad) for p in module.parameters()
    }
    bare |= {id(b): b.detach().to("meta") for b in module.buffers()}
    return copy.deepcopy(module, bare).eval()


def follow(module: nn.Module) -> fx.GraphModule:
    """The graph of `module` in its present mode, sharing its weights.

    Raises:
        ValueError: where torch.fx cannot follow it, or it takes more than one input.
    """
    name = type(module).__name__
    if fx.Tracer().is_leaf_module(module, ""):
        module = nn.Sequential(module)
    try:
        graph_module = fx.symbolic_trace(module)
    except Exception as error:
        raise ValueError(
            f"torch.fx cannot follow {name}.forward ({error}); pass the part of it without "
            "value-dependent control flow, such as its trunk; `layer_table` needs no graph"
        ) from error
    inputs = [n for n in graph_module.graph.nodes if n.op == "placeholder" and not n.args]
    if len(inputs) != 1:
        raise ValueError(f"{name} takes {len(inputs)} inputs; exactly one is expected, the image")
    return graph_module


def _input_channels(graph_module: fx.GraphModule) -> int:
    """Channels that the first layer of the graph reads; 3 where none says."""
    for node in graph_module.graph.nodes:
        if node.op == "call_module":
            layer = graph_module.get_submodule(node.target)
            for attribute in ("in_channels", "num_features", "num_channels"):
                if isinstance(channels := getattr(layer, attribute, None), int):
                    return channels
        elif operator_name(node) == "conv2d" and len(node.args) > 1:
            weight = node.args[1]
            if isinstance(weight, fx.Node) and weight.op == "get_attr":
                groups = node.kwargs.get("groups", node.args[6] if len(node.args) > 6 else 1)
                tensor = operator.attrgetter(cast(str, weight.target))(graph_module)
                return int(tensor.shape[1]) * int(cast(int, groups))
    return 3


class UnfitSizeError(ValueError):
    """A module cannot compute an image of the size that it was given."""


class ShapeRunner(fx.Interpreter):
    """Runs the graph of a `meta_copy` on an image of `input_size`, keeping every node's value.

    Raises:
        ValueError: for a size that is not one or two positive numbers.
    """

    def __init__(self, graph_module: fx.GraphModule, input_size: int | tuple[int, int]) -> None:
        super().__init__(graph_module, garbage_collect_values=False)
        self.extra_traceback = False
        self.size = (input_size, input_size) if isinstance(input_size, int) else tuple(input_size)
        if len(self.size) != 2 or min(self.size) < 1:
            raise ValueError(f"input_size must be one or two positive numbers, got {input_size!r}")

    def run_on_image(self) -> "ShapeRunner":
        """Run it once, and hand it back."""
        dtypes = (p.dtype for p in self.module.parameters() if p.is_floating_point())
        dtype = next(dtypes, torch.get_default_dtype())
        channels = _input_channels(cast(fx.GraphModule, self.module))
        self.run(torch.empty(BATCH, channels, *self.size, dtype=dtype, device="meta"))
        return self

    def run_node(self, n: fx.Node) -> Any:
        """The value of one node.

        Raises:
            UnfitSizeError: naming the node, where torch cannot compute it.
        """
        try:
            value = super().run_node(n)
            if isinstance(value, Tensor) and value.dim() == 4 and 0 in value.shape:
                raise RuntimeError("no pixel is left")  # old versions of torch go on with none
            return value
        except (AssertionError, IndexError, RuntimeError, TypeError) as error:
            raise UnfitSizeError(
                f"{describe(n)} fails on an image of {self.size[0]}×{self.size[1]}: {error}"
            ) from error


def describe(node: fx.Node) -> str:
    """How an error names a node: `layer4.0.conv1` for a module, else the operator and its name."""
    if node.op == "call_module":
        return f"module '{node.target}'"
    return f"'{operator_name(node)}' (node '{node.name}')"


class _Route(NamedTuple):
    """How a value comes about from the image.

    axes: where it has its rows and columns. pooled: it has none, being of the whole image, such as
    the factors of a squeeze-and-excite block; flaw: then, why no map can be read from it. gated: a
    pixel was multiplied or normalised by such values on the way; attends: or is a sum over others
    by attention.
    """

    layers: tuple[Layer, ...] = ()
    field: ReceptiveField = receptive_field(())
    axes: Axes = MAP
    pooled: bool = False
    flaw: str = ""
    gated: bool = False
    attends: bool = False

    def then(self, layer: Layer | None) -> "_Route":
        if layer is None:
            return self
        layers = (*self.layers, layer)
        return self._replace(layers=layers, field=receptive_field(layers))


class _RouteRunner(ShapeRunner):
    """A ShapeRunner that also keeps, for every map, the widest route to it from the image."""

    def __init__(self, graph_module: fx.GraphModule, input_size: int | tuple[int, int]) -> None:
        super().__init__(graph_module, input_size)
        self.routes: dict[fx.Node, _Route] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n.op == "placeholder" and isinstance(value, Tensor):
            self.routes[n] = _Route()
            return value
        sources = [s for s in n.all_input_nodes if s in self.routes]
        if sources and n.op != "output" and holds_tensor(value):
            self.routes[n] = self._route(n, sources, value)
        return value

    def _route(self, node: fx.Node, sources: list[fx.Node], value: Any) -> _Route:
        first = self.routes[sources[0]]
        args, kwargs = self.fetch_args_kwargs_from_env(node)
        function, settings = operator_name(node), positional(args, kwargs)
        called = self.fetch_attr(cast(str, node.target)) if node.op == "call_module" else function
        pools = pools_image(called, settings[1:], settings[0], first.axes)
        try:
            if is_pointwise_function(function, first.axes) or function in JOINS:
                return self._join(sources, value, multiplies=function in ("mul", "imul"))
            if first.pooled and function in ("expand", "expand_as"):
                flaw = f"{describe(node)} is one value at every pixel, not a map"
                return first._replace(flaw=first.flaw or flaw)
            if settings[0] is not self.env[sources[0]] or len(sources) > 1:
                raise ValueError("reads more than one map")
            if isinstance(called, nn.Module):
                route = _through_module(first, called, settings[0])
            else:
                route = _through_function(first, function, settings, value, args, kwargs)
        except ValueError as error:
            flaw = f"{describe(node)}: {error}"
            if not (pools or all(self.routes[s].pooled for s in sources)):
                raise ValueError(flaw) from error
            # How values of the whole image come about is free: no pixel lies among them.
            return first._replace(pooled=True, flaw=first.flaw or flaw)
        return route._replace(pooled=first.pooled or pools)

    def _join(self, sources: list[fx.Node], value: Tensor, *, multiplies: bool) -> _Route:
        """The widest of the routes that meet here, which must lie on one grid of pixels.

        Factors of the whole image are no route of their own.
        """
        routes = {s: self.routes[s] for s in sources}
        gated = any(route.gated for route in routes.values())
        attends = any(route.attends for route in routes.values())
        maps = {s: route for s, route in routes.items() if not route.pooled}
        if multiplies and maps and len(maps) < len(routes):
            routes, gated = maps, True
        if flaw := next((route.flaw for route in routes.values() if route.flaw), ""):
            raise ValueError(flaw)
        layouts = {(route.axes, self.env[s].dim()) for s, route in routes.items()}
        if len(layouts) > 1:
            raise ValueError("the branches that join here have their axes in different orders")
        ((axes, _),) = layouts
        sizes = {size(v, axes) for v in (value, *(self.env[s] for s in routes))}
        grids = {(r.field.stride, r.field.centre) for r in routes.values()}
        if len(sizes) > 1 or len(grids) > 1:
            found = ", ".join(f"stride {stride} centre {centre}" for stride, centre in grids)
            shapes = ", ".join(f"{h}×{w}" for h, w in sizes)
            raise ValueError(f"the branches that join here disagree: {found}; sizes {shapes}")
        widest = max(routes.values(), key=lambda r: r.field.size)
        return widest._replace(gated=gated, attends=attends)


def _through_module(route: _Route, module: nn.Module, x: Tensor) -> _Route:
    if is_pointwise_module(module, route.axes) or works_per_pixel(module, (), x.dim(), route.axes):
        return route
    if route.axes != MAP:
        raise ValueError(f"{type(module).__name__} takes other axes for rows and columns")
    if isinstance(module, IMAGE_NORMS):
        return route._replace(gated=True)
    return route.then(read_module(module, x))


def _through_function(
    route: _Route,
    name: str,
    settings: list[Any],
    value: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> _Route:
    x = settings[0]
    if (axes := moved(name, settings, value, route.axes)) is not None:
        return route._replace(axes=axes)
    if isinstance(x, Tensor) and works_per_pixel(name, settings[1:], x.dim(), route.axes):
        return route
    if name in ATTENTION and route.axes == CHANNELS_LAST:
        return route._replace(attends=True)
    if name == PATCH_MERGING and route.axes == CHANNELS_LAST:
        return route.then(PATCH_LAYER)
    if name in FUNCTIONS and route.axes == MAP:
        kwargs = {("x" if key == "input" else key): value for key, value in kwargs.items()}
        return route.then(FUNCTIONS[name](*args, **kwargs))
    raise ValueError("not an operator that trace knows")


@dataclass(frozen=True)
class Survey:
    """What `survey` finds of the map that a module makes of an image.

    layers: the convolutions and poolings of the widest path to it. shape: of the map; axes: where
    it has rows and columns. gated: its pixels were multiplied or normalised by values of the whole
    image, which no layer shows; attends: by attention they are sums over others.
    """

    layers: tuple[Layer, ...]
    shape: tuple[int, ...]
    axes: Axes
    gated: bool
    attends: bool


def survey(module: nn.Module, input_size: int | tuple[int, int]) -> Survey:
    """What lies between an image of `input_size` and the map that `module` makes of it.

    Arguments and meaning of the layers as of `trace`, which refuses attention as well.

    Raises:
        ValueError: where the module returns more than one tensor, and as `trace`.
    """
    runner, returned = _followed(module, input_size)
    if not isinstance(returned, fx.Node):
        raise ValueError("the module returns more than one tensor; pass one branch of it")
    return _survey_of(runner, returned)


def survey_taps(module: nn.Module, input_size: int | tuple[int, int]) -> dict[Any, Survey]:
    """`survey` of each of the maps in the dict that `module` returns."""
    runner, returned = _followed(module, input_size)
    return {key: _survey_of(runner, node) for key, node in returned.items()}


def _followed(module: nn.Module, input_size: int | tuple[int, int]) -> tuple[_RouteRunner, Any]:
    """The routes through `module`, and the nodes of what it returns, in the form it returns."""
    graph_module = follow(meta_copy(module))
    graph_module.graph.eliminate_dead_code()  # such as auxiliary heads
    runner = _RouteRunner(graph_module, input_size)
    runner.run_on_image()
    return runner, next(n for n in graph_module.graph.nodes if n.op == "output").args[0]


def _survey_of(runner: _RouteRunner, node: fx.Node) -> Survey:
    route, value = runner.routes.get(node), runner.env[node]
    if route is None or not isinstance(value, Tensor):
        raise ValueError(f"{describe(node)} is no map of the image")
    if route.flaw:
        raise ValueError(route.flaw)
    return Survey(route.layers, tuple(value.shape), route.axes, route.gated, route.attends)


def trace(module: nn.Module, input_size: int | tuple[int, int]) -> list[Layer]:
    """The layers of the widest path through `module`, from the image to its output.

    Elementwise operations leave no layer, nor do linear layers and norms along the channels; where
    branches meet, the one with the largest receptive field counts.

    A map multiplied by factors that are pooled from the whole image (squeeze-and-excite), or
    normalised by its own mean (GroupNorm), depends on every pixel, if weakly. The layers are those
    of the path that it is carried along: their field is what the literature calls the field of
    such a network, and stride and centre are the map's.

    Args:
        module: is read in evaluation mode, and not changed.
        input_size: side of the image in pixels, or (H, W); only global and size-dependent poolings
            depend on it.

    Returns:
        What `geometry` reads: `receptive_field(trace(…))`.

    Raises:
        ValueError: naming the node, where branches disagree in stride or centre, where a layer is
            not square, for an operator it does not know (flattening and linear layers behind it
            among them: `convolutionalize` first), for attention, which no list of layers tells, and
            where torch.fx cannot follow the module.

    ::

        >>> trace(nn.Sequential(nn.Conv2d(3, 8, 7, stride=2, padding=3), nn.MaxPool2d(2)), 64)
        [Layer(7, stride=2, padding=3), Layer(2, stride=2, kind='pool')]
    """
    found = survey(module, input_size)
    if found.attends:
        raise ValueError(
            f"{type(module).__name__} uses attention, whose outputs have no receptive field of a "
            "fixed size"
        )
    return list(found.layers)


def parameter_strides(
    module: nn.Module, input_size: int | tuple[int, int]
) -> dict[str, int | Fraction]:
    """The stride of the map that each parameter of `module` works on, by the parameter's name.

    Args:
        module: as in `trace`; attention is followed too.
        input_size: as in `trace`.

    Returns:
        Strides in pixels, Fractions where the map is finer than the image. A parameter used at
        several strides has the largest of them; those that no image meets are left out.

    Raises:
        ValueError: as `trace`, attention aside.

    ::

        >>> from torch import nn
        >>> parameter_strides(nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.Conv2d(8, 4, 1)), 64)
        {'0.weight': 2, '0.bias': 2, '1.weight': 2, '1.bias': 2}
    """
    runner, _ = _followed(module, input_size)
    found: dict[str, int | Fraction] = {}
    for node in runner.graph.nodes:
        target = str(node.target)
        if node.op == "call_module":
            parts = runner.fetch_attr(target).named_parameters()
            names = [f"{target}.{part}" for part, _ in parts]
        else:
            is_parameter = node.op == "get_attr" and isinstance(runner.env[node], nn.Parameter)
            names = [target] if is_parameter else []
        for name in names if (strides := _strides_met(runner, node)) else ():
            found[name] = max(*strides, found.get(name, 0), 0)
    return found


def _strides_met(runner: _RouteRunner, node: fx.Node) -> set[int | Fraction]:
    """Strides of the maps that a node is, or works on where it is made of parameters alone."""
    if node in runner.routes:
        return {runner.routes[node].field.stride}
    return {stride for user in node.users for stride in _strides_met(runner, user)}


def holds_tensor(value: Any) -> bool:
    """Whether `value` is a tensor or has one inside."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, tuple | list):
        return any(holds_tensor(v) for v in value)
    return isinstance(value, Tensor)


def take_modes(graph_module: fx.GraphModule, model: nn.Module) -> fx.GraphModule:
    """Training or evaluation, module by module, as in `model`; returns what it is given."""
    modes = {name: module.training for name, module in model.named_modules()}
    for name, module in graph_module.named_modules():
        module.training = modes.get(name, model.training)
    return graph_module


def replace_module(root: nn.Module, name: str, module: nn.Module) -> None:
    """Put `module` in the place of the submodule of that dotted name."""
    parent, _, leaf = name.rpartition(".")
    setattr(root.get_submodule(parent), leaf, module)
