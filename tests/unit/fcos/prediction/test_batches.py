"""Batches change no image's detections, and an image that fails costs no other its result."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from fcos.data.coco import Sample
from fcos.prediction import batches
from fcos.prediction.batches import Failed, Predicted, detect_within_memory, predict_images
from fcos.prediction.predictor import Predictor
from fcos.prediction.sources import ImageFile
from fcos.structures import Detections

Save = Callable[..., Path]
SIZES = ((64, 48), (64, 48), (60, 41), (130, 64), (64, 48))


def files_of(tmp_path: Path, save_image: Save, sizes: Sequence[tuple[int, int]] = SIZES) -> list[ImageFile]:
    return [
        ImageFile(save_image(tmp_path / f"{number}.png", size), f"{number}.png", (size[1], size[0]))
        for number, size in enumerate(sizes)
    ]


class Spy:
    """Records the sizes of batches, and fails to allocate those that hold more pixels than it may."""

    def __init__(self, predictor: Predictor, monkeypatch: pytest.MonkeyPatch, max_pixels: float = float("inf")) -> None:
        self.sizes: list[int] = []
        detect = predictor.detect

        def spied(samples: Sequence[Sample]) -> list[Detections]:
            self.sizes.append(len(samples))
            if sum(sample.image.shape[1] * sample.image.shape[2] for sample in samples) > max_pixels:
                raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to ...")
            return detect(samples)

        monkeypatch.setattr(predictor, "detect", spied)


def detections_of(predictor: Predictor, files: Sequence[ImageFile], batch_size: int) -> dict[str, Detections]:
    found = list(predict_images(predictor, files, batch_size))
    assert len(found) == len(files)
    return {item.file.name: item.detections for item in found if isinstance(item, Predicted)}


def test_a_batch_equals_its_images_one_by_one(tmp_path: Path, save_image: Save, predictor: Predictor) -> None:
    files = files_of(tmp_path, save_image)
    single, batched = detections_of(predictor, files, 1), detections_of(predictor, files, 4)
    assert single.keys() == batched.keys() == {file.name for file in files}
    for name, expected in single.items():
        assert len(expected.boxes) == 5
        torch.testing.assert_close(batched[name].scores, expected.scores, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(batched[name].boxes, expected.boxes, rtol=1e-4, atol=1e-2)
        assert torch.equal(batched[name].labels, expected.labels)


def test_only_images_of_equal_canvases_share_a_batch(
    tmp_path: Path, save_image: Save, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = Spy(predictor, monkeypatch)
    canvases = {file.name: predictor.canvas(file.size) for file in files_of(tmp_path, save_image) if file.size}
    detections_of(predictor, files_of(tmp_path, save_image), 4)
    assert len(spy.sizes) == len(set(canvases.values())) and sum(spy.sizes) == len(SIZES) and spy.sizes[-1] == 1


def test_boxes_are_in_pixels_of_the_image_as_it_is(tmp_path: Path, save_image: Save, predictor: Predictor) -> None:
    (file,) = files_of(tmp_path, save_image, [(300, 200)])
    (found,) = predict_images(predictor, [file], 8)
    assert isinstance(found, Predicted) and found.picture.pixels.shape == (3, 200, 300)
    assert (found.detections.boxes <= torch.tensor([300.0, 200.0, 300.0, 200.0]) + 1e-3).all()


def test_a_batch_that_does_not_fit_is_divided(
    tmp_path: Path, save_image: Save, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = files_of(tmp_path, save_image, [(64, 48)] * 5)
    expected = detections_of(predictor, files, 1)
    spy = Spy(predictor, monkeypatch, max_pixels=64 * 48 * 2)
    found = detections_of(predictor, files, 5)
    assert spy.sizes == [5, 2, 3, 1, 2]
    assert all(torch.allclose(found[name].scores, one.scores, atol=1e-5) for name, one in expected.items())


def test_the_image_that_cannot_be_held_is_named_and_the_others_are_done(
    tmp_path: Path, save_image: Save, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = files_of(tmp_path, save_image, [(64, 48)] * 3 + [(640, 640)] + [(64, 48)] * 3)
    Spy(predictor, monkeypatch, max_pixels=64 * 48 * 8)
    *others, last = predict_images(predictor, files, 8)
    assert isinstance(last, Failed) and last.file.name == "3.png"
    assert "3.png: needs more memory than is free, as the network gets 640x640 pixels" in last.reason
    assert len(others) == 6 and all(isinstance(item, Predicted) for item in others)


def test_an_image_for_which_no_memory_is_free_is_not_tried(
    tmp_path: Path, save_image: Save, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = Spy(predictor, monkeypatch)
    picture = predictor.read(save_image(tmp_path / "a.png"))
    monkeypatch.setattr(batches, "images_that_fit", lambda *_: 0)
    assert detect_within_memory(predictor, [picture, picture]) == [None, None]
    monkeypatch.setattr(batches, "images_that_fit", lambda *_: 2)
    assert len(detect_within_memory(predictor, [picture] * 5)) == 5
    assert spy.sizes == [2, 2, 1]


def test_an_image_that_does_not_decode_is_named(
    tmp_path: Path, save_image: Save, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = save_image(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(whole.read_bytes()[:200])
    files = [ImageFile(tmp_path / name, name, (48, 64)) for name in ("a.png", "b.png", "c.png")]
    found = {item.file.name: item for item in predict_images(predictor, files, 2)}
    reasons = {name: item.reason for name, item in found.items() if isinstance(item, Failed)}
    assert "b.png: is not a whole image" in reasons["b.png"] and "c.png: no such image file" in reasons["c.png"]

    def fail(path: Path) -> None:
        raise MemoryError

    monkeypatch.setattr(predictor, "read", fail)
    (failed,) = predict_images(predictor, files[:1], 2)
    assert isinstance(failed, Failed) and failed.reason.endswith("cannot be held in memory (64x48 pixels)")


def test_a_mistake_of_ours_is_not_taken_for_a_broken_image(
    tmp_path: Path, save_image: Save, predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(samples: Sequence[Sample]) -> list[Detections]:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(predictor, "detect", fail)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        list(predict_images(predictor, files_of(tmp_path, save_image), 2))
