"""Fonts that have the letters of a text, of those installed, and texts for names that no font can draw."""

import logging
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from PIL import ImageFont

# Fonts that draw the same box, or nothing, for every letter.
_PLACEHOLDERS = ("lastresort", "adobeblank", "fallback")

# matplotlib, whose font list takes a moment, is imported only where letters beyond ASCII are drawn.


def font_for(text: str, size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return a font of this size in pixels with all letters of a text; Pillow's own for ASCII, and where none has."""
    path = None if text.isascii() else _font_with(frozenset(text))
    return ImageFont.load_default(size=size) if path is None else ImageFont.truetype(path, size)


def drawable_names(classes: Sequence[str]) -> tuple[str, ...]:
    """Return the names of classes as pictures show them: `class <number>` where no installed font has the letters.

    What the numbers stand for is logged once. Control characters become question marks.
    """
    return _drawable_names(tuple(classes))


@lru_cache(maxsize=16)
def _drawable_names(classes: tuple[str, ...]) -> tuple[str, ...]:
    for note in undrawable_notes(classes):
        logging.getLogger(__name__).warning("%s", note)
    names = ("".join("?" if unicodedata.category(letter) == "Cc" else letter for letter in name) for name in classes)
    return tuple(name if _is_drawable(name) else f"class {number}" for number, name in enumerate(names))


def undrawable_notes(classes: Sequence[str]) -> list[str]:
    """Return a note on which numbers stand for which names in pictures; none where all can be drawn."""
    shown = [f"class {number} is {name}" for number, name in enumerate(classes) if not _is_drawable(name)]
    if not shown:
        return []
    listed = ", ".join(shown[:20]) + (", ..." if len(shown) > 20 else "")
    return [f"no installed font has the letters of {len(shown)} class names, pictures show their numbers: {listed}"]


def _is_drawable(text: str) -> bool:
    return text.isascii() or _font_with(frozenset(text)) is not None


@lru_cache(maxsize=4096)
def _font_with(letters: frozenset[str]) -> str | None:
    """Return the path of the first installed font with these letters: DejaVu Sans, then those of the system."""
    from matplotlib import font_manager

    codes = {ord(letter) for letter in letters if unicodedata.category(letter) not in ("Cc", "Cf")}
    dejavu: str = font_manager.findfont("DejaVu Sans")
    others: list[str] = sorted({entry.fname for entry in font_manager.fontManager.ttflist} - {dejavu})
    return next((path for path in (dejavu, *others) if codes <= _codes_of(path)), None)


@lru_cache(maxsize=1024)
def _codes_of(path: str) -> frozenset[int]:
    """Return the characters that a font has a glyph for; empty for one that Pillow or matplotlib cannot read."""
    from matplotlib.ft2font import FT2Font

    if any(word in Path(path).name.lower() for word in _PLACEHOLDERS):
        return frozenset()
    try:
        # Fonts of coloured bitmaps have no outlines to scale.
        ImageFont.truetype(path, 12)
        return frozenset(FT2Font(path).get_charmap())
    except (OSError, RuntimeError, ValueError):
        return frozenset()
