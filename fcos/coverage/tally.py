"""Count all boxes of a data set in chunks of images, distributed over the workers of a run."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from fcos.config.model_parts import AssignmentConfig
from fcos.config.run import CoverageConfig
from fcos.coverage.boxes import InputBoxes
from fcos.coverage.counts import Counts, count
from fcos.coverage.retinanet import boxes_with_anchor
from fcos.coverage.unrecalled import Unrecalled, explain_unrecalled, without_anchor
from fcos.distributed import gather_objects
from fcos.runtime import Runtime

# Most images and boxes per chunk, but for the boxes of a single image; bounds the memory.
CHUNK_IMAGES = 512
CHUNK_BOXES = 8192
REPORTS = 20


@dataclass(frozen=True)
class Tally:
    """What was counted on some images."""

    # Number of boxes with an assigned location or anchor.
    recalled: int
    # None for anchors, for which only recall is counted.
    counts: Counts | None
    unrecalled: Unrecalled

    @classmethod
    def merge(cls, parts: "list[Tally]") -> "Tally":
        """Merge at least one tally; the order does not matter."""
        counts = [part.counts for part in parts if part.counts is not None]
        return cls(
            recalled=sum(part.recalled for part in parts),
            counts=sum(counts[1:], counts[0]) if counts else None,
            unrecalled=Unrecalled.merge([part.unrecalled for part in parts]),
        )


def tally(
    boxes: InputBoxes,
    strides: tuple[int, ...],
    assignment: AssignmentConfig,
    config: CoverageConfig,
    runtime: Runtime,
    report: Callable[[int], None],
) -> Tally:
    """Count all boxes, each worker its share of the chunks; every worker returns the sum.

    `report` is called with the number of images done, equally often on every worker.
    """
    if assignment.locations == "torchvision":
        # Images of one size share a grid; counts can be added in any order, and rows are sorted at the end.
        boxes = boxes.select(np.lexsort(boxes.sizes.T))
    ends = chunk_ends(boxes, runtime.world_size)
    chunks = list(pairwise(ends))
    rounds = -(-len(chunks) // runtime.world_size)
    parts = []
    for round_number in range(rounds):
        position = round_number * runtime.world_size + runtime.rank
        # A worker without a chunk in the last round counts no images, but takes part in reports.
        start, end = chunks[position] if position < len(chunks) else (0, 0)
        parts.append(_tally_part(boxes.select(np.arange(start, end)), strides, assignment, config))
        runtime.heartbeat()
        if round_number % max(1, rounds // REPORTS) == 0:
            report(ends[min((round_number + 1) * runtime.world_size, len(chunks))])
    return Tally.merge(gather_objects(Tally.merge(parts)))


def chunk_ends(boxes: InputBoxes, world_size: int) -> list[int]:
    """Return the indices of images where chunks begin and end, from 0 to the number of images."""
    images = min(CHUNK_IMAGES, max(1, -(-len(boxes) // world_size)))
    by_images = np.arange(0, len(boxes), images)
    by_boxes = np.searchsorted(boxes.offsets[:-1], np.arange(0, len(boxes.boxes), CHUNK_BOXES))
    ends: list[int] = np.unique(np.concatenate([by_images, by_boxes, [0, len(boxes)]])).tolist()
    return ends


def _tally_part(
    part: InputBoxes, strides: tuple[int, ...], assignment: AssignmentConfig, config: CoverageConfig
) -> Tally:
    if config.assignment == "retinanet":
        rule = config.low_quality
        has_anchor = np.zeros(len(part.boxes), dtype=bool)
        has_anchor[boxes_with_anchor(part, config.anchors, (rule,))[rule].numpy()] = True
        return Tally(int(has_anchor.sum()), None, without_anchor(part, has_anchor))
    counts, recall = count(part, strides, assignment)
    return Tally(int(counts.recalled[0]), counts, explain_unrecalled(part, recall, strides, assignment))
