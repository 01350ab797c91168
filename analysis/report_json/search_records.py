"""Records of report.json on a search: its points, importance of the keys, front and confirmation."""

from typing import Any

from pydantic import Field

from analysis.reader.sweep import Distribution
from analysis.report_json.comparison_records import ComparisonRecord
from analysis.report_json.record import Record
from fcos.storage.events import Number


class PointRecord(Record):
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


class ImportanceRecord(Record):
    """Share of a key in the variation of a search's metric."""

    key: str
    importance: Number


class FrontRecord(Record):
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


class ConfirmationRecord(Record):
    """The winner of a search over seeds that the search did not see.

    gap: search_value minus value (winner's curse). comparison: with the starting point, null where that leads itself.
    earlier: those of the winners of earlier commands, with which it is corrected.
    """

    winner: str
    seeds: tuple[int, ...]
    value: Number
    num_search_seeds: int
    search_value: Number
    gap: Number
    comparison: ComparisonRecord | None
    earlier: tuple[ComparisonRecord, ...]


class SearchRecord(Record):
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
