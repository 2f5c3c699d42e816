"""A cache gives what its data set gives, whatever happens to its files, its writers or the disk."""

import contextlib
import errno
import fcntl
import multiprocessing
import os
import pickle
import random
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tqdm import tqdm

from fcn_tutorial.datasets import SBD, CamVid, Folder, Scenes, VOCSegmentation, _store, cache
from fcn_tutorial.datasets.cache import Cached
from fcn_tutorial.transforms import HHA, Depth
from fcn_tutorial.vision import tv_tensors
from tests.datasets.official import labels, picture, write_sbd, write_voc

FORK = multiprocessing.get_context("fork")
NAMES = [f"p{i}" for i in range(12)]


class Tally:
    """How often something happened, in any forked process, of which some are killed.

    A byte is appended for each, in one system call. A shared number needs a lock, and a process
    killed while it holds that leaves it held for ever.
    """

    def __init__(self) -> None:
        self._file, name = tempfile.mkstemp()
        fcntl.fcntl(self._file, fcntl.F_SETFL, os.O_APPEND)
        os.unlink(name)

    def add(self) -> None:
        os.write(self._file, b".")

    def reset(self) -> None:
        os.ftruncate(self._file, 0)

    @property
    def value(self) -> int:
        return os.fstat(self._file).st_size


READS = Tally()  # items decoded


class Counting(VOCSegmentation):
    """VOC, counting what is read from its own files, each `pause` seconds late."""

    def __init__(self, root: Path, split: str, pause: float = 0.0, **options: Any) -> None:
        super().__init__(root, split, **options)
        self.year = f"{self.year}, {pause} s late"  # not a setting that makes other items

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        READS.add()
        time.sleep(float(self.year.split()[1]))
        return super().__getitem__(index)


# The same folder of the cache as what it counts.
Counting.__name__ = Counting.__qualname__ = VOCSegmentation.__qualname__
Counting.__module__ = VOCSegmentation.__module__


@pytest.fixture(autouse=True)
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three images or so in a segment, and no reads counted yet."""
    monkeypatch.setattr(_store, "SEGMENT_BYTES", 9000)
    READS.reset()


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """Twelve images of several sizes, last changed an hour ago."""
    root = write_voc(tmp_path, "2012", {"train": NAMES, "val": NAMES[:2]})
    for i, name in enumerate(NAMES):
        size = (24 + i % 4, 32 - i % 3)
        Image.fromarray(picture(name, size)).save(root / "JPEGImages" / f"{name}.jpg")
        Image.fromarray(labels(name, size)).save(root / "SegmentationClass" / f"{name}.png")
    return root


@pytest.fixture
def aged(voc: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, for a cache that finds its files old enough to trust their times."""
    monkeypatch.setattr(cache, "_QUIET_NS", -(10**18))
    return voc


def same(one: Any, other: Any) -> bool:
    """Equal to the bit, in types, sizes and structure."""
    if isinstance(one, dict | tuple):
        keys = list(one) if isinstance(one, dict) else range(len(one))
        return (
            type(one) is type(other)
            and len(one) == len(other)
            and (isinstance(one, tuple) or list(one) == list(other))
            and all(same(one[k], other[k]) for k in keys)
        )
    alike = type(one) is type(other) and one.dtype == other.dtype and one.shape == other.shape
    return alike and torch.equal(one, other)


def assert_same_items(cached: Any, dataset: Any) -> None:
    assert len(cached) == len(dataset)
    for index in range(-1, len(dataset)):
        assert same(cached[index], dataset[index]), index


def reads_while(action: Callable[[], Any]) -> int:
    before = READS.value
    action()
    return READS.value - before


# --- Equal items --------------------------------------------------------------------------------


def test_items_are_those_of_the_data_set_and_come_without_it(aged: Path, tmp_path: Path) -> None:
    dataset = Counting(aged, "train")
    for opening in range(3):
        cached = Cached(dataset, tmp_path / "cache")
        assert_same_items(cached, VOCSegmentation(aged, "train"))
        assert READS.value == 12 + opening  # an opening compares one item with its source
        assert cached.sizes == [(24 + i % 4, 32 - i % 3) for i in range(12)]
    assert cached.classes == dataset.classes and cached.files == dataset.files
    assert cached.ignore_index == 255
    with pytest.raises(IndexError, match="index 12 is outside the 12 items"):
        cached[12]
    assert len(list(cached)) == 12
    assert len(list(cached.folder.glob("*.seg"))) > 1


def test_every_reader_with_files_can_be_cached(tmp_path: Path) -> None:
    sbd = write_sbd(tmp_path / "sbd", {"train": NAMES[:3], "val": NAMES[3:5]})
    camvid = tmp_path / "CamVid"
    for folder in ("train", "trainannot"):
        (camvid / folder).mkdir(parents=True)
    drawn = np.random.default_rng(0).integers(0, 12, (9, 13), np.uint8)
    Image.fromarray(picture("c", (9, 13))).save(camvid / "train" / "0.png")
    Image.fromarray(drawn).save(camvid / "trainannot" / "0.png")
    (camvid / "train.txt").write_text("/SegNet/CamVid/train/0.png /SegNet/CamVid/trainannot/0.png")
    classes = [f"label {i}" for i in range(12)]
    own = [Folder(camvid / "train", camvid / "trainannot", names) for names in
           (classes, ["void", *classes[1:]])]  # fmt: skip
    for dataset in (SBD(sbd, "train"), SBD(sbd, "val"), CamVid(camvid, "train"), *own):
        assert_same_items(Cached(dataset, tmp_path / "cache"), dataset)
    # The same files with other classes are other items: they do not displace each other.
    assert not same(own[0][0], own[1][0])
    for dataset in own:
        before = {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").glob("*/index.json")}
        assert_same_items(Cached(dataset, tmp_path / "cache"), dataset)
        after = {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").glob("*/index.json")}
        assert before.keys() == after.keys()


class Parts(torch.utils.data.Dataset[Any]):
    """Items with dicts on both sides, as NYUDv2 and SIFT Flow have them, and a plain tensor."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        index %= 4
        torch.manual_seed(index)
        rgb = torch.randint(256, (3, 8 + index, 9), dtype=torch.uint8)
        inputs = {
            "rgb": tv_tensors.Image(rgb),
            "depth": Depth(torch.rand(1, 8 + index, 9).flip(-1)),
            "hha": HHA(rgb.transpose(1, 2).contiguous().transpose(1, 2)),
        }
        return inputs, {"semantic": tv_tensors.Mask(rgb[0]), "weights": torch.rand(8 + index, 9)}


def test_a_data_set_without_files_is_cached_under_a_key(tmp_path: Path) -> None:
    assert_same_items(Cached(Parts(), tmp_path, key="parts"), Parts())
    assert_same_items(Cached(Parts(), tmp_path, key="parts"), Parts())
    one, other = (Scenes(n=3, size=(32, 40), seed=seed) for seed in (0, 1))
    for scenes, key in ((one, "scenes 0"), (other, "scenes 1"), (one, "scenes 0")):
        assert_same_items(Cached(scenes, tmp_path, key=key), scenes)
    with pytest.raises(ValueError, match="Scenes lists no `files`.*give key"):
        Cached(one, tmp_path)


def test_changed_items_behind_an_unchanged_key_are_found_by_the_first(tmp_path: Path) -> None:
    Cached(Scenes(n=3, size=(32, 40), seed=0), tmp_path, key="scenes")
    other = Scenes(n=3, size=(32, 40), seed=1)
    assert_same_items(Cached(other, tmp_path, key="scenes"), other)


def test_transforms_are_applied_to_what_is_read_back(aged: Path, tmp_path: Path) -> None:
    def halve(image: Any, mask: Any) -> tuple[Any, Any]:
        return image[:, ::2], mask[::2]

    expected = VOCSegmentation(aged, "train", transforms=halve)
    dataset = Counting(aged, "train", transforms=halve)
    assert_same_items(Cached(dataset, tmp_path / "cache"), expected)
    assert dataset.transforms is halve  # the data set itself is left as it was
    assert_same_items(Cached(Counting(aged, "train"), tmp_path / "cache", halve), expected)
    assert READS.value == 12 + 1  # both share what is stored
    with pytest.raises(ValueError, match="transforms are given twice"):
        Cached(dataset, tmp_path / "cache", halve)


def test_splits_share_what_they_have_in_common(aged: Path, tmp_path: Path) -> None:
    Cached(Counting(aged, "val"), tmp_path / "cache")
    assert reads_while(lambda: Cached(Counting(aged, "train"), tmp_path / "cache")) == 1 + 10


def test_items_may_be_changed_in_place(aged: Path, tmp_path: Path) -> None:
    cached = Cached(VOCSegmentation(aged, "train"), tmp_path / "cache")
    for part in cached[0]:
        part.fill_(7)
    assert_same_items(cached, VOCSegmentation(aged, "train"))


def test_a_data_set_that_moved_is_recognised_by_content(aged: Path, tmp_path: Path) -> None:
    Cached(Counting(aged, "train"), tmp_path / "cache")
    shutil.copytree(aged, tmp_path / "elsewhere" / "VOC2012")
    moved = Counting(tmp_path / "elsewhere", "train")
    assert reads_while(lambda: Cached(moved, tmp_path / "cache")) == 1
    assert_same_items(Cached(moved, tmp_path / "cache"), VOCSegmentation(aged, "train"))


# --- Sources that change ------------------------------------------------------------------------


@pytest.mark.parametrize("quiet", [2 * 10**9, -(10**18)], ids=["young files", "aged files"])
@pytest.mark.parametrize("times", ["new times", "old times"])
def test_a_changed_source_shows_at_once_and_after_opening_again(
    voc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quiet: int, times: str
) -> None:
    monkeypatch.setattr(cache, "_QUIET_NS", quiet)
    dataset = VOCSegmentation(voc, "train")
    cached = Cached(dataset, tmp_path / "cache")
    mask = voc / "SegmentationClass" / f"{NAMES[5]}.png"
    before, old = os.stat(mask), dataset[5]
    time.sleep(0.02)  # longer than a tick of the kernel's clock, which `changed` is read from
    changed = np.array(Image.open(mask))
    changed[changed == changed[0, 0]] = 20
    Image.fromarray(changed).save(mask)
    if times == "old times":
        content = mask.read_bytes().ljust(before.st_size, b"\0")  # PNG readers stop at IEND
        mask.write_bytes(content)
        os.utime(mask, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert os.stat(mask).st_mtime_ns == before.st_mtime_ns
    assert not same(dataset[5], old)
    assert_same_items(cached, dataset)
    again = Cached(Counting(voc, "train"), tmp_path / "cache")
    assert READS.value == 2  # the comparison, and the one that changed
    assert_same_items(again, dataset)
    if quiet > 0:
        return  # young times are not kept, so nothing tells that the old item is out of date
    stored = Cached(dataset, tmp_path / "cache")._store.entries
    assert len(stored) == 12


def test_a_touched_file_is_not_decoded_again(aged: Path, tmp_path: Path) -> None:
    Cached(VOCSegmentation(aged, "train"), tmp_path / "cache")
    for path in (aged / "JPEGImages").iterdir():
        path.touch()
    dataset = Counting(aged, "train")
    assert reads_while(lambda: Cached(dataset, tmp_path / "cache")) == 1
    hashed: list[Path] = []

    def note(path: Path) -> bytes:
        hashed.append(path)
        return path.open("rb").read()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache.Path, "read_bytes", note)  # the new times were noted
        Cached(dataset, tmp_path / "cache")
    assert [path for path in hashed if path.suffix != ".json"] == []


def test_files_younger_than_their_clock_tells_are_looked_into(
    voc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An edit within the same tick keeps size and times; only the content tells."""
    frozen = {path: os.stat(path) for path in voc.rglob("*.*")}
    still = SimpleNamespace(path=os.path, stat=lambda path: frozen[Path(path)])
    monkeypatch.setattr(cache, "os", still)
    dataset = VOCSegmentation(voc, "train")
    cached = Cached(dataset, tmp_path / "cache")
    mask = voc / "SegmentationClass" / f"{NAMES[2]}.png"
    Image.fromarray(labels("another", (26, 30))).save(mask)
    assert_same_items(cached, dataset)


def test_unreadable_files_raise_the_readers_message_when_asked_for(
    aged: Path, tmp_path: Path
) -> None:
    damaged = aged / "JPEGImages" / f"{NAMES[3]}.jpg"
    damaged.write_bytes(damaged.read_bytes()[:100])
    dataset = VOCSegmentation(aged, "train")
    (aged / "SegmentationClass" / f"{NAMES[4]}.png").unlink()
    for _ in range(2):
        cached = Cached(dataset, tmp_path / "cache")
        for index, message in ((3, r"p3\.jpg: not a readable image"), (4, r"p4\.png not found")):
            with pytest.raises((ValueError, FileNotFoundError), match=message):
                cached[index]
        for index in (2, 5):
            assert same(cached[index], dataset[index])


def test_items_of_other_types_are_refused(tmp_path: Path) -> None:
    class Odd(Parts):
        def __getitem__(self, index: int) -> Any:
            return torch.zeros(3, 4, 4), "label"

    with pytest.raises(TypeError, match="an item holds a str: a cache takes Tensor, Image"):
        Cached(Odd(), tmp_path, key="odd")
    assert not list(tmp_path.glob("*/*.partial"))


# --- Files of the cache that are damaged --------------------------------------------------------


def _damage(path: Path, how: str, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    if how == "gone":
        path.unlink()
    elif how == "cut":
        path.write_bytes(content[: rng.randrange(len(content))])
    elif how == "longer":
        path.write_bytes(content + b"\0" * rng.randrange(1, 99))
    elif how == "zeros":
        path.write_bytes(bytes(len(content)))
    else:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)


@pytest.mark.parametrize("how", ["gone", "cut", "longer", "zeros", "bit"])
@pytest.mark.parametrize("pattern", ["index.json", "*.seg"])
def test_a_damaged_file_is_noticed_and_made_again(
    aged: Path, tmp_path: Path, pattern: str, how: str
) -> None:
    dataset = VOCSegmentation(aged, "train")
    rng = random.Random(f"{pattern} {how}")
    for _ in range(4):
        folder = Cached(dataset, tmp_path / "cache").folder
        _damage(rng.choice(sorted(folder.glob(pattern))), how, rng)
        assert_same_items(Cached(dataset, tmp_path / "cache"), dataset)
        Cached(dataset, tmp_path / "cache")
        assert reads_while(lambda: Cached(Counting(aged, "train"), tmp_path / "cache")) == 1
        shutil.rmtree(tmp_path / "cache")
    # What was made again stays.
    Cached(Counting(aged, "train"), tmp_path / "cache")
    assert reads_while(lambda: Cached(Counting(aged, "train"), tmp_path / "cache")) == 1


def test_a_segment_cut_while_it_is_mapped_does_not_crash_the_reader(
    aged: Path, tmp_path: Path
) -> None:
    dataset = VOCSegmentation(aged, "train")
    cached = Cached(dataset, tmp_path / "cache")
    assert_same_items(cached, dataset)
    for path in cached.folder.glob("*.seg"):
        os.truncate(path, 10)
    assert_same_items(cached, dataset)


def test_a_hostile_index_opens_no_other_file(aged: Path, tmp_path: Path) -> None:
    folder = Cached(VOCSegmentation(aged, "train"), tmp_path / "cache").folder
    index = folder / "index.json"
    body = index.read_bytes().partition(b"\n")[2]
    segment = sorted(folder.glob("*.seg"))[0].name.encode()
    for wrong in (body.replace(segment, b"../../secret"), b"[]", b"{}", b"null", b"1e999",
                  body.replace(b'"schema":1', b'"schema":2')):  # fmt: skip
        index.write_bytes(_store._digest(wrong) + b"\n" + wrong)
        assert_same_items(
            Cached(VOCSegmentation(aged, "train"), tmp_path / "cache"),
            VOCSegmentation(aged, "train"),
        )


# --- Writers that are killed, and several at once -----------------------------------------------


def _child(action: Callable[[], None]) -> Any:
    """`action` in a forked process, which exits with 0 where nothing is raised."""

    def run() -> None:
        tqdm.set_lock(threading.RLock())  # its own: forks share the lock of progress bars
        action()
        os._exit(0)

    process = FORK.Process(target=run)
    process.start()
    return process


def _no_litter(folder: Path) -> None:
    for sub in folder.iterdir():
        used = {entry.segment for entry in _store.Store(sub).entries.values()}
        names = {path.name for path in sub.iterdir()}
        assert names == {"index.json", "lock", *used}


def test_a_writer_killed_at_any_moment_leaves_a_cache_that_reads_and_goes_on(
    voc: Path, tmp_path: Path
) -> None:
    dataset, folder, pause = VOCSegmentation(voc, "train"), tmp_path / "cache", 0.002
    expected = [dataset[i] for i in range(len(dataset))]
    rng = random.Random(0)
    left = []
    for _ in range(25):
        shutil.rmtree(folder, ignore_errors=True)
        READS.reset()
        started = rng.randrange(13)
        process = _child(lambda: Cached(Counting(voc, "train", pause), folder))
        while READS.value < started and process.is_alive():
            time.sleep(0.0002)
        time.sleep(rng.uniform(0, 2 * pause))
        process.kill()
        process.join()
        READS.reset()
        cached = Cached(Counting(voc, "train"), folder)
        left.append(READS.value)
        assert all(same(cached[i], expected[i]) for i in range(len(dataset)))
        _no_litter(folder)
    assert len(set(left)) > 2  # it was killed before the first segment, and after one or more


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", range(8))
def test_a_writer_killed_at_each_rename_loses_one_segment_at_most(
    aged: Path, tmp_path: Path, step: int, when: str
) -> None:
    dataset, replace, count = VOCSegmentation(aged, "train"), os.replace, [0]

    def replace_and_die(source: Any, target: Any) -> None:
        count[0] += 1
        if count[0] <= step or when == "after":
            replace(source, target)
        if count[0] > step:
            os.kill(os.getpid(), signal.SIGKILL)

    def write() -> None:
        os.replace = replace_and_die
        Cached(dataset, tmp_path / "cache")

    process = _child(write)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    # A segment, then an index that names it: the renames that were done tell what is safe.
    indexes = (step + (when == "after")) // 2
    store = _store.Store(next((tmp_path / "cache").iterdir()))
    assert len(store.entries) == 3 * indexes  # three images of some 3 kB fill 9000 bytes
    cached = Cached(Counting(aged, "train"), tmp_path / "cache")
    assert READS.value == 12 - len(store.entries) + bool(store.entries)
    assert_same_items(cached, dataset)
    _no_litter(tmp_path / "cache")


@pytest.mark.parametrize("locks", [True, False], ids=["with locks", "without locks"])
def test_several_writers_at_once_do_no_harm_and_share_the_work(
    voc: Path, tmp_path: Path, locks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not locks:
        monkeypatch.setattr(_store, "_lock", lambda descriptor: False)
    dataset = VOCSegmentation(voc, "train")
    expected = [dataset[i] for i in range(len(dataset))]

    def fill() -> None:
        cached = Cached(Counting(voc, "train"), tmp_path / "cache")
        for _ in range(3):
            assert all(same(cached[i], expected[i]) for i in range(len(expected)))

    for _ in range(4):
        READS.reset()
        writers = [_child(fill) for _ in range(3)]
        for writer in writers:
            writer.join()
        assert [writer.exitcode for writer in writers] == [0, 0, 0]
        if locks:
            assert READS.value <= 12 + 3  # each compares one item at most
            _no_litter(tmp_path / "cache")
        fill()
        shutil.rmtree(tmp_path / "cache")


def test_workers_read_while_another_process_fills(aged: Path, tmp_path: Path) -> None:
    dataset = VOCSegmentation(aged, "train")
    folder = tmp_path / "cache"
    cached = Cached(VOCSegmentation(aged, "val"), folder)
    writer = _child(lambda: Cached(dataset, folder))
    loader = torch.utils.data.DataLoader(cached, batch_size=None, num_workers=2)
    for _ in range(2):
        for index, item in enumerate(loader):
            assert same(tuple(item), dataset[index])
    writer.join()
    assert writer.exitcode == 0
    assert cached._sound[:2] == b"\1\1"  # what a forked worker verified, the next need not


def test_a_cache_can_be_sent_to_a_process_that_was_not_forked(aged: Path, tmp_path: Path) -> None:
    dataset = VOCSegmentation(aged, "train")
    cached = Cached(dataset, tmp_path / "cache")
    assert_same_items(cached, dataset)  # maps are open now
    copied = pickle.loads(pickle.dumps(cached))
    copied.dataset = dataset.files  # has a length and no items
    assert_same_items(copied, dataset)


# --- Places that cannot be written --------------------------------------------------------------


@contextlib.contextmanager
def _disk_of(size: int) -> Iterator[None]:
    """Files opened for writing hold `size` bytes together, then the disk is full."""
    left = [size]
    original = Path.open

    def limited(self: Path, mode: str = "r", *rest: Any, **named: Any) -> Any:
        file = original(self, mode, *rest, **named)
        if mode != "wb":
            return file
        write = file.write

        class Full:
            def __enter__(self) -> Any:
                return self

            def __exit__(self, *error: Any) -> None:
                file.close()

            def tell(self) -> int:
                return int(file.tell())

            def write(self, content: Any) -> int:
                left[0] -= memoryview(content).nbytes
                if left[0] < 0:
                    raise OSError(errno.ENOSPC, "No space left on device")
                return int(write(content))

        return Full()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "open", limited)
        yield


@pytest.mark.parametrize("size", [0, 5000, 30_000])
def test_a_full_disk_is_one_clear_error_and_what_was_complete_stays(
    aged: Path, tmp_path: Path, size: int
) -> None:
    dataset = VOCSegmentation(aged, "train")
    message = r"cache.VOCSegmentation-\w+: the cache cannot be written \(No space left on device\)"
    with pytest.raises(OSError, match=message), _disk_of(size):
        Cached(dataset, tmp_path / "cache")
    folder = next((tmp_path / "cache").iterdir())
    assert not list(folder.glob("*.partial"))
    stored = len(_store.Store(folder).entries)
    assert (stored > 0) == (size == 30_000) and stored < 12
    assert_same_items(Cached(dataset, tmp_path / "cache"), dataset)


def _refuse(*arguments: Any, **named: Any) -> Any:
    raise PermissionError(errno.EACCES, "Permission denied")


def test_a_folder_that_is_read_only_serves_what_it_has(
    aged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = VOCSegmentation(aged, "train")
    Cached(VOCSegmentation(aged, "val"), tmp_path / "cache")
    for path in (aged / "JPEGImages").iterdir():
        path.touch()  # new times, which cannot be noted
    monkeypatch.setattr(_store.Store, "locked", _refuse)  # chmod does not stop root
    assert_same_items(
        Cached(VOCSegmentation(aged, "val"), tmp_path / "cache"), VOCSegmentation(aged, "val")
    )
    with pytest.raises(OSError, match=r"cannot be written \(Permission denied\); free or name"):
        Cached(dataset, tmp_path / "cache")


def test_a_folder_that_is_a_file_is_one_clear_error(aged: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(OSError, match="the cache cannot be written"):
        Cached(VOCSegmentation(aged, "train"), tmp_path / "cache")
