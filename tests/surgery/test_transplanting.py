"""What a transplant copies and what it says about the rest."""

import pytest
import torch
from torch import nn

from fcn_tutorial.surgery import convolutionalize, transplant
from tests.surgery.networks import TAILS, Own, relative_error


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
