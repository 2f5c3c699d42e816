"""The headless Chromium of the tests that look at pages and sliders."""

import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from playwright._impl._driver import compute_driver_executable
from playwright.sync_api import Browser, Error, sync_playwright

from tools.browser import FLAGS, MISSING, installed

#: Shared libraries that a bare Debian lacks and Playwright's driver needs, and their packages.
PACKAGES = {"libatomic.so.1": "libatomic1", "libstdc++.so.6": "libstdc++6"}


def driver_problem(command: Sequence[str]) -> str:
    """Why Playwright's driver cannot start, and what to install; empty where it can."""
    run = subprocess.run([*command, "--version"], capture_output=True, text=True, check=False)
    if run.returncode == 0:
        return ""
    missing = re.search(r"shared libraries: (\S+):", run.stderr)
    said = run.stderr.strip() or f"it ends with status {run.returncode}"
    if missing is None:
        return f"Playwright's driver cannot start: {said}"
    package = PACKAGES.get(missing[1], f"the package that holds {missing[1]}")
    return (
        f"Playwright's driver cannot start, {missing[1]} is missing: sudo apt-get install {package}"
    )


#: No host but this machine has an address: the network is off, and no request is held for it.
OFFLINE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"


@contextmanager
def chromium() -> Iterator[Browser]:
    """A started browser without a network.

    Skips the test where none is installed, before anything is started. Fails in one sentence where
    it cannot start, or Playwright's driver, whose package it names.
    """
    path = installed()
    if path is None:
        pytest.skip(MISSING)
    problem = driver_problem(compute_driver_executable())
    if problem:
        pytest.fail(problem, pytrace=False)
    with sync_playwright() as playwright:
        try:
            started = playwright.chromium.launch(executable_path=path, args=[*FLAGS, OFFLINE])
        except Error as error:
            said = error.message.splitlines()[0]
            pytest.fail(
                f"{path} cannot start ({said}): install Chromium, or name one by BROWSER_PATH",
                pytrace=False,
            )
        yield started
        started.close()
