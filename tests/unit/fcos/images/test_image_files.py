"""A check of image files names what does not open, counts orientations, and is done once."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fcos.images import image_files
from fcos.images.image_files import ImageCheck, ImageFiles, check_files, check_images, file_stats
from fcos.images.image_traits import ImageTraits
from fcos.images.open_image import ImageRules

SIZE = (40, 60)


def save(path: Path, orientation: int = 1) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", SIZE[::-1]).save(path, exif=exif)


def files_of(folder: Path, count: int) -> ImageFiles:
    stats = file_stats(folder, [f"{number}.jpg" for number in range(count)])
    return ImageFiles(folder, stats, (SIZE,) * count, (SIZE,) * count)


def test_failures_orientations_and_progress_are_reported(tmp_path: Path) -> None:
    for number, orientation in enumerate((1, 1, 3, 6)):
        save(tmp_path / f"{number}.jpg", orientation)
    (tmp_path / "1.jpg").write_text("no image")
    counts: list[tuple[int, int]] = []
    check = check_images(files_of(tmp_path, 5), lambda done, total: counts.append((done, total)))
    assert sorted(check.failures) == [1, 4]
    assert "no such image file" in check.failures[4]
    assert check.traits.oriented == (2, 3)
    assert counts == [(done, 5) for done in range(1, 6)]


def test_a_second_check_reads_no_image_and_knows_the_orientations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "0.jpg", 3)
    files, cache = files_of(tmp_path, 1), tmp_path / "cache"
    expected = check_files(files, cache, None)
    assert expected == ImageCheck(traits=ImageTraits(oriented=(0,)))

    def fail(*_: object) -> ImageCheck:
        raise AssertionError("read again")

    monkeypatch.setattr(image_files, "check_images", fail)
    assert check_files(files, cache, None) == expected
    for changed in (
        replace(files, rules=ImageRules(max_megapixels=1.0)),
        replace(files, rules=ImageRules(exif_orientation="apply")),
        replace(files, sizes=((60, 40),)),
    ):
        with pytest.raises(AssertionError, match="read again"):
            check_files(changed, cache, None)


@pytest.mark.parametrize("content", ["", "{", "{}", "[0]", '{"oriented": [0]}'])
def test_a_broken_or_older_marker_is_checked_again(tmp_path: Path, content: str) -> None:
    save(tmp_path / "0.jpg", 3)
    files, cache = files_of(tmp_path, 1), tmp_path / "cache"
    check_files(files, cache, None)
    (marker,) = (cache / "image_checks").iterdir()
    marker.write_text(content)
    assert check_files(files, cache, None).traits.oriented == (0,)


def test_a_selection_keeps_the_rules(tmp_path: Path) -> None:
    save(tmp_path / "0.jpg")
    files = replace(files_of(tmp_path, 1), rules=ImageRules(max_megapixels=3.0))
    assert files.select(np.array([0])) == files
