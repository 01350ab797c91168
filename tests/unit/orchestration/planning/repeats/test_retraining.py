"""What is finished is trained again for a stated reason alone."""

from pathlib import Path

import pytest

from fcos.errors import ConfigError
from orchestration.config.compose import compose
from orchestration.config.overrides import check_overrides
from orchestration.config.schema import LabConfig
from orchestration.planning.make_plan import make_plan
from orchestration.planning.plan import Plan
from orchestration.planning.repeats.retraining import check_retraining
from orchestration.tracking.history import PastRun
from orchestration.tracking.problems import TrackingError
from tests.helpers.seed_rounds import clear, finish


class Store:
    """Has finished runs of some trainings."""

    def __init__(self, *identities: str) -> None:
        self._identities = identities

    def of_training(self, identity: str) -> list[PastRun]:
        return [PastRun("12345678abc", {"fcos.sweep": "first"}, {}, {})] if identity in self._identities else []


class Silent(Store):
    def of_training(self, identity: str) -> list[PastRun]:
        raise TrackingError("does not answer")


def planned(tmp_path: Path, *words: str) -> tuple[LabConfig, Plan]:
    given = ("+experiment=ablation_centerness", "experiment.seeds=[0,1]", f"output={tmp_path}", *words)
    lab = compose(check_overrides(given))
    return lab, make_plan(lab, lambda config: ("d", ()))


def check(lab: LabConfig, plan: Plan, store: Store) -> tuple[str, ...]:
    return check_retraining(lab, plan, store)  # type: ignore[arg-type]


def test_a_finished_training_is_not_trained_again_without_a_reason(tmp_path: Path) -> None:
    lab, plan = planned(tmp_path, "reuse=false")
    store = Store(*(trial.identity for trial in plan.trials))
    message = r"reuse=false: none, from_regression · seed 0 and 3 more would be trained again, finished already as "
    with pytest.raises(ConfigError, match=message + r"run 12345678 of first; .* retrain_reason="):
        check(lab, plan, store)
    lab, plan = planned(tmp_path, "reuse=false", "retrain_reason=another processor")
    (note,) = check(lab, plan, store)
    assert note.endswith("finished already as run 12345678 of first; retrain_reason: another processor")


def test_what_is_new_or_done_here_needs_none(tmp_path: Path) -> None:
    lab, plan = planned(tmp_path, "reuse=false")
    assert check(lab, plan, Store("another")) == ()
    finish(plan, range(len(plan.trials)), clear)
    assert check(lab, plan, Store(*(trial.identity for trial in plan.trials))) == (), "nothing is trained again"


def test_with_reuse_nothing_is_trained_again(tmp_path: Path) -> None:
    lab, plan = planned(tmp_path)
    assert check(lab, plan, Store(*(trial.identity for trial in plan.trials))) == ()


def test_a_store_that_does_not_answer_stops_nothing(tmp_path: Path) -> None:
    lab, plan = planned(tmp_path, "reuse=false")
    assert check(lab, plan, Silent()) == ()


def test_a_reason_without_training_again_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"retrain_reason='x': has no effect without reuse=false"):
        compose(check_overrides(["retrain_reason=x"]))
