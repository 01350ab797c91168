"""The live table of a sweep: a line for each training, whatever the width."""

import io

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from orchestration.driver.progress_view import LEAST_LABEL, Row, draw_table, shorten

LONG = "none, from_regression, branch · seed 11"
ROWS = [
    Row(Text(LONG), (45, 90), Text("00:10 left"), "loss 1.239", ""),
    Row(Text("branch · seed 0"), (90, 90), Text("finished"), "loss 1.682", "AP 0.007 / 0.007"),
    Row(Text("branch · seed 1"), (0, 90), Text("waiting")),
    Row(Text()),
    Row(Text("all: 1 of 3"), (135, 270), Text("00:13 left")),
]


def drawn(width: int) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=width)
    console.print(draw_table(ROWS, width))
    return out.getvalue().rstrip("\n").split("\n")


@pytest.mark.parametrize("width", [200, 100, 80, 64, 50, 40])
def test_each_row_is_one_line_within_the_width(width: int) -> None:
    lines = drawn(width)
    assert len(lines) == len(ROWS)
    assert max(map(cell_len, lines)) <= width


@pytest.mark.parametrize("width", [200, 80, 72, 64])
def test_seed_loss_metrics_and_time_left_stay_whole(width: int) -> None:
    lines = drawn(width)
    assert "seed 11" in lines[0] and "loss 1.239" in lines[0] and "00:10 left" in lines[0]
    assert "AP 0.007 / 0.007" in lines[1] and "finished" in lines[1]


def test_bars_are_long_short_or_left_out() -> None:
    def bar(width: int) -> int:
        return drawn(width)[1].count("━")

    assert (bar(120), bar(80), bar(50)) == (24, 10, 0)


@pytest.mark.parametrize(
    ("label", "width", "expected"),
    [
        ("branch · seed 0", 15, "branch · seed 0"),
        (LONG, LEAST_LABEL, "none,… · seed 11"),
        ("seed 0 of a training with a long name", 10, "seed 0 of…"),
        ("翘头剪翘头剪 · seed 0", 16, "翘头剪… · seed 0"),
        ("x · a long last part", 8, "x · a l…"),
    ],
)
def test_a_long_label_keeps_its_seed(label: str, width: int, expected: str) -> None:
    shortened = shorten(Text(label, style="red"), width)
    assert shortened.plain == expected and shortened.cell_len <= width
