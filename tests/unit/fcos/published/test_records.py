"""Records of an archive: points that count once, and texts that steer no terminal."""

import math
import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from fcos.published.archive import ArchiveError
from fcos.published.records import ArchiveHeader, PublishedPoint, PublishedRun, format_points, read_points, read_record

AP = "val/AP"
POINTS = [
    PublishedPoint("train/loss", 0, 5, math.inf),
    PublishedPoint(AP, 6, 7, 0.1),
    PublishedPoint(AP, 6, 8, 1 / 3),
    PublishedPoint(AP, 12, 1, -math.inf),
]


def write(folder: Path, text: str) -> Path:
    (folder / "points.csv").write_bytes(text.encode())
    return folder / "points.csv"


def test_points_are_read_as_they_were_written(tmp_path: Path) -> None:
    assert read_points(write(tmp_path, format_points(reversed(POINTS)))) == POINTS
    assert read_points(tmp_path / "absent.csv") == []


def test_of_several_values_at_one_step_and_time_the_greatest_is_written(tmp_path: Path) -> None:
    values = (0.2, math.nan, 0.9, 0.3)
    text = format_points(PublishedPoint(AP, 6, 7, value) for value in values)
    assert read_points(write(tmp_path, text)) == [PublishedPoint(AP, 6, 7, 0.9)]


HEAD = "key,step,time,value\n"


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ("val/AP,6,7,0.2\nval/AP,6,7,0.9\n", "line 3: .* has the same of these"),
        ("val/AP,6,8,0.2\nval/AP,6,7,0.9\n", "line 3: is not behind the line before it"),
        ("val/AP,6,7,0.20\n", "is not written as publish.py writes it"),
        ("val/AP,6,7,0.2\r\n", "is not written as publish.py writes it"),
        ("val/AP,+6,7,0.2\n", "is not written as publish.py writes it"),
        ('"val/AP",6,7,0.2\n', "is not written as publish.py writes it"),
        ("val/AP,6,7,0.2\n\n", "line 3: not enough values"),
        (f"val/AP,6,{1 << 63},0.2\n", "line 2: its step or time has more than 64 bits"),
        ("val/AP,x,7,0.2\n", "line 2: invalid literal"),
    ],
)
def test_a_table_that_can_be_read_in_two_ways_is_refused(tmp_path: Path, rows: str, reason: str) -> None:
    with pytest.raises(ArchiveError, match=reason):
        read_points(write(tmp_path, HEAD + rows))


# With a character that turns the direction of a line, or shows nothing.
MARKED = [
    f"a{mark}b" for mark in "\u202e\u200b\u200d\u2066\u2069\ufeff\u061c\u2060\u2064\u00ad\u180e\U000e0001\U000e0061"
]


def make_run(name: str = "x", tag: str = "y", param: str = "z") -> PublishedRun:
    return PublishedRun(
        run_id="0" * 32, name=name, status="FINISHED", start=0, end=1, tags={"fcos.notes": tag}, params={"a": param}
    )


@pytest.mark.parametrize("field", ["name", "tag", "param"])
def test_texts_of_a_run_may_have_lines_and_nothing_that_steers_a_terminal(field: str) -> None:
    assert make_run(**{field: "one\n\ttwo – ü"})
    for text in ("\x1b[2J", "a\rb", "\x00", "\x9b2J", "\x7f", *MARKED):
        with pytest.raises(ValidationError):
            make_run(**{field: text})


def test_a_key_in_a_message_steers_no_terminal(tmp_path: Path) -> None:
    (tmp_path / "archive.json").write_text('{"\\u001b[2J": 1}')
    with pytest.raises(ArchiveError) as caught:
        read_record(tmp_path / "archive.json", ArchiveHeader)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("field", ["sweep", "laboratory", "version"])
def test_lines_of_a_header_have_nothing_that_turns_their_direction_or_cannot_be_seen(field: str) -> None:
    values = {"sweep": "x", "run_id": "0" * 32, "laboratory": "Lab", "resamples": 0, "version": "1"}
    assert ArchiveHeader.model_validate({**values, field: "Lübeck – 1"})
    for text in ("a\nb", "a\u2028b", *MARKED):
        with pytest.raises(ValidationError):
            ArchiveHeader.model_validate({**values, field: text})


@pytest.mark.parametrize("field", ["start", "end"])
def test_a_run_is_of_a_time_that_has_been(field: str) -> None:
    """A later one is sorted before all others, and far later there is no date for it."""
    values = make_run().model_dump()
    now = int(time.time() * 1000)
    # Clocks of two machines may differ.
    assert PublishedRun.model_validate({**values, field: now + 3_600_000})
    for milliseconds in (-1, now + 2 * 24 * 3_600_000, 10**18):
        with pytest.raises(ValidationError):
            PublishedRun.model_validate({**values, field: milliseconds})
