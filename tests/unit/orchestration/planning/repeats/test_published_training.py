"""A training of an archive done again: what is taken from the archive, and how its result is judged."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fcos.config.evaluation import EvaluationSettings
from fcos.config.parse import parse, set_value
from fcos.config.run import Config
from fcos.errors import ConfigError
from fcos.published.records import PublishedPoint, PublishedRun, format_points
from fcos.published.trials import PublishedTrial
from orchestration.config.compose import compose
from orchestration.experiment.provenance import Provenance
from orchestration.experiment.trials import Trial
from orchestration.planning.plan import Plan
from orchestration.planning.repeats.published_training import (
    LocalPaths,
    Original,
    compare_results,
    find_training,
    make_lab,
)
from orchestration.retrain import check_allowed
from orchestration.trial import files

VALUES = compose([]).training.model_dump(mode="json")
AP = "val/AP"
MACHINE = "2 x CPU"
NOWHERE = LocalPaths()


def write_trial(
    folder: Path, number: int, arm: str, seed: int, value: float, status: Any = "FINISHED", **more: str
) -> Path:
    """Write a trial of an archive; more: its other tags."""
    path = folder / "trials" / f"{number:032x}"
    path.mkdir(parents=True)
    tags = {"fcos.kind": "trial", "fcos.arm": arm, "fcos.seed": str(seed), **more}
    run = PublishedRun(run_id=path.name, name="x", status=status, start=0, end=1, tags=tags, params={})
    (path / "run.json").write_text(run.model_dump_json())
    points = [
        PublishedPoint(AP, 6, 2, value / 2),
        PublishedPoint(AP, 12, 3, value),
        PublishedPoint("train/loss", 12, 3, 1.0),
    ]
    (path / "points.csv").write_text(format_points(points))
    (path / "config.json").write_text(json.dumps({**VALUES, "seed": seed}))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_trial(tmp_path, 1, "none", 3, 0.4)
    write_trial(tmp_path, 2, "none", 1, 0.6)
    write_trial(tmp_path, 3, "branch", 1, 0.5)
    write_trial(tmp_path, 4, "none", 0, 0.1, status="FAILED")
    return tmp_path


def test_by_default_it_is_the_first_finished_arm_of_the_lowest_seed(folder: Path) -> None:
    assert find_training(folder, None, None, NOWHERE).label == "branch seed 1"
    chosen = find_training(folder, "none", None, NOWHERE)
    assert chosen.label == "none seed 1" and chosen.config.seed == 1
    # At the last step, with the sample deviation of the arm's two seeds.
    assert chosen.metrics == {AP: 0.6}
    assert chosen.deviations[AP] == pytest.approx(0.2 / 2**0.5)
    assert chosen.seeds == 2
    assert find_training(folder, "branch", None, NOWHERE).deviations == {}


def test_a_training_that_is_not_there_is_refused_with_those_that_are(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"--seed=0: .* there: branch seed 1, none seed 1, none seed 3"):
        find_training(folder, "none", 0, NOWHERE)


def make_original(tags: Mapping[str, str] = {}, **values: Any) -> Original:
    known = {"fcos.arm": "a", "fcos.seed": "0", "fcos.train_identity": "i", "fcos.hardware": MACHINE, **tags}
    run = PublishedRun(run_id="0" * 32, name="a", status="FINISHED", start=0, end=1, tags=known, params={})
    config = parse(Config, {**VALUES, **values})
    return Original(PublishedTrial(run, Path("a")), config, {AP: 0.5}, {AP: 0.01}, seeds=8)


def make_plan(folder: Path, identity: str = "i") -> Plan:
    """Return the plan of a training that was done again, in a folder."""
    config = parse(Config, VALUES)
    trial = Trial(identity, 0, config, {"": EvaluationSettings.of(config)}, "", "")
    return Plan("again", folder, [trial], Provenance("other", {}), {"": config})


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
    tmp_path: Path, value: float, identity: str, machine: str, holds: bool, text: str
) -> None:
    result = compare_results(make_original(), {AP: value}, make_plan(tmp_path, identity), machine)
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
    tmp_path: Path, seeds: int, others: int, value: float, holds: bool
) -> None:
    metrics = {AP: 0.5, **{f"val/other{number}": 0.0 for number in range(others)}}
    original = replace(make_original(), metrics=metrics, seeds=seeds)
    assert compare_results(original, {**metrics, AP: value}, make_plan(tmp_path), "4 x CPU").holds is holds


def test_a_result_without_a_common_metric_does_not_hold(tmp_path: Path) -> None:
    assert not compare_results(make_original(), {"val/other": 1.0}, make_plan(tmp_path), "4 x CPU").holds


def test_the_archive_decides_the_training_and_the_command_where_it_runs() -> None:
    lab = compose(["output=elsewhere"])
    values = {**VALUES["schedule"], "steps": 77, "warmup_steps": 0}
    made = make_lab(lab, make_original(schedule=values, seed=5))
    assert (made.schedule.steps, made.seed, made.output) == (77, 5, "elsewhere")
    assert made.data.cache_dir == lab.data.cache_dir and made.name == "retrained-00000000"


def set_values(path: Path, **keys: Any) -> None:
    """Change the configuration of a trial in an archive."""
    values = json.loads((path / "config.json").read_text())
    for key, value in keys.items():
        values = set_value(values, key.replace("__", "."), value)
    (path / "config.json").write_text(json.dumps(values))


def set_folder_data(path: Path, root: str) -> None:
    """Let a trial be one on images of a folder."""
    split = {"annotations": "annotations/a.json", "images": "a"}
    set_values(path, data__name="coco", data__synthetic=None, data__root=root, data__train=split, data__val=split)


@pytest.mark.parametrize("root", ["<data.root>", "datasets/coco", "/pool/coco"])
def test_data_are_read_where_the_command_names_them_whatever_the_archive_names(folder: Path, root: str) -> None:
    path = write_trial(folder, 9, "coco", 0, 0.5)
    set_folder_data(path, root)
    original = find_training(folder, "coco", 0, LocalPaths(root="/here"))
    assert original.config.data.root == "/here"
    if root == "<data.root>":
        with pytest.raises(ConfigError, match=r"data\.root: the archive does not hold it; give --data-root="):
            find_training(folder, "coco", 0, NOWHERE)


def test_weights_are_read_where_the_command_names_them_whatever_the_archive_names(folder: Path, tmp_path: Path) -> None:
    path = write_trial(folder, 9, "begun", 0, 0.5)
    for named in ("<model.backbone.weights>", "weights/r50.pth"):
        set_values(path, model__backbone__weights=named)
        original = find_training(folder, "begun", 0, LocalPaths(weights="/here/r50.pth"))
        assert original.config.model.backbone.weights == "/here/r50.pth"
    set_values(path, model__backbone__weights="<model.backbone.weights>")
    with pytest.raises(ConfigError, match=r"model\.backbone\.weights: .* give --weights="):
        find_training(folder, "begun", 0, NOWHERE)


@pytest.mark.parametrize(
    ("paths", "text"),
    [
        (LocalPaths(root="/here"), "--data-root=/here: has no effect, as the training reads no data of a folder"),
        (LocalPaths(weights="/x"), "--weights=/x: has no effect, as the training begins from no file of weights"),
    ],
)
def test_an_option_without_an_effect_is_refused(folder: Path, paths: LocalPaths, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        find_training(folder, "none", 3, paths)


def test_a_training_that_went_on_from_another_one_is_not_trained_from_step_0(folder: Path) -> None:
    write_trial(folder, 7, "branch", 0, 0.5, **{"fcos.extends": "e" * 64})
    # Of an older version: its trunk is itself.
    write_trial(folder, 8, "branch", 2, 0.5, **{"fcos.trunk": "t", "fcos.train_identity": "t"})
    for seed in (0, 2):
        with pytest.raises(ConfigError, match=rf"branch seed {seed}: went on from a checkpoint of another training"):
            find_training(folder, "branch", seed, NOWHERE)
    assert find_training(folder, "branch", None, NOWHERE).label == "branch seed 1"
    # Nor does it count for the spread of the others.
    assert find_training(folder, "branch", None, NOWHERE).seeds == 1


def test_what_was_done_otherwise_for_want_of_memory_is_among_what_differs(tmp_path: Path) -> None:
    tags = {"fcos.accumulate": "4", "fcos.inexact": "micro-batches of batch norm"}
    result = compare_results(make_original(tags), {AP: 0.51}, make_plan(tmp_path), MACHINE)
    assert result.holds
    line = "in the archive it went on with 4 micro-batches a step for want of memory"
    assert f"{line}, with other micro-batches of batch norm" in result.lines
    plan = make_plan(tmp_path)
    plan.folder_of(plan.trials[0]).mkdir(parents=True)
    files.write_json(plan.folder_of(plan.trials[0]) / "attempts.json", {"accumulate": 2})
    result = compare_results(make_original(), {AP: 0.51}, plan, MACHINE)
    assert result.lines[-1].startswith("here it went on with 2 micro-batches a step for want of memory")


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "[]", "7", '{"model": 7}'])
def test_a_broken_configuration_is_refused_by_name(folder: Path, text: str) -> None:
    (folder / "trials" / f"{1:032x}" / "config.json").write_text(text)
    with pytest.raises(ConfigError, match=r"config\.json|model"):
        find_training(folder, "none", 3, NOWHERE)


def test_a_value_that_was_hidden_and_has_no_option_is_refused(folder: Path) -> None:
    path = write_trial(folder, 9, "coco", 0, 0.5)
    set_folder_data(path, "<data.root>")
    set_values(path, data__val_split="<hidden>")
    with pytest.raises(ConfigError, match=r"data\.val_split=<hidden>: the archive does not hold it"):
        find_training(folder, "coco", 0, LocalPaths(root="/here"))


@pytest.mark.parametrize(
    "word", ["schedule.steps=3", "+experiment=x", "report=false", "keep.trained=1", "hydra.run.dir=x"]
)
def test_only_where_and_how_a_training_runs_is_taken_from_the_command_line(word: str) -> None:
    with pytest.raises(ConfigError, match="the archive decides it; leave it out"):
        check_allowed([word])


def test_where_and_how_a_training_runs_may_be_given() -> None:
    check_allowed(["output=x", "name=y", "cluster=one_gpu", "+cluster.workers=2", "tracking.uri=z", "dry_run=true"])
