"""Hours are counted over all commands, and at the limit trainings are asked to stop."""

from pathlib import Path

import pytest

from fcos.errors import ConfigError
from orchestration.cluster.resources import Demand
from orchestration.config.compose import compose
from orchestration.config.overrides import check_overrides
from orchestration.config.schema import BudgetConfig
from orchestration.driver import budget
from orchestration.driver.budget import enforce_budget
from orchestration.planning.spent import Spent, read_spent
from orchestration.trial.failures import is_held_back
from tests.helpers.processes.waiting import wait_until

NEED = Demand(workers=2, cpus=3, gpus=0.5, device="cuda")


def test_hours_count_workers_and_their_shares() -> None:
    spent = Spent.nothing()
    spent.add(1800, running=2, resources=NEED)
    assert (spent.wall, spent.cpu, spent.gpu) == (0.5, 6.0, 1.0)
    assert spent.exceeded(BudgetConfig()) == ""
    assert spent.exceeded(BudgetConfig(cpu_hours=6.5)) == ""
    assert spent.exceeded(BudgetConfig(cpu_hours=6, wall_hours=0.1)) == (
        "budget.cpu_hours=6 is used up (6 over all commands of this sweep)"
    )


def test_a_limit_stops_what_runs_and_lets_nothing_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "TICK_SECONDS", 0.02)
    trial = tmp_path / "trials" / "a"
    trial.mkdir(parents=True)
    with enforce_budget(tmp_path, BudgetConfig(wall_hours=0.05 / 3600), NEED, lambda: [trial]):
        wait_until((trial / "stop").exists)
    assert is_held_back(trial)
    spent = read_spent(tmp_path)
    assert spent.wall >= 0.05 / 3600
    # The next command counts on; with more to use, trainings begin again.
    with enforce_budget(tmp_path, BudgetConfig(wall_hours=1), NEED, lambda: [trial]):
        assert not is_held_back(trial)
        wait_until(lambda: read_spent(tmp_path).wall > spent.wall)


@pytest.mark.parametrize("value", ["0", "-1", "much"])
def test_a_budget_is_a_number_above_zero(value: str) -> None:
    with pytest.raises(ConfigError, match=r"budget\.cpu_hours"):
        compose(check_overrides([f"budget.cpu_hours={value}"]))


@pytest.mark.parametrize(
    "content", ["", "{}", '{"wall": -5, "cpu": 0, "gpu": 0}', '{"wall": NaN, "cpu": 0, "gpu": 0}', "[1]"]
)
def test_a_record_that_cannot_be_read_does_not_give_the_hours_back(tmp_path: Path, content: str) -> None:
    (tmp_path / "spent.json").write_text(content)
    with pytest.raises(ConfigError, match=r"spent\.json: not readable as the hours that this sweep has used"):
        read_spent(tmp_path)


def test_trainings_side_by_side_use_it_up_as_fast_as_they_are_many_and_all_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "TICK_SECONDS", 0.02)
    trials = [tmp_path / "trials" / name for name in ("a", "b", "c")]
    for trial in trials:
        trial.mkdir(parents=True)
    with enforce_budget(tmp_path, BudgetConfig(cpu_hours=0.7 / 3600), NEED, lambda: trials):
        wait_until(lambda: all((trial / "stop").exists() for trial in trials))
        spent = read_spent(tmp_path)
    assert spent.cpu == pytest.approx(3 * 6 * spent.wall)


def test_a_record_of_hours_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "spent.json").mkdir()
    with pytest.raises(
        ConfigError, match=r"spent\.json: hours that this sweep has used .*, not readable: Is a directory"
    ):
        read_spent(tmp_path)


def test_a_training_whose_folder_cannot_be_written_to_keeps_no_other_from_stopping(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(budget, "TICK_SECONDS", 0.02)
    gone, trial = tmp_path / "trials" / "a", tmp_path / "trials" / "b"
    trial.mkdir(parents=True)
    with enforce_budget(tmp_path, BudgetConfig(wall_hours=0.05 / 3600), NEED, lambda: [gone, trial]):
        wait_until((trial / "stop").exists)
        (trial / "stop").unlink()
        wait_until((trial / "stop").exists)
