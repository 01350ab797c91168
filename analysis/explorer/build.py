"""Collect what explorer.html shows of a sweep."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.explorer.changes import measure_seed_noise
from analysis.explorer.confusions import make_confusions
from analysis.explorer.curves import SCORES
from analysis.explorer.group_tables import make_group_tables, make_metric_tables
from analysis.explorer.page_data import PageData, RunEntry
from analysis.explorer.pictures import PictureSource, make_picture_source
from analysis.explorer.read import PageOrder, read_runs
from analysis.explorer.run_results import RunResults
from analysis.explorer.structures import Evaluations, RunKey
from analysis.explorer.thumbnails import read_thumbnails
from analysis.formatting import format_count
from analysis.reader.sweep import Sweep
from analysis.reader.sweep_evaluations import SweepEvaluations
from analysis.render.curve_plots import MAX_ARMS, plot_bands
from analysis.sections.content import Figure
from fcos.evaluation.coco_settings import RECALL_THRESHOLDS
from fcos.storage.thumbnail_files import digest_images

MENDED = (
    "An arm mends an image where its F1 is higher than the baseline's in more than half of the seeds that both have, "
    "and spoils it where it is lower. F1 of an image is 2 TP / (2 TP + FP + FN) at IoU 0.5 over all classes, of the "
    "detections that score at least as high as the threshold of their run: the score at which F1 over all images is "
    "highest. An image without boxes and detections has an F1 of 1."
)
TABLES = (
    "Recall, precision, errors and confusions are of the detections above that threshold. A difference is the median "
    "over the pairs of seeds; report.html has their mean. Its interval holds whatever the distribution: of at least "
    "95 % from six pairs on; below, the range of the pairs, which covers less (75 % with three). It is green where the "
    "arm is better and orange where it is worse, with an interval of at least 95 % clear of zero, but for the metric "
    "that is tested: all of this describes, and what was tested stands in report.html."
)


@dataclass(frozen=True)
class Explorer:
    """What the page shows. data: for its script, without pictures yet. pictures: None without an evaluation."""

    title: str
    sweep: str
    data: PageData
    pictures: PictureSource | None
    figures: tuple[Figure, ...] = ()
    method: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def build_explorer(
    sweep: Sweep, evaluations: SweepEvaluations, values: pd.DataFrame, show_progress: Callable[[int, int], None]
) -> Explorer:
    """Collect what the page shows; reads the store for evaluations and thumbnails.

    values: see analysis.stats.paired.collect_final_values. show_progress: how many of how many trials are read.
    """
    order = _make_order(sweep, values)
    runs, notes = read_runs(sweep, evaluations, order, show_progress)
    results: Mapping[RunKey, RunResults] = {} if runs is None else runs.results
    data = _make_page_data(sweep, values, order, results)
    title = sweep.experiment.name
    if runs is None:
        return Explorer(title, sweep.name, data, None, notes=notes)
    compared = runs.evaluations
    thumbnails = _read_thumbnails(sweep, compared)
    groups = {
        "classes": list(compared.truth.annotations.classes),
        "shown_seeds": [order.seeds.index(seed) for seed in runs.shown_seeds],
        "groups": make_group_tables(compared, results),
        "confusions": make_confusions(compared, results),
    }
    return Explorer(
        title=title,
        sweep=sweep.name,
        data=data.model_copy(update=groups),
        pictures=make_picture_source(runs, thumbnails),
        figures=_plot_curves(compared, results),
        method=(*_describe_method(compared, results), TABLES),
        notes=(*notes, *_note_thumbnails(len(thumbnails), len(compared.truth))),
    )


def _make_order(sweep: Sweep, values: pd.DataFrame) -> PageOrder:
    """Return the arms, the baseline first, and the seeds by their numbers."""
    named = list(dict.fromkeys(values["arm"]))
    baseline = sweep.experiment.baseline if sweep.experiment.baseline in named else None
    arms = sorted(named, key=lambda arm: arm != baseline)
    return PageOrder(tuple(arms), tuple(int(seed) for seed in dict.fromkeys(values["seed"])), baseline)


def _make_page_data(
    sweep: Sweep, values: pd.DataFrame, order: PageOrder, results: Mapping[RunKey, RunResults]
) -> PageData:
    """Return what the page shows without evaluations."""
    tested = "" if order.baseline is None else sweep.experiment.metrics[0]
    return PageData(
        arms=list(order.arms),
        baseline=None if order.baseline is None else order.arms.index(order.baseline),
        seeds=list(order.seeds),
        runs=_make_run_entries(sweep, order, results),
        metrics=make_metric_tables(values, order.arms, order.seeds, order.baseline, tested),
    )


def _make_run_entries(
    sweep: Sweep, order: PageOrder, results: Mapping[RunKey, RunResults]
) -> list[list[RunEntry | None]]:
    entries = {
        (trial.arm, trial.seed): RunEntry(
            run_id=trial.run_id,
            state=trial.status.lower(),
            threshold=results[trial.arm, trial.seed].curves.threshold if (trial.arm, trial.seed) in results else None,
        )
        for trial in sweep.current
    }
    return [[entries.get((arm, seed)) for seed in order.seeds] for arm in order.arms]


def _read_thumbnails(sweep: Sweep, evaluations: Evaluations) -> Mapping[int, bytes]:
    annotations = evaluations.truth.annotations
    digest = digest_images(zip(annotations.image_ids.tolist(), annotations.names, strict=True))
    return read_thumbnails(sweep.uri, [trial.run_id for trial in evaluations.trials.values()], digest)


def _note_thumbnails(count: int, num_images: int) -> list[str]:
    if count >= num_images:
        return []
    if not count:
        return ["The store has no thumbnails of the images: boxes are drawn on a plain ground."]
    return [f"The store has thumbnails of {count} of {num_images} images: other boxes are drawn on a plain ground."]


def _describe_method(evaluations: Evaluations, results: Mapping[RunKey, RunResults]) -> list[str]:
    if evaluations.baseline is None or len(evaluations.arms) < 2:
        return []
    noise = measure_seed_noise(results, evaluations.baseline)
    if noise is None:
        return [MENDED]
    return [
        MENDED,
        f"Seeds alone change images too: between two seeds of {evaluations.baseline}, F1 differs on "
        f"{100 * noise:.0f} % of the {format_count(len(evaluations.truth), 'image')}.",
    ]


def _plot_curves(evaluations: Evaluations, results: Mapping[RunKey, RunResults]) -> tuple[Figure, ...]:
    """Plot the curves of the first arms, with the band of their seeds."""
    arms = [arm for arm in evaluations.arms if any(of_arm == arm for of_arm, _ in results)]
    runs = {arm: [results[arm, seed] for seed in evaluations.seeds if (arm, seed) in results] for arm in arms}
    precision = {arm: np.stack([run.curves.mean_precision for run in of_arm]) for arm, of_arm in runs.items()}
    f1 = {arm: np.stack([run.curves.f1 for run in of_arm]) for arm, of_arm in runs.items()}
    band = "Line: mean over the seeds. Band: from the lowest to the highest seed."
    if len(arms) > MAX_ARMS:
        band += f" The first {MAX_ARMS} of {len(arms)} arms."
    return (
        _plot(
            "Precision over recall at IoU 0.5", f"Mean over the classes. {band}", RECALL_THRESHOLDS, precision, "recall"
        ),
        _plot("F1 over the score threshold at IoU 0.5", f"All classes together. {band}", SCORES, f1, "score"),
    )


def _plot(
    title: str, caption: str, x: NDArray[np.float64], curves: Mapping[str, NDArray[np.float64]], x_label: str
) -> Figure:
    y_label = "precision" if x_label == "recall" else "F1"
    return Figure.of_plot(title, caption, partial(plot_bands, x, curves, x_label, y_label))
