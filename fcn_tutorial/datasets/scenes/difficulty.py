"""Three difficulties of the procedural scenes: the same streets, seen better or worse."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fcn_tutorial.datasets.scenes.street import Street, crowd


@dataclass(frozen=True)
class Difficulty:
    """How a street differs from the normal one."""

    haze: float = 1.0  # factor of the haze
    noise: float = 1.0  # factor of the sensor noise
    tint: float = 1.0  # factor of exposure and tint, which differ from scene to scene
    penumbra: float = 0.0  # share of the sun that reaches the ground in the shade
    every: int = 1  # of trees, fences and cars one in so many stays
    crowds: int = 0  # further helpings of cars, people and posts


# A forest on colours (10 trees, 60 training scenes of 64×64) has a mean IU of 20, 15 and 10 %.
DIFFICULTIES = {
    "easy": Difficulty(haze=0.25, noise=0.3, tint=0.3, penumbra=0.7, every=2),
    "normal": Difficulty(),
    "hard": Difficulty(haze=3.0, noise=3.0, tint=1.8, crowds=1),
}


def adjust(street: Street, difficulty: Difficulty, rng: np.random.Generator) -> None:
    """Make a normal street easier or harder, in place; the normal one stays as it is."""
    street.light = replace(
        street.light, haze=street.light.haze * difficulty.haze, penumbra=difficulty.penumbra
    )
    street.trees = street.trees[:: difficulty.every]
    street.fences = street.fences[:: difficulty.every]
    street.cars = street.cars[:: difficulty.every]
    for _ in range(difficulty.crowds):
        crowd(rng, street)
