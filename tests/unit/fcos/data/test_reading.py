"""A disk that fails for a moment: tried again, and never taken for a file that is missing or broken."""

import errno
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fcos import files
from fcos.data.decoded import DecodedImages
from fcos.data.images import check_images, files_on_disk, open_image
from fcos.data.loader import eval_batches
from fcos.data.prepare import make_dataset, prepare
from fcos.errors import DataError, ReadError, SharedMemoryError
from orchestration.trial.failures import is_out_of_memory, is_retryable
from tests.helpers.coco_folders import coco

TRIES = len(files.PAUSES) + 1


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PAUSES", (0.0,) * len(files.PAUSES))


@dataclass
class Disk:
    """Lets reading a file of a name, or asking for its facts, fail so many times with an errno; counts the tries."""

    patch: pytest.MonkeyPatch
    tries: int = 0

    def fail(self, name: str, number: int, times: int, method: str = "read_bytes") -> None:
        self.tries = 0
        whole = getattr(Path, method)

        def call(path: Path, *arguments: Any, **options: Any) -> Any:
            if path.name == name:
                self.tries += 1
                if self.tries <= times:
                    raise OSError(number, "failed on purpose", str(path))
            return whole(path, *arguments, **options)

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
def test_one_failure_is_read_over(image: Path, disk: Disk, caplog: pytest.LogCaptureFixture, number: int) -> None:
    disk.fail("image.png", number, 1)
    assert open_image(image).shape == (3, 20, 30)
    assert "image.png: failed on purpose; tried again" in caplog.text


def test_a_disk_that_stays_away_is_no_final_error(image: Path, disk: Disk) -> None:
    disk.fail("image.png", errno.EIO, 100)
    with pytest.raises(ReadError, match=r"image\.png: cannot be read now \(failed on purpose\)") as caught:
        open_image(image)
    assert disk.tries == TRIES
    assert is_retryable(caught.value)


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR])
def test_what_is_not_there_or_not_allowed_is_final_at_once(image: Path, disk: Disk, number: int) -> None:
    disk.fail("image.png", number, 100)
    with pytest.raises(DataError, match=r"image\.png: (no such image file|cannot be read)") as caught:
        open_image(image)
    assert disk.tries == 1
    assert not is_retryable(caught.value)


def test_want_of_memory_stays_what_it_is(image: Path, disk: Disk) -> None:
    disk.fail("image.png", errno.ENOMEM, 100)
    with pytest.raises(OSError, match="failed on purpose") as caught:
        open_image(image)
    assert is_out_of_memory(caught.value) and is_retryable(caught.value)


@pytest.mark.parametrize("cache_gb", [0.0, 1.0])
def test_no_image_is_left_out_because_the_disk_failed(root: Path, disk: Disk, cache_gb: float) -> None:
    config = coco(root, on_bad_image="skip", cache_gb=cache_gb)
    disk.fail("2.png", errno.EIO, 100)
    with pytest.raises(ReadError, match=r"2\.png: cannot be read now"):
        prepare(config)


def test_facts_of_files_are_read_over_a_failure_too(image: Path, disk: Disk) -> None:
    whole = files_on_disk(image.parent, ["image.png", "none.png"])
    assert whole[0][1] > 0 and whole[1] == ("none.png", -1, -1)
    disk.fail("image.png", errno.ESTALE, 1, "stat")
    assert files_on_disk(image.parent, ["image.png", "none.png"]) == whole
    disk.fail("image.png", errno.ESTALE, 100, "stat")
    with pytest.raises(ReadError):
        files_on_disk(image.parent, ["image.png"])


def test_annotations_too(root: Path, disk: Disk) -> None:
    disk.fail("val.json", errno.EIO, 1)
    prepare(coco(root))
    disk.fail("val.json", errno.EIO, 100)
    with pytest.raises(ReadError, match=r"val\.json: cannot be read now"):
        prepare(coco(root))


def test_checking_images_does_not_call_one_bad(image: Path, disk: Disk) -> None:
    disk.fail("image.png", errno.EIO, 100)
    with pytest.raises(ReadError):
        check_images([image], [(20, 30)])


def test_decoded_images_that_are_gone_are_decoded_at_the_next_attempt(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="no longer there"):
        DecodedImages(tmp_path / "pixels.bin", [(2, 2)])
    (tmp_path / "pixels.bin").write_bytes(bytes(5))
    with pytest.raises(ReadError, match="no longer there or whole"):
        DecodedImages(tmp_path / "pixels.bin", [(2, 2)])


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_loader_process_hands_the_error_over_as_it_is(root: Path, disk: Disk, num_workers: int) -> None:
    config = coco(root, cache_gb=0.0)
    dataset = make_dataset(prepare(config), "val", config, training=False, seed=0)
    disk.fail("1.png", errno.EIO, 100)
    batches = eval_batches(
        dataset, batch_size=1, rank=0, world_size=1, size_divisor=32, num_workers=num_workers, pin_memory=False
    )
    with pytest.raises(ReadError, match=r"1\.png: cannot be read now \(failed on purpose\)"):
        list(batches)


@pytest.mark.parametrize("error", [ReadError("x"), SharedMemoryError("y"), DataError("z")])
def test_errors_travel_between_processes(error: Exception) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error) and str(again) == str(error)
