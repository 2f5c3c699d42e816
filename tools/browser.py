"""Where the headless Chromium is that looks at pages, and how it is started."""

import os
import shutil

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
MISSING = "no Chromium on this machine (sudo apt-get install chromium libatomic1)"


def installed() -> str | None:
    """The browser that BROWSER_PATH names, or the first that is found; None where none is."""
    return os.environ.get("BROWSER_PATH") or next(filter(None, map(shutil.which, PROGRAMS)), None)
