"""COCO evaluation against pycocotools: python benchmarks/evaluation.py

5000 images, 36,000 boxes of 80 classes of which one in a hundred is a crowd, 500,000 detections. The 12 numbers must be
equal to 1e-12. The peer gets its results as a list that is made beforehand; ours makes it from detections meanwhile.
"""

import contextlib
import io
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from side_by_side import Case, main, require

from fcos.annotations.annotations import read_annotations
from fcos.evaluation.coco import coco_metrics
from fcos.evaluation.metric_names import COCO_METRICS
from fcos.structures import Detections

WIDTH, HEIGHT, CLASSES, PER_IMAGE = 640, 480, 80, 100


def draw_truth(images: int, rng: np.random.Generator, classes: int = CLASSES) -> dict[str, Any]:
    """Return the contents of a COCO file: 7.2 boxes an image, log-uniform in size."""
    entries: list[dict[str, Any]] = []
    for image in range(1, images + 1):
        for _ in range(rng.poisson(7.2)):
            side = np.exp(rng.uniform(np.log(10), np.log(300), 2))
            w, h = np.round(np.minimum(side, [WIDTH - 1, HEIGHT - 1]), 2).tolist()
            x, y = round(rng.uniform(0, WIDTH - w), 2), round(rng.uniform(0, HEIGHT - h), 2)
            entry = {"id": len(entries) + 1, "image_id": image, "category_id": int(rng.integers(1, classes + 1))}
            entries.append(entry | {"bbox": [x, y, w, h], "area": w * h, "iscrowd": int(rng.random() < 0.01)})
    return {
        "images": [
            {"id": image, "file_name": f"{image}.jpg", "width": WIDTH, "height": HEIGHT}
            for image in range(1, images + 1)
        ],
        "categories": [{"id": category, "name": str(category)} for category in range(1, classes + 1)],
        "annotations": entries,
    }


def draw_detections(truth: dict[str, Any], rng: np.random.Generator, classes: int = CLASSES) -> dict[int, Detections]:
    """Return 100 an image: two near every box, the rest anywhere; scores separate the two in part."""
    by_image: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in truth["images"]}
    for entry in truth["annotations"]:
        by_image[entry["image_id"]].append(entry)
    detections = {}
    for image, entries in by_image.items():
        corner = rng.uniform(0, 300, (PER_IMAGE, 2))
        boxes = np.concatenate([corner, corner + rng.uniform(10, 200, (PER_IMAGE, 2))], axis=1)
        labels = rng.integers(0, classes, PER_IMAGE)
        scores = rng.random(PER_IMAGE) * 0.6
        for row, entry in enumerate(entries * 2):
            if row < PER_IMAGE:
                x, y, w, h = entry["bbox"]
                boxes[row] = np.array([x, y, x + w, y + h]) + rng.normal(0, 0.06, 4) * [w, h, w, h]
                labels[row], scores[row] = entry["category_id"] - 1, rng.random()
        order = np.argsort(-scores)
        detections[image] = Detections(
            torch.from_numpy(boxes[order]).float(),
            torch.from_numpy(scores[order]).float(),
            torch.from_numpy(labels[order]),
        )
    return detections


def results_of(detections: dict[int, Detections]) -> list[dict[str, Any]]:
    """Return detections as pycocotools takes them."""
    results = []
    for image, found in detections.items():
        boxes = found.boxes.double()
        xywh = torch.cat([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], dim=1).tolist()
        for bbox, score, label in zip(xywh, found.scores.tolist(), found.labels.tolist(), strict=True):
            results.append({"image_id": image, "category_id": label + 1, "bbox": bbox, "score": score})
    return results


def run_peer(truth: dict[str, Any], results: list[dict[str, Any]]) -> list[float]:
    """Compute the 12 numbers by pycocotools; it prints them too."""
    with contextlib.redirect_stdout(io.StringIO()):
        ground = COCO()
        ground.dataset = truth
        ground.createIndex()
        evaluator = COCOeval(ground, ground.loadRes([dict(result) for result in results]), "bbox")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return [float(value) for value in evaluator.stats]


def same(theirs: list[float], ours: dict[str, float]) -> str:
    """Compare all 12, whose means are added in different orders; without truth a number is -1 there and absent here."""
    found = [ours.get(f"val/{name}", -1.0) for name in COCO_METRICS]
    apart = max(abs(mine - peer) for mine, peer in zip(found, theirs, strict=True))
    require(apart <= 1e-12, f"{found} and {theirs}")
    return f"12 numbers equal to {apart:.0e}, AP {100 * found[0]:.1f}"


def case(images: int, goal: float | None) -> Case:
    """Return the case of so many images with 100 detections each."""
    rng = np.random.default_rng(0)
    truth = draw_truth(images, rng)
    detections = draw_detections(truth, rng)
    results = results_of(detections)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "truth.json"
        path.write_text(json.dumps(truth))
        annotations = read_annotations(path)
    return Case(
        f"evaluation, {images} images, {images * PER_IMAGE} detections",
        lambda: run_peer(truth, results),
        lambda: coco_metrics(annotations, detections),
        same,
        peer_name="pycocotools",
        goal=goal,
    )


def cases() -> Iterator[Case]:
    """Yield the case of as many images and detections as COCO's val2017 has."""
    yield case(5000, goal=30)


if __name__ == "__main__":
    main(__doc__ or "", cases)
