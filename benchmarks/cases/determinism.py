"""Whether a gradient comes out the same, bit for bit, when it is computed again."""

from __future__ import annotations

import torch

from benchmarks.forms import FORMS, Work
from benchmarks.rows import Check, Line
from benchmarks.timing import Settings

CASE = "determinism"
TIMES = 5
LABELS = {
    "banded": "in bands; theirs F.interpolate",
    "matrix": "two matrices; theirs F.interpolate",
}


def lines(settings: Settings) -> list[Line]:
    """Ours beside F.interpolate, whose backward pass adds in no fixed order on CUDA."""
    side = 70 if settings.smoke else 500
    found: list[Line] = []
    for factor in (8, 32):
        settings.say(f"×{factor}")
        what = f"×{factor} and loss, {side}×{side}, batch 2: gradients of {TIMES} runs"
        work = Work.make(factor, 2, side, settings.device)
        usual = _repeated("interpolate", work)
        for name in LABELS:
            found.append(
                Check(CASE, what, LABELS[name], _repeated(name, work), usual, "equal bits")
            )
    return found


def _repeated(name: str, work: Work) -> str:
    first = FORMS[name](work)
    equal = all(torch.equal(FORMS[name](work), first) for _ in range(TIMES - 1))
    return "equal bits" if equal else "differs"
