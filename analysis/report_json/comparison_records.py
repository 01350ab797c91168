"""Records of report.json on comparisons: differences of arms, their verdicts, and the rows of papers."""

from analysis.report_json.record import Record
from analysis.stats.verdicts import Agreement
from fcos.statistics.outcomes import Outcome
from fcos.storage.events import Number


class ComparisonRecord(Record):
    """Difference of an arm to the baseline, paired by seed.

    low, high: ends of the interval of confidence 1 - level, null where the pairs do not bound it. p, adjusted_p: null
    for metrics that are described and not tested. smallest, largest: of the pairs. correlation, seeds_replaced: what
    pairing gains, see docs/reports.md.
    """

    metric: str
    arm: str
    difference: Number
    low: Number
    high: Number
    level: Number
    p: Number
    adjusted_p: Number
    smallest: Number
    largest: Number
    num_pairs: int
    num_higher: int
    correlation: Number
    seeds_replaced: Number


class OtherImagesRecord(Record):
    """Difference of an arm to the baseline, with its interval for other seeds and other images of this kind.

    seeds: those with a saved evaluation in both arms. difference: the mean over these. low, high: at the confidence of
    the comparison's interval, null where too few seeds or images give none. image_share: share of the squared standard
    error that images add.
    """

    metric: str
    arm: str
    seeds: tuple[int, ...]
    difference: Number
    low: Number
    high: Number
    image_share: Number


class PaperVerdictRecord(Record):
    """Our difference beside that of the same two rows in one table of a paper."""

    source: str
    difference: Number
    agreement: Agreement
    text: str


class VerdictRecord(Record):
    """What an arm shows against the baseline."""

    metric: str
    arm: str
    outcome: Outcome
    text: str
    papers: tuple[PaperVerdictRecord, ...]


class PaperRowRecord(Record):
    """A row of a paper that arms stand for. metrics: fractions for what is printed in percent."""

    id: str
    arxiv: str
    table: str
    label: str
    setting: str
    metrics: dict[str, Number]
    arms: tuple[str, ...]
