"""Thumbnails of validation images, as they are written and as a report reads them."""

import io
import os
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from analysis.explorer.thumbnails import encode_thumbnail, unpack_thumbnails
from fcos.evaluation.saved import thumbnails
from fcos.evaluation.saved.thumbnails import save_thumbnails
from fcos.storage.thumbnail_files import LONG_SIDE, THUMBNAILS, digest_images
from tests.helpers.experiments.explored_sweeps import Drawn, draw_images, make_dataset


@pytest.fixture
def drawn(tmp_path: Path) -> Drawn:
    folder = tmp_path / "images"
    folder.mkdir()
    return draw_images(folder, 7)


def digest(drawn: Drawn) -> str:
    annotations = drawn.annotations
    return digest_images(zip(annotations.image_ids.tolist(), annotations.names, strict=True))


def test_every_image_has_a_small_jpeg_under_its_id(drawn: Drawn, tmp_path: Path) -> None:
    file, notes = save_thumbnails(make_dataset(drawn), tmp_path, str(tmp_path))
    assert (file, notes) == (tmp_path / THUMBNAILS, ())
    unpacked = unpack_thumbnails((tmp_path / THUMBNAILS).read_bytes(), digest(drawn))
    assert list(unpacked) == drawn.annotations.image_ids.tolist()
    for content in unpacked.values():
        with Image.open(io.BytesIO(content)) as image:
            assert (image.format, image.size) == ("JPEG", (LONG_SIDE, 120))
        assert encode_thumbnail(content).startswith("data:image/jpeg;base64,")


def save_into(folder: Path, drawn: Drawn, data_digest: str) -> Path:
    folder.mkdir()
    file, notes = save_thumbnails(make_dataset(drawn), folder, data_digest)
    assert (file, notes) == (folder / THUMBNAILS, ())
    return folder / THUMBNAILS


def test_the_same_images_give_the_same_bytes(drawn: Drawn, tmp_path: Path) -> None:
    first = save_into(tmp_path / "first", drawn, "one")
    second = save_into(tmp_path / "second", drawn, "other")
    assert not first.samefile(second)
    assert first.read_bytes() == second.read_bytes()


def test_the_next_training_on_the_same_images_has_a_link_to_the_file_before(drawn: Drawn, tmp_path: Path) -> None:
    first = save_into(tmp_path / "first", drawn, str(tmp_path))
    # Images are not read again.
    for name in drawn.annotations.names:
        (drawn.folder / name).unlink()
    second = save_into(tmp_path / "second", drawn, str(tmp_path))
    third = save_into(tmp_path / "third", drawn, str(tmp_path))
    assert first.samefile(second)
    assert first.samefile(third)


@pytest.mark.parametrize("is_removed", [True, False])
def test_a_file_that_has_changed_is_not_linked_to(drawn: Drawn, tmp_path: Path, *, is_removed: bool) -> None:
    first = save_into(tmp_path / "first", drawn, str(tmp_path))
    content = first.read_bytes()
    first.unlink()
    if not is_removed:
        first.write_bytes(b"something else")
    assert save_into(tmp_path / "second", drawn, str(tmp_path)).read_bytes() == content


def test_without_links_each_training_has_a_file(drawn: Drawn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    first = save_into(tmp_path / "first", drawn, str(tmp_path))
    second = save_into(tmp_path / "second", drawn, str(tmp_path))
    assert not first.samefile(second)
    assert first.read_bytes() == second.read_bytes()


def test_of_many_images_some_are_taken_evenly(drawn: Drawn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thumbnails, "MAX_IMAGES", 3)
    save_thumbnails(make_dataset(drawn), tmp_path, str(tmp_path))
    unpacked = unpack_thumbnails((tmp_path / THUMBNAILS).read_bytes(), digest(drawn))
    assert list(unpacked) == [drawn.annotations.image_ids[index] for index in (0, 2, 4)]


def test_the_file_stays_below_its_bound(drawn: Drawn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thumbnails, "MAX_BYTES", 4000)
    save_thumbnails(make_dataset(drawn), tmp_path, str(tmp_path))
    assert 0 < len(unpack_thumbnails((tmp_path / THUMBNAILS).read_bytes(), digest(drawn))) < 7


def test_an_image_that_does_not_open_is_noted_and_the_others_are_there(drawn: Drawn, tmp_path: Path) -> None:
    (drawn.folder / drawn.annotations.names[2]).write_bytes(b"no image")
    _, notes = save_thumbnails(make_dataset(drawn), tmp_path, str(tmp_path))
    assert len(notes) == 1
    assert "the thumbnail of 0002" in notes[0]
    assert len(unpack_thumbnails((tmp_path / THUMBNAILS).read_bytes(), digest(drawn))) == 6


def test_without_any_thumbnail_there_is_no_file(drawn: Drawn, tmp_path: Path) -> None:
    for name in drawn.annotations.names:
        (drawn.folder / name).unlink()
    file, notes = save_thumbnails(make_dataset(drawn), tmp_path, str(tmp_path))
    assert file is None
    assert notes[0].endswith("(and 6 more)")
    assert not (tmp_path / THUMBNAILS).exists()


def pack(entries: dict[str, bytes], comment: str, method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        file.comment = comment.encode()
        for name, content in entries.items():
            file.writestr(name, content)
    return buffer.getvalue()


def test_files_of_other_images_or_too_large_or_broken_are_not_read() -> None:
    assert unpack_thumbnails(pack({"1.jpg": b"x"}, "right"), "right") == {1: b"x"}
    assert unpack_thumbnails(pack({"1.jpg": b"x"}, "wrong"), "right") == {}
    assert unpack_thumbnails(pack({"1.jpg": bytes(9 << 20)}, "right"), "right") == {}
    assert unpack_thumbnails(pack({f"{number}.jpg": b"" for number in range(400)}, "right"), "right") == {}
    assert unpack_thumbnails(b"PK no zip", "right") == {}


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressed_files_whole_or_broken_are_not_read(method: int) -> None:
    whole = pack({"1.jpg": bytes(range(256)) * 20}, "right", method)
    assert unpack_thumbnails(whole, "right") == {}
    # The data of the first entry lie behind its header of 30 bytes and its name.
    broken = whole[:40] + bytes(b ^ 0xFF for b in whole[40:60]) + whole[60:]
    assert unpack_thumbnails(broken, "right") == {}


def test_entries_with_other_names_are_left_out() -> None:
    names = {"../1.jpg": b"", "1.png": b"", ".jpg": b"", f"{'9' * 99}.jpg": b"", "2.jpg": b"y"}
    assert unpack_thumbnails(pack(names, "right"), "right") == {2: b"y"}


def test_what_is_no_small_jpeg_is_not_shown() -> None:
    def encode(size: tuple[int, int], kind: str) -> bytes:
        buffer = io.BytesIO()
        Image.new("RGB", size).save(buffer, format=kind)
        return buffer.getvalue()

    assert encode_thumbnail(encode((40, 30), "PNG")) == ""
    assert encode_thumbnail(encode((2000, 2000), "JPEG")) == ""
    assert encode_thumbnail(encode((40, 30), "JPEG")[:200]) == ""
    assert encode_thumbnail(b"<svg onload=alert(1)>") == ""
