"""The winner of a search against the starting point, over seeds by which it was not chosen."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.formatting import format_count, format_difference, format_number, shorten_metric
from analysis.reader.sweep import Search, Sweep, Trial
from analysis.render.tables import Table, collect_results, make_caption, make_result_columns
from analysis.stats.comparison import Comparison, ComparisonDesign, compare_arms
from analysis.stats.paired import collect_final_values, summarise
from analysis.stats.verdicts import Verdict, describe_outcome, make_verdict
from fcos.storage.store_conventions import BASE_ARM


@dataclass(frozen=True)
class Confirmation:
    """What the winner is worth.

    search_value: its mean over the seeds of the search. value: over those that the search did not see. comparison: with
    the starting point over the same, None where the winner is the starting point. earlier: those of the winners of
    earlier commands, with which it is corrected: each of them was a chance of a false verdict.
    """

    winner: str
    metric: str
    search_seeds: int
    search_value: float
    seeds: tuple[int, ...]
    value: float
    table: Table
    design: ComparisonDesign
    comparison: Comparison | None
    verdict: Verdict | None
    earlier: tuple[Comparison, ...]

    @property
    def gap(self) -> float:
        """What choosing the best by its own numbers added to them (winner's curse), an estimate from a few seeds."""
        return self.search_value - self.value

    @property
    def findings(self) -> tuple[str, ...]:
        """The gap in words, and what the winners of earlier commands showed."""
        name = shorten_metric(self.metric)
        gap = (
            f"{self.winner}: {name} {format_number(self.value, self.metric)} over "
            f"{format_count(len(self.seeds), 'seed')} that the search did not see; the "
            f"{format_number(self.search_value, self.metric)} over {format_count(self.search_seeds, 'seed')} by which "
            f"it was chosen differ by {format_difference(self.gap, self.metric)} (winner's curse)"
        )
        return (gap, *(f"{each.arm}, an earlier winner: {describe_outcome(each, BASE_ARM)}" for each in self.earlier))


def build_confirmation(sweep: Sweep, search: Search, search_value: float) -> Confirmation | None:
    """Compare the winner with the starting point; None before the winner has a value of other seeds.

    search_value: the winner's mean over the seeds of the search.
    """
    winner = sweep.winner
    if winner is None:
        return None
    orders, values = _collect_values(sweep, search, winner)
    of_winner = values[(values["arm"] == winner) & values["value"].notna()]
    if of_winner.empty:
        return None
    margin = sweep.experiment.margin / 100
    design = ComparisonDesign(BASE_ARM, search.metric, orders[winner], sweep.looks, margin, own_seeds=orders)
    comparisons = compare_arms(values, design if BASE_ARM in set(values["arm"]) else None)
    comparison = next((each for each in comparisons if each.arm == winner), None)
    frame = collect_results(values, summarise(values), comparisons, BASE_ARM, {})
    return Confirmation(
        winner=winner,
        metric=search.metric,
        search_seeds=sum(trial.arm == winner and trial.seed in sweep.experiment.seeds for trial in sweep.finished),
        search_value=search_value,
        seeds=tuple(int(seed) for seed in of_winner["seed"]),
        value=float(of_winner["value"].mean()),
        table=Table(f"Confirmed: {make_caption(search.metric)}", frame, make_result_columns(frame)),
        design=design,
        comparison=comparison,
        verdict=None if comparison is None else make_verdict(comparison, BASE_ARM, {}, ()),
        earlier=tuple(each for each in comparisons if each.arm != winner),
    )


def _collect_values(sweep: Sweep, search: Search, winner: str) -> tuple[Mapping[str, tuple[int, ...]], pd.DataFrame]:
    """Return arm -> the seeds that the search did not see, and the values over them of all that was compared.

    These are the starting point, the winner, and each other point that has a pair with the starting point: it led the
    search in an earlier command. Columns: see analysis.stats.paired.collect_final_values.
    """
    searched = {*sweep.experiment.seeds, *search.all_seeds}
    trials = [trial for trial in sweep.current if trial.seed not in searched]
    begun = {trial.seed for trial in trials if trial.arm in (winner, BASE_ARM)}
    seeds = [seed for seed in sweep.seeds if seed in begun]
    trials = [trial for trial in trials if trial.seed in begun]
    values = collect_final_values(trials, sweep.points, [search.metric], list(dict.fromkeys([BASE_ARM, winner])), seeds)
    found = values[values["value"].notna()]
    is_paired = found["seed"].isin(found.loc[found["arm"] == BASE_ARM, "seed"])
    arms = {BASE_ARM, winner, *found.loc[is_paired, "arm"]}
    # A seed that one of them lacks was not planned for it.
    return _order_seeds(arms, trials, seeds), values[values["arm"].isin(arms) & values["status"].ne("MISSING")]


def _order_seeds(arms: Collection[str], trials: Sequence[Trial], seeds: Sequence[int]) -> Mapping[str, tuple[int, ...]]:
    """Return arm -> the seeds in the order in which they were begun, as the looks at that arm are counted.

    Those that it lacks come last, as they were in none of these.
    """
    own = {arm: {trial.seed for trial in trials if trial.arm == arm} for arm in arms}
    return {
        arm: (*(seed for seed in seeds if seed in of_arm), *(seed for seed in seeds if seed not in of_arm))
        for arm, of_arm in own.items()
    }
