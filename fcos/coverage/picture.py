"""The assignment of one image without and with center sampling, on grey instead of the image."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

from fcos.annotations.annotations import Annotations
from fcos.assignment.fcos import assign_fcos
from fcos.config.model_parts import AssignmentConfig
from fcos.coverage.boxes import InputBoxes
from fcos.coverage.counts import locations_of_largest
from fcos.data.masks import unpack_masks
from fcos.drawing.assignment import assignment_panels
from fcos.drawing.canvas import tile
from fcos.structures import Assignment, Locations, Targets

# A legible image has few boxes, each with both sides at least this fraction of the image's longest side.
MAX_BOXES = 10
MIN_SIDE = 0.05
DEFAULT_RADIUS = 1.5
# Longest side of a panel in pixels; a row has two panels.
PANEL_SIDE = 540


def image_to_draw(annotations: Annotations) -> int:
    """Return the index of the image whose boxes vary most in size, among those that are legible.

    Uses annotated sizes, so that arms with different box conventions show the same image. Needs at least one box.
    """
    keep = ~annotations.crowd & (annotations.xywh[:, 2:] > 0).all(axis=1)
    image = np.repeat(np.arange(len(annotations)), np.diff(annotations.offsets))[keep]
    sides = annotations.xywh[keep, 2:] / annotations.sizes[image].max(axis=1, keepdims=True)
    longest = sides.max(axis=1)
    num_boxes = np.bincount(image, minlength=len(annotations))
    smallest_side, shortest = np.full((2, len(annotations)), np.inf)
    longest_box = np.zeros(len(annotations))
    np.minimum.at(smallest_side, image, sides.min(axis=1))
    np.minimum.at(shortest, image, longest)
    np.maximum.at(longest_box, image, longest)
    octave_pairs = np.unique(np.stack([image, np.floor(np.log2(longest)).astype(np.int64)]), axis=1)
    num_octaves = np.bincount(octave_pairs[0], minlength=len(annotations))
    has_boxes = num_boxes > 0
    is_legible = has_boxes & (num_boxes <= MAX_BOXES) & (smallest_side >= MIN_SIDE)
    # lexsort's last key is the primary one; of equals the first image is taken.
    return int(
        np.lexsort((-np.arange(len(annotations)), longest_box / shortest, num_octaves, is_legible, has_boxes))[-1]
    )


def draw_maps(boxes: InputBoxes, image: int, levels: tuple[int, ...], assignment: AssignmentConfig, path: Path) -> Path:
    """Save one picture: left all locations inside a box, right those within the sampling radius, level by level.

    Where boxes have masks, only locations on them. An assignment without a radius is compared with one of 1.5. Levels
    without positives are left out.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    image_boxes = boxes.select(np.array([image]))
    targets = Targets(
        torch.from_numpy(image_boxes.boxes)[None],
        torch.from_numpy(image_boxes.labels)[None],
        torch.ones(1, len(image_boxes.boxes), dtype=torch.bool),
        None if image_boxes.masks is None else torch.from_numpy(unpack_masks(image_boxes.masks))[None],
    )
    locations = locations_of_largest(image_boxes, tuple(2**level for level in levels), assignment.locations)
    radius = assignment.center_sampling_radius or DEFAULT_RADIUS
    plain = AssignmentConfig(ranges=assignment.ranges, ends=assignment.ends, corners=assignment.corners)
    radii = {"no center sampling": None, f"center sampling {radius:g}": radius}
    columns, positive = [], torch.zeros(len(levels), dtype=torch.bool)
    for name, sampling_radius in radii.items():
        sampling = plain.model_copy(update={"center_sampling_radius": sampling_radius})
        result = assign_fcos(targets, locations, sampling)
        positive |= _positive_levels(result, locations)
        columns.append(_panels(image_boxes, targets, result, locations, [f"P{level}, {name}" for level in levels]))
    rows = [
        row for row, has_positives in zip(zip(*columns, strict=True), positive.tolist(), strict=True) if has_positives
    ]
    tile([panel for row in rows or zip(*columns, strict=True) for panel in row], columns=2).save(path)
    return path


def _positive_levels(assignment: Assignment, locations: Locations) -> Tensor:
    parts = assignment.positive[0].split([rows * columns for rows, columns in locations.shapes])
    return torch.stack([part.any() for part in parts])


def _panels(
    image_boxes: InputBoxes, targets: Targets, assignment: Assignment, locations: Locations, titles: list[str]
) -> list[Image]:
    """Draw the panels at their final size, so that dots are not scaled away."""
    height, width = image_boxes.sizes[0].tolist()
    scale = min(1.0, PANEL_SIDE / max(height, width))
    pixels = torch.full((3, max(1, round(height * scale)), max(1, round(width * scale))), 200, dtype=torch.uint8)
    steps = tuple((x * scale, y * scale) for x, y in locations.steps)
    return assignment_panels(
        pixels,
        replace(targets, boxes=targets.boxes * scale),
        assignment,
        replace(locations, xy=locations.xy * scale, steps=steps),
        titles=titles,
    )
