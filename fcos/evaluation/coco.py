"""The 12 COCO metrics and AP by class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from hotcoco import COCO, COCOeval
from jaxtyping import Float64

from fcos.annotations.annotations import Annotations
from fcos.annotations.coco_results import CocoResults
from fcos.distributed import gather_objects
from fcos.evaluation.class_keys import class_keys
from fcos.evaluation.metric_names import COCO_METRICS
from fcos.structures import Detections


def coco_metrics(annotations: Annotations, detections: Mapping[int, Detections]) -> dict[str, float]:
    """Compute val/AP to val/ARl as pycocotools does, and val/class_AP/<class name>, all in 0..1.

    Ground truth is used as annotated: not clipped, with the boxes of zero size or wholly outside their image that no
    detection can match; crowds are ignore regions. A metric without ground truth to measure
    (-1 in pycocotools: a class or an area range that does not occur) is left out.

    Raises ValueError unless there is exactly one entry, which may be empty, for each image.
    """
    return result_metrics(annotations, results_of(annotations, detections))


def result_metrics(annotations: Annotations, results: CocoResults) -> dict[str, float]:
    """Compute the metrics of `coco_metrics` from detections that are COCO results."""
    tables = _tables(_evaluate(annotations, results))
    numbers = {f"val/{name}": value for name, value in zip(COCO_METRICS, tables.summary(), strict=True)}
    for label, key in enumerate(class_keys(annotations)):
        numbers[key] = mean_of_measured(tables.precision[:, :, label, 0, -1])
    return {key: value for key, value in numbers.items() if value > -1}


@dataclass(frozen=True)
class Tables:
    """Precision and recall of an evaluation, -1 where there is no ground truth to measure.

    Axes of precision: IoU threshold, recall threshold, class, area range (the first is all), maximum detections; of
    recall the same without recall thresholds.
    """

    thresholds: Float64[np.ndarray, " T"]
    precision: Float64[np.ndarray, "T R K A M"]
    recall: Float64[np.ndarray, "T K A M"]

    def summary(self) -> list[float]:
        """Return the 12 numbers of COCO_METRICS, -1 where there is nothing to measure."""
        precision, recall = self.precision, self.recall
        ap = [precision[:, :, :, area, -1] for area in range(4)]
        fixed = [precision[np.isclose(self.thresholds, threshold), :, :, 0, -1] for threshold in (0.5, 0.75)]
        ar = [recall[:, :, 0, limit] for limit in range(3)] + [recall[:, :, area, -1] for area in (1, 2, 3)]
        return [mean_of_measured(table) for table in (ap[0], *fixed, *ap[1:], *ar)]


def _tables(evaluator: COCOeval) -> Tables:
    tables = evaluator.eval
    assert tables is not None, "not accumulated"
    return Tables(np.asarray(evaluator.params.iou_thrs), tables["precision"], tables["recall"])


def mean_of_measured(table: np.ndarray) -> float:
    """Return the mean of the entries that are not -1; -1 without any."""
    measured = table[table > -1]
    return float(np.mean(measured)) if len(measured) else -1.0


def accumulate(
    annotations: Annotations,
    detections: Mapping[int, Detections],
    *,
    limits: Sequence[int],
    thresholds: Sequence[float] | None = None,
    by_class: bool = True,
) -> Tables:
    """Run COCO's evaluation for all areas together; the area axis of its tables has length one.

    `limits` are the maximum numbers of detections per image, `thresholds` those of the IoU (None: COCO's 0.5 to 0.95).
    """
    evaluator = COCOeval(*coco_pair(annotations, results_of(annotations, detections)), "bbox")
    params = evaluator.params
    params.use_cats = by_class
    params.max_dets = list(limits)
    params.area_rng = params.area_rng[:1]
    params.area_rng_lbl = params.area_rng_lbl[:1]
    if thresholds is not None:
        params.iou_thrs = list(thresholds)
    evaluator.evaluate()
    evaluator.accumulate()
    return _tables(evaluator)


def _evaluate(annotations: Annotations, results: CocoResults) -> COCOeval:
    evaluator = COCOeval(*coco_pair(annotations, results), "bbox")
    evaluator.evaluate()
    evaluator.accumulate()
    return evaluator


def coco_pair(annotations: Annotations, results: CocoResults) -> tuple[COCO, COCO]:
    """Return ground truth and detections for COCO's evaluation.

    Images and classes are numbered from 1 in the order of the annotations, whatever their ids in the file are.
    """
    images = [
        {"id": number, "file_name": "", "height": height, "width": width}
        for number, (height, width) in enumerate(annotations.sizes.tolist(), start=1)
    ]
    categories = [{"id": number, "name": str(number)} for number in range(1, len(annotations.classes) + 1)]
    ground_truth = COCO.from_arrays(
        images,
        categories,
        np.repeat(np.arange(1, len(annotations) + 1), np.diff(annotations.offsets)),
        annotations.labels + 1,
        annotations.xywh,
        area=annotations.areas,
        iscrowd=annotations.crowd,
    )
    rows = np.column_stack([results.image + 1, results.xywh, results.scores, results.label + 1])
    return ground_truth, ground_truth.load_res(rows)


def gather_detections(local: Mapping[int, Detections]) -> dict[int, Detections]:
    """Return the detections of all workers by image id, on every worker.

    The detections must be on the CPU.
    """
    parts: list[dict[int, Detections]] = gather_objects(dict(local))
    gathered = {image_id: detections for part in parts for image_id, detections in part.items()}
    assert len(gathered) == sum(map(len, parts)), "an image was evaluated by two workers"
    return gathered


def results_of(annotations: Annotations, detections: Mapping[int, Detections]) -> CocoResults:
    """Return detections as COCO results in the order of the images; ValueError unless each image has one entry."""
    expected = set(annotations.image_ids.tolist())
    if expected != set(detections):
        missing, unknown = sorted(expected - set(detections)), sorted(set(detections) - expected)
        raise ValueError(f"detections must cover every image once: missing {missing[:5]}, unknown {unknown[:5]}")
    ordered = [detections[image_id] for image_id in annotations.image_ids.tolist()]
    if not ordered:
        return CocoResults.empty()
    # In double precision, so that x + width is exactly the predicted corner.
    boxes = np.concatenate([item.boxes.cpu().double().numpy() for item in ordered])
    return CocoResults(
        image=np.repeat(np.arange(len(ordered)), [len(item.scores) for item in ordered]),
        label=np.concatenate([item.labels.cpu().numpy() for item in ordered]).astype(np.int64),
        xywh=np.column_stack([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]]),
        scores=np.concatenate([item.scores.cpu().double().numpy() for item in ordered]),
    )


def detections_of(annotations: Annotations, results: CocoResults) -> dict[int, Detections]:
    """Return COCO results as detections by image id, best first; the reverse of `results_of`.

    In float32 where `results_of` gives every number again from that, as for all that came from float32 boxes. Else in
    float64, where a side may differ from that of the results by rounding.
    """
    values = np.column_stack([results.xywh[:, :2], results.xywh[:, :2] + results.xywh[:, 2:], results.scores])
    # What float32 cannot hold becomes infinite, and differs.
    with np.errstate(over="ignore", invalid="ignore"):
        single = values.astype(np.float32)
        again = single.astype(np.float64)
        sides = np.column_stack([again[:, :2], again[:, 2:4] - again[:, :2]])
    if (sides == results.xywh).all() and (again[:, 4] == results.scores).all():
        values = single
    order = np.lexsort((-results.scores, results.image))
    columns, labels = torch.from_numpy(values[order]), torch.from_numpy(results.label[order])
    counts = np.bincount(results.image, minlength=len(annotations)).tolist()
    return {
        image_id: Detections(part[:, :4], part[:, 4], image_labels)
        for image_id, part, image_labels in zip(
            annotations.image_ids.tolist(), columns.split(counts), labels.split(counts), strict=True
        )
    }
