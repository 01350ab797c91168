"""How far a sweep's setting is from that of the papers' R-50-FPN, 90k-iteration rows."""

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from analysis.formatting import join_words
from analysis.papers.rows import PaperRow

# Tables whose rows share the recipe below, up to what the row itself is about.
KNOWN_TABLES = {
    "v1": ("Section 4.1.1", "Table 3", "Table 4", "Oracle", "Table 6", "Table 7", "Table 8"),
    "v2": ("Table 3", "Table 4", "Table 5", "Table 6", "Table 7"),
    "atss": ("Table 1", "Table 2", "Table 3", "Table 4"),
}
COCO_CLASSES = 80
RECIPE: Mapping[str, Any] = {
    "model.backbone.name": "resnet50",
    "schedule.steps": 90000,
    "schedule.batch_size": 16,
    "schedule.optimizer": "sgd",
    "schedule.milestones": [60000, 80000],
    "data.short_sides": [800],
    "data.long_side": 1333,
    "data.limit_train": None,
    "data.limit_val": None,
}
OF_VERSION: Mapping[str, Mapping[str, Any]] = {
    "v1": {"model.assignment.center_sampling_radius": None, "model.loss.regression": "iou"},
    "v2": {"model.assignment.center_sampling_radius": 1.5, "model.loss.regression": "giou"},
    "atss": {"model.loss.regression": "giou"},
}


def data_departures(trials: pd.DataFrame) -> list[str]:
    """What makes the data of the trials not COCO 2017 (v1's minival is val2017); empty if it is.

    `data=coco` reads any data set in COCO format, so that name alone says nothing.
    """
    names = sorted({str(tags.get("fcos.data", "unknown")) for tags in trials["tags"]})
    if names != ["coco"]:
        return [f"the data is {join_words(names)}, not COCO" if names else "the data is unknown"]
    found = []
    if not _all_params(trials, "data.train.annotations", lambda path: _names(path, "train2017", "trainval35k")):
        found.append("the training annotations are not COCO train2017")
    if not _all_params(trials, "data.val.annotations", lambda path: _names(path, "val2017", "minival")):
        found.append("the validation annotations are not COCO val2017")
    counts = {sum(key.startswith("val/class_AP/") for key in metrics) for metrics in trials["metrics"]}
    if counts != {COCO_CLASSES}:
        found.append(f"{join_words(sorted(counts))} classes were evaluated, not COCO's {COCO_CLASSES}")
    return found


def coverage_departure(params: Mapping[str, Any]) -> str | None:
    """In a few words why a trial counts other boxes than the papers do, as far as its params tell; None if it does not.

    v1's minival is val2017; images are resized to 800 pixels, at most 1333.
    """
    if params.get("coverage.split") != "val" or not _names(params.get("data.val.annotations"), "val2017", "minival"):
        return "other data"
    if params.get("data.limit_val") is not None:
        return "a part of the data"
    if max(params.get("data.short_sides") or [0]) != 800 or params.get("data.long_side") != 1333:
        return "other input size"
    return None


def departures(trials: pd.DataFrame, row: PaperRow) -> list[str]:
    """What makes the setting of the trials another than that of a row; empty if it is the paper's."""
    if trials.empty:
        return ["no trial has finished"]
    found = data_departures(trials)
    if row.table not in KNOWN_TABLES[row.version]:
        return [*found, f"the recipe behind {row.source} cannot be checked here"]
    # What the arms differ in is the subject of the comparison, not a departure.
    for key, expected in {**RECIPE, **OF_VERSION[row.version]}.items():
        values = _distinct(trials, key)
        if len(values) == 1 and values[0] != expected:
            found.append(f"{key} {_text(values[0])} (paper: {_text(expected)})")
    if not _all_params(trials, "model.backbone.weights", lambda name: name is not None):
        found.append("the backbone does not start from ImageNet weights")
    return found


def _names(path: Any, *parts: str) -> bool:
    return isinstance(path, str) and any(part in path for part in parts)


def _all_params(trials: pd.DataFrame, key: str, rule: Callable[[Any], bool]) -> bool:
    return all(rule(params.get(key)) for params in trials["params"])


def _distinct(trials: pd.DataFrame, key: str) -> list[Any]:
    values: list[Any] = []
    for params in trials["params"]:
        if params.get(key) not in values:
            values.append(params.get(key))
    return values


def _text(value: Any) -> str:
    return "not set" if value is None else str(value)
