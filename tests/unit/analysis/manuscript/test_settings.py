"""Settings as texts: shared ones, those of arms, and those that no run records."""

from datetime import UTC, datetime
from typing import Any

from analysis.manuscript.sentences.settings import SettingTexts, describe_arm
from analysis.reader.sweep import Trial

START = datetime(2026, 1, 1, tzinfo=UTC)


def settings(*params: dict[str, Any]) -> SettingTexts:
    return SettingTexts([Trial("a", seed, str(seed), "FINISHED", START, each) for seed, each in enumerate(params)])


def test_a_template_without_a_recorded_key_is_left_out_and_the_key_remembered() -> None:
    texts = settings({"model.levels": [3, 4], "schedule.steps": 450})
    filled = texts.fill("{schedule.steps} steps of {schedule.batch_size} images", "levels {model.levels}")
    assert filled == "levels [3, 4]"
    assert list(texts.missing) == ["schedule.batch_size"]


def test_a_key_that_some_run_lacks_counts_as_not_recorded() -> None:
    texts = settings({"schedule.steps": 450}, {})
    assert texts.text("schedule.steps") is None and list(texts.missing) == ["schedule.steps"]


def test_values_that_differ_are_named_as_the_arms() -> None:
    texts = settings(*({"q": value} for value in ("none", "centerness", "none")))
    assert texts.text("q") == "none or centerness (by arm)"
    many = settings(*({"q": value} for value in range(9)))
    assert many.text("q") == "0, 1, 2, 3 or others (by arm)"


def test_values_are_words_of_a_text_and_no_path_is_among_them() -> None:
    texts = settings({"a": None, "b": True, "c": 0.00001, "d": "/home/alice/weights.pth", "e": [1, [2, None]]})
    assert [texts.text(key) for key in "abcde"] == ["none", "on", "1e-05", "a local file", "[1, [2, none]]"]


def test_a_number_is_that_of_all_runs() -> None:
    assert settings({"a": 1}, {"a": 1.0}).number("a") == 1.0
    assert settings({"a": 1}, {"a": 2}).number("a") is None
    assert settings({"a": True}).number("a") is None
    assert settings({"a": [1]}).number("a") is None
    assert settings({}).number("a") is None


def test_what_is_off_is_recorded_as_such() -> None:
    assert settings({"a": 0, "b": "none", "c": None}).is_unset("a")
    assert not settings({}).is_unset("a")
    assert not settings({"a": None}, {"a": 0.5}).is_unset("a")


def test_an_arm_is_what_it_changes() -> None:
    assert describe_arm({"model.head.norm": "gn", "schedule.ema": None}) == "model.head.norm=gn and schedule.ema=none"
    assert describe_arm({}) == "the base configuration"
