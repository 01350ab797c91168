"""Which files a prediction reads, under which names, and what is said of the others."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fcos.errors import ConfigError
from fcos.prediction.sources import Sources, find_sources

Save = Callable[..., Path]


def sources_of(*arguments: Path | str) -> Sources:
    return find_sources([str(argument) for argument in arguments])


def names_of(*arguments: Path | str) -> list[str]:
    return [image.name for image in sources_of(*arguments).images]


def test_images_of_every_kind_are_recognised_by_content(tmp_path: Path, save_image: Save) -> None:
    kinds = {"a.jfif": "JPEG", "b.gif": "GIF", "c.avif": "AVIF", "d.jp2": "JPEG2000", "e.ppm": "PPM", "f": "PNG",
             "g.dat": "WEBP"}  # fmt: skip
    for name, kind in kinds.items():
        save_image(tmp_path / name, format=kind)
    (tmp_path / "labels.txt").write_text("disc")
    (tmp_path / ".DS_Store").write_bytes(b"\0")
    sources = sources_of(tmp_path)
    assert [image.name for image in sources.images] == sorted(kinds)
    assert {image.size for image in sources.images} == {(48, 64)}
    assert sources.notes == (
        "left out: 1 hidden files or folders (.DS_Store)",
        "left out: 1 files that are no images (labels.txt)",
    )


def test_animated_images_are_reported(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (20, 20), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    (note,) = sources_of(tmp_path).notes
    assert note == "only the first frame is read of 1 animated or paged images (a.gif)"


def test_a_file_with_the_suffix_of_an_image_counts_as_a_broken_image(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"no image")
    (image,) = sources_of(tmp_path).images
    assert image.name == "a.jpg" and image.size is None


def test_equal_names_in_different_folders_stay_apart(tmp_path: Path, save_image: Save) -> None:
    for folder in ("a", "b/c"):
        save_image(tmp_path / folder / "x.png")
    assert names_of(tmp_path) == ["a/x.png", "b/c/x.png"]
    assert names_of(tmp_path / "a" / "x.png", tmp_path / "b" / "c" / "x.png") == ["a/x.png", "b/c/x.png"]
    assert names_of(tmp_path / "a", tmp_path / "b") == ["a/x.png", "b/c/x.png"]
    assert names_of(tmp_path / "a", tmp_path / "a" / "x.png") == ["x.png"]


def test_names_never_lead_above_the_output_folder(
    tmp_path: Path, save_image: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_image(tmp_path / "a" / "x.png")
    save_image(tmp_path / "b" / "y.png")
    monkeypatch.chdir(tmp_path / "b")
    assert names_of("../a", ".") == ["a/x.png", "b/y.png"]


def test_patterns_name_files_also_those_below(tmp_path: Path, save_image: Save) -> None:
    for name in ("a.png", "b/c.png", "b/d.bmp"):
        save_image(tmp_path / name)
    assert names_of(f"{tmp_path}/*.png") == ["a.png"]
    assert names_of(f"{tmp_path}/**/*.png") == ["a.png", "b/c.png"]
    assert names_of(f"{tmp_path}/b*") == ["b/c.png", "b/d.bmp"]
    with pytest.raises(ConfigError, match=r"\*\.tif: matches no file"):
        names_of(f"{tmp_path}/*.tif")


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path, save_image: Save) -> None:
    assert names_of(save_image(tmp_path / "cells [1].png")) == ["cells [1].png"]


def test_what_a_prediction_wrote_is_not_predicted(tmp_path: Path, save_image: Save) -> None:
    save_image(tmp_path / "a.jpg")
    save_image(tmp_path / "pictures" / "of_my_own.jpg")
    for folder, results in (("found", "detections.json"), ("killed", "detections.jsonl")):
        save_image(tmp_path / folder / "pictures" / "a.jpg.jpg")
        (tmp_path / folder / results).write_text("[]")
    assert names_of(tmp_path) == names_of(f"{tmp_path}/**/*.jpg") == ["a.jpg", "pictures/of_my_own.jpg"]
    assert "left out: 2 files or folders of pictures that predict wrote" in " ".join(sources_of(tmp_path).notes)
    with pytest.raises(ConfigError, match="holds no image; left out: 1 files or folders of pictures that predict"):
        sources_of(tmp_path / "found" / "pictures")


def test_links_are_followed_and_circles_are_not(tmp_path: Path, save_image: Save) -> None:
    save_image(tmp_path / "photos" / "a.png")
    save_image(tmp_path / "elsewhere" / "b.png")
    (tmp_path / "photos" / "circle").symlink_to(tmp_path / "photos")
    (tmp_path / "photos" / "link").symlink_to(tmp_path / "elsewhere")
    assert names_of(tmp_path / "photos") == ["a.png", "link/b.png"]


def test_a_pipe_is_not_waited_for(tmp_path: Path, save_image: Save) -> None:
    os.mkfifo(tmp_path / "pipe")
    save_image(tmp_path / "a.png")
    assert names_of(tmp_path) == ["a.png"]


def test_videos_are_taken_where_they_are_named(tmp_path: Path, save_image: Save) -> None:
    save_image(tmp_path / "a.png")
    (tmp_path / "clip.mp4").write_bytes(b"\0")
    assert [video.name for video in sources_of(tmp_path / "clip.mp4").videos] == ["clip.mp4"]
    sources = sources_of(tmp_path)
    assert not sources.videos and "1 videos" in sources.notes[0]


def test_videos_are_taken_where_a_pattern_matches_them(tmp_path: Path, save_image: Save) -> None:
    save_image(tmp_path / "a.png")
    for name in ("one.mp4", "two.mp4", "below/three.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\0")
    assert [video.name for video in sources_of(f"{tmp_path}/*.mp4").videos] == ["one.mp4", "two.mp4"]
    # A folder that a pattern matches is a folder like any other.
    everything = sources_of(f"{tmp_path}/*")
    assert [video.name for video in everything.videos] == ["one.mp4", "two.mp4"]
    assert [image.name for image in everything.images] == ["a.png"]
    assert (
        "1 videos, which are predicted where they are named, by a pattern such as '*.mp4' too (below/three.mp4)"
        in (everything.notes[0])
    )


def test_mistakes_are_one_sentence(tmp_path: Path, save_image: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    save_image(tmp_path / "photos" / "a.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"photo: no such folder or file; did you mean photos\?"):
        sources_of(tmp_path / "photo")
    with pytest.raises(ConfigError, match=r"empty: holds no image$"):
        sources_of(tmp_path / "empty")

    def refuse(path: Any) -> Any:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ConfigError, match=r"photos: cannot be read \(Permission denied\)"):
        sources_of(tmp_path / "photos")
