"""`models.FCN` against other libraries' networks on the same backbone at the same size.

torchvision's `fcn_resnet50` is its FCN: a dilated trunk at stride 8 and one 3×3 head.
segmentation-models-pytorch has no FCN; its heads closest to one are
- FPN: like FCN-8s, scores every level by 1×1 convolutions and adds them coarse to fine;
- Linknet: adds encoder features to upsampled ones, coarse to fine;
- PSPNet over the whole trunk (encoder_depth=5): like FCN-32s, one map, scored, upsampled once.
Its other heads (U-Net, DeepLab, …) concatenate or dilate, and are different methods. VGG16 is not
among the backbones: its trunk there ends before fc6, ours holds fc6 and fc7.
U-Net stands beside a training step of `camvid-fcn8s` all the same, on the recipe's trunk, window
and batch: it is what most people would take there. There ours has two rows, one with all layers
learning, as in the U-Net, and one with norms folded and the first layers frozen, as in the recipe.

Both sides use channels_last, float32 on a CPU and bfloat16 on CUDA; neither is compiled. All have
random weights and batch norms in training mode for the step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.rows import Line, Skipped
from benchmarks.steps import OurStep, PlainStep, make_batch, sgd
from benchmarks.timing import Settings, against, alternate
from fcn_tutorial import models, training
from fcn_tutorial.models import FCN
from fcn_tutorial.training.optimisation import freeze
from fcn_tutorial.vision import models as vision

CASE = "heads"
CLASSES = 21
FORWARD_TARGET = 1.0  # no slower
#: The recipe whose step is set beside a U-Net's, and what its row must reach.
RECIPE, RECIPE_TARGET = "camvid-fcn8s", 1.0


@dataclass(frozen=True)
class Peer:
    """A network to compare with: its name, and how to build it over a backbone.

    Building raises ImportError where the library is not installed.
    """

    name: str
    build: Callable[[str], nn.Module]


class _Output(nn.Module):
    """torchvision's segmentation nets return {"out": scores}."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.network(images)["out"]
        return scores


def _torchvision_fcn(backbone: str) -> nn.Module:
    assert backbone == "resnet50"
    return _Output(
        vision.segmentation.fcn_resnet50(weights=None, weights_backbone=None, num_classes=CLASSES)
    )


def _smp(head: str, **options: int) -> Callable[[str], nn.Module]:
    def build(backbone: str) -> nn.Module:
        import segmentation_models_pytorch as smp

        network: nn.Module = getattr(smp, head)(
            backbone, encoder_weights=None, classes=CLASSES, **options
        )
        return network

    return build


SMP = (
    Peer("smp FPN", _smp("FPN")),
    Peer("smp Linknet", _smp("Linknet")),
    Peer("smp PSPNet", _smp("PSPNet", encoder_depth=5, upsampling=32)),
)
PEERS: dict[str, tuple[Peer, ...]] = {
    "mobilenet_v2": SMP,
    "resnet18": SMP,
    "resnet50": (Peer("torchvision fcn_resnet50", _torchvision_fcn), *SMP),
}


def lines(settings: Settings) -> list[Line]:
    """Forward pass and training step at 384 × 512 (smp asks for multiples of 32), batch 2."""
    size = (32, 32) if settings.smoke else (384, 512)
    found: list[Line] = []
    for backbone, peers in PEERS.items():
        if settings.smoke:  # each library once
            peers = {"mobilenet_v2": SMP, "resnet50": peers[:1]}.get(backbone, ())
            if not peers:
                continue
        if backbone not in models.backbones.names():
            found.append(Skipped(CASE, backbone, "ours", "not a backbone of models.FCN"))
            continue
        found += _backbone(backbone, peers, size, settings)
    return [*found, *_recipe(settings)]


def _backbone(
    backbone: str, peers: tuple[Peer, ...], size: tuple[int, int], settings: Settings
) -> list[Line]:
    what = f"{backbone}, {size[0]}×{size[1]}, batch 2"
    found: list[Line] = []
    networks: dict[str, nn.Module] = {"ours": _placed(FCN(backbone, CLASSES, 8), settings)}
    for peer in peers:
        settings.say(f"building {peer.name} on {backbone}")
        try:
            networks[peer.name] = _placed(peer.build(backbone), settings)
        except ImportError:
            why = "not installed: pip install segmentation-models-pytorch"
            found.append(Skipped(CASE, what, peer.name, why))
    images, target = make_batch(2, size, CLASSES, settings.device)
    images = images.contiguous(memory_format=torch.channels_last)
    precision = torch.bfloat16 if settings.accelerated else torch.float32

    forward = alternate(
        {name: _forward(network, images, precision) for name, network in networks.items()},
        settings,
    )
    found += against(CASE, f"{what}, forward", forward, dict.fromkeys(networks, FORWARD_TARGET))
    steps: dict[str, Callable[[], object]] = {}
    for name, network in networks.items():
        steps[name] = _step(network, images, target, precision)
    return [*found, *against(CASE, f"{what}, training step", alternate(steps, settings), {})]


def _recipe(settings: Settings) -> list[Line]:
    """A training step of `RECIPE` on its trunk, window and batch, beside a U-Net's."""
    recipe = training.get(RECIPE)
    size, batch = recipe.data.crop, recipe.batch
    if settings.smoke:
        size, batch = (32, 32), 2
    trunk = "mobilenet_v2"
    what = f"{trunk}, {size[0]}×{size[1]}, batch {batch}, training step"
    peer = Peer("smp Unet", _smp("Unet"))
    try:
        settings.say(f"building {peer.name} on {trunk}")
        unet = _placed(peer.build(trunk), settings)
    except ImportError:
        why = "not installed: pip install segmentation-models-pytorch"
        return [Skipped(CASE, what, peer.name, why)]
    images, target = make_batch(batch, size, CLASSES, settings.device)
    images = images.contiguous(memory_format=torch.channels_last)
    precision = torch.bfloat16 if settings.accelerated else torch.float32
    found: list[Line] = []
    whole = FCN(trunk, CLASSES, 8)
    folded = FCN.from_config(dataclasses.replace(whole.config, norms="folded"))
    freeze(folded, recipe.frozen_stride)
    for how, network in (("all layers", whole), ("as in the recipe", folded)):
        ours = _placed(network, settings)
        steps: dict[str, Callable[[], object]] = {}
        for name, contestant in {"ours": ours, peer.name: unet}.items():
            steps[name] = _step(contestant, images, target, precision)
        goal = {peer.name: RECIPE_TARGET}
        found += against(CASE, f"{what}, {how}", alternate(steps, settings), goal)
    return found


def _placed(network: nn.Module, settings: Settings) -> nn.Module:
    placed: nn.Module = network.to(settings.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return placed.eval()


def _step(
    network: nn.Module, images: Tensor, target: Tensor, precision: torch.dtype
) -> Callable[[], object]:
    optimiser = sgd(network.train(), lr=1e-3, weight_decay=5e-4, momentum=0.9)
    step = (
        OurStep(network, optimiser, precision)
        if isinstance(network, FCN)
        else PlainStep(network, optimiser, precision=precision)
    )
    return partial(step, images, target)


def _forward(network: nn.Module, images: Tensor, precision: torch.dtype) -> Callable[[], object]:
    def run() -> object:
        fast = precision != torch.float32
        with (
            torch.inference_mode(),
            torch.autocast(images.device.type, precision, enabled=fast),
        ):
            return network(images)

    return run
