"""data=auto: a folder becomes data=coco with settings that follow from it, and what is given stays."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fcos.annotations.annotations import read_annotations
from fcos.build import build_detector
from fcos.config.model import ModelConfig
from fcos.config.parse import parse
from fcos.coverage.split import read_split
from fcos.data.prepare import prepare
from fcos.errors import ConfigError
from fcos.formats.write_coco import coco_text
from fcos.training import checkpoint
from orchestration.config import folder_choices
from orchestration.config.compose import Composed, compose, compose_with_choices
from orchestration.config.overrides import check_overrides
from orchestration.experiment.trials import arm_configs
from tests.helpers.data.bucket_data import MemoryBucket, memory_bucket_of_data
from tests.helpers.data.coco_folders import write_split
from tests.helpers.data.labelled_folders import box, image, write_folder, write_image, write_images


@pytest.fixture(autouse=True)
def _few_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Search the ranges of two levels instead of three to five, which takes seconds."""
    monkeypatch.setattr(folder_choices, "LEVELS", ((4, 5),))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve photographs of 640 x 480 with boxes of 40 and of 200 pixels."""
    images = [
        image(
            f"{number}.jpg", box("cat", 10 * number, 20, 40, 44), box("dog", 300, 100, 200, 220), width=640, height=480
        )
        for number in range(12)
    ]
    return write_folder(tmp_path / "photos", "yolo", images)


def composed(photos: Path, *words: str) -> Composed:
    cache = photos.parent / "cache"
    return compose_with_choices(
        check_overrides(["data=auto", f"data.root={photos}", f"data.cache_dir={cache}", *words])
    )


def chosen(result: Composed) -> dict[str, str]:
    return {choice.topic: choice.by_hand for choice in result.choices}


def test_a_folder_alone_is_enough(photos: Path) -> None:
    result = composed(photos)
    lab = result.lab
    assert lab.data.name == "coco" and lab.data.train is not None and lab.data.train.annotations == "train.json"
    assert set(chosen(result)) == {
        *("format", "splits", "model", "schedule", "augmentation", "input size", "levels", "processors"),
        *("batch", "steps", "intervals"),
    }
    assert all(choice.reason for choice in result.choices)
    assert lab.data.short_sides == (320,) and lab.data.long_side == 448
    assert len(lab.model.levels) == len(lab.model.assignment.ranges)
    assert lab.schedule.warmup_steps < lab.schedule.steps


def test_the_words_that_are_shown_set_the_same_by_hand(photos: Path) -> None:
    result = composed(photos)
    words = [word for choice in result.choices for word in shlex.split(choice.by_hand)]
    by_hand = composed(photos, *words)
    training, again = (each.lab.training.model_dump() for each in (result, by_hand))
    # The conversion of other words lies in another folder, with the same content.
    assert again | {"data": again["data"] | {"root": training["data"]["root"]}} == training
    assert set(chosen(by_hand)) == {"format", "splits"}


def test_the_same_command_chooses_the_same(photos: Path) -> None:
    assert composed(photos) == composed(photos)


@pytest.mark.parametrize(
    ("words", "topics", "key", "value"),
    [
        (["data.short_sides=[320]", "data.long_side=448"], {"input size"}, "data.short_sides", (320,)),
        (["data.short_sides=null", "data.long_side=null"], {"input size"}, "data.short_sides", None),
        (["augmentation=none"], {"augmentation"}, "data.augmentation.photometric", 0.0),
        (["data.augmentation.mosaic=0.5"], {"augmentation"}, "data.augmentation.photometric", 0.0),
        (["schedule.steps=30"], {"steps"}, "schedule.steps", 30),
        (["schedule.steps=30", "schedule.warmup_steps=2"], {"steps"}, "schedule.warmup_steps", 2),
        (["schedule=embedded"], {"schedule", "batch", "steps", "intervals"}, "schedule.steps", 1000),
        (["model=fcos_v2_r50"], {"model"}, "model.backbone.name", "resnet50"),
        (["model.assignment.ranges=[[0,50],[50,100],[100,200],[200,null]]"], {"levels"}, "model.levels", (3, 4, 5, 6)),
    ],
)
def test_what_is_given_is_not_chosen(photos: Path, words: list[str], topics: set[str], key: str, value: object) -> None:
    result = composed(photos, *words)
    assert not topics & set(chosen(result))
    found: object = result.lab
    for part in key.split("."):
        found = getattr(found, part)
    assert found == value


@pytest.fixture
def detector(tiny_values: dict[str, Any], tmp_path: Path) -> Path:
    """The folder of a run of the embedded default, smaller in three settings."""
    model = parse(ModelConfig, tiny_values["model"])
    checkpoint.save(
        tmp_path / "run" / "checkpoints",
        step=3,
        config={"model": tiny_values["model"], "schedule": {"ema": None}},
        classes=("cat",),
        model=build_detector(model, 1, channels_last=False),
        averages={},
        state={},
    )
    return tmp_path / "run"


def test_weights_of_a_detector_choose_its_model(photos: Path, detector: Path) -> None:
    result = composed(photos, f"model.weights={detector}")
    model = next(choice for choice in result.choices if choice.topic == "model")
    assert model.words == ("model=fcos_small",)
    differing = {"model.backbone.widths": [16] * 5, "model.fpn.channels": 16, "model.head.num_convs": 1}
    assert model.values == differing
    assert (result.lab.model.backbone.name, result.lab.model.fpn.channels) == ("small_resnet", 16)
    assert result.lab.model.weights == str(detector)
    assert {"schedule", "augmentation"} <= set(chosen(result)) and result.lab.schedule.backbone_lr_factor == 0.3
    words = [word for choice in result.choices for word in shlex.split(choice.by_hand)]
    again = composed(photos, f"model.weights={detector}", *words).lab
    assert again.model == result.lab.model and again.schedule == result.lab.schedule


def test_settings_of_a_detector_that_are_given_stay(photos: Path, detector: Path) -> None:
    assert composed(photos, f"model.weights={detector}", "model.head.num_convs=3").lab.model.head.num_convs == 3
    given = composed(photos, "model=fcos_small", f"model.weights={detector}")
    assert "model" not in chosen(given) and chosen(given)["schedule"] == "schedule=finetune"
    with pytest.raises(ConfigError, match=r"model\.weights=.*none: no such folder or file"):
        composed(photos, f"model.weights={detector / 'none'}")


def test_an_augmentation_that_a_users_own_data_have_is_not_replaced(photos: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    (own / "data").mkdir(parents=True)
    (own / "data" / "mine.yaml").write_text("defaults: [auto]\naugmentation: {photometric: 0.5}\n")
    words = ["data=mine", f"data.root={photos}", f"data.cache_dir={tmp_path / 'cache'}"]
    result = compose_with_choices(check_overrides(words, own), own)
    assert "augmentation" not in chosen(result)
    assert result.lab.data.augmentation.photometric == 0.5


def test_arms_and_experiments_keep_their_own_settings(photos: Path) -> None:
    result = composed(photos, "+experiment=ablation_ranges")
    assert "levels" not in chosen(result)
    assert result.lab.experiment is not None
    assert arm_configs(result.lab.training, result.lab.experiment)
    assert "levels" in chosen(composed(photos, "+experiment=ablation_centerness"))


def test_the_start_of_a_training_is_compared_on_a_folder_of_ones_own(photos: Path) -> None:
    result = composed(photos, "+experiment=ablation_start")
    assert not {"model", "schedule", "input size", "steps", "processors"} & set(chosen(result))
    assert result.lab.data.name == "coco" and result.lab.data.short_sides == (192,)
    assert result.lab.experiment is not None
    arms = arm_configs(result.lab.training, result.lab.experiment)
    assert {arm: config.model.backbone.weights for arm, config in arms.items()} == {
        "random": None,
        "pretrained": "installed",
    }
    assert {(config.schedule.steps, config.schedule.batch_size) for config in arms.values()} == {(120, 8)}


def test_coverage_chooses_nothing_about_a_training(photos: Path) -> None:
    result = composed(photos, "+experiment=advise_levels")
    assert set(chosen(result)) == {"format", "splits", "input size"}


def test_small_boxes_ask_for_a_larger_input(tmp_path: Path) -> None:
    sides = {}
    for side in (12, 20, 60):
        images = [image(f"{n}.jpg", box("cat", 9, 9, side, side), width=640, height=480) for n in range(4)]
        root = write_folder(tmp_path / str(side), "voc", images)
        sides[side] = composed(root).lab.data.short_sides
    assert sides == {12: (384,), 20: (384,), 60: (320,)}


@pytest.mark.parametrize(
    ("words", "short_side"),
    [([], 384), (["auto.minutes=1"], 256), (["auto.minutes=1", "schedule.steps=300"], 384)],
)
def test_small_images_are_enlarged_where_there_is_time(tmp_path: Path, words: list[str], short_side: int) -> None:
    images = [image(f"{n}.jpg", box("cat", 9, 9, 8, 8), width=320, height=240) for n in range(12)]
    result = composed(write_folder(tmp_path / "small", "voc", images), *words)
    assert result.lab.data.short_sides == (short_side,)


def test_fewer_images_than_a_batch_make_a_smaller_batch(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "few", "voc", [image(f"{n}.jpg", box()) for n in range(4)])
    assert composed(root).lab.schedule.batch_size == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data=auto"], r"data\.root is missing: data=auto needs data\.root=<folder of labelled images>"),
        (["data=auto", "data.root=/nowhere"], "/nowhere: no such folder"),
        (["auto.val_fraction=0.5"], r"auto\.val_fraction=0\.5: has an effect on data=auto alone"),
        (["data=auto", "data.root=/x", "auto.format=yolov9"], r"auto\.format='yolov9'"),
        (["data=auto", "data.root=/x", "auto.val_fraction=2"], r"auto\.val_fraction=2: input should be less than 1"),
        (["data=auto", "data.root=/x", "data.val.images=y"], r"data\.val\.images=y: data=auto finds the images"),
        (["auto.fromat=yolo"], r"no such key auto\.fromat; did you mean auto\.format"),
    ],
)
def test_a_mistake_is_one_line(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compose(check_overrides(words))


def test_a_conversion_that_other_nodes_do_not_see_is_refused(photos: Path) -> None:
    words = ["data=auto", f"data.root={photos}", "cluster=many_nodes"]
    with pytest.raises(ConfigError, match=r"give data\.cache_dir=<folder on shared storage>, or convert it once"):
        compose(check_overrides(words))


def crowded(root: Path, images: int, crowds: int) -> Path:
    """Write a COCO folder in which so many of the images have crowds of 20 pixels, the others boxes of 200."""
    boxes = [replace(box("cat", 9, 9, 20, 20), crowd=True)] * crowds + [box("cat", 9, 9, 200, 200)] * (images - crowds)
    splits = {
        split: [image(f"{split}/{n}.jpg", each, width=640, height=480) for n, each in enumerate(boxes)]
        for split in ("train", "val")
    }
    for split, of_split in splits.items():
        write_images(root, of_split)
        (root / f"{split}.json").write_text(coco_text(of_split, ["cat"]))
    return root


def test_crowds_are_refused_with_the_setting_that_takes_them(tmp_path: Path) -> None:
    root = crowded(tmp_path / "crowds", 6, 6)
    with pytest.raises(ConfigError, match=r"only 6 with iscrowd=1; data\.crowds=objects takes those with iscrowd=1 as"):
        composed(root)
    assert composed(root, "data.crowds=objects").lab.data.crowds == "objects"


def test_what_is_chosen_follows_from_the_boxes_that_are_trained_on(tmp_path: Path) -> None:
    root = crowded(tmp_path / "crowds", 12, 10)
    ignored, objects = composed(root), composed(root, "data.crowds=objects")
    assert ignored.lab.data.short_sides == (320,) and objects.lab.data.short_sides == (384,)


def test_notes_on_a_conversion_are_those_of_the_data_and_others_those_of_the_command(
    photos: Path, tmp_path: Path
) -> None:
    write_image(photos / "not labelled.heic", 8, 8)
    assert composed(photos).notes == ()
    root = crowded(tmp_path / "coco", 4, 0)
    write_image(root / "train" / "new.png", 8, 8)
    (note,) = composed(root).notes
    assert note == "images that no annotation file in use names are left out: 1 (train/new.png)"


def test_the_rule_for_orientations_decides_sizes_that_only_the_images_have(photos: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for file in photos.glob("*.jpg"):
        Image.new("RGB", (640, 480)).save(file, exif=exif)
    for rule, size in (("ignore", [480, 640]), ("apply", [640, 480])):
        data = composed(photos, f"data.exif_orientation={rule}").lab.data
        assert data.root is not None and data.train is not None
        assert read_annotations(Path(data.root) / data.train.annotations).sizes[0].tolist() == size


def test_counting_boxes_has_the_notes_on_the_conversion(photos: Path) -> None:
    write_image(photos / "not labelled.heic", 8, 8)
    notes = read_split(composed(photos, "+experiment=advise_levels").lab.training).annotations.notes
    assert notes[0] == "images of kinds that are not read, or without a suffix, are left out: 1 (not labelled.heic)"


def in_bucket(folder: Path, monkeypatch: pytest.MonkeyPatch) -> MemoryBucket:
    """A bucket with the files of a folder, which is moved away."""
    bucket = memory_bucket_of_data(monkeypatch)
    bucket.upload(folder)
    folder.rename(folder.with_name("moved"))
    return bucket


def test_coco_files_in_a_bucket_are_used_as_they_are_by_their_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for split, count in (("train", 5), ("val", 3)):
        write_split(tmp_path / "photos", split, count, {1: "cat"})
    bucket = in_bucket(tmp_path / "photos", monkeypatch)
    words = ["data=auto", f"data.root={bucket.root}", f"data.cache_dir={tmp_path / 'cache'}", "cluster=many_nodes"]
    lab = compose_with_choices(check_overrides([*words, "tracking=server", "tracking.uri=http://h:1"])).lab
    assert lab.data.root == bucket.root and lab.data.name == "coco"
    local = composed(tmp_path / "moved").lab
    assert (lab.data.train, lab.data.val) == (local.data.train, local.data.val)
    assert prepare(lab.data).digest == prepare(local.data).digest


def test_another_format_in_a_bucket_is_converted_on_this_machine(
    photos: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bucket = in_bucket(photos, monkeypatch)
    lab = composed(tmp_path / "moved").lab
    words = ["data=auto", f"data.root={bucket.root}", f"data.cache_dir={tmp_path / 'own'}"]
    found = compose_with_choices(check_overrides(words)).lab
    assert found.data.root is not None and found.data.root.startswith(str(tmp_path / "own" / "folders"))
    assert prepare(found.data).digest == prepare(lab.data).digest
    cluster = ["data=auto", f"data.root={bucket.root}", "cluster=many_nodes"]
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "users"))
    with pytest.raises(
        ConfigError, match=r"data\.root=s3://lab/photos: is yolo and is converted into the cache folder"
    ):
        compose_with_choices(check_overrides([*cluster, "tracking=server", "tracking.uri=http://h:1"]))
