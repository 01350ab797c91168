"""Pictures of sample detections of an evaluation, beside the ground truth."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch

from fcos.data.coco import CocoDataset
from fcos.drawing.boxes import save_detections
from fcos.drawing.canvas import picture_or_note
from fcos.drawing.fonts import undrawable_notes
from fcos.images.open_image import open_image
from fcos.structures import Detections

NUM_PICTURES = 6


def draw_sample_pictures(
    dataset: CocoDataset,
    detections: Mapping[str, Mapping[int, Detections]],
    classes: tuple[str, ...],
    folder: Path,
) -> tuple[dict[str, list[Path]], list[str]]:
    """Draw the same few images for each arm, in folder/<arm>, or in the folder itself for the nameless arm.

    The images are spread evenly over those that have boxes. Also returns notes on pictures that could not be drawn and
    on names that they cannot show.
    """
    annotations = dataset.annotations
    with_boxes = [index for index in range(len(annotations)) if len(annotations.training_boxes(index)[1])]
    chosen = [
        with_boxes[position * len(with_boxes) // NUM_PICTURES] for position in range(min(NUM_PICTURES, len(with_boxes)))
    ]
    pictures: dict[str, list[Path]] = {}
    named, problem = picture_or_note(partial(undrawable_notes, classes), "the names of classes")
    notes = [*(named or ()), *([problem] if problem else ())]
    for arm, arm_detections in detections.items():
        pictures[arm] = []
        for index in chosen:
            description = f"the sample picture of {annotations.names[index]}{f' for {arm}' if arm else ''}"
            draw = partial(_draw_sample, dataset, index, arm_detections, classes, folder / arm if arm else folder)
            path, note = picture_or_note(draw, description)
            if path is None:
                notes.append(note)
            else:
                pictures[arm].append(path)
    return pictures, notes


def _draw_sample(
    dataset: CocoDataset, index: int, arm_detections: Mapping[int, Detections], classes: tuple[str, ...], folder: Path
) -> Path:
    annotations = dataset.annotations
    rows, labels = annotations.training_boxes(index)
    ground_truth = Detections(torch.from_numpy(rows), torch.ones(len(rows)), torch.from_numpy(labels))
    name = annotations.names[index]
    pixels = torch.from_numpy(open_image(dataset.folder / name, dataset.original_size(index), dataset.rules))
    (path,) = save_detections(
        [(name, pixels, ground_truth, arm_detections[int(annotations.image_ids[index])])], classes, folder
    )
    return path
