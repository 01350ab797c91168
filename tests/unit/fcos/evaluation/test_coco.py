"""COCO metrics equal pycocotools' and published numbers."""

import contextlib
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from fcos.annotations.annotations import Annotations, read_annotations
from fcos.config.choices import Analysis
from fcos.evaluation.analyses import analyse
from fcos.evaluation.class_keys import class_keys, keys_without_ground_truth
from fcos.evaluation.coco import coco_metrics, gather_detections
from fcos.evaluation.metric_names import COCO_METRICS
from fcos.structures import Detections

NOTHING = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))


def write(folder: Path, annotations: list[dict[str, Any]], names: dict[int, str], num_images: int) -> Path:
    path = folder / "instances.json"
    content = {
        "images": [
            {"id": 3 * number + 1, "file_name": f"{number}.jpg", "width": 200, "height": 150}
            for number in range(num_images)
        ],
        "annotations": annotations,
        "categories": [{"id": key, "name": name} for key, name in names.items()],
    }
    path.write_text(json.dumps(content))
    return path


def as_detections(annotations: Annotations, results: list[dict[str, Any]]) -> dict[int, Detections]:
    """Convert COCO results to detections, best first, in double precision, as some IoUs equal a threshold exactly."""
    detections: dict[int, Detections] = {}
    for image_id in annotations.image_ids.tolist():
        image_results = sorted((r for r in results if r["image_id"] == image_id), key=lambda r: -r["score"])
        xywh = torch.tensor([r["bbox"] for r in image_results], dtype=torch.float64).reshape(-1, 4)
        detections[image_id] = Detections(
            torch.cat([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], dim=1),
            torch.tensor([r["score"] for r in image_results], dtype=torch.float64),
            torch.tensor([annotations.category_ids.index(r["category_id"]) for r in image_results], dtype=torch.int64),
        )
    return detections


def by_pycocotools(path: Path, annotations: Annotations, detections: dict[int, Detections]) -> list[float]:
    results = [
        {
            "image_id": image_id,
            "category_id": annotations.category_ids[int(label)],
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "score": float(score),
        }
        for image_id, image_detections in detections.items()
        for (x1, y1, x2, y2), score, label in zip(
            image_detections.boxes.tolist(), image_detections.scores, image_detections.labels, strict=True
        )
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(path))
        evaluator = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return list(evaluator.stats)


def random_set(folder: Path, seed: int) -> tuple[Path, dict[int, Detections], Annotations]:
    """Return images with crowds, some without boxes, ties in the scores, misses and false positives."""
    generator = np.random.default_rng(seed)
    entries: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for number in range(12):
        for _ in range(generator.integers(0, 7)):
            low, size = generator.uniform(0, 100, 2), generator.uniform(5, [100, 50], 2)
            entry = {
                "id": len(entries) + 1,
                "image_id": 3 * number + 1,
                "category_id": int(generator.choice([2, 5, 11])),
                "bbox": [*low.tolist(), *size.tolist()],
                "area": float(generator.uniform(0.5, 1.0) * size.prod()),
                "iscrowd": int(generator.random() < 0.15),
            }
            entries.append(entry)
            for _ in range(generator.integers(0, 4)):
                jittered = np.concatenate([low + generator.normal(0, 4, 2), size * generator.uniform(0.8, 1.2, 2)])
                results.append(
                    {
                        "image_id": entry["image_id"],
                        "category_id": entry["category_id"] if generator.random() < 0.9 else 5,
                        "bbox": jittered.tolist(),
                        "score": round(float(generator.random()), 1),
                    }
                )
    path = write(folder, entries, {2: "two", 5: "five", 11: "eleven"}, num_images=12)
    annotations = read_annotations(path)
    return path, as_detections(annotations, results), annotations


@pytest.mark.parametrize("seed", range(5))
def test_numbers_equal_pycocotools_on_random_detections_with_crowds(tmp_path: Path, seed: int) -> None:
    path, detections, annotations = random_set(tmp_path, seed)
    assert annotations.crowd.any()
    ours = coco_metrics(annotations, detections)
    theirs = by_pycocotools(path, annotations, detections)
    for name, number in zip(COCO_METRICS, theirs, strict=True):
        # pycocotools says -1 where there is nothing to measure on.
        assert ours.get(f"val/{name}", -1.0) == pytest.approx(number, abs=1e-12), name


# xywh and area, in images of 200x150: empty, negative, outside, with areas that their sides do not give.
UNSEEN = [
    ([20, 30, 0, 10], 0.0), ([20, 30, 0, 0], 5000.0), ([50, 50, -10, 20], -200.0), ([50, 50, -10, -20], 200.0),
    ([300, 10, 40, 40], 1600.0), ([-80, 10, 40, 40], 1600.0), ([10, 200, 120, 120], 14400.0), ([60, 20, 30, 0], None),
]  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
def test_boxes_that_cannot_be_seen_count_as_in_pycocotools_on_the_file_as_it_is(tmp_path: Path, seed: int) -> None:
    path, _, _ = random_set(tmp_path, seed)
    content = json.loads(path.read_text())
    generator = np.random.default_rng(seed)
    for bbox, area in UNSEEN:
        entry = {
            "id": len(content["annotations"]) + 1,
            "image_id": int(3 * generator.integers(12) + 1),
            "category_id": 5,
            "iscrowd": 0,
        }
        # pycocotools needs an area; without one ours is that of the sides.
        content["annotations"].append(entry | {"bbox": bbox, "area": bbox[2] * bbox[3] if area is None else area})
    path.write_text(json.dumps(content))
    annotations = read_annotations(path)
    assert len(annotations.boxes) == len(content["annotations"]) > annotations.trainable.sum()
    detections = as_detections(annotations, results_near(content["annotations"], generator))
    ours, theirs = coco_metrics(annotations, detections), by_pycocotools(path, annotations, detections)
    for name, number in zip(COCO_METRICS, theirs, strict=True):
        assert ours.get(f"val/{name}", -1.0) == pytest.approx(number, abs=1e-12), name
    visible = replace(annotations, crowd=annotations.crowd | ~annotations.trainable)
    assert ours["val/AR100"] < coco_metrics(visible, detections)["val/AR100"], "unseen boxes are missed"
    analyses: list[Analysis] = ["class_agnostic", "proposals", "score_iou", "errors"]
    assert all(np.isfinite(value) for value in analyse(annotations, detections, analyses).values())


def results_near(entries: list[dict[str, Any]], generator: np.random.Generator) -> list[dict[str, Any]]:
    """Return a detection on each box, also on those without an area."""
    return [
        {
            "image_id": entry["image_id"],
            "category_id": entry["category_id"],
            "bbox": (np.array(entry["bbox"]) + generator.choice([0.0, 1.0])).tolist(),
            "score": round(float(generator.random()), 1),
        }
        for entry in entries
    ]


def test_a_class_of_a_negative_area_has_no_metric(tmp_path: Path) -> None:
    entries = [
        {"id": 1, "image_id": 1, "category_id": 4, "bbox": [10, 10, 40, 50], "iscrowd": 0},
        {"id": 2, "image_id": 1, "category_id": 9, "bbox": [50, 50, -10, 20], "iscrowd": 0},
    ]
    annotations = read_annotations(write(tmp_path, entries, {4: "seen", 9: "never"}, num_images=1))
    numbers = coco_metrics(annotations, perfect(annotations))
    assert "val/class_AP/never" not in numbers
    assert "val/class_AP/never" in keys_without_ground_truth(annotations)


def renumbered(
    annotations: Annotations, detections: dict[int, Detections], ids: list[int], categories: tuple[int, ...]
) -> tuple[Annotations, dict[int, Detections]]:
    """Return the same images and classes under other ids, in ascending order."""
    new_ids = dict(zip(annotations.image_ids.tolist(), ids, strict=True))
    changed = replace(annotations, image_ids=np.array(ids, dtype=np.int64), category_ids=categories)
    return changed, {new_ids[image_id]: image_detections for image_id, image_detections in detections.items()}


@pytest.mark.parametrize("first", [-(2**63) + 1, -5, 0, 2**53, 2**62])
def test_numbers_do_not_depend_on_the_ids_of_the_file(tmp_path: Path, first: int) -> None:
    _, detections, annotations = random_set(tmp_path, 1)
    analyses: list[Analysis] = ["class_agnostic", "proposals", "score_iou", "errors"]
    expected = coco_metrics(annotations, detections) | analyse(annotations, detections, analyses)
    assert 0 < expected["val/AP"] < 1
    ids = [first + number for number in range(len(annotations))]
    other = renumbered(annotations, detections, ids, (first, first + 1, first + 2))
    assert coco_metrics(*other) | analyse(*other, analyses) == expected


def test_numbers_equal_the_published_ones(shared_data: Path) -> None:
    folder = shared_data / "coco_eval_pair"
    annotations = read_annotations(folder / "instances_val2014_100.json")
    results = json.loads((folder / "instances_val2014_fakebbox100_results.json").read_text())
    expected = json.loads((folder / "expected.json").read_text())
    assert tuple(expected["order"]) == COCO_METRICS
    numbers = coco_metrics(annotations, as_detections(annotations, results))
    np.testing.assert_array_equal([round(numbers[f"val/{name}"], 6) for name in COCO_METRICS], expected["bbox"])


def two_boxes(folder: Path) -> Annotations:
    entries = [
        {"id": 1, "image_id": 1, "category_id": 4, "bbox": [10, 10, 40, 50], "iscrowd": 0},
        {"id": 2, "image_id": 4, "category_id": 4, "bbox": [0, 0, 60, 40], "iscrowd": 0},
    ]
    return read_annotations(write(folder, entries, {4: "seen", 9: "never"}, num_images=3))


def perfect(annotations: Annotations) -> dict[int, Detections]:
    detections = dict.fromkeys(annotations.image_ids.tolist(), NOTHING)
    for index, image_id in enumerate(annotations.image_ids.tolist()):
        boxes, labels = annotations.training_boxes(index)
        detections[image_id] = Detections(torch.from_numpy(boxes), torch.ones(len(boxes)), torch.from_numpy(labels))
    return detections


def test_perfect_detections_score_one_and_absent_classes_are_left_out(tmp_path: Path) -> None:
    annotations = two_boxes(tmp_path)
    numbers = coco_metrics(annotations, perfect(annotations))
    assert set(numbers) == {
        *(f"val/{name}" for name in COCO_METRICS if name not in {"APs", "APl", "ARs", "ARl"}),
        "val/class_AP/seen",
    }
    assert all(abs(value - 1) < 1e-9 for value in numbers.values())


def test_no_detections_score_zero(tmp_path: Path) -> None:
    annotations = two_boxes(tmp_path)
    numbers = coco_metrics(annotations, dict.fromkeys(annotations.image_ids.tolist(), NOTHING))
    assert numbers["val/AP"] == numbers["val/AR100"] == numbers["val/class_AP/seen"] == 0.0


def test_class_ap_averages_to_ap(tmp_path: Path) -> None:
    _, detections, annotations = random_set(tmp_path, seed=7)
    numbers = coco_metrics(annotations, detections)
    by_class = [value for key, value in numbers.items() if key.startswith("val/class_AP/")]
    assert len(by_class) == 3
    assert len(set(by_class)) == 3
    assert np.mean(by_class) == pytest.approx(numbers["val/AP"], abs=1e-12)


def test_metrics_do_not_depend_on_the_order_of_images(tmp_path: Path) -> None:
    _, detections, annotations = random_set(tmp_path, seed=3)
    assert coco_metrics(annotations, dict(reversed(detections.items()))) == coco_metrics(annotations, detections)


def test_missing_or_unknown_image_is_an_error(tmp_path: Path) -> None:
    annotations = two_boxes(tmp_path)
    with pytest.raises(ValueError, match=r"missing \[7\], unknown \[8\]"):
        coco_metrics(annotations, dict.fromkeys([1, 4, 8], NOTHING))


def test_evaluation_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    annotations = two_boxes(tmp_path)
    coco_metrics(annotations, perfect(annotations))
    assert capfd.readouterr() == ("", "")


def keys_of(folder: Path, *names: str) -> list[str]:
    annotations = read_annotations(write(folder, [], dict(enumerate(names, start=1)), num_images=1))
    return [key.removeprefix("val/class_AP/") for key in class_keys(annotations)]


def test_class_keys_keep_ascii_names_in_the_characters_of_metrics(tmp_path: Path) -> None:
    names = ("plain name", "a/b", "..", "traffic light: red", "-x.", "(y)")
    assert keys_of(tmp_path, *names) == ["plain name", "a_b", "_", "traffic light: red", "-x", "_y_"]
    assert keys_of(tmp_path, "a+b", "x", "a*b") == ["a_b_1", "x_2", "a_b_3"]


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("翘头剪", "翘头剪"),
        ("Größe", "Größe"),
        ("Gro\u0308ße", "Größe"),
        ("кошка", "кошка"),
        ("قطة", "قطة"),
        ("고양이", "고양이"),
        ("猫/犬", "猫_犬"),
        ("कुत्ता", "कuतviramaतaa"),
        ("🍎", "apple"),
    ],
)
def test_class_keys_keep_letters_of_any_script(tmp_path: Path, name: str, key: str) -> None:
    from mlflow.utils.validation import _validate_metric_name

    assert keys_of(tmp_path, name) == [key]
    _validate_metric_name(f"val/class_AP/{key}")


def test_gathering_on_one_worker_changes_nothing() -> None:
    gathered = gather_detections({3: NOTHING, 1: NOTHING})
    assert list(gathered) == [3, 1]
    assert gathered[3].boxes.shape == (0, 4)


def _gather(rank: int, folder: str, overlap: bool) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    image_ids = [0, 2] if rank == 0 else ([2, 3] if overlap else [3])
    local = {
        image_id: Detections(torch.full((1, 4), float(image_id)), torch.ones(1), torch.tensor([rank]))
        for image_id in image_ids
    }
    try:
        gathered = gather_detections(local)
        assert not overlap
        assert {key: int(value.labels) for key, value in gathered.items()} == {0: 0, 2: 0, 3: 1}
        assert all(int(value.boxes[0, 0]) == key for key, value in gathered.items())
    except AssertionError as error:
        if not (overlap and "two workers" in str(error)):
            raise
    finally:
        dist.destroy_process_group()


@pytest.mark.ray
@pytest.mark.parametrize("overlap", [False, True])
def test_two_workers_gather_every_image_once(tmp_path: Path, overlap: bool) -> None:
    # Forked, because a spawned process cannot import a test module.
    torch.multiprocessing.start_processes(  # type: ignore[attr-defined]
        _gather, (str(tmp_path), overlap), nprocs=2, start_method="fork"
    )
