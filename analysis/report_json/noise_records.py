"""Records of report.json on a noise floor."""

from analysis.report_json.record import Record
from fcos.storage.events import Number


class NoiseSpreadRecord(Record):
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


class SourceSumRecord(Record):
    """Square root of the summed variances of single sources of the first metric, and its share of all variance."""

    sources: tuple[str, ...]
    deviation: Number
    low: Number
    high: Number
    share: Number


class ValidationNoiseRecord(Record):
    """Standard deviation that other validation images of this kind would add to the first metric of one training."""

    deviation: Number
    images: int
    resamples: int


class ResolutionRecord(Record):
    """What the difference of two means over so many paired seeds resolves, null where nothing does."""

    seeds: int
    t: Number
    counts_from: Number
    shows: Number
    shows_low: Number
    shows_high: Number


class NoiseRecord(Record):
    """A noise floor: the baseline beside itself. noise.json has it in the form that dry runs read."""

    spreads: tuple[NoiseSpreadRecord, ...]
    source_sum: SourceSumRecord | None
    validation: ValidationNoiseRecord | None
    resolutions: tuple[ResolutionRecord, ...]
