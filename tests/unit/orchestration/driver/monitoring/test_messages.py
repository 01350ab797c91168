"""Messages about a command: their text, when they are sent, and that no failure of sending is more than a note."""

import io
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from orchestration.cli.console import Output
from orchestration.cli.event_stream import EventStream
from orchestration.config.schema import NotifyConfig
from orchestration.driver.events import TrialFailed
from orchestration.driver.monitoring import messages as module
from orchestration.driver.monitoring.messages import MOST_LINES, Messages, end_message
from orchestration.notify.sender import Message
from orchestration.planning.plan import Plan
from tests.helpers.experiments.seed_rounds import plan_rounds
from tests.helpers.status_folders import record, training


class Sent:
    """Takes messages in the place of the process that sends them."""

    def __init__(self, problem: str | None = None) -> None:
        self.messages: list[Message] = []
        self.problem = problem

    def __call__(self, variable: str, seconds: float) -> "Sent":
        assert (variable, seconds) == ("URLS", 10)
        return self

    def send(self, message: Message) -> str | None:
        self.messages.append(message)
        return self.problem


class Command:
    """A command with an address for its messages."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, problem: str | None, **notify: Any) -> None:
        self.plan: Plan = plan_rounds(folder)[1]
        self.sent = Sent(problem)
        monkeypatch.setattr(module, "Sender", self.sent)
        self._file = io.StringIO()
        output = Output(Console(file=io.StringIO()), EventStream(self._file))
        self.messages = Messages(NotifyConfig.model_validate({"urls_from": "URLS", **notify}), self.plan, output)

    def fail(self, index: int) -> None:
        self.messages.report_failure(TrialFailed(index, self.plan.trials[index], "diverged\nlog: x"))

    @property
    def notes(self) -> list[str]:
        return [json.loads(line)["text"] for line in self._file.getvalue().splitlines()]


ENDED = {"phase": "ended", "exit_code": 0}


def write_report(folder: Path, *verdicts: str) -> None:
    (folder / "report").mkdir(parents=True)
    records = [{"metric": "val/AP", "arm": f"arm_{i}", "text": text} for i, text in enumerate(verdicts)]
    values = {"schema_version": 1, "verdicts": records}
    (folder / "report" / "report.json").write_text(json.dumps(values))


def test_the_end_has_outcome_verdicts_and_the_table(tmp_path: Path) -> None:
    write_report(tmp_path, "higher than none", "lower than none")
    trainings = [training(0, state="kept"), training(1, state="finished"), training(2, state="later")]
    message = end_message(record(*trainings, **ENDED, host="one", written=1025.0), tmp_path)
    assert (message.kind, message.title) == ("success", "shapes: finished")
    assert message.body.splitlines() == [
        "2 trainings: 2 done; 02:05 on one",
        "arm_0: higher than none",
        "arm_1: lower than none",
        f"table: {tmp_path / 'report' / 'table.csv'}",
    ]


def test_failures_are_named_and_a_report_of_an_earlier_command_is_none(tmp_path: Path) -> None:
    write_report(tmp_path, "branch: higher than none")
    os.utime(tmp_path / "report" / "report.json", (1.0, 1.0))
    failed = [training(index, state="failed", reason="diverged") for index in range(MOST_LINES + 2)]
    message = end_message(record(*failed, phase="ended", exit_code=1), tmp_path)
    assert (message.kind, message.title) == ("failure", "shapes: ended with failures")
    lines = message.body.splitlines()
    assert lines[0].startswith("8 trainings: 0 done, 8 failed; ")
    assert lines[1].startswith("exit code 1: a training failed, or ")
    assert lines[2] == "failed: none · seed 0: diverged" and lines[-2] == "and 2 more"
    assert lines[-1] == f"no report; folder: {tmp_path}"


def test_a_stop_has_its_reason(tmp_path: Path) -> None:
    stopped = record(training(0, state="stopped"), phase="ended", exit_code=4)
    message = end_message(stopped, tmp_path, "the head is gone")
    assert (message.kind, message.title) == ("warning", "shapes: stopped")
    assert "1 training: 0 done, 1 left" in message.body and "exit code 4: the head is gone" in message.body


@pytest.mark.parametrize("text", ["{", '{"verdicts": 3}'])
def test_a_report_that_cannot_be_read_has_no_verdicts(tmp_path: Path, text: str) -> None:
    write_report(tmp_path)
    (tmp_path / "report" / "report.json").write_text(text)
    assert len(end_message(record(**ENDED), tmp_path).body.splitlines()) == 2


def test_the_first_failure_is_sent_at_once_and_the_end_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = Command(tmp_path, monkeypatch, None)
    command.fail(0)
    command.fail(1)
    command.messages.report_end(record(**ENDED))
    first, end = command.sent.messages
    assert first.title == f"{command.plan.name}: a training failed" and end.title == "shapes: finished"
    assert first.body.splitlines()[0] == f"{command.plan.trials[0].label}: diverged"
    assert command.notes == []


@pytest.mark.parametrize(("events", "titles"), [(("end",), ["finished"]), (("failure",), ["a training failed"])])
def test_only_the_events_that_are_wanted_are_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, events: tuple[str, ...], titles: list[str]
) -> None:
    command = Command(tmp_path, monkeypatch, None, events=events)
    command.fail(0)
    command.messages.report_end(record(**ENDED))
    assert [message.title.split(": ")[1] for message in command.sent.messages] == titles


def test_what_was_not_sent_is_a_note_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = Command(tmp_path, monkeypatch, "a service did not take it")
    command.fail(0)
    command.messages.report_end(record(**ENDED))
    assert command.notes == [
        "notify.urls_from=URLS: the message about the failed training was not sent: a service did not take it",
        "notify.urls_from=URLS: the message about the end was not sent: a service did not take it",
    ]


def test_without_an_address_nothing_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = Command(tmp_path, monkeypatch, None, urls_from=None)
    command.fail(0)
    command.messages.report_end(record(**ENDED, written=time.time()))
    assert command.sent.messages == [] and command.notes == []
