"""task=coverage from annotations to figures, tables and pictures; shared among workers image by image."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from fcos.config.evaluation import EvaluationSettings
from fcos.config.model_parts import AssignmentConfig
from fcos.config.run import Config
from fcos.coverage.boxes import InputBoxes, input_boxes
from fcos.coverage.measures import measures
from fcos.coverage.picture import draw_maps, image_to_draw
from fcos.coverage.search_ranges import search_ranges
from fcos.coverage.split import read_split
from fcos.coverage.tally import Tally, tally
from fcos.coverage.unrecalled import Unrecalled, excluded_boxes
from fcos.data.prepare import check_digest
from fcos.drawing.canvas import picture_or_note
from fcos.runtime import Runtime
from fcos.storage.reading import ProgressCallback
from fcos.storage.run_folder import COVERAGE_MAP, COVERAGE_TABLE, UNRECALLED, MetricPoint, ProgressRecord, RunSummary

# Longest sides of boxes, in quarter octaves of pixels.
HISTOGRAM_ENDS = 2.0 ** np.arange(0, 11.25, 0.25)


@dataclass(frozen=True)
class Source:
    """The boxes of a split at input size, and what was read but is never trained on."""

    boxes: InputBoxes
    classes: tuple[str, ...]
    unused: Unrecalled
    digest: str
    notes: tuple[str, ...]
    # Position of the image that pictures show.
    sample: int


def read_source(config: Config, progress: ProgressCallback | None = None) -> Source:
    """Read the split that coverage is about, and bring its boxes to input size; raises as `read_split`."""
    split, data = read_split(config, progress), config.data
    annotations = split.annotations
    short_side = None if data.short_sides is None else max(data.short_sides)
    boxes = input_boxes(annotations, short_side, data.long_side, config.coverage.rounding)
    unused = excluded_boxes(split.file, boxes, annotations.image_ids, data.crowds)
    sample = image_to_draw(annotations)
    return Source(boxes, annotations.classes, unused, split.digest, annotations.notes, sample)


def run(
    config: Config,
    runtime: Runtime,
    arms: Mapping[str, EvaluationSettings] | None = None,
    *,
    data_digest: str | None = None,
) -> RunSummary:
    """Count what the assignment does to all boxes; the summary is like that of a training, without a checkpoint.

    Writes coverage.json, unrecalled.csv and a map of one image into the run's folder. `arms` only gives the names of
    the arms that share the result; `data_digest` is that of the planned data. Reports images done as steps; none is
    done while ranges are searched. Raises DataChanged for other data than planned.
    """
    started = time.perf_counter()
    source = read_source(config, lambda *_: runtime.heartbeat())
    check_digest(config.data, source.digest, data_digest)
    assignment = _assignment(config, source, runtime, started)
    # The pace of counting shows when it ends; the search before it does not.
    counting = time.perf_counter()
    images = len(source.boxes)
    counted = tally(
        source.boxes,
        config.model.strides,
        assignment,
        config.coverage,
        runtime,
        lambda done: runtime.report(_record(done, images, counting)),
    )
    figures = _figures(config, counted, len(source.boxes.boxes))
    points = [MetricPoint(None, key, images, value) for key, value in figures.items()]
    runtime.report(_record(images, images, started, points))
    files, notes = _write_results(config, source, assignment, counted, figures, runtime)
    return RunSummary(
        step=images,
        seconds=time.perf_counter() - started,
        metrics=dict.fromkeys([""] if arms is None else arms, figures),
        classes=source.classes,
        notes=notes,
        files=files,
    )


def _write_results(
    config: Config,
    source: Source,
    assignment: AssignmentConfig,
    counted: Tally,
    figures: Mapping[str, float],
    runtime: Runtime,
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Write tables and the map of one image, on rank 0 alone; return the names of the files, and the notes."""
    files: tuple[str, ...] = (COVERAGE_TABLE, UNRECALLED)
    if runtime.rank != 0:
        return files, source.notes
    folder = runtime.directory
    folder.mkdir(parents=True, exist_ok=True)
    unrecalled = Unrecalled.merge([counted.unrecalled, source.unused])
    unrecalled.write(folder / UNRECALLED, source.classes)
    table = _table(config, source, assignment, counted, figures, unrecalled.by_reason())
    (folder / COVERAGE_TABLE).write_text(json.dumps(table, indent=1))
    if config.coverage.assignment != "fcos" or assignment.kind != "fcos":
        return files, source.notes
    draw = partial(draw_maps, source.boxes, source.sample, config.model.levels, assignment, folder / COVERAGE_MAP)
    path, note = picture_or_note(draw, "the map of center sampling")
    return (files, (*source.notes, note)) if path is None else ((*files, COVERAGE_MAP), source.notes)


def _figures(config: Config, counted: Tally, boxes: int) -> dict[str, float]:
    if counted.counts is None:
        return {"coverage/bpr": counted.recalled / boxes, "coverage/num_boxes": float(boxes)}
    return measures(counted.counts, config.model.levels, config.coverage)


def _assignment(config: Config, source: Source, runtime: Runtime, started: float) -> AssignmentConfig:
    """Return the assignment, with ranges that are searched where the config has it; every worker finds the same."""
    if not config.coverage.search_ranges:
        return config.model.assignment

    def report(turn: int, value: float) -> None:
        runtime.heartbeat()
        points = [MetricPoint(None, "coverage/search_objective", turn, value)]
        runtime.report(_record(0, len(source.boxes), started, points))

    return search_ranges(source.boxes, config.model.strides, config.model.assignment, config.coverage, report)


def _record(done: int, total: int, started: float, points: Sequence[MetricPoint] = ()) -> ProgressRecord:
    return ProgressRecord(done, total, time.perf_counter() - started, resumed_from=0, points=tuple(points))


def _table(
    config: Config,
    source: Source,
    assignment: AssignmentConfig,
    counted: Tally,
    figures: Mapping[str, float],
    reasons: Mapping[str, int],
) -> dict[str, Any]:
    """Return all counts as plain values, from which they are plotted and checked."""
    boxes = source.boxes.boxes
    longest = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0)
    counts = {} if counted.counts is None else {key: value.tolist() for key, value in asdict(counted.counts).items()}
    return {
        "levels": list(config.model.levels),
        "assignment": assignment.model_dump(mode="json"),
        "coverage": config.coverage.model_dump(mode="json"),
        "counts": counts,
        "metrics": dict(figures),
        "unrecalled": dict(reasons),
        "longest_side": {
            "ends": HISTOGRAM_ENDS.tolist(),
            "boxes": np.histogram(longest.clip(HISTOGRAM_ENDS[0], HISTOGRAM_ENDS[-1]), HISTOGRAM_ENDS)[0].tolist(),
        },
        "config_block": config_block(config.model.levels, assignment),
    }


def config_block(levels: tuple[int, ...], assignment: AssignmentConfig) -> str:
    """Return the settings as lines to paste into a model file of conf/model."""
    ranges = ", ".join(f"[{low:g}, {'null' if high is None else f'{high:g}'}]" for low, high in assignment.ranges)
    radius = assignment.center_sampling_radius
    on_mask = "  positives: mask\n" if assignment.by_masks else ""
    return (
        f"levels: {list(levels)}\nassignment:\n  ranges: [{ranges}]\n"
        f"  center_sampling_radius: {'null' if radius is None else f'{radius:g}'}\n{on_mask}"
    )
