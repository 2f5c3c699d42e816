"""The recipes of the networks after FCN: as their authors publish them, and our narrow ones.

Each setting names the article or file that it is from, in `sources`; what is not said there is
ours, and says so. Sources: SegNet, PAMI 2017 and github.com/alexgkendall/SegNet-Tutorial; U-Net,
MICCAI 2015; DeepLab, ICLR 2015 (arXiv 1412.7062) and arXiv 1606.00915v2.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from fcn_tutorial.training.recipes.own import scenes_fcn8s
from fcn_tutorial.training.recipes.published import VGG16, mean_iu, scores, sgd
from fcn_tutorial.training.recipes.recipe import (
    AnyModel,
    Data,
    Optimiser,
    Published,
    Recipe,
    model_type,
)

_OURS = "this project"
_SEGNET = "SegNet, PAMI 2017"
_D1, _D2 = "ICLR 2015", "arXiv 1606.00915v2"

#: The loss's factors of CamVid's eleven classes, sky to bicyclist, in the released SegNets. They
#: are near median frequency balancing over the twelve classes with void, all but the one of "sign":
#: that gives 3.53 and not 9.6446 (caffe-segnet, issue 37).
SEGNET_FACTORS = (
    0.2595, 0.1826, 4.5640, 0.1417, 0.9051, 0.3826, 9.6446, 1.8418, 0.6823, 6.2478, 7.3614,
)  # fmt: skip


def _model(network: str, weights: str = "", **settings: object) -> AnyModel:
    model: AnyModel = model_type(network)(network=network, weights=weights, **settings)
    return model


# ---- SegNet --------------------------------------------------------------------------------------


def _segnet() -> Iterator[Recipe]:
    train = "SegNet-Tutorial Models/segnet_train.prototxt"
    solver = "SegNet-Tutorial Models/segnet_solver.prototxt"
    recipe = Recipe(
        name="camvid-segnet",
        summary="SegNet from VGG16's weights on CamVid, as released",
        source=f"{_SEGNET}; {train}",
        model=_model("segnet", VGG16, preprocessing="raw"),
        data=Data("camvid", (0, 0), flip=False),
        optimiser=sgd(1e-3, momentum=0.9),
        batch=4,
        epochs=1,
        iterations=40_000,
        class_factors=SEGNET_FACTORS,
        recompute_norms=True,
        select="last",
        published=scores(
            "SegNet (Table 2 says class-balanced, Table 3 not, of the same numbers)",
            f"{_SEGNET}, Tables 2 and 3",
            (90.40, 71.20, 60.10, None),
        ),
        sources=(
            ("model.weights", f"{_SEGNET}, §3: the encoder starts from VGG16"),
            ("data.crop", f"{train}: whole frames of 360×480"),
            ("optimiser.lr", f"{solver}: base_lr"),
            ("optimiser.bias_lr", f"{train}: lr_mult 2, decay_mult 0"),
            ("optimiser.momentum", f"{solver}: momentum"),
            ("optimiser.weight_decay", f"{solver}: weight_decay"),
            ("optimiser.schedule", f"{solver}: lr_policy fixed"),
            ("batch", f"{train}: 4; the article has 5 for road scenes"),
            ("iterations", f"{solver}: max_iter"),
            ("class_factors", f"{train}: class_weighting; sign is not median frequency"),
            ("recompute_norms", "SegNet-Tutorial Scripts/compute_bn_statistics.py"),
        ),
    )
    yield recipe
    basic = {
        **dict(recipe.sources),
        "optimiser.lr": "SegNet-Tutorial Models/segnet_basic_solver.prototxt: base_lr",
        "iterations": "SegNet-Tutorial Models/segnet_basic_solver.prototxt: max_iter",
        "batch": "segnet_basic_train.prototxt: 4; the article has 12",
    }
    del basic["model.weights"]
    yield dataclasses.replace(
        recipe,
        name="camvid-segnet-basic",
        summary="SegNet-Basic on CamVid, from nothing, as released",
        source=f"{_SEGNET}; SegNet-Tutorial Models/segnet_basic_train.prototxt",
        model=_model("segnet-basic", preprocessing="raw"),
        optimiser=dataclasses.replace(recipe.optimiser, lr=0.1),
        iterations=10_000,
        published=scores(
            "SegNet-Basic, 367 images", f"{_SEGNET}, Table 1", (None, None, 47.7, None)
        ),
        sources=tuple(basic.items()),
    )


# ---- U-Net ---------------------------------------------------------------------------------------

_UNET = "U-Net, MICCAI 2015"


def _unet() -> Iterator[Recipe]:
    recipe = Recipe(
        name="isbi-unet",
        summary="U-Net on the ISBI 2012 stack: border weights and elastic deformation",
        source=f"{_UNET}; crops, rate and steps are ours",
        model=_model("unet", in_channels=1, padding="valid"),
        data=Data("isbi-em", (508, 508), elastic=10.0),
        optimiser=Optimiser("sgd", lr=1e-3, momentum=0.99, schedule="fixed"),
        batch=1,
        epochs=1,
        iterations=20_000,
        class_weights="inverse",
        border_weight=10.0,
        border_sigma=5.0,
        select="last",
        published=(
            Published("warping_error", 0.000353, "U-Net, mean of 7 rotations", f"{_UNET}, Table 1"),
            Published("rand_error", 0.0382, "U-Net, mean of 7 rotations", f"{_UNET}, Table 1"),
            Published("warping_error", 0.000420, "Ciresan et al. 2012", f"{_UNET}, Table 1"),
            Published("rand_error", 0.0504, "Ciresan et al. 2012", f"{_UNET}, Table 1"),
        ),
        sources=(
            ("model.padding", f"{_UNET}, §2"),
            ("data.crop", "ours: the largest valid side below 512; the article's figure has 572"),
            ("data.elastic", f"{_UNET}, §3.1: 10 pixels on a grid of 3×3"),
            ("optimiser.lr", "ours: not stated"),
            ("optimiser.momentum", f"{_UNET}, §3: 0.99"),
            ("batch", f"{_UNET}, §3: one image"),
            ("iterations", "ours: not stated"),
            ("class_weights", f"{_UNET}, §3: w_c balances the frequencies of the classes"),
            ("border_weight", f"{_UNET}, §3: w_0 = 10"),
            ("border_sigma", f"{_UNET}, §3: about 5 pixels"),
        ),
    )
    yield recipe
    yield dataclasses.replace(
        recipe,
        name="isbi-unet-narrow",
        summary="a padded U-Net of an eighth of the width on the ISBI 2012 stack",
        source=_OURS,
        model=_model("unet", in_channels=1, padding="same", width=1 / 8, dropout=0.0),
        data=Data("isbi-em", (256, 256), jitter=0.2, elastic=10.0),
        optimiser=Optimiser("adamw", lr=2e-3, weight_decay=1e-4, warmup=0.05, clip=5.0),
        batch=4,
        iterations=0,
        epochs=120,
        validate_every=20,
        sources=(),
    )


# ---- DeepLab -------------------------------------------------------------------------------------


def _mean_iu(of: str, source: str, percent: float) -> tuple[Published, ...]:
    return mean_iu(f"{of}, VOC2012 val", source, percent)


def _deeplab() -> Iterator[Recipe]:
    first = Recipe(
        name="voc-deeplab-largefov",
        summary="DeepLab-LargeFOV of 2015 on VGG16 and SBD's images, without the CRF",
        source=f"DeepLab, {_D1}, §3 and §5",
        model=_model("deeplab", VGG16, variant="largefov", average=True),
        data=Data("voc", (321, 321), train_split="trainaug", val_split="2012-val", test_split=""),
        optimiser=dataclasses.replace(
            sgd(1e-2, momentum=0.9), trunk_lr=0.1, schedule="step", drop_every=1 / 3
        ),
        batch=20,
        epochs=1,
        iterations=6_000,
        select="last",
        save_every=500,
        published=(
            *_mean_iu("LargeFOV", f"{_D1}, Table 1", 62.25),
            *_mean_iu("LargeFOV + CRF", f"{_D1}, Table 1", 67.64),
        ),
        sources=(
            ("model.weights", f"{_D1}, §3.1: VGG16, its fc6 and fc7 decimated"),
            ("model.average", "the authors' train.prototxt: pool5a"),
            ("data.crop", "the authors' train.prototxt: crop_size"),
            ("data.train_split", f"{_D1}, §5: 10,582 images with SBD's"),
            ("optimiser.lr", f"{_D1}, §5: 10⁻², the final classifier's"),
            ("optimiser.trunk_lr", f"{_D1}, §5: 10⁻³ for the rest"),
            ("optimiser.drop_every", f"{_D1}, §5: times 0.1 every 2,000 steps"),
            ("optimiser.momentum", f"{_D1}, §5"),
            ("optimiser.weight_decay", f"{_D1}, §5"),
            ("batch", f"{_D1}, §5: 20; a released configuration has 30"),
            ("iterations", "the authors' solver.prototxt: max_iter 6000"),
        ),
    )  # fmt: skip
    yield first
    poly = {
        **{k: s for k, s in first.sources if k not in ("model.average", "optimiser.drop_every")},
        "optimiser.schedule": f"{_D2}, §4.1.1: poly, power 0.9",
        "batch": f"{_D2}, Table 2: 10 and 20,000 steps score best",
        "iterations": f"{_D2}, Table 2",
    }
    later = dataclasses.replace(
        first,
        optimiser=dataclasses.replace(first.optimiser, schedule="poly", power=0.9),
        batch=10,
        iterations=20_000,
        sources=tuple(poly.items()),
    )
    yield dataclasses.replace(
        later,
        name="voc-deeplab-largefov-poly",
        summary="DeepLab-LargeFOV under the poly schedule",
        source=f"DeepLab, {_D2}, §4.1.1",
        model=_model("deeplab", VGG16, variant="largefov"),
        published=(
            *_mean_iu("LargeFOV, poly, batch 10, 20k", f"{_D2}, Table 2", 65.88),
            *_mean_iu("LargeFOV + CRF", f"{_D2}, Table 3", 69.84),
        ),
    )
    yield dataclasses.replace(
        later,
        name="voc-deeplab-aspp",
        summary="DeepLab with ASPP on VGG16: four branches, their scores added",
        source=f"DeepLab, {_D2}, §3.2 and §4.1.1",
        model=_model("deeplab", VGG16, variant="aspp-vgg16"),
        published=(
            *_mean_iu("ASPP-L", f"{_D2}, Table 3", 68.96),
            *_mean_iu("ASPP-L + CRF", f"{_D2}, Table 3", 71.57),
        ),
    )
    yield dataclasses.replace(
        later,
        name="voc-deeplab-resnet101",
        summary="DeepLab with ASPP on ResNet-101, one scale and without COCO",
        source=f"DeepLab, {_D2}, §4.1.2",
        model=_model("deeplab", "caffe:ResNet-101-model.caffemodel", variant="aspp-resnet101"),
        data=dataclasses.replace(later.data, scale=(0.5, 1.5)),
        optimiser=dataclasses.replace(later.optimiser, lr=2.5e-3),
        frozen_norms=True,
        published=(
            *_mean_iu("ResNet-101 alone", f"{_D2}, Table 4", 68.72),
            *_mean_iu("ASPP, three scales, COCO, random scale", f"{_D2}, Table 4", 76.35),
            *_mean_iu("the same + CRF", f"{_D2}, Table 4", 77.69),
            *_mean_iu("a port (kazuto1011), three scales, COCO", "its README", 76.65),
        ),
        sources=(
            *((k, s) for k, s in later.sources if k not in ("model.weights", "optimiser.lr")),
            ("optimiser.lr", "the authors' solver.prototxt: 2.5e-4, the classifier's times 10"),
            ("data.scale", f"{_D2}, §4.1.2: 0.5 to 1.5"),
            ("frozen_norms", "the authors' train.prototxt: statistics are stored ones"),
        ),
    )


# ---- Ours ----------------------------------------------------------------------------------------


def _scenes() -> Iterator[Recipe]:
    """The same scenes and as many epochs as `scenes-fcn8s`, at about as many multiplications."""
    base = dataclasses.replace(scenes_fcn8s(), baselines=False)
    yield dataclasses.replace(
        base,
        name="scenes-segnet",
        summary="a SegNet of an eighth of the width on generated scenes",
        model=_model("segnet", width=1 / 8, preprocessing="centred"),
        recompute_norms=True,
    )
    yield dataclasses.replace(
        base,
        name="scenes-segnet-basic",
        summary="a SegNet-Basic of an eighth of the width on generated scenes; learns sooner",
        model=_model("segnet-basic", width=1 / 8, preprocessing="centred"),
        recompute_norms=True,
    )
    yield dataclasses.replace(
        base,
        name="scenes-unet",
        summary="a padded U-Net of an eighth of the width on generated scenes",
        model=_model("unet", padding="same", width=1 / 8, dropout=0.0),
        optimiser=dataclasses.replace(base.optimiser, lr=2e-3, clip=5.0),
    )
    yield dataclasses.replace(
        base,
        name="scenes-deeplab",
        summary="DeepLab's ASPP on the small trunk at stride 8, on generated scenes",
        model=_model("deeplab", variant="aspp-tiny"),
    )

    yield dataclasses.replace(
        base,
        name="scenes-dilated8",
        summary="a Dilated8 of a sixteenth of the width, basic context, on generated scenes",
        model=_model(
            "dilated8", context="basic", width=1 / 16, dropout=0.0, preprocessing="centred"
        ),
        optimiser=dataclasses.replace(base.optimiser, lr=2e-3, clip=5.0),
        batch=4,  # mirrored borders make fifteen images of each
    )
    yield dataclasses.replace(
        base,
        name="scenes-vit",
        summary="a vision transformer of four narrow blocks on generated scenes, from nothing",
        model=_model("vit", depth=4, width=1 / 6, learned_on=128, preprocessing="centred"),
        optimiser=dataclasses.replace(base.optimiser, lr=1e-3, weight_decay=5e-2, clip=1.0),
    )


def _camvid() -> Iterator[Recipe]:
    """Narrow ones that learn CamVid from nothing, on windows of a quarter of the frame."""
    unet = Recipe(
        name="camvid-unet-narrow",
        summary="a padded U-Net of an eighth of the width on CamVid, from nothing",
        source=_OURS,
        model=_model("unet", padding="same", width=1 / 8, dropout=0.0),
        data=Data("camvid", (180, 240), scale=(0.6, 1.5), jitter=0.4),
        optimiser=Optimiser("adamw", lr=2e-3, weight_decay=1e-4, warmup=0.05, clip=5.0),
        batch=8,
        epochs=60,
        class_weights="inverse_sqrt",
        validate_every=10,
    )
    yield unet
    yield dataclasses.replace(
        unet,
        name="camvid-segnet-basic-narrow",
        summary="a SegNet-Basic of a quarter of the width on CamVid, from nothing",
        model=_model("segnet-basic", width=1 / 4, preprocessing="centred"),
        optimiser=dataclasses.replace(unet.optimiser, lr=4e-3),
        epochs=40,
        recompute_norms=True,
    )


def _isbi() -> Iterator[Recipe]:
    """SegNet-Basic beside the narrow U-Net: the same windows, steps and weights of the loss."""
    (unet,) = (recipe for recipe in _unet() if recipe.name == "isbi-unet-narrow")
    yield dataclasses.replace(
        unet,
        name="isbi-segnet-basic-narrow",
        summary="a SegNet-Basic of a quarter of the width on the ISBI 2012 stack",
        model=_model("segnet-basic", width=1 / 4, preprocessing="centred"),
        optimiser=dataclasses.replace(unet.optimiser, lr=4e-3),
        recompute_norms=True,
        published=(),  # the U-Net's recipe carries them
    )


def all_recipes() -> Iterator[Recipe]:
    """Every recipe of this module."""
    yield from _scenes()
    yield from _camvid()
    yield from _isbi()
    yield from _segnet()
    yield from _unet()
    yield from _deeplab()
