"""Progress of a training: metric points since the last report, and its speed."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from fcos.runtime import Runtime
from fcos.storage.run_folder import MetricPoint, ProgressRecord


@dataclass
class Progress:
    """Collects metric points and reports them to the launcher."""

    runtime: Runtime
    total_steps: int
    # Step after which this attempt begins.
    start: int
    # Step of the last report.
    step: int = 0
    images: int = 0
    _points: list[MetricPoint] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)
    _since: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Seconds of this attempt."""
        return time.monotonic() - self._began

    def add_losses(self, step: int, values: Mapping[str, float]) -> None:
        """Add values of the training step, with the speed and memory use since the clock was restarted.

        Where no image was trained on since then, as with losses of another training's steps, there are none of these.
        """
        speed = self.images / max(time.monotonic() - self._since, 1e-9)
        measured = {**_memory(self.runtime.device), "images_per_second": speed} if self.images else {}
        named = {**values, **measured}
        self._points += [MetricPoint(None, f"train/{name}", step, value) for name, value in named.items()]

    def add_metrics(self, step: int, metrics: Mapping[str, Mapping[str, float]]) -> None:
        """Add the metrics of an evaluation, by arm."""
        for arm, values in metrics.items():
            self._points += [MetricPoint(arm, key, step, value) for key, value in values.items()]

    def report(self, step: int) -> None:
        """Report the points since the last report."""
        record = ProgressRecord(step, self.total_steps, self.seconds, self.start, tuple(self._points))
        self.runtime.report(record)
        self._points, self.step = [], step

    def restart_clock(self) -> None:
        """Measure speed from now on: reading data in, evaluation and checkpoints are not training."""
        self.images, self._since = 0, time.monotonic()


def _memory(device: torch.device) -> dict[str, float]:
    """Return the peak memory of tensors on a GPU, in GiB."""
    return {"memory_gb": torch.cuda.max_memory_allocated(device) / 2**30} if device.type == "cuda" else {}
