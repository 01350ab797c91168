"""Looks and finished trainings of sweeps whose folder is gone are found in the store that their commands wrote."""

import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient

from fcos.errors import ConfigError
from fcos.storage.store_conventions import default_uri
from orchestration.planning.make_plan import make_plan
from orchestration.planning.repeats.earlier_looks import find_earlier_looks
from orchestration.planning.repeats.retraining import check_retraining
from orchestration.planning.reuse import find_reusable
from orchestration.tracking.history import open_history
from tests.helpers.experiments.composed import composed_into
from tests.helpers.recorded import DIGEST, record_ablation

WORDS = ("+experiment=ablation_centerness", "experiment.until=seeds", "experiment.seeds=[0,1,2,3,4,5]", "name=second")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output folder with the store of a sweep of three seeds, whose own folder is gone."""
    folder = tmp_path_factory.mktemp("recorded")
    shutil.rmtree(record_ablation(folder, "first", "[0,1,2]").folder)
    return folder


@pytest.fixture
def output(recorded: Path, tmp_path: Path) -> Path:
    """A copy of that folder, of the test's own."""
    return shutil.copytree(recorded, tmp_path, dirs_exist_ok=True)


def looks_in(output: Path) -> tuple[int, ...]:
    lab = composed_into(output, *WORDS)
    plan = make_plan(lab, lambda config: (DIGEST, ()))
    return find_earlier_looks(plan, lab.experiment, open_history(None, output)).seeds


def tag_trials(output: Path, key: str) -> None:
    client = MlflowClient(default_uri(output))
    ids = [each.experiment_id for each in client.search_experiments()]
    for run in client.search_runs(ids, "tags.`fcos.kind` = 'trial'"):
        client.set_tag(run.info.run_id, key, "x")


def test_a_sweep_whose_folder_is_gone_has_looked(output: Path) -> None:
    assert looks_in(output) == (3,)


@pytest.mark.parametrize("key", ["fcos.superseded_by", "fcos.archive"])
def test_runs_that_were_replaced_or_imported_are_none_of_its_looks(output: Path, key: str) -> None:
    tag_trials(output, key)
    assert looks_in(output) == ()


def test_runs_that_have_not_finished_are_none_of_its_looks(output: Path) -> None:
    client = MlflowClient(default_uri(output))
    ids = [each.experiment_id for each in client.search_experiments()]
    for run in client.search_runs(ids, "tags.`fcos.kind` = 'trial'"):
        client.set_terminated(run.info.run_id, "KILLED")
    assert looks_in(output) == ()


def test_looks_count_where_all_trainings_are_finished_here(output: Path) -> None:
    """Nothing is left to look up of the trainings themselves."""
    plan = record_ablation(output, "second", "[0,1,2,3,4,5]")
    lab = composed_into(output, *WORDS)
    reusable = find_reusable(lab, plan)
    assert (reusable.note, reusable.outage) == ("", "")
    assert find_earlier_looks(plan, lab.experiment, reusable.history).seeds == (3,)


def test_finished_trainings_are_not_trained_again_without_a_reason(output: Path) -> None:
    lab = composed_into(output, *WORDS).model_copy(update={"reuse": False})
    plan = make_plan(lab, lambda config: (DIGEST, ()))
    with pytest.raises(ConfigError, match=r"reuse=false: .* finished already as run [0-9a-f]{8} of first"):
        check_retraining(lab, plan, open_history(None, output))
