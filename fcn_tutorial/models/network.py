"""What every network is to the rest of the package, and the registry of all there are.

Training, evaluation, prediction and export know a network by what stands here and by nothing else.
A network of one's own is one file with a subclass of `Network`, and one line in `NETWORKS`.

Inside, scores and labels are always named by task: a network of `num_classes=21` has the one task
`ONLY`. `forward` and `predict`, which people call, unwrap them again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from html import escape
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self, TypeVar, cast

import torch
from torch import Tensor, nn

from fcn_tutorial.files import did_you_mean, plain_name
from fcn_tutorial.surgery import layer_table
from fcn_tutorial.transforms import Preprocess, holding_pixel, map_sample, shrunk
from fcn_tutorial.upsampling import Border, upsample

#: The task of a network, and of a data set, whose classes stand in one plain list.
ONLY = "labels"

#: The networks there are, by the name that recipes and weights files have for them.
NETWORKS: dict[str, type[Network]] = {}

Value = TypeVar("Value")
_SHOWN_SIZE = 224  # side of the image that a notebook's table of layers is for


class Placement(NamedTuple):
    """Where scores lie on the labels that they are compared with.

    Attributes:
        factor: there is a score every so many pixels.
        offset: rows that are dropped from the full deconvolution (see `upsampling.upsample`).
        border: what it takes the outside of the scores to be.
    """

    factor: int = 1
    offset: int | Fraction = 0
    border: Border = "replicate"


class Network(nn.Module):
    """A network that scores every pixel of an image.

    A subclass has a frozen dataclass `Config` that JSON can hold, a method `training_scores`, and
    what of the rest is not as here: a network that scores at the full resolution of its input, on
    one kind of input, needs no more.

    Args:
        config: what builds this network again (its weights aside).
        num_classes: how many classes, or {task: how many} for several tasks on one trunk.
        preprocessing: what the weights expect, a name of `transforms.PREPROCESSING`; several where
            each reads its own channels.

    Raises:
        ValueError: for a task without classes, or whose name could not be part of a file's.

    ::

        >>> PlainConfig = dataclasses.make_dataclass("PlainConfig", ["num_classes"], frozen=True)
        >>> class Plain(Network):
        ...     Config = PlainConfig
        ...     def __init__(self, num_classes):
        ...         super().__init__(PlainConfig(num_classes), num_classes, "imagenet")
        ...         self.score = nn.Conv2d(3, num_classes, kernel_size=1)
        ...     def training_scores(self, images):
        ...         return self.score(images)
        >>> Plain(5).eval().predict(torch.zeros(3, 32, 40, dtype=torch.uint8)).shape
        torch.Size([32, 40])
    """

    Config: ClassVar[type[Any]]
    #: What an image is enlarged by before the network sees it (see `Magnified`).
    magnification: float = 1.0
    #: Pixels that the longer side of a picture is shrunk to before `predict` looks at it, as in
    #: training; 0: never. `weights.load` knows it from the file.
    longest_side: int = 0

    def __init__(self, config: Any, num_classes: int | Mapping[str, int], *preprocessing: str):
        super().__init__()
        self.config: Any = config
        self._several = isinstance(num_classes, Mapping)
        #: How many classes each task tells apart, in the order of the scores.
        self.tasks = named(num_classes)
        if min(self.tasks.values(), default=0) < 1:
            raise ValueError(f"num_classes={num_classes!r}: at least one class is needed")
        for task in self.tasks:
            plain_name(task, "num_classes, task")  # files are named after it
        self.num_classes = sum(self.tasks.values())
        self.preprocess = Preprocess(*preprocessing)
        self.in_channels = sum(len(part.mean) for part in self.preprocess.parts)

    @classmethod
    def from_config(
        cls,
        config: Any,
        weights: Path | str | None = None,
        backbone: nn.Module | None = None,
    ) -> Self:
        """The network that a config describes.

        Args:
            config: of the class `Config`.
            weights: a file that a part of it starts from, where one comes pretrained.
            backbone: a fresh module like the one it was built on, where that was one's own.

        Raises:
            ValueError: for values out of their range and for weights that do not fit.
        """
        if backbone is not None:
            raise ValueError(f"{cls.__name__} takes no backbone of one's own")
        values = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
        network = cls(**values)
        if weights is not None:
            network.start_from(weights)
        return network

    def start_from(self, weights: Path | str) -> None:
        """Take the weights of a file, in place; which files, the class says.

        Raises:
            ValueError: for a network that comes without, and for a file that does not fit.
        """
        raise ValueError(f"{type(self).__name__} has no pretrained weights to start from")

    @classmethod
    def configured(
        cls,
        options: Mapping[str, Any],
        num_classes: int | Mapping[str, int],
        inputs: Sequence[str] = ("rgb",),
    ) -> Any:
        """The config that a recipe's options make for a data set's classes and inputs.

        Raises:
            ValueError: for an option that `Config` does not have, and for inputs that the network
                does not read.
        """
        if tuple(inputs) != ("rgb",):
            raise ValueError(f"{cls.__name__} reads rgb, the data set has {', '.join(inputs)}")
        known = {f.name for f in dataclasses.fields(cls.Config)}
        if unknown := [name for name in options if name not in known]:
            raise ValueError(
                f"{cls.__name__} has no setting {unknown[0]!r}; it has {', '.join(sorted(known))}"
            )
        return cls.Config(**{**options, "num_classes": num_classes})

    @classmethod
    def from_trained(cls, config: Any, trained: Sequence[Network]) -> Self:
        """A network of `config` that starts from the weights of trained ones.

        Raises:
            ValueError: where they are not what such a network can start from.
        """
        network = cls.from_config(config)
        try:
            (other,) = (one.plain for one in trained)
            network.load_state_dict(other.state_dict())
        except (ValueError, RuntimeError) as error:
            raise ValueError(
                f"{network.title} starts from one {cls.__name__} of the same shape: {error}"
            ) from error
        return network

    # ---- What it reads ---------------------------------------------------------------------------

    @property
    def inputs(self) -> tuple[str, ...]:
        """The parts of an item that it reads, such as ("rgb",) or ("rgb", "depth")."""
        return tuple(part.name for part in self.preprocess.parts)

    @property
    def counts(self) -> int | dict[str, int]:
        """`num_classes` as it was given: a number, or {task: number}."""
        return self.unnamed(self.tasks)

    @property
    def title(self) -> str:
        """What tables call it."""
        return type(self).__name__

    @property
    def plain(self) -> Network:
        """The network itself, without the magnification of images before it."""
        return self

    def _repr_html_(self) -> str:
        """In a notebook, the network's layers; see `surgery.layer_table`."""
        try:
            return layer_table(self, _SHOWN_SIZE, self.in_channels)._repr_html_()
        except ValueError:  # it has a size of its own, or other inputs
            return f"<pre>{escape(repr(self))}</pre>"

    # ---- What is learned -------------------------------------------------------------------------

    def training_scores(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W), preprocessed → scores (N, ΣC, h, w), which the loss places.

        The tasks' classes stand one after the other, as in `tasks`.
        """
        raise NotImplementedError

    def supervised(self, target: Tensor) -> Tensor:
        """The part, or sampling, of labels (N, H, W) that `training_scores` are compared with."""
        return target

    def placement(self) -> Placement:
        """Where `training_scores` lie on what `supervised` leaves."""
        return Placement()

    def trunk(self) -> frozenset[str]:
        """Names of the parameters that come pretrained."""
        return frozenset()

    def freezable(self, stride: int) -> Iterable[nn.Parameter]:
        """The parameters of the first layers, those that work at `stride` or finer.

        Raises:
            ValueError: for a network whose layers have no such order.
        """
        raise ValueError(f"{self.title} has no first layers to freeze: set frozen_stride=1")

    # ---- What it answers -------------------------------------------------------------------------

    def full_scores(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W), preprocessed → scores (N, ΣC, H, W), at the size of the images.

        As here, `training_scores` where `placement` says that they lie, bilinear between them.
        """
        scores, (factor, offset, border) = self.training_scores(images), self.placement()
        size = (images.shape[-2], images.shape[-1])
        return scores if factor == 1 else upsample(scores, factor, size, offset, border=border)

    def forward(self, images: Tensor) -> Tensor | dict[str, Tensor]:
        """Images (N, C, H, W) → scores (N, classes, H, W), or {task: scores} for several tasks.

        Raises:
            ValueError: for what is no batch of preprocessed images.
        """
        if (
            images.dim() != 4
            or not images.is_floating_point()
            or images.shape[1] != self.in_channels
        ):
            raise ValueError(
                f"{self.title}: got {images.dtype} of shape {tuple(images.shape)}, expected what "
                f"`preprocess` makes of uint8 images (N, {self.in_channels}, H, W); `predict` "
                "labels one as it is"
            )
        return self.unnamed(self.split(self.full_scores(images)))

    def split(self, scores: Tensor, dim: int = 1) -> dict[str, Tensor]:
        """Scores of all tasks one after the other along `dim` → {task: its scores}."""
        return dict(zip(self.tasks, scores.split(list(self.tasks.values()), dim), strict=True))

    def unnamed(self, by_task: Mapping[str, Value]) -> Value | dict[str, Value]:
        """What people see of {task: value}: the value alone where `num_classes` is a number."""
        return dict(by_task) if self._several else by_task[ONLY]

    def margin(self) -> int | None:
        """Pixels around a score of the image, at most, that it depends on.

        None: on all of the image, so that it cannot be computed in tiles.
        """
        return None

    def grid(self) -> int:
        """Tiles start on multiples of so many pixels, where every layer finds its windows again."""
        return 1

    def predict(self, inputs: Tensor | Mapping[str, Tensor]) -> Tensor | dict[str, Tensor]:
        """RGB image (3, H, W) uint8 → labels (H, W) int64, at the size of the image.

        A network on other inputs takes the dict of its parts, as items of `NYUDv2` have them; one
        of several tasks gives {task: labels}. Preprocesses as the weights expect; a picture larger
        than `longest_side` is shrunk to it, and each of its pixels has the label of the larger one
        that it lies in.

        Raises:
            RuntimeError: in training mode, where norms and dropout would blur the answer.
            ValueError: for what is not one image and for one where more channels are read, and as
                `transforms.Preprocess`.
        """
        return self.unnamed(self.predict_tasks(inputs))

    @torch.no_grad()
    def predict_tasks(self, inputs: Tensor | Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`predict`, always as {task: labels}."""
        self.check_inputs(inputs, "predict")
        like = next(self.parameters())
        seen = map_sample(lambda part: self.limited(part).to(like.device)[None], inputs)
        batch = self.preprocess(seen).to(like.dtype).contiguous(memory_format=torch.channels_last)
        scores = self.full_scores(batch)
        found = {task: mine[0].argmax(0) for task, mine in self.split(scores).items()}
        return {task: restored(labels, size_of(inputs)) for task, labels in found.items()}

    def limited(self, image: Tensor) -> Tensor:
        """A picture (…, H, W) as the network wants it: no longer than `longest_side`."""
        return shrunk(image, self.longest_side) if self.longest_side else image

    def check_inputs(self, inputs: Tensor | Mapping[str, Tensor], who: str) -> None:
        """Check that a network in this state can answer for `inputs`.

        `who` is the caller, for the messages.

        Raises:
            RuntimeError: in training mode.
            ValueError: for what is not one image, and for one where more channels are read.
        """
        if self.training:
            raise RuntimeError(f"{who}: the network is in training mode; call .eval() first")
        if isinstance(inputs, Tensor) and inputs.ndim != 3:
            raise ValueError(
                f"{who}: expected one image (3, H, W), got a tensor of shape {tuple(inputs.shape)}"
            )
        made = sum(len(part.mean) for part in self.preprocess.parts)
        if isinstance(inputs, Tensor) and (len(self.inputs) > 1 or self.in_channels != made):
            raise ValueError(
                f"{who}: got one image, this network reads {self.in_channels} channels: give a "
                "dict of its parts"
            )


def named(value: Value | Mapping[str, Value]) -> dict[str, Value]:
    """{task: value}, from such a mapping or from the value of the one task `ONLY`."""
    return dict(value) if isinstance(value, Mapping) else {ONLY: value}


def restored(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Labels (h, w) of a shrunk picture at its own (H, W), each that of the pixel it lies in."""
    if labels.shape == size:
        return labels
    pairs = zip(size, labels.shape, strict=True)
    rows, columns = (holding_pixel(want, have).to(labels.device) for want, have in pairs)
    return labels[rows[:, None], columns]


def size_of(inputs: Tensor | Mapping[str, Tensor]) -> tuple[int, int]:
    """(H, W) of an image, or of the parts of an item."""
    tensor = inputs if isinstance(inputs, Tensor) else next(iter(inputs.values()))
    return tensor.shape[-2], tensor.shape[-1]


def score_layer(channels: int, num_classes: int) -> nn.Conv2d:
    """A 1×1 convolution to scores, which starts at zero."""
    layer = nn.Conv2d(channels, num_classes, 1)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(cast(Tensor, layer.bias))
    return layer


# ---- Descriptions --------------------------------------------------------------------------------


def describe(network: Network) -> dict[str, Any]:
    """The kind and the config of a network, fit for JSON: what `from_description` builds again.

    Raises:
        ValueError: for a class that is not in `NETWORKS`.
    """
    for kind, known in NETWORKS.items():
        if type(network) is known:
            return {"network": kind, **dataclasses.asdict(network.config)}
    raise ValueError(
        f"{type(network).__name__} cannot be described: add it to models.network.NETWORKS"
    )


def from_description(
    description: Mapping[str, Any],
    weights: Path | str | None = None,
    backbone: nn.Module | None = None,
) -> Network:
    """The inverse of `describe`; see `Network.from_config` for the rest.

    Raises:
        ValueError: for an unknown kind.
        TypeError: for settings that it does not have.
    """
    rest = dict(description)
    kind = rest.pop("network")
    if kind not in NETWORKS:
        raise ValueError(f"network={kind!r} is not known{did_you_mean(kind, NETWORKS)}")
    return NETWORKS[kind].from_config(NETWORKS[kind].Config(**rest), weights, backbone)
