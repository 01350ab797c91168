"""CVAT for images 1.1: XML files with an <image> for each image and its shapes below it."""

from pathlib import PurePosixPath
from typing import Final
from xml.etree.ElementTree import Element

from fcos.errors import DataError
from fcos.formats.listing import Listing
from fcos.formats.readers.box_shapes import Point, box_of_ellipse, box_of_points, box_of_rotated
from fcos.formats.readers.xml_file import child_text, files_with_root, number, read_xml
from fcos.formats.split_names import split_of_folder, split_of_name
from fcos.formats.structures import (
    LabelledBox,
    LabelledFolder,
    LabelledImage,
    Recognised,
    Remarks,
    SplitName,
    classes_of,
)

ROOT: Final = "annotations"


def recognise(listing: Listing) -> Recognised | None:
    """Return what makes a folder CVAT's: XML files whose root is <annotations>."""
    files = files_with_root(listing, ROOT)
    return Recognised("cvat", f"{_listed(files)} with <annotations>") if files else None


def read(listing: Listing) -> LabelledFolder:
    """Read all annotation files; an image that they name without shapes is an image without objects.

    Boxes, polygons, ellipses and turned boxes become the upright boxes around them; other shapes are left out. Raises
    DataError naming file and rule.
    """
    remarks = Remarks()
    splits: dict[SplitName, dict[str, LabelledImage]] = {}
    declared: dict[str, None] = {}
    for file in files_with_root(listing, ROOT):
        root = read_xml(listing, file)
        if root.find("track") is not None:
            raise DataError(
                f"{listing.root / file}: is an export of a video (it has <track>); export it from CVAT as "
                "'CVAT for images 1.1', with the images"
            )
        declared |= dict.fromkeys(
            name.text.strip() for name in root.iterfind("./meta//label/name") if name.text and name.text.strip()
        )
        for element in root.iterfind("image"):
            image = _image(listing, file, element, remarks)
            if image is None:
                continue
            split = split_of_name(element.get("subset", "")) or split_of_folder(file.parent)
            split = split or split_of_folder(PurePosixPath(image.name).parent) or "all"
            if image.name in splits.setdefault(split, {}):
                remarks.add("images that are annotated twice are taken once, as they come first", image.name)
            splits[split].setdefault(image.name, image)
    named = {name for images in splits.values() for name in images}
    for path in listing.images:
        if str(path) not in named:
            remarks.add("images that no annotation file names are left out", str(path))
    found = classes_of(image for images in splits.values() for image in images.values())
    classes = tuple(name for name in declared if name in found) + tuple(name for name in found if name not in declared)
    frozen = {split: tuple(images.values()) for split, images in splits.items()}
    return LabelledFolder(listing.root, "cvat", frozen, classes, remarks.notes())


def _listed(files: list[PurePosixPath]) -> str:
    return str(files[0]) if len(files) == 1 else f"{len(files)} XML files such as {files[0]}"


def _image(listing: Listing, file: PurePosixPath, element: Element, remarks: Remarks) -> LabelledImage | None:
    name = element.get("name")
    if not name:
        raise DataError(f"{listing.root / file}: <image id={element.get('id')!r}> has no name")
    path = listing.find_image(name, file.parent, remarks)
    if path is None:
        remarks.add("annotated images without a file are left out", name)
        return None
    width, height = number(element.get("width")), number(element.get("height"))
    if not width or not height:
        raise DataError(f"{listing.root / file}: <image name={name!r}> needs the numbers width and height")
    boxes = []
    for shape in element:
        if shape.tag not in ("box", "polygon", "ellipse"):
            remarks.add(f"shapes of kind {shape.tag} are left out", name)
            continue
        try:
            box = _box(shape)
        except ValueError:
            raise DataError(f"{listing.root / file}: <{shape.tag}> of {name!r} has numbers missing") from None
        if box is None:
            remarks.add("shapes without an area are left out", name)
        else:
            boxes.append(box)
    return LabelledImage(str(path), int(width), int(height), tuple(boxes))


def _box(shape: Element) -> LabelledBox | None:
    """Return the box around a shape; raises ValueError where numbers or the label are missing."""
    label = (shape.get("label") or child_text(shape, "label") or "").strip()
    if not label:
        raise ValueError("label")
    turned = number(shape.get("rotation")) or 0.0
    if shape.tag == "box":
        return box_of_rotated(label, _numbers(shape, "xtl", "ytl", "xbr", "ybr"), turned)
    if shape.tag == "ellipse":
        x, y, x_radius, y_radius = _numbers(shape, "cx", "cy", "rx", "ry")
        return box_of_ellipse(label, (x, y), (x_radius, y_radius), turned)
    return box_of_points(label, _points(shape.get("points", "")))


def _numbers(shape: Element, *names: str) -> tuple[float, float, float, float]:
    first, second, third, fourth = (number(shape.get(name)) for name in names)
    if first is None or second is None or third is None or fourth is None:
        raise ValueError(names)
    return first, second, third, fourth


def _points(text: str) -> list[Point]:
    """Parse `x1,y1;x2,y2`."""
    points = []
    for pair in text.split(";"):
        x, y = map(number, pair.split(","))
        if x is None or y is None:
            raise ValueError(pair)
        points.append((x, y))
    return points
