"""Small sweeps in a tracking store, written with MLflow's plain client and literal tags."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from PIL import Image, ImageDraw

HOSTILE = "<script>alert(1)</script>|*x*"
# AP of seeds 0, 1, 2 of each arm; None for a trial that fails half-way.
RESULTS: Mapping[str, Sequence[float | None]] = {
    "none": (0.460, 0.430, 0.470),
    "branch": (0.491, 0.462, 0.505),
    HOSTILE: (0.462, 0.428, None),
}
EXPERIMENT: Mapping[str, Any] = {
    "name": "ablation_centerness",
    "claim": "A predicted center-ness in the score lifts AP.",
    "baseline": "none",
    "arms": {arm: {"model.head.quality": "none"} for arm in RESULTS},
    "seeds": [0, 1, 2],
    "metrics": ["val/AP", "val/AP50"],
    "paper": {
        "none": ["v1.table4.none", "v2.table4.none"],
        "branch": ["v1.table4.branch", "v2.table4.branch"],
        HOSTILE: ["v1.table4.from_regression", "v2.table4.from_regression"],
    },
}
PARAMS: Mapping[str, Any] = {
    "model.backbone.name": "small_resnet",
    "schedule.steps": 1200,
    "schedule.milestones": [],
    "data.short_sides": None,
}
START = 1_760_000_000_000


@dataclass(frozen=True)
class SweepWriter:
    """Writes sweeps into one SQLite store; every sweep may have an MLflow experiment of its own."""

    uri: str
    folder: Path

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(tracking_uri=self.uri)

    def experiment_id(self, mlflow_experiment: str) -> str:
        """Return the id of an MLflow experiment, which is created where it does not exist."""
        known = self.client.get_experiment_by_name(mlflow_experiment)
        if known:
            return str(known.experiment_id)
        return str(self.client.create_experiment(mlflow_experiment, (self.folder / "mlartifacts").as_uri()))

    def write_sweep(
        self,
        mlflow_experiment: str,
        name: str,
        results: Mapping[str, Sequence[float | None]] = RESULTS,
        *,
        experiment: Mapping[str, Any] | None = EXPERIMENT,
        status: str = "FINISHED",
        start: int = START,
    ) -> str:
        """Write a parent run with a child for each arm and seed; returns the parent's run id."""
        tags = {"fcos.kind": "sweep", "fcos.sweep": name, "fcos.experiment": "ablation_centerness"}
        experiment_id = self.experiment_id(mlflow_experiment)
        parent = self.client.create_run(experiment_id, start_time=start, tags=tags, run_name=name).info.run_id
        if experiment is not None:
            self.client.log_text(parent, json.dumps(experiment), "experiment.json")
        # Of no code that a trial has: what a test is about it writes itself.
        self.client.log_text(parent, json.dumps({"code": "none", "trials": []}), "plan.json")
        for arm, of_arm in results.items():
            for seed, result in enumerate(of_arm):
                self.write_trial(mlflow_experiment, parent, arm, seed, result, start=start + seed)
        if status != "RUNNING":
            self.client.set_terminated(parent, status, end_time=start + 600_000)
        return str(parent)

    def write_trial(
        self,
        mlflow_experiment: str,
        parent: str,
        arm: str,
        seed: int,
        result: float | None,
        *,
        status: str | None = None,
        start: int = START,
    ) -> str:
        """Write a child run that reached an AP of `result`, or failed at step 700; returns its id."""
        client, experiment_id = self.client, self.experiment_id(mlflow_experiment)
        run = client.create_run(
            experiment_id, start_time=start, run_name=f"{arm} seed {seed}", tags=make_trial_tags(parent, arm, seed)
        )
        run_id = str(run.info.run_id)
        params = [Param(key, json.dumps(value).strip('"')) for key, value in PARAMS.items()]
        tags = [RunTag("fcos.trained_by", run_id), RunTag("fcos.checkpoint_sha256", f"{seed}" * 64)]
        if result is None:
            tags.append(RunTag("fcos.failure", "non-finite loss at step 700 <img src=x>"))
        client.log_batch(run_id, make_points(seed, 0.2 if result is None else result, start), params, tags)
        client.log_text(run_id, json.dumps({"torch": "2.15.0", "python": "3.11.9"}), "versions.json")
        client.log_text(run_id, "{}", "config.json")
        client.log_image(run_id, draw_picture(seed), artifact_file="detections/000000000139.png")
        status = status or ("FINISHED" if result is not None else "FAILED")
        if status != "RUNNING":
            client.set_terminated(run_id, status, end_time=start + 60_000)
        return run_id


def make_points(seed: int, result: float, start: int) -> list[Metric]:
    """Return the logged metrics of a training of 1200 steps."""
    logged = [("train/loss", step, 3.0 / (1 + step / 200) + 0.02 * seed) for step in range(0, 1201, 100)]
    logged += [("val/AP", step, result * step / 1200) for step in (300, 600, 900, 1200)]
    logged += [("val/AP50", 1200, result + 0.25), ("val/class_AP/disc", 1200, result)]
    return [Metric(name, value, start + step, step) for name, step, value in logged]


def make_trial_tags(parent: str, arm: str, seed: int) -> dict[str, str]:
    """Return the tags that a trial has when it starts."""
    return {
        "fcos.kind": "trial",
        "fcos.sweep": "any",
        "fcos.experiment": "ablation_centerness",
        "fcos.arm": arm,
        "fcos.seed": str(seed),
        # Of a training of its own: equal ones are the same training, done again.
        "fcos.identity": hashlib.sha256(f"{parent} {arm} {seed}".encode()).hexdigest(),
        "fcos.train_identity": "7a" * 32,
        "fcos.git_commit": "0123456789abcdef0123456789abcdef01234567",
        "fcos.git_dirty": "false",
        "fcos.data_digest": "da" * 32,
        "fcos.data": "synthetic",
        "fcos.hardware": "2 CPU cores",
        "fcos.checkpoint": "trials/7a7a/checkpoints/step_00001200",
        "mlflow.parentRunId": parent,
    }


def draw_picture(seed: int) -> Image.Image:
    """Return a small picture that differs between seeds."""
    image = Image.new("RGB", (128, 96), (228, 230, 226))
    ImageDraw.Draw(image).rectangle(
        (20 + 10 * (seed % 6), 20, 80, 70), fill=(90, 140, 170), outline=(200, 60, 20), width=2
    )
    return image
