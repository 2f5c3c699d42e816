"""data/README.md says of each data set what its reader and its source say."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fcn_tutorial.datasets.source import Source
from fcn_tutorial.datasets.sources import SOURCES
from tests.datasets import official, official_nyud, official_siftflow
from tools import readme

TEXT = readme.DATA_README.read_text(encoding="utf-8")
REAL = [source for source in SOURCES.values() if source.files]


def test_it_is_in_step_with_the_sources_and_the_files_kept() -> None:
    assert readme.stamped_data(TEXT) == TEXT, "run `python -m tools.readme`"


@pytest.mark.parametrize("source", REAL, ids=[source.name for source in REAL])
def test_every_data_set_has_its_facts(source: Source) -> None:
    section = TEXT.split(f"### `{source.name}`")[1].split("\n##")[0]
    for fact in (source.licence, source.address, source.citation, source.folder, source.note):
        assert fact in section
    for count in source.counts.values():
        assert f"{count:,}" in section
    for remote in source.files:
        assert remote.urls[0] in section and (remote.md5 or "not known") in section


def test_every_kept_file_is_named_with_what_made_it() -> None:
    kept = [*readme.ROOT.glob("data/weights/*.safetensors"), *readme.ROOT.glob("data/results/*/*")]
    assert len(kept) >= 5
    for path in kept:
        assert f"`{path.relative_to(readme.ROOT / 'data').as_posix()}`" in TEXT
    for script in readme.ROOT.glob("data/weights/*.py"):
        assert f"`python {script.relative_to(readme.ROOT).as_posix()}`" in TEXT


def _paths(root: Path) -> Iterator[str]:
    """Folders and files that the official layouts have, those of single images left out."""
    official.write_voc(root, "2012", {"train": ["a"], "val": ["b"], "trainval": ["a"]})
    official.write_sbd(root, {"train": ["a"], "val": ["b"]})
    official_nyud.write_official(root / "nyud", official_nyud.frames(2, (4, 4)), [1], [2])
    official_siftflow.write_official(root / "SiftFlowDataset", {}, {}, [])
    for path in root.rglob("*"):
        if path.suffix not in (".jpg", ".png") and path.stem not in ("a", "b"):
            yield path.name


def test_the_layout_names_every_folder_and_list(tmp_path: Path) -> None:
    layout = TEXT.split("## The folder that FCN_DATA names")[1].split("## The data sets")[0]
    for source in REAL:
        assert f"  {source.folder}/" in layout
    for name in _paths(tmp_path):
        known = name in layout or name in ("benchmark_RELEASE", "dataset")  # unpacked without them
        assert known or name.startswith("spatial_envelope_256x256_"), name


def test_a_missing_marker_is_named() -> None:
    with pytest.raises(ValueError, match="data/README.md lacks the markers <!-- data sets"):
        readme.stamped_data("# Data\n")
