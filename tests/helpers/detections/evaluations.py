"""Evaluations as trainings end with them: annotations with crowds and odd boxes, and detections in float32."""

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fcos.annotations.annotations import Annotations, read_annotations
from fcos.annotations.categories import with_classes
from fcos.evaluation.saved.save_evaluations import save_evaluations
from fcos.storage.evaluation_files import ANNOTATIONS, INDEX, RESULTS
from fcos.structures import Detections

# Ids of the file, whose order is not that of the labels.
CLASSES = {2: "two", 2**62: "öther", 11: "eleven"}
LABELS = ("öther", "two", "eleven")


def random_evaluation(folder: Path, seed: int, num_images: int = 8) -> tuple[Annotations, dict[int, Detections]]:
    """Return annotations and detections near their boxes, best first, with ties, misses and false positives."""
    generator = np.random.default_rng(seed)
    images: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    detections: dict[int, Detections] = {}
    for number in range(num_images):
        image_id = 2**54 + 3 * number
        images.append({"id": image_id, "file_name": f"a/{number} ü.jpg", "width": 200, "height": 150})
        own = [_box(generator, len(boxes) + count, image_id) for count in range(generator.integers(0, 6))]
        boxes += own
        detections[image_id] = _near(generator, own)
    path = folder / "instances.json"
    categories = [{"id": id_, "name": name} for id_, name in CLASSES.items()]
    path.write_text(json.dumps({"images": images, "annotations": boxes, "categories": categories}))
    return with_classes(read_annotations(path), LABELS), detections


def _box(generator: np.random.Generator, number: int, image_id: int) -> dict[str, Any]:
    low, size = generator.uniform(-10, 120, 2), generator.choice([0.0, 1.0, 3.0], 2) * generator.uniform(1, 40, 2)
    entry = {
        "id": 2**53 + number,
        "image_id": image_id,
        "category_id": int(generator.choice(list(CLASSES))),
        "bbox": [*low.tolist(), *size.tolist()],
        "iscrowd": int(generator.random() < 0.15),
    }
    return entry if generator.random() < 0.3 else {**entry, "area": float(generator.uniform(0.1, 1.0) * size.prod())}


def _near(generator: np.random.Generator, boxes: list[dict[str, Any]]) -> Detections:
    rows = []
    for box in boxes:
        label = LABELS.index(CLASSES[box["category_id"]])
        for _ in range(generator.integers(0, 4)):
            x, y, width, height = np.array(box["bbox"]) + generator.normal(0, 2, 4)
            score = generator.choice([0.25, 0.5, float(generator.random())])
            rows.append((score, label if generator.random() < 0.9 else 0, x, y, x + abs(width), y + abs(height)))
    rows.sort(key=lambda row: -row[0])
    values = torch.tensor([[row[0], *row[2:]] for row in rows], dtype=torch.float32).reshape(-1, 5)
    return Detections(values[:, 1:], values[:, 0], torch.tensor([row[1] for row in rows], dtype=torch.int64))


def saved(folder: Path, seed: int = 0) -> Path:
    """Save a random evaluation; returns its folder."""
    annotations, detections = random_evaluation(folder, seed)
    save_evaluations(annotations, {"": detections}, folder / "evaluation", data_digest="d" * 64, step=7)
    return folder / "evaluation"


def text_of(file: Path) -> str:
    return gzip.decompress(file.read_bytes()).decode()


def replace_text(folder: Path, name: str, text: str, **index: Any) -> None:
    """Replace a file of a saved evaluation together with its digest in the index, as only malice would."""
    (folder / name).write_bytes(gzip.compress(text.encode()))
    key = {RESULTS: "results_sha256", ANNOTATIONS: "annotations_sha256"}[name]
    values = json.loads((folder / INDEX).read_text()) | {key: hashlib.sha256(text.encode()).hexdigest()} | index
    (folder / INDEX).write_text(json.dumps(values))
