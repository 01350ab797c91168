"""task=coverage from annotations to figures, tables and pictures; shared among workers image by image."""

import csv
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fcos.config import AssignmentConfig, Config, PostprocessConfig
from fcos.coverage.anchors import recalled
from fcos.coverage.boxes import InputBoxes, input_boxes
from fcos.coverage.counts import Counts, count
from fcos.coverage.measures import measures
from fcos.coverage.picture import draw_maps, image_to_draw
from fcos.coverage.search import search_ranges
from fcos.coverage.unrecalled import COLUMNS, Unrecalled, explain, left_out, without_anchor
from fcos.data.annotations import annotations_of
from fcos.data.coco_file import read_coco_file
from fcos.data.errors import DataError
from fcos.data.prepare import Progress
from fcos.data.synthetic import synthetic_folder
from fcos.distributed import gather_objects
from fcos.runtime import Runtime, user_cache

# Images counted together: bounds the memory, and is the unit that workers share.
CHUNK = 512
REPORTS = 20
TABLE, UNRECALLED, MAPS = "coverage.json", "unrecalled.csv", "maps/center_sampling.png"
# Longest sides of boxes, in quarter octaves of pixels.
HISTOGRAM_ENDS = 2.0 ** np.arange(0, 11.25, 0.25)


@dataclass(frozen=True)
class Source:
    """The boxes of a split at input size, and what was read but is never trained on."""

    boxes: InputBoxes
    classes: tuple[str, ...]
    unused: tuple[Unrecalled, ...]
    digest: str
    notes: tuple[str, ...]
    # Position of the image that pictures show.
    sample: int


def read_source(config: Config, progress: Progress | None = None) -> Source:
    """Read and validate the annotations of the split that coverage is about; images are not looked at.

    Raises DataError naming file and rule, for a file without boxes too.
    """
    data, split = config.data, config.coverage.split
    path = _annotation_file(config, progress)
    file = read_coco_file(path)
    annotations = annotations_of(file, path, config.model.assignment.corners)
    limit = data.limit_train if split == "train" else data.limit_val
    if limit is not None and limit < len(annotations):
        annotations = annotations.select(np.arange(limit))
    if not annotations.trainable.any():
        raise DataError(f"{path}: the {len(annotations)} images in use have no box at all; coverage needs boxes")
    short_side = None if data.short_sides is None else max(data.short_sides)
    boxes = input_boxes(annotations, short_side, data.long_side, config.coverage.rounding)
    unused = left_out(file, boxes, annotations.image_ids)
    digest = f"{annotations.digest}-{len(annotations)}"
    return Source(boxes, annotations.classes, tuple(unused), digest, annotations.notes, image_to_draw(annotations))


def _annotation_file(config: Config, progress: Progress | None) -> Path:
    data = config.data
    if data.name == "synthetic":
        assert data.synthetic is not None, "checked by DataConfig"
        cache = user_cache() if data.cache_dir is None else Path(data.cache_dir).expanduser()
        show = None if progress is None else lambda done, total: progress("drawing images", done, total)
        return synthetic_folder(data.synthetic, cache, show) / f"{config.coverage.split}.json"
    split = data.train if config.coverage.split == "train" else data.val
    assert split is not None, "checked by DataConfig"
    return Path(data.root or ".").expanduser() / Path(split.annotations).expanduser()


def run(config: Config, runtime: Runtime, postprocess: Mapping[str, PostprocessConfig] | None = None) -> dict[str, Any]:
    """Count what the assignment does to all boxes; the summary is like that of a training, without a checkpoint.

    Writes coverage.json, unrecalled.csv and a map of one image into the run's folder. `postprocess` only gives the
    names of the arms that share the result. Reports images done as steps; none is done while ranges are searched.
    """
    started = time.perf_counter()
    source = read_source(config)
    assignment = config.model.assignment
    if config.coverage.search_ranges:
        assignment = _search(config, source, runtime, started)
    # The pace of counting says when it ends; the search before it does not.
    tally = _tally(config, source, assignment, runtime, time.perf_counter())
    levels = config.model.levels
    if config.coverage.assignment == "retinanet":
        bpr = tally.recalled / len(source.boxes.boxes)
        figures = {"coverage/bpr": bpr, "coverage/num_boxes": float(len(source.boxes.boxes))}
    else:
        assert tally.counts is not None, "every worker counted"
        figures = measures(tally.counts, levels, config.coverage)
    arms = [""] if postprocess is None else list(postprocess)
    images = len(source.boxes)
    runtime.report(_record(images, images, started, [[None, key, images, value] for key, value in figures.items()]))
    summary = {
        "step": images,
        "seconds": time.perf_counter() - started,
        "metrics": dict.fromkeys(arms, figures),
        "pictures": {},
        "files": [TABLE, UNRECALLED],
        "classes": list(source.classes),
        "notes": list(source.notes),
    }
    if runtime.rank == 0:
        runtime.directory.mkdir(parents=True, exist_ok=True)
        write_unrecalled(runtime.directory / UNRECALLED, [*tally.unrecalled, *source.unused], source.classes)
        (runtime.directory / TABLE).write_text(json.dumps(_table(config, source, assignment, tally, figures), indent=1))
        if config.coverage.assignment == "fcos":
            draw_maps(source.boxes, source.sample, config.model.levels, assignment, runtime.directory / MAPS)
            summary["files"] = [TABLE, UNRECALLED, MAPS]
    return summary


@dataclass(frozen=True)
class _Tally:
    recalled: int
    # None for anchors, of which only recall is known.
    counts: Counts | None
    unrecalled: tuple[Unrecalled, ...]


def _tally(config: Config, source: Source, assignment: AssignmentConfig, runtime: Runtime, started: float) -> _Tally:
    """All chunks of images, this worker's share of them counted here."""
    boxes = source.boxes
    strides = config.model.strides
    chunks = range(0, len(boxes), CHUNK)
    turns = -(-len(chunks) // runtime.world_size)
    total: Counts | None = None
    unrecalled: list[Unrecalled] = []
    owned = 0
    for turn in range(turns):
        first = (turn * runtime.world_size + runtime.rank) * CHUNK
        part = boxes.select(np.arange(min(first, len(boxes)), min(first + CHUNK, len(boxes))))
        if config.coverage.assignment == "retinanet":
            rule = config.coverage.low_quality
            found = recalled(part, config.coverage.anchors, (rule,))[rule].numpy()
            has_anchor = np.zeros(len(part.boxes), dtype=bool)
            has_anchor[found] = True
            owned += len(found)
            unrecalled += without_anchor(part, has_anchor)
        else:
            counts, owners = count(part, strides, assignment)
            total = counts if total is None else total + counts
            owned += int(counts.recalled[0])
            unrecalled += explain(part, owners, strides, assignment)
        if turn % max(1, turns // REPORTS) == 0:
            done = min((turn + 1) * runtime.world_size * CHUNK, len(boxes))
            runtime.report(_record(done, len(boxes), started, []))
    shares: list[_Tally] = gather_objects(_Tally(owned, total, tuple(unrecalled)))
    sums = [share.counts for share in shares if share.counts is not None]
    return _Tally(
        sum(share.recalled for share in shares),
        sum(sums[1:], sums[0]) if sums else None,
        tuple(row for share in shares for row in share.unrecalled),
    )


def _search(config: Config, source: Source, runtime: Runtime, started: float) -> AssignmentConfig:
    """Every worker searches alike, so that all go on with the same ranges."""

    def report(turn: int, value: float) -> None:
        runtime.report(_record(0, len(source.boxes), started, [[None, "coverage/search_objective", turn, value]]))

    return search_ranges(source.boxes, config.model.strides, config.model.assignment, config.coverage, report)


def _record(done: int, total: int, started: float, points: list[list[Any]]) -> dict[str, Any]:
    seconds = time.perf_counter() - started
    return {"step": done, "total_steps": total, "seconds": seconds, "points": points, "resumed_from": 0}


def write_unrecalled(path: Path, rows: Iterable[Unrecalled], classes: tuple[str, ...]) -> None:
    """The boxes that no location answers for as CSV, one a line, in order of image and annotation."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(row.row(classes) for row in sorted(rows, key=lambda row: (row.image_id, row.annotation_id)))


def _table(
    config: Config, source: Source, assignment: AssignmentConfig, tally: _Tally, figures: Mapping[str, float]
) -> dict[str, Any]:
    """All counts as plain values, for whoever draws or checks them."""
    boxes = source.boxes.boxes
    longest = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0)
    reasons: dict[str, int] = {}
    for row in (*tally.unrecalled, *source.unused):
        reasons[row.reason] = reasons.get(row.reason, 0) + 1
    counts = {} if tally.counts is None else {key: value.tolist() for key, value in asdict(tally.counts).items()}
    return {
        "levels": list(config.model.levels),
        "assignment": assignment.model_dump(mode="json"),
        "coverage": config.coverage.model_dump(mode="json"),
        "counts": counts,
        "metrics": dict(figures),
        "unrecalled": reasons,
        "longest_side": {
            "ends": HISTOGRAM_ENDS.tolist(),
            "boxes": np.histogram(longest.clip(HISTOGRAM_ENDS[0], HISTOGRAM_ENDS[-1]), HISTOGRAM_ENDS)[0].tolist(),
        },
        "config_block": config_block(config.model.levels, assignment),
    }


def config_block(levels: tuple[int, ...], assignment: AssignmentConfig) -> str:
    """The settings as lines to paste into a model file of conf/model."""
    ranges = ", ".join(f"[{low:g}, {'null' if high is None else f'{high:g}'}]" for low, high in assignment.ranges)
    radius = assignment.center_sampling_radius
    return (
        f"levels: {list(levels)}\nassignment:\n  ranges: [{ranges}]\n"
        f"  center_sampling_radius: {'null' if radius is None else f'{radius:g}'}\n"
    )
