"""--config-dir: config files of a user's own beside the built-in ones."""

import sys
from pathlib import Path

import pytest

from fcos.errors import ConfigError
from orchestration.config.compose import compose
from orchestration.config.overrides import check_overrides, help_text, run_hydra_command, split_config_dir
from orchestration.config.schema import LabConfig
from orchestration.planning.make_plan import make_plan

MINE = """# @package _global_
defaults:
  - override /model: narrow
experiment:
  name: mine
  claim: Wider is better.
  baseline: narrow
  arms:
    narrow: {}
    counted: {conventions: own}
  seeds: [0]
  metrics: [val/AP]
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder `my configs` where the command is started, with an experiment, a model and a preset."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "my configs"
    write(folder, "experiment/mine", MINE)
    write(folder, "model/narrow", "defaults: [fcos_small]\nfpn: {channels: 16}\n")
    write(folder, "conventions/own", "# @package _global_\nmodel: {assignment: {corners: inclusive}}\n")
    return folder


def write(folder: Path, name: str, text: str) -> None:
    path = folder / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def composed(*arguments: str) -> LabConfig:
    own, overrides = split_config_dir(arguments)
    return compose(check_overrides(overrides, own), own)


@pytest.mark.parametrize(
    "option",
    [
        ("--config-dir", "my configs"),
        ("--config-dir=my configs",),
        ("-cd", "my configs"),
        ("-cd=my configs",),
    ],
)
def test_an_experiment_a_model_and_a_preset_of_a_users_own_are_found(own: Path, option: tuple[str, ...]) -> None:
    lab = composed("+experiment=mine", *option, "schedule.steps=700")
    assert lab.experiment is not None and lab.experiment.name == "mine"
    assert (lab.model.fpn.channels, lab.schedule.steps) == (16, 700)
    assert lab.experiment.arms["counted"] == {"model.assignment.corners": "inclusive"}


def test_a_sweep_without_an_experiment_lists_those_of_the_users_folder(own: Path) -> None:
    with pytest.raises(ConfigError, match=r"no experiment is chosen.*ablation_centerness, .*mine"):
        make_plan(composed(f"--config-dir={own}"), lambda config: ("d", ()), [f"--config-dir={own}"])


def test_a_folder_of_any_name_is_found(own: Path) -> None:
    for name in ("it's = ${mine}, [1]", "conf"):
        own = own.rename(own.with_name(name))
        assert composed("--config-dir", name, "model=narrow").model.fpn.channels == 16
        assert composed("--config-dir", str(own), "model=narrow").model.fpn.channels == 16


def test_built_in_options_stay(own: Path) -> None:
    plain, beside = (
        composed("+experiment=ablation_centerness"),
        composed("--config-dir=my configs", "+experiment=ablation_centerness"),
    )
    assert plain == beside


@pytest.mark.parametrize("words", [["model=fcos_lite"], ["schedule=finetune"], ["model.backbone.weights=backbone.pth"]])
def test_an_augmentation_that_a_users_own_data_have_is_not_replaced(own: Path, words: list[str]) -> None:
    write(own, "data/mine", "defaults: [synthetic]\naugmentation: {photometric: 0.5}\n")
    augmentation = composed("--config-dir=my configs", "data=mine", *words).data.augmentation
    assert (augmentation.photometric, augmentation.scale_jitter) == (0.5, None)
    by_hand = composed("--config-dir=my configs", "data=mine", "augmentation=light", *words)
    assert by_hand.data.augmentation.photometric == 0.3, "one that the command line names holds"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--config-dir",), "--config-dir: give the folder with config files of your own"),
        (("--config-dir=",), "--config-dir: give the folder with config files of your own"),
        (("--config-dir=my configs", "-cd", "other"), "-cd=other: a second folder; give one, -cd=my configs or this"),
        (("--config-dir=nowhere",), r"--config-dir=nowhere: no such folder \(/.*/nowhere\)"),
        (("--config-dir", "+experiment=mine"), r"--config-dir=\+experiment=mine: no such folder"),
        (("--config-dir=my configs/experiment/mine.yaml",), r"mine\.yaml: is no folder"),
        (
            ("--config-dir=.",),
            r"--config-dir=\.: holds no config files; .* \./experiment/<name>\.yaml, and .* cluster, con",
        ),
        (("--config-dir=my configs", "+experiment=mien"), "experiment=mien: no such experiment; did you mean mine"),
        (("--config-dir=my configs", "model=narow"), "model=narow: no such model; did you mean narrow"),
        (("+experiment=mine",), "experiment=mine: no such experiment"),
    ],
)
def test_a_mistake_is_one_message(own: Path, arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        composed(*arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["experiment/ablation_centerness", "model/fcos_small", "config"])
def test_a_name_that_a_built_in_file_has_is_refused(own: Path, name: str) -> None:
    write(own, name, MINE)
    with pytest.raises(ConfigError, match=rf"^my configs/{name}\.yaml: Hydra would read the built-in file"):
        composed("--config-dir=my configs", "+experiment=mine")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("experiment/mine", "# @package _global_\nexperiment:\n\tname: mine\n", "line 3: found character '\\\\t'"),
        ("experiment/mine", MINE.replace("# @package _global_\n", ""), "line 1: must be `# @package _global_`"),
        ("model/narrow", "fpn: {channels: [\n", "line 2: expected"),
        ("conventions/own", "model: {assignment: {corners: inclusive}}\n", "line 1: must be `# @package _global_`"),
        ("conventions/own", "# @package _global_\nmodel: [\n", "line 3"),
    ],
)
def test_a_mistake_in_a_file_is_named_with_file_line_and_rule(own: Path, name: str, text: str, message: str) -> None:
    write(own, name, text)
    with pytest.raises(ConfigError, match=rf"my configs/{name}\.yaml, {message}"):
        composed("--config-dir=my configs", "+experiment=mine")
    # Nobody else is held up by it.
    assert composed("--config-dir=my configs", "+experiment=ablation_centerness")


def test_the_help_lists_own_files_and_marks_those_that_cannot_be_used(own: Path) -> None:
    write(own, "experiment/broken", "experiment: [\n")
    lines = help_text("sweep", "", [], ["--help", "--config-dir=my configs"]).splitlines()
    assert next(line for line in lines if line.startswith("  mine ")).endswith("Wider is better.")
    assert "(cannot be used: my configs/experiment/broken.yaml, line 2" in "\n".join(lines)
    assert any(line.startswith("  model ") and "narrow" in line and "fcos_v1_r50" in line for line in lines)


def test_hydra_shows_what_a_command_with_own_files_comes_to(
    own: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["sweep.py"])
    run_hydra_command(["--cfg", "job", "--config-dir", "my configs", "+experiment=mine"])
    shown = capsys.readouterr().out
    assert "channels: 16" in shown and "claim: Wider is better." in shown
