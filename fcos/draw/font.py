"""Fonts that have the letters of a class name, of whatever script."""

from functools import lru_cache
from pathlib import Path

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def legible(text: str, size: int) -> tuple[str, Font]:
    """Return a text and a font that has all of its characters.

    Pillow's own font has Latin letters; other scripts are looked up in matplotlib's fonts and those installed on the
    machine. Where none has them they are escaped, as in \\u4e2d, so that names stay apart.
    """
    text = "".join(character if character.isprintable() else "?" for character in text)
    if text.isascii():
        return text, ImageFont.load_default(size=size)
    path = _font_with(frozenset(text))
    if path is None:
        return text.encode("ascii", "backslashreplace").decode(), ImageFont.load_default(size=size)
    return text, ImageFont.truetype(path, size)


@lru_cache(maxsize=4096)
def _font_with(characters: frozenset[str]) -> Path | None:
    """Return the first font file that has all of the characters, or None."""
    codes = {ord(character) for character in characters}
    return next((path for path in _font_files() if codes <= _codes_of(path)), None)


@lru_cache(maxsize=1)
def _font_files() -> tuple[Path, ...]:
    import matplotlib
    from matplotlib.font_manager import findSystemFonts

    own = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return own, *map(Path, sorted(findSystemFonts()))


@lru_cache(maxsize=512)
def _codes_of(path: Path) -> frozenset[int]:
    """Return the code points that a font file has; none where it cannot be read."""
    from matplotlib.ft2font import FT2Font

    try:
        return frozenset(FT2Font(str(path)).get_charmap())
    except (RuntimeError, OSError):
        return frozenset()
