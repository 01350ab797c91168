"""Shared memory, in which loader processes hand over their batches: what they need of it, and what there is."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Int64
from torch import Tensor

from fcos.config.run import Config, DataConfig
from fcos.data.coco import CocoDataset
from fcos.data.transforms import resized_size
from fcos.errors import ConfigError, SharedMemoryError

FOLDER: Final = Path("/dev/shm")
# Batches that each process keeps ready: DataLoader's prefetch_factor.
READY: Final = 2
MIB: Final = 2**20
# The least that is recommended to whoever makes it larger.
LEAST_MIB: Final = 1024


def share(tensor: Tensor) -> None:
    """Move a tensor into shared memory, in which it is sent to another process.

    Raises SharedMemoryError where there is no room. In the thread that sends it, torch would only print that, and the
    process that waits for the batch would wait for ever.
    """
    try:
        tensor.share_memory_()
    except RuntimeError as error:
        reason = str(error).rpartition(": ")[2] or str(error)
        raise SharedMemoryError(no_room("a batch of a loader process", reason)) from error


def no_room(what: str, reason: str) -> str:
    """Say why something does not fit into shared memory, and what helps."""
    return f"data.num_workers: {FOLDER} has no room for {what} ({reason}); {_advice(0)}"


def free_bytes() -> int | None:
    """Measure the free shared memory of this machine; None where it has no folder of it."""
    try:
        facts = os.statvfs(FOLDER)
    except OSError:
        return None
    return facts.f_bavail * facts.f_frsize


def check_shared_memory(
    datasets: Sequence[CocoDataset], config: DataConfig, *, images: int, divisor: int, workers: int = 1
) -> None:
    """Raise ConfigError where the batches of these data sets' loaders do not fit together.

    A batch has so many `images`. `workers` of this machine each have loader processes of their own.
    """
    free = free_bytes()
    if not config.num_workers or free is None:
        return
    need = workers * sum(loader_bytes(dataset, config, images=images, divisor=divisor) for dataset in datasets)
    if need > free:
        processes = f"{config.num_workers} loader processes" + (f" of each of {workers} workers" if workers > 1 else "")
        raise ConfigError(
            f"data.num_workers={config.num_workers}: {processes} hand over their batches in {FOLDER}, and with "
            f"{READY} batches of up to {images} images each they need {in_mib(need)} of it, where {in_mib(free)} are "
            f"free; {_advice(need)}"
        )


def loader_bytes(dataset: CocoDataset, config: DataConfig, *, images: int, divisor: int) -> int:
    """Compute the most bytes of pixels that a loader has ready."""
    images = min(images, len(dataset))
    batches = READY * config.num_workers
    if not dataset.training:
        batches = min(batches, math.ceil(len(dataset) / images))
    # Batches of evaluation are of like aspect ratio always.
    by_aspect = config.group_by_aspect or not dataset.training
    return batches * batch_bytes(images, largest_padded(dataset, divisor, by_aspect=by_aspect))


def batch_bytes(images: int, canvas: tuple[int, int]) -> int:
    """Compute the bytes of the pixels of a batch."""
    return images * 3 * canvas[0] * canvas[1]


def bound(config: Config, workers: int) -> int | None:
    """Compute the most bytes that a worker's loaders can need.

    None where nothing but the images' own sizes decides it.
    """
    data, schedule = config.data, config.schedule
    if data.short_sides is not None and data.long_side is not None:
        sides = (max(data.short_sides), data.long_side)
    elif data.synthetic is not None:
        sides = (data.synthetic.image_size,) * 2
    else:
        return None
    height, width = (-(-side // config.model.size_divisor) * config.model.size_divisor for side in sides)
    images = max(1, schedule.batch_size // schedule.accumulate // workers)
    # Those of evaluation come while those of training wait.
    return 2 * READY * data.num_workers * batch_bytes(images, (height, width))


def largest_padded(dataset: CocoDataset, divisor: int, *, by_aspect: bool) -> tuple[int, int]:
    """Find the largest (height, width) that a batch is padded to.

    With `by_aspect`, no batch holds images of both orientations.
    """
    sizes = _input_sizes(dataset)
    upright = sizes[:, 0] > sizes[:, 1]
    groups = [sizes[upright], sizes[~upright]] if by_aspect else [sizes]
    canvases = [-(-group.max(axis=0) // divisor) * divisor for group in groups if len(group)]
    height, width = max(canvases, key=lambda canvas: int(canvas.prod())).tolist()
    return height, width


def _input_sizes(dataset: CocoDataset) -> Int64[np.ndarray, "K 2"]:
    """Each (height, width) that an image has at the largest short side."""
    sizes = np.unique(dataset.annotations.sizes, axis=0)
    sides, long_side = dataset.short_sides, dataset.long_side
    if sides is None or long_side is None:
        return sizes
    return np.array([resized_size((h, w), max(sides), long_side, dataset.box_convention) for h, w in sizes.tolist()])


def in_mib(number: int) -> str:
    """Write a number of bytes in MiB."""
    return f"{number / MIB:.1f} MiB"


def _advice(need: int) -> str:
    # Ray keeps its own things there too.
    size = max(LEAST_MIB, math.ceil(1.25 * need / MIB))
    return (
        "give fewer data.num_workers (0 loads in the training process itself), or make it larger: in Docker with "
        f"--shm-size={size}m"
    )
