"""Texts and pictures of an archive: bounded, read in one way alone, and nothing in them but what they are."""

import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from fcos.published import texts as texts_module
from fcos.published.archive import ArchiveError
from fcos.published.pictures import SIGNATURE, strip_png
from fcos.published.texts import check_texts, strip_steering
from tests.helpers.present import present


def check(folder: Path, text: str, name: str = "report.json") -> None:
    (folder / name).write_text(text)
    check_texts([folder / name])


@pytest.mark.parametrize("text", ["{}", '{"a": {"b": 1}, "b": [{"a": 1}, {"a": 2}]}', '{"a": NaN}'])
def test_objects_of_which_no_key_is_there_twice_are_taken(tmp_path: Path, text: str) -> None:
    check(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": 1, "a": 2}', "the key a is there twice"),
        ('{"b": [{"a": 1, "c": 1, "a": 1}]}', "the key a is there twice"),
        ('{"\\u001b[2J": 1, "\\u001b[2J": 2}', r"the key \\x1b\[2J is there twice"),
        ("7", "is no JSON object"),
        ("null", "is no JSON object"),
        ("[]", "is no JSON object"),
        ("{", "is no JSON text"),
        ("", "is no JSON text"),
        ("[" * 100_000, "is nested too deeply"),
    ],
)
def test_json_that_readers_could_take_for_another_text_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(ArchiveError, match=rf"^report\.json of .*{reason}") as caught:
        check(tmp_path, text)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("name", ["report.json", "report.html", "manifest.json", "points.csv", "picture.png"])
def test_a_text_above_the_bound_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(texts_module, "MAX_TEXT_BYTES", 1 << 20)
    (tmp_path / name).write_bytes(b" " * ((1 << 20) + 1))
    monkeypatch.setattr(Path, "read_bytes", None)
    with pytest.raises(ArchiveError, match=r": has more than 1 MiB$"):
        check_texts([tmp_path / name])


def test_a_picture_keeps_its_pixels_and_nothing_else(tmp_path: Path) -> None:
    info = PngInfo()
    info.add_text("Author", "bob")
    image = Image.new("RGB", (8, 8), (10, 20, 30))
    image.save(tmp_path / "a.png", pnginfo=info, dpi=(72, 72))
    stripped = strip_png((tmp_path / "a.png").read_bytes())
    assert stripped is not None and b"bob" in (tmp_path / "a.png").read_bytes() and b"bob" not in stripped
    (tmp_path / "b.png").write_bytes(stripped)
    assert Image.open(tmp_path / "b.png").getpixel((3, 3)) == (10, 20, 30)
    assert strip_png(b"GIF89a") is None
    assert strip_png(SIGNATURE + b"\x00\x00\xff\xffIHDR") is None


def test_a_file_that_is_a_picture_by_its_name_alone_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    pixels = strip_png((tmp_path / "a.png").read_bytes())
    assert pixels is not None
    (tmp_path / "a.png").write_bytes(pixels)
    check_texts([tmp_path / "a.png"])
    for content in (b"#!/bin/sh\n", pixels + b"#!/bin/sh\n", pixels[:-4]):
        (tmp_path / "a.png").write_bytes(content)
        with pytest.raises(ArchiveError, match=r"^a\.png of .*: is no picture, or has more in it than its pixels$"):
            check_texts([tmp_path / "a.png"])


def make_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def test_a_picture_ends_at_its_end_and_has_one_head_and_one_palette(tmp_path: Path) -> None:
    Image.new("P", (8, 8)).save(tmp_path / "a.png")
    pixels = present(strip_png((tmp_path / "a.png").read_bytes()))
    end = make_chunk(b"IEND", b"")
    assert pixels.endswith(end) and b"PLTE" in pixels
    for more in (b"", end, make_chunk(b"IDAT", b"more") + end, make_chunk(b"PLTE", b"more") + end, b"more"):
        assert strip_png(pixels + more) == pixels
    before = pixels.removesuffix(end)
    for kind, size in ((b"PLTE", 3), (b"IHDR", 13), (b"tRNS", 257), (b"tEXt", 3)):
        assert strip_png(before + make_chunk(kind, bytes(size)) + end) == pixels
    assert strip_png(before + make_chunk(b"IEND", b"more")) is None
    (tmp_path / "a.png").write_bytes(pixels + make_chunk(b"IDAT", b"more") + end)
    with pytest.raises(ArchiveError, match=r": is no picture, or has more in it than its pixels$"):
        check_texts([tmp_path / "a.png"])


def test_characters_that_steer_a_terminal_or_show_nothing_are_left_out() -> None:
    assert strip_steering("\x1b[31mred\x1b[0m\n\tand \x07loud\u202e\u200b\ufeff – ü") == "red\n\tand loud – ü"
    hidden = "a\u00adb\u061cc\u180ed\u2060e\u2064f\U000e0001g\U000e0061h\U000e007fi"
    assert strip_steering(hidden) == "abcdefghi"
