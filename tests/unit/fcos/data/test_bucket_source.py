"""Data in a bucket: prepared as those of a folder, with the same digest, and refused by name where they cannot be."""

import json
from pathlib import Path

import pytest

from fcos.config.parse import parse
from fcos.config.run import Config, DataConfig, SplitConfig
from fcos.coverage.split import read_split
from fcos.data.bucket_source import check_reachable, local_folder
from fcos.data.prepare import prepare
from fcos.errors import ConfigError, DataError, ReadError
from tests.helpers.data.bucket_data import MemoryBucket, memory_bucket_of_data
from tests.helpers.data.coco_folders import coco

IMAGES = [f"train/{number}.png" for number in range(5)] + [f"val/{number}.png" for number in range(3)]


@pytest.fixture
def bucket(root: Path, monkeypatch: pytest.MonkeyPatch) -> MemoryBucket:
    """The data set of `root`, in a bucket."""
    made = memory_bucket_of_data(monkeypatch)
    made.upload(root)
    return made


@pytest.fixture
def config(bucket: MemoryBucket, root: Path) -> DataConfig:
    return coco(root, root=bucket.root)


def test_the_digest_is_that_of_the_same_folder(config: DataConfig, root: Path) -> None:
    fetched, local = prepare(config), prepare(coco(root, cache_dir=str(root.parent / "other")))
    assert fetched.digest == local.digest
    assert (fetched.notes, fetched.classes) == (local.notes, local.classes)
    assert fetched.train.folder.parts[-3:] == ("lab", "photos", "train")


def test_images_that_no_annotation_names_are_not_fetched(config: DataConfig, bucket: MemoryBucket, root: Path) -> None:
    bucket.objects.write("train/unnamed.png", b"x")
    bucket.objects.write("test/0.png", b"x")
    prepare(config)
    assert bucket.fetched == sorted(["train.json", "val.json", *IMAGES])


def test_only_the_split_and_the_images_that_are_read_are_fetched(config: DataConfig, bucket: MemoryBucket) -> None:
    prepare(config.model_copy(update={"limit_val": 2}), splits=["val"])
    assert bucket.fetched == ["val.json", "val/0.png", "val/1.png"]


def test_names_in_another_spelling_are_found_as_in_a_folder(
    config: DataConfig, bucket: MemoryBucket, root: Path
) -> None:
    (root / "train" / "0.png").rename(root / "train" / "0.PNG")
    bucket.objects.remove(["train/0.png"])
    bucket.upload(root)
    fetched, local = prepare(config), prepare(coco(root, cache_dir=str(root.parent / "other")))
    assert fetched.digest == local.digest
    assert fetched.notes == local.notes and any("0.PNG" in note for note in fetched.notes)


def test_an_image_that_is_gone_from_the_bucket_is_missing_here_too(config: DataConfig, bucket: MemoryBucket) -> None:
    prepare(config)
    bucket.objects.remove(["train/2.png"])
    with pytest.raises(DataError, match=r"2\.png"):
        prepare(config)


def test_changed_data_have_another_digest(config: DataConfig, bucket: MemoryBucket) -> None:
    first = prepare(config).digest
    content = json.loads(bucket.objects.read("val.json"))
    content["annotations"][0]["bbox"] = [1, 2, 11, 10]
    bucket.objects.write("val.json", json.dumps(content).encode())
    bucket.files.fetched.clear()
    assert prepare(config).digest != first
    assert bucket.fetched == ["val.json"]


def test_progress_is_reported_with_the_address(config: DataConfig) -> None:
    steps: list[tuple[str, int, int]] = []
    prepare(config, progress=lambda *step: steps.append(step))
    assert ("fetching train images from s3://lab/photos", 5, 5) in steps


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"train": SplitConfig(annotations="trian.json", images="train")},
            r"data\.train\.annotations=trian\.json: no such object below s3://lab/photos; did you mean train\.json",
        ),
        (
            {"train": SplitConfig(annotations="train.json", images="trian")},
            r"data\.train\.images=trian: s3://lab/photos/trian holds nothing; did you mean train\?",
        ),
        (
            {"train": SplitConfig(annotations="../train.json", images="train")},
            r"data\.train\.annotations=\.\./train\.json: leads out of data\.root=s3://lab/photos; give a path below it",
        ),
        (
            {"val": SplitConfig(annotations="val.json", images="/data/val")},
            r"data\.val\.images=/data/val: leads out of",
        ),
        (
            {"val": SplitConfig(annotations="s3://x/val.json", images="val")},
            r"data\.val\.annotations=s3://x.*leads out",
        ),
        ({"val": SplitConfig(annotations=" ", images="val")}, r"data\.val\.annotations= : names no file"),
    ],
)
def test_what_is_not_there_is_named_with_what_may_be_meant(
    config: DataConfig, bucket: MemoryBucket, changes: dict[str, SplitConfig], message: str
) -> None:
    wrong = config.model_copy(update=changes)
    with pytest.raises(DataError, match=message):
        prepare(wrong)
    assert not any(name.endswith(".png") for name in bucket.fetched), "nothing large is fetched for it"
    with pytest.raises(DataError, match=message):
        check_reachable(wrong, with_images=True)


def test_a_folder_with_nothing_in_it_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    empty = memory_bucket_of_data(monkeypatch)
    with pytest.raises(DataError, match=r"no such object, and no annotation file below s3://lab/photos"):
        prepare(coco(root, root=empty.root))
    with pytest.raises(DataError, match=r"data\.root=s3://lab/photos: s3://lab/photos holds nothing"):
        local_folder(empty.root, tmp_path / "cache")


def test_an_object_whose_name_would_leave_the_folder_is_refused_by_name(
    config: DataConfig, bucket: MemoryBucket
) -> None:
    bucket.files.pipe_file("lab/photos/train/../../../etc/passwd", b"x")
    with pytest.raises(DataError, match=r"s3://lab/photos/train/\.\./\.\./\.\./etc/passwd: is no name of a file"):
        prepare(config)


def test_refused_credentials_name_the_variables(config: DataConfig, bucket: MemoryBucket) -> None:
    def refuse(path: str) -> None:
        raise PermissionError("Access Denied")

    bucket.files.before = refuse
    with pytest.raises(DataError, match=r"data\.root=s3://lab/photos: on \S+ the bucket refuses: .*AWS_ACCESS_KEY_ID"):
        prepare(config)


def test_a_bucket_that_does_not_answer_may_answer_another_attempt(config: DataConfig, bucket: MemoryBucket) -> None:
    def cut(path: str) -> None:
        raise ConnectionResetError("cut")

    bucket.files.before = cut
    with pytest.raises(ReadError, match=r"the bucket does not answer: .*AWS_ENDPOINT_URL"):
        prepare(config)


def test_a_cache_that_cannot_be_written_is_named(config: DataConfig, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    wrong = config.model_copy(update={"cache_dir": str(tmp_path / "file")})
    with pytest.raises(DataError, match=r"data\.cache_dir=.*file: cannot be written"):
        prepare(wrong)


def test_a_folder_is_fetched_whole_but_for_hidden_files(
    bucket: MemoryBucket, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket.objects.write(".git/config", b"x")
    bucket.objects.write("notes.txt", b"x")
    folder = local_folder(bucket.root, tmp_path / "cache")
    assert bucket.fetched == sorted(["notes.txt", "train.json", "val.json", *IMAGES])
    assert (folder / "train.json").read_bytes() == (root / "train.json").read_bytes()
    assert capsys.readouterr().err == "fetching from s3://lab/photos (11 objects) ...\n"
    local_folder(bucket.root, tmp_path / "cache")
    assert capsys.readouterr().err == "", "nothing is fetched again"


def test_a_local_folder_is_made_absolute_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert local_folder("photos", tmp_path / "cache") == tmp_path / "photos"


def test_what_is_there_is_counted_without_fetching_it(config: DataConfig, bucket: MemoryBucket) -> None:
    assert check_reachable(config, with_images=True) == "5 objects below train, 3 objects below val"
    assert check_reachable(config, with_images=False).startswith("train.json of ")
    assert bucket.fetched == []


def test_an_address_stays_one_in_a_configuration(tiny_values: dict[str, dict[str, object]]) -> None:
    splits = {name: {"annotations": f"{name}.json", "images": name} for name in ("train", "val")}
    tiny_values["data"] |= {"name": "coco", "synthetic": None, "root": "s3://lab/photos/", **splits}
    assert parse(Config, tiny_values).data.root == "s3://lab/photos"
    tiny_values["data"]["root"] = "s3://name:secret@lab/photos"
    with pytest.raises(
        ConfigError, match=r"^data\.root=s3://\*\*\*@lab/photos: an address holds neither cred"
    ) as caught:
        parse(Config, tiny_values)
    assert "secret" not in str(caught.value)
    tiny_values["data"]["root"] = "file:///data"
    with pytest.raises(ConfigError, match=r"no bucket; give the path of the folder"):
        parse(Config, tiny_values)


def test_coverage_fetches_the_annotations_of_its_split_alone(
    tiny_values: dict[str, dict[str, object]], bucket: MemoryBucket, root: Path
) -> None:
    splits = {name: {"annotations": f"{name}.json", "images": "none"} for name in ("train", "val")}
    tiny_values["data"] |= {"name": "coco", "synthetic": None, "root": bucket.root, **splits}
    config = parse(Config, {**tiny_values, "task": "coverage", "coverage": {"split": "val"}})
    found = read_split(config)
    assert bucket.fetched == ["val.json"]
    local = parse(Config, {**config.model_dump(mode="json"), "data": {**tiny_values["data"], "root": str(root)}})
    assert found.digest == read_split(local).digest
