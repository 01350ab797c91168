"""The numbers of a noise floor as records of report.json."""

import math

import pandas as pd

from analysis.report_json.schema import (
    NoiseRecord,
    NoiseSpreadRecord,
    ResolutionRecord,
    SourceSumRecord,
    ValidationNoiseRecord,
)
from analysis.sections.content import ReportContent
from analysis.stats.noise import ValidationNoise


def make_noise_record(content: ReportContent) -> NoiseRecord:
    """Return spreads by arm, the sum of the sources and what numbers of seeds resolve."""
    total = content.source_sum
    return NoiseRecord(
        spreads=tuple(
            NoiseSpreadRecord(
                **{name: row[name] for name in NoiseSpreadRecord.model_fields if name != "sources"},
                sources=tuple(row["sources"].split()),
            )
            for row in content.values.to_dict("records")
        ),
        source_sum=None
        if total is None
        else SourceSumRecord(
            sources=total.sources,
            deviation=total.spread.deviation,
            low=total.spread.low,
            high=total.spread.high,
            share=total.share,
        ),
        validation=_make_validation(content.validation),
        resolutions=tuple(_make_resolutions(content.resolutions)),
    )


def _make_validation(validation: ValidationNoise | None) -> ValidationNoiseRecord | None:
    if validation is None:
        return None
    return ValidationNoiseRecord(
        deviation=math.sqrt(validation.variance), images=validation.images, resamples=validation.resamples
    )


def _make_resolutions(resolutions: pd.DataFrame | None) -> list[ResolutionRecord]:
    rows = [] if resolutions is None else resolutions.to_dict("records")
    return [ResolutionRecord(**{name: row[name] for name in ResolutionRecord.model_fields}) for row in rows]
