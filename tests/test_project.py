"""The project's own files agree with each other: what is said twice is said the same."""

import os
import re
import subprocess
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tools import bounds
from tools.notebooks import stamp_page
from tools.project import ROOT, Project, read_project
from tools.stages import CORES, WHOLE, Result, Stage, clock, read_stages, run_all, summary

CONDA_NAMES = {"pytorch": "torch"}


def pyproject() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def requirements() -> dict[str, Requirement]:
    table = pyproject()
    extras = table["optional-dependencies"]
    lines = [*table["dependencies"], *extras["book"], *extras["test"]]
    found: dict[str, Requirement] = {}
    for requirement in map(Requirement, lines):
        name = canonicalize_name(requirement.name)
        assert found.get(name, requirement).specifier == requirement.specifier, f"{name} differs"
        found[name] = requirement
    return found


def constraints() -> dict[str, Version]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): Version(version) for name, version in pins}


def test_conda_environment_holds_the_same_requirements() -> None:
    entries = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    pip = next(entry["pip"] for entry in entries if isinstance(entry, dict))
    lines = [entry for entry in entries if isinstance(entry, str)] + pip
    assert "-e ." in lines
    found = {}
    for requirement in (Requirement(line) for line in lines if not line.startswith("-")):
        name = canonicalize_name(requirement.name)
        found[CONDA_NAMES.get(name, name)] = str(requirement.specifier)
    assert found.pop("pip") == ""
    assert found.pop("python") == pyproject()["requires-python"]
    assert found == {name: str(r.specifier) for name, r in requirements().items()}


def test_every_requirement_is_pinned_within_its_range() -> None:
    pins = constraints()
    for name, requirement in requirements().items():
        assert pins[name] in requirement.specifier, f"{name}: {pins.get(name)} in {requirement}"


def test_torch_and_torchvision_are_pinned_as_a_pair() -> None:
    torch, torchvision = constraints()["torch"], constraints()["torchvision"]
    # torchvision 0.(n + 15) belongs to torch 2.n, since 2.0 and 0.15
    assert (torchvision.major, torchvision.minor) == (0, torch.minor + 15)
    assert torch.major == 2 and torch.micro == torchvision.micro


def test_no_pin_names_a_build() -> None:
    assert not [name for name, version in constraints().items() if version.local]


def test_the_url_is_set_once() -> None:
    project = read_project()
    stamped = re.compile(r"(README|CONTRIBUTING|CITATION)\.\w+$|book/(text/)?\d\d_\w+\.\w+$")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    if listed.returncode:
        pytest.skip("not a git checkout")
    for name in listed.stdout.split():
        if name == "pyproject.toml" or stamped.search(name) or not (ROOT / name).is_file():
            continue
        assert project.slug.encode() not in (ROOT / name).read_bytes(), name


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CITATION.cff"])
def test_pages_that_repeat_the_url_are_stamped(name: str) -> None:
    page = ROOT / name
    text = page.read_text(encoding="utf-8")
    assert stamp_page(text, read_project()) == text, "run `make notebooks`"


def test_citation_is_valid_yaml_with_the_version_of_the_package() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == read_project().version
    assert citation["repository-code"] == read_project().url
    assert citation["license"] == pyproject()["license"]


def test_stamping_renames_every_form_of_the_address() -> None:
    old = Project("fcn-tutorial", "0.1.0", "https://github.com/a/fcn-tutorial")
    new = Project("fcn-book", "2.0", "https://github.com/b/fcn-book")
    page = (
        "git clone {p.url}\n[x](https://colab.research.google.com/github/{p.slug}/blob/main/b)\n"
        '`pip install "{p.name} @ git+{p.url}"`\nrepository-code: "{p.url}"\nversion: "{p.version}"'
    )
    assert stamp_page(page.format(p=old), new) == page.format(p=new)
    assert stamp_page(page.format(p=new), new) == page.format(p=new)


def test_the_stages_fit_into_the_budget_of_all() -> None:
    stages = read_stages()
    assert {stage.processes for stage in stages} <= set(range(1, CORES + 1))
    assert 0 < sum(stage.budget * stage.processes for stage in stages) / CORES <= WHOLE


def test_every_stage_is_a_make_target() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for stage in read_stages():
        assert re.search(rf"^{stage.name}:", makefile, re.M), stage.name


def test_a_failing_stage_is_reported_as_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "Makefile").write_text("good:\n\t@true\nbad:\n\t@false\n")
    monkeypatch.delenv("MAKE", raising=False)
    monkeypatch.delenv("MAKEFLAGS", raising=False)
    results = run_all([Stage("good", 9), Stage("bad", 9, 1)], tmp_path)
    assert [each.passed for each in results] == [True, False]
    assert re.search(r"^bad +FAILED", summary(results, 1.0), re.M)


def test_stages_of_one_process_run_side_by_side_and_print_in_one_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each of the first two waits for the other; the third needs both cores."""
    (tmp_path / "Makefile").write_text(
        "a: ; @echo a1; touch A; while [ ! -e B ]; do sleep .05; done; echo a2; touch A2\n"
        "b: ; @echo b1; touch B; while [ ! -e A ]; do sleep .05; done; touch B2; echo b2\n"
        "c: ; @test -e A2 -a -e B2\n"
    )
    monkeypatch.delenv("MAKE", raising=False)
    monkeypatch.delenv("MAKEFLAGS", raising=False)
    results = run_all([Stage("a", 9, 1), Stage("b", 9, 1), Stage("c", 9)], tmp_path)
    assert [each.stage.name for each in results if each.passed] == ["a", "b", "c"]
    printed = capfd.readouterr().out
    assert "a1\na2\n" in printed and "b1\nb2\n" in printed


def test_time_over_budget_is_shown() -> None:
    results = [Result(Stage("unit", 60), True, 65.0), Result(Stage("book", 60), True, 5.0)]
    table = summary(results, 68.0)
    assert re.search(r"unit +ok +1:05 +1:00 +over budget", table)
    assert re.search(r"book +ok +0:05 +1:00$", table, re.M)
    assert re.search(r"all +1:08 +25:00$", table, re.M)
    assert clock(59.6) == "1:00"


@pytest.mark.parametrize("name", ["tests", "book", "weekly"])
def test_workflows_call_make(name: str) -> None:
    path = ROOT / ".github" / "workflows" / f"{name}.yml"
    jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert commands and all(
        re.match(r"make (book|test|mutants|slow)\b|\.ci/report$", command) for command in commands
    )


@pytest.mark.parametrize(("open_issue", "wanted"), [("", "create"), ("7", "comment 7")])
def test_a_broken_week_opens_one_issue(tmp_path: Path, open_issue: str, wanted: str) -> None:
    gh = tmp_path / "gh"
    gh.write_text(
        f'#!/bin/sh\n[ "$2" = list ] && echo "{open_issue}" || echo "$@" >> {tmp_path}/said'
    )
    gh.chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}", "RESULTS": "newest failure", "RUN": "address",
        "GITHUB_REPOSITORY": "a/b",
    }  # fmt: skip
    subprocess.run([str(ROOT / ".ci" / "report")], env=environment, check=True)
    said = (tmp_path / "said").read_text()
    assert said.startswith(f"issue {wanted} --repo a/b") and "newest failure" in said
    jobs = yaml.safe_load((ROOT / ".github/workflows/weekly.yml").read_text())["jobs"]
    assert set(jobs.pop("report")["needs"]) == set(jobs)


def test_ci_script_can_be_executed() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    subprocess.run(["bash", "-n", str(ROOT / ".ci" / "run")], check=True)


def test_the_lowest_versions_are_those_that_are_declared() -> None:
    lines = bounds.constraints()
    declared = requirements()
    for name, version in (line.split("==") for line in lines):
        extras = pyproject()["optional-dependencies"]
        every = [
            *declared.values(),
            *map(Requirement, extras["export"] + extras["prior"] + extras["train"]),
        ]
        (specifier, *_) = [r.specifier for r in every if r.name == name]
        assert version in specifier
        assert not [s for s in specifier if s.operator == ">=" and s.version != version]
    assert {"torch", "jupyter-book", "onnx"} <= {line.split("==")[0] for line in lines}
    with pytest.raises(ValueError, match="some>2"):
        bounds.lowest("some>2")


def test_the_lowest_versions_are_asked_of_the_lowest_python(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bounds.sys, "version_info", SimpleNamespace(major=3, minor=99))
    with pytest.raises(SystemExit, match=r"make test-oldest PYTHON=python3\.11"):
        bounds.main()


def test_no_symbolic_link_is_tracked() -> None:
    """A link to an environment, once tracked, replaces the environment that it points to."""
    listed = subprocess.run(
        ["git", "ls-files", "--stage"], cwd=ROOT, capture_output=True, text=True
    )  # fmt: skip
    if listed.returncode:
        pytest.skip("not a git checkout")
    assert not [line for line in listed.stdout.splitlines() if line.startswith("120000")]
