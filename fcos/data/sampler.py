"""Order of the training samples: which of them form which batch, for any batch number."""

import bisect
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from fcos.data.coco import CocoDataset, Key


@dataclass(frozen=True)
class Plan:
    """One batch before it is loaded: its samples and the (height, width) that they are padded to."""

    keys: tuple[Key, ...]
    canvas: tuple[int, int]


class TrainSchedule:
    """Which samples form which batch: a pure function of (seed, batch number), without end.

    Every group of images is an endless stream, its epochs shuffled one after the other, cut into batches:
    what is left at the end of an epoch begins the group's first batch of the next. So no image is dropped or
    repeated within an epoch, whatever the batch size, and images of two groups never meet. An epoch's
    complete batches come in shuffled order, so that groups mix.
    """

    def __init__(self, groups: Sequence[Int64[np.ndarray, " _"]], batch_size: int, seed: int) -> None:
        self._groups = [group for group in groups if len(group)]
        self._batch_size = batch_size
        self._seed = seed
        # Kept because the next batch mostly needs them again.
        self._orders: dict[tuple[int, int], Int64[np.ndarray, " _"]] = {}
        self._shuffled: tuple[int, list[tuple[int, int]]] = (-1, [])

    def keys(self, number: int) -> tuple[Key, ...]:
        """The (epoch, index) of each sample of a batch; batches count from 0."""
        epoch = self._epoch(number)
        if epoch != self._shuffled[0]:
            self._shuffled = epoch, self._shuffle(epoch)
        group, batch = self._shuffled[1][number - self._batches_before(epoch)]
        places = range(batch * self._batch_size, (batch + 1) * self._batch_size)
        return tuple(self._sample(group, place) for place in places)

    def _shuffle(self, epoch: int) -> list[tuple[int, int]]:
        """Group and number of each batch that this epoch completes, in the order in which they come."""
        batches = [
            (group, batch)
            for group in range(len(self._groups))
            for batch in range(self._complete(group, epoch), self._complete(group, epoch + 1))
        ]
        generator = np.random.default_rng([self._seed, epoch, len(self._groups)])
        return [batches[place] for place in generator.permutation(len(batches))]

    def _complete(self, group: int, epoch: int) -> int:
        """Batches that a group's epochs before this one fill."""
        return epoch * len(self._groups[group]) // self._batch_size

    def _batches_before(self, epoch: int) -> int:
        return sum(self._complete(group, epoch) for group in range(len(self._groups)))

    def _epoch(self, number: int) -> int:
        """The epoch whose batches hold this number."""
        images = sum(map(len, self._groups))
        # Each group keeps back less than one batch, so the epoch lies in this range.
        highest = (number + len(self._groups) + 1) * self._batch_size // images + 2
        return bisect.bisect_right(range(highest), number, key=self._batches_before) - 1

    def _sample(self, group: int, place: int) -> Key:
        epoch, position = divmod(place, len(self._groups[group]))
        if (epoch, group) not in self._orders:
            # Only the epoch before is still needed, and by a batch that reaches over the end of it.
            self._orders = {key: order for key, order in self._orders.items() if key[0] >= epoch - 1}
            generator = np.random.default_rng([self._seed, epoch, group])
            self._orders[epoch, group] = generator.permutation(self._groups[group])
        return epoch, int(self._orders[epoch, group][position])


def aspect_groups(dataset: CocoDataset, split: bool) -> list[Int64[np.ndarray, " _"]]:
    """Positions of landscape (or square) and of portrait images, or of all together."""
    height, width = dataset.annotations.sizes.T
    if not split:
        return [np.arange(len(dataset))]
    return [np.flatnonzero(height <= width), np.flatnonzero(height > width)]


def pieces(micro_batch: int, workers: int, planned: int) -> int:
    """Parts that each worker cuts its share of a micro-batch into, so that none is larger than with all workers."""
    share, largest = micro_batch // workers, max(1, micro_batch // max(workers, planned))
    return next(count for count in range(1, share + 1) if share % count == 0 and share // count <= largest)
