"""COCO: which file is which split, where its images are, and what is kept."""

import gzip
import json
from pathlib import Path

import pytest

from fcos.errors import ConfigError, DataError
from fcos.formats.listing import list_folder
from fcos.formats.readers import coco, coco_files
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


def test_gzipped_files_are_known_by_all_of_their_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "result.json", "images", *(image(f"{number}.png", box()) for number in range(40)))
    text = (tmp_path / "result.json").read_bytes()
    (tmp_path / "result.json").rename(tmp_path / "result.json.gz")
    # Not zipped in spite of its name, in one member, and in several as bgzip writes them.
    for content in (text, gzip.compress(text), gzip.compress(text[:100]) + gzip.compress(text[100:])):
        (tmp_path / "result.json.gz").write_bytes(content)
        assert files(tmp_path) == {"all": "result.json.gz"}
        with monkeypatch.context() as patched:
            # The beginning has images alone.
            patched.setattr(coco_files, "_PARSED_BYTES", 400)
            assert files(tmp_path) == {"all": "result.json.gz"}


def test_a_large_file_is_known_by_its_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "large.json", "images", *(image(f"{number}.png", box()) for number in range(40)))
    monkeypatch.setattr(coco_files, "_PARSED_BYTES", 400)
    monkeypatch.setattr(coco_files, "_WINDOW_BYTES", 400)
    assert files(tmp_path) == {"all": "large.json"}


def test_crowds_areas_and_masks_are_kept(tmp_path: Path) -> None:
    crowd = LabelledBox(
        "dog", 1.0, 2.0, 3.0, 4.0, crowd=True, area=5.0, segmentation={"counts": [0, 9], "size": [3, 3]}
    )
    write(tmp_path, "result.json", "images", image("a.png", crowd))
    folder = coco.read(list_folder(tmp_path), {"all": coco_files.annotation_files(list_folder(tmp_path))[0]})
    assert folder.splits["all"][0].boxes == (crowd,)


def test_images_without_a_file_are_left_out_and_counted(tmp_path: Path) -> None:
    write(tmp_path, "result.json", "images", image("a.png", box()), image("b.png", box()))
    (tmp_path / "images" / "b.png").unlink()
    folder = coco.read(list_folder(tmp_path), {"all": coco_files.annotation_files(list_folder(tmp_path))[0]})
    assert [each.name for each in folder.splits["all"]] == ["images/a.png"]
    assert folder.notes == ("annotated images without a file are left out: 1 (b.png)",)


@pytest.mark.parametrize("content", ["[1]", "{", '{"images": [], "categories": []}', json.dumps({"shapes": []})])
def test_other_json_is_no_coco(tmp_path: Path, content: str) -> None:
    write_image(tmp_path / "a.png", 8, 8)
    (tmp_path / "x.json").write_text(content)
    assert coco.recognise(list_folder(tmp_path)) is None


TRUNCATED = '{"images": [{"id": 1, "file_name": "a.png", "width": 64, "hei'


@pytest.mark.parametrize("content", [TRUNCATED, "", '{\n "info": {'], ids=["images", "empty", "first lines"])
def test_a_file_that_was_cut_short_is_refused_beside_others(tmp_path: Path, content: str) -> None:
    write(tmp_path, "train/_annotations.coco.json", "train", image("a.png", box()))
    (tmp_path / "valid").mkdir()
    (tmp_path / "valid" / "_annotations.coco.json").write_text(content)
    message = r"valid/_annotations\.coco\.json: is (not JSON|empty).* move it out .* such as auto\.format=voc"
    with pytest.raises(DataError, match=message):
        files(tmp_path)


def test_a_file_that_was_cut_short_is_refused_where_it_is_the_only_one(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", 64, 48)
    (tmp_path / "labels.json").write_text(TRUNCATED)
    with pytest.raises(DataError, match=r"labels\.json: is not JSON .*; it could be annotations in COCO format"):
        coco.recognise(list_folder(tmp_path))


def test_a_large_file_that_was_cut_short_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "large.json", "images", *(image(f"{number}.png", box()) for number in range(40)))
    monkeypatch.setattr(coco_files, "_PARSED_BYTES", 400)
    monkeypatch.setattr(coco_files, "_WINDOW_BYTES", 400)
    (tmp_path / "large.json").write_bytes((tmp_path / "large.json").read_bytes()[:-50])
    with pytest.raises(DataError, match=r"large\.json: is not JSON"):
        files(tmp_path)


def test_a_zipped_file_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", 64, 48)
    text = coco_text([image("a.png", box())], CLASSES)
    (tmp_path / "labels.json.gz").write_bytes(gzip.compress(text.encode())[:-20])
    with pytest.raises(DataError, match=r"labels\.json\.gz: the gzip data are broken"):
        files(tmp_path)


NO_JSON = {
    "trailing comma": b'{"cat": 1, "dog": 2,}',
    "quotes of Python": b"{'cat': 1}",
    "comments": b'// classes\n{"cat": 1}',
    "UTF-16": '{"cat": 1}'.encode("utf-16"),
}


@pytest.mark.parametrize("content", NO_JSON.values(), ids=list(NO_JSON))
def test_a_whole_file_that_is_no_json_and_names_no_section_does_not_matter(tmp_path: Path, content: bytes) -> None:
    write(tmp_path, "result.json", "images", image("a.png", box()))
    (tmp_path / "classes.json").write_bytes(content)
    assert files(tmp_path) == {"all": "result.json"}


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_a_large_file_in_another_encoding_is_refused_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    write(tmp_path, "large.json", "images", *(image(f"{number}.png", box()) for number in range(40)))
    monkeypatch.setattr(coco_files, "_PARSED_BYTES", 400)
    monkeypatch.setattr(coco_files, "_WINDOW_BYTES", 800)
    (tmp_path / "large.json").write_bytes((tmp_path / "large.json").read_text().encode(encoding))
    listing = list_folder(tmp_path)
    with pytest.raises(DataError, match=r"large\.json: is UTF-16-.E text, .* iconv"):
        coco.read(listing, coco.choose_files(listing, {}))


def test_a_log_of_a_value_a_line_is_no_broken_file(tmp_path: Path) -> None:
    write(tmp_path, "result.json", "images", image("a.png", box()))
    (tmp_path / "metrics.json").write_text('{"loss": 2.0}\n{"loss": 1.0}\n')
    assert files(tmp_path) == {"all": "result.json"}


@pytest.mark.parametrize(
    ("present", "key", "other"),
    [("train", "data.val.annotations", "eval.json"), ("valid", "data.train.annotations", "all.json")],
)
def test_a_file_of_no_split_is_requested_by_name_where_a_split_has_none(
    tmp_path: Path, present: str, key: str, other: str
) -> None:
    for name in (f"{present}.json", other):
        write(tmp_path, name, "images", image("a.png", box()))
    message = rf"{key}: no file is called \w+, .* one of {other}; if so, give {key}={other}"
    with pytest.raises(ConfigError, match=message):
        files(tmp_path)
    split = key.split(".")[1]
    assert files(tmp_path, **{split: other})[split] == other
    assert "all" not in files(tmp_path, train=f"{present}.json")


def test_files_and_images_that_are_not_used_are_counted(tmp_path: Path) -> None:
    for name in ("train", "val", "extra"):
        write(tmp_path, f"{name}.json", "images", image(f"{name}.png", box()))
    listing = list_folder(tmp_path)
    notes = coco.read(listing, coco.choose_files(listing, {})).notes
    assert notes == (
        "further files in COCO format are left out: 1 (extra.json)",
        "images that no annotation file in use names are left out: 1 (images/extra.png)",
    )


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("A.PNG", "images that are named in another spelling than on disk are read: 1 ('A.PNG' as images/a.png)"),
        (
            "old/a.png",
            "images that are named with folders that are not there are found by the last part of the name: 1 "
            "('old/a.png' as images/a.png)",
        ),
    ],
)
def test_what_is_read_under_another_name_is_counted(tmp_path: Path, name: str, note: str) -> None:
    write_image(tmp_path / "images" / "a.png", 64, 48)
    (tmp_path / "result.json").write_text(coco_text([image(name, box())], CLASSES))
    listing = list_folder(tmp_path)
    folder = coco.read(listing, coco.choose_files(listing, {}))
    assert [each.name for each in folder.splits["all"]] == ["images/a.png"]
    assert folder.notes == (note,)


@pytest.mark.parametrize("missing", ["a.PNG", "a%2Epng", "old/a.png"])
def test_the_file_of_another_entry_is_never_read_for_a_missing_one(tmp_path: Path, missing: str) -> None:
    write(tmp_path, "result.json", "images", image("a.png", box()), image(missing, box("dog")))
    (tmp_path / "images" / missing).unlink()
    listing = list_folder(tmp_path)
    folder = coco.read(listing, coco.choose_files(listing, {}))
    assert [(each.name, each.boxes[0].label) for each in folder.splits["all"]] == [("images/a.png", "cat")]
    assert folder.notes == (f"annotated images without a file are left out: 1 ({missing})",)
