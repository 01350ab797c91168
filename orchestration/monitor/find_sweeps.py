"""Find the sweeps of an output folder, and the one that a name means."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fcos.errors import ConfigError, Mistake, suggest
from fcos.storage.files import reason_of
from fcos.storage.store_conventions import Artifact
from orchestration.cli.lock import LOCK
from orchestration.experiment.training_folder import STATUS

# Of which one is there from the first moment of a sweep on.
MARKS = (Artifact.PLAN, STATUS, LOCK)
# Folders of the output that hold no sweep and that commands of this project make.
OTHERS = ("mlartifacts", "lr_range")
PAPERS = "paper_"
# Names that a note lists.
MOST_NAMES = 5


@dataclass(frozen=True)
class Found:
    """The sweeps of an output folder, and notes on folders that are none or cannot be read."""

    folders: tuple[Path, ...]
    notes: tuple[str, ...]


def find_sweeps(output: Path) -> Found:
    """Return the folders of all sweeps and single runs below an output folder, by name.

    Raises ConfigError for an output folder that is not there or cannot be read.
    """
    try:
        entries = sorted(entry for entry in output.iterdir() if entry.is_dir())
    except FileNotFoundError:
        raise _no_output(output, "there is no such folder") from None
    except NotADirectoryError:
        raise _no_output(output, "this is a file") from None
    except OSError as error:
        raise _no_output(output, f"it cannot be read ({reason_of(error)})") from None
    sweeps, others, closed = [], [], []
    for entry in entries:
        try:
            found = is_sweep(entry)
        except OSError as error:
            closed.append(f"{entry.name} ({reason_of(error)})")
            continue
        if found:
            sweeps.append(entry)
        elif not (entry.name.startswith((".", PAPERS)) or entry.name in OTHERS):
            others.append(entry.name)
    notes = [_list("holds no sweep" if len(others) == 1 else "hold no sweep", others)] if others else []
    notes += [_list("cannot be read", closed)] if closed else []
    return Found(tuple(sweeps), tuple(notes))


def find_sweep(output: Path, name: str) -> Path:
    """Return the folder of a sweep by its name, or by its path.

    Raises ConfigError with near matches for one that is not there.
    """
    for folder in (output / name, Path(name)):
        try:
            if folder.is_dir() and is_sweep(folder):
                return folder.absolute()
        except OSError as error:
            raise ConfigError(
                Mistake(f"its folder cannot be read ({reason_of(error)})", "NAME", name, hint="have its owner open it")
            ) from None
    raise no_such_sweep(name, find_sweeps(output).folders, output)


def no_such_sweep(name: str, folders: Sequence[Path], output: object) -> ConfigError:
    """Return the error for a name that none of the folders of an output has, with near matches."""
    names = [folder.name for folder in folders]
    there = f"{output} has {', '.join(names[:MOST_NAMES])}" if names else f"{output} has none"
    hint = suggest(name, names) or f"{there}; --output=FOLDER looks elsewhere"
    return ConfigError(Mistake("there is no such sweep", "NAME", name, hint=hint))


def is_sweep(folder: Path) -> bool:
    """Return whether a folder is that of a sweep or a single run; raises OSError where one may not look."""
    names = {entry.name for entry in folder.iterdir()}
    return not names.isdisjoint(MARKS)


def _no_output(output: Path, rule: str) -> ConfigError:
    hint = "give the output folder of the sweeps, --output=FOLDER"
    return ConfigError(Mistake(rule, "--output", str(output), hint=hint))


def _list(what: str, names: list[str]) -> str:
    shown = ", ".join(names[:MOST_NAMES])
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return f"{len(names)} {'folder' if len(names) == 1 else 'folders'} {what}: {shown}{more}"
