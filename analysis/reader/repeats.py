"""Trainings that the store has more than once: every result with its run, so that none can be picked unseen."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import ValidationError

from analysis.formatting import format_count, format_number, join_words
from analysis.reader.client import StoreError, extract_reason, find_experiment_ids, search_runs
from analysis.reader.sweep import OtherTraining, StoredRepeats, Trial
from fcos.storage.store_conventions import RunKind, RunStatus, Tag, training_of

if TYPE_CHECKING:
    from mlflow.entities import Run

    from analysis.reader.run_store import RunStore

# Fingerprints alone are put into a query: tags may hold anything.
FINGERPRINT = re.compile(r"[0-9a-f]{64}")
# Trials that are listed by themselves.
MOST = 12
# Trainings that are looked up one by one; more are found among all runs of their data and code.
MOST_QUERIES = 12
# Of a tag in a store.
MAX_TAG_CHARS = 4500


@dataclass(frozen=True)
class Repeat:
    """A trial whose training was done more than once.

    value: the metric's final value that counts. others: the other trainings. more: of them, that are counted alone.
    """

    trial: Trial
    value: float | None
    others: tuple[OtherTraining, ...]
    more: int

    @property
    def is_same(self) -> bool:
        """Whether all trainings gave the same number."""
        return {other.value for other in self.others} == {self.value}

    @property
    def reasons(self) -> tuple[str, ...]:
        """What the commands that trained again stated."""
        stated = (self.trial.provenance.retrain_reason, *(other.reason for other in self.others))
        return tuple(dict.fromkeys(reason for reason in stated if reason))

    @property
    def count(self) -> int:
        """How many trainings there are."""
        return 1 + len(self.others) + self.more

    def describe(self, metric: str) -> str:
        """Return a sentence with every value and its run."""
        listed = [f"{format_number(other.value, metric)} (run {other.run_id[:8]})" for other in self.others]
        listed += [f"{self.more} more"] if self.more else []
        counted = f"{metric} {format_number(self.value, metric)} (run {self.trial.run_id[:8]})"
        return f"{self.trial.label}: {counted} counts, trained otherwise it was {join_words(listed)}"

    def to_tag(self) -> str:
        """Return what an archive records of them: as many as fit into a tag, and the number of the rest."""
        others = list(self.others)
        while True:
            more = self.count - 1 - len(others)
            text = StoredRepeats(trainings=tuple(others), more=more).model_dump_json()
            if len(text) <= MAX_TAG_CHARS or not others:
                return text
            others.pop()


def read_repeat_notes(client: "RunStore", trials: Sequence[Trial], metric: str) -> list[str]:
    """Return notes on the finished trials of a sweep whose training was done more than once, in any sweep."""
    repeats = find_repeats(client, trials, metric)
    same = [repeat for repeat in repeats if repeat.is_same]
    differing = [repeat for repeat in repeats if not repeat.is_same]
    notes = []
    if same:
        named = join_words([repeat.trial.label for repeat in same[:MOST]])
        more = f" and {len(same) - MOST} more" if len(same) > MOST else ""
        notes.append(f"Trained more than once, each time with the same {metric}: {named}{more}.")
    notes += [f"Trained {repeat.count} times: {repeat.describe(metric)}." for repeat in differing[:MOST]]
    if len(differing) > MOST:
        notes.append(f"{format_count(len(differing) - MOST, 'trial')} more had other results when trained again.")
    reasons = dict.fromkeys(reason for repeat in repeats for reason in repeat.reasons)
    return [*notes, *(f"The reason stated for training again: {reason}." for reason in reasons)]


def find_repeats(client: "RunStore", trials: Sequence[Trial], metric: str) -> list[Repeat]:
    """Return the finished trials whose training was done more than once, as the store or their archive has it."""
    counting = [trial for trial in trials if _may_repeat(trial)]
    by_identity = _search_same(client, counting)
    found = [_make_repeat(trial, by_identity.get(trial.provenance.identity, ()), metric) for trial in counting]
    return [repeat for repeat in found if repeat.count > 1]


def _may_repeat(trial: Trial) -> bool:
    is_count = trial.params.get("task") == "coverage"
    has_result = trial.is_finished and not trial.superseded
    return has_result and not is_count and FINGERPRINT.fullmatch(trial.provenance.identity) is not None


def _search_same(client: "RunStore", trials: Sequence[Trial]) -> "dict[str, list[Run]]":
    """Return the finished runs of the trials' identities, in any sweep, by identity."""
    experiment_ids = find_experiment_ids(client, None)
    identities = {trial.provenance.identity for trial in trials}
    found: dict[str, list[Run]] = {}
    for tags_of in dict.fromkeys(_list_conditions(trials, one_by_one=len(identities) <= MOST_QUERIES)):
        for run in search_runs(client, experiment_ids, dict(tags_of)):
            tags = run.data.tags
            # Runs of an import that was killed are of no kind yet.
            is_trial = run.info.status == RunStatus.FINISHED and tags.get(Tag.KIND) in (RunKind.TRIAL, RunKind.RUN)
            if is_trial and tags.get(Tag.IDENTITY) in identities:
                found.setdefault(tags[Tag.IDENTITY], []).append(run)
    return found


def _list_conditions(trials: Sequence[Trial], *, one_by_one: bool) -> Iterator[tuple[tuple[str, str], ...]]:
    """Yield tags that the runs of the trials' identities have: the identity, or all data and code behind it."""
    for trial in trials:
        origin = trial.provenance
        if one_by_one or not (FINGERPRINT.fullmatch(origin.data_digest) and FINGERPRINT.fullmatch(origin.code)):
            yield ((Tag.IDENTITY, origin.identity),)
        else:
            yield (Tag.DATA_DIGEST, origin.data_digest), (Tag.CODE, origin.code)


def _make_repeat(trial: Trial, runs: "Sequence[Run]", metric: str) -> Repeat:
    """Return a trial with the other trainings of its identity; copies of a run belong to its training."""
    others: dict[str, OtherTraining] = {}
    in_store = [_read_other(run, metric) for run in sorted(runs, key=lambda run: run.info.start_time or 0)]
    for other in (*in_store, *trial.repeats.trainings):
        if other.training != (trial.training or trial.run_id):
            others.setdefault(other.training, other)
    return Repeat(trial, trial.metrics.get(metric), tuple(others.values()), trial.repeats.more)


def _read_other(run: "Run", metric: str) -> OtherTraining:
    tags: Mapping[str, str] = run.data.tags
    return OtherTraining(
        run_id=run.info.run_id,
        training=training_of(run.info.run_id, tags),
        value=run.data.metrics.get(metric),
        reason=tags.get(Tag.RETRAIN_REASON, ""),
    )


def read_stored_repeats(run_id: str, tags: Mapping[str, str]) -> StoredRepeats:
    """Return what a published run records of its training done otherwise; raises StoreError for a broken record."""
    text = tags.get(Tag.REPEATS)
    if text is None:
        return StoredRepeats()
    try:
        return StoredRepeats.model_validate_json(text)
    except ValidationError as error:
        raise StoreError(f"{Tag.REPEATS} of run {run_id}: {extract_reason(error)}") from error
