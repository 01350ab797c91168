"""Kinds of detections: found boxes, and the errors of TIDE (Bolya et al. 2020). This module loads no torch."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Bool, Float64, Int64

FOREGROUND: Final = 0.5
# Below it a detection has nothing to do with a box.
BACKGROUND: Final = 0.1
CORRECT, LOCALISATION, CLASS, DUPLICATE, OTHER, IN_CROWD = range(6)


@dataclass(frozen=True)
class ErrorKinds:
    """The kind (CORRECT, ...) of each detection of an image and the index of its box, -1 without one."""

    kind: Int64[np.ndarray, " N"]
    box: Int64[np.ndarray, " N"]


def classify(
    iou: Float64[np.ndarray, "N M"],
    is_same: Bool[np.ndarray, "N M"],
    in_crowd: Bool[np.ndarray, " N"],
    matched: Int64[np.ndarray, " N"],
) -> ErrorKinds:
    """Classify the detections of an image, best score first.

    iou: with each box, 0 for crowds. is_same: whether detection and box have one class. in_crowd: which lie at least
    half inside a crowd of their class; they are IN_CROWD unless they are correct. matched: index of the box of its
    class that each finds, or -1.
    """
    best_same, same_box = _best(np.where(is_same, iou, 0.0))
    best_other, other_box = _best(np.where(is_same, 0.0, iou))
    # The first that applies.
    rules = [
        (matched >= 0, CORRECT, matched),
        (in_crowd, IN_CROWD, np.full_like(matched, -1)),
        (best_same >= FOREGROUND, DUPLICATE, same_box),
        (best_other >= FOREGROUND, CLASS, other_box),
        (best_same >= BACKGROUND, LOCALISATION, same_box),
    ]
    masks = [mask for mask, _, _ in rules]
    kind = np.select(masks, [np.full_like(matched, code) for _, code, _ in rules], OTHER)
    return ErrorKinds(kind.astype(np.int64), np.select(masks, [box for _, _, box in rules], -1).astype(np.int64))


def match_greedily(iou: Float64[np.ndarray, "N M"]) -> Int64[np.ndarray, " N"]:
    """Return the column that each row takes, or -1: in order, the free one of highest IoU of at least 0.5.

    Of equal ones the last is taken, as in pycocotools.
    """
    matched = np.full(len(iou), -1, dtype=np.int64)
    free = iou.copy()
    for row in np.flatnonzero((iou >= FOREGROUND).any(axis=1)):
        column = free.shape[1] - 1 - int(free[row, ::-1].argmax())
        if free[row, column] >= FOREGROUND:
            matched[row] = column
            free[:, column] = 0.0
    return matched


def _best(iou: Float64[np.ndarray, "N M"]) -> tuple[Float64[np.ndarray, " N"], Int64[np.ndarray, " N"]]:
    """Return the highest IoU of each row and its column; 0 and -1 without any column."""
    if not iou.shape[1]:
        return np.zeros(len(iou)), np.full(len(iou), -1, dtype=np.int64)
    column = iou.argmax(axis=1).astype(np.int64)
    return iou[np.arange(len(iou)), column], column
