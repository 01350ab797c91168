"""A run asks whether its machine stays every few seconds, at steps that follow from its pace, not at every step.

So does an evaluation, at batches that follow from its own pace.
"""

from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from fcos.runtime import LocalRuntime
from fcos.storage.run_folder import STOP
from fcos.training import interruption
from fcos.training.interruption import EvaluationInterrupted, InterruptionPoll, until_preempted


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("fcos.training.interruption.time.monotonic", clock)
    return clock


def poll_in(folder: Path, requests: list[int], answer: bool = False) -> InterruptionPoll:
    def notice() -> bool:
        requests.append(1)
        return answer

    runtime = LocalRuntime(folder, torch.device("cpu"), preemption_pending=notice)
    return InterruptionPoll(runtime, 100)


def test_questions_are_seconds_apart_whatever_the_pace(tmp_path: Path, clock: Clock) -> None:
    requests: list[int] = []
    poll = poll_in(tmp_path, requests)
    due = []
    for step in range(101, 401):
        # A tenth of a second for a step, later half a second.
        clock.now += 0.1 if step <= 250 else 0.5
        before = len(requests)
        assert poll.poll(step, reported=False) == ""
        if len(requests) > before:
            due.append((step, clock.now))
    assert due[0][0] == 101
    gaps = [after - before for (_, before), (_, after) in pairwise(due)]
    assert all(gap == pytest.approx(interruption.POLL_SECONDS, abs=0.6) for gap in gaps[:4])
    # One question is late where the pace changes; the next know it.
    assert sum(gap > interruption.POLL_SECONDS + 0.6 for gap in gaps) <= 1


def test_reports_between_do_not_ask_the_machine(tmp_path: Path, clock: Clock) -> None:
    requests: list[int] = []
    poll = poll_in(tmp_path, requests)
    for step in range(101, 131):
        clock.now += 0.1
        assert poll.poll(step, reported=True) == ""
    assert len(requests) == 1


def test_a_stop_takes_effect_at_reports_alone_and_comes_first(tmp_path: Path, clock: Clock) -> None:
    poll = poll_in(tmp_path, [], answer=True)
    (tmp_path / STOP).touch()
    clock.now = 1.0
    assert poll.poll(101, reported=True) == "stop"
    clock.now = 9.0
    assert poll.poll(120, reported=False) == "preempt"


def evaluate(folder: Path, clock: Clock, seconds: list[float], notice_after: float, shared: int) -> list[int]:
    """The batches that are evaluated before it is given up, each in so many seconds; a notice comes at some time."""
    runtime = LocalRuntime(folder, torch.device("cpu"), preemption_pending=lambda: clock.now >= notice_after)
    done: list[int] = []
    with suppress(EvaluationInterrupted):
        for batch in until_preempted(range(len(seconds)), runtime, shared):
            clock.now += seconds[batch]
            done.append(batch)
    return done


def test_an_evaluation_of_slow_batches_is_given_up_after_the_one_in_which_a_notice_comes(
    tmp_path: Path, clock: Clock
) -> None:
    assert evaluate(tmp_path, clock, [4.0] * 9, notice_after=9.0, shared=9) == [0, 1, 2]


def test_an_evaluation_of_fast_batches_goes_on_for_seconds_at_most(tmp_path: Path, clock: Clock) -> None:
    done = evaluate(tmp_path, clock, [0.1] * 1000, notice_after=50.0, shared=1000)
    assert 50.0 <= 0.1 * len(done) <= 50.0 + interruption.POLL_SECONDS + 0.2


def test_a_notice_before_an_evaluation_costs_one_batch(tmp_path: Path, clock: Clock) -> None:
    assert evaluate(tmp_path, clock, [0.1] * 9, notice_after=0.0, shared=9) == [0]


def test_a_batch_that_other_workers_do_not_have_is_not_polled_after(tmp_path: Path, clock: Clock) -> None:
    # The others are at a collective that comes after their last batch.
    assert evaluate(tmp_path, clock, [4.0] * 3, notice_after=9.0, shared=2) == [0, 1, 2]
    assert evaluate(tmp_path, clock, [4.0], notice_after=0.0, shared=0) == [0]
