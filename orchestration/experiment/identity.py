"""Identity of a result: a fingerprint of resolved config, code, deciding versions, data and seed."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from fcos.config.evaluation import EvaluationSettings
from fcos.config.run import Config
from fcos.storage.store_conventions import RUN_ONLY
from fcos.training.elastic import worker_dependences
from orchestration.experiment.provenance import Provenance
from orchestration.experiment.weights import pinned_keys

# Keys that change what is evaluated of a training, never what is trained: those of EvaluationSettings.
EVALUATION_ONLY = ("model.postprocess", "schedule.ema")


# Keys that decide the learning rates of steps and how many there are. Trainings that are the same in all others have
# the same state, and are evaluated at the same steps, for as long as their rates are the same.
RATES_ONLY = tuple(
    f"schedule.{key}"
    for key in ("steps", "warmup", "warmup_steps", "warmup_factor", "decay", "milestones", "decay_factor")
)


def fingerprint(value: Any) -> str:
    """Return the SHA-256 of a plain value, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def train_identity(config: Config, provenance: Provenance, data_digest: str, extends: str = "") -> str:
    """Return the fingerprint of a training: arms that differ in their evaluation alone have the same.

    `extends` is the digest of a checkpoint of another schedule that it goes on from (see extension.py).
    """
    identity = fingerprint(_deciding(config, provenance, data_digest, ()))
    return fingerprint({"train": identity, "extends": extends}) if extends else identity


def trunk_identity(config: Config, provenance: Provenance, data_digest: str) -> str:
    """Return the fingerprint of all that decides a training but its learning rates and their number of steps.

    Trainings with the same one have first steps in common: as many as have the same learning rates.
    """
    return fingerprint(_deciding(config, provenance, data_digest, RATES_ONLY))


def _deciding(config: Config, provenance: Provenance, data_digest: str, left_out: tuple[str, ...]) -> dict[str, Any]:
    """Return all that decides a training, as plain values, without some dotted keys."""
    values = config.model_dump(mode="json")
    left_out = (*RUN_ONLY, *EVALUATION_ONLY, *pinned_keys(values), "seeds", *left_out)
    deciding = without(values, left_out) | seeds_apart(config)
    # The key `evidence` is that of earlier versions.
    parts = {"config": deciding, "evidence": _plain(provenance), "data": data_digest}
    apart = {"workers": provenance.workers} if provenance.workers > 1 and worker_dependences_of(config) else {}
    return {**parts, **apart}


def seeds_apart(config: Config) -> dict[str, dict[str, int]]:
    """Return the seeds of single sources of chance that differ from `seed`, below the key of their section.

    Empty where there are none: then `seed` alone stands for all of them.
    """
    own = {name: seed for name, seed in asdict(config.resolved_seeds).items() if seed != config.seed}
    return {"seeds": own} if own else {}


def worker_dependences_of(config: Config) -> list[str]:
    """Name what a run computes from each worker's own part of a batch; empty where their number decides nothing."""
    return [] if config.task == "coverage" else worker_dependences(config.model)


def evaluation_identity(train: str, settings: EvaluationSettings) -> str:
    """Return the fingerprint of a training's evaluation under given settings."""
    return fingerprint({"train": train, **settings.model_dump(mode="json")})


def without(config: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    """Return a copy of nested plain values without some dotted keys."""
    nested: dict[str, list[str]] = {}
    gone = set()
    for key in keys:
        first, _, rest = key.partition(".")
        if rest:
            nested.setdefault(first, []).append(rest)
        else:
            gone.add(first)
    return {
        key: without(value, tuple(nested[key])) if key in nested and isinstance(value, Mapping) else value
        for key, value in config.items()
        if key not in gone
    }


def _plain(provenance: Provenance) -> dict[str, Any]:
    return {"code": provenance.code, "versions": dict(provenance.versions)}
