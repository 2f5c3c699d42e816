"""The readers all data sets share: right values from good files, one clear error from bad ones."""

import contextlib
import os
import struct
import tracemalloc
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fcn_tutorial.datasets.formats import images, mat
from fcn_tutorial.datasets.formats.images import MAX_PIXELS, read_image, read_index_image, sample
from fcn_tutorial.datasets.formats.mat import read_mat
from fcn_tutorial.files import inside, numbered_lines, read_lines
from fcn_tutorial.models.backbones import read_tensors
from tests.datasets.bombs import png_chunk
from tests.datasets.damage import declare_png

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (9, 14, 3), np.uint8)
LABELS = RNG.integers(0, 256, (9, 14), np.uint8)
LABELS[0, :2] = 0, 255


# --- images ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["png", "bmp", "tiff", "webp", "ppm"])
def test_lossless_formats_give_the_pixels_saved(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    Image.fromarray(PIXELS).save(path, **({"lossless": True} if kind == "webp" else {}))
    assert np.array_equal(read_image(path), PIXELS)


def test_every_eight_bit_mode_becomes_rgb(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(LABELS).save(path)
    assert np.array_equal(read_image(path), np.repeat(LABELS[..., None], 3, 2))
    alpha = np.concatenate([PIXELS, LABELS[..., None]], 2)
    Image.fromarray(alpha).save(path)
    assert np.array_equal(read_image(path), PIXELS)
    paletted = Image.fromarray(PIXELS).quantize(256)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        paletted.save(path, transparency=bytes(range(100)))
        assert np.array_equal(read_image(path), np.array(paletted.convert("RGB")))
    Image.fromarray(LABELS > 99).save(path)
    assert np.array_equal(read_image(path)[..., 0] == 255, LABELS > 99)


def test_exif_orientation_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "turned.png"
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.fromarray(PIXELS).save(path, exif=exif)
    assert np.array_equal(read_image(path), PIXELS)


@pytest.mark.parametrize("mode", ["P", "L", "1", "I;16", "I"])
def test_label_numbers_come_back_whatever_holds_them(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a.tiff"
    stored = LABELS > 99 if mode == "1" else LABELS
    image = Image.fromarray(
        stored.astype({"I;16": np.uint16, "I": np.int32}.get(mode, stored.dtype))
    )
    if mode == "P":
        path = tmp_path / "a.png"
        image.putpalette(RNG.integers(0, 256, 768, np.uint8).tobytes())
    assert image.mode == mode
    image.save(path)
    read = read_index_image(path)
    assert read.dtype == np.uint8 and np.array_equal(read, stored)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (PIXELS, "mode RGB, expected a palette"),
        (np.dstack([PIXELS, LABELS]), "mode RGBA, expected a palette"),
        (LABELS.astype(np.float32), "mode F, expected a palette"),
        (LABELS.astype(np.uint16) * 9, "label numbers 0 to 2295, expected 0 to 255"),
        (LABELS.astype(np.int32) - 1, "label numbers -1 to 254, expected 0 to 255"),
    ],
)
def test_images_that_hold_no_labels_are_refused(
    tmp_path: Path, pixels: np.ndarray, message: str
) -> None:
    path = tmp_path / "a.tiff"
    Image.fromarray(pixels).save(path)
    with pytest.raises(ValueError, match=rf"a\.tiff: not a readable image .*{message}"):
        read_index_image(path)


def _png(width: int, height: int, depth: int, colour: int, data: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(data)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def test_grey_of_four_bits_is_ambiguous(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(_png(2, 1, 4, 0, b"\0\x12"))
    with pytest.raises(ValueError, match="grey of 2 or 4 bits"):
        read_index_image(path)
    assert read_image(path).shape == (1, 2, 3)


def test_sixteen_bit_pictures_are_refused_rather_than_clipped(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(LABELS.astype(np.uint16) * 200).save(path)
    with pytest.raises(ValueError, match=r"mode I.*: save it with 8 bits a channel"):
        read_image(path)


@pytest.mark.parametrize("read", [read_image, read_index_image])
def test_a_huge_declared_size_is_refused_before_decoding(
    tmp_path: Path, read: Callable[[Path], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(LABELS).save(path)
    whole = path.read_bytes()
    path.write_bytes(declare_png(whole, 1 << 20, 1 << 20))
    with pytest.raises(ValueError, match=r"a\.png: not a readable image"):
        read(path)
    path.write_bytes(declare_png(whole, MAX_PIXELS // 8 + 1, 8))
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with (
        warnings.catch_warnings(action="ignore"),  # Pillow warns from 89 million pixels
        pytest.raises(ValueError, match=r"16777217×8 is more than 134217728 pixels"),
    ):
        read(path)


def test_a_png_too_small_for_its_pixels_is_refused_and_the_emptiest_sound_one_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One bit a pixel, all black: deflate packs nothing closer."""
    path = tmp_path / "a.png"
    Image.new("1", (8192, 4096)).save(path, compress_level=9)
    assert path.stat().st_size < 1.1 * 4096 * (1 + 8192 / 8) / 1032 + 100
    assert not read_index_image(path).any()
    sound = path.read_bytes()
    path.write_bytes(declare_png(sound, 8192, 16384))
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with (
        warnings.catch_warnings(action="ignore"),  # Pillow warns from 89 million pixels
        pytest.raises(ValueError, match=r"a\.png: .*bytes cannot hold 8192×16384 pixels"),
    ):
        read_image(path)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "LA", "RGBA", "I;16"])
def test_a_png_whose_pixels_end_early_is_refused_and_a_black_last_row_read(
    tmp_path: Path, mode: str
) -> None:
    """Pillow would leave zeros in the rows that are not there: class 0, or black."""
    path = tmp_path / "a.png"
    read = read_index_image if mode in ("1", "L", "P", "I;16") else read_image
    picture = Image.fromarray(PIXELS).convert("L" if mode == "I;16" else mode)
    picture.paste(0, (0, 5, 14, 9))
    picture.convert(mode).save(path)
    assert not read(path)[-1].any()
    path.write_bytes(declare_png(path.read_bytes(), 14, 10))
    assert not np.asarray(Image.open(path))[-1].any()  # as Pillow has it
    with pytest.raises(ValueError, match=r"a\.png: .*its pixels end before the last of 10 rows"):
        read(path)


@pytest.mark.parametrize("size", [(14, 9), (5, 12), (1, 3), (9, 1), (3, 2)])
def test_an_interlaced_png_is_read_whole_or_refused(tmp_path: Path, size: tuple[int, int]) -> None:
    """Its seven passes, written here from the specification (section 8.2); the last is cut off."""
    width, height = size
    labels = np.resize(LABELS, (height, width)) | 1
    order = "16462646 77777777 56565656 77777777 36463646 77777777 56565656 77777777"
    passes = np.array([list(row) for row in order.split()])
    number = passes[np.arange(height)[:, None] % 8, np.arange(width) % 8]
    rows = [
        b"\0" + labels[y, number[y] == step].tobytes()
        for step in "1234567"
        for y in range(height)
        if (number[y] == step).any()
    ]
    path = tmp_path / "a.png"
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 1))
    for kept, sound in ((rows, True), (rows[:-1], False)):
        data = zlib.compress(b"".join(kept))
        parts = [png_chunk(b"IDAT", data[:9]), png_chunk(b"IDAT", data[9:])]
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + b"".join(parts) + png_chunk(b"IEND", b""))
        if sound:
            assert np.array_equal(read_index_image(path), labels)
        else:
            with pytest.raises(ValueError, match=r"a\.png: not a readable image"):
                read_index_image(path)


def test_a_part_that_claims_four_gigabytes_gets_no_room_for_them(tmp_path: Path) -> None:
    """Of a PNG, whose parts begin with their length; the room would be made before reading."""
    path = tmp_path / "a.png"
    Image.fromarray(LABELS).save(path)
    sound = path.read_bytes()
    at = sound.find(b"IDAT") - 4
    path.write_bytes(sound[:at] + b"\xff" + sound[at + 1 :])
    tracemalloc.start()
    with contextlib.suppress(ValueError):  # Pillow may have all pixels before it misses the rest
        read_image(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 24


def test_a_text_in_old_weights_that_claims_four_gigabytes_gets_no_room_for_them(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(b"\x80\x02X\xff\xff\xff\xff" + bytes(99))  # a pickle: text, its length
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"a\.pth': not a readable PyTorch file"):
        read_tensors(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 24


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_too_small_for_its_pixels_is_refused_and_the_emptiest_sound_one_read(
    tmp_path: Path, progressive: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One grey, the best Huffman tables: nothing sound holds fewer bytes for so many pixels."""
    path = tmp_path / "a.jpg"
    grey = Image.new("L", (1600, 1600), 128)
    grey.save(path, optimize=True, progressive=progressive)
    assert read_image(path).shape == (1600, 1600, 3)
    sound = path.read_bytes()
    at = max(sound.find(b"\xff\xc0"), sound.find(b"\xff\xc2")) + 5  # of the frame header: rows
    assert struct.unpack_from(">HH", sound, at) == (1600, 1600)
    path.write_bytes(sound[:at] + struct.pack(">HH", 10_000, 10_000) + sound[at + 4 :])
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with (
        warnings.catch_warnings(action="ignore"),  # Pillow warns from 89 million pixels
        pytest.raises(ValueError, match=r"a\.jpg: .*\d+ bytes cannot hold 10000×10000 pixels"),
    ):
        read_image(path)


@pytest.mark.parametrize("read", [read_image, read_index_image, read_mat, read_lines])
def test_a_missing_file_or_a_folder_is_not_found(
    tmp_path: Path, read: Callable[[Path], Any]
) -> None:
    for path in (tmp_path / "gone", tmp_path, tmp_path / ("n" * 300), tmp_path / "a\0b"):
        with pytest.raises(FileNotFoundError, match="not found"):
            read(path)


@pytest.mark.parametrize("kind", ["eps", "pcx", "tga", "sgi", "ico", "jp2", "pdf"])
@pytest.mark.parametrize("read", [read_image, read_index_image])
def test_only_the_promised_formats_are_opened(
    tmp_path: Path, kind: str, read: Callable[[Path], Any]
) -> None:
    saved, path = tmp_path / f"a.{kind}", tmp_path / "a.jpg"
    Image.fromarray(PIXELS).save(saved)
    saved.rename(path)  # whatever it is called
    with pytest.raises(ValueError, match=r"a\.jpg: not a readable image \(no PNG, .* or PPM file"):
        read(path)


def _deep_tiff() -> bytes:
    """A 2×1 TIFF of RGB with 16 bits a channel, uncompressed; Pillow writes none."""
    pixels = struct.pack("<6H", 256, 512, 768, 1, 2, 3)
    tags = [(256, 3, 1, 2), (257, 3, 1, 1), (258, 3, 3, 134), (259, 3, 1, 1), (262, 3, 1, 2),
            (273, 4, 1, 140), (277, 3, 1, 3), (278, 3, 1, 1), (279, 4, 1, len(pixels))]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", 0)
    return head.ljust(134, b"\0") + struct.pack("<3H", 16, 16, 16) + pixels


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.png", _png(2, 1, 16, 2, b"\0" + bytes(range(12)))),
        ("a.png", _png(2, 1, 16, 6, b"\0" + bytes(range(16)))),
        ("a.png", _png(2, 1, 16, 4, b"\0" + bytes(range(8)))),
        ("a.tif", _deep_tiff()),
        ("a.ppm", b"P6 2 1 65535\n" + bytes(range(12))),
    ],
    ids=["png rgb", "png rgba", "png grey and alpha", "tiff", "ppm"],
)
def test_sixteen_bits_a_channel_are_refused_rather_than_halved(
    tmp_path: Path, name: str, content: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with Image.open(path) as image:
        assert image.size == (2, 1)
        image.load()  # Pillow reads it, without a word
    with pytest.raises(ValueError, match=r"save it with 8 bits a channel"):
        read_image(path)


@pytest.mark.parametrize("mode", ["RGB", "P", "L", "RGBA", "CMYK"])
def test_bands_of_a_large_picture_are_those_of_the_whole(
    tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.tif"
    picture = Image.fromarray(PIXELS).convert(mode)
    picture.save(path)
    monkeypatch.setattr(images, "_BAND", 2 * PIXELS.shape[1] + 1)
    assert np.array_equal(read_image(path), np.asarray(picture.convert("RGB")))
    if mode in ("P", "L"):
        assert np.array_equal(read_index_image(path), np.asarray(picture))


# --- lists and paths ------------------------------------------------------------------------------


def test_lines_are_stripped_and_numbered(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeff a \r\n\r\n\tb c\nä".encode())
    assert read_lines(path) == ["a", "b c", "ä"]
    assert numbered_lines(path) == [(1, "a"), (3, "b c"), (4, "ä")]
    path.write_bytes(b"a\n\xe4")
    with pytest.raises(ValueError, match=r"a\.txt: not a readable UTF-8 list"):
        read_lines(path)


def test_a_list_of_gigabytes_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # sparse: takes no disk
    with pytest.raises(ValueError, match="larger than 67108864 bytes"):
        read_lines(path)


@pytest.mark.parametrize(
    "name", ["a", "a/b.png", "./a", r"a\b.png", "a..b", "..a/b", "ä ö.png", "a/./b"]
)
def test_paths_below_the_folder_are_joined(tmp_path: Path, name: str) -> None:
    joined = inside(tmp_path, name)
    assert joined == tmp_path.joinpath(*name.replace("\\", "/").split("/"))


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "/a",
        "//a/b",
        "../a",
        "a/../../b",
        "a/..",
        r"..\a",
        r"\a",
        r"\\host\a",
        "C:a",
        r"C:\a",
        "a\0b",
    ],
)
def test_paths_that_leave_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"^list\.txt, line 7: .* is no path below"):
        inside(tmp_path, name, "list.txt, line 7")


@given(st.text(st.sampled_from("ab./\\:\0 C~"), max_size=12))
@settings(max_examples=300, deadline=None)
def test_no_text_leads_out_of_the_folder(name: str) -> None:
    root = Path("/data/set")
    try:
        joined = inside(root, name)
    except ValueError:
        return
    assert os.path.commonpath([os.path.normpath(joined), root]) == str(root)


def test_links_that_lead_out_are_refused_and_others_followed(tmp_path: Path) -> None:
    root = tmp_path / "link to set"
    (tmp_path / "set" / "kept").mkdir(parents=True)
    root.symlink_to(tmp_path / "set")
    (root / "within").symlink_to(root / "kept")
    (root / "out").symlink_to(tmp_path)
    (root / "up.png").symlink_to(tmp_path / "secret.png")
    (root / "loop").symlink_to(root / "loop")
    assert inside(root, "within/a.png") == root / "within" / "a.png"
    for name in ("out/secret.png", "up.png"):
        with pytest.raises(ValueError, match="is a link out of"):
            inside(root, name)
    with pytest.raises(FileNotFoundError):
        read_image(inside(root, "loop"))


def test_a_sample_is_the_pair_in_torchvisions_types() -> None:
    image, mask = sample(PIXELS, LABELS)
    assert np.array_equal(image.permute(1, 2, 0).numpy(), PIXELS)
    assert np.array_equal(mask.numpy(), LABELS)
    assert (type(image).__name__, type(mask).__name__) == ("Image", "Mask")
    assert sample(PIXELS, LABELS, lambda image, mask: (mask, image))[1].shape == (3, 9, 14)
    with pytest.raises(
        ValueError, match=r"b\.png: \(9, 13\) labels for \(9, 14\) pixels of a\.jpg"
    ):
        sample(PIXELS, LABELS[:, 1:], None, (Path("a.jpg"), Path("b.png")))


# --- MATLAB ---------------------------------------------------------------------------------------


def _same(read: Any, expected: Any) -> bool:
    if scipy.sparse.issparse(expected):
        return bool(read.shape == expected.shape and (read != expected).nnz == 0)
    if expected is None or read is None:
        return read is expected
    if read.shape != expected.shape:
        return False
    if expected.dtype.names:
        return bool(read.dtype.names == expected.dtype.names) and all(
            _same(read[name], expected[name]) for name in expected.dtype.names
        )
    if expected.dtype == object:
        return all(map(_same, read.flat, expected.flat))
    return bool(read.dtype == expected.dtype.newbyteorder("=") and (read == expected).all())


def _variables() -> dict[str, Any]:
    cell = np.empty((2, 3), object)
    for i in range(6):
        cell.flat[i] = [np.arange(i), "ab", scipy.sparse.csc_matrix(np.eye(4, 5)), {"x": 2.5}][
            i % 4
        ]
    return {
        "labels": LABELS,
        "solid": np.arange(24, dtype=np.int16).reshape(2, 3, 4),
        "depth": RNG.random((3, 2)).astype(np.float32),
        "flag": np.array([[True, False]]),
        "text": np.array(["sky", "road ", "ä"]),
        "empty": np.zeros((0, 3)),
        "nothing": "",
        "cell": cell,
        "struct": {"Segmentation": LABELS, "inner": {"name": "x", "n": np.uint8(3)}},
        "sparse": scipy.sparse.csc_matrix(LABELS[:6] > 128),
    }


@pytest.mark.parametrize("compressed", [False, True])
def test_mat_values_are_scipys(tmp_path: Path, compressed: bool) -> None:
    path = tmp_path / "a.mat"
    scipy.io.savemat(path, _variables(), do_compression=compressed)
    expected = {k: v for k, v in scipy.io.loadmat(path).items() if not k.startswith("__")}
    read = read_mat(path)
    assert list(read) == list(expected) == list(_variables())
    for name, value in expected.items():
        assert _same(read[name], value), name


FOREIGN = Path(scipy.io.__file__).parent / "matlab" / "tests" / "data"
# What MATLAB itself wrote, on three platforms and in both byte orders; comes with SciPy's tests.
FROM_MATLAB = [
    path
    for pattern in (
        "cell",
        "struct",
        "structarr",
        "sparse",
        "string",
        "matrix",
        "3dmatrix",
        "unicode",
    )
    for path in sorted(FOREIGN.glob(f"test{pattern}_[67]*.mat"))
]


@pytest.mark.skipif(not FROM_MATLAB, reason="this SciPy comes without its test data")
def test_files_matlab_wrote_are_read_as_scipy_reads_them() -> None:
    read = 0
    for path in FROM_MATLAB:
        expected = {k: v for k, v in scipy.io.loadmat(path).items() if not k.startswith("__")}
        try:
            values = read_mat(path)
        except ValueError as error:
            assert "complex numbers" in str(error)
            continue
        assert list(values) == list(expected)
        assert all(_same(values[name], expected[name]) for name in expected), path
        read += 1
    assert read >= 15


@pytest.mark.skipif(not (FOREIGN / "logical_sparse.mat").exists(), reason="no SciPy test data")
def test_sparse_logicals_with_matlabs_wrong_tag_are_read() -> None:
    path = FOREIGN / "logical_sparse.mat"  # SBD's boundaries are of this kind
    assert _same(read_mat(path)["sp_log_5_4"], scipy.io.loadmat(path)["sp_log_5_4"])


def _element(kind: int, content: bytes) -> bytes:
    return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)


def _array(kind: int, sizes: tuple[int, ...], *parts: bytes, flags: int = 0) -> bytes:
    head = _element(6, struct.pack("<II", kind | flags, 0))
    head += _element(5, struct.pack(f"<{len(sizes)}i", *sizes)) + _element(1, b"a")
    return _element(14, head + b"".join(parts))


def _mat_file(*elements: bytes, version: bytes = b"\0\1IM") -> bytes:
    return b"MATLAB 5.0 MAT-file".ljust(124) + version + b"".join(elements)


def _nested(depth: int) -> bytes:
    array = _array(9, (1, 1), _element(2, b"\7"))
    for _ in range(depth):
        array = _array(1, (1, 1), array)
    return array


def _sparse(rows: list[int], ends: list[int], sizes: tuple[int, int]) -> bytes:
    numbers = (_element(5, np.array(n, "<i4").tobytes()) for n in (rows, ends))
    return _array(5, sizes, *numbers, _element(9, np.ones(len(rows)).tobytes()))


def test_the_elements_written_here_are_sound(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    for element in (_nested(16), _sparse([0, 2, 1], [0, 2, 3], (3, 2)), _packed(_solid(999))):
        path.write_bytes(_mat_file(element))
        assert _same(read_mat(path)["a"], scipy.io.loadmat(path)["a"])


def _solid(n: int) -> bytes:
    return _array(9, (1, n), _element(2, bytes(n)))


def _packed(array: bytes, end: int | None = None) -> bytes:
    """A compressed element, which MATLAB does not fill up to eight bytes."""
    content = zlib.compress(array)[:end]
    return struct.pack("<II", 15, len(content)) + content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no header of a MATLAB 5 file"),
        (bytes(200), "no header of a MATLAB 5 file"),
        (b"\x89HDF\r\n\x1a\n" + bytes(200), r"MATLAB 7\.3 \(HDF5\).*save it with -v7"),
        (_mat_file(version=b"\0\2IM"), r"MATLAB 7\.3 \(HDF5\)"),
        (_mat_file(b"abc"), "ends inside an element"),
        (_mat_file(struct.pack("<II", 14, 1 << 31)), "2147483648 bytes where 0 are left"),
        (_mat_file(_element(9, bytes(8))), "type 9 where an array was expected"),
        (_mat_file(_element(14, bytes(8))), "without flags, sizes and name"),
        (_mat_file(_array(9, (1 << 30, 1 << 30), _element(2, b"\7"))), "array of sizes"),
        (_mat_file(_array(9, (-1, 1), _element(2, b"\7"))), "array of sizes"),
        (_mat_file(_array(9, (2, 2), _element(2, b"\7"))), "cannot reshape"),
        (_mat_file(_array(9, (1, 1), _element(99, b"\7"))), "numbers of type 99"),
        (_mat_file(_array(9, (1, 1))), "0 elements of numbers"),
        (_mat_file(_array(9, (1, 1), _element(2, b"\7"), flags=0x800)), "complex numbers"),
        (_mat_file(_array(1, (3, 1), _nested(0))), "1 elements where 3 arrays were expected"),
        (_mat_file(_array(4, (1, 9), _element(4, b"a\0"))), "cannot reshape"),
        (_mat_file(_array(3, (1, 1))), "an object or a function"),
        (_mat_file(_array(17, (1, 1))), "an object or a function"),
        (_mat_file(_array(2, (1, 1), _element(5, bytes(4)), _element(1, b"abc"))), "field names"),
        (_mat_file(_array(2, (2, 3), _element(5, b"\1\0\0\0"), _element(1, b""))), "no fields"),
        (_mat_file(_nested(17)), "nested deeper than 16"),
        (_mat_file(_sparse([0, 3, 1], [0, 2, 3], (3, 2))), "outside its 3 rows"),
        (_mat_file(_sparse([0, -1, 1], [0, 2, 3], (3, 2))), "outside its 3 rows"),
        (_mat_file(_sparse([0, 2, 1], [0, 3, 2], (3, 2))), "columns are out of order"),
        (_mat_file(_sparse([0, 2, 1], [0, 2, 9], (3, 2))), "less than 9 entries"),
        (_mat_file(_packed(_nested(0), -3)), "compressed data end early"),
        (_mat_file(_element(15, b"not zlib")), "decompress"),
        (_mat_file(_packed(b"")), "where an array was expected"),
        (_mat_file(_packed(_solid(1 << 22))), "contents larger than 1048576 bytes"),
        (_mat_file(*[_packed(_solid(500_000))] * 3), "contents larger than 1048576 bytes"),
        (_mat_file(_array(1, (2000, 1), *[_element(14, b"")] * 2000)), "more than 1000 elements"),
        (_mat_file(bytes(2 << 20)), "larger than 1048576 bytes"),
    ],
)  # fmt: skip
def test_damaged_mat_files_are_refused(
    tmp_path: Path, content: bytes, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mat, "MAX_MAT_BYTES", 1 << 20)
    monkeypatch.setattr(mat, "_MAX_ELEMENTS", 1000)
    path = tmp_path / "a.mat"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"a\.mat: not a readable \.mat file .*{message}"):
        read_mat(path)


def test_inflating_stops_at_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mat, "MAX_MAT_BYTES", 1 << 20)
    path = tmp_path / "bomb.mat"
    path.write_bytes(_mat_file(_packed(_solid(1 << 26))))
    tracemalloc.start()
    with pytest.raises(ValueError, match="contents larger than"):
        read_mat(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 23  # a few copies of the limit; the contents have 64 MiB
