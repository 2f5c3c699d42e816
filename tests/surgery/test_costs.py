"""Multiply-accumulates and parameters of real networks, and the fields of those traced."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from fcn_tutorial import geometry
from fcn_tutorial.geometry import Layer, receptive_field
from fcn_tutorial.surgery import convolutionalize, layer_macs, macs, trace
from fcn_tutorial.upsampling import Deconvolution, upsample
from fcn_tutorial.vision import models
from tests.published import Published
from tests.surgery.networks import narrow


def build(name: str) -> nn.Module:
    settings: dict[str, bool] = {"init_weights": False} if name in ("vgg16", "googlenet") else {}
    with torch.device("meta"):
        return models.get_model(name, weights=None, **settings).eval()


def counted_by_torch(module: nn.Module, *shape: int) -> float:
    with FlopCounterMode(display=False) as counter:
        module(torch.empty(shape, device="meta"))
    return counter.get_total_flops() / 2


# ---- multiply-accumulates ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["alexnet", "vgg16", "googlenet", "resnet18", "resnet50", "mobilenet_v2", "squeezenet1_1"],
)
def test_macs_are_half_of_torch_s_flops(name: str) -> None:
    model = build(name)
    assert macs(model, 224) == counted_by_torch(model, 1, 3, 224, 224)
    assert macs(model, (225, 256)) == counted_by_torch(model, 1, 3, 225, 256)


class Mixed(nn.Module):
    """Convolutions of both kinds, groups, functions and matrix products of every sort."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(4, 6, 3, 2, 1, groups=2), nn.BatchNorm2d(6), nn.ReLU())
        self.up = nn.ConvTranspose2d(6, 4, 4, 2, groups=2)
        self.upscore = Deconvolution(4, 2)
        self.linear, self.bare = nn.Linear(4, 5), nn.Linear(5, 7, bias=False)
        self.vector = nn.Parameter(torch.ones(7))

    def forward(self, x: Tensor) -> Tensor:
        y = self.up(self.first(x))
        y = F.conv2d(y, y.new_ones(4, 4, 3, 3), padding=1, dilation=2)
        y = upsample(self.upscore(y, (40, 44)), 4, (90, 80), 2)
        y = self.bare(self.linear(y.permute(0, 2, 3, 1)))
        return torch.einsum("nhwc,nhwd->ncd", y, y) @ self.vector


def test_functions_groups_and_transposed_convolutions_count() -> None:
    net = Mixed()
    counts = layer_macs(net, (31, 37), channels=4)
    # By hand, from the definition; 16×19 pixels after the first layer, 34×40 after the second.
    assert list(counts) == ["first.0", "up", "", "upscore", "linear", "bare"]
    assert counts["first.0"] == 16 * 19 * 6 * 9 * (4 // 2)
    assert counts["up"] == 16 * 19 * 16 * 6 * (4 // 2)
    assert counts["upscore"] == 32 * 38 * 16 * 4 * 4
    assert counts["linear"] == 90 * 80 * 4 * 5
    assert counts["bare"] == 90 * 80 * 5 * 7
    function = 32 * 38 * 4 * 9 * 4
    matrices = 4 * (40 * 44 * 80 + 90 * 40 * 80)  # columns first here: fewer products
    products = 90 * 80 * 7 * 7 + 7 * 7
    assert counts[""] == function + matrices + products
    assert macs(net, (31, 37), channels=4) == sum(counts.values())


def test_counting_leaves_the_module_as_it_was() -> None:
    net = Mixed().train()
    before = net.vector.clone()
    macs(net, 16, channels=4)
    assert net.training and net.first[1].num_batches_tracked == 0
    assert net.vector.device.type == "cpu" and torch.equal(net.vector, before)
    assert not net._forward_hooks and not net.first[0]._forward_pre_hooks


@pytest.mark.parametrize(
    ("size", "channels", "message"),
    [
        (0, 3, "input_size must be one or two positive numbers .* got 0 and 3"),
        ((8, 8, 8), 3, r"got \(8, 8, 8\) and 3"),
        (8, 0, "channels at least 1, got 8 and 0"),
        (8, 4, "Conv2d fails on an image of 4 channels and 8×8 pixels: .*channel"),
        ((8, 2), 3, "Conv2d fails on an image of 3 channels and 8×2 pixels"),
    ],
)
def test_an_image_that_does_not_fit_is_named(
    size: int | tuple[int, int], channels: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        macs(nn.Conv2d(3, 4, 3), size, channels)


def published(net: str) -> nn.Module:
    with torch.device("meta"):
        return Published(net)


def test_the_published_fcn_32s_costs_what_geometry_says() -> None:
    layers: list[Layer] = []
    channels = [3]
    for width, convolutions in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        layers += [Layer(3, padding=1)] * convolutions + [Layer(2, 2, kind="pool", ceil=True)]
        channels += [width] * (convolutions + 1)
    layers = [Layer(3, padding=100), *layers[1:], Layer(7), Layer(1), Layer(1)]
    layers.append(Layer(64, 32, kind="deconv"))
    channels += [4096, 4096, 21, 21]
    for size, gmacs in (((375, 500), 146.6), ((256, 256), 73.5)):
        total = macs(published("voc-fcn32s"), size)
        assert total == geometry.macs(layers, channels, size)
        assert round(total / 1e9, 1) == gmacs


def test_skips_add_a_thousandth_to_the_cost_of_fcn_32s() -> None:
    coarse, fine = (macs(published(f"voc-fcn{s}s"), (375, 500)) for s in (32, 8))
    assert 1 < fine / coarse < 1.001


# ---- parameters ----------------------------------------------------------------------------------


def test_fcn_32s_has_134_346_581_learned_parameters_of_which_fc6_holds_102_8_million() -> None:
    # Every convolution of VGG16 and the score layer; the deconvolution is fixed.
    learned = {
        name: p.numel()
        for name, p in published("voc-fcn32s").named_parameters()
        if not name.startswith("upscore")
    }
    assert sum(learned.values()) == 134_346_581
    assert round(learned["fc6.weight"] / 1e6, 1) == 102.8


# ---- what the traced networks see ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("alexnet", (355, 32)),
        ("vgg16", (404, 32)),
        ("googlenet", (571, 32)),  # the original sees 907
        ("resnet18", (627, 32)),
        ("resnet50", (619, 32)),  # strides in the 3×3; in the 1×1, as first published, 675
        ("mobilenet_v2", (683, 32)),
        ("squeezenet1_1", (399, 16)),
    ],
)
def test_fields_of_torchvision_s_classifiers(name: str, expected: tuple[int, int]) -> None:
    assert receptive_field(trace(convolutionalize(build(name)), 224))[:2] == expected


def thin_trunk(name: str) -> nn.Module:
    """VGG16 up to fc6, or what is before the global pooling; an eighth of the channels or fewer."""
    if name == "vgg16":
        widths = [8, 8, "M", 8, 8, "M", 8, 8, 8, "M", 8, 8, 8, "M", 8, 8, 8, "M"]
        return nn.Sequential(models.vgg.make_layers(widths), nn.Conv2d(8, 8, 7))
    parts = {n: m for n, m in narrow(name).named_children() if n not in ("avgpool", "fc")}
    return parts.get("features") or nn.Sequential(*parts.values())


@pytest.mark.identity
@pytest.mark.parametrize("name", ["vgg16", "resnet50", "mobilenet_v2"])
def test_traced_field_is_the_support_of_the_gradient(name: str) -> None:
    net = thin_trunk(name).double().eval()
    for module in net.modules():
        if isinstance(module, nn.Conv2d):  # positive, so that no two paths cancel
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        if isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
    field = receptive_field(trace(net, 224))
    centre, half = field.centre, (field.size - 1) / 2
    index = 0
    while centre - half < 1:  # to the first score whose field is inside the image
        index, centre = index + 1, centre + field.stride
    height, width = int(centre + half) + 40, 256 if name == "vgg16" else 32
    images = torch.full((1, 3, height, width), 1e-3).double().requires_grad_()  # far from ReLU6's 6
    for module in list(net.modules()):
        for child_name, child in list(module.named_children()):
            if isinstance(child, nn.MaxPool2d):  # its mean reads the same window, all of it
                mean = nn.AvgPool2d(child.kernel_size, child.stride, child.padding)
                setattr(module, child_name, mean)
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(net(images)[:, :, index].sum(), images)
    rows = gradient.abs().sum((0, 1, 3)).nonzero().flatten()
    assert (rows[0].item(), rows[-1].item()) == (centre - half, centre + half)
