"""Names of classes are drawn in a font that has their letters, or as numbers that are explained."""

import logging

import pytest
import torch
from PIL import ImageFont

from fcos.drawing import fonts
from fcos.drawing.boxes import draw_boxes
from fcos.drawing.fonts import drawable_names, font_for, undrawable_notes

# The letters of the Last Resort font are never designed: what no font has.
NO_FONT = "\U0005fff0"


def test_ascii_is_drawn_in_the_font_of_pillow() -> None:
    font = font_for("cat 0.95", 12)
    assert isinstance(font, ImageFont.FreeTypeFont) and font.getname()[0] != "DejaVu Sans"


@pytest.mark.parametrize("text", ["Größe 0.95", "кошка", "γάτα"])
def test_other_letters_are_drawn_in_a_font_that_has_them(text: str) -> None:
    font = font_for(text, 12)
    assert isinstance(font, ImageFont.FreeTypeFont) and font.getname()[0] == "DejaVu Sans"
    assert drawable_names([text]) == (text,) and undrawable_notes([text]) == []


def test_names_that_no_font_has_become_explained_numbers(caplog: pytest.LogCaptureFixture) -> None:
    classes = ["cat", NO_FONT, "Größe"]
    with caplog.at_level(logging.WARNING):
        assert drawable_names(classes) == drawable_names(classes) == ("cat", "class 1", "Größe")
    (note,) = undrawable_notes(classes)
    assert note == (
        f"no installed font has the letters of 1 class names, pictures show their numbers: class 1 is {NO_FONT}"
    )
    assert caplog.text.count("no installed font") == 1


def test_a_font_of_placeholders_counts_for_nothing() -> None:
    from matplotlib import font_manager

    paths = [entry.fname for entry in font_manager.fontManager.ttflist]
    assert all(not fonts._codes_of(path) for path in paths if "LastResort" in path)


def test_a_picture_shows_the_number_where_the_name_cannot_be_drawn() -> None:
    pixels, box, label = torch.zeros(3, 64, 64, dtype=torch.uint8), torch.tensor([[5.0, 5, 50, 50]]), torch.tensor([0])
    shown = draw_boxes(pixels, box, label, [NO_FONT])
    assert shown.tobytes() == draw_boxes(pixels, box, label, ["class 0"]).tobytes()
    assert shown.tobytes() != draw_boxes(pixels, box, label, ["Größe"]).tobytes()
