"""Ground truth of a validation set as it is evaluated, and the runs whose detections are compared."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.reader.sweep import Trial
from fcos.annotations.annotations import Annotations
from fcos.evaluation.matches import find_ignored

# An arm with a seed.
RunKey = tuple[str, int]


@dataclass(frozen=True)
class Truth:
    """Annotated boxes. ignored: [M], those that COCO's evaluation leaves out: neither missed nor found wrongly."""

    annotations: Annotations
    ignored: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.annotations)

    @property
    def images(self) -> NDArray[np.int64]:
        """Image of each box, [M]."""
        return np.repeat(np.arange(len(self)), np.diff(self.annotations.offsets))

    @property
    def class_counts(self) -> NDArray[np.int64]:
        """Number of boxes to be found of each class, [C]."""
        labels = self.annotations.labels[~self.ignored]
        return np.bincount(labels, minlength=len(self.annotations.classes)).astype(np.int64)


def make_truth(annotations: Annotations) -> Truth:
    """Return annotations with the boxes that COCO's evaluation over all areas ignores."""
    return Truth(annotations, find_ignored(annotations))


@dataclass(frozen=True)
class Evaluations:
    """Evaluations of a sweep's finished trials against one ground truth, arms in order with the baseline first.

    baseline: None where nothing is compared.
    """

    truth: Truth
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    baseline: str | None
    trials: Mapping[RunKey, Trial]
