"""Opening images of many kinds, and checking that they open."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fcos.data.images import check_images, open_image
from fcos.errors import DataError


def picture() -> Image.Image:
    """Return a smooth 60x40 image whose colours survive JPEG."""
    y, x = np.mgrid[0:40, 0:60]
    return Image.fromarray(np.stack([4 * x, 6 * y, 255 - 4 * x], axis=2).astype(np.uint8))


def expected(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def test_png_opens_as_rgb(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.png")
    opened = open_image(tmp_path / "a.png", (40, 60))
    assert opened.dtype == torch.uint8
    torch.testing.assert_close(opened, expected(picture()))


@pytest.mark.parametrize("mode", ["RGB", "CMYK", "L"])
def test_jpeg_of_any_mode_keeps_its_colours(tmp_path: Path, mode: str) -> None:
    picture().convert(mode).save(tmp_path / "a.jpg", quality=95)
    expected_image = picture().convert(mode).convert("RGB")
    torch.testing.assert_close(open_image(tmp_path / "a.jpg"), expected(expected_image), atol=8, rtol=0)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1"])
def test_png_of_any_mode_is_converted_exactly(tmp_path: Path, mode: str) -> None:
    image = picture().convert(mode)
    image.save(tmp_path / "a.png")
    torch.testing.assert_close(open_image(tmp_path / "a.png"), expected(image.convert("RGB")))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_gray_is_scaled_and_not_cut(tmp_path: Path, suffix: str) -> None:
    gray = np.array([[0, 128, 129, 257], [32768, 65407, 65534, 65535]], dtype=np.uint16)
    Image.fromarray(gray).save(tmp_path / f"a.{suffix}")
    opened = open_image(tmp_path / f"a.{suffix}", (2, 4))
    expected_image = torch.tensor([[0, 0, 1, 1], [128, 255, 255, 255]], dtype=torch.uint8)
    torch.testing.assert_close(opened, expected_image.expand(3, 2, 4))


def test_float_pixels_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.ones((4, 4), dtype=np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(DataError, match=r"a\.tif: has F-mode pixels"):
        open_image(tmp_path / "a.tif")


def test_size_must_be_the_annotated_one(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a\.png: is 60x40, and the annotations say 40x60$"):
        open_image(tmp_path / "a.png", (60, 40))


def test_exif_quarter_turn_is_not_applied_but_named(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture().save(tmp_path / "a.jpg", exif=exif)
    assert open_image(tmp_path / "a.jpg", (40, 60)).shape == (3, 40, 60)
    with pytest.raises(DataError, match="EXIF orientation"):
        open_image(tmp_path / "a.jpg", (60, 40))


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


def test_corrupt_png_is_an_error_and_not_a_crash(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    picture().save(buffer, "PNG")
    broken = bytearray(buffer.getvalue())
    broken[len(broken) // 2] ^= 0xFF
    (tmp_path / "a.png").write_bytes(broken)
    with pytest.raises(DataError, match="is not a whole image"):
        open_image(tmp_path / "a.png")


def test_missing_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.png: no such image file"):
        open_image(tmp_path / "none.png")


def test_check_images_reports_failures_and_progress(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(5)]
    for path in paths[:4]:
        picture().save(path)
    paths[1].write_text("no image")
    counts: list[tuple[int, int]] = []
    failures = check_images(paths, [(40, 60)] * 5, on_count=lambda done, total: counts.append((done, total)))
    assert sorted(failures) == [1, 4]
    assert "no such image file" in failures[4]
    assert counts == [(done, 5) for done in range(1, 6)]


def test_coco_tiny_gray_image_opens_as_rgb(shared_data: Path) -> None:
    opened = open_image(shared_data / "coco_tiny" / "train2017" / "000000000086.jpg")
    assert opened.shape[0] == 3
    torch.testing.assert_close(opened[0], opened[2])
