"""Draw what the augmentations of training do to one image, with its boxes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL.Image import Image

from fcos.annotations.annotations import Annotations
from fcos.config.augmentation import AugmentationConfig
from fcos.data.coco import CocoDataset
from fcos.data.masks import add_masks
from fcos.data.sample_settings import SampleSettings
from fcos.drawing.boxes import draw_boxes
from fcos.drawing.canvas import tile
from fcos.errors import DataError
from fcos.studies.draw_assignment import find_position

# Each augmentation alone, with probability 1 and as far as its paper goes (see fcos.augmentation.augment).
ALONE: Mapping[str, Mapping[str, Any]] = {
    "photometric": {"photometric": 1.0},
    "zoom_out": {"zoom_out": 1.0},
    "iou_crop": {"iou_crop": 1.0},
    "random_crop": {"random_crop": 0.5},
    "scale_jitter": {"scale_jitter": (0.1, 2.0)},
    "mosaic": {"mosaic": 1.0},
    "mixup": {"mixup": 1.0},
    "copy_paste": {"copy_paste": 1.0},
}


def augmentation_sheet(
    annotations: Annotations, folder: Path, image: str | None, *, short_side: int, epochs: int, seed: int
) -> tuple[Image, list[str]]:
    """Draw a row for each augmentation alone, with the image as in the first epochs of a training with this seed.

    `image` is a file name or an id; None takes the first image with boxes. The other images of the annotations, all in
    `folder`, are combined with it. Returns the sheet, and notes: without masks, copy_paste is left out.
    Raises ConfigError for an unknown image, DataError for one that cannot be read.
    """
    shown, notes = dict(ALONE), []
    try:
        annotations = add_masks(annotations, "plain", None)
    except DataError as error:
        del shown["copy_paste"]
        notes.append(f"copy_paste is left out: {error}")
    plain = CocoDataset(annotations, folder, SampleSettings((short_side,), 2 * short_side), training=True, seed=seed)
    index = find_position(plain, image)
    panels = [_panel(plain, (0, index), "as it is"), *_epochs(_with(plain, flip=1.0), index, "flip", epochs)[1:]]
    for name, values in shown.items():
        panels += _epochs(_with(plain, augmentation=AugmentationConfig(**values)), index, name, epochs)
    return tile(panels, epochs), notes


def _with(dataset: CocoDataset, **changes: Any) -> CocoDataset:
    settings = replace(dataset.settings, **changes)
    return CocoDataset(dataset.annotations, dataset.folder, settings, training=True, seed=dataset.seed)


def _epochs(dataset: CocoDataset, index: int, name: str, epochs: int) -> Sequence[Image]:
    return [_panel(dataset, (epoch, index), f"{name}, epoch {epoch}") for epoch in range(epochs)]


def _panel(dataset: CocoDataset, key: tuple[int, int], title: str) -> Image:
    sample = dataset[key]
    return draw_boxes(sample.image, sample.boxes, sample.labels, dataset.annotations.classes, title=title)
