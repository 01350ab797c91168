"""Read the thumbnails of validation images from the store; their file is untrusted."""

import io
import zipfile
from collections.abc import Iterable, Mapping

from analysis.reader.client import read_artifact
from analysis.sections.gallery import to_data_uri
from fcos.storage.store_conventions import Artifact
from fcos.storage.thumbnail_files import LONG_SIDE, MAX_BYTES, MAX_IMAGES, QUALITY, SUFFIX, THUMBNAILS

# More than any thumbnail has.
MAX_PIXELS = (2 * LONG_SIDE) ** 2


def read_thumbnails(uri: str, run_ids: Iterable[str], digest: str) -> Mapping[int, bytes]:
    """Return image id -> JPEG from the first of the runs that has thumbnails of these images; empty without any.

    digest: see fcos.storage.thumbnail_files.digest_images."""
    for run_id in run_ids:
        content = read_artifact(uri, run_id, f"{Artifact.EVALUATION}/{THUMBNAILS}", MAX_BYTES)
        thumbnails = {} if content is None else unpack_thumbnails(content, digest)
        if thumbnails:
            return thumbnails
    return {}


def unpack_thumbnails(content: bytes, digest: str) -> dict[int, bytes]:
    """Return image id -> JPEG; empty for a file that is broken, compressed, too large, or of other images."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            entries = file.infolist()
            size = sum(entry.file_size for entry in entries)
            is_bounded = len(entries) <= MAX_IMAGES and size <= MAX_BYTES
            # As they are written: a compressed entry may be broken in ways of its own, or hold more than it declares.
            is_stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)
            if file.comment != digest.encode() or not is_bounded or not is_stored:
                return {}
            return {
                image_id: file.read(entry) for entry in entries if (image_id := _parse_name(entry.filename)) is not None
            }
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError, RuntimeError):
        return {}


def _parse_name(name: str) -> int | None:
    stem = name.removesuffix(SUFFIX)
    try:
        return int(stem) if stem != name and len(stem) <= 20 else None
    except ValueError:
        return None


def encode_thumbnail(content: bytes) -> str:
    """Return a thumbnail as a data URI; empty where it cannot be read.

    It is decoded and encoded again, so that nothing but pixels enters the page.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content), formats=["JPEG"]) as image:
            if image.width * image.height > MAX_PIXELS:
                return ""
            pixels = image.convert("RGB")
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return ""
    buffer = io.BytesIO()
    pixels.save(buffer, format="JPEG", quality=QUALITY)
    return to_data_uri(buffer.getvalue(), "image/jpeg")
