"""What determines a result, as a fingerprint: resolved config, code, deciding versions, data, seed."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from fcos.config.model import ModelConfig
from fcos.config.parse import parse
from fcos.training.elastic import number_decides
from orchestration.experiment.provenance import Evidence

# Keys that change how a training is run or watched, never what comes out.
RUN_ONLY = (
    "data.root",  # the data digest stands for what lies there
    "data.cache_dir",
    "data.cache_gb",
    "data.num_workers",
    "schedule.log_every",
    "schedule.checkpoint_every",
    "schedule.keep_checkpoints",
    "schedule.best_metric",
)
INFERENCE_ONLY = ("model.postprocess",)


def fingerprint(value: Any) -> str:
    """SHA-256 of a plain value, the same for the same content whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def train_identity(config: Mapping[str, Any], evidence: Evidence, data_digest: str) -> str:
    """Fingerprint of a training: arms that differ in inference settings alone have the same."""
    deciding = without(config, (*RUN_ONLY, *INFERENCE_ONLY))
    apart = {"workers": evidence.workers} if evidence.workers > 1 and depends_on_workers(config) else {}
    return fingerprint({"config": deciding, "evidence": _plain(evidence), "data": data_digest, **apart})


def depends_on_workers(config: Mapping[str, Any]) -> bool:
    """Return whether the number of workers decides what a training comes to."""
    return bool(worker_dependences(config))


def worker_dependences(config: Mapping[str, Any]) -> list[str]:
    """Name what a run computes from each worker's own part of a batch; empty where their number decides nothing."""
    return [] if config.get("task") == "coverage" else number_decides(parse(ModelConfig, dict(config["model"])))


def evaluation_identity(train: str, postprocess: Mapping[str, Any]) -> str:
    """Fingerprint of a training's evaluation under given inference settings."""
    return fingerprint({"train": train, "postprocess": dict(postprocess)})


def without(config: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    """A copy of nested plain values without some dotted keys."""
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


def _plain(evidence: Evidence) -> dict[str, Any]:
    return {"code": evidence.code, "versions": dict(evidence.versions)}
