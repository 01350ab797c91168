"""Table of the effects of factors in one metric."""

from collections.abc import Sequence
from functools import partial

from analysis.formatting import MISSING, format_difference
from analysis.render.tables import Column, Table, format_interval_cell, format_p_cell, make_caption
from analysis.stats.comparison import collect_comparisons
from analysis.stats.factorial.effects import EffectResult
from fcos.statistics.factorial import FactorialDesign


def make_effect_table(effects: Sequence[EffectResult], metric: str, factorial: FactorialDesign) -> Table:
    """Return a row for each effect in a metric."""
    of_metric = [result for result in effects if result.comparison.metric == metric]
    frame = collect_comparisons([result.comparison for result in of_metric])
    frame["aliases"] = [result.aliases or MISSING for result in of_metric]
    aliases = [Column("aliased with", "aliases", lambda row: str(row["aliases"]), "left")]
    columns = [
        Column("effect", "arm", lambda row: str(row["arm"]), "left"),
        Column("size", "difference", lambda row: format_difference(row["difference"], metric)),
        Column("interval", "low", partial(format_interval_cell, noun="seeds")),
        Column("seeds", "num_pairs", lambda row: str(row["num_pairs"])),
        Column("p", "adjusted_p", format_p_cell),
        *(aliases if factorial.relation else []),
    ]
    return Table(f"Effects on {make_caption(metric)}", frame, columns)
