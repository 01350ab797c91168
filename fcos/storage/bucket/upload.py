"""Upload what is new in a run's folder: payload first, then the manifest of each checkpoint, then the run's index."""

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from fcos.storage.bucket.manifest import (
    OBJECTS,
    CheckpointObjects,
    RunIndex,
    StoredCheckpoint,
    StoredObject,
    read_index,
    read_manifest,
    to_bytes,
)
from fcos.storage.bucket.objects import Objects
from fcos.storage.bucket.run_files import (
    FIXED,
    GROWING,
    Synced,
    best_step,
    read_file,
    read_finished,
    result_files,
)
from fcos.storage.checkpoint_folder import CheckpointError, checkpoints_in, digest, sha256_of, step_of
from fcos.storage.run_folder import CHECKPOINTS, FORKS, LOG, TRAINING_ID

# Local: links to the files of a checkpoint that is being uploaded, which the training may remove meanwhile.
UPLOADING = ".uploading"
# Checkpoints that the bucket keeps behind the newest, whatever lies in the local folder.
BEHIND = 1


@dataclass
class RunUpload:
    """The uploads of one run, by one process at a time."""

    folder: Path
    run: Objects
    # Checkpoints that were removed here before their turn came.
    num_skipped: int = 0
    _index: RunIndex | None = None
    # Files by name -> time and size of the content that the bucket has.
    _stamps: dict[str, tuple[int, int]] = field(default_factory=dict)

    def sync(self, *, with_log: bool = False) -> None:
        """Upload what is new, and leave a bucket behind in which what counts is whole, whatever is raised.

        Raises BucketError, OSError and CheckpointError where a disk fails.
        with_log: also the log, which is of interest at an end alone.
        """
        try:
            self._sync(with_log=with_log)
        except BaseException:
            # What was written before is in no index.
            self._stamps.clear()
            raise

    def _sync(self, *, with_log: bool) -> None:
        before = self._known_index()
        # In this order: points that were reported before a checkpoint was saved are there with it.
        fresh = self._fresh_checkpoints(before)
        files = self._upload_growing(before, with_log=with_log)
        index = before.with_files(files)
        for path, name in fresh:
            added = self._upload_checkpoint(path, name, index)
            if added is not None:
                index = index.with_checkpoint(added)
                self._write_index(index, files)
        results = self._upload_result(index)
        index, files = index.with_files(results), {**files, **results}
        dropped = self._superseded(index) if fresh else []
        index = index.without([each.folder for each in dropped])
        if index != self._index:
            self._write_index(index, files)
        self._remove(dropped)

    def remove_checkpoints(self, *, forks_but: frozenset[int] | None = None) -> None:
        """Remove the run's checkpoints from the bucket, or with `forks_but` its forks but those of some steps."""
        index = self._known_index()
        chosen = [
            each for each in index.checkpoints if forks_but is None or (each.is_fork and each.step not in forks_but)
        ]
        if chosen:
            self._write_index(index.without([each.folder for each in chosen]), {})
            self._remove(chosen)

    def _known_index(self) -> RunIndex:
        if self._index is None:
            index, _ = read_index(self.run)
            self._index = self._begun_anew(index)
        return self._index

    def _begun_anew(self, index: RunIndex) -> RunIndex:
        """Return the index, an empty one where the folder holds another training than the bucket, which goes."""
        known, own = index.file(TRAINING_ID), read_file(self.folder / TRAINING_ID)
        if known is None or own is None or known.matches(own):
            return index
        self._write_index(RunIndex(), {})
        self._remove(index.checkpoints)
        self.run.remove([each.name for each in index.files])
        return RunIndex()

    def _write_index(self, index: RunIndex, files: dict[str, StoredObject | None]) -> None:
        # Not known while the answer is open.
        self._index = None
        self.run.write(OBJECTS, to_bytes(index))
        self._index = index
        Synced.read(self.folder).updated(files).write(self.folder)

    def _fresh_checkpoints(self, index: RunIndex) -> list[tuple[Path, str]]:
        """Return the local checkpoints that the bucket lacks, or has otherwise, with their names; the newest first."""
        newest = max((each.step for each in index.own), default=0)
        best, found = best_step(self.folder), []
        for kind in (CHECKPOINTS, FORKS):
            for path in reversed(checkpoints_in(self.folder / kind)):
                name, step = f"{kind}/{path.name}", step_of(path)
                known = index.checkpoint(name)
                if known is None and kind == CHECKPOINTS and step < newest and step != best:
                    # Left behind here by an attempt that went on elsewhere.
                    continue
                try:
                    if known is None or known.digest != digest(path):
                        found.append((path, name))
                except CheckpointError:
                    # Removed just now, or damaged: it is nothing to go on from.
                    continue
        return found

    def _upload_checkpoint(self, path: Path, name: str, index: RunIndex) -> StoredCheckpoint | None:
        """Upload a checkpoint, its manifest last; return None where it was removed before its turn came."""
        stage = self.folder / UPLOADING / path.name
        try:
            try:
                _link_all(path, stage)
                own = digest(stage)
            except (FileNotFoundError, CheckpointError):
                self.num_skipped += 1
                return None
            if index.checkpoint(name) is not None:
                # Its objects are about to be replaced one by one.
                self._write_index(index.without([name]), {})
            target, objects = self.run.below(name), []
            target.remove([OBJECTS])
            for file in sorted(stage.iterdir()):
                target.upload(file, file.name)
                objects.append(StoredObject(name=file.name, size=file.stat().st_size, sha256=sha256_of(file)))
            target.write(OBJECTS, to_bytes(CheckpointObjects(objects=tuple(objects))))
        finally:
            shutil.rmtree(stage, ignore_errors=True)
        return StoredCheckpoint(folder=name, digest=own)

    def _upload_growing(self, index: RunIndex, *, with_log: bool) -> dict[str, StoredObject | None]:
        """Upload files that have changed; return their records, None for one that was removed here."""
        names = [name for name in (*FIXED, *GROWING) if with_log or name != LOG]
        changed = self._upload_files(names, index)
        synced = Synced.read(self.folder).digests
        for name in names:
            known = index.file(name)
            # One that was never here is not this host's to remove.
            if known is not None and synced.get(name) == known.sha256 and not (self.folder / name).exists():
                changed[name] = None
        return changed

    def _upload_result(self, index: RunIndex) -> dict[str, StoredObject | None]:
        """Upload the files of a finished run, the summary last."""
        finished = read_finished(self.folder)
        return {} if finished is None else self._upload_files(result_files(finished.summary), index)

    def _upload_files(self, names: Iterable[str], index: RunIndex) -> dict[str, StoredObject | None]:
        changed: dict[str, StoredObject | None] = {}
        for name in names:
            stamp = _stamp(self.folder / name)
            if stamp is None or self._stamps.get(name) == stamp:
                continue
            data = read_file(self.folder / name)
            if data is None:
                continue
            record = StoredObject.of(name, data)
            if record != index.file(name):
                self.run.write(name, data)
                changed[name] = record
            self._stamps[name] = stamp
        return changed

    def _superseded(self, index: RunIndex) -> list[StoredCheckpoint]:
        """Return the checkpoints that the training itself removed as older ones; forks are others' to remove."""
        here = {path.name for path in checkpoints_in(self.folder / CHECKPOINTS)}
        best = best_step(self.folder)
        older = index.own[1 + BEHIND :]
        return [each for each in older if Path(each.folder).name not in here and each.step != best]

    def _remove(self, checkpoints: Iterable[StoredCheckpoint]) -> None:
        """Remove the objects of checkpoints that the index does not list any more, the manifest first."""
        for each in checkpoints:
            target = self.run.below(each.folder)
            manifest = read_manifest(target)
            target.remove([OBJECTS, *(() if manifest is None else (item.name for item in manifest.objects))])


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_mtime_ns, found.st_size


def _link_all(path: Path, stage: Path) -> None:
    """Link the files of a checkpoint, or copy them where the file system has no links."""
    shutil.rmtree(stage, ignore_errors=True)
    stage.mkdir(parents=True)
    for file in path.iterdir():
        try:
            os.link(file, stage / file.name)
        except FileNotFoundError:
            raise
        except OSError:
            shutil.copyfile(file, stage / file.name)
