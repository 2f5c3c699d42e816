"""Each loss, metric, upsampling form and network computes on a device what it does on a CPU.

The oracle is the same call in float64 on the CPU, whose own tests compare it with definitions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from fcn_tutorial import losses, metrics
from fcn_tutorial.upsampling import Deconvolution, upsample
from tests.devices import on_cuda, on_every_device
from tests.models.networks import NETWORKS, joined, make

#: Relative to the largest value. float64: sums of thousands of terms in another order. float32:
#: its rounding, 6e-8, over the same sums.
TOLERANCE = {torch.float64: 1e-11, torch.float32: 2e-5}
exactly_and_usually = pytest.mark.parametrize("dtype", TOLERANCE, ids=["float64", "float32"])


@pytest.fixture(autouse=True)
def _strict_float32() -> Iterator[None]:
    """No TF32, which has three digits and is cuDNN's default."""
    backends = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [backend.allow_tf32 for backend in backends]
    for backend in backends:
        backend.allow_tf32 = False
    yield
    for backend, allowed in zip(backends, before, strict=True):
        backend.allow_tf32 = allowed


def scores(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def labels(batch: int, size: tuple[int, int], classes: int, seed: int = 1) -> Tensor:
    """About a fifth is void."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(classes, (batch, *size), generator=generator, dtype=torch.uint8)
    return target.masked_fill(torch.rand(target.shape, generator=generator) < 0.2, 255)


def assert_close(found: Tensor, expected: Tensor, dtype: torch.dtype) -> None:
    assert found.dtype == dtype
    scale = float(expected.abs().max())
    assert scale > 0
    difference = float((found.detach().cpu().double() - expected).abs().max())
    assert difference <= TOLERANCE[dtype] * scale


def with_gradient(call: Callable[[Tensor], Tensor], leaf: Tensor) -> tuple[Tensor, Tensor]:
    """The result, and the gradient of a sum that gives each of its values another weight."""
    leaf = leaf.detach().requires_grad_()
    result = call(leaf)
    weight = scores(*result.shape, seed=9).to(result.device, result.dtype)
    return result.detach(), torch.autograd.grad((result * weight).sum(), leaf)[0]


FORMS: dict[str, Callable[[Tensor], Tensor]] = {
    **{
        f"{method} {border}": lambda s, m=method, b=border: upsample(
            s, 8, (37, 45), 3, method=m, border=b
        )
        for method in ("matrix", "depthwise", "dense")
        for border in ("zero", "replicate")
    },
    "×32": lambda s: upsample(s, 32, (150, 170), 16),
    "learned": lambda s: Deconvolution(5, 2).to(s.device, s.dtype)(s, (10, 13)),
}


@on_every_device
@exactly_and_usually
@pytest.mark.parametrize("form", FORMS)
def test_an_upsampling_form_and_its_gradient(form: str, dtype: torch.dtype, device: str) -> None:
    call, coarse = FORMS[form], scores(2, 5, 5, 6)
    expected = with_gradient(call, coarse)
    found = with_gradient(call, coarse.to(device, dtype))
    for ours, theirs in zip(found, expected, strict=True):
        assert_close(ours, theirs, dtype)


WEIGHT = torch.tensor([0.5, 2.0, 0.0, 1.25, 1.0])
FINE, COARSE = labels(2, (40, 48), 5), (2, 5, 5, 6)
LOSSES: dict[str, tuple[tuple[int, ...], Callable[[Tensor], Tensor]]] = {
    "cross-entropy": (
        (2, 5, 40, 48), lambda s: losses.pixel_cross_entropy(s, FINE.to(s.device))
    ),
    "weighted sum": (
        (2, 5, 40, 48),
        lambda s: losses.pixel_cross_entropy(
            s, FINE.to(s.device), weight=WEIGHT.to(s.device, s.dtype), reduction="sum"
        ),
    ),
    "upsampled": (COARSE, lambda s: losses.upsample_cross_entropy(s, FINE.to(s.device), 8, 4)),
    "upsampled, weighted, border goes on": (
        COARSE,
        lambda s: losses.upsample_cross_entropy(
            s, FINE.to(s.device), 8, 4, weight=WEIGHT.to(s.device, s.dtype), border="replicate"
        ),
    ),
    "upsampled in many bands": (
        COARSE,
        lambda s: losses.upsample_cross_entropy(s, FINE.to(s.device), 8, 4, band_elements=500),
    ),
    "several heads": (
        COARSE,
        lambda s: losses.multitask_loss(
            {"a": s, "b": s.flip(1)}, {"a": FINE.to(s.device), "b": FINE.to(s.device)}, 8, 4
        ).total,
    ),
}  # fmt: skip


@on_every_device
@exactly_and_usually
@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_and_its_gradient(name: str, dtype: torch.dtype, device: str) -> None:
    shape, call = LOSSES[name]
    expected = with_gradient(call, scores(*shape))
    found = with_gradient(call, scores(*shape).to(device, dtype))
    for ours, theirs in zip(found, expected, strict=True):
        assert_close(ours, theirs, dtype)


@on_cuda
def test_pixels_drawn_by_a_generator_of_the_cpu_are_the_same(device: str) -> None:
    target = torch.zeros(2, 20, 20, dtype=torch.uint8)
    sampled = [
        losses.sample_pixels(target.to(where), 0.5, 4, torch.Generator().manual_seed(0))
        for where in ("cpu", device)
    ]
    assert sampled[1].is_cuda and torch.equal(sampled[1].cpu(), sampled[0])
    assert losses.sample_pixels(target.cuda(), 0.5).is_cuda


@on_every_device
def test_frequencies_of_labels_weigh_classes_alike(device: str) -> None:
    counts = torch.tensor([5, 700, 31, 0, 12])
    for rule in ("log", "inverse_sqrt", "inverse"):
        expected = losses.frequency_weights(counts, rule)
        assert torch.equal(losses.frequency_weights(counts.to(device), rule).cpu(), expected)


@on_every_device
@pytest.mark.parametrize("classes", [2, 21, 150])
def test_confusion_counts_and_scores_are_equal(classes: int, device: str) -> None:
    """Against counting pixel by pixel; int64 has no rounding."""
    target = labels(2, (30, 41), classes)
    prediction = labels(2, (30, 41), classes, seed=5) % classes
    expected = torch.zeros(classes, classes, dtype=torch.int64)
    for truth, said in zip(target.flatten().tolist(), prediction.flatten().tolist(), strict=True):
        if truth != 255:
            expected[truth, said] += 1
    counted = metrics.ConfusionMatrix(classes).update(prediction.to(device), target.to(device))
    assert counted.matrix.device.type == device and torch.equal(counted.matrix.cpu(), expected)
    again = metrics.ConfusionMatrix(classes).update(prediction, target)
    on_device, on_cpu = (counted.compute(), again.compute())
    for name in ("pixel_accuracy", "mean_accuracy", "mean_iu", "fw_iu"):
        assert getattr(on_device, name) == pytest.approx(getattr(on_cpu, name), rel=1e-14)


@on_every_device
def test_a_wrong_label_is_named_and_does_not_spoil_the_device(device: str) -> None:
    """On CUDA an index out of range would end every later call of the process."""
    counted = metrics.ConfusionMatrix(3)
    wrong = torch.full((1, 4, 4), 7, dtype=torch.uint8, device=device)
    with pytest.raises(ValueError, match="7"):
        counted.update(wrong, torch.zeros_like(wrong))
    assert float(torch.ones(3, device=device).sum()) == 3


@on_every_device
@exactly_and_usually
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network(name: str, dtype: torch.dtype, device: str) -> None:
    if device == "cpu" and dtype == torch.float64:
        pytest.skip("that is the oracle")
    network = make(name).double().eval()
    images = scores(2, network.in_channels, 64, 97)
    with torch.no_grad():
        expected = joined(network(images))
        found: Any = joined(network.to(device, dtype)(images.to(device, dtype)))
    # Tens of layers, each with its rounding.
    scale = 20 * TOLERANCE[dtype] * float(expected.abs().max())
    assert float((found.cpu().double() - expected).abs().max()) <= scale
