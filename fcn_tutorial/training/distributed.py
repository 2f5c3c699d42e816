"""What several processes agree on; every function is the identity in a run of one process.

`torchrun` starts the processes and names them; the backend is NCCL on CUDA and gloo on CPUs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

Value = TypeVar("Value")

#: Seconds.
_LETTING_GO = 0.2


def rank() -> int:
    """Which process this is, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


@contextmanager
def group(device: torch.device) -> Iterator[torch.device]:
    """Join the processes that `torchrun` started; yields the device of this one.

    Outside `torchrun`, and inside a group somebody else has made, nothing is joined.
    """
    if "RANK" not in os.environ or dist.is_initialized() or int(os.environ["WORLD_SIZE"]) == 1:
        yield device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
    finally:
        # Gloo's thread lets go of its last tensors under Python's lock. A group whose end waits for
        # that thread with the lock held, as that of DistributedDataParallel does, would wait for
        # ever: asleep, this thread leaves the lock to it.
        time.sleep(_LETTING_GO)
        dist.destroy_process_group()


def total(tensor: Tensor) -> Tensor:
    """The sum over all processes, in place."""
    if world_size() > 1:
        dist.all_reduce(tensor)
    return tensor


def anywhere(flag: bool, device: torch.device) -> bool:
    """Whether `flag` is raised in any process."""
    if world_size() == 1:
        return flag
    return bool(total(torch.tensor(int(flag), device=device)))


def gathered(value: Any) -> list[Any]:
    """`value` of every process, by rank."""
    if world_size() == 1:
        return [value]
    found: list[Any] = [None] * world_size()
    dist.all_gather_object(found, value)
    return found


def wait() -> None:
    """Until every process is here."""
    if world_size() > 1:
        dist.barrier()


def by_first(action: Callable[[], Value]) -> Value:
    """What `action` gives in the first process, in all of them.

    Raises:
        ValueError, OSError: in all of them what it raised there, so that none waits for one that
            has ended.
    """
    if world_size() == 1:
        return action()
    found: list[Any] = [None, None]
    if rank() == 0:
        try:
            found[0] = action()
        except (ValueError, OSError) as error:
            found[1] = error
    dist.broadcast_object_list(found)
    if found[1] is not None:
        raise found[1]
    return found[0]  # type: ignore[no-any-return]


def leads() -> bool:
    """Whether this process is the one that prints and writes, also outside a group."""
    return int(os.environ.get("RANK", "0")) == 0
