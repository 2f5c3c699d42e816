"""Upsampling: one meaning, four ways to compute it, and the facts about its phase and borders."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fcn_tutorial.upsampling import (
    Border,
    Deconvolution,
    aligned_offset,
    bilinear_kernel,
    bilinear_matrix,
    kernel_for,
    row_support,
    upsample,
)
from tests.versions import compiles_fractions, exports

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


# --- the kernel that makes a crop whole ----------------------------------------------------------


@pytest.mark.identity
@pytest.mark.parametrize(
    ("factor", "centre", "expected"),
    [
        (32, Fraction(25, 2), (64, 19)),  # FCN-32s, VGG16 padded by 100
        (32, 13, (63, 18)),  # FCN-AlexNet, CaffeNet padded by 100
        (16, Fraction(-23, 2), (32, 27)),  # FCN-16s
        (8, Fraction(-47, 2), (16, 31)),  # FCN-8s
        (2, Fraction(-7, 2), (4, 5)),  # score_pool4
        (32, Fraction(31, 2), (64, 16)),  # "same" padding
        (32, 40, (63, -9)),
        (3, 1, (5, 1)),
    ],
)
def test_kernel_and_offset_of_the_published_networks(
    factor: int, centre: Fraction, expected: tuple[int, int]
) -> None:
    assert kernel_for(factor, centre) == expected


@pytest.mark.identity
@settings(max_examples=100, deadline=None)
@given(st.integers(1, 32), st.integers(-40, 60))
def test_chosen_kernel_interpolates_and_puts_score_0_on_its_centre(
    factor: int, halves: int
) -> None:
    centre = Fraction(halves, 2)
    k, offset = kernel_for(factor, centre)
    # Score 3 of 7 lies on centre + 3·factor; two cells on both its sides are far from the borders.
    lowest = int(centre) + factor
    matrix = bilinear_matrix(7, factor, 4 * factor, offset + lowest, k)
    assert matrix.sum(dim=1).tolist() == pytest.approx([1.0] * 4 * factor, abs=1e-14)
    distances = [abs(y + lowest - centre - 3 * factor) for y in range(4 * factor)]
    expected = [float(max(Fraction(0), 1 - d / factor)) for d in distances]
    assert matrix[:, 3].tolist() == pytest.approx(expected, abs=1e-15)


def test_a_centre_on_no_half_pixel_has_no_kernel() -> None:
    with pytest.raises(ValueError, match="centre=1/3 is neither .*matrix"):
        kernel_for(8, Fraction(1, 3))
    with pytest.raises(ValueError, match="factor must be at least 1, got 0"):
        kernel_for(0, 1)


# --- four ways, one result -----------------------------------------------------------------------

Way = Callable[[Tensor, tuple[int, int], "int | tuple[int, int]", Border], Tensor]


def deconvolution(
    channels: int, factor: int, kernel_size: int | None = None, learned: bool = True
) -> Deconvolution:
    """Built in float64: as float32, weights are exact only where the factor is a power of two."""
    torch.set_default_dtype(torch.float64)
    try:
        return Deconvolution(channels, factor, kernel_size, learned)
    finally:
        torch.set_default_dtype(torch.float32)


def ways(channels: int, factor: int, kernel_size: int | None = None) -> dict[str, Way]:
    def by(method: str) -> Way:
        return lambda scores, size, offset, border: upsample(
            scores, factor, size, offset, method, kernel_size, border
        )

    found = {method: by(method) for method in ("matrix", "depthwise", "dense")}
    return {**found, "module": deconvolution(channels, factor, kernel_size)}


def oracle(channels: int, factor: int, kernel_size: int | None = None, around: int = 1) -> Way:
    """torch's transposed convolution by the published tent, cropped by indexing.

    The map gets `around` scores on all sides, so that crops may begin and end outside of it.
    """
    k = kernel_size or 2 * factor - factor % 2
    half = (k + 1) // 2
    line = torch.tensor(
        [max(0.0, 1 - abs(i - (k - 1) / 2) / half) for i in range(k)], dtype=torch.float64
    )
    weight = torch.zeros(channels, channels, k, k, dtype=torch.float64)
    weight[range(channels), range(channels)] = line[:, None] * line

    def way(
        scores: Tensor, size: tuple[int, int], offset: int | tuple[int, int], border: Border
    ) -> Tensor:
        top, left = offset if isinstance(offset, tuple) else (offset, offset)
        mode = "replicate" if border == "replicate" else "constant"
        full = F.conv_transpose2d(F.pad(scores, (around,) * 4, mode), weight, stride=factor)
        top, left = top + around * factor, left + around * factor
        assert min(top, left) >= 0
        assert top + size[0] <= full.shape[2] and left + size[1] <= full.shape[3]
        return full[:, :, top : top + size[0], left : left + size[1]]

    return way


def assert_ways_equal_the_oracle(
    ways: dict[str, Way],
    oracle: Way,
    scores: Tensor,
    size: tuple[int, int],
    offset: int | tuple[int, int],
    border: Border,
) -> None:
    seed = random_scores(*scores.shape[:2], *size, seed=1)

    def evaluated(way: Way) -> tuple[Tensor, Tensor]:
        leaf = scores.clone().requires_grad_()
        fine = way(leaf, size, offset, border)
        (gradient,) = torch.autograd.grad(fine, leaf, seed)
        return fine.detach(), gradient

    expected, gradient = evaluated(oracle)
    for name, way in ways.items():
        case = f"{name} {tuple(scores.shape)} {size} {offset} {border}"
        ours, our_gradient = evaluated(way)
        assert ours.shape == (*scores.shape[:2], *size) and ours.is_contiguous(), case
        assert (ours - expected).abs().max() < 1e-12, case
        # A gradient sums (2·factor)² products, more where a border row is repeated.
        assert (our_gradient - gradient).abs().max() < 1e-12 * max(1, gradient.abs().max()), case


@pytest.mark.identity
@pytest.mark.parametrize(("factor", "kernel_size"), FACTORS_AND_KERNELS)
def test_all_forms_are_the_published_deconvolution_for_every_size(
    factor: int, kernel_size: int | None
) -> None:
    forms, published = ways(1, factor, kernel_size), oracle(1, factor, kernel_size)
    for n in range(1, 65):
        shape = (n, 1) if n % 2 else (1, n)  # the other axis short: the axes are swept in turn
        offset = (factor // 2, factor - 1) if n % 3 else (factor - 1, 0)
        size = (factor * shape[0], factor * shape[1])
        scores = random_scores(1, 1, *shape, seed=n)
        assert_ways_equal_the_oracle(forms, published, scores, size, offset, "zero")
        if n in (1, 2, 3, 10, 37):
            assert_ways_equal_the_oracle(forms, published, scores, size, offset, "replicate")


@pytest.mark.identity
@pytest.mark.parametrize(
    ("factor", "kernel_size"), [*FACTORS_AND_KERNELS, (1, None), (3, None), (3, 6), (4, 7)]
)
@pytest.mark.parametrize("border", ["zero", "replicate"])
def test_all_forms_agree_for_every_crop(
    factor: int, kernel_size: int | None, border: Border
) -> None:
    shape = (2, 1) if factor > 8 else (4, 3)
    forms, published = ways(2, factor, kernel_size), oracle(2, factor, kernel_size, around=5)
    scores = random_scores(2, 2, *shape)
    full = [(n - 1) * factor + (kernel_size or 2 * factor - factor % 2) for n in shape]
    crops: list[tuple[tuple[int, int], int | tuple[int, int]]] = [
        ((full[0], full[1]), 0),
        ((max(1, full[0] - 3), max(1, full[1] - 2)), (1, 0)),  # not the same on the two axes
        ((full[0] + 5, full[1] + 4), (-2, 1)),  # beyond the full result on all sides
        ((full[0] + 4 * factor, 2 * factor + 1), (-2 * factor, -factor)),
        ((1, 1), (full[0] - 1, full[1] // 2)),
        ((factor, 1), (full[0] - factor, 0)),
    ]
    for size, offset in crops:
        assert_ways_equal_the_oracle(forms, published, scores, size, offset, border)


def test_upsample_keeps_the_whole_transposed_convolution_unless_told() -> None:
    scores = random_scores(2, 3, 4, 5)
    for method in ("matrix", "depthwise", "dense"):
        assert upsample(scores, 8, method=method).shape == (2, 3, 40, 48)
        torch.testing.assert_close(
            upsample(scores, 8, method=method),
            oracle(3, 8)(scores, (40, 48), 0, "zero"),
            **EXACT,
        )


# --- the layer -----------------------------------------------------------------------------------


def test_a_deconvolution_learns_unless_it_is_fixed() -> None:
    scores = random_scores(1, 2, 3, 3)
    learned, fixed = deconvolution(2, 4), deconvolution(2, 4, learned=False)
    learned(scores, (12, 12), 2).sum().backward()
    assert learned.weight.grad is not None and learned.weight.grad.abs().min() > 0
    assert [name for name, _ in fixed.named_parameters()] == ["weight"]
    assert not fixed.weight.requires_grad
    assert repr(fixed) == "Deconvolution(2, factor=4, kernel_size=8, learned=False)"


@pytest.mark.parametrize("border", ["zero", "replicate"])
def test_learned_weights_are_those_of_a_transposed_convolution(border: Border) -> None:
    layer, scores = deconvolution(3, 4), random_scores(2, 3, 4, 5)
    with torch.no_grad():
        layer.weight.normal_()
    before = scores if border == "zero" else F.pad(scores, (2, 2, 2, 2), mode="replicate")
    full = F.conv_transpose2d(before, layer.weight, stride=4)
    first = 3 if border == "zero" else 3 + 2 * 4
    torch.testing.assert_close(
        layer(scores, (16, 18), 3, border), full[:, :, first : first + 16, first : first + 18]
    )
    layer.reset_parameters()
    torch.testing.assert_close(layer(scores, (16, 18), 3), upsample(scores, 4, (16, 18), 3))


def test_weights_in_float32_are_exact_for_powers_of_two() -> None:
    for factor, kernel_size in FACTORS_AND_KERNELS:
        layer = Deconvolution(1, factor, kernel_size)
        assert torch.equal(layer.weight[0, 0].double(), bilinear_kernel(factor, kernel_size))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Deconvolution(0, 2), "channels must be at least 1, got 0"),
        (lambda: Deconvolution(2, 0), "factor must be at least 1, got 0"),
        (lambda: Deconvolution(2, 2, 0), "kernel_size must be at least 1, got 0"),
        (lambda: Deconvolution(2, 2)(torch.zeros(1, 3, 4, 4), (8, 8)), "have 3 channels.* takes 2"),
        (lambda: Deconvolution(2, 2)(torch.zeros(2, 4, 4), (8, 8)), r"\(N, C, H, W\)"),
        (lambda: Deconvolution(2, 2)(torch.zeros(1, 2, 4, 4), (8, 0)), "size must be at least 1"),
        (
            lambda: Deconvolution(2, 2, 5)(torch.zeros(1, 2, 4, 4), (8, 8), 1, "replicate"),
            "kernel_size=5 .* does not interpolate at factor 2: use 3 or 4",
        ),
        (
            lambda: Deconvolution(2, 2)(torch.zeros(1, 2, 4, 4), (8, 8), Fraction(1, 2)),
            "offset must be whole .* got 1/2: .*kernel_for",
        ),
        (
            lambda: Deconvolution(2, 2)(torch.zeros(1, 2, 4, 4), (8, 8), (0, 10)),
            r"size=\(8, 8\) from offset=\(0, 10\) shows nothing of .* 10 by 10",
        ),
        (
            lambda: Deconvolution(2, 2)(torch.zeros(1, 2, 4, 4), (8, 8), (-8, 0)),
            r"offset=\(-8, 0\) shows nothing",
        ),
    ],
)
def test_the_layer_refuses_what_does_not_fit(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


# --- between pixels ------------------------------------------------------------------------------


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


@pytest.mark.parametrize("border", ["zero", "replicate"])
def test_the_layer_takes_any_memory_format_and_autocast(border: Border) -> None:
    layer, scores = Deconvolution(5, 8), random_scores(2, 5, 4, 6).float()
    expected = layer(scores, (30, 40), (3, 4), border)
    for layout in (scores.to(memory_format=torch.channels_last), scores.mT.contiguous().mT):
        fine = layer.to(memory_format=torch.channels_last)(layout, (30, 40), (3, 4), border)
        assert fine.is_contiguous()
        torch.testing.assert_close(fine, expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fine = layer(scores, (30, 40), (3, 4), border)
    assert fine.dtype == torch.bfloat16
    torch.testing.assert_close(
        fine.float(), expected, rtol=0, atol=0.05
    )  # 8 bits of numbers near 3
    half = layer.to(torch.bfloat16)(scores.to(torch.bfloat16), (30, 40), (3, 4), border)
    assert half.dtype == torch.bfloat16


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
    """Three forms at once, on features of ceil(n / 8) pixels for n, as a padded trunk has them."""

    def __init__(self) -> None:
        super().__init__()
        self.upscore = Deconvolution(3, 8)

    def forward(self, scores: Tensor, image: Tensor) -> Tensor:
        size = (image.shape[2], image.shape[3])
        fine = upsample(scores, 8, size, (Fraction(7, 2), 4))
        fine = fine + upsample(scores, 8, size, 3, "depthwise")
        return fine + self.upscore(scores, size, Fraction(4), "replicate")


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.head = torch.nn.Conv2d(3, 3, 15, 8, 7), Head()

    def forward(self, image: Tensor) -> Tensor:
        out: Tensor = self.head(self.trunk(image), image)
        return out


@compiles_fractions
def test_compiles_as_one_graph_for_several_sizes() -> None:
    torch.compiler.reset()
    net = Net().double()
    compiled = torch.compile(net, backend="aot_eager", fullgraph=True)
    for shape in ((37, 48), (56, 29)):
        image = random_scores(2, 3, *shape).requires_grad_()
        result, expected = compiled(image), net(image)
        torch.testing.assert_close(result, expected, **EXACT)
        sources = [image, net.head.upscore.weight]
        ours, theirs = (torch.autograd.grad(o.sin().sum(), sources) for o in (result, expected))
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-11)


@exports
def test_exports_with_dynamic_height_and_width() -> None:
    height, width = (torch.export.Dim(name, min=17, max=640) for name in ("height", "width"))
    net = Net().double()
    example = (random_scores(1, 3, 45, 48),)
    shapes = ({2: height, 3: width},)
    exported = torch.export.export(net, example, dynamic_shapes=shapes, strict=False).module()
    for shape in ((79, 33), (17, 640), (48, 41)):
        image = random_scores(1, 3, *shape)
        torch.testing.assert_close(exported(image), net(image), **EXACT)


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
        (
            {"border": "replicate", "method": "depthwise", "kernel_size": 5},
            'kernel_size=5 with border=.replicate.*use 3 or 4, or .*method="matrix"',
        ),
        ({"border": "wrap", "method": "dense"}, "border must be .* got 'wrap'"),
        ({"size": (4, 0), "method": "dense"}, r"size must be at least 1 by 1, got \(4, 0\)"),
        ({"offset": 8, "size": (2, 2), "method": "dense"}, "shows nothing of .* 8 by 8"),
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
