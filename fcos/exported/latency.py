"""Latency of detectors and exported files: from a batch in memory to its detections on the CPU, on warm runs."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

from fcos.exported.file_detector import FileDetector
from fcos.exported.origin import find_origin
from fcos.inference import Trained, build_detect
from fcos.structures import Batch

# Runs before those that are timed: kernels are chosen and memory is allocated in them.
WARM_UP: Final = 3


@dataclass(frozen=True)
class Latency:
    """Percentiles of the time of a batch in milliseconds, and what they depend on.

    `canvas` is (height, width) of the padded batch, `sha256` the hash of the file or checkpoint that ran.
    """

    p50_ms: float
    p95_ms: float
    runs: int
    batch: int
    canvas: tuple[int, int]
    threads: int
    device: str
    runtime: str
    sha256: str

    def describe(self) -> str:
        """Return the latency in a line."""
        height, width = self.canvas
        return (
            f"latency p50 {self.p50_ms:.1f} ms, p95 {self.p95_ms:.1f} ms: {self.runs} warm runs, batch {self.batch} of "
            f"{width}x{height}, {self.threads} {'thread' if self.threads == 1 else 'threads'}, {self.device}, "
            f"{self.runtime}, sha256 {self.sha256[:12]}"
        )


@dataclass(frozen=True)
class Timed:
    """What is timed: the function, the hash of its file, and where and by what it runs."""

    detect: Callable[[Batch], object]
    sha256: str
    threads: int
    device: str
    runtime: str

    @classmethod
    def of(cls, detector: Trained | FileDetector) -> "Timed":
        """Return what is timed of a detector; a file must have been opened for as many threads as torch has."""
        threads = torch.get_num_threads()
        if isinstance(detector, FileDetector):
            import onnxruntime

            # Of what is imported: the package is onnxruntime-gpu where that is installed.
            runtime = f"onnxruntime {onnxruntime.__version__}"
            return cls(detector.detect, detector.sha256, threads, detector.opened.device, runtime)
        sha256 = "" if detector.path is None else find_origin(detector.path).weights_sha256
        return cls(build_detect(detector), sha256, threads, detector.device.type, f"torch {torch.__version__}")


def measure_latency(subjects: Sequence[Timed], batch: Batch, *, runs: int) -> list[Latency]:
    """Time a number of runs of a batch after WARM_UP others; several subjects take turns.

    What else the machine does meanwhile is then the same for all of them.
    """
    seconds: list[list[float]] = [[] for _ in subjects]
    for number in range(WARM_UP + runs):
        for subject, times in zip(subjects, seconds, strict=True):
            start = time.perf_counter()
            subject.detect(batch)
            if number >= WARM_UP:
                times.append(time.perf_counter() - start)
    return [_latency(subject, times, batch) for subject, times in zip(subjects, seconds, strict=True)]


def _latency(subject: Timed, seconds: Sequence[float], batch: Batch) -> Latency:
    p50, p95 = np.percentile(seconds, [50, 95])
    return Latency(
        p50_ms=1000 * float(p50),
        p95_ms=1000 * float(p95),
        runs=len(seconds),
        batch=len(batch.image_ids),
        canvas=(batch.pixels.shape[-2], batch.pixels.shape[-1]),
        threads=subject.threads,
        device=subject.device,
        runtime=subject.runtime,
        sha256=subject.sha256,
    )
