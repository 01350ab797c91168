"""Form of report.json: every number of a sweep's report with the run that it comes from.

The JSON schema in docs/report.schema.json is generated from these models: `python analysis/report.py --schema`.
"""

import json
import math
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from analysis.reader.coverage import AssignmentSettings, BoxHistogram
from analysis.reader.sweep import Distribution
from analysis.stats.verdicts import Agreement
from fcos.statistics.outcomes import Outcome

SCHEMA_VERSION: Final = 1


def _to_finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


# JSON has no NaN and no infinities: both are null.
Number = Annotated[float | None, BeforeValidator(_to_finite)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_serialization_defaults_required=True)


class SweepRecord(_Record):
    """The sweep, or the single run, that is reported. state: in words, as in report.html."""

    name: str
    run_id: str
    kind: str
    status: str
    state: str
    started: str = Field(description="ISO 8601, UTC")


class ExperimentRecord(_Record):
    """What the sweep set out to compare; the settings of the arms are in config.json of their runs.

    margin: the largest difference that does not matter, a fraction; of average precision and recall alone. looks: after
    how many seeds decisions were taken; empty for one look at all.
    """

    name: str
    claim: str | None
    baseline: str | None
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    margin: float
    looks: tuple[int, ...]


class MetricRecord(_Record):
    """A metric. Fractions are shown in percent by report.html, other values as they are."""

    name: str
    unit: Literal["fraction", "as logged"]


class ValueRecord(_Record):
    """Final value of a metric of one arm and seed; null without a finished run that logged it."""

    metric: str
    arm: str
    seed: int
    value: Number
    step: int | None
    run_id: str = Field(description="empty where the trial never started")
    status: str = Field(description="of the run: FINISHED, RUNNING, FAILED, KILLED, or MISSING without a run")
    failure: str


class SummaryRecord(_Record):
    """Values of an arm over its seeds. deviation: of a sample."""

    metric: str
    arm: str
    n: int
    mean: Number
    deviation: Number
    missing_seeds: tuple[int, ...]


class ComparisonRecord(_Record):
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


class OtherImagesRecord(_Record):
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


class PaperVerdictRecord(_Record):
    """Our difference beside that of the same two rows in one table of a paper."""

    source: str
    difference: Number
    agreement: Agreement
    text: str


class VerdictRecord(_Record):
    """What an arm shows against the baseline."""

    metric: str
    arm: str
    outcome: Outcome
    text: str
    papers: tuple[PaperVerdictRecord, ...]


class PaperRowRecord(_Record):
    """A row of a paper that arms stand for. metrics: fractions for what is printed in percent."""

    id: str
    arxiv: str
    table: str
    label: str
    setting: str
    metrics: dict[str, Number]
    arms: tuple[str, ...]


class CurveRecord(_Record):
    """Logged history of a metric of one run."""

    metric: str
    arm: str
    seed: int
    run_id: str
    steps: tuple[int, ...]
    values: tuple[Number, ...]


class PointRecord(_Record):
    """One point of a search. settings: dotted key -> sampled value. number: its turn.

    value: mean over its seeds of the search, deviation: of a sample. run_id: of its first seed.
    """

    trial: str
    run_id: str
    number: int
    state: str
    step: int | None
    value: Number
    deviation: Number
    num_seeds: int
    settings: dict[str, Any]


class ImportanceRecord(_Record):
    """Share of a key in the variation of a search's metric."""

    key: str
    importance: Number


class FrontRecord(_Record):
    """A point of a search with several objectives. is_front: no other is as good in all and better in one.

    means, deviations: by objective, over the seeds of the search. share: of resampled seeds in which it is on the
    front, null below two seeds that all points have.
    """

    trial: str
    is_front: bool
    num_seeds: int
    share: Number
    means: dict[str, Number]
    deviations: dict[str, Number]


class ConfirmationRecord(_Record):
    """The winner of a search over seeds that the search did not see.

    gap: search_value minus value (winner's curse). comparison: with the starting point, null where that leads itself.
    """

    winner: str
    seeds: tuple[int, ...]
    value: Number
    num_search_seeds: int
    search_value: Number
    gap: Number
    comparison: ComparisonRecord | None


class SearchRecord(_Record):
    """A search: its space, its trainings best first, and the importance of the keys."""

    metric: str
    mode: str
    trials: int
    searcher: str | None
    early_stopping: str
    space: dict[str, Distribution]
    points: tuple[PointRecord, ...]
    importance: tuple[ImportanceRecord, ...]
    confirmation: ConfirmationRecord | None
    objectives: dict[str, str] = Field(description="metric -> max or min; empty for a search with one metric")
    front: tuple[FrontRecord, ...]


class CoverageRecord(_Record):
    """Counts of one arm without training. difference: of the first metric to the baseline."""

    arm: str
    run_id: str
    difference: Number
    verdict: str
    levels: tuple[int, ...] | None
    assignment: AssignmentSettings | None
    longest_side: BoxHistogram | None
    metrics: dict[str, Number]


class NoiseSpreadRecord(_Record):
    """Sample standard deviation of one training over seeds, with its 95 % interval. sources: what the seeds vary."""

    metric: str
    arm: str
    sources: tuple[str, ...]
    n: int
    mean: Number
    deviation: Number
    low: Number
    high: Number
    share: Number


class SourceSumRecord(_Record):
    """Square root of the summed variances of single sources of the first metric, and its share of all variance."""

    sources: tuple[str, ...]
    deviation: Number
    low: Number
    high: Number
    share: Number


class ValidationNoiseRecord(_Record):
    """Standard deviation that other validation images of this kind would add to the first metric of one training."""

    deviation: Number
    images: int
    resamples: int


class ResolutionRecord(_Record):
    """What the difference of two means over so many paired seeds resolves, null where nothing does."""

    seeds: int
    t: Number
    counts_from: Number
    shows: Number
    shows_low: Number
    shows_high: Number


class NoiseRecord(_Record):
    """A noise floor: the baseline beside itself. noise.json has it in the form that dry runs read."""

    spreads: tuple[NoiseSpreadRecord, ...]
    source_sum: SourceSumRecord | None
    validation: ValidationNoiseRecord | None
    resolutions: tuple[ResolutionRecord, ...]


class AliasRecord(_Record):
    """An effect that a fraction adds to another one, so many times. factors: joined by *."""

    factors: str
    coefficient: float


class EffectRecord(_Record):
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


class FactorialRecord(_Record):
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


class MissingRecord(_Record):
    """A planned trial without a result. run_id: empty where it never started."""

    arm: str
    seed: int
    state: str
    reason: str
    run_id: str


class ProvenanceRecord(_Record):
    """What the result of a run was made from; empty for what it does not record."""

    arm: str
    seed: int
    status: str
    run_id: str
    superseded: bool
    trained_by: str
    git_commit: str
    git_dirty: bool
    data: str
    data_digest: str
    identity: str
    hardware: str
    checkpoint_sha256: str
    workers: str


class VersionsRecord(_Record):
    """Package versions that some trials ran with."""

    trials: str
    packages: dict[str, str]


class ReportRecord(_Record):
    """All numbers of a sweep's report, unrounded, each with the id of its MLflow run."""

    schema_version: Literal[1] = SCHEMA_VERSION
    sweep: SweepRecord
    experiment: ExperimentRecord
    metrics: tuple[MetricRecord, ...]
    values: tuple[ValueRecord, ...]
    summaries: tuple[SummaryRecord, ...]
    comparisons: tuple[ComparisonRecord, ...]
    other_images: tuple[OtherImagesRecord, ...]
    verdicts: tuple[VerdictRecord, ...]
    paper_rows: tuple[PaperRowRecord, ...]
    curves: tuple[CurveRecord, ...]
    search: SearchRecord | None
    coverage: tuple[CoverageRecord, ...]
    noise: NoiseRecord | None
    factorial: FactorialRecord | None
    missing: tuple[MissingRecord, ...]
    provenance: tuple[ProvenanceRecord, ...]
    versions: tuple[VersionsRecord, ...]
    legend: str
    method: tuple[str, ...]
    limitations: tuple[str, ...]
    findings: tuple[str, ...]
    notes: tuple[str, ...]


def make_schema_text() -> str:
    """Return the JSON schema of report.json."""
    schema = ReportRecord.model_json_schema(mode="serialization")
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
    return json.dumps(schema, indent=1) + "\n"
