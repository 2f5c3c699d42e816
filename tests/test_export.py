"""An exported file says what the network says, or it is not kept."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fcn_tutorial import export, models
from fcn_tutorial.cli import main
from fcn_tutorial.models import (
    FCN,
    Card,
    DeepLab,
    Dilated8,
    Magnified,
    Network,
    SegNet,
    ViT,
    backbones,
)
from tests.models.networks import OwnTrunk, fcn
from tests.versions import exports

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

CARD = Card.of(["sky", "road", "car"], [(0, 0, 0), (9, 9, 9), (90, 0, 0)], "test", "none")


def network(
    classes: Any = 3, backbone: str = "tiny", width: float = 0.25, **options: Any
) -> Network:
    torch.manual_seed(0)
    return scored(fcn(backbone, classes, width=width, **options))


def scored(model: Network) -> Network:
    """In evaluation mode, with score layers that are not zero."""
    for name, layer in model.named_modules():
        if "score_" in name and isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.normal_(layer.weight, std=0.3)
    return model.eval()


def magnified() -> Network:
    """Of few layers: each costs seconds where its size is a formula of a rounded product."""
    torch.manual_seed(0)
    return scored(Magnified(FCN(backbones.tap(OwnTrunk(), preprocessing="centred"), 3, 32), 1.5))


def run_onnx(path: Path, images: Tensor) -> list[Tensor]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return [torch.from_numpy(a) for a in session.run(None, {"images": images.numpy()})]


@exports
@pytest.mark.parametrize("to", ["onnx", "torch"])
def test_a_file_takes_any_size_and_any_batch(to: Any, tmp_path: Path) -> None:
    model = network(stride=16, deconvolution="learned")
    path = tmp_path / f"net{export.SUFFIXES[to]}"
    done = export.export(model, CARD, path, to)
    assert done.error <= export.TOLERANCE * max(1, done.largest) and len(done.sizes) == 3
    for shape in ((1, 3, 64, 64), (3, 3, 97, 71), (2, 3, 40, 150)):
        images = torch.randn(shape)
        with torch.no_grad():
            wanted = model(images)
            if to == "onnx":
                (found,) = run_onnx(path, images)
            else:
                found = torch.export.load(path).module()(images)
        assert torch.allclose(found, wanted, rtol=0, atol=1e-4)


@exports
@pytest.mark.parametrize(
    ("make", "size"),
    [
        (lambda: network(backbone="vgg16", width=1 / 32, alignment="caffe"), (70, 90)),
        (magnified, None),
        (lambda: network(backbone="resnet18", width=1 / 16, norms="folded"), None),
    ],
    ids=["caffe, one size", "magnified", "folded norms"],
)
def test_networks_of_every_kind_reach_onnx(
    make: Callable[[], Network], size: tuple[int, int] | None, tmp_path: Path
) -> None:
    model, path = make(), tmp_path / "net.onnx"
    export.export(model, CARD, path, "onnx", size)
    images = torch.randn(1, 3, *(size or (75, 101)))
    with torch.no_grad():
        wanted = model(images)
    (found,) = run_onnx(path, images)
    assert torch.allclose(found, wanted, rtol=0, atol=1e-4 * float(wanted.abs().max()))


@exports
@pytest.mark.parametrize(
    ("make", "size"),
    [
        (lambda: SegNet(3, width=1 / 16), (64, 80)),
        (lambda: DeepLab("largefov", 3, width=1 / 32), (64, 80)),
        (lambda: Dilated8(3, "basic", 1 / 32), (64, 80)),
        (lambda: ViT(3, 2, 1 / 12, 64), None),
    ],
    ids=["SegNet", "LargeFOV", "Dilated8", "ViT, any size"],
)
def test_networks_after_fcn_reach_onnx(
    make: Callable[[], Network], size: tuple[int, int] | None, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    model, path = scored(make()), tmp_path / "net.onnx"
    export.export(model, CARD, path, "onnx", size)
    images = torch.randn(2, 3, *(size or (41, 75)))
    with torch.no_grad():
        wanted = model(images)
    assert wanted.std() > 1e-3  # or there is nothing to be equal
    (found,) = run_onnx(path, images)
    assert torch.allclose(found, wanted, rtol=0, atol=1e-4 * float(wanted.abs().max()))


@exports
@pytest.mark.parametrize("size", [None, (64, 64)], ids=["any size", "one size"])
def test_a_network_that_cannot_be_traced_is_one_clear_error(
    size: tuple[int, int] | None, tmp_path: Path
) -> None:
    class Asks(FCN):
        def training_scores(self, images: Tensor) -> Tensor:
            return super().training_scores(images) * (1 if images.sum() > 0 else 2)

    with pytest.raises(ValueError, match=r"cannot (export this network|be exported for any size)"):
        export.export(Asks("tiny", 3, width=0.25).eval(), CARD, tmp_path / "net.onnx", "onnx", size)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("message", "line"), [("", "AssertionError"), ("\n\n", "AssertionError"), ("\nno\nyes", "no")]
)
def test_a_tracer_that_says_nothing_is_named_by_its_error(
    message: str, line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise AssertionError(message)

    monkeypatch.setattr(torch.export, "export", fails)
    with pytest.raises(ValueError, match=rf"cannot export this network \({line}\)"):
        export.export(network(3), CARD, tmp_path / "net.pt2", "torch", (64, 64))


@exports
def test_pixels_go_in_every_task_comes_out_and_the_file_says_what_it_is(tmp_path: Path) -> None:
    model, path = network({"semantic": 2, "geometric": 1}), tmp_path / "net.onnx"
    export.export(model, CARD, path, "onnx", uint8=True)
    pixels = torch.randint(0, 256, (2, 3, 50, 66), dtype=torch.uint8)
    with torch.no_grad():
        wanted = model(model.preprocess(pixels))
    found = run_onnx(path, pixels)
    proto = onnx.load(path)
    assert [output.name for output in proto.graph.output] == ["semantic", "geometric"]
    for values, task in zip(found, wanted, strict=True):
        assert torch.allclose(values, wanted[task], rtol=0, atol=1e-4)
    (entry,) = (p for p in proto.metadata_props if p.key == "fcn_tutorial")
    said = json.loads(entry.value)
    assert said["classes"] == ["sky", "road", "car"] and said["tasks"] == {
        "semantic": 2,
        "geometric": 1,
    }
    dimensions = [
        d.dim_param or d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim
    ]
    assert dimensions == ["batch", 3, "height", "width"]


def test_an_operator_that_onnx_lacks_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(model: Any, args: Any = (), **kwargs: Any) -> Any:
        raise RuntimeError("no such thing: max_unpool9d\nand a long report")

    monkeypatch.setattr(torch.onnx, "export", fails)
    wanted = r"cannot write this network as ONNX \(no such thing: max_unpool9d\); --to torch can"
    with pytest.raises(ValueError, match=wanted):
        export.export(network(), CARD, tmp_path / "net.onnx", "onnx", (64, 64))
    assert not [*tmp_path.iterdir()]


def test_scores_that_differ_leave_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.pt2"
    export.export(network(), CARD, path, "torch", (64, 64))
    before = path.read_bytes()
    monkeypatch.setattr(export, "TOLERANCE", -1.0)
    with pytest.raises(ValueError, match="differ from the network's"):
        export.export(network(), CARD, path, "torch", (64, 64))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["net.pt2"]


def test_wrong_requests_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"ends in \.onnx"):
        export.export(network(), CARD, tmp_path / "net.pt2", "onnx")
    with pytest.raises(RuntimeError, match="training mode"):
        export.export(network().train(), CARD, tmp_path / "net.onnx", "onnx")
    deep = network(extra_channels=1, preprocessing="nyud-rgbd")
    with pytest.raises(ValueError, match="--uint8 is for networks on RGB"):
        export.export(deep, CARD, tmp_path / "net.pt2", "torch", uint8=True)
    for text in ("360", "0x480", "a x b"):
        with pytest.raises(ValueError, match="expected rows and columns"):
            export.parse_size(text)
    assert export.parse_size("360x480") == (360, 480)
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(ValueError, match=r"pip install 'fcn-tutorial\[export\]'"):
        export.export(network(), CARD, tmp_path / "net.onnx", "onnx")


def test_an_older_torch_is_told_what_it_cannot_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def older(graph: Any, args: Any, *, dynamic_shapes: Any = None, strict: bool = True) -> None:
        raise AssertionError("it was tried")

    def older_onnx(model: Any, args: Any, f: Any = None) -> None:
        raise AssertionError("it was tried")

    monkeypatch.setattr(torch.export, "export", older)
    with pytest.raises(
        ValueError, match=r"any size: install torch 2\.9 or newer, or name the size"
    ):
        export.export(network(), CARD, tmp_path / "net.pt2", "torch")
    monkeypatch.setattr(torch.onnx, "export", older_onnx)
    with pytest.raises(
        ValueError, match=r"as ONNX: install torch 2\.9 or newer, or use --to torch"
    ):
        export.export(network(), CARD, tmp_path / "net.onnx", "onnx", (64, 64))
    assert not [*tmp_path.iterdir()]


def test_the_command_line_exports_and_says_how_well(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models.save(network(), CARD, tmp_path / "net.safetensors")
    command = ["export", str(tmp_path / "net.safetensors"), "--to", "torch", "--size", "64x80"]
    assert main([*command, "--out", str(tmp_path / "net.pt2")]) == 0
    assert "largest difference from PyTorch" in capsys.readouterr().out
    assert (tmp_path / "net.pt2").is_file()
