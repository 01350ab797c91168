"""The rules by which data=auto chooses: input size, levels, steps."""

from dataclasses import replace
from pathlib import Path

import pytest

from fcos.annotations.annotations import Annotations, read_annotations
from fcos.config.model_parts import AssignmentConfig
from fcos.config.run import CoverageConfig
from fcos.formats.write_coco import coco_text
from orchestration.config import folder_choices
from orchestration.config.start import START as CHOSEN
from tests.helpers.data.labelled_folders import box, image

START = replace(CHOSEN, epochs=60, megapixels_per_second=1.5)


def annotations(folder: Path, side: float, width: int = 640, height: int = 480) -> Annotations:
    images = [image(f"{n}.jpg", box("cat", 5, 5, side, side), width=width, height=height) for n in range(4)]
    (folder / "a.json").write_text(coco_text(images, ("cat",)))
    return read_annotations(folder / "a.json")


@pytest.mark.parametrize(
    ("side", "size", "on_gpu", "short_side", "long_side"),
    [
        (60, (640, 480), False, 320, 448),
        (12, (640, 480), False, 384, 512),
        (12, (640, 480), True, 640, 864),
        (4, (640, 480), True, 960, 1280),
        (60, (320, 240), False, 256, 352),
        (12, (320, 240), False, 320, 448),
        (4, (320, 240), False, 384, 512),
        (100, (4000, 3000), True, 480, 640),
        (10, (4000, 3000), True, 992, 1344),
        (20, (90, 60), False, 64, 96),
        (20, (200, 4000), False, 32, 128),
    ],
)
def test_the_input_is_as_small_as_the_small_boxes_allow(
    tmp_path: Path, side: float, size: tuple[int, int], on_gpu: bool, short_side: int, long_side: int
) -> None:
    choice = folder_choices.input_size(annotations(tmp_path, side, *size), on_gpu)
    assert choice.values == {"data.short_sides": [short_side], "data.long_side": long_side}


def test_small_boxes_that_the_device_does_not_support_are_reported(tmp_path: Path) -> None:
    assert (
        "which becomes 10 px at the input; 16 px would be better, but more than 512 px is much for this device"
        in folder_choices.input_size(annotations(tmp_path, 12), on_gpu=False).reason
    )


def test_images_are_enlarged_for_small_boxes_twice_at_most(tmp_path: Path) -> None:
    assert "which becomes 9 px at the input; 16 px would be better, but enlarged further they show no more" in (
        folder_choices.input_size(annotations(tmp_path, 4, 160, 120), on_gpu=False).reason
    )


@pytest.mark.parametrize(
    ("minutes", "short_side", "long_side"), [(None, 384, 512), (8, 384, 512), (3, 320, 448), (1, 256, 352)]
)
def test_a_processor_enlarges_as_far_as_most_of_the_steps_are_left(
    tmp_path: Path, minutes: float | None, short_side: int, long_side: int
) -> None:
    time = None if minutes is None else folder_choices.TimeBound(START, 40, 4, minutes)
    train = annotations(tmp_path, 8, 320, 240)
    choice = folder_choices.input_size(train, False, time)
    assert choice.values == {"data.short_sides": [short_side], "data.long_side": long_side}
    limited = "16 px would be better, but a larger input leaves less than 75% of the wanted steps (auto.minutes)"
    assert (limited in choice.reason) == (short_side < 384)
    pixels = folder_choices.input_pixels(train, (short_side, long_side))
    chosen = folder_choices.steps(40, 4, pixels, START, minutes).values["schedule.steps"]
    # Two digits of it.
    assert chosen >= 440 or short_side == 256, "what is not enlarged has as many steps as there is time for"


@pytest.mark.parametrize("side", [60, 12])
def test_an_input_that_is_not_enlarged_is_the_same_however_few_minutes_there_are(tmp_path: Path, side: float) -> None:
    train = annotations(tmp_path, side)
    time = folder_choices.TimeBound(START, 400, 8, 0.01)
    assert folder_choices.input_size(train, False, time) == folder_choices.input_size(train, False)


@pytest.mark.parametrize(("on_gpu", "long_side"), [(False, 512), (True, 1280)])
def test_a_few_long_images_do_not_make_the_input_longer_than_the_device_bears(
    tmp_path: Path, on_gpu: bool, long_side: int
) -> None:
    sizes = ((640, 480), (640, 480), (640, 480), (1600, 400))
    images = [
        image(f"{n}.jpg", box("cat", 5, 5, 60, 60), width=width, height=height)
        for n, (width, height) in enumerate(sizes)
    ]
    (tmp_path / "a.json").write_text(coco_text(images, ("cat",)))
    choice = folder_choices.input_size(read_annotations(tmp_path / "a.json"), on_gpu)
    assert choice.values == {"data.short_sides": [320], "data.long_side": long_side}


OWN = folder_choices.LevelSettings(
    (3, 4, 5), AssignmentConfig(ranges=((0, 64), (64, 128), (128, None))), CoverageConfig()
)


def test_ranges_of_the_model_stay_where_they_find_the_boxes(tmp_path: Path) -> None:
    choice = folder_choices.levels_and_ranges(annotations(tmp_path, 200), (480, 640), OWN)
    assert choice.values == {
        "model.levels": [3, 4, 5],
        "model.assignment.ranges": [[0, 64], [64, 128], [128, None]],
    }
    assert "the model's own fit the boxes: 100.0% of them can be found" in choice.reason


def test_ranges_that_lose_boxes_stay_where_none_find_more(tmp_path: Path) -> None:
    choice = folder_choices.levels_and_ranges(annotations(tmp_path, 4), (480, 640), OWN)
    assert choice.values["model.levels"] == [3, 4, 5]
    assert "none that were tried find more boxes than the model's own: 0.0% of them can be found" in choice.reason


def test_ranges_are_searched_where_those_of_the_model_lose_boxes(tmp_path: Path) -> None:
    narrow = replace(OWN, assignment=AssignmentConfig(ranges=((200, 210), (210, 220), (220, 230))))
    choice = folder_choices.levels_and_ranges(annotations(tmp_path, 60), (480, 640), narrow)
    assert choice.values["model.assignment.ranges"][-1][1] is None
    assert "the model's own lose 100.0% of the boxes, searched ranges fewer: 100.0% of them can be found" in (
        choice.reason
    )


@pytest.mark.parametrize(
    ("images", "minutes", "expected", "reason"),
    [
        (200, None, 3000, "60 passes over 200 images are 3000 steps of 4"),
        (200, 8, 2400, "cut to what two CPU cores do in about 8 minutes"),
        (4, None, 600, "no fewer than 600"),
        (4, 1, 300, "no fewer than 600; cut to what two CPU cores do in about 1 minutes"),
        (200, 0.01, 200, "do in about 0.01 minutes (auto.minutes), but no fewer than 200"),
        (100_000, None, 40_000, "no more than 40000"),
    ],
)
def test_steps_are_passes_over_the_images_within_bounds(
    images: int, minutes: float | None, expected: int, reason: str
) -> None:
    choice = folder_choices.steps(images, 4, 75_000.0, START, minutes)
    assert choice.values == {"schedule.steps": expected}
    assert reason in choice.reason


def test_intervals_that_are_given_stay() -> None:
    choice = folder_choices.intervals(30, 250, {"schedule.warmup_steps"})
    assert choice is not None
    assert choice.values == {"schedule.eval_every": 15, "schedule.checkpoint_every": 8}
    keys = {f"schedule.{name}" for name in ("warmup_steps", "eval_every", "checkpoint_every")}
    assert folder_choices.intervals(30, 250, keys) is None


def test_a_batch_is_never_larger_than_the_data() -> None:
    assert folder_choices.batch_size(3, 4).values == {"schedule.batch_size": 3}
    for usual in (4, 8):
        assert folder_choices.batch_size(300, usual).values == {"schedule.batch_size": usual}


def test_pixels_of_the_input_follow_the_resized_size(tmp_path: Path) -> None:
    data = annotations(tmp_path, 60)
    assert folder_choices.input_pixels(data, (240, 320)) == 240 * 320
    assert folder_choices.input_pixels(data, None) == 480 * 640
