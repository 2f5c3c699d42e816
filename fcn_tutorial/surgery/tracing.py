"""Read the layers of a torch module off its graph, as `geometry` understands them.

The module is copied without its weights (tensors on the "meta" device have shapes and no values),
followed with torch.fx, and run node by node. Each value on the way carries its route: the layers
between the image and it, and what they see. Public through `surgery.trace`.
"""

import copy
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, fx, nn

from fcn_tutorial.geometry import Layer, ReceptiveField, receptive_field

BATCH = 2  # of the input that carries the shapes: two, so that no squeeze takes it for a pixel

# Functions, operators and methods (`relu_` counts as `relu`) whose output pixel depends on the
# same pixel of their inputs and on no other.
_POINTWISE = """
    abs add batch_norm celu clamp clone contiguous detach div double dropout dropout1d dropout2d elu
    exp float gelu hardsigmoid hardswish hardtanh iadd imul isub itruediv leaky_relu
    local_response_norm log maximum minimum mish mul neg pow prelu relu relu6 selu sigmoid silu
    softplus sqrt square stochastic_depth sub tanh to truediv
"""
POINTWISE = frozenset(_POINTWISE.split())
JOINS = frozenset({"cat", "concat", "concatenate"})
_POINTWISE_FILES = frozenset(
    f"torch.nn.modules.{name}" for name in ("activation", "batchnorm", "dropout")
)

Reader = Callable[..., Layer | None]  # None: the operator leaves the map as it is


# ---- one reader an operator, with the parameters of the torch function of that name -------------


def _square(name: str, value: Any) -> int:
    """The one number of a setting given once or once an axis."""
    values = tuple(value) if isinstance(value, Sequence) else (value,)
    if len(set(values)) != 1:
        raise ValueError(f"{name}={values} differs between the axes; square layers only")
    return int(values[0])


def _conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Layer:
    kernel, d = _square("kernel_size", weight.shape[2:]), _square("dilation", dilation)
    if padding == "same" and d * (kernel - 1) % 2:
        raise ValueError(f"padding='same' is lopsided for an extent of {d * (kernel - 1) + 1}")
    if isinstance(padding, str):
        padding = d * (kernel - 1) // 2 if padding == "same" else 0
    return Layer(kernel, _square("stride", stride), _square("padding", padding), d)


def _conv_transpose2d(
    x: Tensor,
    weight: Tensor,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Layer:
    if _square("output_padding", output_padding):
        raise ValueError(f"output_padding={output_padding} is lopsided; use 0")
    kernel, s = _square("kernel_size", weight.shape[2:]), _square("stride", stride)
    p, d = _square("padding", padding), _square("dilation", dilation)
    return Layer(kernel, s, p, d, kind="deconv")


def _max_pool2d(
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Layer:
    kernel = _square("kernel_size", kernel_size)
    s = _square("stride", stride) if stride else kernel
    p, d = _square("padding", padding), _square("dilation", dilation)
    return Layer(kernel, s, p, d, "pool", bool(ceil_mode))


def _avg_pool2d(
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Layer:
    return _max_pool2d(x, kernel_size, stride, padding, ceil_mode=ceil_mode)


def adaptive_window(x: Tensor, output_size: Any) -> tuple[int, int] | None:
    """Window (h, w) of an adaptive pool that is global at the size of x (N, C, h, w).

    None where the pool is the identity. Raises ValueError where it is neither.
    """
    height, width = x.shape[-2:]
    wanted = tuple(output_size) if isinstance(output_size, Sequence) else (output_size,) * 2
    pairs = zip(wanted, (height, width), strict=True)
    size = tuple(have if want is None else want for want, have in pairs)
    if size == (height, width):
        return None
    if size == (1, 1):
        return height, width
    raise ValueError(
        f"adaptive pooling from {height}×{width} to {size[0]}×{size[1]} has windows that move with "
        "the input size; it is readable only where it is global or changes nothing: choose "
        "input_size so that it is"
    )


def _adaptive_pool2d(x: Tensor, output_size: Any, return_indices: bool = False) -> Layer | None:
    window = adaptive_window(x, output_size)
    return Layer(_square("the map's size", window), kind="pool") if window else None


def is_spatial_mean(x: Tensor, dim: Any) -> bool:
    """Whether a mean over `dim` of x (N, C, h, w) is global average pooling."""
    return isinstance(dim, Sequence) and sorted(d % x.dim() for d in dim) == [2, 3]


def _mean(x: Tensor, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Layer:
    if not (is_spatial_mean(x, dim) and keepdim):
        raise ValueError(
            f"mean over dim={dim} with keepdim={keepdim} leaves no map; convolutionalize the "
            "model first"
        )
    return Layer(_square("the map's size", x.shape[2:]), kind="pool")


FUNCTIONS: dict[str, Reader] = {
    "conv2d": _conv2d,
    "conv_transpose2d": _conv_transpose2d,
    "max_pool2d": _max_pool2d,
    "avg_pool2d": _avg_pool2d,
    "adaptive_avg_pool2d": _adaptive_pool2d,
    "adaptive_max_pool2d": _adaptive_pool2d,
    "mean": _mean,
}


def _read_module(module: nn.Module, x: Tensor) -> Layer | None:
    """The layer of one torch.nn module that is not pointwise."""
    match module:
        case nn.Conv2d(weight=w, stride=s, padding=p, dilation=d):
            return _conv2d(x, w, None, s, p, d)
        case nn.ConvTranspose2d(weight=w, stride=s, padding=p, dilation=d, output_padding=extra):
            return _conv_transpose2d(x, w, None, s, p, extra, 1, d)
        case nn.MaxPool2d(kernel_size=k, stride=s, padding=p, dilation=d, ceil_mode=ceil):
            return _max_pool2d(x, k, s, p, d, ceil)
        case nn.AvgPool2d(kernel_size=k, stride=s, padding=p, ceil_mode=ceil):
            return _avg_pool2d(x, k, s, p, ceil)
        case nn.AdaptiveAvgPool2d(output_size=size) | nn.AdaptiveMaxPool2d(output_size=size):
            return _adaptive_pool2d(x, size)
    raise ValueError(f"{type(module).__name__} is not a layer that trace knows")


def is_pointwise_module(module: nn.Module) -> bool:
    """Whether an output pixel of `module` depends on the same input pixel only."""
    if isinstance(module, nn.Softmax | nn.LogSoftmax | nn.Softmin):
        return module.dim in (1, -3)
    if isinstance(module, nn.MultiheadAttention):
        return False
    known = isinstance(module, nn.Identity | nn.LocalResponseNorm)
    return known or type(module).__module__ in _POINTWISE_FILES


def operator_name(node: fx.Node) -> str:
    """`relu` for torch.relu, F.relu, Tensor.relu and Tensor.relu_ alike."""
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    return name.rstrip("_")


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

    Raises ValueError where torch.fx cannot follow it, or it takes more than one input.
    """
    name = type(module).__name__
    if fx.Tracer().is_leaf_module(module, ""):
        module = nn.Sequential(module)
    try:
        graph_module = fx.symbolic_trace(module)
    except Exception as error:
        raise ValueError(
            f"torch.fx cannot follow {name}.forward ({error}); pass the part of it without "
            "value-dependent control flow, such as its trunk"
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


class ShapeRunner(fx.Interpreter):
    """Runs the graph of a `meta_copy` on an image of `input_size`, keeping every node's value."""

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
        """The value of one node; ValueError, naming it, where torch cannot compute it."""
        try:
            return super().run_node(n)
        except (AssertionError, IndexError, RuntimeError, TypeError) as error:
            raise ValueError(
                f"{describe(n)} fails on an image of {self.size[0]}×{self.size[1]}: {error}"
            ) from error


def describe(node: fx.Node) -> str:
    """How an error names a node: `layer4.0.conv1` for a module, else the operator and its name."""
    if node.op == "call_module":
        return f"module '{node.target}'"
    return f"'{operator_name(node)}' (node '{node.name}')"


class _Route(NamedTuple):
    layers: tuple[Layer, ...]
    field: ReceptiveField

    def then(self, layer: Layer | None) -> "_Route":
        if layer is None:
            return self
        layers = (*self.layers, layer)
        return _Route(layers, receptive_field(layers))


class _RouteRunner(ShapeRunner):
    """A ShapeRunner that also keeps, for every map, the widest route to it from the image."""

    def __init__(self, graph_module: fx.GraphModule, input_size: int | tuple[int, int]) -> None:
        super().__init__(graph_module, input_size)
        self.routes: dict[fx.Node, _Route] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        if n.op == "placeholder" and isinstance(value, Tensor):
            self.routes[n] = _Route((), receptive_field(()))
            return value
        sources = [s for s in n.all_input_nodes if s in self.routes]
        if sources and holds_tensor(value):
            try:
                self.routes[n] = self._route(n, sources, value)
            except ValueError as error:
                raise ValueError(f"{describe(n)}: {error}") from error
        return value

    def _route(self, node: fx.Node, sources: list[fx.Node], value: Any) -> _Route:
        first = self.routes[sources[0]]
        if node.op == "output":
            if not (isinstance(value, Tensor) and len(sources) == 1):
                raise ValueError("the module returns more than one tensor; pass one branch of it")
            return first
        name = operator_name(node)
        if node.op == "call_module":
            layer = self.fetch_attr(cast(str, node.target))
            if is_pointwise_module(layer):
                return first
            return first.then(_read_module(layer, self.env[sources[0]]))
        if name in FUNCTIONS:
            args, kwargs = self.fetch_args_kwargs_from_env(node)
            kwargs = {("x" if key == "input" else key): arg for key, arg in kwargs.items()}
            return first.then(FUNCTIONS[name](*args, **kwargs))
        if name in POINTWISE or name in JOINS or keeps_pixels(node, self.env[sources[0]], value):
            return self._join(sources, value)
        raise ValueError("not an operator that trace knows")

    def _join(self, sources: list[fx.Node], value: Tensor) -> _Route:
        """The widest of the routes that meet here, which must lie on one grid of pixels."""
        routes = [self.routes[s] for s in sources]
        sizes = {tuple(v.shape[-2:]) for v in (value, *(self.env[s] for s in sources))}
        grids = {(r.field.stride, r.field.centre) for r in routes}
        if len(sizes) > 1 or len(grids) > 1:
            found = ", ".join(f"stride {stride} centre {centre}" for stride, centre in grids)
            shapes = ", ".join(f"{h}×{w}" for h, w in sizes)
            raise ValueError(f"the branches that join here disagree: {found}; sizes {shapes}")
        return max(routes, key=lambda r: r.field.size)


def holds_tensor(value: Any) -> bool:
    """Whether `value` is a tensor or has one inside."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, tuple | list):
        return any(holds_tensor(v) for v in value)
    return isinstance(value, Tensor)


def keeps_pixels(node: fx.Node, before: Any, after: Any) -> bool:
    """Whether an indexing or an unsqueeze touches the leading axes only, such as channels."""
    if not (isinstance(before, Tensor) and isinstance(after, Tensor)):
        return False
    name, key = operator_name(node), node.args[1] if len(node.args) > 1 else None
    if name == "unsqueeze":
        return key in (0, 1) and after.shape[-2:] == before.shape[-2:]
    keys = key if isinstance(key, tuple) else (key,)
    plain = all(isinstance(k, int | slice) for k in keys)
    return name == "getitem" and plain and len(keys) <= before.dim() - 2


def trace(module: nn.Module, input_size: int | tuple[int, int]) -> list[Layer]:
    """The layers of the widest path through `module`, from the image to its output.

    Args:
        input_size: side of the image in pixels, or (H, W); only global and size-dependent poolings
            depend on it. The module is read in evaluation mode and stays as it is. Elementwise
            operations leave no layer; where branches meet, the one with the largest receptive field
            counts.

    Raises ValueError, naming the node, where branches disagree in stride or centre, where a layer
    is not square, for an operator it does not know (flattening and linear layers among them:
    `convolutionalize` first), and where torch.fx cannot follow the module.
    """
    graph_module = follow(meta_copy(module))
    runner = _RouteRunner(graph_module, input_size)
    runner.run_on_image()
    end = next(n for n in graph_module.graph.nodes if n.op == "output")
    if end not in runner.routes:
        raise ValueError(f"the output of {type(module).__name__} does not depend on its input")
    return list(runner.routes[end].layers)


def output_channels(module: nn.Module, input_size: int | tuple[int, int]) -> int:
    """Channels of the map (N, C, h, w) that `module` makes of an image of `input_size`.

    Raises ValueError as `trace`, and where the output is not one map.
    """
    runner = ShapeRunner(follow(meta_copy(module)), input_size).run_on_image()
    end = next(n for n in runner.graph.nodes if n.op == "output")
    value = runner.env[end]
    if not (isinstance(value, Tensor) and value.dim() == 4):
        raise ValueError(f"{type(module).__name__} does not return one map (N, C, h, w)")
    return int(value.shape[1])


def replace_module(root: nn.Module, name: str, module: nn.Module) -> None:
    """Put `module` in the place of the submodule of that dotted name."""
    parent, _, leaf = name.rpartition(".")
    setattr(root.get_submodule(parent), leaf, module)
