"""plan_history.json is read as it was written, and what is none is refused with the reason."""

from datetime import UTC, datetime

import pytest

from fcos.errors import DataError
from fcos.storage import plan_history
from fcos.storage.plan_history import PlanEntry, PlanHistory, parse_plan_history

ENTRY = PlanEntry(
    time=datetime(2026, 1, 2, 3, 4, tzinfo=UTC),
    digest="a" * 64,
    begun=1,
    finished=0,
    finished_elsewhere=2,
    seeds=(0, 1),
    arms={"none": "b" * 64},
    settings={"experiment.margin": 1.0, "experiment.metrics": ["val/AP"]},
    changes=("seeds added: 1",),
)


def test_what_was_written_is_read() -> None:
    history = PlanHistory(entries=(ENTRY,))
    assert parse_plan_history(history.model_dump_json().encode()) == history


def test_keys_of_later_versions_are_left_out() -> None:
    text = PlanHistory(entries=(ENTRY,)).model_dump_json().replace('"begun":1', '"begun":1,"new":{}')
    assert parse_plan_history(text.encode()).entries == (ENTRY,)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('"format":1', '"format":2', "format: Input should be 1"),
        ('"begun":1', '"begun":-1', r"entries\.0\.begun: Input should be greater than or equal to 0"),
        ("2026-01-02T03:04:00Z", "2026-01-02T03:04:00", r"entries\.0\.time: Input should have timezone info"),
        ("a" * 64, "a", r"entries\.0\.digest: String should match pattern"),
        ('"entries":[', '"entries":{', "Invalid JSON"),
    ],
)
def test_what_is_no_history_is_refused_with_the_key(old: str, new: str, reason: str) -> None:
    text = PlanHistory(entries=(ENTRY,)).model_dump_json()
    assert old in text
    with pytest.raises(DataError, match=reason):
        parse_plan_history(text.replace(old, new).encode())


def test_a_history_without_an_entry_or_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="at least 1 item"):
        parse_plan_history(b'{"entries": []}')
    monkeypatch.setattr(plan_history, "MAX_BYTES", 10)
    with pytest.raises(DataError, match="larger than 10 bytes"):
        parse_plan_history(b'{"entries": []}')
