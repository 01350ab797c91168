"""Images are found under another spelling of their name, and never outside their folder."""

import errno
import os
import unicodedata
from pathlib import Path

import pytest

from fcos.annotations.coco_file import is_below_folder
from fcos.errors import ReadError
from fcos.images.image_names import locate_images, other_spellings
from fcos.storage import files


def touch(folder: Path, name: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"12345")


@pytest.mark.parametrize(
    ("listed", "on_disk"),
    [
        ("upload\\a.png", "upload/a.png"),
        ("my%20photo.png", "my photo.png"),
        ("upload%2Fa.png", "upload/a.png"),
        ("up%5Cmy%20a.png", "up/my a.png"),
        ("%E7%BF%98.png", "翘.png"),
        ("my%2520photo.png", "my photo.png"),
        (" a.png ", "a.png"),
        ("photos/a.png", "a.png"),
        ("photos\\up\\a.png", "up/a.png"),
        ("a.jpg", "a.JPG"),
        ("Up\\A%20b.png", "up/a b.PNG"),
        ("Photos/a.png", "a.png"),
        (unicodedata.normalize("NFC", "Größe.png"), unicodedata.normalize("NFD", "Größe.png")),
        (unicodedata.normalize("NFD", "Größe.png"), unicodedata.normalize("NFC", "Größe.png")),
    ],
)
def test_an_image_is_found_under_another_spelling_which_is_noted(tmp_path: Path, listed: str, on_disk: str) -> None:
    folder = tmp_path / "photos"
    touch(folder, on_disk)
    located = locate_images(folder, ["none.png", listed])
    assert located.names == ("none.png", on_disk)
    assert [size for _, size, _ in located.stats] == [-1, 5]
    assert located.notes("val") == [
        f"val: 1 image is read under another spelling of the name: {listed!r} as {on_disk!r}"
    ]


def test_the_end_of_the_folders_path_may_be_repeated_in_a_name(tmp_path: Path) -> None:
    folder = tmp_path / "dataset" / "images"
    touch(folder, "up/a.png")
    assert locate_images(folder, ["dataset/images/up/a.png"]).names == ("up/a.png",)
    assert locate_images(folder, ["other/images/up/a.png"]).stats == (("other/images/up/a.png", -1, -1),)


def test_capitals_decide_where_several_files_differ_in_them_alone(tmp_path: Path) -> None:
    for name in ("a.JPG", "A.jpg", "b.jpg"):
        touch(tmp_path, name)
    names = ("a.JPG", "A.jpg", "a.jpg", "B.JPG")
    assert locate_images(tmp_path, names).names == ("a.JPG", "A.jpg", "a.jpg", "b.jpg")


@pytest.mark.parametrize("missing", ["a.JPG", "%61.jpg", " a.jpg", "photos/a.jpg", "photos\\A.jpg"])
def test_the_name_of_another_image_is_no_spelling_of_a_missing_one(tmp_path: Path, missing: str) -> None:
    touch(tmp_path / "photos", "a.jpg")
    names = (missing, "a.jpg")
    located = locate_images(tmp_path / "photos", names)
    assert located.names == names and located.stats[0] == (missing, -1, -1) and located.mended == {}


def test_a_folder_that_may_not_be_listed_holds_no_other_spelling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: object) -> list[str]:
        raise OSError(error, os.strerror(error), path)

    monkeypatch.setattr(os, "listdir", refuse)
    error = errno.EACCES
    assert locate_images(tmp_path, ["a.png"]).stats == (("a.png", -1, -1),)
    error = errno.EIO
    monkeypatch.setattr(files, "PAUSES", ())
    with pytest.raises(ReadError, match="cannot be read now"):
        locate_images(tmp_path, ["a.png"])


def test_a_name_that_exists_is_left_alone(tmp_path: Path) -> None:
    for name in ("my%20photo.png", "my photo.png", "a\\b.png", "a/b.png"):
        touch(tmp_path, name)
    names = ("my%20photo.png", "a\\b.png")
    located = locate_images(tmp_path, names)
    assert located.names == names and located.notes("train") == []


def test_many_names_are_counted_and_three_shown(tmp_path: Path) -> None:
    for number in range(5):
        touch(tmp_path, f"a {number}.png")
    (note,) = locate_images(tmp_path, [f"a%20{number}.png" for number in range(5)]).notes("train")
    assert note.startswith("train: 5 images are read under") and note.count(" as ") == 3 and note.endswith(", ...")


@pytest.mark.parametrize(
    "name",
    ["%2e%2e%2fsecret.png", "a%2f..%2f..%2fsecret.png", "%2Fetc%2Fpasswd", "C%3A%5Csecret.png", "..%5Csecret.png",
     "%5C%5Chost%5Csecret.png", "a%00.png", "%20"],
)  # fmt: skip
def test_a_spelling_that_leaves_the_folder_is_never_tried(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "secret.png")
    (tmp_path / "images").mkdir()
    assert other_spellings(name, Path("photos")) == []
    assert locate_images(tmp_path / "images", [name]).stats == ((name, -1, -1),)


@pytest.mark.parametrize(
    "name", ["%252e%252e%252fsecret.png", "photos//etc/hostname", " ../secret.png", "photos/../../a"]
)
def test_no_spelling_leads_out_of_the_folder(name: str) -> None:
    assert all(is_below_folder(spelling) for spelling in other_spellings(name, Path("photos")))
    assert not {"../secret.png", "/etc/hostname", "../../a"} & set(other_spellings(name, Path("photos")))
