"""Small data sets in COCO format."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fcos.config.run import DataConfig, SplitConfig


def write_split(root: Path, name: str, num_images: int, categories: dict[int, str]) -> None:
    (root / name).mkdir(parents=True)
    images, annotations = [], []
    for number in range(num_images):
        file_name = f"{number}.png"
        # Of another content than the images of other splits.
        gray = 10 * number + (name != "train")
        Image.fromarray(np.full((20, 30, 3), gray, dtype=np.uint8)).save(root / name / file_name)
        images.append({"id": number + 1, "file_name": file_name, "width": 30, "height": 20})
        annotations.append(
            {"id": number + 1, "image_id": number + 1, "category_id": min(categories), "bbox": [1, 2, 10, 10]}
        )
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": key, "name": value} for key, value in categories.items()],
    }
    (root / f"{name}.json").write_text(json.dumps(content))


def coco(folder: Path, **changes: Any) -> DataConfig:
    settings: dict[str, Any] = {
        "name": "coco",
        "root": str(folder),
        "train": SplitConfig(annotations="train.json", images="train"),
        "val": SplitConfig(annotations="val.json", images="val"),
        "cache_dir": str(folder.parent / "cache"),
    }
    return DataConfig(**settings | changes)
