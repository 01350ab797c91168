"""The nouns of a report: what a sweep set out to compare, and what the store holds of it."""

from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

DEFAULT_METRICS = ("val/AP", "val/AP50", "val/AP75")
# Of a run without training that names no metrics.
COVERAGE_METRICS = ("coverage/bpr", "coverage/ambiguous")


class Search(BaseModel):
    """What a search could change and what it looked for; strategy says how it went about it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    # Dotted key -> {choice | uniform | ...: values, when: {...}}.
    space: dict[str, dict[str, Any]]
    trials: int
    metric: str
    mode: str
    strategy: dict[str, Any] = Field(default_factory=dict)
    # What its command line said.
    overrides: list[str] = Field(default_factory=list)


class Experiment(BaseModel):
    """What a sweep set out to compare (its artifact experiment.json)."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    claim: str | None = None
    baseline: str | None = None
    arms: dict[str, dict[str, Any]] = Field(default_factory=dict)
    seeds: list[int] = Field(default_factory=list)
    metrics: list[str] = Field(default_factory=lambda: list(DEFAULT_METRICS), min_length=1)
    # None for arms that a person gave names to.
    search: Search | None = None
    # Arm -> rows of paper.py that it is the like of.
    paper: dict[str, list[str]] = Field(default_factory=dict)


@dataclass(frozen=True)
class Sweep:
    """A sweep as the store holds it now.

    trials: a row for each run: arm, seed, status, run_id, started, ended, tags, params, metrics, superseded;
    a run is superseded where the same arm and seed was tried again.
    points: run_id, key, step, value; one row per (run, key, step), the last one written.
    """

    name: str
    run_id: str
    kind: str
    status: str
    started: pd.Timestamp
    uri: str
    experiment: Experiment
    trials: pd.DataFrame
    points: pd.DataFrame
    notes: tuple[str, ...] = field(default=())

    @property
    def current(self) -> pd.DataFrame:
        """The trials that count: of each arm and seed the finished attempt, or else the newest."""
        return self.trials[~self.trials["superseded"].astype(bool)]
