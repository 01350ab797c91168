"""What a command does before the first training, with the plan that it makes."""

import errno
import io
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fcos.config.parse import with_keys
from fcos.config.run import Config
from fcos.errors import ConfigError
from orchestration.cli.command_line import compose_command_line
from orchestration.cli.console import Output
from orchestration.cli.event_stream import SILENT
from orchestration.config.schema import LabConfig
from orchestration.planning.make_plan import make_single_plan
from orchestration.planning.plan import Plan, settle_plan
from orchestration.planning.prepare import Prepared, prepare_command
from orchestration.trial.files import read_sweep_notes
from tests.helpers.data.coco_folders import write_split
from tests.helpers.data.labelled_folders import write_image


def plan_without_data(lab: LabConfig, *_: object) -> Plan:
    return make_single_plan(lab, lambda config: ("d", ()))


def prepare(
    words: Sequence[str], output: Output, adapt: Callable[[LabConfig], LabConfig] = lambda lab: lab
) -> Prepared | None:
    return prepare_command(compose_command_line(words), plan_without_data, output, adapt)


def test_a_dry_run_reports_hours_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "spent.json").write_text("{")
    output = Output(Console(file=io.StringIO()), SILENT)
    with pytest.raises(ConfigError, match=r"damaged/spent\.json: not readable as the hours"):
        prepare([f"output={tmp_path}", "name=damaged", "dry_run=true"], output)


@pytest.mark.parametrize("file", ["plan.json", "trials/{}/summary.json"])
def test_a_sweep_of_another_user_is_refused_by_the_file_that_is_closed(
    file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [f"output={tmp_path}", "name=theirs"]
    output = Output(Console(file=io.StringIO()), SILENT)
    prepared = prepare(words, output)
    assert prepared is not None
    settle_plan(prepared.plan)
    folder = prepared.plan.folder_of(prepared.plan.trials[0])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "summary.json").write_text("{}")
    closed = str(tmp_path / "theirs" / file.format(folder.name))
    open_file: Callable[..., Any] = io.open

    def refuse(path: object, *arguments: object, **options: object) -> object:
        # As root everything can be read.
        if str(path) == closed:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), closed)
        return open_file(path, *arguments, **options)

    monkeypatch.setattr(io, "open", refuse)
    with pytest.raises(
        ConfigError, match=rf"output: {closed} cannot be read \(Permission denied\); give another name="
    ):
        again = prepare(words, output)
        assert again is not None
        settle_plan(again.plan)


def test_what_is_planned_shown_and_trained_is_the_adapted_config(tmp_path: Path) -> None:
    def adapt(lab: LabConfig) -> LabConfig:
        config = with_keys(lab.training, {"schedule.steps": 777})
        return lab.model_copy(update={name: getattr(config, name) for name in Config.model_fields})

    output = Output(Console(file=io.StringIO()), SILENT)
    prepared = prepare([f"output={tmp_path}", "name=adapted"], output, adapt)
    assert prepared is not None
    assert prepared.lab.schedule.steps == prepared.plan.trials[0].config.schedule.steps == 777


def test_notes_on_a_folder_that_is_used_as_it_is_are_kept_for_its_trainings(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_split(tmp_path / "data", split, 3, {1: "cat"})
    write_image(tmp_path / "data" / "train" / "new.png", 8, 8)
    words = [f"output={tmp_path}", "name=kept", "data=auto", f"data.root={tmp_path / 'data'}", "model=fcos_small"]
    output = Output(Console(file=io.StringIO()), SILENT)
    note = "images that no annotation file in use names are left out: 1 (train/new.png)"

    prepared = prepare([*words, f"data.cache_dir={tmp_path / 'cache'}"], output)

    assert prepared is not None and prepared.plan.folder_notes == (note,) and note in prepared.plan.notes
    settle_plan(prepared.plan)
    folder = prepared.plan.folder_of(prepared.plan.trials[0])
    assert read_sweep_notes(folder) == [note]
    # Of the command that came last.
    settle_plan(replace(prepared.plan, folder_notes=()))
    assert read_sweep_notes(folder) == []
