"""Compute the metrics of an archive's trials again, from their detections and annotations."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.verification.differences import ROUNDING, measure_difference
from fcos.errors import DataError
from fcos.evaluation.saved.saved_evaluation import SavedEvaluation, parse_evaluation
from fcos.published.layout import POINTS
from fcos.published.records import order_point, read_points
from fcos.published.trials import PublishedTrial
from fcos.storage.evaluation_files import ANNOTATIONS, INDEX, MAX_BYTES, RESULTS, EvaluationFiles
from fcos.storage.store_conventions import Artifact, MetricPrefix, Tag


@dataclass(frozen=True)
class RecomputedMetrics:
    """Metrics that were computed again.

    trainings: finished trials that validated a detector. trials: those of them whose detections were evaluated. keys:
    metrics of every such trial. largest: difference by rounding, relative. without: finished trials that lack
    detections. groups: labels of trials by what they were evaluated on; one group where that is the same for all.
    """

    trainings: int
    trials: int
    detections: int
    metrics: int
    keys: frozenset[str]
    largest: float
    without: tuple[str, ...]
    groups: tuple[tuple[str, ...], ...]
    problems: tuple[str, ...]

    @property
    def is_as_logged(self) -> bool:
        """Whether nothing was computed again, so that every metric is the one that its run logged."""
        return not self.trials


def read_published_evaluation(trial: PublishedTrial) -> SavedEvaluation:
    """Return the saved evaluation of a trial that has one; raises DataError for files that do not belong together."""
    folder = trial.folder / Artifact.EVALUATION
    names = (INDEX, ANNOTATIONS, RESULTS)
    for name in names:
        if not (folder / name).is_file() or (folder / name).stat().st_size > MAX_BYTES:
            raise DataError(f"{name} is missing or too large")
    index, annotations, results = ((folder / name).read_bytes() for name in names)
    return parse_evaluation(EvaluationFiles(index, annotations, results), Path(Artifact.EVALUATION))


def recompute_metrics(trials: Sequence[PublishedTrial], show_progress: Callable[[int, int], None]) -> RecomputedMetrics:
    """Evaluate the detections of each finished trial with COCO's evaluation, and compare with what its run logged."""
    from fcos.evaluation.coco import result_metrics

    finished = [trial for trial in trials if trial.is_finished]
    with_detections = [trial for trial in finished if trial.has_evaluation]
    trainings = [trial for trial in finished if _is_training(trial)]
    detections, metrics, largest = 0, 0, 0.0
    keys: list[set[str]] = []
    groups: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    problems = list(_find_missing(trainings))
    for number, trial in enumerate(with_detections, start=1):
        try:
            evaluation = read_published_evaluation(trial)
        except DataError as error:
            problems.append(f"{trial.label}: {error}")
            continue
        computed = result_metrics(evaluation.annotations, evaluation.results)
        logged = _read_logged(trial, evaluation.index.step)
        compared = {key: measure_difference(logged[key], value) for key, value in computed.items() if key in logged}
        detections, metrics = detections + len(evaluation.results), metrics + len(compared)
        keys.append(set(compared))
        groups.setdefault((evaluation.index.annotations_sha256, evaluation.index.classes), []).append(trial.label)
        largest = max(largest, *(each for each in compared.values() if each <= ROUNDING), 0.0)
        problems += _describe_differences(trial, evaluation, computed, logged)
        show_progress(number, len(with_detections))
    without = tuple(trial.label for trial in finished if not trial.has_evaluation)
    common = frozenset(set.intersection(*keys)) if keys else frozenset()
    evaluated_on = tuple(map(tuple, groups.values()))
    counts = len(trainings), len(keys), detections, metrics
    return RecomputedMetrics(*counts, common, largest, without, evaluated_on, tuple(problems))


def _find_missing(trainings: Sequence[PublishedTrial]) -> Iterator[str]:
    """Yield trainings without detections where others of the archive have them, or a part of them is there."""
    has_any = any(trial.has_evaluation for trial in trainings)
    for trial in trainings:
        if not trial.has_evaluation and (has_any or (trial.folder / Artifact.EVALUATION).is_dir()):
            yield f"{trial.label}: has no detections, so that its metrics cannot be computed again"


def _is_training(trial: PublishedTrial) -> bool:
    """Return whether a trial validated a detector, whatever its params name."""
    has_values = any(point.key.startswith(MetricPrefix.VAL) for point in read_points(trial.folder / POINTS))
    return has_values or not trial.is_count


def _read_logged(trial: PublishedTrial, step: int) -> dict[str, float]:
    """Return the value that counts of each metric that was logged at a step."""
    points = [point for point in read_points(trial.folder / POINTS) if point.step == step]
    return {point.key: point.value for point in sorted(points, key=order_point)}


def _describe_differences(
    trial: PublishedTrial, evaluation: SavedEvaluation, computed: Mapping[str, float], logged: Mapping[str, float]
) -> Iterator[str]:
    """Yield what of a trial does not agree with its detections."""
    step, digest = evaluation.index.step, evaluation.index.data_digest
    for key, value in computed.items():
        if key in logged and measure_difference(logged[key], value) > ROUNDING:
            yield f"{trial.label}: {key} is {logged[key]!r} at step {step}, computed from its detections {value!r}"
        # Names of classes may be written otherwise in the store.
        elif key not in logged and not key.startswith(MetricPrefix.CLASS_AP):
            yield f"{trial.label}: {key} was not logged at step {step}, the one of its detections"
    if digest != trial.run.tags.get(Tag.DATA_DIGEST):
        yield f"{trial.label}: its detections are on other data ({digest[:12]}) than its run names"
    # The value of a trial is its last one.
    last = max((point.step for point in read_points(trial.folder / POINTS) if point.key in computed), default=step)
    if last != step:
        yield f"{trial.label}: its detections are of step {step}, and its metrics end at step {last}"
