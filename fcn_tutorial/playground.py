"""A network that runs in the page: its weights and a script in one HTML element, no kernel needed.

The reader drags things through the picture, paints, drops a picture of their own and switches the
skips; the network of the element, written out in plain JavaScript (playground.js), answers at once.
Works in a rendered page (also from a file, offline), in Jupyter and in Colab.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from io import BytesIO
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from scipy import ndimage
from torch import Tensor, nn

from fcn_tutorial.geometry import Layer, receptive_field
from fcn_tutorial.models import FCN

__all__ = ["LIMIT", "Playground", "cut_out", "playground"]

LIMIT = 900_000  # bytes of HTML in one element


@dataclass(frozen=True)
class Playground:
    """What `playground` makes; a notebook shows it."""

    content: Mapping[str, Any]

    def _repr_html_(self) -> str:
        """The element. Equal content gives equal text, and the id is a hash of it."""
        text = json.dumps(self.content, separators=(",", ":"), sort_keys=True)
        key = f"fcn-playground-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        script = files("fcn_tutorial").joinpath("playground.js").read_text(encoding="utf-8")
        still = html.escape(str(self.content["alt"]))
        inside = text.replace("</", "<\\/")  # no end of the script element within it
        return (
            f'<figure class="fcn-playground" id="{key}">'
            f'<img class="still" alt="{still}" src="{self.content["image"]}">'
            f'<script type="application/json">{inside}</script>'
            f"<script>{script.replace('FIGURE_ID', key)}</script></figure>"
        )

    def __repr__(self) -> str:
        return f"A network to play with: {self.content['alt']}"


def playground(
    network: FCN,
    image: ArrayLike,
    *,
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    alt: str,
    things: Sequence[ArrayLike] = (),
) -> Playground:
    """An element in which `network` labels a picture that the reader changes.

    Args:
        network: an `FCN` on a plain trunk (3×3 convolutions with batch norm and ReLU, 2×2 pooling),
            half-pixel aligned (`alignment="same"`), in evaluation mode.
        image: (3, H, W) or (H, W, 3) uint8, each side a multiple of 32.
        classes: the names of the scores, in their order; `palette`: a colour (r, g, b) for each.
        alt: what is seen before the reader does anything.
        things: cut-outs (h, w, 4) uint8 that can be dragged through the picture (see `cut_out`).

    Raises ValueError for a network or a picture that it cannot show, and where the element is
    larger than `LIMIT` bytes.
    """
    pixels = np.asarray(image)
    pixels = pixels.transpose(1, 2, 0) if pixels.shape[0] == 3 else pixels
    if (
        pixels.dtype != np.uint8
        or pixels.shape[2:] != (3,)
        or any(n % 32 for n in pixels.shape[:2])
    ):
        raise ValueError(
            f"image of shape {pixels.shape}, {pixels.dtype}: (H, W, 3) uint8 with sides that are "
            "multiples of 32 is shown"
        )
    if len(classes) != network.num_classes or len(palette) != network.num_classes:
        raise ValueError(
            f"{len(classes)} classes and {len(palette)} colours for {network.num_classes} scores"
        )
    content = {
        **_program(network),
        "image": _png(pixels),
        "size": pixels.shape[:2],
        "classes": list(classes),
        "palette": [[int(level) for level in colour] for colour in palette],
        "things": [_png(np.asarray(thing)) for thing in things],
        "alt": alt,
    }
    element = Playground(content)
    if (size := len(element._repr_html_())) > LIMIT:
        raise ValueError(f"the element takes {size} bytes, over {LIMIT}; take a narrower network")
    return element


def cut_out(image: ArrayLike, labels: ArrayLike, label: int) -> NDArray[np.uint8]:
    """The largest connected piece of a class, cut out of its picture: (h, w, 4) uint8 with alpha.

    `image` is (3, H, W) uint8, `labels` (H, W). Raises ValueError where the class does not occur.
    """
    pieces, count = ndimage.label(np.asarray(labels) == label)
    if not count:
        raise ValueError(f"label={label} does not occur in the picture")
    largest = 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
    box = ndimage.find_objects(pieces)[largest - 1]
    alpha = (pieces[box] == largest) * np.uint8(255)
    return np.concatenate([np.asarray(image).transpose(1, 2, 0)[box], alpha[..., None]], 2)


def _png(pixels: NDArray[np.uint8]) -> str:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _program(network: FCN) -> dict[str, Any]:
    """The network as a list of steps, with its weights: what playground.js runs."""
    if network.training or network.config.alignment != "same" or network.stride != 8:
        raise ValueError("network: an FCN-8s of alignment='same' in evaluation mode is shown")
    steps: list[dict[str, Any]] = []
    path: list[Layer] = []
    fields = {}
    for name, stage in network.backbone.named_children():
        for step, layer in _steps(stage):
            steps.append(step)
            path.append(layer)
        stride = int(name.removeprefix("stage"))
        steps.append({"op": "score", "stride": stride, **_scored(network, stride)})
        fields[stride] = int(receptive_field(path).size)
    parts = network.preprocess.parts
    if len(parts) != 1 or len(parts[0].mean) != 3:
        raise ValueError("network: one that reads a colour picture is shown")
    return {
        "steps": steps,
        "fields": fields,
        "scale": parts[0].scale,
        "mean": list(parts[0].mean),
        "std": list(parts[0].std),
    }


def _scored(network: FCN, stride: int) -> dict[str, Any]:
    names = {32: "score_fr", 16: "score_pool4", 8: "score_pool3"}
    layer = getattr(network, names[stride])
    return {"weight": _packed(layer.weight), "bias": layer.bias.tolist(), "out": len(layer.bias)}


def _steps(stage: nn.Module) -> Iterator[tuple[dict[str, Any], Layer]]:
    """Convolutions, each with the norm and the ReLU that follow it, and poolings."""
    leaves = [m for m in stage.modules() if not [*m.children()] and not isinstance(m, nn.Identity)]
    while leaves:
        module = leaves.pop(0)
        if isinstance(module, nn.MaxPool2d) and (module.kernel_size, module.stride) == (2, 2):
            yield {"op": "pool"}, Layer(2, 2)
            continue
        follow = [type(leaf) for leaf in leaves[:2]]
        plain = (
            isinstance(module, nn.Conv2d)
            and (module.kernel_size, module.stride, module.padding) == ((3, 3), (1, 1), (1, 1))
            and module.groups == 1
            and module.bias is None
            and follow == [nn.BatchNorm2d, nn.ReLU]
        )
        if not plain:
            raise ValueError(f"network: its trunk holds {module}, which the script does not run")
        norm: Any = leaves[0]
        weight: Any = module.weight
        del leaves[:2]
        gain = norm.weight / (norm.running_var + norm.eps).sqrt()
        step = {
            "op": "conv",
            "out": module.out_channels,
            "weight": _packed(weight),
            "gain": gain.tolist(),
            "bias": (norm.bias - gain * norm.running_mean).tolist(),
        }
        yield step, Layer(3, 1, 1)


def _packed(weight: Tensor) -> dict[str, str]:
    """Base64 of the values in C order: as int8 where they are such numbers, else as float32."""
    values = weight.detach().cpu().float()
    whole = bool((values == values.round()).all()) and float(values.abs().max()) <= 127
    kind, array = ("int8", values.to(torch.int8).numpy()) if whole else ("float32", values.numpy())
    return {"kind": kind, "values": base64.b64encode(array.tobytes()).decode()}
