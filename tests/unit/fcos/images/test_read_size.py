"""The size of an image is known by its header, without most of the file and without decoding."""

import errno
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile

from fcos.config.choices import ExifOrientation
from fcos.errors import ReadError
from fcos.images.open_image import ImageRules, open_image, read_size
from fcos.storage import files

OPTIONS: dict[str, dict[str, Any]] = {
    # The directory of compressed TIFF is at its end.
    "tif": {"compression": "tiff_lzw"},
    "png": {},
    "jpg": {"quality": 95},
}


class CountedFile(io.FileIO):
    """Counts the bytes that are read of all files, or fails."""

    count = 0
    fails = False

    def readinto(self, buffer: Any) -> Any:
        if CountedFile.fails:
            raise OSError(errno.EIO, "failed on purpose")
        number = super().readinto(buffer)
        CountedFile.count += number or 0
        return number


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> type[CountedFile]:
    monkeypatch.setattr(CountedFile, "count", 0)
    monkeypatch.setattr(CountedFile, "fails", False)
    monkeypatch.setattr(Path, "open", lambda path, mode="rb": io.BufferedReader(CountedFile(path)))
    return CountedFile


@pytest.mark.parametrize("rule", ["ignore", "apply"])
@pytest.mark.parametrize("suffix", list(OPTIONS))
def test_a_size_is_read_without_most_of_the_file(
    tmp_path: Path, counted: type[CountedFile], suffix: str, rule: ExifOrientation
) -> None:
    path = tmp_path / f"a.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (400, 500, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, **OPTIONS[suffix])
    assert read_size(path, rule) == (500, 400)
    assert 0 < counted.count < path.stat().st_size // 4


def test_a_disk_that_fails_amid_a_header_is_no_broken_image(
    tmp_path: Path, counted: type[CountedFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (60, 40)).save(tmp_path / "a.png")
    monkeypatch.setattr(files, "PAUSES", ())
    monkeypatch.setattr(counted, "fails", True)
    with pytest.raises(ReadError, match=r"a\.png: cannot be read now \(failed on purpose\)"):
        read_size(tmp_path / "a.png", "ignore")


@pytest.mark.parametrize("behind", [True, False], ids=["behind the pixels", "before them"])
@pytest.mark.parametrize("kind", [b"eXIf", b"iTXt"])
def test_the_orientation_of_png_is_found_without_decoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: bytes, behind: bool
) -> None:
    exif, path, buffer = Image.Exif(), tmp_path / "a.png", io.BytesIO()
    exif[0x0112] = 6
    Image.new("RGB", (60, 40)).save(buffer, "PNG")
    whole = buffer.getvalue()
    position = whole.index(b"IEND" if behind else b"IDAT") - 4
    xmp = b'XML:com.adobe.xmp\0\0\0\0\0<Description tiff:Orientation="6"/>'
    content = exif.tobytes().removeprefix(b"Exif\0\0") if kind == b"eXIf" else xmp
    chunk = struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    path.write_bytes(whole[:position] + chunk + whole[position:])
    assert open_image(path, (60, 40), ImageRules(exif_orientation="apply")).shape == (3, 60, 40)
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: pytest.fail("is decoded"))
    assert read_size(path, "ignore") == (60, 40)
    assert read_size(path, "apply") == (40, 60)


def test_the_size_of_png_that_is_cut_short_is_known(tmp_path: Path) -> None:
    Image.new("RGB", (60, 40)).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[: whole.index(b"IDAT") + 10])
    assert read_size(tmp_path / "a.png", "apply") == (60, 40)
