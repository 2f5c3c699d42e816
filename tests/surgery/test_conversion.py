"""Converted classifiers, against the classifiers themselves."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fcn_tutorial.geometry import output_size, receptive_field
from fcn_tutorial.surgery import convolutionalize, trace
from fcn_tutorial.vision import models
from tests.models.families import TRUNKS, make
from tests.surgery.networks import (
    TAILS,
    Averaged,
    Own,
    Pair,
    Viewed,
    classifier,
    narrow,
    relative_error,
    without_padding,
)
from tests.versions import follows_shapes

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


@pytest.mark.identity
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


@pytest.mark.identity
@pytest.mark.parametrize(("name", "size"), [("resnet18", 64), ("squeezenet1_1", (65, 80))])
def test_scores_equal_the_classifier_to_rounding_in_double_precision(
    name: str, size: int | tuple[int, int]
) -> None:
    model = copy.deepcopy(classifier(name)).double()
    net = convolutionalize(model, size)
    images = torch.randn(2, 3, *((size, size) if isinstance(size, int) else size)).double()
    assert relative_error(net(images)[:, :, 0, 0], model(images)) < 1e-10


@pytest.mark.identity
@pytest.mark.parametrize(
    "tail",
    [
        *(t for t in TAILS if t != "sized pool"),
        pytest.param("sized pool", marks=follows_shapes),
    ],
)
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


# Without padding, fc6 reads the 6×6 or 7×7 map of the window that it sees in CLASSIFIERS.
@pytest.mark.identity
@pytest.mark.parametrize(("name", "size"), [("alexnet", 355), ("vgg11", 342), ("vgg16", 404)])
def test_every_score_of_a_real_trunk_without_padding_equals_the_classifier_on_its_window(
    name: str, size: int
) -> None:
    model = without_padding(narrow(name, 16))
    net = convolutionalize(model, size)
    images = torch.randn(1, 3, size + 35, size + 63, dtype=torch.float64)
    scores = net(images)
    assert scores.shape[2:] == (2, 2)
    for i in range(2):
        for j in range(2):
            window = images[:, :, 32 * i : 32 * i + size, 32 * j : 32 * j + size]
            assert relative_error(scores[:, :, i, j], model(window)) < 1e-12


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


class Shifted(Averaged):
    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.score((x + x.mean((2, 3), keepdim=True)).mean((2, 3)))
        return out


class Turned(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.score = nn.Linear(6 * 4 * 6, 4)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.score(x.permute(0, 2, 3, 1).flatten(1))
        return out


class Sized(Averaged):
    def forward(self, x: Tensor) -> Tensor:
        y = x.view(x.size(0), 2, 3, 4, 6).transpose(1, 2).reshape(x.shape)
        return super().forward(y)


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
        (Permuted(), "'mean'"),
        (Turned(), "'flatten'"),
        (Shifted(), "values of the whole image|different sizes"),
        (Sized(), "one input size only"),
        (Positioned(), "one input size"),
        (Pair(), "one tensor of scores"),
    ],
)
def test_what_has_no_convolutional_form_is_named(tail: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        convolutionalize(Own(tail), (21, 29))


class Squeezed(Averaged):
    """Factors of the whole image in three ways of writing them, and channels last in between."""

    def __init__(self) -> None:
        super().__init__()
        self.pool, self.squeeze = nn.AdaptiveAvgPool2d(1), nn.Linear(6, 6)
        self.excite, self.norm = nn.Conv2d(6, 6, 1), nn.LayerNorm(6)
        self.mix, self.scale = nn.Linear(6, 6), nn.Parameter(torch.rand(6, 1, 1))

    def features(self, x: Tensor) -> Tensor:
        x = x * self.squeeze(self.pool(x).flatten(1)).sigmoid().view(-1, 6, 1, 1)
        x = self.excite(F.adaptive_avg_pool2d(x, 1)).sigmoid() * x
        x = x.mul(x.mean((2, 3), keepdim=True).sigmoid().expand_as(x))
        y = self.mix(F.gelu(self.norm(x.permute(0, 2, 3, 1)))).permute(0, 3, 1, 2)
        one, two = (x + self.scale * y).chunk(2, dim=1)
        x = torch.cat((one, two.tanh()), dim=1)
        n, c, h, w = x.size()
        return x.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c, h, w)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.features(x))


def test_factors_come_from_the_whole_of_a_larger_image_and_scores_from_windows() -> None:
    torch.manual_seed(0)
    model = Own(Squeezed()).double().eval()
    net = convolutionalize(model, (21, 29))
    same = torch.randn(2, 3, 21, 29, dtype=torch.float64)
    assert relative_error(net(same)[..., 0, 0], model(same)) < 1e-12
    larger = torch.randn(2, 3, 21 + 13, 29 + 9, dtype=torch.float64)
    features = model.tail.features(model.trunk(larger))
    windows = features.unfold(2, 4, 1).unfold(3, 6, 1).mean((-2, -1))
    expected = model.tail.score(windows.movedim(1, -1)).movedim(-1, 1)
    assert net(larger).shape == (2, 4, 4, 3)
    assert relative_error(net(larger), expected) < 1e-12


# Two that see their own window 64 pixels wide as the classifier sees its image, and one whose last
# map is a single pixel there, so that its pools change nothing and still are the whole image's.
@pytest.mark.identity
@pytest.mark.parametrize("side", [64, 32])
@pytest.mark.parametrize("name", TRUNKS)
def test_every_family_equals_its_classifier_on_its_own_input_size(name: str, side: int) -> None:
    model = make(name).double().eval()
    net = convolutionalize(model, side)
    images = torch.randn(2, 3, side, side, dtype=torch.float64)
    assert relative_error(net(images)[..., 0, 0], model(images)) < 1e-9
    assert net.state_dict().keys() == model.state_dict().keys()
    larger = net(torch.randn(1, 3, side + 71, side + 33, dtype=torch.float64))
    assert larger.shape[:2] == (1, 10) and min(larger.shape[2:]) > 1


@pytest.mark.parametrize("name", ["vit", "maxvit"])
def test_what_is_made_for_one_image_size_is_not_converted(name: str) -> None:
    with pytest.raises(ValueError, match="no form that works at every input size"):
        convolutionalize(make(name), 64 if name == "vit" else 224)


def test_a_linear_layer_used_twice_is_refused() -> None:
    score = nn.Linear(6 * 4 * 6, 6 * 4 * 6)
    with pytest.raises(ValueError, match="used more than once"):
        convolutionalize(Own(nn.Sequential(nn.Flatten(), score, nn.ReLU(), score)), (21, 29))


def test_an_input_size_where_adaptive_pooling_adapts_is_refused() -> None:
    with pytest.raises(ValueError, match="module 'avgpool': adaptive pooling from 7×7 to 6×6"):
        convolutionalize(classifier("alexnet"), 256)
