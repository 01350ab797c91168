"""Metrics of a sweep: which values Ray is given by which record. That Ray exports them: tests/contract."""

from typing import Any

import pytest

from orchestration.driver.monitoring.metrics import METRICS, SweepMetrics
from orchestration.monitor.record import StatusRecord, TrainingRecord
from tests.helpers.status_folders import record, training


class Taken:
    """What was set and by how much counters were raised, by name and labels."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.set: dict[tuple[str, ...], float] = {}
        self.raised: dict[tuple[str, ...], float] = {}
        self.keys: dict[str, tuple[str, ...]] = {}
        taken = self

        class Metric:
            def __init__(self, name: str, description: str, tag_keys: tuple[str, ...]) -> None:
                assert description
                self.name = name
                taken.keys[name] = tag_keys

            def _of(self, tags: dict[str, str]) -> tuple[str, ...]:
                assert set(tags) == set(taken.keys[self.name]), "Ray refuses other labels"
                return (self.name, *(tags[key] for key in taken.keys[self.name][1:]))

            def set(self, value: float, tags: dict[str, str]) -> None:
                taken.set[self._of(tags)] = value

            def inc(self, value: float, tags: dict[str, str]) -> None:
                assert value > 0, "Ray refuses others"
                taken.raised[self._of(tags)] = taken.raised.get(self._of(tags), 0) + value

        monkeypatch.setattr("ray.util.metrics.Gauge", Metric)
        monkeypatch.setattr("ray.util.metrics.Counter", Metric)


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Taken:
    return Taken(monkeypatch)


def of(*trainings: TrainingRecord, **values: Any) -> StatusRecord:
    budget = (
        {"name": "gpu_hours", "limit": 8.0, "spent": 2.0},
        {"name": "wall_hours", "limit": None, "spent": 1.0},
    )
    return record(*trainings, **{"budget": budget, "store_lag_seconds": 3.0, **values})


def test_gauges_are_those_of_the_record(taken: Taken) -> None:
    running = [training(index, state="running", steps_per_second=speed) for index, speed in enumerate((2.0, 0.5, None))]
    SweepMetrics("shapes").update(of(*running, training(3, state="failed", steps_per_second=9.0)))
    states = {labels[1]: value for labels, value in taken.set.items() if labels[0] == "fcos_trainings"}
    none = dict.fromkeys(("later", "waiting", "followed", "finished", "kept", "stopped"), 0)
    assert states == {**none, "running": 3, "failed": 1}
    assert {labels: value for labels, value in taken.set.items() if labels[0] != "fcos_trainings"} == {
        ("fcos_steps_per_second",): 2.5,
        ("fcos_steps_done",): 10,
        ("fcos_steps_planned",): 100,
        ("fcos_store_lag_seconds",): 3.0,
        ("fcos_seconds_left",): 60.0,
        ("fcos_hours_spent", "gpu"): 2.0,
        ("fcos_hours_spent", "wall"): 1.0,
        ("fcos_hours_budget", "gpu"): 8.0,
    }
    assert all(keys[0] == "sweep" for keys in taken.keys.values())


def test_counters_rise_by_what_is_new(taken: Taken) -> None:
    metrics = SweepMetrics("shapes")
    for retries, failures in ((0, {}), (1, {"Stalled": 1}), (1, {"Stalled": 1}), (3, {"Stalled": 2, "unknown": 1})):
        metrics.update(of(retries=retries, failures=failures))
    assert taken.raised == {("fcos_retries",): 3, ("fcos_failures", "Stalled"): 2, ("fcos_failures", "unknown"): 1}


def test_no_error_of_ray_ends_a_sweep(taken: Taken, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("the core worker is gone")

    metrics = SweepMetrics("shapes")
    monkeypatch.setattr("ray.util.metrics.Gauge", refuse)
    metrics.update(of())
    assert taken.set == {}


def test_exported_names_have_rays_prefix_and_counters_their_suffix() -> None:
    assert len({each.exported for each in METRICS}) == len(METRICS)
    assert all(each.exported.startswith("ray_fcos_") for each in METRICS)
    counters = {each.exported for each in METRICS if each.is_counter}
    assert counters == {"ray_fcos_retries_total", "ray_fcos_failures_total"}
