"""Noise of paired differences in finished sweeps of the store, for planning where no noise floor was measured."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fcos.config.parse import flatten
from fcos.storage.store_conventions import RUN_ONLY, Tag, extension_of, param_text, seed_of
from orchestration.experiment.weights import pinned_keys
from orchestration.planning.plan import Plan
from orchestration.tracking.history import History, PastRun

# Pairs that an arm needs to count.
FEWEST_PAIRS = 3
# Differences closer than this are those of an arm that does the same as the baseline.
IDENTICAL = 1e-12

# Seed -> run.
RunsOfArm = dict[int, PastRun]


@dataclass(frozen=True)
class PairedNoise:
    """Spread over seeds of the differences to a baseline, pooled over the arms of one sweep.

    deviation: of the difference of a pair, in the metric's unit. pairs, arms: that it was pooled over.
    """

    sweep: str
    deviation: float
    pairs: int
    arms: int

    @property
    def freedom(self) -> int:
        """Degrees of freedom of the deviation, if the arms were independent: they share the baseline's values."""
        return self.pairs - self.arms


def find_paired_noise(history: History, plan: Plan, baseline: str, metric: str) -> PairedNoise | None:
    """Return the noise of a sweep in which an arm was trained as the planned baseline; None where there is none.

    Configuration and data must be the same but for the seed, and so must the checkpoint that trainings go on from; code
    and versions need not. Arms that share the baseline's training differ from it by less than others do: they count
    where all planned arms share it, and else they do not. Of several sweeps the one of most degrees of freedom is
    taken, of equally many the newest.

    Raises TrackingError where the store is unavailable.
    """
    first = next(trial for trial in plan.trials if baseline in trial.arms)
    shares_training = set(plan.arms) <= set(first.arms)
    left_out = {*RUN_ONLY, *pinned_keys(plan.arms[baseline].model_dump(mode="json")), "seed"}
    planned = flatten(plan.arms[baseline].model_dump(mode="json"))
    settings = _settings({key: param_text(value) for key, value in planned.items()}, left_out)
    extends = "" if plan.extension is None else plan.extension.sha256
    found = []
    for runs in _split_by_sweep(history.of_data(first.data_digest), extends):
        same: RunsOfArm = {}
        arms: dict[str, RunsOfArm] = {}
        for run, seed in runs:
            theirs = _settings(run.params, left_out)
            if theirs == settings:
                same[seed] = run
            elif _own_seeds(theirs) == _own_seeds(settings):
                arms.setdefault(run.arm, {})[seed] = run
        pairs = [list(_differences(arm, same, metric, shares_training=shares_training)) for arm in arms.values()]
        noise = _pool(runs[0][0].sweep, pairs)
        if noise is not None:
            found.append(noise)
    return max(found, key=lambda noise: noise.freedom, default=None)


def _split_by_sweep(runs: Sequence[PastRun], extends: str) -> list[list[tuple[PastRun, int]]]:
    """Return the runs of each sweep with their seeds, newest sweep first; no points of a search, no inexact trainings.

    extends: digest of the checkpoint that they went on from, "" for none.
    """
    sweeps: dict[str, list[tuple[PastRun, int]]] = {}
    for run in runs:
        is_alike = extension_of(run.tags) == extends and not {Tag.SAMPLED, Tag.INEXACT} & set(run.tags)
        seed = seed_of(run.tags)
        if is_alike and Tag.PARENT_RUN in run.tags and seed is not None:
            sweeps.setdefault(run.tags[Tag.PARENT_RUN], []).append((run, seed))
    return list(sweeps.values())


def _settings(params: Mapping[str, str], left_out: set[str]) -> dict[str, str]:
    """Return the params that decide a result; runs of earlier versions have no seeds of single sources."""
    absent = param_text(None)
    return {
        key: value
        for key, value in params.items()
        if key not in left_out and not (key.startswith("seeds.") and value == absent)
    }


def _own_seeds(settings: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in settings.items() if key.startswith("seeds.")}


def _differences(arm: RunsOfArm, baseline: RunsOfArm, metric: str, *, shares_training: bool) -> Iterator[float]:
    """Iterate over the finite differences of an arm's pairs that share a training, or do not (`shares_training`)."""
    for seed in sorted(set(arm) & set(baseline)):
        one, other = arm[seed], baseline[seed]
        shares = one.tags.get(Tag.TRAIN_IDENTITY) == other.tags.get(Tag.TRAIN_IDENTITY)
        difference = one.metrics.get(metric, math.nan) - other.metrics.get(metric, math.nan)
        if shares == shares_training and math.isfinite(difference):
            yield difference


def _pool(sweep: str, by_arm: Sequence[Sequence[float]]) -> PairedNoise | None:
    """Pool the variances of the arms' differences; None where no arm has enough pairs that differ."""
    counted = [pairs for pairs in by_arm if len(pairs) >= FEWEST_PAIRS and max(map(abs, pairs)) > IDENTICAL]
    if not counted:
        return None
    squares = sum((len(pairs) - 1) * float(np.var(pairs, ddof=1)) for pairs in counted)
    total = sum(map(len, counted))
    return PairedNoise(sweep, math.sqrt(squares / (total - len(counted))), total, len(counted))
