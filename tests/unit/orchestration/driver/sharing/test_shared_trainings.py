"""Trainings that two commands have: one trains, the other follows, takes the result, or takes the training over."""

from pathlib import Path

import pytest

from orchestration.driver.events import TrialEvent, TrialFailed, TrialFinished, TrialStopped
from orchestration.driver.sharing.shared_trainings import Begin, Follow, Taken
from orchestration.leases.holders import TrainingStep
from orchestration.leases.lease import Outcome, Superseded, read_state
from orchestration.trial import files
from tests.helpers.experiments.summaries import summary_of
from tests.helpers.other_command import STORE, OtherCommand
from tests.helpers.two_sweeps import Scene


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


def test_a_lease_that_cannot_be_read_keeps_no_other_one_waiting(scene: Scene) -> None:
    """The looks at all of them are made one after the other."""
    leases = [scene.first.claim(trial) for trial in scene.plan.trials]
    assert all(isinstance(scene.shared.obtain(trial), Follow) for trial in scene.plan.trials)
    for lease in leases:
        lease.give_back(Outcome.STOPPED)
    scene.objects.broken = {scene.plan.trials[0].identity}
    scene.shared.look()
    assert isinstance(scene.shared.obtain(scene.plan.trials[1]), Begin)
    assert isinstance(scene.shared.obtain(scene.plan.trials[0]), Follow), "nothing new is known of it"


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
