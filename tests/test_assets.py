"""Finding the small files that travel with the package."""

from pathlib import Path

import pytest

from fcn_tutorial import assets


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package folder as a wheel lays it out, beside a stranger's folder named data."""
    package = tmp_path / "site-packages" / "fcn_tutorial"
    (package / "assets" / "weights").mkdir(parents=True)
    (package / "assets" / "weights" / "a.safetensors").write_bytes(b"carried")
    (package.parent / "data" / "weights").mkdir(parents=True)
    monkeypatch.setattr(assets, "_PACKAGE", package)
    return package


def test_a_wheel_finds_what_it_carries(installed: Path) -> None:
    assert assets.path("weights/a.safetensors").read_bytes() == b"carried"


def test_a_checkout_finds_its_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data" / "results" / "camvid").mkdir(parents=True)
    (tmp_path / "data" / "results" / "camvid" / "x.json").write_text("{}")
    monkeypatch.setattr(assets, "_PACKAGE", tmp_path / "fcn_tutorial")
    assert assets.path("results/camvid/x.json").read_text() == "{}"


def test_a_missing_file_is_named_with_those_there(installed: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"weights/b\.safetensors.*weights/a\.safetensors"):
        assets.path("weights/b.safetensors")


@pytest.mark.parametrize(
    "name", ["", "weights", "a.safetensors", "/weights/a", "weights/../../a", "data/weights/a"]
)
def test_a_name_that_leads_elsewhere_is_refused(installed: Path, name: str) -> None:
    with pytest.raises(ValueError, match="name="):
        assets.path(name)
