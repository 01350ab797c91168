"""fcos.predict: detections of image files, or of pixels."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fcos.api.load import Detector, check_detector
from fcos.api.user_errors import check_count, check_fraction, raises_config_error
from fcos.data.prepare import image_rules
from fcos.errors import ConfigError, suggest
from fcos.images.open_image import ImageRules
from fcos.prediction.batches import Failed, detect_within_memory, predict_images, too_large
from fcos.prediction.predictor import Picture, Predictor
from fcos.prediction.sources import find_sources
from fcos.structures import Detections

# Pixels of one image: RGB from Pillow, or an array H x W x 3 of uint8.
Array: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
Pixels: TypeAlias = Image.Image | Array
OnFailure: TypeAlias = Callable[[str], object]


@dataclass(frozen=True, eq=False)
class Prediction:
    """Detections of one image, best first, on the CPU.

    boxes: N x 4, x1 y1 x2 y2 in pixels of the image as it is. labels: indices into `classes`. size: height, width.
    """

    name: str
    size: tuple[int, int]
    boxes: Tensor
    scores: Tensor
    labels: Tensor
    classes: tuple[str, ...] = field(repr=False)
    # Where `draw` gets the pixels from, and the rules by which a file is read.
    image: Path | Array = field(repr=False)
    rules: ImageRules = field(repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """Return the class of each detection by name."""
        return tuple(self.classes[label] for label in self.labels.tolist())


@dataclass(frozen=True)
class _Kept:
    """What is kept of the detections of an image."""

    score: float
    # Of the classes; None keeps all.
    labels: tuple[int, ...] | None

    def of(self, found: Detections) -> Tensor:
        """Return which detections are kept."""
        keep = found.scores >= self.score
        return keep if self.labels is None else keep & torch.isin(found.labels, torch.tensor(self.labels))


@raises_config_error
def predict(
    detector: Detector,
    images: str | Path | Pixels | Sequence[str | Path] | Sequence[Pixels],
    *,
    score: float = 0.0,
    classes: Sequence[str] | None = None,
    batch_size: int = 8,
    on_failure: OnFailure | None = None,
) -> list[Prediction]:
    """Detect objects in images.

    images: files, folders with all folders below them, or patterns such as 'photos/**/*.jpg'; or pixels, as images of
    Pillow or arrays H x W x 3 of uint8, RGB. Files come back in the order of their names, pixels in their own.
    score: the lowest that is kept. classes: the names of those that are kept; None keeps all. on_failure: is called
    with the reason for each image that cannot be read or held in memory, which is then left out; without it the first
    raises ConfigError. Results in files, and videos: `python -m fcos predict`.
    Raises ConfigError for a path without images, an unknown class and pixels of another form.

        >>> [prediction] = fcos.predict(detector, np.zeros((48, 64, 3), np.uint8), score=0.05)
        >>> prediction.size, prediction.boxes.shape[1]
        ((48, 64), 4)
    """
    check_detector(detector)
    check_fraction("score", score)
    check_count("batch_size", batch_size)
    kept = _Kept(score, _labels(classes, detector.classes))
    predictor = Predictor(detector)
    given: Sequence[object] = [images] if isinstance(images, str | Path | Image.Image | np.ndarray) else list(images)
    if not given:
        raise ConfigError("images=[]: names no image; give files, folders, patterns, or pixels")
    paths = [str(each) for each in given if isinstance(each, str | Path)]
    if not paths:
        return list(_predict_pixels(predictor, detector, given, kept, on_failure))
    if len(paths) < len(given):
        raise ConfigError("images: has both paths and pixels; give them in two calls")
    return _predict_files(predictor, detector, paths, kept, batch_size, on_failure)


def _predict_files(
    predictor: Predictor,
    detector: Detector,
    paths: Sequence[str],
    kept: _Kept,
    batch_size: int,
    on_failure: OnFailure | None,
) -> list[Prediction]:
    sources = find_sources(paths)
    if sources.videos:
        raise ConfigError(f"{sources.videos[0].path}: is a video; `python -m fcos predict` detects on its frames")
    found: dict[str, Prediction] = {}
    for item in predict_images(predictor, sources.images, batch_size):
        if isinstance(item, Failed):
            _fail(item.reason, on_failure)
            continue
        name = item.file.name
        found[name] = _prediction(detector, name, item.file.path, item.picture, item.detections, kept)
    return [found[file.name] for file in sources.images if file.name in found]


def _predict_pixels(
    predictor: Predictor, detector: Detector, images: Sequence[object], kept: _Kept, on_failure: OnFailure | None
) -> Iterator[Prediction]:
    # All are checked before the first is detected on.
    arrays = [_as_array(image, index) for index, image in enumerate(images)]
    for index, array in enumerate(arrays):
        name = f"image {index}"
        picture = predictor.prepare(torch.from_numpy(array).permute(2, 0, 1).contiguous(), name)
        [found] = detect_within_memory(predictor, [picture])
        if found is None:
            _fail(f"{name}: {too_large(predictor, picture)}", on_failure)
        else:
            yield _prediction(detector, name, array, picture, found, kept)


def _as_array(image: object, index: int) -> Array:
    """Return pixels as an array H x W x 3; raises ConfigError for another form."""
    if isinstance(image, Image.Image):
        return np.array(image.convert("RGB"))
    if not isinstance(image, np.ndarray):
        raise ConfigError(f"images[{index}]: is {type(image).__name__}; give a path, an image of Pillow, or an array")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        shape = " x ".join(map(str, image.shape))
        raise ConfigError(f"images[{index}]: is {shape} of {image.dtype}; give H x W x 3 of uint8, RGB")
    return np.ascontiguousarray(image).copy()


def _prediction(
    detector: Detector, name: str, image: Path | Array, picture: Picture, found: Detections, kept: _Kept
) -> Prediction:
    keep = kept.of(found)
    return Prediction(
        name=name,
        size=picture.sample.original_size,
        boxes=found.boxes[keep],
        scores=found.scores[keep],
        labels=found.labels[keep],
        classes=detector.classes,
        image=image,
        rules=image_rules(detector.config.data),
    )


def _fail(reason: str, on_failure: OnFailure | None) -> None:
    if on_failure is None:
        raise ConfigError(reason)
    on_failure(reason)


def _labels(names: Sequence[str] | None, known: Sequence[str]) -> tuple[int, ...] | None:
    """Return the indices of classes by name; raises ConfigError for a name that the detector does not know."""
    if names is None:
        return None
    for name in [names] if isinstance(names, str) else names:
        if isinstance(names, str) or name not in known:
            hint = suggest(str(name), known) or f"the detector knows {', '.join(known)}"
            rule = "must be a list of names" if isinstance(names, str) else "no such class"
            raise ConfigError(f"classes={name!r}: {rule}; {hint}")
    return tuple(list(known).index(name) for name in names)
