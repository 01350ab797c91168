"""System metrics of a machine that trains: sampled beside the training, kept in its folder, read by the driver.

The names are those of MLflow's own monitor. That one writes to the store by itself, which a training does not do here,
and importing MLflow would cost each training a second and 100 MB.
"""

import json
import logging
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from fcos.storage.store_conventions import MetricPrefix
from orchestration.cluster.ray_internals import load_nvml

# Folder of a training, with a file of points for each machine, a line each.
SYSTEM_METRICS = "system_metrics"
# Samples that the first points are means of.
SAMPLES = 6
# After so many points each is the mean over twice the time, after as many more over four times, and so on.
POINTS_BEFORE_DOUBLING = 100
# Metrics that are sums since the sampling began.
COUNTED = ("network_receive_megabytes", "network_transmit_megabytes")
MEGABYTE = 1e6

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SystemPoint:
    """Means of some samples; `step` counts the points of a machine, over all attempts at the training."""

    # Since 1970.
    milliseconds: int
    step: int
    # Full names of the metrics.
    values: Mapping[str, float]


@contextmanager
def sampled(folder: Path, machine: int, seconds: float | None, *, gpus: bool) -> Iterator[None]:
    """Sample this machine from a thread while the block runs; a block of up to `seconds` leaves nothing.

    machine: its rank among those of the training. seconds: None samples nothing.
    """
    if seconds is None:
        yield
        return
    done = threading.Event()
    path = folder / SYSTEM_METRICS / f"machine_{machine}.jsonl"
    thread = threading.Thread(
        target=_sample, args=(path, seconds, _prefix(machine), gpus, done), name="system metrics", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        done.set()
        # Not for ever: a disk or a driver that hangs is no reason for a training not to end.
        thread.join(timeout=1.0)


def _prefix(machine: int) -> str:
    """Return the prefix of the names of a machine: MLflow's own, with the machine where it is not the first."""
    return MetricPrefix.SYSTEM if machine == 0 else f"{MetricPrefix.SYSTEM}machine_{machine}/"


def _sample(path: Path, seconds: float, prefix: str, gpus: bool, done: threading.Event) -> None:
    """Append points to a file until the training is done; what goes wrong ends the sampling and nothing else."""
    # Nothing is opened for a training that is over at once.
    if done.wait(seconds / SAMPLES):
        return
    try:
        sampler, step = Sampler(path.parent.parent, gpus=gpus), next_step(path)
        samples: list[dict[str, float]] = []
        while not done.wait(seconds / SAMPLES):
            samples.append(sampler.read())
            if len(samples) >= samples_of(step):
                values = {f"{prefix}{name}": value for name, value in summarized(samples).items()}
                append_point(path, SystemPoint(int(time.time() * 1000), step, values))
                samples, step = [], step + 1
    except Exception as error:
        _log.warning("system metrics are not sampled any more: %s", error)


def samples_of(step: int) -> int:
    """Return how many samples a point is the mean of, so that the longest training has some hundred points."""
    doublings: int = 2 ** (step // POINTS_BEFORE_DOUBLING)
    return SAMPLES * doublings


def summarized(samples: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each metric over the samples that have it; of what is counted from the start the last."""
    names = dict.fromkeys(name for sample in samples for name in sample)
    present = {name: [sample[name] for sample in samples if name in sample] for name in names}
    return {
        name: round(values[-1] if name in COUNTED else sum(values) / len(values), 1) for name, values in present.items()
    }


class Sampler:
    """Reads the metrics of this machine: processors, memory, the disk of a folder, network, GPUs of this process."""

    def __init__(self, folder: Path, *, gpus: bool) -> None:
        self._folder = folder
        network = psutil.net_io_counters()
        self._received, self._sent = network.bytes_recv, network.bytes_sent
        self._nvml: Any = None
        self._gpus: dict[int, Any] = {}
        if gpus:
            self._open_gpus()
        # Usage is counted from the last call.
        psutil.cpu_percent()

    def _open_gpus(self) -> None:
        try:
            self._nvml = load_nvml()
            self._gpus = _own_gpus(self._nvml)
        except Exception as error:  # NVML's own, or of a binding that lacks a call
            _log.warning("no system metrics of GPUs: %s", error)

    def read(self) -> dict[str, float]:
        """Return the metrics of now by MLflow's names; network traffic is that since the sampler was made."""
        memory, disk, network = psutil.virtual_memory(), psutil.disk_usage(str(self._folder)), psutil.net_io_counters()
        values = {
            "cpu_utilization_percentage": psutil.cpu_percent(),
            "system_memory_usage_megabytes": memory.used / MEGABYTE,
            "system_memory_usage_percentage": 100 * memory.used / memory.total,
            "disk_usage_percentage": disk.percent,
            "disk_usage_megabytes": disk.used / MEGABYTE,
            "disk_available_megabytes": disk.free / MEGABYTE,
            "network_receive_megabytes": (network.bytes_recv - self._received) / MEGABYTE,
            "network_transmit_megabytes": (network.bytes_sent - self._sent) / MEGABYTE,
        }
        for index, gpu in self._gpus.items():
            # A metric that a GPU does not have, such as the power of a slice, costs itself alone.
            for metrics in (self._memory_of, self._usage_of, self._power_of):
                with suppress(self._nvml.NVMLError):
                    values |= {f"gpu_{index}_{name}": value for name, value in metrics(gpu).items()}
        return values

    def _memory_of(self, gpu: Any) -> dict[str, float]:
        memory = self._nvml.nvmlDeviceGetMemoryInfo(gpu)
        megabytes, percentage = memory.used / MEGABYTE, 100 * memory.used / memory.total
        return {"memory_usage_percentage": percentage, "memory_usage_megabytes": megabytes}

    def _usage_of(self, gpu: Any) -> dict[str, float]:
        return {"utilization_percentage": float(self._nvml.nvmlDeviceGetUtilizationRates(gpu).gpu)}

    def _power_of(self, gpu: Any) -> dict[str, float]:
        used, limit = self._nvml.nvmlDeviceGetPowerUsage(gpu), self._nvml.nvmlDeviceGetEnforcedPowerLimit(gpu)
        return {"power_usage_watts": used / 1000, "power_usage_percentage": 100 * used / limit}


def _own_gpus(nvml: Any) -> dict[int, Any]:
    """Return the GPUs that this process sees, by their number on the machine."""
    handles = {index: nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return handles
    names = [name.strip() for name in visible.split(",")]
    # Named by number, or by the beginning of an id.
    ids = tuple(name for name in names if name.startswith("GPU-"))
    return {
        index: handle
        for index, handle in handles.items()
        if str(index) in names or (ids and _text(nvml.nvmlDeviceGetUUID(handle)).startswith(ids))
    }


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def append_point(path: Path, point: SystemPoint) -> None:
    """Append a point to the file of a machine."""
    path.parent.mkdir(exist_ok=True)
    torn = path.exists() and path.stat().st_size > 0 and path.read_bytes()[-1:] != b"\n"
    with path.open("a") as file:
        # A kill may have cut the last line short.
        file.write(("\n" if torn else "") + json.dumps(asdict(point)) + "\n")


def next_step(path: Path) -> int:
    """Return the step after that of the last point in a file, 0 without any."""
    try:
        return max((point.step for point in parse_points(path.read_text().splitlines())), default=-1) + 1
    except (FileNotFoundError, NotADirectoryError):
        return 0


def parse_points(lines: Iterable[str]) -> Iterator[SystemPoint]:
    """Iterate over the points of some lines; those that a kill cut short are left out."""
    for line in lines:
        with suppress(ValueError, TypeError, KeyError, AttributeError):
            stored = json.loads(line)
            values = {str(name): float(value) for name, value in stored["values"].items()}
            yield SystemPoint(int(stored["milliseconds"]), int(stored["step"]), values)


@dataclass
class SystemMetricsReader:
    """Reads what has been added to the files of trainings since it last looked."""

    # File -> position up to which it was read.
    _positions: dict[Path, int] = field(default_factory=dict)

    def read_new(self, folder: Path) -> list[SystemPoint]:
        """Return the new points of a training, of all machines; none where a file cannot be read just now."""
        points: list[SystemPoint] = []
        for path in sorted((folder / SYSTEM_METRICS).glob("machine_*.jsonl")):
            with suppress(OSError):
                points += self._read(path)
        return points

    def _read(self, path: Path) -> list[SystemPoint]:
        position = self._positions.get(path, 0)
        if path.stat().st_size <= position:
            return []
        with path.open("rb") as file:
            file.seek(position)
            # Up to the last whole line: the rest is being written.
            whole, end, _ = file.read().rpartition(b"\n")
        self._positions[path] = position + len(whole) + len(end)
        return list(parse_points(whole.decode(errors="replace").splitlines()))
