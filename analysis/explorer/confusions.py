"""Confusion matrices of the arms, with rare classes taken together."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analysis.explorer.page_data import Confusion
from analysis.explorer.run_results import RunResults
from analysis.explorer.structures import Evaluations, RunKey, Truth

# More rows cannot be read.
MAX_CLASSES: Final = 20
OTHERS: Final = "other classes"


@dataclass(frozen=True)
class ClassRows:
    """Rows of a matrix.

    labels: their names. of_class: [C], the row of each class. merged: [C], classes that share the last row.
    """

    labels: list[str]
    of_class: NDArray[np.int64]
    merged: NDArray[np.bool_]


def make_confusions(evaluations: Evaluations, results: Mapping[RunKey, RunResults]) -> list[Confusion | None]:
    """Return the matrix of each arm over its seeds, None for arms without an evaluation."""
    rows = group_classes(evaluations.truth)
    return [_make_confusion(arm, evaluations, results, rows) for arm in evaluations.arms]


def group_classes(truth: Truth) -> ClassRows:
    """Return the rows of the classes: the most frequent ones have a row of their own."""
    classes = truth.annotations.classes
    if len(classes) <= MAX_CLASSES:
        return ClassRows(list(classes), np.arange(len(classes)), np.zeros(len(classes), dtype=bool))
    own = np.sort(np.argsort(-truth.class_counts, kind="stable")[: MAX_CLASSES - 1])
    of_class = np.full(len(classes), len(own))
    of_class[own] = np.arange(len(own))
    return ClassRows([*(classes[label] for label in own), OTHERS], of_class, of_class == len(own))


def _make_confusion(
    arm: str, evaluations: Evaluations, results: Mapping[RunKey, RunResults], rows: ClassRows
) -> Confusion | None:
    seeds = [index for index, seed in enumerate(evaluations.seeds) if (arm, seed) in results]
    if not seeds:
        return None
    runs = [results[arm, evaluations.seeds[index]].confusion for index in seeds]
    merged = [merge_classes(run, rows) for run in runs]
    return Confusion(
        labels=rows.labels,
        seeds=seeds,
        counts=np.stack([counts for counts, _ in merged], axis=-1).tolist(),
        mixed=[mixed for _, mixed in merged] if rows.merged.any() else [],
    )


def merge_classes(confusion: NDArray[np.int64], rows: ClassRows) -> tuple[NDArray[np.int64], int]:
    """Return the counts of a run by rows, and the boxes of merged classes that are detected as another of these.

    The latter are errors, and so not on the diagonal. confusion: see RunResults.
    """
    size = len(rows.labels) + 1
    # No box and no detection stay the last row and column.
    index = np.append(rows.of_class, size - 1)
    counts = np.zeros((size, size), dtype=np.int64)
    np.add.at(counts, (index[:, None], index), confusion)
    if not rows.merged.any():
        return counts, 0
    right = int(np.diagonal(confusion)[:-1][rows.merged].sum())
    mixed = int(counts[-2, -2]) - right
    counts[-2, -2] = right
    return counts, mixed
