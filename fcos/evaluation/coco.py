"""The 12 COCO metrics and AP by class."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import torch
from faster_coco_eval import COCO, COCOeval_faster

from fcos.annotations.annotations import Annotations
from fcos.annotations.coco_entries import CocoAnnotation, CocoDetection
from fcos.distributed import gather_objects
from fcos.evaluation.metric_names import COCO_METRICS
from fcos.structures import Detections

# COCO's area ranges in pixels, ends included: small, medium and large.
MAX_AREA: Final = 1e10
SIZES: Final = {"s": (0, 32**2), "m": (32**2, 96**2), "l": (96**2, MAX_AREA)}


def coco_metrics(annotations: Annotations, detections: Mapping[int, Detections]) -> dict[str, float]:
    """Compute val/AP to val/ARl as pycocotools does, and val/class_AP/<class name>, all in 0..1.

    Ground truth is used as annotated: not clipped, with the boxes of zero size or wholly outside their image that no
    detection can match; crowds are ignore regions. A metric without ground truth to measure
    (-1 in pycocotools: a class or an area range that does not occur) is left out.

    Raises ValueError unless there is exactly one entry, which may be empty, for each image.
    """
    ground_truth, detected = _coco_pair(annotations, detections)
    evaluator = COCOeval_faster(ground_truth, detected, iouType="bbox")
    evaluator.evaluate()
    evaluator.accumulate()
    evaluator.summarize()
    numbers = {f"val/{name}": float(value) for name, value in zip(COCO_METRICS, evaluator.stats, strict=True)}
    # Axes: IoU threshold, recall, class, area range (the first is all), maximum detections (the last is 100).
    by_class = evaluator.eval["precision"][:, :, :, 0, -1]
    for label, key in enumerate(class_keys(annotations)):
        precision = by_class[:, :, label]
        numbers[key] = float(precision[precision > -1].mean()) if (precision > -1).any() else -1.0
    return {key: value for key, value in numbers.items() if value > -1}


def accumulate(
    annotations: Annotations,
    detections: Mapping[int, Detections],
    *,
    limits: Sequence[int],
    thresholds: Sequence[float] | None = None,
    by_class: bool = True,
) -> COCOeval_faster:
    """Run COCO's evaluation for all areas together; the area axis of its tables has length one.

    `limits` are the maximum numbers of detections per image, `thresholds` those of the IoU (None: COCO's 0.5 to 0.95).
    """
    evaluator = COCOeval_faster(*_coco_pair(annotations, detections), iouType="bbox")
    evaluator.params.useCats = int(by_class)
    evaluator.params.maxDets = list(limits)
    evaluator.params.areaRng = evaluator.params.areaRng[:1]
    evaluator.params.areaRngLbl = evaluator.params.areaRngLbl[:1]
    if thresholds is not None:
        evaluator.params.iouThrs = np.array(thresholds)
    evaluator.evaluate()
    evaluator.accumulate()
    return evaluator


def _coco_pair(annotations: Annotations, detections: Mapping[int, Detections]) -> tuple[COCO, COCO]:
    """Return ground truth and detections for COCO's evaluation; ValueError unless each image has one entry."""
    expected = set(annotations.image_ids.tolist())
    if expected != set(detections):
        missing, unknown = sorted(expected - set(detections)), sorted(set(detections) - expected)
        raise ValueError(f"detections must cover every image once: missing {missing[:5]}, unknown {unknown[:5]}")
    # Numbered from 1, not as in the file: the evaluator stores ids as floating point numbers, and 0 means none.
    images = [
        {"id": number, "height": height, "width": width}
        for number, (height, width) in enumerate(annotations.sizes.tolist(), start=1)
    ]
    categories = [{"id": number, "name": name} for number, name in enumerate(annotations.classes, start=1)]
    common = {"images": images, "categories": categories}
    ground_truth = COCO({**common, "annotations": _ground_truth(annotations)})
    detected = COCO({**common, "annotations": _results(annotations, detections)})
    return ground_truth, detected


def class_keys(annotations: Annotations) -> tuple[str, ...]:
    """Return the metric key of each class, in characters that MLflow accepts: letters and digits of any script.

    Where two keys would be equal, every key gets its category id.
    """
    names = [_metric_name(name) for name in annotations.classes]
    if len(set(names)) < len(names):
        names = [f"{name}_{id_}" for name, id_ in zip(names, annotations.category_ids, strict=True)]
    return tuple(f"val/class_AP/{name}" for name in names)


def _metric_name(name: str) -> str:
    """Return a class name with its letters and digits; marks and symbols are spelled, other characters are `_`."""
    letters = unicodedata.normalize("NFC", name)
    spelled = "".join(letter if letter.isascii() or letter.isalnum() else _spelled(letter) for letter in letters)
    return re.sub(r"[^\w\-. :]", "_", spelled).strip(". ") or "_"


def _spelled(letter: str) -> str:
    """Return the last word of the name of a mark or a symbol: `aa` of the Devanagari vowel sign AA."""
    words = unicodedata.name(letter, "").lower().split()
    if not words or words[0] == "variation" or unicodedata.category(letter)[0] not in "MS":
        return "" if unicodedata.category(letter) in ("Cf", "Mn") else "_"
    return words[-1]


def keys_without_ground_truth(annotations: Annotations) -> frozenset[str]:
    """Return the metric keys without a value on these annotations: areas and classes without a box that counts."""
    counts = ~annotations.crowd & (annotations.areas >= 0) & (annotations.areas <= MAX_AREA)
    keys = {
        f"val/{name}{letter}"
        for letter, (low, high) in SIZES.items()
        if not (counts & (annotations.areas >= low) & (annotations.areas <= high)).any()
        for name in ("AP", "AR")
    }
    present = set(annotations.labels[counts].tolist())
    return frozenset(keys | {key for label, key in enumerate(class_keys(annotations)) if label not in present})


def gather_detections(local: Mapping[int, Detections]) -> dict[int, Detections]:
    """Return the detections of all workers by image id, on every worker.

    The detections must be on the CPU.
    """
    parts: list[dict[int, Detections]] = gather_objects(dict(local))
    gathered = {image_id: detections for part in parts for image_id, detections in part.items()}
    assert len(gathered) == sum(map(len, parts)), "an image was evaluated by two workers"
    return gathered


def _ground_truth(annotations: Annotations) -> list[CocoAnnotation]:
    image_ids = np.repeat(np.arange(1, len(annotations) + 1), np.diff(annotations.offsets)).tolist()
    category_ids = (annotations.labels + 1).tolist()
    return [
        {
            "id": number,
            "image_id": image_id,
            "category_id": category_id,
            "bbox": bbox,
            "area": area,
            "iscrowd": crowd,
        }
        for number, (image_id, category_id, bbox, area, crowd) in enumerate(
            zip(
                image_ids,
                category_ids,
                annotations.xywh.tolist(),
                annotations.areas.tolist(),
                annotations.crowd.astype(int).tolist(),
                strict=True,
            ),
            start=1,
        )
    ]


def _results(annotations: Annotations, detections: Mapping[int, Detections]) -> list[CocoDetection]:
    results: list[CocoDetection] = []
    image_number = {image_id: number for number, image_id in enumerate(annotations.image_ids.tolist(), start=1)}
    for image_id, image_detections in detections.items():
        # In double precision, so that x + w is exactly the predicted corner.
        boxes = image_detections.boxes.to("cpu", torch.float64)
        xywh = torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], dim=1)
        for bbox, score, label in zip(
            xywh.tolist(), image_detections.scores.tolist(), image_detections.labels.tolist(), strict=True
        ):
            results.append(
                {
                    "id": len(results) + 1,
                    "image_id": image_number[image_id],
                    "category_id": label + 1,
                    "bbox": bbox,
                    "area": bbox[2] * bbox[3],
                    "iscrowd": 0,
                    "score": score,
                }
            )
    return results
