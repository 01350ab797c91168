"""A folder goes on as COCO files: its own where they serve, else converted once into the cache."""

from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from PIL import Image

from fcos.annotations.annotations import read_annotations
from fcos.config.choices import SPLITS, Split
from fcos.config.run import DataConfig, SplitConfig
from fcos.data.prepare import prepare
from fcos.errors import DataError
from fcos.formats import as_coco
from fcos.formats.as_coco import CocoFolder, FolderSettings, folder_as_coco
from fcos.formats.listing import Listing
from fcos.formats.write_coco import coco_text
from fcos.storage.reading import read_digest
from tests.helpers.data.coco_folders import write_split
from tests.helpers.data.labelled_folders import box, image, write_folder, write_image

SPLIT = [image("train/a b.png", box()), image("train/ü.JPG", box("dog")), image("valid/c.png", box("dog"))]


def data_of(folder: CocoFolder, cache: Path, **changes: Any) -> DataConfig:
    splits = {name: SplitConfig(**getattr(folder, name).model_dump()) for name in ("train", "val")}
    return DataConfig(name="coco", root=folder.root, cache_dir=str(cache), **splits, **changes)


def test_a_converted_folder_is_read_like_any_other_and_its_images_stay(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "photos", "voc", SPLIT)
    before = sorted(root.rglob("*"))
    folder = folder_as_coco(root, FolderSettings(), tmp_path / "cache")
    assert folder.converted and folder.format == "voc"
    data = prepare(data_of(folder, tmp_path / "cache"))
    assert data.classes == ("cat", "dog")
    assert data.train.annotations.names == ("train/a b.png", "train/ü.JPG")
    assert data.val.annotations.xywh.tolist() == [[2, 3, 10, 12]]
    assert sorted(root.rglob("*")) == before


def test_the_digest_does_not_depend_on_where_the_folder_lies(tmp_path: Path) -> None:
    digests = []
    for name in ("here", "there"):
        root = write_folder(tmp_path / name / "photos", "yolo", SPLIT)
        folder = folder_as_coco(root, FolderSettings(), tmp_path / name / "cache")
        data = data_of(folder, tmp_path / name / "cache")
        digests.append((prepare(data).digest, data.model_dump(exclude={"root", "cache_dir"})))
    assert digests[0] == digests[1]


def test_a_conversion_is_done_once_and_again_when_an_annotation_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, cache = write_folder(tmp_path / "photos", "yolo", SPLIT), tmp_path / "cache"
    first = folder_as_coco(root, FolderSettings(), cache)
    with monkeypatch.context() as patched:
        patched.setattr(as_coco, "read_folder", lambda *_: pytest.fail("read again"))
        assert folder_as_coco(root, FolderSettings(), cache) == first
    (root / "train" / "a b.txt").write_text("")
    second = folder_as_coco(root, FolderSettings(), cache)
    assert second.root != first.root
    assert len(read_annotations(Path(second.root) / "train.json").boxes) == 1


def test_a_damaged_conversion_is_made_again(tmp_path: Path) -> None:
    root, cache = write_folder(tmp_path / "photos", "yolo", SPLIT), tmp_path / "cache"
    folder = folder_as_coco(root, FolderSettings(), cache)
    (Path(folder.root) / as_coco.OUTCOME).write_text("{")
    assert folder_as_coco(root, FolderSettings(), cache) == folder
    assert [each.name for each in (cache / as_coco.CACHE_FOLDER).iterdir()] == [Path(folder.root).name]


def test_coco_files_that_serve_are_used_as_they_are(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_split(tmp_path / "data", split, 3, {2: "cat", 8: "dog"})
    folder = folder_as_coco(tmp_path / "data", FolderSettings(), tmp_path / "cache")
    assert not folder.converted and folder.root == str(tmp_path / "data")
    assert (folder.train.annotations, folder.train.images) == ("train.json", "train")
    assert not (tmp_path / "cache" / as_coco.CACHE_FOLDER).exists()


def test_categories_of_other_ids_become_the_same_by_name(tmp_path: Path) -> None:
    write_split(tmp_path / "data", "train", 3, {1: "cat", 2: "dog"})
    write_split(tmp_path / "data", "val", 3, {1: "dog", 2: "cat"})
    folder = folder_as_coco(tmp_path / "data", FolderSettings(), tmp_path / "cache")
    assert folder.converted
    train, val = (read_annotations(Path(folder.root) / f"{name}.json") for name in ("train", "val"))
    assert train.classes == val.classes == ("cat", "dog")
    assert [{train.classes[label] for label in each.labels} for each in (train, val)] == [{"cat"}, {"dog"}]


def test_a_single_coco_file_is_divided(tmp_path: Path) -> None:
    write_split(tmp_path / "data", "images", 10, {1: "cat", 2: "dog"})
    folder = folder_as_coco(tmp_path / "data", FolderSettings(val_fraction=0.3), tmp_path / "cache")
    data = prepare(data_of(folder, tmp_path / "cache"))
    assert (len(data.train.annotations), len(data.val.annotations)) == (7, 3)
    assert "1 of 2 classes have no box: dog" in folder.notes


def test_training_images_without_boxes_are_refused_with_the_reasons(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "photos", "labelme", [image("a.png"), image("b.png")])
    with pytest.raises(DataError, match="the 1 training images have no box at all"):
        folder_as_coco(root, FolderSettings(), tmp_path / "cache")


def test_real_blood_cells_are_ambiguous_and_then_read(tmp_path: Path, shared_data: Path) -> None:
    from fcos.errors import ConfigError

    with pytest.raises(ConfigError, match=r"data\.train\.annotations: 2 files .*\ndata\.val\.annotations: 2 files"):
        folder_as_coco(shared_data / "bccd", FolderSettings(), tmp_path)
    files = {"train": "annotations/instances_train.json", "val": "annotations/instances_val.json"}
    folder = folder_as_coco(shared_data / "bccd", FolderSettings(files=files), tmp_path)  # type: ignore[arg-type]
    assert not folder.converted
    assert folder.train.images == "images"


def test_real_coco_images_are_found(tmp_path: Path, shared_data: Path) -> None:
    folder = folder_as_coco(shared_data / "coco_tiny", FolderSettings(), tmp_path)
    assert not folder.converted
    assert (folder.train.images, folder.val.images) == ("train2017", "val2017")


def test_validation_images_without_boxes_are_refused(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "photos", "voc", [image("train/a.png", box()), image("val/b.png")])
    with pytest.raises(DataError, match="the 1 validation images have no box at all, and training and validation need"):
        folder_as_coco(root, FolderSettings(), tmp_path / "cache")


@pytest.mark.parametrize("rule", ["ignore", "apply"])
def test_photographs_with_an_orientation_are_read_by_either_rule(tmp_path: Path, rule: Any) -> None:
    root, cache = write_folder(tmp_path / "photos", "yolo", SPLIT), tmp_path / "cache"
    exif = Image.Exif()
    exif[0x0112] = 6
    for each in SPLIT:
        Image.new("RGB", (64, 48)).save(root / each.name, "JPEG", exif=exif)
    # Earlier and under the other rule.
    folder_as_coco(root, FolderSettings(), cache)
    folder = folder_as_coco(root, FolderSettings(exif_orientation=rule), cache)
    data = prepare(data_of(folder, cache, exif_orientation=rule))
    assert data.train.annotations.sizes.tolist() == [[64, 48] if rule == "apply" else [48, 64]] * 2


def test_the_notes_on_a_conversion_go_with_its_files(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "photos", "voc", [*SPLIT, image("train/d.png", box())])
    (root / "train" / "d.xml").unlink()
    folder = folder_as_coco(root, FolderSettings(), tmp_path / "cache")
    assert folder.notes == ("images without an annotation file are left out: 1 (train/d.png)",)
    read: tuple[tuple[Split, ...], ...] = (SPLITS, ("val",))
    for splits in read:
        assert prepare(data_of(folder, tmp_path / "cache"), splits=splits).notes[:1] == folder.notes
    assert folder_as_coco(root, FolderSettings(), tmp_path / "cache") == folder


def test_notes_follow_files_that_no_reader_looks_at(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "photos", "yolo", SPLIT)
    (root / "train" / "d.heic").write_bytes(b"")
    first = folder_as_coco(root, FolderSettings(), tmp_path / "cache")
    assert any("d.heic" in note for note in first.notes)
    (root / "train" / "d.heic").unlink()
    assert not any("d.heic" in note for note in folder_as_coco(root, FolderSettings(), tmp_path / "cache").notes)


def test_what_coco_files_that_serve_leave_out_is_noted(tmp_path: Path) -> None:
    for split in ("train", "val", "other"):
        write_split(tmp_path / "data", split, 3, {2: "cat", 8: "dog"})
    write_image(tmp_path / "data" / "train" / "new.png", 8, 8)
    folder = folder_as_coco(tmp_path / "data", FolderSettings(), tmp_path / "cache")
    assert not folder.converted
    assert folder.notes == (
        "further files in COCO format are left out: 1 (other.json)",
        "images that no annotation file in use names are left out: 1 (train/new.png)",
    )


@pytest.mark.parametrize("broken", [False, True], ids=["whole", "broken"])
def test_images_of_test_in_the_same_folder_are_not_unnamed(tmp_path: Path, broken: bool) -> None:
    for split in ("train", "val", "test"):
        each = image(f"{split}.png", box())
        write_image(tmp_path / "data" / "images" / each.name, each.width, each.height)
        (tmp_path / "data" / f"{split}.json").write_text(coco_text([each], ["cat"]))
    if broken:
        text = (tmp_path / "data" / "test.json").read_text()
        (tmp_path / "data" / "test.json").write_text(text.replace('"category_id": 1', '"category_id": 9'))
    folder = folder_as_coco(tmp_path / "data", FolderSettings(), tmp_path / "cache")
    assert not folder.converted and folder.splits.endswith("; not used: test.json")
    note = "images that no annotation file in use names are left out: 1 (images/test.png)"
    assert folder.notes == ((note,) if broken else ())


def test_each_file_is_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for split in ("train", "val"):
        write_split(tmp_path / "data", split, 3, {2: "cat", 8: "dog"})
    looked_at: list[str] = []
    read_ends = Listing.read_ends

    def count(listing: Listing, file: PurePosixPath, *arguments: Any) -> bytes:
        looked_at.append(str(file))
        return read_ends(listing, file, *arguments)

    monkeypatch.setattr(Listing, "read_ends", count)
    assert not folder_as_coco(tmp_path / "data", FolderSettings(format="coco"), tmp_path / "cache").converted
    assert sorted(looked_at) == ["train.json", "val.json"]


def test_archives_are_not_read_and_zipped_annotations_decide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, cache = write_folder(tmp_path / "photos", "yolo", SPLIT), tmp_path / "cache"
    for name in ("images.tar.gz", "more.JSON.gz"):
        (root / name).write_bytes(b"")
    digested: list[str] = []

    def digest(path: Path, description: str) -> str:
        digested.append(path.name)
        return read_digest(path, description)

    monkeypatch.setattr(as_coco, "read_digest", digest)
    folder_as_coco(root, FolderSettings(), cache)
    assert sorted(digested) == ["a b.txt", "c.txt", "classes.txt", "more.JSON.gz", "ü.txt"]
