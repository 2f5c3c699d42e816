"""Trunks with taps: features at strides 8, 16 and 32, and where each of them lies on the image.

`make` cuts one of the trunks of `trunks.PLANS` into three consecutive stages. Cutting changes no
value: the stages run one after the other are the trunk. `tap` does the same for a module of one's
own. Either way the geometry of each tap is traced from the layers themselves.
"""

from __future__ import annotations

import copy
import zipfile
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, cast

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from fcn_tutorial import geometry, surgery
from fcn_tutorial.files import Bounded, check_stored, did_you_mean
from fcn_tutorial.models import trunks
from fcn_tutorial.models.trunks import Alignment
from fcn_tutorial.surgery.layout import CHANNELS_LAST, MAP
from fcn_tutorial.surgery.tracing import Survey, UnfitSizeError, survey_taps
from fcn_tutorial.vision import feature_extraction

Norms = Literal["batch", "folded"]
STRIDES = (8, 16, 32)

_UNREAD = "num_batches_tracked"  # of a norm, last part of the name
#: Side of the image on which a trunk is traced: large enough for every layer to have work.
TRACED_SIZE = 512


class Backbone(nn.Module):
    """Features of an image at the strides of its taps, by stride.

    Args:
        name: of the trunk, as `make` knows it, or of the class of a module of one's own.
        preprocessing: what the weights expect (`transforms.Preprocess`).

    `make` and `tap` give one::

        >>> trunk = make("tiny")
        >>> trunk.channels, {s: tuple(f.shape) for s, f in trunk(torch.zeros(1, 3, 64, 96)).items()}
        ({8: 64, 16: 96, 32: 128}, {8: (1, 64, 8, 12), 16: (1, 96, 4, 6), 32: (1, 128, 2, 3)})
    """

    def __init__(self, name: str, preprocessing: str) -> None:
        super().__init__()
        self.name, self.preprocessing = name, preprocessing
        self.channels: dict[int, int] = {}
        #: Whether a feature depends on all of the image: squeeze-and-excite blocks multiply by
        #: averages over it, attention sums over it. Parts of an image then have other features.
        self.sees_all = False
        self._found: dict[int, Survey] = {}
        self._maps: dict[int, tuple[Fraction, Fraction]] = {}

    def _measure(self, trunk: nn.Module) -> None:
        """Find out what the taps of `trunk` are, a module that returns them by stride.

        Raises:
            ValueError: where one does not lie at its stride, or its layers cannot be traced.
        """
        try:
            taps = survey_taps(trunk, TRACED_SIZE)
        except UnfitSizeError as error:
            raise ValueError(
                f"{self.name} must take images of every size to be a trunk: {error}"
            ) from error
        for stride, found in ((int(key), found) for key, found in taps.items()):
            place = geometry.coordinate_map(found.layers)
            if place[0] != stride:
                raise ValueError(f"taps: the one at {stride} lies at stride {place[0]}")
            if len(found.shape) != 4 or found.axes not in (MAP, CHANNELS_LAST):
                raise ValueError(
                    f"taps: the one at {stride} is neither (N, C, H, W) nor (N, H, W, C)"
                )
            self._found[stride], self._maps[stride] = found, place
            self.channels[stride] = found.shape[1 if found.axes == MAP else 3]
            self.sees_all |= found.gated or found.attends

    def forward(self, images: Tensor) -> dict[int, Tensor]:
        """Images (N, 3, H, W) → features by stride, (N, channels[s], ~H/s, ~W/s)."""
        raise NotImplementedError

    def layers(self, stride: int) -> list[geometry.Layer]:
        """The widest path from the image to the tap at `stride`, as `surgery.trace` reads it.

        Raises:
            ValueError: for a tap behind attention, which is no list of layers.
        """
        if self._found[stride].attends:
            raise ValueError(f"{self.name} uses attention: its tap at {stride} has no field")
        return list(self._found[stride].layers)

    def coordinate_map(self, stride: int) -> tuple[Fraction, Fraction]:
        """(scale, offset): feature i of the tap at `stride` sits at pixel scale·i + offset."""
        return self._maps[stride]


class Staged(Backbone):
    """A trunk cut into three stages that run one after the other.

    Args:
        name: as in `Backbone`.
        stages: they end at strides 8, 16 and 32.
        preprocessing: as in `Backbone`.

    ::

        >>> trunk = make("tiny")
        >>> isinstance(trunk, Staged), trunk.stage8(torch.zeros(1, 3, 64, 96)).shape
        (True, torch.Size([1, 64, 8, 12]))
    """

    def __init__(self, name: str, stages: trunks.Stages, preprocessing: str) -> None:
        super().__init__(name, preprocessing)
        self.stage8, self.stage16, self.stage32 = stages
        self._measure(self)

    def forward(self, images: Tensor) -> dict[int, Tensor]:
        """See `Backbone`."""
        pool3 = self.stage8(images)
        pool4 = self.stage16(pool3)
        return {8: pool3, 16: pool4, 32: self.stage32(pool4)}


class Tapped(Backbone):
    """A module of one's own, read at the nodes that `taps` names.

    Args:
        module: its weights are shared, not copied.
        taps: as in `tap`, checked there.
        preprocessing: as in `Backbone`.

    ::

        >>> layers = [nn.Conv2d(3, 3, 3, stride=2, padding=1) for _ in range(5)]
        >>> trunk = Tapped(nn.Sequential(*layers), {16: "3", 32: "4"}, "imagenet")
        >>> trunk.name, trunk.channels
        ('Sequential', {16: 3, 32: 3})
    """

    def __init__(self, module: nn.Module, taps: Mapping[int, str], preprocessing: str) -> None:
        super().__init__(type(module).__qualname__, preprocessing)
        self.extractor = _extract(module, {name: str(stride) for stride, name in taps.items()})
        self._measure(self.extractor)

    def forward(self, images: Tensor) -> dict[int, Tensor]:
        """See `Backbone`."""
        taps = {int(stride): tap for stride, tap in self.extractor(images).items()}
        turned = [s for s, found in self._found.items() if found.axes == CHANNELS_LAST]
        return taps | {stride: taps[stride].permute(0, 3, 1, 2) for stride in turned}


def names() -> tuple[str, ...]:
    """The trunks `make` knows.

    Returns:
        Their names, the package's own first.

    ::

        >>> names()[:4]
        ('tiny', 'alexnet', 'caffenet', 'vgg16')
    """
    return tuple(trunks.PLANS)


def make(
    name: str,
    *,
    width: float = 1.0,
    alignment: Alignment = "same",
    norms: Norms = "batch",
    extra_channels: int = 0,
    weights: Path | str | None = None,
) -> Staged:
    """A trunk by name, cut at strides 8, 16 and 32.

    Args:
        name: one of `names()`.
        width: multiplies every channel count; below 1 only for trying things out.
        alignment: "same", or "caffe" for the trunks the reference published (and torchvision's
            AlexNet in their manner).
        norms: "batch" keeps batch normalisation; "folded" merges its stored statistics into the
            convolutions, for trunks whose norms would stay frozen (fewer passes over memory).
        extra_channels: input channels beside RGB, read by filters that start as the mean of the
            RGB filters (early fusion).
        weights: a safetensors file in torchvision's key names; the classifier may be absent.

    Returns:
        A `Backbone` in training mode, as modules are made.

    Raises:
        ValueError: unknown name, an alignment the trunk does not have, or weights that do not fit.

    Feature i at stride 8 lies between pixels 8i + 3 and 8i + 4::

        >>> trunk = make("tiny", width=1 / 16)
        >>> scale, offset = trunk.coordinate_map(8)
        >>> print(f"{scale}·i + {offset}")
        8·i + 7/2
    """
    if name not in trunks.PLANS:
        raise ValueError(f"backbone={name!r} is not known{did_you_mean(name, names())}")
    plan = trunks.PLANS[name]
    if alignment not in plan.alignments:
        raise ValueError(
            f"alignment={alignment!r} is not offered for backbone={name!r}; "
            f"choose one of {', '.join(plan.alignments)}"
        )
    if norms not in ("batch", "folded"):
        raise ValueError(f"norms={norms!r} is not known; choose 'batch' or 'folded'")
    if extra_channels < 0:
        raise ValueError(f"extra_channels={extra_channels} cannot be negative")
    trunk = trunks.build(plan, width, alignment)
    if weights is not None:
        load_trunk(trunk, weights)
    if norms == "folded":
        trunk = cast(nn.Sequential, surgery.fold_norms(trunk))
    if extra_channels:
        surgery.widen_input(trunk, extra_channels)
    return Staged(name, plan.cut(trunk), plan.preprocessing)


def tap(
    module: nn.Module, taps: Mapping[int, str] | None = None, preprocessing: str = "imagenet"
) -> Backbone:
    """A backbone from any module that torch.fx can follow, read where `taps` says.

    Args:
        module: its weights are shared, not copied; a `Backbone` comes back as it is.
        taps: {stride: name}, strides among 8, 16 and 32 (32 at least), names as torchvision's
            `get_graph_node_names` gives them: a submodule such as "layer3", or a node inside one.
            By default the module's attribute `taps`. Maps with the channels last are turned.
        preprocessing: what the module's weights expect (see `transforms.Preprocess`).

    Returns:
        A `Backbone` with the strides of `taps`.

    Raises:
        ValueError: for a name that is not in the module or lies at another stride, and for a path
            that cannot be traced.

    ::

        >>> layers = [nn.Conv2d(3, 3, 3, stride=2, padding=1) for _ in range(5)]
        >>> trunk = tap(nn.Sequential(*layers), {8: "2", 32: "4"})
        >>> {stride: tuple(f.shape) for stride, f in trunk(torch.zeros(1, 3, 64, 96)).items()}
        {8: (1, 3, 8, 12), 32: (1, 3, 2, 3)}
    """
    if isinstance(module, Backbone):
        return module
    taps = getattr(module, "taps", None) if taps is None else taps
    if taps is None:
        raise ValueError(
            f"{type(module).__name__} names no taps: use backbones.tap(module, "
            '{8: "…", 16: "…", 32: "…"}), or give it an attribute `taps`'
        )
    if 32 not in taps or not set(taps) <= set(STRIDES):
        raise ValueError(f"taps={dict(taps)}: give names for strides among 8, 16 and 32, 32 always")
    if len({*taps.values()}) < len(taps):
        raise ValueError(f"taps={dict(taps)}: one name at two strides; a tap lies at one of them")
    return Tapped(module, taps, preprocessing)


def parameters_within(trunk: nn.Module, stride: int) -> Iterator[nn.Parameter]:
    """The parameters of a trunk's first layers.

    Args:
        trunk: what `surgery.parameter_strides` can follow.
        stride: of the maps that the last of these layers make, in pixels.

    Yields:
        Those whose layers work at `stride` or finer.

    Of five halvings two make a map of stride 4 or finer::

        >>> layers = [nn.Conv2d(3, 3, 3, stride=2, padding=1, bias=False) for _ in range(5)]
        >>> len(list(parameters_within(nn.Sequential(*layers), stride=4)))
        2
    """
    for name, reached in surgery.parameter_strides(trunk, TRACED_SIZE).items():
        if reached <= stride:
            yield trunk.get_parameter(name)


class _Extractor(feature_extraction.DualGraphModule):  # type: ignore[misc]  # untyped
    """torchvision's; a copy is in its mode. Version 0.19 makes none, later ones set it to train."""

    def __deepcopy__(self, memo: dict[int, Any]) -> _Extractor:
        parts = nn.Module()
        parts.__dict__.update(copy.deepcopy(self.__dict__, memo))
        copied = _Extractor(parts, parts.train_graph, parts.eval_graph)
        memo[id(self)] = copied
        copied.train(self.training)
        for name, module in self.named_modules():
            copied.get_submodule(name).training = module.training
        return copied


def _extract(module: nn.Module, nodes: Mapping[str, str]) -> _Extractor:
    try:
        made = feature_extraction.create_feature_extractor(module, dict(nodes))
    except Exception as error:  # torch.fx raises all sorts
        raise ValueError(
            f"taps: cannot read {', '.join(nodes)} in {type(module).__name__} ({error})"
        ) from error
    extractor = _Extractor(made, made.train_graph, made.eval_graph)
    extractor.train(made.training)
    return extractor


def load_trunk(trunk: nn.Module, path: Path | str) -> None:
    """Fill a trunk from a file of weights in torchvision's key names.

    A fully connected weight (out, c·k·k) fills the (out, c, k, k) convolution it is equal to.
    Tensors of the file that the trunk has no place for (the scorer) are left aside.

    Args:
        trunk: is filled in place, in its own dtype.
        path: of a safetensors or .pth file.

    Raises:
        ValueError: the file is not readable as safetensors, lacks a tensor, or one does not fit.

    ::

        >>> import tempfile
        >>> trunk = nn.Sequential(nn.Conv2d(1, 1, 2, bias=False))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torch.save({"0.weight": torch.ones(1, 4)}, f"{folder}/linear.pth")
        ...     load_trunk(trunk, f"{folder}/linear.pth")
        >>> trunk[0].weight.tolist()
        [[[[1.0, 1.0], [1.0, 1.0]]]]
    """
    stored = read_tensors(path)
    own = trunk.state_dict()
    # Files from before 2018 do not count the batches of a norm, which nothing here reads.
    own = {key: value for key, value in own.items() if not key.endswith(_UNREAD)}
    missing = [key for key in own if key not in stored]
    if missing:
        fitting = _fitting(stored)
        hint = f"these are weights of {fitting}" if fitting else "it must hold torchvision's names"
        raise ValueError(
            f"weights={str(path)!r} lacks {len(missing)} of {len(own)} tensors of this trunk, "
            f"the first being {missing[0]!r}; {hint}"
        )
    for key, value in own.items():
        if stored[key].numel() != value.numel():
            raise ValueError(
                f"weights={str(path)!r}: {key!r} has shape {tuple(stored[key].shape)}, "
                f"the trunk needs {tuple(value.shape)}"
            )
        # In the trunk's own format: a double may lie beyond what a float holds.
        given = stored[key].to(value.dtype)
        if not given.isfinite().all():
            raise ValueError(
                f"weights={str(path)!r}: {key!r} holds values that are no numbers; torchvision's "
                "IMAGENET1K_FEATURES, for one, has a trunk without its classifier"
            )
        own[key] = given.reshape(value.shape)
    trunk.load_state_dict(own, strict=False)


def _fitting(stored: Mapping[str, Tensor]) -> str:
    """The trunk whose tensors these are, "" for none."""
    sizes = {key: tensor.numel() for key, tensor in stored.items()}
    for name, plan in trunks.PLANS.items():
        with torch.device("meta"):
            own = plan.build().state_dict()
        if all(sizes.get(k) == v.numel() for k, v in own.items() if not k.endswith(_UNREAD)):
            return name
    return ""


def read_tensors(path: Path | str) -> dict[str, Tensor]:
    """The tensors of a file of weights; no code of it is run.

    Args:
        path: of a PyTorch file (.pth, .pt), or of a safetensors one, whatever its suffix.

    Returns:
        Tensors by name, on the CPU.

    Raises:
        ValueError: naming a file that is neither.

    ::

        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     torch.save({"scale": torch.tensor([1.0, 2.0])}, f"{folder}/own.pth")
        ...     read_tensors(f"{folder}/own.pth")
        {'scale': tensor([1., 2.])}
    """
    path = Path(path)
    try:
        if path.suffix not in (".pth", ".pt"):
            return load_file(path)
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                check_stored(archive, path.stat().st_size)
        with Bounded(path) as file:
            stored: dict[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)
        if isinstance(stored, dict) and all(map(_is_plain, stored.values())):
            return stored
    except Exception as error:  # the unpickler raises many kinds
        kind = "PyTorch" if path.suffix in (".pth", ".pt") else "safetensors"
        raise ValueError(f"weights={str(path)!r}: not a readable {kind} file ({error})") from error
    raise ValueError(f"weights={str(path)!r}: not a table of plain tensors by name")


def _is_plain(tensor: Any) -> bool:
    """Whether it holds numbers one after the other: not sparse, nested, quantized or nothing."""
    return (
        isinstance(tensor, Tensor)
        and tensor.layout == torch.strided
        and not tensor.is_nested
        and tensor.device.type == "cpu"
        and not tensor.is_quantized
        and not tensor.is_complex()
    )
