"""Pictures of boxes with class names and scores."""

import hashlib
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float, Int, UInt8
from PIL import Image, ImageColor, ImageDraw
from torch import Tensor

from fcos.drawing.canvas import LONG_SIDE, TITLE_HEIGHT, canvas_of, color_of, hstack
from fcos.drawing.fonts import drawable_names, font_for
from fcos.storage.files import write_atomically
from fcos.structures import Detections

# File systems allow 255 bytes, ".png" included.
MAX_NAME_BYTES = 240
# Colours of a palette, as many as a byte has values.
NUM_COLORS = 256


@dataclass(frozen=True)
class _Style:
    """Widths of lines and sizes of letters, in pixels."""

    line: int
    font: int

    @staticmethod
    def of(picture: Image.Image) -> "_Style":
        # Large pictures are looked at from further away.
        side = (picture.width * picture.height) ** 0.5
        return _Style(max(2, round(side / 500)), max(12, round(side / 80)))


def draw_boxes(
    pixels: UInt8[Tensor, "3 H W"],
    boxes: Float[Tensor, "N 4"],
    labels: Int[Tensor, " N"],
    classes: Sequence[str],
    scores: Float[Tensor, " N"] | None = None,
    *,
    title: str | None = "",
    long_side: int = LONG_SIDE,
) -> Image.Image:
    """Draw boxes (xyxy pixels of the image), class names and scores on an image, enlarged to be legible.

    A title of None leaves out the title's line.
    """
    picture, scale = canvas_of(pixels, title, long_side=long_side)
    pen, style = ImageDraw.Draw(picture), _Style.of(picture)
    top = 0 if title is None else TITLE_HEIGHT
    names = drawable_names(classes)
    # Later boxes are drawn on top, so the best is drawn last.
    for index in range(len(boxes) - 1, -1, -1):
        label = int(labels[index])
        text = names[label] if scores is None else f"{names[label]} {float(scores[index]):.2f}"
        x1, y1, x2, y2 = (boxes[index] * scale).tolist()
        _draw_box(pen, (x1, y1 + top, x2, y2 + top), color_of(label), text, style)
    return picture


def _draw_box(
    pen: ImageDraw.ImageDraw, box: tuple[float, float, float, float], color: str, text: str, style: _Style
) -> None:
    """Draw one box; its text stands in its upper left corner, moved as far as it takes to lie on the picture."""
    x1, y1 = box[:2]
    pen.rectangle(box, outline=color, width=style.line)
    font = font_for(text, style.font)
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    picture_width, picture_height = pen.im.size
    x = max(min(x1 + style.line, picture_width - right - 3), 2 - left)
    y = max(min(y1 + style.line / 2, picture_height - bottom - 2), 1 - top)
    pen.rectangle((x + left - 2, y + top - 1, x + right + 2, y + bottom + 1), fill=color)
    pen.text((x, y), text, fill=_ink_on(color), font=font)


def _ink_on(color: str) -> str:
    """Return the colour of letters that can be read on a colour: black or white."""
    red, green, blue = ImageColor.getrgb(color)[:3]
    return "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 150 else "white"


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
        _save_small(hstack(panels), path)
        paths.append(path)
    return paths


def _save_small(picture: Image.Image, path: Path) -> None:
    """Save a picture in 256 colours of its own, which takes a third of the bytes and a quarter of the time."""
    content = io.BytesIO()
    picture.quantize(NUM_COLORS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(content, "PNG")
    # Whole, as the tracking store may have a link to an earlier one.
    write_atomically(path, content.getvalue())


def _file_name(name: str) -> str:
    """Return a file name for an image's path, of bounded length.

    The whole path is part of it, since folders may hold files of one name.
    """
    flat_name = re.sub(r"[/\\]", "__", name)
    if len(flat_name.encode()) <= MAX_NAME_BYTES:
        return flat_name
    return f"{hashlib.sha256(name.encode()).hexdigest()[:12]}_{flat_name[-80:]}"
