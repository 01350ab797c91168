"""Images decoded once for all that read them: the same pixels, whole or absent, within bounds."""

import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import fcos.data.decoded
from fcos.data.decoded import FOLDER, PIXELS, DecodedImages, decoded_images
from fcos.data.images import ImageFiles, files_on_disk, open_image
from fcos.data.transforms import resize_image

SIZES = ((20, 30), (31, 17), (8, 8))
ROOM = 1_000_000


@pytest.fixture
def files(tmp_path: Path) -> ImageFiles:
    folder = tmp_path / "images"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number, size in enumerate(SIZES):
        Image.fromarray(generator.integers(0, 255, (*size, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    facts = files_on_disk(folder, [f"{number}.png" for number in range(len(SIZES))])
    return ImageFiles(folder, facts, SIZES, ((40, 60), *SIZES[1:]))


def kept(files: ImageFiles, cache: Path, limit: int = ROOM) -> DecodedImages:
    found = decoded_images(files, cache, limit)
    assert isinstance(found, DecodedImages)
    return found


def test_pixels_are_those_of_the_files_at_their_wanted_sizes(files: ImageFiles, tmp_path: Path) -> None:
    images = kept(files, tmp_path)
    for position, (path, size) in enumerate(zip(files.paths, files.wanted_sizes, strict=True)):
        assert torch.equal(images[position], resize_image(open_image(path), size))
        assert images[position].permute(1, 2, 0).is_contiguous()


def test_nothing_is_decoded_twice(files: ImageFiles, tmp_path: Path) -> None:
    counted: list[int] = []
    for _ in range(3):
        decoded_images(files, tmp_path, ROOM, lambda done, total: counted.append(done))
    assert counted == [1, 2, 3]


def test_those_who_come_together_decode_once(files: ImageFiles, tmp_path: Path) -> None:
    counted: list[int] = []
    with ThreadPoolExecutor(8) as pool:
        calls = [
            pool.submit(decoded_images, files, tmp_path, ROOM, lambda done, _: counted.append(done)) for _ in range(8)
        ]
        found = [call.result() for call in calls]
    assert counted == [1, 2, 3]
    assert all(isinstance(each, DecodedImages) for each in found)


def test_a_changed_file_or_size_is_decoded_anew(files: ImageFiles, tmp_path: Path) -> None:
    first = kept(files, tmp_path)
    Image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8)).save(files.folder / "2.png")
    changed = ImageFiles(files.folder, files_on_disk(files.folder, ["0.png", "1.png", "2.png"]), SIZES, SIZES)
    second = kept(changed, tmp_path)
    assert first.path != second.path
    assert not second[2].any()
    assert first[2].any()


def test_a_file_that_was_cut_is_decoded_anew(files: ImageFiles, tmp_path: Path) -> None:
    path = kept(files, tmp_path).path
    with path.open("r+b") as file:
        file.truncate(100)
    assert torch.equal(kept(files, tmp_path)[1], open_image(files.paths[1]))


def test_images_that_do_not_open_are_named_and_nothing_is_kept(files: ImageFiles, tmp_path: Path) -> None:
    files.paths[1].write_bytes(b"no image")
    bad = decoded_images(files, tmp_path, ROOM)
    assert isinstance(bad, dict)
    assert list(bad) == [1]
    assert "1.png: is not a whole image" in bad[1]
    assert list((tmp_path / FOLDER).glob("*/*")) == []
    assert torch.equal(kept(files.select(np.array([0, 2])), tmp_path)[1], open_image(files.paths[2]))


def test_what_exceeds_the_limit_is_not_kept(files: ImageFiles, tmp_path: Path) -> None:
    assert decoded_images(files, tmp_path, 3 * 40 * 60) is None
    assert not (tmp_path / FOLDER).exists()


def test_a_full_disk_is_no_error(files: ImageFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fcos.data.decoded.os, "posix_fallocate", full)
    assert decoded_images(files, tmp_path, ROOM) is None
    assert list((tmp_path / FOLDER).glob("*/*")) == []


def test_what_was_used_longest_ago_makes_room(files: ImageFiles, tmp_path: Path) -> None:
    parts = [files.select(np.array([position])) for position in range(3)]
    paths = [kept(part, tmp_path).path for part in parts]
    for age, path in zip((30, 10, 20), paths, strict=True):
        os.utime(path, (1e9 - age, 1e9 - age))
    sizes = [path.stat().st_size for path in paths]
    other = ImageFiles(files.folder, files.facts[:1], SIZES[:1], SIZES[:1])
    kept(other, tmp_path, limit=sum(sizes[1:]) + 3 * 20 * 30)
    assert [path.exists() for path in paths] == [False, True, True]
    assert len(list((tmp_path / FOLDER).glob(f"*/{PIXELS}"))) == 3


def test_a_copy_in_another_process_maps_the_same_file(files: ImageFiles, tmp_path: Path) -> None:
    images = kept(files, tmp_path)
    content = pickle.dumps(images)
    assert len(content) < 2000
    assert torch.equal(pickle.loads(content)[0], images[0])
