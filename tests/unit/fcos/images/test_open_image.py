"""Opening images of many kinds, by the rules for orientation and size."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps

from fcos.errors import DataError
from fcos.images.open_image import ImageRules, open_image, read_image

APPLY = ImageRules(exif_orientation="apply")


def picture() -> Image.Image:
    """Return a smooth 60x40 image whose colours survive JPEG."""
    y, x = np.mgrid[0:40, 0:60]
    return Image.fromarray(np.stack([4 * x, 6 * y, 255 - 4 * x], axis=2).astype(np.uint8))


def expected(image: Image.Image) -> NDArray[np.uint8]:
    return np.array(image).transpose(2, 0, 1)


def test_png_opens_as_rgb(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.png")
    opened = open_image(tmp_path / "a.png", (40, 60))
    assert opened.dtype == np.uint8
    np.testing.assert_array_equal(opened, expected(picture()))


@pytest.mark.parametrize("mode", ["RGB", "CMYK", "L"])
def test_jpeg_of_any_mode_keeps_its_colours(tmp_path: Path, mode: str) -> None:
    picture().convert(mode).save(tmp_path / "a.jpg", quality=95)
    expected_image = picture().convert(mode).convert("RGB")
    opened = open_image(tmp_path / "a.jpg").astype(int)
    np.testing.assert_allclose(opened, expected(expected_image), atol=8, rtol=0)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1"])
def test_png_of_any_mode_is_converted_exactly(tmp_path: Path, mode: str) -> None:
    image = picture().convert(mode)
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(open_image(tmp_path / "a.png"), expected(image.convert("RGB")))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_gray_is_scaled_and_not_cut(tmp_path: Path, suffix: str) -> None:
    gray = np.array([[0, 128, 129, 257], [32768, 65407, 65534, 65535]], dtype=np.uint16)
    Image.fromarray(gray).save(tmp_path / f"a.{suffix}")
    opened = open_image(tmp_path / f"a.{suffix}", (2, 4))
    np.testing.assert_array_equal(opened, [[[0, 0, 1, 1], [128, 255, 255, 255]]] * 3)


def test_float_pixels_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.ones((4, 4), dtype=np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=r"a\.tif: has F-mode pixels"):
        open_image(tmp_path / "a.tif")


def test_size_must_be_the_annotated_one(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png: is 60x40, and the annotations say 40x60$"):
        open_image(tmp_path / "a.png", (60, 40))


def save_oriented(path: Path, orientation: int, image: Image.Image | None = None) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    (picture() if image is None else image).save(path, exif=exif)


def test_exif_quarter_turn_is_not_applied_but_named(tmp_path: Path) -> None:
    save_oriented(tmp_path / "a.jpg", 6)
    assert open_image(tmp_path / "a.jpg", (40, 60)).shape == (3, 40, 60)
    with pytest.raises(DataError, match=r"EXIF orientation asks .* data\.exif_orientation=apply does"):
        open_image(tmp_path / "a.jpg", (60, 40))


@pytest.mark.parametrize("suffix", ["png", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_orientation_is_applied_on_request_and_always_known(tmp_path: Path, suffix: str, orientation: int) -> None:
    path = tmp_path / f"a.{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture().save(path, exif=exif, lossless=True)
    stored = read_image(path, (40, 60))
    assert np.array_equal(stored.pixels, expected(picture()))
    assert stored.has_orientation is (orientation > 1)
    size = (60, 40) if orientation >= 5 else (40, 60)
    applied = read_image(path, size, APPLY)
    with Image.open(path) as opened:
        assert np.array_equal(applied.pixels, expected(ImageOps.exif_transpose(opened).convert("RGB")))
    assert applied.has_orientation is (orientation > 1)


def test_annotated_sizes_are_those_of_the_oriented_image_where_it_is_applied(tmp_path: Path) -> None:
    save_oriented(tmp_path / "a.jpg", 8)
    with pytest.raises(DataError, match=r"is 40x60, and the annotations say 60x40; .*exif_orientation=apply\), which"):
        open_image(tmp_path / "a.jpg", (40, 60), APPLY)
    with pytest.raises(DataError, match=r"is 40x60, and the annotations say 3x2$"):
        open_image(tmp_path / "a.jpg", (2, 3), APPLY)


def test_a_16_bit_gray_image_is_turned_by_its_orientation(tmp_path: Path) -> None:
    gray = Image.fromarray(np.arange(0, 60000, 10000, dtype=np.uint16).reshape(2, 3))
    save_oriented(tmp_path / "a.png", 3, gray)
    stored, applied = open_image(tmp_path / "a.png"), open_image(tmp_path / "a.png", rules=APPLY)
    assert np.array_equal(applied, stored[:, ::-1, ::-1])


@pytest.mark.parametrize("rules", [ImageRules(), APPLY], ids=["ignore", "apply"])
def test_the_orientation_of_tiff_belongs_to_the_format(tmp_path: Path, rules: ImageRules) -> None:
    picture().save(tmp_path / "a.tif", tiffinfo={274: 6})
    image = read_image(tmp_path / "a.tif", (60, 40), rules)
    assert np.array_equal(image.pixels, expected(picture().transpose(Image.Transpose.ROTATE_270)))
    assert not image.has_orientation


@pytest.mark.parametrize("rules", [ImageRules(), APPLY], ids=["ignore", "apply"])
@pytest.mark.parametrize("broken", [b"Exif\0\0nonsense", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0"])
def test_broken_exif_data_are_none(tmp_path: Path, broken: bytes, rules: ImageRules) -> None:
    picture().save(tmp_path / "a.jpg", exif=broken)
    image = read_image(tmp_path / "a.jpg", (40, 60), rules)
    assert image.pixels.shape == (3, 40, 60) and not image.has_orientation


def test_an_image_of_too_many_pixels_is_refused_by_its_header(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("1", (15000, 13000)).save(path)
    whole = path.read_bytes()
    # Without its pixels: nothing is decoded.
    path.write_bytes(whole[:100])
    with pytest.raises(DataError) as error:
        open_image(path)
    assert str(error.value) == (
        f"{path}: has 195.0 million pixels (15000x13000), more than data.max_megapixels=179 allows; raise it where the "
        "file is trusted (0.6 GB once decoded)"
    )
    picture().save(path)
    assert open_image(path, rules=ImageRules(max_megapixels=0.0024)).shape == (3, 40, 60)
    with pytest.raises(DataError, match=r"more than data\.max_megapixels=0\.002 allows"):
        open_image(path, rules=ImageRules(max_megapixels=0.002))


def test_images_beyond_the_limit_of_pillow_open_where_it_is_raised(tmp_path: Path) -> None:
    Image.new("1", (190_000, 1000)).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (190_000, 1000)


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp"])
@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5, 0.8])
def test_truncated_file_is_an_error_that_names_it(tmp_path: Path, suffix: str, fraction: float) -> None:
    path = tmp_path / f"a.{suffix}"
    picture().save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(fraction * len(whole))])
    with pytest.raises(DataError) as error:
        open_image(path)
    assert str(error.value).startswith(f"{path}: is not a whole image (")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "an empty file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "a pointer of Git LFS"),
        (b"<html>404</html>", "of no known kind"),
    ],
)
def test_a_file_that_is_no_image_is_reported_as_what_it_is(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "image.png").write_bytes(content)
    with pytest.raises(DataError, match=rf"image\.png: is not a whole image \({reason}"):
        open_image(tmp_path / "image.png")


def test_corrupt_png_is_an_error_and_not_a_crash(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    picture().save(buffer, "PNG")
    broken = bytearray(buffer.getvalue())
    broken[len(broken) // 2] ^= 0xFF
    (tmp_path / "a.png").write_bytes(broken)
    with pytest.raises(DataError, match="is not a whole image"):
        open_image(tmp_path / "a.png")


def test_damaged_pixels_of_avif_are_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.avif"
    picture().save(path)
    whole = path.read_bytes()
    payload = whole.index(b"mdat") + 4
    path.write_bytes(whole[:payload] + b"\xff" * (len(whole) - payload))
    with pytest.raises(DataError, match=r"a\.avif: is not a whole image \([^\n]+\)$"):
        open_image(path)


def test_a_kind_of_pixels_that_pillow_does_not_know_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    by_four_letters = 4
    header = struct.pack("<4s7I44x4I", b"DDS ", 124, 0, 40, 60, 0, 0, 0, 32, by_four_letters, 0x21212121, 0)
    (tmp_path / "a.dds").write_bytes(header.ljust(300, b"\0"))
    with pytest.raises(DataError, match=r"a\.dds: is not a whole image \(Unimplemented pixel format"):
        open_image(tmp_path / "a.dds")


@pytest.mark.parametrize(
    ("error", "reason"),
    [(EOFError(), "EOFError"), (KeyError("icc"), "'icc'"), (zlib.error("bad\ndata"), "bad"), (OverflowError("9"), "9")],
)
def test_whatever_a_decoder_raises_is_an_error_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    picture().save(tmp_path / "a.png")

    def fail(image: object) -> None:
        raise error

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    with pytest.raises(DataError, match=rf"a\.png: is not a whole image \({reason}\)$"):
        open_image(tmp_path / "a.png")


def test_a_decoder_without_memory_is_no_error_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture().save(tmp_path / "a.png")

    def fail(image: object) -> None:
        raise RuntimeError("Failed to decode frame 0: Out of memory")

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    with pytest.raises(RuntimeError, match="Out of memory"):
        open_image(tmp_path / "a.png")


def test_missing_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.png: no such image file"):
        open_image(tmp_path / "none.png")


def test_coco_tiny_gray_image_opens_as_rgb(shared_data: Path) -> None:
    opened = open_image(shared_data / "coco_tiny" / "train2017" / "000000000086.jpg")
    assert opened.shape[0] == 3
    np.testing.assert_array_equal(opened[0], opened[2])


@pytest.mark.parametrize("suffix", ["gif", "webp", "tiff", "png"])
def test_of_several_frames_the_first_is_read_and_the_others_are_reported(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"image.{suffix}"
    frames = [Image.new("RGB", (6, 4), (shade, shade, shade)) for shade in (0, 128, 255)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    read = read_image(path)
    assert read.has_several_frames and int(read.pixels.max()) == 0
    frames[1].save(path)
    assert not read_image(path).has_several_frames


def test_the_preview_in_a_photograph_is_no_frame(tmp_path: Path) -> None:
    photograph = Image.new("RGB", (6, 4))
    photograph.save(tmp_path / "image.jpg", "MPO", save_all=True, append_images=[photograph])
    assert not read_image(tmp_path / "image.jpg").has_several_frames


def test_a_broken_second_page_costs_nothing(tmp_path: Path) -> None:
    page = Image.new("RGB", (6, 4), (9, 9, 9))
    whole, path = io.BytesIO(), tmp_path / "image.tiff"
    page.save(whole, "TIFF")
    single = len(whole.getvalue())
    page.save(path, save_all=True, append_images=[page])
    path.write_bytes(path.read_bytes()[: single + 20])
    assert int(read_image(path).pixels.min()) == 9


def test_a_program_that_draws_is_not_run(tmp_path: Path) -> None:
    Image.new("RGB", (6, 4)).save(tmp_path / "image.eps")
    with pytest.raises(DataError, match=r"image\.eps: is EPS, a kind of file that is not decoded"):
        read_image(tmp_path / "image.eps")


def png_of_16_bits(red: int, green: int, blue: int) -> bytes:
    """Return a PNG file of one pixel with 16 bits a channel, which Pillow reads and does not write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" + struct.pack(">HHH", red, green, blue))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def test_mode_and_highest_value_of_the_stored_pixels_are_kept(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 4095]], dtype=np.uint16)).save(tmp_path / "gray.png")
    (tmp_path / "color.png").write_bytes(png_of_16_bits(0x0FFF, 3, 0x0123))
    Image.new("CMYK", (2, 2)).save(tmp_path / "cmyk.tif")
    gray, color, cmyk = (read_image(tmp_path / name) for name in ("gray.png", "color.png", "cmyk.tif"))
    assert (gray.mode, gray.peak) == ("I;16", 4095)
    assert (color.mode, color.peak) == ("RGB", 0x0FFF)
    assert (cmyk.mode, cmyk.peak) == ("CMYK", None)
