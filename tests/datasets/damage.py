"""Damaged files of every format that is read here, and what each reader makes of them.

`mutation` damages bytes by chance, `bombs` makes files that are sound and far too large; `KINDS`
are the readers, each with small sound files in the official layout, those of runs in
`damaged_runs`. Run as a module it is the child process of `tools.damage`, which a file that crashes
a library may end:

    python -m tests.datasets.damage SANDBOX SEED FIRST COUNT KIND…

Case i damages one file of kind i mod (number of kinds), by random numbers of (SEED, i) alone. What
is refused is made sound again and read once more: a failure must not be in the way of the next try.
"""

import contextlib
import io
import json
import math
import os
import random
import shutil
import signal
import stat
import struct
import sys
import tarfile
import time
import traceback
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import scipy.io
import torch
from PIL import Image
from safetensors.torch import save_file

from fcn_tutorial import files as lists
from fcn_tutorial import models, predict, training
from fcn_tutorial.datasets import SBD, CamVid, Folder, NYUDv2, SIFTFlow, VOCSegmentation
from fcn_tutorial.datasets.download import unpack
from fcn_tutorial.datasets.formats import images
from fcn_tutorial.datasets.formats.mat import read_mat
from fcn_tutorial.surgery import load_caffemodel
from fcn_tutorial.training.run import RunFolder
from tests.datasets import bombs, damaged_runs, official, official_nyud, official_siftflow
from tests.datasets.mutation import CHANCE, NUMBERS, edit_json, mutate, place
from tests.surgery.caffe_files import caffemodel

SECONDS = 10  # of one case, of the processor; more, or ten times as many by the clock, is a hang
SLOW = 2  # seconds of the processor for one case, beyond thrice what a sound file takes
ALLOWED = 3 << 30  # bytes of address space above what the imports take
LARGE = 1 << 30  # bytes of memory that one case may use

# Damage by format ---------------------------------------------------------------------------------
# Each takes the file's bytes, random numbers, and the folder that must not be left.


def declare_png(data: bytes, width: int, height: int, rest: bytes = b"") -> bytes:
    """A PNG whose header claims another size (and depth, colour type, …), with its checksum."""
    return data[:8] + bombs.png_chunk(
        b"IHDR", struct.pack(">II", width, height) + (rest or data[24:29])
    ) + data[33:]  # fmt: skip


def png_header(data: bytes, rng: random.Random, folder: Path) -> bytes:
    sides = [rng.choice([*NUMBERS[:13], 11_585]) for _ in range(2)]
    rest = bytearray(data[24:29])
    if rng.random() < 0.5:
        rest[rng.randrange(5)] = rng.choice([0, 1, 2, 3, 4, 6, 8, 16])
        sides = list(struct.unpack(">II", data[16:24]))
    return declare_png(data, *sides, bytes(rest))


def png_inside(data: bytes, rng: random.Random, folder: Path) -> bytes:
    """Damage below the checksums: every chunk's is made right again."""
    out, at = data[:8], 8
    chunks = []
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    chosen = rng.randrange(len(chunks))
    for number, (kind, content) in enumerate(chunks):
        if number == chosen and content:
            if kind == b"IDAT" and rng.random() < 0.5:
                content = zlib.compress(mutate(zlib.decompress(content), rng))
            else:
                content = mutate(content, rng)
        out += bombs.png_chunk(kind, content)
    return out


def jpeg_size(data: bytes, rng: random.Random, folder: Path) -> bytes:
    at = max(data.find(b"\xff\xc0"), data.find(b"\xff\xc2"))  # the frame header: rows, columns
    sides = struct.pack(">HH", *(rng.choice([0, 1, 9, 10_000, 65_535]) for _ in range(2)))
    return data[: at + 5] + sides + data[at + 9 :]


def other_mode(data: bytes, rng: random.Random, folder: Path) -> bytes:
    """The same picture in another mode and maybe another format, under its old name."""
    mode = rng.choice(["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I", "I;16", "F"])
    formats = {"CMYK": "JPEG", **dict.fromkeys(("YCbCr", "F", "I", "I;16"), "TIFF")}
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        converted = image.convert("I").convert(mode) if mode == "I;16" else image.convert(mode)
    stream = io.BytesIO()
    converted.save(stream, formats.get(mode, "PNG"))
    return stream.getvalue()


def mat_inside(data: bytes, rng: random.Random, folder: Path) -> bytes:
    """Damage inside a compressed variable, which is compressed again."""
    kind, size = struct.unpack_from("<II", data, 128)
    content = data[136 : 136 + size]
    if kind != 15:
        return data[:136] + mutate(content, rng) + data[136 + size :]
    packed = zlib.compress(mutate(zlib.decompress(content), rng))
    return data[:128] + struct.pack("<II", 15, len(packed)) + packed + data[136 + size :]


HOSTILE = ("/etc/passwd", "../secret", "../../secret", "..\\secret", "a/../../secret", "C:\\secret",
           "\\\\host\\secret", "a\0b", "x" * 5000, "/" + "a/" * 300, "~/secret", "..", ".", "/",
           "${HOME}", "%2e%2e/secret", "secret", "ä" * 200, "\u202esecret")  # fmt: skip


def list_line(data: bytes, rng: random.Random, folder: Path) -> bytes:
    """A line of a list, or a word of it, that leads elsewhere."""
    lines = data.split(b"\n")
    at = rng.randrange(len(lines))
    name = rng.choice([*HOSTILE, str(folder.parent / "secret")])
    name += rng.choice(["", ".png", ".jpg", ".mat", ".txt"])
    word = name.encode()
    words = lines[at].split(rng.choice([b" ", b",", b"/"]))
    words[rng.randrange(len(words))] = word
    lines[at] = rng.choice([word, b" ".join([word, word]), b" ".join(words), b"/".join(words)])
    return b"\n".join(lines)


def yaml_bomb(data: bytes, rng: random.Random, folder: Path) -> bytes:
    """Aliases that would unfold to millions of items, deep nesting, tags, numbers of any size."""
    levels = rng.randrange(5, 30)
    bomb = "a0: &a0 [1, 2, 3]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, levels)
    )
    nested = "[1, 2, 3, 4]"
    for i in range(levels):
        nested = f"[&a{i} {nested}, " + ", ".join([f"*a{i}"] * 9) + "]"
    texts = (
        bomb,
        f"a: {nested}",
        "a: " + "[" * 10_000,
        "a: " + "{a: " * 3_000,
        "a: &a [*a]\n",
        "? [1, 2]\n: 3\n",
        "a: !!python/object/apply:os.system ['touch x']\n",
        "a: [1e400, .nan, 0x1" + "0" * 5000 + "]\n",
        "? 0x1" + "0" * 5000 + "\n: [1, 2, 3]\n",
        "2020-01-01: [1, 2, 3]\n",
        "a: [1_0, 2:3:4, 0o7]\n",
        "<<: {a: [1, 2, 3]}\n",
        "a: " + "9" * 10_000 + "\n",
    )
    return rng.choice(texts).encode()


def tensors_header(data: bytes, rng: random.Random, folder: Path) -> bytes:
    """A safetensors file: its header is JSON behind a length of eight bytes."""
    end = 8 + struct.unpack_from("<Q", data)[0]
    header = json.loads(data[8:end])
    if "__metadata__" in header and rng.random() < 0.6:
        header["__metadata__"] = edit_json(header["__metadata__"], rng, folder)
    else:
        header = edit_json(header, rng, folder)
    text = json.dumps(header).encode()
    if rng.random() < 0.2:
        text = mutate(text, rng)
    return struct.pack("<Q", len(text)) + text + data[end:]


def zip_members(data: bytes, rng: random.Random, folder: Path) -> bytes:
    """One member under a hostile name, as a link, or twice; sizes that are lies."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(stream, "w") as new:
        members = old.infolist()
        chosen = rng.randrange(len(members))
        for number, member in enumerate(members):
            info, content = zipfile.ZipInfo(member.filename), old.read(member)
            if number == chosen:
                way = rng.randrange(3)
                if way == 0:
                    name = rng.choice([*HOSTILE, str(folder.parent / "out.txt")])
                    info = zipfile.ZipInfo(rng.choice(["", "set/"]) + name)
                elif way == 1:
                    info.external_attr = (stat.S_IFLNK | 0o777) << 16
                    content = str(folder.parent).encode()
                else:
                    new.writestr(info, content)
            with warnings.catch_warnings(action="ignore"):
                new.writestr(info, content)
    return stream.getvalue()


def tar_members(data: bytes, rng: random.Random, folder: Path) -> bytes:
    stream = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(data)) as old,
        tarfile.open(fileobj=stream, mode="w") as new,
    ):
        members = old.getmembers()
        chosen = rng.randrange(len(members))
        for number, member in enumerate(members):
            reader = old.extractfile(member)
            content = reader.read() if reader else b""
            if number == chosen:
                way = rng.randrange(3)
                if way == 0:
                    name = rng.choice([*HOSTILE, str(folder.parent / "out.txt")])
                    member.name = rng.choice(["", "set/"]) + name
                else:
                    member.type = rng.choice([tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
                    member.linkname, member.size = str(folder.parent), 0
                    content = b""
            new.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def hdf5_array(data: bytes, rng: random.Random, folder: Path) -> bytes:
    """An array of another shape or type, one that lies in another file, or none."""
    path = folder.parent / "edited.h5"
    path.write_bytes(data)
    secret = str(folder.parent / "secret.h5")
    with h5py.File(path, "r+") as file:
        name = rng.choice(["images", "depths", "rawDepths", "labels"])
        shape, kind = file[name].shape, file[name].dtype
        del file[name]
        match rng.randrange(8):
            case 0:
                huge = [*shape]
                huge[rng.randrange(len(huge))] = rng.choice([1 << 20, 1 << 31, 1 << 40])
                file.create_dataset(name, huge, kind, chunks=(1,) * len(huge))
            case 1:
                file.create_dataset(name, shape, kind, chunks=(2,) * len(shape), maxshape=shape)
            case 2:
                chunks = (*shape[:-2], 1 << 14, 1 << 14)
                file.create_dataset(name, shape, kind, chunks=chunks, maxshape=(None,) * len(shape))
            case 3:
                other = rng.choice(["i1", "u8", "f2", "f8", "S5", "c8", h5py.string_dtype()])
                file.create_dataset(name, shape, other)
            case 4:
                file.create_dataset(name, shape[: rng.randrange(len(shape))], kind)
            case 5:
                file[name] = h5py.ExternalLink(secret, name)
            case 6:
                file.create_dataset(name, shape, kind, external=[(secret, 0, 1 << 20)])
            case _:
                file.create_group(name)
    damaged = path.read_bytes()
    path.unlink()
    return damaged


Special = Callable[[bytes, random.Random, Path], bytes]
_PICTURE: tuple[Special, ...] = (other_mode,)
_NYUD = "nyu_depth_v2_labeled.mat"
SPECIAL: dict[str, tuple[Special, ...]] = {
    ".png": (png_header, png_inside, other_mode, bombs.png),
    ".jpg": (jpeg_size, other_mode),
    **dict.fromkeys((".tif", ".gif", ".bmp", ".webp"), _PICTURE),
    ".mat": (mat_inside, bombs.mat),
    ".txt": (list_line,),
    ".csv": (list_line,),
    ".yaml": (list_line, yaml_bomb),
    ".safetensors": (tensors_header,),
    ".pth": (damaged_runs.odd_tensors, damaged_runs.odd_pickle, bombs.deflated),
    ".pt": (bombs.deflated, damaged_runs.edited_state, damaged_runs.edited_state),
    ".json": (damaged_runs.edited_record,),
    ".zip": (zip_members, bombs.archive),
    ".tar": (tar_members,),
    ".tgz": (bombs.packed_tar,),
}


def damaged(
    path: Path,
    others: Sequence[Path],
    rng: random.Random,
    folder: Path,
    only: tuple[Special, ...] = (),
) -> tuple[str, bytes]:
    """(name of the damage, damaged bytes) of a sound file; `others` may lend a part."""
    data = path.read_bytes()
    if only:
        chosen = rng.choice(only)
        return chosen.__name__, chosen(data, rng, folder)
    special = (hdf5_array,) if path.name == _NYUD else SPECIAL.get(path.suffix, ())
    if special and rng.random() < 0.4:
        chosen = rng.choice(special)
        return chosen.__name__, chosen(data, rng, folder)
    if rng.random() < 0.12:
        other = rng.choice(others).read_bytes()
        if rng.random() < 0.5:
            return "swap", other
        return "splice", data[: place(data, rng)] + other[rng.randrange(len(other) + 1) :]
    chance = rng.choice(CHANCE)
    if not data:
        return "insert", rng.randbytes(9)
    return chance.__name__, chance(data, rng)


# Sound files and their readers --------------------------------------------------------------------

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (9, 14, 3), np.uint8)
LABELS = RNG.integers(0, 21, (9, 14), np.uint8)


def _check(item: Any, classes: int) -> None:
    image, mask = item
    parts = list(image.values()) if isinstance(image, dict) else [image]
    masks = list(mask.values()) if isinstance(mask, dict) else [mask]
    for part in parts:
        assert part.ndim == 3 and part.shape[1:] == masks[0].shape, (part.shape, masks[0].shape)
    for part in masks:
        assert part.dtype == torch.uint8 and part.ndim == 2
        assert not part[(part >= classes) & (part != 255)].numel()


def _all(dataset: Any, classes: int) -> None:
    for i in range(len(dataset)):
        _check(dataset[i], classes)


def _lay_pictures(folder: Path) -> None:
    folder.mkdir(parents=True)
    image = Image.fromarray(PIXELS)
    for suffix in ("png", "jpg", "tif", "gif", "bmp", "webp"):
        options = {"compression": "tiff_lzw"} if suffix == "tif" else {}
        image.save(folder / f"a.{suffix}", **options)
    image.save(folder / "b.jpg", progressive=True, exif=_turned())


def _turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def _read_picture(folder: Path, name: str) -> None:
    pixels = images.read_image(folder / name)
    assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3


def _read_photo(folder: Path, name: str) -> None:
    pixels = predict.read_image(folder / name)
    assert pixels.dtype == torch.uint8 and pixels.ndim == 3 and pixels.shape[0] == 3


def _lay_labels(folder: Path) -> None:
    folder.mkdir(parents=True)
    grey = Image.fromarray(LABELS)
    grey.save(folder / "grey.png")
    Image.fromarray(PIXELS).quantize(21).save(folder / "palette.png")
    Image.fromarray(LABELS.astype(np.uint16)).save(folder / "deep.tif")
    grey.save(folder / "a.gif")
    grey.save(folder / "a.bmp")


def _read_labels(folder: Path, name: str) -> None:
    labels = images.read_index_image(folder / name)
    assert labels.dtype == np.uint8 and labels.ndim == 2


def _lay_mat(folder: Path) -> None:
    folder.mkdir(parents=True)
    cell = np.array([LABELS, np.array("ab")], object)[:, None]
    content = {"labels": LABELS, "depth": PIXELS / 9.5, "text": np.array(["sky", "road"]),
               "cell": cell, "struct": {"a": LABELS, "inner": {"n": np.uint8(3)}},
               "sparse": scipy.sparse.csc_matrix(LABELS > 15)}  # fmt: skip
    scipy.io.savemat(folder / "plain.mat", content)
    scipy.io.savemat(folder / "packed.mat", content, do_compression=True)


def _lay_lists(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "a.txt").write_text("2007_000032\n2007_000039\n")


def _read_list(folder: Path, name: str) -> None:
    for number, line in lists.numbered_lines(folder / name):
        with contextlib.suppress(ValueError):
            path = lists.inside(folder, line, f"{folder / name}, line {number}")
            assert os.path.normpath(path).startswith(f"{folder}{os.sep}")


def _lay_camvid(folder: Path) -> None:
    for inner, pixels in (("train", PIXELS), ("trainannot", LABELS % 12)):
        (folder / inner).mkdir(parents=True)
        for i in range(2):
            Image.fromarray(pixels).save(folder / inner / f"{i}.png")
    lines = [f"/SegNet/CamVid/train/{i}.png /SegNet/CamVid/trainannot/{i}.png" for i in range(2)]
    (folder / "train.txt").write_text("\n".join(lines))


def _lay_nyud(folder: Path) -> None:
    official_nyud.write_official(folder, official_nyud.frames(4, (12, 16)), [2, 1], [3, 4])
    (folder / "val.txt").write_text("5001\n")


def _read_nyud(folder: Path, name: str) -> None:
    _all(NYUDv2(folder, "test", "rgb-hha"), 40)
    _all(NYUDv2(folder, "val", "rgbd"), 40)


def _lay_prepared(folder: Path) -> None:
    given = official_nyud.frames(2, (12, 16))
    official_nyud.write_prepared(folder, given, given.images)
    (folder / "test.txt").write_text("5001\n5002\n")


def _read_prepared(folder: Path, name: str) -> None:
    for modality in ("rgbd", "hha"):
        _all(NYUDv2(folder, "test", modality), 40)


def _lay_siftflow(folder: Path) -> None:
    names = ("coast_a", "street_b", "tall_c")
    semantic = {name: LABELS for name in names}
    geometric = {name: LABELS.astype(int) % 5 - 1 for name in names}
    geometric = {name: np.minimum(labels, 3) for name, labels in geometric.items()}
    official_siftflow.write_official(folder, semantic, geometric, ["tall_c"])


def _read_siftflow(folder: Path, name: str) -> None:
    for split in ("trainval", "test"):
        _all(SIFTFlow(folder, split, "both"), 33)


COLOURS = {"background": (0, 0, 0), "cat": (255, 0, 0), "dog": (0, 128, 255), "void": (9, 9, 9)}


def _lay_folder(folder: Path) -> None:
    table = np.array(list(COLOURS.values()), np.uint8)
    for inner, pixels, suffix in (
        ("photos", PIXELS, "jpg"), ("painted", table[LABELS % 4], "png"),
        ("numbers", LABELS % 3, "png"),
    ):  # fmt: skip
        (folder / inner).mkdir(parents=True)
        for stem in "ab":
            Image.fromarray(pixels).save(folder / inner / f"{stem}.{suffix}")
    rows = [f"{name},{r},{g},{b}\n" for name, (r, g, b) in COLOURS.items()]
    (folder / "c.csv").write_text("".join(rows))
    (folder / "c.yaml").write_text("".join(f"{n}: {list(c)}\n" for n, c in COLOURS.items()))
    (folder / "names.txt").write_text("background\ncat\ndog\n")
    (folder / "list.txt").write_text("a\nb.jpg\n")


def _read_folder(folder: Path, name: str) -> None:
    photos, listed = folder / "photos", folder / "list.txt"
    colours = folder / ("c.yaml" if name == "c.yaml" else "c.csv")
    _all(Folder(photos, folder / "painted", split=listed, colours=colours), 255)
    _all(Folder(photos, folder / "numbers", folder / "names.txt"), 255)


def _lay_weights(folder: Path) -> None:
    folder.mkdir(parents=True)
    model = models.FCN("tiny", 3, width=0.25)
    recipe = training.as_dict(training.get("scenes-fcn8s"))
    card = models.Card.of("abc", [(0, 0, 0), (1, 1, 1), (2, 2, 2)], details={"recipe": recipe})
    models.save(model, card, folder / "net.safetensors")
    trunk = models.backbones.trunks.build(models.backbones.trunks.PLANS["tiny"], 0.25, "same")
    save_file(trunk.state_dict(), folder / "trunk.safetensors")


def _read_weights(folder: Path, name: str) -> None:
    if name == "trunk.safetensors":
        models.FCN("tiny", 3, width=0.25, weights=folder / name)
        return
    loaded = predict.Predictor.load(folder / name)
    assert loaded.model.num_classes == len(loaded.card.palette) == 3
    if recipe := loaded.card.details.get("recipe"):
        with contextlib.suppress(ValueError):  # the caller names the file
            training.from_dict(recipe)


def _lay_caffe(folder: Path) -> None:
    folder.mkdir(parents=True)
    blobs = {"conv1_1": [(2, 3, 3, 3), (2,)], "relu1_1": [], "fc7": [(1, 3), (1,)]}
    layers = {
        name: [RNG.normal(size=size).astype(np.float32) for size in sizes]
        for name, sizes in blobs.items()
    }
    for old in (False, True):
        for packed in (False, True):
            raw = caffemodel(layers, legacy_layers=old, legacy_blobs=old, packed=packed)
            (folder / f"{int(old)}{int(packed)}.caffemodel").write_bytes(raw)


def _read_caffe(folder: Path, name: str) -> None:
    loaded = load_caffemodel(folder / name)
    assert sum(4 * t.numel() for t in loaded.values()) <= (folder / name).stat().st_size


def _lay_run(folder: Path) -> None:
    folder.mkdir(parents=True)
    model = models.FCN("tiny", 3, width=0.125).state_dict()
    RunFolder(folder).write_state({"model": model, "seed": 3, "recipe": {"a": 1}})


def _read_run(folder: Path, name: str) -> None:
    RunFolder(folder).read_state()


def _lay_archives(folder: Path) -> None:
    folder.mkdir(parents=True)
    contents = {"set/a.txt": b"a" * 300, "set/b/c.png": bytes(range(256)), "other.txt": b"x"}
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in contents.items():
            packed.writestr(name, content)
    for suffix, mode in (("tar", "w"), ("tgz", "w:gz")):
        with tarfile.open(folder / f"a.{suffix}", mode) as tar:
            for name, content in contents.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))


def _read_archive(folder: Path, name: str) -> None:
    unpack(folder / name, folder / "out", (("set/", "set"),), limit=1 << 24)
    assert (folder / "out" / "set").is_dir()


class Kind(NamedTuple):
    """How to lay sound files into a folder, and how to read them; which get damaged, and how."""

    lay: Callable[[Path], Any]
    read: Callable[[Path, str], None]
    files: str = "**/*"
    special: tuple[Special, ...] = ()  # the only damage; without any, all that fits the file


KINDS: dict[str, Kind] = {
    "pictures": Kind(_lay_pictures, _read_picture),
    "photos to predict": Kind(_lay_pictures, _read_photo),
    "label images": Kind(_lay_labels, _read_labels),
    "mat": Kind(_lay_mat, lambda folder, name: read_mat(folder / name) and None),
    "lists": Kind(_lay_lists, _read_list),
    "camvid": Kind(_lay_camvid, lambda folder, _: _all(CamVid(folder, "train"), 11)),
    "voc": Kind(
        lambda folder: official.write_voc(folder, "2012", {"train": ["2007_000032", "b"]}),
        lambda folder, _: _all(VOCSegmentation(folder, "train"), 21),
    ),
    "sbd": Kind(
        lambda folder: official.write_sbd(folder, {"train": ["2008_000002", "b"]}),
        lambda folder, _: _all(SBD(folder / "SBD", "train"), 21),
    ),
    "nyud": Kind(_lay_nyud, _read_nyud),
    "nyud, prepared": Kind(_lay_prepared, _read_prepared),
    "sift flow": Kind(_lay_siftflow, _read_siftflow),
    "own folder": Kind(_lay_folder, _read_folder),
    "weights": Kind(_lay_weights, _read_weights),
    "caffemodel": Kind(_lay_caffe, _read_caffe),
    "checkpoint": Kind(_lay_run, _read_run),
    "archives": Kind(_lay_archives, _read_archive),
    "trunks": Kind(damaged_runs.lay_trunks, damaged_runs.read_trunk),
    "cards": Kind(
        damaged_runs.lay_cards,
        damaged_runs.evaluate,
        "*.safetensors",
        (damaged_runs.edited_card,),
    ),
    "records": Kind(damaged_runs.lay_records, damaged_runs.read_records, "**/*.json"),
    "runs that go on": Kind(damaged_runs.lay_run, damaged_runs.go_on, "*.pt"),
}


# One case -----------------------------------------------------------------------------------------


class Sandbox:
    """The sound files of one kind in `folder`, beside files that nobody may open."""

    def __init__(self, root: Path, kind: Kind) -> None:
        shutil.rmtree(root, ignore_errors=True)
        self.root, self.folder, self.kind = root, root / "set", kind
        kind.lay(self.folder)
        self.sound = {path: path.read_bytes() for path in self._files("**/*")}
        self.targets = self._files(kind.files)
        self.usual = math.inf  # seconds that a sound file takes
        for path in self.targets:
            began = time.process_time()
            kind.read(self.folder, path.name)  # sound files are read
            self.usual = min(self.usual, time.process_time() - began)
            self.restore()
        for path in self.sound:
            (root / f"secret{path.suffix}").write_bytes(self.sound[path])
        for name in ("secret.h5", "secret.safetensors", "secret.png", "secret"):
            (root / name).write_bytes(next(iter(self.sound.values())))
        if (self.folder / _NYUD).exists():
            shutil.copy(self.folder / _NYUD, root / "secret.h5")
        self.secrets = {path: path.read_bytes() for path in root.iterdir() if path.is_file()}

    def _files(self, pattern: str) -> list[Path]:
        return sorted(path for path in self.folder.glob(pattern) if path.is_file())

    def restore(self) -> None:
        """Put the sound files back, and remove what was added."""
        for path in self._files("**/*"):
            if path not in self.sound:
                path.unlink()
        shutil.rmtree(self.folder / "out", ignore_errors=True)
        for path, content in self.sound.items():
            if not path.exists() or path.read_bytes() != content:
                path.write_bytes(content)

    def untouched(self) -> bool:
        """Whether nothing beside the folder was written."""
        return {p for p in self.root.iterdir() if p != self.folder} == set(self.secrets) and all(
            path.read_bytes() == content for path, content in self.secrets.items()
        )


_opened: list[str] | None = None  # files opened while a case is on


def _note_opened(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and _opened is not None and not isinstance(arguments[0], int):
        _opened.append(os.fsdecode(arguments[0]))


def _strangers(folder: Path, opened: Sequence[str]) -> list[str]:
    """Opened files that belong neither to the folder nor to Python and its libraries."""
    root = Path(__file__).resolve().parents[2]
    libraries = [sys.prefix, sys.base_prefix, str(root), "/dev", "/proc", "/sys", "/usr", "/lib"]
    libraries = [os.path.realpath(path) for path in libraries]
    own = os.path.realpath(folder)
    found = []
    for path in {os.path.realpath(path) for path in opened if "\0" not in path}:
        if not any(path == base or path.startswith(base + os.sep) for base in (own, *libraries)):
            found.append(path)
    return found


def case(sandbox: Sandbox, rng: random.Random) -> dict[str, Any]:
    """Damage one file, read it, and say what came of it: "read", "refused" or something bad."""
    global _opened
    target = rng.choice(sandbox.targets)
    others = list(sandbox.sound)
    way, content = damaged(target, others, rng, sandbox.folder, sandbox.kind.special)
    target.write_bytes(content)
    before, began = _memory(reset=True), time.process_time()
    _opened = []
    outcome, said = "read", ""
    try:
        sandbox.kind.read(sandbox.folder, target.name)
    except (ValueError, FileNotFoundError) as error:
        outcome, said = "refused", str(error)
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, MemoryError) or "t allocate" in str(cause):  # torch's
                outcome = "memory"
            cause = cause.__cause__ or cause.__context__
        if outcome == "refused" and not _names(said, sandbox.folder):
            outcome = "unnamed"
    except Exception:
        outcome, said = "raised", traceback.format_exc()
    opened, _opened = _opened, None
    seconds, used = time.process_time() - began, _memory() - before
    if strangers := _strangers(sandbox.folder, opened):
        outcome, said = "outside", ", ".join(strangers)
    elif not sandbox.untouched():
        outcome, said = "outside", "a file beside the folder was written"
    elif used > LARGE:
        outcome = "memory"
    elif seconds > SLOW + 3 * sandbox.usual:
        outcome = "slow"
    if outcome == "refused":
        target.write_bytes(sandbox.sound[target])
        try:
            sandbox.kind.read(sandbox.folder, target.name)
        except Exception:
            outcome, said = "spoilt", traceback.format_exc()
    sandbox.restore()
    file = str(target.relative_to(sandbox.folder))
    return {"file": file, "damage": way, "outcome": outcome, "said": _shortened(said),
            "seconds": round(seconds, 4), "megabytes": used >> 20}  # fmt: skip


def _shortened(said: str) -> str:
    """Its begin and its end: a traceback's frames are at one, its error, maybe long, at either."""
    return said if len(said) <= 5000 else f"{said[:3000]} … {said[-2000:]}"


def _names(said: str, folder: Path) -> bool:
    """Whether a message says where: a path of the folder, the argument, or the setting."""
    return str(folder) in said or said.startswith(("classes", "colours")) or "data." in said


def _memory(reset: bool = False) -> int:
    """Peak resident bytes since the last reset; Linux only, elsewhere 0."""
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) << 10
    except (OSError, IndexError):
        return 0


@contextlib.contextmanager
def limits() -> Iterator[None]:
    """Address space up to `ALLOWED` above what is taken now."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    with contextlib.suppress(OSError, ValueError, IndexError):
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + ALLOWED, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def main() -> None:
    """A line of JSON before and after every case: a process that ends in between has crashed."""
    root, numbers, kinds = Path(sys.argv[1]), sys.argv[2:5], sys.argv[5:] or list(KINDS)
    seed, first, count = map(int, numbers)
    warnings.simplefilter("ignore")
    sys.addaudithook(_note_opened)
    sandboxes: dict[str, Sandbox] = {}
    with limits():
        for index in range(first, first + count):
            name = kinds[index % len(kinds)]
            if name not in sandboxes:
                sandboxes[name] = Sandbox(root.resolve() / name, KINDS[name])
            start = {"index": index, "kind": name}
            print(json.dumps({**start, "outcome": "started"}), flush=True)
            signal.setitimer(signal.ITIMER_PROF, SECONDS)  # their signals end the process
            signal.setitimer(signal.ITIMER_REAL, 10 * SECONDS)
            found = case(sandboxes[name], random.Random(f"{seed}/{index}"))
            for timer in (signal.ITIMER_PROF, signal.ITIMER_REAL):
                signal.setitimer(timer, 0)
            print(json.dumps(start | found), flush=True)


if __name__ == "__main__":
    main()
