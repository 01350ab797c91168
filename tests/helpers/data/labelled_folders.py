"""Small folders of labelled images in the formats of labelling tools, written as those write them."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from PIL import Image

from fcos.formats.structures import FormatName, LabelledBox, LabelledImage
from fcos.formats.write_coco import coco_text

CLASSES: Final = ("cat", "dog", "red fox")


def write_image(path: Path, width: int, height: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (width, height), (90, 120, 60)).save(path, "PNG")


def box(label: str = "cat", x: float = 2, y: float = 3, width: float = 10, height: float = 12) -> LabelledBox:
    return LabelledBox(label, float(x), float(y), float(width), float(height))


def image(name: str, *boxes: LabelledBox, width: int = 64, height: int = 48) -> LabelledImage:
    return LabelledImage(name, width, height, boxes)


def write_images(root: Path, images: Sequence[LabelledImage]) -> None:
    for each in images:
        write_image(root / each.name, each.width, each.height)


def write_coco(root: Path, images: Sequence[LabelledImage]) -> None:
    (root / "annotations.json").write_text(coco_text(images, CLASSES), encoding="utf-8")


def write_voc(root: Path, images: Sequence[LabelledImage]) -> None:
    for each in images:
        objects = "".join(
            f"<object><name>{escape(b.label)}</name><bndbox><xmin>{b.x!r}</xmin><ymin>{b.y!r}</ymin>"
            f"<xmax>{b.x + b.width!r}</xmax><ymax>{b.y + b.height!r}</ymax></bndbox></object>"
            for b in each.boxes
        )
        size = f"<size><width>{each.width}</width><height>{each.height}</height><depth>3</depth></size>"
        text = f"<annotation><filename>{escape(Path(each.name).name)}</filename>{size}{objects}</annotation>"
        (root / each.name).with_suffix(".xml").write_text(text, encoding="utf-8")


def yolo_line(b: LabelledBox, width: int, height: int) -> str:
    numbers = ((b.x + b.width / 2) / width, (b.y + b.height / 2) / height, b.width / width, b.height / height)
    return " ".join([str(CLASSES.index(b.label)), *map(repr, numbers)])


def write_yolo(root: Path, images: Sequence[LabelledImage]) -> None:
    for each in images:
        lines = [yolo_line(b, each.width, each.height) for b in each.boxes]
        (root / each.name).with_suffix(".txt").write_text("\n".join(lines))
    (root / "classes.txt").write_text("\n".join(CLASSES))


def write_cvat(root: Path, images: Sequence[LabelledImage]) -> None:
    entries = []
    for number, each in enumerate(images):
        shapes = "".join(
            f'<box label={quoteattr(b.label)} occluded="0" xtl="{b.x!r}" ytl="{b.y!r}" xbr="{b.x + b.width!r}" '
            f'ybr="{b.y + b.height!r}" z_order="0"></box>'
            for b in each.boxes
        )
        head = f'<image id="{number}" name={quoteattr(each.name)} width="{each.width}" height="{each.height}">'
        entries.append(f"{head}{shapes}</image>")
    labels = "".join(f"<label><name>{escape(name)}</name></label>" for name in CLASSES)
    meta = f"<meta><job><labels>{labels}</labels></job></meta>"
    body = f"<version>1.1</version>{meta}{''.join(entries)}"
    text = f'<?xml version="1.0" encoding="utf-8"?><annotations>{body}</annotations>'
    (root / "annotations.xml").write_text(text, encoding="utf-8")


def write_labelme(root: Path, images: Sequence[LabelledImage]) -> None:
    for each in images:
        shapes = [
            {"label": b.label, "points": [[b.x, b.y], [b.x + b.width, b.y + b.height]], "shape_type": "rectangle"}
            for b in each.boxes
        ]
        content = {
            "version": "5.4.1",
            "shapes": shapes,
            "imagePath": Path(each.name).name,
            "imageData": None,
            "imageHeight": each.height,
            "imageWidth": each.width,
        }
        (root / each.name).with_suffix(".json").write_text(json.dumps(content), encoding="utf-8")


WRITERS: Final[dict[FormatName, Callable[[Path, Sequence[LabelledImage]], None]]] = {
    "coco": write_coco,
    "voc": write_voc,
    "yolo": write_yolo,
    "cvat": write_cvat,
    "labelme": write_labelme,
}


def write_folder(root: Path, name: FormatName, images: Sequence[LabelledImage]) -> Path:
    """Write images and annotations; image names carry the splits."""
    write_images(root, images)
    WRITERS[name](root, images)
    return root
