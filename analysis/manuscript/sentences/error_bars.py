"""Sentences on error bars: n, what varies behind them, how they are computed, what they assume, what was shown."""

from collections.abc import Iterator

from analysis.formatting import join_words
from analysis.manuscript.collect import SweepFacts
from analysis.manuscript.sentences.design import describe_plan, describe_variation, is_fixed_before_results
from analysis.manuscript.statements import Statement
from fcos.storage.store_conventions import RunKind


def describe_error_bars(facts: SweepFacts) -> Iterator[Statement]:
    """Yield what the error bars of a sweep are, how its arms were tested, and when that was planned."""
    yield from _describe_spread(facts)
    if facts.document.content.comparisons:
        yield from _describe_tests(facts)
    if facts.sweep.kind != RunKind.RUN and (fixed := is_fixed_before_results(facts)) is not None:
        before = "" if fixed else "not "
        text = f"The plan was {before}fixed, in all of it, before its first result."
        yield Statement(text, (facts.sweep.run_id,))
    yield from describe_plan(facts).statements


def _describe_spread(facts: SweepFacts) -> Iterator[Statement]:
    runs = facts.finished_runs
    counts = [summary for summary in facts.record.summaries if summary.metric == facts.metric]
    listed = join_words([f"{summary.arm} {summary.n}" for summary in counts])
    yield Statement(f"n, the finished seeds of each arm: {listed}.", runs)
    if any(summary.n > 1 for summary in counts):
        yield Statement(
            "The number behind ± is one sample standard deviation of the seeds of an arm (divisor n - 1): neither a "
            "standard error nor an interval.",
            runs,
        )
    single = [summary.arm for summary in counts if summary.n == 1]
    if single:
        of_single = tuple(run for arm in single for run in facts.runs_of(arm))
        yield Statement(f"With one seed an arm has no spread, and none is given: {join_words(single)}.", of_single)
    yield Statement(f"What varies behind it: {describe_variation(facts)}", runs)
    rest = "other validation images of the kind, another split of the data, another machine or software"
    yield Statement(f"Not in it: {rest}.", runs)


def _describe_tests(facts: SweepFacts) -> Iterator[Statement]:
    runs = facts.finished_runs
    yield Statement(
        "Intervals of differences invert the test and need not be symmetric; each stands with its confidence, which is "
        "95 %, or more where several arms are corrected. Assumed are differences that are symmetric about their "
        "center, and no normal distribution.",
        runs,
    )
    for line in facts.document.content.method:
        yield Statement(line, runs)
    for verdict in facts.record.verdicts:
        yield Statement(f"{verdict.arm}: {verdict.text}.", runs)
