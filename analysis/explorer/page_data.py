"""Data of explorer.html, which its script reads as JSON; lists by arm or seed are in the order of the page's."""

import math
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict

from fcos.metrics import Mode

# Characters of JSON's strings that HTML or a script could take otherwise.
ESCAPES: Final = {character: f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


def _shorten(value: Any) -> Any:
    """Return a number with six digits, which are more than the page shows; None where it is not finite."""
    if not isinstance(value, float):
        return value
    return float(f"{value:.6g}") if math.isfinite(value) else None


ShortNumber = Annotated[float | None, BeforeValidator(_shorten)]
# x, y, width, height in pixels of the image, class.
BoxEntry = tuple[int, int, int, int, int]
# The same, with score in percent and the box that it is matched with among those of the image, or -1.
DetectionEntry = tuple[int, int, int, int, int, int, int]


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Cell(_Data):
    """Values of one arm by seed, their mean, and the median of the paired differences to the baseline.

    low, high: interval of that median over `pairs` seeds, see analysis.stats.median_interval. Fractions for what is
    shown in percent.
    """

    values: list[ShortNumber]
    mean: ShortNumber
    difference: ShortNumber = None
    low: ShortNumber = None
    high: ShortNumber = None
    confidence: ShortNumber = None
    pairs: int = 0


class Row(_Data):
    """One group, with a cell for each arm.

    label: class, size, ... count: of its boxes. better: end at which its values are better, None for neither.
    """

    label: str
    class_index: int | None = None
    count: int | None = None
    better: Mode | None = None
    cells: list[Cell]


class GroupTable(_Data):
    """A table with a row for each group.

    is_percent: values are fractions. is_tested: of the metric on which a report decides, so that nothing is coloured.
    """

    caption: str
    note: str
    group: str
    is_percent: bool
    is_tested: bool = False
    rows: list[Row]


class RunEntry(_Data):
    """The run of an arm and seed. threshold: score from which on its detections are counted, None without any."""

    run_id: str
    state: str
    threshold: ShortNumber = None


class Confusion(_Data):
    """Counts of one arm, [class + 1][class + 1][seed]; the last row is no box, the last column is no detection.

    seeds: positions of the seeds that have an evaluation. mixed: by seed, boxes of the classes in the last row of
    labels that are detected as another of these, and so in no cell; empty where each class has a row.
    """

    labels: list[str]
    seeds: list[int]
    counts: list[list[list[int]]]
    mixed: list[int] = []


class Change(_Data):
    """In how many seeds an arm is better or worse than the baseline on an image, and its mean difference of F1."""

    better: int
    worse: int
    pairs: int
    mean: ShortNumber


class Picture(_Data):
    """An image with its boxes. detections: by arm, then by shown seed; None without an evaluation.

    thumbnail: data URI, or empty. crowds are left out of boxes.
    """

    name: str
    width: int
    height: int
    thumbnail: str
    boxes: list[BoxEntry]
    f1: list[list[ShortNumber]]
    changes: list[Change | None]
    detections: list[list[list[DetectionEntry] | None]]


class PageData(_Data):
    """All that the page's script shows. runs: by arm, then by seed; None for trials without a run.

    shown_seeds: positions of the seeds whose detections are drawn.
    """

    arms: list[str]
    baseline: int | None
    seeds: list[int]
    runs: list[list[RunEntry | None]]
    metrics: list[GroupTable]
    shown_seeds: list[int] = []
    classes: list[str] = []
    groups: list[GroupTable] = []
    confusions: list[Confusion | None] = []
    pictures: list[Picture] = []


def to_script_json(data: BaseModel) -> str:
    """Return data as JSON that no HTML parser takes for anything but text of its script element."""
    text = data.model_dump_json()
    for character, escape in ESCAPES.items():
        text = text.replace(character, escape)
    return text
