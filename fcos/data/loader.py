"""Load batches: collated samples in the order of a training or an evaluation, read by loader processes."""

import errno
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from fcos.data.batching import Batching, WorkerShare, canvas_size, check_batch, largest_canvas
from fcos.data.coco import CocoDataset, Sample
from fcos.data.sampler import BatchPlan, SampleKey, TrainSampler, aspect_groups, eval_groups, split_count
from fcos.data.shared_memory import PREFETCHED, no_space_message
from fcos.errors import DataError, SharedMemoryError
from fcos.structures import Batch, Targets


def box_bucket(count: int) -> int:
    """Return the number of boxes a batch is padded to: 8, 16, 32, ..., so that few shapes occur."""
    return max(8, 1 << (count - 1).bit_length())


def collate(samples: Sequence[Sample], canvas: tuple[int, int]) -> Batch:
    """Form a batch: images padded with zeros at right and bottom, boxes padded to the bucket of the largest count."""
    # Channels last in memory, as images are decoded and most detectors compute.
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
    return torch.stack([F.pad(mask, (0, 0, 0, 0, 0, bucket - len(mask))) for mask in masks])


# Errors of files and memory in a loader process; programming errors keep the process's own traceback.
_LoadError = DataError | OSError | MemoryError | SharedMemoryError


class _BatchDataset(Dataset[list[Any] | _LoadError]):
    """Loads planned batches: a batch's fields as a list, which DataLoader can pin, or the error.

    An error raised in a loader process would arrive wrapped in that process's traceback, without its errno.
    """

    def __init__(self, dataset: CocoDataset) -> None:
        self._dataset = dataset

    def __getitem__(self, plan: BatchPlan) -> list[Any] | _LoadError:
        try:
            batch = collate([self._dataset[key] for key in plan.keys], plan.canvas)
            targets = batch.targets
            tensors = [batch.pixels, batch.sizes, batch.original_sizes]
            target_tensors = [targets.boxes, targets.labels, targets.valid, targets.masks]
            if get_worker_info() is not None:
                for tensor in (*tensors, *target_tensors):
                    if tensor is not None:
                        _move_to_shared_memory(tensor)
        except (DataError, OSError, MemoryError, SharedMemoryError) as error:
            return error
        return [*tensors, target_tensors, list(batch.image_ids), list(batch.names)]


def _move_to_shared_memory(tensor: Tensor) -> None:
    """Move a tensor into shared memory, through which it is passed to another process.

    Raises SharedMemoryError where there is no space. In the sending thread torch would only print that error, and the
    process that waits for the batch would hang.
    """
    try:
        tensor.share_memory_()
    except RuntimeError as error:
        reason = str(error).rpartition(": ")[2] or str(error)
        raise SharedMemoryError(no_space_message("a batch of a loader process", reason)) from error


def _load_batches(
    dataset: CocoDataset, plans: Iterable[BatchPlan], num_workers: int, pin_memory: bool
) -> Iterator[Batch]:
    loader: DataLoader[list[Any] | _LoadError] = DataLoader(
        _BatchDataset(dataset),
        batch_size=None,
        sampler=plans,
        num_workers=num_workers,
        prefetch_factor=PREFETCHED if num_workers else None,
        pin_memory=pin_memory,
        collate_fn=_identity,
        # Otherwise it draws from the global generator, from which ties may be drawn: neither an evaluation nor a
        # restart may change those.
        generator=torch.Generator(),
        worker_init_fn=_redirect_output_to_log,
    )
    for fields in _start(loader):
        if isinstance(fields, _LoadError):
            raise fields
        pixels, sizes, original_sizes, targets, image_ids, names = fields
        yield Batch(pixels, sizes, original_sizes, Targets(*targets), tuple(image_ids), tuple(names))


def _start(loader: "DataLoader[list[Any] | _LoadError]") -> Iterator[list[Any] | _LoadError]:
    """Start the loader's processes; raises SharedMemoryError where there is no space for their locks."""
    try:
        return iter(loader)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
    # Raised outside the handler: with that error as its context it would read as a full disk.
    raise SharedMemoryError(no_space_message("the locks of loader processes", os.strerror(errno.ENOSPC)))


def _identity(fields: list[Any] | _LoadError) -> list[Any] | _LoadError:
    return fields


def _redirect_output_to_log(_: int) -> None:
    """Redirect the output of a loader process and its libraries to the training's log file, if there is one."""
    root = logging.getLogger()
    files = [handler for handler in root.handlers if isinstance(handler, logging.FileHandler)]
    streams = [handler.stream for handler in files if handler.stream is not None]
    if streams:
        # Other handlers print log records, which would then be in the file twice.
        root.handlers = list(files)
        for descriptor in (1, 2):
            os.dup2(streams[-1].fileno(), descriptor)
        sys.stdout = sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, errors="replace")


def train_batches(
    dataset: CocoDataset,
    batching: Batching,
    share: WorkerShare,
    *,
    seed: int,
    start_step: int,
    num_workers: int,
    pin_memory: bool,
) -> Iterator[list[Batch]]:
    """Yield for each optimizer step the `accumulate` micro-batches of this rank, without end.

    A step's `batch_size` images are cut into micro-batches, and each of those into one slice per rank, padded as the
    whole micro-batch needs, so that all ranks together see exactly what a single rank would see. Order and contents
    depend on seed and step alone; starting at any step costs nothing.

    Raises ConfigError where the batch cannot be divided evenly or the data set is smaller than a batch.
    """
    accumulate, divisor = batching.accumulate, batching.size_divisor
    check_batch(batching.batch_size, accumulate, share.world_size, len(dataset))
    micro_batch = batching.batch_size // accumulate
    images = micro_batch // share.world_size
    splits = split_count(micro_batch, share.world_size, share.planned_size)
    starts = range(share.rank * images, (share.rank + 1) * images, images // splits)

    def canvas(keys: Sequence[SampleKey]) -> tuple[int, int]:
        if batching.fixed_canvas:
            return largest_canvas(dataset.sample_sizes, [index for _, index in keys], divisor)
        return canvas_size(map(dataset.input_size, keys), divisor)

    sampler = TrainSampler(
        aspect_groups(dataset.annotations.sizes, batching.group_by_aspect), batching.batch_size, seed
    )
    plans = _train_plans(sampler, start_step, micro_batch, starts, canvas)
    batches = _load_batches(dataset, plans, num_workers, pin_memory)
    return _grouped(batches, accumulate * splits)


def _train_plans(
    sampler: TrainSampler,
    step: int,
    micro_batch: int,
    starts: range,
    canvas: Callable[[Sequence[SampleKey]], tuple[int, int]],
) -> Iterator[BatchPlan]:
    """Yield the batches of one rank from a step on; `starts` are their first samples in a micro-batch."""
    while True:
        keys = sampler.batch_keys(step)
        for start in range(0, len(keys), micro_batch):
            micro_batch_keys = keys[start : start + micro_batch]
            padded_size = canvas(micro_batch_keys)
            for first in starts:
                yield BatchPlan(micro_batch_keys[first : first + starts.step], padded_size)
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
    """Yield every image exactly once over the ranks, in batches of similar aspect ratio and one orientation.

    The last of an orientation may be smaller. The batches are the same for any number of ranks, which take turns, so
    that padding, and with it every detection, does not depend on the number of ranks. Ranks may get different numbers
    of batches, also none: `shared_eval_batches` or one more.
    """
    groups = eval_groups(dataset.annotations.sizes, batch_size)[rank::world_size]
    keys = [tuple((0, index) for index in group) for group in groups]
    plans = [BatchPlan(batch, canvas_size(map(dataset.input_size, batch), size_divisor)) for batch in keys]
    return _load_batches(dataset, plans, num_workers, pin_memory)


def shared_eval_batches(dataset: CocoDataset, *, batch_size: int, world_size: int) -> int:
    """Return how many batches every rank gets of `eval_batches` at least."""
    return len(eval_groups(dataset.annotations.sizes, batch_size)) // world_size
