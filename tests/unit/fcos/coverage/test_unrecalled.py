"""The reason of every box without a location equals a search over all locations and boxes."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fcos.config.model_parts import AssignmentConfig
from fcos.coverage.boxes import InputBoxes
from fcos.coverage.counts import count
from fcos.coverage.unrecalled import LOST, OUT_OF_RANGE, REASONS, TOO_SMALL, Unrecalled, explain_unrecalled

STRIDES = (8, 16, 64)
RANGES = (((0.0, 12.0), (12.0, 20.0), (20.0, None)), ((3.0, 6.0), (6.0, 20.0), (20.0, 24.0)))


def part_of(images: list[tuple[tuple[int, int], list[list[float]]]]) -> InputBoxes:
    """Images as ((height, width), boxes); annotation ids count from 1, image ids from 0."""
    flat = np.array([box for _, boxes in images for box in boxes], dtype=np.float32).reshape(-1, 4)
    return InputBoxes(
        boxes=flat,
        labels=np.zeros(len(flat), dtype=np.int64),
        ids=np.arange(len(flat)) + 1,
        offsets=np.cumsum([0, *(len(boxes) for _, boxes in images)]),
        image_ids=np.arange(len(images)),
        sizes=np.array([size for size, _ in images], dtype=np.int64).reshape(-1, 2),
    )


def random_image(seed: int) -> tuple[tuple[int, int], list[list[float]]]:
    """Return boxes that fill the grid or not, with sides in quarters of a pixel, which are exact in float32."""
    generator = np.random.default_rng(seed)
    height, width = [(32, 32), (20, 45), (40, 160)][seed % 3]
    number = generator.integers(0, 25)
    # Some are squares, where both axes decide.
    sides = 2.0 ** generator.uniform(-1, 6, (number, 2))
    sides[::2, 1] = sides[::2, 0]
    top_left = generator.uniform(0, 1, (number, 2)) * [width, height]
    bottom_right = np.minimum(top_left + sides, [width, height])
    boxes = np.floor(np.concatenate([top_left, bottom_right], axis=1) * 4) / 4
    return (height, width), boxes[(boxes[:, 2:] > boxes[:, :2]).all(axis=1)].tolist()


def in_range(farthest: float, level: int, setting: AssignmentConfig) -> bool:
    low, high = setting.ranges[level]
    high = np.inf if high is None else high
    return low <= farthest <= high if setting.ends == "closed" else low < farthest < high


def max_distance(box: list[float], x: float, y: float, stride: int, setting: AssignmentConfig) -> float | None:
    """Return max(l, t, r, b) of a point in the box and near enough to its center, else None."""
    sides = (x - box[0], y - box[1], box[2] - x, box[3] - y)
    center_distance = max(abs(x - (box[0] + box[2]) / 2), abs(y - (box[1] + box[3]) / 2))
    radius = setting.center_sampling_radius
    return max(sides) if min(sides) > 0 and (radius is None or center_distance < radius * stride) else None


def can_be_in_range(box: list[float], stride: int, level: int, setting: AssignmentConfig) -> bool:
    """Return whether any point of a grid of sixteenths of a pixel could be a candidate for the box."""
    x, y = (np.arange(box[axis] * 16 + 1, box[axis + 2] * 16) / 16 for axis in (0, 1))
    radius = np.inf if setting.center_sampling_radius is None else setting.center_sampling_radius * stride
    x, y = (v[np.abs(v - (box[a] + box[a + 2]) / 2) < radius] for v, a in ((x, 0), (y, 1)))
    far_x, far_y = np.unique(np.maximum(x - box[0], box[2] - x)), np.unique(np.maximum(y - box[1], box[3] - y))
    # Each maximum over both axes is one of these values, and at least the minimum of the other axis.
    farthest = np.concatenate([far_x, far_y])
    return any(in_range(far, level, setting) for far in farthest[farthest >= max(far_x[0], far_y[0])].tolist())


def grid_locations(size: tuple[int, int], stride: int, kind: str) -> list[tuple[float, float]]:
    padded = [-(-side // 32) * 32 for side in size]
    number = [-(-side // stride) for side in padded]
    if kind == "torchvision":
        rows, columns = ([k * (side // n) for k in range(n)] for side, n in zip(padded, number, strict=True))
    else:
        rows, columns = ([stride // 2 + k * stride for k in range(n)] for n in number)
    return [(x, y) for y, x in product(rows, columns)]


def reasons_by_loops(size: tuple[int, int], boxes: list[list[float]], setting: AssignmentConfig) -> list[str | None]:
    """Return the reason of each box of one image, None for those with a location."""
    extra = 1 if setting.corners == "inclusive" else 0
    area = [(box[2] - box[0] + extra) * (box[3] - box[1] + extra) for box in boxes]
    has_candidates, has_location, is_possible, contains_location = (np.zeros(len(boxes), dtype=bool) for _ in range(4))
    for level, stride in enumerate(STRIDES):
        eligible = [can_be_in_range(box, stride, level, setting) for box in boxes]
        is_possible |= np.array(eligible, dtype=bool)
        for x, y in grid_locations(size, stride, setting.locations):
            distances = [max_distance(box, x, y, stride, setting) for box in boxes]
            contains_location |= np.array(
                [distance is not None and eligible[m] for m, distance in enumerate(distances)], dtype=bool
            )
            candidates = [
                m for m, distance in enumerate(distances) if distance is not None and in_range(distance, level, setting)
            ]
            has_candidates[candidates] = True
            if candidates:
                has_location[min(candidates, key=lambda m: (area[m], m))] = True
    reason = np.where(has_candidates, LOST, np.where(is_possible & ~contains_location, TOO_SMALL, OUT_OF_RANGE))
    return [None if has_location[m] else str(reason[m]) for m in range(len(boxes))]


@pytest.mark.parametrize("kind", ["half_stride", "torchvision"])
@pytest.mark.parametrize("ends", ["closed", "open"])
@pytest.mark.parametrize("corners", ["plain", "inclusive"])
@settings(max_examples=40)
@given(
    seeds=st.lists(st.integers(0, 2**32), min_size=1, max_size=3),
    radius=st.sampled_from([None, 0.25, 1.5]),
    ranges=st.sampled_from(RANGES),
)
def test_reasons_equal_plain_loops(seeds, radius, ranges, kind, ends, corners) -> None:
    images = [random_image(seed) for seed in seeds]
    setting = AssignmentConfig(ranges=ranges, ends=ends, center_sampling_radius=radius, locations=kind, corners=corners)
    part = part_of(images)
    _, recall = count(part, STRIDES, setting)
    unrecalled = explain_unrecalled(part, recall, STRIDES, setting)
    reasons = dict(zip(unrecalled.ids.tolist(), (REASONS[reason] for reason in unrecalled.reasons), strict=True))
    expected = [reason for size, boxes in images for reason in reasons_by_loops(size, boxes, setting)]
    assert [reasons.get(number + 1) for number in range(len(expected))] == expected


@pytest.mark.parametrize(
    ("boxes", "row", "ranges", "grid", "reason"),
    [
        ([[13, 13, 19, 19]], 0, (0.0, None), (8, "half_stride"), TOO_SMALL),
        ([[10, 10, 14, 14], [9, 9, 15, 15]], 1, (0.0, None), (8, "half_stride"), LOST),
        ([[10, 10, 14, 14]], 0, (32.0, None), (8, "half_stride"), OUT_OF_RANGE),
        # 160 pixels at stride 64 have locations at 0, 53 and 106, and none at 159.
        ([[158, 50, 160, 56]], 0, (0.0, None), (64, "torchvision"), TOO_SMALL),
        ([[105, 50, 107, 56]], 0, (0.0, 2.0), (64, "torchvision"), OUT_OF_RANGE),
        ([[105, 50, 107, 56]], 0, (0.0, 3.0), (64, "torchvision"), None),
    ],
)
def test_a_box_without_location_has_its_reason(boxes, row, ranges, grid, reason) -> None:
    stride, kind = grid
    setting = AssignmentConfig(ranges=(ranges,), center_sampling_radius=None, locations=kind)
    part = part_of([((160, 160), boxes)])
    _, recall = count(part, (stride,), setting)
    unrecalled = explain_unrecalled(part, recall, (stride,), setting)
    expected = {} if reason is None else {row + 1: reason}
    assert dict(zip(unrecalled.ids.tolist(), unrecalled.by_reason(), strict=True)) == expected


def test_reasons_do_not_depend_on_other_images() -> None:
    setting = AssignmentConfig(ranges=((0.0, None),), center_sampling_radius=None, locations="torchvision")
    # At stride 128 a side of 160 pixels has its second location at 80, one of 256 at 128.
    images = [((160, 160), [[70.0, 70.0, 90.0, 90.0]]), ((256, 256), [[70.0, 70.0, 90.0, 90.0]])]
    part = part_of(images)
    _, recall = count(part, (128,), setting)
    assert explain_unrecalled(part, recall, (128,), setting).ids.tolist() == [2]


def test_rows_are_sorted_by_image_and_annotation(tmp_path: Path) -> None:
    columns = {"labels": np.array([1, 0, 0]), "reasons": np.array([2, 4, 0]), "xyxy": np.full((3, 4), 1.005)}
    rows = Unrecalled(ids=np.array([7, 9, 3]), image_ids=np.array([2, 1, 2]), **columns)
    empty = Unrecalled(*(column[:0] for column in vars(rows).values()))
    Unrecalled.merge([rows, empty]).write(tmp_path / "rows.csv", ("cat", 'a "b", c'))
    lines = (tmp_path / "rows.csv").read_text().splitlines()
    assert lines[0] == "annotation_id,image_id,category,reason,x1,y1,x2,y2"
    assert [line.split(",")[:2] for line in lines[1:]] == [["9", "1"], ["3", "2"], ["7", "2"]]
    assert lines[3] == '7,2,"a ""b"", c",too small for the grid,1.00,1.00,1.00,1.00'
    empty.write(tmp_path / "none.csv", ())
    assert len((tmp_path / "none.csv").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("box", "ranges", "reason"),
    [
        ([10, 10, 14, 14], (0.0, None), None),
        # The cell's own location, (12, 12), lies beside it.
        ([13, 13, 15, 15], (0.0, None), TOO_SMALL),
        ([4, 4, 84, 84], (0.0, 32.0), OUT_OF_RANGE),
        # Half its longest side decides, not the largest distance.
        ([4, 4, 44, 44], (32.0, None), OUT_OF_RANGE),
    ],
)
def test_a_box_without_location_at_its_center_has_its_reason(box, ranges, reason) -> None:
    setting = AssignmentConfig(kind="center", ranges=(ranges,), center_sampling_radius=0.25)
    part = part_of([((96, 96), [box])])
    _, recall = count(part, (8,), setting)
    unrecalled = explain_unrecalled(part, recall, (8,), setting)
    assert [REASONS[number] for number in unrecalled.reasons] == ([] if reason is None else [reason])
