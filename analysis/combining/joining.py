"""Join seeds of another sweep, such as one that another laboratory published, to the table of one's own."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

import pandas as pd

from analysis.combining.same_training import describe_differences, settings_by_arm, settings_of
from analysis.formatting import format_count, join_words
from analysis.reader.client import StoreError
from analysis.reader.sweep import Sweep, Trial


def join_sweeps(own: Sweep, others: Sequence[Sweep]) -> Sweep:
    """Return a sweep with the seeds of others that it has no result of, of trainings that differ in the seed alone.

    A seed joins with all of its arms or not at all, so that no pair is of two laboratories. Joined seeds count after
    all that are there before, which is a look; looks that were taken at either count too. Raises StoreError where no
    seed can join.
    """
    joined = own
    for other in others:
        joined = _join(joined, other)
    return replace(joined, name=" + ".join(sweep.name for sweep in (own, *others)))


def _join(own: Sweep, other: Sweep) -> Sweep:
    if own.experiment.search is not None or other.experiment.search is not None:
        raise StoreError("--join: a search is not a table of arms; give sweeps of arms")
    ours, notes = settings_by_arm(own), []
    known = {trial.seed for trial in own.finished}
    candidates = [trial for trial in other.finished if trial.arm in ours]
    same = [trial for trial in candidates if settings_of(trial) == ours[trial.arm]]
    others = [trial for trial in candidates if settings_of(trial) != ours[trial.arm]]
    for arm, trial in {trial.arm: trial for trial in reversed(others)}.items():
        differing = describe_differences(ours[arm], settings_of(trial))
        notes.append(f"{arm} of {other.name} is another training, by {differing}: it does not join.")
    broken = {trial.seed for trial in others}
    if partial := sorted({trial.seed for trial in same if trial.seed in broken - known}):
        count = format_count(len(partial), "seed")
        notes.append(f"{count} of {other.name} not joined: {join_words(partial)}, as another arm is another training.")
    first = 1 + max((trial.rank for trial in own.current), default=0)
    ranks = {seed: first + number for number, seed in enumerate(other.seeds)}
    new = [replace(trial, rank=ranks[trial.seed]) for trial in same if trial.seed not in known | broken]
    notes += _compare_repeated(own, [trial for trial in same if trial.seed in known], other.name)
    if not new:
        reason = notes[0] if notes else f"{other.name} has no arm of {own.name} with a finished seed"
        raise StoreError(f"--join {other.name}: no seed can join {own.name}: {reason}")
    seeds = sorted({trial.seed for trial in new})
    notes.insert(0, f"{format_count(len(seeds), 'seed')} of {describe_origin(other)} joined: {join_words(seeds)}.")
    run_ids = {trial.run_id for trial in new}
    points = pd.concat([own.points, other.points[other.points["run_id"].isin(run_ids)]], ignore_index=True)
    # A trial of one's own that did not finish gives way.
    taken = {(trial.arm, trial.seed) for trial in new}
    kept = [replace(each, superseded=each.superseded or (each.arm, each.seed) in taken) for each in own.trials]
    trials = sorted([*kept, *new], key=lambda trial: (trial.arm, trial.seed, trial.superseded, trial.started))
    looks = _combine_looks(own, other, set(seeds))
    return replace(own, trials=tuple(trials), points=points, looks=looks, notes=(*own.notes, *notes))


def _combine_looks(own: Sweep, other: Sweep, joined: Collection[int]) -> tuple[int, ...]:
    """Return the looks at a sweep and at another one, as numbers of seeds in the order that they have together.

    A seed without a result that another joins for is none of one's own any more.
    """
    kept = sum(seed not in joined for seed in own.seeds)
    ours = {sum(seed not in joined for seed in own.seeds[:look]) for look in own.looks}
    theirs = {kept + sum(seed in joined for seed in other.seeds[:look]) for look in other.looks}
    return tuple(sorted({*ours, kept, *theirs} - {0}))


def _compare_repeated(own: Sweep, repeated: Sequence[Trial], name: str) -> Iterator[str]:
    """Yield a note on seeds that both sweeps have: whether the first metric is the same to the last digit."""
    metric = own.experiment.metrics[0]
    ours = {(trial.arm, trial.seed): trial.metrics.get(metric) for trial in own.finished}
    pairs = [(trial.label, ours.get((trial.arm, trial.seed)), trial.metrics.get(metric)) for trial in repeated]
    both = [(label, first, second) for label, first, second in pairs if first is not None and second is not None]
    if not both:
        return
    different = [label for label, first, second in both if first != second]
    equal = len(both) - len(different)
    text = f"{format_count(len(both), 'trial')} of {name} repeat ones that are here: {equal} with the same {metric}"
    yield f"{text}." if not different else f"{text}, {join_words(different)} with another."


def describe_origin(sweep: Sweep) -> str:
    """Return a sweep's name with the laboratory that trained it where that is another one."""
    laboratories = sorted({trial.provenance.laboratory for trial in sweep.current} - {""})
    return f"{sweep.name} (trained by {join_words(laboratories)})" if laboratories else sweep.name
