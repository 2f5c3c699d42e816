"""What a run shows of itself while it goes on: bar, log, curve, samples, TensorBoard."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fcn_tutorial import models, visualize
from fcn_tutorial.files import replacing
from fcn_tutorial.metrics import Scores, shown
from fcn_tutorial.models import Network
from fcn_tutorial.training import diagnosis, distributed, settings
from fcn_tutorial.training.evaluation import evaluate_tasks
from fcn_tutorial.training.session import Progress, Session

#: Images on the sheet of samples that each validation redraws.
SAMPLES = 4
#: Steps the loss on the progress bar is averaged over.
SHOWN_LOSSES = 50


def show(bar: Any, progress: Progress, began: float) -> None:
    """Loss and the share of the time spent waiting for data, on the bar; it adds rate and rest."""
    latest = progress.losses[-SHOWN_LOSSES:]
    seconds = progress.seconds + time.perf_counter() - began
    waiting = f"{100 * progress.waited / max(seconds, 1e-9):.0f}% wait"
    bar.set_postfix_str(f"loss {sum(latest) / len(latest):.3f}, {waiting}", refresh=False)


def finish_epoch(
    session: Session, epoch: int, last: bool, val_set: Any, say: Callable[[str], None]
) -> None:
    """Log the epoch and, where it is due, validate, keep the best weights, redraw the pictures.

    Every process takes part in validation; the first one writes.
    """
    recipe, progress, folder = session.recipe, session.progress, session.folder
    loss = sum(progress.losses) / len(progress.losses)
    row: dict[str, Any] = {
        "step": progress.step,
        "epoch": epoch,
        "loss": loss,
        "lr": session.optimiser.param_groups[-1]["lr"],
        **{f"val_{measure.key}": "" for measure in shown("log")},
    }
    progress.losses.clear()
    progress.rows.append(row)
    line = f"epoch {epoch:3d}  {progress.seconds:6.0f} s  loss {loss:.3f}"
    due = last or epoch % recipe.validate_every == 0
    better = False
    if due:
        matrices = evaluate_tasks(session.average, val_set, "validating")
        found: dict[str, Scores] = {task: m.compute() for task, m in matrices.items()}
        scores = next(iter(found.values()))
        values = [(measure, float(measure.of(scores))) for measure in shown("log")]
        row |= {f"val_{measure.key}": value for measure, value in values}
        line += "  val " + "  ".join(f"{m.title} {m.text(value)}" for m, value in values)
        for task, other in list(found.items())[1:]:
            row[f"val_mean_iu_{task}"] = other.mean_iu
        better = last if recipe.select == "last" else scores.mean_iu > progress.best
        progress.best = max(progress.best, scores.mean_iu)
        names = session.classes
        first = next(iter(names.values())) if isinstance(names, Mapping) else names
        for warning in diagnosis.one_class(next(iter(matrices.values())).matrix, first):
            line += f"\nwarning: {warning}"
    if distributed.rank() == 0:
        if better or (due and not folder.best.exists()):
            _keep(session, val_set)
        if due:
            with replacing(folder.curve) as path:
                visualize.training_curve(progress.rows, path, _curves())
            with replacing(folder.samples) as path:
                _draw_samples(session.average, val_set, path)
        folder.write_log(progress.rows)
    say(line)


def _curves() -> dict[str, tuple[str, float]]:
    """The columns of the log that have a curve, as `visualize.training_curve` takes them."""
    return {
        f"val_{m.key}": (f"validation {m.title}{' (%)' * m.percent}", 100 if m.percent else 1)
        for m in shown("curve")
    }


def _keep(session: Session, val_set: Any) -> None:
    details = {
        "recipe": settings.as_dict(session.recipe),
        "seed": session.seed,
        "step": session.progress.step,
    }
    classes, palette = val_set.classes, val_set.palette
    if isinstance(classes, Mapping):  # one after the other, as the score layers hold them
        details["tasks"] = {task: len(names) for task, names in classes.items()}
        classes = [name for names in classes.values() for name in names]
        palette = [colour for colours in palette.values() for colour in colours]
    recipe = session.recipe
    card = models.Card.of(classes, palette, recipe.name, recipe.data.name, details)
    models.save(session.average, card, session.folder.best)


def _draw_samples(model: Network, dataset: Any, path: Path) -> None:
    """A sheet of image, truth, prediction, error for a few images spread over the set."""
    was_training = model.training
    model.eval()
    chosen = [i * len(dataset) // SAMPLES for i in range(min(SAMPLES, len(dataset)))]
    samples = []
    for i in chosen:
        inputs, target = dataset[i]
        samples.append((_first(inputs), _first(target), _first(model.predict(inputs)).cpu()))
    model.train(was_training)
    visualize.prediction_sheet(samples, _first(dataset.classes), _first(dataset.palette), path)


def _first(value: Any) -> Any:
    """The first part of a dict, the semantic one or the colours; anything else as it is."""
    return next(iter(value.values())) if isinstance(value, Mapping) else value


class Board:
    """TensorBoard's event files, or nothing at all."""

    def __init__(self, writer: Any = None) -> None:
        self._writer = writer

    def step(self, session: Session) -> None:
        """Loss and learning rate of the latest step."""
        if self._writer is not None:
            progress = session.progress
            self._writer.add_scalar("train/loss", progress.losses[-1], progress.step)
            rate = session.optimiser.param_groups[-1]["lr"]
            self._writer.add_scalar("train/lr", rate, progress.step)

    def epoch(self, session: Session) -> None:
        """The epoch's row of the log, its speed, and the sheet of samples if there is a new one."""
        if self._writer is None:
            return
        progress = session.progress
        for key, value in progress.rows[-1].items():
            if key.startswith("val_") and value != "":
                self._writer.add_scalar(key.replace("val_", "val/", 1), value, progress.step)
        images = progress.step * session.recipe.batch * distributed.world_size()
        speed = images / max(progress.seconds, 1e-9)
        self._writer.add_scalar("train/images_per_second", speed, progress.step)
        if progress.rows[-1]["val_mean_iu"] != "" and session.folder.samples.exists():
            sheet = np.asarray(Image.open(session.folder.samples).convert("RGB"))
            self._writer.add_image("val/samples", sheet, progress.step, dataformats="HWC")


@contextmanager
def board(folder: Path, wanted: bool) -> Iterator[Board]:
    """Event files in `folder` while within. Raises ValueError if TensorBoard is not installed."""
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
