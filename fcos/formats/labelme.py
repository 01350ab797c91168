"""LabelMe: a JSON file for each image with its shapes."""

import codecs
from collections.abc import Mapping, Sequence
from math import dist
from pathlib import PurePosixPath
from typing import Annotated, Any, Final

from pydantic import BaseModel, Field, ValidationError

from fcos.errors import DataError
from fcos.formats.box_shapes import Point, box_of_ellipse, box_of_points
from fcos.formats.listing import Listing
from fcos.formats.split_names import split_of_path
from fcos.formats.structures import (
    LabelledBox,
    LabelledFolder,
    LabelledImage,
    Recognised,
    Remarks,
    SplitName,
    classes_of,
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
    """Read all annotations; images without a JSON file are left out, as nobody has said that they hold nothing.

    Rectangles, polygons and circles become the boxes around them; other shapes are left out. Raises DataError naming
    file and rule.
    """
    remarks = Remarks()
    splits: dict[SplitName, list[LabelledImage]] = {}
    used: set[str] = set()
    for file in _annotation_files(listing):
        image = _image(listing, file, remarks)
        if image is None:
            continue
        if image.name in used:
            remarks.add("annotation files of an image that has one already are left out", str(file))
            continue
        used.add(image.name)
        splits.setdefault(split_of_path(file), []).append(image)
    for path in listing.images:
        if str(path) not in used:
            remarks.add("images without an annotation file are left out", str(path))
    classes = classes_of(image for images in splits.values() for image in images)
    frozen: Mapping[SplitName, tuple[LabelledImage, ...]] = {split: tuple(images) for split, images in splits.items()}
    return LabelledFolder(listing.root, "labelme", frozen, classes, remarks.notes())


def _annotation_files(listing: Listing) -> list[PurePosixPath]:
    files = []
    for file in listing.with_suffix(".json"):
        with (listing.root / file).open("rb") as content:
            window = content.read(_WINDOW_BYTES)
            if len(window) == _WINDOW_BYTES:
                content.seek(max(_WINDOW_BYTES, (listing.root / file).stat().st_size - _WINDOW_BYTES))
                window += content.read()
        if b'"shapes"' in window and b'"imagePath"' in window:
            files.append(file)
    return files


def _image(listing: Listing, file: PurePosixPath, remarks: Remarks) -> LabelledImage | None:
    try:
        content = _File.model_validate_json(listing.read(file, "annotation file").removeprefix(codecs.BOM_UTF8))
    except ValidationError as error:
        first: Any = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{listing.root / file}: {where or 'the file'}: {first['msg']}; LabelMe's format") from None
    path = listing.find_image(content.imagePath, file.parent) if content.imagePath.strip() else None
    if path is None:
        path = listing.image_of_stem(file.stem, file.parent)
    if path is None:
        remarks.add("annotation files without an image are left out", str(file))
        return None
    size = (content.imageWidth, content.imageHeight) if content.imageWidth and content.imageHeight else None
    if size is None:
        size = listing.image_size(path)
        if size is None:
            remarks.add("images that do not open are left out", str(path))
            return None
        remarks.add("annotation files without the image's size, which is taken from the image", str(file))
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
