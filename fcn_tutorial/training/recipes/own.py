"""Our own recipes: generated scenes, CamVid, a folder of one's own, and today's way of the others.

Settings were chosen on validation images; `summary` says what each is for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Literal

from fcn_tutorial.training.recipes.recipe import (
    AnyModel,
    Data,
    FolderData,
    Modality,
    Model,
    Optimiser,
    Published,
    Recipe,
)

_OURS = "this project"
_JEGOU = "Jégou et al., CVPR Workshops 2017, Table 1 (quoted there from earlier work)"
MOBILENET_V2 = "torchvision:MobileNet_V2_Weights.IMAGENET1K_V1"
#: A trunk that has learned from ImageNet, and what trains it further.
_PRETRAINED = Model("mobilenet_v2", norms="folded", dropout=0.1, weights=MOBILENET_V2)
_TUNED = Optimiser("adamw", lr=3e-3, trunk_lr=0.25, weight_decay=1e-2, warmup=0.05, clip=5.0)


def _stages(coarsest: Recipe, prefix: str, finest: str, epochs: int, lr: float) -> Iterator[Recipe]:
    """32s, then 16s and 8s that start from it, and 32s alone for as many epochs as all three."""
    yield coarsest
    finer = coarsest
    for stride, name in ((16, f"{prefix}-fcn16s"), (8, finest)):
        finer = dataclasses.replace(
            finer,
            name=name,
            summary=f"FCN-{stride}s that starts from {finer.name}: the paper's stages",
            model=_at(stride, finer.model),
            optimiser=dataclasses.replace(coarsest.optimiser, lr=lr),
            epochs=epochs,
            coarser=finer.name,
            published=(),
        )
        yield finer
    whole = coarsest.epochs + 2 * epochs
    yield dataclasses.replace(
        coarsest,
        name=f"{coarsest.name}-long",
        summary=f"the control of the stages: FCN-32s alone for all their {whole} epochs",
        epochs=whole,
        published=(),
    )


def _at(stride: int, model: AnyModel) -> AnyModel:
    return dataclasses.replace(model, stride=stride)  # type: ignore[call-arg]  # a `Model`


def scenes_fcn8s() -> Recipe:
    """The recipe that others on scenes are set beside."""
    return Recipe(
        name="scenes-fcn8s",
        summary="FCN-8s on a small trunk and generated scenes; needs no data and no weights",
        source=_OURS,
        model=Model("tiny"),
        data=Data("scenes", (128, 128), jitter=0.2, train_images=600, test_images=200),
        optimiser=Optimiser("adamw", lr=4e-3, weight_decay=1e-4, warmup=0.05),
        batch=16,
        epochs=14,
        class_weights="inverse_sqrt",
        validate_every=7,
        baselines=True,
    )


def _scenes() -> Iterator[Recipe]:
    at_once = scenes_fcn8s()
    yield at_once
    coarsest = dataclasses.replace(
        at_once,
        name="scenes-fcn32s",
        summary="FCN-32s on generated scenes, the first of the paper's three stages",
        model=Model("tiny", 32),
        baselines=False,
    )
    yield from _stages(coarsest, "scenes", "scenes-fcn8s-staged", epochs=7, lr=2e-3)


#: What of a room is read, how, and what for.
_ROOMS: dict[str, tuple[Modality, str, str]] = {
    "rgb": ("rgb", "nyud-rgb", "colour alone"),
    "rgbd": ("rgbd", "nyud-rgbd", "colour and depth, fused early, scaled as the authors' nets"),
    "rgbd-even": ("rgbd", "even-rgbd", "the same with depth scaled as colour is"),
    "hha": ("hha", "nyud-hha", "HHA alone"),
    "rgb-hha": ("rgb-hha", "nyud-rgb-hha", "colour and HHA, fused early: six channels"),
}


def _rooms() -> Iterator[Recipe]:
    """Colour, depth and HHA of generated rooms, alone, fused early and fused late."""
    small = Model("tiny", width=0.5)
    alone = dataclasses.replace(
        scenes_fcn8s(),
        source=f"{_OURS}: the schedule of scenes-fcn8s, on less, for many cheap runs",
        model=small,
        data=Data("rooms", (72, 96), jitter=0.2, train_images=300, test_images=80),
        validate_every=14,
        select="last",
        baselines=False,
    )
    for name, (modality, preprocessing, what) in _ROOMS.items():
        yield dataclasses.replace(
            alone,
            name=f"rooms-fcn8s-{name}",
            summary=f"FCN-8s on generated rooms: {what}",
            model=dataclasses.replace(small, preprocessing=preprocessing),
            data=dataclasses.replace(alone.data, modality=modality),
        )
    yield dataclasses.replace(
        alone,
        name="rooms-fcn8s-late",
        summary="two FCN-8s on generated rooms, of colour and of HHA, fused late",
        model=dataclasses.replace(small, late_fusion=True),
        data=dataclasses.replace(alone.data, modality="rgb-hha"),
        optimiser=dataclasses.replace(alone.optimiser, lr=5e-4),
        epochs=4,
        validate_every=4,
        coarser="rooms-fcn8s-rgb,rooms-fcn8s-hha",
    )


_HEADS: dict[Literal["semantic", "geometric", "both"], str] = {
    "semantic": "the 12 classes alone",
    "geometric": "sky, horizontal and vertical alone",
    "both": "12 classes and 3 geometric ones, two heads on one trunk",
}


def _tasks() -> Iterator[Recipe]:
    """One head or two on the same few scenes: does the second task help the first?"""
    alike = scenes_fcn8s()
    for task, heads in _HEADS.items():
        yield dataclasses.replace(
            alike,
            name=f"scenes-{task}",
            summary=f"FCN-8s on 200 small generated scenes: {heads}",
            data=dataclasses.replace(alike.data, crop=(64, 64), task=task, train_images=200),
            epochs=24,
            validate_every=12,
            baselines=False,
        )


def _camvid() -> Iterator[Recipe]:
    best = Recipe(
        name="camvid-fcn8s",
        summary="FCN-8s on MobileNetV2 and CamVid, 11 classes at 480×360",
        source=f"{_OURS}: a present-day schedule around the paper's network",
        model=_PRETRAINED,
        data=Data("camvid", (320, 416), scale=(0.6, 2.0), jitter=0.4),
        optimiser=_TUNED,
        batch=8,
        epochs=50,
        class_weights="inverse_sqrt",
        frozen_stride=2,
        ema=0.995,
        precision="auto",
        validate_every=5,
        published=(
            Published("mean_iu", 0.570, "FCN-8s VGG16", _JEGOU),
            Published("pixel_accuracy", 0.880, "FCN-8s VGG16", _JEGOU),
            Published("mean_iu", 0.669, "FC-DenseNet103", _JEGOU),
            Published("pixel_accuracy", 0.915, "FC-DenseNet103", _JEGOU),
        ),
    )
    yield best
    yield dataclasses.replace(
        best,
        name="camvid-fcn8s-magnified",
        summary="camvid-fcn8s that sees its images at one and a half times their size",
        source=_OURS,
        model=dataclasses.replace(best.model, magnification=1.5),
        data=dataclasses.replace(best.data, crop=(400, 520)),
        epochs=60,
    )
    coarsest = dataclasses.replace(
        best,
        name="camvid-fcn32s",
        summary="FCN-32s on MobileNetV2 and CamVid, the first of the paper's three stages",
        source=_OURS,
        model=_at(32, best.model),
        epochs=30,
        published=(),
    )
    yield from _stages(coarsest, "camvid", "camvid-fcn8s-staged", epochs=15, lr=1.5e-3)


def _folder() -> Iterator[Recipe]:
    """Few photos gain most from a pretrained trunk; without its weights a small one is trained."""
    untrained = Recipe(
        name="folder-tiny",
        summary="your own photos on a small trunk that learns from them alone; needs no weights",
        source=f"{_OURS}: 600 steps for up to 160 photos, minutes on a CPU",
        model=Model("tiny"),
        data=FolderData("folder", (192, 192), scale=(0.5, 1.5), jitter=0.3),
        optimiser=Optimiser("adamw", lr=4e-3, weight_decay=1e-4, warmup=0.05, clip=5.0),
        batch=8,
        epochs=30,
        class_weights="inverse_sqrt",
        validate_every=3,
        baselines=True,
    )
    yield dataclasses.replace(
        untrained,
        name="folder",
        summary="your own photos: --data DIR that holds images/ and masks/; on MobileNetV2, whose "
        "weights are fetched, or as folder-tiny where they cannot be had",
        source=f"{_OURS}: the schedule of camvid-fcn8s, 600 steps for up to 320 photos",
        model=_PRETRAINED,
        data=FolderData("folder", (256, 256), scale=(0.5, 1.5), jitter=0.3, epoch_images=320),
        optimiser=_TUNED,
        epochs=15,
        frozen_stride=2,
        otherwise=untrained.name,
    )
    yield untrained


def _today() -> Iterator[Recipe]:
    """The paper's FCN-8s on VGG16 as one would train it now; not run by us, so without scores."""
    voc = Recipe(
        name="voc-fcn8s-today",
        summary="the same FCN-8s on VGG16 and SBD's images, trained as one would now",
        source=f"{_OURS}: AdamW, crops, random scale, bfloat16; all at once, no scaled taps",
        model=Model("vgg16", 8, "same", weights="torchvision:VGG16_Weights.IMAGENET1K_V1"),
        data=Data(
            "voc", (384, 384), scale=(0.5, 2.0), jitter=0.3, val_split="seg11valid", test_split=""
        ),
        optimiser=Optimiser(
            "adamw", lr=5e-4, trunk_lr=0.1, weight_decay=1e-2, warmup=0.03, clip=5.0
        ),
        batch=16,
        epochs=40,
        ema=0.999,
        precision="auto",
    )
    yield voc
    yield dataclasses.replace(
        voc,
        name="nyud-fcn8s-today",
        summary="the same FCN-8s on VGG16 and NYUDv2's colour, trained as one would now",
        data=Data("nyud", (384, 480), scale=(0.5, 2.0), jitter=0.3),
        epochs=150,
        validate_every=5,
    )
    yield dataclasses.replace(
        voc,
        name="siftflow-fcn8s-today",
        summary="the same two-headed FCN-8s on SIFT Flow, trained as one would now",
        data=Data(
            "siftflow", (224, 224), scale=(0.75, 1.75), jitter=0.3, task="both",
            train_split="trainval", val_split="test",
        ),
        epochs=60,
        select="last",
        validate_every=5,
    )  # fmt: skip


def all_recipes() -> Iterator[Recipe]:
    """Every recipe of this module."""
    yield from _scenes()
    yield from _rooms()
    yield from _tasks()
    yield from _camvid()
    yield from _folder()
    yield from _today()
