"""Networks without strides, against the network on every window and on every shifted image."""

import copy
from collections.abc import Callable
from math import prod
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fcn_tutorial.geometry import Layer, output_size, receptive_field
from fcn_tutorial.surgery import atrous, convolutionalize, shift_and_stitch, trace
from tests.surgery.networks import (
    TAILS,
    Branches,
    Own,
    Pair,
    concatenate,
    narrow,
    relative_error,
    without_padding,
)
from tests.versions import follows_shapes

# Sums of up to a few thousand products, in another order: far below 1e-12 in double precision.
TOLERANCE = 1e-12
sweep = settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],  # a net that fails is small as drawn; shrinking takes minutes
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
)


class Spec(NamedTuple):
    kind: str
    kernel: int
    stride: int
    padding: int
    dilation: int
    ceil: bool
    count_padding: bool

    def module(self) -> nn.Module:
        numbers = self.kernel, self.stride, self.padding
        if self.kind == "conv":
            return nn.Conv2d(2, 2, *numbers, self.dilation)
        if self.kind == "max":
            return nn.MaxPool2d(*numbers, self.dilation, ceil_mode=self.ceil)
        return nn.AvgPool2d(*numbers, self.ceil, self.count_padding)


@st.composite
def specs(draw: st.DrawFn, padded: bool, ceil: bool) -> Spec:
    kernel = draw(st.integers(1, 4))
    return Spec(
        kind=draw(st.sampled_from(["conv", "max", "average"])),
        kernel=kernel,
        stride=draw(st.integers(1, 3)),
        padding=draw(st.integers(0, kernel // 2)) if padded else 0,
        dilation=draw(st.integers(1, 2)),
        ceil=draw(st.booleans()) if ceil else False,
        count_padding=draw(st.booleans()),
    )


@st.composite
def nets(draw: st.DrawFn, *, padded: bool = False, ceil: bool = False) -> nn.Module:
    """Two to four layers of any kind; negative values too, so that padding a max pool counts."""
    layers = draw(st.lists(specs(padded, ceil), min_size=2, max_size=4))
    assume(prod(layer.stride for layer in layers) <= 12)
    torch.manual_seed(draw(st.integers(0, 99)))
    modules = [module for layer in layers for module in (layer.module(), nn.Tanh())]
    return nn.Sequential(nn.Conv2d(3, 2, 1), *modules).double()


def factor_of(net: nn.Module) -> int:
    return int(receptive_field(trace(net, 64)).stride)


def image_for(net: nn.Module, more: tuple[int, int]) -> Tensor:
    """The smallest image with an output, and as many pixels more as `more` says."""
    layers = trace(net, 64)
    least = next(n for n in range(1, 65) if has_output(layers, n))
    return torch.randn(2, 3, least + more[0], least + more[1], dtype=torch.float64)


def has_output(layers: list[Layer], n: int) -> bool:
    try:
        return output_size(layers, n) > 0
    except ValueError:
        return False


def assert_equal(actual: Tensor, expected: Tensor) -> None:
    assert actual.shape == expected.shape
    assert relative_error(actual, expected) < TOLERANCE


more_pixels = st.tuples(st.integers(0, 9), st.integers(0, 9))


@pytest.mark.identity
@sweep
@given(nets(), more_pixels)
def test_every_dense_score_is_that_of_its_window(net: nn.Module, more: tuple[int, int]) -> None:
    images = image_for(net, more)
    size = receptive_field(trace(net, 64)).size
    windows = images.unfold(2, size, 1).unfold(3, size, 1)  # (N, 3, H', W', size, size)
    n, c, height, width, *_ = windows.shape
    scores = net(windows.permute(0, 2, 3, 1, 4, 5).reshape(-1, c, size, size))
    expected = scores.reshape(n, height, width, -1).permute(0, 3, 1, 2)
    assert_equal(atrous(net)(images), expected)
    assert_equal(shift_and_stitch(net, images), expected)


@pytest.mark.identity
@sweep
@given(nets(ceil=True), more_pixels)
def test_shift_and_stitch_equals_a_trous_without_padding(
    net: nn.Module, more: tuple[int, int]
) -> None:
    images = image_for(net, more)
    assert_equal(atrous(net)(images), shift_and_stitch(net, images))


@pytest.mark.identity
@sweep
@given(nets(padded=True, ceil=True), more_pixels)
def test_shift_and_stitch_equals_a_trous_inside_the_padding(
    net: nn.Module, more: tuple[int, int]
) -> None:
    field, factor = receptive_field(trace(net, 64)), factor_of(net)
    reach = int((field.size - 1) / 2 - field.centre)
    border = factor * -(-reach // factor)
    images = image_for(net, (more[0] + border + factor, more[1] + border + factor))
    dense, stitched = atrous(net)(images), shift_and_stitch(net, images)
    assert dense.shape == stitched.shape
    assert_equal(dense[..., border:, border:], stitched[..., border:, border:])


def test_the_border_where_padding_tells_is_as_wide_as_stated() -> None:
    net = nn.Sequential(nn.Conv2d(3, 1, 3, 2, 1), nn.Conv2d(1, 1, 3, 2, 1)).double()
    for parameter in net.parameters():
        nn.init.ones_(parameter)
    images = torch.ones(1, 3, 30, 30, dtype=torch.float64)
    different = (atrous(net)(images) - shift_and_stitch(net, images)).abs() > 1e-6
    for line in (different[0, 0, -1], different[0, 0, :, -1]):  # P = 1 + 2, f = 4
        assert line.nonzero().max() == 3  # = f·⌈P/f⌉ − 1


@pytest.mark.identity
@sweep
@given(nets(padded=True, ceil=True), more_pixels, st.integers(1, 3))
def test_a_trous_holds_the_network_at_every_stride_th_pixel(
    net: nn.Module, more: tuple[int, int], batch: int
) -> None:
    images = image_for(net, more)[:batch]
    factor, scores, dense = factor_of(net), net(images), atrous(net)(images)
    assert_equal(dense[..., ::factor, ::factor], scores)
    for stride in (s for s in range(2, factor + 1) if factor % s == 0):
        partly = atrous(net, stride)(images)
        assert_equal(partly, dense[..., ::stride, ::stride])
        assert_equal(partly[..., :: factor // stride, :: factor // stride], scores)


# ---- any size -----------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", [0, 1, 2])
def test_every_image_with_a_score_has_dense_ones(padding: int) -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 2, 4, 2, padding), nn.MaxPool2d(3, 3, 1, ceil_mode=True), nn.Conv2d(2, 2, 2)
    ).double()
    found = 0
    for n in range(1, 24):
        images = torch.randn(1, 3, n, 24, dtype=torch.float64)
        try:
            scores = net(images)
        except RuntimeError:
            with pytest.raises(ValueError, match=f"fails on an image of {n}×24"):
                shift_and_stitch(net, images)
            continue
        dense, stitched = atrous(net)(images), shift_and_stitch(net, images)
        assert dense.shape == stitched.shape
        assert_equal(stitched[..., ::6, ::6], scores)
        found += 1
    assert found > 9


def test_an_image_of_fewer_pixels_than_shifts_ends_where_they_end() -> None:
    net = nn.Conv2d(3, 2, 3, stride=5, padding=7).double()
    images = torch.randn(1, 3, 3, 30, dtype=torch.float64)
    stitched, dense = shift_and_stitch(net, images), atrous(net)(images)
    assert dense.shape[2:] == (15, 42) and stitched.shape[2:] == (3, 42)
    assert_equal(stitched[..., ::5, ::5], net(images)[..., :1, :])
    assert torch.isfinite(stitched).all()


def test_gradients_pass_through_the_stitching() -> None:
    net = nn.Conv2d(1, 1, 2, stride=2).double()
    images = torch.randn(1, 1, 5, 5, dtype=torch.float64, requires_grad=True)
    with torch.enable_grad():
        grads = [
            torch.autograd.grad(f(images).square().sum(), images)[0]
            for f in (atrous(net), lambda x: shift_and_stitch(net, x))
        ]
    assert_equal(*grads)


# ---- real networks ------------------------------------------------------------------------------

CONVERTED = {  # input size, network stride
    "alexnet": (224, 32),
    "resnet18": (64, 32),
    "resnet50": (64, 32),
    "mobilenet_v2": (64, 32),
    "squeezenet1_0": (64, 16),
    "squeezenet1_1": (64, 16),
    "googlenet": (64, 32),
}


@pytest.mark.identity
@pytest.mark.parametrize("name", CONVERTED)
def test_a_converted_classifier_is_held_at_every_stride_th_pixel(name: str) -> None:
    size, factor = CONVERTED[name]
    net = convolutionalize(narrow(name), size)
    images = torch.randn(1, 3, size + 13, size + 6, dtype=torch.float64)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    dense_net = atrous(net)
    dense = dense_net(images)
    assert dense.shape[2] > 13 and dense.shape[3] > 6
    assert_equal(dense[..., ::factor, ::factor], net(images))
    assert_equal(atrous(net, 8)(images), dense[..., ::8, ::8])
    after = dense_net.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[key], before[key]) for key in before)


@pytest.mark.identity
@pytest.mark.parametrize(
    ("name", "factor"), [("vgg16", 32), ("alexnet", 32), ("squeezenet1_1", 16)]
)
def test_a_real_trunk_on_shifted_images_is_the_dense_one_inside(name: str, factor: int) -> None:
    net = narrow(name, 16).features
    layers = trace(net, 224)
    field = receptive_field(layers)
    first = -(-int((field.size - 1) / 2 - field.centre) // factor)
    # The padding at the end moves with the image: only the first outputs are left out.
    side = next(n for n in range(64, 999) if output_size(layers, n) > first) + factor
    images = torch.randn(1, 3, side, side + 7, dtype=torch.float64)
    dense = atrous(net)(images)
    for r, c in ((0, 0), (1, 0), (0, factor - 1), (factor // 2, 5)):
        scores = net(images[..., r:, c:])[..., first:, first:]
        assert scores.shape[-1] > 0 and scores.shape[-2] > 0
        inside = dense[..., r::factor, c::factor][..., first:, first:]
        assert_equal(inside, scores)


@pytest.mark.identity
def test_a_real_trunk_without_padding_stitches_to_the_dense_one() -> None:
    net = without_padding(narrow("vgg16").features[:17])  # up to pool3: 44 pixels at stride 8
    images = torch.randn(1, 3, 59, 50, dtype=torch.float64)
    assert_equal(atrous(net)(images), shift_and_stitch(net, images))
    assert shift_and_stitch(net, images).shape[2:] == (16, 7)


@follows_shapes
def test_stride_8_keeps_the_first_strides_and_the_field() -> None:
    net = convolutionalize(narrow("resnet50"), 64)
    layers, kept = trace(net, 64), trace(atrous(net, 8), 64)
    assert receptive_field(kept) == receptive_field(layers)._replace(stride=8)
    assert [layer.stride for layer in kept if layer.stride > 1] == [2, 2, 2]
    assert {layer.dilation for layer in kept} == {1, 2, 4}
    assert trace(atrous(net, 32), 64) == layers


# ---- what it reads ------------------------------------------------------------------------------


class Functional(nn.Module):
    """Every strided function, one of them twice, and pointwise ones between."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(4, 1, 3, 3)), nn.Parameter(torch.ones(4))
        self.pool = nn.MaxPool2d(2)
        self.slope = nn.Parameter(torch.full((4,), 0.3))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.cat((x[:, 0].unsqueeze(1), x[:, 1:]), 1)
        y = F.conv2d(input=y, weight=self.weight, bias=self.bias, stride=2, padding=1, groups=4)
        y = F.prelu(self.pool(y) * 0.5 + 1, self.slope)
        y = F.dropout(F.max_pool2d(self.pool(y), 2, padding=1), training=self.training)
        y = F.avg_pool2d(F.avg_pool2d(y, 2, divisor_override=3), 2, 1, ceil_mode=True)
        return F.log_softmax(F.conv2d(y, self.weight, None, 1, "same", groups=4), dim=1)


def test_functions_and_shared_pools_read_like_modules() -> None:
    net = Functional().double().eval()
    images = torch.randn(1, 4, 75, 82, dtype=torch.float64)
    assert_equal(atrous(net)(images)[..., ::32, ::32], net(images))
    assert_equal(atrous(net, 4)(images)[..., ::8, ::8], net(images))


def test_a_convolution_used_twice_on_one_grid_is_dilated_once() -> None:
    conv = nn.Conv2d(3, 3, 3, padding=1)
    net = nn.Sequential(nn.MaxPool2d(2), conv, nn.ReLU(), conv).double()
    images = torch.randn(1, 3, 16, 17, dtype=torch.float64)
    assert_equal(atrous(net)(images)[..., ::2, ::2], net(images))


def test_branches_on_one_grid_are_kept_together() -> None:
    block = Branches(nn.Conv2d(4, 4, 3, 2, 1), nn.Conv2d(4, 4, 1, 2), torch.add)
    mixed = Branches(nn.Conv2d(4, 4, 5, padding=2), nn.MaxPool2d(3, 1, 1), concatenate)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, 2), block, mixed).double()
    images = torch.randn(1, 3, 33, 38, dtype=torch.float64)
    assert_equal(atrous(net)(images)[..., ::4, ::4], net(images))
    assert_equal(atrous(net, 2)(images)[..., ::2, ::2], net(images))


def test_the_model_stays_as_it_is_and_the_copy_is_an_ordinary_module() -> None:
    model = nn.Sequential(nn.Conv2d(3, 2, 3, 2), nn.BatchNorm2d(2), nn.AvgPool2d(2)).train()
    model[1].eval()
    model[0].bias.requires_grad_(False)
    net = atrous(model)
    assert model[0].stride == (2, 2) and model[2].stride == 2
    assert net.training and not net.get_submodule("1").training
    assert not net.get_submodule("0").bias.requires_grad
    assert not {p.data_ptr() for p in net.parameters()} & {p.data_ptr() for p in model.parameters()}
    images = torch.randn(1, 3, 16, 16)
    assert torch.equal(copy.deepcopy(net)(images), net(images))
    whole = torch.compile(net, backend="aot_eager", fullgraph=True)
    assert torch.allclose(whole(images), net(images))


def test_an_image_too_small_for_the_dense_network_is_too_small_for_the_first() -> None:
    net = convolutionalize(Own(TAILS["flatten"]()).double(), (21, 29))
    square = convolutionalize(
        nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.Flatten(), nn.Linear(4 * 9, 5)).double(), 7
    )
    with pytest.raises(ValueError, match="square"):
        atrous(net)
    dense = atrous(square)
    assert dense(torch.randn(1, 3, 7, 7, dtype=torch.float64)).shape == (1, 5, 1, 1)
    for small in (square, dense):
        with pytest.raises(AssertionError, match="the image is too small"):
            small(torch.randn(1, 3, 6, 7, dtype=torch.float64))


class Applied(nn.Module):
    """A map of three channels at stride 2, and what `function` makes of it."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.function = nn.Conv2d(3, 3, 3, 2, 1), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.conv(x))


class Weights(Applied):
    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__(function)
        self.weight = nn.Parameter(torch.zeros(3, 3, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.conv(x), self.weight)


REFUSED: dict[str, tuple[nn.Module, str]] = {
    "deconvolution": (nn.Sequential(nn.ConvTranspose2d(3, 3, 2, 2)), "'0': ConvTranspose2d cannot"),
    "adaptive": (nn.Sequential(nn.AdaptiveAvgPool2d(1)), "AdaptiveAvgPool2d .*convolutionalize"),
    "flatten": (nn.Sequential(nn.Flatten(), nn.Linear(3, 3)), "Flatten"),
    "mean": (Applied(lambda x: x.mean((2, 3), keepdim=True)), "'mean' .*convolutionalize"),
    "upsampling": (Applied(lambda x: F.interpolate(x, scale_factor=2)), "'interpolate'"),
    "oblong": (nn.Sequential(nn.Conv2d(3, 3, (1, 3))), "square layers only"),
    "reflected": (
        nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect")),
        "padding_mode='reflect'",
    ),
    "indices": (
        nn.Sequential(nn.MaxPool2d(2, return_indices=True), nn.Identity()),
        "'0': returns indices",
    ),
    "strides": (Branches(nn.Conv2d(3, 3, 1, 2), nn.ReLU(), torch.add), "'add' .*disagree"),
    "sizes": (Branches(nn.MaxPool2d(2), nn.Conv2d(3, 3, 1, 2), torch.add), r"-1 rows.*\+0 rows"),
    "twice": (Applied(nn.Sequential(*[nn.Conv2d(3, 3, 1, 2)] * 2)), "'function.0': .*a module of"),
    "along the image": (Applied(lambda x: torch.cat((x, x), 2)), "dim=2"),
    "along a line": (Applied(lambda x: torch.cat((x[:, 0], x[:, 1]), 1)), "dim=1"),
    "part of a map": (Applied(lambda x: F.conv2d(x[0], torch.ones(3, 3, 1, 1))), "part of a map"),
    "rows": (Applied(lambda x: x[:, :, 1:]), "'getitem'"),
    "unsqueezed": (Applied(lambda x: x.unsqueeze(-1)), "'unsqueeze'"),
    "sized": (Applied(lambda x: x.view(x.size(0), -1)), "size of a map"),
    "positions": (Weights(torch.add), "one input size"),
    "computed positions": (Weights(lambda x, weight: x + weight[0]), "store it as a parameter"),
    "computed": (Weights(lambda x, weight: F.conv2d(x, weight * 2)), "store it as a parameter"),
    "pair": (Pair(), "one tensor of scores"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_dilated_is_named(name: str) -> None:
    net, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        atrous(net)


@pytest.mark.parametrize("stride", [0, -2, 1.5])
def test_a_stride_is_a_positive_integer(stride: int) -> None:
    with pytest.raises(ValueError, match=f"stride must be an integer of at least 1, got {stride}"):
        atrous(nn.Conv2d(3, 3, 3), stride)


@pytest.mark.parametrize("stride", [3, 8])
def test_a_stride_that_the_network_cannot_keep_is_refused(stride: int) -> None:
    net = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(3, 3, 3, 2))
    with pytest.raises(ValueError, match=f"stride={stride} must divide the stride of the model, 4"):
        atrous(net, stride)


def test_stitching_refuses_what_upsamples() -> None:
    net = nn.Sequential(nn.Conv2d(3, 3, 2, 2), nn.ConvTranspose2d(3, 3, 2, 2))
    with pytest.raises(ValueError, match="transposed convolution"):
        shift_and_stitch(net, torch.zeros(1, 3, 8, 8))


def test_input_transforms_of_pretrained_weights_are_kept() -> None:
    net = convolutionalize(narrow("googlenet"), 64)
    model = narrow("googlenet")
    model.transform_input = True
    images = torch.randn(1, 3, 64, 70, dtype=torch.float64)
    transformed = convolutionalize(model, 64)
    assert_equal(atrous(transformed)(images)[..., ::32, ::32], transformed(images))
    assert relative_error(transformed(images), net(images)) > 1e-3
