"""Losses: cross-entropy with void by its definition, its banded form, and the two conventions."""

from __future__ import annotations

import math
from fractions import Fraction
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
    pixel_cross_entropy,
    translate,
    upsample_cross_entropy,
)
from fcn_tutorial.upsampling import upsample

CLASSES = 4


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
