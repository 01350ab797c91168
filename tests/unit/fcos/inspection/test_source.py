"""Which data the words of the command line name."""

from pathlib import Path

import pytest
import yaml
from PIL import Image

from fcos.config.choices import Split
from fcos.errors import ConfigError, DataError
from fcos.formats.structures import FormatName
from fcos.inspection.run import inspect_data
from fcos.inspection.source import DEFAULT_MODEL, find_data
from fcos.inspection.summary import summary_lines
from fcos.installation import conf_folder
from tests.helpers.data.inspections import WORDS, edit
from tests.helpers.data.labelled_folders import box, image, write_folder

IMAGES = [image("train/a.png", box()), image("val/b.png", box("dog"))]


@pytest.mark.parametrize("name", ["coco", "voc", "yolo", "cvat", "labelme"])
def test_a_folder_of_any_format_is_read_as_data_auto_does(tmp_path: Path, name: FormatName) -> None:
    root = write_folder(tmp_path / "my photos", name, IMAGES)
    source = find_data([str(root), f"data.cache_dir={tmp_path / 'cache'}"])
    assert source.understood[0].startswith(f"{name}: ")
    assert source.train_command.startswith(f"python orchestration/train.py data=auto 'data.root={root}'")
    assert source.data.name == "coco" and source.splits == ("train", "val")


def test_a_folder_that_training_refuses_is_shown_where_it_is_coco(root: Path) -> None:
    (root / "val.json").write_text('{"images": [], "annotations": [], "categories": []}')
    source = find_data([str(root), f"data.cache_dir={root.parent / 'cache'}"])
    assert "val.json: section 'images' is empty" in source.refused
    found = inspect_data(source, lambda *_: None)
    assert [each.title for each in found.findings if each.severity == "error"] == ["annotations cannot be read"]
    assert found.counts.splits["train"].images == 5


def test_a_folder_of_one_set_without_any_box_is_shown_with_the_refusal(root: Path) -> None:
    edit(root / "train.json", lambda content: content.update(annotations=[]))
    (root / "val.json").unlink()
    source = find_data([str(root), f"data.cache_dir={root.parent / 'cache'}"])
    assert source.splits == ("train",) and "have no box at all" in source.refused


def test_the_words_of_a_training_name_its_data(root: Path) -> None:
    source = find_data([f"data.root={root}", *WORDS, "data.crowds=objects"])
    assert source.data.crowds == "objects" and source.data.short_sides is None
    assert source.train_command.endswith("data.short_sides=null data.long_side=null data.crowds=objects")


def test_of_one_split_that_is_named_only_that_is_read(root: Path) -> None:
    only: tuple[Split, ...] = ("val",)
    assert find_data([f"data.root={root}", "data.val.annotations=val.json", "data.val.images=val"]).splits == only


def test_the_default_model_is_that_of_a_training(root: Path) -> None:
    defaults = yaml.safe_load((conf_folder() / "config.yaml").read_text())["defaults"]
    assert {"model": DEFAULT_MODEL} in defaults


def test_a_model_that_changes_another_is_read_with_it(root: Path) -> None:
    source = find_data(["data=synthetic", "model=fcos_rt_r50"])
    assert source.model.levels == (3, 4, 5) and source.model.assignment.ranges[0] == (0, 64)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data.rot=/x"], "data.rot=/x: .* did you mean data.root"),
        (["data=coco"], "data.root is missing"),
        (["data=auto"], "data.root is missing"),
        (["data=cocoo", "data.root=/x"], "data=cocoo: no such option; did you mean coco"),
        (["{root}", "more"], "more: only the first word may be a folder"),
        (["{root}", "data.root=/x"], "leave out data.root"),
        (["{root}/train.json"], "is a file; give its folder"),
        (["{root}", "auto.val_fraction=x"], "auto.val_fraction='x'"),
        (["data=synthetic", "model.levels=[3]"], "model.assignment.ranges has 4 ranges for 1 levels"),
        (["data=synthetic", "data.limit_train=a"], "data.limit_train='a'"),
    ],
)
def test_a_mistake_is_refused_with_the_word(root: Path, words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        find_data([word.format(root=root) for word in words])


def test_a_folder_that_is_missing_or_holds_no_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        find_data([str(tmp_path / "nowhere")])
    with pytest.raises(DataError, match="holds no images"):
        find_data([str(tmp_path)])


def test_the_notes_on_a_conversion_are_found_by_a_folder_and_by_the_words_of_its_files(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "photos", "voc", [*IMAGES, image("train/c.png", box())])
    (root / "train" / "c.xml").unlink()
    cache = f"data.cache_dir={tmp_path / 'cache'}"
    source = find_data([str(root), cache])
    splits = {"train": source.data.train, "val": source.data.val}
    words = [
        f"data.{name}.{key}={getattr(split, key)}"
        for name, split in splits.items()
        for key in ("annotations", "images")
    ]
    for each in (source, find_data([f"data.root={source.data.root}", *words, cache])):
        found = inspect_data(each, lambda *_: None)
        (noted,) = [finding.meaning for finding in found.findings if finding.title == "while the folder was read"]
        text = "images without an annotation file are left out: 1 (train/c.png)"
        assert noted == f"{text}."
        assert f"  warning: while the folder was read: {text}" in summary_lines(found)


def test_a_folder_is_read_with_the_rule_for_orientations(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "photos", "yolo", IMAGES)
    exif = Image.Exif()
    exif[0x0112] = 6
    for each in IMAGES:
        Image.new("RGB", (64, 48)).save(root / each.name, "JPEG", exif=exif)
    cache = f"data.cache_dir={tmp_path / 'cache'}"
    found = inspect_data(find_data([str(root), cache, "data.exif_orientation=apply"]), lambda *_: None)
    assert not [finding for finding in found.findings if finding.severity == "error"]
    assert found.views["train"].annotations.sizes.tolist() == [[64, 48]]
    with pytest.raises(ConfigError, match=r"data\.exif_orientation='turn'"):
        find_data([str(root), cache, "data.exif_orientation=turn"])
