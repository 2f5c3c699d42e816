"""What a data set is to the rest of the package: fetched, opened, split, checked, written.

A data set is one file that makes a `Source`, and one line in `sources.SOURCES`. Recipes, the
command line's `data`, model cards and data/README.md find it there and ask nothing else.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from fcn_tutorial.datasets.loading import First, InMemory, Joined
from fcn_tutorial.datasets.spec import Data
from fcn_tutorial.files import data_folder

__all__ = ["Findings", "Remote", "Source"]


@dataclass(frozen=True)
class Remote:
    """A file on somebody's server.

    urls: the same file, tried in this order. name: what it is called here. size: bytes, and md5,
    where known. unpack: for an archive, (folder inside it, folder below the data folder); what
    lies elsewhere in it is left there, and of two that fit the first counts. Otherwise the file
    goes to `into`.
    """

    urls: tuple[str, ...]
    name: str
    size: int | None = None
    md5: str | None = None
    unpack: tuple[tuple[str, str], ...] = ()
    into: str = ""

    @property
    def folders(self) -> tuple[str, ...]:
        """Folders that unpacking makes."""
        return tuple(dict.fromkeys(folder for _, folder in self.unpack))


@dataclass(frozen=True)
class Findings:
    """What was found in data whose labels somebody else may have written in many ways.

    Attributes:
        lines: what their values were taken for, to be read.
        problems: why they should not be trained on, with the remedy, one line each.
        form: a file that would help once it is filled in: its place, and what it holds till then.
    """

    lines: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    form: tuple[Path, str] | None = None


@dataclass(frozen=True)
class Source:
    """One data set. As it stands: published, read from files by `reader(root, split)`.

    What is read otherwise overrides `read`; what is split or shown otherwise, those methods.

    Args:
        name: what recipes and `data …` call it.
        title: a few words for tables and cards.
        reader: the data set's class. What it says of itself (`classes`, `counts`, `folder`,
            `licence`, `source`, `citation`) is not said again here.
        disk: gigabytes, about, where known from the archives or measured.
        parts: splits without a common image, which together are all.
        optional: splits that need another data set too.
        files: how it is fetched.
        note: what is worth knowing.
        in_memory: whether a recipe's images are read once and kept.
        image_measures: errors of single images that its scores have too, of
            `metrics.IMAGE_MEASURES`.
        writer: writes generated scenes in its layout: (root, n=, size=, seed=).
    """

    name: str
    title: str
    reader: Any
    disk: float = 0
    parts: tuple[str, ...] = ("train", "val", "test")
    optional: tuple[str, ...] = ()
    files: tuple[Remote, ...] = ()
    note: str = ""
    in_memory: bool = False
    image_measures: tuple[str, ...] = ()
    writer: Callable[..., Path] | None = None

    spec_type: ClassVar[type[Data]] = Data  # the settings that a recipe has for it

    # --- What is known of it --------------------------------------------------------------------

    def _fact(self, name: str) -> str:
        return str(getattr(self.reader, name, ""))

    @property
    def folder(self) -> str:
        """What the reader is given, inside the folder that FCN_DATA names; "" where it has none."""
        return self._fact("folder")

    @property
    def licence(self) -> str:
        """What one may do with the data, as far as somebody states it."""
        return self._fact("licence")

    @property
    def address(self) -> str:
        """The address of whoever publishes the data."""
        return self._fact("source")

    @property
    def citation(self) -> str:
        """The paper to cite."""
        return self._fact("citation")

    @property
    def classes(self) -> int:
        """How many classes there are, void left out; 0 where that is up to the user."""
        names = self.reader.classes
        return 0 if isinstance(names, property) else len(names)

    @property
    def counts(self) -> Mapping[str, int]:
        """Images in each split, as published."""
        return dict(getattr(self.reader, "counts", {}))

    @property
    def manual(self) -> tuple[str, ...]:
        """What to do by hand where a download does not work: one step each."""
        steps = []
        for remote in self.files:
            addresses = " or ".join(remote.urls)
            if not remote.unpack:
                steps.append(f"save {addresses} as DIR/{remote.into}{remote.name}")
                continue
            inside, folder = remote.unpack[0]
            steps.append(f"save and unpack {addresses}, move its {inside} to DIR/{folder}")
        return tuple(steps)

    # --- Opened ---------------------------------------------------------------------------------

    def root(self, data: Path | None) -> Path:
        """The folder for the reader: `data`, or the data set's own below it; see `data_folder`.

        Raises:
            FileNotFoundError: where there is no such folder, or none is named.
        """
        named = data_folder(data, f"{self.name}: name the data folder with --data DIR", self.folder)
        if not named.is_dir():
            raise FileNotFoundError(
                f"{named}: no such folder; `fcn-tutorial data download {self.name}` fills one"
            )
        own = named / self.folder
        return own if own.is_dir() else named

    def read(self, spec: Data, split: str, data: Path | None) -> Any:
        """A split by the data set's own name for it, whole.

        Raises:
            FileNotFoundError: as `root`, and as the reader.
            ValueError: as the reader.
        """
        return self.reader(self.root(data), split)

    def elsewhere(self, spec: Data, data: Path) -> Data:
        """The same settings for the like in `data`: without those that name other places."""
        return spec

    def relabelled(self, spec: Data, data: Path) -> Data:
        """The same without what is known of labels elsewhere, where `data` says it of its own."""
        return spec

    def everything(self, spec: Data, data: Path | None) -> Any:
        """All there is: the `parts`, one after the other."""
        return Joined([self.read(spec, part, data) for part in self.parts])

    # --- For recipes ----------------------------------------------------------------------------

    def seen(self, spec: Data) -> str:
        """What a score's label adds to the number of images, such as the classes that were told."""
        return ", geometric classes" if spec.task == "geometric" else ""

    def settings(self, **changes: Any) -> Data:
        """What a recipe would say of it, apart from augmentation.

        Raises:
            ValueError: for a setting that it does not have.
        """
        known = {field.name for field in dataclasses.fields(self.spec_type)}
        if unknown := sorted(changes.keys() - known):
            raise ValueError(f"{self.name} has no setting {', '.join(unknown)}")
        return self.spec_type(**{"name": self.name, "crop": (0, 0), **changes})

    def splits(self, spec: Data) -> tuple[str, ...]:
        """Which of train, val and test a recipe has."""
        return ("train", "val", "test") if spec.test_split else ("train", "val")

    def open(self, spec: Data, split: str, data: Path | None) -> Any:
        """The recipe's "train", "val" or "test" images, or "all": whole, without augmentation.

        Raises:
            ValueError: for a split that the recipe does not have, and as `read`.
            FileNotFoundError: as `read`.
        """
        if split == "all":
            dataset = self.everything(spec, data)
            return First(dataset, len(dataset))
        if split not in self.splits(spec):
            known = ", ".join(self.splits(spec))
            raise ValueError(
                f"there is no split {split!r}: the recipe has {known}; to score another part of "
                f"{self.name}, set data.test_split to its name"
            )
        dataset = self.read(spec, getattr(spec, f"{split}_split"), data)
        wanted = spec.train_images if split == "train" else spec.test_images
        images = min(wanted, len(dataset)) if wanted else len(dataset)
        return (InMemory if self.in_memory else First)(dataset, images)

    def window(self, spec: Data, train_set: Any) -> tuple[int, int]:
        """Rows and columns of a training window."""
        return spec.crop

    def epoch_images(self, spec: Data, images: int) -> int:
        """Images in an epoch, of a training set of `images`."""
        return images

    def notes(self, spec: Data, opened: Mapping[str, Any]) -> list[str]:
        """What a reader of the record must know of the splits, {name: data set}, of a recipe.

        Raises:
            ValueError: where they cannot be trained on.
        """
        return []

    def remark(self, spec: Data) -> str:
        """What must be said beside a score, as that it is of shrunk images; "" for nothing."""
        return ""

    def drawn(self, spec: Data, split: str) -> bool:
        """Whether chance chose the images of this split; else the data set's files say them."""
        return False

    def described(self, spec: Data, data: Path | None) -> Findings:
        """What the values of its labels were taken for; nothing where that is published."""
        return Findings()

    def unfit(self, spec: Data, data: Path | None) -> tuple[str, ...]:
        """What is wrong with its files whatever the labels mean; nothing where that is published.

        Asked where `described` raises or has problems, so that one check names all it can.
        """
        return ()

    def mended(self, spec: Data, data: Path | None, out: Path) -> Findings:
        """Write a copy into `out` with what can be mended mechanically; says what was done.

        Nothing is written where there are problems first.

        Raises:
            ValueError: where there is nothing to mend.
        """
        raise ValueError(f"{self.name}: is read as it was published; there is nothing to mend")

    def small(self, spec: Data) -> Data:
        """The same settings for a run of seconds: windows of 64×64, four images, two to score."""
        return dataclasses.replace(spec, crop=(64, 64), train_images=4, test_images=2)

    # --- For `data check` and `data preview` ----------------------------------------------------

    def checked(self, spec: Data) -> tuple[str, ...]:
        """Splits that a check opens.

        Raises:
            ValueError: where there is nothing to check.
        """
        return tuple(self.counts)

    def disjoint(self, spec: Data) -> tuple[str, ...]:
        """Those of them that must not share an image, and are read in full."""
        return self.parts

    def preview(self, spec: Data, split: str | None, data: Path | None) -> Any:
        """What a sheet shows: the split named, or the first one."""
        return self.read(spec, split or self.parts[0], data)
