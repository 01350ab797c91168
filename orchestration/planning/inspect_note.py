"""The note of a plan that names the command which shows the data with what was found in them."""

import json
import shlex
from collections.abc import Sequence

from fcos.config.choices import SPLITS
from fcos.config.run import Config, DataConfig
from fcos.installation import checkout

# Keys of the data that decide what an inspection finds; those at their defaults are left out.
KEYS = ("crowds", "exif_orientation", "on_bad_image", "max_megapixels", "limit_train", "limit_val", "cache_dir")


def inspect_notes(config: Config, notes: Sequence[str]) -> tuple[str, ...]:
    """Return the note that counts the notes on the data and names the command that shows them; none without any.

    Drawn shapes have no such note, as nothing in them can be mended.
    """
    if not notes or config.data.name != "coco":
        return ()
    warnings = sum(note.startswith("warning") for note in notes)
    counted = "1 note" if len(notes) == 1 else f"{len(notes)} notes"
    of_them = f" ({warnings} of them warnings)" if warnings else ""
    program = "fcos" if checkout() is None else "python -m fcos"
    return (f"{counted} on the data{of_them}; shown with pictures by: {program} inspect {shlex.join(_words(config))}",)


def _words(config: Config) -> list[str]:
    """Return the words by which `python -m fcos inspect` reads the same data with the same level ranges."""
    data = config.data.model_dump(mode="json")
    default = {name: field.default for name, field in DataConfig.model_fields.items()}
    words = [f"data.root={data['root']}"]
    words += [f"data.{split}.{key}={data[split][key]}" for split in SPLITS for key in ("annotations", "images")]
    # Always given, as those of conf/data/coco.yaml hold without them.
    words += [f"data.{key}={_text(data[key])}" for key in ("short_sides", "long_side")]
    words += [f"data.{key}={_text(data[key])}" for key in KEYS if data[key] != default[key]]
    levels = _text(config.model.levels)
    ends = [f"[{low:g},{'null' if high is None else f'{high:g}'}]" for low, high in config.model.assignment.ranges]
    return [*words, f"model.levels={levels}", f"model.assignment.ranges=[{','.join(ends)}]"]


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
