"""Focal, Dice and Lovász losses are their definitions, void left out, also after upsampling."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fcn_tutorial.losses import (
    Terms,
    dice_loss,
    focal_loss,
    lovasz_softmax,
    pixel_cross_entropy,
    upsample_cross_entropy,
    upsample_loss,
)
from fcn_tutorial.metrics import ConfusionMatrix, measured
from fcn_tutorial.upsampling import upsample

CLASSES = 4
REGIONS = {"dice": dice_loss, "lovasz": lovasz_softmax}


def example(seed: int = 0, size: tuple[int, ...] = (2, 5, 6)) -> tuple[Tensor, Tensor]:
    """Scores in float64 that need a gradient, and a target of classes 0 to 2 with void 255."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(size[0], CLASSES, *size[1:], dtype=torch.float64, generator=generator)
    target = torch.randint(3, size, generator=generator)
    target[torch.rand(size, generator=generator) < 0.2] = 255
    return scores.mul_(2).requires_grad_(), target


def pixels(scores: Tensor, target: Tensor) -> list[tuple[np.ndarray, int]]:
    """(probabilities of the classes, label) of each valid pixel, by NumPy alone."""
    logits = scores.detach().movedim(1, -1).reshape(-1, scores.shape[1]).numpy()
    labels = target.flatten().tolist()
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    p = exponentials / exponentials.sum(1, keepdims=True)
    return [(row, label) for row, label in zip(p, labels, strict=True) if label != 255]


# --- definitions ---------------------------------------------------------------------------------


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("weight", [None, [0.5, 2.0, 0.0, 1.25]])
def test_focal_loss_follows_its_definition(gamma: float, weight: list[float] | None) -> None:
    scores, target = example()
    w = weight or [1.0] * CLASSES
    found = pixels(scores, target)
    total = sum(w[y] * (1 - p[y]) ** gamma * -math.log(p[y]) for p, y in found)
    given_weight = None if weight is None else torch.tensor(weight)
    arguments: dict[str, Any] = {"gamma": gamma, "weight": given_weight}
    summed = focal_loss(scores, target, reduction="sum", **arguments)
    assert summed.item() == pytest.approx(total, rel=1e-12)
    mean = focal_loss(scores, target, **arguments)
    assert mean.item() == pytest.approx(total / sum(w[y] for _, y in found), rel=1e-12)


def test_focal_loss_without_focus_is_the_cross_entropy() -> None:
    scores, target = example()
    for reduction in ("mean", "sum"):
        losses = [
            focal_loss(scores, target, 0.0, reduction=reduction),
            pixel_cross_entropy(scores, target, reduction=reduction),
        ]
        gradients = [torch.autograd.grad(loss, scores)[0] for loss in losses]
        torch.testing.assert_close(*losses, rtol=1e-14, atol=0)
        torch.testing.assert_close(*gradients, rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("classes", [1, 2, 3])
def test_dice_loss_follows_its_definition(classes: int) -> None:
    scores, target = example()
    target = torch.where(target == 255, 255, target.clamp(max=classes - 1))
    found = pixels(scores, target)
    dice = []
    for c in range(classes):  # those that have a pixel
        hit = sum(p[c] for p, y in found if y == c)
        dice.append(2 * hit / (sum(p[c] for p, _ in found) + sum(y == c for _, y in found)))
    expected = 1 - sum(dice) / classes
    assert dice_loss(scores, target).item() == pytest.approx(expected, rel=1e-12)


def brute_force_lovasz(errors: list[float], members: list[bool]) -> float:
    """The extension of 1 − IU at `errors`: the largest value that any order of the pixels gives.

    1 − IU is submodular, and of such a function the Lovász extension is the support function of
    its base polytope, whose corners are the orders (Edmonds). No sorting of errors is used.
    """

    def cost(wrong: frozenset[int]) -> float:
        truth = {i for i, is_member in enumerate(members) if is_member}
        predicted = truth ^ wrong
        union = truth | predicted
        return 1 - len(truth & predicted) / len(union) if union else 0.0

    best = -math.inf
    for order in itertools.permutations(range(len(errors))):
        value, wrong = 0.0, frozenset[int]()
        for i in order:
            more = wrong | {i}
            value += errors[i] * (cost(more) - cost(wrong))
            wrong = more
        best = max(best, value)
    return best


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6))
def test_lovasz_softmax_is_the_extension_by_brute_force(seed: int, count: int) -> None:
    scores, target = example(seed, (1, 1, count))
    found = pixels(scores, target)
    present = sorted({y for _, y in found})
    expected = [
        brute_force_lovasz([abs((y == c) - p[c]) for p, y in found], [y == c for _, y in found])
        for c in present
    ]
    loss = lovasz_softmax(scores, target).item()
    assert loss == pytest.approx(np.mean(expected) if expected else 0.0, rel=1e-11, abs=1e-15)


def test_lovasz_softmax_is_the_area_under_the_costs_of_thresholds() -> None:
    """The other definition, the integral of 1 − IU of {error ≥ t} over t, on a larger set."""
    scores, target = example(3, (2, 9, 11))
    found = pixels(scores, target)
    expected = []
    for c in sorted({y for _, y in found}):
        errors = np.array([abs((y == c) - p[c]) for p, y in found])
        members = np.array([y == c for _, y in found])
        steps = np.concatenate([[0.0], np.sort(errors)])
        area = 0.0
        for low, high in itertools.pairwise(steps):
            predicted = members ^ (errors >= high)
            iu = (members & predicted).sum() / (members | predicted).sum()
            area += (high - low) * (1 - iu)
        expected.append(area)
    assert lovasz_softmax(scores, target).item() == pytest.approx(np.mean(expected), rel=1e-11)


def test_of_certain_predictions_they_are_one_minus_the_scores() -> None:
    generator = torch.Generator().manual_seed(5)
    guess, target = torch.randint(3, (2, 2, 20, 30), generator=generator)
    target[:, :3] = 255
    scores = 1e4 * F.one_hot(guess, CLASSES).movedim(-1, 1).double()
    found = ConfusionMatrix(CLASSES).update(guess, target).compute("truth_only")
    values = measured(found)
    assert lovasz_softmax(scores, target).item() == pytest.approx(1 - values["mean_iu"], abs=1e-12)
    assert dice_loss(scores, target).item() == pytest.approx(1 - values["mean_dice"], abs=1e-12)


# --- gradients, void, empty classes, extremes ----------------------------------------------------

ALL: list[Callable[..., Tensor]] = [dice_loss, lovasz_softmax, focal_loss]


@pytest.mark.parametrize("loss", ALL)
def test_gradients_are_those_of_finite_differences(loss: Callable[..., Tensor]) -> None:
    scores, target = example(1, (1, 3, 4))
    assert torch.autograd.gradcheck(lambda s: loss(s, target), (scores,), atol=1e-7)


@pytest.mark.parametrize("loss", ALL)
@pytest.mark.parametrize("void", [255, -100, (254, 255), 3])
def test_void_pixels_neither_count_nor_receive_a_gradient(
    loss: Callable[..., Tensor], void: Any
) -> None:
    scores, target = example()
    hidden = target == 255
    target[hidden] = void[0] if isinstance(void, tuple) else void
    value = loss(scores, target, ignore_index=void)
    (gradient,) = torch.autograd.grad(value, scores)
    assert torch.equal(gradient.abs().sum(1) > 0, ~hidden)
    other = scores.detach().clone()
    other.movedim(1, -1)[hidden] = 50.0 * torch.arange(CLASSES, dtype=torch.float64)
    assert loss(other, target, ignore_index=void).item() == value.item()
    for reduction in ("mean", "sum"):
        wholly = torch.full_like(target, target[hidden][0])
        nothing = loss(scores, wholly, ignore_index=void, reduction=reduction)
        (gradient,) = torch.autograd.grad(nothing, scores)
        assert nothing.item() == 0 and not gradient.any()


@pytest.mark.parametrize("loss", REGIONS.values(), ids=REGIONS)
def test_a_class_without_a_pixel_is_left_out_and_others_weigh_alike(
    loss: Callable[..., Tensor],
) -> None:
    """Two classes of very different size, right and wholly wrong: the loss is a half."""
    target = torch.zeros(1, 10, 10, dtype=torch.long)
    target[0, 0, 0] = 1
    guess = torch.zeros_like(target)  # the rare class is missed
    scores = 1e4 * F.one_hot(guess, CLASSES).movedim(-1, 1).double()
    assert loss(scores, target).item() == pytest.approx(0.5, abs=0.01)
    assert loss(scores, guess).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("loss", ALL)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_extreme_scores_give_finite_losses_and_gradients(
    loss: Callable[..., Tensor], dtype: torch.dtype
) -> None:
    target = torch.tensor([[[0, 1, 2, 3, 255]]])
    for guess in (target.clamp(max=3), 3 - target.clamp(max=3)):
        scores = (3e4 * F.one_hot(guess, CLASSES).movedim(-1, 1)).to(dtype).requires_grad_()
        value = loss(scores, target)
        (gradient,) = torch.autograd.grad(value, scores)
        assert value.dtype == torch.float32
        assert value.isfinite() and gradient.isfinite().all()
    half = focal_loss(torch.zeros(1, 2, 1, 1), torch.zeros(1, 1, 1, dtype=torch.long), 0.5)
    assert half.item() == pytest.approx(0.5**0.5 * math.log(2))


def test_bytes_are_labels_too_and_wrong_arguments_are_named() -> None:
    scores, target = example()
    for loss in ALL:
        expected = loss(scores, target)
        torch.testing.assert_close(loss(scores, target.byte()), expected, rtol=0, atol=0)
        with pytest.raises(ValueError, match="target holds 7, which is not a class"):
            loss(scores, torch.full_like(target, 7))
        with pytest.raises(ValueError, match="upsample and crop"):
            loss(scores, target[:, 1:])
        with pytest.raises(ValueError, match='"mean" or "sum"'):
            loss(scores, target, reduction="none")
    with pytest.raises(ValueError, match="gamma must be 0 or more, got -1"):
        focal_loss(scores, target, -1)


# --- what a recipe asks for ----------------------------------------------------------------------


@pytest.mark.parametrize("region", ["none", "dice", "lovasz"])
@pytest.mark.parametrize("focal", [0.0, 2.0])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_terms_add_up_after_upsampling(region: Any, focal: float, reduction: Any) -> None:
    scores, _ = example(0, (2, 4, 5))
    _, target = example(1, (2, 13, 17))
    weight = torch.tensor([0.5, 2.0, 1.5, 1.0], dtype=torch.float64)
    terms = Terms(focal, region, 0.25)
    place: dict[str, Any] = {"factor": 4, "offset": 2, "border": "replicate"}
    found = upsample_loss(scores, target, terms=terms, weight=weight, reduction=reduction, **place)
    fine = upsample(scores, 4, (13, 17), 2, border="replicate")
    expected = focal_loss(fine, target, focal, weight=weight, reduction=reduction)
    if region != "none":
        counted = float(weight[target[target != 255]].sum()) if reduction == "sum" else 1.0
        expected = expected + 0.25 * counted * REGIONS[region](fine, target)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    gradients = [torch.autograd.grad(loss, scores)[0] for loss in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-14)


def test_without_terms_it_is_the_banded_cross_entropy_to_the_bit() -> None:
    scores, _ = example(0, (2, 4, 5))
    _, target = example(1, (2, 16, 20))
    values = [loss(scores, target, 4) for loss in (upsample_loss, upsample_cross_entropy)]
    gradients = [torch.autograd.grad(value, scores)[0] for value in values]
    assert torch.equal(*values) and torch.equal(*gradients)


@pytest.mark.parametrize("region", REGIONS)
def test_sums_over_parts_divided_by_all_pixels_weigh_parts_by_their_pixels(region: Any) -> None:
    scores, target = example(2, (4, 6, 7))
    terms = Terms(0.0, region)
    parts = [
        upsample_loss(scores[i : i + 2], target[i : i + 2], 1, terms=terms, reduction="sum")
        for i in (0, 2)
    ]
    counts = [int((target[i : i + 2] != 255).sum()) for i in (0, 2)]
    regions = [REGIONS[region](scores[i : i + 2], target[i : i + 2]) for i in (0, 2)]
    mean = sum(n * r for n, r in zip(counts, regions, strict=True)) / sum(counts)
    expected = pixel_cross_entropy(scores, target) + mean
    torch.testing.assert_close(sum(parts) / sum(counts), expected, rtol=1e-12, atol=0)


def test_an_unknown_region_is_named() -> None:
    scores, target = example()
    with pytest.raises(ValueError, match="region must be one of none, dice, lovasz, got 'iou'"):
        upsample_loss(scores, target, 1, terms=Terms(region="iou"))  # type: ignore[arg-type]
