"""Which trials of two sweeps are the same training and evaluation but for their seed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from analysis.formatting import join_words
from analysis.reader.sweep import Sweep, Trial
from fcos.storage.store_conventions import RUN_ONLY, WEIGHTS_DIGESTS

MOST_KEYS = 5


@dataclass(frozen=True)
class Settings:
    """All that decides a result but the seed, as far as a run records it. params: dotted key -> value as text."""

    params: Mapping[str, str]
    code: str
    versions: str
    data: str
    # The number of workers where it decides something.
    workers: str
    # The checkpoint of another schedule that it went on from, and what it did otherwise for want of memory.
    extends: str = ""
    inexact: str = ""


def settings_of(trial: Trial) -> Settings:
    """Return what decides the result of a trial beside its seed."""
    pinned = (key for key, digest in WEIGHTS_DIGESTS.items() if trial.params.get(digest) is not None)
    left_out = {"seed", *RUN_ONLY, *pinned}
    params = {key: json.dumps(value) for key, value in sorted(trial.params.items()) if key not in left_out}
    origin = trial.provenance
    workers = trial.workers if trial.workers_matter else ""
    return Settings(params, origin.code, origin.versions, origin.data_digest, workers, origin.extends, origin.inexact)


def settings_by_arm(sweep: Sweep) -> dict[str, Settings]:
    """Return the settings of each arm that has a trial: those of a finished trial, and as they were configured."""
    trials = sorted(sweep.current, key=lambda trial: (not trial.is_finished, trial.provenance.inexact != ""))
    return {trial.arm: settings_of(trial) for trial in reversed(trials)}


def describe_differences(ours: Settings, theirs: Settings, *, with_code: bool = True) -> str:
    """Return what differs between two settings in words, "" for the same. with_code: code, versions and data too."""
    keys = sorted(key for key in ours.params.keys() | theirs.params if ours.params.get(key) != theirs.params.get(key))
    parts: list[Any] = keys[:MOST_KEYS]
    if len(keys) > MOST_KEYS:
        parts.append(f"{len(keys) - MOST_KEYS} more keys")
    if ours.extends != theirs.extends:
        parts.append("the checkpoint that it went on from (extend)")
    if ours.inexact != theirs.inexact:
        parts.append(f"what was done for want of memory ({ours.inexact or theirs.inexact})")
    if with_code:
        pairs = {
            "the code": (ours.code, theirs.code),
            "package versions": (ours.versions, theirs.versions),
            "the data": (ours.data, theirs.data),
            "the number of workers": (ours.workers, theirs.workers),
        }
        parts += [name for name, (first, second) in pairs.items() if first != second]
    return join_words(parts) if parts else ""
