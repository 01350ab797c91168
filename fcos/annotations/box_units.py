"""Checks that the boxes of a file can be [x, y, width, height] in pixels of their images."""

from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy.typing import NDArray

from fcos.errors import DataError

# Only boxes of images whose sides are at least this long are judged, in pixels.
MIN_SIDE: Final = 8
# Coordinates that were rounded may exceed their bound by this.
SLACK: Final = 0.01
# A few boxes may meet a rule by chance: fewer than this are never refused or noted for it.
MIN_BOXES: Final = 8
# Boxes that reach beyond their image by this share of its side do so by more than rounding.
FAR: Final = 0.05
# Share of boxes far beyond their image from which boxes that are all possible corners are taken for corners.
CORNERS_SHARE: Final = 0.2
# Boxes in percent can be distinguished from boxes in pixels only in images of several times 100 pixels.
PERCENT_SIDE: Final = 300


def check_units(xywh: Float64[np.ndarray, "M 4"], sizes: Int64[np.ndarray, "M 2"], path: Path) -> list[str]:
    """Return notes about boxes that may be in other units or formats.

    `sizes` are the (height, width) of each box's image. Empty boxes, and those of images of a few pixels, are not
    judged.

    Raises DataError naming file, count, rule and way out where the boxes cannot be pixels: all of them lie within the
    unit square, are smaller than a pixel or have no number above 1, unless they are a few of whole numbers, or all are
    possible corners and many reach far beyond their image.
    """
    judged = (xywh[:, 2:] > 0).all(axis=1) & (sizes >= MIN_SIDE).all(axis=1)
    boxes, sides = xywh[judged], sizes[judged][:, ::-1].astype(np.float64)
    if not len(boxes):
        return []
    ends = boxes[:, :2] + boxes[:, 2:]
    _check_fractions(boxes, ends, path)
    return [
        *_tiny_note(boxes, path),
        *_check_corners(boxes, ends, sides, path),
        *_percent_note(boxes, ends, sides, path),
    ]


def _check_fractions(boxes: NDArray[np.float64], ends: NDArray[np.float64], path: Path) -> None:
    if len(boxes) < MIN_BOXES and (boxes == np.round(boxes)).all():
        # A few boxes of one pixel, such as [1, 1, 1, 1].
        return
    if (boxes[:, :2] >= -SLACK).all() and (ends <= 1 + SLACK).all():
        raise DataError(
            f"{path}: {_all(boxes, 'lie')} within the unit square (0 to 1), as fractions of an image's sides do; "
            "COCO's boxes are [x, y, width, height] in pixels: multiply x and width by the width of the image, y and "
            "height by its height"
        )
    if is_tiny(boxes).all():
        raise DataError(
            f"{path}: {_all(boxes, 'are')} smaller than a pixel in width and height; COCO's boxes are [x, y, width, "
            "height] in pixels: multiply fractions by the sides of the image"
        )
    if _at_most(boxes, 1.0):
        raise DataError(
            f"{path}: {_all(boxes, 'have')} no number above 1, as fractions of an image's sides do, be they corners "
            "[x1, y1, x2, y2] or a center and a size; COCO's boxes are [x, y, width, height] in pixels, x and y of the "
            "upper left corner: convert them, and multiply fractions by the sides of the image"
        )


def is_tiny(boxes: Float64[np.ndarray, "M 4"]) -> Bool[np.ndarray, " M"]:
    """Return which xywh boxes are smaller than a pixel in width and height."""
    return np.asarray((boxes[:, 2:] < 1).all(axis=1))


def _at_most(boxes: NDArray[np.float64], bound: float) -> bool:
    """Return whether no number of any box exceeds a bound by more than rounding."""
    return bool((np.abs(boxes) <= bound + SLACK).all())


def _tiny_note(boxes: NDArray[np.float64], path: Path) -> list[str]:
    count = int(is_tiny(boxes).sum())
    if not count:
        return []
    return [f"{path.name}: {count} of {len(boxes)} boxes are smaller than a pixel in width and height"]


def _check_corners(
    boxes: NDArray[np.float64], ends: NDArray[np.float64], sides: NDArray[np.float64], path: Path
) -> list[str]:
    """Return a note on boxes that are rather corners, of which a box of a few may be one by chance."""
    corners = (boxes[:, :2] >= -SLACK) & (boxes[:, 2:] > boxes[:, :2]) & (boxes[:, 2:] <= sides + SLACK)
    is_far = (ends > (1 + FAR) * sides).any(axis=1)
    if not corners.all() or is_far.mean() < CORNERS_SHARE:
        return []
    found = (
        f"{is_far.sum()} of {len(boxes)} boxes reach far beyond their image as [x, y, width, height], and all of them "
        "fit as corners [x1, y1, x2, y2]"
    )
    if len(boxes) >= MIN_BOXES:
        raise DataError(
            f"{path}: {found}; write [x1, y1, x2 - x1, y2 - y1] if they are corners, and clip them to their image if "
            "they are not"
        )
    return [f"{path.name}: {found}; are they corners?"]


def _percent_note(
    boxes: NDArray[np.float64], ends: NDArray[np.float64], sides: NDArray[np.float64], path: Path
) -> list[str]:
    """Return a note on boxes that may be percentages, as [x, y, width, height], as corners, or as center and size."""
    if len(boxes) < MIN_BOXES or (sides < PERCENT_SIDE).any() or not _at_most(boxes, 100.0) or ends.max() < 50:
        return []
    height, width = int(sides[:, 1].min()), int(sides[:, 0].min())
    found = f"{_all(boxes, 'lie')} within the first 100 pixels of"
    if (ends > 100 + SLACK).any():
        found = f"{_all(boxes, 'have')} no number above 100, in"
    return [
        f"{path.name}: {found} images of at least {width}x{height}; are they percentages? COCO's boxes are in pixels"
    ]


def _all(boxes: NDArray[np.float64], verb: str) -> str:
    return f"all {len(boxes)} boxes {verb}"
