"""Sample detections of an evaluation, drawn beside the truth."""

from collections.abc import Mapping
from pathlib import Path

import torch

from fcos.data.coco import CocoDataset
from fcos.data.images import open_image
from fcos.draw import save_detections
from fcos.structures import Detections

COUNT = 6


def draw_samples(
    dataset: CocoDataset,
    detections: Mapping[str, Mapping[int, Detections]],
    classes: tuple[str, ...],
    folder: Path,
) -> dict[str, list[Path]]:
    """Pictures of the same few images for each arm, below folder/<arm>; the nameless arm has the folder to itself.

    The images are spread evenly over those that have boxes.
    """
    annotations = dataset.annotations
    with_boxes = [index for index in range(len(annotations)) if len(annotations.training_boxes(index)[1])]
    chosen = [with_boxes[position * len(with_boxes) // COUNT] for position in range(min(COUNT, len(with_boxes)))]
    pictures = {}
    for arm, found in detections.items():
        images = []
        for index in chosen:
            rows, labels = annotations.training_boxes(index)
            truth = Detections(torch.from_numpy(rows), torch.ones(len(rows)), torch.from_numpy(labels))
            name = annotations.names[index]
            pixels = open_image(dataset.folder / name, dataset.original_size(index))
            images.append((name, pixels, truth, found[int(annotations.image_ids[index])]))
        pictures[arm] = save_detections(images, classes, folder / arm if arm else folder)
    return pictures
