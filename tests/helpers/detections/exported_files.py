"""Batches for exported files, and the comparison of their detections with the detector's own."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jaxtyping
import numpy as np
import torch

from fcos.data.coco import Sample
from fcos.data.loader import collate
from fcos.exported.file_detector import FileDetector
from fcos.exported.record import FileRecord
from fcos.inference import Trained
from fcos.structures import Batch, Detections

MakeTrained = Callable[..., Trained]
Export = Callable[..., FileDetector]

RECORD = FileRecord(
    classes=("disc", "ring"),
    pixel_mean=(0.1, 0.2, 0.3),
    pixel_std=(0.4, 0.5, 0.6),
    size_divisor=32,
    strides=(8, 16),
    short_side=800,
    long_side=1333,
    detects=True,
    step=9,
    identity="ab12",
    data_digest="cd34",
    weights_sha256="ef56",
    bytes_per_pixel=120.0,
    torch_version="2",
    config={"model": {"levels": [3, 4]}},
)


@contextmanager
def untyped_tracing() -> Iterator[None]:
    """Sides are symbols in a trace, and no integers, which the checks of shapes in tests would refuse."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def noise_batch(*sizes: tuple[int, int], divisor: int = 32, seed: int = 0) -> Batch:
    """Images of noise of these (height, width), padded to one canvas; they were twice as large originally."""
    generator = torch.Generator().manual_seed(seed)
    samples = [
        Sample(
            torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator),
            torch.zeros(0, 4),
            torch.zeros(0, dtype=torch.long),
            number,
            f"{number}.png",
            size,
            (2 * size[0], 2 * size[1]),
        )
        for number, size in enumerate(sizes)
    ]
    height, width = np.max(sizes, axis=0).tolist()
    return collate(samples, (-(-height // divisor) * divisor, -(-width // divisor) * divisor))


def assert_same_detections(found: Sequence[Detections], expected: Sequence[Detections], pixels: float = 1e-3) -> None:
    """Labels and order are equal, scores to 1e-5, boxes to a thousandth of a pixel; there is one in every image."""
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert len(theirs.labels) > 0
        assert torch.equal(ours.labels, theirs.labels)
        torch.testing.assert_close(ours.scores, theirs.scores, rtol=0, atol=1e-5)
        torch.testing.assert_close(ours.boxes, theirs.boxes, rtol=0, atol=pixels)


def metadata_of(content: bytes) -> Any:
    """The parsed ONNX model of a file's content."""
    import onnx

    return onnx.load_model_from_string(content)
