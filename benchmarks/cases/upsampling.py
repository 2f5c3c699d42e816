"""Upsampling and loss, forward and backward: ours against four other forms, time and memory."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from benchmarks.forms import FORMS, Work
from benchmarks.rows import Line, Measured
from benchmarks.timing import Settings, against, alternate, peak_in_child, peak_on_device, with_tf32

CASE = "upsampling"
TIME_TARGETS = {8: 4.0, 32: 5.0}
MEMORY_TARGET = 5.0  # at 21 classes, 500 × 500, batch 8: at most a fifth of the plain forms'
NAMES = {
    "banded": "ours",
    "dense": "dense deconvolution + cross-entropy",
    "depthwise": "depthwise deconvolution + cross-entropy",
    "matrix": "two matrices + cross-entropy",
    "interpolate": "F.interpolate + cross-entropy",
}


def lines(settings: Settings) -> list[Line]:
    """Time at batch 1 and peak memory at batch 8, for factors 8 and 32, 21 classes, 500 × 500."""
    side = 70 if settings.smoke else 500
    found: list[Line] = []
    for factor, target in TIME_TARGETS.items():
        work = Work.make(factor, 1, side, settings.device)
        check_agreement(work)
        contestants: dict[str, Callable[[], Tensor]] = {
            NAMES[name]: partial(form, work) for name, form in FORMS.items()
        }
        measured = alternate(contestants, settings)
        what = f"×{factor} and loss, {side}×{side}, batch 1"
        found += against(CASE, what, measured, {NAMES["dense"]: target})
    for factor in TIME_TARGETS:
        batch = 2 if settings.smoke else 8
        names = ["banded", "dense"] if settings.smoke else list(FORMS)
        peaks = {
            NAMES[name]: _peak(name, factor, batch, side, settings)
            for name in names
            if not (settings.smoke and factor != 8)  # a process each
        }
        what = f"×{factor} and loss, {side}×{side}, batch {batch}, peak memory"
        plain = {NAMES[name]: MEMORY_TARGET for name in ("dense", "matrix")}
        if peaks:
            found += against(CASE, what, peaks, plain)
    return found


def check_agreement(work: Work) -> None:
    """Raise RuntimeError unless the forms return one gradient; timing would mean nothing."""
    expected = with_tf32(False, partial(FORMS["dense"], work))()  # TF32 keeps three digits
    for name in ("banded", "depthwise", "matrix"):
        # Sums of up to 64 × 64 products in float32.
        if not torch.allclose(FORMS[name](work), expected, rtol=1e-3, atol=1e-3):
            raise RuntimeError(
                f"upsampling: the gradient of {name!r} differs from the dense form's"
            )


def _peak(name: str, factor: int, batch: int, side: int, settings: Settings) -> Measured:
    settings.say(f"peak memory: ×{factor}, {NAMES[name]}")
    if settings.device.type == "cuda":
        work = Work.make(factor, batch, side, settings.device)
        return peak_on_device(NAMES[name], partial(FORMS[name], work), settings.device)
    arguments = [name]
    options = {"factor": factor, "batch": batch, "side": side, "threads": torch.get_num_threads()}
    for option, value in options.items():
        arguments += [f"--{option}", str(value)]
    return peak_in_child(NAMES[name], "benchmarks.memory", arguments)
