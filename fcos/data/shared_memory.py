"""Shared memory through which loader processes pass batches: how much they need, and how much there is."""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Int64

from fcos.config.run import Config, DataConfig
from fcos.data.sample_settings import SampleSizes
from fcos.data.sampler import eval_groups
from fcos.errors import ConfigError
from fcos.images.resized_size import resized_size

FOLDER: Final = Path("/dev/shm")
# Batches that each process prefetches: DataLoader's prefetch_factor.
PREFETCHED: Final = 2
MIB: Final = 2**20
# Smallest size that messages recommend.
MIN_SHM_MIB: Final = 1024


def no_space_message(item: str, reason: str) -> str:
    """Return the message that something does not fit into shared memory, with a way out."""
    return f"data.num_workers: {FOLDER} has no room for {item} ({reason}); give {way_out(0)}"


def free_bytes() -> int | None:
    """Return the free shared memory of this machine in bytes, or None where it has no such folder."""
    try:
        stat = os.statvfs(FOLDER)
    except OSError:
        return None
    return stat.f_bavail * stat.f_frsize


def check_shared_memory(
    datasets: Sequence[SampleSizes], config: DataConfig, *, images: int, divisor: int, workers: int = 1
) -> int:
    """Return the bytes of shared memory that the batches of these data sets' loaders need together.

    `images` is the number of images of a batch. Each of the `workers` of this machine has loader processes of its own.
    Raises ConfigError where this machine has less of it free.
    """
    if not config.num_workers:
        return 0
    needed = workers * sum(loader_bytes(dataset, config, images=images, divisor=divisor) for dataset in datasets)
    free = free_bytes()
    if free is not None and needed > free:
        processes = f"{config.num_workers} loader processes" + (f" of each of {workers} workers" if workers > 1 else "")
        raise ConfigError(
            f"data.num_workers={config.num_workers}: {processes} hand over their batches in {FOLDER}, and with "
            f"{PREFETCHED} batches of up to {images} images each they need {format_mib(needed)} of it, where "
            f"{format_mib(free)} are free; give {way_out(needed)}"
        )
    return needed


def loader_bytes(sizes: SampleSizes, config: DataConfig, *, images: int, divisor: int) -> int:
    """Return the largest number of pixel bytes that a loader keeps ready."""
    images = min(images, len(sizes))
    batches = PREFETCHED * config.num_workers
    if not sizes.training:
        batches = min(batches, len(eval_groups(sizes.images, images)))
    # Batches of evaluation always have one orientation.
    by_aspect = config.group_by_aspect or not sizes.training
    return batches * batch_bytes(images, largest_padded(sizes, divisor, by_aspect=by_aspect))


def batch_bytes(images: int, canvas: tuple[int, int]) -> int:
    """Return the pixel bytes of a batch."""
    return images * 3 * canvas[0] * canvas[1]


def max_loader_bytes(config: Config, workers: int) -> int | None:
    """Return the largest number of bytes that a worker's loaders can need.

    None where it depends on the images' own sizes.
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
    # During evaluation the batches of training stay prefetched.
    return 2 * PREFETCHED * data.num_workers * batch_bytes(images, (height, width))


def largest_padded(sizes: SampleSizes, divisor: int, *, by_aspect: bool) -> tuple[int, int]:
    """Return the largest (height, width) that a batch is padded to.

    With `by_aspect`, no batch holds images of both orientations.
    """
    inputs = _input_sizes(sizes)
    is_portrait = inputs[:, 0] > inputs[:, 1]
    groups = [inputs[is_portrait], inputs[~is_portrait]] if by_aspect else [inputs]
    canvases = [-(-group.max(axis=0) // divisor) * divisor for group in groups if len(group)]
    height, width = max(canvases, key=lambda canvas: int(canvas.prod())).tolist()
    return height, width


def _input_sizes(sizes: SampleSizes) -> Int64[np.ndarray, "K 2"]:
    """Return the distinct (height, width) of images at the largest short side."""
    images = np.unique(sizes.images, axis=0)
    settings = sizes.settings
    if settings.short_sides is None or settings.long_side is None:
        return images
    limits = (max(settings.short_sides), settings.long_side, settings.box_convention)
    return np.array([resized_size((height, width), *limits) for height, width in images.tolist()])


def format_mib(number: int) -> str:
    """Format a number of bytes in MiB."""
    return f"{number / MIB:.1f} MiB"


def way_out(num_bytes: int) -> str:
    """Return what to give, in the words of a message, where shared memory is less than this."""
    # Ray keeps objects there too.
    size = max(MIN_SHM_MIB, math.ceil(1.25 * num_bytes / MIB))
    return (
        "fewer data.num_workers (0 loads in the training process itself), or make it larger: in Docker with "
        f"--shm-size={size}m"
    )
