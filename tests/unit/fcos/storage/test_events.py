"""Messages for people are taken apart for programs as far as they name key, value, rule and way out."""

import json
import math
import pickle

import pytest

from fcos.config.parse import parse
from fcos.config.run import ScheduleConfig
from fcos.errors import ConfigError, Mistake
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
    line = ErrorEvent.of("config", 2, ["data.root=/Bilder/größe: no\nsuch"]).to_line()
    assert line.endswith("\n") and line.count("\n") == 1
    event = json.loads(line)
    assert (event["type"], event["version"], event["exit_code"]) == ("error", 1, 2)
    row = TableRow(metric="val/AP", arm="a", n=1, mean=0.5, deviation=math.nan, missing_seeds=())
    assert json.loads(row.model_dump_json(), parse_constant=pytest.fail)["deviation"] is None


def test_bytes_that_are_no_text_leave_a_line_that_every_reader_takes() -> None:
    line = ErrorEvent.of("config", 2, ["data.root=/data/größe\udcff: no such folder"]).to_line()
    event = ErrorEvent.model_validate_json(line.encode("utf-8"))
    assert event.problems[0].value == "/data/größe?"


def test_parts_that_are_known_where_a_mistake_is_found_are_not_searched_for_in_its_text() -> None:
    """A value with a colon, a file with a space and without a folder, a rule with a semicolon."""
    value = Mistake("no such folder", "data.root", "/a: b", hint="did you mean /a?")
    file = Mistake("holds a list; and text", file="my notes", line=3)
    error = ConfigError(value, file, "c.d=2: wrong too")
    texts = ["data.root=/a: b: no such folder; did you mean /a?", "my notes, line 3: holds a list; and text"]
    assert str(error).splitlines() == [*texts, "c.d=2: wrong too"]
    event = ErrorEvent.of("config", 2, error.mistakes)
    parts = [problem.model_dump(exclude_none=True) for problem in event.problems]
    assert parts == [
        {
            "key": "data.root",
            "value": "/a: b",
            "rule": "no such folder",
            "hint": "did you mean /a?",
            "text": texts[0],
        },
        {"file": "my notes", "line": 3, "rule": "holds a list; and text", "text": texts[1]},
        {"key": "c.d", "value": "2", "rule": "wrong too", "text": "c.d=2: wrong too"},
    ]
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.mistakes) == (str(error), error.mistakes)


def test_a_value_that_a_schema_refuses_stays_whole() -> None:
    with pytest.raises(ConfigError) as refused:
        parse(ScheduleConfig, {"batch_size": "a: b; c", "steps": 1, "optimizer": "sgd", "decay": "none"})
    (problem,) = ErrorEvent.of("config", 2, refused.value.mistakes).problems
    assert (problem.key, problem.value) == ("batch_size", "'a: b; c'")
