"""Archives: the same files give the same bytes, every changed byte is found, hostile ones are refused unread."""

import random
import re
import struct
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fcos.errors import DataError
from fcos.published import archive as archive_module
from fcos.published.archive import END, ArchiveError, extract_archive, write_archive
from fcos.published.crate import check_files, compute_id
from fcos.published.layout import MAX_BYTES, METADATA, explain_bad_name, make_safe_word
from tests.helpers.experiments.published import DEVICE, LINK, flip, pack, unpack, write_tiny

PLAN = "tiny/sweep/plan.json"


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    write_tiny(tmp_path / "source", tmp_path / "tiny.zip")
    return tmp_path / "tiny.zip"


def test_the_same_files_give_the_same_bytes_whenever_and_wherever_they_are_written(tiny: Path, tmp_path: Path) -> None:
    write_tiny(tmp_path / "elsewhere" / "deeper", tmp_path / "again.zip")
    (tmp_path / "elsewhere" / "deeper" / "sweep" / "plan.json").chmod(0o600)
    write_archive(tmp_path / "elsewhere" / "deeper", "tiny", tmp_path / "again.zip")
    assert tiny.read_bytes() == (tmp_path / "again.zip").read_bytes()


def test_what_is_extracted_is_what_was_written(tiny: Path, tmp_path: Path) -> None:
    folder = unpack(tiny, tmp_path / "out")
    assert folder.name == "tiny"
    assert check_files(folder) == 2
    assert (folder / "sweep" / "plan.json").read_text() == '{"code": "c", "trials": []}'
    assert [info.compress_type for info in zipfile.ZipFile(tiny).infolist()] == [zipfile.ZIP_STORED] * 3


def test_every_single_flipped_byte_is_found_and_named(tiny: Path, tmp_path: Path) -> None:
    generator = random.Random(0)
    size = tiny.stat().st_size
    for position in range(size):
        changed = flip(tiny, position, tmp_path / "changed.zip", bit=generator.randrange(8))
        with pytest.raises(ArchiveError) as caught:
            unpack(changed, tmp_path / "out")
        # A file, a name as it is written now, or a position.
        named = str(caught.value).removeprefix(f"{changed}: ")
        assert re.search(r"tiny/|\.json|bytes? \d|has the folders", named), named


def test_a_damaged_directory_is_named_by_its_bytes(tiny: Path, tmp_path: Path) -> None:
    content = tiny.read_bytes()
    first, end = content.index(b"PK\x01\x02"), content.index(b"PK\x05\x06")
    with pytest.raises(ArchiveError, match=rf"bytes {first} to {end - 1}: the directory of its entries is damaged"):
        unpack(flip(tiny, first, tmp_path / "changed.zip"), tmp_path / "out")


def test_the_largest_archive_needs_no_further_fields_of_the_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # zipfile.ZIP64_LIMIT
    assert MAX_BYTES <= (1 << 31) - 1
    write_tiny(tmp_path / "source", tmp_path / "tiny.zip")
    (tmp_path / "source" / "sweep" / "plan.json").write_bytes(b"x" * 1_000_000)
    # So that a file is above the bound with 5 % more, and the whole is not.
    monkeypatch.setattr("zipfile.ZIP64_LIMIT", 1_020_000)
    write_archive(tmp_path / "source", "tiny", tmp_path / "large.zip")
    assert (unpack(tmp_path / "large.zip", tmp_path / "out") / "sweep" / "plan.json").stat().st_size == 1_000_000


def test_more_bytes_than_the_bound_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tiny(tmp_path / "source", tmp_path / "tiny.zip")
    monkeypatch.setattr(archive_module, "MAX_BYTES", 1000)
    with pytest.raises(ArchiveError, match="has more than 1000 bytes"):
        unpack(tmp_path / "tiny.zip", tmp_path / "out")
    with pytest.raises(ArchiveError, match="are more than an archive may hold"):
        write_archive(tmp_path / "source", "tiny", tmp_path / "again.zip")


def test_a_flipped_byte_of_a_content_is_named_by_its_file(tiny: Path, tmp_path: Path) -> None:
    position = tiny.read_bytes().index(b'"code"')
    with pytest.raises(ArchiveError, match=r"tiny/sweep/plan\.json is damaged"):
        unpack(flip(tiny, position, tmp_path / "changed.zip"), tmp_path / "out")


@pytest.mark.parametrize("cut", [1, 30, 200])
def test_a_file_that_was_cut_off_is_refused(tiny: Path, tmp_path: Path, cut: int) -> None:
    (tmp_path / "cut.zip").write_bytes(tiny.read_bytes()[:-cut])
    with pytest.raises(ArchiveError, match=r"cut\.zip: "):
        unpack(tmp_path / "cut.zip", tmp_path / "out")


@pytest.mark.parametrize("where", ["before", "behind"])
def test_bytes_around_an_archive_are_refused(tiny: Path, tmp_path: Path, where: str) -> None:
    content = tiny.read_bytes()
    (tmp_path / "more.zip").write_bytes(b"#!/bin/sh\n" + content if where == "before" else content + b"more")
    with pytest.raises(ArchiveError):
        unpack(tmp_path / "more.zip", tmp_path / "out")


def test_a_file_that_is_missing_or_no_archive_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such archive"):
        extract_archive(tmp_path / "absent.zip", tmp_path)
    (tmp_path / "text.zip").write_text("not a zip file, but long enough for the end of one")
    with pytest.raises(ArchiveError, match="is no archive"):
        extract_archive(tmp_path / "text.zip", tmp_path)


HOSTILE_NAMES = {
    "../../evil.json": "leads out of its folder",
    "tiny/../evil.json": "leads out of its folder",
    "tiny/./plan.json": "leads out of its folder",
    "/etc/passwd": "is absolute",
    "C:/windows/run.json": "has a drive letter",
    "tiny\\sweep\\plan.json": "has a backslash",
    "tiny/sweep/plan.json\n": "has control characters",
    "tiny/sweep/\x1b[2Jplan.json": "has control characters",
    "tiny/sweep/plan\u202enosj.json": "has control characters",
    "tiny/<script>alert(1)</script>.json": "has markup",
    "tiny/javascript:x.json": "has markup",
    "tiny/$(touch x).json": "has markup",
    "tiny/trials/x.pkl": "is no file that such an archive has",
    "tiny/sweep/plan.pickle": "is no file that such an archive has",
    "tiny/weights.pt": "is no file that such an archive has",
    "tiny/run.sh": "is no file that such an archive has",
    "tiny/inner.zip": "is no file that such an archive has",
    "tiny/.hidden": "is no file that such an archive has",
    "plan.json": "is no file that such an archive has",
    "tiny/sweep/plän.json": "not ASCII",
    f"tiny/{'x' * 300}.json": "longer than",
}


@pytest.mark.parametrize(("name", "reason"), HOSTILE_NAMES.items())
def test_hostile_names_are_refused_before_anything_is_written(tmp_path: Path, name: str, reason: str) -> None:
    assert reason in explain_bad_name(name)
    file = pack(tmp_path / "hostile.zip", [(name, b"{}")])
    (tmp_path / "out").mkdir()
    with pytest.raises(ArchiveError):
        extract_archive(file, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    assert {path.name for path in tmp_path.iterdir()} == {"hostile.zip", "out"}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"external_attr": LINK}, "is a link"),
        ({"external_attr": DEVICE}, "is no plain file"),
        ({"external_attr": 0}, "is no plain file"),
        ({"compress_type": zipfile.ZIP_DEFLATED}, "is compressed"),
        # A kind of further data that Python reads itself from 3.13 on, and one that it does not.
        ({"extra": b"\x75\x70\x04\x00abcd"}, "flags, a time or further data|Corrupt unicode path"),
        ({"extra": b"\xfe\xca\x04\x00abcd"}, "flags, a time or further data"),
        ({"comment": b"x"}, "flags, a time or further data"),
        ({"date_time": (2020, 1, 1, 0, 0, 0)}, "flags, a time or further data"),
    ],
)
def test_special_entries_are_refused(tmp_path: Path, fields: dict[str, object], reason: str) -> None:
    file = pack(tmp_path / "hostile.zip", [(PLAN, b"{}" * 50)], **fields)
    (tmp_path / "out").mkdir()
    with pytest.raises(ArchiveError, match=reason):
        extract_archive(file, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_bomb_is_refused_before_it_expands(tmp_path: Path) -> None:
    file = pack(tmp_path / "bomb.zip", [(PLAN, bytes(50_000_000))], compress_type=zipfile.ZIP_DEFLATED)
    assert file.stat().st_size < 100_000
    (tmp_path / "out").mkdir()
    with pytest.raises(ArchiveError, match="is compressed"):
        extract_archive(file, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_an_encrypted_entry_is_refused(tmp_path: Path) -> None:
    content = bytearray(pack(tmp_path / "plain.zip", [(PLAN, b"{}")]).read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    (tmp_path / "encrypted.zip").write_bytes(content)
    (tmp_path / "out").mkdir()
    with pytest.raises(ArchiveError, match="is encrypted"):
        extract_archive(tmp_path / "encrypted.zip", tmp_path / "out")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("second", [PLAN, PLAN.replace("plan", "PLAN")])
def test_a_name_that_is_there_twice_is_refused_whatever_its_case(
    tmp_path: Path, second: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Were the layout one day to have names that differ in case alone.
    monkeypatch.setattr(archive_module, "explain_bad_name", lambda name: "")
    file = pack(tmp_path / "twice.zip", [(PLAN, b"{}"), (second, b"[]")])
    (tmp_path / "out").mkdir()
    with pytest.raises(ArchiveError, match="is there twice"):
        extract_archive(file, tmp_path / "out")


def test_more_entries_than_the_bound_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tiny(tmp_path / "source", tmp_path / "tiny.zip")
    monkeypatch.setattr(archive_module, "MAX_FILES", 2)
    (tmp_path / "out").mkdir()
    with pytest.raises(ArchiveError, match="more than 2 entries"):
        extract_archive(tmp_path / "tiny.zip", tmp_path / "out")


def test_two_folders_in_one_archive_are_refused(tmp_path: Path) -> None:
    file = pack(tmp_path / "two.zip", [(PLAN, b"{}"), (PLAN.replace("tiny", "other"), b"{}")])
    (tmp_path / "out").mkdir()
    with pytest.raises(ArchiveError, match="has the folders other and tiny"):
        extract_archive(file, tmp_path / "out")


def test_a_file_of_another_digest_and_one_that_is_not_named_are_found(tmp_path: Path) -> None:
    archive_id = write_tiny(tmp_path / "source", tmp_path / "tiny.zip")
    folder = tmp_path / "source"
    assert archive_id == compute_id(folder)
    (folder / "sweep" / "plan.json").write_text("{}")
    (folder / "sweep" / "config.json").write_text("{}")
    with pytest.raises(ArchiveError, match=r"sweep/config\.json is not named.*sweep/plan\.json is not the file"):
        check_files(folder)
    (folder / "sweep" / "plan.json").unlink()
    with pytest.raises(ArchiveError, match=r"'sweep/plan\.json' is named .* and missing"):
        check_files(folder)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"@graph": [7]}', '{"@graph": [{"@id": "x"}]}', "[" * 100_000])
def test_broken_metadata_are_refused(tmp_path: Path, text: str) -> None:
    write_tiny(tmp_path / "source", tmp_path / "tiny.zip")
    (tmp_path / "source" / METADATA).write_text(text)
    with pytest.raises(ArchiveError, match=METADATA):
        check_files(tmp_path / "source")


@given(names=st.lists(st.text(max_size=40), max_size=6))
def test_words_made_of_any_names_are_ones_that_an_archive_may_have(names: list[str]) -> None:
    taken: set[str] = set()
    words = [make_safe_word(name, taken) for name in names]
    assert len({word.lower() for word in words}) == len(names)
    for word in words:
        assert explain_bad_name(f"{word}/trials/{'0' * 32}/detections/{word}.png") == ""


def change_end(content: bytes, **fields: int) -> bytes:
    """Return a zip file whose last record has other numbers: entries, length, offset."""
    signature, *numbers, comment = END.unpack(content[-END.size :])
    first_disk, disk, of_disk, entries, length, offset = numbers
    entries, of_disk = fields.get("entries", entries), fields.get("entries", of_disk)
    numbers = [first_disk, disk, of_disk, entries, fields.get("length", length), fields.get("offset", offset)]
    return content[: -END.size] + END.pack(signature, *numbers, comment)


def test_a_second_end_of_the_directory_is_refused_before_its_sizes_are_read(tiny: Path, tmp_path: Path) -> None:
    """Readers take a directory's size from it, which no bound was held against."""
    content = tiny.read_bytes()
    *_, length, offset, _ = END.unpack(content[-END.size :])
    second = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 20, 20, 0, 0, 3, 3, length, offset)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, offset + length, 1)
    directory, end = content[: -END.size], content[-END.size :]
    # The plain record is that of a directory which ends where it begins.
    plain = change_end(end, length=length + len(second) + len(locator))
    (tmp_path / "second.zip").write_bytes(directory + second + locator + plain)
    assert len(zipfile.ZipFile(tmp_path / "second.zip").namelist()) == 3
    (tmp_path / "out").mkdir()
    with pytest.raises(ArchiveError, match=r"byte \d+: names a second end of the directory \(zip64\)"):
        extract_archive(tmp_path / "second.zip", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_more_entries_than_the_end_of_the_directory_names_are_refused(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "more.zip").write_bytes(change_end(tiny.read_bytes(), entries=2))
    monkeypatch.setattr(archive_module, "MAX_FILES", 2)
    (tmp_path / "out").mkdir()
    with pytest.raises(ArchiveError, match="has more than 2 entries"):
        extract_archive(tmp_path / "more.zip", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_bytes_between_two_entries_are_refused(tiny: Path, tmp_path: Path) -> None:
    content, script = tiny.read_bytes(), b"#!/bin/sh\n"
    *_, offset, _ = END.unpack(content[-END.size :])
    second = content.index(b"PK\x03\x04", 4)
    directory = bytearray(content[offset : -END.size])
    for line in re.finditer(rb"PK\x01\x02", directory):
        (of_entry,) = struct.unpack_from("<L", directory, line.start() + 42)
        moved = of_entry + (len(script) if of_entry >= second else 0)
        struct.pack_into("<L", directory, line.start() + 42, moved)
    end = change_end(content[-END.size :], offset=offset + len(script))
    (tmp_path / "between.zip").write_bytes(content[:second] + script + content[second:offset] + directory + end)
    assert zipfile.ZipFile(tmp_path / "between.zip").testzip() is None
    with pytest.raises(ArchiveError, match=rf"byte {second}, .* is not what its contents give"):
        unpack(tmp_path / "between.zip", tmp_path / "out")
