"""Records of report.json on an experiment with factors."""

from analysis.report_json.record import Record
from fcos.storage.events import Number


class AliasRecord(Record):
    """An effect that a fraction adds to another one, so many times. factors: joined by *."""

    factors: str
    coefficient: float


class EffectRecord(Record):
    """Effect of factors in a metric; see docs/reports.md. levels: factor -> level, held against its first one.

    is_tested: whether it is of the family that is tested. sizes: by seed, in the unit of the metric. low, high: at the
    confidence 1 - level, null where the seeds do not bound it. p, adjusted_p: null for what is described alone.
    """

    metric: str
    effect: str
    levels: dict[str, str]
    is_tested: bool
    difference: Number
    low: Number
    high: Number
    level: Number
    p: Number
    adjusted_p: Number
    sizes: dict[int, float]
    aliases: tuple[AliasRecord, ...]


class FactorialRecord(Record):
    """Design of an experiment with factors, and their effects.

    factors: name -> levels, the baseline's first. cells: arm -> its levels in the order of the factors. generators,
    resolution: of a fraction.
    """

    factors: dict[str, tuple[str, ...]]
    cells: dict[str, tuple[str, ...]]
    generators: tuple[str, ...]
    resolution: str
    claimed_effects: tuple[str, ...]
    effects: tuple[EffectRecord, ...]
