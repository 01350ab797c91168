"""Saved evaluations of a sweep's trials: fetched once from the store, checked, and held to one set of annotations."""

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from functools import cached_property
from pathlib import Path

from pydantic import ValidationError

from analysis.formatting import join_words
from analysis.reader.evaluation import read_evaluation, read_evaluation_file
from analysis.reader.sweep import Sweep, Trial
from fcos.errors import DataError
from fcos.evaluation.saved.saved_evaluation import EvaluationIndex, SavedEvaluation, parse_evaluation
from fcos.storage.evaluation_files import INDEX, EvaluationFiles

# Trials without an evaluation that a note names.
MAX_NAMED = 6
_FIELDS = tuple(field.name for field in fields(EvaluationFiles))
# Digest of the annotations, and the classes in the order of the labels.
_Truth = tuple[str, tuple[str, ...]]


@contextmanager
def open_evaluations(sweep: Sweep) -> Iterator["SweepEvaluations"]:
    """Give the evaluations of a sweep, with a temporary folder for their files."""
    with tempfile.TemporaryDirectory() as folder:
        yield SweepEvaluations(sweep, Path(folder))


class SweepEvaluations:
    """Saved evaluations of a sweep's finished trials against one set of annotations.

    It is the set that most of them have, of equally many the one that more trials of the baseline have. Every
    evaluation is fetched once; a second reading takes it from the folder.
    """

    def __init__(self, sweep: Sweep, folder: Path) -> None:
        self._sweep, self._folder = sweep, folder
        # Run id -> its folder with the fetched files.
        self._fetched: dict[str, Path] = {}
        # Run id -> why the evaluation is left out, None where there is none.
        self._left_out: dict[str, str | None] = {}

    def limit_to(self, sweep: Sweep) -> None:
        """Leave out what a sweep does not have any more, before anything is read."""
        self._sweep = sweep

    def read(self, trials: Sequence[Trial]) -> Iterator[tuple[Trial, SavedEvaluation]]:
        """Iterate over those of the trials that have an evaluation to compare, one after another to bound memory."""
        for trial in trials:
            if trial.run_id not in self._left_out and (evaluation := self._read(trial)) is not None:
                yield trial, evaluation

    def list_comparable(self) -> list[Trial]:
        """Return the finished trials whose index names the common annotations; the other files are not read yet."""
        compared = {run_id for run_id, truth in self._truths.items() if truth == self._common_truth}
        return [trial for trial in self._sweep.finished if trial.run_id in compared]

    def describe_left_out(self, trials: Sequence[Trial]) -> tuple[str, ...]:
        """Return notes on those of the trials that were read and had no evaluation to compare."""
        left_out = [trial for trial in trials if trial.run_id in self._left_out]
        missing = [trial.label for trial in left_out if self._left_out[trial.run_id] is None]
        reasons = [(trial.label, reason) for trial in left_out if (reason := self._left_out[trial.run_id]) is not None]
        return (
            *_describe_missing(missing, len(trials)),
            *(f"The evaluation of {label} is left out: {reason}." for label, reason in reasons),
        )

    @cached_property
    def _truths(self) -> dict[str, _Truth]:
        """Run id -> what its detections were evaluated against, of the finished trials with a readable index."""
        truths = {}
        for trial in self._sweep.finished:
            content = read_evaluation_file(self._sweep.uri, trial.run_id, INDEX)
            try:
                index = EvaluationIndex.model_validate_json(content or b"")
            except ValidationError:
                continue
            truths[trial.run_id] = (index.annotations_sha256, index.classes)
        return truths

    @cached_property
    def _common_truth(self) -> _Truth | None:
        baseline = {trial.run_id for trial in self._sweep.finished if trial.arm == self._sweep.experiment.baseline}
        counts = Counter(self._truths.values())
        of_baseline = Counter(truth for run_id, truth in self._truths.items() if run_id in baseline)
        return max(counts, key=lambda truth: (counts[truth], of_baseline[truth]), default=None)

    def _read(self, trial: Trial) -> SavedEvaluation | None:
        """Return the evaluation of a trial; None, with the reason stored, where there is none to compare."""
        truth, common = self._truths.get(trial.run_id), self._common_truth
        if truth is not None and common is not None and truth != common:
            self._left_out[trial.run_id] = (
                f"its annotations are others ({truth[0][:12]}) than those that are compared ({common[0][:12]})"
                if truth[0] != common[0]
                else "its classes are in another order than those that are compared"
            )
            return None
        files = self._fetch(trial)
        if files is None:
            self._left_out[trial.run_id] = None
            return None
        try:
            # The path is for messages alone.
            return parse_evaluation(files, Path(f"run {trial.run_id}"))
        except DataError as error:
            self._left_out[trial.run_id] = str(error)
            return None

    def _fetch(self, trial: Trial) -> EvaluationFiles | None:
        """Return the files of a trial's evaluation, from the folder where they were fetched before."""
        if (folder := self._fetched.get(trial.run_id)) is not None:
            return EvaluationFiles(**{name: (folder / name).read_bytes() for name in _FIELDS})
        files = read_evaluation(self._sweep.uri, trial.run_id)
        if files is not None:
            # Not named after the run: ids come from the store.
            folder = self._fetched[trial.run_id] = self._folder / str(len(self._fetched))
            folder.mkdir()
            for name in _FIELDS:
                (folder / name).write_bytes(getattr(files, name))
        return files


def _describe_missing(missing: Sequence[str], total: int) -> list[str]:
    """Return a note on trials without a saved evaluation."""
    if not missing:
        return []
    if len(missing) == total:
        return [
            "No trial has a saved evaluation (runs of older versions have none): what changed on single images, and "
            "what other validation images would change, cannot be computed."
        ]
    more = [f"{len(missing) - MAX_NAMED} more"] if len(missing) > MAX_NAMED else []
    verb = "has" if len(missing) == 1 else "have"
    return [
        f"{join_words([*missing[:MAX_NAMED], *more])} {verb} no saved evaluation (runs of older versions have none): "
        "what is computed from images is without them."
    ]
