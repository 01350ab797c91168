"""The state of a sweep as a person follows it: a row for each training, or run without one (pure)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["waiting", "running", "finished", "failed", "kept", "stopped"]


@dataclass
class Row:
    """One training; what counts images instead of steps says so, and may learn how many there are when it begins."""

    label: str
    # 0 where it is not known yet.
    total_steps: int
    unit: Literal["step", "image"] = "step"
    state: State = "waiting"
    step: int = 0
    # Step and seconds of the running attempt; a resumed one did not begin at zero.
    began_at: int = 0
    seconds: float = 0.0
    loss: float | None = None
    # Arm -> AP, newest.
    ap: dict[str, float] = field(default_factory=dict)
    # Round and objective of a search for level ranges, which comes before the first image is counted.
    search: tuple[int, float] | None = None
    note: str = ""

    def take(self, record: dict[str, Any]) -> None:
        """Take what the training reported."""
        self.step, self.total_steps = record["step"], record["total_steps"]
        self.seconds, self.began_at = record["seconds"], record["resumed_from"]
        for arm, key, step, value in record["points"]:
            if key == "train/loss":
                self.loss = value
            elif key == "val/AP":
                self.ap[arm or ""] = value
            elif key == "coverage/search_objective":
                self.search = (step, value)

    def end(self, state: State, summary: Mapping[str, Any]) -> None:
        """Take what a training left at its end; of one that was stopped early no more steps will come."""
        self.state, self.note = state, "done before" if state == "kept" else ""
        if (step := summary.get("pruned")) is not None:
            self.note = f"pruned at step {step}"
            self.step = self.total_steps = step

    @property
    def doing(self) -> str:
        """Where a running row is."""
        if self.step:
            return f"{self.unit} {self.step} of {self.total_steps}"
        if self.search is None:
            return "starts"
        return f"level ranges, round {self.search[0]}: objective {100 * self.search[1]:.2f}"

    @property
    def seconds_left(self) -> float | None:
        """Time to the last step at this attempt's pace; None before there is one."""
        done = self.step - self.began_at
        if self.state != "running" or done <= 0:
            return None
        return self.seconds / done * (self.total_steps - self.step)

    @property
    def ap_text(self) -> str:
        """AP of the arms, in their order."""
        if not self.ap:
            return ""
        return "AP " + " / ".join(f"{value:.3f}" for value in self.ap.values())


@dataclass
class Board:
    """All trainings of a sweep."""

    rows: Sequence[Row]
    # Trainings that run at the same time.
    abreast: int

    @property
    def steps_done(self) -> int:
        return sum(self._total(row) if row.state in ("finished", "kept") else row.step for row in self.rows)

    @property
    def steps(self) -> int:
        return sum(self._total(row) for row in self.rows)

    def _total(self, row: Row) -> int:
        """Steps of a row; those of the longest one stand in for what is not known yet."""
        return row.total_steps or max(1, *(other.total_steps for other in self.rows))

    @property
    def seconds_left(self) -> float | None:
        """Time to the end at the mean pace of this command's trainings; None before there is one."""
        timed = [row for row in self.rows if row.step > row.began_at and row.seconds > 0]
        steps = sum(row.step - row.began_at for row in timed)
        if not steps:
            return None
        pace = sum(row.seconds for row in timed) / steps
        open_rows = [row for row in self.rows if row.state in ("waiting", "running")]
        left = sum(self._total(row) - row.step for row in open_rows)
        return pace * left / max(1, min(self.abreast, len(open_rows)))

    def count(self, *states: State) -> int:
        """How many trainings are in one of the states."""
        return sum(row.state in states for row in self.rows)


def parse_record(text: str) -> dict[str, Any]:
    """A training's report, as it travelled."""
    record: dict[str, Any] = json.loads(text)
    return record


def clock(seconds: float | None) -> str:
    """Minutes and seconds, hours where there are any."""
    if seconds is None:
        return "--:--"
    whole = int(seconds + 0.5)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes:02d}:{whole % 60:02d}"
