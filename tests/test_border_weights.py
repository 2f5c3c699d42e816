"""The weights between regions against equation 2 taken literally, and the loss they make."""

from __future__ import annotations

import math
from collections import deque

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fcn_tutorial.losses import border_weights, weighted_cross_entropy


def literal(labels: Tensor, w0: float, sigma: float) -> Tensor:
    """Regions by flooding, distances by looking at every pixel of every region."""
    height, width = labels.shape
    cells: list[set[tuple[int, int]]] = []
    taken: set[tuple[int, int]] = set()
    for start in ((y, x) for y in range(height) for x in range(width)):
        if start in taken or int(labels[start]) in (0, 255):
            continue
        cell, queue = {start}, deque([start])
        while queue:
            y, x = queue.popleft()
            for near in ((y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)):
                inside = 0 <= near[0] < height and 0 <= near[1] < width
                if inside and near not in cell and int(labels[near]) not in (0, 255):
                    cell.add(near)
                    queue.append(near)
        cells.append(cell)
        taken |= cell
    found = torch.zeros(height, width, dtype=torch.float64)
    for y in range(height):
        for x in range(width):
            distances = sorted(min(math.dist((y, x), p) for p in cell) for cell in cells)
            if labels[y, x] == 0 and len(distances) > 1:
                d1, d2 = distances[:2]
                found[y, x] = w0 * math.exp(-((d1 + d2) ** 2) / (2 * sigma**2))
    return found


@pytest.mark.parametrize("seed", range(4))
def test_the_weights_are_those_of_equation_2(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    labels = (torch.rand(2, 17, 23, generator=generator) > 0.85).long() * (1 + seed % 2)
    labels[0, 3:8, 4:9] = 1
    labels[1, 0, 0] = 255
    found = border_weights(labels, 10.0, 2.5)
    expected = torch.stack([literal(image, 10.0, 2.5) for image in labels])
    assert found.dtype == torch.float32
    # Beyond six sigma they are 0: 10 e^-18 = 1.5e-7.
    assert torch.allclose(found.double(), expected, rtol=1e-6, atol=2e-7)


def test_a_gap_of_one_pixel_weighs_most_and_two_regions_are_needed() -> None:
    labels = torch.ones(1, 9, 9, dtype=torch.uint8)
    labels[0, :, 4] = 0
    weights = border_weights(labels)
    assert torch.allclose(weights[0, :, 4], torch.tensor(10 * math.exp(-4 / 50)))
    assert int((weights > 0).sum()) == 9
    labels[0, :, :4] = 0
    assert not border_weights(labels).any() and not border_weights(torch.zeros_like(labels)).any()


def test_regions_that_touch_at_a_corner_are_two() -> None:
    labels = torch.tensor([[[1, 0], [0, 1]]])
    assert torch.allclose(border_weights(labels)[0, 0, 1], torch.tensor(10 * math.exp(-4 / 50)))


def test_the_loss_adds_to_that_of_class_weights() -> None:
    """w(x) = w_c(x) + w0 · exp(…): one loss of each is the loss of their sum."""
    scores = torch.randn(2, 3, 6, 7, dtype=torch.float64, requires_grad=True)
    target = torch.randint(0, 3, (2, 6, 7))
    target[0, 0] = 255
    by_class, weights = torch.tensor([0.5, 2.0, 1.0]).double(), 10 * torch.rand(2, 6, 7).double()
    void = target == 255
    share = scores.softmax(1).gather(1, target.masked_fill(void, 0)[:, None])[:, 0]
    each = (by_class[target.masked_fill(void, 0)] + weights) * -share.log()
    two = weighted_cross_entropy(scores, target, weights)
    two = two + F.cross_entropy(scores, target, by_class, ignore_index=255, reduction="sum")
    assert torch.allclose(two, each[~void].sum())
    (gradient,) = torch.autograd.grad(two, scores)
    assert not gradient[0, :, 0].any() and gradient[1, :, 0].any()


@pytest.mark.parametrize(
    ("target", "weights", "message"),
    [
        (torch.zeros(2, 6, 7).long(), torch.ones(6, 7), "pass a weight for each pixel"),
        (torch.zeros(1, 6, 7).long(), torch.ones(1, 6, 7), r"\(N, H, W\) with N = 2"),
        (torch.full((2, 6, 7), 3), torch.ones(2, 6, 7), "3"),
    ],
)
def test_shapes_and_labels_that_do_not_belong_together_are_refused(
    target: torch.Tensor, weights: torch.Tensor, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        weighted_cross_entropy(torch.zeros(2, 3, 6, 7), target, weights)


@pytest.mark.parametrize(
    ("labels", "settings", "message"),
    [
        (torch.zeros(6, 7).long(), {}, r"\(N, H, W\), got torch.int64 \(6, 7\)"),
        (torch.zeros(1, 6, 7), {}, "whole numbers"),
        (torch.zeros(1, 6, 7).long(), {"sigma": 0}, "sigma=0 must be positive"),
    ],
)
def test_weights_of_what_are_no_labels_are_refused(
    labels: torch.Tensor, settings: dict[str, float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        border_weights(labels, **settings)  # type: ignore[arg-type]
