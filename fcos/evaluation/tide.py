"""What goes wrong: AP50 that would be gained if one kind of error were mended (after TIDE, Bolya et al. 2020)."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from fcos.data.annotations import Annotations
from fcos.evaluation.coco import accumulated
from fcos.evaluation.overlaps import Overlaps, overlaps
from fcos.structures import Detections

FOREGROUND, BACKGROUND = 0.5, 0.1
CORRECT, LOCALISATION, CLASS, DUPLICATE, OTHER, IN_CROWD = range(6)
KINDS: Final = {"localisation": LOCALISATION, "class": CLASS, "duplicate": DUPLICATE, "background": OTHER}


def errors(annotations: Annotations, detections: Mapping[int, Detections]) -> dict[str, float]:
    """val/errors/AP50, and what it gains where all errors of one kind are mended: localisation, class, duplicate,
    background, missed; empty without ground truth.

    localisation: IoU of 0.1 to 0.5 with a box of its class. class: 0.5 with one of another. duplicate: 0.5 with a box
    that is found already. background: none of them, also where both class and place are wrong. The first two become
    the box that they mean, unless it is found already; the others go. missed: boxes that no detection means are taken
    out of the ground truth.
    """
    images = list(overlaps(annotations, detections))
    kinds = {image.image_id: sort(image) for image in images}
    before = _ap50(annotations, detections)
    if before < 0:
        return {}
    numbers = {"AP50": before}
    for name, kind in KINDS.items():
        mended = {image.image_id: mend(image, *kinds[image.image_id], kind) for image in images}
        numbers[name] = _ap50(annotations, mended) - before
    meant = _meant(images, kinds)
    without = _ap50(_only(annotations, meant), detections)
    # Where every box is missed, nothing is left to find.
    numbers["missed"] = (without if without >= 0 else 1.0) - before
    return {f"val/errors/{name}": value for name, value in numbers.items()}


def sort(image: Overlaps) -> tuple[Int[Tensor, " N"], Int[Tensor, " N"]]:
    """Of each detection the kind (CORRECT, ...) and the box that it means, or -1; detections come best first."""
    own = image.iou.where(image.same_class, 0.0)
    others = image.iou.where(~image.same_class, 0.0)
    best_own, own_box = _best(own)
    best_other, other_box = _best(others)
    matched = _match(own)
    kind = torch.full_like(own_box, OTHER)
    meant = torch.full_like(own_box, -1)
    # The later word counts.
    for code, applies, box in (
        (LOCALISATION, (best_own >= BACKGROUND) & (best_own < FOREGROUND), own_box),
        (CLASS, (best_other >= FOREGROUND) & (best_own < FOREGROUND), other_box),
        (DUPLICATE, (best_own >= FOREGROUND), own_box),
        (CORRECT, matched >= 0, matched),
    ):
        kind, meant = torch.where(applies, code, kind), torch.where(applies, box, meant)
    excused = image.excused & (kind != CORRECT)
    return torch.where(excused, IN_CROWD, kind), torch.where(excused, -1, meant)


def _best(iou: Tensor) -> tuple[Tensor, Tensor]:
    """The highest IoU of each detection and its box; 0 and -1 where there is no box at all."""
    if iou.shape[1] == 0:
        return iou.new_zeros(len(iou)), torch.full((len(iou),), -1)
    best, box = iou.max(1)
    return best, box


def _match(own: Tensor) -> Int[Tensor, " N"]:
    """COCO's greedy matching at 0.5: the best detection first takes the box it overlaps most of those still free."""
    free = own.clone()
    matched = torch.full((len(own),), -1)
    for row in (own >= FOREGROUND).any(1).nonzero().flatten().tolist():
        best, box = free[row].max(0)
        if best >= FOREGROUND:
            matched[row] = box
            free[:, box] = 0.0
    return matched


def mend(image: Overlaps, kinds: Int[Tensor, " N"], meant: Int[Tensor, " N"], kind: int) -> Detections:
    """The detections without errors of one kind."""
    found = image.found
    wrong = kinds == kind
    if kind in (DUPLICATE, OTHER) or not wrong.any():
        return _select(found, ~wrong)
    # One detection for a box: the best, as others would be duplicates, and none where it is found already.
    taken = set(meant[kinds == CORRECT].tolist())
    keep = ~wrong
    for row in wrong.nonzero().flatten().tolist():
        keep[row] = int(meant[row]) not in taken
        taken.add(int(meant[row]))
    index = meant.clamp(min=0)
    boxes = torch.where(wrong[:, None], image.boxes[index].to(found.boxes), found.boxes)
    labels = torch.where(wrong, image.labels[index], found.labels)
    mended = replace(found, boxes=boxes) if kind == LOCALISATION else replace(found, labels=labels)
    return _select(mended, keep)


def _select(found: Detections, keep: Bool[Tensor, " N"]) -> Detections:
    return Detections(found.boxes[keep], found.scores[keep], found.labels[keep])


def _meant(images: Iterable[Overlaps], kinds: Mapping[int, tuple[Tensor, Tensor]]) -> Bool[np.ndarray, " M"]:
    """Which of all boxes a detection has found, or means but for its place or class; crowds stay too."""
    parts = []
    for image in images:
        kind, box = kinds[image.image_id]
        hit = image.crowd.clone()
        hit[box[(kind == CORRECT) | (kind == LOCALISATION) | (kind == CLASS)]] = True
        parts.append(hit.numpy())
    return np.concatenate(parts) if parts else np.zeros(0, dtype=bool)


def _only(annotations: Annotations, keep: Bool[np.ndarray, " M"]) -> Annotations:
    """Annotations without some of their boxes."""
    before = np.concatenate([[0], np.cumsum(keep)])
    per_box = ("boxes", "labels", "trainable", "crowd", "xywh", "areas", "ids")
    left = {name: getattr(annotations, name)[keep] for name in per_box}
    return replace(annotations, offsets=before[annotations.offsets].astype(np.int64), **left)


def _ap50(annotations: Annotations, detections: Mapping[int, Detections]) -> float:
    precision = accumulated(annotations, detections, limits=(100,), thresholds=(FOREGROUND,)).eval["precision"]
    return float(precision[precision > -1].mean()) if (precision > -1).any() else -1.0
