"""Preparing data: reading, checking, decoding, caching and their errors."""

import errno
import json
import os
import platform
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fcos.config.choices import Split
from fcos.config.run import DataConfig, SplitConfig, SyntheticConfig
from fcos.data.coco import make_dataset
from fcos.data.prepare import cache_folder, prepare
from fcos.errors import ConfigError, DataError
from fcos.storage.files import user_cache
from tests.helpers.data.coco_folders import coco


def edit(path: Path, change: Any) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_both_splits_are_read_and_decoded(root: Path) -> None:
    progress: list[tuple[str, int, int]] = []
    prepared = prepare(coco(root), progress=lambda *step: progress.append(step))
    assert prepared.classes == ("cat", "dog")
    assert (len(prepared.train.annotations), len(prepared.val.annotations)) == (5, 3)
    assert prepared.notes == ()
    assert ("decoding train images", 5, 5) in progress
    assert ("decoding val images", 3, 3) in progress
    sample = make_dataset(prepared, "val", coco(root), training=False, seed=0)[0, 2]
    assert sample.name == "2.png"
    assert sample.boxes.tolist() == [[1, 2, 11, 12]]


def test_images_are_not_decoded_again_until_one_changes(root: Path) -> None:
    prepare(coco(root))
    progress: list[str] = []
    prepare(coco(root), progress=lambda work, done, total: progress.append(work))
    assert progress == []
    (root / "train" / "3.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"1 of 5 train images cannot be used: .*3\.png: is not a whole image"):
        prepare(coco(root))


def test_digest_depends_on_annotations_and_files_only(root: Path) -> None:
    first = prepare(coco(root)).digest
    assert prepare(coco(root, flip=0.0, cache_dir=str(root.parent / "other"))).digest == first
    edit(root / "val.json", lambda content: content["annotations"][0].update(bbox=[1, 2, 11, 10]))
    second = prepare(coco(root)).digest
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)).save(
        root / "train" / "0.png"
    )
    third = prepare(coco(root)).digest
    assert len({first, second, third}) == 3


def test_digest_does_not_depend_on_the_data_folder(root: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    first = prepare(coco(root)).digest
    root.rename(moved)
    assert prepare(coco(moved)).digest == first


@pytest.mark.parametrize("break_image", ["missing", "truncated", "resized"])
def test_bad_image_stops_or_is_left_out_and_named(root: Path, break_image: str) -> None:
    path = root / "train" / "1.png"
    match break_image:
        case "missing":
            path.unlink()
        case "truncated":
            path.write_bytes(path.read_bytes()[:50])
        case "resized":
            Image.new("RGB", (20, 30)).save(path)
    with pytest.raises(DataError, match=r"1\.png") as error:
        prepare(coco(root))
    assert "data.on_bad_image=skip" in str(error.value)
    prepared = prepare(coco(root, on_bad_image="skip"))
    assert prepared.train.annotations.names == ("0.png", "2.png", "3.png", "4.png")
    (note,) = prepared.notes
    assert note.startswith("1 of 5 train images cannot be used and are left out: ")
    assert "1.png" in note


def test_a_missing_image_is_not_read_from_the_file_of_another_one(root: Path) -> None:
    (root / "train" / "1.png").unlink()
    edit(root / "train.json", lambda content: content["images"][1].update(file_name="%32.png"))
    with pytest.raises(DataError, match=r"1 of 5 train images cannot be used: \S*%32\.png: no such image file\. "):
        prepare(coco(root))


def test_skipping_every_image_is_an_error(root: Path) -> None:
    for path in (root / "val").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="3 of 3 val images cannot be used, which leaves none"):
        prepare(coco(root, on_bad_image="skip"))


def test_limits_take_the_first_images_by_id(root: Path) -> None:
    (root / "train" / "4.png").unlink()
    prepared = prepare(coco(root, limit_train=2, limit_val=1))
    assert prepared.train.annotations.image_ids.tolist() == [1, 2]
    assert prepared.val.annotations.image_ids.tolist() == [1]


def test_splits_must_have_the_same_categories(root: Path) -> None:
    edit(root / "val.json", lambda content: content["categories"][1].update(name="bird"))
    with pytest.raises(DataError, match=r"same categories; only train\.json has 'dog', only val\.json has 'bird'"):
        prepare(coco(root))


def test_splits_that_number_their_categories_otherwise_are_matched_by_name(root: Path) -> None:
    def renumber(content: Any) -> None:
        content["categories"] = [{"id": 0, "name": "dog"}, {"id": 1, "name": "cat"}]
        for entry, category in zip(content["annotations"], (0, 1, 0), strict=True):
            entry["category_id"] = category

    edit(root / "val.json", renumber)
    prepared = prepare(coco(root))
    assert prepared.classes == prepared.val.annotations.classes == ("cat", "dog")
    assert prepared.val.annotations.labels.tolist() == [1, 0, 1]
    assert prepared.val.annotations.category_ids == (1, 0)
    assert [note for note in prepared.notes if "matched by name" in note] == list(prepared.notes)
    assert prepared.notes[0].startswith("val.json: ")


def test_labels_follow_the_requested_classes(root: Path) -> None:
    own = prepare(coco(root), splits=["val"])
    prepared = prepare(coco(root), splits=["val"], classes=("dog", "cat"))
    assert prepared.classes == prepared.val.annotations.classes == ("dog", "cat")
    assert (prepared.val.annotations.labels == 1 - own.val.annotations.labels).all()
    assert prepare(coco(root), splits=["val"], classes=("dog", "bird")).classes == ("cat", "dog")


@pytest.mark.parametrize("split", ["train", "val"])
def test_split_without_a_box_is_an_error(root: Path, split: str) -> None:
    edit(root / f"{split}.json", lambda content: content.update(annotations=[]))
    with pytest.raises(DataError, match=rf"{split}\.json: the \d images in use have no box at all"):
        prepare(coco(root))


@pytest.mark.parametrize("split", ["train", "val"])
def test_split_of_crowds_alone_is_refused_before_images_are_read(root: Path, split: str) -> None:
    def crowds(content: Any) -> None:
        for entry in content["annotations"]:
            entry["iscrowd"] = 1

    edit(root / f"{split}.json", crowds)
    progress: list[str] = []
    with pytest.raises(DataError, match=r"no box to train on .* with iscrowd=1; data\.crowds=objects takes those"):
        prepare(coco(root), progress=lambda work, done, total: progress.append(work))
    assert progress == []
    prepared = prepare(coco(root, crowds="objects"))
    assert all(item.annotations.trainable.all() for item in prepared.splits.values())
    assert sum("are objects like all others" in note for note in prepared.notes) == 1


def test_boxes_in_fractions_are_refused(root: Path) -> None:
    edit(root / "val.json", lambda content: [entry.update(bbox=[0, 0.1, 0.5, 0.4]) for entry in content["annotations"]])
    with pytest.raises(DataError, match=r"val\.json: all 3 boxes lie within the unit square"):
        prepare(coco(root))


@pytest.mark.parametrize("cache_gb", [0.0, 1.0])
def test_frames_that_are_not_read_are_counted_in_every_run(root: Path, cache_gb: float) -> None:
    for index in (0, 3):
        frames = [Image.new("RGB", (30, 20), (shade + index, 0, 0)) for shade in (10, 90, 200)]
        frames[0].save(root / "train" / f"{index}.gif", save_all=True, append_images=frames[1:])
    edit(root / "train.json", lambda content: [content["images"][i].update(file_name=f"{i}.gif") for i in (0, 3)])
    for _ in range(2):
        prepared = prepare(coco(root, cache_gb=cache_gb))
        (note,) = prepared.notes
        assert note.startswith("train: 2 of 5 images (0.gif, 3.gif) are animated or have several pages")
    dataset = make_dataset(prepared, "train", coco(root), training=False, seed=0)
    assert int(dataset[0, 0].image[0].max()) < 50


@pytest.mark.parametrize("cache_gb", [0.0, 1.0])
def test_orientations_are_counted_in_every_run_and_applied_on_request(root: Path, cache_gb: float) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    half = np.zeros((20, 30, 3), dtype=np.uint8)
    half[:10] = 200
    Image.fromarray(half).save(root / "train" / "1.png", exif=exif)
    top: dict[str, int] = {}
    for rule in ("ignore", "apply"):
        config = coco(root, cache_gb=cache_gb, exif_orientation=rule, flip=0.0)
        first, second = prepare(config), prepare(config)
        (note,) = first.notes
        assert second.notes == first.notes and note.startswith("train: 1 of 5 images (1.png)")
        assert ("not applied" in note) is (rule == "ignore") and "data.exif_orientation=apply" in note
        assert (first.train.decoded is None) is (cache_gb == 0)
        for training in (True, False):
            top[rule] = int(make_dataset(first, "train", config, training=training, seed=0)[0, 1].image[0, 0, 0])
            assert top[rule] == (200 if rule == "ignore" else 0)


def test_an_orientation_is_counted_beside_images_that_do_not_open(root: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.new("RGB", (30, 20)).save(root / "train" / "4.png", exif=exif)
    (root / "train" / "1.png").write_bytes(b"no image")
    for cache_gb in (0.0, 1.0):
        left_out, turned = prepare(coco(root, on_bad_image="skip", cache_gb=cache_gb)).notes
        assert "left out" in left_out and "images (4.png) have an EXIF orientation" in turned


def test_an_image_above_the_limit_is_refused_naming_the_setting(root: Path) -> None:
    assert prepare(coco(root, max_megapixels=0.0006)).notes == ()
    with pytest.raises(DataError, match=r"5 of 5 train images .*data\.max_megapixels=0\.0005 allows"):
        prepare(coco(root, max_megapixels=0.0005))


def test_images_under_another_spelling_are_read_and_noted(root: Path) -> None:
    (root / "val" / "my photo.png").write_bytes((root / "val" / "0.png").read_bytes())
    (root / "val" / "0.png").unlink()
    edit(root / "val.json", lambda content: content["images"][0].update(file_name="my%20photo.png"))
    prepared = prepare(coco(root))
    assert prepared.val.annotations.names[0] == "my photo.png"
    assert prepared.notes == (
        "val: 1 image is read under another spelling of the name: 'my%20photo.png' as 'my photo.png'",
    )


def test_a_missing_image_is_named_with_the_spellings_that_were_tried(root: Path) -> None:
    edit(root / "val.json", lambda content: content["images"][0].update(file_name="sub\\my%20photo.png"))
    with pytest.raises(DataError) as error:
        prepare(coco(root))
    tried = "(nor 'sub\\\\my photo.png' or 'sub/my%20photo.png' or 'sub/my photo.png')"
    assert f"my%20photo.png: no such image file {tried}. data.on_bad_image=skip" in str(error.value)


def test_images_that_are_trained_and_evaluated_on_are_a_warning(root: Path) -> None:
    (root / "val" / "1.png").write_bytes((root / "train" / "3.png").read_bytes())
    (note,) = prepare(coco(root)).notes
    assert note.startswith("warning: 1 of 3 val images are train images too, by content: val 1.png = train 3.png;")
    assert prepare(coco(root), splits=["val"]).notes == ()
    assert prepare(coco(root, limit_train=2)).notes == ()


def test_validation_without_categories_is_refused_as_such(root: Path) -> None:
    edit(root / "val.json", lambda content: content.update(categories=[], annotations=[]))
    with pytest.raises(DataError, match=r"val\.json: section 'categories' is empty"):
        prepare(coco(root))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"root": "/nowhere"}, "data.root=/nowhere: no such folder"),
        (
            {"train": SplitConfig(annotations="train.json", images="pics")},
            "data.train.images=pics: no such folder",
        ),
        ({"val": SplitConfig(annotations="none.json", images="val")}, "none.json: no such annotation file"),
    ],
)
def test_wrong_path_is_an_error_that_names_key_and_machine(root: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError) as error:
        prepare(coco(root, **changes))
    assert f"{message} on {platform.node()}" in str(error.value)


def test_cache_that_cannot_be_written_is_an_error_that_names_it(root: Path) -> None:
    (root / "file").write_text("")
    with pytest.raises(DataError, match=r"data\.cache_dir=.*file"):
        prepare(coco(root, cache_dir=str(root / "file")))


def test_synthetic_data_are_prepared_like_files(tmp_path: Path) -> None:
    synthetic = SyntheticConfig(image_size=48, train_images=4, val_images=2, object_size=(8.0, 20.0))
    config = DataConfig(name="synthetic", synthetic=synthetic, cache_dir=str(tmp_path))
    progress: list[str] = []
    prepared = prepare(config, progress=lambda work, done, total: progress.append(work))
    assert progress[0] == "drawing images"
    assert (len(prepared.train.annotations), len(prepared.val.annotations)) == (4, 2)
    assert len(prepared.classes) == 5
    assert make_dataset(prepared, "train", config, training=True, seed=0)[0, 3].image.shape == (3, 48, 48)
    assert prepare(config).digest == prepared.digest


def test_the_box_convention_applies_to_samples(root: Path) -> None:
    prepared = prepare(coco(root), box_convention="inclusive")
    sample = make_dataset(prepared, "train", coco(root, flip=0.0), training=True, seed=0)[0, 0]
    assert sample.boxes.tolist() == [[1, 2, 10, 11]]


def test_coco_tiny_is_accepted_whole(shared_data: Path, tmp_path: Path) -> None:
    config = coco(
        shared_data / "coco_tiny",
        train=SplitConfig(annotations="annotations/instances_train2017.json", images="train2017"),
        val=SplitConfig(annotations="annotations/instances_val2017.json", images="val2017"),
        cache_dir=str(tmp_path),
    )
    prepared = prepare(config)
    assert (len(prepared.train.annotations), len(prepared.val.annotations)) == (128, 80)
    assert len(prepared.classes) == 80
    assert [note.split(":")[0] for note in prepared.notes] == [
        "instances_train2017.json",
        "instances_val2017.json",
    ]
    assert all("have iscrowd=1" in note for note in prepared.notes)


def test_bccd_raw_notes_its_zero_size_boxes(shared_data: Path, tmp_path: Path) -> None:
    config = coco(
        shared_data / "bccd",
        train=SplitConfig(annotations="annotations/instances_train_raw.json", images="images"),
        val=SplitConfig(annotations="annotations/instances_val_raw.json", images="images"),
        cache_dir=str(tmp_path),
    )
    prepared = prepare(config)
    assert [note.split(" (")[0] for note in prepared.notes] == [
        "instances_train_raw.json: 1 box of zero size, counted in evaluation and not trained on",
        "instances_val_raw.json: 1 box of zero size, counted in evaluation and not trained on",
    ]


def test_samples_from_decoded_images_equal_those_from_files(root: Path) -> None:
    """Images are decoded at the size of the samples where it is fixed, else at their own size."""
    for sides in (None, (32,), (32, 48)):
        sizes: dict[str, Any] = {} if sides is None else {"short_sides": sides, "long_side": 96}
        uncached, cached = coco(root, cache_gb=0.0, **sizes), coco(root, **sizes)
        splits: dict[Split, bool] = {"train": True, "val": False}
        for split, training in splits.items():
            expected = make_dataset(prepare(uncached), split, uncached, training=training, seed=3)
            dataset = make_dataset(prepare(cached), split, cached, training=training, seed=3)
            assert expected.decoded is None
            assert dataset.decoded is not None
            for key in ((epoch, index) for epoch in range(3) for index in range(3)):
                assert dataset[key].size == expected[key].size
                assert (dataset[key].image == expected[key].image).all()
                assert (dataset[key].boxes == expected[key].boxes).all()


def test_images_that_do_not_open_are_left_out_of_the_decoded_ones(root: Path) -> None:
    (root / "train" / "1.png").write_bytes(b"no image")
    prepared = prepare(coco(root, on_bad_image="skip"))
    assert prepared.train.decoded is not None
    assert len(prepared.train.decoded.sizes) == len(prepared.train.annotations) == 4
    sample = make_dataset(prepared, "train", coco(root, flip=0.0), training=True, seed=0)[0, 1]
    assert (sample.name, int(sample.image[0, 0, 0])) == ("2.png", 20)


def test_splits_that_are_not_requested_are_not_read(root: Path) -> None:
    both = prepare(coco(root))
    (root / "train.json").unlink()
    shutil.rmtree(root / "train")
    progress: list[str] = []
    config = coco(root, cache_gb=0.0, cache_dir=str(root.parent / "other"))
    val_only = prepare(config, splits=["val"], progress=lambda work, done, total: progress.append(work))
    assert list(val_only.splits) == ["val"] and val_only.classes == both.classes
    assert set(progress) == {"checking val images"}
    assert make_dataset(val_only, "val", config, training=False, seed=0)[0, 2].image_id == 3
    with pytest.raises(DataError, match=r"data\.train\.images=train: no such folder"):
        prepare(config, splits=["train"])


@pytest.mark.parametrize("cache_gb", [0.0, 1.0])
def test_a_complete_cache_of_another_user_is_used(root: Path, monkeypatch, cache_gb: float) -> None:
    config = coco(root, cache_gb=cache_gb)
    expected = prepare(config)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    for owner, name in ((os, "utime"), (os, "open"), (Path, "touch"), (Path, "mkdir"), (os, "mkdir"), (Path, "unlink")):
        monkeypatch.setattr(owner, name, refuse)
    prepared = prepare(config)
    assert prepared.digest == expected.digest and (prepared.train.decoded is None) is (cache_gb == 0)
    with pytest.raises(DataError, match=r"data\.cache_dir=.*: cannot be written \(Permission denied\)"):
        prepare(coco(root, cache_gb=cache_gb, limit_train=2))


def test_a_user_without_a_home_needs_a_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def no_home(_: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", no_home)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    config = DataConfig(name="synthetic", synthetic=SyntheticConfig())
    with pytest.raises(ConfigError, match=r"data\.cache_dir=null: .* no home folder; give data\.cache_dir="):
        cache_folder(config)
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    with pytest.raises(ConfigError, match="no home folder"):
        cache_folder(config)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder(config) == tmp_path / "fcos-lab"


def test_a_home_folder_is_needed_only_without_a_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert user_cache() == tmp_path / "fcos-lab"
