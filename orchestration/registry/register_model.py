"""Register the weights of a finished run: a LoggedModel of the run, a version of a registered model, an alias."""

import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fcos.errors import ConfigError
from fcos.storage.checkpoint_folder import CheckpointError, digest
from fcos.storage.store_conventions import Artifact, MetricPrefix, Tag, client_uri
from orchestration.registry.best_run import ChosenRun
from orchestration.registry.save_model import SavedModel, rewrite, save_model
from orchestration.tracking.problems import store_errors

if TYPE_CHECKING:
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient

    from fcos.inference import Trained

MODEL_NAME = "detector"
MODEL_TYPE = "object detector"
# Of one call to the store.
METRICS_PER_CALL = 500
ALIAS = re.compile(r"[A-Za-z0-9_-]{1,64}")
# What MLflow keeps for versions.
RESERVED_ALIAS = re.compile(r"latest|v\d+")


@dataclass(frozen=True)
class Registered:
    """A version of a registered model, and what its alias stood for before; None for nothing."""

    name: str
    version: str
    alias: str
    # False where a version of the same weights was there.
    is_new: bool
    alias_before: str | None

    @property
    def line(self) -> str:
        """Describe what was done, in one line."""
        before = f", before version {self.alias_before}" if self.alias_before not in (None, self.version) else ""
        done = "registered" if self.is_new else "nothing new: these weights are"
        return f"{done} {self.name} version {self.version}, alias {self.alias}{before}"


def check_alias(alias: str) -> None:
    """Raise ConfigError for an alias that no registry takes."""
    if not ALIAS.fullmatch(alias) or RESERVED_ALIAS.fullmatch(alias.lower()):
        raise ConfigError(
            f"--alias {alias}: must be of the characters A-Z a-z 0-9 _ -, and neither `latest` nor `v` with a number"
        )


def register(client: "MlflowClient", uri: str, chosen: ChosenRun, name: str, alias: str) -> Registered:
    """Register the weights of a run under a name, unless a version has them, and set the alias to that version.

    Raises ConfigError for weights that cannot be used, TrackingError where the store or the registry refuses.
    """
    with store_errors(uri):
        version = _find_version(client, name, chosen)
        model_id = None if version else _find_model(client, chosen)
    is_new = version is None
    if version is None:
        if model_id is None:
            with tempfile.TemporaryDirectory(prefix="fcos_model_") as folder:
                saved = save_model(_load(client, uri, chosen), Path(folder), _metadata(chosen))
                with store_errors(uri):
                    model_id = _log_model(client, chosen, saved)
        with store_errors(uri), _global_store(uri):
            version = _make_version(client, name, chosen, model_id)
    with store_errors(uri):
        before = _alias_version(client, name, alias)
        if before != version:
            client.set_registered_model_alias(name, alias, version)
    return Registered(name, version, alias, is_new, before)


def _find_version(client: "MlflowClient", name: str, chosen: ChosenRun) -> str | None:
    """Return the version of a model that has these weights with these evaluation settings, None without one."""
    token = None
    while True:
        page = client.search_model_versions(f"name='{name}'", page_token=token)
        for each in page:
            if all(each.tags.get(tag, "") == value for tag, value in _identifying(chosen).items()):
                return str(each.version)
        token = page.token
        if not token:
            return None


def _find_model(client: "MlflowClient", chosen: ChosenRun) -> str | None:
    """Return the id of the run's own LoggedModel of these weights, None where there is none that is whole."""
    from mlflow.exceptions import MlflowException

    outputs = client.get_run(chosen.run_id).outputs
    for output in outputs.model_outputs if outputs else ():
        # One that was deleted is still named as an output.
        with suppress(MlflowException):
            model = client.get_logged_model(output.model_id)
            if str(model.status) == "READY" and _identifying(chosen).items() <= model.tags.items():
                return str(model.model_id)
    return None


def _identifying(chosen: ChosenRun) -> dict[str, str]:
    return {Tag.IDENTITY: chosen.identity, Tag.CHECKPOINT_SHA256: chosen.checkpoint_sha256}


def _alias_version(client: "MlflowClient", name: str, alias: str) -> str | None:
    # None and integers both occur, by kind of registry.
    version = client.get_registered_model(name).aliases.get(alias)
    return None if version is None else str(version)


def _load(client: "MlflowClient", uri: str, chosen: ChosenRun) -> "Trained":
    """Load the weights that a run was evaluated with, with the evaluation settings of its arm."""
    import torch

    from fcos.inference import load_trained

    with store_errors(uri):
        settings = _evaluation_settings(client, chosen)
    try:
        if digest(chosen.checkpoint) != chosen.checkpoint_sha256:
            raise ConfigError(f"{chosen.line}: {chosen.checkpoint} is not the checkpoint that it saved")
        return load_trained(chosen.checkpoint, torch.device("cpu"), settings)
    except CheckpointError as error:
        raise ConfigError(f"{chosen.line}: {error}") from None


def _evaluation_settings(client: "MlflowClient", chosen: ChosenRun) -> dict[str, Any]:
    """Return the keys in which arms of one training differ, with the values that a run recorded."""
    with tempfile.TemporaryDirectory() as folder:
        text = Path(client.download_artifacts(chosen.run_id, Artifact.CONFIG, folder)).read_text()
    try:
        values = json.loads(text)
        return {"model.postprocess": values["model"]["postprocess"], "schedule.ema": values["schedule"]["ema"]}
    except (ValueError, KeyError, TypeError):
        raise ConfigError(f"{chosen.line}: its {Artifact.CONFIG} in the store is no configuration") from None


def _metadata(chosen: ChosenRun) -> dict[str, object]:
    """Return the origin of a model that is stored with it."""
    return {
        "sweep": chosen.sweep,
        "arm": chosen.arm,
        "seed": chosen.seed,
        "run_id": chosen.run_id,
        "train_identity": chosen.train_identity,
        "identity": chosen.identity,
        "data_digest": chosen.data_digest,
        "checkpoint_sha256": chosen.checkpoint_sha256,
    }


def _tags(chosen: ChosenRun) -> dict[str, str]:
    """Return the tags of model and version; what a run does not have is left out."""
    tags = {
        Tag.SWEEP: chosen.sweep,
        Tag.ARM: chosen.arm,
        Tag.SEED: "" if chosen.seed is None else str(chosen.seed),
        Tag.RANKED_BY: chosen.ranking.metric,
        Tag.RANKED_VALUE: repr(chosen.value),
        Tag.TRAIN_IDENTITY: chosen.train_identity,
        Tag.DATA_DIGEST: chosen.data_digest,
        **_identifying(chosen),
    }
    return {name: value for name, value in tags.items() if value}


def _log_model(client: "MlflowClient", chosen: ChosenRun, saved: SavedModel) -> str:
    """Store a saved model as an output of its run, with the run's params and final metrics; return its id."""
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus

    run = client.get_run(chosen.run_id)
    model = client.create_logged_model(
        chosen.experiment_id,
        name=MODEL_NAME,
        source_run_id=chosen.run_id,
        tags=_tags(chosen),
        params=dict(run.data.params),
        model_type=MODEL_TYPE,
    )
    try:
        rewrite(saved.folder, {"model_id": model.model_id, "model_uuid": model.model_id, "run_id": chosen.run_id})
        client.log_model_artifacts(model.model_id, str(saved.folder))
    except BaseException:
        # A model that is not whole never becomes ready.
        with suppress(Exception):
            client.finalize_logged_model(model.model_id, LoggedModelStatus.FAILED)
        raise
    client.log_outputs(chosen.run_id, [LoggedModelOutput(model.model_id, step=saved.step)])
    metrics = _final_metrics(client, run.data.metrics, chosen, model.model_id)
    for first in range(0, len(metrics), METRICS_PER_CALL):
        client.log_batch(chosen.run_id, metrics=metrics[first : first + METRICS_PER_CALL])
    client.finalize_logged_model(model.model_id, "READY")
    return str(model.model_id)


def _final_metrics(
    client: "MlflowClient", metrics: Mapping[str, float], chosen: ChosenRun, model_id: str
) -> "list[Metric]":
    """Return the last evaluation of a run as that of its model, but for APs of classes; points that the run has."""
    from mlflow.entities import Metric

    linked = []
    for name in metrics:
        if name.startswith(MetricPrefix.VAL) and not name.startswith(MetricPrefix.CLASS_AP):
            last = max(client.get_metric_history(chosen.run_id, name), key=lambda point: (point.step, point.timestamp))
            linked.append(Metric(name, last.value, last.timestamp, last.step, model_id=model_id, run_id=chosen.run_id))
    return linked


def _make_version(client: "MlflowClient", name: str, chosen: ChosenRun, model_id: str) -> str:
    """Make a version of a registered model, and the registered model where there is none; return its number."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    version = client.create_model_version(
        name,
        source=f"models:/{model_id}",
        run_id=chosen.run_id,
        tags=_tags(chosen),
        description=f"{chosen.line}. That value is the one by which it was chosen; on other images expect less.",
        model_id=model_id,
    )
    return str(version.version)


@contextmanager
def _global_store(uri: str) -> Iterator[None]:
    """Let MLflow's global client use the store while the block runs: its SQL registry looks models up through that."""
    import mlflow

    was_set, before = mlflow.tracking.is_tracking_uri_set(), mlflow.get_tracking_uri()
    environment = os.environ.get("MLFLOW_TRACKING_URI")
    mlflow.set_tracking_uri(client_uri(uri))
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before if was_set else None)  # type: ignore[arg-type]  # None unsets it
        if environment is None:
            os.environ.pop("MLFLOW_TRACKING_URI", None)
        else:
            os.environ["MLFLOW_TRACKING_URI"] = environment
