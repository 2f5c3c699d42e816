"""Each sign is seen where it was put, and nowhere else; likewise in the stored broken runs."""

import json
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks import curves as benchmark
from fcn_tutorial import assets
from fcn_tutorial.training.curves import SIGNS, Curves, first_sign

EPOCH, EPOCHS = 40, 9
STEPS = EPOCH * EPOCHS
SHARE = np.arange(STEPS) / STEPS
Losses = NDArray[np.float64]
HEALTHY: Losses = 0.6 + 1.9 * np.exp(-6 * SHARE)


def drawn(train: Losses, val: Losses) -> Curves:
    """Curves with noise on the training loss, validated every twelve steps."""
    noisy = train + np.random.default_rng(0).normal(0, 0.05, STEPS)
    return Curves(list(noisy), [(k, float(val[k - 1])) for k in range(12, STEPS + 1, 12)], EPOCH)


MADE = {
    "": (HEALTHY, HEALTHY + 0.05),
    "leap": (HEALTHY + 20 * (SHARE > 0.1) * (SHARE < 0.2), HEALTHY),
    "rhythm": (HEALTHY + 0.2 * np.sin(2 * np.pi * np.arange(STEPS) / EPOCH), HEALTHY),
    "turn": (HEALTHY - 0.5, HEALTHY + 1.5 * SHARE),
    "gap": (HEALTHY, 1.5 * HEALTHY),
    "slope": (2.5 - 1.2 * SHARE, 2.5 - 1.2 * SHARE),
    "shelf": (1.1 + 1.4 * np.exp(-20 * SHARE), 1.1 + 1.4 * np.exp(-20 * SHARE)),
}


@pytest.mark.parametrize("name", MADE)
def test_a_sign_is_seen_where_it_was_drawn(name: str) -> None:
    found = first_sign(drawn(*MADE[name]))
    assert (found.name if found else "") == name


def test_every_sign_has_been_drawn() -> None:
    assert [sign.name for sign in SIGNS] == [name for name in MADE if name]


def test_a_loss_that_is_no_number_is_a_leap() -> None:
    broken = HEALTHY.copy()
    broken[-1] = math.nan
    found = first_sign(drawn(broken, HEALTHY))
    assert found is not None and found.name == "leap"


def test_rhythm_is_that_of_the_epoch_and_of_no_other_period() -> None:
    wave = np.sin(2 * np.pi * np.arange(STEPS) / (EPOCH * 1.37))
    assert drawn(HEALTHY + 0.2 * wave, HEALTHY).rhythm() < 0.4
    few = Curves([1.0] * 30, [(10, 1.0), (20, 1.0), (30, 1.0)], 10)
    assert few.rhythm() == 0  # three epochs tell nothing


def test_rhythm_is_asked_of_all_epochs_but_the_first() -> None:
    beat = np.sin(np.arange(EPOCH))
    losses = np.concatenate([np.zeros(EPOCH), np.tile(beat, EPOCHS - 1)])
    val = [(120, 1.0), (240, 1.0), (360, 1.0)]
    assert Curves(list(losses), val, EPOCH).rhythm() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(("early", "late"), [(1.2, 1.2), (1.05, 1.5)])
def test_a_gap_must_be_there_early_and_large_late(early: float, late: float) -> None:
    val = HEALTHY * np.where(SHARE < 0.5, early, late)
    assert first_sign(drawn(HEALTHY, val)) is None


def test_curves_too_short_to_say_anything_are_refused() -> None:
    with pytest.raises(ValueError, match="curves of 9 steps, 3 validations"):
        Curves([1.0] * 9, [(1, 1.0), (2, 1.0), (3, 1.0)], 3)


def test_each_stored_run_shows_the_sign_of_its_fault() -> None:
    record = json.loads(assets.path("benchmarks/curves-cpu.json").read_text(encoding="utf-8"))
    signs = {name: first_sign(Curves.of(run)) for name, run in record["runs"].items()}
    assert {name: sign.name if sign else "" for name, sign in signs.items()} == {
        "healthy": "",
        "rate too high": "leap",
        "rate too low": "slope",
        "trunk frozen": "shelf",
        "not shuffled": "rhythm",
        "few images": "turn",
        "other colours": "gap",
        "masks not mirrored": "shelf",
    }
    assert list(record["runs"]) == list(benchmark.RUNS)
    # All begin at ln C, whatever is wrong with them.
    first = [run["train"][0] for run in record["runs"].values()]
    assert first == pytest.approx([math.log(benchmark.CLASSES)] * len(first), abs=1e-3)


def test_the_runs_of_the_benchmark_can_be_read_and_differ_in_their_fault() -> None:
    material = benchmark.Material.rendered(smoke=True)
    found = [run(material) for run in (benchmark.healthy, benchmark.masks_not_mirrored)]
    first, second = (Curves.of(run) for run in found)
    assert len(first.train) == 18 and first.epoch == 2
    assert first.train[0] == second.train[0] and first.train[1:] != second.train[1:]
