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

from fcn_tutorial.files import replacing, sweep
from fcn_tutorial.models import Card, Network
from fcn_tutorial.models.inference import resampling_matrix
from fcn_tutorial.models.network import ONLY
from fcn_tutorial.transforms import holding_pixel

Format = Literal["onnx", "torch"]

FORMAT = "fcn_tutorial export/1"
SUFFIXES = {"onnx": ".onnx", "torch": ".pt2"}
#: What the outputs of file and network may differ by, as a share of the largest score.
TOLERANCE = 1e-4
#: The share of pixels whose labels may differ in images that are shrunk: where a shrunk pixel lies
#: between two whole numbers, the last bit of a sum decides.
STRAYED = 1e-3
#: The last of the sides for which a rounded magnification is looked at.
_LARGEST_SIDE = 10_000


class Sizes(NamedTuple):
    """Which images a file takes.

    Attributes:
        fixed: (H, W) of the only ones; None where sides may differ.
        least: the shortest side it takes then.
        most: and the longest one; None for any.
    """

    fixed: tuple[int, int] | None
    least: int
    most: int | None

    def __str__(self) -> str:
        if self.fixed:
            return f"{self.fixed[0]}×{self.fixed[1]}"
        words = f"any size from {self.least}×{self.least}"
        return words if self.most is None else f"{words} to {self.most}×{self.most}"

    def tried(self, longest: int) -> list[tuple[int, int]]:
        """(H, W) of the images that a file is compared on, where larger ones than `longest` are
        shrunk to it.
        """
        if self.fixed:
            return [self.fixed]
        n = self.least
        found = [(n + 31, n + 64), (n, n), (3 * n, 2 * n)]
        if self.most is not None:
            return [(min(h, self.most), min(w, self.most)) for h, w in found]
        return [*found, (longest + 7, longest * 3 // 2)] if longest else found


class Exported(NamedTuple):
    """What was written and how it was checked.

    Attributes:
        inputs: the input in words.
        sizes: (H, W) of the images it was compared on.
        error: the largest difference of a score from the network's, of images not shrunk.
        largest: the largest score, to set it beside.
        strayed: the share of pixels with another label than the network's, of shrunk images.
    """

    inputs: str
    sizes: tuple[tuple[int, int], ...]
    error: float
    largest: float
    strayed: float


def export(
    model: Network,
    card: Card,
    path: Path | str,
    to: Format,
    size: tuple[int, int] | None = None,
    uint8: bool = False,
) -> Exported:
    """Write a network as `path`, read it back and compare.

    Args:
        model: in evaluation mode, on the CPU.
        card: what its weights file says of it.
        to: "onnx" (.onnx), or "torch" (.pt2).
        size: (H, W) of the only images it will take; None for any of at least `smallest(model)`
            pixels a side. A network that shrinks pictures (`Network.longest_side`) then does so in
            an ONNX file; a .pt2 refuses larger ones, so shrink them before.
        uint8: the graph preprocesses: it takes RGB uint8 and not what `model.preprocess` makes.

    Raises:
        ValueError: for a path of another suffix, for packages that are not installed (naming the
            extra `export`), for a network that cannot be exported so, and, leaving no file, where
            the file's scores are not the network's.
        RuntimeError: for a network in training mode.
        OSError: where the file cannot be written.
    """
    path = Path(path)
    if path.suffix != SUFFIXES[to]:
        raise ValueError(f"--out {path}: a file of --to {to} ends in {SUFFIXES[to]}")
    if model.training:
        raise RuntimeError("export: the network is in training mode; call .eval() first")
    if to == "onnx":
        _require("onnx", "onnxscript", "onnxruntime")
        if (
            inspect.signature(torch.onnx.export).parameters["args"].default
            is inspect.Parameter.empty
        ):
            raise ValueError(
                f"torch {torch.__version__} cannot write a network as ONNX: install torch 2.9 or "
                "newer, or use --to torch"
            )
    most = model.longest_side if to == "torch" and model.longest_side else None
    sizes = Sizes(size, smallest(model), most)
    graph = _Graph(model, uint8, limited=size is None and most is not None).eval()
    tried = sizes.tried(model.longest_side)
    text = json.dumps(metadata(model, card, sizes, uint8), ensure_ascii=False)
    names = ["scores"] if set(model.tasks) == {ONLY} else list(model.tasks)
    with _quiet(), torch.no_grad():
        program = _program(graph, _images(model, 2, tried[0], uint8), sizes)
        if path.parent.is_dir():
            sweep(path.parent)
        with replacing(path) as partial:
            read: Callable[[Tensor], list[Tensor]]
            if to == "onnx":
                _write_onnx(program, partial, names, text)
                read = _onnx_reader(partial)
            else:
                _write_torch(program, partial, text)
                read = _torch_reader(partial)
            error, largest, strayed = _compare(model, read, tried, uint8)
            if strayed > STRAYED:
                raise ValueError(
                    f"{path}: of images above {model.longest_side} pixels it labels "
                    f"{100 * strayed:.1f}% of the pixels otherwise than the network does, so it "
                    "was not kept"
                )
            if not error <= TOLERANCE * max(1.0, largest):
                raise ValueError(
                    f"{path}: its scores differ from the network's by {error:.1e} (the largest is "
                    f"{largest:.3g}), so it was not kept; try another version of the exporter, or "
                    f"--to {'torch' if to == 'onnx' else 'onnx'}"
                )
    kind = "RGB uint8" if uint8 else f"float32, preprocessed ({model.preprocess.name})"
    return Exported(f"{kind}, {sizes}", tuple(tried), error, largest, strayed)


def smallest(model: Network) -> int:
    """The least side in pixels of images for an exported network: two features at stride 32."""
    smaller = model.magnification < 1
    return int(34 / model.magnification) + 1 if smaller else 33


def metadata(model: Network, card: Card, sizes: Sizes, uint8: bool) -> dict[str, Any]:
    """What an exported file says of itself; fit for JSON."""
    shape = ["N", model.in_channels, *(sizes.fixed or ("H", "W"))]
    most = sizes.fixed or (sizes.most and (sizes.most, sizes.most))
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
            "smallest": list(sizes.fixed or (sizes.least, sizes.least)),
            "largest": list(most) if most else None,
            "channels": list(model.inputs),
            "longest_side": model.longest_side or None,
            "preprocessing": None if uint8 else model.preprocess.name,
            "formula": "none: values 0-255" if uint8 else "(value * scale - mean) / std",
            "value": "rgb and hha: 0-255, channels in this order; depth: ln(depth in mm)",
            "parts": [] if uint8 else [part._asdict() for part in model.preprocess.parts],
        },
        "output": "scores before the softmax, (N, classes, H, W), at the size of the images",
    }


def parse_size(text: str) -> tuple[int, int]:
    """(H, W) from "360x480".

    Raises:
        ValueError: for anything else, naming --size.
    """
    found = re.fullmatch(r"(\d+)[x×,](\d+)", text)
    if found is None or 0 in (int(found[1]), int(found[2])):
        raise ValueError(f"--size {text}: expected rows and columns in pixels, as in 360x480")
    return int(found[1]), int(found[2])


# ---- What is exported ----------------------------------------------------------------------------


def _reads_pictures(model: Network) -> bool:
    return model.inputs == ("rgb",) and model.in_channels == 3


class _Graph(nn.Module):
    """What `Network.predict` does to an image before the labels, in what exporters know.

    Sizes are whole numbers or the symbols of a trace, and every resampling is a product with two
    matrices: exporters know no rounding, and not all runtimes the antialiased resizing.

    Args:
        model: the network; of one that shrinks pictures (`Network.longest_side`), scores are those
            of the larger pixel that a pixel lies in.
        uint8: preprocess RGB uint8 (N, 3, H, W) first.
        limited: it is shown no larger pictures, and has nothing to shrink.

    Raises:
        ValueError: where `uint8` is asked of a network on other inputs.
    """

    def __init__(self, model: Network, uint8: bool, limited: bool) -> None:
        super().__init__()
        if uint8 and not _reads_pictures(model):
            raise ValueError(
                f"--uint8 is for networks on RGB images; this one reads {', '.join(model.inputs)}"
            )
        self.model, self.uint8, self.limited = model, uint8, limited
        self.ratio = Fraction(model.magnification).limit_denominator(1000)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", model.preprocess.mean.clone())
        self.register_buffer("std", model.preprocess.std.clone())

    def forward(self, images: Tensor) -> Any:
        if self.uint8:
            scale = self.model.preprocess.parts[0].scale
            images = (images.float() * scale - self.mean) / self.std
        longest = 0 if self.limited else self.model.longest_side
        scores = self._shrunk(images, longest) if longest else self._scores(images)
        return self.model.unnamed(self.model.split(scores))

    def _shrunk(self, images: Tensor, longest: int) -> Tensor:
        """Scores of images that are shrunk to `longest`, in whole grey levels, as in training."""
        height, width = images.shape[-2:]
        largest = torch.sym_max(height, width)
        reached = torch.sym_min(largest, longest)  # smaller images keep their size
        seen = [
            torch.sym_max(1, (2 * n * reached + largest) // (2 * largest)) for n in (height, width)
        ]
        scale = self.model.preprocess.parts[0].scale
        levels = (images * self.std + self.mean) / scale
        levels = _resampled(levels, (seen[0], seen[1])).round()
        scores = self._scores((levels * scale - self.mean) / self.std)
        rows, columns = holding_pixel(height, seen[0]), holding_pixel(width, seen[1])
        return scores.index_select(2, rows).index_select(3, columns)

    def _scores(self, images: Tensor) -> Tensor:
        if self.model.magnification == 1:
            return self.model.full_scores(images)
        height, width = images.shape[-2:]
        larger = _resampled(images, (self._side(height), self._side(width)))
        return _resampled(self.model.plain.full_scores(larger), (height, width))

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


def _program(graph: _Graph, images: Tensor, sizes: Sizes) -> torch.export.ExportedProgram:
    """The traced graph.

    Raises:
        ValueError: where it cannot be traced, or not for any size.
    """
    batch = torch.export.Dim("batch")
    if sizes.fixed:
        try:
            return torch.export.export(graph, (images,), dynamic_shapes=({0: batch},), strict=False)
        except Exception as error:  # torch.export raises all sorts
            reason = _first_line(error)
            raise ValueError(
                f"torch {torch.__version__} cannot export this network ({reason})"
            ) from error
    if not graph.follows_any_size():
        raise ValueError(
            f"model.magnification={graph.model.magnification} cannot be rounded for any size; "
            "name the size of the images with --size HxW"
        )
    option = "prefer_deferred_runtime_asserts_over_guards"
    if option not in inspect.signature(torch.export.export).parameters:
        raise ValueError(
            f"torch {torch.__version__} cannot export for any size: install torch 2.9 or newer, "
            "or name the size of the images with --size HxW"
        )
    if sizes.most is not None and sizes.most <= sizes.least:
        raise ValueError(
            f"this network shrinks pictures to {sizes.most} pixels, too few to export it for any "
            "size; name the size of the images with --size HxW"
        )
    height, width = (
        torch.export.Dim(name, min=sizes.least, max=sizes.most) for name in ("height", "width")
    )
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
        reason = _first_line(error)
        raise ValueError(
            f"this network cannot be exported for any size ({reason}); name one with --size HxW"
        ) from error


def _first_line(error: BaseException) -> str:
    """Of its message, or its kind where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _write_onnx(
    program: torch.export.ExportedProgram, path: Path, names: Sequence[str], text: str
) -> None:
    import onnx

    try:
        written = torch.onnx.export(
            program, dynamo=True, verbose=False, input_names=["images"], output_names=list(names)
        )
    except Exception as error:  # the exporter raises all sorts
        reason = _first_line(error.__cause__ or error)
        raise ValueError(
            f"torch {torch.__version__} cannot write this network as ONNX ({reason}); "
            "--to torch can"
        ) from error
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
) -> tuple[float, float, float]:
    """`error`, `largest` and `strayed` of `Exported`, over one or two images of each size."""
    error = largest = strayed = 0.0
    for i, size in enumerate(sizes):
        images = _images(model, 1 + i % 2, size, uint8=True)
        found = read(images if uint8 or images.is_floating_point() else model.preprocess(images))
        if model.longest_side and max(size) > model.longest_side:
            labels = [model.predict_tasks(image) for image in images]
            for task, scores in zip(model.tasks, found, strict=True):
                wanted = torch.stack([by_task[task] for by_task in labels])
                strayed = max(strayed, float((wanted != scores.argmax(1)).double().mean()))
            continue
        prepared = images if images.is_floating_point() else model.preprocess(images)
        expected = model.split(model.full_scores(prepared))
        for ours, theirs in zip(expected.values(), found, strict=True):
            difference = float((ours - theirs).abs().max())
            error = max(error, difference if difference == difference else float("inf"))
            largest = max(largest, float(ours.abs().max()))
    return error, largest, strayed


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
