"""What of an archive belongs together, and what may have changed before a training went on."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from analysis.verification.consistency import find_inconsistencies, list_unverified
from fcos.published.records import ArchiveHeader, PublishedRun
from fcos.published.trials import list_trials

SWEEP, TRIAL = "a" * 32, "b" * 32
HEADER = ArchiveHeader(sweep="x", run_id=SWEEP, laboratory="", resamples=0, version="0")
DIGEST = "d" * 64


def write_run(path: Path, run_id: str, params: Mapping[str, str], **tags: str) -> None:
    path.mkdir(parents=True)
    run = PublishedRun(run_id=run_id, name="a", status="FINISHED", start=0, end=1, tags=tags, params=dict(params))
    (path / "run.json").write_text(run.model_dump_json())


TAGS = {
    "fcos.kind": "trial",
    "fcos.arm": "a",
    "fcos.seed": "1",
    "fcos.code": "c",
    "fcos.train_identity": "i",
    "fcos.identity": "ia",
    "mlflow.parentRunId": SWEEP,
}


def write_archive(
    folder: Path,
    planned: list[dict[str, Any]],
    *,
    params: Mapping[str, str] = {},
    config: Mapping[str, Any] = {},
    arms: Mapping[str, Any] = {},
    tags: Mapping[str, str] = {},
) -> None:
    """Write an archive with one trial, of arm a and seed 1. tags: its others, named without their prefix."""
    write_run(folder / "sweep", SWEEP, {})
    plan = {"code": "c", "arms": {"a": {}, "b": {}}, "trials": planned}
    (folder / "sweep" / "plan.json").write_text(json.dumps(plan))
    (folder / "sweep" / "experiment.json").write_text(json.dumps({"name": "x", "arms": arms}))
    path = folder / "trials" / TRIAL
    write_run(path, TRIAL, params, **TAGS | {f"fcos.{name}": value for name, value in tags.items()})
    (path / "config.json").write_text(json.dumps(config))


def find_problems(folder: Path) -> list[str]:
    return find_inconsistencies(folder, HEADER, list_trials(folder))


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


# Two arms with a training each, and two seeds.
PLANNED = [
    {"identity": identity, "seed": seed, "arms": {arm: f"{identity}{arm}"}}
    for identity, seed, arm in (("i", 1, "a"), ("j", 1, "b"), ("k", 2, "a"), ("l", 2, "b"))
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


ARM = {"model.head.quality": "none", "schedule.lr": 1, "model.assignment.ranges": [[0, 64], [64, float("inf")]]}
OF_ARM = {"model.head.quality": "none", "schedule.lr": "1.0", "model.assignment.ranges": "[[0, 64], [64, null]]"}


def test_a_trial_with_the_settings_of_its_arm_is_no_problem(tmp_path: Path) -> None:
    write_archive(tmp_path, PLANNED, params={**OF_ARM, "seed": "1"}, arms={"a": ARM})
    assert find_problems(tmp_path) == []


@pytest.mark.parametrize("recorded_in", ["params", "config"])
def test_a_trial_with_the_settings_of_another_arm_is_named(tmp_path: Path, recorded_in: str) -> None:
    params = {"model.head.quality": "centerness"} if recorded_in == "params" else {}
    config = {"model": {"head": {"quality": "centerness"}}}
    write_archive(tmp_path, PLANNED, params=params, config=config, arms={"a": ARM})
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
        ("schedule.lr", 2, {}),
    ],
)
def test_what_is_the_same_training_or_not_recorded_is_no_other_arm(
    tmp_path: Path, key: str, value: Any, params: dict[str, str]
) -> None:
    write_archive(tmp_path, PLANNED, params=params, arms={"a": {key: value}})
    assert find_problems(tmp_path) == []
