"""The counts do not depend on how chunks are distributed over workers."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from fcos.config.model_parts import AssignmentConfig
from fcos.config.run import CoverageConfig
from fcos.coverage import tally as tally_module
from fcos.coverage.boxes import InputBoxes
from fcos.coverage.tally import Tally, chunk_ends, tally
from fcos.runtime import LocalRuntime

STRIDES = (8, 16, 64)
RANGES = ((0.0, 24.0), (24.0, 40.0), (40.0, None))


def random_boxes(images: int, most: int, seed: int = 0) -> InputBoxes:
    """Return images of many sizes with 0 to `most` boxes each."""
    generator = np.random.default_rng(seed)
    counts = generator.integers(0, most + 1, images)
    sizes = generator.integers(40, 200, (images, 2))
    limits = np.repeat(sizes[:, ::-1], counts, axis=0)
    near = generator.uniform(0, limits - 8)
    far = np.minimum(near + 2.0 ** generator.uniform(1, 7, near.shape), limits)
    total = int(counts.sum())
    return InputBoxes(
        boxes=np.concatenate([near, far], axis=1).astype(np.float32),
        labels=generator.integers(0, 3, total),
        # Not in order of the images, as files may have them.
        ids=generator.permutation(total),
        offsets=np.cumsum([0, *counts.tolist()]),
        image_ids=np.arange(images) + 5,
        sizes=sizes,
    )


def tally_by_workers(
    boxes: InputBoxes, workers: int, config: CoverageConfig, monkeypatch
) -> tuple[Tally, list[list[int]]]:
    """Return the sum over workers, each run in turn, and what each of them reported."""
    setting = AssignmentConfig(ranges=RANGES, locations="torchvision")
    parts: list[Tally] = []
    reports: list[list[int]] = []

    def gather(share: Tally) -> list[Tally]:
        parts.append(share)
        return [share]

    monkeypatch.setattr(tally_module, "gather_objects", gather)
    for rank in range(workers):
        reported: list[int] = []
        runtime = LocalRuntime(Path(), torch.device("cpu"), rank=rank, world_size=workers)
        tally(boxes, STRIDES, setting, config, runtime, reported.append)
        reports.append(reported)
    return Tally.merge(parts), reports


def as_lists(tally_: Tally) -> dict[str, object]:
    counts = {} if tally_.counts is None else {key: value.tolist() for key, value in vars(tally_.counts).items()}
    return {"recalled": tally_.recalled, **counts, **{k: v.tolist() for k, v in vars(tally_.unrecalled).items()}}


@pytest.mark.parametrize("assignment", ["fcos", "retinanet"])
@pytest.mark.parametrize("workers", [2, 3, 7, 40])
def test_any_number_of_workers_counts_the_same(assignment: str, workers: int, monkeypatch) -> None:
    monkeypatch.setattr(tally_module, "CHUNK_IMAGES", 4)
    boxes, config = (
        random_boxes(30, 6),
        CoverageConfig.model_validate({"assignment": assignment, "low_quality": "none"}),
    )
    single, _ = tally_by_workers(boxes, 1, config, monkeypatch)
    total, reports = tally_by_workers(boxes, workers, config, monkeypatch)
    assert as_lists(total) == as_lists(single)
    assert 0 < total.recalled < len(boxes.boxes) and len(total.unrecalled.ids) == len(boxes.boxes) - total.recalled
    # Ray Train waits for all workers at each report.
    assert reports == [reports[0]] * workers and reports[0][-1] <= len(boxes)


@pytest.mark.parametrize(("images", "most", "workers"), [(1, 1, 1), (1, 1, 4), (30, 6, 1), (30, 6, 50), (9, 0, 2)])
def test_chunks_hold_every_image_once_and_are_bounded(images: int, most: int, workers: int, monkeypatch) -> None:
    monkeypatch.setattr(tally_module, "CHUNK_IMAGES", 8)
    monkeypatch.setattr(tally_module, "CHUNK_BOXES", 10)
    boxes = random_boxes(images, most)
    ends = chunk_ends(boxes, workers)
    assert (ends[0], ends[-1]) == (0, images) and ends == sorted(set(ends))
    for first, end in pairwise(ends):
        assert end - first <= 8
        assert boxes.offsets[end] - boxes.offsets[first] < 10 + most


def test_the_number_of_reports_is_bounded(monkeypatch) -> None:
    monkeypatch.setattr(tally_module, "CHUNK_IMAGES", 1)
    _, (reported,) = tally_by_workers(random_boxes(200, 1), 1, CoverageConfig(), monkeypatch)
    assert len(reported) == 20 and reported == sorted(reported)
