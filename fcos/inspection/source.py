"""What is to be inspected: a folder, a run's folder, or the words that a training would be given."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

import yaml
from pydantic import Field

from fcos.config.base import Section
from fcos.config.choices import SPLITS, ExifOrientation, Split
from fcos.config.model import ModelConfig
from fcos.config.parse import parse, set_value
from fcos.config.presets import read_option
from fcos.config.run import DataConfig
from fcos.data.bucket_source import local_folder
from fcos.errors import ConfigError, suggest
from fcos.formats.as_coco import FolderSettings
from fcos.formats.structures import FormatName, SplitName
from fcos.inference import with_changes
from fcos.inspection.folder_files import find_folder_files
from fcos.installation import command
from fcos.storage import checkpoint_folder
from fcos.storage.bucket.address import SEPARATOR, is_address
from fcos.storage.bucket.local_copy import copy_of_run
from fcos.storage.files import expanded, user_cache
from fcos.storage.run_folder import CHECKPOINTS
from fcos.weights.find import find_checkpoint

# The model whose level ranges sizes are compared with, where none is named: that of conf/config.yaml.
DEFAULT_MODEL: Final = "fcos_small"
AUTO_WORDS: Final = ("auto.format", "auto.val_fraction", "auto.split_seed")
MODEL_WORDS: Final = ("model.levels", "model.assignment.ranges", "model.assignment.corners")
KNOWN: Final = (
    "data", "data.root", "data.train.annotations", "data.train.images", "data.val.annotations", "data.val.images",
    "data.short_sides", "data.long_side", "data.crowds", "data.exif_orientation", "data.on_bad_image",
    "data.max_megapixels", "data.limit_train", "data.limit_val", "data.cache_dir", *AUTO_WORDS, "model", *MODEL_WORDS,
)  # fmt: skip
Values = dict[str, Any]
SectionT = TypeVar("SectionT", bound=Section)


class AutoWords(Section):
    """What may be set about a folder, which is detected otherwise."""

    format: FormatName | None = None
    val_fraction: float | None = Field(None, gt=0, lt=1)
    split_seed: int = 0


class SizeWords(Section):
    """What decides the sizes of images in a folder whose annotations have none."""

    exif_orientation: ExifOrientation = "ignore"


@dataclass(frozen=True)
class DataSource:
    """The data to inspect, the model whose levels they are compared with, and how both were found."""

    name: str
    data: DataConfig
    model: ModelConfig
    # Those that are read: all that are named.
    splits: tuple[Split, ...]
    # What the model is, in words.
    model_name: str
    # How the folder was understood, and what was left out or changed in reading it.
    understood: tuple[str, ...]
    notes: tuple[str, ...]
    # The command that trains on these data.
    train_command: str
    # Why training refuses the folder as a whole.
    refused: str = ""


def find_data(words: Sequence[str]) -> DataSource:
    """Return what the words of the command line name.

    The first may be a folder, of images or of a run; all others are KEY=VALUE as for a training. Raises ConfigError,
    CheckpointError and DataError for what is not there or cannot be read or is ambiguous.
    """
    first = Path(words[0]).expanduser()
    in_bucket = is_address(words[0]) and "=" not in words[0].partition(SEPARATOR)[0]
    is_path = in_bucket or "=" not in words[0] or first.exists()
    if first.is_file():
        raise ConfigError(
            f"{first}: is a file; give its folder, or data.root=<folder> data.train.annotations=<file below it> "
            "data.train.images=<folder of the images below it>"
        )
    given = _parsed(words[1:] if is_path else words)
    if in_bucket:
        run = copy_of_run(words[0])
        if run is not None:
            return replace(_of_run(run[0], given), name=words[0], notes=tuple(run[1]))
    elif is_path and _is_run(first):
        return _of_run(first, given)
    if is_path:
        if "data.root" in given or given.get("data", "auto") != "auto":
            raise ConfigError(
                f"{first}: is the folder to inspect; leave out {'data.root' if 'data.root' in given else 'data'}"
            )
        given = {**given, "data": "auto", "data.root": words[0] if in_bucket else str(first.absolute())}
    name = given.get("data", "coco" if any(key.startswith(("data.train", "data.val")) for key in given) else "auto")
    return _of_folder(given, words) if name == "auto" else _of_words(str(name), given, words)


def _is_run(path: Path) -> bool:
    return (path / checkpoint_folder.MANIFEST).is_file() or (path / CHECKPOINTS).is_dir()


def _parsed(words: Sequence[str]) -> Values:
    """Parse KEY=VALUE words; raises ConfigError for keys that do not decide what the data are."""
    values: Values = {}
    for word in words:
        key, separator, text = word.partition("=")
        if not separator:
            raise ConfigError(
                f"{word}: only the first word may be a folder; others are KEY=VALUE, such as {KNOWN[1]}=..."
            )
        if key not in KNOWN:
            hint = suggest(key, KNOWN) or f"known here: {', '.join(KNOWN)}"
            raise ConfigError(f"{word}: no word that says what data or level ranges are; {hint}")
        values[key] = _value(text)
    return values


def _value(text: str) -> Any:
    """Return a value as in YAML, the text itself where it is none."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    return text if isinstance(value, dict) else value


def _of_run(folder: Path, given: Mapping[str, Any]) -> DataSource:
    """Return the data of a run, with the keys changed that are given."""
    for word in ("data", "model", *AUTO_WORDS):
        if word in given:
            raise ConfigError(
                f"{word}={given[word]}: a run has its own; give keys below data or model, such as {KNOWN[1]}=..."
            )
    config = with_changes(find_checkpoint(folder).config, given)
    return DataSource(
        name=str(folder),
        data=config.data,
        model=config.model,
        splits=SPLITS,
        model_name="the run's model",
        understood=(f"the data of this run, {config.data.root or 'drawn shapes'}",),
        notes=(),
        train_command="",
    )


def _of_folder(given: Mapping[str, Any], words: Sequence[str]) -> DataSource:
    """Return the data of a folder of any known format, as data=auto reads them."""
    root = given.get("data.root")
    if not root:
        raise ConfigError("data.root is missing: give data.root=<folder of labelled images>, or the folder alone")
    files: dict[SplitName, str] = {
        split: str(given[key]) for split in SPLITS if (key := f"data.{split}.annotations") in given
    }
    auto = _validated(AutoWords, "auto", _section("auto", given, {}))
    cache = given.get("data.cache_dir")
    cache_folder = user_cache() if cache is None else expanded(cache, f"data.cache_dir={cache}").absolute()
    sizes = {key: value for key, value in _section("data", given, {}).items() if key in SizeWords.model_fields}
    rule = _validated(SizeWords, "data", sizes).exif_orientation
    settings = FolderSettings(auto.format, auto.val_fraction, auto.split_seed, files, rule)
    left = {key: value for key, value in given.items() if key != "data.root" and not key.endswith(".annotations")}
    path = local_folder(str(root), cache_folder)
    found = find_folder_files(path, settings, cache_folder)
    # The schema requires both splits; a split that there is not is not read.
    locations = {split: found.splits.get(split) or next(iter(found.splits.values())) for split in SPLITS}
    own = {"name": "coco", "root": found.root, **{str(name): split.model_dump() for name, split in locations.items()}}
    model, model_name = _model(given, "data=auto chooses other ranges and an input size; its plan has the words")
    return DataSource(
        name=str(root) if is_address(str(root)) else str(path),
        data=_validated(DataConfig, "data", {**_section("data", left, {}), **own}),
        model=model,
        splits=tuple(found.splits),
        model_name=model_name,
        understood=found.understood,
        notes=found.notes,
        train_command=f"{command('train')} {shlex.join(_train_words('auto', given, words))}",
        refused=found.refused,
    )


def _of_words(name: str, given: Mapping[str, Any], words: Sequence[str]) -> DataSource:
    """Return the data that data=NAME and its keys name, on top of conf/data/NAME.yaml."""
    base = read_option("data", name)
    own = [split for split in SPLITS if f"data.{split}.annotations" in given]
    values = _section("data", given, base)
    # Of a single split that is named, only that one is read.
    splits = tuple(own) if len(own) == 1 and name == "coco" else SPLITS
    model, model_name = _model(given)
    root = values.get("root")
    if name != "synthetic" and not root:
        raise ConfigError(f"data.root is missing: data={name} needs data.root=<the folder of the data>")
    return DataSource(
        name=str(root or f"data={name}"),
        data=_validated(DataConfig, "data", values),
        model=model,
        splits=splits,
        model_name=model_name,
        understood=(f"data={name}",),
        notes=(),
        train_command=f"{command('train')} {shlex.join(_train_words(name, given, words))}",
    )


def _train_words(name: str, given: Mapping[str, Any], words: Sequence[str]) -> list[str]:
    """Return the words of a training on the same data."""
    first = [f"data={name}", *([f"data.root={given['data.root']}"] if "data.root" in given else [])]
    return first + [word for word in words if "=" in word and word.partition("=")[0] not in ("data", "data.root")]


def _model(given: Mapping[str, Any], unnamed: str = "trained unless another is named") -> tuple[ModelConfig, str]:
    """Return the model that decides the level ranges, and its name in words, with `unnamed` where none is given."""
    name = str(given.get("model", DEFAULT_MODEL))
    changes = _model_values(given)
    model = _validated(ModelConfig, "model", _set(read_option("model", name), changes))
    return model, f"model={name}" + ("" if "model" in given else f" ({unnamed})") + (
        f", with {', '.join(f'model.{key}' for key in changes)} as given" if changes else ""
    )


def _model_values(given: Mapping[str, Any]) -> Values:
    return {key.removeprefix("model."): given[key] for key in MODEL_WORDS if key in given}


def _section(name: str, given: Mapping[str, Any], base: Values) -> Values:
    keys = {key.partition(".")[2]: value for key, value in given.items() if key.startswith(f"{name}.")}
    return _set(base, keys)


def _set(values: Values, keys: Mapping[str, Any]) -> Values:
    for key, value in keys.items():
        values = set_value(values, key, value)
    return values


def _validated(schema: type[SectionT], section: str, values: Values) -> SectionT:
    """Validate a section; its errors name the whole keys."""
    try:
        return parse(schema, values)
    except ConfigError as error:
        raise ConfigError("; ".join(f"{section}.{line}" for line in str(error).splitlines())) from None
