"""What the doctor reports of data in a bucket, which it does not fetch."""

from pathlib import Path

import pytest

from orchestration.config.compose import compose
from orchestration.config.overrides import check_overrides
from orchestration.doctor import _check_data_in_bucket
from tests.helpers.data.bucket_data import memory_bucket_of_data
from tests.helpers.data.coco_folders import write_split


def test_data_in_a_bucket_are_looked_at_and_a_mistake_is_a_failed_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = memory_bucket_of_data(monkeypatch)
    files = [f"data.{split}.annotations={split}.json" for split in ("train", "val")]
    files += [f"data.{split}.images={split}" for split in ("train", "val")]
    lab = compose(check_overrides(["data=coco", f"data.root={bucket.root}", *files]))
    missing = _check_data_in_bucket(lab)
    assert missing.state == "failed" and "no annotation file below s3://lab/photos" in missing.finding
    for split in ("train", "val"):
        write_split(tmp_path / "photos", split, 3, {1: "cat"})
    bucket.upload(tmp_path / "photos")
    found = _check_data_in_bucket(lab)
    assert (
        found.state == "ok"
        and "s3://lab/photos: 3 objects below train, 3 objects below val; each node" in found.finding
    )
    assert bucket.fetched == []
