"""Reading Caffe model files that tests/surgery/caffe_files.py wrote byte by byte."""

import itertools
import os
import random
import struct
import subprocess
import sys
import textwrap
import tracemalloc
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fcn_tutorial.surgery import load_caffemodel
from tests.datasets.mutation import mutate
from tests.surgery.caffe_files import (
    Array,
    caffemodel,
    floats,
    layer,
    number,
    run,
    shape,
    varint,
    write_caffemodel,
)

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = ("legacy_layers", "legacy_blobs", "double", "packed")


def net() -> dict[str, list[Array]]:
    """One layer of each sort that the authors' networks have; the first reads an image."""
    rng = np.random.default_rng(0)
    sizes: dict[str, list[tuple[int, ...]]] = {
        "conv1_1": [(2, 3, 3, 3), (2,)],
        "relu1_1": [],
        "conv2_1": [(4, 1, 2, 2), (4,)],  # two groups
        "fc6": [(3, 8), (3,)],
        "fc7": [(1, 3), (1,)],
        "score_fr": [(2, 1, 1, 1), (2,)],
        "upscore2": [(2, 1, 2, 2)],
        "scale_pool4": [(7,)],
    }
    return {
        name: [rng.normal(size=s).astype(np.float32) for s in blobs]
        for name, blobs in sizes.items()
    }


def expected(layers: dict[str, list[Array]]) -> dict[str, Array]:
    """What is in the file, the first layer's BGR turned to RGB by hand."""
    found = {
        f"{name}.{part}": blob
        for name, blobs in layers.items()
        for part, blob in zip(("weight", "bias"), blobs, strict=False)
    }
    blue, green, red = (found["conv1_1.weight"][:, i] for i in range(3))
    return found | {"conv1_1.weight": np.stack([red, green, blue], axis=1)}


def assert_equal(found: dict[str, Tensor], want: dict[str, Array]) -> None:
    assert list(found) == list(want)
    for name, tensor in found.items():
        assert tensor.dtype == torch.float32
        assert tensor.shape == want[name].shape, name
        np.testing.assert_array_equal(tensor.numpy(), want[name], err_msg=name)


def load(tmp_path: Path, raw: bytes) -> dict[str, Tensor]:
    path = tmp_path / "net.caffemodel"
    path.write_bytes(raw)
    return load_caffemodel(path)


def blob(array: Array) -> bytes:
    return shape(array.shape) + floats(array)


def conv(
    name: str,
    c: int = 3,
    bottom: str = "data",
    kind: str = "Convolution",
    legacy: bool = False,
) -> bytes:
    """A layer whose weight says which input channel it is for: 0, 1, 2, …"""
    weight = np.broadcast_to(np.arange(c, dtype=np.float32)[:, None, None], (2, c, 3, 3))
    bottoms = [bottom] if bottom else []
    return layer(name, kind, [blob(weight)], bottoms=bottoms, tops=[name], legacy=legacy)


def order(weights: dict[str, Tensor], name: str = "conv1_1") -> list[int]:
    """Which channel of the file each input channel of the loaded weight is."""
    return [int(c) for c in weights[f"{name}.weight"][0, :, 0, 0]]


# ---- what is read -------------------------------------------------------------------------------


@pytest.mark.parametrize("choice", list(itertools.product([False, True], repeat=4)), ids=str)
def test_every_layout_of_the_format_gives_the_same_weights(
    tmp_path: Path, choice: tuple[bool, ...]
) -> None:
    options = dict(zip(OPTIONS, choice, strict=True))
    layers = net()
    if options["legacy_layers"]:
        del layers["scale_pool4"]  # younger than that list
    path = write_caffemodel(tmp_path / "net.caffemodel", layers, **options)
    assert_equal(load_caffemodel(path), expected(layers))
    assert_equal(load_caffemodel(str(path)), expected(layers))


def test_numbers_packed_in_several_runs_are_joined(tmp_path: Path) -> None:
    raw = shape((2, 3)) + floats(np.arange(2.0)) + floats(np.arange(2.0, 6.0))
    loaded = load(tmp_path, layer("fc", "InnerProduct", [raw]))
    assert loaded["fc.weight"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_both_lists_of_layers_in_one_file_are_read(tmp_path: Path) -> None:
    raw = layer("a", "InnerProduct", [blob(np.ones((1, 2)))])
    raw += layer("b", "InnerProduct", [blob(np.ones((2, 2)))], legacy=True)
    assert set(load(tmp_path, raw)) == {"a.weight", "b.weight"}


def test_gradients_saved_with_the_weights_are_left_out(tmp_path: Path) -> None:
    raw = blob(np.ones((1, 2))) + run(6, struct.pack("<2f", 7, 7)) + run(9, bytes(16))
    loaded = load(tmp_path, layer("fc", "InnerProduct", [raw]))
    assert loaded["fc.weight"].tolist() == [[1, 1]]


def test_layers_of_more_than_two_blobs_keep_all_by_place(tmp_path: Path) -> None:
    blobs = [np.full(3, 1.0), np.full(3, 2.0), np.full(1, 999.9)]
    loaded = load(tmp_path, layer("bn1", "BatchNorm", [blob(b) for b in blobs]))
    assert list(loaded) == ["bn1.0", "bn1.1", "bn1.2"]
    assert loaded["bn1.1"].tolist() == [2, 2, 2]


def test_a_scale_of_one_number_for_all_channels_is_a_scalar(tmp_path: Path) -> None:
    raw = run(7, b"") + floats(np.array(0.01))
    loaded = load(tmp_path, layer("scale_pool4", "Scale", [raw]))
    assert loaded["scale_pool4.weight"].shape == ()
    assert loaded["scale_pool4.weight"].item() == pytest.approx(0.01, rel=1e-7)


@pytest.fixture
def every_warning_is_an_error() -> Iterator[None]:
    torch.set_warn_always(True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
    torch.set_warn_always(False)


@pytest.mark.usefixtures("every_warning_is_an_error")  # as torch gives for read-only memory
def test_tensors_can_be_changed_and_share_nothing(tmp_path: Path) -> None:
    path = write_caffemodel(tmp_path / "net.caffemodel", net())
    first, second = load_caffemodel(path), load_caffemodel(path)
    for tensor in first.values():
        tensor.add_(1)
    assert_equal(second, expected(net()))


def test_old_inner_products_of_one_output_keep_their_two_axes(tmp_path: Path) -> None:
    raw = shape((1, 1, 1, 5), legacy=True) + floats(np.arange(5.0))
    loaded = load(tmp_path, layer("fc", "InnerProduct", [raw, raw], legacy=True))
    assert loaded["fc.weight"].shape == (1, 5)
    assert loaded["fc.bias"].shape == (5,)


# ---- channels and kernels -----------------------------------------------------------------------


def test_rgb_through_the_loaded_weights_equals_bgr_through_the_files_own(tmp_path: Path) -> None:
    layers = net()
    loaded = load_caffemodel(write_caffemodel(tmp_path / "net.caffemodel", layers))
    stored = {f"{n}.{i}": torch.from_numpy(b) for n, bs in layers.items() for i, b in enumerate(bs)}
    rgb = torch.randn(2, 3, 9, 7, generator=torch.Generator().manual_seed(0))

    def forward(image: Tensor, weights: dict[str, Tensor], parts: tuple[str, str]) -> Tensor:
        w, b = parts
        x = F.conv2d(image, weights[f"conv1_1.{w}"], weights[f"conv1_1.{b}"], padding=1).relu()
        x = F.conv2d(x, weights[f"conv2_1.{w}"], weights[f"conv2_1.{b}"], groups=2)
        x = F.conv2d(x[:, :1], weights[f"score_fr.{w}"], weights[f"score_fr.{b}"])
        return F.conv_transpose2d(x, weights[f"upscore2.{w}"], stride=2, groups=2)

    ours = forward(rgb, loaded, ("weight", "bias"))
    theirs = forward(rgb[:, [2, 1, 0]], stored, ("0", "1"))
    # The first layer sums its three channels in another order, in float32.
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(ours, forward(rgb, stored, ("0", "1")), rtol=1e-2)


def test_a_kernel_is_not_flipped(tmp_path: Path) -> None:
    """Caffe's response to an impulse image is the kernel turned around, as in cross-correlation."""
    kernel = np.arange(9.0, dtype=np.float32).reshape(1, 1, 3, 3)
    raw = layer("conv", "Convolution", [blob(kernel)], bottoms=["data"], tops=["conv"])
    impulse = torch.zeros(1, 1, 5, 5)
    impulse[0, 0, 2, 2] = 1
    response = F.conv2d(impulse, load(tmp_path, raw)["conv.weight"])
    assert response.flatten().tolist() == [8, 7, 6, 5, 4, 3, 2, 1, 0]


def test_early_fusion_turns_the_colours_and_leaves_depth_last(tmp_path: Path) -> None:
    tops = "{'tops': ['color', 'depth', 'label'], 'seed': 1337}"
    raw = layer("color", "Python", tops=["color", "depth", "label"], settings=tops)
    raw += layer("data", "Concat", bottoms=["color", "depth"], tops=["data"])
    assert order(load(tmp_path, raw + conv("conv1_1_bgrd", 4)), "conv1_1_bgrd") == [2, 1, 0, 3]


def late_fusion(*, split: bool) -> bytes:
    """The authors' colour-HHA network to its second layers; a snapshot has the Split layers."""
    tops = ["color", "hha", "label"]
    settings = f"{{'nyud_dir': '../data/nyud', 'tops': {tops}, 'seed': 1337}}"
    raw = layer("color", "Python", tops=tops, settings=settings)
    colour = "color"
    if split:
        colour = "color_color_0_split_0"
        copies = [colour, "color_color_0_split_1"]
        raw += layer("color_color_0_split", "Split", bottoms=["color"], tops=copies)
    raw += conv("conv1_1color", bottom=colour) + conv("conv1_1hha", bottom="hha")
    raw += conv("conv1_2color", bottom="conv1_1color") + conv("conv1_2hha", bottom="conv1_1hha")
    return raw


@pytest.mark.parametrize("split", [False, True])
def test_late_fusion_turns_the_colour_stream_and_not_the_other(tmp_path: Path, split: bool) -> None:
    loaded = load(tmp_path, late_fusion(split=split))
    assert order(loaded, "conv1_1color") == [2, 1, 0]
    for name in ("conv1_1hha", "conv1_2color", "conv1_2hha"):
        assert order(loaded, name) == [0, 1, 2]


@pytest.mark.parametrize(("kind", "want"), [("color", [2, 1, 0]), ("hha", [0, 1, 2])])
def test_networks_alike_by_name_differ_by_what_their_data_layer_reads(
    tmp_path: Path, kind: str, want: list[int]
) -> None:
    settings = f"{{'tops': ['{kind}', 'label'], 'nyud_dir': '../../data/nyud', 'split': 'test'}}"
    raw = layer("data", "Python", tops=["data", "label"], settings=settings)
    raw += layer("split", "Split", bottoms=["data"], tops=["data_0", "data_1"])
    assert order(load(tmp_path, raw + conv("conv1_1", bottom="data_0"))) == want


@pytest.mark.parametrize("settings", ["", "{'tops': ['hha']}", "{'tops': [[[", "'hha'"])
def test_settings_that_do_not_fit_the_data_layer_leave_its_own_names(
    tmp_path: Path, settings: str
) -> None:
    raw = layer("data", "Python", tops=["data", "label"], settings=settings)
    assert order(load(tmp_path, raw + conv("conv1_1"))) == [2, 1, 0]
    raw = layer("data", "Python", tops=["data_hha", "label"], settings=settings)
    assert order(load(tmp_path, raw + conv("conv1_1", bottom="data_hha"))) == [0, 1, 2]


@pytest.mark.parametrize("kind", ["Convolution", ""])
def test_a_file_of_weights_alone_has_its_first_convolution_turned(
    tmp_path: Path, kind: str
) -> None:
    raw = conv("conv1_1", bottom="", kind=kind) + conv("conv1_2", bottom="", kind=kind)
    loaded = load(tmp_path, raw)
    assert order(loaded, "conv1_1") == [2, 1, 0]
    assert order(loaded, "conv1_2") == [0, 1, 2]


@pytest.mark.parametrize("legacy", [False, True])
def test_three_channels_later_in_the_network_stay(tmp_path: Path, legacy: bool) -> None:
    """As the geometric scores of SIFT Flow and their upsampling, also a blob (3, 3, ·, ·)."""
    raw = conv("conv1_1", legacy=legacy)
    raw += layer("relu", "ReLU", bottoms=["conv1_1"], tops=["conv1_1"], legacy=legacy)
    raw += layer("pool1", "Pooling", bottoms=["conv1_1"], tops=["pool1"], legacy=legacy)
    raw += conv("conv2_1", bottom="pool1", legacy=legacy)
    raw += conv("upscore", kind="Deconvolution", legacy=legacy)
    loaded = load(tmp_path, raw)
    assert order(loaded) == [2, 1, 0]
    assert order(loaded, "conv2_1") == order(loaded, "upscore") == [0, 1, 2]


def test_each_stream_of_an_old_file_has_its_first_convolution_turned(tmp_path: Path) -> None:
    raw = conv("a1", bottom="left", legacy=True) + conv("a2", bottom="a1", legacy=True)
    raw += conv("b1", bottom="right", legacy=True) + conv("b2", bottom="b1", legacy=True)
    loaded = load(tmp_path, raw)
    assert order(loaded, "a1") == order(loaded, "b1") == [2, 1, 0]
    assert order(loaded, "a2") == order(loaded, "b2") == [0, 1, 2]


@pytest.mark.parametrize("c", [1, 2, 5, 6])
def test_a_first_layer_of_other_channels_stays(tmp_path: Path, c: int) -> None:
    assert order(load(tmp_path, conv("conv1_1", c))) == list(range(c))


# ---- what is refused ----------------------------------------------------------------------------


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.caffemodel"):
        load_caffemodel(tmp_path / "none.caffemodel")


PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x02\x00\x00\x00"
HEADER = b'{"conv1_1.weight":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
FOREIGN = {
    "empty": b"",
    "png": PNG,
    "html": b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head></html>\n",
    "prototxt": b'name: "VGG"\nlayer {\n  name: "conv1_1"\n  type: "Convolution"\n}\n',
    "prototxt of layers": b'layer {\n  name: "conv1_1"\n}\n',
    "safetensors": struct.pack("<Q", len(HEADER)) + HEADER + bytes(4),
    "zip": b"PK\x03\x04\x14\x00\x00\x00\x08\x00" + bytes(40),
    "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(40),
    "zeros": bytes(1000),
    "name alone": run(1, "net"),
    "layers without weights": run(1, "net") + layer("data", "Data", tops=["data"]),
    "layers of 2013": run(2, run(1, run(1, "conv1") + run(50, blob(np.ones((1, 3, 1, 1)))))),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_file_is_one_clear_error(tmp_path: Path, kind: str) -> None:
    with pytest.raises(ValueError, match=r"net\.caffemodel.*binary protobuf NetParameter"):
        load(tmp_path, FOREIGN[kind])


def conv1_1(*blobs: bytes) -> bytes:
    return layer("conv1_1", "Convolution", blobs)


ONE = np.ones((2, 3, 1, 1), np.float32)
DAMAGED = {
    "too few values": conv1_1(shape((2, 3, 1, 2)) + floats(ONE)),
    "too many values": conv1_1(shape((2, 3, 1)) + floats(np.ones(7))),
    "no shape": conv1_1(floats(ONE)),
    "no values": conv1_1(shape((2, 3, 1, 1))),
    "nothing": conv1_1(b""),
    "values of half a float": conv1_1(shape((1,)) + run(5, bytes(6))),
    "values of half a double": conv1_1(shape((1,)) + run(8, bytes(12))),
    "negative": conv1_1(shape((-2, -3, 1, 1)) + floats(ONE)),
    "negative, old": conv1_1(shape((-2, -3, 1, 1), legacy=True) + floats(ONE)),
    "zero": conv1_1(shape((0, 3, 1, 1))),
    "one old axis only": conv1_1(number(1, 6) + floats(ONE)),
    "huge": conv1_1(shape((2**62, 2**62, 2**62, 2**62)) + floats(ONE)),
    "product of 2^64 + 6": conv1_1(shape((11, (2**64 + 6) // 11)) + floats(ONE)),
    "old axes go first": conv1_1(shape((5, 1), legacy=True) + shape((2, 3)) + floats(ONE)),
    "even the last alone": conv1_1(number(4, 5) + shape((2, 3)) + floats(ONE)),
    "33 axes": conv1_1(shape((1,) * 33) + floats(np.ones(1))),
    "many axes": conv1_1(shape((2**62,) * 10**5) + floats(np.ones(1))),
    "mixed packing": conv1_1(shape((2,)) + floats(np.ones(1)) + floats(np.ones(1), packed=False)),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_blob_that_does_not_fit_its_shape_is_named(tmp_path: Path, kind: str) -> None:
    with pytest.raises(ValueError, match=r"net\.caffemodel: layer conv1_1, blob 0: .*values"):
        load(tmp_path, DAMAGED[kind])


def test_the_second_blob_is_named_where_it_is_the_damaged_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="layer conv1_1, blob 1: its shape, 3, does not fit its 2"):
        load(tmp_path, conv1_1(blob(ONE), shape((3,)) + floats(np.ones(2))))


@pytest.mark.parametrize("value", [np.nan, -np.inf, 1e39])
def test_a_value_that_no_float_holds_is_named(tmp_path: Path, value: float) -> None:
    bias = shape((2,)) + run(8, struct.pack("<2d", 1, value))  # doubles
    raw = layer("fc", "InnerProduct", [blob(np.ones((2, 3))), bias])
    with pytest.raises(ValueError, match=r"fc\.bias holds values that are not finite"):
        load(tmp_path, raw)


def test_layers_that_cannot_be_told_apart_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="more than one layer with weights is named conv1_1"):
        load(tmp_path, conv1_1(blob(ONE)) * 2)
    with pytest.raises(ValueError, match="has no name"):
        load(tmp_path, layer("", "Convolution", [blob(ONE)]))
    with pytest.raises(ValueError, match="is not text"):
        load(tmp_path, run(100, run(1, b"\xff\xfe") + run(7, blob(ONE))))


def test_a_declared_length_is_not_allocated(tmp_path: Path) -> None:
    """Two gigabytes announced by a few bytes, as the length of a field and as a shape."""
    cut = varint(100 << 3 | 2) + varint(2**31 - 100) + b"abc"
    tracemalloc.start()
    for raw in (cut, conv1_1(shape((2**29,)) + floats(ONE)), DAMAGED["many axes"]):
        with pytest.raises(ValueError):
            load(tmp_path, raw)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6  # the file of many axes is 1 MB


def test_a_file_too_long_for_a_protobuf_message_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "net.caffemodel"
    with path.open("wb") as file:
        file.truncate(2**31)  # sparse: takes no room
    with pytest.raises(ValueError, match="2147483648 bytes are too many"):
        load_caffemodel(path)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_file_cut_anywhere_fails_or_lacks_whole_layers(tmp_path: Path, legacy: bool) -> None:
    layers = net() if not legacy else {k: v for k, v in net().items() if k != "scale_pool4"}
    raw = caffemodel(layers, legacy_layers=legacy, legacy_blobs=legacy)
    want = expected(layers)
    read = []
    for length in range(len(raw)):
        try:
            loaded = load(tmp_path, raw[:length])
        except ValueError as error:
            assert "net.caffemodel" in str(error)
            continue
        kept = {name: want[name] for name in loaded}
        assert list(kept) == list(want)[: len(kept)] and len(kept) < len(want)
        assert_equal(loaded, kept)
        read.append(len(kept))
    # Whole are only the files that end between two layers: after one, after one and a ReLU, …
    assert read == ([2, 2, 4, 6, 8, 10] if legacy else [2, 2, 4, 6, 8, 10, 11])


def test_changed_bytes_give_weights_or_one_clear_error(tmp_path: Path) -> None:
    rng = random.Random(0)
    layers = {name: net()[name] for name in ("conv1_1", "relu1_1", "fc7", "score_fr")}
    seeds = [
        caffemodel(layers, legacy_layers=old, legacy_blobs=old, packed=packed)
        for old, packed in itertools.product([False, True], repeat=2)
    ]
    outcomes = {"read": 0, "refused": 0}
    for _ in range(800):
        raw = mutate(rng.choice(seeds), rng)
        try:
            loaded = load(tmp_path, raw)
        except ValueError as error:
            assert "net.caffemodel" in str(error)
            outcomes["refused"] += 1
        else:
            assert sum(4 * t.numel() for t in loaded.values()) <= len(raw)
            outcomes["read"] += 1
    assert min(outcomes.values()) > 50  # the changes reach both


# ---- the library underneath ---------------------------------------------------------------------


def test_the_pure_python_form_of_protobuf_reads_the_same(tmp_path: Path) -> None:
    """Where none is compiled. The form is chosen at the first import: hence a child process."""
    cases = [dict(zip(OPTIONS, c, strict=True)) for c in [(False,) * 4, (True, True, False, True)]]
    layers = {k: v for k, v in net().items() if k != "scale_pool4"}
    for i, options in enumerate(cases):
        write_caffemodel(tmp_path / f"{i}.caffemodel", layers, **options)
    np.savez(tmp_path / "want.npz", **expected(layers))
    (tmp_path / "bad.caffemodel").write_bytes(FOREIGN["html"])
    code = textwrap.dedent("""
        import sys, numpy as np
        from google.protobuf.internal import api_implementation
        from fcn_tutorial.surgery import load_caffemodel
        assert api_implementation.Type() == "python"
        folder = sys.argv[1]
        want = np.load(f"{folder}/want.npz")
        for i in range(2):
            found = load_caffemodel(f"{folder}/{i}.caffemodel")
            assert list(found) == list(want)
            assert all(np.array_equal(found[name], want[name]) for name in found)
        try:
            load_caffemodel(f"{folder}/bad.caffemodel")
        except ValueError:
            sys.exit(0)
        sys.exit("no error")
    """)
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"},
        check=True,
    )
