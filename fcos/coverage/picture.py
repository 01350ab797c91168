"""One image's assignment without and with center sampling; drawn on grey, since no image is read."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor

from fcos.assignment.fcos import assign_fcos
from fcos.config.model_parts import AssignmentConfig
from fcos.coverage.boxes import InputBoxes
from fcos.coverage.counts import grid_of_largest
from fcos.data.annotations import Annotations
from fcos.data.masks import unpack_masks
from fcos.draw import assignment_panels, tile
from fcos.structures import Assignment, Locations, Targets

# Legible: few boxes, each with both sides at least this share of the image's longest side.
MOST_BOXES = 10
SMALLEST_SIDE = 0.05
DEFAULT_RADIUS = 1.5
# Longest side of a panel in pixels, two of which stand side by side.
PANEL = 540


def image_to_draw(annotations: Annotations) -> int:
    """Position of the image whose boxes differ most in size, of those where all can be seen.

    By the annotated sizes, so that arms which count pixels in another way show the same image. Needs one box.
    """
    keep = ~annotations.crowd
    image = np.repeat(np.arange(len(annotations)), np.diff(annotations.offsets))[keep]
    sides = annotations.xywh[keep, 2:] / annotations.sizes[image].max(axis=1, keepdims=True)
    longest = sides.max(axis=1)
    number = np.bincount(image, minlength=len(annotations))
    smallest, low = np.full((2, len(annotations)), np.inf)
    high = np.zeros(len(annotations))
    np.minimum.at(smallest, image, sides.min(axis=1))
    np.minimum.at(low, image, longest)
    np.maximum.at(high, image, longest)
    octaves = np.unique(np.stack([image, np.floor(np.log2(longest)).astype(np.int64)]), axis=1)
    sizes = np.bincount(octaves[0], minlength=len(annotations))
    filled = number > 0
    legible = filled & (number <= MOST_BOXES) & (smallest >= SMALLEST_SIDE)
    # The last key counts first; of equals the first image is taken.
    return int(np.lexsort((-np.arange(len(annotations)), high / low, sizes, legible, filled))[-1])


def draw_maps(boxes: InputBoxes, image: int, levels: tuple[int, ...], assignment: AssignmentConfig, path: Path) -> Path:
    """One picture: left every location inside a box, right those within the sampling radius alone, level by level.

    Where boxes have masks, those on them alone. Without a radius of its own the assignment is held against one of 1.5.
    Levels without a positive are left out.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    shown = boxes.select(np.array([image]))
    targets = Targets(
        torch.from_numpy(shown.boxes)[None],
        torch.from_numpy(shown.labels)[None],
        torch.ones(1, len(shown.boxes), dtype=torch.bool),
        None if shown.masks is None else torch.from_numpy(unpack_masks(shown.masks))[None],
    )
    places = grid_of_largest(shown, tuple(2**level for level in levels), assignment.locations)
    radius = assignment.center_sampling_radius or DEFAULT_RADIUS
    settings = {"no center sampling": None, f"center sampling {radius:g}": radius}
    columns, positive = [], torch.zeros(len(levels), dtype=torch.bool)
    for name, used in settings.items():
        assigned = assign_fcos(
            targets,
            places,
            ranges=assignment.ranges,
            ends=assignment.ends,
            center_sampling_radius=used,
            box_convention=assignment.corners,
        )
        positive |= _positive_levels(assigned, places)
        columns.append(_panels(shown, targets, assigned, places, [f"P{level}, {name}" for level in levels]))
    rows = [row for row, seen in zip(zip(*columns, strict=True), positive.tolist(), strict=True) if seen]
    tile([panel for row in rows or zip(*columns, strict=True) for panel in row], columns=2).save(path)
    return path


def _positive_levels(assigned: Assignment, places: Locations) -> Tensor:
    parts = assigned.positive[0].split([rows * columns for rows, columns in places.shapes])
    return torch.stack([part.any() for part in parts])


def _panels(
    shown: InputBoxes, targets: Targets, assigned: Assignment, places: Locations, titles: list[str]
) -> list[Image]:
    """The panels at the size they are looked at, where a dot is not scaled away."""
    height, width = shown.sizes[0].tolist()
    scale = min(1.0, PANEL / max(height, width))
    pixels = torch.full((3, max(1, round(height * scale)), max(1, round(width * scale))), 200, dtype=torch.uint8)
    steps = tuple((x * scale, y * scale) for x, y in places.steps)
    return assignment_panels(
        pixels,
        replace(targets, boxes=targets.boxes * scale),
        assigned,
        replace(places, xy=places.xy * scale, steps=steps),
        titles=titles,
    )
