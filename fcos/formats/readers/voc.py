"""Pascal VOC: an XML file for each image, with lists of the splits in ImageSets/Main where there are any."""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Final
from xml.etree.ElementTree import Element

from fcos.errors import DataError
from fcos.formats.listing import Listing, folded
from fcos.formats.readers.box_shapes import box_of_corners
from fcos.formats.readers.file_per_image import image_of_file, image_size, read_images
from fcos.formats.readers.xml_file import child_text, files_with_root, number, read_xml
from fcos.formats.split_names import split_of_path
from fcos.formats.structures import (
    LabelledBox,
    LabelledFolder,
    LabelledImage,
    Recognised,
    Remarks,
    SplitName,
)

ROOT: Final = "annotation"
# Of the challenges' own files, whose corners are the numbers of the first and last pixel, counted from 1.
_CHALLENGE: Final = re.compile(r"The VOC20\d\d Database")
_CHALLENGE_REMARK: Final = "annotation files of the VOC challenges, whose corners are read as pixel numbers from 1"


def recognise(listing: Listing) -> Recognised | None:
    """Return what makes a folder Pascal VOC: XML files whose root is <annotation>."""
    files = files_with_root(listing, ROOT)
    if not files:
        return None
    return Recognised("voc", f"{len(files)} XML files with <annotation>, such as {files[0]}")


def read(listing: Listing) -> LabelledFolder:
    """Read all annotations; images without an XML file are left out.

    Corners are taken as they are written, but in files of the VOC challenges, whose inclusive corners from 1 become
    [xmin - 1, xmax]. Raises DataError naming file and rule.
    """
    remarks = Remarks()
    lists = _split_lists(listing)

    def splits_of(file: PurePosixPath, image: LabelledImage) -> list[SplitName]:
        named = _splits_of(file, lists)
        if not named:
            remarks.add("images of no list in ImageSets/Main are left out", image.name)
        return named

    files = files_with_root(listing, ROOT)
    return read_images(listing, "voc", files, lambda file: _image(listing, file, remarks), splits_of, remarks)


def _split_lists(listing: Listing) -> dict[SplitName, set[str]]:
    """Return the stems that each list of ImageSets/Main names; trainval is the training set where train is absent."""
    found: dict[str, set[str]] = {}
    for file in listing.with_suffix(".txt"):
        if file.parts[-3:-1] == ("ImageSets", "Main"):
            lines = listing.read_text(file, "list of images").splitlines()
            # Lists of one class, such as cat_train.txt, have a flag behind each name and other names.
            found[file.stem] = {folded(line.split()[0]) for line in lines if line.strip()}
    lists: dict[SplitName, set[str]] = {}
    splits: tuple[SplitName, ...] = ("train", "val", "test")
    for split in splits:
        if found.get(split):
            lists[split] = found[split]
    if "train" not in lists and found.get("trainval"):
        lists["train"] = found["trainval"] - lists.get("val", set())
    return lists


def _splits_of(file: PurePosixPath, lists: Mapping[SplitName, set[str]]) -> list[SplitName]:
    if not lists:
        return [split_of_path(file)]
    return [split for split, stems in lists.items() if folded(file.stem) in stems]


def _image(listing: Listing, file: PurePosixPath, remarks: Remarks) -> LabelledImage | None:
    root = read_xml(listing, file)
    path = image_of_file(listing, file, child_text(root, "filename"), remarks)
    size = None if path is None else image_size(listing, file, path, _size(root), remarks)
    if path is None or size is None:
        return None
    first = 0.0
    if _CHALLENGE.search(child_text(root, "source/database") or ""):
        remarks.add(_CHALLENGE_REMARK, str(file))
        first = 1.0
    boxes = [_box(item, f"{listing.root / file}", file, first, remarks) for item in root.iter("object")]
    return LabelledImage(str(path), *size, tuple(box for box in boxes if box is not None))


def _size(root: Element) -> tuple[int, int] | None:
    """Return (width, height), or None where they are missing or 0, as some tools write them."""
    width, height = (number(child_text(root, f"size/{side}")) for side in ("width", "height"))
    return (int(width), int(height)) if width and height and min(width, height) >= 1 else None


def _box(item: Element, path: str, file: PurePosixPath, first: float, remarks: Remarks) -> LabelledBox | None:
    label = child_text(item, "name")
    if label is None:
        raise DataError(f"{path}: an <object> has no <name>")
    if item.find("bndbox") is None:
        remarks.add("objects without <bndbox> are left out", str(file))
        return None
    corners = [number(child_text(item, f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax")]
    x1, y1, x2, y2 = corners
    if x1 is None or y1 is None or x2 is None or y2 is None:
        raise DataError(f"{path}: <bndbox> of {label!r} needs the numbers xmin, ymin, xmax and ymax")
    if child_text(item, "difficult") == "1":
        remarks.add("boxes marked as difficult are used like any other", str(file))
    box = box_of_corners(label, x1 - first, y1 - first, x2, y2)
    if box is None:
        remarks.add("boxes without an area are left out", str(file))
    return box
