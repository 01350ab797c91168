"""However the chunks of a data set are shared out, the sum is the same."""

from itertools import pairwise

import numpy as np
import pytest

from fcos.config.model_parts import AssignmentConfig
from fcos.config.run import CoverageConfig
from fcos.coverage import tally as tally_module
from fcos.coverage.boxes import InputBoxes
from fcos.coverage.tally import Tally, chunk_ends, tally

STRIDES = (8, 16, 64)
RANGES = ((0.0, 24.0), (24.0, 40.0), (40.0, None))


def drawn(images: int, most: int, seed: int = 0) -> InputBoxes:
    """Images of many sizes with 0 to `most` boxes each."""
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


def shared_out(boxes: InputBoxes, workers: int, config: CoverageConfig, monkeypatch) -> tuple[Tally, list[list[int]]]:
    """The sum over workers, each run in turn, and what each of them reported."""
    setting = AssignmentConfig(ranges=RANGES, locations="torchvision")
    shares: list[Tally] = []
    reports: list[list[int]] = []
    monkeypatch.setattr(tally_module, "gather_objects", lambda share: [shares.append(share) or share])
    for rank in range(workers):
        heard: list[int] = []
        tally(boxes, STRIDES, setting, config, rank=rank, world_size=workers, report=heard.append)
        reports.append(heard)
    return Tally.together(shares), reports


def plain(found: Tally) -> dict[str, object]:
    counts = {} if found.counts is None else {key: value.tolist() for key, value in vars(found.counts).items()}
    return {"recalled": found.recalled, **counts, **{k: v.tolist() for k, v in vars(found.unrecalled).items()}}


@pytest.mark.parametrize("assignment", ["fcos", "retinanet"])
@pytest.mark.parametrize("workers", [2, 3, 7, 40])
def test_any_number_of_workers_counts_the_same(assignment: str, workers: int, monkeypatch) -> None:
    monkeypatch.setattr(tally_module, "CHUNK_IMAGES", 4)
    boxes, config = drawn(30, 6), CoverageConfig.model_validate({"assignment": assignment, "low_quality": "none"})
    alone, _ = shared_out(boxes, 1, config, monkeypatch)
    found, reports = shared_out(boxes, workers, config, monkeypatch)
    assert plain(found) == plain(alone)
    assert 0 < found.recalled < len(boxes.boxes) and len(found.unrecalled.ids) == len(boxes.boxes) - found.recalled
    # Ray Train waits at each report for all workers.
    assert reports == [reports[0]] * workers and reports[0][-1] <= len(boxes)


@pytest.mark.parametrize(("images", "most", "workers"), [(1, 1, 1), (1, 1, 4), (30, 6, 1), (30, 6, 50), (9, 0, 2)])
def test_chunks_hold_every_image_once_and_are_bounded(images: int, most: int, workers: int, monkeypatch) -> None:
    monkeypatch.setattr(tally_module, "CHUNK_IMAGES", 8)
    monkeypatch.setattr(tally_module, "CHUNK_BOXES", 10)
    boxes = drawn(images, most)
    ends = chunk_ends(boxes, workers)
    assert (ends[0], ends[-1]) == (0, images) and ends == sorted(set(ends))
    for first, end in pairwise(ends):
        assert end - first <= 8
        assert boxes.offsets[end] - boxes.offsets[first] < 10 + most


def test_far_more_images_than_reports_are_told_of_in_steps(monkeypatch) -> None:
    monkeypatch.setattr(tally_module, "CHUNK_IMAGES", 1)
    _, (heard,) = shared_out(drawn(200, 1), 1, CoverageConfig(), monkeypatch)
    assert len(heard) == 20 and heard == sorted(heard)
