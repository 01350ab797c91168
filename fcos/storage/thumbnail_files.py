"""Thumbnails of validation images: name, size and number, which their writer and the report share.

A training writes them once for all of its arms (fcos/evaluation/thumbnails.py): a zip file of JPEG files named after
the image ids, with the data digest as its comment. This module depends on the standard library alone.
"""

from typing import Final

THUMBNAILS: Final = "thumbnails.zip"
SUFFIX: Final = ".jpg"
# Pixels.
LONG_SIDE: Final = 160
QUALITY: Final = 70
MAX_IMAGES: Final = 300
# Bytes of the file; 300 photographs have about 1.5 MB.
MAX_BYTES: Final = 8 << 20
