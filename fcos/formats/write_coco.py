"""Write labelled images as COCO JSON."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from fcos.annotations.coco_entries import CocoAnnotation
from fcos.annotations.conversion_notes import CONVERSION, write_conversion_notes
from fcos.errors import ConfigError
from fcos.formats.structures import LabelledBox, LabelledFolder, LabelledImage
from fcos.storage.files import write_atomically


def coco_text(images: Sequence[LabelledImage], classes: Sequence[str]) -> str:
    """Return COCO JSON of images in order of their names, with ids from 1; the same images give the same text."""
    category = {name: number for number, name in enumerate(classes, start=1)}
    ordered = sorted(images, key=lambda image: image.name)
    boxes = [(number, box) for number, image in enumerate(ordered, start=1) for box in image.boxes]
    content = {
        "images": [
            {"id": number, "file_name": image.name, "width": image.width, "height": image.height}
            for number, image in enumerate(ordered, start=1)
        ],
        "annotations": [_entry(number, image, category, box) for number, (image, box) in enumerate(boxes, start=1)],
        "categories": [{"id": number, "name": name} for name, number in category.items()],
    }
    return json.dumps(content, ensure_ascii=False, allow_nan=False)


def _entry(number: int, image: int, category: Mapping[str, int], box: LabelledBox) -> CocoAnnotation:
    entry: CocoAnnotation = {
        "id": number,
        "image_id": image,
        "category_id": category[box.label],
        "bbox": [box.x, box.y, box.width, box.height],
        "area": box.width * box.height if box.area is None else box.area,
        "iscrowd": int(box.crowd),
    }
    if box.segmentation is not None:
        entry["segmentation"] = box.segmentation
    return entry


def write_splits(
    output: Path, splits: Mapping[str, Sequence[LabelledImage]], folder: LabelledFolder, *, overwrite: bool
) -> list[Path]:
    """Write a JSON file for each split into a folder, with the notes on `folder` beside them; return the files.

    Raises ConfigError where one is there already and `overwrite` is False, before anything is written.
    """
    files = {split: output / f"{split}.json" for split in splits}
    present = [str(file) for file in (*files.values(), output / CONVERSION) if file.exists()]
    if present and not overwrite:
        raise ConfigError(f"{', '.join(present)}: would be overwritten; give --overwrite, or another --output")
    output.mkdir(parents=True, exist_ok=True)
    for split, file in files.items():
        write_atomically(file, coco_text(splits[split], folder.classes))
    write_conversion_notes(output, folder.notes, files.values())
    return list(files.values())
