"""Entries of COCO's JSON files, as they are written."""

from typing import Any, NotRequired, TypedDict


class CocoImage(TypedDict):
    """An image; sizes are pixels."""

    id: int
    file_name: str
    width: int
    height: int


class CocoCategory(TypedDict):
    """A class."""

    id: int
    name: str


class CocoAnnotation(TypedDict):
    """An object; `bbox` is x, y, width, height in pixels."""

    id: int
    image_id: int
    category_id: int
    bbox: list[float]
    area: float
    iscrowd: int
    # Polygons or run lengths.
    segmentation: NotRequired[Any]


class CocoResult(TypedDict):
    """A detection; `bbox` is x, y, width, height in pixels."""

    image_id: int
    category_id: int
    bbox: list[float]
    score: float
