"""The data of a run: opened, and in batches from any step on, as if it had never stopped."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler

from fcn_tutorial.datasets import sources
from fcn_tutorial.datasets.loading import Augmented, collate, mix
from fcn_tutorial.training import diagnosis, distributed
from fcn_tutorial.training.recipes.recipe import Recipe
from fcn_tutorial.transforms import augmentation

#: (inputs, targets) as `collate` makes them.
Batch = tuple[Any, Any]


def open_split(recipe: Recipe, split: str, data: Path | str | None) -> Any:
    """The images of a recipe's split: whole, without augmentation.

    Args:
        recipe: its `data` say which data set, and which of its splits.
        split: "train", "val" or "test"; "all" for the whole data set.
        data: folder of the data set, or of data sets; None: that of FCN_DATA, and for scenes and
            rooms, which are generated.

    Returns:
        The data set, items (input, mask). It has `classes`, `palette` and `ignore_index`.

    Raises:
        ValueError: for a split the recipe does not have, and as the data set does.
        FileNotFoundError: as the data set does.

    ::

        >>> from fcn_tutorial.training import get, smoke
        >>> images = open_split(smoke(get("scenes-fcn8s")), "val", data=None)
        >>> len(images), len(images.classes), tuple(images[0][0].shape)
        (2, 12, (3, 64, 64))
    """
    folder = None if data is None else Path(data)
    return sources.get(recipe.data.name).open(recipe.data, split, folder)


def open_splits(recipe: Recipe, data: Path | str | None) -> dict[str, Any]:
    """All splits that the recipe has, by name.

    Raises:
        ValueError: where a split has no labelled pixel, and as `open_split`.
        FileNotFoundError: as `open_split`.
    """
    names = sources.get(recipe.data.name).splits(recipe.data)
    opened = {name: open_split(recipe, name, data) for name in names}
    diagnosis.require_labels(opened)
    return opened


class Stream:
    """The steps of a run and what each of them learns from.

    What a step takes follows from (seed, epoch, index) alone, so the step says where the data
    stand.

    Raises:
        ValueError: for a batch larger than the training set.
    """

    def __init__(
        self, recipe: Recipe, train_set: Any, seed: int, device: torch.device, waited: float = 0.0
    ) -> None:
        spec, magnified = recipe.data, recipe.model.magnification
        source = sources.get(spec.name)
        transform = None
        if spec.crop != (0, 0):
            window = source.window(spec, train_set)
            scale = (spec.scale[0] * magnified, spec.scale[1] * magnified)
            transform = augmentation(window, scale, spec.flip, spec.jitter, spec.elastic)
        self._sampler = EpochSampler(
            source.epoch_images(spec, len(train_set)),
            recipe.batch,
            seed,
            parts=recipe.accumulate,
            rank=distributed.rank(),
            world_size=distributed.world_size(),
            replacement=spec.replacement,
        )
        augmented = Augmented(train_set, transform, seed)
        self._loader = loader(augmented, self._sampler, device, spec.multiple)
        self._parts, self._epochs = recipe.accumulate, recipe.epochs
        self.epoch_steps = self._sampler.steps
        self.steps = recipe.iterations or self.epoch_steps * recipe.epochs
        #: Images that all processes take in a step.
        self.images_a_step = recipe.batch * distributed.world_size()
        #: Seconds spent waiting for data.
        self.waited = waited
        #: What ended the stream, where it could not go on.
        self.error: Exception | None = None
        self._running = self._after(self.steps)

    def after(self, done: int) -> Iterator[tuple[int, list[Batch]]]:
        """(step, parts of its batch) of every step but the first `done`.

        Where the data fail, a file or a process that prepares batches, the parts are none and
        `error` says why: the run's state is that of whole steps, and can be saved.

        Raises:
            ValueError: where more steps are done than there are.
        """
        if done > self.steps:
            raise ValueError(
                f"epochs={self._epochs} ends at step {self.steps}, the checkpoint is at step {done}"
            )
        self._running = self._after(done)
        return self._running

    def close(self) -> None:
        """End the processes that prepare batches."""
        self._running.close()

    def _after(self, done: int) -> Generator[tuple[int, list[Batch]]]:
        batches: Iterator[Batch] = iter(())
        with _deaths_wait() as listening, ExitStack() as processes:
            for step in range(done, self.steps):
                asked = time.perf_counter()
                try:
                    if step == done or step % self.epoch_steps == 0:
                        self._sampler.epoch, self._sampler.start = divmod(step, self.epoch_steps)
                        processes.close()  # the last epoch's end while nobody listens
                        with listening(), _signals_wait():
                            batches = iter(self._loader)
                        processes.callback(_end, batches)
                    with listening():
                        parts = list(islice(batches, self._parts))
                except Exception as error:  # whatever a reader raises
                    self.error, parts = error, []
                self.waited += time.perf_counter() - asked
                yield step, parts

    def epoch(self, steps: int) -> int:
        """The epoch that so many steps have ended; 0 in the midst of one."""
        whole = steps % self.epoch_steps == 0 or steps == self.steps
        return -(-steps // self.epoch_steps) if whole else 0


class EpochSampler(Sampler[list[tuple[int, int]]]):
    """Batches of (epoch, index) in an order drawn from (seed, epoch), from step `start` on.

    A step takes `batch` images in each of `world_size` processes; this process's come in `parts`
    batches, one after the other. What all processes take together in a step does not depend on
    how many they are. The last, incomplete step of an epoch is dropped, so every step sees as many
    images. With `replacement` every image is drawn anew from all.

    Raises:
        ValueError: for a step of more images than there are.
    """

    def __init__(
        self,
        images: int,
        batch: int,
        seed: int,
        *,
        parts: int = 1,
        rank: int = 0,
        world_size: int = 1,
        replacement: bool = False,
    ) -> None:
        if images < batch * world_size:
            together = f" in {world_size} processes" if world_size > 1 else ""
            raise ValueError(
                f"batch={batch}{together} is larger than the training set of {images} images"
            )
        self.images, self.batch, self.seed = images, batch, seed
        self.parts, self.rank, self.world_size = parts, rank, world_size
        self.replacement = replacement
        self.epoch = 0
        self.start = 0

    @property
    def steps(self) -> int:
        """Steps in a whole epoch."""
        return self.images // (self.batch * self.world_size)

    def __len__(self) -> int:
        return (self.steps - self.start) * self.parts

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        generator = torch.Generator().manual_seed(mix(self.seed, self.epoch, -1))
        if self.replacement:
            drawn = torch.randint(self.images, (self.images,), generator=generator)
        else:
            drawn = torch.randperm(self.images, generator=generator)
        order: Sequence[int] = drawn.tolist()
        size = self.batch // self.parts
        for step in range(self.start, self.steps):
            first = (step * self.world_size + self.rank) * self.batch
            for part in range(first, first + self.batch, size):
                yield [(self.epoch, index) for index in order[part : part + size]]


def loader(
    dataset: Augmented, sampler: EpochSampler, device: torch.device, multiple: int = 1
) -> DataLoader[Any]:
    """Batches for training. On a CPU one worker: it prepares the next batch beside the step.

    Iterating draws no random numbers but the loader's own, so that a resumed run, which iterates
    once more, goes on with the numbers of the undisturbed one.
    """
    cores = os.cpu_count() or 1
    workers = min(8, cores) if device.type == "cuda" else min(1, cores - 1)
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=_Collate(multiple),
        generator=torch.Generator(),
        pin_memory=device.type == "cuda",
        persistent_workers=False,
    )


class _Collate:
    def __init__(self, multiple: int) -> None:
        self.multiple = multiple

    def __call__(self, samples: Sequence[tuple[Any, Any]]) -> tuple[Any, Any]:
        return collate(samples, multiple=self.multiple)


def _end(batches: Iterator[Batch]) -> None:
    """End the processes that prepare batches, whoever still holds their iterator.

    A traceback does, and whoever keeps that. Such processes are deaf to the SIGTERM by which Python
    ends what is left at exit, and it would wait for them for good.
    """
    getattr(batches, "_shutdown_workers", lambda: None)()  # PyTorch's own; without processes none


@contextmanager
def _signals_wait() -> Iterator[None]:
    """Within: SIGINT and SIGTERM wait, for processes that start here for good.

    A scheduler, or a terminal, signals a whole group. Those that prepare batches must outlive it
    until this process, which starts and ends them, has finished its step.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows, where there are no groups of this kind
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _deaths_wait() -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """Within: the death of a process that prepares batches raises only inside of what this yields.

    PyTorch's loader answers SIGCHLD by raising wherever the main thread happens to be, such as
    half-way through an update of the weights. Afterwards the answer is what it was before: the
    loader's own would raise while the run is being closed, for a death already told.
    """
    watched = os.name != "nt" and threading.current_thread() is threading.main_thread()
    before = handler = signal.getsignal(signal.SIGCHLD) if watched else None
    if handler is None:  # PyTorch sets none here, or it is not Python's to move
        yield nullcontext
        return

    @contextmanager
    def listening() -> Iterator[None]:
        nonlocal handler
        signal.signal(signal.SIGCHLD, handler)
        try:
            yield
        finally:
            handler = signal.getsignal(signal.SIGCHLD)  # the loader's, once it has started
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    try:
        yield listening
    finally:
        signal.signal(signal.SIGCHLD, before)
