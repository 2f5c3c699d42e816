"""`fcn-tutorial doctor` tells what is there, what is missing, and what to do about it."""

import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from fcn_tutorial.cli import doctor, main
from fcn_tutorial.datasets import sources

DECLARED = [
    "torch>=2.4", "nowhere-to-be-found>=1", "numpy>=999",
    'onnx>=1.16; extra == "export"', 'argcomplete>=3.1; extra == "completion"',
]  # fmt: skip


@pytest.fixture
def declared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "requires", lambda name: DECLARED)


@pytest.mark.usefixtures("declared")
def test_what_is_missing_or_too_old_is_named_with_its_remedy(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["doctor"]) == 1
    told = capsys.readouterr().out
    assert "pip install 'nowhere-to-be-found>=1'   # not installed" in told
    assert "pip install 'numpy>=999'" in told and "is too old" in told
    assert "pip install 'torch" not in told and "pip install 'onnx" not in told


@pytest.mark.usefixtures("declared")
def test_requirements_are_told_by_extra() -> None:
    assert [f.name for f in doctor.requirements("export")] == ["onnx>=1.16"]
    assert len(doctor.requirements()) == 3
    assert doctor.requirements("none-such") == []


def test_versions_are_compared_as_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "version", lambda name: "2.13.0+cpu")
    assert doctor._required("torch>=2.4").well
    assert not doctor._required("torch>=2.14").well


def test_a_sound_machine_is_told_what_to_do_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sources.get("camvid").writer(tmp_path, n=1, size=(32, 32))  # type: ignore[misc]
    (tmp_path / "VOCdevkit" / "VOC2012").mkdir(parents=True)
    monkeypatch.setenv("FCN_DATA", str(tmp_path))
    monkeypatch.setattr(doctor, "requires", lambda name: ['no-such>=1; extra == "export"'])
    assert main(["doctor"]) == 0
    told = capsys.readouterr().out
    assert "CamVid/ found" in told and "nyud/ not there" in told
    assert "fcn-tutorial data check camvid" in told and "data check nyud" not in told
    assert "VOCdevkit/ is incomplete: " in told and "data check voc" not in told
    assert "export FCN_DATA" not in told
    assert "pip install 'fcn-tutorial[export]'" in told
    assert "fcn-tutorial train scenes-fcn8s" in told and "  cpu" in told


def test_without_data_it_says_how_to_have_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FCN_DATA", str(tmp_path / "none"))
    steps = "\n".join(doctor.next_steps(doctor.data_sets(), {}))
    assert f"mkdir -p {tmp_path / 'none'} " in steps and "data list" in steps
    assert "export FCN_DATA" not in steps
    monkeypatch.delenv("FCN_DATA")
    steps = "\n".join(doctor.next_steps(doctor.data_sets(), {}))
    assert "mkdir" not in steps and "export FCN_DATA=DIR" in steps


@pytest.mark.parametrize("name", ["~/my data", "it's"])
def test_the_folder_it_would_make_is_the_one_that_is_meant(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FCN_DATA", name)
    (step,) = (s for s in doctor.next_steps(doctor.data_sets(), {}) if s.startswith("mkdir"))
    subprocess.run(step, shell=True, check=True, cwd=tmp_path)
    assert (tmp_path / name.removeprefix("~/")).is_dir()


def test_a_file_for_the_data_is_told_to_be_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").write_text("")
    monkeypatch.setenv("FCN_DATA", str(tmp_path / "data"))
    steps = "\n".join(doctor.next_steps(doctor.data_sets(), {}))
    assert f"{tmp_path / 'data'} is a file; name a folder" in steps and "mkdir" not in steps


def test_a_package_that_was_never_installed_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(name: str) -> list[str]:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(doctor, "requires", never)
    assert doctor.requirements() == []


def test_it_answers_where_torch_cannot_be_imported(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('libcudart.so.12 not found')")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
    code += "from fcn_tutorial.cli import doctor, main\ndoctor.requires = lambda name: []\n"
    code += "sys.exit(main(['doctor']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "do not work together: libcudart.so.12 not found" in done.stdout
    assert "--force-reinstall torch torchvision" in done.stdout
