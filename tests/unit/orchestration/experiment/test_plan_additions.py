"""A plan that grows is written whole ever more rarely, and read as if it were written for each training."""

import json
from itertools import pairwise
from pathlib import Path

import pytest

from orchestration.experiment.plan_additions import (
    ADDITIONS,
    Addition,
    append_addition,
    has_additions,
    is_whole_plan_due,
    read_planned,
    remove_additions,
)


def addition(number: int, key: str = "k") -> Addition:
    trial = {"identity": f"i{number}", "seed": 0, "arms": {f"t{number}": f"e{number}"}, "data": "d"}
    return Addition(key=key, arm=f"t{number}", config={"number": number}, trial=trial, point={"x": number})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    values = {"key": "k", "arms": {}, "trials": [], "search": {"space": {}}}
    (tmp_path / "plan.json").write_text(json.dumps(values))
    return tmp_path


@pytest.mark.parametrize("count", [1000, 10_000])
def test_the_trainings_of_all_whole_writes_grow_with_those_of_the_plan(count: int) -> None:
    written = [number for number in range(1, count + 1) if is_whole_plan_due(number)]
    assert written[:50] == list(range(1, 51)), "a small plan is written each time"
    assert sum(written) <= 25 * count
    longest = max(after - before for before, after in pairwise(written))
    assert longest <= count / 15, "what is added in between stays a small part"


def test_added_trainings_are_those_of_the_plan(folder: Path) -> None:
    append_addition(folder, addition(0))
    append_addition(folder, addition(1))
    # The plan was written whole in between, and what it has was not removed yet.
    append_addition(folder, addition(1))
    planned = read_planned(folder)
    assert planned["arms"] == {"t0": {"number": 0}, "t1": {"number": 1}}
    assert [trial["identity"] for trial in planned["trials"]] == ["i0", "i1"]
    assert planned["search"]["drawn"] == {"t0": {"x": 0}, "t1": {"x": 1}}
    remove_additions(folder)
    assert not has_additions(folder) and read_planned(folder)["trials"] == []


def test_a_line_that_a_kill_cut_short_costs_no_other(folder: Path) -> None:
    append_addition(folder, addition(0))
    with (folder / ADDITIONS).open("a") as file:
        file.write(addition(1).model_dump_json()[:20])
    append_addition(folder, addition(2))
    assert list(read_planned(folder)["arms"]) == ["t0", "t2"]


def test_trainings_of_a_plan_that_was_replaced_are_none_of_it(folder: Path) -> None:
    append_addition(folder, addition(0, key="before"))
    assert read_planned(folder)["arms"] == {}


@pytest.mark.parametrize("content", ["{", "[]", '{"key": "k"}', '{"key": "k", "arms": {}, "trials": [1]}'])
def test_what_is_no_plan_is_refused_by_its_readers(folder: Path, content: str) -> None:
    (folder / "plan.json").write_text(content)
    append_addition(folder, addition(0))
    if content == "[]":
        assert read_planned(folder) == []
    else:
        with pytest.raises(ValueError, match=r"plan\.json is no plan|property name"):
            read_planned(folder)
