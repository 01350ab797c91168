"""Form of report.json: every number of a sweep's report with the run that it comes from.

The JSON schema in docs/report.schema.json is generated from these models: `python analysis/report.py --schema`.
"""

import json
from typing import Final, Literal

from pydantic import Field

from analysis.reader.coverage import AssignmentSettings, BoxHistogram
from analysis.report_json.comparison_records import (
    ComparisonRecord,
    OtherImagesRecord,
    PaperRowRecord,
    VerdictRecord,
)
from analysis.report_json.factorial_records import FactorialRecord
from analysis.report_json.noise_records import (
    NoiseRecord,
)
from analysis.report_json.record import Record
from analysis.report_json.search_records import (
    SearchRecord,
)
from fcos.storage.events import Number

SCHEMA_VERSION: Final = 1


class SweepRecord(Record):
    """The sweep, or the single run, that is reported. state: in words, as in report.html."""

    name: str
    run_id: str
    kind: str
    status: str
    state: str
    started: str = Field(description="ISO 8601, UTC")


class ExperimentRecord(Record):
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


class MetricRecord(Record):
    """A metric. Fractions are shown in percent by report.html, other values as they are."""

    name: str
    unit: Literal["fraction", "as logged"]


class ValueRecord(Record):
    """Final value of a metric of one arm and seed; null without a finished run that logged it."""

    metric: str
    arm: str
    seed: int
    value: Number
    step: int | None
    run_id: str = Field(description="empty where the trial never started")
    status: str = Field(description="of the run: FINISHED, RUNNING, FAILED, KILLED, or MISSING without a run")
    failure: str


class SummaryRecord(Record):
    """Values of an arm over its seeds. deviation: of a sample."""

    metric: str
    arm: str
    n: int
    mean: Number
    deviation: Number
    missing_seeds: tuple[int, ...]


class CurveRecord(Record):
    """Logged history of a metric of one run."""

    metric: str
    arm: str
    seed: int
    run_id: str
    steps: tuple[int, ...]
    values: tuple[Number, ...]


class CoverageRecord(Record):
    """Counts of one arm without training. difference: of the first metric to the baseline."""

    arm: str
    run_id: str
    difference: Number
    verdict: str
    levels: tuple[int, ...] | None
    assignment: AssignmentSettings | None
    longest_side: BoxHistogram | None
    metrics: dict[str, Number]


class MissingRecord(Record):
    """A planned trial without a result. run_id: empty where it never started."""

    arm: str
    seed: int
    state: str
    reason: str
    run_id: str


class ProvenanceRecord(Record):
    """What the result of a run was made from; empty for what it does not record.

    laboratory, archive: of a run that was imported, or published by name.
    """

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
    laboratory: str
    archive: str


class VersionsRecord(Record):
    """Package versions that some trials ran with."""

    trials: str
    packages: dict[str, str]


class ReportRecord(Record):
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
