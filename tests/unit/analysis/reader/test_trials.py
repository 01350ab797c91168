"""Times of a store as dates."""

from datetime import UTC, datetime

from analysis.reader.trials import to_datetime


def test_a_time_behind_all_dates_is_the_last_day() -> None:
    """One run of such a time would else leave no sweep of its store to be listed."""
    assert to_datetime(1_700_000_000_000) == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert to_datetime(None) == datetime(1970, 1, 1, tzinfo=UTC)
    for milliseconds in (253_402_300_800_000, 10**18):
        assert to_datetime(milliseconds) == datetime(9999, 12, 31, tzinfo=UTC)
