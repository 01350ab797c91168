"""Each look of a command is one event, with what it showed, however the command ends."""

import io
import json
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest
from rich.console import Console

from orchestration.cli.console import Output
from orchestration.cli.event_stream import EventStream
from orchestration.driver import sweep_run
from orchestration.driver.events import TrialFailed, TrialStopped
from orchestration.driver.searchers.plan_searcher import PlanSearcher
from orchestration.driver.searchers.training_queue import TrainingQueue
from orchestration.driver.sweep_run import SweepRun
from orchestration.planning.plan import read_plan
from orchestration.planning.prepare import Prepared
from orchestration.planning.reuse import ReusableRuns
from orchestration.planning.seed_rounds import LaterRounds
from orchestration.tracking.tracker import Tracker
from orchestration.trial.task import TASK
from tests.helpers.experiments.seed_rounds import Values, clear, finish, plan_rounds


class Command:
    """A command on rounds of seeds whose trainings are given their results, and its looks."""

    def __init__(self, tmp_path: Path) -> None:
        lab, self.plan, self.rounds = plan_rounds(tmp_path)
        self._file = io.StringIO()
        output = Output(Console(file=io.StringIO()), EventStream(self._file))
        self.run = SweepRun(Prepared(lab, self.plan, ReusableRuns(None)), output, on_workers=False)

    def train(self, value: Values) -> None:
        """Train one after the other as the searcher says; a training with a None fails."""

        def index_alone(index: int, forks: tuple[int, ...], lease: object) -> Any:
            return index

        later = LaterRounds(self.rounds, self.run._begin_round)
        pending = self.rounds.needed().indices
        searcher = PlanSearcher(self.plan, pending, TrainingQueue(self.plan, {}), index_alone, later)
        while isinstance(suggested := searcher.suggest("one"), dict):
            index = suggested[TASK]
            trial = self.plan.trials[index]
            finish(self.plan, [index], value)
            if self.plan.summary_of(trial) is None:
                self.run._progress.handle(TrialFailed(index, trial, "diverged"))
            searcher.on_trial_complete("one")

    def looks(self) -> list[dict[str, Any]]:
        self.run._close_sweep(reported=True)
        events = [json.loads(line) for line in self._file.getvalue().splitlines()]
        return [event for event in events if event["type"] == "look"]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    # Takes all that is recorded and keeps nothing; a call that a tracker does not have fails.
    monkeypatch.setattr(sweep_run, "Tracker", create_autospec(Tracker))
    return Command(tmp_path)


@pytest.mark.parametrize("failed", [None, 0, 3])
def test_every_round_is_one_look_also_where_a_training_failed(command: Command, failed: int | None) -> None:
    command.train(lambda arm, seed: None if (arm, seed) == ("branch", failed) else clear(arm, seed))
    looks = command.looks()
    seeds = [look["seeds"] for look in looks]
    assert seeds == list(range(3, seeds[-1] + 1)) and len(seeds) > 2
    assert [look["complete"] for look in looks] == [False] * (len(looks) - 1) + [True]
    assert all(look["outcomes"] for look in looks)
    assert [look["begun"] > 0 for look in looks] == [not look["complete"] for look in looks]


def test_a_round_that_was_stopped_is_a_look_at_the_pairs_that_are_there(command: Command) -> None:
    finish(command.plan, range(5), clear)
    command.run._progress.handle(TrialStopped(5, command.plan.trials[5], "the hours are used up", begun=True))
    looks = command.looks()
    stored = read_plan(command.plan.folder)
    assert stored is not None and stored.looks == [2, 3]
    assert [(look["seeds"], look["complete"], look["outcomes"]) for look in looks] == [(2, False, {}), (3, False, {})]


def test_rounds_that_an_earlier_command_ended_are_one_look_at_what_is_decided(tmp_path: Path, command: Command) -> None:
    command.train(clear)
    (look,) = Command(tmp_path).looks()
    assert look["complete"] and look["seeds"] == command.looks()[-1]["seeds"]
