"""COCO's metrics of one evaluation under many weightings of its images."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.stats.weighted_ap import Floats, Weights, compute_weighted_ap, compute_weighted_recall
from fcos.annotations.annotations import Annotations
from fcos.annotations.coco_results import CocoResults
from fcos.evaluation.coco_settings import AREA_RANGES, IOU_THRESHOLDS, MAX_DETECTIONS
from fcos.evaluation.matches import match_detections


@dataclass(frozen=True)
class _Definition:
    """What a metric is a mean of.

    area: see AREA_RANGES. limit: detections of an image and class that recall counts, None for average precision.
    threshold, label: the position of the only IoU threshold or class, None for all.
    """

    area: str = ""
    limit: int | None = None
    threshold: int | None = None
    label: int | None = None


def select_weighted_metrics(metrics: Iterable[str], class_keys: Sequence[str]) -> list[str]:
    """Return the metrics that follow from matches: COCO's twelve and the APs of classes."""
    return [metric for metric in metrics if _define(metric, class_keys) is not None]


def compute_weighted_metrics(
    annotations: Annotations,
    results: CocoResults,
    weights: Weights,
    metrics: Sequence[str],
    class_keys: Sequence[str],
) -> dict[str, Floats]:
    """Return each metric under each weighting of the images, a fraction; NaN where no box is to be found.

    weights: (images, B), see compute_weighted_ap. metrics: see select_weighted_metrics. class_keys: the metric of each
    class.
    """
    definitions = {metric: definition for metric in metrics if (definition := _define(metric, class_keys))}
    values: dict[str, Floats] = {}
    for area in dict.fromkeys(definition.area for definition in definitions.values()):
        matches = match_detections(annotations, results, AREA_RANGES[area])
        of_area = {metric: definition for metric, definition in definitions.items() if definition.area == area}
        for limit in dict.fromkeys(definition.limit for definition in of_area.values()):
            if limit is None:
                table = compute_weighted_ap(matches, weights)
            else:
                table = compute_weighted_recall(matches, weights, limit)
            for metric, definition in of_area.items():
                if definition.limit == limit:
                    values[metric] = _mean_of_measured(table, definition)
    return {metric: values[metric] for metric in definitions}


def _define(metric: str, class_keys: Sequence[str]) -> _Definition | None:
    """Return the definition of a metric, None for one that does not follow from matches."""
    if metric in class_keys:
        return _Definition(label=class_keys.index(metric))
    if match := re.fullmatch(r"val/AP(50|75)", metric):
        return _Definition(threshold=int(np.abs(IOU_THRESHOLDS - int(match[1]) / 100).argmin()))
    if match := re.fullmatch(r"val/AP([sml]?)", metric):
        return _Definition(area=match[1])
    if match := re.fullmatch(r"val/AR([sml])", metric):
        return _Definition(area=match[1], limit=MAX_DETECTIONS)
    if match := re.fullmatch(r"val/AR(1|10|100)", metric):
        return _Definition(limit=int(match[1]))
    return None


def _mean_of_measured(table: Floats, definition: _Definition) -> Floats:
    """Return the mean of a (T, K, B) table over thresholds and classes: (B), NaN where no class has boxes."""
    if definition.threshold is not None:
        table = table[definition.threshold, None]
    if definition.label is not None:
        table = table[:, definition.label, None]
    measured = ~np.isnan(table)
    with np.errstate(invalid="ignore"):
        mean: Floats = np.where(measured, table, 0).sum(axis=(0, 1)) / measured.sum(axis=(0, 1))
    return mean
