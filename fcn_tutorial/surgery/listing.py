"""A network as a table: its layers in the order they run, what each leaves and how far it sees.

Unlike `trace` this asks for one run and no graph, so that it lists whole segmentation networks, and
says of each layer that it does not know more where fields cannot be followed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from fcn_tutorial import display
from fcn_tutorial.geometry import Layer, ReceptiveField, receptive_field
from fcn_tutorial.surgery.layout import MAP, moved
from fcn_tutorial.surgery.reading import (
    FUNCTIONS,
    JOINS,
    is_pointwise_function,
    positional,
    works_per_pixel,
)
from fcn_tutorial.surgery.running import Running, watched

_HEADS = ("layer", "kind", "kernel", "stride", "output", "parameters", "map stride", "field")


class Row(NamedTuple):
    """One layer of a `LayerTable`.

    Attributes:
        name: dotted name of the submodule that ran it.
        layer: what it is.
        output: (channels, H, W) of what it leaves.
        parameters: of that submodule; a second row of the same name counts none.
        field: what its output sees of the image, with the stride there; None where that cannot be
            followed, as behind an upsampling that is no deconvolution.
    """

    name: str
    layer: Layer
    output: tuple[int, int, int]
    parameters: int
    field: ReceptiveField | None


@dataclass(frozen=True, repr=False)
class LayerTable:
    """The layers of a network, as text and, in a notebook, as a table.

    Attributes:
        title: names the network, and the image that it ran on.
        rows: convolutions, poolings and deconvolutions in the order they ran.
        parameters: of the whole network, norms and other layers included.

    ::

        >>> from torch import nn
        >>> table = layer_table(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)), 32)
        >>> table.parameters, [(row.name, row.output, row.parameters) for row in table.rows]
        (240, [('0', (8, 30, 30), 224)])
    """

    title: str
    rows: tuple[Row, ...]
    parameters: int

    def __str__(self) -> str:
        lines = display.aligned([_HEADS, *self._cells()])
        return "\n".join([self._caption, *(line.rstrip() for line in lines)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return display.table(_HEADS, self._cells(), self._caption)

    @property
    def _caption(self) -> str:
        return f"{self.title}, {self.parameters:,} parameters"

    def _cells(self) -> Iterator[tuple[str, ...]]:
        for row in self.rows:
            layer, field = row.layer, row.field
            dilated = f", {layer.dilation} apart" if layer.dilation > 1 else ""
            yield (
                row.name, layer.kind, f"{layer.kernel}×{layer.kernel}{dilated}",
                str(layer.stride), "×".join(map(str, row.output)),
                f"{row.parameters:,}" if row.parameters else "",
                str(field.stride) if field else "–", str(field.size) if field else "–",
            )  # fmt: skip


def layer_table(
    module: nn.Module, input_size: int | tuple[int, int], channels: int = 3
) -> LayerTable:
    """The convolutions, poolings and deconvolutions of `module`, and what each leaves and sees.

    A field is that of the widest path, without image-wide factors (squeeze-and-excite) and
    attention, as in `trace`. Layers whose windows are not square are left out, with all fields
    behind them.

    Args:
        module: is run once, in evaluation mode and without its weights; it is not changed.
        input_size: (H, W) of the image in pixels, or its side.
        channels: of the image.

    Returns:
        A `LayerTable`, which prints itself.

    Raises:
        ValueError: where the module cannot run on such an image.

    ::

        >>> from torch import nn
        >>> layer_table(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2)), 32)
        Sequential on 3×32×32, 224 parameters
        layer  kind  kernel  stride   output  parameters  map stride  field
        0      conv     3×3       1  8×30×30         224           1      3
        2      pool     2×2       2  8×15×15                       2      4
    """
    watcher = watched(module, input_size, channels, _Watcher)
    size = "×".join(map(str, watcher.image.shape[1:]))
    count = sum(p.numel() for p in module.parameters())
    return LayerTable(f"{type(module).__name__} on {size}", tuple(watcher.rows), count)


class _Watcher(TorchFunctionMode):
    """Notes every layer that runs, and carries along the layers on the way to each map."""

    def __init__(self, running: Running, image: Tensor) -> None:
        super().__init__()
        self.running, self.image = running, image
        self.rows: list[Row] = []
        self._counted: set[str] = set()
        # By identity; the tensor beside it lives on, so that no other gets its number.
        self._paths: dict[int, tuple[Tensor, tuple[Layer, ...]]] = {id(image): (image, ())}

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        kwargs = {k: v for k, v in (kwargs or {}).items() if v is not None}
        name = getattr(func, "__name__", "").strip("_").removesuffix("_with_indices")
        outputs = [t for t in _tensors(result) if t.dim() == 4]
        if outputs:
            try:
                self._note(name, args, kwargs, outputs)
            except ValueError:  # not a square layer, or a pooling that depends on the size
                self._forget(outputs)
        return result

    def _note(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], outputs: list[Tensor]
    ) -> None:
        maps = [t for t in _tensors([args, kwargs.values()]) if t.dim() == 4]
        layer = None
        if name in FUNCTIONS:
            renamed = {("x" if key == "input" else key): value for key, value in kwargs.items()}
            layer = FUNCTIONS[name](*args, **renamed)
            maps = maps[:1]  # the others are weights
        path = self._path(name, positional(args, kwargs), maps, outputs[0])
        if layer is not None:
            path = None if path is None else (*path, layer)
            self._add(layer, outputs[0], path)
        for output in outputs:
            if path is None:
                self._forget([output])
            else:
                self._paths[id(output)] = (output, path)

    def _path(
        self, name: str, settings: list[Any], maps: list[Tensor], output: Tensor
    ) -> tuple[Layer, ...] | None:
        """The layers on the way to what a call reads, None where pixels did not stay in place."""
        if len(maps) > 1:  # factors of the whole image are no path of their own
            maps = [t for t in maps if t.shape[2:] == output.shape[2:]]
        known = [self._paths[id(t)][1] for t in maps if id(t) in self._paths]
        stays = (
            name in FUNCTIONS
            or name in JOINS
            or is_pointwise_function(name)
            or (maps and works_per_pixel(name, settings[1:], 4, MAP))
            or (len(maps) == 1 and moved(name, settings, output, MAP) == MAP)
            or (name == "getitem" and maps and maps[0].shape == output.shape)
        )
        if not known or len(known) < len(maps) or not stays:
            return None
        fields = [receptive_field(path) for path in known]
        if len({(field.stride, field.centre) for field in fields}) > 1:
            return None
        return max(zip(fields, known, strict=True), key=lambda pair: pair[0].size)[1]

    def _add(self, layer: Layer, output: Tensor, path: tuple[Layer, ...] | None) -> None:
        name, module = self.running.innermost
        own = 0 if name in self._counted else sum(p.numel() for p in module.parameters(False))
        self._counted.add(name)
        _, channels, height, width = output.shape
        field = None if path is None else receptive_field(path)
        self.rows.append(Row(name, layer, (channels, height, width), own, field))

    def _forget(self, outputs: Iterable[Tensor]) -> None:
        for output in outputs:  # one that was computed in place is another map now
            self._paths.pop(id(output), None)


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Iterable) and not isinstance(value, str | bytes):
        for part in value:
            yield from _tensors(part)
