"""A whole prediction: results of images and frames, filters, failures and interrupts."""

import json
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fcos.errors import ConfigError, DataError
from fcos.prediction.predictor import Predictor
from fcos.prediction.run import Outcome, PredictionProgress, Request, run_prediction
from fcos.prediction.sources import find_sources
from fcos.prediction.video import Frame, VideoReader, VideoWriter

Save = Callable[..., Path]
CLASSES = ("disc", "square", "ring")


class Outputs:
    """Predicts what stands in a folder and reads the results."""

    def __init__(self, predictor: Predictor, folder: Path) -> None:
        self.predictor, self.folder = predictor, folder
        self.messages: list[str] = []

    def run(self, *paths: Path, on_done: Callable[[str, int, int], None] = lambda *_: None, **options: Any) -> Outcome:
        request = Request(self.folder, CLASSES, **{"batch_size": 2, **options})
        sources = find_sources([str(path) for path in paths])
        return run_prediction(self.predictor, sources, request, PredictionProgress(on_done, self.messages.append))

    @property
    def detections(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads((self.folder / "detections.json").read_text())
        return found

    @property
    def names(self) -> list[str]:
        return [image["file_name"] for image in json.loads((self.folder / "images.json").read_text())["images"]]

    @property
    def pictures(self) -> list[str]:
        root = self.folder / "pictures"
        return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


@pytest.fixture
def outputs(predictor: Predictor, tmp_path: Path) -> Outputs:
    return Outputs(predictor, tmp_path / "found")


@pytest.fixture
def photos(tmp_path: Path, save_image: Save) -> Path:
    for name, size in (("a.png", (64, 48)), ("b/a.png", (30, 90)), ("c.png", (64, 48)), ("d.png", (64, 48))):
        save_image(tmp_path / "photos" / name, size)
    return tmp_path / "photos"


def test_each_image_has_results_and_a_picture_of_its_own(outputs: Outputs, photos: Path) -> None:
    assert outputs.run(photos) == Outcome(4, 20, 0)
    assert outputs.names == ["a.png", "b/a.png", "c.png", "d.png"]
    assert {item["image_id"] for item in outputs.detections} == {1, 2, 3, 4}
    assert outputs.pictures == ["a.png.jpg", "b/a.png.jpg", "c.png.jpg", "d.png.jpg"]


def test_a_second_run_predicts_the_same_files(predictor: Predictor, photos: Path) -> None:
    inside = Outputs(predictor, photos / "found")
    assert inside.run(photos) == inside.run(photos) == Outcome(4, 20, 0)


def test_pictures_of_the_users_own_are_not_mixed_with_ours(
    predictor: Predictor, photos: Path, save_image: Save
) -> None:
    save_image(photos / "pictures" / "own.png")
    with pytest.raises(ConfigError, match="has a folder pictures of its own; give another folder"):
        Outputs(predictor, photos).run(photos)
    assert not (photos / "detections.jsonl").exists()


def test_filters_hold_for_results_and_pictures(outputs: Outputs, photos: Path) -> None:
    outputs.run(photos)
    everything = outputs.detections
    middle = sorted(item["score"] for item in everything)[10]
    label = everything[0]["category_id"]
    outputs.run(photos, score=middle - 1e-6, labels=(label - 1,), pictures=False)
    expected = [item for item in everything if item["score"] >= middle - 1e-6 and item["category_id"] == label]
    assert len(outputs.detections) == len(expected) < len(everything)


def test_a_broken_image_is_reported_and_the_others_are_complete(outputs: Outputs, photos: Path) -> None:
    (photos / "aa.jpg").write_bytes(b"no image")
    assert outputs.run(photos, pictures=False) == Outcome(4, 20, 1)
    (message,) = outputs.messages
    assert "aa.jpg: is not a whole image (of no known kind)" in message
    assert outputs.names == ["a.png", "b/a.png", "c.png", "d.png"]


def test_an_interrupt_keeps_what_was_done(outputs: Outputs, photos: Path) -> None:
    def interrupt(unit: str, done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        outputs.run(photos, on_done=interrupt)
    assert len(outputs.names) == 2 and len(outputs.detections) == 10 and len(outputs.pictures) == 2


def test_a_picture_that_cannot_be_written_costs_no_detection(outputs: Outputs, photos: Path) -> None:
    outputs.folder.mkdir()
    (outputs.folder / "pictures").write_text("in the way")
    assert outputs.run(photos) == Outcome(4, 20, 4)
    assert all("could not be drawn" in message and "detections are kept" in message for message in outputs.messages)


def test_frames_of_a_video_are_results_and_an_annotated_video(outputs: Outputs, photos: Path, tmp_path: Path) -> None:
    with VideoWriter(photos / "clip.mp4", Fraction(10)) as writer:
        for index in range(5):
            writer.write(Image.new("RGB", (64, 48), (index * 20, 100, 30)), index / 10)
    calls: list[tuple[str, int, int]] = []
    outcome = outputs.run(photos / "clip.mp4", photos / "a.png", on_done=lambda *call: calls.append(call))
    assert outcome == Outcome(6, 30, 0)
    assert outputs.names == ["a.png", *(f"clip.mp4/{index:06d}" for index in range(5))]
    assert calls == [("images", 1, 1), *(("frames of clip.mp4", done, 5) for done in (2, 4, 5))]
    assert outputs.pictures == ["a.png.jpg", "clip.mp4.mp4"]


def test_the_frames_before_a_break_are_kept(outputs: Outputs, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with VideoWriter(photos / "clip.mp4", Fraction(10)) as writer:
        for index in range(5):
            writer.write(Image.new("RGB", (64, 48)), index / 10)
    whole = VideoReader.__iter__

    def broken(reader: VideoReader) -> Iterator[Frame]:
        yield from islice(whole(reader), 3)
        raise DataError("clip.mp4: cannot be read after frame 3")

    monkeypatch.setattr(VideoReader, "__iter__", broken)
    assert outputs.run(photos / "clip.mp4") == Outcome(3, 15, 1)
    assert outputs.messages == ["clip.mp4: cannot be read after frame 3"]
    assert outputs.pictures == ["clip.mp4.mp4"]


def test_a_broken_video_is_reported(outputs: Outputs, photos: Path) -> None:
    (photos / "clip.mp4").write_bytes(b"no video")
    assert outputs.run(photos / "clip.mp4", photos / "a.png") == Outcome(1, 5, 1)
    assert "clip.mp4: is not a video" in outputs.messages[0]
