"""How time and memory grow with boxes, locations, images, workers and trials: python benchmarks/growth.py

Draws docs/images/growth.png and prints the points. The assignment is measured beside torchvision's, in turns, on one
core (benchmarks/assignment.py has the details); coverage, workers and trials alone.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FIGURE = ROOT / "docs" / "images" / "growth.png"
BOXES = (3, 7, 15, 30, 60, 120, 240)
SIZES = ((256, 256), (512, 512), (800, 800), (800, 1344), (1216, 1344))
IMAGES = (500, 1000, 2000, 4000, 8000)
WORKERS = (1, 2)
TRIALS = (1, 2, 4, 8)
# Nothing may be taken from what was measured before.
AGAIN = ("reuse=false", "retrain_reason=measured")


@dataclass(frozen=True)
class Curve:
    """Points of one line in one panel."""

    panel: str
    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]


# Panel -> name of the x axis, name of the y axis, whether both are logarithmic.
PANELS = {
    "boxes": ("boxes an image", "assignment, ms for 8 images", True),
    "memory": ("boxes an image", "assignment, peak MiB", True),
    "locations": ("locations an image", "assignment, ms for 8 images", True),
    "images": ("images", "coverage, s", True),
    "workers": ("workers", "training, images/s", False),
    "trials": ("trainings of 60 steps", "whole sweep, s", False),
}


def by_boxes() -> list[Curve]:
    """Measure time and memory of the assignment at 800x1344."""
    from assignment import case
    from inputs import SIZE
    from side_by_side import measure

    results = [measure(case(count, 8, SIZE), budget=2.0, least=3) for count in BOXES]
    return _pair("boxes", BOXES, results, "seconds", 1e3) + _pair("memory", BOXES, results, "bytes", 2**-20)


def by_locations() -> list[Curve]:
    """Measure the time of the assignment with 15 boxes an image."""
    from assignment import case
    from inputs import shapes
    from side_by_side import measure

    locations = [sum(rows * columns for rows, columns in shapes(size)) for size in SIZES]
    results = [measure(case(15, 8, size), budget=2.0, least=3) for size in SIZES]
    return _pair("locations", locations, results, "seconds", 1e3)


def _pair(panel: str, x: Sequence[float], results: Sequence[Any], field: str, unit: float) -> list[Curve]:
    """Return a line for each side."""
    sides = (("peer", "torchvision"), ("ours", "fcos"))
    return [
        Curve(panel, label, tuple(x), tuple(unit * getattr(result, f"{side}_{field}") for result in results))
        for side, label in sides
    ]


def by_images() -> list[Curve]:
    """Time the coverage of random boxes, seven an image, with FPN, without and with center sampling."""
    import numpy as np
    from coverage import together

    from fcos.coverage.boxes import InputBoxes

    generator = np.random.default_rng(0)
    curves = []
    for label, radius in (("no sampling", None), ("radius 1.5", 1.5)):
        seconds = []
        for images in IMAGES:
            count = 7 * images
            size = 16 * (600 / 16) ** generator.random((count, 1))
            corner = generator.random((count, 2)) * (np.array([[1333, 800]]) - size).clip(1)
            boxes = np.concatenate([corner, corner + size], axis=1).clip(0, [1333, 800, 1333, 800])
            found = InputBoxes(
                boxes=boxes.astype(np.float32),
                labels=generator.integers(0, 80, count),
                ids=np.arange(count),
                offsets=np.arange(0, count + 1, 7),
                image_ids=np.arange(images),
                sizes=np.tile([800, 1333], (images, 1)),
            )
            began = time.process_time()
            together(found, radius)
            seconds.append(time.process_time() - began)
        curves.append(Curve("images", label, IMAGES, tuple(seconds)))
    return curves


def by_workers(folder: Path) -> list[Curve]:
    """Measure images per second of the embedded training, its batch of 8 split over the workers of Ray Train."""
    speeds = []
    for workers in WORKERS:
        name = f"workers{workers}"
        more = [f"cluster.workers={workers}", "cluster.ray_train=always", "schedule.steps=300", f"name={name}"]
        _run("train.py", [*more, "schedule.warmup_steps=20", "schedule.log_every=20"], folder)
        points = [json.loads(line) for file in (folder / name).glob("trials/*/points.jsonl") for line in file.open()]
        measured = sorted(value for _, key, step, value in points if key == "train/images_per_second" and step > 100)
        speeds.append(measured[len(measured) // 2])
    return [Curve("workers", "one core each", WORKERS, tuple(speeds))]


def by_trials(folder: Path) -> list[Curve]:
    """Time sweeps of short trainings, from the command to its report."""
    seconds = []
    for trials in TRIALS:
        seeds = "[" + ",".join(str(seed) for seed in range(max(1, trials // 2))) + "]"
        more = ["schedule.steps=60", "schedule.warmup_steps=15", f"experiment.seeds={seeds}", f"name=trials{trials}"]
        if trials == 1:
            # Two arms are left, which share their training.
            more += ["~experiment.arms.branch", "~experiment.paper.branch"]
        began = time.perf_counter()
        _run("sweep.py", ["+experiment=ablation_centerness", *more], folder)
        seconds.append(time.perf_counter() - began)
    return [Curve("trials", f"{os.cpu_count()} cores", TRIALS, tuple(seconds))]


def _run(script: str, arguments: list[str], folder: Path) -> None:
    command = [sys.executable, f"orchestration/{script}", *arguments, f"output={folder}", *AGAIN]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr or done.stdout)


def draw(curves: Sequence[Curve], path: Path) -> None:
    """Plot a panel for each kind of growth."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    figure = Figure(figsize=(9.6, 5.4), layout="constrained")
    for index, (panel, (x_name, y_name, logarithmic)) in enumerate(PANELS.items()):
        axes = figure.add_subplot(2, 3, index + 1)
        for curve in (each for each in curves if each.panel == panel):
            axes.plot(curve.x, curve.y, marker="o", markersize=4, label=curve.label)
        if logarithmic:
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.yaxis.set_minor_formatter(NullFormatter())
        else:
            axes.set_xticks([x for curve in curves if curve.panel == panel for x in curve.x])
            axes.set_ylim(bottom=0)
        axes.set_xlabel(x_name)
        axes.set_title(y_name, fontsize=10)
        axes.grid(alpha=0.25)
        axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure everything and plot it."""
    parser = argparse.ArgumentParser(description="How time and memory grow.")
    parser.add_argument("--output", type=Path, default=FIGURE)
    options = parser.parse_args()
    from side_by_side import use_one_core

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # Before this process is pinned: what it starts would be pinned as well.
        curves = [*by_workers(folder), *by_trials(folder)]
        use_one_core()
        curves += [*by_boxes(), *by_locations(), *by_images()]
    for curve in curves:
        points = ", ".join(f"{x:g}: {y:.3g}" for x, y in zip(curve.x, curve.y, strict=True))
        print(f"{PANELS[curve.panel][1]} by {PANELS[curve.panel][0]}, {curve.label}: {points}")
    draw(curves, options.output)
    print(f"written to {options.output}")


if __name__ == "__main__":
    main()
