"""Content of a sweep's report, whatever the kind of sweep: tables, figures, verdicts, remarks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pandas as pd

from analysis.reader.coverage import CoverageCounts
from analysis.render.plots import DARK, LIGHT, Theme
from analysis.render.tables import Table
from analysis.sections.gallery import Gallery, to_data_uri
from analysis.sections.other_images import OtherImages
from analysis.sections.search.confirmation import Confirmation
from analysis.sections.search.front import Front
from analysis.stats.noise import SourceSum, ValidationNoise
from analysis.stats.verdicts import Verdict
from fcos.storage.noise_floor import NoiseFloor


@dataclass(frozen=True)
class Figure:
    """A figure for light and dark pages. light, dark: data URIs. wide: takes the whole width of the page."""

    title: str
    light: str
    dark: str
    caption: str
    wide: bool = False


def render_figure(title: str, caption: str, plot: Callable[[Theme], bytes]) -> Figure:
    """Render a plot as SVG in both themes."""
    light, dark = (to_data_uri(plot(theme), "image/svg+xml") for theme in (LIGHT, DARK))
    return Figure(title, light, dark, caption)


@dataclass(frozen=True)
class ReportContent:
    """What the report of a sweep shows.

    has_training: whether there are trainings, and so checkpoints. has_verdicts: whether arms are compared with a
    baseline, where there is one. values: the frame of table.csv. tables: the first is also shown on the console and in
    LaTeX. legend: how to read the tables. method, limitations: lines on how the numbers came about, and on what they do
    not show. recommended_settings: YAML to paste. findings: what was found, without a full stop. importance: of a
    search's keys, see analysis.stats.importance. coverage_counts: arm -> counts. noise: the content of noise.json, of a
    noise floor alone, as are source_sum, validation and resolutions; see analysis.stats.noise. other_images: None
    where nothing is compared, or for a single run. confirmation: of the winner of a search, None where it has none.
    front: of a search with several objectives.
    """

    has_training: bool
    values: pd.DataFrame
    tables: tuple[Table, ...]
    legend: str
    verdicts: tuple[Verdict, ...] = ()
    method: tuple[str, ...] = ()
    limitations: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    gallery: Gallery | None = None
    notes: tuple[str, ...] = ()
    recommended_settings: str | None = None
    has_verdicts: bool = True
    findings: tuple[str, ...] = ()
    noise: NoiseFloor | None = None
    importance: pd.DataFrame | None = None
    coverage_counts: Mapping[str, CoverageCounts] = field(default_factory=dict)
    source_sum: SourceSum | None = None
    validation: ValidationNoise | None = None
    resolutions: pd.DataFrame | None = None
    other_images: OtherImages | None = None
    confirmation: Confirmation | None = None
    front: Front | None = None
