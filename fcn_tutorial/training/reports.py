"""What a run shows of itself while it goes on: bar, log, curve, samples, TensorBoard."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from fcn_tutorial import models, visualize
from fcn_tutorial.files import replacing
from fcn_tutorial.metrics import Scores
from fcn_tutorial.metrics import shown as measures
from fcn_tutorial.models import Network
from fcn_tutorial.models.network import named
from fcn_tutorial.training import diagnosis, distributed, norms
from fcn_tutorial.training.checkpoint import Run
from fcn_tutorial.training.evaluation import evaluate_tasks, judging
from fcn_tutorial.training.recipes import settings
from fcn_tutorial.training.stream import Stream

#: Steps between two looks at the loss: fetching it makes an accelerator wait.
FETCH_EVERY = 20
#: Images on the sheet of samples that each validation redraws.
SAMPLES = 4
#: Steps over which the loss is averaged that is shown between two epochs.
SHOWN_LOSSES = 50
#: Seconds of training between two lines on how far a run is, where there is no bar; the first
#: comes sooner.
SAID_EVERY, SAID_FIRST = 30.0, 10.0


def say(line: str) -> None:
    """A line above the progress bar, from the first process only; at once, through a pipe too."""
    if distributed.rank() == 0:
        tqdm.write(line)
        sys.stdout.flush()


class Pace:
    """How fast a run is and when it will end, for whoever reads a file or a pipe.

    Args:
        step, seconds: those already done, as after `--resume`.
    """

    def __init__(self, step: int, seconds: float) -> None:
        self._from = step, seconds
        self._next = seconds + SAID_FIRST

    def due(self, seconds: float) -> bool:
        """Whether a line is due after so many seconds of training."""
        if seconds < self._next:
            return False
        self._next = seconds + SAID_EVERY
        return True

    def line(self, step: int, steps: int, images: int, seconds: float, loss: float) -> str:
        """Steps done of all, the loss, and, from `images` a step, the speed and the time left."""
        each = (seconds - self._from[1]) / (step - self._from[0])
        left = _duration((steps - step) * each)
        return f"step {step} of {steps}  loss {loss:.3f}  {images / each:.1f} img/s  {left} left"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Report:
    """What is shown of a run after each of its steps, and what is kept of its epochs."""

    def __init__(self, run: Run, stream: Stream, bar: Any, board: Board) -> None:
        self._run, self._stream, self._bar, self._board = run, stream, bar, board
        self._pace = Pace(run.progress.step, run.seconds)

    def step(self) -> None:
        """After a step: the bar moves on; now and then its loss; at an epoch's end, the log."""
        run, progress = self._run, self._run.progress
        progress.waited = self._stream.waited
        self._bar.update(self._stream.images_a_step)
        epoch = self._stream.epoch(progress.step)
        early = progress.step == diagnosis.FIRST_STEPS
        if epoch or early or run.pending >= FETCH_EVERY or progress.step <= 2:
            run.fetch()
            self._show()
            self._board.step(run)
        if early:
            _look_early(run)
        if self._bar.disable and not epoch and self._pace.due(run.seconds):
            run.fetch()
            images = self._stream.images_a_step
            say(self._pace.line(progress.step, self._stream.steps, images, run.seconds,
                                self._loss()))  # fmt: skip
        if epoch:
            loss = sum(progress.losses) / len(progress.losses)
            progress.losses.clear()
            rate = run.optimiser.param_groups[-1]["lr"]
            row = {"step": progress.step, "epoch": epoch, "loss": loss, "lr": rate}
            progress.rows.append({**row, **{f"val_{m.key}": "" for m in measures("log")}})
            if not self._due(epoch):
                self._log(self._line())

    def validate(self) -> None:
        """At the end of the epochs that ask for it: score val, keep the best weights, save.

        Every process takes part; the first one writes.
        """
        run, progress = self._run, self._run.progress
        if not self._due(self._stream.epoch(progress.step)) or progress.validated == progress.step:
            return
        with run.paused():
            if run.recipe.recompute_norms:
                norms.recompute(run.average, run.splits["train"], run.recipe.batch)
            line, better = self._score(run.splits["val"])
            if distributed.rank() == 0:
                if better or not run.folder.best.exists():
                    _keep(run)
                with replacing(run.folder.curve) as path:
                    visualize.training_curve(progress.rows, path, _curves())
                with replacing(run.folder.samples) as path:
                    _draw_samples(run.average, run.splits["val"], path)
            progress.validated = progress.step
            self._log(line)
            run.save()

    def _due(self, epoch: int) -> bool:
        last = self._run.progress.step >= self._stream.steps
        return epoch > 0 and (last or epoch % self._run.recipe.validate_every == 0)

    def _score(self, val_set: Any) -> tuple[str, bool]:
        """Fill the last row of the log; returns what it says, and whether to keep the weights."""
        run, progress = self._run, self._run.progress
        row, line = progress.rows[-1], self._line()
        matrices = evaluate_tasks(run.average, val_set, "validating")
        found: dict[str, Scores] = {task: m.compute() for task, m in matrices.items()}
        scores = next(iter(found.values()))
        values = [(measure, float(measure.of(scores))) for measure in measures("log")]
        row |= {f"val_{measure.key}": value for measure, value in values}
        line += "  val " + "  ".join(f"{m.title} {m.text(value)}" for m, value in values)
        for task, other in list(found.items())[1:]:
            row[f"val_mean_iu_{task}"] = other.mean_iu
        last = progress.step >= self._stream.steps
        better = last if run.recipe.select == "last" else scores.mean_iu > progress.best
        progress.best = max(progress.best, scores.mean_iu)
        classes = next(iter(named(val_set.classes).values()))
        first = next(iter(matrices.values())).matrix
        for warning in diagnosis.one_class(first, classes, run.recipe):
            line += f"\nwarning: {warning}"
        return line, better

    def _line(self) -> str:
        row, all_of_them = self._run.progress.rows[-1], self._stream.epoch(self._stream.steps)
        count = f"epoch {row['epoch']:{len(str(all_of_them))}d} of {all_of_them}"
        return f"{count}  {self._run.seconds:6.0f} s  loss {row['loss']:.3f}"

    def _log(self, line: str) -> None:
        if distributed.rank() == 0:
            self._run.folder.write_log(self._run.progress.rows)
        self._board.epoch(self._run)
        say(line)

    def _show(self) -> None:
        """Loss and the share of the time spent waiting for data, on the bar."""
        progress = self._run.progress
        waiting = f"{100 * progress.waited / max(self._run.seconds, 1e-9):.0f}% wait"
        self._bar.set_postfix_str(f"loss {self._loss():.3f}, {waiting}", refresh=False)

    def _loss(self) -> float:
        """The mean of the latest steps of this epoch."""
        latest = self._run.progress.losses[-SHOWN_LOSSES:]
        return sum(latest) / len(latest)


@contextmanager
def shown(run: Run, stream: Stream, tensorboard: bool) -> Iterator[Report]:
    """The report of a run; its bar, its event files and its stream end with it."""
    first = distributed.rank() == 0
    images = stream.steps * stream.images_a_step
    bar = tqdm(total=images, unit="img", disable=None if first else True)
    event_files = board(run.folder.path / "tensorboard", tensorboard and first)
    with closing(stream), bar, event_files as events:
        bar.update(run.progress.step * stream.images_a_step)
        run.go()
        yield Report(run, stream, bar, events)


def _curves() -> dict[str, tuple[str, float]]:
    """The columns of the log that have a curve, as `visualize.training_curve` takes them."""
    return {
        f"val_{m.key}": (f"validation {m.title}{' (%)' * m.percent}", 100 if m.percent else 1)
        for m in measures("curve")
    }


def _look_early(run: Run) -> None:
    """After the first steps: has the loss left ln C?"""
    progress = run.progress
    tasks = list(run.class_weights.values())
    if len(tasks) == 1:
        recent = [float(row["loss"]) for row in progress.rows] + progress.losses
        steps = [*[recent[0]] * (progress.step - len(progress.losses)), *progress.losses]
        for warning in diagnosis.after(steps, len(tasks[0]), run.recipe):
            say(f"warning: {warning}")
            progress.notes.append(warning)


def _keep(run: Run) -> None:
    details = {
        "recipe": settings.as_dict(run.recipe),
        "seed": run.seed,
        "step": run.progress.step,
    }
    val_set, recipe = run.splits["val"], run.recipe
    classes, palette = val_set.classes, val_set.palette
    if isinstance(classes, Mapping):  # one after the other, as the score layers hold them
        details["tasks"] = {task: len(names) for task, names in classes.items()}
        classes = [name for names in classes.values() for name in names]
        palette = [colour for colours in palette.values() for colour in colours]
    card = models.Card.of(classes, palette, recipe.name, recipe.data.name, details)
    models.save(run.average, card, run.folder.best)


def _draw_samples(network: Network, dataset: Any, path: Path) -> None:
    """A sheet of image, truth, prediction, error for a few images spread over the set."""
    chosen = [i * len(dataset) // SAMPLES for i in range(min(SAMPLES, len(dataset)))]
    samples = []
    with judging(network):
        for i in chosen:
            inputs, target = dataset[i]
            samples.append((_first(inputs), _first(target), _first(network.predict(inputs)).cpu()))
    visualize.prediction_sheet(samples, _first(dataset.classes), _first(dataset.palette), path)


def _first(value: Any) -> Any:
    """The first part of a dict, the semantic one or the colours; anything else as it is."""
    return next(iter(value.values())) if isinstance(value, Mapping) else value


class Board:
    """TensorBoard's event files, or nothing at all."""

    def __init__(self, writer: Any = None) -> None:
        self._writer = writer

    def step(self, run: Run) -> None:
        """Loss and learning rate of the latest step."""
        if self._writer is not None:
            progress = run.progress
            self._writer.add_scalar("train/loss", progress.losses[-1], progress.step)
            rate = run.optimiser.param_groups[-1]["lr"]
            self._writer.add_scalar("train/lr", rate, progress.step)

    def epoch(self, run: Run) -> None:
        """The epoch's row of the log, its speed, and the sheet of samples if there is a new one."""
        if self._writer is None:
            return
        progress = run.progress
        for key, value in progress.rows[-1].items():
            if key.startswith("val_") and value != "":
                self._writer.add_scalar(key.replace("val_", "val/", 1), value, progress.step)
        images = progress.step * run.recipe.batch * distributed.world_size()
        speed = images / max(progress.seconds, 1e-9)
        self._writer.add_scalar("train/images_per_second", speed, progress.step)
        if progress.rows[-1]["val_mean_iu"] != "" and run.folder.samples.exists():
            sheet = np.asarray(Image.open(run.folder.samples).convert("RGB"))
            self._writer.add_image("val/samples", sheet, progress.step, dataformats="HWC")


@contextmanager
def board(folder: Path, wanted: bool) -> Iterator[Board]:
    """Event files in `folder` while within.

    Raises:
        ValueError: if TensorBoard is not installed.
    """
    if not wanted:
        yield Board()
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ValueError(
            "--tensorboard needs the package tensorboard: pip install 'fcn-tutorial[train]'"
        ) from error
    writer = SummaryWriter(str(folder))
    try:
        yield Board(writer)
    finally:
        writer.close()
