"""The numbers of a noise floor as records of report.json."""

import math

from analysis.report_json.noise_records import (
    NoiseRecord,
    NoiseSpreadRecord,
    ResolutionRecord,
    SourceSumRecord,
    ValidationNoiseRecord,
)
from analysis.sections.content import ReportContent
from analysis.stats.noise import ArmNoise, SourceSum, ValidationNoise


def make_noise_record(content: ReportContent) -> NoiseRecord:
    """Return spreads by arm, the sum of the sources and what numbers of seeds resolve."""
    return NoiseRecord(
        spreads=tuple(_make_spread(noise) for noise in content.noises),
        source_sum=_make_source_sum(content.source_sum),
        validation=_make_validation(content.validation),
        resolutions=tuple(ResolutionRecord(**vars(item)) for item in content.resolutions),
    )


def _make_spread(noise: ArmNoise) -> NoiseSpreadRecord:
    return NoiseSpreadRecord(
        metric=noise.metric,
        arm=noise.arm,
        sources=noise.sources,
        n=noise.n,
        mean=noise.mean,
        deviation=None if noise.spread is None else noise.spread.deviation,
        low=None if noise.spread is None else noise.spread.low,
        high=None if noise.spread is None else noise.spread.high,
        share=noise.share,
    )


def _make_source_sum(total: SourceSum | None) -> SourceSumRecord | None:
    if total is None:
        return None
    return SourceSumRecord(
        sources=total.sources,
        deviation=total.spread.deviation,
        low=total.spread.low,
        high=total.spread.high,
        share=total.share,
    )


def _make_validation(validation: ValidationNoise | None) -> ValidationNoiseRecord | None:
    if validation is None:
        return None
    return ValidationNoiseRecord(
        deviation=math.sqrt(validation.variance), images=validation.images, resamples=validation.resamples
    )
