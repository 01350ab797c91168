"""Data whose root is an address in a bucket: fetched into the cache folder, once a machine, before they are read."""

import platform
import posixpath
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from fcos.annotations.coco_file import read_coco_file
from fcos.config.choices import SPLITS, Split
from fcos.config.run import DataConfig, SplitConfig
from fcos.errors import DataError, ReadError, suggest
from fcos.storage.bucket.address import Address, is_address
from fcos.storage.bucket.faults import CREDENTIALS, BucketError, BucketMissing, BucketRefused, ObjectMissing
from fcos.storage.bucket.folder_copy import CopyRefused, CountCallback, FolderCopy, NoSpace, ignore_count
from fcos.storage.bucket.objects import Objects, ObjectVersion, open_objects
from fcos.storage.files import expanded
from fcos.storage.reading import ProgressCallback, raise_cache_error

# Suffixes of annotation files, among which a name that is not there is looked for.
ANNOTATIONS = (".json", ".json.gz")


def is_in_bucket(config: DataConfig) -> bool:
    """Return whether the data have to be fetched before they are read."""
    return config.root is not None and is_address(config.root)


def fetch_splits(
    config: DataConfig,
    splits: Collection[Split],
    cache: Path,
    progress: ProgressCallback | None,
    *,
    lenient: bool = False,
) -> Path:
    """Fetch annotations and images of some splits, as far as they are not here; return the local folder for data.root.

    Of an image folder the images that the annotations name are fetched, or all where some have other names there.

    lenient: leave out the images of a split whose annotations are missing or broken, as whoever reads them finds out.
    Raises DataError for data, a bucket or credentials that cannot be used, and ReadError where another attempt may do.
    """
    with _data_errors(config.root, cache):
        copy = _open_copy(config.root, cache)
        located = [_locate(copy.objects, config, split, lenient=lenient) for split in splits]
        names: dict[Split, Collection[str]] = {}
        for each in located:
            try:
                names[each.split] = _fetch_annotations(copy, each, config, cache, progress)
            except DataError:
                if not lenient:
                    raise
        for each in located:
            wanted = {posixpath.normpath(name) for name in names.get(each.split, ())}
            # Where a name is another one there, the images that could be meant have to be here too.
            chosen = wanted if wanted <= each.images.keys() else [*each.images]
            copy.fetch_below(each.folder, each.images, chosen, _counter(copy, f"{each.split} images", progress))
        return copy.root


def fetch_annotations(config: DataConfig, split: Split, cache: Path, progress: ProgressCallback | None) -> Path:
    """Fetch the annotation file of a split alone; returns and raises as `fetch_splits`."""
    with _data_errors(config.root, cache):
        copy = _open_copy(config.root, cache)
        name = _below(_location(config, split).annotations, f"data.{split}.annotations", config.root)
        copy.fetch({name: _annotations_version(copy.objects, config, split)}, _counter(copy, name, progress))
        return copy.root


def local_folder(root: str, cache: Path) -> Path:
    """Return the folder that data.root names, for reading it without a configuration; one in a bucket is fetched first.

    Hidden files are not fetched, as they are never read. A line on standard error reports what is fetched. Raises as
    `fetch_splits`, and ConfigError for an address that is none.
    """
    if not is_address(root):
        return expanded(root, f"data.root={root}").absolute()
    with _data_errors(root, cache):
        copy = _open_copy(root, cache)
        listed = copy.objects.versions()
        if not listed:
            raise _nothing(copy.objects, f"data.root={root}")
        seen = [name for name in listed if not any(part.startswith(".") for part in name.split("/"))]
        copy.fetch_below("", listed, seen, _Announced(copy, f"{len(seen)} objects"))
        return copy.root


@dataclass
class _Announced:
    """A callback that prints one line, when the first object has arrived or is waited for."""

    copy: FolderCopy
    what: str
    is_done: bool = False

    def __call__(self, done: int, total: int) -> None:
        if not self.is_done:
            self.is_done = True
            print(f"fetching from {self.copy.objects.address} ({self.what}) ...", file=sys.stderr, flush=True)


def check_reachable(config: DataConfig, *, with_images: bool) -> str:
    """Return what a bucket has of the data, in words, without fetching it; raises as `fetch_splits`."""
    with _data_errors(config.root):
        assert config.root is not None, "an address"
        objects = open_objects(Address.parse(config.root))
        if not with_images:
            sizes = {
                _location(config, split).annotations: _annotations_version(objects, config, split).size
                for split in SPLITS
            }
            return ", ".join(f"{name} of {size:,} bytes" for name, size in sizes.items())
        located = [_locate(objects, config, split) for split in SPLITS]
    return ", ".join(dict.fromkeys(f"{len(each.images)} objects below {each.folder or '.'}" for each in located))


@contextmanager
def _data_errors(root: str | None, cache: Path | None = None) -> Iterator[None]:
    """Turn errors of buckets and of the cache's disk in the block into DataError and ReadError with the way out."""
    key = f"data.root={root}"
    try:
        yield
    except ReadError:
        raise
    except BucketMissing as error:
        raise DataError(f"{key}: {error}; create it, or give another data.root") from None
    except BucketRefused as error:
        way_out = f"the environment has to hold {CREDENTIALS}"
        raise DataError(f"{key}: on {platform.node()} the bucket refuses: {error}; {way_out}") from None
    except ObjectMissing as error:
        raise DataError(f"{key}: {error} any more; give the same command again when nobody writes there") from None
    except BucketError as error:
        way_out = "see that the network and AWS_ENDPOINT_URL lead there"
        raise ReadError(f"{key}: on {platform.node()} the bucket does not answer: {error}; {way_out}") from None
    except CopyRefused as error:
        raise DataError(f"{key}: {error}") from None
    except NoSpace as error:
        raise DataError(f"{key}: {error}; make space, or give data.cache_dir=<folder on another disk>") from None
    except OSError as error:
        if cache is None:
            raise
        raise_cache_error(cache, error)


def _open_copy(root: str | None, cache: Path) -> FolderCopy:
    assert root is not None, "an address"
    return FolderCopy.below(cache, open_objects(Address.parse(root)))


def _location(config: DataConfig, split: Split) -> SplitConfig:
    location = config.train if split == "train" else config.val
    assert location is not None, "checked by DataConfig"
    return location


@dataclass(frozen=True)
class _Located:
    """The objects of a split: its annotation file, and what its image folder holds."""

    split: Split
    # None where there is no such object.
    annotations: tuple[str, ObjectVersion] | None
    # Below the root; empty for the root itself.
    folder: str
    # By name below the folder.
    images: Mapping[str, ObjectVersion]


def _locate(objects: Objects, config: DataConfig, split: Split, *, lenient: bool = False) -> _Located:
    """Find the objects of a split; lenient: also where there are none."""
    given = _location(config, split)
    name = _below(given.annotations, f"data.{split}.annotations", config.root)
    folder = _below(given.images, f"data.{split}.images", config.root)
    here = objects.below(folder) if folder else objects
    # First, as a refused listing has a reason.
    images = here.versions()
    if lenient:
        version = objects.version(name)
        return _Located(split, None if version is None else (name, version), folder, images)
    found = name, _annotations_version(objects, config, split)
    if not images:
        raise _nothing(here, f"data.{split}.images={given.images}", objects)
    return _Located(split, found, folder, images)


def _annotations_version(objects: Objects, config: DataConfig, split: Split) -> ObjectVersion:
    """Return the version of a split's annotation file; raises DataError naming near matches where there is none."""
    given = _location(config, split).annotations
    version = objects.version(_below(given, f"data.{split}.annotations", config.root))
    if version is None:
        raise _no_annotations(objects, split, given)
    return version


def _fetch_annotations(
    copy: FolderCopy, located: _Located, config: DataConfig, cache: Path, progress: ProgressCallback | None
) -> tuple[str, ...]:
    """Fetch the annotation file of a split, if there is one; return the names of its images that are used."""
    if located.annotations is None:
        return ()
    name, version = located.annotations
    copy.fetch({name: version}, _counter(copy, name, progress))
    limit = config.limit_train if located.split == "train" else config.limit_val
    return read_coco_file(copy.root / name, cache).names[:limit]


def _nothing(objects: Objects, setting: str, root: Objects | None = None) -> DataError:
    """Return the error for a folder that holds nothing, with names below the root that are near to its own."""
    objects.require_bucket()
    hint = ""
    if root is not None:
        folders = root.folders()
        name = objects.address.path.removeprefix(f"{root.address.path}/")
        hint = suggest(name, folders) or (f"folders there: {', '.join(folders[:5])}" if folders else "")
    return DataError(f"{setting}: {objects.address} holds nothing{f'; {hint}' if hint else ''}")


def _no_annotations(objects: Objects, split: Split, given: str) -> DataError:
    """Return the error for an annotation file that is not there, with names that are near to it."""
    setting = f"data.{split}.annotations={given}"
    if not given.strip():
        return DataError(f"{setting}: names no file; give data.{split}.annotations=<COCO json or json.gz>")
    found = [name for name in objects.versions() if name.endswith(ANNOTATIONS)]
    if not found:
        objects.require_bucket()
        return DataError(f"{setting}: no such object, and no annotation file below {objects.address}")
    hint = suggest(given, found) or f"annotation files there: {', '.join(found[:5])}"
    return DataError(f"{setting}: no such object below {objects.address}; {hint}")


def _below(text: str, key: str, root: str | None) -> str:
    """Return a path below the root as the name of an object; empty for the root itself.

    Raises DataError for a path that leads elsewhere.
    """
    parts = PurePosixPath(text).parts
    if is_address(text) or text.startswith(("/", "~")) or ".." in parts:
        raise DataError(f"{key}={text}: leads out of data.root={root}; give a path below it")
    return "/".join(parts)


def _counter(copy: FolderCopy, what: str, progress: ProgressCallback | None) -> CountCallback:
    return ignore_count if progress is None else partial(progress, f"fetching {what} from {copy.objects.address}")
