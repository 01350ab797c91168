"""Findings in a data set: what is wrong, doubtful or worth knowing, with counts and examples."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from fcos.config.choices import Split

# error: training refuses the data; warning: it trains, perhaps on something else than was meant; note: as it is.
Severity = Literal["error", "warning", "note"]
SEVERITIES: Final[tuple[Severity, ...]] = ("error", "warning", "note")
# Examples that a finding names.
MAX_EXAMPLES: Final = 8


@dataclass(frozen=True)
class Example:
    """One case of a finding in words, with the image that shows it.

    `position` is that of the image in its split, None where no picture helps; `rows` are the boxes concerned, rows of
    the split's annotations.
    """

    text: str
    position: int | None = None
    rows: tuple[int, ...] = ()


@dataclass(frozen=True)
class Finding:
    """One kind of problem or peculiarity in a split, or in the whole data set (split None)."""

    severity: Severity
    split: Split | None
    # A few words, without the count.
    title: str
    # What it means for training, as a whole sentence.
    meaning: str
    # Cases, and out of how many; 0 of 0 where nothing is counted.
    count: int = 0
    total: int = 0
    # What to do about it; "" where nothing needs to be done.
    way_out: str = ""
    examples: tuple[Example, ...] = ()

    @property
    def counted(self) -> str:
        """Return the count in words, "" where nothing is counted."""
        if not self.count:
            return ""
        return f"{self.count:,} of {self.total:,}" if self.total else f"{self.count:,}"

    @property
    def headline(self) -> str:
        """Return split, title and count in one line."""
        split = f"{self.split}: " if self.split else ""
        return f"{split}{self.title}" + (f" ({self.counted})" if self.counted else "")


def by_severity(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Return the findings, worst first, else in the order given."""
    return tuple(sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity)))


def count_by_severity(findings: Sequence[Finding]) -> str:
    """Return the numbers of findings in words, such as "1 error, 2 notes"."""
    counts = {name: sum(finding.severity == name for finding in findings) for name in SEVERITIES}
    return ", ".join(f"{count} {name}{'s' * (count > 1)}" for name, count in counts.items() if count) or "none"
