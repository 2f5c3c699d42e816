"""The training loop, read top to bottom: data, network, steps, validation, record."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal, cast

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from fcn_tutorial.datasets import sources
from fcn_tutorial.datasets.loading import mix
from fcn_tutorial.models import Network
from fcn_tutorial.models.network import named
from fcn_tutorial.training import diagnosis, distributed, initial, norms, optimisation, reports
from fcn_tutorial.training.checkpoint import Progress, Run
from fcn_tutorial.training.evaluation import scored
from fcn_tutorial.training.optimisation import rate, set_rates
from fcn_tutorial.training.recipes import settings
from fcn_tutorial.training.recipes.recipe import Recipe
from fcn_tutorial.training.records.record import SCHEMA, read
from fcn_tutorial.training.run import RunFolder, peak_memory_mb, provenance
from fcn_tutorial.training.stream import Batch, Stream, open_splits
from fcn_tutorial.transforms import map_sample


class Interrupted(Exception):
    """Somebody asked the run to stop; its state is saved, and `resume` goes on from there.

    ::

        >>> import tempfile
        >>> from fcn_tutorial.training import get, smoke
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     train(smoke(get("scenes-fcn8s")), folder, stop=lambda: True)
        Traceback (most recent call last):
            ...
        fcn_tutorial.training.loop.Interrupted: stopped at step 0 of 2; nothing was learned yet
    """


def never() -> bool:
    """The run goes on to its end."""
    return False


def train(
    recipe: Recipe,
    out: Path | str,
    *,
    data: Path | str | None = None,
    weights: initial.Files = None,
    model: nn.Module | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    overrides: dict[str, Any] | None = None,
    resume: bool | Literal["auto"] = False,
    other_data: bool = False,
    tensorboard: bool = False,
    stop: Callable[[], bool] = never,
) -> dict[str, Any]:
    """Run a recipe; the run folder `out` holds all it leaves behind.

    Processes of `torchrun` share a step, `recipe.batch` images each; the first one writes.

    Args:
        recipe: what to run.
        out: the run folder, made if needed.
        data: folder of the data set (or of data sets, as FCN_DATA); not needed for scenes.
        weights: what the network starts from, instead of what the recipe names (`initial.build`).
        model: a network or module of one's own instead of the recipe's (`models.Own`).
        seed: of the initial weights, the order of the images and their augmentation.
        device: "cpu", "cuda", …; under `torchrun`, each process takes the one of its number.
        overrides: what was changed from the registered recipe, for the record. Those among
            `settings.LATER` may be new to a run that goes on, and hold from there.
        resume: go on from `last.pt` of the same recipe, seed and data; "auto": where there is one.
        other_data: go on although the data are other than before.
        tensorboard: write event files into `out`/tensorboard as well.
        stop: asked before every step; where it says so, the state is saved and Interrupted raised.

    Returns:
        The record, as `record.json` has it: plain JSON types, the same in every process. "val" and
        "test" hold scores as fractions of one; None where the recipe has no such split.

    Raises:
        FileNotFoundError, ValueError: naming the file or argument at fault.
        Interrupted: where `stop` said so.
        OSError: where the run folder cannot be written to.

    Four images, two a step::

        >>> import tempfile
        >>> from fcn_tutorial.training import get, smoke
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     record = train(smoke(get("scenes-fcn8s")), folder)
        epoch 1 of 1 ...
        >>> record["network"], record["train"]["images"], record["train"]["steps"]
        ('FCN-8s on tiny', 4, 2)
    """
    settings.check(recipe)
    with distributed.group(torch.device(device)) as device, RunFolder(out).opened(resume) as folder:
        if resume == "auto" and (record := finished(recipe, seed, folder)):
            return record
        splits = open_splits(recipe, data)
        stored, damage = folder.newest_state(needed=resume is True)
        run = start(recipe, seed, folder, splits, weights, device, stored, model)
        if stored:
            run.restore(stored, overrides or (), other_data, damage)
        stream = Stream(recipe, splits["train"], seed, device, run.progress.waited)
        with reports.shown(run, stream, tensorboard) as report:
            report.validate()  # what a run was at when it was cut
            for step, parts in stream.after(run.progress.step):
                if distributed.anywhere(stop() or not parts, device):
                    raise stopped(run, stream)
                set_rates(run.optimiser, rate(recipe.optimiser, step / stream.steps))
                run.note(learn(run, parts))
                report.step()
                if stream.epoch(step + 1) or (step + 1) % recipe.save_every == 0:
                    run.save()
                report.validate()
        return finish(run, stream, overrides or {})


def start(
    recipe: Recipe,
    seed: int,
    folder: RunFolder,
    splits: Mapping[str, Any],
    weights: initial.Files,
    device: torch.device,
    stored: Mapping[str, Any] | None = None,
    model: nn.Module | None = None,
) -> Run:
    """A run before its first step; of one that goes on, `stored` describes the network.

    Raises:
        ValueError: naming a checkpoint that no network can be made from, and as `initial.build`.
        FileNotFoundError: as `initial.build`.
    """
    made_with = provenance(device)  # of the code that runs, whatever happens to its files
    train_set = splits["train"]
    notes = sources.get(recipe.data.name).notes(recipe.data, splits)
    torch.manual_seed(seed)
    try:
        network, origin = initial.build(recipe, train_set.classes, weights, stored, model)
    except initial.Damaged as error:
        raise ValueError(f"{folder.last}: {error}") from error
    for note in origin.notes:
        reports.say(f"note: {note}")
        notes.append(note)
    if not stored:
        for warning in diagnosis.before(recipe, network, train_set, origin.files):
            reports.say(f"warning: {warning}")
            notes.append(warning)
    network = network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimisation.freeze(network, recipe.frozen_stride)
    notes += norms.apart(recipe, network)
    average = copy.deepcopy(network) if recipe.ema else network
    if recipe.sync_norms and distributed.world_size() > 1:
        norms.share(network, device)
    learned: nn.Module = _TrainingScores(network)
    shared = None
    if distributed.world_size() > 1:
        learned = shared = DistributedDataParallel(learned)
        torch.manual_seed(mix(seed, distributed.rank()))  # of dropout, in each process its own
    if recipe.compile:
        learned = cast(nn.Module, torch.compile(learned, dynamic=False))
    learned.train()
    if recipe.frozen_norms:
        norms.freeze(network)
    precision = optimisation.choose_precision(recipe.precision, device)
    weighing = optimisation.class_weights(recipe, train_set)
    return Run(
        recipe=recipe,
        seed=seed,
        folder=folder,
        device=device,
        splits=splits,
        network=network,
        learned=learned,
        shared=shared,
        average=average,
        optimiser=optimisation.make(recipe.optimiser, network),
        scaler=torch.amp.GradScaler(device.type, enabled=precision == torch.float16),
        class_weights={task: weight.to(device) for task, weight in weighing.items()},
        precision=precision,
        origin=origin.as_dict(),
        made_with=made_with,
        progress=Progress(notes=notes),
    )


class _TrainingScores(nn.Module):
    """The part of a network that is learned, as a module's forward, which its wrappers need."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        return self.network.training_scores(images)


def learn(run: Run, parts: Sequence[Batch]) -> Tensor:
    """One step: gradients, then the weights; returns the loss as a mean, detached."""
    recipe, network = run.recipe, run.network
    with run.kept_whole():
        loss = gradients(run, parts)
    if recipe.optimiser.clip:
        run.scaler.unscale_(run.optimiser)
        nn.utils.clip_grad_norm_(network.parameters(), recipe.optimiser.clip)
    run.scaler.step(run.optimiser)
    run.scaler.update()
    if recipe.ema:
        # Early on the average follows closely, so that it forgets the untrained weights.
        n = run.progress.step
        optimisation.update_average(run.average, network, min(recipe.ema, (1 + n) / (10 + n)))
    return distributed.total(loss)


def gradients(run: Run, parts: Sequence[Batch]) -> Tensor:
    """Those of the parts of a batch, one after the other; returns this process's share of the loss.

    Whatever the number of parts and of processes, a mean is over the valid pixels of all of them.
    """
    recipe, network, device = run.recipe, run.network, run.device
    targets = [named(map_sample(lambda t: t.to(device), target)) for _, target in parts]
    objective = optimisation.Objective(recipe, network, run.class_weights, targets)
    run.optimiser.zero_grad(set_to_none=True)
    loss = torch.zeros((), device=device)
    for part, ((inputs, _), target) in enumerate(zip(parts, targets, strict=True), 1):
        # Gradients are exchanged once a step, with those of its last part.
        alone = run.shared is not None and part < len(parts)
        with cast(DistributedDataParallel, run.shared).no_sync() if alone else nullcontext():
            there = map_sample(lambda t: t.to(device, non_blocking=True), inputs)
            images = network.preprocess(there).contiguous(memory_format=torch.channels_last)
            lower = run.precision != torch.float32
            with (
                torch.autocast(device.type, run.precision, enabled=lower),
                diagnosis.explaining_norms(recipe, images),
            ):
                scores = run.learned(images)
            share = objective.of(scores, target)
            # DistributedDataParallel averages over processes what here is a sum.
            run.scaler.scale(share * distributed.world_size()).backward()
        loss += objective.mean(share.detach())
    return loss


def stopped(run: Run, stream: Stream) -> Exception:
    """What ends a run between two steps: its state is saved, if there is any, and its step told."""
    step = run.progress.step
    if step > run.saved:
        run.save()
    kept = "the state is saved, --resume goes on" if step else "nothing was learned yet"
    if stream.error is None:
        return Interrupted(f"stopped at step {step} of {stream.steps}; {kept}")
    # The loader's processes send a traceback; the end of the pipe of one that died has no message.
    why = (str(stream.error).strip() or repr(stream.error)).splitlines()[-1]
    kind = ValueError if isinstance(stream.error, ValueError) else ChildProcessError
    return kind(f"the batch of step {step + 1} could not be had: {why}; {kept}")


def finish(run: Run, stream: Stream, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Score the weights that were kept, write the record, and return it."""
    distributed.wait()  # for the first process's files
    recipe, progress, device = run.recipe, run.progress, run.device
    best = copy.deepcopy(run.average).eval()
    best.load_state_dict(load_file(run.folder.best))
    scores: dict[str, Any] = {"val": None, "test": None}
    for name in scores.keys() & run.splits.keys():
        scores[name] = scored(best, run.splits[name], recipe.data, name, f"scoring {name}")
    images = stream.steps * stream.images_a_step
    record = {
        "schema": SCHEMA,
        "recipe": recipe.name,
        "overrides": dict(overrides),
        "seed": run.seed,
        **run.made_with,
        "network": run.network.title,
        "settings": settings.as_dict(recipe),
        "train": {
            "images": len(run.splits["train"]),
            "epochs": stream.epoch(stream.steps),
            "steps": stream.steps,
            "processes": distributed.world_size(),
            "seconds": round(progress.seconds, 1),
            "data_wait": round(progress.waited / max(progress.seconds, 1e-9), 4),
            "images_per_second": round(images / max(progress.seconds, 1e-9), 2),
            "peak_memory_mb": peak_memory_mb(device),
            "precision": str(run.precision).removeprefix("torch."),
            "weights": run.origin,
            "data": run.identity["data"],
            **({"changes": progress.changes} if progress.changes else {}),
        },
        **scores,
        "published": [dataclasses.asdict(entry) for entry in recipe.published],
        **({"notes": progress.notes} if progress.notes else {}),
    }
    if distributed.rank() == 0:
        run.folder.write_record(record)
    return record


def finished(recipe: Recipe, seed: int, folder: RunFolder) -> dict[str, Any]:
    """The record of a run that has come to its end; empty where it has not, or is another.

    Raises:
        ValueError: naming a file that is no record.
    """
    if not folder.record.is_file():
        return {}
    record = dict(read(folder.record))
    differs = [n for n in settings.changed(record["settings"], recipe) if n != "coarser"]
    return {} if differs or record["seed"] != seed else record
