"""Content of a sweep's report, whatever the kind of sweep: tables, figures, verdicts, remarks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import pandas as pd

from analysis.reader.coverage import CoverageCounts
from analysis.render.plots import DARK, LIGHT, Theme
from analysis.render.tables import Table
from analysis.sections.gallery import Gallery, to_data_uri
from analysis.sections.other_images import OtherImages
from analysis.sections.search.confirmation import Confirmation
from analysis.sections.search.front import Front
from analysis.stats.comparison import Comparison
from analysis.stats.factorial.effects import EffectResult
from analysis.stats.noise import ArmNoise, ResolvedDifference, SourceSum, ValidationNoise
from analysis.stats.verdicts import Verdict
from fcos.statistics.factorial import FactorialDesign
from fcos.storage.noise_floor import NoiseFloor

Kind = Literal["comparison", "search", "noise_floor", "coverage"]


@dataclass(frozen=True)
class Figure:
    """A figure for light and dark pages, drawn where a page shows it: a table is printed before.

    draw: returns a data URI. wide: takes the whole width of the page.
    """

    title: str
    caption: str
    draw: Callable[[Theme], str]
    wide: bool = False

    @cached_property
    def light(self) -> str:
        return self.draw(LIGHT)

    @cached_property
    def dark(self) -> str:
        return self.draw(DARK)

    @classmethod
    def of_plot(cls, title: str, caption: str, plot: Callable[[Theme], bytes]) -> "Figure":
        """Return a figure of a plot as SVG."""
        return cls(title, caption, lambda theme: to_data_uri(plot(theme), "image/svg+xml"))

    @classmethod
    def of_picture(cls, title: str, caption: str, uri: str) -> "Figure":
        """Return a figure of a picture that is the same on all pages, over their whole width."""
        return cls(title, caption, lambda theme: uri, wide=True)


@dataclass(frozen=True)
class FactorialContent:
    """The design of an experiment with factors, and their effects in every metric."""

    design: FactorialDesign
    effects: tuple[EffectResult, ...]


@dataclass(frozen=True)
class ReportContent:
    """What the report of a sweep shows.

    kind: comparison of trainings (of one alone too), search, noise floor, or coverage without training. has_training:
    whether there are trainings, and so checkpoints. values: the frame of table.csv. tables: the first is also shown on
    the console and in LaTeX. legend: how to read the tables. comparisons: of the arms with the baseline. method,
    limitations: lines on how the numbers came about, and on what they do not show. recommended_settings: YAML to paste.
    findings: what was found, without a full stop. importance: of a search's keys, see analysis.stats.importance.
    coverage_counts: arm -> counts. noise: the content of noise.json, of a noise floor alone, as are noises, source_sum,
    validation and resolutions; see analysis.stats.noise. other_images: None where nothing is compared, or for a single
    run. factorial: of an experiment with factors alone. confirmation: of the winner of a search, None where it
    has none. front: of a search with several objectives. shown_arms: see analysis.sections.shown_arms, of comparisons
    alone.
    """

    kind: Kind
    has_training: bool
    values: pd.DataFrame
    tables: tuple[Table, ...]
    legend: str
    comparisons: tuple[Comparison, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    method: tuple[str, ...] = ()
    limitations: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    gallery: Gallery | None = None
    notes: tuple[str, ...] = ()
    recommended_settings: str | None = None
    findings: tuple[str, ...] = ()
    noise: NoiseFloor | None = None
    noises: tuple[ArmNoise, ...] = ()
    importance: pd.DataFrame | None = None
    coverage_counts: Mapping[str, CoverageCounts] = field(default_factory=dict)
    source_sum: SourceSum | None = None
    validation: ValidationNoise | None = None
    resolutions: tuple[ResolvedDifference, ...] = ()
    other_images: OtherImages | None = None
    factorial: FactorialContent | None = None
    confirmation: Confirmation | None = None
    front: Front | None = None
    shown_arms: tuple[str, ...] = ()
