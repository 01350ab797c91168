"""What is not registered, each with the reason in one line, and what it leaves behind."""

from dataclasses import replace
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED
from mlflow.tracking import MlflowClient

from fcos.config.parse import set_value
from fcos.errors import ConfigError
from fcos.storage.store_conventions import Tag
from orchestration import register
from orchestration.tracking.problems import TrackingError
from tests.helpers.registered import Lab


def refusal(lab: Lab, *words: str) -> str:
    with pytest.raises(ConfigError) as refused:
        lab.register(*words)
    text = str(refused.value)
    assert "\n" not in text
    return text


def test_a_sweep_that_is_not_there_is_named_with_near_ones(lab: Lab) -> None:
    lab.write_arms()
    assert "mina: no sweep and no run in sqlite:" in refusal(lab, "mina", "--name", "mine")
    assert "did you mean mine?" in refusal(lab, "mina", "--name", "mine")
    text = refusal(lab, "mine", "--name", "mine", "--arm", "brunch", "--seed", "0")
    assert text == "mine: no run of it for --arm brunch --seed 0; it has the arms branch, none and the seeds 0, 1"


def test_a_store_that_is_not_there_is_not_made(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no tracking store at sqlite:.*give --output or --tracking-uri"):
        register.main(["mine", "--name", "mine", "--output", str(tmp_path / "nothing")])
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("name", ["a/b", "a:b", "", ".hidden", "a'b"])
def test_a_name_that_no_registry_takes_is_refused_before_anything_is_loaded(lab: Lab, name: str) -> None:
    lab.write_arms()
    assert refusal(lab, "mine", "--name", name).startswith(f"--name {name}: must be 1 to 64")


@pytest.mark.parametrize("alias", ["latest", "V3", "a.b", ""])
def test_an_alias_that_no_registry_takes_is_refused_before_anything_is_loaded(lab: Lab, alias: str) -> None:
    lab.write_arms()
    assert refusal(lab, "mine", "--name", "mine", "--alias", alias).startswith(f"--alias {alias}: must be of")
    assert lab.versions() == []


def test_runs_without_usable_weights_are_named_with_the_reason(lab: Lab) -> None:
    def reason(
        metrics: dict[str, float] | None = None, status: str = "FINISHED", tags: dict[str, str] | None = None
    ) -> str:
        run_id = lab.trial("only", len(written), metrics or {"val/AP": 0.5}, status, tags)
        written.append(run_id)
        return refusal(lab, run_id, "--name", "mine")

    written: list[str] = []
    gone = str(lab.checkpoint.with_name("step_00000009"))
    assert "no run of it is finished (KILLED); the same command goes on" in reason(status="KILLED")
    assert "has a finite val/AP" in reason(metrics={"val/AP50": 0.5})
    removed = reason(tags={Tag.CHECKPOINT: gone, Tag.CHECKPOINT_REMOVED: "rank 3 of 4 by val/AP"})
    assert "its checkpoint was removed (rank 3 of 4 by val/AP); keep.trained=null" in removed
    assert f"its checkpoint {gone} is not on this machine" in reason(tags={Tag.CHECKPOINT: gone})
    assert "was imported and trained at Vision lab" in reason(tags={Tag.ARCHIVE: "ab", Tag.LABORATORY: "Vision lab"})
    assert "its tag fcos.seed=three is no whole number; correct the tag" in reason(tags={Tag.SEED: "three"})
    assert "is not the checkpoint that it saved" in reason(tags={Tag.CHECKPOINT_SHA256: "00" * 32})
    assert lab.client.search_registered_models() == []


def test_damaged_weights_are_not_registered(lab: Lab) -> None:
    lab.trial("branch", 0, {"val/AP": 0.5})
    with (lab.checkpoint / "model.safetensors").open("r+b") as file:
        file.seek(500)
        file.write(b"\0\1\2\3")
    assert "is damaged" in refusal(lab, "mine", "--name", "mine")
    assert lab.client.search_registered_models() == []


def test_a_detector_that_needs_annotated_boxes_is_refused(lab: Lab) -> None:
    oracle = replace(lab, values=set_value(lab.values, "model.postprocess.oracle", "class"))
    oracle.trial("branch", 0, {"val/AP": 0.5})
    assert "needs annotated boxes" in refusal(lab, "mine", "--name", "mine")
    assert lab.client.search_registered_models() == []


def test_a_registry_that_refuses_is_one_line_and_the_next_command_makes_no_second_model(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = lab.trial("branch", 0, {"val/AP": 0.5})

    def refuse(self: MlflowClient, name: str, **_: object) -> None:
        raise MlflowException("Permission denied for user reader", error_code=PERMISSION_DENIED)

    with monkeypatch.context() as patch, pytest.raises(TrackingError) as refused:
        patch.setattr(MlflowClient, "create_registered_model", refuse)
        lab.register("mine", "--name", "mine")
    assert str(refused.value).endswith("the store refuses: Permission denied for user reader")
    assert lab.register("mine", "--name", "mine") == 0
    assert len(lab.outputs_of(run_id)) == 1


def test_a_model_that_was_stored_by_half_is_not_ready_and_not_used_again(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = lab.trial("branch", 0, {"val/AP": 0.5})

    def fill_up(self: MlflowClient, model_id: str, folder: str) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(TrackingError, match="No space left on device"):
        patch.setattr(MlflowClient, "log_model_artifacts", fill_up)
        lab.register("mine", "--name", "mine")
    (half,) = lab.client.search_logged_models([lab.store.experiment_id])
    assert str(half.status) == "FAILED" and lab.versions() == []
    assert lab.register("mine", "--name", "mine") == 0
    (output,) = lab.outputs_of(run_id)
    assert output.model_id != half.model_id
