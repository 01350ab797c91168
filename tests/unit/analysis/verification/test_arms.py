"""Whether a trial of an archive has the settings of its arm, as plan, experiment and search have them."""

from pathlib import Path
from typing import Any

import pytest

from analysis.verification.consistency import list_unverified
from fcos.published.archive import ArchiveError
from fcos.published.trials import list_trials
from tests.helpers.archive_parts import DIGEST, PLANNED, TRIAL, RunState, find_problems, write_archive

ARM = {"model.head.quality": "none", "schedule.lr": 1, "model.assignment.ranges": [[0, 64], [64, float("inf")]]}
OF_ARM = {"model.head.quality": "none", "schedule.lr": "1.0", "model.assignment.ranges": "[[0, 64], [64, null]]"}


def test_a_trial_with_the_settings_of_its_arm_is_no_problem(tmp_path: Path) -> None:
    write_archive(tmp_path, PLANNED, params={**OF_ARM, "seed": "1"}, arms={"a": ARM})
    assert find_problems(tmp_path) == []


@pytest.mark.parametrize("recorded_in", ["params", "config"])
def test_a_trial_with_the_settings_of_another_arm_is_named(tmp_path: Path, recorded_in: str) -> None:
    params = {"model.head.quality": "centerness"} if recorded_in == "params" else {}
    config = {"model": {"head": {"quality": "centerness"}}}
    write_archive(tmp_path, PLANNED, params=params, config=config, arms={"a": {"model.head.quality": "none"}})
    expected = "a seed 1: model.head.quality is 'none' for this arm in experiment.json, and 'centerness' in its run"
    assert find_problems(tmp_path) == [expected]


@pytest.mark.parametrize("recorded_in", ["params", "config"])
def test_a_seed_that_is_not_that_of_the_configuration_is_named(tmp_path: Path, recorded_in: str) -> None:
    params = {"seed": "2"} if recorded_in == "params" else {}
    write_archive(tmp_path, PLANNED, params=params, config={"seed": 2})
    (problem,) = find_problems(tmp_path)
    assert problem.startswith("a seed 1: its configuration has the seed ") and "2" in problem


@pytest.mark.parametrize(
    ("key", "value", "params"),
    [
        ("seeds.order", 1, {"seeds.order": "null"}),
        ("seeds.order", None, {"seeds.order": "1"}),
        ("data.root", "/here", {"data.root": "<data.root>"}),
        ("model.weights", "w.pth", {"model.weights": "<model.weights>", "model.weights_sha256": DIGEST}),
    ],
)
def test_what_is_the_same_training_is_no_other_arm(
    tmp_path: Path, key: str, value: Any, params: dict[str, str]
) -> None:
    write_archive(tmp_path, PLANNED, params=params, arms={"a": {key: value}})
    assert find_problems(tmp_path) == []


LACKS = "a seed 1: its run and configuration lack model.head.quality, schedule.lr and model.assignment.ranges, which "


@pytest.mark.parametrize("status", ["FINISHED", "FAILED"])
def test_a_finished_trial_that_records_no_setting_of_its_arm_is_named(tmp_path: Path, status: RunState) -> None:
    """Without them the names of two arms could be exchanged."""
    write_archive(tmp_path, PLANNED, arms={"a": {**ARM, "model.deformable": {}}}, status=status)
    assert find_problems(tmp_path) == ([f"{LACKS}experiment.json has for its arm"] if status == "FINISHED" else [])


# As plan.json has it: with the seed of no training, a root that may be moved, and weights that count by their digest.
WHOLE = {
    "seed": 0,
    "seeds": {"order": None, "weights": 1},
    "data": {"root": "/here"},
    "model": {"head": {"quality": "none"}, "weights": "w.pth", "weights_sha256": DIGEST},
}
OF_WHOLE = {
    "seed": "1",
    "seeds.order": "1",
    "seeds.weights": "null",
    "data.root": "<data.root>",
    "model.head.quality": "none",
    "model.weights": "<model.weights>",
    "model.weights_sha256": DIGEST,
}


@pytest.mark.parametrize(
    ("params", "problem"),
    [
        ({}, ""),
        (
            {"model.head.quality": "centerness"},
            "model.head.quality is 'none' for this arm in plan.json, and 'centerness'",
        ),
        ({"model.weights_sha256": "e" * 64}, f"model.weights_sha256 is '{DIGEST}' for this arm in plan.json, and 'eee"),
        ({"seeds.weights": "2"}, "seeds.weights is 1 for this arm in plan.json, and '2' in its run"),
    ],
)
def test_a_trial_has_the_whole_configuration_that_was_planned_for_its_arm(
    tmp_path: Path, params: dict[str, str], problem: str
) -> None:
    write_archive(tmp_path, PLANNED, params=OF_WHOLE | params, plan={"arms": {"a": WHOLE}})
    problems = find_problems(tmp_path)
    assert len(problems) == bool(problem) and all(each.startswith(f"a seed 1: {problem}") for each in problems)


def test_a_setting_that_was_planned_and_is_nowhere_is_named_once(tmp_path: Path) -> None:
    params = {key: value for key, value in OF_WHOLE.items() if key != "model.head.quality"}
    arms = {"a": {"model.head.quality": "none"}}
    write_archive(tmp_path, PLANNED, params=params, arms=arms, plan={"arms": {"a": WHOLE}})
    expected = "a seed 1: its run and configuration lack model.head.quality, which experiment.json has for its arm"
    assert find_problems(tmp_path) == [expected]


def test_the_plan_of_other_code_has_no_settings_of_a_trial(tmp_path: Path) -> None:
    write_archive(tmp_path, PLANNED, tags={"code": "d", "train_identity": "z"}, plan={"arms": {"a": WHOLE}})
    assert find_problems(tmp_path) == []


RATE = "schedule.lr"


@pytest.mark.parametrize(
    ("drawn", "problem"),
    [
        ('{"schedule.lr": 0.1, "model.assignment.ranges": [[0, 64], [64, null]]}', ""),
        ('{"schedule.lr": 0.9}', "schedule.lr is 0.9 for this arm in the tag fcos.drawn, and '0.1' in its run"),
        ('{"schedule.lr": 0.1, "x": 1}', "its run and configuration lack x, which the tag fcos.drawn has for its arm"),
        ("{}", "the tag fcos.drawn lacks schedule.lr, which plan.json has"),
    ],
)
def test_the_settings_that_a_search_drew_are_those_of_the_run(tmp_path: Path, drawn: str, problem: str) -> None:
    """The points of a search, and its best settings, are read from that tag."""
    params = {RATE: "0.1", "model.assignment.ranges": "[[0, 64], [64, null]]"}
    plan = {"search": {"space": {}, "drawn": {"a": {"point": {RATE: 0.1}, "keys": {RATE: 0.1}}}}}
    write_archive(tmp_path, PLANNED, params=params, tags={"drawn": drawn}, plan=plan)
    assert find_problems(tmp_path) == ([f"a seed 1: {problem}"] if problem else [])


@pytest.mark.parametrize("drawn", ["{", "[]", "null", "7", "[" * 100_000])
def test_settings_that_a_search_drew_and_that_cannot_be_read_are_refused(tmp_path: Path, drawn: str) -> None:
    write_archive(tmp_path, PLANNED, tags={"drawn": drawn})
    with pytest.raises(ArchiveError, match=rf"^run\.json of {TRIAL}: tags\.fcos\.drawn: is no JSON object$"):
        find_problems(tmp_path)


def test_settings_of_arms_that_are_not_declared_are_reported(tmp_path: Path) -> None:
    write_archive(tmp_path, PLANNED[:1])
    (tmp_path / "sweep" / "experiment.json").unlink()
    assert find_problems(tmp_path) == []
    assert list_unverified(tmp_path, list_trials(tmp_path)) == [
        "without experiment.json: whether trials have the settings that it declares for arms"
    ]
