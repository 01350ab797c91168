"""One image's assignment as a map, with and without center sampling; drawn on grey, since no image is read."""

from pathlib import Path

import numpy as np
import torch

from fcos.assign import assign
from fcos.config import AssignmentConfig
from fcos.coverage.boxes import InputBoxes
from fcos.coverage.counts import grid_of_largest
from fcos.draw import draw_assignment
from fcos.structures import Targets

# The image whose boxes differ most in size is shown, of those with at most so many.
MOST_BOXES = 10
DEFAULT_RADIUS = 1.5


def draw_maps(boxes: InputBoxes, levels: tuple[int, ...], assignment: AssignmentConfig, folder: Path) -> list[Path]:
    """Two pictures of the same image: every location inside a box, and those within the sampling radius alone."""
    folder.mkdir(parents=True, exist_ok=True)
    image = boxes.select(np.array([_most_varied(boxes)]))
    height, width = image.sizes[0].tolist()
    targets = Targets(
        torch.from_numpy(image.boxes)[None],
        torch.from_numpy(image.labels)[None],
        torch.ones(1, len(image.boxes), dtype=torch.bool),
    )
    places = grid_of_largest(image, tuple(2**level for level in levels), assignment.locations)
    pixels = torch.full((3, height, width), 200, dtype=torch.uint8)
    radius = assignment.center_sampling_radius or DEFAULT_RADIUS
    paths = []
    for name, used in (("without_center_sampling", None), ("with_center_sampling", radius)):
        assigned = assign(
            targets,
            places,
            ranges=assignment.ranges,
            ends=assignment.ends,
            center_sampling_radius=used,
            corners=assignment.corners,
        )
        path = folder / f"{name}.png"
        titles = [f"P{level}" for level in levels]
        draw_assignment(pixels, targets, assigned, places, titles=titles).save(path)
        paths.append(path)
    return paths


def _most_varied(boxes: InputBoxes) -> int:
    number = np.diff(boxes.offsets)
    filled = np.flatnonzero(number)
    longest = (boxes.boxes[:, 2:] - boxes.boxes[:, :2]).max(axis=1)
    first = boxes.offsets[:-1][filled]
    spread = np.maximum.reduceat(longest, first) / np.minimum.reduceat(longest, first).clip(min=1)
    few = number[filled] <= MOST_BOXES
    return int(filled[np.where(few, spread, 0).argmax()])
