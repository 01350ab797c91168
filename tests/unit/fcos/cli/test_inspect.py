"""python -m fcos inspect: the summary, the page, and mistakes in one line."""

from pathlib import Path

import pytest

from fcos.__main__ import main
from tests.helpers.data.labelled_folders import box, image, write_folder

IMAGES = [image("train/a.png", box(), box("dog")), image("val/b.png", box("dog")), image("val/c.png")]


def test_a_folder_is_summed_up_and_its_page_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_folder(tmp_path / "photos", "yolo", IMAGES)
    page = tmp_path / "new" / "page.html"
    assert main(["inspect", str(root), f"data.cache_dir={tmp_path / 'cache'}", "--output", str(page)]) == 0
    shown = capsys.readouterr().out
    assert "train: 1 images of 64x48 px (median), 2 boxes, 2 an image (median; at most 2)" in shown
    assert "classes: 3 (dog 2, cat 1, red fox 0)" in shown
    assert "  warning: val: classes without a box in this split (1 of 3)" in shown
    assert "  note: val: images without boxes (1 of 2)" in shown
    assert f"train on it: python orchestration/train.py data=auto data.root={root}" in shown
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{folder}/nowhere"], "no such folder"),
        (["{folder}"], "holds no images"),
        (["data.root={folder}", "data.x=1"], "data.x=1: no word"),
        (["{folder}", "--output", "{folder}"], "is a folder; give the file of the page"),
    ],
)
def test_a_mistake_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(["inspect", *(word.format(folder=tmp_path) for word in words)]) == 2
    shown = capsys.readouterr()
    assert message in shown.err and shown.err.count("\n") == 1


def test_blood_cells_show_their_empty_boxes(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"data.{split}.annotations=annotations/instances_{split}_raw.json" for split in ("train", "val")]
    words += [f"data.cache_dir={tmp_path / 'cache'}", "data.limit_train=20", "data.limit_val=20"]
    assert main(["inspect", str(shared_data / "bccd"), *words, "--output", str(tmp_path / "page.html")]) == 0
    assert "train: 20 images of 640x480 px (median)" in capsys.readouterr().out
    assert (tmp_path / "page.html").stat().st_size < 5e6
