"""A report names trials that were trained by other numbers of workers, and changes of the number."""

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from analysis.reader.sweep import Trial
from analysis.sections.provenance import describe_provenance_differences


def make_trial(arm: str, workers: str, workers_matter: str = "") -> Trial:
    started = datetime(2026, 1, 1, tzinfo=UTC)
    return Trial(arm, 0, arm, "FINISHED", started, workers=workers, workers_matter=workers_matter)


def worker_lines(*trials: Trial) -> list[str]:
    return [line for line in describe_provenance_differences(trials) if "workers" in line]


@pytest.mark.parametrize("workers", [{"a": "2", "b": "2"}, {"a": "", "b": "1"}, {"a": "", "b": ""}])
def test_one_number_of_workers_is_not_mentioned(workers: Mapping[str, str]) -> None:
    assert worker_lines(*(make_trial(arm, number) for arm, number in workers.items())) == []


def test_different_numbers_of_workers_are_listed_with_their_trials() -> None:
    (line,) = worker_lines(make_trial("a", "2"), make_trial("b", "1"), make_trial("c", "2"))
    assert line.startswith("Numbers of workers: 1 (b seed 0); 2 (a seed 0 and c seed 0). Batch size and learning rate")


def test_a_number_of_workers_that_changed_is_listed() -> None:
    (line,) = worker_lines(make_trial("a", "2, from step 9 on 1"), make_trial("b", "2, from step 9 on 1"))
    assert "2, from step 9 on 1 (a seed 0 and b seed 0)" in line


def test_the_reason_why_the_number_of_workers_matters_is_given() -> None:
    reason = "batch norms gather statistics on each worker"
    (line,) = worker_lines(make_trial("a", "2", reason), make_trial("b", "1"))
    assert line.endswith(f"but {reason}, so that the number matters.")
