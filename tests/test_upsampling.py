"""Upsampling: one meaning, three ways to compute it, and the facts about its phase and borders."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fcn_tutorial.upsampling import (
    aligned_offset,
    bilinear_kernel,
    bilinear_matrix,
    row_support,
    upsample,
)

FACTORS_AND_KERNELS = [(2, None), (4, None), (8, None), (16, None), (32, None), (32, 63)]
EXACT = {"rtol": 0, "atol": 1e-12}  # float64 sums of at most four products of numbers near one


def tent(position: Fraction, centre: int, factor: int, k: int) -> Fraction:
    """Weight of score `centre` at an output `position`, written as in the definition."""
    distance = abs(position - Fraction(k - 1, 2) - factor * centre)
    return max(Fraction(0), 1 - distance / Fraction((k + 1) // 2))


def random_scores(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


# --- the kernel and the matrix -------------------------------------------------------------------


@pytest.mark.parametrize("factor", [*range(1, 18), 32])
def test_kernel_has_the_published_side_and_centre(factor: int) -> None:
    k = 2 * factor - factor % 2
    half = (k + 1) // 2
    centre = half - 1 if k % 2 == 1 else half - 0.5
    line = torch.tensor([1 - abs(i - centre) / half for i in range(k)], dtype=torch.float64)
    kernel = bilinear_kernel(factor)
    assert kernel.shape == (k, k) and kernel.dtype == torch.float64
    torch.testing.assert_close(kernel, line[:, None] * line, **EXACT)
    assert kernel.sum().item() == pytest.approx(factor**2, rel=1e-12)


@pytest.mark.parametrize(("factor", "kernel_size"), [*FACTORS_AND_KERNELS, (3, None), (5, None)])
def test_matrix_is_the_transposed_convolution_of_a_line_for_every_length(
    factor: int, kernel_size: int | None
) -> None:
    kernel = bilinear_kernel(factor, kernel_size)
    line = kernel.sum(dim=0) / kernel.sum().sqrt()  # the kernel is the outer square of this
    k = len(line)
    unit = torch.eye(64, dtype=torch.float64)[:, None]
    longest = F.conv_transpose1d(unit, line[None, None], stride=factor)[:, 0].T
    for n in range(1, 65):
        full = (n - 1) * factor + k
        expected = longest[:full, :n]  # what a score adds does not depend on those after it
        matrix = bilinear_matrix(n, factor, full, 0, kernel_size)
        assert (matrix - expected).abs().max() < 1e-15
        if n > 16:
            continue
        offset = min(n, factor // 2)
        crop = bilinear_matrix(n, factor, full - 2 * offset, offset, kernel_size)
        assert torch.equal(crop, matrix[offset : full - offset])


@settings(max_examples=100, deadline=None)
@given(
    n=st.integers(1, 6),
    factor=st.integers(1, 9),
    size=st.integers(1, 12),
    offset=st.fractions(-20, 40, max_denominator=12),
    kernel_size=st.none() | st.integers(1, 20),
    border=st.sampled_from(["zero", "replicate"]),
)
def test_matrix_is_the_tent_at_exact_positions_rounded_once(
    n: int, factor: int, size: int, offset: Fraction, kernel_size: int | None, border: str
) -> None:
    k = kernel_size or 2 * factor - factor % 2
    matrix = bilinear_matrix(n, factor, size, offset, kernel_size, border)
    for y in range(size):
        position = y + offset
        if border == "replicate":  # score i sits at output position factor·i + (k − 1)/2
            first, last = Fraction(k - 1, 2), factor * (n - 1) + Fraction(k - 1, 2)
            position = min(max(position, first), last)
        expected = [float(tent(position, i, factor, k)) for i in range(n)]
        assert matrix[y].tolist() == expected


@settings(max_examples=100, deadline=None)
@given(
    n=st.integers(1, 8),
    factor=st.integers(1, 9),
    first=st.integers(0, 30),
    rows=st.integers(1, 20),
    offset=st.fractions(-40, 60, max_denominator=6),
    kernel_size=st.none() | st.integers(1, 20),
    border=st.sampled_from(["zero", "replicate"]),
)
def test_row_support_is_the_smallest_range_with_all_the_weights(
    n: int,
    factor: int,
    first: int,
    rows: int,
    offset: Fraction,
    kernel_size: int | None,
    border: str,
) -> None:
    last = first + rows
    band = bilinear_matrix(n, factor, last, offset, kernel_size, border)[first:]
    used = band.any(dim=0).nonzero().flatten().tolist()
    low, high = row_support(first, last, n, factor, offset, kernel_size, border)
    assert 0 <= low <= high <= n
    if used:
        # With a kernel narrower than the factor, scores between two used ones may be unused.
        assert (low, high) == (used[0], used[-1] + 1)
    else:
        assert not band[:, low:high].any()


@pytest.mark.parametrize("factor", [*range(1, 18), 32])
def test_weights_add_up_to_one_inside_the_map(factor: int) -> None:
    inside = bilinear_matrix(5, factor, 4 * factor, factor // 2 + factor)
    assert inside.sum(dim=1)[: 2 * factor].tolist() == pytest.approx([1.0] * 2 * factor, abs=1e-15)


@pytest.mark.parametrize(("kernel_size", "unity"), [(63, True), (64, True), (65, False)])
def test_kernel_63_interpolates_at_factor_32(kernel_size: int, unity: bool) -> None:
    inside = bilinear_matrix(5, 32, 64, 64, kernel_size).sum(dim=1)
    assert torch.allclose(inside, torch.ones(64, dtype=torch.float64), atol=1e-14) == unity


def test_kernel_5_at_factor_2_does_not_add_up_to_one() -> None:
    inside = bilinear_matrix(9, 2, 6, 6, 5).sum(dim=1)
    assert set(inside.mul(3).round(decimals=9).tolist()) == {4.0, 5.0}


# --- three ways, one result ----------------------------------------------------------------------


@pytest.mark.parametrize(("factor", "kernel_size"), FACTORS_AND_KERNELS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (7, 1), (3, 5), (9, 4), (16, 17)])
def test_methods_agree_forward_and_backward(
    factor: int, kernel_size: int | None, shape: tuple[int, int]
) -> None:
    if factor * max(shape) > 200:
        shape = (min(shape[0], 4), min(shape[1], 5))
    scores = random_scores(2, 3, *shape)
    full = [(n - 1) * factor + (kernel_size or 2 * factor) for n in shape]
    crops = [
        (None, None),
        ((full[0] - 3, full[1] - 2), (1, 2)),  # a crop, not the same on the two axes
        ((full[0] + 5, full[1] + 4), (-2, 3)),  # zeros above, below and to the right
        ((factor, factor + 1), factor // 2),
    ]
    for size, offset in crops:
        results, gradients = [], []
        for method in ("matrix", "depthwise", "dense"):
            leaf = scores.clone().requires_grad_()
            fine = upsample(leaf, factor, size, offset, method, kernel_size)
            assert fine.is_contiguous()
            fine.backward(random_scores(*fine.shape, seed=1))
            results.append(fine.detach())
            gradients.append(leaf.grad)
        assert results[0].shape == (2, 3, *(size or full))
        for other in (1, 2):
            torch.testing.assert_close(results[other], results[0], **EXACT)
            # a gradient sums (2·factor)² products
            torch.testing.assert_close(gradients[other], gradients[0], rtol=1e-12, atol=1e-11)


def test_fractional_offset_evaluates_the_tent_between_pixels() -> None:
    scores = random_scores(1, 1, 3, 4)
    offset = (Fraction(7, 3), Fraction(-5, 2))
    fine = upsample(scores, 4, (9, 11), offset)[0, 0]
    for y in range(9):
        for x in range(11):
            direct = sum(
                float(tent(y + offset[0], i, 4, 8) * tent(x + offset[1], j, 4, 8))
                * scores[0, 0, i, j].item()
                for i in range(3)
                for j in range(4)
            )
            assert fine[y, x].item() == pytest.approx(direct, abs=1e-14)


@pytest.mark.parametrize("offset", [0, 3, -2, Fraction(5, 2), Fraction(-1, 3)])
def test_default_size_reaches_the_last_row_of_the_transposed_convolution(
    offset: int | Fraction,
) -> None:
    fine = upsample(random_scores(1, 1, 3, 5), 4, offset=offset)
    for n, size in ((3, fine.shape[2]), (5, fine.shape[3])):
        last = (n - 1) * 4 + 8 - 1
        assert size - 1 + offset <= last < size + offset


# --- against torch's own interpolation -----------------------------------------------------------


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 5, 8, 16, 32])
@pytest.mark.parametrize("shape", [(1, 1), (2, 7), (6, 3)])
def test_replicate_border_equals_interpolate_everywhere(
    factor: int, shape: tuple[int, int]
) -> None:
    scores = random_scores(2, 3, *shape)
    size = (factor * shape[0], factor * shape[1])
    expected = F.interpolate(scores, scale_factor=factor, mode="bilinear", align_corners=False)
    kernels = [None, 63] if factor == 32 else [None]
    for kernel_size in kernels:
        offset = aligned_offset(factor, kernel_size)
        fine = upsample(scores, factor, size, offset, kernel_size=kernel_size, border="replicate")
        torch.testing.assert_close(fine, expected, **EXACT)


@pytest.mark.parametrize("factor", [2, 4, 8, 32])
def test_deconvolution_is_interpolate_between_scores_padded_with_zeros(factor: int) -> None:
    scores = random_scores(1, 2, 3, 4)
    padded = F.pad(scores, (1, 1, 1, 1))
    wide = F.interpolate(padded, scale_factor=factor, mode="bilinear", align_corners=False)
    half = factor // 2
    expected = wide[:, :, half:-half, half:-half]
    torch.testing.assert_close(upsample(scores, factor), expected, **EXACT)


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_zero_border_differs_from_interpolate_in_the_outer_half_cell_only(factor: int) -> None:
    scores = random_scores(1, 1, 4, 5) + 3
    size = (4 * factor, 5 * factor)
    zero = upsample(scores, factor, size, factor // 2)
    plain = F.interpolate(scores, scale_factor=factor, mode="bilinear", align_corners=False)
    differs = ((zero - plain).abs() > 1e-9)[0, 0]
    half = factor // 2
    assert not differs[half:-half, half:-half].any()
    assert differs[:half].all() and differs[:, :half].all()
    assert differs[-half:].all() and differs[:, -half:].all()


def test_two_then_sixteen_is_not_thirty_two() -> None:
    scores = random_scores(1, 1, 6, 6)
    twice = upsample(upsample(scores, 2, (12, 12), 1), 16, (192, 192), 8)
    once = upsample(scores, 32, (192, 192), 16)
    assert (twice - once).abs().max() > 0.01


# --- dtypes, layouts, modes ----------------------------------------------------------------------


@pytest.mark.parametrize("method", ["matrix", "depthwise", "dense"])
def test_memory_format_does_not_change_the_result(method: str) -> None:
    scores = random_scores(2, 5, 4, 6)
    expected = upsample(scores, 8, (30, 40), (3, 4))
    for layout in (scores.to(memory_format=torch.channels_last), scores.mT.contiguous().mT):
        fine = upsample(layout, 8, (30, 40), (3, 4), method)
        assert fine.is_contiguous()
        torch.testing.assert_close(fine, expected, **EXACT)


@pytest.mark.parametrize("method", ["matrix", "depthwise", "dense"])
def test_dtype_follows_the_scores_and_autocast(method: str) -> None:
    scores = random_scores(1, 2, 3, 3)
    exact = upsample(scores, 4)
    for dtype, error in ((torch.float64, 1e-13), (torch.float32, 1e-5), (torch.bfloat16, 0.05)):
        fine = upsample(scores.to(dtype), 4, method=method)
        assert fine.dtype == dtype
        torch.testing.assert_close(fine.double(), exact, rtol=0, atol=error)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert upsample(scores.float(), 4, method=method).dtype == torch.bfloat16
        assert upsample(scores, 4, method=method).dtype == torch.float64


def test_inference_mode_and_fake_tensors_leave_nothing_behind() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    sizes = {"factor": 7, "size": (19, 23)}  # met nowhere else, so that no cached matrix exists
    with torch.inference_mode():
        upsample(torch.zeros(1, 1, 3, 4), **sizes)
    scores = torch.ones(1, 1, 3, 4, requires_grad=True)
    upsample(scores, **sizes).sum().backward()
    assert scores.grad is not None and scores.grad.sum() > 0
    sizes = {"factor": 7, "size": (18, 22)}
    with FakeTensorMode():
        assert upsample(torch.zeros(1, 1, 3, 4), **sizes).shape == (1, 1, 18, 22)
    assert type(upsample(torch.zeros(1, 1, 3, 4), **sizes)) is Tensor


def test_writing_into_a_matrix_does_not_change_the_next() -> None:
    first = bilinear_matrix(3, 4, 10)
    kept = first.clone()
    first.zero_()
    assert torch.equal(bilinear_matrix(3, 4, 10), kept)


class Head(torch.nn.Module):
    def forward(self, scores: Tensor, image: Tensor) -> Tensor:
        fine = upsample(scores, 8, (image.shape[2], image.shape[3]), (Fraction(7, 2), 4))
        return fine + upsample(scores, 8, (image.shape[2], image.shape[3]), 4, "depthwise")


def test_compiles_as_one_graph_for_several_sizes() -> None:
    torch.compiler.reset()
    compiled = torch.compile(Head(), backend="aot_eager", fullgraph=True)
    for shape in ((5, 6), (7, 4)):
        scores = random_scores(2, 3, *shape).requires_grad_()
        image = torch.zeros(2, 1, 8 * shape[0] + 3, 8 * shape[1])
        result, expected = compiled(scores, image), Head()(scores, image)
        torch.testing.assert_close(result, expected, **EXACT)
        gradients = [torch.autograd.grad(out.sin().sum(), scores)[0] for out in (result, expected)]
        torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-12, atol=1e-11)


def test_exports_with_dynamic_height_and_width() -> None:
    height, width = (torch.export.Dim(name, min=2, max=64) for name in ("height", "width"))
    exported = torch.export.export(
        Head(),
        (random_scores(1, 3, 5, 6), torch.zeros(1, 1, 40, 48)),
        dynamic_shapes=({2: height, 3: width}, {2: 8 * height, 3: 8 * width}),
        strict=False,
    )
    scores, image = random_scores(1, 3, 9, 4), torch.zeros(1, 1, 72, 32)
    torch.testing.assert_close(exported.module()(scores, image), Head()(scores, image), **EXACT)


def test_empty_batch_gives_an_empty_batch() -> None:
    assert upsample(torch.zeros(0, 3, 4, 5), 2).shape == (0, 3, 10, 12)


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"factor": 0}, "factor must be at least 1, got 0"),
        ({"kernel_size": 0}, "kernel_size must be at least 1, got 0"),
        ({"size": (0, 3)}, "size must be at least 1"),
        ({"method": "bicubic"}, "method must be .* got 'bicubic'"),
        ({"border": "wrap"}, "border must be .* got 'wrap'"),
        ({"offset": 0.5}, r"offset must be an int or a fractions.Fraction, got 0.5 .*Fraction\(1"),
        ({"offset": Fraction(1, 2), "method": "dense"}, 'offset must be whole.*method="matrix"'),
        ({"offset": (0, Fraction(1, 2)), "method": "depthwise"}, "offset must be whole"),
        ({"border": "replicate", "method": "depthwise"}, 'border=.replicate.*method="matrix"'),
        ({"scores": torch.zeros(3, 4, 5)}, r"\(N, C, H, W\), got torch.float32 \(3, 4, 5\)"),
        ({"scores": torch.zeros(1, 3, 4, 5, dtype=torch.int64)}, "floating point.*torch.int64"),
    ],
)
def test_errors_name_the_argument_its_value_and_the_remedy(
    arguments: dict[str, object], message: str
) -> None:
    given_ = {"scores": torch.zeros(1, 2, 3, 3), "factor": 2, **arguments}
    with pytest.raises(ValueError, match=message):
        upsample(**given_)  # type: ignore[arg-type]
