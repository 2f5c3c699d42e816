"""What each operator of torch does to a map: the layer it is, or that it leaves pixels in place.

One reader an operator, with the parameters of the torch function of that name; modules of torch.nn
are read by the same ones.
"""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, fx, nn

from fcn_tutorial.geometry import Layer
from fcn_tutorial.surgery.layout import MAP, Axes

# Functions, operators and methods (`relu_` counts as `relu`) whose output pixel depends on the
# same pixel of their inputs and on no other.
_POINTWISE = """
    abs add batch_norm celu clamp clone contiguous detach div double dropout dropout1d dropout2d elu
    exp float gelu hardsigmoid hardswish hardtanh iadd imul isub itruediv leaky_relu
    local_response_norm log maximum minimum mish mul neg pow prelu relu relu6 selu sigmoid silu
    softplus sqrt square stochastic_depth sub tanh to truediv
"""
POINTWISE = frozenset(_POINTWISE.split())
_ALONG_AXIS_ONE = frozenset({"batch_norm", "local_response_norm", "prelu"})
JOINS = frozenset({"cat", "concat", "concatenate"})
#: Windows of torchvision's Swin, padded to whole ones: every pixel stays, and reads many others.
ATTENTION = frozenset({"shifted_window_attention"})
#: Where torchvision's Swin makes a pixel of each 2×2, the last ones filled up: (N, H, W, C).
PATCH_MERGING = "_patch_merging_pad"
PATCH_LAYER = Layer(2, 2, kind="pool", ceil=True)
#: Norms by the statistics of each image.
IMAGE_NORMS = (nn.GroupNorm, nn.InstanceNorm2d)
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

    None where the pool is the identity.

    Raises:
        ValueError: where the pool is neither.
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


def is_spatial_mean(x: Tensor, dim: Any, axes: Axes = MAP) -> bool:
    """Whether a mean over `dim` of x, its rows and columns at `axes`, is global pooling."""
    return isinstance(dim, Sequence) and sorted(d % x.dim() for d in dim) == [*axes]


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


def read_module(module: nn.Module, x: Tensor) -> Layer | None:
    """The layer of one torch.nn module that is not pointwise.

    Raises:
        ValueError: for a module that `trace` does not know.
    """
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


def is_pointwise_module(module: nn.Module, axes: Axes = MAP) -> bool:
    """Whether an output pixel of `module` depends on the same input pixel only.

    axes: of the rows and columns of what it reads.
    """
    if isinstance(module, nn.Softmax | nn.LogSoftmax | nn.Softmin | nn.MultiheadAttention):
        return False
    if isinstance(module, nn.LocalResponseNorm | nn.BatchNorm2d | nn.PReLU):
        return 1 not in axes
    return isinstance(module, nn.Identity) or type(module).__module__ in _POINTWISE_FILES


def is_pointwise_function(name: str, axes: Axes = MAP) -> bool:
    """`is_pointwise_module` of a function, an operator or a method."""
    return name in POINTWISE and not (name in _ALONG_AXIS_ONE and 1 in axes)


def works_per_pixel(
    operator: nn.Module | str, settings: Sequence[Any], dims: int, axes: Axes
) -> bool:
    """Whether a linear layer, norm or softmax works along other axes than rows and columns.

    operator: a module, or the name of a function, `settings` then being its arguments after the
    tensor. dims: axes that the tensor has.
    """
    match operator, settings:
        case (nn.Linear(), _) | ("linear", _):
            along: Sequence[int] = (-1,)
        case (nn.LayerNorm(normalized_shape=shape), _) | ("layer_norm", (shape, *_)):
            along = range(-len(shape), 0)
        case ((nn.Softmax() | nn.LogSoftmax() | nn.Softmin()) as module, _):
            along = () if module.dim is None else (module.dim,)
        case ("softmax" | "log_softmax", (int(dim), *_)):
            along = (dim,)
        case _:
            return False
    return bool(along) and not {d % dims for d in along} & {*axes}


def pools_image(operator: nn.Module | str, settings: Sequence[Any], x: Tensor, axes: Axes) -> bool:
    """Whether one value a channel is left of the whole of x, at every size that x may have.

    operator, settings: as for `works_per_pixel`.
    """
    match operator, settings:
        case (nn.AdaptiveAvgPool2d() | nn.AdaptiveMaxPool2d()) as module, _:
            return axes == MAP and module.output_size in (1, (1, 1), [1, 1])
        case "adaptive_avg_pool2d" | "adaptive_max_pool2d", (wanted, *_):
            return axes == MAP and wanted in (1, (1, 1), [1, 1])
        case "mean" | "amax", (dim, *_):
            return is_spatial_mean(x, dim, axes)
    return False


def operator_name(node: fx.Node) -> str:
    """`relu` for torch.relu, F.relu, Tensor.relu and Tensor.relu_ alike."""
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    return name.rstrip("_")


def positional(args: Sequence[Any], kwargs: dict[str, Any]) -> list[Any]:
    """The arguments of a call in their order, those by name at the end."""
    named = {key: value for key, value in kwargs.items() if key not in ("input", "x", "inplace")}
    first = [kwargs[key] for key in ("input", "x") if key in kwargs]
    return [*first, *args, *named.values()]
