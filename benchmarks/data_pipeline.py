"""Loading images against torchvision's reference pipeline: python benchmarks/data_pipeline.py

JPEG files of 640x480, read from the page cache, to a padded batch with 800 pixels on the short side. The peer is what
torchvision's detection reference does: Pillow, float, then the detector's own transform, which normalises, resizes and
pads. Ours ends in a uint8 batch that the detector normalises on its device; a second case counts that as well, a third
takes the images from the cache that all runs of a machine share. Pixels after normalising must be equal to one gray
level and to a third of one on average, boxes to 1e-3 pixels.
"""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from side_by_side import Case, main, require
from torch import Tensor
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.transforms import functional

from fcos.annotations.annotations import read_annotations
from fcos.data.batching import canvas_size
from fcos.data.coco import CocoDataset
from fcos.data.loader import collate
from fcos.data.sample_settings import SampleSettings
from fcos.images.decoded import DecodedImages, decode_images
from fcos.images.image_files import ImageFiles, file_stats
from fcos.model.detector import PIXEL_MEAN, PIXEL_STD
from fcos.model.normalize import normalize_pixels
from fcos.structures import Batch

WIDTH, HEIGHT = 640, 480


def draw_jpegs(folder: Path, count: int) -> None:
    """Write images whose spectrum falls as photographs' does, about 170 KB each, with five boxes."""
    rng = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(HEIGHT)[:, None], np.fft.fftfreq(WIDTH))
    frequency[0, 0] = 1
    entries: list[dict[str, Any]] = []
    images: list[dict[str, Any]] = []
    for number in range(1, count + 1):
        spectrum = np.fft.fft2(rng.standard_normal((3, HEIGHT, WIDTH)), axes=(1, 2)) / frequency
        planes = np.fft.ifft2(spectrum, axes=(1, 2)).real
        planes = 128 + 48 * (planes - planes.mean((1, 2), keepdims=True)) / planes.std((1, 2), keepdims=True)
        pixels = planes.clip(0, 255).astype(np.uint8).transpose(1, 2, 0)
        Image.fromarray(np.ascontiguousarray(pixels)).save(folder / f"{number}.jpg", quality=92)
        images.append({"id": number, "file_name": f"{number}.jpg", "width": WIDTH, "height": HEIGHT})
        for _ in range(5):
            x, y = rng.uniform(0, 400, 2).round(2).tolist()
            w, h = rng.uniform(10, 80, 2).round(2).tolist()
            entry = {"id": len(entries) + 1, "image_id": number, "category_id": 1, "bbox": [x, y, w, h]}
            entries.append(entry | {"area": w * h, "iscrowd": 0})
    truth = {"images": images, "annotations": entries, "categories": [{"id": 1, "name": "thing"}]}
    (folder / "truth.json").write_text(json.dumps(truth))


def make_dataset(folder: Path, side: int, decoded: DecodedImages | None = None) -> CocoDataset:
    """Return the data set at its evaluation size, not flipped; sides are truncated, as torchvision's are."""
    settings = SampleSettings((side,), 1333 * side // 800, box_convention="inclusive")
    annotations = read_annotations(folder / "truth.json")
    return CocoDataset(annotations, folder, settings, training=False, seed=0, decoded=decoded)


def decode(folder: Path, dataset: CocoDataset) -> DecodedImages:
    """Return the images decoded and resized once, as runs have them in their cache folder."""
    sizes = tuple(dataset.original_size(index) for index in range(len(dataset)))
    wanted = tuple(dataset.input_size((0, index)) for index in range(len(dataset)))
    facts = file_stats(folder, dataset.annotations.names)
    found = decode_images(ImageFiles(folder, facts, sizes, wanted), folder, 10**9)
    require(isinstance(found, DecodedImages), f"images do not open: {found}")
    assert isinstance(found, DecodedImages)
    return found


def normalize(batch: Batch) -> Tensor:
    """Normalize as the detector does."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (PIXEL_MEAN, PIXEL_STD))
    return normalize_pixels(batch.pixels, batch.sizes, mean, std, torch.channels_last)


def same(theirs: Any, ours: Batch) -> str:
    """Compare pixels where there is an image, and all boxes."""
    images, targets = theirs
    height, width = ours.sizes[0].tolist()
    require(tuple(images.image_sizes[0]) == (height, width), f"sizes {images.image_sizes[0]} and {(height, width)}")
    levels = normalize(ours)[..., :height, :width] - images.tensors[..., :height, :width]
    levels = levels.abs() * torch.tensor(PIXEL_STD).view(1, 3, 1, 1) * 255
    require(float(levels.max()) <= 1.01, f"{float(levels.max()):.2f} gray levels apart")
    require(float(levels.mean()) <= 0.33, f"{float(levels.mean()):.2f} gray levels apart on average")
    for row, target in enumerate(targets):
        boxes = ours.targets.boxes[row, : len(target["boxes"])]
        require(torch.allclose(target["boxes"], boxes, rtol=0, atol=1e-3), "boxes")
    return f"equal to {float(levels.mean()):.2f} gray levels on average"


def pair(folder: Path, count: int, side: int, goal: float | None) -> Iterator[Case]:
    """Yield the cases of a batch of so many images in `folder`."""
    dataset = make_dataset(folder, side)
    transform = GeneralizedRCNNTransform(side, 1333 * side // 800, list(PIXEL_MEAN), list(PIXEL_STD))

    def run_peer() -> Any:
        loaded = []
        for index in range(count):
            with Image.open(folder / dataset.annotations.names[index]) as file:
                loaded.append(functional.convert_image_dtype(functional.pil_to_tensor(file.convert("RGB"))))
        boxes = [torch.from_numpy(dataset.annotations.training_boxes(index)[0]) for index in range(count)]
        return transform(loaded, [{"boxes": each.clone()} for each in boxes])

    def batch_of(source: CocoDataset) -> Batch:
        samples = [source[0, index] for index in range(count)]
        return collate(samples, canvas_size([sample.size for sample in samples], 32))

    def run_ours() -> Batch:
        return batch_of(dataset)

    name = f"data pipeline, {WIDTH}x{HEIGHT} to {side} pixels"
    yield Case(name, run_peer, run_ours, same, images=count, goal=goal)

    def run_whole() -> tuple[Batch, Tensor]:
        batch = run_ours()
        return batch, normalize(batch)

    whole_name, whole_goal = f"{name}, normalised as well", None if goal is None else 2.5
    yield Case(whole_name, run_peer, run_whole, lambda peer, ours: same(peer, ours[0]), images=count, goal=whole_goal)
    kept = make_dataset(folder, side, decode(folder, dataset))
    kept_name = f"{name}, decoded and resized before"
    kept_goal = None if goal is None else 30.0
    yield Case(kept_name, run_peer, lambda: batch_of(kept), same, images=count, goal=kept_goal)


def cases() -> Iterator[Case]:
    """Yield the cases of batches of 8."""
    with tempfile.TemporaryDirectory() as name:
        draw_jpegs(Path(name), 8)
        yield from pair(Path(name), 8, 800, goal=4)


if __name__ == "__main__":
    main(__doc__ or "", cases)
