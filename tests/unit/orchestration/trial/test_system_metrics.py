"""System metrics of a training: points of its machine in its folder, read once, whatever is cut short or fails."""

import json
import logging
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestration.trial import system_metrics
from orchestration.trial.system_metrics import (
    POINTS_BEFORE_DOUBLING,
    SAMPLES,
    SYSTEM_METRICS,
    Sampler,
    SystemMetricsReader,
    SystemPoint,
    append_point,
    next_step,
    parse_points,
    sampled,
    samples_of,
    summarized,
)
from tests.helpers.processes.waiting import wait_until

SECONDS = 0.06


def lines_of(folder: Path, machine: int = 0) -> list[str]:
    path = folder / SYSTEM_METRICS / f"machine_{machine}.jsonl"
    return path.read_text().splitlines() if path.exists() else []


def sample_points(folder: Path, count: int, machine: int = 0) -> list[SystemPoint]:
    before = len(lines_of(folder, machine))
    with sampled(folder, machine, SECONDS, gpus=False):
        wait_until(lambda: len(lines_of(folder, machine)) >= before + count)
    return list(parse_points(lines_of(folder, machine)))


def point(step: int, value: float = 1.0) -> SystemPoint:
    return SystemPoint(1000 + step, step, {"system/cpu_utilization_percentage": value})


def test_a_training_has_points_of_its_machine_with_the_time_of_each(tmp_path: Path) -> None:
    begin = int(time.time() * 1000)
    points = sample_points(tmp_path, 2)
    assert [each.step for each in points][:2] == [0, 1]
    assert begin <= points[0].milliseconds <= points[1].milliseconds <= int(time.time() * 1000)
    assert all(name.startswith("system/") for name in points[0].values)
    assert 0 < points[0].values["system/system_memory_usage_percentage"] <= 100
    assert points[0].values["system/disk_available_megabytes"] > 0


def test_another_attempt_counts_on(tmp_path: Path) -> None:
    first = sample_points(tmp_path, 1)
    both = sample_points(tmp_path, 1)
    assert [each.step for each in both] == list(range(len(both))) and len(both) > len(first)


def test_machines_after_the_first_have_names_of_their_own(tmp_path: Path) -> None:
    (first, *_) = sample_points(tmp_path, 1, machine=1)
    assert all(name.startswith("system/machine_1/") for name in first.values)


@pytest.mark.parametrize("seconds", [None, 60.0])
def test_a_short_training_leaves_nothing_and_opens_nothing(
    tmp_path: Path, seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a sampler for a training that is over at once")

    monkeypatch.setattr(system_metrics, "Sampler", refuse)
    for _ in range(200):
        with sampled(tmp_path, 0, seconds, gpus=True):
            pass
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_ends_the_sampling_and_not_the_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / SYSTEM_METRICS).write_text("no folder")
    with caplog.at_level(logging.WARNING), sampled(tmp_path, 0, SECONDS, gpus=False):
        wait_until(lambda: "system metrics are not sampled any more" in caplog.text)
    assert (tmp_path / SYSTEM_METRICS).read_text() == "no folder"


def test_long_trainings_have_some_hundred_points() -> None:
    def points_within(seconds: float) -> int:
        step, passed = 0, 0.0
        while (passed := passed + 10.0 * samples_of(step)) <= seconds:
            step += 1
        return step

    assert samples_of(0) == samples_of(POINTS_BEFORE_DOUBLING - 1) == SAMPLES
    assert samples_of(POINTS_BEFORE_DOUBLING) == 2 * SAMPLES
    assert points_within(3600) == 60
    assert points_within(14 * 24 * 3600) < 900


def test_a_point_is_a_mean_and_of_traffic_the_last_sum() -> None:
    samples = [{"cpu": 10.0, "network_receive_megabytes": 1.0}, {"cpu": 20.0, "network_receive_megabytes": 5.0}]
    assert summarized([*samples, {"cpu": 40.0}]) == {"cpu": 23.3, "network_receive_megabytes": 5.0}


def test_a_line_that_a_kill_cut_short_costs_itself_alone(tmp_path: Path) -> None:
    path = tmp_path / SYSTEM_METRICS / "machine_0.jsonl"
    append_point(path, point(0))
    with path.open("a") as file:
        file.write('{"milliseconds": 12')
    assert next_step(path) == 1
    append_point(path, point(1))
    assert SystemMetricsReader().read_new(tmp_path) == [point(0), point(1)]


def test_each_point_is_read_once_and_one_that_is_being_written_later(tmp_path: Path) -> None:
    reader, path = SystemMetricsReader(), tmp_path / SYSTEM_METRICS / "machine_0.jsonl"
    assert reader.read_new(tmp_path) == []
    append_point(path, point(0))
    assert reader.read_new(tmp_path) == [point(0)] and reader.read_new(tmp_path) == []
    text = json.dumps({"milliseconds": 1001, "step": 1, "values": {"system/cpu_utilization_percentage": 1.0}})
    with path.open("a") as file:
        file.write(text[:20])
    assert reader.read_new(tmp_path) == []
    with path.open("a") as file:
        file.write(f"{text[20:]}\n")
    assert reader.read_new(tmp_path) == [point(1)]
    append_point(path.with_name("machine_1.jsonl"), point(0, 2.0))
    assert reader.read_new(tmp_path) == [point(0, 2.0)]


@pytest.mark.parametrize("line", ["[]", "7", '{"step": 1}', '{"milliseconds": 1, "step": 2, "values": {"a": "x"}}', ""])
def test_lines_of_anything_else_are_no_points(line: str) -> None:
    assert list(parse_points([line])) == []


class NvmlError(Exception):
    pass


def fake_nvml() -> SimpleNamespace:
    """NVIDIA's library on a machine with three GPUs, of which the last has no power meter; there is none in tests."""

    def power(index: int) -> int:
        if index == 2:
            raise NvmlError("not supported")
        return 350_000

    return SimpleNamespace(
        NVMLError=NvmlError,
        nvmlDeviceGetCount=lambda: 3,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetUUID=lambda index: f"GPU-{index}abc".encode(),
        nvmlDeviceGetMemoryInfo=lambda index: SimpleNamespace(used=20e9, total=80e9),
        nvmlDeviceGetUtilizationRates=lambda index: SimpleNamespace(gpu=50 + index),
        nvmlDeviceGetPowerUsage=power,
        nvmlDeviceGetEnforcedPowerLimit=lambda index: 700_000,
    )


@pytest.mark.parametrize(
    ("visible", "expected"),
    [(None, {0, 1, 2}), ("1", {1}), ("2,0", {0, 2}), ("GPU-1a", {1}), ("", set()), ("MIG-7", set())],
)
def test_gpus_are_those_that_the_process_sees(
    tmp_path: Path, visible: str | None, expected: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system_metrics, "load_nvml", fake_nvml)
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    values = Sampler(tmp_path, gpus=True).read()
    assert {int(name.split("_")[1]) for name in values if name.startswith("gpu_")} == expected
    for index in expected:
        assert values[f"gpu_{index}_utilization_percentage"] == 50 + index
        assert values[f"gpu_{index}_memory_usage_percentage"] == 25
        assert (f"gpu_{index}_power_usage_watts" in values) is (index != 2)


def test_a_machine_without_a_driver_has_no_metrics_of_gpus(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise NvmlError("Driver Not Loaded")

    with pytest.MonkeyPatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(system_metrics, "load_nvml", fail)
        values = Sampler(tmp_path, gpus=True).read()
    assert not any(name.startswith("gpu_") for name in values)
    assert "no system metrics of GPUs: Driver Not Loaded" in caplog.text
