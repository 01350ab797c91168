"""Coverage with masks counts equal the training's assignment."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fcos.assignment.fcos import match_fcos
from fcos.config.model_parts import AssignmentConfig
from fcos.config.parse import parse, set_value
from fcos.config.run import Config
from fcos.coverage.boxes import InputBoxes
from fcos.coverage.counts import count, locations_of_largest
from fcos.coverage.run import read_source, run
from fcos.coverage.unrecalled import OFF_MASK, explain_unrecalled
from fcos.data.masks import MASK_SIDE, unpack_masks
from fcos.errors import DataError
from fcos.runtime import LocalRuntime
from fcos.structures import NO_OBJECT, Targets
from tests.helpers.present import present

STRIDES = (8, 16)
RANGES = ((0.0, 32.0), (32.0, None))


def boxes_of(*images: list[list[float]], covered: float = 0.5) -> InputBoxes:
    """Return boxes of 64 x 64 images with random masks, of which a fraction of the cells is set."""
    flat = np.array([box for image in images for box in image], dtype=np.float32).reshape(-1, 4)
    cells = np.random.default_rng(len(flat)).random((len(flat), MASK_SIDE * MASK_SIDE)) < covered
    return InputBoxes(
        boxes=flat,
        labels=np.zeros(len(flat), dtype=np.int64),
        ids=np.arange(len(flat)) + 1,
        offsets=np.cumsum([0, *map(len, images)]).astype(np.int64),
        image_ids=np.arange(len(images)) + 1,
        sizes=np.full((len(images), 2), 64),
        masks=np.packbits(cells, axis=1),
    )


def setting(radius: float | None) -> AssignmentConfig:
    return AssignmentConfig(ranges=RANGES, center_sampling_radius=radius, positives="mask")


side = st.integers(0, 192).map(lambda n: n / 4)
box = st.tuples(side, side, st.integers(1, 64), st.integers(1, 64)).map(
    lambda b: [b[0], b[1], b[0] + b[2] / 4, b[1] + b[3] / 4]
)


@settings(max_examples=40)
@given(
    images=st.lists(st.lists(box, max_size=8), min_size=1, max_size=3),
    radius=st.sampled_from([None, 0.5, 1.5]),
    covered=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_recalled_boxes_equal_the_training_assignment(images, radius, covered) -> None:
    part = boxes_of(*images, covered=covered)
    counts, recall = count(part, STRIDES, setting(radius))
    _, whole = count(boxes_of(*images, covered=1.0), STRIDES, setting(radius))
    locations, recalled, positives = locations_of_largest(part, STRIDES, "half_stride"), [], 0
    for index in range(len(images)):
        single = part.select(np.array([index]))
        targets = Targets(
            torch.from_numpy(single.boxes)[None],
            torch.from_numpy(single.labels)[None],
            torch.ones(1, len(single.boxes), dtype=torch.bool),
            torch.from_numpy(unpack_masks(present(single.masks)))[None],
        )
        matched = match_fcos(targets, locations, setting(radius))[0]
        recalled += [bool((matched == number).any()) for number in range(len(single.boxes))]
        positives += int((matched != NO_OBJECT).sum())
    assert recall.recalled.tolist() == recalled
    assert counts.claims.sum() == positives
    assert np.array_equal(recall.has_candidates_in_box, whole.has_candidates)
    reasons = explain_unrecalled(part, recall, STRIDES, setting(radius)).by_reason()
    assert reasons.get(OFF_MASK, 0) == (whole.has_candidates & ~recall.has_candidates).sum()


def coverage_of(values: dict[str, Any], positives: str) -> Config:
    values = set_value({**values, "task": "coverage"}, "model.assignment.positives", positives)
    return parse(Config, set_value(values, "model.assignment.center_sampling_radius", None))


def test_masks_lower_recall_and_ambiguity_of_synthetic_data(tiny_values: dict[str, Any], tmp_path: Path) -> None:
    metrics = {}
    for positives in ("box", "mask"):
        config = coverage_of(tiny_values, positives)
        assert (read_source(config).boxes.masks is None) == (positives == "box")
        metrics[positives] = run(config, LocalRuntime(tmp_path / positives, torch.device("cpu"))).metrics[""]
        assert (tmp_path / positives / "maps" / "center_sampling.png").is_file()
        text = (tmp_path / positives / "coverage.json").read_text()
        assert ("positives: mask" in text) == (positives == "mask")
    assert 0.5 < metrics["mask"]["coverage/bpr"] <= metrics["box"]["coverage/bpr"]
    assert metrics["mask"]["coverage/ambiguous"] < metrics["box"]["coverage/ambiguous"]


def test_boxes_without_masks_are_refused(tiny_values: dict[str, Any], tmp_path: Path) -> None:
    source = read_source(coverage_of(tiny_values, "box"))
    (folder,) = Path(tiny_values["data"]["cache_dir"]).glob("synthetic-*")
    assert len(source.boxes.boxes)
    split = {"annotations": str(folder / "val.json"), "images": "val"}
    data = {"name": "coco", "train": split, "val": split, "cache_dir": str(tmp_path / "cache")}
    config = coverage_of({**tiny_values, "data": data}, "mask")
    with pytest.raises(DataError, match=r"val\.json: none of the \d+ boxes .* model\.assignment\.positives=mask"):
        read_source(config)
