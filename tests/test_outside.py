"""Nothing is written outside the run folder, the data folder and `--out`, whatever files say.

Every verb runs on data whose classes, photos, tasks and records are named like paths. What Python
opens for writing, makes, renames and removes is noted; the folders are listed besides, for what
libraries write by themselves.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fcn_tutorial import models
from fcn_tutorial.files import plain_name
from tests.versions import exports

ROOT = Path(__file__).parents[1]
HOSTILE = ("../precious", "/TMP/precious", "a/../../precious", "C:\\precious", "precious\x1b[2J")

SCRIPT = """
import json, os, sys
written = []
def note(event, arguments):
    if event == "open":
        count = bool(arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
    else:
        count = {"os.rename": 2, "os.link": 2, "os.symlink": 2, "os.mkdir": 1, "os.remove": 1,
                 "os.rmdir": 1, "os.truncate": 1, "os.chmod": 1}.get(event, 0)
    written.extend(os.fsdecode(path) for path in arguments[:count] if not isinstance(path, int))
sys.addaudithook(note)
from fcn_tutorial.cli import main
done = {}
for name, line in json.loads(sys.argv[1]).items():
    written.clear()
    status = main(line)
    done[name] = [status, sorted({os.path.realpath(path) for path in written})]
with open(sys.argv[2], "w") as file:
    json.dump(done, file)
"""


def _data(root: Path) -> Path:
    """Photos and masks with hostile names, of classes that are paths."""
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("..a", "-rf", "a b", "~", "%2e%2e", "$HOME", "c", "d", "e", "f"):
        pixels = rng.integers(0, 256, (20, 24, 3), np.uint8)
        Image.fromarray(pixels).save(root / "images" / f"{name}.png")
        Image.fromarray(pixels[..., 0] // 52).save(root / "masks" / f"{name}.png")
    names = [name.replace("/TMP", str(root.parent)) for name in HOSTILE]
    (root / "masks" / "classes.txt").write_text("\n".join(names))
    return root


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, tuple[int, list[str]]]]:
    """A folder in which every verb was run, and of each its status and what it wrote."""
    root = tmp_path_factory.mktemp("all")
    for name in ("here", "tmp", "cache"):
        (root / name).mkdir()
    data, run = _data(root / "data"), str(root / "run")
    photo = str(data / "images" / "..a.png")
    given = ["model.backbone=tiny", "model.weights=", "model.stride=32", "baselines=false"]
    chosen = [part for setting in given for part in ("--set", setting)]
    lines = {
        "train": ["train", "folder", "--data", str(data), "--out", run, "--smoke", *chosen],
        "resume": ["train", "folder", "--data", str(data), "--out", run, "--smoke", *chosen,
                   "--resume"],
        "evaluate": ["evaluate", run, "--data", str(data)],
        "predict": ["predict", run, photo, "--out", str(root / "labels"), "--probabilities"],
        "export": ["export", run, "--to", "torch", "--out", str(root / "net" / "a.pt2")],
        "results": ["results", run],
        "check": ["data", "check", "folder", str(data)],
        "preview": ["data", "preview", "folder", str(data), "--out", str(root / "sheet" / "a.png")],
        "fix": ["data", "fix", "folder", str(data), "--out", str(root / "fixed")],
        "make": ["data", "make", "camvid", str(root / "made"), "--n", "3", "--size", "32x32"],
    }  # fmt: skip
    (root / "net").mkdir()
    environment = {**os.environ, "TMPDIR": str(root / "tmp"), "PYTHONDONTWRITEBYTECODE": "1",
                   "PYTHONPATH": str(ROOT),
                   "TORCHINDUCTOR_CACHE_DIR": str(root / "cache")}  # fmt: skip
    found = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(lines), str(root / "done.json")],
        cwd=root / "here", env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr[-3000:]
    return root, json.loads((root / "done.json").read_text())


#: What each verb may write in.
PLACES = {"train": "run", "resume": "run", "predict": "labels", "export": "net", "fix": "fixed",
          "preview": "sheet", "make": "made"}  # fmt: skip
#: Where libraries keep what they would compute again, and what is no file.
ELSEWHERE = ("/dev/", "/proc/", str(Path.home() / ".cache"), str(Path.home() / ".config"))


@pytest.mark.parametrize(
    "verb",
    ["train", "resume", "evaluate", "predict", pytest.param("export", marks=exports), "results",
     "check", "preview", "fix", "make"],
)  # fmt: skip
def test_a_verb_writes_in_its_folder_only(
    verb: str, done: tuple[Path, dict[str, tuple[int, list[str]]]]
) -> None:
    root, verbs = done
    status, written = verbs[verb]
    assert status == 0
    allowed = [str(root / "tmp"), str(root / "cache"), *ELSEWHERE]
    allowed += [str(root / PLACES[verb])] if verb in PLACES else []
    strange = [path for path in written if not path.startswith(tuple(allowed))]
    assert strange == []


def test_nothing_else_is_there_afterwards(
    done: tuple[Path, dict[str, tuple[int, list[str]]]],
) -> None:
    root, _ = done
    places = {"here", "tmp", "cache", "data", "done.json", *PLACES.values()}
    assert {path.name for path in root.iterdir()} == places
    assert list((root / "here").iterdir()) == [] and list((root / "tmp").iterdir()) == []
    assert {path.name for path in (root / "data").iterdir()} == {"images", "masks"}
    assert not list(root.parent.rglob("precious*"))
    assert {path.name for path in (root / "labels").iterdir()} == {
        "..a.png", "..a-overlay.png", "..a.npz"
    }  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_task_that_is_named_like_a_path_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is no plain name"):
        plain_name(name, "task")
    with pytest.raises(ValueError, match="is no plain name"):
        models.FCN("tiny", {name: 3, "other": 2}, width=0.25)


def test_a_recipe_that_a_record_names_is_no_path(tmp_path: Path) -> None:
    """Folders of staged runs are named after registered recipes, not after what a card says."""
    from fcn_tutorial import training

    stored = training.as_dict(training.get("scenes-fcn8s"))
    stored |= {"name": "../precious", "coarser": "../precious"}
    recipe = training.from_dict(stored)
    with pytest.raises(ValueError, match="no recipe"):
        training.train_staged(recipe, tmp_path / "out", lambda stage: stage)
    assert torch.get_num_threads() and list(tmp_path.iterdir()) == []
