"""Losses: cross-entropy with void by its definition, its banded form, and the two conventions."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from fcn_tutorial.losses import (
    frequency_weights,
    match_momentum,
    median_frequency_weights,
    multitask_loss,
    pixel_cross_entropy,
    sample_pixels,
    translate,
    upsample_cross_entropy,
)
from fcn_tutorial.training.recipes.after import SEGNET_FACTORS
from fcn_tutorial.upsampling import upsample

CLASSES = 4
ROOT = Path(__file__).resolve().parents[1]


def example(seed: int = 0, size: tuple[int, int] = (5, 7), batch: int = 2) -> tuple[Tensor, Tensor]:
    """Scores that need a gradient, and a target with about a fifth void."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(batch, CLASSES, *size, dtype=torch.float64, generator=generator)
    target = torch.randint(0, CLASSES, (batch, *size), generator=generator)
    target[torch.rand(target.shape, generator=generator) < 0.2] = 255
    return scores.requires_grad_(), target


def by_definition(scores: Tensor, target: Tensor, weight: list[float]) -> tuple[float, float]:
    """Summed loss and summed weights, pixel by pixel."""
    total = pixels = 0.0
    for n, labels in enumerate(target.tolist()):
        for y, row in enumerate(labels):
            for x, label in enumerate(row):
                if label != 255:
                    values = [math.exp(value) for value in scores[n, :, y, x].tolist()]
                    total -= weight[label] * math.log(values[label] / sum(values))
                    pixels += weight[label]
    return total, pixels


# --- the plain loss ------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [None, [0.5, 2.0, 0.0, 1.25]])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64])
def test_loss_follows_its_definition(weight: list[float] | None, dtype: torch.dtype) -> None:
    scores, target = example()
    total, pixels = by_definition(scores, target, weight or [1.0] * CLASSES)
    given = None if weight is None else torch.tensor(weight)
    arguments: dict[str, Any] = {"target": target.to(dtype), "weight": given}
    summed = pixel_cross_entropy(scores, reduction="sum", **arguments)
    assert summed.item() == pytest.approx(total, rel=1e-12)
    assert pixel_cross_entropy(scores, **arguments).item() == pytest.approx(total / pixels, 1e-12)


def test_equal_scores_cost_the_logarithm_of_the_number_of_classes() -> None:
    loss = pixel_cross_entropy(torch.zeros(1, 21, 3, 3), torch.zeros(1, 3, 3, dtype=torch.uint8))
    assert loss.item() == pytest.approx(3.04452, abs=1e-5)


def both_forms(scores: Tensor, target: Tensor, **arguments: Any) -> list[Tensor]:
    """The two losses at factor 1, where they mean the same."""
    return [
        pixel_cross_entropy(scores, target, **arguments),
        upsample_cross_entropy(scores, target, 1, **arguments),
    ]


def test_void_pixels_receive_no_gradient() -> None:
    scores, target = example()
    for loss in both_forms(scores, target):
        (gradient,) = torch.autograd.grad(loss, scores)
        touched = gradient.abs().sum(dim=1) > 0
        assert torch.equal(touched, target != 255)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("weight", [None, torch.zeros(CLASSES)])
def test_a_batch_without_weight_costs_nothing(reduction: str, weight: Tensor | None) -> None:
    scores, target = example()
    if weight is None:
        target = torch.full_like(target, 255)
    for loss in both_forms(scores, target, reduction=reduction, weight=weight):
        (gradient,) = torch.autograd.grad(loss, scores)
        assert loss.item() == 0 and not gradient.any()


@pytest.mark.parametrize("ignore_index", [-1, -100, 2])
def test_any_void_label_is_left_out(ignore_index: int) -> None:
    scores, target = example()
    expected_void = (target == 255) | (target == ignore_index)
    renamed = target.masked_fill(target == 255, ignore_index)
    expected = pixel_cross_entropy(scores, target.masked_fill(expected_void, 255))
    for loss in both_forms(scores, renamed, ignore_index=ignore_index):
        torch.testing.assert_close(loss, expected, rtol=1e-13, atol=0)


@pytest.mark.parametrize("ignore_index", [-100, 256, 511, -1, 70_000])
@pytest.mark.parametrize("classes", [171, 256, 300])
def test_a_void_label_beyond_bytes_takes_no_class_of_bytes_for_void(
    ignore_index: int, classes: int
) -> None:
    """As bytes, −100 is 156, 256 is 0, and 300 classes are 44; labels are none of these."""
    generator = torch.Generator().manual_seed(classes)
    scores = torch.randn(1, classes, 16, 20, dtype=torch.float64, generator=generator)
    scores.requires_grad_()
    target = torch.randint(min(classes, 256), (1, 16, 20), generator=generator).to(torch.uint8)
    target[0, 0, :4] = torch.tensor([0, 156, 155, 170])
    log_p = scores.log_softmax(1)
    expected = -log_p.gather(1, target.long()[:, None]).mean()
    (gradient,) = torch.autograd.grad(expected, scores)
    for loss in both_forms(scores, target, ignore_index=ignore_index):
        torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
        (found,) = torch.autograd.grad(loss, scores)
        torch.testing.assert_close(found, gradient, rtol=1e-9, atol=1e-15)


def test_several_void_labels_are_all_left_out() -> None:
    scores, target = example()
    several = target.masked_fill(target == 255, 254)
    several[0, 0, 0], several[0, 0, 1] = 255, 3
    expected = pixel_cross_entropy(
        scores, several.masked_fill((several >= 254) | (several == 3), 255)
    )
    for void in ((255, 254, 3), [3, 254, 255], {3, 254, 255, -1}):
        for loss in both_forms(scores, several, ignore_index=void):
            torch.testing.assert_close(loss, expected, rtol=1e-13, atol=0)
    sampled = sample_pixels(several, 0.5, ignore_index=(254, 255))
    assert set(sampled[sampled != several].tolist()) <= {254}
    with pytest.raises(ValueError, match=r"ignore_index='255': expected the void label"):
        pixel_cross_entropy(scores, several, ignore_index="255")  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_scores_are_summed_in_float32(dtype: torch.dtype) -> None:
    scores = torch.zeros(1, CLASSES, 300, 300, dtype=dtype)  # a sum of 124,766: beyond float16
    target = torch.zeros(1, 300, 300, dtype=torch.uint8)
    for reduction, expected in (("sum", 90_000 * math.log(4)), ("mean", math.log(4))):
        for loss in both_forms(scores, target, reduction=reduction):
            assert loss.dtype == torch.float32
            assert loss.item() == pytest.approx(expected, rel=1e-5)


# --- upsampling and loss in bands ----------------------------------------------------------------

CASES = [  # factor, offset, border, kernel_size, target size
    (2, None, "zero", None, (9, 12)),
    (4, (2, 1), "zero", None, (11, 17)),
    (8, -9, "zero", None, (30, 21)),  # rows that no score reaches
    (3, Fraction(1, 3), "replicate", None, (13, 16)),
    (5, 60, "zero", None, (8, 8)),  # all beyond the map
    (32, 18, "zero", 63, (70, 50)),
]


@pytest.mark.parametrize("band_elements", [1, 200, 1300, 1 << 20])
@pytest.mark.parametrize("case", CASES)
def test_banded_form_equals_the_plain_form(case: tuple[Any, ...], band_elements: int) -> None:
    factor, offset, border, kernel_size, size = case
    scores, _ = example(batch=3, size=(3, 4))
    _, target = example(batch=3, size=size)
    fine = upsample(scores, factor, size, offset, kernel_size=kernel_size, border=border)
    for weight in (None, torch.tensor([0.5, 2.0, 0.0, 1.25])):
        for reduction in ("mean", "sum"):
            plain = pixel_cross_entropy(fine, target, weight=weight, reduction=reduction)
            banded = upsample_cross_entropy(
                scores,
                target.to(torch.uint8),
                factor,
                offset,
                weight=weight,
                reduction=reduction,
                kernel_size=kernel_size,
                border=border,
                band_elements=band_elements,
            )
            torch.testing.assert_close(banded, plain, rtol=1e-12, atol=0)
            (expected,) = torch.autograd.grad(3 * plain, scores, retain_graph=True)
            (gradient,) = torch.autograd.grad(3 * banded, scores)
            scale = expected.abs().max().item()
            torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-12 * scale)


def test_banded_gradient_equals_finite_differences() -> None:
    scores, _ = example(size=(2, 2))
    _, target = example(size=(6, 7))
    weight = torch.tensor([0.5, 2.0, 0.0, 1.25])

    def loss(leaf: Tensor) -> Tensor:
        return upsample_cross_entropy(leaf, target, 4, 2, weight=weight, band_elements=60)

    assert torch.autograd.gradcheck(loss, (scores,))


def hats(scores: Tensor, factor: int, offset: int, size: tuple[int, int]) -> Tensor:
    """Upsampling by an even factor from its definition: a hat 2·factor wide for every score."""
    fine = torch.zeros(*scores.shape[:2], *size, dtype=scores.dtype)
    for y, x in itertools.product(range(size[0]), range(size[1])):
        for i, j in itertools.product(range(scores.shape[2]), range(scores.shape[3])):
            centres = (factor * k + factor - 0.5 - offset for k in (i, j))
            down, right = (abs(a - c) / factor for a, c in zip((y, x), centres, strict=True))
            fine[:, :, y, x] += max(0, 1 - down) * max(0, 1 - right) * scores[:, :, i, j]
    return fine


def test_banded_gradient_equals_finite_differences_of_the_definition() -> None:
    scores, _ = example(size=(2, 2), batch=1)
    _, target = example(size=(5, 6), batch=1)
    scores = scores.detach()
    weight = [0.5, 2.0, 0.0, 1.25]

    def definition(leaf: Tensor) -> float:
        total, pixels = by_definition(hats(leaf, 4, 2, (5, 6)), target, weight)
        return total / pixels

    leaf = scores.clone().requires_grad_()
    loss = upsample_cross_entropy(
        leaf, target, 4, 2, weight=torch.tensor(weight, dtype=torch.float64), band_elements=60
    )
    (gradient,) = torch.autograd.grad(loss, leaf)
    assert loss.item() == pytest.approx(definition(scores), rel=1e-12)
    step = 1e-5  # errors of step², 1e-10, and of rounding / step, 1e-11
    for index in itertools.product(*map(range, scores.shape)):
        ends = []
        for sign in (1, -1):
            moved = scores.clone()
            moved[index] += sign * step
            ends.append(definition(moved))
        assert gradient[index].item() == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=1e-9)


def test_banded_form_needs_no_gradient_to_give_a_value() -> None:
    scores, _ = example(size=(3, 3))
    _, target = example(size=(12, 12))
    expected = upsample_cross_entropy(scores, target, 4, 2)
    assert not upsample_cross_entropy(scores.detach(), target, 4, 2).requires_grad
    for mode in (torch.no_grad(), torch.inference_mode()):
        with mode:
            assert upsample_cross_entropy(scores, target, 4, 2).item() == expected.item()


def test_banded_gradient_refuses_to_be_differentiated() -> None:
    scores, _ = example(size=(3, 3))
    _, target = example(size=(12, 12))
    loss = upsample_cross_entropy(scores, target, 4, 2)
    with pytest.raises(RuntimeError, match=r"twice.*pixel_cross_entropy\(upsample"):
        torch.autograd.grad(loss, scores, create_graph=True)


class LargestFloat(TorchDispatchMode):
    """Elements of the largest piece of floating point memory that any operation returns."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.is_floating_point():
            held = result.untyped_storage().nbytes() // result.element_size()
            self.elements = max(self.elements, held)
        return result


@pytest.mark.parametrize("factor", [8, 32])
def test_full_resolution_scores_never_exist(factor: int) -> None:
    target = torch.zeros(2, 160, 192, dtype=torch.uint8)
    scores = torch.zeros(2, 21, 160 // factor, 192 // factor, requires_grad=True)
    full = 21 * 160 * 192  # of one image

    def largest(loss: Any) -> int:
        with LargestFloat() as seen:
            loss().backward()
        return seen.elements

    size = (160, 192)
    assert largest(lambda: pixel_cross_entropy(upsample(scores, factor, size), target)) == 2 * full
    banded = largest(lambda: upsample_cross_entropy(scores, target, factor, band_elements=1 << 15))
    assert banded <= full // 8  # the scores upsampled along one axis only, at factor 8


PEAK = """
import sys
import torch
from fcn_tutorial.losses import pixel_cross_entropy, upsample_cross_entropy
from fcn_tutorial.training.recipes.after import SEGNET_FACTORS
from fcn_tutorial.upsampling import upsample

def peak():
    status = open("/proc/self/status").read().splitlines()
    return next(1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM"))

def extra(batch, size):
    coarse = size // factor + 1
    scores = torch.randn(batch, 21, coarse, coarse).requires_grad_()
    target = torch.randint(0, 21, (batch, size, size), dtype=torch.uint8)
    open("/proc/self/clear_refs", "w").write("5")  # the peak starts again from here
    before = peak()
    if form == "plain":
        fine = upsample(scores, factor, (size, size), factor // 2)
        loss = pixel_cross_entropy(fine, target)
        del fine
    else:
        loss = upsample_cross_entropy(scores, target, factor, factor // 2)
    loss.backward()
    return peak() - before

form, factor = sys.argv[1], int(sys.argv[2])
torch.set_num_threads(2)
extra(1, 64)  # what is loaded on first use
print(extra(8, 500))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux alone tells the peak")
@pytest.mark.parametrize("factor", [8, 32])
def test_banded_form_takes_a_fifth_of_the_memory(factor: int) -> None:
    # The peak of the process, not getrusage's: that one starts at the peak of the parent.
    children = [
        subprocess.Popen(
            [sys.executable, "-c", PEAK, form, str(factor)], cwd=ROOT, stdout=subprocess.PIPE
        )
        for form in ("plain", "banded")
    ]
    plain, banded = (int(child.communicate()[0]) for child in children)
    assert plain > 2 * 8 * 21 * 500 * 500 * 4  # full-resolution scores and their gradient
    assert banded <= plain / 5


def test_banded_form_works_in_float32_under_autocast_and_for_half_precision() -> None:
    scores, _ = example(size=(3, 3))
    _, target = example(size=(12, 12))
    half = scores.detach().to(torch.bfloat16).requires_grad_()
    expected = upsample_cross_entropy(half.float(), target, 4, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = upsample_cross_entropy(half.float(), target, 4, 2)
        assert upsample_cross_entropy(scores, target, 4, 2).dtype == torch.float64
    assert loss.dtype == torch.float32 and loss.item() == expected.item()
    loss = upsample_cross_entropy(half, target, 4, 2)
    loss.backward()
    assert loss.item() == expected.item()
    assert half.grad is not None and half.grad.dtype == torch.bfloat16 and half.grad.any()


def test_banded_form_takes_channels_last_scores() -> None:
    scores, _ = example(size=(3, 5))
    _, target = example(size=(12, 20))
    results = []
    for layout in (torch.contiguous_format, torch.channels_last):
        leaf = scores.detach().clone(memory_format=layout).requires_grad_()
        loss = upsample_cross_entropy(leaf, target, 4, 2)
        results.append((loss.detach(), torch.autograd.grad(loss, leaf)[0]))
    torch.testing.assert_close(results[1], results[0], rtol=1e-12, atol=1e-16)


def test_losses_compile_as_one_graph() -> None:
    def loss(scores: Tensor, fine: Tensor, target: Tensor) -> Tensor:
        return upsample_cross_entropy(scores, target, 4, 2) + pixel_cross_entropy(fine, target)

    torch.compiler.reset()
    scores, _ = example(size=(3, 5))
    fine, target = example(size=(12, 20))
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    results = [form(scores, fine, target) for form in (loss, compiled)]
    torch.testing.assert_close(results[1], results[0], rtol=1e-12, atol=0)
    gradients = [torch.autograd.grad(result, (scores, fine)) for result in results]
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-10, atol=1e-14)


# --- a random part of the pixels -----------------------------------------------------------------


@pytest.mark.parametrize("fraction", [0.2, 0.75])
@pytest.mark.parametrize("cell", [1, 3, 8])
def test_cells_stay_or_go_as_a_whole_and_independently(fraction: float, cell: int) -> None:
    maps, height, width = 4000, 5, 7
    target = torch.ones(maps, height, width, dtype=torch.uint8)
    generator = torch.Generator().manual_seed(cell)
    kept = sample_pixels(target, fraction, cell, generator) == 1
    rows, columns = torch.arange(height) // cell, torch.arange(width) // cell
    by_cell = kept[:, ::cell, ::cell]
    assert torch.equal(kept, by_cell[:, rows[:, None], columns])
    cells = by_cell.flatten(1).double()
    deviation = math.sqrt(fraction * (1 - fraction) / maps)
    assert (cells.mean(dim=0) - fraction).abs().max() < 5 * deviation
    if cells.shape[1] > 1:
        related = torch.corrcoef(cells.T) - torch.eye(cells.shape[1])
        assert related.abs().max() < 5 / math.sqrt(maps)


@pytest.mark.parametrize("cell", [1, 2])
def test_sampled_sum_over_the_fraction_is_unbiased(cell: int) -> None:
    fraction, draws = 0.3, 20_000
    scores, target = example(size=(3, 4), batch=1)
    full = pixel_cross_entropy(scores, target, reduction="sum")
    (expected,) = torch.autograd.grad(full, scores)
    many = scores.detach().expand(draws, -1, -1, -1).clone().requires_grad_()
    generator = torch.Generator().manual_seed(0)
    sampled = sample_pixels(target.expand(draws, -1, -1), fraction, cell, generator)
    loss = pixel_cross_entropy(many, sampled, reduction="sum") / fraction
    (gradient,) = torch.autograd.grad(loss, many)
    # Each pixel's gradient is there in a share p of the draws, so its mean deviates by:
    deviation = expected[0].abs() * math.sqrt((1 - fraction) / fraction / draws)
    assert ((gradient.mean(dim=0) - expected[0]).abs() <= 5 * deviation).all()
    # The losses of a cell's pixels, all positive, come and go together: at most the sum's.
    spread = full.item() * math.sqrt((1 - fraction) / fraction / draws)
    assert loss.item() / draws == pytest.approx(full.item(), abs=5 * spread)


def test_sampled_mean_is_unbiased_for_single_pixels() -> None:
    scores, target = example(size=(2, 3), batch=1)
    scores = scores.detach()
    generator = torch.Generator().manual_seed(0)
    losses = []
    for _ in range(2000):
        sampled = sample_pixels(target, 0.3, 1, generator)
        if bool((sampled != 255).any()):
            losses.append(pixel_cross_entropy(scores, sampled).item())
    values = torch.tensor(losses)
    tolerance = 5 * values.std().item() / math.sqrt(len(losses))
    expected = pixel_cross_entropy(scores, target).item()
    assert values.mean().item() == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64])
@pytest.mark.parametrize("shape", [(6, 9), (2, 6, 9), (2, 3, 6, 9)])
def test_sampling_only_adds_void(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(0, CLASSES, shape, generator=generator).to(dtype)
    target[..., 0, :] = 99
    before = target.clone()
    sampled = sample_pixels(target, 0.5, 2, generator, ignore_index=99)
    assert sampled.dtype == dtype and sampled.shape == target.shape
    assert torch.equal(target, before)
    assert ((sampled == target) | (sampled == 99)).all() and (sampled[..., 0, :] == 99).all()
    assert (sampled != target).any() and (sampled[..., 1:, :] != 99).any()
    whole = sample_pixels(target, 1.0, 2, generator, ignore_index=99)
    assert torch.equal(whole, target) and whole.data_ptr() != target.data_ptr()


def test_sampling_follows_its_generator() -> None:
    target = torch.zeros(2, 20, 20, dtype=torch.uint8)
    first, again, other = (
        sample_pixels(target, 0.5, 4, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    torch.manual_seed(3)
    without = sample_pixels(target, 0.5)
    torch.manual_seed(3)
    assert torch.equal(sample_pixels(target, 0.5), without)
    assert sample_pixels(target[:0], 0.5).shape == (0, 20, 20)


# --- several heads -------------------------------------------------------------------------------


def two_heads(
    seed: int = 0, size: tuple[int, int] = (5, 7)
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Scores of 4 and 3 classes, and targets that are void at different pixels."""
    scores, targets = example(seed, size)
    other = example(seed + 1, size)[0].detach()[:, :3].requires_grad_()
    geometry = targets.roll(1, dims=2)
    geometry = geometry.where(geometry < 3, 255)
    return {"semantic": scores, "geometric": other}, {"geometric": geometry, "semantic": targets}


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("weighted", [False, True])
def test_loss_of_several_heads_is_the_sum_of_theirs(reduction: Any, weighted: bool) -> None:
    scores, targets = two_heads()
    class_weights = {"semantic": torch.tensor([0.5, 2.0, 0.0, 1.25])} if weighted else None
    task_weights = {"geometric": 0.25} if weighted else None
    losses = multitask_loss(
        scores, targets, 1, class_weights=class_weights, task_weights=task_weights,
        reduction=reduction,
    )  # fmt: skip
    expected, factors = {}, {"semantic": 1.0, "geometric": 0.25 if weighted else 1.0}
    for task, weight in (("semantic", [0.5, 2.0, 0.0, 1.25]), ("geometric", [1.0] * 3)):
        weight = weight if weighted else [1.0] * 4
        total, pixels = by_definition(scores[task], targets[task], weight)
        expected[task] = total / pixels if reduction == "mean" else total
    combined = sum(factors[task] * expected[task] for task in expected)
    assert losses.total.item() == pytest.approx(combined, rel=1e-12)
    assert {task: part.item() for task, part in losses.parts.items()} == pytest.approx(
        expected, rel=1e-12
    )
    assert losses.total.requires_grad
    assert not any(part.requires_grad for part in losses.parts.values())


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_heads_upsampled_together_equal_the_plain_form(reduction: Any) -> None:
    fused = example(size=(3, 4))[0]
    fused = torch.cat([fused, fused.flip(1)[:, :3]], dim=1).detach().requires_grad_()
    _, targets = two_heads(size=(11, 15))
    weights: dict[str, Any] = {
        "class_weights": {"geometric": torch.tensor([3.0, 1.0, 0.5])},
        "task_weights": {"semantic": 2.0},
        "reduction": reduction,
    }
    placed: dict[str, Any] = {"offset": (2, 1), "border": "replicate"}
    split = dict(zip(("semantic", "geometric"), fused.split([4, 3], dim=1), strict=True))
    banded = multitask_loss(split, targets, 4, **placed, **weights)
    plain = {
        task: pixel_cross_entropy(
            upsample(part, 4, (11, 15), **placed), targets[task],
            weight=weights["class_weights"].get(task), reduction=reduction,
        )
        for task, part in split.items()
    }  # fmt: skip
    total = 2 * plain["semantic"] + plain["geometric"]
    torch.testing.assert_close(banded.total, total, rtol=1e-12, atol=0)
    torch.testing.assert_close(banded.parts, plain, rtol=1e-12, atol=0)
    divisors = {"semantic": torch.tensor(2.0), "geometric": torch.tensor(5.0)}
    divided = multitask_loss(split, targets, 4, **placed, **weights, divisors=divisors)
    expected = 2 * plain["semantic"] / 2 + plain["geometric"] / 5
    torch.testing.assert_close(divided.total, expected, rtol=1e-12, atol=0)
    gradients = [
        torch.autograd.grad(loss, fused, retain_graph=True)[0] for loss in (total, banded.total)
    ]
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-11, atol=1e-15)


def test_a_head_without_a_label_costs_nothing() -> None:
    scores, targets = two_heads()
    targets["geometric"] = torch.full_like(targets["geometric"], 255)
    alone = pixel_cross_entropy(scores["semantic"], targets["semantic"])
    losses = multitask_loss(scores, targets, 1)
    assert losses.parts["geometric"].item() == 0
    torch.testing.assert_close(losses.total, alone, rtol=1e-13, atol=0)
    gradient = torch.autograd.grad(losses.total, list(scores.values()))
    assert gradient[0].any() and not gradient[1].any()


def test_losses_of_several_heads_compile_as_one_graph() -> None:
    def loss(scores: Tensor, target: Tensor) -> Tensor:
        split = dict(zip("ab", scores.split([2, 2], dim=1), strict=True))
        return multitask_loss(split, {"a": target, "b": target}, 4, 2).total

    torch.compiler.reset()
    scores, _ = example(size=(3, 5))
    target = example(size=(12, 20))[1].clamp(max=1)
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(scores, target), loss(scores, target), rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"targets": {}}, "only in scores: 'semantic', 'geometric'; only in targets: none"),
        ({"targets": {"geom": 0, "semantic": 0}}, "scores: 'geometric'; only in targets: 'geom'"),
        ({"targets": dict.fromkeys(["semantic", "geometric", "depth"])}, "none; .*: 'depth'"),
        ({"scores": {}}, "at least one task"),
        (
            {"class_weights": {"depth": 0}},
            "class_weights names 'depth'; .* 'semantic'",
        ),
        ({"task_weights": {"depth": 1.0}}, "task_weights names 'depth'"),
        ({"task_weights": {"semantic": -1.0}}, "negative, but those of 'semantic' are"),
        ({"task_weights": {"semantic": math.nan}}, "negative, but those of 'semantic' are"),
        ({"class_weights": {"geometric": torch.ones(4)}}, "task 'geometric': weight must have one"),
        ({"reduction": "none"}, "task 'semantic': reduction must be"),
        ({"divisors": {"semantic": 1}}, "divisors names 'semantic'; .* 'geometric'"),
    ],
)
def test_errors_of_several_heads_name_the_task(changes: dict[str, Any], message: str) -> None:
    scores, targets = two_heads()
    arguments: dict[str, Any] = {"scores": scores, "targets": targets, **changes}
    with pytest.raises(ValueError, match=message):
        multitask_loss(**arguments, factor=1)


# --- the summed and the mean convention ----------------------------------------------------------


def test_translation_of_the_published_rate() -> None:
    rates = translate(lr=1e-10, weight_decay=5e-4, valid_pixels=375 * 500)
    assert rates.lr == pytest.approx(1.875e-5)
    assert rates.weight_decay == pytest.approx(5e-4 / 187_500)
    assert rates.lr / (1 - 0.99) == pytest.approx(1.9e-3, rel=0.02)  # effective, momentum 0.99
    back = translate(*rates, valid_pixels=375 * 500, to="sum")
    assert tuple(back) == pytest.approx((1e-10, 5e-4))


def test_sgd_takes_the_same_steps_under_both_conventions() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(6, 3, 8, 8, dtype=torch.float64, generator=generator)
    targets = torch.randint(0, CLASSES, (6, 8, 8), generator=generator)
    targets[:, :2] = 255  # 48 valid pixels in every image
    summed = (1e-3, 0.3)
    weights = []
    for reduction, (lr, decay) in (("sum", summed), ("mean", translate(*summed, 48))):
        layer = torch.nn.Conv2d(3, CLASSES, 1, dtype=torch.float64)
        torch.nn.init.constant_(layer.weight, 0.1)
        torch.nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        optimizer = torch.optim.SGD(layer.parameters(), lr, momentum=0.9, weight_decay=decay)
        for image, target in zip(inputs, targets, strict=True):
            optimizer.zero_grad()
            pixel_cross_entropy(layer(image[None]), target[None], reduction=reduction).backward()
            optimizer.step()
        weights.append(layer.weight.detach())
    torch.testing.assert_close(weights[1], weights[0], rtol=1e-11, atol=1e-13)
    assert (weights[0] - 0.1).abs().max() > 1e-3


def test_momentum_is_matched_over_images() -> None:
    assert match_momentum(0.9, batch=20, to_batch=1) == pytest.approx(0.9947, abs=1e-4)
    assert match_momentum(0.99, batch=1, to_batch=10.5) == pytest.approx(0.9, abs=1e-3)
    assert match_momentum(0.0, 4, 2) == 0


# --- class weights -------------------------------------------------------------------------------

COUNTS = [1000, 10, 0, 100, 500]


def test_median_frequency_weights_of_hand_made_counts() -> None:
    # Present frequencies sort to 10, 100, 500, 1000 of 1610: the median is 300 of 1610.
    weights = median_frequency_weights(COUNTS)
    assert weights.tolist() == pytest.approx([0.3, 30, 0, 3, 0.6])
    assert weights.dtype == torch.float32


def test_median_frequency_weights_count_only_images_with_the_class() -> None:
    # Frequencies 0.5, 0.1, 0.2: the rare class fills a tenth of the one image that has it.
    weights = median_frequency_weights(torch.tensor([500, 10, 200]), [1000, 100, 1000])
    assert weights.tolist() == pytest.approx([0.4, 2, 1])


@pytest.mark.parametrize(
    ("rule", "raw"),
    [
        ("inverse", lambda p: 1 / p),
        ("inverse_sqrt", lambda p: 1 / math.sqrt(p)),
        ("log", lambda p: 1 / math.log(1.02 + p)),
    ],
)
def test_frequency_weights_follow_their_rule_and_average_one(rule: Any, raw: Any) -> None:
    shares = [count / sum(COUNTS) for count in COUNTS]
    weights = frequency_weights(torch.tensor(COUNTS), rule)
    assert weights.dtype == torch.float32 and weights[2] == 0
    average = sum(p * w for p, w in zip(shares, weights.tolist(), strict=True))
    assert average == pytest.approx(1, rel=1e-6)
    for a, b in ((0, 1), (3, 4), (1, 3)):
        expected = raw(shares[a]) / raw(shares[b])
        assert (weights[a] / weights[b]).item() == pytest.approx(expected, rel=1e-5)


def test_equally_frequent_classes_weigh_one() -> None:
    for weights in (
        median_frequency_weights([7, 7, 7]),
        *(frequency_weights([7, 7, 7], rule) for rule in ("inverse", "inverse_sqrt", "log")),
    ):
        assert weights.tolist() == pytest.approx([1, 1, 1])


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": torch.full((1, 4, 4), 4)}, "target holds 4, .* expected 0 … 3 or the void"),
        ({"target": torch.full((1, 4, 4), -1)}, "target holds -1,"),
        ({"target": torch.full((1, 4, 4), 254, dtype=torch.uint8)}, "target holds 254,"),
        ({"target": torch.zeros(1, 4, 4)}, "class indices.*got dtype torch.float32"),
        ({"target": torch.zeros(4, 4, dtype=torch.long)}, r"\(N, H, W\) with N = 1 .*\(4, 4\)"),
        ({"target": torch.zeros(2, 4, 4, dtype=torch.long)}, r"got \(2, 4, 4\)"),
        ({"scores": torch.zeros(4, 4, 4)}, r"\(N, C, H, W\), got torch.float32 \(4, 4, 4\)"),
        ({"weight": torch.ones(3)}, r"one entry for each of 4 classes, got \(3,\)"),
        ({"reduction": "none"}, "reduction must be .* got 'none'"),
    ],
)
def test_errors_name_the_argument_its_value_and_the_remedy(
    arguments: dict[str, Any], message: str
) -> None:
    fits: dict[str, Any] = {
        "scores": torch.zeros(1, CLASSES, 4, 4),
        "target": torch.zeros(1, 4, 4, dtype=torch.long),
    }
    with pytest.raises(ValueError, match=message):
        pixel_cross_entropy(**{**fits, **arguments})
    with pytest.raises(ValueError, match=message):
        upsample_cross_entropy(**{**fits, **arguments}, factor=1)


def test_sizes_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match=r"scores are \(4, 4\) and target is \(8, 8\).*upsample"):
        pixel_cross_entropy(torch.zeros(1, 4, 4, 4), torch.zeros(1, 8, 8, dtype=torch.long))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: translate(1e-10, 5e-4, 0), "valid_pixels must be positive, got 0"),
        (lambda: translate(1e-10, 5e-4, 9, to="max"), "to must be .* got 'max'"),
        (lambda: match_momentum(1.0, 1, 2), r"momentum must be in \[0, 1\), got 1.0"),
        (lambda: match_momentum(0.9, 0, 2), "batch and to_batch must be positive, got 0 and 2"),
        (lambda: frequency_weights([1, 2], "cube"), "rule must be one of .* got 'cube'"),
        (lambda: frequency_weights([0, 0]), r"counts must be \(C,\) .* got \[0.0, 0.0\]"),
        (lambda: median_frequency_weights([1, -2]), r"none negative.*got \[1.0, -2.0\]"),
        (lambda: median_frequency_weights([[1]]), r"counts must be \(C,\)"),
        (lambda: median_frequency_weights([5, 2], [4, 9]), "image_pixels must give at least"),
        (lambda: sample_pixels(torch.zeros(2, 2).long(), 0), "above 0 and at most 1, got 0"),
        (lambda: sample_pixels(torch.zeros(2, 2).long(), 1.5), "at most 1, got 1.5"),
        (lambda: sample_pixels(torch.zeros(2, 2).long(), 0.5, 0), "cell must be .* got 0"),
        (lambda: sample_pixels(torch.zeros(2, 2), 0.5), r"integers.*got torch.float32 \(2, 2\)"),
        (lambda: sample_pixels(torch.zeros(2).long(), 0.5), r"\(…, H, W\), got torch.int64 \(2,\)"),
        (
            lambda: sample_pixels(torch.zeros(2, 2).byte(), 0.5, ignore_index=-1),
            "ignore_index=-1 does not fit a target of torch.uint8",
        ),
    ],
)
def test_settings_that_make_no_sense_are_refused(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_banded_form_matches_torch_on_a_dense_deconvolution() -> None:
    scores, _ = example(size=(2, 2))
    _, target = example(size=(8, 8))
    dense = upsample(scores, 4, (8, 8), 2, "dense")
    expected = F.cross_entropy(dense, target, ignore_index=255)
    torch.testing.assert_close(upsample_cross_entropy(scores, target, 4, 2), expected)


def test_segnets_factors_are_of_median_frequency_but_the_one_of_signs() -> None:
    """Counted on CamVid's 367 training masks, void the twelfth class (caffe-segnet, issue 37)."""
    pixels = [
        10_682_767, 14_750_079, 623_349, 20_076_880, 2_845_085, 6_166_762,
        743_859, 714_595, 3_719_877, 405_385, 184_967, 2_503_995,
    ]  # fmt: skip
    images = [366, 365, 366, 367, 349, 319, 351, 173, 360, 317, 201, 367]
    found = median_frequency_weights(pixels, [n * 360 * 480 for n in images])[:11]
    ratio = torch.tensor(SEGNET_FACTORS) / found
    sign = 6
    assert float(found[sign]) == pytest.approx(3.5331, abs=1e-4) and float(ratio[sign]) > 2.7
    others = torch.cat([ratio[:sign], ratio[sign + 1 :]])
    assert float((others - 1).abs().max()) < 0.1
