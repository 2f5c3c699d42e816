"""All that changes while a run goes on, and how it is kept on disk between two processes."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor, nn

from fcn_tutorial.models import Network
from fcn_tutorial.training import distributed, settings
from fcn_tutorial.training.recipe import Recipe
from fcn_tutorial.training.run import RunFolder


@dataclasses.dataclass
class Progress:
    """How far a run is: what `last.pt` keeps beside the tensors."""

    step: int = 0
    seconds: float = 0.0  # spent training, validation left out
    waited: float = 0.0  # of these, for data
    best: float = -1.0  # validation mean IU of the weights in best.safetensors
    losses: list[float] = dataclasses.field(default_factory=list)  # of this epoch
    rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)  # of log.csv
    notes: list[str] = dataclasses.field(default_factory=list)  # what the record says of the run


@dataclasses.dataclass
class Session:
    """A run between two steps, and what it is run with."""

    recipe: Recipe
    seed: int
    folder: RunFolder
    device: torch.device
    classes: Any  # names, or {task: names}
    model: Network
    scores: nn.Module  # images → `model.training_scores`, as compiled and shared among processes
    average: Network  # the weights that are scored; `model` itself if nothing is averaged
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler  # of losses in float16; passes others through
    class_weights: dict[str, Tensor]
    precision: torch.dtype
    progress: Progress = dataclasses.field(default_factory=Progress)
    pending: list[Tensor] = dataclasses.field(default_factory=list)  # losses not yet fetched

    def _identity(self) -> dict[str, Any]:
        """What a run must share with the checkpoint it goes on from."""
        return {
            "recipe": settings.as_dict(self.recipe),
            "seed": self.seed,
            "classes": self.classes if isinstance(self.classes, dict) else list(self.classes),
            "number of processes": distributed.world_size(),
        }

    def save(self) -> None:
        """Write all that decides the rest of the run; called by every process.

        The order of the images and their augmentation follow from (seed, epoch, index) alone, so
        the step says where the data stand.
        """
        averaged = self.average is not self.model
        random = distributed.gathered(random_state(self.device))
        if distributed.rank() == 0:
            self.folder.write_state(
                {
                    **_plain(self._identity()),
                    "progress": dataclasses.asdict(self.progress),
                    "model": self.model.state_dict(),
                    "average": self.average.state_dict() if averaged else {},
                    "optimiser": self.optimiser.state_dict(),
                    "scaler": self.scaler.state_dict(),
                    "random": random,
                }
            )

    def restore(self) -> None:
        """The inverse of `save`.

        Raises ValueError naming what differs (recipe, seed, classes, number of processes), and as
        `RunFolder.read_state`.
        """
        stored = self.folder.read_state()
        last = self.folder.last
        for what, ours in _plain(self._identity()).items():
            if stored.get(what) != ours:
                raise ValueError(f"{last}: was made with another {what}; resume with the same")
        try:
            for name, value in stored["progress"].items():
                setattr(self.progress, name, value)
            self.model.load_state_dict(stored["model"])
            if self.average is not self.model:
                self.average.load_state_dict(stored["average"])
            self.optimiser.load_state_dict(stored["optimiser"])
            self.scaler.load_state_dict(stored["scaler"])
            set_random_state(stored["random"][distributed.rank()], self.device)
        except (LookupError, TypeError, RuntimeError, ValueError, AttributeError) as error:
            raise ValueError(f"{last}: damaged or not a checkpoint ({error})") from error


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
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value
