"""What the curves of a run say of it: its losses in training and in validation, step by step.

Everything here is read off numbers that any framework logs; nothing asks the network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Of the first loss: the height from which on an end is called high.
HIGH = 1 / 3
#: Of the loss at the end: what falls in the last third of a run that has not arrived.
STILL_FALLING = 0.12
#: How far validation lies above training, as a share, in the second half of a run with a gap; and
#: in the first, where all runs are near each other.
APART, EARLY = 0.3, 0.1
#: Epochs that a rhythm needs to be told from chance.
LEAST_EPOCHS = 4


@dataclass(frozen=True)
class Curves:
    """The losses of a run, as means over pixels.

    Attributes:
        train: of each step, before it is taken.
        val: (steps done, loss) of each validation.
        epoch: steps in an epoch.

    Raises:
        ValueError: for a run of fewer than ten steps or three validations.
    """

    train: Sequence[float]
    val: Sequence[tuple[int, float]]
    epoch: int

    def __post_init__(self) -> None:
        if len(self.train) < 10 or len(self.val) < 3 or self.epoch < 1:
            raise ValueError(
                f"curves of {len(self.train)} steps, {len(self.val)} validations and "
                f"epoch={self.epoch}: ten steps, three validations and a step an epoch are needed"
            )

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Curves:
        """From JSON with these fields; null is a loss that is no longer a number."""

        def number(loss: float | None) -> float:
            return math.nan if loss is None else loss

        val = [(int(step), number(loss)) for step, loss in record["val"]]
        return cls([number(loss) for loss in record["train"]], val, record["epoch"])

    def training(self, since: float, until: float) -> float:
        """The mean training loss between two shares of the run."""
        steps = len(self.train)
        return float(np.mean(self.train[int(since * steps) : int(until * steps)]))

    def validation(self, since: float, until: float) -> float:
        """The mean validation loss between two shares of the run."""
        steps = len(self.train)
        return float(np.mean([v for n, v in self.val if since * steps < n <= until * steps]))

    def rhythm(self) -> float:
        """The share of the training loss's variance that the place within an epoch explains.

        Each epoch is taken without its mean, and the first, which falls, is left out. About one
        over the number of epochs if the order is drawn anew in each, 0 where there are too few.
        """
        rows = self._epochs()
        if len(rows) < LEAST_EPOCHS or self.epoch < LEAST_EPOCHS:
            return 0.0
        rows = rows - rows.mean(1, keepdims=True)
        return float(rows.mean(0).var() / max(rows.var(), 1e-12))

    def _epochs(self) -> NDArray[np.float64]:
        whole = len(self.train) // self.epoch
        return np.reshape(self.train[: whole * self.epoch], (whole, self.epoch))[1:]


def _leaps(curves: Curves) -> bool:
    return any(not loss < 3 * curves.train[0] for loss in curves.train)  # nan is not


def _swings(curves: Curves) -> bool:
    return curves.rhythm() > 0.5


def _turns(curves: Curves) -> bool:
    lowest = min(loss for _, loss in curves.val)
    return _falls(curves) and curves.validation(0.9, 1) > 1.25 * lowest


def _gapes(curves: Curves) -> bool:
    early = curves.validation(0.1, 0.5) / curves.training(0.1, 0.5) - 1
    late = curves.validation(0.5, 1) / curves.training(0.5, 1) - 1
    return _falls(curves) and early > EARLY and late > APART


def _slopes(curves: Curves) -> bool:
    before, end = curves.training(1 / 3, 2 / 3), curves.training(2 / 3, 1)
    return not _falls(curves) and before - end > STILL_FALLING * end


def _stalls(curves: Curves) -> bool:
    return not _falls(curves) and not _slopes(curves)


def _falls(curves: Curves) -> bool:
    return curves.training(0.9, 1) < HIGH * curves.train[0]


@dataclass(frozen=True)
class Sign:
    """Something to be seen in curves.

    Attributes:
        name: a word for it.
        looks: how it looks.
        causes: what usually makes it.
        shows: whether curves show it.
    """

    name: str
    looks: str
    causes: str
    shows: Callable[[Curves], bool]


#: In the order in which to look: one that stands earlier can bring the later ones with it.
SIGNS = (
    Sign("leap", "training leaps to several times its first loss, or is no number",
         "a learning rate that is too high, for this loss and this batch", _leaps),
    Sign("rhythm", "training repeats itself from epoch to epoch",
         "images that come in the order of their files, not shuffled", _swings),
    Sign("turn", "validation falls, turns and rises, while training falls on",
         "too few images for so many steps: they are learned by heart", _turns),
    Sign("gap", "training falls well, and validation stays above it from early on",
         "validation images that are prepared in another way, or are of another kind", _gapes),
    Sign("slope", "both are high, and still falling at the end",
         "a learning rate that is too low, or a run that is too short", _slopes),
    Sign("shelf", "both fall quickly, and then stay high",
         "too little that can learn, as with a trunk frozen by mistake; or labels that cannot be "
         "told from the images", _stalls),
)  # fmt: skip


def first_sign(curves: Curves) -> Sign | None:
    """The first of `SIGNS` that curves show; None if they show none.

    The thresholds are for runs that begin with scores of zero, at ln C, and whose loss should fall
    to less than `HIGH` of it. A sign is a reason to look, not a proof.
    """
    return next((sign for sign in SIGNS if sign.shows(curves)), None)
