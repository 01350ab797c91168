"""Whether a driver is alive: processes of this machine by their start, others by what their records do."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from orchestration.cli.lock import LockOwner, lock_folder, read_owner
from orchestration.monitor.liveness import FRESH_SECONDS, STALE_SECONDS, Sign, find_sign, watch_unsure
from orchestration.monitor.record import read_status, write_status
from tests.helpers.status_folders import make_folder, record

ELSEWHERE = LockOwner(7, "another-machine", "today")


class Clock:
    """Time that passes by sleeping alone; something may happen at each sleep."""

    def __init__(self, happens: object = None) -> None:
        self.now, self._happens = 0.0, happens

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if callable(self._happens):
            self._happens()


def sign_of(folder: Path, owner: LockOwner | None, written: float, now: float = 1000.0) -> Sign:
    kept = record(host=ELSEWHERE.host, pid=ELSEWHERE.pid, written=written)
    make_folder(folder, kept=kept)
    return find_sign(folder, owner, read_status(folder), now)


def test_the_holder_of_a_lock_is_alive_and_one_of_an_ended_command_is_none(tmp_path: Path) -> None:
    with lock_folder(tmp_path, "now"):
        owner = read_owner(tmp_path)
        assert owner is not None and owner.pid == os.getpid() and owner.is_here
        assert find_sign(tmp_path, owner, None, 0.0).driver == "alive"
    assert read_owner(tmp_path) is None
    assert find_sign(tmp_path, None, None, 0.0).driver == "none"


def test_a_pid_that_was_given_again_is_not_the_holder(tmp_path: Path) -> None:
    with lock_folder(tmp_path, "now"):
        owner = read_owner(tmp_path)
    assert owner is not None
    assert find_sign(tmp_path, replace(owner, begin=owner.begin - 60), None, 0.0).driver == "gone"
    # Of a lock by an older version the start is not known.
    assert find_sign(tmp_path, replace(owner, begin=0.0), None, 0.0).driver == "alive"


@pytest.mark.parametrize(
    ("age", "driver"),
    [
        (1.0, "alive"),
        (-1.0, "alive"),
        (FRESH_SECONDS, "unsure"),
        (-3600.0, "unsure"),
        (STALE_SECONDS, "unsure"),
        (STALE_SECONDS + 1, "gone"),
    ],
)
def test_a_driver_on_another_machine_is_alive_while_its_record_is_young(
    tmp_path: Path, age: float, driver: str
) -> None:
    assert sign_of(tmp_path, ELSEWHERE, written=1000.0 - age).driver == driver


def test_the_record_of_a_command_before_is_no_sign_of_the_holder(tmp_path: Path) -> None:
    assert sign_of(tmp_path, replace(ELSEWHERE, pid=8), written=1000.0).driver == "unsure"


def test_a_record_that_changes_is_a_sign_of_life_whatever_its_clock(tmp_path: Path) -> None:
    sign = sign_of(tmp_path, ELSEWHERE, written=5.0, now=900.0)

    def write() -> None:
        write_status(tmp_path, record(host=ELSEWHERE.host, pid=ELSEWHERE.pid, written=7.0, count=6))

    clock = Clock(write)
    (found,) = watch_unsure([sign], 10.0, clock, clock.sleep)
    assert found.driver == "alive" and found.record is not None and found.record.count == 6
    assert clock.now < 10.0, "a sign ends the wait"


def test_a_record_that_does_not_change_is_of_a_driver_that_is_gone(tmp_path: Path) -> None:
    dead, alive = sign_of(tmp_path / "a", ELSEWHERE, 50.0), sign_of(tmp_path / "b", ELSEWHERE, 999.0)

    def damage() -> None:
        (tmp_path / "a" / "status.json").write_text("{")

    clock = Clock(damage)
    assert [each.driver for each in watch_unsure([dead, alive], 10.0, clock, clock.sleep)] == ["gone", "alive"]
    assert clock.now >= 10.0


def test_a_driver_that_is_known_to_be_alive_is_not_waited_for(tmp_path: Path) -> None:
    clock = Clock()
    assert watch_unsure([sign_of(tmp_path, ELSEWHERE, 999.0)], 10.0, clock, clock.sleep)[0].driver == "alive"
    assert clock.now == 0.0


@pytest.mark.parametrize("text", ["", "{", "null", "[]", '{"pid": "x", "host": "h", "since": "s"}', '{"host": "h"}'])
def test_a_lock_that_is_just_being_written_names_no_process(tmp_path: Path, text: str) -> None:
    (tmp_path / "lock").write_text(text)
    assert read_owner(tmp_path) is None
