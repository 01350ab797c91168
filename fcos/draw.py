"""Pictures: detections beside the truth, and which location answers for which box."""

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

from fcos.structures import NO_OBJECT, Assignment, Detections, Locations, Targets

# Okabe and Ito's colours, told apart by colour-blind readers too.
COLORS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442")
SHORT_SIDE = 320
# Of an image in a picture: what is longer is made smaller, whatever that leaves of its short side.
LONG_SIDE = 4096
MARGIN = 24
# Bytes; file systems take 255, ".png" included.
LONGEST_NAME = 240

ResultT = TypeVar("ResultT")


def drawn_or_note(draw: Callable[[], ResultT], what: str) -> tuple[ResultT | None, str]:
    """Call `draw`; where it fails, return None and a note with the reason.

    The error is logged, and not raised, since no result may depend on a picture.
    """
    try:
        return draw(), ""
    except Exception as error:  # whatever it is, the numbers are there and must stay
        logging.getLogger(__name__).warning("%s could not be drawn", what, exc_info=True)
        reason = str(error).strip().splitlines()
        return None, f"{what} could not be drawn ({reason[0] if reason else type(error).__name__})"


def color_of(index: int) -> str:
    """The colour of a class or box number."""
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
    """An image, enlarged to be legible, with its boxes (xyxy pixels of the image), names and scores."""
    picture, scale = _canvas(pixels, title)
    pen = ImageDraw.Draw(picture)
    # The last is drawn on top, so the best comes last.
    for index in range(len(boxes) - 1, -1, -1):
        label = int(labels[index])
        text = classes[label] if scores is None else f"{classes[label]} {float(scores[index]):.2f}"
        _draw_box(pen, (boxes[index] * scale).tolist(), color_of(label), text)
    return picture


def side_by_side(pictures: Sequence[Image.Image], gap: int = 8) -> Image.Image:
    """Pictures in one row on white."""
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
    """One picture for each (name, image, truth, found): truth beside what was found over the threshold."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, pixels, truth, found in images:
        shown = found.scores > score_threshold
        pair = (
            draw_boxes(pixels, truth.boxes, truth.labels, classes, title="truth"),
            draw_boxes(
                pixels,
                found.boxes[shown],
                found.labels[shown],
                classes,
                found.scores[shown],
                title=f"found, score over {score_threshold:g}",
            ),
        )
        path = folder / f"{_flat(name)}.png"
        side_by_side(pair).save(path)
        paths.append(path)
    return paths


def _flat(name: str) -> str:
    """A file name that stands for a path: folders may hold files of one name, and be deeper than a name is long."""
    flat = re.sub(r"[/\\]", "__", name)
    if len(flat.encode()) <= LONGEST_NAME:
        return flat
    return f"{hashlib.sha256(name.encode()).hexdigest()[:12]}_{flat[-80:]}"


def draw_assignment(
    pixels: UInt8[Tensor, "3 H W"],
    targets: Targets,
    assignment: Assignment,
    locations: Locations,
    *,
    titles: Sequence[str],
) -> Image.Image:
    """One panel for each level, see `assignment_panels`."""
    panels = assignment_panels(pixels, targets, assignment, locations, titles=titles)
    return grid(panels, columns=3 if locations.targets == 1 else locations.targets)


def assignment_panels(
    pixels: UInt8[Tensor, "3 H W"],
    targets: Targets,
    assignment: Assignment,
    locations: Locations,
    *,
    titles: Sequence[str],
) -> list[Image.Image]:
    """For each level its locations, in the colour of the box they answer for, larger the more central.

    Locations of several boxes have a panel for each.

    Targets and assignment are those of a batch that holds this image alone; a box whose locations all went to other
    levels or smaller boxes is drawn thin. Locations that answer for nothing are small grey dots.
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
    answered = set(matched.tolist())
    for index, (box, valid) in enumerate(zip(targets.boxes[0], targets.valid[0], strict=True)):
        if valid:
            x1, y1, x2, y2 = (box * scale).tolist()
            corners = (x1, y1 + MARGIN, x2, y2 + MARGIN)
            pen.rectangle(corners, outline=color_of(index), width=3 if index in answered else 1)
    for (x, y), box_index, weight in zip((xy * scale).tolist(), matched.tolist(), centerness.tolist(), strict=True):
        answers = box_index != NO_OBJECT
        if x >= width or y >= height or (spacing < 5 and not answers):
            continue
        # Neighbours on a fine grid stay apart, and their outlines away.
        radius = min(2.0 + 4.0 * weight, 0.45 * spacing) if answers else 1.0
        circle = (x - radius, y + MARGIN - radius, x + radius, y + MARGIN + radius)
        fill = color_of(box_index) if answers else "#9a9a9a"
        pen.ellipse(circle, fill=fill, outline="black" if answers and spacing >= 10 else None)
    return picture


def difference_panel(
    pixels: UInt8[Tensor, "3 H W"],
    boxes: Float[Tensor, "M 4"],
    xy: Float[Tensor, "P 2"],
    strides: Float[Tensor, " P"],
    owners: Sequence[int | None],
    differs: Bool[Tensor, " P"],
    *,
    title: str,
) -> Image.Image:
    """All levels at once: locations with an owner in its colour, larger the coarser, ringed in black if they differ.

    A location that differs because it has no owner is a ring alone. `boxes`, `xy` and `strides` are in pixels of
    the image.
    """
    faded = (pixels.float() * 0.4 + 255 * 0.6).to(torch.uint8)
    picture, scale = _canvas(faded, title)
    pen = ImageDraw.Draw(picture)
    for box in (boxes * scale).tolist():
        pen.rectangle((box[0], box[1] + MARGIN, box[2], box[3] + MARGIN), outline="#404040")
    shown = differs | torch.tensor([owner is not None for owner in owners])
    for place in shown.nonzero().flatten().tolist():
        x, y = (xy[place] * scale).tolist()
        radius = 1.2 + 0.06 * float(strides[place]) * scale
        owner = owners[place]
        pen.ellipse(
            (x - radius, y + MARGIN - radius, x + radius, y + MARGIN + radius),
            fill=None if owner is None else color_of(owner),
            outline="black" if bool(differs[place]) else None,
        )
    return picture


def _canvas(pixels: Tensor, title: str) -> tuple[Image.Image, float]:
    """The image below a line of text, its short side legible as far as LONG_SIDE allows; and by how much enlarged."""
    image = to_pil_image(pixels)
    scale = min(max(1.0, SHORT_SIDE / min(image.size)), LONG_SIDE / max(image.size))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    # Titles and names of a thin image stand beside it.
    canvas = Image.new("RGB", (max(size[0], SHORT_SIDE), max(size[1], SHORT_SIDE) + MARGIN), "white")
    canvas.paste(image.resize(size, Image.Resampling.BICUBIC), (0, MARGIN))
    ImageDraw.Draw(canvas).text((4, 4), title, fill="black", font=ImageFont.load_default(size=14))
    return canvas, scale


def _draw_box(pen: ImageDraw.ImageDraw, box: list[float], color: str, text: str) -> None:
    x1, y1, x2, y2 = box[0], box[1] + MARGIN, box[2], box[3] + MARGIN
    pen.rectangle((x1, y1, x2, y2), outline=color, width=2)
    font = ImageFont.load_default(size=12)
    left, top, right, bottom = pen.textbbox((x1 + 2, y1 + 1), text, font=font)
    pen.rectangle((left - 2, top - 1, right + 2, bottom + 1), fill=color)
    pen.text((x1 + 2, y1 + 1), text, fill="white", font=font)


def grid(panels: Sequence[Image.Image], columns: int = 3, gap: int = 8) -> Image.Image:
    """Pictures row by row on white."""
    rows = [side_by_side(panels[start : start + columns], gap) for start in range(0, len(panels), columns)]
    sheet = Image.new("RGB", (max(row.width for row in rows), sum(row.height + gap for row in rows)), "white")
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height + gap
    return sheet
