"""Pictures of detections beside the ground truth, and of target assignments."""

import hashlib
import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torchvision.transforms.v2.functional import to_pil_image

from fcos.fonts import drawable_names, font_for
from fcos.structures import NO_OBJECT, Assignment, Detections, Locations, Targets

# Okabe and Ito's colours, which colour-blind readers can distinguish.
COLORS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442")
SHORT_SIDE = 320
# Longer images are scaled down, however short their other side becomes.
LONG_SIDE = 4096
TITLE_HEIGHT = 24
# File systems allow 255 bytes, ".png" included.
MAX_NAME_BYTES = 240

ResultT = TypeVar("ResultT")


def picture_or_note(draw: Callable[[], ResultT], description: str) -> tuple[ResultT | None, str]:
    """Call `draw`; where it fails, log the error and return None and a note with the reason.

    The error is not raised, since no result may depend on a picture.
    """
    try:
        return draw(), ""
    except Exception as error:  # the numbers are complete and must not be lost for any reason
        logging.getLogger(__name__).warning("%s could not be drawn", description, exc_info=True)
        reason = str(error).strip().splitlines()
        return None, f"{description} could not be drawn ({reason[0] if reason else type(error).__name__})"


def color_of(index: int) -> str:
    """Return the colour of a class or box index."""
    return COLORS[index % len(COLORS)]


def draw_boxes(
    pixels: UInt8[Tensor, "3 H W"],
    boxes: Float[Tensor, "N 4"],
    labels: Int[Tensor, " N"],
    classes: Sequence[str],
    scores: Float[Tensor, " N"] | None = None,
    *,
    title: str = "",
) -> Image.Image:
    """Draw boxes (xyxy pixels of the image), class names and scores on an image, enlarged to be legible."""
    picture, scale = _canvas(pixels, title)
    pen = ImageDraw.Draw(picture)
    names = drawable_names(classes)
    # Later boxes are drawn on top, so the best is drawn last.
    for index in range(len(boxes) - 1, -1, -1):
        label = int(labels[index])
        text = names[label] if scores is None else f"{names[label]} {float(scores[index]):.2f}"
        _draw_box(pen, (boxes[index] * scale).tolist(), color_of(label), text)
    return picture


def hstack(pictures: Sequence[Image.Image], gap: int = 8) -> Image.Image:
    """Paste pictures into one row on white."""
    width = sum(picture.width for picture in pictures) + gap * (len(pictures) - 1)
    row = Image.new("RGB", (width, max(picture.height for picture in pictures)), "white")
    left = 0
    for picture in pictures:
        row.paste(picture, (left, 0))
        left += picture.width + gap
    return row


def save_detections(
    images: Sequence[tuple[str, UInt8[Tensor, "3 _ _"], Detections, Detections]],
    classes: Sequence[str],
    folder: Path,
    *,
    score_threshold: float = 0.3,
) -> list[Path]:
    """Save a picture for each (name, image, ground truth, detections).

    It shows the ground truth beside the detections above the score threshold.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, pixels, ground_truth, detections in images:
        above_threshold = detections.scores > score_threshold
        panels = (
            draw_boxes(pixels, ground_truth.boxes, ground_truth.labels, classes, title="ground truth"),
            draw_boxes(
                pixels,
                detections.boxes[above_threshold],
                detections.labels[above_threshold],
                classes,
                detections.scores[above_threshold],
                title=f"detections, score over {score_threshold:g}",
            ),
        )
        path = folder / f"{_file_name(name)}.png"
        hstack(panels).save(path)
        paths.append(path)
    return paths


def _file_name(name: str) -> str:
    """Return a file name for an image's path, of bounded length.

    The whole path is part of it, since folders may hold files of one name.
    """
    flat_name = re.sub(r"[/\\]", "__", name)
    if len(flat_name.encode()) <= MAX_NAME_BYTES:
        return flat_name
    return f"{hashlib.sha256(name.encode()).hexdigest()[:12]}_{flat_name[-80:]}"


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
    faded = (pixels.float() * 0.45 + 255 * 0.55).to(torch.uint8)
    picture, scale = _canvas(faded, title)
    height, width = (side * scale for side in pixels.shape[1:])
    pen = ImageDraw.Draw(picture)
    spacing = step * scale
    matched_boxes = set(matched.tolist())
    for index, (box, valid) in enumerate(zip(targets.boxes[0], targets.valid[0], strict=True)):
        if valid:
            x1, y1, x2, y2 = (box * scale).tolist()
            corners = (x1, y1 + TITLE_HEIGHT, x2, y2 + TITLE_HEIGHT)
            pen.rectangle(corners, outline=color_of(index), width=3 if index in matched_boxes else 1)
    for (x, y), box_index, weight in zip((xy * scale).tolist(), matched.tolist(), centerness.tolist(), strict=True):
        is_positive = box_index != NO_OBJECT
        if x >= width or y >= height or (spacing < 5 and not is_positive):
            continue
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
    faded = (pixels.float() * 0.4 + 255 * 0.6).to(torch.uint8)
    picture, scale = _canvas(faded, title)
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


def _canvas(pixels: Tensor, title: str) -> tuple[Image.Image, float]:
    """Return the image below a title line, enlarged to be legible as far as LONG_SIDE allows, and the scale."""
    image = to_pil_image(pixels)
    scale = min(max(1.0, SHORT_SIDE / min(image.size)), LONG_SIDE / max(image.size))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    # The canvas of a thin image is wider, so that titles and names fit.
    canvas = Image.new("RGB", (max(size[0], SHORT_SIDE), max(size[1], SHORT_SIDE) + TITLE_HEIGHT), "white")
    canvas.paste(image.resize(size, Image.Resampling.BICUBIC), (0, TITLE_HEIGHT))
    ImageDraw.Draw(canvas).text((4, 4), title, fill="black", font=ImageFont.load_default(size=14))
    return canvas, scale


def _draw_box(pen: ImageDraw.ImageDraw, box: list[float], color: str, text: str) -> None:
    x1, y1, x2, y2 = box[0], box[1] + TITLE_HEIGHT, box[2], box[3] + TITLE_HEIGHT
    pen.rectangle((x1, y1, x2, y2), outline=color, width=2)
    font = font_for(text, 12)
    left, top, right, bottom = pen.textbbox((x1 + 2, y1 + 1), text, font=font)
    pen.rectangle((left - 2, top - 1, right + 2, bottom + 1), fill=color)
    pen.text((x1 + 2, y1 + 1), text, fill="white", font=font)


def tile(panels: Sequence[Image.Image], columns: int = 3, gap: int = 8) -> Image.Image:
    """Paste pictures row by row on white."""
    rows = [hstack(panels[start : start + columns], gap) for start in range(0, len(panels), columns)]
    sheet = Image.new("RGB", (max(row.width for row in rows), sum(row.height + gap for row in rows)), "white")
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height + gap
    return sheet
