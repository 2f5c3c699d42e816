"""The command line's `data`, run as a person runs it."""

import functools
import hashlib
import http.server
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fcn_tutorial.cli import main
from fcn_tutorial.datasets import sources
from fcn_tutorial.datasets.source import Remote


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Twelve photos and black and white masks."""
    generator = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for i in range(12):
        pixels = generator.integers(0, 256, (20, 30, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{i}.jpg")
        labels = (generator.random((20, 30)) < 0.5).astype(np.uint8) * 255
        Image.fromarray(labels).save(tmp_path / "masks" / f"{i}.png")
    (tmp_path / "colours.csv").write_text("name,r,g,b\nground,0,0,0\ncat,255,255,255\n")
    return tmp_path


def folder_options(own: Path) -> list[str]:
    options = ["--images", str(own / "images"), "--masks", str(own / "masks")]
    return [*options, "--colours", str(own / "colours.csv")]


def test_the_list_has_a_line_for_each_data_set(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "list"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["name", "on", "disk", "classes", "source", "licence"]
    assert [line.split()[0] for line in lines] == list(sources.SOURCES)
    (nyud,) = (line for line in lines if line.startswith("nyud"))
    assert nyud.split()[1:4] == ["3.0", "GB", "40"]


@pytest.mark.parametrize("name", sources.SOURCES)
def test_all_about_one(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "list", name]) == 0
    text = capsys.readouterr().out
    source = sources.get(name)
    assert source.licence in text and source.citation in text
    assert all(file.urls[0] in text and (file.md5 or "") in text for file in source.files)


def test_ones_own_folder_is_checked(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", "folder", *folder_options(own)]) == 0
    text = capsys.readouterr().out
    assert "train: " in text and "val: " in text and "no problems found" in text
    assert any(line.startswith("cat ") for line in text.splitlines())
    broken = own / "masks" / "3.png"
    broken.write_bytes(broken.read_bytes()[:50])
    assert main(["data", "check", "folder", *folder_options(own)]) == 1
    streams = capsys.readouterr()
    assert "problem: " in streams.out and "3.png" in streams.out
    assert streams.err.strip() == "fcn-tutorial: folder: 1 problem"


def test_masks_in_black_and_white_are_told_what_to_do(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [*folder_options(own)[:4], "--classes", "ground, cat"]
    assert main(["data", "check", "folder", *options]) == 1
    error = capsys.readouterr().err
    assert "give --set data.colours=ground=0,cat=255" in error


def test_a_preview_is_a_sheet_with_a_legend(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = own / "new" / "sheet.png"
    arguments = ["data", "preview", "folder", *folder_options(own), "--out", str(out)]
    assert main([*arguments, "--count", "3"]) == 0
    assert "3 of 12 images" in capsys.readouterr().out
    with Image.open(out) as sheet:
        assert sheet.format == "PNG" and sheet.width > 500 and sheet.height > 400
        colours = {tuple(c) for c in np.array(sheet.convert("RGB")).reshape(-1, 3)[::7].tolist()}
    assert (0, 0, 0) in colours and (255, 255, 255) in colours


def test_scenes_can_be_previewed_without_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "scenes.png"
    assert main(["data", "preview", "scenes", "--out", str(out), "--count", "2"]) == 0
    assert out.is_file()


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """CamVid's source, with an archive on a server of our own."""
    site = tmp_path / "site"
    site.mkdir()
    with zipfile.ZipFile(site / "a.zip", "w") as archive:
        archive.writestr("top/train.txt", "")
    digest = hashlib.md5((site / "a.zip").read_bytes()).hexdigest()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(site))
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *a: None)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    file = Remote(
        (f"http://127.0.0.1:{server.server_port}/a.zip",), "a.zip", None, digest,
        (("top/", "CamVid"),),
    )  # fmt: skip
    entry = replace(sources.get("camvid"), files=(file,))
    monkeypatch.setitem(sources.SOURCES, "camvid", entry)
    yield
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_download_ends_where_the_reader_looks(
    toy: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    assert main(["data", "download", "camvid", "--to", str(data)]) == 0
    assert "checksum right" in (text := capsys.readouterr().out)
    assert f"fcn-tutorial data check camvid {data}" in text
    assert [p.name for p in (data / "CamVid").iterdir()] == ["train.txt"]
    assert main(["data", "download", "camvid", "--to", str(data)]) == 0
    assert "already there" in capsys.readouterr().out


def test_the_folder_may_come_from_the_environment(
    toy: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FCN_DATA", str(tmp_path / "data"))
    assert main(["data", "download", "camvid"]) == 0
    assert (tmp_path / "data" / "CamVid" / "train.txt").is_file()


MADE = {name: [name] for name, source in sources.SOURCES.items() if source.writer}
MADE["voc"] += ["voc2011", "voc2012", "sbd"]


@pytest.mark.parametrize("name", MADE)
def test_what_is_made_is_accepted_by_the_check(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    into = str(tmp_path / "data")
    assert main(["data", "make", name, into, "--n", "4", "--size", "48x64", "--seed", "5"]) == 0
    said = capsys.readouterr().out
    assert f"`fcn-tutorial data check {name} {into}` reads it" in said
    for made in MADE[name]:
        assert main(["data", "check", made, into]) == 0
        text = capsys.readouterr().out
        assert "no problems found" in text and "counts are not compared" in text
        split = sources.get(made).parts[0]
        assert main(["data", "check", made, into, "--split", split]) == 0
        images = 8 if split == "train" and made in ("sbd", "voc") else 4
        images = 16 if made == "isbi-em" else images  # as in reality, four times as many as others
        assert capsys.readouterr().out.startswith(f"{split}: {images} images\n")
        assert main(["data", "preview", made, into, "--out", str(tmp_path / "x.png")]) == 0
        capsys.readouterr()
    assert main(["data", "make", name, into, "--n", "1", "--size", "48x64"]) == 1
    assert "is there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["list", "camvit"], "no data set 'camvit'; did you mean camvid?"),
        (["download", "vocs"], "did you mean voc"),
        (["download", "scenes", "--to", "x"], "scenes: nothing to download"),
        (["download", "camvid"], "name the data folder: give --to DIR, or set FCN_DATA"),
        (["check", "camvid"], "camvid: name the data folder"),
        (["check", "camvid", "--images", "a"], "camvid has no setting images"),
        (["check", "camvid", "/nowhere"], "/nowhere: no such folder"),
        (["check", "scenes"], "there are no files to check"),
        (["check", "camvid", ".", "--split", "all"], "split='all' is not one of train, val, test"),
        (["preview", "nyud", ".", "--out", "x.png"], "nyu_depth_v2_labeled.mat not found"),
        (["check", "folder", "--images", "a", "--masks", "b"], "images=a: no such folder"),
        (
            ["make", "voc2013", "x"],
            "no data set 'voc2013'; did you mean voc2012 or",
        ),
        (["make", "scenes", "x"], "scenes has no layout to write; there are camvid, voc2011,"),
        (["make", "nyud", "x", "--size", "64x64"], "size=(64, 64): NYUDv2's frames are 3:4"),
        (["make", "camvid", "x", "--n", "0"], "n=0: ask for at least one scene"),
        (["make", "camvid"], "name the data folder: give DIR, or set FCN_DATA"),
    ],
)
def test_an_error_is_one_clear_line_and_status_one(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FCN_DATA", raising=False)
    assert main(["data", *arguments]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("fcn-tutorial: ") and message in error


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fetch"],
        ["download"],
        ["preview", "camvid", "."],
        ["preview", "scenes", "--out", "x.jpg"],
        ["preview", "scenes", "--out", "x.png", "--count", "0"],
        ["make"],
        ["make", "camvid", "x", "--size", "64"],
        ["make", "camvid", "x", "--size", "64x-64"],
        ["make", "camvid", "x", "--n", "some"],
    ],
)
def test_wrong_usage_exits_with_two(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["data", *arguments])
    assert stop.value.code == 2
