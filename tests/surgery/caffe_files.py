"""Writes `.caffemodel` files byte by byte, with nothing of protobuf's library.

A field is a key, number · 8 + wire type, and a payload: a varint (0), or a length and bytes (2),
or 4 (5) or 8 (1) bytes. Field numbers: BVLC/caffe, src/caffe/proto/caffe.proto.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Blobs = Mapping[str, Sequence[Array]]
V1_TYPES = {"Convolution": 4, "InnerProduct": 14, "Deconvolution": 39, "Pooling": 17, "ReLU": 18}


def varint(n: int) -> bytes:
    n %= 2**64  # negative numbers are written as 64-bit two's complement
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes([*out, n])


def number(field: int, n: int) -> bytes:
    return varint(field << 3) + varint(n)


def run(field: int, payload: bytes | str) -> bytes:
    raw = payload.encode() if isinstance(payload, str) else payload
    return varint(field << 3 | 2) + varint(len(raw)) + raw


def floats(values: Array, *, double: bool = False, packed: bool = True) -> bytes:
    field, wire, dtype = (8, 1, "<f8") if double else (5, 5, "<f4")
    flat = np.ascontiguousarray(values, dtype).reshape(-1)
    if packed:
        return run(field, flat.tobytes())
    return b"".join(varint(field << 3 | wire) + value.tobytes() for value in flat)


def shape(dims: Sequence[int], *, legacy: bool = False) -> bytes:
    """BlobShape, or the four old fields, the shape padded in front with ones."""
    if not legacy:
        return run(7, run(1, b"".join(map(varint, dims))))
    return b"".join(number(i, n) for i, n in enumerate((*[1] * (4 - len(dims)), *dims), start=1))


def layer(
    name: str,
    kind: str,
    blobs: Sequence[bytes] = (),
    *,
    bottoms: Sequence[str] = (),
    tops: Sequence[str] = (),
    settings: str = "",
    legacy: bool = False,
) -> bytes:
    """One entry of `layer`, or of `layers` if legacy; `settings` is a Python layer's param_str."""
    numbers = {"bottom": 2, "top": 3, "blob": 6} if legacy else {"bottom": 3, "top": 4, "blob": 7}
    body = run(4 if legacy else 1, name)
    if kind:
        body += number(5, V1_TYPES[kind]) if legacy else run(2, kind)
    body += b"".join(run(numbers["bottom"], bottom) for bottom in bottoms)
    body += b"".join(run(numbers["top"], top) for top in tops)
    body += b"".join(run(numbers["blob"], blob) for blob in blobs)
    if settings:
        body += run(130, run(1, "nyud_layers") + run(3, settings))
    return run(2 if legacy else 100, body)


def kind_of(name: str, blobs: Sequence[Array]) -> str:
    """Type of a layer in the authors' networks, from its name and the axes of its weight."""
    if not blobs:
        return "ReLU"
    if "upscore" in name:
        return "Deconvolution"
    return {4: "Convolution", 2: "InnerProduct"}.get(blobs[0].ndim, "Scale")


def caffemodel(
    layers: Blobs,
    *,
    legacy_layers: bool = False,
    legacy_blobs: bool = False,
    double: bool = False,
    packed: bool = True,
) -> bytes:
    """A file with these blobs by layer name: each layer reads the one before, the first "data"."""
    out, bottom = run(1, "net"), "data"
    for name, blobs in layers.items():
        raw = [
            shape(blob.shape, legacy=legacy_blobs) + floats(blob, double=double, packed=packed)
            for blob in blobs
        ]
        kind = kind_of(name, blobs)
        out += layer(name, kind, raw, bottoms=[bottom], tops=[name], legacy=legacy_layers)
        bottom = name
    return out


def write_caffemodel(path: Path, layers: Blobs, **options: bool) -> Path:
    path.write_bytes(caffemodel(layers, **options))
    return path
