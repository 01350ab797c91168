"""Save thumbnails of validation images, on which a report draws detections without having the images."""

import io
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from fcos.data.coco import CocoDataset
from fcos.drawing.canvas import picture_or_note
from fcos.images.open_image import open_image
from fcos.storage.files import write_atomically
from fcos.storage.thumbnail_files import (
    LONG_SIDE,
    MAX_BYTES,
    MAX_IMAGES,
    QUALITY,
    SUFFIX,
    THUMBNAILS,
    digest_images,
)

# The earliest that the format has; a real one would differ between two files of the same content.
NO_TIME = (1980, 1, 1, 0, 0, 0)


def save_thumbnails(dataset: CocoDataset, folder: Path) -> tuple[Path | None, tuple[str, ...]]:
    """Save thumbnails of at most MAX_IMAGES images, spread evenly over the data set, as folder/thumbnails.zip.

    Returns the file, None without any thumbnail, and a note where some cannot be drawn. What is over MAX_BYTES is left
    out. The same images give the same bytes. Raises OSError.
    """
    annotations = dataset.annotations
    count = min(len(annotations), MAX_IMAGES)
    chosen = [position * len(annotations) // count for position in range(count)]
    buffer, problems, saved = io.BytesIO(), [], 0
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as file:
        images = zip(annotations.image_ids.tolist(), annotations.names, strict=True)
        file.comment = digest_images(images).encode()
        for image_id, content, problem in _encode_images(dataset, chosen):
            if content is None:
                problems.append(problem)
            elif buffer.tell() + len(content) <= MAX_BYTES:
                file.writestr(zipfile.ZipInfo(f"{image_id}{SUFFIX}", NO_TIME), content)
                saved += 1
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    notes = (f"{problems[0]}{more}",) if problems else ()
    if not saved:
        return None, notes
    write_atomically(folder / THUMBNAILS, buffer.getvalue())
    return folder / THUMBNAILS, notes


def _encode_images(dataset: CocoDataset, indices: list[int]) -> Iterator[tuple[int, bytes | None, str]]:
    """Yield the id of each image with its thumbnail as JPEG, or with the reason why there is none."""
    annotations = dataset.annotations
    for index in indices:
        description = f"the thumbnail of {annotations.names[index]}"
        content, problem = picture_or_note(partial(_encode, dataset, index), description)
        yield int(annotations.image_ids[index]), content, problem


def _encode(dataset: CocoDataset, index: int) -> bytes:
    path = dataset.folder / dataset.annotations.names[index]
    pixels = open_image(path, dataset.original_size(index), dataset.rules)
    image = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    image.thumbnail((LONG_SIDE, LONG_SIDE), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=QUALITY)
    return buffer.getvalue()
