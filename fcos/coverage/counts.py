"""Who answers for whom, counted: the measures of both papers' tables 1 and 2."""

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

# Images are padded to a multiple of this, as detectors pad them.
PADDING = 32


@dataclass(frozen=True)
class Counts:
    """Plain sums over images, which add up.

    `claims[k]` counts locations that k + 1 boxes claim, the last entry those of more. A box is recalled if it owns
    a location after the smallest box won; `boxes_per_level` counts boxes that own one there, `levels_per_box[k]`
    boxes that own locations of k levels.
    """

    images: Int64[np.ndarray, " 1"]
    boxes: Int64[np.ndarray, " 1"]
    recalled: Int64[np.ndarray, " 1"]
    claims: Int64[np.ndarray, " claims"]
    # Locations that boxes of different categories claim.
    different: Int64[np.ndarray, " 1"]
    positives_per_level: Int64[np.ndarray, " levels"]
    boxes_per_level: Int64[np.ndarray, " levels"]
    levels_per_box: Int64[np.ndarray, " levels_plus_1"]

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(getattr(self, item.name) + getattr(other, item.name) for item in fields(self)))


@dataclass(frozen=True)
class Owners:
    """After the smallest box won: which boxes of a part own a location, and on which level."""

    # Whether box m would claim a location were its whole box its mask, whether it claims one, and whether it owns one
    # on level l.
    reaches: Bool[np.ndarray, " M"]
    claims: Bool[np.ndarray, " M"]
    owns: Bool[np.ndarray, "M levels"]

    @property
    def recalled(self) -> Bool[np.ndarray, " M"]:
        return np.asarray(self.owns.any(axis=1))


# Locations with this many boxes or more are counted together.
MOST_CLAIMS = 8


def count(part: InputBoxes, strides: tuple[int, ...], assignment: AssignmentConfig) -> tuple[Counts, Owners]:
    """Assign all locations of some images, as `fcos.assignment.fcos.match_fcos` would, and count.

    Which locations an image has beyond its own edge plays no part, since boxes end there: with locations that do
    not depend on the image, all images share the grid of the largest one.
    """
    box, place, level, lies_on_mask = _claims(part, strides, assignment)
    reaching = np.zeros(len(part.boxes), dtype=bool)
    reaching[box] = True
    if part.masks is not None:
        box, place, level = box[lies_on_mask], place[lies_on_mask], level[lies_on_mask]
    image = part.image
    rank, most = _ranks(part, assignment)
    # One number for each claim, ordered by image, location and area: the first of a location is its owner.
    num_places = int(place.max(initial=0)) + 1
    claim = (image[box] * num_places + place) * most + rank[box]
    order = np.argsort(claim)
    box, level = box[order], level[order]
    location = claim[order] // most
    first = np.flatnonzero(np.diff(location, prepend=-1))
    number = np.diff(first, append=len(location))
    owner, owner_level = box[first], level[first]
    owns = np.zeros((len(part.boxes), len(strides)), dtype=bool)
    owns[owner, owner_level] = True
    claiming = np.zeros(len(part.boxes), dtype=bool)
    claiming[box] = True
    counts = Counts(
        images=np.array([len(part)]),
        boxes=np.array([len(part.boxes)]),
        recalled=np.array([owns.any(axis=1).sum()]),
        claims=np.bincount(np.minimum(number, MOST_CLAIMS) - 1, minlength=MOST_CLAIMS),
        different=np.array([_different(part.labels[box], first, number)]),
        positives_per_level=np.bincount(owner_level, minlength=len(strides)),
        boxes_per_level=owns.sum(axis=0),
        levels_per_box=np.bincount(owns.sum(axis=1), minlength=len(strides) + 1),
    )
    return counts, Owners(reaching, claiming, owns)


def _claims(
    part: InputBoxes, strides: tuple[int, ...], assignment: AssignmentConfig
) -> tuple[Int64[np.ndarray, " K"], Int64[np.ndarray, " K"], Int64[np.ndarray, " K"], Bool[np.ndarray, " K"]]:
    """Box, location and level of every claim, and whether it also lies on the box's mask, where there are masks."""
    padded = _padded(part)
    if assignment.locations == "half_stride":
        padded[:] = padded.max(axis=0, initial=PADDING)
    image = part.image
    nothing = np.zeros(0, dtype=np.int64)
    found = [(nothing, nothing, nothing, nothing.astype(bool))]
    for size in np.unique(padded, axis=0):
        rows = np.flatnonzero((padded[image] == size).all(axis=1))
        places = _grid((int(size[0]), int(size[1])), strides, assignment.locations)
        boxes = torch.from_numpy(part.boxes[rows])
        box, place = candidate_pairs(assignment, boxes, places)
        ends = np.cumsum([rows * columns for rows, columns in places.shapes])
        lies = np.ones(len(box), dtype=bool)
        if part.masks is not None:
            lies = pairs_on_mask(torch.from_numpy(unpack_masks(part.masks[rows])), boxes, places.xy, box, place).numpy()
        found.append((rows[box.numpy()], place.numpy(), np.searchsorted(ends, place.numpy(), side="right"), lies))
    claiming, claimed, levels, on_mask = (np.concatenate(column) for column in zip(*found, strict=True))
    return claiming, claimed, levels, on_mask


def grid_of_largest(part: InputBoxes, strides: tuple[int, ...], kind: Placement) -> Locations:
    """The locations of the smallest padded image that holds all images of a part."""
    height, width = _padded(part).max(axis=0, initial=PADDING).tolist()
    return _grid((height, width), strides, kind)


def _padded(part: InputBoxes) -> Int64[np.ndarray, "N 2"]:
    padded: Int64[np.ndarray, "N 2"] = -(-part.sizes // PADDING) * PADDING
    return padded


def _grid(size: tuple[int, int], strides: tuple[int, ...], kind: Placement) -> Locations:
    shapes = tuple((-(-size[0] // stride), -(-size[1] // stride)) for stride in strides)
    return compute_locations(shapes, strides, size, kind, torch.device("cpu"))


def _ranks(part: InputBoxes, assignment: AssignmentConfig) -> tuple[Int64[np.ndarray, " M"], int]:
    """Each box's rank by area in its image, ties to the first, and a number above all ranks."""
    area = areas(torch.from_numpy(part.boxes), assignment.corners).numpy()
    order = np.lexsort((area, part.image))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order)) - np.repeat(part.offsets[:-1], np.diff(part.offsets))
    return rank, int(rank.max(initial=0)) + 1


def _different(labels: Int64[np.ndarray, " K"], first: Int64[np.ndarray, " P"], number: Int64[np.ndarray, " P"]) -> int:
    if not len(first):
        return 0
    several = number > 1
    low, high = np.minimum.reduceat(labels, first), np.maximum.reduceat(labels, first)
    return int((several & (low != high)).sum())
