"""What a command does before the first training, with the plan that it makes."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from fcos.config.parse import with_keys
from fcos.config.run import Config
from fcos.errors import ConfigError
from orchestration.cli.console import Output
from orchestration.cli.event_stream import SILENT
from orchestration.config.schema import LabConfig
from orchestration.planning.make_plan import make_single_plan
from orchestration.planning.plan import Plan
from orchestration.planning.prepare import prepare_command


def plan_without_data(lab: LabConfig, *_: object) -> Plan:
    return make_single_plan(lab, lambda config: ("d", ()))


def test_a_dry_run_reports_hours_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "spent.json").write_text("{")
    output = Output(Console(file=io.StringIO()), SILENT)
    with pytest.raises(ConfigError, match=r"damaged/spent\.json: not readable as the hours"):
        prepare_command([f"output={tmp_path}", "name=damaged", "dry_run=true"], plan_without_data, output)


def test_what_is_planned_shown_and_trained_is_the_adapted_config(tmp_path: Path) -> None:
    def adapt(lab: LabConfig) -> LabConfig:
        config = with_keys(lab.training, {"schedule.steps": 777})
        return lab.model_copy(update={name: getattr(config, name) for name in Config.model_fields})

    output = Output(Console(file=io.StringIO()), SILENT)
    prepared = prepare_command([f"output={tmp_path}", "name=adapted"], plan_without_data, output, adapt)
    assert prepared is not None
    assert prepared.lab.schedule.steps == prepared.plan.trials[0].config.schedule.steps == 777
