"""Number formats, compilation, determinism and memory, as training uses them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.forms import FORMS, Work
from fcn_tutorial import training
from fcn_tutorial.losses import pixel_cross_entropy, upsample_cross_entropy
from fcn_tutorial.upsampling import Border, upsample
from tests.devices import on_cuda, on_every_device
from tests.models.networks import joined, make

SHORT = (
    "model.width=0.5", "data.crop=48,64", "data.train_images=16", "data.test_images=2", "batch=4",
    "epochs=4", "validate_every=4", "baselines=false",
)  # fmt: skip


def trained(out: Path, device: str, *settings: str) -> tuple[dict[str, Any], list[float]]:
    """The record of a short run, and its losses by epoch."""
    recipe, changed = training.override(training.get("scenes-fcn8s"), [*SHORT, *settings])
    record = training.train(recipe, out, device=device, overrides=changed)
    lines = [line.split(",") for line in (out / "log.csv").read_text().splitlines()]
    column = lines[0].index("loss")
    return record, [float(line[column]) for line in lines[1:]]


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    """The losses in float32 on the CPU."""
    return trained(tmp_path_factory.mktemp("usual"), "cpu")[1]


@on_every_device
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_a_run_in_every_number_format_learns_as_in_float32(
    precision: str, device: str, tmp_path: Path, usual: list[float]
) -> None:
    """float16 needs the scaler: without it small gradients vanish, and a large scale overflows."""
    if (precision, device) == ("float32", "cpu"):
        pytest.skip("that is the usual run")
    record, losses = trained(tmp_path, device, f"precision={precision}")
    assert record["train"]["precision"] == precision
    # Sixteen steps amplify rounding: bfloat16's eight bits to some percent of the loss, and
    # float16's scaler drops its first step or two, which overflow.
    assert losses == pytest.approx(usual, rel=0.01 if precision == "float32" else 0.15)
    assert losses[-1] < 0.9 * losses[0]


@on_every_device
def test_autocast_changes_scores_by_rounding_only(device: str) -> None:
    network = make("resnet18").to(device).eval()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)).to(device)
    with torch.no_grad():
        exact = joined(network(images))
        for dtype, bits in ((torch.bfloat16, 8), (torch.float16, 11)):
            with torch.autocast(device, dtype):
                half = joined(network(images)).float()
            # Some twenty layers round; their errors add up at random.
            assert (half - exact).abs().mean() < 12 * 2**-bits * exact.std()


@on_cuda
def test_the_default_compiler_trains_as_no_compiler(
    device: str, tmp_path: Path, usual: list[float]
) -> None:
    _, losses = trained(tmp_path, device, "compile=true")
    assert losses == pytest.approx(usual, rel=0.01)


@on_cuda
@pytest.mark.parametrize("name", ["tiny", "vgg16-caffe", "resnet18", "late-fusion"])
def test_the_default_compiler_gives_the_same_scores(name: str, device: str) -> None:
    torch.compiler.reset()
    network = make(name).to(device).double().eval()
    images = torch.randn(2, network.in_channels, 64, 96, dtype=torch.float64, device=device)
    with torch.no_grad():
        compiled = joined(torch.compile(network)(images))
        assert torch.allclose(compiled, joined(network(images)), rtol=1e-9, atol=1e-9)


@pytest.fixture
def deterministic(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An operation without a deterministic form raises."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS asks for in this mode
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@on_every_device
@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize("border", ["zero", "replicate"])
def test_upsampling_by_matrices_has_one_result_and_one_gradient(
    border: Border, device: str
) -> None:
    seed = torch.randn(2, 21, 375, 500, device=device)
    coarse = torch.randn(2, 21, 12, 16, device=device)

    def run() -> tuple[Tensor, Tensor]:
        leaf = coarse.clone().requires_grad_()
        fine = upsample(leaf, 32, (375, 500), 16, border=border)
        return fine.detach(), torch.autograd.grad(fine, leaf, seed)[0]

    first, again = run(), run()
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])


@on_every_device
@pytest.mark.parametrize("form", ["banded", "matrix"])
def test_the_gradient_of_upsampling_and_loss_has_the_same_bits_every_time(
    form: str, device: str
) -> None:
    """Without asking for it; `benchmarks.core` records what F.interpolate does beside it."""
    work = Work.make(8, 2, 120 if device == "cpu" else 500, torch.device(device))
    first = FORMS[form](work)
    assert all(torch.equal(FORMS[form](work), first) for _ in range(4))


@on_cuda
@pytest.mark.parametrize("factor", [8, 32])
def test_loss_in_bands_takes_a_fifth_of_the_memory(factor: int, device: str) -> None:
    """By the allocator, 21 classes, 500×500, batch 8."""

    def extra(banded: bool, batch: int, size: int) -> int:
        coarse = size // factor + 1
        scores = torch.randn(batch, 21, coarse, coarse, device=device).requires_grad_()
        target = torch.randint(0, 21, (batch, size, size), dtype=torch.uint8, device=device)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        if banded:
            loss = upsample_cross_entropy(scores, target, factor, factor // 2)
        else:
            fine = upsample(scores, factor, (size, size), factor // 2)
            loss = pixel_cross_entropy(fine, target)
            del fine
        loss.backward()
        return torch.cuda.max_memory_allocated() - before

    for banded in (False, True):
        extra(banded, 1, 64)  # what cuBLAS takes on first use
    assert extra(True, 8, 500) <= extra(False, 8, 500) / 5


@on_cuda
def test_the_device_is_chosen_without_being_named(device: str, tmp_path: Path) -> None:
    line = [sys.executable, "-m", "fcn_tutorial", "train", "scenes-fcn8s", "--smoke", "--out"]
    subprocess.run([*line, str(tmp_path / "run")], check=True, capture_output=True)
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert record["device"] == torch.cuda.get_device_name()
    assert record["train"]["peak_memory_mb"] > 0
