"""Why a training runs: what sets it apart from the nearest that is finished."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fcos.config.parse import flatten
from fcos.storage.store_conventions import param_text
from orchestration.experiment.trials import Trial
from orchestration.planning import explain as explain_module
from orchestration.planning.explain import FinishedRuns, differences, explain
from orchestration.planning.plan import Plan
from orchestration.planning.reuse import ReusableRuns, ReuseSource
from orchestration.tracking.history import PastRun
from orchestration.trial.files import write_summary
from tests.helpers.experiments.composed import plan_of
from tests.helpers.experiments.stored_runs import StoredRuns
from tests.helpers.experiments.summaries import summary_of

EXPERIMENT = ("+experiment=ablation_centerness", "experiment.seeds=[0]")


def finished(plan: Plan, trial: Trial, run_id: str = "12345678abc", **tags: str) -> PastRun:
    params = {key: param_text(value) for key, value in flatten(trial.values).items()}
    known = {
        "fcos.sweep": "before",
        "fcos.identity": "i",
        "fcos.code": plan.provenance.code,
        "fcos.versions": json.dumps(dict(plan.provenance.versions)),
        "fcos.data_digest": trial.data_digest,
        "mlflow.runName": "branch seed 0",
    }
    return PastRun(run_id, {**known, **tags}, params, {})


def past(*runs: PastRun, **known: Any) -> ReusableRuns:
    return ReusableRuns(StoredRuns(*runs), **known)


def test_nothing_sets_a_training_apart_from_itself(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, *EXPERIMENT)
    other = plan_of(tmp_path, *EXPERIMENT, "data.num_workers=2", "model.postprocess.nms_threshold=0.1")
    assert differences(plan.trials[1], plan.provenance, finished(other, other.trials[1])) == []


@pytest.mark.parametrize(
    ("tags", "line"),
    [
        ({"fcos.code": "0" * 64}, "code of fcos/: 000000000000 -> "),
        ({"fcos.versions": '{"torch": "1.0"}'}, "version of torch: 1.0 -> "),
        ({"fcos.data_digest": "other"}, "data: other -> d"),
    ],
)
def test_code_versions_and_data_are_named(tmp_path: Path, tags: dict[str, str], line: str) -> None:
    plan = plan_of(tmp_path, *EXPERIMENT)
    found = differences(plan.trials[1], plan.provenance, finished(plan, plan.trials[1], **tags))
    assert any(one.startswith(line) for one in found)


@pytest.mark.parametrize("edited", ["none", "[1]", '{"torch": 2}'])
def test_versions_that_were_edited_are_absent(tmp_path: Path, edited: str) -> None:
    plan = plan_of(tmp_path, *EXPERIMENT)
    found = differences(plan.trials[1], plan.provenance, finished(plan, plan.trials[1], **{"fcos.versions": edited}))
    assert found != [] and all(line.startswith("version of ") and ": absent -> " in line for line in found)


def test_seeds_of_sources_are_named_where_they_are_given_alone(tmp_path: Path) -> None:
    trial = (plan := plan_of(tmp_path, *EXPERIMENT)).trials[1]
    params = {key: text for key, text in finished(plan, trial).params.items() if not key.startswith("seeds.")}
    older = replace(finished(plan, trial), params=params)
    assert differences(trial, plan.provenance, older) == []
    other = plan_of(tmp_path, *EXPERIMENT, "seeds.order=3")
    assert differences(other.trials[1], plan.provenance, older) == ["seeds.order: absent -> 3"]


def test_the_nearest_of_all_is_named_with_the_keys(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, *EXPERIMENT)
    near, far = (
        plan_of(tmp_path, *EXPERIMENT, *words)
        for words in (["schedule.steps=900"], ["schedule.steps=900", "data.flip=0"])
    )
    runs = (finished(far, far.trials[1], "farfarfar"), finished(near, near.trials[1], "nearnear"))
    lines = explain(plan, past(*runs), reuse=True)
    start = lines.index(f"branch · seed 0 ({plan.trials[1].short}): new")
    assert lines[start + 1 :] == [
        "    nearest is run nearnear of before (branch seed 0), 1 difference:",
        "      schedule.steps: 900 -> 450",
    ]


def test_every_state_has_its_words(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, *EXPERIMENT, "experiment.seeds=[0,1]")
    done, taken, partly, unusable = plan.trials[1], plan.trials[3], plan.trials[0], plan.trials[2]
    plan.folder_of(done).mkdir(parents=True)
    write_summary(plan.folder_of(done), done.identity, summary_of({"branch": {}}))
    run = finished(plan, taken)
    sources = {
        taken.identity: ReuseSource(run, {"branch": run}),
        partly.identity: ReuseSource(run, {"none": run}),
    }
    problems = {unusable.identity: "run x of y: it is gone"}
    text = "\n".join(explain(plan, past(sources=sources, problems=problems, here={done.identity: run}), reuse=True))
    assert f"({done.short}): done here, run 12345678 of before\n" in text
    assert f"({taken.short}): not trained; weights of run 12345678 of before" in text
    assert "branch: reused from run 12345678 of before" in text
    assert "none: reused from run 12345678 of before\n    from_regression: evaluated with other settings" in text
    assert f"({unusable.short}): new\n    finished before, but not to be reused: run x of y: it is gone" in text
    assert "no other finished training in the store" in text


def test_the_nearest_is_that_of_all_differences_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(tmp_path, *EXPERIMENT)
    words: tuple[list[str], ...] = (
        ["schedule.steps=900"],
        ["data.flip=0"],
        ["schedule.steps=900", "data.flip=0"],
        ["seeds.order=3"],
        [],
    )
    others = [plan_of(tmp_path, *EXPERIMENT, *each) for each in words]
    runs = [
        finished(other, trial, f"run{number}{trial.seed}", **tags)
        for number, other in enumerate(others)
        for trial in other.trials
        for tags in ({"fcos.code": "0" * 64}, {"fcos.data_digest": "other"}, {"fcos.versions": "{}"}, {})
    ]
    nearest = FinishedRuns(runs, plan.provenance)
    for trial in plan.trials:
        listed = [(differences(trial, plan.provenance, run), run) for run in runs]
        lines, run = min(((lines, run) for lines, run in listed if lines), key=lambda entry: len(entry[0]))
        assert nearest.nearest(trial) == (run, lines)
    described: list[int] = []
    monkeypatch.setattr(explain_module, "_recorded", lambda run: described.append(1))
    assert all(nearest.nearest(trial) for trial in plan.trials) and described == [], "each run is read once"
