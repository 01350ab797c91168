"""Boxes around the shapes that labelling tools draw; None for a shape without an area."""

import math
from collections.abc import Sequence

from fcos.formats.structures import LabelledBox

Point = tuple[float, float]


def box_of_corners(label: str, x1: float, y1: float, x2: float, y2: float) -> LabelledBox | None:
    """Return the box between two opposite corners, in any order."""
    left, right = sorted((x1, x2))
    top, bottom = sorted((y1, y2))
    if right <= left or bottom <= top:
        return None
    return LabelledBox(label, left, top, right - left, bottom - top)


def box_of_points(label: str, points: Sequence[Point]) -> LabelledBox | None:
    """Return the box around a polygon's points."""
    if not points:
        return None
    xs, ys = zip(*points, strict=True)
    return box_of_corners(label, min(xs), min(ys), max(xs), max(ys))


def box_of_ellipse(label: str, center: Point, radii: Point, degrees: float = 0.0) -> LabelledBox | None:
    """Return the box around an ellipse, or a circle of two equal radii, turned by an angle."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    half_width = math.hypot(radii[0] * cosine, radii[1] * sine)
    half_height = math.hypot(radii[0] * sine, radii[1] * cosine)
    (x, y) = center
    return box_of_corners(label, x - half_width, y - half_height, x + half_width, y + half_height)


def box_of_rotated(label: str, corners: tuple[float, float, float, float], degrees: float) -> LabelledBox | None:
    """Return the upright box around a box of two corners that is turned about its center."""
    x1, y1, x2, y2 = corners
    if degrees % 360 == 0:
        return box_of_corners(label, x1, y1, x2, y2)
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    offsets = [(a - x, b - y) for a in (x1, x2) for b in (y1, y2)]
    return box_of_points(label, [(x + a * cosine - b * sine, y + a * sine + b * cosine) for a, b in offsets])
