"""Stored sweeps whose runs have evaluations and thumbnails, with hostile names of arms, classes and images."""

import json
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
from fcos.evaluation.saved.save_evaluations import save_evaluations
from fcos.evaluation.saved.thumbnails import save_thumbnails
from fcos.structures import Detections
from tests.helpers.experiments.stored_sweeps import EXPERIMENT, HOSTILE, RESULTS, SweepWriter

CLASSES = ("disc", "</script><script>alert(2)</script>", "<!-- cross & bar \u2028")
SIZE = (200, 150)
# How far off the boxes of an arm are, and which share of them it misses.
ARMS: Mapping[str, tuple[float, float]] = {"none": (4.0, 0.35), "branch": (2.5, 0.2), HOSTILE: (4.0, 0.35)}


@dataclass(frozen=True)
class Drawn:
    """A folder with drawn images and their annotations."""

    folder: Path
    annotations: Annotations


def draw_images(folder: Path, num_images: int) -> Drawn:
    """Draw images with up to five boxes, some of which overlap, some of which are crowds; the last has none."""
    generator = np.random.default_rng(0)
    images: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    for number in range(num_images):
        name = f'{number:04d} "><img src=x onerror=alert(3)>.png'.replace("/", "")
        images.append({"id": 7 * number + 1, "file_name": name, "width": SIZE[0], "height": SIZE[1]})
        picture = Image.new("RGB", SIZE, tuple(generator.integers(120, 240, 3).tolist()))
        for _ in range(0 if number == num_images - 1 else int(generator.integers(1, 6))):
            x, y, width, height = generator.uniform((0, 0, 15, 15), (130, 90, 70, 60)).tolist()
            label = int(generator.integers(0, len(CLASSES)))
            colour = [(160, 60, 40), (40, 90, 160), (60, 130, 60)][label]
            ImageDraw.Draw(picture).ellipse((x, y, x + width, y + height), fill=colour)
            entry = {"id": len(boxes) + 1, "image_id": 7 * number + 1, "category_id": label + 1}
            boxes.append({**entry, "bbox": [x, y, width, height], "iscrowd": int(generator.random() < 0.05)})
        picture.save(folder / name)
    categories = [{"id": label + 1, "name": name} for label, name in enumerate(CLASSES)]
    file = folder / "instances.json"
    file.write_text(json.dumps({"images": images, "annotations": boxes, "categories": categories}))
    return Drawn(folder, read_annotations(file))


def make_detections(annotations: Annotations, arm: str, seed: int) -> dict[int, Detections]:
    """Return detections near the boxes, some of a wrong class or twice, and some of nothing."""
    generator = np.random.default_rng([list(ARMS).index(arm), seed])
    noise, missed = ARMS[arm]
    detections = {}
    for index, image_id in enumerate(annotations.image_ids.tolist()):
        rows: list[tuple[float, ...]] = []
        for row in range(annotations.offsets[index], annotations.offsets[index + 1]):
            for _ in range(int(generator.random() > missed) + int(generator.random() < 0.1)):
                x, y, width, height = annotations.xywh[row] + generator.normal(0, noise, 4)
                is_right = generator.random() < 0.9
                label = float(annotations.labels[row]) if is_right else float(generator.integers(0, len(CLASSES)))
                rows.append((generator.uniform(0.3, 1.0), label, x, y, x + max(width, 1), y + max(height, 1)))
        for _ in range(int(generator.integers(0, 4))):
            x, y = generator.uniform(0, 100, 2).tolist()
            rows.append((generator.uniform(0.0, 0.6), float(generator.integers(0, 3)), x, y, x + 30, y + 30))
        rows.sort(key=lambda item: -item[0])
        values = torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)
        detections[image_id] = Detections(values[:, 2:], values[:, 0], values[:, 1].long())
    return detections


def write_explored_sweep(
    writer: SweepWriter, name: str, folder: Path, num_images: int = 24, *, thumbnails: bool = True
) -> str:
    """Write a sweep of three arms and three seeds, one of which failed, with its evaluations; returns its run id."""
    drawn = draw_images(folder, num_images)
    parent = writer.write_sweep(name, name, {}, experiment=EXPERIMENT)
    for arm, results in RESULTS.items():
        for seed, result in enumerate(results):
            run_id = writer.write_trial(name, parent, arm, seed, result)
            if result is not None:
                files = save_run(drawn, arm, seed, folder / f"run {list(RESULTS).index(arm)} {seed}")
                log_files(writer, run_id, files)
                if thumbnails and arm == "none":
                    log_files(writer, run_id, [draw_thumbnails(drawn, folder)])
    return parent


def save_run(drawn: Drawn, arm: str, seed: int, folder: Path) -> tuple[Path, ...]:
    """Save the evaluation of an arm and seed; returns its files."""
    detections = make_detections(drawn.annotations, arm, seed)
    saved = save_evaluations(drawn.annotations, {"": detections}, folder, data_digest="d" * 64, step=1200)
    return saved.files[""]


def draw_thumbnails(drawn: Drawn, folder: Path) -> Path:
    """Save thumbnails of drawn images; returns their file."""
    file, notes = save_thumbnails(make_dataset(drawn), folder, str(drawn.folder))
    assert file is not None
    assert not notes
    return file


def make_dataset(drawn: Drawn) -> CocoDataset:
    """Return the drawn images as a data set."""
    return CocoDataset(drawn.annotations, drawn.folder, SampleSettings(), training=False, seed=0)


def log_files(writer: SweepWriter, run_id: str, files: Any) -> None:
    """Store files as artifacts of a run's evaluation."""
    for file in files:
        writer.client.log_artifact(run_id, str(file), "evaluation")
