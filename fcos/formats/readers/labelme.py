"""LabelMe: a JSON file for each image with its shapes."""

import codecs
from collections.abc import Sequence
from math import dist
from pathlib import PurePosixPath
from typing import Annotated, Any, Final

from pydantic import BaseModel, Field, ValidationError

from fcos.errors import DataError
from fcos.formats.listing import Listing
from fcos.formats.readers.box_shapes import Point, box_of_ellipse, box_of_points
from fcos.formats.readers.file_per_image import image_of_file, image_size, read_images
from fcos.formats.split_names import split_of_path
from fcos.formats.structures import (
    LabelledBox,
    LabelledFolder,
    LabelledImage,
    Recognised,
    Remarks,
)

# Kinds of shapes whose points lie around the object; a circle has its center and a point of its edge.
_AROUND: Final = ("rectangle", "polygon", "mask", "rotation")
# The keys stand before the image, which LabelMe writes as text into the file, or behind it.
_WINDOW_BYTES: Final = 65536


class _Shape(BaseModel):
    label: Annotated[str, Field(min_length=1, pattern=r"\S")]
    points: list[tuple[Annotated[float, Field(allow_inf_nan=False)], Annotated[float, Field(allow_inf_nan=False)]]]
    shape_type: str | None = None


class _File(BaseModel):
    shapes: list[_Shape]
    imagePath: str = ""  # noqa: N815
    imageWidth: int | None = None  # noqa: N815
    imageHeight: int | None = None  # noqa: N815


def recognise(listing: Listing) -> Recognised | None:
    """Return what makes a folder LabelMe's: JSON files with shapes and imagePath."""
    files = _annotation_files(listing)
    if not files:
        return None
    return Recognised("labelme", f"{len(files)} JSON files with shapes and imagePath, such as {files[0]}")


def read(listing: Listing) -> LabelledFolder:
    """Read all annotations; images without a JSON file are left out.

    Rectangles, polygons and circles become the boxes around them; other shapes are left out. Raises DataError naming
    file and rule.
    """
    remarks = Remarks()
    return read_images(
        listing,
        "labelme",
        _annotation_files(listing),
        lambda file: _image(listing, file, remarks),
        lambda file, _: [split_of_path(file)],
        remarks,
    )


def _annotation_files(listing: Listing) -> list[PurePosixPath]:
    """Return the JSON files in LabelMe's format, and beside them empty ones, which reading refuses."""
    files, empty = [], []
    for file in listing.with_suffix(".json"):
        window = listing.read_ends(file, _WINDOW_BYTES, _WINDOW_BYTES, "JSON file")
        # One that is cut short may lack the second; reading it gives the reason.
        is_whole = window.rstrip().endswith((b"}", b"]"))
        if b'"shapes"' in window and (b'"imagePath"' in window or not is_whole):
            files.append(file)
        elif not window.strip():
            empty.append(file)
    return sorted([*files, *empty]) if files else []


def _image(listing: Listing, file: PurePosixPath, remarks: Remarks) -> LabelledImage | None:
    try:
        content = _File.model_validate_json(listing.read(file, "annotation file").removeprefix(codecs.BOM_UTF8))
    except ValidationError as error:
        first: Any = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{listing.root / file}: {where or 'the file'}: {first['msg']}; LabelMe's format") from None
    path = image_of_file(listing, file, content.imagePath, remarks)
    given = (content.imageWidth, content.imageHeight) if content.imageWidth and content.imageHeight else None
    size = None if path is None else image_size(listing, file, path, given, remarks)
    if path is None or size is None:
        return None
    boxes = []
    for shape in content.shapes:
        kind = shape.shape_type or "polygon"
        if kind not in (*_AROUND, "circle"):
            remarks.add(f"shapes of kind {kind} are left out", str(file))
            continue
        box = _box(kind, shape.label.strip(), shape.points)
        if box is None:
            remarks.add("shapes without an area are left out", str(file))
        else:
            boxes.append(box)
    return LabelledImage(str(path), *size, tuple(boxes))


def _box(kind: str, label: str, points: Sequence[Point]) -> LabelledBox | None:
    if kind != "circle":
        return box_of_points(label, points)
    if len(points) != 2:
        return None
    radius = dist(*points)
    return box_of_ellipse(label, points[0], (radius, radius))
