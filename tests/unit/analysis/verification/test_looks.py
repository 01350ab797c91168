"""Whether the looks and the order of the seeds of an archive are those of its plan."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from analysis.verification.consistency import list_unverified
from tests.helpers.archive_parts import SWEEP, find_problems, write_run


def write_looks(folder: Path, tags: Mapping[str, str], plan: Mapping[str, Any], seed_order: list[int]) -> None:
    """Write an archive without trials. tags: of the sweep's own run."""
    write_run(folder / "sweep", SWEEP, {}, "FINISHED", **{f"fcos.{name}": value for name, value in tags.items()})
    (folder / "sweep" / "plan.json").write_text(json.dumps({"code": "c", "trials": [], **plan}))
    (folder / "sweep" / "experiment.json").write_text(json.dumps({"name": "x", "seed_order": seed_order}))


OTHER_LOOKS = "sweep/run.json: fcos.looks is {}, and plan.json has looks after [3, 6] seeds"


@pytest.mark.parametrize(
    ("tags", "problem"),
    [
        ({"status": "finished", "looks": "[3, 6]"}, ""),
        ({"status": "finished", "looks": "[6]"}, OTHER_LOOKS.format("[6]")),
        ({"status": "failed", "looks": "[6]"}, OTHER_LOOKS.format("[6]")),
        ({"status": "stopped"}, OTHER_LOOKS.format("not there")),
        # A command that goes on or was killed has not recorded its own.
        ({"status": "running", "looks": "[3]"}, ""),
        ({"status": "interrupted"}, ""),
    ],
)
def test_looks_are_those_of_the_plan(tmp_path: Path, tags: dict[str, str], problem: str) -> None:
    write_looks(tmp_path, tags, {"looks": [3, 6]}, [])
    assert find_problems(tmp_path) == ([problem] if problem else [])


@pytest.mark.parametrize(
    ("planned", "order", "problem"),
    [
        ([3, 1, 2], [3, 1, 2], ""),
        # Killed before its plan arrived.
        ([3, 1, 2], [3, 1, 2, 4], ""),
        ([3, 1, 2], [1, 2, 3], "[1, 2, 3]"),
        ([3, 1, 2], [3, 1], "[3, 1]"),
        ([3, 1, 2], [], "[]"),
        # Of searches, and of older versions.
        ([], [], ""),
        ([], [1, 2], ""),
    ],
)
def test_the_order_of_seeds_is_that_of_the_plan(
    tmp_path: Path, planned: list[int], order: list[int], problem: str
) -> None:
    write_looks(tmp_path, {}, {"seeds": planned}, order)
    expected = f"sweep/experiment.json: seed_order is {problem}, and plan.json has the seeds [3, 1, 2]"
    assert find_problems(tmp_path) == ([expected] if problem else [])


@pytest.mark.parametrize(
    ("tags", "plan", "given"),
    [
        ({"status": "finished", "looks": "[3]"}, {"looks": [3]}, ""),
        ({"status": "finished", "looks": "[]", "winner": ""}, {}, ""),
        ({"status": "finished", "looks": "[3]"}, {}, "the numbers of seeds at which decisions were taken"),
        ({"status": "running", "looks": "[3]"}, {"looks": [3]}, "the numbers of seeds at which decisions were taken"),
        ({"status": "finished", "looks": "[3]", "winner": "t0"}, {"looks": [3]}, "the winner of the search"),
    ],
)
def test_looks_that_nothing_holds_and_a_winner_are_reported(
    tmp_path: Path, tags: dict[str, str], plan: dict[str, Any], given: str
) -> None:
    write_looks(tmp_path, tags, plan, [])
    assert list_unverified(tmp_path, []) == ([f"as the publisher gave it: {given}"] if given else [])
