"""What the verbs of the command line share."""

from __future__ import annotations

from typing import Any


def chosen_device(name: str | None) -> Any:
    """The torch device of that name; CUDA, where there is one, for None. Raises ValueError."""
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
