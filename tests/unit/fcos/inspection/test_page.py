"""The page of an inspection: complete in itself, escaped, of bounded size."""

import re
from pathlib import Path

import numpy as np
from PIL import Image

from fcos.inspection import pictures
from fcos.inspection.page import render_page
from fcos.inspection.pictures import Pictures
from tests.helpers.data.inspections import edit, inspected


def test_the_page_needs_nothing_from_elsewhere(root: Path) -> None:
    page = render_page(inspected(root))
    assert "<script" not in page and "http" not in page.replace("http-equiv", "")
    assert set(re.findall(r'(?:src|srcset)="(.*?)[;,]', page)) == {"data:image/jpeg", "data:image/svg+xml"}
    assert "Nothing was found that is wrong" in page
    assert "prefers-color-scheme: dark" in page and 'name="viewport"' in page


def test_names_of_the_data_are_escaped(root: Path) -> None:
    for split in ("train", "val"):
        edit(root / f"{split}.json", lambda content: content["categories"][0].update(name="<img src=x>"))
    page = render_page(inspected(root))
    assert "<img src=x>" not in page and "&lt;img src=x&gt;" in page


def test_a_finding_has_its_count_way_out_and_a_picture(root: Path) -> None:
    edit(root / "train.json", lambda content: content["annotations"][0].update(bbox=[1, 2, 0, 5]))
    page = render_page(inspected(root))
    assert "train: boxes of zero size (1 of 5)" in page and "Remove or redraw them." in page
    assert "<figcaption>0.png, annotation 1</figcaption>" in page


def test_pictures_end_at_their_bytes_and_are_counted(root: Path) -> None:
    found = inspected(root)
    some = Pictures(found.source.data, max_bytes=1)
    assert some.samples(found.views["train"]) == [] and some.left_out == 5


def test_a_thumbnail_shows_the_part_around_a_box(root: Path) -> None:
    left, top, right, bottom = pictures._part_around(np.array([900.0, 10, 4, 4]), 800, 1000)
    assert left <= 900 - 40 and right <= 1000 and top == 0 and bottom < 300
    # A box far outside still gives a part of the image.
    left, top, right, bottom = pictures._part_around(np.array([1e9, -1e9, 4, 4]), 80, 100)
    assert 0 <= left < right <= 101 and 0 <= top < bottom <= 81


def test_thin_and_tiny_images_and_boxes_without_size_are_drawn(root: Path) -> None:
    Image.new("RGB", (1, 900)).save(root / "train" / "0.png")
    edit(root / "train.json", lambda content: content["images"][0].update(width=1, height=900))
    edit(root / "train.json", lambda content: content["annotations"][0].update(bbox=[0, 5, -3, 0]))
    found = inspected(root)
    drawn = Pictures(found.source.data).picture(found.views["train"], 0, (0,), 320)
    assert drawn.startswith("data:image/jpeg;base64,")
