"""Departures of a sweep's setting from the papers' R-50-FPN, 90k-iteration recipe."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from analysis.formatting import join_words
from analysis.papers.rows import PaperRow
from analysis.reader.sweep import Trial
from fcos.storage.store_conventions import MetricPrefix

# Tables whose rows share the recipe below, except for what the row itself varies.
RECIPE_TABLES = {
    "v1": ("Section 4.1.1", "Table 3", "Table 4", "Oracle", "Table 6", "Table 7", "Table 8"),
    "v2": ("Table 3", "Table 4", "Table 5", "Table 6", "Table 7"),
    "atss": ("Table 1", "Table 2", "Table 3", "Table 4"),
}
COCO_CLASSES = 80
AUGMENTATION = "data.augmentation."
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
VERSION_RECIPE: Mapping[str, Mapping[str, Any]] = {
    "v1": {"model.assignment.center_sampling_radius": None, "model.loss.regression": "iou"},
    "v2": {"model.assignment.center_sampling_radius": 1.5, "model.loss.regression": "giou"},
    "atss": {"model.loss.regression": "giou"},
}


def list_data_departures(trials: Sequence[Trial]) -> list[str]:
    """List what makes the trials' data not COCO 2017 (v1's minival is val2017); empty for COCO.

    `data=coco` reads any data set in COCO format, so that name alone proves nothing.
    """
    names = sorted({trial.provenance.data or "unknown" for trial in trials})
    if names != ["coco"]:
        return [f"the data is {join_words(names)}, not COCO" if names else "the data is unknown"]
    departures = []
    if not _every_param(trials, "data.train.annotations", lambda path: _contains(path, "train2017", "trainval35k")):
        departures.append("the training annotations are not COCO train2017")
    if not _every_param(trials, "data.val.annotations", lambda path: _contains(path, "val2017", "minival")):
        departures.append("the validation annotations are not COCO val2017")
    counts = {sum(name.startswith(MetricPrefix.CLASS_AP) for name in trial.metrics) for trial in trials}
    if counts != {COCO_CLASSES}:
        departures.append(f"{join_words(sorted(counts))} classes were evaluated, not COCO's {COCO_CLASSES}")
    return departures


def find_coverage_departure(params: Mapping[str, Any]) -> str | None:
    """Return why a trial counts other boxes than the papers, None where its params show no reason.

    v1's minival is val2017; images are resized to 800 pixels, at most 1333.
    """
    if params.get("coverage.split") != "val" or not _contains(params.get("data.val.annotations"), "val2017", "minival"):
        return "other data"
    if params.get("data.limit_val") is not None:
        return "a part of the data"
    if max(params.get("data.short_sides") or [0]) != 800 or params.get("data.long_side") != 1333:
        return "other input size"
    return None


def list_departures(trials: Sequence[Trial], row: PaperRow) -> list[str]:
    """List in what the trials' setting departs from that of a row; empty for the paper's own setting."""
    if not trials:
        return ["no trial has finished"]
    departures = list_data_departures(trials)
    if row.table not in RECIPE_TABLES[row.version]:
        return [*departures, f"the recipe behind {row.source} cannot be checked here"]
    for key, expected in {**RECIPE, **VERSION_RECIPE[row.version]}.items():
        values = _distinct_values(trials, key)
        # What differs between arms is the subject of the comparison, not a departure.
        if len(values) == 1 and values[0] != expected:
            departures.append(f"{key} {_format_value(values[0])} (paper: {_format_value(expected)})")
    departures += _list_augmentations(trials)
    if not _every_param(trials, "model.backbone.weights", lambda name: name is not None):
        departures.append("the backbone does not start from ImageNet weights")
    return departures


def _list_augmentations(trials: Sequence[Trial]) -> list[str]:
    """List the augmentations that all trials use; the papers have none but the flip and the short sides."""
    keys = sorted({key for trial in trials for key in trial.params if key.startswith(AUGMENTATION)})
    used = {key: _distinct_values(trials, key) for key in keys if key != f"{AUGMENTATION}min_visible"}
    return [
        f"{key} {_format_value(values[0])} (paper: off)"
        for key, values in used.items()
        if len(values) == 1 and values[0] not in (None, 0)
    ]


def _contains(path: object, *parts: str) -> bool:
    return isinstance(path, str) and any(part in path for part in parts)


def _every_param(trials: Sequence[Trial], key: str, rule: Callable[[Any], bool]) -> bool:
    return all(rule(trial.params.get(key)) for trial in trials)


def _distinct_values(trials: Sequence[Trial], key: str) -> list[Any]:
    values: list[Any] = []
    for trial in trials:
        if trial.params.get(key) not in values:
            values.append(trial.params.get(key))
    return values


def _format_value(value: object) -> str:
    return "not set" if value is None else str(value)
