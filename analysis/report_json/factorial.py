"""Effects of factors as records of report.json."""

import math

from analysis.report_json.factorial_records import AliasRecord, EffectRecord, FactorialRecord
from analysis.sections.content import FactorialContent
from analysis.stats.factorial.effects import EffectResult
from fcos.statistics.aliases import list_aliases
from fcos.statistics.factorial import FactorialDesign


def make_factorial_record(content: FactorialContent) -> FactorialRecord:
    """Return the record of a design and its effects."""
    design = content.design
    return FactorialRecord(
        factors={factor.name: factor.levels for factor in design.factors},
        cells=dict(zip(design.arms, design.cells, strict=True)),
        generators=design.generators,
        resolution=design.resolution,
        claimed_effects=design.claimed,
        effects=tuple(_make_effect_record(result, design) for result in content.effects),
    )


def _make_effect_record(result: EffectResult, design: FactorialDesign) -> EffectRecord:
    comparison = result.comparison
    has_p = comparison.is_tested and comparison.num_pairs > 0
    return EffectRecord(
        metric=comparison.metric,
        effect=result.effect.name,
        levels=dict(result.effect.levels),
        is_tested=comparison.is_tested,
        difference=comparison.difference,
        low=comparison.test.low,
        high=comparison.test.high,
        level=comparison.test.level,
        p=comparison.test.p if has_p else math.nan,
        adjusted_p=comparison.test.adjusted_p if has_p else math.nan,
        sizes=dict(result.sizes),
        aliases=tuple(
            AliasRecord(factors=alias.name, coefficient=alias.coefficient)
            for alias in list_aliases(design, result.effect)
        ),
    )
