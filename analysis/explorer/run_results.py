"""What one evaluation found and what it got wrong, at the score at which its own F1 is highest."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analysis.explorer.curves import Curves, compute_curves
from analysis.explorer.matching import MatchedDetections, match_run
from analysis.explorer.structures import Truth
from fcos.annotations.coco_results import CocoResults
from fcos.evaluation.error_kinds import CLASS, CORRECT, DUPLICATE, LOCALISATION, OTHER

ERROR_NAMES: Final = {
    CORRECT: "correct",
    LOCALISATION: "localisation",
    CLASS: "class",
    DUPLICATE: "duplicate",
    OTHER: "background",
}
# Drawn of one image in one run.
MAX_DRAWN: Final = 50


@dataclass(frozen=True)
class DrawnDetections:
    """The detections that are drawn, best first in each image. images, labels, scores, box: [D]; xywh: [D, 4].

    images: in ascending order. box: row of the box that is found, or -1.
    """

    images: NDArray[np.int32]
    xywh: NDArray[np.float32]
    labels: NDArray[np.int32]
    scores: NDArray[np.float32]
    box: NDArray[np.int32]


@dataclass(frozen=True)
class RunResults:
    """Counts of one evaluation; all but the curves are of the detections that score at least curves.threshold.

    found: [M], which boxes are matched. class_found, class_detected: [C], boxes that are found, and detections that
    are counted. image_f1: [N]; 1 for an image without boxes and detections. errors: name -> count. confusion:
    [C + 1, C + 1], truth by detection, where classes do not count in matching; the last row is detections without a
    box, the last column boxes that are missed. drawn: None for a run whose detections are not drawn.
    """

    curves: Curves
    found: NDArray[np.bool_]
    class_found: NDArray[np.int64]
    class_detected: NDArray[np.int64]
    image_f1: NDArray[np.float64]
    errors: dict[str, int]
    confusion: NDArray[np.int64]
    drawn: DrawnDetections | None = None


def compute_run_results(truth: Truth, results: CocoResults, *, draws: bool = False) -> RunResults:
    """Match the detections of one evaluation and count what follows; `draws` keeps those that are drawn."""
    detections = match_run(truth, results)
    curves = compute_curves(truth, detections)
    kept = detections.scores >= curves.threshold
    labels, num_classes = truth.annotations.labels, len(truth.annotations.classes)
    found = np.zeros(len(labels), dtype=bool)
    found[detections.box[kept & (detections.box >= 0)]] = True
    kinds = detections.kind[kept]
    errors = {name: int((kinds == kind).sum()) for kind, name in ERROR_NAMES.items()}
    return RunResults(
        curves=curves,
        found=found,
        class_found=np.bincount(labels[found], minlength=num_classes),
        class_detected=np.bincount(detections.labels[kept & detections.counted], minlength=num_classes),
        image_f1=compute_image_f1(truth, detections, kept),
        errors={**errors, "missed": int((~found & ~truth.ignored).sum())},
        confusion=count_confusion(truth, detections, kept),
        drawn=select_drawn(detections, kept) if draws else None,
    )


def compute_image_f1(truth: Truth, detections: MatchedDetections, kept: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return F1 = 2 TP / (2 TP + FP + FN) of each image, all classes together, [N]."""
    counted = kept & detections.counted
    true = np.bincount(detections.images[counted & (detections.box >= 0)], minlength=len(truth))
    detected = np.bincount(detections.images[counted], minlength=len(truth))
    total = detected + np.bincount(truth.images[~truth.ignored], minlength=len(truth))
    f1: NDArray[np.float64] = np.divide(2.0 * true, total, out=np.ones(len(truth)), where=total > 0)
    return f1


def count_confusion(truth: Truth, detections: MatchedDetections, kept: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Count which class each box is detected as; see RunResults."""
    labels, nothing = truth.annotations.labels, len(truth.annotations.classes)
    counted = kept & detections.counted
    box = detections.any_box[counted]
    # No box is the last entry.
    rows = np.append(labels, nothing)[box]
    hit = np.zeros(len(labels), dtype=bool)
    hit[box[box >= 0]] = True
    confusion = np.zeros((nothing + 1, nothing + 1), dtype=np.int64)
    np.add.at(confusion, (rows, detections.labels[counted]), 1)
    missed = labels[~hit & ~truth.ignored]
    np.add.at(confusion, (missed, np.full(len(missed), nothing)), 1)
    return confusion


def select_drawn(detections: MatchedDetections, kept: NDArray[np.bool_]) -> DrawnDetections:
    """Return the best detections of each image among those that are kept, at most MAX_DRAWN."""
    images = detections.images
    rows = np.flatnonzero(kept)
    rank = np.arange(len(rows)) - np.searchsorted(images[rows], images[rows])
    rows = rows[rank < MAX_DRAWN]
    return DrawnDetections(
        images=images[rows].astype(np.int32),
        xywh=np.clip(detections.xywh[rows], -1e6, 1e6).astype(np.float32),
        labels=detections.labels[rows].astype(np.int32),
        # A file may hold any finite number.
        scores=np.clip(detections.scores[rows], 0.0, 1.0).astype(np.float32),
        box=detections.box[rows].astype(np.int32),
    )
