"""A training of an archive done again: what is taken from the archive, and how its result is judged."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fcos.errors import ConfigError
from fcos.published.records import PublishedPoint, PublishedRun, format_points
from orchestration.config.compose import compose
from orchestration.planning.repeats.published_training import (
    PublishedTraining,
    compare_results,
    find_training,
    make_lab,
)
from orchestration.retrain import check_allowed

VALUES = compose([]).training.model_dump(mode="json")
AP = "val/AP"
MACHINE = "2 x CPU"


def write_trial(folder: Path, number: int, arm: str, seed: int, value: float, status: Any = "FINISHED") -> None:
    path = folder / "trials" / f"{number:032x}"
    path.mkdir(parents=True)
    tags = {"fcos.kind": "trial", "fcos.arm": arm, "fcos.seed": str(seed)}
    run = PublishedRun(run_id=path.name, name="x", status=status, start=0, end=1, tags=tags, params={})
    (path / "run.json").write_text(run.model_dump_json())
    points = [
        PublishedPoint(AP, 6, 2, value / 2),
        PublishedPoint(AP, 12, 3, value),
        PublishedPoint("train/loss", 12, 3, 1.0),
    ]
    (path / "points.csv").write_text(format_points(points))
    (path / "config.json").write_text(json.dumps({**VALUES, "seed": seed}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_trial(tmp_path, 1, "none", 3, 0.4)
    write_trial(tmp_path, 2, "none", 1, 0.6)
    write_trial(tmp_path, 3, "branch", 1, 0.5)
    write_trial(tmp_path, 4, "none", 0, 0.1, status="FAILED")
    return tmp_path


def test_by_default_it_is_the_first_finished_arm_of_the_lowest_seed(folder: Path) -> None:
    assert find_training(folder, None, None).label == "branch seed 1"
    chosen = find_training(folder, "none", None)
    assert chosen.label == "none seed 1" and chosen.values["seed"] == 1
    # At the last step, with the sample deviation of the arm's two seeds.
    assert chosen.metrics == {AP: 0.6}
    assert chosen.deviations[AP] == pytest.approx(0.2 / 2**0.5)
    assert chosen.seeds == 2
    assert find_training(folder, "branch", None).deviations == {}


def test_a_training_that_is_not_there_is_refused_with_those_that_are(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"--seed=0: .* there: branch seed 1, none seed 1, none seed 3"):
        find_training(folder, "none", 0)


def make_training(**values: Any) -> PublishedTraining:
    tags = {"fcos.arm": "a", "fcos.seed": "0", "fcos.train_identity": "i", "fcos.hardware": MACHINE}
    run = PublishedRun(run_id="0" * 32, name="a", status="FINISHED", start=0, end=1, tags=tags, params={})
    return PublishedTraining(run, {**VALUES, **values}, {AP: 0.5}, {AP: 0.01}, seeds=8)


def make_plan(identity: str = "i") -> Any:
    trial = SimpleNamespace(identity=identity, data_digest="")
    return SimpleNamespace(trials=[trial], provenance=SimpleNamespace(code="other", versions={}))


@pytest.mark.parametrize(
    ("value", "identity", "machine", "holds", "text"),
    [
        (0.5, "i", MACHINE, True, "equal to the last digit"),
        (0.5, "other", "4 x CPU", True, "equal to the last digit"),
        # Where nothing differs, no digit may.
        (0.5 + 1e-12, "i", MACHINE, False, "within the spread"),
        (0.52, "i", "4 x CPU", True, "within the spread"),
        (0.52, "other", MACHINE, True, "within the spread"),
        (0.54, "i", "4 x CPU", False, "beyond the spread"),
    ],
)
def test_a_result_holds_if_equal_or_within_the_spread_where_something_else_differs(
    value: float, identity: str, machine: str, holds: bool, text: str
) -> None:
    result = compare_results(make_training(), {AP: value}, make_plan(identity), machine)
    assert result.holds is holds and text in result.lines[0]
    if identity != "i":
        assert any(line.startswith("its identity is another, by the code") for line in result.lines)


@pytest.mark.parametrize(
    ("seeds", "others", "value", "holds"),
    [
        # Student's t of 1 degree of freedom is 12.7, of 7 it is 2.4, and of many 2.
        (2, 0, 0.67, True),
        (2, 0, 0.69, False),
        (8, 0, 0.533, True),
        (8, 0, 0.534, False),
        (1000, 0, 0.527, True),
        (1000, 0, 0.529, False),
        # One of 20 metrics may be further away than the only one.
        (8, 19, 0.534, True),
    ],
)
def test_the_spread_is_wider_for_few_seeds_and_for_many_metrics(
    seeds: int, others: int, value: float, holds: bool
) -> None:
    metrics = {AP: 0.5, **{f"val/other{number}": 0.0 for number in range(others)}}
    training = replace(make_training(), metrics=metrics, seeds=seeds)
    assert compare_results(training, {**metrics, AP: value}, make_plan(), "4 x CPU").holds is holds


def test_a_result_without_a_common_metric_does_not_hold() -> None:
    assert not compare_results(make_training(), {"val/other": 1.0}, make_plan(), "4 x CPU").holds


def test_the_archive_decides_the_training_and_the_command_where_it_runs() -> None:
    lab = compose(["output=elsewhere"])
    values = {**VALUES["schedule"], "steps": 77, "warmup_steps": 0}
    made = make_lab(lab, make_training(schedule=values, seed=5), None, None)
    assert (made.schedule.steps, made.seed, made.output) == (77, 5, "elsewhere")
    assert made.data.cache_dir == lab.data.cache_dir and made.name == "retrained-00000000"


def test_data_and_weights_that_an_archive_does_not_hold_are_asked_for() -> None:
    data = {**VALUES["data"], "name": "coco", "synthetic": None, "root": "<data.root>"}
    with pytest.raises(ConfigError, match=r"data\.root: the archive does not hold it; give --data-root="):
        make_lab(compose([]), make_training(data=data), None, None)
    backbone = {**VALUES["model"]["backbone"], "weights": "<model.backbone.weights>"}
    model = {**VALUES["model"], "backbone": backbone}
    with pytest.raises(ConfigError, match=r"model\.backbone\.weights: .* give --weights="):
        make_lab(compose([]), make_training(model=model), None, None)


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "[]", "7", '{"model": 7}'])
def test_a_broken_configuration_is_refused_by_name(folder: Path, text: str) -> None:
    (folder / "trials" / f"{1:032x}" / "config.json").write_text(text)
    with pytest.raises(ConfigError, match=r"config\.json|model"):
        make_lab(compose([]), find_training(folder, "none", 3), None, None)


def test_a_value_that_was_hidden_and_has_no_option_is_refused() -> None:
    data = {**VALUES["data"], "name": "coco", "synthetic": None, "root": "<data.root>", "val_split": "<hidden>"}
    with pytest.raises(ConfigError, match=r"data\.val_split=<hidden>: the archive does not hold it"):
        make_lab(compose([]), make_training(data=data), "/here", None)


@pytest.mark.parametrize(
    "word", ["schedule.steps=3", "+experiment=x", "report=false", "keep.trained=1", "hydra.run.dir=x"]
)
def test_only_where_and_how_a_training_runs_is_taken_from_the_command_line(word: str) -> None:
    with pytest.raises(ConfigError, match="the archive decides it; leave it out"):
        check_allowed([word])


def test_where_and_how_a_training_runs_may_be_given() -> None:
    check_allowed(["output=x", "name=y", "cluster=one_gpu", "+cluster.workers=2", "tracking.uri=z", "dry_run=true"])
