"""Thumbnails of validation images: name, size and number, which their writer and the report share.

A training writes them once for all of its arms (fcos/evaluation/saved/thumbnails.py): a zip file of JPEG files named
after the image ids, whose comment is the digest of the images that they belong to. This module depends on the standard
library alone.
"""

import hashlib
from collections.abc import Iterable
from typing import Final

THUMBNAILS: Final = "thumbnails.zip"
SUFFIX: Final = ".jpg"
# Pixels.
LONG_SIDE: Final = 160
QUALITY: Final = 70
MAX_IMAGES: Final = 300
# Bytes of the file; 300 photographs have about 1.5 MB.
MAX_BYTES: Final = 8 << 20


def digest_images(images: Iterable[tuple[int, str]]) -> str:
    """Return the SHA-256 over ids and names of the images of a data set, in their order."""
    total = hashlib.sha256()
    for image_id, name in images:
        total.update(f"{image_id} {name}\n".encode())
    return total.hexdigest()
