"""What an inspection finds between the splits."""

import shutil
from pathlib import Path
from typing import Any

from tests.helpers.data.inspections import edit, finding, inspected


def test_images_of_both_splits_and_copies_within_one_are_distinguished(root: Path) -> None:
    shutil.copy(root / "train" / "0.png", root / "val" / "1.png")
    shutil.copy(root / "train" / "2.png", root / "train" / "3.png")
    found = inspected(root)
    shared = finding(found, "images that are train images too", "val")
    assert (shared.severity, shared.count, shared.examples[0].text) == ("warning", 1, "val 1.png = train 0.png")
    copies = finding(found, "repeated images")
    assert (copies.severity, copies.count, copies.examples[0].text) == ("note", 1, "2.png = 3.png")


def test_categories_that_differ_are_an_error_and_both_splits_are_shown(root: Path) -> None:
    edit(root / "val.json", lambda content: content["categories"][0].update(name="dog"))
    found = inspected(root)
    error = finding(found, "the splits differ in their categories", None)
    assert error.severity == "error" and "only train.json has 'cat', only val.json has 'dog'" in error.meaning
    assert set(found.counts.splits) == {"train", "val"}


def test_classes_that_a_split_lacks_or_no_split_has_are_named(root: Path) -> None:
    def add(content: dict[str, Any]) -> None:
        content["categories"] += [{"id": 5, "name": "dog"}, {"id": 6, "name": "fox"}]

    edit(root / "train.json", add)
    edit(root / "val.json", add)
    edit(root / "val.json", lambda content: content["annotations"][0].update(category_id=5))
    found = inspected(root)
    lacking = finding(found, "classes without a box in this split")
    assert lacking.meaning == "They are validated and never trained on."
    assert [example.text for example in lacking.examples] == ["dog"]
    unused = finding(found, "classes without any box", None)
    assert [example.text for example in unused.examples] == ["fox"]
