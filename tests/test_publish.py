"""What must be true before a release is looked at, and named where it is not."""

import json
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from tools import publish
from tools.project import ROOT, Project, read_project

PROJECT = read_project()


def test_pages_lead_to_files_that_are_there() -> None:
    assert list(publish.dead_links()) == []


def test_a_link_to_no_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("[a](here.md) [b](gone.md#x) [c](https://x.y) [d](#e)")
    (tmp_path / "here.md").touch()
    (found,) = publish.dead_links(tmp_path)
    assert "gone.md" in found
    assert publish.outside_links(tmp_path) == ["https://x.y"]


def test_citation_and_addresses_agree_with_pyproject(tmp_path: Path) -> None:
    assert list(publish.citation_problems(PROJECT)) == []
    assert list(publish.address_problems(PROJECT)) == []
    assert len(list(publish.citation_problems(Project("a", "9", "https://x.y/z")))) == 2
    assert list(publish.citation_problems(PROJECT, tmp_path)) == ["there is no CITATION.cff"]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("ERROR: No matching distribution found for some", "is free"),
        ("WARNING: Retrying (…)\nERROR: No matching distribution found for some", "not checked"),
        ("ERROR: something else", "not checked"),
        ("some (1.0)\nAvailable versions: 1.0", "is taken"),
    ],
)
def test_a_name_is_free_or_taken_or_nobody_knows(said: str, told: str) -> None:
    check = publish.name_check("some", lambda name: said)
    assert told in check.note and check.problems == ()


def test_what_only_a_maintainer_can_do_names_the_places() -> None:
    told = "\n".join(publish.claims(PROJECT))
    assert PROJECT.url in told and PROJECT.name in told and f"v{PROJECT.version}" in told


def test_heavy_and_misled_chapters_are_named(tmp_path: Path) -> None:
    (tmp_path / "book" / "text").mkdir(parents=True)
    heavy = tmp_path / "book" / "01_heavy.ipynb"
    heavy.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": []})
                     + " " * publish.MAX_BYTES)  # fmt: skip
    told = "\n".join(publish.chapter_problems(PROJECT, tmp_path))
    assert "01_heavy has 1.5 MB" in told and "leads elsewhere" in told
    assert "do not say what made them; run `make stamp`" in told


def requires_python() -> SpecifierSet:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return SpecifierSet(project["requires-python"])


def test_binder_installs_the_package_as_it_is_tested() -> None:
    runtime = (ROOT / ".binder" / "runtime.txt").read_text(encoding="utf-8").strip()
    assert runtime.removeprefix("python-") in requires_python()
    script = ROOT / ".binder" / "postBuild"
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True)
    text = script.read_text(encoding="utf-8")
    assert "-c constraints.txt ." in text and (ROOT / "constraints.txt").is_file()


def test_the_dev_container_makes_the_environment_that_the_editor_uses() -> None:
    described = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text("utf-8"))
    assert described["name"] == PROJECT.name
    assert described["image"].rpartition(":")[2] in requires_python()
    target = re.match(r"make ([a-z-]+) PYTHON=python$", described["postCreateCommand"])
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert target is not None and re.search(rf"^{target[1]}:", makefile, re.M)
    settings = described["customizations"]["vscode"]["settings"]
    assert settings["python.defaultInterpreterPath"] == ".venv/bin/python"
    assert re.search(r"^VENV := \.venv$", makefile, re.M)
