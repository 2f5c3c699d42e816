"""The network: sizes, alignment, cuts that change nothing, and the weights file."""

import math
import zipfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from fcn_tutorial import models
from fcn_tutorial.models import FCN, LateFusion, backbones, trunks
from fcn_tutorial.models.backbones import read_tensors
from fcn_tutorial.vision import models as vision
from tests.models.networks import fcn

WIDTHS = dict.fromkeys(backbones.names(), 1 / 16) | {"tiny": 1.0}
NETWORKS = [(name, stride) for name in WIDTHS for stride in (32, 16, 8)]


def _network(name: str, stride: int = 8, classes: int = 5) -> FCN:
    torch.manual_seed(0)
    return FCN(name, classes, stride, width=WIDTHS[name])


def _fill_scorers(model: FCN) -> FCN:
    for name in ("score_fr", "score_pool4", "score_pool3"):
        if hasattr(model, name):
            nn.init.normal_(getattr(model, name).weight, std=0.05)
    return model


@pytest.mark.parametrize("name", WIDTHS)
def test_the_first_loss_is_ln_c(name: str) -> None:
    scores = _network(name, classes=21).eval()(torch.randn(1, 3, 64, 64))
    loss = nn.functional.cross_entropy(scores, torch.randint(21, (1, 64, 64)))
    assert loss.item() == pytest.approx(math.log(21), abs=1e-6)


class _Coordinates(nn.Module):
    """Stands for a trunk: the one feature of each tap is its own column's place in the image."""

    def __init__(self, trunk: backbones.Backbone) -> None:
        super().__init__()
        self.trunk = trunk

    def coordinate_map(self, stride: int) -> tuple[Fraction, Fraction]:
        return self.trunk.coordinate_map(stride)

    def forward(self, images: Tensor) -> dict[int, Tensor]:
        taps = {}
        for stride, tap in self.trunk(images).items():
            scale, offset = self.trunk.coordinate_map(stride)
            places = torch.arange(tap.shape[-1], dtype=torch.float64) * int(scale) + float(offset)
            taps[stride] = places.expand(tap.shape[0], 1, *tap.shape[2:])
        return taps


@pytest.mark.parametrize(("name", "stride"), NETWORKS)
@pytest.mark.parametrize("width", [256, 301])
def test_a_map_of_places_lands_on_its_places(name: str, stride: int, width: int) -> None:
    """Bilinear interpolation reproduces a ramp, so any misalignment would show as an offset."""
    model = _network(name, stride, classes=1).eval()
    model.backbone = _Coordinates(model.backbone)  # type: ignore[assignment]
    scorers = [n for n in ("score_fr", "score_pool4", "score_pool3") if hasattr(model, n)]
    for scorer in scorers:
        layer = nn.Conv2d(1, 1, 1).double()
        nn.init.constant_(layer.weight, 1 / len(scorers))
        nn.init.zeros_(layer.bias)
        setattr(model, scorer, layer)
    with torch.no_grad():
        row = model(torch.zeros(1, 3, 64, width))[0, 0, 32]
    inside = slice(32, width - 64)  # beyond the outermost feature centres the border is clamped
    assert torch.allclose(row[inside], torch.arange(width).double()[inside], atol=1e-9)


def test_published_crops_come_out_of_the_layers() -> None:
    """Reference net.py: 32s 19; 16s 5, 27; 8s 5, 9, 31. There the finer map is cropped; here the
    coarser one is placed on it, so the same offsets appear with the finer map's own border."""
    model = FCN("vgg16", 21, 8, "caffe", width=1 / 64)
    assert model.upscore(32) == (32, 19)
    assert model.upscore(32, 16) == (2, -5)
    assert model.upscore(16) == (16, 27 + 16 * 5)
    assert model.upscore(16, 8) == (2, 5 * 2 - 9)
    assert model.upscore(8) == (8, 31 + 8 * 9)


def test_the_alexnets_crop_and_its_odd_kernel_come_out_of_the_layers() -> None:
    """Reference voc-fcn-alexnet: kernel 63, 18 rows; with the usual 64 the rows are not whole."""
    model = FCN("caffenet", 21, 32, "caffe", width=1 / 32)
    assert model._whole_upscore(32, None) == (32, 63, 18)
    assert model.upscore(32) == (32, 18 + Fraction(1, 2))


def test_padded_vgg_is_aligned_by_half_pixels() -> None:
    model = FCN("vgg16", 21, 8, width=1 / 64)
    assert model.upscore(32) == (32, 16)
    assert model.upscore(32, 16) == model.upscore(16, 8) == (2, 1)
    assert model.upscore(8) == (8, 4)


@pytest.mark.parametrize("norms", ["batch", "folded"])
def test_a_cut_mobilenet_is_the_mobilenet_of_its_weights_file(norms: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole = vision.mobilenet_v2().eval()
    for module in whole.modules():
        if isinstance(module, nn.BatchNorm2d):  # statistics that folding must get right
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    path = tmp_path / "trunk.safetensors"
    save_file(whole.state_dict(), path)
    trunk = backbones.make("mobilenet_v2", norms=norms, weights=path).eval()  # type: ignore[arg-type]
    images = torch.randn(2, 3, 75, 96)
    with torch.no_grad():
        expected, got = whole.features(images), trunk(images)[32]
    assert torch.allclose(got, expected, atol=1e-4, rtol=1e-4)
    assert any(isinstance(m, nn.BatchNorm2d) for m in trunk.modules()) == (norms == "batch")
    assert [trunk.coordinate_map(s)[0] for s in (8, 16, 32)] == [8, 16, 32]


def test_a_cut_squeezenet_is_the_squeezenet_with_padding(tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole = vision.squeezenet1_1().eval()
    path = tmp_path / "squeezenet.safetensors"
    save_file(whole.state_dict(), path)
    trunk = backbones.make("squeezenet1_1", weights=path).eval()
    for layer in whole.features.modules():
        if isinstance(layer, nn.MaxPool2d):
            layer.padding, layer.ceil_mode = 1, False
    whole.features[0].padding = (1, 1)
    images = torch.randn(1, 3, 96, 80)
    with torch.no_grad():
        assert torch.allclose(trunk(images)[16], whole.features(images), atol=1e-5)


def test_fully_connected_weights_fill_the_convolutions_they_equal(tmp_path: Path) -> None:
    own = backbones.make("vgg16", width=1 / 32)
    trunk = trunks.build(trunks.PLANS["vgg16"], 1 / 32, "same")
    stored = {
        key: torch.randn(value.shape[0], value[0].numel()) if key == "classifier.0.weight"
        else torch.randn(value.shape)
        for key, value in trunk.state_dict().items()
    }  # fmt: skip
    path = tmp_path / "vgg.safetensors"
    save_file(stored, path)
    own = backbones.make("vgg16", width=1 / 32, weights=path)
    fc6 = next(m for m in own.stage32.modules() if isinstance(m, nn.Conv2d) and m.padding == (3, 3))
    assert torch.equal(fc6.weight.flatten(1), stored["classifier.0.weight"])


def test_a_finer_stage_starts_from_the_coarser_with_a_zero_skip() -> None:
    coarse = _fill_scorers(_network("tiny", 32)).eval()
    fine = FCN.from_coarser(FCN.from_coarser(coarse))
    assert fine.stride == 8 and fine.config.stride == 8 and coarse.stride == 32
    for key, value in coarse.state_dict().items():
        assert torch.equal(fine.state_dict()[key], value)
    assert not fine.score_pool4.weight.any() and not fine.score_pool3.weight.any()  # type: ignore[operator, union-attr]
    with pytest.raises(ValueError, match="finest"):
        FCN.from_coarser(fine)


def test_learned_deconvolutions_start_as_the_fixed_ones() -> None:
    """At every alignment: crops, clamped borders, odd kernels (alexnet) and even ones (vgg16)."""
    for name in ("vgg16", "caffenet", "googlenet", "resnet18"):
        alignments = ("same", "caffe") if name in ("vgg16", "caffenet") else ("same",)
        for alignment in alignments:
            torch.manual_seed(0)
            fixed = FCN(name, 3, 8, alignment, width=1 / 32 if name == "vgg16" else 1 / 16)
            fixed = _fill_scorers(fixed).double().eval()
            learned = FCN(name, 3, 8, alignment, deconvolution="learned", width=fixed.config.width)
            missing = learned.load_state_dict(fixed.state_dict(), strict=False).missing_keys
            assert missing == ["upscore2.tasks.0.weight", "upscore_pool4.tasks.0.weight"]
            learned = learned.double().eval()
            images = torch.randn(1, 3, 70, 99, dtype=torch.float64)
            with torch.no_grad():
                assert torch.allclose(learned(images), fixed(images), atol=1e-10), (name, alignment)


def test_a_coarser_network_with_learned_deconvolutions_grows_one() -> None:
    coarse = FCN("tiny", 3, 32, deconvolution="learned")
    middle = FCN.from_coarser(coarse)
    nn.init.constant_(middle.upscore2.tasks[0].weight, 0.5)  # type: ignore[union-attr, index, arg-type]
    fine = FCN.from_coarser(middle)
    assert not hasattr(coarse, "upscore2") and not hasattr(middle, "upscore_pool4")
    assert torch.equal(fine.upscore2.tasks[0].weight, middle.upscore2.tasks[0].weight)  # type: ignore[union-attr, index, arg-type]
    assert hasattr(fine, "upscore_pool4")


def test_extra_channels_are_read_like_the_mean_of_rgb() -> None:
    """A grey image in every channel: the extra one adds a third of what RGB gives."""
    torch.manual_seed(0)
    model = fcn("vgg16", 3, extra_channels=2, width=1 / 16)
    first = next(m for m in model.backbone.modules() if isinstance(m, nn.Conv2d))
    weight = first.weight.detach()
    for extra in (3, 4):
        assert torch.allclose(weight[:, extra], weight[:, :3].mean(1), atol=1e-7)
    assert model.in_channels == 5 and first.in_channels == 5
    with pytest.raises(ValueError, match="reads 5 channels"):
        model.eval().predict(torch.zeros(3, 32, 32, dtype=torch.uint8))


def test_late_fusion_is_the_shared_sum_of_its_streams() -> None:
    torch.manual_seed(0)
    streams = [_fill_scorers(FCN("tiny", 4, 16)).eval() for _ in range(2)]
    model = LateFusion(streams, [0.25, 0.75]).eval()
    images = torch.randn(2, 6, 70, 53)
    with torch.no_grad():
        expected = 0.25 * streams[0](images[:, :3]) + 0.75 * streams[1](images[:, 3:])
        assert torch.allclose(model(images), expected, atol=1e-5)
    assert LateFusion(streams).shares == [0.5, 0.5]
    with pytest.raises(ValueError, match="at least two"):
        LateFusion(streams[:1])
    with pytest.raises(ValueError, match=r"streams\[1\] has stride=8"):
        LateFusion([streams[0], FCN("tiny", 4, 8)])
    with pytest.raises(ValueError, match="lies elsewhere"):
        LateFusion([streams[0], FCN("resnet18", 4, 16, width=1 / 16)])
    with pytest.raises(ValueError, match="2 expected, got 3"):
        LateFusion(streams, [1, 1, 1])


@pytest.mark.parametrize("name", ["alexnet", "googlenet", "resnet18", "resnet50"])
def test_a_cut_trunk_is_torchvisions(name: str, tmp_path: Path) -> None:
    """The stages end to end are torchvision's own layers, once those are padded alike."""
    torch.manual_seed(0)
    options = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
    whole = getattr(vision, name)(weights=None, **options).eval()
    save_file(whole.state_dict(), tmp_path / "whole.safetensors")
    trunk = backbones.make(name, weights=tmp_path / "whole.safetensors").eval()
    convolutions = [m for m in whole.modules() if isinstance(m, nn.Conv2d)]
    pools = [m for m in whole.modules() if isinstance(m, nn.MaxPool2d)]
    for conv in convolutions:
        conv.padding = tuple(k // 2 for k in conv.kernel_size)  # type: ignore[assignment]
    for pool in pools:
        odd = pool.kernel_size % 2 == 1  # type: ignore[operator]
        pool.padding, pool.ceil_mode = (pool.kernel_size - 1) // 2, not odd  # type: ignore[operator]
    images = torch.randn(1, 3, 96, 70)
    tail = {"alexnet": 2, "googlenet": 3}.get(name, 2)
    with torch.no_grad():
        expected = images
        for child in list(whole.children())[:-tail]:
            expected = child(expected)
        got = trunk(images)[32]
        if name == "alexnet":  # its classifier is part of the trunk, as convolutions
            head = nn.Conv2d(256, 4096, 6, padding=3)
            head.weight.data = whole.classifier[1].weight.data.view(4096, 256, 6, 6)
            head.bias = whole.classifier[1].bias
            seven = nn.Conv2d(4096, 4096, 1)
            seven.weight.data = whole.classifier[4].weight.data.view(4096, 4096, 1, 1)
            seven.bias = whole.classifier[4].bias
            expected = torch.relu(seven(torch.relu(head(expected))))
    assert torch.allclose(got, expected, atol=1e-4)


def test_at_once_scales_the_taps() -> None:
    torch.manual_seed(0)
    plain = _fill_scorers(_network("tiny")).eval()
    scaled = FCN("tiny", 5, 8, at_once=True).eval()
    state = plain.state_dict()
    for key, factor in (("score_pool4.weight", 0.01), ("score_pool3.weight", 0.0001)):
        state[key] = state[key] / factor
    scaled.load_state_dict(state)
    images = torch.randn(1, 3, 64, 64)
    assert torch.allclose(plain(images), scaled(images), atol=1e-5)


def test_predict_refuses_training_mode() -> None:
    with pytest.raises(RuntimeError, match="eval"):
        _network("tiny").train().predict(torch.zeros(3, 32, 32, dtype=torch.uint8))


def test_bad_files_and_arguments_get_one_clear_error(tmp_path: Path) -> None:
    foreign, cut = tmp_path / "foreign.safetensors", tmp_path / "cut.safetensors"
    save_file({"a": torch.zeros(2)}, foreign)
    cut.write_bytes(foreign.read_bytes()[:20])
    with pytest.raises(ValueError, match=r"foreign\.safetensors: not a network saved by"):
        models.load(foreign)
    with pytest.raises(ValueError, match=r"cut\.safetensors: not a readable"):
        models.load(cut)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        models.load(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="lacks 60 of 60|lacks"):
        FCN("mobilenet_v2", 3, weights=foreign)
    with pytest.raises(ValueError, match="not a readable"):
        FCN("mobilenet_v2", 3, weights=cut)
    with pytest.raises(ValueError, match="backbone='vgg19'"):
        FCN("vgg19")
    with pytest.raises(ValueError, match="stride=4"):
        FCN("tiny", stride=4)
    with pytest.raises(ValueError, match="deconvolution='bilinear'"):
        FCN("tiny", deconvolution="bilinear")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="extra_channels=-1"):
        fcn("tiny", extra_channels=-1)
    with pytest.raises(ValueError, match="norms='none'"):
        fcn("tiny", norms="none")
    with pytest.raises(ValueError, match="alignment='caffe' is not offered"):
        FCN("tiny", alignment="caffe")
    with pytest.raises(ValueError, match="at least one class"):
        FCN("tiny", 0)


def test_a_pytorch_file_of_anything_but_plain_tensors_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "trunk.pth"
    odd: tuple[Any, ...] = (
        [1], {"a": 1}, {"a": torch.eye(3).to_sparse()}, {"a": torch.zeros(2, dtype=torch.cfloat)},
        {"a": torch.nested.nested_tensor([torch.zeros(2)], layout=torch.strided)},
    )  # fmt: skip
    for content in odd:
        torch.save(content, path)
        with pytest.raises(ValueError, match=r"trunk\.pth': not a table of plain tensors"):
            read_tensors(path)


def test_a_pytorch_file_that_unfolds_to_more_than_it_is_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1 << 18)}, tmp_path / "sound.pth")
    assert read_tensors(tmp_path / "sound.pth")["a"].shape == (1 << 18,)
    bomb = tmp_path / "bomb.pth"
    with (
        zipfile.ZipFile(tmp_path / "sound.pth") as sound,
        zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for member in sound.infolist():
            packed.writestr(member.filename, sound.read(member))
    assert bomb.stat().st_size < 10_000
    with pytest.raises(ValueError, match=r"bomb\.pth': .*its parts are compressed"):
        read_tensors(bomb)


def test_weights_of_another_trunk_are_called_by_its_name(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    whole = vision.squeezenet1_1(weights=None, num_classes=10).state_dict()
    save_file({key: t for key, t in whole.items() if not key.startswith("classifier")}, file)
    with pytest.raises(ValueError, match="of this trunk.*; these are weights of squeezenet1_1$"):
        FCN("tiny", num_classes=3, weights=file)
    save_file({"conv.weight": torch.zeros(3)}, file)
    with pytest.raises(ValueError, match="; it must hold torchvision's names$"):
        FCN("tiny", num_classes=3, weights=file)
