"""Messages about a command: what they hold, when they are sent, and what is noted where they are not."""

import threading
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from fcos.storage.store_conventions import Artifact
from orchestration.cli.console import Output, format_count, format_duration
from orchestration.cli.entry import OK, STOPPED
from orchestration.cli.event_records import EXIT_MEANINGS
from orchestration.config.schema import NotifyConfig
from orchestration.driver.events import TrialFailed
from orchestration.monitor.record import StatusRecord
from orchestration.notify.sender import KEY, START_SECONDS, Kind, Message, Sender
from orchestration.planning.plan import Plan

# As analysis/report.py names them.
REPORT_JSON, REPORT_TABLE = "report.json", "table.csv"
# Verdicts and failures that a message lists.
MOST_LINES = 6


class _Verdict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    arm: str
    text: str


class _Report(BaseModel):
    """What a message takes of report.json."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    verdicts: tuple[_Verdict, ...] = ()


class Messages:
    """Sends a message at the first failure and at the end, where the config has an address for them."""

    def __init__(self, notify: NotifyConfig, plan: Plan, output: Output) -> None:
        self._notify, self._plan, self._output = notify, plan, output
        self._sender = None if notify.urls_from is None else Sender(notify.urls_from, notify.timeout_seconds)
        # Sends the message about a failure, while other trainings go on.
        self._sending: threading.Thread | None = None
        self._problem: str | None = None

    def report_failure(self, event: TrialFailed) -> None:
        """Send the message about the first training that failed for good, and do not wait for it."""
        if self._sender is None or "failure" not in self._notify.events or self._sending is not None:
            return
        first = event.reason.splitlines()[0] if event.reason else "no reason is known"
        body = f"{event.trial.label}: {first}\nThe others go on; further failures are in the message at the end."
        message = Message(kind="failure", title=f"{self._plan.name}: a training failed", body=body)
        self._sending = threading.Thread(
            target=self._send_failure, args=(self._sender, message), name="message", daemon=True
        )
        self._sending.start()

    def _send_failure(self, sender: Sender, message: Message) -> None:
        self._problem = sender.send(message)

    def report_end(self, record: StatusRecord, reason: str = "") -> None:
        """Send the message about the end, and note what was not sent; reason: of an end before all was trained."""
        if self._sender is None:
            return
        if self._sending is not None:
            self._sending.join(self._notify.timeout_seconds + START_SECONDS)
            self._note("the failed training", self._problem)
        if "end" in self._notify.events:
            self._note("the end", self._sender.send(end_message(record, self._plan.folder, reason)))

    def _note(self, about: str, problem: str | None) -> None:
        if problem is not None:
            text = f"{KEY}={self._notify.urls_from}: the message about {about} was not sent: {problem}"
            self._output.note(text, "yellow")


def end_message(record: StatusRecord, folder: Path, reason: str = "") -> Message:
    """Return the message about the end of a command: outcome, what failed, verdicts, and where the table is."""
    states = [each.state for each in record.trainings if each.state != "later"]
    counts = {
        "done": states.count("finished") + states.count("kept"),
        "failed": states.count("failed"),
        "left": sum(states.count(state) for state in ("waiting", "followed", "running", "stopped")),
    }
    code = record.exit_code or OK
    outcome = {OK: "finished", STOPPED: "stopped"}.get(code, "ended with failures")
    kind: Kind = "success" if code == OK else "warning" if code == STOPPED else "failure"
    counted = ", ".join(f"{count} {word}" for word, count in counts.items() if count or word == "done")
    took = format_duration(record.written - record.started)
    lines = [f"{format_count(len(states), 'training')}: {counted}; {took} on {record.host}"]
    if code != OK:
        lines.append(f"exit code {code}: {reason or EXIT_MEANINGS.get(code, '')}")
    failed = [f"failed: {each.label}: {each.reason}" for each in record.trainings if each.state == "failed"]
    lines += _first(failed)
    report = folder / Artifact.REPORT
    # One of an earlier command is no outcome of this one.
    if _is_newer(report / REPORT_JSON, record.started):
        lines += _first(read_verdicts(report / REPORT_JSON))
        lines.append(f"table: {report / REPORT_TABLE}")
    else:
        lines.append(f"no report; folder: {folder}")
    return Message(kind=kind, title=f"{record.name}: {outcome}", body="\n".join(lines))


def _first(lines: list[str]) -> list[str]:
    more = len(lines) - MOST_LINES
    return lines if more <= 0 else [*lines[:MOST_LINES], f"and {more} more"]


def _is_newer(file: Path, moment: float) -> bool:
    try:
        return file.stat().st_mtime >= moment
    except OSError:
        return False


def read_verdicts(file: Path) -> list[str]:
    """Return the verdicts of a report as people read them; none where it cannot be read."""
    try:
        return [f"{verdict.arm}: {verdict.text}" for verdict in _Report.model_validate_json(file.read_bytes()).verdicts]
    except (OSError, ValidationError):
        return []
