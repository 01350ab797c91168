"""Ground truth and detections of a validation set as arrays, and the runs whose detections are compared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.reader.sweep import Trial

# An arm with a seed.
RunKey = tuple[str, int]


@dataclass(frozen=True)
class Truth:
    """Annotated boxes; those of image i are rows offsets[i] to offsets[i + 1].

    boxes: [M, 4], xyxy in pixels of the original image. sizes: [N, 2], height and width. labels: positions among the
    classes. areas: in square pixels as annotated. crowd: regions that are neither to be found nor false positives.
    """

    image_ids: NDArray[np.int64]
    names: tuple[str, ...]
    sizes: NDArray[np.int64]
    classes: tuple[str, ...]
    offsets: NDArray[np.int64]
    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    areas: NDArray[np.float64]
    crowd: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def images(self) -> NDArray[np.int64]:
        """Image of each box, [M]."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))


@dataclass(frozen=True)
class DetectionSet:
    """Detections of one evaluation, image by image as in Truth, those of an image from high to low score.

    boxes: [D, 4], xyxy.
    """

    offsets: NDArray[np.int64]
    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    scores: NDArray[np.float64]

    @property
    def images(self) -> NDArray[np.int64]:
        """Image of each detection, [D]."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))


def make_detection_set(
    num_images: int,
    images: NDArray[np.int64],
    boxes: NDArray[np.float64],
    labels: NDArray[np.int64],
    scores: NDArray[np.float64],
) -> DetectionSet:
    """Sort detections by image and score; equal scores keep their order, as in COCO's evaluation."""
    order = np.lexsort((-scores, images))
    offsets = np.searchsorted(images[order], np.arange(num_images + 1)).astype(np.int64)
    return DetectionSet(offsets, boxes[order], labels[order], scores[order])


@dataclass(frozen=True)
class Evaluations:
    """Evaluations of a sweep's finished trials against one ground truth, arms in order with the baseline first.

    baseline: None where nothing is compared. notes: on trials that are left out, and why.
    """

    truth: Truth
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    baseline: str | None
    trials: Mapping[RunKey, Trial]
    detections: Mapping[RunKey, DetectionSet]
    notes: Sequence[str] = ()
