"""Collectives over the workers of a run; without a process group they are the identity."""

from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn


def world_size() -> int:
    """Return the number of workers that take part in collectives."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def mean_over_workers(values: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
    """Average each value over the workers; every worker must call it."""
    workers = world_size()
    if workers == 1:
        return values
    total = values.clone()
    dist.all_reduce(total)
    return total / workers


def broadcast_buffers(model: nn.Module) -> None:
    """Copy rank 0's buffers, such as batch norm statistics, to all workers.

    Every worker must call it.
    """
    if world_size() > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)


def gather_objects(value: Any) -> list[Any]:
    """Return the value of every worker in order of rank.

    Values are pickled, so only for trusted workers of one run.
    """
    workers = world_size()
    if workers == 1:
        return [value]
    gathered: list[Any] = [None] * workers
    dist.all_gather_object(gathered, value)
    return gathered


def broadcast_object(value: Any, device: torch.device) -> Any:
    """Return rank 0's value on every worker."""
    if world_size() == 1:
        return value
    objects = [value]
    dist.broadcast_object_list(objects, src=0, device=device)
    return objects[0]
