"""Metrics of a sweep for Prometheus, which Ray's agents export beside Ray's own.

Every node of a cluster has an agent with a port for Prometheus, which a driver's metrics go to as those of all other
processes; a server of our own would be one more port, on one machine, that nothing discovers.
"""

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from orchestration.cli.status_records import DriverState
from orchestration.monitor.record import StatusRecord

if TYPE_CHECKING:
    from ray.util.metrics import Counter, Gauge

SWEEP = "sweep"
# Of all metrics of Ray and of programs on it.
RAY_PREFIX = "ray_"


@dataclass(frozen=True)
class MetricName:
    """A metric with what it counts and its labels beside `sweep`."""

    name: str
    description: str
    labels: tuple[str, ...] = ()
    # Only ever rises while a driver runs.
    is_counter: bool = False

    @property
    def exported(self) -> str:
        """The name in Prometheus."""
        return f"{RAY_PREFIX}{self.name}{'_total' if self.is_counter else ''}"


TRAININGS = MetricName("fcos_trainings", "Trainings of a sweep by state.", ("state",))
SPEED = MetricName("fcos_steps_per_second", "Steps per second of all running trainings together.")
STEPS = MetricName("fcos_steps_done", "Steps of all trainings so far.")
TOTAL_STEPS = MetricName("fcos_steps_planned", "Steps of all trainings that are planned.")
HOURS = MetricName("fcos_hours_spent", "Hours of all commands of a sweep so far.", ("kind",))
LIMIT = MetricName("fcos_hours_budget", "Limit of the hours of a sweep; absent without one.", ("kind",))
LAG = MetricName("fcos_store_lag_seconds", "How long the oldest call that the tracking store has not taken waits.")
SECONDS_LEFT = MetricName("fcos_seconds_left", "Estimated seconds to the end; absent before there is an estimate.")
RETRIES = MetricName("fcos_retries", "Attempts at trainings that another one followed.", is_counter=True)
FAILURES = MetricName("fcos_failures", "Failed attempts at trainings by kind.", ("kind",), is_counter=True)
METRICS = (TRAININGS, SPEED, STEPS, TOTAL_STEPS, HOURS, LIMIT, LAG, SECONDS_LEFT, RETRIES, FAILURES)


class SweepMetrics:
    """Sets the metrics by each record of a command, while the driver is connected to Ray."""

    def __init__(self, sweep: str) -> None:
        self._sweep = sweep
        self._gauges: dict[str, Gauge] = {}
        self._counters: dict[str, Counter] = {}
        # By metric and label: what the counters were raised by.
        self._counted: dict[tuple[str, str], int] = {}

    def update(self, record: StatusRecord) -> None:
        """Set all metrics by a record. No error of theirs may end a sweep."""
        try:
            if not self._gauges:
                self._create()
            self._update(record)
        except Exception:  # Ray's own, such as while it ends
            logging.getLogger(__name__).debug("metrics cannot be set", exc_info=True)

    def _create(self) -> None:
        from ray.util import metrics

        for each in METRICS:
            keys = (SWEEP, *each.labels)
            if each.is_counter:
                self._counters[each.name] = metrics.Counter(each.name, each.description, keys)
            else:
                self._gauges[each.name] = metrics.Gauge(each.name, each.description, keys)

    def _update(self, record: StatusRecord) -> None:
        states: list[str] = [each.state for each in record.trainings]
        for state in get_args(DriverState):
            self._set(TRAININGS, states.count(state), state=state)
        running = [each.steps_per_second for each in record.trainings if each.state == "running"]
        self._set(SPEED, sum(speed for speed in running if speed is not None))
        self._set(STEPS, record.steps)
        self._set(TOTAL_STEPS, record.total_steps)
        self._set(LAG, record.store_lag_seconds)
        if record.seconds_left is not None:
            self._set(SECONDS_LEFT, record.seconds_left)
        for hours in record.budget:
            kind = hours.name.removesuffix("_hours")
            self._set(HOURS, hours.spent, kind=kind)
            if hours.limit is not None:
                self._set(LIMIT, hours.limit, kind=kind)
        self._raise_to(RETRIES, record.retries)
        for kind, count in record.failures.items():
            self._raise_to(FAILURES, count, kind=kind)

    def _set(self, metric: MetricName, value: float, **labels: str) -> None:
        self._gauges[metric.name].set(value, {SWEEP: self._sweep, **labels})

    def _raise_to(self, metric: MetricName, count: int, **labels: str) -> None:
        key = (metric.name, ",".join(labels.values()))
        more = count - self._counted.get(key, 0)
        if more > 0:
            self._counters[metric.name].inc(more, {SWEEP: self._sweep, **labels})
            self._counted[key] = count
