"""Reading, converting and folding real networks, against the networks themselves."""

import copy
from collections.abc import Callable, Iterator
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fcn_tutorial._torchvision  # noqa: F401
from fcn_tutorial.geometry import Layer, output_size, receptive_field
from fcn_tutorial.surgery import convolutionalize, fold_norms, trace, transplant

from torchvision import models  # isort: skip


@cache
def classifier(name: str) -> nn.Module:
    """A torchvision classifier with random weights and random frozen statistics, evaluating."""
    torch.manual_seed(0)
    settings: dict[str, bool] = {}
    if name in ("vgg11", "googlenet"):  # torch's own initialisation is as random, and fast
        settings["init_weights"] = False
    if name == "googlenet":
        settings["aux_logits"] = False
    model = models.get_model(name, weights=None, **settings)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.normal_(module.bias, std=0.1)
    return model.eval()


def trunk(name: str) -> nn.Module:
    """A copy of the part of a torchvision classifier before its global pooling."""
    model = copy.deepcopy(classifier(name))
    if isinstance(features := getattr(model, "features", None), nn.Module):
        return features
    children = dict(model.named_children())
    return nn.Sequential(*[m for n, m in children.items() if n not in ("avgpool", "dropout", "fc")])


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


# ---- trace --------------------------------------------------------------------------------------


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


class Branches(nn.Module):
    """Two branches of an image, joined by `join`."""

    def __init__(
        self, one: nn.Module, two: nn.Module, join: Callable[[Tensor, Tensor], Tensor]
    ) -> None:
        super().__init__()
        self.one, self.two, self.join = one, two, join

    def forward(self, x: Tensor) -> Tensor:
        return self.join(self.one(x), self.two(x))


def concatenate(a: Tensor, b: Tensor) -> Tensor:
    return torch.cat([a, b], 1)


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


def test_joining_along_the_image_is_refused() -> None:
    with pytest.raises(ValueError, match="disagree"):
        trace(Branches(nn.ReLU(), nn.ReLU(), lambda a, b: torch.cat([a, b], 2)), 8)


class TwoInputs(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class Undecided(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x.relu()


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


# ---- convolutionalize ---------------------------------------------------------------------------

# Side of the window that one score sees, and its stride. AlexNet's is the paper's; VGG11 sees 150
# pixels up to pool5 and 6·32 more in fc6; GoogLeNet 379, and 6·32 more in its last pool.
CLASSIFIERS = {
    "alexnet": (355, 32),
    "vgg11": (342, 32),
    "resnet18": (627, 32),
    "mobilenet_v2": (683, 32),
    "squeezenet1_1": (399, 16),
    "googlenet": (571, 32),
}


def relative_error(actual: Tensor, expected: Tensor) -> float:
    return ((actual - expected).abs().max() / expected.abs().max()).item()


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_scores_equal_the_classifier_on_its_own_input_size(name: str) -> None:
    model = classifier(name)
    net = convolutionalize(model)
    images = torch.randn(1, 3, 224, 224)
    scores = net(images)
    assert scores.shape == (1, 1000, 1, 1)
    assert relative_error(scores[:, :, 0, 0], model(images)) < 1e-5
    assert list(net.state_dict()) == list(model.state_dict())
    assert not {p.data_ptr() for p in net.parameters()} & {p.data_ptr() for p in model.parameters()}
    layers = trace(net, 224)
    assert receptive_field(layers)[:2] == CLASSIFIERS[name]
    larger = net.to("meta")(torch.empty(2, 3, 300, 400, device="meta"))
    assert larger.shape == (2, 1000, output_size(layers, 300), output_size(layers, 400))


@pytest.mark.parametrize(("name", "size"), [("resnet18", 64), ("squeezenet1_1", (65, 80))])
def test_scores_equal_the_classifier_to_rounding_in_double_precision(
    name: str, size: int | tuple[int, int]
) -> None:
    model = copy.deepcopy(classifier(name)).double()
    net = convolutionalize(model, size)
    images = torch.randn(2, 3, *((size, size) if isinstance(size, int) else size)).double()
    assert relative_error(net(images)[:, :, 0, 0], model(images)) < 1e-10


class Own(nn.Module):
    """A classifier in the way `tail` writes it: no padding, so that windows can be compared."""

    def __init__(self, tail: nn.Module) -> None:
        super().__init__()
        # (N, 6, 4, 6) on 21×29 images, at stride 4.
        self.trunk = nn.Sequential(
            *[nn.Conv2d(3, 5, 3), nn.ReLU(), nn.MaxPool2d(2)],
            *[nn.Conv2d(5, 6, 3, stride=2), nn.Tanh()],
        )
        self.tail = tail

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.tail(self.trunk(x))
        return out


class Viewed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.score = nn.Linear(6 * 4 * 6, 9), nn.Linear(9, 4, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.fc(x.view(x.size(0), -1)))
        return F.log_softmax(self.score(F.dropout(y, 0.2, self.training)), dim=-1)


class Averaged(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.score = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.score(x.mean([2, 3]))
        return out


class SizedPool(Averaged):
    def forward(self, x: Tensor) -> Tensor:
        y = F.avg_pool2d(x, x.shape[2:])
        out: Tensor = self.score(y.squeeze(-1).squeeze(-1))
        return out


class AdaptiveFunction(Averaged):
    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.score(torch.flatten(F.adaptive_max_pool2d(x, (1, 1)), start_dim=1))
        return out


class JoinedVectors(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.score = nn.Linear(12 * 4 * 6, 4)

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.flatten(1), x.sigmoid().reshape(x.shape[0], -1)
        out: Tensor = self.score(torch.cat((a, b), dim=1))
        return out


TAILS: dict[str, Callable[[], nn.Module]] = {
    "flatten": lambda: nn.Sequential(nn.Flatten(), nn.Linear(6 * 4 * 6, 4)),
    "two linear": lambda: nn.Sequential(
        *[nn.Flatten(), nn.Linear(6 * 4 * 6, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Dropout()],
        *[nn.Linear(9, 4), nn.Softmax(dim=-1)],
    ),
    "unflatten": lambda: nn.Sequential(
        nn.Flatten(), nn.Unflatten(1, (6, 4, 6)), nn.Conv2d(6, 4, (4, 6)), nn.Flatten()
    ),
    "adaptive": lambda: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)),
    "identity": lambda: nn.Sequential(
        nn.AdaptiveAvgPool2d((4, None)), nn.Flatten(), nn.Linear(6 * 4 * 6, 4)
    ),
    "view": Viewed,
    "mean": Averaged,
    "sized pool": SizedPool,
    "adaptive function": AdaptiveFunction,
    "joined vectors": JoinedVectors,
    "convolution": lambda: nn.Sequential(nn.Conv2d(6, 4, 1), nn.AdaptiveMaxPool2d((1, 1))),
}


@pytest.mark.parametrize("tail", TAILS)
def test_every_score_equals_the_classifier_on_its_window(tail: str) -> None:
    torch.manual_seed(0)
    model = Own(TAILS[tail]()).double().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.normal_(module.running_mean, std=0.1)
    net = convolutionalize(model, (21, 29))
    images = torch.randn(2, 3, 21 + 13, 29 + 9, dtype=torch.float64)
    scores = net(images)
    assert scores.shape == (2, 4, 4, 3)
    for i in range(4):
        for j in range(3):
            window = images[:, :, 4 * i : 4 * i + 21, 4 * j : 4 * j + 29]
            expected = model(window).flatten(1)
            assert relative_error(scores[:, :, i, j], expected) < 1e-12


@pytest.mark.parametrize("tail", ["two linear", "view", "adaptive"])
def test_a_converted_classifier_is_an_ordinary_module(tail: str) -> None:
    model = Own(TAILS[tail]()).train()
    model.trunk[3].eval()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.endswith("bias"))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    net = convolutionalize(model, (21, 29))
    own = dict(model.named_parameters())
    assert net.training and not net.get_submodule("trunk.3").training
    assert all(p.requires_grad == own[n].requires_grad for n, p in net.named_parameters())
    twin = convolutionalize(Own(TAILS[tail]()), (21, 29))
    twin.load_state_dict(net.state_dict())
    images = torch.randn(2, 3, 40, 40)
    assert torch.equal(twin.eval()(images), net.eval()(images))
    for parameter in net.parameters():
        parameter.mul_(2)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(convolutionalize(net, (21, 29))(images), net(images))


def test_dropout_stays_element_wise_and_follows_the_mode() -> None:
    net = convolutionalize(Own(Viewed()), (21, 29))
    dropouts = [module for module in net.modules() if isinstance(module, nn.Dropout)]
    assert [d.p for d in dropouts] == [0.2]
    images = torch.randn(64, 3, 21, 29)  # 64·9 units: one at least is dropped
    assert not torch.equal(net.train()(images), net(images))
    assert torch.equal(net.eval()(images), net(images))


def test_auxiliary_heads_are_left_out_and_input_transforms_kept() -> None:
    model = models.googlenet(
        weights=None, init_weights=False, aux_logits=True, transform_input=True
    )
    net = convolutionalize(model, 64)
    assert not any(name.startswith("aux") for name, _ in net.named_parameters())
    images = torch.randn(1, 3, 64, 64)
    assert relative_error(net.eval()(images).flatten(1), model.eval()(images)) < 1e-5


def test_an_image_too_small_for_the_result_says_so() -> None:
    net = convolutionalize(Own(TAILS["flatten"]()), (21, 29))
    with pytest.raises(AssertionError, match=r"'tail.1' must be at least 4×6.* image of 21×29"):
        net(torch.randn(1, 3, 21, 24))


def test_the_result_compiles_and_exports() -> None:
    net = convolutionalize(Own(TAILS["flatten"]()), (21, 29)).eval()
    images = torch.randn(2, 3, 33, 33)
    whole = torch.compile(net, backend="aot_eager", fullgraph=True)
    assert torch.equal(whole(images), net(images))
    assert torch.equal(torch.export.export(net, (images,)).module()(images), net(images))


class Permuted(Averaged):
    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.score(x.permute(0, 2, 3, 1).mean((1, 2)))
        return out


class Gated(Averaged):
    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.score((x * x.mean((2, 3), keepdim=True)).mean((2, 3)))
        return out


class Positioned(Averaged):
    def __init__(self) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.zeros(1, 1, 4, 6))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + self.position)


@pytest.mark.parametrize(
    ("tail", "message"),
    [
        (nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 4)), "from 4×6 to 2×2"),
        (nn.Linear(6, 4), "fails on|flattened"),
        (nn.Sequential(nn.LayerNorm([6, 4, 6]), nn.Flatten(), nn.Linear(144, 4)), "LayerNorm"),
        (nn.Sequential(nn.Flatten(), nn.BatchNorm1d(144), nn.Linear(144, 4)), "BatchNorm1d"),
        (nn.Flatten(), "no linear layer reads"),
        (nn.Sequential(nn.Flatten(0, 1), nn.Flatten()), "mixes the images"),
        (nn.Sequential(nn.Flatten(), nn.Softmax(1)), "not the channels"),
        (Permuted(), "'permute'"),
        (Gated(), "different sizes"),
        (Positioned(), "one input size"),
        (Pair(), "one tensor of scores"),
    ],
)
def test_what_has_no_convolutional_form_is_named(tail: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        convolutionalize(Own(tail), (21, 29))


def test_a_linear_layer_used_twice_is_refused() -> None:
    score = nn.Linear(6 * 4 * 6, 6 * 4 * 6)
    with pytest.raises(ValueError, match="used more than once"):
        convolutionalize(Own(nn.Sequential(nn.Flatten(), score, nn.ReLU(), score)), (21, 29))


def test_an_input_size_where_adaptive_pooling_adapts_is_refused() -> None:
    with pytest.raises(ValueError, match="module 'avgpool': adaptive pooling from 7×7 to 6×6"):
        convolutionalize(classifier("alexnet"), 256)


# ---- fold_norms ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resnet18", "googlenet"])
def test_folded_norms_leave_the_output_as_it_was(name: str) -> None:
    model = copy.deepcopy(classifier(name)).double()
    folded = fold_norms(model)
    images = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    assert relative_error(folded(images), model(images)) < 1e-10
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert type(folded) is type(model)
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    kept = [name for name, module in folded.named_modules() if isinstance(module, nn.Conv2d)]
    assert kept == names
    assert any(isinstance(module, nn.BatchNorm2d) for module in model.modules())


def test_only_a_norm_that_alone_reads_a_convolution_is_folded() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.shared_norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
            self.twice, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
            self.read, self.reader = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
            self.plain, self.no_statistics = (
                nn.Conv2d(3, 3, 1),
                nn.BatchNorm2d(3, track_running_stats=False),
            )
            self.last, self.folds = nn.Conv2d(3, 3, 3, bias=False), nn.BatchNorm2d(3, affine=False)

        def forward(self, x: Tensor) -> Tensor:
            x = self.shared_norm(self.shared_norm(self.first(x)))
            x = self.norm(self.twice(self.twice(x)))
            y = self.read(x)
            x = self.no_statistics(self.plain(self.reader(y) + y))
            out: Tensor = self.folds(self.last(x))
            return out

    model = Mixed().train()
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d) and norm.track_running_stats:
            nn.init.normal_(norm.running_mean)
    folded = fold_norms(model)
    replaced = [name for name, module in folded.named_modules() if isinstance(module, nn.Identity)]
    assert replaced == ["folds"]
    assert folded.training and folded.last.training and model.last.training and model.folds.training
    assert folded.last.bias.requires_grad
    images = torch.randn(2, 3, 8, 8)
    assert relative_error(folded.eval()(images), model.eval()(images)) < 1e-5


# ---- transplant ---------------------------------------------------------------------------------


def test_transplant_copies_by_name_and_shape_and_reports_the_rest() -> None:
    source = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 5, 1), nn.Linear(2, 2)
    )
    target = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 9, 1)).double()
    target.add_module("extra", nn.Linear(1, 1, bias=False))
    nn.init.normal_(source[1].running_mean)
    untouched = target[2].weight.clone()
    report = transplant(source, target)
    assert report.copied == tuple(n for n in source.state_dict() if n[0] in "01")
    assert report.skipped == {
        "2.weight": ((5, 4, 1, 1), (9, 4, 1, 1)),
        "2.bias": ((5,), (9,)),
    }
    assert report.missing == ("extra.weight",)
    assert report.unused == ("3.weight", "3.bias")
    for name in report.copied:
        copied = target.state_dict()[name]
        assert torch.equal(copied, source.state_dict()[name].to(copied.dtype))
    assert target[0].weight.dtype == torch.float64
    assert target[0].weight.data_ptr() != source[0].weight.data_ptr()
    assert torch.equal(target[2].weight, untouched)
    assert str(report).splitlines() == [
        "copied 7 tensors",
        "skipped 2.weight: (5, 4, 1, 1) does not fit (9, 4, 1, 1)",
        "skipped 2.bias: (5,) does not fit (9,)",
        "left as it was: extra.weight",
        "not used: 3.weight, 3.bias",
    ]


def test_transplant_takes_a_state_dict_and_refuses_a_checkpoint() -> None:
    source, target = nn.Linear(2, 2), nn.Linear(2, 2)
    report = transplant(source.state_dict(), target)
    assert torch.equal(target.weight, source.weight)
    assert str(report) == "copied 2 tensors"
    with pytest.raises(ValueError, match=r"source\['model'\] is a (Ordered)?[dD]ict, not a tensor"):
        transplant({"model": source.state_dict()}, target)  # type: ignore[dict-item]


def test_transplant_carries_a_classifier_into_its_converted_twin() -> None:
    model = Own(TAILS["adaptive"]())
    net = convolutionalize(Own(TAILS["adaptive"]()), (21, 29))
    report = transplant(convolutionalize(model, (21, 29)), net)
    assert not (report.skipped or report.missing or report.unused)
    images = torch.randn(1, 3, 21, 29)
    assert relative_error(net.eval()(images).flatten(1), model.eval()(images)) < 1e-5
