"""Damaged files of every format: read, or refused with the documented error, and nothing else."""

import json
import random
import re
import sys
import tarfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file

import tools.damage
from fcn_tutorial import models
from fcn_tutorial.datasets.download import unpack
from fcn_tutorial.predict import read_image
from tests.datasets import damage
from tests.datasets.damage import Kind, Sandbox
from tests.datasets.mutation import CHANCE

COUNT = 200

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no timers, no limits of memory")


@pytest.fixture(scope="module")
def found() -> list[dict[str, Any]]:
    return list(tools.damage.cases(COUNT, seed=1))


def test_damaged_files_are_read_or_refused_as_documented(found: list[dict[str, Any]]) -> None:
    assert [case["index"] for case in found] == list(range(COUNT))
    faults = [case for case in found if case["outcome"] not in tools.damage.SOUND]
    assert not faults, faults


def test_the_damage_reaches_every_reader(found: list[dict[str, Any]]) -> None:
    assert {case["kind"] for case in found} == set(damage.KINDS)
    outcomes = Counter((case["kind"], case["outcome"]) for case in found)
    # Ten of each: what a damage leaves readable is not met in every kind.
    for outcome in tools.damage.SOUND:
        assert sum(outcomes[kind, outcome] >= 1 for kind in damage.KINDS) >= 15, outcome
    assert len({case["damage"] for case in found}) >= 19


@pytest.mark.parametrize("index", [4, 191, 197])
def test_a_case_is_the_same_whenever_it_is_run(
    found: list[dict[str, Any]], index: int, tmp_path: Path
) -> None:
    sandbox = Sandbox(tmp_path / "a", damage.KINDS[found[index]["kind"]])
    again = damage.case(sandbox, random.Random(f"1/{index}"))
    for fact in ("file", "damage", "outcome"):
        assert again[fact] == found[index][fact]


@pytest.mark.parametrize("way", CHANCE)
def test_damage_by_chance_follows_its_random_numbers_and_changes_the_bytes(
    way: Callable[[bytes, random.Random], bytes],
) -> None:
    data = np.random.default_rng(0).bytes(600)
    made = [way(data, random.Random(seed)) for seed in range(50)]
    assert made == [way(data, random.Random(seed)) for seed in range(50)]
    assert sum(each != data for each in made) >= 45
    assert max(map(len, made)) <= 2 * len(data)


# What such cases have found, one by one


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"num_classes": 10**9}, "expected (1000000000, 16, 1, 1)"),
        ({"num_classes": {"a": 10**9}}, "expected (1000000000, 16, 1, 1)"),
        ({"width": 300.0}, "has shape (2, 3, 3, 3), expected (4800, 3, 3, 3)"),
        ({"extra_channels": 10**7}, "expected (2, 10000003, 3, 3)"),
        ({"backbone": "vgg16"}, "tensors differ"),
        ({"weights": "other.safetensors"}, "unexpected keyword argument 'weights'"),
        ({"width": float("inf")}, "cannot convert"),
    ],
)
def test_a_weights_file_that_describes_another_network_is_refused_before_that_is_built(
    change: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.safetensors"
    model = models.FCN("tiny", 3, width=0.125)
    models.save(model, models.Card.of("abc", [(0, 0, 0)] * 3), path)
    with safe_open(path, "pt") as file:
        told = file.metadata()
    told["model"] = json.dumps(json.loads(told["model"]) | change)
    save_file(model.state_dict(), path, told)
    built = []
    monkeypatch.setattr(torch.nn.Conv2d, "reset_parameters", lambda layer: built.append(layer))
    with pytest.raises(ValueError, match=re.escape(said)):
        models.load(path)
    assert all(layer.weight.is_meta for layer in built)


@pytest.mark.parametrize("suffix", ["zip", "tar"])
@pytest.mark.parametrize("name", ["set/" + "x" * 5000, "set/" + "a/" * 3000 + "b"])
def test_a_member_whose_name_no_disk_takes_is_a_damaged_archive(
    name: str, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"a.{suffix}"
    if suffix == "zip":
        with zipfile.ZipFile(path, "w") as packed:
            packed.writestr(name, b"x")
    else:
        with tarfile.open(path, "w") as tar:
            tar.addfile(tarfile.TarInfo(name))
    with pytest.raises(ValueError, match=rf"a\.{suffix}: damaged archive"):
        unpack(path, tmp_path / "out", (("set/", "set"),))
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("size", [(1, 5), (5, 1), (1, 1)])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_one_pixel_wide_are_turned_too(
    size: tuple[int, int], orientation: int, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", size).save(tmp_path / "a.jpg", exif=exif)
    expected = size if orientation >= 5 else size[::-1]
    assert read_image(tmp_path / "a.jpg").shape == (3, *expected)


# The harness itself sees each fault


def _write(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "a.txt").write_bytes(bytes(300))


def _reader(fault: Callable[[Path], Any]) -> Callable[[Path, str], None]:
    def read(folder: Path, name: str) -> None:
        if (folder / name).read_bytes() != bytes(300) or (folder / "left").exists():
            fault(folder)

    return read


def _key_error(folder: Path) -> None:
    raise KeyError(str(folder))


def _unnamed(folder: Path) -> None:
    raise ValueError("something is wrong")


def _without_memory(folder: Path) -> None:
    try:
        raise MemoryError
    except MemoryError as error:
        raise ValueError(f"{folder}: not readable") from error


def _large(folder: Path) -> None:
    # More than the 32 MiB up to which the C library may hand out memory it kept from before:
    # such a block is already resident and the high-water mark does not move.
    np.ones(128 << 20, np.uint8)


def _slow(folder: Path) -> None:
    end = time.process_time() + 0.2
    while time.process_time() < end:
        pass


def _leaves_something(folder: Path) -> None:
    (folder / "left").touch()
    raise ValueError(f"{folder}: damaged")


FAULTS: list[tuple[Callable[[Path], Any], str]] = [
    (lambda folder: None, "read"),
    (lambda folder: (folder / "none").read_bytes(), "refused"),
    (_key_error, "raised"),
    (_unnamed, "unnamed"),
    (_without_memory, "memory"),
    (_large, "memory"),
    (_slow, "slow"),
    (_leaves_something, "spoilt"),
    (lambda folder: (folder.parent / "secret.txt").read_bytes(), "outside"),
    (lambda folder: (folder.parent / "new.txt").write_text("x"), "outside"),
    (lambda folder: (folder / ".." / "secret.png").unlink(), "outside"),
]


@pytest.mark.parametrize(("fault", "outcome"), FAULTS)
def test_each_fault_of_a_reader_is_seen(
    fault: Callable[[Path], Any],
    outcome: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if fault is _large and not damage._memory():
        pytest.skip("memory is measured on Linux")
    sys.addaudithook(damage._note_opened)
    monkeypatch.setattr(damage, "LARGE", 64 << 20)
    monkeypatch.setattr(damage, "SLOW", 0.1)
    sandbox = Sandbox(tmp_path / "a", Kind(_write, _reader(fault)))
    seen = [damage.case(sandbox, random.Random(seed))["outcome"] for seed in range(3)]
    assert outcome in seen
    assert (sandbox.folder / "a.txt").read_bytes() == bytes(300)


CHILD = """
import json, os, signal, sys
first, count = map(int, sys.argv[3:5])
for index in range(first, first + count):
    print(json.dumps({"index": index, "kind": "k", "outcome": "started"}), flush=True)
    if index == 1:
        os.abort()
    if index == 3:
        os.kill(os.getpid(), signal.SIGALRM)
    print(json.dumps({"index": index, "kind": "k", "outcome": "read", "said": "",
                      "seconds": 0, "megabytes": 1}), flush=True)
"""


def test_a_process_that_ends_or_hangs_is_counted_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "child_of_a_test.py").write_text(CHILD)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(tools.damage, "CHILD", "child_of_a_test")
    outcomes = [case["outcome"] for case in tools.damage.cases(5)]
    assert outcomes == ["read", "crash", "read", "hang", "read"]
    assert tools.damage.main(["--count", "5", "--seed", "0"]) == 1
    said = capsys.readouterr().out
    assert "case 1 (k, ?, ?): crash" in said and "5 cases of seed 0" in said and "2 faults" in said
    assert tools.damage.main(["--count", "1"]) == 0
    monkeypatch.setattr(tools.damage, "CHILD", "no_such_module")
    with pytest.raises(SystemExit, match="no_such_module"):
        list(tools.damage.cases(1))
