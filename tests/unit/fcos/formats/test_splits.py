"""The folder's own splits are taken; a single set is divided by seed, and what is done is said."""

from dataclasses import replace
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


def few_labelled(labelled: int, of: int, crowd: bool = False) -> LabelledFolder:
    images = tuple(image(f"{n}.png", *([box()] if n < labelled else [])) for n in range(of))
    if crowd:
        images += tuple(image(f"crowd {n}.png", replace(box(), crowd=True)) for n in range(of))
    return LabelledFolder(Path("data"), "labelme", {"all": images}, ("cat",), ())


@pytest.mark.parametrize("crowd", [False, True])
@pytest.mark.parametrize("labelled", [2, 3])
def test_of_few_labelled_images_each_side_has_one_whatever_the_seed(labelled: int, crowd: bool) -> None:
    one = few_labelled(labelled, 20, crowd)
    exchanged = 0
    for fraction in (0.1, 0.8):
        for seed in range(20):
            splits = training_splits(one, fraction, seed)
            for images in (splits.train, splits.val):
                assert any(not each.crowd for image_ in images for each in image_.boxes)
            assert len(splits.val) == round(fraction * len(one.splits["all"]))
            exchanged += "one with boxes was exchanged" in splits.reason
    assert 0 < exchanged < 40


def test_a_single_labelled_image_is_divided_as_it_is_drawn() -> None:
    splits = training_splits(few_labelled(1, 10), None, 0)
    assert len(splits.val) == 2 and "exchanged" not in splits.reason
