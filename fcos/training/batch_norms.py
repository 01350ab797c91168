"""Batch norms that would have to gather statistics over a single value, which torch refuses at the first step."""

from collections.abc import Iterator
from typing import Final

import numpy as np

from fcos.config.model import ModelConfig
from fcos.config.run import Config
from fcos.data.batching import largest_canvas
from fcos.data.sample_settings import SampleSizes
from fcos.errors import ConfigError
from fcos.images.resized_size import resized_size

# Norms over the images of one worker, and over those of all workers.
_PER_WORKER: Final = ("bn", "bn_per_level")
_SYNCHRONISED: Final = "sync_bn"


def check_batch_norms(config: Config, sizes: SampleSizes, *, workers: int) -> None:
    """Raise ConfigError where a batch norm can meet a micro-batch of one image on a level of one location.

    `sizes` are those of training; `workers` share a micro-batch.
    """
    schedule = config.schedule
    micro_batch = schedule.batch_size // schedule.accumulate
    for key, norm, level in _norms(config.model):
        images = micro_batch // workers if norm in _PER_WORKER else micro_batch
        count = 0 if images > 1 else _images_on_one_location(config, sizes, level)
        # All workers pad a micro-batch alike: each of them must have an image that is this small.
        if count >= micro_batch:
            batching = f"schedule.batch_size={schedule.batch_size}, schedule.accumulate={schedule.accumulate}"
            raise ConfigError(
                f"{batching}: leaves one image to a micro-batch of a worker ({workers} in all), and {key}={norm} has "
                f"no variance over the one location that P{level} (stride {2**level}) has on {count} of {len(sizes)} "
                "training images; give more images to a micro-batch, a norm without batch statistics (gn in the head, "
                "frozen_bn in the backbone, none in the pyramid), larger images or fewer model.levels"
            )


def settings_of_norms(config: Config) -> tuple[object, ...]:
    """Return what `check_batch_norms` depends on beside sizes, batch and divisor; empty where no norm is checked."""
    norms = tuple(_norms(config.model))
    return (*norms, config.schedule.compile) if norms else ()


def _norms(model: ModelConfig) -> Iterator[tuple[str, str, int]]:
    """Yield key, kind and coarsest level of each place with batch norms that gather statistics."""
    coarsest, from_backbone = model.levels[-1], min(model.levels[-1], 5)
    # The stem and C2 to the last one; frozen stages keep their statistics.
    all_frozen = model.backbone.frozen_stages >= from_backbone
    norms = (
        ("model.backbone.norm", "frozen_bn" if all_frozen else model.backbone.norm, from_backbone),
        # torchvision's pyramid has no norm on its extra levels.
        ("model.fpn.norm", model.fpn.norm, from_backbone if model.fpn.kind == "fpn" else coarsest),
        ("model.head.norm", model.head.norm if model.head.num_convs else "none", coarsest),
    )
    yield from (norm for norm in norms if norm[1] in (*_PER_WORKER, _SYNCHRONISED))


def _images_on_one_location(config: Config, sizes: SampleSizes, level: int) -> int:
    """Return how many training images can be padded so little that a level has one location."""
    divisor, inputs = config.model.size_divisor, sizes.images
    if config.schedule.compile:
        height, width = largest_canvas(sizes, range(len(sizes)), divisor)
        return len(sizes) if max(height, width) <= 2**level else 0
    settings = sizes.settings
    if settings.short_sides is not None and settings.long_side is not None:
        unique, rows = np.unique(inputs, axis=0, return_inverse=True)
        short, long, convention = min(settings.short_sides), settings.long_side, settings.box_convention
        resized = [resized_size((height, width), short, long, convention) for height, width in unique.tolist()]
        inputs = np.array(resized)[rows.reshape(-1)]
    padded = -(-inputs // divisor) * divisor
    return int((padded <= 2**level).all(axis=1).sum())
