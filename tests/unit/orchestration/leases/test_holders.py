"""Heartbeats of holders: judged by whether a counter moves, on the clock of the one who looks."""

from pathlib import Path

import pytest

from orchestration.leases.holders import GAP_SECONDS, HOLDERS, LIMIT_SECONDS, Holder, OtherHolders, TrainingStep
from orchestration.leases.objects import FolderObjects
from tests.helpers.memory_objects import MemoryObjects

LOOK = 2.0


class Scene:
    """A holder, and another command that looks at it every two seconds."""

    def __init__(self) -> None:
        self.objects = MemoryObjects()
        self.holder = Holder(self.objects, "a", "first", "one")
        self.others = OtherHolders(self.objects, "b")

    def heartbeat(self) -> None:
        self.holder.heartbeat(["x", "y"], {"x": TrainingStep(step=4, total_steps=60, loss=1.5)})

    def look(self, seconds: float, *needed: str) -> None:
        for _ in range(round(seconds / LOOK)):
            self.others.look(LOOK, needed)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_counter_that_moves_is_alive_for_ever_and_one_that_stands_is_dead(scene: Scene) -> None:
    for _ in range(100):
        scene.heartbeat()
        scene.look(LIMIT_SECONDS - LOOK)
        assert not scene.others.is_dead("a") and scene.others.is_present("a")
    assert scene.others.has_moved("a")
    scene.look(2 * LOOK)
    assert scene.others.is_dead("a") and not scene.others.is_present("a") and not scene.others.has_moved("a")
    scene.heartbeat()
    scene.look(LOOK)
    assert not scene.others.is_dead("a")


def test_what_it_trains_and_plans_is_known(scene: Scene) -> None:
    scene.heartbeat()
    scene.look(LOOK)
    assert scene.others.plans("y") and not scene.others.plans("z")
    assert scene.others.step_of("a", "x") == TrainingStep(step=4, total_steps=60, loss=1.5)
    assert scene.others.step_of("a", "y") == scene.others.step_of("unknown", "x") == TrainingStep()
    scene.look(LIMIT_SECONDS)
    assert not scene.others.plans("y"), "a dead command trains nothing"


def test_a_suspended_observer_does_not_take_others_for_dead(scene: Scene) -> None:
    """The time in which it did not look itself is no silence of theirs."""
    scene.heartbeat()
    scene.look(LOOK)
    scene.others.look(24 * 3600.0)
    assert not scene.others.is_dead("a")
    scene.look(LIMIT_SECONDS - GAP_SECONDS - LOOK)
    assert not scene.others.is_dead("a")
    scene.look(2 * LOOK)
    assert scene.others.is_dead("a")


def test_a_holder_of_a_lease_without_a_heartbeat_is_given_as_long(scene: Scene) -> None:
    scene.look(LIMIT_SECONDS, "gone")
    assert not scene.others.is_dead("gone")
    scene.look(LOOK, "gone")
    assert scene.others.is_dead("gone")
    # The name of one whose claim was cut short is not known.
    scene.look(LIMIT_SECONDS + LOOK, "")
    assert scene.others.is_dead("")


def test_a_heartbeat_that_cannot_be_read_is_no_silence(scene: Scene) -> None:
    scene.heartbeat()
    scene.look(LOOK)
    scene.objects.broken.add(f"{HOLDERS}/a")
    scene.look(10 * LIMIT_SECONDS)
    assert not scene.others.is_dead("a")
    scene.objects.broken = {HOLDERS}
    with pytest.raises(OSError, match="Input/output error"):
        scene.look(LOOK)
    assert not scene.others.is_dead("a")


def test_a_command_that_ended_is_neither_alive_nor_kept_in_mind(scene: Scene) -> None:
    scene.heartbeat()
    scene.look(LOOK)
    scene.holder.end()
    assert not scene.others.is_present("a")
    scene.heartbeat()
    scene.look(LOOK)
    assert scene.others.has_moved("a")
    scene.holder.end()
    scene.look(LOOK)
    assert not scene.others.plans("x") and not scene.others.has_moved("a")


def test_heartbeats_of_dead_commands_are_removed_and_no_others(scene: Scene) -> None:
    alive = Holder(scene.objects, "c", "third", "one")
    scene.heartbeat()
    for _ in range(3):
        alive.heartbeat((), {})
        scene.look(LIMIT_SECONDS / 2, "a", "gone", "")
    scene.others.remove_dead()
    assert scene.objects.names(HOLDERS) == ["c"]
    assert scene.others.is_dead("a"), "whoever has a lease of it may expire that"
    # It was suspended.
    scene.heartbeat()
    scene.look(LOOK)
    assert scene.others.plans("x")


def test_heartbeats_in_a_folder_are_whole(tmp_path: Path) -> None:
    objects = FolderObjects(tmp_path)
    others = OtherHolders(objects, "b")
    holder = Holder(objects, "a", "first", "one")
    for _ in range(3):
        holder.heartbeat(["x"], {"x": TrainingStep(loss=float("nan"))})
        others.look(LOOK)
    assert others.has_moved("a") and others.step_of("a", "x") == TrainingStep()
