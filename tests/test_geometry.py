"""Shape arithmetic against torch's own sizes, measured supports and the published offsets."""

import subprocess
import sys
from collections.abc import Iterable
from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fcn_tutorial.geometry import (
    Layer,
    ReceptiveField,
    coordinate_map,
    crop_offset,
    macs,
    minimum_padding,
    output_size,
    reach,
    receptive_field,
)

# ---- the published networks as data -------------------------------------------------------------


def vgg16(first_padding: int, fc6_padding: int) -> tuple[dict[str, list[Layer]], list[Layer]]:
    """Layers up to pool3, pool4 and pool5, and to the score layer; pools round up, as in Caffe."""
    layers: list[Layer] = []
    taps = {}
    for block, convolutions in enumerate((2, 2, 3, 3, 3), start=1):
        layers += [Layer(3, padding=1)] * convolutions + [Layer(2, 2, kind="pool", ceil=True)]
        taps[f"pool{block}"] = list(layers)
    taps = {name: [Layer(3, padding=first_padding), *path[1:]] for name, path in taps.items()}
    return taps, [*taps["pool5"], Layer(7, padding=fc6_padding), Layer(1), Layer(1)]


def up(factor: int, kernel: int | None = None) -> Layer:
    return Layer(kernel or 2 * factor, factor, kind="deconv")


POOL = Layer(3, 2, kind="pool", ceil=True)
CAFFENET = [
    *[Layer(11, 4, padding=100), POOL, Layer(5, padding=2), POOL],
    *[Layer(3, padding=1)] * 3,
    *[POOL, Layer(6), Layer(1), Layer(1)],
]
GOOGLENET = [  # Szegedy et al. 2015, table 1, through the 5×5 branches and the final average pool
    *[Layer(7, 2, 3), POOL, Layer(1), Layer(3, padding=1), POOL],
    *[Layer(1), Layer(5, padding=2)] * 2,
    POOL,
    *[Layer(1), Layer(5, padding=2)] * 5,
    POOL,
    *[Layer(1), Layer(5, padding=2)] * 2,
    Layer(7, kind="pool"),
]


@pytest.mark.identity
def test_offsets_of_the_published_networks_are_derived() -> None:
    taps, score = vgg16(100, 0)
    assert crop_offset([*score, up(32)]) == 19  # FCN-32s
    assert crop_offset(taps["pool4"], [*score, up(2)]) == 5  # FCN-16s
    assert crop_offset([*score, up(2), up(16)]) == 27
    assert crop_offset(taps["pool3"], [*score, up(2), up(2)]) == 9  # FCN-8s
    assert crop_offset([*score, up(2), up(2), up(8)]) == 31
    assert crop_offset([*CAFFENET, up(32, kernel=63)]) == 18  # FCN-AlexNet


@pytest.mark.identity
def test_offsets_with_same_padding_are_half_a_factor() -> None:
    taps, score = vgg16(1, 3)
    assert crop_offset([*score, up(32)]) == 16
    assert crop_offset([*score, up(2)], taps["pool4"]) == 1
    assert crop_offset([*taps["pool4"], up(16)]) == 8
    assert crop_offset([*taps["pool4"], up(2)], taps["pool3"]) == 1
    assert crop_offset([*taps["pool3"], up(8)]) == 4


def test_a_crop_the_other_way_round_is_padding() -> None:
    taps, score = vgg16(100, 0)
    assert crop_offset([*score, up(2)], taps["pool4"]) == -5


# ---- the least padding ---------------------------------------------------------------------------

Crops = list[tuple[list[Layer], list[Layer]]]


def published_crops(padding: int = 0) -> dict[str, Crops]:
    """What each net crops and to what, from the coarsest map on; [] is the image."""
    taps, score = vgg16(padding, 0)
    caffenet = [Layer(11, 4, padding), *CAFFENET[1:]]
    two, four = [*score, up(2)], [*score, up(2), up(2)]
    return {
        "32s": [([*score, up(32)], [])],
        "16s": [(taps["pool4"], two), ([*two, up(16)], [])],
        "8s": [(taps["pool4"], two), (taps["pool3"], four), ([*four, up(8)], [])],
        "alexnet": [([*caffenet, up(32, kernel=63)], [])],
    }


@pytest.mark.parametrize("net", ["32s", "16s", "8s"])
def test_padding_97_is_the_least_that_serves_every_image_and_81_from_33_pixels_on(
    net: str,
) -> None:
    crops = published_crops()[net]
    assert minimum_padding(crops, range(1, 1500)) == 97
    assert minimum_padding(crops, range(33, 1500)) == 81
    assert minimum_padding(crops, [32]) > 81


def test_padding_81_aligns_the_published_network_without_a_crop() -> None:
    offsets = {n: crop_offset(*crops[-1]) for n, crops in published_crops(81).items()}
    assert offsets == {"32s": 0, "16s": 27 - 19, "8s": 31 - 19, "alexnet": 18 - 19}


def test_caffenet_needs_99_for_every_image_and_85_from_33_pixels_on() -> None:
    crops = published_crops()["alexnet"]
    assert minimum_padding(crops, range(1, 1500)) == 99
    assert minimum_padding(crops, range(33, 1500)) == 85


def sizes_in_torch(net: str, padding: int, n: int) -> dict[str, int]:
    """Length of every map of a published net, by torch's own layers, every number typed in."""
    x = torch.empty(1, 1, n, device="meta")

    def convolved(x: Tensor, kernel: int, padding: int = 0, stride: int = 1) -> Tensor:
        y = F.conv1d(x, x.new_empty(1, 1, kernel), stride=stride, padding=padding)
        if not y.numel():  # where only shapes are reckoned with, old versions of torch go on
            raise RuntimeError("nothing is left")
        return y

    def pooled(x: Tensor, kernel: int) -> Tensor:
        return F.max_pool1d(x, kernel, 2, ceil_mode=True)

    def enlarged(x: Tensor, kernel: int, stride: int) -> Tensor:
        return F.conv_transpose1d(x, x.new_empty(1, 1, kernel), stride=stride)

    if net == "alexnet":
        x = pooled(convolved(pooled(convolved(x, 11, padding, 4), 3), 5, 2), 3)
        x = pooled(convolved(convolved(convolved(x, 3, 1), 3, 1), 3, 1), 3)
        return {"up32": enlarged(convolved(x, 6), 63, 32).shape[-1]}
    pools = []
    for block, convolutions in enumerate((2, 2, 3, 3, 3)):
        for index in range(convolutions):
            x = convolved(x, 3, padding if block == index == 0 else 1)
        x = pooled(x, 2)
        pools.append(x.shape[-1])
    score = convolved(x, 7)
    two = enlarged(score, 4, 2)
    four = enlarged(two, 4, 2)
    return {
        "pool3": pools[2],
        "pool4": pools[3],
        "up32": enlarged(score, 64, 32).shape[-1],
        "up2": two.shape[-1],
        "up16": enlarged(two, 32, 16).shape[-1],
        "up4": four.shape[-1],
        "up8": enlarged(four, 16, 8).shape[-1],
    }


def served_in_torch(net: str, padding: int, n: int) -> bool:
    """Whether the crops of the reference's net.py, typed in for 100, can be cut from torch's maps.

    A pixel less of padding is a row less to crop from the last map.
    """
    try:
        size = sizes_in_torch(net, padding, n)
    except RuntimeError:  # nothing is left of a map
        return False
    less = 100 - padding
    crops = {
        "alexnet": [("up32", 18 - less, n)],
        "32s": [("up32", 19 - less, n)],
        "16s": [("pool4", 5, size.get("up2", 0)), ("up16", 27 - less, n)],
        "8s": [
            *[("pool4", 5, size.get("up2", 0)), ("pool3", 9, size.get("up4", 0))],
            ("up8", 31 - less, n),
        ],
    }[net]
    return all(rows >= 0 and size[name] - rows >= wanted for name, rows, wanted in crops)


@pytest.mark.identity
@pytest.mark.parametrize("net", ["32s", "16s", "8s", "alexnet"])
@pytest.mark.parametrize(
    "sizes", [[1], [2, 31], [40], [64], [63], [33, 64, 97], [65, 500], [1, 33, 225]]
)
def test_the_least_padding_is_the_least_with_which_torch_can_cut_the_published_crops(
    net: str, sizes: list[int]
) -> None:
    least = minimum_padding(published_crops()[net], sizes)
    for padding in range(least - 9, least):
        assert not all(served_in_torch(net, padding, n) for n in sizes), padding
    assert all(served_in_torch(net, least, n) for n in sizes)
    assert all(served_in_torch(net, 100, n) for n in sizes)


def test_more_padding_than_the_least_can_be_too_little_for_one_size() -> None:
    # It is a row more to crop, and not always a score more.
    assert minimum_padding(published_crops()["alexnet"], [63]) == 82
    served = [padding for padding in range(82, 101) if served_in_torch("alexnet", padding, 63)]
    assert served == [82, *range(84, 101)]


def test_a_map_that_is_long_enough_needs_no_padding() -> None:
    assert minimum_padding([([Layer(1)], [])], [1, 5]) == 0
    assert minimum_padding([([Layer(3, padding=7), Layer(3)], [])], [4]) == 2


def pairs(path: Iterable[Layer], reference: Iterable[Layer] = ()) -> Crops:
    return [(list(path), list(reference))]


@pytest.mark.parametrize(
    ("crops", "sizes", "message"),
    [
        (pairs([Layer(3)]), [], "sizes must be lengths .* got none"),
        (pairs([Layer(3)]), [5, 0], r"sizes must be lengths .* got \[0\]"),
        ([], [5], "must be paths that begin with one convolution"),
        (pairs([]), [5], "must be paths that begin with one convolution"),
        (pairs([POOL]), [5], "must be paths that begin with one convolution"),
        (pairs([Layer(3)], [Layer(5)]), [5], "must be paths that begin with one convolution"),
        (pairs([Layer(2)]), [5], "1/2 pixels apart"),
        # The reference sees two rows further up than the path, whatever the padding.
        (pairs([Layer(3), Layer(5)], [Layer(3)]), [9], r"no padding of Layer\(3\)"),
    ],
)
def test_crops_that_no_padding_makes_possible_are_refused(
    crops: Crops, sizes: list[int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        minimum_padding(crops, sizes)


# ---- multiply-accumulates ------------------------------------------------------------------------


def vgg16_channels() -> list[int]:
    channels = [3]
    for width, convolutions in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        channels += [width] * (convolutions + 1)
    return [*channels, 4096, 4096, 21]


def gmacs(padding: int, fc6_padding: int, size: tuple[int, int]) -> float:
    """Of FCN-32s with its score layer and its dense 64×64 deconvolution."""
    score = vgg16(padding, fc6_padding)[1]
    return macs([*score, up(32)], [*vgg16_channels(), 21], size) / 1e9


def test_padding_by_100_costs_1_8_times_at_375_by_500_and_2_6_times_at_256() -> None:
    published, same = gmacs(100, 0, (375, 500)), gmacs(1, 3, (375, 500))
    assert (round(published, 1), round(same, 1)) == (146.6, 81.2)
    assert round(published / same, 1) == 1.8
    published, same = gmacs(100, 0, (256, 256)), gmacs(1, 3, (256, 256))
    assert (round(published, 1), round(same, 1)) == (73.5, 27.8)
    assert round(published / same, 1) == 2.6


def test_fc6_takes_an_eighth_of_the_padded_network_and_a_quarter_of_the_other() -> None:
    for padding, fc6_padding, share in ((100, 0, 0.135), (1, 3, 0.243)):
        score, channels = vgg16(padding, fc6_padding)[1], vgg16_channels()
        before, after = (macs(score[:i], channels[: i + 1], (375, 500)) for i in (18, 19))
        assert after - before == 12 * 16 * 7 * 7 * 512 * 4096
        assert round((after - before) / 1e9 / gmacs(padding, fc6_padding, (375, 500)), 3) == share


def test_macs_are_the_products_of_a_loop_over_every_pixel_and_channel() -> None:
    layers = [
        Layer(3, 2, 1),
        Layer(2, 2, kind="pool"),
        Layer(3, dilation=2),
        Layer(4, 3, 1, 1, "deconv"),
    ]
    channels, groups, sides = [4, 6, 6, 9, 3], [2, 1, 3, 3], [(28, 33), (14, 17), (7, 8), (3, 4)]
    products = 14 * 17 * 6 * 9 * (4 // 2)  # outputs, kernel, channels that one output reads
    products += 3 * 4 * 9 * 9 * (6 // 3)
    products += 3 * 4 * 9 * 16 * (3 // 3)  # inputs, kernel, channels that one input writes
    assert macs(layers, channels, sides[0], groups) == products
    assert macs(layers[:2], channels[:3], 28, groups[:2]) == 14 * 14 * 6 * 9 * 2
    assert macs([], [3], 5) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([Layer(3)], [3], 9), "1 layers need 2 channels and 1 groups, got 1 and 1"),
        (([Layer(3)], [3, 4], 9, []), "got 2 and 0"),
        (([Layer(3)], [3, 4], 9, [2]), r"layers\[0\]: 2 groups do not divide 3 and 4"),
        (([Layer(3)], [4, 3], 9, [2]), r"layers\[0\]: 2 groups do not divide 4 and 3"),
        (([Layer(3)], [4, 4], 9, [0]), "0 groups"),
        (([Layer(1), POOL], [3, 4, 5], 9), r"layers\[1\] is a pool, which cannot turn 4 .* into 5"),
        (([Layer(5)], [3, 4], (9, 4)), r"Layer\(5\) turns 4 pixels into 0"),
    ],
)
def test_chains_that_do_not_fit_are_refused(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        macs(*arguments)  # type: ignore[arg-type]


# ---- receptive fields ----------------------------------------------------------------------------


def test_known_receptive_fields() -> None:
    taps, score = vgg16(100, 0)
    expected = {"pool3": (44, 8), "pool4": (100, 16), "pool5": (212, 32)}
    assert {name: receptive_field(taps[name])[:2] for name in expected} == expected
    assert receptive_field(score)[:2] == (404, 32)
    assert receptive_field(CAFFENET)[:2] == (355, 32)
    assert receptive_field(GOOGLENET)[:2] == (907, 32)
    assert isinstance(receptive_field(score).stride, int)


def test_padding_moves_the_field_and_never_resizes_it() -> None:
    padded, same = receptive_field(vgg16(100, 0)[1]), receptive_field(vgg16(1, 3)[1])
    assert padded[:2] == same[:2]
    assert padded.centre == Fraction(25, 2)
    assert same.centre == Fraction(31, 2)


def test_ceil_pooling_keeps_the_last_column_of_a_500_pixel_image() -> None:
    def floored(layers: list[Layer]) -> list[Layer]:
        return [Layer(la.kernel, la.stride, la.padding, kind=la.kind) for la in layers]

    padded, plain = vgg16(100, 0)[0]["pool5"], vgg16(1, 3)[0]["pool5"]
    assert (output_size(padded, 500), output_size(floored(padded), 500)) == (22, 21)
    assert (output_size(plain, 500), output_size(floored(plain), 500)) == (16, 15)


# ---- against torch ------------------------------------------------------------------------------


def run(layer: Layer, x: Tensor) -> Tensor:
    """The layer on x (N, 1, n), every weight one; average pooling, whose support is whole."""
    weight = torch.ones(1, 1, layer.kernel, dtype=x.dtype, device=x.device)
    s, p, d = layer.stride, layer.padding, layer.dilation
    match layer.kind:
        case "conv":
            return F.conv1d(x, weight, stride=s, padding=p, dilation=d)
        case "deconv":
            return F.conv_transpose1d(x, weight, stride=s, padding=p, dilation=d)
    return F.avg_pool1d(x, layer.kernel, s, p, layer.ceil)


def layer_grid() -> list[Layer]:
    kernels, strides, paddings, dilations = (
        (1, 2, 3, 4, 5, 7),
        (1, 2, 3, 5),
        (0, 1, 2, 3),
        (1, 2, 3),
    )
    grid = [
        Layer(k, s, p, d, kind=kind)
        for k in kernels
        for s in strides
        for p in paddings
        for d in dilations
        for kind in ("conv", "deconv")
    ]
    for ceil in (False, True):  # torch pools with at most half a kernel of padding
        for k in kernels:
            for s in strides:
                for p in range(k // 2 + 1):
                    grid += [Layer(k, s, p, d, "pool", ceil) for d in dilations if p < k]
    return grid


@pytest.mark.parametrize("kind", ["conv", "pool", "deconv"])
def test_output_sizes_are_torch_s(kind: str) -> None:
    # On "meta" torch computes shapes only, so that the whole grid takes a second or two.
    for layer in (la for la in layer_grid() if la.kind == kind):
        for n in (1, 2, 3, 5, 8, 13, 16, 31):
            x = torch.empty(1, 1, n, device="meta")
            try:
                if layer.kind == "pool":
                    k, s, p, d = layer.kernel, layer.stride, layer.padding, layer.dilation
                    expected = F.max_pool1d(x, k, s, p, d, layer.ceil).shape[-1]
                else:
                    expected = run(layer, x).shape[-1]
            except RuntimeError:
                expected = 0
            if expected < 1:
                with pytest.raises(ValueError, match=r"layers\[0\]"):
                    output_size([layer], n)
            else:
                assert output_size([layer], n) == expected, (layer, n)


conv_or_pool = st.builds(
    lambda k, s, p, d, kind: Layer(k, s, min(p, (k - 1) // 2), d if kind == "conv" else 1, kind),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(0, 2),
    st.integers(1, 2),
    st.sampled_from(["conv", "pool"]),
)
deconv = st.builds(
    lambda k, s, p, d: Layer(k, s, p, d, "deconv"),
    st.integers(1, 5),
    st.integers(1, 3),
    st.integers(0, 1),
    st.integers(1, 2),
)


def measured_supports(layers: list[Layer], n: int) -> list[tuple[int, int] | None]:
    """First and last input pixel that moves each output; None where none does.

    The layers are linear, so the impulses at every pixel, as one batch, give the whole Jacobian.
    """
    y = torch.eye(n, dtype=torch.float64).view(n, 1, n)
    for layer in layers:
        y = run(layer, y)
    columns = (np.flatnonzero(column) for column in y[:, 0].numpy().T)
    return [(int(seen[0]), int(seen[-1])) if len(seen) else None for seen in columns]


@settings(max_examples=40, deadline=None)
@given(st.lists(conv_or_pool, min_size=1, max_size=3))
def test_field_of_convolutions_is_the_support_of_the_jacobian(layers: list[Layer]) -> None:
    field = receptive_field(layers)
    n = field.size + 4 * int(field.stride) + 40
    inside = 0
    for index, support in enumerate(measured_supports(layers, n)):
        centre = field.stride * index + field.centre
        first, last = centre - Fraction(field.size - 1, 2), centre + Fraction(field.size - 1, 2)
        if first >= 0 and last < n:
            assert support == (first, last)
            inside += 1
    assert inside >= 2


@settings(max_examples=40, deadline=None)
@given(st.lists(conv_or_pool, max_size=2), deconv, st.lists(conv_or_pool, max_size=1))
def test_field_through_a_deconvolution_is_the_widest_support(
    before: list[Layer], layer: Layer, after: list[Layer]
) -> None:
    layers = [*before, layer, *after]
    supports = measured_supports(layers, 240)
    # Clipped at the border a support only shrinks; one period in the middle has every phase.
    sizes = [last - first + 1 for first, last in (s for s in supports if s is not None)]
    # A stride may step from gap to gap of a deconvolution, and see nothing at all.
    assert receptive_field(layers).size == max(sizes, default=0)


@settings(max_examples=60, deadline=None)
@given(st.lists(conv_or_pool, min_size=1, max_size=5))
def test_averaging_layers_turn_a_ramp_into_the_coordinate_map(layers: list[Layer]) -> None:
    field = receptive_field(layers)
    n = field.size + 3 * int(field.stride) + 30
    y = torch.arange(n, dtype=torch.float64).view(1, 1, n)
    for layer in layers:
        y = run(layer, y) / (layer.kernel if layer.kind == "conv" else 1)
    scale, offset = coordinate_map(layers)
    half = Fraction(field.size - 1, 2)
    positions = [(i, scale * i + offset) for i in range(y.shape[-1])]
    inside = [(i, p) for i, p in positions if half <= p < n - half]
    assert inside
    for i, position in inside:  # a mean of coordinates; n < 1000, so 1e-9 is rounding
        assert y[0, 0, i].item() == pytest.approx(float(position), abs=1e-9)


@pytest.mark.parametrize("factor", [2, 3, 4, 8])
def test_bilinear_deconvolution_turns_a_ramp_into_its_coordinate_map(factor: int) -> None:
    kernel = 2 * factor - factor % 2
    taps = torch.arange(kernel, dtype=torch.float64)
    centre = (kernel - 1) / 2
    weight = (1 - (taps - centre).abs() / factor).view(1, 1, kernel)
    ramp = torch.arange(9, dtype=torch.float64).view(1, 1, 9)
    y = F.conv_transpose1d(ramp, weight, stride=factor).flatten()
    scale, offset = coordinate_map([up(factor, kernel)])
    for i in range(2 * factor, 6 * factor):  # away from the borders, where weights are missing
        assert y[i].item() == pytest.approx(float(scale * i + offset), abs=1e-12)


@pytest.mark.identity
@given(deconv)
def test_a_deconvolution_undoes_the_map_of_the_convolution(layer: Layer) -> None:
    convolution = Layer(layer.kernel, layer.stride, layer.padding, layer.dilation)
    assert coordinate_map([convolution, layer]) == (1, 0)
    assert crop_offset([convolution, layer]) == 0


def test_no_layers_are_the_image_itself() -> None:
    assert receptive_field([]) == ReceptiveField(1, 1, Fraction(0))
    assert coordinate_map([]) == (1, 0)
    assert output_size([], 7) == 7
    assert crop_offset([]) == 0


# ---- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel": 0}, "kernel"),
        ({"kernel": 2.0}, "kernel"),
        ({"kernel": True}, "kernel"),
        ({"kernel": 3, "stride": 0}, "stride"),
        ({"kernel": 3, "padding": -1}, "padding"),
        ({"kernel": 3, "dilation": 0}, "dilation"),
        ({"kernel": 3, "kind": "linear"}, "kind"),
        ({"kernel": 3, "ceil": True}, "ceil"),
        ({"kernel": 3, "padding": 3, "kind": "pool"}, "padding only"),
    ],
)
def test_impossible_layers_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Layer(**arguments)  # type: ignore[arg-type]


def test_a_layer_can_be_a_key_and_prints_what_was_set() -> None:
    assert {Layer(3, padding=1): "a"}[Layer(3, 1, 1)] == "a"
    layer = Layer(2, 2, kind="pool", ceil=True)
    assert repr(layer) == "Layer(2, stride=2, kind='pool', ceil=True)"
    assert eval(repr(layer)) == layer


def test_an_input_too_small_names_the_layer() -> None:
    with pytest.raises(ValueError, match=r"layers\[1\] = Layer\(7\) turns 4 pixels into -2"):
        output_size([Layer(2, 2, kind="pool"), Layer(7)], 8)
    with pytest.raises(ValueError, match="n must be at least 1"):
        output_size([Layer(1)], 0)


def test_maps_that_no_crop_aligns_are_refused() -> None:
    pool = Layer(2, 2, kind="pool")
    with pytest.raises(ValueError, match="2 input pixels an output pixel and reference 1"):
        crop_offset([pool])
    with pytest.raises(ValueError, match="1/2 pixels apart"):
        crop_offset([Layer(2)], [Layer(3)])


def test_geometry_loads_a_few_modules_of_the_standard_library_and_nothing_else() -> None:
    # What makes it load in under 0.2 s; a time would depend on the machine.
    program = "import sys; before = set(sys.modules); import fcn_tutorial.geometry; "
    program += "print(*{m.partition('.')[0] for m in set(sys.modules) - before})"
    result = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert set(result.stdout.split()) <= {"fcn_tutorial", *sys.stdlib_module_names}
    assert "fcn_tutorial" in result.stdout.split()


def test_reach_is_the_farther_side_of_the_field() -> None:
    assert reach([]) == 0 and reach([Layer(3, padding=1), Layer(5, padding=2)]) == 3
    assert reach([Layer(3)]) == 1  # about its centre, wherever that lies
    assert reach([Layer(2, 2, kind="pool")]) == 1  # half a pixel, rounded up
    # An even output reads pixel 0 and, through its own window, pixel 1; an odd one likewise 0.
    assert reach([Layer(2, 2, kind="pool"), Layer(2, 2, kind="deconv")]) == 1
    pooled = [Layer(4, 4, kind="pool"), Layer(4, 4, kind="deconv")]
    assert reach(pooled) == 3 and receptive_field(pooled).size == 4
