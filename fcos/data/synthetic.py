"""The synthetic data set: rendered shapes, written once into a cache folder in COCO format."""

import hashlib
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, UInt8
from PIL import Image

from fcos.annotations.coco_entries import CocoAnnotation, CocoImage
from fcos.config.run import SyntheticConfig
from fcos.storage.reading import CountCallback, is_folder, raise_cache_error

CLASSES: Final = ("disc", "square", "triangle", "ring", "cross")
# Part of the folder's name; incremented with every change of the rendered images.
RENDER_VERSION: Final = 1

_SPLITS: Final = ("train", "val")
# Rejected positions before an object is left out.
_MAX_TRIES: Final = 30


def synthetic_folder(config: SyntheticConfig, cache: Path, on_count: CountCallback | None = None) -> Path:
    """Return the folder of the data set (train/, val/, train.json, val.json), rendered first if it is not cached.

    Of processes that render at the same time the first to finish wins, and the others' folders are discarded. Raises
    DataError where the cache cannot be written, and ReadError where that may be transient.
    """
    settings = json.dumps({"version": RENDER_VERSION, **config.model_dump(mode="json")}, sort_keys=True)
    folder = cache / f"synthetic-{hashlib.sha256(settings.encode()).hexdigest()[:16]}"
    if is_folder(folder):
        return folder
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".drawing-") as temporary:
            rendered = Path(temporary) / "data"
            _write(config, rendered, on_count)
            try:
                rendered.rename(folder)
            except OSError:
                # A folder that is not empty cannot be replaced: another process was faster.
                if not folder.is_dir():
                    raise
    except OSError as error:
        raise_cache_error(cache, error)
    return folder


def _write(config: SyntheticConfig, folder: Path, on_count: CountCallback | None) -> None:
    totals = {"train": config.train_images, "val": config.val_images}
    done = 0
    for split in _SPLITS:
        (folder / split).mkdir(parents=True)
        images: list[CocoImage] = []
        annotations: list[CocoAnnotation] = []
        for index in range(totals[split]):
            pixels, labels, boxes = render_image(config, split, index)
            name = f"{index:06d}.png"
            # Noise hardly compresses, and uncompressed pixels open four times as fast.
            Image.fromarray(pixels).save(folder / split / name, compress_level=0)
            images.append({"id": index + 1, "file_name": name, "width": config.image_size, "height": config.image_size})
            for label, (x, y, w, h) in zip(labels, boxes, strict=True):
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": index + 1,
                        "category_id": label + 1,
                        "bbox": [x, y, w, h],
                        "area": w * h,
                        "iscrowd": 0,
                    }
                )
            done += 1
            if on_count is not None:
                on_count(done, sum(totals.values()))
        categories = [{"id": label + 1, "name": name} for label, name in enumerate(CLASSES)]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (folder / f"{split}.json").write_text(json.dumps(content))


def render_image(
    config: SyntheticConfig, split: str, index: int
) -> tuple[UInt8[np.ndarray, "H W 3"], list[int], list[tuple[int, int, int, int]]]:
    """Return pixels, labels and integer xywh boxes of an image: a pure function of settings, split and index.

    Boxes are tight around the whole shape, also where a smaller shape covers part of it.
    """
    generator = np.random.default_rng([config.seed, _SPLITS.index(split), index])
    size = config.image_size
    canvas = _texture(generator, size, center=generator.uniform(60, 195, 3), contrast=45.0)
    boxes = _arrange_boxes(generator, config)
    labels = generator.integers(len(CLASSES), size=len(boxes)).tolist()
    for label, (x, y, w, h) in zip(labels, boxes, strict=True):
        window = canvas[y : y + h, x : x + w]
        color = _distant_color(generator, window.mean(axis=(0, 1)))
        paint = _texture(generator, max(w, h), center=color, contrast=18.0)[:h, :w]
        mask = shape_mask(CLASSES[label], w, h)
        window[mask] = paint[mask]
    canvas += np.float32(10.0) * generator.standard_normal(canvas.shape, dtype=np.float32)
    return np.clip(canvas, 0, 255).astype(np.uint8), labels, boxes


def visible_shape_indices(
    names: Sequence[str], boxes: Int64[np.ndarray, "N 4"], size: tuple[int, int]
) -> Int64[np.ndarray, "H W"]:
    """Return the index of the shape visible at each pixel, -1 for the background.

    Boxes are xywh, in rendering order.
    """
    indices = np.full(size, -1, dtype=np.int64)
    for number, (name, (x, y, w, h)) in enumerate(zip(names, boxes.tolist(), strict=True)):
        indices[y : y + h, x : x + w][shape_mask(name, w, h)] = number
    return indices


def _arrange_boxes(generator: np.random.Generator, config: SyntheticConfig) -> list[tuple[int, int, int, int]]:
    """Return xywh boxes, large to small, whose pairwise IoU is at most the configured overlap.

    There is at least one.
    """
    num_boxes = int(generator.integers(1, config.max_objects + 1))
    min_log_side, max_log_side = np.log(config.object_size)
    sides = np.exp(generator.uniform(min_log_side, max_log_side, num_boxes))
    aspects = np.exp(generator.uniform(-0.4, 0.4, num_boxes))
    order = np.argsort(-sides)
    placed: list[tuple[int, int, int, int]] = []
    for side, aspect in zip(sides[order], aspects[order], strict=True):
        w, h = (int(np.clip(round(edge), 3, config.image_size)) for edge in (side * aspect**0.5, side / aspect**0.5))
        for _ in range(_MAX_TRIES):
            x = int(generator.integers(config.image_size - w + 1))
            y = int(generator.integers(config.image_size - h + 1))
            if all(_overlap((x, y, w, h), other) <= config.max_overlap for other in placed):
                placed.append((x, y, w, h))
                break
    return placed


def _overlap(first: tuple[int, int, int, int], second: tuple[int, int, int, int]) -> float:
    """Return the IoU of two xywh boxes."""
    (x1, y1, w1, h1), (x2, y2, w2, h2) = first, second
    width = min(x1 + w1, x2 + w2) - max(x1, x2)
    height = min(y1 + h1, y2 + h2) - max(y1, y2)
    intersection = max(width, 0) * max(height, 0)
    return intersection / (w1 * h1 + w2 * h2 - intersection)


def shape_mask(name: str, width: int, height: int) -> Bool[np.ndarray, "H W"]:
    """Return the pixels of a shape that touches all four sides of a box of this size."""
    # Pixel centers in -1..1, so that the outermost pixels count as on the edge.
    x = np.linspace(-1, 1, width)[None, :]
    y = np.linspace(-1, 1, height)[:, None]
    # A tolerance of half a pixel keeps the tips of curved and pointed shapes where a side has an even length.
    slack = 1.01 / (min(width, height) - 1)
    match name:
        case "disc":
            return x**2 + y**2 <= (1 + slack / 2) ** 2
        case "square":
            return np.ones((height, width), dtype=bool)
        case "triangle":
            inside: Bool[np.ndarray, "H W"] = np.abs(x) <= (y + 1) / 2 + slack
            return inside
        case "ring":
            radius = x**2 + y**2
            return (radius <= (1 + slack / 2) ** 2) & (radius >= 0.6**2)
        case "cross":
            return (np.abs(x) <= 0.34) | (np.abs(y) <= 0.34)
    raise AssertionError(name)


def _texture(
    generator: np.random.Generator, size: int, center: Float64[np.ndarray, " 3"], contrast: float
) -> Float32[np.ndarray, "S S 3"]:
    """Return a smooth coloured background: a coarse random grid, interpolated linearly."""
    cells = 5
    grid = generator.normal(0.0, contrast, (cells, cells, 3)) * (0.4 + 0.6 * generator.random(3))
    positions = np.linspace(0, cells - 1, size)
    left = np.minimum(positions.astype(int), cells - 2)
    fraction = positions - left
    weights = np.zeros((size, cells), dtype=np.float32)
    weights[np.arange(size), left] = 1 - fraction
    weights[np.arange(size), left + 1] = fraction
    rows = (weights @ (grid + center).astype(np.float32).reshape(cells, -1)).reshape(size, cells, 3)
    texture: Float32[np.ndarray, "S S 3"] = weights @ rows
    return texture


def _distant_color(
    generator: np.random.Generator, ground: Float32[np.ndarray, " 3"], distance: float = 70.0
) -> Float64[np.ndarray, " 3"]:
    """Return a random colour at least `distance` (Euclidean, channels 0..255) from the background."""
    while True:
        color = generator.uniform(15, 240, 3)
        if np.linalg.norm(color - ground) >= distance:
            return color
