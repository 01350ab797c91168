"""Counts of a coverage run, from its artifact coverage.json."""

from pydantic import BaseModel, ConfigDict, ValidationError

from analysis.reader.client import StoreError, extract_reason, read_artifact
from fcos.storage.store_conventions import Artifact

# Lower and upper end in pixels; None is unbounded.
LevelRange = tuple[float, float | None]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class AssignmentSettings(_Record):
    """Settings of an assignment, those that reports need."""

    kind: str = "fcos"
    # One for each level.
    ranges: list[LevelRange]
    center_sampling_radius: float | None


class CoverageSettings(_Record):
    """What a coverage run counts for, and the weights of its objective."""

    assignment: str
    ambiguity_weight: float
    evenness_weight: float


class BoxHistogram(_Record):
    """Boxes by their longest side in pixels: `ends` are the edges of the bins, one more than `boxes`."""

    ends: list[float]
    boxes: list[int]


class CoverageCounts(_Record):
    """Result of a coverage run. metrics: name -> value. config_block: the settings as YAML."""

    levels: list[int]
    assignment: AssignmentSettings
    coverage: CoverageSettings
    metrics: dict[str, float]
    longest_side: BoxHistogram
    config_block: str


def read_coverage(uri: str, run_id: str) -> CoverageCounts | None:
    """Read the counts of a run, None where they cannot be fetched; raises StoreError for a file of another form."""
    content = read_artifact(uri, run_id, Artifact.COVERAGE_COUNTS)
    if content is None:
        return None
    try:
        return CoverageCounts.model_validate_json(content)
    except ValidationError as error:
        raise StoreError(f"{Artifact.COVERAGE_COUNTS} of run {run_id}: {extract_reason(error)}") from error
