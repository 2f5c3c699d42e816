"""Folded norms, against the networks with their norms."""

import copy

import pytest
import torch
from torch import Tensor, nn

from fcn_tutorial.surgery import fold_norms
from tests.surgery.networks import classifier, relative_error


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
