"""All that changes while a run goes on, and how it is kept on disk between two processes."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from fcn_tutorial.datasets.fingerprint import fingerprint
from fcn_tutorial.datasets.loading import InMemory
from fcn_tutorial.models import Network
from fcn_tutorial.models.network import describe, named
from fcn_tutorial.training import distributed
from fcn_tutorial.training.recipes import settings
from fcn_tutorial.training.recipes.recipe import Recipe
from fcn_tutorial.training.run import RunFolder


@dataclasses.dataclass
class Progress:
    """How far a run is: what `last.pt` keeps beside the tensors.

    Raises:
        TypeError, ValueError: for values that no run has, as an edited file may hold.
    """

    step: int = 0
    seconds: float = 0.0  # spent training, validation left out
    waited: float = 0.0  # of these, for data
    best: float = -1.0  # validation mean IU of the weights in best.safetensors
    losses: list[float] = dataclasses.field(default_factory=list)  # of this epoch
    rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)  # of log.csv
    notes: list[str] = dataclasses.field(default_factory=list)  # what the record says of the run
    changes: list[dict[str, Any]] = dataclasses.field(default_factory=list)  # settings, later on
    validated: int = 0  # the step after which the network was last scored on val

    def __post_init__(self) -> None:
        members = {"losses": int | float, "rows": dict, "notes": str, "changes": dict}
        for field in dataclasses.fields(self):
            value, kind = getattr(self, field.name), field.type
            if field.name in members:
                right = isinstance(value, list) and all(
                    isinstance(one, members[field.name]) for one in value
                )
            else:
                right = isinstance(value, int if kind == "int" else int | float)
            if not right or isinstance(value, bool):
                raise TypeError(f"progress.{field.name} is {value!r}")
        if not 0 <= self.validated <= self.step:
            raise ValueError(f"progress: validated at step {self.validated} of {self.step}")


@dataclasses.dataclass
class Run:
    """A run between two steps, and what it is run with."""

    recipe: Recipe
    seed: int
    folder: RunFolder
    device: torch.device
    splits: Mapping[str, Any]  # the data sets by the recipe's names: train, val, test
    network: Network
    learned: nn.Module  # images → training scores: the network, shared and compiled as asked
    shared: DistributedDataParallel | None  # what in `learned` exchanges gradients
    average: Network  # the weights that are scored; `network` itself if nothing is averaged
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler  # of losses in float16; passes others through
    class_weights: dict[str, Tensor]
    precision: torch.dtype
    origin: Mapping[str, Any]  # what the weights of the first step are, for the record
    made_with: Mapping[str, Any]  # code, libraries and machine, likewise
    progress: Progress = dataclasses.field(default_factory=Progress)
    saved: int = 0  # the step of the checkpoint on disk
    _pending: list[Tensor] = dataclasses.field(default_factory=list)  # losses on the device
    _buffers: list[Tensor] | None = None  # as they were before the step at hand
    _since: float | None = None  # when the clock of training was started; None: it stands

    @property
    def seconds(self) -> float:
        """Spent training so far, pauses left out."""
        running = 0.0 if self._since is None else time.perf_counter() - self._since
        return self.progress.seconds + running

    def go(self) -> None:
        """From now on, time counts as training."""
        self._since = time.perf_counter()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Within, it does not."""
        self.progress.seconds, ran = self.seconds, self._since is not None
        self._since = None
        try:
            yield
        finally:
            if ran:
                self.go()

    # ---- Losses --------------------------------------------------------------------------------

    @property
    def pending(self) -> int:
        """How many losses wait to be fetched."""
        return len(self._pending)

    def note(self, loss: Tensor) -> None:
        """Keep the loss of a step that is done."""
        self._pending.append(loss)
        self.progress.step += 1

    def fetch(self) -> None:
        """Take the losses of the latest steps from the device.

        Raises:
            ValueError: where one is no longer a number.
        """
        if not self._pending:
            return
        values = torch.stack(self._pending).tolist()
        self._pending.clear()
        for back, value in zip(range(len(values), 0, -1), values, strict=True):
            if not math.isfinite(value):
                raise self._diverged(f"the loss became {value} at step {self.progress.step - back}")
        self.progress.losses += values

    def _diverged(self, what: str) -> ValueError:
        spec = self.recipe.optimiser
        where = f"step {self.saved}, {self.folder.last}"
        back = f"; --resume with it goes on from {where}" if self.saved else ""
        return ValueError(
            f"{what}: lower optimiser.lr (now {spec.lr}) or set optimiser.clip (now {spec.clip})"
            f"{back}"
        )

    def check_weights(self) -> None:
        """Check that the weights, and what is kept beside them, are numbers.

        Raises:
            ValueError: where one no longer is.
        """
        for network in (self.network, self.average):
            parts = [t for t in network.state_dict().values() if t.is_floating_point()]
            if not bool(torch.stack([t.isfinite().all() for t in parts]).all()):
                raise self._diverged(f"weights are no longer finite at step {self.progress.step}")

    @contextmanager
    def kept_whole(self) -> Iterator[None]:
        """Within, the part of a step that moves no weight; where it fails, all is as before it.

        The state is then saved, unless other processes share it, which cannot be asked any more.
        """
        random, buffers = random_state(self.device), list(self.network.buffers())
        if self._buffers is None:
            self._buffers = [buffer.clone() for buffer in buffers]
        if buffers:  # statistics of batch norms
            torch._foreach_copy_(self._buffers, buffers)
        try:
            yield
        except BaseException as error:
            if distributed.world_size() == 1 and self.progress.step > self.saved:
                if buffers:
                    torch._foreach_copy_(buffers, self._buffers)
                set_random_state(random, self.device)
                self.save()
                error.add_note(f"the state after step {self.saved} is saved: --resume goes on")
            raise

    # ---- On disk -------------------------------------------------------------------------------

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What a run must share with the checkpoint it goes on from."""
        return {
            "recipe": settings.as_dict(self.recipe),
            "seed": self.seed,
            "classes": _plain(named(self.splits["train"].classes)),
            "number of processes": distributed.world_size(),
            "data": {
                name: fingerprint(opened, isinstance(opened, InMemory))
                for name, opened in self.splits.items()
            },
        }

    def save(self) -> None:
        """Write all that decides the rest of the run; called by every process.

        The order of the images and their augmentation follow from (seed, epoch, index) alone, so
        the step says where the data stand.

        Raises:
            ValueError: where the loss or the weights are no longer numbers; what is there is kept.
        """
        self.fetch()
        self.check_weights()
        averaged = self.average is not self.network
        random = distributed.gathered(random_state(self.device))
        with self.paused():
            if distributed.rank() == 0:
                self.folder.write_state(
                    {
                        **self.identity,
                        "weights": self.origin,
                        "network": describe(self.network),
                        "progress": dataclasses.asdict(self.progress),
                        "model": self.network.state_dict(),
                        "average": self.average.state_dict() if averaged else {},
                        "optimiser": self.optimiser.state_dict(),
                        "scaler": self.scaler.state_dict(),
                        "random": random,
                    }
                )
        self.saved = self.progress.step

    def restore(
        self,
        stored: Mapping[str, Any],
        named_settings: Collection[str] = (),
        other_data: bool = False,
        damage: str = "",
    ) -> None:
        """The inverse of `save`.

        Args:
            stored: the state of a checkpoint.
            named_settings: those that may be other than before, if they are among `settings.LATER`.
            other_data: the data may be other than before.
            damage: what is wrong with a newer checkpoint, for the record.

        Raises:
            ValueError: naming what differs (settings, seed, classes, data, number of processes),
                and where the state is not one.
        """
        last = self.folder.last
        try:
            self.progress = Progress(**stored["progress"])
            changes = self._changes(stored, named_settings, other_data)
            self.network.load_state_dict(stored["model"])
            if self.average is not self.network:
                self.average.load_state_dict(stored["average"])
            self._restore_optimiser(stored["optimiser"])
            self.scaler.load_state_dict(stored["scaler"])
            set_random_state(stored["random"][distributed.rank()], self.device)
        except Refused:
            raise
        except (LookupError, TypeError, RuntimeError, ValueError, AttributeError) as error:
            raise ValueError(f"{last}: damaged or not a checkpoint ({error})") from error
        self.progress.changes += changes
        if damage:
            self.progress.notes.append(f"went on from step {self.progress.step}: {damage}")
        self.saved = self.progress.step

    def _restore_optimiser(self, stored: Mapping[str, Any]) -> None:
        """Give the optimiser the state of a checkpoint.

        Raises:
            ValueError: where a setting or a state is of another kind than this optimiser's.
        """
        before = [dict(group) for group in self.optimiser.param_groups]
        self.optimiser.load_state_dict(dict(stored))
        for old, new in zip(before, self.optimiser.param_groups, strict=True):
            for name in old.keys() | new.keys():
                if name != "params" and _kind(old.get(name)) != _kind(new.get(name)):
                    raise ValueError(f"the optimiser's {name} is {new.get(name)!r}")
        kept = {frozenset(state) for state in self.optimiser.state.values() if state}
        if len(kept) > 1:
            raise ValueError("the optimiser's state differs from weight to weight")
        for weight, state in self.optimiser.state.items():
            for name, value in state.items():  # what it gathered of a weight, or how many steps
                if name == "momentum_buffer" and value is None:  # of SGD: nothing yet
                    continue
                if not isinstance(value, Tensor) or value.shape not in (weight.shape, ()):
                    found = tuple(value.shape) if isinstance(value, Tensor) else value
                    raise ValueError(f"the optimiser's {name} of a weight is {found!r:.99}")

    def _changes(
        self, stored: Mapping[str, Any], named_settings: Collection[str], other_data: bool
    ) -> list[dict[str, Any]]:
        """What is other than in a checkpoint, and may be. What it does not state is passed over."""
        last, step, found = self.folder.last, self.progress.step, []
        then, now = stored["recipe"], self.identity["recipe"]
        for name in settings.changed(then, self.recipe):
            before, after = settings.lookup(then, name), settings.lookup(now, name)
            if name not in settings.LATER or name not in named_settings:
                said = f", or say --set {name}={after}" if name in settings.LATER else ""
                raise Refused(
                    f"{last}: was made with another recipe, {name}={before} instead of {after}; "
                    f"resume with the same{said}"
                )
            found.append({"step": step, "setting": name, "from": before, "to": after})
        for what in ("seed", "classes", "number of processes"):
            before = named(stored[what]) if what == "classes" else stored[what]
            if before != self.identity[what]:
                kind = "other" if what == "classes" else "another"
                raise Refused(f"{last}: was made with {kind} {what}; resume with the same")
        digests = stored.get("data", {})
        other = [
            name for name, digest in digests.items() if self.identity["data"].get(name) != digest
        ]
        if other and not other_data:
            raise Refused(
                f"{last}: was made with other data ({', '.join(other)}); resume with the same, or "
                "add --other-data to go on with these"
            )
        if other:
            found.append(
                {"step": step, "setting": "data", "from": digests, "to": self.identity["data"]}
            )
        return found


class Refused(ValueError):
    """A checkpoint is of another run."""


def random_state(device: torch.device) -> dict[str, Tensor]:
    """The state of this process's random numbers: torch's on the CPU, and the device's."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: dict[str, Tensor], device: torch.device) -> None:
    """The inverse of `random_state`; a device the state does not know keeps its own."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value


def _kind(value: Any) -> Any:
    """What settings of an optimiser have in common: numbers, and tuples of as many of them."""
    if isinstance(value, tuple | list):
        return [_kind(one) for one in value]
    if value is None or isinstance(value, bool):
        return "a switch"
    return "a number" if isinstance(value, int | float | Tensor) else type(value)
