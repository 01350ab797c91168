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


def check(folder: Path, params: dict[str, str], config: dict[str, Any], planned: list[int]) -> list[str]:
    """Return the problems of an archive with one trial, of seed 1."""
    write_run(folder / "sweep", SWEEP, {})
    plan = {"code": "c", "trials": [{"identity": "i", "seed": seed} for seed in planned]}
    (folder / "sweep" / "plan.json").write_text(json.dumps(plan))
    path = folder / "trials" / TRIAL
    tags = {"fcos.arm": "a", "fcos.seed": "1", "fcos.code": "c", "fcos.train_identity": "i"}
    write_run(path, TRIAL, params, **tags, **{"mlflow.parentRunId": SWEEP})
    (path / "config.json").write_text(json.dumps(config))
    return find_inconsistencies(folder, HEADER, list_trials(folder))


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
