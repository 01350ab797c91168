"""A sweep in MLflow's own terms, from its command to detections: inputs, system metrics, registry, a server."""

from pathlib import Path
from urllib.error import HTTPError

import pytest
from PIL import Image

from tests.helpers.experiments.sweeps import (
    ROOT,
    SHARED,
    client,
    environment,
    finished,
    runs,
    start,
    trials_of,
    wait_for,
)
from tests.helpers.processes.holding import Hold
from tests.helpers.processes.waiting import PATIENCE
from tests.helpers.servers.model_server import check_answer, model_server, post, run_command

REGISTER = ROOT / "orchestration" / "register.py"
WORDS = (
    *SHARED,
    "model.postprocess.score_threshold=0.001",
    "tracking.register_as=centerness",
    "tracking.system_metrics_seconds=1",
)


def store_environment(folder: Path) -> dict[str, str]:
    uri = f"sqlite:///{folder / 'outputs' / 'mlflow.db'}"
    return {**environment(folder), "MLFLOW_TRACKING_URI": uri, "MLFLOW_DISABLE_TELEMETRY": "true"}


def check_runs(folder: Path, measured: Path) -> None:
    """The runs of both arms have inputs, and each point of their machine once; the best is a version."""
    store = client(folder)
    of_arms = [run for name, run in runs(folder).items() if name != "ablation_centerness"]
    assert len(of_arms) == 2
    for run in of_arms:
        assert run.inputs is not None
        contexts = [tag.value for each in run.inputs.dataset_inputs for tag in each.tags]
        assert sorted(contexts) == ["training", "validation"]
        assert run.data.metrics["system/system_memory_usage_percentage"] > 0
        points = store.get_metric_history(run.info.run_id, "system/cpu_utilization_percentage")
        assert len(points) == len({point.step for point in points}) == len(measured.read_text().splitlines())
    best = store.get_model_version_by_alias("centerness", "best")
    assert best.tags["fcos.ranked_by"] == "val/AP"
    assert float(best.tags["fcos.ranked_value"]) == max(run.data.metrics["val/AP"] for run in of_arms)


@pytest.mark.slow(minutes=2)
def test_a_sweep_is_in_the_registry_and_its_model_answers_as_predict_does(tmp_path: Path, hold: Hold) -> None:
    hold.at(6)
    process = start(tmp_path, *WORDS)
    wait_for(hold.held, process)
    (trial,) = trials_of(tmp_path)
    measured = trial / "system_metrics" / "machine_0.jsonl"
    wait_for(measured.exists, process)
    hold.release()
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output + errors
    assert "registered centerness version 1, alias best" in output
    check_runs(tmp_path, measured)
    # The same command has nothing to add.
    assert "nothing new: these weights are centerness version 1" in finished(tmp_path, *WORDS)
    assert len(client(tmp_path).search_model_versions("name='centerness'")) == 1

    check_served(tmp_path, trial)


def check_served(tmp_path: Path, trial: Path) -> None:
    """Register an arm by hand, serve it, and compare its answers with those of predict."""
    photo = tmp_path / "photo.png"
    Image.effect_noise((70, 50), 80).convert("RGB").save(photo)
    words = ("ablation_centerness", "--name", "served", "--arm", "none")
    assert "registered served version 1, alias best" in run_command(tmp_path, str(REGISTER), *words)
    with model_server(tmp_path, "models:/served@best", store_environment(tmp_path)) as address:
        check_answer(address, tmp_path, trial, photo)
        assert post(address, photo.read_bytes(), score_threshold=1.0) == []
        with pytest.raises(HTTPError) as refused:
            post(address, b"no picture")
        assert refused.value.code == 400 and "image 0: is not a whole image" in refused.value.read().decode()
