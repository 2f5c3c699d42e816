"""A network that runs in the page: things to drag, to paint and to switch, answered at once."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from torch import Tensor, nn

from fcn_tutorial.geometry import Layer, receptive_field
from fcn_tutorial.models import FCN
from fcn_tutorial.models.fcn import SCORE_LAYERS
from fcn_tutorial.playground.element import Element, png, rgb, still_picture


def network(
    net: FCN,
    image: ArrayLike,
    *,
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    alt: str,
    things: Sequence[ArrayLike] = (),
) -> Element:
    """An element in which a network labels a picture that the reader changes (network.js).

    Args:
        net: an `FCN` on a plain trunk (3×3 convolutions with batch norm and ReLU, 2×2 pooling),
            half-pixel aligned (`alignment="same"`), in evaluation mode. A layer whose weights are
            whole numbers from −127 to 127, as in the files that travel with the package, takes a
            quarter of the bytes of another.
        image: (3, H, W) or (H, W, 3) uint8, each side a multiple of 32.
        classes: the names of the scores, in their order.
        palette: a colour (r, g, b) for each.
        alt: what is seen before the reader does anything.
        things: cut-outs (h, w, 4) uint8 that can be dragged through the picture (see `cut_out`).

    Returns:
        What a notebook shows where it is last in a cell.

    Raises:
        ValueError: for a network or a picture that it cannot show, and as `Element`.

    The sides of the fields of its three scores, in pixels of the image::

        >>> from fcn_tutorial import assets, datasets, models
        >>> net, card = models.load(assets.path("weights/scene-fcn8s.safetensors"))
        >>> image, _ = datasets.Scenes(n=1, split="test")[0]
        >>> names = {"classes": card.classes, "palette": card.palette}
        >>> network(net, image, **names, alt="A street.").data["fields"]
        {8: 22, 16: 46, 32: 158}
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
    if len(classes) != net.num_classes or len(palette) != net.num_classes:
        raise ValueError(
            f"{len(classes)} classes and {len(palette)} colours for {net.num_classes} scores"
        )
    content = {
        **_program(net),
        "image": png(pixels),
        "size": pixels.shape[:2],
        "classes": list(classes),
        "palette": rgb(palette),
        "things": [png(np.asarray(thing)) for thing in things],
    }
    return Element("network", content, alt, still_picture(pixels, alt))


def cut_out(image: ArrayLike, labels: ArrayLike, label: int) -> NDArray[np.uint8]:
    """The largest connected piece of a class, cut out of its picture.

    Args:
        image: (3, H, W) uint8.
        labels: (H, W) integers.
        label: the class.

    Returns:
        (h, w, 4) uint8: the box around the piece, with alpha 0 beside it.

    Raises:
        ValueError: where the class does not occur.

    Of two pieces, the one of three pixels::

        >>> import numpy as np
        >>> labels = np.array([[1, 0, 1, 1], [0, 0, 1, 0]])
        >>> cut_out(np.zeros((3, 2, 4), np.uint8), labels, 1)[..., 3].tolist()
        [[255, 255], [255, 0]]
    """
    pieces, count = ndimage.label(np.asarray(labels) == label)
    if not count:
        raise ValueError(f"label={label} does not occur in the picture")
    largest = 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
    box = ndimage.find_objects(pieces)[largest - 1]
    alpha = (pieces[box] == largest) * np.uint8(255)
    return np.concatenate([np.asarray(image).transpose(1, 2, 0)[box], alpha[..., None]], 2)


def _program(net: FCN) -> dict[str, Any]:
    """The network as a list of steps, with its weights: what network.js runs."""
    if net.training or net.config.alignment != "same" or net.stride != 8:
        raise ValueError("net: an FCN-8s of alignment='same' in evaluation mode is shown")
    steps: list[dict[str, Any]] = []
    path: list[Layer] = []
    fields = {}
    for name, stage in net.backbone.named_children():
        for step, layer in _steps(stage):
            steps.append(step)
            path.append(layer)
        stride = int(name.removeprefix("stage"))
        steps.append({"op": "score", "stride": stride, **_scored(net, stride)})
        fields[stride] = int(receptive_field(path).size)
    parts = net.preprocess.parts
    if len(parts) != 1 or len(parts[0].mean) != 3:
        raise ValueError("net: one that reads a colour picture is shown")
    return {
        "steps": steps,
        "fields": fields,
        "scale": parts[0].scale,
        "mean": list(parts[0].mean),
        "std": list(parts[0].std),
    }


def _scored(net: FCN, stride: int) -> dict[str, Any]:
    layer = getattr(net, SCORE_LAYERS[stride])
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
            and module.out_channels % 2 == 0
            and module.bias is None
            and follow == [nn.BatchNorm2d, nn.ReLU]
        )
        if not plain:
            raise ValueError(f"net: its trunk holds {module}, which the script does not run")
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
