"""What an inspection finds in image files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.helpers.data.inspections import edit, finding, inspected


def deep(value: int) -> Image.Image:
    return Image.fromarray(np.full((20, 30), value, dtype=np.uint16))


def test_images_that_cannot_be_used_are_an_error_or_left_out(root: Path) -> None:
    (root / "train" / "1.png").write_bytes(b"no image")
    (root / "train" / "2.png").unlink()
    error = finding(inspected(root), "images cannot be used")
    assert (error.severity, error.count, error.total) == ("error", 2, 5)
    assert "data.on_bad_image=skip" in error.way_out
    assert "1.png" in error.examples[0].text and "no such image file" in error.examples[1].text
    assert finding(inspected(root, "data.on_bad_image=skip"), "images cannot be used").severity == "warning"


def test_an_orientation_that_is_not_applied_is_a_warning(root: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.new("RGB", (30, 20)).save(root / "train" / "0.png", exif=exif)
    found = finding(inspected(root), "images with an EXIF orientation")
    assert (found.severity, found.count) == ("warning", 1)
    applied = finding(inspected(root, "data.exif_orientation=apply"), "images with an EXIF orientation")
    assert applied.severity == "note"


@pytest.mark.parametrize(
    ("peak", "title"), [(4095, "16-bit images that use 12 bits"), (16383, "16-bit images that use 14 bits")]
)
def test_images_of_a_camera_of_few_bits_are_a_warning(root: Path, peak: int, title: str) -> None:
    deep(peak).save(root / "train" / "0.png")
    deep(100).save(root / "train" / "1.png")
    dark = finding(inspected(root), title)
    assert (dark.severity, dark.count) == ("warning", 2)
    assert f"highest value is {peak}" in dark.meaning
    assert finding(inspected(root), "16-bit images").count == 2


def test_one_bright_image_shows_that_all_16_bits_are_used(root: Path) -> None:
    deep(100).save(root / "train" / "0.png")
    deep(40000).save(root / "train" / "1.png")
    assert [each.title for each in inspected(root).findings] == ["gray images", "16-bit images"]


def test_kinds_of_pixels_are_counted(root: Path) -> None:
    for number, mode in enumerate(("L", "RGBA", "LA")):
        Image.new(mode, (30, 20)).save(root / "train" / f"{number}.png")
    Image.new("CMYK", (30, 20)).save(root / "train" / "3.png", "TIFF")
    found = inspected(root)
    counts = {each.title: each.count for each in found.findings if each.severity == "note"}
    assert counts == {"gray images": 2, "images with transparency": 2, "CMYK images": 1}


def test_animated_and_paged_images_are_a_note(root: Path) -> None:
    frames = [Image.new("RGB", (30, 20), color) for color in ("red", "blue")]
    for number, kind in enumerate(("GIF", "TIFF")):
        frames[0].save(root / "train" / f"{number}.png", kind, save_all=True, append_images=frames[1:])
    found = finding(inspected(root), "animated or paged images")
    assert (found.severity, found.count, found.total) == ("note", 2, 5)
    assert [example.text for example in found.examples] == ["0.png", "1.png"]


def test_names_in_another_spelling_and_listed_twice_are_found(root: Path) -> None:
    def change(content: dict[str, Any]) -> None:
        content["images"][0]["file_name"] = "%30.png"
        content["images"][2]["file_name"] = "1.png"

    edit(root / "train.json", change)
    found = inspected(root)
    assert finding(found, "images under another spelling of the name").examples[0].text == "'%30.png' read as '0.png'"
    assert finding(found, "files listed more than once").examples[0].text == "1.png, 2 times"


def test_images_without_boxes_are_a_note_with_their_names(root: Path) -> None:
    edit(root / "train.json", lambda content: content["annotations"].pop(0))
    note = finding(inspected(root), "images without boxes")
    assert (note.severity, note.count, note.examples[0].text) == ("note", 1, "0.png")
