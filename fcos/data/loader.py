"""Batches: which images form them, in which order, padded to which size."""

import errno
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from fcos.data.coco import CocoDataset, Key, Sample
from fcos.data.sampler import Plan, TrainSchedule, aspect_groups, pieces
from fcos.data.shared_memory import READY, no_room, share
from fcos.errors import ConfigError, DataError, SharedMemoryError
from fcos.structures import Batch, Targets


def canvas_of(sizes: Iterable[tuple[int, int]], divisor: int) -> tuple[int, int]:
    """The smallest (height, width) of multiples of the divisor that holds all sizes."""
    heights, widths = zip(*sizes, strict=True)
    return -(-max(heights) // divisor) * divisor, -(-max(widths) // divisor) * divisor


def largest_canvas(dataset: CocoDataset, keys: Iterable[Key], divisor: int) -> tuple[int, int]:
    """The (height, width) that holds any image as landscape (or square) or portrait as these are, or any at all."""
    heights, widths = zip(*(dataset.original_size(index) for _, index in keys), strict=True)
    portrait = [height > width for height, width in zip(heights, widths, strict=True)]
    if dataset.short_sides is None or dataset.long_side is None:
        height, width = dataset.annotations.sizes.T
        like = np.isin(height > width, portrait)
        return canvas_of([(int(height[like].max()), int(width[like].max()))], divisor)
    short, long = max(dataset.short_sides), dataset.long_side
    return canvas_of([(long, short) if upright else (short, long) for upright in portrait], divisor)


def box_bucket(count: int) -> int:
    """The number of boxes that a batch is padded to: 8, 16, 32, ... so that few shapes occur."""
    return max(8, 1 << (count - 1).bit_length())


def collate(samples: Sequence[Sample], canvas: tuple[int, int]) -> Batch:
    """Samples padded with zeros at right and bottom, and their boxes to the bucket of the largest count."""
    # With the channels last in memory, as images are decoded and most detectors want them.
    pixels = torch.empty((len(samples), *canvas, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    bucket = box_bucket(max(len(sample.labels) for sample in samples))
    boxes = torch.zeros((len(samples), bucket, 4))
    labels = torch.zeros((len(samples), bucket), dtype=torch.int64)
    valid = torch.zeros((len(samples), bucket), dtype=torch.bool)
    for row, sample in enumerate(samples):
        height, width = sample.size
        pixels[row, :, :height, :width] = sample.image
        pixels[row, :, height:].zero_()
        pixels[row, :, :height, width:].zero_()
        boxes[row, : len(sample.boxes)] = sample.boxes
        labels[row, : len(sample.labels)] = sample.labels
        valid[row, : len(sample.labels)] = True
    return Batch(
        pixels=pixels,
        sizes=torch.tensor([sample.size for sample in samples]),
        original_sizes=torch.tensor([sample.original_size for sample in samples]),
        targets=Targets(boxes, labels, valid, _padded_masks(samples, bucket)),
        image_ids=tuple(sample.image_id for sample in samples),
        names=tuple(sample.name for sample in samples),
    )


def _padded_masks(samples: Sequence[Sample], bucket: int) -> Bool[Tensor, "B M S S"] | None:
    masks = [sample.masks for sample in samples if sample.masks is not None]
    if len(masks) < len(samples):
        return None
    return torch.stack([F.pad(each, (0, 0, 0, 0, 0, bucket - len(each))) for each in masks])


# Errors of what a loader process reads and needs; one of the code keeps the process's own traceback.
_Failure = DataError | OSError | MemoryError | SharedMemoryError


class _Loaded(Dataset[list[Any] | _Failure]):
    """Loads planned batches: a batch's fields as a list, which DataLoader can pin, or what went wrong.

    An error raised in a loader process would arrive wrapped in that process's traceback, without its number.
    """

    def __init__(self, dataset: CocoDataset) -> None:
        self._dataset = dataset

    def __getitem__(self, plan: Plan) -> list[Any] | _Failure:
        try:
            batch = collate([self._dataset[key] for key in plan.keys], plan.canvas)
            targets = batch.targets
            tensors = [batch.pixels, batch.sizes, batch.original_sizes]
            of_targets = [targets.boxes, targets.labels, targets.valid, targets.masks]
            if get_worker_info() is not None:
                for tensor in (*tensors, *of_targets):
                    if tensor is not None:
                        share(tensor)
        except (DataError, OSError, MemoryError, SharedMemoryError) as error:
            return error
        return [*tensors, of_targets, list(batch.image_ids), list(batch.names)]


def _load(dataset: CocoDataset, plans: Iterable[Plan], num_workers: int, pin_memory: bool) -> Iterator[Batch]:
    loader: DataLoader[list[Any] | _Failure] = DataLoader(
        _Loaded(dataset),
        batch_size=None,
        sampler=plans,
        num_workers=num_workers,
        prefetch_factor=READY if num_workers else None,
        pin_memory=pin_memory,
        collate_fn=_as_is,
        worker_init_fn=_print_into_log,
    )
    for loaded in _begun(loader):
        if isinstance(loaded, _Failure):
            raise loaded
        pixels, sizes, original_sizes, targets, image_ids, names = loaded
        yield Batch(pixels, sizes, original_sizes, Targets(*targets), tuple(image_ids), tuple(names))


def _begun(loader: "DataLoader[list[Any] | _Failure]") -> Iterator[list[Any] | _Failure]:
    """Start the loader's processes; raises SharedMemoryError where there is no room for their locks."""
    try:
        return iter(loader)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
    # Not as a consequence of that error, which would read as a full disk.
    raise SharedMemoryError(no_room("the locks of loader processes", os.strerror(errno.ENOSPC)))


def _as_is(loaded: list[Any] | _Failure) -> list[Any] | _Failure:
    return loaded


def _print_into_log(_: int) -> None:
    """Redirect what a loader process prints, and its libraries, to the training's log file, if there is one."""
    root = logging.getLogger()
    files = [each for each in root.handlers if isinstance(each, logging.FileHandler)]
    logs = [each.stream for each in files if each.stream is not None]
    if logs:
        # Others print what is logged, which would be there twice.
        root.handlers = list(files)
        for descriptor in (1, 2):
            os.dup2(logs[-1].fileno(), descriptor)
        sys.stdout = sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, errors="replace")


def check_batch(batch_size: int, accumulate: int, world_size: int, num_images: int) -> None:
    """Raises ConfigError where the batch cannot be cut evenly or there are fewer images than a batch has."""
    if batch_size % (accumulate * world_size):
        raise ConfigError(
            f"schedule.batch_size={batch_size}: must be divisible by accumulate * workers, "
            f"which is {accumulate} * {world_size}"
        )
    if num_images < batch_size:
        raise ConfigError(f"schedule.batch_size={batch_size}: the training set has only {num_images} images")


def train_batches(
    dataset: CocoDataset,
    *,
    batch_size: int,
    accumulate: int,
    rank: int,
    world_size: int,
    seed: int,
    start_step: int,
    size_divisor: int,
    num_workers: int,
    group_by_aspect: bool,
    pin_memory: bool,
    planned_size: int = 1,
    fixed_canvas: bool = False,
) -> Iterator[list[Batch]]:
    """One optimizer step after the other, without end: `accumulate` micro-batches of this rank each.

    A step's `batch_size` images are cut into micro-batches, and each of those into one slice for each rank,
    padded as the whole micro-batch needs: together the ranks see exactly what one rank alone sees. Starting
    at any step costs nothing. Order and contents depend on seed and step alone. With `fixed_canvas` all batches of
    an orientation are padded to the same size, which a compiled detector wants. Where fewer ranks are there than the
    run was planned for, each cuts its slice further, so that no batch is larger than it would be with all of them.
    Raises ConfigError where the batch cannot be cut evenly or the data set is smaller than a batch.
    """
    check_batch(batch_size, accumulate, world_size, len(dataset))
    parts = pieces(batch_size // accumulate, world_size, planned_size)
    plans = _train_plans(
        dataset,
        TrainSchedule(aspect_groups(dataset, group_by_aspect), batch_size, seed),
        batch_size // accumulate,
        rank,
        world_size,
        parts,
        start_step,
        lambda keys: (
            largest_canvas(dataset, keys, size_divisor)
            if fixed_canvas
            else canvas_of(map(dataset.input_size, keys), size_divisor)
        ),
    )
    batches = _load(dataset, plans, num_workers, pin_memory)
    return _grouped(batches, accumulate * parts)


def _train_plans(
    dataset: CocoDataset,
    schedule: TrainSchedule,
    micro_batch: int,
    rank: int,
    world_size: int,
    parts: int,
    start_step: int,
    canvas: Callable[[Sequence[Key]], tuple[int, int]],
) -> Iterator[Plan]:
    share = micro_batch // world_size
    piece = share // parts
    step = start_step
    while True:
        keys = schedule.keys(step)
        for start in range(0, len(keys), micro_batch):
            together = keys[start : start + micro_batch]
            padded = canvas(together)
            for first in range(rank * share, (rank + 1) * share, piece):
                yield Plan(together[first : first + piece], padded)
        step += 1


def _grouped(batches: Iterator[Batch], count: int) -> Iterator[list[Batch]]:
    while True:
        yield [next(batches) for _ in range(count)]


def eval_batches(
    dataset: CocoDataset,
    *,
    batch_size: int,
    rank: int,
    world_size: int,
    size_divisor: int,
    num_workers: int,
    pin_memory: bool,
) -> Iterator[Batch]:
    """Every image exactly once over the ranks, in batches of like aspect ratio; the last one may be smaller.

    The batches are the same for any number of ranks, which take turns, so that padding, and with it every
    detection, does not depend on how many there are. Ranks may get different numbers of batches, also none.
    """
    height, width = dataset.annotations.sizes.T
    order = np.lexsort((np.arange(len(dataset)), height / width)).tolist()
    numbers = range(rank * batch_size, len(order), world_size * batch_size)
    keys = [tuple((0, index) for index in order[start : start + batch_size]) for start in numbers]
    plans = [Plan(batch, canvas_of(map(dataset.input_size, batch), size_divisor)) for batch in keys]
    return _load(dataset, plans, num_workers, pin_memory)
