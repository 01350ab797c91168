"""Synthetic images: determinism, boxes, shapes and caching."""

import json
import multiprocessing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fcos.annotations.annotations import read_annotations
from fcos.config.run import SyntheticConfig
from fcos.data.synthetic import CLASSES, render_image, shape_mask, synthetic_folder
from fcos.errors import DataError

SMALL = SyntheticConfig(image_size=64, train_images=6, val_images=3, object_size=(8.0, 40.0))


def test_images_depend_on_seed_split_and_index_only() -> None:
    pixels, labels, boxes = render_image(SMALL, "train", 3)
    again = render_image(SMALL, "train", 3)
    assert np.array_equal(pixels, again[0])
    assert (labels, boxes) == again[1:]
    others = [
        render_image(SMALL, "train", 4),
        render_image(SMALL, "val", 3),
        render_image(SMALL.model_copy(update={"seed": 1}), "train", 3),
    ]
    assert not any(np.array_equal(pixels, other[0]) for other in others)


def test_boxes_respect_image_overlap_and_count() -> None:
    counts = set()
    for index in range(60):
        _, labels, boxes = render_image(SMALL, "train", index)
        counts.add(len(boxes))
        assert len(labels) == len(boxes) >= 1
        corners = np.array([[x, y, x + w, y + h] for x, y, w, h in boxes])
        assert corners.min() >= 0
        assert corners.max() <= SMALL.image_size
        for first in range(len(boxes)):
            for second in range(first):
                low = np.maximum(corners[first, :2], corners[second, :2])
                high = np.minimum(corners[first, 2:], corners[second, 2:])
                shared = np.prod(np.clip(high - low, 0, None))
                total = sum(w * h for w, h in (boxes[first][2:], boxes[second][2:])) - shared
                assert shared / total <= SMALL.max_overlap
    assert counts == {1, 2, 3, 4, 5}


@pytest.mark.parametrize("name", CLASSES)
def test_every_shape_touches_all_four_sides_of_its_box(name: str) -> None:
    for width in range(3, 70):
        for height in {3, 4, width, max(3, 2 * width // 3), width + 5}:
            mask = shape_mask(name, width, height)
            assert mask.shape == (height, width)
            assert mask[0].any() and mask[-1].any() and mask[:, 0].any() and mask[:, -1].any()


def test_shapes_of_one_box_differ() -> None:
    masks = [shape_mask(name, 20, 20) for name in CLASSES]
    for first in range(len(CLASSES)):
        for second in range(first):
            assert (masks[first] ^ masks[second]).mean() > 0.1, (CLASSES[first], CLASSES[second])


def test_the_folder_is_valid_coco_and_rendered_once(tmp_path: Path) -> None:
    progress: list[tuple[int, int]] = []
    folder = synthetic_folder(SMALL, tmp_path, lambda done, total: progress.append((done, total)))
    assert progress[-1] == (9, 9)
    train, val = read_annotations(folder / "train.json"), read_annotations(folder / "val.json")
    assert (len(train), len(val)) == (6, 3)
    assert train.classes == CLASSES
    assert train.notes == ()
    pixels, labels, boxes = render_image(SMALL, "train", 2)
    assert np.array_equal(np.array(Image.open(folder / "train" / train.names[2])), pixels)
    rows = slice(train.offsets[2], train.offsets[3])
    assert train.xywh[rows].tolist() == [list(map(float, box)) for box in boxes]
    assert train.labels[rows].tolist() == labels
    assert synthetic_folder(SMALL, tmp_path, lambda done, total: pytest.fail("rendered again")) == folder
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_other_settings_of_drawn_images_get_another_folder(tmp_path: Path) -> None:
    other = SMALL.model_copy(update={"max_overlap": 0.1})
    assert synthetic_folder(SMALL, tmp_path) != synthetic_folder(other, tmp_path)


def test_interrupted_rendering_leaves_nothing_behind(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthetic_folder(SMALL, tmp_path, interrupt)
    assert list(tmp_path.iterdir()) == []


def test_the_second_to_finish_discards_its_own_folder(tmp_path: Path) -> None:
    def other_finishes_first(done: int, total: int) -> None:
        if done == total:
            synthetic_folder(SMALL, tmp_path)

    folder = synthetic_folder(SMALL, tmp_path, other_finishes_first)
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    assert len(json.loads((folder / "train.json").read_text())["images"]) == 6


@pytest.mark.slow
def test_concurrent_processes_all_get_the_complete_set(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        folders = pool.starmap(synthetic_folder, [(SMALL, tmp_path)] * 8)
    assert len(set(folders)) == 1
    assert [path.name for path in tmp_path.iterdir()] == [folders[0].name]


def test_cache_that_cannot_be_written_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"data\.cache_dir=.*file"):
        synthetic_folder(SMALL, tmp_path / "file" / "cache")
