"""Rows of the table of results: arms of sweeps and effects of factors, with what the test of each sweep shows."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from analysis.formatting import format_confidence, format_count, format_interval, join_words
from analysis.manuscript.collect import SweepFacts
from analysis.manuscript.sentences.design import describe_state
from analysis.render.tables import make_caption
from analysis.report_json.comparison_records import ComparisonRecord
from analysis.report_json.comparisons import make_comparison_records
from analysis.report_json.schema import SummaryRecord
from fcos.metrics import better_end
from fcos.statistics.holm import FAMILY_LEVEL

DIRECTIONS = ("higher", "lower")


@dataclass(frozen=True)
class ResultRow:
    """An arm, or an effect of factors; numbers are those of report.json.

    summary: None for an effect. comparison: None for the baseline. is_sure: whether the test shows a direction.
    is_better: whether it shows the better one. arm_runs, pair_runs: behind the mean, and behind the difference.
    """

    name: str
    is_baseline: bool
    summary: SummaryRecord | None
    comparison: ComparisonRecord | None
    is_sure: bool
    is_better: bool
    arm_runs: tuple[str, ...]
    pair_runs: tuple[str, ...]


@dataclass(frozen=True)
class ResultBlock:
    """The rows of a sweep in its tested metric.

    pairs_noun: what an interval is a range of where they are too few. num_tests: that the test is corrected for.
    """

    sweep: str
    metric: str
    rows: tuple[ResultRow, ...]
    notes: tuple[str, ...]
    pairs_noun: str
    num_tests: int

    @property
    def title(self) -> str:
        """The sweep and its metric: `ablation: AP (val/AP), in percent`."""
        return f"{self.sweep}: {make_caption(self.metric)}"


def make_block(facts: SweepFacts) -> ResultBlock:
    """Return the rows of a sweep, and notes on seeds without a result."""
    metric, record = facts.metric, facts.record
    summaries = [summary for summary in record.summaries if summary.metric == metric]
    rows = [_make_row(facts, summary) for summary in summaries]
    if record.factorial is not None:
        rows += list(_make_effect_rows(facts))
    notes = list(_describe_missing(facts))
    if facts.document.state.startswith("still running"):
        notes.append(f"{facts.sweep.name} was still running: these are its numbers so far.")
    noun = "pairs"
    if record.factorial is not None:
        noun = "seeds"
        notes.append(f"Arms of {facts.sweep.name} are described alone; its effects of factors are tested.")
    return ResultBlock(facts.sweep.name, metric, tuple(rows), tuple(notes), noun, len(record.verdicts))


def _describe_missing(facts: SweepFacts) -> Iterator[str]:
    """Yield the seeds of each arm that have no result, with what became of them."""
    seeds: dict[tuple[str, str], list[int]] = {}
    for item in facts.record.missing:
        seeds.setdefault((item.arm, item.state), []).append(item.seed)
    for (arm, state), of_arm in seeds.items():
        noun = "seed" if len(of_arm) == 1 else "seeds"
        yield f"Without a result in {facts.sweep.name}: {arm}, {noun} {join_words(of_arm)} ({describe_state(state)})."


def _make_row(facts: SweepFacts, summary: SummaryRecord) -> ResultRow:
    arm, metric, record = summary.arm, summary.metric, facts.record
    comparisons = [each for each in record.comparisons if (each.metric, each.arm) == (metric, arm)]
    comparison = comparisons[0] if comparisons and comparisons[0].num_pairs else None
    outcomes = [each.outcome for each in record.verdicts if (each.metric, each.arm) == (metric, arm)]
    # The arms of factors are described alone: no verdict is theirs.
    outcome = outcomes[0] if outcomes and record.factorial is None else ""
    baseline = facts.sweep.experiment.baseline or ""
    return ResultRow(
        name=arm,
        is_baseline=arm == baseline,
        summary=summary,
        comparison=comparison,
        is_sure=outcome in DIRECTIONS,
        is_better=_is_better(outcome, metric),
        arm_runs=facts.runs_of(arm),
        pair_runs=_find_pair_runs(facts, arm, baseline),
    )


def _make_effect_rows(facts: SweepFacts) -> Iterator[ResultRow]:
    """Yield the tested effects of factors, whose verdicts are those of the sweep."""
    factorial = facts.document.content.factorial
    assert factorial is not None, "of an experiment with factors"
    outcomes = {verdict.arm: verdict.outcome for verdict in facts.record.verdicts}
    for result in factorial.effects:
        comparison = result.comparison
        if not comparison.is_tested or not comparison.num_pairs:
            continue
        outcome = outcomes.get(comparison.arm, "")
        yield ResultRow(
            name=f"effect: {comparison.arm}",
            is_baseline=False,
            summary=None,
            comparison=next(make_comparison_records([comparison])),
            is_sure=outcome in DIRECTIONS,
            is_better=_is_better(outcome, comparison.metric),
            arm_runs=(),
            pair_runs=tuple(trial.run_id for trial in facts.finished if trial.seed in result.sizes),
        )


def _is_better(outcome: str, metric: str) -> bool:
    return (outcome, better_end(metric)) in (("higher", "max"), ("lower", "min"))


def _find_pair_runs(facts: SweepFacts, arm: str, baseline: str) -> tuple[str, ...]:
    """Return the runs of the pairs behind an arm's difference, its own first."""
    compared = facts.document.content.comparisons
    seeds = {seed for each in compared if (each.metric, each.arm) == (facts.metric, arm) for seed in each.seeds}
    return (*facts.runs_of(arm, seeds), *facts.runs_of(baseline, seeds))


def format_interval_text(comparison: ComparisonRecord, noun: str) -> str:
    """Return an interval with its confidence, or the range of pairs that are too few for one; "" below two pairs."""
    metric = comparison.metric
    if comparison.num_pairs < 2:
        return ""
    low, high = comparison.low, comparison.high
    if low is None and high is None:
        smallest, largest = comparison.smallest, comparison.largest
        return f"{noun}: {format_interval(_number(smallest), _number(largest), metric)}"
    bounds = -math.inf if low is None else low, math.inf if high is None else high
    return f"{format_confidence(_number(comparison.level))}: {format_interval(*bounds, metric)}"


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def make_caption_text(blocks: tuple[ResultBlock, ...]) -> str:
    """Return what the numbers of the table are: spread, n, differences, intervals, correction, bold."""
    rows = [row for block in blocks for row in block.rows]
    counts = sorted({row.summary.n for row in rows if row.summary is not None})
    compared = [row for row in rows if row.comparison is not None]
    parts = []
    if max(counts, default=0) > 1:
        parts.append("Mean ± one sample standard deviation over n seeds (no standard error, no interval).")
    if min(counts, default=0) == 1:
        parts.append("With one seed there is no spread.")
    if compared:
        parts.append(
            "Differences to the baseline are paired by seed; intervals invert an exact sequential sign-flip test, at "
            "the confidence before each, or are the range of pairs that are too few for one; p is of the same test."
        )
        parts.append(_describe_correction(blocks))
        parts.append(
            "Bold differences are those whose direction that test shows; bold means are shown to be better than the "
            "baseline's."
        )
    return " ".join([*parts, *(note for block in blocks for note in block.notes)])


def _describe_correction(blocks: tuple[ResultBlock, ...]) -> str:
    family = f"{100 * FAMILY_LEVEL:.0f} %"
    tested = [block for block in blocks if block.num_tests]
    counts = [f"{format_count(block.num_tests, 'test')} in {block.sweep}" for block in tested]
    return f"Holm's procedure holds the chance of any false direction in a sweep at {family} ({join_words(counts)})."
