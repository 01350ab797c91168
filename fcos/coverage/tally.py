"""All boxes of a data set counted, chunk by chunk of images, which the workers of a run take in turn."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from fcos.config.model_parts import AssignmentConfig
from fcos.config.run import CoverageConfig
from fcos.coverage.boxes import InputBoxes
from fcos.coverage.counts import Counts, count
from fcos.coverage.retinanet import recalled
from fcos.coverage.unrecalled import Unrecalled, explain, without_anchor
from fcos.distributed import gather_objects

# Images and boxes counted together at most, one image's boxes aside: bounds the memory.
CHUNK_IMAGES = 512
CHUNK_BOXES = 8192
REPORTS = 20


@dataclass(frozen=True)
class Tally:
    """What was counted of some images."""

    # Boxes with a location, or with an anchor.
    recalled: int
    # None for anchors, of which only recall is known.
    counts: Counts | None
    unrecalled: Unrecalled

    @classmethod
    def together(cls, parts: "list[Tally]") -> "Tally":
        """One tally of one part or more; the same in whatever order they come."""
        counts = [part.counts for part in parts if part.counts is not None]
        return cls(
            recalled=sum(part.recalled for part in parts),
            counts=sum(counts[1:], counts[0]) if counts else None,
            unrecalled=Unrecalled.together([part.unrecalled for part in parts]),
        )


def tally(
    boxes: InputBoxes,
    strides: tuple[int, ...],
    assignment: AssignmentConfig,
    config: CoverageConfig,
    *,
    rank: int,
    world_size: int,
    report: Callable[[int], None],
    beat: Callable[[], None] = lambda: None,
) -> Tally:
    """Count all boxes, this worker its share of the chunks; every worker returns the sum.

    `report` hears of the images done, on every worker equally often; `beat` is told after every chunk.
    """
    if assignment.locations == "torchvision":
        # Images of one size share a grid; counts add up in any order, and rows are put in order at the end.
        boxes = boxes.select(np.lexsort(boxes.sizes.T))
    ends = chunk_ends(boxes, world_size)
    chunks = list(pairwise(ends))
    turns = -(-len(chunks) // world_size)
    parts = []
    for turn in range(turns):
        place = turn * world_size + rank
        # A worker without a chunk in the last turn counts no image, and takes part in the rest.
        first, end = chunks[place] if place < len(chunks) else (0, 0)
        parts.append(_tally_of(boxes.select(np.arange(first, end)), strides, assignment, config))
        beat()
        if turn % max(1, turns // REPORTS) == 0:
            report(ends[min((turn + 1) * world_size, len(chunks))])
    return Tally.together(gather_objects(Tally.together(parts)))


def chunk_ends(boxes: InputBoxes, world_size: int) -> list[int]:
    """The positions of images where chunks begin and end, from 0 to the number of images."""
    images = min(CHUNK_IMAGES, max(1, -(-len(boxes) // world_size)))
    by_images = np.arange(0, len(boxes), images)
    by_boxes = np.searchsorted(boxes.offsets[:-1], np.arange(0, len(boxes.boxes), CHUNK_BOXES))
    ends: list[int] = np.unique(np.concatenate([by_images, by_boxes, [0, len(boxes)]])).tolist()
    return ends


def _tally_of(
    part: InputBoxes, strides: tuple[int, ...], assignment: AssignmentConfig, config: CoverageConfig
) -> Tally:
    if config.assignment == "retinanet":
        rule = config.low_quality
        has_anchor = np.zeros(len(part.boxes), dtype=bool)
        has_anchor[recalled(part, config.anchors, (rule,))[rule].numpy()] = True
        return Tally(int(has_anchor.sum()), None, without_anchor(part, has_anchor))
    counts, owners = count(part, strides, assignment)
    return Tally(int(counts.recalled[0]), counts, explain(part, owners, strides, assignment))
