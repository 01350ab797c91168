"""Results that simulated trainings end with: evaluations of a few drawn images, their metrics, pictures, thumbnails.

They are made once; a training takes one of them by its configuration and seed, and links its files. The metrics are
those of the saved detections, so that a report can evaluate these again.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from fcos.annotations.annotations import Annotations, read_annotations
from fcos.data.coco import CocoDataset
from fcos.data.sample_settings import SampleSettings
from fcos.evaluation.coco import result_metrics, results_of
from fcos.evaluation.samples import NUM_PICTURES
from fcos.evaluation.saved.save_evaluations import save_evaluations
from fcos.evaluation.saved.thumbnails import save_thumbnails
from fcos.storage.run_folder import DETECTIONS, EVALUATION
from fcos.structures import Detections

CLASSES = ("disc", "ring", "cross")
SIDE, IMAGES, BOXES = 96, 12, 3
# Groups of results, each better than the one before; a configuration belongs to one, a seed chooses in it.
GROUPS, PER_GROUP = 3, 4


@dataclass(frozen=True)
class Result:
    """An evaluation with its metrics and files, named as below a training's folder without its arm."""

    metrics: Mapping[str, float]
    evaluation: tuple[Path, ...]
    pictures: tuple[Path, ...]


@dataclass(frozen=True)
class ResultBank:
    """Results from worst to best, and the thumbnails of their images."""

    results: tuple[Result, ...]
    thumbnails: Path

    def choose(self, config: Mapping[str, Any]) -> Result:
        """Return the result of a configuration with its seed: the same for the same."""
        unseeded = json.dumps({key: value for key, value in config.items() if key != "seed"}, sort_keys=True)
        group, within = number_of(unseeded) % GROUPS, number_of(f"{unseeded} {config['seed']}") % PER_GROUP
        return self.results[group * PER_GROUP + within]


def number_of(text: str) -> int:
    """Return a number that follows from a text, the same in each process."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6])


def make_bank(folder: Path) -> ResultBank:
    """Draw images, and make results of them with detections that are further off the worse they are."""
    annotations = draw_images(folder)
    made = []
    for number in range(GROUPS * PER_GROUP):
        detections = draw_detections(annotations, number, noise=14.0 - number)
        own = folder / f"result_{number:02d}"
        saved = save_evaluations(annotations, {"": detections}, own / EVALUATION, data_digest="0" * 64, step=1)
        metrics = result_metrics(annotations, results_of(annotations, detections))
        made.append(Result(metrics, tuple(saved.files[""]), draw_pictures(own / DETECTIONS, number)))
    made.sort(key=lambda result: result.metrics["val/AP"])
    dataset = CocoDataset(annotations, folder, SampleSettings(), training=False, seed=0)
    thumbnails, _ = save_thumbnails(dataset, folder, data_digest="0" * 64)
    assert thumbnails is not None, "the images are there"
    return ResultBank(tuple(made), thumbnails)


def draw_images(folder: Path) -> Annotations:
    """Draw images with a few boxes each, and return their annotations."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    images: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    for number in range(IMAGES):
        name = f"{number:06d}.png"
        picture = Image.new("RGB", (SIDE, SIDE), (228, 230, 226))
        for _ in range(BOXES):
            x, y, width, height = generator.uniform((0, 0, 16, 16), (50, 50, 40, 40)).tolist()
            ImageDraw.Draw(picture).ellipse((x, y, x + width, y + height), fill=(90, 140, 170))
            label = int(generator.integers(0, len(CLASSES)))
            entry = {"id": len(boxes) + 1, "image_id": number + 1, "category_id": label + 1, "iscrowd": 0}
            boxes.append({**entry, "bbox": [x, y, width, height], "area": width * height})
        picture.save(folder / name)
        images.append({"id": number + 1, "file_name": name, "width": SIDE, "height": SIDE})
    categories = [{"id": label + 1, "name": name} for label, name in enumerate(CLASSES)]
    file = folder / "instances.json"
    file.write_text(json.dumps({"images": images, "annotations": boxes, "categories": categories}))
    return read_annotations(file)


def draw_detections(annotations: Annotations, seed: int, noise: float) -> dict[int, Detections]:
    """Return a detection near each box, `noise` pixels off, and one of nothing for each image."""
    generator = np.random.default_rng(seed)
    found = {}
    for index, image_id in enumerate(annotations.image_ids.tolist()):
        rows = [[generator.uniform(0, 0.5), 0.0, 2.0, 2.0, 12.0, 12.0]]
        for row in range(annotations.offsets[index], annotations.offsets[index + 1]):
            x, y, width, height = (annotations.xywh[row] + generator.normal(0, noise / 4, 4)).tolist()
            corners = [x, y, x + max(width, 1.0), y + max(height, 1.0)]
            rows.append([generator.uniform(0.3, 1.0), float(annotations.labels[row]), *corners])
        values = torch.tensor(sorted(rows, reverse=True), dtype=torch.float32)
        found[image_id] = Detections(values[:, 2:], values[:, 0], values[:, 1].long())
    return found


def draw_pictures(folder: Path, number: int) -> tuple[Path, ...]:
    """Write as many sample pictures as a training leaves."""
    folder.mkdir(parents=True)
    paths = tuple(folder / f"{index:06d}.png" for index in range(NUM_PICTURES))
    for index, path in enumerate(paths):
        image = Image.new("RGB", (2 * SIDE, SIDE), (228, 230, 226))
        ImageDraw.Draw(image).rectangle((4 + 5 * index, 10, 40 + 4 * number, 70), outline=(200, 60, 20), width=2)
        image.save(path)
    return paths


def link_files(files: tuple[Path, ...], folder: Path) -> list[Path]:
    """Link files into a folder, which need no more space so; return them there."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        (folder / file.name).unlink(missing_ok=True)
        os.link(file, folder / file.name)
    return [folder / file.name for file in files]
