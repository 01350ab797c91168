"""Numbers of a data set: images, boxes and classes by split, and the sizes of boxes over the level ranges."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from fcos.annotations.annotations import Annotations
from fcos.config.choices import Split
from fcos.config.model import ModelConfig
from fcos.config.run import DataConfig
from fcos.coverage.boxes import InputBoxes, input_boxes
from fcos.inspection.read import SplitView


@dataclass(frozen=True)
class SplitCounts:
    """Numbers of one split. Boxes are those that are trained on; `annotated` are all of the file."""

    images: int
    annotated: int
    boxes: int
    crowds: int
    without_boxes: int
    # Boxes of each image, and of each class.
    per_image: Int64[np.ndarray, " N"]
    per_class: Int64[np.ndarray, " C"]
    # Median, smallest and largest size of the images, as WIDTHxHEIGHT; of smallest and largest area.
    median_size: str
    smallest_size: str
    largest_size: str
    # Half the longer side of each box at the input size: max(l, t, r, b) of a location in its middle.
    half_sides: Float64[np.ndarray, " B"]


@dataclass(frozen=True)
class LevelShare:
    """A pyramid level with its range, and the share of each split's boxes whose middle falls into it."""

    level: str
    low: float
    high: float | None
    shares: Mapping[Split, float]

    @property
    def range(self) -> str:
        return f"{self.low:g} to {self.high:g}" if self.high is not None else f"from {self.low:g}"


@dataclass(frozen=True)
class DataCounts:
    """The numbers of all splits."""

    splits: Mapping[Split, SplitCounts]
    classes: tuple[str, ...]
    levels: tuple[LevelShare, ...]
    # The size of the network's input in words.
    input_size: str


def count_data(views: Mapping[Split, SplitView], data: DataConfig, model: ModelConfig) -> DataCounts:
    """Count images, boxes, classes and sizes; with categories that differ, the classes are those of the first split."""
    splits = {split: _of_split(view, data) for split, view in views.items()}
    classes = next(iter(views.values())).annotations.classes
    if data.short_sides is None:
        size = "the images' own size"
    else:
        size = f"a short side of {max(data.short_sides)}, a long side of at most {data.long_side}"
    return DataCounts(splits, classes, _levels(splits, model), size)


def boxes_at_input(annotations: Annotations, data: DataConfig) -> InputBoxes:
    """Return the boxes to train on at the size that evaluation has; of several short sides, the largest."""
    short_side = None if data.short_sides is None else max(data.short_sides)
    return input_boxes(annotations, short_side, data.long_side, "half_up")


def _of_split(view: SplitView, data: DataConfig) -> SplitCounts:
    annotations = view.annotations
    kept = annotations.trainable
    boxes = boxes_at_input(annotations, data).boxes.astype(np.float64)
    areas = annotations.sizes.prod(axis=1)
    return SplitCounts(
        images=len(annotations),
        annotated=len(kept),
        boxes=int(kept.sum()),
        crowds=int(annotations.crowd.sum()),
        without_boxes=int((np.diff(annotations.offsets) == 0).sum()),
        per_image=np.bincount(view.image_of_row[kept], minlength=len(annotations)),
        per_class=np.bincount(annotations.labels[kept], minlength=len(annotations.classes)),
        median_size=_size(np.median(annotations.sizes, axis=0)),
        smallest_size=_size(annotations.sizes[areas.argmin()]),
        largest_size=_size(annotations.sizes[areas.argmax()]),
        half_sides=(boxes[:, 2:] - boxes[:, :2]).max(axis=1) / 2,
    )


def _size(height_width: Float64[np.ndarray, "2"] | Int64[np.ndarray, "2"]) -> str:
    return f"{height_width[1]:.0f}x{height_width[0]:.0f}"


def _levels(splits: Mapping[Split, SplitCounts], model: ModelConfig) -> tuple[LevelShare, ...]:
    levels = []
    for level, (low, high) in zip(model.levels, model.assignment.ranges, strict=True):
        end = np.inf if high is None else high
        shares = {
            split: float(((counts.half_sides > low) & (counts.half_sides <= end)).mean()) if counts.boxes else 0.0
            for split, counts in splits.items()
        }
        levels.append(LevelShare(f"P{level}", low, high, shares))
    return tuple(levels)
