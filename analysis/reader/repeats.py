"""Trainings that the store has more than once: every result with its run, so that none can be picked unseen."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from analysis.formatting import format_count, format_number, join_words
from analysis.reader.client import find_experiment_ids, search_runs
from analysis.reader.sweep import Trial
from fcos.storage.store_conventions import RunStatus, Tag

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

# Fingerprints alone are put into a query: tags may hold anything.
IDENTITY = re.compile(r"[0-9a-f]{64}")
# Trials that are listed by themselves.
MOST = 12


@dataclass(frozen=True)
class Repeat:
    """A trial that was trained more than once: the run that counts here, and the other trainings' runs.

    values: the metric's final value by run id, the run that counts first; None where it has none. reasons: stated by
    the commands that trained again.
    """

    trial: Trial
    values: Mapping[str, float | None]
    reasons: tuple[str, ...]

    @property
    def is_same(self) -> bool:
        """Whether all trainings gave the same number."""
        return len(set(self.values.values())) == 1

    def describe(self, metric: str) -> str:
        """Return a sentence with every value and its run."""
        (own, counted), *others = ((run[:8], format_number(value, metric)) for run, value in self.values.items())
        listed = join_words([f"{value} (run {run})" for run, value in others])
        return f"{self.trial.label}: {metric} {counted} (run {own}) counts, trained otherwise it was {listed}"


def read_repeat_notes(client: "MlflowClient", trials: Sequence[Trial], metric: str) -> list[str]:
    """Return notes on the finished trials of a sweep whose training the store has more than once, in any sweep."""
    experiment_ids = find_experiment_ids(client, None)
    repeats = list(_find_repeats(client, experiment_ids, trials, metric))
    same = [repeat for repeat in repeats if repeat.is_same]
    differing = [repeat for repeat in repeats if not repeat.is_same]
    notes = []
    if same:
        named = join_words([repeat.trial.label for repeat in same[:MOST]])
        more = f" and {len(same) - MOST} more" if len(same) > MOST else ""
        notes.append(f"Trained more than once, each time with the same {metric}: {named}{more}.")
    notes += [f"Trained {len(repeat.values)} times: {repeat.describe(metric)}." for repeat in differing[:MOST]]
    if len(differing) > MOST:
        notes.append(f"{format_count(len(differing) - MOST, 'trial')} more had other results when trained again.")
    reasons = dict.fromkeys(reason for repeat in repeats for reason in repeat.reasons)
    return [*notes, *(f"The reason stated for training again: {reason}." for reason in reasons)]


def _find_repeats(
    client: "MlflowClient", experiment_ids: list[str], trials: Sequence[Trial], metric: str
) -> Iterator[Repeat]:
    for trial in trials:
        identity = trial.provenance.identity
        is_count = trial.params.get("task") == "coverage"
        if trial.superseded or not trial.is_finished or is_count or not IDENTITY.fullmatch(identity):
            continue
        runs = search_runs(client, experiment_ids, f"tags.`{Tag.IDENTITY}` = '{identity}'")
        finished = [run for run in runs if run.info.status == RunStatus.FINISHED]
        by_training = _group_by_training(finished, trial)
        if len(by_training) > 1:
            values = {run.info.run_id: run.data.metrics.get(metric) for run in by_training}
            reasons = dict.fromkeys(run.data.tags.get(Tag.RETRAIN_REASON, "") for run in finished)
            yield Repeat(trial, values, tuple(reason for reason in reasons if reason))


def _group_by_training(runs: "Sequence[Run]", trial: Trial) -> "list[Run]":
    """Return one run of each training, that of the trial first; copies of a run belong to its training."""
    own_first = sorted(runs, key=lambda run: (run.info.run_id != trial.run_id, run.info.start_time))
    by_training: dict[str, Run] = {}
    for run in own_first:
        by_training.setdefault(run.data.tags.get(Tag.TRAINED_BY, run.info.run_id), run)
    return list(by_training.values())
