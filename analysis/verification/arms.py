"""Whether a trial has the settings of the arm and the seed that it is named for."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from analysis.reader.sweep import Experiment
from fcos.config.parse import flatten
from fcos.published.layout import SWEEP
from fcos.published.records import read_record
from fcos.published.texts import strip_steering
from fcos.published.trials import PublishedTrial
from fcos.storage.store_conventions import RUN_ONLY, WEIGHTS_DIGESTS, Artifact, Tag, parse_param

# Of the seed of a single source of chance, which is that of the trial where it is null.
SEEDS = "seeds."


def read_arms(folder: Path) -> Mapping[str, Mapping[str, Any]]:
    """Return arm -> the dotted keys that it sets, as experiment.json has them; raises ArchiveError for a broken one."""
    path = folder / SWEEP / Artifact.EXPERIMENT
    return read_record(path, Experiment).arms if path.is_file() else {}


def compare_arm(trial: PublishedTrial, arms: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield the settings in which a trial is not the arm that its tags name, and a seed that is not that of its tags.

    What a trial does not record is not compared. Raises ArchiveError for a broken configuration.
    """
    settings, tags = _Settings(trial), trial.run.tags
    seed, trained = tags.get(Tag.SEED), settings.find("seed")
    if seed is not None and trained and seed not in map(str, trained):
        yield f"{trial.label}: its configuration has the seed {trained[0]!r}"
    for key, value in flatten(arms.get(tags.get(Tag.ARM, ""), {})).items():
        found = settings.find(key)
        if not found or settings.decides_nothing(key):
            continue
        expected = value
        if key.startswith(SEEDS):
            expected, *found = (seed if each in (None, "null") else str(each) for each in (value, *found))
        if _plain(expected) not in [_plain(each) for each in found]:
            ours = f"{value!r} for this arm in {Artifact.EXPERIMENT}"
            yield f"{trial.label}: {key} is {ours}, and {found[0]!r} in its run"


class _Settings:
    """The settings of a trial: what its run logged, or else its configuration."""

    def __init__(self, trial: PublishedTrial) -> None:
        self._params = trial.run.params
        self._config = flatten(trial.read_config()) if trial.has_config else {}
        digests = {key: self.find(digest) for key, digest in WEIGHTS_DIGESTS.items()}
        pinned = {key for key, found in digests.items() if found and found[-1] is not None}
        # Weights count by their digest; a count has none.
        self._unheld = {*RUN_ONLY, *(WEIGHTS_DIGESTS if trial.is_count else pinned)}

    def find(self, key: str) -> list[Any]:
        """Return the values that a key may be read as, the logged text first; none where it is not recorded."""
        if key in self._params:
            return [self._params[key], parse_param(self._params[key])]
        return [self._config[key]] if key in self._config else []

    def decides_nothing(self, key: str) -> bool:
        """Return whether a key may have another value in the same training."""
        return key in self._unheld


def _plain(value: Any) -> Any:
    """Return a value as a run has it: without an infinite end, which is null there, and without marks."""
    match value:
        case list():
            return [_plain(each) for each in value]
        case float() if math.isinf(value):
            return None
        case str():
            return strip_steering(value)
        case _:
            return value
