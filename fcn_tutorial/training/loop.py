"""The training loop, read top to bottom: data, network, steps, validation, record."""

from __future__ import annotations

import copy
import dataclasses
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from fcn_tutorial import losses, models
from fcn_tutorial.datasets import sources
from fcn_tutorial.datasets.loading import mix
from fcn_tutorial.models import Network
from fcn_tutorial.models.network import named
from fcn_tutorial.training import data as training_data
from fcn_tutorial.training import (
    diagnosis,
    distributed,
    initial,
    optimisation,
    reports,
    settings,
)
from fcn_tutorial.training.evaluation import scored
from fcn_tutorial.training.recipe import Recipe
from fcn_tutorial.training.record import SCHEMA
from fcn_tutorial.training.run import RunFolder, provenance
from fcn_tutorial.training.session import Session
from fcn_tutorial.transforms import augmentation, map_sample

#: Steps between two looks at the loss: fetching it makes an accelerator wait.
FETCH_EVERY = 20


class Interrupted(Exception):
    """Somebody asked the run to stop; its state is saved, and `resume` goes on from there."""


def train(
    recipe: Recipe,
    out: Path,
    *,
    data: Path | None = None,
    weights: Path | Sequence[Path] | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    overrides: dict[str, Any] | None = None,
    resume: bool = False,
    tensorboard: bool = False,
) -> dict[str, Any]:
    """Run a recipe and return its record; the run folder `out` holds all it leaves behind.

    Args:
        recipe: what to run.
        out: the run folder, made if needed.
        data: folder of the data set (or of data sets, as FCN_DATA); not needed for scenes.
        weights: file or files the network starts from, instead of what the recipe names (see
            `initial.build`).
        seed: of the initial weights, the order of the images and their augmentation.
        device: "cpu", "cuda", …; under `torchrun`, each process takes the one of its number.
        overrides: what was changed from the registered recipe, for the record.
        resume: go on from `last.pt` of the same recipe and seed.
        tensorboard: write event files into `out`/tensorboard as well.

    Started by `torchrun`, the processes share each step: `recipe.batch` images in each. Only the
    first writes, and all return the record.

    Raises FileNotFoundError or ValueError naming the file or argument at fault, OSError where the
    run folder cannot be written to, and Interrupted after SIGINT or SIGTERM, once the step is
    finished and the state is saved.
    """
    settings.check(recipe)
    files = [weights] if isinstance(weights, Path) else list(weights or ())
    with distributed.group(torch.device(device)) as device:
        folder = RunFolder(out)
        _prepare(folder, resume)
        spec, source = recipe.data, sources.get(recipe.data.name)
        opened = {s: source.open(spec, s, data) for s in source.splits(spec)}
        train_set, val_set, test_set = opened["train"], opened["val"], opened.get("test")

        notes = source.notes(spec, opened)
        session, origin = start(recipe, seed, folder, train_set, files, device)
        progress, say = session.progress, _say
        progress.notes += notes
        for warning in diagnosis.before(recipe, session.model, train_set, origin.files):
            say(f"warning: {warning}")
            progress.notes.append(warning)
        if resume:
            session.restore()
        made_with = provenance(device)  # of the code that runs, whatever happens to its files

        sampler, batches = _batches(recipe, train_set, seed, device)
        epoch_steps = sampler.steps
        total = recipe.iterations or epoch_steps * recipe.epochs
        images_a_step = recipe.batch * distributed.world_size()
        first = distributed.rank() == 0
        bar = tqdm(total=total * images_a_step, unit="img", disable=None if first else True)
        with (
            bar,
            reports.board(folder.path / "tensorboard", tensorboard and first) as board,
            _deferred_signals() as asked,
        ):
            bar.update(progress.step * images_a_step)
            stopping = False
            while progress.step < total and not stopping:
                sampler.epoch, sampler.start = divmod(progress.step, epoch_steps)
                session.model.train()
                if recipe.frozen_norms:
                    optimisation.freeze_norms(session.model)
                began = time.perf_counter()
                parts = iter(batches)
                for _ in range(min(epoch_steps - sampler.start, total - progress.step)):
                    asked_at = time.perf_counter()
                    batch = list(islice(parts, recipe.accumulate))
                    progress.waited += time.perf_counter() - asked_at
                    share = optimisation.rate(recipe.optimiser, progress.step / total)
                    optimisation.set_rates(session.optimiser, share)
                    session.pending.append(step(session, batch))
                    progress.step += 1
                    bar.update(images_a_step)
                    if len(session.pending) >= FETCH_EVERY or progress.step <= 2:
                        fetch(session)
                        reports.show(bar, progress, began)
                        board.step(session)
                    if progress.step == diagnosis.FIRST_STEPS:
                        fetch(session)
                        _look(session, say)
                    stopping = distributed.anywhere(asked(), device)
                    if stopping:
                        break
                    if progress.step % recipe.save_every == 0 and progress.step % epoch_steps:
                        now = time.perf_counter()
                        progress.seconds, began = progress.seconds + now - began, now
                        fetch(session)
                        session.save()
                fetch(session)
                progress.seconds += time.perf_counter() - began
                if progress.step % epoch_steps == 0 or progress.step == total:
                    epoch = -(-progress.step // epoch_steps)
                    reports.finish_epoch(session, epoch, progress.step == total, val_set, say)
                    board.epoch(session)
                session.save()
            if stopping and progress.step < total:
                raise Interrupted(f"stopped at step {progress.step} of {total}; --resume goes on")

        distributed.wait()  # for the first process's files
        best, _ = models.load(folder.best, device)
        best = best.to(memory_format=torch.channels_last)
        record = {
            "schema": SCHEMA,
            "recipe": recipe.name,
            "overrides": overrides or {},
            "seed": seed,
            **made_with,
            "settings": settings.as_dict(recipe),
            "train": {
                "images": len(train_set),
                "epochs": -(-total // epoch_steps),
                "steps": total,
                "processes": distributed.world_size(),
                "seconds": round(progress.seconds, 1),
                "data_wait": round(progress.waited / max(progress.seconds, 1e-9), 4),
                "images_per_second": round(total * images_a_step / progress.seconds, 2),
                "peak_memory_mb": peak_memory_mb(device),
                "precision": str(session.precision).removeprefix("torch."),
                "weights": origin.as_dict(),
            },
            "val": scored(best, val_set, "val", "scoring val"),
            "test": None if test_set is None else scored(best, test_set, "test", "scoring test"),
            "published": [dataclasses.asdict(p) for p in recipe.published],
            **({"notes": progress.notes} if progress.notes else {}),
        }
        if first:
            folder.write_record(record)
        return record


def _prepare(folder: RunFolder, resume: bool) -> None:
    if distributed.rank() == 0:
        folder.create()
    distributed.wait()
    if not resume and folder.last.exists():
        raise ValueError(
            f"--out {folder.path}: holds a run already; add --resume or name another folder"
        )


def _batches(
    recipe: Recipe, train_set: Any, seed: int, device: torch.device
) -> tuple[training_data.EpochSampler, Any]:
    """The sampler, whose epoch and first step are set before each pass, and the loader on it."""
    spec, magnified = recipe.data, recipe.model.magnification
    source = sources.get(spec.name)
    transform = None
    if spec.crop != (0, 0):
        window = source.window(spec, train_set)
        scale = (spec.scale[0] * magnified, spec.scale[1] * magnified)
        transform = augmentation(window, scale, spec.flip, spec.jitter)
    augmented = training_data.Augmented(train_set, transform, seed)
    sampler = training_data.EpochSampler(
        source.epoch_images(spec, len(train_set)),
        recipe.batch,
        seed,
        parts=recipe.accumulate,
        rank=distributed.rank(),
        world_size=distributed.world_size(),
        replacement=spec.replacement,
    )
    return sampler, training_data.loader(augmented, sampler, device, spec.multiple)


def start(
    recipe: Recipe,
    seed: int,
    folder: RunFolder,
    train_set: Any,
    weights: Sequence[Path],
    device: torch.device,
) -> tuple[Session, initial.Origin]:
    """A session at step 0: the network, its optimiser, and the weights of its classes."""
    torch.manual_seed(seed)
    model, origin = initial.build(recipe, train_set.classes, weights)
    model = model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimisation.freeze(model, recipe.frozen_stride)
    precision = optimisation.choose_precision(recipe.precision, device)
    scores: nn.Module = _TrainingScores(model)
    if distributed.world_size() > 1:
        scores = DistributedDataParallel(scores)
        torch.manual_seed(mix(seed, distributed.rank()))  # of dropout, in each process its own
    if recipe.compile:
        scores = cast(nn.Module, torch.compile(scores, dynamic=False))
    session = Session(
        recipe,
        seed,
        folder,
        device,
        train_set.classes,
        model,
        scores,
        copy.deepcopy(model) if recipe.ema else model,
        optimisation.make(recipe.optimiser, model),
        torch.amp.GradScaler(device.type, enabled=precision == torch.float16),
        {task: w.to(device) for task, w in class_weights(recipe, train_set).items()},
        precision,
    )
    return session, origin


class _TrainingScores(nn.Module):
    """The part of a network that is learned, as a module's forward, which its wrappers need."""

    def __init__(self, model: Network) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model.training_scores(images)


def step(session: Session, parts: Sequence[tuple[Any, Any]]) -> Tensor:
    """One step on the parts of a batch, one after the other; returns the loss as a mean, detached.

    Args:
        parts: (inputs, targets) as `collate` makes them. Whatever the number of parts and of
            processes, a mean is over the valid pixels of all of them.
    """
    recipe, model, device = session.recipe, session.model, session.device
    targets = [named(map_sample(lambda t: t.to(device), target)) for _, target in parts]
    valid = _valid_pixels(session, targets)
    session.optimiser.zero_grad(set_to_none=True)
    loss = torch.zeros((), device=device)
    for i, ((inputs, _), target) in enumerate(zip(parts, targets, strict=True)):
        shared = isinstance(session.scores, DistributedDataParallel) and i + 1 < len(parts)
        later = cast(Any, session.scores).no_sync() if shared else nullcontext()
        with later:  # gradients are exchanged once a step
            images = model.preprocess(map_sample(lambda t: t.to(device, non_blocking=True), inputs))
            images = images.contiguous(memory_format=torch.channels_last)
            with torch.autocast(
                device.type, session.precision, enabled=session.precision != torch.float32
            ):
                scores = session.scores(images)
            part = _loss(session, scores, target, valid)
            # DistributedDataParallel averages over processes what here is a sum.
            session.scaler.scale(part * distributed.world_size()).backward()
        mean = part.detach() / valid[""] if recipe.loss == "sum" else part.detach()
        loss += mean
    if recipe.optimiser.clip:
        session.scaler.unscale_(session.optimiser)
        nn.utils.clip_grad_norm_(model.parameters(), recipe.optimiser.clip)
    session.scaler.step(session.optimiser)
    session.scaler.update()
    if recipe.ema:
        # Early on the average follows closely, so that it forgets the untrained weights.
        n = session.progress.step
        optimisation.update_average(session.average, model, min(recipe.ema, (1 + n) / (10 + n)))
    return distributed.total(loss)


def _loss(
    session: Session, scores: Tensor, target: Mapping[str, Tensor], valid: Mapping[str, Tensor]
) -> Tensor:
    """A part's share of the step's loss: tasks are added, pixels as the recipe says."""
    model, recipe = session.model, session.recipe
    # The last upsampling and the loss together, and in float32: they sum over a million pixels.
    factor, offset, border = model.placement()
    terms = losses.Terms(recipe.focal, recipe.region, recipe.region_weight)
    by_task = model.split(scores)
    loss = torch.zeros((), device=scores.device)
    for task, labels in target.items():
        part, labels = by_task[task], model.supervised(labels)
        weight = session.class_weights[task]
        summed = losses.upsample_loss(
            part.float(), labels, factor, offset, terms, weight=weight, reduction="sum",
            border=border,
        )  # fmt: skip
        if recipe.loss == "mean":
            summed = summed / valid[task]
        elif recipe.loss == "image_mean":
            here = _counted(labels, weight)
            images = recipe.batch * distributed.world_size()
            summed = summed / (here.clamp(min=torch.finfo(here.dtype).tiny) * images)
        loss = loss + summed
    return loss


def _valid_pixels(session: Session, targets: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """What the losses of a step are divided by: the weights of its valid pixels, for each task.

    Summed over all parts and processes. "" holds the first task's for a log.
    """
    counts = torch.stack(
        [
            torch.stack([_counted(t[task], w) for t in targets]).sum()
            for task, w in session.class_weights.items()
        ]
    )
    counts = distributed.total(counts).clamp(min=torch.finfo(counts.dtype).tiny)
    found = dict(zip(session.class_weights, counts, strict=True))
    return {"": counts[0], **found}


def _counted(labels: Tensor, weight: Tensor) -> Tensor:
    """The class weights of the valid pixels, added up in float64 where there is."""
    exact = torch.float32 if labels.device.type == "mps" else torch.float64
    pixels = torch.bincount(labels.flatten().int(), minlength=256)[: len(weight)]
    return (pixels.to(exact) * weight.to(exact)).sum()


def fetch(session: Session) -> None:
    """Take the losses of the latest steps from the device.

    Raises ValueError where one is no longer a number.
    """
    if not session.pending:
        return
    values = torch.stack(session.pending).tolist()
    session.pending.clear()
    progress, spec = session.progress, session.recipe.optimiser
    for back, value in zip(range(len(values), 0, -1), values, strict=True):
        if not math.isfinite(value):
            raise ValueError(
                f"the loss became {value} at step {progress.step - back}: lower optimiser.lr "
                f"(now {spec.lr}) or set optimiser.clip (now {spec.clip})"
            )
    progress.losses += values


def _look(session: Session, say: Callable[[str], None]) -> None:
    """After the first steps: has the loss left ln C?"""
    progress = session.progress
    tasks = list(session.class_weights.values())
    if len(tasks) == 1:
        recent = [float(row["loss"]) for row in progress.rows] + progress.losses
        steps = [*[recent[0]] * (progress.step - len(progress.losses)), *progress.losses]
        for warning in diagnosis.after(steps, len(tasks[0]), session.recipe):
            say(f"warning: {warning}")
            progress.notes.append(warning)


def class_weights(recipe: Recipe, train_set: Any) -> dict[str, Tensor]:
    """{task: (C,) float32} weights of the loss by true class, from the training labels' pixels."""
    classes = named(train_set.classes)
    if recipe.class_weights == "none":
        return {task: torch.ones(len(names)) for task, names in classes.items()}
    counts = {task: torch.zeros(256, dtype=torch.int64) for task in classes}
    for i in range(len(train_set)):
        for task, mask in named(train_set[i][1]).items():
            counts[task] += torch.bincount(mask.flatten(), minlength=256)
    return {
        task: losses.frequency_weights(counts[task][: len(names)], recipe.class_weights)
        for task, names in classes.items()
    }


def _say(line: str) -> None:
    """A line above the progress bar, from the first process only."""
    if distributed.rank() == 0:
        tqdm.write(line)


def peak_memory_mb(device: torch.device) -> int:
    """Largest memory so far: the allocator's on CUDA, the process's resident set on a CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device) / 2**20)
    if sys.platform == "win32":
        return 0  # Windows has no getrusage
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak / (2**20 if sys.platform == "darwin" else 2**10))  # bytes there, KiB here


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
