"""The order of training samples: which of them form which batch, for any batch number."""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

# (epoch, index of the image); with the seed it determines the augmentation of a sample.
SampleKey = tuple[int, int]


@dataclass(frozen=True)
class BatchPlan:
    """A batch before it is loaded: its sample keys and the (height, width) it is padded to."""

    keys: tuple[SampleKey, ...]
    canvas: tuple[int, int]


class TrainSampler:
    """Training batches as a pure function of (seed, batch number), without end.

    Every group of images is an endless stream of shuffled epochs, cut into batches: samples left over at the end of an
    epoch start the group's first batch of the next. So no image is dropped or repeated within an epoch, whatever the
    batch size, and images of different groups never share a batch. The complete batches of an epoch are shuffled, so
    that groups mix.
    """

    def __init__(self, groups: Sequence[Int64[np.ndarray, " _"]], batch_size: int, seed: int) -> None:
        self._groups = [group for group in groups if len(group)]
        self._batch_size = batch_size
        self._seed = seed
        # Cached, because the next batch mostly needs the same ones.
        self._orders: dict[tuple[int, int], Int64[np.ndarray, " _"]] = {}
        self._shuffled: tuple[int, list[tuple[int, int]]] = (-1, [])

    def batch_keys(self, number: int) -> tuple[SampleKey, ...]:
        """Return the (epoch, index) of each sample of a batch; batches count from 0."""
        epoch = self._epoch(number)
        if epoch != self._shuffled[0]:
            self._shuffled = epoch, self._shuffle(epoch)
        group, batch = self._shuffled[1][number - self._batches_before(epoch)]
        positions = range(batch * self._batch_size, (batch + 1) * self._batch_size)
        return tuple(self._sample_key(group, position) for position in positions)

    def _shuffle(self, epoch: int) -> list[tuple[int, int]]:
        """Return (group, batch number) of each batch that this epoch completes, in shuffled order."""
        batches = [
            (group, batch)
            for group in range(len(self._groups))
            for batch in range(self._completed_batches(group, epoch), self._completed_batches(group, epoch + 1))
        ]
        generator = np.random.default_rng([self._seed, epoch, len(self._groups)])
        return [batches[position] for position in generator.permutation(len(batches))]

    def _completed_batches(self, group: int, epoch: int) -> int:
        """Return how many batches a group's epochs before this one fill."""
        return epoch * len(self._groups[group]) // self._batch_size

    def _batches_before(self, epoch: int) -> int:
        return sum(self._completed_batches(group, epoch) for group in range(len(self._groups)))

    def _epoch(self, number: int) -> int:
        """Return the epoch that the batch of this number belongs to."""
        images = sum(map(len, self._groups))
        # Each group has less than one incomplete batch, so the epoch lies in this range.
        highest = (number + len(self._groups) + 1) * self._batch_size // images + 2
        return bisect.bisect_right(range(highest), number, key=self._batches_before) - 1

    def _sample_key(self, group: int, position: int) -> SampleKey:
        """Return the key of the sample at a position of a group's stream."""
        epoch, index = divmod(position, len(self._groups[group]))
        if (epoch, group) not in self._orders:
            # Of earlier epochs only the last is still needed, by a batch that spans its end.
            self._orders = {key: order for key, order in self._orders.items() if key[0] >= epoch - 1}
            generator = np.random.default_rng([self._seed, epoch, group])
            self._orders[epoch, group] = generator.permutation(self._groups[group])
        return epoch, int(self._orders[epoch, group][index])


def aspect_groups(sizes: Int64[np.ndarray, "N 2"], split: bool) -> list[Int64[np.ndarray, " _"]]:
    """Return the indices of landscape (or square) and of portrait images, or of all images in one group."""
    height, width = sizes.T
    if not split:
        return [np.arange(len(sizes))]
    return [np.flatnonzero(height <= width), np.flatnonzero(height > width)]


def eval_groups(sizes: Int64[np.ndarray, "N 2"], batch_size: int) -> list[list[int]]:
    """Return the indices of the images of each batch of an evaluation, in order of their aspect ratios.

    Landscape (or square) and portrait images never share a batch, which would be padded to the long sides of both.
    """
    height, width = sizes.T
    order = np.lexsort((np.arange(len(sizes)), height / width))
    first_portrait = int((height <= width).sum())
    groups = (order[:first_portrait].tolist(), order[first_portrait:].tolist())
    return [group[start : start + batch_size] for group in groups for start in range(0, len(group), batch_size)]


def split_count(micro_batch: int, workers: int, planned: int) -> int:
    """Return into how many parts each worker splits its share of a micro-batch.

    No part is larger than a worker's share would be with all planned workers.
    """
    share, largest = micro_batch // workers, max(1, micro_batch // max(workers, planned))
    return next(count for count in range(1, share + 1) if share % count == 0 and share // count <= largest)
