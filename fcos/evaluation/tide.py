"""TIDE error analysis: AP50 gained by correcting one kind of error (Bolya et al. 2020)."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from fcos.annotations.annotations import Annotations
from fcos.evaluation.coco import accumulate, mean_of_measured
from fcos.evaluation.error_kinds import (
    CLASS,
    CORRECT,
    DUPLICATE,
    FOREGROUND,
    LOCALISATION,
    OTHER,
    classify,
    match_greedily,
)
from fcos.evaluation.metric_names import ERROR_KINDS
from fcos.evaluation.overlaps import Overlaps, compute_overlaps
from fcos.structures import Detections


def tide_errors(annotations: Annotations, detections: Mapping[int, Detections]) -> dict[str, float]:
    """Compute val/errors/AP50 and the gain of AP50 from correcting each kind of error.

    The result is empty without ground truth. localisation: IoU of 0.1 to 0.5 with a box of its class. class: IoU of at
    least 0.5 with a box of another class. duplicate: IoU of at least 0.5 with a box that is matched already.
    background: none of these, also where both class and position are wrong. missed: boxes without any such detection.
    To correct an error, localisation and class errors are replaced by their box, unless it is matched already; the
    other detections are removed; missed boxes are removed from the ground truth.
    """
    images = list(compute_overlaps(annotations, detections))
    kinds = {image.image_id: classify_errors(image) for image in images}
    before = _ap50(annotations, detections)
    if before < 0:
        return {}
    numbers = {"AP50": before}
    for name, kind in zip(ERROR_KINDS, (LOCALISATION, CLASS, DUPLICATE, OTHER), strict=True):
        corrected = {image.image_id: correct_errors(image, *kinds[image.image_id], kind) for image in images}
        numbers[name] = _ap50(annotations, corrected) - before
    matched = _matched_boxes(images, kinds)
    without_missed = _ap50(_select_boxes(annotations, matched), detections)
    # Where every box is missed, no ground truth is left.
    numbers["missed"] = (without_missed if without_missed >= 0 else 1.0) - before
    return {f"val/errors/{name}": value for name, value in numbers.items()}


def classify_errors(image: Overlaps) -> tuple[Int[Tensor, " N"], Int[Tensor, " N"]]:
    """Return the kind (CORRECT, ...) of each detection and the index of its box, or -1.

    Detections must be sorted by score.
    """
    iou, is_same = image.iou.double().numpy(), image.same_class.numpy()
    found = classify(iou, is_same, image.in_crowd.numpy(), match_greedily(np.where(is_same, iou, 0.0)))
    return torch.from_numpy(found.kind), torch.from_numpy(found.box)


def correct_errors(image: Overlaps, kinds: Int[Tensor, " N"], box_index: Int[Tensor, " N"], kind: int) -> Detections:
    """Return the detections with the errors of one kind corrected."""
    detections = image.detections
    wrong = kinds == kind
    if kind in (DUPLICATE, OTHER) or not wrong.any():
        return _select(detections, ~wrong)
    # Only the best detection of a box is kept, as others would be duplicates, and none where the box is matched.
    taken_boxes = set(box_index[kinds == CORRECT].tolist())
    keep = ~wrong
    for row in wrong.nonzero().flatten().tolist():
        keep[row] = int(box_index[row]) not in taken_boxes
        taken_boxes.add(int(box_index[row]))
    index = box_index.clamp(min=0)
    boxes = torch.where(wrong[:, None], image.boxes[index].to(detections.boxes), detections.boxes)
    labels = torch.where(wrong, image.labels[index], detections.labels)
    corrected = replace(detections, boxes=boxes) if kind == LOCALISATION else replace(detections, labels=labels)
    return _select(corrected, keep)


def _select(detections: Detections, keep: Bool[Tensor, " N"]) -> Detections:
    return Detections(detections.boxes[keep], detections.scores[keep], detections.labels[keep])


def _matched_boxes(images: Iterable[Overlaps], kinds: Mapping[int, tuple[Tensor, Tensor]]) -> Bool[np.ndarray, " M"]:
    """Return which boxes are matched, or would be but for position or class; crowds are included."""
    parts = []
    for image in images:
        kind, box = kinds[image.image_id]
        hit = image.crowd.clone()
        hit[box[(kind == CORRECT) | (kind == LOCALISATION) | (kind == CLASS)]] = True
        parts.append(hit.numpy())
    return np.concatenate(parts) if parts else np.zeros(0, dtype=bool)


def _select_boxes(annotations: Annotations, keep: Bool[np.ndarray, " M"]) -> Annotations:
    """Return the annotations with some of their boxes only."""
    cumulative = np.concatenate([[0], np.cumsum(keep)])
    per_box = ("boxes", "labels", "trainable", "crowd", "xywh", "areas", "ids")
    columns = {name: getattr(annotations, name)[keep] for name in per_box}
    return replace(annotations, offsets=cumulative[annotations.offsets].astype(np.int64), **columns)


def _ap50(annotations: Annotations, detections: Mapping[int, Detections]) -> float:
    return mean_of_measured(accumulate(annotations, detections, limits=(100,), thresholds=(FOREGROUND,)).precision)
