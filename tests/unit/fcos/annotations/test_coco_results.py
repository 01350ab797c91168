"""COCO results of any tool: what is read, in which order, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fcos.annotations.annotations import Annotations, read_annotations
from fcos.annotations.coco_results import parse_coco_results
from fcos.errors import DataError

PATH = Path("results.json")


@pytest.fixture
def annotations(tmp_path: Path) -> Annotations:
    path = tmp_path / "instances {0}.json"
    content = {
        "images": [{"id": id_, "file_name": f"{id_}.png", "width": 30, "height": 20} for id_ in (9, 4)],
        "categories": [{"id": 7, "name": "seven"}, {"id": 3, "name": "three"}],
        "annotations": [],
    }
    path.write_text(json.dumps(content))
    return read_annotations(path)


def entry(**changes: Any) -> dict[str, Any]:
    return {"image_id": 4, "category_id": 3, "bbox": [1, 2.5, 3, 4], "score": 0.5, **changes}


def test_results_are_in_the_order_of_the_images_and_of_the_file_within_them(annotations: Annotations) -> None:
    entries = [
        entry(image_id=9, score=1),
        entry(segmentation=[], category_id=7),
        entry(image_id=9, score=0.75, bbox=[0, 0, -1, 0]),
    ]
    results = parse_coco_results(json.dumps(entries).encode(), PATH, annotations)
    assert results.image.tolist() == [0, 1, 1] and results.label.tolist() == [1, 0, 0]
    assert results.scores.tolist() == [0.5, 1.0, 0.75]
    assert results.xywh.tolist() == [[1, 2.5, 3, 4], [1, 2.5, 3, 4], [0, 0, -1, 0]]
    assert results.xywh.dtype == np.float64


def test_an_empty_list_has_no_detections(annotations: Annotations) -> None:
    assert len(parse_coco_results(b"[]", PATH, annotations)) == 0


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (entry(image_id=5), r"results\[1\]: image_id=5 is not among the images of .*instances \{0\}\.json"),
        (entry(category_id=1), r"results\[1\]: category_id=1 is not among the categories"),
        (entry(image_id="4"), r"results\[1\]\.image_id: .*integer, not 4"),
        (entry(bbox=[1, 2, 3]), r"results\[1\]\.bbox\[3\]: Field required"),
        (entry(bbox=[1, 2, 3, 4, 5]), r"results\[1\]\.bbox"),
        (entry(bbox=[1, 2, None, 4]), r"results\[1\]\.bbox\[2\]: .*number"),
        (entry(score=float("nan")), r"results\[1\]\.score: .*finite"),
        ({"image_id": 4}, r"results\[1\]\.category_id: Field required"),
        ([1], r"results\[1\]: "),
    ],
)
def test_an_entry_that_cannot_be_is_named(annotations: Annotations, bad: Any, message: str) -> None:
    with pytest.raises(DataError, match=rf"results\.json: {message}"):
        parse_coco_results(json.dumps([entry(), bad]).encode(), PATH, annotations)


@pytest.mark.parametrize("text", [b"", b"{}", b"[", b'{"images": [], "annotations": [], "categories": []}'])
def test_what_is_no_list_of_results_is_refused(annotations: Annotations, text: bytes) -> None:
    with pytest.raises(DataError, match=r"results\.json: must be a list of COCO results"):
        parse_coco_results(text, PATH, annotations)
