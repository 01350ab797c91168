"""Whether a trial has the settings of the arm and the seed that it is named for."""

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import JsonValue, TypeAdapter, ValidationError

from analysis.formatting import join_some
from analysis.reader.sweep import Experiment
from fcos.config.parse import flatten
from fcos.published.archive import ArchiveError
from fcos.published.layout import RUN, SWEEP
from fcos.published.plan import PublishedPlan, read_plan
from fcos.published.records import read_record
from fcos.published.texts import strip_steering
from fcos.published.trials import PublishedTrial
from fcos.storage.store_conventions import RUN_ONLY, WEIGHTS_DIGESTS, Artifact, Tag, parse_param

# Of the seed of a single source of chance, which is that of the trial where it is null.
SEEDS = "seeds."
# The point of a search in a tag.
SAMPLED = TypeAdapter(dict[str, JsonValue])


@dataclass(frozen=True)
class ArmRecords:
    """What an archive has of the settings of arms.

    declared: arm -> the dotted keys that it sets, as experiment.json has them; none without that file. plan: with the
    whole configuration of each arm, and the points of a search; None without plan.json.
    """

    declared: Mapping[str, Mapping[str, Any]]
    plan: PublishedPlan | None

    def settings_of(self, trial: PublishedTrial) -> Mapping[str, Mapping[str, Any]]:
        """Return name of a record -> what it has of the settings of a trial; raises ArchiveError for a broken tag."""
        arm = trial.run.tags.get(Tag.ARM, "")
        planned = self.plan.arms.get(arm, {}) if self.plan is not None and self.plan.has(trial) else {}
        return {
            Artifact.EXPERIMENT: self.declared.get(arm, {}),
            f"the tag {Tag.SAMPLED}": _read_sampled(trial),
            # Its seed is that of no training.
            Artifact.PLAN: {key: value for key, value in planned.items() if key != "seed"},
        }

    def drawn_keys(self, trial: PublishedTrial) -> Collection[str]:
        """Return the keys that the search drew for the point of a trial, as plan.json has it."""
        if self.plan is None or self.plan.search is None or not self.plan.has(trial):
            return ()
        point = self.plan.search.drawn.get(trial.run.tags.get(Tag.ARM, ""))
        return () if point is None else point.keys


def read_arms(folder: Path) -> ArmRecords:
    """Return what an archive has of the settings of arms; raises ArchiveError for a broken record."""
    path = folder / SWEEP / Artifact.EXPERIMENT
    return ArmRecords(read_record(path, Experiment).arms if path.is_file() else {}, read_plan(folder))


def compare_arm(trial: PublishedTrial, arms: ArmRecords) -> Iterator[str]:
    """Yield the settings in which a trial is not the arm that its tags name, and a seed that is not that of its tags.

    A finished trial records all settings of its arm; what another one does not record is not compared. Raises
    ArchiveError for a broken configuration.
    """
    settings, seed = _Settings(trial), trial.run.tags.get(Tag.SEED)
    trained = settings.find("seed")
    if seed is not None and trained and seed not in map(str, trained):
        yield f"{trial.label}: its configuration has the seed {trained[0]!r}"
    sampled = _read_sampled(trial)
    if lacking := [key for key in arms.drawn_keys(trial) if key not in sampled]:
        yield f"{trial.label}: the tag {Tag.SAMPLED} lacks {join_some(lacking)}, which {Artifact.PLAN} has"
    reported: set[str] = set()
    for name, values in arms.settings_of(trial).items():
        held = {key: value for key, value in flatten(values).items() if not settings.decides_nothing(key)}
        different = [key for key, value in held.items() if key not in reported and settings.differs(key, value)]
        # An empty mapping sets no key.
        missing = [key for key, value in held.items() if key not in reported and not settings.find(key) and value != {}]
        reported |= {*different, *missing}
        for key in different:
            ours = f"{held[key]!r} for this arm in {name}"
            yield f"{trial.label}: {key} is {ours}, and {settings.find(key)[0]!r} in its run"
        if missing and trial.is_finished:
            yield f"{trial.label}: its run and configuration lack {join_some(missing)}, which {name} has for its arm"


def _read_sampled(trial: PublishedTrial) -> dict[str, JsonValue]:
    """Return the dotted keys that a search drew for a trial; raises ArchiveError for a broken tag."""
    try:
        return SAMPLED.validate_json(trial.run.tags.get(Tag.SAMPLED, "{}"))
    except ValidationError:
        raise ArchiveError(f"{RUN} of {trial.folder.name}: tags.{Tag.SAMPLED}: is no JSON object") from None


class _Settings:
    """The settings of a trial: what its run logged, or else its configuration."""

    def __init__(self, trial: PublishedTrial) -> None:
        self._params, self._seed = trial.run.params, trial.run.tags.get(Tag.SEED)
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

    def differs(self, key: str, value: Any) -> bool:
        """Return whether a key is recorded with another value."""
        found = self.find(key)
        if key.startswith(SEEDS):
            value, *found = (self._seed if each in (None, "null") else str(each) for each in (value, *found))
        return bool(found) and _plain(value) not in [_plain(each) for each in found]

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
