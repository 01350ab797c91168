"""Bitmaps of masks are the pixels of pycocotools' masks at the centers of their cells, whatever the file holds."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from fcos.assignment.masks import pairs_on_mask
from fcos.config.run import DataConfig, SplitConfig, SyntheticConfig
from fcos.data import masks as masks_module
from fcos.data.annotations import Annotations, read_annotations
from fcos.data.coco import CocoDataset
from fcos.data.loader import canvas_of, collate
from fcos.data.masks import SIDE, bitmaps, with_masks
from fcos.data.prepare import make_dataset, prepare
from fcos.data.synthetic import draw_image, shape_mask
from fcos.errors import DataError
from fcos.geometry import compute_locations

HEIGHT, WIDTH = 60, 100
DIAMOND = [[50.0, 5.0, 93.0, 30.0, 50.0, 55.0, 7.0, 30.0]]
BOX = [7.0, 5.0, 86.0, 50.0]


def pixels_of(segmentation: Any) -> np.ndarray:
    """The mask of one object as pycocotools' own annToMask makes it."""
    api = COCO()
    api.imgs = {1: {"height": HEIGHT, "width": WIDTH}}
    return api.annToMask({"image_id": 1, "segmentation": segmentation}).astype(bool)


def run_lengths(pixels: np.ndarray, packed: bool) -> dict[str, Any]:
    encoded = coco_mask.encode(np.asfortranarray(pixels.astype(np.uint8)))
    if packed:
        return {"size": encoded["size"], "counts": encoded["counts"].decode()}
    flat = pixels.flatten(order="F")
    ends = np.flatnonzero(np.diff(flat, prepend=False)).tolist()
    return {"size": list(pixels.shape), "counts": np.diff([0, *ends, flat.size]).tolist()}


def write(folder: Path, *segmentations: Any, box: list[float] = BOX, **more: Any) -> Path:
    entries = [
        {"id": 7 + n, "image_id": 1, "category_id": 1, "bbox": box, "segmentation": segmentation, **more}
        for n, segmentation in enumerate(segmentations)
    ]
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": WIDTH, "height": HEIGHT}],
        "categories": [{"id": 1, "name": "thing"}],
        "annotations": entries,
    }
    path = folder / "instances.json"
    path.write_text(json.dumps(content))
    return path


def read(path: Path, box_convention: Any = "plain", cache: Path | None = None) -> Annotations:
    return with_masks(read_annotations(path, box_convention), box_convention, cache)


def cells(annotations: Annotations) -> np.ndarray:
    assert annotations.masks is not None
    return bitmaps(annotations.masks)


def at_centers(pixels: np.ndarray, box: np.ndarray, shift: float = 0.0) -> np.ndarray:
    """A pixel for each cell, one by one."""
    x1, y1, x2, y2 = box.tolist()
    found = np.zeros((SIDE, SIDE), dtype=bool)
    for row in range(SIDE):
        for column in range(SIDE):
            y = int(y1 + (row + 0.5) / SIDE * (y2 - y1) + shift)
            x = int(x1 + (column + 0.5) / SIDE * (x2 - x1) + shift)
            found[row, column] = pixels[min(y, HEIGHT - 1), min(x, WIDTH - 1)]
    return found


@pytest.mark.parametrize(
    "as_file",
    [lambda p: DIAMOND, lambda p: run_lengths(p, packed=False), lambda p: run_lengths(p, packed=True)],
    ids=["polygons", "run lengths", "packed run lengths"],
)
def test_polygons_and_run_lengths_are_alike(tmp_path: Path, as_file: Callable[[np.ndarray], Any]) -> None:
    pixels = pixels_of(DIAMOND)
    found = read(write(tmp_path, as_file(pixels)))
    assert np.array_equal(cells(found)[0], at_centers(pixels, found.boxes[0]))
    assert 0.4 < cells(found).mean() < 0.6


@pytest.mark.parametrize(("box_convention", "shift"), [("plain", 0.0), ("inclusive", 0.5)])
@pytest.mark.parametrize(
    "box", [BOX, [-20.0, -7.5, 86.0, 50.0], [30.25, 20.0, 200.0, 80.0], [40.0, 28.0, 3.0, 2.0], [0, 0, WIDTH, HEIGHT]]
)
def test_a_bitmap_is_that_of_the_clipped_box(
    tmp_path: Path, box: list[float], box_convention: str, shift: float
) -> None:
    found = read(write(tmp_path, DIAMOND, box=box), box_convention)
    assert np.array_equal(cells(found)[0], at_centers(pixels_of(DIAMOND), found.boxes[0], shift))


def test_several_polygons_are_one_mask(tmp_path: Path) -> None:
    parts = [[10, 10, 30, 10, 30, 40, 10, 40], [60.0, 20, 90, 20, 90, 50], [5, 5, 6, 6]]
    found = read(write(tmp_path, parts))
    assert np.array_equal(cells(found)[0], at_centers(pixels_of(parts[:2]), found.boxes[0]))


def test_what_has_no_mask_counts_as_its_whole_box_and_is_told(tmp_path: Path) -> None:
    path = write(tmp_path, DIAMOND, [], None, [[50.0, 5, 60, 6]])
    content = json.loads(path.read_text())
    del content["annotations"][2]["segmentation"]
    content["annotations"].append(content["annotations"][0] | {"id": 99, "iscrowd": 1, "segmentation": "unread"})
    path.write_text(json.dumps(content))
    found = read(path)
    assert cells(found).all(axis=(1, 2)).tolist() == [False, True, True, False, True]
    assert not cells(found)[3].any()
    assert found.notes == (
        "instances.json: 2 boxes without a segmentation count as their whole box",
        f"instances.json: 1 boxes whose segmentation covers none of their {SIDE} x {SIDE} cells have no location",
    )
    assert found.training_masks(0).shape == (4, SIDE * SIDE // 8)


@pytest.mark.parametrize("segmentation", [[], None])
def test_a_file_without_any_mask_is_refused_naming_key_value_and_file(tmp_path: Path, segmentation: Any) -> None:
    path = write(tmp_path, segmentation, segmentation)
    with pytest.raises(DataError, match=r"none of the 2 boxes .* model\.assignment\.positives=mask needs") as error:
        read(path)
    assert str(error.value).startswith(f"{path}: ")


def test_no_boxes_need_no_masks(tmp_path: Path) -> None:
    found = read(write(tmp_path))
    assert cells(found).shape == (0, SIDE, SIDE)
    assert found.select(np.array([0])).training_masks(0).shape == (0, SIDE * SIDE // 8)


LENGTHS = {"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH]}


@pytest.mark.parametrize(
    ("segmentation", "words"),
    [
        ("text", "is a JSON str; it must be a list of polygons or run lengths"),
        ([1, 2, 3, 4, 5, 6], "holds 1; each polygon must be a list"),
        ([[1, 2, 3, 4, 5, 6, 7]], "holds [1, 2, 3, 4, 5, 6, 7]; each polygon"),
        ([[1, 2, 3, 4, 5, "6"]], "coordinates must be finite numbers"),
        ([[1, 2, 3, 4, 5, float("nan")]], "coordinates must be finite numbers"),
        ([[1, 2, 3, 4, 5, float("inf")]], "coordinates must be finite numbers"),
        ([[1, 2, 3, 4, 2e9, 6]], "at most one image of 100x60 away"),
        ([[1, 2, 3, 4, True, 6]], "coordinates must be finite numbers"),
        ({}, "has size=None; it must be [height, width] of the image, [60, 100]"),
        (LENGTHS | {"size": [WIDTH, HEIGHT]}, "has size=[100, 60]"),
        (LENGTHS | {"counts": [10, 20]}, "has counts of 30 pixels; the image has 6000"),
        (LENGTHS | {"counts": [7000, -1000]}, "whole numbers, 0 or more"),
        (LENGTHS | {"counts": [6000.0]}, "whole numbers, 0 or more"),
        (LENGTHS | {"counts": None}, "has counts=None"),
        (LENGTHS | {"counts": "abc"}, "has counts='abc', which are no run lengths"),
        (LENGTHS | {"counts": "zzzzzzzzzzzzz"}, "pixels; the image has 6000"),
        (LENGTHS | {"counts": "ééé"}, "which are no run lengths"),
        (LENGTHS | {"counts": "1"}, "has counts of 1 pixels"),
        (LENGTHS | {"counts": ""}, "has counts of 0 pixels"),
    ],
)
def test_a_broken_mask_is_an_error_that_names_file_and_entry(tmp_path: Path, segmentation: Any, words: str) -> None:
    path = write(tmp_path, DIAMOND, segmentation)
    with pytest.raises(DataError) as error:
        read(path)
    assert str(error.value).startswith(f"{path}: annotations[1] (id 8, image_id 1): segmentation ")
    assert words in str(error.value)


def test_masks_are_kept_by_what_they_are_made_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks_module, "LEAST_MASKS", 0)
    path, cache = write(tmp_path, DIAMOND, None), tmp_path / "cache"
    first, told = read(path, "plain", cache), []
    assert len(list((cache / "annotations").iterdir())) == 1
    with_masks(read_annotations(path), "plain", cache, lambda *step: told.append(step))
    assert told == []
    monkeypatch.setattr(masks_module, "_read", lambda *_: pytest.fail("read again"))
    again = read(path, "plain", cache)
    assert np.array_equal(again.masks, first.masks) and again.notes == first.notes
    monkeypatch.undo()
    monkeypatch.setattr(masks_module, "LEAST_MASKS", 0)
    read(path, "inclusive", cache)
    assert len(list((cache / "annotations").iterdir())) == 2
    path.write_text(path.read_text().replace("93.0", "60.0"))
    assert not np.array_equal(read(path, "plain", cache).masks, first.masks)


def test_a_file_that_changes_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path, DIAMOND)
    annotations = read_annotations(path)
    path.write_text(path.read_text() + " ")
    with pytest.raises(DataError, match="was changed while it was read"):
        with_masks(annotations, "plain", None)


def dataset(folder: Path, pixels: np.ndarray, **changes: Any) -> CocoDataset:
    """One image with an object of these pixels, in a box without a border between cells on one between pixels."""
    from PIL import Image

    folder.mkdir()
    Image.fromarray(np.repeat(pixels[..., None].astype(np.uint8) * 200, 3, axis=2)).save(folder / "a.png")
    path = write(folder, run_lengths(pixels, packed=True), box=[7.3, 5.1, 85.4, 49.8])
    if changes.pop("mirrored", False):
        path = write(folder, run_lengths(pixels, packed=True), box=[WIDTH - 7.3 - 85.4, 5.1, 85.4, 49.8])
    options = {
        "short_sides": None,
        "long_side": None,
        "flip": 0.0,
        "box_convention": "plain",
        "training": True,
        "seed": 0,
    }
    return CocoDataset(read(path), folder, **options | changes)


def test_a_flipped_mask_is_the_mask_of_the_flipped_image(tmp_path: Path) -> None:
    pixels = pixels_of([[20.0, 8, 90, 50, 30, 40]])
    flipped = dataset(tmp_path / "one", pixels, flip=1.0)[0, 0]
    other = dataset(tmp_path / "two", pixels[:, ::-1], mirrored=True)[0, 0]
    plain = dataset(tmp_path / "three", pixels)[0, 0]
    torch.testing.assert_close(flipped.boxes, other.boxes)
    assert torch.equal(flipped.masks, other.masks)
    assert torch.equal(flipped.masks, plain.masks.flip(-1)) and not torch.equal(flipped.masks, plain.masks)


def test_a_resized_image_keeps_its_masks_where_its_objects_are(tmp_path: Path) -> None:
    pixels = pixels_of(DIAMOND)
    sample = dataset(tmp_path / "one", pixels, short_sides=(150,), long_side=400)[0, 0]
    assert sample.size == (150, 250)
    places = compute_locations(((19, 32),), (8,), (150, 250), "half_stride", torch.device("cpu")).xy
    places = places[((places > sample.boxes[0, :2]) & (places < sample.boxes[0, 2:])).all(1)]
    one = torch.zeros(len(places), dtype=torch.long)
    found = pairs_on_mask(sample.masks, sample.boxes, places, one, torch.arange(len(places)))
    seen = torch.from_numpy(pixels)[*(places / 2.5).long().flip(1).unbind(1)]
    # A cell is 1.6 x 2.7 pixels of the original wide.
    assert (found != seen).float().mean() < 0.03 < seen.float().mean()


def test_batches_pad_masks_as_boxes_and_have_none_where_nobody_asked(tmp_path: Path) -> None:
    data = dataset(tmp_path / "one", pixels_of(DIAMOND))
    batch = collate([data[0, 0], data[0, 0]], canvas_of([(HEIGHT, WIDTH)], 32))
    assert batch.targets.masks.shape == (*batch.targets.valid.shape, SIDE, SIDE)
    assert torch.equal(batch.targets.masks.any(-1).any(-1), batch.targets.valid)
    data.annotations = read_annotations(tmp_path / "one" / "instances.json")
    assert collate([data[0, 0]], canvas_of([(HEIGHT, WIDTH)], 32)).targets.masks is None


def test_drawn_shapes_are_seen_where_no_later_one_covers_them(tmp_path: Path) -> None:
    drawn = SyntheticConfig(image_size=64, train_images=8, val_images=2, object_size=(8.0, 40.0))
    config = DataConfig(name="synthetic", synthetic=drawn, cache_dir=str(tmp_path))
    asked, plain = prepare(config, masks=("train", "val")), prepare(config)
    assert plain.train.annotations.masks is None
    assert asked.digest == plain.digest
    found = asked.train.annotations
    for index in range(8):
        _, labels, boxes = draw_image(drawn, "train", index)
        owner = np.full((64, 64), -1)
        for number, (label, (x, y, w, h)) in enumerate(zip(labels, boxes, strict=True)):
            owner[y : y + h, x : x + w][shape_mask(found.classes[label], w, h)] = number
        own = bitmaps(found.training_masks(index))
        for number, (x, y, w, h) in enumerate(boxes):
            rows, columns = (int((SIDE - 1.5) * side / SIDE) for side in (h, w))
            assert own[number, 0, 0] == (owner[y, x] == number)
            assert own[number, SIDE - 2, SIDE - 2] == (owner[y + rows, x + columns] == number)
            assert own[number].mean() == pytest.approx((owner == number).sum() / (w * h), abs=0.12)
    sample = make_dataset(asked, "train", config, training=False, seed=0)[0, 3]
    assert sample.masks.shape == (len(sample.boxes), SIDE, SIDE)


def test_the_splits_that_are_asked_for_must_have_masks(tmp_path: Path) -> None:
    for split, segmentation in (("train", DIAMOND), ("val", None)):
        dataset(tmp_path / split, pixels_of(DIAMOND))
        write(tmp_path / split, segmentation)
    (train, val) = (SplitConfig(annotations=f"{name}/instances.json", images=name) for name in ("train", "val"))
    config = DataConfig(name="coco", root=str(tmp_path), train=train, val=val, cache_dir=str(tmp_path / "cache"))
    found = prepare(config, masks=("train",))
    assert found.train.annotations.masks is not None and found.val.annotations.masks is None
    with pytest.raises(DataError, match=r"val/instances\.json: none of the 1 boxes"):
        prepare(config, masks=("train", "val"))


def test_real_masks_are_those_of_pycocotools_at_the_locations(shared_data: Path) -> None:
    """Where both differ, an edge of the mask is no further than a cell away."""
    path = shared_data / "coco_tiny" / "annotations" / "instances_val2017.json"
    found = with_masks(read_annotations(path), "plain", None)
    api = COCO(str(path))
    asked = same = 0
    for index in range(0, len(found), 4):
        height, width = found.sizes[index].tolist()
        xy = compute_locations(
            ((height // 8, width // 8),), (8,), (height, width), "half_stride", torch.device("cpu")
        ).xy
        rows = np.arange(found.offsets[index], found.offsets[index + 1])
        for row in rows[found.trainable[rows]]:
            box = torch.from_numpy(found.boxes[row : row + 1])
            inside = xy[((xy > box[0, :2]) & (xy < box[0, 2:])).all(1)]
            mask = torch.from_numpy(cells(found.select(np.array([index])))[row - rows[0]])[None]
            place = torch.arange(len(inside))
            mine = pairs_on_mask(mask, box, inside, torch.zeros_like(place), place)
            theirs = api.annToMask(api.anns[int(found.ids[row])]).astype(bool)
            w, h = ((box[0, 2:] - box[0, :2]) / SIDE).ceil().int().tolist()
            for (x, y), lies in zip(inside.int().tolist(), mine.tolist(), strict=True):
                near = theirs[max(y - h, 0) : y + h + 1, max(x - w, 0) : x + w + 1]
                assert near.any() if lies else not near.all()
                same += lies == theirs[y, x]
                asked += 1
    assert asked > 5000 and same > 0.96 * asked
