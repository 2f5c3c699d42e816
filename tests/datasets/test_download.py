"""Downloads, against a server of our own that cuts, lies and refuses."""

import gzip
import hashlib
import http.server
import io
import re
import stat
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from fcn_tutorial.datasets import CamVid
from fcn_tutorial.datasets import download as module
from fcn_tutorial.datasets.download import Unreachable, download, fetch, unpack
from fcn_tutorial.datasets.source import Remote, Source
from fcn_tutorial.datasets.sources import SOURCES, get

CONTENT = bytes(range(256)) * 900  # 230,400 bytes


class Server(http.server.BaseHTTPRequestHandler):
    """Serves `files`; every answer stops after `cut` bytes while `cuts` lasts."""

    files: ClassVar[dict[str, bytes]] = {}
    tag: ClassVar[str] = '"one"'
    cut: ClassVar[int] = 10**9
    cuts: ClassVar[int] = 0
    ranges: ClassVar[bool] = True
    lengths: ClassVar[bool] = True
    pause: ClassVar[float] = 0  # seconds after each 1000 bytes
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        cls = type(self)
        cls.asked.append(self.headers.get("Range", "all"))
        if self.path not in cls.files:
            self.send_error(404, "gone")
            return
        whole = cls.files[self.path]
        start = 0
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if wanted and cls.ranges and self.headers.get("If-Range") == cls.tag:
            start = int(wanted[1])
        if start >= len(whole):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(whole)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = whole[start:]
        if cls.cuts > 0:  # decided before the client hears of anything: it may change its mind
            cls.cuts -= 1
            body = body[: cls.cut]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(whole) - 1}/{len(whole)}")
        if cls.lengths:
            self.send_header("Content-Length", str(len(whole) - start))
        self.send_header("ETag", cls.tag)
        self.end_headers()
        step = 1000 if cls.pause else max(1, len(body))
        for at in range(0, len(body), step):
            try:
                self.wfile.write(body[at : at + step])
            except OSError:
                return  # nobody listens any more
            time.sleep(cls.pause)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[type[Server]]:
    class Fresh(Server):
        files: ClassVar[dict[str, bytes]] = {"/data.bin": CONTENT}
        asked: ClassVar[list[str]] = []

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Fresh)
    Fresh.base = f"http://127.0.0.1:{running.server_port}"  # type: ignore[attr-defined]
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield Fresh
    running.shutdown()
    running.server_close()
    thread.join()


def remote(server: type[Server], name: str = "data.bin", **options: object) -> Remote:
    return Remote((f"{server.base}/{name}",), name, **options)  # type: ignore[arg-type, attr-defined]


def md5(data: bytes) -> str:
    return hashlib.md5(data).hexdigest()


# Fetching


def test_a_file_arrives_whole_and_leaves_nothing_beside_it(
    server: type[Server], tmp_path: Path
) -> None:
    path = fetch(remote(server, md5=md5(CONTENT)), tmp_path)
    assert path.read_bytes() == CONTENT
    assert [p.name for p in tmp_path.iterdir()] == ["data.bin"]
    fetch(remote(server), tmp_path)
    assert server.asked == ["all"]  # what is there is not asked for again


def test_a_cut_connection_is_taken_up_where_it_broke(server: type[Server], tmp_path: Path) -> None:
    server.cut, server.cuts = 100_000, 2
    assert fetch(remote(server, md5=md5(CONTENT)), tmp_path).read_bytes() == CONTENT
    assert server.asked == ["all", "bytes=100000-", "bytes=200000-"]


def test_a_later_command_goes_on_from_what_an_earlier_one_got(
    server: type[Server], tmp_path: Path
) -> None:
    server.cut, server.cuts = 20_000, 4
    with pytest.raises(Unreachable, match="the connection was cut"):
        fetch(remote(server), tmp_path)
    assert (tmp_path / "data.bin.part").stat().st_size == 80_000
    assert not (tmp_path / "data.bin").exists()
    assert fetch(remote(server), tmp_path).read_bytes() == CONTENT
    assert server.asked[-1] == "bytes=80000-"


def test_a_file_that_changed_at_the_source_is_begun_anew(
    server: type[Server], tmp_path: Path
) -> None:
    server.cut, server.cuts = 20_000, 4
    with pytest.raises(Unreachable):
        fetch(remote(server), tmp_path)
    server.files["/data.bin"], server.tag = CONTENT[::-1], '"two"'
    assert fetch(remote(server), tmp_path).read_bytes() == CONTENT[::-1]


def test_a_server_without_ranges_is_asked_for_all_of_it(
    server: type[Server], tmp_path: Path
) -> None:
    server.ranges, server.cut, server.cuts = False, 50_000, 1
    assert fetch(remote(server), tmp_path).read_bytes() == CONTENT


def test_a_part_of_unknown_origin_is_not_built_upon(server: type[Server], tmp_path: Path) -> None:
    (tmp_path / "data.bin.part").write_bytes(b"x" * 1000)
    assert fetch(remote(server), tmp_path).read_bytes() == CONTENT
    assert server.asked == ["all"]


@pytest.mark.parametrize("extra", [b"", b"more"])
def test_a_part_that_is_complete_or_too_long(
    server: type[Server], tmp_path: Path, extra: bytes
) -> None:
    (tmp_path / "data.bin.part").write_bytes(CONTENT + extra)
    (tmp_path / "data.bin.part.tag").write_text(server.tag)
    assert fetch(remote(server), tmp_path).read_bytes() == CONTENT
    assert len(server.asked) == (2 if extra else 1)


def test_a_wrong_checksum_is_refused_and_removed(server: type[Server], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.bin: its md5 is .*expected 0{32}.*try again"):
        fetch(remote(server, md5="0" * 32), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_second_address_helps_where_the_first_does_not(
    server: type[Server], tmp_path: Path
) -> None:
    base = server.base  # type: ignore[attr-defined]
    both = Remote((f"{base}/nothing", f"{base}/data.bin"), "data.bin")
    assert fetch(both, tmp_path).read_bytes() == CONTENT


def test_an_absurd_size_is_refused_before_it_is_fetched(
    server: type[Server], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="230,400 bytes, more than the 1,000"):
        fetch(remote(server), tmp_path, limit=1000)
    assert not (tmp_path / "data.bin.part").exists()


def test_a_full_disk_is_said_before_it_happens(
    server: type[Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.shutil, "disk_usage", lambda folder: type("U", (), {"free": 10}))
    with pytest.raises(ValueError, match="230,400 bytes to come, 10 are free; make room"):
        fetch(remote(server), tmp_path)


# A data set


def entry(*files: Remote) -> Source:
    return Source("toy", "a toy", CamVid, files=files)


def packed(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def test_a_data_set_is_fetched_unpacked_and_left_alone_the_second_time(
    server: type[Server], tmp_path: Path
) -> None:
    server.files["/a.zip"] = packed(**{"top/in/x.txt": b"x", "top/in/y/z.txt": b"z", "else": b"-"})
    toy = entry(
        remote(server, "a.zip", md5=md5(server.files["/a.zip"]), unpack=(("top/in/", "toy"),)),
        remote(server, "data.bin", into="more/"),
    )
    said: list[str] = []
    made = download(toy, tmp_path, said.append)
    assert made == [tmp_path / "toy", tmp_path / "more" / "data.bin"]
    files = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    assert files == {"toy/x.txt", "toy/y/z.txt", "more/data.bin"}
    assert "checksum right" in said[0] and "no checksum is known" in said[1]
    assert download(toy, tmp_path, said.append) == []
    assert len(server.asked) == 2 and "already there" in said[-1]


def test_a_host_that_is_down_gets_the_steps_to_take_by_hand(tmp_path: Path) -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), Server) as closed:
        url = f"http://127.0.0.1:{closed.server_port}/a.zip"
    toy = entry(
        Remote((url,), "a.zip", unpack=(("top/", "toy"),)), Remote((url,), "b", into="toy/")
    )
    with pytest.raises(Unreachable) as caught:
        download(toy, tmp_path)
    message = str(caught.value)
    assert f"{url}: cannot be fetched" in message
    assert f"with DIR = {tmp_path}" in message
    assert f"1. save and unpack {url}, move its top/ to DIR/toy" in message
    assert f"2. save {url} as DIR/toy/b" in message
    assert f"Source: {toy.address}" in message


def test_a_refusal_is_told(server: type[Server], tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="the server answers 404 gone"):
        download(entry(remote(server, "nothing")), tmp_path)


@pytest.mark.parametrize("name", ["scenes", "folder"])
def test_there_is_nothing_to_download_for_some(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing to download"):
        download(get(name), tmp_path)


# What arrives and is not the file

PAGE = b"\n<!DOCTYPE html>\n<html><body>Please log in</body></html>" * 30


def zipped(**files: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, text in files.items():
            archive.writestr(f"top/{name}", text)
    return stream.getvalue()


@pytest.mark.parametrize("name", ["a.zip", "a.tgz", "classMapping40.mat", "train.txt"])
def test_a_login_page_instead_of_a_file_is_said_and_does_not_stay(
    server: type[Server], tmp_path: Path, name: str
) -> None:
    unpacked = (("top/", "toy"),) if name.startswith("a.") else ()
    server.files[f"/{name}"] = PAGE
    toy = entry(remote(server, name, unpack=unpacked))
    for _ in range(2):  # neither time is anything left that a later command takes for the file
        with pytest.raises(ValueError, match=rf"{name}: it is a web page, .*it is removed"):
            download(toy, tmp_path)
        assert list(tmp_path.iterdir()) == []


def test_a_page_at_one_address_does_not_keep_from_the_next(
    server: type[Server], tmp_path: Path
) -> None:
    server.files |= {"/login": PAGE, "/a.zip": zipped(x="1")}
    file = Remote(
        (f"{server.base}/login", f"{server.base}/a.zip"),
        "a.zip",
        unpack=(("top/", "toy"),),  # type: ignore[attr-defined]
    )
    download(entry(file), tmp_path)
    assert (tmp_path / "toy" / "x").read_text() == "1"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.zip", zipped(x="1")[:-30], "it is no .zip archive"),
        ("a.tar", b"nothing of the kind" * 100, "it is no .tar archive"),
        ("classMapping40.mat", b"splits", "it is no .mat file"),
    ],
    ids=["zip", "tar", "mat"],  # an archive made here holds the time
)
def test_what_is_not_what_its_name_says_is_refused_and_removed(
    server: type[Server], tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    unpacked = (("top/", "toy"),) if name.startswith("a.") else ()
    server.files[f"/{name}"] = content
    with pytest.raises(ValueError, match=message):
        fetch(remote(server, name, unpack=unpacked), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_archive_is_fetched_anew(server: type[Server], tmp_path: Path) -> None:
    good = zipped(x="1" * 1000)
    at = good.index(b"1" * 1000)
    server.files["/a.zip"] = good[:at] + b"2" + good[at + 1 :]
    toy = entry(remote(server, "a.zip", unpack=(("top/", "toy"),)))
    with pytest.raises(ValueError, match=r"damaged archive .*It is removed; the same command"):
        download(toy, tmp_path)
    server.files["/a.zip"] = good
    download(toy, tmp_path)
    assert (tmp_path / "toy" / "x").read_text() == "1" * 1000


def test_a_file_whose_end_nobody_tells_is_not_taken_for_whole(
    server: type[Server], tmp_path: Path
) -> None:
    server.lengths = False
    with pytest.raises(Unreachable, match="does not say how long it is"):
        fetch(remote(server), tmp_path)
    server.cut, server.cuts = 1000, 1
    with pytest.raises(ValueError, match=r"its md5 is .* \(1,000 bytes arrived"):
        fetch(remote(server, md5=md5(CONTENT)), tmp_path)
    assert fetch(remote(server, md5=md5(CONTENT)), tmp_path).read_bytes() == CONTENT
    with pytest.raises(ValueError, match="it is not as long as it should be"):
        fetch(remote(server, size=5), tmp_path / "other")


def test_a_server_that_trickles_is_given_up(
    server: type[Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LEAST", (0.1, 10_000))
    server.pause = 0.06
    with pytest.raises(Unreachable, match=r"bytes in 0 s"):
        fetch(remote(server), tmp_path)
    assert 0 < (tmp_path / "data.bin.part").stat().st_size < len(CONTENT)
    server.pause = 0
    assert fetch(remote(server), tmp_path).read_bytes() == CONTENT


# Archives


def a_zip(path: Path, members: dict[str, bytes], links: dict[str, str] | None = None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        for name, target in (links or {}).items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, target)
    return path


def a_tar(path: Path, members: dict[str, bytes], special: list[tarfile.TarInfo]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for info in special:
            archive.addfile(info)
    return path


ALL = (("", "out"),)


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize("suffix", [".zip", ".tgz"])
@pytest.mark.parametrize(
    "name",
    ["../evil", "a/../../evil", "/evil", "C:\\evil", "a\\..\\..\\evil", "\\evil", "//host/x/evil"],
)
def test_a_path_that_escapes_refuses_the_whole_archive(
    tmp_path: Path, name: str, suffix: str
) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    members = {"good": b"1", name: b"2"}
    path = inner / f"a{suffix}"
    _ = a_zip(path, members) if suffix == ".zip" else a_tar(path, members, [])
    before = {p for p in tmp_path.rglob("*")}
    with pytest.raises(ValueError, match=r"unsafe archive, it holds .*not unpacked"):
        unpack(path, inner, ALL)
    assert {p for p in tmp_path.rglob("*")} == before


@pytest.mark.parametrize(
    "special",
    [
        link("evil", "/etc/passwd"),
        link("evil", "good"),
        link("evil", "good", tarfile.LNKTYPE),
        link("evil", "", tarfile.FIFOTYPE),
        link("evil", "", tarfile.CHRTYPE),
    ],
    ids=["outside", "inside", "hard", "fifo", "device"],
)
def test_links_and_devices_in_a_tar_are_refused(tmp_path: Path, special: tarfile.TarInfo) -> None:
    path = a_tar(tmp_path / "a.tar", {"good": b"1"}, [special])
    with pytest.raises(ValueError, match="unsafe archive, 'evil' is a link or device"):
        unpack(path, tmp_path, ALL)
    assert [p.name for p in tmp_path.iterdir()] == ["a.tar"]


def test_links_in_a_zip_are_refused(tmp_path: Path) -> None:
    path = a_zip(tmp_path / "a.zip", {"good": b"1"}, {"evil": "/etc/passwd"})
    with pytest.raises(ValueError, match="unsafe archive, 'evil' is a link"):
        unpack(path, tmp_path, ALL)
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]


def test_a_link_that_is_not_wanted_is_left_in_the_archive(tmp_path: Path) -> None:
    path = a_tar(tmp_path / "a.tar", {"in/good": b"1"}, [link("code/evil", "/etc/passwd")])
    unpack(path, tmp_path, (("in/", "out"),))
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["good"]


@pytest.mark.parametrize("suffix", [".zip", ".tgz"])
def test_an_archive_that_swells_is_stopped(tmp_path: Path, suffix: str) -> None:
    members = {"a": bytes(5_000_000), "b": bytes(5_000_000)}
    path = tmp_path / f"a{suffix}"
    _ = a_zip(path, members) if suffix == ".zip" else a_tar(path, members, [])
    assert path.stat().st_size < 100_000
    with pytest.raises(ValueError, match="unpacks to more than 8,000,000 bytes"):
        unpack(path, tmp_path, ALL, limit=8_000_000)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_of_two_placements_the_first_that_fits_counts(tmp_path: Path) -> None:
    rules = (("Set/", "Set"), ("", "Set"))
    for number, prefix in enumerate(("Set/", "")):
        root = tmp_path / str(number)
        unpack(a_zip(tmp_path / "a.zip", {f"{prefix}x/y": b"1"}), root, rules)
        assert [p.relative_to(root).as_posix() for p in root.rglob("y")] == ["Set/x/y"]


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_folders_one_in_the_other_without_end_are_refused(tmp_path: Path, suffix: str) -> None:
    """What lies so deep cannot be removed again by what calls itself once a folder."""
    path, names = (
        tmp_path / f"a{suffix}",
        ["in/" + "a/" * depth + "x" for depth in (500, 1000, 1500)],
    )
    if suffix == ".zip":
        a_zip(path, dict.fromkeys(names, b"x"))
    else:
        with tarfile.open(path, "w") as archive:
            for name in names:
                archive.addfile(tarfile.TarInfo(name))
    with pytest.raises(ValueError, match=r"damaged archive, 502 folders lie one in the other"):
        unpack(path, tmp_path / "root", (("in/", "out"),))
    assert list((tmp_path / "root").iterdir()) == []


def test_an_archive_of_something_else_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no top/in/; is it the right archive"):
        unpack(a_zip(tmp_path / "a.zip", {"x": b"1"}), tmp_path, (("top/in/", "toy"),))


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tgz"])
def test_a_damaged_archive_is_one_error_and_leaves_nothing(tmp_path: Path, suffix: str) -> None:
    # Every tenth byte of a small archive turned over, and every tenth length cut short.
    members = {f"in/{i}": bytes([i]) * 50 for i in range(4)}
    path = tmp_path / f"a{suffix}"
    if suffix == ".zip":
        a_zip(path, members)
    else:
        with tarfile.open(path, "w:gz" if suffix == ".tgz" else "w") as archive:
            for name, content in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    whole = path.read_bytes()
    refused = 0
    for place in range(0, len(whole), max(10, len(whole) // 60)):
        flipped = bytearray(whole)
        flipped[place] ^= 0xFF
        for damaged in (bytes(flipped), whole[:place]):
            path.write_bytes(damaged)
            root = tmp_path / "root"
            try:
                unpack(path, root, (("in/", "out"),))
            except ValueError as error:
                refused += 1
                assert str(path) in str(error)
                assert list(root.iterdir()) == []
            for found in tmp_path.rglob("*"):
                assert found == path or found.is_relative_to(root)
            if (root / "out").exists():
                for file in (root / "out").iterdir():
                    file.unlink()
                (root / "out").rmdir()
    assert refused > 20


# The sources


@pytest.mark.parametrize("source", SOURCES.values(), ids=list(SOURCES))
def test_what_is_known_of_a_data_set_is_complete(source: Source) -> None:
    assert source.licence and source.address and source.title
    if source.name in ("scenes", "rooms", "folder"):  # rendered, or one's own
        return
    assert source.citation and source.files and source.disk > 0 and source.classes > 1
    assert set(source.parts) <= set(source.counts)
    for file in source.files:
        assert all(re.fullmatch(r"https?://[\w./~-]+", url) for url in file.urls)
        assert file.urls[0].startswith("https:")
        assert file.md5 is None or re.fullmatch(r"[0-9a-f]{32}", file.md5)
        folders = {source.folder} | ({"SBD"} if source.name == "voc" else set())
        for place in (*file.folders, *([file.into] if file.into else [])):
            assert place.split("/")[0] in folders


def test_checksums_are_those_of_torchvision() -> None:

    from fcn_tutorial.vision import datasets

    for year in ("2011", "2012"):
        (file,) = get(f"voc{year}").files
        known = datasets.voc.DATASET_YEAR_DICT[year]
        assert (file.md5, file.name) == (known["md5"], known["filename"])
        assert known["url"] in file.urls
        assert file.unpack[0][0] == f"{known['base_dir']}/".replace("\\", "/")
    (file,) = get("sbd").files
    assert (file.md5, file.name) == (datasets.SBDataset.md5, datasets.SBDataset.filename)
    assert file.urls == (datasets.SBDataset.url,)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_that_declares_more_than_a_name_is_refused_unread(
    kind: bytes, tmp_path: Path
) -> None:
    header = tarfile.TarInfo("x")
    header.type, header.size = kind, 800 << 20
    with gzip.open(tmp_path / "a.tgz", "wb") as packed:
        packed.write(header.tobuf())
        packed.write(bytes(1 << 21))
    with pytest.raises(ValueError, match=r"a\.tgz: .*a header of 838,860,800 bytes"):
        unpack(tmp_path / "a.tgz", tmp_path / "out", (("set/", "set"),))
