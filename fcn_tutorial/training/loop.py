"""The training loop, read top to bottom: data, network, steps, validation, record."""

from __future__ import annotations

import copy
import dataclasses
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from fcn_tutorial import losses, models, visualize
from fcn_tutorial.models import FCN
from fcn_tutorial.training import data as training_data
from fcn_tutorial.training import optimisation, own_folder, recipes
from fcn_tutorial.training.evaluation import evaluate
from fcn_tutorial.training.recipes import Recipe
from fcn_tutorial.training.run import SCHEMA, RunFolder, describe, provenance
from fcn_tutorial.transforms import augmentation

#: Images on the sheet of samples that each validation redraws.
SAMPLES = 4
#: Steps the loss on the progress bar is averaged over.
SHOWN_LOSSES = 50


class Interrupted(Exception):
    """Somebody asked the run to stop; its state is saved, and `resume` goes on from there."""


@dataclasses.dataclass
class Progress:
    """How far a run is: what `last.pt` keeps beside the tensors."""

    step: int = 0
    seconds: float = 0.0  # spent training, validation left out
    best: float = -1.0  # validation mean IU of the weights in best.safetensors
    losses: list[float] = dataclasses.field(default_factory=list)  # of this epoch
    rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)  # of log.csv


@dataclasses.dataclass
class Session:
    """All that changes while a run goes on, and what it is run with."""

    recipe: Recipe
    seed: int
    folder: RunFolder
    model: FCN
    average: FCN  # the weights that are scored; `model` itself where nothing is averaged
    optimiser: torch.optim.Optimizer
    class_weights: Tensor
    precision: torch.dtype
    progress: Progress = dataclasses.field(default_factory=Progress)


def train(
    recipe: Recipe,
    out: Path,
    *,
    data: Path | None = None,
    weights: Path | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    overrides: dict[str, Any] | None = None,
    resume: bool = False,
) -> dict[str, Any]:
    """Run a recipe and return its record; the run folder `out` holds all it leaves behind.

    Args:
        recipe: what to run.
        out: the run folder, made if needed.
        data: folder of the data set (or of data sets, as FCN_DATA); not needed for scenes.
        weights: safetensors file with the trunk's pretrained weights.
        seed: of the initial weights, the order of the images and their augmentation.
        device: "cpu", "cuda", …
        overrides: what was changed from the registered recipe, for the record.
        resume: go on from `last.pt` of the same recipe and seed.

    Raises FileNotFoundError or ValueError naming the file or argument at fault, and Interrupted
    after SIGINT or SIGTERM, once the step is finished and the state is saved.
    """
    device = torch.device(device)
    folder = RunFolder(out)
    folder.create()
    if not resume and folder.last.exists():
        raise ValueError(f"--out {out}: holds a run already; add --resume or name another folder")
    spec = recipe.data
    opened = {s: training_data.open_split(recipe, s, data) for s in own_folder.splits(spec)}
    train_set, val_set, test_set = opened["train"], opened["val"], opened.get("test")
    notes = own_folder.notes(spec, opened)
    window = own_folder.window(spec, train_set)
    augment = augmentation(window, spec.scale, spec.flip, spec.jitter)
    shown = own_folder.epoch_images(spec, len(train_set))
    sampler = training_data.EpochSampler(shown, recipe.batch, seed)
    augmented = training_data.Augmented(train_set, augment, seed)
    batches = training_data.loader(augmented, sampler, device)
    epoch_steps = len(sampler)
    total = epoch_steps * recipe.epochs

    session = start(recipe, seed, folder, train_set, weights, device)
    progress = session.progress
    if resume:
        restore(session)
    made_with = provenance(device)  # of the code that runs, whatever happens to its files meanwhile
    bar = tqdm(total=total * recipe.batch, unit="img", disable=None)
    with bar, _deferred_signals() as asked_to_stop:
        bar.update(progress.step * recipe.batch)
        while progress.step < total:
            sampler.epoch, sampler.start = divmod(progress.step, epoch_steps)
            session.model.train()
            began = time.perf_counter()
            for images, target in batches:
                share = optimisation.rate(recipe.optimiser, progress.step / total)
                optimisation.set_rates(session.optimiser, share)
                loss = step(session, images.to(device), target.to(device))
                progress.step += 1
                progress.losses.append(loss)
                bar.update(recipe.batch)
                latest = progress.losses[-SHOWN_LOSSES:]
                bar.set_postfix_str(f"loss {sum(latest) / len(latest):.3f}", refresh=False)
                if asked_to_stop():
                    break
            progress.seconds += time.perf_counter() - began
            if progress.step % epoch_steps == 0:
                finish_epoch(session, progress.step // epoch_steps, val_set, bar.write)
            save(session)
            if asked_to_stop() and progress.step < total:
                raise Interrupted(f"stopped at step {progress.step} of {total}; --resume goes on")

    best, _ = models.load(folder.best, device)
    best = best.to(memory_format=torch.channels_last)
    record = {
        "schema": SCHEMA,
        "recipe": recipe.name,
        "overrides": overrides or {},
        "seed": seed,
        **made_with,
        "settings": recipes.as_dict(recipe),
        "train": {
            "images": len(train_set),
            "epochs": recipe.epochs,
            "steps": total,
            "seconds": round(progress.seconds, 1),
            "images_per_second": round(total * recipe.batch / progress.seconds, 2),
            "peak_memory_mb": peak_memory_mb(device),
            "precision": str(session.precision).removeprefix("torch."),
        },
        "val": _scored(best, val_set, "val"),
        "test": None if test_set is None else _scored(best, test_set, "test"),
        "published": [dataclasses.asdict(p) for p in recipe.published],
        **({"notes": notes} if notes else {}),
    }
    folder.write_record(record)
    return record


def start(
    recipe: Recipe,
    seed: int,
    folder: RunFolder,
    train_set: Any,
    weights: Path | None,
    device: torch.device,
) -> Session:
    """A session at step 0: the network, its optimiser, and the weights of its classes."""
    torch.manual_seed(seed)
    spec = recipe.model
    model = FCN(
        spec.backbone,
        len(train_set.classes),
        spec.stride,
        spec.alignment,
        spec.at_once,
        width=spec.width,
        norms=spec.norms,
        dropout=spec.dropout,
        weights=weights,
    )
    model = model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimisation.freeze(model, recipe.frozen_stride)
    return Session(
        recipe,
        seed,
        folder,
        model,
        copy.deepcopy(model) if recipe.ema else model,
        optimisation.make(recipe.optimiser, model),
        class_weights(recipe, train_set).to(device),
        optimisation.choose_precision(recipe.precision, device),
    )


def step(session: Session, images: Tensor, target: Tensor) -> float:
    """One step on a batch: images (N, 3, H, W) uint8, target (N, H, W) uint8; returns the loss.

    Raises ValueError where the loss is no longer a number.
    """
    model, recipe, precision = session.model, session.recipe, session.precision
    batch = model.preprocess(images).contiguous(memory_format=torch.channels_last)
    with torch.autocast(images.device.type, precision, enabled=precision != torch.float32):
        scores = model.fused_scores(batch)
    # The last upsampling and the loss together, and in float32: they sum over a million pixels.
    factor, offset = model.placement(model.stride)
    loss = losses.upsample_cross_entropy(
        scores.float(), target, factor, offset, weight=session.class_weights, border=model.border
    )
    session.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    if recipe.optimiser.clip:
        nn.utils.clip_grad_norm_(model.parameters(), recipe.optimiser.clip)
    session.optimiser.step()
    if recipe.ema:
        # Early on the average follows closely, so that it forgets the untrained weights.
        n = session.progress.step
        optimisation.update_average(session.average, model, min(recipe.ema, (1 + n) / (10 + n)))
    value = float(loss.detach())
    if not math.isfinite(value):
        raise ValueError(
            f"the loss became {value} at step {session.progress.step}: lower optimiser.lr "
            f"(now {recipe.optimiser.lr}) or set optimiser.clip (now {recipe.optimiser.clip})"
        )
    return value


def finish_epoch(session: Session, epoch: int, val_set: Any, say: Callable[[str], None]) -> None:
    """Log the epoch and, where it is due, validate, keep the best weights, redraw the pictures."""
    recipe, progress, folder = session.recipe, session.progress, session.folder
    row: dict[str, Any] = {
        "step": progress.step,
        "epoch": epoch,
        "loss": sum(progress.losses) / len(progress.losses),
        "lr": session.optimiser.param_groups[-1]["lr"],
        "seconds": round(progress.seconds, 1),
        "val_mean_iu": "",
        "val_pixel_accuracy": "",
    }
    progress.losses.clear()
    progress.rows.append(row)
    line = f"epoch {epoch:3d}  {row['seconds']:6.0f} s  loss {row['loss']:.3f}"
    if epoch % recipe.validate_every == 0 or epoch == recipe.epochs:
        scores = evaluate(session.average, val_set, "validating").compute()
        row["val_mean_iu"], row["val_pixel_accuracy"] = scores.mean_iu, scores.pixel_accuracy
        line += (
            f"  val mean IU {100 * scores.mean_iu:.1f}"
            f"  pixel accuracy {100 * scores.pixel_accuracy:.1f}"
        )
        if scores.mean_iu > progress.best:
            progress.best = scores.mean_iu
            details = {
                "recipe": recipes.as_dict(recipe), "seed": session.seed, "step": progress.step
            }  # fmt: skip
            card = models.Card.of(
                val_set.classes, val_set.palette, recipe.name, recipe.data.name, details
            )
            models.save(session.average, card, folder.best)
        visualize.training_curve(progress.rows, folder.curve)
        _draw_samples(session.average, val_set, folder.samples)
    folder.write_log(progress.rows)
    say(line)


def class_weights(recipe: Recipe, train_set: Any) -> Tensor:
    """(C,) float32 weights of the loss by true class, from the pixels of the training labels."""
    if recipe.class_weights == "none":
        return torch.ones(len(train_set.classes))
    counts = torch.zeros(256, dtype=torch.int64)
    for i in range(len(train_set)):
        counts += torch.bincount(train_set[i][1].flatten(), minlength=256)
    return losses.frequency_weights(counts[: len(train_set.classes)], recipe.class_weights)


def save(session: Session) -> None:
    """Write all that decides the rest of the run.

    The order of the images and their augmentation follow from (seed, epoch, index) alone, so the
    step says where the data stand.
    """
    averaged = session.average is not session.model
    session.folder.write_state(
        {
            "recipe": recipes.as_dict(session.recipe),
            "seed": session.seed,
            "progress": dataclasses.asdict(session.progress),
            "model": session.model.state_dict(),
            "average": session.average.state_dict() if averaged else {},
            "optimiser": session.optimiser.state_dict(),
            "rng": torch.get_rng_state(),
        }
    )


def restore(session: Session) -> None:
    """The inverse of `save`. Raises ValueError where recipe or seed are others."""
    stored = session.folder.read_state()
    for what, ours in (("recipe", recipes.as_dict(session.recipe)), ("seed", session.seed)):
        if stored.get(what) != ours:
            raise ValueError(
                f"{session.folder.last}: was made with another {what}; resume with the same"
            )
    for name, value in stored["progress"].items():
        setattr(session.progress, name, value)
    session.model.load_state_dict(stored["model"])
    if session.average is not session.model:
        session.average.load_state_dict(stored["average"])
    session.optimiser.load_state_dict(stored["optimiser"])
    torch.set_rng_state(stored["rng"])


def peak_memory_mb(device: torch.device) -> int:
    """Largest memory so far: the allocator's on CUDA, the process's resident set on a CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device) / 2**20)
    if sys.platform == "win32":
        return 0  # Windows has no getrusage
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak / (2**20 if sys.platform == "darwin" else 2**10))  # bytes there, KiB here


def _scored(model: FCN, dataset: Any, split: str) -> dict[str, Any]:
    confusion = evaluate(model, dataset, f"scoring {split}")
    return describe(confusion.compute(), dataset.classes, split, len(dataset))


def _draw_samples(model: FCN, dataset: Any, path: Path) -> None:
    """A sheet of image, truth, prediction, error for a few images spread over the set."""
    was_training = model.training
    model.eval()
    chosen = [i * len(dataset) // SAMPLES for i in range(min(SAMPLES, len(dataset)))]
    samples = []
    for i in chosen:
        image, target = dataset[i]
        samples.append((image, target, model.predict(image).cpu()))
    model.train(was_training)
    visualize.prediction_sheet(samples, dataset.classes, dataset.palette, path)


@contextmanager
def _deferred_signals() -> Iterator[Callable[[], bool]]:
    """Within: SIGINT and SIGTERM only raise a flag, which the yielded function reads.

    Outside the main thread, where signals cannot be caught, the flag stays down.
    """
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(n, lambda number, frame: received.append(number)) for n in numbers]
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
