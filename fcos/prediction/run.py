"""A whole prediction: images and videos in, COCO results and pictures out, each kept as it comes."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from itertools import count, groupby, islice
from pathlib import Path
from typing import Final

import torch

from fcos.errors import ConfigError, DataError
from fcos.prediction.batches import Failed, detect_within_memory, predict_images, too_large
from fcos.prediction.drawing import PictureFolder, draw_picture
from fcos.prediction.predictor import Predictor
from fcos.prediction.results import PICTURES, ResultFrame, ResultImage, ResultWriter
from fcos.prediction.sources import Sources, VideoFile, is_written_by_predict
from fcos.prediction.video import Frame, VideoReader, VideoWriter
from fcos.structures import Detections

# Lowest score in pictures where none is given.
PICTURE_SCORE: Final = 0.3


@dataclass(frozen=True)
class Request:
    """What a prediction keeps and where.

    `score` is the lowest that is kept; None keeps all in the results, and from PICTURE_SCORE in pictures. `labels` are
    the classes that are kept, by index; None keeps all.
    """

    output: Path
    classes: tuple[str, ...]
    batch_size: int = 8
    score: float | None = None
    labels: tuple[int, ...] | None = None
    pictures: bool = True

    def kept(self, detections: Detections) -> Detections:
        """Return the detections that belong in the results."""
        keep = detections.scores >= (0.0 if self.score is None else self.score)
        if self.labels is not None:
            keep &= torch.isin(detections.labels, torch.tensor(self.labels))
        return _select(detections, keep)

    def drawn(self, detections: Detections) -> Detections:
        """Return those of the kept detections that belong in a picture."""
        return _select(detections, detections.scores >= (PICTURE_SCORE if self.score is None else self.score))


def _select(detections: Detections, keep: torch.Tensor) -> Detections:
    columns = {item.name: getattr(detections, item.name) for item in fields(detections)}
    return replace(detections, **{name: column[keep] for name, column in columns.items() if column is not None})


@dataclass
class PredictionProgress:
    """Receives what happens: each image done, each that failed; called in the thread of the prediction."""

    on_done: Callable[[str, int, int], None]
    on_failure: Callable[[str], None]
    num_failures: int = 0
    # Images whose EXIF orientation is not applied.
    num_turned: int = 0

    def fail(self, message: str) -> None:
        """Count a failure and report it."""
        self.num_failures += 1
        self.on_failure(message)


@dataclass(frozen=True)
class Outcome:
    """How much was predicted, and how many images or videos failed."""

    num_images: int
    num_detections: int
    num_failures: int


def run_prediction(predictor: Predictor, sources: Sources, request: Request, progress: PredictionProgress) -> Outcome:
    """Detect on all images and videos, and write results and pictures to the folder of the request.

    What was done until an error or an interrupt is in the files. An image or a video that fails is reported and leaves
    the others as they are. Raises ConfigError where the folder has pictures of the user's own, and OSError where it
    cannot be written.
    """
    folder = request.output / PICTURES
    if folder.is_dir() and not is_written_by_predict(folder):
        raise ConfigError(f"--output {request.output}: has a folder {PICTURES} of its own; give another folder")
    request.output.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        results = stack.enter_context(ResultWriter(request.output, request.classes))
        pictures = None
        if request.pictures:
            pictures = stack.enter_context(PictureFolder(folder, request.classes, progress.fail))
        _predict_images(predictor, sources, request, progress, results, pictures)
        numbers = count(len(sources.images) + 1)
        for video in sources.videos:
            try:
                _predict_video(predictor, video, request, progress, results, numbers)
            except DataError as error:
                progress.fail(str(error))
    return Outcome(results.num_images, results.num_detections, progress.num_failures)


def _predict_images(
    predictor: Predictor,
    sources: Sources,
    request: Request,
    progress: PredictionProgress,
    results: ResultWriter,
    pictures: PictureFolder | None,
) -> None:
    numbers = {file.path: number for number, file in enumerate(sources.images, start=1)}
    for done, item in enumerate(predict_images(predictor, sources.images, request.batch_size), start=1):
        if isinstance(item, Failed):
            progress.fail(item.reason)
        else:
            height, width = item.picture.sample.original_size
            progress.num_turned += item.picture.is_turned
            kept = request.kept(item.detections)
            results.add(ResultImage(numbers[item.file.path], item.file.name, width, height), kept)
            if pictures is not None:
                pictures.add(item.file.name, item.picture.pixels, request.drawn(kept))
        progress.on_done("images", done, len(sources.images))


def _predict_video(
    predictor: Predictor,
    video: VideoFile,
    request: Request,
    progress: PredictionProgress,
    results: ResultWriter,
    numbers: Iterator[int],
) -> None:
    """Detect on the frames of a video, batch by batch; raises DataError where it cannot be read to its end."""
    reader = VideoReader(video.path)
    with ExitStack() as stack:
        writer = None
        if request.pictures:
            target = request.output / PICTURES / f"{video.name}.mp4"
            target.parent.mkdir(parents=True, exist_ok=True)
            writer = stack.enter_context(VideoWriter(target, reader.rate))
        for frames in _batches(reader, request.batch_size):
            prepared = [predictor.prepare(frame.pixels, video.name) for frame in frames]
            for frame, picture, found in zip(frames, prepared, detect_within_memory(predictor, prepared), strict=True):
                if found is None:
                    raise DataError(f"{video.path}: {too_large(predictor, picture)}")
                kept = request.kept(found)
                height, width = picture.sample.original_size
                name = f"{video.name}/{frame.index:06d}"
                results.add(
                    ResultFrame(next(numbers), name, width, height, video.name, frame.index, round(frame.seconds, 6)),
                    kept,
                )
                if writer is not None:
                    writer.write(draw_picture(frame.pixels, request.drawn(kept), request.classes), frame.seconds)
            done = frames[-1].index + 1
            progress.on_done(f"frames of {video.name}", done, max(done, reader.num_frames))
    if reader.num_broken:
        raise DataError(f"{video.path}: {reader.num_broken} packets of it could not be decoded; the others are done")


def _batches(reader: VideoReader, batch_size: int) -> Iterator[Sequence[Frame]]:
    """Iterate over lists of frames of one size; a thread decodes the next while the caller has one.

    Raises DataError where the video breaks off, after the frames before that.
    """
    frames = iter(reader)
    with ThreadPoolExecutor(1, thread_name_prefix="decode") as pool:
        future = pool.submit(_take, frames, batch_size)
        while True:
            batch, error = future.result()
            if batch and error is None:
                future = pool.submit(_take, frames, batch_size)
            # A stream may change its size.
            for _, of_one_size in groupby(batch, key=lambda frame: frame.pixels.shape):
                yield list(of_one_size)
            if error is not None:
                raise error
            if not batch:
                return


def _take(frames: Iterator[Frame], number: int) -> tuple[list[Frame], DataError | None]:
    """Return up to this many of the next frames, and the error that ended them."""
    batch: list[Frame] = []
    try:
        batch.extend(islice(frames, number))
    except DataError as error:
        return batch, error
    return batch, None
