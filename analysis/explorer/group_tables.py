"""Tables of an explorer by metric, class, object size, crowding and kind of error, with the values of every seed."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.explorer.matching import compute_iou
from analysis.explorer.page_data import Cell, GroupTable, Row
from analysis.explorer.run_results import RunResults
from analysis.explorer.structures import Evaluations, RunKey, Truth
from analysis.formatting import is_percentage, shorten_metric
from analysis.stats.median_interval import compute_median_interval

# COCO's limits of areas in square pixels.
SMALL, LARGE = 32**2, 96**2
# Largest IoU with another box of the image, up to which a box counts as lightly crowded.
LIGHT: Final = 0.3

# Value of one run, NaN where it has none.
Measure = Callable[[RunKey], float]


def make_cell(arm: str, seeds: Sequence[int], measure: Measure, baseline: str | None) -> Cell:
    """Return the values of an arm by seed, and its paired difference to the baseline where it is another arm."""
    values = [measure((arm, seed)) for seed in seeds]
    finite = [value for value in values if math.isfinite(value)]
    mean = math.fsum(finite) / len(finite) if finite else math.nan
    if baseline is None or arm == baseline:
        return Cell(values=values, mean=mean)
    differences = [value - measure((baseline, seed)) for value, seed in zip(values, seeds, strict=True)]
    pairs = [difference for difference in differences if math.isfinite(difference)]
    if not pairs:
        return Cell(values=values, mean=mean)
    interval = compute_median_interval(pairs)
    return Cell(
        values=values,
        mean=mean,
        difference=math.fsum(pairs) / len(pairs),
        low=interval.low,
        high=interval.high,
        confidence=interval.confidence,
        pairs=len(pairs),
    )


def make_metric_tables(
    values: pd.DataFrame, arms: Sequence[str], seeds: Sequence[int], baseline: str | None
) -> list[GroupTable]:
    """Return a table of one row for each metric. values: see analysis.stats.paired.collect_final_values."""
    tables = []
    for metric, of_metric in values.groupby("metric", sort=False):
        numbers = of_metric.set_index(["arm", "seed"])["value"].to_dict()

        def measure(key: RunKey, numbers: Mapping[RunKey, float] = numbers) -> float:
            return float(numbers.get(key, math.nan))

        name = str(metric)
        row = Row(label=shorten_metric(name), cells=[make_cell(arm, seeds, measure, baseline) for arm in arms])
        tables.append(
            GroupTable(
                caption=shorten_metric(name), note=name, group="metric", is_percent=is_percentage(name), rows=[row]
            )
        )
    return tables


def make_group_tables(evaluations: Evaluations, results: Mapping[RunKey, RunResults]) -> list[GroupTable]:
    """Return the tables by class, size, crowding and kind of error."""
    return [
        *_make_class_tables(evaluations, results),
        _make_recall_table(evaluations, results, "size", group_by_size(evaluations.truth)),
        _make_recall_table(evaluations, results, "crowding", group_by_crowding(evaluations.truth)),
        _make_error_table(evaluations, results),
    ]


def group_by_size(truth: Truth) -> dict[str, NDArray[np.bool_]]:
    """Return the boxes of each size by COCO's limits of areas, [M]; those of crowds are in none."""
    areas = truth.areas
    groups = {
        "small, below 32² pixels": areas < SMALL,
        "medium": (areas >= SMALL) & (areas < LARGE),
        "large, from 96² pixels": areas >= LARGE,
    }
    return {name: mask & ~truth.crowd for name, mask in groups.items()}


def group_by_crowding(truth: Truth) -> dict[str, NDArray[np.bool_]]:
    """Return the boxes by their largest IoU with another box of their image, [M]; those of crowds are in none."""
    overlap = np.zeros(len(truth.labels))
    for start, end in zip(truth.offsets[:-1], truth.offsets[1:], strict=True):
        rows = np.flatnonzero(~truth.crowd[start:end]) + start
        if len(rows) > 1:
            iou = compute_iou(truth.boxes[rows], truth.boxes[rows])
            np.fill_diagonal(iou, 0.0)
            overlap[rows] = iou.max(axis=1)
    groups = {
        "apart from all others": overlap == 0,
        f"IoU with another up to {LIGHT:g}": (overlap > 0) & (overlap <= LIGHT),
        f"IoU with another above {LIGHT:g}": overlap > LIGHT,
    }
    return {name: mask & ~truth.crowd for name, mask in groups.items()}


def _make_cells(
    evaluations: Evaluations, results: Mapping[RunKey, RunResults], measure: Callable[[RunResults], float]
) -> list[Cell]:
    def measure_run(key: RunKey) -> float:
        return measure(results[key]) if key in results else math.nan

    return [make_cell(arm, evaluations.seeds, measure_run, evaluations.baseline) for arm in evaluations.arms]


def _make_class_tables(evaluations: Evaluations, results: Mapping[RunKey, RunResults]) -> list[GroupTable]:
    truth = evaluations.truth
    counts = np.bincount(truth.labels[~truth.crowd], minlength=len(truth.classes))
    measures: dict[str, Callable[[int], Callable[[RunResults], float]]] = {
        "AP50": lambda label: lambda run: float(run.curves.class_ap[label]),
        "Recall": lambda label: lambda run: _divide(run.class_found[label], counts[label]),
        "Precision": lambda label: lambda run: _divide(run.class_found[label], run.class_detected[label]),
    }
    notes = {
        "AP50": "AP at IoU 0.5 over all scores, as in COCO's evaluation.",
        "Recall": "Share of the boxes that are found.",
        "Precision": "Share of the detections that are right.",
    }
    tables = []
    for name, make_measure in measures.items():
        rows = [
            Row(
                label=class_name,
                class_index=label,
                count=int(counts[label]),
                cells=_make_cells(evaluations, results, make_measure(label)),
            )
            for label, class_name in enumerate(truth.classes)
        ]
        tables.append(
            GroupTable(caption=f"{name} by class", note=notes[name], group="class", is_percent=True, rows=rows)
        )
    return tables


def _divide(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def _make_recall_table(
    evaluations: Evaluations, results: Mapping[RunKey, RunResults], group: str, masks: Mapping[str, NDArray[np.bool_]]
) -> GroupTable:
    rows = []
    for name, mask in masks.items():

        def measure(run: RunResults, mask: NDArray[np.bool_] = mask) -> float:
            return _divide(int((run.found & mask).sum()), int(mask.sum()))

        rows.append(Row(label=name, count=int(mask.sum()), cells=_make_cells(evaluations, results, measure)))
    return GroupTable(
        caption=f"Recall by {'object size' if group == 'size' else group}",
        note="Share of the boxes that are found.",
        group=group,
        is_percent=True,
        rows=rows,
    )


def _make_error_table(evaluations: Evaluations, results: Mapping[RunKey, RunResults]) -> GroupTable:
    names = list(next(iter(results.values())).errors)
    rows = []
    for name in names:

        def measure(run: RunResults, name: str = name) -> float:
            return float(run.errors[name])

        rows.append(Row(label=name, cells=_make_cells(evaluations, results, measure)))
    return GroupTable(
        caption="Where errors go",
        note="Detections by kind, and missed boxes. Localisation: IoU of 0.1 to 0.5 with a box of its class. "
        "Class: IoU of at least 0.5 with a box of another class. Duplicate: of a box that is found already. "
        "Background: none of these. The kinds are TIDE's (arXiv 2008.08115); val/errors/ weighs them in AP50.",
        group="kind",
        is_percent=False,
        rows=rows,
    )
