"""The weights in a Caffe model file: `load_caffemodel`."""

import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

_MOST_BYTES = 2**31 - 1  # of any protobuf message
_MOST_AXES = 32  # Caffe, blob.hpp: kMaxBlobAxes
_WEIGHT_AXES = {"InnerProduct": 2, "Scale": 1}  # without what pads them to four
_OLD_TYPES = {0: "", 4: "Convolution", 14: "InnerProduct"}  # V1LayerParameter; others as numbers


def load_caffemodel(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The weights of a `.caffemodel` file, by Caffe's layer names, ready for RGB images.

    Caffe's networks read BGR. In the first convolution of each stream, if it has 3 input channels
    or 4 (BGR and depth), the first three are put in the order RGB. Streams that read HHA, as the
    authors' data layer does it in the order of the PNG file, stay as they are: the file tells
    which they are by the name of a layer or input, or by the `tops` of that data layer. A file of
    an HHA network that tells nothing is taken for BGR: undo it with `weight.flip(1)`.

    Mean subtraction is not part of the file. What a file cut off between two layers has lost
    cannot be seen in it: check that the network you fill misses nothing.

    Source: BVLC/caffe caffe.proto and blob.cpp; the authors' nyud_layers.py.

    Args:
        path: of a binary file, at most 2 GiB; files of 2013 must be upgraded by Caffe's tool first.

    Returns:
        Tensors by name, float32, on the CPU, that own their memory. Of each layer with one or two
        blobs the first is `"<layer>.weight"` and the second `"<layer>.bias"`; those of a layer with
        more are `"<layer>.0"`, `"<layer>.1"`, … Layers without weights are left out.

        - convolution: weight (out, in / groups, kh, kw), as torch.nn.functional.conv2d takes it.
          Caffe, like torch, slides kernels without flipping them;
        - deconvolution: weight (in, out / groups, kh, kw), as conv_transpose2d takes it;
        - inner product: weight (out, in), where `in` runs over channels, rows, columns;
        - bias: (out,), also where the file pads it to four axes; anything else as it is stored.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: where the file is not a Caffe model, is cut off within a layer, holds no
            weights, or names a layer with weights twice, or where a blob's shape does not fit its
            values or a value is not finite.

    A file of one inner product, "fc", with the weights 1 and 2::

        >>> import tempfile
        >>> from pathlib import Path
        >>> layer = "a206240a026663120c496e6e657250726f6475"
        >>> layer += "63743a103a040a0201022a080000803f00000040"
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "net.caffemodel")
        ...     _ = path.write_bytes(bytes.fromhex(layer))
        ...     load_caffemodel(path)
        {'fc.weight': tensor([[1., 2.]])}
    """
    layers = _read_layers(path)
    bgr = _first_bgr_convolutions(layers)
    weights: dict[str, Tensor] = {}
    for layer in layers:
        for name, blob in layer.named_blobs():
            if name in weights:
                raise ValueError(f"{path}: more than one layer with weights is named {layer.name}")
            with np.errstate(over="ignore"):  # found below
                values = np.array(blob.values, np.float32)
            tensor = torch.from_numpy(values.reshape(blob.shape))
            if not tensor.isfinite().all():  # as floats: a double may be more than one holds
                raise ValueError(f"{path}: {name} holds values that are not finite")
            if layer.name in bgr and name == f"{layer.name}.weight":
                tensor[:, :3] = tensor[:, :3].flip(1)
            weights[name] = tensor
        layer.blobs.clear()  # never two copies of everything
    return weights


class _Blob(NamedTuple):
    values: np.ndarray[Any, Any]
    shape: tuple[int, ...]

    def dropping_axes(self, keep: int) -> "_Blob":
        """Without leading axes of size 1 beyond `keep`: old blobs are padded to four axes."""
        shape = self.shape
        while len(shape) > keep and shape[0] == 1:
            shape = shape[1:]
        return self._replace(shape=shape)


@dataclass(frozen=True)
class _Layer:
    name: str
    type: str
    bottoms: list[str]
    tops: list[str]
    settings: str
    blobs: list[_Blob]

    def named_blobs(self) -> Iterator[tuple[str, _Blob]]:
        match self.blobs:
            case [weight, *bias] if len(bias) < 2:
                axes = _WEIGHT_AXES.get(self.type, len(weight.shape))
                yield f"{self.name}.weight", weight.dropping_axes(axes)
                for blob in bias:
                    yield f"{self.name}.bias", blob.dropping_axes(1)
            case blobs:
                yield from ((f"{self.name}.{place}", blob) for place, blob in enumerate(blobs))

    def inputs(self) -> list[str]:
        """What each top of a data layer holds: what its settings say, or else the top's name."""
        declared = re.search(r"""['"]tops['"]\s*:\s*[\[(]([^\])]*)""", self.settings)
        names = re.findall(r"""['"](\w+)['"]""", declared[1]) if declared else []
        return names if len(names) == len(self.tops) else self.tops


def _read_layers(path: str | os.PathLike[str]) -> list[_Layer]:
    """Layers of both kinds in the order of the file; the parsed message is gone on return."""
    # Protocol Buffers are needed for this one format only.
    from google.protobuf.message import DecodeError

    from fcn_tutorial.surgery._caffe_schema import CLASSES

    with open(path, "rb") as file:
        if (size := os.fstat(file.fileno()).st_size) > _MOST_BYTES:
            raise ValueError(f"{path}: {size} bytes are too many for a Caffe model, at most 2 GiB")
        try:
            net = CLASSES["NetParameter"].FromString(file.read())
        except DecodeError as error:
            raise ValueError(
                f"{path} is not a Caffe model (.caffemodel, a binary protobuf NetParameter), or is "
                f"cut off or damaged: {error}"
            ) from error
    layers = [_read_layer(path, layer) for layer in (*net.layers, *net.layer)]
    if not any(layer.blobs for layer in layers):
        raise ValueError(
            f"{path} holds no layer with weights; expected a Caffe model (.caffemodel, a binary "
            "protobuf NetParameter); models of 2013 need Caffe's upgrade_net_proto_binary first"
        )
    return layers


def _read_layer(path: str | os.PathLike[str], layer: Any) -> _Layer:
    from google.protobuf.message import DecodeError

    try:
        name = layer.name.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: damaged, the layer name {layer.name!r} is not text") from error
    if layer.blobs and not name:
        raise ValueError(f"{path}: damaged, a layer with weights has no name")
    old = isinstance(layer.type, int)
    blobs = []
    for place, blob in enumerate(layer.blobs):
        try:
            blobs.append(_read_blob(blob))
        except (ValueError, DecodeError) as error:
            raise ValueError(f"{path}: layer {name}, blob {place}: {error}") from error
    return _Layer(
        name,
        _OLD_TYPES.get(layer.type, str(layer.type)) if old else _text(layer.type),
        [_text(bottom) for bottom in layer.bottom],
        [_text(top) for top in layer.top],
        "" if old else _text(layer.python_param.param_str),
        blobs,
    )


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace")


def _read_blob(blob: Any) -> _Blob:
    """Values as a flat array, not copied further, and the shape that they are to have."""
    if any(blob.HasField(name) for name in ("num", "channels", "height", "width")):
        shape = (blob.num, blob.channels, blob.height, blob.width)  # goes first, as in Caffe
    else:
        shape = tuple(blob.shape.dim)
    values = _read_values(blob)
    if len(shape) > _MOST_AXES or min(shape, default=1) < 1 or math.prod(shape) != len(values):
        of = "of more than 32 axes" if len(shape) > _MOST_AXES else " × ".join(map(str, shape))
        raise ValueError(f"its shape, {of or 'a scalar'}, does not fit its {len(values)} values")
    return _Blob(values, shape)


def _read_values(blob: Any) -> np.ndarray[Any, Any]:
    from fcn_tutorial.surgery._caffe_schema import CLASSES

    for runs, dtype in ((blob.double_data, "<f8"), (blob.data, "<f4")):
        if raw := b"".join(runs):
            if len(raw) % np.dtype(dtype).itemsize:
                raise ValueError(f"{len(raw)} bytes of values end within a number")
            return np.frombuffer(raw, dtype)
    # Numbers stored one by one do not fit the packed field and were kept aside, unread.
    loose = CLASSES["LooseBlob"].FromString(blob.SerializeToString())
    if loose.double_data:
        return np.array(loose.double_data, np.float64)
    return np.array(loose.data, np.float32)


def _first_bgr_convolutions(layers: list[_Layer]) -> set[str]:
    """Convolutions that no weights come before, which read colour, with or without depth."""
    found: set[str] = set()
    learned: set[str] = set()  # blobs that depend on weights
    sources: dict[str, set[str]] = {}  # the inputs that each other blob is made of
    weights_before = False
    for layer in layers:
        made_of: set[str] = set().union(
            *(sources.get(bottom, {bottom}) for bottom in layer.bottoms)
        )
        first = learned.isdisjoint(layer.bottoms) if layer.bottoms else not weights_before
        if layer.blobs:
            shape = layer.blobs[0].shape
            colour = layer.type in ("Convolution", "") and len(shape) == 4 and shape[1] in (3, 4)
            hha = any("hha" in name.lower() for name in (layer.name, *made_of))
            if first and colour and not hha:
                found.add(layer.name)
            weights_before = True
        if layer.blobs or (layer.bottoms and not first):
            learned.update(layer.tops)
        elif layer.bottoms:
            sources.update((top, made_of) for top in layer.tops)
        else:
            sources.update((t, {i}) for t, i in zip(layer.tops, layer.inputs(), strict=True))
    return found
