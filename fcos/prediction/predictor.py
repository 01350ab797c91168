"""A trained detector on images without annotations, prepared as evaluation prepares its images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from fcos.augmentation.transforms import resize_image
from fcos.data.batching import canvas_size
from fcos.data.coco import Sample
from fcos.data.loader import collate
from fcos.data.prepare import image_rules
from fcos.errors import ConfigError
from fcos.exported.file_detector import FileDetector
from fcos.images.open_image import read_image
from fcos.images.resized_size import resized_size
from fcos.inference import Trained, build_detect
from fcos.prediction.fused import fuse
from fcos.prediction.memory import bytes_per_pixel
from fcos.prediction.streams import Streams
from fcos.structures import Detections

Size = tuple[int, int]


@dataclass(frozen=True)
class Picture:
    """An image's own pixels, and what the network gets of it: resized, without boxes."""

    pixels: UInt8[Tensor, "3 H W"]
    sample: Sample
    # Its EXIF data have another orientation, which is not applied.
    is_turned: bool = False


class Predictor:
    """A trained detector, or an exported one, without the parts of post-processing that need annotated boxes.

    Raises ConfigError for an oracle.
    """

    def __init__(self, detector: Trained | FileDetector) -> None:
        config = detector.config
        postprocess = config.model.postprocess
        if postprocess.oracle != "none":
            raise ConfigError(
                f"model.postprocess.oracle={postprocess.oracle}: needs annotated boxes; use evaluate, "
                "or predict with --set model.postprocess.oracle=none"
            )
        self._detector = detector
        self._detect = build_detect(_fused(detector)) if isinstance(detector, Trained) else detector.detect
        # onnxruntime has threads of its own.
        self._streams = Streams() if isinstance(detector, Trained) and detector.device.type == "cpu" else None
        self._config = config
        self.device = detector.device

    def read(self, path: Path) -> Picture:
        """Open an image file by the rules of training; raises as `read_image`."""
        data = self._config.data
        image = read_image(path, rules=image_rules(data))
        is_turned = image.has_orientation and data.exif_orientation == "ignore"
        return replace(self.prepare(torch.from_numpy(image.pixels), path.name), is_turned=is_turned)

    def prepare(self, pixels: UInt8[Tensor, "3 H W"], name: str) -> Picture:
        """Resize an image to the size that it has in evaluation."""
        original = (pixels.shape[1], pixels.shape[2])
        size = self.input_size(original)
        boxes, labels = torch.zeros(0, 4), torch.zeros(0, dtype=torch.long)
        return Picture(pixels, Sample(resize_image(pixels, size), boxes, labels, 0, name, size, original))

    def input_size(self, original: Size) -> Size:
        """Return the (height, width) in evaluation of an image of this (height, width)."""
        data = self._config.data
        if data.short_sides is None or data.long_side is None:
            return original
        return resized_size(original, max(data.short_sides), data.long_side, self._config.model.assignment.corners)

    def canvas(self, size: Size) -> Size:
        """Return the (height, width) to which an input of this size is padded."""
        return canvas_size([size], self._config.model.size_divisor)

    @property
    def keeps_size(self) -> bool:
        """Whether images are predicted at their own size, whatever it is."""
        return self._config.data.short_sides is None

    @cached_property
    def pixel_bytes(self) -> float:
        """Memory for each pixel of a canvas, test-time augmentation included; an estimate from below."""
        scale = max(self._config.model.postprocess.tta_scales)
        detector = self._detector
        once = bytes_per_pixel(detector.detector) if isinstance(detector, Trained) else detector.bytes_per_pixel
        return once * scale**2

    def detect(self, samples: Sequence[Sample]) -> list[Detections]:
        """Return the detections of images of one canvas, on the CPU; boxes in pixels of the images as they were.

        An image's detections are those that it has alone, up to the order in which convolutions add in float32.
        """
        canvases = {self.canvas(sample.size) for sample in samples}
        assert len(canvases) == 1, "images of several canvases, whose padding would change each other's detections"
        canvas = canvases.pop()
        if self._streams is None:
            return self._detect(collate(samples, canvas))
        return self._streams.map(lambda part: self._detect(collate(part, canvas)), samples, canvas[0] * canvas[1])


def _fused(detector: Trained) -> Trained:
    """Return a detector whose layers are fused where that is faster; the given one may be trained or exported.

    Detections change in the order in which float32 is added.
    """
    if detector.device.type != "cpu" or detector.config.schedule.precision != "fp32":
        return detector
    return replace(detector, detector=fuse(detector.detector.eval()))
