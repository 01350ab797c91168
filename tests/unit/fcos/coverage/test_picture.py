"""The map of one image: which image is selected, and its two columns of panels."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from fcos.annotations.annotations import Annotations
from fcos.config.model_parts import AssignmentConfig
from fcos.coverage.boxes import input_boxes
from fcos.coverage.picture import PANEL_SIDE, draw_maps, image_to_draw
from fcos.drawing.canvas import LONG_SIDE, TITLE_HEIGHT

RANGES = ((0.0, 32.0), (32.0, 64.0), (64.0, None))


def annotations_of(
    *images: Sequence[Sequence[float]], box_convention: str = "plain", crowd: tuple[int, ...] = ()
) -> Annotations:
    """Return annotations of xywh boxes in images of 200 x 100 pixels (width x height)."""
    xywh = np.array([box for image in images for box in image], dtype=np.float64).reshape(-1, 4)
    number = len(images)
    ends = xywh[:, :2] + xywh[:, 2:] - (box_convention == "inclusive")
    crowds = np.isin(np.arange(len(xywh)), crowd)
    return Annotations(
        path=Path("a.json"),
        image_ids=np.arange(number) + 1,
        names=tuple(f"{index}.jpg" for index in range(number)),
        sizes=np.tile(np.array([[100, 200]]), (number, 1)),
        classes=("a",),
        category_ids=(1,),
        offsets=np.cumsum([0, *(len(image) for image in images)]),
        boxes=np.concatenate([xywh[:, :2], ends], axis=1).astype(np.float32),
        labels=np.zeros(len(xywh), dtype=np.int64),
        trainable=~crowds,
        crowd=crowds,
        xywh=xywh,
        areas=xywh[:, 2] * xywh[:, 3],
        ids=np.arange(len(xywh)) + 1,
        notes=(),
        digest="d",
    )


ALIKE = [[0, 0, 40, 40], [50, 50, 41, 41]]
VARIED = [[0, 0, 20, 20], [30, 0, 50, 50], [0, 0, 190, 90]]
TINY = [[0, 0, 2, 2], [30, 0, 190, 90]]
CROWDED = [[index, 0, 10 + 15 * index, 20] for index in range(12)]


def test_the_map_of_a_thin_image_has_a_bounded_size(tmp_path: Path) -> None:
    thin = replace(annotations_of([[0, 0, 1, 90]]), sizes=np.array([[12_000, 1]]))
    boxes = input_boxes(thin, None, None, "half_up")
    path = draw_maps(boxes, 0, (3, 4, 5), AssignmentConfig(ranges=RANGES), tmp_path / "map.png")
    with Image.open(path) as picture:
        assert picture.width < 3 * LONG_SIDE and picture.height < 4 * LONG_SIDE


def test_the_legible_image_with_most_box_sizes_is_selected() -> None:
    assert image_to_draw(annotations_of([], ALIKE, TINY, CROWDED, VARIED)) == 4
    assert image_to_draw(annotations_of(VARIED, VARIED)) == 0


def test_the_selected_image_does_not_depend_on_the_box_convention() -> None:
    similar = [[0, 0, 21, 20], [30, 0, 50, 50], [0, 0, 190, 90]]
    chosen = {
        image_to_draw(annotations_of(similar, VARIED, box_convention=box_convention))
        for box_convention in ("plain", "inclusive")
    }
    assert chosen == {1}


def test_crowds_are_ignored_and_illegible_images_are_a_fallback() -> None:
    assert image_to_draw(annotations_of(VARIED, ALIKE, crowd=(0, 1, 2))) == 1
    assert image_to_draw(annotations_of([], TINY)) == 1


def draw_map(tmp_path: Path, levels: tuple[int, ...], radius: float | None, boxes: list[list[float]]) -> Image.Image:
    annotations = annotations_of(boxes)
    assignment = AssignmentConfig(ranges=RANGES[-len(levels) :], center_sampling_radius=radius)
    path = draw_maps(
        input_boxes(annotations, None, None, "half_up"), 0, levels, assignment, tmp_path / "maps" / "m.png"
    )
    with Image.open(path) as picture:
        return picture.convert("RGB")


def test_maps_without_and_with_center_sampling_are_in_one_row(tmp_path: Path) -> None:
    # A box of 90 x 190 belongs to the last level only.
    picture = draw_map(tmp_path, (3, 4, 5), None, [[0, 0, 190, 90]])
    width, height = 640, 320 + TITLE_HEIGHT
    assert picture.size == (2 * width + 8, height + 8)
    left, right = (
        np.asarray(picture.crop((left_edge, TITLE_HEIGHT, left_edge + width, height))) for left_edge in (0, width + 8)
    )
    blue = np.array([0x00, 0x72, 0xB2])
    num_positives = [(panel == blue).all(axis=2).sum() for panel in (left, right)]
    assert num_positives[0] > num_positives[1] > 0


def test_large_images_are_drawn_at_panel_size(tmp_path: Path) -> None:
    annotations = annotations_of(VARIED)
    assignment = AssignmentConfig(ranges=((0.0, None),), center_sampling_radius=1.5)
    boxes = input_boxes(annotations, 800, 1600, "half_up")
    with Image.open(draw_maps(boxes, 0, (4,), assignment, tmp_path / "m.png")) as picture:
        assert picture.width <= 2 * 640 + 8
        assert picture.width >= 2 * PANEL_SIDE
