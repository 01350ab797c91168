"""A saved evaluation gives the same numbers again, and one that was tampered with is one clear error."""

import gzip
import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fcos.annotations.annotations import Annotations, read_annotations
from fcos.annotations.coco_results import CocoResults
from fcos.config.choices import Analysis
from fcos.errors import DataError
from fcos.evaluation.analyses import analyse
from fcos.evaluation.coco import coco_metrics, detections_of, result_metrics, results_of
from fcos.evaluation.saved import saved_evaluation
from fcos.evaluation.saved.save_evaluations import SavedFiles, save_evaluations
from fcos.evaluation.saved.saved_evaluation import read_evaluation
from fcos.storage.evaluation_files import ANNOTATIONS, FILES, INDEX, MAX_BYTES, RESULTS
from fcos.structures import Detections
from tests.helpers.detections.evaluations import LABELS, random_evaluation, replace_text, saved, text_of

ANALYSES: list[Analysis] = ["class_agnostic", "proposals", "score_iou", "errors"]


def save(annotations: Annotations, detections: dict[int, Detections], folder: Path, **changes: Any) -> SavedFiles:
    return save_evaluations(annotations, {"": detections}, folder, data_digest="d", step=7, **changes)


@settings(max_examples=25)
@given(st.integers(0, 2**32))
def test_every_number_is_the_same_to_the_last_digit_and_every_detection_identical(seed: int) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        annotations, detections = random_evaluation(folder, seed)
        save(annotations, detections, folder / "saved")
        read = read_evaluation(folder / "saved")
    expected = coco_metrics(annotations, detections) | analyse(annotations, detections, ANALYSES)
    assert read.annotations.classes == LABELS
    again = detections_of(read.annotations, read.results)
    for image_id, image_detections in detections.items():
        assert torch.equal(again[image_id].boxes, image_detections.boxes)
        assert torch.equal(again[image_id].scores, image_detections.scores)
        assert torch.equal(again[image_id].labels, image_detections.labels)
    assert result_metrics(read.annotations, read.results) == coco_metrics(annotations, detections)
    assert coco_metrics(read.annotations, again) | analyse(read.annotations, again, ANALYSES) == expected
    for column in ("image_ids", "sizes", "offsets", "labels", "crowd", "xywh", "areas", "ids"):
        np.testing.assert_array_equal(getattr(read.annotations, column), getattr(annotations, column))
    assert read.annotations.names == annotations.names and read.annotations.category_ids == annotations.category_ids


def saved_and_read(values: torch.Tensor) -> tuple[CocoResults, CocoResults, Detections]:
    """Save boxes with their scores, best first; returns what is evaluated before and after, and the detections read."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        annotations = random_evaluation(folder, 0, num_images=1)[0]
        detections = Detections(values[:, :4], values[:, 4], torch.zeros(len(values), dtype=torch.int64))
        by_image = {int(annotations.image_ids[0]): detections}
        save(annotations, by_image, folder / "saved")
        read = read_evaluation(folder / "saved")
    again = detections_of(read.annotations, read.results)
    (detections,) = again.values()
    return results_of(annotations, by_image), results_of(read.annotations, again), detections


corners = st.floats(-(2.0**20), 2.0**20, width=32)
boxes = st.tuples(corners, corners, corners, corners, st.floats(0, 1, width=32))


@given(st.lists(boxes, max_size=20))
def test_boxes_of_any_float32_are_evaluated_with_the_same_numbers(rows: list[tuple[float, ...]]) -> None:
    values = torch.tensor(sorted(rows, key=lambda row: -row[4]), dtype=torch.float32).reshape(-1, 5)
    before, after, _ = saved_and_read(values)
    np.testing.assert_array_equal(after.xywh, before.xywh)
    np.testing.assert_array_equal(after.scores, before.scores)


@given(st.lists(boxes, max_size=20))
def test_corners_of_boxes_clipped_to_an_image_come_back_bit_by_bit(rows: list[tuple[float, ...]]) -> None:
    values = torch.tensor(sorted(rows, key=lambda row: -row[4]), dtype=torch.float32).reshape(-1, 5).abs()
    values[:, 2:4] = torch.maximum(values[:, :2], values[:, 2:4])
    again = saved_and_read(values)[2]
    assert again.boxes.dtype == torch.float32 and torch.equal(again.boxes, values[:, :4])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("change", [0.1, 1e300])
def test_numbers_that_float32_does_not_hold_stay_float64(tmp_path: Path, change: float) -> None:
    annotations, detections = random_evaluation(tmp_path, 1)
    results = results_of(annotations, detections)
    results = replace(results, xywh=results.xywh + change)
    boxes = torch.cat([item.boxes for item in detections_of(annotations, results).values()])
    assert boxes.dtype == torch.float64
    assert torch.equal(boxes[:, 0], torch.from_numpy(results.xywh[:, 0]))


def test_the_same_evaluation_gives_the_same_bytes(tmp_path: Path) -> None:
    annotations, detections = random_evaluation(tmp_path, 2)
    for name in ("first", "second"):
        save(annotations, dict(reversed(detections.items())) if name == "second" else detections, tmp_path / name)
    for name in FILES:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_each_arm_has_a_folder_with_all_it_needs(tmp_path: Path) -> None:
    annotations, detections = random_evaluation(tmp_path, 3)
    nothing = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    arms = {"full": detections, "empty": dict.fromkeys(detections, nothing)}
    files = save_evaluations(annotations, arms, tmp_path / "saved", data_digest="d" * 64, step=7)
    assert files.notes == ()
    assert files.files == {arm: tuple(tmp_path / "saved" / arm / name for name in FILES) for arm in arms}
    read = {arm: read_evaluation(tmp_path / "saved" / arm) for arm in arms}
    assert (len(read["full"].results), len(read["empty"].results)) == (sum(map(_count, detections.values())), 0)
    index = read["full"].index
    assert (index.step, index.data_digest, index.images) == (7, "d" * 64, len(annotations))
    assert result_metrics(annotations, read["empty"].results)["val/AP"] == 0


def _count(detections: Detections) -> int:
    return len(detections.scores)


def test_crowds_that_were_objects_stay_objects(tmp_path: Path) -> None:
    crowds, detections = random_evaluation(tmp_path, 4)
    assert crowds.crowd.any()
    objects = replace(crowds, crowd=np.zeros_like(crowds.crowd))
    save(objects, detections, tmp_path / "saved")
    read = read_evaluation(tmp_path / "saved")
    assert not read.annotations.crowd.any()
    assert result_metrics(read.annotations, read.results) == coco_metrics(objects, detections)


def test_val2017_with_a_hundred_detections_an_image_is_within_the_bound(tmp_path: Path) -> None:
    generator, num_images = np.random.default_rng(0), 500
    annotations, _ = random_evaluation(tmp_path, 5, num_images)
    detections = {}
    for image_id in annotations.image_ids.tolist():
        boxes = torch.from_numpy(generator.uniform(0, 640, (100, 4)).astype(np.float32))
        scores = torch.from_numpy(generator.uniform(0.05, 1, 100).astype(np.float32)).sort(descending=True).values
        labels = torch.from_numpy(generator.integers(0, 3, 100))
        detections[image_id] = Detections(torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1), scores, labels)
    files = save(annotations, detections, tmp_path / "saved").files[""]
    assert 5000 / num_images * sum(path.stat().st_size for path in files) < MAX_BYTES


def test_what_is_over_the_bound_is_left_out_with_a_note(tmp_path: Path) -> None:
    annotations, detections = random_evaluation(tmp_path, 6)
    size = sum((saved(tmp_path, 6) / name).stat().st_size for name in (ANNOTATIONS, RESULTS))
    fits = save(annotations, detections, tmp_path / "fits", max_bytes=size)
    assert fits.notes == () and set(fits.files) == {""}
    count = sum(map(_count, detections.values()))
    for max_bytes in (size - 1, 100):
        left_out = save(annotations, detections, tmp_path / "over", max_bytes=max_bytes)
        assert left_out.files == {} and not (tmp_path / "over").exists()
        (note,) = left_out.notes
        assert f"the evaluation is not saved: with {count} detections it needs more than" in note


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_detections_that_are_not_finite_are_left_out_with_a_note(tmp_path: Path, value: float) -> None:
    annotations, detections = random_evaluation(tmp_path, 6)
    next(item for item in detections.values() if len(item.scores)).boxes[0, 2] = value
    left_out = save_evaluations(annotations, {"a": detections}, tmp_path / "saved", data_digest="d", step=7)
    assert left_out.files == {}
    (note,) = left_out.notes
    assert "the evaluation of a is not saved: its detections hold numbers that are not finite" in note


def test_annotations_of_another_evaluation_are_refused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    folder, other = saved(tmp_path, 7), saved(tmp_path / "other", 8)
    (folder / ANNOTATIONS).write_bytes((other / ANNOTATIONS).read_bytes())
    with pytest.raises(DataError, match="are not the annotations that the detections were evaluated against"):
        read_evaluation(folder)


def test_detections_of_another_evaluation_are_refused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    folder, other = saved(tmp_path, 7), saved(tmp_path / "other", 8)
    (folder / RESULTS).write_bytes((other / RESULTS).read_bytes())
    with pytest.raises(DataError, match=r"are not the detections that index\.json names"):
        read_evaluation(folder)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"score":', '"score":NaN,"x":', r"results\[0\]\.score: .*finite"),
        ('"bbox":[', '"bbox":[1e999,', r"results\[0\]\.bbox"),
        ('"bbox":[', '"bbox":[1,', r"results\[0\]\.bbox"),
        ('"image_id":', '"image_id":1,"x":', r"results\[0\]: image_id=1 is not among the images"),
        ('"image_id":', '"image_id":true,"x":', r"results\[0\]\.image_id: .*integer"),
        ('"image_id":', f'"image_id":{"9" * 5000},"x":', r"results\[0\]\.image_id|not JSON|number"),
        ('"image_id":', f'"image_id":{2**64},"x":', r"results\[0\]\.image_id"),
        ('"category_id":', '"category_id":12,"x":', r"results\[0\]: category_id=12 is not among the categories"),
        ('"category_id":', '"category":', r"results\[0\]\.category_id: Field required"),
        ("[", "[" * 100_000, "must be a list of COCO results|recursion"),
        ("[", '{"a": [', "must be a list of COCO results"),
    ],
)
def test_hostile_detections_are_refused_with_the_entry(tmp_path: Path, old: str, new: str, message: str) -> None:
    folder = saved(tmp_path, 9)
    replace_text(folder, RESULTS, text_of(folder / RESULTS).replace(old, new, 1))
    with pytest.raises(DataError, match=message):
        read_evaluation(folder)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"bbox":[', '"bbox":[NaN,', "bbox"),
        ('"bbox":[', '"bbox":"', "JSON"),
        ('"file_name":"', '"file_name":"../', "must be a path below the image folder"),
        ('"name":"', '"name":"x', "has other classes"),
        ('"area":', '"area":Infinity,"x":', "area=inf must be a finite number"),
    ],
)
def test_hostile_annotations_are_refused_with_the_entry(tmp_path: Path, old: str, new: str, message: str) -> None:
    folder = saved(tmp_path, 9)
    replace_text(folder, ANNOTATIONS, text_of(folder / ANNOTATIONS).replace(old, new, 1))
    with pytest.raises(DataError, match=message):
        read_evaluation(folder)


@pytest.mark.parametrize("name", [ANNOTATIONS, RESULTS])
def test_a_file_that_unpacks_to_more_than_the_bound_is_refused(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = saved(tmp_path, 10)
    monkeypatch.setattr(saved_evaluation, "MAX_TEXT_BYTES", 1 << 20)
    (folder / name).write_bytes(gzip.compress(b" " * (64 << 20)))
    with pytest.raises(DataError, match=rf"{name}: its text has more than 1 MB"):
        read_evaluation(folder)


def test_files_that_are_larger_than_the_bound_are_refused_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = saved(tmp_path, 10)
    monkeypatch.setattr(saved_evaluation, "MAX_BYTES", 100)
    with pytest.raises(DataError, match="the most that a saved evaluation may have"):
        read_evaluation(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not gzip", "are not the detections"),
        (b"\x1f\x8bnot gzip", "the gzip data are broken"),
        (gzip.compress(b"[]" * 1000, mtime=0)[:-4], "the gzip data are broken"),
        (b"", "are not the detections"),
    ],
)
def test_a_file_that_is_damaged_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    folder = saved(tmp_path, 11)
    (folder / RESULTS).write_bytes(content)
    with pytest.raises(DataError, match=rf"{RESULTS}: .*{message}|{message}"):
        read_evaluation(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "version"),
        ({"results_sha256": "../x"}, "results_sha256"),
        ({"classes": [*LABELS, "more"]}, "has other classes"),
        ({"images": 7}, "another number of images"),
        ({"detections": 0}, "holds .* detections, and index.json names 0"),
        ({"step": "7"}, "step: Input should be a valid integer"),
        ({"unknown": 1}, "unknown: Extra inputs are not permitted"),
    ],
)
def test_an_index_that_does_not_fit_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    folder = saved(tmp_path, 12)
    (folder / INDEX).write_text(json.dumps(json.loads((folder / INDEX).read_text()) | changes))
    with pytest.raises(DataError, match=message):
        read_evaluation(folder)


def test_a_folder_above_evaluations_is_refused_with_their_folders(tmp_path: Path) -> None:
    folder = saved(tmp_path, 13)
    with pytest.raises(DataError, match=rf"holds no saved evaluation .* below it: {folder}"):
        read_evaluation(tmp_path)


def test_annotations_are_a_coco_file_of_their_own(tmp_path: Path) -> None:
    folder = saved(tmp_path, 14)
    read = read_annotations(folder / ANNOTATIONS)
    assert set(read.classes) == set(LABELS) and len(read.xywh) == len(read_evaluation(folder).annotations.xywh)
