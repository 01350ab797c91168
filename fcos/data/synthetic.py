"""Drawn shapes: the embedded data set, written once into a cache folder in COCO format."""

import hashlib
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, UInt8
from PIL import Image

from fcos.config.run import SyntheticConfig
from fcos.data.reading import is_folder, raise_unkept

CLASSES: Final = ("disc", "square", "triangle", "ring", "cross")
# Part of the folder's name: counts up with every change to what is drawn.
DRAWING_VERSION: Final = 1

_SPLITS: Final = ("train", "val")
# Rejected places before an object is left out.
_MAX_TRIES: Final = 30


def synthetic_folder(config: SyntheticConfig, cache: Path, count: Callable[[int, int], None] | None = None) -> Path:
    """The folder of the drawn data set (train/, val/, train.json, val.json), drawn now if the cache lacks it.

    Two processes may draw at once: the first to finish wins and the other's folder is thrown away.
    Raises DataError where the cache cannot be written, and ReadError where that may pass.
    """
    settings = json.dumps({"version": DRAWING_VERSION, **config.model_dump(mode="json")}, sort_keys=True)
    folder = cache / f"synthetic-{hashlib.sha256(settings.encode()).hexdigest()[:16]}"
    if is_folder(folder):
        return folder
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".drawing-") as scratch:
            drawn = Path(scratch) / "data"
            _write(config, drawn, count)
            try:
                drawn.rename(folder)
            except OSError:
                # A folder that holds something cannot be replaced: another process was faster.
                if not folder.is_dir():
                    raise
    except OSError as error:
        raise_unkept(cache, error)
    return folder


def _write(config: SyntheticConfig, folder: Path, count: Callable[[int, int], None] | None) -> None:
    totals = {"train": config.train_images, "val": config.val_images}
    done = 0
    for split in _SPLITS:
        (folder / split).mkdir(parents=True)
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for index in range(totals[split]):
            pixels, labels, boxes = draw_image(config, split, index)
            name = f"{index:06d}.png"
            # Noise hardly packs, and unpacked pixels open four times as fast.
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
            if count is not None:
                count(done, sum(totals.values()))
        categories = [{"id": label + 1, "name": name} for label, name in enumerate(CLASSES)]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (folder / f"{split}.json").write_text(json.dumps(content))


def draw_image(
    config: SyntheticConfig, split: str, index: int
) -> tuple[UInt8[np.ndarray, "H W 3"], list[int], list[tuple[int, int, int, int]]]:
    """Pixels, labels and whole-pixel xywh boxes of one image: a pure function of settings, split and index.

    Boxes are tight around the whole shape, also where a smaller shape covers part of it.
    """
    generator = np.random.default_rng([config.seed, _SPLITS.index(split), index])
    size = config.image_size
    canvas = _texture(generator, size, center=generator.uniform(60, 195, 3), contrast=45.0)
    boxes = _place(generator, config)
    labels = generator.integers(len(CLASSES), size=len(boxes)).tolist()
    for label, (x, y, w, h) in zip(labels, boxes, strict=True):
        window = canvas[y : y + h, x : x + w]
        color = _color_apart(generator, window.mean(axis=(0, 1)))
        paint = _texture(generator, max(w, h), center=color, contrast=18.0)[:h, :w]
        mask = shape_mask(CLASSES[label], w, h)
        window[mask] = paint[mask]
    canvas += np.float32(10.0) * generator.standard_normal(canvas.shape, dtype=np.float32)
    return np.clip(canvas, 0, 255).astype(np.uint8), labels, boxes


def visible_shapes(
    names: Sequence[str], boxes: Int64[np.ndarray, "N 4"], size: tuple[int, int]
) -> Int64[np.ndarray, "H W"]:
    """Which of an image's shapes is seen at each pixel, -1 for the ground; boxes are xywh, in the order of drawing."""
    seen = np.full(size, -1, dtype=np.int64)
    for number, (name, (x, y, w, h)) in enumerate(zip(names, boxes.tolist(), strict=True)):
        seen[y : y + h, x : x + w][shape_mask(name, w, h)] = number
    return seen


def _place(generator: np.random.Generator, config: SyntheticConfig) -> list[tuple[int, int, int, int]]:
    """Boxes as xywh, large to small, no two of them overlapping more than allowed; at least one."""
    wanted = int(generator.integers(1, config.max_objects + 1))
    low, high = np.log(config.object_size)
    sides = np.exp(generator.uniform(low, high, wanted))
    aspects = np.exp(generator.uniform(-0.4, 0.4, wanted))
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
    """Intersection over union of two xywh boxes."""
    (x1, y1, w1, h1), (x2, y2, w2, h2) = first, second
    width = min(x1 + w1, x2 + w2) - max(x1, x2)
    height = min(y1 + h1, y2 + h2) - max(y1, y2)
    shared = max(width, 0) * max(height, 0)
    return shared / (w1 * h1 + w2 * h2 - shared)


def shape_mask(name: str, width: int, height: int) -> Bool[np.ndarray, "H W"]:
    """The pixels of a shape that fills a box of this size: it touches all four sides."""
    # Pixel centers in -1..1, so that the outermost pixels count as on the edge.
    x = np.linspace(-1, 1, width)[None, :]
    y = np.linspace(-1, 1, height)[:, None]
    # Half a pixel of tolerance keeps the tips of curved and pointed shapes where a side has an even length.
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
    """A smooth colored ground: a coarse random grid, interpolated linearly."""
    cells = 5
    grid = generator.normal(0.0, contrast, (cells, cells, 3)) * (0.4 + 0.6 * generator.random(3))
    at = np.linspace(0, cells - 1, size)
    left = np.minimum(at.astype(int), cells - 2)
    share = at - left
    weights = np.zeros((size, cells), dtype=np.float32)
    weights[np.arange(size), left] = 1 - share
    weights[np.arange(size), left + 1] = share
    rows = (weights @ (grid + center).astype(np.float32).reshape(cells, -1)).reshape(size, cells, 3)
    texture: Float32[np.ndarray, "S S 3"] = weights @ rows
    return texture


def _color_apart(
    generator: np.random.Generator, ground: Float32[np.ndarray, " 3"], distance: float = 70.0
) -> Float64[np.ndarray, " 3"]:
    """A random color at least this far (Euclidean, channels 0..255) from the ground under it."""
    while True:
        color = generator.uniform(15, 240, 3)
        if np.linalg.norm(color - ground) >= distance:
            return color
