"""Files of a prediction: COCO results, and the images and categories that they name, kept as they come."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Final

from fcos.annotations.coco_entries import CocoImage, CocoResult
from fcos.storage.whole_file import whole_file
from fcos.structures import Detections

# COCO's format of results: a list of {image_id, category_id, bbox, score}, bbox is x, y, width, height in pixels.
DETECTIONS: Final = "detections.json"
# The images and categories of those ids, as a COCO data set without annotations.
IMAGES: Final = "images.json"
# A line for each image while a prediction runs; what a killed process leaves.
PARTIAL: Final = "detections.jsonl"
PICTURES: Final = "pictures"


@dataclass(frozen=True)
class ResultImage:
    """An image of the results, or a frame of a video."""

    id: int
    file_name: str
    width: int
    height: int


@dataclass(frozen=True)
class ResultFrame(ResultImage):
    """A frame of a video: file_name is that of the video with the frame's index, from 0."""

    video: str
    frame: int
    seconds: float


class ResultWriter:
    """Writes detections as they come to one file, a line an image, and assembles COCO's files at the end.

    At the end also means an error or an interrupt in the `with` block. Raises OSError.
    """

    def __init__(self, folder: Path, classes: Sequence[str]) -> None:
        self._folder = folder
        self._classes = tuple(classes)
        self._file: IO[bytes] = (folder / PARTIAL).open("w+b")
        # (image id, position of its line)
        self._lines: list[tuple[int, int]] = []
        self.num_detections = 0

    @property
    def num_images(self) -> int:
        """The number of images written so far."""
        return len(self._lines)

    def __enter__(self) -> "ResultWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._file:
            write_list(self._folder / DETECTIONS, (one for _, found in self._records() for one in found))
            content = {
                "info": {"description": "images and categories of detections.json"},
                "categories": [{"id": number, "name": name} for number, name in enumerate(self._classes, start=1)],
                "annotations": [],
            }
            write_list(self._folder / IMAGES, (image for image, _ in self._records()), content, "images")
        (self._folder / PARTIAL).unlink()

    def add(self, image: ResultImage, detections: Detections) -> None:
        """Write the detections of one image."""
        columns = (detections.boxes.tolist(), detections.scores.tolist(), detections.labels.tolist())
        found: list[CocoResult] = [
            {
                "image_id": image.id,
                "category_id": label + 1,
                "bbox": [round(side, 3) for side in (x1, y1, x2 - x1, y2 - y1)],
                "score": round(score, 7),
            }
            for (x1, y1, x2, y2), score, label in zip(*columns, strict=True)
        ]
        self._lines.append((image.id, self._file.tell()))
        self._file.write(json.dumps([asdict(image), found]).encode() + b"\n")
        # A killed process loses what is in a buffer.
        self._file.flush()
        self.num_detections += len(found)

    def _records(self) -> Iterator[tuple[CocoImage, list[CocoResult]]]:
        """Iterate over images and their detections by image id, one line in memory at a time."""
        for _, position in sorted(self._lines):
            self._file.seek(position)
            image, found = json.loads(self._file.readline())
            yield image, found


def write_list(
    path: Path, items: Iterable[Mapping[str, object]], content: Mapping[str, object] | None = None, key: str = ""
) -> None:
    """Write a JSON list, an item a line, or an object with the list under a key; never holds the list in memory.

    The file is there only when it is whole. Raises OSError.
    """
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write("[" if content is None else f"{json.dumps(content)[:-1]}, {json.dumps(key)}: [")
        for number, item in enumerate(items):
            file.write(f"{',' if number else ''}\n{json.dumps(item)}")
        file.write("\n]\n" if content is None else "\n]}\n")
