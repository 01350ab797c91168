"""Trainings that two commands have: one trains, the other follows, takes the result, or takes the training over."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestration.driver.events import TrialEvent, TrialFailed, TrialFinished, TrialStopped
from orchestration.driver.searchers.plan_searcher import PlanSearcher
from orchestration.driver.searchers.training_queue import TrainingQueue
from orchestration.driver.sharing.shared_trainings import Begin, Follow, SharedTrainings, Taken
from orchestration.experiment.trials import Trial
from orchestration.leases.holders import LIMIT_SECONDS, OtherHolders, TrainingStep
from orchestration.leases.lease import Lease, LeaseState, Outcome, Superseded, expire, read_state
from orchestration.planning.repeats.other_results import OtherResults
from orchestration.trial import files
from orchestration.trial.failures import write_failure
from orchestration.trial.task import TASK
from tests.helpers.experiments.composed import composed_into, plan_of
from tests.helpers.experiments.stored_runs import StoredRuns
from tests.helpers.experiments.summaries import summary_of
from tests.helpers.memory_objects import MemoryObjects
from tests.helpers.other_command import STORE, OtherCommand

EXPERIMENT = "+experiment=ablation_centerness"


class Scene:
    """Sweep `second`, which begins to share its trainings while sweep `first` has some of them."""

    def __init__(self, output: Path, experiment: str = EXPERIMENT) -> None:
        self.objects, self.history = MemoryObjects(), StoredRuns()
        words = (experiment, "experiment.seeds=[0]")
        self.first = OtherCommand(self.objects, plan_of(output, *words, "name=first"))
        lab = composed_into(output, *words, "name=second")
        self.plan = plan_of(output, *words, "name=second")
        self.results = OtherResults(lab, self.plan, self.history)
        self.shared = self.share("b")
        self.shared.look()

    def share(self, name: str) -> SharedTrainings:
        return SharedTrainings(self.plan, self.objects, OtherHolders(self.objects, name), self.results, STORE, "two")

    @property
    def trial(self) -> Trial:
        """The training of arms none and from_regression, which both sweeps have."""
        return self.plan.trials[0]

    def look_for_long(self, command: SharedTrainings | None = None) -> None:
        """Look for so long that a counter that stands still is that of a dead command."""
        shared = command or self.shared
        holders = {read_state(self.objects, trial.identity).claim.holder for trial in self.plan.trials}
        for _ in range(int(LIMIT_SECONDS)):
            shared.others.look(1.01, holders)
        shared.look()

    def store(self) -> None:
        """Let the store have the runs of the first sweep's training, as it has them from the beginning on."""
        self.history._runs = tuple(self.first.runs(self.trial))

    def lease(self) -> LeaseState:
        return read_state(self.objects, self.trial.identity)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_a_training_that_no_other_command_has_begins_with_a_lease(scene: Scene) -> None:
    begun = scene.shared.obtain(scene.trial)
    assert isinstance(begun, Begin) and begun.lease is not None and begun.trunks is None
    claim = scene.lease().claim
    assert (claim.holder, claim.sweep, claim.host, claim.store) == ("b", "second", "two", STORE)
    assert claim.folder == str(scene.plan.folder_of(scene.trial))


def test_one_that_runs_elsewhere_is_followed_until_its_result_is_taken(scene: Scene) -> None:
    scene.first.claim(scene.trial)
    scene.store()
    followed = scene.shared.obtain(scene.trial)
    assert isinstance(followed, Follow)
    assert (followed.claim.sweep, followed.claim.host) == ("first", "one")
    scene.first.heartbeat(step=30)
    scene.shared.look()
    followed = scene.shared.obtain(scene.trial)
    assert isinstance(followed, Follow)
    assert followed.progress == TrainingStep(step=30, total_steps=60, loss=1.5)
    scene.first.finish(scene.trial)
    assert isinstance(scene.shared.obtain(scene.trial), Follow), "until the next look"
    scene.shared.look()
    taken = scene.shared.obtain(scene.trial)
    assert isinstance(taken, Taken) and taken.sweep == "first"
    assert taken.summary == scene.plan.summary_of(scene.trial)
    reused = files.read_reused(scene.plan.folder_of(scene.trial))
    assert reused is not None and (reused.sweep, reused.arms) == (
        "first", {"none": "run of none", "from_regression": "run of from_regression"},
    )  # fmt: skip
    assert scene.lease().generation == 1, "nothing was trained here"


def test_a_result_whose_command_was_killed_before_the_store_had_it_as_finished_is_taken(scene: Scene) -> None:
    scene.first.claim(scene.trial)
    scene.store()
    scene.first.finish(scene.trial)
    scene.look_for_long()
    assert isinstance(scene.shared.obtain(scene.trial), Taken)


def test_a_result_that_the_store_does_not_have_yet_is_waited_for_as_long_as_its_command_lives(scene: Scene) -> None:
    scene.first.claim(scene.trial)
    scene.first.finish(scene.trial)
    for _ in range(3):
        assert isinstance(scene.shared.obtain(scene.trial), Follow)
        scene.shared.look()
    scene.first.holder.end()
    scene.shared.look()
    begun = scene.shared.obtain(scene.trial)
    assert isinstance(begun, Begin) and begun.lease is not None and begun.lease.generation == 2


def test_a_training_that_failed_after_the_end_of_its_lease_is_not_waited_for(scene: Scene) -> None:
    """Its result could not be written, and its command has given it up."""
    scene.first.claim(scene.trial).finish()
    assert isinstance(scene.shared.obtain(scene.trial), Follow)
    scene.first.holder.heartbeat([], {})
    scene.shared.look()
    begun = scene.shared.obtain(scene.trial)
    assert isinstance(begun, Begin) and begun.lease is not None and begun.lease.generation == 2


def test_a_result_of_no_use_is_not_waited_for(scene: Scene) -> None:
    scene.first.claim(scene.trial)
    scene.store()
    scene.first.finish(scene.trial)
    weights = next(scene.first.plan.folder_of(scene.trial).glob("checkpoints/*/model.safetensors"))
    weights.write_bytes(b"damaged")
    begun = scene.shared.obtain(scene.trial)
    assert isinstance(begun, Begin) and begun.lease is not None and begun.lease.generation == 2


def test_a_training_whose_command_died_goes_on_here_from_its_checkpoint(scene: Scene) -> None:
    lease = scene.first.claim(scene.trial)
    scene.store()
    scene.first.save(scene.trial, step=100)
    assert isinstance(scene.shared.obtain(scene.trial), Follow)
    scene.look_for_long()
    begun = scene.shared.obtain(scene.trial)
    assert isinstance(begun, Begin) and begun.lease is not None and begun.lease.generation == 2
    assert [trunk.folder for trunk in begun.trunks or ()] == [scene.first.plan.folder_of(scene.trial)]
    with pytest.raises(Superseded, match="sweep second on two"):
        lease.finish()


def test_one_that_is_given_back_goes_on_here_at_the_next_look(scene: Scene) -> None:
    lease = scene.first.claim(scene.trial)
    assert isinstance(scene.shared.obtain(scene.trial), Follow)
    lease.give_back(Outcome.STOPPED)
    scene.shared.look()
    assert isinstance(scene.shared.obtain(scene.trial), Begin)


def test_of_two_that_wait_one_takes_over_and_the_other_follows_it(scene: Scene) -> None:
    lease = scene.first.claim(scene.trial)
    other = scene.share("c")
    other.others.look(0)
    assert isinstance(scene.shared.obtain(scene.trial), Follow) and isinstance(other.obtain(scene.trial), Follow)
    lease.give_back(Outcome.FAILED)
    scene.shared.look()
    other.look()
    assert isinstance(scene.shared.obtain(scene.trial), Begin)
    # It looked before, and believes the lease to be free.
    followed = other.obtain(scene.trial)
    assert isinstance(followed, Follow) and followed.claim.holder == "b"


def test_a_lease_that_an_earlier_command_of_the_same_sweep_left_is_not_waited_for(scene: Scene) -> None:
    earlier = OtherCommand(scene.objects, scene.plan, name="killed")
    lease = earlier.claim(scene.trial)
    begun = scene.shared.obtain(scene.trial)
    assert isinstance(begun, Begin) and begun.lease is not None and begun.lease.generation == 2
    with pytest.raises(Superseded):
        lease.check()


def test_a_command_of_the_same_sweep_that_lives_is_followed(scene: Scene) -> None:
    """On two hosts whose locks do not see each other: its result is already in the folder."""
    same = OtherCommand(scene.objects, scene.plan, name="alive")
    same.claim(scene.trial)
    scene.shared.look()
    same.heartbeat()
    scene.shared.look()
    assert isinstance(scene.shared.obtain(scene.trial), Follow)
    scene.history._runs = tuple(same.runs(scene.trial))
    same.finish(scene.trial)
    scene.shared.look()
    taken = scene.shared.obtain(scene.trial)
    assert isinstance(taken, Taken)
    assert files.read_reused(scene.plan.folder_of(scene.trial)) is None, "it was trained by this sweep"


def test_commands_with_another_store_share_nothing(scene: Scene) -> None:
    other = OtherCommand(scene.objects, scene.first.plan, name="apart", store="http://elsewhere:5000")
    lease = other.claim(scene.trial)
    assert scene.shared.obtain(scene.trial) == Begin(None)
    # As it is where the output folder was moved since.
    lease.finish()
    begun = scene.shared.obtain(scene.trial)
    assert isinstance(begun, Begin) and begun.lease is not None and begun.lease.generation == 2


def test_where_leases_cannot_be_read_the_training_begins_without_one(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.objects.broken = {trial.identity for trial in scene.plan.trials}
    assert [scene.shared.obtain(trial) for trial in scene.plan.trials] == [Begin(None), Begin(None)]
    (warning,) = caplog.records
    assert "leases cannot be kept ([Errno 5] Input/output error" in warning.getMessage()
    scene.shared.look()


@pytest.mark.parametrize("event", [TrialFinished, TrialFailed, TrialStopped])
def test_leases_are_given_back_with_the_end_of_their_trainings(scene: Scene, event: type) -> None:
    trial = scene.trial
    scene.shared.obtain(trial)
    events: dict[type, TrialEvent] = {
        TrialFinished: TrialFinished(0, trial, summary_of({})),
        TrialFailed: TrialFailed(0, trial, "diverged"),
        TrialStopped: TrialStopped(0, trial, "budget", begun=True),
    }
    made = events[event]
    scene.shared.handle(made)
    end = scene.lease().end
    assert end is not None and end.outcome == event.__name__.removeprefix("Trial").lower()
    scene.shared.handle(made)


def test_all_leases_are_given_back_at_the_end_of_a_command(scene: Scene) -> None:
    for trial in scene.plan.trials:
        scene.shared.obtain(trial)
    scene.shared.give_back_all()
    states = [read_state(scene.objects, trial.identity) for trial in scene.plan.trials]
    assert [state.end.outcome if state.end else None for state in states] == [Outcome.STOPPED, Outcome.STOPPED]


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
    driver.left[folder] = lambda: write_failure(folder, raised.value, retryable=False)
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
