"""Sample detections of an evaluation, drawn beside the truth."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch

from fcos.data.coco import CocoDataset
from fcos.data.images import open_image
from fcos.draw import picture_or_note, save_detections
from fcos.structures import Detections

COUNT = 6


def draw_samples(
    dataset: CocoDataset,
    detections: Mapping[str, Mapping[int, Detections]],
    classes: tuple[str, ...],
    folder: Path,
) -> tuple[dict[str, list[Path]], list[str]]:
    """Pictures of the same few images for each arm, below folder/<arm>; the nameless arm has the folder to itself.

    The images are spread evenly over those that have boxes. The second value notes pictures that could not be drawn.
    """
    annotations = dataset.annotations
    with_boxes = [index for index in range(len(annotations)) if len(annotations.training_boxes(index)[1])]
    chosen = [with_boxes[position * len(with_boxes) // COUNT] for position in range(min(COUNT, len(with_boxes)))]
    pictures: dict[str, list[Path]] = {}
    notes = []
    for arm, found in detections.items():
        pictures[arm] = []
        for index in chosen:
            what = f"the sample picture of {annotations.names[index]}{f' for {arm}' if arm else ''}"
            draw = partial(_draw_sample, dataset, index, found, classes, folder / arm if arm else folder)
            path, note = picture_or_note(draw, what)
            if path is None:
                notes.append(note)
            else:
                pictures[arm].append(path)
    return pictures, notes


def _draw_sample(
    dataset: CocoDataset, index: int, found: Mapping[int, Detections], classes: tuple[str, ...], folder: Path
) -> Path:
    annotations = dataset.annotations
    rows, labels = annotations.training_boxes(index)
    truth = Detections(torch.from_numpy(rows), torch.ones(len(rows)), torch.from_numpy(labels))
    name = annotations.names[index]
    pixels = open_image(dataset.folder / name, dataset.original_size(index))
    (path,) = save_detections([(name, pixels, truth, found[int(annotations.image_ids[index])])], classes, folder)
    return path
