"""Messages for people are taken apart for programs as far as they name key, value, rule and way out."""

import json
import math

import pytest

from fcos.storage.events import ErrorEvent, TableRow, split_problems


@pytest.mark.parametrize(
    ("message", "parts"),
    [
        (
            "schedule.stps=3: no such key schedule.stps; did you mean schedule.steps?",
            {
                "key": "schedule.stps",
                "value": "3",
                "rule": "no such key schedule.stps",
                "hint": "did you mean schedule.steps?",
            },
        ),
        (
            "conf/model/a.yaml, line 3: found duplicate key; each key may be given once",
            {
                "file": "conf/model/a.yaml",
                "line": 3,
                "rule": "found duplicate key",
                "hint": "each key may be given once",
            },
        ),
        ("/data/a.json: is not readable", {"file": "/data/a.json", "rule": "is not readable"}),
        ("data.root=/data/x: no such folder", {"key": "data.root", "value": "/data/x", "rule": "no such folder"}),
        ("data.root: a value is needed", {"key": "data.root", "rule": "a value is needed"}),
        (
            "--config-dir=x: no such folder (/x)",
            {"key": "--config-dir", "value": "x", "rule": "no such folder (/x)"},
        ),
        (
            "experiment.arms.a: no such key seeed; did you mean seed?",
            {"key": "experiment.arms.a", "rule": "no such key seeed", "hint": "did you mean seed?"},
        ),
        (
            "reuse=false: a would be trained again. Leave it out",
            {"key": "reuse", "value": "false", "rule": "a would be trained again", "hint": "Leave it out"},
        ),
        (
            "no experiment is chosen; give +experiment=<name>",
            {"rule": "no experiment is chosen", "hint": "give +experiment=<name>"},
        ),
        ("", {"rule": ""}),
    ],
)
def test_a_message_has_its_parts(message: str, parts: dict[str, object]) -> None:
    (problem,) = split_problems(message)
    assert problem.model_dump(exclude_none=True) == {**parts, "text": message}


def test_each_mistake_is_one_problem_with_the_lines_that_belong_to_it() -> None:
    message = "a.b=1: wrong\nc.d=2: wrong too\n  a: 1 -> 2\ngive another name"
    assert [problem.text for problem in split_problems(message)] == [
        "a.b=1: wrong",
        "c.d=2: wrong too\n  a: 1 -> 2\ngive another name",
    ]


def test_a_line_is_json_without_numbers_that_json_does_not_have() -> None:
    line = ErrorEvent.of("config", 2, "data.root=/Bilder/größe: no\nsuch").to_line()
    assert line.endswith("\n") and line.count("\n") == 1
    event = json.loads(line)
    assert (event["type"], event["version"], event["exit_code"]) == ("error", 1, 2)
    row = TableRow(metric="val/AP", arm="a", n=1, mean=0.5, deviation=math.nan, missing_seeds=())
    assert json.loads(row.model_dump_json(), parse_constant=pytest.fail)["deviation"] is None


def test_bytes_that_are_no_text_leave_a_line_that_every_reader_takes() -> None:
    line = ErrorEvent.of("config", 2, "data.root=/data/größe\udcff: no such folder").to_line()
    event = ErrorEvent.model_validate_json(line.encode("utf-8"))
    assert event.problems[0].value == "/data/größe?"
