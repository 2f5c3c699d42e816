"""Processes on a device: one that is killed and goes on, one by NCCL, two on one card by gloo."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from tests.devices import on_cuda, on_every_device
from tests.models.networks import joined, make
from tests.training import killing

DETERMINISTIC = """
import runpy, torch
torch.use_deterministic_algorithms(True, warn_only=True)
runpy.run_module("fcn_tutorial", run_name="__main__", alter_sys=True)
"""


@on_cuda
def test_killed_runs_end_with_the_same_bits_under_deterministic_algorithms(
    device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(given: Sequence[str], limit: int) -> killing.Running:
        line = [device if word == "cpu" else word for word in given]
        return killing.cold([sys.executable, "-c", DETERMINISTIC, *line])

    # Fewer epochs than on a CPU: each starts the workers that load its images.
    more = ("--set", "epochs=30", "--set", "validate_every=10")
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS asks for in this mode
    status, said = start(killing.arguments(tmp_path / "calm", *more), 0).finish()
    assert status == 0, said
    killing.kill_and_resume(tmp_path / "cut", 3, more=more, start=start)
    assert killing.differences(tmp_path / "calm", tmp_path / "cut") == []


@on_every_device
def test_one_process_that_exchanges_with_itself_has_its_own_gradients(
    device: str, tmp_path: Path
) -> None:
    backend = {"cpu": "gloo", "cuda": "nccl"}[device]
    alone = make("tiny").to(device)
    images = torch.randn(2, 3, 64, 64, device=device)
    dist.init_process_group(backend, init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        shared = DistributedDataParallel(make("tiny").to(device))
        for network in (alone, shared):
            joined(network(images)).square().mean().backward()
        numbers = torch.arange(5, device=device)
        dist.all_reduce(numbers)
        assert numbers.tolist() == [0, 1, 2, 3, 4]
    finally:
        dist.destroy_process_group()
    for own, other in zip(alone.parameters(), shared.parameters(), strict=True):
        assert own.grad is not None and other.grad is not None
        # The same sums; on CUDA cuDNN may choose another order for them.
        assert torch.allclose(own.grad, other.grad, rtol=1e-3, atol=1e-5)
