"""COCO tools read the results, which are complete up to wherever a prediction ended."""

import json
from pathlib import Path

import pytest
import torch
from pycocotools.coco import COCO

from fcos.prediction.results import DETECTIONS, IMAGES, PARTIAL, ResultFrame, ResultImage, ResultWriter
from fcos.structures import Detections

NONE = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.long))
ONE = Detections(torch.tensor([[1.0, 2.0, 4.0, 8.0]]), torch.tensor([0.5]), torch.tensor([1]))


def test_coco_tools_read_results_whatever_the_order_they_came_in(tmp_path: Path) -> None:
    with ResultWriter(tmp_path, ["a", "b"]) as writer:
        writer.add(ResultImage(2, "β.jpg", 20, 10), ONE)
        writer.add(ResultImage(1, "a.jpg", 20, 10), NONE)
        writer.add(ResultFrame(3, "c.mp4/000007", 20, 10, "c.mp4", 7, 0.28), ONE)
    data = COCO(str(tmp_path / IMAGES))
    assert [data.imgs[image]["file_name"] for image in (1, 2, 3)] == ["a.jpg", "β.jpg", "c.mp4/000007"]
    assert data.imgs[3]["frame"] == 7
    found = data.loadRes(str(tmp_path / DETECTIONS))
    (one,) = found.loadAnns(found.getAnnIds(imgIds=[2]))
    assert one["bbox"] == [1, 2, 3, 6] and one["score"] == 0.5
    assert data.cats[one["category_id"]]["name"] == "b"
    assert [image["id"] for image in json.loads((tmp_path / IMAGES).read_text())["images"]] == [1, 2, 3]
    assert sorted(path.name for path in tmp_path.iterdir()) == [DETECTIONS, IMAGES]


def test_an_interrupt_keeps_what_was_written(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), ResultWriter(tmp_path, ["a", "b"]) as writer:
        writer.add(ResultImage(1, "a.jpg", 20, 10), ONE)
        raise KeyboardInterrupt
    assert len(json.loads((tmp_path / DETECTIONS).read_text())) == 1


def test_each_image_is_on_disk_before_the_next(tmp_path: Path) -> None:
    with ResultWriter(tmp_path, ["a", "b"]) as writer:
        for number in (1, 2):
            writer.add(ResultImage(number, "a.jpg", 20, 10), ONE)
            lines = (tmp_path / PARTIAL).read_text().splitlines()
            assert [json.loads(line)[0]["id"] for line in lines] == list(range(1, number + 1))


def test_no_detection_at_all_is_an_empty_list(tmp_path: Path) -> None:
    with ResultWriter(tmp_path, ["a"]):
        pass
    assert json.loads((tmp_path / DETECTIONS).read_text()) == []
    assert json.loads((tmp_path / IMAGES).read_text())["images"] == []
