"""FCN-8s on VGG16: the default of `models.FCN` against the net as its authors published it.

Published: 100 pixels of padding, ceil pooling, dense deconvolutions, summed cross-entropy of
full-resolution scores, float32, batch 1. Ours: padded layers (alignment="same"), upsampling by two
small matrices, the loss in bands, channels_last, the package's optimiser, in float32 and in the
number format that `precision="auto"` of a recipe takes on this machine; on CUDA that is bfloat16,
and the network is compiled and takes a batch. Both take a whole SGD step at the published rate and
momentum. Ours has the reference's dropout after fc6 and fc7, the transcription does not.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from benchmarks.rows import Line, Measured, Row
from benchmarks.steps import OurStep, PlainStep, make_batch, randomise, sgd
from benchmarks.timing import Settings, against, alternate, peak_on_device, with_tf32
from fcn_tutorial.losses import translate
from fcn_tutorial.models import FCN
from fcn_tutorial.training import optimisation
from fcn_tutorial.training.recipes.recipe import Optimiser
from tests.published import Published

CASE = "published"
CLASSES = 21
LR, WEIGHT_DECAY, MOMENTUM = 1e-10, 5e-4, 0.99  # reference voc-fcn32s/solver.prototxt
CUDA_BATCH = 16
PUBLISHED = "published form"
CPU_TARGET = 2.4  # a step
CUDA_TARGET = 8.0  # images a second in training, against float32 at batch 1


def lines(settings: Settings) -> list[Line]:
    """Training step and forward pass at 375 × 500."""
    if settings.accelerated:
        return _on_cuda(settings)
    ours, theirs, size = _networks(settings)
    images, target = make_batch(1, size, CLASSES, settings.device)
    ours_images = images.contiguous(memory_format=torch.channels_last)
    steps = {
        _format_name(precision): our_step(ours, size, precision)
        for precision in (torch.float32, optimisation.choose_precision("auto", settings.device))
    }
    published_step = published_step_of(theirs)
    what = f"FCN-8s VGG16, {size[0]}×{size[1]}, batch 1"
    contestants: dict[str, Callable[[], object]] = {
        name: partial(step, ours_images, target) for name, step in steps.items()
    }
    contestants[PUBLISHED] = partial(published_step, images, target)
    measured = alternate(contestants, settings)
    found = _beside(f"{what}, training step", measured, CPU_TARGET)
    for optimiser in (*(step.optimiser for step in steps.values()), published_step.optimiser):
        optimiser.zero_grad(set_to_none=True)
    ours.eval()
    theirs.eval()
    contestants = {name: partial(our_forward, step, ours_images) for name, step in steps.items()}
    contestants[PUBLISHED] = partial(_without_gradients, theirs, images)
    return found + _beside(f"{what}, forward", alternate(contestants, settings), None)


def _format_name(precision: torch.dtype) -> str:
    return f"ours, {str(precision).removeprefix('torch.')}"


def _beside(work: str, measured: dict[str, Measured], target: float | None) -> list[Line]:
    """A row for each number format of ours, each beside the published form."""
    theirs = measured.pop(PUBLISHED)
    return [
        Row(CASE, f"{work}, {name.removeprefix('ours, ')}", ours, theirs, target)
        for name, ours in measured.items()
    ]


def our_step(
    model: FCN,
    size: tuple[int, int],
    precision: torch.dtype = torch.float32,
    compiler: str | None = None,
) -> OurStep:
    """The published settings, translated to the mean loss."""
    rates = translate(LR, WEIGHT_DECAY, size[0] * size[1])
    spec = Optimiser("sgd", lr=rates.lr, weight_decay=rates.weight_decay, momentum=MOMENTUM)
    return OurStep(model, optimisation.make(spec, model), precision, compiler)


def published_step_of(model: Published) -> PlainStep:
    """The published settings as they are: the loss is a sum over pixels."""
    return PlainStep(model, sgd(model, LR, WEIGHT_DECAY, MOMENTUM), reduction="sum")


def _networks(settings: Settings) -> tuple[FCN, Published, tuple[int, int]]:
    size, width = ((64, 96), 1 / 16) if settings.smoke else ((375, 500), 1.0)
    settings.say("building FCN-8s VGG16 twice")
    ours = FCN("vgg16", CLASSES, 8, width=width)
    randomise(ours)
    theirs = Published("voc-fcn8s", CLASSES, width).randomise(0)
    ours = ours.to(settings.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return ours.train(), theirs.to(settings.device).train(), size


def _on_cuda(settings: Settings) -> list[Line]:
    """Seconds an image: batch 16 and batch 1 against float32 at batch 1, strict and as TF32.

    Strict float32 is what the published form computed in; TF32 convolutions are what PyTorch
    makes of it by default on Ampere and later, and are shown beside it.
    """
    ours, theirs, size = _networks(settings)
    step = our_step(ours, size, torch.bfloat16, "inductor")
    published_step = published_step_of(theirs)
    images, target = make_batch(1, size, CLASSES, settings.device)
    what = f"FCN-8s VGG16, {size[0]}×{size[1]}, bfloat16, channels_last, compiled"
    strict, tf32 = f"{PUBLISHED}, float32", f"{PUBLISHED}, TF32"
    found: list[Line] = []
    for batch in (1, 2 if settings.smoke else CUDA_BATCH):
        ours.train()
        many, labels = make_batch(batch, size, CLASSES, settings.device)
        many = many.contiguous(memory_format=torch.channels_last)
        training = alternate(
            {
                "ours": partial(step, many, labels),
                strict: with_tf32(False, partial(published_step, images, target)),
                tf32: with_tf32(True, partial(published_step, images, target)),
            },
            settings,
            "s/image",
            {"ours": batch},
        )
        targets = {strict: CUDA_TARGET} if batch > 1 else {}
        found += against(CASE, f"{what}, batch {batch}, training step", training, targets)
        ours.eval()
        forward = alternate(
            {
                "ours": partial(our_forward, step, many),
                strict: with_tf32(False, partial(_without_gradients, theirs, images)),
                tf32: with_tf32(True, partial(_without_gradients, theirs, images)),
            },
            settings,
            "s/image",
            {"ours": batch},
        )
        found += against(CASE, f"{what}, batch {batch}, forward", forward, {})
    return [*found, _memory(step, published_step, what, size, settings)]


def _memory(
    step: OurStep, published_step: PlainStep, what: str, size: tuple[int, int], settings: Settings
) -> Line:
    """Peak of a training step at batch 1, weights and optimiser of both nets subtracted.

    Both nets stay on the device, so each peak contains the other net's tensors; what was there
    before the step is taken off.
    """
    step.model.train()
    images, target = make_batch(1, size, CLASSES, settings.device)
    peaks: list[Measured] = []
    for name, call in (("ours", step), (f"{PUBLISHED}, float32", published_step)):
        for each in (step, published_step):
            each.optimiser.zero_grad(set_to_none=True)
        before = torch.cuda.memory_allocated(settings.device) / 2**20
        peak = peak_on_device(name, partial(call, images, target), settings.device)
        peaks.append(Measured(name, "MiB", (peak.values[0] - before,)))
    return Row(CASE, f"{what}, batch 1, peak memory of a step", peaks[0], peaks[1])


def our_forward(step: OurStep, images: Tensor) -> Tensor:
    """Scores at full resolution from the possibly compiled network, in float32 at the end."""
    fast = step.precision != torch.float32
    with (
        torch.inference_mode(),
        torch.autocast(images.device.type, step.precision, enabled=fast),
    ):
        return step.model.enlarge(step.fused_scores(images), images.shape[-2:])


def _without_gradients(model: Published, images: Tensor) -> Tensor:
    with torch.inference_mode():
        scores: Tensor = model(images)
    return scores
