"""The lock of a sweep's folder in a bucket: one command at a time, taken over where its heartbeat stands still."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from fcos.errors import ConfigError
from fcos.storage.bucket.objects import Objects
from orchestration.bucket.generations import Fence, Superseded, create, is_superseded, name_of, read_newest
from orchestration.cli.bucket_lock import LockTimes, lock_bucket, machine_name
from orchestration.cli.lock import FolderInUse
from orchestration.trial.processes import start_time
from tests.helpers.bucket_runs import CutFileSystem, holder, memory_bucket
from tests.helpers.processes.waiting import wait_until

FAST = LockTimes(heartbeat=0.02, stale=0.5, poll=0.02)


def test_one_command_after_the_other_has_the_lock() -> None:
    sweep = memory_bucket()
    for generation in (1, 2, 3):
        with lock_bucket(sweep, "now", times=FAST) as found:
            assert found == generation
            assert not is_superseded(sweep, generation)
    newest, last = read_newest(sweep)
    assert newest == 3 and last is not None and last.released


def test_a_second_command_of_this_machine_is_refused_at_once() -> None:
    sweep = memory_bucket()
    with lock_bucket(sweep, "2026-01-01T00:00:00", times=FAST):
        message = rf"in use by process {os.getpid()} on .* since 2026-01-01T00:00:00; wait, or give another name"
        with pytest.raises(FolderInUse, match=message), lock_bucket(sweep, "later", times=FAST):
            pytest.fail("held twice")
    with lock_bucket(sweep, "later", times=FAST):
        pass


def test_a_command_elsewhere_that_is_alive_is_left_alone() -> None:
    sweep = memory_bucket()
    assert create(sweep, 1, holder())
    done = threading.Event()

    def count() -> None:
        number = 0
        while not done.wait(0.02):
            number += 1
            sweep.write(name_of(1), holder(counter=number).to_bytes())

    thread = threading.Thread(target=count)
    thread.start()
    waits: list[str] = []
    try:
        patient = LockTimes(heartbeat=0.02, stale=3600.0, poll=0.02)
        with (
            pytest.raises(FolderInUse, match="process 7 on far since yesterday"),
            lock_bucket(sweep, "now", times=patient, on_wait=waits.append),
        ):
            pytest.fail("held twice")
    finally:
        done.set()
        thread.join()
    assert len(waits) == 1 and "locked by process 7 on far" in waits[0]


def test_a_lock_whose_heartbeat_stands_still_is_taken_over_and_its_holder_finds_out() -> None:
    sweep = memory_bucket()
    assert create(sweep, 1, holder())
    Fence.of_lock(sweep, 1)()
    with lock_bucket(sweep, "now", times=FAST) as generation:
        assert generation == 2
        with pytest.raises(Superseded, match="another command or attempt has taken over"):
            Fence.of_lock(sweep, 1)()
        Fence.of_lock(sweep, 2)()


@pytest.mark.parametrize("began", [1.0, 0.0])
def test_what_a_dead_process_of_this_machine_left_is_taken_over_at_once(began: float) -> None:
    sweep = memory_bucket()
    begin = start_time(os.getpid()) - 3600 if began else 0.0
    assert create(sweep, 1, holder(machine=machine_name(), pid=os.getpid() if began else 2**22 + 1, begin=begin))
    never = LockTimes(heartbeat=0.02, stale=3600.0, poll=0.02)
    with lock_bucket(sweep, "now", times=never) as generation:
        assert generation == 2


def test_a_holder_that_is_taken_over_finds_out_once_and_releases_nothing() -> None:
    sweep, lost = memory_bucket(), list[str]()
    with lock_bucket(sweep, "now", times=FAST, on_lost=lost.append) as generation:
        assert create(sweep, generation + 1, holder())
        wait_until(lambda: lost)
    assert len(lost) == 1 and "taken over" in lost[0]
    newest, now = read_newest(sweep)
    assert (newest, now) == (generation + 1, holder())


def test_of_many_that_find_a_stale_lock_one_takes_it() -> None:
    sweep = memory_bucket()
    assert create(sweep, 1, holder())
    gate = threading.Barrier(8)

    def take(number: int) -> bool:
        gate.wait()
        return create(sweep, 2, holder(token=str(number)))

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(take, range(8))) == 1


@pytest.mark.parametrize("shown", [0, 1, 2, 3])
def test_a_listing_that_lags_behind_hides_no_generation(monkeypatch: pytest.MonkeyPatch, shown: int) -> None:
    sweep = memory_bucket()
    for generation in (1, 2, 3):
        assert create(sweep, generation, holder())
    monkeypatch.setattr(Objects, "list", lambda *_: [name_of(each) for each in range(1, shown + 1)])
    assert read_newest(sweep) == (3, holder())
    assert is_superseded(sweep, 2) and is_superseded(sweep, 1) and not is_superseded(sweep, 3)
    assert not create(sweep, 2, holder(token="late"))


def test_a_lock_that_cannot_be_read_is_passed() -> None:
    sweep = memory_bucket()
    assert create(sweep, 1, holder())
    sweep.write(name_of(1), b"\xff not json")
    with lock_bucket(sweep, "now", times=FAST) as generation:
        assert generation == 2


def test_a_bucket_that_takes_nothing_is_refused_with_the_way_out() -> None:
    sweep = memory_bucket(CutFileSystem(MemoryFileSystem(), changes=0))
    with (
        pytest.raises(ConfigError, match=r"output=memory://.*refused: .*AWS_ACCESS_KEY_ID"),
        lock_bucket(sweep, "now", times=FAST),
    ):
        pytest.fail("locked")


def test_heartbeats_that_do_not_arrive_end_nothing() -> None:
    files = CutFileSystem(MemoryFileSystem())
    sweep = memory_bucket(files)
    with lock_bucket(sweep, "now", times=FAST):
        files.left = 0
        wait_until(lambda: files.refused)
        before = _counter(sweep)
        files.left = float("inf")
        wait_until(lambda: _counter(sweep) > before)


def _counter(sweep: Objects) -> int:
    _, now = read_newest(sweep)
    assert now is not None
    return now.counter


def test_the_default_ends_the_process_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda *sending: sent.append(sending))
    sweep = memory_bucket()
    with lock_bucket(sweep, "now", times=FAST) as generation:
        assert create(sweep, generation + 1, holder())
        wait_until(lambda: sent)
    assert sent == [(os.getpid(), 15)]


def test_a_fence_looks_now_and_then() -> None:
    now = [0.0]
    sweep = memory_bucket()
    assert create(sweep, 1, holder())
    fence = Fence.of_lock(sweep, 1, clock=lambda: now[0])
    fence()
    assert create(sweep, 2, holder())
    fence()
    now[0] = 3.0
    with pytest.raises(Superseded):
        fence()
