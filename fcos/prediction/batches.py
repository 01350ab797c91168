"""Images decoded in the background, batched where their canvases are equal, and detected."""

import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from fcos.errors import DataError, ReadError, is_allocation_failure
from fcos.prediction.memory import images_that_fit
from fcos.prediction.predictor import Picture, Predictor
from fcos.prediction.sources import ImageFile
from fcos.structures import Detections

# Pixels decoded ahead of the network, 3 bytes each and as many again while a file is decoded.
MAX_PIXELS_AHEAD: Final = 50_000_000


@dataclass(frozen=True)
class Predicted:
    """An image with its detections."""

    file: ImageFile
    picture: Picture
    detections: Detections


@dataclass(frozen=True)
class Failed:
    """An image without a result, and why."""

    file: ImageFile
    reason: str


def predict_images(predictor: Predictor, files: Sequence[ImageFile], batch_size: int) -> Iterator[Predicted | Failed]:
    """Detect on image files, small canvases first, so that an image that is too large costs no other its result.

    Only images of equal canvases share a batch: each is padded as it would be alone. An image that cannot be read, or
    that does not fit into memory, is a Failed.
    """
    batch: list[tuple[ImageFile, Picture]] = []
    for file, picture in _read_ahead(predictor, _in_order(predictor, files), ahead=2 * batch_size):
        if isinstance(picture, str):
            yield Failed(file, picture)
            continue
        if batch and (len(batch) == batch_size or _canvas(predictor, batch[0][1]) != _canvas(predictor, picture)):
            yield from _predict_batch(predictor, batch)
            batch = []
        batch.append((file, picture))
    if batch:
        yield from _predict_batch(predictor, batch)


def _predict_batch(predictor: Predictor, batch: Sequence[tuple[ImageFile, Picture]]) -> Iterator[Predicted | Failed]:
    found = detect_within_memory(predictor, [picture for _, picture in batch])
    for (file, picture), detections in zip(batch, found, strict=True):
        if detections is None:
            yield Failed(file, f"{file.path}: {too_large(predictor, picture)}")
        else:
            yield Predicted(file, picture, detections)


def detect_within_memory(predictor: Predictor, pictures: Sequence[Picture]) -> list[Detections | None]:
    """Return the detections of pictures of one canvas, in fewer at a time where memory does not hold all.

    None stands for a picture that does not fit by itself.
    """
    fitting = images_that_fit(_canvas(predictor, pictures[0]), predictor.pixel_bytes, predictor.device)
    if not fitting:
        return [None] * len(pictures)
    found: list[Detections | None] = []
    for start in range(0, len(pictures), fitting):
        found += _detect_or_divide(predictor, pictures[start : start + fitting])
    return found


def _detect_or_divide(predictor: Predictor, pictures: Sequence[Picture]) -> list[Detections | None]:
    """Detect on a batch; after a failed allocation on each half, down to one picture."""
    try:
        return [*predictor.detect([picture.sample for picture in pictures])]
    except Exception as error:
        if not is_allocation_failure(error):
            raise
    # Outside of the handler, whose error holds the memory of the attempt.
    if len(pictures) == 1:
        return [None]
    middle = len(pictures) // 2
    return _detect_or_divide(predictor, pictures[:middle]) + _detect_or_divide(predictor, pictures[middle:])


def too_large(predictor: Predictor, picture: Picture) -> str:
    """Return why a picture is not predicted that needs too much memory, and what helps."""
    height, width = _canvas(predictor, picture)
    way_out = "; --set 'data.short_sides=[800]' --set data.long_side=1333 scale it down" if predictor.keeps_size else ""
    return f"needs more memory than is free, as the network gets {width}x{height} pixels of it{way_out}"


def _canvas(predictor: Predictor, picture: Picture) -> tuple[int, int]:
    return predictor.canvas(picture.sample.size)


def _in_order(predictor: Predictor, files: Sequence[ImageFile]) -> list[ImageFile]:
    """Sort files by the canvas that their headers let expect; those without a size come last."""

    def canvas(file: ImageFile) -> tuple[int, int, int]:
        if file.size is None or 0 in file.size:
            return sys.maxsize, 0, 0
        height, width = predictor.canvas(predictor.input_size(file.size))
        return height * width, height, width

    return sorted(files, key=canvas)


def _read_ahead(
    predictor: Predictor, files: Iterable[ImageFile], ahead: int
) -> Iterator[tuple[ImageFile, Picture | str]]:
    """Iterate over files with their pictures or the reason why there is none; threads decode the next ones."""
    pending: deque[tuple[ImageFile, Future[Picture | str]]] = deque()
    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1), thread_name_prefix="decode")
    pixels = 0
    try:
        for file in files:
            added = _num_pixels(file)
            while pending and (len(pending) >= ahead or pixels + added > MAX_PIXELS_AHEAD):
                first, future = pending.popleft()
                pixels -= _num_pixels(first)
                yield first, future.result()
            pending.append((file, pool.submit(_read, predictor, file)))
            pixels += added
        while pending:
            first, future = pending.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _num_pixels(file: ImageFile) -> int:
    return MAX_PIXELS_AHEAD if file.size is None else file.size[0] * file.size[1]


def _read(predictor: Predictor, file: ImageFile) -> Picture | str:
    """Return an opened image, or the reason why it cannot be opened."""
    try:
        return predictor.read(file.path)
    except (DataError, ReadError) as error:
        return str(error)
    except Exception as error:
        if not is_allocation_failure(error):
            raise
        return f"{file.path}: cannot be held in memory{_size_text(file)}"


def _size_text(file: ImageFile) -> str:
    return "" if file.size is None else f" ({file.size[1]}x{file.size[0]} pixels)"
