"""python -m fcos convert: what is written, and what is refused with one line."""

import json
from pathlib import Path

import pytest
from PIL import Image

from fcos.__main__ import main
from fcos.config.run import DataConfig, SplitConfig
from fcos.data.prepare import prepare
from tests.helpers.data.labelled_folders import box, image, write_coco, write_folder, write_labelme

IMAGES = [image("train/a b.png", box()), image("valid/ü.JPG", box("dog")), image("test/c.png", box("dog"))]


def test_a_folder_becomes_a_file_for_each_split_that_data_coco_reads(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, out = write_folder(tmp_path / "my photos", "yolo", IMAGES), tmp_path / "out"
    assert main(["convert", str(root), "--output", str(out)]) == 0
    assert sorted(file.name for file in out.iterdir()) == ["test.json", "train.json", "val.json"]
    shown = capsys.readouterr().out
    assert "splits: the folder's own splits; not used: test (1 images)" in shown
    assert f"written: {out / 'train.json'}, 1 images, 1 boxes, 3 classes" in shown
    assert f"data=coco 'data.root={root}' data.train.annotations={out / 'train.json'} data.train.images=." in shown
    splits = {name: SplitConfig(annotations=str(out / f"{name}.json"), images=".") for name in ("train", "val")}
    data = prepare(DataConfig(name="coco", root=str(root), cache_dir=str(tmp_path / "cache"), **splits))
    assert data.val.annotations.names == ("valid/ü.JPG",)


def test_nothing_is_overwritten_without_the_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, out = write_folder(tmp_path / "photos", "voc", IMAGES), tmp_path / "out"
    out.mkdir()
    (out / "val.json").write_text("mine")
    command = ["convert", str(root), "--output", str(out)]
    assert main(command) == 2
    assert "val.json: would be overwritten; give --overwrite" in capsys.readouterr().err
    assert [file.name for file in out.iterdir()] == ["val.json"]
    assert main([*command, "--overwrite"]) == 0
    assert len(json.loads((out / "val.json").read_text())["images"]) == 1


def test_what_is_ambiguous_is_requested_as_an_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = [image("a.png", box()), image("b.png", box())]
    root = write_folder(tmp_path / "photos", "voc", images)
    write_labelme(root, images)
    command = ["convert", str(root), "--output", str(tmp_path / "out")]
    assert main(command) == 2
    assert "choose --format=voc or --format=labelme" in capsys.readouterr().err
    assert main([*command, "--format", "voc", "--val-fraction", "0.5"]) == 0


def test_a_coco_file_is_named_by_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = [image("a.png", box()), image("b.png", box())]
    root = write_folder(tmp_path / "photos", "coco", images)
    (root / "annotations.json").rename(root / "one.json")
    write_coco(root, images[:1])
    command = ["convert", str(root), "--output", str(tmp_path / "out")]
    assert main(command) == 2
    assert "name one, such as --train=annotations.json" in capsys.readouterr().err
    assert main([*command, "--train", "one.json"]) == 0


@pytest.mark.parametrize("fraction", ["0", "1", "much"])
def test_a_fraction_lies_between_0_and_1(fraction: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main(["convert", str(tmp_path), "--output", "x", "--val-fraction", fraction])


def test_what_was_left_out_is_noted_where_the_files_are_trained_on(tmp_path: Path) -> None:
    root, out = write_folder(tmp_path / "photos", "voc", [*IMAGES, image("train/d.png", box())]), tmp_path / "out"
    (root / "train" / "d.xml").unlink()
    command = ["convert", str(root), "--output", str(out)]
    assert main(command) == 0
    splits = {name: SplitConfig(annotations=str(out / f"{name}.json"), images=".") for name in ("train", "val")}
    data = DataConfig(name="coco", root=str(root), cache_dir=str(tmp_path / "cache"), **splits)
    note = "images without an annotation file are left out: 1 (train/d.png)"
    assert note in prepare(data).notes
    (root / "train" / "d.png").unlink()
    assert main([*command, "--overwrite"]) == 0
    assert note not in prepare(data).notes


def test_the_sizes_of_turned_images_are_written_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, out = write_folder(tmp_path / "photos", "yolo", IMAGES), tmp_path / "out"
    exif = Image.Exif()
    exif[0x0112] = 8
    for each in IMAGES:
        Image.new("RGB", (64, 48)).save(root / each.name, "JPEG", exif=exif)
    assert main(["convert", str(root), "--output", str(out), "--exif-orientation", "apply"]) == 0
    (written,) = json.loads((out / "train.json").read_text())["images"]
    assert (written["width"], written["height"]) == (48, 64)
    assert "data.exif_orientation=apply" in capsys.readouterr().out
