"""The canvas of a picture: an image at a legible and bounded size, and pictures beside each other."""

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

# Okabe and Ito's colours, which colour-blind readers can distinguish.
COLORS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442")
SHORT_SIDE = 320
# Longer images are scaled down, however short their other side becomes.
LONG_SIDE = 4096
TITLE_HEIGHT = 24

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


def canvas_of(
    pixels: UInt8[Tensor, "3 H W"], title: str | None, *, fade: float = 0.0, long_side: int = LONG_SIDE
) -> tuple[Image.Image, float]:
    """Return the image below a title line, enlarged to be legible as far as `long_side` allows, and the scale.

    Without a title (None) there is no line. `fade` is the share of white mixed in. Memory is bounded: a huge image is
    subsampled before anything is made of it.
    """
    height, width = pixels.shape[1:]
    scale = min(max(1.0, SHORT_SIDE / min(height, width)), long_side / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    step = max(1, max(height, width) // long_side)
    image = Image.fromarray(pixels[:, ::step, ::step].permute(1, 2, 0).contiguous().numpy())
    image = image.resize(size, Image.Resampling.BICUBIC)
    if fade:
        image = Image.blend(image, Image.new("RGB", size, "white"), fade)
    # The canvas of a thin image is wider, so that titles and names fit.
    top = 0 if title is None else TITLE_HEIGHT
    canvas = Image.new("RGB", (max(size[0], SHORT_SIDE), max(size[1], SHORT_SIDE) + top), "white")
    canvas.paste(image, (0, top))
    if title:
        ImageDraw.Draw(canvas).text((4, 4), title, fill="black", font=ImageFont.load_default(size=14))
    return canvas, scale


def hstack(pictures: Sequence[Image.Image], gap: int = 8) -> Image.Image:
    """Paste pictures into one row on white."""
    width = sum(picture.width for picture in pictures) + gap * (len(pictures) - 1)
    row = Image.new("RGB", (width, max(picture.height for picture in pictures)), "white")
    left = 0
    for picture in pictures:
        row.paste(picture, (left, 0))
        left += picture.width + gap
    return row


def tile(panels: Sequence[Image.Image], columns: int = 3, gap: int = 8) -> Image.Image:
    """Paste pictures row by row on white."""
    rows = [hstack(panels[start : start + columns], gap) for start in range(0, len(panels), columns)]
    sheet = Image.new("RGB", (max(row.width for row in rows), sum(row.height + gap for row in rows)), "white")
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height + gap
    return sheet
