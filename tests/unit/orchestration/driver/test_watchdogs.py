"""A training without a sign of life is found, and its processes are ended whatever state they are in."""

import os
import threading
from pathlib import Path

import pytest

from orchestration.driver import watchdogs
from orchestration.driver.watchdogs import end_stalled
from orchestration.trial import heartbeat, processes, stalls
from orchestration.trial.heartbeat import TRIAL, Process, clear_heartbeats, read_heartbeats, registered
from tests.helpers.processes.waiting import wait_until


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


def test_workers_are_ended_before_the_trial_that_waits_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported: list[set[str]] = []
    monkeypatch.setattr(watchdogs, "TICK_SECONDS", 0.01)
    monkeypatch.setattr(stalls, "START_SECONDS", 0.0)
    monkeypatch.setattr(watchdogs, "_end_on_nodes", lambda folder, by_node, limit: reported.append(set(by_node)))
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
