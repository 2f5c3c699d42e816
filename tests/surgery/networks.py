"""Networks that the tests of surgery share: torchvision's, full and narrow, and small ones."""

import copy
from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fcn_tutorial.vision import models


def relative_error(actual: Tensor, expected: Tensor) -> float:
    return ((actual - expected).abs().max() / expected.abs().max()).item()


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


def narrow(name: str, by: int = 8) -> nn.Module:
    """A torchvision classifier in float64 with `by` times fewer channels in every layer."""
    torch.manual_seed(0)
    model = copy.deepcopy(classifier(name))
    for module in list(model.modules()):
        for child_name, child in list(module.named_children()):
            if isinstance(child, nn.Conv2d):
                few = child.in_channels if child.in_channels == 3 else child.in_channels // by
                groups = child.groups // by if child.groups > 1 else 1
                numbers = child.kernel_size, child.stride, child.padding, child.dilation, groups
                bias = child.bias is not None
                thin: nn.Module = nn.Conv2d(few, child.out_channels // by, *numbers, bias=bias)
                nn.init.kaiming_normal_(thin.weight)
            elif isinstance(child, nn.BatchNorm2d):
                thin = nn.BatchNorm2d(child.num_features // by, child.eps)
                thin.load_state_dict(
                    {
                        k: v[: thin.num_features] if v.dim() else v
                        for k, v in child.state_dict().items()
                    }
                )
            elif isinstance(child, nn.Linear):
                thin = nn.Linear(child.in_features // by, child.out_features // by)
            else:
                continue
            setattr(module, child_name, thin)
    return model.double().eval()


def without_padding(net: nn.Module) -> nn.Module:
    """`net` itself, with every padding set to 0: each output then is that of its window."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.MaxPool2d):
            module.padding = 0 if isinstance(module, nn.MaxPool2d) else (0, 0)
    return net


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


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x.relu()


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
