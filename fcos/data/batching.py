"""How images form batches: how many of them, on how many workers, padded to which size; loads no torch."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from fcos.config.run import Config
from fcos.data.sample_settings import SampleSizes
from fcos.errors import ConfigError


@dataclass(frozen=True)
class Batching:
    """How the images of optimizer steps form batches: the keys of the configuration.

    `batch_size` counts the images of a step over all workers and `accumulate` micro-batches. `fixed_canvas` pads all
    batches of an orientation to the same size, for compiled detectors.
    """

    batch_size: int
    size_divisor: int
    accumulate: int = 1
    group_by_aspect: bool = True
    fixed_canvas: bool = False

    @classmethod
    def of(cls, config: Config) -> "Batching":
        """Return the batching of a training."""
        schedule = config.schedule
        return cls(
            batch_size=schedule.batch_size,
            size_divisor=config.model.size_divisor,
            accumulate=schedule.accumulate,
            group_by_aspect=config.data.group_by_aspect,
            fixed_canvas=schedule.compile,
        )


@dataclass(frozen=True)
class WorkerShare:
    """Which part of every micro-batch a worker takes.

    With fewer workers than `planned_size`, each splits its part further, so that no batch is larger than planned.
    """

    rank: int = 0
    world_size: int = 1
    planned_size: int = 1


def check_batch(batch_size: int, accumulate: int, world_size: int, num_images: int) -> None:
    """Raise ConfigError where the batch cannot be divided evenly or exceeds the training set."""
    if batch_size % (accumulate * world_size):
        raise ConfigError(
            f"schedule.batch_size={batch_size}: must be divisible by accumulate * workers, "
            f"which is {accumulate} * {world_size}"
        )
    if num_images < batch_size:
        raise ConfigError(f"schedule.batch_size={batch_size}: the training set has only {num_images} images")


def canvas_size(sizes: Iterable[tuple[int, int]], divisor: int) -> tuple[int, int]:
    """Return the smallest (height, width) of multiples of the divisor that holds all sizes."""
    heights, widths = zip(*sizes, strict=True)
    return -(-max(heights) // divisor) * divisor, -(-max(widths) // divisor) * divisor


def largest_canvas(sizes: SampleSizes, indices: Iterable[int], divisor: int) -> tuple[int, int]:
    """Return the (height, width) that holds every image of the orientations of some images.

    A square image counts as landscape.
    """
    portrait = [height > width for height, width in sizes.images[list(indices)].tolist()]
    settings = sizes.settings
    if settings.short_sides is None or settings.long_side is None:
        height, width = sizes.images.T
        same_orientation = np.isin(height > width, portrait)
        return canvas_size([(int(height[same_orientation].max()), int(width[same_orientation].max()))], divisor)
    short, long = max(settings.short_sides), settings.long_side
    return canvas_size([(long, short) if is_portrait else (short, long) for is_portrait in portrait], divisor)
