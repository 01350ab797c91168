"""Settings of a sweep's trainings as texts; what a run does not record is remembered and never made up."""

import re
from collections.abc import Sequence

from analysis.formatting import join_words
from analysis.publishing.neutral import is_location
from analysis.reader.sweep import Trial

_KEY = re.compile(r"\{([a-z0-9_.]+)\}")
# Values of a setting that a text lists.
MOST_VALUES = 4


class SettingTexts:
    """Texts of settings by dotted key, over the finished trials of a sweep.

    missing: the requested keys that some trial does not record, in that order.
    """

    def __init__(self, trials: Sequence[Trial]) -> None:
        self._trials = trials
        self.missing: dict[str, None] = {}

    def fill(self, *templates: str) -> str:
        """Return those templates whose keys are all recorded, joined by commas, with the values of {dotted.keys}."""
        filled = [text for template in templates if (text := self._fill_one(template)) is not None]
        return ", ".join(filled)

    def text(self, key: str) -> str | None:
        """Return the value of a key, several by arm; None where it is not recorded."""
        values: dict[str, None] = {}
        for trial in self._trials:
            if key not in trial.params:
                self.missing[key] = None
                return None
            values[_format(trial.params[key])] = None
        listed = [*list(values)[:MOST_VALUES], *(["others"] if len(values) > MOST_VALUES else [])]
        if len(listed) == 1:
            return listed[0]
        return f"{', '.join(listed[:-1])} or {listed[-1]} (by arm)"

    def number(self, key: str) -> float | None:
        """Return the number that all trials have for a key; None for several, or none."""
        values = {trial.params.get(key) for trial in self._trials if not isinstance(trial.params.get(key), list)}
        value = values.pop() if len(values) == 1 else None
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    def is_unset(self, key: str) -> bool:
        """Return whether all trials record that a key has no value, or that it is off."""
        return all(key in trial.params and trial.params[key] in (None, 0, False, "none", []) for trial in self._trials)

    def keys_below(self, prefix: str) -> list[str]:
        """Return the recorded keys of a section."""
        return sorted({key for trial in self._trials for key in trial.params if key.startswith(prefix)})

    def _fill_one(self, template: str) -> str | None:
        texts = {key: self.text(key) for key in _KEY.findall(template)}
        if any(text is None for text in texts.values()):
            return None
        return _KEY.sub(lambda match: str(texts[match[1]]), template)


def _format(value: object) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "on" if value else "off"
        case float():
            return f"{value:g}"
        case list():
            return f"[{', '.join(_format(each) for each in value)}]"
        case str() if is_location(value):
            # A path of the machine that trained.
            return "a local file"
        case _:
            return str(value)


def describe_arm(changes: dict[str, object]) -> str:
    """Return the settings that an arm changes: `model.head.norm=gn, schedule.ema=0.99`."""
    return join_words([f"{key}={_format(value)}" for key, value in changes.items()]) or "the base configuration"
