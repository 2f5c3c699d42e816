"""The recipes behind every row that the paper and its reference repository publish.

Three families, and each recipe names the file or section every setting is from:

- `reference`: the authors' repository, which is also the later paper's recipe: batch 1, momentum
  0.99, the loss summed over pixels; `…-mean` the same translated to a mean loss;
- `cvpr`: the conference paper: batch 20, momentum 0.9;
- NYUDv2 and SIFT Flow, from the reference.

Sources: github.com/shelhamer/fcn.berkeleyvision.org (its `*/solver.prototxt`, `*/solve.py`,
`*/net.py`); CVPR 2015 (arXiv 1411.4038); github.com/wkentaro/pytorch-fcn for the port's scores.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from fcn_tutorial import losses
from fcn_tutorial.training.recipes.recipe import Data, Modality, Model, Optimiser, Published, Recipe

VGG16 = "caffe:VGG_ILSVRC_16_layers.caffemodel"
CAFFENET = "caffe:bvlc_reference_caffenet.caffemodel"
#: Pixels of the image by which the authors' learning rates are translated, 375 × 500.
VALID_PIXELS = 187_500

_README = "reference README"
_PORT = "wkentaro/pytorch-fcn, README"
_KEYS = ("pixel_accuracy", "mean_accuracy", "mean_iu", "fw_iu")


def scores(of: str, source: str, percents: Sequence[float | None]) -> tuple[Published, ...]:
    """Published pixel accuracy, mean accuracy, mean IU and f.w. IU, in percent; None: not given."""
    return tuple(
        Published(key, round(value / 100, 4), of, source)
        for key, value in zip(_KEYS, percents, strict=True)
        if value is not None
    )


def mean_iu(of: str, source: str, percent: float) -> tuple[Published, ...]:
    """Published mean IU, in percent."""
    return scores(of, source, (None, None, percent, None))


# --- The reference's recipe ---------------------------------------------------------------------

_WHOLE = (0, 0)
_VOC = Data(
    "voc", _WHOLE, flip=False, train_split="train", val_split="seg11valid", test_split="",
    replacement=True,
)  # fmt: skip


def sgd(lr: float, momentum: float = 0.99) -> Optimiser:
    """SGD as Caffe's nets of the time have it: biases twice as fast, at a fixed rate."""
    return Optimiser(
        "sgd", lr=lr, bias_lr=2.0, weight_decay=5e-4, momentum=momentum, schedule="fixed"
    )


def _reference(name: str, net: str, lr: float, what: str, **changes: object) -> Recipe:
    """A recipe of the reference's usual kind: VGG16, batch 1, momentum 0.99, summed loss."""
    solver = f"reference {net}/solver.prototxt"
    stride = 32 if "32s" in name else 16 if "16s" in name else 8
    base = Recipe(
        name=name,
        summary=what,
        source=f"reference {net}",
        model=Model("vgg16", stride, "caffe", weights=VGG16),
        data=_VOC,
        optimiser=sgd(lr),
        batch=1,
        epochs=1,
        iterations=100_000,
        loss="sum",
        select="last",
        save_every=2000,
        sources=(
            ("model.alignment", f"reference {net}/net.py: conv1_1 pads by 100"),
            ("model.weights", f"reference {net}/solve.py, or the coarser net it starts from"),
            ("data.replacement", "reference *_layers.py: the next image is drawn at random"),
            ("data.flip", "the reference augments nothing"),
            ("optimiser.lr", f"{solver}: base_lr"),
            ("optimiser.momentum", f"{solver}: momentum"),
            ("optimiser.weight_decay", f"{solver}: weight_decay"),
            ("optimiser.schedule", f"{solver}: lr_policy"),
            ("optimiser.bias_lr", f"reference {net}/net.py: lr_mult=2, decay_mult=0"),
            ("batch", f"{solver}: iter_size, and one image a blob"),
            ("iterations", f"reference {net}/solve.py: 50 times 2000 steps"),
            ("loss", f"reference {net}/net.py: normalize=False"),
        ),
    )
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


def translated(recipe: Recipe) -> Recipe:
    """The same steps under a mean loss, for images of `VALID_PIXELS` (see `losses.translate`)."""
    spec = recipe.optimiser
    rates = losses.translate(spec.lr, spec.weight_decay, VALID_PIXELS)
    how = f"losses.translate of {recipe.name}, {VALID_PIXELS:,} valid pixels an image"
    changed = {"optimiser.lr": how, "optimiser.weight_decay": how, "loss": how}
    return dataclasses.replace(
        recipe,
        name=f"{recipe.name}-mean",
        summary=f"{recipe.name} with its summed loss translated to a mean",
        optimiser=dataclasses.replace(spec, lr=rates.lr, weight_decay=rates.weight_decay),
        loss="mean",
        coarser=f"{recipe.coarser}-mean" if recipe.coarser else "",
        sources=tuple((key, changed.get(key, source)) for key, source in recipe.sources),
    )


_SEG11 = "VOC2011 val without SBD train (736 images)"


def _voc(net: str, percent: float, port: float) -> tuple[Published, ...]:
    return (
        *mean_iu(f"{net} (reference), {_SEG11}", _README, percent),
        *mean_iu(f"{net} (reference port), {_SEG11}", _PORT, port),
    )


def _reference_voc() -> Iterator[Recipe]:
    yield _reference(
        "voc-fcn32s", "voc-fcn32s", 1e-10, "FCN-32s on VGG16, SBD's 8,498 images",
        published=_voc("FCN-32s VGG16", 63.6, 62.84),
    )  # fmt: skip
    yield _reference(
        "voc-fcn16s", "voc-fcn16s", 1e-12, "FCN-16s, from voc-fcn32s", coarser="voc-fcn32s",
        published=_voc("FCN-16s VGG16", 65.0, 64.91),
    )  # fmt: skip
    yield _reference(
        "voc-fcn8s", "voc-fcn8s", 1e-14, "FCN-8s, from voc-fcn16s", coarser="voc-fcn16s",
        published=(
            *_voc("FCN-8s VGG16", 65.5, 65.49),
            *mean_iu("FCN-8s VGG16 (reference), VOC2012 test", _README, 67.2),
        ),
    )  # fmt: skip
    yield _reference(
        "voc-fcn8s-atonce", "voc-fcn8s-atonce", 1e-10, "FCN-8s trained in one go, taps scaled",
        model=Model("vgg16", 8, "caffe", at_once=True, weights=VGG16), iterations=300_000,
        published=_voc("FCN-8s at once VGG16", 65.4, 64.74),
    )  # fmt: skip
    alexnet = _reference(
        "voc-fcn-alexnet", "voc-fcn-alexnet", 1e-4, "FCN-AlexNet (32s) on CaffeNet",
        model=Model("caffenet", 32, "caffe", weights=CAFFENET), optimiser=sgd(1e-4, 0.9),
        batch=20, accumulate=20, loss="image_mean",
        published=mean_iu(f"FCN-AlexNet (reference), {_SEG11}", _README, 48.0),
    )  # fmt: skip
    normalised = "reference voc-fcn-alexnet/train.prototxt: the loss is normalised; iter_size 20"
    sources = {**dict(alexnet.sources), "loss": normalised, "accumulate": normalised}
    yield dataclasses.replace(alexnet, sources=tuple(sources.items()))


# --- The conference paper's ---------------------------------------------------------------------

_CVPR = "CVPR 2015"


def _cvpr(name: str, what: str, model: Model, lr: float, table: str, **changes: object) -> Recipe:
    base = Recipe(
        name=name,
        summary=what,
        source=f"{_CVPR}, §4 and {table}",
        model=model,
        data=_VOC,
        optimiser=sgd(lr, 0.9),
        batch=20,
        epochs=175,
        accumulate=20,
        loss="image_mean",
        validate_every=5,
        select="last",
        sources=(
            ("optimiser.lr", "§4.3; the paper prints 5⁻⁵ for 5e-5"),
            ("optimiser.momentum", "§4.3"),
            ("optimiser.weight_decay", "§4.3: 5e-4 or 2e-4, printed 5⁻⁴ and 2⁻⁴"),
            ("optimiser.bias_lr", "§4.3: doubled for biases"),
            ("batch", "§4.3: 20 images"),
            ("epochs", "§4.3: at least 175, for its training set"),
            ("accumulate", "ours: images of unequal size, one by one"),
            ("loss", "ours: not said; these rates belong to a mean"),
            ("model.deconvolution", "§4.3: intermediate ones learned, the last one fixed"),
        ),
    )
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


def _conference() -> Iterator[Recipe]:
    # Table 1 was trained on VOC 2011 train alone, Table 2 on SBD's images (§4.3, more data).
    train11 = dataclasses.replace(_VOC, train_split="2011-train", replacement=False)
    sbd = dataclasses.replace(_VOC, replacement=False)
    one = "Table 1, VOC2011 val"
    two = f"Table 2, {_SEG11}"
    googlenet = "torchvision:GoogLeNet_Weights.IMAGENET1K_V1"
    for name, model, lr, percent in (
        ("alexnet", Model("caffenet", 32, "caffe", weights=CAFFENET), 1e-3, 39.8),
        ("vgg16", Model("vgg16", 32, "caffe", weights=VGG16), 1e-4, 56.0),
        ("googlenet", Model("googlenet", 32, weights=googlenet), 5e-5, 42.5),
    ):
        yield _cvpr(
            f"voc-fcn-{name}-cvpr", f"FCN-32s on {name}, VOC 2011 train alone", model, lr,
            "Table 1", data=train11, frozen_norms=name == "googlenet",
            published=mean_iu(f"FCN-{name}", f"{_CVPR}, {one}", percent),
        )  # fmt: skip
    vgg = Model("vgg16", 32, "caffe", weights=VGG16)
    learned = dataclasses.replace(vgg, stride=16, deconvolution="learned")
    finest = dataclasses.replace(learned, stride=8)
    for name, model, lr, coarser, row in (
        ("32s-fixed", vgg, 1e-4, "", (83.0, 59.7, 45.4, 72.0)),
        ("32s", vgg, 1e-4, "", (89.1, 73.3, 59.4, 81.4)),
        ("16s", learned, 1e-6, "voc-fcn32s-cvpr", (90.0, 75.7, 62.4, 83.0)),
        ("8s", finest, 1e-6, "voc-fcn16s-cvpr", (90.3, 75.9, 62.7, 83.2)),
    ):
        recipe = _cvpr(
            f"voc-fcn{name}-cvpr", f"FCN-{name} on VGG16, with SBD's images", model, lr,
            "Table 2", data=sbd, coarser=coarser,
            frozen_stride=32 if name == "32s-fixed" else 1,
            published=scores(f"FCN-{name} VGG16", f"{_CVPR}, {two}", row),
        )  # fmt: skip
        if coarser:
            lower = {**dict(recipe.sources), "optimiser.lr": "§4.2: a hundredth of the coarser's"}
            recipe = dataclasses.replace(recipe, sources=tuple(lower.items()))
        yield recipe


# --- NYUDv2 and SIFT Flow -----------------------------------------------------------------------

#: The order of the paper's Table 4 and the modality each net reads.
_NYUD: dict[str, tuple[Modality, str, str, tuple[float, float, float, float]]] = {
    "32s-rgb": ("rgb", "nyud-fcn32s-color", "nyud-rgb", (60.0, 42.2, 29.2, 43.9)),
    "32s-rgbd": ("rgbd", "nyud-fcn32s-color-d", "nyud-rgbd", (61.5, 42.4, 30.5, 45.5)),
    "32s-hha": ("hha", "nyud-fcn32s-hha", "nyud-hha", (57.1, 35.2, 24.2, 40.4)),
    "32s-rgb-hha": ("rgb-hha", "nyud-fcn32s-color-hha", "", (64.3, 44.9, 32.8, 48.0)),
    "16s-rgb-hha": ("rgb-hha", "nyud-fcn32s-color-hha", "", (65.4, 46.1, 34.0, 49.5)),
}


def _nyud() -> Iterator[Recipe]:
    for name, (modality, net, preprocessing, row) in _NYUD.items():
        late = modality == "rgb-hha"
        stride = int(name[:2])
        coarser = ""
        if late:
            singles = "nyud-fcn32s-rgb,nyud-fcn32s-hha"
            coarser = singles if stride == 32 else "nyud-fcn32s-rgb-hha"
        recipe = _reference(
            f"nyud-fcn{name}", net, 1e-12 if late else 1e-10,
            f"FCN-{stride}s on NYUDv2's {modality}, 40 classes",
            model=Model(
                "vgg16", stride, "caffe", late_fusion=late, weights=VGG16,
                preprocessing=preprocessing,
            ),
            data=Data(
                "nyud", _WHOLE, flip=False, modality=modality, train_split="trainval",
                val_split="val", replacement=True,
            ),
            coarser=coarser,
            published=scores(f"FCN-{stride}s {modality}, VGG16", f"{_CVPR}, Table 4", row),
        )  # fmt: skip
        sources = dict(recipe.sources)
        if late:
            sources["model.late_fusion"] = f"reference {net}/net.py: halves of both scores"
        if stride == 16:
            sources["optimiser.lr"] = "ours: the late fusion's; the reference has no 16s"
        yield dataclasses.replace(recipe, sources=tuple(sources.items()))


def _siftflow() -> Iterator[Recipe]:
    row16 = (
        *scores("FCN-16s VGG16, semantic", f"{_CVPR}, Table 5", (85.2, 51.7, 39.5, 76.1)),
        Published("geometric_pixel_accuracy", 0.943, "FCN-16s VGG16, geometric",
                  f"{_CVPR}, Table 5"),
    )  # fmt: skip
    for stride, lr in ((32, 1e-10), (16, 1e-12), (8, 1e-12)):
        name = f"siftflow-fcn{stride}s"
        yield _reference(
            name, name, lr, f"FCN-{stride}s on SIFT Flow: 33 semantic and 3 geometric classes",
            model=Model("vgg16", stride, "caffe", weights=VGG16, preprocessing="siftflow"),
            data=Data(
                "siftflow", _WHOLE, flip=False, task="both", train_split="trainval",
                val_split="test", replacement=True,
            ),
            coarser="" if stride == 32 else f"siftflow-fcn{2 * stride}s",
            published=row16 if stride == 16 else (),
        )  # fmt: skip


def all_recipes() -> Iterator[Recipe]:
    """Every recipe of this module."""
    for recipe in _reference_voc():
        yield recipe
        if recipe.loss == "sum":
            yield translated(recipe)
    yield from _conference()
    yield from _nyud()
    yield from _siftflow()
