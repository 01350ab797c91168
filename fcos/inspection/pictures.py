"""Pictures of the page: samples with their boxes, and thumbnails of findings, as JPEG of bounded size in all."""

import base64
import io
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from jaxtyping import Float, Float64, Int, UInt8
from PIL import Image
from torch import Tensor

from fcos.config.run import DataConfig
from fcos.data.prepare import image_rules
from fcos.drawing.boxes import draw_boxes
from fcos.drawing.canvas import canvas_of
from fcos.errors import DataError, ReadError
from fcos.images.open_image import open_image
from fcos.inspection.read import SplitView

# Bytes of all pictures of a page, as they stand in it.
MAX_BYTES: Final = 4_500_000
SAMPLE_SIDE: Final = 640
THUMBNAIL_SIDE: Final = 320
# Samples of a split.
SAMPLES: Final = 6
QUALITY: Final = 80
# The part of an image around a box, in longer sides of the box, longer sides of the image, and pixels.
PART_OF_BOX: Final = 3
PART_OF_IMAGE: Final = 0.25
MIN_PART: Final = 64


@dataclass(frozen=True)
class SamplePicture:
    """An image with its boxes as a data URI, and what it is."""

    name: str
    caption: str
    uri: str


@dataclass
class Pictures:
    """Draws pictures until their bytes are used up; counts those that are left out then."""

    data: DataConfig
    max_bytes: int = MAX_BYTES
    used: int = 0
    left_out: int = 0

    def samples(self, view: SplitView) -> list[SamplePicture]:
        """Return images of a split with their boxes, spread evenly over those that have some."""
        if view.facts is None:
            return []
        counts = np.diff(view.annotations.offsets)
        usable = [i for i, fact in enumerate(view.facts) if not fact.failure and counts[i]]
        chosen = sorted({usable[i] for i in np.linspace(0, len(usable) - 1, SAMPLES).astype(int)} if usable else set())
        samples = []
        for position in chosen:
            offsets = view.annotations.offsets
            rows = range(int(offsets[position]), int(offsets[position + 1]))
            uri = self.picture(view, position, tuple(rows), SAMPLE_SIDE)
            boxes = "1 box" if counts[position] == 1 else f"{counts[position]} boxes"
            if uri:
                samples.append(SamplePicture(view.annotations.names[position], f"{view.name}, {boxes}", uri))
        return samples

    def thumbnail(self, view: SplitView, position: int, rows: tuple[int, ...]) -> str:
        """Return the part of an image around some of its boxes; the whole with all of them where none is named."""
        offsets = view.annotations.offsets
        shown = rows or tuple(range(int(offsets[position]), int(offsets[position + 1])))
        return self.picture(view, position, shown, THUMBNAIL_SIDE, around=rows[:1])

    def picture(
        self, view: SplitView, position: int, rows: tuple[int, ...], side: int, *, around: tuple[int, ...] = ()
    ) -> str:
        """Return an image with boxes as annotated, or "" where it cannot be read or no bytes are left.

        Of a row `around`, only the part of the image around that box is shown.
        """
        annotations = view.annotations
        if self.used >= self.max_bytes:
            self.left_out += 1
            return ""
        try:
            opened = open_image(view.folder / annotations.names[position], rules=image_rules(self.data))
        except (DataError, ReadError):
            return ""
        pixels, x, y = torch.from_numpy(opened), 0, 0
        for row in around:
            x, y, right, bottom = _part_around(annotations.xywh[row], pixels.shape[1], pixels.shape[2])
            pixels = pixels[:, y:bottom, x:right]
        xywh = torch.from_numpy(annotations.xywh[list(rows)])
        boxes = torch.cat([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], dim=1).float() - torch.tensor([x, y, x, y])
        uri = _jpeg(_draw(pixels, boxes, torch.from_numpy(annotations.labels[list(rows)]), annotations.classes, side))
        if self.used + len(uri) > self.max_bytes:
            self.left_out += 1
            return ""
        self.used += len(uri)
        return uri


def _part_around(xywh: Float64[np.ndarray, " 4"], height: int, width: int) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of a part of the image that shows a box with its surroundings."""
    x, y, w, h = np.clip(xywh, -1e6, 1e6).tolist()
    side = max(PART_OF_BOX * max(w, h), PART_OF_IMAGE * max(height, width), MIN_PART)
    middle_x, middle_y = min(max(x + w / 2, 0), width), min(max(y + h / 2, 0), height)
    left, top = max(0, round(middle_x - side / 2)), max(0, round(middle_y - side / 2))
    right, bottom = min(width, round(middle_x + side / 2)), min(height, round(middle_y + side / 2))
    return left, top, max(right, left + 1), max(bottom, top + 1)


def _draw(
    pixels: UInt8[Tensor, "3 H W"],
    boxes: Float[Tensor, "N 4"],
    labels: Int[Tensor, " N"],
    classes: tuple[str, ...],
    side: int,
) -> Image.Image:
    """Return an image with boxes, its longer side at most `side`."""
    scale = min(1.0, side / max(pixels.shape[1:]))
    small = _shrunk(pixels, scale)
    picture = draw_boxes(small, _drawable(boxes * scale), labels, classes, title=None, long_side=side)
    # Without the white beside a thin image, which only titles need.
    _, enlarged = canvas_of(small, None, long_side=side)
    height, width = small.shape[1:]
    return picture.crop((0, 0, max(1, round(width * enlarged)), max(1, round(height * enlarged))))


def _shrunk(pixels: UInt8[Tensor, "3 H W"], scale: float) -> UInt8[Tensor, "3 h w"]:
    """Return an image made smaller before anything is drawn on it."""
    height, width = pixels.shape[1:]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    # A huge image is subsampled first, so that memory is bounded.
    step = max(1, int(1 / scale) // 2)
    image = Image.fromarray(pixels[:, ::step, ::step].permute(1, 2, 0).contiguous().numpy())
    return torch.from_numpy(np.array(image.resize(size, Image.Resampling.LANCZOS))).permute(2, 0, 1)


def _drawable(boxes: Float[Tensor, "N 4"]) -> Float[Tensor, "N 4"]:
    """Return boxes whose ends are in order and not far beyond the picture, as drawing needs."""
    boxes = boxes.clamp(-1e4, 1e5)
    return torch.cat([boxes[:, :2], torch.maximum(boxes[:, :2], boxes[:, 2:])], dim=1)


def _jpeg(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
