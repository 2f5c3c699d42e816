"""Reading the layers of real networks, against what the networks themselves see."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fcn_tutorial.geometry import Layer, output_size, receptive_field
from fcn_tutorial.surgery import parameter_strides, trace
from fcn_tutorial.surgery.tracing import survey
from fcn_tutorial.vision import models
from tests.surgery.networks import Branches, Pair, concatenate, trunk


def test_vgg16_has_the_fields_of_the_paper() -> None:
    with torch.device("meta"):
        features = models.vgg16(weights=None, init_weights=False).features
    cuts = {17: (44, 8), 24: (100, 16), 31: (212, 32)}  # after pool3, pool4 and pool5
    for cut, expected in cuts.items():
        assert receptive_field(trace(features[:cut], 224))[:2] == expected


def test_trace_reads_settings_and_drops_what_acts_on_single_pixels() -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 4, 5, stride=2, padding=3, dilation=2),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.LocalResponseNorm(2),
        nn.Conv2d(4, 4, 3, padding="same", dilation=2),
        nn.MaxPool2d(3, 2, 1, ceil_mode=True),
        nn.AvgPool2d(2),
        nn.Dropout(),
        nn.ConvTranspose2d(4, 2, 4, stride=2, padding=1),
    )
    assert trace(net, 64) == [
        Layer(5, 2, 3, 2),
        Layer(3, 1, 2, 2),
        Layer(3, 2, 1, kind="pool", ceil=True),
        Layer(2, 2, kind="pool"),
        Layer(4, 2, 1, kind="deconv"),
    ]


def test_functions_read_like_modules() -> None:
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.empty(4, 5, 3, 3))

        def forward(self, x: Tensor) -> Tensor:
            y = F.relu(F.conv2d(x, self.weight, stride=2, padding=1)) * 0.5 + 1
            y = F.max_pool2d(F.dropout(y, training=self.training).relu_(), 3, stride=2)
            y = F.avg_pool2d(input=F.max_pool2d(y, 3), kernel_size=2, stride=1)
            return F.conv_transpose2d(y, self.weight, stride=2).mean((2, 3), keepdim=True)

    layers = trace(Functional(), 65)
    assert layers[:4] == [
        Layer(3, 2, 1),
        Layer(3, 2, kind="pool"),
        Layer(3, 3, kind="pool"),
        Layer(2, kind="pool"),
    ]
    assert layers[4] == Layer(3, 2, kind="deconv")
    assert layers[5:] == [Layer(output_size(layers[:5], 65), kind="pool")]


@pytest.mark.parametrize(("size", "expected"), [(7, []), (6, []), ((9, 9), None)])
def test_adaptive_pooling_reads_only_where_its_windows_stand_still(
    size: int | tuple[int, int], expected: list[Layer] | None
) -> None:
    net = nn.AdaptiveAvgPool2d(size if isinstance(size, int) else 7)
    if expected is None:
        with pytest.raises(ValueError, match="from 9×9 to 7×7"):
            trace(net, size)
    else:
        assert trace(net, size) == expected


def test_global_adaptive_pooling_is_a_pool_of_the_map() -> None:
    assert trace(nn.AdaptiveMaxPool2d((1, 1)), 9) == [Layer(9, kind="pool")]
    with pytest.raises(ValueError, match="square"):
        trace(nn.AdaptiveAvgPool2d(1), (9, 12))


@pytest.mark.parametrize("join", [torch.add, concatenate, torch.mul])
def test_the_widest_branch_counts(join: Callable[[Tensor, Tensor], Tensor]) -> None:
    narrow, wide = nn.Conv2d(3, 3, 3, 2, 1), nn.Conv2d(3, 3, 7, 2, 3)
    for one, two in ((narrow, wide), (wide, narrow)):
        assert trace(Branches(one, two, join), 16) == [Layer(7, 2, 3)]


@pytest.mark.parametrize(
    ("one", "two", "side"),
    [
        (nn.Conv2d(3, 3, 3, 2, 1), nn.Conv2d(3, 3, 2, 2), 16),  # centres 0 and 1/2
        (nn.Conv2d(3, 3, 2, 1), nn.Conv2d(3, 3, 1, 2), 2),  # strides 1 and 2
        (nn.Conv2d(3, 3, 1), nn.AdaptiveAvgPool2d(1), 16),  # a map and a single pixel
    ],
)
def test_branches_that_do_not_meet_are_refused(one: nn.Module, two: nn.Module, side: int) -> None:
    with pytest.raises(ValueError, match=r"'add' \(node .*branches that join here disagree"):
        trace(Branches(one, two, torch.add), side)


class Scaled(nn.Module):
    """A convolution, its channels multiplied by factors of the whole image."""

    def __init__(self, factors: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.pool = nn.Conv2d(3, 6, 3, 2, 1), nn.AdaptiveAvgPool2d(1)
        self.fc, self.factors = nn.Linear(6, 6), factors

    def forward(self, x: Tensor) -> Tensor:
        return self.factors(self.conv(x))


WAYS: dict[str, Callable[[Tensor], Tensor]] = {
    "pooled map": lambda x: F.adaptive_avg_pool2d(x, 1).sigmoid() * x,
    "mean": lambda x: x * x.mean((2, 3), keepdim=True),
    "vector": lambda x: x * F.relu(x.mean((2, 3))).view(2, 6, 1, 1).expand_as(x),
    "channels last": lambda x: (
        x.permute(0, 2, 3, 1) * x.permute(0, 2, 3, 1).mean((1, 2), keepdim=True)
    ).permute(0, 3, 1, 2),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [16, (17, 40)])
def test_factors_of_the_whole_image_leave_the_path_as_it_is(
    way: str, size: int | tuple[int, int]
) -> None:
    found = survey(Scaled(WAYS[way]), size)
    assert found.layers == (Layer(3, 2, 1),) and found.gated
    assert trace(Scaled(WAYS[way]), size) == [Layer(3, 2, 1)]


@pytest.mark.parametrize(
    ("join", "message"),
    [
        (lambda x: x + x.mean((2, 3), keepdim=True), "branches that join here disagree"),
        (lambda x: x + x.mean((2, 3)).view(2, 6, 1, 1), "'mean'.*leaves no map"),
        (lambda x: x.mean((2, 3)), "'mean'.*leaves no map"),
        (lambda x: x.mean((2, 3), keepdim=True).expand_as(x), "one value at every pixel"),
        (lambda x: x.mean((0, 1)), "'mean'"),
        (lambda x: x * x.amax((2, 3)), "fails on"),
    ],
)
def test_what_is_not_a_factor_is_no_path(join: Callable[[Tensor], Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        trace(Scaled(join), 16)


def test_norms_of_the_whole_image_are_told() -> None:
    for norm in (nn.GroupNorm(2, 4), nn.InstanceNorm2d(4)):
        assert survey(nn.Sequential(nn.Conv2d(3, 4, 3), norm), 16).gated
    assert not survey(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), 16).gated


REARRANGED: dict[str, tuple[Callable[[Tensor], Tensor], tuple[int, int]]] = {
    "channels last": (lambda x: x.permute(0, 2, 3, 1), (1, 2)),
    "turned": (lambda x: x.transpose(2, 3), (3, 2)),
    "and back": (lambda x: x.permute(0, 2, 3, 1).permute(0, 3, 1, 2), (2, 3)),
    "groups": (lambda x: x.view(2, 3, 2, x.shape[2], x.shape[3]), (3, 4)),
    "a channel": (lambda x: x[:, 3], (1, 2)),
    "parts": (lambda x: x.split(2, dim=1)[1], (2, 3)),
    "an axis more": (lambda x: x.unsqueeze(1), (3, 4)),
}


@pytest.mark.parametrize("name", REARRANGED)
@pytest.mark.parametrize("size", [16, (1, 2)])
def test_rows_and_columns_are_followed_through_other_orders_of_the_axes(
    name: str, size: int | tuple[int, int]
) -> None:
    """Also where the map is one pixel, and shapes alone do not tell one axis from another."""
    rearranged, axes = REARRANGED[name]
    found = survey(Scaled(rearranged), size)
    assert found.axes == axes and found.layers == (Layer(3, 2, 1),)
    assert tuple(found.shape[a] for a in axes) == ((8, 8) if size == 16 else (1, 1))


@pytest.mark.parametrize(
    ("moves", "message"),
    [
        (lambda x: x.flatten(2), "'flatten'"),
        (lambda x: x.roll(1, 2), "'roll'"),
        (lambda x: x[:, :, 1:], "'getitem'"),
        (lambda x: x.chunk(2, dim=2)[0], "'chunk'"),
        (lambda x: F.layer_norm(x, x.shape[2:]), "'layer_norm'"),
        (lambda x: F.linear(x, torch.zeros(5, 8, device="meta")), "'linear'"),
        (lambda x: F.max_pool2d(x.permute(0, 2, 3, 1), 2), "'max_pool2d'"),
        (lambda x: F.local_response_norm(x.permute(0, 2, 3, 1), 2), "'local_response_norm'"),
        (lambda x: x + x.permute(0, 1, 3, 2), "different orders"),
    ],
)
def test_what_moves_pixels_is_refused(moves: Callable[[Tensor], Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        trace(Scaled(moves), 16)


def test_parameters_work_at_the_stride_of_their_map() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fine, self.coarse = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 2, 2)
            self.squeeze, self.table = nn.Linear(4, 4), nn.Parameter(torch.ones(2, 4))
            self.unused, self.twice = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.twice(self.fine(x))
            x = x * self.squeeze(x.mean((2, 3))).view(-1, 4, 1, 1)
            self.unused(x)
            return self.twice(self.coarse(x)) * self.table.sum(0).view(4, 1, 1)

    found = parameter_strides(Net(), 16)
    assert found == {
        "fine.weight": 2, "fine.bias": 2, "squeeze.weight": 2, "squeeze.bias": 2,
        "coarse.weight": 4, "coarse.bias": 4, "twice.weight": 4, "twice.bias": 4, "table": 4,
    }  # fmt: skip


def test_joining_along_the_image_is_refused() -> None:
    with pytest.raises(ValueError, match="disagree"):
        trace(Branches(nn.ReLU(), nn.ReLU(), lambda a, b: torch.cat([a, b], 2)), 8)


class TwoInputs(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class Undecided(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (nn.Sequential(nn.Conv2d(3, 3, (1, 3))), "module '0': .*square layers only"),
        (nn.Sequential(nn.ReLU(), nn.Upsample(scale_factor=2)), "module '1': Upsample"),
        (nn.Sequential(nn.Flatten(), nn.Linear(3, 2)), "module '0': Flatten"),
        (nn.Sequential(nn.ConvTranspose2d(3, 3, 3, 2, output_padding=1)), "output_padding"),
        (nn.Sequential(nn.Softmax(dim=-1)), "Softmax"),
        (nn.Sequential(nn.Conv2d(3, 3, 99)), "module '0' fails on an image of 16×16"),
        (TwoInputs(), "takes 2 inputs"),
        (Undecided(), "cannot follow Undecided.forward"),
        (Pair(), "more than one tensor"),
    ],
)
def test_what_trace_cannot_read_is_named(net: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        trace(net, 16)


def test_tracing_leaves_the_module_alone() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).train()
    net[1].eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    trace(net, 16)
    assert net.training and not net[1].training
    for name, value in net.state_dict().items():
        assert value.device.type == "cpu" and torch.equal(value, before[name])


def with_smooth_pools(net: nn.Module) -> nn.Module:
    """Positive weights and average pools: every path then adds to the gradient, none cancels."""
    for parent in list(net.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.MaxPool2d):
                smooth = nn.AvgPool2d(child.kernel_size, child.stride, child.padding)
                smooth.ceil_mode = child.ceil_mode
                setattr(parent, name, smooth)
            if isinstance(child, nn.Conv2d):  # positive and of mean 1 a weight, so of one scale
                nn.init.uniform_(child.weight, 0.5, 1.5)
                child.weight.data /= child.weight[0].numel()
                if child.bias is not None:
                    nn.init.zeros_(child.bias)
            if isinstance(child, nn.BatchNorm2d):
                child.reset_parameters()
    return net.double().eval()


def assert_field_is_gradient_support(net: nn.Module, width: int) -> None:
    field = receptive_field(trace(net, 224))
    stride, half = int(field.stride), (field.size - 1) / 2
    index = -(-int(half - float(field.centre) + 1) // stride)  # first output fully inside
    height = int(stride * index + float(field.centre) + half) + 2 * stride
    image = torch.ones(1, 3, height, width, dtype=torch.float64, requires_grad=True)
    with torch.enable_grad():
        scores = with_smooth_pools(net)(image)
        (gradient,) = torch.autograd.grad(scores[:, :, index].sum(), image)
    seen = gradient.sum((0, 1, 3)).nonzero().flatten()
    centre = stride * index + field.centre
    assert (seen[0].item(), seen[-1].item()) == (centre - half, centre + half)


@pytest.mark.parametrize("name", ["alexnet", "squeezenet1_1", "resnet18", "googlenet"])
def test_field_of_a_real_trunk_is_the_support_of_its_gradient(name: str) -> None:
    assert_field_is_gradient_support(trunk(name), width=64 if name == "alexnet" else 32)


@pytest.mark.parametrize(
    "net",
    [
        nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.MaxPool2d(3, 2, 1), nn.Conv2d(4, 4, 3, 1, 0, 2)),
        nn.Sequential(
            nn.Conv2d(3, 4, 4, 3, 1),
            Branches(nn.Conv2d(4, 4, 5, padding=2), nn.MaxPool2d(3, 1, 1), torch.add),
            Branches(nn.Conv2d(4, 4, 1, 2), nn.Conv2d(4, 4, 3, 2, 1), concatenate),
        ),
    ],
)
def test_field_of_a_small_net_is_the_support_of_its_gradient(net: nn.Module) -> None:
    assert_field_is_gradient_support(net, width=32)
