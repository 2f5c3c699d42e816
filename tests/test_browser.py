"""Where there is no browser, or its driver cannot run, the tests of pages say what to do."""

import sys
from pathlib import Path

import pytest
from playwright._impl._driver import compute_driver_executable

from tests import browser


def test_without_a_browser_a_test_skips_before_the_driver_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def started() -> None:
        raise AssertionError("the driver was started")

    monkeypatch.setattr(browser, "sync_playwright", started)
    monkeypatch.setattr(browser, "compute_driver_executable", started)
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("BROWSER_PATH", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install chromium"):
        browser.chromium().__enter__()


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        (
            "node: error while loading shared libraries: libatomic.so.1: cannot open shared object",
            "libatomic.so.1 is missing: sudo apt-get install libatomic1",
        ),
        (
            "node: error while loading shared libraries: libnew.so.2: cannot open shared object",
            "the package that holds libnew.so.2",
        ),
        ("exec format error", "cannot start: exec format error"),
    ],
)
def test_a_driver_that_cannot_start_names_the_package(
    said: str, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = f"import sys; sys.exit({said!r})"
    command = (sys.executable, "-c", code)
    assert advice in browser.driver_problem(command)
    monkeypatch.setattr(browser, "compute_driver_executable", lambda: command)
    monkeypatch.setenv("BROWSER_PATH", "/anything")
    with pytest.raises(pytest.fail.Exception, match=advice.replace(".", r"\.")):
        browser.chromium().__enter__()


def test_a_browser_that_cannot_start_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if browser.driver_problem(compute_driver_executable()):
        pytest.skip("the driver cannot start either")
    stub = tmp_path / "chromium"  # as Ubuntu's, which only says how to install the browser
    stub.write_text("#!/bin/sh\nexit 1\n")
    stub.chmod(0o755)
    monkeypatch.setenv("BROWSER_PATH", str(stub))
    with pytest.raises(pytest.fail.Exception, match=r"chromium cannot start .*by BROWSER_PATH"):
        browser.chromium().__enter__()


def test_the_driver_that_is_installed_here_starts() -> None:
    problem = browser.driver_problem(compute_driver_executable())
    if "is missing" in problem:
        pytest.skip(problem)
    assert not problem
