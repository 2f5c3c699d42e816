"""Several processes do together what one does alone."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fcn_tutorial.training import RunFolder
from fcn_tutorial.training.stream import EpochSampler
from tests.devices import DEVICES
from tests.training import together

SCRIPT = Path(together.__file__)


def torchrun(processes: int, script: Path, *arguments: object) -> None:
    command = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    found = subprocess.run(
        [sys.executable, *command, str(script), *map(str, arguments)],
        cwd=SCRIPT.parents[2], capture_output=True, text=True,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr[-3000:]


@pytest.fixture(scope="module", params=DEVICES)
def runs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[RunFolder, RunFolder]:
    """The same 20 steps of 8 images, by one process and by two."""
    root = tmp_path_factory.mktemp("runs")
    together.train_and_score(root / "one", 8, torch.device(request.param))
    torchrun(2, SCRIPT, root, request.param)
    return RunFolder(root / "one"), RunFolder(root / "two")


def test_two_processes_of_batch_b_are_one_of_batch_2b(runs: tuple[RunFolder, RunFolder]) -> None:
    """Void differs between the images, so a mean of two means would not do; norms are frozen."""
    one, two = (folder.read_state() for folder in runs)
    assert one["progress"]["step"] == two["progress"]["step"] == 20
    moved = 0.0
    for key, tensor in one["model"].items():
        # Sums of float32 in another order: 1e-6 of weights that are about 0.1.
        assert torch.allclose(tensor, two["model"][key], rtol=0, atol=1e-6), key
        moved += float(tensor.abs().sum())
    assert moved > 0
    losses = [[row["loss"] for row in state["progress"]["rows"]] for state in (one, two)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_every_image_is_scored_once(runs: tuple[RunFolder, RunFolder]) -> None:
    """Five images in two processes: padding the shares to equal length would count one twice."""
    one, two = (torch.load(folder.path / "matrix.pt") for folder in runs)
    assert torch.equal(one, two) and int(one.sum()) > 0


def test_only_the_first_process_writes_and_the_record_says_how_many(
    runs: tuple[RunFolder, RunFolder],
) -> None:
    record = json.loads(runs[1].record.read_text())
    assert record["train"]["processes"] == 2 and record["train"]["steps"] == 20
    assert len(runs[1].read_state()["random"]) == 2


def test_gradients_are_exchanged_once_a_step_whatever_its_parts(
    runs: tuple[RunFolder, RunFolder],
) -> None:
    """Compiled as well: such a module is no longer an instance of what it wraps."""
    counts = json.loads((runs[1].path.parent / "counts.json").read_text())
    assert counts == {"steps": 6, "plain": 6, "compiled": 6}


def test_what_a_step_takes_does_not_depend_on_how_many_share_it() -> None:
    whole = EpochSampler(30, 6, seed=3)
    shares = [
        iter(EpochSampler(30, 3, seed=3, parts=p, rank=r, world_size=2))
        for r, p in ((0, 1), (1, 3))
    ]
    for step in whole:
        together = next(shares[0]) + [key for _ in range(3) for key in next(shares[1])]
        assert together == step
