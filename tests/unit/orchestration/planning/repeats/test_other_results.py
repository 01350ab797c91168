"""Results of commands that run at the same time: taken from the folder of the training, with runs that still run."""

from pathlib import Path

import pytest

from fcos.storage.run_folder import ATTEMPTS
from orchestration.experiment.trials import Trial
from orchestration.planning.plan import Plan
from orchestration.planning.repeats.other_results import OtherResult, OtherResults, result_in
from orchestration.trial import files
from orchestration.trial.retries import Attempts
from tests.helpers.experiments.composed import composed_into, plan_of
from tests.helpers.experiments.stored_runs import StoredRuns
from tests.helpers.memory_objects import MemoryObjects
from tests.helpers.other_command import OtherCommand

WORDS = ("+experiment=ablation_centerness", "experiment.seeds=[0]")


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return plan_of(tmp_path, *WORDS, "name=second")


@pytest.fixture
def trial(plan: Plan) -> Trial:
    return plan.trials[0]


@pytest.fixture
def first(tmp_path: Path, trial: Trial) -> OtherCommand:
    command = OtherCommand(MemoryObjects(), plan_of(tmp_path, *WORDS, "name=first"))
    command.claim(trial)
    return command


def results(tmp_path: Path, plan: Plan, history: StoredRuns) -> OtherResults:
    return OtherResults(composed_into(tmp_path, *WORDS, "name=second"), plan, history)


def test_runs_get_what_they_will_have_once_they_are_finished(first: OtherCommand, trial: Trial) -> None:
    folder = first.plan.folder_of(trial)
    assert result_in(folder, first.runs(trial), trial) == [], "there is no result yet"
    first.finish(trial)
    runs = result_in(folder, first.runs(trial), trial)
    assert [run.arm for run in runs] == ["none", "from_regression"]
    summary = files.load_summary(folder)
    for run in runs:
        assert Path(run.tags["fcos.checkpoint"]).is_dir()
        assert run.tags["fcos.checkpoint_sha256"] == summary.checkpoint_sha256 != ""


def test_a_result_is_taken_when_the_store_has_the_runs_of_all_arms(first: OtherCommand, trial: Trial) -> None:
    first.finish(trial)
    folder, runs = first.plan.folder_of(trial), first.runs(trial)
    assert result_in(folder, runs[:1], trial) == []
    assert result_in(folder / "elsewhere", runs, trial) == []
    # The runs are those of an earlier training in the same folder.
    (folder / "training_id.txt").write_text("another\n")
    assert result_in(folder, runs, trial) == []


def test_what_went_on_with_other_micro_batches_is_known_before_the_store_knows_it(
    tmp_path: Path, plan: Plan, trial: Trial, first: OtherCommand
) -> None:
    first.finish(trial)
    folder = first.plan.folder_of(trial)
    files.write_json(folder / ATTEMPTS, vars(Attempts(accumulate=2)))
    found = results(tmp_path, plan, StoredRuns(*first.runs(trial))).find(trial, folder)
    assert found == OtherResult(None, is_there=True, is_useless=True)


def test_a_result_is_taken_over_whole(tmp_path: Path, plan: Plan, trial: Trial, first: OtherCommand) -> None:
    first.finish(trial)
    looking = results(tmp_path, plan, StoredRuns(*first.runs(trial)))
    found = looking.find(trial, first.plan.folder_of(trial))
    assert found.source is not None and found.is_there and not found.is_useless
    summary = looking.take(trial, found.source)
    assert summary is not None and summary.metrics == files.load_summary(first.plan.folder_of(trial)).metrics
    folder = plan.folder_of(trial)
    assert summary.checkpoint is not None and (folder / summary.checkpoint).is_symlink()
    assert files.training_id(folder) not in ("", files.training_id(first.plan.folder_of(trial)))


def test_a_result_that_the_store_does_not_have_yet_is_there(
    tmp_path: Path, plan: Plan, trial: Trial, first: OtherCommand
) -> None:
    first.finish(trial)
    for history in (StoredRuns(), StoredRuns(problem="the store is down")):
        found = results(tmp_path, plan, history).find(trial, first.plan.folder_of(trial))
        assert found == OtherResult(None, is_there=True)


def test_a_store_that_does_not_answer_has_nothing(tmp_path: Path, plan: Plan, trial: Trial) -> None:
    down = results(tmp_path, plan, StoredRuns(problem="the store is down"))
    assert down.find(trial, tmp_path) == OtherResult()
    down = results(tmp_path, plan, StoredRuns(problem="the store is down"))
    assert down.find_trunks(trial) == ()


def test_a_store_that_is_made_later_is_found(tmp_path: Path, plan: Plan, trial: Trial) -> None:
    none = OtherResults(composed_into(tmp_path, *WORDS, "name=second"), plan)
    assert none.find(trial, tmp_path) == OtherResult() and none.find_trunks(trial) == ()
