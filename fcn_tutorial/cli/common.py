"""What the verbs of the command line share."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

#: What a person, a scheduler and a closed terminal send.
_ENDINGS = ("SIGINT", "SIGTERM", "SIGHUP")


@contextmanager
def asked_to_stop() -> Iterator[Callable[[], bool]]:
    """Within, the first signal to end is only noted, for the yielded function to tell.

    A second one ends the process as it would have anyway. A signal that is ignored, as SIGHUP under
    nohup, stays so.
    """
    numbers = [getattr(signal, name) for name in _ENDINGS if hasattr(signal, name)]
    before = {n: signal.getsignal(n) for n in numbers if signal.getsignal(n) is not signal.SIG_IGN}
    received: list[int] = []

    def note(number: int, frame: Any) -> None:
        received.append(number)
        restore()
        if os.environ.get("RANK", "0") == "0":
            os.write(2, b"\nfcn-tutorial: stopping after this step; once more stops at once\n")

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in before:
        signal.signal(number, note)
    try:
        yield lambda: bool(received)
    finally:
        restore()


def chosen_device(name: str | None) -> Any:
    """The torch device of that name; CUDA, where there is one, for None.

    Raises:
        ValueError: naming --device, where it cannot be used here.
    """
    import torch

    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"--device {name}: cannot be used here ({reason})") from error
    return device
