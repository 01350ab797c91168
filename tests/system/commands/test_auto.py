"""From a folder of labelled images to a detector by one line."""

from pathlib import Path

import pytest

from fcos.__main__ import main
from tests.helpers.data.labelled_folders import box, image, write_folder
from tests.helpers.experiments.sweeps import TRAIN, finished, trials_of

WORDS = [
    "data.root=photos",
    "data.cache_dir=cache",
    "model.fpn.channels=16",
    "model.head.num_convs=1",
    "schedule.steps=4",
    "name=detector",
]


@pytest.mark.slow(minutes=1)
def test_a_folder_of_photographs_trains_and_the_same_line_again_has_nothing_to_do(tmp_path: Path) -> None:
    images = [image(f"my {number}.JPG", box("cat"), box("dog", 30, 20, 20, 20)) for number in range(10)]
    write_folder(tmp_path / "photos", "voc", images)
    shown = finished(tmp_path, "data=auto", *WORDS, entry=TRAIN)
    assert "chosen, with the words that set it by hand:" in shown
    assert "auto.format=voc" in shown and "auto.val_fraction=0.2" in shown
    (trial,) = trials_of(tmp_path, "detector")
    finished(tmp_path, "data=auto", *WORDS, entry=TRAIN)
    assert trials_of(tmp_path, "detector") == [trial]
    assert main(["evaluate", str(trial), "--output", str(tmp_path / "metrics.json")]) == 0
    assert (tmp_path / "metrics.json").exists()
