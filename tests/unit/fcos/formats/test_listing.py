"""A folder is listed whole or refused with the reason, and what a disk refuses for a moment is read again."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from PIL import Image

from fcos.errors import DataError, ReadError
from fcos.formats.as_coco import FolderSettings, folder_as_coco
from fcos.formats.listing import list_folder
from fcos.formats.recognise import read_folder, recognise
from fcos.formats.structures import Remarks
from fcos.storage import files
from tests.helpers.data.labelled_folders import box, image, write_folder, write_image

IMAGES = [image("train/a.png", box()), image("valid/b.png", box("dog"))]


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PAUSES", (0.0,) * len(files.PAUSES))


def failing(function: Callable[..., Any], name: str, number: int, times: int) -> Callable[..., Any]:
    """Return a function that fails so many times with an errno where its first argument is a path of this name."""
    left = [times]

    def call(path: Any, *arguments: Any, **options: Any) -> Any:
        if Path(path).name == name and left[0]:
            left[0] -= 1
            raise OSError(number, os.strerror(number), str(path))
        return function(path, *arguments, **options)

    return call


@pytest.mark.parametrize("format_name", ["yolo", "voc", "labelme"])
def test_an_image_that_a_disk_refuses_is_not_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format_name: Any
) -> None:
    root = write_folder(tmp_path / "photos", format_name, IMAGES)
    for file in (*root.rglob("*.xml"), *root.rglob("*.json")):
        text = file.read_text().replace('"imageWidth": 64', '"imageWidth": null')
        file.write_text(text.replace("<width>64</width>", "<width>0</width>"))
    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", failing(Path.open, "b.png", errno.EIO, 100))
        with pytest.raises(ReadError, match=r"b\.png: cannot be read now"):
            folder_as_coco(root, FolderSettings(), tmp_path / "cache")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", failing(Path.open, "b.png", errno.EIO, 2))
        folder = folder_as_coco(root, FolderSettings(), tmp_path / "cache")
    assert '"valid/b.png"' in (Path(folder.root) / "val.json").read_text()


@pytest.mark.parametrize(
    ("format_name", "file"),
    [
        ("coco", "annotations.json"),
        ("voc", "a.xml"),
        ("cvat", "annotations.xml"),
        ("labelme", "a.json"),
        ("yolo", "a.txt"),
    ],
)
@pytest.mark.parametrize(("number", "kind"), [(errno.EIO, ReadError), (errno.EACCES, DataError)])
def test_an_annotation_file_that_cannot_be_read_is_never_no_annotation_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format_name: Any, file: str, number: int, kind: type[Exception]
) -> None:
    root = write_folder(tmp_path / "photos", format_name, IMAGES)
    for method in ("open", "read_bytes"):
        monkeypatch.setattr(Path, method, failing(getattr(Path, method), file, number, 100))
    with pytest.raises(kind, match=f"{file}: cannot be read"):
        folder_as_coco(root, FolderSettings(), tmp_path / "cache")


@pytest.mark.parametrize(("number", "kind"), [(errno.EIO, ReadError), (errno.EACCES, DataError)])
def test_a_folder_that_cannot_be_listed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception]
) -> None:
    root = write_folder(tmp_path / "photos", "yolo", IMAGES)
    monkeypatch.setattr(os, "scandir", failing(os.scandir, "valid", number, 100))
    with pytest.raises(kind, match="valid: cannot be read"):
        list_folder(root)


@pytest.mark.parametrize("lost", ["train/c.png", "c.JSON", "train/more"])
def test_a_link_that_hides_data_is_refused_and_one_to_a_folder_is_counted(tmp_path: Path, lost: str) -> None:
    root = write_folder(tmp_path / "photos", "yolo", IMAGES)
    (tmp_path / "elsewhere").mkdir()
    (root / "more").symlink_to(tmp_path / "elsewhere")
    listing = list_folder(root)
    assert listing.folder_links == (PurePosixPath("more"),)
    assert "links to folders are not followed: 1 (more)" in read_folder(listing, recognise(listing).format, {}).notes
    (root / lost).symlink_to(tmp_path / "lost")
    with pytest.raises(DataError, match=f"{lost}: is a link to what is not there; mend it or remove it"):
        list_folder(root)


def test_links_that_lead_nowhere_and_hide_no_data_are_left_out(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "photos", "yolo", IMAGES)
    for name in ("paper.pdf", "wandb/debug.log", "outputs/checkpoint"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).symlink_to(tmp_path / "lost")
    folder = folder_as_coco(root, FolderSettings(), tmp_path / "cache")
    assert [note for note in folder.notes if "link" in note] == [
        "links that lead nowhere are left out: 1 (outputs/checkpoint)"
    ]
    (root / "outputs" / "checkpoint").unlink()
    assert not any("link" in note for note in folder_as_coco(root, FolderSettings(), tmp_path / "cache").notes)


def test_a_link_to_images_that_are_not_there_is_named_where_there_are_no_others(tmp_path: Path) -> None:
    (tmp_path / "images").symlink_to(tmp_path / "lost")
    with pytest.raises(DataError, match=r"holds no images .*; links lead nowhere: images$"):
        list_folder(tmp_path)


def test_names_that_are_not_utf8_are_refused_where_they_are_of_data(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "photos", "yolo", IMAGES)
    (root / os.fsdecode(b"gr\xf6\xdfe.pdf")).write_bytes(b"")
    assert list_folder(root).images == (PurePosixPath("train/a.png"), PurePosixPath("valid/b.png"))
    write_image(root / "train" / os.fsdecode(b"gr\xf6.png"), 8, 8)
    with pytest.raises(DataError, match=r"1 names below it are not UTF-8 \(train/gr\\xf6\.png\), .* convmv") as caught:
        list_folder(root)
    str(caught.value).encode()


def test_images_of_other_kinds_and_without_a_suffix_are_counted(tmp_path: Path) -> None:
    root = write_folder(tmp_path, "yolo", [image("a.png", box())])
    for name in ("b.heic", "LICENSE"):
        (root / name).write_text("text")
    (root / "b.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    (root / "c").write_bytes((root / "a.png").read_bytes())
    listing = list_folder(root)
    notes = read_folder(listing, "yolo", {}).notes
    assert "images of kinds that are not read, or without a suffix, are left out: 2 (b.heic, c)" in notes
    assert "label files without an image are left out: 1 (b.txt)" in notes


def test_a_file_without_a_suffix_that_must_not_be_read_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_folder(tmp_path, "yolo", [image("a.png", box())])
    os.mkfifo(root / "queue")
    (root / "LICENSE").write_text("text")
    listing = list_folder(root)
    monkeypatch.setattr(Path, "open", failing(Path.open, "LICENSE", errno.EACCES, 100))
    assert listing.other_images == ()
    monkeypatch.setattr(Path, "open", failing(Path.open, "LICENSE", errno.EIO, 100))
    with pytest.raises(ReadError, match="LICENSE: cannot be read now"):
        _ = list_folder(root).other_images


@pytest.mark.parametrize("named", ["a.JPG", "a.jpg"])
@pytest.mark.parametrize(
    "folder", ["", "photos/", "gone/"], ids=["beside", "with its folder", "with a folder of before"]
)
def test_of_names_that_differ_in_case_alone_the_one_that_is_spelled_so_is_found(
    tmp_path: Path, named: str, folder: str
) -> None:
    for name in ("a.JPG", "a.jpg"):
        write_image(tmp_path / "photos" / name, 8, 8)
    remarks = Remarks()
    found = list_folder(tmp_path).find_image(f"{folder}{named}", PurePosixPath("photos"), remarks)
    assert found == PurePosixPath("photos", named)
    assert bool(remarks.notes()) is (folder == "gone/")


def test_a_name_that_two_files_have_in_another_case_is_of_neither(tmp_path: Path) -> None:
    for name in ("a.JPG", "A.jpg"):
        write_image(tmp_path / "photos" / name, 8, 8)
    listing, near = list_folder(tmp_path), PurePosixPath("photos")
    for name in ("a.jpg", "photos/a.jpg", "gone/A.JPG"):
        assert listing.find_image(name, near, Remarks()) is None
    assert [listing.image_of_stem(stem, near) for stem in ("a", "A")] == [near / "a.JPG", near / "A.jpg"]


def test_images_whose_names_differ_in_case_alone_keep_their_boxes(tmp_path: Path) -> None:
    images = [image("photos/a.JPG", box("cat")), image("photos/a.jpg", box("dog"))]
    listing = list_folder(write_folder(tmp_path, "cvat", images))
    folder = read_folder(listing, recognise(listing).format, {})
    assert sorted((each.name, each.boxes[0].label) for each in folder.splits["all"]) == [
        ("photos/a.JPG", "cat"),
        ("photos/a.jpg", "dog"),
    ]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_sizes_are_those_of_the_turned_image_where_orientations_are_applied(
    tmp_path: Path, suffix: str, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    more: dict[str, Any] = {"tiffinfo": {274: orientation}} if suffix == "tif" else {"exif": exif}
    Image.new("RGB", (64, 48)).save(tmp_path / f"a.{suffix}", **more)
    turned = orientation >= 5
    file = PurePosixPath(f"a.{suffix}")
    # That of TIFF belongs to the format.
    assert list_folder(tmp_path).image_size(file) == ((48, 64) if turned and suffix == "tif" else (64, 48))
    assert list_folder(tmp_path, "apply").image_size(file) == ((48, 64) if turned else (64, 48))


def test_a_size_behind_the_first_part_of_a_file_is_found(tmp_path: Path) -> None:
    # Bytes of a profile stand before the size.
    Image.new("RGB", (400, 500)).save(tmp_path / "a.jpg", icc_profile=bytes(1 << 17))
    assert list_folder(tmp_path).image_size(PurePosixPath("a.jpg")) == (400, 500)


def test_what_is_no_image_has_no_size(tmp_path: Path) -> None:
    for name, content in (("a.png", b""), ("b.jpg", b"text"), ("c.png", b"\x89PNG\r\n\x1a\n")):
        (tmp_path / name).write_bytes(content)
        assert list_folder(tmp_path).image_size(PurePosixPath(name)) is None


@pytest.mark.ray
def test_the_size_of_a_large_image_is_known_without_the_rest_of_the_project(tmp_path: Path) -> None:
    (tmp_path / "large.ppm").write_bytes(b"P6 15000 13000 255\n" + bytes(300))
    program = (
        "import sys; from pathlib import Path; from fcos.formats.listing import list_folder; "
        "listing = list_folder(Path(sys.argv[1])); print(listing.image_size(listing.images[0]))"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "(15000, 13000)\n"
