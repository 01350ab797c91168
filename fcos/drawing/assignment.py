"""Pictures of target assignments: which location is trained to predict which box."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw
from torch import Tensor

from fcos.drawing.canvas import TITLE_HEIGHT, canvas_of, color_of, tile
from fcos.structures import NO_OBJECT, Assignment, Locations, Targets

# A sheet has up to ten panels.
PANEL_LONG_SIDE = 2048
# Of more locations in a panel only an even sample is drawn.
MAX_DOTS = 200_000


def draw_assignment(
    pixels: UInt8[Tensor, "3 H W"],
    targets: Targets,
    assignment: Assignment,
    locations: Locations,
    *,
    titles: Sequence[str],
) -> Image.Image:
    """Draw a target assignment, one panel per level; see `assignment_panels`."""
    panels = assignment_panels(pixels, targets, assignment, locations, titles=titles)
    return tile(panels, columns=3 if locations.targets == 1 else locations.targets)


def assignment_panels(
    pixels: UInt8[Tensor, "3 H W"],
    targets: Targets,
    assignment: Assignment,
    locations: Locations,
    *,
    titles: Sequence[str],
) -> list[Image.Image]:
    """Draw for each level its locations in the colour of their box, larger for higher center-ness.

    Locations with several targets have a panel for each target. Targets and assignment are those of a batch of this one
    image; a box without a location on the level is drawn thin. Negative locations are small grey dots.
    """
    panels = []
    start = 0
    for title, (rows, columns), steps in zip(titles, locations.shapes, locations.steps, strict=True):
        end = start + rows * columns
        for target in range(locations.targets):
            part = slice(start + target, end, locations.targets)
            matched, weight = assignment.matched[0, part], assignment.centerness[0, part]
            which = " locations" if locations.targets == 1 else f", box {target + 1}"
            count = f"{int((matched != NO_OBJECT).sum())} of {len(matched)}{which}"
            panel = _panel(pixels, targets, locations.xy[part], matched, weight, min(steps), f"{title}: {count}")
            panels.append(panel)
        start = end
    return panels


def _panel(
    pixels: Tensor, targets: Targets, xy: Tensor, matched: Tensor, centerness: Tensor, step: float, title: str
) -> Image.Image:
    picture, scale = canvas_of(pixels, title, fade=0.55, long_side=PANEL_LONG_SIDE)
    pen = ImageDraw.Draw(picture)
    spacing = step * scale
    matched_boxes = set(matched.unique().tolist())
    for index, (box, valid) in enumerate(zip(targets.boxes[0], targets.valid[0], strict=True)):
        if valid:
            x1, y1, x2, y2 = (box * scale).tolist()
            corners = (x1, y1 + TITLE_HEIGHT, x2, y2 + TITLE_HEIGHT)
            pen.rectangle(corners, outline=color_of(index), width=3 if index in matched_boxes else 1)
    height, width = pixels.shape[1:]
    is_drawn = (xy[:, 0] < width) & (xy[:, 1] < height)
    if spacing < 5:
        is_drawn &= matched != NO_OBJECT
    drawn = is_drawn.nonzero().flatten()
    drawn = drawn[:: -(-max(len(drawn), 1) // MAX_DOTS)]
    columns = ((xy[drawn] * scale).tolist(), matched[drawn].tolist(), centerness[drawn].tolist())
    for (x, y), box_index, weight in zip(*columns, strict=True):
        is_positive = box_index != NO_OBJECT
        # On a fine grid neighbours must not overlap, and outlines are left out.
        radius = min(2.0 + 4.0 * weight, 0.45 * spacing) if is_positive else 1.0
        circle = (x - radius, y + TITLE_HEIGHT - radius, x + radius, y + TITLE_HEIGHT + radius)
        fill = color_of(box_index) if is_positive else "#9a9a9a"
        pen.ellipse(circle, fill=fill, outline="black" if is_positive and spacing >= 10 else None)
    return picture


def difference_panel(
    pixels: UInt8[Tensor, "3 H W"],
    boxes: Float[Tensor, "M 4"],
    xy: Float[Tensor, "P 2"],
    strides: Float[Tensor, " P"],
    assigned: Sequence[int | None],
    differs: Bool[Tensor, " P"],
    *,
    title: str,
) -> Image.Image:
    """Draw all levels at once, with the locations that differ ringed in black.

    Locations have the colour of their box and are larger on coarser levels. A location that differs because it has no
    box is a ring only. `boxes`, `xy` and `strides` are in pixels of the image.
    """
    picture, scale = canvas_of(pixels, title, fade=0.6, long_side=PANEL_LONG_SIDE)
    pen = ImageDraw.Draw(picture)
    for box in (boxes * scale).tolist():
        pen.rectangle((box[0], box[1] + TITLE_HEIGHT, box[2], box[3] + TITLE_HEIGHT), outline="#404040")
    is_drawn = differs | torch.tensor([box_index is not None for box_index in assigned])
    for index in is_drawn.nonzero().flatten().tolist():
        x, y = (xy[index] * scale).tolist()
        radius = 1.2 + 0.06 * float(strides[index]) * scale
        box_index = assigned[index]
        pen.ellipse(
            (x - radius, y + TITLE_HEIGHT - radius, x + radius, y + TITLE_HEIGHT + radius),
            fill=None if box_index is None else color_of(box_index),
            outline="black" if bool(differs[index]) else None,
        )
    return picture
