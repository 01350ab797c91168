"""Whether an image fits into memory, checked before the network gets it: a killed process reports nothing."""

import os
import resource
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil
import torch
from torch import Tensor, nn

# Side of the canvas that memory is measured on; a multiple of all strides.
PROBE_SIDE: Final = 256
# Not offered to a batch: what the process takes beside it.
RESERVE: Final = 256 << 20
_CGROUP: Final = Path("/sys/fs/cgroup")


def bytes_per_pixel(detector: nn.Module) -> float:
    """Return the memory that a forward pass takes at least for each pixel of its canvas.

    Measured on a small canvas, as the largest input and output of a layer together, which exist at the same time. A
    whole pass of ResNet-50 took 275 bytes in fp32, of which this finds half.
    """
    largest = 0

    def measure(_: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        nonlocal largest
        tensors = [item for item in (*inputs, output) if isinstance(item, Tensor)]
        largest = max(largest, sum(tensor.numel() * tensor.element_size() for tensor in tensors))

    layers = [module for module in detector.modules() if next(module.children(), None) is None]
    handles = [layer.register_forward_hook(measure) for layer in layers]
    try:
        device = next(detector.parameters()).device
        canvas = torch.zeros(1, 3, PROBE_SIDE, PROBE_SIDE, dtype=torch.uint8, device=device)
        with torch.no_grad():
            detector(canvas, torch.tensor([[PROBE_SIDE, PROBE_SIDE]], device=device))
    finally:
        for handle in handles:
            handle.remove()
    return largest / PROBE_SIDE**2


def images_that_fit(canvas: tuple[int, int], pixel_bytes: float, device: torch.device) -> int:
    """Return how many images of a canvas (height, width) a batch may have by the memory that is free now.

    An estimate from below, as `pixel_bytes` is: a failed allocation is still possible. A single image may take what is
    reserved beside a batch, so that none is refused that could be predicted.
    """
    free, needed = free_bytes(device), canvas[0] * canvas[1] * pixel_bytes
    return max(int(max(0, free - RESERVE) // needed), int(needed <= free))


def free_bytes(device: torch.device) -> int:
    """Return the bytes that can be allocated on a device: the least of what machine, container and process allow."""
    if device.type == "cuda":
        free: int = torch.cuda.mem_get_info(device)[0]
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    limits: list[int] = [psutil.virtual_memory().available]
    with suppress(OSError, ValueError):  # no such limit ("max"), or another kind of system
        limit = int((_CGROUP / "memory.max").read_text())
        statistics = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
        limits.append(limit - int((_CGROUP / "memory.current").read_text()) + int(statistics["inactive_file"]))
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        limits.append(soft - psutil.Process(os.getpid()).memory_info().vms)
    return max(0, min(limits))
