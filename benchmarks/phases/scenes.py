"""A network from random weights on generated scenes of 256×256: its scores and its curve."""

from __future__ import annotations

import csv
import json
import sys
import tempfile
from pathlib import Path

from benchmarks.phases.bundle import Bundle, Work

RECIPE = "scenes-fcn8s"
#: Fewer scenes than the recipe has: rendering them is most of the time.
SETTINGS = (
    "model.backbone=resnet18", "data.crop=256,256", "data.train_images=400", "data.test_images=100",
    "epochs=30", "validate_every=10", "precision=auto", "baselines=false",
)  # fmt: skip


def run(work: Work, keep: Bundle) -> None:
    """`fcn-tutorial train` with other settings; raises Cut or RuntimeError where it did not end."""
    with tempfile.TemporaryDirectory() as folder:
        line = [sys.executable, "-m", "fcn_tutorial", "train", RECIPE, "--out", folder]
        # Thin as in a smoke run, ResNet-18 has strided 1×1 convolutions of 4 channels, whose
        # backward pass ends torch 2.13 on a CPU with a segmentation fault.
        chosen = SETTINGS[1:] if work.smoke else SETTINGS
        line += [word for setting in chosen for word in ("--set", setting)]
        code = work.call([*line, "--device", work.device, *["--smoke"] * work.smoke])
        if code:
            raise RuntimeError(f"the run ended with {code}, see the log")
        record = json.loads((Path(folder) / "record.json").read_text(encoding="utf-8"))
        with (Path(folder) / "log.csv").open(encoding="utf-8", newline="") as file:
            record["log"] = list(csv.DictReader(file))
    trunk, score = record["settings"]["model"]["backbone"], record["test"]["mean_iu"]
    seconds = record["train"]["seconds"]
    says = f"{trunk} from scratch on scenes: mean IU {100 * score:.1f}, {seconds:.0f} s"
    keep.add(f"benchmarks/results/scenes-{work.device}.json", record, says)
