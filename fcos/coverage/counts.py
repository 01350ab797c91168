"""Count what a target assignment does to boxes and locations: tables 1 and 2 of both papers."""

from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Bool, Int64

from fcos.assignment.build import candidate_pairs
from fcos.assignment.masks import pairs_on_mask
from fcos.config.choices import Placement
from fcos.config.model_parts import AssignmentConfig
from fcos.coverage.boxes import InputBoxes
from fcos.data.masks import unpack_masks
from fcos.geometry import areas, compute_locations
from fcos.structures import Locations

# Images are padded to multiples of this, as in detectors.
PADDING = 32


@dataclass(frozen=True)
class Counts:
    """Sums over images, which can be added.

    `claims[k]` is the number of locations with k + 1 candidate boxes, in the last entry with more. A box is recalled if
    some location is assigned to it, of several candidates to the smallest; `boxes_per_level` counts boxes with a
    location on the level, `levels_per_box[k]` boxes with locations on k levels.
    """

    images: Int64[np.ndarray, " 1"]
    boxes: Int64[np.ndarray, " 1"]
    recalled: Int64[np.ndarray, " 1"]
    claims: Int64[np.ndarray, " claims"]
    # Locations whose candidate boxes are of different categories.
    different: Int64[np.ndarray, " 1"]
    positives_per_level: Int64[np.ndarray, " levels"]
    boxes_per_level: Int64[np.ndarray, " levels"]
    levels_per_box: Int64[np.ndarray, " levels_plus_1"]

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(getattr(self, item.name) + getattr(other, item.name) for item in fields(self)))


@dataclass(frozen=True)
class BoxRecall:
    """Which boxes of a part have candidate locations, and which are assigned locations, on which level."""

    # Whether box m has candidate locations if masks are ignored, whether it has any, and whether some location of
    # level l is assigned to it.
    has_candidates_in_box: Bool[np.ndarray, " M"]
    has_candidates: Bool[np.ndarray, " M"]
    has_location: Bool[np.ndarray, "M levels"]

    @property
    def recalled(self) -> Bool[np.ndarray, " M"]:
        return np.asarray(self.has_location.any(axis=1))


# Locations with this many candidate boxes or more are counted together.
MAX_CLAIMS = 8


def count(part: InputBoxes, strides: tuple[int, ...], assignment: AssignmentConfig) -> tuple[Counts, BoxRecall]:
    """Assign all locations of some images, as `fcos.assignment.fcos.match_fcos` would, and count.

    Locations beyond an image's own edge do not matter, since boxes end there: with locations that do not depend on the
    image size, all images share the grid of the largest one.
    """
    box, location_index, level, on_mask = _candidates(part, strides, assignment)
    has_candidates_in_box = np.zeros(len(part.boxes), dtype=bool)
    has_candidates_in_box[box] = True
    if part.masks is not None:
        box, location_index, level = box[on_mask], location_index[on_mask], level[on_mask]
    image = part.image
    rank, max_rank = _area_ranks(part, assignment)
    # One key per candidate pair, ordered by image, location and area: the first of each location is assigned.
    num_locations = int(location_index.max(initial=0)) + 1
    key = (image[box] * num_locations + location_index) * max_rank + rank[box]
    order = np.argsort(key)
    box, level = box[order], level[order]
    sorted_location = key[order] // max_rank
    run_start = np.flatnonzero(np.diff(sorted_location, prepend=-1))
    run_length = np.diff(run_start, append=len(sorted_location))
    matched_box, matched_level = box[run_start], level[run_start]
    has_location = np.zeros((len(part.boxes), len(strides)), dtype=bool)
    has_location[matched_box, matched_level] = True
    has_candidates = np.zeros(len(part.boxes), dtype=bool)
    has_candidates[box] = True
    counts = Counts(
        images=np.array([len(part)]),
        boxes=np.array([len(part.boxes)]),
        recalled=np.array([has_location.any(axis=1).sum()]),
        claims=np.bincount(np.minimum(run_length, MAX_CLAIMS) - 1, minlength=MAX_CLAIMS),
        different=np.array([_different(part.labels[box], run_start, run_length)]),
        positives_per_level=np.bincount(matched_level, minlength=len(strides)),
        boxes_per_level=has_location.sum(axis=0),
        levels_per_box=np.bincount(has_location.sum(axis=1), minlength=len(strides) + 1),
    )
    return counts, BoxRecall(has_candidates_in_box, has_candidates, has_location)


def _candidates(
    part: InputBoxes, strides: tuple[int, ...], assignment: AssignmentConfig
) -> tuple[Int64[np.ndarray, " K"], Int64[np.ndarray, " K"], Int64[np.ndarray, " K"], Bool[np.ndarray, " K"]]:
    """Return box, location and level of every candidate pair, and whether it also lies on the box's mask."""
    padded = _padded(part)
    if assignment.locations == "half_stride":
        padded[:] = padded.max(axis=0, initial=PADDING)
    image = part.image
    empty = np.zeros(0, dtype=np.int64)
    parts = [(empty, empty, empty, empty.astype(bool))]
    for size in np.unique(padded, axis=0):
        rows = np.flatnonzero((padded[image] == size).all(axis=1))
        locations = _locations((int(size[0]), int(size[1])), strides, assignment.locations)
        boxes = torch.from_numpy(part.boxes[rows])
        box, location = candidate_pairs(assignment, boxes, locations)
        ends = np.cumsum([rows * columns for rows, columns in locations.shapes])
        on_mask = np.ones(len(box), dtype=bool)
        if part.masks is not None:
            on_mask = pairs_on_mask(
                torch.from_numpy(unpack_masks(part.masks[rows])), boxes, locations.xy, box, location
            ).numpy()
        parts.append(
            (rows[box.numpy()], location.numpy(), np.searchsorted(ends, location.numpy(), side="right"), on_mask)
        )
    boxes_out, locations_out, levels_out, masks_out = (np.concatenate(column) for column in zip(*parts, strict=True))
    return boxes_out, locations_out, levels_out, masks_out


def locations_of_largest(part: InputBoxes, strides: tuple[int, ...], kind: Placement) -> Locations:
    """Return the locations of the smallest padded image that holds all images of a part."""
    height, width = _padded(part).max(axis=0, initial=PADDING).tolist()
    return _locations((height, width), strides, kind)


def _padded(part: InputBoxes) -> Int64[np.ndarray, "N 2"]:
    padded: Int64[np.ndarray, "N 2"] = -(-part.sizes // PADDING) * PADDING
    return padded


def _locations(size: tuple[int, int], strides: tuple[int, ...], kind: Placement) -> Locations:
    shapes = tuple((-(-size[0] // stride), -(-size[1] // stride)) for stride in strides)
    return compute_locations(shapes, strides, size, kind, torch.device("cpu"))


def _area_ranks(part: InputBoxes, assignment: AssignmentConfig) -> tuple[Int64[np.ndarray, " M"], int]:
    """Return each box's rank by area in its image, ties by index, and a number above all ranks."""
    area = areas(torch.from_numpy(part.boxes), assignment.corners).numpy()
    order = np.lexsort((area, part.image))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order)) - np.repeat(part.offsets[:-1], np.diff(part.offsets))
    return rank, int(rank.max(initial=0)) + 1


def _different(
    labels: Int64[np.ndarray, " K"], run_start: Int64[np.ndarray, " P"], count: Int64[np.ndarray, " P"]
) -> int:
    """Return how many locations have candidate boxes of different categories."""
    if not len(run_start):
        return 0
    is_ambiguous = count > 1
    min_label, max_label = np.minimum.reduceat(labels, run_start), np.maximum.reduceat(labels, run_start)
    return int((is_ambiguous & (min_label != max_label)).sum())
