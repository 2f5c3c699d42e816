"""Nobody sits at the figures of a chapter that pytest runs.

Its kernel listens at no port: one that is found free may be taken before the
kernel has it, which then never answers.
"""

import atexit
import os
import shutil
import tempfile
from typing import Any

import nbval.kernel

os.environ.setdefault("FCN_TUTORIAL_BATCH", "1")


class _Manager(nbval.kernel.KernelManager):  # type: ignore[misc]  # untyped
    """Talks to its kernel through files in a folder of its own."""

    def __init__(self, **settings: Any) -> None:
        folder = tempfile.mkdtemp(prefix="kernel-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        place = os.path.join(folder, "at")
        super().__init__(transport="ipc", ip=place, **settings)


if os.name == "posix":
    nbval.kernel.KernelManager = _Manager
