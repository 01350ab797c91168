"""Decoded images have the pixels of their files, are decoded once, complete or absent, and bounded in size."""

import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fcos.augmentation.transforms import resize_image
from fcos.images.decoded import CACHE_FOLDER, PIXELS_FILE, DecodedImages, decode_images
from fcos.images.image_files import ImageFiles, file_stats
from fcos.images.open_image import open_image

SIZES = ((20, 30), (31, 17), (8, 8))
LIMIT = 1_000_000


@pytest.fixture
def files(tmp_path: Path) -> ImageFiles:
    folder = tmp_path / "images"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for number, size in enumerate(SIZES):
        Image.fromarray(generator.integers(0, 255, (*size, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    stats = file_stats(folder, [f"{number}.png" for number in range(len(SIZES))])
    return ImageFiles(folder, stats, SIZES, ((40, 60), *SIZES[1:]))


def decode(files: ImageFiles, cache: Path, limit: int = LIMIT) -> DecodedImages:
    images = decode_images(files, cache, limit)
    assert isinstance(images, DecodedImages)
    return images


def test_pixels_equal_the_files_at_their_target_sizes(files: ImageFiles, tmp_path: Path) -> None:
    images = decode(files, tmp_path)
    for position, (path, size) in enumerate(zip(files.paths, files.target_sizes, strict=True)):
        resized = resize_image(torch.from_numpy(open_image(path)), size)
        assert np.array_equal(images[position], resized.numpy())
        assert images[position].transpose(1, 2, 0).flags.c_contiguous


def test_nothing_is_decoded_twice(files: ImageFiles, tmp_path: Path) -> None:
    counts: list[int] = []
    for _ in range(3):
        decode_images(files, tmp_path, LIMIT, lambda done, total: counts.append(done))
    assert counts == [1, 2, 3]


def test_concurrent_callers_decode_once(files: ImageFiles, tmp_path: Path) -> None:
    counts: list[int] = []
    with ThreadPoolExecutor(8) as pool:
        calls = [
            pool.submit(decode_images, files, tmp_path, LIMIT, lambda done, _: counts.append(done)) for _ in range(8)
        ]
        results = [call.result() for call in calls]
    assert counts == [1, 2, 3]
    assert all(isinstance(result, DecodedImages) for result in results)


def test_a_changed_file_or_size_is_decoded_again(files: ImageFiles, tmp_path: Path) -> None:
    first = decode(files, tmp_path)
    Image.fromarray(np.zeros((8, 8, 3), dtype=np.uint8)).save(files.folder / "2.png")
    changed = ImageFiles(files.folder, file_stats(files.folder, ["0.png", "1.png", "2.png"]), SIZES, SIZES)
    second = decode(changed, tmp_path)
    assert first.path != second.path
    assert not second[2].any()
    assert first[2].any()


def test_a_truncated_cache_file_is_decoded_again(files: ImageFiles, tmp_path: Path) -> None:
    path = decode(files, tmp_path).path
    with path.open("r+b") as file:
        file.truncate(100)
    assert np.array_equal(decode(files, tmp_path)[1], open_image(files.paths[1]))


def test_images_that_do_not_open_are_named_and_nothing_is_cached(files: ImageFiles, tmp_path: Path) -> None:
    files.paths[1].write_bytes(b"no image")
    failures = decode_images(files, tmp_path, LIMIT)
    assert isinstance(failures, dict)
    assert list(failures) == [1]
    assert "1.png: is not a whole image" in failures[1]
    assert list((tmp_path / CACHE_FOLDER).glob("*/*")) == []
    assert np.array_equal(decode(files.select(np.array([0, 2])), tmp_path)[1], open_image(files.paths[2]))


def test_sets_above_the_limit_are_not_cached(files: ImageFiles, tmp_path: Path) -> None:
    assert decode_images(files, tmp_path, 3 * 40 * 60) is None
    assert not (tmp_path / CACHE_FOLDER).exists()


def test_a_full_disk_gives_none(files: ImageFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fcos.images.decoded.os.posix_fallocate", full)
    assert decode_images(files, tmp_path, LIMIT) is None
    assert list((tmp_path / CACHE_FOLDER).glob("*/*")) == []


def test_the_least_recently_used_set_is_evicted(files: ImageFiles, tmp_path: Path) -> None:
    parts = [files.select(np.array([position])) for position in range(3)]
    paths = [decode(part, tmp_path).path for part in parts]
    for age, path in zip((30, 10, 20), paths, strict=True):
        os.utime(path, (1e9 - age, 1e9 - age))
    sizes = [path.stat().st_size for path in paths]
    other = ImageFiles(files.folder, files.stats[:1], SIZES[:1], SIZES[:1])
    decode(other, tmp_path, limit=sum(sizes[1:]) + 3 * 20 * 30)
    assert [path.exists() for path in paths] == [False, True, True]
    assert len(list((tmp_path / CACHE_FOLDER).glob(f"*/{PIXELS_FILE}"))) == 3


def test_orientations_are_known_without_decoding_again(files: ImageFiles, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.new("RGB", (8, 8)).save(files.folder / "2.png", exif=exif)
    files = ImageFiles(files.folder, file_stats(files.folder, ["0.png", "1.png", "2.png"]), SIZES, SIZES)
    counts: list[int] = []
    for _ in range(2):
        decoded = decode_images(files, tmp_path, LIMIT, lambda done, total: counts.append(done))
        assert isinstance(decoded, DecodedImages) and decoded.traits.oriented == (2,)
    assert counts == [1, 2, 3]


def test_a_pickled_copy_maps_the_same_file(files: ImageFiles, tmp_path: Path) -> None:
    images = decode(files, tmp_path)
    content = pickle.dumps(images)
    assert len(content) < 2000
    assert np.array_equal(pickle.loads(content)[0], images[0])
