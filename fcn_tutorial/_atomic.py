"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path`, of the same suffix, that takes its place at the end.

    Whatever goes wrong within, what was at `path` is kept and nothing stays beside it. Raises
    OSError naming `path` where it cannot be written.
    """
    partial = path.with_name(f"{path.stem}.partial{path.suffix}")
    try:
        yield partial
        os.replace(partial, path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(f"{path}: cannot be written ({reason}); what was there is kept") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
