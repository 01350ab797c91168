"""What a sweep has to say, whatever it did: tables, figures, words."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from analysis.render.plots import DARK, LIGHT, Theme
from analysis.render.tables import Table
from analysis.sections.gallery import Gallery, data_uri
from analysis.stats.verdicts import Verdict


@dataclass(frozen=True)
class Figure:
    """light and dark are data URIs; a wide one takes the whole width of the page."""

    title: str
    light: str
    dark: str
    caption: str
    wide: bool = False


def drawn(title: str, caption: str, draw: Callable[[Theme], bytes]) -> Figure:
    """A figure drawn for each theme as SVG."""
    light, dark = (data_uri(draw(theme), "image/svg+xml") for theme in (LIGHT, DARK))
    return Figure(title, light, dark, caption)


@dataclass(frozen=True)
class Findings:
    """values is what table.csv holds; the first table is the one for the console and for LaTeX.

    trains: whether there is training behind it, and so checkpoints. compares: whether arms are held against a baseline,
    which gives verdicts. legend: how to read the tables.
    shows and cannot: what the tables allow to say, and what they do not. advice: settings to paste, as YAML.
    """

    trains: bool
    values: pd.DataFrame
    tables: tuple[Table, ...]
    legend: str
    verdicts: tuple[Verdict, ...] = ()
    shows: tuple[str, ...] = ()
    cannot: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = ()
    gallery: Gallery | None = None
    notes: tuple[str, ...] = ()
    advice: str | None = None
    compares: bool = True
