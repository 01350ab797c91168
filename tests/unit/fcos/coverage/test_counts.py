"""Coverage counts equal the training's assignment, and small cases worked out by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fcos.assignment.center import match_center
from fcos.assignment.fcos import fcos_candidates, match_fcos
from fcos.config.model import ModelConfig
from fcos.config.model_parts import AssignmentConfig
from fcos.config.parse import parse
from fcos.config.run import CoverageConfig
from fcos.coverage.boxes import InputBoxes
from fcos.coverage.counts import count, locations_of_largest
from fcos.coverage.figure_names import figure_names
from fcos.coverage.measures import measures
from fcos.coverage.retinanet import boxes_with_anchor
from fcos.coverage.search_ranges import search_ranges
from fcos.errors import ConfigError
from fcos.structures import NO_OBJECT, Targets

STRIDES = (8, 16)
RANGES = ((0.0, 32.0), (32.0, None))


def boxes_of(*images: list[list[float]], labels: list[int] | None = None, size=(64, 64)) -> InputBoxes:
    flat = np.array([box for image in images for box in image], dtype=np.float32).reshape(-1, 4)
    counts = [len(image) for image in images]
    return InputBoxes(
        boxes=flat,
        labels=np.array(labels or [0] * len(flat), dtype=np.int64),
        ids=np.arange(len(flat)) + 1,
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        image_ids=np.arange(len(images)) + 1,
        sizes=np.tile(np.array(size), (len(images), 1)),
    )


def setting(**changes) -> AssignmentConfig:
    return AssignmentConfig(**{"ranges": RANGES, "center_sampling_radius": None, **changes})


coordinate = st.integers(0, 256).map(lambda n: n / 4)
box = st.tuples(coordinate, coordinate, st.integers(1, 256), st.integers(1, 256)).map(
    lambda b: [b[0], b[1], min(b[0] + b[2] / 4, 64), min(b[1] + b[3] / 4, 64)]
)


@settings(max_examples=60)
@given(
    images=st.lists(st.lists(box, max_size=8), min_size=1, max_size=3),
    ends=st.sampled_from(["closed", "open"]),
    radius=st.sampled_from([None, 0.5, 1.5]),
    kind=st.sampled_from(["half_stride", "torchvision"]),
    rule=st.sampled_from(["fcos", "center"]),
)
def test_recalled_boxes_equal_the_training_assignment(images, ends, radius, kind, rule) -> None:
    part = boxes_of(*images)
    assignment = setting(kind=rule, ends=ends, center_sampling_radius=radius, locations=kind)
    counts, recall = count(part, STRIDES, assignment)
    locations = locations_of_largest(part, STRIDES, kind)
    most = max(1, *(len(image) for image in images))
    padded, valid = torch.zeros(len(images), most, 4), torch.zeros(len(images), most, dtype=torch.bool)
    for row, image in enumerate(images):
        if image:
            padded[row, : len(image)], valid[row, : len(image)] = torch.tensor(image), True
    targets = Targets(padded, torch.zeros(len(images), most, dtype=torch.long), valid)
    if rule == "center":
        matched = match_center(targets, locations, RANGES, ends, "plain")
    else:
        matched = match_fcos(targets, locations, setting(ends=ends, center_sampling_radius=radius))
    expected = [number in matched[row] for row, image in enumerate(images) for number in range(len(image))]
    assert recall.recalled.tolist() == expected
    assert counts.claims.sum() == int((matched != NO_OBJECT).sum())


def test_a_location_of_two_boxes_is_ambiguous_and_assigned_to_the_smaller() -> None:
    # Both boxes hold the location (12, 12) of P3; the larger one holds three more.
    part = boxes_of([[10, 10, 14, 14], [10, 10, 22, 22]], labels=[0, 1])
    counts, recall = count(part, (8,), setting(ranges=((0.0, None),)))
    assert counts.claims[:2].tolist() == [3, 1]
    assert counts.different.tolist() == [1]
    assert recall.recalled.tolist() == [True, True]


def test_boxes_of_one_category_are_ambiguous_but_not_different() -> None:
    counts, _ = count(boxes_of([[10, 10, 14, 14], [10, 10, 15, 15]]), (8,), setting(ranges=((0.0, None),)))
    assert (counts.claims[1], counts.different[0]) == (1, 0)


def test_counts_of_parts_sum_to_those_of_the_whole() -> None:
    part = boxes_of([[10, 10, 30, 40]], [], [[0, 0, 64, 64], [4, 4, 20, 20]])
    whole, _ = count(part, STRIDES, setting())
    split = [count(part.select(np.array([image])), STRIDES, setting())[0] for image in range(3)]
    added = split[0] + split[1] + split[2]
    assert {key: value.tolist() for key, value in vars(added).items()} == {
        key: value.tolist() for key, value in vars(whole).items()
    }


def test_images_without_boxes_are_counted() -> None:
    counts, recall = count(boxes_of([], []), STRIDES, setting())
    assert (counts.images[0], counts.boxes[0], counts.claims.sum(), len(recall.recalled)) == (2, 0, 0, 0)


def test_no_boxes_have_no_candidates() -> None:
    locations = locations_of_largest(boxes_of([[0, 0, 9, 9]]), STRIDES, "half_stride")
    box, location = fcos_candidates(torch.zeros(0, 4), locations, RANGES, "closed", None)
    assert len(box) == len(location) == 0


def test_figure_names_are_those_of_the_measures() -> None:
    counts, _ = count(boxes_of([[4, 4, 40, 40]]), STRIDES, setting())
    assert tuple(measures(counts, (3, 4), CoverageConfig())) == figure_names((3, 4), CoverageConfig())


def test_fractions_of_the_positives_sum_to_one() -> None:
    counts, _ = count(boxes_of([[0, 0, 60, 60], [4, 4, 20, 20], [5, 5, 15, 15]]), STRIDES, setting())
    metrics = measures(counts, (3, 4), CoverageConfig())
    assert metrics["coverage/claims_1"] + metrics["coverage/ambiguous"] == pytest.approx(1)
    assert metrics["coverage/positives_P3"] + metrics["coverage/positives_P4"] == pytest.approx(1)


def test_the_range_search_never_lowers_the_objective() -> None:
    part = boxes_of([[0, 0, 60, 60], [4, 4, 20, 20], [5, 5, 15, 15]], [[8, 8, 30, 50]])
    reported: list[float] = []
    config = CoverageConfig()
    before = measures(count(part, STRIDES, setting())[0], (3, 4), config)["coverage/objective"]
    assignment = search_ranges(part, STRIDES, setting(), config, lambda turn, value: reported.append(value))
    after = measures(count(part, STRIDES, assignment)[0], (3, 4), config)["coverage/objective"]
    assert after == pytest.approx(reported[-1])
    assert after >= before


def test_an_anchor_is_matched_to_its_box_of_largest_iou_only() -> None:
    # Two boxes share their only anchors: the one of larger IoU is matched to all, under any rule.
    part = boxes_of([[0, 0, 32, 32], [0, 0, 2, 2]], size=(64, 64))
    matched = boxes_with_anchor(part, "detectron2", ("none", "all"))
    assert matched["none"].tolist() == [0]
    assert 0 in matched["all"].tolist()


def test_more_levels_than_ranges_is_refused(read_group) -> None:
    values = read_group("model", "fcos_small")
    values["levels"] = [3, 4, 5, 6, 7]
    with pytest.raises(ConfigError, match="4 ranges for 5 levels"):
        parse(ModelConfig, values)


@pytest.mark.parametrize(
    ("ranges", "message"), [([[0, 32], [40, None]], "leave a gap"), ([[0, 32], [24, None]], "overlap")]
)
def test_ranges_must_touch(ranges, message) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(AssignmentConfig, {"ranges": ranges})


def test_an_annotation_file_without_boxes_is_refused(tiny_values, tmp_path: Path) -> None:
    from fcos.config.run import Config
    from fcos.coverage.run import read_source

    empty = tmp_path / "empty.json"
    empty.write_text(
        '{"images": [{"id": 1, "file_name": "a.jpg", "width": 64, "height": 64}], '
        '"categories": [{"id": 1, "name": "a"}], "annotations": []}'
    )
    split = {"annotations": str(empty), "images": "images"}
    values = {**tiny_values, "task": "coverage", "data": {"name": "coco", "train": split, "val": split}}
    with pytest.raises(ConfigError, match="no box at all"):
        read_source(parse(Config, values))
