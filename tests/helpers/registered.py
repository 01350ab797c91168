"""A tracking store with a sweep whose runs have one checkpoint, from which models are registered."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mlflow.entities import LoggedModelOutput
from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient

from fcos.build import build_detector
from fcos.config.parse import parse
from fcos.config.run import Config
from fcos.storage.checkpoint_folder import digest
from fcos.storage.store_conventions import Tag, default_uri
from fcos.training import checkpoint
from orchestration import register
from orchestration.tracking.store import Store, open_store

CLASSES = ("disc", "square", "ring")
EXPERIMENT = {"name": "any", "metrics": ["val/AP", "val/AP50"], "search": None}


@dataclass(frozen=True)
class Lab:
    """A store with a sweep whose runs have one checkpoint, of a detector with random weights."""

    output: Path
    store: Store
    values: dict[str, Any]
    checkpoint: Path
    parent: str

    @property
    def client(self) -> MlflowClient:
        return self.store.client

    def trial(
        self,
        arm: str,
        seed: int,
        metrics: Mapping[str, float],
        status: str = "FINISHED",
        tags: Mapping[str, str] | None = None,
    ) -> str:
        """Write a trial's run as a sweep does; returns its id."""
        known = {
            Tag.KIND: "trial",
            Tag.SWEEP: "mine",
            Tag.ARM: arm,
            Tag.SEED: str(seed),
            Tag.PARENT_RUN: self.parent,
            Tag.IDENTITY: f"{arm}{seed}".encode().hex().ljust(64, "0"),
            Tag.TRAIN_IDENTITY: "7a" * 32,
            Tag.DATA_DIGEST: "da" * 32,
            Tag.FOLDER: str(self.checkpoint.parents[1]),
            Tag.CHECKPOINT: str(self.checkpoint),
            Tag.CHECKPOINT_SHA256: digest(self.checkpoint),
        }
        run_id = self.store.create(f"{arm} seed {seed}", {**known, **(tags or {})})
        self.store.log_json(run_id, {"config.json": self.values})
        self.store.log_params(run_id, {"model": {"levels": [3, 4]}, "seed": seed})
        self.store.log_points(run_id, {(name, 6): (value, 1_760_000_000_000) for name, value in metrics.items()})
        self.store.close(run_id, status)
        return run_id

    def register(self, *words: str) -> int:
        return register.main([*words, "--output", str(self.output)])

    def outputs_of(self, run_id: str) -> list[LoggedModelOutput]:
        outputs = self.client.get_run(run_id).outputs
        assert outputs is not None
        return list(outputs.model_outputs)

    def versions(self, name: str = "mine") -> list[ModelVersion]:
        return sorted(self.client.search_model_versions(f"name='{name}'"), key=lambda each: int(each.version))

    def version_of(self, alias: str = "best", name: str = "mine") -> ModelVersion:
        return self.client.get_model_version_by_alias(name, alias)

    def write_arms(self) -> dict[tuple[str, int], str]:
        """Write four trials, of which branch with seed 0 is the best; returns their ids by arm and seed."""
        values = {("none", 0): 0.2, ("none", 1): 0.4, ("branch", 0): 0.5, ("branch", 1): 0.3}
        return {(arm, seed): self.trial(arm, seed, {"val/AP": value}) for (arm, seed), value in values.items()}


def make_lab(output: Path, values: dict[str, Any], empty_store: bytes) -> Lab:
    """Make the store in an output folder, with a detector of a configuration and random weights."""
    output.mkdir()
    (output / "mlflow.db").write_bytes(empty_store)
    values["model"]["postprocess"] |= {"score_threshold": 0.001, "max_detections": 5}
    config = parse(Config, values)
    plain = config.model_dump(mode="json")
    torch.manual_seed(0)
    detector = build_detector(config.model, len(CLASSES), channels_last=False)
    folder = output / "mine" / "trials" / ("7a" * 8) / "checkpoints"
    path = checkpoint.save(
        folder, step=6, config=plain, classes=CLASSES, model=detector, averages={}, state={"step": 6}
    )
    store = open_store(default_uri(output), "lab", output / "mlartifacts")
    tags = {Tag.KIND: "sweep", Tag.SWEEP: "mine", Tag.EXPERIMENT_JSON: "1"}
    parent = store.create("mine", {**tags, f"{Tag.EXPERIMENT_JSON}.0": json.dumps(EXPERIMENT)})
    store.close(parent, "FINISHED")
    return Lab(output, store, plain, path, parent)
