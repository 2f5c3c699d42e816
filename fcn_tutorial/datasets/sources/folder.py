"""A folder of somebody's own photos and masks: how it is parted, shrunk and repeated."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, cast

import torch

from fcn_tutorial.datasets.leakage import digest
from fcn_tutorial.datasets.loading import InMemory
from fcn_tutorial.datasets.own.folder import Folder, names_or_file
from fcn_tutorial.datasets.own.labelling import Unnamed, beside
from fcn_tutorial.datasets.own.pairing import Names
from fcn_tutorial.datasets.own.parts import Shares
from fcn_tutorial.datasets.own.repair import repair
from fcn_tutorial.datasets.own.report import mask_report, unnamed_report
from fcn_tutorial.datasets.own.unfit import unfit
from fcn_tutorial.datasets.source import Findings, Source
from fcn_tutorial.datasets.spec import Data
from fcn_tutorial.files import first_few, number_of
from fcn_tutorial.transforms import LimitSide


@dataclass(frozen=True)
class FolderData(Data):
    """A folder of one's own, as `datasets.Folder` reads it; paths start where the command runs."""

    images: Annotated[str, "folder of photos; by default those in --data DIR"] = ""
    masks: Annotated[str, "folder of masks; likewise"] = ""
    classes: Annotated[str, "names with commas, or a file with one a line"] = ""
    colours: Annotated[str, "for painted masks: name=#rrggbb,…, or a CSV or YAML file"] = ""
    image_prefix: Annotated[str, "what photos' names begin with, unlike their masks'"] = ""
    image_suffix: Annotated[str, "what their stems end in, such as _leftImg8bit"] = ""
    mask_prefix: Annotated[str, "what masks' names begin with, unlike their photos'"] = ""
    mask_suffix: Annotated[str, "what their stems end in, such as _mask"] = ""
    val_fraction: Annotated[float, "share of the photos that chooses the weights"] = 0.15
    test_fraction: Annotated[float, "share that is scored once, at the end; 0: none"] = 0.15
    split_seed: Annotated[int, "of the drawn shares; --seed leaves them alone"] = 0
    train_list: Annotated[str, "instead of shares: a file of names or paths, one a line"] = ""
    val_list: Annotated[str, "likewise"] = ""
    test_list: Annotated[str, "likewise; none: no test"] = ""
    longest_side: Annotated[int, "pixels; larger photos are shrunk to it; 0: never"] = 480
    epoch_images: Annotated[int, "fewer photos are shown again until an epoch has so many"] = 160

    @property
    def names(self) -> Names:
        """What file names have more than the part that a photo and its mask share."""
        return Names(self.image_prefix, self.image_suffix, self.mask_prefix, self.mask_suffix)

    @property
    def drawn(self) -> bool:
        """Whether shares decide the splits, not lists."""
        return not (self.train_list or self.val_list or self.test_list)

    def part(self, split: str) -> str:
        """What `Folder` takes for train, val or test: the name, or the list of its photos.

        Raises:
            ValueError: where one of the lists is given without the other.
        """
        if self.drawn:
            return split
        if not (self.train_list and self.val_list):
            raise ValueError(
                f"data.train_list={self.train_list!r}, data.val_list={self.val_list!r}: lists go "
                "together; give one of photos to train on and one of photos to validate on"
            )
        return {"train": self.train_list, "val": self.val_list, "test": self.test_list}[split]


@dataclass(frozen=True)
class _OwnFolder(Source):
    spec_type = FolderData
    licence = "yours"
    address = "your disk"

    def splits(self, spec: Data) -> tuple[str, ...]:
        own = _own(spec)
        tested = own.test_fraction > 0 if own.drawn else own.test_list
        return ("train", "val", "test") if tested else ("train", "val")

    def read(self, spec: Data, split: str, data: Path | None) -> Folder:
        """train, val, test, or a list of photos; these no longer than `longest_side`."""
        known = ("train", "val", "test")
        return self._folder(_own(spec), _own(spec).part(split) if split in known else split, data)

    def elsewhere(self, spec: Data, data: Path) -> Data:
        """Folders of the same names in `data`, where it has them, or its images/ and masks/."""
        own = _own(spec)
        images, masks = (data / Path(named).name for named in (own.images, own.masks))
        return dataclasses.replace(
            own,
            images=str(images) if own.images and images.is_dir() else "",
            masks=str(masks) if own.masks and masks.is_dir() else "",
        )

    def relabelled(self, spec: Data, data: Path) -> Data:
        masks = _folders(_own(self.elsewhere(spec, data)), data)[1]
        if beside(masks, "colours.csv") or beside(masks, "classes.txt"):
            return dataclasses.replace(_own(spec), classes="", colours="")
        return spec

    def everything(self, spec: Data, data: Path | None) -> Folder:
        return self._folder(_own(spec), None, data)

    def _folder(self, spec: FolderData, split: str | None, data: Path | None) -> Folder:
        dataset = Folder(
            *_folders(spec, data),
            names_or_file(spec.classes),
            split,
            LimitSide(spec.longest_side) if spec.longest_side else None,
            spec.colours or None,
            spec.names,
            Shares(spec.val_fraction, spec.test_fraction, spec.split_seed),
        )
        if len(dataset.classes) < 2:
            raise ValueError(
                f"{dataset.masks}: {dataset.classes[0]!r} is the only class, and every pixel would "
                "be it. Name what is around it too, as in --set data.classes=background,"
                f"{dataset.classes[0]}, and give it a label of its own"
            )
        return dataset

    def open(self, spec: Data, split: str, data: Path | None) -> Any:
        own = _own(spec)
        if split not in (*self.reader.splits, "all"):
            if not Path(split).is_file():
                raise ValueError(
                    f"there is no split {split!r}: name train, val, test, all, or a text file with "
                    "one photo a line"
                )
            listed = self.read(spec, split, data)
            return InMemory(listed, len(listed))
        if split == "test" and "test" not in self.splits(spec):
            raise ValueError(
                "there is no split 'test', only train and val: the recipe has "
                f"data.test_fraction={own.test_fraction} and data.test_list={own.test_list!r}"
            )
        if split == "train":
            if not own.drawn:
                self._check_lists(own, data)
            if problems := self.described(spec, data).problems:
                raise ValueError(problems[0])
        return super().open(spec, split, data)

    def _check_lists(self, spec: FolderData, data: Path | None) -> None:
        """Raise ValueError for photos that two lists name."""
        named = {s: {i for i, _ in self.read(spec, s, data).files} for s in self.splits(spec)}
        for first, second in combinations(named, 2):
            if shared := sorted(path.name for path in named[first] & named[second]):
                count = f"{len(shared)} of {len(named[second])} photos"
                raise ValueError(
                    f"data.{first}_list and data.{second}_list: {count} of the latter are in both: "
                    f"{first_few(shared)}. Take them out of one, or the scores say nothing"
                )

    def remark(self, spec: Data) -> str:
        longest = _own(spec).longest_side
        if not longest:
            return "photos were scored at their own size"
        return f"photos above {longest} pixels were shrunk to it, and scored at that size"

    def drawn(self, spec: Data, split: str) -> bool:
        return _own(spec).drawn and split in self.reader.splits

    def described(self, spec: Data, data: Path | None) -> Findings:
        try:
            return mask_report([self.read(spec, split, data) for split in self.splits(spec)])
        except Unnamed as error:
            return unnamed_report(error)

    def unfit(self, spec: Data, data: Path | None) -> tuple[str, ...]:
        own = _own(spec)
        return tuple(unfit(*_folders(own, data), own.names)) if own.drawn else ()

    def mended(self, spec: Data, data: Path | None, out: Path) -> Findings:
        own = _own(spec)
        folders, classes = _folders(own, data), names_or_file(own.classes)
        try:
            done = repair(*folders, out, classes, own.colours or None, own.names)
        except Unnamed as error:
            why = f"{error.folder}: which colour is which class? Give each a name, then fix again"
            return unnamed_report(error, why)
        said = [f"{done.masks} masks with the classes {first_few(done.classes, 20)} are in {out}"]
        for count, what in (
            (done.moved[0], f"had {done.moved[1]:,} pixels of no label's value, now the nearest's"),
            (done.turned, "turned as the photo's EXIF orientation says"),
            (done.resized, "brought to the photo's size"),
        ):
            said += [f"{count} {what}"] * bool(count)
        return Findings(tuple(said))

    def window(self, spec: Data, train_set: Any) -> tuple[int, int]:
        """`spec.crop`, but no larger than the photos.

        Padding would otherwise show the network a world of void that no photo has.
        """
        sizes = [train_set[i][0].shape[-2:] for i in range(len(train_set))]
        rows, columns = (max(side) for side in zip(*sizes, strict=True))
        return min(spec.crop[0], rows), min(spec.crop[1], columns)

    def epoch_images(self, spec: Data, images: int) -> int:
        """All of them, each several times where there are few."""
        return images * max(1, -(-_own(spec).epoch_images // images))

    def notes(self, spec: Data, opened: Mapping[str, Any]) -> list[str]:
        found = []
        if "test" not in opened:
            found.append("no test split: val chose the weights, so its scores flatter them")
        for split, dataset in opened.items():
            counts = _label_counts(dataset)
            if split == "train" and not any(counts):
                raise ValueError(
                    f"none of the {len(dataset)} training masks has a labelled pixel: all are void "
                    "(255); check that they are the label images"
                )
            if absent := [name for name, n in zip(dataset.classes, counts, strict=True) if not n]:
                found.append(f"{split} has no pixel of {first_few(absent)}")
        if spec.crop != (used := self.window(spec, opened["train"])):
            found.append(
                f"data.crop={_pair(spec.crop)} is larger than the photos: {_pair(used)} was used"
            )
        digests = {split: _digests(dataset) for split, dataset in opened.items()}
        for split in list(opened)[1:]:
            if shared := len(digests["train"] & digests[split]):
                found.append(
                    f"train and {split} share {number_of(shared, 'photo')}, which flatters the "
                    "scores: `fcn-tutorial data check folder` names such pairs"
                )
        return found

    def small(self, spec: Data) -> Data:
        # Four, where there are fewer.
        return dataclasses.replace(cast(FolderData, super().small(spec)), epoch_images=4)

    def checked(self, spec: Data) -> tuple[str, ...]:
        return self.splits(spec)

    def disjoint(self, spec: Data) -> tuple[str, ...]:
        return self.splits(spec)

    def preview(self, spec: Data, split: str | None, data: Path | None) -> Folder:
        return self.everything(spec, data) if split is None else self.read(spec, split, data)


FOLDER = _OwnFolder(
    name="folder",
    title="your own images and masks",
    reader=Folder,
    note="name it with --images and --masks, or as a DIR that holds images/ and masks/",
    in_memory=True,
)


def _own(spec: Data) -> FolderData:
    """The settings, of the class that `settings.from_dict` and recipes make for this source."""
    return cast(FolderData, spec)


def _folders(spec: FolderData, data: Path | None) -> tuple[Path, Path]:
    """Of photos and of masks; one folder that holds both, where neither is named."""
    if data is None and not (spec.images and spec.masks):
        raise FileNotFoundError(
            "the folder recipe needs your photos and their masks: give --set data.images=DIR "
            "--set data.masks=DIR, or --data DIR for a folder that holds images/ and masks/"
        )
    if not (spec.images or spec.masks):
        return data or Path(), data or Path()
    found = []
    for what in ("images", "masks"):
        named = getattr(spec, what)
        inside = (data or Path()) / (named or what)
        found.append(inside if inside.is_dir() or not named else Path(named))
    if data is not None and not any(path.is_relative_to(data) for path in found):
        raise ValueError(
            f"{data}: nothing in it is read, because data.images={spec.images} and "
            f"data.masks={spec.masks} are elsewhere; leave out the one or the others"
        )
    return found[0], found[1]


def _pair(sides: tuple[int, int]) -> str:
    return f"{sides[0]},{sides[1]}"


def _label_counts(dataset: Any) -> list[int]:
    """Pixels of each class."""
    counts = torch.zeros(256, dtype=torch.int64)
    for i in range(len(dataset)):
        counts += torch.bincount(dataset[i][1].flatten(), minlength=256)
    return [int(n) for n in counts[: len(dataset.classes)]]


def _digests(dataset: Any) -> set[bytes]:
    return {digest(dataset[i][0].numpy()) for i in range(len(dataset))}
