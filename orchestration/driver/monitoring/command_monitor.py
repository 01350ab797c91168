"""What others can see of a command: its record for status.py, metrics for Prometheus, messages at its end."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fcos.errors import ConfigError, Transient
from orchestration.cli.console import Output
from orchestration.cli.entry import TRAINING_FAILED, USER_ERROR
from orchestration.driver.events import TrialEvent, TrialFailed
from orchestration.driver.monitoring.messages import Messages
from orchestration.driver.monitoring.metrics import SweepMetrics
from orchestration.driver.monitoring.status_writer import StatusWriter
from orchestration.driver.progress import SweepProgress
from orchestration.driver.watchdogs import repeating
from orchestration.monitor.record import WRITE_SECONDS, Phase
from orchestration.planning.prepare import Prepared
from orchestration.tracking.tracker import Tracker


class CommandMonitor:
    """Shows a command to others while it runs, and how it ended."""

    def __init__(self, prepared: Prepared, progress: SweepProgress, tracker: Tracker, output: Output) -> None:
        self._plan = prepared.plan
        self._writer = StatusWriter(prepared.lab, prepared.plan, progress, tracker)
        self._messages = Messages(prepared.lab.notify, prepared.plan, output)
        self._phase: Phase = "starting"
        # While Ray runs the trainings; not set once the connection to Ray may end.
        self._metrics: SweepMetrics | None = None
        self._updating = threading.Lock()

    def handle(self, event: TrialEvent) -> None:
        """Take over an event of a training, after the progress has handled it."""
        self._writer.handle(event)
        if isinstance(event, TrialFailed):
            self._messages.report_failure(event)

    def watch(self, command: Callable[[], int]) -> int:
        """Run the command and return its exit code; however it ends, the record has it.

        Until then the record is written every few seconds: on other machines its changes are the sign of life.
        """
        self._writer.write(self._phase)
        try:
            with repeating("status", WRITE_SECONDS, self._update):
                code = command()
        except KeyboardInterrupt:
            # No message: whoever interrupts a command knows it, and it ends in seconds.
            self._writer.write("ended")
            raise
        except BaseException as error:
            code = USER_ERROR if isinstance(error, ConfigError | Transient) else TRAINING_FAILED
            self.end(code, f"{type(error).__name__}: {error}".splitlines()[0])
            raise
        self.end(code)
        return code

    def end(self, code: int, reason: str = "") -> None:
        """Record the end of the command, and send the message about it."""
        self._messages.report_end(self._writer.write("ended", code), reason)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Record that Ray runs the trainings and set the metrics by each record, while the block runs."""
        self._phase, self._metrics = "running", SweepMetrics(self._plan.name)
        self._update()
        try:
            yield
        finally:
            self._phase = "ending"
            self._update()
            with self._updating:
                self._metrics = None

    def _update(self) -> None:
        with self._updating:
            try:
                record = self._writer.write(self._phase)
                if self._metrics is not None:
                    self._metrics.update(record)
            except Exception:  # no record may end a sweep, nor the thread that writes the next one
                logging.getLogger(__name__).debug("no record could be made", exc_info=True)
