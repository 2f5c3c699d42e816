"""What a recipe is: everything that decides a training run, as frozen data.

A recipe is a value: `dataclasses.replace` (or `settings.override`, from text) makes a variant of
it, and the record of a run holds it whole. Published scores travel with the recipe they belong to.
"""

from __future__ import annotations

import dataclasses
from dataclasses import MISSING, dataclass
from functools import cache
from typing import Annotated, Any, Literal, get_origin, get_type_hints

from fcn_tutorial import display
from fcn_tutorial.datasets.sources.folder import FolderData
from fcn_tutorial.datasets.spec import Data, Modality
from fcn_tutorial.files import one_of
from fcn_tutorial.losses import Region
from fcn_tutorial.models import NETWORKS
from fcn_tutorial.models.backbones import Norms
from fcn_tutorial.models.trunks import Alignment

__all__ = [
    "AnyModel", "Data", "FolderData", "Modality", "Model", "Optimiser", "Published", "Recipe",
    "model_type",
]  # fmt: skip

#: The kinds of network that `Model` sets up, a single one and two that are fused late.
_PAPERS = ("fcn", "late-fusion")


@dataclass(frozen=True, kw_only=True)
class AnyModel:
    """What a recipe says of a network of any kind; each kind adds the settings of its own."""

    network: Annotated[str, "kind of network, of models.NETWORKS"] = "fcn"
    magnification: Annotated[float, "of the image before the trunk; scores are brought back"] = 1.0
    weights: Annotated[
        str, "what the trunk starts from: torchvision:ENUM.NAME, caffe:FILE; empty: random"
    ] = ""


@dataclass(frozen=True)
class Model(AnyModel):
    """The settings of the paper's networks: a trunk, strides, and how they are fused."""

    backbone: Annotated[str, "trunk"]
    stride: Annotated[int, "of the finest fused map: 32, 16 or 8"] = 8
    alignment: Annotated[Alignment, "padded layers, or the published layout"] = "same"
    at_once: Annotated[bool, "the published tap scales of all-at-once training"] = False
    deconvolution: Annotated[
        Literal["fixed", "learned"], "bilinear for good, or learned between strides"
    ] = "fixed"
    late_fusion: Annotated[bool, "a network for each half of rgb-hha, their scores averaged"] = (
        False
    )
    norms: Annotated[Norms, "batch, or folded into the convolutions"] = "batch"
    width: Annotated[float, "multiplies the trunk's channels"] = 1.0
    dropout: Annotated[float, "share of channels dropped before each score layer"] = 0.0
    preprocessing: Annotated[str, "of transforms.Preprocess; empty: what the weights expect"] = ""


@cache
def model_type(network: str) -> type[Any]:
    """The dataclass of what a recipe may say of a kind of network.

    It is `Model` for the kinds that read it, and for others `AnyModel` with the fields of the
    network's own `Config`, the number of classes left out: the data have it.

    Raises:
        ValueError: for a kind that is not in `models.NETWORKS`.
    """
    if one_of("model.network", network, NETWORKS) in _PAPERS:
        return Model
    config = NETWORKS[network].Config
    hints = get_type_hints(config, include_extras=True)
    fields: list[Any] = []
    for own in dataclasses.fields(config):
        if own.name == "num_classes":
            continue
        hint = hints[own.name]
        if get_origin(hint) is not Annotated:  # `explain` shows what has a reason beside it
            hint = Annotated[hint, f"as {NETWORKS[network].__name__} takes it"]
        given = () if own.default is MISSING else (dataclasses.field(default=own.default),)
        fields.append((own.name, hint, *given))
    return dataclasses.make_dataclass(
        f"{config.__name__}Settings", fields, bases=(AnyModel,), frozen=True, kw_only=True
    )


@dataclass(frozen=True)
class Optimiser:
    """AdamW or SGD, the schedule of its rate, and who learns how fast."""

    name: Annotated[Literal["adamw", "sgd"], "method"]
    lr: Annotated[float, "peak learning rate of the score layers"]
    trunk_lr: Annotated[float, "the trunk's rate as a multiple of lr"] = 1.0
    bias_lr: Annotated[float, "the biases' rate as a multiple of their layer's"] = 1.0
    weight_decay: Annotated[float, "of weights; biases and norms have none"] = 0.0
    momentum: Annotated[float, "SGD's, or AdamW's first beta"] = 0.9
    schedule: Annotated[Literal["poly", "step", "fixed"], "how the rate falls"] = "poly"
    warmup: Annotated[float, "share of the steps in which the rate rises"] = 0.0
    power: Annotated[float, "of poly: lr · (1 − progress)^power"] = 0.9
    drop_every: Annotated[float, "of step: the share of the run between two drops"] = 0.4
    drop: Annotated[float, "of step: what the rate is multiplied by"] = 0.1
    clip: Annotated[float, "largest gradient norm; 0: as it is"] = 0.0


@dataclass(frozen=True)
class Published:
    """A score somebody published, with where to find it."""

    score: str
    value: float  # fraction of one
    of: str
    source: str


@dataclass(frozen=True)
class Recipe:
    """One training run, up to its data folder, its seed and its device.

    `explain` lists the settings with their meanings, as a notebook shows them.

    Attributes:
        name: what `get` finds it by.
        summary: a line that says what it trains.
        source: whose settings they are.
        model: the network.
        data: data set, its splits, and how images are cut and varied.
        optimiser: method, rates and their schedule.
        published: scores that somebody published for it.

    ::

        >>> from fcn_tutorial.training import explain, get
        >>> recipe = get("scenes-fcn8s")
        >>> variant = dataclasses.replace(recipe, batch=8, accumulate=2)
        >>> [setting[:2] for setting in explain(variant) if setting not in explain(recipe)]
        [('batch', '8'), ('accumulate', '2')]
    """

    name: str
    summary: str
    source: str
    model: AnyModel
    data: Data
    optimiser: Optimiser
    batch: Annotated[int, "images a step, in each process"]
    epochs: Annotated[int, "passes over the training images"]
    iterations: Annotated[int, "steps, instead of epochs; 0: epochs decide"] = 0
    accumulate: Annotated[int, "parts that a batch is taken in, one after the other"] = 1
    loss: Annotated[
        Literal["mean", "sum", "image_mean"],
        "over a step's pixels; image_mean: of each image, then of the images",
    ] = "mean"
    class_weights: Annotated[
        Literal["none", "log", "inverse_sqrt", "inverse", "median"],
        "how the loss favours rare classes",
    ] = "none"
    class_factors: Annotated[
        tuple[float, ...], "of the loss, class by class, instead of class_weights"
    ] = ()
    border_weight: Annotated[float, "most a pixel between two regions counts more; 0: none"] = 0.0
    border_sigma: Annotated[float, "how far from both regions, in pixels, it does so"] = 5.0
    focal: Annotated[float, "exponent by which pixels that are right count less; 0: all alike"] = (
        0.0
    )
    region: Annotated[Region, "a loss of whole regions, added to that of the pixels"] = "none"
    region_weight: Annotated[float, "factor of the region loss, which is between 0 and 1"] = 1.0
    coarser: Annotated[str, "recipe whose trained network this one starts from"] = ""
    otherwise: Annotated[str, "recipe that `train` runs where model.weights cannot be had"] = ""
    frozen_stride: Annotated[int, "trunk layers up to this stride keep their weights"] = 1
    frozen_norms: Annotated[bool, "batch norms keep their stored statistics"] = False
    sync_norms: Annotated[bool, "batch norms share their statistics among processes (CUDA)"] = False
    recompute_norms: Annotated[
        bool, "statistics of batch norms from a pass over the training images before they are used"
    ] = False
    ema: Annotated[float, "decay a step of the averaged weights; 0: none"] = 0.0
    precision: Annotated[
        Literal["float32", "bfloat16", "float16", "auto"], "auto: bfloat16 where hardware has it"
    ] = "float32"
    compile: Annotated[bool, "torch.compile; its gain is not measured yet"] = False
    validate_every: Annotated[int, "epochs"] = 1
    save_every: Annotated[int, "steps between checkpoints, beside those at epochs' ends"] = 1000
    select: Annotated[Literal["best", "last"], "weights that are kept: best on val, or last"] = (
        "best"
    )
    baselines: Annotated[bool, "score majority class and pixel colour too"] = False
    published: tuple[Published, ...] = ()
    #: (setting, where its value is from), for `recipes NAME`; not part of a record's settings.
    sources: tuple[tuple[str, str], ...] = ()

    def _repr_html_(self) -> str:
        """In a notebook, every setting with its value, its meaning and where it is from."""
        from fcn_tutorial.training.recipes.settings import explain

        sources = dict(self.sources)
        rows = [(*setting, sources.get(setting[0], "")) for setting in explain(self)]
        return display.table(
            ("setting", "value", "meaning", "from"), rows, f"{self.name}: {self.summary}"
        )
