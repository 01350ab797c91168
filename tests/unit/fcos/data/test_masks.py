"""Bitmaps equal pycocotools' masks at the centers of their cells, for polygons and run lengths."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from fcos.annotations.annotations import Annotations, read_annotations
from fcos.assignment.masks import pairs_on_mask
from fcos.config.choices import Split
from fcos.config.run import DataConfig, SplitConfig, SyntheticConfig
from fcos.data import masks as masks_module
from fcos.data.batching import canvas_size
from fcos.data.coco import CocoDataset, make_dataset
from fcos.data.loader import collate
from fcos.data.masks import MASK_SIDE, add_masks, unpack_masks
from fcos.data.prepare import prepare
from fcos.data.sample_settings import SampleSettings
from fcos.data.synthetic import render_image, shape_mask
from fcos.errors import DataError
from fcos.geometry import compute_locations
from tests.helpers.present import present

HEIGHT, WIDTH = 60, 100
DIAMOND = [[50.0, 5.0, 93.0, 30.0, 50.0, 55.0, 7.0, 30.0]]
BOX = [7.0, 5.0, 86.0, 50.0]


def pixels_of(segmentation: Any) -> np.ndarray:
    """Return the mask of one object from pycocotools' own annToMask."""
    api = COCO()
    api.imgs = {1: {"height": HEIGHT, "width": WIDTH}}
    pixels: np.ndarray = api.annToMask({"image_id": 1, "segmentation": segmentation}).astype(bool)
    return pixels


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
    return add_masks(read_annotations(path, box_convention), box_convention, cache)


def cells(annotations: Annotations) -> np.ndarray:
    assert annotations.masks is not None
    return unpack_masks(annotations.masks)


def at_centers(pixels: np.ndarray, box: np.ndarray, shift: float = 0.0) -> np.ndarray:
    """Return the pixel at the center of each cell, one by one."""
    x1, y1, x2, y2 = box.tolist()
    cell_values = np.zeros((MASK_SIDE, MASK_SIDE), dtype=bool)
    for row in range(MASK_SIDE):
        for column in range(MASK_SIDE):
            y = int(y1 + (row + 0.5) / MASK_SIDE * (y2 - y1) + shift)
            x = int(x1 + (column + 0.5) / MASK_SIDE * (x2 - x1) + shift)
            cell_values[row, column] = pixels[min(y, HEIGHT - 1), min(x, WIDTH - 1)]
    return cell_values


def mask_notes(annotations: Annotations) -> tuple[str, ...]:
    """Return the notes on segmentations, without those on the boxes themselves."""
    return tuple(note for note in annotations.notes if "segmentation" in note)


@pytest.mark.parametrize(
    "as_file",
    [lambda p: DIAMOND, lambda p: run_lengths(p, packed=False), lambda p: run_lengths(p, packed=True)],
    ids=["polygons", "run lengths", "packed run lengths"],
)
def test_polygons_and_run_lengths_give_the_same_mask(tmp_path: Path, as_file: Callable[[np.ndarray], Any]) -> None:
    pixels = pixels_of(DIAMOND)
    annotations = read(write(tmp_path, as_file(pixels)))
    assert np.array_equal(cells(annotations)[0], at_centers(pixels, annotations.boxes[0]))
    assert 0.4 < cells(annotations).mean() < 0.6


@pytest.mark.parametrize(("box_convention", "shift"), [("plain", 0.0), ("inclusive", 0.5)])
@pytest.mark.parametrize(
    "box", [BOX, [-20.0, -7.5, 86.0, 50.0], [30.25, 20.0, 200.0, 80.0], [40.0, 28.0, 3.0, 2.0], [0, 0, WIDTH, HEIGHT]]
)
def test_a_bitmap_covers_the_clipped_box(tmp_path: Path, box: list[float], box_convention: str, shift: float) -> None:
    annotations = read(write(tmp_path, DIAMOND, box=box), box_convention)
    assert np.array_equal(cells(annotations)[0], at_centers(pixels_of(DIAMOND), annotations.boxes[0], shift))


def test_several_polygons_are_one_mask(tmp_path: Path) -> None:
    parts = [[10, 10, 30, 10, 30, 40, 10, 40], [60.0, 20, 90, 20, 90, 50], [5, 5, 6, 6]]
    annotations = read(write(tmp_path, parts))
    assert np.array_equal(cells(annotations)[0], at_centers(pixels_of(parts[:2]), annotations.boxes[0]))


# Of an object that covers no pixel, and the forms of an object without a mask.
NO_PIXEL = [[1.0, 1.0, 1.1, 1.0, 1.1, 1.1]]
EMPTY: tuple[Any, ...] = (
    [],
    None,
    [[]],
    [[[]]],
    [[], []],
    [[50.0, 5, 60, 6]],
    [[50.0, 5], []],
    {"size": [60, 100], "counts": [6000]},
)


@pytest.mark.parametrize("segmentation", EMPTY)
def test_a_segmentation_that_encloses_nothing_is_none(tmp_path: Path, segmentation: Any) -> None:
    annotations = read(write(tmp_path, DIAMOND, segmentation))
    assert cells(annotations)[1].all()
    assert mask_notes(annotations) == ("instances.json: 1 boxes without a segmentation count as their whole box",)


def test_boxes_without_a_mask_count_as_whole_and_are_noted(tmp_path: Path) -> None:
    path = write(tmp_path, DIAMOND, [], None, NO_PIXEL)
    content = json.loads(path.read_text())
    del content["annotations"][2]["segmentation"]
    content["annotations"].append(content["annotations"][0] | {"id": 99, "iscrowd": 1, "segmentation": "unread"})
    path.write_text(json.dumps(content))
    annotations = read(path)
    assert cells(annotations).all(axis=(1, 2)).tolist() == [False, True, True, False, True]
    assert not cells(annotations)[3].any()
    assert mask_notes(annotations) == (
        "instances.json: 2 boxes without a segmentation count as their whole box",
        "instances.json: 1 boxes whose segmentation covers none of their "
        f"{MASK_SIDE} x {MASK_SIDE} cells have no location",
    )
    assert present(annotations.training_masks(0)).shape == (4, MASK_SIDE * MASK_SIDE // 8)


@pytest.mark.parametrize("segmentation", [*EMPTY, NO_PIXEL])
def test_a_file_without_any_mask_is_refused_naming_key_value_and_file(tmp_path: Path, segmentation: Any) -> None:
    path = write(tmp_path, segmentation, segmentation)
    with pytest.raises(
        DataError, match=r"none of the 2 boxes .* model\.assignment\.positives=mask and .*copy_paste need"
    ) as error:
        read(path)
    assert str(error.value).startswith(f"{path}: ")


def test_no_boxes_need_no_masks(tmp_path: Path) -> None:
    annotations = read(write(tmp_path))
    assert cells(annotations).shape == (0, MASK_SIDE, MASK_SIDE)
    assert present(annotations.select(np.array([0])).training_masks(0)).shape == (0, MASK_SIDE * MASK_SIDE // 8)


LENGTHS = {"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH]}


@pytest.mark.parametrize(
    ("segmentation", "message"),
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
def test_a_broken_mask_is_an_error_that_names_file_and_entry(tmp_path: Path, segmentation: Any, message: str) -> None:
    path = write(tmp_path, DIAMOND, segmentation)
    with pytest.raises(DataError) as error:
        read(path)
    assert str(error.value).startswith(f"{path}: annotations[1] (id 8, image_id 1): segmentation ")
    assert message in str(error.value)


def test_masks_are_cached_by_all_that_they_depend_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks_module, "MIN_CACHED_MASKS", 0)
    path, cache = write(tmp_path, DIAMOND, None), tmp_path / "cache"
    first, progress = read(path, "plain", cache), []
    assert len(list((cache / "annotations").iterdir())) == 1
    add_masks(read_annotations(path), "plain", cache, lambda *step: progress.append(step))
    assert progress == []
    monkeypatch.setattr(masks_module, "_read_masks", lambda *_: pytest.fail("read again"))
    again = read(path, "plain", cache)
    assert np.array_equal(present(again.masks), present(first.masks)) and again.notes == first.notes
    monkeypatch.undo()
    monkeypatch.setattr(masks_module, "MIN_CACHED_MASKS", 0)
    read(path, "inclusive", cache)
    assert len(list((cache / "annotations").iterdir())) == 2
    path.write_text(path.read_text().replace("93.0", "60.0"))
    assert not np.array_equal(present(read(path, "plain", cache).masks), present(first.masks))


def test_a_file_that_changes_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path, DIAMOND)
    annotations = read_annotations(path)
    path.write_text(path.read_text() + " ")
    with pytest.raises(DataError, match="was changed while it was read"):
        add_masks(annotations, "plain", None)


def dataset(folder: Path, pixels: np.ndarray, **changes: Any) -> CocoDataset:
    """Return one image with an object of these pixels.

    The borders between the cells of its box never coincide with borders between pixels.
    """
    from PIL import Image

    folder.mkdir()
    Image.fromarray(np.repeat(pixels[..., None].astype(np.uint8) * 200, 3, axis=2)).save(folder / "a.png")
    path = write(folder, run_lengths(pixels, packed=True), box=[7.3, 5.1, 85.4, 49.8])
    if changes.pop("mirrored", False):
        path = write(folder, run_lengths(pixels, packed=True), box=[WIDTH - 7.3 - 85.4, 5.1, 85.4, 49.8])
    return CocoDataset(read(path), folder, SampleSettings(**changes), training=True, seed=0)


def test_a_flipped_mask_equals_the_mask_of_the_flipped_image(tmp_path: Path) -> None:
    pixels = pixels_of([[20.0, 8, 90, 50, 30, 40]])
    flipped = dataset(tmp_path / "one", pixels, flip=1.0)[0, 0]
    other = dataset(tmp_path / "two", pixels[:, ::-1], mirrored=True)[0, 0]
    plain = dataset(tmp_path / "three", pixels)[0, 0]
    torch.testing.assert_close(flipped.boxes, other.boxes)
    ours, theirs, unflipped = (present(sample.masks) for sample in (flipped, other, plain))
    assert torch.equal(ours, theirs)
    assert torch.equal(ours, unflipped.flip(-1)) and not torch.equal(ours, unflipped)


def test_masks_stay_on_their_objects_after_resizing(tmp_path: Path) -> None:
    pixels = pixels_of(DIAMOND)
    sample = dataset(tmp_path / "one", pixels, short_sides=(150,), long_side=400)[0, 0]
    assert sample.size == (150, 250)
    xy = compute_locations(((19, 32),), (8,), (150, 250), "half_stride", torch.device("cpu")).xy
    xy = xy[((xy > sample.boxes[0, :2]) & (xy < sample.boxes[0, 2:])).all(1)]
    box_index = torch.zeros(len(xy), dtype=torch.long)
    on_mask = pairs_on_mask(present(sample.masks), sample.boxes, xy, box_index, torch.arange(len(xy)))
    expected = torch.from_numpy(pixels)[*(xy / 2.5).long().flip(1).unbind(1)]
    # A cell has 1.6 x 2.7 pixels of the original.
    assert (on_mask != expected).float().mean() < 0.03 < expected.float().mean()


def test_batches_pad_masks_like_boxes(tmp_path: Path) -> None:
    data = dataset(tmp_path / "one", pixels_of(DIAMOND))
    batch = collate([data[0, 0], data[0, 0]], canvas_size([(HEIGHT, WIDTH)], 32))
    masks = present(batch.targets.masks)
    assert masks.shape == (*batch.targets.valid.shape, MASK_SIDE, MASK_SIDE)
    assert torch.equal(masks.any(-1).any(-1), batch.targets.valid)
    data.annotations = read_annotations(tmp_path / "one" / "instances.json")
    assert collate([data[0, 0]], canvas_size([(HEIGHT, WIDTH)], 32)).targets.masks is None


def test_synthetic_masks_are_the_visible_pixels(tmp_path: Path) -> None:
    synthetic = SyntheticConfig(image_size=64, train_images=8, val_images=2, object_size=(8.0, 40.0))
    config = DataConfig(name="synthetic", synthetic=synthetic, cache_dir=str(tmp_path))
    with_masks, without_masks = prepare(config, masks=("train", "val")), prepare(config)
    assert without_masks.train.annotations.masks is None
    assert with_masks.digest == without_masks.digest
    annotations = with_masks.train.annotations
    for index in range(8):
        _, labels, boxes = render_image(synthetic, "train", index)
        visible = np.full((64, 64), -1)
        for shape_index, (label, (x, y, w, h)) in enumerate(zip(labels, boxes, strict=True)):
            visible[y : y + h, x : x + w][shape_mask(annotations.classes[label], w, h)] = shape_index
        masks = unpack_masks(present(annotations.training_masks(index)))
        for shape_index, (x, y, w, h) in enumerate(boxes):
            rows, columns = (int((MASK_SIDE - 1.5) * side / MASK_SIDE) for side in (h, w))
            assert masks[shape_index, 0, 0] == (visible[y, x] == shape_index)
            assert masks[shape_index, MASK_SIDE - 2, MASK_SIDE - 2] == (visible[y + rows, x + columns] == shape_index)
            assert masks[shape_index].mean() == pytest.approx((visible == shape_index).sum() / (w * h), abs=0.12)
    sample = make_dataset(with_masks, "train", config, training=False, seed=0)[0, 3]
    assert present(sample.masks).shape == (len(sample.boxes), MASK_SIDE, MASK_SIDE)


def test_the_requested_splits_must_have_masks(tmp_path: Path) -> None:
    for split, segmentation in (("train", DIAMOND), ("val", None)):
        dataset(tmp_path / split, pixels_of(DIAMOND))
        write(tmp_path / split, segmentation)
    (train, val) = (SplitConfig(annotations=f"{name}/instances.json", images=name) for name in ("train", "val"))
    config = DataConfig(name="coco", root=str(tmp_path), train=train, val=val, cache_dir=str(tmp_path / "cache"))
    of_training: tuple[Split, ...] = ("train",)
    prepared = prepare(config, masks=of_training)
    assert prepared.train.annotations.masks is not None and prepared.val.annotations.masks is None
    with pytest.raises(DataError, match=r"val/instances\.json: none of the 1 boxes"):
        prepare(config, masks=("train", "val"))


def test_real_masks_equal_pycocotools_at_the_locations(shared_data: Path) -> None:
    """Where both differ, the edge of the mask is at most one cell away."""
    path = shared_data / "coco_tiny" / "annotations" / "instances_val2017.json"
    annotations = add_masks(read_annotations(path), "plain", None)
    api = COCO(str(path))
    total = same = 0
    for index in range(0, len(annotations), 4):
        height, width = annotations.sizes[index].tolist()
        xy = compute_locations(
            ((height // 8, width // 8),), (8,), (height, width), "half_stride", torch.device("cpu")
        ).xy
        rows = np.arange(annotations.offsets[index], annotations.offsets[index + 1])
        for row in rows[annotations.trainable[rows]]:
            box = torch.from_numpy(annotations.boxes[row : row + 1])
            inside = xy[((xy > box[0, :2]) & (xy < box[0, 2:])).all(1)]
            mask = torch.from_numpy(cells(annotations.select(np.array([index])))[row - rows[0]])[None]
            pairs = torch.arange(len(inside))
            on_mask = pairs_on_mask(mask, box, inside, torch.zeros_like(pairs), pairs)
            expected = api.annToMask(api.anns[int(annotations.ids[row])]).astype(bool)
            w, h = ((box[0, 2:] - box[0, :2]) / MASK_SIDE).ceil().int().tolist()
            for (x, y), is_on_mask in zip(inside.int().tolist(), on_mask.tolist(), strict=True):
                neighbourhood = expected[max(y - h, 0) : y + h + 1, max(x - w, 0) : x + w + 1]
                assert neighbourhood.any() if is_on_mask else not neighbourhood.all()
                same += is_on_mask == expected[y, x]
                total += 1
    assert total > 5000 and same > 0.96 * total
