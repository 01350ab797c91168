"""Trainings that run at the same time need room in shared memory together."""

from pathlib import Path

import pytest

from fcos.errors import ConfigError
from orchestration.cluster.resources import Node
from orchestration.experiment.data import DatasetInfo
from orchestration.planning import side_by_side
from orchestration.planning.make_plan import make_plan
from orchestration.planning.plan import Plan
from orchestration.planning.reuse import ReusableRuns
from orchestration.planning.side_by_side import check_loaders_together
from orchestration.trial.files import write_summary
from tests.helpers.experiments.composed import composed_into
from tests.helpers.experiments.seed_rounds import EXPERIMENT, WORDS, clear, finish
from tests.helpers.experiments.summaries import summary_of

MIB = 2**20
ARMS = ("+experiment=ablation_centerness", "experiment.seeds=[0]")


def check(folder: Path, *words: str, cpus: int = 2) -> Plan:
    """Check the plan of a command each of whose trainings needs 60 MiB; return the plan."""
    lab = composed_into(folder, *words)
    plan = make_plan(lab, lambda config: DatasetInfo("d", loader_bytes=60 * MIB))
    check_loaders_together(lab, plan, [Node(cpus=cpus)], ReusableRuns(None))
    return plan


@pytest.fixture(autouse=True)
def free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_by_side, "free_bytes", lambda: 100 * MIB)


def test_two_trainings_of_which_each_fits_alone_are_refused_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        check(tmp_path, *ARMS)
    assert str(error.value) == (
        "cluster.concurrent: 2 trainings side by side need 120.0 MiB of /dev/shm for the batches of their loader "
        "processes, where 100.0 MiB are free; give cluster.concurrent=1, or fewer data.num_workers (0 loads in the "
        "training process itself), or make it larger: in Docker with --shm-size=1024m"
    )


def test_trainings_one_after_the_other_pass(tmp_path: Path) -> None:
    check(tmp_path, *ARMS, "cluster.concurrent=1")
    check(tmp_path, *ARMS, cpus=1)


def test_only_what_is_left_to_train_counts(tmp_path: Path) -> None:
    plan = check(tmp_path, *ARMS, cpus=1)
    done = plan.trials[0]
    plan.folder_of(done).mkdir(parents=True)
    write_summary(plan.folder_of(done), done.identity, summary_of({arm: {} for arm in done.arms}))
    check(tmp_path, *ARMS)


def test_rounds_of_seeds_are_not_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first round has two trainings of each of three seeds, later ones have two."""
    words = (EXPERIMENT, *WORDS, "experiment.most_seeds=6")
    monkeypatch.setattr(side_by_side, "free_bytes", lambda: 6 * 60 * MIB)
    plan = check(tmp_path, *words, cpus=8)
    monkeypatch.setattr(side_by_side, "free_bytes", lambda: 5 * 60 * MIB)
    with pytest.raises(ConfigError, match=r"^cluster\.concurrent: 6 trainings side by side need 360\.0 MiB"):
        check(tmp_path, *words, cpus=8)
    finish(plan, [index for index, trial in enumerate(plan.trials) if trial.seed < 3], clear)
    monkeypatch.setattr(side_by_side, "free_bytes", lambda: 2 * 60 * MIB)
    check(tmp_path, *words, cpus=8)
    monkeypatch.setattr(side_by_side, "free_bytes", lambda: 60 * MIB)
    with pytest.raises(ConfigError, match=r"^cluster\.concurrent: 2 trainings side by side need 120\.0 MiB"):
        check(tmp_path, *words, cpus=8)
    check(tmp_path, *words, "cluster.concurrent=1", cpus=8)


def test_points_that_a_search_is_yet_to_draw_count(tmp_path: Path) -> None:
    words = ("+experiment=search_fcos", "search=tpe", "experiment.search.trials=3")
    with pytest.raises(ConfigError, match=r"^cluster\.concurrent: 2 trainings side by side need 120\.0 MiB"):
        check(tmp_path, *words)
    check(tmp_path, *words, "cluster.concurrent=1")


def test_machines_of_a_cluster_are_not_this_one(tmp_path: Path) -> None:
    lab = composed_into(tmp_path, *ARMS)
    plan = make_plan(lab, lambda config: DatasetInfo("d", loader_bytes=60 * MIB))
    check_loaders_together(lab, plan, None, ReusableRuns(None))
