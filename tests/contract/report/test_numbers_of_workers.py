"""A report says where trials were trained by other numbers of workers, and where the number changed on the way."""

from collections.abc import Mapping

import pandas as pd
import pytest

from analysis.sections.provenance import differences_in_provenance


def told(numbers: Mapping[str, str | None]) -> list[str]:
    rows = [
        {"arm": arm, "seed": 0, "tags": {} if number is None else {"fcos.workers": number}}
        for arm, number in numbers.items()
    ]
    return [line for line in differences_in_provenance(pd.DataFrame(rows)) if "workers" in line]


@pytest.mark.parametrize("numbers", [{"a": "2", "b": "2"}, {"a": None, "b": "1"}, {"a": None, "b": None}])
def test_one_number_is_not_worth_a_word(numbers: Mapping[str, str | None]) -> None:
    assert told(numbers) == []


def test_numbers_that_differ_or_changed_are_told_with_their_trials() -> None:
    (line,) = told({"a": "2", "b": "1", "c": "2"})
    assert line.startswith("Numbers of workers: 1 (b seed 0); 2 (a seed 0 and c seed 0). Batch size and learning rate")
    (line,) = told({"a": "2, from step 9 on 1", "b": "2, from step 9 on 1"})
    assert "2, from step 9 on 1 (a seed 0 and b seed 0)" in line


def test_what_makes_the_number_matter_is_named() -> None:
    tags = {"fcos.workers": "2", "fcos.workers_decide": "batch norms gather statistics on each worker"}
    rows = [{"arm": "a", "seed": 0, "tags": tags}, {"arm": "b", "seed": 0, "tags": {"fcos.workers": "1"}}]
    (line,) = [line for line in differences_in_provenance(pd.DataFrame(rows)) if "workers" in line]
    assert line.endswith("but batch norms gather statistics on each worker, so that the number matters.")
