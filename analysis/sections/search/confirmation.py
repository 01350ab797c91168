"""The winner of a search against the starting point, over seeds by which it was not chosen."""

from dataclasses import dataclass

from analysis.formatting import format_count, format_difference, format_number, shorten_metric
from analysis.reader.sweep import Search, Sweep
from analysis.render.tables import Table, collect_results, make_caption, make_result_columns
from analysis.stats.comparison import Comparison, ComparisonDesign, compare_arms
from analysis.stats.paired import collect_final_values, summarise
from analysis.stats.verdicts import Verdict, make_verdict
from fcos.storage.store_conventions import BASE_ARM


@dataclass(frozen=True)
class Confirmation:
    """What the winner is worth.

    search_value: its mean over the seeds of the search. value: over those that the search did not see. comparison: with
    the starting point over the same, None where the winner is the starting point.
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

    @property
    def gap(self) -> float:
        """What choosing the best by its own numbers added to them (winner's curse), an estimate from a few seeds."""
        return self.search_value - self.value

    @property
    def finding(self) -> str:
        """The gap in words."""
        name = shorten_metric(self.metric)
        return (
            f"{self.winner}: {name} {format_number(self.value, self.metric)} over "
            f"{format_count(len(self.seeds), 'seed')} that the search did not see; the "
            f"{format_number(self.search_value, self.metric)} over {format_count(self.search_seeds, 'seed')} by which "
            f"it was chosen differ by {format_difference(self.gap, self.metric)} (winner's curse)"
        )


def build_confirmation(sweep: Sweep, search: Search, search_value: float) -> Confirmation | None:
    """Compare the winner with the starting point; None before the winner has a value of other seeds.

    search_value: the winner's mean over the seeds of the search.
    """
    winner = sweep.winner
    searched = {*sweep.experiment.seeds, *search.all_seeds}
    trials = [t for t in sweep.current if t.seed not in searched and t.arm in (winner, BASE_ARM)]
    # In the order in which they were begun, as the looks are counted.
    seeds = tuple(seed for seed in sweep.seeds if any(trial.seed == seed for trial in trials))
    arms = [arm for arm in (BASE_ARM, winner) if any(trial.arm == arm for trial in trials)]
    values = collect_final_values(trials, sweep.points, [search.metric], [str(arm) for arm in arms], seeds)
    of_winner = values[(values["arm"] == winner) & values["value"].notna()]
    if winner is None or of_winner.empty:
        return None
    design = ComparisonDesign(BASE_ARM, search.metric, seeds, sweep.looks, sweep.experiment.margin / 100)
    comparisons = compare_arms(values, design if BASE_ARM in arms else None)
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
        comparison=comparisons[0] if comparisons else None,
        verdict=make_verdict(comparisons[0], BASE_ARM, {}, ()) if comparisons else None,
    )
