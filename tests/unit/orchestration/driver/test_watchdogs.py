"""A training without a sign of life is found, and its processes are ended whatever state they are in."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fcos.storage.run_folder import HEARTBEATS
from orchestration.driver import watchdogs
from orchestration.driver.watchdogs import START_SECONDS, StallDetector, end_here, end_stalled
from orchestration.trial import files, heartbeat, processes
from orchestration.trial.failures import failure_reason, read_failure
from orchestration.trial.heartbeat import TRIAL, Process, clear_heartbeats, read_heartbeats, registered
from tests.helpers.processes.waiting import PATIENCE, wait_until


def asleep() -> "subprocess.Popen[str]":
    """A process that sleeps, and says when all that it starts sleeps too."""
    text = "import subprocess, sys, time\n"
    text += "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(3600)'])\nprint(child.pid)\n"
    text += "sys.stdout.flush()\ntime.sleep(3600)"
    return subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True)


def test_signs_are_seen_until_a_process_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "TOUCH_SECONDS", 0.0)
    with registered(tmp_path, "rank_0", "here") as touch:
        before = read_heartbeats(tmp_path)
        assert before["rank_0"][0] == Process("here", os.getpid(), processes.start_time(os.getpid()))

        def touch_is_seen() -> bool:
            touch()
            return read_heartbeats(tmp_path) != before

        # Clocks of files are coarse.
        wait_until(touch_is_seen)
    assert read_heartbeats(tmp_path) == {}


def test_heartbeats_cost_no_write_more_often_than_promised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "TOUCH_SECONDS", 3600.0)
    with registered(tmp_path, "rank_0", "here") as touch:
        before = read_heartbeats(tmp_path)
        for _ in range(1000):
            touch()
        assert read_heartbeats(tmp_path) == before


def test_a_heartbeat_after_the_files_were_cleared_is_lost_without_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "TOUCH_SECONDS", 0.0)
    with registered(tmp_path, "rank_0", "here") as touch:
        clear_heartbeats(tmp_path)
        touch()
        assert read_heartbeats(tmp_path) == {}


def test_quiet_counts_from_the_last_sign_of_any_worker(tmp_path: Path) -> None:
    detector = StallDetector(10)
    with registered(tmp_path, "rank_0", "here"), registered(tmp_path, "rank_1", "here"):
        assert detector.check([tmp_path], 1) == []
        assert detector.check([tmp_path], 9) == []
        os.utime(tmp_path / HEARTBEATS / "rank_1.json", (1, 1))
        assert detector.check([tmp_path], 9) == []
        assert detector.check([tmp_path], 9) == []
        assert detector.check([tmp_path], 1) == [tmp_path]
        assert detector.check([tmp_path], 9) == []


def test_a_training_whose_workers_have_not_signed_in_waits_for_room(tmp_path: Path) -> None:
    detector = StallDetector(10)
    with registered(tmp_path, TRIAL, "here"):
        assert detector.check([tmp_path], 1) == []
        assert detector.check([tmp_path], 100) == []
        with registered(tmp_path, "rank_0", "here"):
            assert detector.check([tmp_path], 100) == []
            assert detector.check([tmp_path], START_SECONDS) == []
            assert detector.check([tmp_path], 10) == [tmp_path]


def test_importing_is_given_time_until_the_first_sign_of_life(tmp_path: Path) -> None:
    detector = StallDetector(10)
    with registered(tmp_path, "rank_0", "here"):
        detector.check([tmp_path], 1)
        assert detector.check([tmp_path], 100) == []
        os.utime(tmp_path / HEARTBEATS / "rank_0.json", (1, 1))
        detector.check([tmp_path], 1)
        assert detector.check([tmp_path], 10) == [tmp_path]
    # The next attempt imports anew.
    with registered(tmp_path, "rank_0", "there"):
        detector.check([tmp_path], 1)
        assert detector.check([tmp_path], 100) == []


def test_time_in_which_a_training_did_not_run_does_not_count(tmp_path: Path) -> None:
    detector = StallDetector(10)
    with registered(tmp_path, "rank_0", "here"):
        detector.check([tmp_path], 1)
        detector.check([tmp_path], START_SECONDS + 9)
        detector.check([], 1)
        assert detector.check([tmp_path], 9) == []


@pytest.mark.ray
def test_a_stopped_process_and_its_child_are_ended_and_the_reason_is_kept(tmp_path: Path) -> None:
    process = asleep()
    assert process.stdout is not None
    child = int(process.stdout.readline())
    for each in (process.pid, child):
        os.kill(each, signal.SIGSTOP)
    end_here(str(tmp_path), [Process("here", process.pid, processes.start_time(process.pid))], "no progress for 10 s")
    assert process.wait(PATIENCE) == -signal.SIGKILL
    wait_until(lambda: not processes.start_time(child))
    assert failure_reason(tmp_path).startswith("Stalled: no progress for 10 s")
    assert files.read_notes(tmp_path) == ["no progress for 10 s, and it went on from its last checkpoint"]


@pytest.mark.ray
def test_a_pid_that_was_given_again_is_left_alone(tmp_path: Path) -> None:
    process = asleep()
    end_here(str(tmp_path), [Process("here", process.pid, 1.0)], "no progress")
    assert process.poll() is None
    assert read_failure(tmp_path) is None
    processes.kill(process.pid)
    process.wait(PATIENCE)


def test_workers_are_ended_before_the_trial_that_waits_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported: list[set[str]] = []
    monkeypatch.setattr(watchdogs, "TICK_SECONDS", 0.01)
    monkeypatch.setattr(watchdogs, "START_SECONDS", 0.0)
    monkeypatch.setattr(watchdogs, "_end_on_nodes", lambda folder, by_node, reason: reported.append(set(by_node)))
    with (
        registered(tmp_path, TRIAL, "driver"),
        registered(tmp_path, "rank_0", "a"),
        registered(tmp_path, "rank_1", "b"),
        end_stalled(0.1, lambda: [tmp_path]),
    ):
        wait_until(lambda: len(reported) >= 2)
    assert reported[0] == {"a", "b"}
    assert "driver" in reported[1]


def test_without_a_limit_no_thread_watches_and_no_training_is_looked_at() -> None:
    looked_at: list[Path] = []

    def running() -> list[Path]:
        looked_at.append(Path())
        return []

    threads = {thread.name for thread in threading.enumerate()}
    with end_stalled(None, running):
        assert {thread.name for thread in threading.enumerate()} == threads
    with end_stalled(1000.0, running):
        assert "stalls" in {thread.name for thread in threading.enumerate()}
        wait_until(lambda: looked_at)
