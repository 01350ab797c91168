"""Which files a prediction reads: images of any kind that can be decoded, and videos that are named."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fcos.errors import ConfigError, suggest
from fcos.prediction.headers import is_image_suffix, read_headers
from fcos.prediction.results import DETECTIONS, PARTIAL, PICTURES

VIDEO_SUFFIXES: Final = frozenset(
    (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".3gp")
)
WRITTEN: Final = "files or folders of pictures that predict wrote"
# Files that a note names.
EXAMPLES: Final = 3


@dataclass(frozen=True)
class ImageFile:
    """An image file, its name in the results, and its (height, width) where its header has one."""

    path: Path
    name: str
    size: tuple[int, int] | None


@dataclass(frozen=True)
class VideoFile:
    """A video file and its name in the results."""

    path: Path
    name: str


@dataclass(frozen=True)
class Sources:
    """Images and videos in the order of their names, and notes on what was left out."""

    images: tuple[ImageFile, ...]
    videos: tuple[VideoFile, ...]
    notes: tuple[str, ...]


@dataclass
class _LeftOut:
    """Files that are not predicted, by reason."""

    files: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, file: str) -> None:
        self.files.setdefault(reason, []).append(file)

    def notes(self) -> tuple[str, ...]:
        return tuple(
            f"left out: {len(files)} {reason} ({', '.join(files[:EXAMPLES])}{', ...' if len(files) > EXAMPLES else ''})"
            for reason, files in self.files.items()
        )


def find_sources(arguments: Sequence[str]) -> Sources:
    """Return the images and videos that files, folders (with all below them) and glob patterns name.

    Images are recognised by content, whatever their suffix; a file with an image's suffix that is none counts as a
    broken image. Pictures that a prediction wrote and hidden files are left out. Names are relative to the folder that
    all arguments have in common, so that no two are equal.

    Raises ConfigError for a path that does not exist, a folder that cannot be read, and where there is nothing to
    predict.
    """
    left_out = _LeftOut()
    groups = [_files_of(argument, left_out) for argument in arguments]
    base = Path(os.path.commonpath([group.root for group in groups]))
    paths = sorted({path for group in groups for path in group.files}, key=lambda path: path.relative_to(base).parts)
    named = {path for group in groups for path in group.named}
    images, videos, several_frames = [], [], []
    for path, header in zip(paths, read_headers(paths), strict=True):
        name = path.relative_to(base).as_posix()
        if header.is_image or is_image_suffix(path):
            images.append(ImageFile(path, name, header.size))
            several_frames += [name] if header.has_several_frames else []
        elif path.suffix.lower() in VIDEO_SUFFIXES:
            if path in named:
                videos.append(VideoFile(path, name))
            else:
                left_out.add("videos, which are predicted where they are named, by a pattern such as '*.mp4' too", name)
        else:
            left_out.add("files that are no images", name)
    notes = left_out.notes()
    if not images and not videos:
        raise ConfigError(f"{' '.join(arguments)}: holds no image{''.join(f'; {note}' for note in notes)}")
    if several_frames:
        notes += (f"only the first frame is read of {len(several_frames)} animated or paged images "
                  f"({', '.join(several_frames[:EXAMPLES])})",)  # fmt: skip
    return Sources(tuple(images), tuple(videos), notes)


def _absolute(path: str) -> Path:
    # Links stay, whose names are what the user knows; steps up go, as names must stay below the output folder.
    return Path(os.path.normpath(Path(path).absolute()))


@dataclass(frozen=True)
class _Group:
    """The files of an argument, and the folder that their names are relative to."""

    root: Path
    files: Sequence[Path]
    # Those that the argument itself names or matches, and not only a folder that holds them.
    named: Sequence[Path] = ()


def _files_of(argument: str, left_out: _LeftOut) -> _Group:
    """Return the files that an argument names; raises ConfigError for none."""
    path = _absolute(argument)
    if path.is_dir():
        return _Group(path, list(_walk(path, left_out)))
    if path.exists():
        return _Group(path.parent, [path], [path])
    if not _is_pattern(argument):
        raise ConfigError(f"{argument}: no such folder or file{_near(path)}")
    fixed = next(parent for parent in path.parents if not _is_pattern(str(parent)))
    matches = sorted(fixed.glob(str(path.relative_to(fixed))))
    if not matches:
        raise ConfigError(f"{argument}: matches no file")
    below: list[Path] = []
    named: list[Path] = []
    for match in matches:
        if match.is_dir():
            below += _walk(match, left_out)
        elif any(is_written_by_predict(parent) for parent in match.parents if parent.is_relative_to(fixed)):
            left_out.add(WRITTEN, match.relative_to(fixed).as_posix())
        else:
            named.append(match)
    return _Group(fixed, [*below, *named], named)


def is_written_by_predict(folder: Path) -> bool:
    """Return whether a folder holds the pictures of a prediction: by its name, beside results."""
    return folder.name == PICTURES and any((folder.parent / name).exists() for name in (DETECTIONS, PARTIAL))


def _is_pattern(text: str) -> bool:
    return any(character in text for character in "*?[")


def _near(path: Path) -> str:
    """Return a hint with files of a similar name in the same folder."""
    try:
        hint = suggest(path.name, [file.name for file in path.parent.iterdir()])
    except OSError:
        return ""
    return f"; {hint}" if hint else ""


def _walk(folder: Path, left_out: _LeftOut) -> Iterator[Path]:
    """Iterate over the files below a folder; links to folders are followed, each folder once."""

    def refuse(error: OSError) -> None:
        raise ConfigError(f"{error.filename}: cannot be read ({error.strerror})") from error

    seen: set[Path] = set()
    for parent, folders, files in os.walk(folder, followlinks=True, onerror=refuse):
        here = Path(parent).resolve()
        is_written = is_written_by_predict(Path(parent))
        if is_written:
            left_out.add(WRITTEN, parent)
        if is_written or here in seen:
            folders.clear()
            continue
        seen.add(here)
        for name in (*folders, *files):
            if name.startswith("."):
                left_out.add("hidden files or folders", name)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent, name) for name in files if not name.startswith("."))
