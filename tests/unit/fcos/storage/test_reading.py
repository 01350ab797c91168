"""Transient read errors are retried, and never taken for missing or broken files."""

import errno
import hashlib
import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fcos.data.coco import make_dataset
from fcos.data.loader import eval_batches
from fcos.data.prepare import prepare
from fcos.errors import DataError, ReadError, SharedMemoryError
from fcos.images.decoded import DecodedImages
from fcos.images.image_files import ImageFiles, check_images, file_stats
from fcos.images.open_image import open_image
from fcos.storage import files
from fcos.storage.reading import read_digest
from orchestration.trial.failures import is_out_of_memory, is_retryable
from tests.helpers.data.coco_folders import coco

ATTEMPTS = len(files.PAUSES) + 1


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PAUSES", (0.0,) * len(files.PAUSES))


@dataclass
class Disk:
    """Makes reading or stat of a file of this name fail so many times with an errno, and counts the attempts."""

    patch: pytest.MonkeyPatch
    attempts: int = 0

    def fail(self, name: str, number: int, times: int, method: str = "read_bytes") -> None:
        self.attempts = 0
        original = getattr(Path, method)

        def call(path: Path, *arguments: Any, **options: Any) -> Any:
            if path.name == name:
                self.attempts += 1
                if self.attempts <= times:
                    raise OSError(number, "failed on purpose", str(path))
            return original(path, *arguments, **options)

        self.patch.setattr(Path, method, call)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.png"
    Image.fromarray(np.full((20, 30, 3), 7, dtype=np.uint8)).save(path)
    return path


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EMFILE])
def test_one_failure_is_retried(image: Path, disk: Disk, caplog: pytest.LogCaptureFixture, number: int) -> None:
    disk.fail("image.png", number, 1)
    assert open_image(image).shape == (3, 20, 30)
    assert "image.png: failed on purpose; tried again" in caplog.text


def test_a_lasting_disk_failure_is_not_final(image: Path, disk: Disk) -> None:
    disk.fail("image.png", errno.EIO, 100)
    with pytest.raises(ReadError, match=r"image\.png: cannot be read now \(failed on purpose\)") as caught:
        open_image(image)
    assert disk.attempts == ATTEMPTS
    assert is_retryable(caught.value)


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR])
def test_missing_or_forbidden_files_are_final_at_once(image: Path, disk: Disk, number: int) -> None:
    disk.fail("image.png", number, 100)
    with pytest.raises(DataError, match=r"image\.png: (no such image file|cannot be read)") as caught:
        open_image(image)
    assert disk.attempts == 1
    assert not is_retryable(caught.value)


def test_a_digest_is_that_of_the_content_and_retried(image: Path, disk: Disk) -> None:
    disk.fail("image.png", errno.EIO, 1, method="open")
    assert read_digest(image, "file") == hashlib.sha256(image.read_bytes()).hexdigest()
    assert disk.attempts >= 2


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(DataError, match=r"pipe\.png: is a pipe, a socket or a device, and no image file"):
        open_image(tmp_path / "pipe.png")


def test_lack_of_memory_is_raised_unchanged(image: Path, disk: Disk) -> None:
    disk.fail("image.png", errno.ENOMEM, 100)
    with pytest.raises(OSError, match="failed on purpose") as caught:
        open_image(image)
    assert is_out_of_memory(caught.value) and is_retryable(caught.value)


@pytest.mark.parametrize("cache_gb", [0.0, 1.0])
def test_images_are_not_left_out_for_a_failing_disk(root: Path, disk: Disk, cache_gb: float) -> None:
    config = coco(root, on_bad_image="skip", cache_gb=cache_gb)
    disk.fail("2.png", errno.EIO, 100)
    with pytest.raises(ReadError, match=r"2\.png: cannot be read now"):
        prepare(config)


def test_file_stats_are_retried(image: Path, disk: Disk) -> None:
    original = file_stats(image.parent, ["image.png", "none.png"])
    assert original[0][1] > 0 and original[1] == ("none.png", -1, -1)
    disk.fail("image.png", errno.ESTALE, 1, "stat")
    assert file_stats(image.parent, ["image.png", "none.png"]) == original
    disk.fail("image.png", errno.ESTALE, 100, "stat")
    with pytest.raises(ReadError):
        file_stats(image.parent, ["image.png"])


def test_reading_annotations_is_retried(root: Path, disk: Disk) -> None:
    disk.fail("val.json", errno.EIO, 1)
    prepare(coco(root))
    disk.fail("val.json", errno.EIO, 100)
    with pytest.raises(ReadError, match=r"val\.json: cannot be read now"):
        prepare(coco(root))


def test_check_images_raises_for_a_failing_disk(image: Path, disk: Disk) -> None:
    disk.fail("image.png", errno.EIO, 100)
    with pytest.raises(ReadError):
        check_images(ImageFiles(image.parent, file_stats(image.parent, [image.name]), ((20, 30),), ((20, 30),)))


def test_missing_or_truncated_decoded_images_are_a_read_error(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="no longer there"):
        DecodedImages(tmp_path / "pixels.bin", [(2, 2)])
    (tmp_path / "pixels.bin").write_bytes(bytes(5))
    with pytest.raises(ReadError, match="no longer there or whole"):
        DecodedImages(tmp_path / "pixels.bin", [(2, 2)])


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_loader_process_passes_the_error_on_unchanged(root: Path, disk: Disk, num_workers: int) -> None:
    config = coco(root, cache_gb=0.0)
    dataset = make_dataset(prepare(config), "val", config, training=False, seed=0)
    disk.fail("1.png", errno.EIO, 100)
    batches = eval_batches(
        dataset, batch_size=1, rank=0, world_size=1, size_divisor=32, num_workers=num_workers, pin_memory=False
    )
    with pytest.raises(ReadError, match=r"1\.png: cannot be read now \(failed on purpose\)"):
        list(batches)


@pytest.mark.parametrize("error", [ReadError("x"), SharedMemoryError("y"), DataError("z")])
def test_errors_can_be_pickled(error: Exception) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error) and str(again) == str(error)
