"""COCO: which file is which split, where its images are, and what is kept."""

import gzip
import json
from pathlib import Path

import pytest

from fcos.errors import ConfigError
from fcos.formats.listing import list_folder
from fcos.formats.readers import coco
from fcos.formats.structures import LabelledBox, LabelledImage
from fcos.formats.write_coco import coco_text
from tests.helpers.data.labelled_folders import box, image, write_image

CLASSES = ("cat", "dog")


def write(root: Path, file: str, folder: str, *images: LabelledImage) -> None:
    """Write a COCO file, and its images into a folder."""
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(coco_text(images, CLASSES))
    for each in images:
        write_image(root / folder / each.name, each.width, each.height)


def files(root: Path, **given: str) -> dict[str, str]:
    return {split: str(file) for split, file in coco.choose_files(list_folder(root), given).items()}  # type: ignore[arg-type]


def test_cocos_own_layout(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write(tmp_path, f"annotations/instances_{split}2017.json", f"{split}2017", image(f"{split}.png", box()))
        write(tmp_path, f"annotations/person_keypoints_{split}2017.json", f"{split}2017", image(f"{split}.png", box()))
        (tmp_path / f"annotations/captions_{split}2017.json").write_text('{"images": [], "annotations": []}')
    chosen = coco.choose_files(list_folder(tmp_path), {})
    assert {split: file.name for split, file in chosen.items()} == {
        "train": "instances_train2017.json",
        "val": "instances_val2017.json",
    }
    folder = coco.read(list_folder(tmp_path), chosen)
    assert {split: images[0].name for split, images in folder.splits.items()} == {
        "train": "train2017/train.png",
        "val": "val2017/val.png",
    }


def test_roboflows_layout_with_a_file_in_each_folder(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        write(tmp_path, f"{split}/_annotations.coco.json", split, image("same.jpg", box()))
    (tmp_path / "README.dataset.txt").write_text("cats")
    folder = coco.read(list_folder(tmp_path), coco.choose_files(list_folder(tmp_path), {}))
    assert {split: images[0].name for split, images in folder.splits.items()} == {
        "train": "train/same.jpg",
        "val": "valid/same.jpg",
        "test": "test/same.jpg",
    }


def test_several_files_of_a_split_are_refused_with_the_key(tmp_path: Path) -> None:
    for name in ("instances_train", "instances_train_raw", "instances_val"):
        write(tmp_path, f"{name}.json", "images", image("a.png", box()))
    with pytest.raises(ConfigError) as caught:
        files(tmp_path)
    assert str(caught.value) == (
        "data.train.annotations: 2 files could hold the split train: instances_train.json, instances_train_raw.json; "
        "name one, such as data.train.annotations=instances_train.json"
    )
    assert files(tmp_path, train="instances_train.json") == {
        "train": "instances_train.json",
        "val": "instances_val.json",
    }
    absolute = str(tmp_path / "instances_train_raw.json")
    assert files(tmp_path, train=absolute)["train"] == "instances_train_raw.json"


def test_a_file_that_is_not_there_is_refused_with_near_matches(tmp_path: Path) -> None:
    write(tmp_path, "labels_train.json", "images", image("a.png", box()))
    with pytest.raises(
        ConfigError, match=r"data\.train\.annotations=label_train\.json: .* did you mean labels_train\.json"
    ):
        files(tmp_path, train="label_train.json")


def test_a_single_file_may_have_any_name_and_be_gzipped(tmp_path: Path) -> None:
    write(tmp_path, "result.json", "images", image("a.png", box()))
    text = (tmp_path / "result.json").read_bytes()
    (tmp_path / "result.json").unlink()
    (tmp_path / "result.json.gz").write_bytes(gzip.compress(text))
    assert files(tmp_path) == {"all": "result.json.gz"}


def test_a_large_file_is_known_by_its_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "large.json", "images", *(image(f"{number}.png", box()) for number in range(40)))
    monkeypatch.setattr(coco, "_PARSED_BYTES", 400)
    monkeypatch.setattr(coco, "_WINDOW_BYTES", 400)
    assert files(tmp_path) == {"all": "large.json"}


def test_crowds_areas_and_masks_are_kept(tmp_path: Path) -> None:
    crowd = LabelledBox(
        "dog", 1.0, 2.0, 3.0, 4.0, crowd=True, area=5.0, segmentation={"counts": [0, 9], "size": [3, 3]}
    )
    write(tmp_path, "result.json", "images", image("a.png", crowd))
    folder = coco.read(list_folder(tmp_path), {"all": coco.annotation_files(list_folder(tmp_path))[0]})
    assert folder.splits["all"][0].boxes == (crowd,)


def test_images_without_a_file_are_left_out_and_counted(tmp_path: Path) -> None:
    write(tmp_path, "result.json", "images", image("a.png", box()), image("b.png", box()))
    (tmp_path / "images" / "b.png").unlink()
    folder = coco.read(list_folder(tmp_path), {"all": coco.annotation_files(list_folder(tmp_path))[0]})
    assert [each.name for each in folder.splits["all"]] == ["images/a.png"]
    assert folder.notes == ("annotated images without a file are left out: 1 (b.png)",)


@pytest.mark.parametrize("content", ["[1]", "{", '{"images": [], "categories": []}', json.dumps({"shapes": []})])
def test_other_json_is_no_coco(tmp_path: Path, content: str) -> None:
    write_image(tmp_path / "a.png", 8, 8)
    (tmp_path / "x.json").write_text(content)
    assert coco.recognise(list_folder(tmp_path)) is None
