"""Packages that evaluate as COCO does, beside pycocotools: python benchmarks/evaluators.py [--quick]

    uv pip install --target FOLDER --no-deps vernier ultrafast-pycocotools     # those that the project does not need
    PYTHONPATH=FOLDER python benchmarks/evaluators.py --data DATA              # DATA has coco_eval_pair

For each package and kind of detections: whether the 12 numbers and the whole tables of precision and recall are
pycocotools' to the last digit, or how far the tables are from them at most. Then the processor time of one evaluation
of `evaluation.py`'s set on one core, with results as a list of dicts. A package that is not there is left out.
"""

import argparse
import contextlib
import importlib
import importlib.metadata
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from evaluation import draw_detections, draw_truth, results_of
from side_by_side import amount, seconds_of, use_one_core

PAIR = Path("coco_eval_pair")
IMAGES, CLASSES, SETS = 30, 5, 5
# One above the integers that a double holds: neighbours become equal in it.
LARGE = 2**53 + 1
# xywh and area of boxes that no detection can find, or whose area their sides do not give.
UNSEEN = (
    ([20, 30, 0, 10], 0.0), ([20, 30, 0, 0], 5000.0), ([50, 50, -10, 20], -200.0), ([50, 50, -10, -20], 200.0),
    ([700, 10, 40, 40], 1600.0), ([-80, 10, 40, 40], 1600.0), ([60, 20, 30, 0], 0.0),
)  # fmt: skip

Truth = dict[str, Any]
Results = list[dict[str, Any]]


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Send what the block prints nowhere, also what compiled code prints."""
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


@dataclass(frozen=True)
class Evaluator:
    """A package, and where it has the classes COCO and COCOeval."""

    package: str
    coco: tuple[str, str]
    evaluator: tuple[str, str]

    @property
    def version(self) -> str | None:
        """Its version, None where it is not installed."""
        try:
            return importlib.metadata.version(self.package)
        except importlib.metadata.PackageNotFoundError:
            return None

    def evaluate(self, truth: Path, results: Results) -> "Tables":
        """Evaluate as a script for pycocotools does."""
        coco, evaluator = (
            getattr(importlib.import_module(module), name) for module, name in (self.coco, self.evaluator)
        )
        with silenced():
            ground = coco(str(truth))
            load = getattr(ground, "loadRes", None) or ground.load_res
            made = evaluator(ground, load([dict(result) for result in results]), "bbox")
            made.evaluate()
            made.accumulate()
            made.summarize()
        # faster-coco-eval has more numbers after the 12.
        tables = (np.asarray(made.stats)[:12], made.eval["precision"], made.eval["recall"])
        return Tables(*(np.asarray(each, dtype=float) for each in tables))


@dataclass(frozen=True)
class Tables:
    """The 12 numbers, and precision and recall at each threshold, class, area and limit."""

    stats: np.ndarray
    precision: np.ndarray
    recall: np.ndarray

    def compare(self, other: "Tables") -> float:
        """Return the largest difference of any entry; infinite for other shapes."""
        pairs = list(zip(vars(self).values(), vars(other).values(), strict=True))
        if any(mine.shape != theirs.shape for mine, theirs in pairs):
            return float("inf")
        return max(float(np.abs(mine - theirs).max(initial=0)) for mine, theirs in pairs)


REFERENCE = Evaluator("pycocotools", ("pycocotools.coco", "COCO"), ("pycocotools.cocoeval", "COCOeval"))
PACKAGES = (
    Evaluator("hotcoco", ("hotcoco", "COCO"), ("hotcoco", "COCOeval")),
    Evaluator("faster-coco-eval", ("faster_coco_eval", "COCO"), ("faster_coco_eval", "COCOeval_faster")),
    Evaluator("vernier", ("pycocotools.coco", "COCO"), ("vernier", "COCOeval")),
    Evaluator("ultrafast-pycocotools", ("ultrafast_pycocotools", "COCO"), ("ultrafast_pycocotools", "COCOeval")),
)


def draw_set(seed: int) -> tuple[Truth, Results]:
    """Draw images with boxes and detections; one box in a hundred is a crowd."""
    rng = np.random.default_rng(seed)
    truth = draw_truth(IMAGES, rng, CLASSES)
    return truth, results_of(draw_detections(truth, rng, CLASSES))


def make_ties(truth: Truth, results: Results) -> None:
    """Round scores to one digit, and boxes to whole pixels."""
    for result in results:
        result["score"], result["bbox"] = round(result["score"], 1), [float(round(side)) for side in result["bbox"]]


def make_crowds(truth: Truth, results: Results) -> None:
    """Make every third box a crowd."""
    for entry in truth["annotations"][::3]:
        entry["iscrowd"] = 1


def make_large_ids(truth: Truth, results: Results) -> None:
    """Number images and boxes beyond what a double holds apart."""
    for image in truth["images"]:
        image["id"] += LARGE
    for entry in truth["annotations"]:
        entry["id"], entry["image_id"] = entry["id"] + LARGE, entry["image_id"] + LARGE
    for result in results:
        result["image_id"] += LARGE


def make_empty(truth: Truth, results: Results) -> None:
    """Leave a third of the images without boxes, another without detections, and classes without one of them."""
    third = IMAGES // 3
    kept = [e for e in truth["annotations"] if e["image_id"] > third and e["category_id"] != CLASSES]
    truth["annotations"] = kept
    results[:] = [r for r in results if r["image_id"] <= 2 * third and r["category_id"] != 1]


def make_unseen(truth: Truth, results: Results) -> None:
    """Add boxes without an area, with sides below zero, or outside of their image, and detections on them."""
    for number, (bbox, area) in enumerate(UNSEEN):
        sides = [float(side) for side in bbox]
        owner = {"image_id": 1 + number, "category_id": 1 + number % CLASSES}
        entry = {"id": len(truth["annotations"]) + 1, "bbox": sides, "area": area, "iscrowd": 0}
        truth["annotations"].append(entry | owner)
        results.append({**owner, "bbox": [side + 1.0 for side in sides], "score": 0.9})


CHANGES: Mapping[str, Callable[[Truth, Results], None]] = {
    "random sets": lambda truth, results: None,
    "ties": make_ties,
    "crowds": make_crowds,
    "ids above 2^53": make_large_ids,
    "empty images, classes": make_empty,
    "zero, negative sizes": make_unseen,
}


def list_cases(data: Path | None) -> Iterator[tuple[str, list[tuple[Truth, Results]]]]:
    """Iterate over kinds of detections with their sets; COCO's published pair where it is there."""
    for name, change in CHANGES.items():
        sets = [draw_set(seed) for seed in range(SETS)]
        for truth, results in sets:
            change(truth, results)
        yield name, sets
    if data is not None:
        truth = json.loads((data / PAIR / "instances_val2014_100.json").read_text())
        results = json.loads((data / PAIR / "instances_val2014_fakebbox100_results.json").read_text())
        yield "COCO's own pair", [(truth, results)]


def compare(evaluator: Evaluator, sets: Sequence[tuple[Truth, Results]], folder: Path) -> str:
    """Return `equal`, the largest difference over the sets, or why there are no numbers."""
    apart = 0.0
    for truth, results in sets:
        path = folder / "truth.json"
        path.write_text(json.dumps(truth))
        expected = REFERENCE.evaluate(path, results)
        try:
            apart = max(apart, expected.compare(evaluator.evaluate(path, results)))
        except Exception as error:
            return f"fails ({type(error).__name__})"
    return "equal" if apart == 0 else f"{apart:.0e} apart"


def time_packages(evaluators: Sequence[Evaluator], images: int, folder: Path) -> dict[str, float]:
    """Return the median processor time of one evaluation by package; pycocotools' own of one run."""
    rng = np.random.default_rng(0)
    truth = draw_truth(images, rng)
    results = results_of(draw_detections(truth, rng))
    path = folder / "truth.json"
    path.write_text(json.dumps(truth))
    seconds = {REFERENCE.package: seconds_of(partial(REFERENCE.evaluate, path, results))}
    for evaluator in evaluators:
        runs = [seconds_of(partial(evaluator.evaluate, path, results)) for _ in range(3)]
        seconds[evaluator.package] = statistics.median(runs)
    return seconds


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Packages that evaluate as COCO does, beside pycocotools.")
    parser.add_argument("--data", type=Path, default=os.environ.get("FCOS_LAB_DATA"), help=f"the folder of {PAIR}")
    parser.add_argument("--quick", action="store_true", help="times of 200 images instead of 5000")
    options = parser.parse_args()
    use_one_core()
    there = [evaluator for evaluator in PACKAGES if evaluator.version is not None]
    for evaluator in PACKAGES:
        if evaluator not in there:
            print(f"{evaluator.package}: is not installed, and left out")
    names = [f"{evaluator.package} {evaluator.version}" for evaluator in there]
    print(f"| beside pycocotools {REFERENCE.version} | {' | '.join(names)} |\n|---|{'---|' * len(names)}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name, sets in list_cases(options.data):
            cells = [compare(evaluator, sets, folder) for evaluator in there]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)
        seconds = time_packages(there, 200 if options.quick else 5000, folder)
    reference = seconds[REFERENCE.package]
    cells = [f"{reference / seconds[e.package]:.1f} ({amount(seconds[e.package], None)})" for e in there]
    print(f"| times as fast (pycocotools: {amount(reference, None)}) | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
