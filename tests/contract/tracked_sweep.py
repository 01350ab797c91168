"""A small sweep in an MLflow store of its own, written with the plain client after the tag contract."""

import io
import json
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from PIL import Image

HOSTILE = "<script>alert(1)</script>|*x*"
# AP of seeds 0, 1, 2; None fails half-way.
PLAN: dict[str, tuple[float | None, ...]] = {
    "none": (0.460, 0.430, 0.470),
    "branch": (0.491, 0.462, 0.505),
    HOSTILE: (0.462, 0.428, None),
}
EXPERIMENT: dict[str, Any] = {
    "name": "ablation_centerness",
    "claim": "A predicted center-ness in the score lifts AP.",
    "baseline": "none",
    "arms": {arm: {"model.head.quality": "none"} for arm in PLAN},
    "seeds": [0, 1, 2],
    "metrics": ["val/AP", "val/AP50"],
    "paper": {
        "none": ["v1.table4.none", "v2.table4.none"],
        "branch": ["v1.table4.branch", "v2.table4.branch"],
        HOSTILE: ["v1.table4.from_regression", "v2.table4.from_regression"],
    },
}
START = 1_760_000_000_000


def write_sweep(
    folder: Path,
    *,
    name: str = "centerness",
    plan: dict[str, tuple[float | None, ...]] | None = None,
    experiment: dict[str, Any] | None = None,
    status: str = "FINISHED",
    params: dict[str, Any] | None = None,
    data: str = "synthetic",
    start: int = START,
) -> tuple[str, str]:
    """Write one sweep into folder/mlflow.db; gives the store's uri and the parent's run id."""
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    client = MlflowClient(tracking_uri=uri)
    found = client.get_experiment_by_name("fcos-lab")
    where = (
        found.experiment_id
        if found
        else client.create_experiment("fcos-lab", (folder / "mlartifacts").as_uri())
    )
    tags = {"fcos.kind": "sweep", "fcos.sweep": name, "fcos.experiment": "ablation_centerness"}
    parent = client.create_run(where, start_time=start, tags=tags, run_name=name).info.run_id
    if experiment is None or experiment:
        client.log_text(parent, json.dumps(experiment or EXPERIMENT), "experiment.json")
    for arm, results in (PLAN if plan is None else plan).items():
        for seed, result in enumerate(results):
            write_trial(client, where, parent, name, arm, seed, result, params or {}, data, start)
    if status != "RUNNING":
        client.set_terminated(parent, status, end_time=start + 600_000)
    return uri, parent


def write_trial(
    client: MlflowClient,
    where: str,
    parent: str,
    sweep: str,
    arm: str,
    seed: int,
    result: float | None,
    params: dict[str, Any],
    data: str,
    start: int,
) -> str:
    run_id: str = client.create_run(
        where,
        start_time=start + seed,
        run_name=f"{arm} seed {seed}",
        tags=trial_tags(parent, sweep, arm, seed, data),
    ).info.run_id
    reached = result if result is not None else 0.2
    points = [("train/loss", step, 3.0 / (1 + step / 200) + 0.02 * seed) for step in range(0, 1201, 100)]
    points += [("val/AP", step, reached * step / 1200) for step in (300, 600, 900, 1200)]
    points += [("val/AP50", 1200, reached + 0.25), ("val/class_AP/disc", 1200, reached)]
    written = [Metric(key, value, start + step, step) for key, step, value in points]
    logged = [
        Param(key, value if isinstance(value, str) else json.dumps(value)) for key, value in params.items()
    ]
    extra = [RunTag("fcos.trained_by", run_id), RunTag("fcos.checkpoint_sha256", f"{seed}" * 64)]
    if result is None:
        extra.append(RunTag("fcos.failure", "non-finite loss at step 700 <img src=x>"))
    client.log_batch(run_id, written, [Param("schedule.steps", "1200"), *logged], extra)
    client.log_text(run_id, json.dumps({"torch": "2.15.0", "python": "3.11.9"}), "versions.json")
    client.log_image(run_id, picture(seed), artifact_file="detections/000000000139.png")
    client.set_terminated(run_id, "FINISHED" if result is not None else "FAILED", end_time=start + 60_000)
    return run_id


def trial_tags(parent: str, sweep: str, arm: str, seed: int, data: str) -> dict[str, str]:
    return {
        "fcos.kind": "trial",
        "fcos.sweep": sweep,
        "fcos.experiment": "ablation_centerness",
        "fcos.arm": arm,
        "fcos.seed": str(seed),
        "fcos.identity": "1d" * 32,
        "fcos.train_identity": "7a" * 32,
        "fcos.git_commit": "0123456789abcdef0123456789abcdef01234567",
        "fcos.git_dirty": "false",
        "fcos.data_digest": "da" * 32,
        "fcos.data": data,
        "fcos.hardware": "2 CPU cores",
        "fcos.checkpoint": f"trials/7a/checkpoints/step_{1200:08d}",
        "mlflow.parentRunId": parent,
    }


def picture(seed: int) -> Image.Image:
    return Image.new("RGB", (128, 96), (40 * seed + 60, 120, 160))


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
