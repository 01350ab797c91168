"""What of an archive belongs together, and what may have changed before a training went on."""

from pathlib import Path
from typing import Any

import pytest

from analysis.verification.consistency import list_unverified
from fcos.published.trials import list_trials
from tests.helpers.archive_parts import DIGEST, PLANNED, TRIAL, find_problems, write_archive


def check(folder: Path, params: dict[str, str], config: dict[str, Any], planned: list[int]) -> list[str]:
    """Return the problems of an archive with one trial, of seed 1."""
    write_archive(folder, [{"identity": "i", "seed": seed} for seed in planned], params=params, config=config)
    return find_problems(folder)


@pytest.mark.parametrize(("digest", "moves"), [(DIGEST, True), (None, False)], ids=["pinned", "by name alone"])
def test_weights_of_a_known_digest_may_lie_elsewhere(tmp_path: Path, digest: str | None, moves: bool) -> None:
    params = {"model.weights": "<model.weights>", "model.weights_sha256": digest or "null"}
    config = {"model": {"weights": "<path>", "weights_sha256": digest}}
    problems = check(tmp_path, params, config, [1])
    expected = "a seed 1: model.weights is '<path>' in config.json, and '<model.weights>' in run.json"
    assert problems == ([] if moves else [expected])


def test_weights_of_another_digest_are_another_training(tmp_path: Path) -> None:
    config = {"model": {"weights": "w", "weights_sha256": "e" * 64}}
    (problem,) = check(tmp_path, {"model.weights": "w", "model.weights_sha256": DIGEST}, config, [1])
    assert "model.weights_sha256" in problem


def test_a_trial_that_was_not_planned_is_named(tmp_path: Path) -> None:
    assert check(tmp_path, {}, {}, [0, 2]) == ["a seed 1: plan.json has no training of its identity and seed"]


def test_what_nothing_can_be_held_against_is_reported(tmp_path: Path) -> None:
    check(tmp_path, {}, {}, [1])
    assert list_unverified(tmp_path, list_trials(tmp_path)) == []
    (tmp_path / "sweep" / "plan.json").unlink()
    (tmp_path / "trials" / TRIAL / "config.json").unlink()
    assert list_unverified(tmp_path, list_trials(tmp_path)) == [
        "without plan.json: whether all trials were planned",
        "without config.json, so that they cannot be trained again: a seed 1",
    ]


MISNAMED = "seed 1: plan.json has its training for another arm, evaluation or code"


@pytest.mark.parametrize(
    "tags",
    [
        {"arm": "b"},
        {"arm": "b", "identity": "jb"},
        {"identity": "jb"},
        {"arm": "other"},
        {"code": "d"},
    ],
    ids=" ".join,
)
def test_a_trial_that_the_plan_knows_as_another_one_is_named(tmp_path: Path, tags: dict[str, str]) -> None:
    write_archive(tmp_path, PLANNED, tags=tags)
    assert find_problems(tmp_path) == [f"{tags.get('arm', 'a')} {MISNAMED}"]


def test_a_trial_as_it_was_planned_is_no_problem(tmp_path: Path) -> None:
    write_archive(tmp_path, PLANNED)
    assert find_problems(tmp_path) == []


def test_an_arm_that_a_later_command_left_out_of_a_training_that_others_share_is_no_problem(tmp_path: Path) -> None:
    write_archive(tmp_path, [{"identity": "i", "seed": 1, "arms": {"a": "ia"}}], tags={"arm": "b", "identity": "ib"})
    assert find_problems(tmp_path) == []


def test_trials_of_other_code_and_trainings_without_a_run_are_reported(tmp_path: Path) -> None:
    write_archive(tmp_path, PLANNED, tags={"code": "d", "train_identity": "z"})
    assert find_problems(tmp_path) == []
    assert list_unverified(tmp_path, list_trials(tmp_path)) == [
        "plan.json has trainings without a run, never begun or left out: a seed 1, b seed 1, a seed 2 and b seed 2",
        "of other code than plan.json, whether they were planned: a seed 1",
    ]


def test_what_follows_from_nothing_in_an_archive_is_reported(tmp_path: Path) -> None:
    write_archive(tmp_path, [{"identity": "i", "seed": seed} for seed in range(1, 10)])
    (tmp_path / "environment").mkdir()
    (tmp_path / "environment" / "requirements.txt").write_text("torch==2\n")
    (tmp_path / "sweep" / "plan_history.json").write_text("{}")
    assert list_unverified(tmp_path, list_trials(tmp_path)) == [
        "plan.json has trainings without a run, never begun or left out: seed 2, seed 3, seed 4, seed 5, seed 6 and "
        "3 others",
        "as the publisher gave it: environment/requirements.txt and sweep/plan_history.json",
    ]


def test_a_run_that_reports_leave_out_is_named(tmp_path: Path) -> None:
    write_archive(tmp_path, PLANNED, tags={"kind": "run"})
    assert find_problems(tmp_path) == [f"trials/{TRIAL} is of the kind 'run' and not 'trial': no report has it"]
