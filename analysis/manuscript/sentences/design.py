"""Sentences on seeds, statistics and the plan: what varies, how it is tested, when the plan was fixed."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from analysis.formatting import format_count, join_words
from analysis.manuscript.collect import SweepFacts
from analysis.manuscript.statements import Section, Statement
from analysis.reader.run_times import TimedRun
from fcos.storage.plan_history import PlanEntry
from fcos.storage.store_conventions import RunKind

# Sources of chance by the key that fixes each for all seeds.
SOURCES = {
    "seeds.weights": "the initial weights",
    "seeds.order": "the order of the training images",
    "seeds.augmentation": "the augmentation",
}
# Trials without a result that are listed one by one.
MOST_MISSING = 24
# Changes of the plan that are listed, of one entry.
MOST_CHANGES = 12


def describe_seeds(facts: SweepFacts) -> Section:
    """Return the seeds, what they set, and which gave no result."""
    sweep = facts.sweep
    seeds = sorted({trial.seed for trial in facts.finished})
    statements = [
        Statement(f"{format_count(len(seeds), 'seed')} finished: {join_words(seeds)}.", facts.finished_runs),
        Statement(describe_variation(facts), facts.finished_runs),
    ]
    if sweep.experiment.until == "decided":
        first = format_count(len(sweep.experiment.seeds), "seed")
        text = f"The rule: after {first} one more at a time, until each arm is decided or has the most seeds."
        statements.append(Statement(text, (sweep.run_id,)))
    for missing in facts.document.missing[:MOST_MISSING]:
        reason = f" ({facts.clean(missing.reason)})" if missing.reason else ""
        text = f"Without a result: {missing.arm} seed {missing.seed}, {describe_state(missing.state)}{reason}."
        statements.append(Statement(text, (missing.run_id or sweep.run_id,)))
    if (more := len(facts.document.missing) - MOST_MISSING) > 0:
        statements.append(Statement(f"{format_count(more, 'more trial')} without a result.", (sweep.run_id,)))
    return Section("Seeds", tuple(statements))


def describe_state(state: str) -> str:
    """Return the state of a trial without a result; one that never began may have been needed no more."""
    return "not trained" if state == "missing" else state


def describe_variation(facts: SweepFacts) -> str:
    """Return what differs from seed to seed, and what does not; sources that a setting fixes are named."""
    params = [trial.params for trial in facts.finished]
    fixed = [text for key, text in SOURCES.items() if any(each.get(key) is not None for each in params)]
    recorded = [key for key in SOURCES if all(key in each for each in params)]
    if len(recorded) < len(SOURCES):
        return "A seed sets the sources of chance of a training; which of them were fixed is not recorded."
    varying = [text for text in SOURCES.values() if text not in fixed]
    held = f"; {join_words(fixed)} stayed the same" if fixed else ""
    if not varying:
        return "All sources of chance were fixed: seeds are repeats of one training."
    return f"A seed sets {join_words(varying)}{held}; training and validation images are the same for all seeds."


def describe_statistics(facts: SweepFacts) -> Section:
    """Return how arms were compared: the lines on the method of the sweep's report."""
    lines = facts.document.content.method
    if not facts.document.content.comparisons:
        lines = ("Nothing is compared: there is no second arm, or no baseline.",)
    return Section("Statistics", tuple(Statement(line, facts.finished_runs) for line in lines))


def describe_plan(facts: SweepFacts) -> Section:
    """Return when the plan was fixed, and every change to it with its time and the results that there were by then."""
    own = (facts.sweep.run_id,)
    if facts.sweep.kind == RunKind.RUN:
        return Section("Plan", (Statement("It is a single run: there is no plan that could have changed.", own),))
    if facts.history is None:
        text = f"When the plan was fixed and whether it changed is not recorded: {facts.no_history}."
        return Section("Plan", (Statement(text, own), *_describe_looks(facts)))
    entries = facts.history.entries
    statements = [
        _describe_first(entries[0], own),
        *_describe_changes(entries, own),
        *_describe_looks(facts),
        *_find_contradictions(facts, entries),
    ]
    return Section("Plan", tuple(statements))


def is_fixed_before_results(facts: SweepFacts) -> bool | None:
    """Return whether the plan was made before any of its results and not changed after one; None where unknown."""
    if facts.history is None:
        return None
    return all(entry.finished == 0 and entry.finished_elsewhere == 0 for entry in facts.history.entries)


def _describe_first(entry: PlanEntry, own: tuple[str, ...]) -> Statement:
    arms = f"{format_count(len(entry.arms), 'arm')}, " if entry.arms else ""
    plan = f"{arms}{format_count(len(entry.seeds), 'seed')}, SHA-256 {entry.digest[:12]}"
    return Statement(f"The plan was recorded at {format_time(entry.time)} ({plan}), {_describe_results(entry)}.", own)


def _describe_results(entry: PlanEntry) -> str:
    """Return how many results there were when a plan was recorded."""
    if entry.finished:
        had = f"when {format_count(entry.finished, 'training')} of this sweep had a result"
    elif entry.begun:
        had = f"before the first result, when {format_count(entry.begun, 'training')} had begun"
    else:
        had = "before any of its trainings had begun"
    elsewhere = entry.finished_elsewhere
    known = f"; of {format_count(elsewhere, 'training')} another sweep had the result" if elsewhere else ""
    return had + known


def _describe_changes(entries: Sequence[PlanEntry], own: tuple[str, ...]) -> Iterator[Statement]:
    if len(entries) == 1:
        yield Statement("It did not change afterwards.", own)
        return
    after = sum(entry.finished > 0 for entry in entries[1:])
    if len(entries) == 2:
        yield Statement(f"It changed once, {'after' if after else 'before'} the first result.", own)
    else:
        yield Statement(f"It changed {len(entries) - 1} times, {after or 'none'} of these after the first result.", own)
    for entry in entries[1:]:
        lines = entry.changes
        more = f"; and {len(lines) - MOST_CHANGES} more" if len(lines) > MOST_CHANGES else ""
        listed = "; ".join(lines[:MOST_CHANGES])
        yield Statement(f"Changed at {format_time(entry.time)}, {_describe_results(entry)}: {listed}{more}.", own)


def _describe_looks(facts: SweepFacts) -> Iterator[Statement]:
    """Yield after how many seeds decisions were taken, which the test counts."""
    looks = facts.sweep.looks
    if looks:
        text = f"Decisions were taken after {join_words(looks)} seeds; the test counts each of these looks."
        yield Statement(text, (facts.sweep.run_id,))


def _find_contradictions(facts: SweepFacts, entries: Sequence[PlanEntry]) -> Iterator[Statement]:
    """Yield where the times of runs in the store contradict the history of the plan."""
    ends = [(run.ended, run) for run in facts.runs.values() if run.ended is not None and _is_own_result(run, facts)]
    for entry in entries:
        earlier = sorted((run for ended, run in ends if ended < entry.time), key=lambda run: run.run_id)
        if entry.finished == 0 and earlier:
            text = (
                f"The store contradicts that: of the plan of {format_time(entry.time)}, recorded before any result, "
                f"{format_count(len(earlier), 'training')} had ended by then."
            )
            yield Statement(text, tuple(run.run_id for run in earlier))


def _is_own_result(run: TimedRun, facts: SweepFacts) -> bool:
    """Return whether a run is a finished training of the sweep itself that counts."""
    is_trained_here = run.trained_by in ("", run.run_id) and not run.is_imported
    return is_trained_here and run.run_id in facts.finished_runs


def format_time(time: datetime) -> str:
    """Return a time to the minute, in UTC."""
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
