"""Pack what a GPU without a network needs for CamVid: frames, labels, weights.

    python -m tools.carry_camvid --data CamVid/ [--weights FILE] [--vgg16 FILE] [--to runs/carried]
                                 [--quality 85] [--test-quality 95]

Writes into `--to`: `camvid.zip`, the data set in its own layout with its frames as JPEG, those of
the test with full colour and of a quality that leaves scores alone, and its labels as they are; the
weights as `mobilenet_v2.safetensors` and `vgg16.safetensors`; and `commit.txt`, since a checkout
may travel without its history. `python -m benchmarks.gpu --carried DIR` reads them. The sizes that
it prints are for whoever must carry them through a limit: lower qualities, or one file of weights
at a time.
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from fcn_tutorial.datasets import CamVid
from tools.project import ROOT


def pack(data: Path, archive: Path, quality: int, test_quality: int) -> None:
    """Write the data set, its frames recoded, into one archive, whole or not at all.

    `CamVid/frames.txt` in it says what was done to the frames. Raises as `datasets.CamVid`.
    """
    partial = archive.with_name(archive.name + ".partial")
    archive.parent.mkdir(parents=True, exist_ok=True)
    # Stored: the files in it are compressed.
    with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as file:
        for split in CamVid.counts:
            # Half the resolution in colour is JPEG's usual form; 0 keeps it all.
            whole = {"quality": test_quality, "subsampling": 0}
            options = whole if split == "test" else {"quality": quality}
            lines = []
            for frame, label in CamVid(data, split).files:
                names = f"{split}/{frame.stem}.jpg", f"{split}annot/{label.name}"
                file.writestr(f"CamVid/{names[0]}", _recoded(frame, "JPEG", **options))
                file.writestr(f"CamVid/{names[1]}", _recoded(label, "PNG"))
                lines.append(" ".join(f"/SegNet/CamVid/{name}" for name in names))
            file.writestr(f"CamVid/{split}.txt", "\n".join(lines) + "\n")
        file.writestr(
            "CamVid/frames.txt",
            f"train and val recoded as JPEG {quality}, test as JPEG {test_quality}, 4:4:4",
        )
    partial.replace(archive)


def _recoded(path: Path, kind: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    with Image.open(path) as image:
        image.save(buffer, kind, optimize=True, **options)
    return buffer.getvalue()


def main(arguments: Sequence[str] | None = None) -> int:
    summary, *_ = (__doc__ or "").splitlines()
    parser = argparse.ArgumentParser(prog="python -m tools.carry_camvid", description=summary)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="the raw folder")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="MobileNetV2's trunk")
    parser.add_argument("--vgg16", type=Path, metavar="FILE", help="VGG16's convolutions")
    parser.add_argument("--to", type=Path, default=ROOT / "runs" / "carried", metavar="DIR")
    parser.add_argument("--quality", type=int, default=85, help="of frames to train on [85]")
    parser.add_argument("--test-quality", type=int, default=95, help="of test frames [95]")
    args = parser.parse_args(arguments)
    try:
        pack(args.data, args.to / "camvid.zip", args.quality, args.test_quality)
        for name, weights in (("mobilenet_v2", args.weights), ("vgg16", args.vgg16)):
            if weights:
                shutil.copy(weights, args.to / f"{name}.safetensors")
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    describe = ["git", "describe", "--always", "--abbrev=40", "--dirty=+changes"]
    commit = subprocess.run(describe, cwd=ROOT, capture_output=True, text=True).stdout
    (args.to / "commit.txt").write_text(commit, encoding="utf-8")
    sizes = {path.name: path.stat().st_size / 2**20 for path in sorted(args.to.iterdir())}
    print("\n".join(f"{size:7.2f} MiB  {args.to / name}" for name, size in sizes.items()))
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout
    tree = sum((ROOT / line).stat().st_size for line in tracked.splitlines()) / 2**20
    print(f"{tree:7.2f} MiB  the tracked files of the checkout")
    return 0


if __name__ == "__main__":
    sys.exit(main())
