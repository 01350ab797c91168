"""The folder's own splits are taken; a single set is divided by seed, and what is done is said."""

from pathlib import Path

import pytest

from fcos.errors import ConfigError, DataError
from fcos.formats.splits import training_splits
from fcos.formats.structures import LabelledFolder, LabelledImage, SplitName
from tests.helpers.data.labelled_folders import box, image


def folder(**sizes: int) -> LabelledFolder:
    splits: dict[SplitName, tuple[LabelledImage, ...]] = {
        split: tuple(image(f"{split}/{number}.png", box()) for number in range(size))  # type: ignore[misc]
        for split, size in sizes.items()
    }
    return LabelledFolder(Path("data"), "yolo", splits, ("cat",), ())


def test_given_splits_are_taken_and_the_test_images_left_alone() -> None:
    splits = training_splits(folder(train=3, val=2, test=1), None, 0)
    assert (len(splits.train), len(splits.val)) == (3, 2)
    assert splits.reason == "the folder's own splits; not used: test (1 images)"
    assert splits.by_hand == ()


def test_test_images_validate_where_there_are_no_others_with_a_note() -> None:
    splits = training_splits(folder(train=3, test=2), None, 0)
    assert [each.name for each in splits.val] == ["test/0.png", "test/1.png"]
    assert "test validates" in splits.reason and splits.by_hand == ("auto.val_fraction=0.2",)


def test_a_fraction_keeps_the_test_images_out() -> None:
    splits = training_splits(folder(train=10, test=2), 0.3, 0)
    assert (len(splits.train), len(splits.val)) == (7, 3)
    assert all(each.name.startswith("train/") for each in splits.val)


@pytest.mark.parametrize("name", ["all", "train", "test"])
def test_one_set_is_divided_by_seed_without_loss(name: str) -> None:
    one = folder(**{name: 20})
    splits = training_splits(one, None, 0)
    assert len(splits.val) == 4
    assert {*splits.train, *splits.val} == {*one.splits[name]}  # type: ignore[index]
    assert training_splits(one, None, 0) == splits
    assert training_splits(one, None, 1).val != splits.val
    assert splits.by_hand == ("auto.val_fraction=0.2", "auto.split_seed=0")


def test_an_added_image_moves_at_most_one_other() -> None:
    before, after = (training_splits(folder(all=size), 0.5, 0) for size in (40, 41))
    moved = {each.name for each in before.val} ^ {each.name for each in after.val}
    assert len(moved - {"all/40.png"}) <= 1


def test_two_images_are_the_least() -> None:
    assert len(training_splits(folder(all=2), 0.9, 0).train) == 1
    with pytest.raises(DataError, match="has 1 image, of which none is left to validate"):
        training_splits(folder(all=1), None, 0)


def test_a_fraction_is_refused_where_the_folder_has_its_own() -> None:
    with pytest.raises(ConfigError, match=r"auto\.val_fraction=0\.3: has no effect, as data has validation images"):
        training_splits(folder(train=3, val=2), 0.3, 0)


def test_splits_without_training_images_are_refused() -> None:
    with pytest.raises(DataError, match=r"has images in val \(2\), test \(1\) and none in a split called train"):
        training_splits(folder(val=2, test=1), None, 0)
    with pytest.raises(DataError, match="no image is left to train on: none is annotated"):
        training_splits(folder(train=0), None, 0)
