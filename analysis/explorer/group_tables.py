"""Tables of an explorer by metric, class, object size, crowding and kind of error, with the values of every seed."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from statistics import median
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.explorer.matching import compute_overlaps
from analysis.explorer.page_data import Cell, GroupTable, Row
from analysis.explorer.run_results import ERROR_NAMES, RunResults
from analysis.explorer.structures import Evaluations, RunKey, Truth
from analysis.formatting import is_percentage, shorten_metric
from analysis.stats.median_interval import compute_median_interval
from fcos.evaluation.coco_settings import AREA_RANGES
from fcos.evaluation.error_kinds import CORRECT
from fcos.metrics import Mode, better_end

# Areas from which boxes are medium and large, in square pixels.
MEDIUM, LARGE = AREA_RANGES["m"]
# Of the tables by class in the page, about; a cell, and each of its values.
MAX_CLASS_BYTES: Final = 2_400_000
CELL_BYTES, VALUE_BYTES = 140, 10
# Largest IoU with another box of the image, up to which a box counts as lightly crowded.
LIGHT: Final = 0.3

# Value of one run, NaN where it has none.
Measure = Callable[[RunKey], float]


def make_cell(arm: str, seeds: Sequence[int], measure: Measure, baseline: str | None) -> Cell:
    """Return the values of an arm by seed, and their median paired difference to the baseline where it is another."""
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
        difference=median(pairs),
        low=interval.low,
        high=interval.high,
        confidence=interval.confidence,
        pairs=len(pairs),
    )


def make_metric_tables(
    values: pd.DataFrame, arms: Sequence[str], seeds: Sequence[int], baseline: str | None, tested: str = ""
) -> list[GroupTable]:
    """Return a table of one row for each metric.

    values: see analysis.stats.paired.collect_final_values. tested: metric that a report tests.
    """
    tables = []
    for metric, of_metric in values.groupby("metric", sort=False):
        numbers = of_metric.set_index(["arm", "seed"])["value"].to_dict()

        def measure(key: RunKey, numbers: Mapping[RunKey, float] = numbers) -> float:
            return float(numbers.get(key, math.nan))

        name = str(metric)
        cells = [make_cell(arm, seeds, measure, baseline) for arm in arms]
        row = Row(label=shorten_metric(name), better=better_end(name), cells=cells)
        tables.append(
            GroupTable(
                caption=shorten_metric(name),
                note=name,
                group="metric",
                is_percent=is_percentage(name),
                is_tested=name == tested,
                rows=[row],
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
    """Return the boxes of each size by COCO's limits of areas, [M]; those that need not be found are in none."""
    areas = truth.annotations.areas
    groups = {
        "small, below 32² pixels": areas < MEDIUM,
        "medium": (areas >= MEDIUM) & (areas < LARGE),
        "large, from 96² pixels": areas >= LARGE,
    }
    return {name: mask & ~truth.ignored for name, mask in groups.items()}


def group_by_crowding(truth: Truth) -> dict[str, NDArray[np.bool_]]:
    """Return the boxes by their largest IoU with another box of their image, [M].

    Those that need not be found are in none, and no other box.
    """
    overlap, xywh = np.zeros(len(truth.ignored)), truth.annotations.xywh
    for start, end in pairwise(truth.annotations.offsets.tolist()):
        rows = np.flatnonzero(~truth.ignored[start:end]) + start
        if len(rows) > 1:
            iou = compute_overlaps(xywh[rows], xywh[rows])
            np.fill_diagonal(iou, 0.0)
            overlap[rows] = iou.max(axis=1)
    groups = {
        "apart from all others": overlap == 0,
        f"IoU with another up to {LIGHT:g}": (overlap > 0) & (overlap <= LIGHT),
        f"IoU with another above {LIGHT:g}": overlap > LIGHT,
    }
    return {name: mask & ~truth.ignored for name, mask in groups.items()}


def _make_cells(
    evaluations: Evaluations, results: Mapping[RunKey, RunResults], measure: Callable[[RunResults], float]
) -> list[Cell]:
    def measure_run(key: RunKey) -> float:
        return measure(results[key]) if key in results else math.nan

    return [make_cell(arm, evaluations.seeds, measure_run, evaluations.baseline) for arm in evaluations.arms]


def _make_class_tables(evaluations: Evaluations, results: Mapping[RunKey, RunResults]) -> list[GroupTable]:
    counts, classes = evaluations.truth.class_counts, evaluations.truth.annotations.classes
    shown = choose_classes(counts, len(evaluations.arms), len(evaluations.seeds))
    left_out = "" if len(shown) == len(classes) else f" The {len(shown)} most frequent of {len(classes)} classes."
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
                label=classes[label],
                class_index=label,
                count=int(counts[label]),
                better="max",
                cells=_make_cells(evaluations, results, make_measure(label)),
            )
            for label in shown
        ]
        tables.append(
            GroupTable(
                caption=f"{name} by class", note=notes[name] + left_out, group="class", is_percent=True, rows=rows
            )
        )
    return tables


def choose_classes(counts: NDArray[np.int64], num_arms: int, num_seeds: int) -> list[int]:
    """Return the labels that have a row in the tables by class, in order: the most frequent, as many as fit.

    counts: [C], boxes of each class.
    """
    of_row = 3 * num_arms * (CELL_BYTES + VALUE_BYTES * num_seeds)
    most_frequent = np.argsort(-counts, kind="stable")[: MAX_CLASS_BYTES // of_row]
    return [int(label) for label in np.sort(most_frequent)]


def _divide(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def _make_recall_table(
    evaluations: Evaluations, results: Mapping[RunKey, RunResults], group: str, masks: Mapping[str, NDArray[np.bool_]]
) -> GroupTable:
    rows = []
    for name, mask in masks.items():

        def measure(run: RunResults, mask: NDArray[np.bool_] = mask) -> float:
            return _divide(int((run.found & mask).sum()), int(mask.sum()))

        cells = _make_cells(evaluations, results, measure)
        rows.append(Row(label=name, count=int(mask.sum()), better="max", cells=cells))
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

        better: Mode = "max" if name == ERROR_NAMES[CORRECT] else "min"
        rows.append(Row(label=name, better=better, cells=_make_cells(evaluations, results, measure)))
    return GroupTable(
        caption="Where errors go",
        note="Detections by kind, and missed boxes. Localisation: IoU of 0.1 to 0.5 with a box of its class. "
        "Class: IoU of at least 0.5 with a box of another class. Duplicate: of a box that is found already. "
        "Background: none of these. The kinds are TIDE's (arXiv 2008.08115); val/errors/ weighs them in AP50.",
        group="kind",
        is_percent=False,
        rows=rows,
    )
