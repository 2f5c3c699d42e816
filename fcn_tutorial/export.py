"""Trained networks for other programs: ONNX, and the `.pt2` files of `torch.export`.

The exported graph takes `images` (N, C, H, W) for any N, H and W (from `smallest` pixels on) and
gives `scores` (N, classes, H, W) before the softmax, or an output a task. Both kinds of file carry
a JSON text (`metadata`) with the classes, their colours and what the input must be: ONNX in its
metadata under "fcn_tutorial", a `.pt2` as its extra file "fcn_tutorial.json".

Each file is read back and compared with the network before it takes its name.
"""

from __future__ import annotations

import inspect
import io
import json
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from fcn_tutorial.files import replacing
from fcn_tutorial.models import Card, Network
from fcn_tutorial.models.inference import resampling_matrix
from fcn_tutorial.models.network import ONLY

Format = Literal["onnx", "torch"]

FORMAT = "fcn_tutorial export/1"
SUFFIXES = {"onnx": ".onnx", "torch": ".pt2"}
#: What the outputs of file and network may differ by, as a share of the largest score.
TOLERANCE = 1e-4
#: The last of the sides for which a rounded magnification is looked at.
_LARGEST_SIDE = 10_000


class Exported(NamedTuple):
    """What was written and how it was checked.

    Attributes:
        inputs: the input in words.
        sizes: (H, W) of the images it was compared on.
        error: the largest difference of a score from the network's;
        largest: the largest score, to set it beside.
    """

    inputs: str
    sizes: tuple[tuple[int, int], ...]
    error: float
    largest: float


def export(
    model: Network,
    card: Card,
    path: Path,
    to: Format,
    size: tuple[int, int] | None = None,
    uint8: bool = False,
) -> Exported:
    """Write a network as `path`, read it back and compare.

    Args:
        model: in evaluation mode, on the CPU.
        card: what its weights file says of it.
        to: "onnx" (.onnx), or "torch" (.pt2).
        size: (H, W) of the only images it will take; None for any of at least `smallest(model)`.
        uint8: the graph preprocesses: it takes RGB uint8 and not what `model.preprocess` makes.

    Raises ValueError for a path of another suffix, for packages that are not installed (naming the
    extra `export`), for a network that cannot be exported so, and, leaving no file, where the
    file's scores are not the network's; OSError where the file cannot be written.
    """
    if path.suffix != SUFFIXES[to]:
        raise ValueError(f"--out {path}: a file of --to {to} ends in {SUFFIXES[to]}")
    if model.training:
        raise RuntimeError("export: the network is in training mode; call .eval() first")
    if to == "onnx":
        _require("onnx", "onnxscript", "onnxruntime")
    graph = _graph(model, uint8)
    least = smallest(model)
    sizes = [size] if size else [(least + 31, least + 64), (least, least), (3 * least, 2 * least)]
    text = json.dumps(metadata(model, card, size, uint8), ensure_ascii=False)
    names = ["scores"] if set(model.tasks) == {ONLY} else list(model.tasks)
    with _quiet(), torch.no_grad():
        program = _program(graph, _images(model, 2, sizes[0], uint8), size, least)
        with replacing(path) as partial:
            read: Callable[[Tensor], list[Tensor]]
            if to == "onnx":
                _write_onnx(program, partial, names, text)
                read = _onnx_reader(partial)
            else:
                _write_torch(program, partial, text)
                read = _torch_reader(partial)
            error, largest = _compare(model, read, sizes, uint8)
            if not error <= TOLERANCE * max(1.0, largest):
                raise ValueError(
                    f"{path}: its scores differ from the network's by {error:.1e} (the largest is "
                    f"{largest:.3g}), so it was not kept; try another version of the exporter, or "
                    f"--to {'torch' if to == 'onnx' else 'onnx'}"
                )
    side = f"{size[0]}×{size[1]}" if size else f"any size from {least}×{least}"
    kind = "RGB uint8" if uint8 else f"float32, preprocessed ({model.preprocess.name})"
    return Exported(f"{kind}, {side}", tuple(sizes), error, largest)


def smallest(model: Network) -> int:
    """The least side in pixels of images for an exported network: two features at stride 32."""
    smaller = model.magnification < 1
    return int(34 / model.magnification) + 1 if smaller else 33


def metadata(
    model: Network, card: Card, size: tuple[int, int] | None, uint8: bool
) -> dict[str, Any]:
    """What an exported file says of itself; fit for JSON."""
    least = smallest(model)
    shape = ["N", model.in_channels, *(size or ("H", "W"))]
    return {
        "format": FORMAT,
        "recipe": card.recipe,
        "dataset": card.dataset,
        "classes": list(card.classes),
        "palette": [list(colour) for colour in card.palette],
        "tasks": None if set(model.tasks) == {ONLY} else model.tasks,
        "input": {
            "name": "images",
            "shape": shape,
            "dtype": "uint8" if uint8 else "float32",
            "smallest": list(size or (least, least)),
            "channels": list(model.inputs),
            "preprocessing": None if uint8 else model.preprocess.name,
            "formula": "none: values 0-255" if uint8 else "(value * scale - mean) / std",
            "value": "rgb and hha: 0-255, channels in this order; depth: ln(depth in mm)",
            "parts": [] if uint8 else [part._asdict() for part in model.preprocess.parts],
        },
        "output": "scores before the softmax, (N, classes, H, W), at the size of the images",
    }


def parse_size(text: str) -> tuple[int, int]:
    """(H, W) from "360x480". Raises ValueError naming --size."""
    found = re.fullmatch(r"(\d+)[x×,](\d+)", text)
    if found is None or 0 in (int(found[1]), int(found[2])):
        raise ValueError(f"--size {text}: expected rows and columns in pixels, as in 360x480")
    return int(found[1]), int(found[2])


# ---- What is exported ----------------------------------------------------------------------------


def _reads_pictures(model: Network) -> bool:
    return model.inputs == ("rgb",) and model.in_channels == 3


def _graph(model: Network, uint8: bool) -> nn.Module:
    graph: nn.Module = model if model.magnification == 1 else _Magnified(model)
    if not uint8:
        return graph.eval()
    if not _reads_pictures(model):
        raise ValueError(
            f"--uint8 is for networks on RGB images; this one reads {', '.join(model.inputs)}"
        )
    return _FromPixels(graph, model).eval()


class _FromPixels(nn.Module):
    """Preprocessing before a network: RGB uint8 (N, 3, H, W)."""

    def __init__(self, graph: nn.Module, model: Network) -> None:
        super().__init__()
        self.network = graph
        self.scale = model.preprocess.parts[0].scale
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", model.preprocess.mean.clone())
        self.register_buffer("std", model.preprocess.std.clone())

    def forward(self, images: Tensor) -> Any:
        return self.network((images.float() * self.scale - self.mean) / self.std)


class _Magnified(nn.Module):
    """`Magnified.forward` with its two resamplings as products with matrices.

    Exporters know no rounding of sizes, and not all runtimes the antialiased resizing.
    """

    def __init__(self, model: Network) -> None:
        super().__init__()
        self.model = model
        self.ratio = Fraction(model.magnification).limit_denominator(1000)

    def forward(self, images: Tensor) -> Any:
        height, width = images.shape[-2:]
        larger = self._side(height), self._side(width)
        magnified = _resampled(images, larger)
        scores = _resampled(self.model.plain.full_scores(magnified), (height, width))
        return self.model.unnamed(self.model.split(scores))

    def follows_any_size(self) -> bool:
        """Whether whole numbers alone round as the network does."""
        factor = self.model.magnification
        return all(_rounded(n, self.ratio) == round(n * factor) for n in range(1, _LARGEST_SIDE))

    def _side(self, n: Any) -> int:
        if isinstance(n, int):
            return max(1, round(n * self.model.magnification))
        return _rounded(n, self.ratio)  # the symbol of a traced graph


def _rounded(n: int, ratio: Fraction) -> int:
    """round(n · ratio), halves to even, in operations that exporters know."""
    p, q = ratio.numerator, ratio.denominator
    nearest = (2 * n * p + q) // (2 * q)
    tie = 1 - ((2 * n * p + q) % (2 * q) + 2 * q - 1) // (2 * q)
    return nearest - tie * (nearest % 2)


def _resampled(maps: Tensor, size: tuple[int, int]) -> Tensor:
    rows = resampling_matrix(maps.shape[-2], size[0]).to(maps)
    columns = resampling_matrix(maps.shape[-1], size[1]).to(maps)
    return rows @ maps @ columns.T


# ---- Writing and reading back --------------------------------------------------------------------


def _program(
    graph: nn.Module, images: Tensor, size: tuple[int, int] | None, least: int
) -> torch.export.ExportedProgram:
    """The traced graph. Raises ValueError where it cannot be traced for any size."""
    batch = torch.export.Dim("batch")
    if size:
        return torch.export.export(graph, (images,), dynamic_shapes=({0: batch},), strict=False)
    inner = graph.network if isinstance(graph, _FromPixels) else graph
    if isinstance(inner, _Magnified) and not inner.follows_any_size():
        raise ValueError(
            f"model.magnification={inner.model.magnification} cannot be rounded for any size; "
            "name the size of the images with --size HxW"
        )
    option = "prefer_deferred_runtime_asserts_over_guards"
    if option not in inspect.signature(torch.export.export).parameters:
        raise ValueError(
            f"torch {torch.__version__} cannot export for any size: install torch 2.9 or newer, "
            "or name the size of the images with --size HxW"
        )
    height, width = (torch.export.Dim(name, min=least) for name in ("height", "width"))
    try:
        return torch.export.export(
            graph,
            (images,),
            dynamic_shapes=({0: batch, 2: height, 3: width},),
            strict=False,
            # Ceil pooling asks whether its last window starts inside; true at every size.
            **{option: True},  # type: ignore[arg-type]  # unknown to older versions
        )
    except Exception as error:  # torch.export raises all sorts
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"this network cannot be exported for any size ({reason}); name one with --size HxW"
        ) from error


def _write_onnx(
    program: torch.export.ExportedProgram, path: Path, names: Sequence[str], text: str
) -> None:
    import onnx

    written = torch.onnx.export(
        program, dynamo=True, verbose=False, input_names=["images"], output_names=list(names)
    )
    assert written is not None, "the exporter returns its program"
    proto = written.model_proto
    axes = {0: "batch", 2: "height", 3: "width"}
    for value in (*proto.graph.input, *proto.graph.output):
        for axis, dimension in enumerate(value.type.tensor_type.shape.dim):
            if dimension.dim_param:
                dimension.dim_param = axes[axis]
    del proto.graph.value_info[:]  # sizes of inner maps, under the old names
    onnx.helper.set_model_props(proto, {"fcn_tutorial": text})
    onnx.save(proto, path)


def _write_torch(program: torch.export.ExportedProgram, path: Path, text: str) -> None:
    # Through memory: torch's own writer ends the process, or says little, where the disk is full.
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={"fcn_tutorial.json": text})
    path.write_bytes(buffer.getbuffer())


def _onnx_reader(path: Path) -> Callable[[Tensor], list[Tensor]]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def read(images: Tensor) -> list[Tensor]:
        return [torch.from_numpy(a) for a in session.run(None, {"images": images.numpy()})]

    return read


def _torch_reader(path: Path) -> Callable[[Tensor], list[Tensor]]:
    module = torch.export.load(path).module()

    def read(images: Tensor) -> list[Tensor]:
        scores = module(images)
        return list(scores.values()) if isinstance(scores, dict) else [scores]

    return read


def _compare(
    model: Network,
    read: Callable[[Tensor], list[Tensor]],
    sizes: Sequence[tuple[int, int]],
    uint8: bool,
) -> tuple[float, float]:
    """The largest difference and the largest score over images of these sizes, one or two each."""
    error = largest = 0.0
    for i, size in enumerate(sizes):
        images = _images(model, 1 + i % 2, size, uint8)
        wanted = model(model.preprocess(images) if uint8 else images)
        expected = list(wanted.values()) if isinstance(wanted, dict) else [wanted]
        for ours, theirs in zip(expected, read(images), strict=True):
            difference = float((ours - theirs).abs().max())
            error = max(error, difference if difference == difference else float("inf"))
            largest = max(largest, float(ours.abs().max()))
    return error, largest


def _images(model: Network, count: int, size: tuple[int, int], uint8: bool) -> Tensor:
    """Random images as the exported graph takes them; as the network's own preprocessing makes them
    where that is of colour alone.
    """
    generator = torch.Generator().manual_seed(0)
    shape = (count, model.in_channels, *size)
    if not _reads_pictures(model):
        return torch.randn(shape, generator=generator)
    pixels = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    return pixels if uint8 else cast(Tensor, model.preprocess(pixels))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporters' warnings about themselves."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _require(*packages: str) -> None:
    """Raise ValueError where one of these is not installed."""
    for package in packages:
        try:
            __import__(package)
        except ImportError as error:
            raise ValueError(
                f"--to onnx needs the package {package}: pip install 'fcn-tutorial[export]'"
            ) from error
