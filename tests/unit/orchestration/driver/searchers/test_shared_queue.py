"""What Tune is given of trainings that another command has too: it waits, takes results, and takes trainings over."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestration.driver.events import TrialStopped
from orchestration.driver.searchers import training_queue
from orchestration.driver.searchers.plan_searcher import PlanSearcher
from orchestration.driver.searchers.training_queue import TrainingQueue
from orchestration.leases.lease import Lease, Outcome, Superseded, expire
from orchestration.trial import files
from orchestration.trial.failures import write_failure
from orchestration.trial.task import TASK
from tests.helpers.counted_calls import count_calls
from tests.helpers.experiments.composed import plan_of
from tests.helpers.experiments.summaries import summary_of
from tests.helpers.two_sweeps import EXPERIMENT, Scene


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


class Driver:
    """The searcher of the second sweep, with the events of trainings that the first one has."""

    def __init__(self, scene: Scene) -> None:
        self.events: list[object] = []
        self.leases: dict[int, Lease | None] = {}
        self.plan = scene.plan
        queue = TrainingQueue(scene.plan, {}, scene.shared, self.events.append)
        indices = range(len(scene.plan.trials))
        # What a training left on another machine, by its folder: it is here only once it is fetched.
        self.left: dict[Path, Callable[[], None]] = {}
        self.searcher = PlanSearcher(scene.plan, indices, queue, self.task, None, self.fetch)

    def fetch(self, folder: Path) -> None:
        self.left.pop(folder, lambda: None)()

    def task(self, index: int, _: tuple[int, ...], lease: Lease | None) -> Any:
        self.leases[index] = lease
        return index

    def suggest(self, name: str) -> Any:
        """Return the index of the next training, or what else is suggested."""
        suggested = self.searcher.suggest(name)
        return suggested[TASK] if isinstance(suggested, dict) else suggested

    def finish(self, name: str, index: int) -> None:
        trial = self.plan.trials[index]
        metrics: dict[str, dict[str, float]] = {arm: {} for arm in trial.arms}
        files.write_summary(self.plan.folder_of(trial), trial.identity, summary_of(metrics))
        self.searcher.on_trial_complete(name)

    def names(self) -> list[str]:
        return [type(event).__name__ for event in self.events]


def test_what_is_shared_comes_after_what_is_not(scene: Scene) -> None:
    """Both have the training of two arms; the one of arm branch is of the second sweep alone."""
    scene.first.holder.heartbeat([scene.trial.identity], {})
    scene.shared.look()
    driver = Driver(scene)
    assert (driver.suggest("a"), driver.suggest("b")) == (1, 0)
    assert [lease.identity for lease in driver.leases.values() if lease] == [
        scene.plan.trials[index].identity for index in (1, 0)
    ]


def test_a_sweep_ends_with_what_it_trained_and_what_it_took(scene: Scene) -> None:
    scene.first.claim(scene.trial)
    scene.store()
    driver = Driver(scene)
    assert (driver.suggest("a"), driver.suggest("b")) == (1, None)
    driver.finish("a", 1)
    assert driver.suggest("b") is None, "it waits although nothing runs here"
    scene.first.heartbeat(step=20)
    scene.shared.look()
    assert driver.suggest("b") is None
    scene.first.finish(scene.trial)
    scene.shared.look()
    assert driver.suggest("b") == PlanSearcher.FINISHED
    assert driver.names() == ["TrialFollowed", "TrialFollowed", "TrialReused"]
    assert [getattr(event, "step", None) for event in driver.events] == [0, 20, None]


def test_a_training_that_was_taken_over_waits_for_the_result(scene: Scene) -> None:
    driver = Driver(scene)
    assert driver.suggest("a") == 0
    lease = driver.leases[0]
    assert lease is not None
    # The first sweep has seen no heartbeat of the second one for long.
    expire(scene.objects, lease.identity, scene.lease(), "a")
    scene.first.claim(scene.trial)
    scene.store()
    with pytest.raises(Superseded) as raised:
        lease.check()
    folder = scene.plan.folder_of(scene.trial)

    def fail() -> None:
        write_failure(folder, raised.value, retryable=False)

    driver.left[folder] = fail
    scene.shared.handle(TrialStopped(0, scene.trial, str(raised.value), begun=True))
    driver.searcher.on_trial_complete("a")
    assert (driver.suggest("b"), driver.suggest("c")) == (1, None)
    scene.first.finish(scene.trial)
    scene.shared.look()
    assert driver.suggest("c") is None, "the other one still runs"
    assert scene.plan.summary_of(scene.trial) is not None
    assert driver.names()[-1] == "TrialReused"


def test_trainings_that_would_begin_from_one_that_is_trained_elsewhere_do_not_wait_for_it(tmp_path: Path) -> None:
    scene = Scene(tmp_path, "+experiment=ablation_decay")
    scene.first.claim(scene.plan.trials[1])
    driver = Driver(scene)
    assert (driver.suggest("a"), driver.suggest("b")) == (0, None), "all others begin from it, one after the other"
    driver.finish("a", 0)
    assert driver.suggest("b") is None and driver.names() == ["TrialFollowed"]
    assert driver.suggest("b") == 2
    assert driver.suggest("c") is None, "the last one begins from a checkpoint of this one instead"


def test_a_budget_that_is_used_up_ends_the_wait(scene: Scene) -> None:
    scene.first.claim(scene.trial)
    driver = Driver(scene)
    assert (driver.suggest("a"), driver.suggest("b")) == (1, None)
    files.hold_back(scene.plan.folder)
    assert driver.suggest("b") == 0, "its process returns at once"
    assert driver.leases[0] is None


def test_the_turns_of_all_are_found_once_for_each_look_at_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(tmp_path)
    plan = plan_of(tmp_path, EXPERIMENT, f"experiment.seeds={list(range(20))}".replace(" ", ""), "name=second")
    scene.plan = scene.shared.plan = scene.results._plan = plan
    driver = Driver(scene)
    turns = count_calls(monkeypatch, TrainingQueue, "_turn")
    begun = [driver.suggest(str(number)) for number in range(30)]
    assert len(set(begun)) == 30 and len(turns) == 40
    scene.shared.look()
    assert driver.suggest("next") not in begun and len(turns) == 40 + 10


def test_a_training_that_was_begun_before_does_not_make_all_be_looked_at_for_what_they_begin_from(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = count_calls(monkeypatch, training_queue, "find_prefixes")
    for trial in scene.plan.trials:
        claim = scene.first.claim(trial)
        assert claim is not None
        claim.give_back(Outcome.STOPPED)
    driver = Driver(scene)
    assert (driver.suggest("a"), driver.suggest("b")) == (0, 1)
    assert [lease.generation for lease in driver.leases.values() if lease] == [2, 2] and len(found) == 1
