"""A tracking store with small sweeps, written with MLflow's plain client after the contract of tags."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from PIL import Image, ImageDraw

from tests.helpers.experiments import EXPERIMENT, HOSTILE, PLAN

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
    hostile: str = HOSTILE

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(tracking_uri=self.uri)

    def place(self, where: str) -> str:
        found = self.client.get_experiment_by_name(where)
        if found:
            return str(found.experiment_id)
        return str(self.client.create_experiment(where, (self.folder / "mlartifacts").as_uri()))

    def sweep(
        self,
        where: str,
        name: str,
        plan: Mapping[str, Sequence[float | None]] = PLAN,
        *,
        declared: Mapping[str, Any] | None = EXPERIMENT,
        status: str = "FINISHED",
        start: int = START,
    ) -> str:
        """A parent run with one child for each arm and seed; gives the parent's run id."""
        tags = {"fcos.kind": "sweep", "fcos.sweep": name, "fcos.experiment": "ablation_centerness"}
        parent = self.client.create_run(self.place(where), start_time=start, tags=tags, run_name=name).info.run_id
        if declared is not None:
            self.client.log_text(parent, json.dumps(declared), "experiment.json")
        for arm, results in plan.items():
            for seed, result in enumerate(results):
                self.trial(where, parent, arm, seed, result, start=start + seed)
        if status != "RUNNING":
            self.client.set_terminated(parent, status, end_time=start + 600_000)
        return str(parent)

    def trial(
        self,
        where: str,
        parent: str,
        arm: str,
        seed: int,
        result: float | None,
        *,
        status: str | None = None,
        start: int = START,
    ) -> str:
        """A child run that reached `result`, or failed at step 700."""
        client = self.client
        tags = trial_tags(parent, arm, seed)
        name = f"{arm} seed {seed}"
        run_id = str(client.create_run(self.place(where), start_time=start, run_name=name, tags=tags).info.run_id)
        params = [Param(key, json.dumps(value).strip('"')) for key, value in PARAMS.items()]
        extra = [RunTag("fcos.trained_by", run_id), RunTag("fcos.checkpoint_sha256", f"{seed}" * 64)]
        if result is None:
            extra.append(RunTag("fcos.failure", "non-finite loss at step 700 <img src=x>"))
        client.log_batch(run_id, points(seed, 0.2 if result is None else result, start), params, extra)
        client.log_text(run_id, json.dumps({"torch": "2.15.0", "python": "3.11.9"}), "versions.json")
        client.log_image(run_id, picture(seed), artifact_file="detections/000000000139.png")
        status = status or ("FINISHED" if result is not None else "FAILED")
        if status != "RUNNING":
            client.set_terminated(run_id, status, end_time=start + 60_000)
        return run_id


def points(seed: int, result: float, start: int) -> list[Metric]:
    logged = [("train/loss", step, 3.0 / (1 + step / 200) + 0.02 * seed) for step in range(0, 1201, 100)]
    logged += [("val/AP", step, result * step / 1200) for step in (300, 600, 900, 1200)]
    logged += [("val/AP50", 1200, result + 0.25), ("val/class_AP/disc", 1200, result)]
    return [Metric(key, value, start + step, step) for key, step, value in logged]


def trial_tags(parent: str, arm: str, seed: int) -> dict[str, str]:
    return {
        "fcos.kind": "trial",
        "fcos.sweep": "any",
        "fcos.experiment": "ablation_centerness",
        "fcos.arm": arm,
        "fcos.seed": str(seed),
        "fcos.identity": "1d" * 32,
        "fcos.train_identity": "7a" * 32,
        "fcos.git_commit": "0123456789abcdef0123456789abcdef01234567",
        "fcos.git_dirty": "false",
        "fcos.data_digest": "da" * 32,
        "fcos.data": "synthetic",
        "fcos.hardware": "2 CPU cores",
        "fcos.checkpoint": "trials/7a7a/checkpoints/step_00001200",
        "mlflow.parentRunId": parent,
    }


def picture(seed: int) -> Image.Image:
    image = Image.new("RGB", (128, 96), (228, 230, 226))
    ImageDraw.Draw(image).rectangle((20 + 10 * seed, 20, 80, 70), fill=(90, 140, 170), outline=(200, 60, 20), width=2)
    return image


@pytest.fixture(scope="session")
def writer(tmp_path_factory: pytest.TempPathFactory) -> SweepWriter:
    folder = tmp_path_factory.mktemp("store")
    return SweepWriter(f"sqlite:///{folder / 'mlflow.db'}", folder)


@pytest.fixture(scope="session")
def centerness(writer: SweepWriter) -> str:
    """Run id of the sweep `centerness` in the MLflow experiment `main`: 9 trials, one failed."""
    return writer.sweep("main", "centerness")


@pytest.fixture
def run_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """report.main with an output folder of its own."""
    from analysis import report

    monkeypatch.chdir(tmp_path)
    return lambda *arguments: report.main([str(argument) for argument in arguments])
