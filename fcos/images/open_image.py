"""Open image files as RGB arrays, by the rules of a configuration."""

import errno
import io
import struct
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from fcos.config.choices import ExifOrientation
from fcos.config.run import MAX_MEGAPIXELS
from fcos.errors import DataError, is_allocation_failure
from fcos.storage.reading import read_bytes, read_open

# Pillow's own limit is one for the whole process, and its message names no setting; `_check_pixels` takes its place.
Image.MAX_IMAGE_PIXELS = None
# Of broken EXIF data nothing but the orientation would be used, and an image without one is upright.
warnings.filterwarnings("ignore", "Corrupt EXIF data", UserWarning)
# Kinds that are not decoded: Pillow only knows the header of the first
# four, and hands EPS, which is a program, to Ghostscript.
NOT_DECODED: Final = frozenset(("MPEG", "BUFR", "GRIB", "HDF5", "EPS"))
# What Pillow raises for files that are not images, or broken: its plugins each have their own, and those of libraries.
PILLOW_ERRORS: Final = (
    OSError, SyntaxError, ValueError, struct.error, zlib.error, EOFError, RuntimeError, LookupError, ArithmeticError,
    TypeError, AttributeError,
)  # fmt: skip
# EXIF orientations other than upright; those from 5 on exchange width and height.
_TURNED: Final = range(2, 9)
_QUARTER_TURNED: Final = range(5, 9)
# The first and the last bytes of PNG.
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_PNG_END: Final = b"\0\0\0\0IEND\xaeB`\x82"
# Of PNG, with the pixels of an image or of an animation.
_PIXEL_CHUNKS: Final = frozenset((b"IDAT", b"acTL", b"fcTL", b"fdAT"))


@dataclass(frozen=True)
class ImageRules:
    """Rules for reading image files: data.exif_orientation and data.max_megapixels."""

    exif_orientation: ExifOrientation = "ignore"
    max_megapixels: float = MAX_MEGAPIXELS


DEFAULT_RULES: Final = ImageRules()


@dataclass(frozen=True)
class ReadImage:
    """RGB pixels of a file, whether another picture could be read from it, and what is stored.

    `mode` is Pillow's, of the stored pixels. `peak` is the highest stored value of pixels of 16 bits, else None.
    """

    pixels: UInt8[np.ndarray, "3 H W"]
    # Its EXIF orientation makes another picture of the stored one.
    has_orientation: bool
    # It has frames or pages after the first, which is the one that is read.
    has_several_frames: bool = False
    mode: str = "RGB"
    peak: int | None = None


def open_image(
    path: Path, size: tuple[int, int] | None = None, rules: ImageRules = DEFAULT_RULES
) -> UInt8[np.ndarray, "3 H W"]:
    """Read an image as RGB uint8, 3 x H x W; see `read_image`."""
    return read_image(path, size, rules).pixels


def read_image(path: Path, size: tuple[int, int] | None = None, rules: ImageRules = DEFAULT_RULES) -> ReadImage:
    """Read an image as RGB uint8, 3 x H x W, of several frames or pages the first, with its orientation.

    Gray is repeated, transparency dropped, CMYK converted, and 16 bits are scaled so that 65535 becomes 255. `size` is
    the annotated (height, width), of the oriented picture where the rules apply EXIF orientation. By default it is not
    applied, as in COCO's own tools; that of TIFF, which belongs to the format, always is.

    Raises DataError naming the file where it is missing, broken, of another size, too large, or has pixels that cannot
    be converted to RGB, and ReadError where it cannot be read for now. A failed allocation is raised as it is.
    """
    content = read_bytes(path, "image file")
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.format in NOT_DECODED:
                raise DataError(f"is {image.format}, a kind of file that is not decoded")
            _check_pixels(image, rules.max_megapixels)
            # Not torchvision.io 0.29, which crashes on a broken PNG and is deprecated.
            read = _read_oriented(image, size, rules.exif_orientation)
            return replace(
                read,
                has_several_frames=has_several_frames(image),
                mode=image.mode,
                peak=_peak(image, content, read.pixels),
            )
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except PILLOW_ERRORS as error:
        if is_allocation_failure(error):
            raise
        raise DataError(f"{path}: is not a whole image ({_reason(error, content)})") from None


def read_size(path: Path, rule: ExifOrientation) -> tuple[int, int] | None:
    """Return (width, height) of an image by its header, of the oriented picture where the rule applies orientations.

    None for content that is no image. However many pixels it has, none is decoded. Raises DataError and ReadError where
    the file cannot be read.
    """
    return read_open(path, partial(_size_of, rule=rule), "image file")


def _size_of(file: io.BufferedReader, rule: ExifOrientation) -> tuple[int, int] | None:
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(file) as image:
            if image.format in NOT_DECODED:
                return None
            width, height = image.size
            # Of TIFF, whose orientation is always applied, they are exchanged already.
            if rule == "ignore" or image.format == "TIFF":
                return width, height
            orientation = _png_orientation(file) if image.format == "PNG" else _orientation(image)
            return (height, width) if orientation in _QUARTER_TURNED else (width, height)
    except PILLOW_ERRORS as error:
        if is_allocation_failure(error) or _is_of_disk(error):
            raise
        return None


def _is_of_disk(error: Exception) -> bool:
    """Return whether reading failed: an error of Pillow has no number, and one of a wrong offset is of the content."""
    return isinstance(error, OSError) and error.errno not in (None, errno.EINVAL)


def _png_orientation(file: io.BufferedReader) -> int:
    """Return the EXIF orientation of a PNG file, which may be behind its pixels."""

    def read_exif() -> Image.Exif:
        with Image.open(_without_pixels(file)) as header:
            # Not the method of Pillow's class of PNG images, which decodes.
            return Image.Image.getexif(header)

    return _orientation_of(read_exif)


def _without_pixels(file: io.BufferedReader) -> io.BytesIO:
    """Return a PNG file as far as it is whole, without its pixels, which are skipped."""
    end = file.seek(0, io.SEEK_END)
    file.seek(0)
    kept = [file.read(len(_PNG))]
    while len(head := file.read(8)) == 8 and head[4:] != b"IEND":
        # The content and its checksum.
        length = int.from_bytes(head[:4], "big") + 4
        if file.tell() + length > end:
            break
        if head[4:] in _PIXEL_CHUNKS:
            file.seek(length, io.SEEK_CUR)
        else:
            kept.append(head + file.read(length))
    return io.BytesIO(b"".join([*kept, _PNG_END]))


def has_several_frames(image: Image.Image) -> bool:
    """Return whether an image is animated or has several pages.

    The second pictures in photographs of cameras (MPO), which are previews, do not count.
    """
    try:
        return image.format != "MPO" and bool(getattr(image, "is_animated", False))
    except PILLOW_ERRORS:  # what follows the first frame is broken
        return False


def _reason(error: Exception, content: bytes) -> str:
    """Return in a line why a file is not a whole image."""
    if isinstance(error, UnidentifiedImageError):
        # Pillow's message would name the buffer by its memory address.
        return _kind(content)
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _kind(content: bytes) -> str:
    """Return what a file is whose content is no image."""
    if not content:
        return "an empty file"
    if content.startswith(b"version https://git-lfs."):
        return "a pointer of Git LFS, whose content `git lfs pull` fetches"
    return "of no known kind"


def _check_pixels(image: Image.Image, max_megapixels: float) -> None:
    """Refuse an image by its header, before a small file of many pixels fills the memory."""
    width, height = image.size
    if width * height > max_megapixels * 1e6:
        raise DataError(
            f"has {width * height / 1e6:.1f} million pixels ({width}x{height}), more than "
            f"data.max_megapixels={max_megapixels:g} allows; raise it where the file is trusted "
            f"({3 * width * height / 1e9:.1f} GB once decoded)"
        )


def _read_oriented(image: Image.Image, size: tuple[int, int] | None, rule: ExifOrientation) -> ReadImage:
    """Decode an image, apply its orientation where configured, and compare its size with the annotated one."""
    if rule == "ignore":
        # Before decoding, since wrong sizes are often those of many files.
        _check_size(image.size, size, _turn_hint(image, size))
    image.load()
    # After decoding, which applies and removes the orientation of TIFF, and reads that of PNG.
    orientation = _orientation(image)
    if rule == "ignore":
        return ReadImage(_to_rgb(image), orientation in _TURNED)
    oriented = ImageOps.exif_transpose(image) if orientation in _TURNED else image
    turned = orientation in _QUARTER_TURNED
    hint = "; its EXIF orientation is applied (data.exif_orientation=apply), which exchanges the sides"
    _check_size(oriented.size, size, hint if turned and size == oriented.size else "")
    return ReadImage(_to_rgb(oriented), orientation in _TURNED)


def _check_size(actual: tuple[int, int], size: tuple[int, int] | None, hint: str) -> None:
    """Compare the (width, height) of an image with the annotated (height, width)."""
    width, height = actual
    if size is not None and size != (height, width):
        raise DataError(f"is {width}x{height}, and the annotations say {size[1]}x{size[0]}{hint}")


def _turn_hint(image: Image.Image, size: tuple[int, int] | None) -> str:
    # Annotated (height, width) equals stored (width, height): the sides are exchanged.
    if size != image.size or image.format == "TIFF" or _orientation(image) not in _QUARTER_TURNED:
        return ""
    return (
        "; its EXIF orientation asks for a quarter turn, which COCO format does not apply; "
        "data.exif_orientation=apply does"
    )


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation of an image; 1, upright, where it has none or its EXIF data are broken."""
    return _orientation_of(image.getexif)


def _orientation_of(read_exif: Callable[[], Image.Exif]) -> int:
    try:
        orientation = read_exif().get(ExifTags.Base.Orientation, 1)
    except PILLOW_ERRORS as error:
        if _is_of_disk(error):
            raise
        return 1
    return orientation if isinstance(orientation, int) else 1


def _peak(image: Image.Image, content: bytes, pixels: UInt8[np.ndarray, "3 H W"]) -> int | None:
    """Return the highest value of a decoded image of 16 bits a channel, None for one of fewer."""
    if image.mode.startswith("I;16"):
        return int(np.asarray(image).max())
    # Byte 24 of a PNG file is its depth. Pillow keeps the upper eight bits of colours.
    if image.format == "PNG" and content[24] == 16:
        return int(pixels.max()) * 256 + 255
    return None


def _to_rgb(image: Image.Image) -> UInt8[np.ndarray, "3 H W"]:
    if image.mode.startswith("I;16"):
        gray = np.asarray(image).astype(np.uint32)
        pixels = np.repeat(((gray * 255 + 32767) // 65535).astype(np.uint8)[:, :, None], 3, axis=2)
    elif image.mode in ("I", "F"):
        raise DataError(f"has {image.mode}-mode pixels (32 bits a pixel), for which no scale to 8 bits is known")
    else:
        # Palettes may have transparency, which Pillow drops without a warning only through RGBA.
        source = image.convert("RGBA") if image.mode in ("P", "PA") else image
        pixels = np.array(source if source.mode == "RGB" else source.convert("RGB"))
    # A channels-last view, which is also faster to resize.
    return pixels.transpose(2, 0, 1)
