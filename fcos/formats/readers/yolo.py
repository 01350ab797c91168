"""YOLO: a text file for each image, a line for each object with its class number and fractions of the image's sides."""

import codecs
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final

from fcos.errors import DataError
from fcos.formats.listing import Listing
from fcos.formats.readers.box_shapes import box_of_corners
from fcos.formats.readers.xml_file import number
from fcos.formats.readers.yolo_settings import NAME_LISTS, YoloSettings, find_settings, read_settings
from fcos.formats.split_names import split_of_path
from fcos.formats.structures import LabelledBox, LabelledFolder, LabelledImage, Recognised, Remarks, SplitName

# A coordinate above this is no fraction that rounding has moved over the border.
_MOST_FRACTION: Final = 2.0
# Within which a file has its first line.
_FIRST_BYTES: Final = 1 << 16
# Fractions are written with six digits or so.
_TOLERANCE: Final = 1e-4


def recognise(listing: Listing) -> Recognised | None:
    """Return what makes a folder YOLO's: label files of numbers that belong to images."""
    count, first = 0, None
    for path in listing.images:
        file = _label_file(listing, path)
        if file is not None and (first is not None or _is_label_file(listing, file)):
            count += 1
            first = first or file
    if first is None:
        return None
    return Recognised("yolo", f"{count} text files of numbers beside images, such as {first}")


def read(listing: Listing) -> LabelledFolder:
    """Read all labels; an image without a label file is an image without objects, as YOLO has it.

    Polygons become the boxes around them, boxes that leave the image are clipped. Raises DataError naming file, line
    and rule.
    """
    file = find_settings(listing)
    if file is None:
        raise DataError(
            f"{listing.root}: has YOLO labels, and nothing says what their class numbers mean; write the names, a line "
            f"each, into {listing.root / NAME_LISTS[0]}, or add data.yaml with names: [...]"
        )
    remarks = Remarks()
    settings = read_settings(listing, file, remarks)
    splits: dict[SplitName, list[LabelledImage]] = {}
    for split, path in _images(listing, settings, remarks):
        label_file = _label_file(listing, path)
        size = listing.image_size(path)
        if size is None:
            remarks.add("images that do not open are left out", str(path))
            continue
        boxes: tuple[LabelledBox, ...] = ()
        if label_file is None:
            remarks.add("images without a label file are taken as images without objects", str(path))
        else:
            boxes = tuple(_boxes(listing, label_file, size, settings, remarks))
        splits.setdefault(split, []).append(LabelledImage(str(path), *size, boxes))
    used = {_label_file(listing, path) for path in listing.images}
    for text in listing.with_suffix(".txt"):
        if text not in used and text.name.lower() not in NAME_LISTS and _holds_labels(listing, text):
            remarks.add("label files without an image are left out", str(text))
    frozen = {split: tuple(images) for split, images in splits.items()}
    return LabelledFolder(listing.root, "yolo", frozen, settings.names, remarks.notes())


def _images(listing: Listing, settings: YoloSettings, remarks: Remarks) -> Iterator[tuple[SplitName, PurePosixPath]]:
    """Yield the images with their splits: those that data.yaml names, or all by the names of their folders."""
    if not settings.splits:
        yield from ((split_of_path(path), path) for path in listing.images)
        return
    named = set()
    for split, sources in settings.splits.items():
        for source in sources:
            for path in _images_of(listing, source, remarks):
                named.add(path)
                yield split, path
    for path in listing.images:
        if path not in named:
            remarks.add(f"images that {settings.file} does not name are left out", str(path))


def _images_of(listing: Listing, source: PurePosixPath, remarks: Remarks) -> Iterator[PurePosixPath]:
    """Yield the images of a folder, or of a text file that lists them."""
    if source.suffix.lower() != ".txt":
        yield from (path for path in listing.images if path.is_relative_to(source))
        return
    for line in listing.read_text(source, "list of images").splitlines():
        if line.strip():
            path = listing.find_image(line.strip(), source.parent, remarks)
            if path is None:
                remarks.add("listed images without a file are left out", line.strip())
            else:
                yield path


def _label_file(listing: Listing, image: PurePosixPath) -> PurePosixPath | None:
    """Return the label file of an image: in `labels` for one in `images`, beside it, or in `labels` there."""
    name = f"{image.stem}.txt"
    candidates = []
    if "images" in image.parts:
        position = len(image.parts) - 1 - image.parts[::-1].index("images")
        candidates.append(PurePosixPath(*image.parts[:position], "labels", *image.parts[position + 1 : -1], name))
    candidates += [image.parent / name, image.parent / "labels" / name, image.parent.parent / "labels" / name]
    return next((file for file in candidates if file in listing.known), None)


def _holds_labels(listing: Listing, file: PurePosixPath) -> bool:
    return "labels" in file.parts or _is_label_file(listing, file)


def _is_label_file(listing: Listing, file: PurePosixPath) -> bool:
    lines = listing.read_start(file, _FIRST_BYTES, "label file").removeprefix(codecs.BOM_UTF8).splitlines()
    words = next((line.split() for line in lines if line.strip()), [])
    values = [number(word.decode("ascii", "replace")) for word in words]
    return len(values) >= 5 and None not in values


def _boxes(
    listing: Listing, file: PurePosixPath, size: tuple[int, int], settings: YoloSettings, remarks: Remarks
) -> Iterator[LabelledBox]:
    for row, line in enumerate(listing.read_text(file, "label file").splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{listing.root / file}, line {row}"
        values = [number(word) for word in line.split()]
        coordinates = [value for value in values[1:] if value is not None]
        if len(coordinates) != len(values) - 1 or values[0] is None or values[0] % 1 or values[0] < 0:
            raise DataError(
                f"{where}: {line.strip()[:60]!r}: must be a class number and fractions of the image's sides"
            )
        if int(values[0]) >= len(settings.names):
            raise DataError(
                f"{where}: class {int(values[0])}: {settings.file} declares {len(settings.names)} classes, from 0"
            )
        corners = _corners(coordinates, settings.keypoints)
        if corners is None:
            raise DataError(f"{where}: has {len(values)} numbers; a box has 5, a polygon an odd number from 7")
        if max(map(abs, corners)) > _MOST_FRACTION:
            raise DataError(f"{where}: {line.strip()[:60]!r}: must be fractions of the image's sides, between 0 and 1")
        box = _pixels(settings.names[int(values[0])], corners, size, file, remarks)
        if box is None:
            remarks.add("boxes without an area in the image are left out", str(file))
        else:
            yield box


def _corners(values: list[float], keypoints: bool) -> tuple[float, float, float, float] | None:
    """Return left, top, right and bottom as fractions; None for a wrong number of values."""
    if len(values) == 4 or (keypoints and len(values) > 4):
        x, y, width, height = values[:4]
        return x - width / 2, y - height / 2, x + width / 2, y + height / 2
    if len(values) < 6 or len(values) % 2:
        return None
    return min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])


def _pixels(
    label: str,
    corners: tuple[float, float, float, float],
    size: tuple[int, int],
    file: PurePosixPath,
    remarks: Remarks,
) -> LabelledBox | None:
    """Return the box in pixels, clipped to the image."""
    if min(corners) < -_TOLERANCE or max(corners) > 1 + _TOLERANCE:
        remarks.add("boxes that leave the image are clipped", str(file))
    left, top, right, bottom = (min(max(value, 0.0), 1.0) for value in corners)
    return box_of_corners(label, left * size[0], top * size[1], right * size[0], bottom * size[1])
