"""What one evaluation found and what it got wrong, at the score at which its own F1 is highest."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analysis.explorer.curves import Curves, compute_curves
from analysis.explorer.matching import Matches, match_detections
from analysis.explorer.structures import DetectionSet, Truth
from fcos.evaluation.error_kinds import CLASS, CORRECT, DUPLICATE, IN_CROWD, LOCALISATION, OTHER

ERROR_NAMES: Final = {
    CORRECT: "correct",
    LOCALISATION: "localisation",
    CLASS: "class",
    DUPLICATE: "duplicate",
    OTHER: "background",
}


@dataclass(frozen=True)
class RunResults:
    """Counts of one evaluation; all but the curves are of the detections that score at least curves.threshold.

    kept: [D]. found: [M], which boxes are matched. class_found, class_detected: [C], boxes that are found, and
    detections outside of crowds. image_f1: [N]; 1 for an image without boxes and detections.
    errors: name -> count. confusion: [C + 1, C + 1], truth by detection, where classes do not count in matching; the
    last row is detections without a box, the last column boxes that are missed.
    """

    detections: DetectionSet
    matches: Matches
    curves: Curves
    kept: NDArray[np.bool_]
    found: NDArray[np.bool_]
    class_found: NDArray[np.int64]
    class_detected: NDArray[np.int64]
    image_f1: NDArray[np.float64]
    errors: dict[str, int]
    confusion: NDArray[np.int64]


def compute_run_results(truth: Truth, detections: DetectionSet) -> RunResults:
    """Match the detections of one evaluation and count what follows."""
    matches = match_detections(truth, detections)
    curves = compute_curves(truth, detections, matches)
    kept = detections.scores >= curves.threshold
    found = np.zeros(len(truth.labels), dtype=bool)
    found[matches.box[kept & (matches.box >= 0)]] = True
    kinds = matches.kind[kept]
    errors = {name: int((kinds == kind).sum()) for kind, name in ERROR_NAMES.items()}
    return RunResults(
        detections=detections,
        matches=matches,
        curves=curves,
        kept=kept,
        found=found,
        class_found=np.bincount(truth.labels[found], minlength=len(truth.classes)),
        class_detected=np.bincount(detections.labels[kept & (matches.kind != IN_CROWD)], minlength=len(truth.classes)),
        image_f1=compute_image_f1(truth, detections, matches, kept),
        errors={**errors, "missed": int((~found & ~truth.crowd).sum())},
        confusion=count_confusion(truth, detections, matches, kept),
    )


def compute_image_f1(
    truth: Truth, detections: DetectionSet, matches: Matches, kept: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return F1 = 2 TP / (2 TP + FP + FN) of each image, all classes together, [N]."""
    counted = kept & (matches.kind != IN_CROWD)
    true = np.bincount(detections.images[counted & (matches.box >= 0)], minlength=len(truth))
    detected = np.bincount(detections.images[counted], minlength=len(truth))
    total = detected + np.bincount(truth.images[~truth.crowd], minlength=len(truth))
    f1: NDArray[np.float64] = np.divide(2.0 * true, total, out=np.ones(len(truth)), where=total > 0)
    return f1


def count_confusion(
    truth: Truth, detections: DetectionSet, matches: Matches, kept: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Count which class each box is detected as; see RunResults."""
    nothing = len(truth.classes)
    counted = kept & (matches.kind != IN_CROWD)
    box = matches.any_box[counted]
    rows = np.where(box >= 0, truth.labels[box], nothing) if len(truth.labels) else np.full(len(box), nothing)
    hit = np.zeros(len(truth.labels), dtype=bool)
    hit[box[box >= 0]] = True
    confusion = np.zeros((nothing + 1, nothing + 1), dtype=np.int64)
    np.add.at(confusion, (rows, detections.labels[counted]), 1)
    missed = truth.labels[~hit & ~truth.crowd]
    np.add.at(confusion, (missed, np.full(len(missed), nothing)), 1)
    return confusion
