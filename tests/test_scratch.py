"""The NumPy layers against torch in float64, against each other, and at the ends of the range."""

import subprocess
import sys
import warnings
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import signal

from fcn_tutorial import scratch

# Sums of at most 2·16 products of normal numbers: float64 leaves about 1e-15 of them.
close = dict(rtol=1e-12, atol=1e-12)

# Height and width differ, so that swapped axes show; 11 holds the widest kernel, 3·3 + 1.
SIZES = [(11, 13), (12, 11)]
GRID = list(product((1, 2, 3, 4), (1, 2, 3), (0, 1, 2), (1, 2, 3)))  # kernel, stride, padding, dil.


def normal(*shape: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.random.default_rng(sum(shape)).standard_normal(shape)


def t(array: Any) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array))


# ---- convolution --------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_cross_correlation_equals_torch_and_its_matrix(size: tuple[int, int]) -> None:
    image, bias = normal(2, *size), normal(3)
    for kernel, stride, padding, dilation in GRID:
        weight = normal(3, 2, kernel, kernel)
        numbers = dict(stride=stride, padding=padding, dilation=dilation)
        ours = scratch.cross_correlate(image, weight, bias, **numbers)
        theirs = F.conv2d(t(image), t(weight), t(bias), **numbers)
        np.testing.assert_allclose(ours, theirs.numpy(), **close, err_msg=str(numbers))
        matrix = scratch.convolution_matrix(weight, image.shape, **numbers)
        product_ = (matrix @ image.ravel()).reshape(ours.shape) + bias[:, None, None]
        np.testing.assert_allclose(product_, theirs.numpy(), **close, err_msg=str(numbers))


@pytest.mark.parametrize("kernel", [1, 2, 3, 4])
def test_convolution_turns_the_kernel(kernel: int) -> None:
    image, weight = normal(2, 7, 9), normal(3, 2, kernel, kernel)
    expected = [
        sum(signal.convolve2d(image[c], weight[o, c], mode="valid") for c in range(2))
        for o in range(3)
    ]
    np.testing.assert_allclose(scratch.convolve(image, weight), expected, **close)


def test_true_convolution_equals_torch_s_of_the_turned_kernel_and_its_matrix() -> None:
    image, bias = normal(2, *SIZES[0]), normal(3)
    for kernel, stride, padding, dilation in GRID:
        weight = normal(3, 2, kernel, kernel)
        numbers = dict(stride=stride, padding=padding, dilation=dilation)
        ours = scratch.convolve(image, weight, bias, **numbers)
        theirs = F.conv2d(t(image), t(weight).flip(2, 3), t(bias), **numbers)
        np.testing.assert_allclose(ours, theirs.numpy(), **close, err_msg=str(numbers))
        matrix = scratch.convolution_matrix(weight[:, :, ::-1, ::-1], image.shape, **numbers)
        product_ = (matrix @ image.ravel()).reshape(ours.shape) + bias[:, None, None]
        np.testing.assert_allclose(product_, ours, **close, err_msg=str(numbers))


@pytest.mark.identity
@pytest.mark.parametrize("size", [(3, 4), (5, 2)])
def test_transposed_convolution_equals_torch_and_the_transposed_matrix(
    size: tuple[int, int],
) -> None:
    image = normal(2, *size)
    compared = 0
    for kernel, stride, padding, dilation in GRID:
        if (min(size) - 1) * stride + dilation * (kernel - 1) + 1 <= 2 * padding:
            continue  # nothing left; an error, tested below
        weight = normal(2, 3, kernel, kernel)
        numbers = dict(stride=stride, padding=padding, dilation=dilation)
        for more in range(stride):
            ours = scratch.transposed_convolution(image, weight, output_padding=more, **numbers)
            theirs = F.conv_transpose2d(t(image), t(weight), output_padding=more, **numbers)
            np.testing.assert_allclose(ours, theirs.numpy(), **close, err_msg=str(numbers))
            matrix = scratch.convolution_matrix(weight, ours.shape, **numbers)
            np.testing.assert_allclose(matrix.T @ image.ravel(), ours.ravel(), **close)
            compared += 1
    assert compared > 180


@pytest.mark.identity
def test_transposed_convolution_is_the_adjoint() -> None:
    image = normal(2, 11, 13)
    for kernel, stride, padding, dilation in GRID:
        weight = normal(3, 2, kernel, kernel)
        forward = scratch.cross_correlate(image, weight, None, stride, padding, dilation)
        other = normal(*forward.shape)
        # A stride may leave rows or columns unread at the end; they get their zeros back.
        rest = [(n + 2 * padding - dilation * (kernel - 1) - 1) % stride for n in (11, 13)]
        back = scratch.transposed_convolution(other, weight, stride, padding, max(rest), dilation)
        back = back[:, :11, :13]
        assert back.shape == image.shape
        assert np.vdot(forward, other) == pytest.approx(np.vdot(image, back), rel=1e-11, abs=1e-11)


# ---- pooling ------------------------------------------------------------------------------------


@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize("size", [*SIZES, (10, 14)])
def test_pooling_equals_torch(size: tuple[int, int], ceil: bool) -> None:
    image = normal(2, *size) - 3  # mostly negative: a zero in the padding would win
    for kernel, stride, padding, dilation in GRID:
        if padding > kernel // 2:
            continue  # torch refuses these
        numbers = dict(stride=stride, padding=padding)
        ours = scratch.max_pool(image, kernel, dilation=dilation, ceil=ceil, **numbers)
        theirs = F.max_pool2d(t(image), kernel, dilation=dilation, ceil_mode=ceil, **numbers)
        np.testing.assert_array_equal(ours, theirs.numpy(), err_msg=f"{kernel} {numbers}")
        if dilation == 1:
            ours = scratch.average_pool(image, kernel, ceil=ceil, **numbers)
            theirs = F.avg_pool2d(t(image), kernel, ceil_mode=ceil, **numbers)
            np.testing.assert_allclose(ours, theirs.numpy(), **close, err_msg=f"{kernel} {numbers}")


@pytest.mark.parametrize("ceil", [False, True])
def test_average_pooling_equals_its_matrix(ceil: bool) -> None:
    image = normal(2, 7, 10)
    for kernel, stride, padding in product((1, 2, 3, 4), (1, 2, 3), (0, 1, 2)):
        if padding > kernel // 2:
            continue
        matrix = scratch.average_pooling_matrix(image.shape, kernel, stride, padding, ceil)
        theirs = F.avg_pool2d(t(image), kernel, stride, padding, ceil).numpy()
        case = f"{kernel} {stride} {padding}"
        assert matrix.shape == (theirs.size, image.size), case
        np.testing.assert_allclose(
            (matrix @ image.ravel()).reshape(theirs.shape), theirs, **close, err_msg=case
        )
        if padding == 0:
            np.testing.assert_allclose(matrix.sum(axis=1), 1, **close, err_msg=case)


def test_average_pooling_without_padding_is_a_strided_convolution() -> None:
    image = normal(3, 9, 11)
    for kernel, stride in product((1, 2, 3, 4), (1, 2, 3)):
        weight = np.eye(3)[:, :, None, None] * np.full((kernel, kernel), 1 / kernel**2)
        pooled = scratch.average_pool(image, kernel, stride)
        convolved = scratch.cross_correlate(image, weight, stride=stride)
        np.testing.assert_allclose(pooled, convolved, **close)
        matrix = scratch.average_pooling_matrix(image.shape, kernel, stride)
        np.testing.assert_allclose(
            matrix, scratch.convolution_matrix(weight, image.shape, stride), **close
        )


def test_a_strided_convolution_has_the_shape_of_the_pooling_it_stands_for() -> None:
    for size, kernel, stride in product(SIZES, (2, 3, 4), (1, 2, 3)):
        image, weight = normal(2, *size), normal(2, 2, kernel, kernel)
        convolved = scratch.cross_correlate(image, weight, stride=stride)
        assert convolved.shape == scratch.max_pool(image, kernel, stride).shape
        # Every stride-th pixel of the convolution by steps of one.
        every = scratch.cross_correlate(image, weight)[:, ::stride, ::stride]
        np.testing.assert_allclose(convolved, every, **close)


def test_max_pooling_is_not_linear_and_has_no_matrix() -> None:
    one, other = np.array([[[1.0, 0.0]]]), np.array([[[0.0, 1.0]]])

    def pooled(image: Any) -> float:
        return scratch.max_pool(image.reshape(1, 1, 2).repeat(2, axis=1), 2, 1).item()

    assert pooled(one) + pooled(other) == 2
    assert pooled(one + other) == 1


# ---- nonlinearities and loss --------------------------------------------------------------------

ELEMENTWISE = [
    (scratch.relu, torch.relu),
    (scratch.sigmoid, torch.sigmoid),
    (scratch.tanh, torch.tanh),
]


@pytest.mark.parametrize(("ours", "theirs"), ELEMENTWISE)
def test_nonlinearity_equals_torch_to_the_ends_of_the_range(
    ours: Callable[..., Any], theirs: Callable[..., torch.Tensor]
) -> None:
    tiny_to_huge = np.logspace(-300, 300, 61)
    values = np.concatenate([-tiny_to_huge, [-np.inf, 0, np.inf], tiny_to_huge, 9 * normal(500)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = ours(values)
    # The relative tolerance alone: tanh(1e-300) is 1e-300, not 0.
    np.testing.assert_allclose(result, theirs(t(values)).numpy(), rtol=1e-12, atol=0)
    assert result.dtype == np.float64
    assert np.isnan(ours(np.nan))


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_softmax_equals_torch(axis: int) -> None:
    scores = 10 * normal(4, 5, 6)
    np.testing.assert_allclose(
        scratch.softmax(scores, axis), torch.softmax(t(scores), axis).numpy(), rtol=1e-12, atol=0
    )


def test_softmax_and_loss_stay_finite_for_huge_scores() -> None:
    scores = np.array([1e308, -1e4, 0, 1e308]).reshape(4, 1, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(scratch.softmax(scores).ravel(), [0.5, 0, 0, 0.5])
        assert scratch.cross_entropy(scores, [[0]]) == pytest.approx(np.log(2), rel=1e-15)
        assert scratch.cross_entropy([[[0.0]], [[-1e4]]], [[1]]) == 1e4
        np.testing.assert_array_equal(scratch.softmax([-1e4, -1e4]), [0.5, 0.5])


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("ignore_index", [255, 0, -1])
def test_cross_entropy_equals_torch(reduction: Any, ignore_index: int) -> None:
    scores = 5 * normal(4, 5, 7)
    target = np.random.default_rng(0).integers(0, 4, (5, 7))
    target[::2, 1] = ignore_index
    ours = scratch.cross_entropy(scores, target, ignore_index, reduction)
    theirs = F.cross_entropy(
        t(scores)[None], t(target)[None], ignore_index=ignore_index, reduction=reduction
    )
    assert ours == pytest.approx(theirs.item(), rel=1e-12)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_cross_entropy_without_a_valid_pixel_is_zero(reduction: Any) -> None:
    target = np.full((2, 3), 255, dtype=np.uint8)
    assert scratch.cross_entropy(normal(4, 2, 3), target, reduction=reduction) == 0


# ---- what is read and what is refused -----------------------------------------------------------


def test_integers_are_read_as_float64() -> None:
    image = np.full((1, 3, 3), 200, dtype=np.uint8)
    weight = np.full((1, 1, 3, 3), 2, dtype=np.uint8)
    out = scratch.cross_correlate(image, weight)
    assert out.dtype == np.float64
    assert out.item() == 3600  # uint8 would have wrapped
    assert scratch.average_pool(image, 3, 1).item() == 200


def test_arguments_are_left_as_they_were() -> None:
    image, weight = normal(2, 5, 5), normal(2, 2, 3, 3)
    before = image.copy(), weight.copy()
    scratch.cross_correlate(image, weight)
    scratch.transposed_convolution(image, weight)
    scratch.max_pool(image, 2, 2)
    scratch.relu(image)
    scratch.softmax(image)
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(weight, before[1])


I = np.zeros((2, 5, 6))  # noqa: E741
W = np.zeros((3, 2, 3, 3))
S = np.zeros((4, 2, 3))

REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: scratch.cross_correlate(I[0], W), r"image must be \(C, H, W\), got shape \(5, 6\)"),
    (lambda: scratch.cross_correlate(I, W[0]), r"weight must be \(K, C, k, k\), got shape"),
    (lambda: scratch.cross_correlate(I, W[..., :2]), r"square kernels \(k, k\), got \(3, 2\)"),
    (lambda: scratch.cross_correlate(I[:1], W), r"image has 1 channels .* weight.shape\[1\]"),
    (lambda: scratch.cross_correlate(I, W, [1.0]), "bias has 1 values for 3 filters"),
    (lambda: scratch.cross_correlate(I, W, 1.0), r"bias must be \(K\), got shape \(\)"),
    (lambda: scratch.cross_correlate(I, W, stride=0), "stride must be .* at least 1, got 0"),
    (lambda: scratch.cross_correlate(I, W, padding=-1), "padding must be .* at least 0, got -1"),
    (lambda: scratch.cross_correlate(I, W, dilation=3), "turns 5 pixels into -1"),
    (lambda: scratch.convolve(I, W[0]), r"weight must be \(K, C, k, k\)"),
    (lambda: scratch.convolution_matrix(W, (5, 6)), r"input_shape must be \(C, H, W\)"),  # type: ignore[arg-type]
    (lambda: scratch.convolution_matrix(W, (3, 5, 6)), "image has 3 channels .* reads 2"),
    (lambda: scratch.transposed_convolution(I, W), r"reads 3: make weight.shape\[0\]"),
    (lambda: scratch.transposed_convolution(I, W[:2, :, 0]), r"weight must be \(C, K, k, k\)"),
    (lambda: scratch.transposed_convolution(I, W[:2], 2, 0, 2), "from 0 to stride − 1 = 1, got 2"),
    (lambda: scratch.transposed_convolution(I, W[:2], 2, 0, -1), "from 0 to stride − 1 = 1"),
    (lambda: scratch.transposed_convolution(I, W[:2], 1, 4), "turns 5 pixels into -1"),
    (lambda: scratch.max_pool(I[0], 2, 2), r"image must be \(C, H, W\)"),
    (lambda: scratch.max_pool(I, 2, 2, padding=2), "see padding only"),
    (lambda: scratch.average_pool(I[0], 2, 2), r"image must be \(C, H, W\)"),
    (lambda: scratch.average_pool(I, 6, 1), "turns 5 pixels into 0"),
    (lambda: scratch.average_pooling_matrix((5, 6), 2, 2), r"input_shape must be \(C, H, W\)"),  # type: ignore[arg-type]
    (lambda: scratch.average_pooling_matrix((2, 5, 6), 6, 1), "turns 5 pixels into 0"),
    (lambda: scratch.softmax(S, 3), "axis 3 is out of bounds"),
    (lambda: scratch.cross_entropy(S[0], [[0]]), r"scores must be \(C, H, W\)"),
    (lambda: scratch.cross_entropy(S, [[0]]), r"target must be \(H, W\) = \(2, 3\), got \(1, 1\)"),
    (lambda: scratch.cross_entropy(S, S[0]), "target must hold integers, got float64"),
    (lambda: scratch.cross_entropy(S, np.full((2, 3), 4)), r"target holds 4 at \(0, 0\)"),
    (lambda: scratch.cross_entropy(S, np.full((2, 3), -1)), r"target holds -1 at \(0, 0\)"),
    (
        lambda: scratch.cross_entropy(S, np.zeros((2, 3), int), reduction="none"),  # type: ignore[arg-type]
        "reduction must be 'mean' or 'sum', got 'none'",
    ),
]


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_what_does_not_fit_is_refused_with_a_reason(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_scratch_does_not_load_torch() -> None:
    code = "import sys, fcn_tutorial.scratch; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
